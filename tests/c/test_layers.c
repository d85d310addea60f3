/* test_layers.c: layers: shapes, names, modes, running statistics, initialisers, fusion and messages. Every kind of layers.def
 * has a sample here, or the suite fails. */
#include "layer.h"
#include "scope_help.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAYS(text) ck_assert_msg(strstr(fg_last_error(ctx), text) != NULL, "'%s' lacks '%s'", fg_last_error(ctx), text)

/* ---------------------------------------------------------------- one sample of every kind */
typedef struct sample {
    const char *kind;
    const void *opts;
    fg_shape in, out;
    int params, buffers;
    int64_t count; /* numbers in all parameters */
    fg_shape weight;
} sample;
#define NO_WEIGHT FG_SCALAR
static const sample samples[] = {
    { "Linear", &(fg_linear_layer){ 3, 4, false }, FG_SHAPE(2, 3), FG_SHAPE(2, 4), 2, 0, 16, FG_SHAPE(3, 4) },
    { "Linear", &(fg_linear_layer){ 3, 4, true }, FG_SHAPE(2, 3), FG_SHAPE(2, 4), 1, 0, 12, FG_SHAPE(3, 4) },
    { "Conv2d", &(fg_conv_layer){ .in_channels = 3, .out_channels = 5, .kernel = { 3, 2 } }, FG_SHAPE(2, 7, 6, 3),
      FG_SHAPE(2, 5, 5, 5), 2, 0, 95, FG_SHAPE(3, 2, 3, 5) },
    { "Conv2d",
      &(fg_conv_layer){
          .in_channels = 1, .out_channels = 2, .kernel = { 5, 5 }, .stride = { 2, 2 }, .same = true, .no_bias = true },
      FG_SHAPE(2, 7, 8, 1), FG_SHAPE(2, 4, 4, 2), 1, 0, 50, FG_SHAPE(5, 5, 1, 2) },
    { "ConvTranspose2d",
      &(fg_conv_layer){ .in_channels = 3, .out_channels = 5, .kernel = { 4, 4 }, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } },
      FG_SHAPE(2, 7, 6, 3), FG_SHAPE(2, 14, 12, 5), 2, 0, 245, FG_SHAPE(4, 4, 5, 3) },
    { "ConvTranspose2d",
      &(fg_conv_layer){ .in_channels = 3, .out_channels = 5, .kernel = { 5, 5 }, .stride = { 2, 2 }, .same = true },
      FG_SHAPE(2, 7, 6, 3), FG_SHAPE(2, 14, 12, 5), 2, 0, 380, FG_SHAPE(5, 5, 5, 3) },
    { "ConvTranspose2d",
      &(fg_conv_layer){ .in_channels = 1,
                        .out_channels = 1,
                        .kernel = { 3, 3 },
                        .stride = { 2, 3 },
                        .pad = { 1, 0, 1, 1 },
                        .out_pad = { 1, 2 } },
      FG_SHAPE(1, 4, 4, 1), FG_SHAPE(1, 9, 12, 1), 2, 0, 10, FG_SHAPE(3, 3, 1, 1) },
    { "BatchNorm", &(fg_batch_norm_layer){ .features = 4 }, FG_SHAPE(3, 2, 2, 4), FG_SHAPE(3, 2, 2, 4), 2, 2, 8, FG_SHAPE(4) },
    { "BatchNorm", &(fg_batch_norm_layer){ .features = 4, .no_affine = true }, FG_SHAPE(3, 4), FG_SHAPE(3, 4), 0, 2, 0,
      NO_WEIGHT },
    { "Dropout", &(fg_dropout_layer){ 0.5 }, FG_SHAPE(3, 4), FG_SHAPE(3, 4), 0, 0, 0, NO_WEIGHT },
    { "Embedding", &(fg_embedding_layer){ 10, 3 }, FG_SHAPE(5), FG_SHAPE(5, 3), 1, 0, 30, FG_SHAPE(10, 3) },
    { "Flatten", NULL, FG_SHAPE(2, 3, 4), FG_SHAPE(2, 12), 0, 0, 0, NO_WEIGHT },
    { "Reshape", &(fg_reshape_layer){ { 2, { 4, 3 } } }, FG_SHAPE(2, 12), FG_SHAPE(2, 4, 3), 0, 0, 0, NO_WEIGHT },
    { "Upsample", &(fg_upsample_layer){ { 2, 3 } }, FG_SHAPE(2, 3, 4, 5), FG_SHAPE(2, 6, 12, 5), 0, 0, 0, NO_WEIGHT },
    { "AvgPool2d", &(fg_pool_layer){ .kernel = { 2, 2 } }, FG_SHAPE(2, 5, 6, 3), FG_SHAPE(2, 2, 3, 3), 0, 0, 0, NO_WEIGHT },
    { "MaxPool2d", &(fg_pool_layer){ .kernel = { 3, 3 }, .stride = { 2, 1 }, .pad = { 1, 1, 1, 1 } }, FG_SHAPE(2, 5, 6, 3),
      FG_SHAPE(2, 3, 6, 3), 0, 0, 0, NO_WEIGHT },
    { "ReLU", NULL, FG_SHAPE(2, 3), FG_SHAPE(2, 3), 0, 0, 0, NO_WEIGHT },
    { "LeakyReLU", &(fg_act_layer){ 0.2 }, FG_SHAPE(2, 3), FG_SHAPE(2, 3), 0, 0, 0, NO_WEIGHT },
    { "Tanh", NULL, FG_SHAPE(2, 3), FG_SHAPE(2, 3), 0, 0, 0, NO_WEIGHT },
    { "Sigmoid", NULL, FG_SHAPE(2, 3), FG_SHAPE(2, 3), 0, 0, 0, NO_WEIGHT },
    { "Softplus", NULL, FG_SHAPE(2, 3), FG_SHAPE(2, 3), 0, 0, 0, NO_WEIGHT },
    { "Identity", NULL, FG_SHAPE(2, 3), FG_SHAPE(2, 3), 0, 0, 0, NO_WEIGHT },
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

