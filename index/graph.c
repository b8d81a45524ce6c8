/* Opening, figures, and what else belongs to no one part of the graph. */
#include "index/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "index/graph_int.h"
#include "index/segment.h"

#define M_DEFAULT 16u
#define EF_CONSTRUCTION_DEFAULT 200u
#define INT8_FROM_DIM 32u /* below, eight bits a dimension tell too few vectors apart, and f32 is small anyway */
#define CHANGE_BYTES (128u << 10) /* pages of a mapped graph that a change makes the process's own: a link in each of some 32 nodes */
#define CHANGES_MIN 4096u /* checkpoints are not wanted for fewer, except at the end */
#define BYTES_CHEAP (256u << 20) /* a graph that is quickly written is written at the end for any change */

static int params_check(const struct graph_params *p, struct graph_params *out, struct err_msg *em)
{
    *out = *p;
    if (!out->m)
        out->m = M_DEFAULT;
    if (!out->ef_construction)
        out->ef_construction = EF_CONSTRUCTION_DEFAULT;
    if (out->codes == GRAPH_CODES_AUTO)
        out->codes = p->dim < INT8_FROM_DIM ? GRAPH_CODES_F32 : GRAPH_CODES_INT8;
    if (!out->seed)
        out->seed = 100; /* hnswlib's, too */
    if (!p->dim || p->dim > GRAPH_DIM_MAX)
        return err_set(em, LT_EINVAL, "dimension %u is not within 1 … %u", p->dim, GRAPH_DIM_MAX);
    if (out->m < GRAPH_M_MIN || out->m > GRAPH_M_MAX)
        return err_set(em, LT_EINVAL, "m %u is not within %u … %u", out->m, GRAPH_M_MIN, GRAPH_M_MAX);
    if (out->ef_construction > GRAPH_EF_CONSTRUCTION_MAX)
        return err_set(em, LT_EINVAL, "ef_construction %u is over %u", out->ef_construction,
                       GRAPH_EF_CONSTRUCTION_MAX);
    if ((unsigned)p->metric > METRIC_L2 || (unsigned)p->codes > GRAPH_CODES_1BIT)
        return err_set(em, LT_EINVAL, "unknown metric or code type");
    if (out->ef_construction < out->m)
        out->ef_construction = out->m;
    return 0;
}

int graph_open(struct graph **out, const char *dir, const struct graph_params *p,
               uint64_t *covered_seq, struct graph_report *rep, struct err_msg *em)
{
    struct graph_report unused;
    struct graph *g = calloc(1, sizeof *g);
    struct core *c = NULL;
    int r;
    rep = rep ? rep : &unused;
    memset(rep, 0, sizeof *rep);
    *covered_seq = 0;
    if (!g)
        return err_set(em, LT_ENOMEM, "no memory for a graph");
    if ((r = params_check(p, &g->p, em)) < 0)
        goto out;
    r = err_set(em, LT_ENOMEM, "no memory for a graph of dimension %u", p->dim);
    if (!(g->swap = malloc(sizeof *g->swap)))
        goto out;
    pthread_mutex_init(g->swap, NULL);
    g->level_mult = 1 / log(g->p.m);
    g->rng = g->p.seed;
    if (graph_scratch_create(&g->scratch) < 0 || (dir && !(g->dir = strdup(dir))))
        goto out;
    if (dir) {
        r = segment_load(g, &c, rep, em);
    } else {
        c = core_create(&g->p);
        r = c ? 0 : LT_ENOMEM;
    }
    if (r < 0)
        goto out;
    /* Another run of levels than the last time, or the same ids would always get the same ones. */
    g->rng += (uint64_t)atomic_load(&c->n_slots) << 32;
    atomic_store(&g->core, c);
    *covered_seq = atomic_load(&g->covered_seq);
    *out = g;
    return 0;
out:
    graph_destroy(&g);
    return r;
}

void graph_destroy(struct graph **g)
{
    if (!g || !*g)
        return;
    graph_save_abort(*g);
    for (struct core *c = (*g)->old, *next; c; c = next) {
        next = c->next_old;
        core_destroy(c);
    }
    core_destroy(atomic_load(&(*g)->core));
    if ((*g)->swap)
        pthread_mutex_destroy((*g)->swap);
    free((*g)->swap);
    graph_scratch_destroy(&(*g)->scratch);
    for (unsigned i = 0; i < GRAPH_THREADS_MAX - 1; i++)
        graph_scratch_destroy(&(*g)->helpers[i]);
    for (uint32_t i = 0; (*g)->locks && i < NODE_LOCKS; i++)
        pthread_mutex_destroy(&(*g)->locks->of[i]);
    free((*g)->locks);
    free((*g)->dir);
    free(*g);
    *g = NULL;
}

