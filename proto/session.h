/* A connection's bytes, either side: hello, handshake, records, frames. No sockets, no clock.
 *
 * The owner reads from its socket, feeds what came, sends what was appended to `out`, and acts on
 * the events. Until the session is open nothing is allocated that a peer can size, and
 * session_want says how many bytes to read at most, so that nothing beyond is taken in.
 *
 *     struct bytes_in in = bytes_in(buf, n);
 *     while ((ev = session_feed(s, &in, &out, &frame, &em)) > 0)
 *         switch (ev) { … }
 *     if (ev < 0) send what is in out, then close
 *
 * Thread-safety: unsafe. */
#ifndef PROTO_SESSION_H
#define PROTO_SESSION_H

#include "base/bytes.h"
#include "base/err.h"
#include "proto/keys.h"
#include "proto/maxima.h"

struct session;

enum session_event {
    SESSION_MORE = 0,  /* everything consumed; feed again when bytes come */
    SESSION_FRAME = 1, /* a message has come */
    SESSION_PEER = 2,  /* server: the handshake is done and the peer's key known (session_peer_key):
                          call session_admit or session_refuse before feeding on */
    SESSION_OPEN = 3,  /* requests may go (client), will come (server, of a plain session: session_admit opens others without a word) */
};

struct session_frame {
    const uint8_t *data; /* one message; borrowed until the next call on the session */
    size_t len;
};

struct session_server {
    const struct key_pair *key; /* the server's; borrowed for the session's life; NULL: no Noise */
    bool plain_allowed;         /* Unix socket whose file mode is the guard; never set for TCP */
    bool stranger;              /* of a Unix socket: this user may not use it; a plain hello is answered with LT_EPERM */
};

struct session_client {
    const struct key_pair *key;    /* the client's, borrowed for the handshake; NULL: plain */
    const uint8_t *server_public;  /* KEY_BYTES, with key */
};

int session_create_server(struct session **s, const struct session_server *p);
/* Appends the client's hello to out. */
int session_create_client(struct session **s, const struct session_client *p, struct bytes_out *out);
void session_destroy(struct session **s);

/* Consumes bytes up to the next event. After an error the session is dead: what was appended to
 * out (the reason, for the other side) may still be sent, then close.
 * Errors: LT_EPROTO, LT_EVERSION, LT_EAUTH, LT_ELIMIT, LT_ENOMEM; for a client also the code that
 * the server gave as its reason. */
int session_feed(struct session *s, struct bytes_in *in, struct bytes_out *out,
                 struct session_frame *frame, struct err_msg *em);

/* After SESSION_FRAME: its bytes outlive the session's next call; free with bytes_out_finish. */
struct bytes_out session_take_frame(struct session *s);

/* The frame that is under way: its bytes, and those of them that have come; 0 while its length has not. */
size_t session_frame_need(const struct session *s, size_t *got);

/* How many bytes to read next at most: exact before the session is open, a good size after. */
size_t session_want(const struct session *s);

/* True once requests may pass. */
bool session_is_open(const struct session *s);
/* True when records are encrypted. */
bool session_is_sealed(const struct session *s);

/* Client: the daemon is there and has answered the hello, and has yet to prove that it has the key that was named. */
bool session_awaits_proof(const struct session *s);

/* Server, after SESSION_PEER. The peer's static key, KEY_BYTES; NULL on plain sessions. */
const uint8_t *session_peer_key(const struct session *s);
/* Opens the session. */
int session_admit(struct session *s);
/* Appends the reason as an encrypted response with id 0; the session is dead after it. */
int session_refuse(struct session *s, int code, const char *text, struct bytes_out *out);

/* Appends one message as a frame, encrypted where the session is.
 * Errors: LT_ELIMIT (0 or over PROTO_FRAME_MAX bytes), LT_EPROTO (not open), LT_ENOMEM. */
int session_send(struct session *s, const void *data, size_t len, struct bytes_out *out);

#endif
