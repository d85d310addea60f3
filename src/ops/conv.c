/* conv.c: the closed convolution family: conv2d, its adjoint in the input (conv_transpose2d) and in the weight (conv2d_dw).
 *
 * One geometry describes all three: the strided convolution x[N,H,W,CI] * w[KH,KW,CI,CO] -> y[N,OH,OW,CO]. The gradient of
 * each member is made of the other two, so gradients of any order stay in the family:
 *
 *     y  = conv(x, w)       dx = convT(dy, w)    dw = conv_dw(x, dy)
 *     x  = convT(y, w)      dy = conv(dx, w)     dw = conv_dw(dx, y)
 *     dw = conv_dw(x, y)    dx = convT(y, ddw)   dy = conv(x, ddw)
 *
 * Only top and left padding enter the geometry: bottom and right are implied by the output size, which makes the members
 * exact adjoints whatever rounding the stride did. */
#include "gemm_call.h"
#include "packed.h"

typedef struct conv_opts {
    fg_conv2d_opts o;
    int kernel[2]; /* conv2d_dw only */
    bool wide;     /* the result is f32 in every precision: the gradient of an f32 input */
    int exact;     /* mask of inputs that f32 kernels take unrounded under bf16 precision */
    /* or NULL: the result is a gradient, taken on through o.act at these outputs of it (fg_vjp.gate); in f32 alone, and not
     * recorded */
    fg_tensor *gate;
} conv_opts;

static fg_status check_opts(fg_call *c, fg_conv2d_opts *o) {
    for (int i = 0; i < 2; i++) {
        if (o->stride[i] == 0) o->stride[i] = 1;
        if (o->stride[i] < 0 || o->stride[i] > 1024)
            return fg_op_error(c, FG_EINVAL, "stride %d is not in 1..1024", o->stride[i]);
        if (o->out_pad[i] < 0 || o->out[i] < 0)
            return fg_op_error(c, FG_EINVAL, "output padding %d and output size %d must not be negative", o->out_pad[i],
                               o->out[i]);
    }
    for (int i = 0; i < 4; i++)
        if (o->pad[i] < 0 || o->pad[i] > 1 << 20) return fg_op_error(c, FG_EINVAL, "padding %d is not in 0..1048576", o->pad[i]);
    if (!(o->slope >= 0)) return fg_op_error(c, FG_EINVAL, "slope %g is negative; it must be >= 0", o->slope);
    return FG_OK;
}
static fg_status check_rank4(fg_call *c, const char *what, const fg_shape *sh, const char *layout) {
    if (sh->ndim == 4) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "%s is %s, expected %s", what, fg_str(sh), layout);
}
/* TensorFlow's "same" for an input of size in: out = ceil(in / stride), the odd pixel of padding after. */
static void same_pad(int64_t in, int k, int stride, int *before, int *after) {
    int64_t out = (in + stride - 1) / stride, total = (out - 1) * stride + k - in;
    if (total < 0) total = 0;
    *before = (int)(total / 2);
    *after = (int)(total - total / 2);
}

/* A convolution in f32 that is one matrix product: false when it is none. */
static bool run_product(fg_call *c, const fg_conv_geom *g, fg_conv_dir dir, fg_act act, double slope, fg_status *st) {
    const fg_tensor *gate = ((const conv_opts *)c->opts)->gate;
    fg_tensor *bias = c->n > 2 ? c->in[2] : NULL;
    fg_gemm_args p;
    bool real = !c->low && c->in[0]->dtype == FG_F32 && c->in[1]->dtype == FG_F32;
    if (!real || (bias && dir != FG_CONV_FWD) || !fg_conv_product(g, dir, &p)) return false;
    p.a = fg_reals(c->in[0]), p.b = fg_reals(c->in[1]), p.c = fg_reals(c->y);
    p.bias = bias ? fg_reals(bias) : NULL, p.act = act, p.slope = (fg_real)slope;
    p.gate = gate ? fg_reals(gate) : NULL;
    *st = fg_run_gemm(c->ctx, &p, c->in[1]);
    return true;
}

/* Runs one direction; in[0] is x (FWD, DW) or dy (DX), in[1] the weight or, for DW, dy. Under bf16 precision a kernel that
 * takes bf16 gets it; otherwise operands are rounded, widened and given to the f32 kernels, Winograd's among them. */
