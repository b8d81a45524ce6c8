/* Distances between queries, codes and exact vectors, and choosing neighbours by them. */
#include <string.h>

#include "index/graph_int.h"

/* Of nodes at the very limit one in five is passed over; one that is really among the nearest lies far from it. */
#define SKETCH_SURE 0.8f

void cand_sort(struct cand *c, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) { /* short or nearly sorted */
        struct cand x = c[i];
        uint32_t j = i;
        for (; j > 0 && c[j - 1].d > x.d; j--)
            c[j] = c[j - 1];
        c[j] = x;
    }
}

#define GROUP 8
#define EXTEND_TRIES 16u /* candidates that are not, before the nearest are taken as they are */
#define EXTEND_FILL 12u  /* sixteenths of a list that they fill; a list of a fresh graph is filled to 10 or 11 */

static void distances_exact(const struct core *c, const struct probe *p, const uint32_t *ids, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = c->metric == METRIC_L2 ? c->kernel->l2_f32(p->v, core_vector(c, ids[i]), c->dim)
                                        : -c->kernel->dot_f32(p->v, core_vector(c, ids[i]), c->dim);
}

static void distances_int8(const struct core *c, const struct probe *p, const uint8_t *const *at,
                           uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i += GROUP) {
        const uint8_t *codes[GROUP];
        int32_t dots[GROUP];
        uint32_t k = n - i < GROUP ? n - i : GROUP;
        for (uint32_t j = 0; j < k; j++)
            codes[j] = at[i + j] + c->sketch_bytes;
        c->kernel->dot_codes(codes, k, p->q, p->bias, c->code_bytes, dots);
        for (uint32_t j = 0; j < k; j++) {
            const struct node_head *h = (const struct node_head *)(const void *)(codes[j] + c->code_bytes);
            float dot = p->scale * node_scale(h) * (float)dots[j];
            out[i + j] = c->metric == METRIC_L2 ? p->norm2 + h->norm2 - 2 * dot : -dot;
        }
    }
}

/* The estimates less `sure` standard deviations. */
static void distances_sketch(const struct core *c, const struct probe *p, const uint8_t *const *at, uint32_t n, float sure,
                             float *out)
{
    const struct sketch_query *q = &p->sketch;
    size_t dims = sketch_dims(c->dim);
    for (uint32_t i = 0; i < n; i += GROUP) {
        const uint8_t *const *bits = at + i;
        int32_t dots[GROUP];
        uint32_t k = n - i < GROUP ? n - i : GROUP;
        c->kernel->dot_bits(bits, k, q->planes, dims, dots);
        for (uint32_t j = 0; j < k; j++) {
            const struct sketch_tail *t = sketch_tail(bits[j], dims);
            float dot = t->factor * q->scale * (float)(2 * dots[j] - q->sum) + sure * q->norm * t->error;
            out[i + j] = c->metric == METRIC_L2 ? q->norm * q->norm + t->norm2 - 2 * dot : -dot;
        }
    }
}

void core_distances_at(const struct core *c, const struct probe *p, const uint8_t *const *at, uint32_t n, float *out)
{
    if (p->q)
        distances_int8(c, p, at, n, out);
    else
        distances_sketch(c, p, at, n, 0, out);
}

uint32_t core_filter(const struct core *c, const struct probe *p, uint32_t *ids, const uint8_t **at, uint32_t n, float limit)
{
    float d[2 * GRAPH_M_MAX + 8];
    uint32_t k = 0;
    distances_sketch(c, p, at, n, SKETCH_SURE, d);
    for (uint32_t i = 0; i < n; i++) {
        ids[k] = ids[i];
        at[k] = at[i];
        k += d[i] < limit;
    }
    return k;
}

void core_distances(const struct core *c, const struct probe *p, const uint32_t *ids, uint32_t n,
                    float *out)
{
    if (p->v) {
        distances_exact(c, p, ids, n, out);
        return;
    }
    for (uint32_t i = 0; i < n; i += GROUP) {
        const uint8_t *at[GROUP];
        uint32_t k = n - i < GROUP ? n - i : GROUP;
        for (uint32_t j = 0; j < k; j++)
            at[j] = core_record(c, ids[i + j]);
        core_distances_at(c, p, at, k, out + i);
    }
}

