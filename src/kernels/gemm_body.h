/* gemm_body.h: C = act(op(A) op(B) + bias) out of register tiles, included by gemm_<isa>.c after its vector header.
 *
 *                n: panels of NR columns               C is cut into a grid of gm x gn chunks, each a range of tiles
 *           +----+----+----+----+----+                 (mr <= MR rows, cut evenly so that no tile is a sliver) times a
 *   m:      |         |         |    |                 range of panels. Inside a chunk k advances in blocks of kc; a
 *   tiles   |  chunk  |         |    | gm              tile's rows of A are copied to a panel that stays in the first
 *   of mr   +---------+---------+----+                 cache while the panels of B stream past it.
 *   rows    |         |         |    |
 *           +---------+---------+----+                 When C is small and k long, k itself is cut into parts, each with a
 *                       gn                             C of its own in shared memory, summed in order by gemm_finish.
 *
 * How B is met depends on shape alone:
 *   DIRECT  as it is, by masked rows: when it fits a cache or is read only once (an MLP's layers)
 *   LOCAL   packed block by block inside each chunk: few rows of A, so each chunk owns its columns
 *   SHARED  packed once by gemm_pack, [panel][k][NR], zeros beyond n: everything large
 *   DOT     1 to 4 columns (or rows, with B transposed): lanes along k, no panels at all
 * op(B) = B^T always packs, turning squares of VL in registers. The rows of A are never read beyond m, k; a product with
 * one column and A transposed runs as its own transpose, a row times a matrix. */

#include "pack_body.h"

enum { G_DIRECT = 0, G_LOCAL, G_SHARED, G_DOT_A, G_DOT_B };
enum { Q_ALGO, Q_KC, Q_TILES, Q_PANELS, Q_GM, Q_GN, Q_PARTS, Q_STEP };
enum { A_FLOATS = FG_TILE_KC * AP + VL > MR *FG_TILE_STRIDE ? FG_TILE_KC *AP + VL : MR *FG_TILE_STRIDE };
enum { MAX_CHUNKS = 64, CHUNK_MACS = 1 << 18, FINISH_ROWS = 32 };

static fg_gemm_args normal_form(const fg_gemm_args *a) {
    fg_gemm_args r = *a;
    if (a->n == 1 && a->ta && a->ldc == 1 && !a->bias && a->act == FG_ACT_NONE) {
        r.m = 1, r.n = a->m;
        r.a = a->b, r.lda = a->ldb, r.ta = !a->tb;
        r.b = a->a, r.ldb = a->lda, r.tb = false;
        r.ldc = a->m;
    }
    return r;
}

/* gm x gn chunks of at least CHUNK_MACS each; more columns first when `wide`. */
static void plan_grid(fg_gemm_plan *p, const fg_gemm_args *a, double macs, int64_t rows_max, int64_t panels_max, bool wide) {
    int64_t tiles = p->priv[Q_TILES], panels = p->priv[Q_PANELS];
    int64_t gm = ceil_div(tiles, rows_max), gn = ceil_div(panels, panels_max);
    int64_t want = (int64_t)(macs / CHUNK_MACS);
    want = max64(1, min64(want, MAX_CHUNKS));
    if (wide) {
        if (gm * gn < want) gn = min64(panels, ceil_div(want, gm));
        if (p->priv[Q_ALGO] != G_LOCAL && gm * gn < want) gm = min64(tiles, ceil_div(want, gn));
    } else {
        if (gm * gn < want) gm = min64(tiles, ceil_div(want, gn));
        if (gm * gn < want) gn = min64(panels, ceil_div(want, gm));
    }
    /* k in parts: when the grid alone is too coarse for a team */
    int64_t parts = 1;
    if (gm * gn < 16 && a->k >= 2048 && macs > 16.0 * CHUNK_MACS) {
        parts = min64(16 / (gm * gn), a->k / 1024);
        parts = max64(1, min64(parts, ((int64_t)32 << 20) / 4 / (a->m * a->n)));
    }
    p->priv[Q_GM] = gm, p->priv[Q_GN] = gn, p->priv[Q_PARTS] = parts;
    p->chunks = (int)(gm * gn * parts);
}

