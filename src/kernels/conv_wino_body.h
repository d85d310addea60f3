/* conv_wino_body.h: FWD and DX by polyphase Winograd, included by conv_wino_<isa>.c after the vector words (simd.h, or one
 * number at a time) and after mul_rows and mul_columns, the register tiles. conv_wino.h tells the idea, wino_passes.h has
 * the transforms, conv_wino_fresh_body.h another order for very many weights, conv_wino_dw_body.h DW.
 *
 *      x, dy   window n x n            V[point][tile][slot][channel]
 *      +-------+-------+
 *      | . . . : . .   |   B^T d B     +---+                       +---+              M[point][panel][tile][NR]
 *      | . . . : . .   |  ---------->  |   | tiles                 |   |  A^T m A     +-----+
 *      +-------+- - - -+               +---+  x  U[slot][point]    +---+ ---------->  | m x m outputs, bias and
 *      | . . . : . .   |              channels  [panel][c][NR] =   OC columns         +-----+ activation
 *      +-------+-------+
 *
 * A chunk is some tiles (any images) times a range of output panels. Its V and M stay in the second-level cache while the
 * weights U stream past; rows of V and M, and points, are an odd number of cache lines apart, since powers of two would
 * send all points of a tile to the same few sets.
 *
 * FWD has a slot for each pair of phases of the input; they are transformed and multiplied SLOTS at a time, as many as keep V
 * small, and the products of a point add up in M. DX has one slot of input, and a product and an output transform for each
 * pair of phases of the output.
 *
 * The last tile of an axis may use fewer points (conv_wino.h). The tiles of a chunk are therefore sorted by whether they are
 * last in their row (w) or column (h): those that use a point are then neighbours, whichever point it is.
 *
 *      tiles    [ last in w | whole | last in h | last in both ]
 *      point    used by all     -----------------------------
 *               not last in h   -------------
 *               not last in w               -----------------   (without the last group)
 *
 * Sums over channels are cut into pieces of CHAIN terms, each summed apart: rounding grows with the length of a chain, and
 * Winograd multiplies it (measured: one chain of 256 has twice the error of pieces of 64). */
#include "conv_wino.h"

enum { CHUNKS_WANTED = 8, M_BYTES = 1 << 20, V_BYTES = 3 << 19, STREAM_BYTES = 32 << 20, LINE = 64 / sizeof(fg_real) };
enum { LIST = 72 /* tiles that are worked on at once, at most */ };
/* how FWD and DX keep weights, and DW its points */
enum { ALGO_PACKED, ALGO_FRESH, ALGO_ROWS };
enum { Q_TILE_CHUNKS, Q_PANEL_CHUNKS, Q_LDV, Q_PSV, Q_PSM, Q_PSU, Q_SLOTS, Q_LAST };

#include "wino_passes.h"

/* Kernel indices of a phase's taps, in the order of its window: the first, and the step. */
static int first_tap(const fg_wino_phase *f, int stride, fg_conv_dir dir) {
    return f->rho + (dir == FG_CONV_DX ? stride * (f->taps - 1) : 0);
}
static int tap_step(int stride, fg_conv_dir dir) { return dir == FG_CONV_DX ? -stride : stride; }

/* ---------------------------------------------------------------- what a chunk works with */
typedef struct image { /* a batch of maps [N][h][w][c] */
    const fg_real *p;
    int64_t h, w, c;
} image;

typedef struct tile_at { /* image, row and column of a tile; whether it is last in its column (h) and row (w) */
    int64_t n, a, b;
    bool last_h, last_w;
} tile_at;

/* Tiles t0..t1, sorted: last in w, whole, last in h, last in both; where the groups begin. */
typedef struct tile_list {
    int64_t n, begin[4];
    tile_at at[LIST];
} tile_list;
enum { LAST_W, WHOLE, LAST_H, LAST_BOTH };

static void list_tiles(const fg_wino_geom *g, int64_t t0, int64_t t1, tile_list *l) {
    int64_t per = g->h.tiles * g->w.tiles;
    bool cut_h = g->h.last < g->h.m, cut_w = g->w.last < g->w.m; /* otherwise the last tile is whole */
    l->n = 0;
    for (int group = LAST_W; group <= LAST_BOTH; group++) {
        l->begin[group] = l->n;
        for (int64_t t = t0; t < t1; t++) {
            tile_at at = { .n = t / per, .a = t % per / g->w.tiles, .b = t % g->w.tiles };
            at.last_h = cut_h && at.a == g->h.tiles - 1, at.last_w = cut_w && at.b == g->w.tiles - 1;
            if (group == (at.last_h ? at.last_w ? LAST_BOTH : LAST_H : at.last_w ? LAST_W : WHOLE)) l->at[l->n++] = at;
        }
    }
}

