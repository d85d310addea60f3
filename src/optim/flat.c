/* flat.c: one parallel section over all tensors of a list.
 *
 *     tensors   [ weight 0      ][b][ weight 1          ][b][w2][b]
 *     chunks    |       0       |       1       |       2       |
 *
 * A network has many small tensors and a few large ones: a section for each would wake the team a dozen times a step, mostly
 * for a few microseconds of work. So the list is cut as if it were one row, into equal chunks of at least 8 K elements
 * (about 8 us of Adam, out of the second cache), by its length only. A list shorter than two chunks stays on the calling thread.
 */
#include "flat.h"

enum { PIECE = 8192, LINE = 16 };

int fg_flat_chunks(const int64_t *end, int n) {
    int64_t chunks = n ? end[n - 1] / PIECE : 0;
    return chunks < 1 ? 1 : chunks > 4096 ? 4096 : (int)chunks;
}

typedef struct flat_job {
    const int64_t *end;
    int n, chunks;
    fg_flat_fn fn;
    void *arg;
} flat_job;

/* First element of a chunk */
static int64_t cut(const flat_job *j, int chunk) {
    int64_t total = j->end[j->n - 1];
    return chunk == j->chunks ? total : total / j->chunks * chunk / LINE * LINE;
}

static void run_chunk(void *arg, int chunk, int worker) {
    const flat_job *j = arg;
    int64_t at = cut(j, chunk), stop = cut(j, chunk + 1);
    int lo = 0, hi = j->n - 1; /* the first tensor that ends after `at` */
    (void)worker;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (j->end[mid] > at) hi = mid;
        else lo = mid + 1;
    }
    for (int i = lo; at < stop; i++) {
        int64_t begin = i ? j->end[i - 1] : 0, last = j->end[i] < stop ? j->end[i] : stop;
        if (last > at) j->fn(j->arg, chunk, i, at - begin, last - at);
        at = last;
    }
}

void fg_flat_run(fg_context *ctx, const int64_t *end, int n, fg_flat_fn fn, void *arg) {
    if (n < 1 || end[n - 1] < 1) return;
    flat_job j = { end, n, fg_flat_chunks(end, n), fn, arg };
    fg_parallel(ctx, j.chunks, run_chunk, &j);
}