static bool same_shape(const fg_tensor *t, const fg_shape *want) {
    fg_shape a = fg_tensor_shape(t);
    return fg_shape_equal(&a, want);
}

START_TEST(sample_has_its_shapes) {
    const sample *a = &samples[_i];
    fg_layer *l = fg_layer_new(ctx, a->kind, a->opts);
    ck_assert_msg(l != NULL, "%s: %s", a->kind, fg_last_error(ctx));
    ck_assert_str_eq(fg_layer_kind(l), a->kind);
    ck_assert(fg_layer_training(l));
    fg_tensor *t;
    int n = 0, b = 0;
    while (fg_layer_param(l, n, &t, NULL, 0)) {
        ck_assert(fg_tensor_is_leaf(t) && fg_tensor_requires_grad(t));
        n++;
    }
    while (fg_layer_buffer(l, b, &t, NULL, 0)) {
        ck_assert(!fg_tensor_requires_grad(t));
        b++;
    }
    ck_assert_msg(n == a->params && b == a->buffers, "%s: %d parameters, %d buffers", a->kind, n, b);
    ck_assert_int_eq((int)fg_layer_param_count(l), (int)a->count);
    if (n) {
        char name[32];
        ck_assert(fg_layer_param(l, 0, &t, name, sizeof name));
        ck_assert_str_eq(name, "weight");
        ck_assert(same_shape(t, &a->weight));
        if (n > 1) {
            ck_assert(fg_layer_param(l, 1, &t, name, sizeof name));
            ck_assert_str_eq(name, "bias");
        }
    }
    fg_tensor *x = strcmp(a->kind, "Embedding") ? fg_normal(s, a->in, 0, 1, FG_STREAM_DEFAULT) : fg_zeros(s, FG_I32, a->in);
    fg_tensor *y = fg_layer_forward(s, l, x);
    ck_assert_msg(y != NULL, "%s: %s", a->kind, fg_last_error(ctx));
    ck_assert_msg(same_shape(y, &a->out), "%s: another shape of output", a->kind);
    if (n) { /* every parameter gets a gradient */
        ck_assert_int_eq(fg_backward(s, fg_sum(s, fg_square(s, y), NULL, false)), FG_OK);
        for (int i = 0; fg_layer_param(l, i, &t, NULL, 0); i++) {
            ck_assert_msg(fg_tensor_grad(t) != NULL, "%s: parameter %d has no gradient", a->kind, i);
            fg_shape sh = fg_tensor_shape(t);
            ck_assert(same_shape(fg_tensor_grad(t), &sh));
        }
    }
    fg_layer_train(l, false);
    ck_assert_ptr_nonnull(fg_layer_forward(s, l, x));
    fg_layer_release(l);
}
END_TEST

