/* simd.h: one small vocabulary for vectors of float, so that every kernel body is written once and compiled per ISA.
 *
 *     vf  W floats (8 with AVX2, 16 with AVX-512)     vi  W int32     vm  a mask of W lanes
 *
 * The compiler flags of the including file choose the ISA (Makefile: *_avx2.c, *_avx512.c). Loads and stores are
 * unaligned. Tails are masked: v_loadn reads n < W elements and zeros (or a fill value), v_storen writes n; no
 * memory beyond is touched. Nothing here fuses a multiply and an add unless it is called v_fma, so bodies built from
 * + - * / sqrt, comparisons and selects give the same bits on every ISA and in the scalar reference.
 *
 * NaN: v_maxr and v_minr are the raw instructions, which return the SECOND operand when either is NaN (so
 * v_maxr(0, x) keeps a NaN x); v_maxn and v_minn propagate NaN from both. */
#ifndef FG_SIMD_H
#define FG_SIMD_H

#include "fetch.h"

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define V_INLINE static inline __attribute__((always_inline, unused))

/* v_stream stores past the caches, to whole vectors' addresses; other threads see it after v_stream_end. */
V_INLINE void v_stream_end(void) { _mm_sfence(); }

#if defined(__AVX512F__)
/* ---------------------------------------------------------------- AVX-512: F, BW, VL, DQ */
enum { W = 16 };
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

