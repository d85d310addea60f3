/* test_io_json.c: the JSON codec: what is read, what is refused and where, what is written, memory, locale. */
#include "io_help.h"
#include "json.h"

#include <locale.h>

static const fg_json *parse(const char *text, fg_json_doc **doc) {
    ck_ok(fg_json_parse(ctx, text, strlen(text), "t.json", doc));
    return (*doc)->root;
}

/* text -> tree -> text */
static void rewrite(const char *text, size_t n, unsigned flags, char *out, size_t cap) {
    fg_json_doc *doc;
    fg_json_writer w;
    char *res;
    size_t size, bytes;
    ck_ok(fg_json_parse(ctx, text, n, "t.json", &doc));
    fg_json_begin(&w, ctx, flags);
    fg_json_put_value(&w, doc->root);
    fg_json_free(ctx, doc);
    ck_ok(fg_json_finish(&w, &res, &size, &bytes));
    ck_assert_uint_eq(strlen(res), size);
    ck_assert_uint_lt(size, cap);
    memcpy(out, res, size + 1);
    fg_free(ctx, res, bytes);
}

static void check_rewrite(const char *text, unsigned flags, const char *want) {
    char out[4096];
    rewrite(text, strlen(text), flags, out, sizeof out);
    ck_assert_str_eq(out, want);
}

