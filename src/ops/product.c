/* product.c: matrix products: matmul with transpose flags, and linear (bias and activation fused).
 *
 * Weight gradients are computed at f32 storage even under bf16 precision: leaf gradients stay f32. */
#include "gemm_call.h"

fg_status fg_run_gemm(fg_context *ctx, const fg_gemm_args *a) {
    fg_gemm_plan p;
    ctx->k->gemm_plan(a, &p);
    size_t bytes = fg_gemm_workspace(ctx, &p);
    void *work = bytes ? fg_alloc(ctx, bytes) : NULL;
    if (bytes && !work) return FG_ENOMEM;
    fg_gemm_drive(ctx, &p, a, work);
    if (bytes) fg_free(ctx, work, bytes);
    return FG_OK;
}

/* ---------------------------------------------------------------- matmul */
static fg_status infer_matmul(fg_call *c) {
    const fg_matmul_opts *o = c->opts;
    const fg_shape *a = &c->in[0]->shape, *b = &c->in[1]->shape;
    if (a->ndim != 2 || b->ndim != 2)
        return fg_op_error(c, FG_EINVAL, "expected two matrices, got %s and %s", fg_str(a), fg_str(b));
    if (a->dim[!o->ta] != b->dim[o->tb])
        return fg_op_error(c, FG_EINVAL, "%s%s has %lld column%s, %s%s has %lld row%s", fg_str(a), o->ta ? " transposed" : "",
                           (long long)a->dim[!o->ta], FG_PLURAL(a->dim[!o->ta]), fg_str(b), o->tb ? " transposed" : "",
                           (long long)b->dim[o->tb], FG_PLURAL(b->dim[o->tb]));
    c->out_shape = FG_SHAPE(a->dim[o->ta], b->dim[!o->tb]);
    return FG_OK;
}
static fg_status forward_matmul(fg_call *c) {
    const fg_matmul_opts *o = c->opts;
    const fg_shape *a = &c->in[0]->shape, *b = &c->in[1]->shape;
    fg_gemm_args g = { .m = c->out_shape.dim[0],
                       .n = c->out_shape.dim[1],
                       .k = a->dim[!o->ta],
                       .ta = o->ta,
                       .tb = o->tb,
                       .a = fg_reals(c->in[0]),
                       .b = fg_reals(c->in[1]),
                       .lda = a->dim[1],
                       .ldb = b->dim[1],
                       .ldc = c->out_shape.dim[1],
                       .c = fg_reals(c->y) };
    return fg_run_gemm(c->ctx, &g);
}
static fg_tensor *mm(fg_scope *s, fg_tensor *a, bool ta, fg_tensor *b, bool tb) {
    return fg_matmul(s, a, b, &(fg_matmul_opts){ ta, tb });
}
/* At f32 storage whatever the precision: for gradients of weights */
static fg_tensor *mm32(fg_scope *s, fg_tensor *a, bool ta, fg_tensor *b, bool tb) {
    fg_precision p = s->ctx->precision;
    s->ctx->precision = FG_PRECISION_F32;
    fg_tensor *y = mm(s, a, ta, b, tb);
    s->ctx->precision = p;
    return y;
}
static void vjp_matmul(fg_vjp *v) {
    const fg_matmul_opts *o = v->opts;
    fg_tensor *a = v->in[0], *b = v->in[1], *dy = v->dy;
    if (fg_needs(v, 0)) v->dx[0] = o->ta ? mm32(v->s, b, o->tb, dy, true) : mm32(v->s, dy, false, b, !o->tb);
    if (fg_needs(v, 1)) v->dx[1] = o->tb ? mm32(v->s, dy, true, a, o->ta) : mm32(v->s, a, !o->ta, dy, false);
}
static const fg_attr attrs_matmul[] = { FG_ATTR(FG_A_BOOL, fg_matmul_opts, ta, 0), FG_ATTR(FG_A_BOOL, fg_matmul_opts, tb, 0),
                                        FG_ATTR_END };
const fg_op fg_op_matmul = { .name = "matmul",
                             .n_min = 2,
                             .n_max = 2,
                             .flags = FG_OPF_LOWP,
                             .opts_size = sizeof(fg_matmul_opts),
                             .attrs = attrs_matmul,
                             .infer = infer_matmul,
                             .forward = forward_matmul,
                             .vjp = vjp_matmul,
                             .save_in = { 2, 1 } };
fg_tensor *fg_matmul(fg_scope *s, fg_tensor *a, fg_tensor *b, const fg_matmul_opts *o) {
    return fg_op_apply(s, &fg_op_matmul, (fg_tensor *[]){ a, b }, 2, o);
}

