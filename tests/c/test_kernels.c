/* test_kernels.c: elementwise kernels. The scalar reference against formulas in long double and rules written out here,
 * then every ISA of this machine against the scalar reference, bit by bit where the arithmetic is exact (the rest is in
 * test_kernels_math.c): every tail, odd addresses, special values, in place, broadcast operands.
 * build: both */
#include "kernel_cases.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static buffer bx, by, bz, bw;

static const fg_unary exact_unary[] = { FG_UN_AFFINE, FG_UN_SQRT, FG_UN_SQUARE,     FG_UN_ABS,   FG_UN_SIGN, FG_UN_SIN,
                                        FG_UN_COS,    FG_UN_RELU, FG_UN_LEAKY_RELU, FG_UN_CLAMP, FG_UN_POW };
static const fg_unary exact_grad[] = { FG_UN_AFFINE,     FG_UN_EXP,   FG_UN_LOG,  FG_UN_SQRT,    FG_UN_SQUARE,
                                       FG_UN_ABS,        FG_UN_SIGN,  FG_UN_TANH, FG_UN_SIGMOID, FG_UN_RELU,
                                       FG_UN_LEAKY_RELU, FG_UN_CLAMP, FG_UN_POW };
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---------------------------------------------------------------- the reference says what the header says */
static const fg_kernels *scalar(void) { return fg_kernels_for(FG_ISA_SCALAR); }
static fg_real un(fg_unary f, fg_real x, fg_real a, fg_real b) {
    fg_real y = guard_value;
    scalar()->unary[f](&x, &y, 1, a, b);
    return y;
}
static fg_real grad(fg_unary f, fg_real dy, fg_real v, fg_real a, fg_real b) {
    fg_real dx = guard_value;
    scalar()->unary_grad[f](&dy, &v, &dx, 1, a, b);
    return dx;
}

START_TEST(unary_values) {
    const fg_real tol = 4 * REAL_EPS;
    for (int i = 0; i < 2000; i++) {
        fg_real x = next_real() * 20, p = (fg_real)fabs((double)x) + (fg_real)0.01;
        long double l = x, q = p;
        struct {
            fg_unary f;
            fg_real in;
            long double want;
        } cases[] = {
            { FG_UN_AFFINE, x, (long double)(fg_real)1.5 * l - 2 },
            { FG_UN_EXP, x, expl(l) },
            { FG_UN_LOG, p, logl(q) },
            { FG_UN_SQRT, p, sqrtl(q) },
            { FG_UN_SQUARE, x, l * l },
            { FG_UN_SIN, x, sinl(l) },
            { FG_UN_COS, x, cosl(l) },
            { FG_UN_TANH, x, tanhl(l) },
            { FG_UN_SIGMOID, x, 1 / (1 + expl(-l)) },
            { FG_UN_SOFTPLUS, x, log1pl(expl(l)) },
            { FG_UN_POW, p, powl(q, 1.5L) },
        };
        for (size_t c = 0; c < COUNT(cases); c++) {
            fg_real y = un(cases[c].f, cases[c].in, (fg_real)1.5, -2);
            /* affine, and log near 1, cancel: their error is absolute */
            long double size = fabsl(cases[c].want);
            if (cases[c].f == FG_UN_AFFINE) size += 2;
            EXPECT(fabsl(y - cases[c].want) <= tol * size, "unary %d at %g is %.17g, expected %.17Lg", cases[c].f,
                   (double)cases[c].in, (double)y, cases[c].want);
        }
    }
}
END_TEST

