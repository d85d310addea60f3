/* test_io_image.c: PNG reading against stored pixels of every colour type, writing, grids, resizing as Pillow does. */
/* build: both */
#include "io_help.h"

#include <zlib.h>

static fg_scope *s;

/* The image at VECTORS name, as IDX, u8 [H,W,C] */
static fg_tensor *vector(const char *name) {
    char path[256];
    snprintf(path, sizeof path, VECTORS "%s.idx", name);
    fg_tensor *t = fg_idx_load(s, path);
    ck_assert_msg(t != NULL, "%s", fg_last_error(ctx));
    return t;
}

static void same_image(const char *what, fg_tensor *got, fg_tensor *want) {
    char a[64], b[64];
    ck_assert_msg(got != NULL, "%s: %s", what, fg_last_error(ctx));
    fg_shape x = fg_tensor_shape(got), y = fg_tensor_shape(want);
    fg_shape_print(&x, a, sizeof a);
    fg_shape_print(&y, b, sizeof b);
    ck_assert_msg(strcmp(a, b) == 0, "%s: %s, expected %s", what, a, b);
    const uint8_t *p = fg_tensor_data(got), *q = fg_tensor_data(want);
    for (int64_t i = 0; i < fg_tensor_numel(got); i++)
        ck_assert_msg(p[i] == q[i], "%s: byte %d is %d, expected %d", what, (int)i, p[i], q[i]);
}

static fg_tensor *load(const char *path, int channels, const uint8_t *background) {
    fg_png_opts o = { .channels = channels, .background = background };
    return fg_png_load(s, path, &o);
}

/* What want[H,W,4] is in c channels over a background. */
static fg_tensor *flatten(fg_tensor *want, int c, const uint8_t bg[3]) {
    int64_t n = fg_tensor_size(want, 0) * fg_tensor_size(want, 1);
    fg_tensor *t = fg_empty(s, FG_U8, FG_SHAPE(fg_tensor_size(want, 0), fg_tensor_size(want, 1), c));
    const uint8_t *p = fg_tensor_data(want);
    uint8_t *q = fg_tensor_data_mut(t);
    for (int64_t i = 0; i < n; i++, p += 4, q += c) {
        int v[3];
        for (int k = 0; k < 3; k++) v[k] = (int)floor((p[k] * p[3] + bg[k] * (255 - p[3])) / 255.0 + 0.5);
        if (c == 3)
            for (int k = 0; k < 3; k++) q[k] = (uint8_t)v[k];
        else if (v[0] == v[1] && v[1] == v[2]) q[0] = (uint8_t)v[0];
        else q[0] = (uint8_t)floor((v[0] * 19595.0 + v[1] * 38470.0 + v[2] * 7471.0) / 65536 + 0.5);
    }
    return t;
}

