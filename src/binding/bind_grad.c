/* bind_grad.c: backward, grad and the grad mode from Lua.
 *
 * no_grad(f, ...) puts a guard with __close on the stack and calls f without a continuation: the mode comes back however f ends,
 * tracebacks stay whole, and a coroutine cannot yield out of it (Lua raises "attempt to yield across a C-call boundary"). Inside
 * a coroutine, which closes nothing when an error ends it, f runs in protected mode instead. */
#include "bind.h"

#include <string.h>

/* Option table at idx with boolean `names` into out; grad_output into the stack slot that is pushed (nil when absent). */
static void read_flags(lua_State *L, binding *b, const char *fname, int idx, const char *const *names, bool *out) {
    lua_pushnil(L);
    int seed = lua_gettop(L);
    if (lua_isnoneornil(L, idx) || idx >= seed) return;
    if (!lua_istable(L, idx)) bind_arg_error(L, b, fname, idx, "a table of options expected, got %s", bind_type_name(L, b, idx));
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int i = 0;
        while (names[i] && strcmp(names[i], name) != 0) i++;
        if (!names[i]) bind_unknown(L, b, fname, "option", name, names);
        if (!strcmp(name, "grad_output")) {
            lua_pushvalue(L, -1);
            lua_replace(L, seed);
        } else {
            if (!lua_isboolean(L, -1)) bind_raise(L, b, "%s: '%s' is true or false", fname, name);
            out[i] = lua_toboolean(L, -1);
        }
        lua_pop(L, 1);
    }
}

/* y:backward([grad_output] [, {retain_graph=}]) */
static int backward(lua_State *L) {
    binding *b = bind_enter(L);
    static const char *const names[] = { "retain_graph", "grad_output", NULL };
    bool flags[2] = { false, false };
    lua_settop(L, 3);
    if (lua_istable(L, 2) && lua_isnil(L, 3)) { lua_insert(L, 2); /* nil options come first, the table third */ }
    fg_tensor *y = bind_check_tensor(L, b, "backward", 1);
    fg_tensor *dy = lua_isnil(L, 2) ? NULL : bind_check_tensor(L, b, "backward", 2);
    read_flags(L, b, "backward", 3, names, flags);
    if (!dy && !lua_isnil(L, 4)) dy = bind_check_tensor(L, b, "backward", 4);
    if (!fg_enter(b->ctx)) return bind_raise(L, b, "another thread is inside this Lua state's context");
    fg_status st = fg_backward_with(b->scope, y, dy, flags[0]);
    fg_scope_release_to(b->scope, 0);
    fg_leave(b->ctx);
    return st == FG_OK ? 0 : bind_raise_last(L, b);
}

/* grad(y, x or {x1, x2, ...}, {create_graph=, retain_graph=, grad_output=}): a tensor, or a list with false where y does not
 * depend on that x (nil for a single x). Touches no .grad. */
static int grad(lua_State *L) {
    binding *b = bind_enter(L);
    static const char *const names[] = { "create_graph", "retain_graph", "grad_output", NULL };
    bool flags[3] = { false, false, false };
    lua_settop(L, 3);
    fg_tensor *y = bind_check_tensor(L, b, "grad", 1);
    read_flags(L, b, "grad", 3, names, flags); /* leaves grad_output at 4 */
    fg_tensor *dy = lua_isnil(L, 4) ? NULL : bind_check_tensor(L, b, "grad", 4);
    bool single = bind_is_tensor(L, b, 2);
    if (single) {
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, 2);
        lua_rawseti(L, -2, 1);
        lua_replace(L, 2);
    }
    int n;
    fg_tensor **xs = bind_check_list(L, b, "grad", 2, &n); /* at 5 */
    fg_tensor **out = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *out, 0);
    bind_handle **made = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *made, 0);
    lua_createtable(L, n, 0);
    int list = lua_gettop(L);
    for (int i = 0; i < n; i++) {
        made[i] = bind_new_handle(L, b);
        lua_rawseti(L, list, i + 1);
        out[i] = FG_NONE;
    }
    if (!fg_enter(b->ctx)) return bind_raise(L, b, "another thread is inside this Lua state's context");
    fg_status st = fg_grad(b->scope, y, dy, xs, n, flags[0], flags[1] || flags[0], out);
    for (int i = 1; i < n && st == FG_OK; i++) /* the engine answers for the first of equal xs */
        for (int k = 0; k < i && out[i] == FG_NONE; k++)
            if (xs[k] == xs[i]) out[i] = out[k];
    if (st == FG_OK)
        for (int i = 0; i < n; i++)
            if (out[i] && out[i] != FG_NONE) bind_fill(made[i], fg_keep(out[i]));
    fg_scope_release_to(b->scope, 0);
    fg_leave(b->ctx);
    if (st != FG_OK) return bind_raise_last(L, b);
    for (int i = 0; i < n; i++)
        if (!made[i]->t) {
            lua_pushboolean(L, false);
            lua_rawseti(L, list, i + 1);
        }
    if (!single) return 1;
    if (!made[0]->t) return 0;
    lua_rawgeti(L, list, 1);
    return 1;
}

