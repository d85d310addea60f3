/* forger.h: the public C interface of Forger, tensors, autograd, layers and optimizers for training GANs.
 *
 * The whole core hangs on one fg_context. Ops take an fg_scope and return *borrowed* tensors that live until the
 * scope closes, so C reads like the formula and needs no cleanup ladder:
 *
 *     fg_scope *s = fg_scope_open(ctx);
 *     fg_tensor *h    = fg_leaky_relu(s, fg_conv2d(s, x, w, NULL, &(fg_conv2d_opts){ .stride = {2, 2} }), 0.2);
 *     fg_tensor *loss = fg_mean(s, fg_softplus(s, fg_neg(s, h)), NULL, false);
 *     fg_backward(s, loss);
 *     fg_status st = fg_scope_close(s);      // the first error of any call in s; temporaries are released
 *
 * NULL in gives NULL out, and the first error of a scope stays with its message (fg_last_error). fg_keep(t) adds a
 * reference that outlives the scope; fg_release(t) drops one. Nothing here exits, aborts, prints or longjmps.
 *
 * Layout: tensors are contiguous, row-major, rank 0 to 6. Images are NHWC [N,H,W,C]; convolution weights
 * [KH,KW,in,out]; a transposed convolution stores the weight of the convolution whose adjoint it is, [KH,KW,out,in];
 * linear weights [in,out]. Axes and indices are 0-based in C; a negative axis counts from the end.
 *
 * Threads: one OS thread at a time may be inside a context (a second one gets FG_EBUSY). Different contexts are
 * independent. Tensors never cross contexts. */
#ifndef FORGER_H
#define FORGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FG_API __attribute__((visibility("default")))
#else
#define FG_API
#endif

#define FG_VERSION_MAJOR 0
#define FG_VERSION_MINOR 1
#define FG_VERSION_PATCH 0

/* fg_real is float; the test-only build with FG_DOUBLE makes it double to check gradients to second order. */
#ifdef FG_DOUBLE
typedef double fg_real;
#else
typedef float fg_real;
#endif

typedef struct fg_context fg_context;
typedef struct fg_scope fg_scope;
typedef struct fg_tensor fg_tensor;
typedef struct fg_layer fg_layer;
typedef struct fg_optimizer fg_optimizer;
typedef struct fg_ema fg_ema;

typedef enum fg_status {
    FG_OK = 0,
    FG_ENOMEM,     /* out of memory, after caches were dropped and the request retried */
    FG_EINVAL,     /* bad argument: shapes, dtypes, options */
    FG_ESTATE,     /* right arguments at the wrong time: freed graph, changed saved value, in-place on a node */
    FG_EIO,        /* the operating system refused: open, read, write, rename */
    FG_EFORMAT,    /* a file's content is damaged or not of the expected format */
    FG_EBUSY,      /* another OS thread is inside this context */
    FG_ENONFINITE, /* NaN or infinity where a finite number is required */
    FG_EUNSUPPORTED
} fg_status;

typedef enum fg_dtype { FG_F32 = 0, FG_BF16, FG_U8, FG_I32 } fg_dtype;
typedef enum fg_precision { FG_PRECISION_F32 = 0, FG_PRECISION_BF16, FG_PRECISION_AUTO } fg_precision;

/* Activations that fuse into linear, conv and norm ops. */
typedef enum fg_act { FG_ACT_NONE = 0, FG_ACT_RELU, FG_ACT_LEAKY_RELU, FG_ACT_TANH, FG_ACT_SIGMOID, FG_ACT_SOFTPLUS } fg_act;

/* Named random streams; each is a Philox key and an offset, so drawing from one never moves another. */
typedef enum fg_stream {
    FG_STREAM_DEFAULT = 0, /* fg.rand, fg.randn of the user */
    FG_STREAM_INIT,
    FG_STREAM_DATA,
    FG_STREAM_LATENT,
    FG_STREAM_DROPOUT,
    FG_STREAM_LABEL,
    FG_STREAM_SAMPLE,
    FG_STREAM_EVAL,
    FG_STREAM_COUNT
} fg_stream;

#define FG_MAX_RANK 6
typedef struct fg_shape {
    int ndim;
    int64_t dim[FG_MAX_RANK];
} fg_shape;
/* FG_SHAPE(2, 3): an fg_shape value of rank 2. FG_SCALAR: rank 0. */
#define FG_NARGS_(a, b, c, d, e, f, n, ...) n
#define FG_SHAPE(...)                       ((fg_shape){ FG_NARGS_(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0), { __VA_ARGS__ } })
#define FG_SCALAR                           ((fg_shape){ 0, { 0 } })

