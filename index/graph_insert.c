/* Insertion, as in hnswlib: draw a level, descend, collect efConstruction candidates on each level, choose by the heuristic,
 * link both ways and shrink what overflows. */
#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "index/graph_int.h"

/* Links e to id on a level, shrinking e's list when it is full. True when the link is in the list afterwards. */
static bool link_to(struct core *c, struct graph_scratch *s, uint32_t e, uint32_t id, float d, uint32_t level)
{
    struct list list = core_links(c, e, level);
    uint32_t n_ok = 0;
    struct cand cands[2 * GRAPH_M_MAX + 1];
    struct probe p;
    if (!list.word)
        return false;
    core_touch(c, e, level);
    if (list_append(list, id))
        return true;
    uint32_t n = list_read_marked(list, s->links);
    for (uint32_t i = 0; i < n; i++) {
        if ((s->links[i] & LINK_ID) < core_n_slots(c)) {
            s->batch[n_ok] = s->links[i] & LINK_ID;
            s->links[n_ok++] = s->links[i];
        }
    }
    core_probe(c, e, s->pair, &p);
    core_distances(c, &p, s->batch, n_ok, s->batch_d);
    s->n_distances += n_ok;
    for (uint32_t i = 0; i < n_ok; i++)
        cands[i] = (struct cand){s->batch_d[i], s->links[i]};
    cands[n_ok] = (struct cand){d, id};
    cand_sort(cands, n_ok + 1);
    uint32_t kept = core_select(c, s, cands, n_ok + 1, list.room);
    bool in = false;
    for (uint32_t i = 0; i < kept; i++) {
        s->links[i] = cands[i].id;
        in |= cands[i].id == id;
    }
    list_write(list, s->links, kept);
    return in;
}

/* The same, and on level 0 e becomes id's parent if one is wanted and it has room for a child; then true. */
static bool connect(struct core *c, struct graph_scratch *s, uint32_t e, uint32_t id, float d, uint32_t level, bool want_parent)
{
    node_lock(s, e);
    bool adopt = link_to(c, s, e, id, d, level) && !level && want_parent && list_children(core_list(c, e)) < c->m;
    if (adopt)
        tree_adopt(c, id, e);
    node_unlock(s, e);
    return adopt;
}

/* Of the walk's result the live nodes, in place; never none while there are live nodes. */
static uint32_t live_only(const struct core *c, struct graph_scratch *s, const struct probe *p,
                          uint32_t n, uint32_t id)
{
    uint32_t k = 0, root = atomic_load(&c->root);
    for (uint32_t i = 0; i < n; i++)
        if (s->pool[i].id != id && node_state(core_head(c, s->pool[i].id)) == NODE_LIVE)
            s->pool[k++] = s->pool[i];
    if (!k && root < core_n_slots(c)) {
        s->pool[0].id = root;
        core_distances(c, p, &root, 1, &s->pool[0].d);
        k = 1;
    }
    return k;
}

/* Estimates serve for walking, not for choosing neighbours. */
static void pool_exact(const struct core *c, struct graph_scratch *s, uint32_t id, uint32_t n)
{
    struct probe p;
    core_probe(c, id, s->pair, &p);
    for (uint32_t i = 0; i < n; i++)
        core_distances(c, &p, &s->pool[i].id, 1, &s->pool[i].d);
    cand_sort(s->pool, n);
}

static void link_level(struct core *c, struct graph_scratch *s, uint32_t id, uint32_t level,
                       uint32_t n)
{
    struct cand chosen[GRAPH_M_MAX];
    uint32_t links[GRAPH_M_MAX];
    bool has_parent = false;
    uint32_t kept = core_select(c, s, s->pool, n, c->m);
    struct list list = core_links(c, id, level);
    if (kept > c->m)
        kept = c->m; /* fewer than m candidates are all kept; never more than m */
    for (uint32_t i = 0; i < kept; i++) {
        chosen[i] = s->pool[i];
        links[i] = s->pool[i].id;
    }
    core_touch(c, id, level);
    if (list.word)
        list_write(list, links, kept);
    for (uint32_t i = 0; i < kept; i++)
        has_parent |= connect(c, s, chosen[i].id, id, chosen[i].d, level, !has_parent);
    if (!level && kept && !has_parent)
        tree_attach(c, s, id, chosen[0].id);
}

