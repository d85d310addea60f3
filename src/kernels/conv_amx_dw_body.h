/* conv_amx_dw_body.h: DW on AMX tiles, included after conv_amx_body.h.
 *
 * dw[a][b][ci][co] sums x * dy over pixels and images. The reduction inside a tile runs over the 32 images of one pixel:
 *
 *      x   [tile of 16 ci][ring of rows][column][16 ci][32 images]               A  (`columns` of amx_blocks.h)
 *      dy  [tile of 16 co][row][column][16 pairs of images][16 co][2]            B  (`pairs`)
 *      dw  [tile of ci][tile of co][tap row][tap][16 ci][16 co]                  sums, f32
 *
 *                            x row   | | | | | | | |      A: pixel of tap 0 .. 4, neighbours in the ring
 *      one pixel of dy  ->   tap     0 1 2 3 4            up to 5 taps of a kernel row are 5 sums in tiles:
 *                                                         1 load of B, 5 of A (mostly from the first cache), 5 products
 *
 * A pass is all pixels of some rows of 32 images for one tile of ci, one of co and one kernel row; the sums are loaded
 * before it and stored after. Columns at the border, where some taps fall outside, test each tap.
 *
 * A chunk is a group of ci blocks x a group of co blocks x a range of items (rows of dy, 32 images each). It packs x and
 * dy rows itself, x into a ring as conv_amx_body.h does, and keeps its dw tiles in its scratch to the end. Ranges of items
 * cost partial sums, groups cost packing again; plan_dw weighs them. Partials are added in order by conv_finish. */

enum { Q_ITEM_GROUPS = Q_COLS + 1, Q_CI_GROUPS, Q_CO_GROUPS, Q_DY_COLS };
enum { ROWS_BYTES = 1000 << 10, SUM_BYTES = 800 << 10, PARTIALS_BYTES = 32 << 20, MAX_TAPS = 5, FINISH_FLOATS = 1 << 15 };

static int64_t tiles_of(int64_t channels) { return ceil_div(channels, 16); }

/* bytes of packed rows for a pass over `rows` x `cols` of dy with so many blocks on either side */
static int64_t pass_bytes(const fg_conv_geom *g, int64_t rows, int64_t cols, int64_t ci_blocks, int64_t co_blocks) {
    return (reach_most(FG_CONV_FWD, g->kh, g->sh, g->h, rows) * reach_most(FG_CONV_FWD, g->kw, g->sw, g->w, cols) * ci_blocks +
            rows * cols * co_blocks) *
           BLOCK_BYTES;
}

/* How a chunk of so many blocks walks its items: strips of `cols` columns, passes of `rows` rows. */
typedef struct dw_walk {
    int64_t strips, cols, rows;
} dw_walk;
static dw_walk walk_of(const fg_conv_geom *g, int64_t items, int64_t ci_blocks, int64_t co_blocks) {
    dw_walk w = { 1, g->ow, 1 };
    while (w.cols > 1 && pass_bytes(g, 1, w.cols, ci_blocks, co_blocks) > ROWS_BYTES) w.cols = ceil_div(g->ow, ++w.strips);
    while (w.rows < min64(g->oh, items) && pass_bytes(g, w.rows + 1, w.cols, ci_blocks, co_blocks) <= ROWS_BYTES) w.rows++;
    return w;
}
static bool chunk_fits(const fg_conv_geom *g, int64_t ci_blocks, int64_t co_blocks) {
    return ci_blocks * co_blocks * 4096 * g->kh * g->kw <= SUM_BYTES && pass_bytes(g, 1, 1, ci_blocks, co_blocks) <= ROWS_BYTES;
}

/* Work that a split adds, in units of a block (2 KB) moved: packing x, which is transposed and costs twice what dy does;
 * partials, written and read; sums, loaded and stored (near by, half the price) for each pass. */
