/* resize.c: brings pictures of an image folder to the size that a network wants.
 *
 * Reduction must average all the pixels that fall together, or thin lines alias: the triangle filter of bilinear
 * interpolation is stretched by the scale, as Pillow's BILINEAR does. The same arithmetic as Pillow's (Resample.c: 8-bit
 * images, weights in 22-bit fixed point, the horizontal pass first, each pass rounded to 8 bits), so that pictures agree
 * byte for byte with a Python loader's; integers also give the same bytes on every machine. */
#include "pixels.h"

#include <math.h>
#include <string.h>

#define PRECISION 22
#define MAX_SIDE  65535

/* Weights of one axis: output i sums in[first[i] .. first[i]+count[i]) with weight[i * taps + k]. One block. */
typedef struct filter {
    int taps;
    int *first, *count;
    int32_t *weight;
    size_t bytes;
} filter;

static bool filter_make(fg_context *ctx, filter *f, int in, int out) {
    double scale = (double)in / out, fscale = scale < 1 ? 1 : scale, support = fscale;
    f->taps = (int)ceil(support) * 2 + 1;
    size_t cells;
    if (!fg_size_mul((size_t)out, (size_t)f->taps + 2, &cells) || !fg_size_mul(cells, sizeof(int32_t), &f->bytes)) return false;
    f->first = fg_alloc(ctx, f->bytes);
    if (!f->first) return false;
    f->count = f->first + out;
    f->weight = (int32_t *)(f->count + out);
    for (int i = 0; i < out; i++) {
        double center = (i + 0.5) * scale, total = 0;
        int lo = (int)(center - support + 0.5), hi = (int)(center + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > in) hi = in;
        int32_t *w = f->weight + (size_t)i * (size_t)f->taps;
        for (int pass = 0; pass < 2; pass++) /* the weights are few and cheap: no scratch row, they are made twice */
            for (int k = 0; k < hi - lo; k++) {
                double d = fabs((k + lo - center + 0.5) * (1.0 / fscale)), v = d < 1 ? 1 - d : 0;
                if (pass == 0) total += v;
                else w[k] = (int32_t)(0.5 + v * (total != 0 ? 1.0 / total : 1.0) * (1 << PRECISION));
            }
        f->first[i] = lo;
        f->count[i] = hi - lo;
    }
    return true;
}

static void filter_drop(fg_context *ctx, filter *f) {
    if (f->first) fg_free(ctx, f->first, f->bytes);
}

static uint8_t clip8(int64_t v) {
    v >>= PRECISION;
    return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
}

/* in[h][w][c] -> out[h][ow][c] */
static void pass_h(const filter *f, const uint8_t *in, uint8_t *out, int64_t h, int64_t w, int64_t c, int64_t ow) {
    for (int64_t y = 0; y < h; y++, in += w * c)
        for (int64_t x = 0; x < ow; x++)
            for (int64_t k = 0; k < c; k++) {
                const int32_t *wt = f->weight + x * f->taps;
                const uint8_t *p = in + f->first[x] * c + k;
                int64_t sum = (int64_t)1 << (PRECISION - 1);
                for (int i = 0; i < f->count[x]; i++, p += c) sum += (int64_t)wt[i] * *p;
                *out++ = clip8(sum);
            }
}

/* in[h][row] -> out[oh][row] */
static void pass_v(const filter *f, const uint8_t *in, uint8_t *out, int64_t oh, int64_t row) {
    for (int64_t y = 0; y < oh; y++)
        for (int64_t x = 0; x < row; x++) {
            const int32_t *wt = f->weight + y * f->taps;
            const uint8_t *p = in + f->first[y] * row + x;
            int64_t sum = (int64_t)1 << (PRECISION - 1);
            for (int i = 0; i < f->count[y]; i++, p += row) sum += (int64_t)wt[i] * *p;
            *out++ = clip8(sum);
        }
}

