/* bind_optim.c: the C optimizers, gradient norms and the moving average of weights. lua/forger/optim.lua gives them their public
 * face (option names as in PyTorch, schedules, state dicts). */
#include "bind.h"

#include <string.h>

typedef struct opt_box {
    fg_optimizer *o;
} opt_box;
typedef struct ema_box {
    fg_ema *e;
    int n;
} ema_box;

static const fg_attr sgd_attrs[] = { FG_ATTR(FG_A_REAL, fg_sgd_opts, lr, 0),
                                     FG_ATTR(FG_A_REAL, fg_sgd_opts, momentum, 0),
                                     FG_ATTR(FG_A_REAL, fg_sgd_opts, dampening, 0),
                                     FG_ATTR(FG_A_REAL, fg_sgd_opts, weight_decay, 0),
                                     FG_ATTR(FG_A_BOOL, fg_sgd_opts, nesterov, 0),
                                     FG_ATTR(FG_A_REAL, fg_sgd_opts, lr_decay, 0),
                                     FG_ATTR_END };
static const fg_attr rmsprop_attrs[] = {
    FG_ATTR(FG_A_REAL, fg_rmsprop_opts, lr, 0),           FG_ATTR(FG_A_REAL, fg_rmsprop_opts, alpha, 0),
    FG_ATTR(FG_A_REAL, fg_rmsprop_opts, eps, 0),          FG_ATTR(FG_A_REAL, fg_rmsprop_opts, momentum, 0),
    FG_ATTR(FG_A_REAL, fg_rmsprop_opts, weight_decay, 0), FG_ATTR(FG_A_BOOL, fg_rmsprop_opts, eps_inside, 0),
    FG_ATTR(FG_A_REAL, fg_rmsprop_opts, lr_decay, 0),     FG_ATTR_END
};
static const fg_attr adam_attrs[] = { FG_ATTR(FG_A_REAL, fg_adam_opts, lr, 0),
                                      FG_ATTR(FG_A_REAL, fg_adam_opts, beta1, 0),
                                      FG_ATTR(FG_A_REAL, fg_adam_opts, beta2, 0),
                                      FG_ATTR(FG_A_BOOL, fg_adam_opts, has_betas, 0),
                                      FG_ATTR(FG_A_REAL, fg_adam_opts, eps, 0),
                                      FG_ATTR(FG_A_REAL, fg_adam_opts, weight_decay, 0),
                                      FG_ATTR(FG_A_BOOL, fg_adam_opts, decoupled, 0),
                                      FG_ATTR(FG_A_REAL, fg_adam_opts, lr_decay, 0),
                                      FG_ATTR_END };

static fg_optimizer *check_opt(lua_State *L, binding *b, const char *fname) {
    opt_box *u = bind_check_object(L, b, b->optimizer_mt, sizeof *u, fname, 1, "an optimizer");
    if (!u->o) bind_raise(L, b, "%s: this optimizer was collected", fname);
    return u->o;
}

static bool is_object(lua_State *L, const void *mt) {
    return lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1) && lua_topointer(L, -1) == mt;
}

static int opt_gc(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    if (b->closed || !is_object(L, b->optimizer_mt)) return 0;
    opt_box *u = lua_touserdata(L, 1);
    fg_optimizer *o = u->o;
    u->o = NULL;
    fg_optimizer_release(o);
    return 0;
}

/* optimizer("SGD" | "RMSprop" | "Adam", params, options) */
static int opt_new(lua_State *L) {
    binding *b = bind_enter(L);
    const char *kind = luaL_checkstring(L, 1);
    union {
        fg_sgd_opts sgd;
        fg_rmsprop_opts rms;
        fg_adam_opts adam;
    } o;
    memset(&o, 0, sizeof o);
    const fg_attr *attrs = !strcmp(kind, "SGD") ? sgd_attrs : !strcmp(kind, "RMSprop") ? rmsprop_attrs : adam_attrs;
    bind_read_attrs(L, b, kind, attrs, 0, &o, 3);
    int n;
    fg_tensor **params = bind_check_list(L, b, kind, 2, &n);
    if (n == 0) return bind_raise(L, b, "%s: the list of parameters is empty", kind);
    opt_box *u = lua_newuserdatauv(L, sizeof *u, 0);
    u->o = NULL;
    luaL_setmetatable(L, "forger.optimizer");
    u->o = attrs == sgd_attrs       ? fg_sgd_new(b->ctx, params, n, &o.sgd)
           : attrs == rmsprop_attrs ? fg_rmsprop_new(b->ctx, params, n, &o.rms)
                                    : fg_adam_new(b->ctx, params, n, &o.adam);
    return u->o ? 1 : bind_raise_last(L, b);
}

static int opt_step(lua_State *L) {
    binding *b = bind_enter(L);
    return fg_optimizer_step(check_opt(L, b, "step")) == FG_OK ? 0 : bind_raise_last(L, b);
}

