/* test_gate.c: the gradient of a fused activation, taken by the product or convolution behind it (fg_vjp.gate), is what every op
 * by itself gives. build: both */
#include "kernels.h"
#include "scope_help.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

/* The product that makes the gradient of an activation's output goes on to that of its input where nobody else looks: compared
 * with create_graph, which takes every op by itself. */
START_TEST(activations_are_differentiated_on_the_way) {
    static const fg_act acts[] = { FG_ACT_RELU, FG_ACT_LEAKY_RELU, FG_ACT_TANH, FG_ACT_NONE };
    static const int64_t sizes[][4] = { { 5, 7, 6, 1 }, { 80, 96, 65, 70 }, { 3, 2, 40, 2 } }; /* rows, hidden, hidden, out */
    enum { PLAIN, READ_TWICE, ASKED_FOR, FROZEN, LAST };
    for (int i = 0; i < LAST * 4 * 3; i++) {
        const int64_t *n = sizes[i / LAST / 4];
        int how = i % LAST;
        fg_linear_opts o = { acts[i / LAST % 4], 0.2 }, other = { FG_ACT_RELU, 0 }, last = { FG_ACT_NONE, 0 };
        fg_tensor *x = fg_normal(s, FG_SHAPE(n[0], n[1]), 0, 1, FG_STREAM_DATA), *w[3], *b[3];
        for (int k = 0; k < 3; k++) {
            w[k] = fg_normal(s, FG_SHAPE(n[k > 1 ? 2 : 1], k == 0 ? n[1] : n[k + 1]), 0, 1, FG_STREAM_DATA);
            b[k] = fg_normal(s, FG_SHAPE(w[k]->shape.dim[1]), 0, 1, FG_STREAM_DATA);
            bool frozen = how == FROZEN && k < 2;
            ck_assert_int_eq(fg_tensor_set_requires_grad(w[k], !frozen), FG_OK);
            ck_assert_int_eq(fg_tensor_set_requires_grad(b[k], !frozen), FG_OK);
        }
        ck_assert_int_eq(fg_tensor_set_requires_grad(x, true), FG_OK);
        fg_tensor *h = fg_linear(s, x, w[0], b[0], &o), *in = how == READ_TWICE ? fg_add(s, h, fg_square(s, h)) : h;
        fg_tensor *y = fg_linear(s, fg_linear(s, in, w[1], b[1], &other), w[2], b[2], &last);
        if (how == READ_TWICE) y = fg_add(s, total(s, y), total(s, fg_linear(s, h, w[1], b[1], &other)));
        fg_tensor *loss = total(s, fg_square(s, y)), *xs[] = { x, w[0], b[0], w[1], b[1], w[2], b[2], h }, *a[8], *e[8];
        if (how == FROZEN) xs[1] = xs[2] = xs[3] = xs[4] = x;
        ck_assert_int_eq(fg_grad(s, loss, NULL, xs, 8, true, true, e), FG_OK);
        for (int round = 0; round < 2; round++) { /* a retained graph remembers nothing of the first round */
            int m = how == ASKED_FOR || round ? 8 : 7;
            ck_assert_int_eq(fg_grad(s, loss, NULL, xs, m, false, true, a), FG_OK);
            for (int k = 0; k < m; k++)
                for (int64_t q = 0; q < a[k]->numel; q++) {
                    double want = at(e[k], q), got = at(a[k], q), size = at(fg_max(s, fg_abs(s, e[k]), NULL, false), 0);
                    ck_assert_msg(fabs(got - want) <= 1e-4 * size + 1e-6, "case %d, gradient %d[%ld]: %g, expected %g", i, k,
                                  (long)q, got, want);
                    if (q > 300) break;
                }
        }
    }
}
END_TEST