static double split_cost(const fg_conv_geom *g, int64_t ig, int64_t cig, int64_t cog) {
    double ci = (double)blocks_of(g->ci), co = (double)blocks_of(g->co), taps = g->kh * g->kw;
    int64_t items = blocks_of(g->n) * g->oh, per = ceil_div(items, ig);
    dw_walk w = walk_of(g, per, ceil_div(blocks_of(g->ci), cig), ceil_div(blocks_of(g->co), cog));
    double bands = per >= g->oh ? (double)blocks_of(g->n) : (double)ig;
    double x = bands * (double)reach_most(FG_CONV_FWD, g->kh, g->sh, g->h, min64(g->oh, per)) *
               (double)(w.strips * reach_most(FG_CONV_FWD, g->kw, g->sw, g->w, w.cols)) * ci;
    double dy = (double)(items * g->ow) * co, sums = (double)(ceil_div(items, w.rows) * w.strips) * ci * co * taps * 2;
    double partials = ig > 1 ? (double)(ig + 1) * (double)(g->ci * g->co) * taps / 512 : 0;
    return 2 * x * (double)cog + dy * (double)cig + partials + sums;
}

static void plan_dw(fg_conv_plan *p) {
    const fg_conv_geom *g = &p->g;
    int64_t *q = p->priv, want = chunks_wanted(g), size = (int64_t)g->kh * g->kw * g->ci * g->co;
    int64_t ci = blocks_of(g->ci), co = blocks_of(g->co), items = blocks_of(g->n) * g->oh;
    double best = -1;
    for (int64_t ig = 1; ig <= min64(items, want) && (ig == 1 || ig * size * 4 <= PARTIALS_BYTES); ig++)
        for (int64_t cig = 1; cig <= ci; cig++) {
            int64_t cog = min64(co, ceil_div(want, ig * cig));
            while (cog < co && !chunk_fits(g, ceil_div(ci, cig), ceil_div(co, cog))) cog++;
            if (!chunk_fits(g, ceil_div(ci, cig), ceil_div(co, cog))) continue;
            double cost = split_cost(g, ig, cig, cog) * (double)max64(1, ceil_div(want, ig * cig * cog));
            if (best >= 0 && cost >= best) continue;
            best = cost, q[Q_ITEM_GROUPS] = ig, q[Q_CI_GROUPS] = cig, q[Q_CO_GROUPS] = cog;
        }
    int64_t cib = ceil_div(ci, q[Q_CI_GROUPS]), cob = ceil_div(co, q[Q_CO_GROUPS]);
    dw_walk w = walk_of(g, ceil_div(items, q[Q_ITEM_GROUPS]), cib, cob);
    q[Q_STRIPS] = w.strips, q[Q_ROWS] = w.rows, q[Q_DY_COLS] = w.cols;
    q[Q_SLOTS] = reach_most(FG_CONV_FWD, g->kh, g->sh, g->h, w.rows);
    q[Q_COLS] = reach_most(FG_CONV_FWD, g->kw, g->sw, g->w, w.cols);
    p->chunks = (int)(q[Q_ITEM_GROUPS] * q[Q_CI_GROUPS] * q[Q_CO_GROUPS]);
    p->scratch =
        (size_t)((q[Q_SLOTS] * q[Q_COLS] * cib + w.rows * w.cols * cob) * BLOCK_BYTES + cib * cob * 4096 * g->kh * g->kw + 1024);
    if (q[Q_ITEM_GROUPS] == 1) return;
    p->partials = (size_t)(q[Q_ITEM_GROUPS] * size) * sizeof(float);
    p->finish_chunks = (int)min64(ceil_div(size, FINISH_FLOATS), MAX_PACK_CHUNKS);
}

/* ---------------------------------------------------------------- packed rows */
typedef struct dw_job {
    const fg_conv_plan *p;
    const fg_conv_args *a;
    int64_t ci0, ci1, co0, co1; /* blocks of this chunk */
    int64_t nb, r0, r1;         /* the pass: rows r0..r1 of the images from 32*nb */
    int64_t w0, w1, s0, s1;     /* its columns of dy and of x */
    uint16_t *x, *dy;
    float *sums;
    char *spill;
    bool first; /* the sums hold nothing yet */
} dw_job;

static uint16_t *x_at(const dw_job *z, int64_t tile, int64_t row) { /* the row's column s0 */
    const int64_t *q = z->p->priv;
    return z->x + (tile * q[Q_SLOTS] + row % q[Q_SLOTS]) * q[Q_COLS] * TILE;
}
static uint16_t *dy_at(const dw_job *z, int64_t tile, int64_t row) { /* the row's column w0 */
    const int64_t *q = z->p->priv;
    return z->dy + (tile * q[Q_ROWS] + row - z->r0) * q[Q_DY_COLS] * TILE;
}