/* Those of a list that use point (i, j). */
typedef struct tile_range {
    int64_t begin, end;
} tile_range;
static tile_range tiles_using(const fg_wino_geom *g, const tile_list *l, int i, int j) {
    bool h = fg_wino_keeps(&g->h, true, i), w = fg_wino_keeps(&g->w, true, j);
    return (tile_range){ w ? 0 : l->begin[WHOLE], !h ? l->begin[LAST_H] : w ? l->n : l->begin[LAST_BOTH] };
}

/* The points of a phase (first.. , `points` of them) that a tile uses, as pieces without gaps, counted from `first` on. */
typedef struct pieces {
    int n, begin[2], size[2];
} pieces;
static pieces pieces_of(const fg_wino_axis *a, bool last_tile, int first, int points) {
    pieces p = { 0 };
    for (int i = 0; i < points; i++) {
        if (!fg_wino_keeps(a, last_tile, first + i)) continue;
        bool goes_on = p.n && p.begin[p.n - 1] + p.size[p.n - 1] == i;
        if (!goes_on) p.begin[p.n] = i, p.size[p.n++] = 0;
        p.size[p.n - 1]++;
    }
    return p;
}

/* Which of the numbers first..end, `step` pixels apart from pixel `at` on, lie in a map of `size` pixels. */
typedef struct span {
    int first, end;
} span;
static span inside_of(int64_t at, int64_t step, int first, int end, int64_t size) {
    span s = { first, end };
    while (s.first < s.end && at + step * s.first < 0) s.first++;
    while (s.end > s.first && at + step * (s.end - 1) >= size) s.end--;
    return s;
}

static void clear(fg_real *buf, int vectors) {
    for (int i = 0; i < vectors; i++) v_store(buf + i * W, v_zero());
}

typedef struct window {
    const fg_real *at; /* where its first number would be */
    span rows, cols;   /* those in the map */
} window;

/* The numbers of a window that lie in the map, from channel c on, `n` channels at most, to buf[row][nw]. */
static void copy_window(const window *o, int64_t c, int64_t il, int64_t is, int64_t n, fg_real *buf, int nw) {
    for (int i = o->rows.first; i < o->rows.end; i++)
        for (int j = o->cols.first; j < o->cols.end; j++) {
            const fg_real *p = o->at + c + i * il + j * is;
            v_store(buf + (i * nw + j) * W, n >= W ? v_load(p) : v_loadw(p, (size_t)n));
        }
}

/* Fetches them to the second-level cache: strides like these are more than the hardware foresees. */
static void fetch_window(const window *o, int64_t c, int64_t il, int64_t is) {
    for (int i = o->rows.first; i < o->rows.end; i++)
        for (int j = o->cols.first; j < o->cols.end; j++) v_fetch2(o->at + c + i * il + j * is);
}

/* Along one axis: where tiles read a map, and the programs that take what they read to points; [last tile]. */
typedef struct reader {
    pass_fn pass[2];
    int first, end[2];      /* numbers of a window that the programs read */
    pieces points[2];       /* that they write */
    int64_t at, tile, step; /* pixel of number 0 of tile 0; pixels from tile to tile, from number to number */
} reader;

static window window_at(const reader *h, const reader *w, const image *src, const tile_at *t) {
    int64_t y = h->at + h->tile * t->a, x = w->at + w->tile * t->b;
    return (window){ .at = src->p + ((t->n * src->h + y) * src->w + x) * src->c,
                     .rows = inside_of(y, h->step, h->first, h->end[t->last_h], src->h),
                     .cols = inside_of(x, w->step, w->first, w->end[t->last_w], src->w) };
}

/* The tiles of a list, channels c0..c0+cn of a map, to out[point][...]: tiles `ldt` apart, panels of NR channels `ldp`, points
 * `ps`. Whole vectors are written, zeros beyond the last channel. */
