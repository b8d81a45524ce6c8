/* Scans: the nearest of many nodes by exact distance, without a walk.
 *
 * Exact vectors are long and lie apart, so most of a scan is waiting for them. Where nodes have int8 codes, a fifth as long and beside
 * what is read anyway, those are compared first. A code is off by at most half a step in each dimension, which bounds the exact distance
 * from both sides: a node whose least distance lies beyond the k-th least of the others' greatest is none of the k. Only of the rest,
 * mostly a few dozen, exact vectors are read. The bounds are sure ones, no estimates: the result is that of comparing all vectors. */
#include <math.h>
#include <stdlib.h>

#include "index/graph_run.h"

#define BLOCK 64u         /* nodes that are called for before the first of them is looked at */
#define ROUNDING 1e-4f    /* of the sums of f32 behind a distance, as a share of its parts: more than it is */
_Static_assert(BLOCK <= 2 * GRAPH_M_MAX + 8, "a block goes through the scratch's batch");

static int reserve(struct cand **to, size_t *cap, size_t n)
{
    if (n <= *cap)
        return 0;
    struct cand *p = realloc(*to, n * sizeof *p);
    if (!p)
        return LT_ENOMEM;
    *to = p;
    *cap = n;
    return 0;
}

/* ---- a max-heap of the k best in s->pool ---- */

static void heap_sift(struct cand *h, uint32_t n, uint32_t i)
{
    for (;;) {
        uint32_t k = 2 * i + 1;
        if (k >= n)
            return;
        if (k + 1 < n && h[k + 1].d > h[k].d)
            k++;
        if (!(h[k].d > h[i].d))
            return;
        struct cand t = h[i];
        h[i] = h[k];
        h[k] = t;
        i = k;
    }
}

static void heap_offer(struct run *r, uint32_t k, float d, uint32_t id)
{
    struct cand *h = r->s->pool;
    if (r->n == k) {
        if (!(d < h[0].d))
            return;
        h[0] = (struct cand){d, id};
        heap_sift(h, k, 0);
        return;
    }
    uint32_t i = r->n++;
    for (; i && h[(i - 1) / 2].d < d; i = (i - 1) / 2)
        h[i] = h[(i - 1) / 2];
    h[i] = (struct cand){d, id};
}

static int by_distance(const void *a, const void *b)
{
    const struct cand *x = a, *y = b;
    return x->d < y->d ? -1 : x->d > y->d ? 1 : (x->id > y->id) - (x->id < y->id);
}

/* ---- one scan ---- */

struct scan {
    struct run *r;
    uint32_t k;
    uint32_t n;      /* in the scratch's batch, to be compared */
    bool by_codes;
    float norm;      /* of the query */
    size_t n_left;   /* in s->heap: nodes that may be among the k, by their least distance */
};

static int begin(struct scan *sc, struct run *r, uint32_t k)
{
    const struct core *c = r->c;
    *sc = (struct scan){.r = r, .k = k, .by_codes = c->codes == GRAPH_CODES_INT8 && c->has_vectors};
    r->n = 0;
    if (sc->by_codes) {
        r->codes = r->probe;
        if (!r->codes.q)
            core_probe_codes(c, r->s, &r->codes);
        sc->norm = (float)sqrt(c->kernel->sum2(r->s->query_f32, c->dim));
    }
    return reserve(&r->s->pool, &r->s->pool_cap, (size_t)k + 1);
}

/* Between which the exact distance lies, of a node whose code's is d. */
static void bounds(const struct scan *sc, const struct node_head *h, float d, float *least, float *most)
{
    const struct core *c = sc->r->c;
    const struct probe *p = &sc->r->codes;
    float half = 0.5f * sqrtf((float)c->dim), length = sqrtf(h->norm2);
    float off_v = half * node_scale(h), off_q = half * p->scale; /* how far vectors lie from what their codes stand for */
    if (c->metric == METRIC_L2) {
        float between = sqrtf(d > 0 ? d : 0), off = off_v + off_q + ROUNDING * (length + off_v + sc->norm);
        *least = between > off ? (between - off) * (between - off) : 0;
        *most = (between + off) * (between + off);
        /* sums of squares that nearly cancel out */
        float loss = ROUNDING * (h->norm2 + p->norm2);
        *least -= loss;
        *most += loss;
        return;
    }
    float off = off_v * sc->norm + off_q * length + ROUNDING * sc->norm * (length + off_v);
    *least = d - off;
    *most = d + off;
}

/* What is left, without those that have been overtaken. */
static void thin_out(struct scan *sc)
{
    struct graph_scratch *s = sc->r->s;
    size_t kept = 0;
    for (size_t i = 0; i < sc->n_left; i++)
        if (sc->r->n < sc->k || !(s->heap[i].d > s->pool[0].d))
            s->heap[kept++] = s->heap[i];
    sc->n_left = kept;
}

