/* engine.c: reverse-mode differentiation over recorded nodes.
 *
 * The graph under y is collected once, sorted by descending sequence number (an op's node is always newer than its
 * inputs'), and each node's vjp turns the gradient of its output into gradients of its inputs. Gradients meet at nodes
 * and leaves: added in place when the engine holds the only reference to the buffer, by a recorded add under create_graph.
 * A gradient travels in f32; between ops that say so (op.half) a bf16 tensor's may stay as its op made it, in bf16, until it
 * meets another: sums are f32, and so is all that leaves the graph.
 *
 * backward() adds into .grad of leaves; grad() hands out what reaches the tensors asked for and prunes every node from
 * which none of them can be reached. A failed pass clears each .grad it touched: half a gradient is worse than none. */
#include "engine.h"

#include <string.h>

typedef struct pass {
    fg_context *ctx;
    fg_scope *s; /* the caller's */
    fg_node **node;
    int n, cap;
    fg_tensor *const *xs; /* grad(): the tensors asked for; NULL in backward() */
    int n_xs;
    fg_tensor **out; /* owned by the pass while it runs */
    bool create_graph, retain;
    fg_tensor **touched; /* leaves whose .grad this pass wrote */
    int n_touched, cap_touched;
} pass;

static bool push_ptr(fg_context *ctx, void ***list, int *n, int *cap, void *p) {
    if (*n == *cap) {
        int c = *cap ? *cap * 2 : 64;
        void **q = fg_realloc(ctx, *list, (size_t)*cap * sizeof(void *), (size_t)c * sizeof(void *));
        if (!q) return false;
        *list = q;
        *cap = c;
    }
    (*list)[(*n)++] = p;
    return true;
}

/* Reached nodes, each once and with a reference, oldest last. */
static bool collect(pass *p, fg_node *root) {
    uint32_t epoch = ++p->ctx->autograd->epoch;
    root->epoch = epoch;
    root->readers = 0;
    root->refs++;
    if (!push_ptr(p->ctx, (void ***)&p->node, &p->n, &p->cap, root)) {
        root->refs--;
        return false;
    }
    for (int i = 0; i < p->n; i++) {
        fg_node *node = p->node[i];
        for (int k = 0; k < node->n; k++) {
            fg_node *up = node->edge[k].node;
            if (!up) continue;
            if (up->epoch == epoch) {
                up->readers = 2;
                continue;
            }
            up->epoch = epoch;
            up->readers = 1;
            up->refs++;
            if (!push_ptr(p->ctx, (void ***)&p->node, &p->n, &p->cap, up)) {
                up->refs--;
                return false;
            }
        }
    }
    return true;
}

/* Heap sort by descending seq: in place, no worst case, no library allocation. */
static void sift(fg_node **a, int i, int n) {
    fg_node *x = a[i];
    for (int c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && a[c + 1]->seq < a[c]->seq) c++;
        if (x->seq <= a[c]->seq) break;
        a[i] = a[c];
    }
    a[i] = x;
}
static void sort_nodes(fg_node **a, int n) {
    for (int i = n / 2; i-- > 0;) sift(a, i, n);
    for (int i = n; i-- > 1;) {
        fg_node *t = a[0];
        a[0] = a[i], a[i] = t;
        sift(a, 0, i);
    }
}

static int wanted_leaf(const pass *p, const fg_tensor *leaf) {
    for (int i = 0; i < p->n_xs; i++)
        if (p->xs[i] == leaf) return i;
    return -1;
}

/* Oldest first: a node is useful when one of its inputs is asked for or comes from a useful node. */
static void mark_useful(pass *p) {
    for (int i = p->n; i-- > 0;) {
        fg_node *node = p->node[i];
        node->useful = !p->xs;
        for (int k = 0; k < node->n && !node->useful; k++) {
            const fg_edge *e = &node->edge[k];
            if (e->leaf) node->useful = wanted_leaf(p, e->leaf) >= 0;
            if (!e->node) continue;
            node->useful = e->node->useful;
            for (int j = 0; j < p->n_xs && !node->useful; j++) node->useful = p->xs[j]->node == e->node;
        }
    }
}

