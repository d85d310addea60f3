/* conv_body.h: FWD and DX out of register tiles, included by conv_<isa>.c after its vector header; conv_dw_body.h has DW.
 *
 * Both directions are the same loop. DX with stride s falls apart into s x s phases: the output pixels of one phase all
 * meet the same subset of taps, at consecutive source pixels, so each phase is a stride-1 convolution and no zero is ever
 * multiplied. Along one axis (conv_axis.h), output pixel out0 + q*out_step sums over j in 0..taps
 *
 *        source pixel  q*step + shift + j   times   kernel row  tap0 + j*tap_step
 *
 *                      FWD: one phase, step = stride                  DX, stride 2: two phases, step = 1
 *        source  . . [a b c d e] . .                      dy     . [x y z] .         [y z] .
 *                        |  taps 0 1 2 3 4                          |  taps 4 2 0      |  taps 3 1
 *        y               o                                dx        e . o . e  even    o  odd pixels
 *
 * In NHWC the taps of one kernel row are then one contiguous run of source floats, and in the packed weights
 * [phase][panel of outputs][tap row][tap][channel][NR] they are consecutive rows of B. A tile's rows are one output pixel
 * of several images: all have the same taps inside the image, so runs are clipped exactly and small maps cost less. Below
 * six images rows are neighbouring pixels instead, and taps outside are packed as zeros; there alone an infinite weight
 * can turn an output at the border into NaN. Rows are gathered block by block of k into a panel in the first cache: there
 * is no im2col buffer.
 *
 * Outputs with 1 to 4 channels (the last layer of a generator) waste vectors of columns: they are dot products, lanes
 * along the run, four images at a time. */
#include "conv_axis.h"
#include "pack_body.h"

enum { C_TILES = 0, C_DOT, C_DW, C_DW_SWAPPED };
enum { Q_GROUPS, Q_BANDS, Q_TILES, Q_KG, Q_CIG, Q_COG, Q_IG }; /* slots of plan.priv; from Q_KG on they are DW's */
enum { MAX_CHUNKS = 64, CHUNK_MACS = 1 << 18, DOT_TAPS = 64, PACK_FLOATS = 1 << 15, FEW_IMAGES = 6 };
enum { K_BLOCK = 320 /* longest run of taps and channels between two visits of C */ };

/* columns of B a panel holds, and how many panels there are */
static int64_t panel_width(const fg_conv_plan *p) { return p->algo == C_DOT ? 1 : NR; }
static int64_t panel_count(const fg_conv_plan *p, const view *v) { return ceil_div(v->oc, panel_width(p)); }

/* where the packed weights of a phase begin, in floats */
static int64_t phase_offset(const fg_conv_plan *p, const view *v, int64_t rh, int64_t rw) {
    int64_t taps = 0;
    for (int64_t i = 0; i < rh; i++) taps += axis_h(p, i).taps * p->g.kw;
    for (int64_t i = 0; i < rw; i++) taps += axis_h(p, rh).taps * axis_w(p, i).taps;
    return taps * v->sc * panel_count(p, v) * panel_width(p);
}

/* ---------------------------------------------------------------- plan and weights */
static void plan_dw(fg_conv_plan *p, int64_t want);

