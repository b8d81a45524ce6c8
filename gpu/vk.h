/* What the files of gpu/ share: the struct behind gpu.h and the one macro for Vulkan calls. Not for others. */
#ifndef GPU_VK_H
#define GPU_VK_H

#include "gpu/budget.h"
#include "gpu/gpu.h"
#include "gpu/loader.h"
#include "gpu/tuning_table.h"

#define GPU_MAX_BINDINGS 6
#define GPU_MAX_SPEC 12
#define GPU_MAX_POOLS 64 /* descriptor pools, GPU_POOL_SETS sets each: bounds a batch's dispatches */
#define GPU_POOL_SETS 256

struct gpu_pipeline {
    enum gpu_kernel kernel;
    uint32_t spec[GPU_MAX_SPEC];
    VkPipeline pipeline;
};

#define GPU_EARLY 64 /* dispatches after which a batch's beginning goes to the device while the host records on */
#define GPU_SLOTS 3 /* submissions that may be under way or being recorded */

struct gpu_slot {
    VkCommandPool pool;
    VkCommandBuffer cmd;
    VkFence fence;
    double work;      /* recorded so far, in the units of gpu_dispatch.work */
    uint32_t n_dispatches; /* so far */
    uint64_t sent_ns; /* when it was submitted */
    uint64_t n_pipelines; /* that there were then */
};

#define PROFILE_SLOT_MAX 2048 /* dispatches timed in one submission; a longer one is divided */

struct gpu_buf {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t len;       /* bytes, as asked for */
    uint64_t allocated; /* bytes, as the driver wants it */
    uint32_t heap;
    enum gpu_mem mem;
    void *map;          /* NULL when not host visible */
    uint64_t address;   /* gpu_buf_address */
    uint64_t read_epoch, write_epoch; /* epoch of the last access in the batch being recorded */
    struct gpu_buf *next;             /* in the list of retired buffers */
};

/* An instance, and whether the validation layer is on. */
struct gpu_instance {
    VkInstance instance;
    bool validate;
};

struct gpu {
    struct gpu_instance in;
    VkPhysicalDevice phys;
    VkDevice dev;
    VkQueue queue;
    uint32_t family;
    uint32_t vendor; /* PCI's number */
    bool tells; /* of kernels, what its compiler made of them: gpu/pipeline_statistics.h */
    bool demands_size; /* of subgroups: limits.coop's is demanded of kernels with matrices, else it is the only one */
    struct gpu_device_info info;
    struct gpu_limits limits;
    struct tuning_table table;
    uint64_t allowed_bytes; /* gpu_params.memory_bytes */
    struct gpu_counts counts;
    int forced_path; /* of products, as enum tuning_path; -1: whichever suits */
    uint64_t timeout_ns;
    uint64_t validation_at_create; /* messages counted before this gpu */

    VkPhysicalDeviceMemoryProperties mem;
    bool has_budget; /* VK_EXT_memory_budget */
    uint64_t heap_used[VK_MAX_MEMORY_HEAPS];
    uint32_t n_allocations, max_allocations;

    VkPipelineCache cache;
    char *cache_path;      /* NULL: not on disk */
    uint8_t cache_key[32]; /* what a cache file must have been written by */
    bool cache_dirty;      /* pipelines created since the last save */
    struct gpu_pipeline *pipelines;
    size_t n_pipelines, cap_pipelines;
    VkDescriptorSetLayout set_layout[GPU_MAX_BINDINGS + 1]; /* by number of bindings */
    VkPipelineLayout layout[GPU_KERNEL_COUNT];

    struct gpu_slot slots[GPU_SLOTS];
    uint32_t slot;       /* being recorded, or the next to be */
    uint32_t n_flying;   /* submissions not waited for, in the slots before it */
    uint64_t idle_ns;    /* when the device was last known to have finished something */
    VkCommandBuffer cmd; /* of the slot being recorded */
    struct budget budget;
    uint64_t fixed_work; /* instead of the budget; 0: none */
    VkDescriptorPool pools[GPU_MAX_POOLS];
    uint32_t n_pools, pool_at, pool_used; /* pool in use, and sets taken from it */
    uint64_t epoch;                       /* grows with each barrier */
    bool copied;                          /* there was a copy since the last barrier */
    bool copy_waits;                      /* which was for dispatches only: a copy needs another */
    uint64_t pipelines_at_begin;
    bool recording;
    bool lost; /* the device is gone */
    bool hung; /* and work may still be running on it */
    struct gpu_buf *retired;
    struct gpu_buf *staging;
    struct profile *profile; /* NULL: off */
};

/* Turns a VkResult into an LT_ code, marks a lost device, and says which call failed. */
int vk_check(struct gpu *g, struct err_msg *em, VkResult result, const char *call);
const char *vk_result_name(VkResult result);

/* Every Vulkan call that can fail goes through here: r = VK(g, em, vkCreateFence(…)). g may be NULL. */
#define VK(g, em, call) vk_check((g), (em), (call), #call)

/* instance.c */
struct gpu_found {
    VkPhysicalDevice phys;
    uint32_t family; /* a compute queue's */
    struct gpu_device_info info;
};
#define GPU_MAX_DEVICES 32
/* The process's instance, made at the first call and never destroyed: see instance.c. A failure is tried again at the next. */
int instance_get(struct gpu_instance *in, bool validate, struct err_msg *em);
/* Devices that can serve, best first. found has room for GPU_MAX_DEVICES. */
int instance_find(struct gpu_instance *in, struct gpu_found *found, size_t *n, struct err_msg *em);

/* capability.c: looks at what the device can do, sets those of the limits, and opens it */
int capability_open(struct gpu *g, const struct gpu_params *p, struct err_msg *em);

/* probe.c: what only running a kernel tells, on an open device whose way is chosen */
int probe_fragments(struct gpu *g, struct err_msg *em);
/* Whether each invocation holds of a right matrix what finish_rows.comp takes it to hold: c->n c->k words of each, column c->k + row. */
bool probe_placed(const struct gpu_coop *c, const uint32_t *found);

/* pipeline.c */
int pipeline_get(struct gpu *g, enum gpu_kernel k, const uint32_t *spec, VkPipeline *out, struct err_msg *em);
int pipeline_init(struct gpu *g, struct err_msg *em);
void pipeline_finish(struct gpu *g);

/* pipeline_cache.c: gpu/pipeline_cache.h */

/* command.c */
void command_finish(struct gpu *g);

/* profile.c; all of it may be called while there is no profile, but for before and after */
void profile_finish(struct gpu *g);
/* A slot begins to be recorded, a dispatch is, and its submission is done. */
void profile_record(struct gpu *g);
bool profile_full(const struct gpu *g);
void profile_before(struct gpu *g);
void profile_after(struct gpu *g, enum gpu_kernel kernel, double work);
int profile_collect(struct gpu *g, uint32_t slot, struct err_msg *em);

/* submit.c */
int submit_init(struct gpu *g, uint64_t fixed_work, struct err_msg *em);
void submit_finish(struct gpu *g);
/* Work that a submission may carry. */
double submit_room(const struct gpu *g);
/* Begins to record into the next slot, waiting for one if need be. */
int submit_record(struct gpu *g, struct err_msg *em);
/* Submits what was recorded and does not wait. */
int submit_send(struct gpu *g, struct err_msg *em);
/* Waits until nothing is under way. */
int submit_wait(struct gpu *g, struct err_msg *em);
/* Gives a hung device so long for each submission; false: it still hangs. */
bool submit_settle(struct gpu *g, uint64_t ns);

#endif
