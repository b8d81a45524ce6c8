/* Add: documents are checked and cut into chunks by a tokeniser thread, put and committed by the writer, and then, if
 * the client asked for it, waited for until search finds them. An item that is refused leaves the others alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "daemon/feed.h"
#include "daemon/handlers.h"
#include "daemon/job_holds.h"
#include "daemon/request.h"
#include "daemon/text_cost.h"
#include "model/chunk.h"
#include "model/text.h"

#define WHY_BYTES (INDEX_JOB_ERROR_MAX + 1)

struct add_doc {
    int status;            /* 0 or why it was refused */
    struct err_msg why;
    uint64_t version;      /* what the store calls it once it is put; 0: not put */
    struct index_span *spans; /* NULL: one chunk */
    size_t n_spans;
    float *vector;
    uint32_t tokens;
    bool truncated;
    bool kept;             /* found already, with the same words: nothing is embedded */
};

struct add {
    struct request *rq;
    const Latent__V1__AddRequest *msg;
    struct writer_op op;
    struct feed_waiter waiter;
    uint64_t accepted_seq;
    bool pending; /* some document has to be embedded */
    bool counts;  /* the job took documents when these came: it counts those that are refused, too */
    struct add_doc docs[];
};

static void add_free(struct add *a)
{
    for (size_t i = 0; i < a->msg->n_documents; i++) {
        free(a->docs[i].spans);
        free(a->docs[i].vector);
    }
    free(a);
}

static void add_fail(struct add *a, int code, const struct err_msg *em)
{
    struct request *rq = a->rq;
    add_free(a);
    request_fail(rq, code, em);
}

