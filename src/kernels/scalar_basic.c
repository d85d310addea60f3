/* scalar_basic.c: elementwise kernels, the reference.
 *
 * Plain loops over fg_real that say what each slot of the dispatch table computes. They are the specification: the SIMD
 * files must give the same bits where the arithmetic is exact or correctly rounded step by step (everything but exp, log,
 * tanh, sigmoid and softplus, which have an error bound instead). The double build runs these alone, so the
 * transcendental functions come from libm.
 *
 * Rules kept throughout: NaN in gives NaN out (relu, clamp, max, min and sign too); y may be the same pointer as an
 * input, never a shifted one; every element depends on its own inputs only, not on its place in the range. */
#include "kernel_parts.h"
#include "real_math.h"

/* ---------------------------------------------------------------- activations, one element */
fg_real fg_act_scalar(fg_real x, fg_act act, fg_real slope) {
    switch (act) {
    case FG_ACT_RELU: return r_relu(x);
    case FG_ACT_LEAKY_RELU: return r_leaky(x, slope);
    case FG_ACT_TANH: return r_tanh(x);
    case FG_ACT_SIGMOID: return r_sigmoid(x);
    case FG_ACT_SOFTPLUS: return r_softplus(x);
    default: return x;
    }
}

fg_real fg_act_grad_scalar(fg_real y, fg_act act, fg_real slope) { return r_act_back(1, y, act, slope); }

/* ---------------------------------------------------------------- y = f(x; a, b) */
#define UNARY(name, expr)                                                                                                        \
    static void un_##name(const fg_real *px, fg_real *y, size_t n, fg_real a, fg_real b) {                                       \
        (void)a, (void)b;                                                                                                        \
        for (size_t i = 0; i < n; i++) {                                                                                         \
            fg_real x = px[i];                                                                                                   \
            y[i] = expr;                                                                                                         \
        }                                                                                                                        \
    }

static fg_real clamp_one(fg_real x, fg_real lo, fg_real hi) {
    fg_real t = lo > x ? lo : x;
    return hi < t ? hi : t;
}

UNARY(affine, a *x + b)
UNARY(exp, r_exp(x))
UNARY(log, r_log(x))
UNARY(sqrt, r_sqrt(x))
UNARY(square, x *x)
UNARY(abs, r_fabs(x))
UNARY(sign, r_sign(x))
UNARY(sin, r_sin(x))
UNARY(cos, r_cos(x))
UNARY(tanh, r_tanh(x))
UNARY(sigmoid, r_sigmoid(x))
UNARY(softplus, r_softplus(x))
UNARY(relu, r_relu(x))
UNARY(leaky_relu, r_leaky(x, a))
UNARY(clamp, clamp_one(x, a, b))
UNARY(pow_any, r_pow(x, a))
UNARY(recip, 1 / x)

/* x^2 and 1/x are what scripts mean most often; both are as exact as pow. */
static void un_pow(const fg_real *x, fg_real *y, size_t n, fg_real a, fg_real b) {
    if (a == 2) un_square(x, y, n, a, b);
    else if (a == -1) un_recip(x, y, n, a, b);
    else un_pow_any(x, y, n, a, b);
}

/* ---------------------------------------------------------------- dx = dy * f'(v); v is the input or the output */
#define UNARY_GRAD(name, expr)                                                                                                   \
    static void ug_##name(const fg_real *pdy, const fg_real *pv, fg_real *dx, size_t n, fg_real a, fg_real b) {                  \
        (void)a, (void)b;                                                                                                        \
        for (size_t i = 0; i < n; i++) {                                                                                         \
            fg_real dy = pdy[i], v = pv[i];                                                                                      \
            dx[i] = expr;                                                                                                        \
        }                                                                                                                        \
    }

/* These two ignore v, which may be NULL. */
static void ug_affine(const fg_real *dy, const fg_real *v, fg_real *dx, size_t n, fg_real a, fg_real b) {
    (void)v, (void)b;
    for (size_t i = 0; i < n; i++) dx[i] = dy[i] * a;
}
static void ug_sign(const fg_real *dy, const fg_real *v, fg_real *dx, size_t n, fg_real a, fg_real b) {
    (void)dy, (void)v, (void)a, (void)b;
    for (size_t i = 0; i < n; i++) dx[i] = 0;
}
UNARY_GRAD(exp, dy *v)
UNARY_GRAD(log, dy / v)
UNARY_GRAD(sqrt, dy / (v + v))
UNARY_GRAD(square, dy *(v + v))
UNARY_GRAD(abs, dy *r_sign(v))
UNARY_GRAD(sin, dy *r_cos(v))
UNARY_GRAD(cos, dy * -r_sin(v))
UNARY_GRAD(tanh, r_act_back(dy, v, FG_ACT_TANH, 0))
UNARY_GRAD(sigmoid, r_act_back(dy, v, FG_ACT_SIGMOID, 0))
UNARY_GRAD(softplus, r_act_back(dy, v, FG_ACT_SOFTPLUS, 0))
UNARY_GRAD(relu, r_act_back(dy, v, FG_ACT_RELU, 0))
UNARY_GRAD(leaky_relu, r_act_back(dy, v, FG_ACT_LEAKY_RELU, a))
UNARY_GRAD(clamp, v > a && v < b ? dy : 0)
UNARY_GRAD(pow_any, dy *(a *r_pow(v, a - 1)))

