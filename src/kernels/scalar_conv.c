/* scalar_conv.c: convolution in its three directions, the plain reference.
 *
 * One strided convolution y = conv(x, w) has two adjoints, and all three read the same relation between an output
 * pixel (oh, ow), an input pixel (ih, iw) and a tap (a, b):
 *
 *      ih = oh*sh - pt + a        FWD  y[oh][ow]  = sum over taps    x[ih][iw] w[a][b]
 *      iw = ow*sw - pl + b        DX   dx[ih][iw] = sum over taps    dy[oh][ow] w[a][b]'     where sh | ih + pt - a
 *                                 DW   dw[a][b]   = sum over pixels  x[ih][iw]' dy[oh][ow]
 *
 * Taps that fall outside the image are skipped, not multiplied by zero: an infinite weight at the border stays harmless.
 * Layout is NHWC everywhere, so the innermost loop always runs over contiguous channels.
 * Chunks: rows of the output image (FWD, DX); one tap and 16 input channels (DW). They write disjoint memory, so there
 * are no partials and nothing to finish; weights are used as they are. DW sums each image apart, then the images in
 * order, which keeps the rounding error of the long sum down. */
#include "integers.h"
#include "kernels.h"

enum { MAX_CHUNKS = 4096, DW_CHANNELS = 16 };

static void conv_plan(const fg_conv_geom *g, fg_conv_dir dir, fg_conv_plan *p) {
    *p = (fg_conv_plan){ .g = *g, .dir = dir };
    if (dir == FG_CONV_DW) {
        int64_t groups = (g->ci + DW_CHANNELS - 1) / DW_CHANNELS;
        p->chunks = (int)(g->kh * g->kw * groups);
        p->scratch = ((size_t)min64(g->ci, DW_CHANNELS) * (size_t)g->co * sizeof(fg_real) + 63) / 64 * 64;
        p->priv[0] = groups;
    } else {
        int64_t rows = g->n * (dir == FG_CONV_FWD ? g->oh : g->h);
        int64_t per = (rows + MAX_CHUNKS - 1) / MAX_CHUNKS;
        p->chunks = rows ? (int)((rows + per - 1) / per) : 0;
        p->priv[0] = rows;
        p->priv[1] = per;
    }
}

/* out[c] = act(out[c] + bias[c]) */
static void finish_pixel(fg_real *out, int64_t c, const fg_conv_args *a) {
    if (!a->bias && a->act == FG_ACT_NONE) return;
    for (int64_t j = 0; j < c; j++) {
        fg_real v = a->bias ? out[j] + a->bias[j] : out[j];
        out[j] = a->act == FG_ACT_NONE ? v : fg_act_scalar(v, a->act, a->slope);
    }
}

/* y[n][oh][:][CO] from x[n][H][W][CI], w[KH][KW][CI][CO] */
static void fwd_row(const fg_conv_geom *g, const fg_conv_args *a, int64_t n, int64_t oh) {
    for (int64_t ow = 0; ow < g->ow; ow++) {
        fg_real *y = a->out + ((n * g->oh + oh) * g->ow + ow) * g->co;
        for (int64_t j = 0; j < g->co; j++) y[j] = 0;
        for (int kh = 0; kh < g->kh; kh++) {
            int64_t ih = oh * g->sh - g->pt + kh;
            if (ih < 0 || ih >= g->h) continue;
            for (int kw = 0; kw < g->kw; kw++) {
                int64_t iw = ow * g->sw - g->pl + kw;
                if (iw < 0 || iw >= g->w) continue;
                const fg_real *x = a->x + ((n * g->h + ih) * g->w + iw) * g->ci;
                const fg_real *w = a->w + (int64_t)(kh * g->kw + kw) * g->ci * g->co;
                for (int64_t c = 0; c < g->ci; c++, w += g->co)
                    for (int64_t j = 0; j < g->co; j++) y[j] += x[c] * w[j];
            }
        }
        finish_pixel(y, g->co, a);
    }
}

