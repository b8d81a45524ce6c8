/* Listeners, connections and the requests in flight. All of it on the loop thread.
 * Thread-safety: unsafe. */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "daemon/access.h"
#include "daemon/conn.h"
#include "daemon/core.h"
#include "daemon/idle.h"
#include "daemon/intake.h"
#include "daemon/listen.h"

struct server {
    struct core *core;
    struct listen_sockets sockets;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } listeners[LISTEN_MAX];
    bool waits[LISTEN_MAX]; /* has a connection for which there was no memory or no place */
    unsigned n_listeners;
    uv_timer_t accept_timer; /* tries those again */
    struct access *access; /* clients with keys; NULL: none are taken */
    struct access_users users;
    struct members *members; /* of the group; NULL: none is allowed */
    struct key_pair key; /* empty: nobody needs a key */
    bool socket_keys;    /* plain sessions are refused on the Unix socket */
    char key_text[KEY_TEXT_BYTES];
    struct conn *conns;
    size_t n_ready; /* finished requests whose replies still wait for their clients */
    uint64_t n_accepted; /* connections so far */
    unsigned n_conns, n_strangers; /* all; TCP ones that are not authenticated yet */
    uv_timer_t deadline;
    struct intake intake;
    uv_timer_t intake_timer; /* looks for late ones while others wait */
    struct idle idle;
    bool closed;
};

/* Opens the sockets and starts to accept.
 * Errors: LT_ELOCKED (someone serves there already, pid in the message), LT_EINVAL, LT_EPERM, LT_EIO … */
int server_create(struct server **s, struct core *c, struct err_msg *em);

/* Stops accepting and reading. Requests in flight go on. */
void server_stop(struct server *s);

/* Closes what is left; the loop must run once more before server_destroy. */
void server_close(struct server *s);
void server_destroy(struct server **s);

/* A request has come back: its reply goes out, and it is freed in the end. */
void server_finished(struct server *s, struct request *rq);

/* Frees a request; connections that waited for its memory read on. */
void server_free(struct server *s, struct request *rq);

/* Gives the connection room for so many bytes of a frame, or lets it wait. */
void server_intake_enter(struct server *s, struct conn *c, size_t bytes);
/* Gives it back, or stops waiting. */
void server_intake_leave(struct server *s, struct conn *c);
/* From the loop, after core_wake: those that have got room read on. */
void server_intake_next(struct server *s);

/* Arms the timer for a request's deadline. */
void server_watch_deadline(struct server *s, uint64_t deadline_ns);

#endif
