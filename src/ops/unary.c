/* unary.c: elementwise functions of one tensor, act_grad (the gradient of an activation as an op of its own) and cast.
 *
 * A gradient is written in the output where that is what the function keeps (exp, sqrt, tanh, sigmoid, relu, leaky_relu),
 * else in the input. vjp_fast is one kernel, dx = dy * f'(v), for all of them. */
#include "op.h"

#include <math.h>
#include <string.h>

typedef struct unary_opts {
    double a, b;
} unary_opts;

static fg_status infer_same(fg_call *c) {
    c->out_shape = c->in[0]->shape;
    return FG_OK;
}
static fg_status infer_leaky(fg_call *c) {
    double slope = ((const unary_opts *)c->opts)->a;
    if (!(slope >= 0)) return fg_op_error(c, FG_EINVAL, "slope %g is negative; it must be >= 0", slope);
    return infer_same(c);
}
static fg_status infer_clamp(fg_call *c) {
    const unary_opts *o = c->opts;
    if (!(o->a <= o->b)) return fg_op_error(c, FG_EINVAL, "lower bound %g is above the upper bound %g", o->a, o->b);
    return infer_same(c);
}
static fg_status run(fg_call *c, fg_unary u, double a, double b) {
    fg_run_unary(c->ctx, u, fg_span_of(c->in[0]), fg_span_of(c->y), c->y->numel, (fg_real)a, (fg_real)b);
    return FG_OK;
}
static void run_grad(fg_vjp *v, fg_unary u, const fg_tensor *val, double a, double b) {
    fg_tensor *dx = fg_vjp_over_dy(v);
    if (!dx) return;
    fg_run_unary_grad(v->ctx, u, fg_span_of(v->dy), fg_span_of(val), fg_span_of(dx), dx->numel, (fg_real)a, (fg_real)b);
    v->dx[0] = dx;
}

static void vjp_affine(fg_vjp *v) { v->dx[0] = fg_affine(v->s, v->dy, ((const unary_opts *)v->opts)->a, 0); }
static void vjp_neg(fg_vjp *v) { v->dx[0] = fg_neg(v->s, v->dy); }
static void vjp_exp(fg_vjp *v) { v->dx[0] = fg_mul(v->s, v->dy, v->y); }
static void vjp_log(fg_vjp *v) { v->dx[0] = fg_div(v->s, v->dy, v->in[0]); }
static void vjp_sqrt(fg_vjp *v) { v->dx[0] = fg_affine(v->s, fg_div(v->s, v->dy, v->y), 0.5, 0); }
static void vjp_square(fg_vjp *v) { v->dx[0] = fg_affine(v->s, fg_mul(v->s, v->dy, v->in[0]), 2, 0); }
static void vjp_abs(fg_vjp *v) { v->dx[0] = fg_mul(v->s, v->dy, fg_sign(v->s, v->in[0])); }
static void vjp_sin(fg_vjp *v) { v->dx[0] = fg_mul(v->s, v->dy, fg_cos(v->s, v->in[0])); }
static void vjp_cos(fg_vjp *v) { v->dx[0] = fg_neg(v->s, fg_mul(v->s, v->dy, fg_sin(v->s, v->in[0]))); }
static void vjp_tanh(fg_vjp *v) { v->dx[0] = fg_act_grad(v->s, v->dy, v->y, FG_ACT_TANH, 0); }
static void vjp_sigmoid(fg_vjp *v) { v->dx[0] = fg_act_grad(v->s, v->dy, v->y, FG_ACT_SIGMOID, 0); }
static void vjp_softplus(fg_vjp *v) { v->dx[0] = fg_mul(v->s, v->dy, fg_sigmoid(v->s, v->in[0])); }
static void vjp_relu(fg_vjp *v) { v->dx[0] = fg_act_grad(v->s, v->dy, v->y, FG_ACT_RELU, 0); }
static void vjp_leaky(fg_vjp *v) {
    v->dx[0] = fg_act_grad(v->s, v->dy, v->y, FG_ACT_LEAKY_RELU, ((const unary_opts *)v->opts)->a);
}
static void vjp_clamp(fg_vjp *v) {
    const unary_opts *o = v->opts;
    fg_scope *s = v->s;
    fg_tensor *lo = fg_full(s, FG_F32, FG_SCALAR, o->a), *hi = fg_full(s, FG_F32, FG_SCALAR, o->b);
    v->dx[0] = fg_mul(s, v->dy, fg_mul(s, fg_gt(s, v->in[0], lo), fg_lt(s, v->in[0], hi)));
}
static void vjp_pow(fg_vjp *v) {
    double p = ((const unary_opts *)v->opts)->a;
    if (p == 0) v->dx[0] = fg_zeros(v->s, FG_F32, v->dy->shape);
    else v->dx[0] = fg_affine(v->s, fg_mul(v->s, v->dy, fg_pow(v->s, v->in[0], p - 1)), p, 0);
}
/* Fast softplus: the input is what is saved, so its sigmoid is formed first, then multiplied in place. */
static void fast_softplus(fg_vjp *v) {
    fg_tensor *dx = fg_sigmoid(v->s, v->in[0]);
    if (dx) v->dx[0] = fg_mul(v->s, v->dy, dx);
}

