/* Search: the question's vector (from the device, before all bulk work), then a searcher with its own reader, then the reranker where it is
 * asked for. */
#include <stdlib.h>
#include <string.h>

#include "daemon/handlers.h"
#include "daemon/request.h"
#include "daemon/rerank.h"
#include "daemon/sampler.h"
#include "model/text.h"

/* Questions up to this many bytes are tokenised where they arrive: a hop to another thread would cost more. */
#define INLINE_BYTES 512

struct search {
    struct request *rq;
    const Latent__V1__SearchRequest *msg;
    struct text_tokens tokens;
    struct device_text text;
    struct device_job job;
    float *vector;
    uint32_t dim;
    bool embedded; /* the vector is our model's */
    const char *used_template; /* then */
    struct index_result res;
    struct rerank *rerank; /* of the first of its hits; NULL: none */
    size_t n_reranked, n_cut;
};

static void search_end(struct search *s)
{
    text_tokens_finish(&s->tokens);
    index_result_finish(&s->res);
    rerank_destroy(&s->rerank);
    free(s->vector);
    free(s);
}

static void search_fail(struct search *s, int code, const struct err_msg *em)
{
    struct request *rq = s->rq;
    search_end(s);
    request_fail(rq, code, em && em->text[0] ? em : NULL);
}

/* Hits that are asked for. */
static uint32_t wanted(const Latent__V1__SearchRequest *m)
{
    return m->k ? m->k : INDEX_K_DEFAULT;
}

static int reply(struct search *s)
{
    const struct index_result *res = &s->res;
    const bool bare = s->msg->no_text;
    const size_t shown = res->n < wanted(s->msg) ? res->n : wanted(s->msg);
    Latent__V1__SearchReply out = LATENT__V1__SEARCH_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    size_t n = shown ? shown : 1;
    Latent__V1__Hit *hits = calloc(n, sizeof *hits), **list = calloc(n, sizeof *list);
    if (!hits || !list) {
        free(hits);
        free(list);
        return LT_ENOMEM;
    }
    for (size_t i = 0; i < shown; i++) {
        const struct index_hit *h = &res->hits[i];
        latent__v1__hit__init(&hits[i]);
        hits[i].id = (char *)h->id;
        hits[i].chunk = h->chunk;
        hits[i].start = h->start;
        hits[i].end = h->end;
        hits[i].score = h->score;
        hits[i].title = (char *)(bare ? "" : h->title);
        hits[i].text = (char *)(bare ? "" : h->text);
        hits[i].metadata = (char *)(bare ? "" : h->metadata);
        hits[i].rerank_score = i < s->n_reranked ? s->rerank->items[i].score : 0;
        list[i] = &hits[i];
    }
    out.hits = list;
    out.n_hits = shown;
    out.mode = (Latent__V1__Mode)res->mode;
    out.k = wanted(s->msg);
    out.ef = res->ef;
    out.short_reason = shown < wanted(s->msg) ? (Latent__V1__ShortReason)res->why : LATENT__V1__SHORT_REASON__SHORT_NONE;
    if (res->damaged)
        writer_maintain(s->rq->core->writer);
    if (res->sampled)
        sampler_wake(s->rq->core->sampler);
    out.degraded = res->degraded;
    out.degraded_reason = (char *)res->degraded_reason;
    out.tokens = s->tokens.n;
    out.truncated = s->tokens.truncated;
    out.seq = res->seq;
    out.filter = s->msg->filter;
    out.dense_weight = res->dense_weight;
    out.text_weight = res->text_weight;
    out.fusion = (Latent__V1__Fusion)res->fusion;
    out.chunks = s->msg->chunks;
    out.reranked = (uint32_t)s->n_reranked;
    out.rerank_cut = (uint32_t)s->n_cut;
    if (s->embedded) {
        out.used_template = (char *)s->used_template;
        out.instruct = s->msg->instruct;
    }
    resp.body_case = LATENT__V1__RESPONSE__BODY_SEARCH;
    resp.search = &out;
    request_reply(s->rq, &resp, false);
    free(hits);
    free(list);
    return 0;
}

static void answer(struct search *s)
{
    struct request *rq = s->rq;
    int r = reply(s);
    if (r < 0) {
        search_fail(s, r, NULL);
        return;
    }
    search_end(s);
    request_finish(rq);
}

/* ---- with a reranker ---- */

/* A hit and its score, to be put into order together. */
struct ranked {
    struct index_hit hit;
    float score;
    size_t was;
};

