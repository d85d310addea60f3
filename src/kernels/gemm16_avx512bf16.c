/* gemm16_avx512bf16.c: C = act(op(A) op(B) + bias) of bf16 matrices by vdpbf16ps, which adds two products to each of 16
 * sums. The unit of work is therefore a pair of neighbours along k, one dword, and both operands are laid out in pairs:
 *
 *     A tile   [k/2][16]    the pairs of up to 14 rows, read by broadcast        k, k+1 of row 0 | of row 1 | ...
 *     B panel  [k/2][32]    the pairs of 32 columns, read as two vectors         k, k+1 of col 0 | of col 1 | ...
 *
 * B is packed once for all (and kept by the caller where it is a parameter), A by each chunk for itself, a tile at a time;
 * an odd k ends with a zero. Rows of A and columns of a transposed B hold their pairs side by side already: packing them is a
 * transpose of dwords. The other two cases interleave rows 2i and 2i+1. The 14 x 32 sums stay in registers for all of k:
 *
 *           n: panels of 32                     chunk = some tiles x some panels. When C is small and k long, k is cut in
 *         +----+----+----+----+                 parts, each with a C of its own in `partials`, summed in order by finish.
 *     m:  |  chunk  |         |
 *  tiles  +---------+---------+                 1 to 4 columns (or rows, with B transposed) go without packing: lanes run
 *         |         |         |                 along k, each output is a dot product. With A transposed the lanes run along m,
 * and the few columns of B are broadcast. */
#include "tile_avx512.h"
#include "pack_body.h"

#include <string.h>

enum { DOT_ROWS = 4, DOT_COLS = 4, DOT_BLOCK = 64 /* outputs' rows between two visits of C */ };
enum { ALGO_PANELS = 0, ALGO_DOT_A, ALGO_DOT_B, ALGO_COLUMNS };
enum { Q_ALGO, Q_TILES, Q_PANELS, Q_GM, Q_GN, Q_PARTS, Q_STEP };
enum { MAX_CHUNKS = 32, CHUNK_MACS = 1 << 20, PACK_BYTES = 1 << 16, B_BYTES = 1 << 19, FINISH_ROWS = 32 };

static int64_t pairs(int64_t k) { return (k + 1) / 2; }

