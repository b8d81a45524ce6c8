/* What a driver's compiler tells of a kernel that it has built, for the log: registers, spills, code size and what else it counts, under the
 * driver's own names (VK_KHR_pipeline_executable_properties).
 *
 * Only of devices that were opened for it (gpu.tells in gpu/vk.h), which is while debug messages are logged: a driver may build slower, or keep
 * more, to be able to tell. Nothing depends on it, so a driver that fails to answer, or has nothing to say, is no error: the text is empty.
 * What it says is not trusted: numbers, lengths and bytes are bounded here. */
#ifndef GPU_PIPELINE_STATISTICS_H
#define GPU_PIPELINE_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

#include "gpu/loader.h"

#define PIPELINE_EXECUTABLES_MAX 8  /* of a pipeline; looked at */
#define PIPELINE_STATISTICS_MAX 64  /* of an executable; RADV has 26, in 480 bytes */
#define PIPELINE_STATISTICS_NAME 48 /* bytes of a name; the rest is cut off */
#define PIPELINE_STATISTICS_TEXT 900 /* bytes, with the NUL: a message has 1023 (base/log.c), and begins with the kernel */

/* Appends " NAME=VALUE" of each to a text of *len bytes; one that no longer fits whole ends it. A name's bytes that are no printable ASCII, blanks
 * and "=" become "_". A value of a kind that is not known is left out, as is one without a name.
 *
 * n      at most PIPELINE_STATISTICS_MAX are taken */
void pipeline_statistics_format(const VkPipelineExecutableStatisticKHR *list, uint32_t n, char text[static PIPELINE_STATISTICS_TEXT], size_t *len);

struct gpu;

/* text becomes ": subgroup=SIZE NAME=VALUE …" of p's last executable, which is the one that drivers with several sizes of subgroups choose; empty
 * where nothing is told. p was made with VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR, if g->tells. */
void pipeline_statistics_read(struct gpu *g, VkPipeline p, char text[static PIPELINE_STATISTICS_TEXT]);

#endif
