/* size.c: sizes that cannot overflow, and the small arithmetic of shapes.
 *
 * Every byte count that comes from a user, a file or a shape goes through these: size_t products wrap silently, and a
 * wrapped product is a heap overflow a few lines later. The bound is PTRDIFF_MAX, as for any C object.
 * Pure functions; any thread. */
#include "base.h"

bool fg_size_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

bool fg_size_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

bool fg_shape_bytes(const fg_shape *sh, size_t elem_size, size_t *out) {
    if (sh->ndim < 0 || sh->ndim > FG_MAX_RANK) return false;
    /* The bound holds for the product of the non-zero dims, so that [0, 2^62, 2^62] is refused too: its strides would
     * overflow in any code that multiplies dims without looking for the zero. */
    size_t n = elem_size;
    bool empty = false;
    for (int i = 0; i < sh->ndim; i++) {
        if (sh->dim[i] < 0) return false;
        if (sh->dim[i] == 0) {
            empty = true;
            continue;
        }
        if (!fg_size_mul(n, (size_t)sh->dim[i], &n) || n > (size_t)PTRDIFF_MAX) return false;
    }
    *out = empty ? 0 : n;
    return true;
}

int64_t fg_shape_numel(const fg_shape *sh) {
    int64_t n = 1;
    for (int i = 0; i < sh->ndim; i++) n *= sh->dim[i];
    return n;
}

bool fg_shape_equal(const fg_shape *a, const fg_shape *b) {
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}