static int room_left(struct scan *sc)
{
    struct graph_scratch *s = sc->r->s;
    if (sc->n_left + BLOCK <= s->heap_cap)
        return 0;
    thin_out(sc);
    return 2 * sc->n_left + BLOCK <= s->heap_cap ? 0 : reserve(&s->heap, &s->heap_cap, 2 * sc->n_left + 1024);
}

/* Compares the batch. */
static int flush(struct scan *sc)
{
    struct run *r = sc->r;
    struct graph_scratch *s = r->s;
    uint32_t n = sc->n;
    sc->n = 0;
    if (!sc->by_codes) {
        for (uint32_t i = 0; i < n; i++)
            heap_offer(r, sc->k, run_exact(r, s->batch[i]), s->batch[i]);
        return 0;
    }
    if (room_left(sc) < 0)
        return LT_ENOMEM;
    core_distances_at(r->c, &r->codes, s->batch_at, n, s->batch_d);
    s->n_distances += n;
    for (uint32_t i = 0; i < n; i++) {
        const struct node_head *h = (const struct node_head *)(const void *)(s->batch_at[i] + r->c->head_at);
        float least, most;
        bounds(sc, h, s->batch_d[i], &least, &most);
        if (r->n == sc->k && least > s->pool[0].d)
            continue;
        heap_offer(r, sc->k, most, s->batch[i]);
        s->heap[sc->n_left++] = (struct cand){least, s->batch[i]};
    }
    return 0;
}

static int offer(struct scan *sc, uint32_t id)
{
    struct graph_scratch *s = sc->r->s;
    s->batch[sc->n] = id;
    s->batch_at[sc->n++] = core_record(sc->r->c, id);
    return sc->n == BLOCK ? flush(sc) : 0;
}

/* The rest of the batch, then exact distances of what is left. */
static int finish(struct scan *sc)
{
    struct run *r = sc->r;
    struct graph_scratch *s = r->s;
    if (flush(sc) < 0)
        return LT_ENOMEM;
    if (sc->by_codes) {
        thin_out(sc);
        r->n = 0;
        for (size_t i = 0; i < sc->n_left; i++) {
            if (i + 4 < sc->n_left)
                run_prefetch(r->c, s->heap[i + 4].id, false);
            heap_offer(r, sc->k, run_exact(r, s->heap[i].id), s->heap[i].id);
        }
    }
    qsort(s->pool, r->n, sizeof *s->pool, by_distance);
    return 0;
}

int scan_all(struct run *r)
{
    /* More than k, so that pairs of old and new nodes of replaced labels take nobody's place. */
    uint32_t n = core_n_slots(r->c), k = run_with_spare(r->q->k) < n ? run_with_spare(r->q->k) : n;
    struct scan sc;
    int e = begin(&sc, r, k);
    for (uint32_t i = 0; e == 0 && i < n; i++) {
        /* A node that dies here with its replacement already passed, or beyond the end, would be lost; its label finds that one. */
        enum node_state state = node_state(core_head(r->c, i));
        uint32_t id = state == NODE_LIVE ? i : state == NODE_DEAD ? run_current(r, i) : ID_NONE;
        if (id < core_n_slots(r->c) && run_allows(r, id))
            e = offer(&sc, id);
    }
    return e < 0 ? e : finish(&sc);
}

/* The node to compare for a label; ID_NONE: none. */
static uint32_t node_of(struct run *r, uint64_t label)
{
    uint32_t id = core_find(r->c, label), limit = (uint32_t)(r->s->visited_words * 64);
    if (id == ID_NONE || id >= limit)
        return ID_NONE;
    enum node_state state = node_state(core_head(r->c, id));
    /* NEW and in the lookup: it is just replacing its predecessor. */
    if (state == NODE_DEAD && (id = core_find(r->c, label)) == ID_NONE)
        return ID_NONE;
    if (state == NODE_FREE || id >= limit || !run_allows(r, id) || !walk_visit(r->s, id))
        return ID_NONE; /* a label named twice counts once */
    return id;
}

int scan_labels(struct run *r)
{
    const uint64_t *labels = r->q->labels;
    size_t n = r->q->n_labels, k = r->q->k < n ? r->q->k : n;
    struct scan sc;
    int e = begin(&sc, r, (uint32_t)k);
    walk_reset(r->s, r->c);
    for (size_t from = 0; e == 0 && from < n; from += BLOCK) {
        size_t to = n - from < BLOCK ? n : from + BLOCK;
        /* Where a label is looked up, and what is read of its node, are misses of two kinds: each is called for by the block. */
        for (size_t i = from; i < to; i++)
            core_find_ahead(r->c, labels[i]);
        for (size_t i = from; i < to; i++) {
            uint32_t id = core_find_first(r->c, labels[i]);
            if (id == ID_NONE)
                continue;
            run_prefetch(r->c, id, true);
            if (!sc.by_codes && r->c->has_vectors)
                run_prefetch(r->c, id, false);
        }
        for (size_t i = from; e == 0 && i < to; i++) {
            uint32_t id = node_of(r, labels[i]);
            e = id == ID_NONE ? 0 : offer(&sc, id);
        }
    }
    return e < 0 ? e : finish(&sc);
}
