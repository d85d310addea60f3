/* gemm_thin_body.h: matrix products too thin for register tiles, part of gemm_body.h. Nothing is packed where the operands
 * can be walked along their rows, for here memory is the limit, not arithmetic.
 *
 * RANK: at most 4 rows of C, or at most 8 steps of k. Up to 4 rows of a strip of C stay in the first cache while op(B)
 * goes by, 8 of its rows at a time, each a long stream:
 *
 *      C[4][strip] += x[4][8] y[8][strip]          x: A by single numbers, in any layout; y: rows of B
 *
 *   At most 4 columns with A transposed is the same with C and the roles of A and B turned over (`swapped`): rows of A are
 *   the streams, and the strip is spread over the columns of C at its end. Where y's rows are columns in memory, the few
 *   that there are (k < VL) are turned strip by strip.
 *
 * DOT: 1 to 4 columns (or rows, with B transposed) and long k: lanes along k, 4 x 4 dot products at a time. */

enum { RANK_ROWS = 4, RANK_KS = 8, STRIP = 1024, THIN_FLOATS = 1 << 16 };

/* ---------------------------------------------------------------- RANK */
typedef struct rank_args {
    const float *x, *y; /* x[i*sxi + k*sxk], y[k*ldy + j] */
    int64_t sxi, sxk, ldy;
    float *c; /* c[i*ldc + j] */
    int64_t ldc, cols;
    bool add;
    const float *bias; /* [cols] or NULL */
    fg_act act;
    float slope;
} rank_args;

/* nv vectors of columns from j on, the last one through the mask */
INLINE void rank_step(const rank_args *t, const vf x[RANK_ROWS][RANK_KS], int64_t j, vmask m, int rows, int ks, int nv,
                      bool part) {
    vf acc[RANK_ROWS][2];
    const float *y = t->y + j;
    float *c = t->c + j;
#define EACH_SUM(stmt) UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < nv; v++) stmt
    if (t->add) EACH_SUM(acc[i][v] = part ? v_load_part(c + i * t->ldc, m) : v_load(c + i * t->ldc + v * VL);)
    else EACH_SUM(acc[i][v] = v_zero();)
    UNROLL
    for (int k = 0; k < ks; k++) UNROLL
    for (int v = 0; v < nv; v++) {
        vf yv = part ? v_load_part(y + k * t->ldy, m) : v_load(y + k * t->ldy + v * VL);
        if (rows > 1) v_keep(yv);
        UNROLL
        for (int i = 0; i < rows; i++) acc[i][v] = v_fma(x[i][k], yv, acc[i][v]);
    }
    if (t->bias) UNROLL
    for (int v = 0; v < nv; v++) {
        vf b = part ? v_load_part(t->bias + j, m) : v_load(t->bias + j + v * VL);
        UNROLL
        for (int i = 0; i < rows; i++) acc[i][v] = v_add(acc[i][v], b);
    }
    if (t->act == FG_ACT_RELU) EACH_SUM(acc[i][v] = v_relu(acc[i][v]);)
    if (t->act == FG_ACT_LEAKY_RELU) EACH_SUM(acc[i][v] = v_leaky(acc[i][v], t->slope);)
    EACH_SUM({
        if (part) v_store_part(c + i * t->ldc, m, acc[i][v]);
        else v_store(c + i * t->ldc + v * VL, acc[i][v]);
    })
#undef EACH_SUM
}

/* `blocks` blocks of ks steps of k, after which t stands at the next */
INLINE void rank_blocks(rank_args *t, int64_t blocks, int rows, int ks) {
    for (; blocks > 0; blocks--, t->add = true) {
        vf x[RANK_ROWS][RANK_KS];
        UNROLL
        for (int i = 0; i < rows; i++) UNROLL
        for (int k = 0; k < ks; k++) x[i][k] = v_set1(t->x[i * t->sxi + k * t->sxk]);
        int64_t j = 0;
        for (; j + 2 * VL <= t->cols; j += 2 * VL) rank_step(t, x, j, v_mask(VL), rows, ks, 2, false);
        for (; j < t->cols; j += VL) rank_step(t, x, j, v_mask(t->cols - j), rows, ks, 1, true);
        t->x += t->sxk * ks, t->y += t->ldy * ks;
    }
}

