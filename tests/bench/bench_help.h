/* bench_help.h: what the kernel benchmarks share. */
#ifndef BENCH_HELP_H
#define BENCH_HELP_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* This thread's own clock: other processes disturb only through shared caches. */
static inline double own_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* At least 64 bytes, 64-byte aligned; ends the program when there is no memory. */
static inline void *aligned(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) fprintf(stderr, "out of memory\n"), exit(1);
    return p;
}

#endif
