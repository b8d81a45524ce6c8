/* The scan that stands before protobuf-c.
 *
 * protobuf-c allocates as it goes and is lenient where a peer could make use of it: fields
 * repeated at will, messages merged into each other, strings cut at a NUL. The scan walks the
 * bytes against the schema and passes only what every encoder writes; it allocates nothing but
 * the places of NULs. It recurses once per message level, at most PROTO_MESSAGE_DEPTH. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "proto/message.h"

#define MAX_KNOWN 64 /* fields of one message type; the largest has 23 */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

struct scan {
    uint32_t n_fields; /* so far, all levels */
    uint64_t *id;      /* where the top message's field 1 goes */
    bool strict_enums;
    struct message_nul **nuls; /* where the next one goes; NULL: there may be none */
    struct pool *pool;         /* for them */
    struct err_msg *em;
};

/* Where the scan is, for errors: the field's name (NULL at the top), its index when repeated. */
struct place {
    const struct place *up;
    const char *name;
    uint32_t index;
    bool repeated;
};

static size_t place_text(const struct place *at, char *out, size_t size)
{
    size_t n = at->up ? place_text(at->up, out, size) : 0;
    if (!at->name || n >= size)
        return n;
    int k = at->repeated ? snprintf(out + n, size - n, "%s%s[%u]", n ? "." : "", at->name, at->index)
                         : snprintf(out + n, size - n, "%s%s", n ? "." : "", at->name);
    return k < 0 || (size_t)k >= size - n ? size - 1 : n + (size_t)k;
}

static int refuse(const struct scan *s, const struct place *at, int code, const char *what)
{
    char path[160] = "";
    place_text(at, path, sizeof path);
    return err_set(s->em, code, "%s: %s", path[0] ? path : "message", what);
}

/* At most 10 bytes, and at most 64 bits. */
static bool varint(struct bytes_in *in, uint64_t *v)
{
    *v = 0;
    for (unsigned i = 0; i < 10; i++) {
        uint8_t b = bytes_u8(in);
        if (in->bad || (i == 9 && b > 1))
            return false;
        *v |= (uint64_t)(b & 0x7F) << (7 * i);
        if (!(b & 0x80))
            return true;
    }
    return false;
}

/* Lengths and tags: at most 5 bytes, at most 32 bits. */
static bool varint32(struct bytes_in *in, uint32_t *v)
{
    size_t start = bytes_pos(in);
    uint64_t w;
    if (!varint(in, &w) || bytes_pos(in) - start > 5 || w > UINT32_MAX)
        return false;
    *v = (uint32_t)w;
    return true;
}

static enum wire wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LEN;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    default:
        return WIRE_VARINT;
    }
}

/* Documents and inputs to embed, elements of their requests, and texts to rerank answer for themselves one by one: LT_EUTF8 is an item's
 * error there. */
static bool utf8_per_item(const ProtobufCMessageDescriptor *type, const struct place *at)
{
    return type == &latent__v1__document__descriptor || type == &latent__v1__embed_input__descriptor ||
           (type == &latent__v1__rerank_request__descriptor && at->repeated);
}

static int keep_nul(struct scan *s, const struct place *at, size_t offset)
{
    struct message_nul *n = pool_alloc(s->pool, sizeof *n);
    if (!n)
        return refuse(s, at, LT_ENOMEM, err_text(LT_ENOMEM));
    *n = (struct message_nul){.index = at->repeated ? at->index : at->up->index, .at = (uint32_t)offset, .field = at->name};
    *s->nuls = n;
    s->nuls = &n->next;
    return 0;
}

static int check_string(struct scan *s, const ProtobufCMessageDescriptor *type, const struct place *at,
                        const uint8_t *p, size_t len)
{
    const uint8_t *nul = memchr(p, 0, len);
    char what[64];
    if (nul && s->nuls && utf8_per_item(type, at))
        return keep_nul(s, at, (size_t)(nul - p));
    if (nul) {
        snprintf(what, sizeof what, "a NUL byte at offset %zu", (size_t)(nul - p));
        return refuse(s, at, LT_EUTF8, what);
    }
    size_t bad = utf8_per_item(type, at) ? UTF8_VALID : utf8_check((const char *)p, len);
    if (bad == UTF8_VALID)
        return 0;
    snprintf(what, sizeof what, "not valid UTF-8 at byte %zu", bad);
    return refuse(s, at, LT_EUTF8, what);
}

static int check_packed(struct scan *s, const ProtobufCFieldDescriptor *f, const struct place *at,
                        const uint8_t *p, size_t len)
{
    enum wire w = wire_of(f->type);
    if (w == WIRE_32 || w == WIRE_64)
        return len % (w == WIRE_32 ? 4 : 8) ? refuse(s, at, LT_EFORMAT, "packed values cut short") : 0;
    struct bytes_in in = bytes_in(p, len);
    uint64_t v;
    while (bytes_left(&in))
        if (!varint(&in, &v))
            return refuse(s, at, LT_EFORMAT, "a malformed number");
    return 0;
}

static int check_message(struct scan *s, const ProtobufCMessageDescriptor *type, struct bytes_in in,
                         const struct place *at, unsigned depth);

