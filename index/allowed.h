/* Which chunks a filter lets through: one bit a chunk, kept between searches.
 *
 * A version's metadata never changes and ids only grow, so a set once made stays right for the documents it has seen and is
 * extended by later ones. Chunks that go keep their bit, and are dropped by the check of hits against rows, until a fourth of
 * the set may have gone: then each member is looked up, since how many there are decides how a search goes about it.
 *
 * A set knows nothing of what had gone before the view that it was made or extended from, so it is not for older views.
 */
#ifndef INDEX_ALLOWED_H
#define INDEX_ALLOWED_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define ALLOWED_CACHE_SIZE 16

/* Immutable once shared. */
struct allowed {
    atomic_int n_users;
    char *expr;
    uint64_t base;     /* the chunk of bit 0 */
    uint64_t n_bits;
    uint64_t last_doc; /* documents up to here have been looked at */
    uint64_t n;        /* bits set */
    uint64_t seq;      /* of the view that it was made or extended from last */
    uint64_t n_erased; /* of the collection's chunks, when its members were all there */
    uint64_t words[];
};

/* Thread-safety: safe. */
struct allowed_cache {
    pthread_mutex_t lock;
    struct allowed *entries[ALLOWED_CACHE_SIZE]; /* most recently used first */
};

void allowed_cache_init(struct allowed_cache *cache);
void allowed_cache_finish(struct allowed_cache *cache);

/* Gives back what nobody uses just now. */
void allowed_cache_clear(struct allowed_cache *cache);
/* What the sets take. */
uint64_t allowed_cache_bytes(struct allowed_cache *cache);

/* The open transaction of a connection, and a collection in it. */
struct allowed_view {
    sqlite3 *db;
    sqlite3_stmt **rows, **chunks; /* the connection's, prepared on first use; rows: another one where most is not the same */
    int64_t coll;
    bool most; /* of the store's documents are the collection's: to read all in the order in which they lie takes a fourth less time */
    uint64_t seq;         /* the last operation that it sees */
    uint64_t n_erased;    /* of the collection's chunks, read before the view was fixed */
    uint64_t deadline_ns; /* 0: none */
};

/* The set of expr among the documents that the view sees; allowed_release it.
 * 1: documents that it sees may have gone from the set that is kept, for a newer view; ask again with a newer one. *out is NULL.
 * Errors: those of filter_parse, LT_ETIMEOUT, LT_EIO, LT_ENOMEM. */
int allowed_get(struct allowed_cache *cache, const struct allowed_view *v, const char *expr, struct allowed **out, struct err_msg *em);
void allowed_release(struct allowed *a);

static inline bool allowed_has(const struct allowed *a, uint64_t chunk)
{
    uint64_t bit = chunk - a->base; /* below base: wraps to a large number */
    return bit < a->n_bits && (a->words[bit / 64] >> bit % 64 & 1);
}

/* All members in order into labels, room for a->n. */
void allowed_list(const struct allowed *a, uint64_t *labels);

#endif
