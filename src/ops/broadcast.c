/* broadcast.c: the loops behind every broadcasting op.
 *
 * Neighbouring dimensions merge when every operand either runs through both or stands still in both, so [64,28,28,32] +
 * [32] is 50176 rows of 32, and equal shapes are one flat loop. Pieces are cut by problem size only. */
#include "broadcast.h"

#include <string.h>

void fg_walk_init(fg_walk *w, const fg_shape *out, const fg_shape *const *in, int n) {
    int64_t dim[FG_MAX_RANK], st[FG_WALK_MAX][FG_MAX_RANK];
    int nd = 0;
    int64_t natural[FG_WALK_MAX][FG_MAX_RANK];
    for (int k = 0; k < n; k++) {
        int64_t s = 1;
        int lead = out->ndim - in[k]->ndim;
        for (int i = out->ndim; i-- > 0;) {
            int64_t d = i < lead ? 1 : in[k]->dim[i - lead];
            natural[k][i] = d == 1 ? 0 : s;
            if (i >= lead) s *= d;
        }
    }
    for (int i = 0; i < out->ndim; i++) {
        if (out->dim[i] == 1) continue;
        bool merge = nd > 0;
        for (int k = 0; k < n && merge; k++) merge = st[k][nd - 1] == natural[k][i] * out->dim[i];
        if (merge) {
            dim[nd - 1] *= out->dim[i];
            for (int k = 0; k < n; k++) st[k][nd - 1] = natural[k][i];
        } else {
            dim[nd] = out->dim[i];
            for (int k = 0; k < n; k++) st[k][nd] = natural[k][i];
            nd++;
        }
    }
    memset(w, 0, sizeof *w);
    w->inner = nd ? dim[nd - 1] : 1;
    w->outer = 1;
    w->ndim = nd ? nd - 1 : 0;
    for (int k = 0; k < n; k++) w->step[k] = nd ? st[k][nd - 1] != 0 : 0;
    for (int i = 0; i < w->ndim; i++) {
        w->dim[i] = dim[i];
        w->outer *= dim[i];
        for (int k = 0; k < n; k++) w->stride[k][i] = st[k][i];
    }
}

void fg_walk_at(const fg_walk *w, int n, int64_t i, int64_t *offset) {
    for (int k = 0; k < n; k++) offset[k] = 0;
    for (int d = w->ndim; d-- > 0;) {
        int64_t q = i / w->dim[d], r = i - q * w->dim[d];
        for (int k = 0; k < n; k++) offset[k] += r * w->stride[k][d];
        i = q;
    }
}

typedef struct walk_arg {
    const fg_walk *w;
    int n;
    fg_walk_fn fn;
    void *arg;
} walk_arg;

static void flat(void *arg, int64_t first, int64_t end, int worker) {
    const walk_arg *q = arg;
    int64_t offset[FG_WALK_MAX];
    (void)worker;
    for (int k = 0; k < q->n; k++) offset[k] = q->w->step[k] ? first : 0;
    q->fn(q->arg, offset, first, end - first);
}
static void rows(void *arg, int64_t first, int64_t end, int worker) {
    const walk_arg *q = arg;
    int64_t offset[FG_WALK_MAX];
    (void)worker;
    for (int64_t i = first; i < end; i++) {
        fg_walk_at(q->w, q->n, i, offset);
        q->fn(q->arg, offset, i * q->w->inner, q->w->inner);
    }
}

void fg_walk_run(fg_context *ctx, const fg_walk *w, int n, fg_walk_fn fn, void *arg) {
    walk_arg q = { w, n, fn, arg };
    if (w->outer == 0 || w->inner == 0) return;
    if (w->outer == 1) {
        fg_range_light(ctx, w->inner, 1, flat, &q);
    } else {
        fg_range_light(ctx, w->outer, w->inner, rows, &q);
    }
}
