/* tile_avx2.c: the micro-kernels of tile_body.h for AVX2 and FMA, 1 to 6 rows of one or two vectors. Twelve sums, two
 * vectors of B and one broadcast fill 15 of the 16 registers. */
#include "tile_avx2.h"
#include "tile_body.h"

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
COPYING_TILE(5)
COPYING_TILE(6)

#define LIST(k, v)                                                                                                               \
    { k##_1_##v, k##_2_##v, k##_3_##v, k##_4_##v, k##_5_##v, k##_6_##v }

const fg_tile_fn fg_tiles_avx2[FG_TILE_KINDS][2][6] = {
    { LIST(panel, 1), LIST(panel, 2) },
    { LIST(rows, 1), LIST(rows, 2) },
    { LIST(cols, 1), LIST(cols, 2) },
    { LIST(taken, 1), LIST(taken, 2) },
};

#define COPIES(k, v)                                                                                                             \
    { k##_copy_5_##v, k##_copy_6_##v }
const fg_tile_fn fg_copying_tiles_avx2[2][2][2] = {
    { COPIES(panel, 1), COPIES(panel, 2) },
    { COPIES(cols, 1), COPIES(cols, 2) },
};
