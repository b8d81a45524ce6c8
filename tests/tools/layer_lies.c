/* VK_LAYER_LATENTD_lies: a Vulkan layer between an application and a driver that makes the device look smaller and worse than it is.
 *
 * Enabled by VK_ADD_LAYER_PATH=FOLDER and VK_INSTANCE_LAYERS=VK_LAYER_LATENTD_lies; environment, read when an instance is made:
 *   LIE_RANGE=BYTES        maxStorageBufferRange
 *   LIE_ALLOCATION=BYTES   maxMemoryAllocationSize
 *   LIE_HEAP=BYTES         size of each memory heap, and its budget
 *   LIE_BUDGET=BYTES       how much of each heap may be used; the rest is others'. A driver without VK_EXT_memory_budget gets it here.
 *                          Looked at again whenever a device is made
 *   LIE_FULL=BYTES         size of each heap, of which nothing is said beforehand
 *   LIE_CARD=VENDOR        a discrete GPU of that vendor (PCI's number): what is chosen for one then runs where there is none
 *   LIE_SIZE=1             no size of subgroups can be demanded
 *   LIE_FAIL=N             the Nth vkAllocateMemory, from 1, fails: VK_ERROR_OUT_OF_DEVICE_MEMORY
 *   LIE_LOST=N             the Nth vkQueueSubmit, from 1, and all calls on that device that can say so: VK_ERROR_DEVICE_LOST
 *   LIE_LOST_FROM=N        the same for every submission from the Nth on, whatever the device
 *   LIE_WAIT=N             the Nth vkWaitForFences, from 1, returns at once: VK_ERROR_OUT_OF_HOST_MEMORY
 *   LIE_CALL=N             the same of all calls of some kinds together, those that make, record, submit and reset (FAILING below)
 *   LIE_LOST_NOW           the same for the next submission: looked for at each, and unset
 *   LIE_STATISTICS=N       VK_KHR_pipeline_executable_properties is there, and tells N statistics of a kernel, some of them nasty (statistic below);
 *                          N is looked at again for each kernel. Of two executables the second is the one to ask
 *   LIE_MUTE=WHICH         questions for executables (1) or for their statistics (2) fail: VK_ERROR_OUT_OF_HOST_MEMORY; or there are more of
 *                          both than there can be (3). Looked at for each kernel
 * The device's name ends in " (lies)", so that a test sees that the layer is there. Who goes beyond what it was told (a binding, an
 * allocation, all allocations of a heap) is ended by abort(): no driver has to bear that.
 * Thread-safety: as much as latentd needs, one thread a device. Several instances may exist. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/layer.h"

const char layer_name[] = "VK_LAYER_LATENTD_lies";

struct allocation {
    VkDeviceMemory memory;
    uint64_t bytes;
    uint32_t heap;
};

static struct lies {
    uint64_t range, allocation, heap, budget, full, card, size, fail, lost, lost_from, wait, call, statistics; /* 0: none */
} lies;
static struct allocation allocations[65536];
static uint64_t n_allocated, n_submitted, n_waited, n_called;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void beyond(const char *what, uint64_t bytes, uint64_t told)
{
    fprintf(stderr, "%s: %s of %llu bytes, told was %llu\n", layer_name, what, (unsigned long long)bytes, (unsigned long long)told);
    abort();
}

static uint64_t option(const char *name)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 0) : 0;
}

