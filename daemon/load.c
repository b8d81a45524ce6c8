/* The start, on a thread of its own: store, model, device, threads. And their end, in the opposite order. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "daemon/core.h"
#include "daemon/feed.h"
#include "daemon/find_model.h"
#include "daemon/job_holds.h"
#include "daemon/rerank.h"
#include "daemon/sampler.h"
#include "model/layout.h"
#include "model/text.h"

#define SEARCHERS_MIN 2
#define SEARCHERS_DEFAULT_MAX 16
#define TOKENISERS 2
/* While memory is short: how often the index and the allocator are asked to give some back. */
#define LEAN_AGAIN_NS 1000000000u

static void on_percent(void *arg, unsigned percent)
{
    struct core *c = arg;
    atomic_store(&c->percent, percent);
}

static void on_fraction(void *arg, double fraction)
{
    on_percent(arg, fraction < 0 ? 0 : fraction > 1 ? 100 : (unsigned)(fraction * 100));
}

static void enter(struct core *c, Latent__V1__Phase phase)
{
    atomic_store(&c->percent, 0);
    atomic_store(&c->phase, (int)phase);
}

static int open_model(struct core *c, const char *cache_dir, struct err_msg *em)
{
    const struct settings *s = c->settings;
    struct model_params p = {
        .mask = !s->mask ? MODEL_MASK_FILE : strcmp(s->mask, "full") == 0 ? MODEL_MASK_FULL : MODEL_MASK_CAUSAL,
        .pooling = s->pooling,
        .dim = (uint32_t)s->dim,
        .cache_dir = cache_dir,
    };
    int r = model_open_as(&c->model, c->model_path, &p, em);
    if (r == 0 && model_info(c->model)->ranks)
        r = err_set(em, LT_EUNSUPPORTED, "%s: it is a reranker, which makes no vectors: it goes with --reranker", c->model_path);
    return r == 0 && s->reranker ? rerank_open(c, cache_dir, em) : r;
}

/* The model's device, in what program, store, requests and a reranker leave of the memory; p then has what is left for the reranker. */
static int open_device(struct core *c, struct engine_params *p, struct err_msg *em)
{
    struct memory *m = &c->memory;
    uint64_t least = 0;
    int r = 0;
    m->least.model = model_tables_bytes(c->model);
    if (c->reranker)
        m->least.reranker = model_tables_bytes(c->reranker);
    const uint64_t host = memory_for_models(m);
    if (c->reranker && (r = rerank_least(c, p, &m->least.reranker, em)) < 0)
        return r;
    p->host_bytes = memory_for_models(m);
    p->least_bytes = &least;
    p->memory_share = c->reranker ? rerank_model_share(c) : 0;
    r = device_create(&c->device, c->model, p, em);
    p->least_bytes = NULL;
    m->least.model += least;
    if (r == 0 || (p->host_bytes && least > p->host_bytes)) { /* its message has all of it */
        const int checked = memory_check(m, em);
        r = checked < 0 ? checked : r;
    }
    if (r < 0)
        return r;
    const struct model_info *mi = model_info(c->model);
    const struct engine_info *e = device_info(c->device);
    log_info("model", "%s (%s, dimension %u, %u tokens, %s mask, pooling %s) on %s", mi->name, mi->weight_type, mi->dim, mi->token_limit,
             mi->causal ? "causal" : "full", layout_pooling_name(mi->pooling), e->device);
    if (mi->lacks)
        log_warn("model", "the file lacks %s", mi->lacks);
    if (e->note[0])
        log_info("model", "%s", e->note);
    m->parts.model = model_tables_bytes(c->model) + e->host_bytes;
    m->unseen = e->unseen_bytes;
    /* Where the model has a card, the CPU may have to take over for both. */
    const uint64_t taken = e->host_shared || !p->memory_share ? e->host_bytes : (uint64_t)((double)host * p->memory_share);
    p->host_bytes = !host ? 0 : host > taken ? host - taken : 1;
    return 0;
}

