/* Traversal: greedy descent, and the best-first walk of one level.
 *
 * A walk is bound by memory: each step needs a list, then the nodes it names, each a cache miss behind the other. So a node's
 * list is fetched as soon as the node is among the candidates; and before one candidate's neighbours are compared, the next
 * one's list is read and its neighbours are called for. It is nearly always expanded next, and what was read of it then serves.
 * Of long codes only those are read that the sketches, a cache line each, do not rule out; of very long ones none. Of what is left
 * most went to mispredicted branches, since whether a neighbour was seen before, or comes into the pool, and where, is a toss-up;
 * so lists are thinned out without branches.
 *
 * hnswlib keeps two heaps; here one sorted array of ef candidates with a mark for those already expanded does the work of
 * both. It visits the same nodes: a candidate that has dropped out of the ef nearest is one that hnswlib would never expand. */
#include <math.h>
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

static int grow_aligned(void *ptr, size_t len)
{
    void **p = ptr;
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
        if (grow(&s->pool, ef + 1u, sizeof *s->pool) < 0)
            return LT_ENOMEM;
        s->pool_cap = ef + 1u;
    }
    size_t padded = distance_pad(c->dim);
    if (padded > s->query_cap) {
        s->query_cap = 0;
        if (grow_aligned(&s->query, padded) < 0 || grow_aligned(&s->pair, padded) < 0 ||
            grow_aligned(&s->planes, planes_bytes(padded)) < 0 || grow(&s->query_f32, padded, sizeof *s->query_f32) < 0 ||
            grow(&s->rotated, padded, sizeof *s->rotated) < 0)
            return LT_ENOMEM;
        s->query_cap = padded;
    }
    return 0;
}

/* Forgets what was visited: word by word where that is noted. */
void walk_reset(struct graph_scratch *s, const struct core *c)
{
    size_t words = ((size_t)core_n_slots(c) + VISITED_SLACK) / 64 + 1;
    if (s->n_touched <= TOUCHED_MAX && s->n_touched < words / 8) {
        for (uint32_t i = 0; i < s->n_touched; i++)
            s->visited[s->touched[i] >> 6] = 0;
    } else {
        memset(s->visited, 0, s->visited_words * sizeof *s->visited);
    }
    s->n_touched = 0;
}

/* What a comparison reads: sketches alone, or all there is before the list. */
static inline void prefetch_nodes(const struct core *c, const uint8_t *const *at, uint32_t n, bool sketches)
{
    uint32_t len = sketches ? c->sketch_bytes : c->head_at + NODE_LIST_AT;
    len = len < 1024 ? len : 1024;
    for (uint32_t i = 0; i < n; i++)
        prefetch(at[i], len);
}

static inline uint32_t id_limit(const struct core *c, const struct graph_scratch *s)
{
    uint32_t limit = core_n_slots(c);
    return limit < s->visited_words * 64 ? limit : (uint32_t)(s->visited_words * 64);
}

/* A list's links that were not visited yet, and where they lie, into a. Links beyond the limit are younger than the search,
 * or those of a damaged file. */
static void look(const struct core *c, struct graph_scratch *s, struct list list, struct ahead *a)
{
    uint32_t n = list_read(list, s->links), limit = id_limit(c, s), k = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = s->links[i], ok = id < limit, safe = ok ? id : 0;
        a->ids[k] = id;
        k += ok & (uint32_t)~(s->visited[safe >> 6] >> (safe & 63)) & 1u;
    }
    for (uint32_t i = 0; i < k; i++)
        a->at[i] = core_record(c, a->ids[i]);
    a->n = k;
}

/* Those of a that still were not visited into the batch; now they are. */
static uint32_t take(struct graph_scratch *s, const struct ahead *a)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        s->batch[k] = a->ids[i];
        s->batch_at[k] = a->at[i];
        k += walk_visit(s, a->ids[i]);
    }
    return k;
}

