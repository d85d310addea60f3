/* test_alloc.c: the caching allocator: alignment, reuse, counters, the failure hook, poisoning under ASan. */
#define _GNU_SOURCE
#include "base.h"
#include "poison.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static fg_context *ctx;
static fg_memory base;

static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    base = fg_memory_stats(ctx);
}

static void teardown(void) {
    ck_assert_uint_eq(fg_memory_stats(ctx).live, base.live);
    fg_context_free(ctx);
}

static const size_t sizes[] = { 0,    1,    8,    15,   16,    17,    32,      48,      49,      63,        64,           65,
                                127,  128,  200,  320,  1000,  1023,  1024,    1025,    1279,    1280,      1281,         2048,
                                2049, 4096, 5000, 9999, 65536, 70000, 1 << 20, 1000001, 3 << 20, (5 << 20), (5 << 20) + 1 };
enum { NSIZES = sizeof sizes / sizeof *sizes };

START_TEST(blocks_are_aligned_and_apart) {
    unsigned char *p[NSIZES];
    for (int i = 0; i < NSIZES; i++) {
        p[i] = fg_alloc(ctx, sizes[i]);
        ck_assert_ptr_nonnull(p[i]);
        ck_assert_uint_eq((uintptr_t)p[i] % (sizes[i] >= 64 ? 64 : 16), 0);
        memset(p[i], i, sizes[i]);
    }
    for (int i = 0; i < NSIZES; i++) /* nobody wrote over anybody */
        for (size_t k = 0; k < sizes[i]; k++)
            if (p[i][k] != (unsigned char)i) ck_abort_msg("block of %zu bytes was overwritten", sizes[i]);
    for (int i = 0; i < NSIZES; i++) fg_free(ctx, p[i], sizes[i]);
    fg_free(ctx, NULL, 100);
}
END_TEST

START_TEST(counters_add_up) {
    size_t asked = 0;
    void *p[NSIZES];
    for (int i = 0; i < NSIZES; i++) p[i] = fg_alloc(ctx, sizes[i]), asked += sizes[i];
    fg_memory m = fg_memory_stats(ctx);
    ck_assert_uint_ge(m.live - base.live, asked);
    ck_assert_uint_le(m.live - base.live, asked + asked / 4 + 64 * NSIZES); /* at most 25% waste above small cells */
    ck_assert_uint_eq(m.live + m.cached, m.system);
    ck_assert_uint_eq(m.requests - base.requests, NSIZES);
    ck_assert_uint_eq(m.peak, m.live);
    for (int i = 0; i < NSIZES; i++) fg_free(ctx, p[i], sizes[i]);
    fg_memory after = fg_memory_stats(ctx);
    ck_assert_uint_eq(after.live, base.live);
    ck_assert_uint_eq(after.peak, m.peak);
    ck_assert_uint_eq(after.system, m.system);
    fg_memory_reset_peak(ctx);
    ck_assert_uint_eq(fg_memory_stats(ctx).peak, base.live);
}
END_TEST

START_TEST(freed_memory_is_reused_without_the_system) {
    void *p[NSIZES];
    uint64_t calls = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < NSIZES; i++) p[i] = fg_alloc(ctx, sizes[i]);
        for (int i = NSIZES - 1; i >= 0; i--) fg_free(ctx, p[i], sizes[i]);
        if (round == 0) calls = fg_memory_stats(ctx).system_calls;
    }
    ck_assert_uint_eq(fg_memory_stats(ctx).system_calls, calls);
    void *a = fg_alloc(ctx, 5 << 20);
    fg_free(ctx, a, 5 << 20);
    void *b = fg_alloc(ctx, (5 << 20) - 1000); /* same class, other size */
    ck_assert_ptr_eq(a, b);
    fg_free(ctx, b, (5 << 20) - 1000);
}
END_TEST

/* Freed neighbours become one block again, whatever the order in which they were freed. */
START_TEST(neighbours_merge) {
    enum { PARTS = 6, PART = 1 << 20 };
    static const int orders[3][PARTS] = { { 0, 1, 2, 3, 4, 5 }, { 5, 4, 3, 2, 1, 0 }, { 4, 1, 3, 0, 5, 2 } };
    for (int o = 0; o < 3; o++) {
        void *p[PARTS];
        for (int i = 0; i < PARTS; i++) ck_assert_ptr_nonnull(p[i] = fg_alloc(ctx, PART));
        uint64_t calls = fg_memory_stats(ctx).system_calls;
        for (int i = 0; i < PARTS; i++) fg_free(ctx, p[orders[o][i]], PART);
        void *all = fg_alloc(ctx, PARTS * PART - 4096);
        ck_assert_uint_eq(fg_memory_stats(ctx).system_calls, calls);
        fg_free(ctx, all, PARTS * PART - 4096);
    }
}
END_TEST

/* Big blocks of random sizes, freed in random order: none overlaps another, and sizes that come and go need little more
 * memory than what is live at once. */