/* Whether the driver tells what may be used. */
static bool tells_budget(const struct below *b, VkPhysicalDevice phys)
{
    return layer_driver_has(b, phys, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
}

/* ---- what is said ---- */

/* Whether the application is to believe that the driver has this, which it has not. */
static bool made_up(const struct below *b, VkPhysicalDevice phys, const char *extension)
{
    if (!strcmp(extension, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME))
        return lies.budget && !tells_budget(b, phys);
    return lies.statistics && !strcmp(extension, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
}

static VKAPI_ATTR VkResult VKAPI_CALL enumerate_extensions(VkPhysicalDevice phys, const char *layer, uint32_t *n, VkExtensionProperties *list)
{
    static const char *const names[] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME};
    const struct below *b = layer_find(phys);
    const uint32_t room = *n;
    VkResult r = BELOW_I(b, vkEnumerateDeviceExtensionProperties)(phys, layer, n, list);
    for (int i = 0; i < 2 && !layer && r >= 0; i++) {
        if (!made_up(b, phys, names[i]))
            continue;
        if (list && *n >= room)
            return VK_INCOMPLETE;
        if (list) {
            list[*n] = (VkExtensionProperties){.specVersion = 1};
            strcpy(list[*n].extensionName, names[i]);
        }
        ++*n;
    }
    return r;
}

static VKAPI_ATTR void VKAPI_CALL get_features2(VkPhysicalDevice phys, VkPhysicalDeviceFeatures2 *f)
{
    BELOW_I(layer_find(phys), vkGetPhysicalDeviceFeatures2)(phys, f);
    for (VkBaseOutStructure *s = f->pNext; s; s = s->pNext)
        if (lies.statistics && s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR)
            ((VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR *)s)->pipelineExecutableInfo = VK_TRUE;
}

static void lie_of_properties(VkPhysicalDeviceProperties *p)
{
    const size_t len = strlen(p->deviceName);
    snprintf(p->deviceName + len, sizeof p->deviceName - len, " (lies)");
    if (lies.card) {
        p->vendorID = (uint32_t)lies.card;
        p->deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    }
    if (lies.range && lies.range < p->limits.maxStorageBufferRange)
        p->limits.maxStorageBufferRange = (uint32_t)lies.range;
}

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice phys, VkPhysicalDeviceProperties *p)
{
    BELOW_I(layer_find(phys), vkGetPhysicalDeviceProperties)(phys, p);
    lie_of_properties(p);
}

static VKAPI_ATTR void VKAPI_CALL get_properties2(VkPhysicalDevice phys, VkPhysicalDeviceProperties2 *p)
{
    BELOW_I(layer_find(phys), vkGetPhysicalDeviceProperties2)(phys, p);
    lie_of_properties(&p->properties);
    for (VkBaseOutStructure *s = p->pNext; s; s = s->pNext) {
        if (lies.card && s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES)
            ((VkPhysicalDeviceDriverProperties *)s)->driverID = 0; /* nobody's */
        if (lies.size && s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES)
            ((VkPhysicalDeviceSubgroupSizeControlProperties *)s)->requiredSubgroupSizeStages = 0;
        VkDeviceSize *size = s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES
                                 ? &((VkPhysicalDeviceMaintenance3Properties *)s)->maxMemoryAllocationSize
                             : s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES
                                 ? &((VkPhysicalDeviceVulkan11Properties *)s)->maxMemoryAllocationSize
                                 : NULL;
        if (size && lies.allocation && lies.allocation < *size)
            *size = lies.allocation;
    }
}

static void lie_of_heaps(VkPhysicalDeviceMemoryProperties *p)
{
    for (uint32_t i = 0; lies.heap && i < p->memoryHeapCount; i++)
        if (lies.heap < p->memoryHeaps[i].size)
            p->memoryHeaps[i].size = lies.heap;
}

static VKAPI_ATTR void VKAPI_CALL get_memory(VkPhysicalDevice phys, VkPhysicalDeviceMemoryProperties *p)
{
    BELOW_I(layer_find(phys), vkGetPhysicalDeviceMemoryProperties)(phys, p);
    lie_of_heaps(p);
}

