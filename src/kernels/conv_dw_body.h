/* conv_dw_body.h: DW, the gradient of the weights, out of register tiles; included by conv_<isa>.c after conv_body.h.
 *
 * For a fixed tap (a, b), dw[a][b] is a matrix product over pixels: [CI][pixels] times [pixels][CO]. Along a row of the
 * output the input pixels of one tap are evenly spaced, so a row of pixels is one run of the tile (A by columns: sa =
 * stride x channels) and nothing is gathered. Only dy is copied, to panels [pixel][NR] in the first cache, a few rows at a
 * time ("a pass", about 256 pixels), because all taps and all input channels read it.
 *
 *      x row   . o o o o o o o .         tap b = 0 uses   o   o   o       A: mr channels of these pixels
 *      dy row    |   |   |   |           with             |   |   |       B: NR channels of dy
 *
 * Taps outside the image are never met: each tap's run begins and ends where it is inside.
 *
 * Few output channels leave vectors empty: with CO <= 4 and CI >= 8, SWAPPED makes the channels of dy the rows of a tile
 * and lets vectors run along CI; partials are then [tap][CO][CI], turned by finish_dw. Few channels of x, or of dy at stride
 * 1, are conv_narrow_dw_body.h's.
 *
 * Chunks: a few cells of channels (panels of CO x tiles of CI), then groups of images, each with partial sums that
 * conv_finish adds in order, then finer cells, then kernel rows. Images come early because every cell reads all of x and dy
 * again, and memory, not arithmetic, is then the limit (measured: kernel rows and channels alone reach half the rate). */

enum { PASS_PIXELS = 256, GROUP_PANELS = 8, PARTIAL_BYTES = 32 << 20, DW_CHUNKS = 32, DW_CELLS = 8, GROUP_PIXELS = 1024 };

static void plan_dw(fg_conv_plan *p, int64_t want) {
    const fg_conv_geom *g = &p->g;
    int64_t size = (int64_t)g->kh * g->kw * g->ci * g->co;
    if (!size) return;
    bool narrow = g->co <= FG_DOT_COLS && g->ci >= 8;
    p->algo = narrow ? C_DW_SWAPPED : C_DW;
    int64_t panels = ceil_div(narrow ? g->ci : g->co, NR), tiles = p->algo == C_DW ? ceil_div(g->ci, MR) : 1;
    want = min64(want, DW_CHUNKS);
    /* a few cells of channels, then images while partials are small, then the channels again, then kernel rows */
    int64_t some = min64(want, DW_CELLS);
    int64_t cog = max64(ceil_div(panels, GROUP_PANELS), min64(panels, some)), cig = min64(tiles, ceil_div(some, cog));
    int64_t ig = min64(g->n * g->oh * g->ow / GROUP_PIXELS, PARTIAL_BYTES / 4 / size);
    ig = max64(1, min64(ig, min64(g->n, ceil_div(want, cog * cig))));
    cog = max64(cog, min64(panels, ceil_div(want, ig * cig)));
    cig = max64(cig, min64(tiles, ceil_div(want, ig * cog)));
    int64_t kg = min64(g->kh, ceil_div(want, cog * cig * ig));
    p->priv[Q_KG] = kg, p->priv[Q_COG] = cog, p->priv[Q_CIG] = cig, p->priv[Q_IG] = ig;
    p->chunks = (int)(kg * cog * cig * ig);
    p->scratch = p->algo == C_DW_SWAPPED ? 0 : (size_t)(PASS_PIXELS * NR * ceil_div(panels, cog)) * sizeof(float);
    if (ig > 1 || narrow) {
        p->partials = (size_t)(ig * size) * sizeof(float);
        p->finish_chunks = (int)min64(ceil_div(size, PACK_FLOATS), MAX_CHUNKS);
    }
}

typedef struct dw_job {
    const fg_conv_plan *p;
    const fg_conv_args *a;
    float *dest, *dy;       /* [KH][KW][CI][CO] or partials; packed dy */
    int64_t row;            /* kernel row */
    int64_t p0, p1, t0, t1; /* panels and tiles of this chunk */
    int64_t n0;             /* first image of this chunk */
    int64_t s0, s1, i0, i1; /* the pass: columns s0..s1 of items i0..i1, item i being row i%OH of image n0 + i/OH */
} dw_job;

