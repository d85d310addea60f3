/* shape.c: reshape, transpose, concat, slice and slice_adjoint: no arithmetic, any dtype.
 *
 * reshape and slices of the leading axis are views. concat's gradient on the leading axis is views too, and a slice's
 * gradient there is a contribution to a range of rows, which the engine adds in place. */
#include "op.h"

#include <string.h>

/* ---------------------------------------------------------------- reshape */
typedef struct reshape_opts {
    fg_shape shape;
} reshape_opts;
static fg_status infer_reshape(fg_call *c) {
    const reshape_opts *o = c->opts;
    int64_t known = 1;
    int hole = -1;
    c->out_shape = o->shape;
    for (int i = 0; i < o->shape.ndim; i++) {
        int64_t d = o->shape.dim[i];
        if (d == -1 && hole < 0) hole = i;
        else if (d < 0)
            return fg_op_error(c, FG_EINVAL, "size %lld in %s; sizes are >= 0 and one may be -1", (long long)d,
                               fg_str(&o->shape));
        else if (__builtin_mul_overflow(known, d, &known))
            return fg_op_error(c, FG_EINVAL, "shape %s is too large", fg_str(&o->shape));
    }
    if (hole >= 0 && known > 0 && c->in[0]->numel % known == 0) {
        c->out_shape.dim[hole] = c->in[0]->numel / known;
        return FG_OK;
    }
    if (hole < 0 && known == c->in[0]->numel) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "%s has %lld element%s, which cannot be shaped %s", fg_str(&c->in[0]->shape),
                       (long long)c->in[0]->numel, FG_PLURAL(c->in[0]->numel), fg_str(&o->shape));
}
static fg_status forward_reshape(fg_call *c) {
    c->y = fg_tensor_view(c->in[0], &c->out_shape, 0);
    return c->y ? FG_OK : FG_ENOMEM;
}
static void vjp_reshape(fg_vjp *v) { v->dx[0] = fg_reshape(v->s, v->dy, *fg_in_shape(v, 0)); }
static const fg_attr attrs_reshape[] = { { "shape", FG_A_SHAPE, true, offsetof(reshape_opts, shape), 0, 0 }, FG_ATTR_END };
const fg_op fg_op_reshape = { .name = "reshape",
                              .n_min = 1,
                              .n_max = 1,
                              .flags = FG_OPF_ANY | FG_OPF_VIEW,
                              .half = 1,
                              .opts_size = sizeof(reshape_opts),
                              .attrs = attrs_reshape,
                              .infer = infer_reshape,
                              .forward = forward_reshape,
                              .vjp = vjp_reshape };
fg_tensor *fg_reshape(fg_scope *s, fg_tensor *x, fg_shape shape) {
    if (x && fg_shape_equal(&x->shape, &shape)) return x;
    return fg_op_apply(s, &fg_op_reshape, &x, 1, &(reshape_opts){ shape });
}