START_TEST(unary_rules) {
    fg_real nan = NAN, inf = INFINITY;
    ck_assert(un(FG_UN_EXP, inf, 0, 0) == inf && un(FG_UN_EXP, -inf, 0, 0) == 0);
    ck_assert(un(FG_UN_LOG, 0, 0, 0) == -inf && isnan(un(FG_UN_LOG, -1, 0, 0)) && un(FG_UN_LOG, inf, 0, 0) == inf);
    ck_assert(un(FG_UN_SIGN, -3, 0, 0) == -1 && un(FG_UN_SIGN, 0, 0, 0) == 0 && un(FG_UN_SIGN, 5, 0, 0) == 1);
    ck_assert(un(FG_UN_RELU, -3, 0, 0) == 0 && un(FG_UN_RELU, 2, 0, 0) == 2);
    ck_assert(un(FG_UN_LEAKY_RELU, -3, (fg_real)0.5, 0) == (fg_real)-1.5 && un(FG_UN_LEAKY_RELU, 2, (fg_real)0.5, 0) == 2);
    ck_assert(un(FG_UN_CLAMP, -3, -1, 1) == -1 && un(FG_UN_CLAMP, 3, -1, 1) == 1 && un(FG_UN_CLAMP, (fg_real)0.5, -1, 1) == 0.5);
    ck_assert(un(FG_UN_ABS, -2, 0, 0) == 2 && un(FG_UN_POW, 3, 2, 0) == 9 && un(FG_UN_POW, 4, -1, 0) == 0.25);
    ck_assert(un(FG_UN_POW, 0, 0, 0) == 1 && un(FG_UN_SIGMOID, -inf, 0, 0) == 0 && un(FG_UN_SIGMOID, inf, 0, 0) == 1);
    ck_assert(un(FG_UN_TANH, inf, 0, 0) == 1 && un(FG_UN_SOFTPLUS, -inf, 0, 0) == 0 && un(FG_UN_SOFTPLUS, inf, 0, 0) == inf);
    /* NaN passes through every function of x */
    for (int f = 0; f < FG_UN_COUNT; f++) EXPECT(isnan(un((fg_unary)f, nan, (fg_real)0.5, 1)), "unary %d hides NaN", f);
    /* gates pass the gradient where the function moves, and an infinite one does not leak through a closed gate */
    ck_assert(grad(FG_UN_RELU, inf, 0, 0, 0) == 0 && grad(FG_UN_RELU, 5, 1, 0, 0) == 5);
    ck_assert(grad(FG_UN_LEAKY_RELU, 4, -1, (fg_real)0.25, 0) == 1 && grad(FG_UN_LEAKY_RELU, 4, 1, (fg_real)0.25, 0) == 4);
    ck_assert(grad(FG_UN_CLAMP, 3, (fg_real)0.5, -1, 1) == 3 && grad(FG_UN_CLAMP, 3, 2, -1, 1) == 0);
    ck_assert(grad(FG_UN_CLAMP, 3, 1, -1, 1) == 0 && grad(FG_UN_CLAMP, 3, -1, -1, 1) == 0);
    ck_assert(grad(FG_UN_SIGN, 3, 2, 0, 0) == 0 && grad(FG_UN_ABS, 3, -2, 0, 0) == -3 && grad(FG_UN_ABS, 3, 0, 0, 0) == 0);
    ck_assert(grad(FG_UN_POW, 3, 2, 2, 0) == 12 && grad(FG_UN_POW, 3, 0, 0, 0) == 0 && grad(FG_UN_AFFINE, 3, 7, 2, 5) == 6);
}
END_TEST

