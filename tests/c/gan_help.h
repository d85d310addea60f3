/* gan_help.h: a small GAN for the tests of faults, reproducibility, memory and precision.
 *
 * G: Linear, Reshape, [BatchNorm, ReLU, ConvTranspose2d] twice, Tanh: [N,8] -> [N,16,16,1]. D: two strided convolutions with
 * LeakyReLU, Flatten, Linear. A step is one update of D with the R1 penalty (second order), one of G, both by Adam. Every
 * function passes errors on; nothing here asserts. */
#ifndef GAN_HELP_H
#define GAN_HELP_H

#include "tensor.h"

#include <math.h>
#include <string.h>

#define GAN_PARAMS 16
#define GAN_LATENT 8

typedef struct gan {
    fg_context *ctx;
    fg_layer *g, *d;
    fg_optimizer *opt_g, *opt_d;
    fg_tensor *param_g[GAN_PARAMS], *param_d[GAN_PARAMS]; /* borrowed from the layers */
    int n_g, n_d;
    int batch;
    double loss_d, loss_g;
} gan;

static inline int gan_list(fg_layer *l, fg_tensor **out) {
    int n = 0;
    while (n < GAN_PARAMS && fg_layer_param(l, n, &out[n], NULL, 0)) n++;
    return n;
}

static inline void gan_close(gan *a) {
    fg_optimizer_release(a->opt_g);
    fg_optimizer_release(a->opt_d);
    fg_layer_release(a->g);
    fg_layer_release(a->d);
    *a = (gan){ 0 };
}

/* False with the context's error set; nothing is left behind then. */
static inline bool gan_open(gan *a, fg_context *ctx, int width, int batch) {
    *a = (gan){ .ctx = ctx, .batch = batch };
    fg_conv_layer up1 = { .in_channels = 2 * width,
                          .out_channels = width,
                          .kernel = { 4, 4 },
                          .stride = { 2, 2 },
                          .pad = { 1, 1, 1, 1 },
                          .no_bias = true };
    fg_conv_layer up2 = up1, down1 = up1, down2 = up1;
    up2.in_channels = width, up2.out_channels = 1, up2.no_bias = false;
    down1.in_channels = 1, down1.out_channels = width, down1.no_bias = false;
    down2.in_channels = width, down2.out_channels = 2 * width, down2.no_bias = false;
    fg_layer *g[] = {
        fg_layer_new(ctx, "Linear", &(fg_linear_layer){ .in_features = GAN_LATENT, .out_features = 32 * width, .no_bias = true }),
        fg_layer_new(ctx, "Reshape", &(fg_reshape_layer){ FG_SHAPE(4, 4, 2 * width) }),
        fg_layer_new(ctx, "BatchNorm", &(fg_batch_norm_layer){ .features = 2 * width }),
        fg_layer_new(ctx, "ReLU", NULL),
        fg_layer_new(ctx, "ConvTranspose2d", &up1),
        fg_layer_new(ctx, "BatchNorm", &(fg_batch_norm_layer){ .features = width }),
        fg_layer_new(ctx, "ReLU", NULL),
        fg_layer_new(ctx, "ConvTranspose2d", &up2),
        fg_layer_new(ctx, "Tanh", NULL),
    };
    fg_layer *d[] = {
        fg_layer_new(ctx, "Conv2d", &down1),
        fg_layer_new(ctx, "LeakyReLU", &(fg_act_layer){ 0.2 }),
        fg_layer_new(ctx, "Conv2d", &down2),
        fg_layer_new(ctx, "LeakyReLU", &(fg_act_layer){ 0.2 }),
        fg_layer_new(ctx, "Flatten", NULL),
        fg_layer_new(ctx, "Linear", &(fg_linear_layer){ .in_features = 32 * width, .out_features = 1 }),
    };
    a->g = fg_sequential_new(ctx, g, 9);
    a->d = fg_sequential_new(ctx, d, 6);
    if (a->g && a->d) {
        a->n_g = gan_list(a->g, a->param_g);
        a->n_d = gan_list(a->d, a->param_d);
        fg_adam_opts o = { .lr = 2e-3, .beta1 = 0, .beta2 = 0.99, .has_betas = true };
        a->opt_g = fg_adam_new(ctx, a->param_g, a->n_g, &o);
        a->opt_d = fg_adam_new(ctx, a->param_d, a->n_d, &o);
    }
    if (a->opt_g && a->opt_d) return true;
    gan_close(a);
    return false;
}

