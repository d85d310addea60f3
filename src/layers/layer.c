/* layer.c: making, walking and running layers.
 *
 * A layer is a definition (layers.def), a private copy of its options, and at most FG_LAYER_TENSORS parameters and buffers.
 * Sequential is a layer with children and no definition; it fuses an activation into the linear, conv or norm layer before
 * it, which saves one pass over memory forward and one backward. Layers are reference-counted; a parameter is a leaf tensor
 * that lives at least as long as its layer. */
#include "layer.h"

#include <stdio.h>
#include <string.h>

const fg_layer_def *const fg_layer_table[] = {
#define FG_LAYER(kind) &fg_layer_def_##kind,
#include "layers.def"
#undef FG_LAYER
    NULL
};

const fg_layer_def *fg_layer_find(const char *kind) {
    for (int i = 0; fg_layer_table[i]; i++)
        if (!strcmp(fg_layer_table[i]->kind, kind)) return fg_layer_table[i];
    return NULL;
}

fg_layer *fg_layer_keep(fg_layer *l) {
    if (l) l->refs++;
    return l;
}

void fg_layer_release(fg_layer *l) {
    if (!l || --l->refs) return;
    for (int i = 0; i < l->n_params; i++) fg_release(l->param[i]);
    for (int i = 0; i < l->n_buffers; i++) fg_release(l->buffer[i]);
    for (int i = 0; i < l->n_children; i++) fg_layer_release(l->child[i]);
    if (l->child) fg_free(l->ctx, l->child, (size_t)l->n_children * sizeof *l->child);
    if (l->opts) fg_free(l->ctx, l->opts, l->def->opts_size);
    fg_free(l->ctx, l, sizeof *l);
}

fg_layer *fg_layer_new(fg_context *ctx, const char *kind, const void *opts) {
    const fg_layer_def *def = fg_layer_find(kind);
    if (!def) {
        fg_error(ctx, FG_EINVAL, "layer '%s' is unknown", kind);
        return NULL;
    }
    if (!fg_enter(ctx)) return NULL;
    fg_layer *l = fg_calloc(ctx, sizeof *l);
    if (l) {
        l->refs = 1;
        l->ctx = ctx;
        l->def = def;
        l->training = true;
        bool ok = true;
        if (def->opts_size) {
            ok = (l->opts = fg_calloc(ctx, def->opts_size)) != NULL;
            if (ok && opts) memcpy(l->opts, opts, def->opts_size);
        }
        if (ok && def->build) ok = def->build(l) == FG_OK;
        if (ok && def->reset) ok = def->reset(l) == FG_OK;
        if (!ok) {
            fg_layer_release(l);
            l = NULL;
        }
    }
    fg_leave(ctx);
    return l;
}

fg_layer *fg_sequential_new(fg_context *ctx, fg_layer *const *layers, int n) {
    fg_layer *l = NULL;
    bool ok = true;
    for (int i = 0; i < n && ok; i++) {
        if (!layers[i]) {
            ok = false; /* its own failure has left the message */
            if (fg_last_status(ctx) == FG_OK) fg_error(ctx, FG_EINVAL, "Sequential: layer %d is NULL", i + ctx->index_base);
        } else if (layers[i]->ctx != ctx) {
            ok = false;
            fg_error(ctx, FG_EINVAL, "Sequential: layer %d belongs to another context", i + ctx->index_base);
        }
    }
    if (ok && fg_enter(ctx)) {
        l = fg_calloc(ctx, sizeof *l);
        if (l && n > 0 && !(l->child = fg_alloc(ctx, (size_t)n * sizeof *l->child))) {
            fg_free(ctx, l, sizeof *l);
            l = NULL;
        }
        if (l) {
            l->refs = 1;
            l->ctx = ctx;
            l->training = true;
            l->n_children = n;
            if (n) memcpy(l->child, layers, (size_t)n * sizeof *l->child);
        }
        fg_leave(ctx);
    }
    if (!l)
        for (int i = 0; i < n; i++) fg_layer_release(layers[i]);
    return l;
}

const char *fg_layer_kind(const fg_layer *l) { return l->def ? l->def->kind : "Sequential"; }
int fg_layer_children(const fg_layer *l) { return l->n_children; }
fg_layer *fg_layer_child(const fg_layer *l, int i) { return i < 0 || i >= l->n_children ? NULL : l->child[i]; }

