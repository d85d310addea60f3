/* idx.c: reads IDX files, the format of MNIST, plain or gzip-compressed.
 *
 * A file is 0, 0, a type byte, the number of axes, one 4-byte big-endian size per axis, and the elements, big-endian.
 * A plain file's length must be exactly what the header declares. Of a compressed one the true length is known only at
 * the end (the trailer's length field proves nothing); deflate makes at most 1032 bytes of one, so a declaration beyond
 * that is refused at once, and otherwise the buffer doubles as bytes really come out, so a lying header costs at most eight times
 * what the file really holds.
 *
 * zlib gets its memory from the context (with the block's size kept in front of it, which fg_free wants back). */
#include "input.h"
#include "tensor.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define DEFLATE_MAX 1032 /* most bytes that one compressed byte stands for */
#define IN_CHUNK    65536

typedef struct element {
    int code, size;
    fg_dtype dtype;
} element;
static const element elements[] = { { 0x08, 1, FG_U8 },  { 0x09, 1, FG_I32 }, { 0x0B, 2, FG_I32 },
                                    { 0x0C, 4, FG_I32 }, { 0x0D, 4, FG_F32 }, { 0x0E, 8, FG_F32 } };

typedef struct header {
    const element *el;
    fg_shape shape;
    size_t bytes; /* of the elements in the file */
    int size;     /* of the header itself */
    char text[96];
} header;

/* ---------------------------------------------------------------- bytes: plain or inflated */
typedef struct stream {
    fg_context *ctx;
    fg_input *in;
    bool gz, ended; /* ended: the gzip stream is complete and its checksum right */
    z_stream z;
    uint8_t *chunk; /* [IN_CHUNK] compressed input */
} stream;

typedef struct z_block {
    size_t bytes;
    size_t pad; /* keeps 16-byte alignment */
} z_block;

static voidpf z_get(voidpf ctx, uInt items, uInt size) {
    size_t bytes;
    if (!fg_size_mul(items, size, &bytes) || !fg_size_add(bytes, sizeof(z_block), &bytes)) return Z_NULL;
    z_block *b = fg_calloc(ctx, bytes); /* zeroed: zlib's own copy loops read a little beyond what they wrote */
    if (!b) return Z_NULL;
    b->bytes = bytes;
    return b + 1;
}

static void z_put(voidpf ctx, voidpf p) {
    if (!p) return;
    z_block *b = (z_block *)p - 1;
    fg_free(ctx, b, b->bytes);
}

static fg_status z_error(stream *st, int code) {
    if (code == Z_MEM_ERROR)
        return fg_last_status(st->ctx) == FG_ENOMEM ? FG_ENOMEM : fg_error(st->ctx, FG_ENOMEM, "out of memory for inflate");
    return fg_error(st->ctx, FG_EFORMAT, "%s: damaged gzip data near byte %llu: %s", st->in->path,
                    (unsigned long long)(st->in->pos - st->z.avail_in), st->z.msg ? st->z.msg : "unknown cause");
}

static fg_status stream_open(stream *st, fg_context *ctx, fg_input *in) {
    uint8_t magic[2];
    size_t got;
    memset(st, 0, sizeof *st);
    st->ctx = ctx;
    st->in = in;
    fg_status err = fg_input_some(ctx, in, magic, 2, &got);
    if (err) return err;
    if (got < 2)
        return fg_error(ctx, FG_EFORMAT, "%s: %llu bytes, too short for an IDX file", in->path, (unsigned long long)in->size);
    st->gz = magic[0] == 0x1F && magic[1] == 0x8B;
    if (!st->gz) {
        if (magic[0] || magic[1])
            return fg_error(ctx, FG_EFORMAT,
                            "%s: starts with bytes %02x %02x; an IDX file starts with 00 00, a compressed one with 1f 8b",
                            in->path, magic[0], magic[1]);
        return FG_OK;
    }
    st->chunk = fg_alloc(ctx, IN_CHUNK);
    if (!st->chunk) return FG_ENOMEM;
    st->z.zalloc = z_get;
    st->z.zfree = z_put;
    st->z.opaque = ctx;
    int code = inflateInit2(&st->z, 16 + MAX_WBITS); /* 16: gzip, with its checksum */
    if (code != Z_OK) return z_error(st, code);
    memcpy(st->chunk, magic, 2);
    st->z.next_in = st->chunk;
    st->z.avail_in = 2;
    return FG_OK;
}

static void stream_close(stream *st) {
    if (st->z.state) inflateEnd(&st->z);
    if (st->chunk) fg_free(st->ctx, st->chunk, IN_CHUNK);
}

