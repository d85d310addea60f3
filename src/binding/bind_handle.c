/* bind_handle.c: the userdata of a tensor: making, interning, freeing, fields and methods; and scopes that free handles.
 *
 * A handle owns one reference to its tensor. Results of ops get a fresh handle. Borrowed tensors (parameters, .grad) are
 * interned: a table with weak values, keyed by the tensor's address, gives the same Lua value again, so that they compare equal
 * and work as table keys.
 *
 * t.name is one raw lookup in the methods table: a function is a method, an integer the number of a field. */
#include "bind.h"

#include <string.h>

enum field { F_SHAPE = 1, F_NDIM, F_DTYPE, F_GRAD, F_REQUIRES_GRAD };

/* ---------------------------------------------------------------- making */
static void scope_add(lua_State *L, binding *b, bind_scope *s, bind_handle *h) {
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? 2 * s->cap : 64;
        bind_handle **items = fg_host_realloc(s->items, cap * sizeof *items);
        if (!items) bind_raise(L, b, "scope: out of memory");
        s->items = items;
        s->cap = cap;
    }
    h->owner = s;
    h->slot = s->n;
    s->items[s->n++] = h;
}

static void scope_remove(bind_handle *h) {
    bind_scope *s = h->owner;
    if (!s) return;
    bind_handle *last = s->items[--s->n];
    s->items[h->slot] = last;
    last->slot = h->slot;
    h->owner = NULL;
}

static bind_handle *new_handle(lua_State *L, binding *b, bool scoped) {
    bind_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = (bind_handle){ .why = BIND_COLLECTED };
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->ref_tensor_mt);
    lua_setmetatable(L, -2);
    if (scoped && b->top) scope_add(L, b, b->top, h);
    return h;
}

bind_handle *bind_new_handle(lua_State *L, binding *b) { return new_handle(L, b, true); }

void bind_fill(bind_handle *h, fg_tensor *t) {
    h->t = t;
    h->why = 0;
    if (!t->tag) t->tag = (uintptr_t)h;
}

void bind_intern(lua_State *L, binding *b, int idx) {
    idx = lua_absindex(L, idx);
    bind_handle *h = lua_touserdata(L, idx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->ref_interned);
    lua_pushvalue(L, idx);
    lua_rawsetp(L, -2, h->t);
    lua_pop(L, 1);
    h->interned = true;
    h->t->tag = (uintptr_t)h;
    scope_remove(h); /* it holds no memory of its own: a scope has nothing to free */
}

void bind_push(lua_State *L, binding *b, fg_tensor *t) {
    if (!t || t == FG_NONE) {
        lua_pushnil(L);
        return;
    }
    if (t->tag) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->ref_interned);
        lua_rawgetp(L, -1, t);
        lua_remove(L, -2);
        bind_handle *old = lua_touserdata(L, -1);
        if (old && old->t == t) return;
        lua_pop(L, 1);
    }
    bind_handle *h = new_handle(L, b, false);
    bind_fill(h, fg_keep(t));
    bind_intern(L, b, -1);
}

/* Pushes a handle and fills it with what make gives; false with the message when make failed twice or for another reason than
 * memory. Nothing of Lua runs between make and the filling. */
static bool try_make(lua_State *L, binding *b, bind_make_fn make, void *arg, char msg[FG_ERROR_CAP]) {
    bind_handle *h = bind_new_handle(L, b);
    if (!fg_enter(b->ctx)) return bind_raise(L, b, "another thread is inside this Lua state's context");
    fg_tensor *y = make(b->scope, arg);
    if (!y && bind_take_error(b, msg) == FG_ENOMEM && lua_gc(L, LUA_GCISRUNNING, 0) > 0) {
        fg_scope_release_to(b->scope, 0);
        bind_collect(L, b);
        y = make(b->scope, arg);
        if (!y) bind_take_error(b, msg);
    }
    if (y) bind_fill(h, fg_keep(y));
    fg_scope_release_to(b->scope, 0);
    fg_leave(b->ctx);
    return y != NULL;
}

int bind_make(lua_State *L, binding *b, bind_make_fn make, void *arg) {
    char msg[FG_ERROR_CAP];
    return try_make(L, b, make, arg, msg) ? 1 : bind_raise(L, b, "%s", msg);
}

