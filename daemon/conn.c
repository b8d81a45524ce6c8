#include "daemon/conn.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "daemon/dispatch.h"
#include "daemon/job_holds.h"
#include "daemon/order.h"
#include "daemon/request.h"
#include "daemon/server.h"

#define READ_BYTES (64u << 10)
/* Bytes that wait for a client: above this nothing more is read from it, and replies wait where they are. */
#define OUT_PAUSE (8u << 20)
/* A client that takes nothing for so long is gone. */
#define WRITE_TIMEOUT_MS 60000
#define KEEPALIVE_S 60
/* Connections over TCP that have not proved who they are. */
#define STRANGERS_MAX 64
/* Time that one has in any case, and one on the Unix socket, however many others come: a handshake takes two round trips. */
#define STRANGER_MS 1000

static void release(struct conn *c)
{
    if (--c->refs)
        return;
    session_destroy(&c->session);
    grant_unref(&c->grant);
    order_unref(&c->order);
    free(c->release);
    bytes_out_finish(&c->held);
    bytes_out_finish(&c->sending);
    bytes_out_finish(&c->out);
    free(c);
}

static void on_closed(uv_handle_t *h)
{
    release(h->data);
}

static bool is_stranger(const struct conn *c)
{
    return c->tcp && !c->open;
}

void conn_forget(struct conn *c, struct request *rq)
{
    for (unsigned i = 0; i < c->n_flight; i++) {
        if (c->flight[i] == rq) {
            c->flight[i] = c->flight[--c->n_flight];
            rq->conn = NULL;
            return;
        }
    }
}

static void stop_asking(struct conn *c)
{
    if (c->asking)
        members_withdraw(c->server->members, &c->question);
    c->asking = false;
}

