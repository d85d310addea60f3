/* bf16.h: the storage format bf16, the upper half of an IEEE single: sign, 8 bits of exponent, 7 of significand.
 *
 * Rounding is to nearest even, and done on the bits: past the largest finite value it carries into infinity by itself, and
 * denormals are kept. A NaN keeps its sign and upper bits and is made quiet; rounding its bits could make it infinite. */
#ifndef FG_BF16_H
#define FG_BF16_H

#include <stdint.h>
#include <string.h>

static inline uint16_t fg_bf16_from_float(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    if ((b & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(b >> 16 | 0x40);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static inline float fg_bf16_to_float(uint16_t b) {
    uint32_t w = (uint32_t)b << 16;
    float f;
    memcpy(&f, &w, sizeof f);
    return f;
}

#endif
