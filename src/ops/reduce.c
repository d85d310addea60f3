/* reduce.c: sums, means, extremes over chosen axes, argmax, broadcast_to and its adjoint reduce_to, log_softmax.
 *
 * Any set of axes becomes a list of groups of neighbouring axes, kept or reduced. Reduced groups go one at a time, the last
 * first: a trailing group by rows, another by columns. Long reductions are cut into chunks by problem size only and the
 * partial results meet in a fixed order, so bits never depend on the number of threads. */
#include "broadcast.h"

#include <string.h>

typedef struct reduce_opts {
    fg_axes axes;
    bool keepdim;
} reduce_opts;
typedef struct shape_opts {
    fg_shape shape;
} shape_opts;
typedef struct argmax_opts {
    int axis;
    bool keepdim;
} argmax_opts;

/* ---------------------------------------------------------------- loops */
typedef struct red_arg {
    const fg_kernels *k;
    fg_reduction r;
    const fg_real *x;
    fg_real *y;
    int64_t rows, n, per; /* per: rows (or elements) a chunk */
    fg_span half;         /* chunk_cols: x where it is bf16, widened a chunk at a time into wide[worker][per][n] */
    fg_real *wide;
} red_arg;

static void chunk_all(void *arg, int chunk, int worker) {
    const red_arg *q = arg;
    int64_t first = (int64_t)chunk * q->per, m = q->n - first < q->per ? q->n - first : q->per;
    (void)worker;
    q->y[chunk] = q->k->reduce(q->r, q->x + first, (size_t)m);
}
static fg_status run_all(fg_context *ctx, fg_reduction r, const fg_real *x, int64_t n, fg_real *y) {
    if (n <= FG_GRAIN) {
        *y = ctx->k->reduce(r, x, (size_t)n);
        return FG_OK;
    }
    int chunks = (int)((n + FG_GRAIN - 1) / FG_GRAIN);
    size_t bytes = (size_t)chunks * sizeof(fg_real);
    fg_real *part = fg_alloc(ctx, bytes);
    if (!part) return FG_ENOMEM;
    red_arg q = { .k = ctx->k, .r = r, .x = x, .y = part, .n = n, .per = FG_GRAIN };
    fg_parallel_light(ctx, n, chunks, chunk_all, &q);
    *y = ctx->k->reduce(r, part, (size_t)chunks);
    fg_free(ctx, part, bytes);
    return FG_OK;
}

/* Row chunks of x[rows][n] for column sums: 1 when it is not worth cutting. */
static int64_t cut_rows(int64_t rows, int64_t n, int64_t most, int64_t *per) {
    int64_t chunks = rows * n / FG_GRAIN;
    if (chunks > most) chunks = most;
    if (chunks < 2) chunks = 1;
    *per = (rows + chunks - 1) / chunks;
    return *per ? (rows + *per - 1) / *per : 1;
}
static void chunk_cols(void *arg, int chunk, int worker) {
    const red_arg *q = arg;
    int64_t first = (int64_t)chunk * q->per, m = q->rows - first < q->per ? q->rows - first : q->per;
    const fg_real *x = q->x + first * q->n;
    if (q->half.p) x = fg_span_read(q->k, q->half, first * q->n, m * q->n, q->wide + (int64_t)worker * q->per * q->n);
    q->k->reduce_cols(q->r, x, m, q->n, q->y + (int64_t)chunk * q->n);
}
/* Runs chunk(q) over the chunks of q->rows with room for a row of partial results each, and joins those into y. */
static fg_status run_cols(fg_context *ctx, red_arg *q, fg_chunk_fn chunk, fg_real *y) {
    int64_t chunks = cut_rows(q->rows, q->n, q->half.p ? 1024 : 64, &q->per);
    q->y = y;
    if (chunks == 1 && !q->half.p) {
        chunk(q, 0, 0);
        return FG_OK;
    }
    size_t wide = q->half.p ? (size_t)fg_get_threads(ctx) * (size_t)(q->per * q->n) : 0;
    size_t bytes = ((size_t)(chunks * q->n) + wide) * sizeof(fg_real);
    fg_real *part = q->y = fg_alloc(ctx, bytes);
    if (!part) return FG_ENOMEM;
    q->wide = part + chunks * q->n;
    fg_parallel_light(ctx, q->rows * q->n, (int)chunks, chunk, q);
    ctx->k->reduce_cols(q->r, part, chunks, q->n, y);
    fg_free(ctx, part, bytes);
    return FG_OK;
}
fg_status fg_run_reduce_cols(fg_context *ctx, fg_reduction r, const fg_real *x, int64_t rows, int64_t n, fg_real *y) {
    if (n == 1) return run_all(ctx, r, x, rows, y);
    red_arg q = { .k = ctx->k, .r = r, .x = x, .rows = rows, .n = n };
    return run_cols(ctx, &q, chunk_cols, y);
}

