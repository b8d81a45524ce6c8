/* The word side of a search: from a question to an FTS5 expression.
 *
 * The question's words are cut by the same tokenizer as the texts, quoted and OR-ed. Words that say little are
 * left out, unless nothing else is there: function words of English, and words in more than a tenth of the
 * chunks. What is left is taken from the rarest on while the postings to read stay within a budget, so that a
 * question of any length answers in time.
 */
#ifndef INDEX_WORDS_H
#define INDEX_WORDS_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

#define WORDS_CACHE_SIZE 2048

/* How many chunks hold a word, as of some count of chunks. Thread-safety: safe. */
struct words_cache {
    pthread_mutex_t lock;
    struct {
        uint64_t hash; /* of the stem; 0: free */
        uint64_t n;    /* chunks that hold it */
        uint64_t total; /* chunks there were */
    } slots[WORDS_CACHE_SIZE];
};
void words_cache_init(struct words_cache *cache);
void words_cache_finish(struct words_cache *cache);

/* The tokenizer of the word indexes, for one connection. Thread-safety: unsafe. */
struct words_tokenizer {
    const struct fts5_tokenizer *functions;
    struct fts5_tokenizer functions_memory;
    Fts5Tokenizer *instance; /* NULL: not made yet */
};
int words_tokenizer_open(struct words_tokenizer *t, sqlite3 *db, struct err_msg *em);
void words_tokenizer_close(struct words_tokenizer *t);

/* Appends the MATCH expression for text to match.
 *
 * count     a statement that gives a stem's number of chunks: SELECT doc FROM vocab_N WHERE term = ?
 * total     chunks of the collection
 *
 * Returns the number of words in the expression; 0: none, nothing to match. Errors: LT_EIO, LT_ENOMEM. */
int words_match(struct words_tokenizer *t, struct words_cache *cache, sqlite3_stmt *count, uint64_t total,
                const char *text, size_t len, struct bytes_out *match, struct err_msg *em);

#endif
