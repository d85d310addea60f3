/* apply.c: the one road that every op call takes.
 *
 * Check the inputs, bring them to f32 (integers and bf16 are converted for ops that compute), infer the output, allocate
 * it and the node, compute, record. The node is allocated before forward so that an op reserves all memory before any
 * visible effect. Arithmetic is always f32. Ops whose loops meet bf16 storage themselves (op.half) get such inputs as they are
 * and write their output in its final dtype: products, which under bf16 precision round what is not bf16 yet, and the
 * common elementwise ops, which widen a block at a time (fg_span). */
#include "op.h"

#include <stdio.h>
#include <string.h>

fg_status fg_op_error(fg_call *c, fg_status st, const char *fmt, ...) {
    char msg[FG_ERROR_CAP];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return fg_error(c->ctx, st, "%s: %s", c->op->name, msg);
}

const char *fg_str(const fg_shape *sh) {
    static _Thread_local char buf[8][96];
    static _Thread_local unsigned at;
    char *b = buf[at++ % 8];
    fg_shape_print(sh, b, sizeof buf[0]);
    return b;
}

/* An input as f32 for the kernels */
static fg_tensor *to_real(fg_scope *s, fg_tensor *t) {
    fg_context *ctx = s->ctx;
    if (t->dtype == FG_F32) return t;
    bool grad = ctx->grad_enabled;
    ctx->grad_enabled = false;
    t = fg_cast(s, t, FG_F32);
    ctx->grad_enabled = grad;
    return t;
}

static fg_dtype out_dtype(const fg_op *op, fg_tensor *const *in, int n, bool low) {
    if (low) return (op->flags & FG_OPF_OUT32) ? FG_F32 : FG_BF16;
    if ((op->flags & FG_OPF_KEEP) && in[0]->dtype == FG_BF16) return FG_BF16;
    if (!(op->flags & FG_OPF_ALL16)) return FG_F32;
    for (int i = 0; i < n; i++)
        if (!in[i] || in[i]->dtype != FG_BF16) return FG_F32;
    return FG_BF16;
}

/* half: mask of inputs that may stay bf16 */
static bool check_inputs(fg_scope *s, const fg_op *op, fg_tensor *const *in, int n, uint32_t half, bool *convert) {
    fg_context *ctx = s->ctx;
    if (n < op->n_min || (op->n_max != 255 && n > op->n_max)) {
        fg_scope_error(s, FG_EINVAL, "%s: %d tensors given, %d expected", op->name, n, op->n_min);
        return false;
    }
    for (int i = 0; i < n; i++) {
        fg_tensor *t = in[i];
        if (!t) {
            if (i < 8 && (op->optional >> i & 1)) continue;
            fg_scope_error(s, FG_EINVAL, "%s: tensor %d is NULL", op->name, i + ctx->index_base);
            return false;
        }
        if (t->ctx != ctx) {
            fg_scope_error(s, FG_EINVAL, "%s: tensor %d belongs to another context", op->name, i + ctx->index_base);
            return false;
        }
        if (t->dtype != FG_F32 && !(t->dtype == FG_BF16 && i < 32 && (half >> i & 1))) *convert = true;
    }
    return true;
}

#define INLINE_INPUTS 8