int bind_try(lua_State *L, binding *b, bind_make_fn make, void *arg) {
    char msg[FG_ERROR_CAP];
    if (try_make(L, b, make, arg, msg)) return 1;
    lua_pushnil(L);
    lua_pushstring(L, msg);
    return 2;
}

/* ---------------------------------------------------------------- checking */
static bool has_metatable(lua_State *L, int idx, const void *mt) {
    if (lua_type(L, idx) != LUA_TUSERDATA || !lua_getmetatable(L, idx)) return false;
    bool same = lua_topointer(L, -1) == mt;
    lua_pop(L, 1);
    return same;
}

bool bind_is_tensor(lua_State *L, binding *b, int idx) {
    return has_metatable(L, idx, b->tensor_mt) && lua_rawlen(L, idx) == sizeof(bind_handle);
}

static int raise_freed(lua_State *L, binding *b, const bind_handle *h) {
    if (h->why == BIND_SCOPE) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->ref_places);
        lua_rawgeti(L, -1, h->slot);
        return bind_raise(L, b, "this tensor was freed by the scope opened at %s: return it or call scope:keep(t)",
                          lua_tostring(L, -1));
    }
    if (h->why == BIND_FREED) return bind_raise(L, b, "this tensor was freed by t:free()");
    return bind_raise(L, b, "this tensor holds nothing: it was collected, or the call that made it failed");
}

fg_tensor *bind_to_tensor(lua_State *L, binding *b, int idx) {
    if (!bind_is_tensor(L, b, idx)) return NULL;
    bind_handle *h = lua_touserdata(L, idx);
    if (!h->t) raise_freed(L, b, h);
    return h->t;
}

fg_tensor *bind_check_tensor(lua_State *L, binding *b, const char *fname, int idx) {
    fg_tensor *t = bind_to_tensor(L, b, idx);
    if (!t) bind_arg_error(L, b, fname, idx, "a tensor expected, got %s", bind_type_name(L, b, idx));
    return t;
}

bind_handle *bind_check_handle(lua_State *L, binding *b, const char *fname, int idx) {
    bind_check_tensor(L, b, fname, idx);
    return lua_touserdata(L, idx);
}

void *bind_check_object(lua_State *L, binding *b, const void *mt, size_t size, const char *fname, int idx, const char *noun) {
    if (!has_metatable(L, idx, mt) || lua_rawlen(L, idx) != size)
        bind_arg_error(L, b, fname, idx, "%s expected, got %s", noun, bind_type_name(L, b, idx));
    return lua_touserdata(L, idx);
}

/* ---------------------------------------------------------------- freeing */
void bind_free_handle(lua_State *L, binding *b, bind_handle *h, int why) {
    fg_tensor *t = h->t;
    if (!t) return;
    h->t = NULL;
    h->why = (uint8_t)why;
    scope_remove(h);
    if (t->tag == (uintptr_t)h) t->tag = 0;
    if (h->interned && !b->closed && why != BIND_COLLECTED) { /* the collector has cleared the weak entry itself */
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->ref_interned);
        if (lua_rawgetp(L, -1, t) == LUA_TUSERDATA && lua_touserdata(L, -1) == h) {
            lua_pushnil(L); /* assigning nil to a present key allocates nothing */
            lua_rawsetp(L, -3, t);
        }
        lua_pop(L, 2);
    }
    fg_release(t);
}

static int tensor_gc(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    if (!bind_is_tensor(L, b, 1)) return 0;
    bind_handle *h = lua_touserdata(L, 1);
    if (!h->t) scope_remove(h);
    else bind_free_handle(L, b, h, BIND_COLLECTED);
    return 0;
}

static int tensor_free(lua_State *L) {
    binding *b = bind_self(L);
    if (!bind_is_tensor(L, b, 1)) bind_check_tensor(L, b, "free", 1);
    bind_free_handle(L, b, lua_touserdata(L, 1), BIND_FREED); /* freeing twice is harmless */
    return 0;
}

