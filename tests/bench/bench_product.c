/* bench_product.c: rates of matrix products and convolutions, one thread, per instruction set, as shares of the multiply-add
 * peak that the same run measures.
 *
 * Operations are nominal: 2 m n k, and 2 N OH OW CI CO KH KW for all three directions of a convolution. Small maps can
 * pass 100%, since taps outside the image are skipped. Weight packing is included in FWD and DX. Times are of the thread's
 * own clock, so that other processes disturb only through shared caches; the best of several runs counts.
 *
 * usage: bench_product [gemm|gemm16|conv] */
#include "bench_help.h"
#include "product.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FG_HAVE_X86

enum { RUNS = 7, GEMM_RUNS = 25 };

static float *random_floats(int64_t n) {
    static uint32_t state = 1;
    float *p = aligned((size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) state = state * 1664525 + 1013904223, p[i] = (float)(state >> 8) / 8388608.0f - 1;
    return p;
}

static void show(double seconds, double flops, double peak) {
    printf(" | %9.3f ms %6.1f GF/s %4.0f%%", seconds * 1e3, flops / seconds * 1e-9, 100 * flops / seconds / peak);
}

/* ---------------------------------------------------------------- GEMM, beside OpenBLAS */
/* C = op(A) op(B), row-major, as cblas.h declares it: nothing of OpenBLAS is needed to build this program */
typedef void (*sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                         int ldb, float beta, float *c, int ldc);
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

/* OpenBLAS as this machine has it, on one thread, choosing its kernels itself; NULL when it is not installed. */
static sgemm_fn open_blas(void) {
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    unsetenv("OPENBLAS_CORETYPE");
    unsetenv("OPENBLAS_L2_SIZE");
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    void *sgemm = lib ? dlsym(lib, "cblas_sgemm") : NULL, *core = lib ? dlsym(lib, "openblas_get_corename") : NULL;
    sgemm_fn f = NULL;
    if (sgemm) memcpy(&f, &sgemm, sizeof f);
    if (core) {
        char *(*name)(void);
        memcpy(&name, &core, sizeof name);
        printf("OpenBLAS: one thread, its kernels for %s\n", name());
    } else printf("OpenBLAS: not installed\n");
    return f;
}

typedef struct gemm_bench {
    fg_gemm_args a;
    const fg_kernels *k; /* or NULL: blas runs it */
    sgemm_fn blas;
    fg_gemm_plan p;
    void *packed, *shared, *scratch;
    double best;
} gemm_bench;

static void run_gemm(gemm_bench *g) {
    const fg_gemm_args *a = &g->a;
    if (!g->k) {
        g->blas(ROW_MAJOR, a->ta ? TRANSPOSED : PLAIN, a->tb ? TRANSPOSED : PLAIN, (int)a->m, (int)a->n, (int)a->k, 1, a->a,
                (int)a->lda, a->b, (int)a->ldb, 0, a->c, (int)a->ldc);
        return;
    }
    g->k->gemm_plan(a, &g->p);
    for (int c = 0; c < g->p.pack_chunks; c++) g->k->gemm_pack(&g->p, a, g->packed, c);
    for (int c = 0; c < g->p.chunks; c++) g->k->gemm_run(&g->p, a, g->shared, g->scratch, c);
    for (int c = 0; c < g->p.finish_chunks; c++) g->k->gemm_finish(&g->p, a, g->shared, c);
}

/* The best time of each, all in turn: what disturbs one disturbs its rivals. */
static void time_gemms(gemm_bench *g, int count, double flops) {
    int repeat = 1 + (int)(2e7 / (flops + 1e4));
    for (int i = 0; i < count; i++) {
        if (g[i].k) g[i].k->gemm_plan(&g[i].a, &g[i].p);
        g[i].shared = aligned(g[i].p.shared), g[i].scratch = aligned(g[i].p.scratch);
        g[i].a.packed = g[i].packed = aligned(g[i].p.packed);
        g[i].best = 1e30;
    }
    for (int r = 0; r < GEMM_RUNS; r++)
        for (int i = 0; i < count; i++) {
            double t = own_seconds();
            for (int q = 0; q < repeat; q++) run_gemm(&g[i]);
            t = (own_seconds() - t) / repeat;
            if (t < g[i].best) g[i].best = t;
        }
    for (int i = 0; i < count; i++) free(g[i].packed), free(g[i].shared), free(g[i].scratch);
}

static double time_conv(const fg_kernels *k, const fg_conv_geom *g, fg_conv_dir dir, const float *x, const float *w,
                        const float *dy, float *out, double flops, const char **kernel) {
    fg_conv_plan p;
    gemm_bench m = { .k = k };
    if (fg_conv_product(g, dir, &m.a)) {
        m.a.a = dir == FG_CONV_DX ? dy : x, m.a.b = dir == FG_CONV_DW ? dy : w, m.a.c = out;
        *kernel = "product";
        time_gemms(&m, 1, flops);
        return m.best;
    }
    fg_conv_choose(k, g, dir, FG_CONV_FAST, &p);
    *kernel = p.kernel->name;
    void *packed = aligned(p.packed), *scratch = aligned(p.scratch), *partials = aligned(p.partials);
    fg_conv_args a = { .x = x, .w = w, .dy = dy, .out = out, .packed = packed, .scratch = scratch, .partials = partials };
    double best = 1e30;
    int repeat = 1 + (int)(1e8 / flops);
    for (int r = 0; r < RUNS; r++) {
        double t = own_seconds();
        for (int q = 0; q < repeat; q++) {
            for (int c = 0; c < p.pack_chunks; c++) p.kernel->pack(&p, w, packed, c);
            for (int c = 0; c < p.chunks; c++) p.kernel->run(&p, &a, c, 0);
            for (int c = 0; c < p.finish_chunks; c++) p.kernel->finish(&p, &a, c, 0);
        }
        t = (own_seconds() - t) / repeat;
        if (t < best) best = t;
    }
    free(packed), free(scratch), free(partials);
    return best;
}

static void gemms(const double *peak) {
    /* squares; then the layers of the works mlp, toy, tiny and book: y = xW, dx = dy W', dW = x'dy */
    static const struct {
        int64_t m, n, k;
        bool ta, tb;
    } shapes[] = {
        { 512, 512, 512, 0, 0 },    { 512, 512, 512, 1, 0 },    { 512, 512, 512, 0, 1 },    { 512, 512, 512, 1, 1 },
        { 1024, 1024, 1024, 0, 0 }, { 1024, 1024, 1024, 1, 0 }, { 1024, 1024, 1024, 0, 1 }, { 1024, 1024, 1024, 1, 1 },
        { 128, 6272, 100, 0, 0 },   { 64, 6272, 100, 0, 0 },    { 64, 100, 6272, 0, 1 },    { 100, 6272, 64, 1, 0 },
        { 1, 6272, 100, 0, 0 },     { 128, 784, 1024, 0, 0 },   { 128, 1024, 784, 0, 1 },   { 1024, 784, 128, 1, 0 },
        { 256, 1024, 784, 0, 0 },   { 256, 784, 1024, 0, 1 },   { 784, 1024, 256, 1, 0 },   { 256, 512, 1024, 0, 0 },
        { 256, 1024, 512, 0, 1 },   { 1024, 512, 256, 1, 0 },   { 128, 256, 100, 0, 0 },    { 100, 256, 128, 1, 0 },
        { 256, 512, 512, 0, 0 },    { 256, 512, 512, 0, 1 },    { 512, 512, 256, 1, 0 },    { 512, 512, 2, 0, 0 },
        { 512, 2, 512, 0, 1 },      { 2, 512, 512, 1, 0 },      { 256, 2, 512, 0, 0 },      { 256, 512, 2, 0, 1 },
        { 512, 2, 256, 1, 0 },      { 512, 1, 512, 0, 0 },      { 512, 512, 1, 0, 1 },      { 512, 1, 512, 1, 0 },
        { 64, 128, 128, 0, 0 },     { 64, 128, 128, 0, 1 },     { 128, 128, 64, 1, 0 },     { 64, 128, 2, 0, 0 },
        { 64, 2, 128, 0, 0 },       { 64, 1, 1024, 0, 0 },      { 64, 64, 50000, 1, 0 },
    };
    sgemm_fn blas = open_blas();
    printf("%-32s%s\n", "", " | ours, then OpenBLAS");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t m = shapes[i].m, n = shapes[i].n, k = shapes[i].k;
        bool ta = shapes[i].ta, tb = shapes[i].tb;
        float *a = random_floats(m * k), *b = random_floats(k * n), *c = random_floats(m * n);
        fg_gemm_args args = {
            .m = m, .n = n, .k = k, .ta = ta, .tb = tb, .a = a, .b = b, .c = c, .lda = ta ? m : k, .ldb = tb ? k : n, .ldc = n
        };
        char name[80];
        snprintf(name, sizeof name, "gemm %ld x %ld x %ld %s%s", (long)m, (long)n, (long)k, ta ? "A' " : "", tb ? "B'" : "");
        printf("%-32s", name);
        double flops = 2.0 * (double)m * (double)n * (double)k, widest = 0, ours = 0;
        gemm_bench g[FG_ISA_COUNT + 1];
        int count = 0;
        for (fg_isa_level isa = FG_ISA_AVX2; isa <= FG_ISA_AVX512; isa++)
            if (peak[isa] > 0) g[count++] = (gemm_bench){ .a = args, .k = fg_kernels_for(isa) }, widest = peak[isa];
        int isas = count;
        if (blas) g[count++] = (gemm_bench){ .a = args, .blas = blas };
        time_gemms(g, count, flops);
        for (int j = 0; j < isas; j++) show(g[j].best, flops, peak[FG_ISA_AVX2 + j]), ours = g[j].best;
        if (blas) {
            show(g[isas].best, flops, widest);
            printf(" | OpenBLAS / ours %.2f", g[isas].best / ours);
        }
        printf("\n");
        free(a), free(b), free(c);
    }
}

