/* os.c: clock, resident memory, terminal and the SIGINT flag: the little that the core asks of the operating system
 * besides files (files.c) and threads (team.c).
 *
 * The SIGINT state is one of base's two mutable globals, since a signal belongs to the process. The first Ctrl-C sets a
 * flag that training loops poll; the second restores the default action and raises, so that a stuck loop can be ended. */
#define _GNU_SOURCE
#include "base.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

double fg_clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t fg_resident_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    unsigned long size, resident;
    int got = fscanf(f, "%lu %lu", &size, &resident);
    fclose(f);
    return got == 2 ? (size_t)resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

bool fg_is_terminal(int fd) { return isatty(fd) == 1; }

int fg_terminal_columns(int fd) {
    struct winsize w;
    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

/* ---------------------------------------------------------------- SIGINT */
static struct {
    volatile sig_atomic_t pending;
    int installs;
    struct sigaction old;
} interrupt;

static void on_interrupt(int sig) {
    if (interrupt.pending) {
        signal(sig, SIG_DFL);
        raise(sig); /* acts when this handler returns */
        return;
    }
    interrupt.pending = 1;
}

void fg_interrupt_install(void) {
    if (interrupt.installs++ > 0) return;
    interrupt.pending = 0;
    struct sigaction act = { .sa_handler = on_interrupt, .sa_flags = SA_RESTART };
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, &interrupt.old);
}

void fg_interrupt_remove(void) {
    if (interrupt.installs == 0 || --interrupt.installs > 0) return;
    sigaction(SIGINT, &interrupt.old, NULL);
}

bool fg_interrupt_pending(void) { return interrupt.pending != 0; }

void fg_interrupt_clear(void) { interrupt.pending = 0; }
