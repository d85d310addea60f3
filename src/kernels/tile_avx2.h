/* tile_avx2.h: the few vector operations that the product kernels need, in AVX2 and FMA: 8 lanes, 6 x 2 accumulators of
 * the 16 registers. tile_avx512.h is its twin. */
#ifndef FG_TILE_AVX2_H
#define FG_TILE_AVX2_H

#include <immintrin.h>

#include "fetch.h"
#include "product.h"

enum { VL = 8, MR = 6, NR = 16, AP = 8 /* floats a k of a transposed panel */, PACK_STRIDE = 512, DIRECT_TILES = 16 };
/* Longest run of k between two visits of C (one or two percent faster than 512, unlike AVX-512); floats between the rows of A's
 * panel, an odd number of cache lines. */
enum { KC = 320, A_ROW = KC + 16 };
#define ISA_LEVEL     FG_ISA_AVX2
#define TILES         fg_tiles_avx2
#define COPYING_TILES fg_copying_tiles_avx2
#define COPY_MR       FG_COPY_MR_AVX2
#define DOTS          fg_dots_avx2
#define DOT_GROUPS    fg_dot_groups_avx2

typedef __m256 vf;
typedef __m256i vmask;

static inline vf v_zero(void) { return _mm256_setzero_ps(); }
/* in a register from here on: gcc would load it again for every multiply-add that uses it */
#define v_keep(v) __asm__("" : "+x"(v))
static inline vf v_set1(float x) { return _mm256_set1_ps(x); }
static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
/* lanes 0..n-1; n may be below 0 or above VL */
static inline vmask v_mask(int64_t n) {
    int m = n >= 8 ? 8 : n <= 0 ? 0 : (int)n;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(m), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf v_load_part(const float *p, vmask m) { return _mm256_maskload_ps(p, m); }
static inline void v_store_part(float *p, vmask m, vf v) { _mm256_maskstore_ps(p, m, v); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
/* NaN stays NaN in both: max returns its second operand, the comparison is false */
static inline vf v_relu(vf x) { return _mm256_max_ps(v_zero(), x); }
static inline vf v_leaky(vf x, float slope) {
    return _mm256_blendv_ps(_mm256_mul_ps(x, v_set1(slope)), x, _mm256_cmp_ps(x, v_zero(), _CMP_GT_OQ));
}
/* x times the activation's slope at its output y; relu selects, as r_act_back says */
static inline vf v_gate_relu(vf x, vf y) { return _mm256_andnot_ps(_mm256_cmp_ps(y, v_zero(), _CMP_LE_OQ), x); }
static inline vf v_gate_leaky(vf x, vf y, float slope) {
    return _mm256_blendv_ps(_mm256_mul_ps(x, v_set1(slope)), x, _mm256_cmp_ps(y, v_zero(), _CMP_GT_OQ));
}
static inline float v_sum(vf v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
/* the lanes' sums of four vectors */
static inline void v_sum4(vf a, vf b, vf c, vf d, float sum[4]) {
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(sum, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

#endif