static fg_tensor *apply(fg_scope *s, const fg_op *op, fg_tensor *const *in, int n, const void *opts) {
    fg_context *ctx = s->ctx;
    bool convert = false;
    bool product = op->flags & FG_OPF_LOWP, low = product && ctx->precision == FG_PRECISION_BF16;
    uint32_t half = product && !low ? 0 : op->half;
    if (!check_inputs(s, op, in, n, half, &convert)) return NULL;
    if (op->flags & FG_OPF_ANY) convert = false;

    bool track = false;
    if (ctx->grad_enabled && op->vjp)
        for (int i = 0; i < n && !track; i++) track = in[i] && in[i]->requires_grad && !(i < 32 && (op->no_grad >> i & 1));

    union {
        max_align_t align;
        char bytes[FG_OPTS_MAX];
    } copy;
    if (opts) memcpy(copy.bytes, opts, op->opts_size);
    else memset(copy.bytes, 0, op->opts_size);
    fg_call c = { ctx,
                  s,
                  op,
                  n,
                  (fg_tensor **)in,
                  copy.bytes,
                  (op->flags & FG_OPF_ANY) && in[0] ? (fg_dtype)in[0]->dtype : FG_F32,
                  FG_SCALAR,
                  NULL,
                  track,
                  low,
                  false };
    if (op->infer(&c) != FG_OK) return fg_scope_fail(s);
    fg_dtype final = c.out_dtype == FG_F32 && !c.wide && !(op->flags & FG_OPF_ANY) ? out_dtype(op, in, n, low) : c.out_dtype;

    /* Everything that can fail for want of memory comes before forward. Converted inputs and, for a bf16 result, the f32
     * one live in s above `mark` until the op is done. */
    int mark = s->n;
    fg_tensor *buf[INLINE_INPUTS], **use = (fg_tensor **)in, *out = NULL;
    size_t bytes = (size_t)n * sizeof *use;
    fg_node *node = NULL;
    if (!(op->flags & FG_OPF_VIEW)) {
        out = fg_tensor_new(ctx, final, &c.out_shape);
        if (!out || !(out = fg_scope_push(s, out))) goto fail;
        c.y = out;
        if (final != c.out_dtype && !half && !(c.y = fg_empty(s, c.out_dtype, c.out_shape))) goto fail;
    }
    if (convert) {
        use = n > INLINE_INPUTS ? fg_alloc(ctx, bytes) : buf;
        if (!use) goto fail;
        for (int i = 0; i < n; i++) {
            bool as_is = !in[i] || (in[i]->dtype == FG_BF16 && i < 32 && (half >> i & 1));
            use[i] = as_is ? in[i] : to_real(s, in[i]);
            if (in[i] && !use[i]) goto fail;
        }
        c.in = use;
    }
    if (track) {
        if (!(node = fg_node_new(ctx, op, n, copy.bytes))) goto fail;
        if (op->save_out && !(node->saved_out = fg_tensor_bare(out))) goto fail;
    }
    if (op->forward(&c) != FG_OK) goto fail;
    if (!out) { /* a view: forward made it */
        if (!(out = fg_scope_push(s, c.y))) goto fail;
    } else if (out != c.y) {
        fg_convert_tensor(c.y, out);
    }
    if (node) {
        if (op->opts_size) memcpy(node->opts, copy.bytes, op->opts_size);
        fg_node_record(node, in, out);
    }
    if (use != buf && use != (fg_tensor **)in) fg_free(ctx, use, bytes);
    if (s->n > mark + 1) { /* keep only the result */
        fg_tensor *keep = fg_keep(out);
        fg_scope_release_to(s, mark);
        return fg_scope_push(s, keep);
    }
    return out;

fail:
    if (node) fg_node_release(ctx, node);
    if (use != buf && use && use != (fg_tensor **)in) fg_free(ctx, use, bytes);
    fg_scope_release_to(s, mark);
    return fg_scope_fail(s);
}

fg_tensor *fg_op_apply(fg_scope *s, const fg_op *op, fg_tensor *const *in, int n, const void *opts) {
    if (!s || s->status != FG_OK) return NULL;
    if (!fg_enter(s->ctx)) { /* not through the context: another thread owns its error text */
        s->status = FG_EBUSY;
        snprintf(s->err, sizeof s->err, "%s: another thread is inside this context", op->name);
        return NULL;
    }
    fg_tensor *y = apply(s, op, in, n, opts);
    fg_leave(s->ctx);
    return y;
}

bool fg_broadcast(const fg_shape *a, const fg_shape *b, fg_shape *out) {
    int n = a->ndim > b->ndim ? a->ndim : b->ndim;
    out->ndim = n;
    for (int i = 0; i < n; i++) {
        int ia = i - (n - a->ndim), ib = i - (n - b->ndim);
        int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
        if (da != db && da != 1 && db != 1) return false;
        out->dim[i] = da == 1 ? db : da;
    }
    return true;
}

int fg_axis(int axis, int ndim) {
    if (axis < 0) axis += ndim;
    return axis < 0 || axis >= ndim ? -1 : axis;
}

bool fg_axes_mask(const fg_axes *axes, int ndim, uint32_t *mask) {
    *mask = 0;
    if (!axes || axes->n == 0) {
        *mask = (1u << ndim) - 1;
        return true;
    }
    for (int i = 0; i < axes->n; i++) {
        int a = fg_axis(axes->axis[i], ndim);
        if (a < 0 || (*mask >> a & 1)) return false;
        *mask |= 1u << a;
    }
    return true;
}

fg_tensor *fg_to_input(fg_vjp *v, fg_tensor *dy, int i) {
    if (!dy || fg_shape_equal(&dy->shape, fg_in_shape(v, i))) return dy;
    return fg_reduce_to(v->s, dy, *fg_in_shape(v, i));
}

