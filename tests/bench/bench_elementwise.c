/* bench_elementwise.c: bandwidth of the element-wise kernels, one thread, next to memcpy of the same size in the same run.
 *
 * GB/s counts the bytes a kernel must move (each array once per read and once per write; no write-allocate), memcpy
 * likewise counts read and write. The ratio says how far a kernel is from what memory gives. Large arrays live in DRAM,
 * small ones (1 MB and less in all) in the second-level cache. FORGER_ISA is not read: every level of the machine runs.
 * An argument keeps only the kernels whose names contain it. */
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 8 << 20, SMALL = 48 << 10 }; /* elements */

static fg_real *a, *b, *c, *d, *e, small[8][4096];
static uint8_t *cond;
static const fg_kernels *k;
static size_t n;
static int64_t cols;
static volatile double sink;

static int64_t rows(void) { return (int64_t)n / cols; }
#define RUN(name, statement)                                                                                                     \
    static void name(void) { statement; }
RUN(run_memcpy, memcpy(c, a, n * sizeof *a))
RUN(run_to_bf16, k->to_bf16(a, (uint16_t *)(void *)c, n))
RUN(run_from_bf16, k->from_bf16((const uint16_t *)(const void *)a, c, n))
RUN(run_from_u8, k->from_u8(cond, c, n))
RUN(run_add, k->binary[FG_BIN_ADD](a, 1, b, 1, c, n))
RUN(run_mul_scalar, k->binary[FG_BIN_MUL](a, 1, small[0], 0, c, n))
RUN(run_max, k->binary[FG_BIN_MAX](a, 1, b, 1, c, n))
RUN(run_select, k->select(cond, 1, a, 1, b, 1, c, n))
RUN(run_axpy, k->axpy((fg_real)0.5, a, c, n))
RUN(run_relu, k->unary[FG_UN_RELU](a, c, n, 0, 0))
RUN(run_leaky, k->unary[FG_UN_LEAKY_RELU](a, c, n, (fg_real)0.2, 0))
RUN(run_exp, k->unary[FG_UN_EXP](a, c, n, 0, 0))
RUN(run_log, k->unary[FG_UN_LOG](b, c, n, 0, 0))
RUN(run_tanh, k->unary[FG_UN_TANH](a, c, n, 0, 0))
RUN(run_sigmoid, k->unary[FG_UN_SIGMOID](a, c, n, 0, 0))
RUN(run_softplus, k->unary[FG_UN_SOFTPLUS](a, c, n, 0, 0))
RUN(run_leaky_grad, k->unary_grad[FG_UN_LEAKY_RELU](a, b, c, n, (fg_real)0.2, 0))
RUN(run_tanh_grad, k->unary_grad[FG_UN_TANH](a, b, c, n, 0, 0))
RUN(run_sum, sink = k->reduce(FG_RED_SUM, a, n))
RUN(run_max_all, sink = k->reduce(FG_RED_MAX, a, n))
RUN(run_sumsq, sink = k->sumsq(a, n))
RUN(run_finite, sink = k->all_finite(a, n))
RUN(run_reduce_cols, k->reduce_cols(FG_RED_SUM, a, rows(), cols, small[1]))
RUN(run_bias, k->bias_act(c, small[0], rows(), cols, FG_ACT_LEAKY_RELU, (fg_real)0.2))
RUN(run_bn_apply, k->bn_apply(a, rows(), cols, small[0], small[1], FG_ACT_RELU, 0, c))
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
    const char *name;
    void (*run)(void);
    double arrays; /* passes over n floats: reads and writes */
    int64_t cols;  /* -1: all widths */
} kernels[] = { { "to_bf16", run_to_bf16, 1.5, 0 },
                { "from_bf16", run_from_bf16, 1.5, 0 },
                { "from_u8", run_from_u8, 1.25, 0 },
                { "binary add", run_add, 3, 0 },
                { "binary mul scalar", run_mul_scalar, 2, 0 },
                { "binary max", run_max, 3, 0 },
                { "select", run_select, 3.25, 0 },
                { "axpy", run_axpy, 3, 0 },
                { "relu", run_relu, 2, 0 },
                { "leaky_relu", run_leaky, 2, 0 },
                { "exp", run_exp, 2, 0 },
                { "log", run_log, 2, 0 },
                { "tanh", run_tanh, 2, 0 },
                { "sigmoid", run_sigmoid, 2, 0 },
                { "softplus", run_softplus, 2, 0 },
                { "leaky_relu grad", run_leaky_grad, 3, 0 },
                { "tanh grad", run_tanh_grad, 3, 0 },
                { "reduce sum", run_sum, 1, 0 },
                { "reduce max", run_max_all, 1, 0 },
                { "sumsq", run_sumsq, 1, 0 },
                { "all_finite", run_finite, 1, 0 },
                { "adam", run_adam, 7, 0 },
                { "rmsprop", run_rmsprop, 5, 0 },
                { "sgd momentum", run_sgd, 5, 0 },
                { "ema", run_ema, 3, 0 },
                { "dropout", run_dropout, 2, 0 },
                { "transpose", run_transpose, 2, 512 },
                { "log_softmax", run_log_softmax, 2, 10 },
                { "log_softmax", run_log_softmax, 2, 1000 },
                { "reduce_cols", run_reduce_cols, 1, -1 },
                { "bias_act leaky", run_bias, 2, -1 },
                { "bn_moments", run_bn_moments, 1, -1 },
                { "bn_apply relu", run_bn_apply, 2, -1 },
                { "bn_grad_sums relu", run_bn_sums, 3, -1 },
                { "bn_grad_apply relu", run_bn_apply_grad, 4, -1 } };
