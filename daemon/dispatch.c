#include "daemon/dispatch.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "daemon/conn.h"
#include "daemon/handlers.h"
#include "daemon/request.h"
#include "daemon/server.h"

/* Larger frames are unpacked by another thread, so that nobody else waits for them. */
#define INLINE_BYTES (64u << 10)

/* For the words of an error, where not all of them are UTF-8. */
#define ERROR_POOL_BYTES (16u << 10)

#define BODY(name) LATENT__V1__REQUEST__BODY_##name

typedef void handler(struct request *rq);

static handler *handler_of(Latent__V1__Request__BodyCase kind)
{
    switch (kind) {
    case BODY(STATUS):
        return on_status;
    case BODY(COLLECTION_CREATE):
        return on_collection_create;
    case BODY(COLLECTION_LIST):
        return on_collection_list;
    case BODY(COLLECTION_INFO):
        return on_collection_info;
    case BODY(COLLECTION_DROP):
        return on_collection_drop;
    case BODY(COLLECTION_REPLACE):
        return on_collection_replace;
    case BODY(ADD):
        return on_add;
    case BODY(GET):
        return on_get;
    case BODY(DELETE):
        return on_delete;
    case BODY(SEARCH):
        return on_search;
    case BODY(EMBED):
        return on_embed;
    case BODY(EXPLAIN):
        return on_explain;
    case BODY(RERANK):
        return on_rerank;
    case BODY(JOB_OPEN):
        return on_job_open;
    case BODY(JOB_CLOSE):
        return on_job_close;
    case BODY(JOB_LIST):
        return on_job_list;
    case BODY(JOB_CANCEL):
        return on_job_cancel;
    default:
        return NULL;
    }
}

static void send_message(struct conn *c, const Latent__V1__Response *resp)
{
    struct bytes_out b = {0};
    struct err_msg em;
    if (message_pack(&resp->base, &b, &em) == 0)
        conn_send(c, b.data, b.len);
    else
        conn_close(c);
    bytes_out_finish(&b);
}

void dispatch_send_error(struct conn *c, uint64_t id, int code, const char *text)
{
    Latent__V1__Error e = LATENT__V1__ERROR__INIT;
    Latent__V1__Response resp = LATENT__V1__RESPONSE__INIT;
    struct pool *pool = fault("dispatch.memory") ? NULL : pool_create(ERROR_POOL_BYTES);
    message_error_init(&e, code, text && *text ? text : NULL);
    resp.id = id;
    resp.error = &e;
    if (pool) {
        message_mend(&resp.base, pool);
        send_message(c, &resp);
    } else {
        conn_close(c);
    }
    pool_destroy(&pool);
}

static struct request *find(struct conn *c, uint64_t id)
{
    for (unsigned i = 0; i < c->n_flight; i++)
        if (c->flight[i]->id == id)
            return c->flight[i];
    return NULL;
}

/* The reply to a cancelled request goes out before the cancel's own, so a client needs no further state. */
static void cancel(struct conn *c, uint64_t id, uint64_t target)
{
    Latent__V1__CancelReply reply = LATENT__V1__CANCEL_REPLY__INIT;
    Latent__V1__Response resp = LATENT__V1__RESPONSE__INIT;
    struct request *rq = find(c, target);
    reply.found = rq != NULL;
    if (rq)
        conn_answer_early(rq, LT_ECANCELLED);
    resp.id = id;
    resp.body_case = LATENT__V1__RESPONSE__BODY_CANCEL;
    resp.cancel = &reply;
    send_message(c, &resp);
}

