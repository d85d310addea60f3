/* convert.c: the four dtypes, and conversion between them.
 *
 * f32 means fg_real (double in the test-only build). bf16 is the upper half of an IEEE single: the rounding is to nearest
 * even, a NaN stays a quiet NaN. Conversion to integers truncates toward zero and saturates, NaN gives 0, so that no
 * value is undefined behaviour in C. Pure functions; any thread. */
#include "tensor.h"

#include <string.h>

static const char *const dtype_names[] = { "f32", "bf16", "u8", "i32" };
static const size_t dtype_sizes[] = { sizeof(fg_real), 2, 1, 4 };

const char *fg_dtype_name(fg_dtype dt) { return (unsigned)dt <= FG_I32 ? dtype_names[dt] : "unknown"; }

size_t fg_dtype_size(fg_dtype dt) { return (unsigned)dt <= FG_I32 ? dtype_sizes[dt] : 0; }

bool fg_dtype_from_name(const char *name, fg_dtype *out) {
    for (int i = 0; i <= FG_I32; i++)
        if (strcmp(name, dtype_names[i]) == 0) {
            *out = (fg_dtype)i;
            return true;
        }
    return false;
}

uint16_t fg_bf16_from_float(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    if ((b & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(b >> 16 | 0x40); /* NaN: rounding could make it infinite */
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

float fg_bf16_to_float(uint16_t b) {
    uint32_t w = (uint32_t)b << 16;
    float f;
    memcpy(&f, &w, sizeof f);
    return f;
}

static int32_t to_i32(double v) {
    if (!(v == v)) return 0;
    if (v >= 2147483647.0) return INT32_MAX;
    if (v <= -2147483648.0) return INT32_MIN;
    return (int32_t)v;
}

static uint8_t to_u8(double v) {
    if (!(v > 0)) return 0;
    return v >= 255.0 ? 255 : (uint8_t)v;
}

/* One loop per pair, expanded: FROM reads element i of s, TO writes v into element i of d. */
#define LOOP(S, D, EXPR)                                                                                                         \
    do {                                                                                                                         \
        const S *s = src;                                                                                                        \
        D *d = dst;                                                                                                              \
        for (size_t i = 0; i < n; i++) d[i] = EXPR;                                                                              \
    } while (0)

void fg_convert(fg_dtype from, const void *src, fg_dtype to, void *dst, size_t n) {
    if (n == 0) return;
    if (from == to) {
        memmove(dst, src, n * fg_dtype_size(from));
        return;
    }
    switch (from * 4 + to) {
    case FG_F32 * 4 + FG_BF16: LOOP(fg_real, uint16_t, fg_bf16_from_float((float)s[i])); break;
    case FG_F32 * 4 + FG_U8: LOOP(fg_real, uint8_t, to_u8((double)s[i])); break;
    case FG_F32 * 4 + FG_I32: LOOP(fg_real, int32_t, to_i32((double)s[i])); break;
    case FG_BF16 * 4 + FG_F32: LOOP(uint16_t, fg_real, (fg_real)fg_bf16_to_float(s[i])); break;
    case FG_BF16 * 4 + FG_U8: LOOP(uint16_t, uint8_t, to_u8((double)fg_bf16_to_float(s[i]))); break;
    case FG_BF16 * 4 + FG_I32: LOOP(uint16_t, int32_t, to_i32((double)fg_bf16_to_float(s[i]))); break;
    case FG_U8 * 4 + FG_F32: LOOP(uint8_t, fg_real, (fg_real)s[i]); break;
    case FG_U8 * 4 + FG_BF16: LOOP(uint8_t, uint16_t, fg_bf16_from_float((float)s[i])); break;
    case FG_U8 * 4 + FG_I32: LOOP(uint8_t, int32_t, s[i]); break;
    case FG_I32 * 4 + FG_F32: LOOP(int32_t, fg_real, (fg_real)s[i]); break;
    case FG_I32 * 4 + FG_BF16: LOOP(int32_t, uint16_t, fg_bf16_from_float((float)s[i])); break;
    case FG_I32 * 4 + FG_U8: LOOP(int32_t, uint8_t, to_u8((double)s[i])); break;
    default: break;
    }
}
