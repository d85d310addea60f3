/* test_base.c: sizes, errors, context, the one-thread rule, files, SIGINT. */
#define _GNU_SOURCE
#include "base.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static fg_context *ctx;
static char dir[64];

static void setup(void) {
    ctx = fg_context_new();
    ck_assert_ptr_nonnull(ctx);
    strcpy(dir, "/tmp/forger-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void) {
    fg_context_free(ctx);
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

static const char *in_dir(const char *name) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

START_TEST(sizes_do_not_wrap) {
    size_t n = 0;
    ck_assert(fg_size_mul(3, 5, &n) && n == 15);
    ck_assert(!fg_size_mul(SIZE_MAX / 2, 3, &n));
    ck_assert(fg_size_add(SIZE_MAX - 1, 1, &n) && n == SIZE_MAX);
    ck_assert(!fg_size_add(SIZE_MAX, 1, &n));
    ck_assert(fg_shape_bytes(&FG_SHAPE(2, 3), 4, &n) && n == 24);
    ck_assert(fg_shape_bytes(&FG_SCALAR, 4, &n) && n == 4);
    ck_assert(fg_shape_bytes(&FG_SHAPE(5, 0, 3), 4, &n) && n == 0);
    ck_assert(!fg_shape_bytes(&FG_SHAPE(2, -1), 4, &n));
    ck_assert(!fg_shape_bytes(&FG_SHAPE(INT64_MAX, 2), 4, &n));
    ck_assert(!fg_shape_bytes(&FG_SHAPE(INT64_MAX / 2), 4, &n));
    ck_assert(!fg_shape_bytes(&FG_SHAPE(0, INT64_MAX, INT64_MAX), 4, &n));
    ck_assert(!fg_shape_bytes(&((fg_shape){ 7, { 0 } }), 4, &n));
    ck_assert(!fg_shape_bytes(&((fg_shape){ -1, { 0 } }), 4, &n));
    ck_assert(fg_shape_equal(&FG_SHAPE(2, 3), &FG_SHAPE(2, 3)) && !fg_shape_equal(&FG_SHAPE(2, 3), &FG_SHAPE(2, 4)));
    ck_assert(!fg_shape_equal(&FG_SHAPE(2), &FG_SHAPE(2, 1)));
    ck_assert_int_eq(fg_shape_numel(&FG_SHAPE(4, 5, 6)), 120);
}
END_TEST

START_TEST(errors_keep_the_newest_message) {
    ck_assert_str_eq(fg_last_error(ctx), "");
    ck_assert_int_eq(fg_error(ctx, FG_EINVAL, "conv2d: %d channels", 3), FG_EINVAL);
    ck_assert_str_eq(fg_last_error(ctx), "conv2d: 3 channels");
    fg_error(ctx, FG_EIO, "again: %s", fg_last_error(ctx)); /* the argument is the message itself */
    ck_assert_str_eq(fg_last_error(ctx), "again: conv2d: 3 channels");
    ck_assert_int_eq(fg_last_status(ctx), FG_EIO);
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    fg_error(ctx, FG_EIO, "%s", longer);
    ck_assert_uint_eq(strlen(fg_last_error(ctx)), FG_ERROR_CAP - 1);
    fg_clear_error(ctx);
    ck_assert_int_eq(fg_last_status(ctx), FG_OK);
    ck_assert_str_eq(fg_last_error(ctx), "");
    for (int st = FG_OK; st <= FG_EUNSUPPORTED; st++) ck_assert_str_ne(fg_status_name((fg_status)st), "unknown status");
    ck_assert_str_eq(fg_status_name((fg_status)99), "unknown status");
}
END_TEST

START_TEST(settings) {
    ck_assert_int_eq(fg_set_threads(ctx, 3), FG_OK);
    ck_assert_int_eq(fg_get_threads(ctx), 3);
    ck_assert_int_eq(fg_set_threads(ctx, 0), FG_EINVAL);
    ck_assert_int_eq(fg_set_threads(ctx, 65), FG_EINVAL);
    ck_assert_int_eq(fg_get_threads(ctx), 3);
    ck_assert_int_ge(fg_default_threads(), 1);
    ck_assert_int_le(fg_default_threads(), 64);
    ck_assert_int_eq(fg_set_precision(ctx, FG_PRECISION_BF16), FG_OK);
    ck_assert_int_eq(fg_get_precision(ctx), FG_PRECISION_BF16);
    ck_assert_int_eq(fg_set_precision(ctx, (fg_precision)9), FG_EINVAL);
    ck_assert(fg_get_fast_conv(ctx));
    fg_set_fast_conv(ctx, false);
    ck_assert(!fg_get_fast_conv(ctx));
    ck_assert(fg_grad_enabled(ctx));
    ck_assert(fg_set_grad_enabled(ctx, false));
    ck_assert(!fg_set_grad_enabled(ctx, true));
    int major, minor, patch;
    ck_assert_int_eq(sscanf(fg_version(), "%d.%d.%d", &major, &minor, &patch), 3);
    char text[200];
    fg_cpu_describe(text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "scalar"));
    fg_cpu_describe(text, 5);
    ck_assert_uint_eq(strlen(text), 4);
}
END_TEST

START_TEST(isa_is_picked_or_refused) {
    const char *was = getenv("FORGER_ISA");
    char keep[40] = "", msg[200];
    if (was) snprintf(keep, sizeof keep, "%s", was);
    setenv("FORGER_ISA", "mmx", 1);
    ck_assert_ptr_null(fg_context_new_error(msg, sizeof msg));
    ck_assert_str_eq(msg, "FORGER_ISA=mmx is unknown: use scalar, avx2, avx512, avx512bf16 or amx");
    for (int i = 0; i < FG_ISA_COUNT; i++) {
        setenv("FORGER_ISA", fg_isa_name((fg_isa_level)i), 1);
        fg_isa_level got;
        bool ok = fg_isa_pick(&got, msg, sizeof msg);
#ifdef FG_DOUBLE
        bool expect = i == FG_ISA_SCALAR;
#else
        bool expect = fg_cpu_has((fg_isa_level)i);
#endif
        ck_assert_int_eq(ok, expect);
        if (ok) ck_assert_int_eq(got, i);
        else ck_assert_ptr_nonnull(strstr(msg, "is not supported here"));
    }
    setenv("FORGER_ISA", "scalar", 1);
    fg_context *c = fg_context_new_error(msg, sizeof msg);
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(fg_isa(c), "scalar");
    ck_assert_str_eq(msg, "");
    fg_context_free(c);
    if (was) setenv("FORGER_ISA", keep, 1);
    else unsetenv("FORGER_ISA");
    fg_isa_level level;
    ck_assert(fg_isa_from_name("avx512", &level) && level == FG_ISA_AVX512);
    ck_assert(!fg_isa_from_name("", &level));
}
END_TEST

/* ---------------------------------------------------------------- one thread inside */
static void *second_thread(void *out) {
    bool *entered = out;
    *entered = fg_enter(ctx);
    if (*entered) fg_leave(ctx);
    return NULL;
}

static bool another_thread_enters(void) {
    bool entered = false;
    pthread_t t;
    ck_assert_int_eq(pthread_create(&t, NULL, second_thread, &entered), 0);
    pthread_join(t, NULL);
    return entered;
}

START_TEST(second_thread_is_turned_away) {
    ck_assert(fg_enter(ctx));
    ck_assert(fg_enter(ctx)); /* nested */
    ck_assert(!another_thread_enters());
    fg_leave(ctx);
    ck_assert(!another_thread_enters());
    fg_leave(ctx);
    ck_assert(another_thread_enters());
    ck_assert(fg_enter(ctx));
    fg_leave(ctx);
}
END_TEST

static void *busy_calls(void *out) {
    fg_status *st = out;
    *st = fg_set_threads(ctx, 2);
    return NULL;
}

START_TEST(busy_is_a_status_and_writes_no_text) {
    fg_error(ctx, FG_EIO, "mine");
    ck_assert(fg_enter(ctx));
    fg_status st = FG_OK;
    pthread_t t;
    ck_assert_int_eq(pthread_create(&t, NULL, busy_calls, &st), 0);
    pthread_join(t, NULL);
    fg_leave(ctx);
    ck_assert_int_eq(st, FG_EBUSY);
    ck_assert_str_eq(fg_last_error(ctx), "mine");
}
END_TEST

/* ---------------------------------------------------------------- files */
START_TEST(file_round_trip) {
    const char *path = in_dir("a.bin");
    const fg_part parts[3] = { { "hello ", 6 }, { NULL, 0 }, { "world", 5 } };
    ck_assert_int_eq(fg_write_file(ctx, path, parts, 3), FG_OK);
    void *data;
    size_t size, live = fg_memory_stats(ctx).live;
    ck_assert_int_eq(fg_read_file(ctx, path, 100, &data, &size), FG_OK);
    ck_assert_uint_eq(size, 11);
    ck_assert_str_eq(data, "hello world");
    fg_free(ctx, data, size + 1);
    ck_assert_int_eq(fg_read_file(ctx, path, 11, &data, &size), FG_OK); /* the limit itself is allowed */
    fg_free(ctx, data, size + 1);
    ck_assert_int_eq(fg_read_file(ctx, path, 10, &data, &size), FG_EIO);
    ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "11 bytes"));
    ck_assert_ptr_null(data);
    ck_assert_uint_eq(fg_memory_stats(ctx).live, live);
    ck_assert_int_eq(fg_write_file(ctx, path, NULL, 0), FG_OK); /* replaced by an empty file */
    ck_assert_int_eq(fg_read_file(ctx, path, 10, &data, &size), FG_OK);
    ck_assert_uint_eq(size, 0);
    fg_free(ctx, data, 1);
    ck_assert_int_eq(fg_read_file(ctx, "/proc/self/status", 1 << 20, &data, &size), FG_OK); /* says it has 0 bytes */
    ck_assert_uint_gt(size, 100);
    ck_assert_int_eq(strncmp(data, "Name:", 5), 0);
    fg_free(ctx, data, size + 1);
    ck_assert_uint_eq(fg_memory_stats(ctx).live, live);
}
END_TEST

