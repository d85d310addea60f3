/* wino_tiles.h: the products of the Winograd kernels out of the register tiles of product.h; included by conv_wino_avx2.c
 * and conv_wino_avx512.c, which define MR, NR, TILES and ISA_LEVEL, before conv_wino_body.h. */
#ifndef FG_WINO_TILES_H
#define FG_WINO_TILES_H

#include "product.h"
#include "simd_math.h"

typedef struct product_run {
    const float *a, *b;
    int64_t k;
    bool starts; /* a sum of its own; the others go on with the sum before them */
} product_run;

#if TWO_LEVELS
/* One half of the registers holds the sums that grow, the other the totals of the sums before, so that sums stay short without
 * a visit of memory for each: 97% of the FMA peak with sums of 32 terms, where tiles of MR rows that add to memory reach
 * 87%. Totals of SUMS meet c. Seven rows would fit, but gcc spills. */
enum { SR = 6, SR_NARROW = 8 /* where one vector holds the columns */ };
#define EACH(stmt) UNROLL for (int i = 0; i < mr; i++) UNROLL for (int v = 0; v < nv; v++) stmt
INLINE void two_levels(const product_run *runs, int n, int64_t lda, int64_t first, int64_t ahead, float *c, bool add, int mr,
                       int nv, bool columns) {
    enum { SUMS = 8 };
    vf sum[SR_NARROW][2], total[SR_NARROW][2];
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
        const float *b = r->b, *next = b + ahead, *q[(SR_NARROW + 2) / 3];
        UNROLL
        for (int g = 0; g < (mr + 2) / 3; g++) q[g] = r->a + first + (columns ? 0 : 3 * g * lda);
        for (int64_t k = 0; k < r->k; k++, b += NR, next += NR) {
            vf row[2];
            UNROLL
            for (int v = 0; v < nv; v++) {
                row[v] = v_load(b + v * W);
                v_fetch2(next + v * W);
            }
            UNROLL
            for (int i = 0; i < mr; i++) {
                vf a = v_set(columns ? q[0][i] : q[i / 3][(i % 3) * lda + k]);
                UNROLL
                for (int v = 0; v < nv; v++) sum[i][v] = v_fma(a, row[v], sum[i][v]);
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
#define TWO_LEVELS_OF(mr, nv)                                                                                                    \
    static void two_rows_##nv##_##mr(const product_run *r, int n, int64_t lda, int64_t first, int64_t ahead, float *c,           \
                                     bool add) {                                                                                 \
        two_levels(r, n, lda, first, ahead, c, add, mr, nv, false);                                                              \
    }                                                                                                                            \
    static void two_columns_##nv##_##mr(const product_run *r, int n, int64_t lda, int64_t first, int64_t ahead, float *c,        \
                                        bool add) {                                                                              \
        two_levels(r, n, lda, first, ahead, c, add, mr, nv, true);                                                               \
    }
#define SIX(X, nv) X(1, nv) X(2, nv) X(3, nv) X(4, nv) X(5, nv) X(6, nv)
SIX(TWO_LEVELS_OF, 2)
SIX(TWO_LEVELS_OF, 1)
TWO_LEVELS_OF(7, 1)
TWO_LEVELS_OF(8, 1)
#define ROWS_OF(mr, nv)    two_rows_##nv##_##mr,
#define COLUMNS_OF(mr, nv) two_columns_##nv##_##mr,
/* [vectors - 1][rows - 1] */
static const two_levels_fn two_rows[2][SR_NARROW] = { { SIX(ROWS_OF, 1) ROWS_OF(7, 1) ROWS_OF(8, 1) }, { SIX(ROWS_OF, 2) } };
static const two_levels_fn two_columns[2][SR_NARROW] = { { SIX(COLUMNS_OF, 1) COLUMNS_OF(7, 1) COLUMNS_OF(8, 1) },
                                                         { SIX(COLUMNS_OF, 2) } };
#undef TWO_LEVELS_OF
#undef ROWS_OF
#undef COLUMNS_OF
#undef SIX
#else
/* c[rows][NR] += part */
static void add_part(float *c, const float *part, int64_t rows) {
    for (int64_t i = 0; i < rows * NR; i += W) v_store(c + i, v_add(v_load(c + i), v_load(part + i)));
}
#endif

static int64_t tile_count(int64_t rows, int64_t most) { return (rows + most - 1) / most; }

static int64_t run_length(const product_run *runs, int n) {
    int64_t k = 0;
    for (int i = 0; i < n; i++) k += runs[i].k;
    return k;
}

/* c[rows][NR] = (or +=) the sums a[rows][k] b[k][NR] of the runs, of which `cols` columns count. The first `fetching` tiles
 * fetch what lies `ahead` floats behind b to the second-level cache, a stretch as long as b's k rows each. Long products add up
 * SUMS sums before they meet c. */
static void mul_rows(const product_run *runs, int n, int64_t lda, int64_t ahead, int fetching, int64_t rows, float *c,
                     int64_t cols, bool add) {
    int64_t stretch = fetching > 1 ? run_length(runs, n) * NR : 0;
#if TWO_LEVELS
    bool wide = cols > W;
    int64_t parts = tile_count(rows, wide ? SR : SR_NARROW);
    for (int64_t ti = 0; ti < parts; ti++) {
        int64_t r0 = rows * ti / parts, mr = rows * (ti + 1) / parts - r0;
        two_rows[wide][mr - 1](runs, n, lda, r0 * lda, ti < fetching ? ahead + ti * stretch : 0, c + r0 * NR, add);
    }
#else
    enum { SUMS = 4 };
    float part[MR * NR];
    int64_t tiles = tile_count(rows, MR), crow[MR];
    fg_run r[MAX_RUNS];
    for (int64_t i = 0; i < MR; i++) crow[i] = i * NR;
    for (int i = 0; i < n; i++) r[i] = (fg_run){ runs[i].a, runs[i].b, runs[i].k };
    for (int64_t ti = 0; ti < tiles; ti++) {
        int64_t r0 = rows * ti / tiles, mr = rows * (ti + 1) / tiles - r0;
        float *to = c + r0 * NR;
        fg_tile_args t = { .sa = lda,
                           .aoff = r0 * lda,
                           .ldb = NR,
                           .ahead = ti < fetching ? ahead + ti * stretch : 0,
                           .c = to,
                           .crow = crow,
                           .cols = (int)cols,
                           .add = add };
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
#endif
}

/* c[rows][NR] = (or +=) the runs' a^T b with a[k][rows], b[k][NR], of which `cols` columns count: a sum for each run, which are
 * added up before they meet c. */
static void mul_column_runs(const product_run *runs, int n, int64_t lda, int64_t rows, float *c, int64_t cols, bool add) {
#if TWO_LEVELS
    bool wide = cols > W;
    int64_t parts = tile_count(rows, wide ? SR : SR_NARROW);
    for (int64_t ti = 0; ti < parts; ti++) {
        int64_t r0 = rows * ti / parts, mr = rows * (ti + 1) / parts - r0;
        two_columns[wide][mr - 1](runs, n, lda, r0, 0, c + r0 * NR, add);
    }
#else
    float part[MR * NR];
    int64_t tiles = tile_count(rows, MR), crow[MR];
    bool apart = add && n > 1;
    for (int64_t i = 0; i < MR; i++) crow[i] = i * NR;
    for (int64_t ti = 0; ti < tiles; ti++) {
        int64_t r0 = rows * ti / tiles, mr = rows * (ti + 1) / tiles - r0;
        fg_run run;
        fg_tile_args t = { .runs = &run, .nruns = n > 0, .sa = lda, .aoff = r0, .ldb = NR, .crow = crow, .cols = (int)cols };
        float *to = c + r0 * NR;
        t.c = apart ? part : to;
        t.add = add && !apart;
        for (int i = 0; i < n || i == 0; i++) { /* no run: the sum of nothing */
            if (n) run = (fg_run){ runs[i].a, runs[i].b, runs[i].k };
            TILES[FG_TILE_COLS][cols > W][mr - 1](&t);
            t.add = true;
        }
        if (apart) add_part(to, part, mr);
    }
#endif
}

#endif
