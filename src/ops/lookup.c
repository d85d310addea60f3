/* lookup.c: gather (embedding), its adjoint, and dropout.
 *
 * gather copies rows of any dtype; gather_adjoint adds rows in the order of ids, so repeated ids give the same bits every
 * time. Dropout draws from the counter-based stream: the node keeps (key, offset) and the mask is made again when needed. */
#include "op.h"

#include <string.h>

/* ---------------------------------------------------------------- gather */
static fg_status check_ids(fg_call *c, const fg_tensor *ids, int64_t rows) {
    if (ids->dtype != FG_I32) return fg_op_error(c, FG_EINVAL, "ids are %s, expected i32", fg_dtype_name((fg_dtype)ids->dtype));
    const int32_t *id = fg_data(ids);
    for (int64_t i = 0; i < ids->numel; i++)
        if (id[i] < 0 || id[i] >= rows)
            return fg_op_error(c, FG_EINVAL, "id %d at position %lld is not in 0..%lld", id[i], (long long)i + c->ctx->index_base,
                               (long long)rows - 1);
    return FG_OK;
}
static fg_status infer_gather(fg_call *c) {
    const fg_shape *t = &c->in[0]->shape, *ids = &c->in[1]->shape;
    if (t->ndim < 1) return fg_op_error(c, FG_EINVAL, "the table is a scalar");
    if (ids->ndim + t->ndim - 1 > FG_MAX_RANK)
        return fg_op_error(c, FG_EINVAL, "ids %s and table %s make more than %d axes", fg_str(ids), fg_str(t), FG_MAX_RANK);
    c->out_shape = *ids;
    for (int i = 1; i < t->ndim; i++) c->out_shape.dim[c->out_shape.ndim++] = t->dim[i];
    return check_ids(c, c->in[1], t->dim[0]);
}
static size_t row_bytes(const fg_tensor *t, int axes) {
    size_t n = fg_dtype_size((fg_dtype)t->dtype);
    for (int i = axes; i < t->shape.ndim; i++) n *= (size_t)t->shape.dim[i];
    return n;
}
static fg_status forward_gather(fg_call *c) {
    size_t row = row_bytes(c->in[0], 1);
    const int32_t *id = fg_data(c->in[1]);
    for (int64_t i = 0; i < c->in[1]->numel; i++)
        memcpy((char *)fg_data(c->y) + (size_t)i * row, (const char *)fg_data(c->in[0]) + (size_t)id[i] * row, row);
    return FG_OK;
}
static void vjp_gather(fg_vjp *v) { v->dx[0] = fg_gather_adjoint(v->s, v->dy, v->in[1], fg_in_shape(v, 0)->dim[0]); }
const fg_op fg_op_gather = { .name = "gather",
                             .n_min = 2,
                             .n_max = 2,
                             .flags = FG_OPF_ANY,
                             .infer = infer_gather,
                             .forward = forward_gather,
                             .vjp = vjp_gather,
                             .save_in = { 0, 1 },
                             .no_grad = 2 };
fg_tensor *fg_gather(fg_scope *s, fg_tensor *table, fg_tensor *ids) {
    return fg_op_apply(s, &fg_op_gather, (fg_tensor *[]){ table, ids }, 2, NULL);
}

typedef struct rows_opts {
    int64_t rows;
} rows_opts;
static fg_status infer_gather_adjoint(fg_call *c) {
    const fg_shape *dy = &c->in[0]->shape, *ids = &c->in[1]->shape;
    int64_t rows = ((const rows_opts *)c->opts)->rows;
    if (c->in[0]->dtype != FG_F32)
        return fg_op_error(c, FG_EINVAL, "values are %s, expected f32", fg_dtype_name((fg_dtype)c->in[0]->dtype));
    bool fits = dy->ndim >= ids->ndim && rows >= 0;
    for (int i = 0; fits && i < ids->ndim; i++) fits = dy->dim[i] == ids->dim[i];
    if (!fits)
        return fg_op_error(c, FG_EINVAL, "values %s do not fit ids %s and %lld rows", fg_str(dy), fg_str(ids), (long long)rows);
    c->out_shape.ndim = 0;
    c->out_shape.dim[c->out_shape.ndim++] = rows;
    for (int i = ids->ndim; i < dy->ndim; i++) c->out_shape.dim[c->out_shape.ndim++] = dy->dim[i];
    return check_ids(c, c->in[1], rows);
}
static fg_status forward_gather_adjoint(fg_call *c) {
    size_t n = row_bytes(c->y, 1) / sizeof(fg_real);
    const int32_t *id = fg_data(c->in[1]);
    memset(fg_data(c->y), 0, fg_tensor_bytes(c->y));
    for (int64_t i = 0; i < c->in[1]->numel; i++)
        c->ctx->k->axpy(1, fg_reals(c->in[0]) + (size_t)i * n, fg_reals(c->y) + (size_t)id[i] * n, n);
    return FG_OK;
}
static void vjp_gather_adjoint(fg_vjp *v) { v->dx[0] = fg_gather(v->s, v->dy, v->in[1]); }
static const fg_attr attrs_rows[] = { { "rows", FG_A_SIZE, true, offsetof(rows_opts, rows), 0, 0 }, FG_ATTR_END };
const fg_op fg_op_gather_adjoint = { .name = "gather_adjoint",
                                     .n_min = 2,
                                     .n_max = 2,
                                     .flags = FG_OPF_ANY,
                                     .opts_size = sizeof(rows_opts),
                                     .attrs = attrs_rows,
                                     .infer = infer_gather_adjoint,
                                     .forward = forward_gather_adjoint,
                                     .vjp = vjp_gather_adjoint,
                                     .save_in = { 0, 1 },
                                     .no_grad = 2 };
