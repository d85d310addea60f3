/* alloc.c: the caching allocator behind every tensor, graph node and buffer of a context.
 *
 * The idea: a training step asks for the same sizes again and again, so freed memory is kept in one list per size
 * class and handed out again, without page faults and without glibc returning it to the system in between.
 *   small, <= 1 KB: cells of 16, 32, 48 and all multiples of 64 bytes, cut from 64 KB slabs that are aligned to their
 *     size; a slab counts its live cells, so that fg_memory_trim finds the empty ones;
 *   medium, <= 32 KB: 64-byte aligned blocks in four classes per power of two (at most 25% waste);
 *   big: blocks of a heap that cuts and merges them (heap.c). Its segments ask for pages of 2 MB: a convolution walks some
 *     megabytes of transformed weights and pixels, more than the entries for pages of 4 KB tell (steps 2 to 5% faster).
 * Small and medium blocks have no header: fg_free is told the size. Counters count what a block takes in all, so
 * live + cached == system always.
 *
 * On failure, true or ordered by the test hook: evict hooks, then every cached block goes back, then one retry.
 * Under ASan free cells and blocks are poisoned and a live one is open for exactly the bytes that were asked.
 * Threads: only the thread inside the context allocates. The only malloc and free of the tree are in this file. */
#define _DEFAULT_SOURCE
#include "heap.h"
#include "poison.h"
#include "room.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    HUGE_PAGE = 2 << 20,
    SMALL_MAX = 1024,
    SMALL_CLASSES = 3 + SMALL_MAX / 64, /* 16, 32, 48, then 64, 128 .. 1024 */
    SLAB_BYTES = 64 * 1024,
    SLAB_HEAD = 64,
    MEDIUM_MAX = 32 * 1024,
    MEDIUM_CLASSES = 4 * 5 /* from 2^10 up */
};

typedef struct cell {
    struct cell *next;
} cell;

typedef struct slab {
    struct slab *next, *prev;
    uint32_t live;
    uint32_t cls;
} slab;

struct fg_allocator {
    int refs; /* the context, and the tensors that outlived it together */
    cell *small[SMALL_CLASSES];
    char *bump[SMALL_CLASSES], *bump_end[SMALL_CLASSES]; /* the rest of the class's newest slab */
    cell *medium[MEDIUM_CLASSES];
    fg_heap heap;
    slab *slabs;
    fg_memory m;
    uint64_t fail_at; /* the request that fails; UINT64_MAX: none */
    bool fail_transient, failing;
    bool evicting;
    fg_evict_fn evict;
    void *evict_arg;
};

void *fg_host_alloc(size_t bytes) { return malloc(bytes ? bytes : 1); }
void *fg_host_realloc(void *p, size_t bytes) { return realloc(p, bytes ? bytes : 1); }
void fg_host_free(void *p) { free(p); }

static inline int small_class(size_t bytes) {
    if (bytes > 48) return 2 + (int)((bytes + 63) / 64);
    return bytes ? (int)((bytes - 1) / 16) : 0;
}

static inline size_t small_size(int cls) { return cls < 3 ? (size_t)(cls + 1) * 16 : (size_t)(cls - 2) * 64; }

/* Class of a medium request and its size */
static inline int medium_class(size_t bytes, size_t *size) {
    int top = 63 - __builtin_clzll((unsigned long long)(bytes - 1)); /* 2^top <= bytes-1 < 2^(top+1) */
    size_t quarter = (size_t)1 << (top - 2);
    size_t k = (bytes - 1 - ((size_t)1 << top)) / quarter; /* 0..3 */
    *size = ((size_t)1 << top) + (k + 1) * quarter;
    return (top - 10) * 4 + (int)k;
}

static void *system_alloc(void *arg, size_t align, size_t size) {
    fg_allocator *a = arg;
    void *p = NULL;
    bool huge = size >= 2 * HUGE_PAGE;
    a->m.system_calls++;
    if (posix_memalign(&p, huge ? HUGE_PAGE : align, size)) return NULL;
#ifdef MADV_HUGEPAGE
    /* A wish: refused, all works as well, only slower. Not under ASan: it holds on to freed segments, which the system would then
     * fill up with whole pages, and tests watch the resident memory. */
    if (huge && !FG_ASAN_ON) madvise(p, size, MADV_HUGEPAGE);
#endif
    a->m.system += size;
    return p;
}

