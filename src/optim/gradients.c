/* gradients.c: clipping by global norm, and exponential moving averages of parameters.
 *
 * The norm is summed in double over fixed pieces of 16384 elements in order: the same bits for any number of threads. */
#include "tensor.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

#define PIECE 16384

typedef struct sum_arg {
    const fg_kernels *k;
    const fg_real *g;
    int64_t n;
    double *part;
} sum_arg;
static void sum_chunk(void *arg, int chunk, int worker) {
    const sum_arg *q = arg;
    int64_t first = (int64_t)chunk * PIECE, m = q->n - first < PIECE ? q->n - first : PIECE;
    (void)worker;
    q->part[chunk] = q->k->sumsq(q->g + first, (size_t)m);
}
static fg_status sumsq(fg_context *ctx, const fg_tensor *t, double *out) {
    int chunks = (int)((t->numel + PIECE - 1) / PIECE);
    if (chunks <= 1) {
        *out = ctx->k->sumsq(fg_reals(t), (size_t)t->numel);
        return FG_OK;
    }
    size_t bytes = (size_t)chunks * sizeof(double);
    double *part = fg_alloc(ctx, bytes), sum = 0;
    if (!part) return FG_ENOMEM;
    sum_arg q = { ctx->k, fg_reals(t), t->numel, part };
    fg_parallel(ctx, chunks, sum_chunk, &q);
    for (int i = 0; i < chunks; i++) sum += part[i];
    fg_free(ctx, part, bytes);
    *out = sum;
    return FG_OK;
}

typedef struct scale_arg {
    const fg_kernels *k;
    fg_real *g, f;
} scale_arg;
static void scale_range(void *arg, int64_t a, int64_t b, int worker) {
    const scale_arg *q = arg;
    (void)worker;
    q->k->unary[FG_UN_AFFINE](q->g + a, q->g + a, (size_t)(b - a), q->f, 0);
}

static fg_status clip(fg_context *ctx, fg_tensor *const *params, int n, double max_norm, double *norm) {
    double total = 0;
    for (int i = 0; i < n; i++) {
        const fg_tensor *g = params[i] ? params[i]->grad : NULL;
        double s = 0;
        if (!g) continue;
        fg_status st = sumsq(ctx, g, &s);
        if (st != FG_OK) return st;
        if (!isfinite(s)) {
            if (norm) *norm = s;
            return fg_error(ctx, FG_ENONFINITE, "clip_grad_norm: the gradient of parameter %d is not finite",
                            i + ctx->index_base);
        }
        total += s;
    }
    total = sqrt(total);
    if (norm) *norm = total;
    if (!(max_norm > 0) || total <= max_norm) return FG_OK;
    for (int i = 0; i < n; i++) {
        fg_tensor *g = params[i] ? params[i]->grad : NULL;
        if (!g) continue;
        scale_arg q = { ctx->k, fg_reals(g), (fg_real)(max_norm / (total + 1e-6)) }; /* PyTorch's 1e-6 */
        fg_parallel_range(ctx, g->numel, PIECE, scale_range, &q);
        fg_storage_written(g->storage);
    }
    return FG_OK;
}
fg_status fg_clip_grad_norm(fg_context *ctx, fg_tensor *const *params, int n, double max_norm, double *norm) {
    if (!fg_enter(ctx)) return FG_EBUSY;
    fg_status st = clip(ctx, params, n, max_norm, norm);
    fg_leave(ctx);
    return st;
}

/* ---------------------------------------------------------------- EMA */
struct fg_ema {
    fg_context *ctx;
    int n;
    bool warmup;
    double decay;
    int64_t t;
    fg_tensor **param, **shadow;
};

void fg_ema_release(fg_ema *e) {
    if (!e) return;
    size_t list = (size_t)e->n * sizeof(fg_tensor *);
    for (int i = 0; i < e->n; i++) {
        if (e->param) fg_release(e->param[i]);
        if (e->shadow) fg_release(e->shadow[i]);
    }
    if (e->param) fg_free(e->ctx, e->param, list);
    if (e->shadow) fg_free(e->ctx, e->shadow, list);
    fg_free(e->ctx, e, sizeof *e);
}

fg_ema *fg_ema_new(fg_context *ctx, fg_tensor *const *params, int n, double decay, bool warmup) {
    if (!(decay >= 0 && decay <= 1)) {
        fg_error(ctx, FG_EINVAL, "EMA: decay is %g; it must be in [0, 1]", decay);
        return NULL;
    }
    for (int i = 0; i < n; i++)
        if (!params[i] || params[i]->dtype != FG_F32 || params[i]->ctx != ctx) {
            fg_error(ctx, FG_EINVAL, "EMA: tensor %d is not an f32 tensor of this context", i + ctx->index_base);
            return NULL;
        }
    if (n < 1) {
        fg_error(ctx, FG_EINVAL, "EMA: the list of tensors is empty");
        return NULL;
    }
    if (!fg_enter(ctx)) return NULL;
    fg_ema *e = fg_calloc(ctx, sizeof *e);
    bool ok = e != NULL;
    if (ok) {
        size_t list = (size_t)n * sizeof(fg_tensor *);
        e->ctx = ctx;
        e->decay = decay;
        e->warmup = warmup;
        e->n = n;
        ok = (e->param = fg_calloc(ctx, list)) && (e->shadow = fg_calloc(ctx, list));
        for (int i = 0; i < n && ok; i++) {
            e->param[i] = fg_keep(params[i]);
            ok = (e->shadow[i] = fg_tensor_new(ctx, FG_F32, &params[i]->shape)) != NULL;
            if (ok) memcpy(fg_data(e->shadow[i]), fg_data(params[i]), fg_tensor_bytes(params[i]));
        }
        if (!ok) {
            fg_ema_release(e);
            e = NULL;
        }
    }
    fg_leave(ctx);
    return e;
}

typedef struct ema_arg {
    const fg_kernels *k;
    fg_real *e, decay;
    const fg_real *p;
} ema_arg;
static void ema_range(void *arg, int64_t a, int64_t b, int worker) {
    const ema_arg *q = arg;
    (void)worker;
    q->k->ema(q->e + a, q->p + a, (size_t)(b - a), q->decay);
}
fg_status fg_ema_update(fg_ema *e) {
    if (!fg_enter(e->ctx)) return FG_EBUSY;
    double d = e->decay, w = (1 + (double)e->t) / (10 + (double)e->t);
    if (e->warmup && w < d) d = w;
    for (int i = 0; i < e->n; i++) {
        ema_arg q = { e->ctx->k, fg_reals(e->shadow[i]), (fg_real)d, fg_reals(e->param[i]) };
        fg_parallel_range(e->ctx, e->param[i]->numel, PIECE, ema_range, &q);
        fg_storage_written(e->shadow[i]->storage);
    }
    e->t++;
    fg_leave(e->ctx);
    return FG_OK;
}
fg_tensor *fg_ema_shadow(const fg_ema *e, int i) { return i < 0 || i >= e->n ? NULL : e->shadow[i]; }
int64_t fg_ema_updates(const fg_ema *e) { return e->t; }
fg_status fg_ema_set_updates(fg_ema *e, int64_t t) {
    if (t < 0) return fg_error(e->ctx, FG_EINVAL, "EMA: %lld updates", (long long)t);
    e->t = t;
    return FG_OK;
}