static int load_model(struct core *c, struct err_msg *em)
{
    char cache[PATHS_MAX];
    const char *given = getenv("CACHE_DIRECTORY"); /* systemd's */
    int r = 0;
    enter(c, LATENT__V1__PHASE__PHASE_LOADING_MODEL);
    while (fault("load.hold") && !atomic_load(&c->stopping))
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    while (fault("load.deaf"))
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    if (c->settings->model)
        snprintf(c->model_path, sizeof c->model_path, "%s", c->settings->model);
    else
        r = find_model(c->model_path, sizeof c->model_path, em);
    bool have_cache = given ? snprintf(cache, sizeof cache, "%s", given) < (int)sizeof cache
                            : paths_cache_dir(cache) == 0 && file_make_dirs(cache, 0700, NULL) == 0;
    if (!r)
        r = open_model(c, have_cache ? cache : NULL, em);
    if (r < 0)
        return r;
    struct engine_params p = {
        .device = c->settings->device,
        .n_threads = (unsigned)c->settings->threads,
        .memory_bytes = c->settings->device_memory_mb << 20,
        .host_anyway = !c->memory.set,
        .cache_dir = have_cache ? cache : NULL,
        .progress = on_fraction,
        .progress_arg = c,
    };
    if ((r = open_device(c, &p, em)) < 0)
        return r;
    return c->reranker ? rerank_start(c, &p, em) : 0;
}

static unsigned count_searchers(const struct settings *s)
{
    const unsigned cpus = cpu_count();
    if (s->searchers)
        return (unsigned)s->searchers;
    return cpus < SEARCHERS_MIN ? SEARCHERS_MIN : cpus > SEARCHERS_DEFAULT_MAX ? SEARCHERS_DEFAULT_MAX : cpus;
}

static int start_searchers(struct core *c, struct err_msg *em)
{
    const unsigned n = count_searchers(c->settings);
    void *states[CORE_SEARCHERS_MAX];
    for (; c->n_readers < n; c->n_readers++) {
        int r = index_reader_create(&c->readers[c->n_readers], c->ix, em);
        if (r < 0)
            return r;
        states[c->n_readers] = c->readers[c->n_readers];
    }
    struct workers_params p = {.name = "searcher", .n_threads = n, .states = states};
    return workers_create(&c->searchers, &p, em);
}

/* What a large text took is not kept. */
static void after_text(void *scratch)
{
    text_tokens_trim(scratch);
}

static int start_tokenisers(struct core *c, struct err_msg *em)
{
    void *states[TOKENISERS];
    for (; c->n_scratch < TOKENISERS; c->n_scratch++) {
        c->scratch[c->n_scratch] = calloc(1, sizeof **c->scratch);
        if (!c->scratch[c->n_scratch])
            return err_set(em, LT_ENOMEM, "out of memory");
        states[c->n_scratch] = c->scratch[c->n_scratch];
    }
    struct workers_params p = {.name = "tokeniser", .n_threads = TOKENISERS, .states = states, .after = after_text};
    return workers_create(&c->tokenisers, &p, em);
}

/* Near the limit graphs move into their files, and caches are emptied; for a while, since what was given back comes again. */
static void mind_memory(struct core *c, struct index *ix)
{
    const bool near = memory_level(&c->memory) >= MEMORY_NEAR;
    const uint64_t now = clock_ns();
    if ((!near && !c->lean) || (c->lean && now - c->lean_ns < LEAN_AGAIN_NS))
        return;
    if (near && !c->lean_said)
        log_info("daemon", "%llu of %llu MiB of memory are taken: caches are emptied, graphs move into their files, clients wait",
                 (unsigned long long)(memory_used(&c->memory) >> 20), (unsigned long long)(c->memory.limit >> 20));
    c->lean_said = c->lean_said || near; /* once a run: it comes and goes */
    c->lean = near;
    c->lean_ns = now;
    index_set_lean(ix, near);
    if (near)
        malloc_trim(0);
}

static void between(void *arg, struct index *ix, bool committed)
{
    struct core *c = arg;
    mind_memory(c, ix);
    if (c->feed)
        feed_between(c->feed, ix, committed);
    if (c->holds)
        job_holds_between(c->holds, ix);
}

