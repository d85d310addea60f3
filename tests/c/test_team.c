/* test_team.c: the thread team: every chunk once, distinct workers, nesting, fork, refusal, hooks, ends. Runs under TSan. */
#define _GNU_SOURCE
#include "base.h"

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define TSAN 1 /* it cannot follow a fork into a child that starts threads */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif

enum { MAX_CHUNKS = 5000 };

static fg_context *ctx;

static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
}

static void teardown(void) { fg_context_free(ctx); }

typedef struct job {
    fg_context *ctx;
    int threads;
    int ran[MAX_CHUNKS]; /* plain: TSan sees it when two threads run one chunk, or the caller reads too early */
    _Atomic(int) busy[64];
    _Atomic(int) clashes;
    _Atomic(uint64_t) used; /* bit per worker */
    int spin;
} job;

static void chunk(void *arg, int i, int worker) {
    job *j = arg;
    if (worker < 0 || worker >= j->threads || atomic_fetch_add(&j->busy[worker], 1) != 0) atomic_fetch_add(&j->clashes, 1);
    atomic_fetch_or(&j->used, (uint64_t)1 << worker);
    j->ran[i]++;
    for (volatile int k = 0; k < j->spin; k++) {}
    atomic_fetch_sub(&j->busy[worker], 1);
}

static job *run(fg_context *c, int threads, int chunks, int spin) {
    job *j = calloc(1, sizeof *j);
    j->ctx = c, j->threads = threads, j->spin = spin;
    fg_parallel(c, chunks, chunk, j);
    for (int i = 0; i < MAX_CHUNKS; i++)
        if (j->ran[i] != (i < chunks)) ck_abort_msg("chunk %d of %d ran %d times", i, chunks, j->ran[i]);
    ck_assert_int_eq(j->clashes, 0);
    return j;
}

START_TEST(every_chunk_runs_once) {
    static const int counts[] = { 0, 1, 2, 3, 7, 64, 1000, MAX_CHUNKS };
    for (int threads = 1; threads <= 8; threads++) {
        ck_assert_int_eq(fg_set_threads(ctx, threads), FG_OK);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) free(run(ctx, threads, counts[i], 10));
    }
}
END_TEST

START_TEST(workers_take_part) {
    ck_assert_int_eq(fg_set_threads(ctx, 3), FG_OK);
    uint64_t used = 0;
    for (int i = 0; i < 200 && used != 7; i++) {
        job *j = run(ctx, 3, 300, 20000);
        used |= j->used;
        free(j);
    }
    ck_assert_uint_eq(used, 7);
}
END_TEST

START_TEST(many_small_sections) { /* late workers of one section meet the next */
    ck_assert_int_eq(fg_set_threads(ctx, 4), FG_OK);
    for (int i = 0; i < 3000; i++) free(run(ctx, 4, 2 + i % 9, i % 50));
    for (int i = 0; i < 30; i++) { /* sleepers wake */
        usleep(300);
        free(run(ctx, 4, 8, 100));
    }
}
END_TEST

