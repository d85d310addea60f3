/* bind_ops.c: every op of ops.def as a Lua function and a tensor method, from its declaration alone; and the operators.
 *
 * core.ops.<name>(tensors..., attributes...): attributes are positional in the order of the op's table, or named in one trailing
 * table. A number may stand for a tensor (a scalar of the dtype of the last tensor). The operators with a Lua number go
 * through affine, so that they cost one op and never promote a dtype. */
#include "bind.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- numbers as tensors */
/* A number as a rank-0 tensor, of the integer dtype of `like` when it fits there, else f32. */
static fg_tensor *number_tensor(fg_scope *s, double v, const fg_tensor *like) {
    fg_dtype dt = FG_F32;
    if (like && v == floor(v)) {
        if (like->dtype == FG_I32 && fabs(v) <= 2147483647.0) dt = FG_I32;
        if (like->dtype == FG_U8 && v >= 0 && v <= 255) dt = FG_U8;
    }
    if (like && like->dtype == FG_BF16) dt = FG_BF16;
    return fg_full(s, dt, FG_SCALAR, v);
}

/* ---------------------------------------------------------------- the generic op */
#define MAX_IN 16
typedef struct op_args {
    const fg_op *op;
    fg_tensor **in;
    int n;
    uint32_t numbers; /* mask of inputs given as numbers */
    double number[MAX_IN];
    const fg_tensor *like;
    void *opts;
} op_args;

static fg_tensor *make_op(fg_scope *s, void *arg) {
    op_args *a = arg;
    if (!a->numbers) return fg_op_apply(s, a->op, a->in, a->n, a->opts);
    fg_tensor *in[MAX_IN];
    for (int i = 0; i < a->n; i++) {
        in[i] = a->in[i];
        if (a->numbers & 1u << i && !(in[i] = number_tensor(s, a->number[i], a->like))) return NULL;
    }
    return fg_op_apply(s, a->op, in, a->n, a->opts);
}

/* upvalues: binding, op */
static int call_op(lua_State *L) {
    binding *b = bind_enter(L);
    const fg_op *op = lua_touserdata(L, lua_upvalueindex(2));
    union {
        char bytes[FG_OPTS_MAX];
        max_align_t align;
    } opts;
    fg_tensor *in[MAX_IN];
    op_args a = { .op = op, .in = in, .opts = &opts };
    int arg = 1;
    bool seen = false;
    for (int i = 0; i < op->n_max && i < MAX_IN; i++) {
        fg_tensor *t = bind_to_tensor(L, b, arg);
        if (t) {
            a.like = t;
            seen = true;
        } else if (lua_type(L, arg) == LUA_TNUMBER && i < op->n_min) {
            a.numbers |= 1u << i;
            a.number[i] = lua_tonumber(L, arg);
        } else if (op->optional & 1u << i || i >= op->n_min) {
            /* absent: nil counts as its place, anything else begins the attributes */
            in[i] = NULL;
            if (lua_isnil(L, arg)) arg++;
            continue;
        } else {
            bind_check_tensor(L, b, op->name, arg);
        }
        in[i] = t;
        a.n = i + 1;
        arg++;
    }
    if (a.n < op->n_min) a.n = op->n_min;
    if (!seen) bind_check_tensor(L, b, op->name, 1);
    if (op == &fg_op_where && a.like == in[0]) a.like = NULL; /* the condition's u8 says nothing of the values */
    memset(&opts, 0, sizeof opts);
    if (op->attrs || lua_gettop(L) >= arg) bind_read_attrs(L, b, op->name, op->attrs, 32, &opts, arg);
    return bind_make(L, b, make_op, &a);
}

/* ---------------------------------------------------------------- operators */
enum { ADD, SUB, MUL, DIV, POW };
static const char *const verbs[] = { "add", "subtract", "multiply", "divide", "raise" };

typedef struct arith_args {
    int code;
    fg_tensor *a, *b; /* one is NULL when the operand is the number c */
    double c;
} arith_args;

static bool power_of_two(double c) {
    int e;
    return isfinite(c) && fabs(frexp(c, &e)) == 0.5 && e > -60 && e < 60;
}

static fg_tensor *arith_tensors(fg_scope *s, int code, fg_tensor *a, fg_tensor *b) {
    switch (code) {
    case ADD: return fg_add(s, a, b);
    case SUB: return fg_sub(s, a, b);
    case MUL: return fg_mul(s, a, b);
    case DIV: return fg_div(s, a, b);
    default: return fg_exp(s, fg_mul(s, b, fg_log(s, a))); /* a^b, for a > 0 */
    }
}

