/* Several threads insert at once. What is cheap and needs order, the writer does: slots, records, labels. The rest, candidates and links,
 * each thread does for the node it takes; walks need no locks, and a list that changes is locked (struct node_locks).
 *
 * A node is linked to by others only once it is live, so those that are inserted at the same moment do not know of each other; they
 * are as few as there are threads. Whatever changes the entry or takes nodes away is done by the writer alone. */
#include <stdlib.h>

#include "index/graph_int.h"

#define PENDING_MAX 256u
#define EACH_MIN 4u /* nodes for which a thread is worth its start */

/* Nodes with records but without links. */
struct pending {
    struct graph *g;
    struct core *c;
    uint32_t n;
    uint64_t label[PENDING_MAX];
    uint32_t id[PENDING_MAX];
    const float *v[PENDING_MAX];
    _Atomic uint32_t next; /* that a thread takes */
};

struct helper {
    struct pending *p;
    struct graph_scratch *s;
    pthread_t thread;
};

static void insert_pending(struct pending *p, struct graph_scratch *s)
{
    struct core *c = p->c;
    for (uint32_t i; (i = atomic_fetch_add(&p->next, 1)) < p->n;) {
        (void)vector_prepare(c, p->v[i], s->query_f32); /* as when its record was filled */
        node_insert(c, s, p->id[i], core_head(c, p->id[i])->level, p->g->p.ef_construction);
        node_live(c, p->id[i]);
    }
}

static void *helper_main(void *arg)
{
    struct helper *h = arg;
    insert_pending(h->p, h->s);
    return NULL;
}

/* False without memory: the caller's thread does it all. */
static bool prepare_locks(struct graph *g)
{
    if (g->locks)
        return true;
    if (!(g->locks = malloc(sizeof *g->locks)))
        return false;
    for (uint32_t i = 0; i < NODE_LOCKS; i++)
        pthread_mutex_init(&g->locks->of[i], NULL);
    return true;
}

static struct graph_scratch *prepare_helper(struct graph *g, const struct core *c, unsigned i)
{
    if (!g->helpers[i] && graph_scratch_create(&g->helpers[i]) < 0)
        return NULL;
    return scratch_reserve(g->helpers[i], c, g->p.ef_construction) < 0 ? NULL : g->helpers[i];
}

/* All pending nodes into the graph. */
static void flush(struct pending *p, unsigned n_threads)
{
    struct helper helpers[GRAPH_THREADS_MAX - 1];
    struct graph *g = p->g;
    unsigned n = 0, want = p->n / EACH_MIN < n_threads ? p->n / EACH_MIN : n_threads;
    atomic_store(&p->next, 0);
    while (n + 1 < want && prepare_locks(g)) {
        struct helper *h = &helpers[n];
        *h = (struct helper){p, prepare_helper(g, p->c, n), 0};
        if (!h->s)
            break;
        h->s->locks = g->scratch->locks = g->locks; /* the caller's thread has not begun */
        if (pthread_create(&h->thread, NULL, helper_main, h))
            break;
        n++;
    }
    insert_pending(p, g->scratch);
    for (unsigned i = 0; i < n; i++)
        pthread_join(helpers[i].thread, NULL);
    g->scratch->locks = NULL;
    for (uint32_t i = 0; i < p->n; i++)
        node_found(g, p->c, p->label[i], p->id[i]);
    p->n = 0;
}

static bool is_pending(const struct pending *p, uint64_t label)
{
    bool is = false;
    for (uint32_t i = 0; i < p->n; i++)
        is |= p->label[i] == label;
    return is;
}

/* The writer's alone: the first one, one that becomes the entry, and one that takes another's place. */
static bool needs_order(const struct pending *p, uint64_t label, uint32_t level)
{
    uint32_t entry = atomic_load(&p->c->entry);
    return entry >= core_n_slots(p->c) || level > core_head(p->c, entry)->level || core_find_live(p->c, label) != ID_NONE ||
           is_pending(p, label);
}

static int take(struct pending *p, uint64_t label, const float *v, uint32_t level, unsigned n_threads)
{
    struct core *c = p->c;
    uint32_t id;
    int r;
    if (p->n == PENDING_MAX)
        flush(p, n_threads);
    if ((r = core_hash_reserve(c, p->n + 1)) < 0 || (r = node_create(p->g, c, label, v, level, &id)) < 0)
        return r;
    p->label[p->n] = label;
    p->id[p->n] = id;
    p->v[p->n++] = v;
    return 0;
}

static int add_pending(struct pending *p, uint64_t label, const float *v, unsigned n_threads)
{
    uint32_t level = node_level(p->g);
    if (!needs_order(p, label, level))
        return take(p, label, v, level, n_threads);
    flush(p, n_threads);
    return node_add(p->g, label, v, level);
}

void graph_add_many(struct graph *g, const uint64_t *labels, const float *v, size_t n, unsigned n_threads, int *results)
{
    int r = 0;
    n_threads = n_threads < GRAPH_THREADS_MAX ? n_threads : GRAPH_THREADS_MAX;
    struct pending *p = n_threads > 1 && n >= 2 * EACH_MIN ? malloc(sizeof *p) : NULL;
    if (p) {
        p->g = g;
        p->c = graph_core(g);
        p->n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        const float *x = v + i * g->p.dim;
        bool stop = r < 0 && r != LT_ENAN && r != LT_EINVAL;
        if (!stop)
            r = p ? add_pending(p, labels[i], x, n_threads) : graph_add(g, labels[i], x);
        results[i] = r;
    }
    if (p)
        flush(p, n_threads);
    free(p);
}
