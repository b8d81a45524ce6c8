/* Copies that live as long as a result. */
#include <stdlib.h>
#include <string.h>

#include "index/reader.h"

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    char data[];
};

char *arena_copy(struct arena *a, const void *data, size_t len)
{
    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < len + 1) {
        size_t size = len + 1 > 8192 ? len + 1 : 8192;
        if (!(b = malloc(sizeof *b + size)))
            return NULL;
        *b = (struct arena_block){a->blocks, 0, size};
        a->blocks = b;
    }
    char *p = b->data + b->used;
    if (len)
        memcpy(p, data, len);
    p[len] = 0;
    b->used += len + 1;
    return p;
}

void arena_finish(struct arena *a)
{
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->blocks = NULL;
}
