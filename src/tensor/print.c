/* print.c: tensors as text, as PyTorch prints them, with the older Torch's footer:
 *
 *     [[ 0.5000, -1.0000],
 *      [ 2.0000,  0.2500]]
 *     [FloatTensor of size 2x2]
 *
 * Above 1000 elements each axis longer than 6 shows its first and last three, so that the cost is that of what is
 * printed. One format serves all numbers shown: integers ("3."), fixed with four decimals, or scientific when the
 * magnitudes need it, right-aligned. Rows wrap at 80 columns. The writer counts what it cannot store, like snprintf. */
#include "tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { EDGE = 3, THRESHOLD = 1000, LINE = 80, NUMBER_CAP = 48 };

typedef struct writer {
    char *buf;
    size_t cap, len;
} writer;

static void put_text(writer *w, const char *text) {
    for (; *text; text++, w->len++)
        if (w->len + 1 < w->cap) w->buf[w->len] = *text;
}

static void put_spaces(writer *w, int n) {
    while (n-- > 0) put_text(w, " ");
}

static void end_text(writer *w) {
    if (w->cap) w->buf[w->len < w->cap ? w->len : w->cap - 1] = 0;
}

size_t fg_shape_print(const fg_shape *sh, char *buf, size_t cap) {
    writer w = { buf, cap, 0 };
    put_text(&w, "[");
    for (int i = 0; i < sh->ndim && i < FG_MAX_RANK; i++) {
        char n[24];
        snprintf(n, sizeof n, "%s%lld", i ? "," : "", (long long)sh->dim[i]);
        put_text(&w, n);
    }
    put_text(&w, "]");
    end_text(&w);
    return w.len;
}

typedef enum style { WHOLE, FLOAT_WHOLE, FIXED, SCIENTIFIC } style;

typedef struct printer {
    const fg_tensor *t;
    bool summary;
    style style;
    int width;
    double least, most; /* of the finite magnitudes shown, 0 left out */
    bool whole, any;
    writer *w;
} printer;

static void format(const printer *p, double v, char *out) {
    if (v != v) strcpy(out, "nan");
    else if (isinf(v)) strcpy(out, v < 0 ? "-inf" : "inf");
    else if (p->style == WHOLE) snprintf(out, NUMBER_CAP, "%.0f", v);
    else if (p->style == FLOAT_WHOLE) snprintf(out, NUMBER_CAP, "%.0f.", v);
    else if (p->style == FIXED) snprintf(out, NUMBER_CAP, "%.4f", v);
    else snprintf(out, NUMBER_CAP, "%.4e", v);
    for (char *c = out; *c; c++) /* the host's locale may have a decimal comma */
        if (*c == ',') *c = '.';
}

static void see_value(printer *p, double v) {
    if (!isfinite(v)) return;
    double m = fabs(v);
    if (v != floor(v)) p->whole = false;
    if (m == 0) return;
    if (!p->any || m < p->least) p->least = m;
    if (!p->any || m > p->most) p->most = m;
    p->any = true;
}

static void see_width(printer *p, double v) {
    char text[NUMBER_CAP];
    format(p, v, text);
    int len = (int)strlen(text);
    if (len > p->width) p->width = len;
}

/* Calls see on every element that will be shown. */
static void visit(printer *p, int axis, int64_t first, void (*see)(printer *, double)) {
    const fg_shape *sh = &p->t->shape;
    if (axis == sh->ndim) {
        see(p, fg_tensor_at(p->t, first));
        return;
    }
    int64_t n = sh->dim[axis];
    bool cut = p->summary && n > 2 * EDGE;
    for (int64_t i = 0; i < n; i++) {
        if (cut && i == EDGE) i = n - EDGE;
        visit(p, axis + 1, first * n + i, see);
    }
}

static void row(printer *p, int axis, int64_t first) {
    int64_t n = p->t->shape.dim[axis];
    bool cut = p->summary && n > 2 * EDGE;
    int indent = axis + 1, column = indent;
    put_text(p->w, "[");
    for (int64_t i = 0; i < n; i++) {
        char text[NUMBER_CAP];
        if (cut && i == EDGE) {
            put_text(p->w, ", ...");
            column += 5;
            i = n - EDGE;
        }
        format(p, fg_tensor_at(p->t, first * n + i), text);
        if (i > 0 && column + 2 + p->width + 1 > LINE) {
            put_text(p->w, ",\n");
            put_spaces(p->w, indent);
            column = indent;
        } else if (i > 0) {
            put_text(p->w, ", ");
            column += 2;
        }
        put_spaces(p->w, p->width - (int)strlen(text));
        put_text(p->w, text);
        column += p->width;
    }
    put_text(p->w, "]");
}

static void block(printer *p, int axis, int64_t first) {
    const fg_shape *sh = &p->t->shape;
    if (axis >= FG_MAX_RANK) return; /* the compiler cannot know that a rank has a bound */
    if (axis == sh->ndim - 1) {
        row(p, axis, first);
        return;
    }
    int64_t n = sh->dim[axis];
    bool cut = p->summary && n > 2 * EDGE;
    put_text(p->w, "[");
    for (int64_t i = 0; i < n; i++) {
        if (i) {
            put_text(p->w, ",");
            for (int k = axis; k < sh->ndim - 1; k++) put_text(p->w, "\n"); /* an empty line between matrices */
            put_spaces(p->w, axis + 1);
        }
        if (cut && i == EDGE) {
            put_text(p->w, "...,");
            for (int k = axis; k < sh->ndim - 1; k++) put_text(p->w, "\n");
            put_spaces(p->w, axis + 1);
            i = n - EDGE;
        }
        block(p, axis + 1, first * n + i);
    }
    put_text(p->w, "]");
}

static void footer(const fg_tensor *t, writer *w) {
    static const char *const names[] = { "FloatTensor", "BFloat16Tensor", "ByteTensor", "IntTensor" };
    put_text(w, "\n[");
    put_text(w, names[t->dtype]);
    put_text(w, t->shape.ndim ? " of size " : " scalar");
    for (int i = 0; i < t->shape.ndim; i++) {
        char n[24];
        snprintf(n, sizeof n, "%s%lld", i ? "x" : "", (long long)t->shape.dim[i]);
        put_text(w, n);
    }
    put_text(w, "]");
}

size_t fg_tensor_print(const fg_tensor *t, char *buf, size_t cap) {
    writer w = { buf, cap, 0 };
    if (!t || (const void *)t == (const void *)FG_NONE) {
        put_text(&w, "none");
        end_text(&w);
        return w.len;
    }
    if (t->numel == 0) {
        put_text(&w, "[]");
    } else {
        printer p = { .t = t, .summary = t->numel > THRESHOLD, .whole = true, .w = &w };
        visit(&p, 0, 0, see_value);
        bool real = t->dtype == FG_F32 || t->dtype == FG_BF16;
        if (!real) p.style = WHOLE;
        else if (p.whole) p.style = p.most > 1e8 ? SCIENTIFIC : FLOAT_WHOLE;
        else p.style = p.most > 1e8 || p.least < 1e-4 || p.most / p.least > 1000 ? SCIENTIFIC : FIXED;
        visit(&p, 0, 0, see_width);
        if (t->shape.ndim == 0) {
            char text[NUMBER_CAP];
            format(&p, fg_tensor_at(t, 0), text);
            put_text(&w, text);
        } else {
            block(&p, 0, 0);
        }
    }
    footer(t, &w);
    end_text(&w);
    return w.len;
}
