/* Vulkan's functions, taken from libvulkan.so.1 when the first instance is made: where there is no such library the daemon starts
 * all the same, and the CPU serves.
 *
 * Each function of the list is a pointer of its own name, so that calls read as ever. A function that is called and not
 * listed does not compile. Thread-safety: safe. */
#ifndef GPU_LOADER_H
#define GPU_LOADER_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "base/err.h"

/* clang-format off */
#define LOADER_FUNCTIONS(F) \
    F(vkAllocateCommandBuffers) F(vkAllocateDescriptorSets) F(vkAllocateMemory) F(vkBeginCommandBuffer) \
    F(vkBindBufferMemory) F(vkCmdBindDescriptorSets) F(vkCmdBindPipeline) F(vkCmdCopyBuffer) F(vkCmdDispatch) \
    F(vkCmdDispatchBase) F(vkCmdPipelineBarrier) F(vkCmdPushConstants) F(vkCmdResetQueryPool) F(vkCmdWriteTimestamp) \
    F(vkCreateBuffer) F(vkCreateCommandPool) F(vkCreateComputePipelines) F(vkCreateDescriptorPool) \
    F(vkCreateDescriptorSetLayout) F(vkCreateDevice) F(vkCreateFence) F(vkCreateInstance) F(vkCreatePipelineCache) \
    F(vkCreatePipelineLayout) F(vkCreateQueryPool) F(vkCreateShaderModule) F(vkDestroyBuffer) \
    F(vkDestroyCommandPool) F(vkDestroyDescriptorPool) F(vkDestroyDescriptorSetLayout) F(vkDestroyDevice) \
    F(vkDestroyFence) F(vkDestroyInstance) F(vkDestroyPipeline) F(vkDestroyPipelineCache) F(vkDestroyPipelineLayout) \
    F(vkDestroyQueryPool) F(vkDestroyShaderModule) F(vkDeviceWaitIdle) F(vkEndCommandBuffer) \
    F(vkEnumerateDeviceExtensionProperties) F(vkEnumeratePhysicalDevices) F(vkFreeMemory) \
    F(vkGetBufferDeviceAddress) F(vkGetBufferMemoryRequirements) F(vkGetDeviceQueue) F(vkGetInstanceProcAddr) F(vkGetPhysicalDeviceFeatures2) \
    F(vkGetPhysicalDeviceMemoryProperties) F(vkGetPhysicalDeviceMemoryProperties2) F(vkGetPhysicalDeviceProperties) \
    F(vkGetPhysicalDeviceProperties2) F(vkGetPhysicalDeviceQueueFamilyProperties) F(vkGetPipelineCacheData) \
    F(vkGetQueryPoolResults) F(vkMapMemory) F(vkQueueSubmit) F(vkResetCommandPool) F(vkResetDescriptorPool) \
    F(vkResetFences) F(vkUpdateDescriptorSets) F(vkWaitForFences)
/* clang-format on */

#define F(name) extern PFN_##name name;
LOADER_FUNCTIONS(F)
#undef F

/* Fills the pointers; only the first call does anything, the others repeat its answer.
 * Errors: LT_ENOTFOUND (no library, or one that lacks a function: named in the message). */
int loader_open(struct err_msg *em);

#endif
