/* fuzz_json.c: any bytes to fg_json_parse. What is accepted is written, read and written again, with the same text. */
#include "fuzz_help.h"
#include "json.h"

#include <string.h>

static char *write_text(const fg_json *v, size_t *size, size_t *bytes) {
    fg_json_writer w;
    char *text;
    fg_json_begin(&w, ctx, FG_JSON_SORTED | FG_JSON_PRETTY);
    fg_json_put_value(&w, v);
    require(fg_json_finish(&w, &text, size, bytes) == FG_OK);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_begin();
    fg_json_doc *doc, *again;
    size_t na, nb, ba, bb;
    fg_status st = fg_json_parse(ctx, (const char *)data, size, "fuzz", &doc);
    require((st == FG_OK) == (doc != NULL));
    if (st) {
        require(st == FG_EFORMAT);
        fuzz_end(16 * size + 65536);
        return 0;
    }
    char *a = write_text(doc->root, &na, &ba);
    fg_json_free(ctx, doc);
    require(fg_json_parse(ctx, a, na, "again", &again) == FG_OK);
    char *b = write_text(again->root, &nb, &bb);
    fg_json_free(ctx, again);
    require(na == nb && memcmp(a, b, na) == 0);
    fg_free(ctx, a, ba);
    fg_free(ctx, b, bb);
    fuzz_end((size_t)-1);
    return 0;
}
