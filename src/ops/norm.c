/* norm.c: batch normalisation (Ioffe and Szegedy 2015) over all axes but the last.
 *
 * Statistics come in chunks of rows (mean and sum of squared deviations of each, merged in chunk order after Chan, Golub
 * and LeVeque 1979): accurate, and the same bits for any number of threads. Batch mean and 1/sqrt(var + eps) are noted in
 * a small hidden tensor `stats` for vjp_fast. The differentiable vjp does not touch it when training: it forms the
 * statistics again from the input in public ops, so that second derivatives pass through them (R1 through batch norm). */
#include "op.h"

#include <math.h>
#include <string.h>

typedef struct bn_arg {
    const fg_kernels *k;
    fg_span x, y, dy, out;
    const fg_real *mean, *a, *b, *c;
    fg_real *part; /* [chunks][2][channels] */
    fg_real *wide; /* [workers][BLOCKS][per][channels]: a chunk of x, y, dy and out in f32, of those that are bf16 */
    int64_t rows, ch, per;
    fg_act act;
    fg_real slope;
} bn_arg;

/* At most 256 chunks of f32; a chunk of bf16 is widened whole, so it stays small. */
static int plan_chunks(int64_t rows, int64_t ch, bool half, int64_t *per) {
    int64_t p = FG_GRAIN / (ch > 0 ? ch : 1);
    if (p < 16) p = 16;
    int64_t chunks = (rows + p - 1) / p;
    if (chunks > 256 && !half) {
        p = (rows + 255) / 256;
        chunks = (rows + p - 1) / p;
    }
    *per = p;
    return (int)chunks;
}
static int64_t chunk_rows(const bn_arg *q, int chunk, int64_t *first) {
    *first = (int64_t)chunk * q->per;
    return q->rows - *first < q->per ? q->rows - *first : q->per;
}
enum { BLOCK_X, BLOCK_Y, BLOCK_DY, BLOCK_OUT, BLOCKS };
static size_t wide_bytes(const fg_context *ctx, int64_t per, int64_t ch, bool half) {
    return half ? (size_t)fg_get_threads(ctx) * BLOCKS * (size_t)(per * ch) * sizeof(fg_real) : 0;
}
static fg_real *block_of(const bn_arg *q, int worker, int which) {
    return q->wide ? q->wide + ((int64_t)worker * BLOCKS + which) * q->per * q->ch : NULL;
}
#define READ(field, which) fg_span_read(q->k, q->field, first * q->ch, n * q->ch, block_of(q, worker, which))
static void moments_chunk(void *arg, int chunk, int worker) {
    const bn_arg *q = arg;
    int64_t first, n = chunk_rows(q, chunk, &first);
    fg_real *p = q->part + (int64_t)chunk * 2 * q->ch;
    q->k->bn_moments(READ(x, BLOCK_X), n, q->ch, p, p + q->ch);
}
static void apply_chunk(void *arg, int chunk, int worker) {
    const bn_arg *q = arg;
    int64_t first, n = chunk_rows(q, chunk, &first);
    fg_real *out = fg_span_open(q->out, first * q->ch, block_of(q, worker, BLOCK_OUT));
    q->k->bn_apply(READ(x, BLOCK_X), n, q->ch, q->a, q->b, q->act, q->slope, out);
    fg_span_close(q->k, q->out, first * q->ch, n * q->ch, out);
}
static void sums_chunk(void *arg, int chunk, int worker) {
    const bn_arg *q = arg;
    int64_t first, n = chunk_rows(q, chunk, &first);
    fg_real *p = q->part + (int64_t)chunk * 2 * q->ch;
    q->k->bn_grad_sums(READ(dy, BLOCK_DY), READ(y, BLOCK_Y), READ(x, BLOCK_X), n, q->ch, q->mean, q->act, q->slope, p, p + q->ch);
}
static void grad_chunk(void *arg, int chunk, int worker) {
    const bn_arg *q = arg;
    int64_t first, n = chunk_rows(q, chunk, &first);
    fg_real *out = fg_span_open(q->out, first * q->ch, block_of(q, worker, BLOCK_OUT));
    q->k->bn_grad_apply(READ(dy, BLOCK_DY), READ(y, BLOCK_Y), READ(x, BLOCK_X), n, q->ch, q->mean, q->a, q->b, q->c, q->act,
                        q->slope, out);
    fg_span_close(q->k, q->out, first * q->ch, n * q->ch, out);
}

/* Inputs: x, gamma, beta, running mean, running variance, stats[2][C] */
enum { X, GAMMA, BETA, RMEAN, RVAR, STATS, INPUTS };