START_TEST(file_errors_name_the_path) {
    void *data;
    size_t size;
    ck_assert_int_eq(fg_read_file(ctx, in_dir("missing"), 100, &data, &size), FG_EIO);
    ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "/missing: No such file"));
    ck_assert_int_eq(fg_read_file(ctx, dir, 100, &data, &size), FG_EIO);
    ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "Is a directory"));
    ck_assert_int_eq(fg_write_file(ctx, in_dir("no/such/file"), NULL, 0), FG_EIO);
    ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "no/such/file"));
    ck_assert_int_eq(fg_write_file(ctx, dir, NULL, 0), FG_EIO);
    ck_assert_int_eq(fg_write_file(ctx, "/dev/full", &(fg_part){ "x", 1 }, 1), FG_EIO);
    ck_assert_int_eq(fg_write_file(ctx, "/dev/null", &(fg_part){ "x", 1 }, 1), FG_OK);
    struct stat info;
    ck_assert_int_eq(stat("/dev/null", &info), 0);
    ck_assert(S_ISCHR(info.st_mode)); /* written to, not renamed over */
}
END_TEST

START_TEST(streamed_file_commits_or_vanishes) {
    fg_tmpfile t;
    ck_assert_int_eq(fg_write_file(ctx, in_dir("b"), &(fg_part){ "old", 3 }, 1), FG_OK);
    ck_assert_int_eq(fg_tmpfile_begin(ctx, in_dir("b"), &t), FG_OK);
    fputs("new", t.file);
    void *data;
    size_t size;
    ck_assert_int_eq(fg_read_file(ctx, in_dir("b"), 9, &data, &size), FG_OK);
    ck_assert_str_eq(data, "old"); /* not seen before commit */
    fg_free(ctx, data, size + 1);
    fg_tmpfile_abort(ctx, &t);
    ck_assert_int_eq(fg_tmpfile_begin(ctx, in_dir("b"), &t), FG_OK);
    fputs("newer", t.file);
    ck_assert_int_eq(fg_tmpfile_commit(ctx, &t), FG_OK);
    ck_assert_int_eq(fg_read_file(ctx, in_dir("b"), 9, &data, &size), FG_OK);
    ck_assert_str_eq(data, "newer");
    fg_free(ctx, data, size + 1);
    char **names;
    size_t n;
    ck_assert_int_eq(fg_list_dir(ctx, dir, &names, &n), FG_OK);
    ck_assert_uint_eq(n, 1); /* no temporary is left */
    fg_host_free(names);
}
END_TEST

