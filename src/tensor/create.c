/* create.c: making tensors with contents (zeros, values, random numbers), reading them and writing them in place.
 *
 * Each maker reserves the memory of its result before any visible effect: a failed fg_normal leaves the random stream
 * where it was. Random fills run in chunks of fixed size on the thread team; an element depends on (key, offset, index)
 * alone, so the bits are the same for any number of threads. In-place writes go through fg_tensor_begin_write. */
#include "tensor.h"

#include <string.h>

enum { FILL_GRAIN = 16384 }; /* elements of a chunk: a few microseconds of work; a multiple of 4 for Philox blocks */

/* Enters the context and makes the result; NULL: the call is over, s has failed. */
static fg_tensor *begin(fg_scope *s, fg_dtype dt, const fg_shape *shape) {
    if (!s) return NULL;
    if (!fg_enter(s->ctx)) return fg_scope_fail(s);
    fg_tensor *t = fg_tensor_new(s->ctx, dt, shape);
    if (t) t = fg_scope_push(s, t);
    else fg_scope_fail(s);
    if (!t) fg_leave(s->ctx);
    return t;
}

static fg_tensor *finish(fg_scope *s, fg_tensor *t) {
    fg_leave(s->ctx);
    return t;
}

fg_tensor *fg_empty(fg_scope *s, fg_dtype dt, fg_shape shape) {
    fg_tensor *t = begin(s, dt, &shape);
    return t ? finish(s, t) : NULL;
}

fg_tensor *fg_zeros(fg_scope *s, fg_dtype dt, fg_shape shape) {
    fg_tensor *t = begin(s, dt, &shape);
    if (!t) return NULL;
    memset(fg_data(t), 0, fg_tensor_bytes(t));
    return finish(s, t);
}

/* One element of dtype dt at p from a double. */
static void put(const fg_context *ctx, fg_dtype dt, void *p, double v) {
    if (dt == FG_I32) { /* by way of fg_real a large i32 would lose its low bits */
        int32_t i = v != v ? 0 : v >= 2147483647.0 ? INT32_MAX : v <= -2147483648.0 ? INT32_MIN : (int32_t)v;
        memcpy(p, &i, sizeof i);
        return;
    }
    fg_real r = (fg_real)v;
    fg_convert(ctx, FG_F32, &r, dt, p, 1);
}

static void fill(fg_tensor *t, double value) {
    char *p = fg_data(t);
    size_t size = fg_dtype_size((fg_dtype)t->dtype), n = (size_t)t->numel;
    if (n == 0) return;
    put(t->ctx, (fg_dtype)t->dtype, p, value);
    switch (size) {
    case 1: memset(p, *(unsigned char *)p, n); break;
    case 2:
        for (size_t i = 1; i < n; i++) ((uint16_t *)(void *)p)[i] = *(uint16_t *)(void *)p;
        break;
    default:
        if (t->dtype == FG_I32) {
            int32_t v = *(int32_t *)(void *)p;
            for (size_t i = 1; i < n; i++) ((int32_t *)(void *)p)[i] = v;
        } else {
            fg_real v = *(fg_real *)(void *)p;
            for (size_t i = 1; i < n; i++) ((fg_real *)(void *)p)[i] = v;
        }
    }
}

fg_tensor *fg_full(fg_scope *s, fg_dtype dt, fg_shape shape, double value) {
    fg_tensor *t = begin(s, dt, &shape);
    if (!t) return NULL;
    fill(t, value);
    return finish(s, t);
}

static fg_tensor *from_values(fg_scope *s, fg_dtype dt, const fg_shape *shape, const void *values) {
    fg_tensor *t = begin(s, dt, shape);
    if (!t) return NULL;
    size_t bytes = fg_tensor_bytes(t);
    if (bytes) memcpy(fg_data(t), values, bytes);
    return finish(s, t);
}

fg_tensor *fg_from_reals(fg_scope *s, fg_shape shape, const fg_real *values) { return from_values(s, FG_F32, &shape, values); }

fg_tensor *fg_from_i32(fg_scope *s, fg_shape shape, const int32_t *values) { return from_values(s, FG_I32, &shape, values); }

fg_tensor *fg_from_u8(fg_scope *s, fg_shape shape, const uint8_t *values) { return from_values(s, FG_U8, &shape, values); }

fg_tensor *fg_arange(fg_scope *s, fg_dtype dt, double first, double step, int64_t n) {
    fg_tensor *t = begin(s, dt, &FG_SHAPE(n));
    if (!t) return NULL;
    char *p = fg_data(t);
    size_t size = fg_dtype_size(dt);
    for (int64_t i = 0; i < n; i++) put(s->ctx, dt, p + (size_t)i * size, first + (double)i * step);
    return finish(s, t);
}

