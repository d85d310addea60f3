/* test_kernels_sums.c: reductions, log-softmax, batch-norm passes, optimizers, pooling. The scalar reference against plain
 * long double formulas, then every ISA against the scalar reference: the same bits, since the order of sums is fixed by
 * the specification (log-softmax alone calls exp and has a bound instead).
 * build: both */
#include "kernel_cases.h"

static buffer b0, b1, b2, b3, b4, b5, b6, b7;
static buffer w0, w1, w2, w3;

static const fg_kernels *scalar(void) { return fg_kernels_for(FG_ISA_SCALAR); }
static void fresh(void) {
    buffer *all[] = { &b0, &b1, &b2, &b3, &b4, &b5, &b6, &b7, &w0, &w1, &w2, &w3 };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) fill_guard(all[i]);
}
/* |got - want| <= tol * (sum of magnitudes) */
static void near(fg_real got, long double want, long double size, double tol, const char *what) {
    EXPECT(fabsl((long double)got - want) <= (long double)tol * (size + (long double)REAL_MIN), "%s: got %.17g, expected %.17Lg",
           what, (double)got, want);
}
static const int64_t widths[] = { 1, 2, 3, 5, 7, 8, 12, 15, 16, 17, 24, 31, 32, 33, 48, 50, 64, 96, 100, 128, 130, 257 };
static const int64_t heights[] = { 1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 100 };
#define COUNT(a) (sizeof(a) / sizeof *(a))
#define EACH_MATRIX(rows, c)                                                                                                     \
    for (size_t i_ = 0; i_ < COUNT(heights); i_++)                                                                               \
        for (size_t j_ = 0; j_ < COUNT(widths); j_++)                                                                            \
            for (int64_t rows = heights[i_], c = widths[j_], once_ = 1; once_ && rows * c <= CAP; once_ = 0)

/* ---------------------------------------------------------------- reductions */
START_TEST(reduce_values) {
    fg_real *x = at(&b0, 0);
    for (int c = 1; c < SIZE_CASES; c++) {
        size_t n = size_case(c);
        long double sum = 0, size = 0, hi = -INFINITY, lo = INFINITY;
        fill_plain(x, n);
        for (size_t i = 0; i < n; i++) {
            sum += x[i], size += fabsl((long double)x[i]);
            if (x[i] > hi) hi = x[i];
            if (x[i] < lo) lo = x[i];
        }
        near(scalar()->reduce(FG_RED_SUM, x, n), sum, size, (double)n / 16 * REAL_EPS + 8 * REAL_EPS, "sum");
        ck_assert(scalar()->reduce(FG_RED_MAX, x, n) == hi && scalar()->reduce(FG_RED_MIN, x, n) == lo);
    }
    ck_assert(scalar()->reduce(FG_RED_SUM, x, 0) == 0 && scalar()->reduce(FG_RED_MAX, x, 0) == -INFINITY);
}
END_TEST

START_TEST(reduce_same_bits) {
    EACH_TABLE(k)
    for (int c = 0; c < SIZE_CASES; c++)
        for (int r = 0; r < FG_RED_COUNT; r++)
            for (int special = 0; special < 3; special++) {
                size_t n = size_case(c);
                fresh();
                fg_real *x = at(&b0, c % 4), got, want;
                if (special == 1) fill_special(x, n);
                else fill_plain(x, n);
                if (special == 2 && n) x[next_u32() % n] = NAN;
                got = k->reduce((fg_reduction)r, x, n), want = scalar()->reduce((fg_reduction)r, x, n);
                check_same(&got, &want, 1, k->isa, "reduce");
                if (special == 2 && n) EXPECT(isnan(got), "reduction %d on %s loses NaN among %zu", r, k->isa, n);
                double s = k->sumsq(x, n), t = scalar()->sumsq(x, n);
                EXPECT(s == t || (isnan(s) && isnan(t)), "sumsq on %s: %.17g, expected %.17g", k->isa, s, t);
                bool finite = true;
                for (size_t i = 0; i < n; i++) finite &= isfinite(x[i]) != 0;
                EXPECT(k->all_finite(x, n) == finite, "all_finite on %s of %zu", k->isa, n);
                if (n) { /* argmax: the first NaN, else the first of equals */
                    size_t best = 0;
                    for (size_t i = 1; i < n && !isnan(x[best]); i++)
                        if (isnan(x[i]) || x[i] > x[best]) best = i;
                    EXPECT(k->argmax(x, 1, (int64_t)n) == (int64_t)best, "argmax on %s", k->isa);
                }
            }
    EACH_TABLE(k) {
        fg_real *x = at(&b0, 0);
        fg_real one_bad[40], tie[] = { 1, 9, 3, 7, 3, 9, 0, 0 };
        for (int i = 0; i < 40; i++) { /* a single bad element anywhere is seen */
            for (int j = 0; j < 40; j++) one_bad[j] = 1;
            one_bad[i] = i % 2 ? -(fg_real)INFINITY : (fg_real)NAN;
            ck_assert(!k->all_finite(one_bad, 40));
        }
        ck_assert_int_eq(k->argmax(tie, 1, 8), 1);
        ck_assert_int_eq(k->argmax(tie, 2, 4), 1);
        fill_plain(x, 100);
        long double want = 0;
        for (int i = 0; i < 100; i++) want += (long double)x[i] * x[i];
        ck_assert(fabsl(k->sumsq(x, 100) - want) < 1e-12L * want);
    }
}
END_TEST

