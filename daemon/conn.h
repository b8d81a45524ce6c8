/* One client's connection. Loop thread only.
 * Thread-safety: unsafe. */
#ifndef DAEMON_CONN_H
#define DAEMON_CONN_H

#include <uv.h>

#include "daemon/access.h"
#include "daemon/intake.h"
#include "daemon/members.h"
#include "proto/maxima.h"
#include "proto/session.h"

struct job_release;
struct request;
struct server;

struct conn {
    struct server *server;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } h;
    uv_timer_t timer; /* the handshake's end; later: the client must take what is written */
    uv_write_t write;
    struct session *session;
    bool tcp;
    bool allowed;       /* Unix: by peer credentials */
    bool asking;        /* whether it is, of accounts: there is no session yet */
    struct member_question question; /* its uid: of any peer on the Unix socket */
    bool open;          /* requests may come */
    bool reading, writing, closing;
    bool unpacking;     /* a large frame is with another thread; those behind it wait */
    bool holding;       /* input is left: in `held`, or within the session */
    struct bytes_out held;
    struct intake_place intake; /* of the frame that is under way, if it is not small */
    bool last_words;    /* close when everything is written */
    unsigned refs;      /* handles not yet closed, and the thread that unpacks */
    struct order *order; /* of its changes */
    struct job_release *release; /* for its end; NULL after that */
    uint64_t number;     /* no other connection of this run has it */
    uint64_t since_ms;   /* uv_now, when it came */
    bool may_hold;       /* it has sent something about a job */
    struct grant *grant;       /* of its key; NULL: it needs none */
    unsigned generation;       /* of access, when grant was looked up */
    struct bytes_out sending, out; /* with the kernel; after that */
    struct request *ready, **ready_tail; /* done; their replies go out as the client takes them */
    size_t taken_at;               /* bytes with the kernel's queue at the timer's last look */
    struct request *flight[PROTO_IN_FLIGHT_MAX]; /* unanswered */
    unsigned n_flight;
    struct conn **prev_link, *next;
};

/* Accepts one connection from a listener. False: there is no memory or no place for it yet, and the listener, whose connection waits, hears
 * of no other until this is tried again. */
bool conn_accept(struct server *s, uv_stream_t *listener, bool tcp);

/* Sends a finished request's replies, at once or when the client has taken earlier ones. The request is the connection's
 * and is freed by it. */
void conn_reply(struct conn *c, struct request *rq);

/* Sends one message; the connection closes when its memory runs out. */
void conn_send(struct conn *c, const void *data, size_t len);

/* Reads, or pauses while the client does not take its replies or too much is in memory. */
void conn_update_reading(struct conn *c);

/* The frame that was being unpacked has been dealt with; loop thread. The connection may be gone after it. */
void conn_unpacked(struct conn *c);

/* Closes; its requests go on unheard, cancelled. The memory goes when the loop has closed the handles. */
void conn_close(struct conn *c);

/* Closes after what is queued has gone out. */
void conn_close_gently(struct conn *c);

/* Takes a request off the connection: it is answered, or need not be. */
void conn_forget(struct conn *c, struct request *rq);

/* Answers a request with an error before its work is done; the work is told to stop. */
void conn_answer_early(struct request *rq, int code);

#endif