static void tiles_to_points(const fg_wino_geom *g, const reader *h, const reader *w, const image *src, const tile_list *tiles,
                            int64_t c0, int64_t cn, fg_real *out, int64_t ps, int64_t ldt, int64_t ldp) {
    fg_real buf[FG_WINO_POINTS * FG_WINO_POINTS * W], mid[FG_WINO_POINTS * FG_WINO_POINTS * W];
    int nw = g->w.n, i0 = h->first, j0 = w->first;
    int64_t is = w->step * src->c, il = h->step * src->w * src->c;
    window next = window_at(h, w, src, &tiles->at[0]);
    plane_fn planes[2][2]; /* [last_h][last_w] */
    for (int i = 0; i < 4; i++) planes[i / 2][i % 2] = plane_of(w->pass[i % 2], h->pass[i / 2]);
    for (int64_t t = 0; t < tiles->n; t++) {
        const tile_at *at = &tiles->at[t];
        window now = next;
        bool more = t + 1 < tiles->n;
        if (more) next = window_at(h, w, src, at + 1);
        int i1 = h->end[at->last_h], j1 = w->end[at->last_w];
        const pieces *pw = &w->points[at->last_w];
        pass_fn along_h = h->pass[at->last_h], along_w = w->pass[at->last_w];
        plane_fn plane = planes[at->last_h][at->last_w];
        bool inside = now.rows.first == i0 && now.rows.end == i1 && now.cols.first == j0 && now.cols.end == j1;
        if (!inside) clear(buf + i0 * nw * W, (i1 - i0) * nw);
        for (int64_t c = c0; c < c0 + cn; c += W) {
            const fg_real *from = now.at + c + i0 * il;
            int64_t step = is, line = il;
            if (more && (c - c0) % LINE == 0) fetch_window(&next, c, il, is);
            if (!inside || c0 + cn - c < W) {
                copy_window(&now, c, il, is, c0 + cn - c, buf, nw);
                from = buf + i0 * nw * W, step = W, line = nw * W;
            }
            fg_real *to = out + (c - c0) / NR * ldp + (c - c0) % NR;
            if (plane) {
                plane(from, step, line, to, ps, nw * ps);
                continue;
            }
            along_w(from, step, line, mid + i0 * nw * W, W, nw * W, i1 - i0);
            for (int i = 0; i < pw->n; i++)
                along_h(mid + pw->begin[i] * W, nw * W, W, to + pw->begin[i] * ps, nw * ps, ps, pw->size[i]);
        }
        out += ldt;
    }
}

/* One axis of a window; phase f (NULL: the one of DX) */
static reader window_reader(const fg_wino_axis *a, const fg_wino_phase *f) {
    reader r = { .end = { a->n, a->n }, .step = 1, .at = a->w0 };
    int first = 0, points = a->n;
    if (f) {
        first = r.first = f->first, points = f->points, r.end[0] = r.end[1] = a->n - last_missing(a, f);
        r.step = a->stride, r.at = f->rho - a->pad - a->stride * f->place;
    }
    r.end[1] -= a->m - a->last;
    r.tile = r.step * a->m;
    for (int last = 0; last < 2; last++) {
        r.pass[last] = input_pass(a, f, last ? a->last : a->m);
        r.points[last] = pieces_of(a, last, first, points);
    }
    return r;
}

/* Windows of tiles, channels c0..c0+cn of the source, phases fh x fw (NULL: the one of DX) at all their points, to
 * v[point][tile][ldv]. */
static void windows_to_points(const fg_wino_geom *g, const image *src, const tile_list *tiles, int64_t c0, int64_t cn,
                              const fg_wino_phase *fh, const fg_wino_phase *fw, fg_real *v, int64_t ps, int64_t ldv) {
    reader h = window_reader(&g->h, fh), w = window_reader(&g->w, fw);
    tiles_to_points(g, &h, &w, src, tiles, c0, cn, v + (h.first * g->w.n + w.first) * ps, ps, ldv, NR);
}

typedef struct target { /* where the outputs of a phase pair go */
    fg_real *p;
    int64_t h, w, c;
    int64_t y0, x0, sh, sw; /* pixel of output 0 of tile 0, and the step between outputs */
    const fg_real *bias, *gate;
    fg_act act;
    fg_real slope;
    const fg_kernels *k;
} target;

static fg_real *first_output(const fg_wino_geom *g, const target *o, const tile_at *t) {
    return o->p + ((t->n * o->h + o->y0 + o->sh * g->h.m * t->a) * o->w + o->x0 + o->sw * g->w.m * t->b) * o->c;
}