static void conv_plan(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = *g, .dir = dir };
    view v = view_of(g, dir);
    double macs = (double)g->n * (double)(g->oh * g->ow) * (double)(g->ci * g->co) * (g->kh * g->kw);
    int64_t want = max64(1, (int64_t)(macs < (double)MAX_CHUNKS * CHUNK_MACS ? macs / CHUNK_MACS : MAX_CHUNKS));
    if (dir == FG_CONV_DW) {
        plan_dw(p, want);
        return;
    }
    if (g->n * v.oh * v.ow * v.oc == 0) return;

    p->algo = v.oc <= FG_DOT_COLS && v.sc * g->kw >= VL && g->kh <= DOT_TAPS ? C_DOT : C_TILES;
    int64_t images = p->algo == C_DOT ? FG_DOT_ROWS : MR, tiles = ceil_div(g->n, images);
    bool by_pixel = p->algo == C_TILES && g->n < FEW_IMAGES && g->n < v.oh * v.ow;
    p->priv[Q_TILES] = by_pixel ? 0 : tiles;
    int64_t groups = by_pixel ? g->n : ceil_div(tiles, 6);
    int64_t bands = min64(v.oh, max64(1, ceil_div(want, groups)));
    if (!by_pixel) groups = max64(groups, min64(tiles, want / bands)); /* few rows: more groups */
    p->priv[Q_GROUPS] = groups, p->priv[Q_BANDS] = bands;
    p->chunks = (int)(groups * bands);
    p->scratch = (size_t)(MR * A_ROW + VL) * sizeof(float) / 64 * 64 + 64;
    int64_t floats = panel_count(p, &v) * panel_width(p) * v.sc * g->kh * g->kw;
    p->packed = (size_t)floats * sizeof(float);
    p->pack_chunks = (int)min64(ceil_div(floats, PACK_FLOATS), min64(MAX_CHUNKS, panel_count(p, &v) * g->kh * g->kw));
}

/* One tap, one panel: d[channel of the source][width] */
static void pack_tap(const fg_conv_plan *p, const view *v, const float *w, float *packed, int64_t a, int64_t b, int64_t panel) {
    const fg_conv_geom *g = &p->g;
    bool dx = p->dir == FG_CONV_DX;
    int64_t rh = dx ? a % g->sh : 0, rw = dx ? b % g->sw : 0, width = panel_width(p);
    axis h = axis_h(p, rh), c = axis_w(p, rw);
    int64_t j = (a - h.tap0) / h.tap_step, i = (b - c.tap0) / c.tap_step;
    float *d = packed + phase_offset(p, v, rh, rw) + (panel * h.taps * c.taps + j * c.taps + i) * v->sc * width;
    const float *s = w + (a * g->kw + b) * g->ci * g->co + panel * width * (dx ? g->co : 1);
    int64_t cols = min64(width, v->oc - panel * width);
    if (p->algo == C_TILES && dx) pack_panel_transposed(s, g->co, v->sc, cols, d);
    else if (p->algo == C_TILES) pack_panel(s, g->co, v->sc, cols, d);
    else
        for (int64_t k = 0; k < v->sc; k++) d[k] = s[dx ? k : k * g->co];
}

static void conv_pack(const fg_conv_plan *p, const fg_real *w, void *packed, int chunk) {
    view v = view_of(&p->g, p->dir);
    int64_t panels = panel_count(p, &v), units = panels * p->g.kh * p->g.kw, end = units * (chunk + 1) / p->pack_chunks;
    for (int64_t u = units * chunk / p->pack_chunks; u < end; u++)
        pack_tap(p, &v, w, packed, u % (p->g.kh * p->g.kw) / p->g.kw, u % p->g.kw, u / (p->g.kh * p->g.kw));
}

/* ---------------------------------------------------------------- one phase of one band of rows */
typedef struct piece { /* floats e0..e1 of tap row j */
    int64_t j, e0, e1;
} piece;

typedef struct job {
    const fg_conv_plan *p;
    const fg_conv_args *a;
    view v;
    axis h, w;
    int64_t q0, q1; /* rows of the phase in this band */
    const float *src;
    const float *packed; /* of this phase */
    int64_t k;           /* floats a row of A: taps x source channels */
    float *panel;
} job;

/* The pieces of k0..k1 among tap rows hlo..hhi and taps wlo..whi. */
static int64_t cut_pieces(const job *z, int64_t k0, int64_t k1, int64_t hlo, int64_t hhi, int64_t wlo, int64_t whi, piece *out) {
    int64_t len = z->w.taps * z->v.sc, n = 0;
    if (k0 >= k1) return 0;
    for (int64_t j = max64(hlo, k0 / len); j < hhi && j * len < k1; j++) {
        piece e = { j, max64(k0 - j * len, wlo * z->v.sc), min64(k1 - j * len, whi * z->v.sc) };
        if (e.e0 < e.e1) out[n++] = e;
    }
    return n;
}

