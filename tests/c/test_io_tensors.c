/* test_io_tensors.c: safetensors files: the package's own, our round trips, every kind of damage, failures on the way. */
/* build: both */
#include "io_help.h"

static fg_scope *s;

static fg_tensor_file *load(const char *path) {
    fg_tensor_file *f = NULL;
    ck_ok(fg_tensors_load(s, path, &f));
    ck_assert_ptr_nonnull(f);
    return f;
}

static void check_values(const fg_tensor_file *f, const char *name, fg_dtype dt, const char *shape, const double *want) {
    char text[64];
    fg_tensor *t = fg_tensor_file_get(f, name);
    ck_assert_msg(t != NULL, "%s", name);
    fg_shape sh = fg_tensor_shape(t);
    fg_shape_print(&sh, text, sizeof text);
    ck_assert_str_eq(text, shape);
    ck_assert_int_eq(fg_tensor_dtype(t), dt);
    for (int64_t i = 0; i < fg_tensor_numel(t); i++) {
        double got = fg_tensor_at(t, i);
        ck_assert_msg(got == want[i], "%s[%d] is %.17g, expected %.17g", name, (int)i, got, want[i]);
    }
}
#define VALUES(...) ((double[]){ __VA_ARGS__ })
#define REAL(x)     ((double)(fg_real)(x))
/* A denormal f32 is copied bit by bit; where it becomes a double, a context flushes it like any other arithmetic. */
#define TINY (sizeof(fg_real) == 4 ? (double)1e-42f : 0)

