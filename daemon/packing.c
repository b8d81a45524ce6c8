#include "daemon/packing.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/request.h"

int packing_init(struct packing *p, size_t most)
{
    *p = (struct packing){.texts = calloc(most + 1, sizeof *p->texts)};
    return p->texts ? 0 : LT_ENOMEM;
}

void packing_finish(struct packing *p)
{
    free(p->texts);
    free(p->ids);
    *p = (struct packing){0};
}

static int room(struct packing *p, struct request *rq, size_t n)
{
    const size_t cap = (p->n_ids + n) * 2;
    if (p->n_ids + n <= p->cap_ids)
        return 0;
    if (!request_charge(rq, (cap - p->cap_ids) * sizeof *p->ids))
        return LT_EBUSY;
    int32_t *ids = realloc(p->ids, cap * sizeof *ids);
    if (!ids)
        return LT_ENOMEM;
    p->ids = ids;
    p->cap_ids = cap;
    return 0;
}

int packing_put(struct packing *p, struct request *rq, const int32_t *ids, uint32_t n, uint32_t n_skip, float *out)
{
    int r = room(p, rq, n);
    if (r < 0)
        return r;
    if (n)
        memcpy(p->ids + p->n_ids, ids, n * sizeof *ids);
    p->n_ids += n;
    p->texts[p->n_texts++] = (struct device_text){.n = n, .n_skip = n_skip, .out = out};
    return 0;
}

void packing_settle(struct packing *p)
{
    const int32_t *ids = p->ids;
    for (size_t i = 0; i < p->n_texts; i++) {
        p->texts[i].ids = ids;
        ids += p->texts[i].n;
    }
}
