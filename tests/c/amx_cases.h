/* amx_cases.h: what test_amx.c and test_amx_vectors.c share: the checks of the bf16 kernels for AMX. The includer has included
 * the kernels' bodies over the stand-ins of amx_tiles.h; on a machine with AMX the library's own kernels run as well.
 *
 * Everything is compared with sums in double over operands that are exact in bf16, so that only the kernel's own rounding is
 * left. Operands and outputs end at (or begin after) a page that must not be touched. */
#ifndef AMX_CASES_H
#define AMX_CASES_H

#define CONV_SIZES_ONLY
#include "conv_cases.h"
#include "bf16.h"

/* ---------------------------------------------------------------- bf16 arrays */
static inline float wide(uint16_t b) { return fg_bf16_to_float(b); }
static inline uint16_t narrow(float f) { return fg_bf16_from_float(f); }

typedef struct fence16 {
    uint16_t *p;
    fence f;
} fence16;
static inline fence16 fence16_new(int64_t count, bool at_start) {
    fence16 r = { .f = fence_new((count + 1) / 2, at_start) };
    r.p = (uint16_t *)r.f.p + (at_start ? 0 : count % 2);
    return r;
}
static inline fence16 fence16_random(int64_t count, bool at_start) {
    fence16 r = fence16_new(count, at_start);
    for (int64_t i = 0; i < count; i++) r.p[i] = narrow(random_real());
    return r;
}

/* The kernels under test: the stand-in, and the library's where the machine has AMX. */
static fg_context *amx_context(void) {
    fg_context *ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    fg_set_threads(ctx, 1);
    return ctx;
}
static inline bool real_amx(void) { /* and not forced to a lower level */
    fg_context *ctx = fg_context_new();
    bool yes = ctx && ctx->isa == FG_ISA_AMX;
    fg_context_free(ctx);
    return yes;
}

/* ---------------------------------------------------------------- convolutions
 * n, h, w, ci, oh, ow, co, kh, kw, sh, sw, pt, pl */