static fg_tensor *make_arith(fg_scope *s, void *arg) {
    const arith_args *q = arg;
    fg_tensor *x = q->a ? q->a : q->b;
    double c = q->c;
    if (q->a && q->b) return arith_tensors(s, q->code, q->a, q->b);
    bool left = q->a != NULL; /* x op c, else c op x */
    switch (q->code) {
    case ADD: return fg_affine(s, x, 1, c);
    case SUB: return left ? fg_affine(s, x, 1, -c) : fg_affine(s, x, -1, c);
    case MUL: return fg_affine(s, x, c, 0);
    case DIV:
        if (!left) return fg_div(s, number_tensor(s, c, x->dtype == FG_BF16 ? x : NULL), x);
        if (power_of_two(c) || x->dtype == FG_BF16) return fg_affine(s, x, 1 / c, 0);
        return fg_div(s, x, number_tensor(s, c, NULL)); /* rounded once, as a division should be */
    default:
        if (!left) return fg_exp(s, fg_affine(s, x, log(c), 0));
        return c == 2 ? fg_square(s, x) : fg_pow(s, x, c);
    }
}

/* upvalues: binding, code */
static int arith(lua_State *L) {
    binding *b = bind_enter(L);
    arith_args q = { .code = (int)lua_tointeger(L, lua_upvalueindex(2)) };
    q.a = bind_to_tensor(L, b, 1);
    q.b = bind_to_tensor(L, b, 2);
    if (!q.a || !q.b) {
        int other = q.a ? 2 : 1;
        if (lua_type(L, other) != LUA_TNUMBER || (!q.a && !q.b))
            return bind_raise(L, b, "attempt to %s a tensor and %s", verbs[q.code], bind_type_name(L, b, other));
        q.c = lua_tonumber(L, other);
        if (q.code == POW && !q.a && q.c <= 0) return bind_raise(L, b, "c ^ tensor needs c > 0, got %g", q.c);
    }
    return bind_make(L, b, make_arith, &q);
}

static fg_tensor *make_neg(fg_scope *s, void *arg) { return fg_neg(s, arg); }

static int unm(lua_State *L) {
    binding *b = bind_enter(L);
    return bind_make(L, b, make_neg, bind_check_tensor(L, b, "-", 1));
}

/* ---------------------------------------------------------------- ops with arguments of their own */
typedef struct list_args {
    fg_tensor **list;
    int n, axis;
    fg_tensor *x;
    fg_axes axes;
    int64_t first, len;
} list_args;

static fg_tensor *make_cat(fg_scope *s, void *arg) {
    list_args *a = arg;
    return fg_concat(s, a->list, a->n, a->axis);
}

/* cat({a, b, ...}, axis = 1) */
static int cat(lua_State *L) {
    binding *b = bind_enter(L);
    list_args a = { 0 };
    lua_settop(L, 2);
    a.list = bind_check_list(L, b, "cat", 1, &a.n);
    if (a.n == 0) return bind_arg_error(L, b, "cat", 1, "at least one tensor expected");
    if (!lua_isnil(L, 2)) a.axis = bind_check_axis(L, b, "cat", 2, a.list[0]->shape.ndim);
    return bind_make(L, b, make_cat, &a);
}

static fg_tensor *make_stack(fg_scope *s, void *arg) {
    list_args *a = arg;
    for (int i = 0; i < a->n; i++) {
        fg_shape sh = a->list[i]->shape;
        if (sh.ndim == FG_MAX_RANK)
            return fg_scope_error(s, FG_EINVAL, "stack: a tensor of rank %d cannot gain an axis", sh.ndim);
        memmove(sh.dim + a->axis + 1, sh.dim + a->axis, (size_t)(sh.ndim - a->axis) * sizeof sh.dim[0]);
        sh.dim[a->axis] = 1;
        sh.ndim++;
        a->list[i] = fg_reshape(s, a->list[i], sh);
        if (!a->list[i]) return NULL;
    }
    return fg_concat(s, a->list, a->n, a->axis);
}

