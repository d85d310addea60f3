/* rng.c: counter-based random numbers, Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011; known answers of their Random123 library in tests/c/test_rng.c).
 *
 * A stream is (key, offset). Block number b of a stream is philox(counter = b, key): four u32, computed from nothing
 * else. So any thread may fill any part of a tensor, a mask can be made again instead of stored, and a checkpoint holds
 * 16 bytes per stream. Drawing n numbers moves the stream by ceil(n/4) blocks.
 *
 * Bulk fills work on batches of 16 blocks. The arithmetic on reals is IEEE add, multiply and square root in fixed order,
 * with polynomials of our own for log, sin and cos: same bits on every machine. */
#include "base.h"

#include <math.h>
#include <string.h>

enum { LANES = 16, BATCH = 4 * LANES }; /* blocks and numbers of a batch */

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

void fg_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
#pragma GCC unroll 10
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0, p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Block number block of the stream key. */
static inline void one_block(uint64_t key, uint64_t block, uint32_t out[4]) {
    const uint32_t ctr[4] = { (uint32_t)block, (uint32_t)(block >> 32), 0, 0 };
    const uint32_t k[2] = { (uint32_t)key, (uint32_t)(key >> 32) };
    fg_philox4x32(ctr, k, out);
}

/* 16 consecutive blocks into out[64]. One after another: the multiplier is busy all the time, since blocks do not
 * depend on each other, and vector code with its 32x32 -> 64 shuffles measured three times slower on SSE2. */
static void batch_blocks(uint64_t key, uint64_t block, uint32_t *out) {
    for (int i = 0; i < LANES; i++) one_block(key, block + (uint64_t)i, out + 4 * i);
}

/* n <= 64 numbers from block on into out[64], in whole blocks. */
static void some_blocks(uint64_t key, uint64_t block, uint32_t *out, size_t n) {
    for (size_t i = 0; i < n; i += 4) one_block(key, block + i / 4, out + i);
}

void fg_philox_fill_u32(uint64_t key, uint64_t offset, uint64_t first, uint32_t *out, size_t n) {
    uint64_t block = offset + first / 4;
    size_t i = 0;
    for (; n - i >= BATCH; i += BATCH, block += LANES) batch_blocks(key, block, out + i);
    if (i < n) {
        uint32_t w[BATCH];
        some_blocks(key, block, w, n - i);
        memcpy(out + i, w, (n - i) * sizeof *out);
    }
}

/* 24 bits of w as a number in [0,1), scaled; below is the largest result allowed, since lo + width*u may round to hi. */
static void uniform_batch(const uint32_t *restrict w, fg_real *restrict out, size_t n, fg_real lo, fg_real width, fg_real below) {
    for (size_t i = 0; i < n; i++) {
        fg_real u = (fg_real)(int32_t)(w[i] >> 8) * (fg_real)0x1p-24;
        fg_real v = lo + width * u;
        out[i] = v < below ? v : below;
    }
}

static fg_real largest_below(fg_real lo, fg_real hi) {
#ifdef FG_DOUBLE
    return hi > lo ? nextafter(hi, lo) : lo;
#else
    return hi > lo ? nextafterf(hi, lo) : lo;
#endif
}

void fg_philox_fill_uniform(uint64_t key, uint64_t offset, uint64_t first, fg_real *out, size_t n, fg_real lo, fg_real hi) {
    uint64_t block = offset + first / 4;
    uint32_t w[BATCH];
    fg_real below = largest_below(lo, hi), width = hi - lo;
    size_t i = 0;
    for (; n - i >= BATCH; i += BATCH, block += LANES) {
        batch_blocks(key, block, w);
        uniform_batch(w, out + i, BATCH, lo, width, below);
    }
    if (i < n) {
        some_blocks(key, block, w, n - i);
        uniform_batch(w, out + i, n - i, lo, width, below);
    }
}