static void add_reply(struct add *a, uint64_t searchable)
{
    struct request *rq = a->rq;
    size_t n = a->msg->n_documents, n_errors = 0;
    Latent__V1__AddReply reply = LATENT__V1__ADD_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    Latent__V1__ItemError *items = calloc(n, sizeof *items), **list = calloc(n, sizeof *list);
    Latent__V1__Error *errors = calloc(n, sizeof *errors);
    uint32_t *cut = calloc(n, sizeof *cut);
    if (!items || !list || !errors || !cut) {
        free(items);
        free(list);
        free(errors);
        free(cut);
        add_fail(a, LT_ENOMEM, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct add_doc *d = &a->docs[i];
        if (d->status == 0) {
            reply.accepted++;
            reply.chunks += d->spans ? d->n_spans : 1;
            reply.tokens += d->kept ? 0 : d->tokens;
            reply.unchanged += d->kept;
            if (d->truncated)
                cut[reply.truncated++] = (uint32_t)i;
            continue;
        }
        message_error_init(&errors[n_errors], d->status, d->why.text[0] ? d->why.text : NULL);
        latent__v1__item_error__init(&items[n_errors]);
        items[n_errors].index = (uint32_t)i;
        /* An id that is not UTF-8 cannot travel in a string. */
        const char *id = a->msg->documents[i]->id;
        items[n_errors].id = utf8_check(id, strlen(id)) == UTF8_VALID ? (char *)id : (char *)"";
        items[n_errors].error = &errors[n_errors];
        list[n_errors] = &items[n_errors];
        n_errors++;
    }
    reply.accepted_seq = a->accepted_seq;
    reply.searchable_seq = searchable;
    reply.errors = list;
    reply.n_errors = n_errors;
    reply.cut = cut;
    reply.n_cut = reply.truncated;
    resp.body_case = LATENT__V1__RESPONSE__BODY_ADD;
    resp.add = &reply;
    request_reply(rq, &resp, false);
    free(items);
    free(list);
    free(errors);
    free(cut);
    add_free(a);
    request_finish(rq);
}

/* ---- waiting for search ---------------------------------------------------------- */

static struct add *add_of_waiter(struct feed_waiter *w)
{
    return (struct add *)((char *)w - offsetof(struct add, waiter));
}

static bool waiter_over(struct feed_waiter *w)
{
    return atomic_load(&add_of_waiter(w)->rq->cancelled);
}

static void waiter_failed(struct feed_waiter *w, uint64_t version, int code, const char *why)
{
    struct add *a = add_of_waiter(w);
    for (size_t i = 0; i < a->msg->n_documents; i++) {
        if (a->docs[i].status == 0 && a->docs[i].version == version) {
            a->docs[i].status = code;
            err_set(&a->docs[i].why, code, "%s", why);
        }
    }
}

static void waiter_done(struct feed_waiter *w, int result, uint64_t searchable, const char *why)
{
    struct add *a = add_of_waiter(w);
    struct err_msg em = {""};
    if (result == 0)
        add_reply(a, searchable);
    else
        add_fail(a, result, why ? (err_set(&em, result, "%s", why), &em) : NULL);
}

/* ---- the writer ------------------------------------------------------------------- */

static uint32_t source_bytes(const Latent__V1__Document *m)
{
    if (m->source_bytes)
        return m->source_bytes;
    return (uint32_t)(strlen(m->id) + strlen(m->text) + strlen(m->title) + strlen(m->metadata) + m->vector.len); /* of one frame */
}

static int put_one(struct add *a, size_t i, struct index *ix)
{
    const Latent__V1__Document *m = a->msg->documents[i];
    struct add_doc *d = &a->docs[i];
    struct index_doc doc = {
        .collection = a->msg->collection,
        .id = m->id,
        .id_len = strlen(m->id),
        .text = m->text,
        .text_len = strlen(m->text),
        .title = m->title,
        .title_len = strlen(m->title),
        .metadata = m->metadata,
        .metadata_len = strlen(m->metadata),
        .spans = d->spans,
        .n_spans = d->n_spans,
        .vectors = d->vector,
        .dim = d->vector ? (uint32_t)(m->vector.len / 4) : 0,
        .job = a->msg->job,
        .source_bytes = source_bytes(m),
        .version = &d->version,
        .kept = &d->kept,
    };
    return index_put(ix, &doc, &d->why);
}

/* The store's own troubles, which end the group, against what is wrong with one item. */
static bool is_store_error(int r)
{
    return r == LT_ENOSPC || r == LT_EIO || r == LT_ENOMEM || r == LT_ECORRUPT;
}

static int apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    struct add *a = (struct add *)((char *)op - offsetof(struct add, op));
    bool taken = false;
    int r = request_over(a->rq);
    if (r < 0)
        return r;
    a->counts = a->msg->job && index_job_takes(ix, a->msg->collection, a->msg->job, NULL) >= 0;
    for (size_t i = 0; i < a->msg->n_documents; i++) {
        struct add_doc *d = &a->docs[i];
        if (d->status < 0)
            continue;
        r = put_one(a, i, ix);
        if (is_store_error(r))
            return err_set(em, r, "%s", d->why.text);
        d->status = r;
        a->pending |= r == 0 && !d->vector && !d->kept;
        taken |= r == 0;
    }
    if (taken && a->msg->job && a->rq->core->holds)
        job_holds_add(a->rq->core->holds, a->msg->job, a->rq->sender);
    return 0;
}

/* For the job: how many, their bytes, and the last one with its reason. */
static size_t count_refused(const struct add *a, uint64_t *bytes, char why[static WHY_BYTES])
{
    size_t n = 0;
    const struct add_doc *d;
    for (size_t i = 0; i < a->msg->n_documents; i++) {
        if ((d = &a->docs[i])->status < 0) {
            const char *id = a->msg->documents[i]->id;
            snprintf(why, WHY_BYTES, "%.120s%s%.133s", id, *id ? ": " : "", d->why.text[0] ? d->why.text : err_text(d->status));
            *bytes += source_bytes(a->msg->documents[i]);
            n++;
        }
    }
    return n;
}

static void committed(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    struct add *a = (struct add *)((char *)op - offsetof(struct add, op));
    struct core *c = a->rq->core;
    char why[WHY_BYTES] = "";
    if (result < 0) {
        add_fail(a, result, em->text[0] ? em : NULL);
        return;
    }
    uint64_t bytes = 0;
    size_t refused = count_refused(a, &bytes, why);
    struct err_msg job_em;
    if (refused && a->counts && index_job_count_failed(c->ix, a->msg->collection, a->msg->job, refused, bytes, why, &job_em) < 0)
        log_warn("add", "job %llu: %s", (unsigned long long)a->msg->job, job_em.text);
    uint64_t searchable = 0;
    a->accepted_seq = seq; /* of all collections; this one's own may be before it, and search comes up to that only */
    index_seqs(c->ix, a->msg->collection, &a->accepted_seq, &searchable);
    if (!a->pending || a->msg->wait == LATENT__V1__WAIT__WAIT_ACCEPTED) {
        add_reply(a, searchable);
        return;
    }
    a->waiter = (struct feed_waiter){.collection = a->msg->collection, .seq = a->accepted_seq,
                                     .job = a->msg->job, .over = waiter_over, .failed = waiter_failed,
                                     .done = waiter_done};
    if (!a->waiter.job)
        a->waiter.job = UINT64_MAX; /* no job has this number */
    feed_wait(c->feed, &a->waiter);
}

