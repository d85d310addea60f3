/* body_random.h: Philox4x32-10 and what is drawn from it (uniform, normal, dropout) over simd.h, written once and included by
 * elementwise_<isa>.c. The same integers and the same real operations in the same order as rng.c, hence the same bits.
 *
 * A block is four 32-bit words c0..c3. Here each sits in a 64-bit lane of a register of its own, low half:
 *
 *     c0:  |.. c0 of block 0|.. c0 of block 4|.. 1|.. 5| ...      a round:  p0 = c0 * M0     c0' = high(p1) ^ c1 ^ k0
 *     c1:  |.. c1 of block 0|.. c1 of block 4|.. 1|.. 5| ...                p1 = c2 * M1     c2' = high(p0) ^ c3 ^ k1
 *                                                                           c1' = low(p1)    c3' = low(p0)
 *
 * A 32x32 multiply reads low halves only, so what is left in the high halves need not be cleared: a round is two
 * multiplies, two shifts and two three-way xors. At the end words pair up (c0 c1)(c2 c3), and one unpack each puts blocks
 * 0 1 2 3 into one register and 4 5 6 7 into the next. */
#include "kernels.h"
#include "simd.h"

#include <math.h>

/* Groups of W/2 blocks side by side: a round is a chain of dependent operations, so as many as the registers hold. They make
 * REGS registers, BATCH words. */
enum { GROUPS = W == 16 ? 4 : 2, REGS = 2 * GROUPS, BATCH = REGS * W };

/* Blocks block .. block + BATCH/4 - 1 of stream key. */
V_INLINE void philox_blocks(uint64_t key, uint64_t block, vi out[REGS]) {
    static const uint64_t lane[8] = { 0, W / 4, 1, W / 4 + 1, 2, W / 4 + 2, 3, W / 4 + 3 };
    vi c0[GROUPS], c1[GROUPS], c2[GROUPS], c3[GROUPS];
    vi m0 = vi_set((int32_t)0xD2511F53u), m1 = vi_set((int32_t)0xCD9E8D57u);
    vi k0 = vi_set((int32_t)(uint32_t)key), k1 = vi_set((int32_t)(uint32_t)(key >> 32));
    for (int g = 0; g < GROUPS; g++) {
        c0[g] = vi_add64(vi_set64(block + (uint64_t)g * (W / 2)), vi_load64(lane));
        c1[g] = vi_shr64(c0[g], 32);
        c2[g] = c3[g] = vi_set(0);
    }
    for (int r = 0; r < 10; r++) {
        for (int g = 0; g < GROUPS; g++) {
            vi p0 = vi_mul32(c0[g], m0), p1 = vi_mul32(c2[g], m1);
            c0[g] = vi_xor3(vi_shr64(p1, 32), c1[g], k0);
            c2[g] = vi_xor3(vi_shr64(p0, 32), c3[g], k1);
            c1[g] = p1;
            c3[g] = p0;
        }
        k0 = vi_add(k0, vi_set((int32_t)0x9E3779B9u));
        k1 = vi_add(k1, vi_set((int32_t)0xBB67AE85u));
    }
    for (int g = 0; g < GROUPS; g++) {
        vi a = vi_join64(c0[g], c1[g]), b = vi_join64(c2[g], c3[g]);
        out[2 * g] = vi_unpacklo64(a, b);
        out[2 * g + 1] = vi_unpackhi64(a, b);
    }
}

/* The first n <= BATCH of all registers; n = BATCH is a constant in the hot loops below. */
V_INLINE void store_batch(float *out, const vf v[REGS], size_t n) {
    for (size_t j = 0; j < REGS && j * W < n; j++) v_storew(out + j * W, v[j], n - j * W);
}
/* Runs STEP(count) for whole batches from i on, then for the rest. */
#define BATCHES(STEP)                                                                                                            \
    for (; n - i >= BATCH; i += BATCH, block += BATCH / 4) STEP(BATCH);                                                          \
    if (i < n) STEP(n - i)

static void uniform(uint64_t key, uint64_t offset, uint64_t first, float *out, size_t n, float lo, float hi) {
    vf unit = v_set(0x1p-24f), low = v_set(lo), width = v_set(hi - lo), below = v_set(hi > lo ? nextafterf(hi, lo) : lo), v[REGS];
    uint64_t block = offset + first / 4;
    vi w[REGS];
    size_t i = 0;
#define STEP(count)                                                                                                              \
    {                                                                                                                            \
        philox_blocks(key, block, w);                                                                                            \
        for (int j = 0; j < REGS; j++) v[j] = v_minr(v_add(low, v_mul(width, v_mul(v_from_int(vi_srl(w[j], 8)), unit))), below); \
        store_batch(out + i, v, count);                                                                                          \
    }
    BATCHES(STEP)
#undef STEP
}

