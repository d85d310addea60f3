/* node.h: the graph. An op's declaration, the node it records, and what a vjp sees.
 *
 * The engine knows no op by name: it calls the vjp of whatever node comes next. Ownership: a tensor owns its node; a node
 * owns the nodes (or leaves) of its inputs and the tensors it saved. A saved output is bare (storage without node), so
 * nothing is cyclic and reference counts free everything. Release is iterative. */
#ifndef FG_NODE_H
#define FG_NODE_H

#include "tensor.h"
#include "kernels.h"

typedef struct fg_op fg_op;
typedef struct fg_node fg_node;

/* Attribute of an op or layer: one generic binding reads and writes every options struct through these. */
typedef enum fg_attr_kind {
    FG_A_INT = 0, /* int */
    FG_A_REAL,    /* double */
    FG_A_BOOL,    /* bool */
    FG_A_INT2,    /* int[2]; from an integer (both) or a pair */
    FG_A_PAD,     /* int[4] top, bottom, left, right; from an integer, a pair {h, w}, four integers, or "same" (sets the bool at
                     offset2) */
    FG_A_AXIS,    /* int; counted in the binding's base, -1 the last */
    FG_A_AXES,    /* fg_axes; from an axis or a list; absent: n = 0 (all) */
    FG_A_SHAPE,   /* fg_shape; from a list of integers */
    FG_A_INDEX,   /* int64_t position, counted in the binding's base */
    FG_A_SIZE,    /* int64_t count */
    FG_A_DTYPE,   /* fg_dtype; from its name */
    FG_A_ACT,     /* fg_act; from its name */
    FG_A_NOT      /* bool, stored inverted: Lua says bias = true, C says no_bias = false; def is the Lua default */
} fg_attr_kind;
typedef struct fg_attr {
    const char *name; /* NULL ends the list */
    uint8_t kind;     /* fg_attr_kind */
    bool required;
    uint16_t offset;  /* in the options struct */
    uint16_t offset2; /* FG_A_PAD: of the bool `same` */
    double def;       /* default of INT, REAL, BOOL, AXIS, SIZE */
} fg_attr;

/* One call of an op on its way through infer and forward. */
typedef struct fg_call {
    fg_context *ctx;
    fg_scope *s;
    const fg_op *op;
    int n;
    fg_tensor **in; /* f32 (or bf16 where op->half says so, any dtype with FG_OPF_ANY); NULL where an optional input is absent */
    void *opts;     /* private writable copy: infer resolves defaults, forward may leave notes for the vjp */
    fg_dtype out_dtype;
    fg_shape out_shape;
    fg_tensor *y;
    bool track; /* a node will be recorded */
    bool low;   /* a product under bf16 precision: forward rounds the inputs of op->half that are not bf16 yet */
    bool wide;  /* set by infer: the output stays f32 in every precision (a fused tanh, sigmoid or softplus) */
} fg_call;

typedef struct fg_vjp {
    fg_scope *s; /* of this vjp: everything in it is released afterwards, the results kept */
    fg_context *ctx;
    fg_node *node;
    fg_tensor *dy;
    const void *opts;
    int n;
    fg_tensor *y;         /* saved output (re-attached to its node under create_graph), NULL when not saved */
    fg_tensor **in;       /* saved inputs, NULL when not saved */
    fg_tensor **dx;       /* results, FG_NONE at the start; set only where fg_needs(v, i) */
    int64_t *range_first; /* vjp_fast only: when >= 0, dx[i] covers rows range_first[i].. of the leading axis of input i */
    bool create_graph;
    bool dy_gated; /* dy is the gradient before the op's activation already: whoever made it multiplied by act' (ends_in) */
    /* vjp_fast may leave dx[0] times gate_act' at these outputs of that activation, and say so by `gated`; NULL: not wanted */
    fg_tensor *gate;
    fg_act gate_act;
    double gate_slope;
    bool gated;
} fg_vjp;

