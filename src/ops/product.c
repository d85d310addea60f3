/* product.c: matrix products: matmul with transpose flags, and linear (bias and activation fused).
 *
 * Under bf16 precision both operands are rounded to bf16, unless they are bf16 already, and sums are f32; the result is rounded
 * once, after bias and activation. A table with bf16 kernels gets the operands as they are, others get them widened.
 * Gradients follow their tensors: of a bf16 input bf16, of an f32 input (weights among them) the f32 sums as they are. */
#include "gemm_call.h"
#include "packed.h"

/* The operand that p packs, for this call alone, to `room`. */
static void pack_now(fg_context *ctx, const fg_gemm_plan *p, fg_gemm_args *a, void *room) {
    if (!p->packed) return;
    fg_gemm_pack_drive(ctx, p, a, room);
    a->packed = room;
}

fg_status fg_run_gemms(fg_context *ctx, fg_gemm_args *a, fg_tensor *const *b, int n) {
    fg_gemm_plan p[2] = { 0 };
    size_t own[2], bytes[2];
    void *work[2] = { NULL, NULL };
    fg_packed w[2] = { { NULL, 0 }, { NULL, 0 } };
    bool ready = true;
    for (int i = 0; i < n; i++) { /* workspace before the weights: making room may drop their cache */
        ctx->k->gemm_plan(&a[i], &p[i]);
        own[i] = fg_gemm_workspace(ctx, &p[i]), bytes[i] = own[i] + (p[i].keeps ? 0 : p[i].packed);
        if (ready && bytes[i]) ready = (work[i] = fg_alloc(ctx, bytes[i])) != NULL;
    }
    for (int i = 0; i < n && ready; i++) {
        if (p[i].keeps) a[i].packed = (w[i] = fg_packed_gemm(ctx, b[i], &a[i], &p[i])).data;
        else if (work[i]) pack_now(ctx, &p[i], &a[i], (char *)work[i] + own[i]);
        ready = !p[i].packed || a[i].packed;
    }
    if (ready && n == 1) fg_gemm_drive(ctx, p, a, work[0]);
    else if (ready) fg_gemm_drive_pair(ctx, p, a, work);
    for (int i = 0; i < n; i++) {
        fg_packed_free(ctx, w[i]);
        if (work[i]) fg_free(ctx, work[i], bytes[i]);
    }
    return ready ? FG_OK : FG_ENOMEM;
}
fg_status fg_run_gemm(fg_context *ctx, fg_gemm_args *a, fg_tensor *b) { return fg_run_gemms(ctx, a, &b, 1); }

/* ---------------------------------------------------------------- operands under bf16 precision */
fg_tensor *fg_half_input(fg_call *c, int i) {
    fg_tensor *t = c->in[i], *h = t;
    if (t->dtype == FG_BF16) return t;
    if ((h = fg_empty(c->s, FG_BF16, t->shape)) != NULL) fg_convert_tensor(t, h);
    return h;
}
fg_tensor *fg_rounded_input(fg_call *c, int i) {
    fg_tensor *t = c->in[i], *r = fg_empty(c->s, FG_F32, t->shape);
    if (!r) return NULL;
    if (t->dtype == FG_BF16) fg_convert_tensor(t, r);
    else fg_round_reals(c->ctx, fg_reals(t), fg_reals(r), t->numel);
    return r;
}
fg_tensor *fg_real_output(fg_call *c) { return c->y->dtype == FG_F32 ? c->y : fg_empty(c->s, FG_F32, c->out_shape); }
void fg_real_output_done(fg_call *c, const fg_tensor *t) {
    if (t != c->y) fg_convert_tensor(t, c->y);
}

/* By f32 kernels: g lacks operands and C. */
static fg_status widened_product(fg_call *c, fg_gemm_args *g) {
    fg_tensor *a = fg_rounded_input(c, 0), *y = a ? fg_real_output(c) : NULL;
    if (!y) return FG_ENOMEM;
    bool half = c->in[1]->dtype == FG_BF16;
    fg_tensor *b = half ? fg_rounded_input(c, 1) : c->in[1];
    fg_gemm_plan p;
    c->ctx->k->gemm_plan(g, &p);
    size_t own = fg_gemm_workspace(c->ctx, &p), bytes = own + p.packed;
    void *work = b && bytes ? fg_alloc(c->ctx, bytes) : NULL; /* before the weights */
    if (!b || (bytes && !work)) return FG_ENOMEM;
    fg_packed w = { fg_data(b), 0 };
    if (!half) w = fg_packed_rounded(c->ctx, b);
    if (w.data) {
        g->a = fg_reals(a), g->b = w.data, g->c = fg_reals(y);
        if (work) pack_now(c->ctx, &p, g, (char *)work + own);
        fg_gemm_drive(c->ctx, &p, g, work);
        fg_real_output_done(c, y);
    }
    fg_packed_free(c->ctx, w);
    if (bytes) fg_free(c->ctx, work, bytes);
    return w.data ? FG_OK : FG_ENOMEM;
}

