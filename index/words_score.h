/* BM25 over FTS5's postings: which chunks hold a question's words, and how well.
 *
 * FTS5's own bm25() is not used: it costs seven times as much for each posting (the chunk's length is a row of its
 * own), and it gives words in more than half of the chunks no weight at all. Here the lengths are kept in memory once
 * seen, the weight of a word in n of N chunks is ln(1 + (N - n + 0.5) / (n + 0.5)), k1 and b are Anserini's
 * 0.9 and 0.4, and a word that the question repeats counts as often.
 *
 * Words' postings are kept between searches (postings.h), and FTS5 asked for what is not; words_sum.h adds up what they give.
 *
 * Words are read from the rarest on. The common ones (words.h) score the chunks that the others found and find none
 * themselves. Reading ends when a budget of postings is used up, but not before there are enough candidates.
 */
#ifndef INDEX_WORDS_SCORE_H
#define INDEX_WORDS_SCORE_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "index/fuse.h"
#include "index/postings.h"
#include "index/words.h"
#include "index/words_sum.h"

struct allowed;

#define WORDS_K1 0.9f

/* Words of each chunk of a collection, filled as they are met; a chunk's text never changes and its number is never
 * used again, so nothing ever has to be forgotten. Thread-safety: safe, without locks. */
#define LENGTHS_TOP 1024u
#define LENGTHS_LEAF 4096u
struct words_lengths {
    _Atomic(void *) top[LENGTHS_TOP]; /* a tree of two levels above 4,096 lengths each */
};
void words_lengths_finish(struct words_lengths *l);

/* One searcher's memory. Thread-safety: unsafe. */
struct words_scorer {
    struct words_lengths *lengths; /* of the collection in work */
    int64_t n_tokens, n_rows;      /* of it in the view; n_rows 0: not read yet */
    struct words_sum sum;          /* candidates */
    struct words_list lists[WORDS_MAX];
    size_t n_lists;
    bool cut;                      /* words were left out because there were enough candidates */
};
/* Makes the function posting(words_N) known to db, which the statements below use. */
int words_scorer_open(struct words_scorer *w, sqlite3 *db, struct err_msg *em);
void words_scorer_finish(struct words_scorer *w);

/* What goes into one scoring. */
struct words_run {
    const struct words_question *question;
    sqlite3_stmt *match;           /* WORDS_MATCH_SQL for the collection */
    struct words_lengths *lengths;
    struct postings_cache *postings;
    struct postings_view view;
    uint64_t chunks;               /* of the collection */
    const struct allowed *allowed; /* NULL: all chunks */
    size_t want;                   /* candidates that are enough */
    uint64_t deadline_ns;          /* 0: none */
};
/* The statement, with the number of the collection three times. */
#define WORDS_MATCH_SQL                                                                            \
    "SELECT rowid, posting(words_%lld) FROM words_%lld WHERE words_%lld MATCH ?1"                  \
    " AND rowid BETWEEN ?2 AND ?3"

/* Scores all chunks that hold one of the question's words. Errors: LT_ETIMEOUT, LT_EIO, LT_ENOMEM. */
int words_score(struct words_scorer *w, const struct words_run *run, struct err_msg *em);
/* The best of them into t; *n: how many there are in all. */
void words_best(const struct words_scorer *w, struct topk *t, size_t *n);

#endif