/* output columns whose tap b is inside the image, within lo..hi */
static void tap_columns(const fg_conv_geom *g, int64_t b, int64_t *lo, int64_t *hi) {
    int64_t first = g->pl > b ? ceil_div(g->pl - b, g->sw) : 0;
    int64_t end = g->w - 1 + g->pl - b < 0 ? 0 : (g->w - 1 + g->pl - b) / g->sw + 1;
    *lo = max64(*lo, first);
    *hi = max64(*lo, min64(*hi, end));
}

/* the row of x that an item's tap meets, and whether there is one */
static int64_t x_row(const dw_job *z, int64_t item) { return item % z->p->g.oh * z->p->g.sh - z->p->g.pt + z->row; }
static bool inside(const dw_job *z, int64_t item) {
    int64_t ih = x_row(z, item);
    return ih >= 0 && ih < z->p->g.h;
}
static const float *x_pixel(const dw_job *z, int64_t item, int64_t ow, int64_t b) {
    const fg_conv_geom *g = &z->p->g;
    return z->a->x + (((z->n0 + item / g->oh) * g->h + x_row(z, item)) * g->w + ow * g->sw - g->pl + b) * g->ci;
}
static const float *dy_pixel(const dw_job *z, int64_t item, int64_t ow) {
    const fg_conv_geom *g = &z->p->g;
    return z->a->dy + ((z->n0 * g->oh + item) * g->ow + ow) * g->co;
}
/* the copy of that pixel in panel z->p0 */
static const float *dy_packed(const dw_job *z, int64_t item, int64_t ow) {
    return z->dy + ((item - z->i0) * (z->s1 - z->s0) + ow - z->s0) * NR;
}

static void pack_dy(const dw_job *z) {
    const fg_conv_geom *g = &z->p->g;
    int64_t len = z->s1 - z->s0;
    for (int64_t j = z->p0; j < z->p1; j++)
        for (int64_t i = z->i0; i < z->i1; i++)
            pack_panel(dy_pixel(z, i, z->s0) + j * NR, g->co, len, min64(NR, g->co - j * NR),
                       z->dy + ((j - z->p0) * (z->i1 - z->i0) + i - z->i0) * len * NR);
}

static void pass_taps(const dw_job *z) {
    const fg_conv_geom *g = &z->p->g;
    int64_t tiles = ceil_div(g->ci, MR), crow[MR];
    for (int64_t i = 0; i < MR; i++) crow[i] = i * g->co;
    for (int64_t b = 0; b < g->kw; b++) {
        fg_run runs[PASS_PIXELS];
        int64_t lo = z->s0, hi = z->s1, n = 0;
        tap_columns(g, b, &lo, &hi);
        if (lo >= hi) continue;
        for (int64_t i = z->i0; i < z->i1; i++)
            if (inside(z, i)) runs[n++] = (fg_run){ x_pixel(z, i, lo, b), dy_packed(z, i, lo), hi - lo };
        fg_tile_args t = { .runs = runs, .nruns = n, .sa = g->sw * g->ci, .ldb = NR, .crow = crow, .add = true };
        for (int64_t j = z->p0; j < z->p1; j++) {
            t.cols = (int)min64(NR, g->co - j * NR);
            t.boff = (j - z->p0) * (z->i1 - z->i0) * (z->s1 - z->s0) * NR;
            for (int64_t ti = z->t0; ti < z->t1; ti++) {
                int64_t c0 = g->ci * ti / tiles, mr = g->ci * (ti + 1) / tiles - c0;
                t.aoff = c0;
                t.c = z->dest + ((z->row * g->kw + b) * g->ci + c0) * g->co + j * NR;
                TILES[FG_TILE_COLS][t.cols > VL][mr - 1](&t);
            }
        }
    }
}

