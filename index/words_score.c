#include "index/words_score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "index/allowed.h"
#include "index/sql.h"

#define K1 0.9f
#define B 0.4f
#define POSTINGS_BUDGET 60000 /* about 6 ms */
#define POSTINGS_WORDS_MIN 2  /* read whatever they cost */
#define TAIL_SHARE 8 /* of a word's postings that are kept: where more have come since, all are read anew the next time */
#define SLOTS_MIN 4096u
#define SLOTS_KEPT 65536u /* 1 MiB; more is given back after the search */

struct words_slot {
    uint64_t chunk; /* 0: free */
    float score;
};

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
    free(w->slots);
    w->slots = NULL;
    w->size = w->n = 0;
}

static struct words_slot *slot_of(struct words_slot *slots, size_t size, uint64_t chunk)
{
    size_t h = (chunk * 0x9E3779B97F4A7C15u >> 32) & (size - 1);
    while (slots[h].chunk && slots[h].chunk != chunk)
        h = (h + 1) & (size - 1);
    return &slots[h];
}

static int clear(struct words_scorer *w)
{
    w->n = 0;
    if (w->size > SLOTS_KEPT)
        words_scorer_finish(w);
    if (!w->slots) {
        if (!(w->slots = malloc(SLOTS_MIN * sizeof *w->slots)))
            return LT_ENOMEM;
        w->size = SLOTS_MIN;
    }
    memset(w->slots, 0, w->size * sizeof *w->slots);
    return 0;
}

static int grow(struct words_scorer *w)
{
    size_t size = w->size * 2;
    struct words_slot *slots = calloc(size, sizeof *slots);
    if (!slots)
        return LT_ENOMEM;
    for (size_t i = 0; i < w->size; i++)
        if (w->slots[i].chunk)
            *slot_of(slots, size, w->slots[i].chunk) = w->slots[i];
    free(w->slots);
    w->slots = slots;
    w->size = size;
    return 0;
}

static int add_score(struct words_scorer *w, uint64_t chunk, float score, bool finds)
{
    struct words_slot *s = slot_of(w->slots, w->size, chunk);
    if (!s->chunk) {
        if (!finds)
            return 0;
        *s = (struct words_slot){chunk, score};
        return ++w->n * 2 > w->size ? grow(w) : 0;
    }
    s->score += score;
    return 0;
}

/* One word on its way into the scores. */
struct scoring {
    const struct words_run *run;
    const struct word *word;
    bool finds;
    float weight, flat, slope; /* of a posting's score */
};

static void weigh(const struct words_scorer *w, struct scoring *s)
{
    double total = (double)(w->n_rows > 0 ? w->n_rows : 1), n = (double)s->word->n;
    n = n < total ? n : total;
    s->weight = (float)((double)s->word->count * log(1 + (total - n + 0.5) / (n + 0.5)));
    s->flat = K1 * (1 - B);
    s->slope = (float)(K1 * B * total / (w->n_tokens > 0 ? (double)w->n_tokens : 1));
}

static int score_posting(struct words_scorer *w, const struct scoring *s, uint64_t chunk, float tf, float length)
{
    const struct allowed *a = s->run->allowed;
    if (a && !allowed_has(a, chunk))
        return 0;
    return add_score(w, chunk, s->weight * tf * (K1 + 1) / (tf + s->flat + s->slope * length), s->finds);
}

static bool late(const struct words_run *run)
{
    return run->deadline_ns && clock_ns() > run->deadline_ns;
}

/* FTS5's postings of the word, of chunks from `from` on; *n: how many. They are added to *keep where that is not NULL. */
static int score_read(struct words_scorer *w, struct scoring *s, uint64_t from, struct postings **keep, size_t *n, struct err_msg *em)
{
    int r;
    char quoted[2 * WORDS_SPAN_MAX + 3];
    const struct words_run *run = s->run;
    const struct allowed *a = run->allowed;
    const size_t len = words_quote(run->question, s->word, quoted);
    sql_bind(run->match, "tii", quoted, len, (int64_t)(a && a->base > from ? a->base : from), a ? (int64_t)(a->base + a->n_bits) : INT64_MAX);
    for (*n = 0; (r = sql_step(run->match, em)) > 0;) {
        const uint64_t chunk = (uint64_t)sqlite3_column_int64(run->match, 0);
        const int64_t posting = sqlite3_column_int64(run->match, 1);
        if (++*n == 1)
            weigh(w, s);
        if (*n % 1024 == 0 && late(run)) {
            r = err_set(em, LT_ETIMEOUT, "deadline passed during the search");
            break;
        }
        postings_add(run->postings, keep, chunk, posting >> 16, (uint16_t)(posting & UINT16_MAX));
        if ((r = score_posting(w, s, chunk, (float)(posting >> 16), (float)(posting & UINT16_MAX))) < 0) {
            err_set(em, r, "no memory for the question's words");
            break;
        }
    }
    sqlite3_reset(run->match);
    return r;
}