static void system_free(void *arg, void *p, size_t size) {
    fg_allocator *a = arg;
    UNPOISON(p, size);
    a->m.system -= size;
    free(p);
}

static bool new_slab(fg_allocator *a, int cls) {
    slab *s = system_alloc(a, SLAB_BYTES, SLAB_BYTES);
    if (!s) return false;
    s->live = 0;
    s->cls = (uint32_t)cls;
    s->prev = NULL;
    s->next = a->slabs;
    if (a->slabs) a->slabs->prev = s;
    a->slabs = s;
    a->bump[cls] = (char *)s + SLAB_HEAD;
    size_t size = small_size(cls);
    a->bump_end[cls] = a->bump[cls] + (SLAB_BYTES - SLAB_HEAD) / size * size;
    POISON(a->bump[cls], SLAB_BYTES - SLAB_HEAD);
    return true;
}

static inline slab *slab_of(const void *p) { return (slab *)((uintptr_t)p & ~(uintptr_t)(SLAB_BYTES - 1)); }

static inline void count_live(fg_allocator *a, size_t size) {
    a->m.live += size;
    if (a->m.live > a->m.peak) a->m.peak = a->m.live;
}

static void *try_small(fg_allocator *a, int cls, size_t bytes) {
    size_t size = small_size(cls);
    cell *c = a->small[cls];
    if (c) {
        UNPOISON(c, sizeof *c);
        a->small[cls] = c->next;
        POISON(c, sizeof *c);
    } else {
        if (a->bump[cls] == a->bump_end[cls] && !new_slab(a, cls)) return NULL;
        c = (cell *)(void *)a->bump[cls];
        a->bump[cls] += size;
    }
    slab_of(c)->live++;
    count_live(a, size);
    UNPOISON(c, bytes);
    return c;
}

static void *try_medium(fg_allocator *a, size_t bytes) {
    size_t size;
    int cls = medium_class(bytes, &size);
    cell *c = a->medium[cls];
    if (c) {
        UNPOISON(c, sizeof *c);
        a->medium[cls] = c->next;
    } else {
        c = system_alloc(a, 64, size);
        if (!c) return NULL;
    }
    POISON(c, size);
    count_live(a, size);
    UNPOISON(c, bytes);
    return c;
}

static void *try_big(fg_allocator *a, size_t bytes) {
    size_t size;
    void *p = fg_heap_take(&a->heap, bytes, &size);
    if (p) count_live(a, size);
    return p;
}

static inline void *try_alloc(fg_allocator *a, size_t bytes) {
    if (bytes <= SMALL_MAX) return try_small(a, small_class(bytes), bytes);
    return bytes <= MEDIUM_MAX ? try_medium(a, bytes) : try_big(a, bytes);
}

/* Slabs without a live cell go back; their cells leave the free list first. */
static void trim_slabs(fg_allocator *a) {
    for (int i = 0; i < SMALL_CLASSES; i++) {
        cell **link = &a->small[i], *c = *link, *kept_last = NULL;
        a->small[i] = NULL;
        while (c) {
            UNPOISON(c, sizeof *c);
            cell *next = c->next;
            if (slab_of(c)->live) { /* relink at the end: the order of reuse stays */
                c->next = NULL;
                if (kept_last) {
                    UNPOISON(kept_last, sizeof *c);
                    kept_last->next = c;
                    POISON(kept_last, sizeof *c);
                } else {
                    a->small[i] = c;
                }
                kept_last = c;
            }
            POISON(c, sizeof *c);
            c = next;
        }
        if (a->bump[i] && slab_of(a->bump[i] - 1)->live == 0) a->bump[i] = a->bump_end[i] = NULL;
    }
    for (slab *s = a->slabs, *next; s; s = next) {
        next = s->next;
        if (s->live) continue;
        if (s->prev) s->prev->next = s->next;
        else a->slabs = s->next;
        if (s->next) s->next->prev = s->prev;
        system_free(a, s, SLAB_BYTES);
    }
}

static void trim_large(fg_allocator *a) {
    for (int i = 0; i < MEDIUM_CLASSES; i++) {
        size_t size = ((size_t)1 << (10 + i / 4)) + ((size_t)(i % 4) + 1) * ((size_t)1 << (8 + i / 4));
        for (cell *c = a->medium[i], *next; c; c = next) {
            UNPOISON(c, sizeof *c);
            next = c->next;
            system_free(a, c, size);
        }
        a->medium[i] = NULL;
    }
    fg_heap_trim(&a->heap);
}