static bool exclusive(const fg_tensor *t) {
    return t->refs == 1 && t->storage->refs == 1 && !t->is_view && !t->node && t->dtype == FG_F32;
}

typedef struct axpy_arg {
    const fg_kernels *k;
    const fg_real *x;
    fg_real *y;
} axpy_arg;
static void axpy_range(void *arg, int64_t a, int64_t b, int worker) {
    axpy_arg *q = arg;
    (void)worker;
    q->k->axpy(1, q->x + a, q->y + a, (size_t)(b - a));
}
static void add_into(fg_context *ctx, fg_tensor *acc, const fg_tensor *dx, int64_t first) {
    axpy_arg q = { ctx->k, fg_reals(dx), fg_reals(acc) + first };
    fg_parallel_range(ctx, dx->numel, 65536, axpy_range, &q);
}

/* A zeroed f32 tensor of the whole input with dx copied to its rows: only where a slice is the first contribution. */
static fg_tensor *widen(fg_context *ctx, const fg_shape *shape, const fg_tensor *dx, int64_t first) {
    fg_tensor *t = fg_tensor_new(ctx, FG_F32, shape);
    if (!t) return NULL;
    fg_real *d = fg_reals(t);
    memset(d, 0, (size_t)first * sizeof *d);
    memcpy(d + first, fg_reals(dx), (size_t)dx->numel * sizeof *d);
    memset(d + first + dx->numel, 0, (size_t)(t->numel - first - dx->numel) * sizeof *d);
    return t;
}

/* Adds dx (owned, consumed) into *slot. row >= 0: dx covers rows row.. of shape's leading axis. */
static bool accumulate(pass *p, fg_tensor **slot, fg_tensor *dx, const fg_shape *shape, int64_t row) {
    fg_context *ctx = p->ctx;
    int64_t first = 0, unit = 1;
    if (row >= 0) {
        for (int i = 1; i < shape->ndim; i++) unit *= shape->dim[i];
        first = row * unit;
        if (!*slot) {
            *slot = widen(ctx, shape, dx, first);
            fg_release(dx);
            return *slot != NULL;
        }
    }
    if (!*slot) {
        *slot = dx;
        return true;
    }
    bool ok = true;
    if (!p->create_graph && dx->dtype == FG_F32 && exclusive(*slot)) {
        add_into(ctx, *slot, dx, first);
    } else if (!p->create_graph && row < 0 && (*slot)->dtype == FG_F32 && exclusive(dx)) {
        add_into(ctx, dx, *slot, 0); /* the sum of two is the same bits either way round */
        fg_tensor *t = *slot;
        *slot = dx;
        dx = t;
    } else {
        fg_scope *s = fg_scope_open(ctx);
        fg_tensor *a = *slot, *b = dx, *sum = NULL;
        if (s && row >= 0) {
            fg_tensor *wide = widen(ctx, shape, dx, first);
            b = wide ? fg_scope_push(s, wide) : NULL;
        }
        if (s && a->dtype != FG_F32) a = ctx->autograd->cast(s, a, FG_F32);
        if (s && b && b->dtype != FG_F32) b = ctx->autograd->cast(s, b, FG_F32);
        if (s && a && b) sum = fg_keep(ctx->autograd->add(s, a, b));
        if (s) fg_scope_close(s);
        ok = sum != NULL;
        if (ok) {
            fg_release(*slot);
            *slot = sum;
        }
    }
    fg_release(dx);
    return ok;
}