static fg_status run_conv(fg_call *c, const fg_conv_geom *g, fg_conv_dir dir, fg_act act, double slope) {
    fg_context *ctx = c->ctx;
    const conv_opts *o = c->opts;
    int exact = o->exact;
    fg_status st = FG_OK;
    if (!c->y->numel || run_product(c, g, dir, act, slope, &st)) return st;
    unsigned flags = ctx->fast_conv ? FG_CONV_FAST : 0;
    fg_conv_plan p;
    bool half = c->low && fg_conv_choose(ctx->k, g, dir, flags | FG_CONV_BF16, &p);
    if (!half) fg_conv_choose(ctx->k, g, dir, flags, &p);
    fg_tensor *in[2] = { c->in[0], dir == FG_CONV_DW ? c->in[1] : NULL }, *y = c->low && !half ? fg_real_output(c) : c->y;
    for (int i = 0; i < 2 && c->low; i++)
        if (in[i] && half && !(in[i] = fg_half_input(c, i))) return FG_ENOMEM;
        else if (in[i] && !half && !(in[i]->dtype == FG_F32 && (exact >> i & 1)) && !(in[i] = fg_rounded_input(c, i)))
            return FG_ENOMEM;
    if (!y) return FG_ENOMEM;
    fg_tensor *bias = c->n > 2 ? c->in[2] : NULL, *x = dir == FG_CONV_DX ? NULL : in[0], *dy = dir == FG_CONV_DX ? in[0] : in[1];
    bool gates = o->gate && p.kernel->gates;
    fg_conv_args a = { .bias = bias ? fg_reals(bias) : NULL, .act = o->gate && !gates ? FG_ACT_NONE : act };
    a.slope = (fg_real)slope, a.gate = gates ? fg_reals(o->gate) : NULL;
    if (half) a.x16 = x ? fg_data(x) : NULL, a.dy16 = dy ? fg_data(dy) : NULL;
    else a.x = x ? fg_reals(x) : NULL, a.dy = dy ? fg_reals(dy) : NULL;
    if (y->dtype == FG_BF16) a.out16 = fg_data(y);
    else a.out = fg_reals(y);

    size_t bytes = fg_conv_workspace(ctx, &p);
    void *work = bytes ? fg_alloc(ctx, bytes) : NULL; /* before the packed weights: making room may drop that cache */
    if (bytes && !work) return FG_ENOMEM;
    fg_packed w = { 0 };
    bool round = c->low && !half;
    if (dir != FG_CONV_DW) {
        fg_tensor *t = c->in[1];
        if (t->dtype == FG_BF16) t = fg_rounded_input(c, 1), round = false;
        if (t && p.packed) w = fg_packed_conv(ctx, t, &p, round), a.packed = w.data, a.w = fg_reals(t);
        else if (t && round) w = fg_packed_rounded(ctx, t), a.w = w.data;
        else if (t) a.w = fg_reals(t);
    }
    if (dir != FG_CONV_DW && (!a.w || (p.packed && !a.packed))) st = FG_ENOMEM;
    if (st == FG_OK) fg_conv_drive(ctx, &p, &a, work);
    if (st == FG_OK && o->gate && !gates)
        fg_run_unary_grad(ctx, fg_act_unary(act), fg_span_of(y), fg_span_of(o->gate), fg_span_of(y), y->numel, a.slope, 0);
    fg_packed_free(ctx, w);
    if (bytes) fg_free(ctx, work, bytes);
    if (st == FG_OK) fg_real_output_done(c, y);
    return st;
}

