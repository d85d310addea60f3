/* scalar_norm.c: the four passes of batch normalisation over rows of x[rows][c], and the backward pass of bias and
 * activation, the reference.
 *
 * forward:  bn_moments gives mean and sum of squared deviations of a range of rows (two passes: the range is small enough
 *           to stay in cache, and the one-pass formula loses all digits when |mean| >> deviation); the op merges ranges,
 *           then bn_apply writes act(x*scale + shift).
 * backward: bn_grad_sums collects sum g and sum g*(x - mean) with g = dy * act'(y); bn_grad_apply writes
 *           dx = g*a + (x - mean)*b + k with per-channel constants made from these sums.
 * act_grad_sums is the backward of y = act(x + bias): it writes g and sums it in one walk.
 *
 * The order of sums is that of reduce_cols (scalar_reduce.c): down the rows for c >= 16, else 16 row lanes and a tree. */
#include "kernel_parts.h"
#include "real_math.h"

static void bn_moments(const fg_real *x, int64_t rows, int64_t c, fg_real *mean, fg_real *m2) {
    int64_t lanes = c < LANES ? LANES : 1;
    for (int64_t j = 0; j < c; j++) {
        fg_real acc[LANES] = { 0 };
        for (int64_t i = 0; i < rows; i++) acc[i % lanes] += x[i * c + j];
        fg_real m = tree16(FG_RED_SUM, acc) / (fg_real)rows;
        memset(acc, 0, sizeof acc);
        for (int64_t i = 0; i < rows; i++) {
            fg_real d = x[i * c + j] - m;
            acc[i % lanes] += d * d;
        }
        mean[j] = m;
        m2[j] = tree16(FG_RED_SUM, acc);
    }
}

static void bn_apply(const fg_real *x, int64_t rows, int64_t c, const fg_real *scale, const fg_real *shift, fg_act act,
                     fg_real slope, fg_real *y) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < c; j++) y[i * c + j] = fg_act_scalar(x[i * c + j] * scale[j] + shift[j], act, slope);
}

static void bn_grad_sums(const fg_real *dy, const fg_real *y, const fg_real *x, int64_t rows, int64_t c, const fg_real *mean,
                         fg_act act, fg_real slope, fg_real *sum_g, fg_real *sum_gx) {
    int64_t lanes = c < LANES ? LANES : 1;
    for (int64_t j = 0; j < c; j++) {
        fg_real s[LANES] = { 0 }, sx[LANES] = { 0 };
        for (int64_t i = 0; i < rows; i++) {
            int64_t e = i * c + j;
            fg_real g = act == FG_ACT_NONE ? dy[e] : r_act_back(dy[e], y[e], act, slope);
            s[i % lanes] += g;
            sx[i % lanes] += g * (x[e] - mean[j]);
        }
        sum_g[j] = tree16(FG_RED_SUM, s);
        sum_gx[j] = tree16(FG_RED_SUM, sx);
    }
}

static void bn_grad_apply(const fg_real *dy, const fg_real *y, const fg_real *x, int64_t rows, int64_t c, const fg_real *mean,
                          const fg_real *a, const fg_real *b, const fg_real *k, fg_act act, fg_real slope, fg_real *dx) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < c; j++) {
            int64_t e = i * c + j;
            fg_real g = act == FG_ACT_NONE ? dy[e] : r_act_back(dy[e], y[e], act, slope);
            dx[e] = (g * a[j] + (x[e] - mean[j]) * b[j]) + k[j];
        }
}

static void act_grad_sums(const fg_real *dy, const fg_real *y, int64_t rows, int64_t c, fg_act act, fg_real slope, fg_real *g,
                          fg_real *sum) {
    int64_t lanes = c < LANES ? LANES : 1;
    for (int64_t j = 0; j < c; j++) {
        fg_real s[LANES] = { 0 };
        for (int64_t i = 0; i < rows; i++) {
            int64_t e = i * c + j;
            fg_real d = dy[e];
            if (act != FG_ACT_NONE) g[e] = d = r_act_back(d, y[e], act, slope);
            s[i % lanes] += d;
        }
        sum[j] = tree16(FG_RED_SUM, s);
    }
}

void fg_kernels_scalar_norm(fg_kernels *k) {
    k->act_grad_sums = act_grad_sums;
    k->bn_moments = bn_moments;
    k->bn_apply = bn_apply;
    k->bn_grad_sums = bn_grad_sums;
    k->bn_grad_apply = bn_grad_apply;
}
