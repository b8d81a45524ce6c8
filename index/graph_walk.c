/* Traversal: greedy descent, and the best-first walk of one level.
 *
 * A walk is bound by memory: each step needs a list, then the nodes it names, each a cache miss behind the other. So a node's
 * list is fetched as soon as the node is among the candidates, and while one candidate's neighbours are compared, those of the
 * next one are on their way; it is nearly always expanded next. Where codes are long, sketches say which are worth reading.
 *
 * hnswlib keeps two heaps; here one sorted array of ef candidates with a mark for those already expanded does the work of
 * both. It visits the same nodes: a candidate that has dropped out of the ef nearest is one that hnswlib would never expand. */
#include <stdlib.h>
#include <string.h>

#include "index/graph_int.h"

#define VISITED_SLACK 4096 /* nodes that may appear while a search runs */

static int grow(void *ptr, size_t n, size_t size)
{
    void **p = ptr, *q = realloc(*p, n * size);
    if (!q)
        return LT_ENOMEM;
    *p = q;
    return 0;
}

static int grow_aligned(int8_t **p, size_t len)
{
    free(*p);
    *p = aligned_alloc(DISTANCE_PAD, len);
    return *p ? 0 : LT_ENOMEM;
}

int scratch_reserve(struct graph_scratch *s, const struct core *c, uint32_t ef)
{
    size_t words = ((size_t)core_n_slots(c) + VISITED_SLACK) / 64 + 1;
    if (words > s->visited_words) {
        words += words / 4;
        if (grow(&s->visited, words, sizeof *s->visited) < 0)
            return LT_ENOMEM;
        memset(s->visited + s->visited_words, 0, (words - s->visited_words) * sizeof *s->visited);
        s->visited_words = words;
    }
    if ((size_t)ef + 1 > s->pool_cap) {
        if (grow(&s->pool, ef + 1u, sizeof *s->pool) < 0 || grow(&s->checked, ef + 1u, 1) < 0)
            return LT_ENOMEM;
        s->pool_cap = ef + 1u;
    }
    size_t padded = distance_pad(c->dim);
    if (padded > s->query_cap) {
        s->query_cap = 0;
        if (grow_aligned(&s->query, padded) < 0 || grow_aligned(&s->pair, padded) < 0 ||
            grow_aligned(&s->query_bits, padded) < 0 || grow(&s->query_f32, padded, sizeof *s->query_f32) < 0 ||
            grow(&s->rotated, padded, sizeof *s->rotated) < 0)
            return LT_ENOMEM;
        s->query_cap = padded;
    }
    return 0;
}

void walk_reset(struct graph_scratch *s, const struct core *c)
{
    size_t words = ((size_t)core_n_slots(c) + VISITED_SLACK) / 64 + 1;
    if (words > s->visited_words)
        words = s->visited_words;
    memset(s->visited, 0, words * sizeof *s->visited);
}

static inline void prefetch_code(const struct core *c, uint32_t id)
{
    const uint8_t *p = core_code(c, id);
    for (uint32_t i = 0; i < c->code_bytes + sizeof(struct node_head) && i < 1024; i += 64)
        __builtin_prefetch(p + i);
}

static inline void prefetch_sketch(const struct core *c, uint32_t id)
{
    const uint8_t *p = core_record(c, id);
    for (uint32_t i = 0; i < c->sketch_bytes; i += 64)
        __builtin_prefetch(p + i);
}

static inline void prefetch_node(const struct core *c, uint32_t id)
{
    if (c->sketch_bytes)
        prefetch_sketch(c, id);
    else
        prefetch_code(c, id);
}

uint32_t walk_unvisited(const struct core *c, struct graph_scratch *s, struct list list)
{
    uint32_t n = list_read(list, s->links), n_new = 0;
    uint32_t limit = core_n_slots(c);
    if (limit > s->visited_words * 64)
        limit = (uint32_t)(s->visited_words * 64);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = s->links[i];
        if (id >= limit)
            continue; /* younger than this search, or a damaged file */
        uint64_t bit = 1ull << (id & 63);
        if (s->visited[id >> 6] & bit)
            continue;
        s->visited[id >> 6] |= bit;
        prefetch_node(c, id);
        s->batch[n_new++] = id;
    }
    return n_new;
}

