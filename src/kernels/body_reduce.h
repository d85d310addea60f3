/* body_reduce.h: reductions over simd.h, written once and included by elementwise_<isa>.c.
 *
 * The order of sums is the scalar reference's (scalar_reduce.c): 16 lanes, here NW registers of W, folded by halves; so
 * sums, maxima and norms have the same bits on every ISA. Columns: acc[] lies in memory (the first-level cache) and
 * eight rows pass through a register before it is written back. The lines of the rows to come are asked for ahead:
 * without that, eight streams side by side got a third to a half of the memory bandwidth for 64 columns and more. */
#include "kernels.h"
#include "real_math.h"
#include "simd.h"
#include "simd_math.h"

V_INLINE vf v_join(fg_reduction r, vf a, vf b) {
    return r == FG_RED_SUM ? v_add(a, b) : r == FG_RED_MAX ? v_maxn(a, b) : v_minn(a, b);
}

/* The fixed tree over 16 lanes: tree16 on registers. */
V_INLINE float v_fold16(fg_reduction r, const vf a[NW]) {
    v8 lo = v_low8(a), hi = v_high8(a);
    float v[8], w[8];
    _mm256_storeu_ps(v, lo);
    _mm256_storeu_ps(w, hi);
    for (int s = 8; s; s /= 2)
        for (int i = 0; i < s; i++) v[i] = tree16_step(r, v[i], s == 8 ? w[i] : v[i + s]);
    return v[0];
}

V_INLINE float reduce_as(fg_reduction r, const float *x, size_t n) {
    vf acc[NW], start = v_set(reduce_start(r));
    size_t i = 0;
    for (int j = 0; j < NW; j++) acc[j] = start;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < NW; j++) acc[j] = v_join(r, acc[j], v_load(x + i + j * W));
    for (int j = 0; i < n; i += W, j++)
        acc[j] = v_join(r, acc[j], n - i >= W ? v_load(x + i) : v_loadn_fill(x + i, n - i, start));
    return v_fold16(r, acc);
}

static float reduce(fg_reduction r, const float *x, size_t n) {
    switch (r) {
    case FG_RED_MAX: return reduce_as(FG_RED_MAX, x, n);
    case FG_RED_MIN: return reduce_as(FG_RED_MIN, x, n);
    default: return reduce_as(FG_RED_SUM, x, n);
    }
}

static void reduce_rows(fg_reduction r, const float *x, int64_t rows, int64_t n, float *y) {
    for (int64_t i = 0; i < rows; i++) y[i] = reduce(r, x + i * n, (size_t)n);
}

/* acc[j] = join(acc[j], x[row][j]) in row order for all rows of x[rows][n] */
V_INLINE void cols_as(fg_reduction r, const float *x, int64_t rows, int64_t n, float *acc) {
    enum { ROWS = 8, LINE = 16, AHEAD = 2048 };
    int64_t i = 0;
    for (; i + ROWS <= rows; i += ROWS, x += ROWS * n) {
        int64_t j = 0;
        for (; j + W <= n; j += W) {
            vf s = v_load(acc + j);
            for (int q = 0; q < ROWS * W / LINE; q++) v_prefetch(x + AHEAD + j * ROWS + q * LINE);
            for (int q = 0; q < ROWS; q++) s = v_join(r, s, v_load(x + q * n + j));
            v_store(acc + j, s);
        }
        if (j < n) {
            size_t m = (size_t)(n - j);
            vf s = v_loadn(acc + j, m);
            for (int q = 0; q < ROWS; q++) s = v_join(r, s, v_loadn(x + q * n + j, m));
            v_storen(acc + j, s, m);
        }
    }
    for (; i < rows; i++, x += n)
        for (int64_t j = 0; j < n; j += W) {
            size_t m = (size_t)(n - j);
            v_storew(acc + j, v_join(r, v_loadw(acc + j, m), v_loadw(x + j, m)), m);
        }
}

/* Narrow rows as flat memory: 16 rows are one row of 16 n columns, whose accumulators are the 16 row lanes. */
V_INLINE void narrow_fold(fg_reduction r, const float *acc, int64_t n, float *y) {
    for (int64_t c = 0; c < n; c++) {
        float v[LANES];
        for (int i = 0; i < LANES; i++) v[i] = acc[i * n + c];
        y[c] = tree16(r, v);
    }
}
V_INLINE void reduce_cols_as(fg_reduction r, const float *x, int64_t rows, int64_t n, float *y) {
    if (n >= LANES) {
        for (int64_t j = 0; j < n; j++) y[j] = reduce_start(r);
        cols_as(r, x, rows, n, y);
        return;
    }
    float acc[LANES * LANES];
    for (int64_t j = 0; j < LANES * n; j++) acc[j] = reduce_start(r);
    cols_as(r, x, rows / LANES, LANES * n, acc);
    cols_as(r, x + rows / LANES * LANES * n, 1, rows % LANES * n, acc);
    narrow_fold(r, acc, n, y);
}
static void reduce_cols(fg_reduction r, const float *x, int64_t rows, int64_t n, float *y) {
    switch (r) {
    case FG_RED_MAX: reduce_cols_as(FG_RED_MAX, x, rows, n, y); break;
    case FG_RED_MIN: reduce_cols_as(FG_RED_MIN, x, rows, n, y); break;
    default: reduce_cols_as(FG_RED_SUM, x, rows, n, y); break;
    }
}

