/* Requests and their answers: ids, slots, parts. */
#include "clients/c/latent_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* How often a daemon that loads is looked at. */
#define WAIT_LOOK_MS 50
#define RATE_LOOKS 25 /* more than a second of them, in which a key may send one request at least */

void parts_free(struct part *p)
{
    while (p) {
        struct part *next = p->next;
        pool_destroy(&p->pool);
        free(p);
        p = next;
    }
}

static void slot_clear(struct slot *s)
{
    parts_free(s->parts);
    *s = (struct slot){0};
}

void exchange_drop_all(struct latent *c)
{
    for (size_t i = 0; i < SLOTS; i++)
        slot_clear(&c->slots[i]);
}

static struct slot *find(struct latent *c, uint64_t id)
{
    for (size_t i = 0; id && i < SLOTS; i++)
        if (c->slots[i].id == id)
            return &c->slots[i];
    return NULL;
}

static struct slot *free_slot(struct latent *c, bool begun)
{
    struct slot *found = NULL;
    size_t n = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        if (!c->slots[i].id)
            found = &c->slots[i];
        else if (c->slots[i].begun)
            n++;
    }
    return begun && n >= LATENT_IN_FLIGHT_MAX ? NULL : found;
}

static bool sent(const struct latent *c, const void *arg)
{
    return c->out_at == c->out.len;
}

int exchange_send(struct latent *c, Latent__V1__Request *r, bool begun, struct slot **slot)
{
    struct err_msg em = {{0}};
    c->code = 0;
    if (c->fd < 0)
        return conn_fail(c, LATENT_ECONN, "not connected");
    struct slot *s = free_slot(c, begun);
    if (!s)
        return conn_fail(c, LATENT_EBUSY, "%d requests are in flight: finish one first", LATENT_IN_FLIGHT_MAX);
    r->id = ++c->next_id;
    r->deadline_ms = c->timeout_ms;
    int code = message_seal(c->session, &r->base, &c->out, &em);
    if (code < 0)
        return conn_fail(c, code, "%s", em.text[0] ? em.text : err_text(code));
    *s = (struct slot){.id = r->id, .asked = r->body_case, .begun = begun};
    s->parts_end = &s->parts;
    if ((code = conn_pump(c, sent, NULL, conn_deadline(c))) < 0) {
        slot_clear(s);
        return code;
    }
    *slot = s;
    return 0;
}

/* An error about the connection as a whole ends it. */
static int connection_error(struct latent *c, const Latent__V1__Response *r)
{
    int code = r->error ? error_code(r->error) : LATENT_EPROTO;
    const char *text = r->error ? r->error->message : "an answer without an id";
    conn_fail(c, code, "%s", text);
    latent_close(c);
    return c->code;
}

int exchange_receive(struct latent *c, const struct session_frame *f)
{
    struct err_msg em = {{0}};
    struct part *p = calloc(1, sizeof *p);
    int code = LATENT_ENOMEM;
    if (p && (p->pool = pool_create(PROTO_MESSAGE_BUDGET)))
        code = message_unpack_response(p->pool, f->data, f->len, &p->response, &em);
    if (code < 0) {
        parts_free(p);
        conn_fail(c, code == LT_ENOMEM ? code : LATENT_EPROTO, "the daemon's answer cannot be read: %s",
                  em.text[0] ? em.text : err_text(code));
        latent_close(c);
        return c->code;
    }
    if (p->response->id == 0) {
        code = connection_error(c, p->response);
        parts_free(p);
        return code;
    }
    struct slot *s = find(c, p->response->id);
    if (!s || s->answered) { /* of a call that timed out, or of a cancel */
        parts_free(p);
        return 0;
    }
    *s->parts_end = p;
    s->parts_end = &p->next;
    s->answered = !p->response->more;
    return 0;
}

static bool answered(const struct latent *c, const void *arg)
{
    return ((const struct slot *)arg)->answered;
}

/* Waits for the slot's answer; the slot is free in any case. */
static int wait_answer(struct latent *c, struct slot *s, Latent__V1__Response__BodyCase kind, struct part **parts)
{
    int code = conn_pump(c, answered, s, conn_deadline(c));
    if (code < 0) {
        slot_clear(s);
        return code;
    }
    for (const struct part *p = s->parts; p; p = p->next) {
        const Latent__V1__Error *e = p->response->error;
        if (e) {
            code = conn_fail(c, error_code(e), "%s", e->message);
            c->retryable = e->retryable;
        } else if (p->response->body_case != kind) {
            code = conn_fail(c, LATENT_EPROTO, "the daemon's answer is of another kind");
        }
        if (code < 0)
            break;
    }
    if (code == 0) {
        *parts = s->parts;
        s->parts = NULL;
    }
    slot_clear(s);
    if (code == LATENT_EPROTO || code == LATENT_EAUTH)
        latent_close(c);
    return code;
}

