/* optim_consts.h: Adam's constants, combined in double and rounded once; shared by all ISAs. */
#ifndef FG_OPTIM_CONSTS_H
#define FG_OPTIM_CONSTS_H

#include "kernels.h"

#include <math.h>

typedef struct adam_consts {
    fg_real b1, c1, b2, c2; /* beta and 1 - beta */
    fg_real step, root;     /* lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
    fg_real eps;
    fg_real keep; /* AdamW's factor 1 - lr*wd, else 1 */
    fg_real wd;   /* Adam's L2 term, else 0 */
} adam_consts;

static inline adam_consts adam_prepare(const fg_adam_args *a) {
    return (adam_consts){
        .b1 = (fg_real)a->beta1,
        .c1 = (fg_real)(1 - a->beta1),
        .b2 = (fg_real)a->beta2,
        .c2 = (fg_real)(1 - a->beta2),
        .step = (fg_real)(a->lr / a->bias1),
        .root = (fg_real)(1 / sqrt(a->bias2)),
        .eps = (fg_real)a->eps,
        .keep = a->decoupled ? (fg_real)(1 - a->lr * a->weight_decay) : 1,
        .wd = a->decoupled ? 0 : (fg_real)a->weight_decay,
    };
}

#endif
