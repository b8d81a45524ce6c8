/* One search: candidates from the graph and from the words, checked against their rows, fused, filled in.
 *
 * Order matters. graph_seq is read, then the view of the store is fixed, then the graph is searched, then
 * vectors after graph_seq are compared exactly: so whatever the view holds is found. A label the view does not
 * hold means that the store moved on meanwhile; the search is then done again with a newer view, so that a
 * document being replaced is found in one of its versions. So it is when labels left the graph meanwhile: a look that takes its
 * time may pass the new version's node before that is there, and the old one's when it has gone. And so it is when the collection was dropped or
 * another came into its place: its rows may have begun to go before the view was fixed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/utf8.h"
#include "index/filter.h"
#include "index/fuse.h"
#include "index/reader.h"

#define CANDIDATES_MIN 100 /* of each side of a hybrid search */
#define WANT_MAX GRAPH_EF_MAX /* candidates of each list in the last of the rounds, each of which asks for four times as many */
#define VIEWS_MAX 8        /* a busy machine may let the store move on under several of them */
#define WEIGHT_MAX 1e6f
#define SWAPS_MAX 4        /* so many collections may come into one's place during a search */

struct search {
    struct index_reader *r;
    const struct index_query *q;
    struct collection *c;
    struct allowed *allowed; /* NULL: everything */
    uint64_t *labels;        /* the allowed ones, where an exact scan of them is cheaper */
    int n_words;             /* of the question, that find something */
    bool scored;             /* the scorer holds this view's words */
    uint64_t graph_seq;
    uint64_t n_removals; /* of the collection, before the graph was looked at */
    size_t n_want;  /* candidates of each list */
    size_t n_gone;  /* of the graph's candidates, whose row is not there */
    struct postings_view postings; /* what may be taken from the words that are kept */
    bool all_dense, all_words; /* the list holds all there is */
    bool lost;      /* the graph's files were cut short */
    bool looked, sampled; /* this search's first look at the graph was offered, was taken as a sample */
    struct graph_stats stats;
    struct topk dense, words;
    struct fusion fusion;
    struct err_msg *em;
};

static bool allow(void *arg, uint64_t label)
{
    return allowed_has(arg, label);
}

static bool late(const struct search *s)
{
    return s->q->deadline_ns && clock_ns() > s->q->deadline_ns;
}

static int timed_out(struct search *s)
{
    return err_set(s->em, LT_ETIMEOUT, "deadline passed during the search");
}

