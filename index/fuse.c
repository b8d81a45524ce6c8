#include "index/fuse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

int topk_init(struct topk *t, size_t cap)
{
    t->n = 0;
    t->cap = cap;
    t->items = malloc((cap ? cap : 1) * sizeof *t->items);
    return t->items ? 0 : LT_ENOMEM;
}

void topk_finish(struct topk *t)
{
    free(t->items);
    *t = (struct topk){0};
}

static bool worse(const struct ranked *a, const struct ranked *b)
{
    return a->score < b->score || (a->score == b->score && a->chunk > b->chunk);
}

void topk_push(struct topk *t, uint64_t chunk, float score)
{
    struct ranked x = {chunk, 0, score};
    struct ranked *h = t->items;
    size_t i;
    if (t->n < t->cap) {
        for (i = t->n++; i && worse(&x, &h[(i - 1) / 2]); i = (i - 1) / 2)
            h[i] = h[(i - 1) / 2];
        h[i] = x;
        return;
    }
    if (!t->cap || !worse(&h[0], &x))
        return;
    for (i = 0;;) {
        size_t child = 2 * i + 1;
        if (child >= t->n)
            break;
        if (child + 1 < t->n && worse(&h[child + 1], &h[child]))
            child++;
        if (!worse(&h[child], &x))
            break;
        h[i] = h[child];
        i = child;
    }
    h[i] = x;
}

static int best_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

static int by_chunk(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->chunk != y->chunk)
        return x->chunk < y->chunk ? -1 : 1;
    return (x->score < y->score) - (x->score > y->score);
}

void topk_sort(struct topk *t)
{
    size_t m = 0;
    qsort(t->items, t->n, sizeof *t->items, by_chunk);
    for (size_t i = 0; i < t->n; i++)
        if (!i || t->items[i].chunk != t->items[i - 1].chunk)
            t->items[m++] = t->items[i];
    t->n = m;
    qsort(t->items, t->n, sizeof *t->items, best_first);
}

/* A list's scores in standard deviations from their mean. */
struct standard {
    double mean, spread; /* spread 0: all are alike */
    double absent;       /* of what is not in the list */
};

static double standard_of(const struct standard *s, double score)
{
    return s->spread > 0 ? (score - s->mean) / s->spread : 0;
}

static struct standard standard(const struct topk *t, size_t n_all)
{
    struct standard s = {0};
    const size_t n = t->n < FUSE_DEPTH ? t->n : FUSE_DEPTH, full = n_all < FUSE_DEPTH ? n_all : FUSE_DEPTH, n_zeros = n < full ? full - n : 0;
    const double total = n + n_zeros ? (double)(n + n_zeros) : 1;
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        s.mean += (double)t->items[i].score / total;
    for (size_t i = 0; i < n; i++)
        squares += ((double)t->items[i].score - s.mean) * ((double)t->items[i].score - s.mean);
    s.spread = sqrt((squares + (double)n_zeros * s.mean * s.mean) / total);
    if (!(s.spread > 1e-6 * fabs(s.mean))) /* roundings of the same score */
        s.spread = 0;
    s.absent = -FUSE_ABSENT;
    if (n_all && s.spread > 0 && standard_of(&s, 0) > s.absent)
        s.absent = standard_of(&s, 0);
    return s;
}

struct slot {
    uint64_t key;
    uint32_t out; /* index + 1; 0: free */
    uint32_t seen; /* lists, one bit each */
    float best;
};

int fuse(const struct topk *const lists[2], const struct fusion *f, struct ranked *out)
{
    size_t total = (lists[0] ? lists[0]->n : 0) + (lists[1] ? lists[1]->n : 0), size = 16, n = 0;
    bool alone = !lists[0] || !lists[1];
    while (size < total * 2)
        size *= 2;
    struct slot *table = calloc(size, sizeof *table);
    if (!table)
        return LT_ENOMEM;
    for (uint32_t l = 0; l < 2; l++) {
        float rank = 1;
        struct standard std = {0};
        if (lists[l] && f->by == INDEX_FUSION_SCORE)
            std = standard(lists[l], f->n_all[l]);
        for (size_t i = 0; lists[l] && i < lists[l]->n; i++) {
            const struct ranked *x = &lists[l]->items[i];
            size_t h = (x->key * 0x9E3779B97F4A7C15u >> 32) & (size - 1);
            while (table[h].out && table[h].key != x->key)
                h = (h + 1) & (size - 1);
            struct slot *s = &table[h];
            if (s->seen & 1u << l)
                continue; /* a lesser chunk of the same document */
            float gain = alone ? x->score : f->weights[l] / (FUSE_K + rank);
            if (!alone && f->by == INDEX_FUSION_SCORE)
                gain = f->weights[l] * (float)fmax(standard_of(&std, (double)x->score) - std.absent, 0);
            rank++;
            if (!s->out) {
                out[n] = (struct ranked){x->chunk, x->key, 0};
                *s = (struct slot){x->key, (uint32_t)++n, 0, gain};
            } else if (gain > s->best) {
                out[s->out - 1].chunk = x->chunk;
                s->best = gain;
            }
            s->seen |= 1u << l;
            out[s->out - 1].score += gain;
        }
    }
    free(table);
    qsort(out, n, sizeof *out, best_first);
    return (int)n;
}