/* ------------------------------------------------------------------ context */
FG_API fg_context *fg_context_new(void); /* NULL when memory or FORGER_ISA is refused: fg_context_new_error */
FG_API fg_context *fg_context_new_error(char *msg, size_t cap); /* as above; writes the reason into msg[cap] */
FG_API void fg_context_free(fg_context *ctx);                   /* tensors still held by the caller become unusable */
FG_API const char *fg_last_error(const fg_context *ctx);        /* message of the newest error, "" when none */
FG_API fg_status fg_last_status(const fg_context *ctx);
FG_API void fg_clear_error(fg_context *ctx);
FG_API const char *fg_status_name(fg_status st);
FG_API const char *fg_version(void);
FG_API fg_status fg_set_threads(fg_context *ctx, int n); /* 1..64; the default is the cores this process may use */
FG_API int fg_get_threads(const fg_context *ctx);
/* Of ops called from now on. bf16: matmul, linear and convolutions take operands rounded to bf16 and sum in f32; they, norms,
 * relu, leaky relu, dropout and pooling store bf16. Parameters, their gradients and statistics stay f32. auto: bf16 where it is
 * the faster one (AMX), else f32. */
FG_API fg_status fg_set_precision(fg_context *ctx, fg_precision p);
FG_API fg_precision fg_get_precision(const fg_context *ctx); /* the one in use, f32 or bf16: never auto */
FG_API void fg_set_fast_conv(fg_context *ctx, bool on);      /* false forces direct sums in f32 convolutions */
FG_API bool fg_get_fast_conv(const fg_context *ctx);
FG_API bool fg_set_grad_enabled(fg_context *ctx, bool on); /* returns the previous mode */
FG_API bool fg_grad_enabled(const fg_context *ctx);
FG_API void fg_set_index_base(fg_context *ctx, int base); /* base of axes and positions in messages: 0 in C, 1 in Lua */
FG_API const char *fg_isa(const fg_context *ctx);         /* "scalar", "avx2", "avx512", ... in use */
FG_API void fg_cpu_describe(char *buf, size_t cap);       /* CPU model and the features found */

typedef struct fg_memory {
    size_t live;           /* bytes in use by tensors and graphs */
    size_t cached;         /* bytes held for reuse */
    size_t peak;           /* most live bytes since the context opened or fg_memory_reset_peak */
    size_t system;         /* bytes requested from the system and not returned: live blocks and caches */
    uint64_t requests;     /* allocation requests so far, cache hits included */
    uint64_t system_calls; /* requests that reached the system allocator */
} fg_memory;
FG_API fg_memory fg_memory_stats(const fg_context *ctx);
FG_API void fg_memory_reset_peak(fg_context *ctx);
FG_API void fg_memory_trim(fg_context *ctx); /* returns cached blocks to the system */
/* Test hook: the nth request from now on (1 = the next) fails. transient: it fails once and its retry succeeds;
 * otherwise its retries fail too, until the public call returns. 0 switches the hook off. */
FG_API void fg_memory_fail_nth(fg_context *ctx, uint64_t nth, bool transient);

/* ------------------------------------------------------------------ random numbers */
typedef struct fg_stream_state {
    uint64_t key, offset;
} fg_stream_state;
FG_API void fg_manual_seed(fg_context *ctx, uint64_t seed); /* resets every stream */
FG_API uint64_t fg_initial_seed(const fg_context *ctx);
FG_API fg_stream_state fg_stream_get(const fg_context *ctx, fg_stream st);
FG_API void fg_stream_set(fg_context *ctx, fg_stream st, fg_stream_state v);
FG_API const char *fg_stream_name(fg_stream st);
FG_API uint32_t fg_random_u32(fg_context *ctx, fg_stream st);                              /* advances the stream */
FG_API uint64_t fg_random_below(fg_context *ctx, fg_stream st, uint64_t n);                /* 0..n-1, unbiased; n >= 1 */
FG_API void fg_random_permutation(fg_context *ctx, fg_stream st, int32_t *out, int32_t n); /* 0..n-1 shuffled */

/* ------------------------------------------------------------------ scopes */
FG_API fg_scope *fg_scope_open(fg_context *ctx);
FG_API fg_status fg_scope_close(fg_scope *s); /* releases temporaries; returns the first error of the scope */
FG_API fg_status fg_scope_status(const fg_scope *s);
FG_API fg_context *fg_scope_context(const fg_scope *s);
FG_API fg_tensor *fg_keep(fg_tensor *t);                     /* adds a reference; NULL gives NULL */
FG_API void fg_release(fg_tensor *t);                        /* drops one; NULL is allowed */
FG_API fg_tensor *fg_scope_adopt(fg_scope *s, fg_tensor *t); /* hands the caller's reference to the scope; returns t */
FG_API fg_tensor *fg_scope_take(fg_scope *s,
                                fg_tensor *t); /* the reverse: the scope's newest reference to t becomes the caller's */

