#include "gpu/tuning.h"

#include <stdlib.h>
#include <string.h>

#include "gpu/vk.h"

#define ROWS_MOST 8 /* rows of x at which reading w is what counts */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

const char *tuning_path_name(enum tuning_path path)
{
    static const char *const names[TUNING_PATHS] = {"f32", "rows"};
    return names[path];
}

static bool offered(const struct gpu *g, enum tuning_path path)
{
    (void)g;
    (void)path;
    return true;
}

int tuning_force(struct gpu *g, const char *name, struct err_msg *em)
{
    if (!name)
        name = getenv("LATENTD_VULKAN_MATMUL");
    g->forced_path = -1;
    if (!name || !*name)
        return 0;
    for (int i = 0; i < TUNING_PATHS; i++)
        if (strcmp(name, tuning_path_name((enum tuning_path)i)) == 0)
            g->forced_path = i;
    if (g->forced_path < 0)
        return err_set(em, LT_EINVAL, "LATENTD_VULKAN_MATMUL: no way is called \"%.40s\"", name);
    if (!offered(g, (enum tuning_path)g->forced_path))
        return err_set(em, LT_ENOTFOUND, "%s does not offer what products in the way \"%s\" take", g->info.name, name);
    return 0;
}

enum tuning_path tuning_path(const struct gpu *g, uint32_t n, uint32_t m, uint32_t k)
{
    (void)m, (void)k;
    if (g->forced_path >= 0)
        return g->forced_path == TUNING_ROWS && n > ROWS_MOST ? TUNING_F32 : (enum tuning_path)g->forced_path;
    /* a software device has no memory to wait for, and shares what it loads better in tiles */
    return n <= (gpu_info(g)->software ? 1 : ROWS_MOST) ? TUNING_ROWS : TUNING_F32;
}

static uint32_t tiles_shared(const struct tuning_tiles *t)
{
    return (t->bm + t->bn) * (t->bk4 + 1) * 16;
}

struct tuning_tiles tuning_tiles(const struct gpu *g, uint32_t n, uint32_t m, uint32_t k)
{
    const struct gpu_limits *l = gpu_limits(g);
    struct tuning_tiles t = {.group = 64, .tx = 8, .rm = 4, .rn = 4, .bk4 = 4};
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
        if (tiles_shared(&t) <= l->max_shared || (t.rm == 1 && t.rn == 1))
            return t;
        if (t.rn > 1)
            t.rn /= 2;
        else
            t.rm /= 2;
    }
}

struct tuning_rows tuning_rows(const struct gpu *g, uint32_t n)
{
    const struct gpu_limits *l = gpu_limits(g);
    struct tuning_rows t = {.group = 128, .lanes = 32};
    if (gpu_info(g)->software)
        t.group = t.lanes = 16;
    while (t.group > l->max_invocations)
        t.group /= 2;
    t.lanes = min_u32(t.lanes, t.group);
    for (t.nx = 1; t.nx < n && t.nx < ROWS_MOST;)
        t.nx *= 2;
    /* enough loads under way to hide memory's latency, and not so many registers that few groups fit */
    t.rm = t.nx <= 2 ? 4 : 2;
    while (t.rm > 1 && 4 * t.nx * t.rm * t.group > l->max_shared)
        t.rm /= 2;
    while (t.nx > 1 && 4 * t.nx * t.rm * t.group > l->max_shared)
        t.nx /= 2;
    t.bm = t.group / t.lanes * t.rm;
    return t;
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