fg_tensor *fg_gather_adjoint(fg_scope *s, fg_tensor *dy, fg_tensor *ids, int64_t rows) {
    if (dy && dy->dtype != FG_F32) dy = fg_cast(s, dy, FG_F32);
    return fg_op_apply(s, &fg_op_gather_adjoint, (fg_tensor *[]){ dy, ids }, 2, &(rows_opts){ rows });
}

/* ---------------------------------------------------------------- dropout */
typedef struct dropout_opts {
    double p;
    bool drawn; /* key and offset are given: the gradient of an earlier call */
    uint64_t key, offset;
} dropout_opts;
static fg_status infer_dropout(fg_call *c) {
    double p = ((const dropout_opts *)c->opts)->p;
    c->out_shape = c->in[0]->shape;
    if (p >= 0 && p < 1) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "p is %g; it must be in [0, 1)", p);
}
typedef struct drop_arg {
    const fg_kernels *k;
    fg_span x, y;
    uint64_t key, offset;
    uint32_t threshold;
    fg_real scale;
} drop_arg;
static void drop_range(void *arg, int64_t first, int64_t end, int worker) {
    const drop_arg *q = arg;
    (void)worker;
    int64_t step = q->x.half || q->y.half ? FG_BLOCK : end - first;
    for (int64_t i = first; i < end; i += step) { /* both steps are multiples of the generator's 4 */
        fg_real bx[FG_BLOCK], by[FG_BLOCK], *y = fg_span_open(q->y, i, by);
        int64_t n = end - i < step ? end - i : step;
        q->k->dropout(fg_span_read(q->k, q->x, i, n, bx), y, (size_t)n, q->key, q->offset, (uint64_t)i, q->threshold, q->scale);
        fg_span_close(q->k, q->y, i, n, y);
    }
}
static fg_status forward_dropout(fg_call *c) {
    dropout_opts *o = c->opts;
    if (!o->drawn) {
        o->key = c->ctx->streams[FG_STREAM_DROPOUT].key;
        o->offset = fg_stream_advance(c->ctx, FG_STREAM_DROPOUT, (uint64_t)c->y->numel);
        o->drawn = true;
    }
    drop_arg q = { c->ctx->k,
                   fg_span_of(c->in[0]),
                   fg_span_of(c->y),
                   o->key,
                   o->offset,
                   (uint32_t)(o->p * 4294967296.0),
                   (fg_real)(1 / (1 - o->p)) };
    fg_parallel_range(c->ctx, c->y->numel, FG_GRAIN, drop_range, &q);
    return FG_OK;
}
static void vjp_dropout(fg_vjp *v) { v->dx[0] = fg_op_apply(v->s, v->node->op, &v->dy, 1, v->opts); }
static const fg_attr attrs_dropout[] = { { "p", FG_A_REAL, false, offsetof(dropout_opts, p), 0, 0.5 }, FG_ATTR_END };
const fg_op fg_op_dropout = { .name = "dropout",
                              .n_min = 1,
                              .n_max = 1,
                              .flags = FG_OPF_KEEP,
                              .half = 1,
                              .opts_size = sizeof(dropout_opts),
                              .attrs = attrs_dropout,
                              .infer = infer_dropout,
                              .forward = forward_dropout,
                              .vjp = vjp_dropout };
fg_tensor *fg_dropout(fg_scope *s, fg_tensor *x, double p) {
    if (x && p == 0) return x;
    return fg_op_apply(s, &fg_op_dropout, &x, 1, &(dropout_opts){ .p = p });
}
