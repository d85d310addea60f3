/* bind_args.c: Lua arguments into C values and back. One reader of fg_attr serves all ops, layers and optimizers.
 *
 * Numbers: integers, or floats with an integral value (28/2), where a size or an index is meant; never strings. Axes and
 * positions count from 1 in Lua, -1 is the last. Unknown names raise with the nearest known one. */
#include "bind.h"

#include <stdio.h>
#include <string.h>

const char *bind_type_name(lua_State *L, binding *b, int idx) {
    switch (lua_type(L, idx)) {
    case LUA_TNONE: return "nothing";
    case LUA_TNIL: return "nil";
    case LUA_TSTRING: return lua_pushfstring(L, "the string '%s'", lua_tostring(L, idx));
    case LUA_TNUMBER:
        lua_pushvalue(L, idx);
        lua_pushfstring(L, "the number %s", lua_tostring(L, -1));
        lua_remove(L, -2);
        return lua_tostring(L, -1);
    case LUA_TBOOLEAN: return lua_toboolean(L, idx) ? "true" : "false";
    case LUA_TUSERDATA: return bind_is_tensor(L, b, idx) ? "a tensor" : "a userdata";
    case LUA_TTABLE: return "a table";
    default: return lua_pushfstring(L, "a %s", luaL_typename(L, idx));
    }
}

/* ---------------------------------------------------------------- numbers */
bool bind_to_int(lua_State *L, int idx, lua_Integer *out) {
    if (lua_type(L, idx) != LUA_TNUMBER) return false;
    int ok;
    *out = lua_tointegerx(L, idx, &ok);
    return ok;
}

lua_Integer bind_check_int(lua_State *L, binding *b, const char *fname, int idx) {
    lua_Integer v = 0;
    if (!bind_to_int(L, idx, &v)) bind_arg_error(L, b, fname, idx, "an integer expected, got %s", bind_type_name(L, b, idx));
    return v;
}

double bind_check_number(lua_State *L, binding *b, const char *fname, int idx) {
    if (lua_type(L, idx) != LUA_TNUMBER) bind_arg_error(L, b, fname, idx, "a number expected, got %s", bind_type_name(L, b, idx));
    return lua_tonumber(L, idx);
}

static bool axis_from(lua_Integer v, int *out) {
    if (v == 0 || v > 127 || v < -128) return false;
    *out = v > 0 ? (int)v - 1 : (int)v;
    return true;
}

int bind_check_axis(lua_State *L, binding *b, const char *fname, int idx, int ndim) {
    lua_Integer v = bind_check_int(L, b, fname, idx);
    int axis = 0;
    if (!axis_from(v, &axis) || axis >= ndim || axis < -ndim)
        bind_arg_error(L, b, fname, idx, "axis %lld is out of range 1..%d", (long long)v, ndim);
    return axis < 0 ? axis + ndim : axis;
}

/* ---------------------------------------------------------------- names */
/* Levenshtein distance, capped in length: only for messages. */
static int distance(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b);
    if (na > 40 || nb > 40) return 99;
    int row[42];
    for (size_t j = 0; j <= nb; j++) row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diag = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int up = row[j], best = diag + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diag = up;
            row[j] = best;
        }
    }
    return row[nb];
}

int bind_unknown(lua_State *L, binding *b, const char *fname, const char *noun, const char *name, const char *const *names) {
    const char *best = NULL;
    int least = 4;
    for (int i = 0; names[i]; i++) {
        int d = distance(name, names[i]);
        size_t n = strlen(name);
        if (n >= 3 && strlen(names[i]) > n && !strncmp(name, names[i], n) && d > 2) d = 2; /* an abbreviation */
        if (d > (n <= 4 ? 1 : n <= 7 ? 2 : 3)) continue;
        if (d < least || (best && d == least && strcmp(names[i], best) < 0)) {
            best = names[i];
            least = d;
        }
    }
    char hint[96] = "";
    if (best) snprintf(hint, sizeof hint, ", did you mean '%.60s'?", best);
    return bind_raise(L, b, "%s%sunknown %s '%.60s'%s", fname ? fname : "", fname ? ": " : "", noun, name, hint);
}

