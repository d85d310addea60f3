/* test_io_idx.c: IDX files, plain and compressed: values, sizes that lie, damage, memory, and the speed of MNIST's. */
/* build: both */
#include "io_help.h"

#include <zlib.h>

static fg_scope *s;

static size_t gz(const void *data, size_t n, uint8_t *out, size_t cap) {
    z_stream z = { .next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)cap };
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

/* Whether the bytes are a good file; *sum gets the sum of its values. */
static fg_status read_bytes(const void *data, size_t n, double *sum) {
    fg_input in;
    fg_input_memory(&in, "x.idx", data, n);
    s = fg_scope_open(ctx);
    fg_tensor *t = fg_idx_read(s, &in);
    for (int64_t i = 0; t && sum && i < fg_tensor_numel(t); i++) *sum += fg_tensor_at(t, i);
    fg_status st = fg_scope_close(s);
    ck_assert_int_eq(t == NULL, st != FG_OK);
    ck_assert_uint_eq(io_live(), 0);
    return st;
}

START_TEST(element_types) {
    static const struct {
        const char *name;
        fg_dtype dt;
        double v[6];
    } cases[] = { { "type08.idx", FG_U8, { 0, 1, 2, 253, 254, 255 } },
                  { "type09.idx", FG_I32, { -128, -1, 0, 1, 2, 127 } },
                  { "type0b.idx", FG_I32, { -32768, -1, 0, 1, 2, 32767 } },
                  { "type0c.idx", FG_I32, { -2147483648.0, -1, 0, 1, 2, 2147483647 } },
                  { "type0d.idx", FG_F32, { -1.5, 0, 0.25, 1, 2, (double)3e38f } },
                  { "type0e.idx", FG_F32, { -1.5, 0, 0.25, 1, 2, (double)(fg_real)1e30 } } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[128];
        size_t n;
        snprintf(path, sizeof path, VECTORS "%s", cases[i].name);
        uint8_t *file = io_read(path, &n), zipped[256];
        size_t nz = gz(file, n, zipped, sizeof zipped);
        io_write(io_path("any name.bin"), zipped, nz);
        for (int compressed = 0; compressed < 2; compressed++) {
            s = fg_scope_open(ctx);
            fg_tensor *t = fg_idx_load(s, compressed ? io_path("any name.bin") : path);
            ck_assert_msg(t != NULL, "%s", fg_last_error(ctx));
            ck_assert_int_eq(fg_tensor_dtype(t), cases[i].dt);
            ck_assert(fg_tensor_ndim(t) == 2 && fg_tensor_size(t, 0) == 2 && fg_tensor_size(t, 1) == 3);
            for (int k = 0; k < 6; k++) ck_assert_double_eq(fg_tensor_at(t, k), cases[i].v[k]);
            ck_ok(fg_scope_close(s));
        }
        free(file);
    }
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(ranks) {
    uint8_t f[64] = { 0, 0, 8 };
    for (int rank = 0; rank <= FG_MAX_RANK + 1; rank++) {
        f[3] = (uint8_t)rank;
        for (int i = 0; i < rank; i++) f[4 + 4 * i + 3] = i == 0 ? 2 : 1;
        fg_status st = read_bytes(f, 4 + 4 * (size_t)rank + 2, NULL);
        ck_assert_int_eq(st, rank >= 1 && rank <= FG_MAX_RANK ? FG_OK : FG_EFORMAT);
        if (st) ck_error("is no IDX header");
    }
    uint8_t none[8] = { 0, 0, 8, 1, 0, 0, 0, 0 }; /* no elements at all is a valid file */
    uint8_t zipped[64];
    ck_ok(read_bytes(none, 8, NULL));
    ck_ok(read_bytes(zipped, gz(none, 8, zipped, sizeof zipped), NULL));
}
END_TEST

static void refused(const void *data, size_t n, const char *part) {
    fg_memory_reset_peak(ctx);
    size_t before = fg_memory_stats(ctx).peak;
    ck_assert_int_eq(read_bytes(data, n, NULL), FG_EFORMAT);
    ck_error("x.idx: ");
    ck_error(part);
    ck_assert_uint_lt(fg_memory_stats(ctx).peak - before, 8u << 20);
}

START_TEST(sizes_that_lie) {
    uint8_t f[128] = { 0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28 }, z[256];
    refused(f, 16 + 12, "IDX header declares 60000x28x28 = 47040000 bytes, the file holds 12");
    size_t n = gz(f, 16 + 12, z, sizeof z);
    refused(z, n, "IDX header declares 60000x28x28 = 47040000 bytes, ");
    ck_error("compressed bytes cannot hold them");
    memset(f + 4, 0xFF, 12);
    refused(f, 28, "more than any file holds");
    refused(z, gz(f, 28, z, sizeof z), "more than any file holds");
    uint8_t g[] = { 0, 0, 8, 1, 0, 0, 0x40, 0, 1, 2, 3 }; /* 16384 bytes: deflate could make them of this file */
    refused(z, gz(g, sizeof g, z, sizeof z), "IDX header declares 16384 = 16384 bytes, the file holds 3");
    uint8_t h[] = { 0, 0, 8, 1, 0, 0, 0, 2, 1, 2, 3 };
    refused(h, sizeof h, "declares 2 = 2 bytes, the file goes on after them");
    n = gz(h, sizeof h, z, sizeof z);
    refused(z, n, "goes on after them");
    n = gz(h, sizeof h - 1, z, sizeof z);
    ck_ok(read_bytes(z, n, NULL));
    z[n] = 0;
    refused(z, n + 1, "1 bytes follow the gzip data");
    uint8_t big[70000] = { 0, 0, 8, 1, 0, 0x10, 0, 0 }; /* declares 1 MB, and zeros compress that well: still refused */
    static uint8_t zbig[4096];
    refused(zbig, gz(big, sizeof big, zbig, sizeof zbig), "cannot hold them");
    uint8_t magic[] = "PK\3\4";
    refused(magic, 4, "starts with bytes 50 4b; an IDX file starts with 00 00");
    refused(magic, 0, "0 bytes, too short");
}
END_TEST

START_TEST(damage) {
    uint8_t f[8 + 40] = { 0, 0, 8, 1, 0, 0, 0, 40 }, z[256], copy[256];
    for (int i = 0; i < 40; i++) f[8 + i] = (uint8_t)(i * 37);
    size_t n = gz(f, sizeof f, z, sizeof z);
    double good = 0, sum;
    ck_ok(read_bytes(z, n, &good));
    for (size_t cut = 0; cut < sizeof f; cut++) ck_assert_int_eq(read_bytes(f, cut, NULL), FG_EFORMAT);
    for (size_t cut = 0; cut < n; cut++) ck_assert_int_eq(read_bytes(z, cut, NULL), FG_EFORMAT);
    for (size_t bit = 0; bit < n * 8; bit++) {
        memcpy(copy, z, n);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        sum = 0;
        /* what no checksum covers (time, flags, system, the padding bits of a block) may differ; the values may not */
        if (read_bytes(copy, n, &sum) == FG_OK) ck_assert_msg(bit < 88 && sum == good, "bit %zu", bit);
    }
    for (size_t bit = 0; bit < 64; bit++) { /* of the plain header; bit 16 makes bytes signed, which is a good file */
        if (bit == 16) continue;
        memcpy(copy, f, sizeof f);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_int_eq(read_bytes(copy, sizeof f, NULL), FG_EFORMAT);
    }
    memcpy(copy, z, n);
    copy[n - 8] ^= 1;
    refused(copy, n, "damaged gzip data");
    ck_error("incorrect data check");
    refused(z, n - 4, "the gzip data ends too early");
    s = fg_scope_open(ctx);
    ck_assert_ptr_null(fg_idx_load(s, "/nowhere/train.gz"));
    ck_assert_int_eq(fg_scope_close(s), FG_EIO);
    ck_error("cannot open /nowhere/train.gz");
}
END_TEST

static bool load_ok(const char *path) {
    fg_scope *own = fg_scope_open(ctx);
    bool ok = own && fg_idx_load(own, path);
    if (own) fg_scope_close(own);
    return ok;
}

START_TEST(memory_failures) {
    size_t n = 3 << 20; /* large enough that the buffer grows twice */
    uint8_t *f = calloc(1, n), *z = malloc(n);
    memcpy(f, (uint8_t[]){ 0, 0, 8, 1, 0, (uint8_t)((n - 8) >> 16), (uint8_t)((n - 8) >> 8), (uint8_t)(n - 8) }, 8);
    for (size_t i = 8; i < n; i++) f[i] = (uint8_t)(i * i >> 3);
    size_t nz = gz(f, n, z, n);
    io_write(io_path("a.gz"), z, nz);
    EACH_ALLOCATION_FAILS(load_ok(io_path("a.gz")));
    EACH_ALLOCATION_FAILS(load_ok(VECTORS "type0c.idx"));
    s = fg_scope_open(ctx);
    fg_tensor *t = fg_idx_load(s, io_path("a.gz"));
    ck_assert(t && memcmp(fg_tensor_data(t), f + 8, n - 8) == 0);
    ck_ok(fg_scope_close(s));
    free(f), free(z);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

/* As large as MNIST's training images, 60000x28x28: well under half a second. */
START_TEST(speed) {
    size_t n = 16 + 60000u * 784;
    uint8_t *f = calloc(1, n), *z = malloc(n);
    memcpy(f, (uint8_t[]){ 0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28 }, 16);
    uint32_t x = 1;
    for (size_t i = 16; i < n; i++) /* a fifth of the pixels inked, as in digits */
        if (i / 28 % 5 == 0) x = x * 1664525 + 1013904223, f[i] = (uint8_t)(x >> 24);
    z_stream zs = { .next_in = f, .avail_in = (uInt)n, .next_out = z, .avail_out = (uInt)n };
    ck_assert_int_eq(deflateInit2(&zs, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&zs, Z_FINISH), Z_STREAM_END);
    deflateEnd(&zs);
    io_write(io_path("train.gz"), z, zs.total_out);
    double start = fg_clock_seconds();
    s = fg_scope_open(ctx);
    fg_tensor *t = fg_idx_load(s, io_path("train.gz"));
    double seconds = fg_clock_seconds() - start;
    ck_assert(t && memcmp(fg_tensor_data(t), f + 16, n - 16) == 0);
    ck_ok(fg_scope_close(s));
    printf("60000x28x28 from %.1f MB of gzip: %.3f s\n", (double)zs.total_out / 1e6, seconds);
    ck_assert_double_lt(seconds, 5); /* the goal is 0.5; sanitizers and busy machines are slower */
    free(f), free(z);
}
END_TEST

IO_MAIN("io_idx", element_types, ranks, sizes_that_lie, damage, memory_failures, speed)