enum {
    FG_OPF_ANY = 1,       /* takes tensors of any dtype as they are; else inputs that are not f32 are converted to f32 first, but
                             for those of fg_op.half */
    FG_OPF_LOWP = 2,      /* a product: under bf16 precision rounds its inputs to bf16 and emits bf16 */
    FG_OPF_KEEP = 4,      /* emits bf16 when its first input is bf16 (norm, relu, dropout, pool, shape) */
    FG_OPF_ALL16 = 8,     /* emits bf16 when all inputs are bf16 */
    FG_OPF_VIEW = 16,     /* forward makes y itself */
    FG_OPF_INTERNAL = 32, /* not offered to Lua under its own name */
    FG_OPF_OUT32 = 64,    /* with LOWP: rounds its inputs but emits f32 */
};
#define FG_OP_SAVE_MAX 6

struct fg_op {
    const char *name;
    uint8_t n_min, n_max; /* inputs; n_max 255: any number */
    uint8_t optional;     /* mask of inputs that may be NULL */
    uint16_t flags;
    uint16_t opts_size;               /* at most FG_OPTS_MAX */
    const fg_attr *attrs;             /* NULL: none */
    fg_status (*infer)(fg_call *c);   /* checks inputs, sets out_shape (and out_dtype, preset to f32 or by flags) */
    fg_status (*forward)(fg_call *c); /* reserves memory before any visible effect, then fills y */
    void (*vjp)(fg_vjp *v);           /* in public ops, differentiable again; NULL: no gradient */
    void (*vjp_fast)(fg_vjp *v);      /* with kernels; used if and only if not create_graph */
    /* For an op whose vjp_fast heeds dy_gated: the activation that it ends in, whose act' may be left to the op that reads y. */
    fg_act (*ends_in)(const void *opts, double *slope);
    uint32_t save_in[FG_OP_SAVE_MAX];      /* input i is saved when a gradient in this mask (of inputs) is needed */
    uint32_t save_out;                     /* likewise the output */
    bool (*save_out_if)(const void *opts); /* NULL: always by the mask */
    uint32_t no_grad;                      /* mask of inputs that never get a gradient (labels, ids, running statistics) */
    /* Mask of inputs that forward takes as bf16 where they are (a product only under bf16 precision), writing y in its final
     * dtype. An op with such inputs also takes dy and y in either dtype in vjp, and in vjp_fast along with those inputs. */
    uint32_t half;
};
#define FG_OPTS_MAX 256

typedef struct fg_edge {
    fg_node *node;    /* node of the input, owned; or */
    fg_tensor *leaf;  /* leaf that wants a gradient, owned; both NULL: no gradient needed */
    fg_tensor *saved; /* owned, or NULL */
    uint32_t version; /* of saved's storage when it was saved */
    uint8_t dtype;
    fg_shape shape;
} fg_edge;

struct fg_node {
    uint32_t refs;
    uint32_t bytes; /* of the cell */
    const fg_op *op;
    fg_context *ctx;
    uint64_t seq;
    fg_shape shape; /* of the output */
    uint8_t dtype, precision;
    bool freed; /* saved values are gone; the op's name stays for the message */
    bool fast_conv;
    uint16_t n;
    fg_tensor *saved_out; /* bare */
    uint32_t out_version;
    void *opts;
    /* engine scratch, valid while marked with the current epoch */
    uint32_t epoch;
    bool useful, grad_gated; /* grad_gated: see fg_vjp.dy_gated */
    uint8_t readers;         /* edges that lead to this node: 0, 1, or 2 for more */
    fg_tensor *grad;
    fg_node *next; /* pending release */
    fg_edge edge[];
};

static inline bool fg_needs(const fg_vjp *v, int i) { return v->node->edge[i].node || v->node->edge[i].leaf; }
static inline const fg_shape *fg_in_shape(const fg_vjp *v, int i) { return &v->node->edge[i].shape; }

struct fg_autograd {
    uint32_t epoch;
    fg_node *pending;
    bool draining;
    /* recorded ops that the engine needs, installed by ops/ */
    fg_tensor *(*add)(fg_scope *s, fg_tensor *a, fg_tensor *b);
    fg_tensor *(*cast)(fg_scope *s, fg_tensor *x, fg_dtype dt);
};

/* An empty node for op with n inputs and a copy of opts; refs 1. NULL with the error set. */
fg_node *fg_node_new(fg_context *ctx, const fg_op *op, int n, const void *opts);
void fg_node_release(fg_context *ctx, fg_node *node);
/* Fills edges and saved tensors after forward and gives y the node. */
void fg_node_record(fg_node *node, fg_tensor *const *in, fg_tensor *y);

extern const fg_room fg_room_autograd;

#endif
