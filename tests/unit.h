/* What every cmocka file includes first, in the order cmocka wants. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

/* A deterministic generator for tests (splitmix64); the seed is printed by unit_seed. */
static inline uint64_t unit_rand(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* LATENTD_SEED or 1; printed, so that a failure can be repeated. */
static inline uint64_t unit_seed(void)
{
    const char *s = getenv("LATENTD_SEED");
    uint64_t seed = s ? strtoull(s, NULL, 0) : 1;
    print_message("seed %llu (LATENTD_SEED sets it)\n", (unsigned long long)seed);
    return seed;
}

/* A new folder for tests that write much and do not care where: in memory where there is room, so that they don't wait for a disk, else
 * in TMPDIR or /tmp. The path; NULL: none can be made. */
static inline char *unit_folder(char out[static 64], const char *name)
{
    const char *memory = "/dev/shm", *tmp = getenv("TMPDIR");
    struct statvfs fs;
    const bool room = statvfs(memory, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= (uint64_t)512 << 20 && access(memory, W_OK) == 0;
    snprintf(out, 64, "%.30s/latentd-%.16s-XXXXXX", room ? memory : tmp ? tmp : "/tmp", name);
    return mkdtemp(out);
}

#endif
