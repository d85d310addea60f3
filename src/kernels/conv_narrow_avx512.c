/* conv_narrow_avx512.c: convolution with few channels on a side for AVX-512. FWD and DX are in conv_narrow_body.h, DW in
 * conv_narrow_dw_body.h, the register tiles in tile_body.h, the vectors in tile_avx512.h but for two words that only the
 * gather of DX needs. */
#include "tile_avx512.h"

/* lanes first..end-1 */
static inline vmask v_mask_span(int64_t first, int64_t end) { return (vmask)(v_mask(end) & ~v_mask(first)); }

/* a0 b0 a1 b1 ... in lo and then hi */
static inline void v_pairs(vf a, vf b, vf *lo, vf *hi) {
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *lo = _mm512_permutex2var_ps(a, first, b);
    *hi = _mm512_permutex2var_ps(a, _mm512_add_epi32(first, _mm512_set1_epi32(8)), b);
}

#include "conv_narrow_body.h"
#include "conv_narrow_dw_body.h"

const fg_conv_kernel fg_conv_narrow_avx512 = { .name = "narrow",
                                               .isa = ISA_LEVEL,
                                               .fits = narrow_fits,
                                               .plan = narrow_plan,
                                               .pack = narrow_pack,
                                               .run = narrow_run,
                                               .finish = narrow_finish };