START_TEST(every_kind_has_a_sample) {
    for (int i = 0; fg_layer_table[i]; i++) {
        bool found = false;
        for (int k = 0; k < SAMPLES && !found; k++) found = !strcmp(samples[k].kind, fg_layer_table[i]->kind);
        ck_assert_msg(found, "layer '%s' has no sample", fg_layer_table[i]->kind);
        ck_assert_ptr_eq(fg_layer_find(fg_layer_table[i]->kind), fg_layer_table[i]);
    }
}
END_TEST

/* ---------------------------------------------------------------- Sequential */
static fg_layer *make(const char *kind, const void *opts) {
    fg_layer *l = fg_layer_new(ctx, kind, opts);
    ck_assert_msg(l != NULL, "%s: %s", kind, fg_last_error(ctx));
    return l;
}
#define CONV3(ci, co)                                                                                                            \
    &(fg_conv_layer) { .in_channels = ci, .out_channels = co, .kernel = { 3, 3 }, .same = true }

START_TEST(names_and_places) {
    fg_layer *inner = fg_sequential_new(
        ctx, (fg_layer *[]){ make("Conv2d", CONV3(2, 3)), make("BatchNorm", &(fg_batch_norm_layer){ .features = 3 }) }, 2);
    fg_layer *net =
        fg_sequential_new(ctx,
                          (fg_layer *[]){ inner, make("Flatten", NULL),
                                          make("Linear", &(fg_linear_layer){ .in_features = 48, .out_features = 1 }) },
                          3);
    const char *params[] = { "1.1.weight", "1.1.bias", "1.2.weight", "1.2.bias", "3.weight", "3.bias" };
    const char *buffers[] = { "1.2.running_mean", "1.2.running_var" };
    fg_tensor *t;
    char name[64];
    for (int i = 0; i < 6; i++) {
        ck_assert(fg_layer_param(net, i, &t, name, sizeof name));
        ck_assert_str_eq(name, params[i]);
    }
    ck_assert(!fg_layer_param(net, 6, &t, name, sizeof name) && !fg_layer_param(net, -1, &t, name, sizeof name));
    for (int i = 0; i < 2; i++) {
        ck_assert(fg_layer_buffer(net, i, &t, name, sizeof name));
        ck_assert_str_eq(name, buffers[i]);
    }
    ck_assert(!fg_layer_buffer(net, 2, &t, NULL, 0));
    ck_assert_str_eq(fg_layer_kind(net), "Sequential");
    ck_assert_int_eq(fg_layer_children(net), 3);
    ck_assert_ptr_eq(fg_layer_child(net, 0), inner);
    ck_assert_ptr_null(fg_layer_child(net, 3));
    ck_assert_int_eq((int)fg_layer_param_count(net), 57 + 6 + 49);

    ck_assert_int_eq(fg_layer_freeze(net, true), FG_OK);
    for (int i = 0; fg_layer_param(net, i, &t, NULL, 0); i++) ck_assert(!fg_tensor_requires_grad(t));
    ck_assert(fg_layer_training(fg_layer_child(inner, 1))); /* freezing is not a mode */
    fg_layer_train(net, false);
    ck_assert(!fg_layer_training(fg_layer_child(inner, 1)));
    ck_assert_int_eq(fg_layer_freeze(net, false), FG_OK);

    /* the message names the layer and its place, at every level */
    fg_scope *q = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_layer_forward(q, net, fg_zeros(q, FG_F32, FG_SHAPE(2, 5, 5, 2))));
    SAYS("layer 3 (Linear) of 3: linear: input [2,75] has 75 features, weight [48,1] expects 48");
    ck_assert_int_eq(fg_scope_close(q), FG_EINVAL);
    SAYS("layer 3 (Linear) of 3:");
    q = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_layer_forward(q, net, fg_zeros(q, FG_F32, FG_SHAPE(2, 4, 4, 1))));
    SAYS("layer 1 (Sequential) of 3: layer 1 (Conv2d) of 2: conv2d: input [2,4,4,1] has 1 channel, weight [3,3,2,3] expects 2");
    fg_scope_close(q);
    fg_layer_release(net);
}
END_TEST

