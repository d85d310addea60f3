/* bind_access.c: reading and writing tensors from Lua: numbers in and out, rows, slices, in-place methods, copies.
 *
 * Values of u8 and i32 tensors are Lua integers, of f32 and bf16 floats. Writing never records: the core refuses it where a graph
 * could be falsified (a tensor with history, a leaf that requires grad outside no_grad, a view). */
#include "bind.h"

#include <math.h>
#include <string.h>

static void push_value(lua_State *L, const fg_tensor *t, int64_t i) {
    double v = fg_tensor_at(t, i);
    if (t->dtype == FG_U8 || t->dtype == FG_I32) lua_pushinteger(L, (lua_Integer)v);
    else lua_pushnumber(L, v);
}

static void store_value(fg_tensor *t, int64_t i, double v) {
    char *p = (char *)fg_data(t) + (size_t)i * fg_dtype_size(t->dtype);
    fg_real r = (fg_real)v;
    if (t->dtype == FG_I32) *(int32_t *)p = (int32_t)v;
    else if (t->dtype == FG_U8) *(uint8_t *)p = (uint8_t)v;
    else fg_convert(t->ctx, FG_F32, &r, t->dtype, p, 1);
}

static double check_value(lua_State *L, binding *b, const char *fname, int idx, const fg_tensor *t) {
    double v = bind_check_number(L, b, fname, idx);
    if ((t->dtype == FG_I32 && !(v > -2147483649.0 && v < 2147483648.0)) || (t->dtype == FG_U8 && !(v > -1 && v < 256)))
        bind_arg_error(L, b, fname, idx, "%g does not fit dtype %s", v, fg_dtype_name(t->dtype));
    return v;
}

/* ---------------------------------------------------------------- numbers */
static int item(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "item", 1);
    if (t->numel != 1) return bind_raise(L, b, "item: a tensor of one element expected, got shape %s", fg_str(&t->shape));
    push_value(L, t, 0);
    return 1;
}

static int64_t push_nested(lua_State *L, const fg_tensor *t, int axis, int64_t at) {
    if (axis == t->shape.ndim) {
        push_value(L, t, at);
        return at + 1;
    }
    int64_t n = t->shape.dim[axis];
    luaL_checkstack(L, 6, "totable");
    lua_createtable(L, n < INT32_MAX ? (int)n : 0, 0);
    for (int64_t i = 0; i < n; i++) {
        at = push_nested(L, t, axis + 1, at);
        lua_rawseti(L, -2, i + 1);
    }
    return at;
}

static int totable(lua_State *L) {
    binding *b = bind_enter(L);
    push_nested(L, bind_check_tensor(L, b, "totable", 1), 0, 0);
    return 1;
}

/* 0-based flat index from `count` Lua positions that start at argument first. */
static int64_t flat_index(lua_State *L, binding *b, const char *fname, const fg_tensor *t, int first, int count) {
    if (count != t->shape.ndim)
        bind_raise(L, b, "%s: a tensor of shape %s takes %d positions, got %d", fname, fg_str(&t->shape), t->shape.ndim, count);
    int64_t at = 0;
    for (int a = 0; a < count; a++) {
        lua_Integer i = bind_check_int(L, b, fname, first + a);
        int64_t n = t->shape.dim[a], k = i < 0 ? n + i : i - 1;
        if (k < 0 || k >= n || i == 0)
            bind_arg_error(L, b, fname, first + a, "index %lld is out of range 1..%lld of axis %d", (long long)i, (long long)n,
                           a + 1);
        at = at * n + k;
    }
    return at;
}

static int get(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "get", 1);
    push_value(L, t, flat_index(L, b, "get", t, 2, lua_gettop(L) - 1));
    return 1;
}

static int set(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "set", 1);
    int top = lua_gettop(L);
    int64_t at = flat_index(L, b, "set", t, 2, top - 2);
    double v = check_value(L, b, "set", top, t);
    if (fg_tensor_begin_write(t, "set") != FG_OK) return bind_raise_last(L, b);
    store_value(t, at, v);
    lua_settop(L, 1);
    return 1;
}

