/* Noise_XK_25519_ChaChaPoly_SHA256 over libsodium (Noise specification, revision 34).
 *
 * XK: the initiator knows the responder's static key beforehand; the responder learns the
 * initiator's in the third message, encrypted. All secrets are wiped on every path.
 * Thread-safety: unsafe. */
#ifndef PROTO_NOISE_H
#define PROTO_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/keys.h"

#define NOISE_TAG_BYTES 16
#define NOISE_HASH_BYTES 32
#define NOISE_MESSAGE_MAX 65535 /* bytes of any Noise message */
#define NOISE_PLAIN_MAX (NOISE_MESSAGE_MAX - NOISE_TAG_BYTES)
/* The three handshake messages with empty payloads. */
#define NOISE_MESSAGE_1_BYTES 48
#define NOISE_MESSAGE_2_BYTES 48
#define NOISE_MESSAGE_3_BYTES 64
/* Each direction's key changes (Noise's REKEY) after this many transport messages … */
#define NOISE_REKEY_MESSAGES 65536u
/* … and the connection ends after this many. */
#define NOISE_MESSAGES_MAX ((uint64_t)1 << 48)

struct noise;

struct noise_params {
    bool initiator;
    const struct key_pair *local;  /* own static keys; copied to guarded memory */
    const uint8_t *remote_public;  /* initiator: the responder's, KEY_BYTES; else NULL */
    const void *prologue;          /* what both sides must have seen alike */
    size_t prologue_len;
    const uint8_t *test_ephemeral; /* tests only: KEY_BYTES of secret; NULL: random */
};

int noise_create(struct noise **n, const struct noise_params *p);
void noise_destroy(struct noise **n);

/* The handshake's next message out: payload encrypted as far as the handshake has got.
 * out has room for room bytes. Returns the bytes written.
 * Errors: LT_EPROTO (not our turn), LT_ELIMIT (room), LT_EAUTH (a degenerate public key). */
int noise_write(struct noise *n, const void *payload, size_t len, uint8_t *out, size_t room);
/* The next message in. Returns the payload's length.
 * Errors: LT_EPROTO, LT_ELIMIT, LT_EAUTH (any bit is wrong; the handshake is dead). */
int noise_read(struct noise *n, const uint8_t *msg, size_t len, uint8_t *payload, size_t room);

/* True after the third message: noise_seal and noise_open may be used. */
bool noise_done(const struct noise *n);
/* The other side's static key, KEY_BYTES; NULL before it is known. */
const uint8_t *noise_remote(const struct noise *n);
/* The transcript's hash, NOISE_HASH_BYTES, equal on both sides once done. */
const uint8_t *noise_hash(const struct noise *n);

/* Transport messages. out has room for len + NOISE_TAG_BYTES and may be the input itself.
 * Errors: LT_ELIMIT (len over NOISE_PLAIN_MAX, or the connection's messages are used up). */
int noise_seal(struct noise *n, const void *plain, size_t len, uint8_t *out);
/* out has room for len - NOISE_TAG_BYTES and may be the input itself. Returns the plaintext's length.
 * Errors: LT_EAUTH: close the connection. */
int noise_open(struct noise *n, const uint8_t *sealed, size_t len, uint8_t *out);

#endif
