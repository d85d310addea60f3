/* json.c: the JSON reader (RFC 8259) and its tree.
 *
 * Two passes over the text. The first counts what can start a value ('[', '{', ',' and ':' outside strings), which
 * bounds the number of nodes; so one block holds everything: the document's header, the nodes in preorder, and a copy of
 * the text in which strings are unescaped in place and closed by a zero byte (an escape is never shorter than what it
 * stands for, and the closing quote makes room for the zero). The second pass is a recursive descent, at most
 * FG_JSON_MAX_DEPTH deep, that writes the nodes. Numbers go through strtod under the "C" locale of this thread only, set
 * by uselocale for the time of the call, so a host's decimal comma changes nothing.
 *
 * The document belongs to the caller; nodes point into its block. */
#include "json.h"

#include <locale.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    fg_context *ctx;
    const char *what;
    char *text; /* the copy; ends with a zero byte */
    char *p, *end;
    fg_json *nodes;
    size_t n_nodes;
    size_t line;      /* of p, 1-based */
    char *line_start; /* first byte of that line */
    int depth;
} parser;

static fg_status fail_at(parser *ps, const char *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static fg_status fail_at(parser *ps, const char *at, const char *fmt, ...) {
    char msg[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return fg_error(ps->ctx, FG_EFORMAT, "%s: line %zu, column %zu: %s", ps->what, ps->line, (size_t)(at - ps->line_start) + 1,
                    msg);
}

size_t fg_utf8_length(const unsigned char *p, size_t n) {
    if (n == 0) return 0;
    if (p[0] < 0x80) return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) return n >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
    if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        if (n < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
        if (p[0] == 0xE0 && p[1] < 0xA0) return 0; /* overlong */
        if (p[0] == 0xED && p[1] > 0x9F) return 0; /* surrogates */
        return 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        if (n < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
        if (p[0] == 0xF0 && p[1] < 0x90) return 0; /* overlong */
        if (p[0] == 0xF4 && p[1] > 0x8F) return 0; /* above U+10FFFF */
        return 4;
    }
    return 0;
}

size_t fg_utf8_check(const char *text, size_t n) {
    size_t i = 0;
    while (i < n) {
        size_t len = fg_utf8_length((const unsigned char *)text + i, n - i);
        if (len == 0) break;
        i += len;
    }
    return i;
}

static void skip_space(parser *ps) {
    for (; ps->p < ps->end; ps->p++) {
        char c = *ps->p;
        if (c == '\n') {
            ps->line++;
            ps->line_start = ps->p + 1;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            return;
        }
    }
}

static fg_json *new_node(parser *ps, fg_json_kind kind) {
    fg_json *v = &ps->nodes[ps->n_nodes++];
    memset(v, 0, sizeof *v);
    v->kind = (uint8_t)kind;
    return v;
}

static bool hex4(const char *p, const char *end, unsigned *out) {
    unsigned u = 0;
    if (end - p < 4) return false;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];
        unsigned d = 16;
        if (c >= '0' && c <= '9') d = c - '0';
        else if (c >= 'a' && c <= 'f') d = c - 'a' + 10u;
        else if (c >= 'A' && c <= 'F') d = c - 'A' + 10u;
        if (d == 16) return false;
        u = u * 16 + d;
    }
    *out = u;
    return true;
}

static char *put_utf8(char *w, unsigned u) {
    if (u < 0x80) {
        *w++ = (char)u;
    } else if (u < 0x800) {
        *w++ = (char)(0xC0 | u >> 6);
        *w++ = (char)(0x80 | (u & 63));
    } else if (u < 0x10000) {
        *w++ = (char)(0xE0 | u >> 12);
        *w++ = (char)(0x80 | (u >> 6 & 63));
        *w++ = (char)(0x80 | (u & 63));
    } else {
        *w++ = (char)(0xF0 | u >> 18);
        *w++ = (char)(0x80 | (u >> 12 & 63));
        *w++ = (char)(0x80 | (u >> 6 & 63));
        *w++ = (char)(0x80 | (u & 63));
    }
    return w;
}