/* Runs over the panel, which holds the pieces back to back; neighbours in B become one. */
static int64_t join_runs(const job *z, const piece *e, int64_t n, fg_run *r) {
    int64_t len = z->w.taps * z->v.sc, at = 0, runs = 0;
    const float *next = NULL;
    for (; n > 0; n--, e++) {
        const float *b = z->packed + (e->j * len + e->e0) * NR;
        if (b == next) r[runs - 1].len += e->e1 - e->e0;
        else r[runs++] = (fg_run){ z->panel + at, b, e->e1 - e->e0 };
        at += e->e1 - e->e0;
        next = b + (e->e1 - e->e0) * NR;
    }
    return runs;
}

/* A tile of mr rows against all panels of B for k0..k1; crow and the panel are set. */
static void run_panels(const job *z, const piece *e, int64_t pieces, int64_t mr, const int64_t *crow, int64_t k0, int64_t k1) {
    fg_run runs[K_BLOCK];
    bool last = k1 >= z->k;
    fg_tile_args t = { .runs = runs, .nruns = join_runs(z, e, pieces, runs), .ldb = NR, .crow = crow, .add = k0 > 0 };
    if (t.nruns == 0 && t.add && !last) return;
    t.act = last && fg_tile_does(z->a->act) ? z->a->act : FG_ACT_NONE;
    t.slope = z->a->slope;
    for (int64_t j = 0; j < z->v.oc; j += NR) {
        t.cols = (int)min64(NR, z->v.oc - j);
        t.boff = j * z->k;
        t.c = z->a->out + j;
        t.bias = last && z->a->bias ? z->a->bias + j : NULL;
        TILES[FG_TILE_PANEL][t.cols > VL][mr - 1](&t);
    }
}

static int64_t out_offset(const job *z, int64_t n, int64_t qh, int64_t qw) {
    return ((n * z->v.oh + z->h.out0 + qh * z->h.out_step) * z->v.ow + z->w.out0 + qw * z->w.out_step) * z->v.oc;
}

/* Rows of a tile = images; t0..t1 are tiles of them. */
static void block_by_image(const job *z, int64_t t0, int64_t t1, int64_t k0, int64_t k1) {
    const view *v = &z->v;
    int64_t tiles = z->p->priv[Q_TILES], n = z->p->g.n, image = v->sh * v->sw * v->sc, step = v->oh * v->ow * v->oc;
    piece e[K_BLOCK];
    for (int64_t ti = t0; ti < t1; ti++) {
        int64_t n0 = n * ti / tiles, mr = n * (ti + 1) / tiles - n0, crow[MR];
        for (int64_t qh = z->q0; qh < z->q1; qh++)
            for (int64_t qw = 0; qw < z->w.count; qw++) {
                int64_t hlo, hhi, wlo, whi;
                clip(&z->h, qh, &hlo, &hhi);
                clip(&z->w, qw, &wlo, &whi);
                int64_t pieces = cut_pieces(z, k0, k1, hlo, hhi, wlo, whi, e);
                int64_t y = qh * z->h.step + z->h.shift, x = qw * z->w.step + z->w.shift;
                float *d = z->panel;
                for (int64_t i = 0; i < pieces; i++) {
                    const float *s = z->src + n0 * image + ((y + e[i].j) * v->sw + x) * v->sc + e[i].e0;
                    for (int64_t r = 0; r < mr; r++) copy_floats(d + r * A_ROW, s + r * image, e[i].e1 - e[i].e0);
                    d += e[i].e1 - e[i].e0;
                }
                int64_t c = out_offset(z, n0, qh, qw);
                for (int64_t r = 0; r < mr; r++, c += step) crow[r] = c;
                run_panels(z, e, pieces, mr, crow, k0, k1);
            }
    }
}

