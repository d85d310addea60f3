/* json_write.c: the JSON writer, appending to one growing buffer.
 *
 * Members of a sorted object are written in the order of the calls; when the object closes, the pieces between the marks
 * (one per member) are sorted by their key's bytes and copied back, so nothing is held in a tree. Numbers are printed
 * under the "C" locale of this thread only. The buffer belongs to the writer until fg_json_finish hands it over. */
#include "json.h"

#include <locale.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fg_format_double(char *buf, size_t cap, int digits, double d) {
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = c_locale == (locale_t)0 ? (locale_t)0 : uselocale(c_locale);
    int n = snprintf(buf, cap, "%.*g", digits, d);
    if (c_locale != (locale_t)0) {
        uselocale(before);
        freelocale(c_locale);
    }
    return n;
}

/* Whether text, printed by fg_format_double, reads back as d. */
static bool reads_back(const char *text, double d) {
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) return false;
    locale_t before = uselocale(c_locale);
    bool same = strtod(text, NULL) == d;
    uselocale(before);
    freelocale(c_locale);
    return same;
}

static bool grow(fg_json_writer *w, size_t more) {
    if (w->status) return false;
    size_t need, cap = w->cap ? w->cap : 256;
    if (!fg_size_add(w->size, more, &need) || !fg_size_add(need, 1, &need)) {
        w->status = fg_error(w->ctx, FG_ENOMEM, "json: the text is too long");
        return false;
    }
    if (need <= w->cap) return true;
    while (cap < need) cap = cap > (size_t)-1 / 2 ? need : cap * 2;
    char *text = w->text ? fg_realloc(w->ctx, w->text, w->cap, cap) : fg_alloc(w->ctx, cap);
    if (!text) {
        w->status = FG_ENOMEM;
        return false;
    }
    w->text = text;
    w->cap = cap;
    return true;
}

static void append(fg_json_writer *w, const char *s, size_t n) {
    if (!grow(w, n)) return;
    memcpy(w->text + w->size, s, n);
    w->size += n;
}

static void misuse(fg_json_writer *w, const char *msg) {
    if (!w->status) w->status = fg_error(w->ctx, FG_EINVAL, "json: %s", msg);
}

static bool add_mark(fg_json_writer *w) {
    if (w->n_marks == w->cap_marks) {
        size_t cap = w->cap_marks ? w->cap_marks * 2 : 32;
        size_t *m = w->marks ? fg_realloc(w->ctx, w->marks, w->cap_marks * sizeof *m, cap * sizeof *m)
                             : fg_alloc(w->ctx, cap * sizeof *m);
        if (!m) {
            w->status = FG_ENOMEM;
            return false;
        }
        w->marks = m;
        w->cap_marks = cap;
    }
    w->marks[w->n_marks++] = w->size;
    return true;
}

static void new_line(fg_json_writer *w, int depth) {
    if (!(w->flags & FG_JSON_PRETTY)) return;
    append(w, "\n", 1);
    for (int i = 0; i < depth; i++) append(w, "  ", 2);
}

/* Before every value: commas, and whether a value may stand here. */
static bool before_value(fg_json_writer *w) {
    if (w->status) return false;
    if (w->depth == 0) {
        if (w->size) misuse(w, "a second value at the top");
        return !w->status;
    }
    struct fg_json_level *l = &w->level[w->depth - 1];
    if (l->object) {
        if (!w->after_key) misuse(w, "a value in an object needs a key before it");
        w->after_key = false;
    } else {
        if (l->count++) append(w, ",", 1);
        new_line(w, w->depth);
    }
    return !w->status;
}

static void append_quoted(fg_json_writer *w, const char *text, size_t n) {
    size_t bad = fg_utf8_check(text, n);
    if (bad != n) {
        w->status = fg_error(w->ctx, FG_EINVAL, "json: a string of %zu bytes is not valid UTF-8 at byte %zu (0x%02x)", n, bad,
                             (unsigned char)text[bad]);
        return;
    }
    append(w, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        append(w, text + from, i - from);
        from = i + 1;
        char esc[8];
        static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
        const char *known = c ? strchr(plain, c) : NULL;
        int len = known ? snprintf(esc, sizeof esc, "\\%c", letter[known - plain]) : snprintf(esc, sizeof esc, "\\u%04x", c);
        append(w, esc, (size_t)len);
    }
    append(w, text + from, n - from);
    append(w, "\"", 1);
}

