/* bind_create.c: making tensors: from tables, filled, random. Shapes come as zeros(2, 3), zeros{2, 3} or with named options in
 * the same or a trailing table, zeros{2, 3, dtype = "u8"}. */
#include "bind.h"

#include <math.h>
#include <string.h>

typedef struct create_args {
    fg_shape shape;
    fg_dtype dtype;
    bool requires_grad;
    fg_stream stream;
    double lo, hi; /* bounds, mean and std, first and step, value */
    int64_t n;
    void *data;
} create_args;

/* ---------------------------------------------------------------- options */
typedef struct option {
    const char *name;
    enum { O_DTYPE, O_GRAD, O_STREAM, O_LO, O_HI } kind;
} option;
static const option plain_options[] = { { "dtype", O_DTYPE }, { "requires_grad", O_GRAD }, { NULL, O_DTYPE } };
static const option rand_options[] = {
    { "stream", O_STREAM }, { "requires_grad", O_GRAD }, { "low", O_LO }, { "high", O_HI }, { NULL, O_DTYPE }
};
static const option randn_options[] = {
    { "stream", O_STREAM }, { "requires_grad", O_GRAD }, { "mean", O_LO }, { "std", O_HI }, { NULL, O_DTYPE }
};

static void read_options(lua_State *L, binding *b, const char *fname, const option *known, int idx, bool has_array,
                         create_args *a) {
    const char *names[8];
    int n = 0;
    for (; known[n].name; n++) names[n] = known[n].name;
    names[n] = NULL;
    if (lua_isnoneornil(L, idx)) return;
    if (!lua_istable(L, idx))
        bind_arg_error(L, b, fname, idx, "a size or a table of options expected, got %s", bind_type_name(L, b, idx));
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        int value = lua_gettop(L);
        if (lua_type(L, -2) != LUA_TSTRING) {
            if (!has_array) bind_raise(L, b, "%s: options are named, got %s as a name", fname, bind_type_name(L, b, value - 1));
            lua_pop(L, 1);
            continue;
        }
        const char *name = lua_tostring(L, -2);
        int i = 0;
        while (known[i].name && strcmp(known[i].name, name) != 0) i++;
        if (!known[i].name) bind_unknown(L, b, fname, "option", name, names);
        switch (known[i].kind) {
        case O_DTYPE: a->dtype = bind_check_dtype(L, b, fname, value); break;
        case O_STREAM: a->stream = bind_check_stream(L, b, fname, value); break;
        case O_GRAD:
            if (!lua_isboolean(L, value)) bind_raise(L, b, "%s: 'requires_grad' is true or false", fname);
            a->requires_grad = lua_toboolean(L, value);
            break;
        default:
            if (lua_type(L, value) != LUA_TNUMBER)
                bind_raise(L, b, "%s: '%s' is a number, got %s", fname, name, bind_type_name(L, b, value));
            *(known[i].kind == O_LO ? &a->lo : &a->hi) = lua_tonumber(L, value);
        }
        lua_pop(L, 1);
    }
}

/* Shape and options from argument 1 on. */
static void read_shape(lua_State *L, binding *b, const char *fname, const option *known, create_args *a) {
    int next;
    if (lua_gettop(L) == 0) bind_arg_error(L, b, fname, 1, "sizes expected, as in %s(2, 3) or %s{2, 3}", fname, fname);
    bind_check_shape(L, b, fname, 1, &a->shape, &next);
    if (lua_istable(L, 1)) read_options(L, b, fname, known, 1, true, a);
    read_options(L, b, fname, known, next, false, a);
    if (lua_gettop(L) > next) bind_arg_error(L, b, fname, next + 1, "one argument too many");
}

static int finish(lua_State *L, binding *b, const create_args *a) {
    bind_handle *h = lua_touserdata(L, -1);
    if (a->requires_grad && fg_tensor_set_requires_grad(h->t, true) != FG_OK) return bind_raise_last(L, b);
    return 1;
}

