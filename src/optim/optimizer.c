/* optimizer.c: SGD, RMSprop and Adam(W) over a list of parameters, and learning-rate schedules.
 *
 * An optimizer holds references to its parameters and, made at the first step, up to two state tensors for each. A step
 * reserves all state first, so that it updates all parameters or none; then one parallel section walks the parameters as one
 * row (flat.h), each element in one fused pass of a kernel; packed forms of a weight are made anew piece by piece behind it.
 * lr_decay follows Keras 2: lr / (1 + lr_decay t), t = 0 at the first update. */
#include "flat.h"
#include "tensor.h"
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum kind { SGD, RMSPROP, ADAM } kind;

struct fg_optimizer {
    fg_context *ctx;
    kind kind;
    int n, slots;
    fg_tensor **param;
    fg_tensor **state[2]; /* [n] each; NULL entries until the first step */
    const char *state_name[2];
    int64_t *end;   /* [n] of flat.h; a parameter without gradient has no elements */
    int64_t *whole; /* [n] of flat.h: pieces of packed forms */
    union {
        fg_sgd_opts sgd;
        fg_rmsprop_opts rmsprop;
        fg_adam_opts adam;
    } o;
    double lr, lr_decay;
    int64_t t; /* updates done */
};

static fg_status check(fg_context *ctx, const char *name, double lr, double decay, double weight_decay) {
    if (!(lr >= 0) || isinf(lr)) return fg_error(ctx, FG_EINVAL, "%s: lr is %g; it must be finite and not negative", name, lr);
    if (!(decay >= 0)) return fg_error(ctx, FG_EINVAL, "%s: lr_decay is %g; it must not be negative", name, decay);
    if (!(weight_decay >= 0))
        return fg_error(ctx, FG_EINVAL, "%s: weight_decay is %g; it must not be negative", name, weight_decay);
    return FG_OK;
}
static fg_status check_unit(fg_context *ctx, const char *name, const char *what, double v) {
    if (v >= 0 && v < 1) return FG_OK;
    return fg_error(ctx, FG_EINVAL, "%s: %s is %g; it must be in [0, 1)", name, what, v);
}

static void destroy(fg_optimizer *p) {
    for (int i = 0; i < p->n; i++) {
        if (p->param) fg_release(p->param[i]);
        for (int k = 0; k < 2; k++)
            if (p->state[k]) fg_release(p->state[k][i]);
    }
    size_t list = (size_t)p->n * sizeof(fg_tensor *);
    if (p->param) fg_free(p->ctx, p->param, list);
    for (int k = 0; k < 2; k++)
        if (p->state[k]) fg_free(p->ctx, p->state[k], list);
    if (p->end) fg_free(p->ctx, p->end, (size_t)p->n * sizeof *p->end);
    if (p->whole) fg_free(p->ctx, p->whole, (size_t)p->n * sizeof *p->whole);
    fg_free(p->ctx, p, sizeof *p);
}

static fg_optimizer *make(fg_context *ctx, const char *name, kind kd, fg_tensor *const *params, int n, int slots) {
    if (n < 1) {
        fg_error(ctx, FG_EINVAL, "%s: the list of parameters is empty", name);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        const fg_tensor *t = params[i];
        const char *why = !t                   ? "NULL"
                          : t->ctx != ctx      ? "of another context"
                          : t->dtype != FG_F32 ? "not f32"
                          : t->node            ? "not a leaf"
                                               : NULL;
        for (int k = 0; k < i && !why; k++)
            if (params[k] == t) why = "listed twice";
        if (why) {
            fg_error(ctx, FG_EINVAL, "%s: parameter %d is %s", name, i + ctx->index_base, why);
            return NULL;
        }
    }
    if (!fg_enter(ctx)) return NULL;
    fg_optimizer *p = fg_calloc(ctx, sizeof *p);
    if (p) {
        p->ctx = ctx;
        p->kind = kd;
        p->slots = slots;
        size_t list = (size_t)n * sizeof(fg_tensor *);
        bool ok = (p->param = fg_calloc(ctx, list)) && (p->end = fg_calloc(ctx, (size_t)n * sizeof *p->end)) &&
                  (p->whole = fg_calloc(ctx, (size_t)n * sizeof *p->whole));
        for (int k = 0; k < slots && ok; k++) ok = (p->state[k] = fg_calloc(ctx, list)) != NULL;
        p->n = n;
        if (!ok) {
            destroy(p);
            p = NULL;
        } else {
            for (int i = 0; i < n; i++) p->param[i] = fg_keep(params[i]);
        }
    }
    fg_leave(ctx);
    return p;
}

