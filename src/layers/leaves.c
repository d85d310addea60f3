/* leaves.c: every kind of layer but Sequential: what it checks, which tensors it makes, which op it calls.
 *
 * Weights are laid out as the ops want them: linear [in,out], convolution [KH,KW,in,out], transposed convolution
 * [KH,KW,out,in]. Attribute names are those of the Lua constructors. */
#include "leaves.h"

#include <string.h>

static fg_status bad(fg_layer *l, const char *what, long long value, const char *rule) {
    return fg_error(l->ctx, FG_EINVAL, "%s: %s is %lld; %s", l->def->kind, what, value, rule);
}
static fg_status positive(fg_layer *l, const char *what, long long value) {
    return value >= 1 ? FG_OK : bad(l, what, value, "it must be at least 1");
}

static fg_status add_param(fg_layer *l, const char *name, fg_shape shape) {
    fg_tensor *t = fg_tensor_new(l->ctx, FG_F32, &shape);
    if (!t) return FG_ENOMEM;
    memset(fg_data(t), 0, fg_tensor_bytes(t));
    fg_tensor_set_requires_grad(t, true);
    l->param[l->n_params] = t;
    l->param_name[l->n_params++] = name;
    return FG_OK;
}
static fg_status add_buffer(fg_layer *l, const char *name, fg_shape shape, double value) {
    fg_tensor *t = fg_tensor_new(l->ctx, FG_F32, &shape);
    if (!t) return FG_ENOMEM;
    for (int64_t i = 0; i < t->numel; i++) fg_reals(t)[i] = (fg_real)value;
    l->buffer[l->n_buffers] = t;
    l->buffer_name[l->n_buffers++] = name;
    return FG_OK;
}
static fg_tensor *bias_of(const fg_layer *l) { return l->n_params > 1 ? l->param[1] : NULL; }

#define INT(type, field, label)                                                                                                  \
    { label, FG_A_INT, true, offsetof(type, field), 0, 0 }
#define BIAS(type)                                                                                                               \
    { "bias", FG_A_NOT, false, offsetof(type, no_bias), 0, 1 }

/* ---------------------------------------------------------------- Linear */
static fg_status build_linear(fg_layer *l) {
    const fg_linear_layer *o = l->opts;
    if (positive(l, "in_features", o->in_features) != FG_OK || positive(l, "out_features", o->out_features) != FG_OK)
        return FG_EINVAL;
    fg_status st = add_param(l, "weight", FG_SHAPE(o->in_features, o->out_features));
    return st == FG_OK && !o->no_bias ? add_param(l, "bias", FG_SHAPE(o->out_features)) : st;
}
static fg_tensor *forward_linear(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    return fg_linear(s, x, l->param[0], bias_of(l), &(fg_linear_opts){ act, slope });
}
static const fg_attr attrs_linear[] = { INT(fg_linear_layer, in_features, "in_features"),
                                        INT(fg_linear_layer, out_features, "out_features"), BIAS(fg_linear_layer), FG_ATTR_END };
const fg_layer_def fg_layer_def_Linear = { .kind = "Linear",
                                           .opts_size = sizeof(fg_linear_layer),
                                           .positional = 2,
                                           .attrs = attrs_linear,
                                           .build = build_linear,
                                           .reset = fg_reset_weights,
                                           .forward = forward_linear,
                                           .fuses = true };

/* ---------------------------------------------------------------- Conv2d, ConvTranspose2d */
static fg_status build_conv(fg_layer *l) {
    fg_conv_layer *o = l->opts;
    if (positive(l, "in_channels", o->in_channels) != FG_OK || positive(l, "out_channels", o->out_channels) != FG_OK)
        return FG_EINVAL;
    for (int i = 0; i < 2; i++) {
        if (o->stride[i] == 0) o->stride[i] = 1;
        if (positive(l, "kernel_size", o->kernel[i]) != FG_OK || positive(l, "stride", o->stride[i]) != FG_OK) return FG_EINVAL;
        if (o->out_pad[i] < 0 || (o->out_pad[i] && o->out_pad[i] >= o->stride[i]))
            return bad(l, "output_padding", o->out_pad[i], "it must be in 0..stride-1");
    }
    for (int i = 0; i < 4; i++)
        if (o->pad[i] < 0) return bad(l, "padding", o->pad[i], "it must not be negative");
    bool t = !strcmp(l->def->kind, "ConvTranspose2d");
    fg_status st = add_param(
        l, "weight",
        FG_SHAPE(o->kernel[0], o->kernel[1], t ? o->out_channels : o->in_channels, t ? o->in_channels : o->out_channels));
    return st == FG_OK && !o->no_bias ? add_param(l, "bias", FG_SHAPE(o->out_channels)) : st;
}
static fg_conv2d_opts conv_opts(const fg_conv_layer *o, fg_act act, double slope) {
    fg_conv2d_opts c = { .same = o->same, .act = act, .slope = slope };
    memcpy(c.stride, o->stride, sizeof c.stride);
    memcpy(c.pad, o->pad, sizeof c.pad);
    memcpy(c.out_pad, o->out_pad, sizeof c.out_pad);
    return c;
}
static fg_tensor *forward_conv(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    fg_conv2d_opts c = conv_opts(l->opts, act, slope);
    return fg_conv2d(s, x, l->param[0], bias_of(l), &c);
}
static fg_tensor *forward_conv_t(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    fg_conv2d_opts c = conv_opts(l->opts, act, slope);
    return fg_conv_transpose2d(s, x, l->param[0], bias_of(l), &c);
}
#define CONV_ATTRS                                                                                                               \
    INT(fg_conv_layer, in_channels, "in_channels"), INT(fg_conv_layer, out_channels, "out_channels"),                            \
        { "kernel_size", FG_A_INT2, true, offsetof(fg_conv_layer, kernel), 0, 0 },                                               \
        { "stride", FG_A_INT2, false, offsetof(fg_conv_layer, stride), 0, 1 },                                                   \
        { "padding", FG_A_PAD, false, offsetof(fg_conv_layer, pad), offsetof(fg_conv_layer, same), 0 }, BIAS(fg_conv_layer)