static const int64_t widths[] = { 1, 3, 16, 32, 48, 64, 96, 128, 512 };

/* GB/s: the best of several timings, each of enough repetitions to last 2 ms. */
static double best_of(void (*run)(void), double arrays, int *reps, double best) {
    for (;;) {
        double t0 = fg_clock_seconds();
        for (int i = 0; i < *reps; i++) run();
        double dt = fg_clock_seconds() - t0;
        double gb = arrays * (double)n * sizeof(fg_real) * *reps / dt * 1e-9;
        if (dt >= 2e-3) return gb > best ? gb : best;
        *reps *= 2;
    }
}
/* memcpy takes turns with the kernel, so that other load on the machine meets both. */
static double rate(void (*run)(void), double arrays, double *copy) {
    double best = 0;
    int reps = 1, copy_reps = 1;
    run();
    *copy = 0;
    for (int t = 0; t < 8; t++) {
        best = best_of(run, arrays, &reps, best);
        *copy = best_of(run_memcpy, 2, &copy_reps, *copy);
    }
    return best;
}

int main(int argc, char **argv) {
    fg_real **arrays[] = { &a, &b, &c, &d, &e };
    for (int i = 0; i < 5; i++) {
        *arrays[i] = aligned_alloc(64, LARGE * sizeof(fg_real));
        if (!*arrays[i]) return EXIT_FAILURE;
        for (size_t j = 0; j < LARGE; j++) (*arrays[i])[j] = (fg_real)((double)(j * 2654435761u % 2001) / 500 - 2);
    }
    for (size_t j = 0; j < LARGE; j++) b[j] = (b[j] + 2) / 4, e[j] = (e[j] + 2) / 4;
    cond = malloc(LARGE);
    if (!cond) return EXIT_FAILURE;
    for (size_t j = 0; j < LARGE; j++) cond[j] = j * 2654435761u >> 7 & 1;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 4096; j++) small[i][j] = (fg_real)(1 + j % 7) / 8;

    const fg_kernels *last = NULL;
    for (int isa = 0; isa < FG_ISA_COUNT; isa++) {
        k = fg_kernels_for((fg_isa_level)isa);
        if (!k || (last && strcmp(k->isa, last->isa) == 0)) continue;
        last = k;
        for (int size = 0; size < 2; size++) {
            n = size ? SMALL : LARGE;
            printf("\n%s, arrays of %zu KB\n", k->isa, n * sizeof(fg_real) >> 10);
            for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
                for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                    cols = kernels[i].cols < 0 ? widths[w] : kernels[i].cols ? kernels[i].cols : 1;
                    if (kernels[i].cols >= 0 && w > 0) break;
                    if (argc > 1 && !strstr(kernels[i].name, argv[1])) break;
                    double copy, gb = rate(kernels[i].run, kernels[i].arrays, &copy);
                    printf("  %-20s", kernels[i].name);
                    if (kernels[i].cols) printf(" c=%-4d", (int)cols);
                    else printf("       ");
                    printf(" %7.1f GB/s  memcpy %5.1f  ratio %5.2f\n", gb, copy, gb / copy);
                }
            fflush(stdout);
        }
    }
    for (int i = 0; i < 5; i++) free(*arrays[i]);
    free(cond);
    return EXIT_SUCCESS;
}
