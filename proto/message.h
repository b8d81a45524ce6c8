/* Messages: bytes to Request or Response and back, behind limits (PROTOCOL.md §4).
 *
 * Before protobuf-c sees a message, a scan over its bytes checks it against the schema: depth,
 * number of fields and of elements, wire types, singular fields present at most once, strings
 * without NUL and in valid UTF-8 (documents and inputs to embed are named one by one for these). What passes is unpacked from a pool with a budget.
 * Thread-safety: safe on different pools. */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "proto/keys.h"
#include "proto/latent.pb-c.h"
#include "proto/maxima.h"
#include "proto/pool.h"

struct session;

/* A NUL byte in a document, an input to embed or a text to rerank: the string that was unpacked ends there, so the item is to be refused. */
struct message_nul {
    struct message_nul *next; /* in the message's order */
    uint32_t index;           /* of the item in the request */
    uint32_t at;              /* byte of the field */
    const char *field;
};

/* Unpacks a request into the pool, with which it lives and dies.
 *
 * nuls the first of each string that is an item's; the pool's
 * id   the request's id as far as it could be read, else 0; set on failure too: an error is
 *      answered with it, and with 0 the connection closes after the answer
 *
 * Errors: LT_EFORMAT, LT_EUTF8, LT_ELIMIT, LT_ENOMEM; em names the field, as in
 * "add.documents[3].title: …". An id of 0 is LT_EPROTO. A request kind this version does not know
 * is no error here: body_case is …BODY__NOT_SET; answer LT_EUNSUPPORTED. */
int message_unpack_request(struct pool *p, const void *data, size_t len,
                           Latent__V1__Request **out, struct message_nul **nuls, uint64_t *id, struct err_msg *em);
int message_unpack_response(struct pool *p, const void *data, size_t len,
                            Latent__V1__Response **out, struct err_msg *em);

/* Only the checks; descriptor names the message's type. Every message that passes unpacks. nuls NULL: no string has one. */
int message_check(struct pool *p, const ProtobufCMessageDescriptor *type, const void *data, size_t len,
                  struct message_nul **nuls, uint64_t *id, struct err_msg *em);

/* Makes every string in it valid UTF-8, U+FFFD standing for what is not, as no message goes out otherwise. The copies are the pool's;
 * where it is exhausted the string becomes empty. */
void message_mend(ProtobufCMessage *m, struct pool *p);

/* Appends the message as bytes, without a frame. Errors: LT_ELIMIT (over PROTO_FRAME_MAX), LT_ENOMEM. */
int message_pack(const ProtobufCMessage *m, struct bytes_out *out, struct err_msg *em);

/* Appends the message as a frame of this session (encrypted where it is). Errors as above. */
int message_seal(struct session *s, const ProtobufCMessage *m, struct bytes_out *out,
                 struct err_msg *em);

/* Fills an Error body for a code; text NULL: the code's own. The text is borrowed. */
void message_error_init(Latent__V1__Error *e, int code, const char *text);

/* The right a request of this kind needs; 0 (none) for cancel, and for a kind that is not known. */
enum key_right message_right(Latent__V1__Request__BodyCase kind);

/* "search", "collection_create" …: the request's name in latent.proto; "unknown". */
const char *message_kind_name(Latent__V1__Request__BodyCase kind);

/* The collection a request is about; NULL where the kind has none (status, embed, jobs by number). */
const char *message_collection(const Latent__V1__Request *r);

/* Vectors on the wire are little-endian f32. message_vector_get copies len bytes to out, which has
 * room for dim. Errors: LT_EDIM when len is not 4 * dim. */
int message_vector_get(const ProtobufCBinaryData *b, float *out, uint32_t dim);
/* A view of dim floats as wire bytes: borrowed on little-endian machines, else from the pool (NULL: LT_ENOMEM). */
uint8_t *message_vector_view(struct pool *p, const float *v, uint32_t dim);

#endif
