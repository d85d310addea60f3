/* test_faults.c: every allocation of a training step fails once, for good or for a moment.
 *
 * The hook fg_memory_fail_nth walks through the requests of one step of a small GAN (batch norm, transposed convolutions, R1
 * with create_graph, Adam), n = 1, 2, 3, ... until a step ends before the hook fires. For good: an error each time, nothing
 * leaked, and the next step succeeds. For a moment: the retry absorbs it and the weights have the bits of a run without
 * fault. Opening a context is walked in the same way by a malloc of our own (not under sanitizers, which own malloc). */
#include "gan_help.h"
#include "packed.h"
#include "kernels.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

enum { WIDTH = 2, BATCH = 3 };

/* ---------------------------------------------------------------- a training step */
static fg_context *ctx;
static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    fg_set_threads(ctx, 1);
}
static void teardown(void) { fg_context_free(ctx); }

static bool hook_fired(uint64_t before, uint64_t nth) { return fg_memory_stats(ctx).requests - before >= nth; }

static void open_seeded(gan *a, int warm) {
    fg_manual_seed(ctx, 5);
    ck_assert_msg(gan_open(a, ctx, WIDTH, BATCH), "%s", fg_last_error(ctx));
    for (int i = 0; i < warm; i++) ck_assert_int_eq(gan_step(a), FG_OK);
}

/* What packed weights take comes and goes with the point of failure. */
static size_t live_but_cache(void) { return fg_memory_stats(ctx).live - fg_packed_bytes(ctx); }

/* warm: steps before the one that fails; 0 covers the making of optimizer state, 1 the caches that the step before left. */
static uint64_t walk_for_good(int warm) {
    size_t base = fg_memory_stats(ctx).live;
    uint64_t tensors = ctx->tensors->count, nth = 1;
    for (bool fired = true; fired; nth++) {
        gan a;
        open_seeded(&a, warm);
        uint64_t count = ctx->tensors->count, before = fg_memory_stats(ctx).requests;
        size_t live = live_but_cache();
        fg_clear_error(ctx);
        fg_memory_fail_nth(ctx, nth, false);
        fg_status st = gan_step(&a);
        fired = hook_fired(before, nth);
        fg_memory_fail_nth(ctx, 0, false);
        ck_assert_msg(fired ? st == FG_ENOMEM : st == FG_OK, "request %d: status %s, %s", (int)nth, fg_status_name(st),
                      fg_last_error(ctx));
        if (fired)
            ck_assert_msg(strstr(fg_last_error(ctx), "out of memory") != NULL, "request %d: message '%s'", (int)nth,
                          fg_last_error(ctx));
        ck_assert_msg(fg_grad_enabled(ctx), "request %d: grad mode stayed off", (int)nth);
        for (int i = 0; i < a.n_d; i++)
            ck_assert_msg(fg_tensor_requires_grad(a.param_d[i]), "request %d: D stayed frozen", (int)nth);
        if (warm && fired) {
            ck_assert_msg(ctx->tensors->count == count, "request %d: %d tensors left behind", (int)nth,
                          (int)(ctx->tensors->count - count));
            ck_assert_msg(live_but_cache() <= live, "request %d: %zu bytes live, %zu before", (int)nth, live_but_cache(), live);
        }
        st = gan_step(&a);
        ck_assert_msg(st == FG_OK, "request %d: the next step fails: %s", (int)nth, fg_last_error(ctx));
        ck_assert_msg(gan_finite(&a), "request %d: weights are not finite after the next step", (int)nth);
        gan_close(&a);
        ck_assert_msg(ctx->tensors->count == tensors, "request %d: %d tensors leaked", (int)nth,
                      (int)(ctx->tensors->count - tensors));
        ck_assert_msg(fg_memory_stats(ctx).live == base, "request %d: %zu bytes live, %zu at first", (int)nth,
                      fg_memory_stats(ctx).live, base);
    }
    return nth - 2;
}

START_TEST(failing_for_good) {
    if (_i == 2) fg_set_precision(ctx, FG_PRECISION_BF16); /* conversions on every road, forward and backward */
    uint64_t n = walk_for_good(_i > 0);
    ck_assert_msg(n > 200, "only %d requests in a step: the hook is not walked", (int)n);
}
END_TEST

START_TEST(failing_for_a_moment) {
    if (_i > 0) fg_set_precision(ctx, FG_PRECISION_BF16); /* rounded and packed weights, dropped to make room */
    if (_i == 2 && fg_kernels_for(FG_ISA_AVX2)) ctx->k = fg_kernels_for(FG_ISA_AVX2); /* widened for f32 kernels */
    gan a;
    open_seeded(&a, 0);
    ck_assert_int_eq(gan_step(&a), FG_OK);
    uint64_t want = gan_hash(&a);
    gan_close(&a);
    uint64_t nth = 1;
    for (bool fired = true; fired; nth++) {
        open_seeded(&a, 0);
        uint64_t before = fg_memory_stats(ctx).requests;
        fg_memory_fail_nth(ctx, nth, true);
        fg_status st = gan_step(&a);
        fired = hook_fired(before, nth);
        fg_memory_fail_nth(ctx, 0, false);
        ck_assert_msg(st == FG_OK, "request %d: %s", (int)nth, fg_last_error(ctx));
        ck_assert_msg(gan_hash(&a) == want, "request %d: other bits than without the fault", (int)nth);
        gan_close(&a);
    }
    ck_assert_int_gt((int)nth, 200);
}
END_TEST

