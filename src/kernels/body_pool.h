/* body_pool.h: pooling and nearest-neighbour upsampling on NHWC images, mostly in plain C: the loops over channels are simple
 * enough for the compiler to vectorise for whatever ISA the including file is compiled for (scalar_pool.c,
 * elementwise_<isa>.c), and without reassociation the bits stay the same.
 *
 * x and y are the whole arrays; a call handles images first_image .. first_image + images - 1. Geometry is that of a
 * convolution (kernels.h) whose channels stay apart: g->ci is the channel count, g->co is ignored.
 *
 * avg_pool divides by kh*kw always: padding counts as zeros. max_pool leaves padding out; NaN wins; `where` gets the flat
 * pixel index ih*W + iw of the first maximum. A window that lies wholly in the padding gives -inf and the nearest pixel. */
#include "integers.h"
#include "kernels.h"
#include "real_math.h"

/* Channels are taken POOL_LANES at a time, so that sums and maxima stay in registers while a window goes by: a function inline
 * for `lanes` of POOL_LANES, where the loops over them vanish, and for what is left. */
enum { POOL_LANES = 16 };
#define POOL_INLINE static inline __attribute__((always_inline))
#define EACH_BLOCK(c, f, ...)                                                                                                    \
    for (int64_t j = 0, lanes; j < (c); j += lanes) {                                                                            \
        lanes = (c)-j < POOL_LANES ? (c)-j : POOL_LANES;                                                                         \
        if (lanes == POOL_LANES) f(__VA_ARGS__, POOL_LANES);                                                                     \
        else f(__VA_ARGS__, (int)lanes);                                                                                         \
    }

typedef struct span { /* begin <= i < end */
    int64_t begin, end;
} span;

/* Part of the window of output index o that lies inside the image: pixels. */
static span window(int64_t o, int stride, int pad, int k, int64_t size) {
    int64_t at = o * stride - pad;
    return (span){ at < 0 ? 0 : at, at + k > size ? size : at + k };
}
/* Outputs whose windows reach pixel 0, 1, ... of an axis, one after the other without a division. */
typedef struct reaching {
    int64_t first, first_rest, last, last_rest, outs; /* floor((i + pad - k) / stride) + 1, floor((i + pad) / stride) */
    int stride;
} reaching;
static reaching reaching_first(int stride, int pad, int k, int64_t outs) {
    int64_t before = floor_div(pad - k, stride), at = floor_div(pad, stride);
    return (reaching){ before + 1, pad - k - before * stride, at, pad - at * stride, outs, stride };
}
static span reaching_next(reaching *r) {
    span s = { r->first < 0 ? 0 : r->first, r->last + 1 < r->outs ? r->last + 1 : r->outs };
    if (++r->first_rest == r->stride) r->first_rest = 0, r->first++;
    if (++r->last_rest == r->stride) r->last_rest = 0, r->last++;
    return s;
}

/* y[lanes] = the sum of x[...][lanes] over a rectangle of pixels, c channels each; with `each`, of x / count, else / count at
 * last. `by` is 1 / count where that gives the same bits (powers of two), or 0. */
typedef struct share {
    fg_real count, by;
} share;
static share share_of(const fg_conv_geom *g) {
    int64_t count = (int64_t)g->kh * g->kw;
    return (share){ (fg_real)count, count & (count - 1) ? 0 : 1 / (fg_real)count };
}
POOL_INLINE void sum_block(const fg_real *x, int64_t w, int64_t c, span rows, span cols, share s, bool each, fg_real *y,
                           int lanes) {
    fg_real sum[POOL_LANES] = { 0 };
    for (int64_t a = rows.begin; a < rows.end; a++)
        for (int64_t b = cols.begin; b < cols.end; b++) {
            const fg_real *in = x + (a * w + b) * c;
            if (!each)
                for (int i = 0; i < lanes; i++) sum[i] += in[i];
            else if (s.by > 0)
                for (int i = 0; i < lanes; i++) sum[i] += in[i] * s.by;
            else
                for (int i = 0; i < lanes; i++) sum[i] += in[i] / s.count;
        }
    if (each)
        for (int i = 0; i < lanes; i++) y[i] = sum[i];
    else if (s.by > 0)
        for (int i = 0; i < lanes; i++) y[i] = sum[i] * s.by;
    else
        for (int i = 0; i < lanes; i++) y[i] = sum[i] / s.count;
}

/* Asks for the windows of the next row of outputs, which lie `down` pixels further on: the hardware does not foresee reads that
 * jump between the rows of a window (from memory, AVX-512: max_pool 18 GB/s instead of 10, avg_pool 15 instead of 11). */
POOL_INLINE void fetch_below(const fg_real *x, int64_t w, int64_t c, span rows, span cols, int down) {
    for (int64_t a = rows.begin; a < rows.end; a++)
        for (int64_t b = cols.begin; b < cols.end; b++)
            for (int64_t j = 0; j < c; j += 64 / (int64_t)sizeof *x) __builtin_prefetch(x + ((a + down) * w + b) * c + j);
}

