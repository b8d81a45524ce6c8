/* VK_LAYER_LATENTD_still: a Vulkan layer that leaves a driver its compiler and nothing else. What is submitted is not run and reads as zeros,
 * so that shaders can be compiled for GPUs that are not there: by drivers that make up a device (tests/all/vendors.sh).
 *
 * Enabled by VK_ADD_LAYER_PATH=FOLDER and VK_INSTANCE_LAYERS=VK_LAYER_LATENTD_still. Instances, devices and pipelines are the driver's; memory,
 * buffers, descriptors, commands, fences and queries are made up here. For each pipeline a line goes to standard error:
 *   still: <specialisation constants, in order> | <subgroup size> | <statistic>=<value> …
 * with what VK_KHR_pipeline_executable_properties tells of it, blanks of names as "_"; of several executables the last, which is the one that
 * drivers with several sizes of subgroups choose. A pipeline that the driver fails to make has "failed=<VkResult>".
 * A device's name ends in " (still)". Memory is there once it is mapped, and zero but for what the environment's STILL_WORDS=A,B says of the first
 * two words of each: the answer to a question that is read back (gpu/probe.c).
 * Thread-safety: as much as latentd needs, one thread a device. Several instances may exist. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define NAME "VK_LAYER_LATENTD_still"
#define ENTRIES_MAX 64
#define EXTENSIONS_MAX 1024 /* of a driver */
#define EXECUTABLES_MAX 8
#define STATISTICS_MAX 64
#define HEAP (64ull << 30) /* bytes */

/* What lies below, by what a dispatchable object begins with: its loader's table, common to all objects of an instance or a device. */
struct below {
    void *key; /* NULL: unused */
    VkInstance instance;
    VkPhysicalDevice phys; /* a device's, as are those below */
    VkDevice dev;
    bool tells; /* what its pipelines are like */
    PFN_vkGetInstanceProcAddr get_instance;
    PFN_vkGetDeviceProcAddr get_device;
};

