/* test_grad_ops.c: every op of ops.def against finite differences, in double.
 *
 * Per case: (1) gradients from vjp_fast against central differences of L = sum(y * r), relative error < 1e-6; (2) the
 * differentiable vjp against vjp_fast, < 1e-9; (3) second order: the gradient of M = sum_i sum(dL/dx_i * u_i) against central
 * differences of M, < 1e-5. A differentiable op without a case fails the suite. Relative error is max|a-b| / max|b|. */
#include "grad_cases.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fg_context *ctx;
static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
}
static void teardown(void) { fg_context_free(ctx); }

typedef struct state {
    const grad_case *c;
    fg_tensor *in[GRAD_INPUTS], *r, *u[GRAD_INPUTS];
} state;

static bool diff(const grad_case *c, int i) { return c->in[i].shape.ndim >= 0 && !(c->in[i].fixed); }

/* L, and with create_graph its gradients contracted with u: M */
static double loss(const state *st, bool second) {
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *y = st->c->call(s, (fg_tensor **)st->in);
    fg_tensor *l = fg_sum(s, fg_mul(s, y, st->r), NULL, false), *out = l;
    double v = NAN;
    if (second) {
        fg_tensor *xs[GRAD_INPUTS], *g[GRAD_INPUTS];
        int n = 0, at[GRAD_INPUTS];
        for (int i = 0; i < st->c->n; i++)
            if (diff(st->c, i)) at[n] = i, xs[n++] = st->in[i];
        fg_grad(s, l, NULL, xs, n, true, true, g);
        out = NULL;
        for (int k = 0; k < n; k++) {
            if (!g[k] || g[k] == FG_NONE) continue;
            fg_tensor *m = fg_sum(s, fg_mul(s, g[k], st->u[at[k]]), NULL, false);
            out = out ? fg_add(s, out, m) : m;
        }
    }
    if (out) fg_tensor_item(out, &v);
    fg_status status = fg_scope_close(s);
    ck_assert_msg(status == FG_OK, "%s: %s", st->c->name, fg_last_error(ctx));
    return v;
}

static double rel(const double *a, const double *b, int64_t n) {
    double d = 0, m = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        d = fmax(d, fabs(a[i] - b[i]));
        m = fmax(m, fabs(b[i]));
    }
    for (int64_t i = 0; i < n; i++)
        if (isnan(a[i]) || isnan(b[i])) return NAN;
    return m < 1e-12 ? d : d / m;
}

static void differences(const state *st, int i, bool second, double *out) {
    fg_real *x = (fg_real *)fg_tensor_data(st->in[i]);
    for (int64_t k = 0; k < fg_tensor_numel(st->in[i]); k++) {
        const double h = 1e-5 * fmax(1, fabs(x[k])), keep = x[k];
        x[k] = keep + h;
        double up = loss(st, second);
        x[k] = keep - h;
        double down = loss(st, second);
        x[k] = keep;
        out[k] = (up - down) / (2 * h);
    }
}

static void fill(fg_tensor *t, const grad_input *in) {
    fg_real *x = (fg_real *)fg_tensor_data(t);
    for (int64_t k = 0; k < fg_tensor_numel(t); k++) {
        double u = (fg_random_u32(ctx, FG_STREAM_DEFAULT) >> 8) * 0x1p-24;
        x[k] = in->lo + (in->hi - in->lo) * u;
        /* keep away from kinks at 0 and at multiples of the given step */
        if (in->away && fabs(x[k]) < in->away) x[k] = x[k] < 0 ? -in->away - fabs(x[k]) : in->away + fabs(x[k]);
    }
}