static fg_status half_product(fg_call *c, fg_gemm16_args *h, const fg_gemm16_plan *p) {
    fg_context *ctx = c->ctx;
    fg_tensor *a = fg_half_input(c, 0);
    size_t bytes = fg_gemm16_workspace(ctx, p);
    void *work = a && bytes ? fg_alloc(ctx, bytes) : NULL; /* before the weights: making room may drop that cache */
    if (!a || (bytes && !work)) return FG_ENOMEM;
    fg_packed w = fg_packed_gemm16(ctx, c->in[1], h, p);
    if (w.data) {
        h->a = fg_data(a), h->b = p->packed ? NULL : w.data;
        if (c->y->dtype == FG_BF16) h->c16 = fg_data(c->y);
        else h->c = fg_reals(c->y);
        fg_gemm16_drive(ctx, p, h, p->packed ? w.data : NULL, work);
    }
    fg_packed_free(ctx, w);
    if (bytes) fg_free(ctx, work, bytes);
    return w.data ? FG_OK : FG_ENOMEM;
}

/* y = act(op(in[0]) op(in[1]) + bias) in the precision of the call */
static fg_status product(fg_call *c, fg_gemm_args *g) {
    if (!c->y->numel) return FG_OK;
    if (!c->low) {
        g->a = fg_reals(c->in[0]), g->b = fg_reals(c->in[1]), g->c = fg_reals(c->y);
        return fg_run_gemm(c->ctx, g, c->in[1]);
    }
    fg_gemm16_plan p;
    fg_gemm16_args h = { .m = g->m,
                         .n = g->n,
                         .k = g->k,
                         .ta = g->ta,
                         .tb = g->tb,
                         .lda = g->lda,
                         .ldb = g->ldb,
                         .ldc = g->ldc,
                         .bias = g->bias,
                         .act = g->act,
                         .slope = g->slope };
    return fg_gemm16_choose(c->ctx->k, &h, &p) ? half_product(c, &h, &p) : widened_product(c, g);
}

/* ---------------------------------------------------------------- matmul */
typedef struct matmul_opts {
    fg_matmul_opts o;
    bool wide; /* the result is f32 in every precision: the gradient of an f32 input */
} matmul_opts;
static fg_status infer_matmul(fg_call *c) {
    const fg_matmul_opts *o = &((const matmul_opts *)c->opts)->o;
    c->wide = ((const matmul_opts *)c->opts)->wide;
    const fg_shape *a = &c->in[0]->shape, *b = &c->in[1]->shape;
    if (a->ndim != 2 || b->ndim != 2)
        return fg_op_error(c, FG_EINVAL, "expected two matrices, got %s and %s", fg_str(a), fg_str(b));
    if (a->dim[!o->ta] != b->dim[o->tb])
        return fg_op_error(c, FG_EINVAL, "%s%s has %lld column%s, %s%s has %lld row%s", fg_str(a), o->ta ? " transposed" : "",
                           (long long)a->dim[!o->ta], FG_PLURAL(a->dim[!o->ta]), fg_str(b), o->tb ? " transposed" : "",
                           (long long)b->dim[o->tb], FG_PLURAL(b->dim[o->tb]));
    c->out_shape = FG_SHAPE(a->dim[o->ta], b->dim[!o->tb]);
    return FG_OK;
}
static fg_status forward_matmul(fg_call *c) {
    const fg_matmul_opts *o = &((const matmul_opts *)c->opts)->o;
    const fg_shape *a = &c->in[0]->shape, *b = &c->in[1]->shape;
    fg_gemm_args g = { .m = c->out_shape.dim[0],
                       .n = c->out_shape.dim[1],
                       .k = a->dim[!o->ta],
                       .ta = o->ta,
                       .tb = o->tb,
                       .lda = a->dim[1],
                       .ldb = b->dim[1],
                       .ldc = c->out_shape.dim[1] };
    return product(c, &g);
}
/* A product that is the gradient of input i */
static fg_tensor *mm(fg_vjp *v, int i, fg_tensor *a, bool ta, fg_tensor *b, bool tb) {
    matmul_opts o = { { ta, tb }, v->node->edge[i].dtype != FG_BF16 };
    return fg_op_apply(v->s, &fg_op_matmul, (fg_tensor *[]){ a, b }, 2, &o);
}
static void vjp_matmul(fg_vjp *v) {
    const fg_matmul_opts *o = &((const matmul_opts *)v->opts)->o;
    fg_tensor *a = v->in[0], *b = v->in[1], *dy = v->dy;
    if (fg_needs(v, 0)) v->dx[0] = o->ta ? mm(v, 0, b, o->tb, dy, true) : mm(v, 0, dy, false, b, !o->tb);
    if (fg_needs(v, 1)) v->dx[1] = o->tb ? mm(v, 1, dy, true, a, o->ta) : mm(v, 1, a, !o->ta, dy, false);
}
static const fg_attr attrs_matmul[] = { { "ta", FG_A_BOOL, false, offsetof(matmul_opts, o.ta), 0, 0 },
                                        { "tb", FG_A_BOOL, false, offsetof(matmul_opts, o.tb), 0, 0 },
                                        FG_ATTR_END };
