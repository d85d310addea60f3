/* bind_json.c: Lua values to JSON text and back, by the one codec of the project.
 *
 * A table with a length above 0 is an array; any other table, the empty one too, is an object with string keys, written sorted.
 * NaN and infinities become null; null reads as the value json.null. Whole numbers up to 2^53 read as Lua integers.
 *
 * While the C writer or tree is alive no Lua call may raise: encoding uses only calls that cannot, decoding builds its tables in
 * protected mode. */
#include "bind.h"
#include "json.h"

static void encode_value(lua_State *L, binding *b, fg_json_writer *w, int idx, int depth);

static void encode_fail(binding *b, fg_json_writer *w, const char *what) {
    if (w->status == FG_OK) w->status = fg_error(b->ctx, FG_EINVAL, "json.encode: %s", what);
}

static void encode_table(lua_State *L, binding *b, fg_json_writer *w, int idx, int depth) {
    if (depth >= FG_JSON_MAX_DEPTH || !lua_checkstack(L, 6)) {
        encode_fail(b, w, "tables are nested too deeply (or contain themselves)");
        return;
    }
    size_t n = lua_rawlen(L, idx);
    if (n > 0) {
        fg_json_open_array(w);
        for (size_t i = 1; i <= n && w->status == FG_OK; i++) {
            lua_rawgeti(L, idx, (lua_Integer)i);
            encode_value(L, b, w, lua_gettop(L), depth + 1);
            lua_pop(L, 1);
        }
    } else {
        fg_json_open_object(w);
        lua_pushnil(L);
        while (w->status == FG_OK && lua_next(L, idx)) {
            if (lua_type(L, -2) != LUA_TSTRING) {
                encode_fail(b, w, "the keys of an object are strings, those of an array 1, 2, 3, ...");
                lua_pop(L, 2);
                break;
            }
            size_t size;
            const char *key = lua_tolstring(L, -2, &size);
            fg_json_put_key_n(w, key, size);
            encode_value(L, b, w, lua_gettop(L), depth + 1);
            lua_pop(L, 1);
        }
    }
    if (w->status == FG_OK) fg_json_close(w);
}

static void encode_value(lua_State *L, binding *b, fg_json_writer *w, int idx, int depth) {
    size_t n;
    const char *s;
    switch (lua_type(L, idx)) {
    case LUA_TBOOLEAN: fg_json_put_bool(w, lua_toboolean(L, idx)); break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, idx)) fg_json_put_int(w, lua_tointeger(L, idx));
        else fg_json_put_number(w, lua_tonumber(L, idx));
        break;
    case LUA_TSTRING:
        s = lua_tolstring(L, idx, &n);
        fg_json_put_string_n(w, s, n);
        break;
    case LUA_TTABLE: encode_table(L, b, w, idx, depth); break;
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, idx)) {
            fg_json_put_null(w);
            break;
        }
        /* fall through */
    default: encode_fail(b, w, "only tables, strings, numbers, booleans and json.null can be written"); break;
    }
}

static int push_text(lua_State *L) {
    const fg_part *p = lua_touserdata(L, 1);
    lua_pushlstring(L, p->data, p->size);
    return 1;
}

/* encode(value [, indent]): indent true or a number for one member a line */
static int encode(lua_State *L) {
    binding *b = bind_self(L);
    luaL_checkany(L, 1);
    lua_settop(L, 2);
    fg_json_writer w;
    bool pretty = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) > 0 : lua_toboolean(L, 2);
    fg_json_begin(&w, b->ctx, FG_JSON_SORTED | (pretty ? FG_JSON_PRETTY : 0));
    encode_value(L, b, &w, 1, 0);
    char *text;
    size_t size, bytes;
    if (fg_json_finish(&w, &text, &size, &bytes) != FG_OK) return bind_raise_last(L, b);
    lua_settop(L, 0);
    fg_part part = { text, size };
    lua_pushcfunction(L, push_text);
    lua_pushlightuserdata(L, &part);
    int rc = lua_pcall(L, 1, 1, 0);
    fg_free(b->ctx, text, bytes);
    return rc == LUA_OK ? 1 : lua_error(L);
}

static void push_value(lua_State *L, const fg_json *v) {
    luaL_checkstack(L, 8, "json.decode");
    switch (v->kind) {
    case FG_JSON_BOOL: lua_pushboolean(L, v->truth); return;
    case FG_JSON_STRING: lua_pushlstring(L, v->u.text, v->n); return;
    case FG_JSON_NUMBER: {
        double d = v->u.number;
        if (d >= -9007199254740992.0 && d <= 9007199254740992.0 && d == (double)(lua_Integer)d)
            lua_pushinteger(L, (lua_Integer)d);
        else lua_pushnumber(L, d);
        return;
    }
    case FG_JSON_ARRAY:
    case FG_JSON_OBJECT: {
        bool array = v->kind == FG_JSON_ARRAY;
        lua_Integer i = 0;
        fg_json_iter it = fg_json_each(v);
        const fg_json *key, *value;
        lua_newtable(L);
        while (fg_json_step(&it, &key, &value)) {
            if (!array) lua_pushlstring(L, key->u.text, key->n);
            push_value(L, value);
            if (array) lua_rawseti(L, -2, ++i);
            else lua_rawset(L, -3);
        }
        return;
    }
    default: lua_pushlightuserdata(L, NULL); return;
    }
}

static int build(lua_State *L) {
    const fg_json_doc *doc = lua_touserdata(L, 1);
    push_value(L, doc->root);
    return 1;
}

/* decode(text [, what]): the value, or nil and the message; what names the text in it */
static int decode(lua_State *L) {
    binding *b = bind_self(L);
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n), *what = luaL_optstring(L, 2, "json");
    fg_json_doc *doc;
    if (fg_json_parse(b->ctx, text, n, what, &doc) != FG_OK) {
        char msg[FG_ERROR_CAP];
        bind_take_error(b, msg);
        lua_pushnil(L);
        lua_pushstring(L, msg);
        return 2;
    }
    lua_pushcfunction(L, build);
    lua_pushlightuserdata(L, doc);
    int rc = lua_pcall(L, 1, 1, 0);
    fg_json_free(b->ctx, doc);
    return rc == LUA_OK ? 1 : lua_error(L);
}

void bind_json_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg funcs[] = { { "encode", encode }, { "decode", decode }, { NULL, NULL } };
    lua_settop(L, core);
    lua_newtable(L);
    bind_funcs(L, b, funcs);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_setfield(L, core, "json");
}
