/* scalar_gemm.c: matrix product, the plain reference.
 *
 * C[M][N] = act(op(A) op(B) + bias), or C += op(A) op(B). Every element is one running sum over k in ascending order, so
 * that this file is the specification the vector kernels are tested against; in the double build it is also what the
 * gradient checks run on. The only concession to speed is the loop order: C is cut in tiles of 32 x 256, a row of a
 * tile is summed in a small buffer on the stack, and B is read along its rows where it is stored that way.
 *
 *        N ->
 *      +-------+-------+---        chunk = one tile, numbered row by row:
 *    M | 0     | 1     | 2         tiles depend on the size of C only, never on threads,
 *      +-------+-------+---        and no two chunks write the same element.
 *
 * Nothing is packed and nothing is left to finish: gemm_pack and gemm_finish have no pieces. */
#include "integers.h"
#include "kernels.h"
#include "real_math.h"

enum { TILE_M = 32, TILE_N = 256 };

static void gemm_plan(const fg_gemm_args *a, fg_gemm_plan *p) {
    *p = (fg_gemm_plan){ 0 };
    int64_t tm = (a->m + TILE_M - 1) / TILE_M, tn = (a->n + TILE_N - 1) / TILE_N;
    /* At most 2^20 chunks: a chunk of a huge matrix is several tiles. */
    int64_t per = (tm * tn >> 20) + 1;
    p->chunks = (int)((tm * tn + per - 1) / per);
    p->priv[0] = tn;
    p->priv[1] = tm * tn;
    p->priv[2] = per;
}

static void gemm_pack(const fg_gemm_plan *p, const fg_gemm_args *a, void *packed, int chunk) {
    (void)p, (void)a, (void)packed, (void)chunk; /* pack_chunks is 0: never called with work */
}

/* acc[j - j0] = sum over k of A[i][k] B[k][j], j0 <= j < j1 */
static void row_sum(const fg_gemm_args *a, int64_t i, int64_t j0, int64_t j1, fg_real *restrict acc) {
    int64_t n = j1 - j0, step = a->ta ? a->lda : 1;
    const fg_real *ra = a->ta ? a->a + i : a->a + i * a->lda;
    if (a->tb) {
        for (int64_t j = 0; j < n; j++) {
            const fg_real *rb = a->b + (j0 + j) * a->ldb;
            fg_real s = 0;
            for (int64_t k = 0; k < a->k; k++) s += ra[k * step] * rb[k];
            acc[j] = s;
        }
        return;
    }
    for (int64_t j = 0; j < n; j++) acc[j] = 0;
    for (int64_t k = 0; k < a->k; k++) {
        fg_real v = ra[k * step];
        const fg_real *rb = a->b + k * a->ldb + j0;
        for (int64_t j = 0; j < n; j++) acc[j] += v * rb[j];
    }
}

static void gemm_run(const fg_gemm_plan *p, const fg_gemm_args *a, void *shared, void *scratch, int chunk) {
    (void)shared, (void)scratch;
    fg_real acc[TILE_N];
    int64_t t1 = min64(p->priv[1], (chunk + 1) * p->priv[2]);
    for (int64_t t = chunk * p->priv[2]; t < t1; t++) {
        int64_t i0 = t / p->priv[0] * TILE_M, i1 = min64(a->m, i0 + TILE_M);
        int64_t j0 = t % p->priv[0] * TILE_N, j1 = min64(a->n, j0 + TILE_N), n = j1 - j0;
        for (int64_t i = i0; i < i1; i++) {
            fg_real *c = a->c + i * a->ldc + j0;
            row_sum(a, i, j0, j1, acc);
            if (a->accumulate)
                for (int64_t j = 0; j < n; j++) c[j] += acc[j];
            else if (a->gate)
                for (int64_t j = 0; j < n; j++) c[j] = r_act_back(acc[j], a->gate[i * a->ldc + j0 + j], a->act, a->slope);
            else
                for (int64_t j = 0; j < n; j++) {
                    fg_real v = a->bias ? acc[j] + a->bias[j0 + j] : acc[j];
                    c[j] = a->act == FG_ACT_NONE ? v : fg_act_scalar(v, a->act, a->slope);
                }
        }
    }
}

static void gemm_finish(const fg_gemm_plan *p, const fg_gemm_args *a, void *shared, int chunk) {
    (void)p, (void)a, (void)shared, (void)chunk; /* finish_chunks is 0 */
}

void fg_kernels_scalar_gemm(fg_kernels *k) {
    k->gemm_plan = gemm_plan;
    k->gemm_pack = gemm_pack;
    k->gemm_run = gemm_run;
    k->gemm_finish = gemm_finish;
}
