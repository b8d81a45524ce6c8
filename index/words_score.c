#include "index/words_score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "index/allowed.h"
#include "index/sql.h"

#define B 0.4f
#define POSTINGS_BUDGET 60000 /* about 6 ms where FTS5 has to be asked for all */
#define POSTINGS_WORDS_MIN 2  /* read whatever they cost */
#define TAIL_SHARE 8 /* of a word's postings that are kept: where more have come since, all are read anew the next time */

/* ---- lengths ---------------------------------------------------------------- */

struct branch {
    _Atomic(void *) leaves[LENGTHS_LEAF];
};
struct leaf {
    _Atomic uint16_t length[LENGTHS_LEAF]; /* 0: not known */
};

/* Allocated on the way; two threads may do so at once, one of them wins. */
static void *child(_Atomic(void *) *at, size_t size)
{
    void *p = atomic_load_explicit(at, memory_order_acquire), *none = NULL;
    if (p)
        return p;
    if (!(p = calloc(1, size)))
        return NULL;
    if (atomic_compare_exchange_strong(at, &none, p))
        return p;
    free(p);
    return none;
}

/* NULL: no memory, or a chunk beyond what is kept. */
static _Atomic uint16_t *length_of(struct words_lengths *l, uint64_t chunk)
{
    uint64_t top = chunk / LENGTHS_LEAF / LENGTHS_LEAF;
    if (top >= LENGTHS_TOP)
        return NULL;
    struct branch *branch = child(&l->top[top], sizeof *branch);
    struct leaf *leaf = branch ? child(&branch->leaves[chunk / LENGTHS_LEAF % LENGTHS_LEAF], sizeof *leaf) : NULL;
    return leaf ? &leaf->length[chunk % LENGTHS_LEAF] : NULL;
}

void words_lengths_finish(struct words_lengths *l)
{
    for (size_t i = 0; i < LENGTHS_TOP; i++) {
        struct branch *branch = atomic_load(&l->top[i]);
        for (size_t j = 0; branch && j < LENGTHS_LEAF; j++)
            free(atomic_load(&branch->leaves[j]));
        free(branch);
        atomic_store(&l->top[i], NULL);
    }
}

/* posting(words_N): how often the row holds the word, and the row's length below it. */
static void posting(const Fts5ExtensionApi *api, Fts5Context *fts, sqlite3_context *ctx, int n_args,
                    sqlite3_value **args)
{
    struct words_scorer *w = api->xUserData(fts);
    Fts5PhraseIter it;
    int column, offset, rc;
    int64_t n = 0;
    (void)n_args;
    (void)args;
    if (!w->n_rows && ((rc = api->xRowCount(fts, (sqlite3_int64 *)&w->n_rows)) != SQLITE_OK ||
                       (rc = api->xColumnTotalSize(fts, -1, (sqlite3_int64 *)&w->n_tokens)) != SQLITE_OK))
        goto fail;
    if ((rc = api->xPhraseFirst(fts, 0, &it, &column, &offset)) != SQLITE_OK)
        goto fail;
    for (; column >= 0; api->xPhraseNext(fts, &it, &column, &offset))
        n++;
    _Atomic uint16_t *known = length_of(w->lengths, (uint64_t)api->xRowid(fts));
    int length = known ? atomic_load_explicit(known, memory_order_relaxed) : 0;
    if (!length) {
        if ((rc = api->xColumnSize(fts, -1, &length)) != SQLITE_OK)
            goto fail;
        length = length < 1 ? 1 : length > UINT16_MAX ? UINT16_MAX : length;
        if (known)
            atomic_store_explicit(known, (uint16_t)length, memory_order_relaxed);
    }
    sqlite3_result_int64(ctx, n << 16 | length);
    return;
fail:
    sqlite3_result_error_code(ctx, rc);
}

/* ---- scores ----------------------------------------------------------------- */

int words_scorer_open(struct words_scorer *w, sqlite3 *db, struct err_msg *em)
{
    fts5_api *api = NULL;
    int r = words_fts5_api(db, &api, em);
    if (r < 0)
        return r;
    int rc = api->xCreateFunction(api, "posting", w, posting, NULL);
    return rc == SQLITE_OK ? 0 : sql_error(db, rc, "posting", em);
}

void words_scorer_finish(struct words_scorer *w)
{
    words_sum_finish(&w->sum);
}

static int no_memory(struct err_msg *em)
{
    return err_set(em, LT_ENOMEM, "no memory for the question's words");
}

static int timed_out(struct err_msg *em)
{
    return err_set(em, LT_ETIMEOUT, "deadline passed during the search");
}

/* quoted: as long as the statement is in use */
static void bind_match(const struct words_run *run, const struct word *word, char quoted[static WORDS_QUOTED_MAX], uint64_t from, uint64_t to)
{
    const size_t len = words_quote(run->question, word, quoted);
    sql_bind(run->match, "tii", quoted, len, (int64_t)from, (int64_t)to);
}

