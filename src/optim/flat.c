/* flat.c: one parallel section over all tensors of a list.
 *
 *     tensors   [ weight 0      ][b][ weight 1              ][w2][b]
 *     parts     | 0 : 1 : 2 : 3 |0 | 0  :  1  :  2  :  3    | 2 |3
 *     chunks    | part 0 of all  | part 1 of all  | ...
 *
 * A network has many small tensors and a few large ones: a section for each would wake the team a dozen times a step, mostly
 * for a few microseconds of work. So the list is cut as if it were one row, into equal chunks of at least 8 K elements
 * (about 8 us of Adam, out of the second cache), by its length only. A list shorter than two chunks stays on the calling thread.
 *
 * The row is made of PARTS parts, each of them the same part of every large tensor, so that a thread gets the same rows of each,
 * as it does when gradients are made and weights are packed: what it reads is then in its own caches. (Two threads whose caches
 * are far apart: Adam on the generator of the toy GAN 480 us as one long row, 175 so.) */
#include "flat.h"

enum { PIECE = 8192, LINE = 16, PARTS = 8 };

int fg_flat_chunks(const int64_t *end, int n) {
    int64_t chunks = n ? end[n - 1] / PIECE : 0;
    return chunks < 1 ? 1 : chunks > 4096 ? 4096 : (int)chunks;
}

typedef struct flat_job {
    const int64_t *end, *whole;
    int n, chunks, parts;
    fg_flat_fn fn;
    void *arg;
} flat_job;

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
static int64_t unit_of(const flat_job *j, int i) { return j->whole && j->whole[i] ? j->whole[i] : LINE; }

/* Where part `part` of tensor i begins; small tensors are in one part, each in another. */
static int64_t part_cut(const flat_job *j, int i, int part) {
    int64_t n = j->end[i] - (i ? j->end[i - 1] : 0), unit = unit_of(j, i);
    if (n < PIECE) return part > i % j->parts ? n : 0;
    int64_t at = round_up(n, unit) / unit * part / j->parts * unit;
    return at < n ? at : n;
}

/* Of a part's row, elements lo..hi: the pieces that begin there. */
static void run_chunk(void *arg, int chunk, int worker) {
    const flat_job *j = arg;
    (void)worker;
    int part = 0;
    while ((int64_t)j->chunks * (part + 1) / j->parts <= chunk) part++;
    int64_t first = (int64_t)j->chunks * part / j->parts, chunks = (int64_t)j->chunks * (part + 1) / j->parts - first;
    int64_t row = 0, at = 0;
    for (int i = 0; i < j->n; i++) row += part_cut(j, i, part + 1) - part_cut(j, i, part);
    int64_t lo = row * (chunk - first) / chunks, hi = row * (chunk - first + 1) / chunks;
    for (int i = 0; i < j->n && at < hi; i++) {
        int64_t begin = part_cut(j, i, part), len = part_cut(j, i, part + 1) - begin, unit = unit_of(j, i);
        int64_t from = lo > at ? round_up(lo - at, unit) : 0, to = hi - at < len ? round_up(hi - at, unit) : len;
        if (to > len) to = len;
        if (to > from) j->fn(j->arg, chunk, i, begin + from, to - from);
        at += len;
    }
}

void fg_flat_run(fg_context *ctx, const int64_t *end, int n, const int64_t *whole, fg_flat_fn fn, void *arg) {
    if (n < 1 || end[n - 1] < 1) return;
    int chunks = fg_flat_chunks(end, n);
    flat_job j = { end, whole, n, chunks, chunks < PARTS ? chunks : PARTS, fn, arg };
    fg_parallel(ctx, j.chunks, run_chunk, &j);
}
