/* What a device can do beyond plain Vulkan 1.2, and opening it with all of that turned on. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gpu/vk.h"
#include "gpu/vk_ext.h"

#define COOP_MAX 256 /* kinds of cooperative matrices that are looked at */

/* Everything that is asked of a device, and turned on where it is there. */
struct features {
    VkPhysicalDeviceFeatures2 all;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT size;
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coop;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR tells;
};

struct extensions {
    bool budget, size, dot, coop, tells;
};

static void find_extensions(VkPhysicalDevice phys, struct extensions *x)
{
    uint32_t n = 0;
    VkExtensionProperties *list = NULL;
    *x = (struct extensions){0};
    if (vkEnumerateDeviceExtensionProperties(phys, NULL, &n, NULL) < 0 || !n)
        return;
    list = calloc(n, sizeof *list);
    if (list && vkEnumerateDeviceExtensionProperties(phys, NULL, &n, list) >= 0) {
        for (uint32_t i = 0; i < n; i++) {
            const char *name = list[i].extensionName;
            x->budget |= !strcmp(name, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
            x->size |= !strcmp(name, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
            x->dot |= !strcmp(name, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
            x->coop |= !strcmp(name, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
            x->tells |= log_shows(LOG_DEBUG) && !strcmp(name, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME); /* for the log only */
        }
    }
    free(list);
}

/* The chain of what the device has structures for; the flags in them are zero. */
static void chain(struct features *f, const struct extensions *x)
{
    *f = (struct features){
        .all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .size.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
        .dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
        .coop.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .tells.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
    };
    f->all.pNext = &f->v11;
    f->v11.pNext = &f->v12;
    void **end = &f->v12.pNext;
    if (x->size) {
        *end = &f->size;
        end = &f->size.pNext;
    }
    if (x->dot) {
        *end = &f->dot;
        end = &f->dot.pNext;
    }
    if (x->coop) {
        *end = &f->coop;
        end = &f->coop.pNext;
    }
    if (x->tells)
        *end = &f->tells;
}

/* Whether the kernels are written for this kind, and it is better than what is known: more products in one. */
static bool suits(const VkCooperativeMatrixPropertiesKHR *p, uint32_t columns_least, const struct gpu_coop *best)
{
    const bool sizes = (p->MSize == 8 || p->MSize == 16 || p->MSize == 32) &&
                       (p->NSize == 8 || p->NSize == 16 || p->NSize == 32) && p->NSize >= columns_least &&
                       (p->KSize == 8 || p->KSize == 16 || p->KSize == 32);
    return sizes && p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
           p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
           p->scope == VK_SCOPE_SUBGROUP_KHR && p->MSize * p->NSize * p->KSize > best->m * best->n * best->k;
}

static void find_coop(struct gpu *g, uint32_t subgroup)
{
    static const VkCooperativeMatrixPropertiesKHR empty = {.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    struct gpu_coop *best = &g->limits.coop;
    uint32_t n = COOP_MAX;
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get = (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(void *)
        vkGetInstanceProcAddr(g->in.instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    VkCooperativeMatrixPropertiesKHR *list = calloc(COOP_MAX, sizeof *list);
    for (uint32_t i = 0; list && i < COOP_MAX; i++)
        list[i] = empty;
    if (get && list && get(g->phys, &n, list) >= 0) {
        for (uint32_t i = 0; i < n; i++)
            if (suits(&list[i], g->table.coop_columns, best))
                *best = (struct gpu_coop){list[i].MSize, list[i].NSize, list[i].KSize, subgroup, false, 0};
    }
    free(list);
}

/* What the kernels' paths need, from the features that are there: sets the limits and leaves on what they use. */
static void take_features(struct gpu *g, const struct gpu_params *p, const struct extensions *x, struct features *have,
                          struct features *want)
{
    struct gpu_limits *l = &g->limits;
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT,
    };
    VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR,
        .pNext = x->size ? &size : NULL,
    };
    VkPhysicalDeviceProperties2 props = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = x->dot ? (void *)&dot : dot.pNext,
    };
    vkGetPhysicalDeviceProperties2(g->phys, &props);
    want->v12.storageBuffer8BitAccess = l->storage8 = have->v12.storageBuffer8BitAccess && !p->words_only;
    want->v11.storageBuffer16BitAccess = l->storage16 = have->v11.storageBuffer16BitAccess && !p->words_only;
    want->v12.shaderFloat16 = l->half = have->v12.shaderFloat16;
    l->addresses = have->v12.bufferDeviceAddress && have->all.features.shaderInt64;
    want->v12.bufferDeviceAddress = want->all.features.shaderInt64 = l->addresses;
    want->dot.shaderIntegerDotProduct = l->dot = x->dot && have->dot.shaderIntegerDotProduct;
    want->tells.pipelineExecutableInfo = g->tells = x->tells && have->tells.pipelineExecutableInfo;
    l->dot_fast = l->dot && dot.integerDotProduct4x8BitPackedSignedAccelerated;
    /* The matrices belong to a subgroup, so its size must be known and each one full. */
    uint32_t s = l->subgroup_size;
    while (s > g->table.coop_lanes && s / 2 >= size.minSubgroupSize)
        s /= 2;
    /* where there is one size only, a driver may say that none can be demanded */
    g->demands_size = size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    const bool sure = g->demands_size || size.minSubgroupSize == size.maxSubgroupSize;
    if (!x->coop || !x->size || !l->half || !have->coop.cooperativeMatrix || !have->v12.vulkanMemoryModel ||
        !have->size.subgroupSizeControl || !have->size.computeFullSubgroups || s < size.minSubgroupSize ||
        s > size.maxSubgroupSize || size.maxComputeWorkgroupSubgroups < 4 || !sure)
        return;
    find_coop(g, s);
    if (!l->coop.m)
        return;
    want->coop.cooperativeMatrix = want->v12.vulkanMemoryModel = VK_TRUE;
    want->size.subgroupSizeControl = want->size.computeFullSubgroups = VK_TRUE;
}

int capability_open(struct gpu *g, const struct gpu_params *p, struct err_msg *em)
{
    struct extensions x;
    struct features have, want;
    const char *names[5];
    uint32_t n = 0;
    find_extensions(g->phys, &x);
    chain(&have, &x);
    vkGetPhysicalDeviceFeatures2(g->phys, &have.all);
    chain(&want, &x);
    take_features(g, p, &x, &have, &want);
    g->has_budget = x.budget;
    if (x.budget)
        names[n++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (x.size)
        names[n++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (x.dot)
        names[n++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    if (x.coop)
        names[n++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    if (x.tells)
        names[n++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    const struct gpu_coop *c = &g->limits.coop;
    log_debug("gpu", "%s: f16 arithmetic %s, int8 dot products %s, cooperative matrices %ux%ux%u of %u invocations", g->info.name,
              g->limits.half ? "yes" : "no", g->limits.dot_fast ? "fast" : g->limits.dot ? "slow" : "no", c->m, c->n, c->k, c->subgroup);
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = g->family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &want.all,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = n,
        .ppEnabledExtensionNames = names,
    };
    int r = VK(g, em, vkCreateDevice(g->phys, &create, NULL, &g->dev));
    if (r == 0)
        vkGetDeviceQueue(g->dev, g->family, 0, &g->queue);
    return r;
}
