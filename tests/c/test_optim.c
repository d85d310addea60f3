/* test_optim.c: optimizers, schedules, clipping and EMA against steps written out in double from the papers' formulas.
 *
 * Each optimizer runs 8 steps on a tensor of 37 elements (a tail for every vector width) with changing gradients; the
 * reference runs in double beside it. Relative error is max|a-b| / max|b|. */
#include "flat.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 37, STEPS = 8 };
static fg_context *ctx;
static fg_scope *scope;
static fg_tensor *p, *g;
static double w[N], d[N], s0[N], s1[N]; /* the reference: weights, gradient, state */

static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    scope = fg_scope_open(ctx);
    p = fg_normal(scope, FG_SHAPE(N), 0, 1, FG_STREAM_DEFAULT);
    g = fg_zeros(scope, FG_F32, FG_SHAPE(N));
    for (int i = 0; i < N; i++) w[i] = fg_tensor_at(p, i), s0[i] = s1[i] = 0;
    ck_assert_int_eq(fg_tensor_set_requires_grad(p, true), FG_OK);
    ck_assert_int_eq(fg_tensor_set_grad(p, g), FG_OK);
}
static void teardown(void) {
    fg_scope_close(scope);
    fg_context_free(ctx);
}

static void new_gradient(int t) {
    fg_real *x = fg_tensor_data_mut(g);
    for (int i = 0; i < N; i++) {
        x[i] = (fg_real)(sin(0.7 * i + 1.3 * t) * (i == 5 ? 1e-4 : 1));
        d[i] = x[i];
    }
}

static double error(const fg_tensor *t, const double *want) {
    double e = 0, m = 1e-30;
    for (int i = 0; i < N; i++) {
        e = fmax(e, fabs(fg_tensor_at(t, i) - want[i]));
        m = fmax(m, fabs(want[i]));
    }
    return e / m;
}

static void finish(fg_optimizer *opt, const char *what) {
    ck_assert_msg(error(p, w) < 1e-6, "%s: relative error %g", what, error(p, w));
    double moved = 0;
    for (int i = 0; i < N; i++) moved = fmax(moved, fabs(w[i]));
    ck_assert(moved > 0.1);
    ck_assert_int_eq((int)fg_optimizer_steps(opt), STEPS);
    fg_optimizer_release(opt);
}
static void step(fg_optimizer *opt) {
    ck_assert_ptr_nonnull(opt);
    ck_assert_msg(fg_optimizer_step(opt) == FG_OK, "%s", fg_last_error(ctx));
}

/* ---------------------------------------------------------------- SGD */
static const fg_sgd_opts sgds[] = {
    { .lr = 0.1 },
    { .lr = 0.1, .momentum = 0.9 },
    { .lr = 0.1, .momentum = 0.9, .dampening = 0.3 },
    { .lr = 0.1, .momentum = 0.8, .nesterov = true },
    { .lr = 0.1, .momentum = 0.5, .weight_decay = 0.05 },
    { .lr = 0.2, .lr_decay = 0.25 },
};
START_TEST(sgd) {
    const fg_sgd_opts o = sgds[_i];
    fg_optimizer *opt = fg_sgd_new(ctx, &p, 1, &o);
    for (int t = 0; t < STEPS; t++) {
        new_gradient(t);
        for (int i = 0; i < N; i++) {
            double v = d[i] + o.weight_decay * w[i];
            if (o.momentum != 0) {
                s0[i] = t == 0 ? v : o.momentum * s0[i] + (1 - o.dampening) * v;
                v = o.nesterov ? v + o.momentum * s0[i] : s0[i];
            }
            w[i] -= o.lr / (1 + o.lr_decay * t) * v;
        }
        step(opt);
    }
    finish(opt, "SGD");
}
END_TEST