/* f'(x) by central differences in the function itself; v is what the header says each gradient takes. */
START_TEST(unary_gradients) {
    static const fg_unary from_output[] = { FG_UN_EXP,      FG_UN_SQRT, FG_UN_TANH,      FG_UN_SIGMOID,
                                            FG_UN_SOFTPLUS, FG_UN_RELU, FG_UN_LEAKY_RELU };
    for (int f = 0; f < FG_UN_COUNT; f++) {
        bool output = false;
        for (size_t i = 0; i < COUNT(from_output); i++) output |= (int)from_output[i] == f;
        for (int i = 0; i < 200; i++) {
            fg_real x = (fg_real)fabs((double)next_real() * 2) + (fg_real)0.3, h = (fg_real)(sizeof(fg_real) == 8 ? 1e-6 : 1e-2);
            fg_real a = (fg_real)0.7, b = (fg_real)1.9, dy = 3;
            if (f == FG_UN_CLAMP && (fabs((double)(x - a)) < 2 * (double)h || fabs((double)(x - b)) < 2 * (double)h)) continue;
            double want = (double)dy * ((double)un((fg_unary)f, x + h, a, b) - (double)un((fg_unary)f, x - h, a, b)) /
                          ((double)(x + h) - (double)(x - h));
            double got = (double)grad((fg_unary)f, dy, output ? un((fg_unary)f, x, a, b) : x, a, b);
            double tol = sizeof(fg_real) == 8 ? 1e-7 : 3e-3;
            EXPECT(fabs(got - want) <= tol * (1 + fabs(want)), "gradient of unary %d at %g is %.9g, differences give %.9g", f,
                   (double)x, got, want);
        }
    }
    /* 1 - exp(-y) keeps its digits for tiny y */
    ck_assert(fabs((double)grad(FG_UN_SOFTPLUS, 1, (fg_real)1e-9, 0, 0) / 1e-9 - 1) < 1e-6);
    for (int act = FG_ACT_RELU; act <= FG_ACT_SOFTPLUS; act++) {
        static const fg_unary of[] = { 0, FG_UN_RELU, FG_UN_LEAKY_RELU, FG_UN_TANH, FG_UN_SIGMOID, FG_UN_SOFTPLUS };
        for (int i = 0; i < 50; i++) {
            fg_real x = next_real() * 4, y = un(of[act], x, (fg_real)0.2, 0);
            ck_assert(same_bits(fg_act_scalar(x, (fg_act)act, (fg_real)0.2), y));
            ck_assert(same_bits(fg_act_grad_scalar(y, (fg_act)act, (fg_real)0.2), grad(of[act], 1, y, (fg_real)0.2, 0)));
        }
    }
}
END_TEST

START_TEST(binary_rules) {
    const fg_real nan = NAN;
    fg_real a[] = { 1, 2, 3, nan, 1, nan }, b[] = { 2, 2, 1, 1, nan, nan }, y[6];
    static const fg_real want[FG_BIN_COUNT][3] = { { 3, 4, 4 }, { -1, 0, 2 }, { 2, 4, 3 }, { 0.5, 1, 3 },
                                                   { 2, 2, 3 }, { 1, 2, 1 },  { 0, 1, 0 }, { 1, 0, 1 },
                                                   { 1, 0, 0 }, { 1, 1, 0 },  { 0, 0, 1 }, { 0, 1, 1 } };
    for (int f = 0; f < FG_BIN_COUNT; f++) {
        scalar()->binary[f](a, 1, b, 1, y, 6);
        check_same(y, want[f], 3, "scalar", "binary");
        for (int i = 3; i < 6; i++)
            if (f <= FG_BIN_MIN) EXPECT(isnan(y[i]), "binary %d hides NaN", f);
            else EXPECT(y[i] == (f == FG_BIN_NE), "comparison %d with NaN gives %g", f, (double)y[i]);
    }
}
END_TEST

/* ---------------------------------------------------------------- every ISA against the reference */
START_TEST(unary_same_bits) {
    EACH_TABLE(k)
    for (size_t f = 0; f < COUNT(exact_unary); f++)
        for (int c = 0; c < SIZE_CASES; c++)
            for (int in_place = 0; in_place < 2; in_place++) {
                size_t n = size_case(c);
                int off = c % 4;
                fg_real a = (fg_real)(c % 5 == 0 ? 2 : c % 5 == 1 ? -1 : 0.3), b = (fg_real)1.7;
                fill_guard(&bx), fill_guard(&by), fill_guard(&bz);
                fg_real *x = at(&bx, off), *y = in_place ? x : at(&by, 1), *want = at(&bz, 0);
                fill_special(x, n);
                scalar()->unary[exact_unary[f]](x, want, n, a, b);
                k->unary[exact_unary[f]](x, y, n, a, b);
                check_same(y, want, n, k->isa, "unary");
                check_guard(in_place ? &bx : &by, y, n, "unary");
            }
}
END_TEST

