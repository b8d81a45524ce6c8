#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "gpu/vk.h"

#define KIB 1024.0
#define MIB (1024.0 * KIB)
#define KIB_BELOW (10 * MIB) /* sizes below are told in KiB, else in tenths of a MiB */
#define STAGING_BYTES (4u << 20) /* what weights come in (model/ops_vulkan_mat.c) */

/* Best memory type of those in `bits`: has all of must, most of want, least of avoid. */
static int pick_type(const struct gpu *g, uint32_t bits, VkMemoryPropertyFlags must,
                     VkMemoryPropertyFlags want, VkMemoryPropertyFlags avoid)
{
    int best = -1, best_score = -100;
    for (uint32_t i = 0; i < g->mem.memoryTypeCount; i++) {
        VkMemoryPropertyFlags f = g->mem.memoryTypes[i].propertyFlags;
        if (!(bits >> i & 1) || (f & must) != must || f & VK_MEMORY_PROPERTY_PROTECTED_BIT)
            continue;
        int score = __builtin_popcount(f & want) - __builtin_popcount(f & avoid);
        if (score > best_score) {
            best = (int)i;
            best_score = score;
        }
    }
    return best;
}

static int choose_type(const struct gpu *g, enum gpu_mem mem, uint32_t bits)
{
    const VkMemoryPropertyFlags host =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const bool unified = g->info.unified;
    int type = -1;
    switch (mem) {
    case GPU_MEM_DEVICE:
        /* Memory that both sides see is scarce on a discrete card and all there is elsewhere. */
        type = pick_type(g, bits, local, unified ? host : 0, unified ? 0 : host);
        return type >= 0 ? type : pick_type(g, bits, 0, 0, 0);
    case GPU_MEM_UPLOAD:
        return pick_type(g, bits, host, 0, local | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    case GPU_MEM_READBACK:
        return pick_type(g, bits, host, VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 0);
    }
    return type;
}

/* What is left of the heap, and of what the driver says we may have of it. */
static uint64_t heap_free(const struct gpu *g, uint32_t heap)
{
    const uint64_t total = g->mem.memoryHeaps[heap].size, own = g->heap_used[heap];
    uint64_t left = total > own ? total - own : 0;
    if (g->has_budget) {
        VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT,
        };
        VkPhysicalDeviceMemoryProperties2 props = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
            .pNext = &budget,
        };
        vkGetPhysicalDeviceMemoryProperties2(g->phys, &props);
        const uint64_t may = budget.heapBudget[heap], used = budget.heapUsage[heap] > own ? budget.heapUsage[heap] : own;
        if (may < used || may - used < left)
            left = may > used ? may - used : 0;
    }
    return left;
}

/* What is asked for is rounded up and what there is down, so that a message never calls too little enough. */
struct size_text {
    char text[32];
};

static struct size_text size_text(uint64_t bytes, double (*whole)(double))
{
    struct size_text s;
    if ((double)bytes < KIB_BELOW)
        snprintf(s.text, sizeof s.text, "%.0f KiB", whole((double)bytes / KIB));
    else
        snprintf(s.text, sizeof s.text, "%.1f MiB", whole((double)bytes / MIB * 10) / 10);
    return s;
}

static int out_of_memory(const struct gpu *g, uint32_t heap, uint64_t need, const char *who, struct err_msg *em)
{
    return err_set(em, LT_ENOMEM, "%s: %s of device memory needed%s, %s of %s free", g->info.name, size_text(need, ceil).text, who,
                   size_text(heap_free(g, heap), floor).text, size_text(g->mem.memoryHeaps[heap].size, floor).text);
}

/* Whether the device itself is the poorer for what is taken of the heap. */
static bool own_heap(const struct gpu *g, uint32_t heap)
{
    return g->mem.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
}

uint64_t gpu_memory_free(const struct gpu *g)
{
    const int type = choose_type(g, GPU_MEM_DEVICE, UINT32_MAX);
    return type < 0 ? 0 : heap_free(g, g->mem.memoryTypes[type].heapIndex);
}