/* As the graph scores. */
static float score(enum metric metric, const float *a, const float *b, uint32_t dim)
{
    double dot = 0, aa = 0, bb = 0, apart = 0;
    for (uint32_t i = 0; metric == METRIC_L2 && i < dim; i++)
        apart += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    if (metric == METRIC_L2)
        return (float)-apart;
    for (uint32_t i = 0; i < dim; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return (float)(metric == METRIC_COSINE ? dot / sqrt(aa * bb) : dot);
}

/* The vectors that the graph does not have yet. */
static int scan_recent(struct search *s)
{
    struct index_reader *r = s->r;
    int ret = sql_prepare(r->db, &r->recent,
                          "SELECT c.chunk, v.data, t.data FROM chunks c JOIN vectors v ON v.chunk = c.chunk"
                          " LEFT JOIN vector_tails t ON t.chunk = c.chunk"
                          " WHERE c.coll = ? AND c.vseq > ? AND c.vseq > 0", /* as in store_sql.h */
                          s->em);
    if (ret < 0)
        return ret;
    sql_bind(r->recent, "ii", s->c->id, (int64_t)s->graph_seq);
    for (size_t i = 1; (ret = sql_step(r->recent, s->em)) > 0; i++) {
        uint64_t chunk = (uint64_t)sqlite3_column_int64(r->recent, 0);
        if (i % 256 == 0 && late(s)) {
            ret = timed_out(s);
            break;
        }
        if (s->allowed && !allowed_has(s->allowed, chunk))
            continue;
        const float *v = vectors_read(r->recent, 1, s->c->dim, r->vector);
        if (!v)
            continue;
        float x = score(s->c->metric, s->q->vector, v, s->c->dim);
        if (isfinite(x))
            topk_push(&s->dense, chunk, x);
    }
    sqlite3_reset(r->recent);
    return ret;
}

/* Comparing n allowed vectors costs about n; walking the graph until ef allowed ones are found about ef × links × count / n, of
 * steps that are dearer the less of them a scan takes: measured, the two meet at this factor. */
#define WALK_COST 0.7

static bool scan_is_cheaper(const struct search *s, uint32_t ef)
{
    double n = (double)s->allowed->n, total = (double)graph_count(s->c->graph);
    return n <= 2000 || n * n <= WALK_COST * ef * s->c->m * total;
}

static int search_dense(struct search *s)
{
    int ret;
    size_t n = 0;
    uint32_t want = (uint32_t)s->n_want, ef = s->q->ef;
    if (!ef)
        ef = want * 2 > 96 ? want * 2 : 96;
    if (s->q->mode == INDEX_HYBRID && !s->q->ef)
        ef = want > 128 ? want : 128; /* ranks far down weigh little in the fusion */
    ef = ef < want ? want : ef;
    struct graph_query gq = {.v = s->q->vector, .k = want, .ef = ef < GRAPH_EF_MAX ? ef : GRAPH_EF_MAX, .exact = s->q->exact};
    if (s->allowed) {
        gq.allow = allow;
        gq.allow_arg = s->allowed;
        if (scan_is_cheaper(s, gq.ef)) {
            if (!s->labels) {
                if (!(s->labels = malloc((s->allowed->n + 1) * sizeof *s->labels)))
                    return err_set(s->em, LT_ENOMEM, "no memory for a filter");
                allowed_list(s->allowed, s->labels);
            }
            gq.labels = s->labels;
            gq.n_labels = s->allowed->n;
        }
    }
    struct graph_hit *hits = malloc((want + 1) * sizeof *hits);
    if (!hits)
        return err_set(s->em, LT_ENOMEM, "no memory for %u candidates", want);
    ret = graph_search(s->c->graph, s->r->scratch, &gq, hits, &n, &s->stats);
    if (graph_lost(s->c->graph)) {
        /* Until it is rebuilt, every vector of the store is compared. */
        s->graph_seq = 0;
        s->stats.exact = s->lost = true;
        ret = 0;
        n = 0;
    }
    if (ret < 0)
        err_set(s->em, ret, "search: %s", err_text(ret));
    if (ret == 0 && !s->stats.exact && !s->looked) {
        uint32_t k = s->q->k ? s->q->k : INDEX_K_DEFAULT;
        struct sample_offer o = {.c = s->c, .v = s->q->vector, .allowed = s->allowed, .hits = hits, .n = n < k ? n : k,
                                 .graph_seq = s->graph_seq};
        s->looked = true;
        s->sampled = samples_offer(&s->r->ix->samples, &o);
    }
    for (size_t i = 0; ret == 0 && i < n; i++)
        topk_push(&s->dense, hits[i].label, hits[i].score);
    free(hits);
    if (ret < 0 || (ret = scan_recent(s)) < 0)
        return ret;
    s->all_dense = n < want && s->dense.n < want; /* what is recent may have filled the list by itself */
    return 0;
}

/* Gives each candidate its key and drops those without a live row, *n_gone of them. */
static int resolve(struct search *s, struct topk *t, size_t *n_gone)
{
    size_t m = 0;
    struct index_reader *r = s->r;
    int ret = sql_prepare(r->db, &r->chunk, "SELECT doc, coll FROM chunks WHERE chunk = ? AND vseq > 0", s->em);
    topk_sort(t);
    for (size_t i = 0; ret >= 0 && i < t->n; i++) {
        sql_bind(r->chunk, "i", (int64_t)t->items[i].chunk);
        if ((ret = sql_step(r->chunk, s->em)) < 0)
            return ret;
        if (ret == 0 || sqlite3_column_int64(r->chunk, 1) != s->c->id) {
            ++*n_gone;
            continue;
        }
        t->items[m] = t->items[i];
        t->items[m++].key = s->q->chunks ? t->items[i].chunk : (uint64_t)sqlite3_column_int64(r->chunk, 0);
    }
    if (r->chunk)
        sqlite3_reset(r->chunk);
    t->n = m;
    return ret < 0 ? ret : 0;
}

static int score_words(struct search *s)
{
    struct index_reader *r = s->r;
    struct reader_words *w = reader_words(r, s->c->id, s->em);
    if (!w)
        return LT_EIO;
    struct words_run run = {.question = &r->question, .match = w->match, .lengths = &s->c->lengths,
                            .postings = &s->c->postings, .view = s->postings, .chunks = (uint64_t)atomic_load(&s->c->chunks),
                            .allowed = s->allowed, .want = s->n_want, .deadline_ns = s->q->deadline_ns};
    return words_score(&r->scorer, &run, s->em);
}

/* The best of those with a row: what is kept of words may hold chunks that have gone, so that more have to be looked at. */
static int search_words(struct search *s)
{
    size_t n, n_gone = 0, want = s->n_want;
    const struct words_scorer *scorer = &s->r->scorer;
    bool anew = false;
    int ret;
    for (;;) {
        /* A later round may want more candidates than were enough for the first. */
        if ((!s->scored || (scorer->cut && scorer->sum.n < s->n_want)) && (ret = score_words(s)) < 0)
            return ret;
        s->scored = true;
        if (topk_init(&s->words, want) < 0)
            return err_set(s->em, LT_ENOMEM, "no memory for %zu candidates", want);
        n_gone = 0;
        words_best(scorer, &s->words, &n);
        if ((ret = resolve(s, &s->words, &n_gone)) < 0 || n <= want || s->words.n >= s->n_want)
            break;
        topk_finish(&s->words);
        want = s->n_want + 2 * n_gone;
        if (n_gone > s->n_want && !anew) { /* cheaper read anew than looked up one by one, now and in every search to come */
            postings_drop(&s->c->postings);
            s->scored = false;
            anew = true;
        }
    }
    s->all_words = n <= want && s->words.n <= s->n_want && !scorer->cut;
    s->words.n = s->words.n < s->n_want ? s->words.n : s->n_want;
    return ret;
}

/* One round: both lists from one view of the store. *out is malloc'ed, *n of it in order. */
static int round_once(struct search *s, enum index_mode mode, struct ranked **out, size_t *n)
{
    int ret = 0;
    s->n_gone = 0;
    s->all_dense = s->all_words = true;
    *out = NULL;
    *n = 0;
    s->dense = s->words = (struct topk){0};
    if (topk_init(&s->dense, s->n_want) < 0) {
        ret = err_set(s->em, LT_ENOMEM, "no memory for %zu candidates", s->n_want);
        goto out;
    }
    if (mode != INDEX_TEXT && ((ret = search_dense(s)) < 0 || (ret = resolve(s, &s->dense, &s->n_gone)) < 0))
        goto out;
    if (mode != INDEX_DENSE && (ret = search_words(s)) < 0)
        goto out;
    /* chunks without any of the words would have the score 0 */
    s->fusion.n_all[1] = s->allowed ? s->allowed->n : (size_t)atomic_load(&s->c->chunks);
    const struct topk *lists[2] = {mode != INDEX_TEXT ? &s->dense : NULL, mode != INDEX_DENSE ? &s->words : NULL};
    if (!(*out = malloc((s->dense.n + s->words.n + 1) * sizeof **out)) || (ret = fuse(lists, &s->fusion, *out)) < 0) {
        ret = err_set(s->em, LT_ENOMEM, "no memory for the hits");
        goto out;
    }
    *n = (size_t)ret;
    ret = 0;
out:
    topk_finish(&s->dense);
    topk_finish(&s->words);
    if (ret < 0) {
        free(*out);
        *out = NULL;
    }
    return ret;
}

/* Fixes the view and makes what depends on it. */
static int open_view(struct search *s)
{
    int ret = 0;
    free(s->labels);
    s->labels = NULL;
    allowed_release(s->allowed);
    s->allowed = NULL;
    s->scored = false;
    do {
        reader_end(s->r);
        s->graph_seq = atomic_load(&s->c->graph_seq);
        s->n_removals = atomic_load(&s->c->n_removals);
        const uint64_t n_erased = (uint64_t)atomic_load(&s->c->erased);
        postings_before(&s->c->postings, &s->postings);
        if ((ret = reader_begin(s->r, s->em)) < 0)
            return ret;
        postings_after(&s->c->postings, &s->postings, s->r->seq);
        const bool filtered = s->q->filter && *s->q->filter, most = filtered && collection_has_most(s->r->ix, s->c);
        const struct allowed_view v = {.db = s->r->db, .rows = most ? &s->r->allowed_most : &s->r->allowed, .chunks = &s->r->allowed_chunks,
                                       .coll = s->c->id, .most = most, .seq = s->r->seq, .n_erased = n_erased, .deadline_ns = s->q->deadline_ns};
        if (filtered)
            ret = allowed_get(&s->c->allowed, &v, s->q->filter, &s->allowed, s->em);
        if (ret > 0 && late(s))
            ret = timed_out(s);
    } while (ret > 0); /* another search has looked at a newer view since this one was fixed */
    return ret;
}

/* Candidates until there are k groups, or no more. */
static int collect(struct search *s, enum index_mode mode, uint32_t k, struct ranked **hits, size_t *n)
{
    int n_views = 1, ret = open_view(s);
    while (ret == 0 && (ret = round_once(s, mode, hits, n)) == 0) {
        bool moved = mode != INDEX_TEXT && atomic_load(&s->c->n_removals) != s->n_removals;
        bool again = (s->n_gone || moved) && n_views < VIEWS_MAX;
        if (!again && (*n >= k || (s->all_dense && s->all_words) || s->n_want >= WANT_MAX))
            break;
        if (late(s)) {
            ret = timed_out(s);
            break;
        }
        free(*hits);
        *hits = NULL;
        if (again) {
            n_views++;
            ret = open_view(s);
        } else {
            s->n_want = s->n_want * 4 < WANT_MAX ? s->n_want * 4 : WANT_MAX;
        }
    }
    return ret;
}

static int fill_hit(struct search *s, const struct ranked *x, struct arena *memory, struct index_hit *h)
{
    struct index_reader *r = s->r;
    bool no_text = s->q->no_text;
    sqlite3_stmt **st = no_text ? &r->hit_short : &r->hit;
    int ret = sql_prepare(r->db, st,
                          no_text ? "SELECT c.number, c.start, c.end, d.id FROM chunks c"
                                    " JOIN documents d ON d.doc = c.doc WHERE c.chunk = ?"
                                  : "SELECT c.number, c.start, c.end, d.id, d.title, d.metadata,"
                                    " substr(t.text, c.start + 1, c.end - c.start) FROM chunks c"
                                    " JOIN documents d ON d.doc = c.doc JOIN texts t ON t.doc = c.doc"
                                    " WHERE c.chunk = ?",
                          s->em);
    if (ret < 0)
        return ret;
    sql_bind(*st, "i", (int64_t)x->chunk);
    if ((ret = sql_step(*st, s->em)) <= 0)
        return ret < 0 ? ret : err_set(s->em, LT_ECORRUPT, "chunk %llu has no document", (unsigned long long)x->chunk);
    h->chunk = (uint32_t)sqlite3_column_int64(*st, 0);
    h->start = (uint32_t)sqlite3_column_int64(*st, 1);
    h->end = (uint32_t)sqlite3_column_int64(*st, 2);
    h->score = x->score;
    h->id_len = (size_t)sqlite3_column_bytes(*st, 3);
    h->id = arena_copy(memory, sqlite3_column_blob(*st, 3), h->id_len);
    h->title = h->text = h->metadata = "";
    if (!no_text) {
        h->title_len = (size_t)sqlite3_column_bytes(*st, 4);
        h->title = arena_copy(memory, sqlite3_column_blob(*st, 4), h->title_len);
        h->metadata_len = (size_t)sqlite3_column_bytes(*st, 5);
        h->metadata = arena_copy(memory, sqlite3_column_blob(*st, 5), h->metadata_len);
        h->text_len = (size_t)sqlite3_column_bytes(*st, 6);
        h->text = arena_copy(memory, sqlite3_column_blob(*st, 6), h->text_len);
    }
    sqlite3_reset(*st);
    if (!h->id || !h->title || !h->text || !h->metadata)
        return err_set(s->em, LT_ENOMEM, "no memory for the hits");
    return 0;
}

static int fill(struct search *s, const struct ranked *hits, size_t n, struct index_result *res)
{
    int ret = 0;
    struct arena memory = {0};
    if (!(res->hits = calloc(n ? n : 1, sizeof *res->hits)))
        return err_set(s->em, LT_ENOMEM, "no memory for the hits");
    for (size_t i = 0; ret == 0 && i < n; i++)
        if ((ret = fill_hit(s, &hits[i], &memory, &res->hits[i])) == 0)
            res->n++;
    res->memory = memory.blocks;
    return ret;
}

static int check_query(const struct search *s, enum index_mode *mode)
{
    const struct index_query *q = s->q;
    const struct collection *c = s->c;
    struct err_msg *em = s->em;
    if (q->k > INDEX_K_MAX)
        return err_set(em, LT_ELIMIT, "k %u: at most %u", q->k, INDEX_K_MAX);
    if (q->ef > GRAPH_EF_MAX)
        return err_set(em, LT_ELIMIT, "ef %u: at most %u", q->ef, GRAPH_EF_MAX);
    if ((unsigned)q->mode > INDEX_TEXT)
        return err_set(em, LT_EINVAL, "unknown search mode %d", (int)q->mode);
    if (!(q->dense_weight >= 0 && q->dense_weight <= WEIGHT_MAX && q->text_weight >= 0 && q->text_weight <= WEIGHT_MAX))
        return err_set(em, LT_EINVAL, "weights %g and %g: numbers from 0 to %g", (double)q->dense_weight,
                       (double)q->text_weight, (double)WEIGHT_MAX);
    if ((unsigned)q->fusion > INDEX_FUSION_SCORE)
        return err_set(em, LT_EINVAL, "unknown fusion %d", (int)q->fusion);
    if (q->text_len) {
        size_t at = utf8_check(q->text, q->text_len);
        if (at != UTF8_VALID)
            return err_set(em, LT_EUTF8, "query: not valid UTF-8 at byte %zu", at);
    }
    *mode = q->mode;
    if (q->mode == INDEX_HYBRID && !q->text_len)
        *mode = INDEX_DENSE;
    else if (q->mode == INDEX_HYBRID && !q->vector)
        *mode = INDEX_TEXT;
    if (*mode == INDEX_TEXT)
        return q->text_len ? 0 : err_set(em, LT_EEMPTY, "a text search without text");
    if (!q->vector)
        return err_set(em, LT_EEMPTY, "a search by meaning without a vector");
    if (q->fingerprint && strcmp(q->fingerprint, c->fingerprint) != 0) {
        if (c->vectors_only)
            return err_set(em, LT_EUNSUPPORTED, "collection %s has the clients' vectors: search it with one", q->collection);
        return err_set(em, LT_EMODEL, "collection %s was made with model %.16s…, not %.16s…", q->collection,
                       c->fingerprint, q->fingerprint);
    }
    if (q->dim != c->dim)
        return err_set(em, LT_EDIM, "vector of %u dimensions, collection %s has %u", q->dim, q->collection, c->dim);
    struct err_msg what;
    int r = vectors_check(q->vector, q->dim, c->metric, &what);
    return r < 0 ? err_set(em, r, "query: %s", what.text) : 0;
}

/* Where nothing else reads it: a filter is right or wrong whatever words there are. */
static int check_filter(const struct search *s)
{
    struct filter *f = NULL;
    const char *expr = s->q->filter;
    const int ret = expr && *expr ? filter_parse(&f, expr, strlen(expr), s->em) : 0;
    filter_destroy(&f);
    return ret;
}

/* Are there chunks without a vector in this view? A number, 0 or 1. */
static int is_waited_for(struct search *s)
{
    struct index_reader *r = s->r;
    int64_t n = 0;
    int ret = sql_prepare(r->db, &r->waiting, "SELECT pending FROM collections WHERE coll = ?", s->em);
    if (ret < 0)
        return ret;
    sql_bind(r->waiting, "i", s->c->id);
    ret = sql_int(r->waiting, 0, &n, s->em);
    return ret < 0 ? ret : n > 0;
}

/* From the view that the hits are of. Lists that are not complete have more to give: chunks of few documents filled them. */
static int why_short(struct search *s, enum index_mode mode, enum index_short *why)
{
    if ((mode != INDEX_TEXT && s->stats.why == GRAPH_SHORT_BUDGET) || !s->all_dense || !s->all_words) {
        *why = INDEX_SHORT_BUDGET;
        return 0;
    }
    const int waited_for = is_waited_for(s);
    *why = waited_for ? INDEX_SHORT_PENDING : s->allowed ? INDEX_SHORT_FILTER : INDEX_SHORT_EXHAUSTED;
    return waited_for < 0 ? waited_for : 0;
}

/* The question's words; hybrid without any becomes dense. In a view, which open_view ends: FTS5 opens a table by statements of its own, and
 * these fail where a collection is made or dropped between them and the one that they are for. */
static int prepare_words(struct search *s, enum index_mode *mode)
{
    if (*mode == INDEX_DENSE)
        return 0;
    const int ret = reader_begin(s->r, s->em);
    if (ret < 0)
        return ret;
    struct reader_words *w = reader_words(s->r, s->c->id, s->em);
    if (!w)
        return LT_EIO;
    const struct words_counts counts = {&s->c->words, w->count, (uint64_t)atomic_load(&s->c->chunks),
                                        (uint64_t)atomic_load(&s->c->turnover)};
    s->n_words = words_parse(&s->r->tokenizer, &counts, s->q->text, s->q->text_len, &s->r->question, s->em);
    if (s->n_words == 0 && *mode == INDEX_HYBRID)
        *mode = INDEX_DENSE;
    return s->n_words < 0 ? s->n_words : 0;
}

static size_t first_want(const struct index_query *q, enum index_mode mode, uint32_t k, bool degraded)
{
    if (mode == INDEX_HYBRID)
        return k * 4 > CANDIDATES_MIN ? k * 4 : CANDIDATES_MIN;
    const size_t want = q->chunks ? k + 4 : k + k / 2 + 8; /* some for those that share a document or are gone */
    return degraded && !q->chunks ? want * 4 : want;        /* where another round reads all vectors again */
}

/* *gone: the collection went while it was searched, perhaps with some of its rows, and its name may be another's now. */
static int search_once(struct index_reader *r, const struct index_query *q, struct index_result *res, bool *gone, struct err_msg *em)
{
    int ret;
    enum index_mode mode = q->mode;
    size_t n = 0;
    struct ranked *hits = NULL;
    struct search s = {.r = r, .q = q, .all_dense = true, .all_words = true, .em = em};
    uint32_t k = q->k ? q->k : INDEX_K_DEFAULT;
    memset(res, 0, sizeof *res);
    *gone = false;
    bool weighted = q->dense_weight > 0 || q->text_weight > 0;
    s.fusion = (struct fusion){.by = q->fusion, .weights = {weighted ? q->dense_weight : 1, weighted ? q->text_weight : 1}};
    if (!(s.c = collection_find(r->ix, q->collection)))
        return err_set(em, LT_ENOTFOUND, "no collection %s", q->collection ? q->collection : "");
    while (fault("search.begin"))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if ((ret = check_query(&s, &mode)) < 0)
        goto out;
    res->seq = atomic_load(&s.c->searchable_seq);
    res->degraded = mode != INDEX_TEXT && atomic_load(&s.c->behind);
    if (res->degraded) {
        pthread_mutex_lock(&r->ix->lock); /* the writer may just be writing it */
        snprintf(res->degraded_reason, sizeof res->degraded_reason, "%s", s.c->why_behind);
        pthread_mutex_unlock(&r->ix->lock);
    }
    if ((ret = prepare_words(&s, &mode)) < 0)
        goto out;
    s.n_want = first_want(q, mode, k, res->degraded);
    if ((ret = mode != INDEX_TEXT || s.n_words ? collect(&s, mode, k, &hits, &n) : check_filter(&s)) < 0)
        goto out;
    if ((ret = fill(&s, hits, n < k ? n : k, res)) < 0 || (res->n < k && (ret = why_short(&s, mode, &res->why)) < 0))
        goto out;
    res->damaged = s.lost;
    res->sampled = s.sampled;
    if (s.lost && !res->degraded) {
        res->degraded = true;
        snprintf(res->degraded_reason, sizeof res->degraded_reason, "index files were cut short: compared with every vector of the store");
    }
    res->mode = mode;
    res->k = k;
    if (mode == INDEX_HYBRID) {
        res->dense_weight = s.fusion.weights[0];
        res->text_weight = s.fusion.weights[1];
        res->fusion = q->fusion;
    }
    res->ef = mode == INDEX_TEXT || s.stats.exact ? 0 : s.stats.ef;
out:
    reader_end(r);
    free(hits);
    free(s.labels);
    allowed_release(s.allowed);
    *gone = atomic_load(&s.c->gone);
    collection_release(s.c);
    if (ret < 0)
        index_result_finish(res);
    return ret;
}

int index_search(struct index_reader *r, const struct index_query *q, struct index_result *res,
                 struct err_msg *em)
{
    struct err_msg local;
    bool gone;
    for (int i = 0;; i++) {
        int ret = search_once(r, q, res, &gone, em ? em : &local);
        if (!gone || i == SWAPS_MAX)
            return ret;
        index_result_finish(res);
    }
}

void index_result_finish(struct index_result *res)
{
    arena_finish(&(struct arena){res->memory});
    free(res->hits);
    memset(res, 0, sizeof *res);
}
