/* pack_body.h: laying operands out for the register tiles, included by gemm_body.h and conv_body.h. A panel of B is
 * [k][NR] with zeros beyond the last column, so that tiles load whole vectors; a panel of A is rows A_ROW apart. */
#ifndef FG_PACK_BODY_H
#define FG_PACK_BODY_H

#include "integers.h"

/* d[0..count) = s[0..count); up to VL - 1 floats after them become zero */
static inline void copy_floats(float *d, const float *s, int64_t count) {
    int64_t i = 0;
    for (; i + VL <= count; i += VL) { v_store(d + i, v_load(s + i)); }
    if (i < count) v_store(d + i, v_load_part(s + i, v_mask(count - i)));
}

/* d[k][NR] = s[k][cols], rows of s lds apart */
static inline void pack_panel(const float *s, int64_t lds, int64_t kc, int64_t cols, float *d) {
    vmask m0 = v_mask(cols), m1 = v_mask(cols - VL);
    if (cols == NR)
        for (int64_t k = 0; k < kc; k++, s += lds, d += NR) v_store(d, v_load(s)), v_store(d + VL, v_load(s + VL));
    else
        for (int64_t k = 0; k < kc; k++, s += lds, d += NR)
            v_store(d, v_load_part(s, m0)), v_store(d + VL, cols > VL ? v_load_part(s + VL, m1) : v_zero());
}

/* Several panels, `step` floats apart, out of s[k][cols]: along the rows of s, with both ends fetched ahead. Down a panel at a
 * time, rows a multiple of 4 KB apart would meet in one set of the first cache. */
static inline void pack_panels(const float *s, int64_t lds, int64_t kc, int64_t cols, float *d, int64_t step) {
    int64_t whole = cols / NR, rest = cols % NR;
    for (int64_t k = 0; k < kc; k++, s += lds, d += NR) {
        for (int64_t j = 0; j < whole; j++) {
            for (int v = 0; v < NR; v += 16) v_fetch1(s + 4 * lds + j * NR + v), v_fetch1(d + j * step + 4 * NR + v);
            v_store(d + j * step, v_load(s + j * NR)), v_store(d + j * step + VL, v_load(s + j * NR + VL));
        }
        if (rest) pack_panel(s + whole * NR, lds, 1, rest, d + whole * step);
    }
}

/* d[c*NR + r] = s[r*lds + c] for 8 x 8. Rows r and r + 4 are put together by the load, which leaves half the shuffles of a
 * transpose in registers alone; the wider square of AVX-512 would save none. */
static inline void transpose8(const float *s, int64_t lds, float *d) {
    for (int h = 0; h < 2; h++) {
        __m256 r[4], t[4];
        for (int i = 0; i < 4; i++) {
            __m128 low = _mm_loadu_ps(s + i * lds + 4 * h), high = _mm_loadu_ps(s + (i + 4) * lds + 4 * h);
            r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
        }
        for (int i = 0; i < 2; i++) {
            t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for (int i = 0; i < 2; i++) {
            _mm256_storeu_ps(d + (4 * h + 2 * i) * NR, _mm256_shuffle_ps(t[i], t[2 + i], 0x44));
            _mm256_storeu_ps(d + (4 * h + 2 * i + 1) * NR, _mm256_shuffle_ps(t[i], t[2 + i], 0xee));
        }
    }
}

/* the same for a piece of a square, through a square on the stack; zeros for the rows that s lacks */
static inline void transpose_part(const float *s, int64_t lds, int64_t rows, int64_t ks, float *d) {
    float square[64] = { 0 }, turned[8 * NR];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < ks; c++) square[r * 8 + c] = s[r * lds + c];
    transpose8(square, 8, turned);
    for (int64_t c = 0; c < ks; c++) _mm256_storeu_ps(d + c * NR, _mm256_loadu_ps(turned + c * NR));
}

/* d[k][NR] = s[cols][k] transposed, rows of s lds apart: eight rows at a time, while the next eight and the lines of d to come
 * are fetched */
static inline void pack_panel_transposed(const float *s, int64_t lds, int64_t kc, int64_t cols, float *d) {
    for (int64_t j = 0; j < NR; j += 8, s += 8 * lds) {
        int64_t rows = max64(0, min64(8, cols - j)), k = 0;
        if (rows == 8)
            for (; k + 8 <= kc; k += 8) {
                for (int64_t i = k / 8 % 2 * 4, end = i + 4; i < end; i++) v_fetch2(s + (8 + i) * lds + k);
                for (int64_t e = k + 16; j % 16 == 0 && e < k + 24; e++) v_fetch1(d + e * NR + j);
                transpose8(s + k, lds, d + k * NR + j);
            }
        for (; k < kc; k += 8) transpose_part(s + k, lds, rows, min64(8, kc - k), d + k * NR + j);
    }
}

#endif
