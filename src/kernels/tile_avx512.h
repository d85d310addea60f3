/* tile_avx512.h: the few vector operations that the product kernels need, in AVX-512F: 16 lanes, 14 x 2 accumulators of
 * the 32 registers. tile_avx2.h is its twin. */
#ifndef FG_TILE_AVX512_H
#define FG_TILE_AVX512_H

#include <immintrin.h>

#include "fetch.h"
#include "product.h"

enum { VL = 16, MR = 14, NR = 32, AP = 16 /* floats a k of a transposed panel */, PACK_STRIDE = 1024, DIRECT_TILES = 1000000 };
/* Longest run of k between two visits of C, each of which costs a tile some 150 cycles (blocks of 512 instead of 256 gave 2 to
 * 3%); floats between the rows of A's panel, an odd number of cache lines. */
enum { KC = 512, A_ROW = KC + 16 };
#define ISA_LEVEL     FG_ISA_AVX512
#define TILES         fg_tiles_avx512
#define COPYING_TILES fg_copying_tiles_avx512
#define COPY_MR       FG_COPY_MR_AVX512
#define DOTS          fg_dots_avx512
#define DOT_GROUPS    fg_dot_groups_avx512

typedef __m512 vf;
typedef __mmask16 vmask;

static inline vf v_zero(void) { return _mm512_setzero_ps(); }
/* in a register from here on: gcc would load it again for every multiply-add that uses it */
#define v_keep(v) __asm__("" : "+v"(v))
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
/* x times the activation's slope at its output y; relu selects, as r_act_back says */
static inline vf v_gate_relu(vf x, vf y) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, v_zero(), _CMP_NLE_UQ), x); }
static inline vf v_gate_leaky(vf x, vf y, float slope) {
    return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(y, v_zero(), _CMP_NGT_UQ), x, v_set1(slope));
}
static inline float v_sum(vf v) { return _mm512_reduce_add_ps(v); }
static inline __m256 v_halves(vf v) {
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)));
}
/* the lanes' sums of four vectors */
static inline void v_sum4(vf a, vf b, vf c, vf d, float sum[4]) {
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(v_halves(a), v_halves(b)), _mm256_hadd_ps(v_halves(c), v_halves(d)));
    _mm_storeu_ps(sum, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

#endif
