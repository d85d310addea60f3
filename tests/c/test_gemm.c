/* test_gemm.c: matrix products of every ISA of this machine against sums in double: all sizes to 40 with all transposes,
 * larger odd shapes that reach every path (direct, packed, dot, k in parts), accumulation, bias and activations, row
 * strides, the same bits for any number of workers, and NaN reaching exactly the elements that use it.
 * build: both */
#include "product_cases.h"

typedef struct shape {
    int64_t m, n, k;
} shape;

static fg_context *ctx;

static void drive(const fg_gemm_args *a) {
    fg_gemm_plan p;
    ctx->k->gemm_plan(a, &p);
    ck_assert_int_ge(p.chunks, 1);
    void *work = nan_bytes(fg_gemm_workspace(ctx, &p)), *packed = nan_bytes(p.packed);
    fg_gemm_args own = *a;
    fg_gemm_pack_drive(ctx, &p, a, packed);
    own.packed = packed;
    if (p.keeps) own.b = a->a; /* packed B is all that run may read */
    fg_gemm_drive(ctx, &p, &own, work);
    free(work), free(packed);
}

typedef struct problem {
    fg_gemm_args a;
    fence A, B, C, bias, gate; /* gate: laid out as C */
    fg_real *before;           /* C as it was */
    int64_t size;              /* of C */
} problem;

static fg_real at_a(const fg_gemm_args *a, int64_t i, int64_t k) { return a->ta ? a->a[k * a->lda + i] : a->a[i * a->lda + k]; }
static fg_real at_b(const fg_gemm_args *a, int64_t k, int64_t j) { return a->tb ? a->b[j * a->ldb + k] : a->b[k * a->ldb + j]; }

/* gap: elements between rows, in all three matrices */
static problem problem_new(shape s, bool ta, bool tb, int64_t gap, bool at_start) {
    problem p = { .a = { .m = s.m, .n = s.n, .k = s.k, .ta = ta, .tb = tb } };
    int64_t ra = ta ? s.k : s.m, ca = ta ? s.m : s.k, rb = tb ? s.n : s.k, cb = tb ? s.k : s.n;
    p.a.lda = ca + gap, p.a.ldb = cb + gap, p.a.ldc = s.n + gap;
    /* the last row ends with its last element: the gap after it does not exist */
    p.A = fence_random(ra && ca ? (ra - 1) * p.a.lda + ca : 0, at_start);
    p.B = fence_random(rb && cb ? (rb - 1) * p.a.ldb + cb : 0, at_start);
    p.size = (s.m - 1) * p.a.ldc + s.n;
    p.C = fence_random(p.size, at_start);
    p.bias = fence_random(s.n, at_start);
    p.gate = fence_random(p.size, at_start);
    p.before = malloc((size_t)p.size * sizeof(fg_real));
    memcpy(p.before, p.C.p, (size_t)p.size * sizeof(fg_real));
    p.a.a = p.A.p, p.a.b = p.B.p, p.a.c = p.C.p;
    return p;
}
static void problem_free(problem *p) {
    fence_free(&p->A), fence_free(&p->B), fence_free(&p->C), fence_free(&p->bias), fence_free(&p->gate);
    free(p->before);
}

static void check_problem(const problem *p) {
    const fg_gemm_args *a = &p->a;
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = 0; j < a->n; j++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < a->k; k++) {
                double t = (double)at_a(a, i, k) * (double)at_b(a, k, j);
                sum += t, size += fabs(t);
            }
            double old = a->accumulate ? (double)p->before[i * a->ldc + j] : 0, bias = a->bias ? (double)a->bias[j] : 0;
            double want = act_exact(sum + old + bias, a->act, (double)a->slope), got = (double)a->c[i * a->ldc + j];
            if (a->gate) want = sum * act_slope((double)a->gate[i * a->ldc + j], a->act, (double)a->slope);
            double tol = real_eps * ((4 + sqrt((double)a->k)) * size + fabs(old) + fabs(bias) + 4 * fabs(want) + 1e-3);
            REQUIRE(fabs(got - want) <= tol,
                    "%s %ldx%ldx%ld ta %d tb %d acc %d bias %d act %d gate %d: C[%ld][%ld] is %.9g, expected %.9g", ctx->k->isa,
                    (long)a->m, (long)a->n, (long)a->k, a->ta, a->tb, a->accumulate, a->bias != NULL, (int)a->act,
                    a->gate != NULL, (long)i, (long)j, got, want);
        }
        for (int64_t j = a->n; j < a->ldc && i * a->ldc + j < p->size; j++)
            REQUIRE(a->c[i * a->ldc + j] == p->before[i * a->ldc + j], "%s: wrote between rows", ctx->k->isa);
    }
}

