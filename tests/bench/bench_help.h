/* bench_help.h: what the kernel benchmarks share. */
#ifndef BENCH_HELP_H
#define BENCH_HELP_H

#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* This thread's own clock: other processes disturb only through shared caches. */
static inline double own_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* At least 64 bytes, 64-byte aligned, in pages of 2 MB where it spans some, as a context's heap is; ends the program when there
 * is no memory. */
static inline void *aligned(size_t bytes) {
    size_t size = (bytes + 127) / 64 * 64, page = 4096;
    char *p = aligned_alloc(64, size);
    if (!p) fprintf(stderr, "out of memory\n"), exit(1);
#ifdef MADV_HUGEPAGE
    char *from = p + (page - (uintptr_t)p % page) % page;
    if (from < p + size) madvise(from, (size_t)(p + size - from), MADV_HUGEPAGE);
#endif
    return p;
}

#endif