/* ---------------------------------------------------------------- transpose */
typedef struct perm_opts {
    fg_axes axes;
} perm_opts;
static fg_status infer_transpose(fg_call *c) {
    perm_opts *o = c->opts;
    const fg_shape *in = &c->in[0]->shape;
    uint32_t seen = 0;
    if (o->axes.n == 0) {
        o->axes.n = in->ndim;
        for (int i = 0; i < in->ndim; i++) o->axes.axis[i] = in->ndim - 1 - i;
    }
    if (o->axes.n != in->ndim)
        return fg_op_error(c, FG_EINVAL, "%d axes given for %s of rank %d", o->axes.n, fg_str(in), in->ndim);
    c->out_shape.ndim = in->ndim;
    for (int i = 0; i < in->ndim; i++) {
        int a = fg_axis(o->axes.axis[i], in->ndim);
        if (a < 0 || (seen >> a & 1))
            return fg_op_error(c, FG_EINVAL, "axis %d is out of range or repeated for %s",
                               o->axes.axis[i] < 0 ? o->axes.axis[i] : o->axes.axis[i] + c->ctx->index_base, fg_str(in));
        seen |= 1u << a;
        o->axes.axis[i] = a;
        c->out_shape.dim[i] = in->dim[a];
    }
    return FG_OK;
}
static void copy_element(char *dst, const char *src, size_t size) {
    if (size == 4) memcpy(dst, src, 4);
    else memcpy(dst, src, size);
}
static fg_status forward_transpose(fg_call *c) {
    const fg_shape *in = &c->in[0]->shape, *out = &c->out_shape;
    const perm_opts *o = c->opts;
    int nd = in->ndim;
    size_t size = fg_dtype_size((fg_dtype)c->y->dtype);
    if (c->y->numel == 0) return FG_OK;
    if (nd == 2 && o->axes.axis[0] == 1 && c->y->dtype == FG_F32) {
        c->ctx->k->transpose2d(fg_reals(c->in[0]), in->dim[1], fg_reals(c->y), in->dim[0], in->dim[0], in->dim[1]);
        return FG_OK;
    }
    int64_t stride[FG_MAX_RANK], st = 1, at[FG_MAX_RANK] = { 0 }, off = 0;
    int64_t natural[FG_MAX_RANK];
    for (int i = nd; i-- > 0;) {
        natural[i] = st;
        st *= in->dim[i];
    }
    for (int i = 0; i < nd; i++) stride[i] = natural[o->axes.axis[i]];
    const char *src = fg_data(c->in[0]);
    char *dst = fg_data(c->y);
    for (int64_t i = 0; i < c->y->numel; i++, dst += size) {
        copy_element(dst, src + (size_t)off * size, size);
        for (int d = nd; d-- > 0;) {
            off += stride[d];
            if (++at[d] < out->dim[d]) break;
            off -= stride[d] * out->dim[d];
            at[d] = 0;
        }
    }
    return FG_OK;
}
static void vjp_transpose(fg_vjp *v) {
    const perm_opts *o = v->opts;
    fg_axes inv = { .n = o->axes.n };
    for (int i = 0; i < inv.n; i++) inv.axis[o->axes.axis[i]] = i;
    v->dx[0] = inv.n ? fg_transpose(v->s, v->dy, &inv) : v->dy;
}
static const fg_attr attrs_transpose[] = { { "axes", FG_A_AXES, false, offsetof(perm_opts, axes), 0, 0 }, FG_ATTR_END };
const fg_op fg_op_transpose = { .name = "transpose",
                                .n_min = 1,
                                .n_max = 1,
                                .flags = FG_OPF_ANY,
                                .opts_size = sizeof(perm_opts),
                                .attrs = attrs_transpose,
                                .infer = infer_transpose,
                                .forward = forward_transpose,
                                .vjp = vjp_transpose };
fg_tensor *fg_transpose(fg_scope *s, fg_tensor *x, const fg_axes *perm) {
    perm_opts o = { { 0 } };
    if (perm) o.axes = *perm;
    return fg_op_apply(s, &fg_op_transpose, &x, 1, &o);
}

