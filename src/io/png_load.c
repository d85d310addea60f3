/* png_load.c: reads PNG pictures through libpng's full interface.
 *
 * libpng reports errors by longjmp. It is caught here, in decode(), and goes no further: decode holds no resource of its
 * own and changes none of its locals after setjmp; all state lies in the caller's `reader`, which frees it. The size in
 * the header is checked twice before pixels are allocated: against max_side, and against what the file's bytes could
 * inflate to (deflate makes at most 1032 bytes of one). Ancillary chunks are bounded in number and size, warnings are
 * dropped, nothing is printed. */
#include "input.h"
#include "tensor.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#define DEFLATE_MAX 1032
#define MAX_SIDE    16384

typedef struct reader {
    fg_scope *s;
    fg_context *ctx;
    fg_input *in;
    fg_png_opts o;
    png_structp png;
    png_infop info;
    fg_status status;
    char warning[96]; /* the newest; libpng says there why a header was refused */
    uint8_t *pixels;  /* [h][w][c] as libpng delivers them, 8 bits a sample; fg_alloc'ed */
    size_t bytes;
    png_bytep *rows; /* [h] into pixels */
    size_t rows_bytes;
    int64_t h, w, c; /* c: 1 to 4 */
} reader;

static void on_error(png_structp png, png_const_charp msg) {
    reader *r = png_get_error_ptr(png);
    if (!r->status)
        r->status =
            fg_error(r->ctx, FG_EFORMAT, "%s: damaged PNG: %s%s%s", r->in->path, msg, r->warning[0] ? ": " : "", r->warning);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp msg) {
    reader *r = png_get_error_ptr(png);
    snprintf(r->warning, sizeof r->warning, "%s", msg);
}

static void on_read(png_structp png, png_bytep dst, png_size_t n) {
    reader *r = png_get_io_ptr(png);
    size_t got;
    fg_status st = fg_input_some(r->ctx, r->in, dst, n, &got);
    if (!st && got < n)
        st = fg_error(r->ctx, FG_EFORMAT, "%s: damaged PNG: ends too early, after %llu bytes", r->in->path,
                      (unsigned long long)r->in->pos);
    if (st) {
        r->status = st;
        png_longjmp(png, 1);
    }
}

static void fail(reader *r, fg_status st) {
    r->status = st;
    png_longjmp(r->png, 1);
}

/* Size checked, transformations set, memory reserved; errors leave through fail(). */
static void prepare(reader *r) {
    png_uint_32 w, h;
    int depth, type;
    png_read_info(r->png, r->info);
    png_get_IHDR(r->png, r->info, &w, &h, &depth, &type, NULL, NULL, NULL);
    png_set_expand(r->png); /* palettes to RGB, small grey to 8 bits, tRNS to alpha */
    if (depth == 16) png_set_scale_16(r->png);
    png_set_interlace_handling(r->png);
    uint64_t raw = ((uint64_t)w * png_get_channels(r->png, r->info) * (uint64_t)depth + 7) / 8 * h;
    if (raw / DEFLATE_MAX > r->in->size)
        fail(r, fg_error(r->ctx, FG_EFORMAT, "%s: PNG header declares %u x %u pixels, %llu bytes of file cannot hold them",
                         r->in->path, w, h, (unsigned long long)r->in->size));
    png_read_update_info(r->png, r->info);
    r->h = h;
    r->w = w;
    r->c = png_get_channels(r->png, r->info);
    size_t row = png_get_rowbytes(r->png, r->info);
    if (row != (size_t)(r->w * r->c) || r->c < 1 || r->c > 4)
        fail(r, fg_error(r->ctx, FG_EFORMAT, "%s: PNG rows of %zu bytes for %u pixels of %d channels", r->in->path, row, w,
                         (int)r->c));
    if (!fg_size_mul(row, h, &r->bytes))
        fail(r, fg_error(r->ctx, FG_EFORMAT, "%s: PNG of %u x %u pixels is too large", r->in->path, w, h));
    r->rows_bytes = h * sizeof *r->rows;
    r->pixels = fg_calloc(r->ctx, r->bytes); /* zeroed: interlaced passes read what they have not written */
    r->rows = r->pixels ? fg_alloc(r->ctx, r->rows_bytes) : NULL;
    if (!r->rows) fail(r, FG_ENOMEM);
    for (size_t y = 0; y < h; y++) r->rows[y] = r->pixels + y * row;
}

