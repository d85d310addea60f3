/* peak_avx512.c: the multiply-add peak of one thread with 512-bit vectors; peak_avx2.c says how. */
#include "tile_avx512.h"

double fg_peak_flops_avx512(double seconds) {
    enum { SUMS = 12, STEPS = 200000 };
    double best = 0, end = fg_clock_seconds() + seconds;
    do {
        vf s[SUMS], m = v_set1(0.999f);
        for (int i = 0; i < SUMS; i++) s[i] = v_set1((float)i);
        double t = fg_clock_seconds();
        for (int k = 0; k < STEPS; k++) {
            for (int i = 0; i < SUMS; i++) s[i] = v_fma(s[i], m, m);
            __asm__ volatile("" : "+v"(s[0]), "+v"(m));
        }
        t = fg_clock_seconds() - t;
        vf sum = s[0];
        for (int i = 1; i < SUMS; i++) sum = v_add(sum, s[i]);
        double rate = 2.0 * VL * SUMS * STEPS / t;
        if (v_sum(sum) > 0 && rate > best) best = rate;
    } while (fg_clock_seconds() < end);
    return best;
}