/* ---------------------------------------------------------------- scopes */
static uint32_t place_number(lua_State *L, binding *b) {
    lua_Debug ar;
    const char *text = "an unknown line";
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline <= 0 || (b->lib_len && !strncmp(ar.source, b->lib, b->lib_len))) continue;
        text = lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
        break;
    }
    lua_pushstring(L, text);
    int key = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->ref_places);
    lua_pushvalue(L, key);
    uint32_t n;
    if (lua_rawget(L, -2) == LUA_TNUMBER) {
        n = (uint32_t)lua_tointeger(L, -1);
    } else {
        n = (uint32_t)lua_rawlen(L, key + 1) + 1;
        lua_pushvalue(L, key);
        lua_rawseti(L, key + 1, n);
        lua_pushvalue(L, key);
        lua_pushinteger(L, n);
        lua_rawset(L, key + 1);
    }
    return n;
}

static void unlink_scope(binding *b, bind_scope *s) {
    for (bind_scope **p = &b->top; *p; p = &(*p)->outer)
        if (*p == s) {
            *p = s->outer;
            break;
        }
    s->open = false;
}

static void drop_items(bind_scope *s) {
    fg_host_free(s->items);
    s->items = NULL;
    s->n = s->cap = 0;
}

static void end_scope(lua_State *L, binding *b, bind_scope *s) {
    if (!s->open) return;
    unlink_scope(b, s);
    while (s->n > 0) {
        bind_handle *h = s->items[s->n - 1];
        if (h->t) {
            bind_free_handle(L, b, h, BIND_SCOPE);
            h->slot = s->place;
        } else {
            scope_remove(h);
        }
    }
    drop_items(s);
}

static bind_scope *check_scope(lua_State *L, binding *b, const char *fname) {
    return bind_check_object(L, b, b->scope_mt, sizeof(bind_scope), fname, 1, "a scope");
}

static int scope_close(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    if (b->closed) return 0;
    end_scope(L, b, check_scope(L, b, "scope:close"));
    return 0;
}

/* A scope that nobody closed frees nothing: its handles go back to the collector. */
static int scope_gc(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    if (b->closed || !has_metatable(L, 1, b->scope_mt)) return 0;
    bind_scope *s = lua_touserdata(L, 1);
    if (s->open) unlink_scope(b, s);
    while (s->n > 0) scope_remove(s->items[s->n - 1]);
    drop_items(s);
    return 0;
}

static void move_out(lua_State *L, binding *b, bind_handle *h, bind_scope *s) {
    if (h->owner != s) return;
    scope_remove(h);
    if (s->outer) scope_add(L, b, s->outer, h);
}

static int scope_keep(lua_State *L) {
    binding *b = bind_self(L);
    bind_scope *s = check_scope(L, b, "scope:keep");
    for (int i = 2; i <= lua_gettop(L); i++) move_out(L, b, bind_check_handle(L, b, "scope:keep", i), s);
    return lua_gettop(L) - 1;
}

/* fg.scope() opens a scope for `local s <close> = fg.scope()`; fg.scope(f, ...) runs f(scope, ...) in one. */
static int scope_open(lua_State *L) {
    binding *b = bind_self(L);
    int nargs = lua_gettop(L);
    uint32_t place = place_number(L, b);
    lua_settop(L, nargs);
    bind_scope *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (bind_scope){ .place = place };
    luaL_setmetatable(L, "forger.scope");
    if (nargs == 0 || (nargs == 1 && lua_isnil(L, 1))) {
        s->outer = b->top;
        s->open = true;
        b->top = s;
        return 1;
    }
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checkstack(L, 4, "fg.scope");
    lua_insert(L, 1);    /* s f ... */
    lua_pushvalue(L, 1); /* s f ... s */
    lua_insert(L, 3);    /* s f s ... */
    s->outer = b->top;
    s->open = true;
    b->top = s;
    bool main = lua_pushthread(L);
    lua_pop(L, 1);
    if (main) {
        lua_toclose(L, 1);
        lua_call(L, nargs, LUA_MULTRET);
    } else if (lua_pcall(L, nargs, LUA_MULTRET, 0) != LUA_OK) { /* a coroutine that dies of an error closes nothing by itself */
        if (!b->closed) end_scope(L, b, s);
        return lua_error(L);
    }
    for (int i = 2; i <= lua_gettop(L); i++)
        if (bind_is_tensor(L, b, i)) move_out(L, b, lua_touserdata(L, i), s);
    if (!main && !b->closed) end_scope(L, b, s);
    return lua_gettop(L) - 1;
}

