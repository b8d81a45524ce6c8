/* Monotonic time that a test moves on; it goes by as well. Included once in a program, whose clock_gettime this is.
 * Thread-safety: safe. */
#ifndef TESTS_INDEX_KIT_CLOCK_H
#define TESTS_INDEX_KIT_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct {
    atomic_uint_fast64_t ahead_ns; /* of the kernel's */
    uint64_t step_ns;              /* further ahead, each time that somebody looks */
} kit_clock;

int clock_gettime(clockid_t which, struct timespec *out)
{
    const int r = (int)syscall(SYS_clock_gettime, which, out);
    if (r == 0 && which == CLOCK_MONOTONIC) {
        const uint64_t ns = (uint64_t)out->tv_nsec + atomic_fetch_add(&kit_clock.ahead_ns, kit_clock.step_ns);
        out->tv_sec += (time_t)(ns / 1000000000u);
        out->tv_nsec = (long)(ns % 1000000000u);
    }
    return r;
}

#endif