static const fg_conv_geom geoms[] = {
    /* layers of the reference networks, some with fewer channels */
    { 33, 7, 7, 64, 4, 4, 128, 5, 5, 2, 2, 2, 2 },
    { 64, 4, 4, 64, 4, 4, 96, 5, 5, 1, 1, 2, 2 },
    { 5, 14, 14, 32, 7, 7, 64, 5, 5, 2, 2, 1, 1 },
    { 3, 28, 28, 32, 28, 28, 16, 5, 5, 1, 1, 2, 2 },
    { 20, 8, 8, 64, 4, 4, 32, 4, 4, 2, 2, 1, 1 },
    { 2, 7, 7, 64, 7, 7, 32, 3, 3, 1, 1, 1, 1 },
    { 9, 4, 4, 64, 1, 1, 100, 4, 4, 1, 1, 0, 0 },
    /* batches around the tiles' edges */
    { 1, 5, 5, 32, 5, 5, 32, 3, 3, 1, 1, 1, 1 },
    { 15, 3, 4, 32, 3, 4, 32, 3, 3, 1, 1, 1, 1 },
    { 16, 4, 3, 32, 2, 2, 32, 3, 3, 2, 2, 1, 1 },
    { 17, 3, 3, 32, 3, 3, 32, 2, 2, 1, 1, 1, 1 },
    { 31, 3, 3, 32, 2, 2, 32, 3, 3, 2, 2, 1, 1 },
    { 32, 3, 3, 32, 3, 3, 32, 3, 3, 1, 1, 1, 1 },
    { 48, 2, 2, 32, 2, 2, 32, 3, 3, 1, 1, 1, 1 },
    { 70, 2, 2, 16, 2, 2, 17, 2, 2, 1, 1, 0, 0 },
    /* channels that fill no block */
    { 4, 5, 5, 16, 5, 5, 16, 3, 3, 1, 1, 1, 1 },
    { 4, 5, 5, 17, 5, 5, 33, 3, 3, 1, 1, 1, 1 },
    { 4, 5, 5, 33, 3, 3, 31, 3, 3, 2, 2, 1, 1 },
    { 3, 4, 4, 49, 4, 4, 47, 3, 3, 1, 1, 1, 1 },
    { 3, 4, 4, 100, 2, 2, 65, 4, 4, 2, 2, 1, 1 },
    { 3, 6, 6, 1, 6, 6, 32, 5, 5, 1, 1, 2, 2 },
    { 3, 8, 8, 3, 4, 4, 64, 4, 4, 2, 2, 1, 1 },
    { 3, 4, 4, 40, 1, 1, 1, 4, 4, 1, 1, 0, 0 },
    { 3, 5, 5, 2, 5, 5, 5, 3, 3, 1, 1, 1, 1 },
    /* kernels 1 to 7, rectangles, strides apart */
    { 3, 6, 6, 32, 6, 6, 32, 1, 1, 1, 1, 0, 0 },
    { 3, 7, 7, 17, 4, 4, 18, 1, 1, 2, 2, 0, 0 },
    { 3, 9, 9, 16, 9, 9, 16, 7, 7, 1, 1, 3, 3 },
    { 3, 9, 9, 20, 5, 5, 16, 6, 6, 2, 2, 2, 2 },
    { 3, 12, 9, 16, 4, 9, 16, 7, 1, 3, 1, 3, 0 },
    { 3, 9, 12, 16, 9, 6, 16, 1, 7, 1, 2, 0, 3 },
    { 2, 5, 19, 16, 5, 10, 17, 3, 5, 1, 2, 1, 2 },
    { 2, 19, 5, 18, 10, 5, 31, 5, 3, 2, 1, 2, 1 },
    { 2, 40, 1, 16, 40, 1, 16, 5, 1, 1, 1, 2, 0 },
    { 2, 1, 90, 16, 1, 90, 16, 1, 3, 1, 1, 0, 1 },
    /* strides beyond the kernel: pixels without taps */
    { 3, 11, 11, 17, 4, 4, 16, 2, 2, 3, 3, 0, 0 },
    { 4, 13, 13, 16, 4, 4, 16, 1, 1, 4, 4, 1, 1 },
    { 2, 10, 12, 16, 3, 4, 16, 2, 1, 4, 3, 0, 0 },
    /* maps of one pixel, kernels larger than the map */
    { 7, 1, 1, 32, 1, 1, 48, 1, 1, 1, 1, 0, 0 },
    { 7, 1, 1, 16, 3, 3, 16, 3, 3, 1, 1, 2, 2 },
    { 5, 2, 3, 17, 2, 2, 31, 7, 6, 2, 2, 3, 3 },
    { 6, 3, 3, 17, 3, 3, 16, 7, 7, 1, 1, 3, 3 },
    /* uneven padding, cropped and beyond the kernel's reach; rows and columns unused */
    { 3, 9, 9, 16, 9, 9, 16, 5, 5, 1, 1, 4, 0 },
    { 2, 7, 8, 16, 6, 7, 16, 4, 4, 2, 2, 5, 6 },
    { 3, 4, 4, 16, 9, 9, 16, 3, 3, 1, 1, 5, 4 },
    { 3, 12, 12, 16, 4, 4, 16, 3, 3, 2, 2, -1, -2 },
    { 2, 15, 16, 16, 6, 7, 31, 3, 3, 2, 2, 0, 0 },
    /* rings shorter than the map, and strips: wide rows */
    { 1, 40, 30, 32, 40, 30, 16, 3, 3, 1, 1, 1, 1 },
    { 1, 4, 260, 33, 4, 260, 16, 3, 3, 1, 1, 1, 1 },
    { 1, 6, 270, 16, 3, 135, 33, 4, 4, 2, 2, 1, 1 },
};
enum { GEOMS = sizeof geoms / sizeof *geoms };

typedef struct problem {
    fg_conv_geom g;
    fg_conv_dir dir;
    fence16 x, y, out16;
    fence w, out, bias;
    double *sum, *size; /* per output: the sum, and that of the magnitudes */
    fg_conv_args a;
} problem;

