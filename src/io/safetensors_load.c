/* safetensors_load.c: reads named tensors; the format of Hugging Face's safetensors package, by a strict parser of our own.
 *
 * A file is: 8 bytes, the header's length (little-endian); the header, a JSON object that gives each tensor's dtype, shape
 * and [begin, end) among the data, and under "__metadata__" an object of strings; the data, row-major, little-endian,
 * without holes or overlap to the very end of the file. All of that is checked before the first tensor is allocated, and
 * the sizes asked for are then bounded by the file's own (times four for a narrow integer that becomes i32).
 *
 * The result (names, metadata, array of tensors) is one block that belongs to the caller; the tensors are the scope's. */
#include "input.h"
#include "json.h"
#include "tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER ((uint64_t)100 * 1000 * 1000) /* as the package */

typedef enum source { S_F32, S_BF16, S_U8, S_I32, S_F64, S_F16, S_I8, S_I16, S_U16, S_U32, S_I64, S_U64, S_BOOL, S_COUNT } source;
static const struct {
    const char *name;
    uint8_t size, dtype;
} sources[S_COUNT] = {
    [S_F32] = { "F32", 4, FG_F32 },  [S_BF16] = { "BF16", 2, FG_BF16 }, [S_U8] = { "U8", 1, FG_U8 },
    [S_I32] = { "I32", 4, FG_I32 },  [S_F64] = { "F64", 8, FG_F32 },    [S_F16] = { "F16", 2, FG_F32 },
    [S_I8] = { "I8", 1, FG_I32 },    [S_I16] = { "I16", 2, FG_I32 },    [S_U16] = { "U16", 2, FG_I32 },
    [S_U32] = { "U32", 4, FG_I32 },  [S_I64] = { "I64", 8, FG_I32 },    [S_U64] = { "U64", 8, FG_I32 },
    [S_BOOL] = { "BOOL", 1, FG_U8 },
};

typedef struct entry {
    const char *name;
    uint64_t begin, end;
    source src;
    fg_shape shape;
    fg_tensor *tensor; /* the scope's */
} entry;

typedef struct loader {
    fg_scope *s;
    fg_context *ctx;
    fg_input *in;
    uint64_t data_start, data_size;
    entry *entries;
    int n, n_meta;
    const fg_json *meta;
} loader;

