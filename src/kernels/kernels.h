/* kernels.h: the dispatch table. Plain loops over fg_real*, filled with the scalar reference first (scalar_*.c), then
 * overridden slot by slot for what CPU and OS support (*_avx2.c, *_avx512.c, ...). The scalar kernel is the specification.
 *
 * Kernels cannot fail: no allocation, no context, scratch passed in. They are serial over the range they are given; callers
 * (ops) cut ranges that depend on the problem only and hand them to the thread team. A kernel's result for an element
 * must not depend on where a range begins (no peeling by address; elementwise kernels may treat tails by masks).
 * Pointers may be misaligned to anything but the element. No y may overlap an input unless it is the same pointer. */
#ifndef FG_KERNELS_H
#define FG_KERNELS_H

#include "base.h"

/* unary y = f(x; a, b) */
typedef enum fg_unary {
    FG_UN_AFFINE = 0, /* a*x + b */
    FG_UN_EXP,
    FG_UN_LOG,
    FG_UN_SQRT,
    FG_UN_SQUARE,
    FG_UN_ABS,
    FG_UN_SIGN,
    FG_UN_SIN,
    FG_UN_COS,
    FG_UN_TANH,
    FG_UN_SIGMOID,
    FG_UN_SOFTPLUS,
    FG_UN_RELU,
    FG_UN_LEAKY_RELU, /* slope a */
    FG_UN_CLAMP,      /* to [a, b]; NaN stays NaN */
    FG_UN_POW,        /* x^a */
    FG_UN_COUNT
} fg_unary;

/* unary gradient dx = dy * f'. The operand v is the output y for EXP SQRT TANH SIGMOID SOFTPLUS RELU LEAKY_RELU, and the
 * input x for LOG SQUARE ABS SIN COS CLAMP POW; AFFINE ignores it. SIGN gives 0. */
typedef enum fg_binary {
    FG_BIN_ADD = 0,
    FG_BIN_SUB,
    FG_BIN_MUL,
    FG_BIN_DIV,
    FG_BIN_MAX, /* NaN if either is */
    FG_BIN_MIN,
    FG_BIN_EQ, /* comparisons write 1 or 0 as fg_real */
    FG_BIN_NE,
    FG_BIN_LT,
    FG_BIN_LE,
    FG_BIN_GT,
    FG_BIN_GE,
    FG_BIN_COUNT
} fg_binary;

/* y = loss(x, target), element by element */
typedef enum fg_loss {
    FG_LOSS_BCE = 0, /* -t log q - (1 - t) log(1 - q), q = x between FG_BCE_CLAMP and 1 - FG_BCE_CLAMP */
    FG_LOSS_BCE_LOGITS,
    FG_LOSS_COUNT
} fg_loss;
#define FG_BCE_CLAMP 1e-7 /* Keras' epsilon */

typedef enum fg_reduction { FG_RED_SUM = 0, FG_RED_MAX, FG_RED_MIN, FG_RED_COUNT } fg_reduction;

/* ---------------------------------------------------------------- GEMM: C[M][N] = act(op(A) op(B) + bias) (+ C) */
typedef struct fg_gemm_args {
    int64_t m, n, k;
    bool ta, tb; /* A is [M][K] with row stride lda, or [K][M] when ta; B [K][N], or [N][K] when tb */
    const fg_real *a, *b;
    int64_t lda, ldb, ldc; /* row strides in elements */
    fg_real *c;
    bool accumulate;     /* add to C instead of overwriting (no bias, no act then) */
    const fg_real *bias; /* [N] or NULL */
    fg_act act;
    fg_real slope;
    /* [M][N] with row stride ldc, or NULL. C = op(A) op(B) times act' at these outputs of act, instead of act of it: a product
     * that makes the gradient of an activation's output leaves the gradient of its input (no bias, no accumulate then). */
    const fg_real *gate;
    const void *packed; /* from gemm_pack, where plan.packed > 0 */
} fg_gemm_args;
typedef struct fg_gemm_plan {
    int chunks;        /* independent pieces for the thread team, by problem size only */
    size_t scratch;    /* bytes per worker */
    size_t shared;     /* bytes of partial sums, shared by all chunks; 0 when unused */
    size_t packed;     /* bytes of the packed operand, 0 when both are used as they are */
    bool keeps;        /* packed is of B, by n, k, ldb and tb alone: it serves other products with the same B */
    int pack_chunks;   /* pieces of gemm_pack, 0 when there is nothing to pack */
    int64_t pack_rows; /* where `keeps`: rows of B as they lie that a piece packs, the last one fewer */
    int finish_chunks; /* pieces of gemm_finish (tree reduction when K is split), 0 when unused */
    int64_t priv[12];
} fg_gemm_plan;