START_TEST(reduce_matrix) {
    EACH_TABLE(k)
    EACH_MATRIX(rows, c)
    for (int r = 0; r < FG_RED_COUNT; r++) {
        fresh();
        fg_real *x = at(&b0, 1), *y = at(&b1, 0), *want = at(&w0, 0);
        fill_plain(x, (size_t)(rows * c));
        if (rows * c > 20 && r != FG_RED_SUM) x[next_u32() % (size_t)(rows * c)] = NAN;
        k->reduce_cols((fg_reduction)r, x, rows, c, y);
        scalar()->reduce_cols((fg_reduction)r, x, rows, c, want);
        check_same(y, want, (size_t)c, k->isa, "reduce_cols");
        check_guard(&b1, y, (size_t)c, "reduce_cols");
        for (int64_t j = 0; j < c; j++) {
            long double s = 0, size = 0, m = x[j];
            for (int64_t i = 0; i < rows; i++) {
                fg_real v = x[i * c + j];
                s += v, size += fabsl((long double)v);
                if (isnan(v) || (r == FG_RED_MAX ? v > m : v < m)) m = v;
            }
            if (r == FG_RED_SUM) near(y[j], s, size, (double)rows * REAL_EPS, "reduce_cols");
            else {
                bool bad = false;
                for (int64_t i = 0; i < rows; i++) bad |= isnan(x[i * c + j]) != 0;
                EXPECT(bad ? isnan(y[j]) : y[j] == m, "reduce_cols %d: %g, expected %Lg", r, (double)y[j], m);
            }
        }
        fill_guard(&b1);
        k->reduce_rows((fg_reduction)r, x, rows, c, y);
        for (int64_t i = 0; i < rows; i++) want[i] = scalar()->reduce((fg_reduction)r, x + i * c, (size_t)c);
        check_same(y, want, (size_t)rows, k->isa, "reduce_rows");
        check_guard(&b1, y, (size_t)rows, "reduce_rows");
    }
}
END_TEST

START_TEST(log_softmax) {
    EACH_TABLE(k)
    EACH_MATRIX(rows, n)
    for (int in_place = 0; in_place < 2; in_place++) {
        fresh();
        fg_real *x = at(&b0, 1), *y = in_place ? x : at(&b1, 2), *dy = at(&b2, 0), *dx = in_place ? dy : at(&b3, 1);
        fg_real *copy = at(&w0, 0), *dcopy = at(&w1, 0);
        size_t all = (size_t)(rows * n);
        for (size_t i = 0; i < all; i++) copy[i] = x[i] = next_real() * 30 + 1000, dcopy[i] = dy[i] = next_real();
        k->log_softmax(x, y, rows, n);
        check_guard(in_place ? &b0 : &b1, y, all, "log_softmax");
        k->log_softmax_grad(dy, y, dx, rows, n);
        check_guard(in_place ? &b2 : &b3, dx, all, "log_softmax_grad");
        for (int64_t i = 0; i < rows; i++) {
            long double m = -INFINITY, s = 0, sd = 0, size = 0;
            for (int64_t j = 0; j < n; j++)
                if (copy[i * n + j] > m) m = copy[i * n + j];
            for (int64_t j = 0; j < n; j++) {
                s += expl(copy[i * n + j] - m), sd += dcopy[i * n + j], size += fabsl((long double)dcopy[i * n + j]);
            }
            for (int64_t j = 0; j < n; j++) {
                long double l = copy[i * n + j] - m - logl(s);
                near(y[i * n + j], l, fabsl(l) + 1, 8 * REAL_EPS, "log_softmax");
                near(dx[i * n + j], dcopy[i * n + j] - expl(l) * sd, size + 1, 64 * REAL_EPS, "log_softmax_grad");
            }
        }
    }
}
END_TEST

