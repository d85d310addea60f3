/* gradients.c: clipping by global norm, and exponential moving averages of parameters.
 *
 * Each is one parallel section (clipping: two) over all parameters as one row (flat.h). The norm is summed in double, chunk
 * after chunk: the same bits for any number of threads. */
#include "flat.h"
#include "tensor.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

typedef struct clip_arg {
    const fg_kernels *k;
    fg_tensor *const *params;
    double *part; /* [chunks], zeros at first */
    fg_real scale;
} clip_arg;
static void sum_piece(void *arg, int chunk, int i, int64_t first, int64_t n) {
    const clip_arg *q = arg;
    q->part[chunk] += q->k->sumsq(fg_reals(q->params[i]->grad) + first, (size_t)n);
}
static void scale_piece(void *arg, int chunk, int i, int64_t first, int64_t n) {
    const clip_arg *q = arg;
    fg_real *g = fg_reals(q->params[i]->grad) + first;
    (void)chunk;
    q->k->unary[FG_UN_AFFINE](g, g, (size_t)n, q->scale, 0);
}

static fg_status clip(fg_context *ctx, fg_tensor *const *params, int n, double max_norm, double *norm) {
    if (norm) *norm = 0;
    if (n < 1) return FG_OK;
    size_t list = (size_t)n * sizeof(int64_t);
    int64_t *end = fg_alloc(ctx, list), total = 0;
    if (!end) return FG_ENOMEM;
    for (int i = 0; i < n; i++) end[i] = total += params[i] && params[i]->grad ? params[i]->numel : 0;
    int chunks = fg_flat_chunks(end, n);
    size_t bytes = (size_t)chunks * sizeof(double);
    clip_arg q = { .k = ctx->k, .params = params, .part = fg_calloc(ctx, bytes) };
    fg_status st = q.part ? FG_OK : FG_ENOMEM;
    if (st == FG_OK) {
        double sum = 0;
        fg_flat_run(ctx, end, n, NULL, sum_piece, &q);
        for (int i = 0; i < chunks; i++) sum += q.part[i];
        for (int i = 0; i < n && !isfinite(sum); i++) {
            double s = params[i] && params[i]->grad ? ctx->k->sumsq(fg_reals(params[i]->grad), (size_t)params[i]->numel) : 0;
            if (isfinite(s)) continue;
            st = fg_error(ctx, FG_ENONFINITE, "clip_grad_norm: the gradient of parameter %d is not finite", i + ctx->index_base);
            break;
        }
        double length = st == FG_OK ? sqrt(sum) : sum;
        if (norm) *norm = length;
        if (st == FG_OK && max_norm > 0 && length > max_norm) {
            q.scale = (fg_real)(max_norm / (length + 1e-6)); /* PyTorch's 1e-6 */
            fg_flat_run(ctx, end, n, NULL, scale_piece, &q);
            for (int i = 0; i < n; i++)
                if (params[i] && params[i]->grad) fg_storage_written(params[i]->grad->storage);
        }
        fg_free(ctx, q.part, bytes);
    }
    fg_free(ctx, end, list);
    return st;
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
    int64_t *end; /* [n] of flat.h */
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
    if (e->end) fg_free(e->ctx, e->end, (size_t)e->n * sizeof *e->end);
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
        int64_t total = 0;
        ok = (e->param = fg_calloc(ctx, list)) && (e->shadow = fg_calloc(ctx, list)) &&
             (e->end = fg_calloc(ctx, (size_t)n * sizeof *e->end));
        for (int i = 0; i < n && ok; i++) {
            e->end[i] = total += params[i]->numel;
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
    const fg_ema *e;
    fg_real decay;
} ema_arg;
static void ema_piece(void *arg, int chunk, int i, int64_t first, int64_t n) {
    const ema_arg *q = arg;
    (void)chunk;
    q->e->ctx->k->ema(fg_reals(q->e->shadow[i]) + first, fg_reals(q->e->param[i]) + first, (size_t)n, q->decay);
}
fg_status fg_ema_update(fg_ema *e) {
    if (!fg_enter(e->ctx)) return FG_EBUSY;
    double d = e->decay, w = (1 + (double)e->t) / (10 + (double)e->t);
    if (e->warmup && w < d) d = w;
    ema_arg q = { e, (fg_real)d };
    fg_flat_run(e->ctx, e->end, e->n, NULL, ema_piece, &q);
    for (int i = 0; i < e->n; i++) fg_storage_written(e->shadow[i]->storage);
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
