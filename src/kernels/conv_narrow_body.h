/* conv_narrow_body.h: convolutions between a narrow map x (1 to 15 channels: a picture) and a wide map y, the first and last
 * layers of a GAN; included by conv_narrow_<isa>.c after its vector header. FWD and DX are here, DW in conv_narrow_dw_body.h.
 *
 * With few channels the taps carry the reduction: K = KH x KW x CI, and w[K][CO] is a matrix as it lies in memory. All three
 * directions are matrix products over the register tiles of product.h with operands in place, nothing is packed per pixel.
 *
 *   FWD  y[pixels][CO] = windows of x [pixels][K] times w. Rows of a tile are neighbouring pixels: their windows lie
 *        stride x CI floats apart in x, a kernel row is one run. Where the window sticks out to the left or right, rows
 *        are the same pixel of several images instead, and runs are clipped.
 *   DX   first the products of every tap with every pixel, then each output gathers its own:
 *
 *            P[K][pixels] = w[K][CO] times dy'[CO][pixels]      lanes are pixels; dy is transposed NR pixels at a time
 *            dx[h][w]     = sum over taps (a, b) of P[a, b][pixel that meets (h, w) in that tap]
 *
 *        The gather costs one load and one addition where the product has CO multiply-adds; lanes whose pixel does not
 *        exist are masked. For stride s, lines of every s-th output are summed side by side and interleaved at the end.
 *
 * No zero stands for a tap outside the image, for any number of images: infinities stay where they belong.
 *
 * With stride 1 the roles of x and y can be exchanged (the taps then run backwards). So a narrow y and a wide x are the same
 * three loops: FWD becomes DX of the flipped geometry, DX becomes FWD, and pack turns w to [taps backwards][CO][CI]. */
#include "pack_body.h"

enum { N_FWD = 0, N_DX, N_DW };
enum { Q_FLIP, Q_GROUPS, Q_BANDS, Q_IMAGES, Q_LDP, Q_KG, Q_COG }; /* slots of plan.priv */
enum { MAX_CHUNKS = 64, CHUNK_MACS = 1 << 18, FWD_IMAGES = 8, DX_FLOATS = 1 << 14, MAX_KERNEL = 16 };

static fg_conv_geom flipped(const fg_conv_geom *g) {
    return (
        fg_conv_geom){ g->n, g->oh, g->ow, g->co, g->h, g->w, g->ci, g->kh, g->kw, 1, 1, g->kh - 1 - g->pt, g->kw - 1 - g->pl };
}

/* Whether the roles are exchanged, so that x is the narrow side. */
static bool flips(const fg_conv_geom *g) { return g->co < g->ci && g->sh == 1 && g->sw == 1; }

/* The problem with the narrow side as x. */
typedef struct job {
    const fg_conv_plan *p;
    fg_conv_geom g;
    const float *x, *w, *y;
    float *out;
    const fg_conv_args *a;
} job;

static job job_of(const fg_conv_plan *p, const fg_conv_args *a) {
    const float *w = p->packed ? a->packed : a->w;
    if (p->priv[Q_FLIP]) return (job){ p, flipped(&p->g), a->dy, w, a->x, a->out, a };
    return (job){ p, p->g, a->x, w, a->dy, a->out, a };
}

/* Cuts count into tiles of at most MR, as equal as can be: cut_size(&c, i) is the size of the i-th. */
typedef struct cut {
    int64_t tiles, size, larger;
} cut;
static cut cut_of(int64_t count) {
    int64_t tiles = ceil_div(count, MR);
    return (cut){ tiles, tiles ? count / tiles : 0, tiles ? count % tiles : 0 };
}
static int64_t cut_size(const cut *c, int64_t i) { return c->size + (i < c->larger); }

static int64_t modulo(int64_t a, int64_t b) { return (a % b + b) % b; }

/* taps lo..hi of output pixel q that fall inside the image */
static void clip(int64_t q, int64_t stride, int64_t pad, int64_t kernel, int64_t limit, int64_t *lo, int64_t *hi) {
    int64_t first = q * stride - pad;
    *lo = min64(kernel, max64(0, -first));
    *hi = max64(*lo, min64(kernel, limit - first));
}