/* ---------------------------------------------------------------- RMSprop (Hinton 2012; eps_inside: Keras) */
static const fg_rmsprop_opts rmsprops[] = {
    { .lr = 0 }, /* defaults 1e-2, 0.99, 1e-8 */
    { .lr = 0.05, .alpha = 0.9, .eps = 1e-2 },
    { .lr = 0.05, .alpha = 0.9, .eps = 1e-2, .eps_inside = true },
    { .lr = 0.05, .alpha = 0.9, .eps = 1e-7, .momentum = 0.5 },
    { .lr = 0.05, .alpha = 0.9, .eps = 1e-7, .weight_decay = 0.1, .lr_decay = 0.1 },
};
START_TEST(rmsprop) {
    fg_rmsprop_opts o = rmsprops[_i];
    fg_optimizer *opt = fg_rmsprop_new(ctx, &p, 1, &o);
    if (o.lr == 0) o.lr = 1e-2, o.alpha = 0.99, o.eps = 1e-8;
    for (int t = 0; t < STEPS; t++) {
        new_gradient(t);
        for (int i = 0; i < N; i++) {
            double v = d[i] + o.weight_decay * w[i];
            s0[i] = o.alpha * s0[i] + (1 - o.alpha) * v * v;
            double u = v / (o.eps_inside ? sqrt(s0[i] + o.eps) : sqrt(s0[i]) + o.eps);
            if (o.momentum != 0) u = s1[i] = o.momentum * s1[i] + u;
            w[i] -= o.lr / (1 + o.lr_decay * t) * u;
        }
        step(opt);
    }
    finish(opt, "RMSprop");
}
END_TEST
START_TEST(rmsprop_epsilon_places_differ) {
    double end[2];
    for (int k = 0; k < 2; k++) {
        fg_tensor *q = fg_full(scope, FG_F32, FG_SHAPE(1), 0), *gq = fg_full(scope, FG_F32, FG_SHAPE(1), 0.01);
        fg_tensor_set_requires_grad(q, true);
        fg_tensor_set_grad(q, gq);
        fg_optimizer *opt = fg_rmsprop_new(ctx, &q, 1, &(fg_rmsprop_opts){ .lr = 1, .eps = 1e-2, .eps_inside = k });
        step(opt);
        end[k] = fg_tensor_at(q, 0);
        fg_optimizer_release(opt);
    }
    /* v = 1e-6: 0.01 / (1e-3 + 1e-2) outside, 0.01 / sqrt(1e-6 + 1e-2) inside */
    ck_assert_double_eq_tol(end[0], -0.01 / 0.011, 1e-5);
    ck_assert_double_eq_tol(end[1], -0.01 / sqrt(0.010001), 1e-5);
}
END_TEST

/* ---------------------------------------------------------------- Adam (Kingma and Ba 2015), AdamW */
static const fg_adam_opts adams[] = {
    { .lr = 0 },
    { .lr = 0.05, .beta1 = 0.5, .beta2 = 0.9, .has_betas = true },
    { .lr = 0.05, .beta1 = 0, .beta2 = 0.99, .has_betas = true },
    { .lr = 0.05, .eps = 1e-2 },
    { .lr = 0.05, .weight_decay = 0.1 },
    { .lr = 0.05, .weight_decay = 0.1, .decoupled = true },
    { .lr = 0.05, .lr_decay = 0.5 },
};
START_TEST(adam) {
    fg_adam_opts o = adams[_i];
    fg_optimizer *opt = fg_adam_new(ctx, &p, 1, &o);
    if (o.lr == 0) o.lr = 1e-3;
    if (o.eps == 0) o.eps = 1e-8;
    if (!o.has_betas) o.beta1 = 0.9, o.beta2 = 0.999;
    for (int t = 0; t < STEPS; t++) {
        new_gradient(t);
        double lr = o.lr / (1 + o.lr_decay * t), c1 = 1 - pow(o.beta1, t + 1), c2 = 1 - pow(o.beta2, t + 1);
        for (int i = 0; i < N; i++) {
            double v = d[i];
            if (o.decoupled) w[i] -= lr * o.weight_decay * w[i];
            else v += o.weight_decay * w[i];
            s0[i] = o.beta1 * s0[i] + (1 - o.beta1) * v;
            s1[i] = o.beta2 * s1[i] + (1 - o.beta2) * v * v;
            w[i] -= lr * (s0[i] / c1) / (sqrt(s1[i] / c2) + o.eps);
        }
        step(opt);
    }
    fg_tensor *m;
    char name[32];
    ck_assert(fg_optimizer_state(opt, 0, &m, name, sizeof name));
    ck_assert_str_eq(name, "1.exp_avg");
    ck_assert(error(m, s0) < 1e-6);
    ck_assert(fg_optimizer_state(opt, 1, &m, name, sizeof name));
    ck_assert_str_eq(name, "1.exp_avg_sq");
    ck_assert(error(m, s1) < 1e-6);
    ck_assert(!fg_optimizer_state(opt, 2, &m, name, sizeof name));
    finish(opt, "Adam");
}
END_TEST

