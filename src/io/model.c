/* model.c: model files for C hosts: the weights of a layer and, in the metadata, its architecture as JSON.
 *
 * The format is the one that Lua's G:save writes and nn.load reads: "format" is "forger-model-1"; "architecture" is
 * {"class":"Sequential","children":[...]} or {"class":"Conv2d","config":{...}} with the Lua names of the kind's
 * attributes; tensors are named as in the state dict ("1.weight"). Options are written and read through the attribute
 * tables of layers.def, so a new layer needs nothing here. A file is untrusted: it can be refused, never crash. */
#include "json.h"
#include "layer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT    "forger-model-1"
#define MAX_DEPTH 32

/* ---------------------------------------------------------------- writing */
static void put_ints(fg_json_writer *w, const int *v, int n) {
    bool equal = true;
    for (int i = 1; i < n; i++) equal = equal && v[i] == v[0];
    if (equal) {
        fg_json_put_int(w, v[0]);
        return;
    }
    fg_json_open_array(w);
    for (int i = 0; i < n; i++) fg_json_put_int(w, v[i]);
    fg_json_close(w);
}
static void put_attr(fg_json_writer *w, const fg_attr *a, const void *opts) {
    const char *p = (const char *)opts + a->offset;
    fg_json_put_key(w, a->name);
    switch ((fg_attr_kind)a->kind) {
    case FG_A_REAL: fg_json_put_number(w, *(const double *)(const void *)p); break;
    case FG_A_BOOL: fg_json_put_bool(w, *(const bool *)p); break;
    case FG_A_NOT: fg_json_put_bool(w, !*(const bool *)p); break;
    case FG_A_INT2: put_ints(w, (const int *)(const void *)p, 2); break;
    case FG_A_PAD:
        if (a->offset2 && *((const bool *)opts + a->offset2)) fg_json_put_string(w, "same");
        else put_ints(w, (const int *)(const void *)p, 4);
        break;
    case FG_A_SHAPE: {
        const fg_shape *sh = (const fg_shape *)(const void *)p;
        fg_json_open_array(w);
        for (int i = 0; i < sh->ndim; i++) fg_json_put_int(w, sh->dim[i]);
        fg_json_close(w);
        break;
    }
    default: fg_json_put_int(w, *(const int *)(const void *)p); break;
    }
}
static void put_layer(fg_json_writer *w, const fg_layer *l) {
    fg_json_open_object(w);
    fg_json_put_key(w, "class");
    fg_json_put_string(w, fg_layer_kind(l));
    if (l->def) {
        fg_json_put_key(w, "config");
        fg_json_open_object(w);
        for (const fg_attr *a = l->def->attrs; a && a->name; a++) put_attr(w, a, l->opts);
        fg_json_close(w);
    } else {
        fg_json_put_key(w, "children");
        fg_json_open_array(w);
        for (int i = 0; i < l->n_children; i++) put_layer(w, l->child[i]);
        fg_json_close(w);
    }
    fg_json_close(w);
}

typedef struct named {
    char name[96];
    fg_tensor *t;
} named;
/* Parameters, then buffers; returns how many there are, at most cap of them in list. */
static int state_of(const fg_layer *l, named *list, int cap) {
    int n = 0;
    named one;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; pass ? fg_layer_buffer(l, i, &one.t, one.name, sizeof one.name)
                             : fg_layer_param(l, i, &one.t, one.name, sizeof one.name);
             i++, n++)
            if (n < cap) list[n] = one;
    return n;
}

fg_status fg_model_save(const fg_layer *l, const char *path, const fg_meta *meta, int n_meta) {
    fg_context *ctx = l->ctx;
    char *text = NULL;
    size_t size, bytes = 0;
    fg_json_writer w;
    fg_json_begin(&w, ctx, FG_JSON_SORTED);
    put_layer(&w, l);
    fg_status st = fg_json_finish(&w, &text, &size, &bytes);
    if (st != FG_OK) return st;
    int n = state_of(l, NULL, 0), total = n_meta + 2;
    size_t list_bytes = (size_t)n * (sizeof(named) + sizeof(char *) + sizeof(fg_tensor *)) + (size_t)total * sizeof(fg_meta);
    char *block = fg_alloc(ctx, list_bytes);
    if (block) {
        named *list = (named *)(void *)block;
        const char **names = (const char **)(void *)(list + n);
        fg_tensor **tensors = (fg_tensor **)(void *)(names + n);
        fg_meta *all = (fg_meta *)(void *)(tensors + n);
        state_of(l, list, n);
        for (int i = 0; i < n; i++) names[i] = list[i].name, tensors[i] = list[i].t;
        for (int i = 0; i < n_meta; i++) all[i] = meta[i];
        all[n_meta] = (fg_meta){ "format", FORMAT };
        all[n_meta + 1] = (fg_meta){ "architecture", text };
        st = fg_tensors_save(ctx, path, names, tensors, n, all, total);
        fg_free(ctx, block, list_bytes);
    } else {
        st = FG_ENOMEM;
    }
    fg_free(ctx, text, bytes);
    return st;
}