START_TEST(unary_grad_same_bits) {
    EACH_TABLE(k)
    for (size_t f = 0; f < COUNT(exact_grad); f++)
        for (int c = 0; c < SIZE_CASES; c++)
            for (int in_place = 0; in_place < 2; in_place++) {
                size_t n = size_case(c);
                fg_real a = (fg_real)(c % 3 == 0 ? 2 : 0.3), b = (fg_real)1.7;
                fill_guard(&bx), fill_guard(&by), fill_guard(&bz), fill_guard(&bw);
                fg_real *dy = at(&bx, c % 4), *v = at(&by, 1), *dx = in_place ? dy : at(&bz, 2), *want = at(&bw, 0);
                fill_special(dy, n), fill_special(v, n);
                scalar()->unary_grad[exact_grad[f]](dy, v, want, n, a, b);
                k->unary_grad[exact_grad[f]](dy, v, dx, n, a, b);
                check_same(dx, want, n, k->isa, "unary_grad");
                check_guard(in_place ? &bx : &bz, dx, n, "unary_grad");
            }
}
END_TEST

START_TEST(binary_same_bits) {
    EACH_TABLE(k)
    for (int f = 0; f < FG_BIN_COUNT; f++)
        for (int c = 0; c < SIZE_CASES; c++)
            for (int mode = 0; mode < 6; mode++) { /* strides; then in place over a, over b */
                size_t n = size_case(c);
                int sa = mode >= 4 || (mode & 1), sb = mode >= 4 || (mode & 2);
                fill_guard(&bx), fill_guard(&by), fill_guard(&bz), fill_guard(&bw);
                fg_real *a = at(&bx, c % 4), *b = at(&by, 1), *y = mode == 4 ? a : mode == 5 ? b : at(&bz, 2), *want = at(&bw, 0);
                fill_special(a, sa ? n : 1), fill_special(b, sb ? n : 1);
                if (n > 3 && sa && sb) b[3] = a[3];
                scalar()->binary[f](a, sa, b, sb, want, n);
                k->binary[f](a, sa, b, sb, y, n);
                check_same(y, want, n, k->isa, "binary");
                check_guard(mode == 4 ? &bx : mode == 5 ? &by : &bz, y, n, "binary");
            }
}
END_TEST

START_TEST(select_axpy_copy) {
    static uint8_t cond[CAP];
    EACH_TABLE(k)
    for (int c = 0; c < SIZE_CASES; c++) {
        size_t n = size_case(c);
        fill_guard(&bx), fill_guard(&by), fill_guard(&bz), fill_guard(&bw);
        fg_real *a = at(&bx, c % 4), *b = at(&by, 1), *y = at(&bz, 2), *want = at(&bw, 0);
        fill_special(a, n + 1), fill_special(b, n + 1);
        for (size_t i = 0; i <= n; i++) cond[i] = next_u32() % 3 ? (uint8_t)next_u32() : 0;
        for (int mode = 0; mode < 8; mode++) {
            int sc = mode & 1, sa = mode >> 1 & 1, sb = mode >> 2 & 1;
            for (size_t i = 0; i < n; i++) want[i] = cond[sc ? i : 0] ? a[sa ? i : 0] : b[sb ? i : 0];
            k->select(cond, sc, a, sa, b, sb, y, n);
            check_same(y, want, n, k->isa, "select");
            check_guard(&bz, y, n, "select");
        }
        for (size_t i = 0; i < n; i++) want[i] = b[i] + (fg_real)0.3 * a[i];
        memcpy(y, b, n * sizeof *y);
        k->axpy((fg_real)0.3, a, y, n);
        check_same(y, want, n, k->isa, "axpy");
        for (int sx = -2; sx <= 3; sx++) {
            const fg_real *from = sx < 0 ? a + n : a;
            if ((size_t)abs(sx) * n > n + 1) continue;
            for (size_t i = 0; i < n; i++) want[i] = from[(int64_t)i * sx];
            k->copy_strided(from, sx, y, n);
            check_same(y, want, n, k->isa, "copy_strided");
            check_guard(&bz, y, n, "copy_strided");
        }
    }
}
END_TEST