/* Restoring state and step count continues to the same bits. */
START_TEST(resuming_is_exact) {
    fg_adam_opts o = { .lr = 0.05, .lr_decay = 0.1 };
    fg_tensor *q = fg_empty(scope, FG_F32, FG_SHAPE(N)), *m, *m2;
    fg_optimizer *a = fg_adam_new(ctx, &p, 1, &o), *b = fg_adam_new(ctx, &q, 1, &o);
    for (int t = 0; t < 3; t++) {
        new_gradient(t);
        step(a);
    }
    fg_tensor_copy(q, p);
    fg_tensor_set_requires_grad(q, true);
    fg_tensor_set_grad(q, g);
    for (int i = 0; i < 2; i++) {
        ck_assert(fg_optimizer_state(a, i, &m, NULL, 0) && fg_optimizer_state(b, i, &m2, NULL, 0));
        ck_assert_int_eq(fg_tensor_copy(m2, m), FG_OK);
    }
    fg_optimizer_set_steps(b, fg_optimizer_steps(a));
    for (int t = 3; t < 6; t++) {
        new_gradient(t);
        step(a);
        step(b);
    }
    ck_assert_mem_eq(fg_tensor_data(p), fg_tensor_data(q), N * sizeof(fg_real));
    fg_optimizer_release(a);
    fg_optimizer_release(b);
}
END_TEST

START_TEST(missing_gradients_are_skipped) {
    fg_tensor *q = fg_full(scope, FG_F32, FG_SHAPE(3), 2), *both[] = { q, p };
    fg_tensor_set_requires_grad(q, true);
    fg_optimizer *opt = fg_adam_new(ctx, both, 2, NULL);
    new_gradient(0);
    step(opt);
    ck_assert_double_eq(fg_tensor_at(q, 1), 2);
    ck_assert(fg_tensor_at(p, 1) != w[1]);
    ck_assert_int_eq(fg_optimizer_zero_grad(opt), FG_OK);
    ck_assert_ptr_null(fg_tensor_grad(p));
    double still = fg_tensor_at(p, 1);
    step(opt);
    ck_assert_double_eq(fg_tensor_at(p, 1), still);
    fg_optimizer_release(opt);
}
END_TEST

START_TEST(rates_change_between_steps) {
    fg_optimizer *opt = fg_sgd_new(ctx, &p, 1, &(fg_sgd_opts){ .lr = 0.5 });
    new_gradient(0);
    step(opt);
    ck_assert_double_eq_tol(fg_tensor_at(p, 2), w[2] - 0.5 * d[2], 1e-6);
    ck_assert_int_eq(fg_optimizer_set_lr(opt, 0.125), FG_OK);
    ck_assert_double_eq(fg_optimizer_lr(opt), 0.125);
    step(opt);
    ck_assert_double_eq_tol(fg_tensor_at(p, 2), w[2] - 0.625 * d[2], 1e-6);
    uint32_t version = fg_tensor_version(p);
    step(opt);
    ck_assert_msg(fg_tensor_version(p) > version, "a step leaves the version as it was");
    fg_optimizer_release(opt);
}
END_TEST

