/* scalar_bf16.c: bf16 storage, the plain reference: conversions, and matrix products of bf16 operands.
 *
 * A product of two bf16 numbers is exact in f32 (8 x 8 bits), so C[M][N] = act(op(A) op(B) + bias) is one running sum of exact
 * products over k, in fg_real. The double build runs this file too: bf16 storage is tested there with it.
 *
 *        N ->
 *      +-------+-------+---        chunk = one tile of 32 x 256, numbered row by row; rows of a tile are summed in a small
 *    M | 0     | 1     | 2         buffer on the stack and rounded once, after bias and activation, where C is bf16.
 *      +-------+-------+---        Nothing is packed, nothing left to finish. */
#include "integers.h"
#include "kernels.h"
#include "bf16.h"

static void to_bf16(const fg_real *x, uint16_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = fg_bf16_from_float((float)x[i]);
}
static void from_bf16(const uint16_t *x, fg_real *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = (fg_real)fg_bf16_to_float(x[i]);
}
static void from_u8(const uint8_t *x, fg_real *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = (fg_real)x[i];
}

/* ---------------------------------------------------------------- products */
enum { TILE_M = 32, TILE_N = 256 };
enum { Q_COLUMNS, Q_TILES, Q_EACH };

static void plan(const fg_gemm16_args *a, fg_gemm16_plan *p) {
    int64_t tm = (a->m + TILE_M - 1) / TILE_M, tn = (a->n + TILE_N - 1) / TILE_N;
    int64_t each = (tm * tn >> 20) + 1; /* at most 2^20 chunks */
    p->chunks = (int)((tm * tn + each - 1) / each);
    p->priv[Q_COLUMNS] = tn, p->priv[Q_TILES] = tm * tn, p->priv[Q_EACH] = each;
}

/* sum[j - j0] = sum over k of A[i][k] B[k][j], j0 <= j < j1 */
static void row_sum(const fg_gemm16_args *a, int64_t i, int64_t j0, int64_t j1, fg_real *restrict sum) {
    int64_t ka = a->ta ? a->lda : 1, kb = a->tb ? 1 : a->ldb, jb = a->tb ? a->ldb : 1;
    const uint16_t *ra = a->ta ? a->a + i : a->a + i * a->lda;
    for (int64_t j = j0; j < j1; j++) sum[j - j0] = 0;
    for (int64_t k = 0; k < a->k; k++) {
        fg_real v = (fg_real)fg_bf16_to_float(ra[k * ka]);
        const uint16_t *rb = a->b + k * kb;
        for (int64_t j = j0; j < j1; j++) sum[j - j0] += v * (fg_real)fg_bf16_to_float(rb[j * jb]);
    }
}

static void run(const fg_gemm16_plan *p, const fg_gemm16_args *a, int chunk, int worker) {
    (void)worker;
    const int64_t *q = p->priv;
    fg_real sum[TILE_N];
    int64_t t1 = min64(q[Q_TILES], (chunk + 1) * q[Q_EACH]);
    for (int64_t t = chunk * q[Q_EACH]; t < t1; t++) {
        int64_t i0 = t / q[Q_COLUMNS] * TILE_M, i1 = min64(a->m, i0 + TILE_M);
        int64_t j0 = t % q[Q_COLUMNS] * TILE_N, j1 = min64(a->n, j0 + TILE_N);
        for (int64_t i = i0; i < i1; i++) {
            row_sum(a, i, j0, j1, sum);
            for (int64_t j = j0; j < j1; j++) {
                fg_real v = fg_act_scalar(a->bias ? sum[j - j0] + a->bias[j] : sum[j - j0], a->act, a->slope);
                if (a->c) a->c[i * a->ldc + j] = v;
                else a->c16[i * a->ldc + j] = fg_bf16_from_float((float)v);
            }
        }
    }
}

static const fg_gemm16_kernel reference = { .name = "reference", .isa = FG_ISA_SCALAR, .plan = plan, .run = run };

void fg_kernels_scalar_bf16(fg_kernels *k) {
    k->to_bf16 = to_bf16;
    k->from_bf16 = from_bf16;
    k->from_u8 = from_u8;
    fg_gemm16_prefer(k, &reference);
}
