/* packed.h: weights in the form that a kernel wants (packed, or rounded to bf16), cached with their storage between updates. */
#ifndef FG_PACKED_H
#define FG_PACKED_H

#include "tensor.h"
#include "kernels.h"

/* A form of a weight: from the cache when the weight is a leaf parameter whose version did not change, else made anew. */
typedef struct fg_packed {
    const void *data; /* NULL with the error set */
    size_t owned;     /* bytes of a block that is this call's alone, 0 when the cache holds it */
} fg_packed;
void fg_packed_free(fg_context *ctx, fg_packed p);

/* As p's kernel packs it (p->packed > 0). round: values are rounded to bf16 before, for an f32 kernel under bf16 precision. */
fg_packed fg_packed_conv(fg_context *ctx, fg_tensor *w, const fg_conv_plan *p, bool round);
/* As a plan of f32 products packs B, where p->keeps. a holds sizes, strides and w's numbers. */
fg_packed fg_packed_gemm(fg_context *ctx, fg_tensor *w, const fg_gemm_args *a, const fg_gemm_plan *p);
/* As p's kernel packs it, where p->packed > 0; else w's numbers in bf16. a holds sizes and strides. */
fg_packed fg_packed_gemm16(fg_context *ctx, fg_tensor *w, const fg_gemm16_args *a, const fg_gemm16_plan *p);
/* w's numbers rounded to bf16, in f32 storage */
fg_packed fg_packed_rounded(fg_context *ctx, fg_tensor *w);

/* dst = src rounded to bf16 and widened again, both f32 of one size, over the thread team; in place allowed */
void fg_round_reals(fg_context *ctx, const fg_real *src, fg_real *dst, int64_t n);

/* Bytes of packed data that the cache holds; they count as live memory. */
size_t fg_packed_bytes(const fg_context *ctx);

extern const fg_room fg_room_packed;

#endif
