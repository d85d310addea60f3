/* json.h: the one JSON codec of the project (RFC 8259): metadata, model files, options, statistics, checkpoints.
 *
 * Reading: fg_json_parse checks the whole text and gives a read-only tree in one block of memory (the text's copy and
 * 16 bytes a value). Writing: fg_json_writer appends to a growing buffer; calls never need checking one by one, the
 * first error stays and fg_json_finish returns it. Neither depends on the process's locale. */
#ifndef FG_JSON_H
#define FG_JSON_H

#include "base.h"

#define FG_JSON_MAX_DEPTH 64                  /* of nested arrays and objects, reading and writing */
#define FG_JSON_MAX_BYTES ((size_t)128 << 20) /* of text */

typedef enum fg_json_kind {
    FG_JSON_NULL = 0,
    FG_JSON_BOOL,
    FG_JSON_NUMBER,
    FG_JSON_STRING,
    FG_JSON_ARRAY,
    FG_JSON_OBJECT
} fg_json_kind;

/* A value. Read it by the functions below; arrays and objects are followed in memory by their children in preorder. */
typedef struct fg_json {
    uint8_t kind; /* fg_json_kind */
    bool truth;   /* of FG_JSON_BOOL */
    uint32_t n;   /* bytes of a string, elements of an array, members of an object */
    union {
        double number;
        const char *text; /* UTF-8, n bytes and a zero; may hold zeros inside (from \u0000) */
        size_t span;      /* containers: nodes of the whole subtree, this one included */
    } u;
} fg_json;

typedef struct fg_json_doc {
    const fg_json *root;
    size_t bytes; /* of the block that starts here */
} fg_json_doc;

/* Strict: no comments, no trailing commas, no duplicate keys, valid UTF-8, paired surrogates, one value and nothing but
 * white space after it, numbers within double's range. what names the text in messages ("x.json"): "x.json: line 3,
 * column 7: duplicate key 'lr'" with FG_EFORMAT. *out is freed by fg_json_free (NULL on error). */
fg_status fg_json_parse(fg_context *ctx, const char *text, size_t size, const char *what, fg_json_doc **out);
void fg_json_free(fg_context *ctx, fg_json_doc *doc); /* NULL allowed */

/* Members and elements in the order of the text:
 *     fg_json_iter it = fg_json_each(v); const fg_json *key, *value;
 *     while (fg_json_step(&it, &key, &value)) ...          // key is NULL in arrays
 * A value that is no container has nothing to step over; NULL likewise. */
typedef struct fg_json_iter {
    const fg_json *at;
    uint32_t left;
    bool keyed;
} fg_json_iter;
fg_json_iter fg_json_each(const fg_json *v);
bool fg_json_step(fg_json_iter *it, const fg_json **key, const fg_json **value);
const fg_json *fg_json_get(const fg_json *object, const char *key);         /* NULL when absent or no object */
bool fg_json_is(const fg_json *v, fg_json_kind kind);                       /* false for NULL */
bool fg_json_int(const fg_json *v, int64_t min, int64_t max, int64_t *out); /* a whole number in min..max, at most 2^53 */
bool fg_json_equals(const fg_json *v, const char *text);                    /* a string of exactly these bytes */
const char *fg_json_kind_name(fg_json_kind kind);                           /* "a number", "an object", ... */

/* ---------------------------------------------------------------- writing */
typedef enum fg_json_flags {
    FG_JSON_COMPACT = 0,
    FG_JSON_SORTED = 1, /* members sorted by the bytes of their written keys; a duplicate is FG_EINVAL */
    FG_JSON_PRETTY = 2  /* one member or element a line, two spaces deep */
} fg_json_flags;

typedef struct fg_json_writer {
    fg_context *ctx;
    unsigned flags;
    fg_status status; /* first error; its message is in ctx */
    char *text;
    size_t size, cap;
    size_t *marks; /* where each member of the open sorted objects starts */
    size_t n_marks, cap_marks;
    int depth;
    bool after_key;
    struct fg_json_level {
        bool object;
        size_t start; /* of its first byte after the bracket */
        size_t mark;  /* its first entry in marks */
        size_t count;
    } level[FG_JSON_MAX_DEPTH];
} fg_json_writer;

void fg_json_begin(fg_json_writer *w, fg_context *ctx, unsigned flags);
void fg_json_open_object(fg_json_writer *w);
void fg_json_open_array(fg_json_writer *w);
void fg_json_close(fg_json_writer *w); /* the innermost object or array */
void fg_json_put_key(fg_json_writer *w, const char *key);
void fg_json_put_key_n(fg_json_writer *w, const char *key, size_t n);
void fg_json_put_string(fg_json_writer *w, const char *text);
void fg_json_put_string_n(fg_json_writer *w, const char *text, size_t n); /* valid UTF-8, else FG_EINVAL */
void fg_json_put_number(fg_json_writer *w, double d);                     /* whole to 2^53: digits; %.9g if exact, else %.17g */
void fg_json_put_float(fg_json_writer *w, double d);                      /* %.9g: enough for any f32 */
void fg_json_put_int(fg_json_writer *w, int64_t i);
void fg_json_put_bool(fg_json_writer *w, bool b);
void fg_json_put_null(fg_json_writer *w); /* NaN and infinities as numbers are written so, too */
void fg_json_put_value(fg_json_writer *w, const fg_json *v);
/* Ends the text: *text (zero-terminated, fg_free(ctx, *text, *bytes)), *size without the zero. On error both stay NULL
 * and 0 and the buffer is freed. */
fg_status fg_json_finish(fg_json_writer *w, char **text, size_t *size, size_t *bytes);
void fg_json_discard(fg_json_writer *w);

/* %.9g and %.17g with a point in every locale; buf of at least 32. Returns the length. */
int fg_format_double(char *buf, size_t cap, int digits, double d);
/* Length of the valid UTF-8 sequence at p (1..4, at most n), 0 when it is none. */
size_t fg_utf8_length(const unsigned char *p, size_t n);
/* Offset of the first byte that is not valid UTF-8; n when all is. */
size_t fg_utf8_check(const char *text, size_t n);

#endif
