/* op.h: what an op family's file includes: applying an op, the list of all ops, and small helpers for vjps. */
#ifndef FG_OP_H
#define FG_OP_H

#include "node.h"

/* Runs op on in[n] with a copy of opts (NULL: zeros): checks, converts dtypes, infers, allocates, records, computes. The
 * result is borrowed from s. NULL when s has failed already, an input is NULL (and not optional), or this fails. */
fg_tensor *fg_op_apply(fg_scope *s, const fg_op *op, fg_tensor *const *in, int n, const void *opts);

/* The list: ops.def holds FG_OP(name) lines; each op is `const fg_op fg_op_<name>`. */
#define FG_OP(name) extern const fg_op fg_op_##name;
#include "ops.def"
#undef FG_OP
extern const fg_op *const fg_op_table[]; /* in ops.def's order, NULL at the end */
const fg_op *fg_op_find(const char *name);

/* Error of an op: prefixed by its name, `conv2d: ...`; returns the status. */
fg_status fg_op_error(fg_call *c, fg_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "[64,28,28,1]" in one of 8 rotating buffers of the calling thread: for messages only. */
const char *fg_str(const fg_shape *sh);

/* An activation whose output must not be rounded to bf16: near 1 its gradient would die. */
#define FG_ACT_WIDE(act) ((act) == FG_ACT_TANH || (act) == FG_ACT_SIGMOID || (act) == FG_ACT_SOFTPLUS)

/* "1 channel", "2 channels" */
#define FG_PLURAL(n) ((n) == 1 ? "" : "s")

/* Broadcast of two shapes as NumPy; false when they do not fit. */
bool fg_broadcast(const fg_shape *a, const fg_shape *b, fg_shape *out);
/* 0..ndim-1 from a possibly negative axis; -1 when out of range. */
int fg_axis(int axis, int ndim);
/* Mask of axes (NULL or empty: all); false when out of range or repeated. */
bool fg_axes_mask(const fg_axes *axes, int ndim, uint32_t *mask);
/* Sums dy to the shape of input i when broadcasting stretched it, else dy itself. */
fg_tensor *fg_to_input(fg_vjp *v, fg_tensor *dy, int i);
/* Uninitialised f32 tensor in v->s for vjp_fast. NULL when out of memory. */
fg_tensor *fg_vjp_new(fg_vjp *v, const fg_shape *sh);
/* The same with the shape and dtype of dy, which is bf16 only in ops with bf16 inputs of their own (op.half). */
fg_tensor *fg_vjp_like(fg_vjp *v, const fg_tensor *dy);

/* act_grad in f32 whatever the dtype of dy: for a backward pass that is not recorded. */
fg_tensor *fg_act_grad_wide(fg_scope *s, fg_tensor *dy, fg_tensor *y, fg_act act, double slope);

/* The same, or dy itself where the pass owns it alone and the result may overwrite it: a third of the memory
 * traffic less, and a smaller peak. For vjp_fast only. */
fg_tensor *fg_vjp_over_dy(fg_vjp *v);
/* For vjp_fast of y = act(... + bias): g = dy * act'(y), and the gradient of input `bias` where it is wanted, in one pass. */
fg_tensor *fg_vjp_act_bias(fg_vjp *v, fg_act act, double slope, int bias);

/* Threaded elementwise loops: ranges of 16384 elements. */
#define FG_GRAIN 16384
/* fg_parallel and fg_parallel_range for light work: of `elements` in all; of n items of `each` elements. */
void fg_parallel_light(fg_context *ctx, int64_t elements, int chunks, fg_chunk_fn fn, void *arg);
void fg_range_light(fg_context *ctx, int64_t n, int64_t each, fg_range_fn fn, void *arg);
/* Elements in f32 or bf16. A loop over a range reads spans, and writes its result between open and close, in blocks of at
 * most FG_BLOCK elements where a span is bf16: widened and rounded in the first cache, never as a whole tensor. */
#define FG_BLOCK 1024
typedef struct fg_span {
    void *p;
    bool half;
} fg_span;
fg_span fg_span_of(const fg_tensor *t); /* NULL gives an empty one, which reads as NULL */
static inline fg_span fg_span_reals(const fg_real *p) { return (fg_span){ (void *)p, false }; }
const fg_real *fg_span_read(const fg_kernels *k, fg_span s, int64_t i, int64_t n, fg_real *block);
static inline fg_real *fg_span_open(fg_span s, int64_t i, fg_real *block) { return s.half ? block : (fg_real *)s.p + i; }
static inline void fg_span_close(const fg_kernels *k, fg_span s, int64_t i, int64_t n, const fg_real *block) {
    if (s.half) k->to_bf16(block, (uint16_t *)s.p + i, (size_t)n);
}
void fg_run_unary(fg_context *ctx, fg_unary u, fg_span x, fg_span y, int64_t n, fg_real a, fg_real b);
void fg_run_unary_grad(fg_context *ctx, fg_unary u, fg_span dy, fg_span v, fg_span dx, int64_t n, fg_real a, fg_real b);

/* Column sums of x[rows][n] into y[n] with fixed chunks and a fixed tree; scratch from the allocator. */
fg_status fg_run_reduce_cols(fg_context *ctx, fg_reduction r, const fg_real *x, int64_t rows, int64_t n, fg_real *y);
/* The kernel act_grad_sums on the whole of dy[rows][n], cut likewise. */
fg_status fg_run_act_grad_sums(fg_context *ctx, const fg_real *dy, const fg_real *y, int64_t rows, int64_t n, fg_act act,
                               fg_real slope, fg_real *g, fg_real *sum);

/* Attribute helpers for op tables */
#define FG_ATTR(kind_, type, field, def_)                                                                                        \
    { #field, kind_, false, offsetof(type, field), 0, def_ }
#define FG_ATTR_REQ(kind_, type, field)                                                                                          \
    { #field, kind_, true, offsetof(type, field), 0, 0 }
#define FG_ATTR_PAD(type)                                                                                                        \
    { "padding", FG_A_PAD, false, offsetof(type, pad), offsetof(type, same), 0 }
#define FG_ATTR_END                                                                                                              \
    { NULL, 0, false, 0, 0, 0 }

#endif
