/* kernel_parts.h: the registration functions of the element-wise family's files, called by scalar_basic.c and by the
 * ISA files; dispatch.c sees only fg_kernels_scalar, fg_kernels_avx2 and fg_kernels_avx512. */
#ifndef FG_KERNEL_PARTS_H
#define FG_KERNEL_PARTS_H

#include "kernels.h"

void fg_kernels_scalar_reduce(fg_kernels *k);
void fg_kernels_scalar_norm(fg_kernels *k);
void fg_kernels_scalar_pool(fg_kernels *k);
void fg_kernels_scalar_optim(fg_kernels *k);
#ifdef FG_HAVE_X86
void fg_kernels_avx2_norm(fg_kernels *k);
void fg_kernels_avx2_math(fg_kernels *k);
void fg_kernels_avx2_reduce(fg_kernels *k);
void fg_kernels_avx2_optim(fg_kernels *k);
void fg_kernels_avx512_norm(fg_kernels *k);
void fg_kernels_avx512_math(fg_kernels *k);
void fg_kernels_avx512_reduce(fg_kernels *k);
void fg_kernels_avx512_optim(fg_kernels *k);
#endif

#endif
