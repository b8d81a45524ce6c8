/* VK_LAYER_LATENTD_still: a Vulkan layer that leaves a driver its compiler and nothing else. What is submitted is not run and reads as zeros,
 * so that shaders can be compiled for GPUs that are not there: by drivers that make up a device (tests/all/vendors.sh).
 *
 * Enabled by VK_ADD_LAYER_PATH=FOLDER and VK_INSTANCE_LAYERS=VK_LAYER_LATENTD_still. Instances, devices and pipelines are the driver's; memory,
 * buffers, descriptors, commands, fences and queries are made up here. For each pipeline a line goes to standard error:
 *   still: <specialisation constants, in order>
 * and " | failed=<VkResult>" of one that the driver fails to make. What compilers tell of a pipeline is in gpu/'s debug messages.
 * A device's name ends in " (still)". Memory is there once it is mapped, and zero but for the words that the environment's STILL_WORDS=FILE begins
 * each with, decimal numbers between blanks, as many as there is room for: the answer to a question that is read back (gpu/probe.c).
 * Thread-safety: as much as latentd needs, one thread a device. Several instances may exist. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/layer.h"

#define HEAP (64ull << 30) /* bytes */

const char layer_name[] = "VK_LAYER_LATENTD_still";

/* ---- pipelines ---- */

static VkResult create_pipeline(const struct below *b, VkPipelineCache cache, const VkComputePipelineCreateInfo *info,
                                const VkAllocationCallbacks *cb, VkPipeline *pipeline)
{
    const VkSpecializationInfo *spec = info->stage.pSpecializationInfo;
    const VkResult r = BELOW_D(b, vkCreateComputePipelines)(b->dev, cache, 1, info, cb, pipeline);
    fprintf(stderr, "still:");
    for (size_t i = 0; spec && i + 4 <= spec->dataSize; i += 4)
        fprintf(stderr, " %u", *(const uint32_t *)(const void *)((const char *)spec->pData + i));
    if (r < 0)
        fprintf(stderr, " | failed=%d", r);
    fputc('\n', stderr);
    return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice dev, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *info,
                                                       const VkAllocationCallbacks *cb, VkPipeline *pipelines)
{
    VkResult r = VK_SUCCESS;
    for (uint32_t i = 0; i < n && r == VK_SUCCESS; i++)
        r = create_pipeline(layer_find(dev), cache, &info[i], cb, &pipelines[i]);
    return r;
}

/* ---- what is made up ---- */

struct memory {
    VkDeviceSize bytes;
    void *map;
};

/* Any object that nobody looks into but, of buffers, for their size, which is what they begin with. */
static void *make_up(VkDeviceSize bytes)
{
    struct memory *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->bytes = bytes;
    return m;
}