/* output pixels lo..hi whose tap t falls inside the image, cut down from what lo..hi held before */
static void meet(int64_t t, int64_t stride, int64_t pad, int64_t limit, int64_t *lo, int64_t *hi) {
    int64_t end = limit - 1 + pad - t;
    *lo = max64(*lo, pad > t ? ceil_div(pad - t, stride) : 0);
    *hi = max64(*lo, min64(*hi, end < 0 ? 0 : end / stride + 1));
}

/* ---------------------------------------------------------------- plan and weights */
static fg_conv_geom flattened(const fg_conv_geom *g);
static void plan_dw(fg_conv_plan *p, const fg_conv_geom *g, int64_t want);

static void plan_fwd(fg_conv_plan *p, const fg_conv_geom *g, int64_t want) {
    int64_t groups = min64(want, ceil_div(g->n, FWD_IMAGES)), bands = min64(g->oh, ceil_div(want, groups));
    p->algo = N_FWD;
    p->priv[Q_GROUPS] = groups, p->priv[Q_BANDS] = bands;
    p->chunks = (int)(groups * bands);
}

/* Rows h0..h1 of x that are a band, and the rows y0..y1 of y that they meet in some tap; all of y for the only band, so that
 * the pixels of several images follow one another. */
typedef struct band {
    int64_t h0, h1, y0, y1;
} band;
static band band_of(const fg_conv_geom *g, int64_t i, int64_t bands) {
    band b = { g->h * i / bands, g->h * (i + 1) / bands, 0, g->oh };
    if (bands == 1) return b;
    int64_t first = b.h0 + g->pt - g->kh + 1, end = b.h1 - 1 + g->pt;
    if (first > 0) b.y0 = min64(g->oh, ceil_div(first, g->sh));
    b.y1 = end < 0 ? b.y0 : max64(b.y0, min64(g->oh, end / g->sh + 1));
    return b;
}

static int64_t line_floats(const fg_conv_geom *g) { return ceil_div(ceil_div(g->w, g->sw), VL) * VL; }

/* A chunk is a group of images, taken a few at a time so that P stays in the caches, or a band of rows of one image. */
static void plan_dx(fg_conv_plan *p, const fg_conv_geom *g, int64_t want) {
    int64_t taps = (int64_t)g->kh * g->kw * g->ci, pixels = g->oh * g->ow;
    int64_t bands = g->n >= 8 ? 1 : min64(ceil_div(want, g->n), ceil_div(g->h, 4 * g->kh));
    bands = min64(g->h, max64(bands, taps * pixels / (8 * DX_FLOATS)));
    int64_t images = bands > 1 ? 1 : max64(1, min64(DX_FLOATS / (taps * pixels), g->n / min64(want, 8)));
    int64_t groups = bands > 1 ? g->n : min64(max64(8, want), ceil_div(g->n, images)), rows = 0;
    for (int64_t i = 0; i < bands; i++) {
        band b = band_of(g, i, bands);
        rows = max64(rows, b.y1 - b.y0);
    }
    int64_t ldp = ceil_div(images * rows * g->ow, 16) * 16 + 16;
    int64_t lines = g->sw * g->ci * line_floats(g); /* floats a row; interleave reads up to eight lines, whether in use or not */
    p->algo = N_DX;
    p->priv[Q_GROUPS] = groups, p->priv[Q_BANDS] = bands, p->priv[Q_IMAGES] = images, p->priv[Q_LDP] = ldp;
    p->chunks = (int)(groups * bands);
    p->scratch = (size_t)ceil_div(g->co * NR + taps * ldp + ceil_div(g->h, bands) * lines + 8 * line_floats(g), 16) * 64;
}

