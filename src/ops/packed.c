/* packed.c: the cache of packed convolution weights.
 *
 * A parameter's packed form is worth keeping until the optimizer writes the parameter: D's real and fake passes and every
 * sample of a frozen G share it. Entries hang on the storage (fg_storage.packed), keyed by direction, algorithm and
 * geometry of the weight. Their data die with the storage, with the next write to it, or when the allocator runs short (the
 * evict hook drops all of them). Only leaf parameters are cached: other weights live for one call.
 *
 * An entry counts its uses between two writes. At the use that was the last one last time, the caller gets the data to free: a
 * form that is needed once a step, as those of G's backward pass, is never kept, and the others are gone before the step's peak.
 * A use beyond that, as when a trained G draws samples, packs once more and keeps. */
#include "packed.h"

#include <string.h>

typedef struct entry {
    struct entry *next;                /* of the same storage */
    struct entry *all_prev, *all_next; /* of the context */
    fg_storage *st;
    fg_context *ctx;
    void *data; /* NULL: only the count is kept */
    size_t bytes, offset;
    int uses, uses_before; /* of this version of the parameter, and of the one before */
    fg_conv_plan key;
} entry;

typedef struct cache {
    entry *all;
    size_t bytes;
    bool busy; /* packing: the evict hook must not take what is in use */
} cache;

static void drop_data(entry *e) {
    cache *c = e->ctx->packed_cache;
    if (!e->data) return;
    c->bytes -= e->bytes;
    fg_free(e->ctx, e->data, e->bytes);
    e->data = NULL;
}

static void drop(entry *e) {
    cache *c = e->ctx->packed_cache;
    entry **p = (entry **)&e->st->packed;
    while (*p != e) p = &(*p)->next;
    *p = e->next;
    if (e->all_prev) e->all_prev->all_next = e->all_next;
    else c->all = e->all_next;
    if (e->all_next) e->all_next->all_prev = e->all_prev;
    drop_data(e);
    fg_free(e->ctx, e, sizeof *e);
}

static void storage_changes(fg_storage *st, bool dies) {
    for (entry *e = st->packed, *next; e; e = next) {
        next = e->next;
        if (dies) {
            drop(e);
        } else if (e->uses) {
            drop_data(e);
            e->uses_before = e->uses;
            e->uses = 0;
        }
    }
}

static size_t evict(fg_context *ctx, void *arg) {
    cache *c = arg;
    (void)ctx;
    if (c->busy) return 0;
    size_t freed = c->bytes;
    for (entry *e = c->all; e; e = e->all_next) drop_data(e);
    return freed;
}

/* The same packed layout: whatever pack may look at (kernels.h), which is not batch or map size. */
static bool same_key(const fg_conv_plan *a, const fg_conv_plan *b) {
    const fg_conv_geom *x = &a->g, *y = &b->g;
    return a->kernel == b->kernel && a->dir == b->dir && a->algo == b->algo && a->packed == b->packed && x->ci == y->ci &&
           x->co == y->co && x->kh == y->kh && x->kw == y->kw && x->sh == y->sh && x->sw == y->sw && x->pt == y->pt &&
           x->pl == y->pl;
}

static entry *find(fg_tensor *w, const fg_conv_plan *p) {
    for (entry *e = w->storage->packed; e; e = e->next)
        if (e->offset == w->offset && same_key(&e->key, p)) return e;
    return NULL;
}

static entry *add(fg_context *ctx, fg_tensor *w, const fg_conv_plan *p) {
    cache *c = ctx->packed_cache;
    entry *e = fg_alloc(ctx, sizeof *e);
    if (!e) return NULL;
    *e = (entry){ .next = w->storage->packed,
                  .all_next = c->all,
                  .st = w->storage,
                  .ctx = ctx,
                  .bytes = p->packed,
                  .offset = w->offset,
                  .uses_before = -1, /* unknown: keep it */
                  .key = *p };
    w->storage->packed = e;
    w->storage->packed_drop = storage_changes;
    if (c->all) c->all->all_prev = e;
    c->all = e;
    return e;
}

const void *fg_packed_get(fg_context *ctx, fg_tensor *w, const fg_conv_plan *p, bool *owned) {
    cache *c = ctx->packed_cache;
    bool leaf = !w->node && w->storage->refs == 1 && !w->is_view && w->dtype == FG_F32 && w->refs > 1;
    *owned = false;
    c->busy = true;
    entry *e = leaf ? find(w, p) : NULL;
    if (leaf && !e) e = add(ctx, w, p);
    void *data = e ? e->data : NULL;
    bool ok = (e || !leaf) && (data || (data = fg_alloc(ctx, p->packed)));
    c->busy = false;
    if (!ok) return NULL;
    if (!e || !e->data) fg_conv_pack_drive(ctx, p, fg_reals(w), data);
    *owned = !e || ++e->uses == e->uses_before;
    if (e && *owned != !e->data) { /* kept data go to the caller, or new ones stay */
        e->data = *owned ? NULL : data;
        c->bytes += *owned ? -e->bytes : e->bytes;
    }
    return data;
}

size_t fg_packed_bytes(const fg_context *ctx) { return ((const cache *)ctx->packed_cache)->bytes; }

static fg_status open_room(fg_context *ctx) {
    cache *c = fg_calloc(ctx, sizeof *c);
    if (!c) return FG_ENOMEM;
    ctx->packed_cache = c;
    fg_set_evict_hook(ctx, evict, c);
    return FG_OK;
}

static void close_room(fg_context *ctx) {
    cache *c = ctx->packed_cache;
    fg_set_evict_hook(ctx, NULL, NULL);
    while (c->all) drop(c->all);
    fg_free(ctx, c, sizeof *c);
    ctx->packed_cache = NULL;
}

const fg_room fg_room_packed = { "packed", open_room, close_room };
