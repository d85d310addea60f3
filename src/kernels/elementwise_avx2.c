/* elementwise_avx2.c: the element-wise family (maps, reductions, norms, optimizers, pooling) for AVX2 and FMA,
 * 8 floats a vector. The bodies are shared with the other ISAs (body_*.h over simd.h); this file only compiles them
 * with this ISA's flags, which the Makefile takes from the file's suffix, and registers them. */
#include "kernels.h"

#ifdef FG_HAVE_X86

#include "body_convert.h"
#include "body_elementwise.h"
#include "body_reduce.h"
#include "body_norm.h"
#include "body_optim.h"
#include "body_pool.h"

void fg_kernels_avx2(fg_kernels *k) {
    register_convert(k);
    register_elementwise(k);
    register_reduce(k);
    register_norm(k);
    register_optim(k);
    register_pool(k);
}

#endif
