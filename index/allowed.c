#include "index/allowed.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "index/filter.h"
#include "index/sql.h"

#define GONE_MIN 1024 /* chunks: of so few, all are compared in any case */

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

void allowed_cache_clear(struct allowed_cache *cache)
{
    struct allowed *entries[ALLOWED_CACHE_SIZE];
    pthread_mutex_lock(&cache->lock);
    memcpy(entries, cache->entries, sizeof entries);
    memset(cache->entries, 0, sizeof cache->entries);
    pthread_mutex_unlock(&cache->lock);
    for (int i = 0; i < ALLOWED_CACHE_SIZE; i++)
        allowed_release(entries[i]);
}

void allowed_cache_finish(struct allowed_cache *cache)
{
    allowed_cache_clear(cache);
    pthread_mutex_destroy(&cache->lock);
}

uint64_t allowed_cache_bytes(struct allowed_cache *cache)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&cache->lock);
    for (int i = 0; i < ALLOWED_CACHE_SIZE && cache->entries[i]; i++)
        bytes += sizeof *cache->entries[i] + cache->entries[i]->n_bits / 8 + strlen(cache->entries[i]->expr) + 1;
    pthread_mutex_unlock(&cache->lock);
    return bytes;
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
        const char *metadata = sqlite3_column_blob(st, 3);
        size_t len = (size_t)sqlite3_column_bytes(st, 3);
        (*a)->last_doc = (uint64_t)sqlite3_column_int64(st, 0);
        if (i % 256 == 0 && deadline_ns && clock_ns() > deadline_ns)
            return err_set(em, LT_ETIMEOUT, "deadline passed while the filter ran");
        if (!filter_match(f, metadata, metadata ? len : 0))
            continue;
        int64_t first = sqlite3_column_int64(st, 1), n = sqlite3_column_int64(st, 2), next = sqlite3_column_int64(st, 4);
        if (n < 1 || n > next || first < 1 || first > next - n)
            continue; /* a damaged row has no chunks to let through */
        if (let_through(a, (uint64_t)first, (uint64_t)n) < 0)
            return err_set(em, LT_ENOMEM, "no memory for a filter");
    }
    return r;
}

/* Takes out the bits of chunks that are no more. */
static int drop_gone(struct allowed *a, const struct allowed_view *v, struct err_msg *em)
{
    int r = sql_prepare(v->db, v->chunks, "SELECT chunk FROM chunks WHERE chunk BETWEEN ? AND ?", em);
    uint64_t n = 0;
    for (uint64_t i = 0; r == 0 && i < a->n_bits / 64; i++) {
        const uint64_t w = a->words[i], first = a->base + i * 64;
        uint64_t left = 0;
        if (!w)
            continue;
        if (i % 64 == 0 && v->deadline_ns && clock_ns() > v->deadline_ns)
            return err_set(em, LT_ETIMEOUT, "deadline passed while the filter ran");
        sql_bind(*v->chunks, "ii", (int64_t)(first + (uint64_t)__builtin_ctzll(w)), (int64_t)(first + 63 - (uint64_t)__builtin_clzll(w)));
        while ((r = sql_step(*v->chunks, em)) > 0)
            left |= 1ull << ((uint64_t)sqlite3_column_int64(*v->chunks, 0) - first) % 64;
        a->words[i] &= left;
        n += (uint64_t)__builtin_popcountll(a->words[i]);
    }
    a->n = n;
    a->n_erased = v->n_erased;
    return r;
}

/* To what it needs. */
static void trim(struct allowed **a)
{
    uint64_t first = 0, end = (*a)->n_bits / 64;
    while (end && !(*a)->words[end - 1])
        end--;
    while (first < end && !(*a)->words[first])
        first++;
    (*a)->base += first * 64;
    (*a)->n_bits = (end - first) * 64;
    memmove((*a)->words, (*a)->words + first, (end - first) * sizeof (*a)->words[0]);
    struct allowed *p = realloc(*a, sizeof *p + (end - first) * sizeof p->words[0]);
    *a = p ? p : *a;
}