/* Sequential with conv + activation against the same layers one after the other: the same bits, forward and backward. */
typedef struct pair {
    const char *first;
    const void *opts;
    fg_shape in;
} pair;
static const pair firsts[] = {
    { "Linear", &(fg_linear_layer){ 6, 5, false }, FG_SHAPE(7, 6) },
    { "Linear", &(fg_linear_layer){ 6, 5, true }, FG_SHAPE(7, 6) },
    { "Conv2d", CONV3(6, 5), FG_SHAPE(2, 5, 4, 6) },
    { "ConvTranspose2d", CONV3(6, 5), FG_SHAPE(2, 5, 4, 6) },
    { "BatchNorm", &(fg_batch_norm_layer){ .features = 6 }, FG_SHAPE(2, 5, 4, 6) },
};
static const struct {
    const char *kind;
    fg_act_layer o;
} acts[] = { { "ReLU", { 0 } }, { "LeakyReLU", { 0 } }, { "LeakyReLU", { 0.2 } },
             { "Tanh", { 0 } }, { "Sigmoid", { 0 } },   { "Softplus", { 0 } } };

START_TEST(fusion_changes_nothing) {
    for (int k = 0; k < 6; k++) {
        const pair *p = &firsts[_i];
        fg_layer *a = make(p->first, p->opts), *act = make(acts[k].kind, &acts[k].o);
        fg_layer *net = fg_sequential_new(ctx, (fg_layer *[]){ fg_layer_keep(a), fg_layer_keep(act) }, 2);
        fg_tensor *x = fg_normal(s, p->in, 0, 1, FG_STREAM_DEFAULT), *y[2], *g[2], *gw[2], *xs[2] = { x, NULL };
        fg_tensor_set_requires_grad(x, true);
        ck_assert(fg_layer_param(a, 0, &xs[1], NULL, 0));
        y[0] = fg_layer_forward(s, net, x);
        y[1] = fg_layer_forward(s, act, fg_layer_forward(s, a, x));
        fg_tensor *r = fg_normal(s, fg_tensor_shape(y[0]), 0, 1, FG_STREAM_DEFAULT);
        ck_assert_mem_eq(fg_tensor_data(y[0]), fg_tensor_data(y[1]), fg_tensor_bytes(y[0]));
        ck_assert_str_ne(fg_tensor_op_name(y[0]), fg_tensor_op_name(y[1])); /* it was fused indeed */
        for (int i = 0; i < 2; i++) {
            fg_tensor *out[2];
            ck_assert_int_eq(fg_grad(s, fg_sum(s, fg_mul(s, y[i], r), NULL, false), NULL, xs, 2, false, false, out), FG_OK);
            g[i] = out[0], gw[i] = out[1];
        }
        for (int64_t i = 0; i < fg_tensor_numel(g[0]); i++)
            ck_assert_double_eq_tol(fg_tensor_at(g[0], i), fg_tensor_at(g[1], i), 2e-5);
        for (int64_t i = 0; i < fg_tensor_numel(gw[0]); i++)
            ck_assert_double_eq_tol(fg_tensor_at(gw[0], i), fg_tensor_at(gw[1], i), 2e-5);
        fg_layer_release(net);
        fg_layer_release(a);
        fg_layer_release(act);
    }
}
END_TEST

