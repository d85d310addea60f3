/* test_grad_layers.c: gradients of layers and of penalties on a discriminator against central differences, in double.
 *
 * Every kind of layers.def: first order (< 1e-6) of L = sum(y * r) in the input and all parameters, and second order (< 1e-5)
 * of M = sum_i sum(dL/dx_i * u_i). Then a small D (Conv2d, LeakyReLU, BatchNorm, Linear) under the R1 penalty (Mescheder et
 * al. 2018) and the gradient penalty of WGAN-GP (Gulrajani et al. 2017), in every parameter and in the images. Relative error
 * is max|a-b| / max|b| over one tensor. */
#include "layer.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_XS = 12, MAX_NUMEL = 400 };
static fg_context *ctx;
static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
}
static void teardown(void) { fg_context_free(ctx); }

/* A problem: a network, its input, and the tensors to differentiate in (input first where it is real). */
typedef struct problem {
    const char *name;
    fg_layer *net;
    fg_tensor *x, *r, *xs[MAX_XS], *u[MAX_XS];
    int n;
} problem;
typedef fg_tensor *(*loss_fn)(fg_scope *s, const problem *p);

static fg_tensor *total(fg_scope *s, fg_tensor *t) { return fg_sum(s, t, NULL, false); }

static fg_tensor *forward(fg_scope *s, const problem *p) {
    fg_stream_set(ctx, FG_STREAM_DROPOUT, (fg_stream_state){ 3, 0 }); /* the same mask at every call */
    return fg_layer_forward(s, p->net, p->x);
}
static fg_tensor *first(fg_scope *s, const problem *p) { return total(s, fg_mul(s, forward(s, p), p->r)); }
static fg_tensor *second(fg_scope *s, const problem *p) {
    fg_tensor *g[MAX_XS], *m = NULL;
    if (fg_grad(s, first(s, p), NULL, p->xs, p->n, true, true, g) != FG_OK) return NULL;
    for (int i = 0; i < p->n; i++) {
        if (g[i] == FG_NONE) continue;
        fg_tensor *t = total(s, fg_mul(s, g[i], p->u[i]));
        m = m ? fg_add(s, m, t) : t;
    }
    return m;
}

static double value(loss_fn f, const problem *p) {
    fg_scope *s = fg_scope_open(ctx);
    double v = NAN;
    fg_tensor *l = f(s, p);
    if (l) fg_tensor_item(l, &v);
    ck_assert_msg(fg_scope_close(s) == FG_OK, "%s: %s", p->name, fg_last_error(ctx));
    return v;
}

/* The largest relative error over p->xs; *scale is the largest difference quotient seen. */
static double check(loss_fn f, const problem *p, double *scale) {
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *l = f(s, p), *g[MAX_XS];
    ck_assert_msg(l != NULL, "%s: %s", p->name, fg_last_error(ctx));
    for (int i = 0; i < p->n; i++) g[i] = FG_NONE;
    if (fg_tensor_requires_grad(l))
        ck_assert_msg(fg_grad(s, l, NULL, p->xs, p->n, false, false, g) == FG_OK, "%s: %s", p->name, fg_last_error(ctx));
    double worst = 0;
    *scale = 0;
    for (int i = 0; i < p->n; i++) {
        int64_t n = fg_tensor_numel(p->xs[i]);
        double *x = (double *)fg_tensor_data(p->xs[i]), e = 0, m = 0;
        ck_assert_int_le((int)n, MAX_NUMEL);
        for (int64_t k = 0; k < n; k++) {
            const double keep = x[k], h = 1e-5 * fmax(1, fabs(keep));
            x[k] = keep + h;
            double up = value(f, p);
            x[k] = keep - h;
            double down = value(f, p);
            x[k] = keep;
            double want = (up - down) / (2 * h), got = g[i] == FG_NONE ? 0 : fg_tensor_at(g[i], k);
            ck_assert(!isnan(want) && !isnan(got));
            e = fmax(e, fabs(got - want));
            m = fmax(m, fabs(want));
        }
        *scale = fmax(*scale, m);
        worst = fmax(worst, m > 1e-6 ? e / m : e);
    }
    fg_scope_close(s);
    return worst;
}

static void add(problem *p, fg_scope *s, fg_tensor *t) {
    ck_assert_int_lt(p->n, MAX_XS);
    fg_tensor_set_requires_grad(t, true);
    p->xs[p->n] = t;
    p->u[p->n++] = fg_normal(s, fg_tensor_shape(t), 0, 1, FG_STREAM_DEFAULT);
}
static void add_params(problem *p, fg_scope *s) {
    fg_tensor *t;
    for (int i = 0; fg_layer_param(p->net, i, &t, NULL, 0); i++) add(p, s, t);
}

