/* gemm_call.h: shared by matmul, linear and the convolution family. */
#ifndef FG_GEMM_CALL_H
#define FG_GEMM_CALL_H

#include "op.h"

/* Plans, takes workspace from the allocator, drives; a->packed is its own. b: the tensor whose numbers a->b are; where it is a
 * parameter, its packed form is kept (packed.h). */
fg_status fg_run_gemm(fg_context *ctx, fg_gemm_args *a, fg_tensor *b);
/* n products, 1 or 2, of which none reads what another writes; two run side by side. */
fg_status fg_run_gemms(fg_context *ctx, fg_gemm_args *a, fg_tensor *const *b, int n);
/* Under bf16 precision: input i as it is when bf16, else rounded into a temporary of the call's scope. NULL: out of memory. */
fg_tensor *fg_half_input(fg_call *c, int i);
/* The same widened to f32, for f32 kernels. */
fg_tensor *fg_rounded_input(fg_call *c, int i);
/* Where an f32 kernel writes: y, or an f32 temporary when y is bf16, which fg_real_output_done rounds into y. */
fg_tensor *fg_real_output(fg_call *c);
void fg_real_output_done(fg_call *c, const fg_tensor *t);
/* bias[n] or NULL, else an error of the op */
fg_status fg_check_bias(fg_call *c, const fg_tensor *bias, int64_t n);

#endif