START_TEST(dropout_follows_the_mode) {
    fg_layer *l = make("Dropout", &(fg_dropout_layer){ 0.25 });
    fg_tensor *x = fg_full(s, FG_F32, FG_SHAPE(100, 100), 1), *y = fg_layer_forward(s, l, x);
    int zeros = 0;
    for (int64_t i = 0; i < 10000; i++) {
        double v = fg_tensor_at(y, i);
        zeros += v == 0;
        if (v != 0) ck_assert_double_eq_tol(v, 1 / 0.75, 1e-6);
    }
    ck_assert_msg(zeros > 2300 && zeros < 2700, "%d of 10000 dropped", zeros);
    fg_stream_state before = fg_stream_get(ctx, FG_STREAM_DROPOUT);
    fg_layer_train(l, false);
    y = fg_layer_forward(s, l, x);
    for (int64_t i = 0; i < 10000; i++) ck_assert(fg_tensor_at(y, i) == 1);
    ck_assert_uint_eq(fg_stream_get(ctx, FG_STREAM_DROPOUT).offset, before.offset); /* evaluation draws nothing */
    fg_layer_release(l);
}
END_TEST

/* ---------------------------------------------------------------- running statistics */
static void statistics(fg_layer *l, double *mean, double *var, int c) {
    fg_tensor *m, *v;
    ck_assert(fg_layer_buffer(l, 0, &m, NULL, 0) && fg_layer_buffer(l, 1, &v, NULL, 0));
    *mean = fg_tensor_at(m, c);
    *var = fg_tensor_at(v, c);
}
START_TEST(running_statistics) {
    const fg_real v[] = { 1, 10, 2, 20, 4, 20, 5, 30 }; /* [4][2]: means 3 and 20; unbiased variances 10/3 and 200/3 */
    fg_tensor *x = fg_from_reals(s, FG_SHAPE(4, 2), v);
    double mean, var;
    fg_layer *l = make("BatchNorm", &(fg_batch_norm_layer){ .features = 2, .momentum = 0.25 });
    statistics(l, &mean, &var, 0);
    ck_assert(mean == 0 && var == 1);
    fg_tensor *y = fg_layer_forward(s, l, x);
    ck_assert_double_eq_tol(fg_tensor_at(y, 0), (1 - 3) / sqrt(2.5 + 1e-5), 1e-5); /* the biased variance normalises */
    statistics(l, &mean, &var, 0);
    ck_assert_double_eq_tol(mean, 0.25 * 3, 1e-6);
    ck_assert_double_eq_tol(var, 0.75 + 0.25 * 10 / 3, 1e-6);
    statistics(l, &mean, &var, 1);
    ck_assert_double_eq_tol(mean, 5, 1e-5);
    ck_assert_double_eq_tol(var, 0.75 + 0.25 * 200 / 3, 1e-5);
    /* under no_grad, and frozen, a train-mode forward still updates */
    fg_set_grad_enabled(ctx, false);
    fg_layer_forward(s, l, x);
    fg_set_grad_enabled(ctx, true);
    statistics(l, &mean, &var, 0);
    ck_assert_double_eq_tol(mean, 0.75 * 0.75 + 0.75, 1e-6);
    fg_layer_freeze(l, true);
    fg_layer_forward(s, l, x);
    fg_layer_freeze(l, false);
    double now, again;
    statistics(l, &now, &again, 0);
    ck_assert_double_eq_tol(now, 0.75 * mean + 0.75, 1e-6);
    /* evaluation uses them and updates nothing */
    fg_layer_train(l, false);
    y = fg_layer_forward(s, l, x);
    statistics(l, &mean, &var, 0);
    ck_assert(mean == now && var == again);
    ck_assert_double_eq_tol(fg_tensor_at(y, 0), (1 - mean) / sqrt(var + 1e-5), 1e-5);
    ck_assert_double_eq_tol(fg_tensor_at(fg_layer_forward(s, l, fg_slice(s, x, 0, 0, 1)), 0), (1 - mean) / sqrt(var + 1e-5),
                            1e-5);
    fg_layer_release(l);
    l = make("BatchNorm", &(fg_batch_norm_layer){ .features = 2 }); /* PyTorch's 0.1 by default */
    fg_layer_forward(s, l, x);
    statistics(l, &mean, &var, 0);
    ck_assert_double_eq_tol(mean, 0.3, 1e-6);
    fg_layer_release(l);
}
END_TEST