typedef void (*rank_fn)(rank_args *t, int64_t blocks);
#define RANK(r)                                                                                                                  \
    static void rank_##r##_1(rank_args *t, int64_t blocks) { rank_blocks(t, blocks, r, 1); }                                     \
    static void rank_##r##_2(rank_args *t, int64_t blocks) { rank_blocks(t, blocks, r, 2); }                                     \
    static void rank_##r##_4(rank_args *t, int64_t blocks) { rank_blocks(t, blocks, r, 4); }                                     \
    static void rank_##r##_8(rank_args *t, int64_t blocks) { rank_blocks(t, blocks, r, 8); }
RANK(1)
RANK(2)
RANK(3)
RANK(4)
#define RANK_LIST(r)                                                                                                             \
    { rank_##r##_1, rank_##r##_2, rank_##r##_4, rank_##r##_8 }
static const rank_fn ranks[RANK_ROWS][4] = { RANK_LIST(1), RANK_LIST(2), RANK_LIST(3), RANK_LIST(4) };

/* C, or its transpose, as x y */
typedef struct rank_view {
    const float *x, *y;
    int64_t rows, cols, sxi, sxk, ldy;
    bool turn; /* y is [cols][k] in memory */
} rank_view;

static rank_view rank_view_of(const fg_gemm_args *a, bool swapped) {
    rank_view v = { .x = a->a, .y = a->b, .rows = a->m, .cols = a->n, .ldy = a->ldb, .turn = a->tb };
    v.sxi = a->ta ? 1 : a->lda, v.sxk = a->ta ? a->lda : 1;
    if (swapped) {
        v = (rank_view){ .x = a->b, .y = a->a, .rows = a->n, .cols = a->m, .ldy = a->lda, .turn = !a->ta };
        v.sxi = a->tb ? a->ldb : 1, v.sxk = a->tb ? 1 : a->ldb;
    }
    return v;
}

/* act(c + bias), or c times act' at the gate, on `rows` rows of `cols` numbers that follow one another in C: what the kernels
 * leave undone */
static void run_act(const fg_gemm_args *a, float *c, const float *bias, int64_t rows, int64_t cols) {
    const fg_kernels *k = fg_kernels_for(ISA_LEVEL);
    if (a->gate && a->act != FG_ACT_NONE)
        k->unary_grad[fg_act_unary(a->act)](c, a->gate + (c - a->c), c, (size_t)(rows * cols), a->slope, 0);
    else if (bias || a->act != FG_ACT_NONE) k->bias_act(c, bias, rows, cols, a->act, a->slope);
}
/* the same on rows i0..i1 of C */
static void rows_act(const fg_gemm_args *a, int64_t i0, int64_t i1, const float *bias) {
    if (a->ldc == a->n) run_act(a, a->c + i0 * a->n, bias, i1 - i0, a->n);
    else
        for (int64_t i = i0; i < i1; i++) run_act(a, a->c + i * a->ldc, bias, 1, a->n);
}
/* and on part of a row */
static void row_act(const fg_gemm_args *a, float *c, const float *bias, int64_t cols) { run_act(a, c, bias, 1, cols); }

/* `rows` rows of one strip of C, k steps of the sum; bias and activation with the last of them, when `whole` */
static void rank_strip(const fg_gemm_args *a, rank_args *t, int64_t rows, int64_t k, const float *bias, bool whole) {
    bool late = k == 0 || !fg_tile_does(a->act) || a->gate;
    if (k == 0 && !t->add)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < t->cols; j++) t->c[i * t->ldc + j] = 0;
    t->bias = NULL, t->act = FG_ACT_NONE;
    while (k > 0) {
        int step = k >= 8 ? 3 : k >= 4 ? 2 : k >= 2 ? 1 : 0;
        int64_t blocks = k > 8 ? (k - 1) >> step : 1; /* all but the last, then the last */
        k -= blocks << step;
        if (k == 0 && whole && !late) t->bias = bias, t->act = a->act;
        ranks[rows - 1][step](t, blocks);
    }
    if (whole && late)
        for (int64_t i = 0; i < rows; i++) row_act(a, t->c + i * t->ldc, bias, t->cols);
}

/* rows of a strip to columns of C; inline for each number of them, so that the compiler finds the shuffles */
INLINE void spread(float *restrict c, int64_t ldc, const float *restrict s, int64_t cols, int64_t rows, bool add) {
    for (int64_t e = 0; e < cols; e++, c += ldc)
        for (int64_t r = 0; r < rows; r++) c[r] = add ? c[r] + s[r * STRIP + e] : s[r * STRIP + e];
}
static void spread_rows(float *c, int64_t ldc, const float *s, int64_t cols, int64_t rows, bool add) {
    if (rows == 2 && ldc == 2 && !add) spread(c, 2, s, cols, 2, false);
    else if (rows == 3 && ldc == 3 && !add) spread(c, 3, s, cols, 3, false);
    else if (rows == 4 && ldc == 4 && !add) spread(c, 4, s, cols, 4, false);
    else spread(c, ldc, s, cols, rows, add);
}