/* ---------------------------------------------------------------- bf16 GEMM: C[M][N] = act(op(A) op(B) + bias)
 * Operands are bf16, products and sums f32 (vdpbf16ps, AMX tiles, or fg_real in the scalar reference). */
typedef struct fg_gemm16_args {
    int64_t m, n, k;
    bool ta, tb; /* as in fg_gemm_args */
    const uint16_t *a, *b;
    int64_t lda, ldb, ldc;
    fg_real *c;          /* [M][N]; where NULL, */
    uint16_t *c16;       /* [M][N] is written, rounded once, after bias and activation */
    const fg_real *bias; /* [N] or NULL */
    fg_act act;
    fg_real slope;
    /* set by fg_gemm16_drive: */
    const void *packed; /* from the kernel's pack, or NULL when plan.packed == 0; b may be NULL in run when it is given */
    void *scratch;      /* plan.scratch bytes per worker, contiguous: worker i uses scratch + i*plan.scratch */
    void *partials;     /* plan.partials bytes */
} fg_gemm16_args;
struct fg_gemm16_kernel;
typedef struct fg_gemm16_plan {
    const struct fg_gemm16_kernel *kernel; /* who made the plan and runs it; set by fg_gemm16_choose */
    size_t packed;                         /* bytes of packed B, 0 when b is used as it is */
    int layout;        /* plans of one kernel with equal layout, n, k, ldb, tb pack B alike: the key of a cache */
    size_t scratch;    /* bytes per worker, a multiple of 64 */
    size_t partials;   /* bytes in all, at most 32 MB */
    int pack_chunks;   /* pieces of pack */
    int chunks;        /* pieces of run, by problem size only */
    int finish_chunks; /* pieces of finish (fixed-tree sum when k is split), 0 when unused */
    int64_t priv[12];
} fg_gemm16_plan;

/* One method of bf16 products at one ISA, listed like the convolution kernels below. fits and plan look at sizes, transposes,
 * strides and activation, never at pointers (nor at c and c16: a plan serves both). */
typedef struct fg_gemm16_kernel {
    const char *name;                      /* "scalar", "vdpbf16", "amx", ... */
    fg_isa_level isa;                      /* the level it is compiled for */
    bool (*fits)(const fg_gemm16_args *a); /* NULL: fits everything */
    void (*plan)(const fg_gemm16_args *a, fg_gemm16_plan *p);
    void (*pack)(const fg_gemm16_plan *p, const fg_gemm16_args *a, void *packed, int chunk); /* NULL when never asked for */
    void (*run)(const fg_gemm16_plan *p, const fg_gemm16_args *a, int chunk, int worker);
    void (*finish)(const fg_gemm16_plan *p, const fg_gemm16_args *a, int chunk); /* likewise */
} fg_gemm16_kernel;
enum { FG_GEMM16_KERNELS = 4 };

/* ---------------------------------------------------------------- convolution, one geometry for all three directions
 * The strided convolution x[N][H][W][CI], w[KH][KW][CI][CO] -> y[N][OH][OW][CO];
 * y[n][oh][ow] = sum x[n][oh*sh - pt + a][ow*sw - pl + b] w[a][b], zero outside the image (bottom/right padding is implied
 * by OH, OW). FWD: y from x, w. DX: dx[N][H][W][CI] from dy, w (a transposed convolution runs this). DW: dw from x, dy. */
