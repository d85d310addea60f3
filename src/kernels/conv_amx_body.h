/* conv_amx_body.h: FWD and DX on AMX tiles, the batch in the tile; included by conv_amx.c, and by the tests over the
 * stand-ins of amx_tiles.h. conv_amx_dw_body.h has DW.
 *
 * A tile's rows are 32 images of one pixel (two tiles of 16), not pixels of one image. All rows then have the same taps
 * inside the map: taps outside are skipped exactly, a stride is indexing, maps may have any size, and there is no im2col.
 *
 *      source row, packed        [column][channel block][32 images][32 channels]     2 KB a block, A of amx_blocks.h
 *      weights, packed  [output block][phase h][phase w][tap row][tap][channel block][2 tiles]                      B
 *
 *           column   q      q+1     q+2     q+3     q+4
 *      A  ...| c0 c1 | c0 c1 | c0 c1 | c0 c1 | c0 c1 |...     one tap row of one output pixel is one run over both,
 *      B     | tap 0 | tap 1 | tap 2 | tap 3 | tap 4 |        clipped at the border of the map
 *
 * Runs add to the sums [32 images][32 outputs] of amx_sums.h, which are written during the next pixel. DX is the same loop,
 * phase by phase (conv_axis.h).
 *
 * A chunk is a group of output blocks x 32 images x a strip of columns x a band of rows. It packs source rows as it
 * meets them into a ring of rows in its scratch (the second cache), so that rows are packed once a chunk however much the
 * kernels overlap; strips exist only where a few whole rows would not fit. Strips, bands and groups are chosen so that
 * packing and re-reading weights cost least. Tails: images and channels beyond the last are zeros in the ring and in
 * the weights, and never written; a block with at most 16 images or outputs uses half the tiles. */
#include "amx_sums.h"
#include "conv_axis.h"

enum { Q_BLOCKS, Q_IMAGES, Q_STRIPS, Q_BANDS, Q_GROUPS, Q_ROWS, Q_SLOTS, Q_COLS }; /* plan.priv; the rest is DW's */
enum { WANT_CHUNKS = 8, CHUNK_MACS = 1 << 21, MAX_PACK_CHUNKS = 64 };
enum { RING_BYTES = 900 << 10, WEIGHTS_BYTES = 1 << 20 };
enum { MOST_RING_BYTES = (2 << 20) - SUMS_BYTES - 64 }; /* what a ring may grow to when a single pixel needs it */

/* source pixels lo..hi that output pixels o0..o1 of one axis use, phases and all */
static void reach(fg_conv_dir dir, int64_t kernel, int64_t stride, int64_t pad, int64_t limit, int64_t o0, int64_t o1,
                  int64_t *lo, int64_t *hi) {
    bool dx = dir == FG_CONV_DX;
    *lo = max64(0, dx ? floor_div(o0 + pad - kernel + stride, stride) : o0 * stride - pad);
    *hi = min64(limit, dx ? floor_div(o1 - 1 + pad, stride) + 1 : (o1 - 1) * stride - pad + kernel);
    *hi = max64(*lo, *hi);
}
/* the most that any `count` neighbouring output pixels use */
static int64_t reach_most(fg_conv_dir dir, int64_t kernel, int64_t stride, int64_t limit, int64_t count) {
    return min64(limit, dir == FG_CONV_DX ? (count + kernel - 2) / stride + 1 : (count - 1) * stride + kernel);
}

/* ---------------------------------------------------------------- plan */
/* Bytes of source that `rows` x `cols` output pixels use. */
static int64_t window_bytes(const fg_conv_geom *g, fg_conv_dir dir, int64_t rows, int64_t cols) {
    view v = view_of(g, dir);
    return reach_most(dir, g->kh, g->sh, v.sh, rows) * reach_most(dir, g->kw, g->sw, v.sw, cols) * blocks_of(v.sc) * BLOCK_BYTES;
}
static int64_t chunks_wanted(const fg_conv_geom *g) {
    double macs = (double)g->n * (double)(g->oh * g->ow) * (double)(g->ci * g->co) * (g->kh * g->kw);
    return macs < (double)WANT_CHUNKS * CHUNK_MACS ? max64(1, (int64_t)(macs / CHUNK_MACS)) : WANT_CHUNKS;
}

