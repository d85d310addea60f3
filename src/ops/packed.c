/* packed.c: the cache of packed convolution weights.
 *
 * A parameter's packed form is worth keeping until the optimizer writes the parameter: D's real and fake passes and every
 * sample of a frozen G share it. Entries hang on the storage (fg_storage.packed), keyed by direction, algorithm and
 * geometry of the weight and by the storage's version; they die with the storage, with the version, or when the allocator
 * runs short (the evict hook drops all of them). Only leaf parameters are cached: other weights live for one call. */
#include "packed.h"

#include <string.h>

typedef struct entry {
    struct entry *next;                /* of the same storage */
    struct entry *all_prev, *all_next; /* of the context */
    fg_storage *st;
    fg_context *ctx;
    void *data;
    size_t bytes, offset;
    uint32_t version;
    fg_conv_plan key;
} entry;

typedef struct cache {
    entry *all;
    size_t bytes;
    bool busy; /* packing: the evict hook must not take what is in use */
} cache;

static void drop(entry *e) {
    cache *c = e->ctx->packed_cache;
    entry **p = (entry **)&e->st->packed;
    while (*p != e) p = &(*p)->next;
    *p = e->next;
    if (e->all_prev) e->all_prev->all_next = e->all_next;
    else c->all = e->all_next;
    if (e->all_next) e->all_next->all_prev = e->all_prev;
    c->bytes -= e->bytes;
    fg_free(e->ctx, e->data, e->bytes);
    fg_free(e->ctx, e, sizeof *e);
}

static void drop_storage(fg_storage *st) {
    while (st->packed) drop(st->packed);
}

static size_t evict(fg_context *ctx, void *arg) {
    cache *c = arg;
    (void)ctx;
    if (c->busy) return 0;
    size_t freed = c->bytes;
    while (c->all) drop(c->all);
    return freed;
}

/* Same packed layout: everything of the plan that pack may look at, except batch and map size, which weights do not have. */
static bool same_key(const fg_conv_plan *a, const fg_conv_plan *b) {
    const fg_conv_geom *x = &a->g, *y = &b->g;
    return a->kernel == b->kernel && a->dir == b->dir && a->algo == b->algo && a->packed == b->packed && x->ci == y->ci &&
           x->co == y->co && x->kh == y->kh && x->kw == y->kw && x->sh == y->sh && x->sw == y->sw && x->pt == y->pt &&
           x->pl == y->pl && !memcmp(a->priv, b->priv, sizeof a->priv);
}

const void *fg_packed_get(fg_context *ctx, fg_tensor *w, const fg_conv_plan *p, bool *owned) {
    cache *c = ctx->packed_cache;
    *owned = false;
    bool keep = !w->node && w->storage->refs == 1 && !w->is_view && w->dtype == FG_F32 && w->refs > 1;
    if (keep) {
        for (entry *e = w->storage->packed, *next; e; e = next) {
            next = e->next;
            if (e->version != w->storage->version) drop(e);
            else if (e->offset == w->offset && same_key(&e->key, p)) return e->data;
        }
    }
    c->busy = true;
    entry *e = keep ? fg_alloc(ctx, sizeof *e) : NULL;
    void *data = keep && !e ? NULL : fg_alloc(ctx, p->packed);
    c->busy = false;
    if (!data) {
        fg_free(ctx, e, sizeof *e);
        return NULL;
    }
    fg_conv_pack_drive(ctx, p, fg_reals(w), data);
    *owned = !keep;
    if (!keep) return data;
    *e = (entry){ w->storage->packed, NULL, c->all, w->storage, ctx, data, p->packed, w->offset, w->storage->version, *p };
    w->storage->packed = e;
    w->storage->packed_drop = drop_storage;
    if (c->all) c->all->all_prev = e;
    c->all = e;
    c->bytes += e->bytes;
    return data;
}

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
