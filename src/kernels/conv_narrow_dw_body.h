/* conv_narrow_dw_body.h: DW between a narrow x and a wide y, the gradient of the weights; included by conv_narrow_<isa>.c after
 * conv_narrow_body.h.
 *
 * For one kernel row a, dw[a][KW x CI][CO] is a product over pixels, and both operands lie ready: the window of a pixel is
 * KW x CI consecutive floats of x, the rows of a tile; its CO channels of dy are the columns. Along a row of pixels x moves
 * by stride x CI floats, dy by CO, so a row of the map is one run:
 *
 *        x row   . [b0 b1 b2 b3 b4] .         rows of the tile: taps b (times channels) of kernel row a
 *                .  . [b0 b1 b2 b3 b4]        one step of k each: a pixel (oh, ow), its dy[CO]
 *
 * Where the window sticks out to the left or right, one column ow of pixels after the other is taken down the image with
 * the rows that remain; kernel rows outside the image are left out with their run. The columns of all images of a chunk
 * are one call, since their tiles are low.
 *
 * A chunk is a group of rows of y (an item is row i % OH of image i / OH), with sums of its own that finish adds in order,
 * then kernel rows, then panels of CO. */

enum { DW_CHUNKS = 32, DW_ROWS = 4, PASS_PIXELS = 256, PARTIAL_BYTES = 32 << 20 };

/* A kernel that covers the whole of a wide map makes one pixel of it: the same memory seen as a 1x1 convolution. */
static fg_conv_geom flattened(const fg_conv_geom *g) {
    bool whole = g->co < g->ci && g->oh == 1 && g->ow == 1 && g->kh == g->h && g->kw == g->w && g->pt == 0 && g->pl == 0;
    return whole ? (fg_conv_geom){ g->n, 1, 1, g->kh * g->kw * g->ci, 1, 1, g->co, 1, 1, 1, 1, 0, 0 } : *g;
}

static void plan_dw(fg_conv_plan *p, const fg_conv_geom *g, int64_t want) {
    int64_t size = (int64_t)g->kh * g->kw * g->ci * g->co, panels = ceil_div(g->co, NR);
    want = min64(want, DW_CHUNKS);
    int64_t groups = min64(want, max64(g->n, g->n * g->oh / DW_ROWS));
    groups = max64(1, min64(groups, PARTIAL_BYTES / 4 / size));
    int64_t kg = min64(g->kh, ceil_div(want, groups)), cog = min64(panels, ceil_div(want, groups * kg));
    p->algo = N_DW;
    p->priv[Q_GROUPS] = groups, p->priv[Q_KG] = kg, p->priv[Q_COG] = cog;
    p->chunks = (int)(groups * kg * cog);
    if (groups > 1 || p->priv[Q_FLIP]) {
        p->partials = (size_t)(groups * size) * sizeof(float);
        p->finish_chunks = (int)min64(g->kh * g->kw, MAX_CHUNKS);
    }
}

typedef struct dw_task { /* one kernel row, items i0..i1, panels j0..j1 */
    const job *z;
    int64_t a, i0, i1, j0, j1;
    int64_t oh0, oh1; /* rows of y that meet this kernel row */
    float *dest;      /* dw[a][KW x CI][CO] */
} dw_task;

/* rows e0..e1 against the panels */
static void dw_panels(const dw_task *d, fg_tile_args *t, int64_t e0, int64_t e1) {
    const fg_conv_geom *g = &d->z->g;
    for (int64_t j = d->j0; j < d->j1; j++) {
        t->cols = (int)min64(NR, g->co - j * NR);
        t->boff = j * NR;
        t->c = d->dest + e0 * g->co + j * NR;
        TILES[FG_TILE_COLS][t->cols > VL][e1 - e0 - 1](t);
    }
}

static const float *x_at(const dw_task *d, int64_t n, int64_t oh, int64_t ow) {
    const fg_conv_geom *g = &d->z->g;
    return d->z->x + ((n * g->h + oh * g->sh - g->pt + d->a) * g->w + ow * g->sw - g->pl) * g->ci;
}
static const float *y_at(const dw_task *d, int64_t n, int64_t oh, int64_t ow) {
    const fg_conv_geom *g = &d->z->g;
    return d->z->y + ((n * g->oh + oh) * g->ow + ow) * g->co;
}

