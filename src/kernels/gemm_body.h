/* gemm_body.h: C = act(op(A) op(B) + bias) out of register tiles, included by gemm_<isa>.c after its vector header.
 *
 *                n: panels of NR columns               C is cut into a grid of gm x gn chunks, each a range of tiles
 *           +----+----+----+----+----+                 (mr <= MR rows, cut evenly so that no tile is a sliver) times a
 *   m:      |         |         |    |                 range of panels. Inside a chunk k advances in blocks of kc; a
 *   tiles   |  chunk  |         |    | gm              tile's rows of A, where they lie or copied to a panel, stay near
 *   of mr   +---------+---------+----+                 while the panels of B stream past them, out of the second cache;
 *   rows    |         |         |    |                 the next tile's rows are fetched meanwhile.
 *           +---------+---------+----+
 *                       gn                             When C is small and k long, k itself is cut into parts, each with a
 *                                                      C of its own in shared memory, summed in order by gemm_finish.
 *
 * Chunks are numbered so that two threads get the upper and the lower half of C's rows (place_of), as all that works on whole
 * rows does: layer after layer a core then reads and writes its own rows. A core that writes a line which another has read
 * since pays 7 ns for it where both share a third cache, 28 ns where they do not (measured on Zen 4).
 *
 * How B is met depends on shape alone:
 *   DIRECT  as it is, by masked rows, while the same rows of the next panel are fetched to the second cache: a row of a
 *           panel takes 12 (AVX2) to 28 (AVX-512) multiply-adds, time enough for that cache, so packing would be pure loss
 *   LOCAL   packed block by block inside each chunk; what is not transposed is copied by the first tile on its way
 *   SHARED  packed once by gemm_pack, [panel][k][NR], zeros beyond n: read by several chunks
 *   RANK, DOT  products too thin for tiles: gemm_thin_body.h
 * Rows of B a multiple of 4 KB apart fall on one set of the first cache, so those are packed where many tiles read them. Rows of
 * 2 KB, of which a thread reads half, fill all ways of half the second cache's sets with 512 steps of k: packed for large m (the
 * rest of a step makes room: alone such a product gains nothing, within a step 5 to 7%).
 * Where B is transposed and much larger than A, the tiles compute C's transpose, op(B)' op(A)': B's rows are then taken as
 * they are, only A is turned, and each finished tile is turned on its way to C. The rows of A are never read beyond m, k. */

#include "pack_body.h"

enum { G_DIRECT = 0, G_LOCAL, G_SHARED, G_DOT, G_RANK };
enum { Q_ALGO, Q_KC, Q_TILES, Q_PANELS, Q_GM, Q_GN, Q_PARTS, Q_BAND, Q_SUMS, Q_SWAPPED, Q_TAIL };
/* tiles of a transposed A that are fetched together; floats of the copy of a tile's rows */
enum { A_TILES = 112 / MR, A_PANEL = KC * AP };
_Static_assert(A_PANEL >= MR * A_ROW, "rows fit where columns do");
/* Below ONE_CHUNK multiply-adds (10 to 50 us) a product stays on the calling thread. Larger ones become about WANT_CHUNKS
 * pieces, which two, four or eight threads share evenly, of not less than CHUNK_MACS; very large ones up to MAX_CHUNKS. */
enum { ONE_CHUNK = 1 << 20, CHUNK_MACS = 1 << 19, LARGE_CHUNK = 1 << 26, WANT_CHUNKS = 8, MAX_CHUNKS = 32, TAIL = 4 };
enum { B_COLUMNS = 256, CHUNK_ROWS = 56, SUM_ROWS = 256, B_SMALL = 32768, PACK_FLOATS = 1 << 13, PACK_COLUMNS = 128 };

#include "gemm_thin_body.h"

/* gm x gn chunks for a team. Columns as many as a block in the second cache holds, so that copies of A are few; then rows
 * are halved while a chunk's tiles repay B's way into that cache, then columns; then k in parts. */
