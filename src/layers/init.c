/* init.c: initialisers: PyTorch's defaults, Keras's Glorot uniform, DCGAN's normal.
 *
 * All draw from FG_STREAM_INIT in the order of parameters, so a seed gives the same network whatever else has drawn.
 * fan_in and fan_out follow the layouts: linear [in,out]; convolution [KH,KW,in,out]; transposed convolution [KH,KW,out,in],
 * where PyTorch takes fan_in from its own layout and so arrives at out*KH*KW, and Keras at (out, in) times the kernel. */
#include "leaves.h"

#include <math.h>
#include <string.h>

static fg_status draw(fg_tensor *t, double a, double b, bool normal, const char *what) {
    fg_context *ctx = fg_tensor_context(t);
    bool grad = ctx->grad_enabled;
    if (t->dtype != FG_F32)
        return fg_error(ctx, FG_EINVAL, "%s: the tensor is %s, expected f32", what, fg_dtype_name((fg_dtype)t->dtype));
    if (!fg_enter(ctx)) return FG_EBUSY;
    ctx->grad_enabled = false; /* parameters may be written here */
    fg_status st = fg_tensor_begin_write(t, what);
    ctx->grad_enabled = grad;
    if (st == FG_OK && t->numel) {
        uint64_t key = ctx->streams[FG_STREAM_INIT].key, offset = fg_stream_advance(ctx, FG_STREAM_INIT, (uint64_t)t->numel);
        (normal ? ctx->k->normal : ctx->k->uniform)(key, offset, 0, fg_reals(t), (size_t)t->numel, (fg_real)a, (fg_real)b);
    }
    fg_leave(ctx);
    return st;
}
fg_status fg_init_uniform(fg_tensor *t, double lo, double hi) { return draw(t, lo, hi, false, "init.uniform"); }
fg_status fg_init_normal(fg_tensor *t, double mean, double std) { return draw(t, mean, std, true, "init.normal"); }

static fg_status constant(fg_tensor *t, double v) {
    bool grad = t->ctx->grad_enabled;
    t->ctx->grad_enabled = false;
    fg_status st = fg_tensor_fill(t, v);
    t->ctx->grad_enabled = grad;
    return st;
}

/* Inputs that meet in one output of the weight, and outputs that one input reaches. */
static void fans(const fg_layer *l, double *in, double *out) {
    const fg_shape *w = &l->param[0]->shape;
    double area = w->ndim == 4 ? (double)(w->dim[0] * w->dim[1]) : 1;
    *in = area * (double)w->dim[w->ndim - 2];
    *out = area * (double)w->dim[w->ndim - 1];
}

typedef enum scheme { TORCH, KERAS, DCGAN, NORMAL } scheme;

static fg_status leaf(fg_layer *l, scheme how, double std) {
    fg_status st = FG_OK;
    const char *kind = l->def->kind;
    if (!strcmp(kind, "BatchNorm")) {
        if (l->n_params) {
            st = how == DCGAN ? fg_init_normal(l->param[0], 1, std) : constant(l->param[0], 1);
            if (st == FG_OK) st = constant(l->param[1], 0);
        }
        if (st == FG_OK) st = constant(l->buffer[0], 0);
        return st == FG_OK ? constant(l->buffer[1], 1) : st;
    }
    if (!l->n_params) return FG_OK;
    double in, out;
    fans(l, &in, &out);
    bool embedding = !strcmp(kind, "Embedding");
    if (how == TORCH) {
        double bound = 1 / sqrt(in);
        if (embedding) return fg_init_normal(l->param[0], 0, 1);
        st = fg_init_uniform(l->param[0], -bound, bound);
        return st == FG_OK && l->n_params > 1 ? fg_init_uniform(l->param[1], -bound, bound) : st;
    }
    double limit = sqrt(6 / (in + out));
    if (how == KERAS) st = embedding ? fg_init_uniform(l->param[0], -0.05, 0.05) : fg_init_uniform(l->param[0], -limit, limit);
    else st = fg_init_normal(l->param[0], 0, std);
    return st == FG_OK && l->n_params > 1 ? constant(l->param[1], 0) : st;
}
static fg_status walk(fg_layer *l, scheme how, double std) {
    if (l->def) return leaf(l, how, std);
    for (int i = 0; i < l->n_children; i++) {
        fg_status st = walk(l->child[i], how, std);
        if (st != FG_OK) return st;
    }
    return FG_OK;
}
fg_status fg_reset_weights(fg_layer *l) { return leaf(l, TORCH, 0); }
fg_status fg_init_layer_torch(fg_layer *l) { return walk(l, TORCH, 0); }
fg_status fg_init_layer_keras(fg_layer *l) { return walk(l, KERAS, 0); }
fg_status fg_init_layer_dcgan(fg_layer *l) { return walk(l, DCGAN, 0.02); }
fg_status fg_init_layer_normal(fg_layer *l, double std) { return walk(l, NORMAL, std); }
