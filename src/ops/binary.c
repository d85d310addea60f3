/* binary.c: elementwise ops of two tensors with broadcasting, comparisons and where.
 *
 * A gradient is summed back (fg_reduce_to) to the shape that broadcasting stretched. Comparisons give u8 and no gradient. */
#include "broadcast.h"

#include <string.h>

static fg_status infer(fg_call *c) {
    if (fg_broadcast(&c->in[0]->shape, &c->in[1]->shape, &c->out_shape)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "shapes %s and %s do not broadcast", fg_str(&c->in[0]->shape), fg_str(&c->in[1]->shape));
}
static fg_status infer_compare(fg_call *c) {
    c->out_dtype = FG_U8;
    return infer(c);
}

typedef struct bin_arg {
    const fg_kernels *k;
    void (*fn)(const fg_real *, int, const fg_real *, int, fg_real *, size_t);
    const fg_walk *w;
    const fg_real *a, *b;
    fg_real *y;
    uint8_t *y8;
} bin_arg;

static void body(void *arg, const int64_t *o, int64_t out, int64_t n) {
    const bin_arg *q = arg;
    q->fn(q->a + o[0], q->w->step[0], q->b + o[1], q->w->step[1], q->y + out, (size_t)n);
}
static void body_compare(void *arg, const int64_t *o, int64_t out, int64_t n) {
    const bin_arg *q = arg;
    fg_real tmp[256]; /* in the first-level cache */
    const int sa = q->w->step[0], sb = q->w->step[1];
    for (int64_t i = 0; i < n; i += 256) {
        int64_t m = n - i < 256 ? n - i : 256;
        q->fn(q->a + o[0] + i * sa, sa, q->b + o[1] + i * sb, sb, tmp, (size_t)m);
        q->k->nonzero(tmp, q->y8 + out + i, (size_t)m);
    }
}

static fg_status run(fg_call *c, fg_binary op) {
    fg_walk w;
    const fg_shape *in[2] = { &c->in[0]->shape, &c->in[1]->shape };
    fg_walk_init(&w, &c->out_shape, in, 2);
    bin_arg q = { c->ctx->k, c->ctx->k->binary[op], &w, fg_reals(c->in[0]), fg_reals(c->in[1]), NULL, NULL };
    if (c->out_dtype == FG_U8) {
        q.y8 = fg_data(c->y);
        fg_walk_run(c->ctx, &w, 2, body_compare, &q);
    } else {
        q.y = fg_reals(c->y);
        fg_walk_run(c->ctx, &w, 2, body, &q);
    }
    return FG_OK;
}

static void vjp_add(fg_vjp *v) {
    if (fg_needs(v, 0)) v->dx[0] = fg_to_input(v, v->dy, 0);
    if (fg_needs(v, 1)) v->dx[1] = fg_to_input(v, v->dy, 1);
}
static void vjp_sub(fg_vjp *v) {
    if (fg_needs(v, 0)) v->dx[0] = fg_to_input(v, v->dy, 0);
    if (fg_needs(v, 1)) v->dx[1] = fg_neg(v->s, fg_to_input(v, v->dy, 1));
}
static void vjp_mul(fg_vjp *v) {
    if (fg_needs(v, 0)) v->dx[0] = fg_to_input(v, fg_mul(v->s, v->dy, v->in[1]), 0);
    if (fg_needs(v, 1)) v->dx[1] = fg_to_input(v, fg_mul(v->s, v->dy, v->in[0]), 1);
}
static void vjp_div(fg_vjp *v) {
    fg_scope *s = v->s;
    if (fg_needs(v, 0)) v->dx[0] = fg_to_input(v, fg_div(s, v->dy, v->in[1]), 0);
    if (fg_needs(v, 1)) v->dx[1] = fg_to_input(v, fg_neg(s, fg_div(s, fg_mul(s, v->dy, v->in[0]), fg_square(s, v->in[1]))), 1);
}
/* The winner takes the gradient, equals share it: PyTorch's convention. */
static void vjp_extreme(fg_vjp *v, fg_tensor *first_wins) {
    fg_scope *s = v->s;
    fg_tensor *tie = fg_affine(s, fg_eq(s, v->in[0], v->in[1]), 0.5, 0);
    fg_tensor *m0 = fg_add(s, first_wins, tie);
    if (fg_needs(v, 0)) v->dx[0] = fg_to_input(v, fg_mul(s, v->dy, m0), 0);
    if (fg_needs(v, 1)) v->dx[1] = fg_to_input(v, fg_mul(s, v->dy, fg_affine(s, m0, -1, 1)), 1);
}
static void vjp_maximum(fg_vjp *v) { vjp_extreme(v, fg_gt(v->s, v->in[0], v->in[1])); }
static void vjp_minimum(fg_vjp *v) { vjp_extreme(v, fg_lt(v->s, v->in[0], v->in[1])); }