static void narrow_plan(const fg_conv_geom *outer, fg_conv_dir dir, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = dir == FG_CONV_DW ? flattened(outer) : *outer, .dir = dir };
    bool flip = flips(&p->g);
    fg_conv_geom g = flip ? flipped(&p->g) : p->g;
    double macs = (double)g.n * (double)(g.oh * g.ow) * (double)(g.ci * g.co) * (g.kh * g.kw);
    int64_t want = max64(1, (int64_t)(macs < (double)MAX_CHUNKS * CHUNK_MACS ? macs / CHUNK_MACS : MAX_CHUNKS));
    p->priv[Q_FLIP] = flip;
    if (dir == FG_CONV_DW) plan_dw(p, &g, want);
    else if ((dir == FG_CONV_FWD) == flip) plan_dx(p, &g, want);
    else plan_fwd(p, &g, want);
    if (flip && dir != FG_CONV_DW) {
        p->packed = (size_t)(g.kh * g.kw * g.ci * g.co) * sizeof(float);
        p->pack_chunks = g.kh;
    }
}

/* packed[taps backwards][CO][CI] of w[taps][CI][CO]; a chunk is a kernel row */
static void narrow_pack(const fg_conv_plan *p, const fg_real *w, void *packed, int chunk) {
    const fg_conv_geom *g = &p->g;
    int64_t taps = (int64_t)g->kh * g->kw;
    for (int64_t t = (int64_t)chunk * g->kw; t < (int64_t)(chunk + 1) * g->kw; t++) {
        float *d = (float *)packed + (taps - 1 - t) * g->ci * g->co;
        for (int64_t c = 0; c < g->ci; c++)
            for (int64_t o = 0; o < g->co; o++) d[o * g->ci + c] = w[(t * g->ci + c) * g->co + o];
    }
}

/* the first n lanes; a whole vector where there is room, since masked stores are slow */
static inline void store_first(float *p, int64_t n, vf v) {
    if (n >= VL) v_store(p, v);
    else v_store_part(p, v_mask(n), v);
}

static void late_activation(const job *z, float *out, int64_t count) {
    if (!fg_tile_does(z->a->act)) fg_kernels_for(ISA_LEVEL)->bias_act(out, NULL, 1, count, z->a->act, z->a->slope);
}

/* ---------------------------------------------------------------- FWD: wide outputs from windows of x */
/* mr rows against all panels of w; the runs begin at output channel 0. The outputs `ahead` floats further are fetched, since
 * the store of a line that is in no cache stalls the tiles that follow. */
static void fwd_panels(const job *z, fg_tile_args *t, int64_t mr, float *out, int64_t ahead) {
    for (int64_t j = 0; j < z->g.co; j += NR) {
        t->cols = (int)min64(NR, z->g.co - j);
        t->boff = j;
        t->c = out + j;
        t->bias = z->a->bias ? z->a->bias + j : NULL;
        for (int64_t i = 0; ahead && i < mr; i++)
            for (int64_t k = 0; k < t->cols; k += 16) v_fetchw(t->c + t->crow[i] + ahead + k);
        TILES[FG_TILE_ROWS][t->cols > VL][mr - 1](t);
    }
}