static void plan_grid(fg_gemm_plan *p, const fg_gemm_args *a) {
    double macs = (double)a->m * (double)a->n * (double)a->k;
    int64_t tiles = p->priv[Q_TILES], panels = p->priv[Q_PANELS];
    int64_t gm = 1, gn = ceil_div(panels * NR, B_COLUMNS), parts = 1;
    int64_t want =
        max64(2, max64(min64(WANT_CHUNKS, (int64_t)(macs / CHUNK_MACS)), min64(MAX_CHUNKS, (int64_t)(macs / LARGE_CHUNK))));
    gn += gn > 1 && gn % 2; /* an even number for two threads */
    if (macs < ONE_CHUNK) gn = want = 1;
    while (gm * gn < want) {
        if (a->m >= 2 * CHUNK_ROWS * gm) gm *= 2;
        else if (a->n >= 256 * gn) gn *= 2;
        else if (tiles % (2 * gm) && panels % (2 * gn) == 0 && panels >= 4 * gn) gn *= 2; /* equal chunks, which rows are not */
        else if (tiles >= 4 * gm) gm *= 2;
        else break;
    }
    if (gm * gn < want && a->k >= 1024) {
        parts = min64(want / (gm * gn), a->k / 512);
        parts = max64(1, min64(parts, ((int64_t)32 << 20) / 4 / (a->m * a->n)));
    }
    if (gm > 1 && a->m >= (tiles + 1) * COPY_MR) p->priv[Q_TILES] += tiles % 2; /* equal halves */
    p->priv[Q_GM] = gm, p->priv[Q_GN] = gn, p->priv[Q_PARTS] = parts;
}

/* room for each part's C */
static void plan_parts(fg_gemm_plan *p, const fg_gemm_args *a) {
    int64_t floats = p->priv[Q_PARTS] * a->m * a->n;
    p->shared = (size_t)floats * sizeof(float);
    p->finish_chunks = 1; /* C is small, or it would have been cut instead */
}

/* The product of which the tiles are: C, or where B is transposed and A the smaller to turn (or turned already), its
 * transpose op(B)' op(A)'. C itself and bias stay as they are. */
static fg_gemm_args tile_view(const fg_gemm_args *args, bool swapped) {
    fg_gemm_args a = *args;
    if (!swapped) return a;
    a.m = args->n, a.n = args->m;
    a.a = args->b, a.lda = args->ldb, a.ta = !args->tb;
    a.b = args->a, a.ldb = args->lda, a.tb = !args->ta;
    return a;
}

