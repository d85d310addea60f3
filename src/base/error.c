/* error.c: the status and the text of the newest error of a context.
 *
 * A failing function records one status and one message here and returns the status; nobody prints. The newest error
 * wins in the context, while a scope keeps a copy of its first one (tensor/scope.c). Messages hold the numbers that
 * the user needs: "linear: input [64,100] has 100 features, weight [128,10] expects 128".
 *
 * Owner: the context. Only the thread inside the context writes; a second thread that is turned away with FG_EBUSY
 * writes nothing, so that it cannot tear the message that the first one reads. */
#include "base.h"

#include <stdio.h>
#include <string.h>

fg_status fg_verror(fg_context *ctx, fg_status st, const char *fmt, va_list ap) {
    if (!ctx) return st;
    char text[FG_ERROR_CAP]; /* an argument may point into ctx->err */
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) strcpy(text, fg_status_name(st));
    memcpy(ctx->err, text, sizeof text);
    ctx->err_status = st;
    return st;
}

fg_status fg_error(fg_context *ctx, fg_status st, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fg_verror(ctx, st, fmt, ap);
    va_end(ap);
    return st;
}

const char *fg_last_error(const fg_context *ctx) { return ctx ? ctx->err : ""; }

fg_status fg_last_status(const fg_context *ctx) { return ctx ? ctx->err_status : FG_OK; }

void fg_clear_error(fg_context *ctx) {
    if (!ctx) return;
    ctx->err_status = FG_OK;
    ctx->err[0] = 0;
}

const char *fg_status_name(fg_status st) {
    switch (st) {
    case FG_OK: return "ok";
    case FG_ENOMEM: return "out of memory";
    case FG_EINVAL: return "invalid argument";
    case FG_ESTATE: return "invalid state";
    case FG_EIO: return "input/output error";
    case FG_EFORMAT: return "bad file format";
    case FG_EBUSY: return "context busy in another thread";
    case FG_ENONFINITE: return "not finite";
    case FG_EUNSUPPORTED: return "unsupported";
    }
    return "unknown status";
}
