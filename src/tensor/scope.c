/* scope.c: a scope owns the temporaries of a formula and remembers the first error of any call in it.
 *
 * Ops return borrowed tensors: the scope holds the one reference. fg_keep adds one that outlives the scope. Scopes nest
 * freely and are slab cells, so that opening and closing one costs tens of nanoseconds. A failed call leaves its message
 * in the context (the newest) and in the scope (the first); closing puts the first one back into the context, so that
 * fg_last_error explains the status that fg_scope_close returned.
 * Threads: a scope belongs to the thread inside its context. */
#include "tensor.h"

#include <string.h>

enum { FIRST_CAP = 32 };

fg_scope *fg_scope_open(fg_context *ctx) {
    if (!ctx || !fg_enter(ctx)) return NULL;
    fg_scope *s = fg_alloc(ctx, sizeof *s);
    if (s) {
        s->ctx = ctx;
        s->items = NULL;
        s->n = s->cap = 0;
        s->status = FG_OK;
        s->err[0] = 0;
        s->next_open = ctx->tensors->scopes;
        ctx->tensors->scopes = s;
    }
    fg_leave(ctx);
    return s;
}

void fg_scope_release_to(fg_scope *s, int n) {
    while (s->n > n) fg_release(s->items[--s->n]);
}

fg_status fg_scope_close(fg_scope *s) {
    if (!s) return FG_ENOMEM; /* it could not be opened, as fg_scope_open said */
    fg_context *ctx = s->ctx;
    if (!fg_enter(ctx)) return FG_EBUSY;
    fg_scope_release_to(s, 0);
    fg_free(ctx, s->items, (size_t)s->cap * sizeof *s->items);
    fg_status st = s->status;
    if (st != FG_OK) {
        ctx->err_status = st;
        memcpy(ctx->err, s->err, sizeof ctx->err);
    }
    fg_scope **link = &ctx->tensors->scopes;
    while (*link && *link != s) link = &(*link)->next_open;
    if (*link) *link = s->next_open;
    fg_free(ctx, s, sizeof *s);
    fg_leave(ctx);
    return st;
}

fg_status fg_scope_status(const fg_scope *s) { return s ? s->status : FG_ENOMEM; }

fg_context *fg_scope_context(const fg_scope *s) { return s ? s->ctx : NULL; }

fg_tensor *fg_scope_fail(fg_scope *s) {
    if (!s || s->status != FG_OK) return NULL;
    fg_context *ctx = s->ctx;
    if (!fg_enter(ctx)) { /* the context's text belongs to the other thread */
        s->status = FG_EBUSY;
        strcpy(s->err, "another thread is inside this context");
        return NULL;
    }
    s->status = ctx->err_status != FG_OK ? ctx->err_status : FG_EBUSY;
    memcpy(s->err, ctx->err, sizeof s->err);
    fg_leave(ctx);
    return NULL;
}

fg_tensor *fg_scope_error(fg_scope *s, fg_status st, const char *fmt, ...) {
    if (!s) return NULL;
    va_list ap;
    va_start(ap, fmt);
    fg_verror(s->ctx, st, fmt, ap);
    va_end(ap);
    return fg_scope_fail(s);
}

static bool grow(fg_scope *s) {
    if (s->cap > INT32_MAX / 2) {
        fg_error(s->ctx, FG_ENOMEM, "out of memory: a scope holds %d tensors", s->n);
        return false;
    }
    int cap = s->cap ? 2 * s->cap : FIRST_CAP;
    fg_tensor **items = fg_realloc(s->ctx, s->items, (size_t)s->cap * sizeof *items, (size_t)cap * sizeof *items);
    if (!items) return false;
    s->items = items;
    s->cap = cap;
    return true;
}

fg_tensor *fg_scope_push(fg_scope *s, fg_tensor *t) {
    if (!t) return NULL;
    if (!s || (s->n == s->cap && !grow(s))) {
        fg_release(t);
        return s ? fg_scope_fail(s) : NULL;
    }
    s->items[s->n++] = t;
    return t;
}

fg_tensor *fg_scope_adopt(fg_scope *s, fg_tensor *t) {
    if (!s || !t || t == FG_NONE) return t;
    if (t->ctx != s->ctx) return fg_scope_error(s, FG_EINVAL, "scope_adopt: the tensor belongs to another context");
    return fg_scope_push(s, t);
}

fg_tensor *fg_scope_take(fg_scope *s, fg_tensor *t) {
    if (!s || !t) return NULL;
    for (int i = s->n - 1; i >= 0; i--) {
        if (s->items[i] != t) continue;
        memmove(s->items + i, s->items + i + 1, (size_t)(s->n - 1 - i) * sizeof *s->items);
        s->n--;
        return t;
    }
    return NULL;
}
