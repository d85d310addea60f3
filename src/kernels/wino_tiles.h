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

#if TWO_LEVELS
/* One half of the registers holds the sums that grow, the other the totals of the sums before, so that sums stay short without
 * a visit of memory for each: 97% of the FMA peak with sums of 32 terms, where tiles of MR rows that add to memory reach
 * 87%. Totals of SUMS meet c. Seven rows would fit, but gcc spills. */
enum { SR = 6 };
#define EACH(stmt) UNROLL for (int i = 0; i < mr; i++) UNROLL for (int v = 0; v < 2; v++) stmt
INLINE void two_levels(const product_run *runs, int n, int64_t lda, int64_t first, int64_t ahead, float *c, bool add, int mr,
                       bool columns) {
    enum { SUMS = 8 };
    vf sum[SR][2], total[SR][2];
    int sums = 0;
    EACH(sum[i][v] = total[i][v] = v_zero();)
    for (const product_run *r = runs, *end = runs + n; r < end; r++) {
        if (r->starts && r > runs) {
            EACH({
                total[i][v] = v_add(total[i][v], sum[i][v]);
                sum[i][v] = v_zero();
            })
            if (++sums == SUMS) {
                EACH({
                    float *to = c + i * NR + v * W;
                    v_store(to, add ? v_add(v_load(to), total[i][v]) : total[i][v]);
                    total[i][v] = v_zero();
                })
                sums = 0, add = true;
            }
        }
        const float *b = r->b, *next = b + ahead, *q[(SR + 2) / 3];
        UNROLL
        for (int g = 0; g < (mr + 2) / 3; g++) q[g] = r->a + first + (columns ? 0 : 3 * g * lda);
        for (int64_t k = 0; k < r->k; k++, b += NR, next += NR) {
            vf b0 = v_load(b), b1 = v_load(b + W);
            v_fetch2(next);
            v_fetch2(next + W);
            UNROLL
            for (int i = 0; i < mr; i++) {
                vf a = v_set(columns ? q[0][i] : q[i / 3][(i % 3) * lda + k]);
                sum[i][0] = v_fma(a, b0, sum[i][0]);
                sum[i][1] = v_fma(a, b1, sum[i][1]);
            }
            if (columns) q[0] += lda;
        }
    }
    EACH({
        float *to = c + i * NR + v * W;
        vf all = v_add(total[i][v], sum[i][v]);
        v_store(to, add ? v_add(v_load(to), all) : all);
    })
}
#undef EACH
typedef void (*two_levels_fn)(const product_run *runs, int n, int64_t lda, int64_t first, int64_t ahead, float *c, bool add);
#define TWO_LEVELS_OF(mr)                                                                                                        \
    static void two_rows_##mr(const product_run *r, int n, int64_t lda, int64_t first, int64_t ahead, float *c, bool add) {      \
        two_levels(r, n, lda, first, ahead, c, add, mr, false);                                                                  \
    }                                                                                                                            \
    static void two_columns_##mr(const product_run *r, int n, int64_t lda, int64_t first, int64_t ahead, float *c, bool add) {   \
        two_levels(r, n, lda, first, ahead, c, add, mr, true);                                                                   \
    }
TWO_LEVELS_OF(1)
TWO_LEVELS_OF(2)
TWO_LEVELS_OF(3)
TWO_LEVELS_OF(4)
TWO_LEVELS_OF(5)
TWO_LEVELS_OF(6)
#undef TWO_LEVELS_OF
static const two_levels_fn two_rows[SR] = { two_rows_1, two_rows_2, two_rows_3, two_rows_4, two_rows_5, two_rows_6 };
static const two_levels_fn two_columns[SR] = { two_columns_1, two_columns_2, two_columns_3,
                                               two_columns_4, two_columns_5, two_columns_6 };
#endif

/* c[rows][NR] += part */
static void add_part(float *c, const float *part, int64_t rows) {
    for (int64_t i = 0; i < rows * NR; i += W) v_store(c + i, v_add(v_load(c + i), v_load(part + i)));
}

static int64_t tile_count(int64_t rows, int64_t most) { return (rows + most - 1) / most; }

/* c[rows][NR] = (or +=) the sums a[rows][k] b[k][NR] of the runs, of which `cols` columns count. The first tile fetches what
 * lies `ahead` floats behind b to the second-level cache. Long products add up SUMS sums before they meet c. */
static void mul_rows(const product_run *runs, int n, int64_t lda, int64_t ahead, int64_t rows, float *c, int64_t cols, bool add) {
#if TWO_LEVELS
    if (cols > W) {
        int64_t tiles = tile_count(rows, SR);
        for (int64_t ti = 0; ti < tiles; ti++) {
            int64_t r0 = rows * ti / tiles, mr = rows * (ti + 1) / tiles - r0;
            two_rows[mr - 1](runs, n, lda, r0 * lda, ti ? 0 : ahead, c + r0 * NR, add);
        }
        return;
    }
#endif
    enum { SUMS = 4 };
    float part[MR * NR];
    int64_t tiles = tile_count(rows, MR), crow[MR];
    fg_run r[MAX_RUNS];
    for (int64_t i = 0; i < MR; i++) crow[i] = i * NR;
    for (int i = 0; i < n; i++) r[i] = (fg_run){ runs[i].a, runs[i].b, runs[i].k };
    for (int64_t ti = 0; ti < tiles; ti++) {
        int64_t r0 = rows * ti / tiles, mr = rows * (ti + 1) / tiles - r0;
        float *to = c + r0 * NR;
        fg_tile_args t = {
            .sa = lda, .aoff = r0 * lda, .ldb = NR, .ahead = ti ? 0 : ahead, .c = to, .crow = crow, .cols = (int)cols, .add = add
        };
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
    int64_t sums = (k + chain - 1) / chain;
#if TWO_LEVELS
    if (cols > W && sums <= MAX_RUNS) {
        product_run runs[MAX_RUNS];
        for (int64_t i = 0; i < sums; i++) {
            int64_t k0 = k * i / sums, k1 = k * (i + 1) / sums;
            runs[i] = (product_run){ a + k0 * lda, b + k0 * NR, k1 - k0, true };
        }
        int64_t tiles = tile_count(rows, SR);
        for (int64_t ti = 0; ti < tiles; ti++) {
            int64_t r0 = rows * ti / tiles, mr = rows * (ti + 1) / tiles - r0;
            two_columns[mr - 1](runs, (int)sums, lda, r0, 0, c + r0 * NR, add);
        }
        return;
    }
#endif
    float part[MR * NR];
    int64_t tiles = tile_count(rows, MR), crow[MR];
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
