/* Status, collections and jobs. */
#include "clients/c/latent_int.h"

static int no_memory(struct latent *c)
{
    return conn_fail(c, LATENT_ENOMEM, "no memory for the result");
}

void collection_fill(struct latent_collection *to, const Latent__V1__Collection *k)
{
    *to = (struct latent_collection){
        .name = k->name,
        .dim = k->dim,
        .metric = (enum latent_metric)k->metric,
        .vectors_only = k->vectors_only,
        .degraded = k->degraded,
        .degraded_reason = k->degraded_reason,
        .fingerprint = k->fingerprint,
        .index_kind = k->index_kind,
        .documents = k->documents,
        .chunks = k->chunks,
        .pending_chunks = k->pending_chunks,
        .bytes_store = k->bytes_store,
        .bytes_index = k->bytes_index,
        .accepted_seq = k->accepted_seq,
        .searchable_seq = k->searchable_seq,
        .m = k->m,
        .ef_construction = k->ef_construction,
        .recall = k->recall,
        .recall_samples = k->recall_samples,
        .unsaved = k->unsaved,
        .compacted_bytes = k->compacted_bytes,
        .compacted_ms = k->compacted_ms,
        .compaction_failed_ms = k->compaction_failed_ms,
        .compaction_error = k->compaction_error,
        .compacting = k->compacting,
    };
}

static struct latent_collection *fill_all(void *result, Latent__V1__Collection *const *from, size_t n)
{
    struct latent_collection *to = result_array(result, n, sizeof *to);
    for (size_t i = 0; to && i < n; i++)
        collection_fill(&to[i], from[i]);
    return to;
}

static void status_fill(struct latent_status *to, const Latent__V1__StatusReply *s)
{
    *to = (struct latent_status){
        .version = s->version,
        .phase = (enum latent_phase)s->phase,
        .percent = s->percent,
        .read_only = s->read_only,
        .read_only_reason = s->read_only_reason,
        .device = s->device,
        .device_kind = s->device_kind,
        .device_note = s->device_note,
        .model = s->model,
        .model_path = s->model_path,
        .fingerprint = s->fingerprint,
        .pooling = s->pooling,
        .weight_type = s->weight_type,
        .query_template = s->query_template,
        .dim = s->dim,
        .token_limit = s->token_limit,
        .has_tokenizer = s->has_tokenizer,
        .uptime_ms = s->uptime_ms,
        .pid = s->pid,
        .data_dir = s->data_dir,
        .server_key = s->server_key,
        .mask = s->mask,
        .warning = s->warning,
        .memory_source = "",
    };
    if (s->queue) {
        to->query_depth = s->queue->query_depth;
        to->bulk_depth = s->queue->bulk_depth;
        to->pending_chunks = s->queue->pending_chunks;
        to->writes_waiting = s->queue->writes_waiting;
        to->tokens_done = s->queue->tokens_done;
        to->texts_done = s->queue->texts_done;
        to->batches_done = s->queue->batches_done;
    }
    const Latent__V1__MemoryStatus *m = s->memory;
    if (m) {
        to->memory_limit = m->limit;
        to->memory_least = m->least;
        to->memory_used = m->used;
        to->memory_model = m->model;
        to->memory_reranker = m->reranker;
        to->memory_store = m->store;
        to->memory_requests = m->requests;
        to->memory_graphs = m->graphs;
        to->memory_source = m->source;
        to->memory_scarce = m->scarce;
    }
}

/* NULL: no memory. */
static struct latent_reranker *reranker_fill(void *result, const Latent__V1__RerankerStatus *s)
{
    struct latent_reranker *to = result_array(result, 1, sizeof *to);
    if (to)
        *to = (struct latent_reranker){
            .model = s->model,
            .model_path = s->model_path,
            .fingerprint = s->fingerprint,
            .weight_type = s->weight_type,
            .device = s->device,
            .device_kind = s->device_kind,
            .device_note = s->device_note,
            .token_limit = s->token_limit,
            .memory_bytes = s->memory_bytes,
            .query_depth = s->query_depth,
            .bulk_depth = s->bulk_depth,
            .texts_done = s->texts_done,
        };
    return to;
}

