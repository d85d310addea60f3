/* test_rng.c: Philox known answers, fills in parts, distributions, streams. build: both */
#include "tensor.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static fg_context *ctx;

static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
}

static void teardown(void) { fg_context_free(ctx); }

START_TEST(known_answers) { /* kat_vectors of Random123, philox4x32 10 rounds */
    static const struct {
        uint32_t ctr[4], key[2], out[4];
    } kat[3] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        fg_philox4x32(kat[i].ctr, kat[i].key, out);
        for (int k = 0; k < 4; k++) ck_assert_uint_eq(out[k], kat[i].out[k]);
    }
}
END_TEST

START_TEST(fill_is_philox_of_the_block_number) {
    const uint64_t key = 0x0123456789abcdefull, offset = 0xfffffffdull; /* the counter carries into its second word */
    uint32_t all[1000];
    fg_philox_fill_u32(key, offset, 0, all, 1000);
    for (int b = 0; b < 250; b++) {
        uint64_t block = offset + (uint64_t)b;
        uint32_t ctr[4] = { (uint32_t)block, (uint32_t)(block >> 32), 0, 0 }, k[2] = { 0x89abcdef, 0x01234567 }, out[4];
        fg_philox4x32(ctr, k, out);
        ck_assert_mem_eq(out, all + 4 * b, sizeof out);
    }
}
END_TEST

typedef void (*real_fill)(uint64_t, uint64_t, uint64_t, fg_real *, size_t, fg_real, fg_real);

START_TEST(parts_equal_the_whole) {
    enum { N = 1543 };
    static uint32_t u[N], v[N + 1];
    static fg_real x[N], y[N + 1];
    static const size_t cuts[] = { 4, 8, 60, 64, 68, 128, 1000 };
    fg_philox_fill_u32(5, 9, 0, u, N);
    for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
        v[N] = 77;
        for (size_t i = 0; i < N; i += cuts[c]) fg_philox_fill_u32(5, 9, i, v + i, N - i < cuts[c] ? N - i : cuts[c]);
        ck_assert_mem_eq(u, v, sizeof u);
        ck_assert_uint_eq(v[N], 77); /* nothing past the end */
    }
    const real_fill fills[2] = { fg_philox_fill_uniform, fg_philox_fill_normal };
    for (int f = 0; f < 2; f++) {
        fills[f](5, 9, 0, x, N, (fg_real)-1.5, (fg_real)2.5);
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            y[N] = 77;
            for (size_t i = 0; i < N; i += cuts[c])
                fills[f](5, 9, i, y + i, N - i < cuts[c] ? N - i : cuts[c], (fg_real)-1.5, (fg_real)2.5);
            ck_assert_mem_eq(x, y, sizeof x);
            ck_assert(y[N] == 77);
        }
        for (size_t n = 0; n <= 130; n++) { /* every tail */
            memset(y, 0, sizeof y);
            fills[f](5, 9, 0, y, n, (fg_real)-1.5, (fg_real)2.5);
            ck_assert_mem_eq(x, y, n * sizeof *x);
            ck_assert(y[n] == 0);
        }
    }
}
END_TEST