void conn_close(struct conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    stop_asking(c);
    while (c->n_flight) {
        struct request *rq = c->flight[0];
        atomic_store(&rq->cancelled, true);
        conn_forget(c, rq);
    }
    while (c->ready) {
        struct request *rq = c->ready;
        c->ready = rq->next;
        c->server->n_ready--;
        request_destroy(rq);
    }
    server_intake_leave(c->server, c);
    if (c->may_hold)
        job_release_submit(&c->release, c->server->core, c->order, c->number);
    idle_connections(&c->server->idle, --c->server->n_conns);
    c->server->n_strangers -= is_stranger(c);
    *c->prev_link = c->next;
    if (c->next)
        c->next->prev_link = c->prev_link;
    uv_close(&c->h.handle, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void pump(struct conn *c);
static void flush(struct conn *c);
static void welcome(struct conn *c, bool allowed);

static void on_timeout(uv_timer_t *t)
{
    struct conn *c = t->data;
    size_t left = uv_stream_get_write_queue_size(&c->h.stream);
    if (c->open && c->writing && left < c->taken_at) { /* slow, but there */
        c->taken_at = left;
        uv_timer_start(t, on_timeout, WRITE_TIMEOUT_MS, 0);
        return;
    }
    if (c->asking) {
        log_warn("server", "nobody says in time whether user %u belongs to the group of allow-group", c->question.uid);
        stop_asking(c);
        welcome(c, false);
        return;
    }
    log_info("server", c->open ? "a client does not take its replies; closed" : "a client did not finish its handshake; closed");
    conn_close(c);
}

static void after_write(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    c->writing = false;
    if (c->closing)
        return;
    uv_timer_stop(&c->timer);
    if (!c->open && !c->last_words)
        uv_timer_start(&c->timer, on_timeout, PROTO_HANDSHAKE_TIMEOUT_MS, 0);
    c->sending.len = 0;
    if (status < 0) {
        conn_close(c);
        return;
    }
    flush(c);
    pump(c);
    if (!c->closing)
        conn_update_reading(c);
}

/* Writes what waits: at once as far as the kernel takes it, the rest when it can. */
static void flush(struct conn *c)
{
    if (c->writing || c->closing)
        return;
    if (c->out.len) {
        struct bytes_out swap = c->sending;
        c->sending = c->out;
        c->out = swap;
        c->out.len = 0;
        uv_buf_t buf = uv_buf_init((char *)c->sending.data, (unsigned)c->sending.len);
        int n = uv_try_write(&c->h.stream, &buf, 1);
        if (n < 0 && n != UV_EAGAIN) {
            conn_close(c);
            return;
        }
        if (n == (int)c->sending.len) {
            c->sending.len = 0;
        } else {
            n = n < 0 ? 0 : n;
            buf = uv_buf_init((char *)c->sending.data + n, (unsigned)(c->sending.len - (size_t)n));
            c->write.data = c;
            c->writing = true;
            c->taken_at = buf.len;
            uv_timer_start(&c->timer, on_timeout, c->open ? WRITE_TIMEOUT_MS : PROTO_HANDSHAKE_TIMEOUT_MS, 0);
            if (uv_write(&c->write, &c->h.stream, &buf, 1, after_write) < 0) {
                c->writing = false;
                conn_close(c);
            }
            return;
        }
    }
    /* Large buffers are for large replies only. */
    if (c->sending.cap > READ_BYTES)
        bytes_out_finish(&c->sending);
    if (c->last_words && !c->ready)
        conn_close(c);
}

static size_t backlog(const struct conn *c)
{
    return c->out.len + c->sending.len;
}

/* The next of a finished request's messages. */
static void send_next(struct conn *c, struct request *rq)
{
    struct bytes_in in = bytes_in(rq->reply.data + rq->sent, rq->reply.len - rq->sent);
    uint32_t len = bytes_u32(&in);
    const uint8_t *data = bytes_take(&in, len);
    rq->sent += bytes_pos(&in);
    if (data)
        conn_send(c, data, len);
}

/* Replies go out as far as the client takes them. */
static void pump(struct conn *c)
{
    while (!c->closing && c->ready && backlog(c) < OUT_PAUSE) {
        struct request *rq = c->ready;
        if (rq->conn && rq->sent < rq->reply.len) {
            send_next(c, rq);
            continue;
        }
        c->ready = rq->next;
        c->server->n_ready--;
        if (rq->conn)
            conn_forget(c, rq);
        server_free(c->server, rq);
    }
    if (!c->closing && c->last_words && !c->ready && !c->writing && !backlog(c))
        conn_close(c);
}

void conn_reply(struct conn *c, struct request *rq)
{
    if (!c->ready)
        c->ready_tail = &c->ready;
    rq->next = NULL;
    *c->ready_tail = rq;
    c->ready_tail = &rq->next;
    c->server->n_ready++;
    pump(c);
    if (!c->closing)
        conn_update_reading(c);
}

void conn_send(struct conn *c, const void *data, size_t len)
{
    if (c->closing)
        return;
    int r = session_send(c->session, data, len, &c->out);
    if (r < 0 || c->out.bad) {
        log_warn("server", "closing a connection: %s", err_text(r < 0 ? r : LT_ENOMEM));
        conn_close(c);
        return;
    }
    flush(c);
}

void conn_close_gently(struct conn *c)
{
    if (c->closing)
        return;
    c->last_words = true;
    if (c->reading)
        uv_read_stop(&c->h.stream);
    c->reading = false;
    flush(c);
    pump(c);
}

/* Requests may come. */
static void opened(struct conn *c)
{
    c->server->n_strangers -= is_stranger(c);
    c->open = true;
    uv_timer_stop(&c->timer);
}

/* A peer has proved its key: is it known and not expired? On the Unix socket the user must be allowed as well. */
static void admit(struct conn *c)
{
    struct server *s = c->server;
    const uint8_t *peer = session_peer_key(c->session);
    struct err_msg em = {""};
    int r = 0;
    if (!c->tcp && !c->allowed) {
        r = err_set(&em, LT_EPERM, "this user may not use the socket");
    } else {
        c->generation = access_generation(s->access);
        c->grant = access_find(s->access, peer);
        if (!c->grant)
            r = err_set(&em, LT_EAUTH, "%s", access_why_none(s->access));
        else
            r = key_entry_check(&c->grant->entry, 0, NULL, clock_wall_ms() / 1000, &em);
    }
    if (r == 0)
        r = session_admit(c->session);
    else
        session_refuse(c->session, r, em.text, &c->out);
    if (r == 0) {
        opened(c);
    } else {
        log_warn("server", "refused a client: %s", em.text[0] ? em.text : err_text(r));
        conn_close_gently(c);
    }
}

static void on_event(struct conn *c, int ev, const struct session_frame *frame)
{
    if (ev == SESSION_PEER) {
        admit(c);
    } else if (ev == SESSION_OPEN) {
        opened(c);
    } else if (ev == SESSION_FRAME) {
        server_intake_leave(c->server, c);
        dispatch_frame(c, frame->data, frame->len);
    }
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    /* One buffer for all connections: what is read is consumed or kept before the next read. */
    static char shared[READ_BYTES];
    struct conn *c = h->data;
    size_t want = session_want(c->session);
    *buf = uv_buf_init(shared, (unsigned)(want < READ_BYTES ? want : READ_BYTES));
}

/* May another of its frames be looked at? */
static bool can_take(const struct conn *c)
{
    struct core *core = c->server->core;
    bool full = c->n_flight && (core_is_full(core) || core_memory_level(core) >= MEMORY_NEAR);
    return !c->closing && !c->asking && !c->last_words && !c->unpacking && !c->intake.waits && !full && c->n_flight < PROTO_IN_FLIGHT_MAX &&
           backlog(c) < OUT_PAUSE;
}

/* A frame that is not small takes its room before more of it is read. */
static void enter_intake(struct conn *c)
{
    size_t got, need = session_frame_need(c->session, &got);
    if (need > INTAKE_FREE && !c->intake.bytes)
        server_intake_enter(c->server, c, need);
    c->intake.got = got;
}

/* Acts on input as far as the connection may go on now, and keeps the rest. */
static void consume(struct conn *c, const void *data, size_t len)
{
    struct bytes_in in = bytes_in(data, len);
    struct session_frame frame;
    struct err_msg em = {""};
    int ev = 1;
    c->holding = false;
    while (can_take(c) && (ev = session_feed(c->session, &in, &c->out, &frame, &em)) > 0)
        on_event(c, ev, &frame);
    if (c->closing || c->last_words)
        return;
    if (ev < 0) {
        log_info("server", "closing a connection: %s: %s", err_name(ev), em.text);
        conn_close_gently(c);
        return;
    }
    if (ev == 0)
        enter_intake(c);
    if ((c->holding = ev > 0)) {
        bytes_put(&c->held, in.p, bytes_left(&in));
        if (c->held.bad) {
            log_error("server", "closing a connection: no memory for what it sent");
            conn_close(c);
            return;
        }
    }
    flush(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (n == 0)
        return;
    if (n < 0) {
        conn_close(c);
        return;
    }
    consume(c, buf->base, (size_t)n);
    conn_update_reading(c);
}

void conn_update_reading(struct conn *c)
{
    if (c->holding && can_take(c)) {
        struct bytes_out held = c->held;
        c->held = (struct bytes_out){0};
        consume(c, held.data, held.len);
        bytes_out_finish(&held);
    }
    if (c->closing || c->last_words)
        return;
    bool want = can_take(c);
    if (want && !c->reading)
        c->reading = uv_read_start(&c->h.stream, on_alloc, on_read) == 0;
    else if (!want && c->reading) {
        uv_read_stop(&c->h.stream);
        c->reading = false;
    }
}

void conn_unpacked(struct conn *c)
{
    c->unpacking = false;
    if (!c->closing)
        conn_update_reading(c);
    release(c);
}

/* Takes the connection in and lets it go at once. */
static void drop(struct conn *c, const char *why)
{
    log_warn("server", "refused a connection: %s", why);
    conn_close(c);
}

/* For one more. Where there are too many, the one that has been there longest without being open leaves, a stranger where there are too many of
 * those, but not before it had its time; false: none has, and the newcomer waits in the kernel's queue. So many clients that come at once do not
 * push each other out, and silent ones keep nobody out. */
static bool make_room(struct server *s, bool tcp)
{
    struct conn *oldest = NULL;
    const bool full = s->n_conns >= s->core->settings->connections;
    if (!full && !(tcp && s->n_strangers >= STRANGERS_MAX))
        return true;
    for (struct conn *c = s->conns; c; c = c->next) /* the oldest is the last */
        if (!c->open && (full || c->tcp))
            oldest = c;
    if (!oldest)
        return true; /* the newcomer is refused */
    if (uv_now(&s->core->loop) - oldest->since_ms < STRANGER_MS)
        return false;
    log_info("server", "a client does not finish its handshake, and others wait to begin theirs; closed");
    conn_close(oldest);
    return true;
}

static enum access_peer peer_of(const struct server *s, struct conn *c)
{
    uv_os_fd_t fd;
    return c->tcp || uv_fileno(&c->h.handle, &fd) < 0 ? ACCESS_NO : access_peer(&s->users, fd, &c->question.uid);
}

/* Who it is is known. */
static void welcome(struct conn *c, bool allowed)
{
    struct server *s = c->server;
    c->allowed = allowed;
    if (!c->tcp && !allowed)
        log_warn("server", "user %u tried the Unix socket and may not use it", c->question.uid);
    struct session_server params = {.key = s->key.secret ? &s->key : NULL, .plain_allowed = !c->tcp && !s->socket_keys,
                                    .stranger = !c->tcp && !allowed};
    if (session_create_server(&c->session, &params) < 0) {
        drop(c, "out of resources");
        return;
    }
    uv_timer_start(&c->timer, on_timeout, PROTO_HANDSHAKE_TIMEOUT_MS, 0);
    conn_update_reading(c);
}

static void on_member(struct member_question *q)
{
    struct conn *c = (struct conn *)((char *)q - offsetof(struct conn, question));
    c->asking = false;
    welcome(c, q->is_member);
}

/* Nothing is read before the answer. */
static void ask(struct conn *c)
{
    c->asking = true;
    c->question.gid = c->server->users.group;
    c->question.done = on_member;
    uv_timer_start(&c->timer, on_timeout, PROTO_HANDSHAKE_TIMEOUT_MS, 0);
    members_ask(c->server->members, &c->question);
}

bool conn_accept(struct server *s, uv_stream_t *listener, bool tcp)
{
    if (!make_room(s, tcp))
        return false;
    struct conn *c = fault("conn.memory") ? NULL : calloc(1, sizeof *c);
    if (!c) {
        log_error("server", "no memory for a connection");
        return false;
    }
    c->server = s;
    c->number = ++s->n_accepted;
    c->tcp = tcp;
    c->since_ms = uv_now(&s->core->loop);
    if (tcp)
        uv_tcp_init(&s->core->loop, &c->h.tcp);
    else
        uv_pipe_init(&s->core->loop, &c->h.pipe, 0);
    uv_timer_init(&s->core->loop, &c->timer);
    c->h.handle.data = c->timer.data = c;
    c->refs = 2;
    c->next = s->conns;
    c->prev_link = &s->conns;
    if (c->next)
        c->next->prev_link = &c->next;
    s->conns = c;
    idle_connections(&s->idle, ++s->n_conns);
    s->n_strangers += tcp;
    const bool accepted = uv_accept(listener, &c->h.stream) == 0;
    if (!accepted || !(c->order = order_create()) || !(c->release = malloc(sizeof *c->release))) {
        drop(c, "out of resources");
        return true;
    }
    if (s->n_conns > s->core->settings->connections) {
        drop(c, "too many connections");
        return true;
    }
    if (tcp) {
        uv_tcp_nodelay(&c->h.tcp, 1);
        uv_tcp_keepalive(&c->h.tcp, 1, KEEPALIVE_S); /* a peer that vanished gives its place back */
    }
    const enum access_peer peer = peer_of(s, c);
    if (peer == ACCESS_ASK)
        ask(c);
    else
        welcome(c, peer == ACCESS_YES);
    return true;
}

void conn_answer_early(struct request *rq, int code)
{
    struct conn *c = rq->conn;
    atomic_store(&rq->cancelled, true);
    if (!c)
        return;
    conn_forget(c, rq);
    dispatch_send_error(c, rq->id, code, NULL);
}