static fg_status infer(fg_call *c) {
    fg_batch_norm_opts *o = c->opts;
    const fg_shape *x = &c->in[X]->shape;
    static const char *name[] = { "input", "gamma", "beta", "running mean", "running variance" };
    if (x->ndim < 2) return fg_op_error(c, FG_EINVAL, "input %s needs a batch axis and a channel axis", fg_str(x));
    int64_t ch = x->dim[x->ndim - 1];
    for (int i = 1; i < STATS; i++)
        if (c->in[i] && (c->in[i]->shape.ndim != 1 || c->in[i]->shape.dim[0] != ch))
            return fg_op_error(c, FG_EINVAL, "input %s has %lld channel%s, %s is %s", fg_str(x), (long long)ch, FG_PLURAL(ch),
                               name[i], fg_str(&c->in[i]->shape));
    for (int i = RMEAN; i <= RVAR; i++)
        if (c->in[i] && c->in[i]->dtype != FG_F32) return fg_op_error(c, FG_EINVAL, "%s must be f32", name[i]);
    if (o->eps == 0) o->eps = 1e-5;
    if (o->momentum == 0) o->momentum = 0.1;
    if (!(o->slope >= 0)) return fg_op_error(c, FG_EINVAL, "slope %g is negative; it must be >= 0", o->slope);
    if (!o->training && (!c->in[RMEAN] || !c->in[RVAR])) return fg_op_error(c, FG_EINVAL, "evaluation needs running statistics");
    if (o->training && c->in[X]->numel <= ch)
        return fg_op_error(c, FG_EINVAL, "input %s has one value a channel; training needs at least two to have a variance",
                           fg_str(x));
    c->wide = FG_ACT_WIDE(o->act);
    c->out_shape = *x;
    return FG_OK;
}

/* Mean and sum of squared deviations of all rows into mean[ch], m2[ch]. */
static void moments(fg_context *ctx, bn_arg *q, int chunks, fg_real *mean, fg_real *m2) {
    fg_parallel_light(ctx, q->rows * q->ch, chunks, moments_chunk, q);
    int64_t ch = q->ch, first;
    memcpy(mean, q->part, (size_t)ch * sizeof *mean);
    memcpy(m2, q->part + ch, (size_t)ch * sizeof *m2);
    double n = (double)chunk_rows(q, 0, &first);
    for (int k = 1; k < chunks; k++) {
        const fg_real *pm = q->part + (int64_t)k * 2 * ch, *p2 = pm + ch;
        double nk = (double)chunk_rows(q, k, &first), total = n + nk;
        fg_real wk = (fg_real)(nk / total), wd = (fg_real)(n * nk / total);
        for (int64_t i = 0; i < ch; i++) {
            fg_real d = pm[i] - mean[i];
            mean[i] += d * wk;
            m2[i] += p2[i] + d * d * wd;
        }
        n = total;
    }
}

static fg_status forward(fg_call *c) {
    const fg_batch_norm_opts *o = c->opts;
    fg_context *ctx = c->ctx;
    int64_t ch = c->out_shape.dim[c->out_shape.ndim - 1], rows = ch ? c->y->numel / ch : 0, per;
    if (!c->y->numel) return FG_OK;
    bool half = c->in[X]->dtype == FG_BF16; /* y is bf16 only where x is */
    int chunks = plan_chunks(rows, ch, half, &per);
    size_t bytes = (size_t)(2 * chunks * ch + 3 * ch) * sizeof(fg_real) + wide_bytes(ctx, per, ch, half);
    fg_real *work = fg_alloc(ctx, bytes);
    if (!work) return FG_ENOMEM;
    fg_real *scale = work, *shift = work + ch, *m2 = work + 2 * ch, *stat = fg_reals(c->in[STATS]), *mean = stat,
            *inv = stat + ch;
    bn_arg q = { .k = ctx->k,
                 .x = fg_span_of(c->in[X]),
                 .part = work + 3 * ch,
                 .wide = half ? work + 3 * ch + 2 * chunks * ch : NULL,
                 .rows = rows,
                 .ch = ch,
                 .per = per,
                 .act = o->act,
                 .slope = (fg_real)o->slope,
                 .out = fg_span_of(c->y),
                 .a = scale,
                 .b = shift };
    if (o->training) {
        moments(ctx, &q, chunks, mean, m2);
        for (int64_t i = 0; i < ch; i++) inv[i] = (fg_real)(1 / sqrt((double)(m2[i] / (fg_real)rows) + o->eps));
        if (c->in[RMEAN] && c->in[RVAR]) {
            fg_real *rm = fg_reals(c->in[RMEAN]), *rv = fg_reals(c->in[RVAR]), m = (fg_real)o->momentum;
            for (int64_t i = 0; i < ch; i++) {
                rm[i] = (1 - m) * rm[i] + m * mean[i];
                rv[i] = (1 - m) * rv[i] + m * (m2[i] / (fg_real)(rows - 1));
            }
            fg_storage_written(c->in[RMEAN]->storage);
            fg_storage_written(c->in[RVAR]->storage);
        }
    } else {
        memcpy(mean, fg_reals(c->in[RMEAN]), (size_t)ch * sizeof *mean);
        for (int64_t i = 0; i < ch; i++) inv[i] = (fg_real)(1 / sqrt((double)fg_reals(c->in[RVAR])[i] + o->eps));
    }
    const fg_real *gamma = c->in[GAMMA] ? fg_reals(c->in[GAMMA]) : NULL, *beta = c->in[BETA] ? fg_reals(c->in[BETA]) : NULL;
    for (int64_t i = 0; i < ch; i++) {
        scale[i] = gamma ? gamma[i] * inv[i] : inv[i];
        shift[i] = (beta ? beta[i] : 0) - mean[i] * scale[i];
    }
    fg_parallel_light(ctx, c->y->numel, chunks, apply_chunk, &q);
    fg_free(ctx, work, bytes);
    return FG_OK;
}