/* tile[mh][mw], whose first output is pixel (y, x) of an image, with bias and activation: channels c..c+n, from `to` on */
static void store_outputs(const target *o, fg_real *tile, int mh, int mw, int64_t y, int64_t x, int64_t c, int64_t n,
                          fg_real *to) {
    vf bias = o->bias ? v_loadw(o->bias + c, (size_t)n) : v_zero(), slope = v_set(o->slope), zero = v_zero();
    bool add = o->bias;
    const fg_real *gate = o->gate ? o->gate + (to - o->p) : NULL;
    if (!gate && o->act != FG_ACT_NONE && o->act != FG_ACT_RELU && o->act != FG_ACT_LEAKY_RELU) {
        for (int i = 0; add && i < mh * mw; i++) v_store(tile + i * W, v_add(v_load(tile + i * W), bias));
        o->k->bias_act(tile, NULL, 1, mh * mw * W, o->act, o->slope);
        add = false;
    }
    for (int i = 0; i < mh && y + o->sh * i < o->h; i++) {
        fg_real *p = to + o->sh * i * o->w * o->c;
        for (int j = 0; j < mw && x + o->sw * j < o->w; j++, p += o->sw * o->c) {
            vf v = v_load(tile + (i * mw + j) * W);
            if (add) v = v_add(v, bias);
            if (gate) v = v_act_back(v, v_loadw(gate + (p - to), (size_t)n), o->act, slope);
            else if (o->act == FG_ACT_RELU) v = v_maxr(zero, v);
            else if (o->act == FG_ACT_LEAKY_RELU) v = v_sel(v_le(v, zero), v_mul(v, slope), v);
            if (n >= W) v_store(p, v);
            else v_storew(p, v, (size_t)n);
        }
    }
}

/* m[point][panel][tile][NR] of the tiles of a list to pixels, channels c0..c0+cn */
static void points_to_outputs(const fg_wino_geom *g, const fg_wino_phase *fh, const fg_wino_phase *fw, const fg_real *m,
                              int64_t ps, const tile_list *tiles, int64_t c0, int64_t cn, const target *o) {
    fg_real mid[FG_WINO_OUT * FG_WINO_POINTS * W], tile[FG_WINO_OUT * FG_WINO_OUT * W];
    int nw = g->w.n, pj = fw->points;
    bool plain = !o->bias && o->act == FG_ACT_NONE;
    bool across_first = g->w.n * g->h.m > g->h.n * g->w.m; /* the axis that shrinks most */
    m += (fh->first * nw + fw->first) * ps;
    pass_fn down[2], across[2];
    pieces points_h[2], points_w[2];
    for (int last = 0; last < 2; last++) {
        down[last] = output_pass(&g->h, fh, last ? g->h.last : g->h.m);
        across[last] = output_pass(&g->w, fw, last ? g->w.last : g->w.m);
        points_h[last] = pieces_of(&g->h, last, fh->first, fh->points);
        points_w[last] = pieces_of(&g->w, last, fw->first, pj);
    }
    plane_fn planes[2][2]; /* [last_h][last_w] */
    for (int i = 0; i < 4; i++) {
        pass_fn d = down[i / 2], a = across[i % 2];
        planes[i / 2][i % 2] = across_first ? plane_of(a, d) : plane_of(d, a);
    }
    for (int64_t t = 0; t < tiles->n; t++, m += NR) {
        const tile_at *at = &tiles->at[t];
        const pieces *pw = &points_w[at->last_w], *ph = &points_h[at->last_h];
        plane_fn plane = planes[at->last_h][at->last_w];
        int mh = at->last_h ? g->h.last : g->h.m, mw = at->last_w ? g->w.last : g->w.m;
        int64_t y = o->y0 + o->sh * g->h.m * at->a, x = o->x0 + o->sw * g->w.m * at->b;
        fg_real *to = first_output(g, o, at) + c0, *next = t + 1 < tiles->n ? first_output(g, o, at + 1) + c0 : NULL;
        bool at_once = plain && y + o->sh * (mh - 1) < o->h && x + o->sw * (mw - 1) < o->w;
        for (int64_t c = 0; c < cn; c += W) {
            const fg_real *from = m + c / NR * tiles->n * NR + c % NR;
            if (next && c % LINE == 0) { /* what the next tile will want; it has as many points and outputs, or more or fewer */
                for (int i = 0; i < ph->n; i++)
                    for (int a = ph->begin[i]; a < ph->begin[i] + ph->size[i]; a++)
                        for (int j = 0; j < pj; j++) v_fetch2(from + NR + (a * nw + j) * ps);
                for (int i = 0; i < mh; i++)
                    for (int j = 0; j < mw; j++) {
                        const fg_real *pixel = next + c + (i * o->sh * o->w + j * o->sw) * o->c;
                        v_fetchw(pixel);
                        if (o->gate) v_fetch2(o->gate + (pixel - o->p));
                    }
            }
            bool direct = at_once && cn - c >= W;
            fg_real *out = direct ? to + c : tile;
            int64_t row = direct ? o->sh * o->w * o->c : mw * W, pixel = direct ? o->sw * o->c : W;
            if (plane) {
                if (across_first) plane(from, ps, nw * ps, out, pixel, row);
                else plane(from, nw * ps, ps, out, row, pixel);
            } else if (across_first) {
                for (int i = 0; i < ph->n; i++)
                    across[at->last_w](from + ph->begin[i] * nw * ps, ps, nw * ps, mid + ph->begin[i] * mw * W, W, mw * W,
                                       ph->size[i]);
                down[at->last_h](mid, mw * W, W, out, row, pixel, mw);
            } else {
                for (int i = 0; i < pw->n; i++)
                    down[at->last_h](from + pw->begin[i] * ps, nw * ps, ps, mid + pw->begin[i] * W, pj * W, W, pw->size[i]);
                across[at->last_w](mid, W, pj * W, out, pixel, row, mh);
            }
            if (!direct) store_outputs(o, tile, mh, mw, y, x, c0 + c, cn - c, to + c);
        }
    }
}