static struct below table[ENTRIES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct below *find(const void *object)
{
    void *key = *(void *const *)object;
    for (int i = 0; i < ENTRIES_MAX; i++)
        if (table[i].key == key)
            return &table[i];
    fprintf(stderr, NAME ": an object of nobody\n");
    abort();
}

static void add(const void *object, struct below b)
{
    int i = 0;
    pthread_mutex_lock(&lock);
    while (i < ENTRIES_MAX && table[i].key)
        i++;
    if (i == ENTRIES_MAX)
        abort();
    b.key = *(void *const *)object;
    table[i] = b;
    pthread_mutex_unlock(&lock);
}

#define BELOW_I(b, name) ((PFN_##name)(void *)(b)->get_instance((b)->instance, #name))
#define BELOW_D(b, name) ((PFN_##name)(void *)(b)->get_device((b)->dev, #name))

/* ---- pipelines ---- */

static void print_name(const char *name)
{
    for (; *name; name++)
        fputc(*name == ' ' ? '_' : *name, stderr);
}

static void print_statistics(const struct below *b, VkPipeline pipeline, uint32_t executable)
{
    static VkPipelineExecutableStatisticKHR list[STATISTICS_MAX];
    const VkPipelineExecutableInfoKHR of = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = pipeline,
        .executableIndex = executable,
    };
    uint32_t n = STATISTICS_MAX;
    for (uint32_t i = 0; i < n; i++)
        list[i] = (VkPipelineExecutableStatisticKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    if (BELOW_D(b, vkGetPipelineExecutableStatisticsKHR)(b->dev, &of, &n, list) < 0)
        return;
    for (uint32_t i = 0; i < n; i++) {
        fputc(' ', stderr);
        print_name(list[i].name);
        switch (list[i].format) {
        case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR:
            fprintf(stderr, "=%g", list[i].value.f64);
            break;
        case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
            fprintf(stderr, "=%lld", (long long)list[i].value.i64);
            break;
        default:
            fprintf(stderr, "=%llu", (unsigned long long)list[i].value.u64);
        }
    }
}

static void print_executable(const struct below *b, VkPipeline pipeline)
{
    VkPipelineExecutablePropertiesKHR list[EXECUTABLES_MAX];
    const VkPipelineInfoKHR of = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    uint32_t n = EXECUTABLES_MAX;
    for (uint32_t i = 0; i < n; i++)
        list[i] = (VkPipelineExecutablePropertiesKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
    if (!b->tells || BELOW_D(b, vkGetPipelineExecutablePropertiesKHR)(b->dev, &of, &n, list) < 0 || !n) {
        fprintf(stderr, "?");
        return;
    }
    fprintf(stderr, "%u |", list[n - 1].subgroupSize);
    print_statistics(b, pipeline, n - 1);
}

static VkResult create_pipeline(const struct below *b, VkPipelineCache cache, const VkComputePipelineCreateInfo *info,
                                const VkAllocationCallbacks *cb, VkPipeline *pipeline)
{
    VkComputePipelineCreateInfo told = *info;
    const VkSpecializationInfo *spec = info->stage.pSpecializationInfo;
    if (b->tells)
        told.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    const VkResult r = BELOW_D(b, vkCreateComputePipelines)(b->dev, cache, 1, &told, cb, pipeline);
    fprintf(stderr, "still:");
    for (size_t i = 0; spec && i + 4 <= spec->dataSize; i += 4)
        fprintf(stderr, " %u", *(const uint32_t *)(const void *)((const char *)spec->pData + i));
    fprintf(stderr, " | ");
    if (r < 0)
        fprintf(stderr, "? | failed=%d", r);
    else
        print_executable(b, *pipeline);
    fputc('\n', stderr);
    return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice dev, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *info,
                                                       const VkAllocationCallbacks *cb, VkPipeline *pipelines)
{
    VkResult r = VK_SUCCESS;
    for (uint32_t i = 0; i < n && r == VK_SUCCESS; i++)
        r = create_pipeline(find(dev), cache, &info[i], cb, &pipelines[i]);
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

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice dev, VkDeviceMemory memory, VkDeviceSize at, VkDeviceSize n, VkMemoryMapFlags f, void **p)
{
    struct memory *m = (struct memory *)memory;
    (void)dev, (void)n, (void)f;
    if (!m->map && !(m->map = calloc(1, m->bytes < 8 ? 8 : m->bytes)))
        return VK_ERROR_MEMORY_MAP_FAILED;
    uint32_t *first = m->map;
    const char *words = getenv("STILL_WORDS");
    if (words && sscanf(words, "%u,%u", &first[0], &first[1]) != 2)
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
    BELOW_I(find(phys), vkGetPhysicalDeviceProperties)(phys, p);
    const size_t len = strlen(p->deviceName);
    snprintf(p->deviceName + len, sizeof p->deviceName - len, " (still)");
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *cb, VkInstance *instance)
{
    VkLayerInstanceCreateInfo *l = (VkLayerInstanceCreateInfo *)(uintptr_t)info->pNext;
    while (l && !(l->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && l->function == VK_LAYER_LINK_INFO))
        l = (VkLayerInstanceCreateInfo *)(uintptr_t)l->pNext;
    if (!l)
        return VK_ERROR_INITIALIZATION_FAILED;
    struct below b = {.get_instance = l->u.pLayerInfo->pfnNextGetInstanceProcAddr};
    l->u.pLayerInfo = l->u.pLayerInfo->pNext;
    VkResult r = BELOW_I(&b, vkCreateInstance)(info, cb, instance);
    if (r != VK_SUCCESS)
        return r;
    b.instance = *instance;
    add(*instance, b);
    return r;
}

static VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance instance, const VkAllocationCallbacks *cb)
{
    if (!instance)
        return;
    struct below *b = find(instance);
    PFN_vkDestroyInstance destroy = BELOW_I(b, vkDestroyInstance);
    b->key = NULL;
    destroy(instance, cb);
}

static bool tells_of_pipelines(const struct below *b, VkPhysicalDevice phys)
{
    static VkExtensionProperties list[EXTENSIONS_MAX];
    uint32_t n = EXTENSIONS_MAX;
    bool tells = false;
    if (BELOW_I(b, vkEnumerateDeviceExtensionProperties)(phys, NULL, &n, list) < 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++)
        tells |= !strcmp(list[i].extensionName, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
    return tells;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice phys, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *cb,
                                                    VkDevice *dev)
{
    VkLayerDeviceCreateInfo *l = (VkLayerDeviceCreateInfo *)(uintptr_t)info->pNext;
    while (l && !(l->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && l->function == VK_LAYER_LINK_INFO))
        l = (VkLayerDeviceCreateInfo *)(uintptr_t)l->pNext;
    if (!l)
        return VK_ERROR_INITIALIZATION_FAILED;
    const struct below *of = find(phys);
    struct below b = {.instance = of->instance, .phys = phys, .tells = tells_of_pipelines(of, phys), .get_instance = of->get_instance,
                      .get_device = l->u.pLayerInfo->pfnNextGetDeviceProcAddr};
    l->u.pLayerInfo = l->u.pLayerInfo->pNext;
    VkDeviceCreateInfo more = *info;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = (void *)(uintptr_t)info->pNext,
        .pipelineExecutableInfo = VK_TRUE,
    };
    const char *names[EXTENSIONS_MAX + 1];
    if (b.tells && info->enabledExtensionCount <= EXTENSIONS_MAX) {
        for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
            names[i] = info->ppEnabledExtensionNames[i];
        names[more.enabledExtensionCount++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
        more.ppEnabledExtensionNames = names;
        more.pNext = &feature;
    }
    VkResult r = BELOW_I(&b, vkCreateDevice)(phys, &more, cb, dev);
    if (r != VK_SUCCESS)
        return r;
    b.dev = *dev;
    add(*dev, b);
    return r;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice dev, const VkAllocationCallbacks *cb)
{
    if (!dev)
        return;
    struct below *b = find(dev);
    PFN_vkDestroyDevice destroy = BELOW_D(b, vkDestroyDevice);
    b->key = NULL;
    destroy(dev, cb);
}

/* ---- the layer's interface ---- */

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice dev, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char *name);

struct row {
    const char *name;
    PFN_vkVoidFunction function;
};

#define ROW(name, f) {name, (PFN_vkVoidFunction)(f)},

static const struct row of_instance[] = {
    ROW("vkGetInstanceProcAddr", get_instance_proc)
    ROW("vkCreateInstance", create_instance)
    ROW("vkDestroyInstance", destroy_instance)
    ROW("vkCreateDevice", create_device)
    ROW("vkGetPhysicalDeviceProperties", get_properties)
    ROW("vkGetPhysicalDeviceMemoryProperties", get_memory)
    ROW("vkGetPhysicalDeviceMemoryProperties2", get_memory2)
};

#define OBJECT_ROWS(name, type) ROW("vkCreate" #name, create_##name) ROW("vkDestroy" #name, destroy_##name)

static const struct row of_device[] = {
    ROW("vkGetDeviceProcAddr", get_device_proc)
    ROW("vkDestroyDevice", destroy_device)
    ROW("vkCreateComputePipelines", create_pipelines)
    ROW("vkCreateBuffer", create_buffer)
    ROW("vkDestroyBuffer", destroy_buffer)
    ROW("vkGetBufferMemoryRequirements", requirements)
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
};

static PFN_vkVoidFunction listed(const struct row *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return list[i].function;
    return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice dev, const char *name)
{
    PFN_vkVoidFunction f = listed(of_device, sizeof of_device / sizeof *of_device, name);
    return f ? f : find(dev)->get_device(dev, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction f = listed(of_instance, sizeof of_instance / sizeof *of_instance, name);
    if (!f)
        f = listed(of_device, sizeof of_device / sizeof *of_device, name);
    return f || !instance ? f : find(instance)->get_instance(instance, name);
}

VKAPI_ATTR VkResult VKAPI_CALL __attribute__((visibility("default")))
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *v)
{
    if (v->sType != LAYER_NEGOTIATE_INTERFACE_STRUCT || v->loaderLayerInterfaceVersion < 2)
        return VK_ERROR_INITIALIZATION_FAILED;
    v->loaderLayerInterfaceVersion = 2;
    v->pfnGetInstanceProcAddr = get_instance_proc;
    v->pfnGetDeviceProcAddr = get_device_proc;
    v->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
