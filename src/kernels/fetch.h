/* fetch.h: lines asked for before they are needed; for x86. In assembly: gcc takes a function, or a loop, that does nothing but
 * __builtin_prefetch for one without effect and drops it. Addresses beyond an array do no harm. */
#ifndef FG_FETCH_H
#define FG_FETCH_H

/* to the first or the second cache */
static inline void v_fetch1(const void *p) { __asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)p)); }
static inline void v_fetch2(const void *p) { __asm__ volatile("prefetcht1 %0" : : "m"(*(const char *)p)); }
/* to be written: another core that has written the line gives it up at once (Zen 4: not one that has only read it); nothing on
 * processors that do not know it */
static inline void v_fetchw(const void *p) { __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p)); }

#endif
