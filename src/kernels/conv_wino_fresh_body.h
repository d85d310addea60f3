/* conv_wino_fresh_body.h: FWD and DX by polyphase Winograd for many weights and few tiles, included by conv_wino_<isa>.c after
 * conv_wino_body.h.
 *
 * Weights in points are six times the weights of a 4x4 kernel. With hundreds of channels on both sides they fill no cache
 * (52 MB for 256 x 512), and where an image has one tile or four, reading them takes longer than multiplying. So they are not
 * kept: each panel of output channels makes its own anew, a slot and CHANNELS of the source at a time, which stay in the
 * second-level cache while all tiles go by. Making is cheaper than reading (measured), and nothing need be cached.
 *
 *      run:     windows of all tiles to points, shared:   V[slot][block of CHANNELS][point][tile][channel]
 *      finish:  a chunk is a panel (in DX, where each slot has outputs of its own, one slot of a panel)
 *                   for each slot, each block:   taps -> U[point][channel][NR]
 *                                                for each point:   M[point][tile][NR] += V U, while the next point's V is fetched
 *                   then points to outputs */

enum {
    FRESH_BYTES = 16 << 20 /* of weights in points */,
    FRESH_TILES = LIST,
    V_MOST = 32 << 20,
    CHANNELS = 128,
    PIECES_WANTED = 8
};
enum { Q_BLOCKS = Q_LAST, Q_PIECES };

/* Channels of block b */
static int64_t block_begin(const fg_conv_plan *p, int64_t b) {
    int64_t vectors = whole_vectors(source_channels(p)) / W;
    return vectors * b / p->priv[Q_BLOCKS] * W;
}
static int64_t block_size(const fg_conv_plan *p, int64_t b) { return block_begin(p, b + 1) - block_begin(p, b); }
static int input_slots(const fg_conv_plan *p, const fg_wino_geom *w) { return p->dir == FG_CONV_DX ? 1 : w->slots; }
/* V of a slot and a block */
static fg_real *shared_v(const fg_conv_plan *p, const fg_wino_geom *w, const fg_conv_args *a, int64_t slot, int64_t b) {
    return (fg_real *)a->partials + (slot * p->priv[Q_BLOCKS] + b) * (w->h.n * w->w.n) * p->priv[Q_PSV];
}

/* False when weights are few or tiles many. */
static bool plan_fresh(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = *g, .dir = dir, .algo = ALGO_FRESH };
    fg_wino_geom w;
    fg_wino_geom_of(g, dir, &w);
    int64_t *q = p->priv, sc = whole_vectors(source_channels(p)), points = w.h.n * w.w.n,
            panels = ceil_div(output_channels(p), NR);
    int64_t weights = w.points * g->ci * g->co;
    q[Q_BLOCKS] = ceil_div(sc, CHANNELS);
    q[Q_LDV] = odd_lines(ceil_div(ceil_div(sc, q[Q_BLOCKS]), W) * W);
    q[Q_PSV] = w.tiles * q[Q_LDV];
    q[Q_PSM] = odd_lines(w.tiles * NR);
    q[Q_PSU] = odd_lines(q[Q_LDV] * NR);
    int64_t v = input_slots(p, &w) * q[Q_BLOCKS] * points * q[Q_PSV] * (int64_t)sizeof(fg_real);
    if (weights * (int64_t)sizeof(fg_real) < FRESH_BYTES || w.tiles > FRESH_TILES || v > V_MOST) return false;
    int64_t wholes = input_slots(p, &w) * q[Q_BLOCKS];
    q[Q_PIECES] = min64(w.tiles, ceil_div(PIECES_WANTED, wholes)); /* of the list of tiles */
    p->chunks = (int)(wholes * q[Q_PIECES]);
    p->partials = (size_t)v;
    p->finish_chunks = (int)(p->dir == FG_CONV_DX ? panels * w.slots : panels);
    p->scratch = (size_t)(points * (q[Q_PSU] + q[Q_PSM])) * sizeof(fg_real);
    return true;
}