void fg_json_begin(fg_json_writer *w, fg_context *ctx, unsigned flags) {
    memset(w, 0, sizeof *w);
    w->ctx = ctx;
    w->flags = flags;
}

static void open_level(fg_json_writer *w, bool object) {
    if (!before_value(w)) return;
    if (w->depth == FG_JSON_MAX_DEPTH) {
        w->status = fg_error(w->ctx, FG_EINVAL, "json: nested more than %d deep", FG_JSON_MAX_DEPTH);
        return;
    }
    append(w, object ? "{" : "[", 1);
    w->level[w->depth++] = (struct fg_json_level){ .object = object, .start = w->size, .mark = w->n_marks };
}

void fg_json_open_object(fg_json_writer *w) { open_level(w, true); }
void fg_json_open_array(fg_json_writer *w) { open_level(w, false); }

typedef struct piece {
    const char *key, *end; /* from the key's opening quote to the end of the value */
    size_t key_len;        /* of the key with its quotes */
} piece;

static int by_key(const void *a, const void *b) {
    const piece *x = a, *y = b;
    /* without the quotes, so that a key sorts before its own continuations */
    size_t nx = x->key_len - 2, ny = y->key_len - 2;
    int c = memcmp(x->key + 1, y->key + 1, nx < ny ? nx : ny);
    return c ? c : nx < ny ? -1 : nx > ny;
}

static size_t quoted_length(const char *s) {
    size_t n = 1;
    for (; s[n] != '"'; n++)
        if (s[n] == '\\') n++;
    return n + 1;
}

static void sort_members(fg_json_writer *w, const struct fg_json_level *l) {
    size_t n = w->n_marks - l->mark, bytes = w->size - l->start;
    size_t block = n * sizeof(piece) + bytes;
    char *copy = fg_alloc(w->ctx, block);
    if (!copy) {
        w->status = FG_ENOMEM;
        return;
    }
    piece *ps = (piece *)copy;
    copy += n * sizeof(piece);
    memcpy(copy, w->text + l->start, bytes);
    /* what stands before the first key (nothing, or the line break of pretty printing) also follows every comma */
    size_t lead = w->marks[l->mark] - l->start;
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        size_t first = w->marks[l->mark + i] - l->start;
        size_t end = i + 1 < n ? w->marks[l->mark + i + 1] - l->start - lead - 1 : bytes;
        ps[i] = (piece){ copy + first, copy + end, quoted_length(copy + first) };
        if (i && by_key(&ps[i - 1], &ps[i]) >= 0) sorted = false;
    }
    if (!sorted) {
        qsort(ps, n, sizeof *ps, by_key);
        char *to = w->text + l->start;
        for (size_t i = 0; i < n && !w->status; i++) {
            if (i && by_key(&ps[i - 1], &ps[i]) == 0)
                w->status = fg_error(w->ctx, FG_EINVAL, "json: duplicate key %.*s",
                                     (int)(ps[i].key_len < 80 ? ps[i].key_len : 80), ps[i].key);
            if (i) *to++ = ',';
            memcpy(to, copy, lead);
            to += lead;
            memcpy(to, ps[i].key, (size_t)(ps[i].end - ps[i].key));
            to += ps[i].end - ps[i].key;
        }
    }
    fg_free(w->ctx, ps, block);
}

void fg_json_close(fg_json_writer *w) {
    if (w->status) return;
    if (w->depth == 0 || w->after_key) {
        misuse(w, w->depth ? "an object closes after a key without value" : "nothing is open to close");
        return;
    }
    struct fg_json_level *l = &w->level[w->depth - 1];
    if (l->object && (w->flags & FG_JSON_SORTED) && l->count) {
        sort_members(w, l);
        w->n_marks = l->mark;
    }
    w->depth--;
    if (l->count) new_line(w, w->depth);
    append(w, l->object ? "}" : "]", 1);
}

