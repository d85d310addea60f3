/* tile_body.h: the micro-kernels, one function per (kind of A, vectors a row, rows), included by tile_<isa>.c after
 * its vector header. product.h draws the tile.
 *
 * Everything is one inline function whose mr, nv and kind are constants at each instance, so that the accumulators become
 * registers and the loops over them vanish. Per k: nv loads of B, mr broadcasts of A, mr*nv multiply-adds; with 14 x 2
 * (AVX-512) or 6 x 2 (AVX2) there are enough independent sums to hide the latency of the multiply-add.
 * The sums start at zero and meet C once at the end, so long reductions cut into runs and blocks are summed in two levels. */

INLINE bool of_columns(int kind) { return kind == FG_TILE_COLS || kind == FG_TILE_TAKEN; }

/* One step of k: acc[i][v] += a(i) * b[v]. Rows of kind ROWS are reached from every third row's pointer, which keeps the
 * number of address registers at a third of the rows. */
INLINE void tile_step(vf acc[MR][2], const float *const *q, int64_t sa, int64_t k, const vf *bv, int kind, int mr, int nv) {
    const bool cols = of_columns(kind);
    UNROLL
    for (int i = 0; i < mr; i++) {
        vf av = v_set1(kind == FG_TILE_PANEL ? q[0][i * A_ROW + k] : cols ? q[0][i] : q[i / 3][(i % 3) * sa + k]);
        UNROLL
        for (int v = 0; v < nv; v++) acc[i][v] = v_fma(av, bv[v], acc[i][v]);
    }
}

/* Rows of a transposed A that are fetched before they are taken: a few, since rows some KB apart have few places in the cache. */
enum { TAKE_AHEAD = 12 };

INLINE void tile_runs(vf acc[MR][2], const fg_tile_args *t, bool whole, int kind, int mr, int nv, bool copy) {
    int64_t sa = t->sa, ldb = t->ldb;
    vmask last = v_mask(t->cols - (nv - 1) * VL);
    const bool cols = of_columns(kind);
    float *d = t->copy, *taken = t->taken;
    for (const fg_run *r = t->runs, *end = r + t->nruns; r < end; r++) {
        const float *b = r->b + t->boff, *q[(MR + 2) / 3];
        const char *ahead = (const char *)(t->next ? t->next : b + t->ahead);
        const int64_t step = t->next ? t->next_step : ldb * 4, gap = t->next ? t->next_gap : 64;
        UNROLL
        for (int g = 0; g < (mr + 2) / 3; g++) q[g] = r->a + t->aoff + 3 * g * sa;
        for (int64_t k = 0; k < r->len; k++, b += ldb, ahead += step) {
            vf bv[2];
            for (int v = 0; v < nv; v += 16 / VL) v_fetch2(ahead + v / (16 / VL) * gap);
            if (nv == 2) bv[0] = v_load(b);
            bv[nv - 1] = whole ? v_load(b + (nv - 1) * VL) : v_load_part(b + (nv - 1) * VL, last);
            if (copy) {
                UNROLL
                for (int v = 0; v < nv; v++) v_store(d + v * VL, bv[v]);
                d += NR;
            }
            if (kind == FG_TILE_TAKEN) {
                v_fetch1(q[0] + TAKE_AHEAD * sa);
                v_fetch1(q[0] + TAKE_AHEAD * sa + mr - 1);
                v_store(taken, v_load_part(q[0], v_mask(mr)));
                taken += AP;
            }
            tile_step(acc, q, sa, cols ? 0 : k, bv, kind, mr, nv);
            if (cols) q[0] += sa;
        }
    }
}

/* f(i, v) for every accumulator */
#define EACH(stmt) UNROLL for (int i = 0; i < mr; i++) UNROLL for (int v = 0; v < nv; v++) stmt