static void plan_rows(fg_conv_plan *p) {
    const fg_conv_geom *g = &p->g;
    int64_t *q = p->priv, want = chunks_wanted(g);
    view v = view_of(g, p->dir);
    q[Q_BLOCKS] = blocks_of(v.oc), q[Q_IMAGES] = blocks_of(g->n);

    /* strips: two output rows of source fit the ring, one if strips get narrow */
    int64_t strips = 1, least = min64(2, v.oh);
    while (strips < v.ow && window_bytes(g, p->dir, least, ceil_div(v.ow, strips)) > RING_BYTES) {
        strips++;
        if (v.ow / strips < 4 * g->kw) least = 1;
    }
    q[Q_STRIPS] = strips;
    q[Q_COLS] = reach_most(p->dir, g->kw, g->sw, v.sw, ceil_div(v.ow, strips));
    int64_t row = q[Q_COLS] * blocks_of(v.sc) * BLOCK_BYTES;

    /* groups of output blocks and bands of rows: enough chunks, and the fewest blocks moved. A group packs the source again, a
     * band its halo, and each chunk fetches the weights of its group, which must stay in the second cache beside the ring. */
    double best = -1;
    int64_t all = q[Q_BLOCKS] * blocks_of(v.sc) * g->kh * g->kw * BLOCK_BYTES;
    for (int64_t groups = min64(q[Q_BLOCKS], ceil_div(all, WEIGHTS_BYTES)); groups <= q[Q_BLOCKS]; groups++) {
        int64_t bands = min64(v.oh, ceil_div(want, groups * q[Q_IMAGES] * strips));
        int64_t rows = bands * reach_most(p->dir, g->kh, g->sh, v.sh, ceil_div(v.oh, bands));
        double packed = (double)(groups * strips * rows) * (double)row;
        double weights = (double)(bands * strips) * (double)all;
        double short_of = (double)max64(1, ceil_div(want, bands * groups * q[Q_IMAGES] * strips));
        double cost = (packed + weights) * short_of;
        if (best < 0 || cost < best) best = cost, q[Q_GROUPS] = groups, q[Q_BANDS] = bands;
    }
    /* the ring: all that a band uses, or what fits */
    int64_t band = ceil_div(v.oh, q[Q_BANDS]);
    q[Q_ROWS] = 1;
    while (q[Q_ROWS] < band && reach_most(p->dir, g->kh, g->sh, v.sh, q[Q_ROWS] + 1) * row <= RING_BYTES) q[Q_ROWS]++;
    q[Q_SLOTS] = reach_most(p->dir, g->kh, g->sh, v.sh, q[Q_ROWS]);
    p->chunks = (int)(q[Q_IMAGES] * q[Q_STRIPS] * q[Q_BANDS] * q[Q_GROUPS]);
    p->scratch = (size_t)(q[Q_SLOTS] * row + SUMS_BYTES + 63) / 64 * 64;
    int64_t units = q[Q_BLOCKS] * g->kh * g->kw;
    p->packed = (size_t)(units * blocks_of(v.sc) * BLOCK_BYTES);
    p->pack_chunks = (int)min64(MAX_PACK_CHUNKS, units);
}

/* ---------------------------------------------------------------- weights */
/* where the weights of a phase begin, in blocks */
static int64_t phase_block(const fg_conv_plan *p, int64_t ob, int64_t rh, int64_t rw) {
    int64_t taps = ob * p->g.kh * p->g.kw;
    for (int64_t i = 0; i < rh; i++) taps += axis_h(p, i).taps * p->g.kw;
    for (int64_t i = 0; i < rw; i++) taps += axis_h(p, rh).taps * axis_w(p, i).taps;
    return taps * blocks_of(view_of(&p->g, p->dir).sc);
}

