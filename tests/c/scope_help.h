/* scope_help.h: a context and a scope for each test; setup and teardown are the fixture. */
#ifndef SCOPE_HELP_H
#define SCOPE_HELP_H

#include "tensor.h"

#include <check.h>

static fg_context *ctx;
static fg_scope *s;
static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    s = fg_scope_open(ctx);
}
static void teardown(void) {
    fg_scope_close(s);
    fg_context_free(ctx);
}

/* the sum of all elements; element i of a tensor that must be there */
static inline fg_tensor *total(fg_scope *q, fg_tensor *t) { return fg_sum(q, t, NULL, false); }
static inline double at(const fg_tensor *t, int64_t i) {
    ck_assert_ptr_nonnull(t);
    ck_assert(t != FG_NONE);
    return fg_tensor_at(t, i);
}

#endif
