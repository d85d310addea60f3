/* pool.c: average and maximum pooling and nearest upsampling on NHWC, each with the members that make its gradients closed.
 *
 * avg_pool2d and avg_pool2d_adjoint are each other's gradient. max_pool2d picks positions from x: pick reads another tensor
 * at them, scatter is pick's adjoint, and neither moves when x changes a little, so x gets no gradient from them. */
#include "op.h"

#include <string.h>

static fg_status check(fg_call *c, fg_pool_opts *o) {
    const fg_shape *x = &c->in[0]->shape;
    if (x->ndim != 4) return fg_op_error(c, FG_EINVAL, "input is %s, expected [N,H,W,C]", fg_str(x));
    for (int i = 0; i < 2; i++) {
        if (o->kernel[i] < 1) return fg_op_error(c, FG_EINVAL, "kernel %dx%d is empty", o->kernel[0], o->kernel[1]);
        if (o->stride[i] == 0) o->stride[i] = o->kernel[i];
        if (o->stride[i] < 1) return fg_op_error(c, FG_EINVAL, "stride %d must be at least 1", o->stride[i]);
        for (int k = 2 * i; k < 2 * i + 2; k++)
            if (o->pad[k] < 0 || o->pad[k] >= o->kernel[i])
                return fg_op_error(c, FG_EINVAL, "padding %d must be in 0..%d, below the kernel", o->pad[k], o->kernel[i] - 1);
    }
    return FG_OK;
}
/* Pooled size of a map of h x w */
static fg_status pooled(fg_call *c, const fg_pool_opts *o, const int64_t in[2], int64_t out[2]) {
    for (int i = 0; i < 2; i++) {
        int64_t span = in[i] + o->pad[2 * i] + o->pad[2 * i + 1] - o->kernel[i];
        if (span < 0)
            return fg_op_error(c, FG_EINVAL, "kernel %dx%d does not fit a map of %lldx%lld", o->kernel[0], o->kernel[1],
                               (long long)in[0], (long long)in[1]);
        out[i] = span / o->stride[i] + 1;
    }
    return FG_OK;
}
static fg_status infer_pool(fg_call *c) {
    fg_pool_opts *o = c->opts;
    if (check(c, o) != FG_OK) return FG_EINVAL;
    c->out_shape = c->in[0]->shape;
    return pooled(c, o, &c->in[0]->shape.dim[1], &c->out_shape.dim[1]);
}
static fg_conv_geom geom(const fg_shape *big, const fg_shape *small, const fg_pool_opts *o) {
    return (fg_conv_geom){ .n = big->dim[0],
                           .h = big->dim[1],
                           .w = big->dim[2],
                           .ci = big->dim[3],
                           .oh = small->dim[1],
                           .ow = small->dim[2],
                           .co = big->dim[3],
                           .kh = o->kernel[0],
                           .kw = o->kernel[1],
                           .sh = o->stride[0],
                           .sw = o->stride[1],
                           .pt = o->pad[0],
                           .pl = o->pad[2] };
}

typedef struct pool_arg {
    void (*avg)(const fg_real *, fg_real *, const fg_conv_geom *, int64_t, int64_t);
    const fg_kernels *k;
    const fg_conv_geom *g;
    const fg_real *x, *u;
    fg_real *y;
    int32_t *where;
} pool_arg;
static void avg_image(void *arg, int64_t first, int64_t end, int worker) {
    const pool_arg *q = arg;
    (void)worker;
    q->avg(q->x, q->y, q->g, first, end - first);
}
static void max_image(void *arg, int64_t first, int64_t end, int worker) {
    const pool_arg *q = arg;
    (void)worker;
    q->k->max_pool(q->x, q->y, q->where, q->g, first, end - first);
}

/* Elements of an image that are read or written: windows may overlap */
static int64_t image(const fg_conv_geom *g) {
    int64_t in = g->h * g->w, out = g->oh * g->ow * g->kh * g->kw;
    return g->ci * (in > out ? in : out);
}

