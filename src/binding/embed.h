/* embed.h: the Lua files of lua/forger as bytes, generated at build time (tests/support/embed-lua.sh). */
#ifndef FG_EMBED_H
#define FG_EMBED_H

#include <stddef.h>

struct fg_lua_file {
    const char *module, *path; /* "forger.nn", "lua/forger/nn/init.lua" */
    const unsigned char *text;
    size_t size;
};
extern const struct fg_lua_file fg_lua_files[]; /* ended by a NULL module */

#endif