int latent_status(struct latent *c, struct latent_status **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__StatusRequest body = LATENT__V1__STATUS_REQUEST__INIT;
    struct part *parts;
    r.body_case = LATENT__V1__REQUEST__BODY_STATUS;
    r.status = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_STATUS, &parts);
    if (code < 0)
        return code;
    const Latent__V1__StatusReply *s = parts->response->status;
    struct latent_status *res = result_create(parts, sizeof *res);
    if (!res)
        return no_memory(c);
    status_fill(res, s);
    res->n_collections = s->n_collections;
    if (!(res->collections = fill_all(res, s->collections, s->n_collections)) ||
        (s->reranker && !(res->reranker = reranker_fill(res, s->reranker)))) {
        latent_free(res);
        return no_memory(c);
    }
    *out = res;
    return 0;
}

static int collection_call(struct latent *c, Latent__V1__Request *r, struct latent_collection **out)
{
    struct part *parts;
    int code = exchange(c, r, LATENT__V1__RESPONSE__BODY_COLLECTION, &parts);
    if (code < 0)
        return code;
    if (!out) {
        parts_free(parts);
        return 0;
    }
    const Latent__V1__Collection *k = parts->response->collection;
    struct latent_collection *res = result_create(parts, sizeof *res);
    if (!res)
        return no_memory(c);
    collection_fill(res, k);
    *out = res;
    return 0;
}

int latent_collection_create(struct latent *c, const char *name, const struct latent_collection_params *params,
                             struct latent_collection **out)
{
    static const struct latent_collection_params none;
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__CollectionCreateRequest body = LATENT__V1__COLLECTION_CREATE_REQUEST__INIT;
    const struct latent_collection_params *p = params ? params : &none;
    body.name = (char *)name;
    body.dim = p->dim;
    body.metric = (Latent__V1__Metric)p->metric;
    body.vectors_only = p->vectors_only;
    body.temporary = p->temporary;
    body.m = p->m;
    body.ef_construction = p->ef_construction;
    body.codes = (Latent__V1__Codes)p->codes;
    r.body_case = LATENT__V1__REQUEST__BODY_COLLECTION_CREATE;
    r.collection_create = &body;
    return collection_call(c, &r, out);
}

int latent_collection_info(struct latent *c, const char *name, struct latent_collection **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__CollectionInfoRequest body = LATENT__V1__COLLECTION_INFO_REQUEST__INIT;
    body.name = (char *)name;
    r.body_case = LATENT__V1__REQUEST__BODY_COLLECTION_INFO;
    r.collection_info = &body;
    return collection_call(c, &r, out);
}

int latent_collection_drop(struct latent *c, const char *name)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__CollectionDropRequest body = LATENT__V1__COLLECTION_DROP_REQUEST__INIT;
    struct part *parts;
    body.name = (char *)name;
    r.body_case = LATENT__V1__REQUEST__BODY_COLLECTION_DROP;
    r.collection_drop = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_COLLECTION_DROP, &parts);
    if (code == 0)
        parts_free(parts);
    return code;
}

int latent_collection_list(struct latent *c, struct latent_collection_list **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__CollectionListRequest body = LATENT__V1__COLLECTION_LIST_REQUEST__INIT;
    struct part *parts;
    r.body_case = LATENT__V1__REQUEST__BODY_COLLECTION_LIST;
    r.collection_list = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_COLLECTION_LIST, &parts);
    if (code < 0)
        return code;
    const Latent__V1__CollectionListReply *l = parts->response->collection_list;
    struct latent_collection_list *res = result_create(parts, sizeof *res);
    if (!res)
        return no_memory(c);
    res->n = l->n_collections;
    if (!(res->collections = fill_all(res, l->collections, l->n_collections))) {
        latent_free(res);
        return no_memory(c);
    }
    *out = res;
    return 0;
}

