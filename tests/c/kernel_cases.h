/* kernel_cases.h: inputs and comparisons shared by test_kernels*.c.
 *
 * Buffers carry guard values before and after the range, so that a kernel that writes one element too many fails; they
 * start at an odd element, so that alignment is never better than the element's. Equality is of bits, except that all
 * NaNs are equal. */
#ifndef KERNEL_CASES_H
#define KERNEL_CASES_H

#include "kernels.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FG_DOUBLE
#define REAL_EPS DBL_EPSILON
#define REAL_MIN DBL_MIN
#define REAL_MAX DBL_MAX
#else
#define REAL_EPS FLT_EPSILON
#define REAL_MIN FLT_MIN
#define REAL_MAX FLT_MAX
#endif

/* ck_assert_msg for inner loops: that one writes to a pipe at each call. */
#define EXPECT(cond, ...)                                                                                                        \
    do {                                                                                                                         \
        if (!(cond)) ck_abort_msg(__VA_ARGS__);                                                                                  \
    } while (0)

enum { GUARD = 19, CAP = 1 << 13 };
static const fg_real guard_value = (fg_real)-12345.625;

typedef struct buffer {
    fg_real mem[CAP + 2 * GUARD];
} buffer;

/* First element of a buffer, off elements away from its usual place. */
__attribute__((unused)) static fg_real *at(buffer *b, int off) { return b->mem + GUARD - 3 + off; }

__attribute__((unused)) static void fill_guard(buffer *b) {
    for (size_t i = 0; i < CAP + 2 * GUARD; i++) b->mem[i] = guard_value;
}
__attribute__((unused)) static void check_guard(const buffer *b, const fg_real *p, size_t n, const char *what) {
    for (size_t i = 0; i < CAP + 2 * GUARD; i++) {
        const fg_real *q = b->mem + i;
        if (q < p || q >= p + n) EXPECT(*q == guard_value, "%s: wrote outside its %zu elements", what, n);
    }
}

static uint64_t case_state = 88172645463325252u;
__attribute__((unused)) static uint32_t next_u32(void) {
    case_state ^= case_state << 13, case_state ^= case_state >> 7, case_state ^= case_state << 17;
    return (uint32_t)(case_state >> 16);
}
/* uniform in [-1, 1) */
__attribute__((unused)) static fg_real next_real(void) { return (fg_real)((double)next_u32() / 2147483648.0 - 1.0); }

__attribute__((unused)) static void fill_plain(fg_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = next_real() * 3;
}
/* Plain numbers mixed with every kind of special one. */
__attribute__((unused)) static void fill_special(fg_real *x, size_t n) {
    static const fg_real odd[] = { 0,
                                   -(fg_real)0.0,
                                   1,
                                   -1,
                                   INFINITY,
                                   -INFINITY,
                                   NAN,
                                   REAL_MIN,
                                   REAL_MAX,
                                   -REAL_MAX,
                                   REAL_MIN / 8,
                                   -REAL_MIN / 64,
                                   0.5,
                                   2,
                                   (fg_real)1e-20,
                                   (fg_real)-1e20,
                                   88,
                                   -88,
                                   100,
                                   -104 };
    enum { N = sizeof odd / sizeof *odd };
    for (size_t i = 0; i < n; i++) {
        uint32_t u = next_u32();
        x[i] = u % 3 == 0 ? odd[(u >> 8) % N] : u % 3 == 1 ? next_real() * 3 : next_real() * 40;
    }
}

__attribute__((unused)) static bool same_bits(fg_real a, fg_real b) {
    return (a != a && b != b) || memcmp(&a, &b, sizeof a) == 0;
}
__attribute__((unused)) static void check_same(const fg_real *got, const fg_real *want, size_t n, const char *isa,
                                               const char *what) {
    for (size_t i = 0; i < n; i++)
        EXPECT(same_bits(got[i], want[i]), "%s on %s: element %zu of %zu is %.9g, expected %.9g", what, isa, i, n, (double)got[i],
               (double)want[i]);
}

/* The tables to test: scalar is first, then each level of this machine that has kernels of its own. */
__attribute__((unused)) static int tables(const fg_kernels *out[FG_ISA_COUNT]) {
    int n = 0;
    for (int isa = 0; isa < FG_ISA_COUNT; isa++) {
        const fg_kernels *k = fg_kernels_for((fg_isa_level)isa);
        if (k && (n == 0 || strcmp(k->isa, out[n - 1]->isa) != 0)) out[n++] = k;
    }
    return n;
}
__attribute__((unused)) static const fg_kernels *table_after(const fg_kernels *k) {
    const fg_kernels *t[FG_ISA_COUNT];
    int n = tables(t), i = 0;
    while (k && t[i++] != k) {}
    return i < n ? t[i] : NULL;
}
#define EACH_TABLE(k) for (const fg_kernels *k = table_after(NULL); k; k = table_after(k))

/* Sizes: every tail of every vector width, then some longer than any unrolling. */
static const size_t odd_sizes[] = { 127, 128, 129, 511, 1009, 4099 };
__attribute__((unused)) static size_t size_case(int i) { return i <= 70 ? (size_t)i : odd_sizes[i - 71]; }
enum { SIZE_CASES = 71 + sizeof odd_sizes / sizeof *odd_sizes };

/* main of a test program: one suite, one case, the tests listed. */
#define KERNEL_MAIN(suite_name, ...)                                                                                             \
    int main(void) {                                                                                                             \
        Suite *s = suite_create(suite_name);                                                                                     \
        TCase *c = tcase_create(suite_name);                                                                                     \
        const TTest *const tests[] = { __VA_ARGS__ };                                                                            \
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(c, tests[i]);                                   \
        tcase_set_timeout(c, 120);                                                                                               \
        suite_add_tcase(s, c);                                                                                                   \
        SRunner *r = srunner_create(s);                                                                                          \
        srunner_run_all(r, CK_NORMAL);                                                                                           \
        int failed = srunner_ntests_failed(r);                                                                                   \
        srunner_free(r);                                                                                                         \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;                                                                             \
    }

#endif
