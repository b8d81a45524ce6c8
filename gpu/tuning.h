/* Sizes of tiles and groups, chosen from what a device allows: the only place with knowledge of devices. */
#ifndef GPU_TUNING_H
#define GPU_TUNING_H

#include "gpu/gpu.h"

struct tuning_matmul {
    uint32_t group;      /* invocations */
    uint32_t tx;         /* of those, along w's rows */
    uint32_t rm, rn;     /* outputs of an invocation along w's rows and x's rows */
    uint32_t bk4;        /* depth of a tile, in vectors of 4; divides 8 */
    uint32_t bm, bn;     /* tile: tx * rm, group / tx * rn */
};

/* For y[n, m] = x[n, k] wᵀ. The result's bits do not depend on the choice. */
struct tuning_matmul tuning_matmul(const struct gpu *g, uint32_t n, uint32_t m, uint32_t k);

struct tuning_attention {
    uint32_t group, bq, bk;
};

/* For heads of head_dim (1 … 256). Does not depend on the batch, so that its neighbours change nothing. */
struct tuning_attention tuning_attention(const struct gpu *g, uint32_t head_dim);

/* Group size of kernels that give a whole group to a row of d values: a power of two. */
uint32_t tuning_row_group(const struct gpu *g, uint32_t d);

/* Group size of kernels that give an invocation to each element. */
uint32_t tuning_element_group(const struct gpu *g);

#endif