V_INLINE vm v_first(size_t n) { return (vm)((1u << n) - 1u); }
V_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
V_INLINE void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
V_INLINE void v_stream(float *p, vf x) { _mm512_stream_ps(p, x); }
V_INLINE vf v_loadn(const float *p, size_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
V_INLINE vf v_loadn_fill(const float *p, size_t n, vf fill) { return _mm512_mask_loadu_ps(fill, v_first(n), p); }
V_INLINE void v_storen(float *p, vf x, size_t n) { _mm512_mask_storeu_ps(p, v_first(n), x); }
V_INLINE vf v_set(float x) { return _mm512_set1_ps(x); }
V_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
V_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
V_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
V_INLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }   /* a*b + c */
V_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a*b */
V_INLINE vf v_maxr(vf a, vf b) { return _mm512_max_ps(a, b); }
V_INLINE vf v_minr(vf a, vf b) { return _mm512_min_ps(a, b); }
V_INLINE vf v_abs(vf a) { return _mm512_abs_ps(a); }
V_INLINE vf v_neg(vf a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
V_INLINE vf v_nabs(vf a) { return _mm512_or_ps(a, _mm512_set1_ps(-0.0f)); }
V_INLINE vf v_copysign(vf a, vf s) { return _mm512_or_ps(a, _mm512_and_ps(s, _mm512_set1_ps(-0.0f))); } /* a >= 0 */
V_INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
V_INLINE vm v_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
V_INLINE vm v_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
V_INLINE vm v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
V_INLINE vm v_ne(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
V_INLINE vm v_isnan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
V_INLINE vm v_and(vm a, vm b) { return (vm)(a & b); }
V_INLINE bool v_any(vm a) { return a != 0; }
V_INLINE bool v_every(vm a) { return a == 0xffff; }
V_INLINE vf v_sel(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); } /* m ? a : b */
V_INLINE vi v_bits(vf a) { return _mm512_castps_si512(a); }
V_INLINE vf v_from_bits(vi a) { return _mm512_castsi512_ps(a); }
V_INLINE vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
V_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
V_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
#define vi_sra(a, bits) _mm512_srai_epi32(a, bits)
#define vi_shl(a, bits) _mm512_slli_epi32(a, bits)
V_INLINE vi v_to_int(vf a) { return _mm512_cvtps_epi32(a); }
V_INLINE vf v_from_int(vi a) { return _mm512_cvtepi32_ps(a); }
#define vi_srl(a, bits) _mm512_srli_epi32(a, bits)
V_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
V_INLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
V_INLINE vi vi_xor3(vi a, vi b, vi c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
/* as W/2 lanes of 64 bits */
V_INLINE vi vi_load64(const uint64_t *p) { return _mm512_loadu_si512(p); }
V_INLINE vi vi_set64(uint64_t x) { return _mm512_set1_epi64((int64_t)x); }
V_INLINE vi vi_add64(vi a, vi b) { return _mm512_add_epi64(a, b); }
#define vi_shr64(a, bits) _mm512_srli_epi64(a, bits)
V_INLINE vi vi_mul32(vi a, vi b) { return _mm512_mul_epu32(a, b); } /* low halves, unsigned, to 64 bits */
V_INLINE vi vi_join64(vi lo, vi hi) { return _mm512_mask_blend_epi32(0xaaaa, lo, _mm512_slli_epi64(hi, 32)); } /* of low halves */
/* within groups of 128 bits: the first, or second, 64 of a and of b */
V_INLINE vi vi_unpacklo64(vi a, vi b) { return _mm512_unpacklo_epi64(a, b); }
V_INLINE vi vi_unpackhi64(vi a, vi b) { return _mm512_unpackhi_epi64(a, b); }
/* within groups of four lanes: a0 a2 b0 b2, a1 a3 b1 b3; unpacking brings results back: a0 b0 a1 b1, a2 b2 a3 b3 */
V_INLINE vi vi_evens(vi a, vi b) { return v_bits(_mm512_shuffle_ps(v_from_bits(a), v_from_bits(b), 0x88)); }
V_INLINE vi vi_odds(vi a, vi b) { return v_bits(_mm512_shuffle_ps(v_from_bits(a), v_from_bits(b), 0xdd)); }
V_INLINE vf v_unpacklo(vf a, vf b) { return _mm512_unpacklo_ps(a, b); }
V_INLINE vf v_unpackhi(vf a, vf b) { return _mm512_unpackhi_ps(a, b); }
V_INLINE vm v_top_bit(vi a) { return _mm512_movepi32_mask(a); }
V_INLINE vm vi_ge_u32(vi a, uint32_t t) { return _mm512_cmpge_epu32_mask(a, _mm512_set1_epi32((int32_t)t)); }
/* a * 2^n for whole n, with one rounding: overflow to inf, gradual or flushed underflow */
V_INLINE vf v_scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); }
V_INLINE vf v_scale2_down(vf a, vf n) { return _mm512_scalef_ps(a, n); } /* the same for -152 < n <= 0, a near 1 */
/* lanes whose byte is not 0; reads W bytes */
V_INLINE vm v_bytes(const uint8_t *c) { return _mm_test_epi8_mask(_mm_loadu_si128((const __m128i *)c), _mm_set1_epi8(-1)); }
V_INLINE vm v_all(bool on) { return on ? 0xffff : 0; }
/* W bf16 numbers (bf16.h) as floats and back, rounded to nearest even, NaN made quiet; W bytes as floats */
V_INLINE vf v_widen(__m256i h) { return v_from_bits(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
V_INLINE vf v_load_bf16(const uint16_t *p) { return v_widen(_mm256_loadu_si256((const __m256i *)p)); }
V_INLINE vf v_loadn_bf16(const uint16_t *p, size_t n) { return v_widen(_mm256_maskz_loadu_epi16(v_first(n), p)); }
V_INLINE __m256i v_narrow(vf x) {
    vi b = v_bits(x), high = _mm512_srli_epi32(b, 16);
    vi sum = vi_add(vi_add(b, vi_set(0x7fff)), _mm512_and_si512(high, vi_set(1)));
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(_mm512_srli_epi32(sum, 16), v_isnan(x), high, vi_set(0x40)));
}
V_INLINE void v_store_bf16(uint16_t *p, vf x) { _mm256_storeu_si256((__m256i *)p, v_narrow(x)); }
V_INLINE void v_storen_bf16(uint16_t *p, vf x, size_t n) { _mm256_mask_storeu_epi16(p, v_first(n), v_narrow(x)); }
V_INLINE vf v_load_u8(const uint8_t *p) { return v_from_int(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p))); }

/* 16 partial results: one register */
enum { NW = 1 };
typedef __m256 v8; /* what is left after the first halving */
V_INLINE v8 v_low8(const vf a[NW]) { return _mm512_castps512_ps256(a[0]); }
V_INLINE v8 v_high8(const vf a[NW]) { return _mm512_extractf32x8_ps(a[0], 1); }
/* 16 doubles: two registers; acc += x*x (exact product) */
typedef struct {
    __m512d v[2];
} vd16;
V_INLINE void vd_squares(vd16 *s, const vf x[NW]) {
    __m512d lo = _mm512_cvtps_pd(v_low8(x)), hi = _mm512_cvtps_pd(v_high8(x));
    s->v[0] = _mm512_fmadd_pd(lo, lo, s->v[0]);
    s->v[1] = _mm512_fmadd_pd(hi, hi, s->v[1]);
}
V_INLINE double vd_sum(const vd16 *s) {
    __m512d a = _mm512_add_pd(s->v[0], s->v[1]);
    __m256d b = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m128d c = _mm_add_pd(_mm256_castpd256_pd128(b), _mm256_extractf128_pd(b, 1));
    return _mm_cvtsd_f64(c) + _mm_cvtsd_f64(_mm_unpackhi_pd(c, c));
}