/* ---------------------------------------------------------------- plan */
static int64_t source_channels(const fg_conv_plan *p) { return p->dir == FG_CONV_DX ? p->g.co : p->g.ci; }
static int64_t output_channels(const fg_conv_plan *p) { return p->dir == FG_CONV_DX ? p->g.ci : p->g.co; }
static int64_t whole_vectors(int64_t c) { return ceil_div(c, W) * W; }
static int64_t odd_lines(int64_t count) { return (ceil_div(count, LINE) | 1) * LINE; }

static void plan_packed(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = *g, .dir = dir };
    fg_wino_geom w;
    fg_wino_geom_of(g, dir, &w);
    int64_t *q = p->priv, sc = whole_vectors(source_channels(p)), points = w.h.n * w.w.n;
    int64_t used = points_in_use(&w.h) * points_in_use(&w.w), panels = ceil_div(output_channels(p), NR), most = TILE_BLOCK,
            slots = dir == FG_CONV_DX ? 1 : w.slots;
    /* Tiles first: the more of them, the less often U is read. Then panels, until M fits and there is work for a team. */
    q[Q_TILE_CHUNKS] = ceil_div(w.tiles, most);
    if (q[Q_TILE_CHUNKS] * panels < CHUNKS_WANTED) q[Q_TILE_CHUNKS] = ceil_div(w.tiles, most / 2);
    q[Q_TILE_CHUNKS] += q[Q_TILE_CHUNKS] > 1 && q[Q_TILE_CHUNKS] % 2; /* an even number for two threads */
    int64_t tiles = ceil_div(w.tiles, q[Q_TILE_CHUNKS]);
    q[Q_PANEL_CHUNKS] = max64(ceil_div(CHUNKS_WANTED, q[Q_TILE_CHUNKS]),
                              ceil_div(used * tiles * panels * NR * (int64_t)sizeof(fg_real), M_BYTES));
    q[Q_PANEL_CHUNKS] = min64(q[Q_PANEL_CHUNKS], panels);
    q[Q_SLOTS] = slots;
    while (q[Q_SLOTS] > 1 && used * tiles * q[Q_SLOTS] * sc * (int64_t)sizeof(fg_real) > V_BYTES) q[Q_SLOTS] /= 2;
    q[Q_LDV] = odd_lines(q[Q_SLOTS] * sc);
    q[Q_PSV] = odd_lines(tiles * q[Q_LDV]);
    q[Q_PSM] = odd_lines(tiles * ceil_div(panels, q[Q_PANEL_CHUNKS]) * NR);
    q[Q_PSU] = odd_lines(panels * sc * NR);
    p->chunks = (int)(q[Q_TILE_CHUNKS] * q[Q_PANEL_CHUNKS]);
    p->scratch = (size_t)(points * (q[Q_PSV] + q[Q_PSM])) * sizeof(fg_real);
    p->packed = (size_t)(w.slots * points * q[Q_PSU]) * sizeof(fg_real);
    p->pack_chunks = (int)(panels * ceil_div(sc, PACK_ROWS));
}

/* U[slot][point][panel][sc][NR] */
static fg_real *packed_at(const fg_conv_plan *p, const fg_wino_geom *w, const void *packed, int64_t slot, int64_t point,
                          int64_t panel) {
    return (fg_real *)packed + (slot * w->h.n * w->w.n + point) * p->priv[Q_PSU] + panel * whole_vectors(source_channels(p)) * NR;
}

/* The taps of a slot, seen from one source channel on: where tap (0, 0) is, and the steps to the next column, row and channel. */
typedef struct taps_view {
    const fg_real *at;
    int64_t col, row, channel;
} taps_view;

/* As they lie in memory, from channel c0 of ci and o0 of co on; a channel is one of ci. */
static taps_view taps_in_place(const fg_conv_plan *p, const fg_wino_geom *w, int slot, const fg_real *weights, int64_t c0,
                               int64_t o0) {
    const fg_conv_geom *g = &p->g;
    int64_t row = first_tap(fg_wino_slot_h(w, slot), w->h.stride, p->dir), step_h = tap_step(w->h.stride, p->dir);
    int64_t col = first_tap(fg_wino_slot_w(w, slot), w->w.stride, p->dir), step_w = tap_step(w->w.stride, p->dir);
    return (taps_view){ .at = weights + ((row * g->kw + col) * g->ci + c0) * g->co + o0,
                        .col = step_w * g->ci * g->co,
                        .row = step_h * g->kw * g->ci * g->co,
                        .channel = g->co };
}