static problem problem_new(const fg_conv_geom *g, fg_conv_dir dir, bool at_start) {
    problem p = { .g = *g, .dir = dir };
    random_state = (uint64_t)(w_size(g) + y_size(g)) + 1;
    int64_t outs = out_size(g, dir);
    p.x = fence16_random(x_size(g), at_start), p.y = fence16_random(y_size(g), at_start);
    p.out16 = fence16_new(outs, at_start), p.out = fence_new(outs, at_start);
    p.w = fence_random(w_size(g), at_start), p.bias = fence_random(dir == FG_CONV_FWD ? g->co : g->ci, at_start);
    p.sum = calloc((size_t)outs, sizeof *p.sum), p.size = calloc((size_t)outs, sizeof *p.size);
    p.a = (fg_conv_args){ .x16 = dir == FG_CONV_DX ? NULL : p.x.p,
                          .w = dir == FG_CONV_DW ? NULL : p.w.p,
                          .dy16 = dir == FG_CONV_FWD ? NULL : p.y.p,
                          .out = p.out.p };
    return p;
}
static void problem_free(problem *p) {
    fence_free(&p->x.f), fence_free(&p->y.f), fence_free(&p->out16.f);
    fence_free(&p->w), fence_free(&p->out), fence_free(&p->bias);
    free(p->sum), free(p->size);
}

/* The sums in double, by the definition. */
static void solve(problem *p) {
    const fg_conv_geom *g = &p->g;
    memset(p->sum, 0, (size_t)out_size(g, p->dir) * sizeof *p->sum);
    memset(p->size, 0, (size_t)out_size(g, p->dir) * sizeof *p->size);
    for (int64_t n = 0; n < g->n; n++)
        for (int64_t o = 0; o < g->oh; o++)
            for (int64_t q = 0; q < g->ow; q++)
                for (int64_t a = 0; a < g->kh; a++)
                    for (int64_t b = 0; b < g->kw; b++) {
                        int64_t h = o * g->sh - g->pt + a, w = q * g->sw - g->pl + b;
                        if (h < 0 || h >= g->h || w < 0 || w >= g->w) continue;
                        int64_t xi = ((n * g->h + h) * g->w + w) * g->ci, yi = ((n * g->oh + o) * g->ow + q) * g->co;
                        for (int64_t c = 0; c < g->ci; c++)
                            for (int64_t d = 0; d < g->co; d++) {
                                int64_t wi = ((a * g->kw + b) * g->ci + c) * g->co + d;
                                double l = p->dir == FG_CONV_DX ? wide(p->y.p[yi + d]) : wide(p->x.p[xi + c]);
                                double r = p->dir == FG_CONV_DW ? wide(p->y.p[yi + d]) : wide(narrow(p->w.p[wi]));
                                int64_t at = p->dir == FG_CONV_FWD ? yi + d : p->dir == FG_CONV_DX ? xi + c : wi;
                                p->sum[at] += l * r, p->size[at] += fabs(l * r);
                            }
                    }
}

/* Runs the kernel as an op would, workspaces filled with NaN. */
static void drive(fg_context *ctx, const fg_conv_kernel *kernel, problem *p) {
    fg_conv_plan plan;
    kernel->plan(&p->g, p->dir, &plan);
    plan.kernel = kernel;
    ck_assert_int_ge(plan.chunks, 1);
    ck_assert_uint_le(plan.scratch, (size_t)2 << 20);
    ck_assert_uint_eq(plan.scratch % 64, 0);
    void *packed = nan_bytes(plan.packed), *work = nan_bytes(fg_conv_workspace(ctx, &plan));
    memset(p->out.p, 0xff, (size_t)out_size(&p->g, p->dir) * sizeof(float));
    memset(p->out16.p, 0xff, (size_t)out_size(&p->g, p->dir) * sizeof(uint16_t));
    fg_conv_args a = p->a;
    fg_conv_pack_drive(ctx, &plan, a.w, packed);
    a.packed = packed, a.w = NULL;
    fg_conv_drive(ctx, &plan, &a, work);
    free(packed), free(work);
}

static void check_outputs(const char *who, const problem *p, int which) {
    int64_t outs = out_size(&p->g, p->dir), channels = p->dir == FG_CONV_FWD ? p->g.co : p->g.ci;
    for (int64_t i = 0; i < outs; i++) {
        double bias = p->a.bias ? (double)p->a.bias[i % channels] : 0;
        double want = act_exact(p->sum[i] + bias, p->a.act, (double)p->a.slope);
        double got = p->a.out16 ? wide(p->out16.p[i]) : (double)p->out.p[i];
        double tol = 6e-7 * (p->size[i] + fabs(bias) + fabs(want) + 1e-3) + (p->a.out16 ? fabs(want) / 256 : 0);
        REQUIRE(fabs(got - want) <= tol, "%s, geometry %d, %s, act %d: output %ld is %.9g, expected %.9g", who, which,
                dir_names[p->dir], (int)p->a.act, (long)i, got, want);
    }
}