typedef struct act_arg {
    red_arg red; /* first: the chunk gets its address */
    const fg_real *out;
    fg_real *g;
    fg_act act;
    fg_real slope;
} act_arg;
static void chunk_act(void *arg, int chunk, int worker) {
    const act_arg *q = arg;
    const red_arg *d = &q->red;
    int64_t first = (int64_t)chunk * d->per, m = d->rows - first < d->per ? d->rows - first : d->per, o = first * d->n;
    (void)worker;
    d->k->act_grad_sums(d->x + o, q->out ? q->out + o : NULL, m, d->n, q->act, q->slope, q->g ? q->g + o : NULL,
                        d->y + (int64_t)chunk * d->n);
}
fg_status fg_run_act_grad_sums(fg_context *ctx, const fg_real *dy, const fg_real *y, int64_t rows, int64_t n, fg_act act,
                               fg_real slope, fg_real *g, fg_real *sum) {
    act_arg q = { { .k = ctx->k, .r = FG_RED_SUM, .x = dy, .rows = rows, .n = n }, y, g, act, slope };
    return run_cols(ctx, &q.red, chunk_act, sum);
}

static void range_rows(void *arg, int64_t first, int64_t end, int worker) {
    const red_arg *q = arg;
    (void)worker;
    q->k->reduce_rows(q->r, q->x + first * q->n, end - first, q->n, q->y + first);
}
static void range_blocks(void *arg, int64_t first, int64_t end, int worker) {
    const red_arg *q = arg;
    (void)worker;
    for (int64_t i = first; i < end; i++) q->k->reduce_cols(q->r, q->x + i * q->rows * q->n, q->rows, q->n, q->y + i * q->n);
}
/* x[outer][red][inner] -> y[outer][inner] */
static fg_status run_group(fg_context *ctx, fg_reduction r, const fg_real *x, int64_t outer, int64_t red, int64_t inner,
                           fg_real *y) {
    if (outer == 1) return fg_run_reduce_cols(ctx, r, x, red, inner, y);
    red_arg q = { .k = ctx->k, .r = r, .x = x, .y = y, .rows = red, .n = inner == 1 ? red : inner };
    fg_range_light(ctx, outer, red * inner, inner == 1 ? range_rows : range_blocks, &q);
    return FG_OK;
}

