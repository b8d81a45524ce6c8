/* What Vulkan layers of the tests have in common (layer.c): the chain of loader and layers, and what is below an object. A layer gives the rows,
 * its name and two functions. Thread-safety: as much as latentd needs, one thread a device. Several instances may exist. */
#ifndef TESTS_TOOLS_LAYER_H
#define TESTS_TOOLS_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include <vulkan/vulkan.h>

#define LAYER_EXTENSIONS_MAX 1024 /* of a driver */

/* What lies below, by what a dispatchable object begins with: its loader's table, common to all objects of an instance or a device. */
struct below {
    void *key; /* NULL: unused */
    VkInstance instance;
    VkPhysicalDevice phys; /* a device's, as are those below */
    VkDevice dev;
    PFN_vkGetInstanceProcAddr get_instance;
    PFN_vkGetDeviceProcAddr get_device;
    bool lost;  /* these three layer_lies' */
    bool told;  /* the application has turned on that it is told statistics */
    uint64_t heap_used[VK_MAX_MEMORY_HEAPS];
};

/* Of any dispatchable object; ends the process where there is none. */
struct below *layer_find(const void *object);

#define BELOW_I(b, name) ((PFN_##name)(void *)(b)->get_instance((b)->instance, #name))
#define BELOW_D(b, name) ((PFN_##name)(void *)(b)->get_device((b)->dev, #name))

/* Whether the driver has that extension. */
bool layer_driver_has(const struct below *b, VkPhysicalDevice phys, const char *extension);

/* A function that the layer puts before the driver's. */
struct layer_row {
    const char *name;
    bool of_device;
    PFN_vkVoidFunction function;
};

/* Given by the layer: */
extern const char layer_name[];
extern const struct layer_row layer_rows[]; /* the first of a name counts; ends with a name that is NULL */
void layer_instance_made(void);
/* Makes *dev by vkCreateDevice of b, which has all that is known but dev, and may note in it. */
VkResult layer_make_device(struct below *b, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *cb, VkDevice *dev);

#endif