static inline vf dot2(vf sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
static inline __mmask32 mask32(int64_t n) { return n >= 32 ? 0xffffffffu : (__mmask32)((1u << n) - 1); }
static inline __m512i load32(const uint16_t *p, int64_t n) { return _mm512_maskz_loadu_epi16(mask32(n), p); }

/* ---------------------------------------------------------------- packing: d[k/2][ldd] of 16 columns, zeros beyond cols */
/* s[k][cols]: rows 2i and 2i + 1 side by side */
static void pack_interleaved(const uint16_t *s, int64_t lds, int64_t k, int64_t cols, uint32_t *d, int64_t ldd) {
    __mmask16 m = v_mask(cols);
    for (int64_t i = 0; i < k; i += 2, s += 2 * lds, d += ldd) {
        __m256i low = _mm256_maskz_loadu_epi16(m, s), high = _mm256_maskz_loadu_epi16(i + 1 < k ? m : 0, s + lds);
        __m512i odd = _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
        _mm512_storeu_si512(d, _mm512_or_si512(_mm512_cvtepu16_epi32(low), odd));
    }
}

/* r[i] lane j <-> r[j] lane i: pairs of dwords, pairs of those, then quarters of the registers */
INLINE void transpose16(__m512i r[16]) {
    __m512i t[16], u[16];
    UNROLL
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        UNROLL
        for (int h = 0; h < 2; h++) {
            u[i + 2 * h] = _mm512_unpacklo_epi64(t[i + h], t[i + 2 + h]);
            u[i + 2 * h + 1] = _mm512_unpackhi_epi64(t[i + h], t[i + 2 + h]);
        }
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(u[j], u[4 + j], 0x88), b = _mm512_shuffle_i32x4(u[j], u[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0x88), d = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0xdd);
        r[j] = _mm512_shuffle_i32x4(a, c, 0x88), r[j + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        r[j + 4] = _mm512_shuffle_i32x4(b, d, 0x88), r[j + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

/* s[cols][k]: dwords transposed, a square of 16 at a time */
static void pack_transposed(const uint16_t *s, int64_t lds, int64_t k, int64_t cols, uint32_t *d, int64_t ldd) {
    for (int64_t i = 0; i < k; i += 32, d += 16 * ldd) {
        __m512i r[16];
        if (cols >= 16 && i + 32 <= k) {
            UNROLL for (int j = 0; j < 16; j++) r[j] = _mm512_loadu_si512(s + j * lds + i);
        } else {
            for (int64_t j = 0; j < 16; j++) r[j] = j < cols ? load32(s + j * lds + i, k - i) : _mm512_setzero_si512();
        }
        transpose16(r);
        int64_t rows = min64(16, pairs(k - i));
        if (rows == 16) UNROLL for (int j = 0; j < 16; j++) _mm512_storeu_si512(d + j * ldd, r[j]);
        else
            for (int64_t j = 0; j < rows; j++) _mm512_storeu_si512(d + j * ldd, r[j]);
    }
}

/* Rows i0.. of op(A), k0 <= k < k1 (k0 even): 16 where there are so many, whole squares being faster */
static void pack_a(const fg_gemm16_args *a, int64_t i0, int64_t k0, int64_t k1, uint32_t *d) {
    int64_t rows = min64(16, a->m - i0);
    if (a->ta) pack_interleaved(a->a + k0 * a->lda + i0, a->lda, k1 - k0, rows, d, 16);
    else pack_transposed(a->a + i0 * a->lda + k0, a->lda, k1 - k0, rows, d, 16);
}

static void pack_panel16(const fg_gemm16_args *a, int64_t panel, uint32_t *d) {
    for (int64_t j = panel * NR, half = 0; half < 2; half++, j += VL, d += VL) {
        int64_t cols = max64(0, min64(VL, a->n - j));
        if (a->tb) pack_transposed(cols ? a->b + j * a->ldb : a->b, a->ldb, a->k, cols, d, NR);
        else pack_interleaved(cols ? a->b + j : a->b, a->ldb, a->k, cols, d, NR);
    }
}

static void gemm16_pack(const fg_gemm16_plan *p, const fg_gemm16_args *a, void *packed, int chunk) {
    if (p->priv[Q_ALGO] == ALGO_DOT_A) { /* the few columns of B, laid out in rows */
        uint16_t *d = packed;
        for (int64_t j = 0; j < a->n; j++)
            for (int64_t k = 0; k < a->k; k++) d[j * a->k + k] = a->b[k * a->ldb + j];
        return;
    }
    if (p->priv[Q_ALGO] == ALGO_COLUMNS) { /* the same in pairs */
        uint16_t *d = packed;
        for (int64_t j = 0; j < a->n; j++, d += 2 * pairs(a->k)) {
            d[2 * pairs(a->k) - 1] = 0;
            for (int64_t k = 0; k < a->k; k++) d[k] = a->tb ? a->b[j * a->ldb + k] : a->b[k * a->ldb + j];
        }
        return;
    }
    int64_t panels = p->priv[Q_PANELS], end = panels * (chunk + 1) / p->pack_chunks;
    for (int64_t j = panels * chunk / p->pack_chunks; j < end; j++) pack_panel16(a, j, (uint32_t *)packed + j * pairs(a->k) * NR);
}

/* ---------------------------------------------------------------- writing C */
/* x[rows][cols] -> act(x + bias) -> C at i0, j0; x is spent */
static void put_rows(const fg_gemm16_args *a, float *x, int64_t i0, int64_t rows, int64_t j0, int64_t cols) {
    const fg_kernels *k = fg_kernels_for(FG_ISA_AVX512);
    if (a->bias || a->act != FG_ACT_NONE) k->bias_act(x, a->bias ? a->bias + j0 : NULL, rows, cols, a->act, a->slope);
    for (int64_t i = 0; i < rows; i++) {
        int64_t at = (i0 + i) * a->ldc + j0;
        if (a->c) memcpy(a->c + at, x + i * cols, (size_t)cols * sizeof(float));
        else k->to_bf16(x + i * cols, a->c16 + at, (size_t)cols);
    }
}

/* ---------------------------------------------------------------- the register tile */
#define EACH(stmt) UNROLL for (int i = 0; i < mr; i++) UNROLL for (int v = 0; v < nv; v++) stmt

INLINE void tile_finish(vf acc[MR][2], const fg_gemm16_args *a, int64_t j, int cols, int mr, int nv) {
    vmask m[2] = { v_mask(cols), v_mask(cols - VL) };
    if (a->bias) {
        vf bias[2];
        UNROLL for (int v = 0; v < nv; v++) bias[v] = v_load_part(a->bias + j + v * VL, m[v]);
        EACH(acc[i][v] = v_add(acc[i][v], bias[v]);)
    }
    if (a->act == FG_ACT_RELU) {
        EACH(acc[i][v] = v_relu(acc[i][v]);)
    } else if (a->act == FG_ACT_LEAKY_RELU) {
        EACH(acc[i][v] = v_leaky(acc[i][v], a->slope);)
    } else if (a->act != FG_ACT_NONE) {
        float x[MR][NR];
        EACH(v_store(x[i] + v * VL, acc[i][v]);)
        for (int i = 0; i < mr; i++) fg_kernels_for(FG_ISA_AVX512)->bias_act(x[i], NULL, 1, cols, a->act, a->slope);
        EACH(acc[i][v] = v_load(x[i] + v * VL);)
    }
}

INLINE void tile(const uint32_t *pa, const uint32_t *pb, int64_t n, const fg_gemm16_args *a, int64_t i0, int64_t j, int cols,
                 int mr, int nv) {
    vf acc[MR][2];
    EACH(acc[i][v] = v_zero();)
    for (int64_t k = 0; k < n; k++, pa += 16, pb += NR) {
        __m512i b[2];
        UNROLL for (int v = 0; v < nv; v++) b[v] = _mm512_loadu_si512(pb + v * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            __m512i row = _mm512_set1_epi32((int32_t)pa[i]);
            UNROLL for (int v = 0; v < nv; v++) acc[i][v] = dot2(acc[i][v], row, b[v]);
        }
    }
    tile_finish(acc, a, j, cols, mr, nv);
    vmask m[2] = { v_mask(cols), v_mask(cols - VL) };
    int64_t at = i0 * a->ldc + j;
    if (a->c) EACH(v_store_part(a->c + at + i * a->ldc + v * VL, m[v], acc[i][v]);)
    else EACH(_mm256_mask_storeu_epi16(a->c16 + at + i * a->ldc + v * VL, m[v], (__m256i)_mm512_cvtneps_pbh(acc[i][v]));)
}

typedef void (*tile_fn)(const uint32_t *pa, const uint32_t *pb, int64_t n, const fg_gemm16_args *a, int64_t i0, int64_t j,
                        int cols);
#define TILE(mr, nv)                                                                                                             \
    static void tile_##mr##_##nv(const uint32_t *pa, const uint32_t *pb, int64_t n, const fg_gemm16_args *a, int64_t i0,         \
                                 int64_t j, int cols) {                                                                          \
        tile(pa, pb, n, a, i0, j, cols, mr, nv);                                                                                 \
    }
#define ROWS(X, v)                                                                                                               \
    X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v) X(7, v) X(8, v) X(9, v) X(10, v) X(11, v) X(12, v) X(13, v) X(14, v)
ROWS(TILE, 1)
ROWS(TILE, 2)
#define NAME(mr, nv) tile_##mr##_##nv,
static const tile_fn tiles[2][MR] = { { ROWS(NAME, 1) }, { ROWS(NAME, 2) } };

/* ---------------------------------------------------------------- dot products */
INLINE void dot(const uint16_t *x, int64_t sx, const uint16_t *y, int64_t sy, int64_t k, float *out, int64_t so_r, int64_t so_c,
                int rows, int cols) {
    vf acc[DOT_ROWS][DOT_COLS];
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int j = 0; j < cols; j++) acc[i][j] = v_zero();
    for (int64_t q = 0; q < k; q += 32) {
        __m512i b[DOT_COLS];
        UNROLL for (int j = 0; j < cols; j++) b[j] = load32(y + j * sy + q, k - q);
        UNROLL
        for (int i = 0; i < rows; i++) {
            __m512i row = load32(x + i * sx + q, k - q);
            UNROLL for (int j = 0; j < cols; j++) acc[i][j] = dot2(acc[i][j], row, b[j]);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int j = 0; j < cols; j++) out[i * so_r + j * so_c] = v_sum(acc[i][j]);
}
static void dots(const uint16_t *x, int64_t sx, const uint16_t *y, int64_t sy, int64_t k, float *out, int64_t so_r, int64_t so_c,
                 int64_t rows, int64_t cols) {
    int64_t i = 0;
#define BAND(r)                                                                                                                  \
    switch (cols) {                                                                                                              \
    case 1: dot(x + i * sx, sx, y, sy, k, out + i * so_r, so_r, so_c, r, 1); break;                                              \
    case 2: dot(x + i * sx, sx, y, sy, k, out + i * so_r, so_r, so_c, r, 2); break;                                              \
    case 3: dot(x + i * sx, sx, y, sy, k, out + i * so_r, so_r, so_c, r, 3); break;                                              \
    default: dot(x + i * sx, sx, y, sy, k, out + i * so_r, so_r, so_c, r, 4);                                                    \
    }
    for (; i + DOT_ROWS <= rows; i += DOT_ROWS) BAND(DOT_ROWS)
    for (; i < rows; i++) BAND(1)
#undef BAND
}

static void run_dots(const fg_gemm16_plan *p, const fg_gemm16_args *a, int64_t chunk) {
    float out[DOT_BLOCK * DOT_COLS];
    bool over_rows = p->priv[Q_ALGO] == ALGO_DOT_A;
    int64_t len = over_rows ? a->m : a->n, r1 = min64(len, (chunk + 1) * p->priv[Q_STEP]);
    const uint16_t *few = !over_rows ? a->a : p->packed ? a->packed : a->b;
    int64_t stride = !over_rows ? a->lda : p->packed ? a->k : a->ldb;
    for (int64_t r = chunk * p->priv[Q_STEP]; r < r1; r += DOT_BLOCK) {
        int64_t rows = min64(DOT_BLOCK, r1 - r);
        if (over_rows) {
            dots(a->a + r * a->lda, a->lda, few, stride, a->k, out, a->n, 1, rows, a->n);
            put_rows(a, out, r, rows, 0, a->n);
        } else {
            dots(a->b + r * a->ldb, a->ldb, few, stride, a->k, out, 1, rows, rows, a->m);
            put_rows(a, out, 0, a->m, r, rows);
        }
    }
}

/* ---------------------------------------------------------------- few columns, A transposed: 32 rows of C at a time */
INLINE void columns(const fg_gemm16_args *a, int64_t i, int64_t rows, float out[DOT_COLS][32], int n) {
    vf acc[DOT_COLS][2];
    UNROLL for (int j = 0; j < n; j++) acc[j][0] = acc[j][1] = v_zero();
    const uint32_t *b = a->packed;
    int64_t count = pairs(a->k);
    const uint16_t *s = a->a + i;
    for (int64_t k = 0; k < count; k++, s += 2 * a->lda) {
        __m512i low = load32(s, rows), high = 2 * k + 1 < a->k ? load32(s + a->lda, rows) : _mm512_setzero_si512();
        __m512i x[2];
        x[0] = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(high));
        x[1] = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(high, 1));
        x[0] = _mm512_or_si512(_mm512_slli_epi32(x[0], 16), _mm512_cvtepu16_epi32(_mm512_castsi512_si256(low)));
        x[1] = _mm512_or_si512(_mm512_slli_epi32(x[1], 16), _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(low, 1)));
        UNROLL
        for (int j = 0; j < n; j++) {
            __m512i pair = _mm512_set1_epi32((int32_t)b[j * count + k]);
            acc[j][0] = dot2(acc[j][0], x[0], pair);
            acc[j][1] = dot2(acc[j][1], x[1], pair);
        }
    }
    UNROLL for (int j = 0; j < n; j++) v_store(out[j], acc[j][0]), v_store(out[j] + VL, acc[j][1]);
}