const fg_op fg_op_matmul = { .name = "matmul",
                             .n_min = 2,
                             .n_max = 2,
                             .flags = FG_OPF_LOWP,
                             .half = 3,
                             .opts_size = sizeof(matmul_opts),
                             .attrs = attrs_matmul,
                             .infer = infer_matmul,
                             .forward = forward_matmul,
                             .vjp = vjp_matmul,
                             .save_in = { 2, 1 } };
fg_tensor *fg_matmul(fg_scope *s, fg_tensor *a, fg_tensor *b, const fg_matmul_opts *o) {
    matmul_opts full = { .wide = false };
    if (o) full.o = *o;
    return fg_op_apply(s, &fg_op_matmul, (fg_tensor *[]){ a, b }, 2, &full);
}

/* ---------------------------------------------------------------- linear */
fg_status fg_check_bias(fg_call *c, const fg_tensor *bias, int64_t n) {
    if (!bias || (bias->shape.ndim == 1 && bias->shape.dim[0] == n)) return FG_OK;
    return fg_op_error(c, FG_EINVAL, "bias is %s, expected [%lld]", fg_str(&bias->shape), (long long)n);
}
static fg_status infer_linear(fg_call *c) {
    const fg_shape *x = &c->in[0]->shape, *w = &c->in[1]->shape;
    if (x->ndim != 2 || w->ndim != 2)
        return fg_op_error(c, FG_EINVAL, "expected input [N,in] and weight [in,out], got %s and %s", fg_str(x), fg_str(w));
    if (x->dim[1] != w->dim[0])
        return fg_op_error(c, FG_EINVAL, "input %s has %lld feature%s, weight %s expects %lld", fg_str(x), (long long)x->dim[1],
                           FG_PLURAL(x->dim[1]), fg_str(w), (long long)w->dim[0]);
    c->wide = FG_ACT_WIDE(((const fg_linear_opts *)c->opts)->act);
    c->out_shape = FG_SHAPE(x->dim[0], w->dim[1]);
    return fg_check_bias(c, c->in[2], w->dim[1]);
}
static fg_status forward_linear(fg_call *c) {
    const fg_linear_opts *o = c->opts;
    const fg_shape *x = &c->in[0]->shape;
    int64_t out = c->out_shape.dim[1];
    fg_gemm_args g = { .m = x->dim[0],
                       .n = out,
                       .k = x->dim[1],
                       .lda = x->dim[1],
                       .ldb = out,
                       .ldc = out,
                       .bias = c->in[2] ? fg_reals(c->in[2]) : NULL,
                       .act = o->act,
                       .slope = (fg_real)o->slope };
    return product(c, &g);
}
static bool has_act(const void *opts) { return ((const fg_linear_opts *)opts)->act != FG_ACT_NONE; }
static void back_linear(fg_vjp *v, fg_tensor *g) {
    if (fg_needs(v, 0)) v->dx[0] = mm(v, 0, g, false, v->in[1], true);
    if (fg_needs(v, 1)) v->dx[1] = mm(v, 1, v->in[0], true, g, false);
}
static void vjp_linear(fg_vjp *v) {
    const fg_linear_opts *o = v->opts;
    fg_tensor *g = fg_act_grad(v->s, v->dy, v->y, o->act, o->slope);
    if (v->n > 2 && fg_needs(v, 2)) v->dx[2] = fg_sum(v->s, g, FG_AXES(0), false);
    back_linear(v, g);
}
/* Both products of f32 tensors side by side, the gradient of the input times act' of the op that made it where the engine asks
 * for that. False: not for these tensors. */