/* bf16 operands against f32 ones, in alternation: the linear layers of the works `toy` and `mlp` of step.lua (forward, input
 * gradient, weight gradient), square matrices and skinny ones. B is packed once before, as weights are; A by every run. */
static double time_gemm16(const fg_kernels *k, fg_gemm16_args *a, double flops, bool pack) {
    fg_gemm16_plan p;
    if (!fg_gemm16_choose(k, a, &p)) return 0;
    void *packed = aligned(p.packed);
    a->scratch = aligned(p.scratch), a->partials = aligned(p.partials), a->packed = packed;
    double best = 1e30;
    int repeat = 1 + (int)(1e8 / (flops + 1e4));
    for (int r = 0; r < RUNS; r++) {
        double t = own_seconds();
        for (int q = 0; q < repeat; q++) {
            for (int c = 0; c < p.pack_chunks && (pack || (r == 0 && q == 0)); c++) p.kernel->pack(&p, a, packed, c);
            for (int c = 0; c < p.chunks; c++) p.kernel->run(&p, a, c, 0);
            for (int c = 0; c < p.finish_chunks; c++) p.kernel->finish(&p, a, c);
        }
        t = (own_seconds() - t) / repeat;
        if (t < best) best = t;
    }
    free(a->scratch), free(a->partials), free(packed);
    return best;
}