START_TEST(uniform_range_and_moments) {
    enum { N = 1 << 20 };
    fg_real *x = malloc(N * sizeof *x);
    fg_philox_fill_uniform(42, 0, 0, x, N, 0, 1);
    double m1 = 0, m2 = 0;
    int bins[16] = { 0 };
    for (int i = 0; i < N; i++) {
        ck_assert(x[i] >= 0 && x[i] < 1);
        m1 += (double)x[i];
        m2 += (double)x[i] * (double)x[i];
        bins[(int)(x[i] * 16)]++;
    }
    m1 /= N, m2 /= N;
    ck_assert_double_lt(fabs(m1 - 0.5), 5 * sqrt(1.0 / 12 / N));
    ck_assert_double_lt(fabs(m2 - 1.0 / 3), 5 * sqrt(4.0 / 45 / N));
    double chi = 0;
    for (int i = 0; i < 16; i++) chi += pow(bins[i] - N / 16.0, 2) / (N / 16.0);
    ck_assert_double_lt(chi, 45); /* 15 degrees of freedom: p about 1e-4 */
    fg_philox_fill_uniform(42, 0, 0, x, N, (fg_real)-3, (fg_real)5);
    for (int i = 0; i < N; i++) ck_assert(x[i] >= -3 && x[i] < 5);
    fg_philox_fill_uniform(42, 0, 0, x, N, (fg_real)1e6, (fg_real)(1e6 + 1)); /* rounding must not reach the upper end */
    for (int i = 0; i < N; i++) ck_assert(x[i] >= (fg_real)1e6 && x[i] < (fg_real)(1e6 + 1));
    fg_philox_fill_uniform(42, 0, 0, x, 10, 2, 2);
    for (int i = 0; i < 10; i++) ck_assert(x[i] == 2);
    free(x);
}
END_TEST

START_TEST(normal_is_box_muller_of_the_words) {
    enum { N = 1 << 20 };
    const double turn = 6.283185307179586;
    fg_real *x = malloc(N * sizeof *x);
    uint32_t *w = malloc(N * sizeof *w);
    fg_philox_fill_normal(7, 3, 0, x, N, 0, 1);
    fg_philox_fill_u32(7, 3, 0, w, N);
    double worst = 0, m1 = 0, m2 = 0, m4 = 0, cross = 0, most = 0;
    for (int i = 0; i < N; i += 2) {
        double u = (double)((w[i] >> 1) | 1) * 0x1p-31,
               a = ((double)(w[i + 1] >> 30) + (double)(int32_t)(w[i + 1] << 2) * 0x1p-32) / 4;
        double r = sqrt(-2 * log(u)), c = r * cos(turn * a), s = r * sin(turn * a);
        worst = fmax(worst, fmax(fabs((double)x[i] - c), fabs((double)x[i + 1] - s)));
        cross += (double)x[i] * (double)x[i + 1];
        for (int k = 0; k < 2; k++) {
            double v = (double)x[i + k];
            m1 += v, m2 += v * v, m4 += v * v * v * v;
            most = fmax(most, fabs(v));
        }
    }
    ck_assert_double_lt(worst, 1e-4); /* near u = 1 the radius amplifies the rounding of u */
    ck_assert_double_lt(fabs(m1 / N), 5 / sqrt(N));
    ck_assert_double_lt(fabs(m2 / N - 1), 5 * sqrt(2.0 / N));
    ck_assert_double_lt(fabs(m4 / N - 3), 5 * sqrt(96.0 / N));
    ck_assert_double_lt(fabs(cross / (N / 2)), 5 / sqrt(N / 2));
    ck_assert(most > 4.2 && most < 6.6);
    fg_philox_fill_normal(7, 3, 0, x, N, 10, (fg_real)0.5);
    m1 = 0;
    for (int i = 0; i < N; i++) m1 += (double)x[i];
    ck_assert_double_lt(fabs(m1 / N - 10), 2.5 / sqrt(N));
    free(x);
    free(w);
}
END_TEST

#ifndef FG_DOUBLE
START_TEST(bits_are_the_same_on_every_machine) { /* pinned when first written: a change breaks users' seeds */
    fg_real x[4];
    uint32_t b[4];
    fg_philox_fill_normal(7, 0, 0, x, 4, 0, 1);
    memcpy(b, x, sizeof b);
    ck_assert_uint_eq(b[0], 0x3998dd85);
    ck_assert_uint_eq(b[1], 0xbe9c14e8);
    ck_assert_uint_eq(b[2], 0x3fe4f5ff);
    ck_assert_uint_eq(b[3], 0x3f88b00c);
    fg_philox_fill_uniform(7, 0, 0, x, 4, -1, 1);
    memcpy(b, x, sizeof b);
    ck_assert_uint_eq(b[0], 0x3f68c0f4);
    ck_assert_uint_eq(b[1], 0x3f0013f2);
}
END_TEST
#endif

