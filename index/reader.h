/* One searcher's state; private to index/. */
#ifndef INDEX_READER_H
#define INDEX_READER_H

#include <sqlite3.h>

#include "index/store.h"

#define READER_COLLECTIONS 16

/* Statements that name a collection's own tables. */
struct reader_words {
    int64_t coll; /* 0: free */
    uint64_t used;
    sqlite3_stmt *match, *count;
};

struct index_reader {
    struct index *ix;
    sqlite3 *db;
    struct graph_scratch *scratch;
    struct words_tokenizer tokenizer;
    struct words_scorer scorer;
    struct words_question question; /* of the search in work */
    float vector[INDEX_DIM_MAX];    /* one read from the store */
    sqlite3_stmt *begin, *end, *pin, *chunk, *hit, *hit_short, *recent, *allowed, *allowed_most, *allowed_chunks, *get, *after, *job, *sampled, *rows, *waiting;
    struct reader_words words[READER_COLLECTIONS];
    uint64_t clock; /* counts uses, for words[].used */
    uint64_t seq;   /* of the view */
};

/* A read transaction whose view stays the same until reader_end; r->seq is the log's number in it. */
int reader_begin(struct index_reader *r, struct err_msg *em);
void reader_end(struct index_reader *r);

/* The statements for coll's words; NULL and em on failure. Valid until the next call. */
struct reader_words *reader_words(struct index_reader *r, int64_t coll, struct err_msg *em);

/* Memory of results: copies that live until the end. */
struct arena {
    struct arena_block *blocks;
};
char *arena_copy(struct arena *a, const void *data, size_t len);
void arena_finish(struct arena *a);

#endif
