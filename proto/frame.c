#include "proto/frame.h"

/* A body buffer larger than this is given back after its frame, so that an idle connection that
 * once carried a large message holds little. */
#define KEEP_BYTES (256u << 10)

void frame_reader_finish(struct frame_reader *r)
{
    bytes_out_finish(&r->body);
    *r = (struct frame_reader){.max = r->max};
}

static int read_header(struct frame_reader *r, struct bytes_in *in, struct err_msg *em)
{
    while (r->n_header < PROTO_FRAME_HEADER_BYTES && bytes_left(in))
        r->header[r->n_header++] = bytes_u8(in);
    if (r->n_header < PROTO_FRAME_HEADER_BYTES)
        return 0;
    struct bytes_in h = bytes_in(r->header, sizeof r->header);
    r->need = bytes_u32(&h);
    uint32_t max = r->max ? r->max : PROTO_FRAME_MAX;
    if (!r->need)
        return err_set(em, LT_EPROTO, "a frame of no bytes");
    if (r->need > max)
        return err_set(em, LT_ELIMIT, "a frame of %u bytes; at most %u are taken", r->need, max);
    return 1;
}

int frame_next(struct frame_reader *r, struct bytes_in *in, const uint8_t **data, size_t *len,
               struct err_msg *em)
{
    if (r->complete) {
        r->complete = false;
        r->n_header = 0;
        r->body.len = 0;
        if (r->body.cap > KEEP_BYTES)
            bytes_out_finish(&r->body);
    }
    if (r->n_header < PROTO_FRAME_HEADER_BYTES) {
        int got = read_header(r, in, em);
        if (got <= 0)
            return got;
    }
    size_t missing = r->need - r->body.len, left = bytes_left(in);
    size_t n = missing < left ? missing : left;
    const uint8_t *p = bytes_take(in, n);
    if (n)
        bytes_put(&r->body, p, n);
    if (r->body.bad)
        return err_set(em, LT_ENOMEM, "no memory for a frame of %u bytes", r->need);
    if (r->body.len < r->need)
        return 0;
    r->complete = true;
    *data = r->body.data;
    *len = r->body.len;
    return 1;
}

struct bytes_out frame_take(struct frame_reader *r)
{
    struct bytes_out body = r->body;
    r->body = (struct bytes_out){0};
    return body;
}

size_t frame_pending(const struct frame_reader *r)
{
    return r->complete ? 0 : r->n_header + r->body.len;
}

size_t frame_need(const struct frame_reader *r)
{
    return r->complete || r->n_header < PROTO_FRAME_HEADER_BYTES ? 0 : r->need;
}

int frame_put(struct bytes_out *out, const void *data, size_t len)
{
    if (!len || len > PROTO_FRAME_MAX)
        return LT_ELIMIT;
    bytes_put_u32(out, (uint32_t)len);
    bytes_put(out, data, len);
    return out->bad ? LT_ENOMEM : 0;
}
