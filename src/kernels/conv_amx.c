/* conv_amx.c: bf16 convolutions on AMX. FWD and DX are in conv_amx_body.h, DW in conv_amx_dw_body.h, the tile operations in
 * amx_tiles.h, packing in amx_blocks.h. */
#include "product.h"
#include "conv_amx_body.h"
#include "conv_amx_dw_body.h"

void fg_kernels_amx_conv(fg_kernels *k) { fg_conv_prefer(k, &amx_conv); }
