/* What each kernel takes, by the device's own clock.
 *
 * Two timestamps around each dispatch, which is ordered behind all before it, so that a time is a kernel's own; kernels that might
 * run at once do not then, and a batch takes longer than without. A slot's queries are read when its fence has been waited for. */
#include <stdlib.h>

#include "gpu/vk.h"

struct profile {
    double period_ns;
    uint64_t mask; /* bits of a timestamp that count */
    uint64_t times[2 * PROFILE_SLOT_MAX]; /* read from one slot */
    struct gpu_profile_row sum[GPU_KERNEL_COUNT];
    struct {
        VkQueryPool queries;
        uint32_t n; /* dispatches timed */
        enum gpu_kernel kernel[PROFILE_SLOT_MAX];
        double work[PROFILE_SLOT_MAX];
    } slot[GPU_SLOTS];
};

int gpu_profile_start(struct gpu *g, struct err_msg *em)
{
    VkQueueFamilyProperties families[32];
    VkPhysicalDeviceProperties props;
    uint32_t n = 32;
    int r = submit_wait(g, em);
    if (r < 0)
        return r;
    profile_finish(g);
    vkGetPhysicalDeviceQueueFamilyProperties(g->phys, &n, families);
    vkGetPhysicalDeviceProperties(g->phys, &props);
    const uint32_t bits = g->family < n ? families[g->family].timestampValidBits : 0;
    if (!bits || !(props.limits.timestampPeriod > 0))
        return err_set(em, LT_EDEVICE, "%s: its queue has no timestamps", g->info.name);
    if (!(g->profile = calloc(1, sizeof *g->profile)))
        return err_set(em, LT_ENOMEM, "no memory for a profile");
    g->profile->period_ns = (double)props.limits.timestampPeriod;
    g->profile->mask = bits < 64 ? (1ull << bits) - 1 : UINT64_MAX;
    for (int i = 0; i < GPU_KERNEL_COUNT; i++)
        g->profile->sum[i].kernel = gpu_kernel_row((enum gpu_kernel)i)->name;
    for (int i = 0; i < GPU_SLOTS && r == 0; i++) {
        VkQueryPoolCreateInfo create = {
            .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
            .queryType = VK_QUERY_TYPE_TIMESTAMP,
            .queryCount = 2 * PROFILE_SLOT_MAX,
        };
        r = VK(g, em, vkCreateQueryPool(g->dev, &create, NULL, &g->profile->slot[i].queries));
    }
    if (r < 0)
        profile_finish(g);
    return r;
}

void profile_finish(struct gpu *g)
{
    for (int i = 0; g->profile && i < GPU_SLOTS; i++)
        vkDestroyQueryPool(g->dev, g->profile->slot[i].queries, NULL);
    free(g->profile);
    g->profile = NULL;
}

void profile_record(struct gpu *g)
{
    if (!g->profile)
        return;
    vkCmdResetQueryPool(g->cmd, g->profile->slot[g->slot].queries, 0, 2 * PROFILE_SLOT_MAX);
    g->profile->slot[g->slot].n = 0;
}

bool profile_full(const struct gpu *g)
{
    return g->profile && g->profile->slot[g->slot].n == PROFILE_SLOT_MAX;
}

void profile_before(struct gpu *g)
{
    const uint32_t at = g->profile->slot[g->slot].n;
    vkCmdWriteTimestamp(g->cmd, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, g->profile->slot[g->slot].queries, 2 * at);
}

void profile_after(struct gpu *g, enum gpu_kernel kernel, double work)
{
    const uint32_t at = g->profile->slot[g->slot].n++;
    g->profile->slot[g->slot].kernel[at] = kernel;
    g->profile->slot[g->slot].work[at] = work;
    vkCmdWriteTimestamp(g->cmd, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, g->profile->slot[g->slot].queries, 2 * at + 1);
}

int profile_collect(struct gpu *g, uint32_t slot, struct err_msg *em)
{
    struct profile *p = g->profile;
    const uint32_t n = p ? p->slot[slot].n : 0;
    if (!n)
        return 0;
    p->slot[slot].n = 0;
    uint64_t *t = p->times;
    int r = VK(g, em, vkGetQueryPoolResults(g->dev, p->slot[slot].queries, 0, 2 * n, 2 * n * sizeof *t, t, sizeof *t,
                                            VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT));
    for (uint32_t i = 0; i < n && r == 0; i++) {
        struct gpu_profile_row *row = &p->sum[p->slot[slot].kernel[i]];
        row->n++;
        row->ns += (double)((t[2 * i + 1] - t[2 * i]) & p->mask) * p->period_ns;
        row->work += p->slot[slot].work[i];
    }
    return r;
}

const struct gpu_profile_row *gpu_profile(const struct gpu *g)
{
    return g->profile ? g->profile->sum : NULL;
}