/* ---- jobs ---- */

static void job_fill(struct latent_job *to, const Latent__V1__Job *j)
{
    *to = (struct latent_job){
        .job = j->job,
        .collection = j->collection,
        .label = j->label,
        .state = (enum latent_job_state)j->state,
        .accepted = j->accepted,
        .searchable = j->searchable,
        .failed = j->failed,
        .pending_chunks = j->pending_chunks,
        .total_documents = j->total_documents,
        .total_bytes = j->total_bytes,
        .created_ms = j->created_ms,
        .current = j->current,
        .last_error = j->last_error,
        .received_bytes = j->received_bytes,
        .done_bytes = j->done_bytes,
    };
}

static int job_call(struct latent *c, Latent__V1__Request *r, struct latent_job **out)
{
    struct part *parts;
    int code = exchange(c, r, LATENT__V1__RESPONSE__BODY_JOB, &parts);
    if (code < 0)
        return code;
    if (!out) {
        parts_free(parts);
        return 0;
    }
    const Latent__V1__Job *j = parts->response->job;
    struct latent_job *res = result_create(parts, sizeof *res);
    if (!res)
        return no_memory(c);
    job_fill(res, j);
    *out = res;
    return 0;
}

int latent_collection_replace(struct latent *c, const char *name, const char *by, uint64_t accepted_seq, struct latent_collection **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__CollectionReplaceRequest body = LATENT__V1__COLLECTION_REPLACE_REQUEST__INIT;
    body.name = (char *)name;
    body.by = (char *)by;
    body.accepted_seq = accepted_seq;
    r.body_case = LATENT__V1__REQUEST__BODY_COLLECTION_REPLACE;
    r.collection_replace = &body;
    return collection_call(c, &r, out);
}

int latent_job_open(struct latent *c, const char *collection, const char *label, uint64_t total_documents,
                    uint64_t total_bytes, struct latent_job **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__JobOpenRequest body = LATENT__V1__JOB_OPEN_REQUEST__INIT;
    body.collection = (char *)collection;
    body.label = (char *)label;
    body.total_documents = total_documents;
    body.total_bytes = total_bytes;
    r.body_case = LATENT__V1__REQUEST__BODY_JOB_OPEN;
    r.job_open = &body;
    return job_call(c, &r, out);
}

int latent_job_close(struct latent *c, uint64_t job, struct latent_job **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__JobCloseRequest body = LATENT__V1__JOB_CLOSE_REQUEST__INIT;
    body.job = job;
    r.body_case = LATENT__V1__REQUEST__BODY_JOB_CLOSE;
    r.job_close = &body;
    return job_call(c, &r, out);
}

int latent_job_cancel(struct latent *c, uint64_t job, struct latent_job **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__JobCancelRequest body = LATENT__V1__JOB_CANCEL_REQUEST__INIT;
    body.job = job;
    r.body_case = LATENT__V1__REQUEST__BODY_JOB_CANCEL;
    r.job_cancel = &body;
    return job_call(c, &r, out);
}

int latent_job_list(struct latent *c, struct latent_job_list **out)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__JobListRequest body = LATENT__V1__JOB_LIST_REQUEST__INIT;
    struct part *parts;
    r.body_case = LATENT__V1__REQUEST__BODY_JOB_LIST;
    r.job_list = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_JOB_LIST, &parts);
    if (code < 0)
        return code;
    const Latent__V1__JobListReply *l = parts->response->job_list;
    struct latent_job_list *res = result_create(parts, sizeof *res);
    struct latent_job *jobs = res ? result_array(res, l->n_jobs, sizeof *jobs) : NULL;
    if (!jobs) {
        latent_free(res);
        return no_memory(c);
    }
    for (size_t i = 0; i < l->n_jobs; i++)
        job_fill(&jobs[i], l->jobs[i]);
    res->jobs = jobs;
    res->n = l->n_jobs;
    *out = res;
    return 0;
}
