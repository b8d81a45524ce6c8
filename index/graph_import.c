/* A graph that another program built, taken over link by link, so that walks go the same ways. What it lacks is the tree that
 * keeps every node reachable: it is laid over the links that are there, and only nodes that none of them reaches get a new one. */
#include <stdlib.h>

#include "index/graph_import.h"
#include "index/graph_int.h"

static int add_node(struct graph *g, struct core *c, const struct hnswlib_file *f, uint32_t i, uint64_t label, float *v)
{
    struct graph_scratch *s = g->scratch;
    uint32_t links[2 * GRAPH_M_MAX], kept[2 * GRAPH_M_MAX], level = f->level[i], id;
    int r;
    hnswlib_vector(f, i, v);
    if ((r = vector_prepare(c, v, s->query_f32)) < 0 || (r = core_hash_reserve(c, 1)) < 0 ||
        (r = core_alloc(c, level, &id)) < 0)
        return r;
    if (id != i)
        return LT_EINTERNAL; /* an empty graph hands out its slots in order */
    if ((r = node_fill(c, s, id, label, s->query_f32)) < 0)
        return r;
    for (uint32_t l = 0; l <= level; l++) {
        struct list list = core_links(c, id, l);
        uint32_t n = hnswlib_links(f, i, l, links), k = 0;
        for (uint32_t j = 0; j < n; j++) {
            uint32_t same = 0;
            while (same < k && kept[same] != links[j])
                same++;
            if (same == k && links[j] != i)
                kept[k++] = links[j];
        }
        if (list.word)
            list_write(list, kept, k);
    }
    core_hash_put(c, label, id);
    c->level_count[level]++;
    atomic_fetch_add(&c->n_live, 1);
    atomic_store_explicit(&core_head(c, id)->state, NODE_LIVE, memory_order_release);
    return 0;
}

/* Gives a parent, with at most `most` children, to all that the links lead to from queue[at] on, breadth first; returns the
 * queue's new length. */
static uint32_t spread(struct core *c, uint32_t *queue, uint32_t at, uint32_t n, uint32_t most)
{
    uint32_t links[2 * GRAPH_M_MAX], root = atomic_load(&c->root);
    for (; at < n; at++) {
        uint32_t id = queue[at], k = list_read(core_list(c, id), links);
        for (uint32_t j = 0; j < k && list_children(core_list(c, id)) < most; j++) {
            uint32_t to = links[j] & LINK_ID;
            if (to == root || core_parent(c, to) != ID_NONE)
                continue;
            tree_adopt(c, to, id);
            queue[n++] = to;
        }
    }
    return n;
}

static int lay_tree(struct graph *g, struct core *c, uint32_t root)
{
    uint32_t n_slots = core_n_slots(c), *queue = malloc((size_t)n_slots * sizeof *queue), n = 1;
    if (!queue)
        return LT_ENOMEM;
    queue[0] = root;
    n = spread(c, queue, 0, n, c->m);
    n = spread(c, queue, 0, n, c->m0); /* rather a crowded list than a changed one */
    for (uint32_t id = 0; id < n_slots; id++) {
        if (id == root || core_parent(c, id) != ID_NONE)
            continue;
        tree_attach(c, g->scratch, id, root);
        queue[n] = id;
        n = spread(c, queue, n, n + 1, c->m0);
    }
    free(queue);
    return 0;
}

int graph_import(struct graph *g, const struct hnswlib_file *f, const uint64_t *labels)
{
    struct core *c = graph_core(g);
    int r;
    if (core_n_slots(c) || c->dim != f->dim || c->m != f->m)
        return LT_EINVAL;
    if (!f->n)
        return 0;
    float *v = malloc(c->dim * sizeof *v);
    if (!v)
        return LT_ENOMEM;
    r = scratch_reserve(g->scratch, c, g->p.ef_construction);
    for (uint32_t i = 0; i < f->n && r == 0; i++)
        r = add_node(g, c, f, i, labels[i], v);
    free(v);
    if (r < 0)
        return r;
    atomic_store(&c->root, f->entry);
    atomic_store_explicit(&c->entry, f->entry, memory_order_release);
    atomic_fetch_add(&g->n_changes, f->n);
    if ((r = lay_tree(g, c, f->entry)) < 0)
        return r;
    for (uint32_t i = 0; i < f->n && r == 0; i++)
        if (hnswlib_deleted(f, i))
            r = graph_remove(g, labels[i]);
    return r;
}
