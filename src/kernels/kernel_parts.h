/* kernel_parts.h: the registration functions of the scalar reference's files, called by scalar_basic.c;
 * dispatch.c sees only fg_kernels_scalar. */
#ifndef FG_KERNEL_PARTS_H
#define FG_KERNEL_PARTS_H

#include "kernels.h"

void fg_kernels_scalar_reduce(fg_kernels *k);
void fg_kernels_scalar_norm(fg_kernels *k);
void fg_kernels_scalar_pool(fg_kernels *k);
void fg_kernels_scalar_optim(fg_kernels *k);

#endif