static void zero_floats(float *d, int64_t count) {
    for (int64_t i = 0; i < count; i++) d[i] = 0;
}

/* Rows of a tile = neighbouring pixels of image n; taps outside the image are zeros. */
static void block_by_pixel(const job *z, int64_t n, int64_t k0, int64_t k1) {
    const view *v = &z->v;
    int64_t pixels = (z->q1 - z->q0) * z->w.count, tiles = ceil_div(pixels, MR);
    const float *src = z->src + n * v->sh * v->sw * v->sc;
    piece e[K_BLOCK];
    for (int64_t ti = 0; ti < tiles; ti++) {
        int64_t m0 = pixels * ti / tiles, mr = pixels * (ti + 1) / tiles - m0, crow[MR];
        int64_t hl[MR], hh[MR], wl[MR], wh[MR], hlo = INT64_MAX, hhi = 0, wlo = INT64_MAX, whi = 0;
        for (int64_t r = 0; r < mr; r++) {
            int64_t qh = z->q0 + (m0 + r) / z->w.count, qw = (m0 + r) % z->w.count;
            clip(&z->h, qh, &hl[r], &hh[r]);
            clip(&z->w, qw, &wl[r], &wh[r]);
            crow[r] = out_offset(z, n, qh, qw);
            if (hl[r] < hh[r] && wl[r] < wh[r]) {
                hlo = min64(hlo, hl[r]), hhi = max64(hhi, hh[r]);
                wlo = min64(wlo, wl[r]), whi = max64(whi, wh[r]);
            }
        }
        int64_t pieces = hlo < hhi ? cut_pieces(z, k0, k1, hlo, hhi, wlo, whi, e) : 0;
        for (int64_t r = 0; r < mr; r++) {
            int64_t y = (z->q0 + (m0 + r) / z->w.count) * z->h.step + z->h.shift;
            int64_t x = (m0 + r) % z->w.count * z->w.step + z->w.shift;
            float *d = z->panel + r * A_ROW;
            for (int64_t i = 0; i < pieces; i++) {
                int64_t e0 = e[i].e0, e1 = e[i].e1;
                bool in = e[i].j >= hl[r] && e[i].j < hh[r];
                int64_t lo = in ? min64(e1, max64(e0, wl[r] * v->sc)) : e1, hi = in ? max64(lo, min64(e1, wh[r] * v->sc)) : e1;
                zero_floats(d, lo - e0);
                if (lo < hi) copy_floats(d + lo - e0, src + ((y + e[i].j) * v->sw + x) * v->sc + lo, hi - lo);
                zero_floats(d + hi - e0, e1 - hi);
                d += e1 - e0;
            }
        }
        run_panels(z, e, pieces, mr, crow, k0, k1);
    }
}

/* 1 to 4 output channels, four images n0..n1 at a time; the activation follows in run_band */
static void run_dots(const job *z, int64_t n0, int64_t n1) {
    const view *v = &z->v;
    int64_t image = v->sh * v->sw * v->sc, len = z->w.taps * v->sc, step = v->oh * v->ow * v->oc;
    fg_run runs[DOT_TAPS];
    for (int64_t n = n0; n < n1; n += FG_DOT_ROWS)
        for (int64_t qh = z->q0; qh < z->q1; qh++) {
            int64_t hlo, hhi, wlo, whi, y = qh * z->h.step + z->h.shift;
            clip(&z->h, qh, &hlo, &hhi);
            for (int64_t qw = 0; qw < z->w.count; qw++) {
                int64_t x = qw * z->w.step + z->w.shift, nruns = 0;
                clip(&z->w, qw, &wlo, &whi);
                for (int64_t j = hlo; j < hhi && wlo < whi; j++)
                    runs[nruns++] = (fg_run){ z->src + n * image + ((y + j) * v->sw + x + wlo) * v->sc,
                                              z->packed + j * len + wlo * v->sc, (whi - wlo) * v->sc };
                int rows = (int)min64(FG_DOT_ROWS, n1 - n);
                float out[FG_DOT_ROWS][FG_DOT_COLS];
                DOTS[rows - 1][v->oc - 1](runs, nruns, image, z->k, out);
                float *o = z->a->out + out_offset(z, n, qh, qw);
                for (int r = 0; r < rows; r++, o += step)
                    for (int64_t c = 0; c < v->oc; c++) o[c] = z->a->bias ? out[r][c] + z->a->bias[c] : out[r][c];
            }
        }
}