/* ---------------------------------------------------------------- numbers */
static uint64_t get_le(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static double half_to_double(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    double v;
    if (e == 31) v = m ? (double)NAN : (double)INFINITY;
    else if (e == 0) v = m / 16777216.0;                                               /* m * 2^-24 */
    else v = (1024 + m) * (e >= 25 ? (double)(1 << (e - 25)) : 1.0 / (1 << (25 - e))); /* (1024 + m) * 2^(e - 25) */
    return h & 0x8000 ? -v : v;
}

/* n elements at src (little-endian, dtype k) into the tensor's own dtype at dst. Index of the first value that does not
 * fit i32, or n. */
static size_t convert(source k, const uint8_t *src, void *dst, size_t n) {
    fg_real *r = dst;
    int32_t *w = dst;
    uint8_t *b = dst;
    uint16_t *h = dst;
    for (size_t i = 0; i < n; i++, src += sources[k].size) {
        uint64_t u = get_le(src, sources[k].size);
        switch (k) {
        case S_F32: {
            uint32_t bits = (uint32_t)u;
            float f;
            memcpy(&f, &bits, 4);
            r[i] = f;
            break;
        }
        case S_F64: {
            double d;
            memcpy(&d, &u, 8);
            r[i] = (fg_real)d;
            break;
        }
        case S_F16: r[i] = (fg_real)half_to_double((uint16_t)u); break;
        case S_BF16: h[i] = (uint16_t)u; break;
        case S_U8: b[i] = (uint8_t)u; break;
        case S_BOOL: b[i] = u != 0; break;
        case S_I32: w[i] = (int32_t)(uint32_t)u; break;
        case S_I8: w[i] = (int8_t)(uint8_t)u; break;
        case S_I16: w[i] = (int16_t)(uint16_t)u; break;
        case S_U16: w[i] = (int32_t)u; break;
        case S_U32:
        case S_U64:
            if (u > INT32_MAX) return i;
            w[i] = (int32_t)u;
            break;
        case S_I64:
            if ((int64_t)u < INT32_MIN || (int64_t)u > INT32_MAX) return i;
            w[i] = (int32_t)(int64_t)u;
            break;
        case S_COUNT: break;
        }
    }
    return n;
}

/* The file's bytes are already what the tensor holds. */
static bool same_layout(source k) {
    if (k == S_U8) return true;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return k == S_I32 || k == S_BF16 || (k == S_F32 && sizeof(fg_real) == 4);
#else
    return false;
#endif
}

/* ---------------------------------------------------------------- header */
static fg_status check_entry(loader *l, const fg_json *key, const fg_json *v, entry *e) {
    const char *path = l->in->path;
    e->name = key->u.text;
    if (strlen(e->name) != key->n) return fg_error(l->ctx, FG_EFORMAT, "%s: the name of a tensor holds a zero byte", path);
    if (!fg_json_is(v, FG_JSON_OBJECT))
        return fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s' is %s, not an object", path, e->name, fg_json_kind_name(v->kind));
    const fg_json *dtype = fg_json_get(v, "dtype"), *shape = fg_json_get(v, "shape"), *range = fg_json_get(v, "data_offsets");
    if (v->n != 3 || !dtype || !shape || !range)
        return fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s' must have dtype, shape and data_offsets and nothing else", path,
                        e->name);
    if (!fg_json_is(dtype, FG_JSON_STRING) || !fg_json_is(shape, FG_JSON_ARRAY) || !fg_json_is(range, FG_JSON_ARRAY))
        return fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s': dtype is %s, shape %s, data_offsets %s", path, e->name,
                        fg_json_kind_name(dtype->kind), fg_json_kind_name(shape->kind), fg_json_kind_name(range->kind));
    int k = 0;
    while (k < S_COUNT && !fg_json_equals(dtype, sources[k].name)) k++;
    if (k == S_COUNT)
        return fg_error(l->ctx, FG_EUNSUPPORTED,
                        "%s: tensor '%s' has dtype %.32s; F32 F64 F16 BF16 BOOL and integers of 8 to 64 bits can be read", path,
                        e->name, dtype->u.text);
    e->src = (source)k;
    if (shape->n > FG_MAX_RANK)
        return fg_error(l->ctx, FG_EUNSUPPORTED, "%s: tensor '%s' has %u axes, at most %d can be read", path, e->name, shape->n,
                        FG_MAX_RANK);
    fg_json_iter it = fg_json_each(shape);
    const fg_json *none, *d;
    while (fg_json_step(&it, &none, &d))
        if (!fg_json_int(d, 0, (int64_t)1 << 53, &e->shape.dim[e->shape.ndim++]))
            return fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s': size %d of its shape is not a whole number from 0 on", path,
                            e->name, e->shape.ndim);
    int64_t ends[2] = { 0, 0 };
    bool fine = range->n == 2;
    it = fg_json_each(range);
    for (int i = 0; fine && fg_json_step(&it, &none, &d); i++) fine = fg_json_int(d, 0, (int64_t)1 << 53, &ends[i]);
    if (!fine || ends[0] > ends[1])
        return fg_error(l->ctx, FG_EFORMAT,
                        "%s: tensor '%s': data_offsets must be two whole numbers, the first not above the second", path, e->name);
    e->begin = (uint64_t)ends[0];
    e->end = (uint64_t)ends[1];
    if (e->end > l->data_size)
        return fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s' ends at byte %lld of the data, the file holds %llu", path, e->name,
                        (long long)ends[1], (unsigned long long)l->data_size);
    size_t bytes;
    char text[128];
    fg_shape_print(&e->shape, text, sizeof text);
    if (!fg_shape_bytes(&e->shape, sources[k].size, &bytes) || bytes != e->end - e->begin)
        return fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s' %s of %s does not fill its %llu bytes of data", path, e->name, text,
                        sources[k].name, (unsigned long long)(e->end - e->begin));
    return FG_OK;
}

static fg_status check_meta(loader *l, const fg_json *v) {
    if (!fg_json_is(v, FG_JSON_OBJECT))
        return fg_error(l->ctx, FG_EFORMAT, "%s: __metadata__ is %s, not an object", l->in->path, fg_json_kind_name(v->kind));
    fg_json_iter it = fg_json_each(v);
    const fg_json *key, *value;
    while (fg_json_step(&it, &key, &value)) {
        if (!fg_json_is(value, FG_JSON_STRING))
            return fg_error(l->ctx, FG_EFORMAT, "%s: __metadata__ '%s' is %s, not a string", l->in->path, key->u.text,
                            fg_json_kind_name(value->kind));
        if (strlen(key->u.text) != key->n || strlen(value->u.text) != value->n)
            return fg_error(l->ctx, FG_EFORMAT, "%s: __metadata__ '%s' holds a zero byte", l->in->path, key->u.text);
    }
    l->meta = v;
    l->n_meta = (int)v->n;
    return FG_OK;
}

