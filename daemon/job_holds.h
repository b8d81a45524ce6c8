/* Which connections may still add to a job, so that one whose clients have all gone does not stay open for ever.
 *
 * A connection holds the jobs that it opened or added to, the last JOB_HOLDS_MAX of them. When the last one that held an open job has gone
 * and none of the job's documents waits for a vector any more, the job is abandoned (index_jobs_abandon); so is, after a start, each
 * open job that nobody has added to again. Not while the daemon stops: its clients may come back.
 * Thread-safety: unsafe (writer thread), where not said otherwise. */
#ifndef DAEMON_JOB_HOLDS_H
#define DAEMON_JOB_HOLDS_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/core.h"
#include "daemon/order.h"

#define JOB_HOLDS_MAX 64 /* of one connection: more than a program that ends what it begins has, and a bound on looking */

struct job_holds;

/* NULL when memory is short. */
struct job_holds *job_holds_create(struct core *c);
void job_holds_destroy(struct job_holds **h); /* after the writer has ended */

/* The sender (request.h) holds the job. Where memory is short it does not, and the job may be abandoned early: the next document
 * opens it again. */
void job_holds_add(struct job_holds *h, uint64_t job, uint64_t sender);
bool job_holds_has(const struct job_holds *h, uint64_t job);

/* Between groups: abandons what is to be abandoned, at most once a second while documents wait. */
void job_holds_between(struct job_holds *h, struct index *ix);

/* A connection's last change, behind all others that it sent: it holds nothing any more. */
struct job_release {
    struct writer_op op;
    struct order_place place;
    struct job_holds *holds;
    uint64_t sender;
};
/* Takes over *rel, malloc'ed, and frees it when the writer has seen it. Loop thread. */
void job_release_submit(struct job_release **rel, struct core *c, struct order *o, uint64_t sender);

#endif