#elif defined(__AVX2__) && defined(__FMA__)
/* ---------------------------------------------------------------- AVX2 + FMA */
enum { W = 8 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm; /* lanes of all ones or all zeros */

V_INLINE __m256i v_first(size_t n) {
    static const int32_t ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const __m256i *)(ones + 8 - n));
}
V_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
V_INLINE void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
V_INLINE void v_stream(float *p, vf x) { _mm256_stream_ps(p, x); }
V_INLINE vf v_loadn(const float *p, size_t n) { return _mm256_maskload_ps(p, v_first(n)); }
V_INLINE vf v_loadn_fill(const float *p, size_t n, vf fill) {
    __m256i m = v_first(n);
    return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m));
}
V_INLINE void v_storen(float *p, vf x, size_t n) { _mm256_maskstore_ps(p, v_first(n), x); }
V_INLINE vf v_set(float x) { return _mm256_set1_ps(x); }
V_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
V_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
V_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
V_INLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
V_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
V_INLINE vf v_maxr(vf a, vf b) { return _mm256_max_ps(a, b); }
V_INLINE vf v_minr(vf a, vf b) { return _mm256_min_ps(a, b); }
V_INLINE vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
V_INLINE vf v_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
V_INLINE vf v_nabs(vf a) { return _mm256_or_ps(a, _mm256_set1_ps(-0.0f)); }
V_INLINE vf v_copysign(vf a, vf s) { return _mm256_or_ps(a, _mm256_and_ps(s, _mm256_set1_ps(-0.0f))); }
V_INLINE vf v_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
V_INLINE vm v_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
V_INLINE vm v_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
V_INLINE vm v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
V_INLINE vm v_ne(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
V_INLINE vm v_isnan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
V_INLINE vm v_and(vm a, vm b) { return _mm256_and_ps(a, b); }
V_INLINE bool v_any(vm a) { return _mm256_movemask_ps(a) != 0; }
V_INLINE bool v_every(vm a) { return _mm256_movemask_ps(a) == 0xff; }
V_INLINE vf v_sel(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
V_INLINE vi v_bits(vf a) { return _mm256_castps_si256(a); }
V_INLINE vf v_from_bits(vi a) { return _mm256_castsi256_ps(a); }
V_INLINE vi vi_set(int32_t x) { return _mm256_set1_epi32(x); }
V_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
V_INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
#define vi_sra(a, bits)   _mm256_srai_epi32(a, bits)
#define vi_shl(a, bits)   _mm256_slli_epi32(a, bits)
V_INLINE vi v_to_int(vf a) { return _mm256_cvtps_epi32(a); }
V_INLINE vf v_from_int(vi a) { return _mm256_cvtepi32_ps(a); }
#define vi_srl(a, bits)   _mm256_srli_epi32(a, bits)
V_INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
V_INLINE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
V_INLINE vi vi_xor3(vi a, vi b, vi c) { return vi_xor(vi_xor(a, b), c); }
V_INLINE vi vi_load64(const uint64_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
V_INLINE vi vi_set64(uint64_t x) { return _mm256_set1_epi64x((int64_t)x); }
V_INLINE vi vi_add64(vi a, vi b) { return _mm256_add_epi64(a, b); }
#define vi_shr64(a, bits) _mm256_srli_epi64(a, bits)
V_INLINE vi vi_mul32(vi a, vi b) { return _mm256_mul_epu32(a, b); }
V_INLINE vi vi_join64(vi lo, vi hi) { return _mm256_blend_epi32(lo, _mm256_slli_epi64(hi, 32), 0xaa); }
V_INLINE vi vi_unpacklo64(vi a, vi b) { return _mm256_unpacklo_epi64(a, b); }
V_INLINE vi vi_unpackhi64(vi a, vi b) { return _mm256_unpackhi_epi64(a, b); }
V_INLINE vi vi_evens(vi a, vi b) { return v_bits(_mm256_shuffle_ps(v_from_bits(a), v_from_bits(b), 0x88)); }
V_INLINE vi vi_odds(vi a, vi b) { return v_bits(_mm256_shuffle_ps(v_from_bits(a), v_from_bits(b), 0xdd)); }
V_INLINE vf v_unpacklo(vf a, vf b) { return _mm256_unpacklo_ps(a, b); }
V_INLINE vf v_unpackhi(vf a, vf b) { return _mm256_unpackhi_ps(a, b); }
V_INLINE vm v_top_bit(vi a) { return _mm256_castsi256_ps(a); } /* blends look at the top bit alone: not for v_and or v_any */
V_INLINE vm vi_ge_u32(vi a, uint32_t t) {
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(a, _mm256_set1_epi32((int32_t)t)), a));
}
/* In two halves, since 2^n alone leaves the exponent range; for 0.5 < a < 2 the first product is exact. */
V_INLINE vf v_scale2(vf a, vf n) {
    vi i = v_to_int(n), h = vi_sra(i, 1), bias = vi_set(127);
    vf f = v_from_bits(vi_shl(vi_add(h, bias), 23)), g = v_from_bits(vi_shl(vi_add(vi_sub(i, h), bias), 23));
    return v_mul(v_mul(a, f), g);
}
V_INLINE vf v_scale2_down(vf a, vf n) { /* 2^(n + 25) and the first product are normal numbers */
    vf f = v_from_bits(vi_shl(vi_add(v_to_int(n), vi_set(127 + 25)), 23));
    return v_mul(v_mul(a, f), v_set(0x1p-25f));
}
V_INLINE vm v_bytes(const uint8_t *c) {
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)c));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(x, _mm256_setzero_si256()));
}
V_INLINE vm v_all(bool on) { return _mm256_castsi256_ps(_mm256_set1_epi32(on ? -1 : 0)); }
V_INLINE vf v_widen(__m128i h) { return v_from_bits(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
V_INLINE vf v_load_bf16(const uint16_t *p) { return v_widen(_mm_loadu_si128((const __m128i *)p)); }
V_INLINE vf v_loadn_bf16(const uint16_t *p, size_t n) {
    uint16_t part[8] = { 0 };
    for (size_t i = 0; i < n; i++) part[i] = p[i];
    return v_load_bf16(part);
}
V_INLINE __m128i v_narrow(vf x) {
    vi b = v_bits(x), high = _mm256_srli_epi32(b, 16);
    vi sum = vi_add(vi_add(b, vi_set(0x7fff)), _mm256_and_si256(high, vi_set(1)));
    vf r = v_sel(v_isnan(x), v_from_bits(_mm256_or_si256(high, vi_set(0x40))), v_from_bits(_mm256_srli_epi32(sum, 16)));
    vi w = v_bits(r);
    return _mm_packus_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}
V_INLINE void v_store_bf16(uint16_t *p, vf x) { _mm_storeu_si128((__m128i *)p, v_narrow(x)); }
V_INLINE void v_storen_bf16(uint16_t *p, vf x, size_t n) {
    uint16_t part[8];
    v_store_bf16(part, x);
    for (size_t i = 0; i < n; i++) p[i] = part[i];
}
V_INLINE vf v_load_u8(const uint8_t *p) { return v_from_int(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p))); }