typedef struct fg_conv_geom {
    int64_t n, h, w, ci, oh, ow, co;
    int kh, kw, sh, sw, pt, pl;
} fg_conv_geom;
typedef enum fg_conv_dir { FG_CONV_FWD = 0, FG_CONV_DX, FG_CONV_DW } fg_conv_dir;
typedef struct fg_conv_args {
    const fg_real *x, *w, *dy; /* the two inputs of the direction; w may be NULL in run when packed is given */
    fg_real *out;              /* y, dx or dw */
    const void *packed;        /* from the kernel's pack, or NULL when plan.packed == 0 */
    void *scratch;             /* plan.scratch bytes per worker, contiguous: worker i uses scratch + i*plan.scratch */
    void *partials;            /* plan.partials bytes */
    const fg_real *bias;       /* FWD: [CO]; DX: [CI]; or NULL */
    fg_act act;                /* applied after bias (FWD, DX) */
    fg_real slope;
    const fg_real *gate; /* as in fg_gemm_args, laid out as out; for kernels that say `gates`, else NULL */
    /* Kernels of FG_CONV_BF16 read these instead of x and dy, and write out16 where it is not NULL (rounded once, after
     * bias and activation), else out. DW always writes out. */
    const uint16_t *x16, *dy16;
    uint16_t *out16;
} fg_conv_args;
struct fg_conv_kernel;
typedef struct fg_conv_plan {
    fg_conv_geom g;
    fg_conv_dir dir;
    const struct fg_conv_kernel *kernel; /* who made the plan and runs it; set by fg_conv_choose */
    int algo;                            /* which run routine; private to the kernel */
    /* Bytes of packed weights (FWD, DX), 0 when w is used as it is. Their layout may depend on kernel, dir, algo, channels, taps,
     * strides and padding, not on batch or map size: they are cached. */
    size_t packed;
    size_t scratch;    /* bytes per worker, a multiple of 64 */
    size_t partials;   /* bytes in all, at most 32 MB */
    int pack_chunks;   /* pieces of pack */
    int chunks;        /* pieces of run, by geometry only */
    int finish_chunks; /* pieces of finish: fixed-tree sum of the partials of DW, or products of what run left; 0 when unused */
    int64_t priv[24];
} fg_conv_plan;

/* What a caller grants a convolution kernel. FAST: Winograd's rounding is welcome. BF16: x and dy are given as bf16, weights
 * are rounded to bf16 by pack, sums are f32; only kernels that need this flag are asked then. */
enum { FG_CONV_FAST = 1, FG_CONV_BF16 = 2 };

/* One method of convolution at one ISA. A table lists its methods in order of preference; dispatch, tests and benchmarks
 * walk the same list. `fits` looks at geometry alone, so that the choice, and the bits, never depend on timing. */
typedef struct fg_conv_kernel {
    const char *name;                                     /* "direct", "winograd", ... */
    fg_isa_level isa;                                     /* the level it is compiled for */
    unsigned needs;                                       /* FG_CONV_* flags without which it is not asked */
    bool (*fits)(const fg_conv_geom *g, fg_conv_dir dir); /* NULL: fits everything */
    void (*plan)(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p);
    void (*pack)(const fg_conv_plan *p, const fg_real *w, void *packed, int chunk); /* NULL when plans never ask for it */
    void (*run)(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker);
    void (*finish)(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker); /* likewise */
    bool gates;                                                                          /* FWD and DX heed args.gate */
} fg_conv_kernel;
enum { FG_CONV_KERNELS = 16 };

/* ---------------------------------------------------------------- optimizer updates, one pass, in place */
typedef struct fg_adam_args {
    double lr, beta1, beta2, eps, weight_decay;
    bool decoupled;      /* AdamW: p -= lr*wd*p; else g += wd*p */
    double bias1, bias2; /* 1 - beta^t */
} fg_adam_args;
typedef struct fg_rmsprop_args {
    double lr, alpha, eps, momentum, weight_decay;
    bool eps_inside; /* sqrt(v + eps), Keras 3; else sqrt(v) + eps */
} fg_rmsprop_args;
typedef struct fg_sgd_args {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, first; /* first: buf = g without dampening */
} fg_sgd_args;

