/* What liblatent's files share: the connection, requests in flight, results under construction. */
#ifndef CLIENTS_C_LATENT_INT_H
#define CLIENTS_C_LATENT_INT_H

#include "base/bytes.h"
#include "clients/c/latent.h"
#include "proto/keys.h"
#include "proto/message.h"
#include "proto/session.h"

/* One response frame with the memory it lives in. An answer may come in several. */
struct part {
    struct part *next;
    struct pool *pool; /* owned */
    Latent__V1__Response *response;
};

/* A request in flight. id 0: the slot is free. */
struct slot {
    uint64_t id;
    Latent__V1__Request__BodyCase asked;
    bool begun;    /* by a …_begin, so latent_next may name it */
    bool answered; /* the last part is there */
    struct part *parts, **parts_end;
};

#define SLOTS (LATENT_IN_FLIGHT_MAX + 1) /* one for a blocking call among the begun ones */

struct latent {
    int fd; /* -1: not connected */
    struct session *session;
    struct key_pair key;    /* ours, for the session's life; empty on plain ones */
    struct bytes_out out;   /* bytes for the socket, from out_at on not sent yet */
    size_t out_at;
    uint32_t timeout_ms;
    uint64_t next_id;
    struct slot slots[SLOTS];
    latent_waiting *waiting; /* NULL: calls do not wait for a daemon that loads */
    void *waiting_arg;
    /* last error */
    int code;
    bool retryable;
    struct err_msg message;
};

/* Its code, below 0 whatever the daemon says. */
static inline int error_code(const Latent__V1__Error *e)
{
    return e->code > 0 && e->code < 1000 ? -(int)e->code : LATENT_EINTERNAL;
}

/* ---- connection.c ---- */

/* Records an error and returns code. */
int conn_fail(struct latent *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for an answer that cannot be: LATENT_EPROTO, and the connection is closed. Nothing of c's slots may be used afterwards. */
int conn_wrong_answer(struct latent *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* When a call that starts now must be done, in clock_ns; UINT64_MAX: never. */
uint64_t conn_deadline(const struct latent *c);
/* Sends and receives until done(c, arg), the deadline, or an error; deadline 0: what goes without waiting. */
int conn_pump(struct latent *c, bool (*done)(const struct latent *c, const void *arg), const void *arg,
              uint64_t deadline_ns);

/* ---- exchange.c ---- */

/* Sends a request (id and deadline are filled in) and takes a slot for its answer. */
int exchange_send(struct latent *c, Latent__V1__Request *r, bool begun, struct slot **slot);
/* Makes a request of what the caller of the library wants, and sends it with exchange_send. */
typedef int exchange_sender(struct latent *c, const void *what, bool begun, struct slot **slot);
/* A blocking call: sends, waits for the answer, and for a daemon that loads where latent_set_waiting says so. On success *parts (owned by the
 * caller) holds at least one part with a body of that kind. After LATENT_EPROTO and LATENT_EAUTH the connection is closed. */
int exchange_call(struct latent *c, exchange_sender *send, const void *what, Latent__V1__Response__BodyCase kind, struct part **parts);
/* The same of a request that is there. */
int exchange(struct latent *c, Latent__V1__Request *r, Latent__V1__Response__BodyCase kind, struct part **parts);
/* For a …_begin: sends, and names what is in flight then. */
int exchange_begin(struct latent *c, exchange_sender *send, const void *what, uint64_t *id);
/* For a …_finish: waits for the answer of the begun request `id`, parts as above. Errors besides: LATENT_ENOTFOUND; LATENT_EINVAL: it asks for
 * something else, and stays; what closed the connection. */
int exchange_finish(struct latent *c, uint64_t id, Latent__V1__Request__BodyCase asked, Latent__V1__Response__BodyCase kind, struct part **parts);
/* A frame has come. */
int exchange_receive(struct latent *c, const struct session_frame *f);
void exchange_drop_all(struct latent *c);
void parts_free(struct part *p);

/* ---- result.c ---- */

/* Results: a hidden head before the struct that the caller sees. Takes over the parts, which the result's strings
 * point into. NULL: out of memory, the parts are freed. */
void *result_create(struct part *parts, size_t size);
/* n zeroed elements that live as long as the result; never NULL for n 0 unless memory is short. */
void *result_array(void *result, size_t n, size_t size);

/* ---- collections.c ---- */
void collection_fill(struct latent_collection *to, const Latent__V1__Collection *from);

#endif