/* Up to n bytes into dst; *got < n only where the content ends. */
static fg_status stream_read(stream *st, void *dst, size_t n, size_t *got) {
    if (!st->gz) return fg_input_some(st->ctx, st->in, dst, n, got);
    *got = 0;
    while (*got < n && !st->ended) {
        size_t want = n - *got;
        if (want > (1u << 30)) want = 1u << 30;
        if (st->z.avail_in == 0) {
            size_t in_bytes;
            fg_status err = fg_input_some(st->ctx, st->in, st->chunk, IN_CHUNK, &in_bytes);
            if (err) return err;
            if (in_bytes == 0)
                return fg_error(st->ctx, FG_EFORMAT, "%s: the gzip data ends too early, after %llu bytes", st->in->path,
                                (unsigned long long)st->in->pos);
            st->z.next_in = st->chunk;
            st->z.avail_in = (uInt)in_bytes;
        }
        st->z.next_out = (Bytef *)dst + *got;
        st->z.avail_out = (uInt)want;
        int code = inflate(&st->z, Z_NO_FLUSH);
        *got += want - st->z.avail_out;
        if (code == Z_STREAM_END) st->ended = true;
        else if (code != Z_OK && code != Z_BUF_ERROR) return z_error(st, code);
    }
    return FG_OK;
}

/* After the last element nothing may follow, and of gzip data the checksum must have been seen. */
static fg_status stream_end(stream *st, const header *h) {
    uint8_t extra;
    size_t got;
    fg_status err = stream_read(st, &extra, 1, &got);
    if (err) return err;
    if (got)
        return fg_error(st->ctx, FG_EFORMAT, "%s: IDX header declares %s = %zu bytes, the file goes on after them", st->in->path,
                        h->text, h->bytes);
    if (st->gz && (st->z.avail_in || st->in->pos < st->in->size))
        return fg_error(st->ctx, FG_EFORMAT, "%s: %llu bytes follow the gzip data", st->in->path,
                        (unsigned long long)(st->in->size - st->in->pos + st->z.avail_in));
    return FG_OK;
}