/* \uXXXX at r (after the u); a high surrogate takes its low half along. NULL on error. */
static char *unescape_unicode(parser *ps, char *r, char **w) {
    unsigned u, low;
    if (!hex4(r, ps->end, &u)) return fail_at(ps, r - 2, "\\u needs four hexadecimal digits"), NULL;
    r += 4;
    if (u >= 0xDC00 && u <= 0xDFFF) return fail_at(ps, r - 6, "low surrogate \\u%04x without a high one before it", u), NULL;
    if (u >= 0xD800 && u <= 0xDBFF) {
        if (ps->end - r < 6 || r[0] != '\\' || r[1] != 'u' || !hex4(r + 2, ps->end, &low) || low < 0xDC00 || low > 0xDFFF)
            return fail_at(ps, r - 6, "high surrogate \\u%04x without a low one after it", u), NULL;
        u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
        r += 6;
    }
    *w = put_utf8(*w, u);
    return r;
}

static fg_status parse_string(parser *ps) {
    char *open = ps->p, *r = open + 1, *w = r;
    fg_json *v = new_node(ps, FG_JSON_STRING);
    v->u.text = w;
    for (;;) {
        if (r == ps->end) return fail_at(ps, open, "string is not closed");
        unsigned char c = (unsigned char)*r;
        if (c == '"') break;
        if (c < 0x20) return fail_at(ps, r, "control character 0x%02x in a string: write it as \\u%04x", c, c);
        if (c == '\\') {
            static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
            if (ps->end - r < 2) return fail_at(ps, open, "string is not closed");
            const char *known = r[1] ? strchr(from, r[1]) : NULL;
            if (known) {
                *w++ = to[known - from];
                r += 2;
            } else if (r[1] == 'u') {
                r = unescape_unicode(ps, r + 2, &w);
                if (!r) return FG_EFORMAT;
            } else {
                return fail_at(ps, r, "unknown escape in a string");
            }
            continue;
        }
        size_t len = fg_utf8_length((unsigned char *)r, (size_t)(ps->end - r));
        if (len == 0) return fail_at(ps, r, "byte 0x%02x is not valid UTF-8", c);
        memmove(w, r, len);
        w += len;
        r += len;
    }
    *w = 0;
    v->n = (uint32_t)(w - v->u.text);
    ps->p = r + 1;
    return FG_OK;
}

static char *skip_digits(char *p) {
    while (*p >= '0' && *p <= '9') p++;
    return p;
}

static fg_status parse_number(parser *ps) {
    char *start = ps->p, *p = start;
    bool negative = *p == '-', whole = true;
    if (negative) p++;
    char *digits = p;
    p = skip_digits(p);
    if (p == digits) return fail_at(ps, start, "a number needs a digit here");
    if (*digits == '0' && p - digits > 1) return fail_at(ps, start, "a number must not start with 0");
    char *int_end = p;
    if (*p == '.') {
        char *q = skip_digits(++p);
        if (q == p) return fail_at(ps, p, "a digit must follow the decimal point");
        p = q;
        whole = false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        char *q = skip_digits(p);
        if (q == p) return fail_at(ps, p, "the exponent needs a digit");
        p = q;
        whole = false;
    }
    double d;
    if (whole && int_end - digits <= 15) { /* exact, and most numbers in files are short integers */
        int64_t i = 0;
        for (char *q = digits; q < int_end; q++) i = i * 10 + (*q - '0');
        d = negative ? -(double)i : (double)i;
    } else {
        d = strtod(start, NULL); /* reads the same extent: the grammar above is narrower than strtod's */
        if (!isfinite(d)) return fail_at(ps, start, "number is out of range");
    }
    new_node(ps, FG_JSON_NUMBER)->u.number = d;
    ps->p = p;
    return FG_OK;
}

static fg_status parse_word(parser *ps) {
    static const struct {
        const char *word;
        size_t len;
        fg_json_kind kind;
        bool truth;
    } words[] = { { "true", 4, FG_JSON_BOOL, true }, { "false", 5, FG_JSON_BOOL, false }, { "null", 4, FG_JSON_NULL, false } };
    for (int i = 0; i < 3; i++) {
        if ((size_t)(ps->end - ps->p) < words[i].len || memcmp(ps->p, words[i].word, words[i].len) != 0) continue;
        new_node(ps, words[i].kind)->truth = words[i].truth;
        ps->p += words[i].len;
        return FG_OK;
    }
    unsigned char c = (unsigned char)*ps->p;
    if (c > 0x20 && c < 0x7F) return fail_at(ps, ps->p, "a value cannot start with '%c'", c);
    return fail_at(ps, ps->p, "a value cannot start with byte 0x%02x", c);
}

