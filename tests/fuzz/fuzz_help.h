/* fuzz_help.h: one context for the whole run of a fuzzer, and what every input must leave behind: no live byte, and no
 * more memory taken than the input's size allows. Build and run: make fuzz (clang's libFuzzer, ASan, UBSan). */
#ifndef FUZZ_HELP_H
#define FUZZ_HELP_H

#include "input.h"
#include "tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The allocator links its cached blocks through memory that it has poisoned: reachable all the same. */
const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "use_poisoned=1"; }

static fg_context *ctx;
static size_t live_before;

static inline void require(bool holds) {
    if (!holds) __builtin_trap();
}

static inline void fuzz_begin(void) {
    if (!ctx) ctx = fg_context_new();
    require(ctx != NULL);
    fg_memory_reset_peak(ctx);
    live_before = fg_memory_stats(ctx).live;
}

/* No leak, and at most `bytes` more than before were ever live. */
static inline void fuzz_end(size_t bytes) {
    fg_memory m = fg_memory_stats(ctx);
    require(m.live == live_before);
    require(m.peak - live_before <= bytes);
}

/* Looks at every value, so that memory that was never written is noticed by whoever watches. */
static inline void fuzz_touch(const fg_tensor *t) {
    const uint8_t *p = fg_tensor_data(t);
    volatile uint8_t sum = 0;
    for (size_t i = 0, n = fg_tensor_bytes(t); i < n; i++) sum = (uint8_t)(sum + p[i]);
}

#endif