static int opt_zero_grad(lua_State *L) {
    binding *b = bind_self(L);
    return fg_optimizer_zero_grad(check_opt(L, b, "zero_grad")) == FG_OK ? 0 : bind_raise_last(L, b);
}

static int opt_lr(lua_State *L) {
    binding *b = bind_self(L);
    lua_pushnumber(L, fg_optimizer_lr(check_opt(L, b, "lr")));
    return 1;
}

static int opt_set_lr(lua_State *L) {
    binding *b = bind_self(L);
    fg_optimizer *o = check_opt(L, b, "lr");
    return fg_optimizer_set_lr(o, bind_check_number(L, b, "lr", 2)) == FG_OK ? 0 : bind_raise_last(L, b);
}

static int opt_steps(lua_State *L) {
    binding *b = bind_self(L);
    lua_pushinteger(L, fg_optimizer_steps(check_opt(L, b, "steps")));
    return 1;
}

static int opt_set_steps(lua_State *L) {
    binding *b = bind_self(L);
    fg_optimizer *o = check_opt(L, b, "steps");
    return fg_optimizer_set_steps(o, bind_check_int(L, b, "steps", 2)) == FG_OK ? 0 : bind_raise_last(L, b);
}

/* optimizer_state(o): list of names, list of tensors */
static int opt_state(lua_State *L) {
    binding *b = bind_self(L);
    fg_optimizer *o = check_opt(L, b, "state");
    char name[64];
    fg_tensor *t = NULL;
    lua_newtable(L);
    lua_newtable(L);
    for (int i = 0; fg_optimizer_state(o, i, &t, name, sizeof name); i++) {
        if (!t) return bind_raise_last(L, b);
        lua_pushstring(L, name);
        lua_rawseti(L, -3, i + 1);
        bind_push(L, b, t);
        lua_rawseti(L, -2, i + 1);
    }
    return 2;
}

/* ---------------------------------------------------------------- gradient norms */
/* clip_grad_norm(params, max): the norm before; when it is not finite nothing was scaled and a message follows */
static int clip(lua_State *L) {
    binding *b = bind_self(L);
    double max = bind_check_number(L, b, "clip_grad_norm", 2), norm = 0;
    int n;
    fg_tensor **params = bind_check_list(L, b, "clip_grad_norm", 1, &n);
    fg_status st = fg_clip_grad_norm(b->ctx, params, n, max, &norm);
    if (st != FG_OK && st != FG_ENONFINITE) return bind_raise_last(L, b);
    lua_pushnumber(L, norm);
    if (st == FG_OK) return 1;
    char msg[FG_ERROR_CAP];
    bind_take_error(b, msg);
    lua_pushstring(L, msg);
    return 2;
}

/* ---------------------------------------------------------------- moving average */
static ema_box *check_ema(lua_State *L, binding *b, const char *fname) {
    ema_box *u = bind_check_object(L, b, b->ema_mt, sizeof *u, fname, 1, "a moving average");
    if (!u->e) bind_raise(L, b, "%s: this moving average was collected", fname);
    return u;
}

static int ema_gc(lua_State *L) {
    binding *b = lua_touserdata(L, lua_upvalueindex(1));
    if (b->closed || !is_object(L, b->ema_mt)) return 0;
    ema_box *u = lua_touserdata(L, 1);
    fg_ema *e = u->e;
    u->e = NULL;
    fg_ema_release(e);
    return 0;
}

/* ema(params, decay, warmup) */
static int ema_new(lua_State *L) {
    binding *b = bind_enter(L);
    double decay = bind_check_number(L, b, "EMA", 2);
    bool warmup = lua_toboolean(L, 3);
    int n;
    fg_tensor **params = bind_check_list(L, b, "EMA", 1, &n);
    ema_box *u = lua_newuserdatauv(L, sizeof *u, 0);
    *u = (ema_box){ .n = n };
    luaL_setmetatable(L, "forger.ema");
    u->e = fg_ema_new(b->ctx, params, n, decay, warmup);
    return u->e ? 1 : bind_raise_last(L, b);
}

static int ema_update(lua_State *L) {
    binding *b = bind_self(L);
    return fg_ema_update(check_ema(L, b, "update")->e) == FG_OK ? 0 : bind_raise_last(L, b);
}

