/* pack_body.h: laying operands out for the register tiles, included by gemm_body.h and conv_body.h. A panel of B is
 * [k][NR] with zeros beyond the last column, so that tiles load whole vectors; a panel of A is rows FG_TILE_STRIDE apart. */
#ifndef FG_PACK_BODY_H
#define FG_PACK_BODY_H

#include "integers.h"

/* d[0..count) = s[0..count); up to VL - 1 floats after them become zero */
static inline void copy_floats(float *d, const float *s, int64_t count) {
    int64_t i = 0;
    for (; i + VL <= count; i += VL) v_store(d + i, v_load(s + i));
    if (i < count) v_store(d + i, v_load_part(s + i, v_mask(count - i)));
}

/* d[k][NR] = s[k][cols], rows of s lds apart */
static inline void pack_panel(const float *s, int64_t lds, int64_t kc, int64_t cols, float *d) {
    vmask m0 = v_mask(cols), m1 = v_mask(cols - VL);
    if (cols == NR)
        for (int64_t k = 0; k < kc; k++, s += lds, d += NR) v_store(d, v_load(s)), v_store(d + VL, v_load(s + VL));
    else
        for (int64_t k = 0; k < kc; k++, s += lds, d += NR)
            v_store(d, v_load_part(s, m0)), v_store(d + VL, cols > VL ? v_load_part(s + VL, m1) : v_zero());
}

/* d[k][NR] = s[cols][k] transposed, rows of s lds apart */
static inline void pack_panel_transposed(const float *s, int64_t lds, int64_t kc, int64_t cols, float *d) {
    int64_t j = 0;
    for (; j + VL <= cols; j += VL) {
        int64_t k = 0;
        for (; k + VL <= kc; k += VL) v_transpose(s + j * lds + k, lds, d + k * NR + j, NR);
        for (; k < kc; k++)
            for (int64_t i = j; i < j + VL; i++) d[k * NR + i] = s[i * lds + k];
    }
    for (int64_t k = 0; j < NR && k < kc; k++)
        for (int64_t i = j; i < NR; i++) d[k * NR + i] = i < cols ? s[i * lds + k] : 0;
}

#endif
