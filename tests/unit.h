/* What every cmocka file includes first, in the order cmocka wants. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#endif
