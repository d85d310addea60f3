/* files.c: whole files in, whole files out, folders.
 *
 * A file that Forger writes is never seen half written: the bytes go to path.tmp.PID beside it, are synced, and rename
 * puts them in place; any failure removes the temporary and leaves the old file. A path that names a device or a pipe is
 * written directly, since renaming over /dev/null would replace it. Errors are FG_EIO with the path and strerror.
 * Memory for data comes from the context's allocator, names from host memory. Any one thread inside the context. */
#define _GNU_SOURCE
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static fg_status io_error(fg_context *ctx, const char *path, const char *doing, int err) {
    return fg_error(ctx, FG_EIO, "cannot %s %s: %s", doing, path, strerror(err));
}

/* ---------------------------------------------------------------- reading */
fg_status fg_read_file(fg_context *ctx, const char *path, size_t max_bytes, void **data, size_t *size) {
    *data = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_error(ctx, path, "open", errno);
    struct stat info;
    if (fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) {
        int err = S_ISDIR(info.st_mode) ? EISDIR : errno;
        close(fd);
        return io_error(ctx, path, "read", err);
    }
    fg_status st = FG_OK;
    if (info.st_size > 0 && (uint64_t)info.st_size > max_bytes)
        st = fg_error(ctx, FG_EIO, "cannot read %s: it has %lld bytes, the limit is %zu", path, (long long)info.st_size,
                      max_bytes);
    /* st_size is a first guess: pipes and /proc files say 0 */
    size_t cap = info.st_size > 0 ? (size_t)info.st_size : 4096, n = 0;
    char *p = st == FG_OK ? fg_alloc(ctx, cap + 1) : NULL;
    if (!p && st == FG_OK) st = FG_ENOMEM;
    while (st == FG_OK) {
        ssize_t got = read(fd, p + n, cap + 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            st = io_error(ctx, path, "read", errno);
            break;
        }
        if (got == 0) break;
        n += (size_t)got;
        if (n > max_bytes) {
            st = fg_error(ctx, FG_EIO, "cannot read %s: it has more than the limit of %zu bytes", path, max_bytes);
            break;
        }
        if (n <= cap) continue;
        char *q = fg_realloc(ctx, p, cap + 1, 2 * cap + 1);
        if (!q) {
            st = FG_ENOMEM;
            break;
        }
        p = q;
        cap *= 2;
    }
    close(fd);
    if (st == FG_OK && n != cap) { /* the caller frees n + 1 bytes */
        char *q = fg_realloc(ctx, p, cap + 1, n + 1);
        if (q) p = q, cap = n;
        else st = FG_ENOMEM;
    }
    if (st != FG_OK) {
        fg_free(ctx, p, cap + 1);
        return st;
    }
    p[n] = 0;
    *data = p;
    *size = n;
    return FG_OK;
}

/* ---------------------------------------------------------------- writing */
static void tmpfile_free(fg_tmpfile *t) {
    fg_host_free(t->tmp);
    fg_host_free(t->path);
    memset(t, 0, sizeof *t);
}

fg_status fg_tmpfile_begin(fg_context *ctx, const char *path, fg_tmpfile *t) {
    memset(t, 0, sizeof *t);
    size_t len = strlen(path);
    t->path = fg_host_alloc(len + 1);
    t->tmp = fg_host_alloc(len + 32);
    if (!t->path || !t->tmp) {
        tmpfile_free(t);
        return fg_error(ctx, FG_ENOMEM, "out of memory: %zu bytes asked for a file name", len + 32);
    }
    memcpy(t->path, path, len + 1);
    snprintf(t->tmp, len + 32, "%s.tmp.%ld", path, (long)getpid());
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) {
        tmpfile_free(t);
        return io_error(ctx, path, "write", EISDIR);
    }
    if (exists && !S_ISREG(info.st_mode)) {
        fg_host_free(t->tmp);
        t->tmp = NULL;
    }
    int fd = open(t->tmp ? t->tmp : path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int err = errno;
    if (fd >= 0) {
        t->file = fdopen(fd, "wb");
        err = errno;
        if (!t->file) {
            close(fd);
            if (t->tmp) unlink(t->tmp);
        }
    }
    if (!t->file) {
        tmpfile_free(t);
        return io_error(ctx, path, "write", err);
    }
    return FG_OK;
}