static void pass_swapped(const dw_job *z) {
    const fg_conv_geom *g = &z->p->g;
    int64_t crow[FG_DOT_COLS];
    for (int64_t i = 0; i < FG_DOT_COLS; i++) crow[i] = i * g->ci;
    for (int64_t b = 0; b < g->kw; b++) {
        fg_run runs[PASS_PIXELS];
        int64_t lo = z->s0, hi = z->s1, n = 0;
        tap_columns(g, b, &lo, &hi);
        if (lo >= hi) continue;
        for (int64_t i = z->i0; i < z->i1; i++)
            if (inside(z, i)) runs[n++] = (fg_run){ dy_pixel(z, i, lo), x_pixel(z, i, lo, b), hi - lo };
        fg_tile_args t = { .runs = runs, .nruns = n, .sa = g->co, .ldb = g->sw * g->ci, .crow = crow, .add = true };
        for (int64_t j = z->p0; j < z->p1; j++) {
            t.cols = (int)min64(NR, g->ci - j * NR);
            t.boff = j * NR;
            t.c = z->dest + (z->row * g->kw + b) * g->co * g->ci + j * NR;
            TILES[FG_TILE_COLS][t.cols > VL][g->co - 1](&t);
        }
    }
}

/* dest of this chunk to zero: all passes add */
static void dw_clear(const dw_job *z) {
    const fg_conv_geom *g = &z->p->g;
    bool swapped = z->p->algo == C_DW_SWAPPED;
    int64_t cols = swapped ? g->ci : g->co, tiles = ceil_div(g->ci, MR);
    int64_t r0 = swapped ? 0 : g->ci * z->t0 / tiles, r1 = swapped ? g->co : g->ci * z->t1 / tiles;
    int64_t c0 = z->p0 * NR, c1 = min64(cols, z->p1 * NR);
    for (int64_t b = 0; b < g->kw; b++)
        for (int64_t r = r0; r < r1; r++) zero_floats(z->dest + (z->row * g->kw + b) * g->ci * g->co + r * cols + c0, c1 - c0);
}

static void run_dw(const fg_conv_plan *p, const fg_conv_args *a, int64_t chunk, float *scratch) {
    const fg_conv_geom *g = &p->g;
    const int64_t *q = p->priv;
    int64_t size = (int64_t)g->kh * g->kw * g->ci * g->co;
    int64_t ig = chunk % q[Q_IG], cell = chunk / q[Q_IG], cig = cell % q[Q_CIG], cog = cell / q[Q_CIG] % q[Q_COG];
    int64_t kg = cell / q[Q_CIG] / q[Q_COG];
    int64_t panels = ceil_div(p->algo == C_DW_SWAPPED ? g->ci : g->co, NR), tiles = p->algo == C_DW ? ceil_div(g->ci, MR) : 1;
    dw_job z = { .p = p, .a = a, .dy = scratch, .dest = p->partials ? (float *)a->partials + ig * size : a->out };
    z.p0 = panels * cog / q[Q_COG], z.p1 = panels * (cog + 1) / q[Q_COG];
    z.t0 = tiles * cig / q[Q_CIG], z.t1 = tiles * (cig + 1) / q[Q_CIG];
    z.n0 = g->n * ig / q[Q_IG];
    int64_t items = (g->n * (ig + 1) / q[Q_IG] - z.n0) * g->oh, row0 = g->kh * kg / q[Q_KG], row1 = g->kh * (kg + 1) / q[Q_KG];
    for (z.row = row0; z.row < row1; z.row++) dw_clear(&z);
    for (z.s0 = 0; z.s0 < g->ow; z.s0 = z.s1) {
        z.s1 = min64(g->ow, z.s0 + PASS_PIXELS);
        int64_t step = PASS_PIXELS / (z.s1 - z.s0);
        for (z.i0 = 0; z.i0 < items; z.i0 = z.i1) {
            z.i1 = min64(items, z.i0 + step);
            if (p->algo != C_DW_SWAPPED) pack_dy(&z);
            for (z.row = row0; z.row < row1; z.row++)
                if (p->algo == C_DW) pass_taps(&z);
                else pass_swapped(&z);
        }
    }
}

/* out = the sum of the partials in order; those of SWAPPED are [tap][CO][CI] */
static void finish_dw(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    (void)worker;
    const fg_conv_geom *g = &p->g;
    int64_t block = g->ci * g->co, size = (int64_t)g->kh * g->kw * block, end = size * (chunk + 1) / p->finish_chunks;
    const float *parts = a->partials;
    for (int64_t i = size * chunk / p->finish_chunks; i < end; i++) {
        int64_t at = p->algo == C_DW_SWAPPED ? i / block * block + i % g->co * g->ci + i % block / g->co : i;
        float sum = parts[at];
        for (int64_t q = 1; q < p->priv[Q_IG]; q++) sum += parts[q * size + at];
        a->out[i] = sum;
    }
}