typedef struct fg_kernels {
    const char *isa;

    /* conversion; to bf16 rounds to nearest even, keeps denormals, and leaves a NaN a quiet NaN */
    void (*to_bf16)(const fg_real *x, uint16_t *y, size_t n);
    void (*from_bf16)(const uint16_t *x, fg_real *y, size_t n);
    void (*from_u8)(const uint8_t *x, fg_real *y, size_t n);

    /* elementwise */
    void (*unary[FG_UN_COUNT])(const fg_real *x, fg_real *y, size_t n, fg_real a, fg_real b);
    void (*unary_grad[FG_UN_COUNT])(const fg_real *dy, const fg_real *v, fg_real *dx, size_t n, fg_real a, fg_real b);
    /* sa, sb: element strides 1 or 0 (a scalar) */
    void (*binary[FG_BIN_COUNT])(const fg_real *a, int sa, const fg_real *b, int sb, fg_real *y, size_t n);
    /* y[i] = c[i] ? a[i] : b[i]; strides 0 or 1 */
    void (*select)(const uint8_t *c, int sc, const fg_real *a, int sa, const fg_real *b, int sb, fg_real *y, size_t n);
    void (*loss[FG_LOSS_COUNT])(const fg_real *x, const fg_real *t, fg_real *y, size_t n);
    void (*loss_grad[FG_LOSS_COUNT])(const fg_real *dy, const fg_real *x, const fg_real *t, fg_real *dx, size_t n); /* by x */
    void (*nonzero)(const fg_real *x, uint8_t *y, size_t n);             /* y = x != 0 */
    void (*axpy)(fg_real alpha, const fg_real *x, fg_real *y, size_t n); /* y += alpha x (mul then add, not fused) */
    void (*copy_strided)(const fg_real *x, int64_t sx, fg_real *y, size_t n);
    void (*transpose2d)(const fg_real *x, int64_t ldx, fg_real *y, int64_t ldy, int64_t rows,
                        int64_t cols); /* y[c][r] = x[r][c] */

    /* bias and activation in place: y[rows][cols] = act(y + bias[cols]) */
    void (*bias_act)(fg_real *y, const fg_real *bias, int64_t rows, int64_t cols, fg_act act, fg_real slope);

    /* reductions over a range; fixed order inside: 16 lanes of partial sums, then a fixed tree, the same on every ISA */
    fg_real (*reduce)(fg_reduction r, const fg_real *x, size_t n);
    void (*reduce_rows)(fg_reduction r, const fg_real *x, int64_t rows, int64_t n, fg_real *y); /* x[rows][n] -> y[rows] */
    void (*reduce_cols)(fg_reduction r, const fg_real *x, int64_t rows, int64_t n,
                        fg_real *y); /* x[rows][n] -> y[n], in row order; for n < 16 in 16 lanes of rows */
    int64_t (*argmax)(const fg_real *x, int64_t stride, int64_t n); /* first of equals; a NaN wins */
    double (*sumsq)(const fg_real *x, size_t n);                    /* in double */
    bool (*all_finite)(const fg_real *x, size_t n);
    void (*log_softmax)(const fg_real *x, fg_real *y, int64_t rows, int64_t n);
    void (*log_softmax_grad)(const fg_real *dy, const fg_real *y, fg_real *dx, int64_t rows, int64_t n);

    /* batch norm over rows of x[rows][c]; drivers in ops cut row chunks of fixed size and merge (Chan et al. 1979) */
    void (*bn_moments)(const fg_real *x, int64_t rows, int64_t c, fg_real *mean, fg_real *m2); /* of this range, two passes */
    void (*bn_apply)(const fg_real *x, int64_t rows, int64_t c, const fg_real *scale, const fg_real *shift, fg_act act,
                     fg_real slope, fg_real *y); /* act(x*scale + shift) */
    /* g = dy * act'(y); sum_g[c] = sum g, sum_gx[c] = sum g*(x - mean); y may be NULL when act is none */
    void (*bn_grad_sums)(const fg_real *dy, const fg_real *y, const fg_real *x, int64_t rows, int64_t c, const fg_real *mean,
                         fg_act act, fg_real slope, fg_real *sum_g, fg_real *sum_gx);
    /* dx = g*a[c] + (x - mean[c])*b[c] + k[c] */
    void (*bn_grad_apply)(const fg_real *dy, const fg_real *y, const fg_real *x, int64_t rows, int64_t c, const fg_real *mean,
                          const fg_real *a, const fg_real *b, const fg_real *k, fg_act act, fg_real slope, fg_real *dx);

    /* g = dy * act'(y) and sum[c] = the sums of g down the rows, in the order of reduce_cols; g may be dy. When act is none, y
     * is not read and g not written. */
    void (*act_grad_sums)(const fg_real *dy, const fg_real *y, int64_t rows, int64_t c, fg_act act, fg_real slope, fg_real *g,
                          fg_real *sum);

    /* fg_philox_fill_uniform and fg_philox_fill_normal (base.h), the same bits on every ISA */
    void (*uniform)(uint64_t key, uint64_t offset, uint64_t first, fg_real *out, size_t n, fg_real lo, fg_real hi);
    void (*normal)(uint64_t key, uint64_t offset, uint64_t first, fg_real *out, size_t n, fg_real mean, fg_real std);
    /* dropout: element first+i is kept when its philox u32 >= threshold, scaled; the counter is the element index */
    void (*dropout)(const fg_real *x, fg_real *y, size_t n, uint64_t key, uint64_t offset, uint64_t first, uint32_t threshold,
                    fg_real scale);

    /* pooling on NHWC: x[h][w][c] of one image -> y[oh][ow][c] */
    void (*avg_pool)(const fg_real *x, fg_real *y, const fg_conv_geom *g, int64_t first_image, int64_t images);
    void (*avg_pool_adjoint)(const fg_real *dy, fg_real *dx, const fg_conv_geom *g, int64_t first_image, int64_t images);
    void (*max_pool)(const fg_real *x, fg_real *y, int32_t *where, const fg_conv_geom *g, int64_t first_image, int64_t images);
    void (*upsample)(const fg_real *x, fg_real *y, int64_t images, int64_t h, int64_t w, int64_t c, int fh, int fw);

    /* products */
    void (*gemm_plan)(const fg_gemm_args *a, fg_gemm_plan *p);
    void (*gemm_pack)(const fg_gemm_plan *p, const fg_gemm_args *a, void *packed, int chunk);
    void (*gemm_run)(const fg_gemm_plan *p, const fg_gemm_args *a, void *shared, void *scratch,
                     int chunk); /* scratch: this worker's */
    void (*gemm_finish)(const fg_gemm_plan *p, const fg_gemm_args *a, void *shared, int chunk);
    /* bf16 products, most preferred first; empty at levels that have nothing better than f32 products of converted operands */
    const fg_gemm16_kernel *gemm16[FG_GEMM16_KERNELS];
    const fg_conv_kernel *conv[FG_CONV_KERNELS]; /* most preferred first; the last that is not NULL fits everything */

    /* optimizers */
    void (*adam)(fg_real *p, const fg_real *g, fg_real *m, fg_real *v, size_t n, const fg_adam_args *a);
    void (*rmsprop)(fg_real *p, const fg_real *g, fg_real *v, fg_real *buf, size_t n,
                    const fg_rmsprop_args *a);                                               /* buf NULL without momentum */
    void (*sgd)(fg_real *p, const fg_real *g, fg_real *buf, size_t n, const fg_sgd_args *a); /* buf NULL without momentum */
    void (*ema)(fg_real *e, const fg_real *p, size_t n, fg_real decay);                      /* e = decay*e + (1-decay)*p */
} fg_kernels;

