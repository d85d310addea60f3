/* bind_files.c: tensors in files: safetensors, IDX and PNG. The system's refusals and damaged files give nil and a message;
 * wrong arguments raise. */
#include "bind.h"

#include <string.h>

/* nil, message for files; raises what the caller did wrong */
static int file_failed(lua_State *L, binding *b) {
    char msg[FG_ERROR_CAP];
    fg_status st = bind_take_error(b, msg);
    if (st == FG_EINVAL || st == FG_ESTATE) return bind_raise(L, b, "%s", msg);
    lua_pushnil(L);
    lua_pushstring(L, msg);
    return 2;
}

/* ---------------------------------------------------------------- safetensors */
/* Number of pairs of the table at idx; raises unless all keys are strings. */
static int count_pairs(lua_State *L, binding *b, const char *fname, int idx) {
    int n = 0;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            bind_raise(L, b, "%s: names are strings, got %s", fname, bind_type_name(L, b, lua_gettop(L)));
        n++;
    }
    return n;
}

/* save(path, { name = tensor, ... } [, { key = string, ... }]): true, or nil and a message */
static int save(lua_State *L) {
    binding *b = bind_self(L);
    lua_settop(L, 3);
    const char *path = luaL_checkstring(L, 1);
    if (!lua_istable(L, 2))
        return bind_arg_error(L, b, "save", 2, "a table { name = tensor } expected, got %s", bind_type_name(L, b, 2));
    int n = count_pairs(L, b, "save", 2), n_meta = 0, i = 0;
    if (!lua_isnil(L, 3)) {
        if (!lua_istable(L, 3))
            return bind_arg_error(L, b, "save", 3, "a table { key = string } expected, got %s", bind_type_name(L, b, 3));
        n_meta = count_pairs(L, b, "save", 3);
    }
    const char **names = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *names, 0);
    fg_tensor **tensors = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *tensors, 0);
    fg_meta *meta = lua_newuserdatauv(L, (size_t)(n_meta + 1) * sizeof *meta, 0);
    lua_pushnil(L);
    while (lua_next(L, 2)) { /* the table keeps names and tensors alive; the file is sorted by name */
        names[i] = lua_tostring(L, -2);
        tensors[i] = bind_to_tensor(L, b, lua_gettop(L));
        if (!tensors[i]) return bind_raise(L, b, "save: '%s' is %s, not a tensor", names[i], bind_type_name(L, b, lua_gettop(L)));
        i++;
        lua_pop(L, 1);
    }
    i = 0;
    if (n_meta) lua_pushnil(L);
    while (n_meta && lua_next(L, 3)) {
        meta[i].key = lua_tostring(L, -2);
        if (lua_type(L, -1) != LUA_TSTRING)
            return bind_raise(L, b, "save: metadata '%s' is %s, not a string", meta[i].key, bind_type_name(L, b, lua_gettop(L)));
        meta[i++].value = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    if (fg_tensors_save(b->ctx, path, names, tensors, n, meta, n_meta) != FG_OK) return file_failed(L, b);
    lua_pushboolean(L, 1);
    return 1;
}

typedef struct load_args {
    binding *b;
    fg_tensor_file *file;
} load_args;

static int push_file(lua_State *L) {
    load_args *a = lua_touserdata(L, 1);
    lua_createtable(L, 0, a->file->n);
    for (int i = 0; i < a->file->n; i++) {
        bind_handle *h = bind_new_handle(L, a->b);
        bind_fill(h, fg_keep(a->file->tensors[i]));
        lua_setfield(L, -2, a->file->names[i]);
    }
    lua_createtable(L, 0, a->file->n_meta);
    for (int i = 0; i < a->file->n_meta; i++) {
        lua_pushstring(L, a->file->meta[i].value);
        lua_setfield(L, -2, a->file->meta[i].key);
    }
    return 2;
}

/* load(path): { name = tensor }, { key = string }; or nil and a message. A scope of its own: finalizers that run while the tables
 * are built may use the permanent one. */
