/* amx_tiles.h: the tile operations that the bf16 kernels are written in, and portable stand-ins for them.
 *
 * There are eight tile registers of 16 rows x 64 bytes. One instruction multiplies bf16 and adds to f32:
 *
 *       A [16 rows m][16 pairs p][2]      B [16 pairs p][16 columns n][2]      C [16 rows m][16 columns n]
 *
 *       C[m][n] += sum over p of A[m][p][0] B[p][n][0]  +  sum over p of A[m][p][1] B[p][n][1]
 *
 * A row of A is 32 values of the reduction as they lie in memory. B wants neighbours of the reduction side by side
 * (Intel calls this VNNI), so B is always packed; amx_blocks.h does that.
 *
 * In *_amx.c the operations are instructions, and a tile's number must be a literal. With FG_AMX_STANDIN they are plain C
 * with the same arithmetic (the manual's pseudocode of TDPBF16PS: two running sums a column, each step rounded once,
 * denormals taken and left as zero), so that packing, edges and order of the kernels are tested on every machine. The
 * stand-ins are for tests: no file of the library defines FG_AMX_STANDIN.
 *
 * Before its tiles are used a thread must have loaded the configuration: modes_amx.c, through the hooks of dispatch.c. */
#ifndef FG_AMX_TILES_H
#define FG_AMX_TILES_H

#include <stdint.h>

/* elements of a tile of bf16, and of a block: 32 rows x 32 values, or two tiles; floats of a tile of sums */
enum { TILE = 512, BLOCK = 2 * TILE, SUMS = 256 };

#ifndef FG_AMX_STANDIN
#include <immintrin.h>

#define tile_zero(t)             _tile_zero(t)
#define tile_load(t, p, stride)  _tile_loadd(t, p, stride)
#define tile_store(t, p, stride) _tile_stored(t, p, stride)
#define tile_dp(c, a, b)         _tile_dpbf16ps(c, a, b)

/* gcc 12 does not know that a tile load reads memory: to be called between writing memory and loading it. */
static inline void tile_fence(void) { __asm__ volatile("" ::: "memory"); }

#else
#include "bf16.h"

#include <float.h>
#include <math.h>
#include <string.h>

static _Thread_local unsigned char tile_file[8][16][64];

static inline void tile_fence(void) {}
static void tile_zero(int t) { memset(tile_file[t], 0, sizeof tile_file[t]); }
static void tile_load(int t, const void *p, int64_t stride) {
    for (int i = 0; i < 16; i++) memcpy(tile_file[t][i], (const char *)p + i * stride, 64);
}
static void tile_store(int t, void *p, int64_t stride) {
    for (int i = 0; i < 16; i++) memcpy((char *)p + i * stride, tile_file[t][i], 64);
}

/* Checked access by access, a product would take five times as long under the sanitizers, for arrays of constant size. */
#define TILE_PLAIN __attribute__((no_sanitize("address"), no_sanitize("undefined")))

TILE_PLAIN static inline float tile_flush(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }
TILE_PLAIN static inline float tile_widen(uint16_t b) { return tile_flush(fg_bf16_to_float(b)); }
/* a*b + c rounded once: a product of two bf16 and its sum with a float are wide enough in double to be rounded again */
TILE_PLAIN static inline float tile_fma(float a, float b, float c) {
    return tile_flush((float)((double)a * (double)b + (double)c));
}

TILE_PLAIN static void tile_dp(int c, int a, int b) {
    float right[2][16][16], sum[16];
    uint16_t pairs[16][2];
    for (int p = 0; p < 16; p++) {
        memcpy(pairs, tile_file[b][p], 64);
        for (int n = 0; n < 16; n++) right[0][p][n] = tile_widen(pairs[n][0]), right[1][p][n] = tile_widen(pairs[n][1]);
    }
    for (int m = 0; m < 16; m++) {
        float part[2][16] = { { 0 } };
        memcpy(pairs, tile_file[a][m], 64);
        for (int p = 0; p < 16; p++)
            for (int h = 0; h < 2; h++) {
                float left = tile_widen(pairs[p][h]);
                for (int n = 0; n < 16; n++) part[h][n] = tile_fma(left, right[h][p][n], part[h][n]);
            }
        memcpy(sum, tile_file[c][m], 64);
        for (int n = 0; n < 16; n++) sum[n] = tile_flush(tile_flush(sum[n]) + tile_flush(part[0][n] + part[1][n]));
        memcpy(tile_file[c][m], sum, 64);
    }
}
#endif

#endif