/* backward(): adds into leaf.grad, whose handle stays the same tensor from the first gradient on. */
static bool accumulate_leaf(pass *p, fg_tensor *leaf, fg_tensor *dx, int64_t row) {
    fg_context *ctx = p->ctx;
    bool seen = false;
    for (int i = p->n_touched; i-- > 0 && !seen;) seen = p->touched[i] == leaf;
    if (!seen && !push_ptr(ctx, (void ***)&p->touched, &p->n_touched, &p->cap_touched, leaf)) {
        fg_release(dx);
        return false;
    }
    if (!seen) fg_keep(leaf);
    if (leaf->grad && leaf->grad->dtype == FG_F32 && !leaf->grad->node) {
        int64_t unit = 1;
        for (int i = 1; i < leaf->shape.ndim; i++) unit *= leaf->shape.dim[i];
        add_into(ctx, leaf->grad, dx, row >= 0 ? row * unit : 0);
        fg_storage_written(leaf->grad->storage);
        fg_release(dx);
        return true;
    }
    if (row >= 0) {
        leaf->grad = widen(ctx, &leaf->shape, dx, row * (leaf->shape.ndim ? leaf->numel / leaf->shape.dim[0] : 1));
    } else if (exclusive(dx)) {
        leaf->grad = dx;
        return true;
    } else { /* shared with somebody: .grad is a buffer of its own */
        leaf->grad = fg_tensor_new(ctx, FG_F32, &leaf->shape);
        if (leaf->grad) memcpy(fg_data(leaf->grad), fg_data(dx), (size_t)dx->numel * sizeof(fg_real));
    }
    fg_release(dx);
    return leaf->grad != NULL;
}

static bool check_saved(const pass *p, const fg_node *node) {
    const char *name = node->op->name;
    if (node->freed) {
        fg_error(
            p->ctx, FG_ESTATE,
            "backward: the graph of '%s' was freed by an earlier backward; ask that one to retain the graph to go through it twice",
            name);
        return false;
    }
    for (int i = 0; i < node->n; i++) {
        const fg_edge *e = &node->edge[i];
        if (!e->saved || e->saved->storage->version == e->version) continue;
        fg_error(
            p->ctx, FG_ESTATE,
            "backward: input %d of '%s' was changed in place after '%s' saved it (version %u, saved at %u); clone it before the write",
            i + p->ctx->index_base, name, name, e->saved->storage->version, e->version);
        return false;
    }
    if (node->saved_out && node->saved_out->storage->version != node->out_version) {
        fg_error(p->ctx, FG_ESTATE,
                 "backward: the output of '%s' was changed in place after '%s' saved it (version %u, saved at %u)", name, name,
                 node->saved_out->storage->version, node->out_version);
        return false;
    }
    return true;
}

#define INLINE_INPUTS 8

/* Checks one result of a vjp and takes a reference that outlives its scope; NULL where there is no gradient. */
static bool take_result(pass *p, const fg_node *node, fg_scope *s, fg_tensor **dx, int i, int64_t row) {
    const fg_edge *e = &node->edge[i];
    fg_tensor *t = *dx;
    *dx = NULL;
    if (t == FG_NONE || !(e->node || e->leaf)) return true;
    /* bf16 goes on as bf16 only on its way to a bf16 tensor inside the graph */
    bool keep16 = t && t->dtype == FG_BF16 && e->node && e->dtype == FG_BF16 && row < 0;
    if (t && t->dtype != FG_F32 && !keep16) t = p->ctx->autograd->cast(s, t, FG_F32);
    if (!t) {
        if (s->status == FG_OK) fg_scope_error(s, FG_ESTATE, "backward: '%s' gave no gradient for input %d", node->op->name, i);
        return false;
    }
    if (row < 0 && !fg_shape_equal(&t->shape, &e->shape)) {
        char a[96], b[96];
        fg_shape_print(&t->shape, a, sizeof a);
        fg_shape_print(&e->shape, b, sizeof b);
        fg_scope_error(s, FG_ESTATE, "backward: '%s' gave a gradient of shape %s for input %d of shape %s", node->op->name, a, i,
                       b);
        return false;
    }
    *dx = fg_keep(t);
    return true;
}

/* The activation that input 0 came out of may be differentiated by this node's vjp, in the kernel that makes the gradient, where
 * nobody else sees that gradient and its own vjp_fast comes next to it. */
