/* gemm_avx2.c: matrix products for AVX2, and the registration of the product family at this level. The method is in
 * gemm_body.h, the register tiles are in tile_body.h, the vectors in tile_avx2.h. */
#include "tile_avx2.h"
#include "gemm_body.h"

void fg_kernels_avx2_product(fg_kernels *k) {
    fill_gemm(k);
    fg_kernels_avx2_conv(k);
}
