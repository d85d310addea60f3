/* simd_math.h: exp, log, tanh, sigmoid, softplus and activations on vectors of simd.h.
 *
 * Each is correct to about 2 ulp over the whole range (tests/c/test_kernels_math.c measures against double), gives inf,
 * 0 and NaN where the function does, and handles denormals when the caller's mode does. Polynomials are those of the
 * Cephes library (Moshier, 1989: expf, logf, tanhf), evaluated with fused multiply-adds, so that AVX2 and AVX-512 give
 * the same bits. Lanes never influence one another. */
#ifndef FG_SIMD_MATH_H
#define FG_SIMD_MATH_H

#include "kernels.h"
#include "simd.h"

/* x = n ln2 + r, |r| <= ln2 / 2; returns expm1(r) to n's scale. */
V_INLINE vf v_exp_core(vf x, vf *n) {
    *n = v_round(v_mul(x, v_set(1.44269504088896341f)));
    vf r = v_fnma(*n, v_set(0.693359375f), x); /* ln2 in two parts; the first has few bits, so this is exact */
    r = v_fnma(*n, v_set(-2.12194440e-4f), r);
    vf p = v_set(1.9875691500e-4f);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    return v_fma(v_mul(r, r), p, r);
}

V_INLINE vf v_exp(vf x) {
    x = v_maxr(v_set(-105.0f), v_minr(v_set(89.0f), x)); /* beyond: 0 and inf; NaN stays */
    vf n, p = v_exp_core(x, &n);
    return v_scale2(v_add(v_set(1.0f), p), n);
}

/* 1 - exp(-y) for y >= 0, without cancellation near 0 */
V_INLINE vf v_one_minus_exp_neg(vf y) {
    vf x = v_maxr(v_set(-30.0f), v_minr(v_set(30.0f), v_neg(y))); /* 1 - exp(-30) rounds to 1 */
    vf n, p = v_exp_core(x, &n), s = v_scale2(v_set(1.0f), n);
    return v_fnma(s, p, v_sub(v_set(1.0f), s));
}

/* log(2^e (1 + f)) for 1 + f in [sqrt(1/2), sqrt(2)] */
V_INLINE vf v_log_core(vf f, vf e) {
    vf z = v_mul(f, f), p = v_set(7.0376836292e-2f);
    p = v_fma(p, f, v_set(-1.1514610310e-1f));
    p = v_fma(p, f, v_set(1.1676998740e-1f));
    p = v_fma(p, f, v_set(-1.2420140846e-1f));
    p = v_fma(p, f, v_set(1.4249322787e-1f));
    p = v_fma(p, f, v_set(-1.6668057665e-1f));
    p = v_fma(p, f, v_set(2.0000714765e-1f));
    p = v_fma(p, f, v_set(-2.4999993993e-1f));
    p = v_fma(p, f, v_set(3.3333331174e-1f));
    vf y = v_mul(v_mul(f, z), p);
    y = v_fma(e, v_set(-2.12194440e-4f), y);
    y = v_fnma(v_set(0.5f), z, y);
    return v_fma(e, v_set(0.693359375f), v_add(f, y));
}

V_INLINE vf v_log(vf x) {
    vf one = v_set(1.0f), inf = v_set(__builtin_inff());
    vm tiny = v_lt(x, v_set(1.17549435e-38f));
    vf s = v_sel(tiny, v_mul(x, v_set(8388608.0f)), x);
    vi b = vi_sub(v_bits(s), vi_set(0x3f3504f3)); /* sqrt(1/2) */
    vi e = vi_sra(b, 23);
    vf m = v_from_bits(vi_sub(v_bits(s), vi_shl(e, 23)));
    vf ef = v_sub(v_from_int(e), v_sel(tiny, v_set(23.0f), v_zero()));
    vf r = v_log_core(v_sub(m, one), ef);
    r = v_sel(v_lt(x, inf), r, x); /* inf and NaN */
    r = v_sel(v_eq(x, v_zero()), v_neg(inf), r);
    return v_sel(v_lt(x, v_zero()), v_set(__builtin_nanf("")), r);
}

