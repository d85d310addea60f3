/* grid.c: images as bytes, and many images as one picture (the sheet of samples that a training run leaves).
 *
 * Values become bytes by floor((v - lo) / (hi - lo) * 255 + 0.5), clamped, in double: the same on every machine. A NaN
 * must not pass for black: it is magenta in colour and a one-pixel chequerboard in grey. */
#include "pixels.h"

#include <math.h>
#include <string.h>

bool fg_image_dims_of(const fg_tensor *t, bool lead, fg_image_dims *d) {
    const fg_shape *sh = &t->shape;
    int at = lead ? 1 : 0;
    if (sh->ndim != at + 2 && sh->ndim != at + 3) return false;
    d->n = lead ? sh->dim[0] : 1;
    d->h = sh->dim[at];
    d->w = sh->dim[at + 1];
    d->c = sh->ndim == at + 3 ? sh->dim[at + 2] : 1;
    return (d->c == 1 || d->c == 3 || d->c == 4) && d->n >= 1 && d->h >= 1 && d->w >= 1;
}

fg_status fg_check_range(fg_context *ctx, const char *who, const fg_tensor *t, double lo, double hi) {
    if (t->dtype == FG_U8) return FG_OK;
    if (t->dtype != FG_F32 && t->dtype != FG_BF16)
        return fg_error(ctx, FG_EINVAL, "%s: images of dtype %s, expects u8, f32 or bf16", who,
                        fg_dtype_name((fg_dtype)t->dtype));
    if (!isfinite(lo) || !isfinite(hi) || !(lo < hi))
        return fg_error(ctx, FG_EINVAL, "%s: the range %g..%g must rise and be finite", who, lo, hi);
    return FG_OK;
}

void fg_pixels_to_bytes(const fg_tensor *t, int64_t first, int64_t count, int64_t c, double lo, double hi, int64_t x, int64_t y,
                        uint8_t *out) {
    if (t->dtype == FG_U8) {
        memcpy(out, (const uint8_t *)fg_data(t) + first, (size_t)(count * c));
        return;
    }
    const fg_real *r = fg_data(t);
    const uint16_t *b = fg_data(t);
    double scale = 255.0 / (hi - lo);
    for (int64_t p = 0; p < count; p++, first += c, out += c) {
        bool nan = false;
        for (int64_t k = 0; k < c; k++) {
            double v = t->dtype == FG_F32 ? (double)r[first + k] : (double)fg_bf16_to_float(b[first + k]);
            if (isnan(v)) nan = true;
            double u = floor((v - lo) * scale + 0.5);
            out[k] = u >= 255 ? 255 : u > 0 ? (uint8_t)u : 0; /* NaN falls through to 0 */
        }
        if (!nan) continue;
        if (c == 1) {
            out[0] = (x + p + y) & 1 ? 0 : 255;
        } else {
            out[0] = out[2] = 255;
            out[1] = 0;
            if (c == 4) out[3] = 255;
        }
    }
}

static fg_tensor *grid(fg_scope *s, const fg_tensor *t, int cols, int pad, int background, double lo, double hi) {
    fg_image_dims d;
    char text[96];
    if (fg_check_range(s->ctx, "image_grid", t, lo, hi)) return fg_scope_fail(s);
    if (!fg_image_dims_of(t, true, &d)) {
        fg_shape_print(&t->shape, text, sizeof text);
        return fg_scope_error(s, FG_EINVAL, "image_grid: images %s, expects [N,H,W] or [N,H,W,C] with 1, 3 or 4 channels", text);
    }
    if (cols < 0 || pad < 0 || pad > 4096 || background < 0 || background > 255)
        return fg_scope_error(s, FG_EINVAL, "image_grid: cols %d, pad %d (0 to 4096), background %d (0 to 255) out of range",
                              cols, pad, background);
    int64_t n_cols = cols ? cols : (int64_t)ceil(sqrt((double)d.n));
    if (n_cols > d.n) n_cols = d.n;
    int64_t rows = (d.n + n_cols - 1) / n_cols;
    const int64_t most = 1 << 20; /* pixels a side */
    if (n_cols > most / (d.w + pad) || rows > most / (d.h + pad))
        return fg_scope_error(
            s, FG_EINVAL, "image_grid: %lld x %lld images of %lld x %lld pixels make a picture of more than %lld pixels a side",
            (long long)rows, (long long)n_cols, (long long)d.h, (long long)d.w, (long long)most);
    fg_shape shape = FG_SHAPE(rows * (d.h + pad) + pad, n_cols * (d.w + pad) + pad, d.c);
    fg_tensor *out = fg_tensor_new(s->ctx, FG_U8, &shape);
    if (!out) return fg_scope_fail(s);
    uint8_t *pix = fg_data(out); /* pix[GH][GW][C] */
    memset(pix, background, fg_tensor_bytes(out));
    for (int64_t i = 0; i < d.n; i++) {
        int64_t y0 = pad + i / n_cols * (d.h + pad), x0 = pad + i % n_cols * (d.w + pad);
        for (int64_t y = 0; y < d.h; y++)
            fg_pixels_to_bytes(t, (i * d.h + y) * d.w * d.c, d.w, d.c, lo, hi, 0, y, pix + ((y0 + y) * shape.dim[1] + x0) * d.c);
    }
    return fg_scope_push(s, out);
}

fg_tensor *fg_image_grid(fg_scope *s, const fg_tensor *images, int cols, int pad, int background, double lo, double hi) {
    if (!s || !images) return NULL;
    if (!fg_enter(s->ctx)) return fg_scope_fail(s);
    fg_tensor *out = grid(s, images, cols, pad, background, lo, hi);
    fg_leave(s->ctx);
    return out;
}
