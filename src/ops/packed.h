/* packed.h: weights in the layout that a convolution kernel wants, cached with their storage between updates. */
#ifndef FG_PACKED_H
#define FG_PACKED_H

#include "tensor.h"
#include "kernels.h"

/* Packed form of w for plan p: from the cache when w is a leaf parameter whose version did not change, else packed into a
 * fresh block. *owned says that the caller frees it (fg_free(ctx, result, p->packed)). NULL with the error set. */
const void *fg_packed_get(fg_context *ctx, fg_tensor *w, const fg_conv_plan *p, bool *owned);

/* Bytes of packed data that the cache holds; they count as live memory. */
size_t fg_packed_bytes(const fg_context *ctx);

extern const fg_room fg_room_packed;

#endif