void fg_json_put_key_n(fg_json_writer *w, const char *key, size_t n) {
    if (w->status) return;
    if (w->depth == 0 || !w->level[w->depth - 1].object || w->after_key) {
        misuse(w, "a key stands where no key may");
        return;
    }
    struct fg_json_level *l = &w->level[w->depth - 1];
    if (l->count++) append(w, ",", 1);
    new_line(w, w->depth);
    if ((w->flags & FG_JSON_SORTED) && (w->status || !add_mark(w))) return;
    append_quoted(w, key, n);
    if (w->flags & FG_JSON_PRETTY) append(w, ": ", 2);
    else append(w, ":", 1);
    w->after_key = true;
}

void fg_json_put_key(fg_json_writer *w, const char *key) { fg_json_put_key_n(w, key, strlen(key)); }

void fg_json_put_string_n(fg_json_writer *w, const char *text, size_t n) {
    if (before_value(w)) append_quoted(w, text, n);
}

void fg_json_put_string(fg_json_writer *w, const char *text) { fg_json_put_string_n(w, text, strlen(text)); }

static void put_digits(fg_json_writer *w, double d, int digits) {
    char buf[40];
    if (!before_value(w)) return;
    int n;
    if (!isfinite(d)) {
        n = snprintf(buf, sizeof buf, "null");
    } else if (d == 0 && signbit(d)) {
        n = snprintf(buf, sizeof buf, "-0.0");
    } else if (fabs(d) <= 9007199254740992.0 && d == floor(d) && (digits == 17 || fabs(d) < 1e9)) {
        n = snprintf(buf, sizeof buf, "%lld", (long long)d);
    } else {
        n = fg_format_double(buf, sizeof buf, 9, d);
        if (digits == 17 && !reads_back(buf, d)) n = fg_format_double(buf, sizeof buf, 17, d);
    }
    append(w, buf, (size_t)n);
}

void fg_json_put_number(fg_json_writer *w, double d) { put_digits(w, d, 17); }
void fg_json_put_float(fg_json_writer *w, double d) { put_digits(w, d, 9); }

void fg_json_put_int(fg_json_writer *w, int64_t i) {
    char buf[32];
    if (before_value(w)) append(w, buf, (size_t)snprintf(buf, sizeof buf, "%lld", (long long)i));
}

void fg_json_put_bool(fg_json_writer *w, bool b) {
    if (before_value(w)) append(w, b ? "true" : "false", b ? 4 : 5);
}

void fg_json_put_null(fg_json_writer *w) {
    if (before_value(w)) append(w, "null", 4);
}

void fg_json_put_value(fg_json_writer *w, const fg_json *v) {
    const fg_json *key, *value;
    if (w->status) return;
    switch ((fg_json_kind)v->kind) {
    case FG_JSON_NULL: fg_json_put_null(w); break;
    case FG_JSON_BOOL: fg_json_put_bool(w, v->truth); break;
    case FG_JSON_NUMBER: fg_json_put_number(w, v->u.number); break;
    case FG_JSON_STRING: fg_json_put_string_n(w, v->u.text, v->n); break;
    case FG_JSON_ARRAY:
    case FG_JSON_OBJECT: {
        open_level(w, v->kind == FG_JSON_OBJECT);
        fg_json_iter it = fg_json_each(v);
        while (!w->status && fg_json_step(&it, &key, &value)) {
            if (key) fg_json_put_key_n(w, key->u.text, key->n);
            fg_json_put_value(w, value);
        }
        fg_json_close(w);
        break;
    }
    }
}

void fg_json_discard(fg_json_writer *w) {
    if (w->text) fg_free(w->ctx, w->text, w->cap);
    if (w->marks) fg_free(w->ctx, w->marks, w->cap_marks * sizeof *w->marks);
    w->text = NULL;
    w->marks = NULL;
    w->cap = w->cap_marks = w->size = w->n_marks = 0;
}

fg_status fg_json_finish(fg_json_writer *w, char **text, size_t *size, size_t *bytes) {
    *text = NULL;
    *size = *bytes = 0;
    if (!w->status && (w->depth || !w->size)) misuse(w, w->depth ? "an object or array is still open" : "nothing was written");
    if (!w->status && grow(w, 0)) {
        w->text[w->size] = 0;
        *text = w->text;
        *size = w->size;
        *bytes = w->cap;
        w->text = NULL;
    }
    fg_status st = w->status;
    fg_json_discard(w);
    return st;
}