static int nearer(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : (x->was > y->was) - (x->was < y->was);
}

/* The first n hits into the order of their scores; then the first k of all. */
static int put_in_order(struct search *s, size_t n)
{
    struct ranked *list = calloc(n, sizeof *list);
    if (!list)
        return LT_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        list[i] = (struct ranked){s->res.hits[i], s->rerank->items[i].score, i};
        s->n_cut += s->rerank->items[i].seen > s->rerank->items[i].tokens;
    }
    qsort(list, n, sizeof *list, nearer);
    for (size_t i = 0; i < n; i++) {
        s->res.hits[i] = list[i].hit;
        s->rerank->items[i].score = list[i].score;
    }
    free(list);
    s->n_reranked = n < wanted(s->msg) ? n : wanted(s->msg);
    return 0;
}

static void scored_hits(struct work_item *w, void *reader)
{
    (void)reader;
    struct search *s = request_of_work(w)->state;
    struct err_msg em = {""};
    int r = rerank_result(s->rerank);
    for (size_t i = 0; i < s->rerank->n && r == 0; i++) {
        const struct rerank_item *it = &s->rerank->items[i];
        if ((r = it->status) < 0)
            err_set(&em, r, "chunk %u of document '%.100s': %s", s->res.hits[i].chunk, s->res.hits[i].id,
                    it->why.text[0] ? it->why.text : err_text(r));
    }
    if (r == 0)
        r = put_in_order(s, s->rerank->n);
    if (r < 0)
        search_fail(s, r, &em);
    else
        answer(s);
}

static void scored(struct rerank *r)
{
    request_submit(r->rq, r->rq->core->searchers, scored_hits);
}

static void score_hits(struct work_item *w, void *scratch)
{
    const struct search *s = request_of_work(w)->state;
    rerank_run(s->rerank, scratch);
}

/* Hands the first hits to the reranker. */
static int begin_rerank(struct search *s, struct err_msg *em)
{
    const size_t n = s->res.n < s->msg->rerank ? s->res.n : s->msg->rerank;
    struct rerank *r = s->rerank = rerank_create(s->rq, s->msg->query, n);
    if (!r)
        return LT_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        r->items[i].title = s->res.hits[i].title;
        r->items[i].text = s->res.hits[i].text;
    }
    r->truncate = true;
    r->done = scored;
    int code = rerank_check(r, em);
    if (code == 0)
        request_submit(s->rq, s->rq->core->tokenisers, score_hits);
    return code;
}

/* ---- the look-up ---- */

static void look_up(struct work_item *w, void *reader)
{
    struct request *rq = request_of_work(w);
    struct search *s = rq->state;
    const Latent__V1__SearchRequest *m = s->msg;
    struct err_msg em = {""};
    struct index_query q = {
        .collection = m->collection,
        .text = m->query,
        .text_len = strlen(m->query),
        .vector = s->vector,
        .dim = s->dim,
        .fingerprint = s->embedded ? model_info(rq->core->model)->fingerprint : NULL,
        .k = m->rerank > wanted(m) ? m->rerank : wanted(m),
        .mode = (enum index_mode)m->mode,
        .filter = m->filter,
        .ef = m->ef,
        .chunks = m->chunks,
        .no_text = m->no_text && !m->rerank,
        .exact = m->exact,
        .dense_weight = m->dense_weight,
        .text_weight = m->text_weight,
        .fusion = (enum index_fusion)m->fusion,
        .deadline_ns = rq->deadline_ns,
    };
    int r = request_over(rq);
    if (r == 0)
        r = index_search(reader, &q, &s->res, &em);
    if (r == 0 && m->rerank && s->res.n && (r = begin_rerank(s, &em)) == 0)
        return;
    if (r < 0)
        search_fail(s, r, &em);
    else
        answer(s);
}

static void embedded(struct device_job *job)
{
    struct search *s = (struct search *)((char *)job - offsetof(struct search, job));
    const struct err_msg why = s->job.why; /* s ends before it is sent */
    if (s->text.status < 0)
        search_fail(s, s->text.status, s->text.device ? &why : NULL);
    else
        request_submit(s->rq, s->rq->core->searchers, look_up);
}

