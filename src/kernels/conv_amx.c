/* conv_amx.c: bf16 convolutions on AMX, and the registration of the product family at this level. FWD and DX are in
 * conv_amx_body.h, DW in conv_amx_dw_body.h, the tile operations in amx_tiles.h, packing in amx_blocks.h. */
#include "product.h"
#include "conv_amx_body.h"
#include "conv_amx_dw_body.h"

void fg_kernels_amx_product(fg_kernels *k) { fg_conv_prefer(k, &amx_conv); }
