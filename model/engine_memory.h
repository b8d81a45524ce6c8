/* How much memory an engine may plan with on the device that is open, and what it needs at least.
 * Thread-safety: the ops' thread. */
#ifndef MODEL_ENGINE_MEMORY_H
#define MODEL_ENGINE_MEMORY_H

#include "model/engine.h"
#include "model/ops.h"
#include "model/plan.h"

/* Of the machine's memory, for a Vulkan device: its driver, with the kernels that it compiles (of llvmpipe 40 MiB for the default model); and where
 * it has memory of its own, what copies go through (gpu_staging_bytes), and each batch's ids and results. */
#define ENGINE_DRIVER_BYTES (56u << 20)
#define ENGINE_STAGING_BYTES (8u << 20)

/* Of the device, for everything, as far as params.memory_bytes, memory_share and taken_bytes say; 0: most of what others leave. */
uint64_t engine_memory(const struct engine_params *p, const struct ops *o);

/* Divides it, on a device in the machine's memory no more than params.host_bytes, and tells info of it: planned_bytes, batch_tokens,
 * max_batch_tokens, host_bytes, host_shared, unseen_bytes.
 *
 * most   tokens of a text at most
 *
 * Errors: LT_ENOMEM: host_bytes is too little, and params.host_anyway is not set. */
int engine_plan(const struct engine_params *p, const struct model *m, struct ops *o, uint32_t most, struct plan *plan, struct engine_info *info,
                struct err_msg *em);

#endif
