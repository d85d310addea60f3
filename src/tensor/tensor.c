/* tensor.c: the life of a tensor: making, sharing, releasing, and the checks before an in-place write.
 *
 * A tensor made by fg_tensor_new is one cell: header, its own storage, and up to 64 bytes of data at a 64-byte boundary;
 * larger data is a block of its own. The cell belongs to the storage: it is freed when the storage's last reference goes,
 * since the tensor holds one of these, that is when both are gone. A view is a header alone and holds a reference to the
 * storage of its base, never to the base itself.
 *
 * Every tensor is on its context's list of live ones. When a context closes, tensors that a host still holds lose their
 * data, and their headers stay valid (rank 1, no elements, no context) until fg_release; the last one takes the slabs
 * with it (struct orphanage). Threads: only the thread inside the context. */
#include "tensor.h"
#include "room.h"

#include <string.h>

const char fg_none_tag = 0; /* its address is FG_NONE */

typedef struct tensor_cell {
    fg_tensor t;
    fg_storage st;
} tensor_cell;

enum { CELL_DATA = (sizeof(tensor_cell) + 63) / 64 * 64 };

/* What outlives a context while a host holds tensors of it. */
typedef struct orphanage {
    fg_allocator *alloc;
    uint64_t count;
} orphanage;

static void link_live(fg_context *ctx, fg_tensor *t) {
    fg_context_tensors *all = ctx->tensors;
    t->prev = NULL;
    t->next = all->live;
    if (all->live) all->live->prev = t;
    all->live = t;
    all->count++;
}

static void unlink_live(fg_context *ctx, fg_tensor *t) {
    fg_context_tensors *all = ctx->tensors;
    if (t->prev) t->prev->next = t->next;
    else all->live = t->next;
    if (t->next) t->next->prev = t->prev;
    all->count--;
}

static inline void header_init(fg_context *ctx, fg_tensor *t, fg_dtype dt, const fg_shape *shape, int64_t numel) {
    t->refs = 1;
    t->dtype = (uint8_t)dt;
    t->requires_grad = false;
    t->shape = *shape;
    for (int i = shape->ndim; i < FG_MAX_RANK; i++) t->shape.dim[i] = 0;
    t->numel = numel;
    t->node = NULL;
    t->grad = NULL;
    t->ctx = ctx;
    t->tag = 0;
    link_live(ctx, t);
}

fg_tensor *fg_tensor_new(fg_context *ctx, fg_dtype dt, const fg_shape *shape) {
    size_t bytes;
    if ((unsigned)dt > FG_I32) {
        fg_error(ctx, FG_EINVAL, "tensor: %d is not a dtype", (int)dt);
        return NULL;
    }
    if (!fg_shape_bytes(shape, fg_dtype_size(dt), &bytes)) {
        char text[160];
        fg_shape_print(shape, text, sizeof text);
        bool rank = shape->ndim < 0 || shape->ndim > FG_MAX_RANK, negative = false;
        for (int i = 0; !rank && i < shape->ndim; i++) negative |= shape->dim[i] < 0;
        if (rank) fg_error(ctx, FG_EINVAL, "tensor: rank %d is not in 0..%d", shape->ndim, FG_MAX_RANK);
        else if (negative) fg_error(ctx, FG_EINVAL, "tensor: shape %s has a negative size", text);
        else fg_error(ctx, FG_EINVAL, "tensor: shape %s is too large", text);
        return NULL;
    }
    bool small = bytes <= FG_INLINE_BYTES;
    tensor_cell *c = fg_alloc(ctx, small ? CELL_DATA + bytes : sizeof *c);
    if (!c) return NULL;
    void *data = small ? (char *)c + CELL_DATA : fg_alloc(ctx, bytes);
    if (!data) {
        fg_free(ctx, c, sizeof *c);
        return NULL;
    }
    c->st = (fg_storage){ .ctx = ctx, .data = data, .bytes = bytes, .refs = 1, .inline_data = small };
    c->t.is_view = false;
    c->t.cell_inline = true;
    c->t.storage = &c->st;
    c->t.offset = 0;
    header_init(ctx, &c->t, dt, shape, fg_shape_numel(shape));
    return &c->t;
}

static void storage_drop_data(fg_storage *st, fg_context *ctx) {
    if (st->packed_hooks) st->packed_hooks->drop(st, true);
    st->packed_hooks = NULL;
    st->packed = NULL;
    if (st->release) st->release(st->owner);
    else if (!st->inline_data) fg_free(ctx, st->data, st->bytes);
    st->release = NULL;
    st->data = NULL;
}

static tensor_cell *cell_of(fg_storage *st) { return (tensor_cell *)(void *)((char *)st - offsetof(tensor_cell, st)); }

static void storage_unref(fg_storage *st) {
    if (--st->refs > 0) return;
    fg_context *ctx = st->ctx;
    size_t cell_bytes = st->inline_data ? CELL_DATA + st->bytes : sizeof(tensor_cell);
    if (st->packed_hooks || !st->inline_data) storage_drop_data(st, ctx);
    fg_free(ctx, cell_of(st), cell_bytes);
}

