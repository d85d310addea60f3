/* flat.h: a list of tensors as one long row of elements, so that a pass over all parameters opens one parallel section. */
#ifndef FG_FLAT_H
#define FG_FLAT_H

#include "base.h"

/* end[i]: elements of tensors 0..i together; a tensor to skip adds none. */
int fg_flat_chunks(const int64_t *end, int n);
/* Runs fn for every piece of every tensor, a chunk's pieces in order; a chunk may hold pieces of several tensors. whole[i] (or
 * NULL, or 0): so many elements, from the tensor's start on, are never parted. */
typedef void (*fg_flat_fn)(void *arg, int chunk, int tensor, int64_t first, int64_t count);
void fg_flat_run(fg_context *ctx, const int64_t *end, int n, const int64_t *whole, fg_flat_fn fn, void *arg);

#endif
