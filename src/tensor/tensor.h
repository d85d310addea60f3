/* tensor.h: the tensor and its storage, open to the rooms above.
 *
 * A tensor is (storage, offset, shape, dtype), always contiguous and row-major. Views (reshape, slice of the leading axis)
 * share a storage. A small tensor costs one slab cell: header, storage and up to FG_INLINE_BYTES of data together.
 *
 * References: fg_tensor is counted (fg_keep, fg_release). It owns a reference to its storage, its node and its grad.
 * Saved outputs in the graph hold a tensor without node, so there is no cycle. */
#ifndef FG_TENSOR_H
#define FG_TENSOR_H

#include "base.h"
#include "bf16.h"

#define FG_INLINE_BYTES 64

typedef struct fg_storage {
    fg_context *ctx;
    void *data;   /* 64-byte aligned, or the inline buffer of the tensor that was made with it */
    size_t bytes; /* of the block at data */
    uint32_t refs;
    uint32_t version;                           /* grows with every in-place write */
    void *packed;                               /* ops/: cached packed weights made from this storage, or NULL */
    const struct fg_packed_hooks *packed_hooks; /* NULL without */
    void (*release)(void *owner);               /* foreign memory: called instead of freeing data */
    void *owner;
    bool inline_data; /* data lies in the cell of the tensor `home`, which is freed when both are gone */
} fg_storage;

/* What ops/ does with the packed forms of a storage. */
typedef struct fg_packed_hooks {
    /* frees them: all before the storage dies, else (the data changed) those that are out of date */
    void (*drop)(fg_storage *st, bool dies);
    /* Asked by whoever is about to rewrite all n elements, from the first row to the last: some forms can be made anew while a
     * piece of rows is still in the cache. The elements of a piece; 0: none can. */
    int64_t (*renew_begin)(fg_storage *st, int64_t n);
    /* The piece that starts at element `first` has been rewritten: by any thread, once for each. fg_storage_written follows. */
    void (*renew)(const fg_storage *st, int64_t first);
} fg_packed_hooks;

struct fg_tensor {
    uint32_t refs;
    uint8_t dtype;      /* fg_dtype */
    bool requires_grad; /* a leaf that wants a gradient, or has a node */
    bool is_view;       /* shares the storage of another tensor: in-place writes are refused */
    bool cell_inline;   /* this cell also holds own_storage and data */
    fg_shape shape;
    int64_t numel;
    fg_storage *storage;
    size_t offset;        /* bytes */
    struct fg_node *node; /* op that made it, NULL for leaves */
    fg_tensor *grad;
    fg_context *ctx;
    fg_tensor *prev, *next; /* the context's list of live tensors */
    uint64_t tag;           /* free for the room above (binding: handle identity) */
};

static inline void *fg_data(const fg_tensor *t) { return (char *)t->storage->data + t->offset; }
static inline fg_real *fg_reals(const fg_tensor *t) { return (fg_real *)fg_data(t); }

/* Bare making: a counted reference that belongs to the caller, in no scope. NULL with the error set. Contents undefined. */
fg_tensor *fg_tensor_new(fg_context *ctx, fg_dtype dt, const fg_shape *shape);
/* A view of t's storage: byte offset relative to t's own; the shape must fit. No node, no grad. */
fg_tensor *fg_tensor_view(fg_tensor *t, const fg_shape *shape, size_t byte_offset);
/* Shares storage, shape and dtype, without node and grad: what the graph saves of an output. */
fg_tensor *fg_tensor_bare(fg_tensor *t);
size_t fg_tensor_bytes(const fg_tensor *t);
/* Bumps the version after the checks of in-place writing; what names the caller in the message ("fill"). */
fg_status fg_tensor_begin_write(fg_tensor *t, const char *what);

/* After every write to a tensor's data: what was saved from it, or packed, is out of date. */
static inline void fg_storage_written(fg_storage *st) {
    st->version++;
    if (st->packed_hooks) st->packed_hooks->drop(st, false);
}

/* Light work, a few operations an element, stays on the caller below this many elements: 64 K take 5 us from cache, and
 * waking a thread that sleeps takes longer. */
#define FG_LIGHT 65536

/* Converts n elements of dtype from to dtype to. Float to integer truncates and saturates, NaN gives 0. */
void fg_convert(const fg_context *ctx, fg_dtype from, const void *src, fg_dtype to, void *dst, size_t n);
/* The same for whole tensors of one size, src into dst, over the thread team. */
void fg_convert_tensor(const fg_tensor *src, fg_tensor *dst);

/* ---------------------------------------------------------------- scopes */
struct fg_scope {
    fg_context *ctx;
    fg_tensor **items;
    int n, cap;
    fg_status status; /* first error */
    char err[FG_ERROR_CAP];
    fg_scope *next_open; /* the context's list of open scopes */
};
/* Moves the caller's reference into s; on failure to grow, releases t, marks s failed and returns NULL. */
fg_tensor *fg_scope_push(fg_scope *s, fg_tensor *t);
/* Copies the context's newest error into s when s has none yet; returns NULL so that ops can `return fg_scope_fail(s)`. */
fg_tensor *fg_scope_fail(fg_scope *s);
/* Sets the error and fails the scope in one step. */
fg_tensor *fg_scope_error(fg_scope *s, fg_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void fg_scope_release_to(fg_scope *s, int n); /* releases items above the first n */

/* Hooks that autograd installs so that releasing a tensor can release its node without tensor/ knowing nodes. */
typedef struct fg_context_tensors {
    fg_tensor *live;  /* list head */
    uint64_t count;   /* live tensors */
    fg_scope *scopes; /* open scopes, the newest first */
    void (*node_release)(fg_context *ctx, struct fg_node *node);
    const char *(*node_name)(const struct fg_node *node);
    fg_tensor *(*convert_op)(fg_scope *s, fg_tensor *t, fg_dtype dt);
} fg_context_tensors;

extern const fg_room fg_room_tensor;

#endif