/* ---------------------------------------------------------------- average */
static fg_status forward_avg(fg_call *c) {
    fg_conv_geom g = geom(&c->in[0]->shape, &c->out_shape, c->opts);
    pool_arg q = { .avg = c->ctx->k->avg_pool, .g = &g, .x = fg_reals(c->in[0]), .y = fg_reals(c->y) };
    fg_range_light(c->ctx, g.n, image(&g), avg_image, &q);
    return FG_OK;
}
static fg_pool_opts with_size(const fg_pool_opts *o, const fg_shape *big) {
    fg_pool_opts p = *o;
    p.size[0] = (int)big->dim[1], p.size[1] = (int)big->dim[2];
    return p;
}
static void vjp_avg(fg_vjp *v) {
    fg_pool_opts o = with_size(v->opts, fg_in_shape(v, 0));
    v->dx[0] = fg_avg_pool2d_adjoint(v->s, v->dy, &o);
}
#define POOL_ATTRS                                                                                                               \
    { "kernel", FG_A_INT2, true, offsetof(fg_pool_opts, kernel), 0, 0 },                                                         \
        { "stride", FG_A_INT2, false, offsetof(fg_pool_opts, stride), 0, 0 }, {                                                  \
        "padding", FG_A_PAD, false, offsetof(fg_pool_opts, pad), 0, 0                                                            \
    }
static const fg_attr attrs_pool[] = { POOL_ATTRS, FG_ATTR_END };
static const fg_attr attrs_adjoint[] = { POOL_ATTRS,
                                         { "size", FG_A_INT2, true, offsetof(fg_pool_opts, size), 0, 0 },
                                         FG_ATTR_END };
const fg_op fg_op_avg_pool2d = { .name = "avg_pool2d",
                                 .n_min = 1,
                                 .n_max = 1,
                                 .flags = FG_OPF_KEEP,
                                 .opts_size = sizeof(fg_pool_opts),
                                 .attrs = attrs_pool,
                                 .infer = infer_pool,
                                 .forward = forward_avg,
                                 .vjp = vjp_avg };
fg_tensor *fg_avg_pool2d(fg_scope *s, fg_tensor *x, const fg_pool_opts *o) { return fg_op_apply(s, &fg_op_avg_pool2d, &x, 1, o); }

static fg_status infer_avg_adjoint(fg_call *c) {
    fg_pool_opts *o = c->opts;
    if (check(c, o) != FG_OK) return FG_EINVAL;
    const fg_shape *dy = &c->in[0]->shape;
    int64_t in[2] = { o->size[0], o->size[1] }, out[2];
    if (pooled(c, o, in, out) != FG_OK) return FG_EINVAL;
    c->out_shape = *dy;
    c->out_shape.dim[1] = in[0], c->out_shape.dim[2] = in[1];
    if (out[0] == dy->dim[1] && out[1] == dy->dim[2]) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "a map of %dx%d pools to %lldx%lld, the gradient is %s", o->size[0], o->size[1],
                       (long long)out[0], (long long)out[1], fg_str(dy));
}
static fg_status forward_avg_adjoint(fg_call *c) {
    fg_conv_geom g = geom(&c->out_shape, &c->in[0]->shape, c->opts);
    pool_arg q = { .avg = c->ctx->k->avg_pool_adjoint, .g = &g, .x = fg_reals(c->in[0]), .y = fg_reals(c->y) };
    fg_range_light(c->ctx, g.n, image(&g), avg_image, &q);
    return FG_OK;
}
static void vjp_avg_adjoint(fg_vjp *v) { v->dx[0] = fg_avg_pool2d(v->s, v->dy, v->opts); }
const fg_op fg_op_avg_pool2d_adjoint = { .name = "avg_pool2d_adjoint",
                                         .n_min = 1,
                                         .n_max = 1,
                                         .opts_size = sizeof(fg_pool_opts),
                                         .attrs = attrs_adjoint,
                                         .infer = infer_avg_adjoint,
                                         .forward = forward_avg_adjoint,
                                         .vjp = vjp_avg_adjoint };
fg_tensor *fg_avg_pool2d_adjoint(fg_scope *s, fg_tensor *dy, const fg_pool_opts *o) {
    return fg_op_apply(s, &fg_op_avg_pool2d_adjoint, &dy, 1, o);
}