/* ---------------------------------------------------------------- random */
typedef struct random_job {
    uint64_t key, offset;
    fg_real *out;
    fg_real a, b;
    void (*fill)(uint64_t key, uint64_t offset, uint64_t first, fg_real *out, size_t n, fg_real a, fg_real b);
} random_job;

static void random_range(void *arg, int64_t first, int64_t end, int worker) {
    (void)worker;
    random_job *j = arg;
    j->fill(j->key, j->offset, (uint64_t)first, j->out + first, (size_t)(end - first), j->a, j->b);
}

static fg_tensor *random_tensor(fg_scope *s, const fg_shape *shape, fg_stream st, random_job j) {
    if (!s) return NULL;
    if ((unsigned)st >= FG_STREAM_COUNT) return fg_scope_error(s, FG_EINVAL, "random: %d is not a stream", (int)st);
    fg_tensor *t = begin(s, FG_F32, shape);
    if (!t) return NULL;
    j.key = s->ctx->streams[st].key;
    j.offset = fg_stream_advance(s->ctx, st, (uint64_t)t->numel);
    j.out = fg_reals(t);
    fg_parallel_range(s->ctx, t->numel, FILL_GRAIN, random_range, &j);
    return finish(s, t);
}

fg_tensor *fg_uniform(fg_scope *s, fg_shape shape, double lo, double hi, fg_stream st) {
    if (s && !(lo <= hi)) return fg_scope_error(s, FG_EINVAL, "uniform: low %g is above high %g", lo, hi);
    return random_tensor(s, &shape, st, (random_job){ .a = (fg_real)lo, .b = (fg_real)hi, .fill = fg_philox_fill_uniform });
}

fg_tensor *fg_normal(fg_scope *s, fg_shape shape, double mean, double std, fg_stream st) {
    if (s && !(std >= 0)) return fg_scope_error(s, FG_EINVAL, "normal: standard deviation %g is negative", std);
    return random_tensor(s, &shape, st, (random_job){ .a = (fg_real)mean, .b = (fg_real)std, .fill = fg_philox_fill_normal });
}

/* ---------------------------------------------------------------- reading */
fg_context *fg_tensor_context(const fg_tensor *t) { return t ? t->ctx : NULL; }

fg_dtype fg_tensor_dtype(const fg_tensor *t) { return (fg_dtype)t->dtype; }

fg_shape fg_tensor_shape(const fg_tensor *t) { return t->shape; }

int fg_tensor_ndim(const fg_tensor *t) { return t->shape.ndim; }

int64_t fg_tensor_size(const fg_tensor *t, int axis) {
    if (axis < 0) axis += t->shape.ndim;
    return axis >= 0 && axis < t->shape.ndim ? t->shape.dim[axis] : -1;
}

int64_t fg_tensor_numel(const fg_tensor *t) { return t->numel; }

size_t fg_tensor_bytes(const fg_tensor *t) { return (size_t)t->numel * fg_dtype_size((fg_dtype)t->dtype); }

const void *fg_tensor_data(const fg_tensor *t) { return t && t->storage ? fg_data(t) : NULL; }

void *fg_tensor_data_mut(fg_tensor *t) { return fg_tensor_begin_write(t, "data_mut") == FG_OK ? fg_data(t) : NULL; }

double fg_tensor_at(const fg_tensor *t, int64_t i) {
    if (i < 0 || i >= t->numel) return 0.0 / 0.0;
    const void *p = fg_data(t);
    switch ((fg_dtype)t->dtype) {
    case FG_F32: return (double)((const fg_real *)p)[i];
    case FG_BF16: return (double)fg_bf16_to_float(((const uint16_t *)p)[i]);
    case FG_U8: return ((const uint8_t *)p)[i];
    case FG_I32: return ((const int32_t *)p)[i];
    }
    return 0.0 / 0.0;
}

fg_status fg_tensor_item(const fg_tensor *t, double *out) {
    if (!t) return FG_EINVAL;
    if (t->numel != 1) {
        char text[160];
        fg_shape_print(&t->shape, text, sizeof text);
        return fg_error(t->ctx, FG_EINVAL, "item: a tensor of shape %s has %lld elements, not one", text, (long long)t->numel);
    }
    *out = fg_tensor_at(t, 0);
    return FG_OK;
}

uint32_t fg_tensor_version(const fg_tensor *t) { return t->storage ? t->storage->version : 0; }