START_TEST(refusals) {
    fg_tensor *i32 = fg_arange(scope, FG_I32, 0, 1, 3), *none = NULL, *twice[] = { p, p };
#define REFUSED(call, text)                                                                                                      \
    do {                                                                                                                         \
        fg_clear_error(ctx);                                                                                                     \
        ck_assert_ptr_null(call);                                                                                                \
        ck_assert_int_eq(fg_last_status(ctx), FG_EINVAL);                                                                        \
        ck_assert_msg(strstr(fg_last_error(ctx), text) != NULL, "'%s' lacks '%s'", fg_last_error(ctx), text);                    \
    } while (0)
    REFUSED(fg_sgd_new(ctx, &p, 1, &(fg_sgd_opts){ .lr = -1 }), "SGD: lr is -1");
    REFUSED(fg_sgd_new(ctx, &p, 1, &(fg_sgd_opts){ .lr = NAN }), "lr is");
    REFUSED(fg_sgd_new(ctx, &p, 1, &(fg_sgd_opts){ .lr = 1, .momentum = 1.5 }), "momentum is 1.5");
    REFUSED(fg_sgd_new(ctx, &p, 1, &(fg_sgd_opts){ .lr = 1, .nesterov = true }), "nesterov");
    REFUSED(fg_adam_new(ctx, &p, 1, &(fg_adam_opts){ .beta2 = 1, .has_betas = true }), "beta2 is 1");
    REFUSED(fg_rmsprop_new(ctx, &p, 1, &(fg_rmsprop_opts){ .alpha = 2 }), "alpha is 2");
    REFUSED(fg_adam_new(ctx, &p, 0, NULL), "empty");
    REFUSED(fg_adam_new(ctx, &i32, 1, NULL), "parameter 0 is not f32");
    REFUSED(fg_adam_new(ctx, &none, 1, NULL), "parameter 0 is NULL");
    REFUSED(fg_adam_new(ctx, twice, 2, NULL), "parameter 1 is listed twice");
    REFUSED(fg_ema_new(ctx, &p, 1, 1.5, false), "decay is 1.5");
    fg_tensor *made = fg_square(scope, p);
    REFUSED(fg_adam_new(ctx, &made, 1, NULL), "not a leaf");
}
END_TEST

/* ---------------------------------------------------------------- schedules, clipping, EMA */
START_TEST(schedules) {
    ck_assert_double_eq_tol(fg_lr_linear(2, 0, 10, 20, 0.1), 2, 1e-12);
    ck_assert_double_eq_tol(fg_lr_linear(2, 10, 10, 20, 0.1), 2, 1e-12);
    ck_assert_double_eq_tol(fg_lr_linear(2, 15, 10, 20, 0.1), 1.1, 1e-12);
    ck_assert_double_eq_tol(fg_lr_linear(2, 20, 10, 20, 0.1), 0.2, 1e-12);
    ck_assert_double_eq_tol(fg_lr_linear(2, 99, 10, 20, 0.1), 0.2, 1e-12);
    ck_assert_double_eq_tol(fg_lr_cosine(2, 0, 100, 0.1), 2, 1e-12);
    ck_assert_double_eq_tol(fg_lr_cosine(2, 50, 100, 0.1), 1.1, 1e-12);
    ck_assert_double_eq_tol(fg_lr_cosine(2, 25, 100, 0), 1 + sqrt(0.5), 1e-12);
    ck_assert_double_eq_tol(fg_lr_cosine(2, 100, 100, 0.1), 0.2, 1e-12);
    ck_assert_double_eq_tol(fg_lr_cosine(2, 1000, 100, 0.1), 0.2, 1e-12);
}
END_TEST

START_TEST(clipping) {
    enum { BIG = 40000 }; /* several pieces of the sum */
    fg_tensor *q = fg_zeros(scope, FG_F32, FG_SHAPE(BIG)), *gq = fg_full(scope, FG_F32, FG_SHAPE(BIG), 0.5);
    fg_tensor_set_requires_grad(q, true);
    fg_tensor_set_grad(q, gq);
    new_gradient(1);
    double sum = 0.25 * BIG, norm = 0;
    for (int i = 0; i < N; i++) sum += d[i] * d[i];
    fg_tensor *all[] = { p, NULL, q };
    all[1] = fg_zeros(scope, FG_F32, FG_SHAPE(2)); /* without a gradient */
    ck_assert_int_eq(fg_clip_grad_norm(ctx, all, 3, 0, &norm), FG_OK);
    ck_assert_double_eq_tol(norm, sqrt(sum), 1e-4);
    ck_assert_double_eq(fg_tensor_at(gq, 7), 0.5);
    ck_assert_int_eq(fg_clip_grad_norm(ctx, all, 3, 1000, &norm), FG_OK); /* below the limit: untouched */
    ck_assert_double_eq(fg_tensor_at(gq, 7), 0.5);
    ck_assert_int_eq(fg_clip_grad_norm(ctx, all, 3, 2, &norm), FG_OK);
    ck_assert_double_eq_tol(norm, sqrt(sum), 1e-4);
    ck_assert_double_eq_tol(fg_tensor_at(gq, BIG - 1), 0.5 * 2 / sqrt(sum), 1e-7);
    ck_assert_double_eq_tol(fg_tensor_at(g, 3), d[3] * 2 / sqrt(sum), 1e-6);
    fg_clip_grad_norm(ctx, all, 3, 0, &norm);
    ck_assert_double_eq_tol(norm, 2, 1e-4);
}
END_TEST

