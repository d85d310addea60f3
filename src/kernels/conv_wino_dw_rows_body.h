/* conv_wino_dw_rows_body.h: DW of 5x5 kernels with stride 1 on maps of few rows, included by conv_wino_<isa>.c after
 * conv_wino_dw_body.h, which has the DW of all other forms.
 *
 * On such a map half of each window in two dimensions is padding, whose products are computed in vain and whose rounding is not.
 * Here points go along the width alone, eight for four outputs. Along the height kernel row a meets row i of dy and row
 * i + a - pad of x, where both exist:
 *
 *      dU[a][point][panel][ci][NR]  +=  sum over i of  V[point][row i + a - pad][tile][ci]^T  Y[point][row i][panel][tile][NR]
 *
 *      rows of a 4x4 map, pad 2     x 0 1 2 3          14 pairs of rows times 8 points: 112 products, where direct takes 196
 *                          a = 0    dy    0 1 ..
 *                          a = 2    dy 0 1 2 3
 *
 * A tile is the same columns of a row in every image. A chunk owns a block of ci times a block of co; images go by as many at
 * a time as make BLOCK_COLUMNS tiles: sums are as long as all rows of them, so that dU is seldom visited, and the V and Y of a
 * point stay in the second-level cache. */

enum { MOST_CHANNELS = 64, FEWEST_CHANNELS = 32, BLOCK_COLUMNS = 64, GROUP_COLUMNS = 64 };
enum { Q_PSX = Q_BLOCK + 1, Q_RSX, Q_RSY };

static void plan_dw_rows(const fg_conv_geom *g, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = *g, .dir = FG_CONV_DW, .algo = ALGO_ROWS };
    fg_wino_geom w;
    fg_wino_geom_of(g, FG_CONV_DW, &w);
    int64_t *q = p->priv, size = (int64_t)g->kh * g->kw * g->ci * g->co;
    int64_t columns = MOST_CHANNELS, rows = MOST_CHANNELS;
    if (ceil_div(g->ci, rows) * ceil_div(g->co, columns) < CHUNKS_LEAST) columns = FEWEST_CHANNELS;
    if (ceil_div(g->ci, rows) * ceil_div(g->co, columns) < CHUNKS_LEAST) rows = FEWEST_CHANNELS;
    plan_blocks(g, p, rows, columns);
    q[Q_BLOCK] = min64(g->n, max64(1, BLOCK_COLUMNS / w.w.tiles)); /* images */
    int64_t tiles = q[Q_BLOCK] * w.w.tiles, cells = q[Q_CI_BLOCKS] * q[Q_CO_BLOCKS];
    q[Q_GROUPS_DW] = min64(ceil_div(CHUNKS_LEAST, cells), ceil_div(w.tiles, GROUP_COLUMNS));
    q[Q_GROUPS_DW] = max64(1, min64(min64(g->n, q[Q_GROUPS_DW]), PARTIAL_BYTES / (size * (int64_t)sizeof(fg_real))));
    q[Q_LDV] = odd_lines(q[Q_CB]);
    q[Q_RSX] = tiles * q[Q_LDV], q[Q_RSY] = tiles * q[Q_COB];
    q[Q_PSX] = odd_lines(g->h * q[Q_RSX]), q[Q_PSY] = odd_lines(g->oh * q[Q_RSY]);
    q[Q_PSD] = odd_lines(q[Q_CB] * q[Q_COB]);
    p->chunks = (int)(cells * q[Q_GROUPS_DW]);
    p->scratch = (size_t)(w.w.n * (q[Q_PSX] + q[Q_PSY] + g->kh * q[Q_PSD])) * sizeof(fg_real);
    plan_groups(p, size);
}

/* Rows of maps, images n0..n1, channels c0..c0+cn, to out[point][row][tile][...]: points `ps`, rows `rs`, tiles `ldt`, panels of
 * NR channels `ldp` apart. Whole vectors are written, zeros beyond the last channel. */
static void rows_to_points(const fg_wino_axis *axis, const reader *r, const image *src, int64_t n0, int64_t n1, int64_t c0,
                           int64_t cn, fg_real *out, int64_t ps, int64_t rs, int64_t ldt, int64_t ldp) {
    fg_real buf[FG_WINO_POINTS * NR];
    for (int64_t t = 0; t < (n1 - n0) * axis->tiles; t++) {
        int64_t n = n0 + t / axis->tiles, x = r->at + r->tile * (t % axis->tiles);
        span cols = inside_of(x, 1, 0, r->end[0], src->w);
        bool inside = cols.first == 0 && cols.end == r->end[0];
        if (!inside) clear(buf, FG_WINO_POINTS * NR / W);
        for (int64_t row = 0; row < src->h; row++)
            for (int64_t c = 0; c < cn; c += NR) {
                const fg_real *from = src->p + ((n * src->h + row) * src->w + x) * src->c + c0 + c;
                int64_t step = src->c, width = min64(NR, cn - c);
                if (!inside || width % W) {
                    for (int j = cols.first; j < cols.end; j++)
                        for (int64_t v = 0; v < width; v += W)
                            v_store(buf + j * NR + v, v_loadw(from + j * src->c + v, (size_t)(width - v)));
                    from = buf, step = NR;
                }
                r->pass[0](from, step, W, out + row * rs + t * ldt + c / NR * ldp, ps, W, (int)ceil_div(width, W));
            }
    }
}