static const fg_attr attrs_conv[] = { CONV_ATTRS, FG_ATTR_END };
static const fg_attr attrs_conv_t[] = { CONV_ATTRS,
                                        { "output_padding", FG_A_INT2, false, offsetof(fg_conv_layer, out_pad), 0, 0 },
                                        FG_ATTR_END };
const fg_layer_def fg_layer_def_Conv2d = { .kind = "Conv2d",
                                           .opts_size = sizeof(fg_conv_layer),
                                           .positional = 3,
                                           .attrs = attrs_conv,
                                           .build = build_conv,
                                           .reset = fg_reset_weights,
                                           .forward = forward_conv,
                                           .fuses = true };
const fg_layer_def fg_layer_def_ConvTranspose2d = { .kind = "ConvTranspose2d",
                                                    .opts_size = sizeof(fg_conv_layer),
                                                    .positional = 3,
                                                    .attrs = attrs_conv_t,
                                                    .build = build_conv,
                                                    .reset = fg_reset_weights,
                                                    .forward = forward_conv_t,
                                                    .fuses = true };

/* ---------------------------------------------------------------- BatchNorm */
static fg_status build_bn(fg_layer *l) {
    fg_batch_norm_layer *o = l->opts;
    if (o->eps == 0) o->eps = 1e-5;
    if (o->momentum == 0) o->momentum = 0.1;
    if (positive(l, "num_features", o->features) != FG_OK) return FG_EINVAL;
    if (!(o->eps > 0)) return fg_error(l->ctx, FG_EINVAL, "BatchNorm: eps is %g; it must be positive", o->eps);
    if (!(o->momentum > 0 && o->momentum <= 1))
        return fg_error(l->ctx, FG_EINVAL, "BatchNorm: momentum is %g; it must be in (0, 1], the weight of the new batch",
                        o->momentum);
    fg_status st = FG_OK;
    if (!o->no_affine && (st = add_param(l, "weight", FG_SHAPE(o->features))) == FG_OK)
        st = add_param(l, "bias", FG_SHAPE(o->features));
    if (st == FG_OK) st = add_buffer(l, "running_mean", FG_SHAPE(o->features), 0);
    return st == FG_OK ? add_buffer(l, "running_var", FG_SHAPE(o->features), 1) : st;
}
static fg_tensor *forward_bn(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    const fg_batch_norm_layer *o = l->opts;
    fg_batch_norm_opts b = { o->eps, o->momentum, l->training, act, slope };
    return fg_batch_norm(s, x, l->n_params ? l->param[0] : NULL, bias_of(l), l->buffer[0], l->buffer[1], &b);
}
static const fg_attr attrs_bn[] = { INT(fg_batch_norm_layer, features, "num_features"),
                                    { "eps", FG_A_REAL, false, offsetof(fg_batch_norm_layer, eps), 0, 1e-5 },
                                    { "momentum", FG_A_REAL, false, offsetof(fg_batch_norm_layer, momentum), 0, 0.1 },
                                    { "affine", FG_A_NOT, false, offsetof(fg_batch_norm_layer, no_affine), 0, 1 },
                                    FG_ATTR_END };
const fg_layer_def fg_layer_def_BatchNorm = { .kind = "BatchNorm",
                                              .opts_size = sizeof(fg_batch_norm_layer),
                                              .positional = 1,
                                              .attrs = attrs_bn,
                                              .build = build_bn,
                                              .reset = fg_reset_weights,
                                              .forward = forward_bn,
                                              .fuses = true };

