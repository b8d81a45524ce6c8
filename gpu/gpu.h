/* A small compute layer over Vulkan: devices, buffers, kernels, and one batch of work at a time.
 *
 * The layer knows nothing of models. A kernel is a row of gpu/kernels.c: SPIR-V, what it binds, how it
 * accesses it. A batch is recorded between gpu_begin and gpu_submit; dispatches run in order, with a
 * barrier only before one that depends on an earlier one. A batch reaches the device as one submission, or as several
 * where it would take longer than BUDGET_MAX_NS (gpu/budget.h), so that it neither trips a driver's watchdog nor keeps others
 * from the device; a dispatch too long for one is divided by its work-groups. One of more than GPU_EARLY dispatches (gpu/vk.h)
 * has its beginning sent ahead. Nothing is waited for before gpu_submit but
 * the oldest of the submissions under way.
 *
 * Environment: the Vulkan loader's own variables (VK_DRIVER_FILES, VK_ICD_FILENAMES) choose the drivers.
 * LATENTD_VULKAN_VALIDATE=1 turns VK_LAYER_KHRONOS_validation on, with synchronisation validation;
 * any message is logged, counted (gpu_validation_messages) and makes the next gpu_submit fail.
 * LATENTD_VULKAN_MATMUL=f32|rows|dot|coop makes every matrix product in that way where it can be (gpu/tuning.h), for tests
 * and measurements; LT_ENOTFOUND where the device lacks what it takes.
 *
 * Errors: LT_ENOTFOUND no loader, driver or matching device; LT_EDEVICE unusable; LT_ENOMEM device or host
 * memory (needed and free bytes in the message); LT_ELIMIT over a limit of the device; LT_EDEVICELOST lost or
 * hung beyond the time limit: destroy the gpu and create it again; LT_EINTERNAL a bug (validation). */
#ifndef GPU_GPU_H
#define GPU_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "gpu/kernels.h"

enum gpu_kind { GPU_DISCRETE, GPU_INTEGRATED, GPU_VIRTUAL, GPU_OTHER, GPU_CPU };

struct gpu_device_info {
    char name[256];        /* as the driver gives it */
    char driver[256];      /* driver's name and version text */
    char uuid[40];         /* 8-4-4-4-12 hex digits; stable for a device and driver version */
    enum gpu_kind kind;
    bool software;         /* runs on the CPU (llvmpipe, SwiftShader): for tests, only when named */
    bool unified;          /* its memory is the machine's: a software driver, an integrated GPU, any other that has no memory but its own and is
                            * no card */
    uint64_t memory_bytes; /* largest device-local heap */
};

/* "discrete", "integrated", "virtual", "other", "cpu". */
const char *gpu_kind_name(enum gpu_kind kind);

/* Devices that can serve (Vulkan 1.2, a compute queue), best first: discrete, integrated, virtual, other, then
 * software ones. At most max are written; *n is how many were.
 * Errors: LT_ENOTFOUND when there is no loader, driver or device. */
int gpu_list(struct gpu_device_info *list, size_t max, size_t *n, struct err_msg *em);

/* True when want is a part of the device's name (case ignored) or its whole UUID. */
bool gpu_matches(const struct gpu_device_info *d, const char *want);

/* Messages of the validation layers in this process so far; 0 when they are off. */
uint64_t gpu_validation_messages(void);

/* Cooperative matrices that the kernels are written for: f16 times f16 summed in f32, by one subgroup. */
struct gpu_coop {
    uint32_t m, n, k;  /* a product of m x k and k x n; 8, 16 or 32 each; 0: there are none */
    uint32_t subgroup; /* invocations, demanded of the driver where it has several sizes */
    bool fragments;    /* each value of a matrix is held by one invocation only, as tried out: shaders/lib/fragment.glsl */
    uint32_t sharing;  /* invocations that share a row of a left matrix, which matmul_few.comp fills by hand; 0: unknown what they hold, or
                        * no addresses */
    bool placed;       /* and an invocation holds of a right matrix what finish_rows.comp lays out for it */
};

/* What a device allows, after the params' restrictions. Bytes unless said. */
struct gpu_limits {
    uint64_t max_range;         /* one storage binding */
    uint64_t max_buffer;        /* one buffer, so one allocation */
    uint32_t max_groups[3];     /* work-groups of a dispatch */
    uint32_t max_invocations;   /* of a work-group */
    uint32_t max_group_size[3]; /* of a work-group */
    uint32_t max_shared;        /* of a work-group */
    uint32_t max_push;
    uint32_t offset_align;      /* of a storage binding */
    uint32_t subgroup_size;     /* for tuning only */
    bool storage16;             /* 16-bit values in storage buffers */
    bool storage8;
    bool half;                  /* f16 arithmetic */
    bool dot, dot_fast;         /* sums of four int8 products in one instruction; the device says it is a fast one */
    bool shuffles;              /* a subgroup's invocations can vote and read each other's values */
    bool addresses;             /* gpu_buf_address, and whole numbers of 64 bits in kernels */
    struct gpu_coop coop;
};

struct gpu_params {
    const char *device;      /* name part or UUID; NULL or empty: the first of gpu_list */
    const char *cache_dir;   /* folder for the pipeline cache, made when missing; NULL: none on disk */
    const char *path;        /* as LATENTD_VULKAN_MATMUL, which counts when this is NULL */
    bool validate;           /* as LATENTD_VULKAN_VALIDATE=1 */
    bool words_only;         /* do as if there were no 8- and 16-bit storage */
    uint64_t memory_bytes;   /* how much of the device's is to be used, for what is made by the way (gpu/tuning.h); 0: all. Not enforced */
    uint64_t host_bytes;     /* the same of the machine's, for a unified device; the smaller one counts */
    uint64_t fake_max_range; /* bytes: pretend the device's maxStorageBufferRange is smaller; 0: the truth */
    uint64_t fake_heap;      /* bytes: pretend that no memory heap is larger; 0: the truth. In test builds the fault point
                              * gpu_small pretends a small device: 20 MiB, bindings of 1.5 MiB */
    uint32_t timeout_ms;     /* of one submission; 0: 120 s, 600 s on a software device */
    uint64_t submit_work;    /* work of one submission (tests); 0: learnt, so that it takes BUDGET_AIM_NS */
};