/* du[a][point][panel][ci][NR] of a block to dw[kh][kw][ci][co] */
static void rows_to_weights(const fg_conv_plan *p, const fg_wino_axis *axis, const dw_block *k, const fg_real *du, fg_real *dw) {
    const fg_conv_geom *g = &p->g;
    int64_t ps = p->priv[Q_PSD], tap = g->ci * g->co;
    fg_real taps[5 * W];
    pass_fn back = weight_pass(axis, &axis->phase[0], true);
    for (int64_t a = 0; a < g->kh; a++, du += axis->n * ps, dw += g->kw * tap)
        for (int64_t c = 0; c < k->cn; c++)
            for (int64_t o = 0; o < k->on; o += W) {
                const fg_real *from = du + (o / NR * k->cb + c) * NR + o % NR;
                fg_real *to = dw + (k->c0 + c) * g->co + k->o0 + o;
                if (k->on - o >= W) {
                    back(from, ps, 0, to, tap, 0, 1);
                    continue;
                }
                back(from, ps, 0, taps, W, 0, 1);
                for (int64_t b = 0; b < g->kw; b++) v_storew(to + b * tap, v_load(taps + b * W), (size_t)(k->on - o));
            }
}

static void run_dw_rows(const fg_conv_plan *p, const fg_conv_args *args, int chunk, fg_real *scratch) {
    const fg_conv_geom *g = &p->g;
    const int64_t *q = p->priv;
    fg_wino_geom w;
    fg_wino_geom_of(g, FG_CONV_DW, &w);
    dw_block k = block_of(p, chunk);
    reader x_reader = window_reader(&w.w, &w.w.phase[0]), y_reader = output_reader(&w.w);
    image x = { args->x, g->h, g->w, g->ci }, dy = { args->dy, g->oh, g->ow, g->co };
    fg_real *v = scratch, *y = v + w.w.n * q[Q_PSX], *du = y + w.w.n * q[Q_PSY];
    if (whole_vectors(k.cn) < k.cb) /* rows of dU without a channel: never written again */
        for (int64_t i = 0; i < w.w.n * q[Q_PSX]; i++) v[i] = 0;
    int64_t begin = g->n * k.group / q[Q_GROUPS_DW], end = g->n * (k.group + 1) / q[Q_GROUPS_DW];
    for (int64_t n0 = begin, n1; n0 < end; n0 = n1) {
        n1 = min64(end, n0 + q[Q_BLOCK]);
        int64_t tiles = (n1 - n0) * w.w.tiles;
        rows_to_points(&w.w, &x_reader, &x, n0, n1, k.c0, k.cn, v, q[Q_PSX], q[Q_RSX], q[Q_LDV], NR);
        rows_to_points(&w.w, &y_reader, &dy, n0, n1, k.o0, k.on, y, q[Q_PSY], q[Q_RSY], NR, tiles * NR);
        for (int point = 0; point < w.w.n; point++)
            for (int64_t o = 0; o < k.on; o += NR)
                for (int64_t a = 0; a < g->kh; a++) {
                    product_run runs[FG_WINO_FEW_ROWS];
                    int n = 0;
                    for (int64_t i = 0, row = a - g->pt; i < g->oh; i++, row++)
                        if (row >= 0 && row < g->h)
                            runs[n++] = (product_run){ v + point * q[Q_PSX] + row * q[Q_RSX],
                                                       y + point * q[Q_PSY] + i * q[Q_RSY] + o * tiles, tiles, true };
                    mul_column_runs(runs, n, q[Q_LDV], k.cb, du + (a * w.w.n + point) * q[Q_PSD] + o * k.cb,
                                    min64(NR, whole_vectors(k.on - o)), n0 > begin);
                }
    }
    rows_to_weights(p, &w.w, &k, du, dw_target(p, args, k.group));
}

static bool pays(const fg_conv_geom *g, fg_conv_dir dir) { return fg_wino_pays(g, dir, ISA_LEVEL); }

static void plan_wino(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p) {
    fg_wino_geom w;
    if (dir == FG_CONV_DW && fg_wino_geom_of(g, dir, &w) && w.by_rows) plan_dw_rows(g, p);
    else if (dir == FG_CONV_DW) plan_wino_dw(g, p);
    else if (!plan_fresh(g, dir, p)) plan_packed(g, dir, p);
}
static fg_real *scratch_of(const fg_conv_plan *p, const fg_conv_args *a, int worker) {
    return (fg_real *)((char *)a->scratch + (size_t)worker * p->scratch);
}
static void run_wino(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    if (p->algo == ALGO_ROWS) run_dw_rows(p, a, chunk, scratch_of(p, a, worker));
    else if (p->dir == FG_CONV_DW) run_wino_dw(p, a, chunk, scratch_of(p, a, worker));
    else if (p->algo == ALGO_FRESH) run_fresh(p, a, chunk);
    else run_packed(p, a, chunk, scratch_of(p, a, worker));
}
static void finish_wino(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    if (p->dir == FG_CONV_DW) finish_wino_dw(p, a, chunk);
    else finish_fresh(p, a, chunk, scratch_of(p, a, worker));
}

static const fg_conv_kernel winograd = { .name = "winograd",
                                         .isa = ISA_LEVEL,
                                         .needs = FG_CONV_FAST,
                                         .fits = pays,
                                         .plan = plan_wino,
                                         .pack = pack_wino,
                                         .run = run_wino,
                                         .finish = finish_wino,
                                         .gates = true };
