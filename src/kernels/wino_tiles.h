/* wino_tiles.h: the products of the Winograd kernels out of the register tiles of product.h; included by conv_wino_avx2.c
 * and conv_wino_avx512.c, which define MR, NR, TILES and ISA_LEVEL, before conv_wino_body.h. */
#ifndef FG_WINO_TILES_H
#define FG_WINO_TILES_H

#include "product.h"
#include "simd.h"

typedef struct product_run {
    const float *a, *b;
    int64_t k;
    bool starts; /* a sum of its own; the others go on with the sum before them */
} product_run;

/* c[rows][NR] += part */
static void add_part(float *c, const float *part, int64_t rows) {
    for (int64_t i = 0; i < rows * NR; i += W) v_store(c + i, v_add(v_load(c + i), v_load(part + i)));
}

/* c[rows][NR] = (or +=) the sums a[rows][k] b[k][NR] of the runs, of which `cols` columns count. Long products add up SUMS sums
 * before they meet c. */
static void mul_rows(const product_run *runs, int n, int64_t lda, int64_t rows, float *c, int64_t cols, bool add) {
    enum { SUMS = 4 };
    float part[MR * NR];
    int64_t tiles = (rows + MR - 1) / MR, crow[MR];
    fg_run r[MAX_RUNS];
    for (int64_t i = 0; i < MR; i++) crow[i] = i * NR;
    for (int i = 0; i < n; i++) r[i] = (fg_run){ runs[i].a, runs[i].b, runs[i].k };
    for (int64_t ti = 0; ti < tiles; ti++) {
        int64_t r0 = rows * ti / tiles, mr = rows * (ti + 1) / tiles - r0;
        float *to = c + r0 * NR;
        fg_tile_args t = { .sa = lda, .aoff = r0 * lda, .ldb = NR, .c = to, .crow = crow, .cols = (int)cols, .add = add };
        int sums = 0;
        for (int i = 0; i < n; i += (int)t.nruns, sums++) {
            if (sums && sums % SUMS == 0) { /* a new part; the first is c itself */
                if (t.c == part) add_part(to, part, mr);
                t.c = part, t.add = false;
            }
            t.runs = r + i;
            for (t.nruns = 1; i + t.nruns < n && !runs[i + t.nruns].starts; t.nruns++) {}
            TILES[FG_TILE_ROWS][cols > W][mr - 1](&t);
            t.add = true;
        }
        if (t.c == part) add_part(to, part, mr);
    }
}

/* c[rows][NR] = (or +=) a^T b with a[k][rows], b[k][NR], of which `cols` columns count, in sums of `chain` terms, which are
 * added up before they meet c. */
static void mul_columns(const float *a, int64_t lda, const float *b, int64_t k, int64_t chain, int64_t rows, float *c,
                        int64_t cols, bool add) {
    float part[MR * NR];
    int64_t tiles = (rows + MR - 1) / MR, sums = (k + chain - 1) / chain, crow[MR];
    bool apart = add && sums > 1;
    for (int64_t i = 0; i < MR; i++) crow[i] = i * NR;
    for (int64_t ti = 0; ti < tiles; ti++) {
        int64_t r0 = rows * ti / tiles, mr = rows * (ti + 1) / tiles - r0;
        fg_run run;
        fg_tile_args t = { .runs = &run, .nruns = 1, .sa = lda, .aoff = r0, .ldb = NR, .crow = crow, .cols = (int)cols };
        float *to = c + r0 * NR;
        t.c = apart ? part : to;
        t.add = add && !apart;
        for (int64_t i = 0; i < sums; i++) {
            int64_t k0 = k * i / sums, k1 = k * (i + 1) / sums;
            run = (fg_run){ a + k0 * lda, b + k0 * NR, k1 - k0 };
            TILES[FG_TILE_COLS][cols > W][mr - 1](&t);
            t.add = true;
        }
        if (apart) add_part(to, part, mr);
    }
}

#endif