/* ---------------------------------------------------------------- header and elements */
static fg_status read_header(stream *st, header *h) {
    uint8_t b[4 + 4 * FG_MAX_RANK];
    const char *path = st->in->path;
    size_t got, have = 0;
    fg_status err;
    memset(h, 0, sizeof *h);
    if (!st->gz) have = 2; /* the two zeros of the magic were read to tell the formats apart */
    b[0] = b[1] = 0;
    err = stream_read(st, b + have, 4 - have, &got);
    if (err) return err;
    if (have + got < 4) return fg_error(st->ctx, FG_EFORMAT, "%s: ends within the IDX header, after %zu bytes", path, have + got);
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (elements[i].code == b[2]) h->el = &elements[i];
    if (b[0] || b[1] || !h->el || b[3] < 1 || b[3] > FG_MAX_RANK)
        return fg_error(st->ctx, FG_EFORMAT,
                        "%s: %02x %02x %02x %02x is no IDX header (00 00, type 08 09 0b 0c 0d 0e, axes 1 to %d)", path, b[0],
                        b[1], b[2], b[3], FG_MAX_RANK);
    h->size = 4 + 4 * b[3];
    err = stream_read(st, b + 4, 4 * (size_t)b[3], &got);
    if (err) return err;
    if (got < 4 * (size_t)b[3])
        return fg_error(st->ctx, FG_EFORMAT, "%s: ends within the IDX header, after %zu bytes", path, 4 + got);
    size_t len = 0;
    for (int i = 0; i < b[3]; i++) {
        const uint8_t *p = b + 4 + 4 * i;
        h->shape.dim[i] = (int64_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
        len += (size_t)snprintf(h->text + len, sizeof h->text - len, "%s%lld", i ? "x" : "", (long long)h->shape.dim[i]);
    }
    h->shape.ndim = b[3];
    if (!fg_shape_bytes(&h->shape, (size_t)h->el->size, &h->bytes))
        return fg_error(st->ctx, FG_EFORMAT, "%s: IDX header declares %s elements, more than any file holds", path, h->text);
    uint64_t most = st->gz ? st->in->size * DEFLATE_MAX : st->in->size;
    if (h->bytes > most || (uint64_t)h->size > most - h->bytes) {
        if (st->gz)
            return fg_error(st->ctx, FG_EFORMAT, "%s: IDX header declares %s = %zu bytes, %llu compressed bytes cannot hold them",
                            path, h->text, h->bytes, (unsigned long long)st->in->size);
        return fg_error(st->ctx, FG_EFORMAT, "%s: IDX header declares %s = %zu bytes, the file holds %llu", path, h->text,
                        h->bytes, (unsigned long long)(st->in->size - (uint64_t)h->size));
    }
    return FG_OK;
}

static uint64_t get_be(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

static void convert(const element *el, const uint8_t *src, void *dst, size_t n) {
    fg_real *r = dst;
    int32_t *w = dst;
    for (size_t i = 0; i < n; i++, src += el->size) {
        uint64_t u = get_be(src, el->size);
        uint32_t u32 = (uint32_t)u;
        float f;
        double d;
        switch (el->code) {
        case 0x09: w[i] = (int8_t)(uint8_t)u; break;
        case 0x0B: w[i] = (int16_t)(uint16_t)u; break;
        case 0x0C: w[i] = (int32_t)u32; break;
        case 0x0D:
            memcpy(&f, &u32, 4);
            r[i] = f;
            break;
        default: memcpy(&d, &u, 8); r[i] = (fg_real)d;
        }
    }
}

/* Bytes have..upto of the elements; fewer are an error. */
static fg_status inflate_to(stream *st, const header *h, uint8_t *data, size_t *have, size_t upto) {
    size_t got;
    fg_status err = stream_read(st, data + *have, upto - *have, &got);
    *have += got;
    if (!err && *have < upto)
        err = fg_error(st->ctx, FG_EFORMAT, "%s: IDX header declares %s = %zu bytes, the file holds %zu", st->in->path, h->text,
                       h->bytes, *have);
    return err;
}

/* A compressed file: a buffer that doubles with what comes out, until an eighth of what the header declares is there;
 * then the whole is reserved: the tensor's own memory where its elements are bytes. */
static fg_status inflate_all(stream *st, const header *h, uint8_t **data, size_t *cap, fg_tensor **t) {
    size_t have = 0, first = (size_t)1 << 20;
    *cap = h->bytes < first ? h->bytes : first;
    *data = fg_alloc(st->ctx, *cap);
    if (!*data) return FG_ENOMEM;
    fg_status err = inflate_to(st, h, *data, &have, *cap);
    while (!err && have < h->bytes / 8) {
        uint8_t *p = fg_realloc(st->ctx, *data, *cap, *cap * 2);
        if (!p) return FG_ENOMEM;
        *data = p;
        *cap *= 2;
        err = inflate_to(st, h, *data, &have, *cap);
    }
    if (err) return err;
    if (h->el->dtype == FG_U8) {
        *t = fg_tensor_new(st->ctx, FG_U8, &h->shape);
        if (!*t) return fg_last_status(st->ctx);
        if (have) memcpy(fg_data(*t), *data, have);
        err = inflate_to(st, h, fg_data(*t), &have, h->bytes);
        return err ? err : stream_end(st, h);
    }
    if (*cap < h->bytes) {
        uint8_t *p = fg_realloc(st->ctx, *data, *cap, h->bytes);
        if (!p) return FG_ENOMEM;
        *data = p;
        *cap = h->bytes;
    }
    err = inflate_to(st, h, *data, &have, h->bytes);
    if (!err) err = stream_end(st, h);
    if (err) return err;
    *t = fg_tensor_new(st->ctx, h->el->dtype, &h->shape);
    if (!*t) return fg_last_status(st->ctx);
    convert(h->el, *data, fg_data(*t), (size_t)(*t)->numel);
    return FG_OK;
}

/* A plain file: in chunks into the tensor, whose size the file's own has confirmed. */
static fg_status read_plain(stream *st, const header *h, fg_tensor **out) {
    fg_tensor *t = *out = fg_tensor_new(st->ctx, h->el->dtype, &h->shape);
    if (!t) return fg_last_status(st->ctx);
    if (h->el->dtype == FG_U8) return fg_input_exact(st->ctx, st->in, fg_data(t), h->bytes, "its elements");
    uint8_t *chunk = fg_alloc(st->ctx, IN_CHUNK);
    if (!chunk) return FG_ENOMEM;
    fg_status err = FG_OK;
    char *dst = fg_data(t);
    for (size_t left = h->bytes; left && !err;) {
        size_t n = left < IN_CHUNK ? left : IN_CHUNK;
        err = fg_input_exact(st->ctx, st->in, chunk, n, "its elements");
        if (!err) convert(h->el, chunk, dst, n / (size_t)h->el->size);
        dst += n / (size_t)h->el->size * fg_dtype_size(h->el->dtype);
        left -= n;
    }
    fg_free(st->ctx, chunk, IN_CHUNK);
    return err;
}

static fg_status read_elements(stream *st, const header *h, fg_tensor **out) {
    if (!st->gz) {
        fg_status err = read_plain(st, h, out);
        return err ? err : stream_end(st, h);
    }
    uint8_t *data = NULL;
    size_t cap = 0;
    fg_status err = inflate_all(st, h, &data, &cap, out);
    if (data) fg_free(st->ctx, data, cap);
    return err;
}

fg_tensor *fg_idx_read(fg_scope *s, fg_input *in) {
    stream st;
    header h;
    fg_tensor *t = NULL;
    fg_status err = stream_open(&st, s->ctx, in);
    if (!err) err = read_header(&st, &h);
    if (!err) err = read_elements(&st, &h, &t);
    stream_close(&st);
    if (err) {
        fg_release(t);
        return fg_scope_fail(s);
    }
    return fg_scope_push(s, t);
}

fg_tensor *fg_idx_load(fg_scope *s, const char *path) {
    if (!s) return NULL;
    if (!fg_enter(s->ctx)) return fg_scope_fail(s);
    fg_input in;
    fg_tensor *t = fg_input_open(s->ctx, &in, path) ? fg_scope_fail(s) : fg_idx_read(s, &in);
    fg_input_close(&in);
    fg_leave(s->ctx);
    return t;
}