/* stack({a, b, ...}, axis = 1): along a new axis. A retry would see reshaped inputs, so it has its own list each time. */
static int stack(lua_State *L) {
    binding *b = bind_enter(L);
    list_args a = { 0 };
    lua_settop(L, 2);
    a.list = bind_check_list(L, b, "stack", 1, &a.n);
    if (a.n == 0) return bind_arg_error(L, b, "stack", 1, "at least one tensor expected");
    for (int i = 1; i < a.n; i++)
        if (!fg_shape_equal(&a.list[i]->shape, &a.list[0]->shape))
            return bind_raise(L, b, "stack: tensor %d is %s, tensor 1 is %s", i + 1, fg_str(&a.list[i]->shape),
                              fg_str(&a.list[0]->shape));
    if (!lua_isnil(L, 2)) a.axis = bind_check_axis(L, b, "stack", 2, a.list[0]->shape.ndim + 1);
    bind_handle *h = bind_new_handle(L, b);
    if (!fg_enter(b->ctx)) return bind_raise(L, b, "another thread is inside this Lua state's context");
    fg_tensor *y = make_stack(b->scope, &a);
    if (y) bind_fill(h, fg_keep(y));
    fg_scope_release_to(b->scope, 0);
    fg_leave(b->ctx);
    return y ? 1 : bind_raise_last(L, b);
}

static fg_tensor *make_transpose(fg_scope *s, void *arg) {
    list_args *a = arg;
    return fg_transpose(s, a->x, a->axes.n ? &a->axes : NULL);
}

/* t:transpose() reverses the axes, t:transpose(a, b) swaps two, t:transpose{...} takes all in their new order */
static int transpose(lua_State *L) {
    binding *b = bind_enter(L);
    static const fg_attr perm[] = { FG_ATTR(FG_A_AXES, list_args, axes, 0), FG_ATTR_END };
    list_args a = { .x = bind_check_tensor(L, b, "transpose", 1) };
    int ndim = a.x->shape.ndim;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        int i = bind_check_axis(L, b, "transpose", 2, ndim), j = bind_check_axis(L, b, "transpose", 3, ndim);
        a.axes.n = ndim;
        for (int k = 0; k < ndim; k++) a.axes.axis[k] = k == i ? j : k == j ? i : k;
    } else {
        bind_read_attrs(L, b, "transpose", perm, 1, &a, 2);
        a.x = bind_check_tensor(L, b, "transpose", 1);
    }
    return bind_make(L, b, make_transpose, &a);
}

static fg_tensor *make_slice(fg_scope *s, void *arg) {
    list_args *a = arg;
    return fg_slice(s, a->x, a->axis, a->first, a->len);
}

/* t:slice(axis, first, last): both ends included, negative ones count from the end; last defaults to the end */
static int slice(lua_State *L) {
    binding *b = bind_enter(L);
    list_args a = { .x = bind_check_tensor(L, b, "slice", 1) };
    a.axis = bind_check_axis(L, b, "slice", 2, a.x->shape.ndim);
    int64_t size = a.x->shape.dim[a.axis];
    lua_Integer first = bind_check_int(L, b, "slice", 3), last = lua_isnoneornil(L, 4) ? size : bind_check_int(L, b, "slice", 4);
    int64_t from = first < 0 ? size + first + 1 : first, to = last < 0 ? size + last + 1 : last;
    if (from < 1 || to > size || to < from - 1)
        return bind_raise(L, b, "slice: %lld..%lld is no range in 1..%lld of axis %d of %s", (long long)first, (long long)last,
                          (long long)size, a.axis + 1, fg_str(&a.x->shape));
    a.first = from - 1;
    a.len = to - from + 1;
    return bind_make(L, b, make_slice, &a);
}

static fg_tensor *make_gather(fg_scope *s, void *arg) {
    fg_tensor **a = arg;
    return fg_gather(s, a[0], a[1]);
}

/* gather(table, ids): ids an i32 or u8 tensor of 0-based ids, or a Lua list of 1-based positions */
static int gather(lua_State *L) {
    binding *b = bind_enter(L);
    lua_settop(L, 2);
    bind_check_tensor(L, b, "gather", 1);
    bind_ids(L, b, "gather", 2);
    return bind_make(L, b, make_gather, (fg_tensor *[]){ bind_to_tensor(L, b, 1), bind_to_tensor(L, b, 2) });
}

static fg_tensor *make_cross_entropy(fg_scope *s, void *arg) {
    fg_tensor **a = arg;
    return fg_cross_entropy(s, a[0], a[1]);
}

