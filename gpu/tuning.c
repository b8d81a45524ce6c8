#include "gpu/tuning.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t matmul_shared(const struct tuning_matmul *t)
{
    return (t->bm + t->bn) * (t->bk4 + 1) * 16;
}

struct tuning_matmul tuning_matmul(const struct gpu *g, uint32_t n, uint32_t m, uint32_t k)
{
    const struct gpu_limits *l = gpu_limits(g);
    struct tuning_matmul t = {.group = 64, .tx = 8, .rm = 4, .rn = 4, .bk4 = 4};
    bool large = n >= 64 && m >= 256;
    if (n <= 8) {
        t.rn = 1;
    } else if (gpu_info(g)->software) {
        /* loads are the cost there, one lane at a time: more sums per load, measured on llvmpipe and SwiftShader */
        t.rm = 8;
    } else if (large && l->max_invocations >= 256) {
        t.group = 256;
        t.tx = 16;
        /* four multiply-adds per value read from shared memory, where registers are plenty */
        t.rm = t.rn = gpu_info(g)->kind == GPU_DISCRETE && n >= 256 && m >= 1024 ? 8 : 4;
    }
    while (t.group > l->max_invocations)
        t.group /= 2;
    t.tx = min_u32(t.tx, t.group);
    for (;;) {
        t.bm = t.tx * t.rm;
        t.bn = t.group / t.tx * t.rn;
        if (matmul_shared(&t) <= l->max_shared || (t.rm == 1 && t.rn == 1))
            return t;
        if (t.rn > 1)
            t.rn /= 2;
        else
            t.rm /= 2;
    }
}

struct tuning_attention tuning_attention(const struct gpu *g, uint32_t head_dim)
{
    const struct gpu_limits *l = gpu_limits(g);
    struct tuning_attention t = {.group = 64, .bq = 16, .bk = 32};
    uint32_t row_bytes = ((head_dim + 3) / 4 + 1) * 16;
    while (t.group > l->max_invocations)
        t.group /= 2;
    /* queries, one tile of keys or values, scores */
    while ((t.bq + t.bk) * row_bytes + 4 * t.bq * t.bk > l->max_shared) {
        if (t.bk >= 2 * t.bq)
            t.bk /= 2;
        else
            t.bq /= 2;
    }
    return t;
}

uint32_t tuning_row_group(const struct gpu *g, uint32_t d)
{
    uint32_t group = gpu_info(g)->software ? 16 : 128;
    while (group > gpu_limits(g)->max_invocations || (group > 8 && group >= 2 * d))
        group /= 2;
    return group;
}

uint32_t tuning_element_group(const struct gpu *g)
{
    return min_u32(64, gpu_limits(g)->max_invocations);
}