/* ---------------------------------------------------------------- maximum */
/* Runs max_pool of x into y (NULL: a scratch map) and notes where[], an fg_alloc'ed block of positions. */
static fg_status locate(fg_call *c, const fg_conv_geom *g, fg_real *y, int32_t **where, size_t *bytes) {
    size_t n = (size_t)(g->n * g->oh * g->ow * g->ci), yb = y ? 0 : n * sizeof *y;
    *bytes = n * sizeof **where + yb;
    *where = fg_alloc(c->ctx, *bytes ? *bytes : 1);
    if (!*where) return FG_ENOMEM;
    pool_arg q = {
        .k = c->ctx->k, .g = g, .x = fg_reals(c->in[0]), .where = yb ? (int32_t *)((fg_real *)(void *)*where + n) : *where
    };
    q.y = y ? y : (fg_real *)(void *)*where;
    if (yb) { /* map first (it may be double), positions behind it */
        fg_range_light(c->ctx, g->n, image(g), max_image, &q);
        memmove(*where, q.where, n * sizeof **where);
    } else {
        fg_range_light(c->ctx, g->n, image(g), max_image, &q);
    }
    return FG_OK;
}
static void free_where(fg_call *c, int32_t *where, size_t bytes) { fg_free(c->ctx, where, bytes ? bytes : 1); }
static fg_status forward_max(fg_call *c) {
    fg_conv_geom g = geom(&c->in[0]->shape, &c->out_shape, c->opts);
    int32_t *where;
    size_t bytes;
    if (locate(c, &g, fg_reals(c->y), &where, &bytes) != FG_OK) return FG_ENOMEM;
    free_where(c, where, bytes);
    return FG_OK;
}
static void vjp_max(fg_vjp *v) { v->dx[0] = fg_max_pool2d_scatter(v->s, v->in[0], v->dy, v->opts); }
const fg_op fg_op_max_pool2d = { .name = "max_pool2d",
                                 .n_min = 1,
                                 .n_max = 1,
                                 .flags = FG_OPF_KEEP,
                                 .opts_size = sizeof(fg_pool_opts),
                                 .attrs = attrs_pool,
                                 .infer = infer_pool,
                                 .forward = forward_max,
                                 .vjp = vjp_max,
                                 .save_in = { 1 } };
fg_tensor *fg_max_pool2d(fg_scope *s, fg_tensor *x, const fg_pool_opts *o) { return fg_op_apply(s, &fg_op_max_pool2d, &x, 1, o); }

static fg_status infer_pick(fg_call *c) {
    if (infer_pool(c) != FG_OK) return FG_EINVAL;
    if (fg_shape_equal(&c->in[0]->shape, &c->in[1]->shape)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "tensors %s and %s differ in shape", fg_str(&c->in[0]->shape), fg_str(&c->in[1]->shape));
}
static fg_status infer_scatter(fg_call *c) {
    if (infer_pool(c) != FG_OK) return FG_EINVAL;
    if (!fg_shape_equal(&c->out_shape, &c->in[1]->shape))
        return fg_op_error(c, FG_EINVAL, "input %s pools to %s, the gradient is %s", fg_str(&c->in[0]->shape),
                           fg_str(&c->out_shape), fg_str(&c->in[1]->shape));
    c->out_shape = c->in[0]->shape;
    return FG_OK;
}
typedef struct pick_arg {
    const fg_conv_geom *g;
    const int32_t *where;
    const fg_real *u;
    fg_real *y;
    bool scatter;
} pick_arg;
static void pick_image(void *arg, int64_t first, int64_t end, int worker) {
    const pick_arg *q = arg;
    int64_t c = q->g->ci, small = q->g->oh * q->g->ow * c, big = q->g->h * q->g->w * c;
    (void)worker;
    for (int64_t n = first; n < end; n++) {
        const int32_t *w = q->where + n * small;
        if (q->scatter) {
            memset(q->y + n * big, 0, (size_t)big * sizeof(fg_real));
            for (int64_t i = 0; i < small; i++) q->y[n * big + w[i] * c + i % c] += q->u[n * small + i];
        } else {
            for (int64_t i = 0; i < small; i++) q->y[n * small + i] = q->u[n * big + w[i] * c + i % c];
        }
    }
}
static fg_status run_pick(fg_call *c, const fg_shape *small, bool scatter) {
    fg_conv_geom g = geom(&c->in[0]->shape, small, c->opts);
    int32_t *where;
    size_t bytes;
    if (locate(c, &g, NULL, &where, &bytes) != FG_OK) return FG_ENOMEM;
    pick_arg q = { &g, where, fg_reals(c->in[1]), fg_reals(c->y), scatter };
    fg_range_light(c->ctx, g.n, image(&g), pick_image, &q);
    free_where(c, where, bytes);
    return FG_OK;
}
static fg_status forward_pick(fg_call *c) { return run_pick(c, &c->out_shape, false); }
static fg_status forward_scatter(fg_call *c) { return run_pick(c, &c->in[1]->shape, true); }
static void vjp_pick(fg_vjp *v) { v->dx[1] = fg_max_pool2d_scatter(v->s, v->in[0], v->dy, v->opts); }
static void vjp_scatter(fg_vjp *v) { v->dx[1] = fg_max_pool2d_pick(v->s, v->in[0], v->dy, v->opts); }
const fg_op fg_op_max_pool2d_pick = { .name = "max_pool2d_pick",
                                      .n_min = 2,
                                      .n_max = 2,
                                      .opts_size = sizeof(fg_pool_opts),
                                      .attrs = attrs_pool,
                                      .infer = infer_pick,
                                      .forward = forward_pick,
                                      .vjp = vjp_pick,
                                      .save_in = { 2 },
                                      .no_grad = 1 };