START_TEST(reads_every_kind) {
    static const struct {
        const char *name;
        int channels; /* as in the file */
    } kinds[] = { { "c0d1", 1 },  { "c0d2", 1 },    { "c0d4", 1 },         { "c0d8", 1 },     { "c0d16", 1 },
                  { "c2d8", 3 },  { "c2d16", 3 },   { "c4d8", 4 },         { "c4d16", 4 },    { "c6d8", 4 },
                  { "c6d16", 4 }, { "palette", 3 }, { "palette_trns", 4 }, { "grey_trns", 4 } };
    const uint8_t white[3] = { 255, 255, 255 }, blue[3] = { 10, 20, 200 };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[256];
        snprintf(path, sizeof path, VECTORS "%s.png", kinds[i].name);
        s = fg_scope_open(ctx);
        fg_tensor *want = vector(kinds[i].name);
        same_image(kinds[i].name, load(path, 4, NULL), want);
        same_image(kinds[i].name, load(path, 3, NULL), flatten(want, 3, white));
        same_image(kinds[i].name, load(path, 1, NULL), flatten(want, 1, white));
        same_image(kinds[i].name, load(path, 3, blue), flatten(want, 3, blue));
        same_image(kinds[i].name, load(path, 1, blue), flatten(want, 1, blue));
        fg_tensor *own = fg_png_load(s, path, NULL);
        ck_assert_int_eq(fg_tensor_size(own, 2), kinds[i].channels);
        ck_ok(fg_scope_close(s));
    }
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(round_trip) {
    s = fg_scope_open(ctx);
    for (int c = 1; c <= 4; c++) {
        if (c == 2) continue;
        fg_tensor *t = fg_empty(s, FG_U8, FG_SHAPE(13, 7, c));
        uint8_t *p = fg_tensor_data_mut(t);
        for (int i = 0; i < 13 * 7 * c; i++) p[i] = (uint8_t)(i * i * 31);
        ck_ok(fg_png_save(ctx, io_path("a.png"), t, 0, 0));
        same_image("round trip", load(io_path("a.png"), 0, NULL), t);
    }
    fg_real v[] = { 0, 1, (fg_real)0.5, -3, 7, (fg_real)NAN, -INFINITY, INFINITY };
    ck_ok(fg_png_save(ctx, io_path("f.png"), fg_from_reals(s, FG_SHAPE(2, 4), v), 0, 1));
    same_image("0..1", load(io_path("f.png"), 0, NULL),
               fg_from_u8(s, FG_SHAPE(2, 4, 1), (uint8_t[]){ 0, 255, 128, 0, 255, 255, 0, 255 }));
    ck_ok(fg_png_save(ctx, io_path("f.png"), fg_from_reals(s, FG_SHAPE(2, 4), v), -1, 1));
    same_image("-1..1", load(io_path("f.png"), 0, NULL),
               fg_from_u8(s, FG_SHAPE(2, 4, 1), (uint8_t[]){ 128, 255, 191, 0, 255, 255, 0, 255 }));
    fg_real rgb[] = { 0, (fg_real)NAN, 1, 0, 1, 0 };
    ck_ok(fg_png_save(ctx, io_path("f.png"), fg_from_reals(s, FG_SHAPE(1, 2, 3), rgb), 0, 1));
    same_image("nan", load(io_path("f.png"), 0, NULL), fg_from_u8(s, FG_SHAPE(1, 2, 3), (uint8_t[]){ 255, 0, 255, 0, 255, 0 }));
    fg_tensor *half = fg_empty(s, FG_BF16, FG_SHAPE(1, 2));
    uint16_t *b = fg_tensor_data_mut(half);
    b[0] = 0x3F80, b[1] = 0x3F00;
    ck_ok(fg_png_save(ctx, io_path("f.png"), half, 0, 1));
    same_image("bf16", load(io_path("f.png"), 0, NULL), fg_from_u8(s, FG_SHAPE(1, 2, 1), (uint8_t[]){ 255, 128 }));
    ck_ok(fg_scope_close(s));
    ck_assert_int_eq(io_files(false), 2);
}
END_TEST

static fg_status read_bytes(const void *data, size_t n, const fg_png_opts *o) {
    fg_input in;
    fg_input_memory(&in, "x.png", data, n);
    s = fg_scope_open(ctx);
    fg_tensor *t = fg_png_read(s, &in, o);
    fg_status st = fg_scope_close(s);
    ck_assert_int_eq(t == NULL, st != FG_OK);
    ck_assert_uint_eq(io_live(), 0);
    return st;
}