static void check_geometries(fg_context *ctx, const char *who, const fg_conv_kernel *kernel) {
    for (int i = 0; i < GEOMS; i++)
        for (int d = 0; d < 3; d++) {
            bool narrow_side = geoms[i].ci < 16 || geoms[i].co < 16;
            ck_assert_msg(narrow_side || kernel->fits(&geoms[i], (fg_conv_dir)d), "geometry %d does not fit", i);
            problem p = problem_new(&geoms[i], (fg_conv_dir)d, (i + d) % 2);
            if (d != FG_CONV_DW) { /* half of them rounded, half with a bias, all activations in turn */
                if ((i + d) % 2) p.a.out16 = p.out16.p, p.a.out = NULL;
                if (i % 4 < 2) p.a.bias = p.bias.p;
                p.a.act = (fg_act)(i % 6), p.a.slope = 0.2f;
            }
            solve(&p);
            drive(ctx, kernel, &p);
            check_outputs(who, &p, i);
            problem_free(&p);
        }
}

static void check_teams(const char *who, const fg_conv_kernel *kernel) {
    fg_context *ctx[3];
    for (int t = 0; t < 3; t++) ctx[t] = amx_context(), fg_set_threads(ctx[t], t + 1);
    for (int i = 0; i < GEOMS; i += 3)
        for (int d = 0; d < 3; d++) {
            size_t bytes = (size_t)out_size(&geoms[i], (fg_conv_dir)d) * sizeof(float);
            problem p = problem_new(&geoms[i], (fg_conv_dir)d, false);
            float *first = malloc(bytes);
            for (int t = 0; t < 3; t++) {
                drive(ctx[t], kernel, &p);
                if (t == 0) memcpy(first, p.out.p, bytes);
                REQUIRE(!memcmp(first, p.out.p, bytes), "%s, geometry %d, %s: other bits with %d threads", who, i, dir_names[d],
                        t + 1);
            }
            free(first);
            problem_free(&p);
        }
    for (int t = 0; t < 3; t++) fg_context_free(ctx[t]);
}

/* One NaN or infinity in an operand: an output is NaN, infinite or finite as the sum in double is. */
static void check_spread(fg_context *ctx, const char *who, const fg_conv_kernel *kernel) {
    for (int i = 0; i < GEOMS; i++)
        for (int d = 0; d < 3; d++) {
            if (macs(&geoms[i]) > 2e6) continue;
            problem p = problem_new(&geoms[i], (fg_conv_dir)d, false);
            for (int operand = 0; operand < 3; operand++) {
                if (operand == (d == FG_CONV_FWD ? 2 : d == FG_CONV_DX ? 0 : 1)) continue;
                int64_t size = operand == 0 ? x_size(&p.g) : operand == 1 ? w_size(&p.g) : y_size(&p.g);
                int64_t at = random_below(4) == 0 ? size - 1 : random_below(size);
                float bad = (i + operand) % 2 ? (float)NAN : (float)INFINITY, old_w = p.w.p[operand == 1 ? at : 0];
                fence16 *f = operand == 0 ? &p.x : &p.y;
                uint16_t old = operand == 1 ? 0 : f->p[at];
                if (operand == 1) p.w.p[at] = bad;
                else f->p[at] = bad != bad ? 0x7fc0 : 0x7f80;
                solve(&p);
                drive(ctx, kernel, &p);
                for (int64_t o = 0; o < out_size(&p.g, p.dir); o++)
                    REQUIRE(fpclassify(p.out.p[o]) == fpclassify((float)p.sum[o]) || (isfinite(p.out.p[o]) && isfinite(p.sum[o])),
                            "%s, geometry %d, %s: %g in operand %d at %ld, output %ld is %g, expected %g", who, i, dir_names[d],
                            (double)bad, operand, (long)at, (long)o, (double)p.out.p[o], p.sum[o]);
                if (operand == 1) p.w.p[at] = old_w;
                else f->p[at] = old;
            }
            problem_free(&p);
        }
}