/* ---------------------------------------------------------------- fields */
static const char *const field_names[] = { "shape", "ndim", "dtype", "grad", "requires_grad", NULL };

/* The running closure's upvalue 2 is the methods table. */
static int no_field(lua_State *L, binding *b) {
    const char *key = lua_tostring(L, 2);
    if (lua_type(L, 2) != LUA_TSTRING) return bind_raise(L, b, "a tensor cannot be indexed with %s", bind_type_name(L, b, 2));
    /* the methods table holds every name a tensor answers to */
    const char *names[256];
    int n = 0;
    lua_pushnil(L);
    while (n < 255 && lua_next(L, lua_upvalueindex(2))) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) names[n++] = lua_tostring(L, -1);
    }
    names[n] = NULL;
    return bind_unknown(L, b, NULL, "tensor field or method", key, names);
}

static fg_tensor *select_make(fg_scope *s, void *arg) {
    int64_t *i = ((void **)arg)[1];
    fg_tensor *t = ((void **)arg)[0];
    fg_shape sh = t->shape;
    sh.ndim--;
    memmove(sh.dim, sh.dim + 1, sizeof sh.dim - sizeof sh.dim[0]);
    sh.dim[FG_MAX_RANK - 1] = 0;
    return fg_reshape(s, fg_slice(s, t, 0, *i, 1), sh);
}

static int select_row(lua_State *L, binding *b, fg_tensor *t, lua_Integer i) {
    if (t->shape.ndim == 0) return bind_raise(L, b, "a tensor of rank 0 cannot be indexed: use t:item()");
    int64_t n = t->shape.dim[0], at = i < 0 ? n + i : i - 1;
    if (i == n + 1) return 0;
    if (at < 0 || at >= n || i == 0)
        return bind_raise(L, b, "index %lld is out of range 1..%lld of axis 1", (long long)i, (long long)n);
    if (t->shape.ndim == 1) {
        double v = fg_tensor_at(t, at);
        if (t->dtype == FG_U8 || t->dtype == FG_I32) lua_pushinteger(L, (lua_Integer)v);
        else lua_pushnumber(L, v);
        return 1;
    }
    return bind_make(L, b, select_make, (void *[]){ t, &at });
}

/* upvalues: binding, methods */
static int tensor_index(lua_State *L) {
    binding *b = bind_self(L);
    lua_settop(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING) {
        lua_pushvalue(L, 2);
        int type = lua_rawget(L, lua_upvalueindex(2));
        if (type == LUA_TFUNCTION) return 1;
        if (type != LUA_TNUMBER) {
            bind_check_tensor(L, b, "tensor index", 1);
            return no_field(L, b);
        }
        lua_Integer field = lua_tointeger(L, -1);
        fg_tensor *t = bind_check_tensor(L, b, "tensor index", 1);
        switch (field) {
        case F_SHAPE: bind_push_shape(L, &t->shape); return 1;
        case F_NDIM: lua_pushinteger(L, t->shape.ndim); return 1;
        case F_DTYPE: lua_pushstring(L, fg_dtype_name(t->dtype)); return 1;
        case F_GRAD: bind_push(L, b, fg_tensor_grad(t)); return 1;
        case F_REQUIRES_GRAD: lua_pushboolean(L, fg_tensor_requires_grad(t)); return 1;
        default: return 0;
        }
    }
    bind_enter(L);
    fg_tensor *t = bind_check_tensor(L, b, "tensor index", 1);
    lua_Integer i;
    if (!bind_to_int(L, 2, &i)) return no_field(L, b);
    return select_row(L, b, t, i);
}

/* t.grad = g | nil and t.requires_grad = bool; t[i] = v goes to t:set_row, which bind_access.c puts into the methods. */
static int tensor_newindex(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "tensor assignment", 1);
    lua_Integer i;
    if (bind_to_int(L, 2, &i)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->ref_fields); /* the function set_row */
        lua_insert(L, 1);
        lua_call(L, 3, 0);
        return 0;
    }
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (!strcmp(key, "grad")) {
        fg_tensor *g = lua_isnil(L, 3) ? NULL : bind_check_tensor(L, b, "tensor assignment", 3);
        if (fg_tensor_set_grad(t, g) != FG_OK) return bind_raise_last(L, b);
        if (g && fg_tensor_grad(t) == g) bind_intern(L, b, 3);
        return 0;
    }
    if (!strcmp(key, "requires_grad")) {
        if (!lua_isboolean(L, 3)) return bind_raise(L, b, "requires_grad is true or false, got %s", bind_type_name(L, b, 3));
        if (fg_tensor_set_requires_grad(t, lua_toboolean(L, 3)) != FG_OK) return bind_raise_last(L, b);
        return 0;
    }
    for (int f = 0; field_names[f]; f++)
        if (!strcmp(key, field_names[f])) return bind_raise(L, b, "tensor field '%s' is read only", key);
    return no_field(L, b);
}

