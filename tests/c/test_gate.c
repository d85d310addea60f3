/* test_gate.c: the gradient of a fused activation, taken by the product behind it (fg_vjp.gate), is what every op by itself
 * gives. build: both */
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

int main(void) {
    Suite *suite = suite_create("gate");
    TCase *t = tcase_create("gate");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, activations_are_differentiated_on_the_way);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