#define NO_ATTRS NULL
static const fg_attr attrs_affine[] = { { "scale", FG_A_REAL, false, offsetof(unary_opts, a), 0, 1 },
                                        { "shift", FG_A_REAL, false, offsetof(unary_opts, b), 0, 0 },
                                        FG_ATTR_END };
static const fg_attr attrs_leaky[] = { { "slope", FG_A_REAL, false, offsetof(unary_opts, a), 0, 0.01 }, FG_ATTR_END };
static const fg_attr attrs_clamp[] = { { "lo", FG_A_REAL, false, offsetof(unary_opts, a), 0, -INFINITY },
                                       { "hi", FG_A_REAL, false, offsetof(unary_opts, b), 0, INFINITY },
                                       FG_ATTR_END };
static const fg_attr attrs_pow[] = { { "exponent", FG_A_REAL, true, offsetof(unary_opts, a), 0, 0 }, FG_ATTR_END };

/* name, kernel slot, infer, attrs, flags, mask of saved input, mask of saved output, its a and b in terms of o */
#define UNARY(name_, slot, infer_, attrs_, flags_, vjp_, save_x, save_y, a_, b_)                                                 \
    static fg_status forward_##name_(fg_call *c) {                                                                               \
        const unary_opts *o = c->opts;                                                                                           \
        (void)o;                                                                                                                 \
        return run(c, slot, a_, b_);                                                                                             \
    }                                                                                                                            \
    static void fast_##name_(fg_vjp *v) {                                                                                        \
        const unary_opts *o = v->opts;                                                                                           \
        (void)o;                                                                                                                 \
        run_grad(v, slot, (save_x) ? v->in[0] : (save_y) ? v->y : NULL, a_, b_);                                                 \
    }                                                                                                                            \
    const fg_op fg_op_##name_ = { .name = #name_,                                                                                \
                                  .n_min = 1,                                                                                    \
                                  .n_max = 1,                                                                                    \
                                  .flags = flags_,                                                                               \
                                  .opts_size = sizeof(unary_opts),                                                               \
                                  .attrs = attrs_,                                                                               \
                                  .infer = infer_,                                                                               \
                                  .forward = forward_##name_,                                                                    \
                                  .vjp = vjp_,                                                                                   \
                                  .vjp_fast = fast_##name_,                                                                      \
                                  .save_in = { save_x },                                                                         \
                                  .save_out = save_y,                                                                            \
                                  .half = (flags_)&FG_OPF_KEEP ? 1 : 0 };
