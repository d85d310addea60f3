/* grad_cases.h: one sample call (or several) of every differentiable op. A new op adds a line here; test_grad_ops, the only
 * file that includes this, fails until it does. */
#ifndef GRAD_CASES_H
#define GRAD_CASES_H

#include "op.h"

#define GRAD_INPUTS 4
typedef struct grad_input {
    fg_shape shape;
    double lo, hi, away; /* values uniform in lo..hi, at least away from 0 */
    bool fixed;          /* no gradient */
    fg_tensor *(*make)(fg_scope *s);
} grad_input;
typedef struct grad_case {
    const char *name, *op;
    int n;
    grad_input in[GRAD_INPUTS];
    fg_tensor *(*call)(fg_scope *s, fg_tensor **in);
} grad_case;
#define CALL(name, expr)                                                                                                         \
    static fg_tensor *call_##name(fg_scope *s, fg_tensor **in) {                                                                 \
        (void)in;                                                                                                                \
        return expr;                                                                                                             \
    }
static fg_tensor *make_cond(fg_scope *s) { return fg_from_u8(s, FG_SHAPE(2, 3), (const uint8_t[]){ 1, 0, 1, 0, 0, 1 }); }
static fg_tensor *make_ids(fg_scope *s) { return fg_from_i32(s, FG_SHAPE(5), (const int32_t[]){ 2, 0, 2, 3, 1 }); }
static fg_tensor *make_labels(fg_scope *s) { return fg_from_i32(s, FG_SHAPE(4), (const int32_t[]){ 2, 0, 1, 2 }); }
static fg_tensor *make_rvar(fg_scope *s) { return fg_full(s, FG_F32, FG_SHAPE(3), 1.7); }
static fg_tensor *make_rmean(fg_scope *s) { return fg_full(s, FG_F32, FG_SHAPE(3), 0.3); }

