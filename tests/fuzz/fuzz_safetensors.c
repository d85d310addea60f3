/* fuzz_safetensors.c: any bytes to the safetensors reader. */
#include "fuzz_help.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_begin();
    fg_input in;
    fg_tensor_file *f = NULL;
    fg_input_memory(&in, "fuzz", data, size);
    fg_scope *s = fg_scope_open(ctx);
    fg_status st = fg_tensors_read(s, &in, &f);
    require((st == FG_OK) == (f != NULL));
    for (int i = 0; f && i < f->n; i++) {
        require(fg_tensor_file_get(f, f->names[i]) == f->tensors[i]);
        fuzz_touch(f->tensors[i]);
    }
    fg_tensor_file_free(ctx, f);
    fg_scope_close(s);
    fuzz_end(32 * size + (256u << 10));
    return 0;
}
