/* bench_amx.c: rates of the bf16 kernels on AMX, one thread, as shares of the tile peak that the same run measures, beside the
 * f32 kernels of the same table in alternation. Operations are nominal (bench_product.c says how); packing of weights, sources
 * and outputs is included, bf16 in and out. Prints one line and ends on machines without AMX. */
#include "bench_help.h"
#include "product.h"
#include "bf16.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef FG_HAVE_X86

enum { RUNS = 9 };

typedef struct pair { /* the same numbers in both formats */
    float *f;
    uint16_t *h;
} pair;
static pair pair_new(int64_t n) {
    static uint32_t state = 1;
    pair p = { aligned((size_t)n * sizeof(float)), aligned((size_t)n * sizeof(uint16_t)) };
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        p.h[i] = fg_bf16_from_float((float)(state >> 8) / 8388608.0f - 1);
        p.f[i] = fg_bf16_to_float(p.h[i]);
    }
    return p;
}
static void pair_free(pair p) { free(p.f), free(p.h); }

static void show(const double seconds[2], double flops, double peak) {
    printf(" | %8.3f ms %6.0f GF/s %4.0f%% | f32 %8.3f ms, %4.1f times\n", seconds[0] * 1e3, flops / seconds[0] * 1e-9,
           100 * flops / seconds[0] / peak, seconds[1] * 1e3, seconds[1] / seconds[0]);
}

static void bench_conv(const fg_kernels *k, const fg_conv_geom *g, fg_conv_dir dir, double peak) {
    static const char *const names[] = { "FWD", "DX", "DW" };
    int64_t nx = g->n * g->h * g->w * g->ci, ny = g->n * g->oh * g->ow * g->co, nw = (int64_t)g->kh * g->kw * g->ci * g->co;
    int64_t outs = dir == FG_CONV_FWD ? ny : dir == FG_CONV_DX ? nx : nw;
    pair x = pair_new(nx), y = pair_new(ny), w = pair_new(nw), out = pair_new(outs);
    double best[2] = { 1e30, 1e30 }, flops = 2.0 * (double)ny * (double)(nw / g->co);
    for (int r = 0; r < 2 * RUNS; r++) {
        fg_conv_plan p;
        if (!fg_conv_choose(k, g, dir, r % 2 ? FG_CONV_FAST : FG_CONV_BF16, &p)) continue;
        void *packed = aligned(p.packed), *scratch = aligned(p.scratch), *partials = aligned(p.partials);
        fg_conv_args a = { .x = x.f, .dy = y.f, .x16 = x.h, .dy16 = y.h, .w = w.f, .packed = packed, .scratch = scratch };
        a.out = out.f, a.partials = partials, a.out16 = r % 2 || dir == FG_CONV_DW ? NULL : out.h;
        for (int again = 0; again < 3; again++) {
            double t = own_seconds();
            for (int c = 0; c < p.pack_chunks; c++) p.kernel->pack(&p, w.f, packed, c);
            for (int c = 0; c < p.chunks; c++) p.kernel->run(&p, &a, c, 0);
            for (int c = 0; c < p.finish_chunks; c++) p.kernel->finish(&p, &a, c, 0);
            t = own_seconds() - t;
            if (t < best[r % 2]) best[r % 2] = t;
        }
        free(packed), free(scratch), free(partials);
    }
    char name[80];
    snprintf(name, sizeof name, "%ld x %ldch %ld -> %ldch %ld, %dx%d s%d %s", (long)g->n, (long)g->ci, (long)g->h, (long)g->co,
             (long)g->oh, g->kh, g->kw, g->sh, names[dir]);
    printf("%-44s", name);
    if (best[0] < 1e30) show(best, flops, peak);
    else printf(" | left to f32: %8.3f ms\n", best[1] * 1e3);
    pair_free(x), pair_free(y), pair_free(w), pair_free(out);
}