uint64_t gpu_staging_bytes(const struct gpu *g)
{
    (void)g; /* which may have to, or see all its memory from the host */
    return STAGING_BYTES;
}

static bool has_address(const struct gpu *g, const struct gpu_buf *b)
{
    return g->limits.addresses && b->mem == GPU_MEM_DEVICE;
}

static int allocate(struct gpu *g, struct gpu_buf *b, struct err_msg *em)
{
    VkMemoryRequirements need;
    vkGetBufferMemoryRequirements(g->dev, b->buffer, &need);
    int type = choose_type(g, b->mem, need.memoryTypeBits);
    if (type < 0)
        return err_set(em, LT_EDEVICE, "%s: no usable memory type", g->info.name);
    uint32_t heap = g->mem.memoryTypes[type].heapIndex;
    if (g->n_allocations >= g->max_allocations)
        return err_set(em, LT_ELIMIT, "%s: more than %u allocations", g->info.name, g->max_allocations);
    if (need.size > heap_free(g, heap) || fault("gpu_alloc"))
        return out_of_memory(g, heap, need.size, "", em);
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = has_address(g, b) ? &flags : NULL,
        .allocationSize = need.size,
        .memoryTypeIndex = (uint32_t)type,
    };
    int r = VK(g, em, vkAllocateMemory(g->dev, &info, NULL, &b->memory));
    if (r < 0)
        return r == LT_ENOMEM ? out_of_memory(g, heap, need.size, " and refused by the driver", em) : r;
    b->heap = heap;
    b->allocated = need.size;
    g->n_allocations++;
    g->heap_used[heap] += need.size;
    g->counts.memory_bytes += own_heap(g, heap) ? need.size : 0;
    if ((r = VK(g, em, vkBindBufferMemory(g->dev, b->buffer, b->memory, 0))) < 0)
        return r;
    if (has_address(g, b)) {
        const VkBufferDeviceAddressInfo of = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = b->buffer};
        b->address = vkGetBufferDeviceAddress(g->dev, &of);
    }
    VkMemoryPropertyFlags f = g->mem.memoryTypes[type].propertyFlags;
    if (f & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT && f & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
        r = VK(g, em, vkMapMemory(g->dev, b->memory, 0, VK_WHOLE_SIZE, 0, &b->map));
    return r;
}

int gpu_buf_create(struct gpu *g, uint64_t len_bytes, enum gpu_mem mem, struct gpu_buf **out, struct err_msg *em)
{
    int r = 0;
    struct gpu_buf *b = NULL;
    if (g->lost)
        return err_set(em, LT_EDEVICELOST, "%s: device lost", g->info.name);
    /* a binding is whole vectors of four floats, so is a buffer */
    uint64_t len = len_bytes <= UINT64_MAX - 16 ? (len_bytes + 15) / 16 * 16 : len_bytes;
    if (!len)
        len = 16;
    if (len > g->limits.max_buffer)
        return err_set(em, LT_ELIMIT, "%s: a buffer of %s needed, at most %s are allowed", g->info.name, size_text(len, ceil).text,
                       size_text(g->limits.max_buffer, floor).text);
    if (!(b = calloc(1, sizeof *b)))
        return err_set(em, LT_ENOMEM, "no memory for a buffer");
    b->mem = mem;
    b->len = len;
    VkBufferCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = len,
        .usage = mem == GPU_MEM_DEVICE ? VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                             VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                             VK_BUFFER_USAGE_TRANSFER_DST_BIT
                 : mem == GPU_MEM_UPLOAD ? VK_BUFFER_USAGE_TRANSFER_SRC_BIT
                                         : VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    if (has_address(g, b))
        create.usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    if ((r = VK(g, em, vkCreateBuffer(g->dev, &create, NULL, &b->buffer))) < 0)
        goto out;
    if ((r = allocate(g, b, em)) < 0)
        goto out;
    *out = b;
    b = NULL;
out:
    gpu_buf_destroy(g, &b);
    return r;
}