/* ---------------------------------------------------------------- linear */
fg_status fg_check_bias(fg_call *c, const fg_tensor *bias, int64_t n) {
    if (!bias || (bias->shape.ndim == 1 && bias->shape.dim[0] == n)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "bias is %s, expected [%lld]", fg_str(&bias->shape), (long long)n);
}
static fg_status infer_linear(fg_call *c) {
    const fg_shape *x = &c->in[0]->shape, *w = &c->in[1]->shape;
    if (x->ndim != 2 || w->ndim != 2)
        return fg_op_error(c, FG_EINVAL, "expected input [N,in] and weight [in,out], got %s and %s", fg_str(x), fg_str(w));
    if (x->dim[1] != w->dim[0])
        return fg_op_error(c, FG_EINVAL, "input %s has %lld feature%s, weight %s expects %lld", fg_str(x), (long long)x->dim[1],
                           FG_PLURAL(x->dim[1]), fg_str(w), (long long)w->dim[0]);
    c->wide = FG_ACT_WIDE(((const fg_linear_opts *)c->opts)->act);
    c->out_shape = FG_SHAPE(x->dim[0], w->dim[1]);
    return fg_check_bias(c, c->in[2], w->dim[1]);
}
static fg_status forward_linear(fg_call *c) {
    const fg_linear_opts *o = c->opts;
    const fg_shape *x = &c->in[0]->shape;
    int64_t out = c->out_shape.dim[1];
    fg_gemm_args g = { .m = x->dim[0],
                       .n = out,
                       .k = x->dim[1],
                       .a = fg_reals(c->in[0]),
                       .b = fg_reals(c->in[1]),
                       .lda = x->dim[1],
                       .ldb = out,
                       .ldc = out,
                       .c = fg_reals(c->y),
                       .bias = c->in[2] ? fg_reals(c->in[2]) : NULL,
                       .act = o->act,
                       .slope = (fg_real)o->slope };
    return fg_run_gemm(c->ctx, &g);
}
static bool has_act(const void *opts) { return ((const fg_linear_opts *)opts)->act != FG_ACT_NONE; }
static void back_linear(fg_vjp *v, fg_tensor *g) {
    if (fg_needs(v, 0)) v->dx[0] = mm(v->s, g, false, v->in[1], true);
    if (fg_needs(v, 1)) v->dx[1] = mm32(v->s, v->in[0], true, g, false);
}
static void vjp_linear(fg_vjp *v) {
    const fg_linear_opts *o = v->opts;
    fg_tensor *g = fg_act_grad(v->s, v->dy, v->y, o->act, o->slope);
    if (v->n > 2 && fg_needs(v, 2)) v->dx[2] = fg_sum(v->s, g, FG_AXES(0), false);
    back_linear(v, g);
}
static void fast_linear(fg_vjp *v) {
    const fg_linear_opts *o = v->opts;
    back_linear(v, fg_vjp_act_bias(v, o->act, o->slope, 2));
}
static const fg_attr attrs_linear[] = { FG_ATTR(FG_A_ACT, fg_linear_opts, act, 0),
                                        FG_ATTR(FG_A_REAL, fg_linear_opts, slope, 0.01), FG_ATTR_END };
const fg_op fg_op_linear = { .name = "linear",
                             .n_min = 2,
                             .n_max = 3,
                             .optional = 4,
                             .flags = FG_OPF_LOWP | FG_OPF_RAW,
                             .opts_size = sizeof(fg_linear_opts),
                             .attrs = attrs_linear,
                             .infer = infer_linear,
                             .forward = forward_linear,
                             .vjp = vjp_linear,
                             .vjp_fast = fast_linear,
                             .save_in = { 2, 1 },
                             .save_out = 7,
                             .save_out_if = has_act };
fg_tensor *fg_linear(fg_scope *s, fg_tensor *x, fg_tensor *w, fg_tensor *bias, const fg_linear_opts *o) {
    if (x && w && x->shape.ndim > 2 && w->shape.ndim == 2) { /* [..., in]: every leading axis is a batch axis */
        fg_shape sh = x->shape;
        int64_t in = sh.dim[sh.ndim - 1];
        if (in == w->shape.dim[0]) {
            fg_tensor *y = fg_linear(s, fg_reshape(s, x, FG_SHAPE(x->numel / (in ? in : 1), in)), w, bias, o);
            sh.dim[sh.ndim - 1] = w->shape.dim[1];
            return fg_reshape(s, y, sh);
        }
    }
    return fg_op_apply(s, &fg_op_linear, (fg_tensor *[]){ x, w, bias }, 3, o);
}