#define BINARY(name_, slot, vjp_, s0, s1)                                                                                        \
    static fg_status forward_##name_(fg_call *c) { return run(c, slot); }                                                        \
    const fg_op fg_op_##name_ = { .name = #name_,                                                                                \
                                  .n_min = 2,                                                                                    \
                                  .n_max = 2,                                                                                    \
                                  .flags = FG_OPF_ALL16,                                                                         \
                                  .infer = infer,                                                                                \
                                  .forward = forward_##name_,                                                                    \
                                  .vjp = vjp_,                                                                                   \
                                  .save_in = { s0, s1 } };                                                                       \
    fg_tensor *fg_##name_(fg_scope *s, fg_tensor *a, fg_tensor *b) {                                                             \
        return fg_op_apply(s, &fg_op_##name_, (fg_tensor *[]){ a, b }, 2, NULL);                                                 \
    }
BINARY(add, FG_BIN_ADD, vjp_add, 0, 0)
BINARY(sub, FG_BIN_SUB, vjp_sub, 0, 0)
BINARY(mul, FG_BIN_MUL, vjp_mul, 2, 1)
BINARY(div, FG_BIN_DIV, vjp_div, 2, 3)
BINARY(maximum, FG_BIN_MAX, vjp_maximum, 3, 3)
BINARY(minimum, FG_BIN_MIN, vjp_minimum, 3, 3)

#define COMPARE(name_, slot)                                                                                                     \
    static fg_status forward_##name_(fg_call *c) { return run(c, slot); }                                                        \
    const fg_op fg_op_##name_ = { .name = #name_, .n_min = 2, .n_max = 2, .infer = infer_compare, .forward = forward_##name_ };  \
    fg_tensor *fg_##name_(fg_scope *s, fg_tensor *a, fg_tensor *b) {                                                             \
        return fg_op_apply(s, &fg_op_##name_, (fg_tensor *[]){ a, b }, 2, NULL);                                                 \
    }
COMPARE(eq, FG_BIN_EQ)
COMPARE(ne, FG_BIN_NE)
COMPARE(lt, FG_BIN_LT)
COMPARE(le, FG_BIN_LE)
COMPARE(gt, FG_BIN_GT)
COMPARE(ge, FG_BIN_GE)

/* ---------------------------------------------------------------- where */
static fg_status infer_where(fg_call *c) {
    fg_shape ab;
    for (int i = 0; i < 3; i++)
        if (c->in[i]->dtype != (i ? FG_F32 : FG_U8))
            return fg_op_error(c, FG_EINVAL, "tensor %d is %s, expected %s", i + c->ctx->index_base,
                               fg_dtype_name(c->in[i]->dtype), i ? "f32" : "u8 (a comparison's result)");
    c->out_dtype = FG_F32;
    if (fg_broadcast(&c->in[1]->shape, &c->in[2]->shape, &ab) && fg_broadcast(&ab, &c->in[0]->shape, &c->out_shape)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "shapes %s, %s and %s do not broadcast", fg_str(&c->in[0]->shape), fg_str(&c->in[1]->shape),
                       fg_str(&c->in[2]->shape));
}

typedef struct where_arg {
    const fg_kernels *k;
    const fg_walk *w;
    const uint8_t *cond;
    const fg_real *a, *b;
    fg_real *y;
} where_arg;
static void body_where(void *arg, const int64_t *o, int64_t out, int64_t n) {
    const where_arg *q = arg;
    q->k->select(q->cond + o[0], q->w->step[0], q->a + o[1], q->w->step[1], q->b + o[2], q->w->step[2], q->y + out, (size_t)n);
}
static fg_status forward_where(fg_call *c) {
    fg_walk w;
    const fg_shape *in[3] = { &c->in[0]->shape, &c->in[1]->shape, &c->in[2]->shape };
    fg_walk_init(&w, &c->out_shape, in, 3);
    where_arg q = { c->ctx->k, &w, fg_data(c->in[0]), fg_reals(c->in[1]), fg_reals(c->in[2]), fg_reals(c->y) };
    fg_walk_run(c->ctx, &w, 3, body_where, &q);
    return FG_OK;
}
static void vjp_where(fg_vjp *v) {
    fg_tensor *zero = fg_zeros(v->s, FG_F32, FG_SCALAR), *cond = v->in[0];
    if (fg_needs(v, 1)) v->dx[1] = fg_to_input(v, fg_where(v->s, cond, v->dy, zero), 1);
    if (fg_needs(v, 2)) v->dx[2] = fg_to_input(v, fg_where(v->s, cond, zero, v->dy), 2);
}
const fg_op fg_op_where = { .name = "where",
                            .n_min = 3,
                            .n_max = 3,
                            .flags = FG_OPF_ANY,
                            .infer = infer_where,
                            .forward = forward_where,
                            .vjp = vjp_where,
                            .save_in = { 6 },
                            .no_grad = 1 };
fg_tensor *fg_where(fg_scope *s, fg_tensor *cond, fg_tensor *a, fg_tensor *b) {
    if (a && a->dtype != FG_F32) a = fg_cast(s, a, FG_F32);
    if (b && b->dtype != FG_F32) b = fg_cast(s, b, FG_F32);
    return fg_op_apply(s, &fg_op_where, (fg_tensor *[]){ cond, a, b }, 3, NULL);
}