/* ---------------------------------------------------------------- filled */
static fg_tensor *make_full(fg_scope *s, void *arg) {
    create_args *a = arg;
    return a->lo == 0 ? fg_zeros(s, a->dtype, a->shape) : fg_full(s, a->dtype, a->shape, a->lo);
}

static int filled(lua_State *L, const char *fname, double value) {
    binding *b = bind_enter(L);
    create_args a = { .lo = value };
    read_shape(L, b, fname, plain_options, &a);
    bind_make(L, b, make_full, &a);
    return finish(L, b, &a);
}

static int zeros(lua_State *L) { return filled(L, "zeros", 0); }
static int ones(lua_State *L) { return filled(L, "ones", 1); }

/* full({2, 3}, value, options) */
static int full(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { 0 };
    int next;
    if (!lua_istable(L, 1)) return bind_arg_error(L, b, "full", 1, "a list of sizes expected, got %s", bind_type_name(L, b, 1));
    bind_check_shape(L, b, "full", 1, &a.shape, &next);
    read_options(L, b, "full", plain_options, 1, true, &a);
    a.lo = bind_check_number(L, b, "full", 2);
    read_options(L, b, "full", plain_options, 3, false, &a);
    bind_make(L, b, make_full, &a);
    return finish(L, b, &a);
}

static fg_tensor *make_eye(fg_scope *s, void *arg) {
    create_args *a = arg;
    fg_tensor *t = fg_zeros(s, FG_F32, FG_SHAPE(a->n, a->n));
    if (!t) return NULL;
    fg_real *x = fg_tensor_data_mut(t);
    for (int64_t i = 0; x && i < a->n; i++) x[i * a->n + i] = 1;
    return x ? t : fg_scope_fail(s);
}

static int eye(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { .n = bind_check_int(L, b, "eye", 1) };
    if (a.n < 0) return bind_arg_error(L, b, "eye", 1, "a size from 0 up expected");
    return bind_make(L, b, make_eye, &a);
}

static fg_tensor *make_arange(fg_scope *s, void *arg) {
    create_args *a = arg;
    return fg_arange(s, a->dtype, a->lo, a->hi, a->n);
}

/* arange(n): 0..n-1; arange(first, end [, step]) stops before end, as NumPy and PyTorch do; a trailing table of options */
static int arange(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { 0 };
    int n = lua_gettop(L);
    if (lua_istable(L, n)) {
        read_options(L, b, "arange", plain_options, n, false, &a);
        n--;
    }
    double first = 0, end = bind_check_number(L, b, "arange", 1), step = 1;
    if (n >= 2) {
        first = end;
        end = bind_check_number(L, b, "arange", 2);
        if (n >= 3) step = bind_check_number(L, b, "arange", 3);
    }
    double count = ceil((end - first) / step);
    if (step == 0 || !(count < 1e15))
        return bind_raise(L, b, "arange: from %g to %g in steps of %g is no range", first, end, step);
    a.lo = first;
    a.hi = step;
    a.n = count < 0 ? 0 : (int64_t)count;
    bind_make(L, b, make_arange, &a);
    return finish(L, b, &a);
}

/* linspace(first, last, n): n numbers, both ends included */
static int linspace(lua_State *L) {
    binding *b = bind_enter(L);
    double first = bind_check_number(L, b, "linspace", 1), last = bind_check_number(L, b, "linspace", 2);
    create_args a = { .lo = first, .n = bind_check_int(L, b, "linspace", 3) };
    if (a.n < 0) return bind_arg_error(L, b, "linspace", 3, "a count from 0 up expected");
    a.hi = a.n > 1 ? (last - first) / (double)(a.n - 1) : 0;
    return bind_make(L, b, make_arange, &a);
}

/* ---------------------------------------------------------------- random */
static fg_tensor *make_rand(fg_scope *s, void *arg) {
    create_args *a = arg;
    return fg_uniform(s, a->shape, a->lo, a->hi, a->stream);
}

static fg_tensor *make_randn(fg_scope *s, void *arg) {
    create_args *a = arg;
    return fg_normal(s, a->shape, a->lo, a->hi, a->stream);
}

