/* real_math.h: libm by the width of fg_real, and the small rules every kernel file shares: how NaN moves through max
 * and relu, and the fixed tree that joins 16 partial sums. Included by scalar_*.c and by the SIMD bodies. */
#ifndef FG_REAL_MATH_H
#define FG_REAL_MATH_H

#include "kernels.h"

#include <math.h>
#include <string.h>

#ifdef FG_DOUBLE
#define R(fn) fn
#else
#define R(fn) fn##f
#endif
#define r_exp   R(exp)
#define r_expm1 R(expm1)
#define r_log   R(log)
#define r_log1p R(log1p)
#define r_sqrt  R(sqrt)
#define r_sin   R(sin)
#define r_cos   R(cos)
#define r_fabs  R(fabs)
#define r_pow   R(pow)

/* Rows narrower than this are reduced by 16 row lanes, see tree16. */
enum { LANES = 16 };

/* NaN if either is; on equal values (two zeros) the second, as the x86 instructions do. */
static inline fg_real r_max(fg_real a, fg_real b) { return a > b || a != a ? a : b; }
static inline fg_real r_min(fg_real a, fg_real b) { return a < b || a != a ? a : b; }
static inline fg_real r_relu(fg_real x) { return 0 > x ? 0 : x; }
static inline fg_real r_leaky(fg_real x, fg_real slope) { return x > 0 ? x : x * slope; }
/* In double, since libm's tanhf and a division of rounded floats miss the bound of 2 ulp. */
static inline fg_real r_tanh(fg_real x) { return (fg_real)tanh((double)x); }
static inline fg_real r_sigmoid(fg_real x) {
    double e = exp(-fabs((double)x)); /* never overflows, and keeps the small side's relative accuracy */
    return (fg_real)((x < 0 ? e : 1) / (1 + e));
}
static inline fg_real r_softplus(fg_real x) { return r_relu(x) + r_log1p(r_exp(-r_fabs(x))); }
static inline fg_real r_sign(fg_real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

/* dy * act'(x) from the output y. relu selects, so an infinite dy behind a closed gate gives 0 and not NaN. */
static inline fg_real r_act_back(fg_real dy, fg_real y, fg_act act, fg_real slope) {
    switch (act) {
    case FG_ACT_RELU: return y <= 0 ? 0 : dy;
    case FG_ACT_LEAKY_RELU: return y > 0 ? dy : dy * slope;
    case FG_ACT_TANH: return dy * (1 - y * y);
    case FG_ACT_SIGMOID: return dy * (y * (1 - y));
    case FG_ACT_SOFTPLUS: return dy * -r_expm1(-y);
    default: return dy;
    }
}

/* Joins 16 partial results by halves: 0..7 with 8..15, 0..3 with 4..7, and so on, the order SIMD registers fold in. */
static inline fg_real tree16_step(fg_reduction r, fg_real a, fg_real b) {
    return r == FG_RED_SUM ? a + b : r == FG_RED_MAX ? r_max(a, b) : r_min(a, b);
}
static inline fg_real tree16(fg_reduction r, fg_real v[LANES]) {
    for (int s = LANES / 2; s; s /= 2)
        for (int i = 0; i < s; i++) v[i] = tree16_step(r, v[i], v[i + s]);
    return v[0];
}
/* What an empty reduction gives, and what lanes start from. */
static inline fg_real reduce_start(fg_reduction r) {
    return r == FG_RED_SUM ? 0 : r == FG_RED_MAX ? -(fg_real)INFINITY : (fg_real)INFINITY;
}

#endif
