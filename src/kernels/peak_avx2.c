/* peak_avx2.c: the multiply-add peak of one thread with 256-bit vectors.
 *
 * Twelve independent sums in registers and no memory: two units of latency four or five need eight to ten. The values
 * stay finite and normal (x <- x*m + m with m < 1 converges), so that neither denormals nor power limits for zeros distort
 * the figure. The best of several short runs counts: a pre-empted one says nothing. */
#include "tile_avx2.h"

double fg_peak_flops_avx2(double seconds) {
    enum { SUMS = 12, STEPS = 200000 };
    double best = 0, end = fg_clock_seconds() + seconds;
    do {
        vf s[SUMS], m = v_set1(0.999f);
        for (int i = 0; i < SUMS; i++) s[i] = v_set1((float)i);
        double t = fg_clock_seconds();
        for (int k = 0; k < STEPS; k++) {
            for (int i = 0; i < SUMS; i++) s[i] = v_fma(s[i], m, m);
            __asm__ volatile("" : "+x"(s[0]), "+x"(m)); /* the loop is the measurement: keep all of it */
        }
        t = fg_clock_seconds() - t;
        vf sum = s[0];
        for (int i = 1; i < SUMS; i++) sum = v_add(sum, s[i]);
        double rate = 2.0 * VL * SUMS * STEPS / t;
        if (v_sum(sum) > 0 && rate > best) best = rate;
    } while (fg_clock_seconds() < end);
    return best;
}