const fg_op fg_op_max_pool2d_scatter = { .name = "max_pool2d_scatter",
                                         .n_min = 2,
                                         .n_max = 2,
                                         .opts_size = sizeof(fg_pool_opts),
                                         .attrs = attrs_pool,
                                         .infer = infer_scatter,
                                         .forward = forward_scatter,
                                         .vjp = vjp_scatter,
                                         .save_in = { 2 },
                                         .no_grad = 1 };
fg_tensor *fg_max_pool2d_pick(fg_scope *s, fg_tensor *x, fg_tensor *u, const fg_pool_opts *o) {
    return fg_op_apply(s, &fg_op_max_pool2d_pick, (fg_tensor *[]){ x, u }, 2, o);
}
fg_tensor *fg_max_pool2d_scatter(fg_scope *s, fg_tensor *x, fg_tensor *dy, const fg_pool_opts *o) {
    return fg_op_apply(s, &fg_op_max_pool2d_scatter, (fg_tensor *[]){ x, dy }, 2, o);
}

/* ---------------------------------------------------------------- nearest upsampling */
typedef struct up_opts {
    int factor[2];
} up_opts;
static fg_status infer_up(fg_call *c) {
    const up_opts *o = c->opts;
    const fg_shape *x = &c->in[0]->shape;
    if (x->ndim != 4) return fg_op_error(c, FG_EINVAL, "input is %s, expected [N,H,W,C]", fg_str(x));
    c->out_shape = *x;
    for (int i = 0; i < 2; i++) {
        if (o->factor[i] < 1 || o->factor[i] > 1024)
            return fg_op_error(c, FG_EINVAL, "factor %d is not in 1..1024", o->factor[i]);
        c->out_shape.dim[1 + i] *= o->factor[i];
    }
    return FG_OK;
}
static void up_images(void *arg, int64_t first, int64_t end, int worker) {
    const fg_call *c = arg;
    const up_opts *o = c->opts;
    const int64_t *d = c->in[0]->shape.dim, in = d[1] * d[2] * d[3], out = in * o->factor[0] * o->factor[1];
    (void)worker;
    c->ctx->k->upsample(fg_reals(c->in[0]) + first * in, fg_reals(c->y) + first * out, end - first, d[1], d[2], d[3],
                        o->factor[0], o->factor[1]);
}
static fg_status forward_up(fg_call *c) {
    int64_t n = c->in[0]->shape.dim[0];
    if (n) fg_range_light(c->ctx, n, c->y->numel / n, up_images, c);
    return FG_OK;
}
static void vjp_up(fg_vjp *v) {
    const up_opts *o = v->opts;
    fg_pool_opts p = { .kernel = { o->factor[0], o->factor[1] } };
    v->dx[0] = fg_affine(v->s, fg_avg_pool2d(v->s, v->dy, &p), (double)o->factor[0] * o->factor[1], 0);
}
static const fg_attr attrs_up[] = { { "factor", FG_A_INT2, true, offsetof(up_opts, factor), 0, 0 }, FG_ATTR_END };
const fg_op fg_op_upsample2d = { .name = "upsample2d",
                                 .n_min = 1,
                                 .n_max = 1,
                                 .flags = FG_OPF_KEEP,
                                 .opts_size = sizeof(up_opts),
                                 .attrs = attrs_up,
                                 .infer = infer_up,
                                 .forward = forward_up,
                                 .vjp = vjp_up };
fg_tensor *fg_upsample2d(fg_scope *s, fg_tensor *x, const int factor[2]) {
    return fg_op_apply(s, &fg_op_upsample2d, &x, 1, &(up_opts){ { factor[0], factor[1] } });
}
