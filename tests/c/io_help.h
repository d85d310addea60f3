/* io_help.h: what the tests of src/io share: a context, a scratch folder, raw files, and "no byte is still live". */
#ifndef IO_HELP_H
#define IO_HELP_H

#include "input.h"
#include "tensor.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static fg_context *ctx;
static size_t io_base; /* live bytes of an idle context */
static char folder[64];
#define VECTORS "tests/vectors/io/"

static void io_setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    io_base = fg_memory_stats(ctx).live;
    strcpy(folder, "/tmp/forger_io_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

/* Files in the scratch folder; with remove, they go. */
static int io_files(bool remove) {
    int n = 0;
    char path[512];
    DIR *d = opendir(folder);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (e->d_name[0] == '.') continue;
        n++;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (remove && unlink(path) != 0) rmdir(path);
    }
    closedir(d);
    return n;
}

static void io_teardown(void) {
    io_files(true);
    rmdir(folder);
    fg_context_free(ctx);
}

static inline const char *io_path(const char *name) {
    static char paths[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

static inline void io_write(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* The whole file; the caller frees it. */
static inline uint8_t *io_read(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = malloc(*n + 1);
    ck_assert_uint_eq(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static inline size_t io_live(void) { return fg_memory_stats(ctx).live - io_base; }

#define ck_error(part) ck_assert_msg(strstr(fg_last_error(ctx), part) != NULL, "message: %s", fg_last_error(ctx))
#define ck_ok(st)      ck_assert_msg((st) == FG_OK, "%s", fg_last_error(ctx))

/* Writes beyond this many bytes of a file fail, as on a full disk; RLIM_INFINITY ends it. */
static inline void io_limit_files(rlim_t bytes) {
    struct rlimit l;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes < l.rlim_max ? bytes : l.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &l), 0);
    signal(SIGXFSZ, bytes == RLIM_INFINITY ? SIG_DFL : SIG_IGN);
}

/* Runs `call` with each allocation failing in turn until it succeeds; every failure is FG_ENOMEM and leaks nothing. */
#define EACH_ALLOCATION_FAILS(call)                                                                                              \
    do {                                                                                                                         \
        size_t live_ = io_live();                                                                                                \
        bool done_ = false;                                                                                                      \
        uint64_t nth_ = 0;                                                                                                       \
        while (!done_) {                                                                                                         \
            fg_clear_error(ctx);                                                                                                 \
            fg_memory_fail_nth(ctx, ++nth_, false);                                                                              \
            done_ = (call);                                                                                                      \
            fg_memory_fail_nth(ctx, 0, false);                                                                                   \
            if (!done_) ck_assert_msg(fg_last_status(ctx) == FG_ENOMEM, "request %d: %s", (int)nth_, fg_last_error(ctx));        \
            ck_assert_uint_eq(io_live(), live_);                                                                                 \
            ck_assert_uint_lt(nth_, 1000);                                                                                       \
        }                                                                                                                        \
        ck_assert_uint_gt(nth_, 1);                                                                                              \
    } while (0)

static inline int io_main(const char *name, const TTest *const *tests, int n) {
    Suite *s = suite_create(name);
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, io_setup, io_teardown);
    for (int i = 0; i < n; i++) tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
#define IO_MAIN(name, ...)                                                                                                       \
    int main(void) {                                                                                                             \
        const TTest *const tests[] = { __VA_ARGS__ };                                                                            \
        return io_main(name, tests, (int)(sizeof tests / sizeof *tests));                                                        \
    }

#endif
