/* input.c: bytes of a file or of memory for the readers of this room, with the size known from the start.
 *
 * Only regular files are opened: a directory, a pipe or a device has no size to check a header against. The caller owns
 * the fg_input (on its stack) and closes it on every path. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

fg_status fg_input_open(fg_context *ctx, fg_input *in, const char *path) {
    memset(in, 0, sizeof *in);
    in->path = path;
    /* without O_NONBLOCK, opening a pipe would wait for a writer before fstat could refuse it */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fg_error(ctx, FG_EIO, "cannot open %s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0) {
        fg_error(ctx, FG_EIO, "cannot read %s: %s", path, strerror(errno));
        close(fd);
        return FG_EIO;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return fg_error(ctx, FG_EIO, "cannot read %s: %s", path, S_ISDIR(st.st_mode) ? "it is a folder" : "not a regular file");
    }
    in->file = fdopen(fd, "rb");
    if (!in->file) {
        fg_error(ctx, errno == ENOMEM ? FG_ENOMEM : FG_EIO, "cannot open %s: %s", path, strerror(errno));
        close(fd);
        return fg_last_status(ctx);
    }
    in->size = (uint64_t)st.st_size;
    return FG_OK;
}

void fg_input_memory(fg_input *in, const char *name, const void *data, size_t size) {
    *in = (fg_input){ .path = name, .mem = data, .size = size };
}

fg_status fg_input_some(fg_context *ctx, fg_input *in, void *dst, size_t n, size_t *got) {
    *got = 0;
    if (n == 0) return FG_OK;
    if (in->file) {
        *got = fread(dst, 1, n, in->file);
        if (*got < n && ferror((FILE *)in->file)) return fg_error(ctx, FG_EIO, "cannot read %s: %s", in->path, strerror(errno));
    } else {
        *got = in->size - in->pos < n ? (size_t)(in->size - in->pos) : n;
        if (*got) memcpy(dst, in->mem + in->pos, *got);
    }
    in->pos += *got;
    return FG_OK;
}

fg_status fg_input_exact(fg_context *ctx, fg_input *in, void *dst, size_t n, const char *what) {
    uint64_t at = in->pos;
    size_t got;
    fg_status st = fg_input_some(ctx, in, dst, n, &got);
    if (st) return st;
    if (got < n)
        return fg_error(ctx, FG_EFORMAT, "%s: ends after %llu bytes, %llu are needed for %s", in->path,
                        (unsigned long long)(at + got), (unsigned long long)at + n, what);
    return FG_OK;
}

void fg_input_close(fg_input *in) {
    if (in->file) fclose(in->file);
    in->file = NULL;
}