/* After LATENT_ELOADING, until it is worth asking again: 0. A client that may not ask for the status just tries again after a while. */
static int wait_loaded(struct latent *c)
{
    latent_waiting *waiting = c->waiting;
    struct err_msg why = c->message;
    for (;;) {
        struct latent_status *s = NULL;
        c->waiting = NULL; /* nobody waits for the status itself */
        int code = latent_status(c, &s);
        c->waiting = waiting;
        const enum latent_phase phase = s ? s->phase : LATENT_PHASE_STARTING;
        const bool loading = phase <= LATENT_PHASE_OPENING_STORE, go_on = waiting(c->waiting_arg, phase, s ? s->percent : 0);
        latent_free(s);
        if (code < 0 && !latent_is_connected(c))
            return code;
        if (!go_on)
            return conn_fail(c, LATENT_ELOADING, "%s", why.text);
        if (loading)
            nanosleep(&(struct timespec){.tv_nsec = WAIT_LOOK_MS * 1000000L}, NULL);
        if (!loading || code < 0)
            return 0;
    }
}

/* After a call's answer: true where it is to be sent again, since the daemon was loading and that has been waited for. Else *code is what the
 * call returns. *looks: 0 before the call's first answer. */
static bool again(struct latent *c, int *code, unsigned *looks)
{
    if (*code == LATENT_ELOADING && c->waiting && (*code = wait_loaded(c)) == 0) {
        *looks = 1;
        return true;
    }
    /* The look that found it loaded may have been all that the key may ask in this second. */
    if (*code != LATENT_ERATE || !*looks || *looks > RATE_LOOKS)
        return false;
    ++*looks;
    nanosleep(&(struct timespec){.tv_nsec = WAIT_LOOK_MS * 1000000L}, NULL);
    return true;
}

int exchange_call(struct latent *c, exchange_sender *send, const void *what, Latent__V1__Response__BodyCase kind, struct part **parts)
{
    struct slot *s;
    unsigned looks = 0;
    int code;
    do {
        code = send(c, what, false, &s);
        if (code == 0)
            code = wait_answer(c, s, kind, parts);
    } while (again(c, &code, &looks));
    return code;
}

static int send_it(struct latent *c, const void *what, bool begun, struct slot **slot)
{
    Latent__V1__Request *const *r = what;
    return exchange_send(c, *r, begun, slot);
}

int exchange(struct latent *c, Latent__V1__Request *r, Latent__V1__Response__BodyCase kind, struct part **parts)
{
    return exchange_call(c, send_it, &r, kind, parts);
}

int exchange_begin(struct latent *c, exchange_sender *send, const void *what, uint64_t *id)
{
    struct slot *s;
    int code = send(c, what, true, &s);
    if (code == 0)
        *id = s->id;
    return code;
}

int exchange_finish(struct latent *c, uint64_t id, Latent__V1__Request__BodyCase asked, Latent__V1__Response__BodyCase kind, struct part **parts)
{
    struct slot *s = find(c, id);
    if (!s || !s->begun)
        return c->fd < 0 && c->code ? c->code : conn_fail(c, LATENT_ENOTFOUND, "no such request is in flight");
    if (s->asked != asked)
        return conn_fail(c, LATENT_EINVAL, "request %llu is of another kind, and is finished by its own function", (unsigned long long)id);
    c->code = 0;
    return wait_answer(c, s, kind, parts);
}

static bool any_answered(const struct latent *c, const void *arg)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (c->slots[i].begun && c->slots[i].answered)
            return true;
    return false;
}

int latent_next(struct latent *c, uint32_t timeout_ms, uint64_t *id)
{
    uint64_t deadline = timeout_ms ? clock_ns() + timeout_ms * 1000000ull : 0;
    c->code = 0;
    if (!latent_in_flight(c))
        return 0;
    int code = conn_pump(c, any_answered, NULL, deadline);
    if (code < 0 && code != LATENT_ETIMEOUT)
        return code;
    c->code = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        if (c->slots[i].begun && c->slots[i].answered) {
            *id = c->slots[i].id;
            return 1;
        }
    }
    return 0;
}

size_t latent_in_flight(const struct latent *c)
{
    size_t n = 0;
    for (size_t i = 0; i < SLOTS; i++)
        n += c->slots[i].begun;
    return n;
}

int latent_cancel(struct latent *c, uint64_t id)
{
    Latent__V1__Request r = LATENT__V1__REQUEST__INIT;
    Latent__V1__CancelRequest body = LATENT__V1__CANCEL_REQUEST__INIT;
    struct part *parts;
    if (!find(c, id))
        return conn_fail(c, LATENT_ENOTFOUND, "no request %llu is in flight", (unsigned long long)id);
    body.id = id;
    r.body_case = LATENT__V1__REQUEST__BODY_CANCEL;
    r.cancel = &body;
    int code = exchange(c, &r, LATENT__V1__RESPONSE__BODY_CANCEL, &parts);
    if (code == 0)
        parts_free(parts);
    return code;
}
