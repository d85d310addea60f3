/* test_ops_errors.c: what ops say when shapes, dtypes, axes or options do not fit. Messages hold the numbers, and count axes
 * and positions from the index base that the binding sets. A failed op leaves its scope failed and everything else usable. */
#include "forger.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static fg_context *ctx;
static fg_scope *s;
static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
}
static void teardown(void) { fg_context_free(ctx); }

/* The call runs in a fresh scope s, fails with FG_EINVAL and exactly this message. */
#define REFUSED(call, message)                                                                                                   \
    do {                                                                                                                         \
        s = fg_scope_open(ctx);                                                                                                  \
        fg_clear_error(ctx);                                                                                                     \
        ck_assert_msg((call) == NULL, "not refused: %s", message);                                                               \
        ck_assert_int_eq(fg_scope_status(s), FG_EINVAL);                                                                         \
        ck_assert_ptr_null(fg_exp(s, T(1))); /* the scope stays failed */                                                        \
        ck_assert_int_eq(fg_scope_close(s), FG_EINVAL);                                                                          \
        ck_assert_str_eq(fg_last_error(ctx), message);                                                                           \
    } while (0)
#define T(...)    fg_zeros(s, FG_F32, FG_SHAPE(__VA_ARGS__))
#define TI(...)   fg_zeros(s, FG_I32, FG_SHAPE(__VA_ARGS__))
#define SCALAR    fg_zeros(s, FG_F32, FG_SCALAR)
#define LIST(...) ((fg_tensor *[]){ __VA_ARGS__ })
#define CONV(...) (&(fg_conv2d_opts){ __VA_ARGS__ })
#define POOL(...) (&(fg_pool_opts){ __VA_ARGS__ })

START_TEST(convolutions) {
    REFUSED(fg_conv2d(s, T(64, 28, 28, 1), T(5, 5, 3, 32), NULL, NULL),
            "conv2d: input [64,28,28,1] has 1 channel, weight [5,5,3,32] expects 3");
    REFUSED(fg_conv2d(s, T(2, 8, 8, 4), T(5, 5, 3, 32), NULL, NULL),
            "conv2d: input [2,8,8,4] has 4 channels, weight [5,5,3,32] expects 3");
    REFUSED(fg_conv2d(s, T(2, 8, 3), T(5, 5, 3, 32), NULL, NULL), "conv2d: input is [2,8,3], expected [N,H,W,C]");
    REFUSED(fg_conv2d(s, T(2, 8, 8, 3), T(5, 3, 32), NULL, NULL), "conv2d: weight is [5,3,32], expected [KH,KW,in,out]");
    REFUSED(fg_conv2d(s, T(2, 8, 8, 3), T(5, 5, 3, 32), T(31), NULL), "conv2d: bias is [31], expected [32]");
    REFUSED(fg_conv2d(s, T(2, 4, 9, 3), T(5, 5, 3, 32), NULL, NULL),
            "conv2d: kernel 5x5 does not fit input [2,4,9,3] with padding {0,0,0,0}");
    REFUSED(fg_conv2d(s, T(2, 8, 8, 3), T(5, 5, 3, 32), NULL, CONV(.stride = { -1, 1 })), "conv2d: stride -1 is not in 1..1024");
    REFUSED(fg_conv2d(s, T(2, 8, 8, 3), T(5, 5, 3, 32), NULL, CONV(.pad = { 0, 0, -2, 0 })),
            "conv2d: padding -2 is not in 0..1048576");
    REFUSED(fg_conv2d(s, T(2, 8, 8, 3), T(5, 5, 3, 32), NULL, CONV(.act = FG_ACT_LEAKY_RELU, .slope = -0.5)),
            "conv2d: slope -0.5 is negative; it must be >= 0");
    REFUSED(fg_conv_transpose2d(s, T(2, 8, 8, 1), T(4, 4, 16, 3), NULL, NULL),
            "conv_transpose2d: input [2,8,8,1] has 1 channel, weight [4,4,16,3] expects 3");
    REFUSED(fg_conv_transpose2d(s, T(2, 8, 8, 3), T(4, 4, 16, 3), NULL, CONV(.stride = { 2, 2 }, .out_pad = { 2, 0 })),
            "conv_transpose2d: output padding 2 must be below the stride 2");
    REFUSED(fg_conv_transpose2d(s, T(2, 1, 1, 3), T(2, 2, 16, 3), NULL, CONV(.pad = { 1, 1, 1, 1 })),
            "conv_transpose2d: input [2,1,1,3] with kernel 2x2 and padding {1,1,1,1} leaves no output");
    REFUSED(fg_conv2d_dw(s, T(2, 8, 8, 3), T(3, 8, 8, 4), (int[]){ 3, 3 }, NULL),
            "conv2d_dw: input [2,8,8,3] and gradient [3,8,8,4] differ in batch size");
    REFUSED(fg_conv2d_dw(s, T(2, 8, 8, 3), T(2, 8, 8, 4), (int[]){ 0, 3 }, NULL), "conv2d_dw: kernel 0x3 is empty");
}
END_TEST

