/* Search: walk by codes, then score by exact vectors. Readers only read; what the writer does meanwhile at worst makes a node
 * dead under their eyes, and then its label leads to the node that replaced it, if any. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "index/graph_run.h"

#define EF_DEFAULT 64u
#define SMALL 256u        /* live nodes: comparing all is as quick as walking, and exact */
#define RESCORE_SURE 3.0f /* of 741 codes one is farther off than this many standard deviations, on the side that matters */

int graph_scratch_create(struct graph_scratch **out)
{
    struct graph_scratch *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
    if (!s)
        return LT_ENOMEM;
    memset(s, 0, sizeof *s);
    epoch_register(&s->reader);
    *out = s;
    return 0;
}

void graph_scratch_destroy(struct graph_scratch **s)
{
    if (!s || !*s)
        return;
    epoch_unregister(&(*s)->reader);
    free((*s)->visited);
    free((*s)->pool);
    free((*s)->heap);
    free((*s)->query);
    free((*s)->pair);
    free((*s)->planes);
    free((*s)->query_f32);
    free((*s)->rotated);
    free(*s);
    *s = NULL;
}

/* ---- filtered walk: candidates and results apart ---- */

static int queue_push(struct graph_scratch *s, uint32_t *n, float d, uint32_t id)
{
    if (*n == s->heap_cap) {
        size_t cap = s->heap_cap ? 2 * s->heap_cap : 1024;
        struct cand *h = realloc(s->heap, cap * sizeof *h);
        if (!h)
            return LT_ENOMEM;
        s->heap = h;
        s->heap_cap = cap;
    }
    uint32_t i = (*n)++;
    for (; i && s->heap[(i - 1) / 2].d > d; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = (struct cand){d, id};
    return 0;
}

static struct cand queue_pop(struct graph_scratch *s, uint32_t *n)
{
    struct cand *h = s->heap, top = h[0], x = h[--*n];
    uint32_t i = 0;
    for (uint32_t k = 1; k < *n; k = 2 * i + 1) {
        if (k + 1 < *n && h[k + 1].d < h[k].d)
            k++;
        if (!(h[k].d < x.d))
            break;
        h[i] = h[k];
        i = k;
    }
    h[i] = x;
    return top;
}

static void result_put(struct run *r, uint32_t ef, float d, uint32_t id)
{
    struct cand *p = r->s->pool;
    if (r->n == ef)
        r->n--;
    uint32_t i = r->n++;
    for (; i && p[i - 1].d > d; i--)
        p[i] = p[i - 1];
    p[i] = (struct cand){d, id};
}

/* True when a node that the walk meets may answer for its label in the end. One that is just replacing another counts: by the time
 * the walk would come to that one, it may be out of all lists. */
static bool answers(const struct run *r, uint32_t id)
{
    enum node_state state = node_state(core_head(r->c, id));
    return state == NODE_LIVE || (state == NODE_DEAD && run_current(r, id) != ID_NONE) ||
           (state == NODE_NEW && core_find(r->c, core_head(r->c, id)->label) != ID_NONE);
}

/* *gave_up: the filter lets so little through that comparing everything it allows is cheaper. */
static int walk_filtered(struct run *r, const uint32_t *starts, uint32_t n_starts, uint32_t ef,
                         bool *gave_up)
{
    struct graph_scratch *s = r->s;
    uint32_t n_queue = 0, n = 0;
    uint64_t budget = s->n_distances + atomic_load(&r->c->n_live) / 4 + 1000;
    walk_reset(s, r->c);
    r->n = 0;
    for (uint32_t i = 0; i < n_starts; i++) {
        if (starts[i] < s->visited_words * 64 && walk_visit(s, starts[i]))
            s->batch[n++] = starts[i];
    }
    for (;;) {
        core_distances(r->c, &r->probe, s->batch, n, s->batch_d);
        s->n_distances += n;
        for (uint32_t i = 0; i < n; i++) {
            float d = s->batch_d[i];
            if (r->n == ef && !(d < s->pool[ef - 1].d))
                continue;
            if (queue_push(s, &n_queue, d, s->batch[i]) < 0)
                return LT_ENOMEM;
            if (answers(r, s->batch[i]) && run_allows(r, s->batch[i]))
                result_put(r, ef, d, s->batch[i]);
        }
        if (!n_queue)
            return 0;
        *gave_up = s->n_distances > budget;
        if (*gave_up)
            return 0;
        struct cand next = queue_pop(s, &n_queue);
        if (r->n == ef && next.d > s->pool[ef - 1].d)
            return 0;
        n = walk_unvisited(r->c, s, core_list(r->c, next.id), r->c->by_sketch);
    }
}

/* How far a distance may well be from the exact one: RESCORE_SURE standard deviations. */
static float slack_sketch(const struct run *r, uint32_t id)
{
    const struct core *c = r->c;
    float e = sketch_tail(core_record(c, id), sketch_dims(c->dim))->error * r->probe.sketch.norm;
    return RESCORE_SURE * (c->metric == METRIC_L2 ? 2 * e : e);
}

static float slack_codes(const struct run *r, uint32_t id)
{
    const struct node_head *h = core_head(r->c, id);
    const struct probe *p = &r->codes;
    /* each value is off by up to half a step, evenly: 1/12 of a step squared */
    float e = sqrtf((node_scale(h) * node_scale(h) * p->norm2 + p->scale * p->scale * h->norm2) / 12);
    return RESCORE_SURE * (r->c->metric == METRIC_L2 ? 2 * e : e);
}

/* One step of scoring anew: from sketches to codes, or from either to exact vectors. */
struct pass {
    float (*slack)(const struct run *r, uint32_t id); /* of the scores there are; NULL: none */
    float (*slack_new)(const struct run *r, uint32_t id); /* of the new ones; NULL: none */
    bool codes;
};

static float pass_distance(struct run *r, const struct pass *pass, uint32_t id)
{
    float d;
    if (!pass->codes)
        return run_exact(r, id);
    core_distances(r->c, &r->codes, &id, 1, &d);
    return d;
}

/* Scores, best first, for all results that can be among the k nearest by what is known of the errors; dead ones replaced by what
 * answers for their label. */
static void rescore_pass(struct run *r, const struct pass *pass)
{
    struct cand *p = r->s->pool;
    uint32_t k = 0;
    bool vectors = r->c->has_vectors;
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t id = run_current(r, p[i].id), j = k, want = run_replaced(r) ? run_with_spare(r->q->k) : r->q->k;
        if (id >= core_n_slots(r->c))
            continue;
        float d = p[i].d;
        if (k >= want && id == p[i].id) {
            float least = pass->slack ? d - pass->slack(r, id) : d;
            float most = p[want - 1].d + (pass->slack_new ? pass->slack_new(r, p[want - 1].id) : 0);
            if (least > most)
                break; /* and so are those behind it */
        }
        if (vectors && i + 4 < r->n && (pass->codes || i + 4 < want))
            run_prefetch(r->c, p[i + 4].id, pass->codes);
        if (vectors || id != p[i].id)
            d = pass_distance(r, pass, id);
        for (k++; j && p[j - 1].d > d; j--)
            p[j] = p[j - 1];
        p[j] = (struct cand){d, id};
    }
    r->n = k;
}

