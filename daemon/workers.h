/* Some threads that run work items in order of arrival. Bounded by whoever submits: a task is part of a request, and
 * requests are admitted in bounded numbers.
 * Thread-safety: safe. */
#ifndef DAEMON_WORKERS_H
#define DAEMON_WORKERS_H

#include "base/err.h"

/* Embedded in what the task works on; owned by the submitter, who hears by run() that it is free again. */
struct work_item {
    void (*run)(struct work_item *t, void *thread_state);
    struct work_item *next;
};

struct workers;
struct workers_params {
    const char *name; /* of the threads, at most 12 bytes */
    unsigned n_threads;
    void **states; /* n_threads values handed to run(), borrowed for the call; NULL: all NULL */
    void (*after)(void *thread_state); /* each item; NULL: nothing */
};

int workers_create(struct workers **p, const struct workers_params *params, struct err_msg *em);

/* Never blocks, never fails. Tasks submitted after workers_destroy began are run too. */
void workers_submit(struct workers *p, struct work_item *t);

/* Runs what is queued, then ends the threads. */
void workers_destroy(struct workers **p);

#endif
