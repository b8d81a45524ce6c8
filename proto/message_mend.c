/* Strings of a message that are no UTF-8: a path of the machine's, a name cut to fit into an error's words. No client could read
 * the message with them. */
#include <string.h>

#include "base/utf8.h"
#include "proto/message.h"

static const char stand_in[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* The next malformed place at or behind s, and where the text goes on behind it; NULL: there is none. */
static const char *malformed(const char *s, const char **behind)
{
    const size_t at = utf8_check(s, strlen(s));
    if (at == UTF8_VALID)
        return NULL;
    *behind = s + at + 1;
    while ((**behind & 0xC0) == 0x80) /* of the same character, as far as it came */
        ++*behind;
    return s + at;
}

static char *mended(const char *s, struct pool *p)
{
    const char *from = s, *bad, *behind;
    size_t n = 0, len = 0;
    for (; (bad = malformed(from, &behind)); from = behind)
        n++;
    if (!n)
        return (char *)(uintptr_t)s;
    char *out = pool_alloc(p, strlen(s) + n * (sizeof stand_in - 1) + 1);
    if (!out)
        return (char *)(uintptr_t)"";
    for (from = s; (bad = malformed(from, &behind)); from = behind) {
        memcpy(out + len, from, (size_t)(bad - from));
        len += (size_t)(bad - from);
        memcpy(out + len, stand_in, sizeof stand_in - 1);
        len += sizeof stand_in - 1;
    }
    strcpy(out + len, from);
    return out;
}

static void mend_field(const ProtobufCFieldDescriptor *f, void *value, struct pool *p)
{
    if (f->type == PROTOBUF_C_TYPE_STRING && *(char **)value) /* NULL: protobuf-c's other way to write an empty one */
        *(char **)value = mended(*(char **)value, p);
    else if (f->type == PROTOBUF_C_TYPE_MESSAGE && *(ProtobufCMessage **)value)
        message_mend(*(ProtobufCMessage **)value, p);
}

void message_mend(ProtobufCMessage *m, struct pool *p)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        char *value = (char *)m + f->offset, *quantifier = (char *)m + f->quantifier_offset;
        if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            void **list = *(void ***)value;
            for (size_t k = 0, n = *(size_t *)quantifier; k < n; k++)
                mend_field(f, &list[k], p);
        } else if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(uint32_t *)quantifier == f->id) {
            mend_field(f, value, p);
        }
    }
}
