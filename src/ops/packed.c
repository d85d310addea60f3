/* packed.c: the cache of weights in the forms that product kernels want.
 *
 * A parameter's packed form is worth keeping until the optimizer writes the parameter: D's real and fake passes and every
 * sample of a frozen G share it. So is, under bf16 precision, its rounded form. Entries hang on the storage
 * (fg_storage.packed), keyed by everything that shapes the form (kernel, direction, geometry of the weight). Their data die with
 * the storage, with the next write to it, or when the allocator runs short (the evict hook drops all of them). Only leaf
 * parameters are cached: other weights live for one call.
 *
 * An entry counts its uses between two writes. At the use that was the last one last time, the caller gets the data to free: a
 * form that is needed once a step, as those of G's backward pass, is never kept, and the others are gone before the step's peak.
 * A use beyond that, as when a trained G draws samples, packs once more and keeps.
 *
 * Packed B of f32 products, which is made of pieces of the weight's rows, is made anew by the optimizer as it goes (renew): the
 * rows that it has just written are in the cache, from where packing takes a third of the time. Such a form is kept as long as
 * every version of the weight uses it. */
#include "packed.h"

#include <string.h>

/* What a form is and how it is made. The key is compared as a whole; unused words are zero. */
typedef enum form_kind { CONV = 1, GEMM, GEMM16, HALF, ROUNDED } form_kind;
typedef struct form {
    struct {
        int64_t kind, bytes, offset;
        const void *kernel;
        int64_t word[11];
    } key;
    const fg_conv_plan *conv;
    const fg_gemm_plan *gemm;
    const fg_gemm_args *gemm_args;
    const fg_gemm16_plan *gemm16;
    const fg_gemm16_args *args;
    bool round; /* pack from the rounded weight */
    bool brief; /* for this call alone, never cached */
} form;

typedef struct entry {
    struct entry *next;                /* of the same storage */
    struct entry *all_prev, *all_next; /* of the context */
    fg_storage *st;
    fg_context *ctx;
    void *data; /* NULL: only the count is kept */
    size_t bytes;
    int uses, uses_before; /* of this version of the parameter, and of the one before */
    form form;             /* only its key outlives the call */
    fg_gemm_plan plan;     /* of GEMM, as last used */
    fg_gemm_args args;
    bool renews; /* by the optimizer: never handed out to be freed */
    bool fresh;  /* made anew for the version that comes */
} entry;

typedef struct cache {
    entry *all;
    size_t bytes;
    bool busy; /* making a form: the evict hook must not take what is in use */
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
            continue;
        }
        if (!e->fresh) drop_data(e);
        e->fresh = false;
        if (e->uses) e->uses_before = e->uses;
        e->uses = 0;
    }
}

static int64_t renew_begin(fg_storage *st, int64_t n) {
    int64_t piece = 0;
    for (entry *e = st->packed; e; e = e->next) {
        int64_t rows = e->args.tb ? e->args.n : e->args.k, each = e->plan.pack_rows * e->args.ldb;
        e->renews = e->form.key.kind == GEMM && e->uses && each && rows * e->args.ldb == n && (!piece || each == piece);
        e->fresh = e->renews && e->data;
        if (e->fresh) piece = each;
    }
    return piece;
}
static void renew(const fg_storage *st, int64_t first) {
    for (const entry *e = st->packed; e; e = e->next) {
        const fg_kernels *k = e->form.key.kernel;
        if (e->fresh) k->gemm_pack(&e->plan, &e->args, e->data, (int)(first / (e->plan.pack_rows * e->args.ldb)));
    }
}
static const fg_packed_hooks hooks = { storage_changes, renew_begin, renew };

static size_t evict(fg_context *ctx, void *arg) {
    cache *c = arg;
    (void)ctx;
    if (c->busy) return 0;
    size_t freed = c->bytes;
    for (entry *e = c->all; e; e = e->all_next) drop_data(e);
    return freed;
}

typedef struct round_arg {
    const fg_kernels *k;
    const fg_real *src;
    fg_real *dst;
} round_arg;
static void round_range(void *arg, int64_t i, int64_t end, int worker) {
    enum { BLOCK = 1024 };
    const round_arg *q = arg;
    uint16_t half[BLOCK];
    (void)worker;
    for (; i < end; i += BLOCK) {
        size_t n = (size_t)(end - i < BLOCK ? end - i : BLOCK);
        q->k->to_bf16(q->src + i, half, n);
        q->k->from_bf16(half, q->dst + i, n);
    }
}
void fg_round_reals(fg_context *ctx, const fg_real *src, fg_real *dst, int64_t n) {
    round_arg q = { ctx->k, src, dst };
    fg_parallel_range(ctx, n, 16384, round_range, &q);
}

typedef struct half_arg {
    const fg_tensor *w;
    uint16_t *y;
} half_arg;
static void half_range(void *arg, int64_t first, int64_t end, int worker) {
    const half_arg *q = arg;
    (void)worker;
    q->w->ctx->k->to_bf16(fg_reals(q->w) + first, q->y + first, (size_t)(end - first));
}
static void to_half(fg_context *ctx, const fg_tensor *w, uint16_t *y) {
    half_arg q = { w, y };
    fg_parallel_range(ctx, w->numel, 16384, half_range, &q);
}

