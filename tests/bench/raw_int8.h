/* oneDNN's own int8 product on the default model's shapes: what embedding is measured against. */
#ifndef TESTS_BENCH_RAW_INT8_H
#define TESTS_BENCH_RAW_INT8_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct raw_shape {
    uint32_t k, n; /* weights [n, k] */
    double rows;   /* how often a batch multiplies by it, relative to its tokens: layers, or texts / tokens */
};

struct raw;

/* Products of rows tokens with every shape, s8 by s8 to f32 with a scale per channel, n_threads OpenMP threads.
 * NULL when oneDNN fails. */
struct raw *raw_create(const struct raw_shape *shapes, size_t n_shapes, uint32_t rows, int n_threads);
void raw_destroy(struct raw *r);

/* Seconds of a clock for one batch of rows tokens: each shape's time times its `rows`. Leaves OpenMP at one thread. */
double raw_time(struct raw *r, clockid_t clock);

#endif