/* ---------------------------------------------------------------- conv2d */
static fg_status infer_conv(fg_call *c) {
    fg_conv2d_opts *o = &((conv_opts *)c->opts)->o;
    const fg_shape *x = &c->in[0]->shape, *w = &c->in[1]->shape;
    if (check_rank4(c, "input", x, "[N,H,W,C]") != FG_OK || check_rank4(c, "weight", w, "[KH,KW,in,out]") != FG_OK ||
        check_opts(c, o) != FG_OK)
        return FG_EINVAL;
    if (x->dim[3] != w->dim[2])
        return fg_op_error(c, FG_EINVAL, "input %s has %lld channel%s, weight %s expects %lld", fg_str(x), (long long)x->dim[3],
                           FG_PLURAL(x->dim[3]), fg_str(w), (long long)w->dim[2]);
    c->wide = FG_ACT_WIDE(o->act) || ((const conv_opts *)c->opts)->wide;
    c->out_shape = *x;
    c->out_shape.dim[3] = w->dim[3];
    for (int i = 0; i < 2; i++) {
        int64_t in = x->dim[1 + i], k = w->dim[i], out = o->out[i];
        int *pad = &o->pad[2 * i];
        if (k < 1 || k > 1 << 16) return fg_op_error(c, FG_EINVAL, "weight %s has an impossible kernel", fg_str(w));
        if (o->same) same_pad(in, (int)k, o->stride[i], &pad[0], &pad[1]);
        int64_t span = in + pad[0] + pad[1] - k;
        if (!out) {
            if (span < 0)
                return fg_op_error(c, FG_EINVAL, "kernel %lldx%lld does not fit input %s with padding {%d,%d,%d,%d}",
                                   (long long)w->dim[0], (long long)w->dim[1], fg_str(x), o->pad[0], o->pad[1], o->pad[2],
                                   o->pad[3]);
            out = span / o->stride[i] + 1;
        }
        c->out_shape.dim[1 + i] = out;
    }
    return fg_check_bias(c, c->n > 2 ? c->in[2] : NULL, w->dim[3]);
}
static fg_conv_geom geom_of(const fg_shape *x, const fg_shape *w, const fg_shape *y, const fg_conv2d_opts *o) {
    return (fg_conv_geom){ .n = x->dim[0],
                           .h = x->dim[1],
                           .w = x->dim[2],
                           .ci = w->dim[2],
                           .oh = y->dim[1],
                           .ow = y->dim[2],
                           .co = w->dim[3],
                           .kh = (int)w->dim[0],
                           .kw = (int)w->dim[1],
                           .sh = o->stride[0],
                           .sw = o->stride[1],
                           .pt = o->pad[0],
                           .pl = o->pad[2] };
}
static fg_status forward_conv(fg_call *c) {
    const fg_conv2d_opts *o = &((const conv_opts *)c->opts)->o;
    fg_conv_geom g = geom_of(&c->in[0]->shape, &c->in[1]->shape, &c->out_shape, o);
    return run_conv(c, &g, FG_CONV_FWD, o->act, o->slope);
}
/* Options of the other two members: same strides and leading padding, sizes given outright, no activation. */
static fg_conv2d_opts bare_opts(const fg_conv2d_opts *o, const fg_shape *out) {
    fg_conv2d_opts b = { .stride = { o->stride[0], o->stride[1] }, .pad = { o->pad[0], o->pad[1], o->pad[2], o->pad[3] } };
    if (out) b.out[0] = (int)out->dim[1], b.out[1] = (int)out->dim[2];
    return b;
}
/* Whether the gradient of input 0, op(g, w), shall go on through the activation that the engine offers. */
static bool takes_gate(const fg_vjp *v, const fg_tensor *g, const fg_tensor *w) {
    return v->gate && v->ctx->precision == FG_PRECISION_F32 && g && g->dtype == FG_F32 && w->dtype == FG_F32 &&
           v->node->edge[0].dtype == FG_F32;
}
/* The gradient of input i through another member: op(a, b) */
static fg_tensor *member(fg_vjp *v, int i, const fg_op *op, fg_tensor *a, fg_tensor *b, const fg_shape *out, int exact) {
    conv_opts full = { .o = bare_opts(&((const conv_opts *)v->opts)->o, out),
                       .wide = v->node->edge[i].dtype != FG_BF16,
                       .exact = exact };
    if (i == 0 && takes_gate(v, a, b)) {
        full.gate = v->gate, full.o.act = v->gate_act, full.o.slope = v->gate_slope;
        v->gated = true;
    }
    if (op == &fg_op_conv2d_dw)
        for (int k = 0; k < 2; k++) full.kernel[k] = (int)fg_in_shape(v, i)->dim[k];
    return fg_op_apply(v->s, op, (fg_tensor *[]){ a, b, NULL }, op->n_max, &full);
}
/* The gradient before bias and activation, which two products will read, and the bias's: in recorded ops, or (fast) fused in one
 * pass. Where f32 kernels run under bf16 precision it is made in f32 at once instead of being rounded and widened again by each
 * of them. dx: the direction of the input's gradient. */