START_TEST(survives_damage) {
    static const char *const files[] = { "c0d2.png", "palette_trns.png", "c6d16.png" };
    for (int k = 0; k < 3; k++) {
        char path[256];
        size_t n;
        snprintf(path, sizeof path, VECTORS "%s", files[k]);
        uint8_t *file = io_read(path, &n), *copy = malloc(n);
        for (size_t cut = 0; cut < n; cut++) ck_assert_int_eq(read_bytes(file, cut, NULL), FG_EFORMAT);
        for (size_t bit = 0; bit < n * 8; bit++) { /* each chunk has its checksum; only tRNS, ancillary, may be dropped */
            memcpy(copy, file, n);
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            fg_status st = read_bytes(copy, n, NULL);
            ck_assert_msg(st == FG_EFORMAT || (st == FG_OK && k == 1), "%s bit %zu", files[k], bit);
        }
        free(file), free(copy);
    }
}
END_TEST

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

START_TEST(limits) {
    /* a header that promises a large picture, with a right checksum and no pixels to speak of */
    size_t n;
    uint8_t *f = io_read(VECTORS "c2d8.png", &n);
    for (int i = 0; i < 2; i++) {
        put32(f + 16, i ? 16385 : 16384);
        put32(f + 20, 16384);
        put32(f + 29, (uint32_t)crc32(0, f + 12, 17));
        fg_memory_reset_peak(ctx);
        size_t before = fg_memory_stats(ctx).peak;
        ck_assert_int_eq(read_bytes(f, n, NULL), FG_EFORMAT);
        ck_error(i ? "exceeds user limit" : "PNG header declares 16384 x 16384 pixels");
        ck_assert_uint_lt(fg_memory_stats(ctx).peak - before, 4096);
    }
    free(f);
    f = io_read(VECTORS "c2d8.png", &n); /* 11 x 9 */
    ck_assert_int_eq(read_bytes(f, n, &(fg_png_opts){ .max_side = 10 }), FG_EFORMAT);
    ck_ok(read_bytes(f, n, &(fg_png_opts){ .max_side = 11 }));
    ck_assert_int_eq(read_bytes(f, n, &(fg_png_opts){ .channels = 2 }), FG_EINVAL);
    ck_assert_int_eq(read_bytes(f, n, &(fg_png_opts){ .max_side = -1 }), FG_EINVAL);
    free(f);
    ck_assert_int_eq(read_bytes("GIF89a..", 8, NULL), FG_EFORMAT);
    ck_error("x.png: damaged PNG: Not a PNG file");
    s = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_png_load(s, "/nowhere/a.png", NULL));
    ck_assert_int_eq(fg_scope_close(s), FG_EIO);
}
END_TEST

