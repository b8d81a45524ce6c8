/* A thread that repeats sampled searches (index_sample), with what is left of the machine: lowest priority, and after each one it
 * rests for so long that it takes a fiftieth of one processor at most.
 * Thread-safety: safe. */
#ifndef DAEMON_SAMPLER_H
#define DAEMON_SAMPLER_H

#include "index/index.h"

struct sampler;

int sampler_create(struct sampler **s, struct index *ix, struct err_msg *em);

/* A search was sampled. Never blocks. */
void sampler_wake(struct sampler *s);

/* Ends the thread; what waits is forgotten. */
void sampler_destroy(struct sampler **s);

#endif
