/* One request: from its frame to its reply.
 *
 * Made and freed on the loop thread; in between it is handed from thread to thread and belongs to whoever works on it.
 * Every request ends with request_finish, exactly once, whatever happened to its connection.
 * Thread-safety: as said. */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include <stdarg.h>

#include "daemon/access.h"
#include "daemon/core.h"
#include "daemon/order.h"
#include "proto/message.h"

struct conn;

/* Bytes of all replies of one request together. */
#define REQUEST_REPLY_MAX (64u << 20)

struct request {
    struct work_item work; /* for the stage at hand */
    struct core *core;
    struct conn *conn;   /* loop thread; NULL: answered, or nobody is there any more */
    const void *owner;   /* the connection it came on: to be compared only, it may be gone */
    uint64_t sender;     /* its number, which no other has */
    struct grant *grant; /* NULL: everything is allowed */
    struct pool *pool;   /* memory of msg and whatever lives as long */
    Latent__V1__Request *msg;
    const struct message_nul *nuls; /* of its items */
    uint64_t id;
    uint64_t deadline_ns; /* clock_ns; 0: none */
    atomic_bool cancelled; /* nobody waits any more: stop as soon as it is convenient */
    struct order_place place; /* of a change, among those of its connection */
    size_t cost;           /* bytes counted in core->flight_cost */
    struct bytes_out reply; /* messages, each behind a u32 length */
    bool failed;            /* it is an error, which nothing follows */
    size_t sent;            /* bytes of it that have gone to the connection */
    void *state;            /* the handler's, freed by it before request_finish */
    struct request *next;   /* in core->finished, then in conn->ready */
    struct request **older_link, *older; /* in core->flight */
};

/* 0 or LT_ECANCELLED, LT_ETIMEOUT, LT_ESHUTDOWN: a stage that begins asks whether it should. */
int request_over(const struct request *rq);

/* May this request's sender do this to that collection? */
int request_check(const struct request *rq, enum key_right right, const char *collection, struct err_msg *em);

/* LT_ELIMIT: the string has more bytes than max; em names it by what. */
int request_check_bytes(const char *what, const char *s, size_t max, struct err_msg *em);

/* Packs a response (id and more are filled in here) behind those before it. A failure becomes an error reply in the place of all of
 * them (rq->failed), and what would follow is left out. */
void request_reply(struct request *rq, Latent__V1__Response *resp, bool more);

/* Counts memory that the request takes besides its message, until it is freed; whoever owns it. False: too much is in
 * work for that; answer LT_EBUSY. */
bool request_charge(struct request *rq, size_t bytes);

/* An empty response, to be given a body. */
Latent__V1__Response request_response(void);

/* Back to the loop, which sends the replies. The request is the loop's again. Any thread. */
void request_finish(struct request *rq);

/* Replaces replies by an error and finishes. */
void request_fail(struct request *rq, int code, const struct err_msg *em);
void request_failf(struct request *rq, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Hands the request to threads; run gets the request by request_of_work. */
void request_submit(struct request *rq, struct workers *w, void (*run)(struct work_item *, void *));
static inline struct request *request_of_work(struct work_item *w)
{
    return (struct request *)((char *)w - offsetof(struct request, work));
}

/* Hands a change to the writer, after those that its client sent before. */
void request_write(struct request *rq, struct writer_op *op);

/* Loop thread: takes a request into the list of those in flight; frees it. */
void request_enlist(struct request *rq);
void request_destroy(struct request *rq);

#endif