static void run_case(const grad_case *c) {
    state st = { .c = c };
    fg_scope *s = fg_scope_open(ctx);
    for (int i = 0; i < c->n; i++) {
        if (c->in[i].make) {
            st.in[i] = c->in[i].make(s);
            continue;
        }
        st.in[i] = fg_zeros(s, FG_F32, c->in[i].shape);
        fill(st.in[i], &c->in[i]);
        if (diff(c, i)) fg_tensor_set_requires_grad(st.in[i], true);
        st.u[i] = fg_normal(s, c->in[i].shape, 0, 1, FG_STREAM_DEFAULT);
    }
    fg_tensor *y = c->call(s, st.in);
    ck_assert_msg(y != NULL, "%s: %s", c->name, fg_last_error(ctx));
    st.r = fg_normal(s, fg_tensor_shape(y), 0, 1, FG_STREAM_DEFAULT);
    double scratch[4][2048];
    for (int i = 0; i < c->n; i++) {
        if (!diff(c, i)) continue;
        int64_t n = fg_tensor_numel(st.in[i]);
        ck_assert_int_le((int)n, 2048);
        fg_scope *q = fg_scope_open(ctx);
        fg_tensor *l = fg_sum(q, fg_mul(q, c->call(q, st.in), st.r), NULL, false), *g = NULL, *gg = NULL;
        fg_grad(q, l, NULL, &st.in[i], 1, false, true, &g);
        fg_grad(q, l, NULL, &st.in[i], 1, true, true, &gg);
        ck_assert_msg(fg_scope_status(q) == FG_OK, "%s: %s", c->name, fg_last_error(ctx));
        ck_assert_msg(g != FG_NONE && gg != FG_NONE, "%s: no gradient for input %d", c->name, i);
        const double *fast = (const double *)fg_tensor_data(g), *slow = (const double *)fg_tensor_data(gg);
        differences(&st, i, false, scratch[0]);
        double e1 = rel(fast, scratch[0], n), e2 = rel(slow, fast, n), e3 = 0;
        double m = loss(&st, true);
        if (!isnan(m)) { /* NaN: no first gradient is left to differentiate (none of them depends on anything) */
            fg_tensor *xs[GRAD_INPUTS], *gs[GRAD_INPUTS], *out = NULL, *g2 = NULL;
            int k = 0, at[GRAD_INPUTS];
            for (int j = 0; j < c->n; j++)
                if (diff(c, j)) at[k] = j, xs[k++] = st.in[j];
            fg_grad(q, l, NULL, xs, k, true, true, gs);
            for (int j = 0; j < k; j++) {
                if (gs[j] == FG_NONE) continue;
                fg_tensor *t = fg_sum(q, fg_mul(q, gs[j], st.u[at[j]]), NULL, false);
                out = out ? fg_add(q, out, t) : t;
            }
            if (out && fg_tensor_requires_grad(out)) {
                fg_grad(q, out, NULL, &st.in[i], 1, false, false, &g2);
                ck_assert_msg(fg_scope_status(q) == FG_OK, "%s second order: %s", c->name, fg_last_error(ctx));
                differences(&st, i, true, scratch[1]);
                for (int64_t j = 0; j < n; j++) scratch[2][j] = g2 == FG_NONE ? 0 : ((const double *)fg_tensor_data(g2))[j];
                double scale = 0;
                for (int64_t j = 0; j < n; j++) scale = fmax(scale, fabs(scratch[1][j]));
                e3 = scale < 1e-7 ? rel(scratch[2], scratch[1], n) * (scale < 1e-12 ? 1 : scale) : rel(scratch[2], scratch[1], n);
            } else if (out) { /* constant gradients: differences must agree that M does not move */
                differences(&st, i, true, scratch[1]);
                for (int64_t j = 0; j < n; j++) e3 = fmax(e3, fabs(scratch[1][j]));
            }
        }
        ck_assert_msg(e1 < 1e-6, "%s, input %d: gradient against differences %g", c->name, i, e1);
        ck_assert_msg(e2 < 1e-9, "%s, input %d: vjp against vjp_fast %g", c->name, i, e2);
        ck_assert_msg(e3 < 1e-5, "%s, input %d: second order against differences %g", c->name, i, e3);
        fg_scope_close(q);
    }
    fg_scope_close(s);
}

START_TEST(case_agrees) { run_case(&grad_cases[_i]); }
END_TEST

START_TEST(every_op_has_a_case) {
    for (int i = 0; fg_op_table[i]; i++) {
        if (!fg_op_table[i]->vjp) continue;
        bool found = false;
        for (int k = 0; k < grad_case_count && !found; k++) found = !strcmp(grad_cases[k].op, fg_op_table[i]->name);
        ck_assert_msg(found, "op '%s' has a vjp but no gradient case", fg_op_table[i]->name);
    }
}
END_TEST

/* A wrong gradient is seen: the same machinery on a tensor detached behind the op's back. */
static fg_tensor *broken(fg_scope *s, fg_tensor **in) { return fg_mul(s, in[0], fg_detach(s, in[0])); }
START_TEST(wrong_gradient_is_caught) {
    grad_case c = { "broken", "mul", 1, { { FG_SHAPE(3), 0.5, 2, 0, false, NULL } }, broken };
    run_case(&c);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("grad_ops");
    TCase *t = tcase_create("ops");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, case_agrees, 0, grad_case_count);
    tcase_add_test(t, every_op_has_a_case);
    /* fails as an assertion: check reports it as exit 1 in a fork; without forks it is left out */
    if (!getenv("CK_FORK") || strcmp(getenv("CK_FORK"), "no")) tcase_add_exit_test(t, wrong_gradient_is_caught, 1);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