static void gemm_plan(const fg_gemm_args *args, fg_gemm_plan *p) {
    *p = (fg_gemm_plan){ 0 };
    if (args->m <= 0 || args->n <= 0) return;
    int64_t *q = p->priv;
    q[Q_PARTS] = 1;
    if (thin_plan(args, p)) {
        if (q[Q_PARTS] > 1) plan_parts(p, args);
        return;
    }

    /* Turning C costs about twice what turning as much of B does; and its rows must fill the lanes of the transpose. */
    int64_t turns = (args->ta ? 0 : args->m * args->k) + 2 * args->m * args->n;
    q[Q_SWAPPED] = args->tb && args->n * args->k > turns && 8 * args->m >= 7 * VL * ceil_div(args->m, VL);
    fg_gemm_args view = tile_view(args, q[Q_SWAPPED]), *a = &view;
    q[Q_TILES] = ceil_div(a->m, MR);
    q[Q_PANELS] = ceil_div(a->n, NR);
    plan_grid(p, a);
    int64_t part = ceil_div(a->k, q[Q_PARTS]), blocks = ceil_div(part, KC);
    q[Q_KC] = min64(KC, ceil_div(ceil_div(part, blocks), 8) * 8);
    /* tiles that share a block of B, and whose sums wait in scratch when there are several blocks */
    q[Q_BAND] = ceil_div(q[Q_TILES], q[Q_GM]);
    if (q[Q_KC] < part) q[Q_BAND] = min64(q[Q_BAND], SUM_ROWS / MR);
    int64_t panels = ceil_div(q[Q_PANELS], q[Q_GN]);
    q[Q_SUMS] = (q[Q_KC] < part ? q[Q_BAND] * panels : q[Q_SWAPPED]) * MR * NR + 2 * NR; /* turn_tile reads two rows more */
    /* rows of B that meet in half of the second cache's sets, or in fewer */
    bool meet = !a->ta && a->ldb % 512 == 0 && a->m >= 224;
    bool pack =
        a->tb || meet || (a->ldb % PACK_STRIDE == 0 && q[Q_TILES] > 4) || (q[Q_BAND] > DIRECT_TILES && a->n * a->k > B_SMALL);
    q[Q_ALGO] = !pack ? G_DIRECT : q[Q_GM] > 1 && (a->tb || meet || a->ldb % 1024 == 0) ? G_SHARED : G_LOCAL;
    q[Q_TAIL] = q[Q_GM] >= 4 && q[Q_PARTS] == 1 && q[Q_ALGO] != G_LOCAL && q[Q_TILES] / q[Q_GM] >= 5 && panels >= 4;
    p->chunks = (int)((q[Q_GM] * q[Q_GN] + (q[Q_TAIL] ? 2 * TAIL : 0)) * q[Q_PARTS]);
    p->scratch = (size_t)(A_PANEL + q[Q_SUMS]) * sizeof(float);
    if (q[Q_ALGO] == G_LOCAL) p->scratch += (size_t)(panels * (q[Q_KC] * NR + 16)) * sizeof(float);
    if (q[Q_ALGO] == G_SHARED) {
        /* pieces of B's rows as they lie, alike for B and its transpose; NR rows are a panel where they are turned */
        int64_t rows = a->tb ? a->n : a->k, want = max64(1, min64(a->n * a->k / PACK_FLOATS, MAX_CHUNKS));
        p->pack_rows = ceil_div(ceil_div(rows, NR), want) * NR;
        p->pack_chunks = (int)ceil_div(rows, p->pack_rows);
        p->packed = (size_t)(q[Q_PANELS] * a->k * NR) * sizeof(float);
        p->keeps = !q[Q_SWAPPED];
    }
    if (q[Q_PARTS] > 1) plan_parts(p, a);
}

/* d[k - k0][NR] = B[j0..j0+NR)[k0..k1) turned, zeros beyond n */
static void pack_b(const fg_gemm_args *a, int64_t j0, int64_t k0, int64_t k1, float *d) {
    pack_panel_transposed(a->b + j0 * a->ldb + k0, a->ldb, k1 - k0, min64(NR, a->n - j0), d);
}

static void gemm_pack(const fg_gemm_plan *p, const fg_gemm_args *args, void *packed, int chunk) {
    float *d = packed;
    if (p->priv[Q_ALGO] == G_DOT) {
        dot_pack(p, args, d);
        return;
    }
    fg_gemm_args view = tile_view(args, p->priv[Q_SWAPPED]), *a = &view;
    int64_t r0 = chunk * p->pack_rows, r1 = min64(a->tb ? a->n : a->k, r0 + p->pack_rows);
    for (int64_t j = r0; a->tb && j < r1; j += NR) pack_b(a, j, 0, a->k, d + j * a->k);
    for (int64_t j = 0; !a->tb && j < a->n; j += PACK_COLUMNS)
        pack_panels(a->b + r0 * a->ldb + j, a->ldb, r1 - r0, min64(PACK_COLUMNS, a->n - j), d + j * a->k + r0 * NR, a->k * NR);
}