/* ------------------------------------------------------------------ tensors: making and reading */
FG_API fg_tensor *fg_empty(fg_scope *s, fg_dtype dt, fg_shape shape); /* contents undefined */
FG_API fg_tensor *fg_zeros(fg_scope *s, fg_dtype dt, fg_shape shape);
FG_API fg_tensor *fg_full(fg_scope *s, fg_dtype dt, fg_shape shape, double value);
FG_API fg_tensor *fg_from_reals(fg_scope *s, fg_shape shape, const fg_real *values);
FG_API fg_tensor *fg_from_i32(fg_scope *s, fg_shape shape, const int32_t *values);
FG_API fg_tensor *fg_from_u8(fg_scope *s, fg_shape shape, const uint8_t *values);
FG_API fg_tensor *fg_uniform(fg_scope *s, fg_shape shape, double lo, double hi, fg_stream st); /* [lo, hi) */
FG_API fg_tensor *fg_normal(fg_scope *s, fg_shape shape, double mean, double std, fg_stream st);
FG_API fg_tensor *fg_arange(fg_scope *s, fg_dtype dt, double first, double step, int64_t n);

FG_API fg_context *fg_tensor_context(const fg_tensor *t);
FG_API fg_dtype fg_tensor_dtype(const fg_tensor *t);
FG_API fg_shape fg_tensor_shape(const fg_tensor *t);
FG_API int fg_tensor_ndim(const fg_tensor *t);
FG_API int64_t fg_tensor_size(const fg_tensor *t, int axis); /* negative axes count from the end; -1 when out of range */
FG_API int64_t fg_tensor_numel(const fg_tensor *t);
FG_API const void *fg_tensor_data(const fg_tensor *t); /* read only; valid while t lives */
FG_API void *fg_tensor_data_mut(fg_tensor *t); /* for writing: bumps the version; NULL (error set) where in-place is illegal */
FG_API double fg_tensor_at(const fg_tensor *t, int64_t flat_index); /* any dtype, as double */
FG_API fg_status fg_tensor_item(const fg_tensor *t, double *out);   /* the value of a one-element tensor */
FG_API uint32_t fg_tensor_version(const fg_tensor *t);
FG_API bool fg_tensor_requires_grad(const fg_tensor *t);
FG_API fg_status fg_tensor_set_requires_grad(fg_tensor *t, bool on); /* leaves of dtype f32 only */
FG_API bool fg_tensor_is_leaf(const fg_tensor *t);
FG_API fg_tensor *fg_tensor_grad(const fg_tensor *t);                  /* borrowed; NULL when none */
FG_API fg_status fg_tensor_set_grad(fg_tensor *t, fg_tensor *grad);    /* NULL clears; shapes must agree */
FG_API const char *fg_tensor_op_name(const fg_tensor *t);              /* op that made it, "" for leaves */
FG_API fg_status fg_tensor_copy(fg_tensor *dst, const fg_tensor *src); /* in place, shapes equal, dtypes converted */
FG_API fg_status fg_tensor_fill(fg_tensor *dst, double value);
FG_API size_t fg_tensor_print(const fg_tensor *t, char *buf, size_t cap); /* as PyTorch prints; returns the length needed */
FG_API size_t fg_shape_print(const fg_shape *sh, char *buf, size_t cap);  /* "[64,28,28,1]" */
FG_API const char *fg_dtype_name(fg_dtype dt);                            /* "f32", "bf16", "u8", "i32" */
FG_API size_t fg_dtype_size(fg_dtype dt);                                 /* bytes of one element */
FG_API bool fg_dtype_from_name(const char *name, fg_dtype *out);

/* ------------------------------------------------------------------ autograd */
#define FG_NONE ((fg_tensor *)&fg_none_tag) /* an absent gradient; never NULL */
FG_API extern const char fg_none_tag;
FG_API fg_status fg_backward(fg_scope *s, fg_tensor *loss); /* scalar loss; adds into .grad of every leaf; frees the graph */
FG_API fg_status fg_backward_with(fg_scope *s, fg_tensor *y, fg_tensor *dy, bool retain_graph); /* dy NULL: ones (scalar y) */
/* Gradients of sum(y * dy) with respect to xs[n] into out[n], borrowed from s; FG_NONE where y does not depend on x.
 * create_graph makes them differentiable (and retains the graph). */
FG_API fg_status fg_grad(fg_scope *s, fg_tensor *y, fg_tensor *dy, fg_tensor *const *xs, int n, bool create_graph,
                         bool retain_graph, fg_tensor **out);
FG_API fg_tensor *fg_detach(fg_scope *s, fg_tensor *t); /* same storage, no history */

