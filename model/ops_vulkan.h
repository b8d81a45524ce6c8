/* The ops of model/ops.h on a Vulkan device: every op a compute shader, f32 activations and sums,
 * weights in their storage type (f32, f16, bf16, q8_0). A batch is one submission, or several
 * where it is long, and one readback.
 *
 * Devices are listed by gpu_list (gpu/gpu.h): best first, software drivers last and flagged; `auto`
 * must skip the flagged ones. gpu_matches tells whether a name or UUID given by the user means a device. */
#ifndef MODEL_OPS_VULKAN_H
#define MODEL_OPS_VULKAN_H

#include "gpu/gpu.h"
#include "model/ops.h"

struct ops_vulkan_params {
    const char *device;        /* name part or UUID; NULL or empty: the first of gpu_list */
    const char *cache_dir;     /* folder of the pipeline cache; NULL: none on disk */
    uint32_t max_batch_tokens; /* 0: 8192; lowered to what the device's limits allow */
    uint32_t max_cols;         /* widest activation row of the model, in floats; 0: not known. Lowers
                                * max_batch_tokens so that such a buffer fits one storage binding */
    uint64_t memory_bytes, host_bytes; /* as in gpu_params */
    const char *path;          /* of matrix products: gpu_params.path */
    bool validate;             /* validation layers, as LATENTD_VULKAN_VALIDATE=1 */
    bool words_only;           /* do as if the device had no 8- and 16-bit storage */
    uint64_t fake_max_range;   /* bytes: smaller maxStorageBufferRange (tests); 0: the device's */
    uint32_t timeout_ms;       /* of one submission; 0: the default of gpu.h */
    uint64_t submit_work;      /* operations of one submission (tests); 0: learnt from its time */
};

/* On success *o is the caller's; ops_destroy frees it, after all buffers, matrices and vectors it made.
 * Errors: LT_ENOTFOUND no such device (the message names those there are); LT_EDEVICE; LT_ENOMEM.
 * After LT_EDEVICELOST from any op: destroy all and create again.
 * Thread-safety: unsafe, as struct ops. */
int ops_vulkan_create(struct ops **o, const struct ops_vulkan_params *p, struct err_msg *em);

#endif