/* Row oh of images n0..n1. */
static void fwd_row(const job *z, int64_t oh, int64_t n0, int64_t n1) {
    const fg_conv_geom *g = &z->g;
    int64_t image = g->h * g->w * g->ci, image_out = g->oh * g->ow * g->co, row = g->kw * g->ci, a0, a1, crow[MR];
    fg_run runs[MAX_KERNEL];
    fg_tile_args t = { .runs = runs, .ldb = g->co, .crow = crow, .slope = z->a->slope };
    t.act = fg_tile_does(z->a->act) ? z->a->act : FG_ACT_NONE;
    clip(oh, g->sh, g->pt, g->kh, g->h, &a0, &a1);
    const float *x = z->x + (oh * g->sh - g->pt + a0) * g->w * g->ci;
    /* whole windows: rows are pixels */
    int64_t lo = 0, hi = g->ow;
    meet(0, g->sw, g->pl, g->w, &lo, &hi);
    meet(g->kw - 1, g->sw, g->pl, g->w, &lo, &hi);
    if (hi - lo < min64(MR / 2, n1 - n0)) hi = lo;
    cut pixels = cut_of(hi - lo), images = cut_of(n1 - n0);
    t.nruns = a1 - a0, t.sa = g->sw * g->ci;
    for (int64_t i = 0; i < t.nruns && lo < hi; i++)
        runs[i] = (fg_run){ x + (i * g->w + lo * g->sw - g->pl) * g->ci, z->w + (a0 + i) * row * g->co, row };
    for (int64_t i = 0; i < MR; i++) crow[i] = i * g->co;
    for (int64_t n = n0; n < n1; n++) {
        float *out = z->out + n * image_out + (oh * g->ow + lo) * g->co;
        t.aoff = n * image;
        for (int64_t i = 0; i < pixels.tiles; i++) {
            int64_t mr = cut_size(&pixels, i);
            fwd_panels(z, &t, mr, out, 2 * mr * g->co);
            t.aoff += mr * t.sa, out += mr * g->co;
        }
    }
    /* the others: rows are images */
    t.sa = image;
    for (int64_t i = 0; i < MR; i++) crow[i] = i * image_out;
    for (int64_t ow = lo > 0 ? 0 : hi; ow < g->ow; ow = ow + 1 == lo ? hi : ow + 1) {
        int64_t b0, b1;
        clip(ow, g->sw, g->pl, g->kw, g->w, &b0, &b1);
        t.nruns = b0 < b1 ? a1 - a0 : 0;
        for (int64_t i = 0; i < t.nruns; i++)
            runs[i] = (fg_run){ x + (i * g->w + ow * g->sw - g->pl + b0) * g->ci, z->w + ((a0 + i) * g->kw + b0) * g->ci * g->co,
                                (b1 - b0) * g->ci };
        float *out = z->out + n0 * image_out + (oh * g->ow + ow) * g->co;
        t.aoff = n0 * image;
        for (int64_t i = 0; i < images.tiles; i++) {
            int64_t mr = cut_size(&images, i);
            fwd_panels(z, &t, mr, out, 0);
            t.aoff += mr * image, out += mr * image_out;
        }
    }
    for (int64_t n = n0; n < n1; n++) late_activation(z, z->out + n * image_out + oh * g->ow * g->co, g->ow * g->co);
}

static void run_fwd(const job *z, int64_t chunk) {
    int64_t groups = z->p->priv[Q_GROUPS], bands = z->p->priv[Q_BANDS], group = chunk / bands, b = chunk % bands;
    for (int64_t oh = z->g.oh * b / bands; oh < z->g.oh * (b + 1) / bands; oh++)
        fwd_row(z, oh, z->g.n * group / groups, z->g.n * (group + 1) / groups);
}

/* ---------------------------------------------------------------- DX: narrow outputs gathered from products */
/* products[K][pixels], rows Q_LDP apart, of consecutive pixels y[pixels][CO]; the last block overlaps its neighbour */
static void dx_products(const job *z, const float *y, int64_t pixels, float *panel, float *products) {
    const fg_conv_geom *g = &z->g;
    int64_t ldp = z->p->priv[Q_LDP], crow[MR];
    cut taps = cut_of((int64_t)g->kh * g->kw * g->ci);
    for (int64_t i = 0; i < MR; i++) crow[i] = i * ldp;
    fg_run run = { z->w, panel, g->co };
    fg_tile_args t = { .runs = &run, .nruns = 1, .sa = g->co, .ldb = NR, .crow = crow };
    for (int64_t m = 0; m < pixels; m += NR) {
        t.cols = (int)min64(NR, pixels);
        m = min64(m, pixels - t.cols);
        pack_panel_transposed(y + m * g->co, g->co, g->co, t.cols, panel);
        /* each tile asks for its share of the next block, or reading would wait for memory again and again */
        const float *next = y + (m + t.cols) * g->co;
        int64_t share = ceil_div(t.cols * g->co, taps.tiles);
        t.aoff = 0, t.c = products + m;
        for (int64_t i = 0; i < taps.tiles; i++, next += share) {
            int64_t mr = cut_size(&taps, i);
            for (int64_t k = 0; k < share; k += 16) __builtin_prefetch(next + k);
            TILES[FG_TILE_ROWS][t.cols > VL][mr - 1](&t);
            t.aoff += mr * g->co, t.c += mr * ldp;
        }
    }
}

