/* forger_lua.h: for C hosts that embed Lua 5.4 and want Forger inside their own Lua state.
 *
 * Link libforger_lua.a, libforger.a, and what forger.pc names. fg_lua_open makes `require "forger"` work without any file on
 * disk; a host that prefers the files of an installation calls luaopen_forger_core through package.preload instead.
 * Nothing here needs the libraries os, io or debug, nor the global arg. Opening twice is harmless. The context of a state is
 * freed when the state is closed. */
#ifndef FORGER_LUA_H
#define FORGER_LUA_H

#include "forger.h"

#include <lua.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the C half, module "forger.core": pushes its table, returns 1. Raises a Lua error when there is no memory or when
 * FORGER_ISA asks for what this machine lacks. */
FG_API int luaopen_forger_core(lua_State *L);

/* Registers "forger.core" and the Lua files inside libforger_lua.a, so that `require "forger"` finds them before it looks at
 * the disk. Needs the library `package` (luaL_requiref(L, LUA_LOADLIBNAME, luaopen_package, 1)); raises without it. Returns
 * 0 values. */
FG_API int fg_lua_open(lua_State *L);

/* The context behind this state's tensors; opens the module when it is not open yet. May raise like luaopen_forger_core. */
FG_API fg_context *fg_lua_context(lua_State *L);

/* Pushes a tensor that lives in fg_lua_context(L). Lua adds a reference of its own; the caller's stays the caller's. The
 * same tensor gives the same Lua value. NULL pushes nil. Raises on lack of memory or a tensor of another context. */
FG_API void fg_lua_push(lua_State *L, fg_tensor *t);

/* The tensor at stack index idx, borrowed: valid while the Lua value lives (fg_keep to hold it longer). Raises an argument
 * error when the value is no tensor or was freed. */
FG_API fg_tensor *fg_lua_check(lua_State *L, int idx);

#ifdef __cplusplus
}
#endif
#endif
