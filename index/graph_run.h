/* One search, for graph_search.c, which walks, and graph_scan.c, which compares all that is allowed. */
#ifndef INDEX_GRAPH_RUN_H
#define INDEX_GRAPH_RUN_H

#include "index/graph_int.h"

struct run {
    const struct core *c;
    struct graph_scratch *s;
    const struct graph_query *q;
    struct probe probe, codes; /* what the walk goes by; int8, for rescoring and scans */
    uint32_t n; /* results in s->pool, sorted by distance */
    uint64_t n_rescored;
    uint32_t n_replaced; /* the core's counter at the start */
};

/* True when some label may have got a new node since the search began: old and new may both have been met, or, with bad luck,
 * neither as a live one. Odd: a replacement is under way. */
static inline bool run_replaced(const struct run *r)
{
    return (r->n_replaced & 1) || atomic_load(&r->c->n_replaced) != r->n_replaced;
}

static inline bool run_allows(const struct run *r, uint32_t id)
{
    return !r->q->allow || r->q->allow(r->q->allow_arg, core_head(r->c, id)->label);
}

/* How many of the best answer for k while labels change their nodes: a label may be met twice. */
#define RUN_SPARE 16u
static inline uint32_t run_with_spare(uint32_t k)
{
    return k > RUN_SPARE ? (k > UINT32_MAX / 2 ? k : 2 * k) : k + RUN_SPARE;
}

/* The node that answers for id's label now: itself, its replacement, or none. */
static inline uint32_t run_current(const struct run *r, uint32_t id)
{
    const struct node_head *h = core_head(r->c, id);
    enum node_state state = node_state(h);
    if (!run_replaced(r))
        return state == NODE_LIVE ? id : ID_NONE;
    return state != NODE_FREE ? core_find(r->c, h->label) : ID_NONE;
}

static inline float run_exact(struct run *r, uint32_t id)
{
    const struct core *c = r->c;
    const float *v = core_vector(c, id);
    r->n_rescored++;
    return c->metric == METRIC_L2 ? c->kernel->l2_f32(r->s->query_f32, v, c->dim)
                                  : -c->kernel->dot_f32(r->s->query_f32, v, c->dim);
}

/* Calls for a node's code and head, or for its exact vector; of long ones for the beginning. */
static inline void run_prefetch(const struct core *c, uint32_t id, bool code)
{
    const void *p = code ? (const void *)core_code(c, id) : core_vector(c, id);
    uint32_t len = code ? c->code_bytes + NODE_LIST_AT : c->vec_stride;
    prefetch(p, len < 2048 ? len : 2048);
}

/* graph_scan.c. The k nearest, and some more, of all live nodes that are allowed, or of those of q->labels, into s->pool, by exact
 * distance. The run's scratch is reserved and s->query_f32 prepared. LT_ENOMEM. */
int scan_all(struct run *r);
int scan_labels(struct run *r);

#endif
