/* bench_elementwise.c: bandwidth of the element-wise kernels, on one thread and on all, next to memcpy of the same size on as
 * many threads in the same run.
 *
 * GB/s counts the bytes a kernel must move (each array once per read and once per write; no write-allocate), memcpy
 * likewise counts read and write. The ratio says how far a kernel is from what memory gives. Random numbers only write, but
 * a line is read before it is written: they count both. Large arrays live in DRAM, small ones (1 MB and less in all) in the
 * second-level cache, which every thread has to itself, so they are timed on one. On all threads (eight at most) each
 * works on arrays of its own; cores share the memory, so that its share for each is smaller and kernels that compute much
 * come nearer to it.
 *
 * FORGER_ISA is not read: every kernel of the registry runs, at the level that brought it (what AVX-512 inherits from AVX2 is
 * not timed twice); products have bench_product. Ops (concatenation, casts, losses) run once, with the best level. Clocks
 * count the threads' own time, those of whole ops on all threads the wall's.
 *
 *     bench_elementwise [part of a name]      only the kernels and ops whose names contain it */
#define _DEFAULT_SOURCE
#include "tensor.h"
#include "bench_help.h"
#include "registry.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 8 << 20, SMALL = 48 << 10, MAX_THREADS = 8, SMALLS = 8, SMALL_LENGTH = 4096 }; /* elements */

/* A thread's part of the arrays, n elements, and small arrays of its own */
static _Thread_local fg_real *a, *b, *c, *d, *e, (*small)[SMALL_LENGTH];
static _Thread_local uint8_t *cond;
static _Thread_local size_t n;
static _Thread_local volatile double sink;
static const fg_kernels *k;
static int64_t cols;
static int member; /* of a slot with several kernels */

static int64_t rows(void) { return (int64_t)n / cols; }
#define RUN(name, statement)                                                                                                     \
    static void name(void) { statement; }
RUN(run_memcpy, memcpy(c, a, n * sizeof *a))
RUN(run_to_bf16, k->to_bf16(a, (uint16_t *)(void *)c, n))
RUN(run_from_bf16, k->from_bf16((const uint16_t *)(const void *)a, c, n))
RUN(run_from_u8, k->from_u8(cond, c, n))
RUN(run_binary, k->binary[member](a, 1, b, 1, c, n))
RUN(run_binary_scalar, k->binary[member](a, 1, small[0], 0, c, n))
RUN(run_select, k->select(cond, 1, a, 1, b, 1, c, n))
RUN(run_axpy, k->axpy((fg_real)0.5, a, c, n))
RUN(run_unary,
    k->unary[member](member == FG_UN_LOG || member == FG_UN_SQRT || member == FG_UN_POW ? b : a, c, n, (fg_real)0.2, 1))
