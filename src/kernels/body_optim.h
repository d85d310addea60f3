/* body_optim.h: optimizer updates over simd.h, written once and included by elementwise_<isa>.c. The same operations in
 * the same order as scalar_optim.c (division and square root are correctly rounded), hence the same bits. */
#include "kernels.h"
#include "optim_consts.h"
#include "simd.h"

static void adam(float *p, const float *g, float *m, float *v, size_t n, const fg_adam_args *a) {
    adam_consts c = adam_prepare(a);
    vf b1 = v_set(c.b1), c1 = v_set(c.c1), b2 = v_set(c.b2), c2 = v_set(c.c2), step = v_set(c.step), root = v_set(c.root);
    vf eps = v_set(c.eps), keep = v_set(c.keep), wd = v_set(c.wd);
    for (size_t i = 0; i < n; i += W) {
        size_t r = n - i;
        vf w = v_mul(v_loadw(p + i, r), keep), d = v_add(v_loadw(g + i, r), v_mul(wd, w));
        vf nm = v_add(v_mul(b1, v_loadw(m + i, r)), v_mul(c1, d));
        vf nv = v_add(v_mul(b2, v_loadw(v + i, r)), v_mul(v_mul(c2, d), d));
        v_storew(m + i, nm, r);
        v_storew(v + i, nv, r);
        v_storew(p + i, v_sub(w, v_div(v_mul(step, nm), v_add(v_mul(v_sqrt(nv), root), eps))), r);
    }
}

static void rmsprop(float *p, const float *g, float *v, float *buf, size_t n, const fg_rmsprop_args *a) {
    vf lr = v_set((float)a->lr), b = v_set((float)a->alpha), c = v_set((float)(1 - a->alpha));
    vf inside = v_set(a->eps_inside ? (float)a->eps : 0), outside = v_set(a->eps_inside ? 0 : (float)a->eps);
    vf mom = v_set((float)a->momentum), wd = v_set((float)a->weight_decay);
    for (size_t i = 0; i < n; i += W) {
        size_t r = n - i;
        vf w = v_loadw(p + i, r), d = v_add(v_loadw(g + i, r), v_mul(wd, w));
        vf nv = v_add(v_mul(b, v_loadw(v + i, r)), v_mul(v_mul(c, d), d));
        vf denom = v_add(v_sqrt(v_add(nv, inside)), outside);
        v_storew(v + i, nv, r);
        if (buf) {
            vf nb = v_add(v_mul(mom, v_loadw(buf + i, r)), v_div(d, denom));
            v_storew(buf + i, nb, r);
            v_storew(p + i, v_sub(w, v_mul(lr, nb)), r);
        } else v_storew(p + i, v_sub(w, v_div(v_mul(lr, d), denom)), r);
    }
}

static void sgd(float *p, const float *g, float *buf, size_t n, const fg_sgd_args *a) {
    vf lr = v_set((float)a->lr), wd = v_set((float)a->weight_decay), mom = v_set((float)a->momentum);
    vf damp = v_set((float)(1 - a->dampening));
    for (size_t i = 0; i < n; i += W) {
        size_t r = n - i;
        vf w = v_loadw(p + i, r), d = v_add(v_loadw(g + i, r), v_mul(wd, w));
        if (buf) {
            vf nb = a->first ? d : v_add(v_mul(mom, v_loadw(buf + i, r)), v_mul(damp, d));
            v_storew(buf + i, nb, r);
            d = a->nesterov ? v_add(d, v_mul(mom, nb)) : nb;
        }
        v_storew(p + i, v_sub(w, v_mul(lr, d)), r);
    }
}

static void ema(float *e, const float *p, size_t n, float decay) {
    vf d = v_set(decay), c = v_set(1 - decay);
    for (size_t i = 0; i < n; i += W) {
        size_t r = n - i;
        v_storew(e + i, v_add(v_mul(d, v_loadw(e + i, r)), v_mul(c, v_loadw(p + i, r))), r);
    }
}

static void register_optim(fg_kernels *k) {
    k->adam = adam;
    k->rmsprop = rmsprop;
    k->sgd = sgd;
    k->ema = ema;
}
