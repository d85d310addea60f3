/* body_elementwise.h: elementwise kernels over simd.h, written once and included by elementwise_<isa>.c.
 *
 * Each loop runs over whole vectors and one masked tail through the same inline function of vectors, so an element's
 * value does not depend on its place. sin, cos and general powers stay with the scalar reference (libm): GANs use them
 * in embeddings and small penalties only. Memory bandwidth bounds everything here except the transcendental functions. */
#include "kernels.h"
#include "real_math.h"
#include "simd.h"
#include "simd_math.h"

/* ---------------------------------------------------------------- unary */
#define UNARY(name, expr)                                                                                                        \
    V_INLINE vf f_##name(vf x, vf a, vf b) {                                                                                     \
        (void)a, (void)b;                                                                                                        \
        return expr;                                                                                                             \
    }                                                                                                                            \
    static void un_##name(const float *x, float *y, size_t n, float sa, float sb) {                                              \
        vf a = v_set(sa), b = v_set(sb);                                                                                         \
        size_t i = 0;                                                                                                            \
        for (; i + W <= n; i += W) v_store(y + i, f_##name(v_load(x + i), a, b));                                                \
        if (i < n) v_storen(y + i, f_##name(v_loadn(x + i, n - i), a, b), n - i);                                                \
    }

V_INLINE vf v_sign(vf x) {
    vf one = v_set(1.0f), r = v_sel(v_lt(x, v_zero()), v_neg(one), x);
    return v_sel(v_lt(v_zero(), x), one, r);
}

UNARY(affine, v_add(v_mul(a, x), b))
UNARY(exp, v_exp(x))
UNARY(log, v_log(x))
UNARY(sqrt, v_sqrt(x))
UNARY(square, v_mul(x, x))
UNARY(abs, v_abs(x))
UNARY(sign, v_sign(x))
UNARY(tanh, v_tanh(x))
UNARY(sigmoid, v_sigmoid(x))
UNARY(softplus, v_softplus(x))
UNARY(relu, v_relu(x))
UNARY(leaky_relu, v_leaky(x, a))
UNARY(clamp, v_minr(b, v_maxr(a, x)))

/* ---------------------------------------------------------------- unary gradients */
#define UNARY_GRAD(name, expr)                                                                                                   \
    V_INLINE vf g_##name(vf dy, vf v, vf a, vf b) {                                                                              \
        (void)a, (void)b;                                                                                                        \
        return expr;                                                                                                             \
    }                                                                                                                            \
    static void ug_##name(const float *dy, const float *v, float *dx, size_t n, float sa, float sb) {                            \
        vf a = v_set(sa), b = v_set(sb);                                                                                         \
        size_t i = 0;                                                                                                            \
        for (; i + W <= n; i += W) v_store(dx + i, g_##name(v_load(dy + i), v_load(v + i), a, b));                               \
        if (i < n) v_storen(dx + i, g_##name(v_loadn(dy + i, n - i), v_loadn(v + i, n - i), a, b), n - i);                       \
    }

static void ug_affine(const float *dy, const float *v, float *dx, size_t n, float a, float b) {
    (void)v, (void)b;
    vf k = v_set(a);
    for (size_t i = 0; i < n; i += W) v_storew(dx + i, v_mul(v_loadw(dy + i, n - i), k), n - i);
}
UNARY_GRAD(exp, v_mul(dy, v))
UNARY_GRAD(log, v_div(dy, v))
UNARY_GRAD(sqrt, v_div(dy, v_add(v, v)))
UNARY_GRAD(square, v_mul(dy, v_add(v, v)))
UNARY_GRAD(abs, v_mul(dy, v_sign(v)))
UNARY_GRAD(tanh, v_act_back(dy, v, FG_ACT_TANH, a))
UNARY_GRAD(sigmoid, v_act_back(dy, v, FG_ACT_SIGMOID, a))
UNARY_GRAD(softplus, v_act_back(dy, v, FG_ACT_SOFTPLUS, a))
UNARY_GRAD(relu, v_act_back(dy, v, FG_ACT_RELU, a))
UNARY_GRAD(leaky_relu, v_act_back(dy, v, FG_ACT_LEAKY_RELU, a))
UNARY_GRAD(clamp, v_sel(v_and(v_lt(a, v), v_lt(v, b)), dy, v_zero()))

/* ---------------------------------------------------------------- binary: an operand of stride 0 is a broadcast scalar */
#define BINARY(name, expr)                                                                                                       \
    V_INLINE vf b_##name(vf a, vf b) { return expr; }                                                                            \
    static void bin_##name(const float *pa, int sa, const float *pb, int sb, float *y, size_t n) {                               \
        size_t i = 0;                                                                                                            \
        if (!n) return;                                                                                                          \
        vf ka = v_set(*pa), kb = v_set(*pb);                                                                                     \
        if (sa && sb)                                                                                                            \
            for (; i + W <= n; i += W) v_store(y + i, b_##name(v_load(pa + i), v_load(pb + i)));                                 \
        else if (sa)                                                                                                             \
            for (; i + W <= n; i += W) v_store(y + i, b_##name(v_load(pa + i), kb));                                             \
        else                                                                                                                     \
            for (; i + W <= n; i += W) v_store(y + i, b_##name(ka, sb ? v_load(pb + i) : kb));                                   \
        if (i < n) v_storen(y + i, b_##name(sa ? v_loadn(pa + i, n - i) : ka, sb ? v_loadn(pb + i, n - i) : kb), n - i);         \
    }

V_INLINE vf v_flag(vm m) { return v_sel(m, v_set(1.0f), v_zero()); }

BINARY(add, v_add(a, b))
BINARY(sub, v_sub(a, b))
BINARY(mul, v_mul(a, b))
BINARY(div, v_div(a, b))
BINARY(max, v_maxn(a, b))
BINARY(min, v_minn(a, b))
BINARY(eq, v_flag(v_eq(a, b)))
BINARY(ne, v_flag(v_ne(a, b)))
BINARY(lt, v_flag(v_lt(a, b)))
BINARY(le, v_flag(v_le(a, b)))
BINARY(gt, v_flag(v_lt(b, a)))
BINARY(ge, v_flag(v_le(b, a)))

static void select_where(const uint8_t *c, int sc, const float *a, int sa, const float *b, int sb, float *y, size_t n) {
    if (!n) return;
    vf ka = v_set(*a), kb = v_set(*b);
    vm kc = v_all(*c != 0);
    for (size_t i = 0; i < n; i += W) {
        size_t m = n - i;
        vm mask = kc;
        if (sc && m >= W) mask = v_bytes(c + i);
        else if (sc) {
            uint8_t tail[W] = { 0 };
            for (size_t j = 0; j < m; j++) tail[j] = c[i + j];
            mask = v_bytes(tail);
        }
        v_storew(y + i, v_sel(mask, sa ? v_loadw(a + i, m) : ka, sb ? v_loadw(b + i, m) : kb), m);
    }
}

/* ---------------------------------------------------------------- losses and their gradients by x */
/* As the scalar reference, with log(1 - q) from r = 1 - q rounded: what rounding took from r is added to first order. */
V_INLINE vf l_bce(vf x, vf t) {
    vf lo = v_set((float)FG_BCE_CLAMP), hi = v_set((float)(1 - FG_BCE_CLAMP)), one = v_set(1.0f);
    vf r = v_sub(one, x), lost = v_sub(v_sub(one, r), x);
    vf a = v_log(v_sel(v_lt(x, lo), lo, x)), b = v_add(v_log(v_sel(v_lt(hi, x), lo, r)), lost);
    a = v_sel(v_lt(hi, x), v_neg(lo), a); /* log(1 - lo), and the other way round */
    b = v_sel(v_lt(x, lo), v_neg(lo), b);
    return v_neg(v_add(v_mul(t, a), v_mul(v_sub(one, t), b)));
}
V_INLINE vf l_bce_grad(vf dy, vf x, vf t) {
    vf lo = v_set((float)FG_BCE_CLAMP), hi = v_set((float)(1 - FG_BCE_CLAMP)), one = v_set(1.0f);
    vf d = v_mul(dy, v_div(v_sub(x, t), v_mul(x, v_sub(one, x))));
    return v_sel(v_lt(x, lo), v_zero(), v_sel(v_lt(hi, x), v_zero(), d));
}
V_INLINE vf l_bce_logits(vf x, vf t) { return v_add(v_log1p01(v_exp_nabs(x)), v_sub(v_relu(x), v_mul(x, t))); }
V_INLINE vf l_bce_logits_grad(vf dy, vf x, vf t) { return v_mul(dy, v_sub(v_sigmoid(x), t)); }
#define LOSS(name)                                                                                                               \
    static void name(const float *x, const float *t, float *y, size_t n) {                                                       \
        for (size_t i = 0; i < n; i += W) v_storew(y + i, l_##name(v_loadw(x + i, n - i), v_loadw(t + i, n - i)), n - i);        \
    }                                                                                                                            \
    static void name##_grad(const float *dy, const float *x, const float *t, float *dx, size_t n) {                              \
        for (size_t i = 0, m; i < n; i += W) {                                                                                   \
            m = n - i;                                                                                                           \
            v_storew(dx + i, l_##name##_grad(v_loadw(dy + i, m), v_loadw(x + i, m), v_loadw(t + i, m)), m);                      \
        }                                                                                                                        \
    }
LOSS(bce)
LOSS(bce_logits)

/* Plain C, for the compiler to vectorise. */
static void nonzero(const float *x, uint8_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] != 0;
}

static void axpy(float alpha, const float *x, float *y, size_t n) {
    vf k = v_set(alpha);
    for (size_t i = 0; i < n; i += W) v_storew(y + i, v_add(v_loadw(y + i, n - i), v_mul(k, v_loadw(x + i, n - i))), n - i);
}

/* ---------------------------------------------------------------- transpose in 8x8 blocks of AVX registers */
V_INLINE void transpose8x8(const float *x, int64_t ldx, float *y, int64_t ldy) {
    __m256 r[8], t[8];
    /* rows 0..3 in the low halves and 4..7 in the high halves leave two shuffle rounds */
    for (int i = 0; i < 4; i++)
        for (int h = 0; h < 2; h++)
            r[i * 2 + h] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + i * ldx + h * 4)),
                                                _mm_loadu_ps(x + (i + 4) * ldx + h * 4), 1);
    for (int h = 0; h < 2; h++) {
        t[h * 4 + 0] = _mm256_unpacklo_ps(r[0 + h], r[2 + h]);
        t[h * 4 + 1] = _mm256_unpackhi_ps(r[0 + h], r[2 + h]);
        t[h * 4 + 2] = _mm256_unpacklo_ps(r[4 + h], r[6 + h]);
        t[h * 4 + 3] = _mm256_unpackhi_ps(r[4 + h], r[6 + h]);
    }
    for (int h = 0; h < 2; h++) {
        float *o = y + h * 4 * ldy;
        _mm256_storeu_ps(o, _mm256_shuffle_ps(t[h * 4], t[h * 4 + 2], 0x44));
        _mm256_storeu_ps(o + ldy, _mm256_shuffle_ps(t[h * 4], t[h * 4 + 2], 0xee));
        _mm256_storeu_ps(o + 2 * ldy, _mm256_shuffle_ps(t[h * 4 + 1], t[h * 4 + 3], 0x44));
        _mm256_storeu_ps(o + 3 * ldy, _mm256_shuffle_ps(t[h * 4 + 1], t[h * 4 + 3], 0xee));
    }
}

static void transpose2d(const float *x, int64_t ldx, float *y, int64_t ldy, int64_t rows, int64_t cols) {
    enum { TILE = 64 }; /* tiles of 16 KB on each side keep lines in cache until they are full */
    for (int64_t r0 = 0; r0 < rows; r0 += TILE)
        for (int64_t c0 = 0; c0 < cols; c0 += TILE) {
            int64_t r1 = r0 + TILE < rows ? r0 + TILE : rows, c1 = c0 + TILE < cols ? c0 + TILE : cols;
            int64_t rb = r0 + (r1 - r0) / 8 * 8, cb = c0 + (c1 - c0) / 8 * 8;
            for (int64_t c = c0; c < cb; c += 8)
                for (int64_t r = r0; r < rb; r += 8) transpose8x8(x + r * ldx + c, ldx, y + c * ldy + r, ldy);
            for (int64_t c = c0; c < c1; c++)
                for (int64_t r = c < cb ? rb : r0; r < r1; r++) y[c * ldy + r] = x[r * ldx + c];
        }
}

static void register_elementwise(fg_kernels *k) {
    k->unary[FG_UN_AFFINE] = un_affine, k->unary_grad[FG_UN_AFFINE] = ug_affine;
    k->unary[FG_UN_EXP] = un_exp, k->unary_grad[FG_UN_EXP] = ug_exp;
    k->unary[FG_UN_LOG] = un_log, k->unary_grad[FG_UN_LOG] = ug_log;
    k->unary[FG_UN_SQRT] = un_sqrt, k->unary_grad[FG_UN_SQRT] = ug_sqrt;
    k->unary[FG_UN_SQUARE] = un_square, k->unary_grad[FG_UN_SQUARE] = ug_square;
    k->unary[FG_UN_ABS] = un_abs, k->unary_grad[FG_UN_ABS] = ug_abs;
    k->unary[FG_UN_SIGN] = un_sign;
    k->unary[FG_UN_TANH] = un_tanh, k->unary_grad[FG_UN_TANH] = ug_tanh;
    k->unary[FG_UN_SIGMOID] = un_sigmoid, k->unary_grad[FG_UN_SIGMOID] = ug_sigmoid;
    k->unary[FG_UN_SOFTPLUS] = un_softplus, k->unary_grad[FG_UN_SOFTPLUS] = ug_softplus;
    k->unary[FG_UN_RELU] = un_relu, k->unary_grad[FG_UN_RELU] = ug_relu;
    k->unary[FG_UN_LEAKY_RELU] = un_leaky_relu, k->unary_grad[FG_UN_LEAKY_RELU] = ug_leaky_relu;
    k->unary[FG_UN_CLAMP] = un_clamp, k->unary_grad[FG_UN_CLAMP] = ug_clamp;
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
    k->transpose2d = transpose2d;
}