/* ---------------------------------------------------------------- batch norm */
static const fg_act acts[] = { FG_ACT_NONE, FG_ACT_RELU, FG_ACT_LEAKY_RELU, FG_ACT_TANH, FG_ACT_SIGMOID, FG_ACT_SOFTPLUS };

/* Rounding of one element of an activation that calls exp; the others agree bit by bit. */
static void check_act(const fg_real *got, const fg_real *want, size_t n, fg_act act, const char *isa, const char *what) {
    if (act <= FG_ACT_LEAKY_RELU) check_same(got, want, n, isa, what);
    else
        for (size_t i = 0; i < n; i++) near(got[i], want[i], fabsl((long double)want[i]), 4 * REAL_EPS, what);
}

START_TEST(bn_forward) {
    const fg_real slope = (fg_real)0.2;
    EACH_TABLE(k)
    EACH_MATRIX(rows, c) {
        fresh();
        size_t n = (size_t)(rows * c), w = (size_t)c;
        fg_real *x = at(&b0, 1), *mean = at(&b1, 0), *m2 = at(&b2, 1), *y = at(&b3, 2), *scale = at(&b4, 0), *shift = at(&b5, 3);
        fg_real *want = at(&w0, 0), *want2 = at(&w1, 0);
        for (size_t i = 0; i < n; i++) x[i] = next_real() + 100; /* a mean far above the deviation */
        fill_plain(scale, w), fill_plain(shift, w);
        k->bn_moments(x, rows, c, mean, m2);
        scalar()->bn_moments(x, rows, c, want, want2);
        check_same(mean, want, w, k->isa, "bn mean");
        check_same(m2, want2, w, k->isa, "bn m2");
        check_guard(&b1, mean, w, "bn mean"), check_guard(&b2, m2, w, "bn m2");
        for (int64_t j = 0; j < c; j++) {
            long double m = 0, q = 0;
            for (int64_t i = 0; i < rows; i++) m += x[i * c + j];
            m /= rows;
            for (int64_t i = 0; i < rows; i++) q += (x[i * c + j] - m) * (x[i * c + j] - m);
            near(mean[j], m, fabsl(m), (double)rows * REAL_EPS, "bn mean");
            near(m2[j], q, q + 1e-2L * rows, 300 * REAL_EPS, "bn m2");
        }
        for (size_t a = 0; a < COUNT(acts); a++)
            for (int in_place = 0; in_place < 2; in_place++) {
                fg_real *out = in_place ? at(&b6, 0) : y;
                memcpy(at(&b6, 0), x, n * sizeof *x);
                k->bn_apply(in_place ? out : x, rows, c, scale, shift, acts[a], slope, out);
                scalar()->bn_apply(x, rows, c, scale, shift, acts[a], slope, want);
                check_act(out, want, n, acts[a], k->isa, "bn_apply");
                check_guard(in_place ? &b6 : &b3, out, n, "bn_apply");
                for (int none = 0; none < 2; none++) {
                    memcpy(out, x, n * sizeof *x), memcpy(want, x, n * sizeof *x);
                    k->bias_act(out, none ? NULL : shift, rows, c, acts[a], slope);
                    for (size_t i = 0; i < n; i++) want[i] = fg_act_scalar(none ? x[i] : x[i] + shift[i % w], acts[a], slope);
                    check_act(out, want, n, acts[a], k->isa, "bias_act");
                    check_guard(in_place ? &b6 : &b3, out, n, "bias_act");
                }
            }
        fg_real e = x[n / 2] * scale[n / 2 % w] + shift[n / 2 % w];
        scalar()->bn_apply(x, rows, c, scale, shift, FG_ACT_NONE, 0, want);
        EXPECT(same_bits(want[n / 2], e), "bn_apply is not x*scale + shift");
    }
}
END_TEST