RUN(run_unary_grad, k->unary_grad[member](a, b, c, n, (fg_real)0.2, 1))
RUN(run_loss, k->loss[member](member == FG_LOSS_BCE ? b : a, e, c, n))
RUN(run_loss_grad, k->loss_grad[member](a, member == FG_LOSS_BCE ? b : d, e, c, n))
RUN(run_nonzero, k->nonzero(a, cond, n))
RUN(run_copy_strided, k->copy_strided(a, 3, c, n / 3))
RUN(run_argmax, sink = (double)k->argmax(a, 1, (int64_t)n))
RUN(run_reduce_rows, k->reduce_rows(FG_RED_SUM, a, rows(), cols, c))
RUN(run_log_softmax_grad, k->log_softmax_grad(a, b, c, rows(), cols))
/* maps of 16x16x16, windows of 2x2 */
enum { MAP = 16 * 16 * 16 };
static const fg_conv_geom pool = { 1, 16, 16, 16, 8, 8, 16, 2, 2, 2, 2, 0, 0 };
RUN(run_avg_pool, k->avg_pool(a, c, &pool, 0, (int64_t)n / MAP))
RUN(run_avg_pool_adjoint, k->avg_pool_adjoint(a, c, &pool, 0, (int64_t)n / MAP))
RUN(run_max_pool, k->max_pool(a, c, (int32_t *)(void *)d, &pool, 0, (int64_t)n / MAP))
RUN(run_upsample, k->upsample(a, c, (int64_t)n / MAP, 8, 8, 16, 2, 2))
RUN(run_sum, sink = k->reduce(FG_RED_SUM, a, n))
RUN(run_max_all, sink = k->reduce(FG_RED_MAX, a, n))
RUN(run_sumsq, sink = k->sumsq(a, n))
RUN(run_finite, sink = k->all_finite(a, n))
RUN(run_reduce_cols, k->reduce_cols(FG_RED_SUM, a, rows(), cols, small[1]))
RUN(run_bias, k->bias_act(c, small[0], rows(), cols, FG_ACT_LEAKY_RELU, (fg_real)0.2))
RUN(run_bn_apply, k->bn_apply(a, rows(), cols, small[0], small[1], FG_ACT_RELU, 0, c))
RUN(run_act_sums, k->act_grad_sums(a, b, rows(), cols, FG_ACT_LEAKY_RELU, (fg_real)0.2, c, small[1]))
RUN(run_bn_apply_grad, k->bn_grad_apply(a, b, d, rows(), cols, small[0], small[1], small[2], small[3], FG_ACT_RELU, 0, c))
/* The two sums go over ranges of 16 K elements, as the drivers cut them: the second pass of moments reads cache. */
static void in_ranges(void (*f)(int64_t at, int64_t r)) {
    int64_t step = (16384 + cols - 1) / cols;
    for (int64_t r = 0; r < rows(); r += step) f(r * cols, rows() - r < step ? rows() - r : step);
}
static void moments_range(int64_t at, int64_t r) { k->bn_moments(a + at, r, cols, small[4], small[5]); }
static void sums_range(int64_t at, int64_t r) {
    k->bn_grad_sums(a + at, b + at, d + at, r, cols, small[0], FG_ACT_RELU, 0, small[4], small[5]);
}
RUN(run_bn_moments, in_ranges(moments_range))
RUN(run_bn_sums, in_ranges(sums_range))
RUN(run_log_softmax, k->log_softmax(a, c, rows(), cols))
RUN(run_transpose, k->transpose2d(a, cols, c, rows(), rows(), cols))
RUN(run_dropout, k->dropout(a, c, n, 7, 0, 0, 0x4ccccccdu, (fg_real)1.43))
RUN(run_uniform, k->uniform(7, 0, 0, c, n, -1, 1))
RUN(run_normal, k->normal(7, 0, 0, c, n, 0, 1))
static void run_adam(void) {
    fg_adam_args s = { .lr = 1e-4, .beta1 = 0.5, .beta2 = 0.999, .eps = 1e-8, .bias1 = 0.5, .bias2 = 0.1 };
    k->adam(c, a, d, e, n, &s);
}
static void run_rmsprop(void) {
    fg_rmsprop_args s = { .lr = 1e-4, .alpha = 0.9, .eps = 1e-8 };
    k->rmsprop(c, a, e, NULL, n, &s);
}
static void run_sgd(void) {
    fg_sgd_args s = { .lr = 1e-4, .momentum = 0.9 };
    k->sgd(c, a, d, n, &s);
}
RUN(run_ema, k->ema(c, a, n, (fg_real)0.999))

