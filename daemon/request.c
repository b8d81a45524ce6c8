#include "daemon/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* Less is not worth a refusal. */
#define CHARGE_MIN (64u << 10)

int request_over(const struct request *rq)
{
    if (atomic_load(&rq->cancelled))
        return LT_ECANCELLED;
    if (rq->deadline_ns && clock_ns() > rq->deadline_ns)
        return LT_ETIMEOUT;
    if (atomic_load(&rq->core->stopping))
        return LT_ESHUTDOWN;
    return 0;
}

int request_check(const struct request *rq, enum key_right right, const char *collection, struct err_msg *em)
{
    if (!rq->grant)
        return 0;
    return key_entry_check(&rq->grant->entry, right, collection, clock_wall_ms() / 1000, em);
}

Latent__V1__Response request_response(void)
{
    return (Latent__V1__Response)LATENT__V1__RESPONSE__INIT;
}

static int pack(struct request *rq, Latent__V1__Response *resp, struct err_msg *em)
{
    size_t at = rq->reply.len;
    message_mend(&resp->base, rq->pool);
    rq->reply.max = REQUEST_REPLY_MAX;
    bytes_put_u32(&rq->reply, 0);
    int r = rq->reply.bad ? LT_ENOMEM : message_pack(&resp->base, &rq->reply, em);
    if (r == 0 && rq->reply.bad)
        r = LT_ENOMEM;
    const bool over = r == LT_ENOMEM && at + 4 + protobuf_c_message_get_packed_size(&resp->base) > REQUEST_REPLY_MAX;
    if (over || r == LT_ELIMIT)
        return err_set(em, LT_ELIMIT, "the answer is larger than %u MiB: ask for less at a time", (over ? REQUEST_REPLY_MAX : PROTO_FRAME_MAX) >> 20);
    if (r < 0)
        return r;
    uint32_t len = (uint32_t)(rq->reply.len - at - 4);
    for (int i = 0; i < 4; i++)
        rq->reply.data[at + i] = (uint8_t)(len >> 8 * i);
    return 0;
}

static void pack_error(struct request *rq, int code, const char *text)
{
    Latent__V1__Error e = LATENT__V1__ERROR__INIT;
    Latent__V1__Response resp = request_response();
    struct err_msg em;
    message_error_init(&e, code, text && *text ? text : NULL);
    resp.id = rq->id;
    resp.error = &e;
    rq->failed = true;
    bytes_out_finish(&rq->reply);
    memset(&rq->reply, 0, sizeof rq->reply);
    if (pack(rq, &resp, &em) < 0)
        log_error("request", "no memory for an error reply");
}

bool request_charge(struct request *rq, size_t bytes)
{
    struct core *c = rq->core;
    /* While the daemon loads the limit is not known yet, and there are answers to `status` alone. */
    if (bytes > CHARGE_MIN && atomic_load(&c->ready)) {
        const size_t limit = c->memory.request_bytes, all = atomic_load(&c->flight_cost);
        /* One alone may be larger than the limit. */
        if (all - rq->cost > limit && all + bytes > 2 * limit)
            return false;
    }
    rq->cost += bytes;
    atomic_fetch_add(&c->flight_cost, bytes);
    return true;
}

void request_reply(struct request *rq, Latent__V1__Response *resp, bool more)
{
    struct err_msg em = {""};
    size_t before = rq->reply.len;
    if (rq->failed)
        return;
    resp->id = rq->id;
    resp->more = more;
    int r = pack(rq, resp, &em);
    if (r == 0 && !request_charge(rq, rq->reply.len - before)) {
        pack_error(rq, LT_EBUSY, "too many replies wait for their clients");
        return;
    }
    if (r < 0)
        pack_error(rq, r, em.text);
}

int request_check_bytes(const char *what, const char *s, size_t max, struct err_msg *em)
{
    const size_t n = strlen(s);
    return n <= max ? 0 : err_set(em, LT_ELIMIT, "the %s has %zu bytes, %zu are allowed", what, n, max);
}

void request_finish(struct request *rq)
{
    struct core *c = rq->core;
    order_leave(&rq->place);
    rq->next = NULL;
    pthread_mutex_lock(&c->lock);
    *c->finished_tail = rq;
    c->finished_tail = &rq->next;
    pthread_mutex_unlock(&c->lock);
    core_wake(c);
}

void request_fail(struct request *rq, int code, const struct err_msg *em)
{
    pack_error(rq, code, em ? em->text : NULL);
    request_finish(rq);
}

void request_failf(struct request *rq, int code, const char *fmt, ...)
{
    struct err_msg em;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&em, code, fmt, ap);
    va_end(ap);
    request_fail(rq, code, &em);
}

void request_submit(struct request *rq, struct workers *w, void (*run)(struct work_item *, void *))
{
    rq->work.run = run;
    workers_submit(w, &rq->work);
}

void request_write(struct request *rq, struct writer_op *op)
{
    order_submit(&rq->place, rq->core->writer, op);
}

void request_enlist(struct request *rq)
{
    struct core *c = rq->core;
    rq->older = c->flight;
    rq->older_link = &c->flight;
    if (rq->older)
        rq->older->older_link = &rq->older;
    c->flight = rq;
    c->n_flight++;
    atomic_fetch_add(&c->flight_cost, rq->cost);
}

void request_destroy(struct request *rq)
{
    struct core *c = rq->core;
    *rq->older_link = rq->older;
    if (rq->older)
        rq->older->older_link = rq->older_link;
    c->n_flight--;
    atomic_fetch_sub(&c->flight_cost, rq->cost);
    bytes_out_finish(&rq->reply);
    grant_unref(&rq->grant);
    pool_destroy(&rq->pool);
    free(rq);
}
