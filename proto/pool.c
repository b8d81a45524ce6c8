#include "proto/pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define FIRST_BLOCK_BYTES 4096 /* a search request and what protobuf-c needs for it */
#define LAST_BLOCK_BYTES 65536
#define LARGE_BYTES 2048 /* from here on a piece is malloc's, and can be given back */

/* Every piece is preceded by a head, which tells whose it is. */
struct head {
    uint64_t size; /* of a large piece with its overhead; 0: a small one */
};

struct large {
    struct large *next, *prev;
    struct head head; /* last, next to the piece */
};

struct block {
    struct block *next;
    size_t size, used; /* bytes behind the struct */
};

struct pool {
    size_t budget, used;
    struct block *blocks; /* the newest first; only it is carved from */
    struct large *large;
};

_Static_assert(sizeof(struct large) % 8 == 0 && sizeof(struct block) % 8 == 0, "pieces are aligned");

struct pool *pool_create(size_t budget)
{
    struct pool *p = calloc(1, sizeof *p);
    if (p)
        p->budget = budget;
    return p;
}

void pool_destroy(struct pool **pp)
{
    struct pool *p = pp ? *pp : NULL;
    if (!p)
        return;
    for (struct large *l = p->large, *next; l; l = next) {
        next = l->next;
        free(l);
    }
    for (struct block *b = p->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(p);
    *pp = NULL;
}

/* malloc within the budget. */
static void *take(struct pool *p, size_t size)
{
    if (size > p->budget - p->used)
        return NULL;
    void *m = malloc(size);
    if (m)
        p->used += size;
    return m;
}

static void *alloc_large(struct pool *p, size_t size)
{
    size_t all;
    struct large *l = size_add(size, sizeof *l, &all) ? take(p, all) : NULL;
    if (!l)
        return NULL;
    *l = (struct large){.next = p->large, .head.size = all};
    if (p->large)
        p->large->prev = l;
    p->large = l;
    return l + 1;
}

void *pool_alloc(struct pool *p, size_t size)
{
    if (size >= LARGE_BYTES)
        return alloc_large(p, size);
    size = ((size + 7) & ~(size_t)7) + sizeof(struct head);
    struct block *b = p->blocks;
    if (!b || b->size - b->used < size) {
        size_t want = b ? 2 * (b->size + sizeof *b) : FIRST_BLOCK_BYTES;
        if (want > LAST_BLOCK_BYTES)
            want = LAST_BLOCK_BYTES;
        if (!(b = take(p, want)))
            return NULL;
        *b = (struct block){.next = p->blocks, .size = want - sizeof *b};
        p->blocks = b;
    }
    struct head *h = (struct head *)((char *)(b + 1) + b->used);
    h->size = 0;
    b->used += size;
    return h + 1;
}

void *pool_calloc(struct pool *p, size_t n, size_t size)
{
    size_t all;
    void *m = size_mul(n, size, &all) ? pool_alloc(p, all) : NULL;
    return m ? memset(m, 0, all) : NULL;
}

char *pool_strdup(struct pool *p, const char *s)
{
    size_t n = strlen(s) + 1;
    char *m = pool_alloc(p, n);
    return m ? memcpy(m, s, n) : NULL;
}

void pool_free(struct pool *p, void *piece)
{
    if (!piece || !((struct head *)piece)[-1].size)
        return;
    struct large *l = (struct large *)piece - 1;
    if (l->next)
        l->next->prev = l->prev;
    if (l->prev)
        l->prev->next = l->next;
    else
        p->large = l->next;
    p->used -= (size_t)l->head.size;
    free(l);
}

size_t pool_used(const struct pool *p)
{
    return p->used;
}