/* Rows and words of the collection, which its first posting tells. */
static int read_totals(struct words_scorer *w, const struct scoring *s, struct err_msg *em)
{
    char quoted[2 * WORDS_SPAN_MAX + 3];
    const struct words_run *run = s->run;
    if (w->n_rows || postings_totals(run->postings, run->view.seq, &w->n_rows, &w->n_tokens))
        return 0;
    sql_bind(run->match, "tii", quoted, words_quote(run->question, s->word, quoted), (int64_t)0, INT64_MAX);
    const int r = sql_step(run->match, em);
    sqlite3_reset(run->match);
    return r < 0 ? r : 0;
}

static int score_kept(struct words_scorer *w, struct scoring *s, const struct postings *kept, struct err_msg *em)
{
    int r = read_totals(w, s, em);
    if (r < 0)
        return r;
    weigh(w, s);
    for (size_t i = 0; i < kept->n && r == 0; i++)
        r = score_posting(w, s, kept->items[i].chunk, kept->items[i].n, kept->items[i].length);
    return r < 0 ? err_set(em, r, "no memory for the question's words") : late(s->run) ? err_set(em, LT_ETIMEOUT, "deadline passed during the search") : 0;
}

/* One word's postings: those that are kept, and what FTS5 has beside them. */
static int score_word(struct words_scorer *w, const struct words_run *run, const struct word *word, bool finds, struct err_msg *em)
{
    int r = 0;
    size_t n = 0;
    struct scoring s = {.run = run, .word = word, .finds = finds};
    struct postings *kept = postings_find(run->postings, word->stem, word->len, &run->view, run->chunks), *keep = NULL;
    const size_t n_kept = kept ? kept->n : 0;
    const uint64_t from = kept ? kept->upto + 1 : 0;
    if (kept)
        r = score_kept(w, &s, kept, em);
    else if (!run->allowed && word->n >= POSTINGS_LEAST)
        keep = postings_begin(run->postings, word->stem, word->len, &run->view, word->n);
    if (r == 0 && from < run->view.end)
        r = score_read(w, &s, from, &keep, &n, em);
    if (r < 0)
        postings_release(run->postings, keep);
    else
        postings_keep(run->postings, &keep);
    if (kept && n > n_kept / TAIL_SHARE + POSTINGS_LEAST)
        postings_forget(run->postings, kept);
    postings_release(run->postings, kept);
    return r;
}

int words_score(struct words_scorer *w, const struct words_run *run, struct err_msg *em)
{
    int r = 0, n_read = 0;
    uint64_t postings = 0;
    const struct words_question *q = run->question;
    if (clear(w) < 0)
        return err_set(em, LT_ENOMEM, "no memory for the question's words");
    w->lengths = run->lengths;
    w->n_rows = w->n_tokens = 0;
    w->cut = false;
    for (size_t i = 0; i < q->n && r == 0; i++) {
        if (q->words[i].role != WORD_FINDS)
            continue;
        postings += q->words[i].n;
        if (n_read++ >= POSTINGS_WORDS_MIN && postings > POSTINGS_BUDGET && w->n >= run->want) {
            w->cut = true;
            break;
        }
        r = score_word(w, run, &q->words[i], true, em);
    }
    for (size_t i = 0; i < q->n && r == 0 && w->n; i++) {
        if (q->words[i].role != WORD_SCORES)
            continue;
        postings += q->words[i].n;
        if (postings > POSTINGS_BUDGET)
            break;
        r = score_word(w, run, &q->words[i], false, em);
    }
    if (r == 0 && w->n_rows)
        postings_set_totals(run->postings, run->view.seq, w->n_rows, w->n_tokens);
    return r;
}

void words_best(const struct words_scorer *w, struct topk *t, size_t *n)
{
    for (size_t i = 0; i < w->size; i++)
        if (w->slots[i].chunk)
            topk_push(t, w->slots[i].chunk, w->slots[i].score);
    *n = w->n;
}