/* Reduces the axes in mask of x into y (dense, kept axes in order). */
static fg_status run_axes(fg_scope *s, fg_reduction r, const fg_tensor *x, uint32_t mask, fg_real *y) {
    fg_context *ctx = s->ctx;
    int64_t size[FG_MAX_RANK];
    bool red[FG_MAX_RANK];
    int n = 0, left = 0;
    for (int i = 0; i < x->shape.ndim; i++) {
        bool rd = mask >> i & 1;
        if (x->shape.dim[i] == 1) continue;
        if (n && red[n - 1] == rd) {
            size[n - 1] *= x->shape.dim[i];
        } else {
            red[n] = rd;
            size[n++] = x->shape.dim[i];
            left += rd;
        }
    }
    if (left == 0) {
        fg_convert(ctx, (fg_dtype)x->dtype, fg_data(x), FG_F32, y, (size_t)x->numel);
        return FG_OK;
    }
    fg_span half = fg_span_of(x);
    if (half.half && n == 2 && red[0]) { /* a bias's gradient */
        red_arg q = { .k = ctx->k, .r = r, .rows = size[0], .n = size[1], .half = half };
        return run_cols(ctx, &q, chunk_cols, y);
    }
    if (half.half) {
        fg_tensor *wide = fg_empty(s, FG_F32, x->shape);
        if (!wide) return FG_ENOMEM;
        fg_convert_tensor(x, wide);
        x = wide;
    }
    const fg_real *src = fg_reals(x);
    fg_real *tmp = NULL;
    size_t tmp_bytes = 0;
    fg_status st = FG_OK;
    for (int g = n; g-- > 0 && st == FG_OK;) {
        if (!red[g]) continue;
        int64_t outer = 1, inner = 1;
        for (int i = 0; i < g; i++) outer *= size[i];
        for (int i = g + 1; i < n; i++) inner *= red[i] ? 1 : size[i];
        fg_real *dst = y, *old = tmp;
        size_t old_bytes = tmp_bytes;
        if (--left) {
            tmp_bytes = (size_t)(outer * inner) * sizeof *dst;
            dst = tmp = fg_alloc(ctx, tmp_bytes);
            if (!dst) st = FG_ENOMEM;
        } else {
            tmp = NULL;
        }
        if (st == FG_OK) st = run_group(ctx, r, src, outer, size[g], inner, dst);
        src = dst;
        if (old) fg_free(ctx, old, old_bytes);
    }
    if (tmp) fg_free(ctx, tmp, tmp_bytes);
    return st;
}

/* ---------------------------------------------------------------- sum, mean, max, min */
static void kept_shape(const fg_shape *in, uint32_t mask, bool keepdim, fg_shape *out) {
    out->ndim = 0;
    for (int i = 0; i < in->ndim; i++) {
        if (!(mask >> i & 1)) out->dim[out->ndim++] = in->dim[i];
        else if (keepdim) out->dim[out->ndim++] = 1;
    }
}
static fg_status infer(fg_call *c) {
    const reduce_opts *o = c->opts;
    uint32_t mask;
    if (!fg_axes_mask(&o->axes, c->in[0]->shape.ndim, &mask))
        return fg_op_error(c, FG_EINVAL, "axes out of range or repeated for %s (first: %d)", fg_str(&c->in[0]->shape),
                           o->axes.axis[0] < 0 ? o->axes.axis[0] : o->axes.axis[0] + c->ctx->index_base);
    kept_shape(&c->in[0]->shape, mask, o->keepdim, &c->out_shape);
    return FG_OK;
}
static fg_status infer_extreme(fg_call *c) {
    if (c->in[0]->numel == 0) return fg_op_error(c, FG_EINVAL, "the tensor %s is empty", fg_str(&c->in[0]->shape));
    return infer(c);
}
static fg_status run(fg_call *c, fg_reduction r) {
    uint32_t mask;
    fg_axes_mask(&((const reduce_opts *)c->opts)->axes, c->in[0]->shape.ndim, &mask);
    if (c->in[0]->numel == 0) {
        memset(fg_data(c->y), 0, fg_tensor_bytes(c->y));
        return FG_OK;
    }
    return run_axes(c->s, r, c->in[0], mask, fg_reals(c->y));
}
static double count(const fg_shape *in, const reduce_opts *o) {
    uint32_t mask;
    double n = 1;
    fg_axes_mask(&o->axes, in->ndim, &mask);
    for (int i = 0; i < in->ndim; i++)
        if (mask >> i & 1) n *= (double)in->dim[i];
    return n;
}
/* dy (or y) with the reduced axes back as 1, ready to broadcast against the input */
static fg_tensor *with_dims(fg_vjp *v, fg_tensor *t) {
    const reduce_opts *o = v->opts;
    uint32_t mask;
    fg_shape sh;
    fg_axes_mask(&o->axes, fg_in_shape(v, 0)->ndim, &mask);
    kept_shape(fg_in_shape(v, 0), mask, true, &sh);
    return fg_reshape(v->s, t, sh);
}
static fg_status forward_sum(fg_call *c) { return run(c, FG_RED_SUM); }
static fg_status forward_max(fg_call *c) { return run(c, FG_RED_MAX); }
static fg_status forward_min(fg_call *c) { return run(c, FG_RED_MIN); }
static fg_status forward_mean(fg_call *c) {
    fg_status st = run(c, FG_RED_SUM);
    if (st != FG_OK) return st;
    fg_run_unary(c->ctx, FG_UN_AFFINE, fg_span_of(c->y), fg_span_of(c->y), c->y->numel,
                 (fg_real)(1 / count(&c->in[0]->shape, c->opts)), 0);
    return FG_OK;
}
static void vjp_sum(fg_vjp *v) { v->dx[0] = fg_broadcast_to(v->s, with_dims(v, v->dy), *fg_in_shape(v, 0)); }
static void vjp_mean(fg_vjp *v) {
    fg_tensor *g = fg_affine(v->s, with_dims(v, v->dy), 1 / count(fg_in_shape(v, 0), v->opts), 0);
    v->dx[0] = fg_broadcast_to(v->s, g, *fg_in_shape(v, 0));
}
static void vjp_extreme(fg_vjp *v) {
    const reduce_opts *o = v->opts;
    fg_scope *s = v->s;
    fg_tensor *mask = fg_cast(s, fg_eq(s, v->in[0], with_dims(v, v->y)), FG_F32);
    fg_tensor *n = fg_sum(s, mask, &o->axes, true);
    v->dx[0] = fg_mul(s, mask, fg_div(s, with_dims(v, v->dy), n));
}
static const fg_attr attrs_reduce[] = { { "axis", FG_A_AXES, false, offsetof(reduce_opts, axes), 0, 0 },
                                        { "keepdim", FG_A_BOOL, false, offsetof(reduce_opts, keepdim), 0, 0 },
                                        FG_ATTR_END };
