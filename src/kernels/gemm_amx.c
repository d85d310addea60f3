/* gemm_amx.c: bf16 matrix products on AMX, and the registration of the product family at this level. The method is in
 * gemm_amx_body.h, the tile operations in amx_tiles.h, packing in amx_blocks.h. */
#include "product.h"
#include "gemm_amx_body.h"

void fg_kernels_amx_product(fg_kernels *k) {
    fg_gemm16_prefer(k, &amx_gemm);
    fg_kernels_amx_conv(k);
}