static const struct {
    const char *slot, *variant; /* of the registry; several rows may time one slot in different ways */
    void (*run)(void);
    double arrays; /* passes over n floats: reads and writes */
    int64_t cols;  /* -1: all widths */
} timings[] = { { "to_bf16", "", run_to_bf16, 1.5, 0 },
                { "from_bf16", "", run_from_bf16, 1.5, 0 },
                { "from_u8", "", run_from_u8, 1.25, 0 },
                { "unary", "", run_unary, 2, 0 },
                { "unary_grad", "", run_unary_grad, 3, 0 },
                { "binary", "", run_binary, 3, 0 },
                { "binary", " by a scalar", run_binary_scalar, 2, 0 },
                { "select", "", run_select, 3.25, 0 },
                { "loss", "", run_loss, 3, 0 },
                { "loss_grad", "", run_loss_grad, 4, 0 },
                { "nonzero", "", run_nonzero, 1.25, 0 },
                { "axpy", "", run_axpy, 3, 0 },
                { "copy_strided", " by 3", run_copy_strided, 4.0 / 3, 0 },
                { "transpose2d", "", run_transpose, 2, 512 },
                { "bias_act", " leaky", run_bias, 2, -1 },
                { "reduce", " sum", run_sum, 1, 0 },
                { "reduce", " max", run_max_all, 1, 0 },
                { "reduce_rows", "", run_reduce_rows, 1, 64 },
                { "reduce_cols", "", run_reduce_cols, 1, -1 },
                { "argmax", "", run_argmax, 1, 0 },
                { "sumsq", "", run_sumsq, 1, 0 },
                { "all_finite", "", run_finite, 1, 0 },
                { "log_softmax", "", run_log_softmax, 2, 10 },
                { "log_softmax", "", run_log_softmax, 2, 1000 },
                { "log_softmax_grad", "", run_log_softmax_grad, 3, 10 },
                { "log_softmax_grad", "", run_log_softmax_grad, 3, 1000 },
                { "bn_moments", "", run_bn_moments, 1, -1 },
                { "bn_apply", " relu", run_bn_apply, 2, -1 },
                { "bn_grad_sums", " relu", run_bn_sums, 3, -1 },
                { "bn_grad_apply", " relu", run_bn_apply_grad, 4, -1 },
                { "act_grad_sums", " leaky", run_act_sums, 3, -1 },
                { "uniform", "", run_uniform, 2, 0 },
                { "normal", "", run_normal, 2, 0 },
                { "dropout", "", run_dropout, 2, 0 },
                { "avg_pool", "", run_avg_pool, 1.25, 0 },
                { "avg_pool_adjoint", "", run_avg_pool_adjoint, 1.25, 0 },
                { "max_pool", "", run_max_pool, 1.5, 0 },
                { "upsample", "", run_upsample, 1.25, 0 },
                { "adam", "", run_adam, 7, 0 },
                { "rmsprop", "", run_rmsprop, 5, 0 },
                { "sgd", " momentum", run_sgd, 5, 0 },
                { "ema", "", run_ema, 3, 0 } };
static const int64_t widths[] = { 1, 3, 16, 32, 48, 64, 96, 128, 512 };

/* ---------------------------------------------------------------- whole ops, with their allocations */
static fg_context *ctx;
static fg_scope *scope;
static fg_tensor *t0, *t1, *t16, *t8, *labels, *wide;
static void drop(fg_tensor *y) { fg_release(fg_scope_take(scope, y)); }
RUN(op_concat, drop(fg_concat(scope, (fg_tensor *[]){ t0, t1 }, 2, 0)))
RUN(op_concat_last, drop(fg_concat(scope, (fg_tensor *[]){ t0, t1 }, 2, 1)))
RUN(op_to_bf16, drop(fg_cast(scope, t0, FG_BF16)))
RUN(op_from_bf16, drop(fg_cast(scope, t16, FG_F32)))
RUN(op_from_u8, drop(fg_cast(scope, t8, FG_F32)))
RUN(op_greater, drop(fg_gt(scope, t0, t1)))
RUN(op_bce_logits, drop(fg_bce_logits(scope, t0, t1)))
RUN(op_bce, drop(fg_bce(scope, t1, t1)))
RUN(op_cross_entropy, drop(fg_cross_entropy(scope, wide, labels)))
RUN(op_mean, drop(fg_mean(scope, t0, NULL, false)))
static const struct {
    const char *name;
    void (*run)(void);
    double arrays; /* passes over n floats */
} ops[] = { { "concat", op_concat, 4 },
            { "concat last axis", op_concat_last, 4 },
            { "cast f32 to bf16", op_to_bf16, 1.5 },
            { "cast bf16 to f32", op_from_bf16, 1.5 },
            { "cast u8 to f32", op_from_u8, 1.25 },
            { "greater (to u8)", op_greater, 2.25 },
            { "bce_logits", op_bce_logits, 3 },
            { "bce", op_bce, 3 },
            { "cross_entropy k=10", op_cross_entropy, 1 },
            { "mean", op_mean, 1 } };

