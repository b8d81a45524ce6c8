/* Removal: a node dies at once, its children in the tree move, and a sweep that advances with every operation takes the links
 * to dead nodes out of all lists, putting in their place the best of what the dead ones led to. */
#include <string.h>

#include "index/graph_int.h"

#define DEAD_SHARE 50u /* a sweep starts when this fraction of the live nodes is dead … */
#define DEAD_MIN 16u   /* … but not for fewer than these */
#define CANDS_MAX 1024u

int remove_reserve(struct core *c)
{
    /* Room for one more dead node and for the stamps of all of them, so that nothing fails half-way. */
    if (!id_list_push(&c->dead, ID_NONE))
        return LT_ENOMEM;
    c->dead.n--;
    return core_retire_reserve(c, c->dead.n + 1);
}

static uint32_t gone_into(uint32_t *table, uint32_t id)
{
    for (uint32_t at = (id * 0x9E3779B1u) >> 21;; at = (at + 1) & 2047) {
        if (table[at] == id + 1)
            return 1;
        if (!table[at]) {
            table[at] = id + 1;
            return 0;
        }
    }
}

/* What a dead node led to, that is not among the seen yet. */
static uint32_t heirs(const struct core *c, uint32_t dead, uint32_t level, uint32_t *seen, uint32_t *ids, uint32_t k)
{
    uint32_t more[2 * GRAPH_M_MAX + 8], n_slots = core_n_slots(c);
    struct list list = core_links(c, dead, level);
    uint32_t n = list.word ? list_read(list, more) : 0;
    for (uint32_t i = 0; i < n && k < CANDS_MAX; i++) {
        uint32_t id = more[i] & LINK_ID;
        const struct node_head *h = id < n_slots ? core_head(c, id) : NULL;
        if (!h || node_state(h) != NODE_LIVE || h->level < level || gone_into(seen, id))
            continue;
        __builtin_prefetch((const char *)h - c->code_bytes);
        ids[k++] = id;
    }
    return k;
}

/* Rebuilds one list: its live links stay, and what the dead ones led to fills the gaps. Of that comes first what lies in another direction
 * than all that is linked already, looked for among the nearest, then the nearest: with every sweep lists would get shorter otherwise. But
 * some gaps stay open: a full list takes a new node in only in another's place, so that few lists would lead to what came last. */
static void relink(struct core *c, struct graph_scratch *s, uint32_t id, uint32_t level,
                   const uint32_t *links, uint32_t n)
{
    struct cand cands[CANDS_MAX];
    uint32_t ids[CANDS_MAX];
    float d[CANDS_MAX];
    uint32_t seen[2048] = {0}, own[2 * GRAPH_M_MAX + 8], kept = 0, k = 0, n_slots = core_n_slots(c);
    struct probe p;
    gone_into(seen, id);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t to = links[i] & LINK_ID;
        if (to < n_slots && node_state(core_head(c, to)) == NODE_LIVE && !gone_into(seen, to))
            own[kept++] = links[i];
    }
    bool live = node_state(core_head(c, id)) != NODE_DEAD;
    for (uint32_t i = 0; live && i < n; i++) {
        uint32_t to = links[i] & LINK_ID;
        if (to < n_slots && node_state(core_head(c, to)) != NODE_LIVE)
            k = heirs(c, to, level, seen, ids, k);
    }
    core_probe(c, id, s->pair, &p);
    core_distances(c, &p, ids, k, d);
    s->n_distances += k;
    for (uint32_t i = 0; i < k; i++)
        cands[i] = (struct cand){d[i], ids[i]};
    cand_sort(cands, k);
    kept = core_extend(c, s, own, kept, cands, k, level ? c->m : c->m0);
    core_touch(c, id, level);
    list_write(core_links(c, id, level), own, kept);
}

static void sweep_node(struct core *c, struct graph_scratch *s, uint32_t id)
{
    const struct node_head *h = core_head(c, id);
    uint32_t links[2 * GRAPH_M_MAX + 8], n_slots = core_n_slots(c);
    if (node_state(h) == NODE_FREE)
        return;
    for (uint32_t level = 0; level <= h->level && level <= LEVEL_MAX; level++) {
        struct list list = core_links(c, id, level);
        uint32_t n = list.word ? list_read_marked(list, links) : 0, i = 0;
        while (i < n && (links[i] & LINK_ID) < n_slots &&
               node_state(core_head(c, links[i] & LINK_ID)) == NODE_LIVE)
            i++;
        if (i < n)
            relink(c, s, id, level, links, n);
    }
}

