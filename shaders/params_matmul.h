/* What the matrix products share with C; of its own, since the compiled cooperative kernels are in the tree (shaders/spirv). */
#ifndef SHADERS_PARAMS_MATMUL_H
#define SHADERS_PARAMS_MATMUL_H

#ifdef __STDC_VERSION__
#include <stdint.h>
#define PARAMS_UINT uint32_t
#define PARAMS_CHECK(type, n_fields)                                                               \
    _Static_assert(sizeof(struct type) == 4 * (n_fields), "push constants of " #type);
#else
#define PARAMS_UINT uint
#define PARAMS_CHECK(type, n_fields)
#endif

/* Weights are stored in rows padded with zeros to a multiple of this many values. */
#define PARAMS_K_PAD 32

/* flags of push_matmul */
#define PARAMS_HAS_BIAS 1
#define PARAMS_HAS_RESIDUAL 2
#define PARAMS_PARTIAL 8 /* y[part, n, m] without bias and residual: matmul_sum adds the parts and those */

/* y[:, row0 … row0 + n_rows) of y[n, m]; part of the sums: values 8 part8 z … 8 part8 (z + 1) - 1 of each row, z a group's third number */
struct push_matmul {
    PARAMS_UINT n, m, k, kp, row0, n_rows, flags, part8;
};
PARAMS_CHECK(push_matmul, 8)

/* A row of x packed as f16: words of values, and words of its scale, of which one is used, so that rows begin at 16 bytes. */
#define PARAMS_HALF_WORDS(kp) ((kp) / 2 + 4)

#endif