/* ---------------------------------------------------------------- threads */
static fg_real *arrays[5]; /* LARGE for each thread */
static uint8_t *conditions;

static void take_part(int id, size_t length) {
    fg_real **mine[] = { &a, &b, &c, &d, &e };
    for (int i = 0; i < 5; i++) *mine[i] = arrays[i] + (size_t)id * LARGE;
    cond = conditions + (size_t)id * LARGE;
    n = length;
    if (small) return;
    small = aligned(SMALLS * sizeof *small);
    for (int i = 0; i < SMALLS; i++)
        for (int j = 0; j < SMALL_LENGTH; j++) small[i][j] = (fg_real)(1 + j % 7) / 8;
}

static struct {
    int threads; /* that work now */
    int started; /* beside the main one */
    pthread_barrier_t start, end;
    void (*run)(void);
    int reps;
    double seconds[MAX_THREADS];
} team = { .threads = 1 };

static double time_part(int id) {
    double from = own_seconds();
    for (int i = 0; i < team.reps; i++) team.run();
    return team.seconds[id] = own_seconds() - from;
}
static void *team_member(void *p) {
    int id = (int)(intptr_t)p;
    take_part(id, LARGE);
    for (;;) {
        pthread_barrier_wait(&team.start);
        time_part(id);
        pthread_barrier_wait(&team.end);
    }
    return NULL;
}
/* They sleep at a barrier while one thread works, and end with the process. */
static void start_team(int threads) {
    pthread_barrier_init(&team.start, NULL, (unsigned)threads);
    pthread_barrier_init(&team.end, NULL, (unsigned)threads);
    team.started = threads - 1;
    for (int i = 1; i < threads; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, team_member, (void *)(intptr_t)i)) fprintf(stderr, "no thread %d\n", i), exit(EXIT_FAILURE);
    }
}

/* Seconds that `reps` runs take the slowest of the threads */
static double timed(void (*run)(void), int reps) {
    team.run = run, team.reps = reps;
    if (team.threads == 1) return time_part(0);
    pthread_barrier_wait(&team.start);
    double most = time_part(0);
    pthread_barrier_wait(&team.end);
    for (int i = 1; i < team.threads; i++) most = team.seconds[i] > most ? team.seconds[i] : most;
    return most;
}
/* The same of whole ops, which have a team of their own: by the wall's clock. */
static double timed_op(void (*run)(void), int reps) {
    double from = fg_clock_seconds();
    for (int i = 0; i < reps; i++) run();
    return fg_clock_seconds() - from;
}

/* ---------------------------------------------------------------- measuring */
typedef double timer(void (*run)(void), int reps);

/* GB/s: the best of several timings, each of enough repetitions to last 2 ms. */
static double best_of(timer *clock, void (*run)(void), double bytes, int *reps, double best) {
    for (;;) {
        double dt = clock(run, *reps), gb = bytes * *reps / dt * 1e-9;
        if (dt >= 2e-3) return gb > best ? gb : best;
        *reps *= 2;
    }
}
/* memcpy takes turns with the kernel, so that other load on the machine meets both. */
static void report(timer *clock, void (*run)(void), double passes) {
    double best = 0, copy = 0, all = (double)n * (double)sizeof(fg_real) * team.threads;
    double bytes = clock == timed_op ? (double)n * (double)sizeof(fg_real) : all; /* ops share arrays of this size */
    int reps = 1, copy_reps = 1;
    clock(run, 1);
    for (int t = 0; t < 8; t++) {
        best = best_of(clock, run, passes * bytes, &reps, best);
        copy = best_of(timed, run_memcpy, 2 * all, &copy_reps, copy);
    }
    printf(" %7.1f GB/s  memcpy %5.1f  ratio %5.2f", best, copy, best / copy);
}
static void name_of(const char *name, int64_t width) {
    printf("  %-26s", name);
    if (width) printf(" c=%-4d", (int)width);
    else printf("       ");
}