static fg_tensor *before_act(fg_vjp *v, const fg_conv_geom *g, fg_conv_dir dx, bool fast, bool *exact) {
    const fg_conv2d_opts *o = &((const conv_opts *)v->opts)->o;
    const fg_context *ctx = v->ctx;
    unsigned flags = FG_CONV_BF16 | (ctx->fast_conv ? FG_CONV_FAST : 0);
    fg_conv_plan p;
    *exact = !v->create_graph && ctx->precision == FG_PRECISION_BF16 && !fg_conv_choose(ctx->k, g, dx, flags, &p) &&
             !fg_conv_choose(ctx->k, g, FG_CONV_DW, flags, &p);
    if (fast && !*exact) return fg_vjp_act_bias(v, o->act, o->slope, 2);
    fg_act act = v->dy_gated ? FG_ACT_NONE : (fg_act)o->act;
    fg_tensor *dy = (*exact ? fg_act_grad_wide : fg_act_grad)(v->s, v->dy, v->y, act, o->slope);
    if (v->n > 2 && fg_needs(v, 2)) v->dx[2] = fg_sum(v->s, dy, FG_AXES(0, 1, 2), false);
    return dy;
}
static bool has_act(const void *opts) { return ((const conv_opts *)opts)->o.act != FG_ACT_NONE; }
static fg_act ends_in(const void *opts, double *slope) {
    const conv_opts *o = opts;
    *slope = o->o.slope;
    return (fg_act)o->o.act;
}
static void back_conv(fg_vjp *v, bool fast) {
    const fg_shape *x = fg_in_shape(v, 0), *w = fg_in_shape(v, 1);
    fg_conv_geom geom = geom_of(x, w, &v->node->shape, &((const conv_opts *)v->opts)->o);
    bool exact;
    fg_tensor *g = before_act(v, &geom, FG_CONV_DX, fast, &exact);
    if (fg_needs(v, 0)) v->dx[0] = member(v, 0, &fg_op_conv_transpose2d, g, v->in[1], x, exact ? 1 : 0);
    if (fg_needs(v, 1)) v->dx[1] = member(v, 1, &fg_op_conv2d_dw, v->in[0], g, NULL, exact ? 2 : 0);
}
static void vjp_conv(fg_vjp *v) { back_conv(v, false); }
static void fast_conv(fg_vjp *v) { back_conv(v, true); }
#define CONV_ATTRS                                                                                                               \
    { "stride", FG_A_INT2, false, offsetof(conv_opts, o.stride), 0, 1 },                                                         \
        { "padding", FG_A_PAD, false, offsetof(conv_opts, o.pad), offsetof(conv_opts, o.same), 0 },                              \
        { "act", FG_A_ACT, false, offsetof(conv_opts, o.act), 0, 0 }, {                                                          \
        "slope", FG_A_REAL, false, offsetof(conv_opts, o.slope), 0, 0.01                                                         \
    }
static const fg_attr attrs_conv[] = { CONV_ATTRS,
                                      { "output_size", FG_A_INT2, false, offsetof(conv_opts, o.out), 0, 0 },
                                      FG_ATTR_END };
const fg_op fg_op_conv2d = { .name = "conv2d",
                             .n_min = 2,
                             .n_max = 3,
                             .optional = 4,
                             .flags = FG_OPF_LOWP,
                             .half = 3,
                             .opts_size = sizeof(conv_opts),
                             .attrs = attrs_conv,
                             .infer = infer_conv,
                             .forward = forward_conv,
                             .vjp = vjp_conv,
                             .vjp_fast = fast_conv,
                             .ends_in = ends_in,
                             .save_in = { 2, 1 },
                             .save_out = 7,
                             .save_out_if = has_act };
static fg_tensor *call(fg_scope *s, const fg_op *op, fg_tensor *a, fg_tensor *b, fg_tensor *bias, const fg_conv2d_opts *o) {
    conv_opts full = { .kernel = { 0 } };
    if (o) full.o = *o;
    return fg_op_apply(s, op, (fg_tensor *[]){ a, b, bias }, 3, &full);
}
fg_tensor *fg_conv2d(fg_scope *s, fg_tensor *x, fg_tensor *w, fg_tensor *bias, const fg_conv2d_opts *o) {
    return call(s, &fg_op_conv2d, x, w, bias, o);
}

