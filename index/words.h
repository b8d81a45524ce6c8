/* The word side of a search: from a question to the words to look up.
 *
 * The question's words are cut by the same tokenizer as the texts. Function words of English are left out unless there
 * is nothing else. Words in more than a tenth of the chunks find nothing by themselves, again unless there is nothing
 * else; they do count in the score of what the others find, without which long questions lose a good deal.
 */
#ifndef INDEX_WORDS_H
#define INDEX_WORDS_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define WORDS_CACHE_SIZE 2048

/* How many chunks hold a word, as of some moment. Thread-safety: safe. */
struct words_cache {
    pthread_mutex_t lock;
    struct {
        uint64_t hash; /* of the stem; 0: free */
        uint64_t n;    /* chunks that hold it */
        uint64_t turnover; /* the collection's then */
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

#define WORDS_MAX 256     /* of a question; later ones are not looked at */
#define WORDS_SPAN_MAX 256 /* bytes of a word as written; a longer one is not looked up */
#define WORDS_STEM_MAX 384 /* bytes of one in lower case and stemmed: the lower case of some letters is longer by half */

enum word_role { WORD_IDLE, WORD_FINDS, WORD_SCORES };
struct word {
    char stem[WORDS_STEM_MAX];
    size_t len;
    int start, end; /* bytes of the question, of its first occurrence */
    unsigned count; /* occurrences in the question */
    uint64_t n;     /* chunks that hold it, about */
    bool stop;
    enum word_role role;
};
struct words_question {
    const char *text; /* borrowed */
    size_t n;
    struct word words[WORDS_MAX]; /* rarest first */
};

/* Where a collection's words are counted. */
struct words_counts {
    struct words_cache *cache;
    sqlite3_stmt *count; /* gives a stem's number of chunks: SELECT doc FROM vocab_N WHERE term = ? */
    uint64_t total;      /* chunks of the collection */
    uint64_t turnover;   /* chunks that have come into the words or gone out of them: no count has changed by more since */
};

/* Cuts text into words, counts their chunks and gives them their roles.
 *
 * q         valid as long as text is
 *
 * Returns the number of words that find something; 0: there is nothing to look up. Errors: LT_EIO, LT_ENOMEM. */
int words_parse(struct words_tokenizer *t, const struct words_counts *counts, const char *text, size_t len, struct words_question *q,
                struct err_msg *em);

/* The FTS5 expression of one word; its length. */
#define WORDS_QUOTED_MAX (2 * WORDS_SPAN_MAX + 3)
size_t words_quote(const struct words_question *q, const struct word *w, char out[static WORDS_QUOTED_MAX]);

/* FTS5's own functions on db. */
int words_fts5_api(sqlite3 *db, fts5_api **api, struct err_msg *em);

#endif
