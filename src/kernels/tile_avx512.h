/* tile_avx512.h: the few vector operations that the product kernels need, in AVX-512F: 16 lanes, 14 x 2 accumulators of
 * the 32 registers. tile_avx2.h is its twin. */
#ifndef FG_TILE_AVX512_H
#define FG_TILE_AVX512_H

#include <immintrin.h>

#include "product.h"

enum { VL = 16, MR = 14, NR = 32, AP = 16 /* floats a k of a transposed panel */ };
#define ISA_LEVEL FG_ISA_AVX512
#define TILES     fg_tiles_avx512
#define DOTS      fg_dots_avx512

typedef __m512 vf;
typedef __mmask16 vmask;

static inline vf v_zero(void) { return _mm512_setzero_ps(); }
static inline vf v_set1(float x) { return _mm512_set1_ps(x); }
static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
/* lanes 0..n-1; n may be below 0 or above VL */
static inline vmask v_mask(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (vmask)((1u << n) - 1); }
static inline vf v_load_part(const float *p, vmask m) { return _mm512_maskz_loadu_ps(m, p); }
static inline void v_store_part(float *p, vmask m, vf v) { _mm512_mask_storeu_ps(p, m, v); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
/* NaN stays NaN in both: max returns its second operand, the comparison is false */
static inline vf v_relu(vf x) { return _mm512_max_ps(v_zero(), x); }
static inline vf v_leaky(vf x, float slope) {
    return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(x, v_zero(), _CMP_NGT_UQ), x, v_set1(slope));
}
static inline float v_sum(vf v) { return _mm512_reduce_add_ps(v); }

/* d[c*ldd + r] = s[r*lds + c] for a square of VL */
static inline void v_transpose(const float *s, int64_t lds, float *d, int64_t ldd) {
    __m512 t[16], u[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        __m512 a = v_load(s + 2 * i * lds), b = v_load(s + (2 * i + 1) * lds);
        t[2 * i] = _mm512_unpacklo_ps(a, b);
        t[2 * i + 1] = _mm512_unpackhi_ps(a, b);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
        __m512d e = _mm512_castps_pd(t[4 * i + 2]), f = _mm512_castps_pd(t[4 * i + 3]);
        u[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, e));
        u[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, e));
        u[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, f));
        u[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, f));
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512 a = _mm512_shuffle_f32x4(u[j], u[4 + j], 0x88), b = _mm512_shuffle_f32x4(u[j], u[4 + j], 0xdd);
        __m512 e = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0x88), f = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0xdd);
        v_store(d + j * ldd, _mm512_shuffle_f32x4(a, e, 0x88));
        v_store(d + (j + 8) * ldd, _mm512_shuffle_f32x4(a, e, 0xdd));
        v_store(d + (j + 4) * ldd, _mm512_shuffle_f32x4(b, f, 0x88));
        v_store(d + (j + 12) * ldd, _mm512_shuffle_f32x4(b, f, 0xdd));
    }
}

#endif