/* ---------------------------------------------------------------- rows and slices */
/* Writes the number or tensor at argument `value` into rows first..first+len-1 of axis; the tensor must have the slice's
 * shape (`drop`: without that axis). */
static void write_slice(lua_State *L, binding *b, const char *fname, fg_tensor *t, int axis, int64_t first, int64_t len,
                        int value, bool drop) {
    fg_tensor *v = bind_to_tensor(L, b, value);
    double c = v ? 0 : check_value(L, b, fname, value, t);
    fg_shape want = t->shape;
    want.dim[axis] = len;
    if (drop) {
        want.ndim--;
        memmove(want.dim + axis, want.dim + axis + 1, (size_t)(want.ndim - axis) * sizeof want.dim[0]);
    }
    if (v && !fg_shape_equal(&v->shape, &want))
        bind_raise(L, b, "%s: the place has shape %s, the value %s", fname, fg_str(&want), fg_str(&v->shape));
    if (v && v->storage == t->storage)
        bind_raise(L, b, "%s: the value shares memory with the tensor it is written to: use v:clone()", fname);
    if (fg_tensor_begin_write(t, fname) != FG_OK) bind_raise_last(L, b);
    int64_t inner = 1, outer = 1;
    for (int i = axis + 1; i < t->shape.ndim; i++) inner *= t->shape.dim[i];
    for (int i = 0; i < axis; i++) outer *= t->shape.dim[i];
    size_t cell = fg_dtype_size(t->dtype);
    for (int64_t o = 0; o < outer; o++) {
        int64_t at = (o * t->shape.dim[axis] + first) * inner, n = len * inner;
        if (v) {
            fg_convert(t->ctx, v->dtype, (const char *)fg_data(v) + (size_t)(o * n) * fg_dtype_size(v->dtype), t->dtype,
                       (char *)fg_data(t) + (size_t)at * cell, (size_t)n);
        } else {
            for (int64_t i = 0; i < n; i++) store_value(t, at + i, c);
        }
    }
}

/* t[i] = v */
static int set_row(lua_State *L) {
    binding *b = bind_enter(L);
    fg_tensor *t = bind_check_tensor(L, b, "tensor assignment", 1);
    lua_Integer i = bind_check_int(L, b, "tensor assignment", 2);
    if (t->shape.ndim == 0) return bind_raise(L, b, "a tensor of rank 0 cannot be indexed: use t:fill_(v)");
    int64_t n = t->shape.dim[0], at = i < 0 ? n + i : i - 1;
    if (at < 0 || at >= n || i == 0)
        return bind_raise(L, b, "index %lld is out of range 1..%lld of axis 1", (long long)i, (long long)n);
    write_slice(L, b, "tensor assignment", t, 0, at, 1, 3, true);
    return 0;
}

/* t:set_slice(axis, first, last, value) */
static int set_slice(lua_State *L) {
    binding *b = bind_enter(L);
    fg_tensor *t = bind_check_tensor(L, b, "set_slice", 1);
    int axis = bind_check_axis(L, b, "set_slice", 2, t->shape.ndim);
    int64_t size = t->shape.dim[axis];
    lua_Integer first = bind_check_int(L, b, "set_slice", 3), last = bind_check_int(L, b, "set_slice", 4);
    int64_t from = first < 0 ? size + first + 1 : first, to = last < 0 ? size + last + 1 : last;
    if (from < 1 || to > size || to < from - 1)
        return bind_raise(L, b, "set_slice: %lld..%lld is no range in 1..%lld of axis %d", (long long)first, (long long)last,
                          (long long)size, axis + 1);
    write_slice(L, b, "set_slice", t, axis, from - 1, to - from + 1, 5, false);
    lua_settop(L, 1);
    return 1;
}

/* ---------------------------------------------------------------- in place */
static int fill(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "fill_", 1);
    if (fg_tensor_fill(t, check_value(L, b, "fill_", 2, t)) != FG_OK) return bind_raise_last(L, b);
    lua_settop(L, 1);
    return 1;
}

static int zero(lua_State *L) {
    binding *b = bind_self(L);
    if (fg_tensor_fill(bind_check_tensor(L, b, "zero_", 1), 0) != FG_OK) return bind_raise_last(L, b);
    lua_settop(L, 1);
    return 1;
}