/* What is met of op(A) before the next is fetched: a tile's rows, or with A transposed those of several tiles, so that the
 * source is walked along its own rows; k0..k0+kc of them. A chunk's tiles are shared evenly among its units, at most A_TILES
 * each: nothing fetched the first of them ahead of time, so it should not be the largest. */
typedef struct a_unit {
    const float *s; /* where it starts in A */
    int64_t t0, t1, i0, i1, k0, kc;
} a_unit;

static int64_t tile_row(const fg_gemm_plan *p, const fg_gemm_args *a, int64_t tile) { return a->m * tile / p->priv[Q_TILES]; }

static a_unit unit_of(const fg_gemm_plan *p, const fg_gemm_args *a, int64_t t0, int64_t end, int64_t k0, int64_t k1) {
    int64_t units = ceil_div(end - t0, A_TILES);
    a_unit u = { .t0 = t0, .t1 = a->ta ? t0 + (end - t0) / units : t0 + 1, .k0 = k0, .kc = min64(p->priv[Q_KC], k1 - k0) };
    u.i0 = tile_row(p, a, u.t0), u.i1 = tile_row(p, a, u.t1);
    u.s = a->ta ? a->a + k0 * a->lda + u.i0 : a->a + u.i0 * a->lda + k0;
    return u;
}

/* Rows stay where they are, unless all would meet in one set of the first cache: from the second cache they come in time, and a
 * copy costs one to two percent. A transposed A, whose rows a tile takes a line or two of, only when few panels of B read it. */
static bool in_place(const fg_gemm_args *a, int64_t panels) { return a->ta ? panels <= 4 && a->lda % 256 : a->lda % 1024; }

/* A tile's rows of op(A) to a panel: rows A_ROW apart, or of a transposed A [k][AP]. */
static void copy_tile(const fg_gemm_args *a, const float *s, int64_t mr, int64_t kc, float *d) {
    if (a->ta)
        for (int64_t k = 0; k < kc; k++, s += a->lda) v_store(d + k * AP, v_load_part(s, v_mask(mr)));
    else
        for (int64_t i = 0; i < mr; i++) copy_floats(d + i * A_ROW, s + i * a->lda, kc);
}

/* Has a tile fetch its share of a unit that is rows, among its multiply-adds: one row or two, from end to end. False: there are
 * more rows than that. */
INLINE bool fetch_rows(const fg_gemm_args *a, const a_unit *u, int64_t part, int64_t parts, fg_tile_args *t, int64_t kc) {
    enum { EACH = NR / 16 };
    int64_t high = u->i1 - u->i0, row = part * EACH;
    if (a->ta || parts * EACH < high || t->ahead) return false;
    t->next = row < high ? u->s + row * a->lda : NULL;
    t->next_step = u->kc * 4 / kc, t->next_gap = row + 1 < high ? a->lda * 4 : 0;
    return true;
}

/* Fetches the share `part` of `parts` of a unit: little at a time, so that the fetches find room among the loads. */
INLINE void fetch_unit(const fg_gemm_args *a, const a_unit *u, int64_t part, int64_t parts) {
    int64_t high = u->i1 - u->i0, rows = a->ta ? u->kc : high, length = a->ta ? high : u->kc, end = rows * (part + 1) / parts;
    for (int64_t i = rows * part / parts; i < end; i++)
        for (int64_t k = 0; k < length; k += 16) v_fetch2(u->s + i * a->lda + k);
}

/* Tiles t0..t1 against panels p0..p1, which share their way through k0..k1; then what they meet in one block of k. */
typedef struct band {
    int64_t t0, t1, p0, p1, k0, k1, after; /* tiles t1..after are likely this core's next, against the same panels */
    bool fresh;                            /* B is new to this core */
    bool whole;                            /* k0..k1 is all of k: bias and activation follow */
    float *rows, *sums, *panels;           /* scratch: a tile's of A, sums that wait, packed B */
    const float *b;                        /* the block of B: rows ldb apart, panels step apart */
    int64_t ldb, step;
    const float *source; /* where the first tile finds B, when it copies it to b on its way; or NULL */
    bool first, last;    /* of the blocks of k */
} band;