static void pack_x_row(const dw_job *z, int64_t row) {
    const fg_conv_geom *g = &z->p->g;
    int64_t image = g->h * g->w * g->ci, gap = x_at(z, 1, row) - x_at(z, 0, row);
    const uint16_t *s = z->a->x16 + z->nb * 32 * image + (row * g->w + z->s0) * g->ci;
    for (int64_t b = z->ci0; b < z->ci1; b++) {
        uint16_t *d = x_at(z, 2 * (b - z->ci0), row);
        for (int64_t c = 0; c < z->s1 - z->s0; c++)
            block_columns(s + c * g->ci + b * 32, image, left(g->n, z->nb), left(g->ci, b), d + c * TILE, gap);
    }
}
static void pack_dy_row(const dw_job *z, int64_t row) {
    const fg_conv_geom *g = &z->p->g;
    int64_t image = g->oh * g->ow * g->co, gap = dy_at(z, 1, row) - dy_at(z, 0, row);
    const uint16_t *s = z->a->dy16 + z->nb * 32 * image + (row * g->ow + z->w0) * g->co;
    for (int64_t b = z->co0; b < z->co1; b++) {
        uint16_t *d = dy_at(z, 2 * (b - z->co0), row);
        for (int64_t c = 0; c < z->w1 - z->w0; c++)
            block_pairs(s + c * g->co + b * 32, image, left(g->n, z->nb), left(g->co, b), d + c * TILE, gap);
    }
}

/* ---------------------------------------------------------------- a pass: up to five taps of one kernel row */
typedef struct taps_job {
    const dw_job *z;
    int64_t x_tile, dy_tile, a, b; /* kernel row a, taps from b on */
    float *sums;                   /* [taps][SUMS] */
    int64_t lo[MAX_TAPS], hi[MAX_TAPS];
    int64_t all_lo, all_hi; /* columns of dy with every tap inside */
} taps_job;

#define ACC_EACH(f) f(0) f(1) f(2) f(3) f(4)
#define ACC_ZERO(k)                                                                                                              \
    if (taps > k) tile_zero(k);
#define ACC_LOAD(k)                                                                                                              \
    if (taps > k) tile_load(k, t->sums + k * SUMS, 64);
#define ACC_STORE(k)                                                                                                             \
    if (taps > k) tile_store(k, t->sums + k * SUMS, 64);
/* tap k of column w through tile r */
#define TAP(k, r)                                                                                                                \
    if (taps > k && (inside || (w >= t->lo[k] && w < t->hi[k]))) {                                                               \
        tile_load(r, x + (at + k) * TILE, 64);                                                                                   \
        tile_dp(k, r, 7);                                                                                                        \
    }

/* columns w..w1 of a row; `inside` when no tap needs a test */
AMX_INLINE void taps_columns(const int taps, const bool inside, const taps_job *t, const uint16_t *x, const uint16_t *dy,
                             int64_t w, int64_t w1) {
    const dw_job *z = t->z;
    int64_t sw = z->p->g.sw, at = w * sw - z->p->g.pl + t->b - z->s0;
    for (int since = 1; w < w1; w++, at += sw, since++) {
        tile_load(7, dy + (w - z->w0) * TILE, 64);
        TAP(0, 5) TAP(1, 6) TAP(2, 5) TAP(3, 6) TAP(4, 5) if (since % STORE_EVERY == 0) tile_store(7, z->spill, 64);
    }
}

AMX_INLINE void taps_pass(const int taps, const taps_job *t) {
    const dw_job *z = t->z;
    const fg_conv_geom *g = &z->p->g;
    if (z->first) {
        ACC_EACH(ACC_ZERO)
    } else {
        ACC_EACH(ACC_LOAD)
    }
    for (int64_t row = z->r0; row < z->r1; row++) {
        int64_t ih = row * g->sh - g->pt + t->a;
        if (ih < 0 || ih >= g->h) continue;
        const uint16_t *x = x_at(z, t->x_tile, ih), *dy = dy_at(z, t->dy_tile, row);
        taps_columns(taps, false, t, x, dy, z->w0, t->all_lo);
        taps_columns(taps, true, t, x, dy, t->all_lo, t->all_hi);
        taps_columns(taps, false, t, x, dy, t->all_hi, z->w1);
        tile_store(7, z->spill, 64);
    }
    ACC_EACH(ACC_STORE)
}
static void taps_1(const taps_job *t) { taps_pass(1, t); }
static void taps_2(const taps_job *t) { taps_pass(2, t); }
static void taps_3(const taps_job *t) { taps_pass(3, t); }
static void taps_4(const taps_job *t) { taps_pass(4, t); }
static void taps_5(const taps_job *t) { taps_pass(5, t); }
static void (*const taps_fns[MAX_TAPS])(const taps_job *t) = { taps_1, taps_2, taps_3, taps_4, taps_5 };