/* One thread, and all where the arrays are large */
static void report_all(timer *clock, void (*run)(void), double passes, bool large) {
    take_part(0, large ? LARGE : SMALL);
    report(clock, run, passes);
    if (large && team.started) {
        team.threads = team.started + 1;
        if (ctx) fg_set_threads(ctx, team.threads);
        report(clock, run, passes);
        team.threads = 1;
        if (ctx) fg_set_threads(ctx, 1);
    }
    putchar('\n');
    fflush(stdout);
}
static void heading(const char *isa, bool large) {
    printf("\n%s, arrays of %zu KB", isa, (large ? LARGE : SMALL) * sizeof(fg_real) >> 10);
    if (large && team.started) printf(": on one thread, on %d", team.started + 1);
    putchar('\n');
}

static bool run_ops(const char *filter) {
    ctx = fg_context_new();
    scope = fg_scope_open(ctx);
    if (!scope) return false;
    fg_set_threads(ctx, 1);
    for (int large = 1; large >= 0; large--) {
        int64_t rows = (large ? LARGE : SMALL) / 640 * 10, labelled = rows / 10 * 64;
        fg_shape sh = FG_SHAPE(rows, 64);
        t0 = fg_normal(scope, sh, 0, 1, FG_STREAM_DEFAULT);
        t1 = fg_uniform(scope, sh, 0, 1, FG_STREAM_DEFAULT);
        t16 = fg_cast(scope, t0, FG_BF16);
        t8 = fg_cast(scope, fg_affine(scope, t1, 255, 0), FG_U8);
        wide = fg_reshape(scope, t0, FG_SHAPE(labelled, 10));
        labels = fg_cast(scope, fg_uniform(scope, FG_SHAPE(labelled), 0, 10, FG_STREAM_DEFAULT), FG_I32);
        if (fg_scope_status(scope) != FG_OK) return false;
        bool first = true;
        for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
            if (filter && !strstr(ops[i].name, filter)) continue;
            if (first) heading(ctx->k->isa, large);
            first = false;
            name_of(ops[i].name, 0);
            report_all(timed_op, ops[i].run, ops[i].arrays, large);
        }
    }
    bool ok = fg_scope_close(scope) == FG_OK;
    fg_context_free(ctx);
    return ok;
}

/* The kernels that this level brought. */
static void run_level(fg_isa_level isa, bool large, const char *filter) {
    fg_kernel_info info;
    bool first = true;
    for (int i = 0; fg_kernel_at(isa, i, &info); i++)
        for (size_t t = 0; info.isa == isa && t < sizeof timings / sizeof *timings; t++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s%s%s", info.slot, *info.member ? " " : "", info.member, timings[t].variant);
            if (strcmp(timings[t].slot, info.slot) != 0 || (filter && !strstr(name, filter))) continue;
            if (first) heading(fg_isa_name(isa), large);
            first = false;
            member = info.index;
            for (size_t w = 0; w < (timings[t].cols < 0 ? sizeof widths / sizeof *widths : 1); w++) {
                cols = timings[t].cols < 0 ? widths[w] : timings[t].cols ? timings[t].cols : 1;
                name_of(name, timings[t].cols ? cols : 0);
                report_all(timed, timings[t].run, timings[t].arrays, large);
            }
        }
}

int main(int argc, char **argv) {
    const char *filter = argc > 1 ? argv[1] : NULL;
    int threads = fg_default_threads();
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    size_t all = (size_t)threads * LARGE;
    for (int i = 0; i < 5; i++) {
        arrays[i] = aligned(all * sizeof(fg_real));
        for (size_t j = 0; j < all; j++) {
            fg_real x = (fg_real)((double)(j * 2654435761u % 2001) / 500 - 2);
            arrays[i][j] = i == 1 || i == 4 ? (x + 2) / 4 : x; /* b and e: 0 to 1 */
        }
    }
    conditions = aligned(all);
    for (size_t j = 0; j < all; j++) conditions[j] = j * 2654435761u >> 7 & 1;
    start_team(threads);

    for (int isa = 0; isa < FG_ISA_COUNT; isa++) {
        k = fg_kernels_for((fg_isa_level)isa);
        for (int large = 1; k && large >= 0; large--) run_level((fg_isa_level)isa, large, filter);
    }
    return run_ops(filter) ? EXIT_SUCCESS : EXIT_FAILURE;
}