static void tokenise(struct search *s)
{
    struct request *rq = s->rq;
    const Latent__V1__SearchRequest *m = s->msg;
    struct err_msg em = {""};
    struct text_input in = {.text = m->query, .len = strlen(m->query), .query = true,
                            .instruct = *m->instruct ? m->instruct : NULL,
                            .truncate = m->on_long == LATENT__V1__ON_LONG__ON_LONG_TRUNCATE};
    struct text_rules rules;
    int r = text_rules_of(rq->core->model, &rules, &em);
    if (r == 0 && (r = text_encode_rules(&rules, &in, &s->tokens, &em)) == 0) {
        s->dim = model_info(rq->core->model)->dim;
        s->vector = malloc(s->dim * sizeof(float));
        if (!s->vector)
            r = LT_ENOMEM;
    }
    if (r < 0) {
        search_fail(s, r, &em);
        return;
    }
    s->embedded = true;
    s->used_template = text_template(&rules, &in);
    s->text = (struct device_text){.ids = s->tokens.ids, .n = s->tokens.n, .n_skip = s->tokens.n_skip,
                                   .out = s->vector};
    s->job = (struct device_job){.texts = &s->text, .n_texts = 1, .owner = rq->owner, .deadline_ns = rq->deadline_ns,
                                 .cancelled = &rq->cancelled, .done = embedded};
    device_submit(rq->core->device, &s->job);
}

static void tokenise_elsewhere(struct work_item *w, void *reader)
{
    (void)reader;
    tokenise(request_of_work(w)->state);
}

static int check(const Latent__V1__SearchRequest *m, struct err_msg *em)
{
    if (m->k > PROTO_SEARCH_K_MAX)
        return err_set(em, LT_ELIMIT, "k is %u, at most %u are allowed", m->k, PROTO_SEARCH_K_MAX);
    if (m->ef > PROTO_SEARCH_EF_MAX)
        return err_set(em, LT_ELIMIT, "ef is %u, at most %u are allowed", m->ef, PROTO_SEARCH_EF_MAX);
    int r;
    if ((r = request_check_bytes("query", m->query, PROTO_QUERY_MAX, em)) < 0 || (r = request_check_bytes("filter", m->filter, PROTO_FILTER_MAX, em)) < 0 ||
        (r = request_check_bytes("instruction", m->instruct, PROTO_INSTRUCT_MAX, em)) < 0)
        return r;
    if ((unsigned)m->mode > LATENT__V1__MODE__MODE_TEXT)
        return err_set(em, LT_EINVAL, "unknown mode %d", (int)m->mode);
    if (m->vector.len % 4 || m->vector.len / 4 > PROTO_DIM_MAX)
        return err_set(em, LT_EDIM, "the vector has %zu bytes", m->vector.len);
    if (m->rerank > PROTO_RERANK_TEXTS_MAX)
        return err_set(em, LT_ELIMIT, "rerank is %u, at most %u are allowed", m->rerank, PROTO_RERANK_TEXTS_MAX);
    if (m->rerank && text_is_blank(m->query, strlen(m->query)))
        return err_set(em, LT_EEMPTY, "a reranker needs a question as text");
    if (!*m->query && !m->vector.len)
        return err_set(em, LT_EEMPTY, "neither a query nor a vector");
    return 0;
}

void on_search(struct request *rq)
{
    const Latent__V1__SearchRequest *m = rq->msg->search;
    struct err_msg em = {""};
    struct index_collection col;
    int r = check(m, &em);
    /* Before any work for the model: does the collection exist? */
    if (r == 0)
        r = index_info(rq->core->ix, m->collection, &col, &em);
    struct search *s = r == 0 ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        request_fail(rq, r < 0 ? r : LT_ENOMEM, r < 0 ? &em : NULL);
        return;
    }
    s->rq = rq;
    s->msg = m;
    rq->state = s;
    if (m->vector.len && m->mode != LATENT__V1__MODE__MODE_TEXT) {
        s->dim = (uint32_t)(m->vector.len / 4);
        s->vector = malloc(m->vector.len);
        if (!s->vector || message_vector_get(&m->vector, s->vector, s->dim) < 0) {
            search_fail(s, LT_ENOMEM, NULL);
            return;
        }
    }
    if (s->vector || m->mode == LATENT__V1__MODE__MODE_TEXT || !rq->core->model ||
        (col.vectors_only && m->mode == LATENT__V1__MODE__MODE_HYBRID))
        request_submit(rq, rq->core->searchers, look_up);
    else if (strlen(m->query) <= INLINE_BYTES)
        tokenise(s);
    else
        request_submit(rq, rq->core->searchers, tokenise_elsewhere);
}