static void trim(fg_allocator *a) {
    trim_large(a);
    trim_slabs(a);
}

/* The first try failed: make room and try once more. */
static __attribute__((noinline)) void *alloc_again(fg_context *ctx, size_t bytes) {
    fg_allocator *a = ctx->alloc;
    if (a->evict && !a->evicting) {
        a->evicting = true;
        a->evict(ctx, a->evict_arg);
        a->evicting = false;
    }
    trim(a);
    void *p = a->failing ? NULL : try_alloc(a, bytes);
    if (!p) fg_error(ctx, FG_ENOMEM, "out of memory: %zu bytes asked, %zu live", bytes, a->m.live);
    return p;
}

static __attribute__((noinline)) bool hook_fails(fg_allocator *a) {
    if (a->failing) return true;
    if (a->m.requests != a->fail_at) return false;
    a->fail_at = UINT64_MAX;
    a->failing = !a->fail_transient;
    return true;
}

void *fg_alloc(fg_context *ctx, size_t bytes) {
    fg_allocator *a = ctx->alloc;
    a->m.requests++;
    if (__builtin_expect((a->failing || a->m.requests == a->fail_at) && hook_fails(a), 0)) return alloc_again(ctx, bytes);
    void *p = try_alloc(a, bytes);
    if (__builtin_expect(!p, 0)) return alloc_again(ctx, bytes);
    return p;
}

void *fg_calloc(fg_context *ctx, size_t bytes) {
    void *p = fg_alloc(ctx, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void fg_free(fg_context *ctx, void *p, size_t bytes) {
    if (!p) return;
    fg_allocator *a = ctx->alloc;
    cell *c = p;
    if (bytes <= SMALL_MAX) {
        int cls = small_class(bytes);
        size_t size = small_size(cls);
        UNPOISON(c, sizeof *c);
        c->next = a->small[cls];
        a->small[cls] = c;
        slab_of(c)->live--;
        a->m.live -= size;
        POISON(c, size);
        return;
    }
    if (bytes > MEDIUM_MAX) {
        a->m.live -= fg_heap_give(&a->heap, p);
        return;
    }
    size_t size;
    int cls = medium_class(bytes, &size);
    c->next = a->medium[cls];
    a->medium[cls] = c;
    a->m.live -= size;
    POISON(c, size);
}

void *fg_realloc(fg_context *ctx, void *p, size_t old_bytes, size_t new_bytes) {
    if (!p) return fg_alloc(ctx, new_bytes);
    void *q = fg_alloc(ctx, new_bytes);
    if (!q) return NULL;
    memcpy(q, p, old_bytes < new_bytes ? old_bytes : new_bytes);
    fg_free(ctx, p, old_bytes);
    return q;
}

void fg_set_evict_hook(fg_context *ctx, fg_evict_fn fn, void *arg) {
    ctx->alloc->evict = fn;
    ctx->alloc->evict_arg = arg;
}

/* ---------------------------------------------------------------- life, counters, hook */
fg_allocator *fg_allocator_new(void) {
    fg_allocator *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->refs = 1;
    a->fail_at = UINT64_MAX;
    a->heap = (fg_heap){ .system_alloc = system_alloc, .system_free = system_free, .arg = a };
    return a;
}

fg_allocator *fg_allocator_keep(fg_allocator *a) {
    a->refs++;
    return a;
}

void fg_allocator_free(fg_allocator *a) {
    if (!a) return;
    trim_large(a);
    if (--a->refs > 0) return;
    for (slab *s = a->slabs, *next; s; s = next) {
        next = s->next;
        system_free(a, s, SLAB_BYTES);
    }
    free(a);
}

void fg_allocator_call_ends(fg_allocator *a) { a->failing = false; }

fg_memory fg_memory_stats(const fg_context *ctx) {
    fg_memory m = ctx->alloc->m;
    m.cached = m.system - m.live;
    return m;
}

void fg_memory_reset_peak(fg_context *ctx) { ctx->alloc->m.peak = ctx->alloc->m.live; }

void fg_memory_trim(fg_context *ctx) {
    if (!fg_enter(ctx)) return;
    trim(ctx->alloc);
    fg_leave(ctx);
}

void fg_memory_fail_nth(fg_context *ctx, uint64_t nth, bool transient) {
    fg_allocator *a = ctx->alloc;
    a->failing = false;
    a->fail_at = nth ? a->m.requests + nth : UINT64_MAX;
    a->fail_transient = transient;
}