START_TEST(transpose) {
    EACH_TABLE(k)
    for (int64_t rows = 0; rows <= 70; rows += rows < 20 ? 1 : 7)
        for (int64_t cols = 0; cols <= 90; cols += cols < 20 ? 1 : 11) {
            int64_t ldx = cols + 3, ldy = rows + 2;
            fill_guard(&bx), fill_guard(&by);
            fg_real *x = at(&bx, 1), *y = at(&by, 2);
            fill_plain(x, (size_t)(rows * ldx));
            k->transpose2d(x, ldx, y, ldy, rows, cols);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < cols; c++) EXPECT(same_bits(y[c * ldy + r], x[r * ldx + c]), "transpose2d on %s", k->isa);
            for (int64_t c = 0; c < cols; c++)
                for (int64_t r = rows; r < ldy; r++)
                    EXPECT(y[c * ldy + r] == guard_value, "transpose2d on %s: wrote between rows", k->isa);
        }
}
END_TEST

static void dropout_case(const fg_kernels *k, size_t n, uint64_t first, bool in_place) {
    static uint32_t u[CAP + 8];
    const uint64_t key = 0x123456789abcdefu, offset = 77;
    const uint32_t threshold = 0x60000000u;
    const fg_real scale = (fg_real)1.6;
    fill_guard(&bx), fill_guard(&by), fill_guard(&bw);
    fg_real *x = at(&bx, (int)(n % 4)), *y = in_place ? x : at(&by, 1), *want = at(&bw, 0);
    fill_special(x, n);
    fg_philox_fill_u32(key, offset, first & ~(uint64_t)3, u, n + 4);
    for (size_t i = 0; i < n; i++) want[i] = u[first % 4 + i] >= threshold ? x[i] * scale : 0;
    k->dropout(x, y, n, key, offset, first, threshold, scale);
    check_same(y, want, n, k->isa, "dropout");
    check_guard(in_place ? &bx : &by, y, n, "dropout");
}
START_TEST(dropout_masks) {
    EACH_TABLE(k)
    for (int c = 0; c < SIZE_CASES; c++)
        for (uint64_t first = 0; first < 7; first++) {
            dropout_case(k, size_case(c), first * (c % 3 ? 1 : 1000003), false);
            dropout_case(k, size_case(c), first, true);
        }
    EACH_TABLE(k) dropout_case(k, 300, ((uint64_t)1 << 34) - 77 * 4 - 100, false); /* block numbers pass 32 bits */
}
END_TEST

/* A threshold of 0 keeps everything, the largest nearly nothing. */
START_TEST(dropout_rate) {
    EACH_TABLE(k) {
        fg_real *x = at(&bx, 0), *y = at(&by, 0);
        size_t n = 8000, kept = 0;
        for (size_t i = 0; i < n; i++) x[i] = 1;
        k->dropout(x, y, n, 5, 0, 0, 0, 1);
        for (size_t i = 0; i < n; i++) EXPECT(y[i] == 1, "dropout 0 on %s", k->isa);
        k->dropout(x, y, n, 5, 0, 0, 0x4ccccccdu, (fg_real)(1 / 0.7)); /* drops 0.3 */
        for (size_t i = 0; i < n; i++) kept += y[i] != 0;
        EXPECT(kept > 5440 && kept < 5760, "dropout 0.3 kept %zu of %zu", kept, n);
    }
}
END_TEST

