/* A fixed team of threads that run one function together and sleep in between.
 * Thread-safety: unsafe; one thread owns a team and is its member 0. */
#ifndef MODEL_OPS_CPU_TEAM_H
#define MODEL_OPS_CPU_TEAM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

struct team;

/* n_threads counts the caller: n_threads - 1 are started. Errors: LT_ENOMEM. */
int team_create(struct team **t, unsigned n_threads, struct err_msg *em);
void team_destroy(struct team **t);

/* Calls fn(arg, member) for members 0 … n - 1 at once, the caller being 0; returns when all are back. */
void team_run(struct team *t, unsigned n, void (*fn)(void *arg, unsigned member), void *arg);

/* The same for work that members take piece by piece, so that the caller can do all of it: members that are still asleep when the caller's
 * fn is done are left out, and nobody waits for them. */
void team_help(struct team *t, unsigned n, void (*fn)(void *arg, unsigned member), void *arg);

/* Within fn of team_help: adds n to what the caller may be waiting for. Returns the sum. */
unsigned team_count(struct team *t, atomic_uint *count, unsigned n);
/* Within fn of team_help: until *count is n, which other members' team_count brings about. Spins for some microseconds; then the caller of
 * team_help sleeps until it is so, and another member gets false: it leaves, since on a busy CPU it may be the one that is in the way. */
bool team_wait(struct team *t, unsigned member, const atomic_uint *count, unsigned n);

/* Within fn of team_run: waits until all n members of this run have come here. Spins for some microseconds, then sleeps. */
void team_barrier(struct team *t);

#endif