CALL(add, fg_add(s, in[0], in[1]))
CALL(sub, fg_sub(s, in[0], in[1]))
CALL(mul, fg_mul(s, in[0], in[1]))
CALL(div, fg_div(s, in[0], in[1]))
CALL(maximum, fg_maximum(s, in[0], in[1]))
CALL(minimum, fg_minimum(s, in[0], in[1]))
CALL(where, fg_where(s, in[0], in[1], in[2]))
CALL(affine, fg_affine(s, in[0], -1.5, 0.3))
CALL(neg, fg_neg(s, in[0]))
CALL(exp, fg_exp(s, in[0]))
CALL(log, fg_log(s, in[0]))
CALL(sqrt, fg_sqrt(s, in[0]))
CALL(square, fg_square(s, in[0]))
CALL(abs, fg_abs(s, in[0]))
CALL(sin, fg_sin(s, in[0]))
CALL(cos, fg_cos(s, in[0]))
CALL(tanh, fg_tanh(s, in[0]))
CALL(sigmoid, fg_sigmoid(s, in[0]))
CALL(softplus, fg_softplus(s, in[0]))
CALL(relu, fg_relu(s, in[0]))
CALL(leaky, fg_leaky_relu(s, in[0], 0.2))
CALL(clamp, fg_clamp(s, in[0], -0.8, 0.9))
CALL(pow, fg_pow(s, in[0], 2.5))
CALL(pow3, fg_pow(s, in[0], 3))
CALL(ag_tanh, fg_act_grad(s, in[0], in[1], FG_ACT_TANH, 0))
CALL(ag_sigmoid, fg_act_grad(s, in[0], in[1], FG_ACT_SIGMOID, 0))
CALL(ag_softplus, fg_act_grad(s, in[0], in[1], FG_ACT_SOFTPLUS, 0))
CALL(ag_leaky, fg_act_grad(s, in[0], in[1], FG_ACT_LEAKY_RELU, 0.1))
CALL(cast_op, fg_op_apply(s, &fg_op_cast, in, 1, &(int){ FG_F32 }))
CALL(sum, fg_sum(s, in[0], FG_AXES(1), false))
CALL(sum_outer, fg_sum(s, in[0], FG_AXES(0, 2), true))
CALL(sum_all, fg_sum(s, in[0], NULL, false))
CALL(mean, fg_mean(s, in[0], FG_AXES(0, 2), false))
CALL(max, fg_max(s, in[0], FG_AXES(1), false))
CALL(min, fg_min(s, in[0], FG_AXES(0, 2), true))
CALL(broadcast, fg_broadcast_to(s, in[0], FG_SHAPE(4, 2, 3)))
CALL(reduce_to, fg_reduce_to(s, in[0], FG_SHAPE(3, 1)))
CALL(log_softmax, fg_log_softmax(s, in[0]))
CALL(reshape, fg_reshape(s, in[0], FG_SHAPE(3, -1)))
CALL(transpose, fg_transpose(s, in[0], FG_AXES(2, 0, 1)))
CALL(transpose2, fg_transpose(s, in[0], NULL))
CALL(concat0, fg_concat(s, in, 3, 0))
CALL(concat1, fg_concat(s, in, 2, 1))
CALL(slice0, fg_slice(s, in[0], 0, 1, 2))
CALL(slice0_twice, fg_add(s, fg_slice(s, in[0], 0, 1, 2), fg_square(s, fg_slice(s, in[0], 0, 0, 2))))
CALL(slice1, fg_slice(s, in[0], 1, 1, 2))
CALL(slice_adj0, fg_slice_adjoint(s, in[0], 0, 1, 5))
CALL(slice_adj1, fg_slice_adjoint(s, in[0], 1, 2, 6))
CALL(mm, fg_matmul(s, in[0], in[1], NULL))
CALL(mm_ta, fg_matmul(s, in[0], in[1], &(fg_matmul_opts){ true, false }))
CALL(mm_tb, fg_matmul(s, in[0], in[1], &(fg_matmul_opts){ false, true }))
CALL(mm_tt, fg_matmul(s, in[0], in[1], &(fg_matmul_opts){ true, true }))
CALL(linear, fg_linear(s, in[0], in[1], in[2], NULL))
CALL(linear_tanh, fg_linear(s, in[0], in[1], in[2], &(fg_linear_opts){ FG_ACT_TANH, 0 }))
CALL(linear_leaky, fg_linear(s, in[0], in[1], NULL, &(fg_linear_opts){ FG_ACT_LEAKY_RELU, 0.2 }))
CALL(linear_softplus, fg_linear(s, in[0], in[1], in[2], &(fg_linear_opts){ FG_ACT_SOFTPLUS, 0 }))
CALL(linear_rank3, fg_linear(s, in[0], in[1], in[2], &(fg_linear_opts){ FG_ACT_SIGMOID, 0 }))
CALL(conv, fg_conv2d(s, in[0], in[1], in[2], NULL))
CALL(conv_s2, fg_conv2d(s, in[0], in[1], in[2],
                        &(fg_conv2d_opts){ .stride = { 2, 2 }, .same = true, .act = FG_ACT_LEAKY_RELU, .slope = 0.2 }))
CALL(conv_asym,
     fg_conv2d(s, in[0], in[1], in[2], &(fg_conv2d_opts){ .stride = { 2, 1 }, .pad = { 1, 0, 0, 2 }, .act = FG_ACT_TANH }))
CALL(conv_t, fg_conv_transpose2d(s, in[0], in[1], in[2], NULL))
CALL(conv_t_s2,
     fg_conv_transpose2d(s, in[0], in[1], in[2], &(fg_conv2d_opts){ .stride = { 2, 2 }, .same = true, .act = FG_ACT_TANH }))
CALL(conv_t_op, fg_conv_transpose2d(s, in[0], in[1], in[2],
                                    &(fg_conv2d_opts){ .stride = { 2, 3 }, .pad = { 1, 1, 0, 1 }, .out_pad = { 1, 2 } }))
