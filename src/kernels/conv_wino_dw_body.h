/* conv_wino_dw_body.h: DW by polyphase Winograd, included by conv_wino_<isa>.c after conv_wino_body.h.
 *
 * With x in points (B^T x B, as in FWD) and the gradient of a tile's outputs lifted to points (A dy A^T), the gradient of the
 * transformed weights is a product over tiles, and G^T U G brings it back to taps:
 *
 *      dU[point][panel][slot, ci][NR]  +=  V[point][tile][slot, ci]^T  Y[point][panel][tile][NR]
 *
 * A chunk owns a block of ci times a block of co, so that its dU stays in the second-level cache while all tiles of all
 * images go by, BLOCK_TILES at a time; windows of x are transformed again for each block of co and dy for each block of ci,
 * which costs less than streaming dU (measured). The tiles are cut into groups of about GROUP_TILES with a gradient each,
 * which finish_wino_dw adds in order: more chunks for a team, and shorter sums, whose rounding Winograd would multiply.
 */

enum { Q_CI_BLOCKS = Q_LAST, Q_CO_BLOCKS, Q_GROUPS_DW, Q_CB, Q_COB, Q_PSY, Q_PSD, Q_BLOCK };
enum {
    ROWS_WANTED = 128,
    COLUMNS_WANTED = 128,
    GROUP_TILES = 256,
    FEW_TILES = 64,
    CHUNKS_LEAST = 8,
    MAX_GROUPS = 16,
    PARTIAL_BYTES = 32 << 20,
    FINISH = 1 << 14,
    ADDED = 64
};

/* Blocks of about `rows` channels of x and `columns` of dy. */
static void plan_blocks(const fg_conv_geom *g, fg_conv_plan *p, int64_t rows, int64_t columns) {
    int64_t *q = p->priv;
    q[Q_CB] = min64(ceil_div(g->ci, 16), max64(1, rows / 16)) * 16;
    q[Q_CI_BLOCKS] = ceil_div(g->ci, q[Q_CB]);
    q[Q_CO_BLOCKS] = ceil_div(g->co, columns);
    q[Q_COB] = ceil_div(ceil_div(g->co, q[Q_CO_BLOCKS]), NR) * NR;
    q[Q_CO_BLOCKS] = ceil_div(g->co, q[Q_COB]);
}

/* Room for the gradient of each group of tiles, `size` numbers, where there are several. */
static void plan_groups(fg_conv_plan *p, int64_t size) {
    if (p->priv[Q_GROUPS_DW] == 1) return;
    p->partials = (size_t)(p->priv[Q_GROUPS_DW] * size) * sizeof(fg_real);
    p->finish_chunks = (int)min64(ceil_div(size, FINISH), 64);
}

/* A chunk: a group, and channels c0.. of x (cn, in cb rows of dU) times o0.. of dy (on); the last block may be narrower. */
typedef struct dw_block {
    int64_t group, c0, cn, cb, o0, on;
} dw_block;
static dw_block block_of(const fg_conv_plan *p, int chunk) {
    const int64_t *q = p->priv;
    int64_t cell = chunk / q[Q_GROUPS_DW];
    dw_block k = { .group = chunk % q[Q_GROUPS_DW],
                   .c0 = cell / q[Q_CO_BLOCKS] * q[Q_CB],
                   .o0 = cell % q[Q_CO_BLOCKS] * q[Q_COB] };
    k.cn = min64(q[Q_CB], p->g.ci - k.c0), k.on = min64(q[Q_COB], p->g.co - k.o0);
    k.cb = ceil_div(k.cn, 16) * 16;
    return k;
}
static fg_real *dw_target(const fg_conv_plan *p, const fg_conv_args *a, int64_t group) {
    return p->partials ? (fg_real *)a->partials + group * p->g.kh * p->g.kw * p->g.ci * p->g.co : a->out;
}

