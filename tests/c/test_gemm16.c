/* test_gemm16.c: bf16 storage in the kernels. Conversions: every bf16 value, edges of the rounding, tails and misaligned ends,
 * each ISA like the reference bit by bit. Products of bf16 operands: every kernel of every table against sums in double of
 * the same rounded operands, all sizes to 40 with all transposes, larger odd shapes that reach every path, both kinds of
 * output, bias and activations, row strides, the same bits for any team, NaN where it belongs.
 * build: both */
#include "product_cases.h"
#include "bf16.h"

static fg_context *ctx;

#define EACH_TABLE(isa)                                                                                                          \
    for (fg_isa_level isa = FG_ISA_SCALAR; isa < FG_ISA_COUNT; isa++)                                                            \
        if (fg_kernels_for(isa))

/* ---------------------------------------------------------------- conversions */
static float from_bits(uint32_t b) {
    float f;
    memcpy(&f, &b, sizeof f);
    return f;
}
static uint32_t bits_of(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    return b;
}

START_TEST(every_bf16_value) {
    enum { ALL = 65536 };
    static uint16_t in[ALL], back[ALL];
    static fg_real wide[ALL];
    for (int i = 0; i < ALL; i++) in[i] = (uint16_t)i;
    EACH_TABLE(isa) {
        const fg_kernels *k = fg_kernels_for(isa);
        memset(wide, 0xff, sizeof wide);
        k->from_bf16(in, wide, ALL);
        for (int i = 0; i < ALL; i++) {
            double want = from_bits((uint32_t)i << 16), got = (double)wide[i];
            REQUIRE(isnan(want) ? isnan(got) : got == want && signbit(got) == signbit(want), "%s: %04x is %g", k->isa, i, got);
        }
        k->to_bf16(wide, back, ALL);
        for (int i = 0; i < ALL; i++) { /* comes back as it was, but that a NaN is quiet */
            int want = (i & 0x7fff) > 0x7f80 ? i | 0x40 : i;
            REQUIRE(back[i] == want, "%s: %04x comes back as %04x", k->isa, i, back[i]);
        }
    }
}
END_TEST

/* Around every bf16 value: just below, at and just above the middle to the next one, and its own neighbours. */
START_TEST(rounds_to_nearest_even) {
    enum { ALL = 65536, EACH = 8 };
    static const uint32_t low[EACH] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x4000, 0xc000 };
    static fg_real in[ALL * EACH];
    static uint16_t got[ALL * EACH];
    for (uint32_t i = 0; i < ALL * EACH; i++) in[i] = (fg_real)from_bits(i / EACH << 16 | low[i % EACH]);
    EACH_TABLE(isa) {
        const fg_kernels *k = fg_kernels_for(isa);
        k->to_bf16(in, got, ALL * EACH);
        for (uint32_t i = 0; i < ALL * EACH; i++) {
            uint32_t high = i / EACH, part = low[i % EACH], want = high + (part > 0x8000 || (part == 0x8000 && (high & 1)));
            if ((high & 0x7f80) == 0x7f80 && ((high & 0x7f) || part)) want = high | 0x40; /* NaN */
            REQUIRE(got[i] == want, "%s: %08x rounds to %04x, expected %04x", k->isa, bits_of((float)in[i]), got[i], want);
        }
    }
}
END_TEST

START_TEST(conversion_tails) {
    EACH_TABLE(isa) {
        const fg_kernels *k = fg_kernels_for(isa);
        for (int n = 0; n <= 70; n++)
            for (int at_start = 0; at_start < 2; at_start++) {
                fence x = fence_random(n, at_start), y = fence_new(n, at_start), h = fence_new(n, at_start);
                uint16_t *p =
                    (uint16_t *)((char *)h.p + (at_start ? 0 : (size_t)n * (sizeof(fg_real) - 2))); /* ends at the fence */
                k->to_bf16(x.p, p, (size_t)n);
                for (int i = 0; i < n; i++) REQUIRE(p[i] == fg_bf16_from_float((float)x.p[i]), "%s: %d of %d", k->isa, i, n);
                k->from_bf16(p, y.p, (size_t)n);
                for (int i = 0; i < n; i++) REQUIRE(y.p[i] == (fg_real)fg_bf16_to_float(p[i]), "%s: %d of %d", k->isa, i, n);
                uint8_t *u = (uint8_t *)h.p + (at_start ? 0 : (size_t)n * (sizeof(fg_real) - 1));
                for (int i = 0; i < n; i++) u[i] = (uint8_t)(i * 37 + n);
                k->from_u8(u, y.p, (size_t)n);
                for (int i = 0; i < n; i++) REQUIRE(y.p[i] == (fg_real)u[i], "%s: byte %d of %d", k->isa, i, n);
                fence_free(&x), fence_free(&y), fence_free(&h);
            }
    }
}
END_TEST

