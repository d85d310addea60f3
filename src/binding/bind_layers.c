/* bind_layers.c: the C layers as leaves of Lua's modules. A leaf is a userdata that owns one reference to an fg_layer; the Lua
 * table around it (lua/forger/nn/leaf.lua) holds the mode and the place in the network.
 *
 * Constructor arguments come from the layer's attribute table, so a new kind in layers.def needs nothing here. */
#include "bind.h"
#include "layer.h"

#include <string.h>

typedef struct leaf {
    fg_layer *l;
} leaf;

static fg_layer *check_leaf(lua_State *L, binding *b, const char *fname, int idx) {
    leaf *u = bind_check_object(L, b, b->layer_mt, sizeof *u, fname, idx, "a layer");
    if (!u->l) bind_raise(L, b, "%s: this layer was collected", fname);
    return u->l;
}

static int leaf_gc(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    if (b->closed || lua_type(L, 1) != LUA_TUSERDATA || !lua_getmetatable(L, 1) || lua_topointer(L, -1) != b->layer_mt) return 0;
    leaf *u = lua_touserdata(L, 1);
    fg_layer *l = u->l;
    u->l = NULL;
    fg_layer_release(l);
    return 0;
}

/* layer(kind, ...): arguments as the kind's attribute table says */
static int layer_new(lua_State *L) {
    binding *b = bind_enter(L);
    const char *kind = luaL_checkstring(L, 1);
    const fg_layer_def *def = fg_layer_find(kind);
    if (!def) return bind_raise(L, b, "nn: unknown layer '%s'", kind);
    void *opts = lua_newuserdatauv(L, def->opts_size ? def->opts_size : 1, 0);
    memset(opts, 0, def->opts_size);
    lua_replace(L, 1);
    bind_read_attrs(L, b, def->kind, def->attrs, def->positional, opts, 2);
    leaf *u = lua_newuserdatauv(L, sizeof *u, 0);
    u->l = NULL;
    luaL_setmetatable(L, "forger.layer");
    u->l = fg_layer_new(b->ctx, def->kind, opts);
    return u->l ? 1 : bind_raise_last(L, b);
}

typedef struct forward_args {
    fg_layer *l;
    fg_tensor *x;
    fg_act act;
    double slope;
} forward_args;

static fg_tensor *make_forward(fg_scope *s, void *arg) {
    forward_args *a = arg;
    return a->act == FG_ACT_NONE ? fg_layer_forward(s, a->l, a->x) : fg_layer_forward_act(s, a->l, a->x, a->act, a->slope);
}

/* layer_forward(leaf, x, training [, activation leaf]): the tensor, or nil and the message (the caller adds the place) */
static int layer_forward(lua_State *L) {
    binding *b = bind_enter(L);
    forward_args a = { .l = check_leaf(L, b, "forward", 1), .x = bind_to_tensor(L, b, 2), .act = FG_ACT_NONE };
    if (!a.x) {
        const char *got = bind_type_name(L, b, 2); /* may push a string */
        lua_pushnil(L);
        lua_pushfstring(L, "a tensor expected, got %s", got);
        return 2;
    }
    fg_layer_train(a.l, lua_toboolean(L, 3));
    if (!lua_isnoneornil(L, 4)) {
        const fg_layer *act = check_leaf(L, b, "forward", 4);
        a.act = act->def->is_act;
        a.slope = act->def->is_act == FG_ACT_LEAKY_RELU ? ((const fg_act_layer *)act->opts)->slope : 0;
    }
    return bind_try(L, b, make_forward, &a);
}

/* layer_each(leaf, fn): calls fn(name, tensor, is_parameter) for its parameters, then for its buffers */
static int layer_each(lua_State *L) {
    binding *b = bind_self(L);
    fg_layer *l = check_leaf(L, b, "tensors", 1);
    bool (*get[])(const fg_layer *, int, fg_tensor **, char *, size_t) = { fg_layer_param, fg_layer_buffer };
    lua_settop(L, 2);
    for (int k = 0; k < 2; k++) {
        char name[64];
        fg_tensor *t;
        for (int i = 0; get[k](l, i, &t, name, sizeof name); i++) {
            lua_pushvalue(L, 2);
            lua_pushstring(L, name);
            bind_push(L, b, t);
            lua_pushboolean(L, k == 0);
            lua_call(L, 3, 0);
        }
    }
    return 0;
}