START_TEST(small_sizes) {
    static const int64_t ks[] = { 0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 40 };
    EACH_ISA(isa) {
        ctx = context_for(isa);
        fg_set_threads(ctx, 1);
        for (int64_t m = 1; m <= 40; m++)
            for (int64_t n = 1; n <= 40; n++) {
                int64_t h = m * 40 + n;
                for (int t = 0; t < 4; t++) {
                    shape s = { m, n, h * 4 + t == 6564 ? 0 : ks[(h * 5 + t * 7 + n * n) % 12] };
                    problem p = problem_new(s, t & 1, t & 2, h % 3, h & 4);
                    p.a.accumulate = h % 5 == 0;
                    if (!p.a.accumulate && h % 2) p.a.bias = p.bias.p;
                    if (!p.a.accumulate) p.a.act = (fg_act)((h + t) % 6), p.a.slope = (fg_real)0.2;
                    if (!p.a.accumulate && !p.a.bias && h % 3) p.a.gate = p.gate.p;
                    drive(&p.a);
                    check_problem(&p);
                    problem_free(&p);
                }
            }
        fg_context_free(ctx);
    }
}
END_TEST

/* From 70x1024x50 on: rows of B 4 KB apart (1019 with a gap), packed by one chunk or for all; sums that wait in bands; C as its
 * transpose, k in parts or not; thin ones in several chunks, by columns, rows and parts of k. */
static const shape large[] = {
    { 37, 129, 331 }, { 113, 77, 641 },  { 257, 193, 97 },   { 1, 1000, 333 },  { 1000, 1, 333 },  { 3, 500, 700 },
    { 500, 3, 700 },  { 64, 64, 5000 },  { 5, 2, 9001 },     { 300, 300, 40 },  { 129, 515, 330 }, { 64, 700, 100 },
    { 700, 64, 100 }, { 2, 2, 2000 },    { 150, 40, 4097 },  { 700, 4, 1 },     { 1, 1, 1 },       { 1, 1, 4099 },
    { 15, 33, 321 },  { 29, 1025, 321 }, { 200, 200, 1300 }, { 6, 16, 2500 },   { 70, 1024, 50 },  { 230, 1024, 41 },
    { 600, 40, 330 }, { 48, 700, 330 },  { 64, 100, 4100 },  { 70, 1019, 50 },  { 230, 1019, 41 }, { 3, 300, 4200 },
    { 300, 3, 4200 }, { 1300, 1000, 3 }, { 1, 1, 600000 },   { 230, 512, 530 }, { 231, 512, 41 },
};
enum { LARGE = sizeof large / sizeof *large };

START_TEST(large_sizes) {
    EACH_ISA(isa) {
        ctx = context_for(isa);
        for (int i = 0; i < LARGE; i++)
            for (int t = 0; t < 4; t++)
                for (int v = 0; v < 3; v++) {
                    if (v && large[i].m * large[i].n * large[i].k > 30000000) continue;
                    problem p = problem_new(large[i], t & 1, t & 2, v * 5, v & 1);
                    p.a.accumulate = v == 1;
                    if (v == 2) p.a.bias = p.bias.p, p.a.act = FG_ACT_SIGMOID;
                    if (v == 0 && t == 1) p.a.bias = p.bias.p, p.a.act = FG_ACT_LEAKY_RELU, p.a.slope = (fg_real)0.1;
                    drive(&p.a);
                    check_problem(&p);
                    problem_free(&p);
                }
        fg_context_free(ctx);
    }
}
END_TEST

START_TEST(activations) {
    EACH_ISA(isa) {
        ctx = context_for(isa);
        static const shape s[] = { { 20, 50, 9 }, { 150, 300, 400 }, { 40, 3, 60 }, { 2, 70, 60 }, { 90, 90, 6000 } };
        for (int i = 0; i < 5; i++)
            for (int act = FG_ACT_NONE; act <= FG_ACT_SOFTPLUS; act++)
                for (int b = 0; b < 2; b++) {
                    if (i >= 4 && act % 2) continue;
                    problem p = problem_new(s[i], false, i == 3, 0, false);
                    p.a.act = (fg_act)act, p.a.slope = (fg_real)0.3;
                    if (b) p.a.bias = p.bias.p;
                    drive(&p.a);
                    check_problem(&p);
                    problem_free(&p);
                }
        fg_context_free(ctx);
    }
}
END_TEST