/* The rights of the client's key, if it came with one, looked up again when the file has changed. */
static int check_grant(struct conn *c, const Latent__V1__Request *msg, struct err_msg *em)
{
    struct server *s = c->server;
    const uint8_t *peer = session_peer_key(c->session);
    if (!peer)
        return 0;
    unsigned generation = access_generation(s->access);
    if (generation != c->generation) {
        grant_unref(&c->grant);
        c->grant = access_find(s->access, peer);
        c->generation = generation;
    }
    if (!c->grant)
        return err_set(em, LT_EAUTH, "%s", access_why_none(s->access));
    int r = key_entry_check(&c->grant->entry, message_right(msg->body_case), message_collection(msg),
                            clock_wall_ms() / 1000, em);
    if (r == 0 && atomic_load(&s->core->ready) && !key_rate_take(&c->grant->rate, c->grant->entry.rate, clock_ns()))
        r = err_set(em, LT_ERATE, "this key may send %u requests a second", c->grant->entry.rate);
    return r;
}

/* What recovery mode cannot do, or refuses since it would need a model soon. */
static bool needs_model(const Latent__V1__Request *msg)
{
    switch (msg->body_case) {
    case BODY(COLLECTION_CREATE):
    case BODY(ADD):
    case BODY(EMBED):
    case BODY(EXPLAIN):
    case BODY(JOB_OPEN):
        return true;
    case BODY(SEARCH):
        return msg->search->mode == LATENT__V1__MODE__MODE_DENSE && !msg->search->vector.len;
    default:
        return false;
    }
}

static bool needs_reranker(const Latent__V1__Request *msg)
{
    return msg->body_case == BODY(RERANK) || (msg->body_case == BODY(SEARCH) && msg->search->rerank);
}

/* Everything that can be said against a request before work is done for it. */
static int check(struct conn *c, const Latent__V1__Request *msg, struct err_msg *em)
{
    struct core *core = c->server->core;
    int r = check_grant(c, msg, em);
    if (r < 0)
        return r;
    if (find(c, msg->id))
        return err_set(em, LT_EPROTO, "a request with id %llu is still unanswered", (unsigned long long)msg->id);
    if (msg->body_case == BODY(STATUS) || msg->body_case == BODY(CANCEL))
        return 0;
    if (!handler_of(msg->body_case))
        return err_set(em, LT_EUNSUPPORTED, "this version does not know the request");
    if (needs_reranker(msg) && (!core->settings->reranker || core->settings->recover))
        return err_set(em, LT_EUNSUPPORTED, "there is no reranker: latentd was started %s",
                       core->settings->recover ? "with --recover" : "without --reranker FILE");
    if (atomic_load(&core->stopping))
        return err_set(em, LT_ESHUTDOWN, "latentd is stopping");
    if (!atomic_load(&core->ready))
        return err_set(em, LT_ELOADING, "latentd is still loading; status says how far it is");
    if (core->settings->recover && needs_model(msg))
        return err_set(em, LT_EUNSUPPORTED, "latentd runs with --recover, without a model: documents can be read and deleted, and found by "
                       "their words; for this start it without --recover");
    if (core->flight_cost > 2 * core->memory.request_bytes)
        return err_set(em, LT_EBUSY, "too much is in work already");
    if (msg->body_case == BODY(ADD) && core_memory_level(core) == MEMORY_FULL)
        return err_set(em, LT_EBUSY, "the memory limit of %llu MiB is reached; latent status tells what takes it",
                       (unsigned long long)(core->memory.limit >> 20));
    return 0;
}

/* Requests whose effects come in the order in which a client sent them. */
static bool is_change(Latent__V1__Request__BodyCase kind)
{
    switch (kind) {
    case BODY(COLLECTION_CREATE):
    case BODY(COLLECTION_DROP):
    case BODY(COLLECTION_REPLACE):
    case BODY(ADD):
    case BODY(DELETE):
    case BODY(JOB_OPEN):
    case BODY(JOB_CLOSE):
    case BODY(JOB_CANCEL):
        return true;
    default:
        return false;
    }
}

/* daemon/job_holds.h */
static bool holds_job(const Latent__V1__Request *m)
{
    return m->body_case == BODY(JOB_OPEN) || (m->body_case == BODY(ADD) && m->add->job);
}

