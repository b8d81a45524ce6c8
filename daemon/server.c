#include "daemon/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "daemon/request.h"

#define BACKLOG 128
#define INTAKE_LOOK_MS 1000
#define ACCEPT_AGAIN_MS 100

static void on_accept_timer(uv_timer_t *t);

static void take_connection(struct server *s, unsigned i)
{
    uv_stream_t *listener = &s->listeners[i].stream;
    s->waits[i] = !conn_accept(s, listener, listener->type == UV_TCP);
    if (s->waits[i])
        uv_timer_start(&s->accept_timer, on_accept_timer, ACCEPT_AGAIN_MS, 0);
}

static void on_accept_timer(uv_timer_t *t)
{
    struct server *s = t->data;
    for (unsigned i = 0; i < s->n_listeners; i++)
        if (s->waits[i] && !uv_is_closing(&s->listeners[i].handle))
            take_connection(s, i);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    unsigned i = 0;
    if (status < 0) {
        log_warn("server", "accept: %s", uv_strerror(status));
        return;
    }
    while (&s->listeners[i].stream != listener)
        i++;
    take_connection(s, i);
}

static int start_listener(struct server *s, unsigned i, struct err_msg *em)
{
    bool tcp = s->sockets.list[i].tcp;
    uv_loop_t *loop = &s->core->loop;
    int r = tcp ? uv_tcp_init(loop, &s->listeners[i].tcp) : uv_pipe_init(loop, &s->listeners[i].pipe, 0);
    if (r == 0) {
        s->n_listeners = i + 1;
        s->listeners[i].handle.data = s;
        r = tcp ? uv_tcp_open(&s->listeners[i].tcp, s->sockets.list[i].fd)
                : uv_pipe_open(&s->listeners[i].pipe, s->sockets.list[i].fd);
    }
    if (r == 0) {
        s->sockets.list[i].fd = -1; /* libuv's now */
        r = uv_listen(&s->listeners[i].stream, BACKLOG, on_connection);
    }
    if (r < 0)
        return err_set(em, LT_EIO, "%s: %s", s->sockets.list[i].name, uv_strerror(r));
    bool keys = tcp || s->socket_keys;
    log_info("server", keys ? "listening on %s, server key %s" : "listening on %s", s->sockets.list[i].name, s->key_text);
    return 0;
}

/* The server's key, made at its first use, and the clients'. */
static int prepare_keys(struct server *s, struct err_msg *em)
{
    const struct settings *set = s->core->settings;
    char path[PATHS_MAX];
    if (snprintf(path, sizeof path, "%s/server_key", set->data) >= (int)sizeof path)
        return err_set(em, LT_ELIMIT, "the data folder's name is too long");
    struct err_msg why;
    int r = file_make_dirs(set->data, 0700, &why);
    if (r < 0)
        return err_set(em, r, "cannot create the data folder: %s", why.text);
    if ((r = key_file_ensure(path, &s->key, em)) < 0)
        return r;
    key_text(s->key.public, s->key_text);
    return access_create(&s->access, set->authorized_keys, em);
}

/* What the connections wait for may be there. */
static void read_on(struct server *s)
{
    for (struct conn *each = s->conns, *next; each; each = next) {
        next = each->next;
        conn_update_reading(each);
    }
}

static void on_deadline(uv_timer_t *t)
{
    struct server *s = t->data;
    uint64_t now = clock_ns(), next = 0;
    bool answered = false;
    for (struct request *rq = s->core->flight; rq;) {
        struct conn *c = rq->conn;
        const bool watched = c && rq->deadline_ns;
        if (watched && rq->deadline_ns <= now) {
            conn_answer_early(rq, LT_ETIMEOUT);
            answered = true;
            if (c->closing) { /* for want of memory, and with it what was done already, this one perhaps */
                rq = s->core->flight;
                continue;
            }
        } else if (watched && (!next || rq->deadline_ns < next)) {
            next = rq->deadline_ns;
        }
        rq = rq->older;
    }
    if (answered)
        read_on(s);
    if (next)
        server_watch_deadline(s, next);
}

void server_watch_deadline(struct server *s, uint64_t deadline_ns)
{
    uv_timer_t *t = &s->deadline;
    uint64_t now = clock_ns();
    uint64_t ms = deadline_ns > now ? (deadline_ns - now) / 1000000 + 1 : 1;
    if (s->closed)
        return;
    uv_update_time(&s->core->loop);
    if (!uv_is_active((uv_handle_t *)t) || uv_timer_get_due_in(t) > ms)
        uv_timer_start(t, on_deadline, ms, 0);
}