static int threads_of_process(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

START_TEST(threads_start_late_and_are_joined) {
    int before = threads_of_process();
    fg_context *c = fg_context_new();
    ck_assert_int_eq(fg_set_threads(c, 4), FG_OK);
    ck_assert_int_eq(threads_of_process(), before);
    free(run(c, 4, 1, 10)); /* one chunk runs on the caller */
    ck_assert_int_eq(threads_of_process(), before);
    free(run(c, 4, 10, 10));
    ck_assert_int_eq(threads_of_process(), before + 3);
    ck_assert_int_eq(fg_set_threads(c, 2), FG_OK);
    free(run(c, 2, 10, 10));
    int now = before;
    for (int i = 0; i < 100 && (now = threads_of_process()) != before + 1; i++) usleep(1000); /* /proc may lag behind a join */
    ck_assert_int_eq(now, before + 1);
    fg_context_free(c);
    for (int i = 0; i < 100 && (now = threads_of_process()) != before; i++) usleep(1000);
    ck_assert_int_eq(now, before);
}
END_TEST

/* An op of light work below 64 K elements, or a step of few parameters, stays on the caller: threads start on first use, and here
 * none does. */
START_TEST(small_ops_wake_nobody) {
    int before = threads_of_process();
    fg_context *c = fg_context_new();
    fg_scope *s = fg_scope_open(c);
    ck_assert_int_eq(fg_set_threads(c, 4), FG_OK);
    fg_tensor *x = fg_full(s, FG_F32, FG_SHAPE(15, 8, 8, 64), 1), *w = fg_full(s, FG_F32, FG_SHAPE(64), 1); /* 60 K */
    fg_tensor_set_requires_grad(x, true);
    fg_tensor_set_requires_grad(w, true);
    fg_tensor *y = fg_batch_norm(s, fg_leaky_relu(s, x, 0.2), w, w, NULL, NULL, &(fg_batch_norm_opts){ .training = true });
    y = fg_add(s, fg_mul(s, fg_square(s, y), w), fg_cast(s, fg_cast(s, y, FG_BF16), FG_F32));
    y = fg_avg_pool2d(s, fg_concat(s, &y, 1, 0), &(fg_pool_opts){ .kernel = { 2, 2 } });
    ck_assert_int_eq(fg_backward(s, fg_add(s, fg_sum(s, y, NULL, false), fg_mean(s, x, FG_AXES(0, 1, 2, 3), false))), FG_OK);
    fg_optimizer *opt = fg_adam_new(c, &w, 1, NULL);
    ck_assert_int_eq(fg_optimizer_step(opt), FG_OK);
    ck_assert_int_eq(threads_of_process(), before);
    fg_relu(s, fg_full(s, FG_F32, FG_SHAPE(65536), 1));
    ck_assert_int_eq(threads_of_process(), before + 3);
    fg_optimizer_release(opt);
    ck_assert_int_eq(fg_scope_close(s), FG_OK);
    fg_context_free(c);
}
END_TEST

/* ---------------------------------------------------------------- nesting, ranges */
typedef struct nest {
    job *inner[16];
    int outer_worker[16];
    _Atomic(int) strange;
} nest;

typedef struct nested_arg {
    job *j;
    int outer;
    nest *n;
} nested_arg;

static void nested_inner(void *arg, int i, int worker) {
    nested_arg *a = arg;
    if (worker != a->outer) atomic_fetch_add(&a->n->strange, 1); /* inline, as the worker that we are */
    a->j->ran[i]++;
}

static void nested_outer(void *arg, int i, int worker) {
    nest *n = arg;
    nested_arg a = { n->inner[i], worker, n };
    fg_parallel(n->inner[i]->ctx, 20, nested_inner, &a);
}

START_TEST(nested_sections_run_inline) {
    ck_assert_int_eq(fg_set_threads(ctx, 4), FG_OK);
    for (int round = 0; round < 50; round++) {
        nest n = { .strange = 0 };
        for (int i = 0; i < 16; i++) {
            n.inner[i] = calloc(1, sizeof(job));
            n.inner[i]->ctx = ctx;
        }
        fg_parallel(ctx, 16, nested_outer, &n);
        ck_assert_int_eq(n.strange, 0);
        for (int i = 0; i < 16; i++) {
            for (int k = 0; k < 20; k++) ck_assert_int_eq(n.inner[i]->ran[k], 1);
            free(n.inner[i]);
        }
    }
}
END_TEST

static void add_range(void *arg, int64_t first, int64_t end, int worker) {
    (void)worker;
    unsigned char *seen = arg;
    for (int64_t i = first; i < end; i++) seen[i]++;
}

START_TEST(ranges_cover_everything_once) {
    static const int64_t cases[][2] = { { 0, 4 }, { 1, 4 }, { 4, 4 }, { 5, 4 }, { 1000, 7 }, { 4096, 1 }, { 100, 0 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        unsigned char seen[5000] = { 0 };
        fg_parallel_range(ctx, cases[c][0], cases[c][1], add_range, seen);
        for (int64_t i = 0; i < 5000; i++) ck_assert_int_eq(seen[i], i < cases[c][0]);
    }
}
END_TEST

/* ---------------------------------------------------------------- fork */
#ifndef TSAN
START_TEST(a_forked_child_has_a_team) {
    ck_assert_int_eq(fg_set_threads(ctx, 4), FG_OK);
    free(run(ctx, 4, 100, 100));
    usleep(200000); /* ASan's own set-up of a new thread allocates; a fork in the middle of it would leave its lock taken */
    for (int round = 0; round < 10; round++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            signal(SIGALRM, SIG_DFL); /* Check's handler would kill the whole group */
            alarm(20);                /* a hang is a failure */
            for (int i = 0; i < 50; i++) free(run(ctx, 4, 100, 100));
            bool started = threads_of_process() >= 4;
            fg_context_free(ctx);
            _exit(started ? 0 : 1);
        }
        free(run(ctx, 4, 100, 100)); /* the parent goes on */
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}
END_TEST
#endif

#ifndef SANITIZED
START_TEST(fewer_threads_when_the_system_refuses) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(20);
        fg_context *c = fg_context_new();
        fg_set_threads(c, 64);
        struct rlimit limit = { 0 };
        FILE *f = fopen("/proc/self/statm", "r");
        unsigned long pages = 0;
        if (!f || fscanf(f, "%lu", &pages) != 1) _exit(2);
        fclose(f);
        limit.rlim_cur = limit.rlim_max = pages * 4096 + (40ul << 20); /* room for about four stacks of 8 MB */
        setrlimit(RLIMIT_AS, &limit);
        job *j = calloc(1, sizeof *j);
        j->threads = 64;
        for (int i = 0; i < 20; i++) fg_parallel(c, 200, chunk, j);
        int n = threads_of_process();
        for (int i = 0; i < 200; i++)
            if (j->ran[i] != 20) _exit(3);
        _exit(n < 64 && j->clashes == 0 ? 0 : 4);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST
#endif

/* ---------------------------------------------------------------- signals, hooks, contexts */
static void check_mask(void *arg, int i, int worker) {
    (void)i;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    if (worker && !sigismember(&now, SIGINT)) atomic_fetch_add((_Atomic(int) *)arg, 1);
    for (volatile int k = 0; k < 20000; k++) {}
}

START_TEST(workers_block_signals_and_the_caller_does_not) {
    _Atomic(int) open = 0;
    ck_assert_int_eq(fg_set_threads(ctx, 4), FG_OK);
    for (int i = 0; i < 10; i++) fg_parallel(ctx, 50, check_mask, &open);
    ck_assert_int_eq(open, 0);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    ck_assert(!sigismember(&now, SIGINT));
}
END_TEST

static _Thread_local int inside;
static _Atomic(int) entered, left, outside_chunks;

static void hook_enter(uint64_t saved[2]) {
    saved[0] = 0xfeed;
    inside++;
    atomic_fetch_add(&entered, 1);
}
static void hook_leave(const uint64_t saved[2]) {
    if (saved[0] == 0xfeed) inside--;
    atomic_fetch_add(&left, 1);
}
static void hook_chunk(void *arg, int i, int worker) {
    (void)arg, (void)i, (void)worker;
    if (inside != 1) atomic_fetch_add(&outside_chunks, 1);
    for (volatile int k = 0; k < 5000; k++) {}
}

START_TEST(hooks_bracket_every_thread) {
    fg_thread_hooks old = ctx->hooks;
    ctx->hooks = (fg_thread_hooks){ hook_enter, hook_leave };
    ck_assert_int_eq(fg_set_threads(ctx, 4), FG_OK);
    for (int i = 0; i < 100; i++) {
        fg_parallel(ctx, 1 + i, hook_chunk, NULL); /* outside a public call: on the caller too */
        ck_assert_int_eq(inside, 0);
        ck_assert(fg_enter(ctx));
        ck_assert_int_eq(inside, 1);
        fg_parallel(ctx, 1 + i, hook_chunk, NULL); /* inside: once, by fg_enter */
        fg_leave(ctx);
        ck_assert_int_eq(inside, 0);
    }
    ck_assert_int_eq(outside_chunks, 0);
    fg_set_threads(ctx, 1); /* joins: all have left */
    ck_assert_int_eq(entered, left);
    ck_assert_int_ge(entered, 200);
    ctx->hooks = old;
}
END_TEST

static void *own_context(void *arg) {
    (void)arg;
    for (int i = 0; i < 5; i++) {
        fg_context *c = fg_context_new();
        fg_set_threads(c, 3);
        for (int k = 0; k < 100; k++) free(run(c, 3, 1 + k, 50));
        fg_context_free(c);
    }
    return NULL;
}

START_TEST(contexts_run_side_by_side) {
    pthread_t t[3];
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_create(&t[i], NULL, own_context, NULL), 0);
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
}
END_TEST

int main(void) {
    TCase *tc = tcase_create("team");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_chunk_runs_once);
    tcase_add_test(tc, workers_take_part);
    tcase_add_test(tc, small_ops_wake_nobody);
    tcase_add_test(tc, many_small_sections);
    tcase_add_test(tc, threads_start_late_and_are_joined);
    tcase_add_test(tc, nested_sections_run_inline);
    tcase_add_test(tc, ranges_cover_everything_once);
#ifndef TSAN
    tcase_add_test(tc, a_forked_child_has_a_team);
#endif
#ifndef SANITIZED
    tcase_add_test(tc, fewer_threads_when_the_system_refuses);
#endif
    tcase_add_test(tc, workers_block_signals_and_the_caller_does_not);
    tcase_add_test(tc, hooks_bracket_every_thread);
    tcase_add_test(tc, contexts_run_side_by_side);
    tcase_set_timeout(tc, 120);
    Suite *s = suite_create("team");
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