static void ug_pow(const fg_real *dy, const fg_real *v, fg_real *dx, size_t n, fg_real a, fg_real b) {
    if (a == 0) {
        for (size_t i = 0; i < n; i++) dx[i] = 0; /* x^0 is 1 everywhere, at 0 too */
    } else if (a == 2) ug_square(dy, v, dx, n, a, b);
    else ug_pow_any(dy, v, dx, n, a, b);
}

/* ---------------------------------------------------------------- y = a op b, strides 0 or 1 */
#define BINARY(name, expr)                                                                                                       \
    static void bin_##name(const fg_real *pa, int sa, const fg_real *pb, int sb, fg_real *y, size_t n) {                         \
        for (size_t i = 0; i < n; i++) {                                                                                         \
            fg_real a = pa[i * (size_t)sa], b = pb[i * (size_t)sb];                                                              \
            y[i] = expr;                                                                                                         \
        }                                                                                                                        \
    }
BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a *b)
BINARY(div, a / b)
BINARY(max, r_max(a, b))
BINARY(min, r_min(a, b))
BINARY(eq, a == b)
BINARY(ne, a != b)
BINARY(lt, a < b)
BINARY(le, a <= b)
BINARY(gt, a > b)
BINARY(ge, a >= b)

static void select_where(const uint8_t *c, int sc, const fg_real *a, int sa, const fg_real *b, int sb, fg_real *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = c[i * (size_t)sc] ? a[i * (size_t)sa] : b[i * (size_t)sb];
}

/* ---------------------------------------------------------------- losses and their gradients by x */
static void bce(const fg_real *x, const fg_real *t, fg_real *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double q = x[i] < FG_BCE_CLAMP ? FG_BCE_CLAMP : x[i] > 1 - FG_BCE_CLAMP ? 1 - FG_BCE_CLAMP : (double)x[i];
        y[i] = (fg_real) - (t[i] * log(q) + (1 - t[i]) * log1p(-q));
    }
}
static void bce_grad(const fg_real *dy, const fg_real *x, const fg_real *t, fg_real *dx, size_t n) {
    for (size_t i = 0; i < n; i++)
        dx[i] = x[i] < FG_BCE_CLAMP || x[i] > 1 - FG_BCE_CLAMP ? 0 : dy[i] * ((x[i] - t[i]) / (x[i] * (1 - x[i])));
}
/* max(x,0) - x t + log(1 + exp(-|x|)) */
static void bce_logits(const fg_real *x, const fg_real *t, fg_real *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = r_log1p(r_exp(-r_fabs(x[i]))) + (r_relu(x[i]) - x[i] * t[i]);
}
static void bce_logits_grad(const fg_real *dy, const fg_real *x, const fg_real *t, fg_real *dx, size_t n) {
    for (size_t i = 0; i < n; i++) dx[i] = dy[i] * (r_sigmoid(x[i]) - t[i]);
}

static void nonzero(const fg_real *x, uint8_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] != 0;
}

static void axpy(fg_real alpha, const fg_real *x, fg_real *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += alpha * x[i];
}

static void copy_strided(const fg_real *x, int64_t sx, fg_real *y, size_t n) {
    if (sx == 1) memmove(y, x, n * sizeof *y);
    else
        for (size_t i = 0; i < n; i++) y[i] = x[(int64_t)i * sx];
}

/* y[c][r] = x[r][c] in tiles, so that both sides stay in cache. */
static void transpose2d(const fg_real *x, int64_t ldx, fg_real *y, int64_t ldy, int64_t rows, int64_t cols) {
    enum { TILE = 16 };
    for (int64_t r0 = 0; r0 < rows; r0 += TILE)
        for (int64_t c0 = 0; c0 < cols; c0 += TILE) {
            int64_t r1 = r0 + TILE < rows ? r0 + TILE : rows, c1 = c0 + TILE < cols ? c0 + TILE : cols;
            for (int64_t c = c0; c < c1; c++)
                for (int64_t r = r0; r < r1; r++) y[c * ldy + r] = x[r * ldx + c];
        }
}