uint32_t walk_greedy(const struct core *c, struct graph_scratch *s, const struct probe *p,
                     uint32_t at, uint32_t level)
{
    float best;
    core_distances(c, p, &at, 1, &best);
    s->n_distances++;
    for (bool moved = true; moved;) {
        moved = false;
        struct list list = core_links(c, at, level);
        uint32_t n = list.word ? list_read(list, s->links) : 0, k = 0;
        uint32_t limit = core_n_slots(c);
        for (uint32_t i = 0; i < n; i++)
            if (s->links[i] < limit)
                s->batch[k++] = s->links[i];
        core_distances(c, p, s->batch, k, s->batch_d);
        s->n_distances += k;
        for (uint32_t i = 0; i < k; i++) {
            if (s->batch_d[i] < best) {
                best = s->batch_d[i];
                at = s->batch[i];
                moved = true;
            }
        }
    }
    return at;
}

struct pool {
    struct cand *c;
    uint8_t *checked;
    uint32_t n, ef;
    uint32_t next; /* no unchecked candidate before this one */
    const struct core *core;
    uint32_t level;
};

static inline void prefetch_list(const struct pool *p, uint32_t id)
{
    struct list l = core_links(p->core, id, p->level);
    const char *at = (const char *)l.word;
    for (uint32_t i = 0; at && i < list_bytes(l.room, l.wide, false); i += 64)
        __builtin_prefetch(at + i);
}

static inline void pool_put(struct pool *p, float d, uint32_t id)
{
    if (p->n == p->ef) {
        if (!(d < p->c[p->n - 1].d))
            return;
        p->n--;
    }
    uint32_t lo = 0, hi = p->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (p->c[mid].d <= d)
            lo = mid + 1;
        else
            hi = mid;
    }
    memmove(p->c + lo + 1, p->c + lo, (p->n - lo) * sizeof *p->c);
    memmove(p->checked + lo + 1, p->checked + lo, p->n - lo);
    p->c[lo] = (struct cand){d, id};
    p->checked[lo] = 0;
    prefetch_list(p, id);
    p->n++;
    if (lo < p->next)
        p->next = lo;
}

/* Fetches what the candidate after the one at hand will need. */
static void look_ahead(const struct pool *p, const struct graph_scratch *s)
{
    uint32_t at = p->next + 1, limit = core_n_slots(p->core);
    while (at < p->n && p->checked[at])
        at++;
    if (at == p->n)
        return;
    struct list list = core_links(p->core, p->c[at].id, p->level);
    if (!list.word)
        return;
    if (limit > s->visited_words * 64)
        limit = (uint32_t)(s->visited_words * 64);
    uint32_t n = list_length(list);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = list_link(list, i);
        if (id < limit && !(s->visited[id >> 6] >> (id & 63) & 1))
            prefetch_node(p->core, id);
    }
}

/* The batch's n nodes into the pool, if they are near enough. */
static void offer_batch(struct pool *pool, struct graph_scratch *s, const struct probe *p, uint32_t n)
{
    const struct core *c = pool->core;
    s->n_distances += n;
    if (p->q && c->sketch_bytes) {
        if (pool->n == pool->ef)
            n = core_filter(c, p, s->batch, n, pool->c[pool->n - 1].d);
        for (uint32_t i = 0; i < n; i++)
            prefetch_code(c, s->batch[i]);
    }
    core_distances(c, p, s->batch, n, s->batch_d);
    for (uint32_t i = 0; i < n; i++)
        pool_put(pool, s->batch_d[i], s->batch[i]);
}

uint32_t walk_level(const struct core *c, struct graph_scratch *s, const struct probe *p,
                    const uint32_t *starts, uint32_t n_starts, uint32_t level, uint32_t ef)
{
    struct pool pool = {s->pool, s->checked, 0, ef, 0, c, level};
    uint32_t n = 0;
    walk_reset(s, c);
    for (uint32_t i = 0; i < n_starts; i++) {
        uint64_t bit = 1ull << (starts[i] & 63);
        if (starts[i] >= core_n_slots(c) || starts[i] >= s->visited_words * 64 ||
            (s->visited[starts[i] >> 6] & bit))
            continue;
        s->visited[starts[i] >> 6] |= bit;
        s->batch[n++] = starts[i];
    }
    for (;;) {
        offer_batch(&pool, s, p, n);
        while (pool.next < pool.n && pool.checked[pool.next])
            pool.next++;
        if (pool.next == pool.n)
            return pool.n;
        pool.checked[pool.next] = 1;
        struct list list = core_links(c, pool.c[pool.next].id, level);
        n = list.word ? walk_unvisited(c, s, list) : 0;
        look_ahead(&pool, s);
    }
}