START_TEST(big_blocks_in_random_order) {
    enum { LIVE = 24, ROUNDS = 4000 };
    static struct {
        unsigned char *p;
        size_t n;
    } b[LIVE];
    uint32_t state = 7;
    for (int r = 0; r < ROUNDS; r++) {
        state = state * 1664525 + 1013904223;
        int i = (int)((state >> 8) % LIVE);
        if (b[i].p) {
            bool intact = b[i].p[b[i].n - 1] == i + 1;
            for (size_t k = 0; k < b[i].n; k += 4093) intact = intact && b[i].p[k] == i + 1;
            ck_assert(intact);
            fg_free(ctx, b[i].p, b[i].n);
        }
        b[i].n = 33000 + (state >> 12) % 1000003;
        b[i].p = fg_alloc(ctx, b[i].n);
        ck_assert(b[i].p && (uintptr_t)b[i].p % 64 == 0);
        for (size_t k = 0; k < b[i].n; k += 4093) b[i].p[k] = (unsigned char)(i + 1);
        b[i].p[b[i].n - 1] = (unsigned char)(i + 1);
    }
    fg_memory m = fg_memory_stats(ctx);
    ck_assert_uint_eq(m.live + m.cached, m.system);
    ck_assert_uint_lt(m.system, m.peak + m.peak / 2 + (8 << 20));
    for (int i = 0; i < LIVE; i++) {
        if (b[i].p) fg_free(ctx, b[i].p, b[i].n);
        b[i].p = NULL;
    }
    fg_memory_trim(ctx);
    ck_assert_uint_le(fg_memory_stats(ctx).system, base.system);
}
END_TEST

START_TEST(trim_returns_what_is_free) {
    void *keep = fg_alloc(ctx, 40), *p[2000];
    for (int i = 0; i < 2000; i++) p[i] = fg_alloc(ctx, 300);
    void *big = fg_alloc(ctx, 1 << 22);
    fg_free(ctx, big, 1 << 22);
    fg_memory_trim(ctx);
    fg_memory m = fg_memory_stats(ctx);
    ck_assert_uint_lt(m.cached, 1 << 20); /* the big block is gone, the slabs are full of live cells */
    for (int i = 0; i < 2000; i++)
        if (i != 777) fg_free(ctx, p[i], 300);
    fg_memory_trim(ctx);
    ck_assert_uint_lt(fg_memory_stats(ctx).system, m.system - 7 * 65536);
    memset(p[777], 1, 300); /* its slab is still there */
    memset(keep, 2, 40);
    for (int i = 0; i < 2000; i++) /* and the free list of that slab works */
        if (i != 777) p[i] = fg_alloc(ctx, 300), memset(p[i], 3, 300);
    for (int i = 0; i < 300; i++) ck_assert_int_eq(((char *)p[777])[i], 1);
    for (int i = 0; i < 2000; i++) fg_free(ctx, p[i], 300);
    fg_free(ctx, keep, 40);
}
END_TEST

START_TEST(calloc_and_realloc) {
    unsigned char *p = fg_alloc(ctx, 500);
    memset(p, 0xff, 500);
    fg_free(ctx, p, 500);
    p = fg_calloc(ctx, 500);
    for (int i = 0; i < 500; i++) ck_assert_int_eq(p[i], 0);
    for (int i = 0; i < 500; i++) p[i] = (unsigned char)i;
    p = fg_realloc(ctx, p, 500, 50000);
    for (int i = 0; i < 500; i++) ck_assert_int_eq(p[i], (unsigned char)i);
    p = fg_realloc(ctx, p, 50000, 20);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(p[i], i);
    ck_assert(fg_enter(ctx));
    fg_memory_fail_nth(ctx, 1, false);
    ck_assert_ptr_null(fg_realloc(ctx, p, 20, 5000));
    fg_leave(ctx);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(p[i], i); /* untouched */
    fg_free(ctx, p, 20);
    p = fg_realloc(ctx, NULL, 0, 10);
    ck_assert_ptr_nonnull(p);
    fg_free(ctx, p, 10);
}
END_TEST

START_TEST(impossible_sizes_fail_with_a_message) {
    ck_assert_ptr_null(fg_alloc(ctx, SIZE_MAX));
    ck_assert_int_eq(fg_last_status(ctx), FG_ENOMEM);
    ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "18446744073709551615 bytes asked"));
    ck_assert_ptr_null(fg_alloc(ctx, (size_t)PTRDIFF_MAX));
#if !FG_ASAN_ON /* which would report the size as an error of its own */
    ck_assert_ptr_null(fg_alloc(ctx, (size_t)1 << 60));
#endif
    void *p = fg_alloc(ctx, 100);
    ck_assert_ptr_nonnull(p);
    fg_free(ctx, p, 100);
}
END_TEST

/* ---------------------------------------------------------------- the failure hook */
static bool works(size_t bytes) {
    void *p = fg_alloc(ctx, bytes);
    fg_free(ctx, p, bytes);
    return p != NULL;
}

