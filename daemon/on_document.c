/* Get and delete. */
#include <stdlib.h>
#include <string.h>

#include "daemon/handlers.h"
#include "daemon/request.h"

/* Text of one response to get; the rest follows in further ones. */
#define PART_BYTES (4u << 20)

static int check_ids(char **ids, size_t n, struct err_msg *em)
{
    if (n > PROTO_IDS_MAX)
        return err_set(em, LT_ELIMIT, "%zu ids, at most %u are allowed", n, PROTO_IDS_MAX);
    for (size_t i = 0; i < n; i++)
        if (strlen(ids[i]) > PROTO_DOCUMENT_ID_MAX)
            return err_set(em, LT_ELIMIT, "ids[%zu] has %zu bytes, %u are allowed", i, strlen(ids[i]),
                           PROTO_DOCUMENT_ID_MAX);
    return 0;
}

/* One response: the documents found among the first n_read ids, and the names of the others. */
static int get_part(struct request *rq, char **ids, const struct index_documents *found, bool more)
{
    size_t n = found->n ? found->n : 1, n_read = found->n_read ? found->n_read : 1;
    Latent__V1__GetReply out = LATENT__V1__GET_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    Latent__V1__Document *docs = calloc(n, sizeof *docs), **list = calloc(n, sizeof *list);
    char **missing = calloc(n_read, sizeof *missing);
    int r = docs && list && missing ? 0 : LT_ENOMEM;
    size_t next = 0;
    for (size_t i = 0; i < found->n_read && r == 0; i++) {
        if (next == found->n || found->docs[next].index != i) {
            missing[out.n_missing++] = ids[i];
            continue;
        }
        const struct index_found *d = &found->docs[next];
        latent__v1__document__init(&docs[next]);
        docs[next].id = (char *)d->id;
        docs[next].text = (char *)d->text;
        docs[next].title = (char *)d->title;
        docs[next].metadata = (char *)d->metadata;
        list[next] = &docs[next];
        next++;
    }
    if (r == 0) {
        out.documents = list;
        out.n_documents = next;
        out.missing = missing;
        resp.body_case = LATENT__V1__RESPONSE__BODY_GET;
        resp.get = &out;
        request_reply(rq, &resp, more);
    }
    free(docs);
    free(list);
    free(missing);
    return r;
}

/* One response with what comes after an id. */
static int get_next(struct request *rq, struct index_reader *reader, struct err_msg *em)
{
    const Latent__V1__GetRequest *m = rq->msg->get;
    const struct index_id after = {m->after, strlen(m->after)};
    struct index_documents found = {0};
    if (m->limit > PROTO_IDS_MAX)
        return err_set(em, LT_ELIMIT, "limit is %u, at most %u are allowed", m->limit, PROTO_IDS_MAX);
    if (m->n_ids)
        return err_set(em, LT_EINVAL, "either ids or a limit");
    if (after.len > PROTO_DOCUMENT_ID_MAX)
        return err_set(em, LT_ELIMIT, "after has %zu bytes, %u are allowed", after.len, PROTO_DOCUMENT_ID_MAX);
    int r = index_get_after(reader, m->collection, &after, m->limit, PART_BYTES, &found, em);
    if (r == 0)
        r = get_part(rq, NULL, &found, false);
    index_documents_finish(&found);
    return r;
}

static int get_ids(struct request *rq, struct index_reader *reader, struct err_msg *em)
{
    const Latent__V1__GetRequest *m = rq->msg->get;
    struct index_id *ids = calloc(m->n_ids ? m->n_ids : 1, sizeof *ids);
    int r = ids ? check_ids(m->ids, m->n_ids, em) : LT_ENOMEM;
    for (size_t i = 0; r == 0 && i < m->n_ids; i++)
        ids[i] = (struct index_id){m->ids[i], strlen(m->ids[i])};
    size_t done = 0;
    do {
        struct index_documents found = {0};
        if (r == 0)
            r = request_over(rq);
        if (r == 0)
            r = index_get(reader, m->collection, ids + done, m->n_ids - done, PART_BYTES, &found, em);
        if (r == 0) {
            bool more = done + found.n_read < m->n_ids;
            if (more && found.n_read == 0)
                r = err_set(em, LT_EINTERNAL, "no progress");
            else
                r = get_part(rq, m->ids + done, &found, more);
        }
        done += found.n_read;
        index_documents_finish(&found);
    } while (r == 0 && done < m->n_ids && !rq->failed);
    free(ids);
    return r;
}

static void get(struct work_item *w, void *reader)
{
    struct request *rq = request_of_work(w);
    struct err_msg em = {""};
    int r = rq->msg->get->limit ? get_next(rq, reader, &em) : get_ids(rq, reader, &em);
    if (r < 0)
        request_fail(rq, r, em.text[0] ? &em : NULL);
    else
        request_finish(rq);
}

void on_get(struct request *rq)
{
    request_submit(rq, rq->core->searchers, get);
}

struct delete {
    struct request *rq;
    struct writer_op op;
    uint32_t n_deleted;
    char **missing;
    size_t n_missing;
};

static int delete_apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    struct delete *d = (struct delete *)((char *)op - offsetof(struct delete, op));
    const Latent__V1__DeleteRequest *m = d->rq->msg->delete_;
    struct index_collection col;
    int r = index_info(ix, m->collection, &col, em);
    d->n_deleted = 0;
    d->n_missing = 0;
    for (size_t i = 0; i < m->n_ids && r == 0; i++) {
        r = index_delete(ix, m->collection, m->ids[i], strlen(m->ids[i]), em);
        if (r == 0) {
            d->n_deleted++;
        } else if (r == LT_ENOTFOUND) {
            d->missing[d->n_missing++] = m->ids[i];
            r = 0;
        }
    }
    return r;
}

static void delete_done(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    struct delete *d = (struct delete *)((char *)op - offsetof(struct delete, op));
    struct request *rq = d->rq;
    Latent__V1__DeleteReply out = LATENT__V1__DELETE_REPLY__INIT;
    Latent__V1__Response resp = request_response();
    if (result == 0) {
        out.deleted = d->n_deleted;
        out.missing = d->missing;
        out.n_missing = d->n_missing;
        uint64_t searchable;
        out.accepted_seq = seq; /* the collection's own, as in on_add.c */
        index_seqs(rq->core->ix, rq->msg->delete_->collection, &out.accepted_seq, &searchable);
        resp.body_case = LATENT__V1__RESPONSE__BODY_DELETE;
        resp.delete_ = &out;
        request_reply(rq, &resp, false);
    }
    free(d->missing);
    free(d);
    if (result < 0)
        request_fail(rq, result, em->text[0] ? em : NULL);
    else
        request_finish(rq);
}

void on_delete(struct request *rq)
{
    const Latent__V1__DeleteRequest *m = rq->msg->delete_;
    struct err_msg em = {""};
    int r = check_ids(m->ids, m->n_ids, &em);
    struct delete *d = r == 0 ? calloc(1, sizeof *d) : NULL;
    if (d)
        d->missing = calloc(m->n_ids ? m->n_ids : 1, sizeof *d->missing);
    if (!d || !d->missing) {
        free(d);
        request_fail(rq, r < 0 ? r : LT_ENOMEM, r < 0 ? &em : NULL);
        return;
    }
    d->rq = rq;
    d->op = (struct writer_op){.apply = delete_apply, .done = delete_done, .n_items = (uint32_t)m->n_ids};
    request_write(rq, &d->op);
}