static void run_columns(const fg_gemm16_plan *p, const fg_gemm16_args *a, int64_t chunk) {
    int64_t i1 = min64(a->m, (chunk + 1) * p->priv[Q_STEP]);
    for (int64_t i = chunk * p->priv[Q_STEP]; i < i1; i += 32) {
        float x[DOT_COLS][32], rows[32 * DOT_COLS];
        int64_t m = min64(32, i1 - i);
        switch (a->n) {
        case 1: columns(a, i, m, x, 1); break;
        case 2: columns(a, i, m, x, 2); break;
        case 3: columns(a, i, m, x, 3); break;
        default: columns(a, i, m, x, 4);
        }
        for (int64_t r = 0; r < m; r++)
            for (int64_t j = 0; j < a->n; j++) rows[r * a->n + j] = x[j][r];
        put_rows(a, rows, i, m, 0, a->n);
    }
}

/* ---------------------------------------------------------------- plan, run, finish */
static void gemm16_plan(const fg_gemm16_args *a, fg_gemm16_plan *p) {
    int64_t *q = p->priv;
    if (a->m <= 0 || a->n <= 0) return;
    double macs = (double)a->m * (double)a->n * (double)a->k;
    if (a->k >= 32 && !a->ta && (a->n <= DOT_COLS || (a->m <= DOT_COLS && a->tb))) {
        bool over_rows = a->n <= DOT_COLS;
        int64_t len = over_rows ? a->m : a->n, other = over_rows ? a->n : a->m;
        q[Q_ALGO] = over_rows ? ALGO_DOT_A : ALGO_DOT_B;
        q[Q_STEP] = max64(ceil_div(len, MAX_CHUNKS), CHUNK_MACS / 4 / (other * a->k) + 1);
        q[Q_STEP] = ceil_div(q[Q_STEP], DOT_ROWS) * DOT_ROWS;
        p->chunks = (int)ceil_div(len, q[Q_STEP]);
        p->layout = (int)q[Q_ALGO];
        if (over_rows && !a->tb && !(a->n == 1 && a->ldb == 1)) {
            p->packed = (size_t)(a->n * a->k) * sizeof(uint16_t);
            p->pack_chunks = 1;
        }
        return;
    }
    if (a->ta && a->n <= DOT_COLS && a->m >= 32 && a->k > 0) {
        q[Q_ALGO] = ALGO_COLUMNS;
        q[Q_STEP] = ceil_div(max64(ceil_div(a->m, MAX_CHUNKS), CHUNK_MACS / 8 / a->k), 32) * 32;
        p->chunks = (int)ceil_div(a->m, q[Q_STEP]);
        p->layout = ALGO_COLUMNS;
        p->packed = (size_t)(a->n * pairs(a->k)) * sizeof(uint32_t);
        p->pack_chunks = 1;
        return;
    }
    int64_t tile_rows = ceil_div(a->m, MR), panels = ceil_div(a->n, NR), bytes = pairs(a->k) * NR * 4;
    int64_t gm = ceil_div(tile_rows, 8), gn = ceil_div(panels, max64(4, B_BYTES / max64(1, bytes)));
    int64_t want = max64(1, min64((int64_t)(macs / CHUNK_MACS), MAX_CHUNKS)), parts = 1;
    if (gm * gn < want) gm = min64(tile_rows, ceil_div(want, gn));
    if (gm * gn < want) gn = min64(panels, ceil_div(want, gm));
    if (gm * gn < 16 && a->k >= 2048 && macs > 16.0 * CHUNK_MACS) {
        parts = min64(16 / (gm * gn), a->k / 1024);
        parts = max64(1, min64(parts, ((int64_t)32 << 20) / 4 / (a->m * a->n)));
    }
    q[Q_TILES] = tile_rows, q[Q_PANELS] = panels, q[Q_GM] = gm, q[Q_GN] = gn, q[Q_PARTS] = parts;
    p->chunks = (int)(gm * gn * parts);
    p->packed = (size_t)(panels * bytes);
    p->pack_chunks = (int)max64(1, min64(min64(panels, MAX_CHUNKS), panels * bytes / PACK_BYTES));
    p->scratch = (size_t)(ceil_div(pairs(a->k), parts) + 1) * 16 * 4;
    if (parts > 1) {
        p->partials = (size_t)(parts * a->m * a->n) * sizeof(float);
        p->finish_chunks = (int)min64(ceil_div(a->m, FINISH_ROWS), MAX_CHUNKS);
    }
}