/* Plans of layers that are too large to run here keep their promises. */
static void check_plans(const fg_conv_kernel *kernel) {
    static const fg_conv_geom big[] = {
        { 64, 28, 28, 64, 14, 14, 128, 5, 5, 2, 2, 1, 1 },   { 64, 14, 14, 128, 7, 7, 128, 5, 5, 2, 2, 1, 1 },
        { 64, 28, 28, 64, 28, 28, 32, 5, 5, 1, 1, 2, 2 },    { 64, 8, 8, 256, 4, 4, 512, 4, 4, 2, 2, 1, 1 },
        { 128, 64, 64, 512, 64, 64, 512, 3, 3, 1, 1, 1, 1 }, { 64, 4, 4, 1024, 4, 4, 1024, 5, 5, 1, 1, 2, 2 },
        { 1, 512, 512, 64, 512, 512, 64, 7, 7, 1, 1, 3, 3 }, { 64, 4, 4, 512, 1, 1, 100, 4, 4, 1, 1, 0, 0 },
    };
    for (size_t i = 0; i < sizeof big / sizeof *big; i++)
        for (int d = 0; d < 3; d++) {
            if (!kernel->fits(&big[i], (fg_conv_dir)d)) ck_abort_msg("large layer %zu, %s: does not fit", i, dir_names[d]);
            fg_conv_plan p;
            kernel->plan(&big[i], (fg_conv_dir)d, &p);
            REQUIRE(p.chunks >= 8 && p.chunks <= 1 << 16, "large layer %zu, %s: %d chunks", i, dir_names[d], p.chunks);
            REQUIRE(p.partials <= (size_t)32 << 20 && p.scratch <= (size_t)2 << 20 && p.scratch % 64 == 0,
                    "large layer %zu, %s: partials %zu, scratch %zu", i, dir_names[d], p.partials, p.scratch);
        }
}