/* Where the taps from t->b on are inside, among the columns of the pass. */
static void find_columns(taps_job *t, int64_t taps) {
    const dw_job *z = t->z;
    const fg_conv_geom *g = &z->p->g;
    t->all_lo = z->w0, t->all_hi = z->w1;
    for (int64_t k = 0; k < taps; k++) {
        int64_t off = g->pl - t->b - k; /* column w meets pixel w*sw - off */
        t->lo[k] = max64(z->w0, -floor_div(-off, g->sw));
        t->hi[k] = min64(z->w1, floor_div(g->w - 1 + off, g->sw) + 1);
        t->all_lo = max64(t->all_lo, t->lo[k]), t->all_hi = min64(t->all_hi, t->hi[k]);
    }
    if (t->all_lo >= t->all_hi) t->all_lo = t->all_hi = z->w0;
}

static void run_pass(const dw_job *z) {
    const fg_conv_geom *g = &z->p->g;
    int64_t parts = ceil_div(g->kw, MAX_TAPS), ci_tiles = tiles_of(min64(g->ci - z->ci0 * 32, (z->ci1 - z->ci0) * 32));
    int64_t co_tiles = tiles_of(min64(g->co - z->co0 * 32, (z->co1 - z->co0) * 32));
    for (int64_t part = 0; part < parts; part++) {
        taps_job t = { .z = z, .b = g->kw * part / parts };
        int64_t taps = g->kw * (part + 1) / parts - t.b;
        find_columns(&t, taps);
        for (t.x_tile = 0; t.x_tile < ci_tiles; t.x_tile++)
            for (t.dy_tile = 0; t.dy_tile < co_tiles; t.dy_tile++)
                for (t.a = 0; t.a < g->kh; t.a++) {
                    t.sums = z->sums + (((t.x_tile * co_tiles + t.dy_tile) * g->kh + t.a) * g->kw + t.b) * SUMS;
                    taps_fns[taps - 1](&t);
                }
    }
}

/* ---------------------------------------------------------------- chunks */
/* the chunk's tiles to dest[KH][KW][CI][CO] */
static void unpack_dw(const dw_job *z, float *dest) {
    const fg_conv_geom *g = &z->p->g;
    int64_t taps = (int64_t)g->kh * g->kw, c1 = min64(g->ci, z->ci1 * 32), o1 = min64(g->co, z->co1 * 32);
    int64_t co_tiles = tiles_of(o1 - z->co0 * 32);
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t c = z->ci0 * 32; c < c1; c++)
            for (int64_t o = z->co0 * 32; o < o1; o += 16) {
                int64_t tile = (c - z->ci0 * 32) / 16 * co_tiles + (o - z->co0 * 32) / 16;
                const float *s = z->sums + (tile * taps + tap) * SUMS + c % 16 * 16;
                float *d = dest + (tap * g->ci + c) * g->co + o;
                if (o + 16 <= o1) memcpy(d, s, 16 * sizeof *s);
                else memcpy(d, s, (size_t)(o1 - o) * sizeof *s);
            }
}