static void gemm16_run(const fg_gemm16_plan *p, const fg_gemm16_args *args, int chunk, int worker) {
    const int64_t *q = p->priv;
    if (q[Q_ALGO] != ALGO_PANELS) {
        if (q[Q_ALGO] == ALGO_COLUMNS) run_columns(p, args, chunk);
        else run_dots(p, args, chunk);
        return;
    }
    fg_gemm16_args a = *args;
    uint32_t *pa = (uint32_t *)(void *)((char *)a.scratch + (size_t)worker * p->scratch);
    int64_t part = chunk % q[Q_PARTS], cell = chunk / q[Q_PARTS], gi = cell % q[Q_GM], gj = cell / q[Q_GM];
    int64_t n = pairs(a.k), p0 = n * part / q[Q_PARTS], p1 = n * (part + 1) / q[Q_PARTS];
    if (q[Q_PARTS] > 1) {
        a.c = (float *)a.partials + part * a.m * a.n;
        a.ldc = a.n;
        a.bias = NULL, a.act = FG_ACT_NONE;
    }
    int64_t t1 = q[Q_TILES] * (gi + 1) / q[Q_GM], j1 = q[Q_PANELS] * (gj + 1) / q[Q_GN];
    for (int64_t t = q[Q_TILES] * gi / q[Q_GM]; t < t1; t++) {
        int64_t i0 = a.m * t / q[Q_TILES], mr = a.m * (t + 1) / q[Q_TILES] - i0;
        pack_a(&a, i0, 2 * p0, min64(a.k, 2 * p1), pa);
        for (int64_t j = q[Q_PANELS] * gj / q[Q_GN]; j < j1; j++) {
            int cols = (int)min64(NR, a.n - j * NR);
            tiles[cols > VL][mr - 1](pa, (const uint32_t *)a.packed + (j * n + p0) * NR, p1 - p0, &a, i0, j * NR, cols);
        }
    }
}

static void gemm16_finish(const fg_gemm16_plan *p, const fg_gemm16_args *a, int chunk) {
    enum { BLOCK = 256 };
    float sum[BLOCK];
    int64_t i1 = a->m * (chunk + 1) / p->finish_chunks;
    for (int64_t i = a->m * chunk / p->finish_chunks; i < i1; i++)
        for (int64_t j = 0; j < a->n; j += BLOCK) {
            int64_t cols = min64(BLOCK, a->n - j);
            const float *s = (const float *)a->partials + i * a->n + j;
            copy_floats(sum, s, cols);
            for (int64_t part = 1; part < p->priv[Q_PARTS]; part++)
                for (int64_t c = 0; c < cols; c++) sum[c] += s[part * a->m * a->n + c];
            put_rows(a, sum, i, 1, j, cols);
        }
}

void fg_kernels_avx512bf16_product(fg_kernels *k) {
    static const fg_gemm16_kernel vdpbf16 = { .name = "vdpbf16",
                                              .isa = FG_ISA_AVX512BF16,
                                              .plan = gemm16_plan,
                                              .pack = gemm16_pack,
                                              .run = gemm16_run,
                                              .finish = gemm16_finish };
    fg_gemm16_prefer(k, &vdpbf16);
}
