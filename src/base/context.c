/* context.c: one fg_context holds everything that could have been a global: allocator, random streams, grad mode,
 * precision, thread team, last error. Two contexts share nothing, so that they may run in two threads freely.
 *
 * Life: fg_context_new fills base's own part, then opens every room of fg_rooms in order (kernels, tensor, autograd,
 * ops...); fg_context_free closes them in reverse. Tensors that the caller still holds survive as empty headers whose
 * only legal use is fg_release (tensor/tensor.c, room close).
 *
 * Threads: fg_enter marks the context as taken by the calling thread, identified by pthread_self, which costs one
 * compare-and-swap for the outermost call and a compare for nested ones. */
#include "room.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define STR_(x) #x
#define STR(x)  STR_(x)

const char *fg_version(void) { return STR(FG_VERSION_MAJOR) "." STR(FG_VERSION_MINOR) "." STR(FG_VERSION_PATCH); }

static void say(char *msg, size_t cap, const char *text) {
    if (msg && cap) snprintf(msg, cap, "%s", text);
}

static void close_rooms(fg_context *ctx, int n) {
    while (n-- > 0)
        if (fg_rooms[n].close) fg_rooms[n].close(ctx);
}

static void free_base(fg_context *ctx) {
    fg_team_free(ctx->team);
    fg_allocator_free(ctx->alloc);
    fg_host_free(ctx);
}

fg_context *fg_context_new_error(char *msg, size_t cap) {
    say(msg, cap, "");
    fg_isa_level isa;
    char why[160];
    if (!fg_isa_pick(&isa, why, sizeof why)) {
        say(msg, cap, why);
        return NULL;
    }
    fg_context *ctx = fg_host_alloc(sizeof *ctx);
    if (!ctx) {
        say(msg, cap, "out of memory: no room for a context");
        return NULL;
    }
    memset(ctx, 0, sizeof *ctx);
    atomic_init(&ctx->owner, 0);
    ctx->alloc = fg_allocator_new();
    ctx->team = fg_team_new(fg_default_threads());
    if (!ctx->alloc || !ctx->team) {
        free_base(ctx);
        say(msg, cap, "out of memory: no room for a context");
        return NULL;
    }
    ctx->isa = isa;
    ctx->precision = FG_PRECISION_F32;
    ctx->fast_conv = true;
    ctx->grad_enabled = true;
    fg_manual_seed(ctx, 0);
    for (int i = 0; fg_rooms[i].name; i++) {
        if (!fg_rooms[i].open) continue;
        fg_status st = fg_rooms[i].open(ctx);
        if (st == FG_OK) continue;
        if (msg && cap) snprintf(msg, cap, "%s: %s", fg_rooms[i].name, ctx->err[0] ? ctx->err : fg_status_name(st));
        close_rooms(ctx, i);
        free_base(ctx);
        return NULL;
    }
    return ctx;
}

fg_context *fg_context_new(void) { return fg_context_new_error(NULL, 0); }

void fg_context_free(fg_context *ctx) {
    if (!ctx) return;
    int n = 0;
    while (fg_rooms[n].name) n++;
    fg_team_free(ctx->team); /* joined first: no worker may see a room half closed */
    ctx->team = NULL;
    if (ctx->closing) ctx->closing(ctx);
    close_rooms(ctx, n);
    free_base(ctx);
}

/* ---------------------------------------------------------------- one thread at a time */
bool fg_enter(fg_context *ctx) {
    uintptr_t self = (uintptr_t)pthread_self(), none = 0;
    if (atomic_load_explicit(&ctx->owner, memory_order_relaxed) == self) {
        ctx->depth++;
        return true;
    }
    if (!atomic_compare_exchange_strong_explicit(&ctx->owner, &none, self, memory_order_acquire, memory_order_relaxed))
        return false;
    ctx->depth = 1;
    if (ctx->hooks.enter) ctx->hooks.enter(ctx->enter_saved);
    return true;
}

void fg_leave(fg_context *ctx) {
    if (--ctx->depth > 0) return;
    fg_allocator_call_ends(ctx->alloc);
    if (ctx->hooks.leave) ctx->hooks.leave(ctx->enter_saved);
    atomic_store_explicit(&ctx->owner, 0, memory_order_release);
}

/* ---------------------------------------------------------------- settings */
fg_status fg_set_threads(fg_context *ctx, int n) {
    if (n < 1 || n > 64) return fg_error(ctx, FG_EINVAL, "set_threads: %d is not in 1..64", n);
    if (!fg_enter(ctx)) return FG_EBUSY;
    if (n != fg_team_size(ctx->team)) fg_team_resize(ctx->team, n);
    fg_leave(ctx);
    return FG_OK;
}

int fg_get_threads(const fg_context *ctx) { return fg_team_size(ctx->team); }

fg_status fg_set_precision(fg_context *ctx, fg_precision p) {
    if (p != FG_PRECISION_F32 && p != FG_PRECISION_BF16 && p != FG_PRECISION_AUTO)
        return fg_error(ctx, FG_EINVAL, "set_precision: %d is not a precision", (int)p);
    /* measured: bf16 beats f32 in convolutions only with AMX */
    if (p == FG_PRECISION_AUTO) p = ctx->isa == FG_ISA_AMX ? FG_PRECISION_BF16 : FG_PRECISION_F32;
    ctx->precision = p;
    return FG_OK;
}

fg_precision fg_get_precision(const fg_context *ctx) { return ctx->precision; }

void fg_set_fast_conv(fg_context *ctx, bool on) { ctx->fast_conv = on; }

bool fg_get_fast_conv(const fg_context *ctx) { return ctx->fast_conv; }

bool fg_set_grad_enabled(fg_context *ctx, bool on) {
    bool was = ctx->grad_enabled;
    ctx->grad_enabled = on;
    return was;
}

bool fg_grad_enabled(const fg_context *ctx) { return ctx->grad_enabled; }

void fg_set_index_base(fg_context *ctx, int base) { ctx->index_base = base; }

const char *fg_isa(const fg_context *ctx) { return fg_isa_name(ctx->isa); }
