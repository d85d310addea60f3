/* test_repro.c: the same bits for any number of threads, flat memory over many steps, and training after a fork. */
#include "gan_help.h"

#include <check.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* 16 images of 16x16 and up to 32 channels: large enough for convolutions, elementwise loops and reductions to be shared
 * out among threads. */
static uint64_t run(int threads, int steps, uint64_t seed, double *loss) {
    fg_context *ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(fg_set_threads(ctx, threads), FG_OK);
    fg_manual_seed(ctx, seed);
    gan a;
    ck_assert(gan_open(&a, ctx, 16, 16));
    for (int i = 0; i < steps; i++) ck_assert_msg(gan_step(&a) == FG_OK, "step %d: %s", i, fg_last_error(ctx));
    ck_assert(gan_finite(&a));
    *loss = a.loss_d;
    uint64_t h = gan_hash(&a);
    gan_close(&a);
    fg_context_free(ctx);
    return h;
}

START_TEST(threads_give_the_same_bits) {
    double loss[5];
    uint64_t one = run(1, 30, 3, &loss[1]);
    for (int n = 2; n <= 4; n++) {
        uint64_t h = run(n, 30, 3, &loss[n]);
        ck_assert_msg(loss[n] == loss[1], "%d threads: loss %.9g, one thread %.9g", n, loss[n], loss[1]);
        ck_assert_msg(h == one, "%d threads: weights have other bits than with one thread", n);
    }
    ck_assert_msg(run(1, 30, 4, &loss[0]) != one, "another seed gives the same weights: the hash sees nothing");
}
END_TEST

static long page_faults(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_minflt;
}

START_TEST(memory_is_flat) {
    fg_context *ctx = fg_context_new();
    fg_set_threads(ctx, 2);
    fg_manual_seed(ctx, 1);
    gan a;
    ck_assert(gan_open(&a, ctx, 4, 8));
    size_t early = 0, live = 0;
    uint64_t calls = 0, count = 0;
    long faults = 0;
    for (int i = 1; i <= 2000; i++) {
        ck_assert_msg(gan_step(&a) == FG_OK, "step %d: %s", i, fg_last_error(ctx));
        if (i == 2) {
            calls = fg_memory_stats(ctx).system_calls;
            live = fg_memory_stats(ctx).live;
            count = ctx->tensors->count;
        }
        if (i == 500) early = fg_resident_bytes(), faults = page_faults();
    }
    faults = page_faults() - faults;
    size_t late = fg_resident_bytes();
    fg_memory m = fg_memory_stats(ctx);
    printf("memory: RSS %.2f MB after 500 steps, %.2f MB after 2000; %llu requests, %llu reached the system; %ld page faults\n",
           early / 1e6, late / 1e6, (unsigned long long)m.requests, (unsigned long long)m.system_calls, faults);
    ck_assert_msg(gan_finite(&a), "training diverged");
    ck_assert_msg(early > 0 && late < early + 1000000, "RSS grew from %zu to %zu bytes", early, late);
#ifndef __SANITIZE_ADDRESS__
    ck_assert_msg(faults < 100, "%ld page faults in 1500 steps", faults); /* of the system's own making, none of a step's */
#endif
    ck_assert_msg(m.system_calls == calls, "%llu system calls after step 2", (unsigned long long)(m.system_calls - calls));
    ck_assert_msg(m.live == live, "%zu bytes live after 2000 steps, %zu after 2", m.live, live);
    ck_assert_msg(ctx->tensors->count == count, "%d tensors after 2000 steps, %d after 2", (int)ctx->tensors->count, (int)count);
    gan_close(&a);
    fg_context_free(ctx);
}
END_TEST

/* The child's copy of the team has no threads; it starts its own and reaches the bits of its parent. */
START_TEST(child_trains_on) {
    fg_context *ctx = fg_context_new();
    fg_set_threads(ctx, 3);
    gan a;
    ck_assert(gan_open(&a, ctx, 16, 16));
    for (int i = 0; i < 3; i++) ck_assert_int_eq(gan_step(&a), FG_OK);
    int fd[2];
    ck_assert_int_eq(pipe(fd), 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL); /* not Check's handler, which kills the whole group */
        alarm(60);                /* a child that hangs is a failure, not a wait */
        bool ok = true;
        for (int i = 0; i < 3; i++) ok = ok && gan_step(&a) == FG_OK;
        uint64_t h = gan_hash(&a);
        ok = ok && write(fd[1], &h, sizeof h) == (ssize_t)sizeof h;
        gan_close(&a);
        fg_context_free(ctx);
        _exit(ok ? 0 : 1);
    }
    for (int i = 0; i < 3; i++) ck_assert_int_eq(gan_step(&a), FG_OK);
    uint64_t mine = gan_hash(&a), theirs = 0;
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", (unsigned)status);
    ck_assert_int_eq((int)read(fd[0], &theirs, sizeof theirs), (int)sizeof theirs);
    ck_assert_msg(mine == theirs, "the child's weights have other bits");
    close(fd[0]);
    close(fd[1]);
    gan_close(&a);
    fg_context_free(ctx);
}
END_TEST

/* Fifty contexts one after the other leave nothing behind. */
START_TEST(contexts_come_and_go) {
    size_t early = 0;
    for (int i = 0; i < 50; i++) {
        double loss;
        run(2, 1, (uint64_t)i, &loss);
        if (i == 10) early = fg_resident_bytes();
    }
    size_t late = fg_resident_bytes();
#ifdef __SANITIZE_ADDRESS__ /* its quarantine keeps what was freed */
    early += 300u << 20;
#endif
    ck_assert_msg(late < early + 2000000, "RSS grew from %zu to %zu bytes over 40 contexts", early, late);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("repro");
    TCase *t = tcase_create("repro");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, threads_give_the_same_bits);
    tcase_add_test(t, memory_is_flat);
    tcase_add_test(t, child_trains_on);
    tcase_add_test(t, contexts_come_and_go);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