UNARY(affine, FG_UN_AFFINE, infer_same, attrs_affine, FG_OPF_KEEP, vjp_affine, 0, 0, o->a, o->b)
UNARY(neg, FG_UN_AFFINE, infer_same, NO_ATTRS, FG_OPF_KEEP, vjp_neg, 0, 0, -1, 0)
UNARY(exp, FG_UN_EXP, infer_same, NO_ATTRS, 0, vjp_exp, 0, 1, 0, 0)
UNARY(log, FG_UN_LOG, infer_same, NO_ATTRS, 0, vjp_log, 1, 0, 0, 0)
UNARY(sqrt, FG_UN_SQRT, infer_same, NO_ATTRS, 0, vjp_sqrt, 0, 1, 0, 0)
UNARY(square, FG_UN_SQUARE, infer_same, NO_ATTRS, 0, vjp_square, 1, 0, 0, 0)
UNARY(abs, FG_UN_ABS, infer_same, NO_ATTRS, 0, vjp_abs, 1, 0, 0, 0)
UNARY(sin, FG_UN_SIN, infer_same, NO_ATTRS, 0, vjp_sin, 1, 0, 0, 0)
UNARY(cos, FG_UN_COS, infer_same, NO_ATTRS, 0, vjp_cos, 1, 0, 0, 0)
UNARY(tanh, FG_UN_TANH, infer_same, NO_ATTRS, 0, vjp_tanh, 0, 1, 0, 0)
UNARY(sigmoid, FG_UN_SIGMOID, infer_same, NO_ATTRS, 0, vjp_sigmoid, 0, 1, 0, 0)
UNARY(relu, FG_UN_RELU, infer_same, NO_ATTRS, FG_OPF_KEEP, vjp_relu, 0, 1, 0, 0)
UNARY(leaky_relu, FG_UN_LEAKY_RELU, infer_leaky, attrs_leaky, FG_OPF_KEEP, vjp_leaky, 0, 1, o->a, 0)
UNARY(clamp, FG_UN_CLAMP, infer_clamp, attrs_clamp, 0, vjp_clamp, 1, 0, o->a, o->b)
UNARY(pow, FG_UN_POW, infer_same, attrs_pow, 0, vjp_pow, 1, 0, o->a, 0)

static fg_status forward_softplus(fg_call *c) { return run(c, FG_UN_SOFTPLUS, 0, 0); }
const fg_op fg_op_softplus = { .name = "softplus",
                               .n_min = 1,
                               .n_max = 1,
                               .infer = infer_same,
                               .forward = forward_softplus,
                               .vjp = vjp_softplus,
                               .vjp_fast = fast_softplus,
                               .save_in = { 1 } };
static fg_status forward_sign(fg_call *c) { return run(c, FG_UN_SIGN, 0, 0); }
const fg_op fg_op_sign = { .name = "sign", .n_min = 1, .n_max = 1, .infer = infer_same, .forward = forward_sign };

static fg_tensor *one(fg_scope *s, const fg_op *op, fg_tensor *x, double a, double b) {
    return fg_op_apply(s, op, &x, 1, &(unary_opts){ a, b });
}
fg_tensor *fg_affine(fg_scope *s, fg_tensor *x, double scale, double shift) { return one(s, &fg_op_affine, x, scale, shift); }
fg_tensor *fg_neg(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_neg, x, 0, 0); }
fg_tensor *fg_exp(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_exp, x, 0, 0); }
fg_tensor *fg_log(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_log, x, 0, 0); }
fg_tensor *fg_sqrt(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_sqrt, x, 0, 0); }
fg_tensor *fg_square(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_square, x, 0, 0); }
fg_tensor *fg_abs(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_abs, x, 0, 0); }
fg_tensor *fg_sign(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_sign, x, 0, 0); }
fg_tensor *fg_sin(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_sin, x, 0, 0); }
fg_tensor *fg_cos(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_cos, x, 0, 0); }
fg_tensor *fg_tanh(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_tanh, x, 0, 0); }
fg_tensor *fg_sigmoid(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_sigmoid, x, 0, 0); }
fg_tensor *fg_softplus(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_softplus, x, 0, 0); }
fg_tensor *fg_relu(fg_scope *s, fg_tensor *x) { return one(s, &fg_op_relu, x, 0, 0); }
fg_tensor *fg_leaky_relu(fg_scope *s, fg_tensor *x, double slope) { return one(s, &fg_op_leaky_relu, x, slope, 0); }
fg_tensor *fg_clamp(fg_scope *s, fg_tensor *x, double lo, double hi) { return one(s, &fg_op_clamp, x, lo, hi); }
fg_tensor *fg_pow(fg_scope *s, fg_tensor *x, double exponent) { return one(s, &fg_op_pow, x, exponent, 0); }

