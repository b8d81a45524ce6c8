/* A fixed team of threads that run one function together and sleep in between.
 * Thread-safety: unsafe; one thread owns a team and is its member 0. */
#ifndef MODEL_OPS_CPU_TEAM_H
#define MODEL_OPS_CPU_TEAM_H

#include "base/err.h"

struct team;

/* n_threads counts the caller: n_threads - 1 are started. Errors: LT_ENOMEM. */
int team_create(struct team **t, unsigned n_threads, struct err_msg *em);
void team_destroy(struct team **t);

/* Calls fn(arg, member) for members 0 … n - 1 at once, the caller being 0; returns when all are back. */
void team_run(struct team *t, unsigned n, void (*fn)(void *arg, unsigned member), void *arg);

/* Within fn: waits until all n members of this run have come here. Spins for some microseconds, then sleeps. */
void team_barrier(struct team *t);

#endif
