/* heap.h: big blocks, cut from segments and merged again; private to the allocator (alloc.c). */
#ifndef FG_HEAP_H
#define FG_HEAP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fg_block fg_block;
enum { FG_HEAP_BINS = 4 * 48 };
typedef struct fg_heap {
    fg_block *bin[FG_HEAP_BINS]; /* free blocks by size, four bins per power of two */
    void *segments;
    void *(*system_alloc)(void *arg, size_t align, size_t size); /* NULL when there is none */
    void (*system_free)(void *arg, void *p, size_t size);
    void *arg;
} fg_heap;

/* bytes at a 64-byte aligned address, and in *taken what they cost in all; NULL when neither a free block nor the system
 * has them. */
void *fg_heap_take(fg_heap *h, size_t bytes, size_t *taken);
/* Returns what the block had cost. */
size_t fg_heap_give(fg_heap *h, void *p);
/* Segments without a live block go back to the system. */
void fg_heap_trim(fg_heap *h);

#endif