START_TEST(products) {
    REFUSED(fg_matmul(s, T(2, 3), T(4, 5), NULL), "matmul: [2,3] has 3 columns, [4,5] has 4 rows");
    REFUSED(fg_matmul(s, T(2, 3), T(4, 5), &(fg_matmul_opts){ .ta = true, .tb = true }),
            "matmul: [2,3] transposed has 2 columns, [4,5] transposed has 5 rows");
    REFUSED(fg_matmul(s, T(2, 1), T(2), NULL), "matmul: expected two matrices, got [2,1] and [2]");
    REFUSED(fg_linear(s, T(64, 784), T(100, 10), NULL, NULL),
            "linear: input [64,784] has 784 features, weight [100,10] expects 100");
    REFUSED(fg_linear(s, T(64, 1), T(100, 10), NULL, NULL), "linear: input [64,1] has 1 feature, weight [100,10] expects 100");
    REFUSED(fg_linear(s, T(64, 100), T(100, 10), T(11), NULL), "linear: bias is [11], expected [10]");
    REFUSED(fg_linear(s, T(100), T(100, 10), NULL, NULL),
            "linear: expected input [N,in] and weight [in,out], got [100] and [100,10]");
}
END_TEST

START_TEST(elementwise) {
    REFUSED(fg_add(s, T(2, 3), T(4)), "add: shapes [2,3] and [4] do not broadcast");
    REFUSED(fg_div(s, T(2, 3, 1), T(4, 5)), "div: shapes [2,3,1] and [4,5] do not broadcast");
    REFUSED(fg_lt(s, T(2), T(3)), "lt: shapes [2] and [3] do not broadcast");
    REFUSED(fg_where(s, T(2), T(2), T(2)), "where: tensor 0 is f32, expected u8 (a comparison's result)");
    REFUSED(fg_where(s, fg_zeros(s, FG_U8, FG_SHAPE(3)), T(2), T(2)), "where: shapes [3], [2] and [2] do not broadcast");
    REFUSED(fg_clamp(s, T(2), 1, -1), "clamp: lower bound 1 is above the upper bound -1");
    REFUSED(fg_clamp(s, T(2), NAN, 1), "clamp: lower bound nan is above the upper bound 1");
    REFUSED(fg_leaky_relu(s, T(2), -0.1), "leaky_relu: slope -0.1 is negative; it must be >= 0");
    REFUSED(fg_act_grad(s, T(2), T(3), FG_ACT_TANH, 0), "act_grad: the gradient has shape [2], the output [3]");
    REFUSED(fg_bce(s, T(2, 1), T(2)), "bce: input [2,1] and target [2] differ in shape");
    REFUSED(fg_bce_logits(s, T(2), T(3)), "bce_logits: input [2] and target [3] differ in shape");
}
END_TEST