static int load(lua_State *L) {
    binding *b = bind_enter(L);
    const char *path = luaL_checkstring(L, 1);
    load_args a = { .b = b };
    fg_scope *s = fg_scope_open(b->ctx);
    if (!s) return bind_raise_last(L, b);
    if (fg_tensors_load(s, path, &a.file) != FG_OK) {
        fg_scope_close(s);
        return file_failed(L, b);
    }
    lua_pushcfunction(L, push_file);
    lua_pushlightuserdata(L, &a);
    int rc = lua_pcall(L, 1, 2, 0);
    fg_tensor_file_free(b->ctx, a.file);
    fg_scope_close(s);
    return rc == LUA_OK ? 2 : lua_error(L);
}

/* ---------------------------------------------------------------- IDX and images */
typedef struct file_args {
    const char *path;
    fg_png_opts png;
    fg_tensor *t;
    int cols, pad, background;
    double lo, hi;
    int64_t h, w;
} file_args;

static fg_tensor *make_idx(fg_scope *s, void *arg) { return fg_idx_load(s, ((file_args *)arg)->path); }
static fg_tensor *make_png(fg_scope *s, void *arg) { return fg_png_load(s, ((file_args *)arg)->path, &((file_args *)arg)->png); }
static fg_tensor *make_resize(fg_scope *s, void *arg) {
    file_args *a = arg;
    return fg_image_resize(s, a->t, a->h, a->w);
}
static fg_tensor *make_crop(fg_scope *s, void *arg) {
    file_args *a = arg;
    return fg_image_center_crop(s, a->t, a->h, a->w);
}
static fg_tensor *make_grid(fg_scope *s, void *arg) {
    file_args *a = arg;
    return fg_image_grid(s, a->t, a->cols, a->pad, a->background, a->lo, a->hi);
}

static int idx_load(lua_State *L) {
    binding *b = bind_enter(L);
    file_args a = { .path = luaL_checkstring(L, 1) };
    return bind_try(L, b, make_idx, &a);
}

/* png_load(path, channels or 0, max_side or 0) */
static int png_load(lua_State *L) {
    binding *b = bind_enter(L);
    file_args a = { .path = luaL_checkstring(L, 1) };
    a.png.channels = (int)luaL_optinteger(L, 2, 0);
    a.png.max_side = (int)luaL_optinteger(L, 3, 0);
    return bind_try(L, b, make_png, &a);
}

/* png_save(path, image, lo, hi) */
static int png_save(lua_State *L) {
    binding *b = bind_self(L);
    const char *path = luaL_checkstring(L, 1);
    fg_tensor *t = bind_check_tensor(L, b, "write_png", 2);
    double lo = luaL_optnumber(L, 3, 0), hi = luaL_optnumber(L, 4, 1);
    if (fg_png_save(b->ctx, path, t, lo, hi) != FG_OK) return file_failed(L, b);
    lua_pushboolean(L, 1);
    return 1;
}

/* image_grid(images, cols, pad, background, lo, hi) */
static int image_grid(lua_State *L) {
    binding *b = bind_enter(L);
    file_args a = { .t = bind_check_tensor(L, b, "grid", 1) };
    a.cols = (int)luaL_checkinteger(L, 2);
    a.pad = (int)luaL_checkinteger(L, 3);
    a.background = (int)luaL_checkinteger(L, 4);
    a.lo = luaL_checknumber(L, 5);
    a.hi = luaL_checknumber(L, 6);
    return bind_make(L, b, make_grid, &a);
}

static int image_size(lua_State *L, const char *fname, bind_make_fn make) {
    binding *b = bind_enter(L);
    file_args a = { .t = bind_check_tensor(L, b, fname, 1) };
    a.h = bind_check_int(L, b, fname, 2);
    a.w = lua_isnoneornil(L, 3) ? a.h : bind_check_int(L, b, fname, 3);
    return bind_make(L, b, make, &a);
}

static int image_resize(lua_State *L) { return image_size(L, "resize", make_resize); }
static int image_center_crop(lua_State *L) { return image_size(L, "center_crop", make_crop); }

void bind_files_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg funcs[] = { { "save", save },
                                      { "load", load },
                                      { "idx_load", idx_load },
                                      { "png_load", png_load },
                                      { "png_save", png_save },
                                      { "image_grid", image_grid },
                                      { "image_resize", image_resize },
                                      { "image_center_crop", image_center_crop },
                                      { NULL, NULL } };
    lua_settop(L, core);
    bind_funcs(L, b, funcs);
}
