/* conv_wino.c: which convolutions have a Winograd form, how their axes are cut, and when that pays. conv_wino.h tells the
 * idea; the arithmetic is in conv_wino_body.h. */
#include "conv_wino.h"

/* rounded up, also below 0: paddings may crop */
static int64_t ceil_any(int64_t a, int64_t b) { return -floor_div(-a, b); }

static void place(fg_wino_axis *a, fg_wino_phase *f, int zeros) {
    bool without_zero = zeros > 0, without_infinity = zeros + f->taps < a->r;
    f->place = zeros;
    f->first = without_zero;
    f->points = a->n - without_zero - without_infinity;
}

/* DX: all phases read the same window, so each must be able to put its zeros where they make up for its offset. Of the
 * possible origins the one with the fewest points wins. */
static bool align(fg_wino_axis *a) {
    int64_t lo = INT64_MIN, hi = INT64_MAX;
    for (int i = 0; i < a->phases; i++) {
        const fg_wino_phase *f = &a->phase[i];
        lo = max64(lo, f->q - (a->r - 1));
        hi = min64(hi, f->q - (f->taps - 1));
    }
    int best = 0;
    for (int64_t w0 = lo; w0 <= hi; w0++) {
        int points = 0;
        for (int i = 0; i < a->phases; i++) {
            place(a, &a->phase[i], (int)(a->phase[i].q - (a->phase[i].taps - 1) - w0));
            points += a->phase[i].points;
        }
        if (!best || points < best) best = points, a->w0 = w0;
    }
    for (int i = 0; i < a->phases; i++) place(a, &a->phase[i], (int)(a->phase[i].q - (a->phase[i].taps - 1) - a->w0));
    return best > 0;
}

bool fg_wino_axis_of(fg_conv_dir dir, int kernel, int stride, int64_t pad, int64_t in, int64_t out, bool eight, fg_wino_axis *a) {
    if (kernel < 3 || kernel > 5 || stride < 1 || stride > 2) return false;
    *a = (fg_wino_axis){ .stride = stride, .pad = pad, .phases = stride, .r = stride == 1 ? kernel : 3 };
    a->n = eight && stride == 1 && kernel == 5 ? 8 : 6;
    a->m = a->n + 1 - a->r;
    int64_t longest = dir == FG_CONV_DX ? 0 : out;
    for (int i = 0; i < a->phases; i++) {
        fg_wino_phase *f = &a->phase[i];
        f->rho = i;
        f->taps = (kernel - i + stride - 1) / stride;
        if (dir == FG_CONV_DX) {
            f->q = ceil_any(pad - i, stride);
            f->outputs = max64(0, ceil_any(in + pad - i, stride) - f->q);
            longest = max64(longest, f->outputs);
        } else {
            place(a, f, (a->r - f->taps) / 2);
        }
    }
    a->tiles = ceil_div(longest, a->m);
    a->last = a->r == 3 ? (int)(longest - (a->tiles - 1) * a->m) : a->m;
    return a->tiles > 0 && (dir != FG_CONV_DX || align(a));
}

/* Points of all phases, in a whole tile and in the last one. */
static int64_t axis_points(const fg_wino_axis *a, bool last_tile) {
    int64_t points = 0;
    for (int i = 0; i < a->phases; i++)
        for (int j = a->phase[i].first; j < a->phase[i].first + a->phase[i].points; j++) points += fg_wino_keeps(a, last_tile, j);
    return points;
}