static size_t packed_floats(const fg_gemm_plan *p, const fg_gemm_args *a) {
    return p->priv[Q_ALGO] == G_SHARED ? (size_t)(p->priv[Q_PANELS] * a->k * NR) : 0;
}

static void gemm_plan(const fg_gemm_args *args, fg_gemm_plan *p) {
    fg_gemm_args a = normal_form(args);
    *p = (fg_gemm_plan){ 0 };
    if (a.m <= 0 || a.n <= 0) return;
    double macs = (double)a.m * (double)a.n * (double)a.k;
    int64_t *q = p->priv;

    if ((a.n <= FG_DOT_COLS && !a.ta && a.k >= VL) || (a.m <= FG_DOT_COLS && a.tb && !a.ta && a.k >= VL)) {
        bool over_rows = a.n <= FG_DOT_COLS;
        int64_t len = over_rows ? a.m : a.n, other = over_rows ? a.n : a.m;
        q[Q_ALGO] = over_rows ? G_DOT_A : G_DOT_B;
        q[Q_STEP] = max64(ceil_div(len, MAX_CHUNKS), CHUNK_MACS / (other * a.k) + 1);
        q[Q_STEP] = ceil_div(q[Q_STEP], FG_DOT_ROWS) * FG_DOT_ROWS;
        p->chunks = (int)ceil_div(len, q[Q_STEP]);
        if (over_rows && !a.tb && !(a.n == 1 && a.ldb == 1)) { /* columns of B, laid out in rows */
            p->shared = (size_t)(a.n * a.k) * sizeof(float);
            p->pack_chunks = 1;
        }
        return;
    }

    q[Q_TILES] = ceil_div(a.m, MR);
    q[Q_PANELS] = ceil_div(a.n, NR);
    int64_t blocks = max64(1, ceil_div(a.k, FG_TILE_KC));
    q[Q_KC] = min64(FG_TILE_KC, ceil_div(ceil_div(a.k, blocks), 16) * 16);
    p->scratch = A_FLOATS * sizeof(float);
    if (!a.tb && (a.k * a.n <= 32768 || q[Q_TILES] <= 2)) {
        q[Q_ALGO] = G_DIRECT;
        bool flat = q[Q_TILES] <= q[Q_PANELS];
        plan_grid(p, &a, macs, INT64_MAX / 2, INT64_MAX / 2, flat);
    } else if (q[Q_TILES] * MR <= 128) {
        q[Q_ALGO] = G_LOCAL;
        plan_grid(p, &a, macs, INT64_MAX / 2, 256 / NR, true);
        p->scratch += (size_t)(ceil_div(q[Q_PANELS], q[Q_GN]) * q[Q_KC] * NR) * sizeof(float);
    } else {
        q[Q_ALGO] = G_SHARED;
        plan_grid(p, &a, macs, ceil_div(112, MR), 512 / NR, q[Q_TILES] <= q[Q_PANELS]);
        p->pack_chunks = (int)min64(q[Q_PANELS], MAX_CHUNKS);
    }
    p->shared = packed_floats(p, &a) * sizeof(float);
    if (q[Q_PARTS] > 1) {
        p->shared += (size_t)(q[Q_PARTS] * a.m * a.n) * sizeof(float);
        p->finish_chunks = (int)min64(ceil_div(a.m, FINISH_ROWS), MAX_CHUNKS);
    }
}

/* d[k - k0][NR] = op(B)[k0..k1)[j0..j0+NR), zeros beyond n */
static void pack_b(const fg_gemm_args *a, int64_t j0, int64_t k0, int64_t k1, float *d) {
    int64_t cols = min64(NR, a->n - j0);
    if (a->tb) pack_panel_transposed(a->b + j0 * a->ldb + k0, a->ldb, k1 - k0, cols, d);
    else pack_panel(a->b + k0 * a->ldb + j0, a->ldb, k1 - k0, cols, d);
}

static void gemm_pack(const fg_gemm_plan *p, const fg_gemm_args *args, void *shared, int chunk) {
    fg_gemm_args a = normal_form(args);
    float *d = shared;
    if (p->priv[Q_ALGO] == G_DOT_A) {
        for (int64_t j = 0; j < a.n; j++)
            for (int64_t k = 0; k < a.k; k++) d[j * a.k + k] = a.b[k * a.ldb + j];
        return;
    }
    int64_t panels = p->priv[Q_PANELS], end = panels * (chunk + 1) / p->pack_chunks;
    for (int64_t j = panels * chunk / p->pack_chunks; j < end; j++) pack_b(&a, j * NR, 0, a.k, d + j * a.k * NR);
}