/* Source channels c0..c0+n, output channels o0..o0+NR, of which there are `cols`: copied to block[channel][row][column][NR]. */
static taps_view copied_taps(const fg_conv_plan *p, const fg_wino_geom *w, int slot, const fg_real *weights, int64_t c0,
                             int64_t n, int64_t o0, int64_t cols, fg_real *block) {
    bool dx = p->dir == FG_CONV_DX;
    int rows = fg_wino_slot_h(w, slot)->taps, across = fg_wino_slot_w(w, slot)->taps;
    taps_view from = dx ? taps_in_place(p, w, slot, weights, o0, c0) : taps_in_place(p, w, slot, weights, c0, o0);
    taps_view view = { .at = block, .col = NR, .row = across * NR, .channel = (int64_t)rows * across * NR };
    const fg_kernels *k = fg_kernels_for(ISA_LEVEL);
    for (int64_t i = 0; cols < NR && i < n * view.channel; i++) block[i] = 0;
    for (int a = 0; a < rows; a++)
        for (int b = 0; b < across; b++) {
            const fg_real *s = from.at + a * from.row + b * from.col;
            fg_real *to = block + a * view.row + b * view.col;
            if (dx) {
                k->transpose2d(s, p->g.co, to, view.channel, cols, n);
                continue;
            }
            for (int64_t r = 0; r < n; r++)
                for (int64_t j = 0; j < cols; j++) to[r * view.channel + j] = s[r * from.channel + j];
        }
    return view;
}

/* Source channels c0..c1 of a slot, at most PACK_ROWS */
typedef struct slot_part {
    int slot;
    int64_t c0, c1;
} slot_part;

/* All taps of a slot, `length` numbers each, to the second-level cache */
static void fetch_taps(const fg_wino_phase *fh, const fg_wino_phase *fw, taps_view t, int64_t length) {
    for (int a = 0; a < fh->taps; a++)
        for (int b = 0; b < fw->taps; b++)
            for (int64_t i = 0; i < length; i += LINE) v_fetch2(t.at + a * t.row + b * t.col + i);
}

/* A part of the taps of a panel to points u[point][channel][NR], past the caches if `stream`. The vector that the last channel
 * fills is zeros beyond. Taps lie too far apart for the hardware to foresee, so they are fetched ahead, some with each channel
 * (all at once would be waited for as well): in place those of a channel to come, else those of the `next` part (or NULL).
 * Measured: of a layer with weights of 8 MB this was 12 to 15%, and is 5 to 8%. */
static void slot_to_points(const fg_conv_plan *p, const fg_wino_geom *w, const fg_real *weights, int64_t panel, slot_part now,
                           const slot_part *next, fg_real *u, bool stream) {
    enum { AHEAD = 4 };
    fg_real block[PACK_ROWS * 25 * NR], mid[5 * FG_WINO_POINTS * W], all[FG_WINO_POINTS * FG_WINO_POINTS * W];
    const fg_wino_phase *fh = fg_wino_slot_h(w, now.slot), *fw = fg_wino_slot_w(w, now.slot);
    pass_fn along_w = weight_pass(&w->w, fw, false), along_h = weight_pass(&w->h, fh, false);
    plane_fn plane = stream ? NULL : plane_of(along_w, along_h);
    int64_t rows = max64(0, min64(source_channels(p), now.c1) - now.c0), o0 = panel * NR, ps = p->priv[Q_PSU];
    int64_t cols = min64(NR, output_channels(p) - o0);
    int pj = fw->points, nw = w->w.n;
    bool dx = p->dir == FG_CONV_DX, in_place = !dx && cols == NR;
    taps_view taps = in_place ? taps_in_place(p, w, now.slot, weights, now.c0, o0)
                              : copied_taps(p, w, now.slot, weights, now.c0, rows, o0, cols, block);
    taps_view to_come = taps;
    if (in_place) to_come.at += AHEAD * taps.channel;
    else if (dx && next) to_come = taps_in_place(p, w, next->slot, weights, o0, next->c0);
    u += (fh->first * nw + fw->first) * ps;
    for (int64_t r = 0, row = 0; r < rows; r++, u += NR, taps.at += taps.channel) {
        if (in_place) {
            fetch_taps(fh, fw, to_come, NR);
            to_come.at += taps.channel;
        }
        for (; dx && next && row * rows < cols * (r + 1); row++, to_come.at += to_come.channel)
            fetch_taps(fg_wino_slot_h(w, next->slot), fg_wino_slot_w(w, next->slot), to_come, next->c1 - next->c0);
        for (int64_t v = 0; v < NR; v += W) {
            const fg_real *from = taps.at + v;
            if (plane) {
                plane(from, taps.col, taps.row, u + v, ps, nw * ps);
                continue;
            }
            along_w(from, taps.col, taps.row, mid, W, pj * W, fh->taps);
            if (!stream) {
                along_h(mid, pj * W, W, u + v, nw * ps, ps, pj);
                continue;
            }
            along_h(mid, pj * W, W, all, pj * W, W, pj);
            for (int i = 0; i < fh->points; i++)
                for (int j = 0; j < pj; j++) v_stream(u + v + (i * nw + j) * ps, v_load(all + (i * pj + j) * W));
        }
    }
    for (int64_t r = rows; r < now.c1 - now.c0; r++, u += NR)
        for (int i = 0; i < fh->points; i++)
            for (int j = 0; j < pj; j++) clear(u + (i * nw + j) * ps, NR / W);
}

