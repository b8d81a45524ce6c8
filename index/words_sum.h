/* Adding up what several words' postings give their chunks, in blocks of chunks that stay in the cache.
 *
 * Postings go by chunk, so a block's are next to each other in each list. A chunk's sum has its words in the order of the lists.
 * Thread-safety: unsafe. */
#ifndef INDEX_WORDS_SUM_H
#define INDEX_WORDS_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "index/postings.h"

struct allowed;

/* As FTS5 gave it. */
struct read_posting {
    uint64_t chunk;
    uint16_t n, length; /* as in struct posting */
};

/* One word's. */
struct words_list {
    struct postings *kept; /* NULL: none; borrowed */
    struct read_posting *read; /* of later chunks than those; owned */
    size_t n_read, room;
    bool finds; /* else it scores only what others find */
    float weight, flat, slope; /* a posting's score is weight n (k1 + 1) / (n + flat + slope length) */
    size_t at; /* of both together, while they are added up */
};

struct words_slot {
    uint64_t chunk;
    float score;
};

struct words_sum {
    struct words_slot *slots; /* what was found, n of them */
    size_t n, room;
    struct words_block *block; /* NULL: not made yet */
};
void words_sum_finish(struct words_sum *s);

/* Errors: LT_ENOMEM. */
int words_list_add(struct words_list *l, uint64_t chunk, uint16_t n, uint16_t length);
void words_list_finish(struct words_list *l);
/* How many of its chunks are allowed; a NULL: all. */
size_t words_list_count(const struct words_list *l, const struct allowed *a);

/* The sums of all chunks that are allowed and in a list that finds; those lists come before the others.
 * Errors: LT_ENOMEM, LT_ETIMEOUT (deadline_ns; 0: none). */
int words_sum(struct words_sum *s, struct words_list *lists, size_t n_lists, const struct allowed *a, uint64_t deadline_ns);

#endif
