/* conv_wino_avx2.c: Winograd convolutions for AVX2; the method is in conv_wino_body.h and conv_wino_dw_body.h. */
#include "kernels.h"

#ifdef FG_HAVE_X86

enum { MR = 6, NR = 16, PACK_ROWS = 16, MAX_RUNS = 128, CHAIN = 32, CHAIN_FIVE = 16, TILE_BLOCK = 36, BLOCK_TILES = 48 };
#define TWO_LEVELS 0 /* 16 registers hold one level */
#define ISA_LEVEL  FG_ISA_AVX2
#define TILES      fg_tiles_avx2

#include "wino_tiles.h"
#include "conv_wino_body.h"
#include "conv_wino_fresh_body.h"
#include "conv_wino_dw_body.h"
#include "conv_wino_dw_rows_body.h"

void fg_kernels_avx2_wino(fg_kernels *k) { fg_conv_prefer(k, &winograd); }

#endif
