/* The tree inside level 0 that keeps every live node reachable.
 *
 * HNSW's shrinking may drop the last link to a node, and deletion may cut off whole regions. Here each live node but the root
 * has one parent that never drops it. A node has at most m children, half of its list, so that the heuristic keeps the rest. */
#include "index/graph_int.h"

#define STEPS_MAX 4096 /* down the tree; only a damaged one is deeper */

void tree_adopt(struct core *c, uint32_t id, uint32_t parent)
{
    core_touch(c, parent, 0);
    list_mark(core_list(c, parent), id, true);
    core_set_parent(c, id, parent);
}

/* Puts id into parent's list, in place of the farthest link that is not a child's if there is no room. */
static void force_link(struct core *c, struct graph_scratch *s, uint32_t id, uint32_t parent)
{
    struct list list = core_list(c, parent);
    uint32_t n = list_read_marked(list, s->links), n_ok = 0, worst = ID_NONE;
    struct probe p;
    float far = 0;
    for (uint32_t i = 0; i < n; i++) {
        if ((s->links[i] & LINK_ID) == id)
            return;
        if ((s->links[i] & LINK_ID) < core_n_slots(c))
            s->links[n_ok++] = s->links[i];
    }
    core_probe(c, parent, s->pair, &p);
    for (uint32_t i = 0; n_ok == c->m0 && i < n_ok; i++) {
        float d;
        uint32_t to = s->links[i];
        if (to & LINK_CHILD)
            continue;
        core_distances(c, &p, &to, 1, &d);
        if (worst == ID_NONE || d > far) {
            worst = i;
            far = d;
        }
    }
    if (worst == ID_NONE)
        worst = n_ok < c->m0 ? n_ok++ : 0; /* all children: only in a damaged tree */
    s->links[worst] = id;
    core_touch(c, parent, 0);
    list_write(list, s->links, n_ok);
}

/* Of id's children the one nearest to the probe; ID_NONE: none. */
static uint32_t nearest_child(const struct core *c, struct graph_scratch *s, const struct probe *p,
                              uint32_t id)
{
    uint32_t n = list_read_marked(core_list(c, id), s->links), best = ID_NONE;
    float best_d = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t child = s->links[i] & LINK_ID;
        float d;
        if (!(s->links[i] & LINK_CHILD) || child >= core_n_slots(c))
            continue;
        core_distances(c, p, &child, 1, &d);
        if (best == ID_NONE || d < best_d) {
            best = child;
            best_d = d;
        }
    }
    return best;
}

void tree_attach(struct core *c, struct graph_scratch *s, uint32_t id, uint32_t under)
{
    struct probe p;
    core_probe(c, id, s->pair, &p);
    for (int i = 0;; i++) {
        node_lock(s, under);
        bool room = i == STEPS_MAX || list_children(core_list(c, under)) < c->m;
        uint32_t next = room ? ID_NONE : nearest_child(c, s, &p, under);
        if (next == ID_NONE && under != id) { /* itself: a damaged tree; graph_check finds it */
            force_link(c, s, id, under);
            tree_adopt(c, id, under);
        }
        node_unlock(s, under);
        if (next == ID_NONE)
            return;
        under = next;
    }
}

void tree_detach(struct core *c, struct graph_scratch *s, uint32_t id)
{
    uint32_t children[2 * GRAPH_M_MAX], n_children = 0, parent = core_parent(c, id), heir = ID_NONE;
    uint32_t n = list_read_marked(core_list(c, id), s->links);
    core_touch(c, id, 0);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t child = s->links[i] & LINK_ID;
        if (!(s->links[i] & LINK_CHILD))
            continue;
        list_mark(core_list(c, id), child, false);
        if (child < core_n_slots(c) && child != id && node_state(core_head(c, child)) == NODE_LIVE)
            children[n_children++] = child;
    }
    core_set_parent(c, id, ID_NONE);
    if (parent < core_n_slots(c)) {
        struct probe p;
        core_touch(c, parent, 0);
        list_mark(core_list(c, parent), id, false);
        float best = 0;
        core_probe(c, parent, s->pair, &p);
        for (uint32_t i = 0; i < n_children; i++) {
            float d;
            core_distances(c, &p, &children[i], 1, &d);
            if (heir == ID_NONE || d < best) {
                heir = children[i];
                best = d;
            }
        }
    } else if (n_children) {
        heir = children[0];
    }
    if (heir == ID_NONE)
        return;
    /* The heir takes the place of id; its siblings go below it, where no cycle can arise. */
    if (parent < core_n_slots(c)) {
        tree_attach(c, s, heir, parent);
    } else {
        core_set_parent(c, heir, ID_NONE);
        atomic_store_explicit(&c->root, heir, memory_order_release);
    }
    for (uint32_t i = 0; i < n_children; i++)
        if (children[i] != heir)
            tree_attach(c, s, children[i], heir);
}