/* ---------------------------------------------------------------- products */
typedef struct shape {
    int64_t m, n, k;
} shape;

typedef struct problem {
    fg_gemm16_args a;
    fence A, B, C, bias;
    int64_t size; /* of C */
} problem;

/* count numbers of bf16 that end (or begin) at a fence */
static uint16_t *bf16_in(fence *f, int64_t count, bool at_start) {
    int64_t cells = (count * 2 + (int64_t)sizeof(fg_real) - 1) / (int64_t)sizeof(fg_real);
    *f = fence_new(cells, at_start);
    return (uint16_t *)((char *)f->p + (at_start ? 0 : (size_t)cells * sizeof(fg_real) - (size_t)count * 2));
}
static uint16_t *random_bf16(fence *f, int64_t count, bool at_start) {
    uint16_t *p = bf16_in(f, count, at_start);
    for (int64_t i = 0; i < count; i++) p[i] = fg_bf16_from_float((float)random_real());
    return p;
}
static problem problem_new(shape s, bool ta, bool tb, int64_t gap, bool at_start, bool out16) {
    problem p = { .a = { .m = s.m, .n = s.n, .k = s.k, .ta = ta, .tb = tb } };
    int64_t ra = ta ? s.k : s.m, ca = ta ? s.m : s.k, rb = tb ? s.n : s.k, cb = tb ? s.k : s.n;
    p.a.lda = ca + gap, p.a.ldb = cb + gap, p.a.ldc = s.n + gap;
    p.a.a = random_bf16(&p.A, ra && ca ? (ra - 1) * p.a.lda + ca : 0, at_start);
    p.a.b = random_bf16(&p.B, rb && cb ? (rb - 1) * p.a.ldb + cb : 0, at_start);
    p.size = (s.m - 1) * p.a.ldc + s.n;
    if (out16) {
        p.a.c16 = bf16_in(&p.C, p.size, at_start);
        memset(p.a.c16, 0xff, (size_t)p.size * 2);
    } else {
        p.C = fence_new(p.size, at_start);
        p.a.c = p.C.p;
        memset(p.a.c, 0xff, (size_t)p.size * sizeof(fg_real));
    }
    p.bias = fence_random(s.n, at_start);
    return p;
}
static void problem_free(problem *p) { fence_free(&p->A), fence_free(&p->B), fence_free(&p->C), fence_free(&p->bias); }

/* With the kernel k of the context's table */
static void drive(const fg_gemm16_kernel *k, fg_gemm16_args *a) {
    fg_gemm16_plan p = { 0 };
    k->plan(a, &p);
    p.kernel = k;
    ck_assert_int_ge(p.chunks, 1);
    ck_assert_uint_eq(p.scratch % 64, 0);
    ck_assert_uint_le(p.partials, (size_t)32 << 20);
    void *packed = p.packed ? nan_bytes(p.packed) : NULL, *work = nan_bytes(fg_gemm16_workspace(ctx, &p));
    fg_gemm16_pack_drive(ctx, &p, a, packed);
    const uint16_t *b = a->b;
    if (p.packed) a->b = NULL; /* packed B is all that run may need */
    fg_gemm16_drive(ctx, &p, a, packed, work);
    a->b = b;
    free(packed), free(work);
}

static double value(const uint16_t *p, int64_t i) { return (double)fg_bf16_to_float(p[i]); }
static double at_a(const fg_gemm16_args *a, int64_t i, int64_t k) { return value(a->a, a->ta ? k * a->lda + i : i * a->lda + k); }
static double at_b(const fg_gemm16_args *a, int64_t k, int64_t j) { return value(a->b, a->tb ? j * a->ldb + k : k * a->ldb + j); }
static double at_c(const fg_gemm16_args *a, int64_t at) { return a->c ? (double)a->c[at] : value(a->c16, at); }

