/* conv_cases.h: what the tests of convolutions share: sizes of operands, a problem with fenced operands for kernels of f32, and
 * the definition of the convolution, product by product. */
#ifndef CONV_CASES_H
#define CONV_CASES_H

#include "product_cases.h"

static const char *const dir_names[] = { "FWD", "DX", "DW" };

static inline int64_t x_size(const fg_conv_geom *g) { return g->n * g->h * g->w * g->ci; }
static inline int64_t y_size(const fg_conv_geom *g) { return g->n * g->oh * g->ow * g->co; }
static inline int64_t w_size(const fg_conv_geom *g) { return (int64_t)g->kh * g->kw * g->ci * g->co; }
static inline int64_t out_size(const fg_conv_geom *g, fg_conv_dir d) {
    return d == FG_CONV_FWD ? y_size(g) : d == FG_CONV_DX ? x_size(g) : w_size(g);
}
static inline double macs(const fg_conv_geom *g) { return (double)y_size(g) * (double)(g->kh * g->kw) * (double)g->ci; }

#ifndef CONV_SIZES_ONLY /* AMX has a problem of its own, in bf16 */
typedef struct problem {
    fg_conv_geom g;
    fg_conv_dir dir;
    const fg_conv_kernel *kernel;
    fence x, w, y, out, bias;
    fg_conv_args a;
} problem;

/* Operands of random numbers around `mean` (weights around 0); each ends, or begins, at a page that must not be touched. */
static inline problem problem_new(const fg_conv_geom *g, fg_conv_dir dir, uint64_t seed, double mean, bool at_start) {
    problem p = { .g = *g, .dir = dir };
    random_state = seed;
    p.x = fence_random(x_size(g), at_start), p.w = fence_random(w_size(g), at_start);
    p.y = fence_random(y_size(g), at_start), p.out = fence_random(out_size(g, dir), at_start);
    p.bias = fence_random(dir == FG_CONV_FWD ? g->co : g->ci, at_start);
    for (int64_t i = 0; i < x_size(g); i++) p.x.p[i] += (fg_real)mean;
    for (int64_t i = 0; i < y_size(g); i++) p.y.p[i] += (fg_real)mean;
    p.a = (fg_conv_args){ .x = dir == FG_CONV_DX ? NULL : p.x.p,
                          .w = dir == FG_CONV_DW ? NULL : p.w.p,
                          .dy = dir == FG_CONV_FWD ? NULL : p.y.p,
                          .out = p.out.p };
    return p;
}
static inline void problem_free(problem *p) {
    fence_free(&p->x), fence_free(&p->w), fence_free(&p->y), fence_free(&p->out), fence_free(&p->bias);
}

/* Runs p->kernel as an op would; output and workspaces are NaN before. */
static inline void drive(fg_context *ctx, problem *p) {
    fg_conv_plan plan;
    p->kernel->plan(&p->g, p->dir, &plan);
    plan.kernel = p->kernel;
    ck_assert_int_ge(plan.chunks, 1);
    ck_assert_uint_le(plan.partials, (size_t)32 << 20);
    ck_assert_uint_eq(plan.scratch % 64, 0);
    for (int64_t i = 0; i < out_size(&p->g, p->dir); i++) p->out.p[i] = (fg_real)NAN;
    void *packed = nan_bytes(plan.packed), *work = nan_bytes(fg_conv_workspace(ctx, &plan));
    const fg_real *w = p->a.w;
    if (plan.packed) {
        ck_assert_int_ge(plan.pack_chunks, 1);
        fg_conv_pack_drive(ctx, &plan, w, packed);
        p->a.w = NULL;
        p->a.packed = packed;
    }
    fg_conv_drive(ctx, &plan, &p->a, work);
    p->a.w = w, p->a.packed = NULL;
    free(packed), free(work);
}

/* Calls visit for every product x[xi] * w[wi] -> y[yi] of the convolution; `at` fixes one index: 0 x, 1 w, 2 y. */
typedef void (*visit_fn)(void *arg, int64_t xi, int64_t wi, int64_t yi);
static inline void products(const fg_conv_geom *g, int fixed, int64_t at, visit_fn visit, void *arg) {
    int64_t n0 = 0, n1 = g->n, o0 = 0, o1 = g->oh, q0 = 0, q1 = g->ow, a0 = 0, a1 = g->kh, b0 = 0, b1 = g->kw;
    int64_t c0 = 0, c1 = g->ci, d0 = 0, d1 = g->co, ih = 0, iw = 0;
    if (fixed == 0) {
        c0 = at % g->ci, c1 = c0 + 1, iw = at / g->ci % g->w, ih = at / g->ci / g->w % g->h;
        n0 = at / (g->ci * g->w * g->h), n1 = n0 + 1;
    } else if (fixed == 1) {
        d0 = at % g->co, d1 = d0 + 1, c0 = at / g->co % g->ci, c1 = c0 + 1;
        b0 = at / g->co / g->ci % g->kw, b1 = b0 + 1, a0 = at / g->co / g->ci / g->kw, a1 = a0 + 1;
    } else {
        d0 = at % g->co, d1 = d0 + 1, q0 = at / g->co % g->ow, q1 = q0 + 1;
        o0 = at / g->co / g->ow % g->oh, o1 = o0 + 1, n0 = at / (g->co * g->ow * g->oh), n1 = n0 + 1;
    }
    for (int64_t n = n0; n < n1; n++)
        for (int64_t o = o0; o < o1; o++)
            for (int64_t a = a0; a < a1; a++) {
                int64_t h = o * g->sh - g->pt + a;
                if (h < 0 || h >= g->h || (fixed == 0 && h != ih)) continue;
                for (int64_t q = q0; q < q1; q++)
                    for (int64_t b = b0; b < b1; b++) {
                        int64_t w = q * g->sw - g->pl + b;
                        if (w < 0 || w >= g->w || (fixed == 0 && w != iw)) continue;
                        for (int64_t c = c0; c < c1; c++)
                            for (int64_t d = d0; d < d1; d++)
                                visit(arg, ((n * g->h + h) * g->w + w) * g->ci + c, ((a * g->kw + b) * g->ci + c) * g->co + d,
                                      ((n * g->oh + o) * g->ow + q) * g->co + d);
                    }
            }
}

typedef struct total {
    const problem *p;
    double sum, size;
    int64_t terms;
} total;
static inline void add_product(void *arg, int64_t xi, int64_t wi, int64_t yi) {
    total *t = arg;
    const problem *p = t->p;
    double v = p->dir == FG_CONV_FWD  ? (double)p->x.p[xi] * (double)p->w.p[wi]
               : p->dir == FG_CONV_DX ? (double)p->y.p[yi] * (double)p->w.p[wi]
                                      : (double)p->x.p[xi] * (double)p->y.p[yi];
    t->sum += v, t->size += fabs(v), t->terms++;
}
static inline int out_operand(fg_conv_dir d) { return d == FG_CONV_FWD ? 2 : d == FG_CONV_DX ? 0 : 1; }

/* The sum of output `at` in double, without bias and activation */
static inline total exact_sum(const problem *p, int64_t at) {
    total t = { .p = p };
    products(&p->g, out_operand(p->dir), at, add_product, &t);
    return t;
}
#endif

#endif