/* What a set begins with: old's, or nothing. */
static struct allowed *copy(const struct allowed *old, const char *expr)
{
    const size_t words = old ? old->n_bits / 64 : 0;
    struct allowed *a = calloc(1, sizeof *a + words * sizeof a->words[0]);
    if (!a || !(a->expr = strdup(expr))) {
        free(a);
        return NULL;
    }
    atomic_init(&a->n_users, 1);
    if (old) { /* all but the count, which its other users change meanwhile */
        a->base = old->base;
        a->n_bits = old->n_bits;
        a->last_doc = old->last_doc;
        a->n = old->n;
        a->n_erased = old->n_erased;
        memcpy(a->words, old->words, words * sizeof a->words[0]);
    }
    return a;
}

/* May a fourth of it have gone? Small ones cost little as they are. */
static bool is_stale(const struct allowed *a, const struct allowed_view *v)
{
    return v->n_erased > a->n_erased && v->n_erased - a->n_erased > a->n / 4 + GONE_MIN;
}

#define ROWS(how) "SELECT doc, first_chunk, n_chunks, metadata, (SELECT next_chunk FROM counters) FROM documents" how \
                  " WHERE coll = ? AND doc > ? ORDER BY doc"

/* 1: old has all that the view has; 0: there are documents behind it. */
static int is_complete(const struct allowed *old, const struct allowed_view *v, struct err_msg *em)
{
    sql_bind(*v->rows, "ii", v->coll, (int64_t)old->last_doc);
    const int r = sql_step(*v->rows, em);
    sqlite3_reset(*v->rows);
    return r < 0 ? r : r == 0;
}

static int make(const struct allowed *old, const struct allowed_view *v, const char *expr, struct allowed **out, struct err_msg *em)
{
    struct filter *f = NULL;
    struct allowed *a = copy(old, expr);
    int r = a ? filter_parse(&f, expr, strlen(expr), em) : err_set(em, LT_ENOMEM, "no memory for a filter");
    if (r < 0)
        goto out;
    a->seq = v->seq;
    if (!old)
        a->n_erased = v->n_erased;
    else if (is_stale(old, v) && (r = drop_gone(a, v, em)) < 0)
        goto out;
    sql_bind(*v->rows, "ii", v->coll, (int64_t)a->last_doc);
    if ((r = scan(*v->rows, f, v->deadline_ns, &a, em)) < 0)
        goto out;
    trim(&a);
    *out = a;
    a = NULL;
out:
    filter_destroy(&f);
    allowed_release(a);
    return r;
}

int allowed_get(struct allowed_cache *cache, const struct allowed_view *v, const char *expr, struct allowed **out, struct err_msg *em)
{
    struct allowed *old = cache_take(cache, expr);
    int r = old && old->seq > v->seq;
    *out = NULL;
    if (r == 0)
        r = sql_prepare(v->db, v->rows, v->most ? ROWS(" NOT INDEXED") : ROWS(""), em);
    if (r != 0)
        goto out;
    if (old && !is_stale(old, v) && (r = is_complete(old, v, em)) != 0) {
        *out = r > 0 ? old : NULL;
        old = r > 0 ? NULL : old;
        r = r < 0 ? r : 0;
        goto out;
    }
    if ((r = make(old, v, expr, out, em)) == 0)
        cache_put(cache, *out);
out:
    if (*v->rows)
        sqlite3_reset(*v->rows);
    if (*v->chunks)
        sqlite3_reset(*v->chunks);
    allowed_release(old);
    return r;
}

void allowed_list(const struct allowed *a, uint64_t *labels)
{
    for (uint64_t i = 0; i < a->n_bits / 64; i++)
        for (uint64_t w = a->words[i]; w; w &= w - 1)
            *labels++ = a->base + i * 64 + (uint64_t)__builtin_ctzll(w);
}