/* A graph made before an update of the statistics still has its gradients: they are not saved values. */
START_TEST(two_forwards_one_backward) {
    fg_layer *l = make("BatchNorm", &(fg_batch_norm_layer){ .features = 3 });
    fg_tensor *x = fg_normal(s, FG_SHAPE(5, 3), 0, 1, FG_STREAM_DEFAULT);
    fg_tensor *a = fg_layer_forward(s, l, x), *b = fg_layer_forward(s, l, fg_affine(s, x, 2, 1));
    ck_assert_msg(fg_backward(s, fg_sum(s, fg_square(s, fg_add(s, a, b)), NULL, false)) == FG_OK, "%s", fg_last_error(ctx));
    fg_layer_release(l);
}
END_TEST

/* ---------------------------------------------------------------- initialisers */
static void moments(const fg_tensor *t, double *mean, double *std, double *largest) {
    double m = 0, q = 0;
    int64_t n = fg_tensor_numel(t);
    *largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = fg_tensor_at(t, i);
        m += v, q += v * v;
        *largest = fmax(*largest, fabs(v));
    }
    *mean = m / (double)n;
    *std = sqrt(q / (double)n - *mean * *mean);
}
static void expect_uniform(const fg_tensor *t, double bound, const char *what) {
    double mean, std, largest, n = (double)fg_tensor_numel(t);
    moments(t, &mean, &std, &largest);
    ck_assert_msg(largest <= bound && largest > bound * (1 - 10 / n), "%s: largest %g, bound %g", what, largest, bound);
    ck_assert_msg(fabs(mean) < 4 * bound / sqrt(3 * n), "%s: mean %g", what, mean);
    ck_assert_msg(fabs(std / (bound / sqrt(3)) - 1) < 4 / sqrt(n), "%s: deviation %g", what, std);
}
static void expect_normal(const fg_tensor *t, double mu, double sigma, const char *what) {
    double mean, std, largest, n = (double)fg_tensor_numel(t);
    moments(t, &mean, &std, &largest);
    ck_assert_msg(fabs(mean - mu) < 4 * sigma / sqrt(n), "%s: mean %g", what, mean);
    ck_assert_msg(fabs(std / sigma - 1) < 4 / sqrt(2 * n), "%s: deviation %g", what, std);
}
static void expect_constant(const fg_tensor *t, double v, const char *what) {
    for (int64_t i = 0; i < fg_tensor_numel(t); i++) ck_assert_msg(fg_tensor_at(t, i) == v, "%s: %g", what, fg_tensor_at(t, i));
}