/* ---------------------------------------------------------------- normal: Box and Muller (1958) */
/* In vectors of 16 bytes, by the compilers' generic vector types: each lane computes what a scalar would. */
#ifdef FG_DOUBLE
typedef int64_t real_int;
enum { MANTISSA = 52 };
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdll
#define SIGN_BIT       INT64_MIN
#define REAL_SQRT      sqrt
#else
typedef int32_t real_int;
enum { MANTISSA = 23 };
#define SQRT_HALF_BITS 0x3f3504f3
#define SIGN_BIT       INT32_MIN
#define REAL_SQRT      sqrtf
#endif
typedef fg_real vreal __attribute__((vector_size(16)));
typedef real_int vint __attribute__((vector_size(16)));
enum { WIDTH = 16 / sizeof(fg_real), PAIRS = BATCH / 2 };
#define R(x) ((fg_real)(x))

/* -2 ln(u) for u in (0,1]: u = m 2^e with m in [sqrt(1/2), sqrt 2), polynomial of Cephes' logf in m - 1. */
static inline vreal minus_two_log(vreal u) {
    vint b = (vint)u, e = (b - (real_int)SQRT_HALF_BITS) >> MANTISSA;
    vreal m = (vreal)(b - (e << MANTISSA)); /* e <= 0 is shifted as a bit pattern: only the sum matters */
    vreal x = m - R(1), z = x * x, fe = __builtin_convertvector(e, vreal);
    vreal p = x * R(7.0376836292e-2) + R(-1.1514610310e-1);
    p = p * x + R(1.1676998740e-1);
    p = p * x + R(-1.2420140846e-1);
    p = p * x + R(1.4249322787e-1);
    p = p * x + R(-1.6668057665e-1);
    p = p * x + R(2.0000714765e-1);
    p = p * x + R(-2.4999993993e-1);
    p = p * x + R(3.3333331174e-1);
    vreal y = x * z * p + fe * R(-2.12194440e-4);
    y = y - R(0.5) * z;
    y = x + y + fe * R(0.693359375);
    return y * R(-2);
}

/* Pairs: word 2k gives the radius, word 2k+1 the angle. w[2 pairs] -> out[2 pairs]; pairs is a multiple of WIDTH. */
static inline __attribute__((always_inline)) void normal_batch(const uint32_t *restrict w, fg_real *restrict out, int pairs,
                                                               fg_real mean, fg_real std) {
    fg_real r[PAIRS];
    for (int k = 0; k < pairs; k += WIDTH) {
        vint i;
        for (int l = 0; l < WIDTH; l++) i[l] = (real_int)((w[2 * (k + l)] >> 1) | 1); /* odd, so never 0: tails to 6.5 sigma */
        vreal v = minus_two_log(__builtin_convertvector(i, vreal) * R(0x1p-31));
        memcpy(r + k, &v, sizeof v);
    }
    for (int k = 0; k < pairs; k++) r[k] = r[k] > R(0) ? REAL_SQRT(r[k]) : R(0); /* ln 1 may come out as a tiny negative */
    for (int k = 0; k < pairs; k += WIDTH) {
        vint f, odd, half; /* position in the quadrant; masks from the quadrant's number, the top two bits */
        for (int l = 0; l < WIDTH; l++) {
            uint32_t a = w[2 * (k + l) + 1];
            f[l] = (int32_t)(a << 2);
            odd[l] = -(real_int)(a >> 30 & 1);
            half[l] = -(real_int)(a >> 31);
        }
        vreal t = __builtin_convertvector(f, vreal) * R(1.57079632679489662 * 0x1p-32); /* [-pi/4, pi/4) */
        vreal z = t * t;
        vreal sn = ((z * R(-1.9515295891e-4) + R(8.3321608736e-3)) * z + R(-1.6666654611e-1)) * z * t + t;
        vreal cs =
            ((z * R(2.443315711809948e-5) + R(-1.388731625493765e-3)) * z + R(4.166664568298827e-2)) * z * z - z * R(0.5) + R(1);
        /* turned by a quarter: (cos, sin) -> (-sin, cos); by a half: both negative */
        vint x = ((vint)-sn & odd) | ((vint)cs & ~odd), y = ((vint)cs & odd) | ((vint)sn & ~odd);
        vint sign = half & SIGN_BIT;
        vreal rad;
        memcpy(&rad, r + k, sizeof rad);
        vreal gx = (vreal)(x ^ sign) * rad * std + mean, gy = (vreal)(y ^ sign) * rad * std + mean;
        for (int l = 0; l < WIDTH; l++) {
            out[2 * (k + l)] = gx[l];
            out[2 * (k + l) + 1] = gy[l];
        }
    }
}