/* core.unknown(fname or nil, noun, name, names): the same for Lua's own option tables */
static const char *const act_names[] = { "none", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", NULL };

fg_stream bind_check_stream(lua_State *L, binding *b, const char *fname, int idx) {
    const char *names[FG_STREAM_COUNT + 1];
    for (int i = 0; i < FG_STREAM_COUNT; i++) names[i] = fg_stream_name((fg_stream)i);
    names[FG_STREAM_COUNT] = NULL;
    if (lua_type(L, idx) != LUA_TSTRING) bind_raise(L, b, "%s: a stream is a name, got %s", fname, bind_type_name(L, b, idx));
    const char *name = lua_tostring(L, idx);
    for (int i = 0; i < FG_STREAM_COUNT; i++)
        if (!strcmp(name, names[i])) return (fg_stream)i;
    bind_unknown(L, b, fname, "random stream", name, names);
    return FG_STREAM_DEFAULT;
}

fg_dtype bind_check_dtype(lua_State *L, binding *b, const char *fname, int idx) {
    static const char *const names[] = { "f32", "bf16", "u8", "i32", NULL };
    fg_dtype dt = FG_F32;
    if (lua_type(L, idx) != LUA_TSTRING) bind_raise(L, b, "%s: a dtype is a name, got %s", fname, bind_type_name(L, b, idx));
    if (!fg_dtype_from_name(lua_tostring(L, idx), &dt)) bind_unknown(L, b, fname, "dtype", lua_tostring(L, idx), names);
    return dt;
}

/* ---------------------------------------------------------------- shapes */
static void add_dim(lua_State *L, binding *b, const char *fname, int arg, fg_shape *sh, int idx) {
    lua_Integer v = 0;
    if (!bind_to_int(L, idx, &v)) bind_arg_error(L, b, fname, arg, "a size is an integer, got %s", bind_type_name(L, b, idx));
    if (sh->ndim == FG_MAX_RANK) bind_arg_error(L, b, fname, arg, "at most %d axes", FG_MAX_RANK);
    sh->dim[sh->ndim++] = v;
}

void bind_check_shape(lua_State *L, binding *b, const char *fname, int idx, fg_shape *out, int *next) {
    *out = (fg_shape){ 0 };
    if (lua_istable(L, idx)) {
        lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, idx, i);
            add_dim(L, b, fname, idx, out, lua_gettop(L));
            lua_pop(L, 1);
        }
        *next = idx + 1;
        return;
    }
    int i = idx;
    for (; lua_type(L, i) == LUA_TNUMBER; i++) add_dim(L, b, fname, i, out, i);
    if (lua_type(L, i) == LUA_TSTRING) bind_arg_error(L, b, fname, i, "a size is an integer, got %s", bind_type_name(L, b, i));
    *next = i;
}