/* ---------------------------------------------------------------- conv_transpose2d: x[N,OH,OW,CO of the convolution] */
static fg_status infer_transposed(fg_call *c) {
    fg_conv2d_opts *o = &((conv_opts *)c->opts)->o;
    const fg_shape *x = &c->in[0]->shape, *w = &c->in[1]->shape;
    if (check_rank4(c, "input", x, "[N,H,W,C]") != FG_OK || check_rank4(c, "weight", w, "[KH,KW,out,in]") != FG_OK ||
        check_opts(c, o) != FG_OK)
        return FG_EINVAL;
    if (x->dim[3] != w->dim[3])
        return fg_op_error(c, FG_EINVAL, "input %s has %lld channel%s, weight %s expects %lld", fg_str(x), (long long)x->dim[3],
                           FG_PLURAL(x->dim[3]), fg_str(w), (long long)w->dim[3]);
    c->wide = FG_ACT_WIDE(o->act) || ((const conv_opts *)c->opts)->wide;
    c->out_shape = *x;
    c->out_shape.dim[3] = w->dim[2];
    for (int i = 0; i < 2; i++) {
        int64_t in = x->dim[1 + i], k = w->dim[i], st = o->stride[i], out = o->out[i];
        int *pad = &o->pad[2 * i];
        if (k < 1 || k > 1 << 16) return fg_op_error(c, FG_EINVAL, "weight %s has an impossible kernel", fg_str(w));
        if (o->out_pad[i] >= st && o->out_pad[i] > 0)
            return fg_op_error(c, FG_EINVAL, "output padding %d must be below the stride %lld", o->out_pad[i], (long long)st);
        if (o->same) { /* the adjoint of TF's same convolution from in*stride to in */
            if (!out) out = in * st;
            same_pad(out, (int)k, (int)st, &pad[0], &pad[1]);
        }
        if (!out) out = (in - 1) * st - pad[0] - pad[1] + k + o->out_pad[i];
        if (out < 1)
            return fg_op_error(c, FG_EINVAL, "input %s with kernel %lldx%lld and padding {%d,%d,%d,%d} leaves no output",
                               fg_str(x), (long long)w->dim[0], (long long)w->dim[1], o->pad[0], o->pad[1], o->pad[2], o->pad[3]);
        if (out > INT32_MAX) return fg_op_error(c, FG_EINVAL, "output of %lld pixels is too large", (long long)out);
        c->out_shape.dim[1 + i] = out;
    }
    return fg_check_bias(c, c->n > 2 ? c->in[2] : NULL, w->dim[2]);
}
static fg_status forward_transposed(fg_call *c) {
    const fg_conv2d_opts *o = &((const conv_opts *)c->opts)->o;
    fg_conv_geom g = geom_of(&c->out_shape, &c->in[1]->shape, &c->in[0]->shape, o);
    return run_conv(c, &g, FG_CONV_DX, o->act, o->slope);
}
static void back_transposed(fg_vjp *v, bool fast) {
    const fg_shape *x = fg_in_shape(v, 0), *w = fg_in_shape(v, 1);
    fg_conv_geom geom = geom_of(&v->node->shape, w, x, &((const conv_opts *)v->opts)->o);
    bool exact;
    fg_tensor *g = before_act(v, &geom, FG_CONV_FWD, fast, &exact);
    if (fg_needs(v, 0)) v->dx[0] = member(v, 0, &fg_op_conv2d, g, v->in[1], x, exact ? 1 : 0);
    if (fg_needs(v, 1)) v->dx[1] = member(v, 1, &fg_op_conv2d_dw, g, v->in[0], NULL, exact ? 1 : 0);
}
static void vjp_transposed(fg_vjp *v) { back_transposed(v, false); }
static void fast_transposed(fg_vjp *v) { back_transposed(v, true); }
static const fg_attr attrs_transposed[] = { CONV_ATTRS,
                                            { "output_padding", FG_A_INT2, false, offsetof(conv_opts, o.out_pad), 0, 0 },
                                            { "output_size", FG_A_INT2, false, offsetof(conv_opts, o.out), 0, 0 },
                                            FG_ATTR_END };