void fg_philox_fill_normal(uint64_t key, uint64_t offset, uint64_t first, fg_real *out, size_t n, fg_real mean, fg_real std) {
    uint64_t block = offset + first / 4;
    uint32_t w[BATCH];
    size_t i = 0;
    for (; n - i >= BATCH; i += BATCH, block += LANES) {
        batch_blocks(key, block, w);
        normal_batch(w, out + i, PAIRS, mean, std);
    }
    if (i < n) {
        fg_real v[BATCH];
        memset(w, 0, sizeof w);
        some_blocks(key, block, w, n - i);
        normal_batch(w, v, (int)((n - i + 2 * WIDTH - 1) / (2 * WIDTH)) * WIDTH, mean, std);
        memcpy(out + i, v, (n - i) * sizeof *out);
    }
}

/* ---------------------------------------------------------------- streams */
/* Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014. */
static uint64_t splitmix64(uint64_t x) {
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

void fg_manual_seed(fg_context *ctx, uint64_t seed) {
    ctx->seed = seed;
    for (int i = 0; i < FG_STREAM_COUNT; i++)
        ctx->streams[i] = (fg_stream_state){ .key = splitmix64(splitmix64(seed) ^ ((uint64_t)(i + 1) << 56)), .offset = 0 };
}

uint64_t fg_initial_seed(const fg_context *ctx) { return ctx->seed; }

fg_stream_state fg_stream_get(const fg_context *ctx, fg_stream st) { return ctx->streams[st]; }

void fg_stream_set(fg_context *ctx, fg_stream st, fg_stream_state v) { ctx->streams[st] = v; }

const char *fg_stream_name(fg_stream st) {
    static const char *const names[FG_STREAM_COUNT] = {
        "default", "init", "data", "latent", "dropout", "label", "sample", "eval"
    };
    return (unsigned)st < FG_STREAM_COUNT ? names[st] : NULL;
}

uint64_t fg_stream_advance(fg_context *ctx, fg_stream st, uint64_t numbers) {
    uint64_t old = ctx->streams[st].offset;
    ctx->streams[st].offset = old + numbers / 4 + (numbers % 4 != 0);
    return old;
}

uint32_t fg_random_u32(fg_context *ctx, fg_stream st) {
    uint32_t w[4];
    one_block(ctx->streams[st].key, fg_stream_advance(ctx, st, 1), w);
    return w[0];
}

uint64_t fg_random_below(fg_context *ctx, fg_stream st, uint64_t n) {
    if (n <= 1) return 0;
    uint64_t skip = (0 - n) % n; /* 2^64 mod n: the lowest values are rejected, the rest is a multiple of n */
    for (;;) {
        uint32_t w[4];
        one_block(ctx->streams[st].key, fg_stream_advance(ctx, st, 4), w);
        uint64_t a = (uint64_t)w[1] << 32 | w[0], b = (uint64_t)w[3] << 32 | w[2];
        if (a >= skip) return a % n;
        if (b >= skip) return b % n;
    }
}

void fg_random_permutation(fg_context *ctx, fg_stream st, int32_t *out, int32_t n) {
    for (int32_t i = 0; i < n; i++) { /* Fisher and Yates, inside out */
        int32_t j = (int32_t)fg_random_below(ctx, st, (uint64_t)i + 1);
        out[i] = out[j];
        out[j] = i;
    }
}
