/* Bounded bytes: a cursor that reads untrusted bytes, and a growable buffer that writes them.
 *
 * The cursor never reads past its end: a read that would sets `bad`, returns zero or NULL, and so
 * does every later read, so a parser may read a whole header and test `bad` once before it acts
 * on any value.
 * Thread-safety: unsafe. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes_in {
    const uint8_t *p;   /* next byte */
    const uint8_t *end; /* one past the last */
    const uint8_t *start;
    bool bad;
};

static inline struct bytes_in bytes_in(const void *data, size_t len)
{
    const uint8_t *p = data;
    return (struct bytes_in){p, p + len, p, false};
}

static inline size_t bytes_left(const struct bytes_in *b)
{
    return b->bad ? 0 : (size_t)(b->end - b->p);
}

/* Bytes consumed so far: the offset to name in an error. */
static inline size_t bytes_pos(const struct bytes_in *b)
{
    return (size_t)(b->p - b->start);
}

/* Borrows n bytes (valid as long as the input); NULL and `bad` when fewer are left. */
const uint8_t *bytes_take(struct bytes_in *b, size_t n);
/* Skips to the next multiple of align (a power of two) from the start. */
void bytes_align(struct bytes_in *b, size_t align);

/* Little-endian fixed width. */
uint8_t bytes_u8(struct bytes_in *b);
uint16_t bytes_u16(struct bytes_in *b);
uint32_t bytes_u32(struct bytes_in *b);
uint64_t bytes_u64(struct bytes_in *b);
float bytes_f32(struct bytes_in *b);
double bytes_f64(struct bytes_in *b);

/* A growable buffer. A failed allocation or growth past max sets `bad`; later writes do nothing. */
struct bytes_out {
    uint8_t *data; /* owned */
    size_t len, cap;
    size_t max; /* bytes; 0: no limit */
    bool bad;
};

void bytes_out_finish(struct bytes_out *b);
/* Room for n more bytes at the end, uninitialised and counted in len; NULL and `bad` on failure. */
uint8_t *bytes_room(struct bytes_out *b, size_t n);
void bytes_put(struct bytes_out *b, const void *data, size_t n);
void bytes_put_str(struct bytes_out *b, const char *s);
void bytes_printf(struct bytes_out *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bytes_put_u8(struct bytes_out *b, uint8_t v);
void bytes_put_u16(struct bytes_out *b, uint16_t v);
void bytes_put_u32(struct bytes_out *b, uint32_t v);
void bytes_put_u64(struct bytes_out *b, uint64_t v);
void bytes_put_f32(struct bytes_out *b, float v);
void bytes_put_f64(struct bytes_out *b, double v);

/* a * b, a + b without wrapping: false when the result does not fit. */
static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
