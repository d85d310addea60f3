/* bind_system.c: settings, memory counters, random streams and the small OS layer for Lua, which may run without os and io.
 * Functions that touch files return nil and a message on failure; everything else raises on misuse. */
#include "bind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_LIMIT ((size_t)1 << 30)

static int nil_message(lua_State *L, const char *what) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, strerror(errno));
    return 2;
}

static int nil_last(lua_State *L, binding *b) {
    char msg[FG_ERROR_CAP];
    bind_take_error(b, msg);
    lua_pushnil(L);
    lua_pushstring(L, msg);
    return 2;
}

static int ok_or_nil(lua_State *L, binding *b, fg_status st) {
    if (st != FG_OK) return nil_last(L, b);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---------------------------------------------------------------- settings */
static int set_threads(lua_State *L) {
    binding *b = bind_self(L);
    lua_Integer n = bind_check_int(L, b, "set_threads", 1);
    return fg_set_threads(b->ctx, n < 0 || n > 10000 ? 0 : (int)n) == FG_OK ? 0 : bind_raise_last(L, b);
}

static int get_threads(lua_State *L) {
    lua_pushinteger(L, fg_get_threads(bind_self(L)->ctx));
    return 1;
}

static const char *const precisions[] = { "f32", "bf16", "auto", NULL };

static int set_precision(lua_State *L) {
    binding *b = bind_self(L);
    const char *name = luaL_checkstring(L, 1);
    for (int i = 0; precisions[i]; i++)
        if (!strcmp(name, precisions[i])) return fg_set_precision(b->ctx, (fg_precision)i) == FG_OK ? 0 : bind_raise_last(L, b);
    return bind_unknown(L, b, "set_precision", "precision", name, precisions);
}

static int get_precision(lua_State *L) {
    lua_pushstring(L, precisions[fg_get_precision(bind_self(L)->ctx)]);
    return 1;
}

static int set_fast_conv(lua_State *L) {
    binding *b = bind_self(L);
    if (!lua_isboolean(L, 1)) return bind_arg_error(L, b, "set_fast_conv", 1, "true or false expected");
    fg_set_fast_conv(b->ctx, lua_toboolean(L, 1));
    return 0;
}

static int get_fast_conv(lua_State *L) {
    lua_pushboolean(L, fg_get_fast_conv(bind_self(L)->ctx));
    return 1;
}

static int isa(lua_State *L) {
    lua_pushstring(L, fg_isa(bind_self(L)->ctx));
    return 1;
}

static int cpu(lua_State *L) {
    char text[512];
    bind_self(L);
    fg_cpu_describe(text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

static int memory(lua_State *L) {
    binding *b = bind_self(L);
    fg_memory m = fg_memory_stats(b->ctx);
    const struct {
        const char *name;
        lua_Integer value;
    } rows[] = { { "live", (lua_Integer)m.live },
                 { "cached", (lua_Integer)m.cached },
                 { "peak", (lua_Integer)m.peak },
                 { "system", (lua_Integer)m.system },
                 { "requests", (lua_Integer)m.requests },
                 { "system_calls", (lua_Integer)m.system_calls },
                 { "resident", (lua_Integer)fg_resident_bytes() } };
    lua_createtable(L, 0, 8);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        lua_pushinteger(L, rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    return 1;
}

static int memory_reset_peak(lua_State *L) {
    fg_memory_reset_peak(bind_self(L)->ctx);
    return 0;
}

static int memory_trim(lua_State *L) {
    fg_memory_trim(bind_self(L)->ctx);
    return 0;
}

/* memory_fail_nth(n, transient): the test hook */
static int memory_fail_nth(lua_State *L) {
    binding *b = bind_self(L);
    fg_memory_fail_nth(b->ctx, (uint64_t)bind_check_int(L, b, "memory_fail_nth", 1), lua_toboolean(L, 2));
    return 0;
}

/* ---------------------------------------------------------------- random streams */
static int manual_seed(lua_State *L) {
    binding *b = bind_self(L);
    fg_manual_seed(b->ctx, (uint64_t)bind_check_int(L, b, "manual_seed", 1));
    return 0;
}

static int initial_seed(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)fg_initial_seed(bind_self(L)->ctx));
    return 1;
}

static int stream_get(lua_State *L) {
    binding *b = bind_self(L);
    fg_stream_state st = fg_stream_get(b->ctx, bind_check_stream(L, b, "stream_get", 1));
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, (lua_Integer)st.key);
    lua_setfield(L, -2, "key");
    lua_pushinteger(L, (lua_Integer)st.offset);
    lua_setfield(L, -2, "offset");
    return 1;
}

static int stream_set(lua_State *L) {
    binding *b = bind_self(L);
    fg_stream st = bind_check_stream(L, b, "stream_set", 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_getfield(L, 2, "key");
    lua_getfield(L, 2, "offset");
    fg_stream_state v = { (uint64_t)bind_check_int(L, b, "stream_set", 3), (uint64_t)bind_check_int(L, b, "stream_set", 4) };
    fg_stream_set(b->ctx, st, v);
    return 0;
}

/* The list of stream names, in their order. */
static int stream_names(lua_State *L) {
    bind_self(L);
    lua_createtable(L, FG_STREAM_COUNT, 0);
    for (int i = 0; i < FG_STREAM_COUNT; i++) {
        lua_pushstring(L, fg_stream_name((fg_stream)i));
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* random_below(n, stream or {stream=}): an integer in 0..n-1 */
static int random_below(lua_State *L) {
    binding *b = bind_self(L);
    lua_Integer n = bind_check_int(L, b, "random_below", 1);
    fg_stream st = FG_STREAM_DEFAULT;
    lua_settop(L, 2);
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "stream");
        lua_replace(L, 2);
    }
    if (!lua_isnil(L, 2)) st = bind_check_stream(L, b, "random_below", 2);
    if (n < 1) return bind_arg_error(L, b, "random_below", 1, "a number from 1 up expected");
    lua_pushinteger(L, (lua_Integer)fg_random_below(b->ctx, st, (uint64_t)n));
    return 1;
}

/* ---------------------------------------------------------------- clock, terminal, signals */
static int clock_seconds(lua_State *L) {
    lua_pushnumber(L, fg_clock_seconds());
    return 1;
}

static int resident_bytes(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)fg_resident_bytes());
    return 1;
}