START_TEST(axes_and_shapes) {
    REFUSED(fg_sum(s, T(2, 3), FG_AXES(2), false), "sum: axes out of range or repeated for [2,3] (first: 2)");
    REFUSED(fg_mean(s, T(2, 3), FG_AXES(1, -1), false), "mean: axes out of range or repeated for [2,3] (first: 1)");
    REFUSED(fg_max(s, T(2, 0), NULL, false), "max: the tensor [2,0] is empty");
    REFUSED(fg_argmax(s, T(2, 3), 2, false), "argmax: axis 2 is out of range for [2,3]");
    REFUSED(fg_argmax(s, T(2, 3), -3, false), "argmax: axis -3 is out of range for [2,3]");
    REFUSED(fg_log_softmax(s, SCALAR), "log_softmax: a scalar has no last axis");
    REFUSED(fg_broadcast_to(s, T(2, 3), FG_SHAPE(3, 3)), "broadcast_to: [2,3] does not broadcast to [3,3]");
    REFUSED(fg_reduce_to(s, T(2, 3), FG_SHAPE(2)), "reduce_to: [2,3] cannot be summed to [2]");
    REFUSED(fg_reshape(s, T(2, 3), FG_SHAPE(4, 2)), "reshape: [2,3] has 6 elements, which cannot be shaped [4,2]");
    REFUSED(fg_reshape(s, T(1), FG_SHAPE(4, 2)), "reshape: [1] has 1 element, which cannot be shaped [4,2]");
    REFUSED(fg_reshape(s, T(2, 3), FG_SHAPE(4, -1)), "reshape: [2,3] has 6 elements, which cannot be shaped [4,-1]");
    REFUSED(fg_reshape(s, T(2, 3), FG_SHAPE(-1, -1)), "reshape: size -1 in [-1,-1]; sizes are >= 0 and one may be -1");
    REFUSED(fg_reshape(s, T(2, 3), FG_SHAPE(INT64_MAX, 3)), "reshape: shape [9223372036854775807,3] is too large");
    REFUSED(fg_transpose(s, T(2, 3), FG_AXES(0)), "transpose: 1 axes given for [2,3] of rank 2");
    REFUSED(fg_transpose(s, T(2, 3), FG_AXES(1, 1)), "transpose: axis 1 is out of range or repeated for [2,3]");
    REFUSED(fg_concat(s, LIST(T(2, 3), T(2, 4)), 2, 0),
            "concat: tensor 1 is f32 [2,4], the first is f32 [2,3]; all but axis 0 must agree");
    REFUSED(fg_concat(s, LIST(T(2, 3), TI(2, 3)), 2, 1),
            "concat: tensor 1 is i32 [2,3], the first is f32 [2,3]; all but axis 1 must agree");
    REFUSED(fg_concat(s, LIST(T(2, 3)), 1, 5), "concat: axis 5 is out of range for [2,3]");
    REFUSED(fg_concat(s, LIST(NULL), 0, 0), "concat: 0 tensors given, 1 expected");
    REFUSED(fg_slice(s, T(4, 3), 0, 3, 2), "slice: 2 from position 3 leaves axis 0 of [4,3]");
    REFUSED(fg_slice(s, T(4, 3), 1, -1, 2), "slice: 2 from position -1 leaves axis 1 of [4,3]");
    REFUSED(fg_slice(s, T(4, 3), 0, INT64_MAX, INT64_MAX),
            "slice: 9223372036854775807 from position 9223372036854775807 leaves axis 0 of [4,3]");
    REFUSED(fg_slice(s, T(4, 3), 2, 0, 1), "slice: axis 2 is out of range for [4,3]");
    REFUSED(fg_slice_adjoint(s, T(4, 3), 0, 2, 5), "slice_adjoint: 4 from position 2 do not fit a size of 5");
}
END_TEST

START_TEST(norm_lookup_pool_loss) {
    fg_batch_norm_opts train = { .training = true }, eval = { .training = false };
    REFUSED(fg_batch_norm(s, T(4, 3), T(2), T(3), NULL, NULL, &train), "batch_norm: input [4,3] has 3 channels, gamma is [2]");
    REFUSED(fg_batch_norm(s, T(4, 1), T(1), T(3), NULL, NULL, &train), "batch_norm: input [4,1] has 1 channel, beta is [3]");
    REFUSED(fg_batch_norm(s, T(3), NULL, NULL, NULL, NULL, &train),
            "batch_norm: input [3] needs a batch axis and a channel axis");
    REFUSED(fg_batch_norm(s, T(1, 3), NULL, NULL, NULL, NULL, &train),
            "batch_norm: input [1,3] has one value a channel; training needs at least two to have a variance");
    REFUSED(fg_batch_norm(s, T(4, 3), NULL, NULL, NULL, NULL, &eval), "batch_norm: evaluation needs running statistics");
    REFUSED(fg_dropout(s, T(3), 1), "dropout: p is 1; it must be in [0, 1)");
    REFUSED(fg_dropout(s, T(3), -0.5), "dropout: p is -0.5; it must be in [0, 1)");
    REFUSED(fg_gather(s, T(4, 3), T(2)), "gather: ids are f32, expected i32");
    REFUSED(fg_gather(s, T(4, 3), fg_from_i32(s, FG_SHAPE(3), (int32_t[]){ 0, 4, -1 })),
            "gather: id 4 at position 1 is not in 0..3");
    REFUSED(fg_gather(s, T(4, 3), fg_from_i32(s, FG_SHAPE(1), (int32_t[]){ -1 })), "gather: id -1 at position 0 is not in 0..3");
    REFUSED(fg_gather_adjoint(s, T(2, 3), TI(3), 4), "gather_adjoint: values [2,3] do not fit ids [3] and 4 rows");
    REFUSED(fg_avg_pool2d(s, T(2, 8, 8), POOL(.kernel = { 2, 2 })), "avg_pool2d: input is [2,8,8], expected [N,H,W,C]");
    REFUSED(fg_avg_pool2d(s, T(2, 8, 8, 1), POOL(.kernel = { 0, 2 })), "avg_pool2d: kernel 0x2 is empty");
    REFUSED(fg_max_pool2d(s, T(2, 2, 8, 1), POOL(.kernel = { 3, 2 })), "max_pool2d: kernel 3x2 does not fit a map of 2x8");
    REFUSED(fg_max_pool2d(s, T(2, 8, 8, 1), POOL(.kernel = { 2, 2 }, .pad = { 2, 0, 0, 0 })),
            "max_pool2d: padding 2 must be in 0..1, below the kernel");
    REFUSED(fg_upsample2d(s, T(2, 8, 8, 1), (int[]){ 2, 0 }), "upsample2d: factor 0 is not in 1..1024");
    REFUSED(fg_cross_entropy(s, T(3, 4), T(3)), "cross_entropy: labels are f32, expected i32");
    REFUSED(fg_cross_entropy(s, T(3, 4), TI(2)), "cross_entropy: expected logits [N,K] and labels [N], got [3,4] and [2]");
    REFUSED(fg_cross_entropy(s, T(2, 4), fg_from_i32(s, FG_SHAPE(2), (int32_t[]){ 3, 4 })),
            "cross_entropy: label 4 at position 1 is not in 0..3");
}
END_TEST