/* ---------------------------------------------------------------- gradient fields */
bool fg_tensor_requires_grad(const fg_tensor *t) { return t->requires_grad; }

bool fg_tensor_is_leaf(const fg_tensor *t) { return t->node == NULL; }

fg_status fg_tensor_set_requires_grad(fg_tensor *t, bool on) {
    if (!t || !t->ctx) return FG_EINVAL;
    if (t->node) {
        if (on) return FG_OK; /* it does already */
        return fg_error(t->ctx, FG_ESTATE, "requires_grad: only leaves can be switched off; this is the result of %s: use detach",
                        fg_tensor_op_name(t));
    }
    if (on && t->dtype != FG_F32)
        return fg_error(t->ctx, FG_EINVAL, "requires_grad: only f32 leaves can require grad, this one is %s",
                        fg_dtype_name((fg_dtype)t->dtype));
    t->requires_grad = on;
    return FG_OK;
}

fg_tensor *fg_tensor_grad(const fg_tensor *t) { return t ? t->grad : NULL; }

fg_status fg_tensor_set_grad(fg_tensor *t, fg_tensor *grad) {
    if (!t || !t->ctx) return FG_EINVAL;
    fg_context *ctx = t->ctx;
    fg_tensor *held = NULL;
    if (!fg_enter(ctx)) return FG_EBUSY;
    fg_status st = FG_OK;
    if (grad && grad != FG_NONE) {
        if (grad->ctx != ctx) {
            st = fg_error(ctx, FG_EINVAL, "set_grad: the gradient belongs to another context");
        } else if (!fg_shape_equal(&t->shape, &grad->shape) || t->dtype != grad->dtype) {
            char a[160], b[160];
            fg_shape_print(&t->shape, a, sizeof a);
            fg_shape_print(&grad->shape, b, sizeof b);
            st = fg_error(ctx, FG_EINVAL, "set_grad: the tensor is %s %s, the gradient %s %s", fg_dtype_name((fg_dtype)t->dtype),
                          a, fg_dtype_name((fg_dtype)grad->dtype), b);
        } else if (grad == t || grad->node || grad->requires_grad || grad->grad) { /* .grad is always detached */
            held = fg_tensor_bare(grad);
            if (!held) st = FG_ENOMEM;
        } else {
            held = fg_keep(grad);
        }
    }
    if (st == FG_OK) {
        fg_release(t->grad);
        t->grad = held;
    }
    fg_leave(ctx);
    return st;
}

const char *fg_tensor_op_name(const fg_tensor *t) {
    if (!t || !t->node || !t->ctx->tensors->node_name) return "";
    return t->ctx->tensors->node_name(t->node);
}

fg_tensor *fg_detach(fg_scope *s, fg_tensor *t) {
    if (!s || !t || t == FG_NONE) return NULL;
    if (t->ctx != s->ctx) return fg_scope_error(s, FG_EINVAL, "detach: the tensor belongs to another context");
    if (!fg_enter(s->ctx)) return fg_scope_fail(s);
    fg_tensor *v = fg_tensor_bare(t);
    if (v) v = fg_scope_push(s, v);
    else fg_scope_fail(s);
    return finish(s, v);
}

/* ---------------------------------------------------------------- writing */
fg_status fg_tensor_copy(fg_tensor *dst, const fg_tensor *src) {
    if (!dst || !src || src == FG_NONE || dst == FG_NONE || !dst->ctx) return FG_EINVAL;
    fg_context *ctx = dst->ctx;
    if (src->ctx != ctx) return fg_error(ctx, FG_EINVAL, "copy: the source belongs to another context");
    if (!fg_enter(ctx)) return FG_EBUSY;
    fg_status st;
    if (!fg_shape_equal(&dst->shape, &src->shape)) {
        char a[160], b[160];
        fg_shape_print(&dst->shape, a, sizeof a);
        fg_shape_print(&src->shape, b, sizeof b);
        st = fg_error(ctx, FG_EINVAL, "copy: the target has shape %s, the source %s", a, b);
    } else {
        st = fg_tensor_begin_write(dst, "copy");
    }
    if (st == FG_OK) fg_convert_tensor(src, dst);
    fg_leave(ctx);
    return st;
}

fg_status fg_tensor_fill(fg_tensor *dst, double value) {
    if (!dst || dst == FG_NONE || !dst->ctx) return FG_EINVAL;
    if (!fg_enter(dst->ctx)) return FG_EBUSY;
    fg_status st = fg_tensor_begin_write(dst, "fill");
    if (st == FG_OK) fill(dst, value);
    fg_leave(dst->ctx);
    return st;
}
