#include "daemon/job_holds.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define AGAIN_NS 1000000000u

struct hold {
    uint64_t job, sender;
};

struct job_holds {
    struct core *core;
    struct hold *list; /* of each sender, its oldest first */
    size_t n, cap;
    bool failing;      /* it has been said */
    uint64_t due_ns;   /* when to look; UINT64_MAX: not before something changes */
};

struct job_holds *job_holds_create(struct core *c)
{
    struct job_holds *h = calloc(1, sizeof *h); /* due at once: jobs of the run before */
    if (h)
        h->core = c;
    return h;
}

void job_holds_destroy(struct job_holds **hp)
{
    if (*hp)
        free((*hp)->list);
    free(*hp);
    *hp = NULL;
}

static void take_out(struct job_holds *h, size_t i)
{
    memmove(&h->list[i], &h->list[i + 1], (--h->n - i) * sizeof *h->list);
}

void job_holds_add(struct job_holds *h, uint64_t job, uint64_t sender)
{
    size_t n_own = 0, oldest = 0;
    for (size_t i = h->n; i-- > 0;) { /* mostly the last */
        if (h->list[i].sender != sender)
            continue;
        if (h->list[i].job == job)
            return;
        n_own++;
        oldest = i;
    }
    if (n_own == JOB_HOLDS_MAX) {
        take_out(h, oldest);
        h->due_ns = 0;
    }
    if (h->n == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        struct hold *p = realloc(h->list, cap * sizeof *p);
        if (!p)
            return;
        h->list = p;
        h->cap = cap;
    }
    h->list[h->n++] = (struct hold){job, sender};
}

bool job_holds_has(const struct job_holds *h, uint64_t job)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->list[i].job == job)
            return true;
    return false;
}

static bool held(void *h, uint64_t job)
{
    return job_holds_has(h, job);
}

void job_holds_between(struct job_holds *h, struct index *ix)
{
    size_t n_left = 0;
    struct err_msg em = {""};
    if (atomic_load(&h->core->stopping) || h->due_ns == UINT64_MAX || clock_ns() < h->due_ns)
        return;
    const int r = index_jobs_abandon(ix, held, h, &n_left, &em);
    if (r < 0 && !h->failing)
        log_warn("jobs", "abandoned ones stay open: %s: %s", err_name(r), em.text);
    h->failing = r < 0;
    h->due_ns = r < 0 || n_left ? clock_ns() + AGAIN_NS : UINT64_MAX;
}

static struct job_release *release_of(struct writer_op *op)
{
    return (struct job_release *)((char *)op - offsetof(struct job_release, op));
}

static int apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    struct job_release *rel = release_of(op);
    struct job_holds *h = rel->holds;
    size_t n = 0;
    (void)ix;
    (void)em;
    for (size_t i = 0; i < h->n; i++)
        if (h->list[i].sender != rel->sender)
            h->list[n++] = h->list[i];
    if (n < h->n)
        h->due_ns = 0;
    h->n = n;
    return 0;
}

static void done(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    (void)result;
    (void)seq;
    (void)em;
    free(release_of(op));
}

void job_release_submit(struct job_release **relp, struct core *c, struct order *o, uint64_t sender)
{
    struct job_release *rel = *relp;
    *relp = NULL;
    *rel = (struct job_release){.op = {.apply = apply, .done = done}, .holds = c->holds, .sender = sender};
    order_enter(o, &rel->place);
    order_submit(&rel->place, c->writer, &rel->op);
}