/* With base 1, as Lua counts: axes and positions grow by one, counts, sizes, ids and negative axes do not. */
START_TEST(index_base_one) {
    fg_set_index_base(ctx, 1);
    REFUSED(fg_sum(s, T(2, 3), FG_AXES(2), false), "sum: axes out of range or repeated for [2,3] (first: 3)");
    REFUSED(fg_argmax(s, T(2, 3), 2, false), "argmax: axis 3 is out of range for [2,3]");
    REFUSED(fg_argmax(s, T(2, 3), -3, false), "argmax: axis -3 is out of range for [2,3]");
    REFUSED(fg_transpose(s, T(2, 3), FG_AXES(1, 1)), "transpose: axis 2 is out of range or repeated for [2,3]");
    REFUSED(fg_concat(s, LIST(T(2, 3), T(2, 4)), 2, 0),
            "concat: tensor 2 is f32 [2,4], the first is f32 [2,3]; all but axis 1 must agree");
    REFUSED(fg_slice(s, T(4, 3), 0, 3, 2), "slice: 2 from position 4 leaves axis 1 of [4,3]");
    REFUSED(fg_where(s, T(2), T(2), T(2)), "where: tensor 1 is f32, expected u8 (a comparison's result)");
    REFUSED(fg_gather(s, T(4, 3), fg_from_i32(s, FG_SHAPE(3), (int32_t[]){ 0, 4, -1 })),
            "gather: id 4 at position 2 is not in 0..3");
    REFUSED(fg_cross_entropy(s, T(2, 4), fg_from_i32(s, FG_SHAPE(2), (int32_t[]){ 3, 4 })),
            "cross_entropy: label 4 at position 2 is not in 0..3");
    REFUSED(fg_conv2d(s, T(64, 28, 28, 1), T(5, 5, 3, 32), NULL, NULL),
            "conv2d: input [64,28,28,1] has 1 channel, weight [5,5,3,32] expects 3");
}
END_TEST

/* The first error of a scope stays, NULL flows through, and the context works on. */
START_TEST(first_error_stays) {
    s = fg_scope_open(ctx);
    fg_tensor *bad = fg_add(s, T(2), T(3)), *more = fg_exp(s, fg_mul(s, bad, bad));
    ck_assert_ptr_null(more);
    ck_assert_ptr_null(fg_matmul(s, T(2), T(3), NULL));
    fg_scope *q = fg_scope_open(ctx); /* another scope is not failed by this one */
    double v = 0;
    ck_assert_int_eq(fg_tensor_item(fg_sum(q, fg_full(q, FG_F32, FG_SHAPE(3), 2), NULL, false), &v), FG_OK);
    ck_assert_int_eq(fg_scope_close(q), FG_OK);
    ck_assert_double_eq(v, 6);
    ck_assert_int_eq(fg_backward(s, more), FG_EINVAL);
    ck_assert_int_eq(fg_scope_close(s), FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "add: shapes [2] and [3] do not broadcast");
    s = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_exp(s, NULL));
    ck_assert_int_eq(fg_scope_close(s), FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "exp: tensor 0 is NULL");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ops_errors");
    TCase *t = tcase_create("ops_errors");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, convolutions);
    tcase_add_test(t, products);
    tcase_add_test(t, elementwise);
    tcase_add_test(t, axes_and_shapes);
    tcase_add_test(t, norm_lookup_pool_loss);
    tcase_add_test(t, index_base_one);
    tcase_add_test(t, first_error_stays);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