/* Same element, same bits, wherever its range begins: the transcendental functions too. */
START_TEST(no_trace_of_position) {
    EACH_TABLE(k)
    for (int f = 0; f < FG_UN_COUNT; f++) {
        fg_real *x = at(&bx, 0), *y = at(&by, 0), *z = at(&bz, 0), *g = at(&bw, 0);
        enum { N = 1500 };
        fill_special(x, N), fill_special(g, N);
        k->unary[f](x, y, N, (fg_real)0.4, 1);
        for (size_t i = 0; i < N;) {
            size_t m = 1 + next_u32() % 60;
            if (m > N - i) m = N - i;
            k->unary[f](x + i, z + i, m, (fg_real)0.4, 1);
            i += m;
        }
        check_same(z, y, N, k->isa, "unary in pieces");
        k->unary_grad[f](g, x, y, N, (fg_real)0.4, 1);
        for (size_t i = 0; i < N;) {
            size_t m = 1 + next_u32() % 60;
            if (m > N - i) m = N - i;
            k->unary_grad[f](g + i, x + i, z + i, m, (fg_real)0.4, 1);
            i += m;
        }
        check_same(z, y, N, k->isa, "unary_grad in pieces");
    }
}
END_TEST

#if defined(__x86_64__)
/* Inside: flush denormals, round to nearest, trap nothing; afterwards the host's modes are back, whatever they were. */
START_TEST(mxcsr_restored) {
    fg_context ctx = { 0 };
    ck_assert_int_eq(fg_room_kernels.open(&ctx), FG_OK);
    ck_assert_ptr_nonnull(ctx.k);
    const unsigned before = _mm_getcsr();
    static const unsigned hosts[] = { 0x1f80, 0x1f80 | 0x6000, 0x1f80 | 0x8040, 0x1f80 | 0x2000 | 0x0040, 0x1fa0 };
    for (size_t i = 0; i < COUNT(hosts); i++) {
        uint64_t saved[2];
        _mm_setcsr(hosts[i]);
        ctx.hooks.enter(saved);
        volatile float tiny = FLT_MIN, third = 3;
        volatile float half = tiny * 0.5f, quotient = 1 / third;
        unsigned inside = _mm_getcsr();
        ctx.hooks.leave(saved);
        ck_assert_uint_eq(_mm_getcsr(), hosts[i]);
        _mm_setcsr(before);
        ck_assert_uint_eq(inside & ~0x3fu, 0x9fc0u);
        ck_assert(half == 0 && quotient == 1.0f / 3);
    }
    fg_room_kernels.close(&ctx);
    ck_assert_ptr_null(ctx.k);
}
END_TEST
#endif

START_TEST(tables_by_level) {
    for (int isa = 0; isa < FG_ISA_COUNT; isa++) {
        const fg_kernels *k = fg_kernels_for((fg_isa_level)isa);
#ifdef FG_DOUBLE
        ck_assert((k != NULL) == (isa == FG_ISA_SCALAR));
#else
        ck_assert((k != NULL) == (isa == FG_ISA_SCALAR || fg_cpu_has((fg_isa_level)isa)));
#endif
        if (k) ck_assert_ptr_eq(k, fg_kernels_for((fg_isa_level)isa));
        /* no slot is empty; the lists of product kernels are filled from the front */
        const size_t lists = offsetof(fg_kernels, gemm16) / sizeof(void *), after = offsetof(fg_kernels, adam) / sizeof(void *);
        for (size_t i = 0; k && i < sizeof *k / sizeof(void *); i++)
            if (i < lists || i >= after) ck_assert_ptr_nonnull(((void *const *)k)[i]);
        if (k) ck_assert_ptr_nonnull(k->conv[0]);
    }
    ck_assert_ptr_null(fg_kernels_for(FG_ISA_COUNT));
    ck_assert_str_eq(scalar()->isa, "scalar");
}
END_TEST

KERNEL_MAIN("kernels", unary_values, unary_rules, unary_gradients, binary_rules, unary_same_bits, unary_grad_same_bits,
            binary_same_bits, select_axpy_copy, transpose, dropout_masks, dropout_rate, no_trace_of_position,
#if defined(__x86_64__)
            mxcsr_restored,
#endif
            tables_by_level)
