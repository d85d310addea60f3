/* loss.c: losses that deserve a stable formula of their own: binary cross-entropy from probabilities and from logits, and
 * cross-entropy from logits and integer labels. All per element; reduce with mean. */
#include "op.h"

#include <math.h>
#include <string.h>

static fg_status infer_pair(fg_call *c) {
    c->out_shape = c->in[0]->shape;
    if (fg_shape_equal(&c->in[0]->shape, &c->in[1]->shape)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "input %s and target %s differ in shape", fg_str(&c->in[0]->shape),
                       fg_str(&c->in[1]->shape));
}
/* A target that broadcasts to the input (one label for a whole batch) is stretched first. */
static fg_tensor *stretch(fg_scope *s, fg_tensor *x, fg_tensor *target) {
    fg_shape sh;
    if (x && target && !fg_shape_equal(&x->shape, &target->shape) && fg_broadcast(&x->shape, &target->shape, &sh) &&
        fg_shape_equal(&sh, &x->shape))
        return fg_broadcast_to(s, target, sh);
    return target;
}

/* ---------------------------------------------------------------- from probabilities */
#define CLAMP 1e-7
static fg_status forward_bce(fg_call *c) {
    const fg_real *p = fg_reals(c->in[0]), *t = fg_reals(c->in[1]);
    fg_real *y = fg_reals(c->y);
    for (int64_t i = 0; i < c->y->numel; i++) {
        double q = p[i] < CLAMP ? CLAMP : p[i] > 1 - CLAMP ? 1 - CLAMP : (double)p[i];
        y[i] = (fg_real) - (t[i] * log(q) + (1 - t[i]) * log1p(-q));
    }
    return FG_OK;
}
static void vjp_bce(fg_vjp *v) {
    fg_scope *s = v->s;
    fg_tensor *p = v->in[0], *t = v->in[1];
    fg_tensor *q = fg_clamp(s, p, CLAMP, 1 - CLAMP), *r = fg_affine(s, q, -1, 1);
    if (fg_needs(v, 0)) {
        fg_tensor *lo = fg_full(s, FG_F32, FG_SCALAR, CLAMP), *hi = fg_full(s, FG_F32, FG_SCALAR, 1 - CLAMP);
        fg_tensor *inside = fg_mul(s, fg_ge(s, p, lo), fg_le(s, p, hi));
        v->dx[0] = fg_mul(s, fg_mul(s, v->dy, inside), fg_div(s, fg_sub(s, q, t), fg_mul(s, q, r)));
    }
    if (fg_needs(v, 1)) v->dx[1] = fg_mul(s, v->dy, fg_sub(s, fg_log(s, r), fg_log(s, q)));
}
const fg_op fg_op_bce = {
    .name = "bce", .n_min = 2, .n_max = 2, .infer = infer_pair, .forward = forward_bce, .vjp = vjp_bce, .save_in = { 3, 1 }
};
fg_tensor *fg_bce(fg_scope *s, fg_tensor *p, fg_tensor *target) {
    return fg_op_apply(s, &fg_op_bce, (fg_tensor *[]){ p, stretch(s, p, target) }, 2, NULL);
}

/* ---------------------------------------------------------------- from logits: max(x,0) - x t + log(1 + exp(-|x|)) */
static fg_status forward_bce_logits(fg_call *c) {
    const fg_real *x = fg_reals(c->in[0]), *t = fg_reals(c->in[1]);
    fg_real *y = fg_reals(c->y);
    int64_t n = c->y->numel;
    fg_run_unary(c->ctx, FG_UN_ABS, fg_span_reals(x), fg_span_reals(y), n, 0, 0);
    fg_run_unary(c->ctx, FG_UN_AFFINE, fg_span_reals(y), fg_span_reals(y), n, -1, 0);
    fg_run_unary(c->ctx, FG_UN_SOFTPLUS, fg_span_reals(y), fg_span_reals(y), n, 0, 0);
    for (int64_t i = 0; i < n; i++) y[i] += (x[i] > 0 ? x[i] : 0) - x[i] * t[i];
    return FG_OK;
}
static void vjp_bce_logits(fg_vjp *v) {
    fg_scope *s = v->s;
    fg_tensor *x = v->in[0], *t = v->in[1];
    if (fg_needs(v, 0)) v->dx[0] = fg_mul(s, v->dy, fg_sub(s, fg_sigmoid(s, x), t));
    if (fg_needs(v, 1)) v->dx[1] = fg_neg(s, fg_mul(s, v->dy, x));
}
const fg_op fg_op_bce_logits = { .name = "bce_logits",
                                 .n_min = 2,
                                 .n_max = 2,
                                 .infer = infer_pair,
                                 .forward = forward_bce_logits,
                                 .vjp = vjp_bce_logits,
                                 .save_in = { 3, 1 } };
