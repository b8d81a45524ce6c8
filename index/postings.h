/* Postings of words that are kept between searches: FTS5 takes some 0.1 µs to come to a word's next one.
 *
 * What is kept of a word are the chunks that held it in one view of the store. They serve in other views too, since a chunk's text never changes
 * and its number is never used again:
 * - Chunks that have come since have higher numbers, and are asked of FTS5 alone. Where a document became searchable later than one
 *   whose chunks have higher numbers, nothing that was kept before is used any more.
 * - Chunks that have gone since are still there, and hits without a row are dropped. Once many have gone, the word is read anew.
 * - A view from before may hold chunks that had gone by then, so it is not served.
 * The scores are those that FTS5's postings give, to the bit.
 *
 * Thread-safety: safe, but for what is marked (writer) and for postings under construction.
 */
#ifndef INDEX_POSTINGS_H
#define INDEX_POSTINGS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POSTINGS_WORDS 512 /* of a collection */
#define POSTINGS_KIB 32768 /* of all, where nothing is said */
#define POSTINGS_LEAST 32  /* chunks of a word that is kept: fewer are read as fast */

struct posting {
    uint32_t chunk;
    uint16_t n, length; /* how often the chunk holds the word; its words */
};

/* Immutable once kept. */
struct postings {
    atomic_int n_users;
    uint64_t seq;  /* of the view that they were read in */
    uint64_t upto; /* all chunks that hold the word are here, up to this one */
    uint64_t gone; /* of the collection's chunks, by then */
    size_t n, room, len;
    struct posting *items; /* by chunk */
    char stem[];           /* of len bytes */
};

/* What all collections' may take together. */
struct postings_budget {
    atomic_size_t used, limit; /* bytes */
};

/* A collection's. */
struct postings_cache {
    struct postings_budget *budget; /* borrowed */
    /* (writer) writes these, before the commit that they are about, and high after it */
    atomic_uint_fast64_t end;  /* chunks with words have lower numbers */
    atomic_uint_fast64_t high; /* those with words that have been committed have this one at most, and the last commit's reach it */
    atomic_uint_fast64_t late; /* the last change that brought words to a number that was lower already */
    atomic_uint_fast64_t gone; /* chunks whose words have gone */
    pthread_mutex_t lock;      /* what follows */
    struct {
        uint64_t hash; /* of the stem, so that others need not be looked at */
        struct postings *p;
    } words[POSTINGS_WORDS]; /* the last used first; after the last p is NULL */
    uint64_t totals_seq; /* the view of the totals; 0: none */
    int64_t n_rows, n_tokens;
};

/* The search's view of the store, between those two moments. */
struct postings_view {
    uint64_t seq;  /* of the view */
    uint64_t high; /* from before it was fixed */
    uint64_t end, late, gone; /* from after that */
};

/* next_chunk: the collection's next chunks will have this number or a higher one */
void postings_init(struct postings_cache *c, struct postings_budget *budget, uint64_t next_chunk);
void postings_finish(struct postings_cache *c);
/* Gives up all that is kept, for times when memory is short. */
void postings_drop(struct postings_cache *c);

/* (writer) In the open group, whose number in the log is seq: words of chunks first … first + n - 1 come; of n chunks go. After the commit. */
void postings_come(struct postings_cache *c, uint64_t first, uint64_t n, uint64_t seq);
void postings_go(struct postings_cache *c, uint64_t n);
void postings_committed(struct postings_cache *c);

/* Around fixing a view. */
void postings_before(struct postings_cache *c, struct postings_view *v);
void postings_after(struct postings_cache *c, struct postings_view *v, uint64_t seq);

/* What is kept of a word and right in the view, where `chunks` is how many the collection has; postings_release it. NULL: nothing. */
struct postings *postings_find(struct postings_cache *c, const char *stem, size_t len, const struct postings_view *v, uint64_t chunks);
void postings_release(struct postings_cache *c, struct postings *p);

/* A word's, read in the view, room for n of them to begin with. NULL: they are too many to keep, or there is no memory. */
struct postings *postings_begin(struct postings_cache *c, const char *stem, size_t len, const struct postings_view *v, uint64_t n);
/* The next one, by chunk; *p becomes NULL where it cannot be kept. */
void postings_add(struct postings_cache *c, struct postings **p, uint64_t chunk, int64_t n, uint16_t length);
/* Keeps them, in the place of what was kept of the word and of what was used longest ago. *p is NULL then. */
void postings_keep(struct postings_cache *c, struct postings **p);

/* Gives it up, if it is kept still: it is to be read anew. */
void postings_forget(struct postings_cache *c, const struct postings *p);

/* Rows and words of the collection in a view; false: not known. */
bool postings_totals(struct postings_cache *c, uint64_t seq, int64_t *n_rows, int64_t *n_tokens);
void postings_set_totals(struct postings_cache *c, uint64_t seq, int64_t n_rows, int64_t n_tokens);

#endif
