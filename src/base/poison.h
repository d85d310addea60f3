/* poison.h: tells AddressSanitizer which memory of the allocator nobody may touch; nothing without it. */
#ifndef FG_POISON_H
#define FG_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define FG_ASAN_ON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FG_ASAN_ON 1
#endif
#endif
#ifdef FG_ASAN_ON
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define FG_ASAN_ON     0
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#endif