/* layer_freeze(leaf, on): its parameters ask for no gradient, or for one again */
static int layer_freeze(lua_State *L) {
    binding *b = bind_self(L);
    fg_layer *l = check_leaf(L, b, "freeze", 1);
    if (fg_layer_freeze(l, lua_toboolean(L, 2)) != FG_OK) return bind_raise_last(L, b);
    return 0;
}

/* The layer of the module on top of the stack, where that is a built-in one and no field of it is the user's; else NULL. What it
 * pushes is left. */
static fg_layer *plain_layer(lua_State *L, binding *b) {
    int m = lua_gettop(L);
    if (!lua_istable(L, m) || !lua_getmetatable(L, m)) return NULL;
    lua_pushliteral(L, "info"); /* its class has this, classes that extend it have not */
    if (lua_rawget(L, -2) != LUA_TTABLE) return NULL;
    lua_pushliteral(L, "_keys");
    if (lua_rawget(L, m) != LUA_TTABLE || lua_rawlen(L, -1) != 0) return NULL;
    lua_pushliteral(L, "_layer");
    lua_rawget(L, m);
    return check_leaf(L, b, "freeze", -1);
}

/* layers_freeze(list, on): the same for those of a list's modules that are built-in layers and no more. True: there are no
 * others, but functions. For networks that are frozen and unfrozen in each step: a walk in Lua takes 20 us there, since a step's
 * matrix products leave nothing of it in the caches, this one 4. */
static int layers_freeze(lua_State *L) {
    binding *b = bind_self(L);
    bool on = lua_toboolean(L, 2), all = true;
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, 1); i <= n; i++) {
        lua_settop(L, 2);
        if (lua_rawgeti(L, 1, i) == LUA_TFUNCTION) continue;
        fg_layer *l = plain_layer(L, b);
        if (l && fg_layer_freeze(l, on) != FG_OK) return bind_raise_last(L, b);
        all = all && l;
    }
    lua_pushboolean(L, all);
    return 1;
}

/* layer_get(leaf, name): a parameter, a buffer or an attribute; nothing when there is none of that name */
static int layer_get(lua_State *L) {
    binding *b = bind_self(L);
    fg_layer *l = check_leaf(L, b, "layer field", 1);
    if (lua_type(L, 2) != LUA_TSTRING) return 0;
    const char *name = lua_tostring(L, 2);
    for (int i = 0; i < l->n_params; i++)
        if (!strcmp(l->param_name[i], name)) {
            bind_push(L, b, l->param[i]);
            return 1;
        }
    for (int i = 0; i < l->n_buffers; i++)
        if (!strcmp(l->buffer_name[i], name)) {
            bind_push(L, b, l->buffer[i]);
            return 1;
        }
    const fg_attr *a = bind_find_attr(l->def->attrs, name);
    if (!a) return 0;
    bind_push_attr(L, a, l->opts);
    return 1;
}

/* layer_set(leaf, name, value): true when name is an attribute; only numbers that change no shape may be set */
static int layer_set(lua_State *L) {
    binding *b = bind_self(L);
    fg_layer *l = check_leaf(L, b, "layer field", 1);
    const char *name = luaL_checkstring(L, 2);
    const fg_attr *a = bind_find_attr(l->def->attrs, name);
    bool tensor = false;
    for (int i = 0; i < l->n_params; i++) tensor = tensor || !strcmp(l->param_name[i], name);
    for (int i = 0; i < l->n_buffers; i++) tensor = tensor || !strcmp(l->buffer_name[i], name);
    if (tensor)
        return bind_raise(L, b, "%s: '%s' is made by the layer: write into it with copy_ inside no_grad", l->def->kind, name);
    if (!a) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (a->kind != FG_A_REAL) return bind_raise(L, b, "%s: '%s' is fixed when the layer is made", l->def->kind, name);
    bind_read_attr(L, b, l->def->kind, a, l->opts, 3);
    lua_pushboolean(L, 1);
    return 1;
}

