/* test_bf16.c: the bf16 mode: which ops emit which dtype, what stays f32, and how near its gradients are to f32's.
 *
 * bf16 has 8 significant bits: rounding to it costs at most 2^-8 = 0.004 of a value. Errors here are max|a-b| / max|b|.
 * build: both */
#include "gan_help.h"
#include "kernels.h"
#include "packed.h"

#include <check.h>
#include <stdlib.h>

static fg_context *ctx;
static fg_scope *s;
static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(fg_set_precision(ctx, FG_PRECISION_BF16), FG_OK);
    s = fg_scope_open(ctx);
}
static void teardown(void) {
    fg_scope_close(s);
    fg_context_free(ctx);
}
#define IS(t, dt)                                                                                                                \
    do {                                                                                                                         \
        fg_tensor *t_ = (t);                                                                                                     \
        ck_assert_msg(t_ != NULL, "%s: %s", #t, fg_last_error(ctx));                                                             \
        ck_assert_msg(fg_tensor_dtype(t_) == (dt), "%s is %s", #t, fg_dtype_name(fg_tensor_dtype(t_)));                          \
    } while (0)

static double error(const fg_tensor *a, const fg_tensor *b) {
    double e = 0, m = 1e-30;
    for (int64_t i = 0; i < fg_tensor_numel(b); i++) {
        e = fmax(e, fabs(fg_tensor_at(a, i) - fg_tensor_at(b, i)));
        m = fmax(m, fabs(fg_tensor_at(b, i)));
    }
    return e / m;
}

/* ---------------------------------------------------------------- dtypes */
START_TEST(dtypes_flow) {
    fg_tensor *x = fg_normal(s, FG_SHAPE(2, 6, 6, 3), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor *w = fg_normal(s, FG_SHAPE(3, 3, 3, 4), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor *wt = fg_normal(s, FG_SHAPE(3, 3, 3, 4), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor *h = fg_conv2d(s, x, w, NULL, NULL), *f = fg_full(s, FG_F32, FG_SHAPE(1), 2);
    IS(h, FG_BF16); /* products round f32 inputs and emit bf16 */
    IS(fg_conv_transpose2d(s, h, wt, NULL, NULL), FG_BF16);
    IS(fg_conv2d_dw(s, x, h, (int[]){ 3, 3 }, NULL), FG_F32); /* a weight's gradient */
    fg_tensor *flat = fg_reshape(s, h, FG_SHAPE(2, -1)), *lw = fg_normal(s, FG_SHAPE(64, 5), 0, 1, FG_STREAM_DEFAULT);
    IS(flat, FG_BF16);
    IS(fg_linear(s, flat, lw, NULL, NULL), FG_BF16);
    IS(fg_matmul(s, flat, lw, NULL), FG_BF16);
    IS(fg_matmul(s, lw, lw, &(fg_matmul_opts){ .ta = true }), FG_BF16);
    /* these keep what comes in */
    fg_tensor *rm = fg_full(s, FG_F32, FG_SHAPE(4), 0), *rv = fg_full(s, FG_F32, FG_SHAPE(4), 1);
    IS(fg_batch_norm(s, h, NULL, NULL, rm, rv, &(fg_batch_norm_opts){ .training = true }), FG_BF16);
    IS(rm, FG_F32);
    IS(fg_relu(s, h), FG_BF16);
    IS(fg_leaky_relu(s, h, 0.2), FG_BF16);
    IS(fg_dropout(s, h, 0.5), FG_BF16);
    IS(fg_avg_pool2d(s, h, &(fg_pool_opts){ .kernel = { 2, 2 } }), FG_BF16);
    IS(fg_max_pool2d(s, h, &(fg_pool_opts){ .kernel = { 2, 2 } }), FG_BF16);
    IS(fg_upsample2d(s, h, (int[]){ 2, 2 }), FG_BF16);
    IS(fg_transpose(s, h, NULL), FG_BF16);
    IS(fg_slice(s, h, 0, 0, 1), FG_BF16);
    IS(fg_slice(s, h, 3, 0, 1), FG_BF16);
    IS(fg_concat(s, (fg_tensor *[]){ h, h }, 2, 0), FG_BF16);
    IS(fg_relu(s, x), FG_F32);
    /* these compute in f32 and stay there */
    IS(fg_tanh(s, h), FG_F32);
    IS(fg_sigmoid(s, h), FG_F32);
    IS(fg_sum(s, h, NULL, false), FG_F32);
    IS(fg_mean(s, h, FG_AXES(1, 2), false), FG_F32);
    /* pairs: bf16 with f32 gives f32, numbers never promote */
    IS(fg_add(s, h, h), FG_BF16);
    IS(fg_mul(s, h, f), FG_F32);
    IS(fg_affine(s, h, 2, 1), FG_BF16);
    fg_set_precision(ctx, FG_PRECISION_F32); /* the mode concerns products only */
    IS(fg_matmul(s, lw, lw, &(fg_matmul_opts){ .ta = true }), FG_F32);
    IS(fg_relu(s, h), FG_BF16);
    ck_assert_int_eq(fg_scope_status(s), FG_OK);
}
END_TEST

/* A fused tanh or sigmoid emits f32 as the op alone does: in bf16 a sigmoid above 0.998 is 1 and its gradient dead. */
START_TEST(fused_saturating_activations_stay_f32) {
    fg_tensor *x = fg_full(s, FG_F32, FG_SHAPE(2, 2, 2, 1), 1), *w = fg_full(s, FG_F32, FG_SHAPE(1, 1, 1, 1), 7), *g;
    fg_tensor_set_requires_grad(x, true);
    fg_tensor *y[] = {
        fg_conv2d(s, x, w, NULL, &(fg_conv2d_opts){ .act = FG_ACT_SIGMOID }),
        fg_conv_transpose2d(s, x, w, NULL, &(fg_conv2d_opts){ .act = FG_ACT_SIGMOID }),
        fg_linear(s, fg_reshape(s, x, FG_SHAPE(8, 1)), fg_reshape(s, w, FG_SHAPE(1, 1)), NULL,
                  &(fg_linear_opts){ FG_ACT_SIGMOID, 0 }),
    };
    for (int i = 0; i < 3; i++) {
        IS(y[i], FG_F32);
        ck_assert_double_eq_tol(fg_tensor_at(y[i], 0), 1 / (1 + exp(-7)), 1e-6);
        ck_assert_int_eq(fg_grad(s, fg_sum(s, y[i], NULL, false), NULL, &x, 1, false, false, &g), FG_OK);
        double p = 1 / (1 + exp(-7));
        ck_assert_msg(fabs(fg_tensor_at(g, 0) / (7 * p * (1 - p)) - 1) < 0.01, "%d: gradient %g", i, fg_tensor_at(g, 0));
    }
    fg_tensor *h =
        fg_matmul(s, fg_normal(s, FG_SHAPE(8, 3), 0, 1, FG_STREAM_DEFAULT), fg_full(s, FG_F32, FG_SHAPE(3, 2), 1), NULL);
    IS(h, FG_BF16);
    IS(fg_batch_norm(s, h, NULL, NULL, NULL, NULL, &(fg_batch_norm_opts){ .training = true, .act = FG_ACT_TANH }), FG_F32);
    IS(fg_linear(s, h, fg_full(s, FG_F32, FG_SHAPE(2, 2), 1), NULL, &(fg_linear_opts){ FG_ACT_RELU, 0 }), FG_BF16);
}
END_TEST

START_TEST(products_round_and_sum_in_f32) {
    enum { K = 600 };
    fg_tensor *a = fg_normal(s, FG_SHAPE(3, K), 0, 1, FG_STREAM_DEFAULT),
              *b = fg_normal(s, FG_SHAPE(K, 2), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor *y = fg_matmul(s, a, b, NULL);
    for (int i = 0; i < 6; i++) {
        double want = 0, rough = 0;
        for (int k = 0; k < K; k++) {
            double p = fg_bf16_to_float(fg_bf16_from_float((float)fg_tensor_at(a, i / 2 * K + k)));
            want += p * fg_bf16_to_float(fg_bf16_from_float((float)fg_tensor_at(b, k * 2 + i % 2)));
            rough += fg_tensor_at(a, i / 2 * K + k) * fg_tensor_at(b, k * 2 + i % 2);
        }
        ck_assert_msg(fabs(fg_tensor_at(y, i) - want) < fabs(want) / 256 + 1e-3, "%g, expected %g (unrounded %g)",
                      fg_tensor_at(y, i), want, rough);
    }
    fg_tensor *w = fg_full(s, FG_F32, FG_SHAPE(1, 1), 1.001); /* 1.001 rounds to 1 */
    ck_assert_double_eq(fg_tensor_at(fg_matmul(s, w, w, NULL), 0), 1);
}
END_TEST

/* ---------------------------------------------------------------- gradients, training */
static double gradients(fg_precision precision, fg_tensor **grads, int *n) {
    gan a;
    fg_manual_seed(ctx, 2);
    fg_set_precision(ctx, precision);
    ck_assert(gan_open(&a, ctx, 8, 16));
    fg_scope *q = fg_scope_open(ctx);
    fg_tensor *score = fg_layer_forward(q, a.d, fg_layer_forward(q, a.g, gan_latent(q, &a)));
    fg_tensor *loss = fg_mean(q, fg_softplus(q, fg_neg(q, score)), NULL, false);
    double v = 0;
    ck_assert_int_eq(fg_tensor_item(loss, &v), FG_OK);
    ck_assert_int_eq(fg_backward(q, loss), FG_OK);
    ck_assert_int_eq(fg_scope_close(q), FG_OK);
    *n = 0;
    for (int i = 0; i < a.n_g + a.n_d; i++) {
        fg_tensor *t = i < a.n_g ? a.param_g[i] : a.param_d[i - a.n_g];
        IS(t, FG_F32);
        IS(fg_tensor_grad(t), FG_F32);
        grads[(*n)++] = fg_scope_adopt(s, fg_keep(fg_tensor_grad(t)));
    }
    gan_close(&a);
    return v;
}
START_TEST(gradients_are_near) {
    fg_tensor *low[2 * GAN_PARAMS], *full[2 * GAN_PARAMS];
    int n, m;
    double a = gradients(FG_PRECISION_BF16, low, &n), b = gradients(FG_PRECISION_F32, full, &m), largest = 0;
    ck_assert_int_eq(n, m);
    ck_assert_msg(a != b, "the mode changes nothing");
    ck_assert_double_eq_tol(a, b, 0.01);
    for (int i = 0; i < n; i++) {
        double e = 0, norm = 0; /* of the whole tensor: |a-b| / |b| in the 2-norm */
        for (int64_t k = 0; k < fg_tensor_numel(full[i]); k++) {
            double d = fg_tensor_at(low[i], k) - fg_tensor_at(full[i], k);
            e += d * d, norm += fg_tensor_at(full[i], k) * fg_tensor_at(full[i], k);
        }
        e = sqrt(e / norm);
        largest = fmax(largest, e);
        ck_assert_msg(e < 0.15, "parameter %d: relative error %g", i, e);
    }
    ck_assert_msg(largest > 1e-4, "gradients are the same: %g", largest);
}
END_TEST

START_TEST(training_step_runs) {
    double loss[2][20];
    for (int mode = 0; mode < 2; mode++) {
        gan a;
        fg_manual_seed(ctx, 6);
        fg_set_precision(ctx, mode ? FG_PRECISION_F32 : FG_PRECISION_BF16);
        ck_assert(gan_open(&a, ctx, 8, 16));
        for (int i = 0; i < 20; i++) {
            ck_assert_msg(gan_step(&a) == FG_OK, "step %d: %s", i, fg_last_error(ctx));
            loss[mode][i] = a.loss_d;
        }
        ck_assert(gan_finite(&a));
        fg_tensor *t;
        for (int i = 0; fg_layer_param(a.d, i, &t, NULL, 0); i++) IS(t, FG_F32);
        for (int i = 0; fg_layer_buffer(a.g, i, &t, NULL, 0); i++) IS(t, FG_F32);
        for (int i = 0; fg_optimizer_state(a.opt_d, i, &t, NULL, 0); i++) IS(t, FG_F32);
        gan_close(&a);
    }
    ck_assert_msg(loss[0][19] != loss[1][19], "the mode changes nothing");
    for (int i = 0; i < 20; i++) ck_assert_double_eq_tol(loss[0][i], loss[1][i], 0.05);
}
END_TEST

/* Precision is captured at forward: switching the mode before backward changes no bit. */
static fg_tensor *captured(fg_tensor *x, fg_tensor *w, fg_precision forward, fg_precision backward) {
    fg_tensor *g;
    fg_set_precision(ctx, forward);
    fg_tensor *y = fg_sum(s, fg_square(s, fg_conv2d(s, x, w, NULL, NULL)), NULL, false);
    fg_set_precision(ctx, backward);
    ck_assert_int_eq(fg_grad(s, y, NULL, &x, 1, false, false, &g), FG_OK);
    ck_assert_int_eq(fg_get_precision(ctx), backward);
    return g;
}
START_TEST(precision_is_captured) {
    fg_tensor *x = fg_normal(s, FG_SHAPE(2, 6, 6, 3), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor *w = fg_normal(s, FG_SHAPE(3, 3, 3, 4), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor_set_requires_grad(x, true);
    const fg_precision low = FG_PRECISION_BF16, full = FG_PRECISION_F32;
    fg_tensor *ll = captured(x, w, low, low), *lf = captured(x, w, low, full), *ff = captured(x, w, full, full);
    fg_tensor *fl = captured(x, w, full, low);
    ck_assert_mem_eq(fg_tensor_data(ll), fg_tensor_data(lf), fg_tensor_bytes(ll));
    ck_assert_mem_eq(fg_tensor_data(ff), fg_tensor_data(fl), fg_tensor_bytes(ff));
    double e = error(ll, ff);
    ck_assert_msg(e > 1e-5 && e < 0.05, "relative error %g", e);
}
END_TEST

/* Twenty equal parts of 1/3 summed in bf16 one by one would drift; summed in f32 they are 20/3 to f32's precision. */
START_TEST(fan_out_sums_in_f32) {
    fg_tensor *x = fg_full(s, FG_F32, FG_SHAPE(4), 1), *sum = NULL;
    fg_tensor_set_requires_grad(x, true);
    fg_tensor *h = fg_cast(s, x, FG_BF16);
    for (int i = 0; i < 20; i++) {
        fg_tensor *part = fg_sum(s, fg_affine(s, fg_cast(s, h, FG_F32), 1.0 / 3, 0), NULL, false);
        sum = sum ? fg_add(s, sum, part) : part;
    }
    ck_assert_int_eq(fg_backward(s, sum), FG_OK);
    IS(fg_tensor_grad(x), FG_F32);
    ck_assert_double_eq_tol(fg_tensor_at(fg_tensor_grad(x), 0), 20.0 / 3, 0.03); /* rounded once, at most */
}
END_TEST

START_TEST(threads_give_the_same_bits) {
    uint64_t h[2];
    for (int i = 0; i < 2; i++) {
        gan a;
        fg_manual_seed(ctx, 6);
        fg_set_threads(ctx, i ? 3 : 1);
        ck_assert(gan_open(&a, ctx, 16, 16));
        for (int k = 0; k < 5; k++) ck_assert_int_eq(gan_step(&a), FG_OK);
        h[i] = gan_hash(&a);
        gan_close(&a);
    }
    ck_assert(h[0] == h[1]);
}
END_TEST

/* ---------------------------------------------------------------- kernels of every level */
static fg_tensor *rounded(fg_tensor *t) { return fg_cast(s, fg_cast(s, t, FG_BF16), FG_F32); }

typedef struct results {
    fg_tensor *y, *dx, *dw, *db;
} results;

/* One product layer, its output weighted by dy, on the context's table. kind 0: linear, 1: conv2d, 2: transposed. */
static results layer(int kind, fg_tensor *x, bool as_bf16, fg_tensor *w, fg_tensor *bias, fg_tensor *dy, bool create_graph) {
    results r;
    fg_tensor *g[3], *in[3] = { x, w, bias };
    for (int i = 0; i < 3; i++) fg_tensor_set_requires_grad(in[i], true);
    if (as_bf16) x = fg_cast(s, x, FG_BF16);
    fg_conv2d_opts o = { .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 }, .act = FG_ACT_LEAKY_RELU, .slope = 0.25 };
    if (kind == 0) r.y = fg_linear(s, x, w, bias, &(fg_linear_opts){ FG_ACT_LEAKY_RELU, 0.25 });
    else r.y = kind == 1 ? fg_conv2d(s, x, w, bias, &o) : fg_conv_transpose2d(s, x, w, bias, &o);
    ck_assert_msg(r.y != NULL, "%s", fg_last_error(ctx));
    ck_assert_msg(fg_grad(s, r.y, dy, in, 3, create_graph, false, g) == FG_OK, "%s", fg_last_error(ctx));
    r.dx = g[0], r.dw = g[1], r.db = g[2];
    return r;
}

/* The same in f32 on operands rounded beforehand, by the scalar kernels: what every level must give within the rounding of
 * results and of gradients on their way (2^-8 each, of the largest value). */
START_TEST(every_level_gives_the_rounded_products) {
    const struct fg_kernels *own = ctx->k;
    for (int kind = 0; kind < 3; kind++)
        for (int bf16_input = 0; bf16_input < 2; bf16_input++) {
            fg_tensor *x, *w, *b, *dy;
            if (kind == 0) {
                x = fg_normal(s, FG_SHAPE(37, 70), 0, 1, FG_STREAM_DEFAULT),
                w = fg_normal(s, FG_SHAPE(70, 45), 0, 1, FG_STREAM_DEFAULT);
                b = fg_normal(s, FG_SHAPE(45), 0, 1, FG_STREAM_DEFAULT),
                dy = fg_normal(s, FG_SHAPE(37, 45), 0, 1, FG_STREAM_DEFAULT);
            } else {
                x = fg_normal(s, FG_SHAPE(3, 6, 6, 20), 0, 1, FG_STREAM_DEFAULT);
                w = fg_normal(s, kind == 1 ? FG_SHAPE(4, 4, 20, 18) : FG_SHAPE(4, 4, 18, 20), 0, 1, FG_STREAM_DEFAULT);
                b = fg_normal(s, FG_SHAPE(18), 0, 1, FG_STREAM_DEFAULT);
                dy = fg_normal(s, kind == 1 ? FG_SHAPE(3, 3, 3, 18) : FG_SHAPE(3, 12, 12, 18), 0, 1, FG_STREAM_DEFAULT);
            }
            ctx->k = fg_kernels_for(FG_ISA_SCALAR);
            fg_set_precision(ctx, FG_PRECISION_F32);
            results want = layer(kind, rounded(x), false, rounded(w), b, dy, false);
            fg_set_precision(ctx, FG_PRECISION_BF16);
            for (int isa = 0; isa < FG_ISA_COUNT; isa++) {
                if (!fg_kernels_for((fg_isa_level)isa)) continue;
                ctx->k = fg_kernels_for((fg_isa_level)isa);
                for (int graph = 0; graph < 2; graph++) {
                    results r = layer(kind, fg_detach(s, x), bf16_input, w, b, dy, graph);
                    IS(r.y, FG_BF16);
                    IS(r.dx, FG_F32);
                    IS(r.dw, FG_F32);
                    fg_tensor *got[] = { r.y, r.dx, r.dw, r.db }, *ref[] = { want.y, want.dx, want.dw, want.db };
                    for (int i = 0; i < 4; i++) {
                        double e = error(got[i], ref[i]);
                        ck_assert_msg(e < (i == 0 ? 1.0 / 256 : 1.0 / 128),
                                      "%s, kind %d, input %d, graph %d: result %d differs by %g", ctx->k->isa, kind, bf16_input,
                                      graph, i, e);
                    }
                }
            }
        }
    ctx->k = own;
}
END_TEST

/* A convolution kernel that takes bf16, made of the scalar one: what the op hands to it and takes back. */
static int taken;
static void borrow_plan(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p) {
    fg_conv_choose(fg_kernels_for(FG_ISA_SCALAR), g, dir, 0, p);
    p->packed = 1, p->pack_chunks = 1, p->chunks = 1, p->scratch = 0, p->partials = 0, p->finish_chunks = 0;
}
static void borrow_pack(const fg_conv_plan *p, const fg_real *w, void *packed, int chunk) {
    (void)p, (void)w, (void)packed, (void)chunk;
}
static void borrow_run(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    enum { MOST = 40000 };
    static fg_real x[MOST], dy[MOST], w[MOST], out[MOST];
    static char scratch[1 << 20], partials[1 << 20];
    const fg_kernels *k = fg_kernels_for(FG_ISA_SCALAR);
    const fg_conv_geom *g = &p->g;
    int64_t nx = g->n * g->h * g->w * g->ci, ny = g->n * g->oh * g->ow * g->co, nw = g->kh * g->kw * g->ci * g->co;
    ck_assert(chunk == 0 && worker == 0 && nx <= MOST && ny <= MOST && nw <= MOST && !a->x && !a->dy);
    fg_conv_args b = *a;
    fg_conv_plan q;
    if (a->x16) k->from_bf16(a->x16, x, (size_t)nx), b.x = x;
    if (a->dy16) k->from_bf16(a->dy16, dy, (size_t)ny), b.dy = dy;
    for (int64_t i = 0; p->dir != FG_CONV_DW && i < nw; i++) w[i] = fg_bf16_to_float(fg_bf16_from_float((float)a->w[i]));
    b.w = w, b.out = a->out16 ? out : a->out, b.packed = NULL, b.scratch = scratch, b.partials = partials;
    fg_conv_choose(k, g, p->dir, 0, &q);
    ck_assert(q.packed == 0 && q.scratch <= sizeof scratch && q.partials <= sizeof partials);
    for (int c = 0; c < q.chunks; c++) q.kernel->run(&q, &b, c, 0);
    for (int c = 0; c < q.finish_chunks; c++) q.kernel->finish(&q, &b, c, 0);
    if (a->out16) k->to_bf16(out, a->out16, (size_t)(p->dir == FG_CONV_DX ? nx : ny));
    taken++;
}
START_TEST(bf16_convolution_kernels_are_asked) {
    static const fg_conv_kernel borrowed = { .name = "borrowed",
                                             .isa = FG_ISA_SCALAR,
                                             .needs = FG_CONV_BF16,
                                             .plan = borrow_plan,
                                             .pack = borrow_pack,
                                             .run = borrow_run };
    fg_kernels table = *fg_kernels_for(FG_ISA_SCALAR);
    const struct fg_kernels *own = ctx->k;
    fg_set_threads(ctx, 1);
    for (int kind = 1; kind < 3; kind++) {
        fg_tensor *x = fg_normal(s, FG_SHAPE(3, 6, 6, 20), 0, 1, FG_STREAM_DEFAULT), *b = fg_full(s, FG_F32, FG_SHAPE(18), 0.5);
        fg_tensor *w = fg_normal(s, kind == 1 ? FG_SHAPE(4, 4, 20, 18) : FG_SHAPE(4, 4, 18, 20), 0, 1, FG_STREAM_DEFAULT);
        fg_tensor *dy = fg_normal(s, kind == 1 ? FG_SHAPE(3, 3, 3, 18) : FG_SHAPE(3, 12, 12, 18), 0, 1, FG_STREAM_DEFAULT);
        results r[2];
        dy = rounded(dy); /* f32 kernels take it unrounded */
        for (int with = 0; with < 2; with++) {
            taken = 0;
            if (with) fg_conv_prefer(&table, &borrowed);
            ctx->k = &table;
            r[with] = layer(kind, x, false, w, b, dy, false);
            ck_assert_int_eq(taken, with ? 3 : 0); /* y, dx and dw */
        }
        fg_tensor *got[] = { r[1].y, r[1].dx, r[1].dw, r[1].db }, *ref[] = { r[0].y, r[0].dx, r[0].dw, r[0].db };
        for (int i = 0; i < 4; i++) {
            IS(got[i], (i ? FG_F32 : FG_BF16));
            ck_assert_mem_eq(fg_tensor_data(got[i]), fg_tensor_data(ref[i]), fg_tensor_bytes(got[i]));
        }
        taken = 0;
        IS(fg_conv2d(s, fg_full(s, FG_F32, FG_SHAPE(1, 4, 4, 1), 1), fg_full(s, FG_F32, FG_SHAPE(3, 3, 1, 1), 1), NULL,
                     &(fg_conv2d_opts){ .act = FG_ACT_TANH }),
           FG_F32);
        ck_assert_int_eq(taken, 1);
        fg_set_precision(ctx, FG_PRECISION_F32);
        IS(fg_conv2d(s, x, kind == 1 ? w : fg_transpose(s, w, FG_AXES(0, 1, 3, 2)), NULL, NULL), FG_F32);
        fg_set_precision(ctx, FG_PRECISION_BF16);
        ck_assert_int_eq(taken, 1);
        table = *fg_kernels_for(FG_ISA_SCALAR);
    }
    ctx->k = own;
}
END_TEST

/* Rounded and packed weights are kept between calls; a write makes them anew, on every level, in both precisions. */
START_TEST(weights_follow_updates) {
    const struct fg_kernels *own = ctx->k;
    for (int i = 0; i < 4 * FG_ISA_COUNT; i++) {
        fg_isa_level isa = (fg_isa_level)(i / 4);
        if (!fg_kernels_for(isa)) continue;
        ctx->k = fg_kernels_for(isa);
        bool real = i / 2 % 2, large = i % 2; /* large: rows of 4 KB, so that f32 products pack w, and its transpose */
        int64_t rows = large ? 128 : 9, cols = large ? 1024 : 33;
        fg_set_precision(ctx, real ? FG_PRECISION_F32 : FG_PRECISION_BF16);
        fg_tensor *x = fg_normal(s, FG_SHAPE(rows, 40), 0, 1, FG_STREAM_DEFAULT),
                  *y = fg_normal(s, FG_SHAPE(rows, cols), 0, 1, FG_STREAM_DEFAULT),
                  *img = fg_normal(s, FG_SHAPE(2, 5, 5, 8), 0, 1, FG_STREAM_DEFAULT);
        fg_tensor *w = fg_normal(s, FG_SHAPE(40, cols), 0, 1, FG_STREAM_DEFAULT),
                  *k = fg_normal(s, FG_SHAPE(3, 3, 8, 8), 0, 1, FG_STREAM_DEFAULT);
        fg_keep(w), fg_keep(k); /* as a layer does */
        const fg_matmul_opts turned = { .tb = true };
        for (int step = 0; step < 3; step++) {
            fg_tensor *fresh_w = fg_affine(s, w, 1, 0), *fresh_k = fg_affine(s, k, 1, 0);
            for (int again = 0; again < 2; again++) {
                fg_tensor *a = fg_linear(s, x, w, NULL, NULL), *b = fg_linear(s, x, fresh_w, NULL, NULL);
                ck_assert_mem_eq(fg_tensor_data(a), fg_tensor_data(b), fg_tensor_bytes(a));
                a = fg_matmul(s, y, w, &turned), b = fg_matmul(s, y, fresh_w, &turned);
                ck_assert_mem_eq(fg_tensor_data(a), fg_tensor_data(b), fg_tensor_bytes(a));
                size_t least = 40 * 1024 * (real ? 2 * sizeof(float) : sizeof(uint16_t)); /* f32: both forms */
                if (isa > FG_ISA_SCALAR && large && step == 0) ck_assert_uint_ge(fg_packed_bytes(ctx), least);
                a = fg_conv2d(s, img, k, NULL, NULL), b = fg_conv2d(s, img, fresh_k, NULL, NULL);
                ck_assert_mem_eq(fg_tensor_data(a), fg_tensor_data(b), fg_tensor_bytes(a));
            }
            ck_assert_int_eq(fg_tensor_fill(w, step + 0.3), FG_OK);
            ck_assert_int_eq(fg_tensor_fill(k, step + 0.7), FG_OK);
        }
        fg_release(w), fg_release(k);
    }
    ctx->k = own;
}
END_TEST

/* The optimizer makes the packed forms that a version used anew, piece by piece as it writes the weight: they are there right
 * after the step, and right. A form that a version did not use, or a write from elsewhere, leaves nothing behind. */
START_TEST(optimizers_renew_packed_weights) {
    enum { M = 256, UNUSED = 2, FILLED = 3, VERSIONS = 6 };
    static const int64_t shapes[][2] = { { 512, 512 }, { 130, 1024 }, { 1000, 512 } }; /* the last pieces shorter, or not */
    const struct fg_kernels *own = ctx->k;
    const fg_matmul_opts turned = { .tb = true };
    fg_set_precision(ctx, FG_PRECISION_F32);
    for (int i = 0; i < 9 * FG_ISA_COUNT; i++) {
        fg_isa_level isa = (fg_isa_level)(i / 9);
        if (!fg_kernels_for(isa)) continue;
        ctx->k = fg_kernels_for(isa);
        fg_set_threads(ctx, i % 2 ? 3 : 1);
        fg_scope *all = fg_scope_open(ctx);
        int64_t rows = shapes[i % 3][0], cols = shapes[i % 3][1];
        int64_t panel = isa == FG_ISA_AVX2 ? 16 : 32; /* of columns of B, which are w's rows where it is turned */
        size_t plain = (size_t)(rows * cols) * sizeof(fg_real),
               both = plain + (size_t)((rows + panel - 1) / panel * panel * cols) * sizeof(fg_real);
        fg_tensor *x = fg_normal(all, FG_SHAPE(M, rows), 0, 1, FG_STREAM_DEFAULT),
                  *y = fg_normal(all, FG_SHAPE(M, cols), 0, 1, FG_STREAM_DEFAULT),
                  *w = fg_normal(all, FG_SHAPE(rows, cols), 0, 1, FG_STREAM_DEFAULT);
        fg_keep(w); /* as a layer does */
        fg_tensor_set_requires_grad(w, true);
        fg_optimizer *opt = i / 3 % 3 == 0   ? fg_sgd_new(ctx, &w, 1, &(fg_sgd_opts){ .lr = 0.1 })
                            : i / 3 % 3 == 1 ? fg_rmsprop_new(ctx, &w, 1, NULL)
                                             : fg_adam_new(ctx, &w, 1, NULL);
        for (int version = 0; version < VERSIONS; version++) {
            fg_scope *s2 = fg_scope_open(ctx);
            fg_set_grad_enabled(ctx, false);
            fg_tensor *fresh = fg_affine(s2, w, 1, 0);
            for (int again = 0; again < 2; again++) {
                fg_tensor *a = fg_linear(s2, x, w, NULL, NULL), *b = fg_linear(s2, x, fresh, NULL, NULL);
                ck_assert_mem_eq(fg_tensor_data(a), fg_tensor_data(b), fg_tensor_bytes(a));
                if (version == UNUSED) continue;
                a = fg_matmul(s2, y, w, &turned), b = fg_matmul(s2, y, fresh, &turned);
                ck_assert_mem_eq(fg_tensor_data(a), fg_tensor_data(b), fg_tensor_bytes(a));
            }
            fg_tensor_set_grad(w, fg_normal(s2, FG_SHAPE(rows, cols), 0, 1, FG_STREAM_DEFAULT));
            if (version == FILLED) {
                ck_assert_int_eq(fg_tensor_fill(w, 0.3), FG_OK);
                if (isa > FG_ISA_SCALAR) ck_assert_uint_eq(fg_packed_bytes(ctx), 0);
            } else {
                ck_assert_int_eq(fg_optimizer_step(opt), FG_OK);
                bool half = version == UNUSED || version == FILLED + 1; /* where it paused, the next step finds it again */
                size_t want = isa == FG_ISA_SCALAR ? 0 : half ? plain : both, found = fg_packed_bytes(ctx);
                ck_assert_msg(found == want, "ISA %d, %lldx%lld, version %d: %zu bytes, not %zu", (int)isa, (long long)rows,
                              (long long)cols, version, found, want);
            }
            fg_set_grad_enabled(ctx, true);
            fg_scope_close(s2);
        }
        fg_optimizer_release(opt);
        fg_release(w);
        fg_scope_close(all);
        ck_assert_uint_eq(fg_packed_bytes(ctx), 0);
    }
    ctx->k = own;
}
END_TEST

/* ---------------------------------------------------------------- elementwise ops and batch norm on bf16 storage */
static fg_tensor *through(int which, fg_tensor *x) {
    fg_tensor *one = fg_full(s, FG_F32, FG_SHAPE(7), 1.5);
    fg_manual_seed(ctx, 3);
    switch (which) {
    case 0: return fg_relu(s, x);
    case 1: return fg_leaky_relu(s, x, 0.2);
    case 2: return fg_affine(s, x, 1.7, 0.3);
    case 3: return fg_dropout(s, x, 0.4);
    case 4: return fg_batch_norm(s, x, one, one, NULL, NULL, &(fg_batch_norm_opts){ .training = true, .act = FG_ACT_RELU });
    case 5: return fg_batch_norm(s, x, one, one, one, one, &(fg_batch_norm_opts){ .training = false, .act = FG_ACT_TANH });
    case 6: return fg_sum(s, x, FG_AXES(0), false);
    case 7: return fg_mean(s, x, FG_AXES(1), false);
    case 8: return fg_act_grad(s, x, fg_neg(s, x), FG_ACT_LEAKY_RELU, 0.2);
    default: return fg_reshape(s, x, FG_SHAPE(-1));
    }
}
/* bf16 in: the f32 result on the same numbers, rounded; likewise the gradient, with kernels and as public ops. More rows
 * than a block or a chunk holds, and a number of them that no block divides. */
START_TEST(bf16_storage_is_widened_and_rounded) {
    enum { ROWS = 9001, COLS = 7 };
    fg_tensor *x16 = fg_cast(s, fg_normal(s, FG_SHAPE(ROWS, COLS), 0.5, 1, FG_STREAM_DEFAULT), FG_BF16),
              *x32 = fg_cast(s, x16, FG_F32);
    fg_tensor *identity = fg_zeros(s, FG_F32, FG_SHAPE(COLS, COLS));
    for (int i = 0; i < COLS; i++) ((fg_real *)fg_tensor_data_mut(identity))[i * COLS + i] = 1;
    for (int which = 0; which < 10; which++) {
        fg_tensor *in[2] = { x16, x32 }, *y[2], *g[2][2];
        for (int i = 0; i < 2; i++) {
            fg_tensor *leaf = fg_cast(s, fg_detach(s, in[i]), FG_F32);
            leaf = fg_detach(s, fg_affine(s, leaf, 1, 0));
            fg_tensor_set_requires_grad(leaf, true);
            y[i] = through(which, i ? leaf : fg_cast(s, leaf, FG_BF16));
            ck_assert_msg(y[i] != NULL, "%s", fg_last_error(ctx));
            fg_tensor *dy = fg_normal(s, fg_tensor_shape(y[i]), 0, 1, FG_STREAM_LATENT);
            for (int graph = 0; graph < 2; graph++) {
                fg_tensor *z = y[i];
                if (fg_tensor_dtype(z) == FG_BF16) { /* a product asks for the gradient in bf16 */
                    z = fg_matmul(s, fg_reshape(s, z, FG_SHAPE(ROWS, COLS)), identity, NULL);
                    dy = fg_reshape(s, dy, FG_SHAPE(ROWS, COLS));
                }
                ck_assert_int_eq(fg_grad(s, z, dy, &leaf, 1, graph, true, &g[i][graph]), FG_OK);
            }
        }
        IS(y[0], (which >= 5 && which <= 7 ? FG_F32 : FG_BF16));
        double e = error(y[0], y[1]), limit = fg_tensor_dtype(y[0]) == FG_BF16 ? 1.0 / 256 : 1e-5;
        ck_assert_msg(e <= limit, "op %d: output differs by %g", which, e);
        for (int graph = 0; graph < 2; graph++) {
            e = error(g[0][graph], g[1][graph]);
            ck_assert_msg(e <= 1.0 / 128, "op %d: gradient %d differs by %g", which, graph, e);
        }
    }
}
END_TEST

START_TEST(blocks_belong_to_their_thread) {
    fg_tensor *x = fg_normal(s, FG_SHAPE(40000, 7), 0.5, 1, FG_STREAM_DEFAULT), *g[2], *y[2];
    fg_tensor_set_requires_grad(x, true);
    for (int which = 0; which < 10; which++) {
        for (int i = 0; i < 2; i++) {
            fg_set_threads(ctx, i ? 4 : 1);
            y[i] = through(which, fg_cast(s, x, FG_BF16));
            ck_assert_int_eq(fg_grad(s, fg_sum(s, fg_square(s, y[i]), NULL, false), NULL, &x, 1, false, false, &g[i]), FG_OK);
        }
        ck_assert_mem_eq(fg_tensor_data(y[0]), fg_tensor_data(y[1]), fg_tensor_bytes(y[0]));
        ck_assert_mem_eq(fg_tensor_data(g[0]), fg_tensor_data(g[1]), fg_tensor_bytes(g[0]));
    }
}
END_TEST

START_TEST(auto_is_bf16_with_amx_alone) {
    fg_isa_level own = ctx->isa;
    for (int isa = 0; isa < FG_ISA_COUNT; isa++) {
        ctx->isa = (fg_isa_level)isa;
        ck_assert_int_eq(fg_set_precision(ctx, FG_PRECISION_AUTO), FG_OK);
        ck_assert_int_eq(fg_get_precision(ctx), isa == FG_ISA_AMX ? FG_PRECISION_BF16 : FG_PRECISION_F32);
    }
    ctx->isa = own;
}
END_TEST

int main(void) {
    Suite *suite = suite_create("bf16");
    TCase *t = tcase_create("bf16");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, dtypes_flow);
    tcase_add_test(t, fused_saturating_activations_stay_f32);
    tcase_add_test(t, products_round_and_sum_in_f32);
    tcase_add_test(t, gradients_are_near);
    tcase_add_test(t, training_step_runs);
    tcase_add_test(t, precision_is_captured);
    tcase_add_test(t, fan_out_sums_in_f32);
    tcase_add_test(t, threads_give_the_same_bits);
    tcase_add_test(t, every_level_gives_the_rounded_products);
    tcase_add_test(t, bf16_convolution_kernels_are_asked);
    tcase_add_test(t, weights_follow_updates);
    tcase_add_test(t, optimizers_renew_packed_weights);
    tcase_add_test(t, bf16_storage_is_widened_and_rounded);
    tcase_add_test(t, blocks_belong_to_their_thread);
    tcase_add_test(t, auto_is_bf16_with_amx_alone);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
