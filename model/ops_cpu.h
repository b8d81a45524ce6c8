/* The ops of model/ops.h on the CPU: kernels of ours, and oneDNN for matrix products where the CPU lacks what those need.
 *
 * Q8_0, Q4_K, Q5_K and Q6_K weights with rows of 256 and more become int8 with one scale per output channel where the CPU multiplies int8
 * exactly (AVX-512 VNNI, AVX-VNNI). Other weights in blocks, and with `exact` those too, keep their blocks and are multiplied by activations of
 * 16 bits (ops_cpu_fine.h) where the CPU has one of these, AVX2 or NEON; all others are multiplied in f32 (ops_cpu_float.h), by oneDNN if they are F32
 * and the CPU has neither AVX2 nor NEON. The activations of int8 products are quantised per token, sums of f32 have their order, oneDNN's apart:
 * a row's result is the same bit for bit whatever rows lie beside it. Attention behind an int8 product is rounded to bf16 where the CPU multiplies
 * that (AVX-512 BF16).
 *
 * Calls between begin and end are only recorded. end runs them, split over the threads by texts where
 * there are enough of them, by the weights' columns where there are few rows, by rows otherwise. The threads sleep between batches. */
#ifndef MODEL_OPS_CPU_H
#define MODEL_OPS_CPU_H

#include "model/ops.h"

struct ops_cpu_params {
    unsigned n_threads;        /* 0: as many as the process may use; at most 64 */
    uint32_t max_batch_tokens; /* 0: 8192 */
    bool exact;                /* no activations of 8 bits: slower, and as exact as the weights */
};

/* On success *o is the caller's; ops_destroy frees it, after all buffers, matrices and vectors it made.
 * Errors: LT_ENOMEM; LT_EDEVICE when oneDNN does not work here.
 * Thread-safety: unsafe, as struct ops. */
int ops_cpu_create(struct ops **o, const struct ops_cpu_params *p, struct err_msg *em);

#endif