INLINE void tile_store(vf acc[MR][2], const fg_tile_args *t, bool whole, int mr, int nv) {
    vmask last = v_mask(t->cols - (nv - 1) * VL);
#define PART (v == nv - 1 && !whole)
    if (t->part) EACH(acc[i][v] = v_add(v_load(t->part + (i * nv + v) * VL), acc[i][v]);)
    if (t->add)
        EACH({
            const float *c = t->c + t->crow[i] + v * VL;
            acc[i][v] = v_add(PART ? v_load_part(c, last) : v_load(c), acc[i][v]);
        })
    if (t->bias) {
        vf bias[2];
        UNROLL for (int v = 0; v < nv; v++) bias[v] = PART ? v_load_part(t->bias + v * VL, last) : v_load(t->bias + v * VL);
        EACH(acc[i][v] = v_add(acc[i][v], bias[v]);)
    }
    if (t->gate) {
        bool leaky = t->act == FG_ACT_LEAKY_RELU;
        EACH({
            const float *g = t->gate + t->crow[i] + v * VL;
            vf y = PART ? v_load_part(g, last) : v_load(g);
            acc[i][v] = leaky ? v_gate_leaky(acc[i][v], y, t->slope) : v_gate_relu(acc[i][v], y);
        })
    } else if (t->act == FG_ACT_RELU) {
        EACH(acc[i][v] = v_relu(acc[i][v]);)
    } else if (t->act == FG_ACT_LEAKY_RELU) {
        EACH(acc[i][v] = v_leaky(acc[i][v], t->slope);)
    }
    EACH({
        float *c = t->c + t->crow[i] + v * VL;
        if (PART) v_store_part(c, last, acc[i][v]);
        else v_store(c, acc[i][v]);
    })
#undef PART
}

INLINE void tile(const fg_tile_args *t, int kind, int mr, int nv, bool copy) {
    vf acc[MR][2];
    EACH(acc[i][v] = v_zero();)
    if (t->fetch) {
        UNROLL
        for (int i = 0; i < mr; i++)
            for (int v = 0; v < nv; v += 16 / VL) v_fetchw(t->c + t->crow[i] + v * VL);
        if (t->gate) UNROLL
        for (int i = 0; i < mr; i++)
            for (int v = 0; v < nv; v += 16 / VL) v_fetch1(t->gate + t->crow[i] + v * VL);
    }

    if (t->cols == nv * VL) {
        tile_runs(acc, t, true, kind, mr, nv, copy);
        tile_store(acc, t, true, mr, nv);
    } else {
        tile_runs(acc, t, false, kind, mr, nv, copy);
        tile_store(acc, t, false, mr, nv);
    }
}

#define TILE_OF(name, kind, mr, copy)                                                                                            \
    static void name##_##mr##_1(const fg_tile_args *t) { tile(t, kind, mr, 1, copy); }                                           \
    static void name##_##mr##_2(const fg_tile_args *t) { tile(t, kind, mr, 2, copy); }
#define TILE(mr)                                                                                                                 \
    TILE_OF(panel, FG_TILE_PANEL, mr, false)                                                                                     \
    TILE_OF(rows, FG_TILE_ROWS, mr, false) TILE_OF(cols, FG_TILE_COLS, mr, false) TILE_OF(taken, FG_TILE_TAKEN, mr, false)
#define COPYING_TILE(mr) TILE_OF(panel_copy, FG_TILE_PANEL, mr, true) TILE_OF(cols_copy, FG_TILE_COLS, mr, true)

/* rows x cols dot products along k; the last lanes of a run are loaded by mask, never past its end. Up to four sums take
 * two accumulators each, for k even and odd in vectors, or the latency of the multiply-add would show. */