/* The same bits as the product and then the activation's gradient, over every path; a closed relu gate gives 0 even for infinity.
 */
START_TEST(gates) {
    EACH_ISA(isa) {
        ctx = context_for(isa);
        for (int i = 0; i < LARGE; i++)
            for (int t = 0; t < 4; t++)
                for (int gap = 0; gap < 8; gap += 5) {
                    if (large[i].m * large[i].n > 400000) continue;
                    fg_act act = (fg_act)(1 + (i + t + gap) % (t || gap ? 5 : 2));
                    problem p = problem_new(large[i], t & 1, t & 2, gap, gap);
                    fg_real *plain = malloc((size_t)p.size * sizeof *plain);
                    p.A.p[0] = i % 3 ? p.A.p[0] : (fg_real)INFINITY;
                    p.gate.p[i % large[i].n] = i % 2 ? 0 : (fg_real)NAN;
                    drive(&p.a);
                    for (int64_t r = 0; r < p.a.m; r++) {
                        int64_t e = r * p.a.ldc;
                        ctx->k->unary_grad[fg_act_unary(act)](p.C.p + e, p.gate.p + e, plain + e, (size_t)p.a.n, (fg_real)0.3, 0);
                    }
                    p.a.gate = p.gate.p, p.a.act = act, p.a.slope = (fg_real)0.3;
                    drive(&p.a);
                    for (int64_t r = 0; r < p.a.m; r++)
                        REQUIRE(!memcmp(plain + r * p.a.ldc, p.C.p + r * p.a.ldc, (size_t)p.a.n * sizeof *plain),
                                "%s: shape %d, transposes %d, row %ld differs under a gate of %d", ctx->k->isa, i, t, (long)r,
                                (int)act);
                    free(plain);
                    problem_free(&p);
                }
        fg_context_free(ctx);
    }
}
END_TEST

START_TEST(same_bits_for_any_team) {
    EACH_ISA(isa) {
        fg_context *team[3];
        for (int t = 0; t < 3; t++) team[t] = context_for(isa), fg_set_threads(team[t], t + 1);
        for (int i = 0; i < LARGE; i++)
            for (int v = 0; v < 4; v++) {
                problem p = problem_new(large[i], v & 1, v & 2, 0, false);
                size_t bytes = (size_t)p.size * sizeof(fg_real);
                fg_real *first = malloc(bytes);
                for (int t = 0; t < 3; t++) {
                    ctx = team[t];
                    drive(&p.a);
                    if (t == 0) memcpy(first, p.C.p, bytes);
                    REQUIRE(!memcmp(first, p.C.p, bytes), "%s: shape %d differs with %d threads", ctx->k->isa, i, t + 1);
                }
                free(first);
                problem_free(&p);
            }
        for (int t = 0; t < 3; t++) fg_context_free(team[t]);
    }
}
END_TEST