static void run_phase(job *z, int64_t group) {
    const fg_conv_plan *p = z->p;
    int64_t tiles = p->priv[Q_TILES], groups = p->priv[Q_GROUPS];
    int64_t t0 = tiles * group / groups, t1 = tiles * (group + 1) / groups;
    if (p->algo == C_DOT) {
        run_dots(z, t0 * FG_DOT_ROWS, min64(p->g.n, t1 * FG_DOT_ROWS));
        return;
    }
    int64_t blocks = max64(1, ceil_div(z->k, K_BLOCK));
    int64_t kc = ceil_div(ceil_div(z->k, blocks), 16) * 16, k0 = 0;
    do {
        int64_t k1 = min64(z->k, k0 + kc);
        if (tiles) block_by_image(z, t0, t1, k0, k1);
        else block_by_pixel(z, group, k0, k1);
        k0 = k1;
    } while (k0 < z->k);
}

/* A chunk: a group of images (or one image), a band of output rows, all phases. */
static void run_band(const fg_conv_plan *p, const fg_conv_args *a, int64_t chunk, float *scratch) {
    int64_t group = chunk / p->priv[Q_BANDS], band = chunk % p->priv[Q_BANDS];
    job z = { .p = p, .a = a, .v = view_of(&p->g, p->dir), .src = p->dir == FG_CONV_FWD ? a->x : a->dy, .panel = scratch };
    int64_t r0 = z.v.oh * band / p->priv[Q_BANDS], r1 = z.v.oh * (band + 1) / p->priv[Q_BANDS];
    for (int64_t rh = 0; rh < z.v.phases_h; rh++)
        for (int64_t rw = 0; rw < z.v.phases_w; rw++) {
            z.h = axis_h(p, rh), z.w = axis_w(p, rw);
            z.q0 = r0 <= z.h.out0 ? 0 : ceil_div(r0 - z.h.out0, z.h.out_step);
            z.q1 = r1 <= z.h.out0 ? 0 : ceil_div(r1 - z.h.out0, z.h.out_step);
            z.k = z.h.taps * z.w.taps * z.v.sc;
            z.packed = (const float *)a->packed + phase_offset(p, &z.v, rh, rw);
            if (z.q0 < z.q1 && z.w.count) run_phase(&z, group);
        }
    if (p->algo == C_DOT ? a->act == FG_ACT_NONE : fg_tile_does(a->act)) return;
    int64_t images = p->algo == C_DOT ? FG_DOT_ROWS : MR, n0 = group, n1 = group + 1, row = z.v.ow * z.v.oc;
    int64_t tiles = p->priv[Q_TILES], t0 = tiles * group / p->priv[Q_GROUPS], t1 = tiles * (group + 1) / p->priv[Q_GROUPS];
    if (p->algo == C_DOT) n0 = t0 * images, n1 = min64(p->g.n, t1 * images);
    else if (tiles) n0 = p->g.n * t0 / tiles, n1 = p->g.n * t1 / tiles;
    for (int64_t n = n0; n < n1; n++)
        fg_kernels_for(ISA_LEVEL)->bias_act(a->out + (n * z.v.oh + r0) * row, NULL, 1, (r1 - r0) * row, a->act, a->slope);
}