#define REDUCE(name_, infer_, vjp_, save_x, save_y, half_)                                                                       \
    const fg_op fg_op_##name_ = { .name = #name_,                                                                                \
                                  .n_min = 1,                                                                                    \
                                  .n_max = 1,                                                                                    \
                                  .opts_size = sizeof(reduce_opts),                                                              \
                                  .attrs = attrs_reduce,                                                                         \
                                  .infer = infer_,                                                                               \
                                  .forward = forward_##name_,                                                                    \
                                  .vjp = vjp_,                                                                                   \
                                  .save_in = { save_x },                                                                         \
                                  .save_out = save_y,                                                                            \
                                  .half = half_ };                                                                               \
    fg_tensor *fg_##name_(fg_scope *s, fg_tensor *x, const fg_axes *axes, bool keepdim) {                                        \
        reduce_opts o = { .keepdim = keepdim };                                                                                  \
        if (axes) o.axes = *axes;                                                                                                \
        return fg_op_apply(s, &fg_op_##name_, &x, 1, &o);                                                                        \
    }
REDUCE(sum, infer, vjp_sum, 0, 0, 1)
REDUCE(mean, infer_extreme, vjp_mean, 0, 0, 1)
REDUCE(max, infer_extreme, vjp_extreme, 1, 1, 0)
REDUCE(min, infer_extreme, vjp_extreme, 1, 1, 0)

/* ---------------------------------------------------------------- argmax */
static fg_status infer_argmax(fg_call *c) {
    argmax_opts *o = c->opts;
    int nd = c->in[0]->shape.ndim, axis = fg_axis(o->axis, nd);
    if (nd && axis < 0)
        return fg_op_error(c, FG_EINVAL, "axis %d is out of range for %s", o->axis < 0 ? o->axis : o->axis + c->ctx->index_base,
                           fg_str(&c->in[0]->shape));
    if (c->in[0]->numel == 0) return fg_op_error(c, FG_EINVAL, "the tensor %s is empty", fg_str(&c->in[0]->shape));
    o->axis = nd ? axis : 0;
    kept_shape(&c->in[0]->shape, nd ? 1u << axis : 0, o->keepdim, &c->out_shape);
    c->out_dtype = FG_I32;
    return FG_OK;
}
static fg_status forward_argmax(fg_call *c) {
    const fg_shape *sh = &c->in[0]->shape;
    int axis = ((const argmax_opts *)c->opts)->axis;
    int64_t outer = 1, n = sh->ndim ? sh->dim[axis] : 1, inner = 1;
    for (int i = 0; i < axis; i++) outer *= sh->dim[i];
    for (int i = axis + 1; i < sh->ndim; i++) inner *= sh->dim[i];
    int32_t *y = fg_data(c->y);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++)
            y[o * inner + i] = (int32_t)c->ctx->k->argmax(fg_reals(c->in[0]) + o * n * inner + i, inner, n);
    return FG_OK;
}
static const fg_attr attrs_argmax[] = { { "axis", FG_A_AXIS, false, offsetof(argmax_opts, axis), 0, -1 },
                                        { "keepdim", FG_A_BOOL, false, offsetof(argmax_opts, keepdim), 0, 0 },
                                        FG_ATTR_END };