/* Where the gather of one phase of output rows and columns stands: row t of the phase sums over taps j of row t - j of y,
 * and each of them over nb columns. */
typedef struct phase {
    const float *products; /* of its first taps and channel 0, where lane 0 begins in row 0 of y */
    float *lines;          /* where the sums of row t = 0 and channel 0 would go */
    int64_t line;          /* floats between rows of the phase in lines */
    int64_t t0, t1, taps;
    int64_t y0, y1; /* rows of y that there are products of */
    vmask mask[MAX_KERNEL];
} phase;

/* nb is a constant at each call but the last, where it is above 5: the loop over it unrolls. */
static inline __attribute__((always_inline)) void gather_rows(const job *z, const phase *f, int nb) {
    int64_t ci = z->g.ci, ow = z->g.ow, ldp = z->p->priv[Q_LDP], len = line_floats(&z->g);
    int64_t next_b = z->g.sw * ci * ldp - 1, next_j = z->g.sh * z->g.kw * ci * ldp - ow;
    const float *bias = z->a->bias, *at = f->products + f->t0 * ow;
    float *d = f->lines + f->t0 * f->line;
    fg_act act = z->a->act;
    for (int64_t t = f->t0; t < f->t1; t++, at += ow, d += f->line) {
        int64_t j0 = 0, j1 = f->taps;
        if (t >= f->y1) j0 = t - f->y1 + 1;
        if (t - f->y0 < j1) j1 = t - f->y0 + 1;
        for (int64_t c = 0; c < ci; c++) {
            vf sum = bias ? v_set1(bias[c]) : v_zero();
            const float *s = at + c * ldp + j0 * next_j;
            for (int64_t j = j0; j < j1; j++, s += next_j)
                for (int b = 0; b < nb; b++) sum = v_add(sum, v_load_part(s + b * next_b, f->mask[b]));
            if (act == FG_ACT_RELU) sum = v_relu(sum);
            if (act == FG_ACT_LEAKY_RELU) sum = v_leaky(sum, z->a->slope);
            v_store(d + c * len, sum);
        }
    }
}

/* A band of one image into lines[row][w % SW][channel][w / SW], from its products. */
static void dx_gather(const job *z, const band *d, const float *products, float *lines) {
    const fg_conv_geom *g = &z->g;
    int64_t ldp = z->p->priv[Q_LDP], len = line_floats(g), row = g->sw * g->ci * len;
    phase f = { .line = g->sh * row, .y0 = d->y0, .y1 = d->y1 };
    for (int64_t w = 0; w < g->sw; w++) {
        int64_t b0 = modulo(w + g->pl, g->sw), nb = b0 < g->kw ? ceil_div(g->kw - b0, g->sw) : 0;
        for (int64_t q = 0; q < len; q += VL) {
            int64_t shift = q + (w + g->pl - b0) / g->sw; /* the column of y that lane 0 meets in tap b0 */
            for (int64_t b = 0; b < nb; b++) f.mask[b] = v_mask_span(b - shift, g->ow + b - shift);
            for (int64_t a0 = 0; a0 < g->sh; a0++) {
                int64_t first = modulo(a0 - g->pt, g->sh); /* row of the phase, which meets row top of y in tap a0 */
                int64_t top = (first + g->pt - a0) / g->sh;
                f.taps = a0 < g->kh ? ceil_div(g->kh - a0, g->sh) : 0;
                f.t0 = top + ceil_div(max64(0, d->h0 - first), g->sh), f.t1 = top + ceil_div(max64(0, d->h1 - first), g->sh);
                f.products = products + (a0 * g->kw + b0) * g->ci * ldp - d->y0 * g->ow + shift;
                f.lines = lines + (first - top * g->sh - d->h0) * row + w * g->ci * len + q;
                if (nb == 1) gather_rows(z, &f, 1);
                else if (nb == 2) gather_rows(z, &f, 2);
                else if (nb == 3) gather_rows(z, &f, 3);
                else if (nb == 4) gather_rows(z, &f, 4);
                else if (nb == 5) gather_rows(z, &f, 5);
                else gather_rows(z, &f, (int)nb);
            }
        }
    }
}