/* A chunk: one panel, PACK_ROWS source channels. */
static void pack_wino(const fg_conv_plan *p, const fg_real *weights, void *packed, int chunk) {
    fg_wino_geom w;
    fg_wino_geom_of(&p->g, p->dir, &w);
    int64_t sc = whole_vectors(source_channels(p)), groups = ceil_div(sc, PACK_ROWS), panel = chunk / groups;
    int64_t c0 = chunk % groups * PACK_ROWS, c1 = min64(sc, c0 + PACK_ROWS);
    bool stream = p->packed > STREAM_BYTES && (int)W == (int)LINE && (uintptr_t)packed % 64 == 0; /* half lines are slow */
    for (int s = 0; s < w.slots; s++) {
        slot_part now = { s, c0, c1 }, next = { s + 1, c0, c1 };
        slot_to_points(p, &w, weights, panel, now, next.slot < w.slots ? &next : NULL,
                       packed_at(p, &w, packed, s, 0, panel) + c0 * NR, stream);
    }
    v_stream_end();
}

static image source_of(const fg_conv_plan *p, const fg_conv_args *a) {
    const fg_conv_geom *g = &p->g;
    return p->dir == FG_CONV_DX ? (image){ a->dy, g->oh, g->ow, g->co } : (image){ a->x, g->h, g->w, g->ci };
}
static target target_of(const fg_conv_plan *p, const fg_conv_args *a) {
    bool dx = p->dir == FG_CONV_DX;
    return (target){ .p = a->out,
                     .h = dx ? p->g.h : p->g.oh,
                     .w = dx ? p->g.w : p->g.ow,
                     .c = output_channels(p),
                     .sh = 1,
                     .sw = 1,
                     .bias = a->bias,
                     .gate = a->gate,
                     .act = a->act,
                     .slope = a->slope,
                     .k = fg_kernels_for(ISA_LEVEL) };
}
/* DX: at the outputs of a slot */
static void aim(target *o, const fg_wino_geom *w, int slot) {
    const fg_wino_phase *fh = fg_wino_slot_h(w, slot), *fw = fg_wino_slot_w(w, slot);
    o->y0 = fh->q * w->h.stride + fh->rho - w->h.pad, o->sh = w->h.stride;
    o->x0 = fw->q * w->w.stride + fw->rho - w->w.pad, o->sw = w->w.stride;
}

static int64_t chain_of(const fg_wino_geom *w) { return w->w.r == 5 ? CHAIN_FIVE : CHAIN; }

/* ---------------------------------------------------------------- run */
typedef struct job {
    const fg_conv_plan *p;
    const void *packed;
    fg_wino_geom w;
    image src;
    target out;
    fg_real *v, *m;
    tile_list tiles; /* of the chunk, */
    int64_t p0, p1;  /* and its panels */
} job;

/* m[point][panel][tile][NR] = (or +=) v[point][tile][...] times U of the given slots, for the tiles that use point (i, j); v
 * holds slots from `first` on */