/* Two products in one section give what each gives alone; k in parts, which adds up afterwards, among them. */
START_TEST(pairs) {
    static const shape s[] = { { 150, 300, 400 }, { 40, 50, 4100 }, { 2, 700, 60 }, { 300, 3, 700 }, { 5, 6, 7 } };
    enum { N = sizeof s / sizeof *s };
    EACH_ISA(isa) {
        for (int t = 0; t < 3; t++) {
            ctx = context_for(isa);
            fg_set_threads(ctx, t + 1);
            for (int i = 0; i < N * N; i++) {
                problem p[2] = { problem_new(s[i % N], false, i & 1, 0, false), problem_new(s[i / N], true, false, 3, true) };
                fg_gemm_plan plan[2];
                fg_gemm_args a[2];
                fg_real *alone[2];
                void *work[2], *packed[2];
                for (int e = 0; e < 2; e++) {
                    drive(&p[e].a);
                    alone[e] = malloc((size_t)p[e].size * sizeof(fg_real));
                    memcpy(alone[e], p[e].C.p, (size_t)p[e].size * sizeof(fg_real));
                    memset(p[e].C.p, 0xff, (size_t)p[e].size * sizeof(fg_real));
                    ctx->k->gemm_plan(&p[e].a, &plan[e]);
                    a[e] = p[e].a;
                    work[e] = nan_bytes(fg_gemm_workspace(ctx, &plan[e]));
                    a[e].packed = packed[e] = nan_bytes(plan[e].packed);
                    fg_gemm_pack_drive(ctx, &plan[e], &a[e], packed[e]);
                }
                fg_gemm_drive_pair(ctx, plan, a, work);
                for (int e = 0; e < 2; e++) {
                    for (int64_t r = 0; r < a[e].m; r++)
                        REQUIRE(!memcmp(alone[e] + r * a[e].ldc, a[e].c + r * a[e].ldc, (size_t)a[e].n * sizeof(fg_real)),
                                "%s: pair %d, product %d, row %ld differs with %d threads", ctx->k->isa, i, e, (long)r, t + 1);
                    free(alone[e]), free(work[e]), free(packed[e]);
                    problem_free(&p[e]);
                }
            }
            fg_context_free(ctx);
        }
    }
}
END_TEST

/* A NaN or an infinity in A spoils its row of C and nothing else; in B, its column. */
START_TEST(special_values_stay_where_they_belong) {
    EACH_ISA(isa) {
        ctx = context_for(isa);
        static const shape s[] = { { 33, 45, 19 },   { 150, 70, 400 }, { 40, 3, 60 },    { 2, 70, 60 },
                                   { 60, 60, 4100 }, { 9, 1, 50 },     { 70, 1024, 12 }, { 48, 400, 330 } };
        for (int i = 0; i < 8; i++)
            for (int t = 0; t < 4; t++)
                for (int which = 0; which < 4; which++) {
                    problem p = problem_new(s[i], t & 1, t & 2, 0, false);
                    fg_real bad = which & 2 ? (fg_real)INFINITY : (fg_real)NAN;
                    int64_t r = random_below(s[i].m), c = random_below(s[i].n), k = random_below(s[i].k);
                    if (which & 1) p.A.p[p.a.ta ? k * p.a.lda + r : r * p.a.lda + k] = bad;
                    else p.B.p[p.a.tb ? c * p.a.ldb + k : k * p.a.ldb + c] = bad;
                    p.a.act = t ? FG_ACT_RELU : FG_ACT_NONE;
                    drive(&p.a);
                    for (int64_t m = 0; m < s[i].m; m++)
                        for (int64_t n = 0; n < s[i].n; n++) {
                            fg_real v = p.a.c[m * p.a.ldc + n];
                            bool hit = which & 1 ? m == r : n == c;
                            bool shows = !isfinite(v) || (hit && which & 2 && p.a.act == FG_ACT_RELU); /* relu(-inf) is 0 */
                            REQUIRE(shows == hit, "%s: shape %d, C[%ld][%ld] is %g", ctx->k->isa, i, (long)m, (long)n, (double)v);
                        }
                    problem_free(&p);
                }
        fg_context_free(ctx);
    }
}
END_TEST

START_TEST(partial_sums_stay_small) {
    EACH_ISA(isa)
    for (int i = 0; i < LARGE; i++) {
        fg_gemm_args a = { .m = large[i].m, .n = large[i].n, .k = 1000000, .lda = 1000000, .ldb = large[i].n, .ldc = large[i].n };
        fg_gemm_plan p;
        a.ta = true, a.lda = a.m;
        fg_kernels_for(isa)->gemm_plan(&a, &p);
        ck_assert_int_ge(p.chunks, 1);
        ck_assert_uint_le(p.shared, (size_t)32 << 20);
    }
}
END_TEST

START_TEST(levels_differ) { check_levels_differ(); }
END_TEST

int main(void) {
    Suite *s = suite_create("gemm");
    TCase *t = tcase_create("gemm");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, levels_differ);
    tcase_add_test(t, small_sizes);
    tcase_add_test(t, large_sizes);
    tcase_add_test(t, activations);
    tcase_add_test(t, same_bits_for_any_team);
    tcase_add_test(t, gates);
    tcase_add_test(t, pairs);
    tcase_add_test(t, special_values_stay_where_they_belong);
    tcase_add_test(t, partial_sums_stay_small);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
