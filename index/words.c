#include "index/words.h"

#include <stdlib.h>
#include <string.h>

#include "index/sql.h"

#define WORDS_MAX 256        /* of a question; later ones are not looked at */
#define STEM_MAX 64          /* bytes; FTS5's porter leaves longer words alone, so does this */
#define POSTINGS_BUDGET 8000 /* about 6 ms of BM25 */
#define POSTINGS_WORDS_MIN 2 /* kept whatever they cost */

struct word {
    char stem[STEM_MAX];
    size_t len;
    int start, end; /* bytes of the question */
    uint64_t n;     /* chunks that hold it */
    bool stop;
};
struct question {
    struct word words[WORDS_MAX];
    size_t n;
    const char *text;
};

void words_cache_init(struct words_cache *cache)
{
    memset(cache, 0, sizeof *cache);
    pthread_mutex_init(&cache->lock, NULL);
}

void words_cache_finish(struct words_cache *cache)
{
    pthread_mutex_destroy(&cache->lock);
}

int words_tokenizer_open(struct words_tokenizer *t, sqlite3 *db, struct err_msg *em)
{
    static const char *args[] = {"unicode61", "remove_diacritics", "2"};
    fts5_api *api = NULL;
    void *ctx = NULL;
    sqlite3_stmt *st = NULL;
    int r = sql_prepare(db, &st, "SELECT fts5(?1)", em);
    if (r < 0)
        return r;
    sqlite3_bind_pointer(st, 1, &api, "fts5_api_ptr", NULL);
    r = sql_run(st, em);
    sqlite3_finalize(st);
    if (r < 0)
        return r;
    if (!api || api->xFindTokenizer(api, "porter", &ctx, &t->functions_memory) != SQLITE_OK ||
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
    struct question *q = ctx;
    if (q->n == WORDS_MAX)
        return SQLITE_DONE;
    if (len < 1 || len > STEM_MAX)
        return SQLITE_OK;
    for (size_t i = 0; i < q->n; i++)
        if (q->words[i].len == (size_t)len && memcmp(q->words[i].stem, stem, (size_t)len) == 0)
            return SQLITE_OK;
    struct word *w = &q->words[q->n++];
    memcpy(w->stem, stem, (size_t)len);
    w->len = (size_t)len;
    w->start = start;
    w->end = end;
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

/* From the cache while the collection has not changed by more than an eighth. */
static int count_chunks(struct words_cache *cache, sqlite3_stmt *count, uint64_t total, struct word *w,
                        struct err_msg *em)
{
    uint64_t h = hash(w->stem, w->len);
    size_t slot = h % WORDS_CACHE_SIZE;
    bool known = false;
    pthread_mutex_lock(&cache->lock);
    if (cache->slots[slot].hash == h) {
        uint64_t then = cache->slots[slot].total;
        known = then <= total + total / 8 && total <= then + then / 8;
        w->n = cache->slots[slot].n;
    }
    pthread_mutex_unlock(&cache->lock);
    if (known)
        return 0;
    int64_t n = 0;
    sql_bind(count, "t", w->stem, w->len);
    int r = sql_int(count, 0, &n, em);
    if (r < 0)
        return r;
    w->n = (uint64_t)n;
    pthread_mutex_lock(&cache->lock);
    cache->slots[slot].hash = h;
    cache->slots[slot].n = w->n;
    cache->slots[slot].total = total;
    pthread_mutex_unlock(&cache->lock);
    return 0;
}

static int by_rarity(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    return (x->n > y->n) - (x->n < y->n);
}

static void add_word(struct bytes_out *match, const char *s, size_t len)
{
    bytes_put(match, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"')
            bytes_put(match, "\"", 1);
        bytes_put(match, s + i, 1);
    }
    bytes_put(match, "\"", 1);
}

static bool wanted(const struct word *w, uint64_t total, int pass)
{
    if (!w->n)
        return false;
    /* Small collections have no frequent words worth the name. */
    bool frequent = total >= 100 && w->n > total / 10;
    return pass == 0 ? !w->stop && !frequent : pass == 1 ? !w->stop : true;
}

int words_match(struct words_tokenizer *t, struct words_cache *cache, sqlite3_stmt *count, uint64_t total,
                const char *text, size_t len, struct bytes_out *match, struct err_msg *em)
{
    int r = 0, n = 0;
    struct question *q = calloc(1, sizeof *q);
    if (!q)
        return err_set(em, LT_ENOMEM, "no memory for the question's words");
    q->text = text;
    if (len > 65536)
        len = 65536;
    int rc = t->functions->xTokenize(t->instance, q, FTS5_TOKENIZE_QUERY, text, (int)len, take_token);
    if (rc != SQLITE_OK && rc != SQLITE_DONE) {
        r = err_set(em, LT_ENOMEM, "the question's words: %s", sqlite3_errstr(rc));
        goto out;
    }
    for (size_t i = 0; i < q->n; i++)
        if ((r = count_chunks(cache, count, total, &q->words[i], em)) < 0)
            goto out;
    /* Stop words count only where the question has nothing else: they say nothing about what is missing. */
    bool only_stop_words = true;
    for (size_t i = 0; i < q->n; i++)
        only_stop_words = only_stop_words && q->words[i].stop;
    qsort(q->words, q->n, sizeof *q->words, by_rarity);
    for (int pass = 0; pass < (only_stop_words ? 3 : 2) && n == 0; pass++) {
        uint64_t postings = 0;
        for (size_t i = 0; i < q->n; i++) {
            const struct word *w = &q->words[i];
            if (!wanted(w, total, pass))
                continue;
            postings += w->n;
            if (n >= POSTINGS_WORDS_MIN && postings > POSTINGS_BUDGET)
                break;
            if (n++)
                bytes_put_str(match, " OR ");
            add_word(match, text + w->start, (size_t)(w->end - w->start));
        }
    }
    bytes_put_u8(match, 0);
    r = match->bad ? err_set(em, LT_ENOMEM, "no memory for the question's words") : n;
out:
    free(q);
    return r;
}