/* What turns texts into vectors. */
static int start_embedding(struct core *c, struct err_msg *em)
{
    int r = load_model(c, em);
    if (r == 0)
        r = index_set_model(c->ix, model_info(c->model)->fingerprint, model_info(c->model)->dim, em);
    return r == 0 ? start_tokenisers(c, em) : r;
}

/* What there is, and the smallest caches until it is known what the model leaves. */
static void start_memory(struct core *c, struct index_params *p)
{
    struct memory_system sys;
    memory_look("", &sys);
    memory_init(&c->memory, &sys, c->settings->memory_mb, count_searchers(c->settings) + (p->sample_every != 0));
    p->writer_kib = c->memory.writer_kib;
    p->reader_kib = c->memory.reader_kib;
    p->postings_kib = c->memory.postings_kib;
}

static int divide_memory(struct core *c, struct err_msg *em)
{
    struct memory *m = &c->memory;
    int r = c->device ? 0 : memory_check(m, em);
    if (r < 0)
        return r;
    m->parts.program = m->least.program;
    memory_divide(m);
    malloc_trim(0); /* what reading a model took */
    log_info("daemon", "memory: at most %llu MiB (%s), %llu of them the model's, %llu the reranker's, %llu the store's, %llu for requests",
             (unsigned long long)(m->limit >> 20), m->source, (unsigned long long)(m->parts.model >> 20),
             (unsigned long long)(m->parts.reranker >> 20), (unsigned long long)(m->parts.store >> 20),
             (unsigned long long)(m->parts.requests >> 20));
    return index_set_caches(c->own_ix, m->writer_kib, m->reader_kib, m->postings_kib, em);
}

int core_load(struct core *c, struct err_msg *em)
{
    const struct settings *s = c->settings;
    enter(c, LATENT__V1__PHASE__PHASE_OPENING_STORE);
    struct index_params p = {.dir = s->data, .sample_every = s->recover ? 0 : (uint32_t)s->sample_every, .locked = true, .recover = s->recover,
                             .progress = on_percent, .progress_arg = c};
    p.threads = s->index_threads ? (unsigned)s->index_threads : cpu_count();
    start_memory(c, &p);
    int r = index_open(&c->own_ix, &p, em);
    if (r < 0)
        return r;
    c->ix = c->own_ix;
    r = atomic_load(&c->stopping) ? LT_ESHUTDOWN : 0;
    if (r == 0 && !s->recover)
        r = start_embedding(c, em);
    if (r == 0)
        r = divide_memory(c, em);
    if (r == 0)
        r = start_searchers(c, em);
    if (r == 0 && p.sample_every)
        r = sampler_create(&c->sampler, c->ix, em);
    if (r == 0 && !s->recover)
        r = feed_create(&c->feed, c, em);
    if (r == 0 && !s->recover && !(c->holds = job_holds_create(c)))
        r = err_set(em, LT_ENOMEM, "out of memory");
    struct writer_hooks hooks = {.arg = c, .between = between};
    if (r == 0)
        r = writer_create(&c->writer, &c->own_ix, &hooks, em);
    if (r < 0)
        return r;
    atomic_store(&c->percent, 100);
    writer_wake(c->writer);
    while (fault("load.end") && !atomic_load(&c->stopping))
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return 0;
}

void core_unload(struct core *c)
{
    workers_destroy(&c->tokenisers);
    device_destroy(&c->device);
    device_destroy(&c->ranker);
    workers_destroy(&c->searchers);
    sampler_destroy(&c->sampler);
    for (unsigned i = 0; i < c->n_readers; i++)
        index_reader_destroy(&c->readers[i]);
    for (unsigned i = 0; i < c->n_scratch; i++) {
        text_tokens_finish(c->scratch[i]);
        free(c->scratch[i]);
    }
    writer_destroy(&c->writer);
    if (c->own_ix)
        index_close(&c->own_ix);
    job_holds_destroy(&c->holds);
    feed_destroy(&c->feed);
    model_destroy(&c->model);
    model_destroy(&c->reranker);
}
