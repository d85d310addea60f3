/* conv_narrow_avx2.c: convolution with few channels on a side for AVX2. FWD and DX are in conv_narrow_body.h, DW in
 * conv_narrow_dw_body.h, the register tiles in tile_body.h, the vectors in tile_avx2.h but for two words that only the
 * gather of DX needs. */
#include "tile_avx2.h"

/* lanes first..end-1 */
static inline vmask v_mask_span(int64_t first, int64_t end) { return _mm256_andnot_si256(v_mask(first), v_mask(end)); }

/* a0 b0 a1 b1 ... in lo and then hi */
static inline void v_pairs(vf a, vf b, vf *lo, vf *hi) {
    vf even = _mm256_unpacklo_ps(a, b), odd = _mm256_unpackhi_ps(a, b);
    *lo = _mm256_permute2f128_ps(even, odd, 0x20);
    *hi = _mm256_permute2f128_ps(even, odd, 0x31);
}

#include "conv_narrow_body.h"
#include "conv_narrow_dw_body.h"

const fg_conv_kernel fg_conv_narrow_avx2 = { .name = "narrow",
                                             .isa = ISA_LEVEL,
                                             .fits = narrow_fits,
                                             .plan = narrow_plan,
                                             .pack = narrow_pack,
                                             .run = narrow_run,
                                             .finish = narrow_finish };
