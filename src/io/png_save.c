/* png_save.c: writes pictures as PNG, 8 bits a sample, to a temporary name that is renamed when all is written.
 *
 * As in png_load.c libpng's longjmp ends in encode(), which owns nothing; fg_png_save frees what `writer` holds. */
#include "pixels.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

typedef struct writer {
    fg_context *ctx;
    const char *path;
    const fg_tensor *image;
    fg_image_dims d;
    double lo, hi;
    fg_tmpfile tmp;
    png_structp png;
    png_infop info;
    uint8_t *row; /* [w][c] */
    fg_status status;
} writer;

static void on_error(png_structp png, png_const_charp msg) {
    writer *w = png_get_error_ptr(png);
    if (!w->status) w->status = fg_error(w->ctx, FG_EIO, "cannot write %s: %s", w->path, msg);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp msg) {
    (void)png;
    (void)msg;
}

static void on_write(png_structp png, png_bytep data, png_size_t n) {
    writer *w = png_get_io_ptr(png);
    if (fwrite(data, 1, n, w->tmp.file) == n) return;
    w->status = fg_error(w->ctx, FG_EIO, "cannot write %s: %s", w->path, strerror(errno));
    png_longjmp(png, 1);
}

static void on_flush(png_structp png) { (void)png; }

static fg_status encode(writer *w) {
    if (setjmp(png_jmpbuf(w->png))) return w->status;
    int type = w->d.c == 1 ? PNG_COLOR_TYPE_GRAY : w->d.c == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_RGB_ALPHA;
    png_set_write_fn(w->png, w, on_write, on_flush);
    png_set_user_limits(w->png, 0x7FFFFFFF, 0x7FFFFFFF);
    png_set_IHDR(w->png, w->info, (png_uint_32)w->d.w, (png_uint_32)w->d.h, 8, type, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(w->png, w->info);
    for (int64_t y = 0; y < w->d.h; y++) {
        fg_pixels_to_bytes(w->image, y * w->d.w * w->d.c, w->d.w, w->d.c, w->lo, w->hi, 0, y, w->row);
        png_write_row(w->png, w->row);
    }
    png_write_end(w->png, w->info);
    return FG_OK;
}

static fg_status write_png(writer *w) {
    fg_status st = fg_tmpfile_begin(w->ctx, w->path, &w->tmp);
    if (st) return st;
    w->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, w, on_error, on_warning);
    w->info = w->png ? png_create_info_struct(w->png) : NULL;
    st = w->info ? encode(w) : fg_error(w->ctx, FG_ENOMEM, "out of memory for libpng");
    png_destroy_write_struct(&w->png, &w->info);
    if (st) {
        fg_tmpfile_abort(w->ctx, &w->tmp);
        return st;
    }
    return fg_tmpfile_commit(w->ctx, &w->tmp);
}

static fg_status save(fg_context *ctx, const char *path, const fg_tensor *image, double lo, double hi) {
    writer w = { .ctx = ctx, .path = path, .image = image, .lo = lo, .hi = hi };
    char text[96];
    fg_status st = fg_check_range(ctx, "png_save", image, lo, hi);
    if (st) return st;
    if (!fg_image_dims_of(image, false, &w.d)) {
        fg_shape_print(&image->shape, text, sizeof text);
        return fg_error(ctx, FG_EINVAL, "png_save: image %s, expects [H,W] or [H,W,C] with 1, 3 or 4 channels", text);
    }
    if (w.d.h > 0xFFFFFF || w.d.w > 0xFFFFFF)
        return fg_error(ctx, FG_EINVAL, "png_save: image of %lld x %lld pixels is too large", (long long)w.d.h, (long long)w.d.w);
    size_t bytes = (size_t)(w.d.w * w.d.c);
    w.row = fg_alloc(ctx, bytes);
    if (!w.row) return FG_ENOMEM;
    st = write_png(&w);
    fg_free(ctx, w.row, bytes);
    return st;
}

fg_status fg_png_save(fg_context *ctx, const char *path, const fg_tensor *image, double lo, double hi) {
    if (!fg_enter(ctx)) return FG_EBUSY;
    fg_status st = image ? save(ctx, path, image, lo, hi) : fg_error(ctx, FG_EINVAL, "png_save: no image for %s", path);
    fg_leave(ctx);
    return st;
}
