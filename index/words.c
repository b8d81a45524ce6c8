#include "index/words.h"

#include <stdlib.h>
#include <string.h>

#include "index/sql.h"

void words_cache_init(struct words_cache *cache)
{
    memset(cache, 0, sizeof *cache);
    pthread_mutex_init(&cache->lock, NULL);
}

void words_cache_finish(struct words_cache *cache)
{
    pthread_mutex_destroy(&cache->lock);
}

int words_fts5_api(sqlite3 *db, fts5_api **api, struct err_msg *em)
{
    sqlite3_stmt *st = NULL;
    int r = sql_prepare(db, &st, "SELECT fts5(?1)", em);
    if (r < 0)
        return r;
    *api = NULL;
    sqlite3_bind_pointer(st, 1, api, "fts5_api_ptr", NULL);
    r = sql_run(st, em);
    sqlite3_finalize(st);
    return r < 0 || *api ? r : err_set(em, LT_EUNSUPPORTED, "this SQLite has no FTS5");
}

int words_tokenizer_open(struct words_tokenizer *t, sqlite3 *db, struct err_msg *em)
{
    static const char *args[] = {"unicode61", "remove_diacritics", "2"};
    fts5_api *api = NULL;
    void *ctx = NULL;
    int r = words_fts5_api(db, &api, em);
    if (r < 0)
        return r;
    if (api->xFindTokenizer(api, "porter", &ctx, &t->functions_memory) != SQLITE_OK ||
        t->functions_memory.xCreate(ctx, args, 3, &t->instance) != SQLITE_OK)
        return err_set(em, LT_EUNSUPPORTED, "this SQLite has no FTS5");
    t->functions = &t->functions_memory;
    return 0;
}

void words_tokenizer_close(struct words_tokenizer *t)
{
    if (t->instance)
        t->functions->xDelete(t->instance);
    t->instance = NULL;
}

/* Lucene's English stop words, sorted. */
static int compare_text(const void *a, const void *b)
{
    return strcmp(a, *(const char *const *)b);
}

static bool is_stop_word(const char *s, size_t len)
{
    static const char *const list[] = {
        "a",    "an",   "and",  "are",  "as",    "at",   "be",    "but",   "by",   "for",  "if",
        "in",   "into", "is",   "it",   "no",    "not",  "of",    "on",    "or",   "such", "that",
        "the",  "their", "then", "there", "these", "they", "this", "to",    "was",  "will", "with"};
    char word[8];
    if (len >= sizeof word)
        return false;
    for (size_t i = 0; i < len; i++)
        word[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + 32) : s[i];
    word[len] = 0;
    return bsearch(word, list, sizeof list / sizeof *list, sizeof *list, compare_text);
}

static int take_token(void *ctx, int flags, const char *stem, int len, int start, int end)
{
    struct words_question *q = ctx;
    if (len < 1 || len > WORDS_STEM_MAX || end - start > WORDS_SPAN_MAX)
        return SQLITE_OK;
    for (size_t i = 0; i < q->n; i++)
        if (q->words[i].len == (size_t)len && memcmp(q->words[i].stem, stem, (size_t)len) == 0) {
            q->words[i].count++;
            return SQLITE_OK;
        }
    if (q->n == WORDS_MAX)
        return SQLITE_DONE;
    struct word *w = &q->words[q->n++];
    memset(w, 0, sizeof *w);
    memcpy(w->stem, stem, (size_t)len);
    w->len = (size_t)len;
    w->start = start;
    w->end = end;
    w->count = 1;
    w->stop = is_stop_word(q->text + start, (size_t)(end - start));
    return SQLITE_OK;
}

static uint64_t hash(const char *s, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h ? h : 1;
}

/* From the cache while it is right to an eighth, whatever has changed: so a word that none had is counted anew after any change, which
 * costs little, as a count costs what it finds. */
static int count_chunks(const struct words_counts *c, struct word *w, struct err_msg *em)
{
    struct words_cache *cache = c->cache;
    uint64_t h = hash(w->stem, w->len);
    size_t slot = h % WORDS_CACHE_SIZE;
    bool known = false;
    pthread_mutex_lock(&cache->lock);
    if (cache->slots[slot].hash == h) {
        w->n = cache->slots[slot].n;
        known = c->turnover - cache->slots[slot].turnover <= w->n / 8; /* an older look than the cache's wraps to a large number */
    }
    pthread_mutex_unlock(&cache->lock);
    if (known)
        return 0;
    int64_t n = 0;
    sql_bind(c->count, "t", w->stem, w->len);
    int r = sql_int(c->count, 0, &n, em);
    if (r < 0)
        return r;
    w->n = (uint64_t)n;
    pthread_mutex_lock(&cache->lock);
    cache->slots[slot].hash = h;
    cache->slots[slot].n = w->n;
    cache->slots[slot].turnover = c->turnover;
    pthread_mutex_unlock(&cache->lock);
    return 0;
}

static int by_rarity(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    return (x->n > y->n) - (x->n < y->n);
}

size_t words_quote(const struct words_question *q, const struct word *w, char out[static WORDS_QUOTED_MAX])
{
    size_t n = 0;
    out[n++] = '"';
    for (int i = w->start; i < w->end; i++) {
        if (q->text[i] == '"')
            out[n++] = '"';
        out[n++] = q->text[i];
    }
    out[n++] = '"';
    out[n] = 0;
    return n;
}

/* The words that find, and those that only score. */
static int give_roles(struct words_question *q, uint64_t total)
{
    int finds[3] = {0};
    /* Small collections have no frequent words worth the name. */
    uint64_t often = total < 100 ? UINT64_MAX : total / 10;
    for (size_t i = 0; i < q->n; i++)
        if (q->words[i].n)
            for (int pass = q->words[i].stop ? 2 : q->words[i].n > often; pass < 3; pass++)
                finds[pass]++;
    /* Stop words count only where the question has nothing else: they say nothing about what is missing. */
    bool other = false;
    for (size_t i = 0; i < q->n; i++)
        other = other || !q->words[i].stop;
    int use = finds[0] ? 0 : finds[1] || other ? 1 : 2;
    for (size_t i = 0; i < q->n; i++) {
        struct word *w = &q->words[i];
        int pass = w->stop ? 2 : w->n > often;
        if (!w->n || (w->stop && use < 2))
            w->role = WORD_IDLE;
        else
            w->role = pass > use ? WORD_SCORES : WORD_FINDS;
    }
    return finds[use];
}

int words_parse(struct words_tokenizer *t, const struct words_counts *counts, const char *text, size_t len, struct words_question *q,
                struct err_msg *em)
{
    int r;
    q->text = text;
    q->n = 0;
    if (len > 65536)
        len = 65536;
    int rc = t->functions->xTokenize(t->instance, q, FTS5_TOKENIZE_QUERY, text, (int)len, take_token);
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        return err_set(em, LT_ENOMEM, "the question's words: %s", sqlite3_errstr(rc));
    for (size_t i = 0; i < q->n; i++)
        if ((r = count_chunks(counts, &q->words[i], em)) < 0)
            return r;
    qsort(q->words, q->n, sizeof *q->words, by_rarity);
    return give_roles(q, counts->total);
}