enum { NW = 2 };
typedef __m256 v8;
V_INLINE v8 v_low8(const vf a[NW]) { return a[0]; }
V_INLINE v8 v_high8(const vf a[NW]) { return a[1]; }
typedef struct {
    __m256d v[4];
} vd16;
V_INLINE void vd_squares(vd16 *s, const vf x[NW]) {
    for (int i = 0; i < 4; i++) {
        __m256d d = _mm256_cvtps_pd(i % 2 ? _mm256_extractf128_ps(x[i / 2], 1) : _mm256_castps256_ps128(x[i / 2]));
        s->v[i] = _mm256_fmadd_pd(d, d, s->v[i]);
    }
}
V_INLINE double vd_sum(const vd16 *s) {
    __m256d b = _mm256_add_pd(_mm256_add_pd(s->v[0], s->v[2]), _mm256_add_pd(s->v[1], s->v[3]));
    __m128d c = _mm_add_pd(_mm256_castpd256_pd128(b), _mm256_extractf128_pd(b, 1));
    return _mm_cvtsd_f64(c) + _mm_cvtsd_f64(_mm_unpackhi_pd(c, c));
}

#else
#error "simd.h: this file needs the flags of an ISA that simd.h knows"
#endif

/* ---------------------------------------------------------------- the same words on every ISA */
V_INLINE vf v_maxn(vf a, vf b) { return v_sel(v_isnan(a), a, v_maxr(a, b)); }
V_INLINE vf v_minn(vf a, vf b) { return v_sel(v_isnan(a), a, v_minr(a, b)); }

/* Asks for the cache line at p; any address will do. For walks that the hardware prefetcher does not follow well. */
V_INLINE void v_prefetch(const float *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

/* Vectors of a range's tail and of its full part through one loop body: n is W except at the end. */
V_INLINE vf v_loadw(const float *p, size_t n) { return n >= W ? v_load(p) : v_loadn(p, n); }
V_INLINE void v_storew(float *p, vf x, size_t n) {
    if (n >= W) v_store(p, x);
    else v_storen(p, x, n);
}

#endif
