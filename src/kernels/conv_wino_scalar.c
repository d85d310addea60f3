/* conv_wino_scalar.c: Winograd convolutions one number at a time: the reference of the vector kernels, for the double build
 * too, where gradients of the whole path are checked. The method is in conv_wino_body.h and conv_wino_dw_body.h. */
#include "kernels.h"
#include "real_math.h"

enum { W = 1, MR = 8, NR = 8, PACK_ROWS = 8, MAX_RUNS = 128, CHAIN = 16, CHAIN_FIVE = 16, TILE_BLOCK = 16, BLOCK_TILES = 16 };
#define ISA_LEVEL FG_ISA_SCALAR

typedef fg_real vf;
static inline vf v_load(const fg_real *p) { return *p; }
static inline vf v_loadw(const fg_real *p, size_t n) { return (void)n, *p; }
static inline void v_store(fg_real *p, vf v) { *p = v; }
static inline void v_storew(fg_real *p, vf v, size_t n) { (void)n, *p = v; }
static inline void v_stream(fg_real *p, vf v) { *p = v; }
static inline void v_fetch2(const fg_real *p) { (void)p; }
static inline void v_fetchw(const fg_real *p) { (void)p; }
static inline void v_stream_end(void) {}
static inline vf v_zero(void) { return 0; }
static inline vf v_set(fg_real x) { return x; }
static inline vf v_add(vf a, vf b) { return a + b; }
static inline vf v_sub(vf a, vf b) { return a - b; }
static inline vf v_mul(vf a, vf b) { return a * b; }
static inline vf v_neg(vf a) { return -a; }
static inline vf v_fma(vf a, vf b, vf c) { return a * b + c; }
static inline vf v_maxr(vf a, vf b) { return a > b ? a : b; }
static inline bool v_le(vf a, vf b) { return a <= b; }
static inline vf v_act_back(vf dy, vf y, fg_act act, vf slope) { return r_act_back(dy, y, act, slope); }
static inline vf v_sel(bool m, vf a, vf b) { return m ? a : b; }

typedef struct product_run {
    const fg_real *a, *b;
    int64_t k;
    bool starts; /* a sum of its own; the others go on with the sum before them */
} product_run;

/* c[rows][NR] = (or +=) the sums a[rows][k] b[k][NR] of the runs */
static void mul_rows(const product_run *runs, int n, int64_t lda, int64_t ahead, int fetching, int64_t rows, fg_real *c,
                     int64_t cols, bool add) {
    (void)ahead, (void)fetching;
    for (int64_t i = 0; i < rows; i++, c += NR)
        for (int r = 0; r < n;) {
            fg_real sum[NR] = { 0 };
            int first = r;
            do {
                for (int64_t k = 0; k < runs[r].k; k++)
                    for (int64_t j = 0; j < cols; j++) sum[j] += runs[r].a[i * lda + k] * runs[r].b[k * NR + j];
            } while (++r < n && !runs[r].starts);
            for (int64_t j = 0; j < cols; j++) c[j] = add || first ? c[j] + sum[j] : sum[j];
        }
}

/* c[rows][NR] = (or +=) the runs' a^T b with a[k][rows], b[k][NR]: a sum for each run, which are added up before they meet c */
static void mul_column_runs(const product_run *runs, int n, int64_t lda, int64_t rows, fg_real *c, int64_t cols, bool add) {
    for (int64_t i = 0; i < rows; i++, c += NR) {
        fg_real part[NR] = { 0 };
        for (const product_run *r = runs; r < runs + n; r++) {
            fg_real sum[NR] = { 0 };
            for (int64_t k = 0; k < r->k; k++)
                for (int64_t j = 0; j < cols; j++) sum[j] += r->a[k * lda + i] * r->b[k * NR + j];
            for (int64_t j = 0; j < cols; j++) part[j] += sum[j];
        }
        for (int64_t j = 0; j < cols; j++) c[j] = add ? c[j] + part[j] : part[j];
    }
}

#include "conv_wino_body.h"
#include "conv_wino_fresh_body.h"
#include "conv_wino_dw_body.h"
#include "conv_wino_dw_rows_body.h"

void fg_kernels_scalar_wino(fg_kernels *k) { fg_conv_prefer(k, &winograd); }
