/* test_amx_vectors.c: test_amx.c again with the vectors of amx_blocks.h, which the library uses, beneath the stand-in tiles. It
 * runs where AVX512-BF16 is; only the kernels' bodies are compiled for it, so that this program starts anywhere. */
#include "real_math.h"

#ifdef FG_HAVE_X86
#define FG_AMX_STANDIN
#define FG_AMX_VECTORS
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#endif
#include "conv_amx_body.h"
#include "conv_amx_dw_body.h"
#include "gemm_amx_body.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#include "amx_cases.h"

int main(void) {
    if (fg_cpu_has(FG_ISA_AVX512BF16)) return run_suite("amx_vectors");
    puts("AVX512-BF16: not on this machine");
    return 0;
}
#else
int main(void) { return 0; }
#endif