fg_tensor *fg_bce_logits(fg_scope *s, fg_tensor *x, fg_tensor *target) {
    return fg_op_apply(s, &fg_op_bce_logits, (fg_tensor *[]){ x, stretch(s, x, target) }, 2, NULL);
}

/* ---------------------------------------------------------------- cross-entropy */
static fg_status infer_ce(fg_call *c) {
    const fg_tensor *x = c->in[0], *labels = c->in[1];
    if (x->dtype != FG_F32) return fg_op_error(c, FG_EINVAL, "logits are %s, expected f32", fg_dtype_name((fg_dtype)x->dtype));
    if (labels->dtype != FG_I32)
        return fg_op_error(c, FG_EINVAL, "labels are %s, expected i32", fg_dtype_name((fg_dtype)labels->dtype));
    if (x->shape.ndim != 2 || labels->shape.ndim != 1 || labels->shape.dim[0] != x->shape.dim[0])
        return fg_op_error(c, FG_EINVAL, "expected logits [N,K] and labels [N], got %s and %s", fg_str(&x->shape),
                           fg_str(&labels->shape));
    const int32_t *l = fg_data(labels);
    for (int64_t i = 0; i < labels->numel; i++)
        if (l[i] < 0 || l[i] >= x->shape.dim[1])
            return fg_op_error(c, FG_EINVAL, "label %d at position %lld is not in 0..%lld", l[i],
                               (long long)i + c->ctx->index_base, (long long)x->shape.dim[1] - 1);
    c->out_shape = FG_SHAPE(x->shape.dim[0]);
    c->out_dtype = FG_F32;
    return FG_OK;
}
static fg_status forward_ce(fg_call *c) {
    int64_t n = c->in[0]->shape.dim[0], k = c->in[0]->shape.dim[1];
    if (n == 0) return FG_OK;
    size_t bytes = (size_t)(n * k) * sizeof(fg_real);
    fg_real *lp = fg_alloc(c->ctx, bytes), *y = fg_reals(c->y);
    if (!lp) return FG_ENOMEM;
    const int32_t *l = fg_data(c->in[1]);
    c->ctx->k->log_softmax(fg_reals(c->in[0]), lp, n, k);
    for (int64_t i = 0; i < n; i++) y[i] = -lp[i * k + l[i]];
    fg_free(c->ctx, lp, bytes);
    return FG_OK;
}
static void vjp_ce(fg_vjp *v) {
    fg_scope *s = v->s;
    const fg_tensor *labels = v->in[1];
    fg_shape sh = *fg_in_shape(v, 0);
    fg_tensor *hot = fg_zeros(s, FG_F32, sh);
    if (!hot) return;
    const int32_t *l = fg_data(labels);
    for (int64_t i = 0; i < sh.dim[0]; i++) fg_reals(hot)[i * sh.dim[1] + l[i]] = 1;
    fg_tensor *d = fg_sub(s, fg_exp(s, fg_log_softmax(s, v->in[0])), hot);
    v->dx[0] = fg_mul(s, d, fg_reshape(s, v->dy, FG_SHAPE(sh.dim[0], 1)));
}
const fg_op fg_op_cross_entropy = { .name = "cross_entropy",
                                    .n_min = 2,
                                    .n_max = 2,
                                    .flags = FG_OPF_ANY,
                                    .infer = infer_ce,
                                    .forward = forward_ce,
                                    .vjp = vjp_ce,
                                    .save_in = { 1, 1 },
                                    .no_grad = 2 };
fg_tensor *fg_cross_entropy(fg_scope *s, fg_tensor *logits, fg_tensor *labels) {
    if (logits && logits->dtype != FG_F32) logits = fg_cast(s, logits, FG_F32);
    if (labels && labels->dtype == FG_U8) labels = fg_cast(s, labels, FG_I32);
    return fg_op_apply(s, &fg_op_cross_entropy, (fg_tensor *[]){ logits, labels }, 2, NULL);
}