/* act(c + bias) on part of a row of C, for what the tiles leave undone */
static void row_act(const fg_gemm_args *a, float *c, int64_t j0, int64_t cols, bool bias) {
    fg_kernels_for(ISA_LEVEL)->bias_act(c, bias && a->bias ? a->bias + j0 : NULL, 1, cols, a->act, a->slope);
}

static void run_dot(const fg_gemm_plan *p, const fg_gemm_args *a, const float *shared, int64_t chunk) {
    bool over_rows = p->priv[Q_ALGO] == G_DOT_A;
    int64_t len = over_rows ? a->m : a->n, r0 = chunk * p->priv[Q_STEP], r1 = min64(len, r0 + p->priv[Q_STEP]);
    const float *x = over_rows ? a->a : a->b, *y = over_rows ? (p->shared ? shared : a->b) : a->a;
    int64_t sx = over_rows ? a->lda : a->ldb, sy = over_rows ? (p->shared ? a->k : a->ldb) : a->lda;
    int64_t cr = over_rows ? a->ldc : 1, cc = over_rows ? 1 : a->ldc;
    int cols = (int)(over_rows ? a->n : a->m);
    for (int64_t r = r0; r < r1; r += FG_DOT_ROWS) {
        int rows = (int)min64(FG_DOT_ROWS, r1 - r);
        float out[FG_DOT_ROWS][FG_DOT_COLS];
        fg_run run = { x + r * sx, y, a->k };
        DOTS[rows - 1][cols - 1](&run, 1, sx, sy, out);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++) {
                float *c = a->c + (r + i) * cr + j * cc;
                *c = a->accumulate ? *c + out[i][j] : out[i][j];
            }
    }
    if (!a->bias && a->act == FG_ACT_NONE) return;
    if (!over_rows)
        for (int64_t i = 0; i < a->m; i++) row_act(a, a->c + i * a->ldc + r0, r0, r1 - r0, true);
    else if (a->ldc == a->n) fg_kernels_for(ISA_LEVEL)->bias_act(a->c + r0 * a->n, a->bias, r1 - r0, a->n, a->act, a->slope);
    else
        for (int64_t i = r0; i < r1; i++) row_act(a, a->c + i * a->ldc, 0, a->n, true);
}

/* Rows i0..i0+mr of op(A), k0..k0+kc: copied to the panel, or left where they are when a single panel of B reads them. */
static fg_tile_kind take_rows(const fg_gemm_args *a, int64_t i0, int64_t mr, int64_t k0, int64_t kc, bool copy, float *panel,
                              const float **pa, int64_t *sa) {
    *pa = a->ta ? a->a + k0 * a->lda + i0 : a->a + i0 * a->lda + k0;
    *sa = a->lda;
    if (!copy) return a->ta ? FG_TILE_COLS : FG_TILE_ROWS;
    const float *s = *pa;
    *pa = panel;
    if (a->ta) {
        vmask m = v_mask(mr);
        for (int64_t k = 0; k < kc; k++) v_store(panel + k * AP, v_load_part(s + k * a->lda, m));
        *sa = AP;
        return FG_TILE_COLS;
    }
    for (int64_t i = 0; i < mr; i++) copy_floats(panel + i * FG_TILE_STRIDE, s + i * a->lda, kc);
    return FG_TILE_PANEL;
}