/* ---------------------------------------------------------------- concat */
typedef struct concat_opts {
    int axis;
} concat_opts;
static fg_status infer_concat(fg_call *c) {
    concat_opts *o = c->opts;
    const fg_tensor *t0 = c->in[0];
    int axis = fg_axis(o->axis, t0->shape.ndim);
    if (axis < 0)
        return fg_op_error(c, FG_EINVAL, "axis %d is out of range for %s", o->axis < 0 ? o->axis : o->axis + c->ctx->index_base,
                           fg_str(&t0->shape));
    o->axis = axis;
    c->out_shape = t0->shape;
    for (int i = 1; i < c->n; i++) {
        const fg_tensor *t = c->in[i];
        bool fits = t->shape.ndim == t0->shape.ndim && t->dtype == t0->dtype;
        for (int d = 0; fits && d < t->shape.ndim; d++) fits = d == axis || t->shape.dim[d] == t0->shape.dim[d];
        if (!fits)
            return fg_op_error(c, FG_EINVAL, "tensor %d is %s %s, the first is %s %s; all but axis %d must agree",
                               i + c->ctx->index_base, fg_dtype_name((fg_dtype)t->dtype), fg_str(&t->shape),
                               fg_dtype_name((fg_dtype)t0->dtype), fg_str(&t0->shape), axis + c->ctx->index_base);
        c->out_shape.dim[axis] += t->shape.dim[axis];
    }
    return FG_OK;
}
/* Bytes of one index of axis, and how many such blocks lie before it */
static void blocks(const fg_shape *sh, int axis, size_t size, size_t *outer, size_t *unit) {
    *outer = 1;
    *unit = size;
    for (int i = 0; i < axis; i++) *outer *= (size_t)sh->dim[i];
    for (int i = axis + 1; i < sh->ndim; i++) *unit *= (size_t)sh->dim[i];
}
/* Rows of bytes bytes from src to dst, from and to bytes apart; what is one run in both goes in pieces of 64 KB. */
typedef struct copy_job {
    char *dst;
    const char *src;
    size_t to, from, bytes, total;
} copy_job;
enum { PIECE = 65536 };
static void copy_some(void *arg, int64_t first, int64_t end, int worker) {
    const copy_job *j = arg;
    (void)worker;
    for (size_t k = (size_t)first; k < (size_t)end; k++) memcpy(j->dst + k * j->to, j->src + k * j->from, j->bytes);
}
static void copy_pieces(void *arg, int64_t first, int64_t end, int worker) {
    const copy_job *j = arg;
    size_t a = (size_t)first * PIECE, b = (size_t)end == j->total / PIECE ? j->total : (size_t)end * PIECE;
    (void)worker;
    memcpy(j->dst + a, j->src + a, b - a);
}
static void copy_rows(fg_context *ctx, char *dst, size_t to, const char *src, size_t from, size_t bytes, size_t rows) {
    copy_job j = { dst, src, to, from, bytes, bytes * rows };
    if (j.total == 0) return;
    if (rows == 1 || (to == bytes && from == bytes)) {
        if (j.total < PIECE) memcpy(dst, src, j.total);
        else fg_range_light(ctx, (int64_t)(j.total / PIECE), PIECE / 4, copy_pieces, &j); /* the last takes the rest */
    } else fg_range_light(ctx, (int64_t)rows, (int64_t)(bytes / 4), copy_some, &j);
}
static fg_status forward_concat(fg_call *c) {
    int axis = ((const concat_opts *)c->opts)->axis;
    size_t outer, unit, row, at = 0;
    blocks(&c->out_shape, axis, fg_dtype_size((fg_dtype)c->y->dtype), &outer, &unit);
    row = unit * (size_t)c->out_shape.dim[axis];
    for (int i = 0; i < c->n; i++) {
        size_t part = unit * (size_t)c->in[i]->shape.dim[axis];
        copy_rows(c->ctx, (char *)fg_data(c->y) + at, row, fg_data(c->in[i]), part, part, outer);
        at += part;
    }
    return FG_OK;
}
static void vjp_concat(fg_vjp *v) {
    int axis = ((const concat_opts *)v->opts)->axis;
    int64_t at = 0;
    for (int i = 0; i < v->n; i++) {
        int64_t len = fg_in_shape(v, i)->dim[axis];
        if (fg_needs(v, i)) v->dx[i] = fg_slice(v->s, v->dy, axis, at, len);
        at += len;
    }
}
static const fg_attr attrs_concat[] = { { "axis", FG_A_AXIS, false, offsetof(concat_opts, axis), 0, 0 }, FG_ATTR_END };
const fg_op fg_op_concat = { .name = "concat",
                             .n_min = 1,
                             .n_max = 255,
                             .flags = FG_OPF_ANY,
                             .opts_size = sizeof(concat_opts),
                             .attrs = attrs_concat,
                             .infer = infer_concat,
                             .forward = forward_concat,
                             .vjp = vjp_concat };
fg_tensor *fg_concat(fg_scope *s, fg_tensor *const *xs, int n, int axis) {
    return fg_op_apply(s, &fg_op_concat, xs, n, &(concat_opts){ axis });
}

/* ---------------------------------------------------------------- slice and its adjoint */
typedef struct slice_opts {
    int axis;
    int64_t first, len; /* slice_adjoint: len is the size that the axis grows to */
} slice_opts;
static fg_status slice_axis(fg_call *c, slice_opts *o) {
    int axis = fg_axis(o->axis, c->in[0]->shape.ndim);
    if (axis < 0)
        return fg_op_error(c, FG_EINVAL, "axis %d is out of range for %s", o->axis < 0 ? o->axis : o->axis + c->ctx->index_base,
                           fg_str(&c->in[0]->shape));
    o->axis = axis;
    c->out_shape = c->in[0]->shape;
    c->out_shape.dim[axis] = o->len;
    return FG_OK;
}
static fg_status infer_slice(fg_call *c) {
    slice_opts *o = c->opts;
    if (slice_axis(c, o) != FG_OK) return FG_EINVAL;
    int64_t size = c->in[0]->shape.dim[o->axis];
    if (o->first >= 0 && o->len >= 0 && o->len <= size && o->first <= size - o->len) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "%lld from position %lld leaves axis %d of %s", (long long)o->len,
                       (long long)o->first + c->ctx->index_base, o->axis + c->ctx->index_base, fg_str(&c->in[0]->shape));
}
static fg_status forward_slice(fg_call *c) {
    const slice_opts *o = c->opts;
    size_t outer, unit;
    blocks(&c->in[0]->shape, o->axis, fg_dtype_size((fg_dtype)c->in[0]->dtype), &outer, &unit);
    if (o->axis == 0) {
        c->y = fg_tensor_view(c->in[0], &c->out_shape, (size_t)o->first * unit);
        return c->y ? FG_OK : FG_ENOMEM;
    }
    c->y = fg_tensor_new(c->ctx, (fg_dtype)c->in[0]->dtype, &c->out_shape);
    if (!c->y) return FG_ENOMEM;
    size_t row = unit * (size_t)c->in[0]->shape.dim[o->axis], part = unit * (size_t)o->len;
    copy_rows(c->ctx, fg_data(c->y), part, (const char *)fg_data(c->in[0]) + (size_t)o->first * unit, row, part, outer);
    return FG_OK;
}
static void vjp_slice(fg_vjp *v) {
    const slice_opts *o = v->opts;
    v->dx[0] = fg_slice_adjoint(v->s, v->dy, o->axis, o->first, fg_in_shape(v, 0)->dim[o->axis]);
}
static void fast_slice(fg_vjp *v) {
    const slice_opts *o = v->opts;
    if (o->axis != 0) {
        vjp_slice(v);
        return;
    }
    v->dx[0] = v->dy;
    v->range_first[0] = o->first;
}
static const fg_attr attrs_slice[] = { { "axis", FG_A_AXIS, true, offsetof(slice_opts, axis), 0, 0 },
                                       { "first", FG_A_INDEX, true, offsetof(slice_opts, first), 0, 0 },
                                       { "len", FG_A_SIZE, true, offsetof(slice_opts, len), 0, 0 },
                                       FG_ATTR_END };