/* Where chunk `cell` stands in the grid: first the upper half of the rows, its columns from the left on; then the lower one, its
 * columns from the right on, so that two threads do not fetch the same part of B at the same time. With Q_TAIL the last chunk of
 * a half is cut finer, for a thread that is done early to take from the other: its last tile but one, then half of the last
 * tile's columns and two quarters. */
static band place_of(const fg_gemm_plan *p, int64_t cell) {
    int64_t gm = p->priv[Q_GM], gn = p->priv[Q_GN], tiles = p->priv[Q_TILES], pieces = max64(1, gm / 2);
    int64_t whole = pieces * gn, cells = whole + (p->priv[Q_TAIL] ? TAIL : 0), lower = cell / cells;
    cell -= lower * cells;
    int64_t tail = max64(0, cell - whole + 1), gi = (cell - tail) % pieces, gj = (cell - tail) / pieces;
    if (lower) gj = gn - 1 - gj;
    int64_t start = lower * (tiles / 2), high = gm == 1 ? tiles : lower ? tiles - start : tiles / 2;
    band w = { .t0 = start + high * gi / pieces, .t1 = start + high * (gi + 1) / pieces, .fresh = gi == 0 };
    w.p0 = p->priv[Q_PANELS] * gj / gn, w.p1 = p->priv[Q_PANELS] * (gj + 1) / gn;
    w.after = gi + 1 < pieces ? start + high * (gi + 2) / pieces : 0;
    if (!p->priv[Q_TAIL] || cell < whole - 1) return w;
    if (tail < 2) {
        w.t1 -= 2 - tail, w.after = w.t1 + 1;
    } else {
        static const int quarter[TAIL] = { 0, 2, 3, 4 };
        int64_t first = w.p0, panels = w.p1 - w.p0;
        w.p0 = first + panels * quarter[tail - 2] / 4, w.p1 = first + panels * quarter[tail - 1] / 4;
    }
    if (tail) w.t0 = w.t1 - 1;
    return w;
}

/* A finished tile s[mr][ld] to the rows of C that are its columns: c[cols][mr], row stride ldc; `bias` (or NULL) has mr. */
static void turn_tile(const fg_gemm_args *a, const float *s, int64_t ld, int64_t mr, int64_t cols, float *c, const float *bias,
                      bool epilogue) {
    float turned[NR * NR];
    vmask m = v_mask(mr);
    vf b = bias ? v_load_part(bias, m) : v_zero();
    for (int64_t j = 0; j < cols; j += 8)
        for (int64_t i = 0; i < mr; i += 8) transpose8(s + i * ld + j, ld, turned + j * NR + i);
    for (int64_t j = 0; j < cols; j++, c += a->ldc) {
        vf v = v_load(turned + j * NR);
        if (a->accumulate) v = v_add(v_load_part(c, m), v);
        if (bias) v = v_add(v, b);
        v_store_part(c, m, v);
        if (epilogue) row_act(a, c, NULL, mr);
    }
}

/* Sums that further blocks of k will add to wait tile by tile, not in C, whose rows may be far apart; so do all of C's
 * transpose, to be turned at last. */