static void gemms16(const double *peak) {
    static const struct {
        int64_t m, n, k;
        bool ta, tb, weights; /* B is a parameter */
    } shapes[] = {
        { 1024, 1024, 1024, 0, 0, 0 }, { 1024, 1024, 1024, 1, 0, 0 }, { 1024, 1024, 1024, 0, 1, 0 }, { 512, 512, 512, 0, 0, 0 },
        { 256, 512, 512, 0, 0, 1 },    { 256, 512, 512, 0, 1, 1 },    { 512, 512, 256, 1, 0, 0 },    { 256, 512, 2, 0, 0, 1 },
        { 256, 2, 512, 0, 0, 1 },      { 256, 512, 2, 0, 1, 1 },      { 512, 2, 256, 1, 0, 0 },      { 512, 1, 512, 1, 0, 0 },
        { 512, 512, 512, 1, 0, 0 },    { 256, 1024, 784, 0, 0, 1 },   { 256, 512, 1024, 0, 0, 1 },   { 128, 784, 1024, 0, 0, 1 },
        { 128, 1024, 784, 0, 1, 1 },   { 1024, 784, 128, 1, 0, 0 },   { 784, 1024, 256, 1, 0, 0 },   { 64, 6272, 100, 0, 0, 1 },
        { 64, 100, 6272, 0, 1, 1 },    { 1, 6272, 100, 0, 0, 1 },     { 64, 64, 50000, 1, 0, 0 },
    };
    const fg_kernels *k = fg_kernels_for(FG_ISA_AVX512BF16);
    double peak16 = fg_peak_flops_bf16(0.3);
    if (!k || peak16 <= 0) return;
    printf("bf16 products: peak of one thread %.1f GF/s, %.2f times f32's\ncolumns: f32, bf16, ratio\n", peak16 * 1e-9,
           peak16 / peak[FG_ISA_AVX512]);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t m = shapes[i].m, n = shapes[i].n, kk = shapes[i].k;
        bool ta = shapes[i].ta, tb = shapes[i].tb;
        float *a = random_floats(m * kk), *b = random_floats(kk * n), *c = random_floats(m * n);
        uint16_t *a16 = aligned((size_t)(m * kk) * 2), *b16 = aligned((size_t)(kk * n) * 2), *c16 = aligned((size_t)(m * n) * 2);
        k->to_bf16(a, a16, (size_t)(m * kk)), k->to_bf16(b, b16, (size_t)(kk * n));
        fg_gemm_args wide = { .m = m, .n = n, .k = kk, .ta = ta, .tb = tb, .a = a, .b = b, .c = c };
        fg_gemm16_args low = { .m = m, .n = n, .k = kk, .ta = ta, .tb = tb, .a = a16, .b = b16 };
        wide.lda = low.lda = ta ? m : kk, wide.ldb = low.ldb = tb ? kk : n, wide.ldc = low.ldc = n;
        if (shapes[i].weights) low.c16 = c16;
        else low.c = c;
        char name[80];
        snprintf(name, sizeof name, "%ld x %ld x %ld %s%s%s", (long)m, (long)n, (long)kk, ta ? "A' " : "", tb ? "B'" : "",
                 shapes[i].weights ? " weights" : "");
        printf("%-44s", name);
        double flops = 2.0 * (double)m * (double)n * (double)kk, t = 1e30, t16 = 1e30;
        for (int turn = 0; turn < 3; turn++) {
            gemm_bench f32 = { .k = k, .a = wide };
            time_gemms(&f32, 1, flops);
            double now = f32.best, now16 = time_gemm16(k, &low, flops, !shapes[i].weights);
            t = now < t ? now : t, t16 = now16 < t16 ? now16 : t16;
        }
        show(t, flops, peak[FG_ISA_AVX512]), show(t16, flops, peak16);
        printf(" | %5.2f\n", t / t16);
        free(a), free(b), free(c), free(a16), free(b16), free(c16);
    }
}

