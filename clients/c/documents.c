/* Add, get, delete. */
#include "clients/c/latent_int.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(struct latent *c)
{
    return conn_fail(c, LATENT_ENOMEM, "no memory");
}

static char *text(const char *s)
{
    return s ? (char *)s : (char *)"";
}

/* The request's documents, borrowed from add; in a pool that the caller destroys. */
static int build_documents(struct latent *c, const struct latent_add *add, struct pool *pool,
                           Latent__V1__AddRequest *body)
{
    size_t n = add->n_documents;
    Latent__V1__Document *docs = pool_calloc(pool, n ? n : 1, sizeof *docs);
    body->documents = pool_calloc(pool, n ? n : 1, sizeof *body->documents);
    if (!docs || !body->documents)
        return no_memory(c);
    for (size_t i = 0; i < n; i++) {
        const struct latent_document *d = &add->documents[i];
        latent__v1__document__init(&docs[i]);
        docs[i].id = text(d->id);
        docs[i].text = text(d->text);
        docs[i].title = text(d->title);
        docs[i].metadata = text(d->metadata);
        docs[i].source_bytes = d->source_bytes;
        if (d->vector && d->dim) {
            docs[i].vector.data = message_vector_view(pool, d->vector, d->dim);
            docs[i].vector.len = (size_t)d->dim * 4;
            if (!docs[i].vector.data)
                return no_memory(c);
        }
        body->documents[i] = &docs[i];
    }
    body->n_documents = n;
    return 0;
}

static int add_send(struct latent *c, const void *what, bool begun, struct slot **slot)
{
    const struct latent_add *add = what;
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__AddRequest body = LATENT__V1__ADD_REQUEST__INIT;
    struct pool *pool = pool_create(SIZE_MAX / 2);
    int code = pool ? build_documents(c, add, pool, &body) : no_memory(c);
    if (code == 0) {
        body.collection = text(add->collection);
        body.on_long = (Latent__V1__OnLong)add->on_long;
        body.wait = (Latent__V1__Wait)add->wait;
        body.job = add->job;
        r.body_case = LATENT__V1__REQUEST__BODY_ADD;
        r.add = &body;
        code = exchange_send(c, &r, begun, slot);
    }
    pool_destroy(&pool);
    return code;
}

static int add_result(struct latent *c, struct part *parts, struct latent_add_result **out)
{
    const Latent__V1__AddReply *a = parts->response->add;
    struct latent_add_result *res = result_create(parts, sizeof *res);
    struct latent_item_error *errors = res ? result_array(res, a->n_errors, sizeof *errors) : NULL;
    if (!errors) {
        latent_free(res);
        return no_memory(c);
    }
    *res = (struct latent_add_result){
        .accepted_seq = a->accepted_seq, .searchable_seq = a->searchable_seq, .accepted = a->accepted,
        .truncated = a->truncated, .chunks = a->chunks, .tokens = a->tokens,
        .errors = errors, .n_errors = a->n_errors, .cut = a->cut, .n_cut = a->n_cut, .unchanged = a->unchanged,
    };
    for (size_t i = 0; i < a->n_errors; i++) {
        const Latent__V1__ItemError *e = a->errors[i];
        errors[i] = (struct latent_item_error){.index = e->index, .id = e->id, .code = LATENT_EINTERNAL, .message = ""};
        if (e->error) {
            errors[i].code = error_code(e->error);
            errors[i].retryable = e->error->retryable;
            errors[i].message = e->error->message;
        }
    }
    *out = res;
    return 0;
}

int latent_add(struct latent *c, const struct latent_add *add, struct latent_add_result **out)
{
    struct part *parts;
    int code = exchange_call(c, add_send, add, LATENT__V1__RESPONSE__BODY_ADD, &parts);
    return code < 0 ? code : add_result(c, parts, out);
}

int latent_add_begin(struct latent *c, const struct latent_add *add, uint64_t *id)
{
    return exchange_begin(c, add_send, add, id);
}

int latent_add_finish(struct latent *c, uint64_t id, struct latent_add_result **out)
{
    struct part *parts;
    int code = exchange_finish(c, id, LATENT__V1__REQUEST__BODY_ADD, LATENT__V1__RESPONSE__BODY_ADD, &parts);
    return code < 0 ? code : add_result(c, parts, out);
}

/* Takes over parts. */
static int get_result(struct latent *c, struct part *parts, struct latent_get_result **out)
{
    struct latent_get_result *res = result_create(parts, sizeof *res);
    if (!res)
        return no_memory(c);
    size_t n_docs = 0, n_missing = 0;
    for (const struct part *p = parts; p; p = p->next) {
        n_docs += p->response->get->n_documents;
        n_missing += p->response->get->n_missing;
    }
    struct latent_document *docs = result_array(res, n_docs, sizeof *docs);
    const char **missing = result_array(res, n_missing, sizeof *missing);
    if (!docs || !missing) {
        latent_free(res);
        return no_memory(c);
    }
    res->documents = docs;
    res->missing = missing;
    for (const struct part *p = parts; p; p = p->next) {
        const Latent__V1__GetReply *g = p->response->get;
        for (size_t i = 0; i < g->n_documents; i++) {
            const Latent__V1__Document *d = g->documents[i];
            docs[res->n_documents++] = (struct latent_document){.id = d->id, .text = d->text, .title = d->title,
                                                               .metadata = d->metadata};
        }
        for (size_t i = 0; i < g->n_missing; i++)
            missing[res->n_missing++] = g->missing[i];
    }
    *out = res;
    return 0;
}

static int get(struct latent *c, Latent__V1__GetRequest *body, struct latent_get_result **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    struct part *parts;
    r.body_case = LATENT__V1__REQUEST__BODY_GET;
    r.get = body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_GET, &parts);
    return code < 0 ? code : get_result(c, parts, out);
}

int latent_get(struct latent *c, const char *collection, const char *const *ids, size_t n,
               struct latent_get_result **out)
{
    Latent__V1__GetRequest body = LATENT__V1__GET_REQUEST__INIT;
    body.collection = text(collection);
    body.ids = (char **)ids;
    body.n_ids = n;
    return get(c, &body, out);
}

int latent_get_after(struct latent *c, const char *collection, const char *after, size_t n,
                     struct latent_get_result **out)
{
    Latent__V1__GetRequest body = LATENT__V1__GET_REQUEST__INIT;
    body.collection = text(collection);
    body.after = text(after);
    body.limit = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    return get(c, &body, out);
}

int latent_delete(struct latent *c, const char *collection, const char *const *ids, size_t n,
                  struct latent_delete_result **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__DeleteRequest body = LATENT__V1__DELETE_REQUEST__INIT;
    struct part *parts;
    body.collection = text(collection);
    body.ids = (char **)ids;
    body.n_ids = n;
    r.body_case = LATENT__V1__REQUEST__BODY_DELETE;
    r.delete_ = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_DELETE, &parts);
    if (code < 0)
        return code;
    const Latent__V1__DeleteReply *d = parts->response->delete_;
    struct latent_delete_result *res = result_create(parts, sizeof *res);
    const char **missing = res ? result_array(res, d->n_missing, sizeof *missing) : NULL;
    if (!missing) {
        latent_free(res);
        return no_memory(c);
    }
    for (size_t i = 0; i < d->n_missing; i++)
        missing[i] = d->missing[i];
    *res = (struct latent_delete_result){.deleted = d->deleted, .accepted_seq = d->accepted_seq, .missing = missing,
                                         .n_missing = d->n_missing};
    *out = res;
    return 0;
}