/* cross_entropy(logits[N,K], labels[N]) -> [N]; labels 0-based, i32 or u8 (as in MNIST's files) */
static int cross_entropy(lua_State *L) {
    binding *b = bind_enter(L);
    lua_settop(L, 2);
    bind_check_tensor(L, b, "cross_entropy", 1);
    bind_check_tensor(L, b, "cross_entropy", 2);
    bind_ids(L, b, "cross_entropy", 2);
    return bind_make(L, b, make_cross_entropy, (fg_tensor *[]){ bind_to_tensor(L, b, 1), bind_to_tensor(L, b, 2) });
}

typedef struct loss_args {
    fg_tensor *x, *target;
    double number;
    fg_tensor *(*fn)(fg_scope *, fg_tensor *, fg_tensor *);
} loss_args;

static fg_tensor *make_loss(fg_scope *s, void *arg) {
    loss_args *a = arg;
    return a->fn(s, a->x, a->target ? a->target : fg_full(s, FG_F32, FG_SCALAR, a->number));
}

/* A loss whose target is a tensor that broadcasts to the input, or a number. */
static int loss(lua_State *L, const char *fname, fg_tensor *(*fn)(fg_scope *, fg_tensor *, fg_tensor *)) {
    binding *b = bind_enter(L);
    loss_args a = { .x = bind_check_tensor(L, b, fname, 1), .fn = fn };
    if (lua_type(L, 2) == LUA_TNUMBER) a.number = lua_tonumber(L, 2);
    else a.target = bind_check_tensor(L, b, fname, 2);
    return bind_make(L, b, make_loss, &a);
}

static int bce(lua_State *L) { return loss(L, "bce", fg_bce); }
static int bce_logits(lua_State *L) { return loss(L, "bce_logits", fg_bce_logits); }

typedef struct norm_args {
    fg_tensor *in[5];
    fg_batch_norm_opts o;
} norm_args;

static fg_tensor *make_norm(fg_scope *s, void *arg) {
    norm_args *a = arg;
    return fg_batch_norm(s, a->in[0], a->in[1], a->in[2], a->in[3], a->in[4], &a->o);
}

/* batch_norm(x, gamma, beta, running_mean, running_var, options): all but x may be nil; the op itself has one more input */
static int batch_norm(lua_State *L) {
    binding *b = bind_enter(L);
    norm_args a = { .in = { bind_check_tensor(L, b, "batch_norm", 1) } };
    for (int i = 1; i < 5; i++)
        if (!lua_isnoneornil(L, i + 1)) a.in[i] = bind_check_tensor(L, b, "batch_norm", i + 1);
    bind_read_attrs(L, b, "batch_norm", fg_op_batch_norm.attrs, 0, &a.o, 6);
    return bind_make(L, b, make_norm, &a);
}

/* ---------------------------------------------------------------- opening */
void bind_ops_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg own[] = { { "concat", cat },
                                    { "cat", cat },
                                    { "stack", stack },
                                    { "transpose", transpose },
                                    { "slice", slice },
                                    { "gather", gather },
                                    { "cross_entropy", cross_entropy },
                                    { "bce", bce },
                                    { "bce_logits", bce_logits },
                                    { "batch_norm", batch_norm },
                                    { NULL, NULL } };
    lua_newtable(L);
    int ops = lua_gettop(L);
    for (int i = 0; fg_op_table[i]; i++) {
        const fg_op *op = fg_op_table[i];
        if (op->flags & FG_OPF_INTERNAL) continue;
        bind_push_self(L);
        lua_pushlightuserdata(L, (void *)op);
        lua_pushcclosure(L, call_op, 2);
        lua_setfield(L, ops, op->name);
    }
    bind_funcs(L, b, own);
    lua_getfield(L, core, "methods");
    lua_pushnil(L);
    while (lua_next(L, ops)) { /* the order does not matter: keys are distinct */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, ops + 1);
    }
    lua_pushnil(L); /* these take a list, not a tensor, first */
    lua_setfield(L, ops + 1, "cat");
    lua_pushnil(L);
    lua_setfield(L, ops + 1, "concat");
    lua_pushnil(L);
    lua_setfield(L, ops + 1, "stack");
    lua_settop(L, ops);
    lua_setfield(L, core, "ops");

    static const char *const events[] = { "__add", "__sub", "__mul", "__div", "__pow" };
    lua_getfield(L, core, "tensor_metatable");
    for (int i = 0; i < 5; i++) {
        bind_push_self(L);
        lua_pushinteger(L, i);
        lua_pushcclosure(L, arith, 2);
        lua_setfield(L, -2, events[i]);
    }
    bind_push_self(L);
    lua_pushcclosure(L, unm, 1);
    lua_setfield(L, -2, "__unm");
    lua_settop(L, core);
}