void bind_push_shape(lua_State *L, const fg_shape *sh) {
    lua_createtable(L, sh->ndim, 0);
    for (int i = 0; i < sh->ndim; i++) {
        lua_pushinteger(L, sh->dim[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

/* ---------------------------------------------------------------- attributes */
static int bad(lua_State *L, binding *b, const char *fname, const fg_attr *a, const char *want, int idx) {
    return bind_raise(L, b, "%s: '%s' is %s, got %s", fname, a->name, want, bind_type_name(L, b, idx));
}

static int small_int(lua_State *L, binding *b, const char *fname, const fg_attr *a, const char *want, int idx) {
    lua_Integer v = 0;
    if (!bind_to_int(L, idx, &v)) bad(L, b, fname, a, want, idx);
    if (v > INT32_MAX || v < INT32_MIN) bad(L, b, fname, a, "a number of 32 bits", idx);
    return (int)v;
}

/* Integers of the list at idx into out[cap]; returns how many. */
static int int_list(lua_State *L, binding *b, const char *fname, const fg_attr *a, const char *want, int idx, int *out, int cap) {
    int n = (int)lua_rawlen(L, idx);
    if (n > cap) bad(L, b, fname, a, want, idx);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, idx, i + 1);
        out[i] = small_int(L, b, fname, a, want, lua_gettop(L));
        lua_pop(L, 1);
    }
    return n;
}

void bind_attr_defaults(const fg_attr *attrs, void *opts) {
    for (const fg_attr *a = attrs; a && a->name; a++) {
        char *p = (char *)opts + a->offset;
        switch (a->kind) {
        case FG_A_INT: *(int *)p = (int)a->def; break;
        case FG_A_AXIS: *(int *)p = (int)a->def; break;
        case FG_A_REAL: *(double *)p = a->def; break;
        case FG_A_BOOL: *(bool *)p = a->def != 0; break;
        case FG_A_NOT: *(bool *)p = a->def == 0; break;
        case FG_A_INT2: ((int *)p)[0] = ((int *)p)[1] = (int)a->def; break;
        case FG_A_INDEX:
        case FG_A_SIZE: *(int64_t *)p = (int64_t)a->def; break;
        default: break;
        }
    }
}

static void read_pad(lua_State *L, binding *b, const char *fname, const fg_attr *a, char *opts, int idx) {
    static const char want[] = "an integer, a pair {h, w}, four integers {top, bottom, left, right} or \"same\"";
    int *pad = (int *)(opts + a->offset), v[4];
    if (lua_type(L, idx) == LUA_TSTRING && !strcmp(lua_tostring(L, idx), "same") && a->offset2) {
        *(bool *)(opts + a->offset2) = true;
        return;
    }
    if (lua_istable(L, idx)) {
        int n = int_list(L, b, fname, a, want, idx, v, 4);
        if (n == 2) {
            pad[0] = pad[1] = v[0];
            pad[2] = pad[3] = v[1];
        } else if (n == 4) {
            memcpy(pad, v, sizeof v);
        } else {
            bad(L, b, fname, a, want, idx);
        }
    } else {
        pad[0] = pad[1] = pad[2] = pad[3] = small_int(L, b, fname, a, want, idx);
    }
    if (a->offset2) *(bool *)(opts + a->offset2) = false;
}

static void read_axes(lua_State *L, binding *b, const char *fname, const fg_attr *a, fg_axes *axes, int idx) {
    static const char want[] = "an axis or a list of axes, counted from 1 (or -1 for the last)";
    int v[FG_MAX_RANK], n = 1;
    if (lua_istable(L, idx)) n = int_list(L, b, fname, a, want, idx, v, FG_MAX_RANK);
    else v[0] = small_int(L, b, fname, a, want, idx);
    axes->n = n;
    for (int i = 0; i < n; i++)
        if (!axis_from(v[i], &axes->axis[i])) bad(L, b, fname, a, want, idx);
}

void bind_read_attr(lua_State *L, binding *b, const char *fname, const fg_attr *a, void *opts, int idx) {
    char *p = (char *)opts + a->offset;
    lua_Integer v = 0;
    fg_dtype dt = FG_F32;
    int next;
    switch (a->kind) {
    case FG_A_INT: *(int *)p = small_int(L, b, fname, a, "an integer", idx); break;
    case FG_A_REAL:
        if (lua_type(L, idx) != LUA_TNUMBER) bad(L, b, fname, a, "a number", idx);
        *(double *)p = lua_tonumber(L, idx);
        break;
    case FG_A_BOOL:
    case FG_A_NOT:
        if (!lua_isboolean(L, idx)) bad(L, b, fname, a, "true or false", idx);
        *(bool *)p = lua_toboolean(L, idx) == (a->kind == FG_A_BOOL);
        break;
    case FG_A_INT2: {
        static const char want[] = "an integer or a pair {h, w}";
        int pair[2];
        if (!lua_istable(L, idx)) pair[0] = pair[1] = small_int(L, b, fname, a, want, idx);
        else if (int_list(L, b, fname, a, want, idx, pair, 2) != 2) bad(L, b, fname, a, want, idx);
        memcpy(p, pair, sizeof pair);
        break;
    }
    case FG_A_PAD: read_pad(L, b, fname, a, opts, idx); break;
    case FG_A_AXIS:
        if (!axis_from(small_int(L, b, fname, a, "an axis, counted from 1", idx), (int *)p))
            bad(L, b, fname, a, "an axis, counted from 1 (or -1 for the last)", idx);
        break;
    case FG_A_AXES: read_axes(L, b, fname, a, (fg_axes *)p, idx); break;
    case FG_A_SHAPE:
        if (!lua_istable(L, idx)) bad(L, b, fname, a, "a list of sizes", idx);
        bind_check_shape(L, b, fname, idx, (fg_shape *)p, &next);
        break;
    case FG_A_INDEX:
    case FG_A_SIZE:
        if (!bind_to_int(L, idx, &v)) bad(L, b, fname, a, "an integer", idx);
        *(int64_t *)p = a->kind == FG_A_INDEX && v > 0 ? v - 1 : v;
        break;
    case FG_A_DTYPE:
        dt = bind_check_dtype(L, b, fname, idx);
        *(fg_dtype *)p = dt;
        break;
    case FG_A_ACT: {
        if (lua_type(L, idx) != LUA_TSTRING) bad(L, b, fname, a, "the name of an activation", idx);
        const char *name = lua_tostring(L, idx);
        int i = 0;
        while (act_names[i] && strcmp(act_names[i], name) != 0) i++;
        if (!act_names[i]) bind_unknown(L, b, fname, "activation", name, act_names);
        *(fg_act *)p = (fg_act)i;
        break;
    }
    }
}

void bind_push_attr(lua_State *L, const fg_attr *a, const void *opts) {
    const char *p = (const char *)opts + a->offset;
    switch (a->kind) {
    case FG_A_INT: lua_pushinteger(L, *(const int *)p); return;
    case FG_A_REAL: lua_pushnumber(L, *(const double *)p); return;
    case FG_A_BOOL: lua_pushboolean(L, *(const bool *)p); return;
    case FG_A_NOT: lua_pushboolean(L, !*(const bool *)p); return;
    case FG_A_INT2:
    case FG_A_PAD: {
        const int *v = (const int *)p;
        int n = a->kind == FG_A_PAD ? 4 : 2;
        if (n == 4 && a->offset2 && *(const bool *)((const char *)opts + a->offset2)) {
            lua_pushliteral(L, "same");
            return;
        }
        bool equal = true, pair = n == 4 && v[0] == v[1] && v[2] == v[3];
        for (int i = 1; i < n; i++) equal = equal && v[i] == v[0];
        if (equal) {
            lua_pushinteger(L, v[0]);
            return;
        }
        lua_createtable(L, n, 0);
        for (int i = 0; i < (pair ? 2 : n); i++) {
            lua_pushinteger(L, v[pair ? 2 * i : i]);
            lua_rawseti(L, -2, i + 1);
        }
        return;
    }
    case FG_A_AXIS: lua_pushinteger(L, *(const int *)p >= 0 ? *(const int *)p + 1 : *(const int *)p); return;
    case FG_A_SHAPE: bind_push_shape(L, (const fg_shape *)p); return;
    case FG_A_INDEX: lua_pushinteger(L, *(const int64_t *)p + 1); return;
    case FG_A_SIZE: lua_pushinteger(L, *(const int64_t *)p); return;
    case FG_A_DTYPE: lua_pushstring(L, fg_dtype_name(*(const fg_dtype *)p)); return;
    case FG_A_ACT: lua_pushstring(L, act_names[*(const fg_act *)p]); return;
    default: lua_pushnil(L); return;
    }
}

const fg_attr *bind_find_attr(const fg_attr *attrs, const char *name) {
    for (const fg_attr *a = attrs; a && a->name; a++)
        if (!strcmp(a->name, name)) return a;
    return NULL;
}

/* The table at idx as named options; seen[i] marks attribute i as given. */
static void read_named(lua_State *L, binding *b, const char *fname, const fg_attr *attrs, void *opts, int idx, uint32_t *seen) {
    const char *names[32];
    int n = 0;
    for (const fg_attr *a = attrs; a && a->name && n < 31; a++) names[n++] = a->name;
    names[n] = NULL;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            bind_raise(L, b, "%s: options are named, like { stride = 2 }; got %s as a name", fname,
                       bind_type_name(L, b, lua_absindex(L, -2)));
        const char *name = lua_tostring(L, -2);
        const fg_attr *a = bind_find_attr(attrs, name);
        if (!a) bind_unknown(L, b, fname, "option", name, names);
        if (*seen & 1u << (a - attrs)) bind_raise(L, b, "%s: '%s' is given twice", fname, name);
        *seen |= 1u << (a - attrs);
        bind_read_attr(L, b, fname, a, opts, lua_gettop(L));
        lua_pop(L, 1);
    }
}

/* Is the table at idx a list that attribute a takes (else it holds named options)? {} is a list where a shape is meant. */
static bool is_list_for(lua_State *L, const fg_attr *a, int idx) {
    if (a->kind != FG_A_INT2 && a->kind != FG_A_PAD && a->kind != FG_A_AXES && a->kind != FG_A_SHAPE) return false;
    if (lua_rawlen(L, idx) > 0 || a->kind != FG_A_SHAPE) return lua_rawlen(L, idx) > 0;
    lua_pushnil(L);
    if (!lua_next(L, idx)) return true;
    lua_pop(L, 2);
    return false;
}

void bind_read_attrs(lua_State *L, binding *b, const char *fname, const fg_attr *attrs, int positional, void *opts, int first) {
    int top = lua_gettop(L), arg = first, given = 0, next;
    uint32_t seen = 0;
    bool named = false;
    bind_attr_defaults(attrs, opts);
    for (const fg_attr *a = attrs; a && a->name && arg <= top; a++, arg++, given++) {
        if (lua_istable(L, arg) && !(given < positional && is_list_for(L, a, arg))) {
            read_named(L, b, fname, attrs, opts, arg++, &seen);
            named = true;
            break;
        }
        if (given >= positional) break;
        if (lua_isnoneornil(L, arg)) continue;
        seen |= 1u << given;
        if (a->kind == FG_A_SHAPE && lua_type(L, arg) == LUA_TNUMBER) {
            bind_check_shape(L, b, fname, arg, (fg_shape *)((char *)opts + a->offset), &next);
            arg = next - 1;
            continue;
        }
        bind_read_attr(L, b, fname, a, opts, arg);
    }
    if (!named && arg <= top && lua_istable(L, arg)) read_named(L, b, fname, attrs, opts, arg++, &seen);
    while (arg <= top && lua_isnil(L, arg)) arg++;
    if (arg <= top) bind_arg_error(L, b, fname, arg, "one argument too many: %s", bind_type_name(L, b, arg));
    for (const fg_attr *a = attrs; a && a->name; a++)
        if (a->required && !(seen & 1u << (a - attrs))) bind_raise(L, b, "%s: '%s' is missing", fname, a->name);
}

/* ---------------------------------------------------------------- lists of tensors, ids */
fg_tensor **bind_check_list(lua_State *L, binding *b, const char *fname, int idx, int *n) {
    if (!lua_istable(L, idx)) bind_arg_error(L, b, fname, idx, "a list of tensors expected, got %s", bind_type_name(L, b, idx));
    size_t len = lua_rawlen(L, idx);
    if (len > 1000000) bind_arg_error(L, b, fname, idx, "a list of at most 1000000 tensors");
    fg_tensor **list = lua_newuserdatauv(L, (len + 1) * sizeof *list, 0);
    for (size_t i = 0; i < len; i++) {
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        list[i] = bind_to_tensor(L, b, lua_gettop(L));
        if (!list[i])
            bind_arg_error(L, b, fname, idx, "element %d of the list is %s, not a tensor", (int)i + 1,
                           bind_type_name(L, b, lua_gettop(L)));
        lua_pop(L, 1);
    }
    *n = (int)len;
    return list;
}

static fg_tensor *make_ids(fg_scope *s, void *arg) {
    void **a = arg;
    return fg_from_i32(s, FG_SHAPE(*(int64_t *)a[1]), a[0]);
}

static fg_tensor *make_i32(fg_scope *s, void *arg) { return fg_cast(s, arg, FG_I32); }

void bind_ids(lua_State *L, binding *b, const char *fname, int idx) {
    fg_tensor *t = bind_to_tensor(L, b, idx);
    if (t) {
        if (t->dtype != FG_U8) return;
        bind_make(L, b, make_i32, t);
    } else {
        if (!lua_istable(L, idx))
            bind_arg_error(L, b, fname, idx, "an i32 tensor of 0-based ids or a list of positions expected, got %s",
                           bind_type_name(L, b, idx));
        int64_t n = (int64_t)lua_rawlen(L, idx);
        if (n > INT32_MAX) bind_arg_error(L, b, fname, idx, "too many positions");
        int32_t *ids = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *ids, 0);
        for (int64_t i = 0; i < n; i++) {
            lua_Integer v = 0;
            lua_rawgeti(L, idx, i + 1);
            if (!bind_to_int(L, -1, &v) || v < 1 || v > INT32_MAX)
                bind_arg_error(L, b, fname, idx, "position %lld of the list is %s, not an integer from 1 up", (long long)i + 1,
                               bind_type_name(L, b, lua_gettop(L)));
            ids[i] = (int32_t)(v - 1);
            lua_pop(L, 1);
        }
        bind_make(L, b, make_ids, (void *[]){ ids, &n });
    }
    lua_replace(L, idx);
}
