/* dispatch.c: builds the dispatch tables, and keeps floating-point modes apart.
 *
 * A table starts as the scalar reference, then each ISA file overrides the slots it has something faster for. Tables
 * are built once per process, before first use, and never change afterwards, so any number of contexts and threads
 * read them without locks. `isa` names the level whose kernels are in the table.
 *
 * MXCSR: inside a context denormals are flushed to zero (a vanishing gradient must not cost 100 times a normal one),
 * rounding is to nearest and no exception traps, whatever the host has set; the host's modes come back on the way out.
 * A context at level AMX loads a tile configuration likewise and releases it: kernels of that level need such a context.
 * The thread team calls the hooks on every thread around a parallel section, fg_enter and fg_leave on the caller. */
#include "conv_wino.h"
#include "kernels.h"

#include <pthread.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static fg_kernels tables[FG_ISA_COUNT]; /* written by build_tables only */
static pthread_once_t built = PTHREAD_ONCE_INIT;

#ifdef FG_HAVE_X86
/* f32 tiles on converted operands are faster than the reference of bf16 products */
static void without_gemm16(fg_kernels *k) { k->gemm16[0] = NULL; }
#endif

/* What fills a table, in this order: everything up to its level. registry.c names the kernels one by one. */
static const struct {
    fg_isa_level isa;
    void (*add)(fg_kernels *k);
} families[] = {
    { FG_ISA_SCALAR, fg_kernels_scalar },      { FG_ISA_SCALAR, fg_kernels_scalar_gemm },
    { FG_ISA_SCALAR, fg_kernels_scalar_conv }, { FG_ISA_SCALAR, fg_kernels_scalar_wino },
    { FG_ISA_SCALAR, fg_kernels_scalar_bf16 },
#ifdef FG_HAVE_X86
    { FG_ISA_AVX2, fg_kernels_avx2 },          { FG_ISA_AVX2, fg_kernels_avx2_product },
    { FG_ISA_AVX2, fg_kernels_avx2_wino },     { FG_ISA_AVX2, without_gemm16 },
    { FG_ISA_AVX512, fg_kernels_avx512 },      { FG_ISA_AVX512, fg_kernels_avx512_product },
    { FG_ISA_AVX512, fg_kernels_avx512_wino }, { FG_ISA_AVX512BF16, fg_kernels_avx512bf16_product },
    { FG_ISA_AMX, fg_kernels_amx_product },
#endif
};

static void build_tables(void) {
    for (int isa = 0; isa < FG_ISA_COUNT; isa++)
        for (size_t i = 0; i < sizeof families / sizeof *families; i++)
            if ((int)families[i].isa <= isa) {
                families[i].add(&tables[isa]);
                tables[isa].isa = fg_isa_name(families[i].isa);
            }
}

const fg_kernels *fg_kernels_for(fg_isa_level isa) {
    if ((int)isa < 0 || isa >= FG_ISA_COUNT) return NULL;
#ifdef FG_HAVE_X86
    if (isa != FG_ISA_SCALAR && !fg_cpu_has(isa)) return NULL;
#else
    if (isa != FG_ISA_SCALAR) return NULL;
#endif
    pthread_once(&built, build_tables);
    return &tables[isa];
}

#if defined(__x86_64__)
/* All exceptions masked (0x1f80), flush to zero (0x8000), denormals are zero (0x0040), round to nearest. */
enum { MXCSR_INSIDE = 0x1f80 | 0x8000 | 0x0040 };

static void enter_modes(uint64_t saved[2]) {
    saved[0] = _mm_getcsr();
    _mm_setcsr(MXCSR_INSIDE);
}
static void leave_modes(const uint64_t saved[2]) { _mm_setcsr((unsigned)saved[0]); }
#ifdef FG_HAVE_X86
static void enter_amx(uint64_t saved[2]) {
    enter_modes(saved);
    fg_amx_enter();
}
static void leave_amx(const uint64_t saved[2]) {
    fg_amx_leave();
    leave_modes(saved);
}
#endif
#endif

static fg_status kernels_open(fg_context *ctx) {
#ifdef FG_HAVE_X86
    ctx->k = fg_kernels_for(ctx->isa);
    if (!ctx->k) return fg_error(ctx, FG_EUNSUPPORTED, "kernels: this CPU or system does not offer %s", fg_isa_name(ctx->isa));
#else
    ctx->isa = FG_ISA_SCALAR; /* the only level of this build */
    ctx->k = fg_kernels_for(FG_ISA_SCALAR);
#endif
#if defined(__x86_64__)
    ctx->hooks = (fg_thread_hooks){ enter_modes, leave_modes };
#endif
#ifdef FG_HAVE_X86
    if (ctx->isa == FG_ISA_AMX) ctx->hooks = (fg_thread_hooks){ enter_amx, leave_amx };
#endif
    return FG_OK;
}

static void kernels_close(fg_context *ctx) { ctx->k = NULL; }

const fg_room fg_room_kernels = { "kernels", kernels_open, kernels_close };
