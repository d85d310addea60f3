/* input.h: where the readers of untrusted files get their bytes: a regular file, or memory (tests and fuzzers).
 *
 * A reader always knows the size of the whole, so that it can refuse a header's promises before it allocates. Every
 * loader of this room exists as fg_<format>_load(scope, path) in forger.h and as fg_<format>_read(scope, input) here. */
#ifndef FG_INPUT_H
#define FG_INPUT_H

#include "base.h"

typedef struct fg_input {
    const char *path;   /* for messages */
    void *file;         /* FILE *, or NULL */
    const uint8_t *mem; /* where file is NULL */
    uint64_t size;      /* of the whole */
    uint64_t pos;       /* next byte */
} fg_input;

fg_status fg_input_open(fg_context *ctx, fg_input *in, const char *path); /* regular files only */
void fg_input_memory(fg_input *in, const char *name, const void *data, size_t size);
/* Up to n bytes into dst; *got < n only at the end. */
fg_status fg_input_some(fg_context *ctx, fg_input *in, void *dst, size_t n, size_t *got);
/* Exactly n bytes, or FG_EFORMAT: "x: ends after 12 bytes, 16 are needed for the header". */
fg_status fg_input_exact(fg_context *ctx, fg_input *in, void *dst, size_t n, const char *what);
void fg_input_close(fg_input *in);

fg_tensor *fg_idx_read(fg_scope *s, fg_input *in);
fg_tensor *fg_png_read(fg_scope *s, fg_input *in, const fg_png_opts *o);
fg_status fg_tensors_read(fg_scope *s, fg_input *in, fg_tensor_file **out);

#endif
