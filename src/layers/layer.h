/* layer.h: a parameterised leaf or a Sequential, and how a kind is declared. layers.def lists the kinds. */
#ifndef FG_LAYER_H
#define FG_LAYER_H

#include "op.h"

#define FG_LAYER_TENSORS 4

typedef struct fg_layer_def {
    const char *kind; /* "Conv2d" */
    uint16_t opts_size;
    uint8_t positional;              /* the first so many attrs are positional arguments of the Lua constructor */
    const fg_attr *attrs;            /* names as in Lua; `bias` is FG_A_NOT on no_bias */
    fg_status (*build)(fg_layer *l); /* checks l->opts, makes parameters and buffers (uninitialised) */
    fg_status (*reset)(fg_layer *l); /* PyTorch's initialisation; NULL: nothing to do */
    /* act: an activation that Sequential (or Lua's Sequential) fuses; kinds with fuses == false get FG_ACT_NONE */
    fg_tensor *(*forward)(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope);
    bool fuses;
    fg_act is_act; /* this kind is this activation and may be fused into the one before it */
} fg_layer_def;

struct fg_layer {
    uint32_t refs;
    fg_context *ctx;
    const fg_layer_def *def; /* NULL for Sequential */
    void *opts;              /* private copy */
    bool training;
    int n_params, n_buffers, n_children;
    fg_tensor *param[FG_LAYER_TENSORS];
    const char *param_name[FG_LAYER_TENSORS];
    fg_tensor *buffer[FG_LAYER_TENSORS];
    const char *buffer_name[FG_LAYER_TENSORS];
    fg_layer **child;
};

#define FG_LAYER(kind) extern const fg_layer_def fg_layer_def_##kind;
#include "layers.def"
#undef FG_LAYER
extern const fg_layer_def *const fg_layer_table[]; /* NULL at the end */
const fg_layer_def *fg_layer_find(const char *kind);
fg_tensor *fg_layer_forward_act(fg_scope *s, fg_layer *l, fg_tensor *x, fg_act act, double slope);

#endif
