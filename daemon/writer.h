/* The writer thread: every change of the data folder goes through it.
 *
 * It takes what waits, applies it in order, commits the group with one sync and only then tells those who wait: that
 * is what makes an acknowledgement durable. Between groups it feeds pending chunks to be embedded (feed.h) and lets
 * the index do its maintenance.
 * Thread-safety: safe. */
#ifndef DAEMON_WRITER_H
#define DAEMON_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "index/index.h"

struct writer;

/* One change, embedded in what it belongs to; the writer's from submit until done(). */
struct writer_op {
    /* Applies the change. A negative result fails this op alone, unless the store itself is out of order. Called again where the
     * group failed on damaged data, perhaps another op's: then each op is a group of its own. */
    int (*apply)(struct writer_op *op, struct index *ix, struct err_msg *em);
    /* After the commit (result 0: durable), or after a failure. em is not the op's: it outlives it. */
    void (*done)(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em);
    bool alone; /* commits by itself (collections, jobs): applied between groups */
    uint32_t n_items;       /* documents or vectors: groups are bounded by them; 0 counts as 1 */
    struct writer_op *next; /* the writer's own */
    int result;
    struct err_msg em;
};

struct writer_hooks {
    void *arg;
    /* On the writer thread, between groups. group_done: something was committed. */
    void (*between)(void *arg, struct index *ix, bool committed);
};

/* Takes over the index: the new thread is its writer from now on; writer_destroy closes it. Works from the first
 * writer_wake on. */
int writer_create(struct writer **w, struct index **ix, const struct writer_hooks *hooks, struct err_msg *em);

/* Never blocks, never fails. */
void writer_submit(struct writer *w, struct writer_op *op);

/* Makes the thread call between() soon although nothing was submitted. */
void writer_wake(struct writer *w);

/* Makes it look soon for what index_maintain has to do. */
void writer_maintain(struct writer *w);

/* Ops waiting. */
uint64_t writer_depth(struct writer *w);

/* Applies what waits, closes the index (readers must be gone), ends the thread. */
void writer_destroy(struct writer **w);

#endif