static void pack_tap(const fg_conv_plan *p, const float *w, uint16_t *packed, int64_t ob, int64_t a, int64_t b) {
    const fg_conv_geom *g = &p->g;
    bool dx = p->dir == FG_CONV_DX;
    int64_t rh = dx ? a % g->sh : 0, rw = dx ? b % g->sw : 0, source = blocks_of(dx ? g->co : g->ci);
    axis h = axis_h(p, rh), c = axis_w(p, rw);
    int64_t j = (a - h.tap0) / h.tap_step, i = (b - c.tap0) / c.tap_step;
    uint16_t *d = packed + (phase_block(p, ob, rh, rw) + (j * c.taps + i) * source) * BLOCK, rounded[BLOCK];
    const float *s = w + (a * g->kw + b) * g->ci * g->co;
    for (int64_t sb = 0; sb < source; sb++, d += BLOCK) {
        int64_t ci = dx ? ob : sb, co = dx ? sb : ob;
        block_round(s + ci * 32 * g->co + co * 32, g->co, left(g->ci, ci), left(g->co, co), rounded);
        if (dx) block_turned(rounded, 32, 32, 32, d, TILE);
        else block_pairs(rounded, 32, 32, 32, d, TILE);
    }
}

static void conv_pack(const fg_conv_plan *p, const fg_real *w, void *packed, int chunk) {
    int64_t taps = (int64_t)p->g.kh * p->g.kw, units = p->priv[Q_BLOCKS] * taps, end = units * (chunk + 1) / p->pack_chunks;
    for (int64_t u = units * chunk / p->pack_chunks; u < end; u++)
        pack_tap(p, w, packed, u / taps, u % taps / p->g.kw, u % p->g.kw);
}

/* ---------------------------------------------------------------- the ring of source rows */
typedef struct amx_job {
    const fg_conv_plan *p;
    const fg_conv_args *a;
    view v;
    int64_t n0, s0, cols, blocks; /* first image; source columns s0..s0+cols; source channels in blocks */
    int images;                   /* 1..32 */
    uint16_t *ring;               /* [slots][cols][blocks][BLOCK] */
    amx_sums sums;
} amx_job;

static uint16_t *ring_at(const amx_job *z, int64_t row, int64_t col) {
    return z->ring + ((row % z->p->priv[Q_SLOTS]) * z->cols + col - z->s0) * z->blocks * BLOCK;
}

static void pack_source_row(const amx_job *z, int64_t row) {
    const view *v = &z->v;
    int64_t image = v->sh * v->sw * v->sc;
    const uint16_t *s = (z->p->dir == FG_CONV_FWD ? z->a->x16 : z->a->dy16) + z->n0 * image + (row * v->sw + z->s0) * v->sc;
    uint16_t *d = ring_at(z, row, z->s0);
    for (int64_t c = 0; c < z->cols; c++, s += v->sc)
        for (int64_t b = 0; b < z->blocks; b++, d += BLOCK) block_copy(s + b * 32, image, z->images, left(v->sc, b), d);
}

/* ---------------------------------------------------------------- output pixels */
/* The runs of one pixel: `rows` runs of `len` blocks. */
typedef struct amx_runs {
    int64_t row, col, rows, len; /* where in the source */
    const uint16_t *b;
    int64_t step_b; /* elements between tap rows of the weights */
} amx_runs;

AMX_INLINE void pixel(const int mt, const int nt, amx_job *z, const amx_runs *r) {
    int since = 0;
    sums_zero(mt, nt);
    for (int64_t j = 0; j < r->rows; j++)
        sums_run(mt, nt, &z->sums, ring_at(z, r->row + j, r->col), r->b + j * r->step_b, r->len, &since);
    sums_store(mt, nt, &z->sums);
}

static void pixel_11(amx_job *z, const amx_runs *r) { pixel(1, 1, z, r); }
static void pixel_12(amx_job *z, const amx_runs *r) { pixel(1, 2, z, r); }
static void pixel_21(amx_job *z, const amx_runs *r) { pixel(2, 1, z, r); }
static void pixel_22(amx_job *z, const amx_runs *r) { pixel(2, 2, z, r); }
typedef void (*pixel_fn)(amx_job *z, const amx_runs *r);
static const pixel_fn pixels[2][2] = { { pixel_11, pixel_12 }, { pixel_21, pixel_22 } };

