/* cpu.c: which instruction sets this CPU and this operating system offer.
 *
 * A level holds all lower ones. CPUID says what the CPU has, XGETBV what the operating system saves on a context switch
 * (without that, a register would be lost), and AMX also needs the kernel's permission, asked for by arch_prctl.
 * FORGER_ISA forces a lower level; an unknown or unsupported name is refused, never replaced in silence.
 * Pure functions of the machine and the environment; any thread. */
#define _GNU_SOURCE
#include "base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *const isa_names[FG_ISA_COUNT] = { "scalar", "avx2", "avx512", "avx512bf16", "amx" };

const char *fg_isa_name(fg_isa_level isa) { return (unsigned)isa < FG_ISA_COUNT ? isa_names[isa] : "unknown"; }

bool fg_isa_from_name(const char *name, fg_isa_level *out) {
    for (int i = 0; i < FG_ISA_COUNT; i++)
        if (strcmp(name, isa_names[i]) == 0) {
            *out = (fg_isa_level)i;
            return true;
        }
    return false;
}

#if defined(__x86_64__)
static bool bits(unsigned reg, unsigned mask) { return (reg & mask) == mask; }

static bool amx_permitted(void) {
#ifdef __linux__
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static fg_isa_level look(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return FG_ISA_SCALAR;
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    if (!bits(c, fma | osxsave | avx | f16c)) return FG_ISA_SCALAR;
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    (void)hi;
    if (!bits(lo, 0x6)) return FG_ISA_SCALAR; /* xmm, ymm */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return FG_ISA_SCALAR;
    const unsigned avx2 = 1u << 5, bmi1 = 1u << 3, bmi2 = 1u << 8;
    if (!bits(b, avx2 | bmi1 | bmi2)) return FG_ISA_SCALAR;
    const unsigned avx512f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    if (!bits(b, avx512f | dq | bw | vl) || !bits(lo, 0xe6)) return FG_ISA_AVX2; /* opmask, zmm */
    const unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
    bool amx = bits(d, amx_bf16 | amx_tile) && bits(lo, 0x60000);
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !bits(a, 1u << 5)) return FG_ISA_AVX512;
    return amx && amx_permitted() ? FG_ISA_AMX : FG_ISA_AVX512BF16;
}
#else
static fg_isa_level look(void) { return FG_ISA_SCALAR; }
#endif

/* Asked once per process: under a hypervisor every CPUID leaves the guest, some 20 microseconds a time. */
static fg_isa_level found;
static void look_once(void) { found = look(); }
static fg_isa_level detect(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, look_once);
    return found;
}

bool fg_cpu_has(fg_isa_level isa) { return (unsigned)isa < FG_ISA_COUNT && isa <= detect(); }

bool fg_isa_pick(fg_isa_level *out, char *msg, size_t cap) {
    fg_isa_level best = detect(), asked;
#ifdef FG_DOUBLE
    best = FG_ISA_SCALAR; /* the test-only build has scalar kernels alone */
#endif
    const char *name = getenv("FORGER_ISA");
    *out = best;
    if (cap) msg[0] = 0;
    if (!name || !*name) return true;
    if (!fg_isa_from_name(name, &asked)) {
        snprintf(msg, cap, "FORGER_ISA=%.40s is unknown: use scalar, avx2, avx512, avx512bf16 or amx", name);
        return false;
    }
    if (asked > best) {
        snprintf(msg, cap, "FORGER_ISA=%s is not supported here: the best is %s", name, fg_isa_name(best));
        return false;
    }
    *out = asked;
    return true;
}

void fg_cpu_describe(char *buf, size_t cap) {
    if (!cap) return;
    char brand[49] = "unknown CPU";
#if defined(__x86_64__)
    unsigned r[12];
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) >= 0x80000004u) {
        for (unsigned i = 0; i < 3; i++) __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
        memcpy(brand, r, 48);
        brand[48] = 0;
    }
#endif
    size_t first = strspn(brand, " "), len = strlen(brand + first);
    while (len && brand[first + len - 1] == ' ') len--;
    int n = snprintf(buf, cap, "%.*s:", (int)len, brand + first);
    fg_isa_level best = detect();
    for (int i = 0; i <= (int)best && n >= 0 && (size_t)n < cap; i++)
        n += snprintf(buf + n, cap - (size_t)n, " %s", isa_names[i]);
}
