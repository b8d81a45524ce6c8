#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "gpu/pipeline_cache.h"
#include "gpu/tuning.h"
#include "gpu/vk.h"

#define TIMEOUT_MS 120000
#define TIMEOUT_SOFTWARE_MS 600000
#define SMALL_HEAP (20u << 20) /* of the fault point gpu_small */
#define SMALL_RANGE (3u << 19)
#define HUNG_WAIT_NS 5000000000u
#define HUNG_WAIT_SOFTWARE_NS 120000000000u /* it does end: what hangs there is a busy machine */

static int choose(struct gpu *g, const char *want, struct err_msg *em)
{
    struct gpu_found found[GPU_MAX_DEVICES];
    size_t n;
    int r = instance_find(&g->in, found, &n, em);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (want && *want && !gpu_matches(&found[i].info, want))
            continue;
        g->phys = found[i].phys;
        g->family = found[i].family;
        g->info = found[i].info;
        return 0;
    }
    char names[256] = "";
    for (size_t i = 0, at = 0; i < n && at < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? "; " : "", found[i].info.name);
    return err_set(em, LT_ENOTFOUND, "no Vulkan device is called \"%.80s\"; there are: %s", want, names);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void read_limits(struct gpu *g, const struct gpu_params *p)
{
    VkPhysicalDeviceSubgroupProperties sub = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
    };
    VkPhysicalDeviceMaintenance3Properties m3 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
        .pNext = &sub,
    };
    VkPhysicalDeviceProperties2 props = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &m3,
    };
    vkGetPhysicalDeviceProperties2(g->phys, &props);
    const VkPhysicalDeviceLimits *l = &props.properties.limits;
    struct gpu_limits *out = &g->limits;
    g->vendor = props.properties.vendorID;
    out->max_range = l->maxStorageBufferRange;
    if (p->fake_max_range)
        out->max_range = min_u64(out->max_range, p->fake_max_range);
    /* A buffer is one allocation and, for simplicity, never longer than 4 GiB: offsets in shaders are 32 bits. */
    out->max_buffer = min_u64(m3.maxMemoryAllocationSize, 0xFFFFFFFFu);
    for (int i = 0; i < 3; i++) {
        out->max_groups[i] = l->maxComputeWorkGroupCount[i];
        out->max_group_size[i] = l->maxComputeWorkGroupSize[i];
    }
    out->max_invocations = l->maxComputeWorkGroupInvocations;
    out->max_shared = l->maxComputeSharedMemorySize;
    out->max_push = l->maxPushConstantsSize;
    out->offset_align = (uint32_t)(l->minStorageBufferOffsetAlignment < 16
                                       ? 16
                                       : l->minStorageBufferOffsetAlignment);
    out->subgroup_size = sub.subgroupSize;
    const VkSubgroupFeatureFlags ops = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_VOTE_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    out->shuffles = (sub.supportedOperations & ops) == ops && sub.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    g->max_allocations = l->maxMemoryAllocationCount;
    vkGetPhysicalDeviceMemoryProperties(g->phys, &g->mem);
    for (uint32_t i = 0; p->fake_heap && i < g->mem.memoryHeapCount; i++)
        g->mem.memoryHeaps[i].size = min_u64(g->mem.memoryHeaps[i].size, p->fake_heap);
    if (p->fake_heap)
        g->info.memory_bytes = min_u64(g->info.memory_bytes, p->fake_heap);
}

int gpu_create(struct gpu **out, const struct gpu_params *params, struct err_msg *em)
{
    struct gpu_params small = *params;
    const struct gpu_params *p = params;
    int r = 0;
    if (fault("gpu_small")) {
        small.fake_heap = SMALL_HEAP;
        small.fake_max_range = SMALL_RANGE;
        p = &small;
    }
    struct gpu *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(em, LT_ENOMEM, "no memory for a device");
    g->validation_at_create = gpu_validation_messages();
    if ((r = instance_get(&g->in, p->validate, em)) < 0)
        goto out;
    if ((r = choose(g, p->device, em)) < 0)
        goto out;
    g->timeout_ns = (p->timeout_ms ? p->timeout_ms
                                   : (g->info.software ? TIMEOUT_SOFTWARE_MS : TIMEOUT_MS)) *
                    (uint64_t)1000000;
    read_limits(g, p);
    g->allowed_bytes = p->memory_bytes;
    if (g->info.unified && p->host_bytes && (!p->memory_bytes || p->host_bytes < p->memory_bytes))
        g->allowed_bytes = p->host_bytes;
    if ((r = tuning_table_fill(&g->table, g->vendor, g->info.software, NULL, em)) < 0)
        goto out;
    if ((r = capability_open(g, p, em)) < 0)
        goto out;
    if ((r = tuning_force(g, p->path, em)) < 0)
        goto out;
    if ((r = pipeline_cache_init(g, p->cache_dir, em)) < 0)
        goto out;
    if ((r = pipeline_init(g, em)) < 0)
        goto out;
    if ((r = submit_init(g, p->submit_work, em)) < 0)
        goto out;
    if ((r = probe_fragments(g, em)) < 0)
        goto out;
    *out = g;
    g = NULL;
out:
    gpu_destroy(&g);
    return r;
}

void gpu_destroy(struct gpu **gp)
{
    struct gpu *g = *gp;
    *gp = NULL;
    if (!g)
        return;
    if (g->counts.submits)
        log_debug("gpu", "%s: %llu submissions, the longest %.1f ms", g->info.name, (unsigned long long)g->counts.submits,
                  (double)g->counts.longest_ns * 1e-6);
    /* A hung device still runs our work, and destroying what it uses is undefined: it gets a last while to finish, and then
     * is left to the process's end. */
    if (!g->hung || submit_settle(g, g->info.software ? HUNG_WAIT_SOFTWARE_NS : HUNG_WAIT_NS)) {
        if (g->dev) {
            vkDeviceWaitIdle(g->dev); /* a lost device answers at once */
            g->n_flying = 0;
            command_finish(g);
            profile_finish(g);
            pipeline_cache_finish(g);
            pipeline_finish(g);
            vkDestroyDevice(g->dev, NULL);
        }
    }
    free(g->cache_path);
    free(g->pipelines);
    free(g);
}

const struct gpu_device_info *gpu_info(const struct gpu *g)
{
    return &g->info;
}

const struct gpu_limits *gpu_limits(const struct gpu *g)
{
    return &g->limits;
}

const struct gpu_counts *gpu_counts(const struct gpu *g)
{
    return &g->counts;
}
