/* peak_avx512bf16.c: the peak of vdpbf16ps of one thread, 32 multiply-adds an instruction; peak_avx2.c says how. */
#include "tile_avx512.h"

double fg_peak_flops_avx512bf16(double seconds) {
    enum { SUMS = 12, STEPS = 200000 };
    double best = 0, end = fg_clock_seconds() + seconds;
    do {
        vf s[SUMS];
        __m512bh m = (__m512bh)_mm512_set1_epi32(0x3e803e80); /* pairs of 1/4: sums grow slowly, stay finite and normal */
        for (int i = 0; i < SUMS; i++) s[i] = v_set1((float)i);
        double t = fg_clock_seconds();
        for (int k = 0; k < STEPS; k++) {
            for (int i = 0; i < SUMS; i++) s[i] = _mm512_dpbf16_ps(s[i], m, m);
            __asm__ volatile("" : "+v"(s[0]), "+v"(m));
        }
        t = fg_clock_seconds() - t;
        vf sum = s[0];
        for (int i = 1; i < SUMS; i++) sum = v_add(sum, s[i]);
        double rate = 4.0 * VL * SUMS * STEPS / t;
        if (v_sum(sum) > 0 && rate > best) best = rate;
    } while (fg_clock_seconds() < end);
    return best;
}
