/* body_norm.h: batch-norm passes and bias + activation over simd.h, written once and included by elementwise_<isa>.c.
 *
 * A matrix x[rows][c] is walked row by row in memory order, a vector lane per channel. Rows narrower than 16 channels
 * would waste lanes, so several rows are taken as one wide row whose per-channel constants are repeated:
 *
 *     c = 3:   r g b r g b r g b ... 80 rows = 240 elements, constants s0 s1 s2 s0 s1 s2 ...
 *
 * Sums over narrow rows take exactly 16 rows as one: their accumulators are the 16 row lanes that the scalar reference
 * prescribes, so bits agree with it; elementwise passes may take as many as fit the local arrays. The activation is a
 * compile-time constant inside the loops. Uses the unary kernels of body_elementwise.h. */
#include "kernels.h"
#include "real_math.h"
#include "simd.h"
#include "simd_math.h"

enum { WIDE = 256 }; /* floats of a repeated constant, at least 16 * 15 */

/* Rows of c < 16 channels that elementwise passes take as one: a multiple of 16. */
V_INLINE int64_t rows_at_once(int64_t c) { return WIDE / c / LANES * LANES; }
/* wide[i] = v[i % c], for rows rows */
V_INLINE void repeat(const float *v, int64_t c, int64_t rows, float *wide) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < c; j++) wide[r * c + j] = v[j];
}

/* ---------------------------------------------------------------- forward apply, bias and activation */
V_INLINE void apply_as(fg_act act, bool scaled, const float *x, int64_t rows, int64_t c, const float *scale, const float *shift,
                       float slope, float *y) {
    vf k = v_set(slope);
    for (int64_t i = 0; i < rows; i++, x += c, y += c) {
        int64_t j = 0;
        for (; j + W <= c; j += W) {
            vf v = v_load(x + j);
            if (scaled) v = v_mul(v, v_load(scale + j));
            v_store(y + j, v_act(v_add(v, v_load(shift + j)), act, k));
        }
        if (j < c) {
            size_t m = (size_t)(c - j);
            vf v = v_loadn(x + j, m);
            if (scaled) v = v_mul(v, v_loadn(scale + j, m));
            v_storen(y + j, v_act(v_add(v, v_loadn(shift + j, m)), act, k), m);
        }
    }
}

static void apply_rows(fg_act act, bool scaled, const float *x, int64_t rows, int64_t c, const float *scale, const float *shift,
                       float slope, float *y) {
#define APPLY(constant)                                                                                                          \
    if (scaled) apply_as(constant, true, x, rows, c, scale, shift, slope, y);                                                    \
    else apply_as(constant, false, x, rows, c, scale, shift, slope, y)
    V_ACT_SWITCH(act, APPLY)
#undef APPLY
}

static void bn_apply(const float *x, int64_t rows, int64_t c, const float *scale, const float *shift, fg_act act, float slope,
                     float *y) {
    if (c >= LANES) {
        apply_rows(act, true, x, rows, c, scale, shift, slope, y);
        return;
    }
    float ws[WIDE], wt[WIDE];
    int64_t at_once = rows_at_once(c), wide = at_once * c, done = rows / at_once * wide;
    repeat(scale, c, at_once, ws);
    repeat(shift, c, at_once, wt);
    apply_rows(act, true, x, rows / at_once, wide, ws, wt, slope, y);
    apply_rows(act, true, x + done, 1, rows % at_once * c, ws, wt, slope, y + done);
}

static void bias_act(float *y, const float *bias, int64_t rows, int64_t cols, fg_act act, float slope) {
    size_t n = (size_t)(rows * cols);
    if (n == 0) return;
    if (!bias) {
        switch (act) {
        case FG_ACT_RELU: un_relu(y, y, n, 0, 0); break;
        case FG_ACT_LEAKY_RELU: un_leaky_relu(y, y, n, slope, 0); break;
        case FG_ACT_TANH: un_tanh(y, y, n, 0, 0); break;
        case FG_ACT_SIGMOID: un_sigmoid(y, y, n, 0, 0); break;
        case FG_ACT_SOFTPLUS: un_softplus(y, y, n, 0, 0); break;
        default: break;
        }
    } else if (cols >= LANES) apply_rows(act, false, y, rows, cols, NULL, bias, slope, y);
    else {
        float wide_bias[WIDE];
        int64_t at_once = rows_at_once(cols), wide = at_once * cols, done = rows / at_once * wide;
        repeat(bias, cols, at_once, wide_bias);
        apply_rows(act, false, y, rows / at_once, wide, NULL, wide_bias, slope, y);
        apply_rows(act, false, y + done, 1, rows % at_once * cols, NULL, wide_bias, slope, y + done);
    }
}