/* Convolutions by Winograd (16 channels and more), by kernels that heed no gate, and by one matrix product (the last). */
START_TEST(convolutions_take_activations_along) {
    static const fg_act acts[] = { FG_ACT_RELU, FG_ACT_LEAKY_RELU, FG_ACT_SIGMOID, FG_ACT_NONE };
    static const int64_t sizes[][4] = { { 32, 40, 33, 34 }, { 2, 3, 4, 5 }, { 33, 32, 3, 40 } }; /* channels */
    enum { PLAIN, ASKED_FOR, FROZEN, DIRECT, LAST };
    for (int i = 0; i < LAST * 4 * 3; i++) {
        const int64_t *c = sizes[i / LAST / 4];
        int how = i % LAST;
        fg_act act = acts[i / LAST % 4];
        fg_scope *q = fg_scope_open(ctx);
        fg_set_fast_conv(ctx, how != DIRECT);
        fg_tensor *w[4], *x = fg_normal(q, FG_SHAPE(4, 21, 20, c[0]), 0, 1, FG_STREAM_DATA);
        const fg_shape shapes[] = { FG_SHAPE(4, 4, c[0], c[1]), FG_SHAPE(5, 5, c[1], c[2]), FG_SHAPE(4, 4, c[3], c[2]),
                                    FG_SHAPE(20, 20, c[3], 7) };
        for (int k = 0; k < 4; k++) {
            w[k] = fg_normal(q, shapes[k], 0, 0.2, FG_STREAM_DATA);
            ck_assert_int_eq(fg_tensor_set_requires_grad(w[k], !(how == FROZEN && k < 3)), FG_OK);
        }
        ck_assert_int_eq(fg_tensor_set_requires_grad(x, true), FG_OK);
        fg_conv2d_opts halve = { .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 }, .act = act, .slope = 0.2 };
        if (i < LAST) { /* the gradient of h, by a kernel that heeds gates */
            fg_conv_geom g = { 4, 10, 10, c[1], 10, 10, c[2], 5, 5, 1, 1, 2, 2 };
            fg_conv_plan p;
            fg_conv_choose(ctx->k, &g, FG_CONV_DX, how == DIRECT ? 0 : FG_CONV_FAST, &p);
            ck_assert_int_eq(p.kernel->gates, how != DIRECT);
        }
        fg_conv2d_opts stay = { .pad = { 2, 2, 2, 2 }, .act = FG_ACT_LEAKY_RELU, .slope = 0.3 };
        fg_tensor *h = fg_conv2d(q, x, w[0], NULL, &halve), *m = fg_conv2d(q, h, w[1], NULL, &stay);
        fg_tensor *y = fg_conv2d(q, fg_conv_transpose2d(q, m, w[2], NULL, &halve), w[3], NULL, NULL);
        fg_tensor *loss = total(q, fg_square(q, y)), *xs[] = { x, w[0], w[1], w[2], w[3], h }, *a[6], *e[6];
        if (how == FROZEN) xs[1] = xs[2] = xs[3] = x;
        ck_assert_int_eq(fg_grad(q, loss, NULL, xs, 6, true, true, e), FG_OK);
        for (int round = 0; round < 2; round++) {
            int n = how == ASKED_FOR || round ? 6 : 5;
            ck_assert_int_eq(fg_grad(q, loss, NULL, xs, n, false, true, a), FG_OK);
            for (int k = 0; k < n; k++) {
                double size = at(fg_max(q, fg_abs(q, e[k]), NULL, false), 0);
                for (int64_t n0 = 0; n0 < a[k]->numel; n0 += 1 + a[k]->numel / 2000)
                    ck_assert_msg(fabs(at(a[k], n0) - at(e[k], n0)) <= 1e-4 * size + 1e-6,
                                  "case %d, gradient %d[%ld]: %g, expected %g", i, k, (long)n0, at(a[k], n0), at(e[k], n0));
            }
        }
        fg_scope_close(q);
    }
}
END_TEST

/* Under bf16 precision a sigmoid gives f32, and what follows may be in f32 again: then the gate is taken there, and the
 * convolution of bf16 behind it must not close it twice. */
START_TEST(gates_between_precisions) {
    fg_tensor *x = fg_normal(s, FG_SHAPE(2, 8, 8, 3), 0, 1, FG_STREAM_DATA),
              *v = fg_normal(s, FG_SHAPE(3, 3, 4, 5), 0, 1, FG_STREAM_DATA);
    fg_tensor *w = fg_normal(s, FG_SHAPE(3, 3, 3, 4), 0, 1, FG_STREAM_DATA), *a[1], *e[1];
    ck_assert_int_eq(fg_tensor_set_requires_grad(w, true), FG_OK);
    ck_assert_int_eq(fg_set_precision(ctx, FG_PRECISION_BF16), FG_OK);
    fg_tensor *h = fg_conv2d(s, x, w, NULL, &(fg_conv2d_opts){ .act = FG_ACT_SIGMOID });
    ck_assert_int_eq(fg_set_precision(ctx, FG_PRECISION_F32), FG_OK);
    fg_tensor *loss = total(s, fg_square(s, fg_conv2d(s, h, v, NULL, NULL)));
    ck_assert_int_eq(fg_grad(s, loss, NULL, &w, 1, true, true, e), FG_OK);
    ck_assert_int_eq(fg_grad(s, loss, NULL, &w, 1, false, true, a), FG_OK);
    double size = at(fg_max(s, fg_abs(s, e[0]), NULL, false), 0);
    for (int64_t q = 0; q < w->numel; q++)
        ck_assert_msg(fabs(at(a[0], q) - at(e[0], q)) <= 0.02 * size, "gradient[%ld]: %g, expected %g", (long)q, at(a[0], q),
                      at(e[0], q));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gate");
    TCase *t = tcase_create("gate");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, activations_are_differentiated_on_the_way);
    tcase_add_test(t, convolutions_take_activations_along);
    tcase_add_test(t, gates_between_precisions);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