/* ---------------------------------------------------------------- Dropout, Embedding */
static fg_status build_dropout(fg_layer *l) {
    double p = ((const fg_dropout_layer *)l->opts)->p;
    return p >= 0 && p < 1 ? FG_OK : fg_error(l->ctx, FG_EINVAL, "Dropout: p is %g; it must be in [0, 1)", p);
}
static fg_tensor *forward_dropout(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)act, (void)slope;
    return l->training ? fg_dropout(s, x, ((const fg_dropout_layer *)l->opts)->p) : x;
}
static const fg_attr attrs_dropout[] = { { "p", FG_A_REAL, false, offsetof(fg_dropout_layer, p), 0, 0.5 }, FG_ATTR_END };
const fg_layer_def fg_layer_def_Dropout = { .kind = "Dropout",
                                            .opts_size = sizeof(fg_dropout_layer),
                                            .positional = 1,
                                            .attrs = attrs_dropout,
                                            .build = build_dropout,
                                            .forward = forward_dropout };

static fg_status build_embedding(fg_layer *l) {
    const fg_embedding_layer *o = l->opts;
    if (positive(l, "num_embeddings", o->num_embeddings) != FG_OK || positive(l, "embedding_dim", o->dim) != FG_OK)
        return FG_EINVAL;
    return add_param(l, "weight", FG_SHAPE(o->num_embeddings, o->dim));
}
static fg_tensor *forward_embedding(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)act, (void)slope;
    if (x->dtype == FG_U8) x = fg_cast(s, x, FG_I32);
    return fg_gather(s, l->param[0], x);
}
static const fg_attr attrs_embedding[] = { INT(fg_embedding_layer, num_embeddings, "num_embeddings"),
                                           INT(fg_embedding_layer, dim, "embedding_dim"), FG_ATTR_END };
const fg_layer_def fg_layer_def_Embedding = { .kind = "Embedding",
                                              .opts_size = sizeof(fg_embedding_layer),
                                              .positional = 2,
                                              .attrs = attrs_embedding,
                                              .build = build_embedding,
                                              .reset = fg_reset_weights,
                                              .forward = forward_embedding };

/* ---------------------------------------------------------------- Flatten, Reshape, Upsample, pools */
static fg_tensor *forward_flatten(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)act, (void)slope;
    if (x->shape.ndim < 1) return fg_scope_error(s, FG_EINVAL, "%s: a scalar has no batch axis", l->def->kind);
    return fg_reshape(s, x, FG_SHAPE(x->shape.dim[0], x->shape.dim[0] ? x->numel / x->shape.dim[0] : 0));
}
const fg_layer_def fg_layer_def_Flatten = { .kind = "Flatten", .forward = forward_flatten };

static fg_status build_reshape(fg_layer *l) {
    const fg_shape *sh = &((const fg_reshape_layer *)l->opts)->shape;
    if (sh->ndim < 1 || sh->ndim > FG_MAX_RANK - 1) return bad(l, "the number of sizes", sh->ndim, "it must be 1 to 5");
    return FG_OK;
}
static fg_tensor *forward_reshape(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    const fg_shape *o = &((const fg_reshape_layer *)l->opts)->shape;
    (void)act, (void)slope;
    if (x->shape.ndim < 1) return fg_scope_error(s, FG_EINVAL, "%s: a scalar has no batch axis", l->def->kind);
    fg_shape sh = { .ndim = o->ndim + 1, .dim = { x->shape.dim[0] } };
    memcpy(sh.dim + 1, o->dim, (size_t)o->ndim * sizeof *o->dim);
    return fg_reshape(s, x, sh);
}
static const fg_attr attrs_reshape[] = { { "shape", FG_A_SHAPE, true, offsetof(fg_reshape_layer, shape), 0, 0 }, FG_ATTR_END };
const fg_layer_def fg_layer_def_Reshape = { .kind = "Reshape",
                                            .opts_size = sizeof(fg_reshape_layer),
                                            .positional = 1,
                                            .attrs = attrs_reshape,
                                            .build = build_reshape,
                                            .forward = forward_reshape };

static fg_status build_upsample(fg_layer *l) {
    const fg_upsample_layer *o = l->opts;
    return positive(l, "scale_factor", o->factor[0]) != FG_OK ? FG_EINVAL : positive(l, "scale_factor", o->factor[1]);
}
static fg_tensor *forward_upsample(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)act, (void)slope;
    return fg_upsample2d(s, x, ((const fg_upsample_layer *)l->opts)->factor);
}
static const fg_attr attrs_upsample[] = { { "scale_factor", FG_A_INT2, true, offsetof(fg_upsample_layer, factor), 0, 0 },
                                          FG_ATTR_END };