/* ---------------------------------------------------------------- moments */
/* acc[j] += (x[row][j] - mean[j])^2 in row order */
static void squares(const float *x, int64_t rows, int64_t n, const float *mean, float *acc) {
    enum { ROWS = 8 };
    int64_t i = 0;
    for (; i + ROWS <= rows; i += ROWS, x += ROWS * n)
        for (int64_t j = 0; j < n; j += W) {
            size_t m = (size_t)(n - j);
            vf mu = v_loadw(mean + j, m), s = v_loadw(acc + j, m);
            for (int q = 0; q < ROWS; q++) {
                vf d = v_sub(v_loadw(x + q * n + j, m), mu);
                s = v_add(s, v_mul(d, d));
            }
            v_storew(acc + j, s, m);
        }
    for (; i < rows; i++, x += n)
        for (int64_t j = 0; j < n; j += W) {
            size_t m = (size_t)(n - j);
            vf d = v_sub(v_loadw(x + j, m), v_loadw(mean + j, m));
            v_storew(acc + j, v_add(v_loadw(acc + j, m), v_mul(d, d)), m);
        }
}

static void bn_moments(const float *x, int64_t rows, int64_t c, float *mean, float *m2) {
    reduce_cols_as(FG_RED_SUM, x, rows, c, mean);
    for (int64_t j = 0; j < c; j++) mean[j] /= (float)rows;
    if (c >= LANES) {
        for (int64_t j = 0; j < c; j++) m2[j] = 0;
        squares(x, rows, c, mean, m2);
        return;
    }
    float wide_mean[WIDE] = { 0 }, acc[WIDE] = { 0 };
    repeat(mean, c, LANES, wide_mean);
    squares(x, rows / LANES, LANES * c, wide_mean, acc);
    squares(x + rows / LANES * LANES * c, 1, rows % LANES * c, wide_mean, acc);
    narrow_fold(FG_RED_SUM, acc, c, m2);
}

/* ---------------------------------------------------------------- backward */
V_INLINE vf load_g(fg_act act, const float *dy, const float *y, size_t m, vf slope) {
    vf g = v_loadw(dy, m);
    return act == FG_ACT_NONE ? g : v_act_back(g, v_loadw(y, m), act, slope);
}

/* s[j] += g, sx[j] += g * (x - mean[j]) in row order */
V_INLINE void grad_sums_as(fg_act act, const float *dy, const float *y, const float *x, int64_t rows, int64_t n,
                           const float *mean, float slope, float *s, float *sx) {
    enum { ROWS = 4, LINE = 16, AHEAD = 1024 }; /* prefetches as in body_reduce.h */
    vf k = v_set(slope);
    int64_t i = 0;
    for (; i + ROWS <= rows; i += ROWS)
        for (int64_t j = 0; j < n; j += W) {
            size_t m = (size_t)(n - j);
            for (int q = 0; q < ROWS * W / LINE; q++) {
                int64_t ahead = i * n + j * ROWS + q * LINE + AHEAD;
                v_prefetch(dy + ahead), v_prefetch(x + ahead);
                if (act != FG_ACT_NONE) v_prefetch(y + ahead);
            }
            vf mu = v_loadw(mean + j, m), a = v_loadw(s + j, m), b = v_loadw(sx + j, m);
            for (int q = 0; q < ROWS; q++) {
                int64_t e = (i + q) * n + j;
                vf g = load_g(act, dy + e, act == FG_ACT_NONE ? dy : y + e, m, k);
                a = v_add(a, g);
                b = v_add(b, v_mul(g, v_sub(v_loadw(x + e, m), mu)));
            }
            v_storew(s + j, a, m);
            v_storew(sx + j, b, m);
        }
    for (; i < rows; i++)
        for (int64_t j = 0; j < n; j += W) {
            size_t m = (size_t)(n - j);
            int64_t e = i * n + j;
            vf g = load_g(act, dy + e, act == FG_ACT_NONE ? dy : y + e, m, k);
            v_storew(s + j, v_add(v_loadw(s + j, m), g), m);
            v_storew(sx + j, v_add(v_loadw(sx + j, m), v_mul(g, v_sub(v_loadw(x + e, m), v_loadw(mean + j, m)))), m);
        }
}
static void grad_sums_rows(fg_act act, const float *dy, const float *y, const float *x, int64_t rows, int64_t n,
                           const float *mean, float slope, float *s, float *sx) {
#define SUMS(constant) grad_sums_as(constant, dy, y, x, rows, n, mean, slope, s, sx)
    V_ACT_SWITCH(act, SUMS)
#undef SUMS
}

static void bn_grad_sums(const float *dy, const float *y, const float *x, int64_t rows, int64_t c, const float *mean, fg_act act,
                         float slope, float *sum_g, float *sum_gx) {
    if (c >= LANES) {
        for (int64_t j = 0; j < c; j++) sum_g[j] = sum_gx[j] = 0;
        grad_sums_rows(act, dy, y, x, rows, c, mean, slope, sum_g, sum_gx);
        return;
    }
    float wide_mean[WIDE] = { 0 }, s[WIDE] = { 0 }, sx[WIDE] = { 0 };
    int64_t done = rows / LANES * LANES * c;
    repeat(mean, c, LANES, wide_mean);
    grad_sums_rows(act, dy, y, x, rows / LANES, LANES * c, wide_mean, slope, s, sx);
    grad_sums_rows(act, dy + done, y ? y + done : NULL, x + done, 1, rows % LANES * c, wide_mean, slope, s, sx);
    narrow_fold(FG_RED_SUM, s, c, sum_g);
    narrow_fold(FG_RED_SUM, sx, c, sum_gx);
}

