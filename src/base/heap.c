/* heap.c: big blocks of memory, from 32 KB up, for tensors and workspaces.
 *
 * One list of freed blocks per size, as for small cells, would keep every size that a training step ever asks for, each at its
 * own peak: for the Keras book's DCGAN twice the memory that is live at once. So big blocks are cut from segments of at least
 * SEGMENT bytes, and a freed block merges with its free neighbours:
 *
 *      segment   [head|block, live][head|block, free      ][head|block, live][head|block, free]
 *                     size, before ->                            neighbours are found by sizes
 *
 * A request takes the smallest free block that is large enough, as far as the bins tell sizes apart (within a quarter of a power
 * of two), and gives the rest back if that is worth a block. Segments go back to the system only by fg_heap_trim: a steady step
 * neither asks the system nor faults pages. Blocks are 64-byte aligned, their heads one cache line. */
#include "heap.h"

#include "poison.h"

#include <stdint.h>

enum { HEAD = 64, GUARD = FG_ASAN_ON ? 64 : 0, WORTH = 16 << 10, SEGMENT = 8 << 20, LOOK = 32 };

struct fg_block {
    size_t size;           /* head included */
    size_t before;         /* size of the block before this one, 0 at the start of a segment */
    fg_block *next, *prev; /* of the same bin, when free */
    bool free, last;
};
typedef struct segment { /* at the start of each, one line */
    struct segment *next;
    size_t size;
} segment;

static fg_block *after(fg_block *b) { return b->last ? NULL : (fg_block *)(void *)((char *)b + b->size); }
static fg_block *ahead(fg_block *b) { return b->before ? (fg_block *)(void *)((char *)b - b->before) : NULL; }

static int bin_of(size_t size) {
    int top = 63 - __builtin_clzll((unsigned long long)size);
    int bin = (top - 12) * 4 + (int)(size >> (top - 2) & 3);
    return bin < 0 ? 0 : bin < FG_HEAP_BINS ? bin : FG_HEAP_BINS - 1;
}

static void put(fg_heap *h, fg_block *b) {
    int i = bin_of(b->size);
    b->free = true;
    b->prev = NULL;
    b->next = h->bin[i];
    if (b->next) b->next->prev = b;
    h->bin[i] = b;
}

static void unlink_block(fg_heap *h, fg_block *b) {
    if (b->prev) b->prev->next = b->next;
    else h->bin[bin_of(b->size)] = b->next;
    if (b->next) b->next->prev = b->prev;
    b->free = false;
}

/* The smallest of the first LOOK blocks of a bin that are large enough: in the request's own bin some are not, in the next ones
 * all are. */
static fg_block *find(fg_heap *h, size_t size) {
    for (int i = bin_of(size); i < FG_HEAP_BINS; i++) {
        fg_block *best = NULL;
        int looked = 0;
        for (fg_block *b = h->bin[i]; b && looked < LOOK; b = b->next, looked++)
            if (b->size >= size && (!best || b->size < best->size)) best = b;
        if (best) return best;
    }
    return NULL;
}

static fg_block *new_segment(fg_heap *h, size_t size) {
    size_t all = HEAD + (size > SEGMENT - HEAD ? size : SEGMENT - HEAD);
    segment *s = h->system_alloc(h->arg, HEAD, all);
    if (!s && all > HEAD + size) s = h->system_alloc(h->arg, HEAD, all = HEAD + size);
    if (!s) return NULL;
    *s = (segment){ h->segments, all };
    h->segments = s;
    fg_block *b = (fg_block *)(void *)((char *)s + HEAD);
    *b = (fg_block){ .size = all - HEAD, .last = true };
    POISON((char *)b + HEAD, b->size - HEAD);
    put(h, b);
    return b;
}

void *fg_heap_take(fg_heap *h, size_t bytes, size_t *taken) {
    if (bytes > SIZE_MAX / 4) return NULL;
    size_t size = (bytes + HEAD + GUARD + 63) / 64 * 64;
    fg_block *b = find(h, size);
    if (!b && !(b = new_segment(h, size))) return NULL;
    unlink_block(h, b);
    if (b->size - size >= WORTH) {
        fg_block *rest = (fg_block *)(void *)((char *)b + size);
        UNPOISON(rest, HEAD);
        *rest = (fg_block){ .size = b->size - size, .before = size, .last = b->last };
        b->size = size;
        b->last = false;
        if (after(rest)) after(rest)->before = rest->size;
        put(h, rest);
    }
    *taken = b->size;
    UNPOISON((char *)b + HEAD, bytes);
    return (char *)b + HEAD;
}

/* b grows over its neighbour n, whose head becomes part of it */
static void swallow(fg_block *b, fg_block *n) {
    b->size += n->size;
    b->last = n->last;
    if (after(b)) after(b)->before = b->size;
    POISON(n, HEAD);
}

size_t fg_heap_give(fg_heap *h, void *p) {
    fg_block *b = (fg_block *)(void *)((char *)p - HEAD), *n = after(b), *a = ahead(b);
    size_t size = b->size;
    POISON(p, size - HEAD);
    if (n && n->free) {
        unlink_block(h, n);
        swallow(b, n);
    }
    if (a && a->free) {
        unlink_block(h, a);
        swallow(a, b);
        b = a;
    }
    put(h, b);
    return size;
}

void fg_heap_trim(fg_heap *h) {
    segment **link = (segment **)&h->segments;
    for (segment *s; (s = *link);) {
        fg_block *b = (fg_block *)(void *)((char *)s + HEAD);
        if (!b->free || !b->last) {
            link = &s->next;
            continue;
        }
        unlink_block(h, b);
        *link = s->next;
        h->system_free(h->arg, s, s->size);
    }
}
