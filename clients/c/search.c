/* Search and embed. */
#include "clients/c/latent_int.h"

static int no_memory(struct latent *c)
{
    return conn_fail(c, LATENT_ENOMEM, "no memory");
}

static char *text(const char *s)
{
    return s ? (char *)s : (char *)"";
}

static int search_send(struct latent *c, const void *what, bool begun, struct slot **slot)
{
    const struct latent_search *q = what;
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__SearchRequest body = LATENT__V1__SEARCH_REQUEST__INIT;
    struct pool *pool = NULL;
    body.collection = text(q->collection);
    body.query = text(q->query);
    body.k = q->k;
    body.mode = (Latent__V1__Mode)q->mode;
    body.filter = text(q->filter);
    body.ef = q->ef;
    body.instruct = text(q->instruct);
    body.chunks = q->chunks;
    body.no_text = q->no_text;
    body.on_long = (Latent__V1__OnLong)q->on_long;
    body.exact = q->exact;
    body.dense_weight = q->dense_weight;
    body.text_weight = q->text_weight;
    body.rerank = q->rerank;
    body.fusion = (Latent__V1__Fusion)q->fusion;
    if (q->vector) {
        if (!(pool = pool_create(SIZE_MAX / 2)) ||
            !(body.vector.data = message_vector_view(pool, q->vector, q->dim))) {
            pool_destroy(&pool);
            return no_memory(c);
        }
        body.vector.len = (size_t)q->dim * 4;
    }
    r.body_case = LATENT__V1__REQUEST__BODY_SEARCH;
    r.search = &body;
    int code = exchange_send(c, &r, begun, slot);
    pool_destroy(&pool);
    return code;
}

static int search_result(struct latent *c, struct part *parts, struct latent_search_result **out)
{
    const Latent__V1__SearchReply *s = parts->response->search;
    struct latent_search_result *res = result_create(parts, sizeof *res);
    struct latent_hit *hits = res ? result_array(res, s->n_hits, sizeof *hits) : NULL;
    if (!hits) {
        latent_free(res);
        return no_memory(c);
    }
    for (size_t i = 0; i < s->n_hits; i++) {
        const Latent__V1__Hit *h = s->hits[i];
        hits[i] = (struct latent_hit){.id = h->id, .score = h->score, .rank = (uint32_t)i + 1, .chunk = h->chunk,
                                      .start = h->start, .end = h->end, .title = h->title, .text = h->text,
                                      .metadata = h->metadata, .rerank_score = h->rerank_score};
    }
    *res = (struct latent_search_result){
        .hits = hits, .n_hits = s->n_hits, .mode = (enum latent_mode)s->mode, .k = s->k, .ef = s->ef,
        .short_reason = (enum latent_short)s->short_reason, .degraded = s->degraded,
        .degraded_reason = s->degraded_reason, .tokens = s->tokens, .truncated = s->truncated, .seq = s->seq,
        .filter = s->filter, .dense_weight = s->dense_weight, .text_weight = s->text_weight,
        .used_template = s->used_template, .instruct = s->instruct, .chunks = s->chunks,
        .n_reranked = s->reranked < s->n_hits ? s->reranked : (uint32_t)s->n_hits, .rerank_cut = s->rerank_cut,
        .fusion = (enum latent_fusion)s->fusion,
    };
    *out = res;
    return 0;
}

int latent_search(struct latent *c, const struct latent_search *search, struct latent_search_result **out)
{
    struct part *parts;
    int code = exchange_call(c, search_send, search, LATENT__V1__RESPONSE__BODY_SEARCH, &parts);
    return code < 0 ? code : search_result(c, parts, out);
}

int latent_search_begin(struct latent *c, const struct latent_search *search, uint64_t *id)
{
    return exchange_begin(c, search_send, search, id);
}