static double sumsq(const float *x, size_t n) {
    vd16 s = { 0 };
    vf v[NW];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < NW; j++) v[j] = v_load(x + i + j * W);
        vd_squares(&s, v);
    }
    if (i < n) {
        for (int j = 0; j < NW; j++) {
            size_t at = i + (size_t)j * W;
            v[j] = at < n ? v_loadw(x + at, n - at) : v_zero();
        }
        vd_squares(&s, v);
    }
    return vd_sum(&s);
}

/* x - x is 0 for a finite x and NaN otherwise; blocks are tested together. */
static bool all_finite(const float *x, size_t n) {
    enum { BLOCK = 1024 };
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        vf bad = v_zero();
        for (size_t j = 0; j < m; j += W) {
            vf v = v_loadw(x + i + j, m - j);
            bad = v_add(bad, v_sub(v, v));
        }
        if (v_any(v_isnan(bad))) return false;
    }
    return true;
}

/* Short rows fill no vector: W of them at once, turned, so that each is a lane; then flat memory again. */
enum { SHORT_ROW = 64 };
V_INLINE void turn_rows(const float *x, int64_t rows, int64_t n,
                        float *t) { /* t[n][W]; lanes without a row keep what they have */
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) t[j * W + r] = x[r * n + j];
}
V_INLINE void spread_rows(vf v, int64_t rows, int64_t n, float *s) { /* s[rows][n] = v[row] */
    float one[W];
    v_store(one, v);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) s[r * n + j] = one[r];
}

static void short_log_softmax(const float *x, float *y, int64_t rows, int64_t n) {
    float t[SHORT_ROW * W] = { 0 }, most[SHORT_ROW * W], log[SHORT_ROW * W];
    for (int64_t r; rows > 0; rows -= r, x += r * n, y += r * n) {
        r = rows < W ? rows : W;
        turn_rows(x, r, n, t);
        vf m = v_load(t), sum = v_zero();
        for (int64_t j = 1; j < n; j++) m = v_maxn(m, v_load(t + j * W));
        for (int64_t j = 0; j < n; j++) sum = v_add(sum, v_exp(v_sub(v_load(t + j * W), m)));
        spread_rows(m, r, n, most);
        spread_rows(v_log(sum), r, n, log);
        for (int64_t i = 0; i < r * n; i += W) {
            size_t w = (size_t)(r * n - i);
            v_storew(y + i, v_sub(v_sub(v_loadw(x + i, w), v_load(most + i)), v_load(log + i)), w);
        }
    }
}

static void log_softmax(const float *x, float *y, int64_t rows, int64_t n) {
    if (n <= SHORT_ROW) {
        short_log_softmax(x, y, rows, n);
        return;
    }
    vf low = v_set(reduce_start(FG_RED_MAX)); /* exp(-inf) adds nothing */
    for (int64_t i = 0; i < rows; i++, x += n, y += n) {
        vf m = v_set(reduce_as(FG_RED_MAX, x, (size_t)n)), acc[NW];
        for (int j = 0; j < NW; j++) acc[j] = v_zero();
        for (int64_t j = 0; j < n; j += W) {
            vf v = n - j >= W ? v_load(x + j) : v_loadn_fill(x + j, (size_t)(n - j), low);
            int lane = (int)(j / W % NW);
            acc[lane] = v_add(acc[lane], v_exp(v_sub(v, m)));
        }
        vf l = v_set(r_log(v_fold16(FG_RED_SUM, acc)));
        for (int64_t j = 0; j < n; j += W) {
            size_t w = (size_t)(n - j);
            v_storew(y + j, v_sub(v_sub(v_loadw(x + j, w), m), l), w);
        }
    }
}

static void short_log_softmax_grad(const float *dy, const float *y, float *dx, int64_t rows, int64_t n) {
    float t[SHORT_ROW * W] = { 0 }, sums[SHORT_ROW * W];
    for (int64_t r; rows > 0; rows -= r, dy += r * n, y += r * n, dx += r * n) {
        r = rows < W ? rows : W;
        turn_rows(dy, r, n, t);
        vf sum = v_load(t);
        for (int64_t j = 1; j < n; j++) sum = v_add(sum, v_load(t + j * W));
        spread_rows(sum, r, n, sums);
        for (int64_t i = 0; i < r * n; i += W) {
            size_t w = (size_t)(r * n - i);
            v_storew(dx + i, v_sub(v_loadw(dy + i, w), v_mul(v_exp(v_loadw(y + i, w)), v_load(sums + i))), w);
        }
    }
}

static void log_softmax_grad(const float *dy, const float *y, float *dx, int64_t rows, int64_t n) {
    if (n <= SHORT_ROW) {
        short_log_softmax_grad(dy, y, dx, rows, n);
        return;
    }
    for (int64_t i = 0; i < rows; i++, dy += n, y += n, dx += n) {
        vf s = v_set(reduce_as(FG_RED_SUM, dy, (size_t)n));
        for (int64_t j = 0; j < n; j += W) {
            size_t w = (size_t)(n - j);
            v_storew(dx + j, v_sub(v_loadw(dy + j, w), v_mul(v_exp(v_loadw(y + j, w)), s)), w);
        }
    }
}

static void register_reduce(fg_kernels *k) {
    k->reduce = reduce;
    k->reduce_rows = reduce_rows;
    k->reduce_cols = reduce_cols;
    k->sumsq = sumsq;
    k->all_finite = all_finite;
    k->log_softmax = log_softmax;
    k->log_softmax_grad = log_softmax_grad;
}