START_TEST(save_refuses) {
    s = fg_scope_open(ctx);
    fg_tensor *t = fg_zeros(s, FG_F32, FG_SHAPE(2, 2, 2));
    ck_assert_int_eq(fg_png_save(ctx, io_path("a.png"), t, 0, 1), FG_EINVAL);
    ck_error("png_save: image [2,2,2], expects [H,W] or [H,W,C]");
    t = fg_zeros(s, FG_F32, FG_SHAPE(2, 2));
    ck_assert_int_eq(fg_png_save(ctx, io_path("a.png"), t, 1, 1), FG_EINVAL);
    ck_assert_int_eq(fg_png_save(ctx, io_path("a.png"), t, 0, (double)NAN), FG_EINVAL);
    ck_assert_int_eq(fg_png_save(ctx, io_path("a.png"), fg_zeros(s, FG_I32, FG_SHAPE(2, 2)), 0, 1), FG_EINVAL);
    ck_assert_int_eq(fg_png_save(ctx, io_path("a.png"), NULL, 0, 1), FG_EINVAL);
    ck_assert_int_eq(fg_png_save(ctx, io_path("no/such/a.png"), t, 0, 1), FG_EIO);
    ck_assert_int_eq(io_files(false), 0);
    ck_assert_int_eq(mkdir(io_path("dir"), 0777), 0);
    ck_assert_int_eq(fg_png_save(ctx, io_path("dir"), t, 0, 1), FG_EIO);
    ck_assert_int_eq(io_files(false), 1);
    fg_scope_close(s);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(disk_full) { /* the old file stays, the half-written one goes */
    s = fg_scope_open(ctx);
    fg_tensor *t = fg_uniform(s, FG_SHAPE(64, 64), 0, 1, FG_STREAM_DEFAULT);
    io_write(io_path("a"), "old", 3);
    io_limit_files(2000);
    fg_status png = fg_png_save(ctx, io_path("a"), t, 0, 1);
    char message[512];
    snprintf(message, sizeof message, "%s", fg_last_error(ctx));
    fg_status st = fg_tensors_save(ctx, io_path("b"), (const char *[]){ "a" }, &t, 1, NULL, 0);
    io_limit_files(RLIM_INFINITY);
    ck_assert_int_eq(png, FG_EIO);
    ck_assert_msg(strstr(message, "/a: File too large"), "%s", message);
    ck_assert_int_eq(st, FG_EIO);
    ck_error("/b: File too large");
    ck_assert_int_eq(io_files(false), 1);
    size_t n;
    uint8_t *old = io_read(io_path("a"), &n);
    ck_assert(n == 3 && memcmp(old, "old", 3) == 0);
    free(old);
    fg_scope_close(s);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(grids) {
    s = fg_scope_open(ctx);
    fg_real v[5 * 2 * 3];
    for (int i = 0; i < 30; i++) v[i] = (fg_real)(i / 6) / 4; /* image k is all k/4 */
    fg_tensor *t = fg_from_reals(s, FG_SHAPE(5, 2, 3), v), *g = fg_image_grid(s, t, 0, 1, 7, 0, 1);
    ck_assert_msg(g != NULL, "%s", fg_last_error(ctx));
    fg_shape sh = fg_tensor_shape(g), want = FG_SHAPE(7, 13, 1); /* 2 rows, 3 columns */
    ck_assert(fg_shape_equal(&sh, &want));
    const uint8_t *p = fg_tensor_data(g);
    static const uint8_t level[] = { 0, 64, 128, 191, 255, 7 };
    for (int y = 0; y < 7; y++)
        for (int x = 0; x < 13; x++) ck_assert_int_eq(p[y * 13 + x], y % 3 == 0 || x % 4 == 0 ? 7 : level[y / 3 * 3 + x / 4]);
    sh = fg_tensor_shape(fg_image_grid(s, t, 9, 0, 0, 0, 1)); /* never more columns than images */
    want = FG_SHAPE(2, 15, 1);
    ck_assert(fg_shape_equal(&sh, &want));
    uint8_t c[2 * 1 * 1 * 3] = { 1, 2, 3, 4, 5, 6 };
    g = fg_image_grid(s, fg_from_u8(s, FG_SHAPE(2, 1, 1, 3), c), 1, 0, 0, 0, 0);
    same_image("rgb", g, fg_from_u8(s, FG_SHAPE(2, 1, 3), c));
    fg_real nan[4] = { (fg_real)NAN, (fg_real)NAN, (fg_real)NAN, (fg_real)NAN };
    g = fg_image_grid(s, fg_from_reals(s, FG_SHAPE(1, 2, 2), nan), 1, 0, 0, 0, 1);
    same_image("nan", g, fg_from_u8(s, FG_SHAPE(2, 2, 1), (uint8_t[]){ 255, 0, 0, 255 }));
    for (int64_t n = 1; n < 200; n++) { /* as square as can be */
        g = fg_image_grid(s, fg_zeros(s, FG_U8, FG_SHAPE(n, 1, 1)), 0, 0, 0, 0, 0);
        int64_t cols = fg_tensor_size(g, 1);
        ck_assert(cols * cols >= n && (cols - 1) * (cols - 1) < n);
    }
    ck_ok(fg_scope_close(s));
    static const struct {
        int cols, pad, background;
        double lo, hi;
        const char *part;
    } bad[] = { { -1, 0, 0, 0, 1, "cols -1" },
                { 0, -1, 0, 0, 1, "pad -1" },
                { 0, 0, 256, 0, 1, "background 256" },
                { 0, 0, 0, 1, 0, "the range 1..0" } };
    for (size_t i = 0; i < 4; i++) {
        s = fg_scope_open(ctx);
        ck_assert_ptr_null(fg_image_grid(s, fg_zeros(s, FG_F32, FG_SHAPE(1, 1, 1)), bad[i].cols, bad[i].pad, bad[i].background,
                                         bad[i].lo, bad[i].hi));
        ck_assert_int_eq(fg_scope_close(s), FG_EINVAL);
        ck_error(bad[i].part);
    }
    s = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_image_grid(s, fg_zeros(s, FG_F32, FG_SHAPE(4, 4)), 0, 0, 0, 0, 1));
    ck_error("images [4,4], expects [N,H,W]");
    fg_scope_close(s);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(resizes_as_pillow) {
    static const int sizes[][2] = { { 23, 31 }, { 8, 8 }, { 46, 40 }, { 23, 7 }, { 5, 31 }, { 1, 1 }, { 64, 3 } };
    s = fg_scope_open(ctx);
    fg_tensor *in = vector("resize_in");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char name[64];
        snprintf(name, sizeof name, "resize_%dx%d", sizes[i][0], sizes[i][1]);
        same_image(name, fg_image_resize(s, in, sizes[i][0], sizes[i][1]), vector(name));
    }
    ck_ok(fg_scope_close(s));
    s = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_image_resize(s, vector("resize_in"), 0, 5));
    ck_error("image_resize: from [23,31,3] to 0 x 5");
    fg_scope_close(s);
    s = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_image_resize(s, fg_zeros(s, FG_F32, FG_SHAPE(2, 2, 1)), 2, 2));
    ck_error("image [2,2,1] of dtype f32, expects u8 [H,W,C]");
    fg_scope_close(s);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(crops_the_centre) {
    s = fg_scope_open(ctx);
    uint8_t v[6 * 5];
    for (int i = 0; i < 30; i++) v[i] = (uint8_t)i;
    fg_tensor *in = fg_from_u8(s, FG_SHAPE(6, 5, 1), v);
    /* (6-3)/2 = 1.5 rounds to 2, (5-4)/2 = 0.5 to 0 */
    same_image("crop", fg_image_center_crop(s, in, 3, 4),
               fg_from_u8(s, FG_SHAPE(3, 4, 1), (uint8_t[]){ 10, 11, 12, 13, 15, 16, 17, 18, 20, 21, 22, 23 }));
    same_image("whole", fg_image_center_crop(s, in, 6, 5), in);
    ck_assert_ptr_null(fg_image_center_crop(s, in, 7, 5));
    ck_error("7 x 5 pixels out of an image of 6 x 5");
    fg_scope_close(s);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

static bool image_work(const char *path) {
    s = fg_scope_open(ctx);
    fg_tensor *t = s ? load(path, 3, NULL) : NULL;
    bool ok = t && fg_image_resize(s, t, 20, 5) && fg_image_center_crop(s, t, 3, 3);
    if (s) fg_scope_close(s);
    return ok;
}

START_TEST(memory_failures) {
    EACH_ALLOCATION_FAILS(image_work(VECTORS "c6d16.png"));
    s = fg_scope_open(ctx);
    fg_tensor *t = fg_zeros(s, FG_F32, FG_SHAPE(40, 40));
    io_write(io_path("a.png"), "old", 3);
    EACH_ALLOCATION_FAILS(fg_png_save(ctx, io_path("a.png"), t, 0, 1) == FG_OK);
    ck_assert_int_eq(io_files(false), 1);
    fg_scope_close(s);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

IO_MAIN("io_image", reads_every_kind, round_trip, survives_damage, limits, save_refuses, disk_full, grids, resizes_as_pillow,
        crops_the_centre, memory_failures)
