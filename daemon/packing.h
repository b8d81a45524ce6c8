/* The texts of a request on their way to a device: their ids lie end to end in one array, which counts as the request's memory.
 * Thread-safety: one thread at a time. */
#ifndef DAEMON_PACKING_H
#define DAEMON_PACKING_H

#include "daemon/device.h"

struct request;

struct packing {
    struct device_text *texts; /* for a device_job, after packing_settle */
    size_t n_texts;
    int32_t *ids;
    size_t n_ids, cap_ids;
};

/* For at most so many texts. LT_ENOMEM: packing_finish all the same. */
int packing_init(struct packing *p, size_t most);
void packing_finish(struct packing *p);

/* One more text of n ids, which are copied; its place in texts is then n_texts - 1.
 *
 * out     as in device_text
 *
 * Errors, which leave p as it was: LT_EBUSY (the requests under way have all the memory there is for them), LT_ENOMEM. */
int packing_put(struct packing *p, struct request *rq, const int32_t *ids, uint32_t n, uint32_t n_skip, float *out);

/* After the last text: from here on the ids stay where they are, and the texts say where. */
void packing_settle(struct packing *p);

#endif