uint32_t walk_unvisited(const struct core *c, struct graph_scratch *s, struct list list, bool sketches)
{
    look(c, s, list, &s->ahead);
    prefetch_nodes(c, s->ahead.at, s->ahead.n, sketches);
    return take(s, &s->ahead);
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
        for (uint32_t i = 0; i < n; i++) {
            if (s->links[i] >= limit)
                continue;
            s->batch_at[k] = core_record(c, s->links[i]);
            s->batch[k++] = s->links[i];
        }
        prefetch_nodes(c, s->batch_at, k, c->by_sketch);
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

/* The candidates, nearest first; LINK_CHILD in an id means here: expanded. */
#define CHECKED LINK_CHILD
struct pool {
    struct cand *c;
    uint32_t n, ef;
    uint32_t next; /* no unchecked candidate before this one */
    const struct core *core;
    uint32_t level;
};

static inline void prefetch_list(const struct pool *p, uint32_t id)
{
    struct list l = core_links(p->core, id, p->level);
    if (l.word)
        prefetch(l.word, list_bytes(l.room, l.wide, false));
}

/* How many of the first n are not farther than d. */
static inline uint32_t rank_of(const struct cand *c, uint32_t n, float d)
{
    const struct cand *from = c;
    if (!n)
        return 0;
    while (n > 1) {
        uint32_t half = n / 2;
        from += half & -(uint32_t)(from[half - 1].d <= d);
        n -= half;
    }
    return (uint32_t)(from - c) + (from->d <= d);
}

static inline void pool_put(struct pool *p, float d, uint32_t id)
{
    if (p->n == p->ef) {
        if (!(d < p->c[p->n - 1].d))
            return;
        p->n--;
    }
    uint32_t at = rank_of(p->c, p->n, d);
    memmove(p->c + at + 1, p->c + at, (p->n - at) * sizeof *p->c);
    p->c[at] = (struct cand){d, id};
    prefetch_list(p, id);
    p->n++;
    if (at < p->next)
        p->next = at;
}

/* n nodes into the pool, if they are near enough. */
static void offer(struct pool *pool, struct graph_scratch *s, const struct probe *p, const uint32_t *ids, const uint8_t *const *at,
                  uint32_t n)
{
    const struct core *c = pool->core;
    if (p->v)
        core_distances(c, p, ids, n, s->batch_d);
    else
        core_distances_at(c, p, at, n, s->batch_d);
    float limit = pool->n == pool->ef ? pool->c[pool->n - 1].d : INFINITY;
    uint32_t near[2 * GRAPH_M_MAX + 8], k = 0;
    for (uint32_t i = 0; i < n; i++) {
        near[k] = i;
        k += s->batch_d[i] < limit;
    }
    for (uint32_t i = 0; i < k; i++)
        pool_put(pool, s->batch_d[near[i]], ids[near[i]]);
}

/* The batch's n nodes into the pool. With sketches, those that they do not rule out are called for and compared the next time, when
 * they have arrived; those of the last time are compared now. */
static void offer_batch(struct pool *pool, struct graph_scratch *s, const struct probe *p, uint32_t n)
{
    const struct core *c = pool->core;
    s->n_distances += n;
    if (!p->q || !p->sketch.planes) {
        offer(pool, s, p, s->batch, s->batch_at, n);
        return;
    }
    if (pool->n == pool->ef)
        n = core_filter(c, p, s->batch, s->batch_at, n, pool->c[pool->n - 1].d);
    for (uint32_t i = 0; i < n; i++)
        prefetch(s->batch_at[i] + c->sketch_bytes, c->code_bytes < 1024 ? c->code_bytes + NODE_LIST_AT : 1024);
    offer(pool, s, p, s->late.ids, s->late.at, s->late.n);
    memcpy(s->late.ids, s->batch, n * sizeof *s->batch);
    memcpy(s->late.at, s->batch_at, n * sizeof *s->batch_at);
    s->late.n = n;
}

/* The candidate behind the one at hand: what its expansion will read is called for. */
static void look_ahead(const struct pool *p, struct graph_scratch *s)
{
    uint32_t at = p->next + 1;
    while (at < p->n && (p->c[at].id & CHECKED))
        at++;
    s->ahead.n = 0;
    s->ahead.id = at < p->n ? p->c[at].id : ID_NONE;
    struct list list = at < p->n ? core_links(p->core, s->ahead.id, p->level) : (struct list){0};
    if (!list.word)
        return;
    look(p->core, s, list, &s->ahead);
    prefetch_nodes(p->core, s->ahead.at, s->ahead.n, p->core->sketch_bytes != 0);
}

uint32_t walk_level(const struct core *c, struct graph_scratch *s, const struct probe *p,
                    const uint32_t *starts, uint32_t n_starts, uint32_t level, uint32_t ef)
{
    struct pool pool = {s->pool, 0, ef, 0, c, level};
    uint32_t n = 0, limit;
    walk_reset(s, c);
    s->ahead.id = ID_NONE;
    limit = id_limit(c, s);
    for (uint32_t i = 0; i < n_starts; i++) {
        if (starts[i] >= limit || !walk_visit(s, starts[i]))
            continue;
        s->batch[n] = starts[i];
        s->batch_at[n++] = core_record(c, starts[i]);
    }
    s->late.n = 0;
    for (;;) {
        offer_batch(&pool, s, p, n);
        n = 0;
        while (pool.next < pool.n && (pool.c[pool.next].id & CHECKED))
            pool.next++;
        if (pool.next == pool.n && s->late.n)
            continue;
        if (pool.next == pool.n)
            break;
        uint32_t id = pool.c[pool.next].id;
        pool.c[pool.next].id |= CHECKED;
        if (id == s->ahead.id) {
            n = take(s, &s->ahead);
            if (!c->sketch_bytes && c->code_bytes > 512)
                prefetch_nodes(c, s->batch_at, n, false); /* two such lots do not stay in the first cache */
        } else {
            struct list list = core_links(c, id, level);
            n = list.word ? walk_unvisited(c, s, list, c->sketch_bytes != 0) : 0;
        }
        look_ahead(&pool, s);
    }
    for (uint32_t i = 0; i < pool.n; i++)
        pool.c[i].id &= LINK_ID;
    return pool.n;
}