static int by_begin(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1; /* empty tensors before the one that starts there */
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) { return strcmp(((const entry *)a)->name, ((const entry *)b)->name); }

static int meta_by_key(const void *a, const void *b) { return strcmp(((const fg_meta *)a)->key, ((const fg_meta *)b)->key); }

/* Entries from the root object; afterwards sorted by place, contiguous from 0 to the end of the file. */
static fg_status check_header(loader *l, const fg_json *root) {
    if (!fg_json_is(root, FG_JSON_OBJECT))
        return fg_error(l->ctx, FG_EFORMAT, "%s: the header is %s, not an object", l->in->path, fg_json_kind_name(root->kind));
    fg_json_iter it = fg_json_each(root);
    const fg_json *key, *value;
    while (fg_json_step(&it, &key, &value)) {
        fg_status st =
            fg_json_equals(key, "__metadata__") ? check_meta(l, value) : check_entry(l, key, value, &l->entries[l->n++]);
        if (st) return st;
    }
    qsort(l->entries, (size_t)l->n, sizeof(entry), by_begin);
    uint64_t at = 0;
    for (int i = 0; i < l->n; i++) {
        const entry *e = &l->entries[i];
        if (e->begin != at)
            return fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s' starts at byte %llu of the data, where %llu follows: %s",
                            l->in->path, e->name, (unsigned long long)e->begin, (unsigned long long)at,
                            e->begin < at ? "an overlap" : "a hole");
        at = e->end;
    }
    if (at != l->data_size)
        return fg_error(l->ctx, FG_EFORMAT, "%s: the tensors end at byte %llu of the data, the file holds %llu", l->in->path,
                        (unsigned long long)at, (unsigned long long)l->data_size);
    return FG_OK;
}

/* ---------------------------------------------------------------- data */
#define CHUNK 65536 /* bytes read at a time where values are converted; a multiple of every element size */

static fg_status read_tensor(loader *l, entry *e) {
    fg_tensor *t = fg_tensor_new(l->ctx, (fg_dtype)sources[e->src].dtype, &e->shape);
    if (!t) return fg_last_status(l->ctx);
    e->tensor = fg_scope_push(l->s, t);
    if (!e->tensor) return fg_last_status(l->ctx);
    size_t left = (size_t)(e->end - e->begin), size = sources[e->src].size;
    if (same_layout(e->src)) return fg_input_exact(l->ctx, l->in, fg_data(t), left, e->name);
    uint8_t *chunk = fg_alloc(l->ctx, CHUNK);
    if (!chunk) return FG_ENOMEM;
    char *dst = fg_data(t);
    size_t done = 0;
    fg_status st = FG_OK;
    while (left && !st) {
        size_t n = left < CHUNK ? left : CHUNK;
        st = fg_input_exact(l->ctx, l->in, chunk, n, e->name);
        if (st) break;
        size_t fit = convert(e->src, chunk, dst, n / size);
        if (fit < n / size) {
            uint64_t u = get_le(chunk + fit * size, (int)size);
            if (e->src == S_I64)
                st = fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s': value %lld (element %zu) does not fit i32", l->in->path,
                              e->name, (long long)u, done + fit);
            else
                st = fg_error(l->ctx, FG_EFORMAT, "%s: tensor '%s': value %llu (element %zu) does not fit i32", l->in->path,
                              e->name, (unsigned long long)u, done + fit);
        }
        done += n / size;
        left -= n;
        dst += n / size * fg_dtype_size((fg_dtype)sources[e->src].dtype);
    }
    fg_free(l->ctx, chunk, CHUNK);
    return st;
}

/* ---------------------------------------------------------------- result */
typedef struct file_block {
    fg_tensor_file file; /* first: the caller's pointer */
    size_t bytes;
} file_block;

static char *put_text(char **at, const char *text) {
    char *start = *at;
    size_t n = strlen(text) + 1;
    memcpy(start, text, n);
    *at += n;
    return start;
}