/* A node and the one it replaced may both have been met, and looked up before and after the label changed hands. */
static void drop_doubles(struct run *r)
{
    struct cand *p = r->s->pool;
    uint32_t kept = 0;
    for (uint32_t i = 0, j; i < r->n; i++) {
        const uint64_t label = core_head(r->c, p[i].id)->label;
        for (j = 0; j < kept && core_head(r->c, p[j].id)->label != label; j++)
            ;
        if (j == kept)
            p[kept++] = p[i];
    }
    r->n = kept;
}

/* Exact scores, best first. walked: those there are, are the walk's. */
static void rescore(struct run *r, bool walked)
{
    const struct pass to_codes = {slack_sketch, slack_codes, true};
    struct pass to_exact = {NULL, NULL, false};
    if (walked && r->c->codes == GRAPH_CODES_INT8) {
        if (r->c->by_sketch) {
            core_probe_codes(r->c, r->s, &r->codes);
            rescore_pass(r, &to_codes);
        } else {
            r->codes = r->probe;
        }
        to_exact.slack = slack_codes;
    } else if (walked && r->c->codes == GRAPH_CODES_1BIT) {
        to_exact.slack = slack_sketch;
    }
    rescore_pass(r, &to_exact);
    if (run_replaced(r))
        drop_doubles(r);
}

