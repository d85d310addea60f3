/* product.h: what the vector files of GEMM and convolution share; private to src/kernels, x86 only.
 *
 * Both are built from one small thing, the register tile: mr x (nv vectors) elements of C held in registers while k runs.
 *
 *                 B: nv vectors of row k                 The sum over k is a list of runs {a, b, len}: a GEMM block is
 *                 +------------------+                   one run, a convolution one run per kernel row, so that taps
 *      A: column  |  C tile          |                   outside the image are left out instead of multiplied by zero.
 *      of mr      |  mr rows,        |
 *      numbers    |  nv*VL columns   |                   A may be stored in several ways (fg_tile_kind); B is always rows
 *      (broadcast)+------------------+                   of consecutive columns, ldb apart.
 *
 * The micro-kernels are compiled once per ISA (tile_body.h in tile_<isa>.c) for every mr from 1 to the tile's height, so
 * no row is computed in vain; some a second time, to copy B on its way into a packed panel. fg_dot_fn is the counterpart for
 * outputs too narrow for vectors of columns (1 to 4 of them): there the lanes run along k. */
#ifndef FG_PRODUCT_H
#define FG_PRODUCT_H

#include "kernels.h"

#ifdef FG_HAVE_X86

/* Sanitizers check every access: unrolled 84 times over, that takes minutes to compile. They get one plain copy. */
#if defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
#if SANITIZED
#define INLINE static
#define UNROLL
#elif defined(__clang__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum {
    FG_COPY_MR_AVX2 = 5, /* copying tiles are made for this height and above */
    FG_COPY_MR_AVX512 = 11,
    FG_DOT_ROWS = 4,
    FG_DOT_COLS = 4
};

typedef enum fg_tile_kind {
    FG_TILE_PANEL = 0, /* a[i*A_ROW + k]: rows copied to a panel */
    FG_TILE_ROWS,      /* a[i*sa + k]: rows as they are */
    FG_TILE_COLS,      /* a[k*sa + i]: A transposed */
    FG_TILE_TAKEN,     /* as COLS, and copied on the way to where the next tile finds it together */
    FG_TILE_KINDS
} fg_tile_kind;

typedef struct fg_run {
    const float *a, *b;
    int64_t len;
} fg_run;

typedef struct fg_tile_args {
    const fg_run *runs;
    int64_t nruns; /* may be 0: C gets zeros, bias and activation */
    int64_t sa, ldb;
    int64_t aoff, boff; /* added to every run's a and b: one list serves all tiles of A and panels of B */
    int64_t ahead;      /* what lies so many floats after each row of B is fetched to the cache meanwhile; 0: nothing */
    /* Or NULL: something else is, evenly over k: from `next` on, next_step bytes further each k; where rows of B are two lines,
     * as much next_gap bytes further on as well */
    const float *next;
    int64_t next_step, next_gap;
    float *c;
    const int64_t *crow; /* offset of each row in c */
    int cols;            /* columns in use, 1 .. nv*VL; the rest is neither read nor written */
    bool add;            /* C += instead of C = */
    bool fetch;          /* C is fetched to the first cache while the sums form: pays for long ones */
    float *taken;        /* for FG_TILE_TAKEN: [k][AP] */
    float *copy;         /* for the copying tiles: where the rows of B that pass go as well, 2*VL floats apart */
    const float *part;   /* [mr][nv*VL], whole vectors: a sum begun by earlier tiles; or NULL */
    const float *bias;   /* [cols] or NULL, added after the sum */
    fg_act act;          /* none, relu or leaky relu; the others are the caller's */
    float slope;
    const float *gate; /* laid out as c, or NULL: times act' at these outputs instead of act */
} fg_tile_args;
typedef void (*fg_tile_fn)(const fg_tile_args *t);

/* out[r][c] = sum over runs of a[r*sa + k] * b[c*sb + k], rows and cols in 1..4 */
typedef void (*fg_dot_fn)(const fg_run *runs, int64_t nruns, int64_t sa, int64_t sb, float out[FG_DOT_ROWS][FG_DOT_COLS]);
/* c[r*cr + j*cc] = (or +=) sum of x[r*sx + k] * y[j*sy + k], for groups * FG_DOT_ROWS rows */
typedef void (*fg_dot_groups_fn)(const float *x, int64_t sx, const float *y, int64_t sy, int64_t k, int64_t groups, float *c,
                                 int64_t cr, int64_t cc, bool add);

/* Whether the tile's store does this activation itself. */
static inline bool fg_tile_does(fg_act act) { return act == FG_ACT_NONE || act == FG_ACT_RELU || act == FG_ACT_LEAKY_RELU; }

extern const fg_tile_fn fg_tiles_avx2[FG_TILE_KINDS][2][6];                   /* [kind][nv - 1][mr - 1] */
extern const fg_tile_fn fg_copying_tiles_avx2[2][2][6 - FG_COPY_MR_AVX2 + 1]; /* A: panel, columns */
extern const fg_dot_fn fg_dots_avx2[FG_DOT_ROWS][FG_DOT_COLS];
extern const fg_dot_groups_fn fg_dot_groups_avx2[FG_DOT_COLS]; /* [cols - 1] */
extern const fg_tile_fn fg_tiles_avx512[FG_TILE_KINDS][2][14];
extern const fg_tile_fn fg_copying_tiles_avx512[2][2][14 - FG_COPY_MR_AVX512 + 1];
extern const fg_dot_fn fg_dots_avx512[FG_DOT_ROWS][FG_DOT_COLS];
extern const fg_dot_groups_fn fg_dot_groups_avx512[FG_DOT_COLS]; /* [cols - 1] */

/* What one file of each ISA hands to its fg_kernels_<isa>_product. */
void fg_kernels_avx2_conv(fg_kernels *k);
void fg_kernels_avx512_conv(fg_kernels *k);
void fg_kernels_amx_conv(fg_kernels *k);

extern const fg_conv_kernel fg_conv_narrow_avx2, fg_conv_narrow_avx512; /* conv_narrow_<isa>.c */

/* FMA peak of one thread in FLOP/s by a loop over registers, about `seconds` long; 0 when the machine lacks the ISA. For
 * the benchmarks: a kernel's rate is told as a share of this. */
double fg_peak_flops(fg_isa_level isa, double seconds);
double fg_peak_flops_avx2(double seconds);
double fg_peak_flops_avx512(double seconds);
double fg_peak_flops_amx(double seconds); /* bf16; only where fg_cpu_has(FG_ISA_AMX) */
/* Likewise of bf16 products with f32 sums; 0 without AVX512-BF16. */
double fg_peak_flops_bf16(double seconds);
double fg_peak_flops_avx512bf16(double seconds);

#endif
#endif
