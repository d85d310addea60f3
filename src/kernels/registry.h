/* registry.h: every kernel of the dispatch tables by name, with what it takes and the instruction set that it was written
 * for. Tests and benchmarks walk this list, so that a slot added to fg_kernels cannot go without either: registry.c does not
 * compile while a slot is missing from the list. */
#ifndef FG_REGISTRY_H
#define FG_REGISTRY_H

#include "kernels.h"

typedef struct fg_kernel_info {
    const char *slot;   /* field of fg_kernels: "unary", "adam", "conv", ...; the four of gemm are one kernel, "gemm" */
    const char *member; /* which of a slot's kernels: "exp", "winograd", ...; "" where there is only one */
    int index;          /* the member's place in its slot */
    const char *shapes; /* what it reads and writes, as in kernels.h */
    fg_isa_level isa;   /* the level that brought it; a table inherits what its own level does not improve */
} fg_kernel_info;

/* Kernel number i, from 0, of the table of `level`; false beyond the last, or when this machine lacks the level. */
bool fg_kernel_at(fg_isa_level level, int i, fg_kernel_info *info);

#endif