static void rank_run(const fg_gemm_plan *p, const fg_gemm_args *a, float *scratch, int64_t cell, int64_t k0, int64_t k1,
                     bool whole) {
    const int64_t *q = p->priv;
    bool swapped = q[Q_SWAPPED];
    rank_view v = rank_view_of(a, swapped);
    int64_t gi = cell / q[Q_GN], gj = cell % q[Q_GN], groups = ceil_div(v.rows, RANK_ROWS);
    int64_t i0 = groups * gi / q[Q_GM] * RANK_ROWS, i1 = min64(v.rows, groups * (gi + 1) / q[Q_GM] * RANK_ROWS);
    int64_t j0 = v.cols * gj / q[Q_GN], j1 = v.cols * (gj + 1) / q[Q_GN];
    float *turned = scratch + (swapped ? RANK_ROWS * STRIP : 0);
    int64_t strip = ceil_div(ceil_div(j1 - j0, ceil_div(j1 - j0, STRIP)), 2 * VL) * 2 * VL; /* equally wide, in whole steps */
    for (int64_t j = j0; j < j1; j += strip) {
        rank_args t = { .sxi = v.sxi, .sxk = v.sxk, .ldy = v.ldy, .cols = min64(strip, j1 - j), .slope = a->slope };
        const float *y = v.y + k0 * v.ldy + j;
        if (v.turn) {
            for (int64_t k = 0; k < a->k; k++)
                for (int64_t c = 0; c < t.cols; c++) turned[k * STRIP + c] = v.y[(j + c) * v.ldy + k];
            y = turned, t.ldy = STRIP;
        }
        for (int64_t i = i0; i < i1; i += RANK_ROWS) {
            int64_t rows = min64(RANK_ROWS, i1 - i);
            t.x = v.x + i * v.sxi + k0 * v.sxk, t.y = y;
            if (!swapped) {
                t.c = a->c + i * a->ldc + j, t.ldc = a->ldc;
                t.add = a->accumulate;
                rank_strip(a, &t, rows, k1 - k0, a->bias ? a->bias + j : NULL, whole);
                continue;
            }
            bool spread = !(rows == 1 && a->ldc == 1);
            t.c = spread ? scratch : a->c + j, t.ldc = STRIP, t.add = !spread && a->accumulate;
            rank_strip(a, &t, rows, k1 - k0, NULL, false);
            float *c = a->c + j * a->ldc + i;
            if (spread) spread_rows(c, a->ldc, scratch, t.cols, rows, a->accumulate);
        }
        if (swapped && whole) rows_act(a, j, j + t.cols, a->bias);
    }
}

/* ---------------------------------------------------------------- DOT */
/* The thin operand, stored across its vectors: d[cols][k] = s[k][cols]. Inline for each number of columns, so that the
 * compiler finds the shuffles. */
INLINE void dot_turn(const float *restrict s, int64_t lds, int64_t k, int cols, float *restrict d) {
    for (int64_t e = 0; e < k; e++)
        for (int c = 0; c < cols; c++) d[c * k + e] = s[e * lds + c];
}

static void dot_pack(const fg_gemm_plan *p, const fg_gemm_args *a, float *d) {
    const float *s = p->priv[Q_SWAPPED] ? a->a : a->b;
    int64_t lds = p->priv[Q_SWAPPED] ? a->lda : a->ldb, cols = p->priv[Q_SWAPPED] ? a->m : a->n;
    if (cols == 1) dot_turn(s, lds, a->k, 1, d);
    else if (cols == 2 && lds == 2) dot_turn(s, 2, a->k, 2, d);
    else if (cols == 2) dot_turn(s, lds, a->k, 2, d);
    else if (cols == 3) dot_turn(s, lds, a->k, 3, d);
    else dot_turn(s, lds, a->k, 4, d);
}