/* ---- checking and cutting ------------------------------------------------------------ */

static int check_lengths(const Latent__V1__Document *m, struct err_msg *em)
{
    size_t id = strlen(m->id), text = strlen(m->text), title = strlen(m->title), bad;
    if (id == 0)
        return err_set(em, LT_EINVAL, "the id is empty");
    if (id > PROTO_DOCUMENT_ID_MAX)
        return err_set(em, LT_ELIMIT, "the id has %zu bytes, %u are allowed", id, PROTO_DOCUMENT_ID_MAX);
    if ((bad = utf8_check(m->id, id)) != UTF8_VALID)
        return err_set(em, LT_EUTF8, "id: not valid UTF-8 at byte %zu", bad);
    if ((bad = utf8_check(m->title, title)) != UTF8_VALID)
        return err_set(em, LT_EUTF8, "title: not valid UTF-8 at byte %zu", bad);
    if ((bad = utf8_check(m->text, text)) != UTF8_VALID)
        return err_set(em, LT_EUTF8, "text: not valid UTF-8 at byte %zu", bad);
    if (title > PROTO_TITLE_MAX)
        return err_set(em, LT_ELIMIT, "the title has %zu bytes, %u are allowed", title, PROTO_TITLE_MAX);
    if (text > PROTO_TEXT_MAX)
        return err_set(em, LT_ELIMIT, "the text has %zu bytes, %u are allowed", text, PROTO_TEXT_MAX);
    if (strlen(m->metadata) > PROTO_METADATA_MAX)
        return err_set(em, LT_ELIMIT, "metadata has %zu bytes, %u are allowed", strlen(m->metadata), PROTO_METADATA_MAX);
    return 0;
}

static int take_vector(const Latent__V1__Document *m, const struct index_collection *col, struct add_doc *d)
{
    if (!col->vectors_only)
        return err_set(&d->why, LT_EUNSUPPORTED,
                       "collection '%s' embeds its texts itself, since all its vectors must be one model's; vectors of your own go "
                       "into a collection created with --vectors-only", col->name);
    if (m->vector.len != col->dim * 4ull)
        return err_set(&d->why, LT_EDIM, "the vector has %zu bytes, dimension %u needs %llu", m->vector.len, col->dim,
                       col->dim * 4ull);
    d->vector = malloc(m->vector.len);
    if (!d->vector)
        return err_set(&d->why, LT_ENOMEM, "out of memory");
    return message_vector_get(&m->vector, d->vector, col->dim);
}

static int cut(struct add *a, const struct text_input *in, struct add_doc *d, struct text_tokens *tokens)
{
    const struct model *m = a->rq->core->model;
    struct chunk_span *spans = NULL;
    size_t n = 0, title_used = 0;
    _Static_assert(sizeof(struct index_span) == sizeof(struct chunk_span), "the same two offsets");
    int r = chunk_text(m, in->title, in->title_len, in->text, in->len, NULL, &spans, &n, &title_used, &d->why);
    if (r < 0)
        return r;
    if (n > INDEX_CHUNKS_MAX) {
        free(spans);
        return err_set(&d->why, LT_ELIMIT, "the text makes %zu chunks, %u are allowed", n, INDEX_CHUNKS_MAX);
    }
    d->spans = (struct index_span *)spans;
    d->n_spans = n;
    for (size_t i = 0; i < n && r == 0; i++) {
        const struct text_input part = chunk_input(in, spans[i], title_used);
        r = text_encode(m, &part, tokens, &d->why);
        d->tokens += tokens->n;
    }
    return r;
}