/* ---------------------------------------------------------------- reading */
typedef struct reader {
    fg_context *ctx;
    const char *path;
} reader;

static fg_layer *damaged(const reader *r, const char *what, const char *name) {
    fg_error(r->ctx, FG_EFORMAT, "%s: the architecture is damaged: %s '%s'", r->path, what, name);
    return NULL;
}
/* A number (for all) or a list of 2 (h, w: for four, doubled) or of n whole numbers. */
static bool get_ints(const fg_json *v, int *out, int n) {
    int64_t x;
    if (fg_json_int(v, -(1 << 30), 1 << 30, &x)) {
        for (int i = 0; i < n; i++) out[i] = (int)x;
        return true;
    }
    if (!fg_json_is(v, FG_JSON_ARRAY) || (v->n != (uint32_t)n && v->n != 2)) return false;
    fg_json_iter it = fg_json_each(v);
    const fg_json *key, *e;
    for (int i = 0; fg_json_step(&it, &key, &e); i++) {
        if (!fg_json_int(e, -(1 << 30), 1 << 30, &x)) return false;
        if (v->n == (uint32_t)n) out[i] = (int)x;
        else out[2 * i] = out[2 * i + 1] = (int)x;
    }
    return true;
}
static bool get_attr(const fg_attr *a, const fg_json *v, void *opts) {
    char *p = (char *)opts + a->offset;
    int64_t x;
    switch ((fg_attr_kind)a->kind) {
    case FG_A_REAL:
        if (!fg_json_is(v, FG_JSON_NUMBER)) return false;
        *(double *)(void *)p = v->u.number;
        return true;
    case FG_A_BOOL:
    case FG_A_NOT:
        if (!fg_json_is(v, FG_JSON_BOOL)) return false;
        *(bool *)p = v->truth != (a->kind == FG_A_NOT);
        return true;
    case FG_A_INT2: return get_ints(v, (int *)(void *)p, 2);
    case FG_A_PAD:
        if (a->offset2 && fg_json_equals(v, "same")) {
            *((bool *)opts + a->offset2) = true;
            return true;
        }
        return get_ints(v, (int *)(void *)p, 4);
    case FG_A_SHAPE: {
        fg_shape *sh = (fg_shape *)(void *)p;
        const fg_json *key, *e;
        if (!fg_json_is(v, FG_JSON_ARRAY) || v->n > FG_MAX_RANK) return false;
        sh->ndim = (int)v->n;
        fg_json_iter it = fg_json_each(v);
        for (int i = 0; fg_json_step(&it, &key, &e); i++)
            if (!fg_json_int(e, -1, INT32_MAX, &sh->dim[i])) return false;
        return true;
    }
    default:
        if (!fg_json_int(v, INT32_MIN, INT32_MAX, &x)) return false;
        *(int *)(void *)p = (int)x;
        return true;
    }
}

/* Weights are only made after the file's own tensors are known to be of this size: a small file must not ask for much. */
static fg_layer *build(const reader *r, const fg_json *node, int depth) {
    const fg_json *class = fg_json_get(node, "class"), *key, *value;
    if (!fg_json_is(class, FG_JSON_STRING) || depth > MAX_DEPTH)
        return damaged(r, "no class at depth", depth > MAX_DEPTH ? "32" : "?");
    if (fg_json_equals(class, "Sequential")) {
        const fg_json *children = fg_json_get(node, "children");
        if (!fg_json_is(children, FG_JSON_ARRAY)) return damaged(r, "no children in", "Sequential");
        size_t bytes = (children->n + 1) * sizeof(fg_layer *);
        fg_layer **list = fg_alloc(r->ctx, bytes), *l = NULL;
        if (!list) return NULL;
        int n = 0;
        fg_json_iter it = fg_json_each(children);
        bool ok = true;
        while (ok && fg_json_step(&it, &key, &value)) {
            list[n] = build(r, value, depth + 1);
            ok = list[n] != NULL;
            n += ok;
        }
        if (ok) l = fg_sequential_new(r->ctx, list, n);
        else
            for (int i = 0; i < n; i++) fg_layer_release(list[i]);
        fg_free(r->ctx, list, bytes);
        return l;
    }
    const fg_layer_def *def = fg_layer_find(class->u.text);
    if (!def) {
        fg_error(r->ctx, FG_EUNSUPPORTED, "%s: class '%.60s' is not a built-in layer", r->path, class->u.text);
        return NULL;
    }
    union {
        max_align_t align;
        char bytes[FG_OPTS_MAX];
    } opts;
    memset(&opts, 0, sizeof opts);
    fg_json_iter it = fg_json_each(fg_json_get(node, "config"));
    while (fg_json_step(&it, &key, &value)) {
        const fg_attr *a = def->attrs;
        while (a && a->name && !fg_json_equals(key, a->name)) a++;
        if (!a || !a->name || !get_attr(a, value, opts.bytes)) return damaged(r, "bad option", key->u.text);
    }
    return fg_layer_new(r->ctx, def->kind, opts.bytes);
}