static bool same_text(const fg_json *a, const fg_json *b) { return a->n == b->n && memcmp(a->u.text, b->u.text, a->n) == 0; }

static const fg_json *after(const fg_json *v) {
    return v + (v->kind == FG_JSON_ARRAY || v->kind == FG_JSON_OBJECT ? v->u.span : 1);
}

static uint64_t hash_text(const fg_json *v) { /* FNV-1a with a final mix */
    uint64_t h = 14695981039346656037u;
    for (uint32_t i = 0; i < v->n; i++) h = (h ^ (unsigned char)v->u.text[i]) * 1099511628211u;
    h ^= h >> 32;
    return h * 0x9E3779B97F4A7C15u >> 16;
}

/* Where keys a and b of an object are equal, *dup is the later one. Few keys are compared pairwise, many through a table
 * of open addressing; texts made to collide cost at most the pairwise time, bounded by max_steps, then are refused. */
static fg_status find_duplicate(parser *ps, const fg_json *object, const fg_json **dup) {
    *dup = NULL;
    if (object->n <= 12) {
        const fg_json *a = object + 1;
        for (uint32_t i = 1; i < object->n; i++) {
            const fg_json *key = after(a + 1), *b = object + 1;
            for (uint32_t j = 0; j < i; j++, b = after(b + 1))
                if (same_text(key, b)) return *dup = key, FG_OK;
            a = key;
        }
        return FG_OK;
    }
    size_t cap = 32;
    while (cap < (size_t)object->n * 2) cap *= 2;
    size_t bytes = cap * sizeof(uint32_t);
    uint32_t *table = fg_calloc(ps->ctx, bytes);
    if (!table) return FG_ENOMEM;
    fg_status st = FG_OK;
    uint64_t steps = 0, max_steps = (uint64_t)object->n * 256;
    const fg_json *key = object + 1;
    for (uint32_t i = 0; i < object->n && !*dup && st == FG_OK; i++, key = after(key + 1)) {
        size_t at = hash_text(key) & (cap - 1);
        for (; table[at]; at = (at + 1) & (cap - 1)) {
            if (same_text(key, object + table[at])) {
                *dup = key;
                break;
            }
            if (++steps > max_steps) {
                st = fail_at(ps, ps->p, "object of %u members has too many keys that collide", object->n);
                break;
            }
        }
        table[at] = (uint32_t)(key - object);
    }
    fg_free(ps->ctx, table, bytes);
    return st;
}

static fg_status parse_value(parser *ps);

static fg_status parse_container(parser *ps) {
    bool object = *ps->p == '{';
    char close = object ? '}' : ']', *open = ps->p;
    size_t open_line = ps->line;
    if (ps->depth == FG_JSON_MAX_DEPTH) return fail_at(ps, open, "nested more than %d deep", FG_JSON_MAX_DEPTH);
    ps->depth++;
    size_t at = ps->n_nodes;
    new_node(ps, object ? FG_JSON_OBJECT : FG_JSON_ARRAY);
    uint32_t n = 0;
    ps->p++;
    skip_space(ps);
    bool empty = ps->p < ps->end && *ps->p == close;
    while (!empty) {
        if (object) {
            skip_space(ps);
            if (ps->p == ps->end || *ps->p != '"') return fail_at(ps, ps->p, "a key in quotes is expected");
            fg_status st = parse_string(ps);
            if (st) return st;
            skip_space(ps);
            if (ps->p == ps->end || *ps->p != ':') return fail_at(ps, ps->p, "':' is expected after a key");
            ps->p++;
        }
        fg_status st = parse_value(ps);
        if (st) return st;
        n++;
        skip_space(ps);
        if (ps->p == ps->end)
            return fail_at(ps, ps->p, "%s opened on line %zu is not closed", object ? "object" : "array", open_line);
        if (*ps->p == close) break;
        if (*ps->p != ',') return fail_at(ps, ps->p, "',' or '%c' is expected", close);
        ps->p++;
    }
    fg_json *v = &ps->nodes[at];
    v->n = n;
    v->u.span = ps->n_nodes - at;
    if (object) {
        const fg_json *dup;
        fg_status st = find_duplicate(ps, v, &dup);
        if (st) return st;
        if (dup) return fail_at(ps, ps->p, "duplicate key '%.64s' in the object that ends here", dup->u.text);
    }
    ps->p++;
    ps->depth--;
    return FG_OK;
}

