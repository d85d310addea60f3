/* tile_avx512.c: the micro-kernels of tile_body.h for AVX-512, 1 to 14 rows of one or two vectors. Two load ports, 28
 * multiply-adds a step: 2 loads of B and 14 broadcasts of A leave the loads idle a third of the time. */
#include "tile_avx512.h"
#include "tile_body.h"

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)
COPYING_TILE(11)
COPYING_TILE(12)
COPYING_TILE(13)
COPYING_TILE(14)

#define LIST(k, v)                                                                                                               \
    {                                                                                                                            \
        k##_1_##v, k##_2_##v, k##_3_##v, k##_4_##v, k##_5_##v, k##_6_##v, k##_7_##v, k##_8_##v, k##_9_##v, k##_10_##v,           \
            k##_11_##v, k##_12_##v, k##_13_##v, k##_14_##v                                                                       \
    }

const fg_tile_fn fg_tiles_avx512[FG_TILE_KINDS][2][14] = {
    { LIST(panel, 1), LIST(panel, 2) },
    { LIST(rows, 1), LIST(rows, 2) },
    { LIST(cols, 1), LIST(cols, 2) },
    { LIST(taken, 1), LIST(taken, 2) },
};

#define COPIES(k, v)                                                                                                             \
    { k##_copy_11_##v, k##_copy_12_##v, k##_copy_13_##v, k##_copy_14_##v }
const fg_tile_fn fg_copying_tiles_avx512[2][2][4] = {
    { COPIES(panel, 1), COPIES(panel, 2) },
    { COPIES(cols, 1), COPIES(cols, 2) },
};
