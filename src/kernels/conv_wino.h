/* conv_wino.h: geometry of the polyphase Winograd convolution, the same for every ISA; private to src/kernels.
 *
 * A strided convolution is a sum of stride-1 convolutions of its phases, and its transpose (DX) a set of them. Along one
 * axis, with kernel K, stride s and leading padding p, phase rho holds the taps k = s*j + rho, j < r:
 *
 *      FWD, DW   y[o]  = sum over rho, j of  X_rho[o + j] w[s*j + rho],    X_rho[i] = x[s*i + rho - p]
 *      DX        dx[s*q + rho - p] = sum over j of  dy[q - j] w[s*j + rho]
 *
 * A tile takes a window of n numbers to m outputs by n products (n = m + R - 1; R = K for stride 1, 3 for stride 2), where a
 * direct sum takes m*r. Window and outputs are the same for all phases; a phase with fewer taps than R has zeros in
 * front of or behind them, and then the point 0 or infinity drops out:
 *
 *      taps in the window of R = 3    [a b c]        [a b 0]             [0 a b]        [0 a 0]
 *      points in use (of 6)           all            without infinity    without 0      without both
 *
 * In two dimensions points, windows and outputs are products of those of the axes: a 5x5 kernel with stride 2 takes 121
 * products for 16 outputs, where direct takes 400.
 *
 * With R = 3 the last tile of an axis leaves out the outputs beyond the map, and as many points with them (the largest
 * first): an axis of 7 takes 6 + 5 products, not 12. Its transforms are other ones, the transformed weights are the same. */
#ifndef FG_CONV_WINO_H
#define FG_CONV_WINO_H

#include "integers.h"
#include "kernels.h"

enum {
    FG_WINO_POINTS = 8,   /* most along an axis */
    FG_WINO_OUT = 4,      /* most outputs of a tile along an axis */
    FG_WINO_FEW_ROWS = 8, /* rows and columns of outputs, at most: see by_rows */
    FG_WINO_ROW = 256
};

typedef struct fg_wino_phase {
    int rho, taps;
    int place;          /* zeros in front of the taps in their window */
    int first, points;  /* points in use */
    int64_t q, outputs; /* DX: first q of the phase, and how many */
} fg_wino_phase;

typedef struct fg_wino_axis {
    int n, m, r, stride; /* points, outputs of a tile, window of taps */
    int last;            /* outputs of the last tile */
    int phases;
    int64_t tiles;
    int64_t w0; /* DX: where in dy the window of tile 0 begins */
    int64_t pad;
    fg_wino_phase phase[2];
} fg_wino_axis;

/* Whether a tile uses a point: all do, but for the last one. */
static inline bool fg_wino_keeps(const fg_wino_axis *a, bool last_tile, int point) {
    /* points 0, 1, -1, 2, -1/2, infinity, by outputs: EDGE of make_winograd.lua */
    static const unsigned six[] = { 0, 0x23, 0x27, 0x37, 0x3f };
    return !last_tile || a->last == a->m || (six[a->last] >> point & 1);
}

/* False when the axis has no such form: kernels of 3 to 5 taps with stride 1 or 2 have. `eight`: the eight-point set for five
 * taps with stride 1. */
bool fg_wino_axis_of(fg_conv_dir dir, int kernel, int stride, int64_t pad, int64_t in, int64_t out, bool eight, fg_wino_axis *a);

typedef struct fg_wino_geom {
    fg_wino_axis h, w;
    /* DW of 5x5 kernels with stride 1 where the output has FEW_ROWS rows at most: h is empty, kernel rows are met one by one, and
     * tiles lie along the width alone (conv_wino_dw_rows_body.h) */
    bool by_rows;
    int64_t tiles;  /* of the whole batch */
    int slots;      /* pairs of phases */
    int64_t points; /* of all slots: how many weights in points each pair of channels has */
} fg_wino_geom;
static inline const fg_wino_phase *fg_wino_slot_h(const fg_wino_geom *w, int64_t slot) { return &w->h.phase[slot / w->w.phases]; }
static inline const fg_wino_phase *fg_wino_slot_w(const fg_wino_geom *w, int64_t slot) { return &w->w.phase[slot % w->w.phases]; }
bool fg_wino_geom_of(const fg_conv_geom *g, fg_conv_dir dir, fg_wino_geom *w);

/* Whether the products and transforms cost less than a direct sum, in multiply-adds; by geometry and level alone. */
bool fg_wino_pays(const fg_conv_geom *g, fg_conv_dir dir, fg_isa_level isa);

#if defined(FG_HAVE_X86)
void fg_kernels_avx2_wino(fg_kernels *k);
void fg_kernels_avx512_wino(fg_kernels *k);
#endif
void fg_kernels_scalar_wino(fg_kernels *k);

#endif
