/* leaves.h: what leaves.c and init.c share. */
#ifndef FG_LEAVES_H
#define FG_LEAVES_H

#include "layer.h"

/* PyTorch's default initialisation of this one layer's parameters; running statistics to 0 and 1. */
fg_status fg_reset_weights(fg_layer *l);

#endif