static void avg_pool(const fg_real *x, fg_real *y, const fg_conv_geom *g, int64_t first_image, int64_t images) {
    int64_t c = g->ci;
    share s = share_of(g);
    for (int64_t n = first_image; n < first_image + images; n++)
        for (int64_t oh = 0; oh < g->oh; oh++) {
            span rows = window(oh, g->sh, g->pt, g->kh, g->h);
            for (int64_t ow = 0; ow < g->ow; ow++) {
                const fg_real *in = x + n * g->h * g->w * c;
                fg_real *out = y + ((n * g->oh + oh) * g->ow + ow) * c;
                span cols = window(ow, g->sw, g->pl, g->kw, g->w);
                fetch_below(in, g->w, c, rows, cols, g->sh);
                EACH_BLOCK(c, sum_block, in + j, g->w, c, rows, cols, s, false, out + j)
            }
        }
}

static void avg_pool_adjoint(const fg_real *dy, fg_real *dx, const fg_conv_geom *g, int64_t first_image, int64_t images) {
    int64_t c = g->ci;
    share s = share_of(g);
    for (int64_t n = first_image; n < first_image + images; n++) {
        reaching down = reaching_first(g->sh, g->pt, g->kh, g->oh);
        for (int64_t h = 0; h < g->h; h++) {
            span rows = reaching_next(&down);
            reaching along = reaching_first(g->sw, g->pl, g->kw, g->ow);
            for (int64_t w = 0; w < g->w; w++) {
                const fg_real *in = dy + n * g->oh * g->ow * c;
                fg_real *out = dx + ((n * g->h + h) * g->w + w) * c;
                span cols = reaching_next(&along);
                EACH_BLOCK(c, sum_block, in + j, g->ow, c, rows, cols, s, true, out + j)
            }
        }
    }
}

/* y[n] = the maximum over a rectangle of pixels, where[n] = its pixel; n is MAX_LANES at most. Compilers do not make vectors of
 * this, so it is written in them where the ISA has any. */
#ifdef FG_SIMD_H
enum { MAX_LANES = W };
POOL_INLINE void max_block(const fg_real *x, int64_t w, int64_t c, span rows, span cols, int32_t start, fg_real *y,
                           int32_t *where, int64_t n) {
    vf most = v_set(reduce_start(FG_RED_MAX)), at = v_from_bits(vi_set(start));
    for (int64_t a = rows.begin; a < rows.end; a++)
        for (int64_t b = cols.begin; b < cols.end; b++) {
            vf v = v_loadw(x + (a * w + b) * c, (size_t)n), pixel = v_from_bits(vi_set((int32_t)(a * w + b)));
            vm less = v_le(v, most), full = v_isnan(most); /* neither: greater, or the first NaN */
            at = v_sel(less, at, v_sel(full, at, pixel));
            most = v_sel(less, most, v_sel(full, most, v));
        }
    v_storew(y, most, (size_t)n);
    v_storew((float *)where, at, (size_t)n);
}
#else
enum { MAX_LANES = POOL_LANES };
POOL_INLINE void max_block(const fg_real *x, int64_t w, int64_t c, span rows, span cols, int32_t start, fg_real *y,
                           int32_t *where, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = reduce_start(FG_RED_MAX), where[i] = start;
    for (int64_t a = rows.begin; a < rows.end; a++)
        for (int64_t b = cols.begin; b < cols.end; b++) {
            const fg_real *in = x + (a * w + b) * c;
            for (int64_t i = 0; i < n; i++) {
                bool take = !(in[i] <= y[i]) && y[i] == y[i]; /* greater, or the first NaN */
                y[i] = take ? in[i] : y[i];
                where[i] = take ? (int32_t)(a * w + b) : where[i];
            }
        }
}
#endif

static int64_t nearest(int64_t i, int64_t size) { return i < 0 ? 0 : i < size ? i : size - 1; }

static void max_pool(const fg_real *x, fg_real *y, int32_t *where, const fg_conv_geom *g, int64_t first_image, int64_t images) {
    int64_t c = g->ci;
    for (int64_t n = first_image; n < first_image + images; n++)
        for (int64_t oh = 0; oh < g->oh; oh++) {
            span rows = window(oh, g->sh, g->pt, g->kh, g->h);
            for (int64_t ow = 0; ow < g->ow; ow++) {
                const fg_real *in = x + n * g->h * g->w * c;
                int64_t o = ((n * g->oh + oh) * g->ow + ow) * c;
                span cols = window(ow, g->sw, g->pl, g->kw, g->w);
                int32_t start = (int32_t)(nearest(rows.begin, g->h) * g->w + nearest(cols.begin, g->w));
                fetch_below(in, g->w, c, rows, cols, g->sh);
                for (int64_t j = 0; j < c; j += MAX_LANES)
                    max_block(in + j, g->w, c, rows, cols, start, y + o + j, where + o + j,
                              c - j < MAX_LANES ? c - j : MAX_LANES);
            }
        }
}

/* y[n][h*fh + i][w*fw + j][c] = x[n][h][w][c] */
static void upsample(const fg_real *x, fg_real *y, int64_t images, int64_t h, int64_t w, int64_t c, int fh, int fw) {
    int64_t line = w * fw * c;
    for (int64_t r = 0; r < images * h; r++, x += w * c, y += fh * line) {
        for (int64_t j = 0; j < w; j++)
            for (int f = 0; f < fw; f++)
                for (int64_t i = 0; i < c; i++) y[(j * fw + f) * c + i] = x[j * c + i];
        for (int f = 1; f < fh; f++) memcpy(y + f * line, y, (size_t)line * sizeof *y);
    }
}

static void register_pool(fg_kernels *k) {
    k->avg_pool = avg_pool;
    k->avg_pool_adjoint = avg_pool_adjoint;
    k->max_pool = max_pool;
    k->upsample = upsample;
}