const fg_layer_def fg_layer_def_Upsample = { .kind = "Upsample",
                                             .opts_size = sizeof(fg_upsample_layer),
                                             .positional = 1,
                                             .attrs = attrs_upsample,
                                             .build = build_upsample,
                                             .forward = forward_upsample };

static fg_status build_pool(fg_layer *l) {
    const fg_pool_layer *o = l->opts;
    for (int i = 0; i < 2; i++) {
        if (positive(l, "kernel_size", o->kernel[i]) != FG_OK) return FG_EINVAL;
        if (o->stride[i] < 0) return bad(l, "stride", o->stride[i], "it must be at least 1");
    }
    return FG_OK;
}
static fg_pool_opts pool_opts(const fg_pool_layer *o) {
    fg_pool_opts p = { .size = { 0 } };
    memcpy(p.kernel, o->kernel, sizeof p.kernel);
    memcpy(p.stride, o->stride, sizeof p.stride);
    memcpy(p.pad, o->pad, sizeof p.pad);
    return p;
}
static fg_tensor *forward_avg(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    fg_pool_opts p = pool_opts(l->opts);
    (void)act, (void)slope;
    return fg_avg_pool2d(s, x, &p);
}
static fg_tensor *forward_max(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    fg_pool_opts p = pool_opts(l->opts);
    (void)act, (void)slope;
    return fg_max_pool2d(s, x, &p);
}
static const fg_attr attrs_pool[] = { { "kernel_size", FG_A_INT2, true, offsetof(fg_pool_layer, kernel), 0, 0 },
                                      { "stride", FG_A_INT2, false, offsetof(fg_pool_layer, stride), 0, 0 },
                                      { "padding", FG_A_PAD, false, offsetof(fg_pool_layer, pad), 0, 0 },
                                      FG_ATTR_END };
const fg_layer_def fg_layer_def_AvgPool2d = { .kind = "AvgPool2d",
                                              .opts_size = sizeof(fg_pool_layer),
                                              .positional = 1,
                                              .attrs = attrs_pool,
                                              .build = build_pool,
                                              .forward = forward_avg };
const fg_layer_def fg_layer_def_MaxPool2d = { .kind = "MaxPool2d",
                                              .opts_size = sizeof(fg_pool_layer),
                                              .positional = 1,
                                              .attrs = attrs_pool,
                                              .build = build_pool,
                                              .forward = forward_max };

/* ---------------------------------------------------------------- activations */
static fg_status build_act(fg_layer *l) {
    double slope = ((const fg_act_layer *)l->opts)->slope;
    return slope >= 0 ? FG_OK : fg_error(l->ctx, FG_EINVAL, "%s: slope is %g; it must not be negative", l->def->kind, slope);
}
static fg_tensor *forward_relu(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)l, (void)act, (void)slope;
    return fg_relu(s, x);
}
static fg_tensor *forward_leaky(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    double own = ((const fg_act_layer *)l->opts)->slope;
    (void)act, (void)slope;
    return fg_leaky_relu(s, x, own == 0 ? 0.01 : own);
}
static fg_tensor *forward_tanh(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)l, (void)act, (void)slope;
    return fg_tanh(s, x);
}
static fg_tensor *forward_sigmoid(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)l, (void)act, (void)slope;
    return fg_sigmoid(s, x);
}
static fg_tensor *forward_softplus(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)l, (void)act, (void)slope;
    return fg_softplus(s, x);
}
static fg_tensor *forward_identity(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    (void)s, (void)l, (void)act, (void)slope;
    return x;
}
static const fg_attr attrs_leaky[] = { { "slope", FG_A_REAL, false, offsetof(fg_act_layer, slope), 0, 0.01 }, FG_ATTR_END };
const fg_layer_def fg_layer_def_LeakyReLU = { .kind = "LeakyReLU",
                                              .opts_size = sizeof(fg_act_layer),
                                              .positional = 1,
                                              .attrs = attrs_leaky,
                                              .build = build_act,
                                              .forward = forward_leaky,
                                              .is_act = FG_ACT_LEAKY_RELU };
#define PLAIN_ACT(kind_, fn, act_) const fg_layer_def fg_layer_def_##kind_ = { .kind = #kind_, .forward = fn, .is_act = act_ };
PLAIN_ACT(ReLU, forward_relu, FG_ACT_RELU)
PLAIN_ACT(Tanh, forward_tanh, FG_ACT_TANH)
PLAIN_ACT(Sigmoid, forward_sigmoid, FG_ACT_SIGMOID)
PLAIN_ACT(Softplus, forward_softplus, FG_ACT_SOFTPLUS)
PLAIN_ACT(Identity, forward_identity, FG_ACT_NONE)
