/* Why a GPU that is in the machine may not be there for this process: its device node belongs to a group, and Vulkan drivers then
 * list nothing without a word. Thread-safety: safe. */
#ifndef GPU_ACCESS_H
#define GPU_ACCESS_H

#include "base/err.h"

#define GPU_NODES "/dev/dri" /* where Linux has them: renderD128 and so on, one a GPU */

/* Looks for render nodes in dir that this process may not read and write.
 *
 * Returns 0 when there is none, or no dir; LT_EPERM when there is: the first by name in the message, with its group and how to join it. */
int gpu_access(const char *dir, struct err_msg *em);

#endif