static void convs(const double *peak) {
    /* n, h, w, ci, oh, ow, co, kh, kw, sh, sw, pt, pl */
    static const fg_conv_geom geoms[] = {
        { 64, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 }, { 64, 14, 14, 128, 7, 7, 128, 5, 5, 2, 2, 1, 1 },
        { 64, 28, 28, 64, 28, 28, 32, 5, 5, 1, 1, 2, 2 },  { 64, 4, 4, 128, 4, 4, 256, 5, 5, 1, 1, 2, 2 },
        { 64, 32, 32, 64, 16, 16, 128, 4, 4, 2, 2, 1, 1 }, { 64, 16, 16, 128, 8, 8, 256, 4, 4, 2, 2, 1, 1 },
        { 64, 8, 8, 256, 4, 4, 512, 4, 4, 2, 2, 1, 1 },    { 64, 28, 28, 64, 28, 28, 64, 3, 3, 1, 1, 1, 1 },
        { 64, 28, 28, 64, 14, 14, 64, 3, 3, 2, 2, 1, 1 },  { 64, 14, 14, 48, 7, 7, 96, 4, 4, 2, 2, 1, 1 },
        { 64, 14, 14, 32, 7, 7, 64, 4, 4, 2, 2, 1, 1 },    { 64, 7, 7, 64, 4, 4, 128, 3, 3, 2, 2, 1, 1 },
        { 64, 14, 14, 32, 7, 7, 64, 5, 5, 2, 2, 1, 1 },    { 64, 28, 28, 1, 14, 14, 32, 5, 5, 2, 2, 1, 1 },
        { 64, 28, 28, 1, 14, 14, 32, 4, 4, 2, 2, 1, 1 },   { 64, 28, 28, 1, 28, 28, 32, 5, 5, 1, 1, 2, 2 },
        { 64, 28, 28, 1, 14, 14, 48, 4, 4, 2, 2, 1, 1 },   { 64, 28, 28, 3, 14, 14, 48, 4, 4, 2, 2, 1, 1 },
        { 64, 64, 64, 3, 32, 32, 64, 4, 4, 2, 2, 1, 1 },   { 64, 28, 28, 64, 28, 28, 3, 3, 3, 1, 1, 1, 1 },
        { 64, 28, 28, 1, 14, 14, 32, 3, 3, 2, 2, 0, 0 },   { 64, 28, 28, 1, 14, 14, 64, 3, 3, 2, 2, 0, 0 },
        { 64, 4, 4, 512, 1, 1, 1, 4, 4, 1, 1, 0, 0 },      { 64, 4, 4, 512, 1, 1, 100, 4, 4, 1, 1, 0, 0 },
        { 64, 28, 28, 64, 28, 28, 128, 1, 1, 1, 1, 0, 0 }, { 1, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 },
    };
    static const char *const dirs[] = { "FWD", "DX", "DW" };
    for (size_t i = 0; i < sizeof geoms / sizeof *geoms; i++) {
        const fg_conv_geom *g = &geoms[i];
        int64_t nx = g->n * g->h * g->w * g->ci, ny = g->n * g->oh * g->ow * g->co, nw = (int64_t)g->kh * g->kw * g->ci * g->co;
        float *x = random_floats(nx), *w = random_floats(nw), *y = random_floats(ny), *out = random_floats(nx + ny + nw);
        double flops = 2.0 * (double)ny * (double)(nw / g->co);
        for (int d = 0; d < 3; d++) {
            char name[80];
            snprintf(name, sizeof name, "%ld x %ldch %ld -> %ldch %ld, %dx%d s%d %s", (long)g->n, (long)g->ci, (long)g->h,
                     (long)g->co, (long)g->oh, g->kh, g->kw, g->sh, dirs[d]);
            printf("%-44s", name);
            for (fg_isa_level isa = FG_ISA_AVX2; isa <= FG_ISA_AVX512; isa++)
                if (peak[isa] > 0) {
                    const char *kernel;
                    double t = time_conv(fg_kernels_for(isa), g, (fg_conv_dir)d, x, w, y, out, flops, &kernel);
                    show(t, flops, peak[isa]);
                    printf(" %-8s", kernel);
                }
            printf("\n");
        }
        free(x), free(w), free(y), free(out);
    }
}

int main(int argc, char **argv) {
    const char *only = argc > 1 ? argv[1] : "";
    if (argc > 2 || (*only && strcmp(only, "gemm") && strcmp(only, "gemm16") && strcmp(only, "conv"))) {
        fprintf(stderr, "usage: bench_product [gemm|gemm16|conv]\n");
        return 2;
    }
    double peak[FG_ISA_COUNT] = { 0 };
    for (fg_isa_level isa = FG_ISA_AVX2; isa <= FG_ISA_AVX512; isa++) {
        peak[isa] = fg_peak_flops(isa, 0.3);
        if (peak[isa] > 0) printf("%s: multiply-add peak of one thread %.1f GF/s\n", fg_isa_name(isa), peak[isa] * 1e-9);
    }
    printf("columns: AVX2%s\n", peak[FG_ISA_AVX512] > 0 ? ", AVX-512" : "");
    if (!*only || !strcmp(only, "gemm")) gemms(peak);
    if (!*only || !strcmp(only, "gemm16")) gemms16(peak);
    if (!*only || !strcmp(only, "conv")) convs(peak);
    return 0;
}

#else

int main(void) {
    printf("bench_product: no vector kernels for this machine\n");
    return 0;
}

#endif
