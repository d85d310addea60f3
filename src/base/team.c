/* team.c: a small pthread team, ours rather than OpenMP's (libgomp ends the process when a thread cannot start, hangs
 * in forked children and reads its policy from the environment).
 *
 * A parallel section has a fixed number of chunks, chosen from the problem. They are cut into one range per thread. A range
 * is published by a 64-bit ticket, (generation << 32 | next chunk); whoever wants a chunk reads the ticket, reads the job,
 * and takes the chunk by compare-and-swap: if that succeeds, the section was still open and the job it read belongs to this
 * generation. A thread takes its own range first and then what others have left: layer after layer the same rows of a
 * batch are then worked on by the same core, whose caches hold them (steps of linear layers on two threads: 3 to 5%). The
 * caller works too, then waits until `done` reaches the number of chunks.
 *
 * Idle threads spin before they sleep: 1 ms where each can have a core of its own, so that they are still awake after the small
 * operations and the Lua code between two sections (with 50 us they slept 13 times a step of linear layers, and waking takes as
 * long as many a section); 50 us where threads outnumber cores, for there the spinning one may hold the core that another needs.
 *
 * Worker 0 is the caller, thread i is worker i + 1. Threads start on first use; if the system refuses one, the team
 * stays smaller. A forked child has no threads: pthread_atfork resets every team of the process (the list of teams is one
 * of base's two mutable globals), and they start again on demand. fg_team_free joins. Workers block all signals. */
#define _GNU_SOURCE
#include "room.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 64, CLOSED = 0x7fffffff /* no section has more chunks */ };

typedef struct worker {
    fg_team *team;
    int id;
    pthread_t thread;
    _Atomic(uintptr_t) self; /* for nested sections: which worker am I */
} worker;

typedef struct range { /* a cache line each */
    _Atomic(uint64_t) ticket;
    _Atomic(int) end;
    char pad[64 - sizeof(uint64_t) - sizeof(int)];
} range;

struct fg_team {
    int size;     /* threads that a section may use, the caller included */
    int cores;    /* that the process had when the team was made */
    int running;  /* started threads */
    bool refused; /* the system refused one: do not ask again until resize */
    worker workers[MAX_THREADS];

    /* The job. Written by the caller between sections; atomics because a late worker may read while they change, and
     * then throws away what it read. */
    range ranges[MAX_THREADS];
    _Atomic(int) parts; /* ranges of the section */
    _Atomic(int) chunks;
    _Atomic(uintptr_t) fn, arg;
    _Atomic(uintptr_t) hook_enter, hook_leave;
    _Atomic(int) done;
    _Atomic(bool) active; /* a section is open */
    uintptr_t caller;     /* who opened it */

    _Atomic(int) sleepers;
    _Atomic(bool) caller_sleeps, stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
    fg_team *next, *prev;
};

static struct {
    pthread_mutex_t mutex;
    fg_team *head;
} teams = { PTHREAD_MUTEX_INITIALIZER, NULL };
static pthread_once_t atfork_once = PTHREAD_ONCE_INIT;

static inline void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void init_sync(fg_team *t) {
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->wake, NULL);
    pthread_cond_init(&t->finished, NULL);
}

/* ---------------------------------------------------------------- fork */
static void before_fork(void) { pthread_mutex_lock(&teams.mutex); }
static void after_fork_parent(void) { pthread_mutex_unlock(&teams.mutex); }
static void after_fork_child(void) {
    for (fg_team *t = teams.head; t; t = t->next) {
        for (int i = 0; i < t->running; i++) atomic_store(&t->workers[i].self, 0);
        t->running = 0;
        t->refused = false;
        atomic_store(&t->active, false);
        atomic_store(&t->sleepers, 0);
        atomic_store(&t->caller_sleeps, false);
        atomic_store(&t->stop, false);
        init_sync(t); /* a thread that is gone may have held the old ones */
    }
    pthread_mutex_unlock(&teams.mutex);
}
static void install_atfork(void) { pthread_atfork(before_fork, after_fork_parent, after_fork_child); }