static void dot_run(const fg_gemm_plan *p, const fg_gemm_args *a, int64_t cell, int64_t k0, int64_t k1, bool whole) {
    bool over_rows = !p->priv[Q_SWAPPED], turned = p->packed > 0;
    int64_t len = over_rows ? a->m : a->n, all = ceil_div(len, FG_DOT_ROWS);
    int64_t r0 = all * cell / p->priv[Q_GM] * FG_DOT_ROWS, r1 = min64(len, all * (cell + 1) / p->priv[Q_GM] * FG_DOT_ROWS);
    const float *x = over_rows ? a->a : a->b, *y = turned ? a->packed : over_rows ? a->b : a->a;
    int64_t sx = over_rows ? a->lda : a->ldb, sy = turned ? a->k : over_rows ? a->ldb : a->lda;
    int64_t cr = over_rows ? a->ldc : 1, cc = over_rows ? 1 : a->ldc;
    int cols = (int)(over_rows ? a->n : a->m);
    int64_t groups = (r1 - r0) / FG_DOT_ROWS;
    DOT_GROUPS[cols - 1](x + r0 * sx + k0, sx, y + k0, sy, k1 - k0, groups, a->c + r0 * cr, cr, cc, a->accumulate);
    for (int64_t r = r0 + groups * FG_DOT_ROWS; r < r1; r += FG_DOT_ROWS) {
        int rows = (int)min64(FG_DOT_ROWS, r1 - r);
        float out[FG_DOT_ROWS][FG_DOT_COLS];
        fg_run run = { x + r * sx + k0, y + k0, k1 - k0 };
        DOTS[rows - 1][cols - 1](&run, 1, sx, sy, out);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++) {
                float *c = a->c + (r + i) * cr + j * cc;
                *c = a->accumulate ? *c + out[i][j] : out[i][j];
            }
    }
    if (!whole) return;
    if (over_rows) rows_act(a, r0, r1, a->bias);
    else
        for (int64_t i = 0; i < a->m; i++) row_act(a, a->c + i * a->ldc + r0, a->bias ? a->bias + r0 : NULL, r1 - r0);
}

/* ---------------------------------------------------------------- plan */
/* False when the product is for tiles. Chunks count the floats that pass, since these kernels run at the speed of memory. */
static bool thin_plan(const fg_gemm_args *a, fg_gemm_plan *p) {
    int64_t *q = p->priv, m = a->m, n = a->n, k = a->k;
    bool few_rows = m <= RANK_ROWS, few_cols = n <= RANK_ROWS;
    bool dot = k >= VL && ((few_cols && !a->ta) || (few_rows && a->tb));
    bool rank = (few_rows && !a->tb) || (few_cols && a->ta) || k <= RANK_KS || ((few_rows || few_cols) && k < VL);
    if (!dot && !rank) return false;
    q[Q_ALGO] = dot ? G_DOT : G_RANK;

    bool swapped = dot ? !(few_cols && !a->ta) : !(few_rows && !a->tb) && ((few_cols && (a->ta || n < m)) || (n < VL && n < m));
    int64_t rows = swapped ? n : m, cols = swapped ? m : n; /* RANK's strips lie along cols; DOT's vectors number rows + cols */
    int64_t floats = dot ? m * k + n * k : cols * max64(rows, k);
    int64_t want = floats < 2 * THIN_FLOATS ? 1 : min64(WANT_CHUNKS, floats / THIN_FLOATS), gm, gn = 1;
    if (dot) {
        gm = min64(want, ceil_div(rows, FG_DOT_ROWS));
        bool turned = swapped ? a->ta && !(m == 1 && a->lda == 1) : !a->tb && !(n == 1 && a->ldb == 1);
        p->pack_chunks = turned;
        p->packed = turned ? (size_t)(k * (swapped ? m : n)) * sizeof(float) : 0;
    } else {
        bool turn = swapped ? !a->ta : a->tb;
        gn = max64(1, min64(want, cols / 512));
        gm = min64(ceil_div(want, gn), ceil_div(rows, RANK_ROWS));
        p->scratch = (size_t)((swapped ? RANK_ROWS : 0) + (turn ? k : 0)) * STRIP * sizeof(float);
    }
    q[Q_SWAPPED] = swapped, q[Q_GM] = gm, q[Q_GN] = gn;
    /* Two parts of a sum of 256 steps pay: over the rows of a batch, as of a layer's few weights, each thread then adds up rows
     * that are its own in other products. More of them pay from 512 steps each. */
    int64_t most = dot ? k / 1024 : max64(k / 512, min64(2, k / 128));
    q[Q_PARTS] = max64(1, min64(want / (gm * gn), most));
    p->chunks = (int)(gm * gn * q[Q_PARTS]);
    return true;
}