void core_probe(const struct core *c, uint32_t id, int8_t *room, struct probe *p)
{
    const struct node_head *h = core_head(c, id);
    *p = (struct probe){.scale = node_scale(h), .norm2 = h->norm2};
    if (c->codes == GRAPH_CODES_INT8) {
        p->bias = c->kernel->code_to_query(core_code(c, id), c->code_bytes, room);
        p->q = room;
    } else {
        p->v = core_vector(c, id);
    }
}

void core_probe_codes(const struct core *c, struct graph_scratch *s, struct probe *p)
{
    uint8_t *code = (uint8_t *)s->pair;
    *p = (struct probe){.q = s->query};
    distance_encode(c->kernel, s->query_f32, c->dim, code, &p->scale, &p->norm2);
    p->bias = c->kernel->code_to_query(code, c->code_bytes, s->query);
}

void core_probe_query(const struct core *c, struct graph_scratch *s, struct probe *p)
{
    *p = (struct probe){0};
    if (c->codes == GRAPH_CODES_INT8 && !c->by_sketch)
        core_probe_codes(c, s, p);
    if (c->sketch_bytes) {
        sketch_rotate(c->kernel, s->query_f32, c->dim, s->rotated);
        sketch_prepare(c->kernel, s->rotated, sketch_dims(c->dim), s->pair, s->planes, &p->sketch);
    }
    if (c->codes == GRAPH_CODES_F32)
        p->v = s->query_f32;
}

/* True when one of the n chosen is nearer to cand than cand is to the node itself. */
static bool dominated(const struct core *c, struct graph_scratch *s, const struct cand *cand,
                      const uint32_t *chosen, uint32_t n)
{
    struct probe p;
    float d[GROUP];
    if (!n)
        return false;
    core_probe(c, cand->id & LINK_ID, s->pair, &p);
    for (uint32_t i = 0; i < n; i += GROUP) {
        uint32_t k = n - i < GROUP ? n - i : GROUP;
        core_distances(c, &p, chosen + i, k, d);
        s->n_distances += k;
        for (uint32_t j = 0; j < k; j++)
            if (d[j] < cand->d)
                return true;
    }
    return false;
}

uint32_t core_select(const struct core *c, struct graph_scratch *s, struct cand *cands, uint32_t n,
                     uint32_t max)
{
    uint32_t chosen[2 * GRAPH_M_MAX], kept = 0, children = 0, n_same = 0;
    if (n < max)
        return n; /* as hnswlib does */
    for (uint32_t i = 0; i < n; i++)
        children += (cands[i].id & LINK_CHILD) != 0;
    for (uint32_t i = 0; i < n && kept < max; i++) {
        bool child = (cands[i].id & LINK_CHILD) != 0;
        if (!child && kept + children >= max)
            continue; /* the rest of the room belongs to tree edges */
        /* Equal vectors do not dominate each other: a pile of them must not fill the list and cut itself off. */
        bool same = kept && cands[i].d <= cands[0].d && n_same >= max / 2;
        if (!child && (same || dominated(c, s, &cands[i], chosen, kept)))
            continue;
        n_same += cands[i].d <= cands[0].d;
        children -= child;
        chosen[kept] = cands[i].id & LINK_ID;
        cands[kept++] = cands[i];
    }
    return kept;
}

uint32_t core_extend(const struct core *c, struct graph_scratch *s, uint32_t *links, uint32_t n, const struct cand *cands, uint32_t n_cands,
                     uint32_t max)
{
    uint32_t chosen[2 * GRAPH_M_MAX + 8], passed[EXTEND_TRIES], n_passed = 0, i = 0;
    for (uint32_t j = 0; j < n; j++)
        chosen[j] = links[j] & LINK_ID;
    for (; i < n_cands && n < max && n_passed < EXTEND_TRIES; i++) {
        if (dominated(c, s, &cands[i], chosen, n)) {
            passed[n_passed++] = i;
            continue;
        }
        chosen[n] = cands[i].id;
        links[n++] = cands[i].id;
    }
    const uint32_t fill = max * EXTEND_FILL / 16;
    for (uint32_t j = 0; j < n_passed && n < fill; j++)
        links[n++] = cands[passed[j]].id;
    for (; i < n_cands && n < fill; i++)
        links[n++] = cands[i].id;
    return n;
}