/* FTS5's postings of the word, of chunks from `from` on, go to the list, and to *keep where that is not NULL. */
static int read_postings(const struct words_run *run, const struct word *word, uint64_t from, struct words_list *l, struct postings **keep,
                         struct err_msg *em)
{
    int r;
    char quoted[WORDS_QUOTED_MAX];
    const struct allowed *a = run->allowed;
    bind_match(run, word, quoted, a && a->base > from ? a->base : from, a ? a->base + a->n_bits : INT64_MAX);
    while ((r = sql_step(run->match, em)) > 0) {
        const uint64_t chunk = (uint64_t)sqlite3_column_int64(run->match, 0);
        const int64_t posting = sqlite3_column_int64(run->match, 1), n = posting >> 16;
        postings_add(run->postings, keep, chunk, n, (uint16_t)(posting & UINT16_MAX));
        if (words_list_add(l, chunk, (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX), (uint16_t)(posting & UINT16_MAX)) < 0)
            r = no_memory(em);
        else if (l->n_read % 1024 == 0 && run->deadline_ns && clock_ns() > run->deadline_ns)
            r = timed_out(em);
        if (r < 0)
            break;
    }
    sqlite3_reset(run->match);
    return r;
}

/* Rows and words of the collection, which any posting tells. */
static int read_totals(struct words_scorer *w, const struct words_run *run, const struct word *word, struct err_msg *em)
{
    if (w->n_rows || postings_totals(run->postings, run->view.seq, &w->n_rows, &w->n_tokens))
        return 0;
    char quoted[WORDS_QUOTED_MAX];
    bind_match(run, word, quoted, 0, INT64_MAX);
    const int r = sql_step(run->match, em);
    sqlite3_reset(run->match);
    return r < 0 ? r : 0;
}

static void weigh(const struct words_scorer *w, const struct word *word, struct words_list *l)
{
    double total = (double)(w->n_rows > 0 ? w->n_rows : 1), n = (double)word->n;
    n = n < total ? n : total;
    l->weight = (float)((double)word->count * log(1 + (total - n + 0.5) / (n + 0.5)));
    l->flat = WORDS_K1 * (1 - B);
    l->slope = (float)(WORDS_K1 * B * total / (w->n_tokens > 0 ? (double)w->n_tokens : 1));
}

/* One word's list: the postings that are kept, and what FTS5 has beside them. */
static int list_word(struct words_scorer *w, const struct words_run *run, const struct word *word, struct err_msg *em)
{
    struct words_list *l = &w->lists[w->n_lists++];
    struct postings *kept = postings_find(run->postings, word->stem, word->len, &run->view, run->chunks), *keep = NULL;
    const uint64_t from = kept ? kept->upto + 1 : 0;
    int r = 0;
    *l = (struct words_list){.kept = kept, .finds = word->role == WORD_FINDS};
    if (!kept && !run->allowed && word->n >= POSTINGS_LEAST)
        keep = postings_begin(run->postings, word->stem, word->len, &run->view, word->n);
    if (from < run->view.end)
        r = read_postings(run, word, from, l, &keep, em);
    if (r < 0)
        postings_release(run->postings, keep);
    else
        postings_keep(run->postings, &keep);
    if (kept && l->n_read > kept->n / TAIL_SHARE + POSTINGS_LEAST)
        postings_forget(run->postings, kept);
    if (r == 0 && (r = read_totals(w, run, word, em)) == 0)
        weigh(w, word, l);
    return r;
}

/* The words that find, from the rarest on, as far as need be, and then those that score. */
static int list_words(struct words_scorer *w, const struct words_run *run, struct err_msg *em)
{
    const struct words_question *q = run->question;
    uint64_t postings = 0;
    size_t most = 0;
    int r = 0;
    for (size_t i = 0; i < q->n && r == 0; i++) {
        if (q->words[i].role != WORD_FINDS)
            continue;
        postings += q->words[i].n;
        if (w->n_lists >= POSTINGS_WORDS_MIN && postings > POSTINGS_BUDGET && most >= run->want) {
            w->cut = true;
            break;
        }
        if ((r = list_word(w, run, &q->words[i], em)) == 0) {
            const size_t n = words_list_count(&w->lists[w->n_lists - 1], run->allowed);
            most = n > most ? n : most;
        }
    }
    for (size_t i = 0; i < q->n && r == 0 && most; i++) {
        if (q->words[i].role != WORD_SCORES)
            continue;
        postings += q->words[i].n;
        if (postings > POSTINGS_BUDGET)
            break;
        r = list_word(w, run, &q->words[i], em);
    }
    return r;
}

int words_score(struct words_scorer *w, const struct words_run *run, struct err_msg *em)
{
    w->lengths = run->lengths;
    w->n_rows = w->n_tokens = 0;
    w->cut = false;
    w->n_lists = 0;
    int r = list_words(w, run, em);
    if (r == 0 && (r = words_sum(&w->sum, w->lists, w->n_lists, run->allowed, run->deadline_ns)) < 0)
        r = r == LT_ETIMEOUT ? timed_out(em) : no_memory(em);
    if (r == 0 && w->n_rows)
        postings_set_totals(run->postings, run->view.seq, w->n_rows, w->n_tokens);
    for (size_t i = 0; i < w->n_lists; i++) {
        postings_release(run->postings, w->lists[i].kept);
        words_list_finish(&w->lists[i]);
    }
    return r;
}

void words_best(const struct words_scorer *w, struct topk *t, size_t *n)
{
    for (size_t i = 0; i < w->sum.n; i++)
        topk_push(t, w->sum.slots[i].chunk, w->sum.slots[i].score);
    *n = w->sum.n;
}