static int rand_uniform(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { .stream = FG_STREAM_DEFAULT, .lo = 0, .hi = 1 };
    read_shape(L, b, "rand", rand_options, &a);
    bind_make(L, b, make_rand, &a);
    return finish(L, b, &a);
}

static int rand_normal(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { .stream = FG_STREAM_DEFAULT, .lo = 0, .hi = 1 };
    read_shape(L, b, "randn", randn_options, &a);
    bind_make(L, b, make_randn, &a);
    return finish(L, b, &a);
}

static const option int_options[] = { { "stream", O_STREAM }, { NULL, O_DTYPE } };

static fg_tensor *make_randperm(fg_scope *s, void *arg) {
    create_args *a = arg;
    fg_tensor *t = fg_empty(s, FG_I32, FG_SHAPE(a->n));
    int32_t *ids = t ? fg_tensor_data_mut(t) : NULL;
    if (!ids) return fg_scope_fail(s);
    fg_random_permutation(s->ctx, a->stream, ids, (int32_t)a->n);
    return t;
}

/* randperm(n, {stream=}): i32 tensor of 0..n-1, shuffled */
static int randperm(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { .n = bind_check_int(L, b, "randperm", 1) };
    if (a.n < 0 || a.n > INT32_MAX) return bind_arg_error(L, b, "randperm", 1, "a count from 0 to 2147483647 expected");
    read_options(L, b, "randperm", int_options, 2, false, &a);
    return bind_make(L, b, make_randperm, &a);
}

static fg_tensor *make_randint(fg_scope *s, void *arg) {
    create_args *a = arg;
    fg_tensor *t = fg_empty(s, FG_I32, FG_SHAPE(a->n));
    int32_t *ids = t ? fg_tensor_data_mut(t) : NULL;
    if (!ids) return fg_scope_fail(s);
    for (int64_t i = 0; i < a->n; i++)
        ids[i] = (int32_t)(a->lo + (double)fg_random_below(s->ctx, a->stream, (uint64_t)(a->hi - a->lo + 1)));
    return t;
}

/* randint(n, lo, hi, {stream=}): i32 tensor of n integers in lo..hi, both included */
static int randint(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { .n = bind_check_int(L, b, "randint", 1) };
    lua_Integer lo = bind_check_int(L, b, "randint", 2), hi = bind_check_int(L, b, "randint", 3);
    if (a.n < 0) return bind_arg_error(L, b, "randint", 1, "a count from 0 up expected");
    if (lo < INT32_MIN || hi > INT32_MAX || lo > hi)
        return bind_raise(L, b, "randint: %lld..%lld is no range", (long long)lo, (long long)hi);
    a.lo = (double)lo;
    a.hi = (double)hi;
    read_options(L, b, "randint", int_options, 4, false, &a);
    return bind_make(L, b, make_randint, &a);
}

/* ---------------------------------------------------------------- from tables */
/* The path of a place in a nested table, "[2][3]". */
static const char *path_text(lua_State *L, const lua_Integer *at, int depth) {
    lua_pushliteral(L, "");
    for (int i = 0; i < depth; i++) {
        lua_pushfstring(L, "[%I]", at[i]);
        lua_concat(L, 2);
    }
    return lua_tostring(L, -1);
}

/* Shape of the table at the top, from its first elements. */
static void table_shape(lua_State *L, binding *b, fg_shape *sh) {
    int top = lua_gettop(L);
    lua_pushvalue(L, top);
    while (lua_istable(L, -1)) {
        if (sh->ndim == FG_MAX_RANK) bind_raise(L, b, "tensor: a table nested deeper than %d", FG_MAX_RANK);
        sh->dim[sh->ndim++] = (int64_t)lua_rawlen(L, -1);
        if (sh->dim[sh->ndim - 1] == 0) break;
        lua_rawgeti(L, -1, 1);
    }
    lua_settop(L, top);
}

static void put(create_args *a, double v) {
    if (a->dtype == FG_I32) ((int32_t *)a->data)[a->n++] = (int32_t)v;
    else if (a->dtype == FG_U8) ((uint8_t *)a->data)[a->n++] = (uint8_t)v;
    else ((fg_real *)a->data)[a->n++] = (fg_real)v;
}