CALL(conv_dw, fg_conv2d_dw(s, in[0], in[1], (int[2]){ 3, 2 }, &(fg_conv2d_opts){ .stride = { 2, 1 }, .pad = { 1, 0, 0, 0 } }))
static const fg_batch_norm_opts bn_train = { .training = true }, bn_tanh = { .training = true, .act = FG_ACT_TANH },
                                bn_leaky = { .training = true, .act = FG_ACT_LEAKY_RELU, .slope = 0.2, .eps = 1e-3 },
                                bn_eval = { .training = false };
CALL(bn, fg_batch_norm(s, in[0], in[1], in[2], NULL, NULL, &bn_train))
CALL(bn4, fg_batch_norm(s, in[0], in[1], in[2], NULL, NULL, &bn_leaky))
CALL(bn_tanh, fg_batch_norm(s, in[0], in[1], in[2], NULL, NULL, &bn_tanh))
CALL(bn_plain, fg_batch_norm(s, in[0], NULL, NULL, NULL, NULL, &bn_train))
CALL(bn_eval, fg_batch_norm(s, in[0], in[1], in[2], make_rmean(s), make_rvar(s), &bn_eval))
static fg_tensor *call_dropout(fg_scope *s, fg_tensor **in) { /* the same mask at every call */
    fg_stream_set(fg_scope_context(s), FG_STREAM_DROPOUT, (fg_stream_state){ 7, 0 });
    return fg_dropout(s, fg_square(s, in[0]), 0.4);
}
CALL(gather, fg_gather(s, in[0], make_ids(s)))
CALL(gather_adj, fg_gather_adjoint(s, in[0], make_ids(s), 4))
static const fg_pool_opts pool22 = { .kernel = { 2, 2 } },
                          pool32 = { .kernel = { 3, 2 }, .stride = { 2, 1 }, .pad = { 1, 1, 0, 1 } },
                          pool22_adj = { .kernel = { 2, 2 }, .size = { 5, 4 } };
CALL(avg, fg_avg_pool2d(s, in[0], &pool22))
CALL(avg_over, fg_avg_pool2d(s, in[0], &pool32))
CALL(avg_adj, fg_avg_pool2d_adjoint(s, in[0], &pool22_adj))
CALL(maxp, fg_max_pool2d(s, in[0], &pool32))
CALL(maxp_pick, fg_max_pool2d_pick(s, in[0], in[1], &pool22))
CALL(maxp_scatter, fg_max_pool2d_scatter(s, in[0], in[1], &pool22))
CALL(upsample, fg_upsample2d(s, in[0], (int[2]){ 2, 3 }))
CALL(bce, fg_bce(s, in[0], in[1]))
CALL(bce_logits, fg_bce_logits(s, in[0], in[1]))
CALL(ce, fg_cross_entropy(s, in[0], make_labels(s)))

#define R(...)                                                                                                                   \
    { FG_SHAPE(__VA_ARGS__), -1.5, 1.5, 0, false, NULL } /* any value */
#define K(...)                                                                                                                   \
    { FG_SHAPE(__VA_ARGS__), -1.5, 1.5, 0.05, false, NULL } /* away from the kink at 0 */
#define P(...)                                                                                                                   \
    { FG_SHAPE(__VA_ARGS__), 0.4, 2, 0, false, NULL } /* positive */
#define U(...)                                                                                                                   \
    { FG_SHAPE(__VA_ARGS__), 0.1, 0.9, 0, false, NULL } /* a probability */
#define F(...)                                                                                                                   \
    { FG_SHAPE(__VA_ARGS__), -1.5, 1.5, 0, true, NULL } /* no gradient */
#define FK(...)                                                                                                                  \
    { FG_SHAPE(__VA_ARGS__), -1.5, 1.5, 0.05, true, NULL }
#define M(fn)                                                                                                                    \
    { { 0, { 0 } }, 0, 0, 0, true, fn }