START_TEST(bn_backward) {
    const fg_real slope = (fg_real)0.2;
    EACH_TABLE(k)
    EACH_MATRIX(rows, c)
    for (size_t q = 0; q < COUNT(acts); q++) {
        fresh();
        fg_act act = acts[q];
        size_t n = (size_t)(rows * c), w = (size_t)c;
        fg_real *dy = at(&b0, 1), *y = at(&b1, 2), *x = at(&b2, 0), *mean = at(&b3, 1), *a = at(&b4, 0), *b = at(&b4, 700);
        fg_real *kk = at(&b4, 1400), *s = at(&b5, 0), *sx = at(&b6, 1), *dx = at(&b7, 3);
        fg_real *want = at(&w0, 0), *want2 = at(&w1, 0), *want3 = at(&w2, 0);
        fill_plain(dy, n), fill_plain(x, n), fill_plain(mean, w), fill_plain(a, w), fill_plain(b, w), fill_plain(kk, w);
        for (size_t i = 0; i < n; i++) y[i] = fg_act_scalar(next_real() * 2, act, slope);
        const fg_real *py = act == FG_ACT_NONE ? NULL : y;
        k->bn_grad_sums(dy, py, x, rows, c, mean, act, slope, s, sx);
        scalar()->bn_grad_sums(dy, py, x, rows, c, mean, act, slope, want, want2);
        k->bn_grad_apply(dy, py, x, rows, c, mean, a, b, kk, act, slope, dx);
        scalar()->bn_grad_apply(dy, py, x, rows, c, mean, a, b, kk, act, slope, want3);
        check_guard(&b5, s, w, "bn_grad_sums"), check_guard(&b6, sx, w, "bn_grad_sums"), check_guard(&b7, dx, n, "bn_grad_apply");
        if (act != FG_ACT_SOFTPLUS) {
            check_same(s, want, w, k->isa, "sum g");
            check_same(sx, want2, w, k->isa, "sum gx");
            check_same(dx, want3, n, k->isa, "bn_grad_apply");
        }
        for (int64_t j = 0; j < c; j++) {
            long double sg = 0, sgx = 0, size = 0, sizex = 0;
            for (int64_t i = 0; i < rows; i++) {
                int64_t e = i * c + j;
                long double g = (long double)dy[e] * fg_act_grad_scalar(y[e], act, slope), d = (long double)x[e] - mean[j];
                sg += g, sgx += g * d, size += fabsl(g), sizex += fabsl(g * d);
                near(dx[e], g * a[j] + d * b[j] + kk[j], fabsl(g * a[j]) + fabsl(d * b[j]) + fabsl((long double)kk[j]),
                     8 * REAL_EPS, "bn_grad_apply");
            }
            near(s[j], sg, size, (double)(rows + 4) * REAL_EPS, "sum g");
            near(sx[j], sgx, sizex, (double)(rows + 4) * REAL_EPS, "sum gx");
        }
        if (rows == 7) { /* in place over dy */
            k->bn_grad_apply(dy, py, x, rows, c, mean, a, b, kk, act, slope, dy);
            check_same(dy, dx, n, k->isa, "bn_grad_apply in place");
        }
    }
}
END_TEST

/* The fused pass against the two it replaces: the activation's gradient, then column sums. */
START_TEST(act_backward) {
    const fg_real slope = (fg_real)0.2;
    EACH_TABLE(k)
    EACH_MATRIX(rows, c)
    for (size_t q = 0; q < COUNT(acts); q++) {
        fresh();
        fg_act act = acts[q];
        size_t n = (size_t)(rows * c), w = (size_t)c;
        fg_real *dy = at(&b0, 1), *y = at(&b1, 2), *g = at(&b2, 0), *sum = at(&b3, 1), *want = at(&w0, 0), *want_sum = at(&w1, 0);
        fill_plain(dy, n);
        for (size_t i = 0; i < n; i++) y[i] = fg_act_scalar(next_real() * 2, act, slope);
        bool none = act == FG_ACT_NONE;
        k->act_grad_sums(dy, none ? NULL : y, rows, c, act, slope, none ? NULL : g, sum);
        scalar()->act_grad_sums(dy, none ? NULL : y, rows, c, act, slope, none ? NULL : want, want_sum);
        check_guard(&b2, g, none ? 0 : n, "act_grad_sums"), check_guard(&b3, sum, w, "act_grad_sums");
        if (act != FG_ACT_SOFTPLUS) {
            if (!none) check_same(g, want, n, k->isa, "act_grad_sums");
            check_same(sum, want_sum, w, k->isa, "sums of act_grad_sums");
        }
        for (size_t i = 0; i < n && !none; i++)
            near(g[i], (long double)dy[i] * fg_act_grad_scalar(y[i], act, slope), fabsl((long double)dy[i]), 4 * REAL_EPS, "g");
        k->reduce_cols(FG_RED_SUM, none ? dy : g, rows, c, want_sum);
        check_same(sum, want_sum, w, k->isa, "act_grad_sums and reduce_cols");
        if (none) continue;
        k->act_grad_sums(dy, y, rows, c, act, slope, dy, want_sum);
        check_same(dy, g, n, k->isa, "act_grad_sums in place");
        check_same(want_sum, sum, w, k->isa, "sums in place");
    }
}
END_TEST

