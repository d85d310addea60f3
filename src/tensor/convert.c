/* convert.c: the four dtypes, and conversion between them.
 *
 * f32 means fg_real (double in the test-only build). bf16 is the upper half of an IEEE single: the rounding is to nearest
 * even, a NaN stays a quiet NaN. Conversion to integers truncates toward zero and saturates, NaN gives 0, so that no
 * value is undefined behaviour in C. The pairs that training meets (f32 and bf16, bytes to f32) are kernels. */
#include "tensor.h"
#include "kernels.h"

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

void fg_convert(const fg_context *ctx, fg_dtype from, const void *src, fg_dtype to, void *dst, size_t n) {
    if (n == 0) return;
    if (from == to) {
        memmove(dst, src, n * fg_dtype_size(from));
        return;
    }
    switch (from * 4 + to) {
    case FG_F32 * 4 + FG_BF16: ctx->k->to_bf16(src, dst, n); break;
    case FG_F32 * 4 + FG_U8: LOOP(fg_real, uint8_t, to_u8((double)s[i])); break;
    case FG_F32 * 4 + FG_I32: LOOP(fg_real, int32_t, to_i32((double)s[i])); break;
    case FG_BF16 * 4 + FG_F32: ctx->k->from_bf16(src, dst, n); break;
    case FG_BF16 * 4 + FG_U8: LOOP(uint16_t, uint8_t, to_u8((double)fg_bf16_to_float(s[i]))); break;
    case FG_BF16 * 4 + FG_I32: LOOP(uint16_t, int32_t, to_i32((double)fg_bf16_to_float(s[i]))); break;
    case FG_U8 * 4 + FG_F32: ctx->k->from_u8(src, dst, n); break;
    case FG_U8 * 4 + FG_BF16: LOOP(uint8_t, uint16_t, fg_bf16_from_float((float)s[i])); break;
    case FG_U8 * 4 + FG_I32: LOOP(uint8_t, int32_t, s[i]); break;
    case FG_I32 * 4 + FG_F32: LOOP(int32_t, fg_real, (fg_real)s[i]); break;
    case FG_I32 * 4 + FG_BF16: LOOP(int32_t, uint16_t, fg_bf16_from_float((float)s[i])); break;
    case FG_I32 * 4 + FG_U8: LOOP(int32_t, uint8_t, to_u8((double)s[i])); break;
    default: break;
    }
}

typedef struct convert_arg {
    const fg_tensor *src;
    fg_tensor *dst;
} convert_arg;
static void convert_range(void *arg, int64_t first, int64_t end, int worker) {
    const convert_arg *q = arg;
    (void)worker;
    fg_dtype from = (fg_dtype)q->src->dtype, to = (fg_dtype)q->dst->dtype;
    fg_convert(q->src->ctx, from, (const char *)fg_data(q->src) + (size_t)first * fg_dtype_size(from), to,
               (char *)fg_data(q->dst) + (size_t)first * fg_dtype_size(to), (size_t)(end - first));
}
void fg_convert_tensor(const fg_tensor *src, fg_tensor *dst) {
    convert_arg q = { src, dst };
    if (src->numel < FG_LIGHT) convert_range(&q, 0, src->numel, 0);
    else fg_parallel_range(src->ctx, src->numel, 16384, convert_range, &q);
}
