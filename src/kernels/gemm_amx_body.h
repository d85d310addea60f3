/* gemm_amx_body.h: C = act(op(A) op(B) + bias) of bf16 matrices on AMX tiles; included by gemm_amx.c, and by the tests over the
 * stand-ins of amx_tiles.h.
 *
 *      B, packed     [panel of 32 columns][block of 32 k][2 tiles]       once, by pack (kept by the caller where B is a
 * parameter) A, packed     [block of 32 rows][block of 32 k][BLOCK]            by each chunk, for a few blocks of rows at a time
 *
 *                 n: panels of 32           chunk = some row blocks x some panels x a part of k. Within it, row blocks go
 *           +----+----+----+----+           in groups whose packed A stays in the second cache; each panel of B passes over
 *   m:      |  chunk  |         |           the group once. A block of C is one run along k for the sums of amx_sums.h.
 *   blocks  +---------+---------+
 *   of 32   |         |         |           Cut by k, each part has a C of its own in `partials`, added in order by finish.
 *           +---------+---------+           The cut is the one that packs, reads and writes least.
 *
 * All four transposes are a choice of layout in amx_blocks.h: A is copied, or its columns taken; B is paired, or turned.
 * Tails of m, n, k are zeros, never written. Up to 4 rows or columns are dot products: those are left to vdpbf16ps. */
#include "amx_sums.h"

enum { Q_M, Q_N, Q_PARTS, Q_GROUP }; /* plan.priv: chunks along m, n, k; row blocks packed at a time */
enum { FEW = 4, LEAST_K = 16, MOST_CHUNKS = 16, CELL_MACS = 1 << 22, A_BYTES = 768 << 10, MOST_K = 28 << 10 };
enum { PACK_CHUNKS = 64, PACK_BYTES = 1 << 16, PARTS_BYTES = 32 << 20, PART_FLOATS = 1 << 14 };

static bool gemm_fits(const fg_gemm16_args *a) { return a->m > FEW && a->n > FEW && a->k >= LEAST_K && a->k <= MOST_K; }

static void gemm_plan(const fg_gemm16_args *a, fg_gemm16_plan *p) {
    int64_t *q = p->priv, m = blocks_of(a->m), n = blocks_of(a->n), k = blocks_of(a->k);
    double macs = (double)a->m * (double)a->n * (double)a->k, best = -1;
    int64_t want = max64(1, (int64_t)fmin(macs / CELL_MACS, MOST_CHUNKS));
    for (int64_t parts = 1; parts <= min64(k, want) && (parts == 1 || parts * a->m * a->n * 4 <= PARTS_BYTES); parts++)
        for (int64_t gm = 1; gm <= min64(m, want); gm++) {
            int64_t gn = min64(n, ceil_div(want, parts * gm)), chunks = parts * gm * gn;
            /* blocks packed of A, read of B; 512 floats of partials count as a block. The last factor asks for enough chunks,
             * and for chunks of like size. */
            double cost = (double)(gn * m * k + gm * n * k) + (parts > 1 ? (double)((parts + 1) * a->m * a->n) / 512 : 0);
            double even = (double)(ceil_div(m, gm) * gm) / (double)m * (double)(ceil_div(n, gn) * gn) / (double)n;
            cost = (cost + (double)(m * n * k)) * even * (double)max64(1, ceil_div(want, chunks));
            if (best < 0 || cost < best) best = cost, q[Q_M] = gm, q[Q_N] = gn, q[Q_PARTS] = parts;
        }
    int64_t bytes = ceil_div(k, q[Q_PARTS]) * BLOCK_BYTES;
    q[Q_GROUP] = min64(ceil_div(m, q[Q_M]), max64(1, A_BYTES / bytes));
    p->chunks = (int)(q[Q_M] * q[Q_N] * q[Q_PARTS]);
    p->scratch = (size_t)(q[Q_GROUP] * bytes + SUMS_BYTES);
    p->packed = (size_t)(n * k * BLOCK_BYTES);
    p->pack_chunks = (int)max64(1, min64(min64(n, PACK_CHUNKS), n * k * BLOCK_BYTES / PACK_BYTES));
    if (q[Q_PARTS] == 1) return;
    p->partials = (size_t)(q[Q_PARTS] * a->m * a->n) * sizeof(float);
    p->finish_chunks = (int)max64(1, min64(min64(a->m, PACK_CHUNKS), a->m * a->n / PART_FLOATS));
}

/* ---------------------------------------------------------------- packing */
static void gemm_pack(const fg_gemm16_plan *p, const fg_gemm16_args *a, void *packed, int chunk) {
    int64_t panels = blocks_of(a->n), k = blocks_of(a->k), end = panels * (chunk + 1) / p->pack_chunks;
    for (int64_t j = panels * chunk / p->pack_chunks; j < end; j++) {
        uint16_t *d = (uint16_t *)packed + j * k * BLOCK;
        for (int64_t i = 0; i < k; i++, d += BLOCK)
            if (a->tb) block_turned(a->b + j * 32 * a->ldb + i * 32, a->ldb, left(a->n, j), left(a->k, i), d, TILE);
            else block_pairs(a->b + i * 32 * a->ldb + j * 32, a->ldb, left(a->k, i), left(a->n, j), d, TILE);
    }
}