START_TEST(clipping_refuses_non_finite) {
    fg_tensor *q = fg_zeros(scope, FG_F32, FG_SHAPE(3)), *gq = fg_full(scope, FG_F32, FG_SHAPE(3), 1), *all[] = { q, p };
    fg_tensor_set_requires_grad(q, true);
    fg_tensor_set_grad(q, gq);
    const double bad[] = { NAN, INFINITY, -INFINITY };
    for (int k = 0; k < 3; k++) {
        new_gradient(0);
        ((fg_real *)fg_tensor_data_mut(g))[30] = (fg_real)bad[k];
        double norm = 0;
        ck_assert_int_eq(fg_clip_grad_norm(ctx, all, 2, 0.5, &norm), FG_ENONFINITE);
        ck_assert(!isfinite(norm));
        ck_assert_msg(strstr(fg_last_error(ctx), "parameter 1") != NULL, "%s", fg_last_error(ctx));
        ck_assert_double_eq(fg_tensor_at(gq, 0), 1); /* nothing was scaled */
    }
    fg_set_index_base(ctx, 1);
    fg_clip_grad_norm(ctx, all, 2, 0.5, NULL);
    ck_assert_msg(strstr(fg_last_error(ctx), "parameter 2") != NULL, "%s", fg_last_error(ctx));
}
END_TEST

START_TEST(ema) {
    bool warmup = _i;
    fg_ema *e = fg_ema_new(ctx, &p, 1, 0.9, warmup);
    ck_assert_ptr_nonnull(e);
    fg_tensor *shadow = fg_ema_shadow(e, 0);
    ck_assert(!fg_tensor_requires_grad(shadow));
    memcpy(s0, w, sizeof s0);
    fg_optimizer *opt = fg_sgd_new(ctx, &p, 1, &(fg_sgd_opts){ .lr = 0.3 });
    for (int t = 0; t < 120; t++) {
        new_gradient(t);
        step(opt);
        double k = warmup ? fmin(0.9, (1.0 + t) / (10.0 + t)) : 0.9;
        for (int i = 0; i < N; i++) s0[i] = k * s0[i] + (1 - k) * fg_tensor_at(p, i);
        ck_assert_int_eq(fg_ema_update(e), FG_OK);
        ck_assert_msg(error(shadow, s0) < 3e-6, "update %d: relative error %g", t, error(shadow, s0));
    }
    ck_assert_int_eq((int)fg_ema_updates(e), 120);
    ck_assert_ptr_null(fg_ema_shadow(e, 1));
    fg_optimizer_release(opt);
    fg_ema_release(e);
}
END_TEST

/* ---------------------------------------------------------------- all parameters as one row */
enum { TENSORS = 8 };
static const int64_t sizes[TENSORS] = { 1, 40000, 0, 5, 70001, 0, 33333, 16 };
static const int64_t units[TENSORS] = { 0, 4096, 0, 2, 10000, 0, 33333, 0 };
typedef struct walked {
    uint8_t *seen[TENSORS];
    int last[64]; /* tensor of the chunk's newest piece */
    int chunks;
    bool whole;
} walked;
static void visit(void *arg, int chunk, int i, int64_t first, int64_t count) {
    walked *q = arg;
    ck_assert(count > 0 && chunk < q->chunks && i >= q->last[chunk]);
    q->last[chunk] = i;
    if (q->whole && units[i]) ck_assert(first % units[i] == 0 && ((first + count) % units[i] == 0 || first + count == sizes[i]));
    for (int64_t k = first; k < first + count; k++) q->seen[i][k]++;
}
START_TEST(flat_row_covers_all_once) {
    for (int k = 0; k < 2 * TENSORS; k++) {
        int n = k / 2 + 1;
        int64_t end[TENSORS], total = 0;
        walked q = { .whole = k % 2 };
        for (int i = 0; i < n; i++) {
            end[i] = total += sizes[i];
            q.seen[i] = calloc((size_t)sizes[i] + 1, 1);
        }
        q.chunks = fg_flat_chunks(end, n);
        ck_assert_int_eq(q.chunks, total < 16384 ? 1 : (int)(total / 8192)); /* one chunk wakes nobody */
        fg_set_threads(ctx, n % 3 + 1);
        fg_flat_run(ctx, end, n, q.whole ? units : NULL, visit, &q);
        for (int i = 0; i < n; i++) {
            for (int64_t e = 0; e < sizes[i]; e++) ck_assert_int_eq(q.seen[i][e], 1);
            ck_assert_int_eq(q.seen[i][sizes[i]], 0);
            free(q.seen[i]);
        }
    }
    fg_flat_run(ctx, NULL, 0, NULL, visit, NULL);
    fg_flat_run(ctx, &(int64_t){ 0 }, 1, NULL, visit, NULL);
}
END_TEST