/* ---------------------------------------------------------------- chunks */
/* The section's number: that of the first range, which opens last. */
static uint64_t generation_of(fg_team *t) { return atomic_load(&t->ranges[0].ticket) >> 32; }

/* Works on chunks of the open section until none is left. */
static void work(fg_team *t, int id, uint64_t *generation) {
    bool any = false;
    uint64_t saved[2] = { 0, 0 };
    uintptr_t leave = 0;
    *generation = generation_of(t);
    /* A late worker may read the number of ranges of another section, and leave one out: the caller does not. */
    int parts = atomic_load_explicit(&t->parts, memory_order_relaxed), own = id < parts ? id : 0;
    for (int i = 0; i < parts;) {
        range *r = &t->ranges[(own + i) % parts];
        uint64_t ticket = atomic_load_explicit(&r->ticket, memory_order_acquire);
        int chunk = (int)(uint32_t)ticket;
        /* acquire: whoever reads the next section's number here also sees that this ticket was closed, and its CAS fails */
        int end = atomic_load_explicit(&r->end, memory_order_acquire);
        int chunks = atomic_load_explicit(&t->chunks, memory_order_relaxed);
        fg_chunk_fn fn = (fg_chunk_fn)atomic_load_explicit(&t->fn, memory_order_relaxed);
        void *arg = (void *)atomic_load_explicit(&t->arg, memory_order_relaxed);
        uintptr_t enter = atomic_load_explicit(&t->hook_enter, memory_order_relaxed);
        uintptr_t leave_now = atomic_load_explicit(&t->hook_leave, memory_order_relaxed);
        if (chunk >= end) {
            i++;
            continue;
        }
        if (!atomic_compare_exchange_weak_explicit(&r->ticket, &ticket, ticket + 1, memory_order_acq_rel, memory_order_relaxed))
            continue;
        if (!any) {
            any = true;
            leave = leave_now;
            if (enter && id) ((void (*)(uint64_t *))enter)(saved);
        }
        fn(arg, chunk, id);
        if (atomic_fetch_add(&t->done, 1) + 1 == chunks && id && atomic_load(&t->caller_sleeps)) {
            pthread_mutex_lock(&t->mutex);
            pthread_cond_signal(&t->finished);
            pthread_mutex_unlock(&t->mutex);
        }
    }
    if (any && leave && id) ((void (*)(const uint64_t *))leave)(saved);
}

static double spin_seconds(const fg_team *t) { return t->size <= t->cores ? 1e-3 : 50e-6; }

static void *worker_main(void *p) {
    worker *w = p;
    fg_team *t = w->team;
    atomic_store(&w->self, (uintptr_t)pthread_self());
    uint64_t seen = 0;
    work(t, w->id, &seen);
    while (!atomic_load(&t->stop)) {
        double until = 0;
        bool changed = false;
        for (int spin = 0;; spin++) {
            if (generation_of(t) != seen || atomic_load_explicit(&t->stop, memory_order_relaxed)) {
                changed = true;
                break;
            }
            pause_cpu();
            if (spin % 64 != 63) continue;
            double now = fg_clock_seconds();
            if (until == 0) until = now + spin_seconds(t);
            else if (now > until) break;
        }
        if (!changed) {
            pthread_mutex_lock(&t->mutex);
            atomic_fetch_add(&t->sleepers, 1); /* before the check: the caller looks after publishing */
            while (generation_of(t) == seen && !atomic_load(&t->stop)) pthread_cond_wait(&t->wake, &t->mutex);
            atomic_fetch_sub(&t->sleepers, 1);
            pthread_mutex_unlock(&t->mutex);
        }
        work(t, w->id, &seen);
    }
    return NULL;
}