void gpu_buf_destroy(struct gpu *g, struct gpu_buf **bp)
{
    struct gpu_buf *b = *bp;
    *bp = NULL;
    if (!b)
        return;
    if (submit_wait(g, NULL) < 0 && g->hung) { /* the device may still use it */
        gpu_buf_retire(g, &b);
        return;
    }
    if (b->buffer)
        vkDestroyBuffer(g->dev, b->buffer, NULL);
    if (b->memory)
        vkFreeMemory(g->dev, b->memory, NULL);
    if (b->memory) {
        g->n_allocations--;
        g->heap_used[b->heap] -= b->allocated;
        g->counts.memory_bytes -= own_heap(g, b->heap) ? b->allocated : 0;
    }
    free(b);
}

void gpu_buf_retire(struct gpu *g, struct gpu_buf **bp)
{
    if (!*bp)
        return;
    (*bp)->next = g->retired;
    g->retired = *bp;
    *bp = NULL;
}

uint64_t gpu_buf_address(const struct gpu_buf *b)
{
    return b->address;
}

void *gpu_buf_host(const struct gpu_buf *b)
{
    return b->mem == GPU_MEM_DEVICE ? NULL : b->map;
}

uint64_t gpu_buf_len(const struct gpu_buf *b)
{
    return b->len;
}

/* One copy between a device buffer and the staging buffer, submitted and waited for. */
static int copy_now(struct gpu *g, struct gpu_buf *dst, uint64_t dst_offset, struct gpu_buf *src,
                    uint64_t src_offset, uint64_t len, struct err_msg *em)
{
    int r = gpu_begin(g, em);
    if (r < 0)
        return r;
    if ((r = gpu_copy(g, dst, dst_offset, src, src_offset, len, em)) < 0)
        return r;
    g->counts.batches--; /* gpu_submit counts it as one */
    return gpu_submit(g, em);
}

static int check_range(struct gpu *g, const struct gpu_buf *b, uint64_t offset, uint64_t len,
                       struct err_msg *em)
{
    assert(!g->recording);
    int r = submit_wait(g, em); /* of a batch that was dropped */
    if (r < 0)
        return r;
    if (offset > b->len || len > b->len - offset || offset % 4 || len % 4)
        return err_set(em, LT_EINVAL, "copy of %llu bytes at %llu in a buffer of %llu",
                       (unsigned long long)len, (unsigned long long)offset, (unsigned long long)b->len);
    return 0;
}

int gpu_upload(struct gpu *g, struct gpu_buf *b, uint64_t offset, const void *data, uint64_t len,
               struct err_msg *em)
{
    int r = check_range(g, b, offset, len, em);
    if (r < 0)
        return r;
    if (b->map) {
        memcpy((uint8_t *)b->map + offset, data, len);
        return 0;
    }
    if (!g->staging && (r = gpu_buf_create(g, STAGING_BYTES, GPU_MEM_UPLOAD, &g->staging, em)) < 0)
        return r;
    for (uint64_t at = 0; at < len && r == 0; at += STAGING_BYTES) {
        uint64_t n = len - at < STAGING_BYTES ? len - at : STAGING_BYTES;
        memcpy(g->staging->map, (const uint8_t *)data + at, n);
        r = copy_now(g, b, offset + at, g->staging, 0, n, em);
    }
    return r;
}

int gpu_download(struct gpu *g, struct gpu_buf *b, uint64_t offset, void *data, uint64_t len,
                 struct err_msg *em)
{
    struct gpu_buf *to = NULL;
    int r = check_range(g, b, offset, len, em);
    if (r < 0 || !len)
        return r;
    if (b->map) {
        memcpy(data, (const uint8_t *)b->map + offset, len);
        return 0;
    }
    if ((r = gpu_buf_create(g, len, GPU_MEM_READBACK, &to, em)) < 0)
        return r;
    if ((r = copy_now(g, to, 0, b, offset, len, em)) == 0)
        memcpy(data, to->map, len);
    gpu_buf_destroy(g, &to);
    return r;
}