static int is_terminal(lua_State *L) {
    lua_pushboolean(L, fg_is_terminal((int)luaL_optinteger(L, 1, 2)));
    return 1;
}

static int terminal_columns(lua_State *L) {
    lua_pushinteger(L, fg_terminal_columns((int)luaL_optinteger(L, 1, 2)));
    return 1;
}

static int write_stderr(lua_State *L) {
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);
    while (n > 0) {
        ssize_t done = write(2, s, n);
        if (done <= 0) {
            if (done < 0 && errno == EINTR) continue;
            break;
        }
        s += done;
        n -= (size_t)done;
    }
    lua_pushboolean(L, n == 0);
    return 1;
}

static int install_sigint(lua_State *L) {
    (void)L;
    fg_interrupt_clear();
    fg_interrupt_install();
    return 0;
}

static int remove_sigint(lua_State *L) {
    (void)L;
    fg_interrupt_remove();
    return 0;
}

static int interrupted(lua_State *L) {
    lua_pushboolean(L, fg_interrupt_pending());
    return 1;
}

static int clear_interrupt(lua_State *L) {
    (void)L;
    fg_interrupt_clear();
    return 0;
}

static int get_env(lua_State *L) {
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

/* ---------------------------------------------------------------- files */
static int make_dirs(lua_State *L) {
    binding *b = bind_self(L);
    return ok_or_nil(L, b, fg_mkdirs(b->ctx, luaL_checkstring(L, 1)));
}

static int write_file(lua_State *L) {
    binding *b = bind_self(L);
    const char *path = luaL_checkstring(L, 1);
    fg_part part;
    part.data = luaL_checklstring(L, 2, &part.size);
    return ok_or_nil(L, b, fg_write_file(b->ctx, path, &part, 1));
}

static int append_file(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    size_t n;
    const char *s = luaL_checklstring(L, 2, &n);
    FILE *f = fopen(path, "ab");
    if (!f) return nil_message(L, path);
    bool ok = fwrite(s, 1, n, f) == n;
    int saved = errno;
    if (fclose(f) != 0 && ok) {
        ok = false;
        saved = errno;
    }
    errno = saved;
    if (!ok) return nil_message(L, path);
    lua_pushboolean(L, 1);
    return 1;
}

/* Pushes a string from memory that is not Lua's; run in protected mode so that the memory can be freed after an error. */
static int push_text(lua_State *L) {
    const fg_part *p = lua_touserdata(L, 1);
    lua_pushlstring(L, p->data, p->size);
    return 1;
}

static int read_file(lua_State *L) {
    binding *b = bind_self(L);
    void *data;
    size_t size;
    if (fg_read_file(b->ctx, luaL_checkstring(L, 1), FILE_LIMIT, &data, &size) != FG_OK) return nil_last(L, b);
    fg_part part = { data, size };
    lua_pushcfunction(L, push_text);
    lua_pushlightuserdata(L, &part);
    int rc = lua_pcall(L, 1, 1, 0);
    fg_free(b->ctx, data, size + 1);
    return rc == LUA_OK ? 1 : lua_error(L);
}

typedef struct name_list {
    char **names;
    size_t n;
} name_list;

static int push_names(lua_State *L) {
    const name_list *l = lua_touserdata(L, 1);
    lua_createtable(L, (int)l->n, 0);
    for (size_t i = 0; i < l->n; i++) {
        lua_pushstring(L, l->names[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int list_dir(lua_State *L) {
    binding *b = bind_self(L);
    name_list l = { 0 };
    if (fg_list_dir(b->ctx, luaL_checkstring(L, 1), &l.names, &l.n) != FG_OK) return nil_last(L, b);
    lua_pushcfunction(L, push_names);
    lua_pushlightuserdata(L, &l);
    int rc = lua_pcall(L, 1, 1, 0);
    fg_host_free(l.names);
    return rc == LUA_OK ? 1 : lua_error(L);
}

static int exists(lua_State *L) {
    lua_pushboolean(L, fg_path_exists(luaL_checkstring(L, 1)));
    return 1;
}

static int is_dir(lua_State *L) {
    struct stat st;
    lua_pushboolean(L, stat(luaL_checkstring(L, 1), &st) == 0 && S_ISDIR(st.st_mode));
    return 1;
}

static int remove_file(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    if (remove(path) != 0) return nil_message(L, path);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---------------------------------------------------------------- options of Lua functions */
/* check_options(fname, options or nil, name1, name2, ...): raises on keys that are not among the names; returns the table */
static int check_options(lua_State *L) {
    binding *b = bind_self(L);
    const char *fname = luaL_checkstring(L, 1), *names[48];
    int top = lua_gettop(L), n = 0;
    if (lua_isnoneornil(L, 2)) {
        lua_newtable(L);
        return 1;
    }
    if (!lua_istable(L, 2)) return bind_raise(L, b, "%s: a table of options expected, got %s", fname, bind_type_name(L, b, 2));
    for (int i = 3; i <= top && n < 47; i++) names[n++] = luaL_checkstring(L, i);
    names[n] = NULL;
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            return bind_raise(L, b, "%s: options are named, like { lr = 0.1 }; got %s as a name", fname,
                              bind_type_name(L, b, lua_gettop(L)));
        const char *key = lua_tostring(L, -1);
        int i = 0;
        while (names[i] && strcmp(names[i], key) != 0) i++;
        if (!names[i]) return bind_unknown(L, b, fname, "option", key, names);
    }
    lua_pushvalue(L, 2);
    return 1;
}

/* unknown(fname or nil, noun, name, list of names): raises with the nearest one */
static int unknown(lua_State *L) {
    binding *b = bind_self(L);
    const char *names[256];
    int n = 0;
    luaL_checktype(L, 4, LUA_TTABLE);
    for (; n < 255 && lua_rawgeti(L, 4, n + 1) == LUA_TSTRING; n++) {
        names[n] = lua_tostring(L, -1); /* the table keeps it alive */
        lua_pop(L, 1);
    }
    names[n] = NULL;
    return bind_unknown(L, b, luaL_optstring(L, 1, NULL), luaL_checkstring(L, 2), luaL_checkstring(L, 3), names);
}

void bind_system_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg funcs[] = { { "set_threads", set_threads },
                                      { "get_threads", get_threads },
                                      { "set_precision", set_precision },
                                      { "get_precision", get_precision },
                                      { "set_fast_conv", set_fast_conv },
                                      { "get_fast_conv", get_fast_conv },
                                      { "isa", isa },
                                      { "cpu", cpu },
                                      { "memory", memory },
                                      { "memory_reset_peak", memory_reset_peak },
                                      { "memory_trim", memory_trim },
                                      { "memory_fail_nth", memory_fail_nth },
                                      { "manual_seed", manual_seed },
                                      { "initial_seed", initial_seed },
                                      { "stream_get", stream_get },
                                      { "stream_set", stream_set },
                                      { "stream_names", stream_names },
                                      { "random_below", random_below },
                                      { "clock", clock_seconds },
                                      { "rss", resident_bytes },
                                      { "is_terminal", is_terminal },
                                      { "terminal_columns", terminal_columns },
                                      { "write_stderr", write_stderr },
                                      { "install_sigint", install_sigint },
                                      { "remove_sigint", remove_sigint },
                                      { "interrupted", interrupted },
                                      { "clear_interrupt", clear_interrupt },
                                      { "getenv", get_env },
                                      { "mkdirs", make_dirs },
                                      { "write_file", write_file },
                                      { "append_file", append_file },
                                      { "read_file", read_file },
                                      { "list_dir", list_dir },
                                      { "exists", exists },
                                      { "is_dir", is_dir },
                                      { "remove", remove_file },
                                      { "check_options", check_options },
                                      { "unknown", unknown },
                                      { NULL, NULL } };
    lua_settop(L, core);
    bind_funcs(L, b, funcs);
}
