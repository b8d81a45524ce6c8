#include "proto/message.h"

#include <string.h>

#include "proto/frame.h"
#include "proto/session.h"

static void *allocator_alloc(void *pool, size_t size)
{
    return pool_alloc(pool, size);
}

static void allocator_free(void *pool, void *piece)
{
    pool_free(pool, piece);
}

static int unpack(struct pool *p, const ProtobufCMessageDescriptor *type, const void *data,
                  size_t len, ProtobufCMessage **out, struct message_nul **nuls, uint64_t *id, struct err_msg *em)
{
    int r = message_check(p, type, data, len, nuls, id, em);
    if (r < 0)
        return r;
    ProtobufCAllocator a = {allocator_alloc, allocator_free, p};
    *out = protobuf_c_message_unpack(type, &a, len, data);
    /* The scan left nothing to refuse but a lack of memory. */
    return *out ? 0 : err_set(em, LT_ENOMEM, "no memory for a message of %zu bytes", len);
}

int message_unpack_request(struct pool *p, const void *data, size_t len,
                           Latent__V1__Request **out, struct message_nul **nuls, uint64_t *id, struct err_msg *em)
{
    ProtobufCMessage *m;
    int r = unpack(p, &latent__v1__request__descriptor, data, len, &m, nuls, id, em);
    if (r < 0)
        return r;
    if (!*id)
        return err_set(em, LT_EPROTO, "a request without an id");
    *out = (Latent__V1__Request *)m;
    return 0;
}

int message_unpack_response(struct pool *p, const void *data, size_t len,
                            Latent__V1__Response **out, struct err_msg *em)
{
    ProtobufCMessage *m;
    int r = unpack(p, &latent__v1__response__descriptor, data, len, &m, NULL, NULL, em);
    if (r == 0)
        *out = (Latent__V1__Response *)m;
    return r;
}

static int packed_size(const ProtobufCMessage *m, size_t *size, struct err_msg *em)
{
    *size = protobuf_c_message_get_packed_size(m);
    if (!*size || *size > PROTO_FRAME_MAX)
        return err_set(em, LT_ELIMIT, "a message of %zu bytes; 1 to %u can be sent", *size, PROTO_FRAME_MAX);
    return 0;
}

int message_pack(const ProtobufCMessage *m, struct bytes_out *out, struct err_msg *em)
{
    size_t size;
    int r = packed_size(m, &size, em);
    if (r < 0)
        return r;
    uint8_t *p = bytes_room(out, size);
    if (!p)
        return err_set(em, LT_ENOMEM, "no memory for a message of %zu bytes", size);
    protobuf_c_message_pack(m, p);
    return 0;
}

int message_seal(struct session *s, const ProtobufCMessage *m, struct bytes_out *out,
                 struct err_msg *em)
{
    size_t size;
    int r = packed_size(m, &size, em);
    if (r < 0)
        return r;
    if (!session_is_open(s))
        return err_set(em, LT_EPROTO, "the session is not open");
    if (!session_is_sealed(s)) {
        bytes_put_u32(out, (uint32_t)size);
        return message_pack(m, out, em);
    }
    struct bytes_out plain = {0};
    r = message_pack(m, &plain, em);
    if (r == 0 && (r = session_send(s, plain.data, plain.len, out)) < 0)
        err_set(em, r, "%s", err_text(r));
    bytes_out_finish(&plain);
    return r;
}

void message_error_init(Latent__V1__Error *e, int code, const char *text)
{
    latent__v1__error__init(e);
    e->code = (uint32_t)-code;
    e->message = (char *)(uintptr_t)(text && *text ? text : err_text(code));
    e->retryable = err_retryable(code);
}

enum key_right message_right(Latent__V1__Request__BodyCase kind)
{
    switch (kind) {
    case LATENT__V1__REQUEST__BODY_STATUS:
    case LATENT__V1__REQUEST__BODY_COLLECTION_LIST:
    case LATENT__V1__REQUEST__BODY_COLLECTION_INFO:
    case LATENT__V1__REQUEST__BODY_GET:
    case LATENT__V1__REQUEST__BODY_SEARCH:
    case LATENT__V1__REQUEST__BODY_EMBED:
    case LATENT__V1__REQUEST__BODY_EXPLAIN:
    case LATENT__V1__REQUEST__BODY_RERANK:
    case LATENT__V1__REQUEST__BODY_JOB_LIST:
        return KEY_QUERY;
    case LATENT__V1__REQUEST__BODY_ADD:
    case LATENT__V1__REQUEST__BODY_DELETE:
    case LATENT__V1__REQUEST__BODY_JOB_OPEN:
    case LATENT__V1__REQUEST__BODY_JOB_CLOSE:
    case LATENT__V1__REQUEST__BODY_JOB_CANCEL:
        return KEY_INGEST;
    case LATENT__V1__REQUEST__BODY_COLLECTION_CREATE:
    case LATENT__V1__REQUEST__BODY_COLLECTION_DROP:
    case LATENT__V1__REQUEST__BODY_COLLECTION_REPLACE:
        return KEY_ADMIN;
    case LATENT__V1__REQUEST__BODY_CANCEL:
    default:
        return 0;
    }
}

const char *message_kind_name(Latent__V1__Request__BodyCase kind)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(&latent__v1__request__descriptor, (unsigned)kind);
    return f && (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ? f->name : "unknown";
}

const char *message_collection(const Latent__V1__Request *r)
{
    switch (r->body_case) {
    case LATENT__V1__REQUEST__BODY_COLLECTION_CREATE:
        return r->collection_create->name;
    case LATENT__V1__REQUEST__BODY_COLLECTION_INFO:
        return r->collection_info->name;
    case LATENT__V1__REQUEST__BODY_COLLECTION_DROP:
        return r->collection_drop->name;
    case LATENT__V1__REQUEST__BODY_COLLECTION_REPLACE:
        return r->collection_replace->name;
    case LATENT__V1__REQUEST__BODY_ADD:
        return r->add->collection;
    case LATENT__V1__REQUEST__BODY_GET:
        return r->get->collection;
    case LATENT__V1__REQUEST__BODY_DELETE:
        return r->delete_->collection;
    case LATENT__V1__REQUEST__BODY_SEARCH:
        return r->search->collection;
    case LATENT__V1__REQUEST__BODY_JOB_OPEN:
        return r->job_open->collection;
    default:
        return NULL;
    }
}

static bool little_endian(void)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
}

int message_vector_get(const ProtobufCBinaryData *b, float *out, uint32_t dim)
{
    if (b->len != 4 * (size_t)dim)
        return LT_EDIM;
    if (!dim) /* then there may be no data either */
        return 0;
    struct bytes_in in = bytes_in(b->data, b->len);
    if (little_endian())
        memcpy(out, b->data, b->len);
    else
        for (uint32_t i = 0; i < dim; i++)
            out[i] = bytes_f32(&in);
    return 0;
}

uint8_t *message_vector_view(struct pool *p, const float *v, uint32_t dim)
{
    if (little_endian())
        return (uint8_t *)(uintptr_t)v;
    uint8_t *out = pool_alloc(p, 4 * (size_t)dim);
    for (uint32_t i = 0; out && i < dim; i++) {
        uint32_t u;
        memcpy(&u, &v[i], 4);
        for (int j = 0; j < 4; j++)
            out[4 * i + (uint32_t)j] = (uint8_t)(u >> (8 * j));
    }
    return out;
}
