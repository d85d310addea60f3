/* safetensors_save.c: writes named tensors in the format that safetensors_load.c describes.
 *
 * The header's names are sorted, and the data lies by falling element size, then by name, so that every tensor starts at
 * a multiple of its element size; the header is padded with spaces to a multiple of 8 bytes. So the same tensors give
 * the same bytes in whatever order they come. Data is written straight from the tensors to a temporary file, which is
 * renamed at the end. */
#include "json.h"
#include "tensor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
    const char *name;
    const fg_tensor *t;
    uint64_t begin, end;
} item;

static const char *const dtype_names[] = { [FG_F32] = "F32", [FG_BF16] = "BF16", [FG_U8] = "U8", [FG_I32] = "I32" };
static const uint8_t dtype_bytes[] = { [FG_F32] = 4, [FG_BF16] = 2, [FG_U8] = 1, [FG_I32] = 4 }; /* in the file */

static int by_name(const void *a, const void *b) { return strcmp(((const item *)a)->name, ((const item *)b)->name); }

static int by_place(const void *a, const void *b) {
    const item *x = a, *y = b;
    int dx = dtype_bytes[x->t->dtype], dy = dtype_bytes[y->t->dtype];
    return dx != dy ? dy - dx : strcmp(x->name, y->name);
}

static fg_status check_items(fg_context *ctx, const char *path, item *items, int n) {
    for (int i = 0; i < n; i++) {
        if (!items[i].name || !*items[i].name)
            return fg_error(ctx, FG_EINVAL, "save %s: tensor %d has no name", path, i + ctx->index_base);
        if (!items[i].t) return fg_error(ctx, FG_EINVAL, "save %s: '%s' is no tensor", path, items[i].name);
        if (items[i].t->ctx != ctx)
            return fg_error(ctx, FG_EINVAL, "save %s: tensor '%s' belongs to another context", path, items[i].name);
        if (strcmp(items[i].name, "__metadata__") == 0)
            return fg_error(ctx, FG_EINVAL, "save %s: the name __metadata__ is taken by the format", path);
    }
    qsort(items, (size_t)n, sizeof *items, by_name);
    for (int i = 1; i < n; i++)
        if (strcmp(items[i - 1].name, items[i].name) == 0)
            return fg_error(ctx, FG_EINVAL, "save %s: two tensors are named '%s'", path, items[i].name);
    return FG_OK;
}

static fg_status make_header(fg_context *ctx, const item *items, int n, const fg_meta *meta, int n_meta, char **text,
                             size_t *size, size_t *bytes) {
    fg_json_writer w;
    fg_json_begin(&w, ctx, FG_JSON_SORTED);
    fg_json_open_object(&w);
    if (n_meta) {
        fg_json_put_key(&w, "__metadata__");
        fg_json_open_object(&w);
        for (int i = 0; i < n_meta; i++) {
            fg_json_put_key(&w, meta[i].key);
            fg_json_put_string(&w, meta[i].value);
        }
        fg_json_close(&w);
    }
    for (int i = 0; i < n; i++) {
        fg_json_put_key(&w, items[i].name);
        fg_json_open_object(&w);
        fg_json_put_key(&w, "dtype");
        fg_json_put_string(&w, dtype_names[items[i].t->dtype]);
        fg_json_put_key(&w, "shape");
        fg_json_open_array(&w);
        for (int k = 0; k < items[i].t->shape.ndim; k++) fg_json_put_int(&w, items[i].t->shape.dim[k]);
        fg_json_close(&w);
        fg_json_put_key(&w, "data_offsets");
        fg_json_open_array(&w);
        fg_json_put_int(&w, (int64_t)items[i].begin);
        fg_json_put_int(&w, (int64_t)items[i].end);
        fg_json_close(&w);
        fg_json_close(&w);
    }
    fg_json_close(&w);
    return fg_json_finish(&w, text, size, bytes);
}

/* The tensor's data as the file holds it. True where that is its own memory, byte for byte. */
static bool same_layout(const fg_tensor *t) {
    if (t->dtype == FG_U8) return true;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return t->dtype != FG_F32 || sizeof(fg_real) == 4;
#else
    return false;
#endif
}

static bool write_data(FILE *f, const fg_tensor *t) {
    size_t n = (size_t)t->numel;
    if (n == 0) return true;
    if (same_layout(t)) return fwrite(fg_data(t), dtype_bytes[t->dtype], n, f) == n;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        uint8_t le[4];
        if (t->dtype == FG_F32) {
            float v = (float)fg_reals(t)[i];
            memcpy(&u, &v, 4);
        } else {
            u = t->dtype == FG_I32 ? ((uint32_t *)fg_data(t))[i] : ((uint16_t *)fg_data(t))[i];
        }
        for (int k = 0; k < 4; k++) le[k] = (uint8_t)(u >> 8 * k);
        if (fwrite(le, 1, dtype_bytes[t->dtype], f) != dtype_bytes[t->dtype]) return false;
    }
    return true;
}

static fg_status write_file(fg_context *ctx, const char *path, const item *items, int n, const char *header, size_t size) {
    fg_tmpfile t;
    fg_status st = fg_tmpfile_begin(ctx, path, &t);
    if (st) return st;
    size_t padded = (size + 7) / 8 * 8;
    uint8_t head[8];
    for (int i = 0; i < 8; i++) head[i] = (uint8_t)((uint64_t)padded >> 8 * i);
    bool ok = fwrite(head, 1, 8, t.file) == 8 && fwrite(header, 1, size, t.file) == size &&
              fwrite("       ", 1, padded - size, t.file) == padded - size;
    for (int i = 0; i < n && ok; i++) ok = write_data(t.file, items[i].t);
    if (!ok) {
        st = fg_error(ctx, FG_EIO, "cannot write %s: %s", path, strerror(errno));
        fg_tmpfile_abort(ctx, &t);
        return st;
    }
    return fg_tmpfile_commit(ctx, &t);
}

static fg_status save(fg_context *ctx, const char *path, item *items, int n, const fg_meta *meta, int n_meta) {
    fg_status st = check_items(ctx, path, items, n);
    if (st) return st;
    qsort(items, (size_t)n, sizeof *items, by_place);
    uint64_t at = 0;
    for (int i = 0; i < n; i++) {
        items[i].begin = at;
        at += (uint64_t)items[i].t->numel * dtype_bytes[items[i].t->dtype];
        items[i].end = at;
    }
    char *header;
    size_t size, bytes;
    st = make_header(ctx, items, n, meta, n_meta, &header, &size, &bytes);
    if (st) return st;
    st = write_file(ctx, path, items, n, header, size);
    fg_free(ctx, header, bytes);
    return st;
}

fg_status fg_tensors_save(fg_context *ctx, const char *path, const char *const *names, fg_tensor *const *tensors, int n,
                          const fg_meta *meta, int n_meta) {
    if (!fg_enter(ctx)) return FG_EBUSY;
    size_t bytes = ((size_t)n + 1) * sizeof(item);
    item *items = fg_calloc(ctx, bytes);
    fg_status st = FG_ENOMEM;
    if (items) {
        for (int i = 0; i < n; i++) items[i] = (item){ .name = names[i], .t = tensors[i] };
        st = save(ctx, path, items, n, meta, n_meta);
        fg_free(ctx, items, bytes);
    }
    fg_leave(ctx);
    return st;
}