INLINE void dot(const fg_run *r, int64_t nruns, int64_t sa, int64_t sb, float out[FG_DOT_ROWS][FG_DOT_COLS], int rows, int cols) {
    const int sets = rows * cols <= 4 ? 2 : 1;
    vf acc[2][FG_DOT_ROWS][FG_DOT_COLS];
#define EACH_SUM(stmt) UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < cols; j++) stmt
    EACH_SUM(acc[0][i][j] = acc[1][i][j] = v_zero();)
    for (const fg_run *end = r + nruns; r < end; r++) {
        const float *a = r->a, *b = r->b;
        int64_t k = 0;
        for (; k + sets * VL <= r->len; k += sets * VL) UNROLL
        for (int s = 0; s < sets; s++) {
            vf bv[FG_DOT_COLS];
            UNROLL
            for (int j = 0; j < cols; j++) {
                bv[j] = v_load(b + j * sb + k + s * VL);
                if (rows > 1) v_keep(bv[j]);
            }
            UNROLL
            for (int i = 0; i < rows; i++) {
                vf av = v_load(a + i * sa + k + s * VL);
                if (cols > 1) v_keep(av);
                UNROLL
                for (int j = 0; j < cols; j++) acc[s][i][j] = v_fma(av, bv[j], acc[s][i][j]);
            }
        }
        for (; k < r->len; k += VL) {
            vmask m = v_mask(r->len - k);
            EACH_SUM(acc[0][i][j] = v_fma(v_load_part(a + i * sa + k, m), v_load_part(b + j * sb + k, m), acc[0][i][j]);)
        }
    }
    if (sets == 2) EACH_SUM(acc[0][i][j] = v_add(acc[0][i][j], acc[1][i][j]);)
    UNROLL
    for (int j = 0; j < cols; j++) {
        float sum[4];
        v_sum4(acc[0][0][j], acc[0][rows > 1][j], acc[0][rows > 2 ? 2 : 0][j], acc[0][rows > 3 ? 3 : 0][j], sum);
        UNROLL
        for (int i = 0; i < rows; i++) out[i][j] = sum[i];
    }
#undef EACH_SUM
}

#define DOT(r, c)                                                                                                                \
    static void dot_##r##_##c(const fg_run *runs, int64_t n, int64_t sa, int64_t sb, float out[FG_DOT_ROWS][FG_DOT_COLS]) {      \
        dot(runs, n, sa, sb, out, r, c);                                                                                         \
    }
#define DOT_ROW(r) DOT(r, 1) DOT(r, 2) DOT(r, 3) DOT(r, 4)
DOT_ROW(1)
DOT_ROW(2)
DOT_ROW(3)
DOT_ROW(4)
#define DOT_LIST(r)                                                                                                              \
    { dot_##r##_1, dot_##r##_2, dot_##r##_3, dot_##r##_4 }
const fg_dot_fn DOTS[FG_DOT_ROWS][FG_DOT_COLS] = { DOT_LIST(1), DOT_LIST(2), DOT_LIST(3), DOT_LIST(4) };

/* Rows FG_DOT_ROWS at a time: c[r*cr + j*cc] = (or +=) the dot product of row r and column j. One function for all groups,
 * since a call for each would show. */
INLINE void dot_groups(const float *x, int64_t sx, const float *y, int64_t sy, int64_t k, int64_t groups, float *c, int64_t cr,
                       int64_t cc, bool add, int cols) {
    for (; groups > 0; groups--, x += FG_DOT_ROWS * sx, c += FG_DOT_ROWS * cr) {
        fg_run run = { x, y, k };
        float out[FG_DOT_ROWS][FG_DOT_COLS];
        dot(&run, 1, sx, sy, out, FG_DOT_ROWS, cols);
        if (add) UNROLL
        for (int i = 0; i < FG_DOT_ROWS; i++) UNROLL
        for (int j = 0; j < cols; j++) out[i][j] += c[i * cr + j * cc];
        UNROLL
        for (int i = 0; i < FG_DOT_ROWS; i++) UNROLL
        for (int j = 0; j < cols; j++) c[i * cr + j * cc] = out[i][j];
    }
}
#define DOT_GROUPS_OF(cols)                                                                                                      \
    static void dot_groups_##cols(const float *x, int64_t sx, const float *y, int64_t sy, int64_t k, int64_t groups, float *c,   \
                                  int64_t cr, int64_t cc, bool add) {                                                            \
        dot_groups(x, sx, y, sy, k, groups, c, cr, cc, add, cols);                                                               \
    }
DOT_GROUPS_OF(1)
DOT_GROUPS_OF(2)
DOT_GROUPS_OF(3)
DOT_GROUPS_OF(4)
const fg_dot_groups_fn DOT_GROUPS[FG_DOT_COLS] = { dot_groups_1, dot_groups_2, dot_groups_3, dot_groups_4 };
