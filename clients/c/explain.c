/* What the model is given for a text. */
#include <string.h>

#include "clients/c/latent_int.h"

static char *text(const char *s)
{
    return s ? (char *)s : (char *)"";
}

/* Callers look into the prompt where these numbers say. */
static bool fits(const Latent__V1__ExplainedText *t)
{
    const size_t len = strlen(t->prompt);
    bool ok = t->n_offsets == t->n_ids && t->text_at <= len && t->start <= t->end;
    for (size_t i = 0; i < t->n_offsets && ok; i++)
        ok = t->offsets[i] <= len;
    return ok;
}

static int explain_result(struct latent *c, struct part *parts, struct latent_explain_result **out)
{
    const Latent__V1__ExplainReply *e = parts->response->explain;
    struct latent_explain_result *res = result_create(parts, sizeof *res);
    struct latent_explained_text *texts = res ? result_array(res, e->n_texts, sizeof *texts) : NULL;
    if (!texts) {
        latent_free(res);
        return conn_fail(c, LATENT_ENOMEM, "no memory");
    }
    for (size_t i = 0; i < e->n_texts; i++) {
        const Latent__V1__ExplainedText *t = e->texts[i];
        if (!fits(t)) {
            latent_free(res);
            return conn_wrong_answer(c, "the daemon tells no offset in the prompt for each token");
        }
        texts[i] = (struct latent_explained_text){
            .prompt = t->prompt, .ids = t->ids, .offsets = t->offsets, .n_tokens = t->n_ids, .text_at = t->text_at, .start = t->start,
            .end = t->end, .pool_from = t->pool_from, .tokens_seen = t->tokens_seen, .bos = t->bos, .eos = t->eos,
            .prompt_used = t->prompt_used,
        };
    }
    *res = (struct latent_explain_result){
        .texts = texts, .n_texts = e->n_texts, .used_template = e->used_template, .model = e->model, .fingerprint = e->fingerprint,
        .weight_type = e->weight_type, .device = e->device, .device_kind = e->device_kind, .pooling = e->pooling, .mask = e->mask,
        .dim = e->dim, .token_limit = e->token_limit,
    };
    *out = res;
    return 0;
}

int latent_explain(struct latent *c, const struct latent_explain *q, struct latent_explain_result **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__ExplainRequest body = LATENT__V1__EXPLAIN_REQUEST__INIT;
    struct part *parts = NULL;
    body.text = text(q->text);
    body.title = text(q->title);
    body.instruct = text(q->instruct);
    body.query = q->query;
    body.on_long = (Latent__V1__OnLong)q->on_long;
    r.body_case = LATENT__V1__REQUEST__BODY_EXPLAIN;
    r.explain = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_EXPLAIN, &parts);
    return code < 0 ? code : explain_result(c, parts, out);
}
