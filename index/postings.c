#include "index/postings.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define GONE_SHARE 8  /* of a collection's chunks, that may have gone */
#define WORD_SHARE 4  /* of the budget, that one word may take */

void postings_init(struct postings_cache *c, struct postings_budget *budget, uint64_t next_chunk)
{
    memset(c, 0, sizeof *c);
    c->budget = budget;
    atomic_store(&c->end, next_chunk);
    atomic_store(&c->high, next_chunk ? next_chunk - 1 : 0);
    pthread_mutex_init(&c->lock, NULL);
}

void postings_finish(struct postings_cache *c)
{
    postings_drop(c);
    pthread_mutex_destroy(&c->lock);
}

static size_t size_of(const struct postings *p)
{
    return sizeof *p + p->len + p->room * sizeof *p->items;
}

void postings_release(struct postings_cache *c, struct postings *p)
{
    if (!p || atomic_fetch_sub(&p->n_users, 1) > 1)
        return;
    atomic_fetch_sub(&c->budget->used, size_of(p));
    free(p->items);
    free(p);
}

void postings_drop(struct postings_cache *c)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < POSTINGS_WORDS && c->words[i].p; i++) {
        postings_release(c, c->words[i].p);
        c->words[i].p = NULL;
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- the store ---------------------------------------------------------------- */

void postings_come(struct postings_cache *c, uint64_t first, uint64_t n, uint64_t seq)
{
    if (first < atomic_load(&c->end))
        atomic_store(&c->late, seq);
    if (first + n > atomic_load(&c->end))
        atomic_store(&c->end, first + n);
}

void postings_go(struct postings_cache *c, uint64_t n)
{
    atomic_fetch_add(&c->gone, n);
}

void postings_committed(struct postings_cache *c)
{
    const uint64_t end = atomic_load(&c->end);
    atomic_store(&c->high, end ? end - 1 : 0);
}

void postings_before(struct postings_cache *c, struct postings_view *v)
{
    v->high = atomic_load(&c->high);
}

void postings_after(struct postings_cache *c, struct postings_view *v, uint64_t seq)
{
    v->seq = seq;
    v->end = atomic_load(&c->end);
    v->late = atomic_load(&c->late);
    v->gone = atomic_load(&c->gone);
}

/* ---- words -------------------------------------------------------------------- */

/* With the lock: its place, or POSTINGS_WORDS. */
static size_t place_of(const struct postings_cache *c, uint64_t hash, const char *stem, size_t len)
{
    for (size_t i = 0; i < POSTINGS_WORDS && c->words[i].p; i++)
        if (c->words[i].hash == hash && c->words[i].p->len == len && memcmp(c->words[i].p->stem, stem, len) == 0)
            return i;
    return POSTINGS_WORDS;
}

/* What lies at a place, or nothing, gives way to p, which becomes the first. */
static void put_first(struct postings_cache *c, size_t at, uint64_t hash, struct postings *p)
{
    memmove(c->words + 1, c->words, at * sizeof *c->words);
    c->words[0].hash = hash;
    c->words[0].p = p;
}

/* With the lock: takes out what lies at a place, for its last user to free. */
static void take_out(struct postings_cache *c, size_t at)
{
    struct postings *p = c->words[at].p;
    memmove(c->words + at, c->words + at + 1, (POSTINGS_WORDS - 1 - at) * sizeof *c->words);
    c->words[POSTINGS_WORDS - 1].p = NULL;
    postings_release(c, p);
}

struct postings *postings_find(struct postings_cache *c, const char *stem, size_t len, const struct postings_view *v, uint64_t chunks)
{
    const uint64_t hash = XXH3_64bits(stem, len);
    struct postings *p = NULL;
    pthread_mutex_lock(&c->lock);
    const size_t at = place_of(c, hash, stem, len);
    if (at < POSTINGS_WORDS && c->words[at].p->seq <= v->seq) {
        struct postings *kept = c->words[at].p;
        const uint64_t gone = v->gone > kept->gone ? v->gone - kept->gone : 0;
        /* of what has not been committed, too: then more is read than need be */
        if (v->late > kept->seq || gone > chunks / GONE_SHARE) {
            take_out(c, at);
        } else {
            put_first(c, at, hash, kept);
            atomic_fetch_add(&kept->n_users, 1);
            p = kept;
        }
    }
    pthread_mutex_unlock(&c->lock);
    return p;
}

/* More room, within the budget. */
static bool grow(struct postings_cache *c, struct postings *p, size_t room)
{
    const size_t more = (room - p->room) * sizeof *p->items, most = atomic_load(&c->budget->limit);
    struct posting *items = NULL;
    if (room > most / WORD_SHARE / sizeof *items || !(items = realloc(p->items, room * sizeof *items)))
        return false;
    atomic_fetch_add(&c->budget->used, more);
    p->items = items;
    p->room = room;
    return true;
}

struct postings *postings_begin(struct postings_cache *c, const char *stem, size_t len, const struct postings_view *v, uint64_t n)
{
    struct postings *p = n < SIZE_MAX / 2 / sizeof *p->items ? malloc(sizeof *p + len) : NULL;
    if (!p)
        return NULL;
    *p = (struct postings){.seq = v->seq, .upto = v->high, .gone = v->gone, .len = len};
    atomic_init(&p->n_users, 1);
    memcpy(p->stem, stem, len);
    atomic_fetch_add(&c->budget->used, size_of(p));
    if (!grow(c, p, n + n / 8 + 8)) {
        postings_release(c, p);
        return NULL;
    }
    return p;
}

void postings_add(struct postings_cache *c, struct postings **pp, uint64_t chunk, int64_t n, uint16_t length)
{
    struct postings *p = *pp;
    if (!p || chunk > p->upto)
        return;
    if (chunk > UINT32_MAX || n > UINT16_MAX || (p->n == p->room && !grow(c, p, p->room + p->room / 2))) {
        postings_release(c, p);
        *pp = NULL;
        return;
    }
    p->items[p->n++] = (struct posting){(uint32_t)chunk, (uint16_t)n, length};
}

void postings_keep(struct postings_cache *c, struct postings **pp)
{
    struct postings *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    const uint64_t hash = XXH3_64bits(p->stem, p->len);
    pthread_mutex_lock(&c->lock);
    const size_t at = place_of(c, hash, p->stem, p->len);
    size_t n = 0;
    if (at < POSTINGS_WORDS)
        take_out(c, at);
    while (n < POSTINGS_WORDS && c->words[n].p)
        n++;
    while (n && (n == POSTINGS_WORDS || atomic_load(&c->budget->used) > atomic_load(&c->budget->limit)))
        take_out(c, --n);
    const bool fits = atomic_load(&c->budget->used) <= atomic_load(&c->budget->limit);
    if (fits)
        put_first(c, n, hash, p);
    pthread_mutex_unlock(&c->lock);
    if (!fits)
        postings_release(c, p);
}

void postings_forget(struct postings_cache *c, const struct postings *p)
{
    pthread_mutex_lock(&c->lock);
    const size_t at = place_of(c, XXH3_64bits(p->stem, p->len), p->stem, p->len);
    if (at < POSTINGS_WORDS && c->words[at].p == p)
        take_out(c, at);
    pthread_mutex_unlock(&c->lock);
}

/* ---- totals -------------------------------------------------------------------- */

bool postings_totals(struct postings_cache *c, uint64_t seq, int64_t *n_rows, int64_t *n_tokens)
{
    pthread_mutex_lock(&c->lock);
    const bool known = c->totals_seq && c->totals_seq == seq;
    *n_rows = known ? c->n_rows : 0;
    *n_tokens = known ? c->n_tokens : 0;
    pthread_mutex_unlock(&c->lock);
    return known;
}

void postings_set_totals(struct postings_cache *c, uint64_t seq, int64_t n_rows, int64_t n_tokens)
{
    pthread_mutex_lock(&c->lock);
    c->totals_seq = seq;
    c->n_rows = n_rows;
    c->n_tokens = n_tokens;
    pthread_mutex_unlock(&c->lock);
}
