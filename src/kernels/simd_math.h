/* simd_math.h: exp, log, tanh, sigmoid, softplus and activations on vectors of simd.h.
 *
 * Each is correct to 2 ulp over the whole range (tests/c/test_kernels_math.c measures against double), gives inf,
 * 0 and NaN where the function does, and handles denormals when the caller's mode does. Polynomials are those of the
 * Cephes library (Moshier, 1989: expf, logf, tanhf), evaluated with fused multiply-adds, so that AVX2 and AVX-512 give
 * the same bits. Lanes never influence one another. */
#ifndef FG_SIMD_MATH_H
#define FG_SIMD_MATH_H

#include "kernels.h"
#include "simd.h"

/* x = n ln2 + r, |r| <= ln2 / 2; returns r, and p such that exp(r) = 1 + r + r^2 p. Polynomials are evaluated in pairs
 * (Estrin 1960): half as long a chain of dependent operations as Horner's rule, which is what bounds these loops. */
V_INLINE vf v_exp_core(vf x, vf *n, vf *p) {
    *n = v_round(v_mul(x, v_set(1.44269504088896341f)));
    vf r = v_fnma(*n, v_set(0.693359375f), x); /* ln2 in two parts; the first has few bits, so this is exact */
    r = v_fnma(*n, v_set(-2.12194440e-4f), r);
    vf z = v_mul(r, r);
    vf a = v_fma(v_set(1.6666665459e-1f), r, v_set(5.0000001201e-1f));
    vf b = v_fma(v_set(8.3334519073e-3f), r, v_set(4.1665795894e-2f));
    vf c = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    *p = v_fma(z, v_fma(z, c, b), a);
    return r;
}

V_INLINE vf v_exp(vf x) {
    x = v_maxr(v_set(-105.0f), v_minr(v_set(89.0f), x)); /* beyond: 0 and inf; NaN stays */
    vf n, p, r = v_exp_core(x, &n, &p);
    return v_scale2(v_add(v_set(1.0f), v_fma(v_mul(r, r), p, r)), n);
}
/* exp(-|x|) */
V_INLINE vf v_exp_nabs(vf x) {
    vf n, p, r = v_exp_core(v_maxr(v_set(-105.0f), v_nabs(x)), &n, &p);
    return v_scale2_down(v_add(v_set(1.0f), v_fma(v_mul(r, r), p, r)), n);
}

/* 2^n for whole n in -126..127 */
V_INLINE vf v_pow2(vf n) { return v_from_bits(vi_shl(vi_add(v_to_int(n), vi_set(127)), 23)); }

/* 1 - exp(-y) for y >= 0, without cancellation near 0 */
V_INLINE vf v_one_minus_exp_neg(vf y) {
    vf x = v_maxr(v_set(-30.0f), v_minr(v_set(30.0f), v_neg(y))); /* 1 - exp(-30) rounds to 1 */
    vf n, p, r = v_exp_core(x, &n, &p), s = v_pow2(n);
    return v_fnma(s, v_fma(v_mul(r, r), p, r), v_sub(v_set(1.0f), s));
}

/* log(2^e (1 + f)) for 1 + f in [sqrt(1/2), sqrt(2)] */
V_INLINE vf v_log_core(vf f, vf e) {
    vf z = v_mul(f, f), z2 = v_mul(z, z);
    vf a = v_fma(v_set(-2.4999993993e-1f), f, v_set(3.3333331174e-1f));
    vf b = v_fma(v_set(-1.6668057665e-1f), f, v_set(2.0000714765e-1f));
    vf c = v_fma(v_set(-1.2420140846e-1f), f, v_set(1.4249322787e-1f));
    vf d = v_fma(v_set(-1.1514610310e-1f), f, v_set(1.1676998740e-1f));
    d = v_fma(z, d, c);
    d = v_fma(z2, v_set(7.0376836292e-2f), d);
    vf p = v_fma(z2, d, v_fma(z, b, a));
    vf y = v_mul(v_mul(f, z), p);
    y = v_fma(e, v_set(-2.12194440e-4f), y);
    y = v_fnma(v_set(0.5f), z, y);
    return v_fma(e, v_set(0.693359375f), v_add(f, y));
}