/* Table for an ISA level: scalar everywhere, overridden by what the level offers; NULL when this machine lacks it. All
 * levels stay usable side by side in one process (tests run each against the scalar one). */
const fg_kernels *fg_kernels_for(fg_isa_level isa);

/* Each file family registers its slots with one of these, called in this order by dispatch.c (present ones only): */
void fg_kernels_scalar(fg_kernels *k);      /* elementwise, reductions, norm, pool, optimizers: scalar_basic*.c */
void fg_kernels_scalar_gemm(fg_kernels *k); /* scalar_gemm.c */
void fg_kernels_scalar_conv(fg_kernels *k); /* scalar_conv.c */
void fg_kernels_scalar_bf16(fg_kernels *k); /* scalar_bf16.c: conversions for every table, products for the scalar one */
#if defined(__x86_64__) && !defined(FG_DOUBLE)
#define FG_HAVE_X86 1
void fg_kernels_avx2(fg_kernels *k);         /* elementwise family */
void fg_kernels_avx2_product(fg_kernels *k); /* gemm and conv */
void fg_kernels_avx512(fg_kernels *k);
void fg_kernels_avx512_product(fg_kernels *k);
void fg_kernels_avx512bf16_product(fg_kernels *k); /* bf16 products */
void fg_kernels_amx_product(fg_kernels *k);        /* bf16 products and convolutions */
/* Tile registers of the calling thread: configured before AMX kernels run, released after (modes_amx.c). */
void fg_amx_enter(void);
void fg_amx_leave(void);
#endif

