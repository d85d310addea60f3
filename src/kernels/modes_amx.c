/* modes_amx.c: the state of a thread that AMX kernels need, for the hooks of dispatch.c. Tile registers exist once a
 * configuration is loaded (palette 1: eight tiles, here all of 16 rows x 64 bytes); releasing them on the way out leaves the
 * host's thread as it was and its context switches cheap. The calling convention calls tiles and their configuration
 * volatile, so nothing of the host's has to be kept. cpu.c has asked the kernel's permission for the process. */
#include "kernels.h"

#include <immintrin.h>

#define EIGHT(x)                                                                                                                 \
    { x, x, x, x, x, x, x, x }
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
} config = { .palette = 1, .bytes_per_row = EIGHT(64), .rows = EIGHT(16) };

void fg_amx_enter(void) { _tile_loadconfig(&config); }
void fg_amx_leave(void) { _tile_release(); }
