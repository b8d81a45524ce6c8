#include "clients/c/latent_int.h"

#include <stdlib.h>

struct result_head {
    struct part *parts;
    struct pool *pool; /* arrays */
    _Alignas(max_align_t) char body[];
};

static struct result_head *head_of(void *result)
{
    return (struct result_head *)((char *)result - offsetof(struct result_head, body));
}

void *result_create(struct part *parts, size_t size)
{
    struct result_head *h = calloc(1, sizeof *h + size);
    if (h)
        h->pool = pool_create(SIZE_MAX / 2);
    if (!h || !h->pool) {
        free(h);
        parts_free(parts);
        return NULL;
    }
    h->parts = parts;
    return h->body;
}

void *result_array(void *result, size_t n, size_t size)
{
    return pool_calloc(head_of(result)->pool, n ? n : 1, size);
}

void latent_free(void *result)
{
    if (!result)
        return;
    struct result_head *h = head_of(result);
    parts_free(h->parts);
    pool_destroy(&h->pool);
    free(h);
}