static void start_threads(fg_team *t) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (t->running < t->size - 1) {
        worker *w = &t->workers[t->running];
        w->team = t;
        w->id = t->running + 1;
        atomic_store(&w->self, 0);
        if (pthread_create(&w->thread, NULL, worker_main, w)) {
            t->refused = true;
            break;
        }
        t->running++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void stop_threads(fg_team *t) {
    if (t->running) {
        pthread_mutex_lock(&t->mutex);
        atomic_store(&t->stop, true);
        pthread_cond_broadcast(&t->wake);
        pthread_mutex_unlock(&t->mutex);
        for (int i = 0; i < t->running; i++) pthread_join(t->workers[i].thread, NULL);
        for (int i = 0; i < t->running; i++) atomic_store(&t->workers[i].self, 0);
    }
    atomic_store(&t->stop, false);
    t->running = 0;
    t->refused = false;
}

/* ---------------------------------------------------------------- sections */
static void wait_done(fg_team *t, int chunks) {
    double until = 0;
    for (int spin = 0;; spin++) {
        if (atomic_load_explicit(&t->done, memory_order_acquire) == chunks) return;
        pause_cpu();
        if (spin % 64 != 63) continue;
        double now = fg_clock_seconds();
        if (until == 0) until = now + spin_seconds(t);
        else if (now > until) break;
    }
    pthread_mutex_lock(&t->mutex);
    atomic_store(&t->caller_sleeps, true);
    while (atomic_load(&t->done) != chunks) pthread_cond_wait(&t->finished, &t->mutex);
    atomic_store(&t->caller_sleeps, false);
    pthread_mutex_unlock(&t->mutex);
}

static void run_inline(int chunks, fg_chunk_fn fn, void *arg, int id) {
    for (int i = 0; i < chunks; i++) fn(arg, i, id);
}

/* Worker number of the calling thread inside the open section. */
static int nested_id(fg_team *t) {
    uintptr_t self = (uintptr_t)pthread_self();
    for (int i = 0; i < MAX_THREADS - 1; i++)
        if (atomic_load(&t->workers[i].self) == self) return i + 1;
    return 0;
}

void fg_parallel(fg_context *ctx, int chunks, fg_chunk_fn fn, void *arg) {
    if (chunks <= 0) return;
    fg_team *t = ctx->team;
    if (atomic_load_explicit(&t->active, memory_order_relaxed)) { /* from inside a chunk */
        run_inline(chunks, fn, arg, nested_id(t));
        return;
    }
    uint64_t saved[2];
    bool hooks = ctx->depth == 0 && ctx->hooks.enter && ctx->hooks.leave; /* inside a public call they hold already */
    if (hooks) ctx->hooks.enter(saved);
    if (chunks == 1 || t->size == 1) {
        run_inline(chunks, fn, arg, 0);
    } else {
        if (t->running < t->size - 1 && !t->refused) start_threads(t);
        uint64_t generation = generation_of(t);
        int before = atomic_load_explicit(&t->parts, memory_order_relaxed), parts = t->running + 1;
        if (parts > chunks) parts = chunks;
        /* Closed before the job changes: a late worker holding (old generation, end of the old range) could otherwise
         * find a larger end and take a chunk that is not on offer yet. */
        for (int i = 0; i < before || i < parts; i++)
            atomic_store_explicit(&t->ranges[i].ticket, generation << 32 | CLOSED, memory_order_relaxed);
        atomic_store_explicit(&t->active, true, memory_order_relaxed);
        atomic_store_explicit(&t->done, 0, memory_order_relaxed);
        for (int i = 0; i < parts; i++)
            atomic_store_explicit(&t->ranges[i].end, (int)((int64_t)chunks * (i + 1) / parts), memory_order_release);
        atomic_store_explicit(&t->chunks, chunks, memory_order_relaxed);
        atomic_store_explicit(&t->fn, (uintptr_t)fn, memory_order_relaxed);
        atomic_store_explicit(&t->arg, (uintptr_t)arg, memory_order_relaxed);
        atomic_store_explicit(&t->hook_enter, (uintptr_t)ctx->hooks.enter, memory_order_relaxed);
        atomic_store_explicit(&t->hook_leave, (uintptr_t)ctx->hooks.leave, memory_order_relaxed);
        atomic_store_explicit(&t->parts, parts, memory_order_relaxed);
        for (int i = parts - 1; i >= 0; i--) /* opens the section */
            atomic_store(&t->ranges[i].ticket, (generation + 1) << 32 | (uint64_t)((int64_t)chunks * i / parts));
        if (atomic_load(&t->sleepers) > 0) {
            pthread_mutex_lock(&t->mutex);
            pthread_cond_broadcast(&t->wake);
            pthread_mutex_unlock(&t->mutex);
        }
        uint64_t ignore;
        work(t, 0, &ignore);
        wait_done(t, chunks);
        atomic_store_explicit(&t->active, false, memory_order_relaxed);
    }
    if (hooks) ctx->hooks.leave(saved);
}

typedef struct range_job {
    int64_t n, grain;
    fg_range_fn fn;
    void *arg;
} range_job;

static void range_chunk(void *arg, int chunk, int id) {
    range_job *j = arg;
    int64_t first = chunk * j->grain, end = first + j->grain;
    j->fn(j->arg, first, end < j->n ? end : j->n, id);
}

void fg_parallel_range(fg_context *ctx, int64_t n, int64_t grain, fg_range_fn fn, void *arg) {
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    if (n / grain >= INT32_MAX) grain = n / (INT32_MAX / 2) + 1;
    range_job j = { n, grain, fn, arg };
    fg_parallel(ctx, (int)((n + grain - 1) / grain), range_chunk, &j);
}

/* ---------------------------------------------------------------- life */
fg_team *fg_team_new(int cores) {
    fg_team *t = fg_host_alloc(sizeof *t);
    if (!t) return NULL;
    memset(t, 0, sizeof *t);
    t->size = t->cores = cores;
    init_sync(t);
    pthread_once(&atfork_once, install_atfork);
    pthread_mutex_lock(&teams.mutex);
    t->next = teams.head;
    if (teams.head) teams.head->prev = t;
    teams.head = t;
    pthread_mutex_unlock(&teams.mutex);
    return t;
}

void fg_team_free(fg_team *t) {
    if (!t) return;
    stop_threads(t);
    pthread_mutex_lock(&teams.mutex);
    if (t->prev) t->prev->next = t->next;
    else teams.head = t->next;
    if (t->next) t->next->prev = t->prev;
    pthread_mutex_unlock(&teams.mutex);
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->wake);
    pthread_cond_destroy(&t->finished);
    fg_host_free(t);
}

