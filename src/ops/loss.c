/* loss.c: losses that deserve a stable formula of their own: binary cross-entropy from probabilities and from logits, and
 * cross-entropy from logits and integer labels. All per element; reduce with mean. */
#include "op.h"

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

typedef struct loss_arg {
    const fg_kernels *k;
    fg_loss loss;
    const fg_real *dy, *x, *t;
    fg_real *out;
} loss_arg;
static void loss_range(void *arg, int64_t i, int64_t end, int worker) {
    const loss_arg *q = arg;
    (void)worker;
    q->k->loss[q->loss](q->x + i, q->t + i, q->out + i, (size_t)(end - i));
}
static void loss_grad_range(void *arg, int64_t i, int64_t end, int worker) {
    const loss_arg *q = arg;
    (void)worker;
    q->k->loss_grad[q->loss](q->dy + i, q->x + i, q->t + i, q->out + i, (size_t)(end - i));
}
static fg_status forward(fg_call *c, fg_loss loss) {
    loss_arg q = { c->ctx->k, loss, NULL, fg_reals(c->in[0]), fg_reals(c->in[1]), fg_reals(c->y) };
    fg_parallel_range(c->ctx, c->y->numel, FG_GRAIN, loss_range, &q);
    return FG_OK;
}
/* The gradient by x in one pass; targets rarely want one, and get it from the differentiable vjp. */
static void fast(fg_vjp *v, fg_loss loss, void (*vjp)(fg_vjp *)) {
    if (fg_needs(v, 1)) {
        vjp(v);
        return;
    }
    fg_tensor *dx = fg_vjp_over_dy(v);
    if (!dx) return;
    loss_arg q = { v->ctx->k, loss, fg_reals(v->dy), fg_reals(v->in[0]), fg_reals(v->in[1]), fg_reals(dx) };
    fg_parallel_range(v->ctx, dx->numel, FG_GRAIN, loss_grad_range, &q);
    v->dx[0] = dx;
}

/* ---------------------------------------------------------------- from probabilities */
#define CLAMP FG_BCE_CLAMP
static fg_status forward_bce(fg_call *c) { return forward(c, FG_LOSS_BCE); }
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
static void fast_bce(fg_vjp *v) { fast(v, FG_LOSS_BCE, vjp_bce); }
const fg_op fg_op_bce = { .name = "bce",
                          .n_min = 2,
                          .n_max = 2,
                          .infer = infer_pair,
                          .forward = forward_bce,
                          .vjp = vjp_bce,
                          .vjp_fast = fast_bce,
                          .save_in = { 3, 1 } };
fg_tensor *fg_bce(fg_scope *s, fg_tensor *p, fg_tensor *target) {
    return fg_op_apply(s, &fg_op_bce, (fg_tensor *[]){ p, stretch(s, p, target) }, 2, NULL);
}

/* ---------------------------------------------------------------- from logits: max(x,0) - x t + log(1 + exp(-|x|)) */
static fg_status forward_bce_logits(fg_call *c) { return forward(c, FG_LOSS_BCE_LOGITS); }
static void vjp_bce_logits(fg_vjp *v) {
    fg_scope *s = v->s;
    fg_tensor *x = v->in[0], *t = v->in[1];
    if (fg_needs(v, 0)) v->dx[0] = fg_mul(s, v->dy, fg_sub(s, fg_sigmoid(s, x), t));
    if (fg_needs(v, 1)) v->dx[1] = fg_neg(s, fg_mul(s, v->dy, x));
}
static void fast_bce_logits(fg_vjp *v) { fast(v, FG_LOSS_BCE_LOGITS, vjp_bce_logits); }
const fg_op fg_op_bce_logits = { .name = "bce_logits",
                                 .n_min = 2,
                                 .n_max = 2,
                                 .infer = infer_pair,
                                 .forward = forward_bce_logits,
                                 .vjp = vjp_bce_logits,
                                 .vjp_fast = fast_bce_logits,
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
typedef struct ce_job {
    const fg_kernels *kernels;
    const fg_real *x;
    const int32_t *labels;
    fg_real *y, *scratch; /* a block of rows for each worker */
    int64_t k, rows;      /* classes; rows of a block */
} ce_job;
static void ce_rows(void *arg, int64_t first, int64_t end, int worker) {
    const ce_job *j = arg;
    fg_real *lp = j->scratch + worker * j->rows * j->k;
    for (int64_t r0 = first, r1; r0 < end; r0 = r1) {
        r1 = r0 + j->rows < end ? r0 + j->rows : end;
        j->kernels->log_softmax(j->x + r0 * j->k, lp, r1 - r0, j->k);
        for (int64_t i = r0; i < r1; i++) j->y[i] = -lp[(i - r0) * j->k + j->labels[i]];
    }
}
static fg_status forward_ce(fg_call *c) {
    enum { BLOCK = 4096 /* numbers, which stay in the first cache */ };
    int64_t n = c->in[0]->shape.dim[0], k = c->in[0]->shape.dim[1];
    if (n == 0) return FG_OK;
    ce_job j = { c->ctx->k, fg_reals(c->in[0]), fg_data(c->in[1]), fg_reals(c->y), NULL, k, k < BLOCK ? BLOCK / k : 1 };
    size_t bytes = (size_t)(fg_get_threads(c->ctx) * j.rows * k) * sizeof(fg_real);
    j.scratch = fg_alloc(c->ctx, bytes);
    if (!j.scratch) return FG_ENOMEM;
    fg_range_light(c->ctx, n, k, ce_rows, &j);
    fg_free(c->ctx, j.scratch, bytes);
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