int latent_search_finish(struct latent *c, uint64_t id, struct latent_search_result **out)
{
    struct part *parts;
    int code = exchange_finish(c, id, LATENT__V1__REQUEST__BODY_SEARCH, LATENT__V1__RESPONSE__BODY_SEARCH, &parts);
    return code < 0 ? code : search_result(c, parts, out);
}

/* ---- embed ---- */

static int build_inputs(struct latent *c, const struct latent_embed *e, struct pool *pool,
                        Latent__V1__EmbedRequest *body)
{
    size_t n = e->n_inputs;
    Latent__V1__EmbedInput *inputs = pool_calloc(pool, n ? n : 1, sizeof *inputs);
    body->inputs = pool_calloc(pool, n ? n : 1, sizeof *body->inputs);
    if (!inputs || !body->inputs)
        return no_memory(c);
    for (size_t i = 0; i < n; i++) {
        latent__v1__embed_input__init(&inputs[i]);
        inputs[i].text = text(e->inputs[i].text);
        inputs[i].ids = (uint32_t *)e->inputs[i].ids;
        inputs[i].n_ids = e->inputs[i].n_ids;
        inputs[i].instruction_len = e->inputs[i].instruction_len;
        body->inputs[i] = &inputs[i];
    }
    body->n_inputs = n;
    return 0;
}

/* One entry of the reply; its vector is copied, since wire bytes are not aligned. */
static int embedding_fill(struct latent_embed_result *res, struct latent_embedding *to,
                          const Latent__V1__Embedding *from)
{
    *to = (struct latent_embedding){.tokens = from->tokens, .tokens_seen = from->tokens_seen,
                                    .truncated = from->truncated, .message = ""};
    if (from->error) {
        to->code = error_code(from->error);
        to->message = from->error->message;
        return 0;
    }
    float *v = result_array(res, res->dim, sizeof *v);
    if (!v)
        return LATENT_ENOMEM;
    to->vector = v;
    return message_vector_get(&from->vector, v, res->dim);
}

static int embed_result(struct latent *c, struct part *parts, size_t n_inputs, struct latent_embed_result **out)
{
    size_t n = 0, at = 0;
    int code = 0;
    for (const struct part *p = parts; p; p = p->next)
        n += p->response->embed->n_embeddings;
    uint32_t dim = parts->response->embed->dim;
    struct latent_embed_result *res = result_create(parts, sizeof *res);
    struct latent_embedding *list = res ? result_array(res, n, sizeof *list) : NULL;
    if (!list) {
        latent_free(res);
        return no_memory(c);
    }
    *res = (struct latent_embed_result){.embeddings = list, .n = n, .dim = dim};
    for (const struct part *p = parts; p && code == 0; p = p->next)
        for (size_t i = 0; i < p->response->embed->n_embeddings && code == 0; i++)
            code = embedding_fill(res, &list[at++], p->response->embed->embeddings[i]);
    if (code == LATENT_ENOMEM) {
        latent_free(res);
        return no_memory(c);
    }
    if (code < 0 || n != n_inputs) {
        latent_free(res);
        return conn_wrong_answer(c, "the daemon's %zu embeddings for %zu inputs: %s", n, n_inputs, err_text(code < 0 ? code : LATENT_EPROTO));
    }
    *out = res;
    return 0;
}

int latent_embed(struct latent *c, const struct latent_embed *e, struct latent_embed_result **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__EmbedRequest body = LATENT__V1__EMBED_REQUEST__INIT;
    struct pool *pool = pool_create(SIZE_MAX / 2);
    struct part *parts = NULL;
    int code = pool ? build_inputs(c, e, pool, &body) : no_memory(c);
    if (code == 0) {
        body.query = e->query;
        body.on_long = (Latent__V1__OnLong)e->on_long;
        body.instruct = text(e->instruct);
        r.body_case = LATENT__V1__REQUEST__BODY_EMBED;
        r.embed = &body;
        code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_EMBED, &parts);
    }
    pool_destroy(&pool);
    return code < 0 ? code : embed_result(c, parts, e->n_inputs, out);
}