static fg_status decode(reader *r) {
    if (setjmp(png_jmpbuf(r->png))) return r->status;
    png_uint_32 side = (png_uint_32)r->o.max_side;
    png_set_user_limits(r->png, side, side);
    png_set_chunk_malloc_max(r->png, (png_alloc_size_t)8 << 20);
    png_set_chunk_cache_max(r->png, 128);
    png_set_read_fn(r->png, r, on_read);
    prepare(r);
    png_read_image(r->png, r->rows);
    png_read_end(r->png, NULL);
    return FG_OK;
}

static uint8_t luma(const uint8_t *p) { return (uint8_t)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16); }

/* src[pixels][sc] -> dst[pixels][dc]: alpha is composited over bg or kept, grey and colour change into each other. */
static void convert(const uint8_t *src, int64_t sc, uint8_t *dst, int64_t dc, int64_t pixels, const uint8_t bg[3]) {
    bool alpha = sc == 2 || sc == 4, colour = sc >= 3;
    for (int64_t i = 0; i < pixels; i++, src += sc, dst += dc) {
        uint8_t p[4] = { src[0], src[colour ? 1 : 0], src[colour ? 2 : 0], alpha ? src[sc - 1] : 255 };
        if (dc != 4 && p[3] != 255)
            for (int k = 0; k < 3; k++) p[k] = (uint8_t)((p[k] * p[3] + bg[k] * (255 - p[3]) + 127) / 255);
        /* grey stays what it is where nothing coloured was mixed in */
        if (dc == 1) dst[0] = p[0] == p[1] && p[1] == p[2] ? p[0] : luma(p);
        else memcpy(dst, p, (size_t)dc);
    }
}

static fg_tensor *deliver(reader *r) {
    static const uint8_t white[3] = { 255, 255, 255 };
    int64_t c = r->o.channels ? r->o.channels : r->c == 2 ? 4 : r->c;
    fg_shape shape = FG_SHAPE(r->h, r->w, c);
    fg_tensor *t = fg_tensor_new(r->ctx, FG_U8, &shape);
    if (!t) return NULL;
    if (c == r->c) memcpy(fg_data(t), r->pixels, r->bytes);
    else convert(r->pixels, r->c, fg_data(t), c, r->h * r->w, r->o.background ? r->o.background : white);
    return t;
}

fg_tensor *fg_png_read(fg_scope *s, fg_input *in, const fg_png_opts *o) {
    reader r = { .s = s, .ctx = s->ctx, .in = in };
    if (o) r.o = *o;
    if (!r.o.max_side) r.o.max_side = MAX_SIDE;
    if (r.o.channels != 0 && r.o.channels != 1 && r.o.channels != 3 && r.o.channels != 4)
        return fg_scope_error(s, FG_EINVAL, "png_load: %d channels asked, expects 0, 1, 3 or 4", r.o.channels);
    if (r.o.max_side < 1 || r.o.max_side > 1 << 24)
        return fg_scope_error(s, FG_EINVAL, "png_load: max_side %d, expects 1 to %d", r.o.max_side, 1 << 24);
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    fg_tensor *t = NULL;
    if (!r.info) fg_error(r.ctx, FG_ENOMEM, "out of memory for libpng");
    else if (decode(&r) == FG_OK) t = deliver(&r);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    if (r.rows) fg_free(r.ctx, r.rows, r.rows_bytes);
    if (r.pixels) fg_free(r.ctx, r.pixels, r.bytes);
    return t ? fg_scope_push(s, t) : fg_scope_fail(s);
}

fg_tensor *fg_png_load(fg_scope *s, const char *path, const fg_png_opts *o) {
    if (!s) return NULL;
    if (!fg_enter(s->ctx)) return fg_scope_fail(s);
    fg_input in;
    fg_tensor *t = fg_input_open(s->ctx, &in, path) ? fg_scope_fail(s) : fg_png_read(s, &in, o);
    fg_input_close(&in);
    fg_leave(s->ctx);
    return t;
}