/* Columns lo..hi, whose windows hold all rows e0..e1, of items i0..i1. */
static void dw_whole(const dw_task *d, fg_tile_args *t, int64_t i0, int64_t i1, int64_t lo, int64_t hi, int64_t e0, int64_t e1) {
    const fg_conv_geom *g = &d->z->g;
    fg_run runs[PASS_PIXELS];
    t->runs = runs, t->nruns = 0, t->sa = g->sw * g->ci, t->ldb = g->co;
    for (int64_t i = i0; i < i1; i++) {
        int64_t n = i / g->oh, oh = i % g->oh;
        if (oh < d->oh0 || oh >= d->oh1) continue;
        runs[t->nruns++] = (fg_run){ x_at(d, n, oh, lo) + e0, y_at(d, n, oh, lo), hi - lo };
    }
    dw_panels(d, t, e0, e1);
}

/* One column of all items, with the rows among e0..e1 that are inside. */
static void dw_column(const dw_task *d, fg_tile_args *t, int64_t ow, int64_t e0, int64_t e1) {
    const fg_conv_geom *g = &d->z->g;
    fg_run runs[PASS_PIXELS];
    int64_t b0, b1;
    clip(ow, g->sw, g->pl, g->kw, g->w, &b0, &b1);
    e0 = max64(e0, b0 * g->ci), e1 = min64(e1, b1 * g->ci);
    if (e0 >= e1) return;
    t->runs = runs;
    if (d->oh1 - d->oh0 == 1) { /* down the images that have this row among the items */
        int64_t n0 = ceil_div(max64(0, d->i0 - d->oh0), g->oh), n1 = ceil_div(max64(0, d->i1 - d->oh0), g->oh);
        runs[0] = (fg_run){ x_at(d, n0, d->oh0, ow) + e0, y_at(d, n0, d->oh0, ow), n1 - n0 };
        t->nruns = 1, t->sa = g->h * g->w * g->ci, t->ldb = g->oh * g->ow * g->co;
        dw_panels(d, t, e0, e1);
        return;
    }
    t->sa = g->sh * g->w * g->ci, t->ldb = g->ow * g->co;
    for (int64_t n = d->i0 / g->oh; n * g->oh < d->i1;) {
        for (t->nruns = 0; t->nruns < PASS_PIXELS && n * g->oh < d->i1; n++) {
            int64_t h0 = max64(d->oh0, d->i0 - n * g->oh), h1 = min64(d->oh1, d->i1 - n * g->oh);
            if (h0 < h1) runs[t->nruns++] = (fg_run){ x_at(d, n, h0, ow) + e0, y_at(d, n, h0, ow), h1 - h0 };
        }
        dw_panels(d, t, e0, e1);
    }
}

/* All pixels of items i0..i1 in whole windows; with the last of them, the columns at the edges. */
static void dw_kernel_row(const dw_task *d, int64_t i0, int64_t i1, bool edges) {
    const fg_conv_geom *g = &d->z->g;
    int64_t crow[MR];
    cut rows = cut_of(g->kw * g->ci);
    for (int64_t i = 0; i < MR; i++) crow[i] = i * g->co;
    fg_tile_args t = { .crow = crow, .add = true };
    for (int64_t i = 0, e0 = 0, e1; i < rows.tiles; i++, e0 = e1) {
        int64_t lo = 0, hi = g->ow;
        e1 = e0 + cut_size(&rows, i);
        meet(e0 / g->ci, g->sw, g->pl, g->w, &lo, &hi);
        meet((e1 - 1) / g->ci, g->sw, g->pl, g->w, &lo, &hi);
        if (lo < hi) dw_whole(d, &t, i0, i1, lo, hi, e0, e1);
        for (int64_t ow = lo > 0 ? 0 : hi; edges && ow < g->ow; ow = ow + 1 == lo ? hi : ow + 1) dw_column(d, &t, ow, e0, e1);
    }
}