static fg_status make_result(loader *l, fg_tensor_file **out) {
    size_t n = (size_t)l->n, m = (size_t)l->n_meta;
    size_t bytes = sizeof(file_block) + n * (sizeof(char *) + sizeof(fg_tensor *)) + m * sizeof(fg_meta);
    const fg_json *key, *value;
    for (size_t i = 0; i < n; i++) bytes += strlen(l->entries[i].name) + 1;
    for (fg_json_iter it = fg_json_each(l->meta); fg_json_step(&it, &key, &value);) bytes += (size_t)key->n + value->n + 2;
    file_block *b = fg_alloc(l->ctx, bytes);
    if (!b) return FG_ENOMEM;
    const char **names = (const char **)(b + 1);
    fg_tensor **tensors = (fg_tensor **)(names + n);
    fg_meta *meta = (fg_meta *)(tensors + n);
    char *text = (char *)(meta + m);
    qsort(l->entries, n, sizeof(entry), by_name);
    for (size_t i = 0; i < n; i++) {
        names[i] = put_text(&text, l->entries[i].name);
        tensors[i] = l->entries[i].tensor;
    }
    size_t k = 0;
    for (fg_json_iter it = fg_json_each(l->meta); fg_json_step(&it, &key, &value); k++) {
        meta[k].key = put_text(&text, key->u.text);
        meta[k].value = put_text(&text, value->u.text);
    }
    qsort(meta, m, sizeof *meta, meta_by_key);
    b->file = (fg_tensor_file){ .n = l->n, .names = names, .tensors = tensors, .n_meta = l->n_meta, .meta = meta };
    b->bytes = bytes;
    *out = &b->file;
    return FG_OK;
}

static fg_status read_all(loader *l, const char *header, size_t header_size, fg_tensor_file **out) {
    fg_json_doc *doc;
    fg_status st = fg_json_parse(l->ctx, header, header_size, l->in->path, &doc);
    if (st) return st;
    size_t bytes = ((size_t)doc->root->n + 1) * sizeof(entry);
    l->entries = fg_calloc(l->ctx, bytes);
    if (!l->entries) st = FG_ENOMEM;
    if (!st) st = check_header(l, doc->root);
    for (int i = 0; i < l->n && !st; i++) st = read_tensor(l, &l->entries[i]);
    if (!st) st = make_result(l, out);
    fg_free(l->ctx, l->entries, bytes);
    fg_json_free(l->ctx, doc);
    return st;
}

fg_status fg_tensors_read(fg_scope *s, fg_input *in, fg_tensor_file **out) {
    loader l = { .s = s, .ctx = s->ctx, .in = in };
    uint8_t head[8];
    *out = NULL;
    fg_status st = fg_input_exact(l.ctx, in, head, 8, "the header's length");
    if (st) return st;
    uint64_t n = get_le(head, 8);
    if (n > MAX_HEADER || n > in->size - 8)
        return fg_error(l.ctx, FG_EFORMAT,
                        "%s: the header declares %llu bytes, the file has %llu after its length (and 100000000 is the limit): no "
                        "safetensors file, or a damaged one",
                        in->path, (unsigned long long)n, (unsigned long long)in->size - 8);
    size_t size = (size_t)n;
    char *header = fg_alloc(l.ctx, size + 1);
    if (!header) return FG_ENOMEM;
    l.data_start = 8 + n;
    l.data_size = in->size - l.data_start;
    st = fg_input_exact(l.ctx, in, header, size, "the header");
    int kept = s->n;
    if (!st) st = read_all(&l, header, size, out);
    if (st && s->n > kept) fg_scope_release_to(s, kept); /* no half-read file stays in the scope */
    fg_free(l.ctx, header, size + 1);
    return st;
}

fg_status fg_tensors_load(fg_scope *s, const char *path, fg_tensor_file **out) {
    *out = NULL;
    if (!s) return FG_ENOMEM; /* its scope could not be opened */
    if (!fg_enter(s->ctx)) {
        fg_scope_fail(s);
        return FG_EBUSY;
    }
    fg_input in;
    fg_status st = fg_input_open(s->ctx, &in, path);
    if (!st) st = fg_tensors_read(s, &in, out);
    fg_input_close(&in);
    if (st) fg_scope_fail(s);
    fg_leave(s->ctx);
    return st;
}

fg_tensor *fg_tensor_file_get(const fg_tensor_file *f, const char *name) {
    int lo = 0, hi = f->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, c = strcmp(name, f->names[mid]);
        if (c == 0) return f->tensors[mid];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

const char *fg_tensor_file_meta(const fg_tensor_file *f, const char *key) {
    for (int i = 0; i < f->n_meta; i++)
        if (strcmp(f->meta[i].key, key) == 0) return f->meta[i].value;
    return NULL;
}

void fg_tensor_file_free(fg_context *ctx, fg_tensor_file *f) {
    if (!f) return;
    file_block *b = (file_block *)(void *)f;
    fg_free(ctx, b, b->bytes);
}