/* -2 ln(u) for u in (0,1], as minus_two_log of rng.c */
V_INLINE vf minus_two_log(vf u) {
    vi b = v_bits(u), e = vi_sra(vi_sub(b, vi_set(0x3f3504f3)), 23);
    vf x = v_sub(v_from_bits(vi_sub(b, vi_shl(e, 23))), v_set(1.0f)), z = v_mul(x, x), fe = v_from_int(e);
    static const float c[] = { -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                               -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f };
    vf p = v_set(7.0376836292e-2f);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) p = v_add(v_mul(p, x), v_set(c[i]));
    vf y = v_add(v_mul(v_mul(x, z), p), v_mul(fe, v_set(-2.12194440e-4f)));
    y = v_sub(y, v_mul(v_set(0.5f), z));
    return v_mul(v_add(v_add(x, y), v_mul(fe, v_set(0.693359375f))), v_set(-2.0f));
}

/* Box-Muller: words 2k and 2k + 1 become numbers 2k and 2k + 1. Two registers of words in, two of numbers out. */
V_INLINE void normal_pairs(const vi w[2], vf mean, vf std, vf out[2]) {
    vi radius = vi_evens(w[0], w[1]), angle = vi_odds(w[0], w[1]);
    vf r = minus_two_log(v_mul(v_from_int(vi_or(vi_srl(radius, 1), vi_set(1))), v_set(0x1p-31f)));
    r = v_sqrt(v_sel(v_lt(v_zero(), r), r, v_zero()));
    vf t = v_mul(v_from_int(vi_shl(angle, 2)), v_set((float)(1.57079632679489662 * 0x1p-32))), z = v_mul(t, t);
    vf sn = v_add(v_mul(v_set(-1.9515295891e-4f), z), v_set(8.3321608736e-3f));
    sn = v_add(v_mul(v_mul(v_add(v_mul(sn, z), v_set(-1.6666654611e-1f)), z), t), t);
    vf cs = v_add(v_mul(v_set(2.443315711809948e-5f), z), v_set(-1.388731625493765e-3f));
    cs = v_mul(v_mul(v_add(v_mul(cs, z), v_set(4.166664568298827e-2f)), z), z);
    cs = v_add(v_sub(cs, v_mul(z, v_set(0.5f))), v_set(1.0f));
    vm odd = v_top_bit(vi_shl(angle, 1)); /* a quarter turn; the top bit is a half turn */
    vi half = vi_shl(vi_srl(angle, 31), 31);
    vf x = v_from_bits(vi_xor(v_bits(v_sel(odd, v_neg(sn), cs)), half));
    vf y = v_from_bits(vi_xor(v_bits(v_sel(odd, cs, sn)), half));
    x = v_add(v_mul(v_mul(x, r), std), mean);
    y = v_add(v_mul(v_mul(y, r), std), mean);
    out[0] = v_unpacklo(x, y);
    out[1] = v_unpackhi(x, y);
}

static void normal(uint64_t key, uint64_t offset, uint64_t first, float *out, size_t n, float mean, float std) {
    vf m = v_set(mean), s = v_set(std), v[REGS];
    uint64_t block = offset + first / 4;
    vi w[REGS];
    size_t i = 0;
#define STEP(count)                                                                                                              \
    {                                                                                                                            \
        philox_blocks(key, block, w);                                                                                            \
        for (int j = 0; j < REGS; j += 2) normal_pairs(w + j, m, s, v + j);                                                      \
        store_batch(out + i, v, count);                                                                                          \
    }
    BATCHES(STEP)
#undef STEP
}

/* The mask is philox >= threshold, see scalar_basic.c. */
static void dropout(const float *x, float *y, size_t n, uint64_t key, uint64_t offset, uint64_t first, uint32_t threshold,
                    float scale) {
    vf k = v_set(scale), v[REGS];
    vi w[REGS];
    size_t i = 0, skip = first % 4;
    if (skip) { /* the rest of a block */
        uint32_t u[4];
        fg_philox_fill_u32(key, offset, first - skip, u, 4);
        for (; i < n && skip + i < 4; i++) y[i] = u[skip + i] >= threshold ? x[i] * scale : 0;
    }
    uint64_t block = offset + (first + i) / 4;
#define STEP(count)                                                                                                              \
    {                                                                                                                            \
        philox_blocks(key, block, w);                                                                                            \
        for (size_t j = 0; j < REGS && j * W < (count); j++)                                                                     \
            v[j] = v_sel(vi_ge_u32(w[j], threshold), v_mul(v_loadw(x + i + j * W, (count)-j * W), k), v_zero());                 \
        store_batch(y + i, v, count);                                                                                            \
    }
    BATCHES(STEP)
#undef STEP
}
#undef BATCHES

static void register_random(fg_kernels *k) {
    k->uniform = uniform;
    k->normal = normal;
    k->dropout = dropout;
}