static void check_problem(const problem *p, const char *name) {
    const fg_gemm16_args *a = &p->a;
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = 0; j < a->n; j++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < a->k; k++) {
                double t = at_a(a, i, k) * at_b(a, k, j);
                sum += t, size += fabs(t);
            }
            double bias = a->bias ? (double)a->bias[j] : 0, got = at_c(a, i * a->ldc + j);
            double want = act_exact(sum + bias, a->act, (double)a->slope);
            double tol = real_eps * ((4 + sqrt((double)a->k)) * size + fabs(bias) + 4 * fabs(want) + 1e-3);
            if (!a->c) tol = (tol + fabs(want) / 256) * 1.01; /* half a unit in the last of 8 bits */
            REQUIRE(fabs(got - want) <= tol,
                    "%s %s %ldx%ldx%ld ta %d tb %d bf16 %d bias %d act %d: C[%ld][%ld] is %.9g, expected %.9g", ctx->k->isa, name,
                    (long)a->m, (long)a->n, (long)a->k, a->ta, a->tb, !a->c, a->bias != NULL, (int)a->act, (long)i, (long)j, got,
                    want);
        }
        for (int64_t j = a->n; j < a->ldc && i * a->ldc + j < p->size; j++)
            REQUIRE(isnan(at_c(a, i * a->ldc + j)), "%s: wrote between rows", ctx->k->isa);
    }
}

/* every kernel of every table, once */
#define EACH_KERNEL(isa, kern)                                                                                                   \
    EACH_TABLE(isa)                                                                                                              \
    for (int q_ = 0; q_ < FG_GEMM16_KERNELS; q_++)                                                                               \
        for (const fg_gemm16_kernel *kern = fg_kernels_for(isa)->gemm16[q_]; kern && kern->isa == isa; kern = NULL)

static void try_shape(const fg_gemm16_kernel *k, shape s, int h, int64_t gap) {
    problem p = problem_new(s, h & 1, h & 2, gap, h & 4, h & 8);
    if (h & 16) p.a.bias = p.bias.p;
    p.a.act = (fg_act)(h / 32 % 6), p.a.slope = (fg_real)0.2;
    if (!k->fits || k->fits(&p.a)) {
        drive(k, &p.a);
        check_problem(&p, k->name);
    }
    problem_free(&p);
}

START_TEST(small_sizes) {
    static const int64_t ks[] = { 0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 40, 65, 66, 100 };
    EACH_KERNEL(isa, k) {
        ctx = context_for(isa);
        for (int64_t m = 1; m <= 40; m++)
            for (int64_t n = 1; n <= 40; n++)
                for (int t = 0; t < 4; t++) {
                    int h = (int)random_below(192) / 4 * 4 + t;
                    try_shape(k, (shape){ m, n, ks[random_below(16)] }, h, random_below(3));
                }
        fg_context_free(ctx);
    }
}
END_TEST

static const shape large[] = {
    { 37, 129, 331 }, { 113, 77, 641 },  { 257, 193, 97 },   { 1, 1000, 333 }, { 1000, 1, 333 },  { 3, 500, 700 },
    { 500, 3, 700 },  { 64, 64, 5000 },  { 5, 2, 9001 },     { 300, 300, 40 }, { 129, 515, 330 }, { 64, 700, 100 },
    { 700, 64, 100 }, { 2, 2, 2000 },    { 150, 40, 4097 },  { 700, 4, 1 },    { 1, 1, 1 },       { 1, 1, 4099 },
    { 15, 33, 321 },  { 29, 1025, 321 }, { 200, 200, 1300 }, { 6, 16, 2500 },  { 27, 60, 12001 },
};
enum { LARGE = sizeof large / sizeof *large };

START_TEST(large_sizes) {
    EACH_KERNEL(isa, k) {
        ctx = context_for(isa);
        for (int i = 0; i < LARGE; i++)
            for (int t = 0; t < 4; t++) {
                if (isa == FG_ISA_SCALAR && t % 2 == i % 2) continue;
                try_shape(k, large[i], t + 4 * ((i * 7 + t * 3) % 8), 0);
                try_shape(k, large[i], t + 8 * (t % 2) + 16 + 32 * ((i + t) % 6), 3);
            }
        fg_context_free(ctx);
    }
}
END_TEST