/* Pixels of one phase in rows r0..r1 and columns c0..c1 of the output, one block of 32 outputs. */
static void run_phase(amx_job *z, int64_t ob, int64_t rh, int64_t rw, int64_t r0, int64_t r1, int64_t c0, int64_t c1) {
    const fg_conv_plan *p = z->p;
    const fg_conv_args *a = z->a;
    axis h = axis_h(p, rh), w = axis_w(p, rw);
    int cols = left(z->v.oc, ob);
    pixel_fn fn = pixels[z->images > 16][cols > 16];
    const uint16_t *weights = (const uint16_t *)a->packed + phase_block(p, ob, rh, rw) * BLOCK;
    int64_t q0 = r0 <= h.out0 ? 0 : ceil_div(r0 - h.out0, h.out_step), x0 = c0 <= w.out0 ? 0 : ceil_div(c0 - w.out0, w.out_step);
    for (int64_t q = q0; q < h.count && h.out0 + q * h.out_step < r1; q++) {
        int64_t hlo, hhi, wlo, whi;
        clip(&h, q, &hlo, &hhi);
        for (int64_t x = x0; x < w.count && w.out0 + x * w.out_step < c1; x++) {
            clip(&w, x, &wlo, &whi);
            amx_runs r = { .row = q * h.step + h.shift + hlo,
                           .col = x * w.step + w.shift + wlo,
                           .rows = wlo < whi ? hhi - hlo : 0,
                           .len = (whi - wlo) * z->blocks,
                           .b = weights + (hlo * w.taps + wlo) * z->blocks * BLOCK,
                           .step_b = w.taps * z->blocks * BLOCK };
            fn(z, &r);
            int64_t row = h.out0 + q * h.out_step, col = w.out0 + x * w.out_step;
            int64_t at = ((z->n0 * z->v.oh + row) * z->v.ow + col) * z->v.oc + ob * 32;
            block_out out = { .out = a->out ? a->out + at : NULL,
                              .out16 = a->out16 ? a->out16 + at : NULL,
                              .stride = z->v.oh * z->v.ow * z->v.oc,
                              .rows = z->images,
                              .cols = cols,
                              .act = a->act,
                              .slope = a->slope };
            sums_due(&z->sums, out, ob * 32);
        }
    }
}

static void run_rows(const fg_conv_plan *p, const fg_conv_args *a, int64_t chunk, char *scratch) {
    const fg_conv_geom *g = &p->g;
    const int64_t *q = p->priv;
    int64_t band = chunk % q[Q_BANDS], strip = chunk / q[Q_BANDS] % q[Q_STRIPS];
    int64_t nb = chunk / q[Q_BANDS] / q[Q_STRIPS] % q[Q_IMAGES], group = chunk / q[Q_BANDS] / q[Q_STRIPS] / q[Q_IMAGES];
    amx_job z = { .p = p, .a = a, .v = view_of(g, p->dir), .n0 = nb * 32, .images = left(g->n, nb) };
    int64_t c0 = z.v.ow * strip / q[Q_STRIPS], c1 = z.v.ow * (strip + 1) / q[Q_STRIPS], end;
    reach(p->dir, g->kw, g->sw, g->pl, z.v.sw, c0, c1, &z.s0, &end);
    z.cols = end - z.s0, z.blocks = blocks_of(z.v.sc);
    z.sums = sums_open(scratch, a->bias, z.v.oc), z.ring = (uint16_t *)(scratch + SUMS_BYTES);

    int64_t r1 = z.v.oh * (band + 1) / q[Q_BANDS], packed = 0; /* source rows below `packed` are in the ring, or were */
    for (int64_t r0 = z.v.oh * band / q[Q_BANDS]; r0 < r1; r0 += q[Q_ROWS]) {
        int64_t stop = min64(r1, r0 + q[Q_ROWS]), lo, hi;
        reach(p->dir, g->kh, g->sh, g->pt, z.v.sh, r0, stop, &lo, &hi);
        for (int64_t row = max64(lo, packed); row < hi; row++) pack_source_row(&z, row);
        packed = max64(packed, hi);
        tile_fence();
        int64_t ob1 = q[Q_BLOCKS] * (group + 1) / q[Q_GROUPS];
        for (int64_t ob = q[Q_BLOCKS] * group / q[Q_GROUPS]; ob < ob1; ob++)
            for (int64_t rh = 0; rh < z.v.phases_h; rh++)
                for (int64_t rw = 0; rw < z.v.phases_w; rw++) run_phase(&z, ob, rh, rw, r0, stop, c0, c1);
    }
    sums_write(&z.sums, 32);
}
