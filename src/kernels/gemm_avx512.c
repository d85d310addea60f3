/* gemm_avx512.c: matrix products for AVX-512, and the registration of the product family at this level. The method is in
 * gemm_body.h, the register tiles are in tile_body.h, the vectors in tile_avx512.h. */
#include "tile_avx512.h"
#include "gemm_body.h"

void fg_kernels_avx512_product(fg_kernels *k) {
    fill_gemm(k);
    fg_kernels_avx512_conv(k);
}