/* Axes of a rank-nd tensor but the last */
static fg_axes row_axes(int nd) {
    fg_axes a = { .n = nd - 1 };
    for (int i = 0; i < nd - 1; i++) a.axis[i] = i;
    return a;
}
static void vjp(fg_vjp *v) {
    const fg_batch_norm_opts *o = v->opts;
    fg_scope *s = v->s;
    fg_tensor *x = v->in[X], *gamma = v->in[GAMMA], *xhat = NULL, *inv = NULL;
    fg_axes rows = row_axes(fg_in_shape(v, X)->ndim);
    fg_tensor *g = fg_act_grad(s, v->dy, v->y, o->act, o->slope);
    if (fg_needs(v, X) || fg_needs(v, GAMMA)) {
        if (o->training) {
            fg_tensor *xc = fg_sub(s, x, fg_mean(s, x, &rows, false));
            inv = fg_pow(s, fg_affine(s, fg_mean(s, fg_square(s, xc), &rows, false), 1, o->eps), -0.5);
            xhat = fg_mul(s, xc, inv);
        } else { /* constants of the running statistics */
            fg_tensor *stats = v->in[STATS];
            int64_t ch = stats ? stats->shape.dim[1] : 0;
            inv = fg_reshape(s, fg_slice(s, stats, 0, 1, 1), FG_SHAPE(ch));
            xhat = fg_mul(s, fg_sub(s, x, fg_reshape(s, fg_slice(s, stats, 0, 0, 1), FG_SHAPE(ch))), inv);
        }
    }
    if (fg_needs(v, BETA)) v->dx[BETA] = fg_sum(s, g, &rows, false);
    if (fg_needs(v, GAMMA)) v->dx[GAMMA] = fg_sum(s, fg_mul(s, g, xhat), &rows, false);
    if (!fg_needs(v, X)) return;
    fg_tensor *scale = gamma ? fg_mul(s, gamma, inv) : inv, *d = g;
    if (o->training) {
        fg_tensor *mg = fg_mean(s, g, &rows, false), *mgx = fg_mean(s, fg_mul(s, g, xhat), &rows, false);
        d = fg_sub(s, fg_sub(s, g, mg), fg_mul(s, xhat, mgx));
    }
    v->dx[X] = fg_mul(s, d, scale);
}