static void plan_wino_dw(const fg_conv_geom *g, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = *g, .dir = FG_CONV_DW };
    fg_wino_geom w;
    fg_wino_geom_of(g, FG_CONV_DW, &w);
    int64_t *q = p->priv, points = w.h.n * w.w.n, size = (int64_t)g->kh * g->kw * g->ci * g->co;
    plan_blocks(g, p, ROWS_WANTED / w.slots, COLUMNS_WANTED);
    int64_t cells = q[Q_CI_BLOCKS] * q[Q_CO_BLOCKS], groups = min64(ceil_div(w.tiles, GROUP_TILES), MAX_GROUPS);
    groups = max64(groups, min64(ceil_div(CHUNKS_LEAST, cells), w.tiles / FEW_TILES));
    q[Q_GROUPS_DW] = max64(1, min64(groups, PARTIAL_BYTES / (size * (int64_t)sizeof(fg_real))));
    q[Q_BLOCK] = min64(w.tiles, BLOCK_TILES);
    q[Q_LDV] = odd_lines(w.slots * q[Q_CB]);
    q[Q_PSV] = odd_lines(q[Q_BLOCK] * q[Q_LDV]);
    q[Q_PSY] = odd_lines(q[Q_BLOCK] * q[Q_COB]);
    q[Q_PSD] = odd_lines(w.slots * q[Q_CB] * q[Q_COB]);
    p->chunks = (int)(cells * q[Q_GROUPS_DW]);
    p->scratch = (size_t)(points * (q[Q_PSV] + q[Q_PSY] + q[Q_PSD])) * sizeof(fg_real);
    plan_groups(p, size);
}

/* `m`: outputs of the tile */
static pass_fn lift_pass(const fg_wino_axis *a, int m) {
    static const pass_fn edge[3][2] = { { edge_lift1_all, edge_lift1_front },
                                        { edge_lift2_all, edge_lift2_front },
                                        { edge_lift3_all, edge_lift3_front } };
    bool front = points_in_use(a) < a->n;
    if (m < a->m) return edge[m - 1][front];
    if (a->m == 4 && a->n == 6) return front ? lift6_4_front : lift6_4;
    return a->n == 8 ? lift8_4 : a->m == 3 ? lift6_3 : lift6_2;
}

static reader output_reader(const fg_wino_axis *a) {
    reader r = { .end = { a->m, a->last }, .tile = a->m, .step = 1 };
    for (int last = 0; last < 2; last++) {
        r.pass[last] = lift_pass(a, last ? a->last : a->m);
        r.points[last] = pieces_of(a, last, 0, points_in_use(a));
    }
    return r;
}

/* dy of the tiles of a list, channels c0..c0+cn, to y[point][panel][tile][NR] */
static void outputs_to_points(const fg_wino_geom *g, const image *dy, const tile_list *tiles, int64_t c0, int64_t cn, fg_real *y,
                              int64_t ps) {
    reader h = output_reader(&g->h), w = output_reader(&g->w);
    tiles_to_points(g, &h, &w, dy, tiles, c0, cn, y, ps, NR, tiles->n * NR);
}

/* du[point][panel][slot, ci][NR] of a block to dw[kh][kw][ci][co] */
static void points_to_weights(const fg_conv_plan *p, const fg_wino_geom *w, const dw_block *k, const fg_real *du, fg_real *dw) {
    const fg_conv_geom *g = &p->g;
    int64_t ps = p->priv[Q_PSD], rows = w->slots * k->cb;
    fg_real mid[5 * FG_WINO_POINTS * W], taps[25 * W];
    for (int s = 0; s < w->slots; s++) {
        const fg_wino_phase *fh = fg_wino_slot_h(w, s), *fw = fg_wino_slot_w(w, s);
        pass_fn along_h = weight_pass(&w->h, fh, true), along_w = weight_pass(&w->w, fw, true);
        plane_fn plane = plane_of(along_h, along_w);
        int th = fh->taps, tw = fw->taps, pj = fw->points;
        for (int64_t c = 0; c < k->cn; c++)
            for (int64_t o = 0; o < k->on; o += W) {
                const fg_real *from = du + (fh->first * w->w.n + fw->first) * ps + (o / NR * rows + s * k->cb + c) * NR + o % NR;
                for (int a = 0; o % LINE == 0 && a < fh->points; a++)
                    for (int b = 0; b < pj; b++) v_fetch2(from + 2 * NR + (a * w->w.n + b) * ps);
                if (plane) {
                    plane(from, w->w.n * ps, ps, taps, tw * W, W);
                } else {
                    along_h(from, w->w.n * ps, ps, mid, pj * W, W, pj);
                    along_w(mid, W, pj * W, taps, W, tw * W, th);
                }
                for (int a = 0; a < th; a++)
                    for (int b = 0; b < tw; b++) {
                        int64_t tap = (fh->rho + w->h.stride * a) * g->kw + fw->rho + w->w.stride * b;
                        fg_real *to = dw + (tap * g->ci + k->c0 + c) * g->co + k->o0 + o;
                        if (o % LINE == 0) v_fetchw(to + 2 * g->co);
                        v_storew(to, v_load(taps + (a * tw + b) * W), (size_t)(k->on - o));
                    }
            }
    }
}

