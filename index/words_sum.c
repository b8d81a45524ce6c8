#include "index/words_sum.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "index/allowed.h"
#include "index/words_score.h"

#define BLOCK 16384u       /* chunks: their sums take 64 KiB */
#define SLOTS_KEPT 65536u  /* 1 MiB; more is given back before the next search */
#define BLOCKS_A_LOOK 64   /* at the clock */

struct words_block {
    float sum[BLOCK]; /* zero between blocks */
    uint16_t found[BLOCK + 1]; /* the place behind the last is written, too */
    size_t n_found;
};

void words_sum_finish(struct words_sum *s)
{
    free(s->slots);
    free(s->block);
    *s = (struct words_sum){0};
}

int words_list_add(struct words_list *l, uint64_t chunk, uint16_t n, uint16_t length)
{
    if (l->n_read == l->room) {
        const size_t room = l->room ? 2 * l->room : 64;
        struct read_posting *p = realloc(l->read, room * sizeof *p);
        if (!p)
            return LT_ENOMEM;
        l->read = p;
        l->room = room;
    }
    l->read[l->n_read++] = (struct read_posting){chunk, n, length};
    return 0;
}

void words_list_finish(struct words_list *l)
{
    free(l->read);
    *l = (struct words_list){0};
}

static size_t n_kept(const struct words_list *l)
{
    return l->kept ? l->kept->n : 0;
}

static uint64_t chunk_at(const struct words_list *l, size_t i)
{
    return i < n_kept(l) ? l->kept->items[i].chunk : l->read[i - n_kept(l)].chunk;
}

size_t words_list_count(const struct words_list *l, const struct allowed *a)
{
    const size_t all = n_kept(l) + l->n_read;
    size_t n = 0;
    for (size_t i = 0; a && i < all; i++)
        n += allowed_has(a, chunk_at(l, i));
    return a ? n : all;
}

/* The first posting of a chunk that is not lower. */
static void skip_to(struct words_list *l, uint64_t chunk)
{
    size_t end = n_kept(l) + l->n_read;
    while (l->at < end) {
        const size_t middle = l->at + (end - l->at) / 2;
        if (chunk_at(l, middle) < chunk)
            l->at = middle + 1;
        else
            end = middle;
    }
}

static inline float score(const struct words_list *l, float n, float length)
{
    return l->weight * n * (WORDS_K1 + 1) / (n + l->flat + l->slope * length);
}

static inline void add(struct words_block *b, bool finds, size_t i, float x)
{
    if (finds) {
        b->found[b->n_found] = (uint16_t)i;
        b->n_found += b->sum[i] == 0;
        b->sum[i] += x;
    } else if (b->sum[i] > 0) {
        b->sum[i] += x;
    }
}

/* A list's postings in the block of chunks from `first` on. */
static void add_list(struct words_block *b, struct words_list *l, uint64_t first, const struct allowed *a)
{
    const size_t kept = n_kept(l), all = kept + l->n_read;
    if (!l->finds)
        skip_to(l, first);
    for (; l->at < kept && l->kept->items[l->at].chunk - first < BLOCK; l->at++) {
        const struct posting *p = &l->kept->items[l->at];
        if (!a || allowed_has(a, p->chunk))
            add(b, l->finds, p->chunk - first, score(l, p->n, p->length));
    }
    for (; l->at >= kept && l->at < all && l->read[l->at - kept].chunk - first < BLOCK; l->at++) {
        const struct read_posting *p = &l->read[l->at - kept];
        if (!a || allowed_has(a, p->chunk))
            add(b, l->finds, p->chunk - first, score(l, p->n, p->length));
    }
}

/* What was found in the block goes to the slots, and its sums are zero again. */
static int empty(struct words_sum *s, uint64_t first)
{
    struct words_block *b = s->block;
    int r = 0;
    if (s->n + b->n_found > s->room) {
        const size_t room = 2 * s->room > s->n + b->n_found ? 2 * s->room : s->n + b->n_found + 64;
        struct words_slot *slots = realloc(s->slots, room * sizeof *slots);
        if (slots) {
            s->slots = slots;
            s->room = room;
        } else {
            r = LT_ENOMEM;
        }
    }
    for (size_t i = 0; i < b->n_found; i++) {
        if (r == 0)
            s->slots[s->n++] = (struct words_slot){first + b->found[i], b->sum[b->found[i]]};
        b->sum[b->found[i]] = 0;
    }
    b->n_found = 0;
    return r;
}

/* The block of the next chunk that is found; false: there is none. */
static bool next_block(const struct words_list *lists, size_t n_lists, uint64_t *first)
{
    uint64_t next = UINT64_MAX;
    for (const struct words_list *l = lists; l < lists + n_lists; l++)
        if (l->finds && l->at < n_kept(l) + l->n_read && chunk_at(l, l->at) < next)
            next = chunk_at(l, l->at);
    *first = next / BLOCK * BLOCK;
    return next != UINT64_MAX;
}

int words_sum(struct words_sum *s, struct words_list *lists, size_t n_lists, const struct allowed *a, uint64_t deadline_ns)
{
    uint64_t first;
    int r = 0;
    s->n = 0;
    if (s->room > SLOTS_KEPT) {
        free(s->slots);
        s->slots = NULL;
        s->room = 0;
    }
    if (!s->block && !(s->block = calloc(1, sizeof *s->block)))
        return LT_ENOMEM;
    for (size_t i = 0; i < n_lists; i++)
        lists[i].at = 0;
    for (unsigned looked = 0; r == 0 && next_block(lists, n_lists, &first); looked++) {
        if (looked % BLOCKS_A_LOOK == BLOCKS_A_LOOK - 1 && deadline_ns && clock_ns() > deadline_ns)
            return LT_ETIMEOUT;
        for (size_t i = 0; i < n_lists; i++)
            add_list(s->block, &lists[i], first, a);
        r = empty(s, first);
    }
    return r;
}