bool fg_wino_geom_of(const fg_conv_geom *g, fg_conv_dir dir, fg_wino_geom *w) {
    /* Five taps with stride 1: eight points along the height, six along the width (both of eight would pass the bound on
     * rounding). DW on small maps passes it even so, half of each window being padding there: eight along the width alone. */
    bool eight = g->kh == 5 && g->sh == 1 && g->kw == 5 && g->sw == 1;
    *w = (fg_wino_geom){ .by_rows = eight && dir == FG_CONV_DW && g->oh <= FG_WINO_FEW_ROWS };
    if (w->by_rows) {
        if (g->h >= FG_WINO_FEW_ROWS + g->kh || g->ow > FG_WINO_ROW) return false; /* cropped far, or a strip: too much scratch */
        if (!fg_wino_axis_of(dir, g->kw, g->sw, g->pl, g->w, g->ow, true, &w->w)) return false;
        w->slots = 1;
        w->tiles = g->n * w->w.tiles;
        w->points = g->kh * w->w.n;
        return true;
    }
    if (!fg_wino_axis_of(dir, g->kh, g->sh, g->pt, g->h, g->oh, eight, &w->h)) return false;
    if (!fg_wino_axis_of(dir, g->kw, g->sw, g->pl, g->w, g->ow, false, &w->w)) return false;
    w->slots = w->h.phases * w->w.phases;
    w->tiles = g->n * w->h.tiles * w->w.tiles;
    w->points = axis_points(&w->h, false) * axis_points(&w->w, false);
    return true;
}

/* How many (output, tap) pairs of an axis lie inside the image: what a direct kernel computes. */
static int64_t direct_taps(int kernel, int stride, int64_t pad, int64_t in, int64_t out) {
    int64_t count = 0;
    for (int k = 0; k < kernel; k++) {
        int64_t first = max64(0, ceil_any(pad - k, stride)), end = min64(out, ceil_any(in + pad - k, stride));
        count += max64(0, end - first);
    }
    return count;
}

/* Numbers of all windows, and of all tiles in points */
static int64_t axis_numbers(const fg_wino_axis *a) { return a->tiles * a->n - (a->m - a->last); }
static int64_t axis_products(const fg_wino_axis *a) { return (a->tiles - 1) * axis_points(a, false) + axis_points(a, true); }

bool fg_wino_pays(const fg_conv_geom *g, fg_conv_dir dir, fg_isa_level isa) {
    enum { CHANNELS = 16, TILES = 28, TILES_BY_ROWS = 12, LARGE = 1 << 18 /* weights of 1 MB in points */ };
    fg_wino_geom w;
    if (g->ci < CHANNELS || g->co < CHANNELS || !fg_wino_geom_of(g, dir, &w)) return false;
    if (w.tiles < (w.by_rows ? TILES_BY_ROWS : TILES)) return false;
    double rows = (double)g->n * (double)direct_taps(g->kh, g->sh, g->pt, g->h, g->oh);
    double direct = rows * (double)direct_taps(g->kw, g->sw, g->pl, g->w, g->ow) * (double)(g->ci * g->co);
    /* In multiply-adds, fitted to measurements of 600 geometries: what each number of a window and of a tile in points costs,
     * what each weight in points does, if two calls share it. */
    double weights = (double)w.points * (double)(g->ci * g->co);
    double products, numbers, per_number = w.by_rows ? 2.4 : 4.5;
    if (w.by_rows) {
        products = rows * (double)axis_products(&w.w) * (double)(g->ci * g->co);
        numbers = (double)(g->n * axis_numbers(&w.w)) * (double)(g->h * g->ci + g->oh * g->co);
    } else {
        products = (double)g->n * (double)(axis_products(&w.h) * axis_products(&w.w)) * (double)(g->ci * g->co);
        numbers = (double)g->n * (double)(axis_numbers(&w.h) * axis_numbers(&w.w));
        numbers *= (double)(dir == FG_CONV_DX ? g->co + w.slots * g->ci : w.slots * g->ci + g->co);
    }
    double per_weight = dir == FG_CONV_DW ? 2 : weights > LARGE ? 13 : 8;
    double cost = products + per_number * numbers + per_weight * weights;
    /* What a multiply-add of the direct kernels costs, by direction. */
    static const double wide[] = { 0.93, 0.97, 1 }, narrow[] = { 0.8, 0.76, 1 };
    return cost < (isa == FG_ISA_AVX2 ? narrow : wide)[dir] * direct;
}
