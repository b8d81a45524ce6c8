/* Embed: texts or token ids to vectors, nothing stored. One entry comes back for each that went in. */
#include <stdlib.h>
#include <string.h>

#include "daemon/handlers.h"
#include "daemon/packing.h"
#include "daemon/request.h"
#include "daemon/text_cost.h"
#include "model/text.h"

/* Bytes of vectors in one response; the rest follows in further ones. */
#define PART_BYTES (8u << 20)
/* Of an entry in the reply, besides its vector. */
#define VECTOR_OVERHEAD 64

struct embed_input {
    int status;
    struct err_msg why;
    uint32_t tokens, seen;
    bool truncated;
    size_t packed; /* its text on the device */
};

struct embed {
    struct request *rq;
    const Latent__V1__EmbedRequest *msg;
    struct device_job job;
    struct packing packing;
    float *vectors;
    uint32_t dim;
    struct embed_input inputs[];
};

static void embed_end(struct embed *e)
{
    packing_finish(&e->packing);
    free(e->vectors);
    free(e);
}

static void embed_fail(struct embed *e, int code)
{
    struct request *rq = e->rq;
    embed_end(e);
    request_fail(rq, code, NULL);
}

/* Packs entries [from, to). */
static int reply_part(struct embed *e, size_t from, size_t to, bool more)
{
    Latent__V1__EmbedReply out = LATENT__V1__EMBED_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    size_t n = to - from;
    Latent__V1__Embedding *list = calloc(n, sizeof *list), **refs = calloc(n, sizeof *refs);
    Latent__V1__Error *errors = calloc(n, sizeof *errors);
    int r = list && refs && errors ? 0 : LT_ENOMEM;
    for (size_t i = 0; i < n && r == 0; i++) {
        const struct embed_input *in = &e->inputs[from + i];
        latent__v1__embedding__init(&list[i]);
        refs[i] = &list[i];
        list[i].tokens_seen = in->seen;
        if (in->status == 0) {
            uint8_t *view = message_vector_view(e->rq->pool, e->packing.texts[in->packed].out, e->dim);
            if (!view)
                r = LT_ENOMEM;
            list[i].vector = (ProtobufCBinaryData){e->dim * 4ul, view};
            list[i].tokens = in->tokens;
            list[i].truncated = in->truncated;
        } else {
            message_error_init(&errors[i], in->status, in->why.text[0] ? in->why.text : NULL);
            list[i].error = &errors[i];
        }
    }
    if (r == 0) {
        out.embeddings = refs;
        out.n_embeddings = n;
        out.dim = e->dim;
        resp.body_case = LATENT__V1__RESPONSE__BODY_EMBED;
        resp.embed = &out;
        request_reply(e->rq, &resp, more);
    }
    free(list);
    free(refs);
    free(errors);
    return r;
}

static void reply(struct work_item *w, void *state)
{
    (void)state;
    struct request *rq = request_of_work(w);
    struct embed *e = rq->state;
    size_t n = e->msg->n_inputs, step = PART_BYTES / (e->dim * 4ul + VECTOR_OVERHEAD);
    for (size_t i = 0; i < n; i++) {
        struct embed_input *in = &e->inputs[i];
        if (in->status == 0) {
            in->status = e->packing.texts[in->packed].status;
            if (e->packing.texts[in->packed].device)
                in->why = e->job.why;
        }
        if (in->status == LT_ESHUTDOWN || in->status == LT_ECANCELLED || in->status == LT_ETIMEOUT) {
            embed_fail(e, in->status);
            return;
        }
    }
    int r = 0;
    for (size_t from = 0; from < n && r == 0 && !rq->failed; from += step)
        r = reply_part(e, from, from + step < n ? from + step : n, from + step < n);
    if (r < 0) {
        embed_fail(e, r);
        return;
    }
    embed_end(e);
    request_finish(rq);
}

static void embedded(struct device_job *job)
{
    struct embed *e = (struct embed *)((char *)job - offsetof(struct embed, job));
    request_submit(e->rq, e->rq->core->searchers, reply);
}

/* Where the next text's vector goes. */
static float *next_vector(const struct embed *e)
{
    return e->vectors + e->packing.n_texts * e->dim;
}

static int take_ids(struct embed *e, const Latent__V1__EmbedInput *m, struct embed_input *in)
{
    const struct model_info *info = model_info(e->rq->core->model);
    in->seen = (uint32_t)(m->n_ids > UINT32_MAX ? UINT32_MAX : m->n_ids);
    if (m->n_ids > PROTO_EMBED_IDS_MAX)
        return err_set(&in->why, LT_ELIMIT, "%zu token ids, %u are allowed", m->n_ids, PROTO_EMBED_IDS_MAX);
    if (m->n_ids > info->token_limit)
        return err_set(&in->why, LT_ETOOLONG, "%zu tokens, the limit is %u", m->n_ids, info->token_limit);
    if (m->instruction_len >= m->n_ids)
        return err_set(&in->why, LT_EEMPTY, "all %zu tokens are left out of the pool", m->n_ids);
    for (size_t k = 0; k < m->n_ids; k++)
        if (m->ids[k] >= info->vocab)
            return err_set(&in->why, LT_EINVAL, "id %u at position %zu is outside the vocabulary of %u", m->ids[k], k,
                           info->vocab);
    return packing_put(&e->packing, e->rq, (const int32_t *)m->ids, (uint32_t)m->n_ids, m->instruction_len, next_vector(e));
}

