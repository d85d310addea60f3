/* test_kernels_math.c: accuracy of exp, log, tanh, sigmoid and softplus on every ISA, against double, over all of float.
 *
 * Arguments are a fixed stride through the bit patterns of float: all exponents, both signs, denormals, infinities and
 * NaNs among them. The unit is the spacing of floats at the correct result (never below 2^-149). Denormals are not
 * flushed here, as kernels may be called outside a context. The bound is 2. */
#include "kernel_cases.h"

enum { STRIDE = 1021, BATCH = 4096 };

static double exact(fg_unary f, double x) {
    switch (f) {
    case FG_UN_EXP: return exp(x);
    case FG_UN_LOG: return log(x);
    case FG_UN_TANH: return tanh(x);
    case FG_UN_SIGMOID: return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
    case FG_UN_SOFTPLUS: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    default: return 0;
    }
}

/* distance of y from want in units of float spacing at want */
static double ulps(float y, double want) {
    float w = (float)want;
    if (isnan(want)) return isnan(y) ? 0 : INFINITY;
    if (isinf(w)) return y == w ? 0 : y == copysignf(FLT_MAX, w) ? 1 : INFINITY; /* just at the edge of overflow */
    if (isinf(y)) return fabs(want) >= (double)FLT_MAX ? 1 : INFINITY;
    int e;
    frexp(want, &e);
    double spacing = ldexp(1, (e < -125 ? -125 : e) - 24);
    return fabs((double)y - want) / spacing;
}

static const struct {
    fg_unary f;
    const char *name;
} functions[] = { { FG_UN_EXP, "exp" },
                  { FG_UN_LOG, "log" },
                  { FG_UN_TANH, "tanh" },
                  { FG_UN_SIGMOID, "sigmoid" },
                  { FG_UN_SOFTPLUS, "softplus" } };
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static float worst_at;
static double sweep(const fg_kernels *k, fg_unary f) {
    static float x[BATCH], y[BATCH];
    double worst = 0;
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32;) {
        size_t n = 0;
        for (; n < BATCH && bits < (uint64_t)1 << 32; n++, bits += STRIDE) {
            uint32_t b = (uint32_t)bits;
            memcpy(&x[n], &b, sizeof b);
        }
        k->unary[f](x, y, n, 0, 0);
        for (size_t i = 0; i < n; i++) {
            double e = ulps(y[i], exact(f, (double)x[i]));
            if (e > worst) worst = e, worst_at = x[i];
        }
    }
    return worst;
}

START_TEST(ulps_everywhere) {
    EACH_TABLE(k)
    for (int i = 0; i < FUNCTIONS; i++) {
        double worst = sweep(k, functions[i].f);
        printf("%-8s %-8s at most %.2f ulp, at %.9g\n", functions[i].name, k->isa, worst, (double)worst_at);
        ck_assert_msg(worst <= 2.0, "%s on %s: %.2f ulp at %.9g", functions[i].name, k->isa, worst, (double)worst_at);
    }
}
END_TEST

/* d softplus/dx = 1 - exp(-y) from the output y >= 0 */
START_TEST(softplus_gradient) {
    static float dy[BATCH], y[BATCH], dx[BATCH];
    EACH_TABLE(k) {
        double worst = 0;
        for (int i = 0; i < BATCH; i++) dy[i] = 1;
        for (uint64_t bits = 0; bits <= 0x7f800000u;) {
            size_t n = 0;
            for (; n < BATCH && bits <= 0x7f800000u; n++, bits += STRIDE) {
                uint32_t b = (uint32_t)bits;
                memcpy(&y[n], &b, sizeof b);
            }
            k->unary_grad[FG_UN_SOFTPLUS](dy, y, dx, n, 0, 0);
            for (size_t i = 0; i < n; i++) {
                double e = ulps(dx[i], -expm1(-(double)y[i]));
                if (e > worst) worst = e, worst_at = y[i];
            }
        }
        printf("softplus' %-7s at most %.2f ulp, at %.9g\n", k->isa, worst, (double)worst_at);
        ck_assert_msg(worst <= 2.0, "softplus gradient on %s: %.2f ulp at %.9g", k->isa, worst, (double)worst_at);
    }
}
END_TEST

START_TEST(vector_isas_agree) {
    const fg_kernels *t[FG_ISA_COUNT];
    int n = tables(t);
    static float x[BATCH], a[BATCH], b[BATCH];
    for (int i = 0; i < FUNCTIONS; i++)
        for (int j = 2; j < n; j++) {
            fill_special(x, BATCH);
            t[1]->unary[functions[i].f](x, a, BATCH, 0, 0);
            t[j]->unary[functions[i].f](x, b, BATCH, 0, 0);
            check_same(b, a, BATCH, t[j]->isa, functions[i].name);
        }
}
END_TEST

START_TEST(known_values) {
    EACH_TABLE(k) {
        float x[] = { 0, -0.0f, INFINITY, -INFINITY, NAN, 88.8f, -20, 1e-6f, 1e-40f, -104.5f }, y[10];
        k->unary[FG_UN_EXP](x, y, 10, 0, 0);
        ck_assert(y[0] == 1 && y[1] == 1 && y[2] == INFINITY && y[3] == 0 && isnan(y[4]) && y[5] == INFINITY && y[9] == 0);
        k->unary[FG_UN_TANH](x, y, 10, 0, 0);
        ck_assert(y[0] == 0 && !signbit(y[0]) && y[1] == 0 && signbit(y[1]) && y[2] == 1 && y[3] == -1 && isnan(y[4]));
        ck_assert(y[7] == 1e-6f && y[8] == 1e-40f);
        k->unary[FG_UN_SIGMOID](x, y, 10, 0, 0);
        ck_assert(y[0] == 0.5f && y[2] == 1 && y[3] == 0 && isnan(y[4]) && y[5] == 1);
        k->unary[FG_UN_SOFTPLUS](x, y, 10, 0, 0);
        ck_assert(y[2] == INFINITY && y[3] == 0 && isnan(y[4]) && fabs((double)y[6] / 2.061153620314381e-9 - 1) < 2e-7);
        k->unary[FG_UN_LOG](x, y, 10, 0, 0);
        ck_assert(y[0] == -INFINITY && y[1] == -INFINITY && y[2] == INFINITY && isnan(y[3]) && isnan(y[4]) && isnan(y[6]));
        ck_assert(fabs((double)y[8] / -92.10340371976183 - 1) < 1e-6);
        x[0] = 1;
        k->unary[FG_UN_LOG](x, y, 1, 0, 0);
        ck_assert(y[0] == 0);
    }
}
END_TEST

KERNEL_MAIN("kernels: accuracy", known_values, ulps_everywhere, softplus_gradient, vector_isas_agree)
