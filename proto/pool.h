/* A pool: memory that belongs to one message and goes all at once, with a budget.
 *
 * Small pieces are carved from blocks and never freed one by one; large ones come from malloc and
 * can be given back early. Nothing is allocated beyond the budget, so that what a peer sends
 * cannot decide how much memory it takes.
 * Thread-safety: unsafe; a pool may be handed to another thread. */
#ifndef PROTO_POOL_H
#define PROTO_POOL_H

#include <stddef.h>

struct pool;

/* NULL when memory is short. budget: bytes, all pieces and their overhead together. */
struct pool *pool_create(size_t budget);
void pool_destroy(struct pool **p);

/* Aligned for any type, uninitialised; NULL when memory or the budget is short. */
void *pool_alloc(struct pool *p, size_t size);
/* n * size zeroed bytes. */
void *pool_calloc(struct pool *p, size_t n, size_t size);
char *pool_strdup(struct pool *p, const char *s);

/* Gives a large piece back; small ones stay until the pool goes. NULL is accepted. */
void pool_free(struct pool *p, void *piece);

/* Bytes in use now, overhead included. */
size_t pool_used(const struct pool *p);

#endif