fg_tensor *fg_vjp_new(fg_vjp *v, const fg_shape *sh) {
    fg_tensor *t = fg_tensor_new(v->ctx, FG_F32, sh);
    return t ? fg_scope_push(v->s, t) : fg_scope_fail(v->s);
}
fg_tensor *fg_vjp_like(fg_vjp *v, const fg_tensor *dy) {
    fg_tensor *t = fg_tensor_new(v->ctx, (fg_dtype)dy->dtype, &dy->shape);
    return t ? fg_scope_push(v->s, t) : fg_scope_fail(v->s);
}

fg_span fg_span_of(const fg_tensor *t) { return (fg_span){ t ? fg_data(t) : NULL, t && t->dtype == FG_BF16 }; }

const fg_real *fg_span_read(const fg_kernels *k, fg_span s, int64_t i, int64_t n, fg_real *block) {
    if (!s.half) return s.p ? (const fg_real *)s.p + i : NULL;
    k->from_bf16((const uint16_t *)s.p + i, block, (size_t)n);
    return block;
}

fg_tensor *fg_vjp_over_dy(fg_vjp *v) {
    fg_tensor *dy = v->dy;
    return dy->refs == 1 && dy->storage->refs == 1 && dy->dtype == FG_F32 ? dy : fg_vjp_like(v, dy);
}

void fg_parallel_light(fg_context *ctx, int64_t elements, int chunks, fg_chunk_fn fn, void *arg) {
    if (elements >= FG_LIGHT) fg_parallel(ctx, chunks, fn, arg);
    else
        for (int i = 0; i < chunks; i++) fn(arg, i, 0);
}
void fg_range_light(fg_context *ctx, int64_t n, int64_t each, fg_range_fn fn, void *arg) {
    if (n < 1) return;
    if (each < 1) each = 1;
    if (n < (FG_LIGHT + each - 1) / each) fn(arg, 0, n, 0);
    else fg_parallel_range(ctx, n, each < FG_GRAIN ? FG_GRAIN / each : 1, fn, arg);
}

typedef struct unary_arg {
    const fg_kernels *k;
    fg_unary u;
    fg_span x, v, y;
    fg_real a, b;
} unary_arg;
/* body(n elements from i on: x, y), in blocks where something is bf16 */
#define UNARY_RANGE(name, call)                                                                                                  \
    static void name(void *arg, int64_t i, int64_t end, int worker) {                                                            \
        const unary_arg *q = arg;                                                                                                \
        int64_t step = q->x.half || q->v.half || q->y.half ? FG_BLOCK : end - i;                                                 \
        (void)worker;                                                                                                            \
        for (; i < end; i += step) {                                                                                             \
            fg_real bx[FG_BLOCK], bv[FG_BLOCK], by[FG_BLOCK];                                                                    \
            int64_t n = end - i < step ? end - i : step;                                                                         \
            const fg_real *x = fg_span_read(q->k, q->x, i, n, bx), *v = fg_span_read(q->k, q->v, i, n, bv);                      \
            fg_real *y = fg_span_open(q->y, i, by);                                                                              \
            (void)v;                                                                                                             \
            call;                                                                                                                \
            fg_span_close(q->k, q->y, i, n, y);                                                                                  \
        }                                                                                                                        \
    }
UNARY_RANGE(unary_range, q->k->unary[q->u](x, y, (size_t)n, q->a, q->b))
UNARY_RANGE(unary_grad_range, q->k->unary_grad[q->u](x, v, y, (size_t)n, q->a, q->b))

static bool light(fg_unary u) {
    return u <= FG_UN_SIGN ? u != FG_UN_EXP && u != FG_UN_LOG : u == FG_UN_RELU || u == FG_UN_LEAKY_RELU || u == FG_UN_CLAMP;
}
void fg_run_unary(fg_context *ctx, fg_unary u, fg_span x, fg_span y, int64_t n, fg_real a, fg_real b) {
    unary_arg q = { ctx->k, u, x, { 0 }, y, a, b };
    if (light(u)) fg_range_light(ctx, n, 1, unary_range, &q);
    else fg_parallel_range(ctx, n, FG_GRAIN, unary_range, &q);
}
void fg_run_unary_grad(fg_context *ctx, fg_unary u, fg_span dy, fg_span v, fg_span dx, int64_t n, fg_real a, fg_real b) {
    unary_arg q = { ctx->k, u, dy, v, dx, a, b };
    if (light(u) || u == FG_UN_EXP || u == FG_UN_LOG || u == FG_UN_TANH || u == FG_UN_SIGMOID) /* no exp or log in the gradient */
        fg_range_light(ctx, n, 1, unary_grad_range, &q);
    else fg_parallel_range(ctx, n, FG_GRAIN, unary_grad_range, &q);
}