/* A frame on its way to becoming a request. */
struct incoming {
    uv_work_t work;
    struct conn *conn;
    struct bytes_out frame; /* its bytes, when another thread unpacks them */
    size_t len;
    struct pool *pool;
    Latent__V1__Request *msg;
    struct message_nul *nuls;
    uint64_t id, received_ns;
    int result;
    struct err_msg em;
};

static void start(struct conn *c, struct incoming *in)
{
    struct core *core = c->server->core;
    struct pool *pool = in->pool;
    Latent__V1__Request *msg = in->msg;
    struct request *rq = calloc(1, sizeof *rq);
    if (!rq) {
        dispatch_send_error(c, msg->id, LT_ENOMEM, NULL);
        return;
    }
    in->pool = NULL;
    rq->core = core;
    rq->conn = c;
    rq->owner = c;
    rq->sender = c->number;
    rq->grant = grant_ref(c->grant);
    rq->pool = pool;
    rq->msg = msg;
    rq->nuls = in->nuls;
    rq->id = msg->id;
    rq->cost = sizeof *rq + in->len + pool_used(pool);
    if (msg->deadline_ms)
        rq->deadline_ns = in->received_ns + msg->deadline_ms * 1000000ull;
    c->flight[c->n_flight++] = rq;
    request_enlist(rq);
    if (is_change(msg->body_case))
        order_enter(c->order, &rq->place);
    c->may_hold |= holds_job(msg) && core->holds; /* in this order: the loader may be about to set it, but no such request comes before it is ready */
    if (rq->deadline_ns)
        server_watch_deadline(c->server, rq->deadline_ns);
    handler_of(msg->body_case)(rq);
}

static void unpack(struct incoming *in, const uint8_t *data)
{
    in->pool = pool_create(PROTO_MESSAGE_BUDGET);
    in->result = in->pool ? message_unpack_request(in->pool, data, in->len, &in->msg, &in->nuls, &in->id, &in->em)
                          : err_set(&in->em, LT_ENOMEM, "out of memory");
}

/* An unpacked frame: refused, or begun as a request. */
static void take(struct conn *c, struct incoming *in)
{
    int r = in->result;
    if (r == 0)
        r = check(c, in->msg, &in->em);
    if (r < 0) {
        log_debug("server", "refused a request: %s: %s", err_name(r), in->em.text);
        dispatch_send_error(c, in->id, r, in->em.text);
        if (in->id == 0 || r == LT_EAUTH)
            conn_close_gently(c);
    } else if (in->msg->body_case == BODY(CANCEL)) {
        cancel(c, in->id, in->msg->cancel->id);
    } else {
        start(c, in);
    }
}

static void unpack_elsewhere(uv_work_t *w)
{
    struct incoming *in = w->data;
    unpack(in, in->frame.data);
    bytes_out_finish(&in->frame);
}

static void unpacked_elsewhere(uv_work_t *w, int status)
{
    struct incoming *in = w->data;
    struct conn *c = in->conn;
    (void)status; /* these are never cancelled */
    c->server->core->flight_cost -= in->len;
    if (!c->closing && !c->last_words)
        take(c, in);
    pool_destroy(&in->pool);
    free(in);
    conn_unpacked(c);
}

void dispatch_frame(struct conn *c, const uint8_t *data, size_t len)
{
    struct incoming here = {.conn = c, .len = len, .received_ns = clock_ns()};
    struct incoming *large = len > INLINE_BYTES ? malloc(sizeof *large) : NULL;
    if (large) {
        *large = here;
        large->frame = session_take_frame(c->session);
        large->work.data = large;
        c->server->core->flight_cost += len;
        c->unpacking = true;
        c->refs++;
        uv_queue_work(&c->server->core->loop, &large->work, unpack_elsewhere, unpacked_elsewhere);
        return;
    }
    unpack(&here, data);
    take(c, &here);
    pool_destroy(&here.pool);
}