/* log(1 + u) for 0 <= u <= 1: the argument is reduced exactly, so small u keep their digits */
V_INLINE vf v_log1p01(vf u) {
    vm big = v_lt(v_set(0.41421356f), u); /* 1 + u = 2 (1 + (u - 1)/2) */
    vf f = v_sel(big, v_mul(v_sub(u, v_set(1.0f)), v_set(0.5f)), u);
    return v_log_core(f, v_sel(big, v_set(1.0f), v_zero()));
}

V_INLINE vf v_tanh(vf x) {
    vf one = v_set(1.0f), a = v_abs(x), z = v_mul(a, a);
    vf p = v_set(-5.70498872745e-3f);
    p = v_fma(p, z, v_set(2.06390887954e-2f));
    p = v_fma(p, z, v_set(-5.37397155531e-2f));
    p = v_fma(p, z, v_set(1.33314422036e-1f));
    p = v_fma(p, z, v_set(-3.33332819422e-1f));
    vf small = v_fma(v_mul(z, a), p, a);
    vf big = v_sub(one, v_div(v_set(2.0f), v_add(v_exp(v_add(a, a)), one)));
    return v_copysign(v_sel(v_lt(a, v_set(0.625f)), small, big), x);
}

V_INLINE vf v_sigmoid(vf x) {
    vf one = v_set(1.0f), e = v_exp(v_nabs(x));
    return v_div(v_sel(v_lt(x, v_zero()), e, one), v_add(one, e));
}

V_INLINE vf v_relu(vf x) { return v_maxr(v_zero(), x); }
V_INLINE vf v_leaky(vf x, vf slope) { return v_sel(v_lt(v_zero(), x), x, v_mul(x, slope)); }
V_INLINE vf v_softplus(vf x) { return v_add(v_relu(x), v_log1p01(v_exp(v_nabs(x)))); }

/* act(x); act is a constant where this is inlined */
V_INLINE vf v_act(vf x, fg_act act, vf slope) {
    switch (act) {
    case FG_ACT_RELU: return v_relu(x);
    case FG_ACT_LEAKY_RELU: return v_leaky(x, slope);
    case FG_ACT_TANH: return v_tanh(x);
    case FG_ACT_SIGMOID: return v_sigmoid(x);
    case FG_ACT_SOFTPLUS: return v_softplus(x);
    default: return x;
    }
}

/* dy * act'(x) from the output y */
V_INLINE vf v_act_back(vf dy, vf y, fg_act act, vf slope) {
    vf one = v_set(1.0f);
    switch (act) {
    case FG_ACT_RELU: return v_sel(v_le(y, v_zero()), v_zero(), dy);
    case FG_ACT_LEAKY_RELU: return v_sel(v_lt(v_zero(), y), dy, v_mul(dy, slope));
    case FG_ACT_TANH: return v_mul(dy, v_sub(one, v_mul(y, y)));
    case FG_ACT_SIGMOID: return v_mul(dy, v_mul(y, v_sub(one, y)));
    case FG_ACT_SOFTPLUS: return v_mul(dy, v_one_minus_exp_neg(y));
    default: return dy;
    }
}

/* Runs CALL(constant act) for a run-time act, so that inner loops hold no switch. */
#define V_ACT_SWITCH(act, CALL)                                                                                                  \
    switch (act) {                                                                                                               \
    case FG_ACT_RELU: CALL(FG_ACT_RELU); break;                                                                                  \
    case FG_ACT_LEAKY_RELU: CALL(FG_ACT_LEAKY_RELU); break;                                                                      \
    case FG_ACT_TANH: CALL(FG_ACT_TANH); break;                                                                                  \
    case FG_ACT_SIGMOID: CALL(FG_ACT_SIGMOID); break;                                                                            \
    case FG_ACT_SOFTPLUS: CALL(FG_ACT_SOFTPLUS); break;                                                                          \
    default: CALL(FG_ACT_NONE); break;                                                                                           \
    }

#endif