static int copy(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "copy_", 1), *v = bind_check_tensor(L, b, "copy_", 2);
    if (fg_tensor_copy(t, v) != FG_OK) return bind_raise_last(L, b);
    lua_settop(L, 1);
    return 1;
}

/* Draws new values: t:uniform_(lo, hi), t:normal_(mean, std), from the stream "init". */
static int draw(lua_State *L, const char *fname, double p, double q, fg_status (*init)(fg_tensor *, double, double)) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, fname, 1);
    if (!lua_isnoneornil(L, 2)) p = bind_check_number(L, b, fname, 2);
    if (!lua_isnoneornil(L, 3)) q = bind_check_number(L, b, fname, 3);
    if (init(t, p, q) != FG_OK) return bind_raise_last(L, b);
    lua_settop(L, 1);
    return 1;
}

static int uniform(lua_State *L) { return draw(L, "uniform_", 0, 1, fg_init_uniform); }
static int normal(lua_State *L) { return draw(L, "normal_", 0, 1, fg_init_normal); }

static const char *const inplace_names[] = { "add_", "sub_", "mul_", "div_", "clamp_" };

/* t:add_(x) and friends: the value is computed unrecorded, then copied. upvalue 2: which. t:add_(x, alpha) adds alpha*x. */
static int inplace(lua_State *L) {
    binding *b = bind_enter(L);
    int code = (int)lua_tointeger(L, lua_upvalueindex(2));
    const char *fname = inplace_names[code];
    fg_tensor *t = bind_check_tensor(L, b, fname, 1), *x = bind_to_tensor(L, b, 2);
    double c = x && code != 4 ? 1 : bind_check_number(L, b, fname, 2), d = 0;
    if (code == 4) d = bind_check_number(L, b, fname, 3);
    if (x && code <= 1 && !lua_isnoneornil(L, 3)) c = bind_check_number(L, b, fname, 3);
    if (!fg_enter(b->ctx)) return bind_raise(L, b, "another thread is inside this Lua state's context");
    fg_scope *s = b->scope;
    bool was = fg_set_grad_enabled(b->ctx, false);
    fg_tensor *y;
    if (x && c != 1) x = fg_affine(s, x, c, 0);
    switch (code) {
    case 0: y = x ? fg_add(s, t, x) : fg_affine(s, t, 1, c); break;
    case 1: y = x ? fg_sub(s, t, x) : fg_affine(s, t, 1, -c); break;
    case 2: y = x ? fg_mul(s, t, x) : fg_affine(s, t, c, 0); break;
    case 3: y = fg_div(s, t, x ? x : fg_full(s, FG_F32, FG_SCALAR, c)); break;
    default: y = fg_clamp(s, t, c, d); break;
    }
    fg_set_grad_enabled(b->ctx, was);
    bool ok = y && fg_tensor_copy(t, y) == FG_OK;
    fg_scope_release_to(s, 0);
    fg_leave(b->ctx);
    if (!ok) return bind_raise_last(L, b);
    lua_settop(L, 1);
    return 1;
}

/* ---------------------------------------------------------------- copies and questions */
static fg_tensor *make_clone(fg_scope *s, void *arg) {
    fg_tensor *t = arg;
    if (t->requires_grad && fg_grad_enabled(s->ctx)) return fg_affine(s, t, 1, 0);
    fg_tensor *y = fg_empty(s, t->dtype, t->shape);
    return y && fg_tensor_copy(y, t) == FG_OK ? y : fg_scope_fail(s);
}

static int clone(lua_State *L) {
    binding *b = bind_enter(L);
    return bind_make(L, b, make_clone, bind_check_tensor(L, b, "clone", 1));
}

static fg_tensor *make_detach(fg_scope *s, void *arg) { return fg_detach(s, arg); }

static int detach(lua_State *L) {
    binding *b = bind_enter(L);
    return bind_make(L, b, make_detach, bind_check_tensor(L, b, "detach", 1));
}

typedef struct cast_args {
    fg_tensor *t;
    fg_dtype dt;
} cast_args;
static fg_tensor *make_cast(fg_scope *s, void *arg) { return fg_cast(s, ((cast_args *)arg)->t, ((cast_args *)arg)->dt); }