static int check_len_field(struct scan *s, const ProtobufCMessageDescriptor *type,
                           const ProtobufCFieldDescriptor *f, const struct place *at,
                           const uint8_t *p, uint32_t len, unsigned depth)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return check_message(s, f->descriptor, bytes_in(p, len), at, depth + 1);
    case PROTOBUF_C_TYPE_STRING:
        return check_string(s, type, at, p, len);
    case PROTOBUF_C_TYPE_BYTES:
        return 0;
    default:
        return check_packed(s, f, at, p, len);
    }
}

static int check_varint_field(struct scan *s, const ProtobufCFieldDescriptor *f, const struct place *at,
                              uint64_t v)
{
    if (f->type != PROTOBUF_C_TYPE_ENUM || !s->strict_enums)
        return 0;
    if (v > INT32_MAX || !protobuf_c_enum_descriptor_get_value(f->descriptor, (int)v)) {
        char what[48];
        snprintf(what, sizeof what, "unknown value %" PRIu64, v);
        return refuse(s, at, LT_EINVAL, what);
    }
    return 0;
}

/* One field's value; f NULL: a field this version does not know, which is passed over. */
static int check_value(struct scan *s, const ProtobufCMessageDescriptor *type,
                       const ProtobufCFieldDescriptor *f, enum wire wire, struct bytes_in *in,
                       const struct place *at, unsigned depth)
{
    uint64_t v = 0;
    uint32_t len;
    const uint8_t *p;
    switch (wire) {
    case WIRE_VARINT:
        if (!varint(in, &v))
            return refuse(s, at, LT_EFORMAT, "a malformed number");
        if (f && s->id && depth == 0 && f->id == 1)
            *s->id = v;
        return f ? check_varint_field(s, f, at, v) : 0;
    case WIRE_32:
    case WIRE_64:
        if (!bytes_take(in, wire == WIRE_32 ? 4 : 8))
            return refuse(s, at, LT_EFORMAT, "cut short");
        return 0;
    case WIRE_LEN:
        if (!varint32(in, &len) || !(p = bytes_take(in, len)))
            return refuse(s, at, LT_EFORMAT, "longer than the message that holds it");
        return f ? check_len_field(s, type, f, at, p, len, depth) : 0;
    default:
        return refuse(s, at, LT_EFORMAT, "a wire type that is not in use");
    }
}

struct seen {
    uint32_t count[MAX_KNOWN];
    uint32_t n_unknown;
    bool oneof;
};

static int check_count(const struct scan *s, const ProtobufCMessageDescriptor *type,
                       const ProtobufCFieldDescriptor *f, struct seen *seen, const struct place *at)
{
    if (!f)
        return ++seen->n_unknown > PROTO_MESSAGE_UNKNOWN
                   ? refuse(s, at, LT_ELIMIT, "too many unknown fields") : 0;
    uint32_t n = ++seen->count[f - type->fields];
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return n > PROTO_MESSAGE_REPEATED ? refuse(s, at, LT_ELIMIT, "too many elements") : 0;
    bool again = n > 1 || ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && seen->oneof);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        seen->oneof = true;
    return again ? refuse(s, at, LT_EFORMAT, "given twice") : 0;
}

static int check_message(struct scan *s, const ProtobufCMessageDescriptor *type, struct bytes_in in,
                         const struct place *at, unsigned depth)
{
    struct seen seen = {.n_unknown = 0};
    assert(type->n_fields <= MAX_KNOWN);
    if (depth > PROTO_MESSAGE_DEPTH)
        return refuse(s, at, LT_ELIMIT, "messages nested too deeply");
    while (bytes_left(&in)) {
        uint32_t tag;
        if (!varint32(&in, &tag) || tag >> 3 == 0)
            return refuse(s, at, LT_EFORMAT, "a malformed field number");
        if (++s->n_fields > PROTO_MESSAGE_FIELDS)
            return refuse(s, at, LT_ELIMIT, "too many fields");
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(type, tag >> 3);
        enum wire wire = tag & 7;
        struct place here = {.up = at, .name = f ? f->name : "unknown field"};
        if (f && f->label == PROTOBUF_C_LABEL_REPEATED) {
            here.repeated = true;
            here.index = seen.count[f - type->fields];
        }
        bool packed = here.repeated && wire == WIRE_LEN && wire_of(f->type) != WIRE_LEN;
        if (f && wire != wire_of(f->type) && !packed)
            return refuse(s, &here, LT_EFORMAT, "of another type");
        int r = check_count(s, type, f, &seen, &here);
        if (r == 0)
            r = check_value(s, type, f, wire, &in, &here, depth);
        if (r < 0)
            return r;
    }
    return 0;
}

int message_check(struct pool *p, const ProtobufCMessageDescriptor *type, const void *data, size_t len,
                  struct message_nul **nuls, uint64_t *id, struct err_msg *em)
{
    struct scan s = {.id = id, .em = em, .strict_enums = type == &latent__v1__request__descriptor, .nuls = nuls, .pool = p};
    struct place top = {0};
    if (nuls)
        *nuls = NULL;
    if (id)
        *id = 0;
    if (len > PROTO_FRAME_MAX)
        return refuse(&s, &top, LT_ELIMIT, "too long");
    return check_message(&s, type, bytes_in(data, len), &top, 0);
}
