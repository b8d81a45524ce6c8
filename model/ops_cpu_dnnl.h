/* oneDNN's matrix product behind a few calls; the only file that knows its C API, versions 2 and 3.
 *
 * A shape is y[n, n_cols] = x[n, k] wᵀ for one kind of numbers; it makes a primitive for each n it meets, and any
 * number of packed weight panels use it. Everything runs on the calling thread. */
#ifndef MODEL_OPS_CPU_DNNL_H
#define MODEL_OPS_CPU_DNNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DNNL_ROWS 64 /* most rows of one call: more do not make it faster, and the sums stay in the cache */

struct cpu_dnnl;  /* engine and streams of n_threads threads */
struct cpu_shape; /* owned by its cpu_dnnl */
struct cpu_panel; /* packed weights, in memory of the caller's */

/* Thread-safety: unsafe, but for the calls on panels. Errors: LT_EDEVICE, LT_ENOMEM. */
int cpu_dnnl_create(struct cpu_dnnl **d, unsigned n_threads, struct err_msg *em);
void cpu_dnnl_destroy(struct cpu_dnnl **d);

/* True when u8 × s8 products are summed without saturation and not by oneDNN's slow reference. */
bool cpu_dnnl_exact_int8(struct cpu_dnnl *d);

/* Bytes of such a panel's weights once packed, a multiple of 64 */
int cpu_panel_size(struct cpu_dnnl *d, size_t k, size_t n_cols, bool int8, size_t *bytes, struct err_msg *em);

/* Packs w[n_cols, k], row-major: int8 or float. w is not used after return.
 *
 * thread  < n_threads, the caller's own
 * room    cpu_panel_size bytes, 64 aligned, borrowed until the panel is destroyed
 *
 * Thread-safety: safe on different threads. */
int cpu_panel_create(struct cpu_dnnl *d, unsigned thread, struct cpu_panel **p, size_t k, size_t n_cols, bool int8,
                     const void *w, void *room, struct err_msg *em);
void cpu_panel_destroy(struct cpu_panel **p);

/* y[n, n_cols] = x[n, k] wᵀ, 0 < n <= DNNL_ROWS; x u8 and y int32, or both float, both dense.
 * thread: < n_threads, the caller's own. Thread-safety: safe on different threads. */
int cpu_panel_run(const struct cpu_panel *p, unsigned thread, size_t n, const void *x, void *y);

#endif