const fg_op fg_op_argmax = { .name = "argmax",
                             .n_min = 1,
                             .n_max = 1,
                             .opts_size = sizeof(argmax_opts),
                             .attrs = attrs_argmax,
                             .infer = infer_argmax,
                             .forward = forward_argmax };
fg_tensor *fg_argmax(fg_scope *s, fg_tensor *x, int axis, bool keepdim) {
    return fg_op_apply(s, &fg_op_argmax, &x, 1, &(argmax_opts){ axis, keepdim });
}

/* ---------------------------------------------------------------- broadcast_to, reduce_to */
static fg_status infer_broadcast(fg_call *c) {
    const shape_opts *o = c->opts;
    c->out_shape = o->shape;
    fg_shape sh;
    if (fg_broadcast(&c->in[0]->shape, &o->shape, &sh) && fg_shape_equal(&sh, &o->shape)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "%s does not broadcast to %s", fg_str(&c->in[0]->shape), fg_str(&o->shape));
}
typedef struct copy_arg {
    const fg_kernels *k;
    const fg_walk *w;
    const fg_real *x;
    fg_real *y;
} copy_arg;
static void body_copy(void *arg, const int64_t *o, int64_t out, int64_t n) {
    const copy_arg *q = arg;
    q->k->copy_strided(q->x + o[0], q->w->step[0], q->y + out, (size_t)n);
}
static fg_status forward_broadcast(fg_call *c) {
    fg_walk w;
    const fg_shape *in[1] = { &c->in[0]->shape };
    fg_walk_init(&w, &c->out_shape, in, 1);
    copy_arg q = { c->ctx->k, &w, fg_reals(c->in[0]), fg_reals(c->y) };
    fg_walk_run(c->ctx, &w, 1, body_copy, &q);
    return FG_OK;
}
static void vjp_broadcast(fg_vjp *v) { v->dx[0] = fg_reduce_to(v->s, v->dy, *fg_in_shape(v, 0)); }
static const fg_attr attrs_shape[] = { { "shape", FG_A_SHAPE, true, offsetof(shape_opts, shape), 0, 0 }, FG_ATTR_END };
const fg_op fg_op_broadcast_to = { .name = "broadcast_to",
                                   .n_min = 1,
                                   .n_max = 1,
                                   .flags = FG_OPF_KEEP,
                                   .opts_size = sizeof(shape_opts),
                                   .attrs = attrs_shape,
                                   .infer = infer_broadcast,
                                   .forward = forward_broadcast,
                                   .vjp = vjp_broadcast };
fg_tensor *fg_broadcast_to(fg_scope *s, fg_tensor *x, fg_shape shape) {
    if (x && fg_shape_equal(&x->shape, &shape)) return x;
    return fg_op_apply(s, &fg_op_broadcast_to, &x, 1, &(shape_opts){ shape });
}

