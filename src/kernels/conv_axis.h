/* conv_axis.h: how output pixels, source pixels and taps of one direction line up along one axis; shared by the kernels that
 * sum taps directly (conv_body.h draws it). FWD is one phase of step `stride`; DX with stride s is s phases of step 1, each
 * with its own taps. Output pixel out0 + q*out_step sums, over j in 0..taps, source pixel q*step + shift + j times kernel row
 * tap0 + j*tap_step. */
#ifndef FG_CONV_AXIS_H
#define FG_CONV_AXIS_H

#include "integers.h"
#include "kernels.h"

typedef struct axis {
    int64_t count, step, shift, taps, limit; /* limit: extent of the source */
    int64_t out0, out_step, tap0, tap_step;
} axis;

typedef struct view { /* the direction's tensors: source and output */
    int64_t sh, sw, sc, oh, ow, oc, phases_h, phases_w;
} view;

static view view_of(const fg_conv_geom *g, fg_conv_dir dir) {
    if (dir == FG_CONV_FWD) return (view){ g->h, g->w, g->ci, g->oh, g->ow, g->co, 1, 1 };
    return (view){ g->oh, g->ow, g->co, g->h, g->w, g->ci, g->sh, g->sw };
}

static axis axis_of(fg_conv_dir dir, int64_t kernel, int64_t stride, int64_t pad, int64_t in, int64_t out, int64_t phase) {
    if (dir == FG_CONV_FWD) return (axis){ out, stride, -pad, kernel, in, 0, 1, 0, 1 };
    int64_t first = ((phase - pad) % stride + stride) % stride; /* first input pixel with (pixel + pad) % stride == phase */
    int64_t taps = phase < kernel ? ceil_div(kernel - phase, stride) : 0;
    return (axis){ .count = first < in ? ceil_div(in - first, stride) : 0,
                   .step = 1,
                   .shift = (first + pad - phase) / stride - (taps - 1),
                   .taps = taps,
                   .limit = out,
                   .out0 = first,
                   .out_step = stride,
                   .tap0 = phase + stride * (taps - 1),
                   .tap_step = -stride };
}
static axis axis_h(const fg_conv_plan *p, int64_t phase) {
    return axis_of(p->dir, p->g.kh, p->g.sh, p->g.pt, p->g.h, p->g.oh, phase);
}
static axis axis_w(const fg_conv_plan *p, int64_t phase) {
    return axis_of(p->dir, p->g.kw, p->g.sw, p->g.pl, p->g.w, p->g.ow, phase);
}

/* taps lo..hi of pixel q that fall inside the source */
static void clip(const axis *a, int64_t q, int64_t *lo, int64_t *hi) {
    int64_t s = q * a->step + a->shift;
    *lo = min64(a->taps, max64(0, -s));
    *hi = max64(*lo, min64(a->taps, a->limit - s));
}

#endif