void fg_team_resize(fg_team *t, int threads) {
    stop_threads(t);
    t->size = threads;
}

int fg_team_size(const fg_team *t) { return t->size; }

/* ---------------------------------------------------------------- how many */
/* Cores that a quota of the cgroup's allows, rounded up; 0 when there is none. Both hierarchies, the process's own group
 * and, as containers show it, the root. */
static int quota_of(const char *dir) {
    char path[512];
    long long quota = -1, period = 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%lld %lld", &quota, &period) != 2) quota = -1;
        fclose(f);
    } else {
        const char *names[2] = { "cpu.cfs_quota_us", "cpu.cfs_period_us" };
        long long *values[2] = { &quota, &period };
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/%s", dir, names[i]);
            f = fopen(path, "r");
            if (!f) return 0;
            if (fscanf(f, "%lld", values[i]) != 1) *values[i] = -1;
            fclose(f);
        }
    }
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

static int cgroup_quota(void) {
    int best = quota_of("");
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f) return best;
    char line[400];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *dir = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!dir || !dir[1] || !dir[2]) continue; /* "/" is the root, done above */
        *dir++ = 0;
        if (controllers[1] && !strstr(controllers + 1, "cpu")) continue;
        int q = quota_of(dir);
        if (q > 0 && (best == 0 || q < best)) best = q;
    }
    fclose(f);
    return best;
}

int fg_default_threads(void) {
    int n = 1;
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    else n = (int)sysconf(_SC_NPROCESSORS_ONLN);
#else
    n = (int)sysconf(_SC_NPROCESSORS_ONLN);
#endif
    int quota = cgroup_quota();
    if (quota > 0 && quota < n) n = quota;
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}
