/* Frames: u32 little-endian length, then that many bytes of message (PROTOCOL.md §3).
 *
 * An incremental parser: bytes in any portions, no sockets. A length over the limit is refused
 * before anything is allocated, and memory grows with the bytes that have come, not with the
 * length that was claimed.
 * Thread-safety: unsafe. */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "proto/maxima.h"

struct frame_reader {
    uint32_t max;     /* bytes of message; 0: PROTO_FRAME_MAX */
    uint8_t header[PROTO_FRAME_HEADER_BYTES];
    uint32_t n_header;
    uint32_t need;    /* bytes of the message at hand */
    struct bytes_out body;
    bool complete;    /* the frame at hand was given out; the next byte starts another */
};

void frame_reader_finish(struct frame_reader *r);

/* Consumes bytes of `in` up to the end of the frame at hand.
 *
 * data, len  set when it returns 1; borrowed until the next call on r
 *
 * Returns 1: a frame is complete (bytes of the next may be left in `in`); 0: all bytes consumed,
 * more are needed.
 * Errors: LT_EPROTO (length 0), LT_ELIMIT (over max), LT_ENOMEM: close the connection. */
int frame_next(struct frame_reader *r, struct bytes_in *in, const uint8_t **data, size_t *len,
               struct err_msg *em);

/* After frame_next returned 1: the frame's bytes, which are the caller's now (free with bytes_out_finish). */
struct bytes_out frame_take(struct frame_reader *r);

/* Bytes held for a frame that has not come in full; 0 between frames. */
size_t frame_pending(const struct frame_reader *r);
/* Bytes of message of the frame at hand, once its length has come; 0 between frames. */
size_t frame_need(const struct frame_reader *r);

/* Appends header and message. Errors: LT_ELIMIT (0 or over PROTO_FRAME_MAX), LT_ENOMEM. */
int frame_put(struct bytes_out *out, const void *data, size_t len);

#endif
