/* Byte-pair merging of one stretch of symbols, and the table of merges.
 *
 * The order is the one of the `tokenizers` library: always the pair of lowest rank, the leftmost of
 * equals. Short stretches (words) are merged in place by scanning for the minimum, which beats any
 * queue while they fit in a few cache lines; long ones (text without spaces) use a linked list and a
 * heap of (rank, position), so that time grows as n log n. */
#include "model/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

/* Symbols up to which scanning is faster than the heap; measured on English and on base64 text. */
#define BPE_SCAN_MAX 40
#define NIL UINT32_MAX

int merge_map_init(struct merge_map *m, size_t n_merges)
{
    uint32_t bits = 3;
    while ((size_t)1 << bits < n_merges * 2 + 1)
        bits++;
    m->mask = (1u << bits) - 1;
    m->shift = 64 - bits;
    m->slots = malloc(((size_t)1 << bits) * sizeof *m->slots);
    if (!m->slots)
        return LT_ENOMEM;
    for (size_t i = 0; i <= m->mask; i++)
        m->slots[i].key = MERGE_FREE;
    return 0;
}

void merge_map_put(struct merge_map *m, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t i = (uint32_t)(key * 0x9E3779B97F4A7C15u >> m->shift);
    while (m->slots[i].key != MERGE_FREE && m->slots[i].key != key)
        i = (i + 1) & m->mask;
    m->slots[i] = (struct merge_slot){key, rank, id}; /* of equal pairs the last counts */
}

void bpe_word_finish(struct bpe_word *w)
{
    free(w->ids);
    free(w->starts);
    free(w->prev);
    free(w->next);
    free(w->rank);
    free(w->heap);
    memset(w, 0, sizeof *w);
}

/* Grows *p to n elements, keeping the old one on failure. */
static int grow(void *p, size_t n, size_t size)
{
    void **slot = p;
    void *q = realloc(*slot, n * size);
    if (!q)
        return LT_ENOMEM;
    *slot = q;
    return 0;
}

int bpe_word_reserve(struct bpe_word *w, uint32_t more)
{
    if (more <= w->cap - w->n)
        return 0;
    size_t cap = ((size_t)w->n + more) * 2;
    if (cap < 256)
        cap = 256;
    if (cap > UINT32_MAX / 2)
        return LT_ELIMIT;
    if (grow(&w->ids, cap, sizeof *w->ids) < 0 || grow(&w->starts, cap, sizeof *w->starts) < 0)
        return LT_ENOMEM;
    w->cap = (uint32_t)cap;
    return 0;
}

static void merge_scan(const struct merge_map *m, struct bpe_word *w)
{
    uint32_t rank[BPE_SCAN_MAX];
    int32_t to[BPE_SCAN_MAX], *ids = w->ids;
    uint32_t n = w->n;
    for (uint32_t i = 0; i + 1 < n; i++) {
        const struct merge_slot *s = merge_map_find(m, ids[i], ids[i + 1]);
        rank[i] = s ? s->rank : MERGE_NONE;
        to[i] = s ? s->id : 0;
    }
    for (;;) {
        uint32_t best = MERGE_NONE, at = 0;
        for (uint32_t i = 0; i + 1 < n; i++)
            if (rank[i] < best) {
                best = rank[i];
                at = i;
            }
        if (best == MERGE_NONE)
            break;
        ids[at] = to[at];
        n--;
        for (uint32_t i = at + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            w->starts[i] = w->starts[i + 1];
            rank[i - 1] = rank[i];
            to[i - 1] = to[i];
        }
        if (at > 0) {
            const struct merge_slot *s = merge_map_find(m, ids[at - 1], ids[at]);
            rank[at - 1] = s ? s->rank : MERGE_NONE;
            to[at - 1] = s ? s->id : 0;
        }
        if (at + 1 < n) {
            const struct merge_slot *s = merge_map_find(m, ids[at], ids[at + 1]);
            rank[at] = s ? s->rank : MERGE_NONE;
            to[at] = s ? s->id : 0;
        }
    }
    w->n = n;
}

/* The heap holds rank << 32 | position, smallest first. */
static int heap_push(struct bpe_word *w, uint64_t v)
{
    if (w->heap_n == w->heap_cap) {
        uint32_t cap = w->heap_cap < 128 ? 256 : w->heap_cap * 2;
        if (grow(&w->heap, cap, sizeof *w->heap) < 0)
            return LT_ENOMEM;
        w->heap_cap = cap;
    }
    uint32_t i = w->heap_n++;
    while (i > 0 && w->heap[(i - 1) / 2] > v) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = v;
    return 0;
}

static uint64_t heap_pop(struct bpe_word *w)
{
    uint64_t top = w->heap[0], v = w->heap[--w->heap_n];
    uint32_t i = 0, n = w->heap_n;
    for (uint32_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && w->heap[c + 1] < w->heap[c])
            c++;
        if (w->heap[c] >= v)
            break;
        w->heap[i] = w->heap[c];
    }
    if (n)
        w->heap[i] = v;
    return top;
}

/* Looks up the pair that starts at i and queues it; rank[i] tells live entries from stale ones. */
static int queue_pair(const struct merge_map *m, struct bpe_word *w, uint32_t i)
{
    w->rank[i] = MERGE_NONE;
    if (w->next[i] == NIL)
        return 0;
    const struct merge_slot *s = merge_map_find(m, w->ids[i], w->ids[w->next[i]]);
    if (!s)
        return 0;
    w->rank[i] = s->rank;
    return heap_push(w, (uint64_t)s->rank << 32 | i);
}

static int merge_heap(const struct merge_map *m, struct bpe_word *w)
{
    uint32_t n = w->n;
    if (n > w->long_cap) {
        if (grow(&w->prev, n, sizeof *w->prev) < 0 || grow(&w->next, n, sizeof *w->next) < 0 ||
            grow(&w->rank, n, sizeof *w->rank) < 0)
            return LT_ENOMEM;
        w->long_cap = n;
    }
    w->heap_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        w->prev[i] = i ? i - 1 : NIL;
        w->next[i] = i + 1 < n ? i + 1 : NIL;
    }
    for (uint32_t i = 0; i < n; i++)
        if (queue_pair(m, w, i) < 0)
            return LT_ENOMEM;
    while (w->heap_n) {
        uint64_t top = heap_pop(w);
        uint32_t i = (uint32_t)top, j;
        if (w->rank[i] != (uint32_t)(top >> 32) || (j = w->next[i]) == NIL)
            continue;
        const struct merge_slot *s = merge_map_find(m, w->ids[i], w->ids[j]);
        if (!s || s->rank != w->rank[i])
            continue;
        w->ids[i] = s->id;
        w->rank[j] = MERGE_NONE; /* j is gone */
        w->next[i] = w->next[j];
        if (w->next[j] != NIL)
            w->prev[w->next[j]] = i;
        if (queue_pair(m, w, i) < 0 || (w->prev[i] != NIL && queue_pair(m, w, w->prev[i]) < 0))
            return LT_ENOMEM;
    }
    uint32_t out = 0;
    for (uint32_t i = 0; i != NIL; i = w->next[i]) {
        w->ids[out] = w->ids[i];
        w->starts[out++] = w->starts[i];
    }
    w->n = out;
    return 0;
}

int bpe_merge(const struct merge_map *m, struct bpe_word *w)
{
    if (w->n < 2)
        return 0;
    if (w->n > BPE_SCAN_MAX)
        return merge_heap(m, w);
    merge_scan(m, w);
    return 0;
}