static void run_unit(const fg_gemm_plan *p, const fg_gemm_args *a, const band *w, const a_unit *u, const a_unit *next) {
    int64_t panels = w->p1 - w->p0, calls = (u->t1 - u->t0) * panels, call = 0;
    bool stay = in_place(a, panels) && !w->source, epilogue = w->last && w->whole;
    fg_tile_kind kind = a->ta ? FG_TILE_COLS : stay ? FG_TILE_ROWS : FG_TILE_PANEL;
    bool swapped = p->priv[Q_SWAPPED], in_c = w->last && !swapped;
    int64_t next_sums = w->first && w->last ? 0 : MR * NR;
    float *sums = w->sums + (u->t0 - w->t0) * panels * next_sums;
    for (int64_t ti = u->t0; ti < u->t1; ti++) {
        int64_t i0 = tile_row(p, a, ti), mr = tile_row(p, a, ti + 1) - i0, c_rows[MR], sum_rows[2][MR];
        for (int64_t i = 0; i < mr; i++) c_rows[i] = (i0 + i) * a->ldc, sum_rows[0][i] = i * VL, sum_rows[1][i] = i * 2 * VL;
        bool copy = w->source && ti == w->t0;
        const float *rows = u->s + i0 - u->i0;
        if (!stay && (copy || !a->ta)) copy_tile(a, rows, mr, u->kc, w->rows); /* a tile takes B or A on its way, not both */
        fg_run run = { .b = copy ? w->source : w->b, .len = u->kc };
        fg_tile_args t = { .runs = &run, .nruns = 1, .ldb = copy ? a->ldb : w->ldb, .taken = w->rows };
        t.add = in_c && a->accumulate, t.fetch = u->kc >= 64;
        t.act = epilogue && !swapped && fg_tile_does(a->act) ? a->act : FG_ACT_NONE, t.slope = a->slope;
        bool gated = a->gate && t.act != FG_ACT_NONE;
        if (copy || p->priv[Q_ALGO] == G_DIRECT) t.ahead = NR;
        for (int64_t j = w->p0; j < w->p1; j++, sums += next_sums) {
            bool takes = !stay && a->ta && !copy && j == w->p0, lies = stay || takes;
            run.a = lies ? rows : w->rows, t.sa = lies ? a->lda : AP;
            t.cols = (int)min64(NR, a->n - j * NR);
            t.boff = (j - w->p0) * (copy ? NR : w->step);
            bool wide = t.cols > VL;
            t.c = in_c ? a->c + j * NR : sums;
            t.crow = in_c ? c_rows : sum_rows[wide];
            t.part = w->first ? NULL : sums;
            t.bias = epilogue && !swapped && a->bias ? a->bias + j * NR : NULL;
            t.gate = gated ? a->gate + j * NR : NULL;
            t.copy = copy ? w->panels + (j - w->p0) * w->step : NULL;
            if (p->priv[Q_ALGO] == G_SHARED) t.ahead = ti == w->t0 && w->fresh && j + 1 < w->p1 ? w->step : 0;
            t.next = NULL;
            if (next && !fetch_rows(a, next, call, calls, &t, u->kc)) fetch_unit(a, next, call, calls);
            call++;
            for (int64_t e = 0; w->last && swapped && e < t.cols; e++) v_fetchw(a->c + (j * NR + e) * a->ldc + i0);
            (copy ? COPYING_TILES[a->ta][wide][mr - COPY_MR] : TILES[takes ? FG_TILE_TAKEN : kind][wide][mr - 1])(&t);
            if (w->last && swapped)
                turn_tile(a, sums, wide ? NR : VL, mr, t.cols, a->c + j * NR * a->ldc + i0,
                          epilogue && a->bias ? a->bias + i0 : NULL, epilogue);
        }
        if (epilogue && !swapped && !fg_tile_does(a->act))
            for (int64_t i = 0; i < mr; i++)
                row_act(a, a->c + c_rows[i] + w->p0 * NR, NULL, min64(w->p1 * NR, a->n) - w->p0 * NR);
    }
}

