/* driver.c: runs the product slots over the thread team, the same for every ISA.
 *
 * A plan cuts the problem into chunks by its size alone; here they are handed to fg_parallel. The caller owns what pack
 * makes, so that it can be kept, and one workspace, which is laid out
 *
 *     gemm:  [shared][scratch of worker 0][scratch of worker 1]...
 *     gemm16 and
 *     conv:  [scratch of worker 0][scratch of worker 1]...[partials]
 *
 * in pieces rounded up to 64 bytes (fg_alloc aligns the base). Passes follow one another: pack, run, finish; each
 * fg_parallel returns when all its chunks are done. */
#include "kernels.h"

static size_t round64(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

typedef struct gemm_job {
    const fg_kernels *k;
    const fg_gemm_plan *p;
    const fg_gemm_args *a;
    void *packed, *shared;
    char *scratch;
} gemm_job;

static void gemm_pack_chunk(void *arg, int chunk, int worker) {
    (void)worker;
    gemm_job *j = arg;
    j->k->gemm_pack(j->p, j->a, j->packed, chunk);
}
static void gemm_run_chunk(void *arg, int chunk, int worker) {
    gemm_job *j = arg;
    j->k->gemm_run(j->p, j->a, j->shared, j->scratch + (size_t)worker * round64(j->p->scratch), chunk);
}
static void gemm_finish_chunk(void *arg, int chunk, int worker) {
    (void)worker;
    gemm_job *j = arg;
    j->k->gemm_finish(j->p, j->a, j->shared, chunk);
}

size_t fg_gemm_workspace(const fg_context *ctx, const fg_gemm_plan *p) {
    return round64(p->shared) + (size_t)fg_get_threads(ctx) * round64(p->scratch);
}

void fg_gemm_pack_drive(fg_context *ctx, const fg_gemm_plan *p, const fg_gemm_args *a, void *packed) {
    gemm_job j = { ctx->k, p, a, packed, NULL, NULL };
    if (p->packed) fg_parallel(ctx, p->pack_chunks, gemm_pack_chunk, &j);
}

static gemm_job job_of(const fg_context *ctx, const fg_gemm_plan *p, const fg_gemm_args *a, void *workspace) {
    return (gemm_job){ ctx->k, p, a, NULL, workspace, workspace ? (char *)workspace + round64(p->shared) : NULL };
}

void fg_gemm_drive(fg_context *ctx, const fg_gemm_plan *p, const fg_gemm_args *a, void *workspace) {
    gemm_job j = job_of(ctx, p, a, workspace);
    fg_parallel(ctx, p->chunks, gemm_run_chunk, &j);
    if (p->finish_chunks) fg_parallel(ctx, p->finish_chunks, gemm_finish_chunk, &j);
}

/* The first half of the first product's chunks, that of the second's, then the other halves: two threads then share both in the
 * way in which they share each (a plan's first half are the upper rows), and each goes on with rows that it made itself. One
 * product each would be as fast where both cores share a third cache; where they do not, steps of linear layers take 2% more. */
static void gemm_pair_chunk(void *arg, int chunk, int worker) {
    gemm_job *j = arg;
    int half[2] = { j[0].p->chunks / 2, j[1].p->chunks / 2 }, upper = half[0] + half[1], lower = chunk >= upper;
    int at = lower ? chunk - upper : chunk, end = lower ? j[0].p->chunks - half[0] : half[0], second = at >= end;
    if (second) at -= end;
    gemm_run_chunk(&j[second], at + (lower ? half[second] : 0), worker);
}

void fg_gemm_drive_pair(fg_context *ctx, const fg_gemm_plan p[2], const fg_gemm_args a[2], void *const workspace[2]) {
    gemm_job j[2] = { job_of(ctx, &p[0], &a[0], workspace[0]), job_of(ctx, &p[1], &a[1], workspace[1]) };
    fg_parallel(ctx, p[0].chunks + p[1].chunks, gemm_pair_chunk, j);
    for (int i = 0; i < 2; i++)
        if (p[i].finish_chunks) fg_parallel(ctx, p[i].finish_chunks, gemm_finish_chunk, &j[i]);
}

bool fg_gemm16_choose(const fg_kernels *k, const fg_gemm16_args *a, fg_gemm16_plan *p) {
    for (int i = 0; i < FG_GEMM16_KERNELS && k->gemm16[i]; i++) {
        const fg_gemm16_kernel *g = k->gemm16[i];
        if (g->fits && !g->fits(a)) continue;
        *p = (fg_gemm16_plan){ 0 };
        g->plan(a, p);
        p->kernel = g;
        return true;
    }
    return false;
}

void fg_gemm16_prefer(fg_kernels *k, const fg_gemm16_kernel *kernel) {
    for (int i = FG_GEMM16_KERNELS - 1; i > 0; i--) k->gemm16[i] = k->gemm16[i - 1];
    k->gemm16[0] = kernel;
}

typedef struct gemm16_job {
    const fg_gemm16_plan *p;
    const fg_gemm16_args *a;
    void *packed;
} gemm16_job;

static void gemm16_pack_chunk(void *arg, int chunk, int worker) {
    (void)worker;
    gemm16_job *j = arg;
    j->p->kernel->pack(j->p, j->a, j->packed, chunk);
}
static void gemm16_run_chunk(void *arg, int chunk, int worker) {
    gemm16_job *j = arg;
    j->p->kernel->run(j->p, j->a, chunk, worker);
}
static void gemm16_finish_chunk(void *arg, int chunk, int worker) {
    (void)worker;
    gemm16_job *j = arg;
    j->p->kernel->finish(j->p, j->a, chunk);
}

size_t fg_gemm16_workspace(const fg_context *ctx, const fg_gemm16_plan *p) {
    return round64((size_t)fg_get_threads(ctx) * p->scratch) + round64(p->partials);
}

void fg_gemm16_pack_drive(fg_context *ctx, const fg_gemm16_plan *p, const fg_gemm16_args *a, void *packed) {
    gemm16_job j = { p, a, packed };
    if (p->packed) fg_parallel(ctx, p->pack_chunks, gemm16_pack_chunk, &j);
}

void fg_gemm16_drive(fg_context *ctx, const fg_gemm16_plan *p, fg_gemm16_args *a, const void *packed, void *workspace) {
    gemm16_job j = { p, a, NULL };
    a->packed = packed;
    a->scratch = workspace;
    a->partials = workspace ? (char *)workspace + round64((size_t)fg_get_threads(ctx) * p->scratch) : NULL;
    fg_parallel(ctx, p->chunks, gemm16_run_chunk, &j);
    if (p->finish_chunks) fg_parallel(ctx, p->finish_chunks, gemm16_finish_chunk, &j);
}

bool fg_conv_choose(const fg_kernels *k, const fg_conv_geom *g, fg_conv_dir dir, unsigned flags, fg_conv_plan *p) {
    for (int i = 0; i < FG_CONV_KERNELS && k->conv[i]; i++) {
        const fg_conv_kernel *c = k->conv[i];
        if ((c->needs & ~flags) || ((flags & ~c->needs) & FG_CONV_BF16) || (c->fits && !c->fits(g, dir))) continue;
        c->plan(g, dir, p);
        p->kernel = c;
        return true;
    }
    return false;
}

void fg_conv_prefer(fg_kernels *k, const fg_conv_kernel *kernel) {
    for (int i = FG_CONV_KERNELS - 1; i > 0; i--) k->conv[i] = k->conv[i - 1];
    k->conv[0] = kernel;
}

bool fg_conv_product(const fg_conv_geom *g, fg_conv_dir dir, fg_gemm_args *p) {
    bool whole = g->kh == g->h && g->kw == g->w && g->oh == 1 && g->ow == 1;
    bool single = g->kh == 1 && g->kw == 1 && g->sh == 1 && g->sw == 1 && g->oh == g->h && g->ow == g->w;
    if (g->pt || g->pl || !(whole || single)) return false;
    int64_t rows = g->n * g->oh * g->ow, taps = (int64_t)g->kh * g->kw * g->ci;
    if (dir == FG_CONV_FWD) *p = (fg_gemm_args){ .m = rows, .n = g->co, .k = taps, .lda = taps, .ldb = g->co, .ldc = g->co };
    else if (dir == FG_CONV_DX)
        *p = (fg_gemm_args){ .m = rows, .n = taps, .k = g->co, .tb = true, .lda = g->co, .ldb = g->co, .ldc = taps };
    else *p = (fg_gemm_args){ .m = taps, .n = g->co, .k = rows, .ta = true, .lda = taps, .ldb = g->co, .ldc = g->co };
    return true;
}

typedef struct conv_job {
    const fg_conv_plan *p;
    const fg_conv_args *a;
    const fg_real *w;
    void *packed;
} conv_job;

static void conv_pack_chunk(void *arg, int chunk, int worker) {
    (void)worker;
    conv_job *j = arg;
    j->p->kernel->pack(j->p, j->w, j->packed, chunk);
}
static void conv_run_chunk(void *arg, int chunk, int worker) {
    conv_job *j = arg;
    j->p->kernel->run(j->p, j->a, chunk, worker);
}
static void conv_finish_chunk(void *arg, int chunk, int worker) {
    conv_job *j = arg;
    j->p->kernel->finish(j->p, j->a, chunk, worker);
}

size_t fg_conv_workspace(const fg_context *ctx, const fg_conv_plan *p) {
    return round64((size_t)fg_get_threads(ctx) * p->scratch) + round64(p->partials);
}

void fg_conv_pack_drive(fg_context *ctx, const fg_conv_plan *p, const fg_real *w, void *packed) {
    conv_job j = { p, NULL, w, packed };
    if (p->packed) fg_parallel(ctx, p->pack_chunks, conv_pack_chunk, &j);
}

void fg_conv_drive(fg_context *ctx, const fg_conv_plan *p, fg_conv_args *a, void *workspace) {
    conv_job j = { p, a, NULL, NULL };
    a->scratch = workspace;
    a->partials = workspace ? (char *)workspace + round64((size_t)fg_get_threads(ctx) * p->scratch) : NULL;
    fg_parallel(ctx, p->chunks, conv_run_chunk, &j);
    if (p->finish_chunks) fg_parallel(ctx, p->finish_chunks, conv_finish_chunk, &j);
}