/* of normal positive numbers */
V_INLINE vf v_log_normal(vf x, vf shift) {
    vi b = vi_sub(v_bits(x), vi_set(0x3f3504f3)), e = vi_sra(b, 23); /* sqrt(1/2) */
    vf m = v_from_bits(vi_sub(v_bits(x), vi_shl(e, 23)));
    return v_log_core(v_sub(m, v_set(1.0f)), v_sub(v_from_int(e), shift));
}
V_INLINE vf v_log(vf x) {
    vf least = v_set(1.17549435e-38f), inf = v_set(__builtin_inff()), zero = v_zero();
    if (__builtin_expect(v_every(v_and(v_le(least, x), v_lt(x, inf))), 1)) return v_log_normal(x, zero);
    vm tiny = v_lt(x, least);
    vf r = v_log_normal(v_sel(tiny, v_mul(x, v_set(8388608.0f)), x), v_sel(tiny, v_set(23.0f), zero));
    r = v_sel(v_lt(x, inf), r, x); /* inf and NaN */
    r = v_sel(v_eq(x, zero), v_neg(inf), r);
    return v_sel(v_lt(x, zero), v_set(__builtin_nanf("")), r);
}

/* log(1 + u) for 0 <= u <= 1 is 2 atanh(s), s = u / (2 + u) <= 1/3; since 2 s = u - s u, the leading term is u itself and
 * small u keep their digits. The polynomial is 2/3 + 2/5 z + 2/7 z^2 ..., z = s^2, fitted to 0.08 ulp of the result. */
V_INLINE vf v_log1p01(vf u) {
    vf s = v_div(u, v_add(u, v_set(2.0f))), z = v_mul(s, s);
    vf a = v_fma(v_set(4.0021526814e-1f), z, v_set(6.6666418314e-1f));
    vf b = v_fma(v_set(2.8011995554e-1f), z, v_set(2.8001803160e-1f));
    vf p = v_fma(v_mul(z, z), b, a);
    return v_fnma(s, v_fnma(z, p, u), u);
}

/* An odd polynomial (Cephes' tanhf) below 0.625, else 1 - 2 / (exp(2a) + 1). */
V_INLINE vf v_tanh(vf x) {
    vf one = v_set(1.0f), a = v_abs(x), z = v_mul(a, a), z2 = v_mul(z, z);
    vf c = v_fma(v_set(1.33314422036e-1f), z, v_set(-3.33332819422e-1f));
    vf e = v_fma(v_set(2.06390887954e-2f), z, v_set(-5.37397155531e-2f));
    c = v_fma(z2, v_fma(z2, v_set(-5.70498872745e-3f), e), c);
    vf n, p, r = v_exp_core(v_minr(v_set(20.0f), v_add(a, a)), &n, &p), s = v_pow2(n); /* tanh 10 rounds to 1 */
    vf d = v_fma(s, v_fma(v_mul(r, r), p, r), v_add(s, one));
    vf big = v_sub(one, v_div(v_set(2.0f), d)), small = v_fma(v_mul(z, a), c, a);
    return v_copysign(v_sel(v_lt(a, v_set(0.625f)), small, big), x);
}

/* 1 / (1 + e) or e / (1 + e), e = exp(-|x|), and the rounding error of 1 + e taken back: 1 / (1 + e) is the larger of q and 1 -
 * q. */
V_INLINE vf v_sigmoid(vf x) {
    vf one = v_set(1.0f), e = v_exp_nabs(x), d = v_add(one, e), err = v_sub(e, v_sub(d, one));
    vf q = v_div(v_sel(v_lt(x, v_zero()), e, one), d);
    return v_fnma(v_mul(err, q), v_maxr(v_sub(one, q), q), q);
}

V_INLINE vf v_relu(vf x) { return v_maxr(v_zero(), x); }
V_INLINE vf v_leaky(vf x, vf slope) { return v_sel(v_lt(v_zero(), x), x, v_mul(x, slope)); }
V_INLINE vf v_softplus(vf x) { return v_add(v_relu(x), v_log1p01(v_exp_nabs(x))); }

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