START_TEST(together_as_alone) {
    fg_tensor *all[2][TENSORS];
    fg_optimizer *opt[1 + TENSORS];
    for (int k = 0; k < 2; k++) {
        fg_manual_seed(ctx, 4);
        for (int i = 0; i < TENSORS; i++) {
            all[k][i] = fg_normal(scope, FG_SHAPE(sizes[i]), 0, 1, FG_STREAM_DEFAULT);
            fg_tensor_set_requires_grad(all[k][i], true);
            if (i != 3) fg_tensor_set_grad(all[k][i], fg_normal(scope, FG_SHAPE(sizes[i]), 0, 1, FG_STREAM_DEFAULT));
        }
    }
    opt[0] = fg_adam_new(ctx, all[0], TENSORS, NULL);
    for (int i = 0; i < TENSORS; i++) opt[1 + i] = fg_adam_new(ctx, &all[1][i], 1, NULL);
    for (int t = 0; t < 2; t++)
        for (int i = 0; i <= TENSORS; i++) step(opt[i]);
    for (int i = 0; i < TENSORS; i++) {
        ck_assert_mem_eq(fg_tensor_data(all[0][i]), fg_tensor_data(all[1][i]), (size_t)sizes[i] * sizeof(fg_real));
        ck_assert_uint_eq(fg_tensor_version(all[0][i]), i == 3 ? 0 : 2); /* without gradient: untouched */
    }
    for (int i = 0; i <= TENSORS; i++) fg_optimizer_release(opt[i]);
}
END_TEST

/* The order of threads never shows: a large parameter after updates with 1 and 3 threads. */
START_TEST(threads_give_the_same_bits) {
    enum { BIG = 100003 };
    fg_real *end[2];
    double norm[2];
    for (int k = 0; k < 2; k++) {
        fg_set_threads(ctx, k ? 3 : 1);
        fg_manual_seed(ctx, 9);
        fg_tensor *q = fg_normal(scope, FG_SHAPE(BIG), 0, 1, FG_STREAM_DEFAULT);
        fg_tensor_set_requires_grad(q, true);
        fg_tensor_set_grad(q, fg_normal(scope, FG_SHAPE(BIG), 0, 1, FG_STREAM_DEFAULT));
        fg_optimizer *opt = fg_adam_new(ctx, &q, 1, NULL);
        ck_assert_int_eq(fg_clip_grad_norm(ctx, &q, 1, 1, &norm[k]), FG_OK);
        step(opt);
        end[k] = malloc(BIG * sizeof(fg_real));
        memcpy(end[k], fg_tensor_data(q), BIG * sizeof(fg_real));
        fg_optimizer_release(opt);
    }
    ck_assert(norm[0] == norm[1]);
    ck_assert_mem_eq(end[0], end[1], BIG * sizeof(fg_real));
    free(end[0]);
    free(end[1]);
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof(a)[0])
int main(void) {
    Suite *suite = suite_create("optim");
    TCase *t = tcase_create("optim");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, sgd, 0, COUNT(sgds));
    tcase_add_loop_test(t, rmsprop, 0, COUNT(rmsprops));
    tcase_add_test(t, rmsprop_epsilon_places_differ);
    tcase_add_loop_test(t, adam, 0, COUNT(adams));
    tcase_add_test(t, resuming_is_exact);
    tcase_add_test(t, missing_gradients_are_skipped);
    tcase_add_test(t, rates_change_between_steps);
    tcase_add_test(t, refusals);
    tcase_add_test(t, schedules);
    tcase_add_test(t, clipping);
    tcase_add_test(t, clipping_refuses_non_finite);
    tcase_add_loop_test(t, ema, 0, 2);
    tcase_add_test(t, flat_row_covers_all_once);
    tcase_add_test(t, together_as_alone);
    tcase_add_test(t, threads_give_the_same_bits);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