/* ---------------------------------------------------------------- grad mode */
static int set_grad_enabled(lua_State *L) {
    binding *b = bind_self(L);
    if (!lua_isboolean(L, 1)) return bind_arg_error(L, b, "set_grad_enabled", 1, "true or false expected");
    lua_pushboolean(L, fg_set_grad_enabled(b->ctx, lua_toboolean(L, 1)));
    return 1;
}

static int grad_enabled(lua_State *L) {
    lua_pushboolean(L, fg_grad_enabled(bind_self(L)->ctx));
    return 1;
}

/* upvalues: binding; the guard's user value is the mode to restore */
static int guard_close(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    bool *was = lua_touserdata(L, 1);
    if (!b->closed && was && lua_rawlen(L, 1) == sizeof *was) fg_set_grad_enabled(b->ctx, *was);
    return 0;
}

static int with_grad(lua_State *L, bool on, const char *fname) {
    binding *b = bind_self(L);
    if (lua_isnoneornil(L, 1)) return bind_arg_error(L, b, fname, 1, "a function expected, got %s", bind_type_name(L, b, 1));
    bool was = fg_grad_enabled(b->ctx);
    bool *guard = lua_newuserdatauv(L, sizeof *guard, 0);
    luaL_setmetatable(L, "forger.guard");
    lua_insert(L, 1);
    *guard = was;
    if (lua_pushthread(L)) {
        lua_pop(L, 1);
        lua_toclose(L, 1);
        fg_set_grad_enabled(b->ctx, on);
        lua_call(L, lua_gettop(L) - 2, LUA_MULTRET);
    } else { /* a coroutine that dies of an error closes nothing by itself */
        lua_pop(L, 1);
        fg_set_grad_enabled(b->ctx, on);
        int rc = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
        if (!b->closed) fg_set_grad_enabled(b->ctx, was);
        if (rc != LUA_OK) return lua_error(L);
    }
    return lua_gettop(L) - 1;
}

static int no_grad(lua_State *L) { return with_grad(L, false, "no_grad"); }
static int enable_grad(lua_State *L) { return with_grad(L, true, "enable_grad"); }

void bind_grad_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg methods[] = { { "backward", backward }, { NULL, NULL } };
    static const luaL_Reg guard[] = { { "__close", guard_close }, { NULL, NULL } };
    static const luaL_Reg funcs[] = { { "grad", grad },
                                      { "no_grad", no_grad },
                                      { "enable_grad", enable_grad },
                                      { "set_grad_enabled", set_grad_enabled },
                                      { "grad_enabled", grad_enabled },
                                      { NULL, NULL } };
    lua_settop(L, core);
    bind_funcs(L, b, funcs);
    lua_getfield(L, core, "methods");
    bind_funcs(L, b, methods);
    luaL_newmetatable(L, "forger.guard");
    bind_funcs(L, b, guard);
    lua_settop(L, core);
}
