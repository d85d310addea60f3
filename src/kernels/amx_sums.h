/* amx_sums.h: sums [32][32] in four tiles, and their delayed way to memory; shared by convolutions and products.
 *
 *                    B 6     7                one step: 2 tiles of A, 2 of B, 4 products
 *            A 4   | 0  |  1  |
 *              5   | 2  |  3  |               sums with at most 16 rows or columns use half the tiles
 *
 * A tile just stored is slow to read, so finished sums wait in one of two buffers and are written out, two rows a step,
 * during the next sums. When products go on for long the next store of a tile is slow too, unless some tile is stored in
 * between: one is, every 8 steps. */
#ifndef FG_AMX_SUMS_H
#define FG_AMX_SUMS_H

#include "amx_blocks.h"

#if defined(FG_AMX_STANDIN)
#define AMX_LEVEL FG_ISA_SCALAR
#else
#define AMX_LEVEL FG_ISA_AMX
#endif
#define AMX_INLINE static inline __attribute__((always_inline))

enum { STORE_EVERY = 8, BLOCK_BYTES = BLOCK * 2, SUMS_BYTES = 2 * 32 * 32 * 4 + 1024 + 128 };

typedef struct amx_sums {
    float *buffer[2];  /* [32][32] each */
    float *bias_tail;  /* [32]: the bias of the last, incomplete block of outputs, or of none */
    char *spill;       /* a tile stored for the sake of storing */
    const float *bias; /* as the caller gave it, or NULL */
    block_out due;     /* the sums that wait to be written, from row `next` on */
    int turn, next;
} amx_sums;

/* Takes SUMS_BYTES of scratch; bias [outputs] or NULL. */
static amx_sums sums_open(void *scratch, const float *bias, int64_t outputs) {
    float *f = scratch;
    amx_sums s = { .buffer = { f, f + 1024 }, .bias_tail = f + 2048, .spill = (char *)(f + 2080), .bias = bias };
    for (int c = 0; c < 32 && bias; c++) s.bias_tail[c] = c < outputs % 32 ? bias[outputs / 32 * 32 + c] : 0;
    return s;
}

AMX_INLINE void sums_write(amx_sums *s, int rows) {
    for (int i = 0; i < rows && s->next < s->due.rows; i++) block_out_row(&s->due, s->next++);
}

/* `out`, for outputs from `first` on, is due: written during the next sums, or by sums_write. tanh and its like are applied
 * to the sums at once: they cost more than the wait. */
static void sums_due(amx_sums *s, block_out out, int64_t first) {
    out.bias = !s->bias ? NULL : out.cols == 32 ? s->bias + first : s->bias_tail;
    if (!act_is_narrow(out.act)) {
        fg_kernels_for(AMX_LEVEL)->bias_act(s->buffer[s->turn], out.bias, out.rows, 32, out.act, out.slope);
        out.bias = NULL, out.act = FG_ACT_NONE;
    }
    out.sums = s->buffer[s->turn];
    s->due = out, s->next = 0;
}

AMX_INLINE void sums_zero(const int mt, const int nt) {
    tile_zero(0);
    if (nt > 1) tile_zero(1);
    if (mt > 1) tile_zero(2);
    if (mt > 1 && nt > 1) tile_zero(3);
}

/* `len` blocks of A and B, one after another; `since` counts steps from the last store on */
AMX_INLINE void sums_run(const int mt, const int nt, amx_sums *s, const uint16_t *a, const uint16_t *b, int64_t len, int *since) {
    for (const uint16_t *end = a + len * BLOCK; a < end; a += BLOCK, b += BLOCK) {
        tile_load(4, a, 64);
        tile_load(6, b, 64);
        tile_dp(0, 4, 6);
        if (nt > 1) tile_load(7, b + TILE, 64);
        if (nt > 1) tile_dp(1, 4, 7);
        if (mt > 1) tile_load(5, a + TILE, 64);
        if (mt > 1) tile_dp(2, 5, 6);
        if (mt > 1 && nt > 1) tile_dp(3, 5, 7);
        if (++*since % STORE_EVERY == 0) tile_store(4, s->spill, 64);
        sums_write(s, 2);
    }
}

/* Sums are complete: what was due is written, and the tiles go to the buffer that is free. */
AMX_INLINE void sums_store(const int mt, const int nt, amx_sums *s) {
    sums_write(s, 32);
    float *d = s->buffer[s->turn ^= 1];
    tile_store(0, d, 128);
    if (nt > 1) tile_store(1, d + 16, 128);
    if (mt > 1) tile_store(2, d + 512, 128);
    if (mt > 1 && nt > 1) tile_store(3, d + 528, 128);
}

#endif