static int take_text(struct embed *e, const Latent__V1__EmbedInput *m, struct embed_input *in, struct text_tokens *tokens)
{
    struct text_input text = {.text = m->text, .len = strlen(m->text), .query = e->msg->query,
                              .instruct = *e->msg->instruct ? e->msg->instruct : NULL,
                              .truncate = e->msg->on_long == LATENT__V1__ON_LONG__ON_LONG_TRUNCATE};
    int r = text_encode(e->rq->core->model, &text, tokens, &in->why);
    in->seen = tokens->n_seen;
    in->truncated = tokens->truncated;
    return r < 0 ? r : packing_put(&e->packing, e->rq, tokens->ids, tokens->n, tokens->n_skip, next_vector(e));
}

static int take(struct embed *e, const Latent__V1__EmbedInput *m, struct embed_input *in, struct text_tokens *tokens)
{
    if (m->n_ids && *m->text)
        return err_set(&in->why, LT_EINVAL, "either text or token ids, not both");
    if (!m->n_ids && m->instruction_len)
        return err_set(&in->why, LT_EINVAL, "instruction_len is for token ids alone");
    return m->n_ids ? take_ids(e, m, in) : take_text(e, m, in, tokens);
}

static void prepare(struct work_item *w, void *scratch)
{
    struct request *rq = request_of_work(w);
    struct embed *e = rq->state;
    int over = 0;
    for (const struct message_nul *n = rq->nuls; n; n = n->next) /* the text that is seen here ends there */
        e->inputs[n->index].status = err_set(&e->inputs[n->index].why, LT_EUTF8, "%s: a NUL byte at offset %u", n->field, n->at);
    for (size_t i = 0; i < e->msg->n_inputs && over == 0; i++) {
        const Latent__V1__EmbedInput *m = e->msg->inputs[i];
        struct embed_input *in = &e->inputs[i];
        if (in->status == 0)
            in->status = take(e, m, in, scratch);
        over = in->status == LT_EBUSY ? LT_EBUSY : request_over(rq);
        if (in->status < 0)
            continue;
        in->packed = e->packing.n_texts - 1;
        in->tokens = e->packing.texts[in->packed].n;
    }
    if (over < 0) {
        embed_fail(e, over);
        return;
    }
    packing_settle(&e->packing);
    e->job = (struct device_job){.texts = e->packing.texts, .n_texts = e->packing.n_texts, .deadline_ns = rq->deadline_ns,
                                 .cancelled = &rq->cancelled, .done = embedded,
                                 .owner = rq->owner, .bulk = e->msg->n_inputs > DEVICE_INTERACTIVE_MAX};
    if (e->packing.n_texts)
        device_submit(rq->core->device, &e->job);
    else
        embedded(&e->job);
}

void on_embed(struct request *rq)
{
    const Latent__V1__EmbedRequest *m = rq->msg->embed;
    uint32_t dim = model_info(rq->core->model)->dim;
    struct err_msg em = {""};
    int r;
    if (m->n_inputs > PROTO_EMBED_INPUTS_MAX) {
        request_failf(rq, LT_ELIMIT, "embed takes at most %u inputs, not %zu", PROTO_EMBED_INPUTS_MAX, m->n_inputs);
        return;
    }
    if ((r = request_check_bytes("instruction", m->instruct, PROTO_INSTRUCT_MAX, &em)) < 0) {
        request_fail(rq, r, &em);
        return;
    }
    if (*m->instruct && !m->query) {
        request_failf(rq, LT_EINVAL, "only a query has an instruction");
        return;
    }
    size_t n = m->n_inputs ? m->n_inputs : 1, row = dim * sizeof(float) + VECTOR_OVERHEAD;
    if (n * row > REQUEST_REPLY_MAX) {
        request_failf(rq, LT_ELIMIT, "embed takes at most %zu inputs with this model, whose vectors have %u dimensions",
                      REQUEST_REPLY_MAX / row, dim);
        return;
    }
    if (!request_charge(rq, n * row)) {
        request_fail(rq, LT_EBUSY, NULL);
        return;
    }
    struct text_cost cost = {0};
    for (size_t i = 0; i < m->n_inputs; i++)
        if (!m->inputs[i]->n_ids)
            text_cost_take(&cost, m->inputs[i]->text, strlen(m->inputs[i]->text));
    r = text_cost_charge(&cost, rq, "embed", &em);
    if (r < 0) {
        request_fail(rq, r, &em);
        return;
    }
    struct embed *e = calloc(1, sizeof *e + n * sizeof e->inputs[0]);
    if (e)
        e->vectors = malloc(n * dim * sizeof(float));
    if (!e || packing_init(&e->packing, n) < 0 || !e->vectors) {
        if (e)
            embed_end(e);
        request_fail(rq, LT_ENOMEM, NULL);
        return;
    }
    e->rq = rq;
    e->msg = m;
    e->dim = dim;
    rq->state = e;
    if (m->n_inputs == 0) {
        reply_part(e, 0, 0, false);
        embed_end(e);
        request_finish(rq);
        return;
    }
    request_submit(rq, rq->core->tokenisers, prepare);
}