static void offer_gate(const pass *p, const fg_node *node, fg_vjp *v) {
    const fg_node *up = node->edge[0].node;
    fg_tensor *y = up ? up->saved_out : NULL;
    if (!y || !up->op->ends_in || up->readers != 1 || !up->useful || y->dtype != FG_F32 || y->storage->version != up->out_version)
        return;
    for (int k = 0; k < p->n_xs; k++)
        if (p->xs[k]->node == up) return;
    v->gate_act = up->op->ends_in(up->opts, &v->gate_slope);
    if (v->gate_act != FG_ACT_NONE) v->gate = y;
}

static bool run_vjp(pass *p, fg_node *node) {
    fg_context *ctx = p->ctx;
    if (!check_saved(p, node)) return false;
    int n = node->n;
    fg_tensor *in_buf[INLINE_INPUTS], *dx_buf[INLINE_INPUTS], **in = in_buf, **dx = dx_buf;
    int64_t range_buf[INLINE_INPUTS], *range = range_buf;
    size_t cell = (size_t)n * (2 * sizeof(void *) + sizeof(int64_t));
    if (n > INLINE_INPUTS) {
        in = fg_alloc(ctx, cell);
        if (!in) return false;
        dx = in + n;
        range = (int64_t *)(dx + n);
    }
    fg_scope *s = fg_scope_open(ctx);
    bool ok = s != NULL, fast = !p->create_graph && node->op->vjp_fast;
    fg_precision precision = ctx->precision;
    bool fast_conv = ctx->fast_conv, grad_mode = ctx->grad_enabled;
    ctx->precision = node->precision;
    ctx->fast_conv = node->fast_conv;
    ctx->grad_enabled = p->create_graph;
    fg_tensor *y = node->saved_out, *dy = node->grad;
    if (ok && y && p->create_graph) {
        y = fg_tensor_bare(y);
        if (y) {
            y->node = node;
            y->requires_grad = true;
            node->refs++;
            y = fg_scope_push(s, y);
        }
        ok = y != NULL;
    }
    for (int i = 0; i < n; i++) {
        in[i] = node->edge[i].saved;
        dx[i] = FG_NONE;
        range[i] = -1;
    }
    if (ok && !node->op->half && dy->dtype != FG_F32) ok = (dy = ctx->autograd->cast(s, dy, FG_F32)) != NULL;
    if (ok && fast) { /* kernels read f32, but where the op says otherwise */
        if (y && y->dtype == FG_BF16 && !node->op->half) ok = (y = ctx->autograd->cast(s, y, FG_F32)) != NULL;
        for (int i = 0; i < n && ok; i++)
            if (in[i] && in[i]->dtype == FG_BF16 && !(i < 32 && (node->op->half >> i & 1)))
                ok = (in[i] = ctx->autograd->cast(s, in[i], FG_F32)) != NULL;
    }
    if (ok) {
        fg_vjp v = { .s = s, .ctx = ctx, .node = node, .dy = dy, .opts = node->opts, .n = n, .y = y, .in = in, .dx = dx };
        v.range_first = range, v.create_graph = p->create_graph, v.dy_gated = node->grad_gated;
        if (fast) offer_gate(p, node, &v);
        (fast ? node->op->vjp_fast : node->op->vjp)(&v);
        if (v.gated) node->edge[0].node->grad_gated = true;
        if (s->status != FG_OK) ok = false;
    }
    int kept = 0;
    for (; kept < n && ok; kept++) ok = take_result(p, node, s, &dx[kept], kept, range[kept]);
    if (!ok)
        for (int i = 0; i < kept - 1; i++) fg_release(dx[i]);
    if (s && fg_scope_close(s) != FG_OK) ok = false;
    ctx->precision = precision;
    ctx->fast_conv = fast_conv;
    ctx->grad_enabled = grad_mode;
    if (!p->retain && !p->create_graph) { /* early: peak memory falls as the pass moves down */
        fg_node_drop_saved(node);
        node->freed = true;
        fg_release(node->grad);
        node->grad = NULL;
    }
    for (int i = 0; i < n && ok; i++) {
        if (!dx[i]) continue;
        fg_edge *e = &node->edge[i];
        int x = e->leaf && p->xs ? wanted_leaf(p, e->leaf) : -1;
        if (e->node) ok = accumulate(p, &e->node->grad, dx[i], &e->shape, range[i]);
        else if (!p->xs) ok = accumulate_leaf(p, e->leaf, dx[i], range[i]);
        else if (x >= 0) ok = accumulate(p, &p->out[x], dx[i], &e->shape, range[i]);
        else fg_release(dx[i]);
        if (!ok)
            for (int k = i + 1; k < n; k++) fg_release(dx[k]);
    }
    if (in != in_buf) fg_free(ctx, in, cell);
    return ok;
}