static fg_status parse_value(parser *ps) {
    skip_space(ps);
    if (ps->p == ps->end) return fail_at(ps, ps->p, "a value is expected, the text ends");
    switch (*ps->p) {
    case '{':
    case '[': return parse_container(ps);
    case '"': return parse_string(ps);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return parse_number(ps);
    default: return parse_word(ps);
    }
}

/* An upper bound of the values and keys in text: each but the first follows one of these outside a string. */
static size_t count_nodes(const char *text, size_t size) {
    size_t n = 1;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\') i++;
            else if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == ',' || c == ':' || c == '[' || c == '{') {
            n++;
        }
    }
    return n;
}

fg_status fg_json_parse(fg_context *ctx, const char *text, size_t size, const char *what, fg_json_doc **out) {
    *out = NULL;
    if (size > FG_JSON_MAX_BYTES)
        return fg_error(ctx, FG_EFORMAT, "%s: %zu bytes of JSON, at most %zu are read", what, size, (size_t)FG_JSON_MAX_BYTES);
    size_t nodes = count_nodes(text, size);
    size_t bytes = sizeof(fg_json_doc) + nodes * sizeof(fg_json) + size + 1;
    fg_json_doc *doc = fg_alloc(ctx, bytes);
    if (!doc) return FG_ENOMEM;
    doc->bytes = bytes;
    doc->root = (fg_json *)(doc + 1);
    char *copy = (char *)(doc + 1) + nodes * sizeof(fg_json);
    memcpy(copy, text, size);
    copy[size] = 0;

    parser ps = { .ctx = ctx,
                  .what = what,
                  .text = copy,
                  .p = copy,
                  .end = copy + size,
                  .nodes = (fg_json *)(doc + 1),
                  .line = 1,
                  .line_start = copy };
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) {
        fg_json_free(ctx, doc);
        return fg_error(ctx, FG_ENOMEM, "%s: the C locale is not to be had", what);
    }
    locale_t before = uselocale(c_locale);
    int saved_errno = errno;
    fg_status st = parse_value(&ps);
    if (st == FG_OK) {
        skip_space(&ps);
        if (ps.p != ps.end) st = fail_at(&ps, ps.p, "the text goes on after its value");
    }
    errno = saved_errno;
    uselocale(before);
    freelocale(c_locale);
    if (st) {
        fg_json_free(ctx, doc);
        return st;
    }
    *out = doc;
    return FG_OK;
}

void fg_json_free(fg_context *ctx, fg_json_doc *doc) {
    if (doc) fg_free(ctx, doc, doc->bytes);
}

fg_json_iter fg_json_each(const fg_json *v) {
    if (!v || (v->kind != FG_JSON_ARRAY && v->kind != FG_JSON_OBJECT)) return (fg_json_iter){ NULL, 0, false };
    return (fg_json_iter){ v + 1, v->n, v->kind == FG_JSON_OBJECT };
}

bool fg_json_step(fg_json_iter *it, const fg_json **key, const fg_json **value) {
    *key = *value = NULL;
    if (it->left == 0) return false;
    it->left--;
    if (it->keyed) *key = it->at++;
    *value = it->at;
    it->at = after(it->at);
    return true;
}

bool fg_json_equals(const fg_json *v, const char *text) {
    return v && v->kind == FG_JSON_STRING && v->n == strlen(text) && memcmp(v->u.text, text, v->n) == 0;
}

const fg_json *fg_json_get(const fg_json *object, const char *key) {
    if (!fg_json_is(object, FG_JSON_OBJECT)) return NULL;
    fg_json_iter it = fg_json_each(object);
    const fg_json *k, *v;
    while (fg_json_step(&it, &k, &v))
        if (fg_json_equals(k, key)) return v;
    return NULL;
}

bool fg_json_is(const fg_json *v, fg_json_kind kind) { return v && v->kind == (uint8_t)kind; }

bool fg_json_int(const fg_json *v, int64_t min, int64_t max, int64_t *out) {
    if (!fg_json_is(v, FG_JSON_NUMBER)) return false;
    double d = v->u.number;
    if (!(fabs(d) <= 9007199254740992.0) || d != floor(d)) return false;
    int64_t i = (int64_t)d;
    if (i < min || i > max) return false;
    *out = i;
    return true;
}

const char *fg_json_kind_name(fg_json_kind kind) {
    static const char *const names[] = { "null", "a boolean", "a number", "a string", "an array", "an object" };
    return names[kind];
}