void fg_tmpfile_abort(fg_context *ctx, fg_tmpfile *t) {
    (void)ctx;
    if (t->file) fclose(t->file);
    if (t->tmp) unlink(t->tmp);
    tmpfile_free(t);
}

fg_status fg_tmpfile_commit(fg_context *ctx, fg_tmpfile *t) {
    FILE *f = t->file;
    int err = 0;
    if (ferror(f)) err = EIO; /* an earlier fwrite of the caller's failed: its errno is gone */
    if (fflush(f) != 0 && !err) err = errno;
    if (!err && t->tmp && fsync(fileno(f)) != 0) err = errno;
    t->file = NULL;
    if (fclose(f) != 0 && !err) err = errno;
    if (!err && t->tmp && rename(t->tmp, t->path) != 0) err = errno;
    fg_status st = FG_OK;
    if (err) {
        if (t->tmp) unlink(t->tmp);
        st = io_error(ctx, t->path, "write", err);
    }
    tmpfile_free(t);
    return st;
}

fg_status fg_write_file(fg_context *ctx, const char *path, const fg_part *parts, int n) {
    fg_tmpfile t;
    fg_status st = fg_tmpfile_begin(ctx, path, &t);
    if (st != FG_OK) return st;
    for (int i = 0; i < n; i++) {
        if (parts[i].size == 0 || fwrite(parts[i].data, 1, parts[i].size, t.file) == parts[i].size) continue;
        int err = errno;
        fg_tmpfile_abort(ctx, &t);
        return io_error(ctx, path, "write", err);
    }
    return fg_tmpfile_commit(ctx, &t);
}

/* ---------------------------------------------------------------- folders */
fg_status fg_mkdirs(fg_context *ctx, const char *path) {
    size_t len = strlen(path);
    char *p = fg_host_alloc(len + 1);
    if (!p) return fg_error(ctx, FG_ENOMEM, "out of memory: %zu bytes asked for a file name", len + 1);
    memcpy(p, path, len + 1);
    fg_status st = FG_OK;
    for (size_t i = 1; i <= len && st == FG_OK; i++) {
        if (p[i] != '/' && p[i] != 0) continue;
        char was = p[i];
        p[i] = 0;
        struct stat info;
        if (mkdir(p, 0777) != 0) {
            int err = errno;
            bool there = stat(p, &info) == 0;
            if (!there || !S_ISDIR(info.st_mode)) st = io_error(ctx, p, "make folder", there ? ENOTDIR : err);
        }
        p[i] = was;
    }
    if (len == 0) st = io_error(ctx, path, "make folder", ENOENT);
    fg_host_free(p);
    return st;
}

bool fg_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

fg_status fg_list_dir(fg_context *ctx, const char *path, char ***names, size_t *n) {
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir) return io_error(ctx, path, "list folder", errno);
    /* names one after another in text, then one block: pointers and text together */
    char *text = NULL;
    size_t used = 0, cap = 0, count = 0;
    int err = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e) {
            err = errno;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        size_t len = strlen(e->d_name) + 1;
        if (used + len > cap) {
            size_t want = 2 * (cap + len) + 1024;
            char *more = fg_host_realloc(text, want);
            if (!more) {
                err = ENOMEM;
                break;
            }
            text = more;
            cap = want;
        }
        memcpy(text + used, e->d_name, len);
        used += len;
        count++;
    }
    closedir(dir);
    char **list = err ? NULL : fg_host_alloc(count * sizeof *list + used);
    if (!list) {
        fg_host_free(text);
        if (err && err != ENOMEM) return io_error(ctx, path, "list folder", err);
        return fg_error(ctx, FG_ENOMEM, "out of memory: listing folder %s", path);
    }
    char *copy = (char *)(list + count);
    if (used) memcpy(copy, text, used);
    fg_host_free(text);
    for (size_t i = 0; i < count; i++, copy += strlen(copy) + 1) list[i] = copy;
    qsort(list, count, sizeof *list, by_name);
    *names = list;
    *n = count;
    return FG_OK;
}
