#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "gpu/vk.h"

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

static atomic_uint_fast64_t n_validation_messages;

/* Without and with validation, once made; for as long as the process lives. A driver that is unloaded and loaded again loses a
 * thread-local key each time (SwiftShader), and NVIDIA's numbers a subgroup's invocations wrongly after some ten instances
 * (Genesis-Embodied-AI/quadrants, pull request 465) or is not found any more. */
static struct gpu_instance kept[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

uint64_t gpu_validation_messages(void)
{
    return atomic_load(&n_validation_messages);
}

const char *vk_result_name(VkResult result)
{
    switch (result) {
#define N(x)                                                                                       \
    case x:                                                                                        \
        return #x;
        N(VK_SUCCESS)
        N(VK_NOT_READY)
        N(VK_TIMEOUT)
        N(VK_INCOMPLETE)
        N(VK_ERROR_OUT_OF_HOST_MEMORY)
        N(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        N(VK_ERROR_INITIALIZATION_FAILED)
        N(VK_ERROR_DEVICE_LOST)
        N(VK_ERROR_MEMORY_MAP_FAILED)
        N(VK_ERROR_LAYER_NOT_PRESENT)
        N(VK_ERROR_EXTENSION_NOT_PRESENT)
        N(VK_ERROR_FEATURE_NOT_PRESENT)
        N(VK_ERROR_INCOMPATIBLE_DRIVER)
        N(VK_ERROR_TOO_MANY_OBJECTS)
        N(VK_ERROR_OUT_OF_POOL_MEMORY)
#undef N
    default:
        return "VK_ERROR_?";
    }
}

int vk_check(struct gpu *g, struct err_msg *em, VkResult result, const char *call)
{
    int code = LT_EDEVICE;
    if (result >= 0)
        return 0;
    if (result == VK_ERROR_DEVICE_LOST) {
        code = LT_EDEVICELOST;
        if (g)
            g->lost = true;
    } else if (result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY ||
               result == VK_ERROR_OUT_OF_POOL_MEMORY || result == VK_ERROR_MEMORY_MAP_FAILED) {
        code = LT_ENOMEM;
    } else if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        code = LT_ENOTFOUND;
    }
    return err_set(em, code, "%s%s%.*s: %s", g ? g->info.name : "", g ? ": " : "",
                   (int)strcspn(call, "("), call, vk_result_name(result));
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *arg)
{
    (void)severity, (void)types, (void)arg;
    atomic_fetch_add(&n_validation_messages, 1);
    log_error("gpu", "validation: %s", data->pMessage);
    return VK_FALSE;
}

static bool validation_wanted(bool validate)
{
    const char *s = getenv("LATENTD_VULKAN_VALIDATE");
    return validate || (s && *s && strcmp(s, "0") != 0);
}

/* A messenger goes with its instance. */
static int add_messenger(VkInstance instance, const VkDebugUtilsMessengerCreateInfoEXT *create, struct err_msg *em)
{
    VkDebugUtilsMessengerEXT messenger;
    PFN_vkCreateDebugUtilsMessengerEXT make = (PFN_vkCreateDebugUtilsMessengerEXT)(void *)
        vkGetInstanceProcAddr(instance, "vkCreateDebugUtilsMessengerEXT");
    if (!make)
        return err_set(em, LT_EDEVICE, "Vulkan: no VK_EXT_debug_utils");
    return VK(NULL, em, make(instance, create, NULL, &messenger));
}

static int create_instance(struct gpu_instance *in, struct err_msg *em)
{
    const char *layer = VALIDATION_LAYER, *extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkValidationFeatureEnableEXT enable = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = &enable,
    };
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .pNext = &features,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
    };
    VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "latentd",
        .apiVersion = VK_API_VERSION_1_2,
    };
    VkInstanceCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = in->validate ? &messenger : NULL,
        .pApplicationInfo = &app,
        .enabledLayerCount = in->validate,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = in->validate,
        .ppEnabledExtensionNames = &extension,
    };
    int r = loader_open(em);
    if (r < 0)
        return r;
    VkResult result = vkCreateInstance(&create, NULL, &in->instance);
    if (result == VK_ERROR_LAYER_NOT_PRESENT)
        return err_set(em, LT_ENOTFOUND, "Vulkan: %s is not installed", VALIDATION_LAYER);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return err_set(em, LT_ENOTFOUND, "Vulkan: no driver is installed");
    if ((r = VK(NULL, em, result)) < 0)
        return r;
    messenger.pNext = NULL;
    if (in->validate && (r = add_messenger(in->instance, &messenger, em)) < 0)
        vkDestroyInstance(in->instance, NULL);
    return r;
}