/* ---------------------------------------------------------------- every kind of layer */
typedef struct sample {
    const char *kind;
    const void *opts;
    fg_shape in;
    bool eval;
    bool linear; /* L is linear in each of its arguments' products: nothing but kinks has a second order */
} sample;
static const sample samples[] = {
    { "Linear", &(fg_linear_layer){ 3, 4, false }, FG_SHAPE(2, 3), false, false },
    { "Conv2d",
      &(fg_conv_layer){ .in_channels = 2, .out_channels = 3, .kernel = { 3, 2 }, .stride = { 2, 1 }, .pad = { 1, 0, 1, 1 } },
      FG_SHAPE(2, 4, 5, 2), false, false },
    { "ConvTranspose2d",
      &(fg_conv_layer){ .in_channels = 2, .out_channels = 3, .kernel = { 3, 3 }, .stride = { 2, 2 }, .same = true },
      FG_SHAPE(2, 3, 2, 2), false, false },
    { "BatchNorm", &(fg_batch_norm_layer){ .features = 3 }, FG_SHAPE(2, 2, 2, 3), false, false },
    { "BatchNorm", &(fg_batch_norm_layer){ .features = 3 }, FG_SHAPE(4, 3), true, false },
    { "Dropout", &(fg_dropout_layer){ 0.4 }, FG_SHAPE(4, 3), false, true },
    { "Embedding", &(fg_embedding_layer){ 5, 3 }, FG_SHAPE(4), false, true },
    { "Flatten", NULL, FG_SHAPE(2, 3, 2), false, true },
    { "Reshape", &(fg_reshape_layer){ { 2, { 2, 3 } } }, FG_SHAPE(2, 6), false, true },
    { "Upsample", &(fg_upsample_layer){ { 2, 3 } }, FG_SHAPE(2, 2, 3, 2), false, true },
    { "AvgPool2d", &(fg_pool_layer){ .kernel = { 2, 2 } }, FG_SHAPE(2, 4, 5, 2), false, true },
    { "MaxPool2d", &(fg_pool_layer){ .kernel = { 3, 2 }, .stride = { 2, 2 }, .pad = { 1, 1, 0, 1 } }, FG_SHAPE(2, 4, 5, 2), false,
      true },
    { "ReLU", NULL, FG_SHAPE(3, 5), false, true },
    { "LeakyReLU", &(fg_act_layer){ 0.2 }, FG_SHAPE(3, 5), false, true },
    { "Tanh", NULL, FG_SHAPE(3, 5), false, false },
    { "Sigmoid", NULL, FG_SHAPE(3, 5), false, false },
    { "Softplus", NULL, FG_SHAPE(3, 5), false, false },
    { "Identity", NULL, FG_SHAPE(3, 5), false, true },
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

START_TEST(layer_agrees) {
    const sample *a = &samples[_i];
    problem p = { .name = a->kind, .net = fg_layer_new(ctx, a->kind, a->opts) };
    ck_assert_msg(p.net != NULL, "%s", fg_last_error(ctx));
    fg_scope *s = fg_scope_open(ctx);
    fg_layer_train(p.net, !a->eval);
    if (strcmp(a->kind, "Embedding")) {
        p.x = fg_normal(s, a->in, 0, 1, FG_STREAM_DEFAULT);
        add(&p, s, p.x);
    } else {
        p.x = fg_from_i32(s, a->in, (const int32_t[]){ 4, 0, 2, 4 });
    }
    add_params(&p, s);
    p.r = fg_normal(s, fg_tensor_shape(forward(s, &p)), 0, 1, FG_STREAM_DEFAULT);
    double scale, e1 = check(first, &p, &scale);
    ck_assert_msg(e1 < 1e-6 && scale > 0.01, "%s: first order %g (largest %g)", a->kind, e1, scale);
    double e2 = check(second, &p, &scale);
    ck_assert_msg(e2 < 1e-5, "%s: second order %g", a->kind, e2);
    ck_assert_msg(a->linear ? scale < 1e-4 : scale > 1e-3, "%s: second order is %g at most", a->kind, scale);
    ck_assert_int_eq(fg_scope_close(s), FG_OK);
    fg_layer_release(p.net);
}
END_TEST

START_TEST(every_kind_has_a_sample) {
    for (int i = 0; fg_layer_table[i]; i++) {
        bool found = false;
        for (int k = 0; k < SAMPLES && !found; k++) found = !strcmp(samples[k].kind, fg_layer_table[i]->kind);
        ck_assert_msg(found, "layer '%s' has no gradient sample", fg_layer_table[i]->kind);
    }
}
END_TEST

/* ---------------------------------------------------------------- penalties on a discriminator */
static void open_d(problem *p, fg_scope *s, bool norm, const char *act) {
    fg_layer *l[6];
    int n = 0;
    l[n++] = fg_layer_new(
        ctx, "Conv2d",
        &(fg_conv_layer){ .in_channels = 2, .out_channels = 3, .kernel = { 3, 3 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } });
    l[n++] = fg_layer_new(ctx, act, NULL);
    l[n++] = fg_layer_new(ctx, "Conv2d", &(fg_conv_layer){ .in_channels = 3, .out_channels = 4, .kernel = { 2, 2 } });
    if (norm) l[n++] = fg_layer_new(ctx, "BatchNorm", &(fg_batch_norm_layer){ .features = 4 });
    l[n++] = fg_layer_new(ctx, "LeakyReLU", &(fg_act_layer){ 0.2 });
    l[n++] = fg_layer_new(ctx, "Flatten", NULL);
    fg_layer *body = fg_sequential_new(ctx, l, n);
    fg_layer *head = fg_layer_new(ctx, "Linear", &(fg_linear_layer){ 8, 1, false });
    p->net = fg_sequential_new(ctx, (fg_layer *[]){ body, head }, 2);
    ck_assert_msg(p->net != NULL, "%s", fg_last_error(ctx));
    p->x = fg_normal(s, FG_SHAPE(4, 4, 6, 2), 0, 1, FG_STREAM_DEFAULT);
    fg_init_layer_normal(p->net, 0.5);
    add(p, s, p->x);
    add_params(p, s);
}
static fg_tensor *input_gradient(fg_scope *s, const problem *p) {
    fg_tensor *g = NULL;
    fg_tensor *score = forward(s, p);
    fg_grad(s, total(s, score), NULL, &p->x, 1, true, true, &g);
    return g;
}
/* gamma/2 E|grad|^2 plus a loss on the scores, as a step of D has it */
static fg_tensor *r1(fg_scope *s, const problem *p) {
    fg_tensor *pen = fg_mean(s, fg_sum(s, fg_square(s, input_gradient(s, p)), FG_AXES(1, 2, 3), false), NULL, false);
    fg_tensor *loss = fg_mean(s, fg_softplus(s, fg_neg(s, forward(s, p))), NULL, false);
    return fg_add(s, loss, fg_affine(s, pen, 2.5, 0));
}
/* 10 E(|grad| - 1)^2, epsilon inside the root */
static fg_tensor *wgan_gp(fg_scope *s, const problem *p) {
    fg_tensor *sq = fg_sum(s, fg_square(s, input_gradient(s, p)), FG_AXES(1, 2, 3), false);
    fg_tensor *away = fg_affine(s, fg_sqrt(s, fg_affine(s, sq, 1, 1e-12)), 1, -1);
    return fg_affine(s, fg_mean(s, fg_square(s, away), NULL, false), 10, 0);
}

static const struct {
    const char *name, *act;
    loss_fn f;
    bool norm;
} penalties[] = {
    { "R1, batch norm", "LeakyReLU", r1, true },
    { "R1, tanh and batch norm", "Tanh", r1, true },
    { "R1", "LeakyReLU", r1, false },
    { "R1, sigmoid", "Sigmoid", r1, false },
    { "WGAN-GP, batch norm", "LeakyReLU", wgan_gp, true },
    { "WGAN-GP, softplus", "Softplus", wgan_gp, false },
};
START_TEST(penalty_agrees) {
    problem p = { .name = penalties[_i].name };
    fg_scope *s = fg_scope_open(ctx);
    open_d(&p, s, penalties[_i].norm, penalties[_i].act);
    double scale, e = check(penalties[_i].f, &p, &scale);
    ck_assert_msg(e < 1e-5 && scale > 0.01, "%s: relative error %g (largest %g)", p.name, e, scale);
    ck_assert_int_eq(fg_scope_close(s), FG_OK);
    fg_layer_release(p.net);
}
END_TEST

/* The check sees a penalty whose statistics are taken as constants, the classic silent mistake. */
static fg_tensor *r1_detached(fg_scope *s, const problem *p) {
    fg_tensor *g = input_gradient(s, p), *half = fg_detach(s, g);
    return fg_mean(s, fg_sum(s, fg_mul(s, g, half), FG_AXES(1, 2, 3), false), NULL, false);
}
START_TEST(mistake_is_caught) {
    problem p = { .name = "detached" };
    fg_scope *s = fg_scope_open(ctx);
    open_d(&p, s, true, "LeakyReLU");
    double scale;
    ck_assert(check(r1_detached, &p, &scale) > 0.1);
    fg_scope_close(s);
    fg_layer_release(p.net);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("grad_layers");
    TCase *t = tcase_create("layers");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, layer_agrees, 0, SAMPLES);
    tcase_add_test(t, every_kind_has_a_sample);
    tcase_add_loop_test(t, penalty_agrees, 0, (int)(sizeof penalties / sizeof penalties[0]));
    tcase_add_test(t, mistake_is_caught);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