/* What the caller is given is f32 in every precision. Owned. */
static fg_tensor *as_f32(pass *p, fg_tensor *grad) {
    return fg_keep(grad->dtype == FG_F32 ? grad : p->ctx->autograd->cast(p->s, grad, FG_F32));
}

static bool walk(pass *p) {
    for (int i = 0; i < p->n; i++) {
        fg_node *node = p->node[i];
        if (!node->grad) continue;
        for (int k = 0; k < p->n_xs; k++)
            if (p->xs[k]->node == node && !p->out[k] && !(p->out[k] = as_f32(p, node->grad))) return false;
        if (node->useful && !run_vjp(p, node)) return false;
        fg_release(node->grad);
        node->grad = NULL;
    }
    return true;
}

/* The gradient to start from: dy as given, or ones for a y of one element. Owned. */
static fg_tensor *seed(pass *p, fg_tensor *y, fg_tensor *dy) {
    if (dy) {
        if (!fg_shape_equal(&dy->shape, &y->shape)) {
            char a[96], b[96];
            fg_shape_print(&dy->shape, a, sizeof a);
            fg_shape_print(&y->shape, b, sizeof b);
            fg_error(p->ctx, FG_EINVAL, "backward: the gradient given has shape %s, the tensor %s", a, b);
            return NULL;
        }
        if (dy->ctx != p->ctx) {
            fg_error(p->ctx, FG_EINVAL, "backward: the gradient given belongs to another context");
            return NULL;
        }
        /* gradients travel in f32 */
        return fg_keep(dy->dtype == FG_F32 ? dy : p->ctx->autograd->cast(p->s, dy, FG_F32));
    }
    if (y->numel != 1) {
        char a[96];
        fg_shape_print(&y->shape, a, sizeof a);
        fg_error(
            p->ctx, FG_EINVAL,
            "backward: only a tensor of one element has an implied gradient, this one is %s; reduce it (mean, sum) or give one",
            a);
        return NULL;
    }
    fg_tensor *t = fg_tensor_new(p->ctx, FG_F32, &y->shape);
    if (t) fg_reals(t)[0] = 1;
    return t;
}

static bool run(pass *p, fg_tensor *y, fg_tensor *dy) {
    fg_tensor *g = seed(p, y, dy);
    if (!g) return false;
    for (int k = 0; k < p->n_xs; k++) /* y itself may be asked for */
        if (p->xs[k] == y && !y->node) p->out[k] = fg_keep(g);
    if (!y->node) {
        if (p->xs) {
            fg_release(g);
            return true;
        }
        return accumulate_leaf(p, y, g, -1);
    }
    if (!collect(p, y->node)) {
        fg_release(g);
        return false;
    }
    sort_nodes(p->node, p->n);
    mark_useful(p);
    y->node->grad = g;
    return walk(p);
}

