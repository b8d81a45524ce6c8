#include "tests/tools/layer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vulkan/vk_layer.h>

#define ENTRIES_MAX 64

static struct below table[ENTRIES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct below *layer_find(const void *object)
{
    void *key = *(void *const *)object;
    for (int i = 0; i < ENTRIES_MAX; i++)
        if (table[i].key == key)
            return &table[i];
    fprintf(stderr, "%s: an object of nobody\n", layer_name);
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

bool layer_driver_has(const struct below *b, VkPhysicalDevice phys, const char *extension)
{
    static VkExtensionProperties list[LAYER_EXTENSIONS_MAX];
    uint32_t n = LAYER_EXTENSIONS_MAX;
    bool has = false;
    pthread_mutex_lock(&lock);
    if (BELOW_I(b, vkEnumerateDeviceExtensionProperties)(phys, NULL, &n, list) < 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++)
        has |= !strcmp(list[i].extensionName, extension);
    pthread_mutex_unlock(&lock);
    return has;
}

/* ---- instances and devices ---- */

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
    layer_instance_made();
    return r;
}

static VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance instance, const VkAllocationCallbacks *cb)
{
    if (!instance)
        return;
    struct below *b = layer_find(instance);
    PFN_vkDestroyInstance destroy = BELOW_I(b, vkDestroyInstance);
    b->key = NULL;
    destroy(instance, cb);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice phys, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *cb,
                                                    VkDevice *dev)
{
    VkLayerDeviceCreateInfo *l = (VkLayerDeviceCreateInfo *)(uintptr_t)info->pNext;
    while (l && !(l->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && l->function == VK_LAYER_LINK_INFO))
        l = (VkLayerDeviceCreateInfo *)(uintptr_t)l->pNext;
    if (!l)
        return VK_ERROR_INITIALIZATION_FAILED;
    const struct below *of = layer_find(phys);
    struct below b = {.instance = of->instance, .phys = phys, .get_instance = of->get_instance,
                      .get_device = l->u.pLayerInfo->pfnNextGetDeviceProcAddr};
    l->u.pLayerInfo = l->u.pLayerInfo->pNext;
    VkResult r = layer_make_device(&b, info, cb, dev);
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
    struct below *b = layer_find(dev);
    PFN_vkDestroyDevice destroy = BELOW_D(b, vkDestroyDevice);
    b->key = NULL;
    destroy(dev, cb);
}

/* ---- the interface ---- */

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice dev, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char *name);

static const struct layer_row chain[] = {
    {"vkGetInstanceProcAddr", false, (PFN_vkVoidFunction)get_instance_proc},
    {"vkCreateInstance", false, (PFN_vkVoidFunction)create_instance},
    {"vkDestroyInstance", false, (PFN_vkVoidFunction)destroy_instance},
    {"vkCreateDevice", false, (PFN_vkVoidFunction)create_device},
    {"vkGetDeviceProcAddr", true, (PFN_vkVoidFunction)get_device_proc},
    {"vkDestroyDevice", true, (PFN_vkVoidFunction)destroy_device},
    {0},
};

static PFN_vkVoidFunction listed(const struct layer_row *row, const char *name, bool of_device)
{
    for (; row->name; row++)
        if (strcmp(row->name, name) == 0 && (row->of_device || !of_device))
            return row->function;
    return NULL;
}

static PFN_vkVoidFunction ours(const char *name, bool of_device)
{
    PFN_vkVoidFunction f = listed(chain, name, of_device);
    return f ? f : listed(layer_rows, name, of_device);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice dev, const char *name)
{
    PFN_vkVoidFunction f = ours(name, true);
    return f ? f : layer_find(dev)->get_device(dev, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction f = ours(name, false);
    return f || !instance ? f : layer_find(instance)->get_instance(instance, name);
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