/* y[rows][cols] = act(y + bias[cols]); bias may be NULL. */
static void bias_act(fg_real *y, const fg_real *bias, int64_t rows, int64_t cols, fg_act act, fg_real slope) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            fg_real v = y[r * cols + c];
            y[r * cols + c] = fg_act_scalar(bias ? v + bias[c] : v, act, slope);
        }
}

/* Element first+i is word (first+i)%4 of Philox block offset + (first+i)/4, so a range may begin anywhere. */
static void dropout(const fg_real *x, fg_real *y, size_t n, uint64_t key, uint64_t offset, uint64_t first, uint32_t threshold,
                    fg_real scale) {
    enum { BLOCK = 512 };
    uint32_t u[BLOCK];
    size_t skip = first % 4;
    for (size_t i = 0; i < n;) {
        size_t m = n - i < BLOCK - skip ? n - i : BLOCK - skip;
        fg_philox_fill_u32(key, offset, first + i - skip, u, m + skip);
        for (size_t j = 0; j < m; j++) y[i + j] = u[skip + j] >= threshold ? x[i + j] * scale : 0;
        i += m;
        skip = 0;
    }
}

void fg_kernels_scalar(fg_kernels *k) {
    k->isa = "scalar";
    k->unary[FG_UN_AFFINE] = un_affine, k->unary_grad[FG_UN_AFFINE] = ug_affine;
    k->unary[FG_UN_EXP] = un_exp, k->unary_grad[FG_UN_EXP] = ug_exp;
    k->unary[FG_UN_LOG] = un_log, k->unary_grad[FG_UN_LOG] = ug_log;
    k->unary[FG_UN_SQRT] = un_sqrt, k->unary_grad[FG_UN_SQRT] = ug_sqrt;
    k->unary[FG_UN_SQUARE] = un_square, k->unary_grad[FG_UN_SQUARE] = ug_square;
    k->unary[FG_UN_ABS] = un_abs, k->unary_grad[FG_UN_ABS] = ug_abs;
    k->unary[FG_UN_SIGN] = un_sign, k->unary_grad[FG_UN_SIGN] = ug_sign;
    k->unary[FG_UN_SIN] = un_sin, k->unary_grad[FG_UN_SIN] = ug_sin;
    k->unary[FG_UN_COS] = un_cos, k->unary_grad[FG_UN_COS] = ug_cos;
    k->unary[FG_UN_TANH] = un_tanh, k->unary_grad[FG_UN_TANH] = ug_tanh;
    k->unary[FG_UN_SIGMOID] = un_sigmoid, k->unary_grad[FG_UN_SIGMOID] = ug_sigmoid;
    k->unary[FG_UN_SOFTPLUS] = un_softplus, k->unary_grad[FG_UN_SOFTPLUS] = ug_softplus;
    k->unary[FG_UN_RELU] = un_relu, k->unary_grad[FG_UN_RELU] = ug_relu;
    k->unary[FG_UN_LEAKY_RELU] = un_leaky_relu, k->unary_grad[FG_UN_LEAKY_RELU] = ug_leaky_relu;
    k->unary[FG_UN_CLAMP] = un_clamp, k->unary_grad[FG_UN_CLAMP] = ug_clamp;
    k->unary[FG_UN_POW] = un_pow, k->unary_grad[FG_UN_POW] = ug_pow;
    k->binary[FG_BIN_ADD] = bin_add;
    k->binary[FG_BIN_SUB] = bin_sub;
    k->binary[FG_BIN_MUL] = bin_mul;
    k->binary[FG_BIN_DIV] = bin_div;
    k->binary[FG_BIN_MAX] = bin_max;
    k->binary[FG_BIN_MIN] = bin_min;
    k->binary[FG_BIN_EQ] = bin_eq;
    k->binary[FG_BIN_NE] = bin_ne;
    k->binary[FG_BIN_LT] = bin_lt;
    k->binary[FG_BIN_LE] = bin_le;
    k->binary[FG_BIN_GT] = bin_gt;
    k->binary[FG_BIN_GE] = bin_ge;
    k->select = select_where;
    k->loss[FG_LOSS_BCE] = bce, k->loss_grad[FG_LOSS_BCE] = bce_grad;
    k->loss[FG_LOSS_BCE_LOGITS] = bce_logits, k->loss_grad[FG_LOSS_BCE_LOGITS] = bce_logits_grad;
    k->nonzero = nonzero;
    k->axpy = axpy;
    k->copy_strided = copy_strided;
    k->transpose2d = transpose2d;
    k->bias_act = bias_act;
    k->uniform = fg_philox_fill_uniform;
    k->normal = fg_philox_fill_normal;
    k->dropout = dropout;
    fg_kernels_scalar_reduce(k);
    fg_kernels_scalar_norm(k);
    fg_kernels_scalar_pool(k);
    fg_kernels_scalar_optim(k);
}
