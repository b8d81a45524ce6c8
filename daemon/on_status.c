/* Status: answered at once while loading, with what is known so far. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "daemon/collections.h"
#include "daemon/feed.h"
#include "daemon/handlers.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "model/layout.h"

static const char recovery_mode[] = "started with --recover, without model and graphs: documents can be read and deleted, not added";

static void fill_model(const struct core *c, Latent__V1__StatusReply *out)
{
    const struct model_info *m = model_info(c->model);
    const struct engine_info *e = device_info(c->device);
    out->device = (char *)e->device;
    out->device_kind = (char *)e->kind;
    out->device_note = (char *)e->note;
    out->model = (char *)m->name;
    out->model_path = (char *)c->model_path;
    out->fingerprint = (char *)m->fingerprint;
    out->dim = m->dim;
    out->token_limit = m->token_limit;
    out->pooling = (char *)layout_pooling_name(m->pooling);
    out->mask = (char *)(m->causal ? "causal" : "full");
    out->weight_type = (char *)m->weight_type;
    out->has_tokenizer = m->has_tokenizer;
    out->query_template = (char *)(m->query_prefix[0] ? m->query_prefix : m->instruct_template);
}

static void fill_reranker(const struct core *c, Latent__V1__RerankerStatus *out)
{
    const struct model_info *m = model_info(c->reranker);
    const struct engine_info *e = device_info(c->ranker);
    struct device_stats dev;
    device_get_stats(c->ranker, &dev);
    out->model = (char *)m->name;
    out->model_path = c->settings->reranker;
    out->fingerprint = (char *)m->fingerprint;
    out->weight_type = (char *)m->weight_type;
    out->token_limit = m->token_limit;
    out->device = (char *)e->device;
    out->device_kind = (char *)e->kind;
    out->device_note = (char *)e->note;
    out->memory_bytes = e->planned_bytes;
    out->query_depth = dev.query_depth;
    out->bulk_depth = dev.bulk_depth;
    out->texts_done = dev.texts_done;
}

static void fill_always(struct request *rq, Latent__V1__StatusReply *out)
{
    struct core *c = rq->core;
    out->version = (char *)LATENTD_VERSION;
    out->phase = (Latent__V1__Phase)atomic_load(&c->phase);
    out->percent = atomic_load(&c->percent);
    if (atomic_load(&c->stopping))
        out->phase = LATENT__V1__PHASE__PHASE_STOPPING;
    out->uptime_ms = (clock_ns() - c->started_ns) / 1000000;
    out->pid = (uint32_t)getpid();
    out->data_dir = c->settings->data;
    out->server_key = c->server->key_text; /* constant once the server listens */
}

static void fill_memory(struct core *c, const struct index_status *ix, Latent__V1__MemoryStatus *out)
{
    struct memory *m = &c->memory;
    out->limit = m->limit;
    out->source = m->source;
    out->least = memory_sum(&m->least);
    out->used = memory_used(m);
    out->model = m->parts.model;
    out->reranker = m->parts.reranker;
    out->store = ix->bytes_database + ix->bytes_postings;
    out->requests = atomic_load(&c->flight_cost) + atomic_load(&c->intake_cost);
    out->graphs = ix->bytes_graphs + ix->bytes_filters;
    out->scarce = memory_level(m) >= MEMORY_NEAR;
}

static void send_status(struct request *rq, Latent__V1__StatusReply *out)
{
    Latent__V1__Response resp = request_response();
    resp.body_case = LATENT__V1__RESPONSE__BODY_STATUS;
    resp.status = out;
    request_reply(rq, &resp, false);
}

static void full_status(struct work_item *w, void *reader)
{
    (void)reader;
    struct request *rq = request_of_work(w);
    struct core *c = rq->core;
    Latent__V1__StatusReply out = LATENT__V1__STATUS_REPLY__INIT;
    Latent__V1__QueueStatus queue = LATENT__V1__QUEUE_STATUS__INIT;
    Latent__V1__MemoryStatus memory = LATENT__V1__MEMORY_STATUS__INIT;
    struct collection_list l = {0};
    struct index_status ix;
    struct device_stats dev = {0};
    Latent__V1__RerankerStatus reranker = LATENT__V1__RERANKER_STATUS__INIT;
    char warning[sizeof recovery_mode + sizeof ix.warning + 2], trouble[300] = "";
    fill_always(rq, &out);
    index_get_status(c->ix, &ix);
    if (c->model) {
        fill_model(c, &out);
        device_get_stats(c->device, &dev);
    }
    if (c->ranker) {
        fill_reranker(c, &reranker);
        out.reranker = &reranker;
    }
    if (c->feed)
        feed_trouble(c->feed, trouble, sizeof trouble);
    if (!ix.warning[0])
        snprintf(ix.warning, sizeof ix.warning, "%s", trouble);
    out.read_only = ix.read_only;
    out.read_only_reason = ix.reason;
    snprintf(warning, sizeof warning, "%s%s%s", c->settings->recover ? recovery_mode : "",
             c->settings->recover && ix.warning[0] ? "; " : "", ix.warning);
    out.warning = warning;
    /* Served already, but from exact scans where a graph is behind. */
    if (out.phase == LATENT__V1__PHASE__PHASE_READY && ix.recovered_percent < 100) {
        out.phase = LATENT__V1__PHASE__PHASE_RECOVERING;
        out.percent = ix.recovered_percent;
    }
    queue.query_depth = dev.query_depth;
    queue.bulk_depth = dev.bulk_depth;
    queue.tokens_done = dev.tokens_done;
    queue.texts_done = dev.texts_done;
    queue.batches_done = dev.batches_done;
    queue.pending_chunks = ix.pending_chunks;
    queue.writes_waiting = writer_depth(c->writer);
    out.queue = &queue;
    fill_memory(c, &ix, &memory);
    out.memory = &memory;
    int r = collection_list(rq, &l);
    out.collections = l.refs;
    out.n_collections = l.n;
    if (r == 0)
        send_status(rq, &out);
    collection_list_finish(&l);
    if (r < 0)
        request_fail(rq, r, NULL);
    else
        request_finish(rq);
}

void on_status(struct request *rq)
{
    if (atomic_load(&rq->core->ready)) {
        request_submit(rq, rq->core->searchers, full_status);
        return;
    }
    Latent__V1__StatusReply out = LATENT__V1__STATUS_REPLY__INIT;
    fill_always(rq, &out);
    send_status(rq, &out);
    request_finish(rq);
}