/* The dead of this sweep are named by no list any more. */
static void sweep_end(struct core *c)
{
    uint32_t n = c->n_sweep;
    if (core_retire_reserve(c, n) < 0) {
        c->sweep_at = 0; /* again, later */
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        (void)core_retire(c, c->dead.ids[i], NULL, NULL);
    for (uint32_t i = n; i < c->dead.n; i++)
        c->dead.ids[i - n] = c->dead.ids[i];
    c->dead.n -= n;
    c->n_sweep = 0;
    atomic_fetch_sub(&c->n_dead, n);
    core_reclaim(c);
}

void remove_sweep_begin(struct core *c)
{
    if (c->n_sweep < c->dead.n) {
        c->n_sweep = c->dead.n;
        c->sweep_at = 0;
    }
}

void remove_sweep_some(struct core *c, struct graph_scratch *s, uint32_t n)
{
    uint32_t n_slots = core_n_slots(c);
    if (!c->n_sweep)
        return;
    for (; n && c->sweep_at < n_slots; n--)
        sweep_node(c, s, c->sweep_at++);
    if (c->sweep_at >= n_slots)
        sweep_end(c);
}

void remove_sweep(struct core *c, struct graph_scratch *s)
{
    uint32_t live = atomic_load(&c->n_live), share = live / DEAD_SHARE;
    uint32_t start = share > DEAD_MIN ? share : DEAD_MIN;
    if (!c->n_sweep && c->dead.n >= start)
        remove_sweep_begin(c);
    /* As fast as the next lot of dead nodes gathers. */
    remove_sweep_some(c, s, core_n_slots(c) / start + 1);
}

/* A live node of the highest level there is. */
static uint32_t new_entry(struct core *c, uint32_t old)
{
    uint32_t top = LEVEL_MAX, links[2 * GRAPH_M_MAX + 8], n_slots = core_n_slots(c);
    while (top && !c->level_count[top])
        top--;
    struct list list = core_links(c, old, top);
    uint32_t n = list.word ? list_read(list, links) : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = links[i] & LINK_ID;
        if (id < n_slots && node_state(core_head(c, id)) == NODE_LIVE &&
            core_head(c, id)->level == top)
            return id;
    }
    for (uint32_t id = 0; id < n_slots; id++)
        if (node_state(core_head(c, id)) == NODE_LIVE && core_head(c, id)->level >= top)
            return id;
    return atomic_load(&c->root); /* counts that lie: any live node will do */
}

/* The last one went: nothing leads anywhere, so all of the dead are free once readers have left. */
static void remove_last(struct core *c)
{
    atomic_store(&c->entry, ID_NONE);
    atomic_store(&c->root, ID_NONE);
    c->n_sweep = c->dead.n;
    c->sweep_at = core_n_slots(c);
    sweep_end(c);
}

void remove_node(struct core *c, struct graph_scratch *s, uint32_t id)
{
    struct node_head *h = core_head(c, id);
    core_touch(c, id, 0);
    atomic_store_explicit(&h->state, NODE_DEAD, memory_order_release);
    (void)id_list_push(&c->dead, id); /* reserved */
    if (h->level <= LEVEL_MAX && c->level_count[h->level])
        c->level_count[h->level]--;
    atomic_fetch_add(&c->n_dead, 1);
    if (atomic_fetch_sub(&c->n_live, 1) == 1) {
        remove_last(c);
        return;
    }
    tree_detach(c, s, id);
    if (atomic_load(&c->entry) == id)
        atomic_store_explicit(&c->entry, new_entry(c, id), memory_order_release);
    remove_sweep(c, s);
}

int graph_remove(struct graph *g, uint64_t label)
{
    struct core *c = graph_core(g);
    uint32_t id = core_find_live(c, label);
    int r;
    if (id == ID_NONE)
        return LT_ENOTFOUND;
    if ((r = scratch_reserve(g->scratch, c, g->p.ef_construction)) < 0 ||
        (r = remove_reserve(c)) < 0)
        return r;
    core_hash_drop(c, label, id);
    remove_node(c, g->scratch, id);
    atomic_fetch_add(&g->n_changes, 1);
    return 0;
}
