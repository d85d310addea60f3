/* bind_state.c: opening and closing: one binding per Lua state, its context, the garbage rule and how errors are raised.
 *
 * The garbage rule: Lua sees 24 bytes of a handle and not the megabytes behind it. So every entry asks the allocator how many
 * bytes are live; when that has grown by more than an allowance (64 MB at least) since the last collection, it runs a full
 * collection before any argument is unpacked. A collection that freed under a quarter doubles the allowance: what is live then
 * is really in use. lua_gc "stop" is respected.
 *
 * Errors point at the user's line, past the Lua files of Forger itself, whose chunk names begin with `lib`. */
#include "bind.h"

#include <stdio.h>
#include <string.h>

#define ALLOWANCE_FLOOR ((size_t)64 << 20)

static const char registry_key = 0; /* its address names the binding in the registry */
static const char module_key = 0;

binding *bind_self(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    if (b->closed) luaL_error(L, "forger: the Lua state is closing");
    return b;
}

void bind_push_self(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key); }

void bind_collect(lua_State *L, binding *b) {
    size_t before = fg_memory_stats(b->ctx).live;
    lua_gc(L, LUA_GCCOLLECT, 0);
    size_t after = fg_memory_stats(b->ctx).live, freed = after < before ? before - after : 0;
    if (freed < before / 4) b->allowance *= 2;
    else b->allowance = ALLOWANCE_FLOOR;
    b->mark = after;
}

binding *bind_enter(lua_State *L) {
    binding *b = bind_self(L);
    size_t live = fg_memory_stats(b->ctx).live;
    if (live < b->mark) b->mark = live;
    else if (live - b->mark > b->allowance && lua_gc(L, LUA_GCISRUNNING, 0) > 0) bind_collect(L, b);
    return b;
}

/* ---------------------------------------------------------------- errors */
/* Pushes "file:line: " of the first Lua function that is not ours; "" when there is none. */
static void push_where(lua_State *L, const binding *b) {
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline <= 0) continue;
        if (b->lib_len && !strncmp(ar.source, b->lib, b->lib_len)) continue;
        lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
        return;
    }
    lua_pushliteral(L, "");
}

int bind_raise(lua_State *L, binding *b, const char *fmt, ...) {
    char msg[FG_ERROR_CAP + 128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    push_where(L, b);
    lua_pushstring(L, msg);
    lua_concat(L, 2);
    return lua_error(L);
}

int bind_arg_error(lua_State *L, binding *b, const char *fname, int arg, const char *fmt, ...) {
    char msg[FG_ERROR_CAP];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return bind_raise(L, b, "bad argument #%d to '%s' (%s)", arg, fname, msg);
}

fg_status bind_take_error(binding *b, char msg[FG_ERROR_CAP]) {
    fg_scope *s = b->scope;
    fg_status st = s->status != FG_OK ? s->status : fg_last_status(b->ctx);
    snprintf(msg, FG_ERROR_CAP, "%s", s->status != FG_OK && s->err[0] ? s->err : fg_last_error(b->ctx));
    if (!msg[0]) snprintf(msg, FG_ERROR_CAP, "%s", fg_status_name(st));
    s->status = FG_OK;
    s->err[0] = 0;
    fg_clear_error(b->ctx);
    return st;
}

int bind_raise_last(lua_State *L, binding *b) {
    char msg[FG_ERROR_CAP];
    bind_take_error(b, msg);
    return bind_raise(L, b, "%s", msg);
}

/* core.raise(message): as error, but at the user's line */
static int raise_at_user(lua_State *L) {
    binding *b = bind_self(L);
    size_t n;
    const char *msg = luaL_checklstring(L, 1, &n);
    push_where(L, b);
    lua_pushlstring(L, msg, n);
    lua_concat(L, 2);
    return lua_error(L);
}

/* core.set_library(prefix): chunk names that begin so are ours */
static int set_library(lua_State *L) {
    binding *b = bind_self(L);
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);
    b->lib_len = n < sizeof b->lib ? n : 0;
    if (b->lib_len) memcpy(b->lib, s, n + 1);
    return 0;
}

static int collect_now(lua_State *L) {
    binding *b = bind_self(L);
    bind_collect(L, b);
    return 0;
}

/* ---------------------------------------------------------------- open and close */
void bind_funcs(lua_State *L, binding *b, const luaL_Reg *funcs) {
    (void)b;
    bind_push_self(L);
    luaL_setfuncs(L, funcs, 1);
}

