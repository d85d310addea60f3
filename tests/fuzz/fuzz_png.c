/* fuzz_png.c: any bytes to the PNG reader; the first byte chooses the channels asked for. Checksums of chunks are made
 * right first, or hardly any input would pass the first one. */
#include "fuzz_help.h"

#include <string.h>
#include <zlib.h>

static void mend_checksums(uint8_t *p, size_t n) {
    for (size_t at = 8; at + 12 <= n;) {
        uint32_t len = (uint32_t)p[at] << 24 | (uint32_t)p[at + 1] << 16 | (uint32_t)p[at + 2] << 8 | p[at + 3];
        if (len > n - at - 12) return;
        uint32_t crc = (uint32_t)crc32(0, p + at + 4, len + 4);
        for (int i = 0; i < 4; i++) p[at + 8 + len + i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int channels[] = { 0, 1, 3, 4 };
    static uint8_t copy[1 << 16];
    if (size < 1 || size > sizeof copy) return 0;
    /* seeds are plain PNG files: their first byte, 0x89, is put back after it was read as the choice */
    memcpy(copy, data, size);
    copy[0] = 0x89;
    mend_checksums(copy, size);
    fuzz_begin();
    fg_input in;
    fg_input_memory(&in, "fuzz", copy, size);
    fg_scope *s = fg_scope_open(ctx);
    fg_png_opts o = { .channels = channels[data[0] % 4], .max_side = 1024 };
    fg_tensor *t = fg_png_read(s, &in, &o);
    if (t) fuzz_touch(t);
    require((fg_scope_close(s) == FG_OK) == (t != NULL));
    fuzz_end(3 * 4 * 1024 * 1024);
    return 0;
}