static void run_band(const fg_gemm_plan *p, const fg_gemm_args *a, band w) {
    a_unit u = unit_of(p, a, w.t0, w.t1, w.k0, w.k1);
    for (int64_t k = w.k0, kc; k < w.k1; k += kc) {
        kc = u.kc;
        w.first = k == w.k0, w.last = k + kc >= w.k1;
        w.ldb = NR;
        const float *b = a->b + k * a->ldb + w.p0 * NR;
        if (p->priv[Q_ALGO] == G_DIRECT) {
            w.b = b, w.ldb = a->ldb, w.step = NR;
        } else if (p->priv[Q_ALGO] == G_SHARED) {
            w.b = (const float *)a->packed + (w.p0 * a->k + k) * NR, w.step = a->k * NR;
        } else {
            w.b = w.panels, w.step = kc * NR + 16; /* panels in other sets of the cache */
            w.source = a->tb ? NULL : b;
            for (int64_t j = w.p0; a->tb && j < w.p1; j++) pack_b(a, j * NR, k, k + kc, w.panels + (j - w.p0) * w.step);
        }
        for (bool more = true; more;) {
            more = u.t1 < w.t1;
            bool any = more || !w.last || w.after > w.t1;
            a_unit next = more      ? unit_of(p, a, u.t1, w.t1, k, w.k1)
                          : !w.last ? unit_of(p, a, w.t0, w.t1, k + kc, w.k1)
                          : any     ? unit_of(p, a, w.t1, w.after, w.k0, w.k1)
                                    : u;
            run_unit(p, a, &w, &u, any ? &next : NULL);
            u = next;
        }
    }
}

static void gemm_run(const fg_gemm_plan *p, const fg_gemm_args *args, void *shared, void *scratch, int chunk) {
    fg_gemm_args a = *args;
    const int64_t *q = p->priv;
    int64_t part = chunk % q[Q_PARTS], cell = chunk / q[Q_PARTS];
    int64_t k0 = a.k * part / q[Q_PARTS], k1 = a.k * (part + 1) / q[Q_PARTS];
    if (q[Q_PARTS] > 1) {
        a.c = (float *)shared + part * a.m * a.n;
        a.ldc = a.n;
        a.accumulate = false;
    }
    bool whole = q[Q_PARTS] == 1;
    if (q[Q_ALGO] == G_DOT) dot_run(p, &a, cell, k0, k1, whole);
    else if (q[Q_ALGO] == G_RANK) rank_run(p, &a, scratch, cell, k0, k1, whole);
    else {
        a = tile_view(&a, q[Q_SWAPPED]);
        band w = place_of(p, cell);
        int64_t t1 = w.t1, after = w.after;
        w.k0 = k0, w.k1 = k1, w.whole = whole;
        w.rows = scratch, w.sums = w.rows + A_PANEL, w.panels = w.sums + q[Q_SUMS];
        for (; w.t0 < t1; w.t0 = w.t1) {
            w.t1 = min64(t1, w.t0 + q[Q_BAND]);
            w.after = w.t1 < t1 ? min64(t1, w.t1 + q[Q_BAND]) : after;
            run_band(p, &a, w);
        }
    }
}

/* C = the parts' sum in order, then what a chunk would have done at its end */
static void gemm_finish(const fg_gemm_plan *p, const fg_gemm_args *a, void *shared, int chunk) {
    const float *parts = shared;
    (void)chunk;
    int64_t rows = a->ldc == a->n ? 1 : a->m, cols = a->m * a->n / rows; /* at once where C has no gaps */
    for (int64_t i = 0; i < rows; i++) {
        float *c = a->c + i * a->ldc;
        for (int64_t j = 0; j < cols; j += VL) {
            vmask m = v_mask(cols - j);
            const float *s = parts + i * a->n + j;
            vf sum = v_load_part(s, m);
            for (int64_t q = 1; q < p->priv[Q_PARTS]; q++) sum = v_add(sum, v_load_part(s + q * a->m * a->n, m));
            v_store_part(c + j, m, a->accumulate ? v_add(v_load_part(c + j, m), sum) : sum);
        }
    }
    rows_act(a, 0, a->m, a->bias);
}

static void fill_gemm(fg_kernels *k) {
    k->gemm_plan = gemm_plan;
    k->gemm_pack = gemm_pack;
    k->gemm_run = gemm_run;
    k->gemm_finish = gemm_finish;
}
