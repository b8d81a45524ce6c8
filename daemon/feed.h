/* The feeder: what is durable but has no vector yet goes, oldest first, through tokenisers and device back to the
 * writer. The store is its only queue, so that a kill at any point loses at most the batches in work.
 *
 * A document that can never be embedded is taken out, and whoever waits for it is told so (index_fail_chunk). Where the device fails whatever
 * the texts, they stay and a batch is tried every second; who waits is told why if that cannot pass by itself. Where the store takes no vectors
 * (disk full, folder moved) they stay as well, and who waits is told at once, as who adds then is. Where a vector cannot be
 * stored because the store is damaged elsewhere (its word index, say), the document stays, is not tried again before the next start,
 * and requests that wait for its collection are answered with LT_ECORRUPT. Neither holds up what is behind it.
 *
 * It also knows the requests that wait to be found by search.
 * Thread-safety: unsafe (writer thread), where not said otherwise. */
#ifndef DAEMON_FEED_H
#define DAEMON_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct core;
struct feed;
struct index;

/* A request that waits until its collection is searchable up to seq. Embedded; the feeder's until done(). */
struct feed_waiter {
    const char *collection; /* lives until done() */
    uint64_t seq;
    uint64_t job;
    bool (*over)(struct feed_waiter *w); /* true: nobody waits any more */
    /* A document (index_put's number of its version) could not be embedded after all: is it one of yours? */
    void (*failed)(struct feed_waiter *w, uint64_t version, int code, const char *why);
    void (*done)(struct feed_waiter *w, int result, uint64_t searchable, const char *why);
    struct feed_waiter *next;
};

int feed_create(struct feed **f, struct core *c, struct err_msg *em);
void feed_destroy(struct feed **f); /* after the writer has ended */

/* Between groups: answers waiters, and keeps some batches in work. */
void feed_between(struct feed *f, struct index *ix, bool committed);

void feed_wait(struct feed *f, struct feed_waiter *w);

/* The job is cancelled: its waiters are answered so. */
void feed_cancel_job(struct feed *f, uint64_t job);

/* No new batches; waiters are answered with LT_ESHUTDOWN. Any thread. */
void feed_stop(struct feed *f);

/* True when no batch is in work. Any thread. */
bool feed_idle(struct feed *f);

/* What keeps documents from being embedded until somebody mends it; empty: nothing. Any thread. */
void feed_trouble(struct feed *f, char *out, size_t size);

/* The id of the document in work for this job; empty when there is none. Any thread. */
void feed_current(struct feed *f, uint64_t job, char *out, size_t size);

#endif