fg_optimizer *fg_sgd_new(fg_context *ctx, fg_tensor *const *params, int n, const fg_sgd_opts *opts) {
    fg_sgd_opts o = opts ? *opts : (fg_sgd_opts){ .lr = 1e-3 };
    if (check(ctx, "SGD", o.lr, o.lr_decay, o.weight_decay) != FG_OK || check_unit(ctx, "SGD", "momentum", o.momentum) != FG_OK)
        return NULL;
    if (o.nesterov && (o.momentum == 0 || o.dampening != 0)) {
        fg_error(ctx, FG_EINVAL, "SGD: nesterov needs a momentum (here %g) and no dampening (here %g)", o.momentum, o.dampening);
        return NULL;
    }
    fg_optimizer *p = make(ctx, "SGD", SGD, params, n, o.momentum != 0);
    if (!p) return NULL;
    p->o.sgd = o;
    p->lr = o.lr, p->lr_decay = o.lr_decay;
    p->state_name[0] = "momentum_buffer";
    return p;
}
fg_optimizer *fg_rmsprop_new(fg_context *ctx, fg_tensor *const *params, int n, const fg_rmsprop_opts *opts) {
    fg_rmsprop_opts o = opts ? *opts : (fg_rmsprop_opts){ 0 };
    if (o.lr == 0) o.lr = 1e-2;
    if (o.alpha == 0) o.alpha = 0.99;
    if (o.eps == 0) o.eps = 1e-8;
    if (check(ctx, "RMSprop", o.lr, o.lr_decay, o.weight_decay) != FG_OK ||
        check_unit(ctx, "RMSprop", "alpha", o.alpha) != FG_OK || check_unit(ctx, "RMSprop", "momentum", o.momentum) != FG_OK)
        return NULL;
    fg_optimizer *p = make(ctx, "RMSprop", RMSPROP, params, n, o.momentum != 0 ? 2 : 1);
    if (!p) return NULL;
    p->o.rmsprop = o;
    p->lr = o.lr, p->lr_decay = o.lr_decay;
    p->state_name[0] = "square_avg", p->state_name[1] = "momentum_buffer";
    return p;
}
fg_optimizer *fg_adam_new(fg_context *ctx, fg_tensor *const *params, int n, const fg_adam_opts *opts) {
    fg_adam_opts o = opts ? *opts : (fg_adam_opts){ 0 };
    const char *name = o.decoupled ? "AdamW" : "Adam";
    if (o.lr == 0) o.lr = 1e-3;
    if (o.eps == 0) o.eps = 1e-8;
    if (!o.has_betas) o.beta1 = 0.9, o.beta2 = 0.999;
    if (check(ctx, name, o.lr, o.lr_decay, o.weight_decay) != FG_OK || check_unit(ctx, name, "beta1", o.beta1) != FG_OK ||
        check_unit(ctx, name, "beta2", o.beta2) != FG_OK)
        return NULL;
    fg_optimizer *p = make(ctx, name, ADAM, params, n, 2);
    if (!p) return NULL;
    p->o.adam = o;
    p->lr = o.lr, p->lr_decay = o.lr_decay;
    p->state_name[0] = "exp_avg", p->state_name[1] = "exp_avg_sq";
    return p;
}

void fg_optimizer_release(fg_optimizer *opt) {
    if (opt) destroy(opt);
}

/* State tensor k of parameter i, zeros at first. */
static fg_tensor *state(fg_optimizer *p, int k, int i) {
    if (!p->state[k][i]) {
        fg_tensor *t = fg_tensor_new(p->ctx, FG_F32, &p->param[i]->shape);
        if (t) memset(fg_data(t), 0, fg_tensor_bytes(t));
        p->state[k][i] = t;
    }
    return p->state[k][i];
}

typedef struct step_arg {
    const fg_optimizer *p;
    const fg_kernels *k;
    fg_sgd_args sgd;
    fg_rmsprop_args rms;
    fg_adam_args adam;
} step_arg;
static void update(const step_arg *q, int i, int64_t first, int64_t count) {
    const fg_optimizer *p = q->p;
    size_t n = (size_t)count;
    fg_real *w = fg_reals(p->param[i]) + first;
    const fg_real *g = fg_reals(p->param[i]->grad) + first;
    fg_real *s0 = p->slots > 0 ? fg_reals(p->state[0][i]) + first : NULL;
    fg_real *s1 = p->slots > 1 ? fg_reals(p->state[1][i]) + first : NULL;
    switch (p->kind) {
    case SGD: q->k->sgd(w, g, s0, n, &q->sgd); break;
    case RMSPROP: q->k->rmsprop(w, g, s0, s1, n, &q->rms); break;
    case ADAM: q->k->adam(w, g, s0, s1, n, &q->adam); break;
    }
}
static void step_piece(void *arg, int chunk, int i, int64_t first, int64_t count) {
    const step_arg *q = arg;
    const fg_storage *st = q->p->param[i]->storage;
    int64_t whole = q->p->whole[i];
    (void)chunk;
    for (int64_t n; count > 0; first += n, count -= n) {
        n = whole && whole < count ? whole : count;
        update(q, i, first, n);
        if (whole) st->packed_hooks->renew(st, first);
    }
}

