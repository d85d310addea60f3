/* embed_searcher.c: `require "forger"` without files on disk, for hosts that link libforger_lua.a.
 *
 * A searcher placed second, right behind package.preload, finds the modules in the generated array. Chunk names begin with
 * "@lua/forger/", so that errors in Forger's own files read as they do from disk. */
#include "embed.h"
#include "forger_lua.h"

#include <lauxlib.h>
#include <string.h>

static int load_embedded(lua_State *L) {
    const struct fg_lua_file *f = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushfstring(L, "@%s", f->path);
    if (luaL_loadbufferx(L, (const char *)f->text, f->size, lua_tostring(L, -1), "t") != LUA_OK) return lua_error(L);
    lua_pushvalue(L, 1);
    lua_pushstring(L, f->path);
    lua_call(L, 2, 1);
    return 1;
}

static int search_embedded(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    for (const struct fg_lua_file *f = fg_lua_files; f->module; f++)
        if (!strcmp(f->module, name)) {
            lua_pushlightuserdata(L, (void *)f);
            lua_pushcclosure(L, load_embedded, 1);
            lua_pushstring(L, f->path);
            return 2;
        }
    if (!strcmp(name, "forger.core")) {
        lua_pushcfunction(L, luaopen_forger_core);
        lua_pushliteral(L, "forger.core");
        return 2;
    }
    lua_pushfstring(L, "no module '%s' in libforger_lua", name);
    return 1;
}

int fg_lua_open(lua_State *L) {
    int top = lua_gettop(L);
    luaL_checkstack(L, 8, "fg_lua_open");
    if (lua_getglobal(L, "package") != LUA_TTABLE || lua_getfield(L, -1, "searchers") != LUA_TTABLE)
        return luaL_error(L, "fg_lua_open: the library 'package' is not open");
    int searchers = lua_gettop(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, searchers);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, searchers, i);
        if (lua_tocfunction(L, -1) == search_embedded) {
            lua_settop(L, top);
            return 0;
        }
        lua_pop(L, 1);
    }
    for (lua_Integer i = n; i >= 2; i--) {
        lua_rawgeti(L, searchers, i);
        lua_rawseti(L, searchers, i + 1);
    }
    lua_pushcfunction(L, search_embedded);
    lua_rawseti(L, searchers, n >= 1 ? 2 : 1);
    lua_settop(L, top);
    return 0;
}
