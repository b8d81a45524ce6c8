/* Fault points: named places where a test build fails or dies on purpose.
 *
 * LATENTD_FAULT="name[:after]=action" (comma-separated) arms them: after N passes (default 0) the
 * point acts: `fail` (fault() is true), `kill` (SIGKILL to itself), `always` (true from then on),
 * a path that begins with / (true as long as there is such a file).
 * Built with -Dfaults=false, fault() is the constant false.
 * Thread-safety: safe. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#ifdef LATENTD_FAULTS
bool fault(const char *name);
/* The point "name.item". */
bool fault_item(const char *name, const char *item);
#else
static inline bool fault(const char *name)
{
    (void)name;
    return false;
}
static inline bool fault_item(const char *name, const char *item)
{
    (void)name;
    (void)item;
    return false;
}
#endif

#endif