static int to(lua_State *L) {
    binding *b = bind_enter(L);
    cast_args a = { .t = bind_check_tensor(L, b, "to", 1), .dt = bind_check_dtype(L, b, "to", 2) };
    if (a.t->dtype == a.dt) {
        lua_settop(L, 1);
        return 1;
    }
    return bind_make(L, b, make_cast, &a);
}

static int requires_grad(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "requires_grad_", 1);
    bool on = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
    if (fg_tensor_set_requires_grad(t, on) != FG_OK) return bind_raise_last(L, b);
    lua_settop(L, 1);
    return 1;
}

static int is_leaf(lua_State *L) {
    binding *b = bind_self(L);
    lua_pushboolean(L, fg_tensor_is_leaf(bind_check_tensor(L, b, "is_leaf", 1)));
    return 1;
}

static int op_name(lua_State *L) {
    binding *b = bind_self(L);
    const char *name = fg_tensor_op_name(bind_check_tensor(L, b, "op_name", 1));
    lua_pushstring(L, name && *name ? name : NULL);
    return 1;
}

static int size(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "size", 1);
    if (lua_isnoneornil(L, 2)) bind_push_shape(L, &t->shape);
    else lua_pushinteger(L, t->shape.dim[bind_check_axis(L, b, "size", 2, t->shape.ndim)]);
    return 1;
}

static int numel(lua_State *L) {
    binding *b = bind_self(L);
    lua_pushinteger(L, bind_check_tensor(L, b, "numel", 1)->numel);
    return 1;
}

static int is_finite(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "is_finite", 1);
    int bad = 0;
    if (t->dtype == FG_F32) {
        const fg_real *x = fg_reals(t);
        for (int64_t i = 0; i < t->numel; i++) bad |= !isfinite(x[i]);
    } else if (t->dtype == FG_BF16) {
        const uint16_t *x = fg_data(t);
        for (int64_t i = 0; i < t->numel; i++) bad |= (x[i] & 0x7f80) == 0x7f80;
    }
    lua_pushboolean(L, !bad);
    return 1;
}

/* equal(a, b): same shape, same dtype, same values; NaN differs from all */
static int equal(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *x = bind_check_tensor(L, b, "equal", 1), *y = bind_check_tensor(L, b, "equal", 2);
    bool same = x->dtype == y->dtype && fg_shape_equal(&x->shape, &y->shape);
    for (int64_t i = 0; same && i < x->numel; i++) same = fg_tensor_at(x, i) == fg_tensor_at(y, i);
    lua_pushboolean(L, same);
    return 1;
}

static int is_tensor(lua_State *L) {
    binding *b = bind_self(L);
    luaL_checkany(L, 1);
    lua_pushboolean(L, bind_is_tensor(L, b, 1));
    return 1;
}

/* ---------------------------------------------------------------- opening */
void bind_access_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg methods[] = { { "item", item },
                                        { "totable", totable },
                                        { "get", get },
                                        { "set", set },
                                        { "set_slice", set_slice },
                                        { "fill_", fill },
                                        { "zero_", zero },
                                        { "copy_", copy },
                                        { "uniform_", uniform },
                                        { "normal_", normal },
                                        { "clone", clone },
                                        { "detach", detach },
                                        { "to", to },
                                        { "requires_grad_", requires_grad },
                                        { "is_leaf", is_leaf },
                                        { "op_name", op_name },
                                        { "size", size },
                                        { "numel", numel },
                                        { "is_finite", is_finite },
                                        { NULL, NULL } };
    static const luaL_Reg funcs[] = { { "equal", equal }, { "is_tensor", is_tensor }, { NULL, NULL } };
    lua_settop(L, core);
    bind_funcs(L, b, funcs);
    lua_getfield(L, core, "methods");
    bind_funcs(L, b, methods);
    for (int i = 0; i < 5; i++) {
        bind_push_self(L);
        lua_pushinteger(L, i);
        lua_pushcclosure(L, inplace, 2);
        lua_setfield(L, -2, inplace_names[i]);
    }
    bind_push_self(L);
    lua_pushcclosure(L, set_row, 1);
    b->ref_fields = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, core);
}