static void vjp_fast(fg_vjp *v) {
    const fg_batch_norm_opts *o = v->opts;
    fg_context *ctx = v->ctx;
    const fg_tensor *x = v->in[X], *stats = v->in[STATS], *gamma = v->in[GAMMA];
    if (!x || !stats) { /* only beta: its gradient is a column sum */
        vjp(v);
        return;
    }
    int64_t ch = stats->shape.dim[1], rows = x->numel / ch, per;
    bool half = v->dy->dtype == FG_BF16 || x->dtype == FG_BF16;
    int chunks = plan_chunks(rows, ch, half, &per);
    fg_tensor *dgamma = fg_vjp_new(v, &FG_SHAPE(ch)), *dbeta = fg_vjp_new(v, &FG_SHAPE(ch));
    fg_tensor *dx = fg_needs(v, X) ? fg_vjp_over_dy(v) : NULL;
    if (!dgamma || !dbeta || (fg_needs(v, X) && !dx)) return;
    size_t bytes = (size_t)(2 * chunks * ch + 5 * ch) * sizeof(fg_real) + wide_bytes(ctx, per, ch, half);
    fg_real *work = fg_alloc(ctx, bytes);
    if (!work) {
        fg_scope_fail(v->s);
        return;
    }
    const fg_real *mean = fg_reals(stats), *inv = mean + ch;
    fg_real *sg = work, *sgx = work + ch, *a = work + 2 * ch, *b = work + 3 * ch, *k = work + 4 * ch;
    bn_arg q = { .k = ctx->k,
                 .x = fg_span_of(x),
                 .y = fg_span_of(o->act != FG_ACT_NONE ? v->y : NULL),
                 .dy = fg_span_of(v->dy),
                 .mean = mean,
                 .a = a,
                 .b = b,
                 .c = k,
                 .out = fg_span_of(dx),
                 .part = work + 5 * ch,
                 .wide = half ? work + 5 * ch + 2 * chunks * ch : NULL,
                 .rows = rows,
                 .ch = ch,
                 .per = per,
                 .act = o->act,
                 .slope = (fg_real)o->slope };
    fg_parallel_light(ctx, x->numel, chunks, sums_chunk, &q);
    ctx->k->reduce_cols(FG_RED_SUM, q.part, chunks, 2 * ch, sg); /* sg and sgx lie side by side, as the partials do */
    fg_real n = (fg_real)rows;
    for (int64_t i = 0; i < ch; i++) {
        fg_real scale = gamma ? fg_reals(gamma)[i] * inv[i] : inv[i];
        fg_reals(dbeta)[i] = sg[i];
        fg_reals(dgamma)[i] = sgx[i] * inv[i];
        a[i] = scale;
        b[i] = o->training ? -scale * inv[i] * inv[i] * sgx[i] / n : 0;
        k[i] = o->training ? -scale * sg[i] / n : 0;
    }
    if (dx) fg_parallel_light(ctx, x->numel, chunks, grad_chunk, &q);
    fg_free(ctx, work, bytes);
    if (dx) v->dx[X] = dx;
    if (fg_needs(v, GAMMA)) v->dx[GAMMA] = dgamma;
    if (fg_needs(v, BETA)) v->dx[BETA] = dbeta;
}

static bool has_act(const void *opts) { return ((const fg_batch_norm_opts *)opts)->act != FG_ACT_NONE; }
static const fg_attr attrs[] = {
    FG_ATTR(FG_A_REAL, fg_batch_norm_opts, eps, 1e-5),   FG_ATTR(FG_A_REAL, fg_batch_norm_opts, momentum, 0.1),
    FG_ATTR(FG_A_BOOL, fg_batch_norm_opts, training, 0), FG_ATTR(FG_A_ACT, fg_batch_norm_opts, act, 0),
    FG_ATTR(FG_A_REAL, fg_batch_norm_opts, slope, 0.01), FG_ATTR_END
};
const fg_op fg_op_batch_norm = { .name = "batch_norm",
                                 .n_min = 6,
                                 .n_max = 6,
                                 .optional = 2 | 4 | 8 | 16,
                                 .flags = FG_OPF_KEEP | FG_OPF_INTERNAL,
                                 .half = 1,
                                 .opts_size = sizeof(fg_batch_norm_opts),
                                 .attrs = attrs,
                                 .infer = infer,
                                 .forward = forward,
                                 .vjp = vjp,
                                 .vjp_fast = vjp_fast,
                                 .save_in = { 3, 1, 0, 0, 0, 3 },
                                 .save_out = 7,
                                 .save_out_if = has_act,
                                 .no_grad = 8 | 16 | 32 };

fg_tensor *fg_batch_norm(fg_scope *s, fg_tensor *x, fg_tensor *gamma, fg_tensor *beta, fg_tensor *running_mean,
                         fg_tensor *running_var, const fg_batch_norm_opts *o) {
    if (!s || !x || s->status != FG_OK) return NULL;
    int64_t ch = x->shape.ndim ? x->shape.dim[x->shape.ndim - 1] : 0;
    fg_tensor *stats = fg_empty(s, FG_F32, FG_SHAPE(2, ch));
    return fg_op_apply(s, &fg_op_batch_norm, (fg_tensor *[]){ x, gamma, beta, running_mean, running_var, stats }, INPUTS, o);
}