/* ------------------------------------------------------------------ ops: elementwise, broadcasting as NumPy */
FG_API fg_tensor *fg_add(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_sub(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_mul(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_div(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_maximum(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_minimum(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_eq(fg_scope *s, fg_tensor *a, fg_tensor *b); /* comparisons give u8 0 or 1, no gradient */
FG_API fg_tensor *fg_ne(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_lt(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_le(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_gt(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_ge(fg_scope *s, fg_tensor *a, fg_tensor *b);
FG_API fg_tensor *fg_where(fg_scope *s, fg_tensor *cond, fg_tensor *a, fg_tensor *b); /* cond: u8, broadcast too */
FG_API fg_tensor *fg_affine(fg_scope *s, fg_tensor *x, double scale, double shift);   /* scale*x + shift */
FG_API fg_tensor *fg_neg(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_exp(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_log(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_sqrt(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_square(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_abs(fg_scope *s, fg_tensor *x);  /* gradient 0 at 0 */
FG_API fg_tensor *fg_sign(fg_scope *s, fg_tensor *x); /* no gradient */
FG_API fg_tensor *fg_sin(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_cos(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_tanh(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_sigmoid(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_softplus(fg_scope *s, fg_tensor *x); /* log(1 + exp x), stable */
FG_API fg_tensor *fg_relu(fg_scope *s, fg_tensor *x);
FG_API fg_tensor *fg_leaky_relu(fg_scope *s, fg_tensor *x, double slope);
FG_API fg_tensor *fg_clamp(fg_scope *s, fg_tensor *x, double lo,
                           double hi); /* gradient 1 between the bounds, 0 on them and outside, as PyTorch 2.15 */
FG_API fg_tensor *fg_pow(fg_scope *s, fg_tensor *x, double exponent);
/* dy * act'(x), written in the activation's output y; differentiable in dy, and in y for tanh, sigmoid and softplus */
FG_API fg_tensor *fg_act_grad(fg_scope *s, fg_tensor *dy, fg_tensor *y, fg_act act, double slope);
FG_API fg_tensor *fg_cast(fg_scope *s, fg_tensor *x, fg_dtype dt);

/* ------------------------------------------------------------------ ops: reductions */
/* A set of axes. NULL, or n = 0, means all. */
typedef struct fg_axes {
    int n;
    int axis[FG_MAX_RANK];
} fg_axes;
#define FG_AXES(...) (&(fg_axes){ FG_NARGS_(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0), { __VA_ARGS__ } })
FG_API fg_tensor *fg_sum(fg_scope *s, fg_tensor *x, const fg_axes *axes, bool keepdim);
FG_API fg_tensor *fg_mean(fg_scope *s, fg_tensor *x, const fg_axes *axes, bool keepdim);
FG_API fg_tensor *fg_max(fg_scope *s, fg_tensor *x, const fg_axes *axes, bool keepdim); /* ties share the gradient equally */
FG_API fg_tensor *fg_min(fg_scope *s, fg_tensor *x, const fg_axes *axes, bool keepdim);
FG_API fg_tensor *fg_argmax(fg_scope *s, fg_tensor *x, int axis, bool keepdim); /* i32, 0-based, the first of equals */
FG_API fg_tensor *fg_broadcast_to(fg_scope *s, fg_tensor *x, fg_shape shape);
FG_API fg_tensor *fg_reduce_to(fg_scope *s, fg_tensor *x, fg_shape shape); /* sums the axes that broadcasting added */
FG_API fg_tensor *fg_log_softmax(fg_scope *s, fg_tensor *x);               /* over the last axis */

/* ------------------------------------------------------------------ ops: shape */
FG_API fg_tensor *fg_reshape(fg_scope *s, fg_tensor *x, fg_shape shape);        /* a view; one dim may be -1 */
FG_API fg_tensor *fg_transpose(fg_scope *s, fg_tensor *x, const fg_axes *perm); /* NULL reverses the axes; copies */
FG_API fg_tensor *fg_concat(fg_scope *s, fg_tensor *const *xs, int n, int axis);
FG_API fg_tensor *fg_slice(fg_scope *s, fg_tensor *x, int axis, int64_t first, int64_t len); /* a view on axis 0 */
FG_API fg_tensor *fg_slice_adjoint(fg_scope *s, fg_tensor *x, int axis, int64_t first,
                                   int64_t size); /* zeros around x: axis grows to size */

/* ------------------------------------------------------------------ ops: products */
typedef struct fg_matmul_opts {
    bool ta, tb; /* use the transpose of a, of b */
} fg_matmul_opts;
FG_API fg_tensor *fg_matmul(fg_scope *s, fg_tensor *a, fg_tensor *b, const fg_matmul_opts *o); /* [M,K] x [K,N] -> [M,N] */
typedef struct fg_linear_opts {
    fg_act act;
    double slope;
} fg_linear_opts;
/* act(x[N,in] w[in,out] + bias[out]); bias may be NULL */
FG_API fg_tensor *fg_linear(fg_scope *s, fg_tensor *x, fg_tensor *w, fg_tensor *bias, const fg_linear_opts *o);

/* Convolution options. Zeros mean: stride 1, no padding, no activation. */
typedef struct fg_conv2d_opts {
    int stride[2]; /* h, w */
    int pad[4];    /* top, bottom, left, right */
    bool same;     /* TensorFlow's "same": out = ceil(in / stride); overrides pad */
    fg_act act;
    double slope;   /* of leaky_relu */
    int out_pad[2]; /* transposed only: extra rows and columns at the bottom and the right */
    int out[2];     /* transposed only: output height and width given outright; overrides out_pad */
} fg_conv2d_opts;
/* x[N,H,W,Ci], w[KH,KW,Ci,Co], bias[Co] or NULL -> [N,OH,OW,Co] */
FG_API fg_tensor *fg_conv2d(fg_scope *s, fg_tensor *x, fg_tensor *w, fg_tensor *bias, const fg_conv2d_opts *o);
/* The adjoint of fg_conv2d in x: x[N,H,W,Ci], w[KH,KW,Co,Ci], bias[Co] or NULL -> [N,OH,OW,Co] */
FG_API fg_tensor *fg_conv_transpose2d(fg_scope *s, fg_tensor *x, fg_tensor *w, fg_tensor *bias, const fg_conv2d_opts *o);
/* The adjoint in w: x[N,H,W,Ci], dy[N,OH,OW,Co] -> dw[kernel[0],kernel[1],Ci,Co] */
FG_API fg_tensor *fg_conv2d_dw(fg_scope *s, fg_tensor *x, fg_tensor *dy, const int kernel[2], const fg_conv2d_opts *o);

/* ------------------------------------------------------------------ ops: norm, dropout, lookup, pooling */
typedef struct fg_batch_norm_opts {
    double eps;      /* 0: 1e-5 */
    double momentum; /* weight of the new batch; 0: 0.1 */
    bool training;   /* statistics of the batch (and update running ones), else the running ones */
    fg_act act;
    double slope;
} fg_batch_norm_opts;
/* Over all axes but the last; gamma[C], beta[C]; running_mean[C], running_var[C] may be NULL when training.
 * Biased variance normalises, unbiased variance enters running_var (Ioffe and Szegedy 2015, as PyTorch). */
FG_API fg_tensor *fg_batch_norm(fg_scope *s, fg_tensor *x, fg_tensor *gamma, fg_tensor *beta, fg_tensor *running_mean,
                                fg_tensor *running_var, const fg_batch_norm_opts *o);
FG_API fg_tensor *fg_dropout(fg_scope *s, fg_tensor *x, double p); /* scales by 1/(1-p); stream FG_STREAM_DROPOUT */
FG_API fg_tensor *fg_gather(fg_scope *s, fg_tensor *table,
                            fg_tensor *ids); /* table[V,...], ids i32 [...] -> [ids..., table rest] */
FG_API fg_tensor *fg_gather_adjoint(fg_scope *s, fg_tensor *dy, fg_tensor *ids,
                                    int64_t rows); /* adds rows of dy into zeros [rows,...] */
typedef struct fg_pool_opts {
    int kernel[2], stride[2]; /* stride 0: the kernel */
    int pad[4];
    int size[2]; /* adjoints only: height and width of the pooled map's input */
} fg_pool_opts;
FG_API fg_tensor *fg_avg_pool2d(fg_scope *s, fg_tensor *x, const fg_pool_opts *o); /* padding counts as zeros */
FG_API fg_tensor *fg_avg_pool2d_adjoint(fg_scope *s, fg_tensor *dy, const fg_pool_opts *o);
FG_API fg_tensor *fg_max_pool2d(fg_scope *s, fg_tensor *x, const fg_pool_opts *o);
FG_API fg_tensor *fg_max_pool2d_pick(fg_scope *s, fg_tensor *x, fg_tensor *u, const fg_pool_opts *o);     /* u at x's maxima */
FG_API fg_tensor *fg_max_pool2d_scatter(fg_scope *s, fg_tensor *x, fg_tensor *dy, const fg_pool_opts *o); /* its adjoint in u */
FG_API fg_tensor *fg_upsample2d(fg_scope *s, fg_tensor *x, const int factor[2]);                          /* nearest */

/* ------------------------------------------------------------------ ops: losses, per element unless said */
FG_API fg_tensor *fg_bce(fg_scope *s, fg_tensor *p, fg_tensor *target); /* p clamped to [1e-7, 1-1e-7], zero gradient outside */
FG_API fg_tensor *fg_bce_logits(fg_scope *s, fg_tensor *x, fg_tensor *target);         /* softplus(x) - x target */
FG_API fg_tensor *fg_cross_entropy(fg_scope *s, fg_tensor *logits, fg_tensor *labels); /* [N,K], i32 [N] -> [N] */

/* ------------------------------------------------------------------ layers */
/* A layer is a parameterised leaf (Linear, Conv2d, ...) or a Sequential of layers; reference-counted. Options structs name
 * their fields as the Lua options; zeros mean the documented default. Parameters are leaves that require a gradient,
 * initialised as PyTorch does from FG_STREAM_INIT. */
typedef struct fg_linear_layer {
    int in_features, out_features;
    bool no_bias;
} fg_linear_layer;
typedef struct fg_conv_layer { /* Conv2d and ConvTranspose2d */
    int in_channels, out_channels;
    int kernel[2];
    int stride[2];
    int pad[4];
    bool same;
    int out_pad[2]; /* ConvTranspose2d only */
    bool no_bias;
} fg_conv_layer;
typedef struct fg_batch_norm_layer {
    int features;
    double eps, momentum; /* 0: 1e-5, 0.1 */
    bool no_affine;
} fg_batch_norm_layer;
typedef struct fg_dropout_layer {
    double p; /* 0 <= p < 1; 0 is no dropout (Lua's default is 0.5) */
} fg_dropout_layer;
typedef struct fg_embedding_layer {
    int num_embeddings, dim; /* N(0,1) */
} fg_embedding_layer;
typedef struct fg_reshape_layer { /* Flatten: from axis 1; Reshape: the sizes behind the batch axis */
    fg_shape shape;
} fg_reshape_layer;
typedef struct fg_upsample_layer {
    int factor[2];
} fg_upsample_layer;
typedef struct fg_pool_layer { /* AvgPool2d, MaxPool2d */
    int kernel[2], stride[2];
    int pad[4];
} fg_pool_layer;
typedef struct fg_act_layer { /* ReLU, LeakyReLU (slope 0: 0.01), Tanh, Sigmoid, Softplus, Identity */
    double slope;
} fg_act_layer;
/* kind: "Linear" "Conv2d" "ConvTranspose2d" "BatchNorm" "Dropout" "Embedding" "Flatten" "Reshape" "Upsample" "AvgPool2d"
 * "MaxPool2d" "ReLU" "LeakyReLU" "Tanh" "Sigmoid" "Softplus" "Identity"; opts: the struct of that kind (NULL: zeros).
 * Reference 1 belongs to the caller. NULL with the error set. */
FG_API fg_layer *fg_layer_new(fg_context *ctx, const char *kind, const void *opts);
FG_API fg_layer *fg_sequential_new(fg_context *ctx, fg_layer *const *layers,
                                   int n); /* takes over the caller's references, on failure too */
FG_API fg_layer *fg_layer_keep(fg_layer *l);
FG_API void fg_layer_release(fg_layer *l);
FG_API const char *fg_layer_kind(const fg_layer *l);
FG_API int fg_layer_children(const fg_layer *l);
FG_API fg_layer *fg_layer_child(const fg_layer *l, int i); /* borrowed */
/* Sequential fuses an activation into the linear, conv or norm layer before it. Errors name the layer and its place. */
FG_API fg_tensor *fg_layer_forward(fg_scope *s, fg_layer *l, fg_tensor *x);
FG_API void fg_layer_train(fg_layer *l, bool on); /* mode of BatchNorm and Dropout; new layers train */
FG_API bool fg_layer_training(const fg_layer *l);
FG_API fg_status fg_layer_freeze(fg_layer *l, bool on); /* requires_grad of every parameter = !on */
/* The i-th parameter (or buffer: running statistics) in order of making; name "weight", in a Sequential "1.weight" (1-based).
 * The tensor is borrowed. False when i is past the end. name may be NULL. */
FG_API bool fg_layer_param(const fg_layer *l, int i, fg_tensor **t, char *name, size_t cap);
FG_API bool fg_layer_buffer(const fg_layer *l, int i, fg_tensor **t, char *name, size_t cap);
FG_API int64_t fg_layer_param_count(const fg_layer *l); /* numbers in all parameters */

/* Initialisers fill a tensor in place from FG_STREAM_INIT. */
FG_API fg_status fg_init_uniform(fg_tensor *t, double lo, double hi);
FG_API fg_status fg_init_normal(fg_tensor *t, double mean, double std);
FG_API fg_status
fg_init_layer_torch(fg_layer *l); /* PyTorch's defaults: U(+-1/sqrt(fan_in)); ConvTranspose fan_in = Cout KH KW */
FG_API fg_status fg_init_layer_keras(fg_layer *l);              /* Glorot uniform, zero bias */
FG_API fg_status fg_init_layer_dcgan(fg_layer *l);              /* N(0,0.02), gamma N(1,0.02), biases 0 (Radford et al. 2016) */
FG_API fg_status fg_init_layer_normal(fg_layer *l, double std); /* weights N(0,std), gamma 1, biases 0 */

/* ------------------------------------------------------------------ optimizers */
/* Each holds references to its parameters; a parameter without .grad is skipped. lr may change between steps. */
typedef struct fg_sgd_opts {
    double lr, momentum, dampening, weight_decay;
    bool nesterov;
    double lr_decay; /* lr / (1 + lr_decay t), t = 0 at the first update (Keras 2's `decay`) */
} fg_sgd_opts;
typedef struct fg_rmsprop_opts {
    double lr, alpha, eps, momentum, weight_decay; /* zeros: 1e-2, 0.99, 1e-8, 0, 0 */
    bool eps_inside;
    double lr_decay;
} fg_rmsprop_opts;
typedef struct fg_adam_opts {
    double lr, beta1, beta2, eps, weight_decay; /* lr 0: 1e-3; eps 0: 1e-8; betas: 0 is 0, use has_betas = false for 0.9, 0.999 */
    bool has_betas;
    bool decoupled; /* AdamW */
    double lr_decay;
} fg_adam_opts;
FG_API fg_optimizer *fg_sgd_new(fg_context *ctx, fg_tensor *const *params, int n, const fg_sgd_opts *o);
FG_API fg_optimizer *fg_rmsprop_new(fg_context *ctx, fg_tensor *const *params, int n, const fg_rmsprop_opts *o);
FG_API fg_optimizer *fg_adam_new(fg_context *ctx, fg_tensor *const *params, int n, const fg_adam_opts *o);
FG_API void fg_optimizer_release(fg_optimizer *opt);
FG_API fg_status fg_optimizer_step(fg_optimizer *opt); /* reserves state first; all parameters or none */
FG_API fg_status fg_optimizer_zero_grad(fg_optimizer *opt);
FG_API double fg_optimizer_lr(const fg_optimizer *opt); /* the base rate, before lr_decay */
FG_API fg_status fg_optimizer_set_lr(fg_optimizer *opt, double lr);
FG_API int64_t fg_optimizer_steps(const fg_optimizer *opt);
FG_API fg_status fg_optimizer_set_steps(fg_optimizer *opt, int64_t t); /* for resuming */
/* The i-th state tensor (m, v, buf of each parameter), made on demand; name like "1.exp_avg"; borrowed; false past the end. */
FG_API bool fg_optimizer_state(fg_optimizer *opt, int i, fg_tensor **t, char *name, size_t cap);
/* Scales all gradients so that their global L2 norm is at most max_norm; *norm (may be NULL) is the norm before. A norm that
 * is not finite scales nothing and gives FG_ENONFINITE, the message naming the parameter's position. max_norm <= 0 only measures.
 */
FG_API fg_status fg_clip_grad_norm(fg_context *ctx, fg_tensor *const *params, int n, double max_norm, double *norm);
/* e = d e + (1-d) p with d = min(decay, (1+t)/(10+t)) when warmup, t counting updates from 0. Shadow tensors are kept, no grad.
 */
FG_API fg_ema *fg_ema_new(fg_context *ctx, fg_tensor *const *params, int n, double decay, bool warmup);
FG_API fg_status fg_ema_update(fg_ema *e);
FG_API fg_tensor *fg_ema_shadow(const fg_ema *e, int i); /* borrowed */
FG_API int64_t fg_ema_updates(const fg_ema *e);
FG_API fg_status fg_ema_set_updates(fg_ema *e, int64_t t);
FG_API void fg_ema_release(fg_ema *e);
FG_API double fg_lr_linear(double lr, int64_t step, int64_t start, int64_t end,
                           double final_factor); /* lr until start, then linear to lr*final_factor at end */
FG_API double fg_lr_cosine(double lr, int64_t step, int64_t total, double final_factor);

/* ------------------------------------------------------------------ files */
/* @files: this section is edited by the io room */
/* Data files may be damaged or hostile: they are refused with FG_EFORMAT (content) or FG_EIO (the system) and a message
 * that names the path and the numbers; nothing is allocated far beyond a file's real content. Functions that take a
 * scope also fail the scope. Files are written to a temporary name beside the target and renamed: a failure leaves the
 * old file as it was and no litter. */

/* --- named tensors: the safetensors format, read and written by Python's package of that name */
typedef struct fg_meta {
    const char *key, *value; /* UTF-8 */
} fg_meta;
typedef struct fg_tensor_file {
    int n;                     /* tensors, sorted by name */
    const char *const *names;  /* [n] */
    fg_tensor *const *tensors; /* [n], borrowed from the scope that loaded them */
    int n_meta;                /* metadata, sorted by key */
    const fg_meta *meta;       /* [n_meta] */
} fg_tensor_file;
/* Writes n tensors under their names, and n_meta strings as `__metadata__`. Names are unique, not empty and not
 * "__metadata__"; keys are unique. Dtypes f32, bf16, u8, i32 become F32, BF16, U8, I32. Same input, same bytes. */
FG_API fg_status fg_tensors_save(fg_context *ctx, const char *path, const char *const *names, fg_tensor *const *tensors, int n,
                                 const fg_meta *meta, int n_meta);
/* Reads such a file whole. F32, BF16, U8, I32 come as they are; F64 and F16 become f32 (F64 rounded to nearest), I8, I16,
 * U16 become i32, U32, I64, U64 become i32 and are refused where a value does not fit, BOOL becomes u8 0 or 1. Other
 * dtypes, and more than FG_MAX_RANK axes, are refused with FG_EUNSUPPORTED. *out is freed with fg_tensor_file_free
 * (before its context); NULL on error. */
FG_API fg_status fg_tensors_load(fg_scope *s, const char *path, fg_tensor_file **out);
FG_API fg_tensor *fg_tensor_file_get(const fg_tensor_file *f, const char *name);  /* NULL when absent */
FG_API const char *fg_tensor_file_meta(const fg_tensor_file *f, const char *key); /* NULL when absent */
FG_API void fg_tensor_file_free(fg_context *ctx, fg_tensor_file *f); /* NULL allowed; tensors live on in their scope */

/* --- IDX, the format of MNIST (LeCun, Cortes and Burges)
 * Plain or gzip-compressed (known by its first bytes, not its name), rank 1 to FG_MAX_RANK. Unsigned bytes give u8, the
 * integer types i32, float and double f32. MNIST images give u8 [60000,28,28], labels u8 [60000]. */
FG_API fg_tensor *fg_idx_load(fg_scope *s, const char *path);

/* --- PNG */
typedef struct fg_png_opts {
    int channels;              /* 1 grey, 3 RGB, 4 RGBA; 0: as in the file (palettes as RGB, any transparency as RGBA) */
    int max_side;              /* largest width or height accepted, in pixels; 0: 16384 */
    const uint8_t *background; /* [3] RGB under transparent pixels when alpha is dropped; NULL: white */
} fg_png_opts;
/* An image as u8 [H,W,C]. 16-bit samples are rounded to 8, grey from colour is ITU-R 601 luma; gamma is not applied. */
FG_API fg_tensor *fg_png_load(fg_scope *s, const char *path, const fg_png_opts *o);
/* Writes [H,W] or [H,W,C], C = 1, 3 or 4. u8 goes as it is (lo, hi unused); f32 and bf16 map lo..hi to 0..255, clamped
 * and rounded to nearest. NaN shows: magenta in RGB and RGBA, a one-pixel chequerboard in grey. */
FG_API fg_status fg_png_save(fg_context *ctx, const char *path, const fg_tensor *image, double lo, double hi);

/* --- images as u8 tensors */
/* Tiles images[N,H,W] or [N,H,W,C] (C = 1, 3, 4), row by row, into u8 [rows*(H+pad)+pad, cols*(W+pad)+pad, C], as
 * torchvision's make_grid. cols 0: ceil(sqrt N). background 0..255 fills padding and empty tiles. Values as fg_png_save. */
FG_API fg_tensor *fg_image_grid(fg_scope *s, const fg_tensor *images, int cols, int pad, int background, double lo, double hi);
/* u8 [H,W,C] -> u8 [h,w,C] by a triangle filter that widens when it reduces (antialiased), in the integer arithmetic of
 * Pillow's Image.resize(BILINEAR): horizontally, then vertically, each rounded to 8 bits. */
FG_API fg_tensor *fg_image_resize(fg_scope *s, const fg_tensor *image, int64_t h, int64_t w);
/* The middle h x w pixels of u8 [H,W,C], rounded as torchvision's CenterCrop. */
FG_API fg_tensor *fg_image_center_crop(fg_scope *s, const fg_tensor *image, int64_t h, int64_t w);

/* --- model files: weights and architecture, shared with Lua's G:save and nn.load */
/* Writes layer l (any tree of built-in layers) to a safetensors file with its architecture in the metadata; meta adds
 * strings of the caller's (keys other than "format" and "architecture"). */
FG_API fg_status fg_model_save(const fg_layer *l, const char *path, const fg_meta *meta, int n_meta);
/* Rebuilds the network of such a file. The caller owns the result; it trains (fg_layer_train) as new layers do. NULL with
 * the error set: FG_EIO, FG_EFORMAT for damage, FG_EUNSUPPORTED where a class is not built in (one defined in Lua). */
FG_API fg_layer *fg_model_load(fg_context *ctx, const char *path);

#ifdef __cplusplus
}
#endif
#endif