START_TEST(reads_values) {
    fg_json_doc *doc;
    const fg_json *v = parse(" {\"a\": [1, -2.5e3, true, null, \"x\\u00e9\\ud83d\\ude00\\n\"], \"b\": {}, \"\": []}\r\n\t", &doc),
                  *k, *e;
    ck_assert(fg_json_is(v, FG_JSON_OBJECT) && v->n == 3);
    fg_json_iter it = fg_json_each(fg_json_get(v, "a"));
    ck_assert(fg_json_step(&it, &k, &e) && !k && e->u.number == 1);
    ck_assert(fg_json_step(&it, &k, &e) && e->u.number == -2500);
    ck_assert(fg_json_step(&it, &k, &e) && e->kind == FG_JSON_BOOL && e->truth);
    ck_assert(fg_json_step(&it, &k, &e) && e->kind == FG_JSON_NULL);
    ck_assert(fg_json_step(&it, &k, &e) && fg_json_equals(e, "x\xC3\xA9\xF0\x9F\x98\x80\n"));
    ck_assert(!fg_json_step(&it, &k, &e));
    ck_assert(fg_json_is(fg_json_get(v, "b"), FG_JSON_OBJECT) && fg_json_get(v, "b")->n == 0);
    ck_assert(fg_json_is(fg_json_get(v, ""), FG_JSON_ARRAY));
    ck_assert_ptr_null(fg_json_get(v, "c"));
    it = fg_json_each(v); /* in the order of the text */
    const char *order[] = { "a", "b", "" };
    for (int i = 0; i < 3; i++) ck_assert(fg_json_step(&it, &k, &e) && fg_json_equals(k, order[i]));
    fg_json_free(ctx, doc);
    v = parse("\"a\\u0000b\"", &doc);
    ck_assert(v->n == 3 && memcmp(v->u.text, "a\0b", 4) == 0 && !fg_json_equals(v, "a"));
    fg_json_free(ctx, doc);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(reads_numbers) {
    static const struct {
        const char *text;
        double want;
    } cases[] = { { "0", 0 },
                  { "-0", -0.0 },
                  { "9007199254740993", 9007199254740992.0 },
                  { "123456789012345", 123456789012345.0 },
                  { "0.1", 0.1 },
                  { "1e-400", 0 },
                  { "4.9e-324", 4.9e-324 },
                  { "1.7976931348623157e308", 1.7976931348623157e308 },
                  { "2.2250738585072011e-308", 2.2250738585072011e-308 },
                  { "-1E+2", -100 },
                  { "9007199254740992", 9007199254740992.0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fg_json_doc *doc;
        double d = parse(cases[i].text, &doc)->u.number;
        ck_assert_msg(memcmp(&d, &cases[i].want, 8) == 0, "%s gives %.17g", cases[i].text, d);
        fg_json_free(ctx, doc);
    }
    fg_json_doc *doc;
    const fg_json *v = parse("[3, 3.5, -1, 9007199254740992, 1e300, \"3\"]", &doc), *k, *e;
    bool want[] = { true, false, false, true, false, false };
    int64_t n;
    fg_json_iter it = fg_json_each(v);
    for (int i = 0; fg_json_step(&it, &k, &e); i++) ck_assert_int_eq(fg_json_int(e, 0, INT64_MAX, &n), want[i]);
    fg_json_free(ctx, doc);
}
END_TEST

START_TEST(refuses_with_place) {
    static const struct {
        const char *text, *part;
    } cases[] = {
        { "", "line 1, column 1: a value is expected, the text ends" },
        { "{\"a\":1,\n \"b\" 2}", "line 2, column 6: ':' is expected after a key" },
        { "[1,\n2,]", "line 2, column 3: a value cannot start with ']'" },
        { "{\"a\":1,}", "a key in quotes is expected" },
        { "[1 2]", "column 4: ',' or ']' is expected" },
        { "[1", "array opened on line 1 is not closed" },
        { "{\"a\":1", "object opened on line 1 is not closed" },
        { "{\"a\":1,\"a\":2}", "duplicate key 'a'" },
        { "{\"a\":1,\"\\u0061\":2}", "duplicate key 'a'" },
        { "{\"a\":[{\"b\":1}],\"c\":{},\"a\":2}", "duplicate key 'a'" },
        { "1 1", "column 3: the text goes on after its value" },
        { "01", "must not start with 0" },
        { "-", "needs a digit" },
        { "1.", "digit must follow the decimal point" },
        { "1e+", "exponent needs a digit" },
        { ".5", "cannot start with '.'" },
        { "+1", "cannot start with '+'" },
        { "0x10", "goes on after its value" },
        { "1e999", "number is out of range" },
        { "NaN", "cannot start with 'N'" },
        { "Infinity", "cannot start with 'I'" },
        { "tru", "cannot start with 't'" },
        { "\"a", "string is not closed" },
        { "\"a\\", "string is not closed" },
        { "\"a\nb\"", "control character 0x0a" },
        { "\"\\x\"", "unknown escape" },
        { "\"\\u12g4\"", "four hexadecimal digits" },
        { "\"\\ud800\"", "high surrogate \\ud800 without a low one" },
        { "\"\\ud800\\u0041\"", "high surrogate \\ud800 without a low one" },
        { "\"\\udc00\"", "low surrogate \\udc00 without a high one" },
        { "\"\xFF\"", "byte 0xff is not valid UTF-8" },
        { "\"\xC0\x80\"", "byte 0xc0 is not valid UTF-8" },
        { "\"\xE0\x9F\xBF\"", "byte 0xe0 is not valid UTF-8" },
        { "\"\xF0\x8F\xBF\xBF\"", "byte 0xf0 is not valid UTF-8" },
        { "\"\xED\xA0\x80\"", "byte 0xed is not valid UTF-8" },
        { "\"\xF4\x90\x80\x80\"", "byte 0xf4 is not valid UTF-8" },
        { "\"\xE2\x82", "byte 0xe2 is not valid UTF-8" },
        { "\xEF\xBB\xBF{}", "cannot start with byte 0xef" },
        { "/* c */ 1", "cannot start with '/'" },
        { "{'a':1}", "a key in quotes is expected" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fg_json_doc *doc;
        fg_status st = fg_json_parse(ctx, cases[i].text, strlen(cases[i].text), "t.json", &doc);
        ck_assert_msg(st == FG_EFORMAT && !doc, "%s", cases[i].text);
        ck_error("t.json: line ");
        ck_error(cases[i].part);
    }
    fg_json_doc *doc; /* a zero byte is no end */
    ck_assert_int_eq(fg_json_parse(ctx, "1\0", 2, "t.json", &doc), FG_EFORMAT);
    ck_assert_int_eq(fg_json_parse(ctx, "\"\0\"", 3, "t.json", &doc), FG_EFORMAT);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(limits_depth) {
    char text[300];
    fg_json_doc *doc;
    for (int deep = FG_JSON_MAX_DEPTH; deep <= FG_JSON_MAX_DEPTH + 1; deep++) {
        memset(text, '[', (size_t)deep);
        memset(text + deep, ']', (size_t)deep);
        fg_status st = fg_json_parse(ctx, text, (size_t)deep * 2, "t.json", &doc);
        ck_assert_int_eq(st, deep > FG_JSON_MAX_DEPTH ? FG_EFORMAT : FG_OK);
        fg_json_free(ctx, doc);
    }
    ck_error("column 65: nested more than 64 deep");
}
END_TEST

/* Many keys go through the hash table; memory stays in proportion to the text. */
START_TEST(many_keys) {
    size_t n = 20000, len = 0, cap = n * 12 + 64;
    char *text = malloc(cap);
    text[len++] = '{';
    for (size_t i = 0; i < n; i++) len += (size_t)snprintf(text + len, cap - len, "\"k%zu\":0,", i);
    fg_json_doc *doc;
    fg_memory_reset_peak(ctx);
    size_t before = fg_memory_stats(ctx).peak;
    text[len - 1] = '}';
    ck_ok(fg_json_parse(ctx, text, len, "t.json", &doc));
    ck_assert_uint_eq(doc->root->n, n);
    ck_assert_uint_lt(fg_memory_stats(ctx).peak - before, 16 * len);
    fg_json_free(ctx, doc);
    text[len - 1] = ',';
    len += (size_t)snprintf(text + len, cap - len, "\"k77\":1}");
    ck_assert_int_eq(fg_json_parse(ctx, text, len, "t.json", &doc), FG_EFORMAT);
    ck_error("duplicate key 'k77'");
    /* the densest text: two bytes a value */
    memset(text, '0', cap);
    for (size_t i = 0; i < n; i++) text[i * 2] = i ? ',' : '[';
    text[n * 2] = ']';
    fg_memory_reset_peak(ctx);
    before = fg_memory_stats(ctx).peak;
    ck_ok(fg_json_parse(ctx, text, n * 2 + 1, "t.json", &doc));
    ck_assert_uint_eq(doc->root->n, n);
    ck_assert_uint_lt(fg_memory_stats(ctx).peak - before, 12 * (n * 2));
    fg_json_free(ctx, doc);
    free(text);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

START_TEST(writes_sorted_and_pretty) {
    const char *text = "{\"b\":{\"z\":1,\"y\":[{\"q\":1,\"p\":2},[]]},\"a\":{},\"ab\":\"\\u0001\\\"\\\\/\\n\",\"a\\\"\":null}";
    check_rewrite(text, FG_JSON_COMPACT,
                  "{\"b\":{\"z\":1,\"y\":[{\"q\":1,\"p\":2},[]]},\"a\":{},\"ab\":\"\\u0001\\\"\\\\/\\n\",\"a\\\"\":null}");
    check_rewrite(text, FG_JSON_SORTED,
                  "{\"a\":{},\"a\\\"\":null,\"ab\":\"\\u0001\\\"\\\\/\\n\",\"b\":{\"y\":[{\"p\":2,\"q\":1},[]],\"z\":1}}");
    check_rewrite("{\"b\":{\"z\":1,\"y\":[1,{}]},\"a\":[]}", FG_JSON_SORTED | FG_JSON_PRETTY,
                  "{\n  \"a\": [],\n  \"b\": {\n    \"y\": [\n      1,\n      {}\n    ],\n    \"z\": 1\n  }\n}");
    check_rewrite("[]", FG_JSON_PRETTY, "[]");
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

static void number_text(double d, bool f32, const char *want) {
    fg_json_writer w;
    char *text;
    size_t size, bytes;
    fg_json_begin(&w, ctx, 0);
    if (f32) fg_json_put_float(&w, d);
    else fg_json_put_number(&w, d);
    ck_ok(fg_json_finish(&w, &text, &size, &bytes));
    ck_assert_str_eq(text, want);
    fg_free(ctx, text, bytes);
}

START_TEST(writes_numbers) {
    number_text(0, false, "0");
    number_text(-0.0, false, "-0.0");
    number_text(9007199254740992.0, false, "9007199254740992");
    number_text(-123456789012.0, false, "-123456789012");
    number_text(1e300, false, "1e+300");
    number_text(0.1, false, "0.1");
    number_text(2e-4, false, "0.0002");
    number_text(1.0 / 3, false, "0.33333333333333331");
    number_text((double)0.1f, false, "0.10000000149011612");
    number_text((double)0.1f, true, "0.100000001");
    number_text(16777217.0, true, "16777217");
    number_text(1e10, true, "1e+10");
    number_text(INFINITY, false, "null");
    number_text(NAN, true, "null");
    uint64_t x = 88172645463325252u; /* every double reads back as itself */
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        double d;
        memcpy(&d, &x, 8);
        if (!isfinite(d)) continue;
        fg_json_writer w;
        fg_json_doc *doc;
        char *text;
        size_t size, bytes;
        fg_json_begin(&w, ctx, 0);
        fg_json_put_number(&w, d);
        ck_ok(fg_json_finish(&w, &text, &size, &bytes));
        double back = parse(text, &doc)->u.number;
        ck_assert(memcmp(&back, &d, 8) == 0);
        fg_json_free(ctx, doc);
        fg_free(ctx, text, bytes);
    }
}
END_TEST

static fg_status finish(fg_json_writer *w) {
    char *text;
    size_t size, bytes;
    fg_status st = fg_json_finish(w, &text, &size, &bytes);
    if (st) ck_assert(!text && !size && !bytes);
    else fg_free(ctx, text, bytes);
    ck_assert_uint_eq(io_live(), 0);
    return st;
}

START_TEST(writer_refuses_misuse) {
    fg_json_writer w;
    fg_json_begin(&w, ctx, FG_JSON_SORTED);
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("nothing was written");
    fg_json_begin(&w, ctx, 0);
    fg_json_open_object(&w);
    fg_json_put_int(&w, 1);
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("needs a key");
    fg_json_begin(&w, ctx, 0);
    fg_json_open_array(&w);
    fg_json_put_key(&w, "a");
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("where no key may");
    fg_json_begin(&w, ctx, 0);
    fg_json_put_int(&w, 1);
    fg_json_put_int(&w, 1);
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("second value");
    fg_json_begin(&w, ctx, 0);
    fg_json_open_array(&w);
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("still open");
    fg_json_begin(&w, ctx, FG_JSON_SORTED);
    fg_json_open_object(&w);
    for (int i = 0; i < 3; i++) {
        fg_json_put_key(&w, i == 1 ? "b" : "a");
        fg_json_put_int(&w, i);
    }
    fg_json_close(&w);
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("duplicate key \"a\"");
    fg_json_begin(&w, ctx, 0);
    fg_json_put_string(&w, "ab\xFFz");
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("not valid UTF-8 at byte 2 (0xff)");
    fg_json_begin(&w, ctx, 0);
    for (int i = 0; i <= FG_JSON_MAX_DEPTH; i++) fg_json_open_array(&w);
    ck_assert_int_eq(finish(&w), FG_EINVAL);
    ck_error("nested more than 64 deep");
}
END_TEST

static const char sample[] =
    "{\"b\":{\"z\":1,\"y\":[{\"q\":1.5,\"p\":\"\\ud83d\\ude00\"},[]]},\"a\":{\"k\":-3e-5},\"c\":true,\"d\":[null,false]}";

/* No prefix of a valid text is valid; no flipped bit crashes or leaks, and what is accepted is written and read again. */
START_TEST(survives_damage) {
    char text[sizeof sample], again[4096], third[4096];
    fg_json_doc *doc;
    size_t n = strlen(sample);
    for (size_t cut = 0; cut < n; cut++) ck_assert_int_eq(fg_json_parse(ctx, sample, cut, "t.json", &doc), FG_EFORMAT);
    int accepted = 0;
    for (size_t bit = 0; bit < n * 8; bit++) {
        memcpy(text, sample, n + 1);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        if (fg_json_parse(ctx, text, n, "t.json", &doc)) continue;
        fg_json_free(ctx, doc);
        accepted++;
        rewrite(text, n, FG_JSON_SORTED, again, sizeof again);
        rewrite(again, strlen(again), FG_JSON_SORTED, third, sizeof third);
        ck_assert_str_eq(again, third);
    }
    ck_assert_int_gt(accepted, 50);
    ck_assert_uint_eq(io_live(), 0);
}
END_TEST

static bool write_sample(const fg_json *v) {
    fg_json_writer w;
    char *text;
    size_t size, bytes;
    fg_json_begin(&w, ctx, FG_JSON_SORTED | FG_JSON_PRETTY);
    fg_json_put_value(&w, v);
    fg_status st = fg_json_finish(&w, &text, &size, &bytes);
    if (st == FG_OK) fg_free(ctx, text, bytes);
    return st == FG_OK;
}

static bool parse_many(const char *text) {
    fg_json_doc *doc;
    bool ok = fg_json_parse(ctx, text, strlen(text), "t", &doc) == FG_OK;
    fg_json_free(ctx, doc);
    return ok;
}

START_TEST(memory_failures) {
    fg_json_doc *doc;
    const fg_json *v = parse(sample, &doc);
    EACH_ALLOCATION_FAILS(write_sample(v));
    fg_json_free(ctx, doc);
    char many[512] = "{";
    for (int i = 0; i < 40; i++) snprintf(many + strlen(many), 32, "\"%d\":0%s", i, i < 39 ? "," : "}");
    EACH_ALLOCATION_FAILS(parse_many(many));
}
END_TEST

/* A host program may have set a decimal comma. */
START_TEST(locale_independent) {
    char command[256];
    bool comma = false;
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
    if (system(command) == 0) setenv("LOCPATH", folder, 1);
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "es_ES.UTF-8", "pt_BR.UTF-8", "de_DE" };
    for (size_t i = 0; i < sizeof names / sizeof *names && !comma; i++)
        comma = setlocale(LC_ALL, names[i]) && strcmp(localeconv()->decimal_point, ",") == 0;
    if (!comma) printf("no locale with a decimal comma on this machine: the codec is checked in the C locale only\n");
    fg_json_doc *doc;
    char seen[16];
    snprintf(seen, sizeof seen, "%.1f", 0.5);
    ck_assert_str_eq(seen, comma ? "0,5" : "0.5");
    ck_assert_double_eq(parse("1.25e1", &doc)->u.number, 12.5);
    fg_json_free(ctx, doc);
    number_text(0.1, false, "0.1");
    number_text(1.0 / 3, false, "0.33333333333333331");
    snprintf(seen, sizeof seen, "%.1f", 0.5); /* and the host's locale is as it was */
    ck_assert_str_eq(seen, comma ? "0,5" : "0.5");
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -rf %s/de_DE.UTF-8", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

IO_MAIN("io_json", reads_values, reads_numbers, refuses_with_place, limits_depth, many_keys, writes_sorted_and_pretty,
        writes_numbers, writer_refuses_misuse, survives_damage, memory_failures, locale_independent)