static bool image_ok(fg_scope *s, const char *who, const fg_tensor *t, int64_t h, int64_t w) {
    char text[96];
    fg_shape_print(&t->shape, text, sizeof text);
    if (t->dtype != FG_U8 || t->shape.ndim != 3 || t->numel == 0) {
        fg_scope_error(s, FG_EINVAL, "%s: image %s of dtype %s, expects u8 [H,W,C]", who, text,
                       fg_dtype_name((fg_dtype)t->dtype));
        return false;
    }
    if (h < 1 || w < 1 || h > MAX_SIDE || w > MAX_SIDE || t->shape.dim[0] > MAX_SIDE || t->shape.dim[1] > MAX_SIDE) {
        fg_scope_error(s, FG_EINVAL, "%s: from %s to %lld x %lld: sides must be 1 to %d pixels", who, text, (long long)h,
                       (long long)w, MAX_SIDE);
        return false;
    }
    return true;
}

static fg_tensor *resize(fg_scope *s, const fg_tensor *t, int64_t oh, int64_t ow) {
    if (!image_ok(s, "image_resize", t, oh, ow)) return NULL;
    int64_t h = t->shape.dim[0], w = t->shape.dim[1], c = t->shape.dim[2];
    fg_context *ctx = s->ctx;
    fg_shape mid_shape = FG_SHAPE(h, ow, c), out_shape = FG_SHAPE(oh, ow, c);
    filter fh = { 0 }, fv = { 0 };
    fg_tensor *mid = fg_tensor_new(ctx, FG_U8, &mid_shape), *out = mid ? fg_tensor_new(ctx, FG_U8, &out_shape) : NULL;
    bool ok = out && filter_make(ctx, &fh, (int)w, (int)ow) && filter_make(ctx, &fv, (int)h, (int)oh);
    if (ok) {
        /* a side that keeps its size has one weight of 1 per pixel: copied, as Pillow skips the pass */
        if (w == ow) memcpy(fg_data(mid), fg_data(t), fg_tensor_bytes(t));
        else pass_h(&fh, fg_data(t), fg_data(mid), h, w, c, ow);
        if (h == oh) memcpy(fg_data(out), fg_data(mid), fg_tensor_bytes(out));
        else pass_v(&fv, fg_data(mid), fg_data(out), oh, ow * c);
    }
    filter_drop(ctx, &fh);
    filter_drop(ctx, &fv);
    fg_release(mid);
    if (!ok) {
        fg_release(out);
        return fg_scope_fail(s);
    }
    return fg_scope_push(s, out);
}

fg_tensor *fg_image_resize(fg_scope *s, const fg_tensor *image, int64_t h, int64_t w) {
    if (!s || !image) return NULL;
    if (!fg_enter(s->ctx)) return fg_scope_fail(s);
    fg_tensor *out = resize(s, image, h, w);
    fg_leave(s->ctx);
    return out;
}

/* Half of d, halves to even: Python's round. */
static int64_t half(int64_t d) { return d / 2 + (d % 2 && d / 2 % 2); }

static fg_tensor *crop(fg_scope *s, const fg_tensor *t, int64_t oh, int64_t ow) {
    if (!image_ok(s, "image_center_crop", t, oh, ow)) return NULL;
    int64_t h = t->shape.dim[0], w = t->shape.dim[1], c = t->shape.dim[2];
    if (oh > h || ow > w)
        return fg_scope_error(s, FG_EINVAL, "image_center_crop: %lld x %lld pixels out of an image of %lld x %lld", (long long)oh,
                              (long long)ow, (long long)h, (long long)w);
    fg_shape shape = FG_SHAPE(oh, ow, c);
    fg_tensor *out = fg_tensor_new(s->ctx, FG_U8, &shape);
    if (!out) return fg_scope_fail(s);
    int64_t y0 = half(h - oh), x0 = half(w - ow);
    const uint8_t *src = fg_data(t);
    uint8_t *dst = fg_data(out);
    for (int64_t y = 0; y < oh; y++) memcpy(dst + y * ow * c, src + ((y0 + y) * w + x0) * c, (size_t)(ow * c));
    return fg_scope_push(s, out);
}

fg_tensor *fg_image_center_crop(fg_scope *s, const fg_tensor *image, int64_t h, int64_t w) {
    if (!s || !image) return NULL;
    if (!fg_enter(s->ctx)) return fg_scope_fail(s);
    fg_tensor *out = crop(s, image, h, w);
    fg_leave(s->ctx);
    return out;
}
