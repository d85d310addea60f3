/* base.h: the ground floor. Context, errors, memory, threads, clock and files' small change: everything above
 * includes this and nothing here knows of tensors.
 *
 * The fg_context struct is defined here, open to the rooms above. Rooms hang their own state on it by pointer
 * (kernels: the dispatch table; tensor: live list; autograd: sequence number and hooks). */
#ifndef FG_BASE_H
#define FG_BASE_H

#include "forger.h"

#include <stdarg.h>
#include <stdatomic.h>

/* ---------------------------------------------------------------- sizes, overflow-checked */
/* a*b or a+b into *out; false on overflow of size_t. */
bool fg_size_mul(size_t a, size_t b, size_t *out);
bool fg_size_add(size_t a, size_t b, size_t *out);
/* product of dims times elem_size; false when a dim is negative or the result passes PTRDIFF_MAX. */
bool fg_shape_bytes(const fg_shape *sh, size_t elem_size, size_t *out);
int64_t fg_shape_numel(const fg_shape *sh); /* for shapes already checked */
bool fg_shape_equal(const fg_shape *a, const fg_shape *b);

/* ---------------------------------------------------------------- errors */
#define FG_ERROR_CAP 512
/* Records status and printf-formatted message (truncated, always terminated) and returns st.
 * The newest error wins here; a scope keeps its first. */
fg_status fg_error(fg_context *ctx, fg_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
fg_status fg_verror(fg_context *ctx, fg_status st, const char *fmt, va_list ap);

/* ---------------------------------------------------------------- allocator (alloc.c)
 * Caching size-class allocator. Small cells (<= 1 KB) come from 64 KB slabs, larger ones from 64-byte aligned blocks in
 * size classes (four a power of two, at most 25% waste), kept in free lists when freed. fg_free needs the size back.
 * On failure: evict hooks run (weight caches), cached blocks return to the system, one retry, then NULL with FG_ENOMEM
 * set ("out of memory: N bytes asked, N live"). Under ASan free cells and blocks are poisoned. Not thread-safe: only
 * the thread inside the context allocates. */
void *fg_alloc(fg_context *ctx, size_t bytes);        /* 64-byte aligned when bytes >= 64, else 16; never for 0 bytes NULL */
void *fg_calloc(fg_context *ctx, size_t bytes);       /* zeroed */
void fg_free(fg_context *ctx, void *p, size_t bytes); /* p NULL allowed */
void *fg_realloc(fg_context *ctx, void *p, size_t old_bytes, size_t new_bytes); /* NULL leaves p untouched */
typedef size_t (*fg_evict_fn)(fg_context *ctx, void *arg);                      /* frees what it can; returns bytes */
void fg_set_evict_hook(fg_context *ctx, fg_evict_fn fn, void *arg);
/* Host memory for what lives outside a context (layers of text, teams): plain malloc/free behind one door. */
void *fg_host_alloc(size_t bytes);
void *fg_host_realloc(void *p, size_t bytes);
void fg_host_free(void *p);
typedef struct fg_allocator fg_allocator;

/* ---------------------------------------------------------------- random numbers (rng.c)
 * Philox4x32-10 (Salmon et al., SC 2011). A stream is (key, offset); the counter is offset + element index / 4. */
void fg_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);
uint64_t fg_stream_advance(fg_context *ctx, fg_stream st,
                           uint64_t numbers); /* reserves numbers u32s (rounded up to 4); returns the old offset */
/* Pure functions of (key, offset, first element): chunks may be filled by any thread in any order. Offset counts blocks
 * of 4 numbers; element i of the sequence is word i%4 of block offset + i/4. first must be a multiple of 4. */
void fg_philox_fill_u32(uint64_t key, uint64_t offset, uint64_t first, uint32_t *out, size_t n);
void fg_philox_fill_uniform(uint64_t key, uint64_t offset, uint64_t first, fg_real *out, size_t n, fg_real lo, fg_real hi);
/* Box-Muller on pairs (own log, sin and cos so that bits do not depend on libm); n may be odd. */
void fg_philox_fill_normal(uint64_t key, uint64_t offset, uint64_t first, fg_real *out, size_t n, fg_real mean, fg_real std);

/* ---------------------------------------------------------------- thread team (team.c)
 * fg_parallel runs fn(arg, chunk, worker) for every chunk in 0..chunks-1, each exactly once; worker is in
 * 0..fg_get_threads-1 and no two calls run at once with the same worker. The number of chunks must depend on the
 * problem only, never on the number of threads: results then have the same bits for any team. chunks == 1 runs on the
 * caller without waking anybody. Threads start on first use, fewer than asked when the system refuses (never an error),
 * reset in a forked child, are joined by fg_context_free. They spin up to 1 ms before they sleep, 50 us where they outnumber
 * the cores. */
typedef void (*fg_chunk_fn)(void *arg, int chunk, int worker);
void fg_parallel(fg_context *ctx, int chunks, fg_chunk_fn fn, void *arg);
/* Splits 0..n-1 in ranges of grain elements (the last shorter) and runs fn on each; no wake-up when one range suffices. */
typedef void (*fg_range_fn)(void *arg, int64_t first, int64_t end, int worker);
void fg_parallel_range(fg_context *ctx, int64_t n, int64_t grain, fg_range_fn fn, void *arg);
/* Called on every participating thread (the caller too) around a parallel section and by fg_enter/fg_leave: kernels
 * install these to set MXCSR and tile state and to restore the host's. */
