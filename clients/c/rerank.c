/* Texts scored for a question. */
#include "clients/c/latent_int.h"

static int no_memory(struct latent *c)
{
    return conn_fail(c, LATENT_ENOMEM, "no memory");
}

static int fill(struct latent *c, const Latent__V1__RerankReply *from, size_t n, struct latent_rerank_score *to)
{
    if (from->n_scores != n || from->n_tokens != n || from->n_tokens_seen != n)
        return conn_wrong_answer(c, "the daemon's %zu scores for %zu texts", from->n_scores, n);
    for (size_t i = 0; i < n; i++)
        to[i] = (struct latent_rerank_score){.score = from->scores[i], .tokens = from->tokens[i], .tokens_seen = from->tokens_seen[i],
                                             .truncated = from->tokens_seen[i] > from->tokens[i], .message = ""};
    for (size_t k = 0; k < from->n_errors; k++) {
        const Latent__V1__ItemError *e = from->errors[k];
        if (e->index >= n || !e->error)
            return conn_wrong_answer(c, "the daemon's error for text %u of %zu", e->index, n);
        to[e->index].code = error_code(e->error);
        to[e->index].message = e->error->message;
        to[e->index].truncated = false;
    }
    return 0;
}

int latent_rerank(struct latent *c, const struct latent_rerank *q, struct latent_rerank_result **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__RerankRequest body = LATENT__V1__RERANK_REQUEST__INIT;
    struct part *parts;
    body.query = q->query ? (char *)q->query : (char *)"";
    body.texts = (char **)q->texts;
    body.n_texts = q->n_texts;
    body.on_long = (Latent__V1__OnLong)q->on_long;
    r.body_case = LATENT__V1__REQUEST__BODY_RERANK;
    r.rerank = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_RERANK, &parts);
    if (code < 0)
        return code;
    const Latent__V1__RerankReply *reply = parts->response->rerank;
    struct latent_rerank_result *res = result_create(parts, sizeof *res);
    struct latent_rerank_score *scores = res ? result_array(res, q->n_texts, sizeof *scores) : NULL;
    code = scores ? fill(c, reply, q->n_texts, scores) : no_memory(c);
    if (code < 0) {
        latent_free(res);
        return code;
    }
    *res = (struct latent_rerank_result){.scores = scores, .n = q->n_texts};
    *out = res;
    return 0;
}