void graph_swap(struct graph *g, struct core *c)
{
    struct core *old = graph_core(g);
    pthread_mutex_lock(g->swap);
    atomic_store_explicit(&g->core, c, memory_order_release);
    pthread_mutex_unlock(g->swap);
    old->old_stamp = epoch_retire();
    old->next_old = g->old;
    g->old = old;
    g->scrub_vector = 0;
    graph_reclaim(g);
}

void graph_reclaim(struct graph *g)
{
    uint64_t quiet = g->old ? epoch_quiet() : 0;
    for (struct core **p = &g->old; *p;) {
        struct core *c = *p;
        if (c->old_stamp < quiet) {
            *p = c->next_old;
            core_destroy(c);
        } else {
            p = &c->next_old;
        }
    }
}

bool graph_has(const struct graph *g, uint64_t label)
{
    return core_find_live(graph_core(g), label) != ID_NONE;
}

void graph_labels(const struct graph *g, bool (*fn)(void *arg, uint64_t label), void *arg)
{
    const struct core *c = graph_core(g);
    for (uint32_t id = 0; id < core_n_slots(c); id++) {
        const struct node_head *h = core_head(c, id);
        if (node_state(h) == NODE_LIVE && !fn(arg, h->label))
            return;
    }
}

uint64_t graph_count(const struct graph *g)
{
    pthread_mutex_lock(g->swap);
    uint64_t n = atomic_load(&graph_core(g)->n_live);
    pthread_mutex_unlock(g->swap);
    return n;
}

static uint64_t bytes_codes(const struct core *c)
{
    return (uint64_t)core_n_slots(c) * c->stride +
           (uint64_t)atomic_load(&c->n_upper) * c->upper_stride;
}

void graph_info(const struct graph *g, struct graph_info *out)
{
    pthread_mutex_lock(g->swap);
    const struct core *c = graph_core(g);
    *out = (struct graph_info){
        .n_live = atomic_load(&c->n_live),
        .n_slots = core_n_slots(c),
        .n_changes = atomic_load(&g->n_changes),
        .covered_seq = atomic_load(&g->covered_seq),
        .bytes_on_disk = atomic_load(&g->bytes_on_disk),
        .bytes_codes = bytes_codes(c),
        .bytes_vectors = c->has_vectors ? (uint64_t)core_n_slots(c) * c->vec_stride : 0,
        .dim = c->dim,
        .m = c->m,
        .ef_construction = g->p.ef_construction,
        .metric = c->metric,
        .codes = c->codes,
        .kernel = c->kernel->name,
    };
    pthread_mutex_unlock(g->swap);
}

void graph_set_lean(struct graph *g, bool lean)
{
    struct core *c = graph_core(g);
    if (lean && !g->lean)
        segment_sparing(c->seg);
    if (lean)
        core_reclaim(c); /* what the last move left, as soon as no search needs it */
    g->lean = lean;
}

void graph_forsake(struct graph *g)
{
    g->forsaken = true;
}

/* Chunks in memory, the last one as far as it is in use. */
static uint64_t own_chunks(const struct core *c, _Atomic(uint8_t *) *dir, uint32_t n, uint32_t shift, uint32_t stride)
{
    uint64_t own = 0;
    for (uint32_t i = 0; (uint64_t)i << shift < n; i++) {
        const uint32_t left = n - (i << shift), each = 1u << shift;
        if (!c->seg || !segment_has(c->seg, atomic_load(&dir[i])))
            own += left < each ? left : each;
    }
    return own * stride;
}

uint64_t graph_own_bytes(const struct graph *g)
{
    const struct core *c = graph_core(g);
    const uint32_t n = core_n_slots(c), n_upper = atomic_load(&c->n_upper);
    const uint64_t nodes = own_chunks(c, c->dir, n, c->shift, c->stride) + own_chunks(c, c->upper_dir, n_upper, UPPER_SHIFT, c->upper_stride);
    const uint64_t mapped = bytes_codes(c) - nodes, changed = atomic_load(&g->n_changes) * CHANGE_BYTES;
    return nodes + (changed < mapped ? changed : mapped) + (c->has_vectors && c->vec_fd < 0 ? (uint64_t)n * c->vec_stride : 0);
}

bool graph_lost(const struct graph *g)
{
    pthread_mutex_lock(g->swap);
    bool lost = atomic_load(&graph_core(g)->lost);
    pthread_mutex_unlock(g->swap);
    return lost;
}

bool graph_full(const struct graph *g)
{
    return atomic_load(&graph_core(g)->full);
}

bool graph_wants_checkpoint(const struct graph *g, bool closing)
{
    uint64_t changes = atomic_load(&g->n_changes);
    const struct core *c = graph_core(g);
    if (!g->dir || !changes || graph_lost(g))
        return false;
    if (closing && (bytes_codes(c) < BYTES_CHEAP || changes >= g->n_saved / 100))
        return true;
    return changes >= CHANGES_MIN && changes >= g->n_saved;
}
