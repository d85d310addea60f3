/* product_cases.h: what test_gemm.c and test_conv.c share. Operands end at a page that must not be touched (or begin
 * after one), at whatever alignment their length gives: a vector load beyond an array is a crash, not luck. Workspaces
 * are filled with NaN, so that scratch read before it is written shows. */
#ifndef PRODUCT_CASES_H
#define PRODUCT_CASES_H

#include "kernels.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef FG_DOUBLE
static const double real_eps = 2.3e-16;
#else
static const double real_eps = 1.2e-7;
#endif

/* ck_assert_msg in inner loops: Check writes a record to a file for every assertion it evaluates. */
#define REQUIRE(cond, ...)                                                                                                       \
    do {                                                                                                                         \
        if (!(cond)) ck_abort_msg(__VA_ARGS__);                                                                                  \
    } while (0)

typedef struct fence {
    fg_real *p;
    char *map;
    size_t bytes;
} fence;

static inline fence fence_new(int64_t count, bool at_start) {
    enum { PAGE = 4096 };
    size_t used = (size_t)count * sizeof(fg_real), body = (used + PAGE) / PAGE * PAGE;
    fence f = { .bytes = body + 2 * PAGE };
    f.map = mmap(NULL, f.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(f.map, MAP_FAILED);
    ck_assert_int_eq(mprotect(f.map + PAGE, body, PROT_READ | PROT_WRITE), 0);
    f.p = (fg_real *)(f.map + PAGE + (at_start ? 0 : body - used));
    return f;
}
static inline void fence_free(fence *f) { munmap(f->map, f->bytes); }

static uint64_t random_state = 1;
static inline uint32_t random_u32(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}
static inline int64_t random_below(int64_t n) { return (int64_t)(random_u32() % (uint64_t)n); }
static inline fg_real random_real(void) { return (fg_real)((double)random_u32() / 1073741824.0 - 1.0); }
static inline fence fence_random(int64_t count, bool at_start) {
    fence f = fence_new(count, at_start);
    for (int64_t i = 0; i < count; i++) f.p[i] = random_real();
    return f;
}

/* Bytes of 0xff are NaN in float and double. */
static inline void *nan_bytes(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xff, (bytes + 127) / 64 * 64);
    return p;
}

static inline double act_exact(double x, fg_act act, double slope) {
    switch (act) {
    case FG_ACT_RELU: return x > 0 ? x : 0;
    case FG_ACT_LEAKY_RELU: return x > 0 ? x : slope * x;
    case FG_ACT_TANH: return tanh(x);
    case FG_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case FG_ACT_SOFTPLUS: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    default: return x;
    }
}

/* act' from the output y */
static inline double act_slope(double y, fg_act act, double slope) {
    switch (act) {
    case FG_ACT_RELU: return y > 0 ? 1 : 0;
    case FG_ACT_LEAKY_RELU: return y > 0 ? 1 : slope;
    case FG_ACT_TANH: return 1 - y * y;
    case FG_ACT_SIGMOID: return y * (1 - y);
    case FG_ACT_SOFTPLUS: return -expm1(-y);
    default: return 1;
    }
}

/* A context that runs the kernels of one level, on one thread unless a test says otherwise. */
static inline fg_context *context_for(fg_isa_level isa) {
    fg_context *ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    ctx->k = fg_kernels_for(isa);
    fg_set_threads(ctx, 1);
    return ctx;
}

/* for each level of this machine that has product kernels of its own */
#define EACH_ISA(isa)                                                                                                            \
    for (fg_isa_level isa = FG_ISA_SCALAR; isa < FG_ISA_COUNT; isa++)                                                            \
        if (fg_kernels_for(isa) && (isa == FG_ISA_SCALAR || fg_kernels_for(isa)->gemm_run != fg_kernels_for(isa - 1)->gemm_run))

/* The tests above say nothing about levels that silently kept the scalar slots. */
static inline void check_levels_differ(void) {
#ifdef FG_HAVE_X86
    for (fg_isa_level isa = FG_ISA_AVX2; isa <= FG_ISA_AVX512; isa++) {
        const fg_kernels *k = fg_kernels_for(isa), *below = fg_kernels_for(isa - 1);
        if (k) ck_assert(k->gemm_run != below->gemm_run && k->conv[0] != below->conv[0]);
    }
#endif
}

#endif