static void fill_from(lua_State *L, binding *b, create_args *a, int depth, lua_Integer *at) {
    luaL_checkstack(L, 12, "tensor");
    int idx = lua_gettop(L);
    if (depth == a->shape.ndim) {
        if (lua_type(L, idx) != LUA_TNUMBER)
            bind_raise(L, b, "tensor: element %s is %s, not a number", path_text(L, at, depth), bind_type_name(L, b, idx));
        double v = lua_tonumber(L, idx);
        if ((a->dtype == FG_I32 && !(v > -2147483649.0 && v < 2147483648.0)) || (a->dtype == FG_U8 && !(v > -1 && v < 256)))
            bind_raise(L, b, "tensor: element %s = %g does not fit dtype %s", path_text(L, at, depth), v,
                       fg_dtype_name(a->dtype));
        put(a, v);
        return;
    }
    if (!lua_istable(L, idx))
        bind_raise(L, b, "tensor: ragged table: element %s is %s, not a table", path_text(L, at, depth),
                   bind_type_name(L, b, idx));
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
    if (n != a->shape.dim[depth]) {
        if (depth == 0) bind_raise(L, b, "tensor: the table changed while it was read");
        lua_Integer first[FG_MAX_RANK];
        for (int i = 0; i < depth; i++) first[i] = 1;
        bind_raise(L, b, "tensor: ragged table: %s has %lld elements, %s has %lld", path_text(L, at, depth), (long long)n,
                   path_text(L, first, depth), (long long)a->shape.dim[depth]);
    }
    for (lua_Integer i = 1; i <= n; i++) {
        at[depth] = i;
        lua_rawgeti(L, idx, i);
        fill_from(L, b, a, depth + 1, at);
        lua_settop(L, idx);
    }
}

static fg_tensor *make_from_data(fg_scope *s, void *arg) {
    create_args *a = arg;
    if (a->dtype == FG_I32) return fg_from_i32(s, a->shape, a->data);
    if (a->dtype == FG_U8) return fg_from_u8(s, a->shape, a->data);
    fg_tensor *t = fg_from_reals(s, a->shape, a->data);
    return a->dtype == FG_BF16 ? fg_detach(s, fg_cast(s, t, FG_BF16)) : t;
}

/* tensor(number or nested table, options or dtype) */
static int tensor(lua_State *L) {
    binding *b = bind_enter(L);
    create_args a = { .dtype = FG_F32 };
    lua_settop(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING) a.dtype = bind_check_dtype(L, b, "tensor", 2);
    else read_options(L, b, "tensor", plain_options, 2, false, &a);
    if (lua_type(L, 1) != LUA_TNUMBER && !lua_istable(L, 1))
        return bind_arg_error(L, b, "tensor", 1, "a number or a nested table of numbers expected, got %s",
                              bind_type_name(L, b, 1));
    lua_pushvalue(L, 1);
    table_shape(L, b, &a.shape);
    size_t bytes, cell = a.dtype == FG_I32 ? sizeof(int32_t) : a.dtype == FG_U8 ? 1 : sizeof(fg_real);
    if (!fg_shape_bytes(&a.shape, cell, &bytes)) return bind_raise(L, b, "tensor: %s is too large", fg_str(&a.shape));
    a.data = lua_newuserdatauv(L, bytes ? bytes : 1, 0);
    lua_insert(L, 3); /* under the table */
    lua_Integer at[FG_MAX_RANK];
    fill_from(L, b, &a, 0, at);
    bind_make(L, b, make_from_data, &a);
    return finish(L, b, &a);
}

/* ---------------------------------------------------------------- opening */
void bind_create_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg funcs[] = { { "zeros", zeros },       { "ones", ones },         { "full", full },
                                      { "eye", eye },           { "arange", arange },     { "linspace", linspace },
                                      { "rand", rand_uniform }, { "randn", rand_normal }, { "randperm", randperm },
                                      { "randint", randint },   { "tensor", tensor },     { NULL, NULL } };
    lua_settop(L, core);
    bind_funcs(L, b, funcs);
}
