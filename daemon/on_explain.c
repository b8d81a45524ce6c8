/* Explain: what the model is given for a text, as a query or as a document with its chunks; nothing is embedded. */
#include <stdlib.h>
#include <string.h>

#include "daemon/handlers.h"
#include "daemon/request.h"
#include "model/chunk.h"
#include "model/layout.h"

/* Of a token in the reply, at most: its id and its offset; of a text besides its prompt and its tokens. */
#define TOKEN_BYTES 8
#define TEXT_OVERHEAD 64

struct explain {
    struct request *rq;
    struct text_rules rules;
    struct text_tokens *tokens;
    Latent__V1__ExplainReply reply;
    size_t bytes; /* of prompts and tokens so far */
};

/* What was just encoded becomes the reply's next text. */
static int take(struct explain *e, struct chunk_span span, struct err_msg *em)
{
    struct pool *pool = e->rq->pool;
    struct text_tokens *t = e->tokens;
    const size_t bytes = t->len + (size_t)t->n * TOKEN_BYTES + TEXT_OVERHEAD;
    if (e->bytes + bytes > PROTO_EXPLAIN_REPLY_MAX)
        return err_set(em, LT_ELIMIT, "the chunks and their titles take more than %u bytes to tell", PROTO_EXPLAIN_REPLY_MAX);
    if (!request_charge(e->rq, bytes))
        return LT_EBUSY;
    Latent__V1__ExplainedText *out = pool_alloc(pool, sizeof *out);
    char *prompt = pool_alloc(pool, t->len + 1);
    uint32_t *ids = pool_calloc(pool, t->n, sizeof *ids), *offsets = pool_calloc(pool, t->n, sizeof *offsets);
    if (!out || !prompt || !ids || !offsets)
        return LT_ENOMEM;
    latent__v1__explained_text__init(out);
    int r = text_offsets(&e->rules, t, offsets, &out->prompt_used, em);
    if (r < 0)
        return r;
    memcpy(prompt, t->joined, t->len);
    prompt[t->len] = 0;
    for (uint32_t i = 0; i < t->n; i++)
        ids[i] = (uint32_t)t->ids[i];
    out->prompt = prompt;
    out->text_at = (uint32_t)t->text_at;
    out->start = span.start;
    out->end = span.end;
    out->ids = ids;
    out->n_ids = t->n;
    out->offsets = offsets;
    out->n_offsets = t->n;
    out->pool_from = t->n_skip;
    out->tokens_seen = t->n_seen;
    out->bos = e->rules.bos >= 0;
    out->eos = text_ends_in_eos(&e->rules, t->truncated);
    e->reply.texts[e->reply.n_texts++] = out;
    e->bytes += bytes;
    return 0;
}

static int explain_whole(struct explain *e, const struct text_input *in, struct err_msg *em)
{
    int r = text_encode_rules(&e->rules, in, e->tokens, em);
    if (r == 0 && !(e->reply.texts = pool_calloc(e->rq->pool, 1, sizeof *e->reply.texts)))
        r = LT_ENOMEM;
    return r < 0 ? r : take(e, (struct chunk_span){0, (uint32_t)in->len}, em);
}

static int explain_chunks(struct explain *e, const struct text_input *in, struct err_msg *em)
{
    struct chunk_span *spans = NULL;
    size_t n = 0, title_used = 0;
    int r = chunk_text_rules(&e->rules, in->title, in->title_len, in->text, in->len, NULL, &spans, &n, &title_used, em);
    if (r < 0)
        return r;
    if (!(e->reply.texts = pool_calloc(e->rq->pool, n, sizeof *e->reply.texts)))
        r = LT_ENOMEM;
    for (size_t i = 0; i < n && r == 0; i++) {
        const struct text_input part = chunk_input(in, spans[i], title_used);
        if ((r = request_over(e->rq)) == 0 && (r = text_encode_rules(&e->rules, &part, e->tokens, em)) == 0)
            r = take(e, spans[i], em);
    }
    free(spans);
    return r;
}

static void fill_model(const struct core *c, Latent__V1__ExplainReply *out)
{
    const struct model_info *m = model_info(c->model);
    const struct engine_info *d = device_info(c->device);
    out->model = (char *)m->name;
    out->fingerprint = (char *)m->fingerprint;
    out->weight_type = (char *)m->weight_type;
    out->device = (char *)d->device;
    out->device_kind = (char *)d->kind;
    out->pooling = (char *)layout_pooling_name(m->pooling);
    out->mask = (char *)(m->causal ? "causal" : "full");
    out->dim = m->dim;
    out->token_limit = m->token_limit;
}

static void explain(struct work_item *w, void *scratch)
{
    struct request *rq = request_of_work(w);
    const Latent__V1__ExplainRequest *m = rq->msg->explain;
    const struct text_input in = {.text = m->text, .len = strlen(m->text), .title = *m->title ? m->title : NULL,
                                  .title_len = strlen(m->title), .query = m->query, .instruct = *m->instruct ? m->instruct : NULL,
                                  .truncate = m->on_long == LATENT__V1__ON_LONG__ON_LONG_TRUNCATE};
    struct explain e = {.rq = rq, .tokens = scratch, .reply = LATENT__V1__EXPLAIN_REPLY__INIT};
    struct err_msg em = {""};
    int r = request_over(rq);
    if (r == 0 && (r = text_rules_of(rq->core->model, &e.rules, &em)) == 0) {
        r = explain_whole(&e, &in, &em);
        if (r == LT_ETOOLONG && !m->query && m->on_long == LATENT__V1__ON_LONG__ON_LONG_CHUNK)
            r = explain_chunks(&e, &in, &em);
    }
    if (r < 0) {
        request_fail(rq, r, em.text[0] ? &em : NULL);
        return;
    }
    Latent__V1__Response resp = request_response();
    e.reply.used_template = (char *)text_template(&e.rules, &in);
    fill_model(rq->core, &e.reply);
    resp.body_case = LATENT__V1__RESPONSE__BODY_EXPLAIN;
    resp.explain = &e.reply;
    request_reply(rq, &resp, false);
    request_finish(rq);
}

void on_explain(struct request *rq)
{
    const Latent__V1__ExplainRequest *m = rq->msg->explain;
    struct err_msg em;
    int r;
    if ((r = request_check_bytes("text", m->text, PROTO_EXPLAIN_TEXT_MAX, &em)) < 0 || (r = request_check_bytes("title", m->title, PROTO_TITLE_MAX, &em)) < 0 ||
        (r = request_check_bytes("instruction", m->instruct, PROTO_INSTRUCT_MAX, &em)) < 0) {
        request_fail(rq, r, &em);
        return;
    }
    if (*(m->query ? m->title : m->instruct)) {
        request_failf(rq, LT_EINVAL, m->query ? "a query has no title" : "only a query has an instruction");
        return;
    }
    request_submit(rq, rq->core->tokenisers, explain);
}