static int ema_shadows(lua_State *L) {
    binding *b = bind_self(L);
    ema_box *u = check_ema(L, b, "shadows");
    lua_createtable(L, u->n, 0);
    for (int i = 0; i < u->n; i++) {
        bind_push(L, b, fg_ema_shadow(u->e, i));
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int ema_updates(lua_State *L) {
    binding *b = bind_self(L);
    lua_pushinteger(L, fg_ema_updates(check_ema(L, b, "updates")->e));
    return 1;
}

static int ema_set_updates(lua_State *L) {
    binding *b = bind_self(L);
    ema_box *u = check_ema(L, b, "set_updates");
    return fg_ema_set_updates(u->e, bind_check_int(L, b, "set_updates", 2)) == FG_OK ? 0 : bind_raise_last(L, b);
}

typedef struct lerp_args {
    const fg_kernels *k;
    fg_real *e, decay;
    const fg_real *p;
} lerp_args;

static void lerp_range(void *arg, int64_t first, int64_t end, int worker) {
    lerp_args *a = arg;
    (void)worker;
    a->k->ema(a->e + first, a->p + first, (size_t)(end - first), a->decay);
}

/* ema_lerp(targets, sources, decay): each target becomes decay*target + (1-decay)*source; all or none */
static int ema_lerp(lua_State *L) {
    binding *b = bind_self(L);
    double decay = bind_check_number(L, b, "ema_update", 3);
    int n, m;
    lua_settop(L, 3);
    fg_tensor **dst = bind_check_list(L, b, "ema_update", 1, &n), **src = bind_check_list(L, b, "ema_update", 2, &m);
    if (n != m) return bind_raise(L, b, "ema_update: %d targets, %d sources", n, m);
    if (!(decay >= 0 && decay <= 1)) return bind_raise(L, b, "ema_update: a decay lies in 0..1, got %g", decay);
    for (int i = 0; i < n; i++)
        if (dst[i]->dtype != FG_F32 || src[i]->dtype != FG_F32 || !fg_shape_equal(&dst[i]->shape, &src[i]->shape))
            return bind_raise(L, b, "ema_update: target %d is %s %s, source %d is %s %s", i + 1, fg_dtype_name(dst[i]->dtype),
                              fg_str(&dst[i]->shape), i + 1, fg_dtype_name(src[i]->dtype), fg_str(&src[i]->shape));
    if (!fg_enter(b->ctx)) return bind_raise(L, b, "another thread is inside this Lua state's context");
    bool was = fg_set_grad_enabled(b->ctx, false);
    fg_status st = FG_OK;
    for (int i = 0; i < n && st == FG_OK; i++) st = fg_tensor_begin_write(dst[i], "ema_update");
    for (int i = 0; i < n && st == FG_OK; i++) {
        lerp_args a = { .k = b->ctx->k, .e = fg_reals(dst[i]), .p = fg_reals(src[i]), .decay = (fg_real)decay };
        fg_parallel_range(b->ctx, dst[i]->numel, FG_GRAIN, lerp_range, &a);
    }
    fg_set_grad_enabled(b->ctx, was);
    fg_leave(b->ctx);
    return st == FG_OK ? 0 : bind_raise_last(L, b);
}

/* lr_linear(lr, step, start, end, final), lr_cosine(lr, step, total, final) */
static int lr_linear(lua_State *L) {
    binding *b = bind_self(L);
    lua_pushnumber(L, fg_lr_linear(bind_check_number(L, b, "LinearDecay", 1), bind_check_int(L, b, "LinearDecay", 2),
                                   bind_check_int(L, b, "LinearDecay", 3), bind_check_int(L, b, "LinearDecay", 4),
                                   bind_check_number(L, b, "LinearDecay", 5)));
    return 1;
}

static int lr_cosine(lua_State *L) {
    binding *b = bind_self(L);
    lua_pushnumber(L, fg_lr_cosine(bind_check_number(L, b, "Cosine", 1), bind_check_int(L, b, "Cosine", 2),
                                   bind_check_int(L, b, "Cosine", 3), bind_check_number(L, b, "Cosine", 4)));
    return 1;
}

static const void *box(lua_State *L, binding *b, const char *name, const luaL_Reg *meta) {
    luaL_newmetatable(L, name);
    bind_funcs(L, b, meta);
    const void *id = lua_topointer(L, -1);
    lua_pop(L, 1);
    return id;
}

void bind_optim_open(lua_State *L, binding *b, int core) {
    static const luaL_Reg opt_meta[] = { { "__gc", opt_gc }, { NULL, NULL } },
                          ema_meta[] = { { "__gc", ema_gc }, { NULL, NULL } };
    static const luaL_Reg funcs[] = { { "optimizer", opt_new },
                                      { "optimizer_step", opt_step },
                                      { "optimizer_zero_grad", opt_zero_grad },
                                      { "optimizer_lr", opt_lr },
                                      { "optimizer_set_lr", opt_set_lr },
                                      { "optimizer_steps", opt_steps },
                                      { "optimizer_set_steps", opt_set_steps },
                                      { "optimizer_state", opt_state },
                                      { "clip_grad_norm", clip },
                                      { "ema", ema_new },
                                      { "ema_step", ema_update },
                                      { "ema_shadows", ema_shadows },
                                      { "ema_updates", ema_updates },
                                      { "ema_set_updates", ema_set_updates },
                                      { "ema_update", ema_lerp },
                                      { "lr_linear", lr_linear },
                                      { "lr_cosine", lr_cosine },
                                      { NULL, NULL } };
    lua_settop(L, core);
    b->optimizer_mt = box(L, b, "forger.optimizer", opt_meta);
    b->ema_mt = box(L, b, "forger.ema", ema_meta);
    bind_funcs(L, b, funcs);
}