static inline fg_tensor *gan_latent(fg_scope *s, const gan *a) {
    return fg_normal(s, FG_SHAPE(a->batch, GAN_LATENT), 0, 1, FG_STREAM_LATENT);
}

static inline fg_status gan_d_step(gan *a) {
    fg_scope *s = fg_scope_open(a->ctx);
    if (!s) return fg_last_status(a->ctx);
    bool grad = fg_set_grad_enabled(a->ctx, false);
    fg_tensor *fake = fg_layer_forward(s, a->g, gan_latent(s, a));
    fg_set_grad_enabled(a->ctx, grad);
    fg_tensor *real = fg_uniform(s, FG_SHAPE(a->batch, 16, 16, 1), -1, 1, FG_STREAM_DATA), *gr = NULL;
    if (real) fg_tensor_set_requires_grad(real, true);
    fg_tensor *score = fg_layer_forward(s, a->d, real);
    fg_tensor *loss = fg_add(s, fg_mean(s, fg_softplus(s, fg_neg(s, score)), NULL, false),
                             fg_mean(s, fg_softplus(s, fg_layer_forward(s, a->d, fake)), NULL, false));
    fg_grad(s, fg_sum(s, score, NULL, false), NULL, &real, 1, true, true, &gr);
    fg_tensor *r1 = fg_mean(s, fg_sum(s, fg_square(s, gr), FG_AXES(1, 2, 3), false), NULL, false);
    loss = fg_add(s, loss, fg_affine(s, r1, 0.25, 0));
    if (loss) fg_tensor_item(loss, &a->loss_d);
    fg_backward(s, loss);
    fg_status st = fg_scope_close(s);
    return st == FG_OK ? fg_optimizer_step(a->opt_d) : st;
}

static inline fg_status gan_g_step(gan *a) {
    fg_scope *s = fg_scope_open(a->ctx);
    if (!s) return fg_last_status(a->ctx);
    fg_layer_freeze(a->d, true);
    fg_tensor *score = fg_layer_forward(s, a->d, fg_layer_forward(s, a->g, gan_latent(s, a)));
    fg_tensor *loss = fg_mean(s, fg_softplus(s, fg_neg(s, score)), NULL, false);
    if (loss) fg_tensor_item(loss, &a->loss_g);
    fg_backward(s, loss);
    fg_layer_freeze(a->d, false);
    fg_status st = fg_scope_close(s);
    return st == FG_OK ? fg_optimizer_step(a->opt_g) : st;
}

static inline void gan_zero_grad(gan *a) {
    fg_optimizer_zero_grad(a->opt_g);
    fg_optimizer_zero_grad(a->opt_d);
}

/* The whole step; .grad of all parameters is gone afterwards. */
static inline fg_status gan_step(gan *a) {
    fg_status st = gan_d_step(a);
    if (st == FG_OK) st = gan_g_step(a);
    gan_zero_grad(a);
    return st;
}

/* FNV-1a over the bytes of all parameters and running statistics. */
static inline uint64_t gan_hash(const gan *a) {
    uint64_t h = 14695981039346656037u;
    for (int net = 0; net < 2; net++)
        for (int kind = 0; kind < 2; kind++) {
            const fg_layer *l = net ? a->d : a->g;
            fg_tensor *t;
            for (int i = 0; kind ? fg_layer_buffer(l, i, &t, NULL, 0) : fg_layer_param(l, i, &t, NULL, 0); i++) {
                const unsigned char *p = fg_tensor_data(t);
                for (size_t k = 0; k < fg_tensor_bytes(t); k++) h = (h ^ p[k]) * 1099511628211u;
            }
        }
    return h;
}

static inline bool gan_finite(const gan *a) {
    for (int i = 0; i < a->n_g + a->n_d; i++) {
        const fg_tensor *t = i < a->n_g ? a->param_g[i] : a->param_d[i - a->n_g];
        for (int64_t k = 0; k < fg_tensor_numel(t); k++)
            if (!isfinite(fg_tensor_at(t, k))) return false;
    }
    return true;
}

#endif