static int tensor_len(lua_State *L) {
    binding *b = bind_self(L);
    fg_tensor *t = bind_check_tensor(L, b, "#", 1);
    if (t->shape.ndim == 0) return bind_raise(L, b, "a tensor of rank 0 has no length");
    lua_pushinteger(L, t->shape.dim[0]);
    return 1;
}

static int tensor_order(lua_State *L) {
    binding *b = bind_self(L);
    return bind_raise(L, b, "tensors have no order: compare elements with a:lt(b), a:le(b), a:gt(b), a:ge(b)");
}

static int tensor_tostring(lua_State *L) {
    binding *b = bind_self(L);
    bind_check_tensor(L, b, "tostring", 1);
    bind_handle *h = lua_touserdata(L, 1);
    size_t n = fg_tensor_print(h->t, NULL, 0);
    luaL_Buffer buf;
    char *p = luaL_buffinitsize(L, &buf, n + 1);
    fg_tensor_print(h->t, p, n + 1);
    luaL_pushresultsize(&buf, n);
    return 1;
}

/* ---------------------------------------------------------------- opening */
static const void *new_metatable(lua_State *L, binding *b, const char *name, const luaL_Reg *funcs) {
    luaL_newmetatable(L, name); /* the table of an earlier opening, if one failed half way */
    bind_funcs(L, b, funcs);
    return lua_topointer(L, -1);
}

void bind_handles_open(lua_State *L, binding *b, int core) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    b->ref_interned = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    b->ref_places = luaL_ref(L, LUA_REGISTRYINDEX);

    lua_newtable(L); /* methods; the rooms fill it */
    int methods = lua_gettop(L);
    for (int i = 0; field_names[i]; i++) {
        lua_pushinteger(L, i + 1);
        lua_setfield(L, methods, field_names[i]);
    }
    static const luaL_Reg plain[] = { { "free", tensor_free }, { NULL, NULL } };
    bind_funcs(L, b, plain);
    lua_pushvalue(L, methods);
    lua_setfield(L, core, "methods");

    static const luaL_Reg meta[] = { { "__gc", tensor_gc },
                                     { "__close", tensor_free },
                                     { "__len", tensor_len },
                                     { "__lt", tensor_order },
                                     { "__tostring", tensor_tostring },
                                     { "__le", tensor_order },
                                     { NULL, NULL } };
    const void *mt = new_metatable(L, b, "forger.Tensor", meta);
    bind_push_self(L);
    lua_pushvalue(L, methods);
    lua_pushcclosure(L, tensor_index, 2);
    lua_setfield(L, -2, "__index");
    bind_push_self(L);
    lua_pushvalue(L, methods);
    lua_pushcclosure(L, tensor_newindex, 2);
    lua_setfield(L, -2, "__newindex");
    lua_pushvalue(L, -1);
    lua_setfield(L, core, "tensor_metatable");
    b->ref_tensor_mt = luaL_ref(L, LUA_REGISTRYINDEX);

    static const luaL_Reg scope_methods[] = { { "keep", scope_keep }, { "close", scope_close }, { NULL, NULL } };
    static const luaL_Reg scope_meta[] = { { "__gc", scope_gc }, { "__close", scope_close }, { NULL, NULL } };
    b->scope_mt = new_metatable(L, b, "forger.scope", scope_meta);
    lua_newtable(L);
    bind_funcs(L, b, scope_methods);
    lua_setfield(L, -2, "__index");
    lua_settop(L, core);

    static const luaL_Reg funcs[] = { { "scope", scope_open }, { NULL, NULL } };
    bind_funcs(L, b, funcs);
    b->tensor_mt = mt;
}