#define C1(label, op, fn, a)       { label, #op, 1, { a }, call_##fn },
#define C2(label, op, fn, a, b)    { label, #op, 2, { a, b }, call_##fn },
#define C3(label, op, fn, a, b, c) { label, #op, 3, { a, b, c }, call_##fn },
static const grad_case grad_cases[] = {
    C2("add", add, add, R(2, 3), R(2, 3)) C2("add row", add, add, R(4, 2, 3), R(3)) C2("sub", sub, sub, R(2, 1, 3), R(4, 1)) C2(
        "mul", mul, mul, R(2, 3), R(2, 3)) C2("mul scalar", mul, mul, R(2, 3), R(1)) C2("div", div, div, R(2, 3), P(3))
        C2("maximum", maximum, maximum, R(3, 4), R(3, 4)) C2("minimum", minimum, minimum, R(3, 4), R(4)) C3(
            "where", where, where, M(make_cond), R(2, 3), R(3)) C1("affine", affine, affine, R(5)) C1("neg", neg, neg, R(5))
            C1("exp", exp, exp, R(5)) C1("log", log, log, P(5)) C1("sqrt", sqrt, sqrt, P(5)) C1(
                "square", square, square,
                R(5)) C1("abs", abs, abs,
                         K(
                             5)) C1("sin", sin, sin, R(5)) C1("cos", cos, cos, R(5)) C1("tanh", tanh, tanh, R(5))
                C1("sigmoid", sigmoid, sigmoid, R(5)) C1("softplus", softplus, softplus, R(5)) C1("relu", relu, relu, K(9)) C1(
                    "leaky_relu", leaky_relu,
                    leaky,
                    K(9)) C1("clamp", clamp, clamp,
                             R(9)) C1("pow 2.5", pow, pow, P(5))
                    C1("pow 3", pow, pow3, R(5)) C2("act_grad tanh", act_grad, ag_tanh, R(5), R(5)) C2(
                        "act_grad sigmoid",
                        act_grad, ag_sigmoid,
                        R(5), R(5)) C2("act_grad softplus", act_grad, ag_softplus, R(5), P(5))
                        C2("act_grad leaky", act_grad, ag_leaky, R(5), FK(5)) C1("cast", cast, cast_op, R(5)) C1(
                            "sum",
                            sum, sum,
                            R(2, 3,
                              4)) C1("sum outer", sum, sum_outer,
                                     R(2, 3, 4)) C1("sum all", sum, sum_all, R(2, 3, 4))
                            C1("mean", mean, mean, R(2, 3, 4)) C1("max", max, max, R(3, 4)) C1("min", min, min, R(2, 3, 4)) C1(
                                "broadcast_to",
                                broadcast_to, broadcast,
                                R(2, 1)) C1("reduce_to", reduce_to, reduce_to, R(2, 3, 4))
                                C1("log_softmax", log_softmax, log_softmax, R(3, 5)) C1("reshape", reshape, reshape, R(2, 6)) C1(
                                    "transpose", transpose,
                                    transpose,
                                    R(2, 3,
                                      4)) C1("transpose matrix", transpose, transpose2,
                                             R(5, 4)) C3("concat 0", concat, concat0, R(2, 3), R(1, 3), R(2, 3))
                                    C2("concat 1", concat, concat1, R(2, 3), R(2, 1)) C1("slice 0", slice, slice0, R(4, 3)) C1(
                                        "slice 0 twice", slice,
                                        slice0_twice, R(4, 3)) C1("slice 1", slice, slice1, R(2, 4))
                                        C1("slice_adjoint 0", slice_adjoint, slice_adj0,
                                           R(2, 3)) C1("slice_adjoint 1", slice_adjoint, slice_adj1, R(2, 3))
                                            C2("matmul", matmul, mm, R(3, 4), R(4, 2)) C2(
                                                "matmul ta", matmul,
                                                mm_ta,
                                                R(4, 3), R(4, 2)) C2("matmul tb", matmul, mm_tb, R(3, 4), R(2, 4))
                                                C2("matmul ta tb", matmul, mm_tt, R(4, 3), R(2, 4)) C3(
                                                    "linear", linear, linear,
                                                    R(3, 4), R(4, 2),
                                                    R(2)) C3("linear tanh", linear, linear_tanh, R(3, 4), R(4, 2),
                                                             R(2)) C2("linear leaky", linear, linear_leaky, R(3, 4), R(4, 2))
                                                    C3("linear softplus", linear, linear_softplus, R(3, 4), R(4, 2),
                                                       R(2)) C3("linear rank 3", linear, linear_rank3, R(2, 3, 4), R(4, 2),
                                                                R(2)) C3("conv2d", conv2d, conv, R(2, 4, 5, 2), R(3, 2, 2, 3),
                                                                         R(3))
                                                        C3("conv2d same s2 leaky", conv2d, conv_s2, R(1, 6, 6, 2), R(5, 5, 2, 3),
                                                           R(3)) C3("conv2d asymmetric tanh", conv2d, conv_asym, R(2, 5, 4, 2),
                                                                    R(2, 3, 2, 2),
                                                                    R(2)) C3("conv_transpose2d", conv_transpose2d, conv_t,
                                                                             R(1, 3, 2, 2),
                                                                             R(3, 2, 3, 2),
                                                                             R(3))
                                                            C3("conv_transpose2d same s2", conv_transpose2d, conv_t_s2,
                                                               R(1, 3, 3, 2), R(5, 5, 3, 2),
                                                               R(3)) C3("conv_transpose2d out_pad", conv_transpose2d, conv_t_op,
                                                                        R(1, 3, 2, 2),
                                                                        R(4, 3, 2, 2),
                                                                        R(2)) C2("conv2d_dw", conv2d_dw, conv_dw, R(2, 5, 4, 2),
                                                                                 R(2, 2, 3, 2))
                                                                C3("batch_norm", batch_norm, bn, R(6, 3), P(3), R(3)) C3(
                                                                    "batch_norm nhwc leaky", batch_norm, bn4, R(2, 2, 3, 3), P(3),
                                                                    R(3)) C3("batch_norm tanh", batch_norm, bn_tanh, R(5, 2),
                                                                             P(2), R(2))
                                                                    C1("batch_norm plain", batch_norm, bn_plain, R(5, 2)) C3(
                                                                        "batch_norm eval",
                                                                        batch_norm, bn_eval, R(5, 3), P(3),
                                                                        R(3)) C1("dropout", dropout, dropout,
                                                                                 R(4, 5)) C1("gather", gather, gather, R(4, 3))
                                                                        C1("gather_adjoint", gather_adjoint, gather_adj, R(5, 3))
                                                                            C1("avg_pool2d", avg_pool2d, avg, R(1, 4, 5, 2)) C1(
                                                                                "avg_pool2d overlapping", avg_pool2d, avg_over,
                                                                                R(2, 4, 3, 2)) C1("avg_pool2d_adjoint",
                                                                                                  avg_pool2d_adjoint, avg_adj,
                                                                                                  R(1, 2, 2, 3))
                                                                                C1("max_pool2d", max_pool2d, maxp, R(2, 4, 3, 2))
                                                                                    C2("max_pool2d_pick", max_pool2d_pick,
                                                                                       maxp_pick, F(1, 4, 4, 2), R(1, 4, 4, 2))
                                                                                        C2("max_pool2d_scatter",
                                                                                           max_pool2d_scatter, maxp_scatter,
                                                                                           F(1, 4, 4, 2), R(1, 2, 2, 2))
                                                                                            C1("upsample2d", upsample2d, upsample,
                                                                                               R(1, 2, 2, 3)) C2("bce", bce, bce,
                                                                                                                 U(4, 2), U(4, 2))
                                                                                                C2("bce_logits", bce_logits,
                                                                                                   bce_logits, R(4, 2), U(4, 2))
                                                                                                    C1("cross_entropy",
                                                                                                       cross_entropy, ce, R(4, 3))
};
static const int grad_case_count = sizeof grad_cases / sizeof *grad_cases;

#endif