START_TEST(folders) {
    ck_assert_int_eq(fg_mkdirs(ctx, in_dir("x/y/z")), FG_OK);
    ck_assert_int_eq(fg_mkdirs(ctx, in_dir("x/y/z/")), FG_OK); /* there already */
    ck_assert(fg_path_exists(in_dir("x/y/z")));
    ck_assert(!fg_path_exists(in_dir("x/q")));
    ck_assert_int_eq(fg_write_file(ctx, in_dir("x/file"), NULL, 0), FG_OK);
    ck_assert_int_eq(fg_mkdirs(ctx, in_dir("x/file/sub")), FG_EIO);
    ck_assert_ptr_nonnull(strstr(fg_last_error(ctx), "x/file: Not a directory"));
    ck_assert_int_eq(fg_mkdirs(ctx, ""), FG_EIO);
    ck_assert_int_eq(fg_write_file(ctx, in_dir("x/B"), NULL, 0), FG_OK);
    ck_assert_int_eq(fg_write_file(ctx, in_dir("x/a10"), NULL, 0), FG_OK);
    char **names;
    size_t n;
    ck_assert_int_eq(fg_list_dir(ctx, in_dir("x"), &names, &n), FG_OK);
    ck_assert_uint_eq(n, 4);
    ck_assert_str_eq(names[0], "B");
    ck_assert_str_eq(names[1], "a10");
    ck_assert_str_eq(names[2], "file");
    ck_assert_str_eq(names[3], "y");
    fg_host_free(names);
    ck_assert_int_eq(fg_list_dir(ctx, in_dir("x/y/z"), &names, &n), FG_OK);
    ck_assert_uint_eq(n, 0);
    fg_host_free(names);
    ck_assert_int_eq(fg_list_dir(ctx, in_dir("none"), &names, &n), FG_EIO);
    ck_assert_ptr_null(names);
}
END_TEST