V_INLINE void grad_apply_as(fg_act act, const float *dy, const float *y, const float *x, int64_t rows, int64_t n,
                            const float *mean, const float *a, const float *b, const float *k, float slope, float *dx) {
    vf sl = v_set(slope);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j += W) {
            size_t m = (size_t)(n - j);
            int64_t e = i * n + j;
            vf g = load_g(act, dy + e, act == FG_ACT_NONE ? dy : y + e, m, sl);
            vf d = v_mul(v_sub(v_loadw(x + e, m), v_loadw(mean + j, m)), v_loadw(b + j, m));
            v_storew(dx + e, v_add(v_add(v_mul(g, v_loadw(a + j, m)), d), v_loadw(k + j, m)), m);
        }
}
static void grad_apply_rows(fg_act act, const float *dy, const float *y, const float *x, int64_t rows, int64_t n,
                            const float *mean, const float *a, const float *b, const float *k, float slope, float *dx) {
#define GRAD(constant) grad_apply_as(constant, dy, y, x, rows, n, mean, a, b, k, slope, dx)
    V_ACT_SWITCH(act, GRAD)
#undef GRAD
}

static void bn_grad_apply(const float *dy, const float *y, const float *x, int64_t rows, int64_t c, const float *mean,
                          const float *a, const float *b, const float *k, fg_act act, float slope, float *dx) {
    if (c >= LANES) {
        grad_apply_rows(act, dy, y, x, rows, c, mean, a, b, k, slope, dx);
        return;
    }
    float wm[WIDE], wa[WIDE], wb[WIDE], wk[WIDE];
    int64_t at_once = rows_at_once(c), wide = at_once * c, done = rows / at_once * wide;
    repeat(mean, c, at_once, wm);
    repeat(a, c, at_once, wa);
    repeat(b, c, at_once, wb);
    repeat(k, c, at_once, wk);
    grad_apply_rows(act, dy, y, x, rows / at_once, wide, wm, wa, wb, wk, slope, dx);
    grad_apply_rows(act, dy + done, y ? y + done : NULL, x + done, 1, rows % at_once * c, wm, wa, wb, wk, slope, dx + done);
}

/* g = dy * act'(y), s[j] += g in row order */
V_INLINE void act_sums_as(fg_act act, const float *dy, const float *y, int64_t rows, int64_t n, float slope, float *g, float *s) {
    enum { ROWS = 4, LINE = 16, AHEAD = 1024 }; /* prefetches as in body_reduce.h */
    vf k = v_set(slope);
    for (int64_t i = 0, at_once; i < rows; i += at_once) {
        at_once = i + ROWS <= rows ? ROWS : 1;
        for (int64_t j = 0; j < n; j += W) {
            size_t m = (size_t)(n - j);
            for (int q = 0; q < ROWS * W / LINE && at_once == ROWS; q++) {
                int64_t ahead = i * n + j * ROWS + q * LINE + AHEAD;
                v_prefetch(dy + ahead), v_prefetch(y + ahead);
            }
            vf a = v_loadw(s + j, m);
            for (int64_t e = i * n + j, end = e + at_once * n; e < end; e += n) {
                vf d = load_g(act, dy + e, y + e, m, k);
                v_storew(g + e, d, m);
                a = v_add(a, d);
            }
            v_storew(s + j, a, m);
        }
    }
}
static void act_sums_rows(fg_act act, const float *dy, const float *y, int64_t rows, int64_t n, float slope, float *g, float *s) {
#define SUMS(constant) act_sums_as(constant, dy, y, rows, n, slope, g, s)
    V_ACT_SWITCH(act, SUMS)
#undef SUMS
}

static void act_grad_sums(const float *dy, const float *y, int64_t rows, int64_t c, fg_act act, float slope, float *g,
                          float *sum) {
    if (act == FG_ACT_NONE) {
        reduce_cols(FG_RED_SUM, dy, rows, c, sum);
    } else if (c >= LANES) {
        for (int64_t j = 0; j < c; j++) sum[j] = 0;
        act_sums_rows(act, dy, y, rows, c, slope, g, sum);
    } else {
        float s[WIDE] = { 0 };
        int64_t done = rows / LANES * LANES * c;
        act_sums_rows(act, dy, y, rows / LANES, LANES * c, slope, g, s);
        act_sums_rows(act, dy + done, y + done, 1, rows % LANES * c, slope, g + done, s);
        narrow_fold(FG_RED_SUM, s, c, sum);
    }
}

static void register_norm(fg_kernels *k) {
    k->act_grad_sums = act_grad_sums;
    k->bias_act = bias_act;
    k->bn_moments = bn_moments;
    k->bn_apply = bn_apply;
    k->bn_grad_sums = bn_grad_sums;
    k->bn_grad_apply = bn_grad_apply;
}
