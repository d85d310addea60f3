/* peak_amx.c: the rate of one thread's AMX tiles with their loads, 2 x 2 tiles out of the first cache, as the kernels use them.
 * On numbers, not zeros: zeros draw less power, and such a peak is one that no kernel can reach. */
#include "product.h"
#include "amx_tiles.h"

double fg_peak_flops_amx(double seconds) {
    enum { STEPS = 20000 };
    uint16_t data[4][TILE] __attribute__((aligned(64)));
    for (int i = 0; i < 4 * TILE; i++)
        data[i / TILE][i % TILE] = (uint16_t)(0x3f80 + i % 61 + (i % 2 << 15)); /* 1..1.5, -1..-1.5 */
    double best = 0, end = fg_clock_seconds() + seconds;
    fg_amx_enter();
    tile_fence();
    do {
        tile_zero(0);
        tile_zero(1);
        tile_zero(2);
        tile_zero(3);
        double t = fg_clock_seconds();
        for (int k = 0; k < STEPS; k++) {
            tile_load(4, data[0], 64);
            tile_load(6, data[2], 64);
            tile_dp(0, 4, 6);
            tile_load(7, data[3], 64);
            tile_dp(1, 4, 7);
            tile_load(5, data[1], 64);
            tile_dp(2, 5, 6);
            tile_dp(3, 5, 7);
        }
        t = fg_clock_seconds() - t;
        double rate = 4.0 * 2 * 16 * 16 * 32 * STEPS / t;
        if (rate > best) best = rate;
    } while (fg_clock_seconds() < end);
    fg_amx_leave();
    return best;
}