START_TEST(initialisers) {
    const void *linear = &(fg_linear_layer){ 300, 200, false }, *bn = &(fg_batch_norm_layer){ .features = 2000 };
    const void *conv = &(fg_conv_layer){ .in_channels = 16, .out_channels = 64, .kernel = { 5, 4 } };
    fg_layer *l[] = { make("Linear", linear), make("Conv2d", conv), make("ConvTranspose2d", conv), make("BatchNorm", bn),
                      make("Embedding", &(fg_embedding_layer){ 100, 40 }) };
    fg_layer *net = fg_sequential_new(ctx, l, 5);
    fg_tensor *w[5], *b[5];
    for (int i = 0; i < 5; i++) {
        ck_assert(fg_layer_param(l[i], 0, &w[i], NULL, 0));
        if (i < 4) ck_assert(fg_layer_param(l[i], 1, &b[i], NULL, 0));
    }
    for (int pass = 0; pass < 2; pass++) { /* as made, and by name: PyTorch's */
        expect_uniform(w[0], 1 / sqrt(300), "Linear");
        expect_uniform(b[0], 1 / sqrt(300), "Linear bias");
        expect_uniform(w[1], 1 / sqrt(16 * 20), "Conv2d");
        expect_uniform(w[2], 1 / sqrt(64 * 20), "ConvTranspose2d: fan_in is Cout KH KW");
        expect_uniform(b[2], 1 / sqrt(64 * 20), "ConvTranspose2d bias");
        expect_constant(w[3], 1, "gamma");
        expect_constant(b[3], 0, "beta");
        expect_normal(w[4], 0, 1, "Embedding");
        if (!pass) ck_assert_int_eq(fg_init_layer_dcgan(net), FG_OK);
        if (!pass) ck_assert_int_eq(fg_init_layer_torch(net), FG_OK);
    }
    ck_assert_int_eq(fg_init_layer_keras(net), FG_OK);
    expect_uniform(w[0], sqrt(6.0 / 500), "Glorot Linear");
    expect_uniform(w[1], sqrt(6.0 / (80 * 20)), "Glorot Conv2d");
    expect_uniform(w[2], sqrt(6.0 / (80 * 20)), "Glorot ConvTranspose2d");
    for (int i = 0; i < 3; i++) expect_constant(b[i], 0, "Keras bias");
    expect_constant(w[3], 1, "Keras gamma");
    ck_assert_int_eq(fg_init_layer_dcgan(net), FG_OK);
    for (int i = 0; i < 3; i++) {
        expect_normal(w[i], 0, 0.02, "DCGAN");
        expect_constant(b[i], 0, "DCGAN bias");
    }
    expect_normal(w[3], 1, 0.02, "DCGAN gamma");
    ck_assert_int_eq(fg_init_layer_normal(net, 0.5), FG_OK);
    expect_normal(w[1], 0, 0.5, "normal");
    expect_constant(w[3], 1, "normal gamma");
    ck_assert_int_eq(fg_init_uniform(w[0], -3, 3), FG_OK);
    expect_uniform(w[0], 3, "uniform");
    ck_assert_int_eq(fg_init_normal(w[0], 2, 0.1), FG_OK);
    expect_normal(w[0], 2, 0.1, "init.normal");
    ck_assert_int_eq(fg_init_normal(fg_zeros(s, FG_I32, FG_SHAPE(3)), 0, 1), FG_EINVAL);
    SAYS("init.normal: the tensor is i32, expected f32");
    for (int i = 0; i < 5; i++) ck_assert(fg_tensor_requires_grad(w[i]));
    fg_layer_release(net);
}
END_TEST

START_TEST(a_seed_gives_a_network) {
    double first[2];
    for (int i = 0; i < 2; i++) {
        fg_manual_seed(ctx, 11);
        if (i) fg_uniform(s, FG_SHAPE(100), 0, 1, FG_STREAM_DATA); /* other streams do not matter */
        fg_layer *l = make("Linear", &(fg_linear_layer){ 30, 20, false });
        fg_tensor *w;
        fg_layer_param(l, 0, &w, NULL, 0);
        first[i] = fg_tensor_at(w, 17);
        fg_layer_release(l);
    }
    ck_assert(first[0] == first[1]);
}
END_TEST