static int walk(struct run *r, uint32_t ef, bool *exact)
{
    const struct core *c = r->c;
    uint32_t at = atomic_load(&c->entry);
    uint32_t live = atomic_load(&c->n_live), root = atomic_load(&c->root);
    bool gave_up = false, filtered = r->q->allow || atomic_load(&c->n_dead);
    if (at >= core_n_slots(c) || root >= core_n_slots(c)) {
        r->n = 0;
        return 0;
    }
    for (uint32_t l = core_head(c, at)->level; l && l <= LEVEL_MAX; l--)
        at = walk_greedy(c, r->s, &r->probe, at, l);
    uint32_t starts[2] = {at, root};
    int e = 0;
    if (filtered)
        e = walk_filtered(r, starts, 2, ef, &gave_up);
    else
        r->n = walk_level(c, r->s, &r->probe, starts, 2, 0, ef);
    if (e < 0)
        return e;
    if (!gave_up)
        rescore(r, true);
    /* Too narrow a filter, or too much dying under the walk. */
    if (gave_up || (r->n < r->q->k && r->n < live && !r->q->allow)) {
        *exact = true;
        return scan_all(r);
    }
    return 0;
}

static int prepare(struct run *r, uint32_t ef)
{
    const struct core *c = r->c;
    struct graph_scratch *s = r->s;
    int e;
    if ((e = scratch_reserve(s, c, ef)) < 0 ||
        (e = vector_prepare(c, r->q->v, s->query_f32)) < 0)
        return e;
    core_probe_query(c, s, &r->probe);
    return 0;
}

static int search(struct run *r, uint32_t ef, struct graph_hit *out, size_t *n, struct graph_stats *st)
{
    uint32_t live = atomic_load(&r->c->n_live), k = r->q->k;
    bool exact = r->q->exact || r->q->labels || live <= SMALL || live <= ef;
    int e = prepare(r, ef);
    if (e < 0)
        return e;
    if (r->q->labels)
        e = scan_labels(r);
    else if (exact)
        e = scan_all(r);
    else
        e = walk(r, ef, &exact);
    if (e < 0)
        return e;
    if (exact && run_replaced(r))
        rescore(r, false);
    uint32_t found = r->n < k ? r->n : k;
    for (uint32_t i = 0; i < found; i++)
        out[i] = (struct graph_hit){core_head(r->c, r->s->pool[i].id)->label, -r->s->pool[i].d};
    *n = found;
    *st = (struct graph_stats){r->s->n_distances, r->n_rescored, ef, exact, GRAPH_SHORT_NONE};
    if (found < k)
        st->why = r->q->labels || r->q->allow ? GRAPH_SHORT_FILTER
                  : found >= live             ? GRAPH_SHORT_EXHAUSTED
                                              : GRAPH_SHORT_BUDGET;
    return 0;
}

int graph_search(const struct graph *g, struct graph_scratch *s, const struct graph_query *q,
                 struct graph_hit *out, size_t *n, struct graph_stats *st)
{
    struct graph_stats unused;
    uint32_t ef = q->ef ? q->ef : 2 * (uint64_t)q->k > EF_DEFAULT ? 2 * q->k : EF_DEFAULT;
    if (!q->ef && g->p.codes == GRAPH_CODES_1BIT && ef <= GRAPH_EF_MAX / 2)
        ef *= 2; /* about the recall that int8 has at half of it */
    if (ef < q->k)
        ef = q->k;
    bool any = q->exact || q->labels;
    if (!any && (q->k > GRAPH_EF_MAX || q->ef > GRAPH_EF_MAX))
        return LT_EINVAL;
    if (any || ef > GRAPH_EF_MAX)
        ef = any ? 0 : GRAPH_EF_MAX;
    st = st ? st : &unused;
    *n = 0;
    *st = (struct graph_stats){.ef = ef};
    if (!q->k)
        return 0;
    struct run r = {.s = s, .q = q};
    s->n_distances = 0;
    epoch_enter(&s->reader);
    r.c = graph_core(g);
    r.n_replaced = atomic_load(&r.c->n_replaced);
    int e = search(&r, ef, out, n, st);
    epoch_leave(&s->reader);
    return e;
}