START_TEST(building_fails_for_good) {
    size_t base = fg_memory_stats(ctx).live;
    uint64_t tensors = ctx->tensors->count, nth = 1;
    for (bool fired = true; fired; nth++) {
        gan a;
        uint64_t before = fg_memory_stats(ctx).requests;
        fg_clear_error(ctx);
        fg_memory_fail_nth(ctx, nth, false);
        bool ok = gan_open(&a, ctx, WIDTH, BATCH);
        fired = hook_fired(before, nth);
        fg_memory_fail_nth(ctx, 0, false);
        ck_assert_msg(ok == !fired, "request %d", (int)nth);
        if (ok) gan_close(&a);
        else ck_assert_int_eq(fg_last_status(ctx), FG_ENOMEM);
        ck_assert_msg(ctx->tensors->count == tensors && fg_memory_stats(ctx).live == base, "request %d leaks", (int)nth);
    }
    ck_assert_int_gt((int)nth, 30);
}
END_TEST

/* A failure halfway through a step of the optimizer changes no parameter at all. */
START_TEST(optimizer_is_all_or_nothing) {
    gan a;
    open_seeded(&a, 0);
    ck_assert_int_eq(gan_d_step(&a), FG_OK); /* makes gradients; D's state exists now, G's does not */
    fg_optimizer_release(a.opt_d);
    a.opt_d = fg_adam_new(ctx, a.param_d, a.n_d, NULL);
    uint64_t hash = gan_hash(&a);
    int failures = 0;
    for (uint64_t nth = 1;; nth++) { /* state made by earlier tries stays, so each one gets further */
        fg_memory_fail_nth(ctx, nth, false);
        fg_status st = fg_optimizer_step(a.opt_d);
        fg_memory_fail_nth(ctx, 0, false);
        if (st == FG_OK) break;
        failures++;
        ck_assert_int_eq(st, FG_ENOMEM);
        ck_assert_msg(gan_hash(&a) == hash, "weights changed by a step that failed");
        ck_assert_int_eq((int)fg_optimizer_steps(a.opt_d), 0);
        ck_assert_int_lt((int)nth, 100);
    }
    ck_assert_int_gt(failures, 2);
    ck_assert_uint_ne(gan_hash(&a), hash);
    gan_close(&a);
}
END_TEST

/* ---------------------------------------------------------------- opening a context */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#if !defined(OWN_MALLOC) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 1
#endif
#if defined(OWN_MALLOC) && OWN_MALLOC
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);
static long countdown = -1, outstanding; /* countdown 0: this call and all later ones fail; -1: off */
static bool refuse(void) {
    if (countdown < 0) return false;
    if (countdown > 0) {
        countdown--;
        return false;
    }
    errno = ENOMEM;
    return true;
}
static void *counted(void *p) {
    if (p) __atomic_fetch_add(&outstanding, 1, __ATOMIC_RELAXED);
    return p;
}
/* libc's own calls (strdup, fopen) must come here too, whatever -fvisibility says */
#pragma GCC visibility push(default)
void *malloc(size_t n) { return refuse() ? NULL : counted(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return refuse() ? NULL : counted(__libc_calloc(n, size)); }
void *realloc(void *p, size_t n) {
    if (refuse()) return NULL;
    return p ? __libc_realloc(p, n) : counted(__libc_malloc(n));
}
void *aligned_alloc(size_t align, size_t n) { return refuse() ? NULL : counted(__libc_memalign(align, n)); }
int posix_memalign(void **p, size_t align, size_t n) {
    void *q = refuse() ? NULL : counted(__libc_memalign(align, n));
    if (q) *p = q;
    return q ? 0 : ENOMEM;
}
void free(void *p) {
    if (p) __atomic_fetch_sub(&outstanding, 1, __ATOMIC_RELAXED);
    __libc_free(p);
}
#pragma GCC visibility pop

START_TEST(opening_fails) {
    fg_context_free(fg_context_new()); /* what the process makes once */
    int n = 0;
    for (bool ok = false; !ok; n++) {
        char why[160] = "";
        long before = outstanding;
        countdown = n;
        fg_context *c = fg_context_new_error(why, sizeof why);
        ok = countdown > 0; /* not used up */
        countdown = -1;
        if (c) {
            fg_scope *s = fg_scope_open(c); /* whatever was refused, what did open works */
            double v = 0;
            fg_tensor_item(fg_sum(s, fg_full(s, FG_F32, FG_SHAPE(3, 5), 2), NULL, false), &v);
            ck_assert_int_eq(fg_scope_close(s), FG_OK);
            ck_assert(v == 30);
            fg_context_free(c);
        } else {
            ck_assert_msg(why[0] != 0, "allocation %d failed without a reason", n);
        }
        ck_assert_msg(!ok || c, "allocation %d: no failure and no context", n);
        ck_assert_msg(outstanding == before, "allocation %d: %ld blocks leaked", n, outstanding - before);
        ck_assert_int_lt(n, 1000);
    }
    ck_assert_msg(n > 3, "only %d allocations: malloc is not ours", n);
}
END_TEST
#endif

int main(void) {
    Suite *suite = suite_create("faults");
    TCase *t = tcase_create("faults");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, failing_for_good, 0, 3);
    tcase_add_loop_test(t, failing_for_a_moment, 0, 3);
    tcase_add_test(t, building_fails_for_good);
    tcase_add_test(t, optimizer_is_all_or_nothing);
#if defined(OWN_MALLOC) && OWN_MALLOC
    tcase_add_test(t, opening_fails);
#endif
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
