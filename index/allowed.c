#include "index/allowed.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "index/filter.h"
#include "index/sql.h"

void allowed_cache_init(struct allowed_cache *cache)
{
    memset(cache, 0, sizeof *cache);
    pthread_mutex_init(&cache->lock, NULL);
}

void allowed_release(struct allowed *a)
{
    if (!a || atomic_fetch_sub(&a->n_users, 1) > 1)
        return;
    free(a->expr);
    free(a);
}

void allowed_cache_finish(struct allowed_cache *cache)
{
    for (int i = 0; i < ALLOWED_CACHE_SIZE; i++)
        allowed_release(cache->entries[i]);
    pthread_mutex_destroy(&cache->lock);
}

static struct allowed *cache_take(struct allowed_cache *cache, const char *expr)
{
    struct allowed *a = NULL;
    pthread_mutex_lock(&cache->lock);
    for (int i = 0; i < ALLOWED_CACHE_SIZE && cache->entries[i] && !a; i++)
        if (strcmp(cache->entries[i]->expr, expr) == 0) {
            a = cache->entries[i];
            atomic_fetch_add(&a->n_users, 1);
            memmove(cache->entries + 1, cache->entries, (size_t)i * sizeof *cache->entries);
            cache->entries[0] = a;
        }
    pthread_mutex_unlock(&cache->lock);
    return a;
}

/* a takes the place of an older set for the same expression, or of the least recently used. */
static void cache_put(struct allowed_cache *cache, struct allowed *a)
{
    int i = 0;
    struct allowed *old;
    pthread_mutex_lock(&cache->lock);
    while (i < ALLOWED_CACHE_SIZE - 1 && cache->entries[i] && strcmp(cache->entries[i]->expr, a->expr) != 0)
        i++;
    old = cache->entries[i];
    memmove(cache->entries + 1, cache->entries, (size_t)i * sizeof *cache->entries);
    cache->entries[0] = a;
    atomic_fetch_add(&a->n_users, 1);
    pthread_mutex_unlock(&cache->lock);
    allowed_release(old);
}

/* A set under construction, which only its builder sees. */
static int grow(struct allowed **a, uint64_t n_bits)
{
    uint64_t have = ((*a)->n_bits + 63) / 64, want = (n_bits + 63) / 64;
    if (want > have) {
        want += want / 2;
        struct allowed *p = realloc(*a, sizeof *p + want * sizeof p->words[0]);
        if (!p)
            return LT_ENOMEM;
        memset(p->words + have, 0, (want - have) * sizeof p->words[0]);
        *a = p;
        (*a)->n_bits = want * 64;
    }
    return 0;
}

/* Makes the set begin at a lower chunk: only where a damaged row came first. */
static int lower(struct allowed **a, uint64_t base)
{
    const uint64_t by = ((*a)->base - base) / 64, have = (*a)->n_bits / 64;
    if (grow(a, (*a)->n_bits + by * 64) < 0)
        return LT_ENOMEM;
    memmove((*a)->words + by, (*a)->words, have * sizeof (*a)->words[0]);
    memset((*a)->words, 0, by * sizeof (*a)->words[0]);
    (*a)->base = base;
    return 0;
}

/* A document's chunks. */
static int let_through(struct allowed **a, uint64_t first, uint64_t n)
{
    const uint64_t base = first / 64 * 64;
    if (!(*a)->n)
        (*a)->base = base;
    if ((base < (*a)->base && lower(a, base) < 0) || grow(a, first + n - (*a)->base) < 0)
        return LT_ENOMEM;
    for (uint64_t bit = first - (*a)->base, end = bit + n; bit < end; bit++) {
        (*a)->n += !((*a)->words[bit / 64] >> bit % 64 & 1);
        (*a)->words[bit / 64] |= 1ull << bit % 64;
    }
    return 0;
}

static int scan(sqlite3_stmt *st, const struct filter *f, uint64_t deadline_ns, struct allowed **a,
                struct err_msg *em)
{
    int r;
    for (size_t i = 1; (r = sql_step(st, em)) > 0; i++) {
        int64_t first = sqlite3_column_int64(st, 1), n = sqlite3_column_int64(st, 2), next = sqlite3_column_int64(st, 4);
        const char *metadata = sqlite3_column_blob(st, 3);
        size_t len = (size_t)sqlite3_column_bytes(st, 3);
        (*a)->last_doc = (uint64_t)sqlite3_column_int64(st, 0);
        if (i % 256 == 0 && deadline_ns && clock_ns() > deadline_ns)
            return err_set(em, LT_ETIMEOUT, "deadline passed while the filter ran");
        if (n < 1 || n > next || first < 1 || first > next - n || !filter_match(f, metadata, metadata ? len : 0))
            continue; /* a damaged row has no chunks to let through */
        if (let_through(a, (uint64_t)first, (uint64_t)n) < 0)
            return err_set(em, LT_ENOMEM, "no memory for a filter");
    }
    return r;
}

int allowed_get(struct allowed_cache *cache, sqlite3 *db, sqlite3_stmt **st, int64_t coll, const char *expr,
                uint64_t deadline_ns, struct allowed **out, struct err_msg *em)
{
    int r;
    bool grown = false;
    struct filter *f = NULL;
    struct allowed *a = NULL, *old = cache_take(cache, expr);
    *out = NULL;
    if ((r = sql_prepare(db, st,
                         "SELECT doc, first_chunk, n_chunks, metadata, (SELECT next_chunk FROM counters) FROM documents"
                         " WHERE coll = ? AND doc > ? ORDER BY doc",
                         em)) < 0)
        goto out;
    sql_bind(*st, "ii", coll, (int64_t)(old ? old->last_doc : 0));
    r = sql_step(*st, em);
    if (r < 0 || (r == 0 && old)) {
        *out = r == 0 ? old : NULL;
        old = r == 0 ? NULL : old;
        goto out;
    }
    sql_bind(*st, "ii", coll, (int64_t)(old ? old->last_doc : 0));
    size_t words = old ? old->n_bits / 64 : 0;
    if ((a = calloc(1, sizeof *a + words * sizeof a->words[0]))) {
        atomic_init(&a->n_users, 1);
        a->expr = strdup(expr);
    }
    if (a && old) { /* all but the count, which its other users change meanwhile */
        a->base = old->base;
        a->n_bits = old->n_bits;
        a->last_doc = old->last_doc;
        a->n = old->n;
        memcpy(a->words, old->words, words * sizeof a->words[0]);
    }
    if (!a || !a->expr) {
        r = err_set(em, LT_ENOMEM, "no memory for a filter");
        goto out;
    }
    if ((r = filter_parse(&f, expr, strlen(expr), em)) < 0 || (r = scan(*st, f, deadline_ns, &a, em)) < 0)
        goto out;
    grown = true;
out:
    if (*st)
        sqlite3_reset(*st);
    filter_destroy(&f);
    allowed_release(old);
    if (grown) {
        cache_put(cache, a);
        *out = a;
    } else {
        allowed_release(a);
    }
    return r < 0 ? r : 0;
}

void allowed_list(const struct allowed *a, uint64_t *labels)
{
    for (uint64_t i = 0; i < a->n_bits / 64; i++)
        for (uint64_t w = a->words[i]; w; w &= w - 1)
            *labels++ = a->base + i * 64 + (uint64_t)__builtin_ctzll(w);
}
