/* amx_blocks.h: blocks of 32 x 32 bf16 laid out for the tiles, and blocks of sums written out.
 *
 * A block comes from rows of some matrix, `stride` elements apart: rows x cols of it exist, the rest becomes zero. Nothing
 * beyond rows x cols is read. Four layouts, each 2 KB, serve every operand of every kernel:
 *
 *     copy     [32 rows][32 cols]                   A tiles 0, 1: rows 0-15, 16-31; the reduction runs along cols
 *     columns  2 tiles [16 cols][32 rows]           A tiles: cols 0-15, 16-31;      the reduction runs along rows
 *     pairs    2 tiles [16 row pairs][16 cols][2]   B tiles: cols 0-15, 16-31;      the reduction runs along rows
 *     turned   2 tiles [16 col pairs][16 rows][2]   B tiles: rows 0-15, 16-31;      the reduction runs along cols
 *
 * The two tiles lie `gap` elements apart. `columns` is `pairs` and then a transposition of 16 x 16 pairs, `turned` that
 * transposition alone. With FG_AMX_STANDIN, which has to run anywhere, all is plain C, unless FG_AMX_VECTORS asks for
 * the vectors beneath the stand-in tiles. */
#ifndef FG_AMX_BLOCKS_H
#define FG_AMX_BLOCKS_H

#include "amx_tiles.h"
#include "bf16.h"
#include "integers.h"
#include "real_math.h"

/* blocks of 32 that hold `count`; how much of it is in one of them */
static inline int64_t blocks_of(int64_t count) { return ceil_div(count, 32); }
static inline int left(int64_t count, int64_t block) { return (int)min64(32, count - block * 32); }

/* Sums to be written: act(sums + bias), rounded to bf16 where out16 is given. Only none, relu and leaky relu; the others
 * are done to the sums before (wide_act). */
typedef struct block_out {
    const float *sums; /* [32][32] */
    float *out;
    uint16_t *out16;
    int64_t stride; /* elements between rows of out */
    int rows, cols;
    const float *bias; /* [32] or NULL */
    fg_act act;
    float slope;
} block_out;

static inline bool act_is_narrow(fg_act act) { return act == FG_ACT_NONE || act == FG_ACT_RELU || act == FG_ACT_LEAKY_RELU; }

#if defined(FG_AMX_STANDIN) && !defined(FG_AMX_VECTORS)
/* ---------------------------------------------------------------- plain C */
/* d[32][32] = s rounded */
static inline void block_round(const float *s, int64_t stride, int rows, int cols, uint16_t *d) {
    for (int r = 0; r < 32; r++)
        for (int c = 0; c < 32; c++) d[r * 32 + c] = r < rows && c < cols ? fg_bf16_from_float(s[r * stride + c]) : 0;
}
static void block_copy(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d) {
    for (int r = 0; r < 32; r++)
        for (int c = 0; c < 32; c++) d[r * 32 + c] = r < rows && c < cols ? s[r * stride + c] : 0;
}
static void block_columns(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d, int64_t gap) {
    for (int c = 0; c < 32; c++)
        for (int r = 0; r < 32; r++) d[c / 16 * gap + c % 16 * 32 + r] = r < rows && c < cols ? s[r * stride + c] : 0;
}
static void block_pairs(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d, int64_t gap) {
    for (int r = 0; r < 32; r++)
        for (int c = 0; c < 32; c++)
            d[c / 16 * gap + r / 2 * 32 + c % 16 * 2 + r % 2] = r < rows && c < cols ? s[r * stride + c] : 0;
}
static void block_turned(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d, int64_t gap) {
    for (int r = 0; r < 32; r++)
        for (int c = 0; c < 32; c++)
            d[r / 16 * gap + c / 2 * 32 + r % 16 * 2 + c % 2] = r < rows && c < cols ? s[r * stride + c] : 0;
}

static void block_out_row(const block_out *o, int r) {
    for (int c = 0; c < o->cols; c++) {
        float y = o->sums[r * 32 + c] + (o->bias ? o->bias[c] : 0);
        if (o->act != FG_ACT_NONE) y = o->act == FG_ACT_RELU ? r_relu(y) : r_leaky(y, o->slope);
        if (o->out16) o->out16[r * o->stride + c] = fg_bf16_from_float(y);
        else o->out[r * o->stride + c] = y;
    }
}

#else
/* ---------------------------------------------------------------- AVX-512 with BF16 */
#include <immintrin.h>

static inline __mmask32 cols_mask(int cols) { return cols >= 32 ? ~(__mmask32)0 : ((__mmask32)1 << cols) - 1; }
static inline __m512i line_load(const uint16_t *s, int64_t stride, int row, int rows, __mmask32 m) {
    return row < rows ? _mm512_maskz_loadu_epi16(m, s + row * stride) : _mm512_setzero_si512();
}
static inline __m512i line_round(__m512 lo, __m512 hi) { return (__m512i)_mm512_cvtne2ps_pbh(hi, lo); }