/* from: the weight's numbers as the form's base has them */
static void make(fg_context *ctx, const form *f, const fg_tensor *w, const void *from, void *data) {
    switch ((form_kind)f->key.kind) {
    case CONV: fg_conv_pack_drive(ctx, f->conv, from, data); break;
    case GEMM: fg_gemm_pack_drive(ctx, f->gemm, f->gemm_args, data); break;
    case GEMM16: {
        fg_gemm16_args a = *f->args;
        a.b = from;
        fg_gemm16_pack_drive(ctx, f->gemm16, &a, data);
        break;
    }
    case HALF: to_half(ctx, w, data); break;
    case ROUNDED: fg_round_reals(ctx, from, data, w->numel); break;
    }
}

static form plain_form(const fg_tensor *w, form_kind kind) {
    size_t size = kind == HALF ? sizeof(uint16_t) : sizeof(fg_real);
    return (form){ .key = { .kind = kind, .bytes = w->numel * (int64_t)size } };
}

static entry *find(fg_tensor *w, const form *f) {
    for (entry *e = w->storage->packed; e; e = e->next)
        if (!memcmp(&e->form.key, &f->key, sizeof f->key)) return e;
    return NULL;
}

static entry *add(fg_context *ctx, fg_tensor *w, const form *f) {
    cache *c = ctx->packed_cache;
    entry *e = fg_alloc(ctx, sizeof *e);
    if (!e) return NULL;
    *e = (entry){ .next = w->storage->packed,
                  .all_next = c->all,
                  .st = w->storage,
                  .ctx = ctx,
                  .uses_before = -1, /* unknown: keep it */
                  .form = *f };
    w->storage->packed = e;
    w->storage->packed_hooks = &hooks;
    if (c->all) c->all->all_prev = e;
    c->all = e;
    return e;
}

static fg_packed get(fg_context *ctx, fg_tensor *w, form *f) {
    cache *c = ctx->packed_cache;
    f->key.offset = (int64_t)w->offset;
    bool leaf = !w->node && w->storage->refs == 1 && !w->is_view && w->dtype == FG_F32 && w->refs > 1 && !f->brief;
    size_t bytes = f->key.bytes ? (size_t)f->key.bytes : 1;
    entry *e = leaf ? find(w, f) : NULL;
    if (leaf && !e && !(e = add(ctx, w, f))) return (fg_packed){ NULL, 0 };
    if (e && f->gemm) e->plan = *f->gemm, e->args = *f->gemm_args;
    void *data = e ? e->data : NULL;
    if (!data) {
        /* Two packed forms of one weight (forward, input gradient) are made from one rounding, where that costs half the bytes.
         */
        fg_packed base = { fg_data(w), 0 };
        if ((f->key.kind == GEMM16 && w->dtype != FG_BF16) || (f->key.kind == CONV && f->round)) {
            form rounded = plain_form(w, f->key.kind == CONV ? ROUNDED : HALF);
            rounded.brief = f->key.kind == CONV;
            base = get(ctx, w, &rounded);
            if (!base.data) return base;
        }
        c->busy = true;
        data = fg_alloc(ctx, bytes);
        c->busy = false;
        if (data) make(ctx, f, w, base.data, data);
        fg_packed_free(ctx, base);
        if (!data) return (fg_packed){ NULL, 0 };
    }
    bool owned = !e || (++e->uses == e->uses_before && !e->renews);
    if (e && owned && e->data) {
        c->bytes -= e->bytes;
        e->data = NULL;
    } else if (e && !owned && !e->data) {
        e->data = data;
        e->bytes = bytes;
        c->bytes += bytes;
    }
    return (fg_packed){ data, owned ? bytes : 0 };
}

void fg_packed_free(fg_context *ctx, fg_packed p) {
    if (p.owned) fg_free(ctx, (void *)p.data, p.owned);
}

/* Everything that pack may look at (kernels.h), which is not batch or map size. */
fg_packed fg_packed_conv(fg_context *ctx, fg_tensor *w, const fg_conv_plan *p, bool round) {
    const fg_conv_geom *g = &p->g;
    form f = { .key = { .kind = CONV, .bytes = (int64_t)p->packed, .kernel = p->kernel }, .conv = p, .round = round };
    const int64_t words[] = { p->dir, p->algo, g->ci, g->co, g->kh, g->kw, g->sh, g->sw, g->pt, g->pl, round };
    memcpy(f.key.word, words, sizeof words);
    return get(ctx, w, &f);
}

fg_packed fg_packed_gemm(fg_context *ctx, fg_tensor *w, const fg_gemm_args *a, const fg_gemm_plan *p) {
    form f = { .key = { .kind = GEMM, .bytes = (int64_t)p->packed, .kernel = ctx->k }, .gemm = p, .gemm_args = a };
    const int64_t words[] = { a->n, a->k, a->ldb, a->tb };
    memcpy(f.key.word, words, sizeof words);
    return get(ctx, w, &f);
}

fg_packed fg_packed_gemm16(fg_context *ctx, fg_tensor *w, const fg_gemm16_args *a, const fg_gemm16_plan *p) {
    form f = plain_form(w, HALF);
    if (!p->packed) return w->dtype == FG_BF16 ? (fg_packed){ fg_data(w), 0 } : get(ctx, w, &f);
    f = (form){ .key = { .kind = GEMM16, .bytes = (int64_t)p->packed, .kernel = p->kernel }, .gemm16 = p, .args = a };
    const int64_t words[] = { p->layout, a->n, a->k, a->ldb, a->tb };
    memcpy(f.key.word, words, sizeof words);
    return get(ctx, w, &f);
}

fg_packed fg_packed_rounded(fg_context *ctx, fg_tensor *w) {
    form f = plain_form(w, ROUNDED);
    return get(ctx, w, &f);
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