static VKAPI_ATTR void VKAPI_CALL get_memory2(VkPhysicalDevice phys, VkPhysicalDeviceMemoryProperties2 *p)
{
    const struct below *below = layer_find(phys);
    BELOW_I(below, vkGetPhysicalDeviceMemoryProperties2)(phys, p);
    lie_of_heaps(&p->memoryProperties);
    const uint64_t most = lies.budget ? lies.budget : lies.heap;
    for (VkBaseOutStructure *s = p->pNext; s && most; s = s->pNext) {
        VkPhysicalDeviceMemoryBudgetPropertiesEXT *b = (VkPhysicalDeviceMemoryBudgetPropertiesEXT *)s;
        if (s->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT)
            continue;
        if (!tells_budget(below, phys))
            for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++)
                b->heapBudget[i] = b->heapUsage[i] = i < p->memoryProperties.memoryHeapCount ? UINT64_MAX : 0;
        for (uint32_t i = 0; i < p->memoryProperties.memoryHeapCount; i++) {
            b->heapBudget[i] = b->heapBudget[i] < most ? b->heapBudget[i] : most;
            b->heapUsage[i] = b->heapUsage[i] < most ? b->heapUsage[i] : 0; /* of a whole machine, on a software driver */
        }
    }
}

/* ---- what is done ---- */

static VKAPI_ATTR VkResult VKAPI_CALL allocate_memory(VkDevice dev, const VkMemoryAllocateInfo *info,
                                                      const VkAllocationCallbacks *cb, VkDeviceMemory *memory)
{
    struct below *b = layer_find(dev);
    VkPhysicalDeviceMemoryProperties p;
    BELOW_I(b, vkGetPhysicalDeviceMemoryProperties)(b->phys, &p);
    const uint32_t heap = p.memoryTypes[info->memoryTypeIndex].heapIndex;
    const uint64_t used = b->heap_used[heap] + info->allocationSize;
    if (b->lost)
        return VK_ERROR_DEVICE_LOST;
    if (lies.allocation && info->allocationSize > lies.allocation)
        beyond("an allocation", info->allocationSize, lies.allocation);
    if (lies.heap && used > lies.heap)
        beyond("a heap", used, lies.heap);
    if (lies.budget && used > lies.budget)
        beyond("others' memory", used, lies.budget);
    if (++n_allocated == lies.fail || (lies.full && used > lies.full))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    VkResult r = BELOW_D(b, vkAllocateMemory)(dev, info, cb, memory);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; r == VK_SUCCESS && i < sizeof allocations / sizeof *allocations; i++)
        if (!allocations[i].memory) {
            allocations[i] = (struct allocation){*memory, info->allocationSize, heap};
            b->heap_used[heap] = used;
            break;
        }
    pthread_mutex_unlock(&lock);
    return r;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice dev, VkDeviceMemory memory, const VkAllocationCallbacks *cb)
{
    struct below *b = layer_find(dev);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; memory && i < sizeof allocations / sizeof *allocations; i++)
        if (allocations[i].memory == memory) {
            b->heap_used[allocations[i].heap] -= allocations[i].bytes;
            allocations[i].memory = VK_NULL_HANDLE;
            break;
        }
    pthread_mutex_unlock(&lock);
    BELOW_D(b, vkFreeMemory)(dev, memory, cb);
}

static VKAPI_ATTR void VKAPI_CALL update_sets(VkDevice dev, uint32_t n, const VkWriteDescriptorSet *w, uint32_t n_copies,
                                              const VkCopyDescriptorSet *copies)
{
    for (uint32_t i = 0; lies.range && i < n; i++)
        for (uint32_t j = 0; w[i].pBufferInfo && j < w[i].descriptorCount; j++)
            if (w[i].pBufferInfo[j].range > lies.range) /* VK_WHOLE_SIZE too */
                beyond("a binding", w[i].pBufferInfo[j].range, lies.range);
    BELOW_D(layer_find(dev), vkUpdateDescriptorSets)(dev, n, w, n_copies, copies);
}