struct gpu; /* Thread-safety: unsafe; one thread owns a gpu and all that it made. */

/* On success *g is the caller's. Blocks: loads a driver, may take seconds. */
int gpu_create(struct gpu **g, const struct gpu_params *p, struct err_msg *em);
/* All buffers must be gone. Writes the pipeline cache when it has grown. */
void gpu_destroy(struct gpu **g);
const struct gpu_device_info *gpu_info(const struct gpu *g);
const struct gpu_limits *gpu_limits(const struct gpu *g);

struct gpu_counts {
    uint64_t submits;          /* vkQueueSubmit calls, uploads outside of batches included */
    uint64_t batches;          /* gpu_submit calls */
    uint64_t dispatches, barriers;
    uint64_t pipelines;        /* created so far */
    uint64_t longest_ns;       /* the longest submission so far, as the host saw it */
    uint64_t memory_bytes;     /* allocated now in the device's own heaps */
    bool cache_loaded;         /* the pipeline cache on disk was good and used */
};
const struct gpu_counts *gpu_counts(const struct gpu *g);

/* ---- buffers ---- */

enum gpu_mem {
    GPU_MEM_DEVICE,   /* fast for the device */
    GPU_MEM_UPLOAD,   /* mapped, written by the host, source of copies */
    GPU_MEM_READBACK, /* mapped, read by the host, target of copies */
};

/* len_bytes of storage, contents undefined. Thread-safety: as its gpu. */
struct gpu_buf;

int gpu_buf_create(struct gpu *g, uint64_t len_bytes, enum gpu_mem mem, struct gpu_buf **b,
                   struct err_msg *em);
/* Not while a batch that uses it is being recorded: then gpu_buf_retire. */
void gpu_buf_destroy(struct gpu *g, struct gpu_buf **b);
/* Destroys b once the batch being recorded has completed. Takes ownership. */
void gpu_buf_retire(struct gpu *g, struct gpu_buf **b);
/* The mapping of an UPLOAD or READBACK buffer, valid as long as the buffer; NULL for DEVICE. */
void *gpu_buf_host(const struct gpu_buf *b);
uint64_t gpu_buf_len(const struct gpu_buf *b);
/* Where kernels on the device find the first byte of a DEVICE buffer: a multiple of 16; 0 without limits.addresses. A dispatch that goes there has b
 * among its args all the same. */
uint64_t gpu_buf_address(const struct gpu_buf *b);

/* Copies host bytes into a DEVICE buffer, or out of it. Outside of a batch; blocks on the GPU.
 * offset and len are multiples of 4. */
int gpu_upload(struct gpu *g, struct gpu_buf *b, uint64_t offset, const void *data, uint64_t len,
               struct err_msg *em);
int gpu_download(struct gpu *g, struct gpu_buf *b, uint64_t offset, void *data, uint64_t len,
                 struct err_msg *em);

/* What is left for DEVICE buffers now, by the size of their heap and, where the driver tells, by what others have of it. */
uint64_t gpu_memory_free(const struct gpu *g);
/* What copies to and from the device keep of its memory at most. */
uint64_t gpu_staging_bytes(const struct gpu *g);

/* ---- one batch ---- */

/* What a kernel took since gpu_profile_start. */
struct gpu_profile_row {
    const char *kernel; /* as in gpu/kernels.h */
    uint64_t n;         /* dispatches, each part of a divided one counted */
    double ns, work;    /* by the device's clock; operations, as their dispatches said */
};

/* From here on every dispatch runs alone and is timed; sums begin at 0. Outside of a batch.
 * Errors: LT_EDEVICE the device has no timestamps. */
int gpu_profile_start(struct gpu *g, struct err_msg *em);
/* GPU_KERNEL_COUNT rows, up to the last gpu_submit; borrowed until the next gpu_profile_start. NULL: there is no profile. */
const struct gpu_profile_row *gpu_profile(const struct gpu *g);

struct gpu_arg {
    struct gpu_buf *buf;
    uint64_t offset, len; /* bytes; len 0: to the end. offset is a multiple of limits.offset_align */
};

struct gpu_dispatch {
    enum gpu_kernel kernel;
    const uint32_t *spec; /* specialisation constants, as many as the kernel's row says */
    const void *push;     /* push constants, as many bytes as the kernel's row says */
    const struct gpu_arg *args; /* the kernel's bindings in order */
    uint32_t groups[3];   /* 0 counts as 1; checked against the limits. Independent of each other */
    double work;          /* operations, roughly: for dividing a batch into submissions */
};

/* Starts recording; whatever was recorded and not submitted is dropped. */
int gpu_begin(struct gpu *g, struct err_msg *em);
int gpu_dispatch(struct gpu *g, const struct gpu_dispatch *d, struct err_msg *em);
/* Records a copy of len bytes (multiples of 4) between buffers. */
int gpu_copy(struct gpu *g, struct gpu_buf *dst, uint64_t dst_offset, struct gpu_buf *src, uint64_t src_offset,
             uint64_t len, struct err_msg *em);
/* Submits what was recorded and not yet submitted, and waits for all of it; READBACK buffers may then be read. */
int gpu_submit(struct gpu *g, struct err_msg *em);

#endif
