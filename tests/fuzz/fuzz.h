/* A fuzz target is tests/fuzz/fuzz_X.c: LLVMFuzzerTestOneInput, and if it likes, fuzz_seed. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Optional: writes seed i (0, 1, …) into buf and returns its length; 0 after the last. */
size_t fuzz_seed(int i, uint8_t *buf, size_t cap);

/* A property that must hold whatever the bytes are. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