/* c[rows][NR] = (or +=) a^T b with a[k][rows], b[k][NR], in sums of `chain` terms; k is BLOCK_TILES at most */
static void mul_columns(const fg_real *a, int64_t lda, const fg_real *b, int64_t k, int64_t chain, int64_t rows, fg_real *c,
                        int64_t cols, bool add) {
    product_run runs[BLOCK_TILES];
    int64_t sums = ceil_div(k, chain);
    for (int64_t i = 0; i < sums; i++) {
        int64_t k0 = k * i / sums, k1 = k * (i + 1) / sums;
        runs[i] = (product_run){ a + k0 * lda, b + k0 * NR, k1 - k0, true };
    }
    mul_column_runs(runs, (int)sums, lda, rows, c, cols, add);
}

static void run_wino_dw(const fg_conv_plan *p, const fg_conv_args *a, int chunk, fg_real *scratch) {
    const fg_conv_geom *g = &p->g;
    const int64_t *q = p->priv;
    fg_wino_geom w;
    fg_wino_geom_of(g, FG_CONV_DW, &w);
    dw_block k = block_of(p, chunk);
    int64_t c0 = k.c0, cn = k.cn, cb = k.cb, o0 = k.o0, on = k.on, rows = w.slots * cb;
    int points = w.h.n * w.w.n;
    fg_real *v = scratch, *y = v + points * q[Q_PSV], *du = y + points * q[Q_PSY];
    image x = { a->x, g->h, g->w, g->ci }, dy = { a->dy, g->oh, g->ow, g->co };
    int64_t begin = w.tiles * k.group / q[Q_GROUPS_DW], end = w.tiles * (k.group + 1) / q[Q_GROUPS_DW];
    if (whole_vectors(cn) < cb) /* rows without a channel: never written again */
        for (int64_t i = 0; i < points * q[Q_PSV]; i++) v[i] = 0;
    for (int64_t t0 = begin; t0 < end; t0 += q[Q_BLOCK]) {
        tile_list tiles;
        list_tiles(&w, t0, min64(end, t0 + q[Q_BLOCK]), &tiles);
        for (int s = 0; s < w.slots; s++)
            windows_to_points(&w, &x, &tiles, c0, cn, fg_wino_slot_h(&w, s), fg_wino_slot_w(&w, s), v + s * cb, q[Q_PSV],
                              q[Q_LDV]);
        outputs_to_points(&w, &dy, &tiles, o0, on, y, q[Q_PSY]);
        for (int i = 0; i < w.h.n; i++)
            for (int j = 0; j < w.w.n; j++) {
                int point = i * w.w.n + j;
                tile_range used = tiles_using(&w, &tiles, i, j);
                if (used.begin == used.end && t0 > begin) continue; /* of nothing, the first sum is zeros */
                const fg_real *v_used = v + point * q[Q_PSV] + used.begin * q[Q_LDV];
                const fg_real *y_used = y + point * q[Q_PSY] + used.begin * NR;
                for (int s = 0, e; s < w.slots; s = e + 1) { /* neighbouring slots at once */
                    for (e = s; e < w.slots && uses(fg_wino_slot_h(&w, e), i) && uses(fg_wino_slot_w(&w, e), j); e++) {}
                    if (e == s) continue;
                    for (int64_t o = 0; o < on; o += NR)
                        mul_columns(v_used + s * cb, q[Q_LDV], y_used + o * tiles.n, used.end - used.begin, chain_of(&w),
                                    (e - s) * cb, du + point * q[Q_PSD] + (o / NR * rows + s * cb) * NR,
                                    min64(NR, whole_vectors(on - o)), t0 > begin);
                }
            }
    }
    points_to_weights(p, &w, &k, du, dw_target(p, a, k.group));
}

static void finish_wino_dw(const fg_conv_plan *p, const fg_conv_args *a, int chunk) {
    const fg_conv_geom *g = &p->g;
    int64_t size = (int64_t)g->kh * g->kw * g->ci * g->co, end = size * (chunk + 1) / p->finish_chunks;
    const fg_real *parts = a->partials;
    for (int64_t i = size * chunk / p->finish_chunks; i < end; i += ADDED) {
        int64_t n = min64(ADDED, end - i);
        double sum[ADDED] = { 0 }; /* groups are few: their sum need not add to the error */
        for (int64_t group = 0; group < p->priv[Q_GROUPS_DW]; group++)
            for (int64_t j = 0; j < n; j++) sum[j] += (double)parts[group * size + i + j];
        for (int64_t j = 0; j < n; j++) a->out[i + j] = (fg_real)sum[j];
    }
}