/* d[q][lines] = s[lines][q] for 8 places q of up to 8 lines. Eight floats are stored at each place, in order, so that the next
 * place covers what is beyond `lines`. */
static inline void interleave8(const float *s, int64_t len, int64_t lines, float *d) {
    for (int h = 0; h < 8; h += 4) {
        __m256 r[4];
        for (int i = 0; i < 4; i++) {
            __m128 low = _mm_loadu_ps(s + i * len + h), high = _mm_loadu_ps(s + (i + 4) * len + h);
            r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
        }
        __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
        __m256 e = _mm256_unpacklo_ps(r[2], r[3]), f = _mm256_unpackhi_ps(r[2], r[3]);
        _mm256_storeu_ps(d + h * lines, _mm256_shuffle_ps(a, e, 0x44));
        _mm256_storeu_ps(d + (h + 1) * lines, _mm256_shuffle_ps(a, e, 0xee));
        _mm256_storeu_ps(d + (h + 2) * lines, _mm256_shuffle_ps(b, f, 0x44));
        _mm256_storeu_ps(d + (h + 3) * lines, _mm256_shuffle_ps(b, f, 0xee));
    }
}

/* d[q][lines] = s[lines][q], count floats in all; up to room floats may be written */
static void interleave(const float *s, int64_t len, int64_t lines, float *d, int64_t count, int64_t room) {
    if (lines == 1)
        for (int64_t q = 0; q < count; q += VL) store_first(d + q, room - q, v_load(s + q));
    else if (lines == 2)
        for (int64_t q = 0; 2 * q < count; q += VL) {
            vf lo, hi;
            v_pairs(v_load(s + q), v_load(s + len + q), &lo, &hi);
            store_first(d + 2 * q, room - 2 * q, lo);
            store_first(d + 2 * q + VL, room - 2 * q - VL, hi);
        }
    else {
        int64_t done = 0;
        if (lines <= 8)
            for (; done * lines < count && (done + 7) * lines + 8 <= room; done += 8)
                interleave8(s + done, len, lines, d + done * lines);
        for (int64_t l = 0; l < lines; l++)
            for (int64_t q = done; q * lines + l < count; q++) d[q * lines + l] = s[l * len + q];
    }
}

static void run_dx(const job *z, int64_t chunk, float *scratch) {
    const fg_conv_geom *g = &z->g;
    int64_t groups = z->p->priv[Q_GROUPS], bands = z->p->priv[Q_BANDS], images = z->p->priv[Q_IMAGES];
    int64_t group = chunk / bands, n0 = g->n * group / groups, n1 = g->n * (group + 1) / groups;
    band d = band_of(g, chunk % bands, bands);
    int64_t row = g->w * g->ci, rows = d.h1 - d.h0, pixels = (d.y1 - d.y0) * g->ow, len = line_floats(g), lines = g->sw * g->ci;
    float *panel = scratch, *products = panel + g->co * NR, *sums = products + g->kh * g->kw * g->ci * z->p->priv[Q_LDP];
    for (int64_t n = n0; n < n1; n += images) {
        int64_t now = min64(images, n1 - n);
        dx_products(z, z->y + (n * g->oh + d.y0) * g->ow * g->co, now * pixels, panel, products);
        for (int64_t i = 0; i < now; i++) {
            dx_gather(z, &d, products + i * pixels, sums);
            float *out = z->out + ((n + i) * g->h + d.h0) * row;
            /* in order: what a row writes too much, the next one writes again */
            for (int64_t h = 0; h < rows; h++)
                interleave(sums + h * lines * len, len, lines, out + h * row, row, (rows - h) * row);
            late_activation(z, out, rows * row);
        }
    }
}