/* Handles that finalizers made while the state was closing have no finalizer themselves (Lua marks none then): let go of their
 * tensors here. The memory of a handle is there until all finalizers have run. */
static void drop_late_handles(binding *b) {
    for (fg_tensor *t = b->ctx->tensors->live; t;) {
        bind_handle *h = (bind_handle *)(uintptr_t)t->tag;
        fg_tensor *next = t->next;
        if (h && h->t == t) {
            *h = (bind_handle){ .why = BIND_COLLECTED };
            t->tag = 0;
            fg_release(t);
            next = b->ctx->tensors->live; /* the release may have taken others along */
        }
        t = next;
    }
}

/* Runs once, after all other finalizers of ours; also when called by hand, hence the flag. */
static int close_binding(lua_State *L) {
    binding *b = lua_touserdata(L, 1);
    if (!b || lua_touserdata(L, lua_upvalueindex(1)) != b || b->closed) return 0;
    b->closed = true;
    for (bind_scope *s = b->top; s; s = s->outer) {
        fg_host_free(s->items);
        s->items = NULL;
        s->n = s->cap = 0;
        s->open = false;
    }
    b->top = NULL;
    if (b->scope) fg_scope_close(b->scope);
    drop_late_handles(b);
    fg_context_free(b->ctx);
    b->scope = NULL;
    b->ctx = NULL;
    return 0;
}

static binding *new_binding(lua_State *L) {
    binding *b = lua_newuserdatauv(L, sizeof *b, 0);
    memset(b, 0, sizeof *b);
    b->closed = true; /* until the context is there */
    b->allowance = ALLOWANCE_FLOOR;
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, close_binding, 1);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "forger.binding");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2); /* marked for finalization first of all, so finalized last */
    char why[FG_ERROR_CAP];
    b->ctx = fg_context_new_error(why, sizeof why);
    if (!b->ctx) luaL_error(L, "forger: %s", why);
    b->closed = false;
    b->scope = fg_scope_open(b->ctx);
    if (!b->scope) luaL_error(L, "forger: out of memory");
    fg_set_index_base(b->ctx, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
    return b;
}

int luaopen_forger_core(lua_State *L) {
    luaL_checkversion(L);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) == LUA_TTABLE) return 1;
    lua_pop(L, 1);
    bind_push_self(L); /* left behind by an opening that ran out of memory half way */
    binding *b = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!b) b = new_binding(L);
    lua_newtable(L);
    int core = lua_gettop(L);
    bind_handles_open(L, b, core);
    bind_ops_open(L, b, core);
    bind_create_open(L, b, core);
    bind_access_open(L, b, core);
    bind_grad_open(L, b, core);
    bind_layers_open(L, b, core);
    bind_optim_open(L, b, core);
    bind_system_open(L, b, core);
    bind_json_open(L, b, core);
    bind_files_open(L, b, core);
    static const luaL_Reg funcs[] = {
        { "raise", raise_at_user }, { "set_library", set_library }, { "collect", collect_now }, { NULL, NULL }
    };
    bind_funcs(L, b, funcs);
    lua_pushstring(L, fg_version());
    lua_setfield(L, core, "VERSION");
    lua_pushvalue(L, core);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
    return 1;
}

binding *bind_find(lua_State *L) {
    bind_push_self(L);
    binding *b = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (b && b->tensor_mt) return b;
    luaopen_forger_core(L);
    lua_pop(L, 1);
    bind_push_self(L);
    b = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return b;
}

/* ---------------------------------------------------------------- for hosts (forger_lua.h) */
fg_context *fg_lua_context(lua_State *L) { return bind_find(L)->ctx; }

void fg_lua_push(lua_State *L, fg_tensor *t) {
    luaL_checkstack(L, 6, "fg_lua_push");
    binding *b = bind_find(L);
    if (b->closed) luaL_error(L, "forger: the Lua state is closing");
    if (t && fg_tensor_context(t) != b->ctx)
        luaL_error(L, "fg_lua_push: the tensor lives in another context than this Lua state's");
    bind_push(L, b, t);
}

fg_tensor *fg_lua_check(lua_State *L, int idx) {
    luaL_checkstack(L, 6, "fg_lua_check");
    binding *b = bind_find(L);
    idx = lua_absindex(L, idx);
    if (!bind_is_tensor(L, b, idx)) luaL_argerror(L, idx, lua_pushfstring(L, "tensor expected, got %s", luaL_typename(L, idx)));
    return bind_to_tensor(L, b, idx);
}