/* A chunk: a slot, a block of channels, a piece of the list of tiles. */
static void run_fresh(const fg_conv_plan *p, const fg_conv_args *a, int chunk) {
    const int64_t *q = p->priv;
    fg_wino_geom w;
    fg_wino_geom_of(&p->g, p->dir, &w);
    int64_t piece = chunk % q[Q_PIECES], b = chunk / q[Q_PIECES] % q[Q_BLOCKS], slot = chunk / q[Q_PIECES] / q[Q_BLOCKS];
    image src = source_of(p, a);
    tile_list all, some;
    list_tiles(&w, 0, w.tiles, &all);
    int64_t t0 = all.n * piece / q[Q_PIECES];
    some.n = all.n * (piece + 1) / q[Q_PIECES] - t0;
    for (int64_t i = 0; i < some.n; i++) some.at[i] = all.at[t0 + i];
    const fg_wino_phase *fh = p->dir == FG_CONV_DX ? NULL : fg_wino_slot_h(&w, slot);
    const fg_wino_phase *fw = p->dir == FG_CONV_DX ? NULL : fg_wino_slot_w(&w, slot);
    int64_t c0 = block_begin(p, b), cn = min64(src.c, c0 + block_size(p, b)) - c0;
    windows_to_points(&w, &src, &some, c0, cn, fh, fw, shared_v(p, &w, a, slot, b) + t0 * q[Q_LDV], q[Q_PSV], q[Q_LDV]);
}

static void finish_fresh(const fg_conv_plan *p, const fg_conv_args *a, int chunk, fg_real *scratch) {
    const int64_t *q = p->priv;
    fg_wino_geom geom, *w = &geom;
    fg_wino_geom_of(&p->g, p->dir, w);
    bool dx = p->dir == FG_CONV_DX;
    int panel = dx ? chunk / w->slots : chunk, first = dx ? chunk % w->slots : 0, last = dx ? first : w->slots - 1;
    int64_t points = w->h.n * w->w.n, c0 = panel * NR, cn = min64(NR, output_channels(p) - c0), chain = chain_of(w);
    fg_real *u = scratch, *m = u + points * q[Q_PSU];
    target out = target_of(p, a);
    tile_list tiles;
    list_tiles(w, 0, w->tiles, &tiles);
    for (int s = first; s <= last; s++) {
        const fg_wino_phase *fh = fg_wino_slot_h(w, s), *fw = fg_wino_slot_w(w, s);
        for (int64_t b = 0; b < q[Q_BLOCKS]; b++) {
            const fg_real *v = shared_v(p, w, a, dx ? 0 : s, b);
            int64_t begin = block_begin(p, b), size = block_size(p, b), parts = ceil_div(size, chain);
            for (int64_t c = 0; c < size; c += PACK_ROWS) {
                slot_part now = { s, begin + c, begin + min64(size, c + PACK_ROWS) }, next = { s, now.c1, begin + size };
                next.c1 = min64(next.c1, next.c0 + PACK_ROWS);
                slot_to_points(p, w, a->w, panel, now, next.c0 < next.c1 ? &next : NULL, u + c * NR, false);
            }
            product_run runs[CHANNELS];
            for (int i = fh->first; i < fh->first + fh->points; i++)
                for (int j = fw->first; j < fw->first + fw->points; j++) {
                    int point = i * w->w.n + j;
                    tile_range used = tiles_using(w, &tiles, i, j);
                    const fg_real *at = v + point * q[Q_PSV] + used.begin * q[Q_LDV], *by = u + point * q[Q_PSU];
                    for (int64_t e = 0; e < parts; e++) {
                        int64_t k = size * e / parts;
                        runs[e] = (product_run){ at + k, by + k * NR, size * (e + 1) / parts - k, true };
                    }
                    /* the next point of V is mostly the one behind this; a fetch beyond the last does no harm */
                    int64_t ahead = ((intptr_t)(at + q[Q_PSV]) - (intptr_t)by) / (intptr_t)sizeof(fg_real);
                    mul_rows(runs, (int)parts, q[Q_LDV], ahead, (int)ceil_div(q[Q_PSV], size * NR), used.end - used.begin,
                             m + point * q[Q_PSM] + used.begin * NR, cn, b > 0 || s > first);
                }
        }
    }
    if (dx) aim(&out, w, last);
    int outputs = dx ? last : 0;
    points_to_outputs(w, fg_wino_slot_h(w, outputs), fg_wino_slot_w(w, outputs), m, q[Q_PSM], &tiles, c0, cn, &out);
}