const fg_op fg_op_conv_transpose2d = { .name = "conv_transpose2d",
                                       .n_min = 2,
                                       .n_max = 3,
                                       .optional = 4,
                                       .flags = FG_OPF_LOWP,
                                       .half = 3,
                                       .opts_size = sizeof(conv_opts),
                                       .attrs = attrs_transposed,
                                       .infer = infer_transposed,
                                       .forward = forward_transposed,
                                       .vjp = vjp_transposed,
                                       .vjp_fast = fast_transposed,
                                       .ends_in = ends_in,
                                       .save_in = { 2, 1 },
                                       .save_out = 7,
                                       .save_out_if = has_act };
fg_tensor *fg_conv_transpose2d(fg_scope *s, fg_tensor *x, fg_tensor *w, fg_tensor *bias, const fg_conv2d_opts *o) {
    return call(s, &fg_op_conv_transpose2d, x, w, bias, o);
}

/* ---------------------------------------------------------------- conv2d_dw */
static fg_status infer_dw(fg_call *c) {
    conv_opts *full = c->opts;
    const fg_shape *x = &c->in[0]->shape, *y = &c->in[1]->shape;
    if (check_rank4(c, "input", x, "[N,H,W,C]") != FG_OK || check_rank4(c, "gradient", y, "[N,OH,OW,C]") != FG_OK ||
        check_opts(c, &full->o) != FG_OK)
        return FG_EINVAL;
    if (full->kernel[0] < 1 || full->kernel[1] < 1)
        return fg_op_error(c, FG_EINVAL, "kernel %dx%d is empty", full->kernel[0], full->kernel[1]);
    if (x->dim[0] != y->dim[0])
        return fg_op_error(c, FG_EINVAL, "input %s and gradient %s differ in batch size", fg_str(x), fg_str(y));
    if (full->o.same)
        for (int i = 0; i < 2; i++)
            same_pad(x->dim[1 + i], full->kernel[i], full->o.stride[i], &full->o.pad[2 * i], &full->o.pad[2 * i + 1]);
    c->out_shape = FG_SHAPE(full->kernel[0], full->kernel[1], x->dim[3], y->dim[3]);
    return FG_OK;
}
static fg_status forward_dw(fg_call *c) {
    const fg_conv2d_opts *o = &((const conv_opts *)c->opts)->o;
    fg_conv_geom g = geom_of(&c->in[0]->shape, &c->out_shape, &c->in[1]->shape, o);
    return run_conv(c, &g, FG_CONV_DW, FG_ACT_NONE, 0);
}
static void vjp_dw(fg_vjp *v) {
    if (fg_needs(v, 0)) v->dx[0] = member(v, 0, &fg_op_conv_transpose2d, v->in[1], v->dy, fg_in_shape(v, 0), 0);
    if (fg_needs(v, 1)) v->dx[1] = member(v, 1, &fg_op_conv2d, v->in[0], v->dy, fg_in_shape(v, 1), 0);
}
static const fg_attr attrs_dw[] = { { "kernel", FG_A_INT2, true, offsetof(conv_opts, kernel), 0, 0 },
                                    { "stride", FG_A_INT2, false, offsetof(conv_opts, o.stride), 0, 1 },
                                    { "padding", FG_A_PAD, false, offsetof(conv_opts, o.pad), offsetof(conv_opts, o.same), 0 },
                                    FG_ATTR_END };
/* Rounds its inputs under bf16 precision, yet emits f32: it makes gradients of weights. */
const fg_op fg_op_conv2d_dw = { .name = "conv2d_dw",
                                .n_min = 2,
                                .n_max = 2,
                                .flags = FG_OPF_LOWP | FG_OPF_OUT32,
                                .half = 3,
                                .opts_size = sizeof(conv_opts),
                                .attrs = attrs_dw,
                                .infer = infer_dw,
                                .forward = forward_dw,
                                .vjp = vjp_dw,
                                .save_in = { 2, 1 } };
fg_tensor *fg_conv2d_dw(fg_scope *s, fg_tensor *x, fg_tensor *dy, const int kernel[2], const fg_conv2d_opts *o) {
    conv_opts full = { .kernel = { kernel[0], kernel[1] } };
    if (o) full.o = *o;
    return fg_op_apply(s, &fg_op_conv2d_dw, (fg_tensor *[]){ x, dy }, 2, &full);
}