/* MXCSR: denormals flushed inside a context, the host's mode restored outside; installed as fg_thread_hooks. */
extern const fg_room fg_room_kernels; /* open: picks the table for ctx->isa, installs the hooks */

/* One-line activation for scalar code. */
fg_real fg_act_scalar(fg_real x, fg_act act, fg_real slope);
/* act'(x) from the output y */
fg_real fg_act_grad_scalar(fg_real y, fg_act act, fg_real slope);
/* The slot of unary and unary_grad that an activation runs in; AFFINE for none. */
static inline fg_unary fg_act_unary(fg_act act) {
    switch (act) {
    case FG_ACT_RELU: return FG_UN_RELU;
    case FG_ACT_LEAKY_RELU: return FG_UN_LEAKY_RELU;
    case FG_ACT_TANH: return FG_UN_TANH;
    case FG_ACT_SIGMOID: return FG_UN_SIGMOID;
    case FG_ACT_SOFTPLUS: return FG_UN_SOFTPLUS;
    default: return FG_UN_AFFINE;
    }
}

/* The first kernel of the table that the flags allow and the geometry fits makes the plan; false when there is none, which
 * happens only with FG_CONV_BF16 (convert to f32 then). */
bool fg_conv_choose(const fg_kernels *k, const fg_conv_geom *g, fg_conv_dir dir, unsigned flags, fg_conv_plan *p);
/* Where a convolution is one matrix product of the tensors as they lie in memory, its sizes: a kernel that covers the whole map,
 * which leaves one pixel (a DCGAN's first and last layers), or one of 1x1 with stride 1. Operands are the caller's to set: FWD
 * x and w, DX dy and w, DW x and dy. A bias of DX would repeat with the taps: FWD alone has a place for one. */
bool fg_conv_product(const fg_conv_geom *g, fg_conv_dir dir, fg_gemm_args *p);
/* For dispatch: puts a kernel before those already in the table. */
void fg_conv_prefer(fg_kernels *k, const fg_conv_kernel *kernel);

/* The same for bf16 products: false when the table has no kernel for them (convert to f32 then). */
bool fg_gemm16_choose(const fg_kernels *k, const fg_gemm16_args *a, fg_gemm16_plan *p);
void fg_gemm16_prefer(fg_kernels *k, const fg_gemm16_kernel *kernel);

/* Threaded drivers over the slots (driver.c), the same for every ISA: workspace is the caller's, sized by the plan. */
size_t fg_gemm_workspace(const fg_context *ctx, const fg_gemm_plan *p); /* for the drive, packed operand not included */
void fg_gemm_pack_drive(fg_context *ctx, const fg_gemm_plan *p, const fg_gemm_args *a, void *packed); /* p->packed bytes */
void fg_gemm_drive(fg_context *ctx, const fg_gemm_plan *p, const fg_gemm_args *a, void *workspace);
/* Two products that do not wait for one another in one parallel section: threads meet once, and two take half of each. */
void fg_gemm_drive_pair(fg_context *ctx, const fg_gemm_plan p[2], const fg_gemm_args a[2], void *const workspace[2]);
size_t fg_gemm16_workspace(const fg_context *ctx, const fg_gemm16_plan *p); /* packed B not included */
void fg_gemm16_pack_drive(fg_context *ctx, const fg_gemm16_plan *p, const fg_gemm16_args *a, void *packed);
void fg_gemm16_drive(fg_context *ctx, const fg_gemm16_plan *p, fg_gemm16_args *a, const void *packed, void *workspace);
size_t fg_conv_workspace(const fg_context *ctx,
                         const fg_conv_plan *p); /* scratch of all workers and partials, packed not included */
void fg_conv_pack_drive(fg_context *ctx, const fg_conv_plan *p, const fg_real *w, void *packed);
void fg_conv_drive(fg_context *ctx, const fg_conv_plan *p, fg_conv_args *a, void *workspace);

#endif