/* ---------------------------------------------------------------- act_grad */
typedef struct act_grad_opts {
    fg_act act;
    double slope;
    bool wide; /* the result is f32 whatever dy is */
} act_grad_opts;
static const fg_attr attrs_act_grad[] = { { "act", FG_A_ACT, true, offsetof(act_grad_opts, act), 0, 0 },
                                          { "slope", FG_A_REAL, false, offsetof(act_grad_opts, slope), 0, 0.01 },
                                          FG_ATTR_END };
static fg_status infer_act_grad(fg_call *c) {
    c->wide = ((const act_grad_opts *)c->opts)->wide;
    c->out_shape = c->in[0]->shape;
    if (fg_shape_equal(&c->in[0]->shape, &c->in[1]->shape)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "the gradient has shape %s, the output %s", fg_str(&c->in[0]->shape),
                       fg_str(&c->in[1]->shape));
}
static fg_status forward_act_grad(fg_call *c) {
    const act_grad_opts *o = c->opts;
    fg_run_unary_grad(c->ctx, fg_act_unary(o->act), fg_span_of(c->in[0]), fg_span_of(c->in[1]), fg_span_of(c->y), c->y->numel,
                      o->act == FG_ACT_NONE ? 1 : (fg_real)o->slope, 0);
    return FG_OK;
}
static void vjp_act_grad(fg_vjp *v) {
    const act_grad_opts *o = v->opts;
    fg_scope *s = v->s;
    fg_tensor *dy = v->in[0], *y = v->in[1];
    if (fg_needs(v, 0)) v->dx[0] = fg_act_grad(s, v->dy, y, o->act, o->slope);
    if (!fg_needs(v, 1)) return;
    fg_tensor *g = fg_mul(s, v->dy, dy), *second = NULL; /* derivative of act' with respect to y */
    if (o->act == FG_ACT_TANH) second = fg_affine(s, y, -2, 0);
    if (o->act == FG_ACT_SIGMOID) second = fg_affine(s, y, -2, 1);
    if (o->act == FG_ACT_SOFTPLUS) second = fg_exp(s, fg_neg(s, y));
    v->dx[1] = fg_mul(s, g, second);
}
static void fast_act_grad(fg_vjp *v) {
    const act_grad_opts *o = v->opts;
    if (fg_needs(v, 1)) vjp_act_grad(v);
    else run_grad(v, fg_act_unary(o->act), v->in[1], o->act == FG_ACT_NONE ? 1 : o->slope, 0);
}
const fg_op fg_op_act_grad = { .name = "act_grad",
                               .n_min = 2,
                               .n_max = 2,
                               .flags = FG_OPF_KEEP,
                               .half = 3,
                               .opts_size = sizeof(act_grad_opts),
                               .attrs = attrs_act_grad,
                               .infer = infer_act_grad,
                               .forward = forward_act_grad,
                               .vjp = vjp_act_grad,
                               .vjp_fast = fast_act_grad,
                               .save_in = { 2, 3 } };