START_TEST(same_bits_for_any_team) {
    EACH_KERNEL(isa, k) {
        fg_context *team[3];
        for (int t = 0; t < 3; t++) team[t] = context_for(isa), fg_set_threads(team[t], t + 1);
        for (int i = 0; i < LARGE; i++)
            for (int v = 0; v < 4; v++) {
                problem p = problem_new(large[i], v & 1, v & 2, 0, false, false);
                size_t bytes = (size_t)p.size * sizeof(fg_real);
                fg_real *first = malloc(bytes);
                for (int t = 0; t < 3 && (!k->fits || k->fits(&p.a)); t++) {
                    ctx = team[t];
                    drive(k, &p.a);
                    if (t == 0) memcpy(first, p.a.c, bytes);
                    REQUIRE(!memcmp(first, p.a.c, bytes), "%s: shape %d differs with %d threads", ctx->k->isa, i, t + 1);
                }
                free(first);
                problem_free(&p);
            }
        for (int t = 0; t < 3; t++) fg_context_free(team[t]);
    }
}
END_TEST

/* A NaN or an infinity in A spoils its row of C and nothing else; in B, its column. */
START_TEST(special_values_stay_where_they_belong) {
    static const shape s[] = { { 33, 45, 19 }, { 150, 70, 400 }, { 40, 3, 60 }, { 2, 70, 60 }, { 60, 60, 4100 }, { 9, 1, 51 } };
    EACH_KERNEL(isa, kern) {
        ctx = context_for(isa);
        for (int i = 0; i < 6; i++)
            for (int t = 0; t < 4; t++)
                for (int which = 0; which < 4; which++) {
                    problem p = problem_new(s[i], t & 1, t & 2, 0, false, which != 1);
                    uint16_t bad = which & 2 ? 0x7f80 : 0x7fc0;
                    int64_t r = random_below(s[i].m), c = random_below(s[i].n), k = random_below(s[i].k);
                    if (which & 1) ((uint16_t *)p.a.a)[p.a.ta ? k * p.a.lda + r : r * p.a.lda + k] = bad;
                    else ((uint16_t *)p.a.b)[p.a.tb ? c * p.a.ldb + k : k * p.a.ldb + c] = bad;
                    if (!kern->fits || kern->fits(&p.a)) {
                        drive(kern, &p.a);
                        for (int64_t m = 0; m < s[i].m; m++)
                            for (int64_t n = 0; n < s[i].n; n++) {
                                double v = at_c(&p.a, m * p.a.ldc + n);
                                bool hit = which & 1 ? m == r : n == c;
                                REQUIRE(isfinite(v) != hit, "%s: shape %d, C[%ld][%ld] is %g", kern->name, i, (long)m, (long)n,
                                        v);
                            }
                    }
                    problem_free(&p);
                }
        fg_context_free(ctx);
    }
}
END_TEST

START_TEST(levels_have_their_kernels) {
    ck_assert_ptr_nonnull(fg_kernels_for(FG_ISA_SCALAR)->gemm16[0]);
#ifdef FG_HAVE_X86
    const fg_kernels *k = fg_kernels_for(FG_ISA_AVX512BF16);
    if (k) ck_assert_int_eq(k->gemm16[0]->isa, FG_ISA_AVX512BF16);
    for (int isa = FG_ISA_AVX2; isa <= FG_ISA_AVX512; isa++) {
        k = fg_kernels_for((fg_isa_level)isa);
        if (k) ck_assert_ptr_null(k->gemm16[0]);
        if (k) ck_assert(k->to_bf16 != fg_kernels_for(FG_ISA_SCALAR)->to_bf16);
    }
#endif
}
END_TEST

int main(void) {
    Suite *s = suite_create("gemm16");
    TCase *t = tcase_create("gemm16");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, every_bf16_value);
    tcase_add_test(t, rounds_to_nearest_even);
    tcase_add_test(t, conversion_tails);
    tcase_add_test(t, levels_have_their_kernels);
    tcase_add_test(t, small_sizes);
    tcase_add_test(t, large_sizes);
    tcase_add_test(t, same_bits_for_any_team);
    tcase_add_test(t, special_values_stay_where_they_belong);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