/* Numbers that the weights of the architecture would take, from its options alone; < 0 when absurd. Checked against what
 * the file holds before any weight is made. */
static double count(const fg_json *node, int depth) {
    const fg_json *key, *value, *config = fg_json_get(node, "config");
    double n = 0, product = 1;
    if (depth > MAX_DEPTH) return -1;
    fg_json_iter it = fg_json_each(fg_json_get(node, "children"));
    while (fg_json_step(&it, &key, &value)) {
        double c = count(value, depth + 1);
        if (c < 0) return c;
        n += c;
    }
    static const char *const factors[] = { "in_features",  "out_features",   "in_channels",  "out_channels",
                                           "num_features", "num_embeddings", "embedding_dim" };
    bool any = false;
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        const fg_json *f = fg_json_get(config, factors[i]);
        if (!fg_json_is(f, FG_JSON_NUMBER)) continue;
        product *= fabs(f->u.number);
        any = true;
    }
    int k[2];
    if (any && fg_json_get(config, "in_channels") && get_ints(fg_json_get(config, "kernel_size"), k, 2))
        product *= fabs((double)k[0] * k[1]);
    return n + (any ? product : 0);
}

fg_layer *fg_model_load(fg_context *ctx, const char *path) {
    fg_scope *s = fg_scope_open(ctx);
    if (!s) return NULL;
    fg_tensor_file *file = NULL;
    fg_json_doc *doc = NULL;
    fg_layer *l = NULL;
    reader r = { ctx, path };
    bool ok = fg_tensors_load(s, path, &file) == FG_OK;
    if (ok) {
        const char *format = fg_tensor_file_meta(file, "format"), *text = fg_tensor_file_meta(file, "architecture");
        ok = format && !strcmp(format, FORMAT) && text;
        if (!ok) fg_error(ctx, FG_EFORMAT, "%s: weights without an architecture (no \"" FORMAT "\" metadata)", path);
        ok = ok && fg_json_parse(ctx, text, strlen(text), path, &doc) == FG_OK;
    }
    if (ok) {
        double held = 0, want = count(doc->root, 0);
        for (int i = 0; i < file->n; i++) held += (double)fg_tensor_numel(file->tensors[i]);
        ok = want >= 0 && want <= held;
        if (!ok) fg_error(ctx, FG_EFORMAT, "%s: the architecture has about %.0f weights, the file %.0f", path, want, held);
    }
    fg_stream_state init = fg_stream_get(ctx, FG_STREAM_INIT); /* loading draws no random numbers */
    if (ok) ok = (l = build(&r, doc->root, 0)) != NULL;
    fg_stream_set(ctx, FG_STREAM_INIT, init);
    bool grad = fg_set_grad_enabled(ctx, false);
    for (int pass = 0, used = 0; ok && pass < 2; pass++) {
        named one;
        for (int i = 0; ok && (pass ? fg_layer_buffer(l, i, &one.t, one.name, sizeof one.name)
                                    : fg_layer_param(l, i, &one.t, one.name, sizeof one.name));
             i++, used++) {
            fg_tensor *from = fg_tensor_file_get(file, one.name);
            if (!from) {
                fg_error(ctx, FG_EFORMAT, "%s: tensor '%s' is missing", path, one.name);
                ok = false;
            } else if (!fg_shape_equal(&from->shape, &one.t->shape)) {
                fg_error(ctx, FG_EFORMAT, "%s: tensor '%s' is %s, the layer has %s", path, one.name, fg_str(&from->shape),
                         fg_str(&one.t->shape));
                ok = false;
            } else {
                ok = fg_tensor_copy(one.t, from) == FG_OK;
            }
        }
        if (ok && pass && used != file->n) {
            fg_error(ctx, FG_EFORMAT, "%s: %d tensors, the architecture uses %d", path, file->n, used);
            ok = false;
        }
    }
    fg_set_grad_enabled(ctx, grad);
    fg_json_free(ctx, doc);
    fg_tensor_file_free(ctx, file);
    if (!ok) {
        fg_layer_release(l);
        l = NULL;
    }
    char msg[FG_ERROR_CAP];
    fg_status st = fg_last_status(ctx);
    snprintf(msg, sizeof msg, "%s", fg_last_error(ctx));
    fg_scope_close(s);
    if (!l) fg_error(ctx, st, "%s", msg);
    return l;
}
