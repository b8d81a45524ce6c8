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
    Latent__V1__Request__BodyCase kind;
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
/* Waits for the slot's answer. On success *parts (owned by the caller) holds at least one part with a body of that
 * kind; the slot is free in any case. After LATENT_EPROTO and LATENT_EAUTH the connection is closed. */
int exchange_wait(struct latent *c, struct slot *s, Latent__V1__Response__BodyCase kind, struct part **parts);
/* After a blocking call's answer: true where it is to be sent again, since the daemon was loading and that has been waited for. Else *code
 * is what the call returns. *looks: 0 before the call's first answer. */
bool exchange_again(struct latent *c, int *code, unsigned *looks);
/* All three. */
int exchange(struct latent *c, Latent__V1__Request *r, Latent__V1__Response__BodyCase kind, struct part **parts);
/* A frame has come. */
int exchange_receive(struct latent *c, const struct session_frame *f);
struct slot *exchange_find(struct latent *c, uint64_t id);
/* For a …_finish: the begun request of that kind. Errors, recorded: LATENT_ENOTFOUND; LATENT_EINVAL: it is of another kind; what closed the
 * connection. */
int exchange_begun(struct latent *c, uint64_t id, Latent__V1__Request__BodyCase kind, struct slot **slot);
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