static VKAPI_ATTR VkResult VKAPI_CALL queue_submit(VkQueue queue, uint32_t n, const VkSubmitInfo *submits, VkFence fence)
{
    struct below *b = layer_find(queue);
    if (++n_called == lies.call)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    const uint64_t k = ++n_submitted;
    const bool now = getenv("LIE_LOST_NOW");
    if (!b->lost && (now || k == lies.lost || (lies.lost_from && k >= lies.lost_from))) {
        unsetenv("LIE_LOST_NOW");
        b->lost = true;
        BELOW_D(b, vkDeviceWaitIdle)(b->dev); /* nothing runs on a lost device, so what was sent before must not either */
    }
    return b->lost ? VK_ERROR_DEVICE_LOST : BELOW_D(b, vkQueueSubmit)(queue, n, submits, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_fences(VkDevice dev, uint32_t n, const VkFence *fences, VkBool32 all, uint64_t ns)
{
    struct below *b = layer_find(dev);
    if (++n_waited == lies.wait)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    return b->lost ? VK_ERROR_DEVICE_LOST : BELOW_D(b, vkWaitForFences)(dev, n, fences, all, ns);
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_idle(VkDevice dev)
{
    struct below *b = layer_find(dev);
    return b->lost ? VK_ERROR_DEVICE_LOST : BELOW_D(b, vkDeviceWaitIdle)(dev);
}

/* name, parameters, arguments, the first of which is a device or a command buffer */
#define FAILING(X)                                                                                                                  \
    X(vkCreateBuffer, (VkDevice o, const VkBufferCreateInfo *i, const VkAllocationCallbacks *cb, VkBuffer *b), (o, i, cb, b))      \
    X(vkMapMemory, (VkDevice o, VkDeviceMemory m, VkDeviceSize at, VkDeviceSize n, VkMemoryMapFlags f, void **p), (o, m, at, n, f, p)) \
    X(vkBindBufferMemory, (VkDevice o, VkBuffer b, VkDeviceMemory m, VkDeviceSize at), (o, b, m, at))                               \
    X(vkCreateComputePipelines, (VkDevice o, VkPipelineCache c, uint32_t n, const VkComputePipelineCreateInfo *i,                  \
                                 const VkAllocationCallbacks *cb, VkPipeline *p), (o, c, n, i, cb, p))                              \
    X(vkCreateShaderModule, (VkDevice o, const VkShaderModuleCreateInfo *i, const VkAllocationCallbacks *cb, VkShaderModule *m), (o, i, cb, m)) \
    X(vkCreateDescriptorPool, (VkDevice o, const VkDescriptorPoolCreateInfo *i, const VkAllocationCallbacks *cb, VkDescriptorPool *p), \
      (o, i, cb, p))                                                                                                                \
    X(vkAllocateDescriptorSets, (VkDevice o, const VkDescriptorSetAllocateInfo *i, VkDescriptorSet *s), (o, i, s))                 \
    X(vkResetDescriptorPool, (VkDevice o, VkDescriptorPool p, VkDescriptorPoolResetFlags f), (o, p, f))                            \
    X(vkResetCommandPool, (VkDevice o, VkCommandPool p, VkCommandPoolResetFlags f), (o, p, f))                                     \
    X(vkResetFences, (VkDevice o, uint32_t n, const VkFence *f), (o, n, f))                                                        \
    X(vkBeginCommandBuffer, (VkCommandBuffer o, const VkCommandBufferBeginInfo *i), (o, i))                                        \
    X(vkEndCommandBuffer, (VkCommandBuffer o), (o))

#define FAIL(name, params, args)                                                                    \
    static VKAPI_ATTR VkResult VKAPI_CALL fail_##name params                                        \
    {                                                                                               \
        return ++n_called == lies.call ? VK_ERROR_OUT_OF_HOST_MEMORY : BELOW_D(layer_find(o), name) args; \
    }
FAILING(FAIL)

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice dev, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *info,
                                                       const VkAllocationCallbacks *cb, VkPipeline *pipelines)
{
    VkResult r = VK_SUCCESS;
    for (uint32_t i = 0; lies.size && i < n; i++)
        for (const VkBaseInStructure *s = info[i].stage.pNext; s; s = s->pNext)
            if (s->sType == VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO)
                beyond("a demand for subgroups", 1, 0);
    for (uint32_t i = 0; i < n && r == VK_SUCCESS; i++) {
        VkComputePipelineCreateInfo known = info[i];
        const bool telling = known.flags & VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
        if (lies.statistics && telling != layer_find(dev)->told)
            beyond("a kernel that is to tell of itself", telling, layer_find(dev)->told);
        if (lies.statistics)
            known.flags &= ~(VkPipelineCreateFlags)VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
        r = fail_vkCreateComputePipelines(dev, cache, 1, &known, cb, &pipelines[i]);
    }
    return r;
}

/* ---- what is told of kernels ---- */

static VKAPI_ATTR VkResult VKAPI_CALL get_executables(VkDevice dev, const VkPipelineInfoKHR *of, uint32_t *n, VkPipelineExecutablePropertiesKHR *list)
{
    const struct below *b = layer_find(dev);
    if (!lies.statistics)
        return BELOW_D(b, vkGetPipelineExecutablePropertiesKHR)(dev, of, n, list);
    if (option("LIE_MUTE") == 1)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    if (of->sType != VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR || of->pNext)
        beyond("a question for executables", of->sType, VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR);
    for (uint32_t i = 0; list && i < 2 && i < *n; i++) {
        if (list[i].sType != VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR || list[i].pNext)
            beyond("room for an executable", list[i].sType, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR);
        list[i].stages = VK_SHADER_STAGE_COMPUTE_BIT;
        list[i].subgroupSize = 16u << i;
        memset(list[i].name, 'n', sizeof list[i].name);
        memset(list[i].description, 'd', sizeof list[i].description);
    }
    const bool all = !list || *n >= 2;
    *n = option("LIE_MUTE") == 3 ? UINT32_MAX : all ? 2 : *n;
    return all ? VK_SUCCESS : VK_INCOMPLETE;
}

/* The first ones are one of each kind, a name without an end, bytes that no line should have, a kind that is not known, and no name. */
static void statistic(VkPipelineExecutableStatisticKHR *s, uint32_t i)
{
    static const char *const names[] = {"Register Count", "Spills", "Fast", "Occupancy", "endless", "a=b\nc\x1b\xe2", "Kind", ""};
    memset(s->description, 'd', sizeof s->description);
    s->format = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR;
    s->value.u64 = 40 + i;
    if (i < sizeof names / sizeof *names)
        snprintf(s->name, sizeof s->name, "%s", names[i]);
    else
        snprintf(s->name, sizeof s->name, "Statistic %u", i);
    if (i == 1)
        s->format = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR, s->value.i64 = INT64_MIN;
    if (i == 2)
        s->format = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR, s->value.u64 = 0xdead00000001;
    if (i == 3)
        s->format = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR, s->value.f64 = 0.75;
    if (i == 4)
        memset(s->name, 'x', sizeof s->name);
    if (i == 6)
        s->format = (VkPipelineExecutableStatisticFormatKHR)77;
}

static VKAPI_ATTR VkResult VKAPI_CALL get_statistics(VkDevice dev, const VkPipelineExecutableInfoKHR *of, uint32_t *n,
                                                     VkPipelineExecutableStatisticKHR *list)
{
    const struct below *b = layer_find(dev);
    const uint64_t there = option("LIE_STATISTICS");
    if (!lies.statistics)
        return BELOW_D(b, vkGetPipelineExecutableStatisticsKHR)(dev, of, n, list);
    if (option("LIE_MUTE") == 3) {
        *n = UINT32_MAX;
        return VK_SUCCESS;
    }
    if (of->sType != VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR || of->pNext || of->executableIndex != 1)
        beyond("a question for statistics", of->sType, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR);
    if (option("LIE_MUTE") == 2)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    for (uint32_t i = 0; list && i < *n && i < there; i++) {
        if (list[i].sType != VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR || list[i].pNext)
            beyond("room for a statistic", list[i].sType, VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR);
        statistic(&list[i], i);
    }
    const bool all = !list || *n >= there;
    *n = all ? (uint32_t)there : *n;
    return all ? VK_SUCCESS : VK_INCOMPLETE;
}

/* ---- instances and devices ---- */

void layer_instance_made(void)
{
    lies = (struct lies){option("LIE_RANGE"), option("LIE_ALLOCATION"), option("LIE_HEAP"), option("LIE_BUDGET"), option("LIE_FULL"),
                         option("LIE_CARD"), option("LIE_SIZE"), option("LIE_FAIL"), option("LIE_LOST"), option("LIE_LOST_FROM"),
                         option("LIE_WAIT"), option("LIE_CALL"), option("LIE_STATISTICS")};
}

/* The feature as the driver, which would refuse it, is to see it (false), and as it was asked for again (true). Notes that it was. */
static void show_feature(struct below *b, const void *chain, VkBool32 shown)
{
    for (VkBaseOutStructure *s = (VkBaseOutStructure *)(uintptr_t)chain; s; s = s->pNext) {
        VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR *f = (VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR *)s;
        if (s->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR)
            continue;
        b->told |= f->pipelineExecutableInfo;
        f->pipelineExecutableInfo = shown && b->told;
    }
}

VkResult layer_make_device(struct below *b, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *cb, VkDevice *dev)
{
    VkDeviceCreateInfo known = *info;
    const char *names[LAYER_EXTENSIONS_MAX];
    known.enabledExtensionCount = 0;
    known.ppEnabledExtensionNames = names;
    bool telling = false;
    for (uint32_t i = 0; i < info->enabledExtensionCount && i < LAYER_EXTENSIONS_MAX; i++) {
        const char *name = info->ppEnabledExtensionNames[i];
        telling |= !strcmp(name, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
        if (!made_up(b, b->phys, name))
            names[known.enabledExtensionCount++] = name;
    }
    if (lies.statistics)
        show_feature(b, info->pNext, VK_FALSE);
    if (b->told && !telling)
        beyond("a feature without its extension", 1, 0);
    VkResult r = BELOW_I(b, vkCreateDevice)(b->phys, &known, cb, dev);
    if (lies.statistics)
        show_feature(b, info->pNext, VK_TRUE);
    if (r == VK_SUCCESS)
        lies.budget = lies.budget ? option("LIE_BUDGET") : 0;
    return r;
}

const struct layer_row layer_rows[] = {
    {"vkEnumerateDeviceExtensionProperties", false, (PFN_vkVoidFunction)enumerate_extensions},
    {"vkGetPhysicalDeviceFeatures2", false, (PFN_vkVoidFunction)get_features2},
    {"vkGetPhysicalDeviceProperties", false, (PFN_vkVoidFunction)get_properties},
    {"vkGetPhysicalDeviceProperties2", false, (PFN_vkVoidFunction)get_properties2},
    {"vkGetPhysicalDeviceMemoryProperties", false, (PFN_vkVoidFunction)get_memory},
    {"vkGetPhysicalDeviceMemoryProperties2", false, (PFN_vkVoidFunction)get_memory2},
    {"vkAllocateMemory", true, (PFN_vkVoidFunction)allocate_memory},
    {"vkFreeMemory", true, (PFN_vkVoidFunction)free_memory},
    {"vkUpdateDescriptorSets", true, (PFN_vkVoidFunction)update_sets},
    {"vkQueueSubmit", true, (PFN_vkVoidFunction)queue_submit},
    {"vkWaitForFences", true, (PFN_vkVoidFunction)wait_fences},
    {"vkDeviceWaitIdle", true, (PFN_vkVoidFunction)wait_idle},
    {"vkCreateComputePipelines", true, (PFN_vkVoidFunction)create_pipelines}, /* before the one below */
    {"vkGetPipelineExecutablePropertiesKHR", true, (PFN_vkVoidFunction)get_executables},
    {"vkGetPipelineExecutableStatisticsKHR", true, (PFN_vkVoidFunction)get_statistics},
#define ROW(name, params, args) {#name, true, (PFN_vkVoidFunction)fail_##name},
    FAILING(ROW)
#undef ROW
    {0},
};