static bool finish(pass *p, bool ok) {
    for (int i = 0; i < p->n; i++) {
        fg_release(p->node[i]->grad);
        p->node[i]->grad = NULL;
        p->node[i]->grad_gated = false;
    }
    if (ok && !p->retain && !p->create_graph)
        for (int i = 0; i < p->n; i++) {
            fg_node_drop_saved(p->node[i]);
            p->node[i]->freed = true;
        }
    for (int i = 0; i < p->n; i++) fg_node_release(p->ctx, p->node[i]);
    fg_free(p->ctx, p->node, (size_t)p->cap * sizeof(void *));
    if (!ok) {
        for (int i = 0; i < p->n_touched; i++) {
            fg_release(p->touched[i]->grad);
            p->touched[i]->grad = NULL;
        }
        if (p->n_touched) {
            char msg[FG_ERROR_CAP];
            memcpy(msg, p->ctx->err, sizeof msg);
            fg_error(p->ctx, p->ctx->err_status, "%.400s (the gradients of %d parameters were cleared)", msg, p->n_touched);
        }
    }
    for (int i = 0; i < p->n_touched; i++) fg_release(p->touched[i]);
    fg_free(p->ctx, p->touched, (size_t)p->cap_touched * sizeof(void *));
    return ok;
}

static bool refuse_no_grad(fg_context *ctx, const fg_tensor *y) {
    if (y->ctx != ctx) {
        fg_error(ctx, FG_EINVAL, "backward: the tensor belongs to another context");
        return false;
    }
    if (y->requires_grad) return true;
    fg_error(
        ctx, FG_ESTATE,
        "backward: this tensor does not depend on anything that requires a gradient (made under no_grad, detached, or all inputs frozen)");
    return false;
}

fg_status fg_backward_with(fg_scope *s, fg_tensor *y, fg_tensor *dy, bool retain_graph) {
    if (!s) return FG_EINVAL;
    if (s->status != FG_OK) return s->status;
    fg_context *ctx = s->ctx;
    if (!y) return fg_scope_error(s, FG_EINVAL, "backward: the tensor is NULL"), s->status;
    if (!fg_enter(ctx)) return fg_scope_fail(s), s->status;
    pass p = { .ctx = ctx, .s = s, .retain = retain_graph };
    bool ok = refuse_no_grad(ctx, y) && finish(&p, run(&p, y, dy));
    if (!ok) fg_scope_fail(s);
    fg_leave(ctx);
    return ok ? FG_OK : s->status;
}

fg_status fg_backward(fg_scope *s, fg_tensor *loss) { return fg_backward_with(s, loss, NULL, false); }

fg_status fg_grad(fg_scope *s, fg_tensor *y, fg_tensor *dy, fg_tensor *const *xs, int n, bool create_graph, bool retain_graph,
                  fg_tensor **out) {
    if (!s) return FG_EINVAL;
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (s->status != FG_OK) return s->status;
    fg_context *ctx = s->ctx;
    if (!y) return fg_scope_error(s, FG_EINVAL, "grad: the tensor is NULL"), s->status;
    if (!fg_enter(ctx)) return fg_scope_fail(s), s->status;
    pass p = {
        .ctx = ctx, .s = s, .xs = xs, .n_xs = n, .out = out, .create_graph = create_graph, .retain = retain_graph || create_graph
    };
    bool ok = refuse_no_grad(ctx, y);
    for (int i = 0; i < n && ok; i++)
        if (!xs[i] || !xs[i]->requires_grad) {
            fg_error(ctx, FG_EINVAL, "grad: tensor %d of the list does not require a gradient", i + ctx->index_base);
            ok = false;
        }
    if (ok) ok = finish(&p, run(&p, y, dy));
    for (int i = 1; i < n; i++) /* a leaf that is listed twice */
        for (int k = 0; k < i && !out[i]; k++)
            if (xs[k] == xs[i]) out[i] = fg_keep(out[k]);
    for (int i = 0; i < n; i++) { /* references pass to the scope, or are dropped */
        if (ok && out[i]) ok = (out[i] = fg_scope_push(s, out[i])) != NULL;
        else if (ok) out[i] = FG_NONE;
        else fg_release(out[i]);
    }
    if (!ok) {
        for (int i = 0; i < n; i++) out[i] = NULL;
        fg_scope_fail(s);
    }
    fg_leave(ctx);
    return ok ? FG_OK : s->status;
}