int instance_get(struct gpu_instance *out, bool validate, struct err_msg *em)
{
    int r = 0;
    struct gpu_instance in = {.validate = validation_wanted(validate)};
    pthread_mutex_lock(&lock);
    if (kept[in.validate].instance)
        in = kept[in.validate];
    else if ((r = create_instance(&in, em)) == 0)
        kept[in.validate] = in;
    pthread_mutex_unlock(&lock);
    if (r == 0)
        *out = in;
    return r;
}

static bool find_family(VkPhysicalDevice phys, uint32_t *family)
{
    VkQueueFamilyProperties props[32];
    uint32_t n = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(phys, &n, props);
    for (uint32_t i = 0; i < n; i++) {
        if (props[i].queueCount && props[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            *family = i;
            return true;
        }
    }
    return false;
}

static void fill_info(VkPhysicalDevice phys, struct gpu_device_info *info)
{
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
    };
    VkPhysicalDeviceIDProperties id = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
        .pNext = &driver,
    };
    VkPhysicalDeviceProperties2 props = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &id,
    };
    VkPhysicalDeviceMemoryProperties mem;
    vkGetPhysicalDeviceProperties2(phys, &props);
    vkGetPhysicalDeviceMemoryProperties(phys, &mem);
    *info = (struct gpu_device_info){0};
    snprintf(info->name, sizeof info->name, "%s", props.properties.deviceName);
    snprintf(info->driver, sizeof info->driver, "%.120s %.120s", driver.driverName, driver.driverInfo);
    char *p = info->uuid;
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++)
        p += sprintf(p, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", id.deviceUUID[i]);
    switch (props.properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        info->kind = GPU_DISCRETE;
        break;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        info->kind = GPU_INTEGRATED;
        break;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        info->kind = GPU_VIRTUAL;
        break;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        info->kind = GPU_CPU;
        break;
    default:
        info->kind = GPU_OTHER;
    }
    info->software = info->kind == GPU_CPU || driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE ||
                     driver.driverID == VK_DRIVER_ID_GOOGLE_SWIFTSHADER;
    bool own = true;
    for (uint32_t i = 0; i < mem.memoryHeapCount; i++) {
        const bool local = mem.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
        own = own && local;
        if (local && mem.memoryHeaps[i].size > info->memory_bytes)
            info->memory_bytes = mem.memoryHeaps[i].size;
    }
    info->unified = info->software || info->kind == GPU_INTEGRATED || (own && info->kind != GPU_DISCRETE);
}

/* In test builds SwiftShader may pass for a card, so that the choice among devices is seen. */
static void pretend(struct gpu_device_info *info)
{
    if (fault("gpu_discrete") && strstr(info->name, "SwiftShader")) {
        info->kind = GPU_DISCRETE;
        info->software = info->unified = false;
    }
}

static int rank(const struct gpu_device_info *info)
{
    return info->software ? GPU_CPU : (int)info->kind;
}

int instance_find(struct gpu_instance *in, struct gpu_found *found, size_t *n, struct err_msg *em)
{
    VkPhysicalDevice phys[GPU_MAX_DEVICES];
    uint32_t n_phys = GPU_MAX_DEVICES;
    *n = 0;
    int r = VK(NULL, em, vkEnumeratePhysicalDevices(in->instance, &n_phys, phys));
    if (r < 0)
        return r == LT_EDEVICE ? err_set(em, LT_ENOTFOUND, "Vulkan: no device") : r;
    for (uint32_t i = 0; i < n_phys; i++) {
        VkPhysicalDeviceProperties props;
        struct gpu_found f = {.phys = phys[i]};
        vkGetPhysicalDeviceProperties(phys[i], &props);
        if (props.apiVersion < VK_API_VERSION_1_2 || !find_family(phys[i], &f.family))
            continue;
        fill_info(phys[i], &f.info);
        pretend(&f.info);
        size_t at = (*n)++;
        for (; at > 0 && rank(&found[at - 1].info) > rank(&f.info); at--)
            found[at] = found[at - 1];
        found[at] = f;
    }
    if (!*n)
        return err_set(em, LT_ENOTFOUND, "Vulkan: no device with Vulkan 1.2 and a compute queue");
    return 0;
}

const char *gpu_kind_name(enum gpu_kind kind)
{
    static const char *const names[] = {"discrete", "integrated", "virtual", "other", "cpu"};
    return names[kind];
}

bool gpu_matches(const struct gpu_device_info *d, const char *want)
{
    return strcasestr(d->name, want) || strcasecmp(d->uuid, want) == 0;
}

int gpu_list(struct gpu_device_info *list, size_t max, size_t *n, struct err_msg *em)
{
    struct gpu_instance in;
    struct gpu_found found[GPU_MAX_DEVICES];
    size_t n_found = 0;
    *n = 0;
    int r = instance_get(&in, false, em);
    if (r < 0)
        return r;
    if ((r = instance_find(&in, found, &n_found, em)) < 0)
        return r;
    for (; *n < n_found && *n < max; ++*n)
        list[*n] = found[*n].info;
    return 0;
}