typedef struct fg_thread_hooks {
    void (*enter)(uint64_t saved[2]);
    void (*leave)(const uint64_t saved[2]);
} fg_thread_hooks;
int fg_default_threads(void); /* cores by affinity and cgroup quota, 1..64 */
typedef struct fg_team fg_team;

/* ---------------------------------------------------------------- OS layer (os.c) */
double fg_clock_seconds(void);  /* monotonic */
size_t fg_resident_bytes(void); /* resident set size of the process, 0 when unknown */
bool fg_is_terminal(int fd);
int fg_terminal_columns(int fd); /* 80 when unknown */
/* Whole file into *data (fg_alloc'ed, *size bytes, one zero byte after it not counted; free with fg_free(ctx, data,
 * size + 1)). Refuses files above max_bytes. Errors FG_EIO name the path and strerror. */
fg_status fg_read_file(fg_context *ctx, const char *path, size_t max_bytes, void **data, size_t *size);
/* Writes path.tmp.PID beside path, fsync, rename; removes the temporary on failure. parts are written in turn. */
typedef struct fg_part {
    const void *data;
    size_t size;
} fg_part;
fg_status fg_write_file(fg_context *ctx, const char *path, const fg_part *parts, int n);
/* The same in steps, for writers that stream: begin gives a FILE*; commit renames; abort removes. */
typedef struct fg_tmpfile {
    void *file; /* FILE * */
    char *tmp, *path;
} fg_tmpfile;
fg_status fg_tmpfile_begin(fg_context *ctx, const char *path, fg_tmpfile *t);
fg_status fg_tmpfile_commit(fg_context *ctx, fg_tmpfile *t);
void fg_tmpfile_abort(fg_context *ctx, fg_tmpfile *t);
fg_status fg_mkdirs(fg_context *ctx, const char *path); /* like mkdir -p */
bool fg_path_exists(const char *path);
/* Names in a folder, sorted by strcmp, "." and ".." left out; *names is one fg_host_alloc'ed block, fg_host_free it. */
fg_status fg_list_dir(fg_context *ctx, const char *path, char ***names, size_t *n);
/* SIGINT: one of the two mutable globals. install saves the old handler; the first signal sets the flag, a second
 * restores the default action and raises. Nested installs count. */
void fg_interrupt_install(void);
void fg_interrupt_remove(void);
bool fg_interrupt_pending(void);
void fg_interrupt_clear(void);

/* ---------------------------------------------------------------- CPU (cpu.c) */
typedef enum fg_isa_level {
    FG_ISA_SCALAR = 0,
    FG_ISA_AVX2,
    FG_ISA_AVX512,
    FG_ISA_AVX512BF16,
    FG_ISA_AMX,
    FG_ISA_COUNT
} fg_isa_level;
bool fg_cpu_has(fg_isa_level isa); /* CPU and OS support, AMX permission asked for once */
const char *fg_isa_name(fg_isa_level isa);
bool fg_isa_from_name(const char *name, fg_isa_level *out);
/* Best level, or FORGER_ISA; false with the reason in msg when FORGER_ISA is unknown or unsupported. */
bool fg_isa_pick(fg_isa_level *out, char *msg, size_t cap);

/* ---------------------------------------------------------------- context */
struct fg_kernels;
struct fg_node;

struct fg_context {
    fg_allocator *alloc;
    fg_team *team;
    fg_thread_hooks hooks;
    fg_status err_status;
    char err[FG_ERROR_CAP];
    int index_base;

    uint64_t seed;
    fg_stream_state streams[FG_STREAM_COUNT];

    fg_isa_level isa;
    const struct fg_kernels *k; /* set by kernels/ through fg_context_new */
    fg_precision precision;
    bool fast_conv;

    bool grad_enabled;
    uint64_t node_seq;                       /* sequence number of the newest node */
    struct fg_context_tensors *tensors;      /* owned by tensor/ */
    void (*closing)(struct fg_context *ctx); /* tensor/: drops all graphs and gradients, while every room is still open */
    struct fg_autograd *autograd;            /* owned by autograd/ */
    void *packed_cache;                      /* owned by ops/: list of packed weights */

    _Atomic(uintptr_t) owner; /* identity of the thread inside; 0 when none */
    int depth;
    uint64_t enter_saved[2];
};

/* Every public call with work to do is bracketed: enter takes the context for this thread (false and FG_EBUSY when
 * another has it), the outermost leave gives it back and ends a "fail the retries too" run of the test hook. */
bool fg_enter(fg_context *ctx);
void fg_leave(fg_context *ctx);

/* Rooms above register how a context is completed and torn down (base includes nothing above itself). Called by
 * fg_context_new in order and by fg_context_free in reverse; defined in ops/install.c, the top of the core. */
typedef struct fg_room {
    const char *name;
    fg_status (*open)(fg_context *ctx);
    void (*close)(fg_context *ctx);
} fg_room;
extern const fg_room fg_rooms[]; /* ends with a NULL name */

#endif