START_TEST(file_reads_survive_failed_allocations) {
    fg_part part = { "0123456789", 10 };
    ck_assert_int_eq(fg_write_file(ctx, in_dir("c"), &part, 1), FG_OK);
    void *data;
    size_t size, live = fg_memory_stats(ctx).live;
    ck_assert(fg_enter(ctx));
    fg_memory_fail_nth(ctx, 1, false);
    ck_assert_int_eq(fg_read_file(ctx, in_dir("c"), 100, &data, &size), FG_ENOMEM);
    ck_assert_ptr_null(data);
    fg_leave(ctx);
    ck_assert_uint_eq(fg_memory_stats(ctx).live, live);
    ck_assert_int_eq(fg_read_file(ctx, in_dir("c"), 100, &data, &size), FG_OK);
    fg_free(ctx, data, size + 1);
}
END_TEST

/* ---------------------------------------------------------------- OS */
START_TEST(clock_memory_terminal) {
    double a = fg_clock_seconds();
    usleep(2000);
    double passed = fg_clock_seconds() - a;
    ck_assert(passed >= 0.002 && passed < 5);
    ck_assert_uint_gt(fg_resident_bytes(), 500000);
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert(!fg_is_terminal(ends[0]));
    ck_assert_int_eq(fg_terminal_columns(ends[0]), 80);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

static void host_handler(int sig) { (void)sig; }

START_TEST(interrupt_sets_a_flag) {
    signal(SIGINT, host_handler);
    fg_interrupt_install();
    fg_interrupt_install();
    ck_assert(!fg_interrupt_pending());
    raise(SIGINT);
    ck_assert(fg_interrupt_pending());
    fg_interrupt_clear();
    ck_assert(!fg_interrupt_pending());
    fg_interrupt_remove();
    raise(SIGINT); /* still ours: installs count */
    ck_assert(fg_interrupt_pending());
    fg_interrupt_clear();
    fg_interrupt_remove();
    fg_interrupt_remove(); /* one too many is harmless */
    struct sigaction now;
    sigaction(SIGINT, NULL, &now);
    ck_assert_ptr_eq((void *)(uintptr_t)now.sa_handler, (void *)(uintptr_t)host_handler);
    signal(SIGINT, SIG_DFL);
}
END_TEST

START_TEST(second_interrupt_ends_the_process) {
    pid_t child = fork();
    if (child == 0) {
        fg_interrupt_install();
        raise(SIGINT);
        raise(SIGINT);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}
END_TEST

int main(void) {
    TCase *tc = tcase_create("base");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, sizes_do_not_wrap);
    tcase_add_test(tc, errors_keep_the_newest_message);
    tcase_add_test(tc, settings);
    tcase_add_test(tc, isa_is_picked_or_refused);
    tcase_add_test(tc, second_thread_is_turned_away);
    tcase_add_test(tc, busy_is_a_status_and_writes_no_text);
    tcase_add_test(tc, file_round_trip);
    tcase_add_test(tc, file_errors_name_the_path);
    tcase_add_test(tc, streamed_file_commits_or_vanishes);
    tcase_add_test(tc, folders);
    tcase_add_test(tc, file_reads_survive_failed_allocations);
    tcase_add_test(tc, clock_memory_terminal);
    tcase_add_test(tc, interrupt_sets_a_flag);
    tcase_add_test(tc, second_interrupt_ends_the_process);
    Suite *s = suite_create("base");
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
