/* broadcast.h: walking two or three operands of different shapes as one (NumPy's rules). */
#ifndef FG_BROADCAST_H
#define FG_BROADCAST_H

#include "op.h"

#define FG_WALK_MAX 3

/* Dimensions merged where all operands allow; the innermost becomes the kernel's loop with strides 0 or 1. */
typedef struct fg_walk {
    int ndim; /* of the outer loop */
    int64_t dim[FG_MAX_RANK], stride[FG_WALK_MAX][FG_MAX_RANK];
    int64_t outer, inner;
    int step[FG_WALK_MAX]; /* 0 or 1, in the inner loop */
} fg_walk;

void fg_walk_init(fg_walk *w, const fg_shape *out, const fg_shape *const *in, int n);
/* Element offsets of the operands at outer index i. */
void fg_walk_at(const fg_walk *w, int n, int64_t i, int64_t *offset);
/* Runs body(arg, operand offsets, output offset, count) over the whole output in pieces of about FG_GRAIN elements. */
typedef void (*fg_walk_fn)(void *arg, const int64_t *offset, int64_t out, int64_t count);
void fg_walk_run(fg_context *ctx, const fg_walk *w, int n, fg_walk_fn fn, void *arg);

#endif
