/* body_pool.h: pooling and nearest-neighbour upsampling on NHWC images, in plain C: the loops over channels are simple
 * enough for the compiler to vectorise for whatever ISA the including file is compiled for (scalar_pool.c,
 * elementwise_<isa>.c), and without reassociation the bits stay the same.
 *
 * x and y are the whole arrays; a call handles images first_image .. first_image + images - 1. Geometry is that of a
 * convolution (kernels.h) whose channels stay apart: g->ci is the channel count, g->co is ignored.
 *
 * avg_pool divides by kh*kw always: padding counts as zeros. max_pool leaves padding out; NaN wins; `where` gets the flat
 * pixel index ih*W + iw of the first maximum. A window that lies wholly in the padding gives -inf and the nearest pixel. */
#include "kernels.h"
#include "real_math.h"

/* Part of the window of output index o that lies inside the image: taps [*a, *b). */
static void window(int64_t o, int stride, int pad, int k, int64_t size, int64_t *a, int64_t *b) {
    int64_t at = o * stride - pad;
    *a = at < 0 ? -at : 0;
    *b = at + k > size ? size - at : k;
}

static void avg_pool(const fg_real *x, fg_real *y, const fg_conv_geom *g, int64_t first_image, int64_t images) {
    int64_t c = g->ci, a0, a1, b0, b1;
    fg_real count = (fg_real)(g->kh * g->kw);
    for (int64_t n = first_image; n < first_image + images; n++)
        for (int64_t oh = 0; oh < g->oh; oh++)
            for (int64_t ow = 0; ow < g->ow; ow++) {
                fg_real *out = y + ((n * g->oh + oh) * g->ow + ow) * c;
                window(oh, g->sh, g->pt, g->kh, g->h, &a0, &a1);
                window(ow, g->sw, g->pl, g->kw, g->w, &b0, &b1);
                for (int64_t j = 0; j < c; j++) out[j] = 0;
                for (int64_t a = a0; a < a1; a++)
                    for (int64_t b = b0; b < b1; b++) {
                        const fg_real *in = x + ((n * g->h + oh * g->sh - g->pt + a) * g->w + ow * g->sw - g->pl + b) * c;
                        for (int64_t j = 0; j < c; j++) out[j] += in[j];
                    }
                for (int64_t j = 0; j < c; j++) out[j] /= count;
            }
}

static void avg_pool_adjoint(const fg_real *dy, fg_real *dx, const fg_conv_geom *g, int64_t first_image, int64_t images) {
    int64_t c = g->ci, image = g->h * g->w * c, a0, a1, b0, b1;
    fg_real count = (fg_real)(g->kh * g->kw);
    memset(dx + first_image * image, 0, (size_t)(images * image) * sizeof *dx);
    for (int64_t n = first_image; n < first_image + images; n++)
        for (int64_t oh = 0; oh < g->oh; oh++)
            for (int64_t ow = 0; ow < g->ow; ow++) {
                const fg_real *in = dy + ((n * g->oh + oh) * g->ow + ow) * c;
                window(oh, g->sh, g->pt, g->kh, g->h, &a0, &a1);
                window(ow, g->sw, g->pl, g->kw, g->w, &b0, &b1);
                for (int64_t a = a0; a < a1; a++)
                    for (int64_t b = b0; b < b1; b++) {
                        fg_real *out = dx + ((n * g->h + oh * g->sh - g->pt + a) * g->w + ow * g->sw - g->pl + b) * c;
                        for (int64_t j = 0; j < c; j++) out[j] += in[j] / count;
                    }
            }
}

static int64_t nearest(int64_t i, int64_t size) { return i < 0 ? 0 : i < size ? i : size - 1; }

static void max_pool(const fg_real *x, fg_real *y, int32_t *where, const fg_conv_geom *g, int64_t first_image, int64_t images) {
    int64_t c = g->ci, a0, a1, b0, b1;
    for (int64_t n = first_image; n < first_image + images; n++)
        for (int64_t oh = 0; oh < g->oh; oh++)
            for (int64_t ow = 0; ow < g->ow; ow++) {
                int64_t o = ((n * g->oh + oh) * g->ow + ow) * c, h0 = oh * g->sh - g->pt, w0 = ow * g->sw - g->pl;
                window(oh, g->sh, g->pt, g->kh, g->h, &a0, &a1);
                window(ow, g->sw, g->pl, g->kw, g->w, &b0, &b1);
                int64_t start = nearest(h0 + a0, g->h) * g->w + nearest(w0 + b0, g->w);
                for (int64_t j = 0; j < c; j++) y[o + j] = reduce_start(FG_RED_MAX), where[o + j] = (int32_t)start;
                for (int64_t a = a0; a < a1; a++)
                    for (int64_t b = b0; b < b1; b++) {
                        int64_t pixel = (h0 + a) * g->w + w0 + b;
                        const fg_real *in = x + (n * g->h * g->w + pixel) * c;
                        for (int64_t j = 0; j < c; j++) {
                            /* greater, or the first NaN */
                            bool take = !(in[j] <= y[o + j]) && y[o + j] == y[o + j];
                            y[o + j] = take ? in[j] : y[o + j];
                            where[o + j] = take ? (int32_t)pixel : where[o + j];
                        }
                    }
            }
}

/* y[n][h*fh + i][w*fw + j][c] = x[n][h][w][c] */
static void upsample(const fg_real *x, fg_real *y, int64_t images, int64_t h, int64_t w, int64_t c, int fh, int fw) {
    int64_t line = w * fw * c;
    for (int64_t r = 0; r < images * h; r++, x += w * c, y += fh * line) {
        for (int64_t j = 0; j < w; j++)
            for (int f = 0; f < fw; f++)
                for (int64_t i = 0; i < c; i++) y[(j * fw + f) * c + i] = x[j * c + i];
        for (int f = 1; f < fh; f++) memcpy(y + f * line, y, (size_t)line * sizeof *y);
    }
}

static void register_pool(fg_kernels *k) {
    k->avg_pool = avg_pool;
    k->avg_pool_adjoint = avg_pool_adjoint;
    k->max_pool = max_pool;
    k->upsample = upsample;
}
