/* fuzz_idx.c: any bytes to the IDX reader, plain and compressed. */
#include "fuzz_help.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_begin();
    fg_input in;
    fg_input_memory(&in, "fuzz", data, size);
    fg_scope *s = fg_scope_open(ctx);
    fg_tensor *t = fg_idx_read(s, &in);
    if (t) fuzz_touch(t);
    require((fg_scope_close(s) == FG_OK) == (t != NULL));
    fuzz_end(2 * 1032 * size + (2u << 20));
    return 0;
}
