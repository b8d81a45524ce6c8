/* Which chunks a filter lets through: one bit a chunk, kept between searches.
 *
 * A version's metadata never changes and ids only grow, so a set once made stays right for the documents it
 * has seen and is only extended by later ones; deleted chunks keep their bit and are dropped by the check of
 * hits against rows.
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
    uint64_t words[];
};

/* Thread-safety: safe. */
struct allowed_cache {
    pthread_mutex_t lock;
    struct allowed *entries[ALLOWED_CACHE_SIZE]; /* most recently used first */
};

void allowed_cache_init(struct allowed_cache *cache);
void allowed_cache_finish(struct allowed_cache *cache);

/* The set of expr among the documents of coll as db's open transaction sees them; allowed_release it.
 * *st is the connection's statement for this, prepared on first use.
 * Errors: those of filter_parse, LT_ETIMEOUT (deadline_ns, 0: none), LT_EIO, LT_ENOMEM. */
int allowed_get(struct allowed_cache *cache, sqlite3 *db, sqlite3_stmt **st, int64_t coll, const char *expr,
                uint64_t deadline_ns, struct allowed **out, struct err_msg *em);
void allowed_release(struct allowed *a);

static inline bool allowed_has(const struct allowed *a, uint64_t chunk)
{
    uint64_t bit = chunk - a->base; /* below base: wraps to a large number */
    return bit < a->n_bits && (a->words[bit / 64] >> bit % 64 & 1);
}

/* All members in order into labels, room for a->n. */
void allowed_list(const struct allowed *a, uint64_t *labels);

#endif
