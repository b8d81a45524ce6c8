/* The device thread: owns the engine, turns token ids into vectors, questions before bulk.
 *
 * Two queues. A batch is filled from the questions if there are any, else from bulk work; texts of several jobs share
 * a batch. In each queue owners take turns, a batch each at most while others wait, so that nobody waits for all that another one has sent;
 * jobs of one owner keep their order. A bulk batch is sized by measured speed so that a question never waits long behind one; after some batches
 * of questions in a row a bulk batch is let through, so that ingest cannot starve.
 * Bounded by whoever submits: jobs belong to admitted requests or to the feeder's window.
 * Thread-safety: safe. */
#ifndef DAEMON_DEVICE_H
#define DAEMON_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/engine.h"
#include "model/model.h"

struct device;

struct device_text {
    const int32_t *ids; /* borrowed until done() */
    uint32_t n, n_skip;
    float *out; /* room for the model's dim floats, borrowed until done() */
    int status; /* set before done(): 0 or an engine_embed status, LT_ECANCELLED, LT_ETIMEOUT, LT_ESHUTDOWN,
                 * LT_EDEVICELOST … */
    bool device; /* set with it: the batch as a whole failed, which says nothing about this text */
};

#define DEVICE_INTERACTIVE_MAX 4

struct device_job {
    struct device_text *texts; /* at least one */
    size_t n_texts;
    bool bulk; /* nobody waits for it: what a client sends of more than DEVICE_INTERACTIVE_MAX texts at once */
    const void *owner; /* who shares turns: a connection, or NULL for what the daemon does by itself; compared only */
    uint64_t deadline_ns;         /* clock_ns; 0: none */
    const atomic_bool *cancelled; /* NULL: cannot be */
    void (*done)(struct device_job *job); /* on the device thread: hand on, do not work here */
    struct err_msg why; /* where a text has `device`: the last reason */
    /* The device's own. */
    struct device_job *next, *behind, **behind_tail;
    size_t n_taken, n_done;
};

/* Starts the thread, which opens the engine; waits for that.
 * m is borrowed and must outlive the device. Errors: as engine_create. */
int device_create(struct device **d, const struct model *m, const struct engine_params *p, struct err_msg *em);

/* What the engine said when it was opened, when a lost device came back with another number of layers, or when the CPU took over from it; lives as
 * long as the device. */
const struct engine_info *device_info(const struct device *d);

/* Never blocks, never fails. */
void device_submit(struct device *d, struct device_job *job);

/* From now on bulk work, queued or to come, is answered with LT_ESHUTDOWN. */
void device_stop_bulk(struct device *d);

struct device_stats {
    uint64_t query_depth, bulk_depth; /* texts waiting or in work */
    uint64_t tokens_done, texts_done, batches_done; /* since start */
};
void device_get_stats(struct device *d, struct device_stats *out);

/* Answers what is queued with LT_ESHUTDOWN, then ends the thread and frees the engine. */
void device_destroy(struct device **d);

#endif