static void run_dw(const fg_conv_plan *p, const fg_conv_args *a, int64_t chunk, char *scratch) {
    const fg_conv_geom *g = &p->g;
    const int64_t *q = p->priv;
    int64_t ci = blocks_of(g->ci), co = blocks_of(g->co), items = blocks_of(g->n) * g->oh;
    int64_t ig = chunk % q[Q_ITEM_GROUPS], cell = chunk / q[Q_ITEM_GROUPS];
    int64_t cig = cell % q[Q_CI_GROUPS], cog = cell / q[Q_CI_GROUPS], size = (int64_t)g->kh * g->kw * g->ci * g->co;
    dw_job z = { .p = p, .a = a, .first = true };
    z.ci0 = ci * cig / q[Q_CI_GROUPS], z.ci1 = ci * (cig + 1) / q[Q_CI_GROUPS];
    z.co0 = co * cog / q[Q_CO_GROUPS], z.co1 = co * (cog + 1) / q[Q_CO_GROUPS];
    z.spill = scratch, z.x = (uint16_t *)(scratch + 1024);
    z.dy = z.x + q[Q_SLOTS] * q[Q_COLS] * ceil_div(ci, q[Q_CI_GROUPS]) * BLOCK;
    z.sums = (float *)(z.dy + q[Q_ROWS] * q[Q_DY_COLS] * ceil_div(co, q[Q_CO_GROUPS]) * BLOCK);

    int64_t i1 = items * (ig + 1) / q[Q_ITEM_GROUPS];
    for (int64_t strip = 0; strip < q[Q_STRIPS]; strip++) {
        z.w0 = g->ow * strip / q[Q_STRIPS], z.w1 = g->ow * (strip + 1) / q[Q_STRIPS];
        reach(FG_CONV_FWD, g->kw, g->sw, g->pl, g->w, z.w0, z.w1, &z.s0, &z.s1);
        int64_t packed = 0, nb = -1; /* rows below `packed` of x are in the ring, or were */
        for (int64_t i = items * ig / q[Q_ITEM_GROUPS]; i < i1; i += z.r1 - z.r0) {
            z.nb = i / g->oh, z.r0 = i % g->oh;
            z.r1 = min64(min64(g->oh, z.r0 + q[Q_ROWS]), z.r0 + i1 - i);
            if (z.nb != nb) nb = z.nb, packed = 0;
            int64_t lo, hi;
            reach(FG_CONV_FWD, g->kh, g->sh, g->pt, g->h, z.r0, z.r1, &lo, &hi);
            for (int64_t row = max64(lo, packed); row < hi; row++) pack_x_row(&z, row);
            packed = max64(packed, hi);
            for (int64_t row = z.r0; row < z.r1; row++) pack_dy_row(&z, row);
            tile_fence();
            run_pass(&z);
            z.first = false;
        }
    }
    unpack_dw(&z, q[Q_ITEM_GROUPS] > 1 ? (float *)a->partials + ig * size : a->out);
}

/* out = the partials, in order */
static void conv_finish(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    (void)worker;
    enum { SOME = 256 };
    int64_t size = (int64_t)p->g.kh * p->g.kw * p->g.ci * p->g.co, end = size * (chunk + 1) / p->finish_chunks;
    const float *parts = a->partials;
    float sum[SOME];
    for (int64_t i = size * chunk / p->finish_chunks; i < end; i += SOME) {
        int64_t count = min64(SOME, end - i);
        memcpy(sum, parts + i, (size_t)count * sizeof *sum);
        for (int64_t q = 1; q < p->priv[Q_ITEM_GROUPS]; q++)
            for (int64_t c = 0; c < count; c++) sum[c] += parts[q * size + i + c];
        memcpy(a->out + i, sum, (size_t)count * sizeof *sum);
    }
}

/* ---------------------------------------------------------------- the kernel */
/* Channels fill up with zeros to whole tiles, 32 along the sum and 16 elsewhere. Where less than a sixteenth of the products
 * is then of use, f32 does better: tiles have about ten times the rate of vectors. */
static bool conv_fits(const fg_conv_geom *g, fg_conv_dir dir) {
    if (g->n < 1 || g->oh < 1 || g->ow < 1 || g->ci < 1 || g->co < 1) return false;
    int64_t ci = dir == FG_CONV_FWD ? 32 * blocks_of(g->ci) : 16 * tiles_of(g->ci);
    int64_t co = dir == FG_CONV_DX ? 32 * blocks_of(g->co) : 16 * tiles_of(g->co);
    if (16 * g->ci * g->co < ci * co) return false;
    return dir == FG_CONV_DW ? chunk_fits(g, 1, 1) : window_bytes(g, dir, 1, 1) <= MOST_RING_BYTES;
}
static void conv_plan(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = *g, .dir = dir };
    if (dir == FG_CONV_DW) plan_dw(p);
    else plan_rows(p);
}
static void conv_run(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    char *scratch = (char *)a->scratch + (size_t)worker * p->scratch;
    if (p->dir == FG_CONV_DW) run_dw(p, a, chunk, scratch);
    else run_rows(p, a, chunk, scratch);
}

static const fg_conv_kernel amx_conv = { .name = "amx",
                                         .isa = AMX_LEVEL,
                                         .needs = FG_CONV_BF16,
                                         .fits = conv_fits,
                                         .plan = conv_plan,
                                         .pack = conv_pack,
                                         .run = conv_run,
                                         .finish = conv_finish };