/* dx[n][ih][:][CI] from dy[n][OH][OW][CO], w[KH][KW][CI][CO] */
static void dx_row(const fg_conv_geom *g, const fg_conv_args *a, int64_t n, int64_t ih) {
    for (int64_t iw = 0; iw < g->w; iw++) {
        fg_real *dx = a->out + ((n * g->h + ih) * g->w + iw) * g->ci;
        for (int64_t c = 0; c < g->ci; c++) dx[c] = 0;
        for (int kh = 0; kh < g->kh; kh++) {
            int64_t th = ih + g->pt - kh, oh = th / g->sh;
            if (th < 0 || th % g->sh || oh >= g->oh) continue;
            for (int kw = 0; kw < g->kw; kw++) {
                int64_t tw = iw + g->pl - kw, ow = tw / g->sw;
                if (tw < 0 || tw % g->sw || ow >= g->ow) continue;
                const fg_real *dy = a->dy + ((n * g->oh + oh) * g->ow + ow) * g->co;
                const fg_real *w = a->w + (int64_t)(kh * g->kw + kw) * g->ci * g->co;
                for (int64_t c = 0; c < g->ci; c++, w += g->co) {
                    fg_real s = 0;
                    for (int64_t j = 0; j < g->co; j++) s += dy[j] * w[j];
                    dx[c] += s;
                }
            }
        }
        finish_pixel(dx, g->ci, a);
    }
}

/* dw[kh][kw][c0..c1][CO] from x[N][H][W][CI], dy[N][OH][OW][CO]; acc[c1 - c0][CO] holds one image's sum */
static void dw_tap(const fg_conv_geom *g, const fg_conv_args *a, int kh, int kw, int64_t c0, int64_t c1, fg_real *acc) {
    fg_real *dw = a->out + ((int64_t)(kh * g->kw + kw) * g->ci + c0) * g->co;
    int64_t size = (c1 - c0) * g->co;
    for (int64_t i = 0; i < size; i++) dw[i] = 0;
    for (int64_t n = 0; n < g->n; n++) {
        for (int64_t i = 0; i < size; i++) acc[i] = 0;
        for (int64_t oh = 0; oh < g->oh; oh++) {
            int64_t ih = oh * g->sh - g->pt + kh;
            if (ih < 0 || ih >= g->h) continue;
            for (int64_t ow = 0; ow < g->ow; ow++) {
                int64_t iw = ow * g->sw - g->pl + kw;
                if (iw < 0 || iw >= g->w) continue;
                const fg_real *x = a->x + ((n * g->h + ih) * g->w + iw) * g->ci;
                const fg_real *dy = a->dy + ((n * g->oh + oh) * g->ow + ow) * g->co;
                for (int64_t c = c0; c < c1; c++) {
                    fg_real *s = acc + (c - c0) * g->co;
                    for (int64_t j = 0; j < g->co; j++) s[j] += x[c] * dy[j];
                }
            }
        }
        for (int64_t i = 0; i < size; i++) dw[i] += acc[i];
    }
}

static void conv_run(const fg_conv_plan *p, const fg_conv_args *a, int chunk, int worker) {
    const fg_conv_geom *g = &p->g;
    if (p->dir == FG_CONV_DW) {
        int64_t tap = chunk / p->priv[0], c0 = chunk % p->priv[0] * DW_CHANNELS;
        fg_real *acc = (fg_real *)((char *)a->scratch + (size_t)worker * p->scratch);
        dw_tap(g, a, (int)(tap / g->kw), (int)(tap % g->kw), c0, min64(g->ci, c0 + DW_CHANNELS), acc);
        return;
    }
    int64_t r1 = min64(p->priv[0], (chunk + 1) * p->priv[1]);
    for (int64_t r = chunk * p->priv[1]; r < r1; r++) {
        if (p->dir == FG_CONV_FWD) fwd_row(g, a, r / g->oh, r % g->oh);
        else dx_row(g, a, r / g->h, r % g->h);
    }
}

static const fg_conv_kernel direct = { .name = "direct", .isa = FG_ISA_SCALAR, .plan = conv_plan, .run = conv_run };

void fg_kernels_scalar_conv(fg_kernels *k) { fg_conv_prefer(k, &direct); }