START_TEST(streams_are_independent) {
    fg_manual_seed(ctx, 11);
    ck_assert_uint_eq(fg_initial_seed(ctx), 11);
    uint32_t a = fg_random_u32(ctx, FG_STREAM_DATA), b = fg_random_u32(ctx, FG_STREAM_DATA);
    ck_assert_uint_ne(a, b);
    for (int i = 0; i < FG_STREAM_COUNT; i++)
        for (int k = 0; k < i; k++) ck_assert_uint_ne(fg_stream_get(ctx, (fg_stream)i).key, fg_stream_get(ctx, (fg_stream)k).key);
    fg_manual_seed(ctx, 11);
    for (int i = 0; i < 5; i++) fg_random_u32(ctx, FG_STREAM_LATENT); /* moves only its own */
    ck_assert_uint_eq(fg_random_u32(ctx, FG_STREAM_DATA), a);
    fg_stream_state st = fg_stream_get(ctx, FG_STREAM_DATA);
    ck_assert_uint_eq(fg_random_u32(ctx, FG_STREAM_DATA), b);
    fg_stream_set(ctx, FG_STREAM_DATA, st); /* a checkpoint's way back */
    ck_assert_uint_eq(fg_random_u32(ctx, FG_STREAM_DATA), b);
    fg_manual_seed(ctx, 12);
    ck_assert_uint_ne(fg_random_u32(ctx, FG_STREAM_DATA), a);
    uint64_t at = fg_stream_get(ctx, FG_STREAM_EVAL).offset;
    ck_assert_uint_eq(fg_stream_advance(ctx, FG_STREAM_EVAL, 9), at);
    ck_assert_uint_eq(fg_stream_get(ctx, FG_STREAM_EVAL).offset, at + 3);
    ck_assert_str_eq(fg_stream_name(FG_STREAM_DEFAULT), "default");
    ck_assert_str_eq(fg_stream_name(FG_STREAM_EVAL), "eval");
    ck_assert_ptr_null(fg_stream_name(FG_STREAM_COUNT));
}
END_TEST

START_TEST(below_is_unbiased) {
    enum { N = 60000 };
    int bins[6] = { 0 };
    for (int i = 0; i < N; i++) {
        uint64_t v = fg_random_below(ctx, FG_STREAM_LABEL, 6);
        ck_assert_uint_lt(v, 6);
        bins[v]++;
    }
    double chi = 0;
    for (int i = 0; i < 6; i++) chi += pow(bins[i] - N / 6.0, 2) / (N / 6.0);
    ck_assert_double_lt(chi, 25);
    ck_assert_uint_eq(fg_random_below(ctx, FG_STREAM_LABEL, 1), 0);
    int high = 0;
    const uint64_t n = (uint64_t)3 << 62; /* a plain modulo of 64 bits would give the lower third twice as often */
    for (int i = 0; i < 3000; i++) {
        uint64_t v = fg_random_below(ctx, FG_STREAM_LABEL, n);
        ck_assert_uint_lt(v, n);
        high += v >= n / 3;
    }
    ck_assert(high > 1900 && high < 2100);
}
END_TEST

START_TEST(permutations) {
    enum { N = 1000 };
    int32_t p[N], seen[N] = { 0 }, fixed = 0;
    fg_random_permutation(ctx, FG_STREAM_DATA, p, N);
    for (int i = 0; i < N; i++) {
        ck_assert(p[i] >= 0 && p[i] < N);
        ck_assert_int_eq(seen[p[i]]++, 0);
        fixed += p[i] == i;
    }
    ck_assert_int_lt(fixed, 10);
    int counts[6] = { 0 }; /* all orders of three equally often */
    for (int i = 0; i < 6000; i++) {
        int32_t q[3];
        fg_random_permutation(ctx, FG_STREAM_DATA, q, 3);
        counts[q[0] * 2 + (q[1] > q[2])]++;
    }
    for (int i = 0; i < 6; i++) ck_assert(counts[i] > 850 && counts[i] < 1150);
    fg_random_permutation(ctx, FG_STREAM_DATA, p, 0);
}
END_TEST

