#include "daemon/rerank.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/request.h"
#include "daemon/text_cost.h"
#include "model/rank.h"

/* ---- the start ---- */

int rerank_open(struct core *c, const char *cache_dir, struct err_msg *em)
{
    const struct model_params p = {.cache_dir = cache_dir};
    const char *path = c->settings->reranker;
    int r = model_open_as(&c->reranker, path, &p, em);
    if (r == 0 && !model_info(c->reranker)->ranks)
        r = err_set(em, LT_EUNSUPPORTED, "%s: it is no reranker (its pooling_type is not rank); --model takes models for embeddings", path);
    return r;
}

static double weights(const struct model *m)
{
    const struct tensor *t;
    const uint8_t *digest;
    double bytes = 0;
    for (size_t i = 0; (t = model_tensor_at(m, i, &digest)); i++)
        bytes += (double)t->len_bytes;
    return bytes;
}

double rerank_model_share(const struct core *c)
{
    const double model = weights(c->model), reranker = weights(c->reranker);
    return model + reranker > 0 ? model / (model + reranker) : 0.5;
}

int rerank_least(const struct core *c, const struct engine_params *model, uint64_t *bytes, struct err_msg *em)
{
    uint64_t least = 0;
    const int r = engine_least(c->reranker, model, &least, em);
    *bytes += least;
    return r;
}

int rerank_start(struct core *c, const struct engine_params *model, struct err_msg *em)
{
    struct engine_params p = *model;
    /* Of a given bound the rest; where there is none, of what the model, which is loaded by now, has left. */
    p.memory_share = p.memory_bytes ? 1 - rerank_model_share(c) : 0;
    p.taken_bytes = device_info(c->device)->planned_bytes;
    int r = device_create(&c->ranker, c->reranker, &p, em);
    if (r < 0)
        return r;
    const struct model_info *m = model_info(c->reranker);
    const struct engine_info *e = device_info(c->ranker);
    log_info("reranker", "%s (%s, %u tokens) on %s", m->name, m->weight_type, m->token_limit, e->device);
    if (e->note[0])
        log_info("reranker", "%s", e->note);
    c->memory.parts.reranker = model_tables_bytes(c->reranker) + e->host_bytes;
    c->memory.unseen += e->unseen_bytes;
    return 0;
}

/* ---- one scoring ---- */

struct rerank *rerank_create(struct request *rq, const char *query, size_t n)
{
    struct rerank *r = calloc(1, sizeof *r + n * sizeof r->items[0]);
    if (!r)
        return NULL;
    r->scores = calloc(n + 1, sizeof *r->scores);
    r->rq = rq;
    r->query = query;
    r->n = n;
    if (packing_init(&r->packing, n) < 0 || !r->scores)
        rerank_destroy(&r);
    return r;
}

void rerank_destroy(struct rerank **rp)
{
    struct rerank *r = *rp;
    if (!r)
        return;
    packing_finish(&r->packing);
    free(r->scores);
    free(r);
    *rp = NULL;
}

int rerank_check(const struct rerank *r, struct err_msg *em)
{
    struct text_cost cost = {0};
    size_t bytes = 0, query = strlen(r->query);
    if (query > PROTO_QUERY_MAX)
        return err_set(em, LT_ELIMIT, "the query has %zu bytes, %u are allowed", query, PROTO_QUERY_MAX);
    for (size_t i = 0; i < r->n; i++) {
        const size_t len = strlen(r->items[i].text);
        bytes += query + len + (r->items[i].title ? strlen(r->items[i].title) : 0);
        text_cost_take(&cost, r->items[i].text, len);
    }
    if (bytes > PROTO_RERANK_BYTES_MAX)
        return err_set(em, LT_ELIMIT, "texts, and the query once for each, have %zu bytes, %u are allowed", bytes, PROTO_RERANK_BYTES_MAX);
    return text_cost_charge(&cost, r->rq, "score", em);
}

static int encode(struct rerank *r, const struct rank_rules *rules, struct rerank_item *it, struct text_tokens *t)
{
    const struct rank_input in = {.query = r->query, .query_len = strlen(r->query), .title = it->title, .title_len = it->title ? strlen(it->title) : 0,
                                  .text = it->text, .len = strlen(it->text), .truncate = r->truncate};
    int e = rank_encode(rules, &in, t, &it->why);
    it->seen = t->n_seen;
    it->tokens = t->n;
    it->packed = r->packing.n_texts;
    return e < 0 ? e : packing_put(&r->packing, r->rq, t->ids, t->n, t->n_skip, r->scores + it->packed);
}

static void scored(struct device_job *job)
{
    struct rerank *r = (struct rerank *)((char *)job - offsetof(struct rerank, job));
    for (size_t i = 0; i < r->n; i++) {
        struct rerank_item *it = &r->items[i];
        if (it->status < 0)
            continue;
        const struct device_text *t = &r->packing.texts[it->packed];
        it->status = t->status;
        it->score = t->status == 0 ? *t->out : 0;
        if (t->device)
            it->why = r->job.why;
    }
    r->done(r);
}

void rerank_run(struct rerank *r, struct text_tokens *scratch)
{
    const struct rank_rules rules = rank_rules_of(r->rq->core->reranker);
    int over = request_over(r->rq);
    for (size_t i = 0; i < r->n; i++) {
        struct rerank_item *it = &r->items[i];
        it->status = over < 0 ? over : it->status < 0 ? it->status : encode(r, &rules, it, scratch);
        if (over == 0)
            over = it->status == LT_EBUSY || it->status == LT_ENOMEM ? it->status : request_over(r->rq);
    }
    packing_settle(&r->packing);
    r->job = (struct device_job){.texts = r->packing.texts, .n_texts = r->packing.n_texts, .deadline_ns = r->rq->deadline_ns, .cancelled = &r->rq->cancelled,
                                 .done = scored, .owner = r->rq->owner, .bulk = r->n > DEVICE_INTERACTIVE_MAX};
    r->over = over;
    if (over == 0 && r->packing.n_texts)
        device_submit(r->rq->core->ranker, &r->job);
    else
        r->done(r);
}

int rerank_result(const struct rerank *r)
{
    if (r->over < 0)
        return r->over;
    for (size_t i = 0; i < r->n; i++) {
        const int s = r->items[i].status;
        if (s == LT_ESHUTDOWN || s == LT_ECANCELLED || s == LT_ETIMEOUT || s == LT_EBUSY || s == LT_ENOMEM)
            return s;
    }
    return 0;
}