fg_tensor *fg_act_grad(fg_scope *s, fg_tensor *dy, fg_tensor *y, fg_act act, double slope) {
    if (act == FG_ACT_NONE) return dy;
    /* piecewise linear: act' does not change with y, so there is no edge to it */
    if ((act == FG_ACT_RELU || act == FG_ACT_LEAKY_RELU) && y && y->requires_grad) y = fg_detach(s, y);
    return fg_op_apply(s, &fg_op_act_grad, (fg_tensor *[]){ dy, y }, 2, &(act_grad_opts){ act, slope, false });
}
fg_tensor *fg_act_grad_wide(fg_scope *s, fg_tensor *dy, fg_tensor *y, fg_act act, double slope) {
    if (act == FG_ACT_NONE) return fg_cast(s, dy, FG_F32);
    return fg_op_apply(s, &fg_op_act_grad, (fg_tensor *[]){ dy, y }, 2, &(act_grad_opts){ act, slope, true });
}

fg_tensor *fg_vjp_act_bias(fg_vjp *v, fg_act act, double slope, int bias) {
    if (v->dy_gated) act = FG_ACT_NONE;
    bool sums = bias < v->n && fg_needs(v, bias), acts = act != FG_ACT_NONE;
    fg_tensor *dy = v->dy, *y = v->y, *g = dy, *db = NULL;
    if (dy->dtype != FG_F32 || (acts && y->dtype != FG_F32)) { /* bf16: by ops, which convert */
        fg_axes rows = { .n = dy->shape.ndim - 1, .axis = { 0, 1, 2, 3, 4 } };
        g = fg_act_grad(v->s, dy, y, act, slope);
        if (sums) v->dx[bias] = fg_sum(v->s, g, &rows, false);
        return g;
    }
    if (acts && !(g = fg_vjp_over_dy(v))) return NULL;
    if (!sums) {
        if (acts)
            fg_run_unary_grad(v->ctx, fg_act_unary(act), fg_span_of(dy), fg_span_of(y), fg_span_of(g), g->numel, (fg_real)slope,
                              0);
        return g;
    }
    if (!(db = fg_vjp_new(v, fg_in_shape(v, bias)))) return NULL;
    fg_status st = FG_OK;
    int64_t n = db->numel;
    if (dy->numel == 0) memset(fg_data(db), 0, fg_tensor_bytes(db));
    else
        st = fg_run_act_grad_sums(v->ctx, fg_reals(dy), acts ? fg_reals(y) : NULL, dy->numel / n, n, act, (fg_real)slope,
                                  fg_reals(g), fg_reals(db));
    if (st != FG_OK) return fg_scope_fail(v->s);
    v->dx[bias] = db;
    return g;
}

/* ---------------------------------------------------------------- cast */
typedef struct cast_opts {
    fg_dtype dtype;
} cast_opts;
static const fg_attr attrs_cast[] = { { "dtype", FG_A_DTYPE, true, offsetof(cast_opts, dtype), 0, 0 }, FG_ATTR_END };
static fg_status infer_cast(fg_call *c) {
    c->out_dtype = ((const cast_opts *)c->opts)->dtype;
    return infer_same(c);
}
static fg_status forward_cast(fg_call *c) {
    fg_convert_tensor(c->in[0], c->y);
    return FG_OK;
}
static void vjp_cast(fg_vjp *v) { v->dx[0] = v->dy; } /* the engine sees to its dtype */
const fg_op fg_op_cast = { .name = "cast",
                           .n_min = 1,
                           .n_max = 1,
                           .flags = FG_OPF_ANY,
                           .opts_size = sizeof(cast_opts),
                           .attrs = attrs_cast,
                           .infer = infer_cast,
                           .forward = forward_cast,
                           .vjp = vjp_cast };
fg_tensor *fg_cast(fg_scope *s, fg_tensor *x, fg_dtype dt) {
    if (x && x->dtype == dt) return x;
    if (x && x->requires_grad && (dt == FG_U8 || dt == FG_I32)) x = fg_detach(s, x); /* integers have no gradient */
    return fg_op_apply(s, &fg_op_cast, &x, 1, &(cast_opts){ dt });
}