/* ---------------------------------------------------------------- forward */
static fg_tensor *fail_at(fg_scope *s, const fg_layer *seq, int i) {
    char msg[FG_ERROR_CAP];
    snprintf(msg, sizeof msg, "%s", s->err);
    snprintf(s->err, sizeof s->err, "layer %d (%s) of %d: %.400s", i + 1, fg_layer_kind(seq->child[i]), seq->n_children, msg);
    fg_error(s->ctx, s->status, "%s", s->err);
    return NULL;
}

static double act_slope(const fg_layer *l) {
    double slope = l->opts ? ((const fg_act_layer *)l->opts)->slope : 0;
    return l->def->is_act == FG_ACT_LEAKY_RELU && slope == 0 ? 0.01 : slope;
}

fg_tensor *fg_layer_forward_act(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope) {
    if (!s || s->status != FG_OK) return NULL;
    if (!x) return fg_scope_error(s, FG_EINVAL, "%s: the input is NULL", fg_layer_kind(l));
    return l->def->forward(s, l, x, act, slope);
}

fg_tensor *fg_layer_forward(fg_scope *s, fg_layer *l, fg_tensor *x) {
    if (!s || s->status != FG_OK) return NULL;
    if (l->def) return fg_layer_forward_act(s, l, x, FG_ACT_NONE, 0);
    for (int i = 0; i < l->n_children; i++) {
        fg_layer *c = l->child[i], *next = i + 1 < l->n_children ? l->child[i + 1] : NULL;
        int at = i;
        if (!c->def) {
            x = fg_layer_forward(s, c, x);
        } else if (c->def->fuses && next && next->def && next->def->is_act != FG_ACT_NONE) {
            x = fg_layer_forward_act(s, c, x, next->def->is_act, act_slope(next));
            i++;
        } else {
            x = fg_layer_forward_act(s, c, x, FG_ACT_NONE, 0);
        }
        if (!x) return s->status != FG_OK ? fail_at(s, l, at) : NULL;
    }
    return x;
}

/* ---------------------------------------------------------------- modes, parameters */
void fg_layer_train(fg_layer *l, bool on) {
    l->training = on;
    for (int i = 0; i < l->n_children; i++) fg_layer_train(l->child[i], on);
}
bool fg_layer_training(const fg_layer *l) { return l->training; }

fg_status fg_layer_freeze(fg_layer *l, bool on) {
    for (int i = 0; i < l->n_params; i++) {
        fg_status st = fg_tensor_set_requires_grad(l->param[i], !on);
        if (st != FG_OK) return st;
    }
    for (int i = 0; i < l->n_children; i++) {
        fg_status st = fg_layer_freeze(l->child[i], on);
        if (st != FG_OK) return st;
    }
    return FG_OK;
}

/* Walks parameters (or buffers) in order; *i counts down to the one wanted. prefix grows "1.2." on the way. */
static bool find(const fg_layer *l, int *i, bool buffers, fg_tensor **t, char *name, size_t cap, const char *prefix) {
    int n = buffers ? l->n_buffers : l->n_params;
    if (*i < n) {
        *t = buffers ? l->buffer[*i] : l->param[*i];
        if (name) snprintf(name, cap, "%s%s", prefix, buffers ? l->buffer_name[*i] : l->param_name[*i]);
        return true;
    }
    *i -= n;
    for (int c = 0; c < l->n_children; c++) {
        char p[96];
        snprintf(p, sizeof p, "%s%d.", prefix, c + 1);
        if (find(l->child[c], i, buffers, t, name, cap, p)) return true;
    }
    return false;
}
bool fg_layer_param(const fg_layer *l, int i, fg_tensor **t, char *name, size_t cap) {
    return i >= 0 && find(l, &i, false, t, name, cap, "");
}
bool fg_layer_buffer(const fg_layer *l, int i, fg_tensor **t, char *name, size_t cap) {
    return i >= 0 && find(l, &i, true, t, name, cap, "");
}
int64_t fg_layer_param_count(const fg_layer *l) {
    int64_t n = 0;
    fg_tensor *t;
    for (int i = 0; fg_layer_param(l, i, &t, NULL, 0); i++) n += fg_tensor_numel(t);
    return n;
}