START_TEST(tensors_have_the_same_bits_for_any_team) {
    enum { N = 100003 };
    fg_real *first = NULL;
    for (int threads = 1; threads <= 4; threads++) {
        ck_assert_int_eq(fg_set_threads(ctx, threads), FG_OK);
        fg_manual_seed(ctx, 3);
        fg_scope *s = fg_scope_open(ctx);
        fg_tensor *u = fg_uniform(s, FG_SHAPE(N), -1, 1, FG_STREAM_LATENT),
                  *n = fg_normal(s, FG_SHAPE(N), 0, 1, FG_STREAM_LATENT);
        ck_assert(u && n);
        if (!first) {
            first = malloc(2 * N * sizeof *first);
            memcpy(first, fg_tensor_data(u), N * sizeof *first);
            memcpy(first + N, fg_tensor_data(n), N * sizeof *first);
        }
        ck_assert_mem_eq(first, fg_tensor_data(u), N * sizeof *first);
        ck_assert_mem_eq(first + N, fg_tensor_data(n), N * sizeof *first);
        ck_assert_int_eq(fg_scope_close(s), FG_OK);
    }
    free(first);
}
END_TEST

START_TEST(failures_leave_the_stream_alone) {
    fg_scope *s = fg_scope_open(ctx);
    fg_stream_state was = fg_stream_get(ctx, FG_STREAM_LATENT);
    for (int nth = 1; nth <= 3; nth++) {
        fg_memory_fail_nth(ctx, (uint64_t)nth, false);
        fg_tensor *t = fg_normal(s, FG_SHAPE(1000), 0, 1, FG_STREAM_LATENT);
        fg_stream_state now = fg_stream_get(ctx, FG_STREAM_LATENT);
        ck_assert_int_eq(t == NULL, now.offset == was.offset);
        if (nth == 1) ck_assert_ptr_null(t);
        was = now;
    }
    fg_memory_fail_nth(ctx, 0, false);
    ck_assert_ptr_null(fg_uniform(s, FG_SHAPE(3), 2, 1, FG_STREAM_LATENT));
    ck_assert_ptr_null(fg_normal(s, FG_SHAPE(3), 0, -1, FG_STREAM_LATENT));
    ck_assert_ptr_null(fg_normal(s, FG_SHAPE(3), 0, 1, FG_STREAM_COUNT));
    ck_assert_uint_eq(fg_stream_get(ctx, FG_STREAM_LATENT).offset, was.offset);
    ck_assert_int_eq(fg_scope_close(s), FG_ENOMEM);
}
END_TEST

int main(void) {
    TCase *tc = tcase_create("rng");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, known_answers);
    tcase_add_test(tc, fill_is_philox_of_the_block_number);
    tcase_add_test(tc, parts_equal_the_whole);
    tcase_add_test(tc, uniform_range_and_moments);
    tcase_add_test(tc, normal_is_box_muller_of_the_words);
#ifndef FG_DOUBLE
    tcase_add_test(tc, bits_are_the_same_on_every_machine);
#endif
    tcase_add_test(tc, streams_are_independent);
    tcase_add_test(tc, below_is_unbiased);
    tcase_add_test(tc, permutations);
    tcase_add_test(tc, tensors_have_the_same_bits_for_any_team);
    tcase_add_test(tc, failures_leave_the_stream_alone);
    tcase_set_timeout(tc, 60);
    Suite *s = suite_create("rng");
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