static inline void block_round(const float *s, int64_t stride, int rows, int cols, uint16_t *d) {
    __mmask32 m = cols_mask(cols);
    for (int r = 0; r < 32; r++) {
        __m512i line = _mm512_setzero_si512();
        if (r < rows)
            line = line_round(_mm512_maskz_loadu_ps((__mmask16)m, s + r * stride),
                              _mm512_maskz_loadu_ps((__mmask16)(m >> 16), s + r * stride + 16));
        _mm512_storeu_si512(d + r * 32, line);
    }
}
static void block_copy(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d) {
    __mmask32 m = cols_mask(cols);
    for (int r = 0; r < 32; r++) _mm512_storeu_si512(d + r * 32, line_load(s, stride, r, rows, m));
}

/* rows a and b interleaved: cols 0-15 when half is 0, cols 16-31 when it is 1 */
static inline __m512i line_pairs(__m512i a, __m512i b, int half) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4,
                                         35, 3, 34, 2, 33, 1, 32, 0);
    return _mm512_permutex2var_epi16(a, half ? _mm512_add_epi16(low, _mm512_set1_epi16(16)) : low, b);
}
static void block_pairs(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d, int64_t gap) {
    __mmask32 m = cols_mask(cols);
    for (int p = 0; p < 16; p++) {
        __m512i a = line_load(s, stride, 2 * p, rows, m), b = line_load(s, stride, 2 * p + 1, rows, m);
        _mm512_storeu_si512(d + p * 32, line_pairs(a, b, 0));
        _mm512_storeu_si512(d + gap + p * 32, line_pairs(a, b, 1));
    }
}

/* r[i] lane j and r[j] lane i change places: 32-bit lanes by ones, by twos, then 128-bit quarters */
static inline void transpose16(__m512i r[16]) {
    __m512i t[16], u[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int h = 0; h < 2; h++) {
            u[4 * i + 2 * h] = _mm512_unpacklo_epi64(t[4 * i + h], t[4 * i + 2 + h]);
            u[4 * i + 2 * h + 1] = _mm512_unpackhi_epi64(t[4 * i + h], t[4 * i + 2 + h]);
        }
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(u[j], u[4 + j], 0x88), b = _mm512_shuffle_i32x4(u[j], u[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0x88), e = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0xdd);
        r[j] = _mm512_shuffle_i32x4(a, c, 0x88), r[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        r[4 + j] = _mm512_shuffle_i32x4(b, e, 0x88), r[12 + j] = _mm512_shuffle_i32x4(b, e, 0xdd);
    }
}
/* By way of pairs in the first cache: rows a power of two apart share their places there, and would be fetched twice. */
static void block_columns(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d, int64_t gap) {
    uint16_t pairs[BLOCK];
    block_pairs(s, stride, rows, cols, pairs, TILE);
    for (int h = 0; h < 2; h++) {
        __m512i r[16];
        for (int p = 0; p < 16; p++) r[p] = _mm512_loadu_si512(pairs + h * TILE + p * 32);
        transpose16(r);
        for (int i = 0; i < 16; i++) _mm512_storeu_si512(d + h * gap + i * 32, r[i]);
    }
}
static void block_turned(const uint16_t *s, int64_t stride, int rows, int cols, uint16_t *d, int64_t gap) {
    __mmask32 m = cols_mask(cols);
    for (int h = 0; h < 2; h++) {
        __m512i r[16];
        for (int i = 0; i < 16; i++) r[i] = line_load(s, stride, 16 * h + i, rows, m);
        transpose16(r);
        for (int i = 0; i < 16; i++) _mm512_storeu_si512(d + h * gap + i * 32, r[i]);
    }
}

static inline __m512 line_act(__m512 y, fg_act act, float slope) {
    if (act == FG_ACT_RELU) return _mm512_max_ps(_mm512_setzero_ps(), y); /* the second where one is NaN */
    if (act == FG_ACT_LEAKY_RELU)
        return _mm512_mask_mul_ps(y, _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_NGT_UQ), y, _mm512_set1_ps(slope));
    return y;
}
static inline void block_out_row(const block_out *o, int r) {
    __m512 lo = _mm512_loadu_ps(o->sums + r * 32), hi = _mm512_loadu_ps(o->sums + r * 32 + 16);
    __mmask32 m = cols_mask(o->cols);
    if (o->bias) lo = _mm512_add_ps(lo, _mm512_loadu_ps(o->bias)), hi = _mm512_add_ps(hi, _mm512_loadu_ps(o->bias + 16));
    lo = line_act(lo, o->act, o->slope), hi = line_act(hi, o->act, o->slope);
    if (o->out16) {
        _mm512_mask_storeu_epi16(o->out16 + r * o->stride, m, line_round(lo, hi));
    } else {
        _mm512_mask_storeu_ps(o->out + r * o->stride, (__mmask16)m, lo);
        _mm512_mask_storeu_ps(o->out + r * o->stride + 16, (__mmask16)(m >> 16), hi);
    }
}
#endif

#endif
