/* scalar_optim.c: optimizer updates in one pass over a parameter's elements, the reference.
 *
 * Formulas are those of PyTorch (torch.optim Adam, AdamW, RMSprop, SGD), with Keras' place for epsilon as an option of
 * RMSprop. Constants that combine hyper-parameters are computed in double by optim_consts.h and rounded once, so
 * that every ISA multiplies by the same numbers and gives the same bits. */
#include "kernel_parts.h"
#include "optim_consts.h"
#include "real_math.h"

static void adam(fg_real *p, const fg_real *g, fg_real *m, fg_real *v, size_t n, const fg_adam_args *a) {
    adam_consts k = adam_prepare(a);
    for (size_t i = 0; i < n; i++) {
        fg_real w = p[i] * k.keep, d = g[i] + k.wd * w;
        fg_real mi = k.b1 * m[i] + k.c1 * d, vi = k.b2 * v[i] + (k.c2 * d) * d;
        m[i] = mi;
        v[i] = vi;
        p[i] = w - (k.step * mi) / (r_sqrt(vi) * k.root + k.eps);
    }
}

static void rmsprop(fg_real *p, const fg_real *g, fg_real *v, fg_real *buf, size_t n, const fg_rmsprop_args *a) {
    fg_real lr = (fg_real)a->lr, b = (fg_real)a->alpha, c = (fg_real)(1 - a->alpha), wd = (fg_real)a->weight_decay;
    fg_real inside = a->eps_inside ? (fg_real)a->eps : 0, outside = a->eps_inside ? 0 : (fg_real)a->eps;
    fg_real mom = (fg_real)a->momentum;
    for (size_t i = 0; i < n; i++) {
        fg_real w = p[i], d = g[i] + wd * w, vi = b * v[i] + (c * d) * d;
        fg_real denom = r_sqrt(vi + inside) + outside;
        v[i] = vi;
        if (buf) {
            buf[i] = mom * buf[i] + d / denom;
            p[i] = w - lr * buf[i];
        } else p[i] = w - (lr * d) / denom;
    }
}

static void sgd(fg_real *p, const fg_real *g, fg_real *buf, size_t n, const fg_sgd_args *a) {
    fg_real lr = (fg_real)a->lr, wd = (fg_real)a->weight_decay, mom = (fg_real)a->momentum;
    fg_real damp = (fg_real)(1 - a->dampening);
    for (size_t i = 0; i < n; i++) {
        fg_real w = p[i], d = g[i] + wd * w;
        if (buf) {
            buf[i] = a->first ? d : mom * buf[i] + damp * d;
            d = a->nesterov ? d + mom * buf[i] : buf[i];
        }
        p[i] = w - lr * d;
    }
}

static void ema(fg_real *e, const fg_real *p, size_t n, fg_real decay) {
    fg_real c = 1 - decay;
    for (size_t i = 0; i < n; i++) e[i] = decay * e[i] + c * p[i];
}

void fg_kernels_scalar_optim(fg_kernels *k) {
    k->adam = adam;
    k->rmsprop = rmsprop;
    k->sgd = sgd;
    k->ema = ema;
}
