/* body_convert.h: f32 from and to bf16, f32 from bytes, over simd.h; included by elementwise_<isa>.c. All three are bound by
 * memory: the rounding is integer arithmetic on the bits (bf16.h), a handful of operations per vector. AVX512-BF16's
 * vcvtneps2bf16 would be one, but takes denormals for zero, which the reference does not. */
#include "kernels.h"
#include "simd.h"

static void to_bf16(const float *x, uint16_t *y, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) v_store_bf16(y + i, v_load(x + i));
    if (i < n) v_storen_bf16(y + i, v_loadn(x + i, n - i), n - i);
}

static void from_bf16(const uint16_t *x, float *y, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) v_store(y + i, v_load_bf16(x + i));
    if (i < n) v_storen(y + i, v_loadn_bf16(x + i, n - i), n - i);
}

static void from_u8(const uint8_t *x, float *y, size_t n) {
    size_t i = 0;
    for (; i + W <= n; i += W) v_store(y + i, v_load_u8(x + i));
    for (; i < n; i++) y[i] = (float)x[i];
}

static void register_convert(fg_kernels *k) {
    k->to_bf16 = to_bf16;
    k->from_bf16 = from_bf16;
    k->from_u8 = from_u8;
}
