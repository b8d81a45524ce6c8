/* Compaction: a graph without its free slots.
 *
 * Nodes keep their order, levels and links and only get new numbers, so that the new graph answers as the old one did. It is
 * built beside the old one, written to files of its own, and takes its place by one store; searches that are in the old one
 * end there, and it goes when the last of them has. What this gives up: for that long both take memory and disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "index/graph_int.h"
#include "index/segment.h"

/* Everything of a node but its links, which have the old numbers yet. */
static int copy_node(struct core *to, const struct core *from, uint32_t id, uint32_t *new_id)
{
    const struct node_head *h = core_head(from, id);
    int r;
    if (h->level > LEVEL_MAX || (uint32_t)XXH3_64bits(core_vector(from, id), from->dim * sizeof(float)) != h->vec_sum)
        return LT_ECORRUPT; /* or it would get a good checksum */
    if ((r = core_hash_reserve(to, 1)) < 0 || (r = core_alloc(to, h->level, new_id)) < 0)
        return r;
    struct node_head *n = core_head(to, *new_id);
    uint32_t place = n->place;
    memcpy(core_record(to, *new_id), core_record(from, id), to->stride);
    n->place = place;
    if ((r = core_put_vector(to, *new_id, core_vector(from, id))) < 0)
        return r;
    core_hash_put(to, h->label, *new_id);
    to->level_count[h->level]++;
    atomic_fetch_add(&to->n_live, 1);
    return 0;
}

/* In place; those to nodes that are gone are left out. */
static uint32_t translate(const uint32_t *new_of, uint32_t n_slots, uint32_t *links, uint32_t n)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t to = links[i] & LINK_ID;
        if (to < n_slots && new_of[to] != ID_NONE)
            links[k++] = new_of[to] | (links[i] & LINK_CHILD);
    }
    return k;
}

static int copy_links(struct core *to, const struct core *from, uint32_t id, const uint32_t *new_of)
{
    uint32_t links[2 * GRAPH_M_MAX + 8], n_slots = core_n_slots(from);
    const struct node_head *h = core_head(from, id);
    for (uint32_t l = 0; l <= h->level; l++) {
        struct list list = core_links(from, id, l);
        if (!list.word)
            return LT_ECORRUPT;
        uint32_t n = l ? list_read(list, links) : list_read_marked(list, links);
        list_write(core_links(to, new_of[id], l), links, translate(new_of, n_slots, links, n));
    }
    uint32_t parent = core_parent(from, id);
    bool is_root = id == atomic_load(&from->root);
    if (!is_root && (parent >= n_slots || new_of[parent] == ID_NONE))
        return LT_ECORRUPT;
    core_set_parent(to, new_of[id], is_root ? ID_NONE : new_of[parent]);
    return 0;
}

static int copy_core(struct core *to, const struct core *from)
{
    uint32_t n_slots = core_n_slots(from), entry = atomic_load(&from->entry), root = atomic_load(&from->root);
    uint32_t *new_of = malloc(((size_t)n_slots + 1) * sizeof *new_of);
    int r = new_of ? 0 : LT_ENOMEM;
    for (uint32_t id = 0; id < n_slots && r == 0; id++) {
        new_of[id] = ID_NONE;
        if (node_state(core_head(from, id)) == NODE_LIVE)
            r = copy_node(to, from, id, &new_of[id]);
    }
    for (uint32_t id = 0; id < n_slots && r == 0; id++)
        if (new_of[id] != ID_NONE)
            r = copy_links(to, from, id, new_of);
    if (r == 0 && atomic_load(&to->n_live)) {
        if (entry >= n_slots || root >= n_slots || new_of[entry] == ID_NONE || new_of[root] == ID_NONE) {
            r = LT_ECORRUPT;
        } else {
            atomic_store(&to->entry, new_of[entry]);
            atomic_store(&to->root, new_of[root]);
        }
    }
    if (r == 0 && atomic_load(&from->lost))
        r = LT_ECORRUPT; /* zeros were read in the place of nodes */
    free(new_of);
    return r;
}

/* Into new files; on failure nothing of them stays. */
static int save(struct graph *g, struct core *to, const struct core *from, uint64_t seq, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    uint64_t gen = ++g->gen;
    int r = 0;
    if (to->has_vectors && (r = segment_vectors_create(g->dir, gen, to, em)) < 0)
        return r;
    if ((r = copy_core(to, from)) < 0)
        err_set(em, r, r == LT_ECORRUPT ? "the graph is damaged" : "the graph's copy: %s", err_text(r));
    else
        r = segment_save(g, to, gen, seq, em);
    if (r < 0 && to->has_vectors) {
        vectors_path(path, g->dir, gen);
        unlink(path);
    }
    return r;
}

int graph_compact(struct graph *g, uint64_t seq, struct err_msg *em)
{
    struct core *from = graph_core(g), *to;
    struct graph_params p = g->p;
    int r = 0;
    p.wide = from->wide;
    graph_reclaim(g);
    remove_sweep(from, g->scratch, true);
    if (!(to = core_create(&p)))
        return err_set(em, LT_ENOMEM, "no memory for a graph");
    if (g->dir)
        r = save(g, to, from, seq, em);
    else if ((r = copy_core(to, from)) < 0)
        err_set(em, r, "the graph's copy: %s", err_text(r));
    if (r < 0)
        core_destroy(to);
    else
        graph_swap(g, to);
    return r;
}