/* ---------------------------------------------------------------- refusals */
START_TEST(refusals) {
#define REFUSED(call, text)                                                                                                      \
    do {                                                                                                                         \
        fg_clear_error(ctx);                                                                                                     \
        ck_assert_ptr_null(call);                                                                                                \
        ck_assert_int_eq(fg_last_status(ctx), FG_EINVAL);                                                                        \
        SAYS(text);                                                                                                              \
    } while (0)
    size_t live = fg_memory_stats(ctx).live;
    REFUSED(fg_layer_new(ctx, "Conv3d", NULL), "layer 'Conv3d' is unknown");
    REFUSED(fg_layer_new(ctx, "Linear", NULL), "Linear: in_features is 0; it must be at least 1");
    REFUSED(fg_layer_new(ctx, "Linear", &(fg_linear_layer){ 3, -4, false }), "Linear: out_features is -4");
    REFUSED(fg_layer_new(ctx, "Conv2d", &(fg_conv_layer){ .in_channels = 1, .out_channels = 1 }), "Conv2d: kernel_size is 0");
    REFUSED(fg_layer_new(ctx, "ConvTranspose2d",
                         &(fg_conv_layer){
                             .in_channels = 1, .out_channels = 1, .kernel = { 3, 3 }, .stride = { 2, 2 }, .out_pad = { 2, 0 } }),
            "ConvTranspose2d: output_padding is 2; it must be in 0..stride-1");
    REFUSED(fg_layer_new(ctx, "BatchNorm", &(fg_batch_norm_layer){ .features = 2, .momentum = 1.5 }),
            "BatchNorm: momentum is 1.5");
    REFUSED(fg_layer_new(ctx, "BatchNorm", &(fg_batch_norm_layer){ .features = 2, .eps = -1 }), "BatchNorm: eps is -1");
    REFUSED(fg_layer_new(ctx, "Dropout", &(fg_dropout_layer){ 1 }), "Dropout: p is 1; it must be in [0, 1)");
    REFUSED(fg_layer_new(ctx, "LeakyReLU", &(fg_act_layer){ -0.1 }), "LeakyReLU: slope is -0.1");
    REFUSED(fg_layer_new(ctx, "Reshape", NULL), "Reshape: the number of sizes is 0");
    REFUSED(fg_layer_new(ctx, "Upsample", &(fg_upsample_layer){ { 2, 0 } }), "Upsample: scale_factor is 0");
    REFUSED(fg_layer_new(ctx, "MaxPool2d", NULL), "MaxPool2d: kernel_size is 0");
    REFUSED(fg_sequential_new(ctx, (fg_layer *[]){ make("ReLU", NULL), NULL }, 2), "Sequential: layer 1 is NULL");
    ck_assert_msg(fg_memory_stats(ctx).live == live, "%zu bytes leaked", fg_memory_stats(ctx).live - live);
    fg_scope *q = fg_scope_open(ctx);
    fg_layer *l = make("Linear", &(fg_linear_layer){ 3, 4, false });
    ck_assert_ptr_null(fg_layer_forward(q, l, NULL));
    SAYS("Linear: the input is NULL");
    fg_scope_close(q);
    fg_layer_release(l);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("layers");
    TCase *t = tcase_create("layers");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, sample_has_its_shapes, 0, SAMPLES);
    tcase_add_test(t, every_kind_has_a_sample);
    tcase_add_test(t, names_and_places);
    tcase_add_loop_test(t, fusion_changes_nothing, 0, 5);
    tcase_add_test(t, dropout_follows_the_mode);
    tcase_add_test(t, running_statistics);
    tcase_add_test(t, two_forwards_one_backward);
    tcase_add_test(t, initialisers);
    tcase_add_test(t, a_seed_gives_a_network);
    tcase_add_test(t, refusals);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
