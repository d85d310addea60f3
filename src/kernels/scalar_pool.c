/* scalar_pool.c: pooling for the baseline instruction set and for the double build; the loops are in body_pool.h. */
#include "kernel_parts.h"

#include "body_pool.h"

void fg_kernels_scalar_pool(fg_kernels *k) { register_pool(k); }