const fg_op fg_op_slice = { .name = "slice",
                            .n_min = 1,
                            .n_max = 1,
                            .flags = FG_OPF_ANY | FG_OPF_VIEW,
                            .opts_size = sizeof(slice_opts),
                            .attrs = attrs_slice,
                            .infer = infer_slice,
                            .forward = forward_slice,
                            .vjp = vjp_slice,
                            .vjp_fast = fast_slice };
fg_tensor *fg_slice(fg_scope *s, fg_tensor *x, int axis, int64_t first, int64_t len) {
    return fg_op_apply(s, &fg_op_slice, &x, 1, &(slice_opts){ axis, first, len });
}

static fg_status infer_slice_adjoint(fg_call *c) {
    slice_opts *o = c->opts;
    if (slice_axis(c, o) != FG_OK) return FG_EINVAL;
    int64_t n = c->in[0]->shape.dim[o->axis];
    if (o->first >= 0 && n <= o->len && o->first <= o->len - n) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "%lld from position %lld do not fit a size of %lld", (long long)n,
                       (long long)o->first + c->ctx->index_base, (long long)o->len);
}
static fg_status forward_slice_adjoint(fg_call *c) {
    const slice_opts *o = c->opts;
    size_t outer, unit;
    blocks(&c->out_shape, o->axis, fg_dtype_size((fg_dtype)c->y->dtype), &outer, &unit);
    size_t row = unit * (size_t)o->len, part = unit * (size_t)c->in[0]->shape.dim[o->axis], lead = (size_t)o->first * unit;
    for (size_t k = 0; k < outer; k++) {
        char *y = (char *)fg_data(c->y) + k * row;
        memset(y, 0, lead);
        memcpy(y + lead, (const char *)fg_data(c->in[0]) + k * part, part);
        memset(y + lead + part, 0, row - lead - part);
    }
    return FG_OK;
}
static void vjp_slice_adjoint(fg_vjp *v) {
    const slice_opts *o = v->opts;
    v->dx[0] = fg_slice(v->s, v->dy, o->axis, o->first, fg_in_shape(v, 0)->dim[o->axis]);
}
static const fg_attr attrs_slice_adjoint[] = { { "axis", FG_A_AXIS, true, offsetof(slice_opts, axis), 0, 0 },
                                               { "first", FG_A_INDEX, true, offsetof(slice_opts, first), 0, 0 },
                                               { "size", FG_A_SIZE, true, offsetof(slice_opts, len), 0, 0 },
                                               FG_ATTR_END };
const fg_op fg_op_slice_adjoint = { .name = "slice_adjoint",
                                    .n_min = 1,
                                    .n_max = 1,
                                    .flags = FG_OPF_ANY,
                                    .opts_size = sizeof(slice_opts),
                                    .attrs = attrs_slice_adjoint,
                                    .infer = infer_slice_adjoint,
                                    .forward = forward_slice_adjoint,
                                    .vjp = vjp_slice_adjoint };
fg_tensor *fg_slice_adjoint(fg_scope *s, fg_tensor *x, int axis, int64_t first, int64_t size) {
    return fg_op_apply(s, &fg_op_slice_adjoint, &x, 1, &(slice_opts){ axis, first, size });
}