static void multiply(const job *z, int i, int j, int first, const int *slots, int count, bool add) {
    const int64_t *q = z->p->priv;
    int point = i * z->w.w.n + j;
    tile_range range = tiles_using(&z->w, &z->tiles, i, j);
    int64_t sc = whole_vectors(source_channels(z->p)), tiles = range.end - range.begin, oc = output_channels(z->p);
    int64_t chain = chain_of(&z->w), parts = ceil_div(sc, chain);
    const fg_real *v = z->v + point * q[Q_PSV] + range.begin * q[Q_LDV];
    product_run runs[MAX_RUNS];
    for (int64_t panel = z->p0; panel < z->p1; panel++) {
        fg_real *c = z->m + point * q[Q_PSM] + ((panel - z->p0) * z->tiles.n + range.begin) * NR;
        int n = 0;
        int64_t sum = 0;
        bool more = add;
        for (int s = 0; s < count; s++) {
            const fg_real *b = packed_at(z->p, &z->w, z->packed, slots[s], point, panel);
            for (int64_t e = 0; e < parts; e++) {
                int64_t k = sc * e / parts, len = sc * (e + 1) / parts - k;
                runs[n] = (product_run){ v + (slots[s] - first) * sc + k, b + k * NR, len, sum == 0 || sum + len > chain };
                sum = runs[n].starts ? len : sum + len;
                if (++n < MAX_RUNS) continue;
                mul_rows(runs, n, q[Q_LDV], sc * NR, 1, tiles, c, min64(NR, oc - panel * NR), more);
                n = 0, sum = 0, more = true;
            }
        }
        if (n) mul_rows(runs, n, q[Q_LDV], sc * NR, 1, tiles, c, min64(NR, oc - panel * NR), more);
    }
}

static bool uses(const fg_wino_phase *f, int point) { return point >= f->first && point < f->first + f->points; }

static void run_fwd(job *z) {
    const int64_t *q = z->p->priv;
    const fg_wino_geom *w = &z->w;
    int64_t sc = whole_vectors(z->src.c), c0 = z->p0 * NR, cn = min64(z->p1 * NR, z->out.c) - c0;
    for (int first = 0; first < w->slots; first += (int)q[Q_SLOTS]) {
        int end = first + (int)q[Q_SLOTS];
        for (int s = first; s < end; s++)
            windows_to_points(w, &z->src, &z->tiles, 0, z->src.c, fg_wino_slot_h(w, s), fg_wino_slot_w(w, s),
                              z->v + (s - first) * sc, q[Q_PSV], q[Q_LDV]);
        for (int i = 0; i < w->h.n; i++)
            for (int j = 0; j < w->w.n; j++) { /* slot 0 has the most taps, so its points are all that there are */
                int slots[4], n = 0;
                for (int s = first; s < end; s++)
                    if (uses(fg_wino_slot_h(w, s), i) && uses(fg_wino_slot_w(w, s), j)) slots[n++] = s;
                if (n) multiply(z, i, j, first, slots, n, first > 0);
            }
    }
    points_to_outputs(w, &w->h.phase[0], &w->w.phase[0], z->m, q[Q_PSM], &z->tiles, c0, cn, &z->out);
}

static void run_dx(job *z) {
    const int64_t *q = z->p->priv;
    const fg_wino_geom *w = &z->w;
    int64_t c0 = z->p0 * NR, cn = min64(z->p1 * NR, z->out.c) - c0;
    windows_to_points(w, &z->src, &z->tiles, 0, z->src.c, NULL, NULL, z->v, q[Q_PSV], q[Q_LDV]);
    for (int s = 0; s < w->slots; s++) {
        const fg_wino_phase *fh = fg_wino_slot_h(w, s), *fw = fg_wino_slot_w(w, s);
        for (int i = fh->first; i < fh->first + fh->points; i++)
            for (int j = fw->first; j < fw->first + fw->points; j++) multiply(z, i, j, s, &s, 1, false);
        aim(&z->out, w, s);
        points_to_outputs(w, fh, fw, z->m, q[Q_PSM], &z->tiles, c0, cn, &z->out);
    }
}

static void run_packed(const fg_conv_plan *p, const fg_conv_args *a, int chunk, fg_real *scratch) {
    const int64_t *q = p->priv;
    job z = { .p = p, .packed = a->packed, .v = scratch, .src = source_of(p, a), .out = target_of(p, a) };
    fg_wino_geom_of(&p->g, p->dir, &z.w);
    z.m = scratch + (z.w.h.n * z.w.w.n) * q[Q_PSV];
    int64_t tc = chunk / q[Q_PANEL_CHUNKS], pc = chunk % q[Q_PANEL_CHUNKS], panels = ceil_div(z.out.c, NR);
    list_tiles(&z.w, z.w.tiles * tc / q[Q_TILE_CHUNKS], z.w.tiles * (tc + 1) / q[Q_TILE_CHUNKS], &z.tiles);
    z.p0 = panels * pc / q[Q_PANEL_CHUNKS], z.p1 = panels * (pc + 1) / q[Q_PANEL_CHUNKS];
    if (p->dir == FG_CONV_DX) run_dx(&z);
    else run_fwd(&z);
}