static fg_status step(fg_optimizer *p) {
    int64_t total = 0;
    for (int i = 0; i < p->n; i++) {
        const fg_tensor *g = p->param[i]->grad;
        p->end[i] = total += g ? p->param[i]->numel : 0;
        if (!g) continue;
        if (g->dtype != FG_F32 || !fg_shape_equal(&g->shape, &p->param[i]->shape))
            return fg_error(p->ctx, FG_EINVAL, "step: the gradient of parameter %d does not fit it", i + p->ctx->index_base);
        for (int k = 0; k < p->slots; k++)
            if (!state(p, k, i)) return FG_ENOMEM;
    }
    double lr = p->lr / (1 + p->lr_decay * (double)p->t);
    step_arg q = { .p = p, .k = p->ctx->k };
    if (p->kind == SGD) {
        const fg_sgd_opts *o = &p->o.sgd;
        q.sgd = (fg_sgd_args){ lr, o->momentum, o->dampening, o->weight_decay, o->nesterov, p->t == 0 };
    } else if (p->kind == RMSPROP) {
        const fg_rmsprop_opts *o = &p->o.rmsprop;
        q.rms = (fg_rmsprop_args){ lr, o->alpha, o->eps, o->momentum, o->weight_decay, o->eps_inside };
    } else {
        const fg_adam_opts *o = &p->o.adam;
        double t = (double)p->t + 1;
        q.adam = (fg_adam_args){
            lr, o->beta1, o->beta2, o->eps, o->weight_decay, o->decoupled, 1 - pow(o->beta1, t), 1 - pow(o->beta2, t)
        };
    }
    for (int i = 0; i < p->n; i++) {
        fg_storage *st = p->param[i]->storage;
        bool alone = p->param[i]->grad && st->packed_hooks && st->refs == 1 && !p->param[i]->is_view;
        p->whole[i] = alone ? st->packed_hooks->renew_begin(st, p->param[i]->numel) : 0;
    }
    fg_flat_run(p->ctx, p->end, p->n, p->whole, step_piece, &q);
    for (int i = 0; i < p->n; i++)
        if (p->param[i]->grad) fg_storage_written(p->param[i]->storage);
    p->t++;
    return FG_OK;
}
fg_status fg_optimizer_step(fg_optimizer *opt) {
    if (!fg_enter(opt->ctx)) return FG_EBUSY;
    fg_status st = step(opt);
    fg_leave(opt->ctx);
    return st;
}

fg_status fg_optimizer_zero_grad(fg_optimizer *opt) {
    for (int i = 0; i < opt->n; i++) {
        fg_status st = fg_tensor_set_grad(opt->param[i], NULL);
        if (st != FG_OK) return st;
    }
    return FG_OK;
}
double fg_optimizer_lr(const fg_optimizer *opt) { return opt->lr; }
fg_status fg_optimizer_set_lr(fg_optimizer *opt, double lr) {
    fg_status st = check(opt->ctx, "optimizer", lr, 0, 0);
    if (st == FG_OK) opt->lr = lr;
    return st;
}
int64_t fg_optimizer_steps(const fg_optimizer *opt) { return opt->t; }
fg_status fg_optimizer_set_steps(fg_optimizer *opt, int64_t t) {
    if (t < 0) return fg_error(opt->ctx, FG_EINVAL, "optimizer: %lld steps", (long long)t);
    opt->t = t;
    return FG_OK;
}
bool fg_optimizer_state(fg_optimizer *opt, int i, fg_tensor **t, char *name, size_t cap) {
    if (i < 0 || i >= opt->n * opt->slots) return false;
    int at = i / opt->slots, k = i % opt->slots;
    *t = state(opt, k, at);
    if (name) snprintf(name, cap, "%d.%s", at + 1, opt->state_name[k]);
    return *t != NULL;
}

double fg_lr_linear(double lr, int64_t at, int64_t start, int64_t end, double final_factor) {
    if (at <= start) return lr;
    if (at >= end) return lr * final_factor;
    double f = (double)(at - start) / (double)(end - start);
    return lr * (1 + (final_factor - 1) * f);
}
double fg_lr_cosine(double lr, int64_t at, int64_t total, double final_factor) {
    double f = total > 0 ? (double)at / (double)total : 1;
    if (f > 1) f = 1;
    if (f < 0) f = 0;
    return lr * (final_factor + (1 - final_factor) * 0.5 * (1 + cos(3.14159265358979323846 * f)));
}