static fg_status infer_reduce_to(fg_call *c) {
    const shape_opts *o = c->opts;
    c->out_shape = o->shape;
    fg_shape sh;
    if (fg_broadcast(&c->in[0]->shape, &o->shape, &sh) && fg_shape_equal(&sh, &c->in[0]->shape)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "%s cannot be summed to %s", fg_str(&c->in[0]->shape), fg_str(&o->shape));
}
static fg_status forward_reduce_to(fg_call *c) {
    const fg_shape *in = &c->in[0]->shape, *out = &c->out_shape;
    uint32_t mask = 0;
    int lead = in->ndim - out->ndim;
    for (int i = 0; i < in->ndim; i++)
        if (i < lead || (out->dim[i - lead] == 1 && in->dim[i] != 1)) mask |= 1u << i;
    return run_axes(c->s, FG_RED_SUM, c->in[0], mask, fg_reals(c->y));
}
static void vjp_reduce_to(fg_vjp *v) { v->dx[0] = fg_broadcast_to(v->s, v->dy, *fg_in_shape(v, 0)); }
const fg_op fg_op_reduce_to = { .name = "reduce_to",
                                .n_min = 1,
                                .n_max = 1,
                                .opts_size = sizeof(shape_opts),
                                .attrs = attrs_shape,
                                .infer = infer_reduce_to,
                                .forward = forward_reduce_to,
                                .vjp = vjp_reduce_to };
fg_tensor *fg_reduce_to(fg_scope *s, fg_tensor *x, fg_shape shape) {
    if (x && fg_shape_equal(&x->shape, &shape)) return x;
    return fg_op_apply(s, &fg_op_reduce_to, &x, 1, &(shape_opts){ shape });
}

/* ---------------------------------------------------------------- log_softmax */
static fg_status infer_softmax(fg_call *c) {
    c->out_shape = c->in[0]->shape;
    if (c->in[0]->shape.ndim >= 1) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "a scalar has no last axis");
}
typedef struct soft_arg {
    const fg_kernels *k;
    const fg_real *x, *y;
    fg_real *out;
    int64_t n;
} soft_arg;
static void soft_range(void *arg, int64_t first, int64_t end, int worker) {
    const soft_arg *q = arg;
    (void)worker;
    q->k->log_softmax(q->x + first * q->n, q->out + first * q->n, end - first, q->n);
}
static void soft_grad_range(void *arg, int64_t first, int64_t end, int worker) {
    const soft_arg *q = arg;
    (void)worker;
    q->k->log_softmax_grad(q->x + first * q->n, q->y + first * q->n, q->out + first * q->n, end - first, q->n);
}
static void soft_run(fg_context *ctx, soft_arg *q, int64_t numel, fg_range_fn fn) {
    if (numel) fg_parallel_range(ctx, numel / q->n, q->n < FG_GRAIN ? FG_GRAIN / q->n : 1, fn, q);
}
static fg_status forward_softmax(fg_call *c) {
    const fg_shape *sh = &c->out_shape;
    soft_arg q = { c->ctx->k, fg_reals(c->in[0]), NULL, fg_reals(c->y), sh->dim[sh->ndim - 1] };
    soft_run(c->ctx, &q, c->y->numel, soft_range);
    return FG_OK;
}
static void vjp_softmax(fg_vjp *v) {
    fg_scope *s = v->s;
    v->dx[0] = fg_sub(s, v->dy, fg_mul(s, fg_exp(s, v->y), fg_sum(s, v->dy, FG_AXES(-1), true)));
}
static void fast_softmax(fg_vjp *v) {
    fg_tensor *dx = fg_vjp_new(v, &v->dy->shape);
    if (!dx) return;
    soft_arg q = { v->ctx->k, fg_reals(v->dy), fg_reals(v->y), fg_reals(dx), dx->shape.dim[dx->shape.ndim - 1] };
    soft_run(v->ctx, &q, dx->numel, soft_grad_range);
    v->dx[0] = dx;
}
const fg_op fg_op_log_softmax = { .name = "log_softmax",
                                  .n_min = 1,
                                  .n_max = 1,
                                  .infer = infer_softmax,
                                  .forward = forward_softmax,
                                  .vjp = vjp_softmax,
                                  .vjp_fast = fast_softmax,
                                  .save_out = 1 };
fg_tensor *fg_log_softmax(fg_scope *s, fg_tensor *x) { return fg_op_apply(s, &fg_op_log_softmax, &x, 1, NULL); }