/* ---------------------------------------------------------------- optimizers: five steps of each, formulas written out */
typedef struct state {
    fg_real *p, *g, *m, *v;
} state;
static void start(state *s, size_t n) {
    fill_plain(s->p, n), fill_plain(s->g, n);
    for (size_t i = 0; i < n; i++) s->m[i] = s->v[i] = 0;
}
#define STEPS 5

START_TEST(adam) {
    EACH_TABLE(k)
    for (int c = 0; c < SIZE_CASES; c++)
        for (int decoupled = 0; decoupled < 3; decoupled++) { /* 2: no weight decay */
            size_t n = size_case(c);
            fresh();
            state s = { at(&b0, 1), at(&b1, 0), at(&b2, 2), at(&b3, 1) }, w = { at(&w0, 0), at(&w1, 0), at(&w2, 0), at(&w3, 0) };
            start(&s, n);
            memcpy(w.p, s.p, n * sizeof *w.p), memcpy(w.m, s.m, n * sizeof *w.m), memcpy(w.v, s.v, n * sizeof *w.v);
            long double lp = n ? s.p[n - 1] : 0, lm = 0, lv = 0;
            for (int t = 1; t <= STEPS; t++) {
                fg_adam_args a = { .lr = 0.01,
                                   .beta1 = 0.6,
                                   .beta2 = 0.999,
                                   .eps = 1e-8,
                                   .weight_decay = decoupled == 2 ? 0 : 0.1,
                                   .decoupled = decoupled == 1,
                                   .bias1 = 1 - pow(0.6, t),
                                   .bias2 = 1 - pow(0.999, t) };
                fill_plain(s.g, n);
                k->adam(s.p, s.g, s.m, s.v, n, &a);
                scalar()->adam(w.p, s.g, w.m, w.v, n, &a);
                if (n) {
                    long double g = s.g[n - 1];
                    if (a.decoupled) lp *= 1 - a.lr * a.weight_decay;
                    else g += a.weight_decay * lp;
                    lm = 0.6L * lm + 0.4L * g, lv = 0.999L * lv + (1 - 0.999) * g * g;
                    lp -= a.lr / a.bias1 * lm / (sqrtl(lv) / sqrtl(a.bias2) + a.eps);
                }
            }
            check_same(s.p, w.p, n, k->isa, "adam p"), check_same(s.m, w.m, n, k->isa, "adam m"),
                check_same(s.v, w.v, n, k->isa, "adam v");
            check_guard(&b0, s.p, n, "adam"), check_guard(&b2, s.m, n, "adam"), check_guard(&b3, s.v, n, "adam");
            if (n) near(s.p[n - 1], lp, 1 + fabsl(lp), 40 * REAL_EPS, "adam");
        }
}
END_TEST

