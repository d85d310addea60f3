/* gemm_call.h: shared by matmul, linear and the convolution family. */
#ifndef FG_GEMM_CALL_H
#define FG_GEMM_CALL_H

#include "op.h"

/* Plans, takes workspace from the allocator, drives. */
fg_status fg_run_gemm(fg_context *ctx, const fg_gemm_args *a);
/* bias[n] or NULL, else an error of the op */
fg_status fg_check_bias(fg_call *c, const fg_tensor *bias, int64_t n);

#endif
