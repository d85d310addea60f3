/* peak.c: which peak measurement belongs to a level; the loops are in peak_<isa>.c. Kept apart from them
 * because this file must run on machines that lack those instructions. */
#include "product.h"

#ifdef FG_HAVE_X86
double fg_peak_flops(fg_isa_level isa, double seconds) {
    if (!fg_cpu_has(isa)) return 0;
    if (isa >= FG_ISA_AVX512) return fg_peak_flops_avx512(seconds);
    return isa == FG_ISA_AVX2 ? fg_peak_flops_avx2(seconds) : 0;
}
double fg_peak_flops_bf16(double seconds) { return fg_cpu_has(FG_ISA_AVX512BF16) ? fg_peak_flops_avx512bf16(seconds) : 0; }
#else
typedef int fg_peak_none; /* a C file is never empty */
#endif