START_TEST(rmsprop) {
    EACH_TABLE(k)
    for (int c = 0; c < SIZE_CASES; c++)
        for (int mode = 0; mode < 4; mode++) {
            size_t n = size_case(c);
            fresh();
            state s = { at(&b0, 1), at(&b1, 0), at(&b2, 2), at(&b3, 1) }, w = { at(&w0, 0), at(&w1, 0), at(&w2, 0), at(&w3, 0) };
            start(&s, n);
            memcpy(w.p, s.p, n * sizeof *w.p), memcpy(w.m, s.m, n * sizeof *w.m), memcpy(w.v, s.v, n * sizeof *w.v);
            bool inside = mode & 1, momentum = mode & 2;
            fg_rmsprop_args a = {
                .lr = 0.01, .alpha = 0.9, .eps = 1e-3, .momentum = momentum ? 0.8 : 0, .weight_decay = 0.1, .eps_inside = inside
            };
            long double lp = n ? s.p[n - 1] : 0, lm = 0, lv = 0;
            for (int t = 1; t <= STEPS; t++) {
                fill_plain(s.g, n);
                k->rmsprop(s.p, s.g, s.v, momentum ? s.m : NULL, n, &a);
                scalar()->rmsprop(w.p, s.g, w.v, momentum ? w.m : NULL, n, &a);
                if (n) {
                    long double g = s.g[n - 1] + 0.1L * lp;
                    lv = 0.9L * lv + 0.1L * g * g;
                    long double step = g / (inside ? sqrtl(lv + 1e-3L) : sqrtl(lv) + 1e-3L);
                    lm = 0.8L * lm + step;
                    lp -= 0.01L * (momentum ? lm : step);
                }
            }
            check_same(s.p, w.p, n, k->isa, "rmsprop p"), check_same(s.m, w.m, n, k->isa, "rmsprop buf"),
                check_same(s.v, w.v, n, k->isa, "rmsprop v");
            check_guard(&b0, s.p, n, "rmsprop"), check_guard(&b2, s.m, n, "rmsprop"), check_guard(&b3, s.v, n, "rmsprop");
            if (n) near(s.p[n - 1], lp, 1 + fabsl(lp), 40 * REAL_EPS, "rmsprop");
        }
}
END_TEST

START_TEST(sgd_and_ema) {
    EACH_TABLE(k)
    for (int c = 0; c < SIZE_CASES; c++)
        for (int mode = 0; mode < 3; mode++) { /* plain, momentum, nesterov */
            size_t n = size_case(c);
            fresh();
            state s = { at(&b0, 1), at(&b1, 0), at(&b2, 2), at(&b3, 1) }, w = { at(&w0, 0), at(&w1, 0), at(&w2, 0), at(&w3, 0) };
            start(&s, n);
            memcpy(w.p, s.p, n * sizeof *w.p), memcpy(w.m, s.m, n * sizeof *w.m), memcpy(w.v, s.v, n * sizeof *w.v);
            long double lp = n ? s.p[n - 1] : 0, lm = 0, le = 0;
            for (int t = 1; t <= STEPS; t++) {
                fg_sgd_args a = { .lr = 0.1,
                                  .momentum = mode ? 0.9 : 0,
                                  .dampening = mode == 1 ? 0.25 : 0,
                                  .weight_decay = 0.01,
                                  .nesterov = mode == 2,
                                  .first = t == 1 };
                fill_plain(s.g, n);
                k->sgd(s.p, s.g, mode ? s.m : NULL, n, &a), scalar()->sgd(w.p, s.g, mode ? w.m : NULL, n, &a);
                k->ema(s.v, s.p, n, (fg_real)0.75), scalar()->ema(w.v, w.p, n, (fg_real)0.75);
                if (n) {
                    long double g = s.g[n - 1] + 0.01L * lp;
                    lm = t == 1 ? g : 0.9L * lm + (mode == 1 ? 0.75L : 1) * g;
                    lp -= 0.1L * (mode == 0 ? g : mode == 1 ? lm : g + 0.9L * lm);
                    le = 0.75L * le + 0.25L * lp;
                }
            }
            check_same(s.p, w.p, n, k->isa, "sgd p"), check_same(s.m, w.m, n, k->isa, "sgd buf"),
                check_same(s.v, w.v, n, k->isa, "ema");
            check_guard(&b0, s.p, n, "sgd"), check_guard(&b2, s.m, n, "sgd"), check_guard(&b3, s.v, n, "ema");
            if (n)
                near(s.p[n - 1], lp, 1 + fabsl(lp), 60 * REAL_EPS, "sgd"),
                    near(s.v[n - 1], le, 1 + fabsl(le), 60 * REAL_EPS, "ema");
        }
}
END_TEST