static int prepare_one(struct add *a, size_t i, const struct index_collection *col, struct text_tokens *tokens)
{
    const Latent__V1__Document *m = a->msg->documents[i];
    struct add_doc *d = &a->docs[i];
    const struct model *model = a->rq->core->model;
    int r = check_lengths(m, &d->why);
    if (r < 0)
        return r;
    if (m->vector.len)
        return take_vector(m, col, d);
    if (col->vectors_only)
        return err_set(&d->why, LT_EUNSUPPORTED, "collection '%s' takes documents with a vector only", col->name);
    if (strcmp(col->fingerprint, model_info(model)->fingerprint) != 0)
        return err_set(&d->why, LT_EMODEL, "collection '%s' belongs to model %.12s…, %.12s… is loaded", col->name,
                       col->fingerprint, model_info(model)->fingerprint);
    struct text_input in = {.text = m->text, .len = strlen(m->text), .title = *m->title ? m->title : NULL,
                            .title_len = strlen(m->title),
                            .truncate = a->msg->on_long == LATENT__V1__ON_LONG__ON_LONG_TRUNCATE};
    r = text_encode(model, &in, tokens, &d->why);
    if (r == LT_ETOOLONG && a->msg->on_long == LATENT__V1__ON_LONG__ON_LONG_CHUNK) {
        text_tokens_trim(tokens); /* all of the text's, and now come those of its parts */
        return cut(a, &in, d, tokens);
    }
    if (r == 0) {
        d->tokens = tokens->n;
        d->truncated = tokens->truncated;
    }
    return r;
}

/* Before anything else is looked at: where a NUL is, the string that is seen here ends. */
static void refuse_nuls(struct add *a)
{
    for (const struct message_nul *n = a->rq->nuls; n; n = n->next) {
        struct add_doc *d = &a->docs[n->index];
        if (strcmp(n->field, "id") == 0)
            a->msg->documents[n->index]->id = (char *)""; /* its beginning may be another's */
        if (d->status == 0)
            d->status = err_set(&d->why, LT_EUTF8, "%s: a NUL byte at offset %u", n->field, n->at);
    }
}

static void prepare(struct work_item *w, void *scratch)
{
    struct request *rq = request_of_work(w);
    struct add *a = rq->state;
    struct err_msg em = {""};
    struct index_collection col;
    int r = index_info(rq->core->ix, a->msg->collection, &col, &em);
    refuse_nuls(a);
    for (size_t i = 0; i < a->msg->n_documents && r == 0; i++) {
        if ((r = request_over(rq)) == 0 && a->docs[i].status == 0)
            a->docs[i].status = prepare_one(a, i, &col, scratch);
    }
    if (r < 0) {
        add_fail(a, r, em.text[0] ? &em : NULL);
        return;
    }
    a->op = (struct writer_op){.apply = apply, .done = committed, .n_items = (uint32_t)a->msg->n_documents};
    request_write(rq, &a->op);
}

/* Copies of a document on their way. */
#define COPIES 2

/* Counts what it takes besides its message; answers requests that there is no room for now, or never. */
static bool charge(struct request *rq, const Latent__V1__AddRequest *m)
{
    struct text_cost cost = {0};
    struct err_msg em = {""};
    for (size_t i = 0; i < m->n_documents; i++) {
        const size_t len = strlen(m->documents[i]->text);
        cost.copies += len * COPIES;
        if (!m->documents[i]->vector.len) /* else no tokenizer sees it */
            text_cost_take(&cost, m->documents[i]->text, len);
    }
    const int r = text_cost_charge(&cost, rq, "add", &em);
    if (r < 0)
        request_fail(rq, r, &em);
    return r == 0;
}

void on_add(struct request *rq)
{
    const Latent__V1__AddRequest *m = rq->msg->add;
    if (m->n_documents == 0 || m->n_documents > PROTO_ADD_DOCUMENTS_MAX) {
        request_failf(rq, m->n_documents ? LT_ELIMIT : LT_EINVAL, "add takes 1 to %u documents, not %zu",
                      PROTO_ADD_DOCUMENTS_MAX, m->n_documents);
        return;
    }
    if (!charge(rq, m))
        return;
    struct add *a = calloc(1, sizeof *a + m->n_documents * sizeof a->docs[0]);
    if (!a) {
        request_fail(rq, LT_ENOMEM, NULL);
        return;
    }
    a->rq = rq;
    a->msg = m;
    rq->state = a;
    request_submit(rq, rq->core->tokenisers, prepare);
}
