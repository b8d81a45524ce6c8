/* Rerank: a question and texts to scores, nothing stored. */
#include <stdlib.h>
#include <string.h>

#include "daemon/handlers.h"
#include "daemon/request.h"
#include "daemon/rerank.h"

static void end(struct rerank *r, int code, const struct err_msg *em)
{
    struct request *rq = r->rq;
    rerank_destroy(&r);
    if (code < 0)
        request_fail(rq, code, em);
    else
        request_finish(rq);
}

static int fill(struct rerank *r, Latent__V1__RerankReply *out)
{
    struct pool *pool = r->rq->pool;
    const size_t n = r->n ? r->n : 1;
    Latent__V1__ItemError *items = pool_calloc(pool, n, sizeof *items);
    Latent__V1__Error *errors = pool_calloc(pool, n, sizeof *errors);
    out->scores = pool_calloc(pool, n, sizeof *out->scores);
    out->tokens = pool_calloc(pool, n, sizeof *out->tokens);
    out->tokens_seen = pool_calloc(pool, n, sizeof *out->tokens_seen);
    out->errors = pool_calloc(pool, n, sizeof *out->errors);
    if (!items || !errors || !out->scores || !out->tokens || !out->tokens_seen || !out->errors)
        return LT_ENOMEM;
    out->n_scores = out->n_tokens = out->n_tokens_seen = r->n;
    for (size_t i = 0; i < r->n; i++) {
        const struct rerank_item *it = &r->items[i];
        out->tokens_seen[i] = it->seen;
        if (it->status == 0) {
            out->scores[i] = it->score;
            out->tokens[i] = it->tokens;
            continue;
        }
        Latent__V1__ItemError *e = &items[out->n_errors];
        latent__v1__item_error__init(e);
        message_error_init(&errors[out->n_errors], it->status, it->why.text[0] ? it->why.text : NULL);
        e->index = (uint32_t)i;
        e->error = &errors[out->n_errors];
        out->errors[out->n_errors++] = e;
    }
    return 0;
}

static void reply(struct work_item *w, void *reader)
{
    (void)reader;
    struct request *rq = request_of_work(w);
    struct rerank *r = rq->state;
    Latent__V1__RerankReply out = LATENT__V1__RERANK_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    int code = rerank_result(r);
    if (code == 0)
        code = fill(r, &out);
    if (code == 0) {
        resp.body_case = LATENT__V1__RESPONSE__BODY_RERANK;
        resp.rerank = &out;
        request_reply(rq, &resp, false);
    }
    end(r, code, NULL);
}

static void done(struct rerank *r)
{
    request_submit(r->rq, r->rq->core->searchers, reply);
}

static void prepare(struct work_item *w, void *scratch)
{
    rerank_run(request_of_work(w)->state, scratch);
}

void on_rerank(struct request *rq)
{
    const Latent__V1__RerankRequest *m = rq->msg->rerank;
    struct err_msg em = {""};
    struct rerank *r = m->n_texts <= PROTO_RERANK_TEXTS_MAX ? rerank_create(rq, m->query, m->n_texts) : NULL;
    if (!r) {
        if (m->n_texts > PROTO_RERANK_TEXTS_MAX)
            request_failf(rq, LT_ELIMIT, "%zu texts, %u are allowed", m->n_texts, PROTO_RERANK_TEXTS_MAX);
        else
            request_fail(rq, LT_ENOMEM, NULL);
        return;
    }
    for (size_t i = 0; i < m->n_texts; i++)
        r->items[i].text = m->texts[i];
    for (const struct message_nul *n = rq->nuls; n; n = n->next) /* the text that is seen here ends there */
        r->items[n->index].status = err_set(&r->items[n->index].why, LT_EUTF8, "the text has a NUL byte at offset %u", n->at);
    r->truncate = m->on_long == LATENT__V1__ON_LONG__ON_LONG_TRUNCATE;
    r->done = done;
    rq->state = r;
    int code = rerank_check(r, &em);
    if (code == 0 && !request_charge(rq, sizeof *r + r->n * sizeof r->items[0]))
        code = LT_EBUSY;
    if (code < 0)
        end(r, code, em.text[0] ? &em : NULL);
    else
        request_submit(rq, rq->core->tokenisers, prepare);
}