static void bench_gemm(const fg_kernels *k, int64_t m, int64_t n, int64_t kk, bool ta, bool tb, double peak) {
    pair a = pair_new(m * kk), b = pair_new(kk * n), c = pair_new(m * n);
    double best[2] = { 1e30, 1e30 }, flops = 2.0 * (double)m * (double)n * (double)kk;
    fg_gemm_args f = { .m = m, .n = n, .k = kk, .ta = ta, .tb = tb, .a = a.f, .b = b.f, .c = c.f };
    f.lda = ta ? m : kk, f.ldb = tb ? kk : n, f.ldc = n;
    fg_gemm16_args h = { .m = m, .n = n, .k = kk, .ta = ta, .tb = tb, .a = a.h, .b = b.h, .c16 = c.h };
    h.lda = f.lda, h.ldb = f.ldb, h.ldc = f.ldc;
    fg_gemm_plan p;
    fg_gemm16_plan q;
    k->gemm_plan(&f, &p);
    if (!fg_gemm16_choose(k, &h, &q)) return;
    void *packed = aligned(p.packed > q.packed ? p.packed : q.packed), *shared = aligned(p.shared),
         *partials = aligned(q.partials);
    void *scratch = aligned(p.scratch > q.scratch ? p.scratch : q.scratch);
    f.packed = h.packed = packed, h.scratch = scratch, h.partials = partials;
    for (int r = 0; r < 4 * RUNS; r++) {
        double t = own_seconds();
        if (r % 2) {
            for (int i = 0; i < p.pack_chunks; i++) k->gemm_pack(&p, &f, packed, i);
            for (int i = 0; i < p.chunks; i++) k->gemm_run(&p, &f, shared, scratch, i);
            for (int i = 0; i < p.finish_chunks; i++) k->gemm_finish(&p, &f, shared, i);
        } else {
            for (int i = 0; i < q.pack_chunks; i++) q.kernel->pack(&q, &h, packed, i);
            for (int i = 0; i < q.chunks; i++) q.kernel->run(&q, &h, i, 0);
            for (int i = 0; i < q.finish_chunks; i++) q.kernel->finish(&q, &h, i);
        }
        t = own_seconds() - t;
        if (t < best[r % 2]) best[r % 2] = t;
    }
    char name[80];
    snprintf(name, sizeof name, "gemm %ld x %ld x %ld %s%s", (long)m, (long)n, (long)kk, ta ? "A' " : "", tb ? "B'" : "");
    printf("%-44s", name);
    show(best, flops, peak);
    free(packed), free(shared), free(scratch), free(partials);
    pair_free(a), pair_free(b), pair_free(c);
}

int main(void) {
    if (!fg_cpu_has(FG_ISA_AMX)) {
        printf("bench_amx: AMX is not on this machine\n");
        return 0;
    }
    /* n, h, w, ci, oh, ow, co, kh, kw, sh, sw, pt, pl */
    static const fg_conv_geom geoms[] = {
        { 64, 14, 14, 128, 7, 7, 128, 5, 5, 2, 2, 1, 1 },  { 64, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 },
        { 64, 28, 28, 64, 28, 28, 32, 5, 5, 1, 1, 2, 2 },  { 64, 14, 14, 32, 7, 7, 64, 5, 5, 2, 2, 1, 1 },
        { 64, 7, 7, 64, 4, 4, 128, 5, 5, 2, 2, 2, 2 },     { 64, 4, 4, 128, 4, 4, 256, 5, 5, 1, 1, 2, 2 },
        { 64, 32, 32, 64, 16, 16, 128, 4, 4, 2, 2, 1, 1 }, { 64, 8, 8, 256, 4, 4, 512, 4, 4, 2, 2, 1, 1 },
        { 64, 28, 28, 64, 28, 28, 64, 3, 3, 1, 1, 1, 1 },  { 64, 64, 64, 3, 32, 32, 64, 4, 4, 2, 2, 1, 1 },
        { 64, 28, 28, 32, 28, 28, 1, 5, 5, 1, 1, 2, 2 },   { 1, 14, 14, 128, 7, 7, 128, 5, 5, 2, 2, 1, 1 },
    };
    static const int64_t shapes[][5] = { { 512, 512, 512, 0, 0 },    { 1024, 1024, 1024, 0, 0 }, { 1024, 1024, 1024, 1, 0 },
                                         { 1024, 1024, 1024, 0, 1 }, { 64, 6272, 100, 0, 0 },    { 64, 100, 6272, 0, 1 },
                                         { 100, 6272, 64, 1, 0 },    { 128, 1024, 784, 0, 0 } };
    const fg_kernels *k = fg_kernels_for(FG_ISA_AMX);
    double peak = fg_peak_flops_amx(0.5);
    printf("AMX: peak of one thread with tile loads %.0f GF/s; AVX-512 multiply-add peak %.0f GF/s\n", peak * 1e-9,
           fg_peak_flops(FG_ISA_AVX512, 0.3) * 1e-9);
    fg_amx_enter();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        bench_gemm(k, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], shapes[i][4], peak);
    for (size_t i = 0; i < sizeof geoms / sizeof *geoms; i++)
        for (int d = 0; d < 3; d++) bench_conv(k, &geoms[i], (fg_conv_dir)d, peak);
    fg_amx_leave();
    return 0;
}

#else

int main(void) {
    printf("bench_amx: no AMX on this machine\n");
    return 0;
}

#endif