void node_insert(struct core *c, struct graph_scratch *s, uint32_t id, uint32_t level, uint32_t ef)
{
    uint32_t at = atomic_load(&c->entry);
    if (at == ID_NONE) {
        atomic_store(&c->root, id);
        atomic_store(&c->entry, id);
        return;
    }
    struct probe p;
    uint32_t top = core_head(c, at)->level;
    if (top > LEVEL_MAX)
        top = LEVEL_MAX;
    core_probe_query(c, s, &p);
    for (uint32_t l = top; l > level; l--)
        at = walk_greedy(c, s, &p, at, l);
    for (uint32_t l = level < top ? level : top;; l--) {
        uint32_t starts[2] = {at, l ? at : atomic_load(&c->root)};
        uint32_t n = walk_level(c, s, &p, starts, 2, l, ef);
        if (n)
            at = s->pool[0].id;
        n = live_only(c, s, &p, n, id);
        if (c->by_sketch)
            pool_exact(c, s, id, n);
        if (l && core_head(c, s->pool[0].id)->level < l)
            n = 0; /* the root stood in, which is not on this level */
        link_level(c, s, id, l, n);
        if (!l)
            break;
    }
    if (level > top)
        atomic_store_explicit(&c->entry, id, memory_order_release);
}

uint32_t node_level(struct graph *g)
{
    uint64_t z = g->rng += 0x9E3779B97F4A7C15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    double u = (double)((z >> 11) + 1) * 0x1p-53;
    double level = -log(u) * g->level_mult;
    return level < LEVEL_MAX ? (uint32_t)level : LEVEL_MAX;
}

int vector_prepare(const struct core *c, const float *v, float *out)
{
    double sum = c->kernel->sum2(v, c->dim);
    /* NaN and Inf show in the sum. */
    if (!(sum < GRAPH_SUM2_MAX) || (c->metric == METRIC_COSINE && sum < 1e-60))
        return LT_ENAN;
    c->kernel->scale(v, c->dim, c->metric == METRIC_COSINE ? 1 / sqrt(sum) : 1, out);
    return 0;
}

/* Fills the record of a new slot, except for its links. */
int node_fill(struct core *c, struct graph_scratch *s, uint32_t id, uint64_t label, const float *v)
{
    struct node_head *h = core_head(c, id);
    h->label = label;
    h->vec_sum = (uint32_t)XXH3_64bits(v, c->dim * sizeof *v);
    if (c->sketch_bytes) {
        float *rotated = s->rotated;
        sketch_rotate(c->kernel, v, c->dim, rotated);
        sketch_encode(rotated, sketch_dims(c->dim), core_record(c, id));
    }
    if (c->codes == GRAPH_CODES_INT8) {
        float scale;
        uint32_t bits;
        distance_encode(c->kernel, v, c->dim, core_code(c, id), &scale, &h->norm2);
        memcpy(&bits, &scale, sizeof bits);
        h->scale = (uint16_t)(bits >> 16);
    }
    if (c->has_vectors)
        return core_put_vector(c, id, v);
    memcpy(core_code(c, id), v, c->dim * sizeof *v);
    return 0;
}

int node_create(struct graph *g, struct core *c, uint64_t label, const float *v, uint32_t level, uint32_t *id)
{
    struct graph_scratch *s = g->scratch;
    int r;
    if (label == UINT64_MAX)
        return LT_EINVAL;
    if ((r = scratch_reserve(s, c, g->p.ef_construction)) < 0 || (r = vector_prepare(c, v, s->query_f32)) < 0 ||
        (r = core_alloc(c, level, id)) < 0)
        return r;
    if ((r = node_fill(c, s, *id, label, s->query_f32)) < 0)
        core_release(c, *id); /* never published */
    return r;
}

void node_found(struct graph *g, struct core *c, uint64_t label, uint32_t id)
{
    core_hash_put(c, label, id);
    c->level_count[core_head(c, id)->level]++;
    atomic_fetch_add(&g->n_changes, 1);
}

void node_live(struct core *c, uint32_t id)
{
    core_touch(c, id, 0);
    atomic_fetch_add(&c->n_live, 1);
    atomic_store_explicit(&core_head(c, id)->state, NODE_LIVE, memory_order_release);
}

int node_add(struct graph *g, uint64_t label, const float *v, uint32_t level)
{
    struct core *c = graph_core(g);
    struct graph_scratch *s = g->scratch;
    uint32_t id, old;
    int r;
    if ((r = core_hash_reserve(c, 1)) < 0 || (r = remove_reserve(c)) < 0 ||
        (r = node_create(g, c, label, v, level, &id)) < 0)
        return r;
    old = core_find_live(c, label);
    node_insert(c, s, id, level, g->p.ef_construction);
    if (old == ID_NONE) {
        node_found(g, c, label, id);
        node_live(c, id);
        return 0;
    }
    /* A search that meets the old node after its death looks the label up and gets the new one. */
    atomic_fetch_add(&c->n_replaced, 1);
    core_hash_move(c, label, old, id);
    c->level_count[level]++;
    node_live(c, id);
    remove_node(c, s, old);
    atomic_fetch_add(&c->n_replaced, 1);
    atomic_fetch_add(&g->n_changes, 1);
    return 0;
}

int graph_add(struct graph *g, uint64_t label, const float *v)
{
    return node_add(g, label, v, node_level(g));
}