/* ---------------------------------------------------------------- pooling */
START_TEST(pooling) {
    static int32_t where[CAP];
    static const fg_conv_geom geoms[] = {
        { 2, 6, 6, 3, 3, 3, 3, 2, 2, 2, 2, 0, 0 },   { 3, 7, 5, 16, 4, 3, 16, 3, 3, 2, 2, 1, 1 },
        { 2, 5, 4, 1, 5, 4, 1, 3, 2, 1, 1, 1, 0 },   { 2, 4, 4, 37, 1, 1, 37, 4, 4, 4, 4, 0, 0 },
        { 1, 9, 9, 20, 5, 5, 20, 2, 2, 2, 2, 0, 0 }, { 2, 1, 8, 9, 1, 4, 9, 1, 2, 1, 2, 0, 0 },
    };
    EACH_TABLE(k)
    for (size_t q = 0; q < COUNT(geoms); q++) {
        const fg_conv_geom *g = &geoms[q];
        int64_t in = g->h * g->w * g->ci, out = g->oh * g->ow * g->ci, first = g->n > 1 ? 1 : 0, images = g->n - first;
        fresh();
        fg_real *x = at(&b0, 1), *avg = at(&b1, 0), *max = at(&b2, 1), *dx = at(&b3, 2);
        fill_plain(x, (size_t)(g->n * in));
        if (q != 0) x[first * in + 5 % in] = NAN;
        k->avg_pool(x, avg, g, first, images), k->max_pool(x, max, where, g, first, images);
        check_guard(&b1, avg + first * out, (size_t)(images * out), "avg_pool"),
            check_guard(&b2, max + first * out, (size_t)(images * out), "max_pool");
        k->avg_pool_adjoint(avg, dx, g, first, images);
        check_guard(&b3, dx + first * in, (size_t)(images * in), "avg_pool_adjoint");
        long double dot = 0, dot2 = 0;
        for (int64_t n = first; n < g->n; n++)
            for (int64_t o = 0; o < out; o++) {
                int64_t c = o % g->ci, ow = o / g->ci % g->ow, oh = o / g->ci / g->ow, best = -1;
                long double sum = 0;
                for (int64_t ih = oh * g->sh - g->pt; ih < oh * g->sh - g->pt + g->kh; ih++)
                    for (int64_t iw = ow * g->sw - g->pl; iw < ow * g->sw - g->pl + g->kw; iw++) {
                        if (ih < 0 || iw < 0 || ih >= g->h || iw >= g->w) continue;
                        int64_t e = n * in + (ih * g->w + iw) * g->ci + c, be = n * in + best * g->ci + c;
                        sum += x[e];
                        if (best < 0 || (!isnan(x[be]) && (isnan(x[e]) || x[e] > x[be]))) best = ih * g->w + iw;
                    }
                fg_real got = avg[n * out + o];
                EXPECT(isnan(sum) ? isnan(got) : fabsl(got - sum / (g->kh * g->kw)) <= 4 * REAL_EPS * 3, "avg_pool on %s: %g",
                       k->isa, (double)got);
                EXPECT(where[n * out + o] == best, "max_pool on %s: where %d, expected %d", k->isa, where[n * out + o],
                       (int)best);
                EXPECT(same_bits(max[n * out + o], x[n * in + best * g->ci + c]), "max_pool on %s", k->isa);
                if (!isnan(got)) dot += (long double)got * got;
            }
        if (q == 0) { /* <A x, A x> == <x, A* A x> */
            for (int64_t i = first * in; i < g->n * in; i++) dot2 += (long double)x[i] * dx[i];
            near((fg_real)dot2, dot, dot, 40 * REAL_EPS, "avg_pool_adjoint");
        }
        fill_guard(&b4), fill_guard(&w0), fill_guard(&w1);
        k->upsample(x, at(&b4, 0), 1, g->h, 2, g->ci, 3, 2);
        check_guard(&b4, at(&b4, 0), (size_t)(g->h * 2 * g->ci * 6), "upsample");
        for (int64_t h = 0; h < g->h * 3; h++)
            for (int64_t w = 0; w < 4; w++)
                for (int64_t c = 0; c < g->ci; c++)
                    EXPECT(same_bits(at(&b4, 0)[(h * 4 + w) * g->ci + c], x[(h / 3 * 2 + w / 2) * g->ci + c]), "upsample on %s",
                           k->isa);
        scalar()->avg_pool(x, at(&w0, 0), g, first, images);
        scalar()->avg_pool_adjoint(avg, at(&w1, 0), g, first, images);
        check_same(avg + first * out, at(&w0, 0) + first * out, (size_t)(images * out), k->isa, "avg_pool");
        check_same(dx + first * in, at(&w1, 0) + first * in, (size_t)(images * in), k->isa, "avg_pool_adjoint");
    }
}
END_TEST

KERNEL_MAIN("kernels: sums", reduce_values, reduce_same_bits, reduce_matrix, log_softmax, bn_forward, bn_backward, act_backward,
            adam, rmsprop, sgd_and_ema, pooling)