START_TEST(nth_request_and_its_retries_fail_until_the_call_returns) {
    ck_assert(works(100)); /* so that cache hits are counted too */
    for (int nth = 1; nth <= 5; nth++) {
        fg_memory_fail_nth(ctx, (uint64_t)nth, false);
        ck_assert(fg_enter(ctx));
        ck_assert(fg_enter(ctx));
        for (int i = 1; i <= 8; i++) {
            ck_assert_int_eq(works(i % 2 ? 100 : 100000), i < nth);
            if (i == 6) fg_leave(ctx); /* only the outermost leave ends it */
        }
        ck_assert_int_eq(fg_last_status(ctx), FG_ENOMEM);
        fg_leave(ctx);
        ck_assert(works(100));
        ck_assert(works(100000));
    }
    fg_memory_fail_nth(ctx, 1, false);
    fg_memory_fail_nth(ctx, 0, false); /* off */
    ck_assert(works(100));
    fg_memory_fail_nth(ctx, 2, false); /* survives a public call that does not reach it */
    ck_assert(fg_enter(ctx));
    ck_assert(works(10));
    fg_leave(ctx);
    ck_assert(fg_enter(ctx));
    ck_assert(!works(10));
    fg_leave(ctx);
}
END_TEST

static int evictions;
static void *evictable;

static size_t evict(fg_context *c, void *arg) {
    ck_assert_ptr_eq(arg, &evictions);
    evictions++;
    fg_free(c, evictable, 1000);
    evictable = NULL;
    return 1000;
}

START_TEST(transient_failure_is_absorbed) {
    evictions = 0;
    evictable = fg_alloc(ctx, 1000);
    void *cached = fg_alloc(ctx, 1 << 20);
    fg_free(ctx, cached, 1 << 20);
    fg_set_evict_hook(ctx, evict, &evictions);
    fg_memory_fail_nth(ctx, 2, true);
    ck_assert(works(100));
    ck_assert_int_eq(evictions, 0);
    ck_assert(works(100)); /* its first try fails, the retry does not */
    ck_assert_int_eq(evictions, 1);
    ck_assert_uint_lt(fg_memory_stats(ctx).cached, 1 << 19); /* caches were dropped */
    ck_assert(works(100));
    ck_assert_int_eq(evictions, 1);
    ck_assert_int_eq(fg_last_status(ctx), FG_OK);
    fg_memory_fail_nth(ctx, 1, false);
    ck_assert(fg_enter(ctx));
    ck_assert(!works(100));
    ck_assert_int_eq(evictions, 2);
    fg_leave(ctx);
    fg_set_evict_hook(ctx, NULL, NULL);
}
END_TEST

/* ---------------------------------------------------------------- misuse is seen by ASan */
#if FG_ASAN_ON
static int child_status(void (*crime)(void)) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        crime();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}
static void innocent(void) {
    volatile char *p = fg_alloc(ctx, 100);
    p[99] = 1;
    fg_free(ctx, (void *)p, 100);
}
static void use_small_after_free(void) {
    volatile char *p = fg_alloc(ctx, 100);
    fg_free(ctx, (void *)p, 100);
    p[50] = 1;
}
static void use_large_after_free(void) {
    volatile char *p = fg_alloc(ctx, 100000);
    fg_free(ctx, (void *)p, 100000);
    p[50000] = 1;
}
static void read_past_the_end(void) {
    volatile char *p = fg_alloc(ctx, 100); /* the cell has 128 bytes */
    (void)p[104];
}
static void read_past_the_end_of_large(void) {
    volatile char *p = fg_alloc(ctx, 5000); /* the block has 5120 */
    (void)p[5000];
}

START_TEST(asan_sees_crimes) {
    ck_assert_int_eq(child_status(innocent), 0);
    ck_assert_int_ne(child_status(use_small_after_free), 0);
    ck_assert_int_ne(child_status(use_large_after_free), 0);
    ck_assert_int_ne(child_status(read_past_the_end), 0);
    ck_assert_int_ne(child_status(read_past_the_end_of_large), 0);
}
END_TEST
#endif

int main(void) {
    TCase *tc = tcase_create("alloc");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, blocks_are_aligned_and_apart);
    tcase_add_test(tc, counters_add_up);
    tcase_add_test(tc, freed_memory_is_reused_without_the_system);
    tcase_add_test(tc, neighbours_merge);
    tcase_add_test(tc, big_blocks_in_random_order);
    tcase_add_test(tc, trim_returns_what_is_free);
    tcase_add_test(tc, calloc_and_realloc);
    tcase_add_test(tc, impossible_sizes_fail_with_a_message);
    tcase_add_test(tc, nth_request_and_its_retries_fail_until_the_call_returns);
    tcase_add_test(tc, transient_failure_is_absorbed);
#if FG_ASAN_ON
    tcase_add_test(tc, asan_sees_crimes);
#endif
    Suite *s = suite_create("alloc");
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
