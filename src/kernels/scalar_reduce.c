/* scalar_reduce.c: sums, maxima, norms and log-softmax, the reference.
 *
 * Floating-point sums depend on their order, so the order is part of the specification and the same on every ISA:
 *
 *     element:  0  1  2 ... 15 | 16 17 ...        16 running results, lane = index % 16
 *     lane:     0  1  2 ... 15 |  0  1 ...        then tree16 folds them by halves
 *
 * A column reduction over rows of at least 16 columns runs down each column in row order (a SIMD lane per column);
 * over narrower rows lane = row % 16 for each column, which lets SIMD walk the matrix as flat memory. max and min
 * propagate NaN; argmax returns the first NaN if there is one. */
#include "kernel_parts.h"
#include "real_math.h"

static fg_real reduce(fg_reduction r, const fg_real *x, size_t n) {
    fg_real acc[LANES];
    for (int j = 0; j < LANES; j++) acc[j] = reduce_start(r);
    for (size_t i = 0; i < n; i++) acc[i % LANES] = tree16_step(r, acc[i % LANES], x[i]);
    return tree16(r, acc);
}

static void reduce_rows(fg_reduction r, const fg_real *x, int64_t rows, int64_t n, fg_real *y) {
    for (int64_t i = 0; i < rows; i++) y[i] = reduce(r, x + i * n, (size_t)n);
}

static void reduce_cols(fg_reduction r, const fg_real *x, int64_t rows, int64_t n, fg_real *y) {
    if (n < LANES) {
        for (int64_t c = 0; c < n; c++) {
            fg_real acc[LANES];
            for (int j = 0; j < LANES; j++) acc[j] = reduce_start(r);
            for (int64_t i = 0; i < rows; i++) acc[i % LANES] = tree16_step(r, acc[i % LANES], x[i * n + c]);
            y[c] = tree16(r, acc);
        }
        return;
    }
    for (int64_t c = 0; c < n; c++) y[c] = reduce_start(r);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < n; c++) y[c] = tree16_step(r, y[c], x[i * n + c]);
}

static int64_t argmax(const fg_real *x, int64_t stride, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 0; i < n; i++) {
        fg_real v = x[i * stride];
        if (v != v) return i;
        if (v > x[best * stride]) best = i;
    }
    return best;
}

static double sumsq(const fg_real *x, size_t n) {
    double acc[LANES] = { 0 };
    for (size_t i = 0; i < n; i++) acc[i % LANES] += (double)x[i] * (double)x[i];
    for (int s = LANES / 2; s; s /= 2)
        for (int i = 0; i < s; i++) acc[i] += acc[i + s];
    return acc[0];
}

static bool all_finite(const fg_real *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* y = x - max - log(sum exp(x - max)), row by row: no overflow, and the largest term is exactly exp(0). */
static void log_softmax(const fg_real *x, fg_real *y, int64_t rows, int64_t n) {
    for (int64_t i = 0; i < rows; i++, x += n, y += n) {
        fg_real m = reduce(FG_RED_MAX, x, (size_t)n), acc[LANES] = { 0 };
        for (int64_t j = 0; j < n; j++) acc[j % LANES] += r_exp(x[j] - m);
        fg_real l = r_log(tree16(FG_RED_SUM, acc));
        for (int64_t j = 0; j < n; j++) y[j] = (x[j] - m) - l;
    }
}

/* dx = dy - softmax * sum(dy), softmax = exp(y) */
static void log_softmax_grad(const fg_real *dy, const fg_real *y, fg_real *dx, int64_t rows, int64_t n) {
    for (int64_t i = 0; i < rows; i++, dy += n, y += n, dx += n) {
        fg_real s = reduce(FG_RED_SUM, dy, (size_t)n);
        for (int64_t j = 0; j < n; j++) dx[j] = dy[j] - r_exp(y[j]) * s;
    }
}

void fg_kernels_scalar_reduce(fg_kernels *k) {
    k->reduce = reduce;
    k->reduce_rows = reduce_rows;
    k->reduce_cols = reduce_cols;
    k->argmax = argmax;
    k->sumsq = sumsq;
    k->all_finite = all_finite;
    k->log_softmax = log_softmax;
    k->log_softmax_grad = log_softmax_grad;
}