static void run_dw(const job *z, int64_t chunk) {
    const fg_conv_geom *g = &z->g;
    const int64_t *q = z->p->priv;
    int64_t group = chunk % q[Q_GROUPS], cell = chunk / q[Q_GROUPS], kg = cell % q[Q_KG], cog = cell / q[Q_KG];
    int64_t row = g->kw * g->ci * g->co, panels = ceil_div(g->co, NR);
    float *dest = z->p->partials ? (float *)z->a->partials + group * g->kh * row : z->out;
    int64_t items = g->n * g->oh, step = max64(1, PASS_PIXELS / g->ow);
    dw_task d = { .z = z, .i0 = items * group / q[Q_GROUPS], .i1 = items * (group + 1) / q[Q_GROUPS] };
    d.j0 = panels * cog / q[Q_COG], d.j1 = panels * (cog + 1) / q[Q_COG];
    int64_t a0 = g->kh * kg / q[Q_KG], a1 = g->kh * (kg + 1) / q[Q_KG], c0 = d.j0 * NR, c1 = min64(g->co, d.j1 * NR);
    for (int64_t r = a0 * g->kw * g->ci; r < a1 * g->kw * g->ci; r++)
        for (int64_t c = c0; c < c1; c++) dest[r * g->co + c] = 0;
    for (int64_t i = d.i0; i < d.i1; i += step)
        for (d.a = a0; d.a < a1; d.a++) {
            d.oh0 = 0, d.oh1 = g->oh;
            meet(d.a, g->sh, g->pt, g->h, &d.oh0, &d.oh1);
            d.dest = dest + d.a * row;
            if (d.oh0 < d.oh1) dw_kernel_row(&d, i, min64(d.i1, i + step), i + step >= d.i1);
        }
}

/* out = the sum of the groups' partials in order, a chunk being some taps; those of a flipped problem are [taps
 * backwards][CO][CI] */
static void narrow_finish(const fg_conv_plan *p, const fg_conv_args *args, int chunk, int worker) {
    (void)worker;
    const fg_conv_geom *g = &p->g;
    int64_t block = g->ci * g->co, taps = (int64_t)g->kh * g->kw, end = taps * (chunk + 1) / p->finish_chunks;
    for (int64_t t = taps * chunk / p->finish_chunks; t < end; t++) {
        float *sum = (float *)args->partials + (p->priv[Q_FLIP] ? taps - 1 - t : t) * block, *d = args->out + t * block;
        for (int64_t i = 0; i < block; i += VL) {
            vmask m = v_mask(block - i);
            vf v = v_load_part(sum + i, m);
            for (int64_t q = 1; q < p->priv[Q_GROUPS]; q++) v = v_add(v, v_load_part(sum + q * taps * block + i, m));
            store_first(p->priv[Q_FLIP] ? sum + i : d + i, block - i, v);
        }
        if (p->priv[Q_FLIP])
            for (int64_t c = 0; c < g->ci; c++)
                for (int64_t o = 0; o < g->co; o++) d[c * g->co + o] = sum[o * g->ci + c];
    }
}

/* Where this was faster than the direct kernel, measured on both instruction sets. */
static bool narrow_fits(const fg_conv_geom *outer, fg_conv_dir dir) {
    fg_conv_geom g = dir == FG_CONV_DW ? flattened(outer) : *outer;
    bool flip = flips(&g);
    if (flip) g = flipped(&g);
    int64_t taps = (int64_t)g.kh * g.kw;
    if (g.n * g.h * g.w * g.oh * g.ow * g.ci * g.co == 0 || g.ci >= 16) return false;
    if (dir == FG_CONV_DW) return (g.ci < 8 || g.co >= 8) && taps * g.ci * g.co <= PARTIAL_BYTES / 4;
    if (g.co < 8 || g.kh > MAX_KERNEL || g.kw > MAX_KERNEL) return false;
    if ((dir == FG_CONV_FWD) != flip) return g.co <= 96;
    /* dot products serve three and four channels better, direct tiles do from nine on; rows that are too short, kernels too
     * small or strides too long leave too few products for what the gather costs */
    bool channels = g.ci <= 2 || (g.ci == 3 && g.sh > 1 && g.sw > 1) || (g.ci >= 5 && g.ci <= 8);
    return channels && g.ow >= 12 && taps >= 9 && g.kh >= g.sh && g.kw >= g.sw && g.co <= 256 &&
           taps * g.ci * g.kh * g.ow <= 1 << 16;
}

static void narrow_run(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    job z = job_of(p, a);
    if (p->algo == N_FWD) run_fwd(&z, chunk);
    else if (p->algo == N_DX) run_dx(&z, chunk, (float *)((char *)a->scratch + (size_t)worker * p->scratch));
    else run_dw(&z, chunk);
}
