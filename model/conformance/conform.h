/* One harness for the ops of any device: each check_X.c runs an op on nasty inputs and compares it with model/ref.
 *
 * Inputs and results go through the device's buffers. Every output buffer has rows to spare, filled with a pattern that
 * must still be there afterwards. With --bench the same checks print the time of one call at the sizes of the default model. */
#ifndef MODEL_CONFORM_H
#define MODEL_CONFORM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/ops.h"
#include "model/ref/ref_ops.h"

#define SPARE_ROWS 3

struct conform {
    struct ops *o;
    bool bench;
    bool brief; /* costly checks draw fewer cases and smaller ones, of every op, type and way still: for software devices */
    bool only_blocks; /* checks of many ops use weights in blocks alone: for a way that others' products do not go */
    bool int8; /* q8_0 products round activations to int8 */
    uint64_t rng;
    unsigned n_cases, n_failed;
    char what[160]; /* the case that runs */
    bool failed;
};

/* A batch of n rows as one or several texts; kept until the next. */
struct conform_batch {
    uint32_t n, n_seqs, n_pooled;
    int32_t *ids;
    uint32_t *seq_offset, *pool_skip;
};

enum fill { FILL_NORMAL, FILL_ZERO, FILL_HUGE, FILL_ONE_HOT, FILL_N };

/* Names the case; counted, and printed should it fail. */
void conform_case(struct conform *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void conform_fail(struct conform *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Of the harness: never NULL, freed by the caller with free. */
float *conform_fill(struct conform *k, size_t n, enum fill fill);
float conform_normal(struct conform *k);
uint64_t conform_rand(struct conform *k);

/* Whether brief checks leave out sizes for which a software driver would compile a kernel once more; a CPU's kernels take any. */
bool conform_few_kernels(const struct conform *k);

/* n values (whole rows of whole blocks) as the storage type has them. */
void conform_encode(enum tensor_type type, const float *v, size_t n, void *out);
/* How far n values of a row (whole blocks of 32) may be off where the device has them in another type's form: 0 but on GPUs for q2_K and iq4_xs. */
void conform_held(const struct conform *k, enum tensor_type type, const float *v, size_t n, float *off);

/* The device's: n rows with v (NULL: an output, all pattern); the caller destroys. */
struct ops_buf *conform_buf(struct conform *k, const float *v, size_t rows, size_t cols);
void conform_drop(struct conform *k, struct ops_buf *b);
struct ops_vec *conform_vec(struct conform *k, const float *v, size_t n);
void conform_drop_vec(struct conform *k, struct ops_vec *v);

/* Texts of the given length each, the last shorter; skip rows left out of the pool where the text is longer. */
void conform_layout(struct conform *k, struct conform_batch *b, uint32_t n, uint32_t text, uint32_t skip);
void conform_start(struct conform *k, const struct conform_batch *b);
void conform_begin(struct conform *k, struct conform_batch *b, uint32_t n, uint32_t text, uint32_t skip); /* both */
void conform_end(struct conform *k, struct conform_batch *b); /* b's arrays stay until conform_forget */
void conform_forget(struct conform_batch *b);
/* Fails the case unless r is 0. */
void conform_ok(struct conform *k, int r, const char *call);

/* Fails the case where |got - want| > absolute + relative · |want| (or · magnitude[i] if given), or a spare row was
 * written. Reads rows × cols of b. */
void conform_compare(struct conform *k, struct ops_buf *b, const float *want, size_t rows, size_t cols,
                     double absolute, double relative, const float *magnitude);
/* The same for a product, which may write whole matrices: spare rows up to the next multiple of OPS_ROWS_STEP are not looked at. */
void conform_compare_product(struct conform *k, struct ops_buf *b, const float *want, size_t rows, size_t cols,
                             double absolute, double relative, const float *magnitude);

#define CONFORM_CHECKS(X)                                                                           \
    X(embed_rows)                                                                                  \
    X(rms_norm)                                                                                    \
    X(rms_norm_add)                                                                                \
    X(scale)                                                                                       \
    X(layer_norm)                                                                                  \
    X(matmul)                                                                                      \
    X(qk_norm)                                                                                     \
    X(rope)                                                                                        \
    X(attention)                                                                                   \
    X(swiglu)                                                                                      \
    X(geglu)                                                                                       \
    X(geglu_tanh)                                                                                  \
    X(gated)                                                                                       \
    X(sequence)                                                                                    \
    X(softmax_groups)                                                                              \
    X(pool)                                                                                        \
    X(l2_normalize)                                                                                \
    X(batch)

#define X(name) void check_##name(struct conform *k);
CONFORM_CHECKS(X)
#undef X

/* The checks in the order of CONFORM_CHECKS; one of no name ends them. */
extern const struct conform_check {
    const char *name;
    void (*run)(struct conform *k);
} conform_checks[];

/* A device whose q8_0 products round activations to int8 is compared with the same rounding. */
void conform_init(struct conform *k, struct ops *o, uint64_t seed);
#define CONFORM_BATCH 32768 /* rows that the device is asked to take; one that takes fewer gets shorter cases */

/* With --bench: prints the time of one call, made 20 times a batch of n rows in texts of 128, and its rate. */
typedef int (*conform_call)(struct ops *o, void *arg);
void conform_bench(struct conform *k, const char *name, uint32_t n, conform_call call, void *arg, double flops);

#endif