static void give_up(void *object)
{
    struct memory *m = object;
    if (m)
        free(m->map);
    free(m);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_buffer(VkDevice dev, const VkBufferCreateInfo *info, const VkAllocationCallbacks *cb, VkBuffer *b)
{
    (void)dev, (void)cb;
    *b = make_up(info->size);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_buffer(VkDevice dev, VkBuffer b, const VkAllocationCallbacks *cb)
{
    (void)dev, (void)cb;
    give_up(b);
}

static VKAPI_ATTR VkDeviceAddress VKAPI_CALL address(VkDevice dev, const VkBufferDeviceAddressInfo *of)
{
    (void)dev, (void)of;
    return 16;
}

static VKAPI_ATTR void VKAPI_CALL requirements(VkDevice dev, VkBuffer b, VkMemoryRequirements *m)
{
    (void)dev;
    *m = (VkMemoryRequirements){(((struct memory *)b)->bytes + 255) / 256 * 256, 256, 1};
}

/* One heap of one type, which suits all. */
static VKAPI_ATTR void VKAPI_CALL get_memory(VkPhysicalDevice phys, VkPhysicalDeviceMemoryProperties *p)
{
    (void)phys;
    *p = (VkPhysicalDeviceMemoryProperties){
        .memoryTypeCount = 1,
        .memoryTypes = {{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT, 0}},
        .memoryHeapCount = 1,
        .memoryHeaps = {{HEAP, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}},
    };
}

static VKAPI_ATTR void VKAPI_CALL get_memory2(VkPhysicalDevice phys, VkPhysicalDeviceMemoryProperties2 *p)
{
    get_memory(phys, &p->memoryProperties);
    for (VkBaseOutStructure *s = p->pNext; s; s = s->pNext) {
        VkPhysicalDeviceMemoryBudgetPropertiesEXT *b = (VkPhysicalDeviceMemoryBudgetPropertiesEXT *)s;
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT)
            b->heapBudget[0] = HEAP, b->heapUsage[0] = 0;
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_memory(VkDevice dev, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *cb,
                                                      VkDeviceMemory *m)
{
    (void)dev, (void)cb;
    *m = make_up(info->allocationSize);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice dev, VkDeviceMemory m, const VkAllocationCallbacks *cb)
{
    (void)dev, (void)cb;
    give_up(m);
}

/* False where there is no such file, or it has anything but numbers. */
static bool begin(struct memory *m, const char *path)
{
    FILE *f = fopen(path, "r");
    uint32_t *words = m->map;
    int last = f ? 1 : 0;
    for (VkDeviceSize i = 0; last == 1 && 4 * i + 4 <= m->bytes; i++)
        last = fscanf(f, "%" SCNu32, &words[i]);
    if (f)
        fclose(f);
    return last != 0;
}

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice dev, VkDeviceMemory memory, VkDeviceSize at, VkDeviceSize n, VkMemoryMapFlags f, void **p)
{
    struct memory *m = (struct memory *)memory;
    (void)dev, (void)n, (void)f;
    const char *path = getenv("STILL_WORDS");
    if (!m->map && (!(m->map = calloc(1, m->bytes)) || (path && !begin(m, path))))
        return VK_ERROR_MEMORY_MAP_FAILED;
    *p = (char *)m->map + at;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_commands(VkDevice dev, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *c)
{
    for (uint32_t i = 0; i < info->commandBufferCount; i++) {
        void **object = make_up(0);
        *object = *(void **)dev; /* as the loader wants it of a dispatchable object */
        c[i] = (VkCommandBuffer)object;
    }
    return VK_SUCCESS; /* never freed: they are few, and go with their pool */
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_sets(VkDevice dev, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *s)
{
    static uint64_t one;
    (void)dev;
    for (uint32_t i = 0; i < info->descriptorSetCount; i++)
        s[i] = (VkDescriptorSet)(void *)&one; /* nothing is kept in it */
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL query_results(VkDevice dev, VkQueryPool pool, uint32_t first, uint32_t n, size_t bytes, void *data,
                                                    VkDeviceSize stride, VkQueryResultFlags flags)
{
    (void)dev, (void)pool, (void)first, (void)n, (void)stride, (void)flags;
    memset(data, 0, bytes);
    return VK_SUCCESS;
}

/* Name, and type of what is made and unmade. */
#define OBJECTS(X)                  \
    X(CommandPool, VkCommandPool)   \
    X(Fence, VkFence)               \
    X(QueryPool, VkQueryPool)       \
    X(DescriptorPool, VkDescriptorPool)

#define OBJECT(name, type)                                                                                                                       \
    static VKAPI_ATTR VkResult VKAPI_CALL create_##name(VkDevice dev, const Vk##name##CreateInfo *info, const VkAllocationCallbacks *cb, type *o) \
    {                                                                                                                                            \
        (void)dev, (void)info, (void)cb;                                                                                                         \
        *o = make_up(0);                                                                                                                         \
        return VK_SUCCESS;                                                                                                                       \
    }                                                                                                                                            \
    static VKAPI_ATTR void VKAPI_CALL destroy_##name(VkDevice dev, type o, const VkAllocationCallbacks *cb)                                      \
    {                                                                                                                                            \
        (void)dev, (void)cb;                                                                                                                     \
        give_up(o);                                                                                                                              \
    }
OBJECTS(OBJECT)

static VKAPI_ATTR VkResult VKAPI_CALL succeed(void)
{
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL do_nothing(void)
{
}

/* ---- instances and devices ---- */

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice phys, VkPhysicalDeviceProperties *p)
{
    BELOW_I(layer_find(phys), vkGetPhysicalDeviceProperties)(phys, p);
    const size_t len = strlen(p->deviceName);
    snprintf(p->deviceName + len, sizeof p->deviceName - len, " (still)");
}

void layer_instance_made(void)
{
}

VkResult layer_make_device(struct below *b, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *cb, VkDevice *dev)
{
    return BELOW_I(b, vkCreateDevice)(b->phys, info, cb, dev);
}

/* ---- the layer's rows ---- */

#define ROW(name, f) {name, true, (PFN_vkVoidFunction)(f)},
#define OBJECT_ROWS(name, type) ROW("vkCreate" #name, create_##name) ROW("vkDestroy" #name, destroy_##name)

const struct layer_row layer_rows[] = {
    {"vkGetPhysicalDeviceProperties", false, (PFN_vkVoidFunction)get_properties},
    {"vkGetPhysicalDeviceMemoryProperties", false, (PFN_vkVoidFunction)get_memory},
    {"vkGetPhysicalDeviceMemoryProperties2", false, (PFN_vkVoidFunction)get_memory2},
    ROW("vkCreateComputePipelines", create_pipelines)
    ROW("vkCreateBuffer", create_buffer)
    ROW("vkDestroyBuffer", destroy_buffer)
    ROW("vkGetBufferMemoryRequirements", requirements)
    ROW("vkGetBufferDeviceAddress", address)
    ROW("vkAllocateMemory", allocate_memory)
    ROW("vkFreeMemory", free_memory)
    ROW("vkMapMemory", map_memory)
    ROW("vkAllocateCommandBuffers", allocate_commands)
    ROW("vkAllocateDescriptorSets", allocate_sets)
    ROW("vkGetQueryPoolResults", query_results)
    OBJECTS(OBJECT_ROWS)
    ROW("vkBindBufferMemory", succeed)
    ROW("vkResetCommandPool", succeed)
    ROW("vkResetDescriptorPool", succeed)
    ROW("vkBeginCommandBuffer", succeed)
    ROW("vkEndCommandBuffer", succeed)
    ROW("vkResetFences", succeed)
    ROW("vkWaitForFences", succeed)
    ROW("vkQueueSubmit", succeed)
    ROW("vkDeviceWaitIdle", succeed)
    ROW("vkUpdateDescriptorSets", do_nothing)
    ROW("vkCmdResetQueryPool", do_nothing)
    ROW("vkCmdWriteTimestamp", do_nothing)
    ROW("vkCmdBindPipeline", do_nothing)
    ROW("vkCmdBindDescriptorSets", do_nothing)
    ROW("vkCmdPushConstants", do_nothing)
    ROW("vkCmdDispatch", do_nothing)
    ROW("vkCmdDispatchBase", do_nothing)
    ROW("vkCmdPipelineBarrier", do_nothing)
    ROW("vkCmdCopyBuffer", do_nothing)
    {0},
};
