/* Compaction: a graph without its free slots.
 *
 * Nodes keep their order, levels and links and only get new numbers, so that the new graph answers as the old one did. It is
 * built beside the old one, written to files of its own, and takes its place by one store; searches that are in the old one
 * end there, and it goes when the last of them has. What this gives up: for that long both take memory and disk; and a change
 * of the old one meanwhile is the end of it (graph_save.c), since the copy would lack it. */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "index/graph_save.h"

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

int save_nodes_to(struct save *s, struct err_msg *em)
{
    const struct core *from = s->from;
    struct core *to = s->c;
    uint32_t bite = s->bite / (from->stride + from->vec_stride) + 1;
    int r = 0;
    if (!s->new_of) {
        s->n_from = core_n_slots(from);
        s->new_of = malloc(((size_t)s->n_from + 1) * sizeof *s->new_of);
        r = s->new_of ? 0 : LT_ENOMEM;
        s->at = 0;
    }
    for (; bite && s->at < s->n_from && r == 0; bite--, s->at++) {
        s->new_of[s->at] = ID_NONE;
        if (node_state(core_head(from, s->at)) == NODE_LIVE)
            r = copy_node(to, from, s->at, &s->new_of[s->at]);
    }
    if (r < 0)
        return err_set(em, r, r == LT_ECORRUPT ? "the graph is damaged" : "the graph's copy: %s", err_text(r));
    if (to->vec_fd >= 0)
        save_paces(s, &s->vec_pace, to->vec_fd, to->vec_end);
    if (s->at == s->n_from) {
        s->phase = SAVE_LINKS_TO;
        s->at = 0;
    }
    return 0;
}

/* Entry and root, once all nodes are there. */
static int copy_starts(struct save *s)
{
    uint32_t entry = atomic_load(&s->from->entry), root = atomic_load(&s->from->root);
    if (atomic_load(&s->from->lost))
        return LT_ECORRUPT; /* zeros were read in the place of nodes */
    if (!atomic_load(&s->c->n_live))
        return 0;
    if (entry >= s->n_from || root >= s->n_from || s->new_of[entry] == ID_NONE || s->new_of[root] == ID_NONE)
        return LT_ECORRUPT;
    atomic_store(&s->c->entry, s->new_of[entry]);
    atomic_store(&s->c->root, s->new_of[root]);
    return 0;
}

int save_links_to(struct save *s, struct err_msg *em)
{
    uint32_t bite = s->bite / s->from->stride + 1;
    int r = 0;
    for (; bite && s->at < s->n_from && r == 0; bite--, s->at++)
        if (s->new_of[s->at] != ID_NONE)
            r = copy_links(s->c, s->from, s->at, s->new_of);
    if (r == 0 && s->at == s->n_from && (r = copy_starts(s)) == 0)
        s->phase = s->g->dir ? SAVE_SNAPSHOT : SAVE_END;
    return r < 0 ? err_set(em, r, "the graph is damaged") : 0;
}