START_TEST(reads_the_packages_files) {
    s = fg_scope_open(ctx);
    fg_tensor_file *f = load(VECTORS "every.safetensors");
    ck_assert_int_eq(f->n, 15);
    for (int i = 1; i < f->n; i++) ck_assert_int_lt(strcmp(f->names[i - 1], f->names[i]), 0);
    check_values(f, "f32", FG_F32, "[2,2]", VALUES(0, -1.5, TINY, INFINITY));
    check_values(f, "f64", FG_F32, "[3]", VALUES(REAL(0.1), -0x1p60, REAL(1e-300)));
    check_values(f, "f16", FG_F32, "[7]", VALUES(0, 1, -2, 65504, 0x1p-24, INFINITY, 0.333251953125));
    check_values(f, "i8", FG_I32, "[3]", VALUES(-128, 127, 0));
    check_values(f, "i16", FG_I32, "[2]", VALUES(-32768, 32767));
    check_values(f, "u16", FG_I32, "[2]", VALUES(65535, 1));
    check_values(f, "i32", FG_I32, "[2]", VALUES(-2147483648.0, 2147483647));
    check_values(f, "u32", FG_I32, "[2]", VALUES(2147483647, 0));
    check_values(f, "i64", FG_I32, "[2]", VALUES(-2147483648.0, 2147483647));
    check_values(f, "u64", FG_I32, "[1]", VALUES(7));
    check_values(f, "u8", FG_U8, "[5]", VALUES(0, 1, 2, 3, 4));
    check_values(f, "bool", FG_U8, "[3]", VALUES(1, 0, 1));
    check_values(f, "scalar", FG_F32, "[]", VALUES(2.5));
    check_values(f, "empty", FG_F32, "[0,3]", NULL);
    check_values(f,
                 "name with \"quotes\", \xC3\xBCn\xC3\xAF"
                 "code and a / slash",
                 FG_F32, "[1,2,3,1]", VALUES(1, 1, 1, 1, 1, 1));
    ck_assert_int_eq(f->n_meta, 3);
    ck_assert_str_eq(fg_tensor_file_meta(f, "format"), "np");
    ck_assert_str_eq(fg_tensor_file_meta(f, "gr\xC3\xB6\xC3\x9F"
                                            "e"),
                     "klein\n\"x\"");
    ck_assert_str_eq(fg_tensor_file_meta(f, ""), "empty key");
    ck_assert_ptr_null(fg_tensor_file_meta(f, "absent"));
    ck_assert_ptr_null(fg_tensor_file_get(f, "absent"));
    fg_tensor_file_free(ctx, f);
    f = load(VECTORS "none.safetensors");
    ck_assert_int_eq(f->n + f->n_meta, 0);
    fg_tensor_file_free(ctx, f);
    ck_ok(fg_scope_close(s));
    s = fg_scope_open(ctx);
    ck_assert_int_eq(fg_tensors_load(s, VECTORS "wide.safetensors", &f), FG_EFORMAT);
    ck_assert_ptr_null(f);
    ck_error("tensor 'wide': value 1099511627776 (element 1) does not fit i32");
    ck_assert_int_eq(fg_scope_close(s), FG_EFORMAT); /* the scope failed, too */
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

static void make(fg_tensor **t) {
    fg_real r[] = { (fg_real)0.1, -1, (fg_real)NAN, 3 };
    t[0] = fg_from_reals(s, FG_SHAPE(2, 2), r);
    t[1] = fg_from_u8(s, FG_SHAPE(3), (uint8_t[]){ 1, 2, 255 });
    t[2] = fg_from_i32(s, FG_SHAPE(1, 2), (int32_t[]){ INT32_MIN, INT32_MAX });
    t[3] = fg_empty(s, FG_BF16, FG_SHAPE(3));
    uint16_t *b = fg_tensor_data_mut(t[3]);
    for (int i = 0; i < 3; i++) b[i] = (uint16_t)(0x3F80 + i * 7);
    t[4] = fg_from_reals(s, FG_SCALAR, r + 3);
}
static const char *const names[] = { "net.w", "bytes", "ids", "half", "a\"\\\xC3\xA9" };
static const fg_meta meta[] = { { "z", "{\"json\": [1]}" }, { "arch", "" } };

START_TEST(round_trip) {
    s = fg_scope_open(ctx);
    fg_tensor *t[5];
    make(t);
    ck_ok(fg_tensors_save(ctx, io_path("a.st"), names, t, 5, meta, 2));
    fg_tensor_file *f = load(io_path("a.st"));
    ck_assert_int_eq(f->n, 5);
    for (int i = 0; i < 5; i++) {
        fg_tensor *u = fg_tensor_file_get(f, names[i]);
        fg_shape a = fg_tensor_shape(u), b = fg_tensor_shape(t[i]);
        ck_assert(u && fg_tensor_dtype(u) == fg_tensor_dtype(t[i]) && fg_shape_equal(&a, &b));
        if (fg_tensor_dtype(u) != FG_F32)
            ck_assert_int_eq(memcmp(fg_tensor_data(u), fg_tensor_data(t[i]), fg_tensor_bytes(u)), 0);
    }
    fg_tensor *w = fg_tensor_file_get(f, "net.w"); /* a file of the double build holds floats */
    ck_assert(fg_tensor_at(w, 0) == (double)0.1f && isnan(fg_tensor_at(w, 2)));
    ck_assert_str_eq(f->meta[0].key, "arch");
    ck_assert_str_eq(f->meta[1].value, "{\"json\": [1]}");
    fg_tensor_file_free(ctx, f);
    /* any order of the names gives the same bytes */
    const char *names2[5];
    fg_tensor *t2[5];
    for (int i = 0; i < 5; i++) names2[i] = names[4 - i], t2[i] = t[4 - i];
    ck_ok(fg_tensors_save(ctx, io_path("b.st"), names2, t2, 5, (fg_meta[]){ meta[1], meta[0] }, 2));
    size_t na, nb;
    uint8_t *a = io_read(io_path("a.st"), &na), *b = io_read(io_path("b.st"), &nb);
    ck_assert(na == nb && memcmp(a, b, na) == 0);
    free(a), free(b);
    for (int len = 1; len <= 8; len++) { /* the header ends at a multiple of 8, whatever its text */
        char name[9] = "aaaaaaaa";
        name[len] = 0;
        ck_ok(fg_tensors_save(ctx, io_path("b.st"), (const char *[]){ name }, t, 1, NULL, 0));
        a = io_read(io_path("b.st"), &na);
        ck_assert(a[0] % 8 == 0 && na == 8 + (size_t)a[0] + 16);
        free(a);
    }
    ck_ok(fg_tensors_save(ctx, io_path("none.st"), NULL, NULL, 0, NULL, 0));
    f = load(io_path("none.st"));
    ck_assert_int_eq(f->n, 0);
    fg_tensor_file_free(ctx, f);
    ck_ok(fg_scope_close(s));
    ck_assert_uint_eq(io_live(), 0);
    ck_assert_int_eq(io_files(false), 3);
}
END_TEST

START_TEST(save_refuses) {
    s = fg_scope_open(ctx);
    fg_tensor *t[5];
    make(t);
    const char *path = io_path("x.st");
    ck_assert_int_eq(fg_tensors_save(ctx, path, (const char *[]){ "a", "a" }, t, 2, NULL, 0), FG_EINVAL);
    ck_error("two tensors are named 'a'");
    ck_assert_int_eq(fg_tensors_save(ctx, path, (const char *[]){ "a", "" }, t, 2, NULL, 0), FG_EINVAL);
    ck_error("tensor 1 has no name");
    ck_assert_int_eq(fg_tensors_save(ctx, path, (const char *[]){ "__metadata__" }, t, 1, NULL, 0), FG_EINVAL);
    ck_error("__metadata__");
    ck_assert_int_eq(fg_tensors_save(ctx, path, (const char *[]){ "a" }, (fg_tensor *[]){ NULL }, 1, NULL, 0), FG_EINVAL);
    ck_error("'a' is no tensor");
    ck_assert_int_eq(fg_tensors_save(ctx, path, (const char *[]){ "\xFF" }, t, 1, NULL, 0), FG_EINVAL);
    ck_error("UTF-8");
    ck_assert_int_eq(fg_tensors_save(ctx, path, names, t, 1, (fg_meta[]){ meta[0], meta[0] }, 2), FG_EINVAL);
    ck_error("duplicate key \"z\"");
    fg_context *other = fg_context_new();
    ck_assert_int_eq(fg_tensors_save(other, path, names, t, 1, NULL, 0), FG_EINVAL);
    fg_context_free(other);
    ck_assert_int_eq(io_files(false), 0);
    /* the system refuses: no such folder, a folder in the way; the old file stays, no temporary is left */
    ck_assert_int_eq(fg_tensors_save(ctx, io_path("no/such/x.st"), names, t, 1, NULL, 0), FG_EIO);
    ck_error("no/such/x.st");
    ck_assert_int_eq(mkdir(io_path("dir"), 0777), 0);
    ck_assert_int_eq(fg_tensors_save(ctx, io_path("dir"), names, t, 1, NULL, 0), FG_EIO);
    ck_error("/dir");
    ck_assert_int_eq(io_files(false), 1);
    ck_ok(fg_scope_close(s));
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(load_refuses_the_system) {
    fg_tensor_file *f;
    static const char *const bad[] = { "/nowhere/x.st", "/tmp", "/dev/zero" };
    static const char *const part[] = { "cannot open /nowhere/x.st: No such file", "cannot read /tmp: it is a folder",
                                        "cannot read /dev/zero: not a regular file" };
    for (int i = 0; i < 3; i++) {
        s = fg_scope_open(ctx);
        ck_assert_int_eq(fg_tensors_load(s, bad[i], &f), FG_EIO);
        ck_error(part[i]);
        ck_assert_int_eq(fg_scope_close(s), FG_EIO);
    }
    ck_assert_int_eq(mkfifo(io_path("pipe"), 0600), 0); /* would block for ever if opened plainly */
    s = fg_scope_open(ctx);
    ck_assert_int_eq(fg_tensors_load(s, io_path("pipe"), &f), FG_EIO);
    fg_scope_close(s);
}
END_TEST

/* A file from a header text and so many bytes of data, all the same. */
static fg_status load_text(const char *header, size_t data, int fill) {
    uint8_t file[4096] = { 0 };
    size_t n = strlen(header);
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, fill, data);
    fg_input in;
    fg_tensor_file *f;
    fg_input_memory(&in, "t.st", file, 8 + n + data);
    s = fg_scope_open(ctx);
    fg_status st = fg_tensors_read(s, &in, &f);
    fg_tensor_file_free(ctx, f);
    fg_scope_close(s);
    ck_assert_uint_eq(io_live(), 0);
    return st;
}

START_TEST(refuses_bad_headers) {
    static const struct {
        const char *header;
        size_t data;
        const char *part;
    } cases[] = {
        { "[]", 0, "the header is an array, not an object" },
        { "{", 0, "line 1, column 2" },
        { "{\"a\":1}", 0, "tensor 'a' is a number, not an object" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "must have dtype, shape and data_offsets" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "and nothing else" },
        { "{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is a number" },
        { "{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'a' has dtype F8_E5M2" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "has 7 axes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "size 1 of its shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "size 1 of its shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "size 1 of its shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "two whole numbers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two whole numbers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "two whole numbers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "ends at byte 8 of the data, the file holds 4" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "[2] of F32 does not fill its 4 bytes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
          "does not fill its 0 bytes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740992,2048,0],\"data_offsets\":[0,0]}}", 0, "does not fill" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
          3, "tensor 'b' starts at byte 1 of the data, where 2 follows: an overlap" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "where 0 follows: a hole" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3, "end at byte 2 of the data, the file holds 3" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
          2, "duplicate key 'a'" },
        { "{\"__metadata__\":[]}", 0, "__metadata__ is an array" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ 'a' is a number, not a string" },
        { "{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, "holds a zero byte" },
        { "{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "holds a zero byte" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fg_status st = load_text(cases[i].header, cases[i].data, 0);
        ck_assert_msg(st == FG_EFORMAT || st == FG_EUNSUPPORTED, "%s", cases[i].header);
        ck_error("t.st");
        ck_error(cases[i].part);
    }
    ck_ok(load_text(
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]}}  ",
        2, 0));
    /* integers that do not fit i32 */
    ck_assert_int_eq(load_text("{\"a\":{\"dtype\":\"U32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, 0xFF), FG_EFORMAT);
    ck_error("tensor 'a': value 4294967295 (element 0) does not fit i32");
    ck_assert_int_eq(load_text("{\"a\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, 0xFF), FG_EFORMAT);
    ck_assert_int_eq(load_text("{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, 0x80), FG_EFORMAT);
    ck_error("value -9187201950435737472 (element 0)");
    ck_ok(load_text("{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, 0xFF)); /* -1 */
    /* a header that claims 2^60 bytes, or one more than there is */
    fg_input in;
    fg_tensor_file *f;
    uint8_t head[10] = { 3, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    for (int i = 0; i < 2; i++) {
        if (i) head[7] = 0x10;
        fg_input_memory(&in, "t.st", head, sizeof head);
        s = fg_scope_open(ctx);
        ck_assert_int_eq(fg_tensors_read(s, &in, &f), FG_EFORMAT);
        ck_error(i ? "declares 1152921504606846979 bytes" : "declares 3 bytes, the file has 2");
        fg_scope_close(s);
    }
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(survives_damage) {
    size_t n;
    uint8_t *file = io_read(VECTORS "small.safetensors", &n), *copy = malloc(n);
    fg_input in;
    fg_tensor_file *f;
    for (size_t cut = 0; cut < n; cut++) {
        fg_input_memory(&in, "t.st", file, cut);
        s = fg_scope_open(ctx);
        ck_assert_int_eq(fg_tensors_read(s, &in, &f), FG_EFORMAT);
        fg_scope_close(s);
    }
    size_t refused = 0;
    for (size_t bit = 0; bit < n * 8; bit++) {
        memcpy(copy, file, n);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        fg_memory_reset_peak(ctx);
        size_t before = fg_memory_stats(ctx).peak;
        fg_input_memory(&in, "t.st", copy, n);
        s = fg_scope_open(ctx);
        if (fg_tensors_read(s, &in, &f)) refused++;
        fg_tensor_file_free(ctx, f);
        fg_scope_close(s);
        ck_assert_uint_eq(io_live(), 0);
        ck_assert_uint_lt(fg_memory_stats(ctx).peak - before, 200000); /* one conversion chunk and small change */
    }
    ck_assert_uint_gt(refused, n * 4); /* most bits lie in the header */
    /* a file that shrinks after its size was taken */
    io_write(io_path("s.st"), file, n);
    ck_ok(fg_input_open(ctx, &in, io_path("s.st")));
    ck_assert_int_eq(truncate(io_path("s.st"), (off_t)n - 3), 0);
    s = fg_scope_open(ctx);
    ck_assert_int_eq(fg_tensors_read(s, &in, &f), FG_EFORMAT);
    ck_error("s.st: ends after");
    ck_assert_int_eq(s->n, 0); /* the tensors read before it are gone */
    fg_input_close(&in);
    fg_scope_close(s);
    free(copy);
    free(file);
}
END_TEST

static bool load_ok(const char *path) {
    fg_tensor_file *f = NULL;
    fg_scope *own = fg_scope_open(ctx);
    bool ok = own && fg_tensors_load(own, path, &f) == FG_OK;
    fg_tensor_file_free(ctx, f);
    if (own) fg_scope_close(own);
    return ok;
}

START_TEST(memory_failures) {
    s = fg_scope_open(ctx);
    fg_tensor *t[5];
    make(t);
    const char *path = io_path("a.st");
    io_write(path, "old", 3);
    EACH_ALLOCATION_FAILS(fg_tensors_save(ctx, path, names, t, 5, meta, 2) == FG_OK);
    ck_assert_int_eq(io_files(false), 1);
    fg_scope_close(s);
    EACH_ALLOCATION_FAILS(load_ok(path));
    EACH_ALLOCATION_FAILS(load_ok(VECTORS "every.safetensors"));
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

IO_MAIN("io_tensors", reads_the_packages_files, round_trip, save_refuses, load_refuses_the_system, refuses_bad_headers,
        survives_damage, memory_failures)