fg_tensor *fg_tensor_view(fg_tensor *t, const fg_shape *shape, size_t byte_offset) {
    if (!t) return NULL;
    fg_context *ctx = t->ctx;
    size_t bytes, end;
    if (!fg_shape_bytes(shape, fg_dtype_size((fg_dtype)t->dtype), &bytes) || !fg_size_add(byte_offset, bytes, &end) ||
        end > fg_tensor_bytes(t)) {
        char want[160], have[160];
        fg_shape_print(shape, want, sizeof want);
        fg_shape_print(&t->shape, have, sizeof have);
        fg_error(ctx, FG_EINVAL, "view: shape %s at byte %zu does not fit in a tensor of shape %s", want, byte_offset, have);
        return NULL;
    }
    fg_tensor *v = fg_alloc(ctx, sizeof *v);
    if (!v) return NULL;
    t->storage->refs++;
    v->is_view = true;
    v->cell_inline = false;
    v->storage = t->storage;
    v->offset = t->offset + byte_offset;
    header_init(ctx, v, (fg_dtype)t->dtype, shape, fg_shape_numel(shape));
    return v;
}

fg_tensor *fg_tensor_bare(fg_tensor *t) { return t ? fg_tensor_view(t, &t->shape, 0) : NULL; }

fg_tensor *fg_keep(fg_tensor *t) {
    if (t && t != FG_NONE) t->refs++;
    return t;
}

static void release_orphan(fg_tensor *t) {
    orphanage *home = (orphanage *)(void *)t->prev;
    if (!home || --home->count > 0) return;
    fg_allocator_free(home->alloc);
    fg_host_free(home);
}

void fg_release(fg_tensor *t) {
    if (!t || t == FG_NONE || --t->refs > 0) return;
    fg_context *ctx = t->ctx;
    if (!ctx) {
        release_orphan(t);
        return;
    }
    unlink_live(ctx, t);
    if (t->node) {
        struct fg_node *node = t->node;
        t->node = NULL;
        ctx->tensors->node_release(ctx, node);
    }
    if (t->grad) fg_release(t->grad); /* a gradient has no gradient of its own: no deep recursion */
    fg_storage *st = t->storage;
    if (t->cell_inline) {
        storage_unref(st);
    } else {
        fg_free(ctx, t, sizeof *t);
        storage_unref(st);
    }
}

/* ---------------------------------------------------------------- in-place writes */
fg_status fg_tensor_begin_write(fg_tensor *t, const char *what) {
    if (!t || t == FG_NONE || !t->ctx) return FG_EINVAL;
    fg_context *ctx = t->ctx;
    if (t->node)
        return fg_error(ctx, FG_ESTATE,
                        "%s: cannot write in place into the result of %s: it has a graph; detach and copy it first", what,
                        fg_tensor_op_name(t));
    if (t->is_view) {
        char text[160];
        fg_shape_print(&t->shape, text, sizeof text);
        return fg_error(ctx, FG_ESTATE, "%s: cannot write in place through a view (shape %s): write to its base", what, text);
    }
    if (t->requires_grad && ctx->grad_enabled)
        return fg_error(ctx, FG_ESTATE, "%s: cannot write in place into a leaf that requires grad outside no_grad", what);
    fg_storage_written(t->storage);
    return FG_OK;
}

/* ---------------------------------------------------------------- room */
static void drop_history(fg_context *ctx, fg_tensor *t) {
    if (t->node) {
        struct fg_node *node = t->node;
        t->node = NULL;
        ctx->tensors->node_release(ctx, node);
    }
    if (t->grad) {
        fg_tensor *grad = t->grad;
        t->grad = NULL;
        fg_release(grad);
    }
}

/* Before any room closes: open scopes, graphs and gradients go, since they hold tensors that nobody else does. */
static void closing(fg_context *ctx) {
    fg_context_tensors *all = ctx->tensors;
    while (all->scopes) { /* a host left it open: its temporaries are nobody's */
        fg_scope *s = all->scopes;
        all->scopes = s->next_open;
        fg_scope_release_to(s, 0);
        fg_free(ctx, s->items, (size_t)s->cap * sizeof *s->items);
    }
    fg_tensor *t = all->live;
    if (t) t->refs++;
    while (t) { /* t and its successor are held while t's history, which may hold either, goes */
        drop_history(ctx, t);
        fg_tensor *next = t->next;
        if (next) next->refs++;
        fg_release(t);
        t = next;
    }
}

static fg_status open_room(fg_context *ctx) {
    ctx->tensors = fg_calloc(ctx, sizeof *ctx->tensors);
    if (!ctx->tensors) return FG_ENOMEM;
    ctx->closing = closing;
    return FG_OK;
}

static void close_room(fg_context *ctx) {
    fg_context_tensors *all = ctx->tensors;
    if (!all->live) {
        fg_free(ctx, all, sizeof *all);
        ctx->tensors = NULL;
        return;
    }
    orphanage *home = fg_host_alloc(sizeof *home);
    if (home) *home = (orphanage){ fg_allocator_keep(ctx->alloc), all->count };
    else fg_allocator_keep(ctx->alloc); /* no memory for the book-keeping: leak the slabs rather than crash */
    for (fg_tensor *next, *o = all->live; o; o = next) {
        next = o->next;
        fg_storage *st = o->storage;
        if (st->data) storage_drop_data(st, ctx);
        o->ctx = NULL;
        o->requires_grad = false;
        o->storage = NULL;
        o->shape = FG_SHAPE(0);
        o->numel = 0;
        o->prev = (fg_tensor *)(void *)home;
        o->next = NULL;
    }
}

const fg_room fg_room_tensor = { "tensor", open_room, close_room };