int server_create(struct server **out, struct core *c, struct err_msg *em)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(em, LT_ENOMEM, "out of memory");
    s->core = c;
    uv_timer_init(&c->loop, &s->deadline);
    s->deadline.data = s;
    uv_timer_init(&c->loop, &s->intake_timer);
    s->intake_timer.data = s;
    uv_timer_init(&c->loop, &s->accept_timer);
    s->accept_timer.data = s;
    idle_init(&s->idle, c);
    *out = c->server = s;
    int r = access_users_init(&s->users, c->settings->allow_users, c->settings->allow_group, em);
    if (r == 0 && s->users.has_group)
        r = members_create(&s->members, &c->loop, em);
    if (r == 0)
        r = listen_open(&s->sockets, c->settings, &s->users, em);
    s->socket_keys = strcmp(c->settings->socket_keys, "yes") == 0;
    bool keys = s->socket_keys;
    for (unsigned i = 0; r == 0 && i < s->sockets.n; i++)
        keys |= s->sockets.list[i].tcp;
    if (r == 0 && keys)
        r = prepare_keys(s, em);
    for (unsigned i = 0; r == 0 && i < s->sockets.n; i++)
        r = start_listener(s, i, em);
    return r;
}

void server_stop(struct server *s)
{
    for (unsigned i = 0; i < s->n_listeners; i++)
        if (!uv_is_closing(&s->listeners[i].handle))
            uv_close(&s->listeners[i].handle, NULL);
}

void server_close(struct server *s)
{
    server_stop(s);
    while (s->conns)
        conn_close(s->conns);
    members_close(s->members);
    if (!s->closed) {
        uv_close((uv_handle_t *)&s->deadline, NULL);
        uv_close((uv_handle_t *)&s->intake_timer, NULL);
        uv_close((uv_handle_t *)&s->accept_timer, NULL);
    }
    idle_close(&s->idle);
    s->closed = true;
}

void server_destroy(struct server **sp)
{
    struct server *s = *sp;
    if (!s)
        return;
    listen_close(&s->sockets);
    access_destroy(&s->access);
    access_users_finish(&s->users);
    members_destroy(&s->members);
    key_pair_finish(&s->key);
    free(s);
    *sp = NULL;
}

void server_free(struct server *s, struct request *rq)
{
    struct core *core = s->core;
    bool was_full = core_is_full(core);
    request_destroy(rq);
    if (was_full && !core_is_full(core))
        read_on(s);
}

/* ---- frames under way ---- */

static uint64_t now_ms(void)
{
    return clock_ns() / 1000000;
}

static struct conn *conn_of(struct intake_place *p)
{
    return (struct conn *)((char *)p - offsetof(struct conn, intake));
}

static void on_intake_timer(uv_timer_t *t)
{
    struct server *s = t->data;
    struct intake_place *late;
    while ((late = intake_late(&s->intake, now_ms()))) {
        log_info("server", "a client does not finish its request of %zu bytes, and others wait to send theirs; closed", late->bytes);
        conn_close(conn_of(late)); /* which leaves */
        server_intake_next(s);
    }
    if (!s->intake.waiters)
        uv_timer_stop(t);
}

void server_intake_enter(struct server *s, struct conn *c, size_t bytes)
{
    s->intake.limit = core_intake_bytes(s->core);
    const bool in = intake_enter(&s->intake, &c->intake, bytes, now_ms());
    atomic_store(&s->core->intake_cost, s->intake.taken);
    if (!in && !uv_is_active((uv_handle_t *)&s->intake_timer))
        uv_timer_start(&s->intake_timer, on_intake_timer, INTAKE_LOOK_MS, INTAKE_LOOK_MS);
}

void server_intake_leave(struct server *s, struct conn *c)
{
    if (!c->intake.bytes)
        return;
    intake_leave(&s->intake, &c->intake);
    atomic_store(&s->core->intake_cost, s->intake.taken);
    if (s->intake.waiters)
        core_wake(s->core); /* not from here: it may be one connection's turn within another's */
}

void server_intake_next(struct server *s)
{
    struct intake_place *p;
    s->intake.limit = core_intake_bytes(s->core);
    while ((p = intake_next(&s->intake, now_ms()))) {
        atomic_store(&s->core->intake_cost, s->intake.taken);
        conn_update_reading(conn_of(p));
    }
}

void server_finished(struct server *s, struct request *rq)
{
    if (rq->conn)
        conn_reply(rq->conn, rq);
    else
        server_free(s, rq);
}
