/* One harness for the ops of any device: each check_X.c runs an op on nasty inputs and compares it with model/ref.
 *
 * Inputs and results go through the device's buffers. Every output buffer has rows to spare, filled with a pattern that
 * must still be there afterwards. With --bench the same checks print the time of one call at the sizes of the default model. */
#ifndef TESTS_KERNELS_H
#define TESTS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/ops.h"
#include "model/ref/ref_ops.h"

#define SPARE_ROWS 3

struct kernels {
    struct ops *o;
    bool bench;
    bool int8; /* q8_0 products round activations to int8 */
    uint64_t rng;
    unsigned n_cases, n_failed;
    char what[160]; /* the case that runs */
    bool failed;
};

/* A batch of n rows as one or several texts; kept until the next. */
struct kernel_batch {
    uint32_t n, n_seqs, n_pooled;
    int32_t *ids;
    uint32_t *seq_offset, *pool_skip;
};

enum fill { FILL_NORMAL, FILL_ZERO, FILL_HUGE, FILL_ONE_HOT, FILL_N };

/* Names the case; counted, and printed should it fail. */
void kernels_case(struct kernels *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void kernels_fail(struct kernels *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Of the harness: never NULL, freed by the caller with free. */
float *kernels_fill(struct kernels *k, size_t n, enum fill fill);
float kernels_normal(struct kernels *k);
uint64_t kernels_rand(struct kernels *k);

/* n values (whole rows of whole blocks) as the storage type has them. */
void kernels_encode(enum tensor_type type, const float *v, size_t n, void *out);

/* The device's: n rows with v (NULL: an output, all pattern); the caller destroys. */
struct ops_buf *kernels_buf(struct kernels *k, const float *v, size_t rows, size_t cols);
void kernels_drop(struct kernels *k, struct ops_buf *b);
struct ops_vec *kernels_vec(struct kernels *k, const float *v, size_t n);
void kernels_drop_vec(struct kernels *k, struct ops_vec *v);

/* Texts of the given length each, the last shorter; skip rows left out of the pool where the text is longer. */
void kernels_layout(struct kernels *k, struct kernel_batch *b, uint32_t n, uint32_t text, uint32_t skip);
void kernels_start(struct kernels *k, const struct kernel_batch *b);
void kernels_begin(struct kernels *k, struct kernel_batch *b, uint32_t n, uint32_t text, uint32_t skip); /* both */
void kernels_end(struct kernels *k, struct kernel_batch *b); /* b's arrays stay until kernels_forget */
void kernels_forget(struct kernel_batch *b);
/* Fails the case unless r is 0. */
void kernels_ok(struct kernels *k, int r, const char *call);

/* Fails the case where |got - want| > absolute + relative · |want| (or · magnitude[i] if given), or a spare row was
 * written. Reads rows × cols of b. */
void kernels_compare(struct kernels *k, struct ops_buf *b, const float *want, size_t rows, size_t cols,
                     double absolute, double relative, const float *magnitude);

#define KERNEL_CHECKS(X)                                                                           \
    X(embed_rows)                                                                                  \
    X(rms_norm)                                                                                    \
    X(layer_norm)                                                                                  \
    X(matmul)                                                                                      \
    X(rope)                                                                                        \
    X(attention)                                                                                   \
    X(swiglu)                                                                                      \
    X(geglu)                                                                                       \
    X(softmax_groups)                                                                              \
    X(pool)                                                                                        \
    X(l2_normalize)                                                                                \
    X(batch)

#define X(name) void check_##name(struct kernels *k);
KERNEL_CHECKS(X)
#undef X

/* With --bench: prints the time of one call, made 20 times a batch of n rows in texts of 128, and its rate. */
typedef int (*kernel_call)(struct ops *o, void *arg);
void kernels_bench(struct kernels *k, const char *name, uint32_t n, kernel_call call, void *arg, double flops);

#endif
