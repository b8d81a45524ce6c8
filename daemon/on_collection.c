/* Collections: create, list, info, drop, replace. */
#include <stdlib.h>
#include <string.h>

#include "daemon/collections.h"
#include "daemon/handlers.h"
#include "daemon/request.h"

void collection_message(const struct index_collection *c, Latent__V1__Collection *out)
{
    latent__v1__collection__init(out);
    out->name = (char *)c->name;
    out->dim = c->dim;
    out->metric = (Latent__V1__Metric)c->metric;
    out->vectors_only = c->vectors_only;
    out->fingerprint = (char *)c->fingerprint;
    out->documents = c->documents;
    out->chunks = c->chunks;
    out->pending_chunks = c->pending_chunks;
    out->bytes_store = c->bytes_store;
    out->bytes_index = c->bytes_index;
    out->accepted_seq = c->accepted_seq;
    out->searchable_seq = c->searchable_seq;
    out->m = c->m;
    out->ef_construction = c->ef_construction;
    out->degraded = c->degraded;
    out->degraded_reason = (char *)c->degraded_reason;
    out->index_kind = (char *)c->index_kind;
    out->recall = c->recall;
    out->recall_samples = c->recall_samples;
    out->unsaved = c->unsaved;
    out->compacting = c->compacting;
    out->compacted_ms = c->compacted_ms;
    out->compacted_bytes = c->compacted_bytes;
    out->compaction_failed_ms = c->compaction_failed_ms;
    out->compaction_error = (char *)c->compaction_error;
}

int collection_list(const struct request *rq, struct collection_list *out)
{
    size_t n = 0;
    *out = (struct collection_list){0};
    int r = index_list(rq->core->ix, &out->list, &n);
    if (r < 0)
        return r;
    out->messages = calloc(n ? n : 1, sizeof *out->messages);
    out->refs = calloc(n ? n : 1, sizeof *out->refs);
    if (!out->messages || !out->refs) {
        collection_list_finish(out);
        return LT_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        if (request_check(rq, KEY_QUERY, out->list[i].name, NULL) < 0)
            continue;
        collection_message(&out->list[i], &out->messages[out->n]);
        out->refs[out->n] = &out->messages[out->n];
        out->n++;
    }
    return 0;
}

void collection_list_finish(struct collection_list *l)
{
    free(l->list);
    free(l->messages);
    free(l->refs);
    *l = (struct collection_list){0};
}

static void list(struct work_item *w, void *reader)
{
    (void)reader;
    struct request *rq = request_of_work(w);
    struct collection_list l;
    int r = collection_list(rq, &l);
    if (r < 0) {
        request_fail(rq, r, NULL);
        return;
    }
    Latent__V1__CollectionListReply out = LATENT__V1__COLLECTION_LIST_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    out.collections = l.refs;
    out.n_collections = l.n;
    resp.body_case = LATENT__V1__RESPONSE__BODY_COLLECTION_LIST;
    resp.collection_list = &out;
    request_reply(rq, &resp, false);
    collection_list_finish(&l);
    request_finish(rq);
}

void on_collection_list(struct request *rq)
{
    request_submit(rq, rq->core->searchers, list);
}

static void reply_info(struct request *rq, const char *name)
{
    struct index_collection c;
    struct err_msg em = {""};
    Latent__V1__Collection out;
    Latent__V1__Response resp = request_response();
    int r = index_info(rq->core->ix, name, &c, &em);
    if (r < 0) {
        request_fail(rq, r, em.text[0] ? &em : NULL);
        return;
    }
    collection_message(&c, &out);
    resp.body_case = LATENT__V1__RESPONSE__BODY_COLLECTION;
    resp.collection = &out;
    request_reply(rq, &resp, false);
    request_finish(rq);
}

static void info(struct work_item *w, void *reader)
{
    (void)reader;
    struct request *rq = request_of_work(w);
    reply_info(rq, rq->msg->collection_info->name);
}

void on_collection_info(struct request *rq)
{
    request_submit(rq, rq->core->searchers, info);
}

/* ---- changes, on the writer thread ------------------------------------------------ */

struct change {
    struct request *rq;
    struct writer_op op;
};

static void submit(struct request *rq, int (*apply)(struct writer_op *, struct index *, struct err_msg *),
                   void (*done)(struct writer_op *, int, uint64_t, const struct err_msg *))
{
    struct change *ch = calloc(1, sizeof *ch);
    if (!ch) {
        request_fail(rq, LT_ENOMEM, NULL);
        return;
    }
    ch->rq = rq;
    ch->op = (struct writer_op){.apply = apply, .done = done, .alone = true};
    request_write(rq, &ch->op);
}

static struct change *change_of(struct writer_op *op)
{
    return (struct change *)((char *)op - offsetof(struct change, op));
}

static int create_apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    const Latent__V1__CollectionCreateRequest *m = change_of(op)->rq->msg->collection_create;
    struct index_collection_params p = {
        .name = m->name,
        .dim = m->dim,
        .metric = (enum metric)m->metric,
        .vectors_only = m->vectors_only,
        .m = m->m,
        .ef_construction = m->ef_construction,
        .temporary = m->temporary,
        .codes = (enum graph_codes)m->codes,
    };
    if ((unsigned)m->metric > LATENT__V1__METRIC__METRIC_L2)
        return err_set(em, LT_EINVAL, "unknown metric %d", (int)m->metric);
    if ((unsigned)m->codes > LATENT__V1__CODES__CODES_1BIT)
        return err_set(em, LT_EINVAL, "unknown kind of codes %d", (int)m->codes);
    if (m->vectors_only && m->dim == 0)
        p.dim = model_info(change_of(op)->rq->core->model)->dim;
    return index_create(ix, &p, em);
}

static void create_done(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    struct request *rq = change_of(op)->rq;
    (void)seq;
    if (result < 0)
        request_fail(rq, result, em->text[0] ? em : NULL);
    else
        reply_info(rq, rq->msg->collection_create->name);
    free(change_of(op));
}

void on_collection_create(struct request *rq)
{
    submit(rq, create_apply, create_done);
}

static int drop_apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    return index_drop(ix, change_of(op)->rq->msg->collection_drop->name, em);
}

static void drop_done(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    struct request *rq = change_of(op)->rq;
    (void)seq;
    if (result < 0) {
        request_fail(rq, result, em->text[0] ? em : NULL);
    } else {
        Latent__V1__CollectionDropReply out = LATENT__V1__COLLECTION_DROP_REPLY__INIT;
        Latent__V1__Response resp = request_response();
        resp.body_case = LATENT__V1__RESPONSE__BODY_COLLECTION_DROP;
        resp.collection_drop = &out;
        request_reply(rq, &resp, false);
        request_finish(rq);
    }
    free(change_of(op));
}

void on_collection_drop(struct request *rq)
{
    submit(rq, drop_apply, drop_done);
}

static int replace_apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    const Latent__V1__CollectionReplaceRequest *m = change_of(op)->rq->msg->collection_replace;
    return index_replace(ix, m->name, m->by, m->accepted_seq, em);
}

static void replace_done(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    struct request *rq = change_of(op)->rq;
    (void)seq;
    if (result < 0)
        request_fail(rq, result, em->text[0] ? em : NULL);
    else
        reply_info(rq, rq->msg->collection_replace->name);
    free(change_of(op));
}

void on_collection_replace(struct request *rq)
{
    struct err_msg em = {""};
    const int r = request_check(rq, KEY_ADMIN, rq->msg->collection_replace->by, &em);
    if (r < 0)
        request_fail(rq, r, &em);
    else
        submit(rq, replace_apply, replace_done);
}