/* blocks k0..k1 of a block of rows */
static void pack_rows(const fg_gemm16_args *a, int64_t block, int64_t k0, int64_t k1, uint16_t *d) {
    for (int64_t i = k0; i < k1; i++, d += BLOCK)
        if (a->ta) block_columns(a->a + i * 32 * a->lda + block * 32, a->lda, left(a->k, i), left(a->m, block), d, TILE);
        else block_copy(a->a + block * 32 * a->lda + i * 32, a->lda, left(a->m, block), left(a->k, i), d);
}

/* ---------------------------------------------------------------- a block of C */
AMX_INLINE void cell(const int mt, const int nt, amx_sums *s, const uint16_t *a, const uint16_t *b, int64_t len) {
    int since = 0;
    sums_zero(mt, nt);
    sums_run(mt, nt, s, a, b, len, &since);
    sums_store(mt, nt, s);
}
static void cell_11(amx_sums *s, const uint16_t *a, const uint16_t *b, int64_t len) { cell(1, 1, s, a, b, len); }
static void cell_12(amx_sums *s, const uint16_t *a, const uint16_t *b, int64_t len) { cell(1, 2, s, a, b, len); }
static void cell_21(amx_sums *s, const uint16_t *a, const uint16_t *b, int64_t len) { cell(2, 1, s, a, b, len); }
static void cell_22(amx_sums *s, const uint16_t *a, const uint16_t *b, int64_t len) { cell(2, 2, s, a, b, len); }
typedef void (*cell_fn)(amx_sums *s, const uint16_t *a, const uint16_t *b, int64_t len);
static const cell_fn cells[2][2] = { { cell_11, cell_12 }, { cell_21, cell_22 } };

/* rows x cols of C at i, j, without its sums */
static block_out place(const fg_gemm16_args *a, int64_t i, int64_t j, int rows, int cols) {
    int64_t at = i * a->ldc + j;
    return (block_out){ .out = a->c ? a->c + at : NULL,
                        .out16 = a->c ? NULL : a->c16 + at,
                        .stride = a->ldc,
                        .rows = rows,
                        .cols = cols,
                        .act = a->act,
                        .slope = a->slope };
}

static void gemm_run(const fg_gemm16_plan *p, const fg_gemm16_args *args, int chunk, int worker) {
    fg_gemm16_args a = *args;
    const int64_t *q = p->priv;
    char *scratch = (char *)a.scratch + (size_t)worker * p->scratch;
    int64_t part = chunk % q[Q_PARTS], gm = chunk / q[Q_PARTS] % q[Q_M], gn = chunk / q[Q_PARTS] / q[Q_M];
    int64_t m = blocks_of(a.m), n = blocks_of(a.n), k = blocks_of(a.k);
    int64_t k0 = k * part / q[Q_PARTS], k1 = k * (part + 1) / q[Q_PARTS];
    if (q[Q_PARTS] > 1) { /* a part's C; finish does the rest */
        a.c = (float *)a.partials + part * a.m * a.n, a.ldc = a.n;
        a.bias = NULL, a.act = FG_ACT_NONE;
    }
    amx_sums s = sums_open(scratch, a.bias, a.n);
    uint16_t *rows = (uint16_t *)(scratch + SUMS_BYTES);
    int64_t i1 = m * (gm + 1) / q[Q_M], j1 = n * (gn + 1) / q[Q_N];
    for (int64_t i0 = m * gm / q[Q_M]; i0 < i1; i0 += q[Q_GROUP]) {
        int64_t stop = min64(i1, i0 + q[Q_GROUP]);
        for (int64_t i = i0; i < stop; i++) pack_rows(&a, i, k0, k1, rows + (i - i0) * (k1 - k0) * BLOCK);
        tile_fence();
        for (int64_t j = n * gn / q[Q_N]; j < j1; j++) {
            const uint16_t *b = (const uint16_t *)a.packed + (j * k + k0) * BLOCK;
            for (int64_t i = i0; i < stop; i++) {
                block_out out = place(&a, i * 32, j * 32, left(a.m, i), left(a.n, j));
                cells[out.rows > 16][out.cols > 16](&s, rows + (i - i0) * (k1 - k0) * BLOCK, b, k1 - k0);
                sums_due(&s, out, j * 32);
            }
        }
    }
    sums_write(&s, 32);
}

/* C = the parts in order, then bias, activation and rounding as in a whole sum */
static void gemm_finish(const fg_gemm16_plan *p, const fg_gemm16_args *a, int chunk) {
    int64_t i1 = a->m * (chunk + 1) / p->finish_chunks;
    float space[SUMS_BYTES / sizeof(float)];
    amx_sums s = sums_open(space, a->bias, a->n);
    for (int64_t i = a->m * chunk / p->finish_chunks; i < i1; i++)
        for (int64_t j = 0; j < a->n; j += 32) {
            block_out out = place(a, i, j, 1, left(a->n, j / 32));
            const float *from = (const float *)a->partials + i * a->n + j;
            float *sum = s.buffer[s.turn];
            memcpy(sum, from, (size_t)out.cols * sizeof *sum);
            for (int64_t part = 1; part < p->priv[Q_PARTS]; part++)
                for (int c = 0; c < out.cols; c++) sum[c] += from[part * a->m * a->n + c];
            sums_due(&s, out, j);
            sums_write(&s, 1);
        }
}

static const fg_gemm16_kernel amx_gemm = { .name = "amx",
                                           .isa = AMX_LEVEL,
                                           .fits = gemm_fits,
                                           .plan = gemm_plan,
                                           .pack = gemm_pack,
                                           .run = gemm_run,
                                           .finish = gemm_finish };