/* What does not fit goes to f32: tiles that would be zeros mostly, a pixel that is larger than the scratch, nothing at all. */
static void check_refusals(const fg_conv_kernel *kernel) {
    static const struct {
        fg_conv_geom g;
        bool fits[3];
    } cases[] = {
        { { 32, 8, 8, 15, 8, 8, 32, 3, 3, 1, 1, 1, 1 }, { true, true, true } },
        { { 32, 8, 8, 1, 8, 8, 32, 3, 3, 1, 1, 1, 1 }, { false, true, true } },
        { { 32, 8, 8, 32, 8, 8, 1, 3, 3, 1, 1, 1, 1 }, { true, false, true } },
        { { 32, 8, 8, 2, 8, 8, 16, 3, 3, 1, 1, 1, 1 }, { true, true, true } },
        { { 32, 8, 8, 2, 8, 8, 2, 3, 3, 1, 1, 1, 1 }, { false, false, false } },
        { { 0, 8, 8, 32, 8, 8, 32, 3, 3, 1, 1, 1, 1 }, { false, false, false } },
        { { 2, 9, 9, 8192, 9, 9, 16, 9, 9, 1, 1, 4, 4 }, { false, true, true } },
        { { 2, 30, 30, 16, 30, 30, 16, 15, 15, 1, 1, 7, 7 }, { true, true, false } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int d = 0; d < 3; d++)
            ck_assert_msg(kernel->fits(&cases[i].g, (fg_conv_dir)d) == cases[i].fits[d], "case %zu, %s: fits %d", i, dir_names[d],
                          !cases[i].fits[d]);
}

/* ---------------------------------------------------------------- products */
static const struct {
    int64_t m, n, k;
} shapes[] = {
    { 5, 5, 16 },    { 16, 16, 32 },   { 17, 16, 33 },   { 16, 17, 31 },  { 32, 32, 64 },   { 33, 33, 65 },    { 31, 47, 17 },
    { 48, 100, 40 }, { 64, 100, 700 }, { 100, 64, 129 }, { 7, 300, 100 }, { 300, 7, 100 },  { 129, 131, 97 },  { 20, 20, 5000 },
    { 6, 40, 9001 }, { 64, 784, 100 }, { 40, 8, 28672 }, { 257, 65, 64 }, { 70, 70, 2100 }, { 200, 260, 300 }, { 96, 416, 420 },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct product {
    fg_gemm16_args a;
    fence16 A, B, C16;
    fence C, bias;
    int64_t size; /* of C */
} product;

/* bits of `how`: 1 ta, 2 tb, 4 operands begin at the fence, 8 bf16 out, 16 bias, 32 gaps between rows */
static product product_new(int which, int how) {
    int64_t m = shapes[which].m, n = shapes[which].n, k = shapes[which].k, gap = how & 32 ? 3 : 0;
    bool ta = how & 1, tb = how & 2, at_start = how & 4;
    product p = { .a = { .m = m, .n = n, .k = k, .ta = ta, .tb = tb, .ldc = n + gap, .slope = 0.2f } };
    p.a.lda = (ta ? m : k) + gap, p.a.ldb = (tb ? k : n) + gap;
    random_state = (uint64_t)(which * 64 + how + 1);
    p.A = fence16_random(((ta ? k : m) - 1) * p.a.lda + (ta ? m : k), at_start);
    p.B = fence16_random(((tb ? n : k) - 1) * p.a.ldb + (tb ? k : n), at_start);
    p.size = (m - 1) * p.a.ldc + n;
    p.C = fence_new(p.size, at_start), p.C16 = fence16_new(p.size, at_start), p.bias = fence_random(n, at_start);
    p.a.a = p.A.p, p.a.b = p.B.p;
    if (how & 8) p.a.c16 = p.C16.p;
    else p.a.c = p.C.p;
    if (how & 16) p.a.bias = p.bias.p;
    return p;
}
static void product_free(product *p) {
    fence_free(&p->A.f), fence_free(&p->B.f), fence_free(&p->C16.f), fence_free(&p->C), fence_free(&p->bias);
}

static void multiply(fg_context *ctx, const fg_gemm16_kernel *kernel, product *p) {
    fg_gemm16_plan plan = { 0 };
    kernel->plan(&p->a, &plan);
    plan.kernel = kernel;
    REQUIRE(plan.chunks >= 1 && plan.scratch % 64 == 0 && plan.scratch <= (size_t)2 << 20 && plan.partials <= (size_t)32 << 20,
            "%ldx%ldx%ld: %d chunks, scratch %zu, partials %zu", (long)p->a.m, (long)p->a.n, (long)p->a.k, plan.chunks,
            plan.scratch, plan.partials);
    void *packed = nan_bytes(plan.packed), *work = nan_bytes(fg_gemm16_workspace(ctx, &plan));
    memset(p->C.p, 0xff, (size_t)p->size * sizeof(float)), memset(p->C16.p, 0xff, (size_t)p->size * sizeof(uint16_t));
    fg_gemm16_args a = p->a;
    fg_gemm16_pack_drive(ctx, &plan, &a, packed);
    a.b = NULL; /* packed B is all that run may need */
    fg_gemm16_drive(ctx, &plan, &a, packed, work);
    free(packed), free(work);
}
static double got_at(const product *p, int64_t i, int64_t j) {
    int64_t at = i * p->a.ldc + j;
    return p->a.c ? (double)p->C.p[at] : (double)wide(p->C16.p[at]);
}

static void check_product(const char *who, const product *p) {
    const fg_gemm16_args *a = &p->a;
    for (int64_t i = 0; i < a->m; i++) {
        for (int64_t j = 0; j < a->n; j++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < a->k; k++) {
                double t = (double)wide(a->a[a->ta ? k * a->lda + i : i * a->lda + k]) *
                           (double)wide(a->b[a->tb ? j * a->ldb + k : k * a->ldb + j]);
                sum += t, size += fabs(t);
            }
            double bias = a->bias ? (double)a->bias[j] : 0, want = act_exact(sum + bias, a->act, (double)a->slope);
            double tol = 6e-7 * (size + fabs(bias) + fabs(want) + 1e-3) + (a->c ? 0 : fabs(want) / 256);
            REQUIRE(fabs(got_at(p, i, j) - want) <= tol,
                    "%s, %ldx%ldx%ld, ta %d, tb %d, act %d: C[%ld][%ld] is %.9g, expected %.9g", who, (long)a->m, (long)a->n,
                    (long)a->k, a->ta, a->tb, (int)a->act, (long)i, (long)j, got_at(p, i, j), want);
        }
        for (int64_t j = a->n; j < a->ldc && i < a->m - 1; j++) REQUIRE(isnan(got_at(p, i, j)), "%s: wrote between rows", who);
    }
}

static void check_shapes(fg_context *ctx, const char *who, const fg_gemm16_kernel *kernel) {
    for (int i = 0; i < SHAPES; i++)
        for (int t = 0; t < 4; t++) {
            product p = product_new(i, t + 4 * ((i * 5 + t * 3) % 16));
            p.a.act = (fg_act)((i + t) % 6);
            ck_assert(kernel->fits(&p.a));
            multiply(ctx, kernel, &p);
            check_product(who, &p);
            product_free(&p);
        }
}

static void check_product_teams(fg_context *ctx, const char *who, const fg_gemm16_kernel *kernel) {
    for (int i = 0; i < SHAPES; i++) {
        product p = product_new(i, i % 4);
        float *first = malloc((size_t)p.size * sizeof(float));
        for (int t = 1; t <= 3; t++) {
            fg_set_threads(ctx, t);
            multiply(ctx, kernel, &p);
            if (t == 1) memcpy(first, p.C.p, (size_t)p.size * sizeof(float));
            REQUIRE(!memcmp(first, p.C.p, (size_t)p.size * sizeof(float)), "%s, shape %d: other bits with %d threads", who, i, t);
        }
        free(first);
        product_free(&p);
    }
    fg_set_threads(ctx, 1);
}

/* A NaN or an infinity in A spoils its row of C and nothing else; in B, its column. */
static void check_product_spread(fg_context *ctx, const char *who, const fg_gemm16_kernel *kernel) {
    for (int i = 0; i < SHAPES; i++)
        for (int which = 0; which < 4; which++) {
            product p = product_new(i, (i + which) % 4 + (which & 2 ? 8 : 0));
            int64_t r = random_below(p.a.m), c = random_below(p.a.n), k = random_below(4) ? random_below(p.a.k) : p.a.k - 1;
            uint16_t bad = which & 2 ? 0x7f80 : 0x7fc0;
            if (which & 1) p.A.p[p.a.ta ? k * p.a.lda + r : r * p.a.lda + k] = bad;
            else p.B.p[p.a.tb ? c * p.a.ldb + k : k * p.a.ldb + c] = bad;
            multiply(ctx, kernel, &p);
            for (int64_t m = 0; m < p.a.m; m++)
                for (int64_t n = 0; n < p.a.n; n++)
                    REQUIRE(isfinite(got_at(&p, m, n)) != (which & 1 ? m == r : n == c), "%s, shape %d: C[%ld][%ld] is %g", who,
                            i, (long)m, (long)n, got_at(&p, m, n));
            product_free(&p);
        }
}

/* Large products are cut; few rows or columns, and a k beyond the scratch, are left to other kernels. */
static void check_product_plans(const fg_gemm16_kernel *kernel) {
    static const int64_t big[][3] = { { 512, 512, 512 }, { 1024, 1024, 1024 }, { 64, 6272, 100 }, { 64, 100, 6272 },
                                      { 100, 6272, 64 }, { 128, 1024, 784 },   { 32, 32, 28672 }, { 4096, 4096, 28672 } };
    static const int64_t other[][3] = { { 4, 64, 64 }, { 64, 4, 64 }, { 64, 64, 15 }, { 64, 64, 28673 }, { 0, 64, 64 } };
    for (size_t i = 0; i < sizeof big / sizeof *big; i++) {
        fg_gemm16_args a = { .m = big[i][0], .n = big[i][1], .k = big[i][2] };
        fg_gemm16_plan p = { 0 };
        ck_assert(kernel->fits(&a));
        kernel->plan(&a, &p);
        REQUIRE(p.chunks >= (i == 6 ? 4 : 8) && p.scratch <= (size_t)2 << 20 && p.partials <= (size_t)32 << 20,
                "%ldx%ldx%ld: %d chunks, scratch %zu, partials %zu", (long)a.m, (long)a.n, (long)a.k, p.chunks, p.scratch,
                p.partials);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        ck_assert(!kernel->fits(&(fg_gemm16_args){ .m = other[i][0], .n = other[i][1], .k = other[i][2] }));
}

/* ---------------------------------------------------------------- the suite */
/* f(ctx, name, kernel) for the stand-in and, where there is one, for the library's kernel */
static void each_conv(void (*f)(fg_context *ctx, const char *who, const fg_conv_kernel *kernel)) {
    fg_context *ctx = amx_context();
    f(ctx, "stand-in", &amx_conv);
    for (int i = 0; real_amx() && i < FG_CONV_KERNELS && ctx->k->conv[i]; i++)
        if (ctx->k->conv[i]->isa == FG_ISA_AMX) f(ctx, "AMX", ctx->k->conv[i]);
    fg_context_free(ctx);
}
static void each_product(void (*f)(fg_context *ctx, const char *who, const fg_gemm16_kernel *kernel)) {
    fg_context *ctx = amx_context();
    f(ctx, "stand-in", &amx_gemm);
    for (int i = 0; real_amx() && i < FG_GEMM16_KERNELS && ctx->k->gemm16[i]; i++)
        if (ctx->k->gemm16[i]->isa == FG_ISA_AMX) f(ctx, "AMX", ctx->k->gemm16[i]);
    fg_context_free(ctx);
}
static void teams(fg_context *ctx, const char *who, const fg_conv_kernel *kernel) {
    (void)ctx;
    check_teams(who, kernel);
}
static void plans(fg_context *ctx, const char *who, const fg_conv_kernel *kernel) {
    (void)ctx, (void)who;
    check_plans(kernel);
    check_refusals(kernel);
}

static void product_plans(fg_context *ctx, const char *who, const fg_gemm16_kernel *kernel) {
    (void)ctx, (void)who;
    check_product_plans(kernel);
}

/* The stand-ins themselves: a product by hand, denormals, strides. */
START_TEST(tiles) {
    uint16_t a[TILE] = { 0 }, b[TILE] = { 0 };
    float c[SUMS];
    a[3 * 32 + 4] = narrow(2), a[3 * 32 + 5] = narrow(3);      /* row 3, pair 2 */
    b[2 * 32 + 7 * 2] = narrow(5), b[2 * 32 + 15] = narrow(7); /* pair 2, column 7 */
    a[0] = 0x7f, b[0] = narrow(1e38f);                         /* a denormal counts as zero */
    a[32] = 0x7f80, b[1] = narrow(-1);                         /* row 1 is infinite, and NaN where B is zero */
    for (int i = 0; i < SUMS; i++) c[i] = 1;
    tile_load(0, c, 64), tile_load(1, a, 64), tile_load(2, b, 64);
    tile_dp(0, 1, 2);
    tile_store(0, c, 64);
    for (int i = 0; i < SUMS; i++) {
        if (i % 16 != 0 && i / 16 == 1) ck_assert(isnan(c[i]));
        else ck_assert_float_eq(c[i], i == 3 * 16 + 7 ? 1 + 10 + 21 : i == 16 ? INFINITY : 1);
    }
    tile_zero(0);
    tile_store(0, c, 64);
    for (int i = 0; i < SUMS; i++) ck_assert_float_eq(c[i], 0);
}
END_TEST

START_TEST(geometries) { each_conv(check_geometries); }
END_TEST
START_TEST(same_bits_for_any_team) { each_conv(teams); }
END_TEST
START_TEST(special_values_stay_where_they_belong) { each_conv(check_spread); }
END_TEST
START_TEST(plans_keep_their_promises) { each_conv(plans); }
END_TEST

START_TEST(products) { each_product(check_shapes); }
END_TEST
START_TEST(products_same_bits_for_any_team) { each_product(check_product_teams); }
END_TEST
START_TEST(products_special_values) { each_product(check_product_spread); }
END_TEST
START_TEST(products_plans) { each_product(product_plans); }
END_TEST

static int run_suite(const char *name) {
    if (!real_amx()) puts("AMX: not on this machine, stand-ins only");
    Suite *s = suite_create(name);
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 300);
    tcase_add_test(t, tiles);
    tcase_add_test(t, geometries);
    tcase_add_test(t, same_bits_for_any_team);
    tcase_add_test(t, special_values_stay_where_they_belong);
    tcase_add_test(t, plans_keep_their_promises);
    tcase_add_test(t, products);
    tcase_add_test(t, products_same_bits_for_any_team);
    tcase_add_test(t, products_special_values);
    tcase_add_test(t, products_plans);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