/* layer_config(leaf): list of attribute names in declared order, and a table of their values */
static int layer_config(lua_State *L) {
    binding *b = bind_self(L);
    fg_layer *l = check_leaf(L, b, "config", 1);
    int n = 0;
    lua_newtable(L);
    lua_newtable(L);
    for (const fg_attr *a = l->def->attrs; a && a->name; a++) {
        lua_pushstring(L, a->name);
        lua_rawseti(L, -3, ++n);
        bind_push_attr(L, a, l->opts);
        lua_setfield(L, -2, a->name);
    }
    return 2;
}

/* layer_init(leaf, "torch" | "keras" | "dcgan" | "normal" [, std]) */
static int layer_init(lua_State *L) {
    binding *b = bind_self(L);
    fg_layer *l = check_leaf(L, b, "init", 1);
    static const char *const names[] = { "torch", "keras", "dcgan", "normal", NULL };
    const char *how = luaL_checkstring(L, 2);
    fg_status st = FG_OK;
    if (!strcmp(how, "torch")) st = fg_init_layer_torch(l);
    else if (!strcmp(how, "keras")) st = fg_init_layer_keras(l);
    else if (!strcmp(how, "dcgan")) st = fg_init_layer_dcgan(l);
    else if (!strcmp(how, "normal")) st = fg_init_layer_normal(l, bind_check_number(L, b, "init.normal", 3));
    else return bind_unknown(L, b, "nn.init", "initialiser", how, names);
    return st == FG_OK ? 0 : bind_raise_last(L, b);
}

void bind_layers_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg meta[] = { { "__gc", leaf_gc }, { NULL, NULL } };
    static const luaL_Reg funcs[] = { { "layer", layer_new },
                                      { "layer_forward", layer_forward },
                                      { "layer_each", layer_each },
                                      { "layer_freeze", layer_freeze },
                                      { "layers_freeze", layers_freeze },
                                      { "layer_get", layer_get },
                                      { "layer_set", layer_set },
                                      { "layer_config", layer_config },
                                      { "layer_init", layer_init },
                                      { NULL, NULL } };
    lua_settop(L, core);
    luaL_newmetatable(L, "forger.layer");
    bind_funcs(L, b, meta);
    b->layer_mt = lua_topointer(L, -1);
    lua_settop(L, core);
    bind_funcs(L, b, funcs);
    lua_newtable(
        L); /* layer_kinds: in layers.def's order { kind, fuses, activation, positional, attributes, defaults, required } */
    for (int i = 0; fg_layer_table[i]; i++) {
        const fg_layer_def *d = fg_layer_table[i];
        lua_createtable(L, 0, 5);
        lua_pushstring(L, d->kind);
        lua_setfield(L, -2, "kind");
        lua_pushboolean(L, d->fuses);
        lua_setfield(L, -2, "fuses");
        lua_pushboolean(L, d->is_act != FG_ACT_NONE);
        lua_setfield(L, -2, "activation");
        lua_pushinteger(L, d->positional);
        lua_setfield(L, -2, "positional");
        lua_newtable(L);
        for (int k = 0; d->attrs && d->attrs[k].name; k++) {
            lua_pushstring(L, d->attrs[k].name);
            lua_rawseti(L, -2, k + 1);
        }
        lua_setfield(L, -2, "attributes");
        char opts[FG_OPTS_MAX] __attribute__((aligned(16))) = { 0 };
        bind_attr_defaults(d->attrs, opts);
        lua_newtable(L);
        lua_newtable(L);
        for (const fg_attr *a = d->attrs; a && a->name; a++) {
            lua_pushboolean(L, a->required);
            lua_setfield(L, -3, a->name);
            if (a->required) continue;
            bind_push_attr(L, a, opts);
            lua_setfield(L, -2, a->name);
        }
        lua_setfield(L, -3, "defaults");
        lua_setfield(L, -2, "required");
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, core, "layer_kinds");
}