static bool both_products(fg_vjp *v, fg_tensor *g) {
    fg_tensor *x = v->in[0], *w = v->in[1], *b[2];
    bool need[2] = { fg_needs(v, 0), fg_needs(v, 1) };
    if (v->ctx->precision != FG_PRECISION_F32 || !g || g->dtype != FG_F32 || !g->numel) return false;
    if ((need[0] && (w->dtype != FG_F32 || v->node->edge[0].dtype != FG_F32)) || (need[1] && x->dtype != FG_F32)) return false;
    int64_t rows = g->shape.dim[0], out = g->shape.dim[1], in = fg_in_shape(v, 0)->dim[1];
    if (!in) return false;
    fg_gemm_args a[2];
    int n = 0;
    if (need[0]) {
        if (!(v->dx[0] = fg_vjp_new(v, fg_in_shape(v, 0)))) return true;
        a[n] = (fg_gemm_args){ .m = rows, .n = in, .k = out, .tb = true, .lda = out, .ldb = out, .ldc = in };
        a[n].a = fg_reals(g), a[n].b = fg_reals(w), a[n].c = fg_reals(v->dx[0]);
        if (v->gate) a[n].gate = fg_reals(v->gate), a[n].act = v->gate_act, a[n].slope = (fg_real)v->gate_slope;
        v->gated = v->gate != NULL;
        b[n++] = w;
    }
    if (need[1]) {
        if (!(v->dx[1] = fg_vjp_new(v, fg_in_shape(v, 1)))) return true;
        a[n] = (fg_gemm_args){ .m = in, .n = out, .k = rows, .ta = true, .lda = in, .ldb = out, .ldc = out };
        a[n].a = fg_reals(x), a[n].b = fg_reals(g), a[n].c = fg_reals(v->dx[1]);
        b[n++] = g;
    }
    if (n && fg_run_gemms(v->ctx, a, b, n) != FG_OK) fg_scope_fail(v->s);
    return true;
}
static void fast_linear(fg_vjp *v) {
    const fg_linear_opts *o = v->opts;
    fg_tensor *g = fg_vjp_act_bias(v, o->act, o->slope, 2);
    if (!both_products(v, g)) back_linear(v, g);
}
static fg_act linear_ends_in(const void *opts, double *slope) {
    const fg_linear_opts *o = opts;
    *slope = o->slope;
    return (fg_act)o->act;
}
static const fg_attr attrs_linear[] = { FG_ATTR(FG_A_ACT, fg_linear_opts, act, 0),
                                        FG_ATTR(FG_A_REAL, fg_linear_opts, slope, 0.01), FG_ATTR_END };
const fg_op fg_op_linear = { .name = "linear",
                             .n_min = 2,
                             .n_max = 3,
                             .optional = 4,
                             .flags = FG_OPF_LOWP,
                             .half = 3,
                             .opts_size = sizeof(fg_linear_opts),
                             .attrs = attrs_linear,
                             .infer = infer_linear,
                             .forward = forward_linear,
                             .vjp = vjp_linear,
                             .vjp_fast = fast_linear,
                             .ends_in = linear_ends_in,
                             .save_in = { 2, 1 },
                             .save_out = 7,
                             .save_out_if = has_act };
fg_tensor *fg_linear(fg_scope *s, fg_tensor *x, fg_tensor *w, fg_tensor *bias, const fg_linear_opts *o) {
    if (x && w && x->shape.ndim > 2 && w->shape.ndim == 2) { /* [..., in]: every leading axis is a batch axis */
        fg_shape sh = x->shape;
        int64_t in = sh.dim[sh.ndim - 1];
        if (in == w->shape.dim[0]) {
            fg_tensor *y = fg_linear(s, fg_reshape(s, x, FG_SHAPE(x->numel / (in ? in : 1), in)), w, bias, o);
            sh.dim[sh.ndim - 1] = w->shape.dim[1];
            return fg_reshape(s, y, sh);
        }
    }
    return fg_op_apply(s, &fg_op_linear, (fg_tensor *[]){ x, w, bias }, 3, o);
}