/* C[tiles t0..t1)[panels p0..p1) = sum over k0..k1; the epilogue only when `whole`, the sum over k being complete */
static void run_block(const fg_gemm_plan *p, const fg_gemm_args *a, const float *packed, float *scratch, int64_t t0, int64_t t1,
                      int64_t p0, int64_t p1, int64_t k0, int64_t k1, bool whole) {
    int64_t algo = p->priv[Q_ALGO], tiles = p->priv[Q_TILES];
    float *local = scratch + A_FLOATS;
    int64_t k = k0;
    do {
        int64_t kc = min64(p->priv[Q_KC], k1 - k), step = NR;
        const float *b = a->b + k * a->ldb + p0 * NR;
        fg_tile_args t = {
            .ldb = a->ldb, .nruns = kc > 0, .add = a->accumulate || k > k0, .act = FG_ACT_NONE, .slope = a->slope
        };
        if (algo == G_LOCAL) {
            for (int64_t j = p0; j < p1; j++) pack_b(a, j * NR, k, k + kc, local + (j - p0) * kc * NR);
            b = local, step = kc * NR, t.ldb = NR;
        } else if (algo == G_SHARED) {
            b = packed + (p0 * a->k + k) * NR, step = a->k * NR, t.ldb = NR;
        }
        bool last = whole && k + kc >= k1;
        if (last && fg_tile_does(a->act)) t.act = a->act;
        for (int64_t ti = t0; ti < t1; ti++) {
            int64_t i0 = a->m * ti / tiles, mr = a->m * (ti + 1) / tiles - i0, crow[MR];
            for (int64_t i = 0; i < mr; i++) crow[i] = (i0 + i) * a->ldc;
            fg_run run = { .b = b, .len = kc };
            fg_tile_kind kind = take_rows(a, i0, mr, k, kc, p1 - p0 > 1, scratch, &run.a, &t.sa);
            t.runs = &run, t.crow = crow;
            for (int64_t j = p0; j < p1; j++) {
                t.cols = (int)min64(NR, a->n - j * NR);
                t.boff = (j - p0) * step;
                t.c = a->c + j * NR;
                t.bias = last && a->bias ? a->bias + j * NR : NULL;
                TILES[kind][t.cols > VL][mr - 1](&t);
            }
            if (last && !fg_tile_does(a->act))
                for (int64_t i = 0; i < mr; i++) row_act(a, a->c + crow[i] + p0 * NR, 0, min64(p1 * NR, a->n) - p0 * NR, false);
        }
        k += kc;
    } while (k < k1);
}

static void gemm_run(const fg_gemm_plan *p, const fg_gemm_args *args, void *shared, void *scratch, int chunk) {
    fg_gemm_args a = normal_form(args);
    const int64_t *q = p->priv;
    if (q[Q_ALGO] == G_DOT_A || q[Q_ALGO] == G_DOT_B) {
        run_dot(p, &a, shared, chunk);
        return;
    }
    int64_t part = chunk % q[Q_PARTS], cell = chunk / q[Q_PARTS], gi = cell / q[Q_GN], gj = cell % q[Q_GN];
    int64_t k0 = a.k * part / q[Q_PARTS], k1 = a.k * (part + 1) / q[Q_PARTS];
    if (q[Q_PARTS] > 1) {
        a.c = (float *)shared + packed_floats(p, &a) + part * a.m * a.n;
        a.ldc = a.n;
        a.accumulate = false;
    }
    run_block(p, &a, shared, scratch, q[Q_TILES] * gi / q[Q_GM], q[Q_TILES] * (gi + 1) / q[Q_GM], q[Q_PANELS] * gj / q[Q_GN],
              q[Q_PANELS] * (gj + 1) / q[Q_GN], k0, k1, q[Q_PARTS] == 1);
}

/* C = the parts' sum in order, then what a chunk would have done at its end */
static void gemm_finish(const fg_gemm_plan *p, const fg_gemm_args *args, void *shared, int chunk) {
    fg_gemm_args a = normal_form(args);
    const float *parts = (const float *)shared + packed_floats(p, &a);
    int64_t i1 = a.m * (chunk + 1) / p->finish_chunks;
    for (int64_t i = a.m * chunk / p->finish_chunks; i < i1; i++) {
        float *c = a.c + i * a.ldc;
        for (int64_t j = 0; j < a.n; j++) {
            const float *s = parts + i * a.n + j;
            float sum = *s;
            for (int64_t q = 1; q < p->priv[Q_PARTS]; q++) sum += s[q * a.m * a.n];
            c[j] = a.accumulate ? c[j] + sum : sum;
        }
        if (a.bias || a.act != FG_ACT_NONE) row_act(&a, c, 0, a.n, true);
    }
}

static void fill_gemm(fg_kernels *k) {
    k->gemm_plan = gemm_plan;
    k->gemm_pack = gemm_pack;
    k->gemm_run = gemm_run;
    k->gemm_finish = gemm_finish;
}
