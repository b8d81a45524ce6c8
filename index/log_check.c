#include "index/log_check.h"

#include <string.h>

#define HEADER 32u
#define FRAME 24u /* before each page */
#define MAGIC 0x377f0682u /* the last bit: checksums over big-endian words */
#define PAGE_MIN 512u
#define PAGE_MAX 65536u

struct sum {
    uint32_t a, b;
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* n is a multiple of 8. */
static struct sum sum_on(struct sum s, const uint8_t *p, size_t n, bool big)
{
    for (size_t i = 0; i < n; i += 8) {
        s.a += (big ? be32(p + i) : le32(p + i)) + s.b;
        s.b += (big ? be32(p + i + 4) : le32(p + i + 4)) + s.a;
    }
    return s;
}

static struct sum stored(const uint8_t *p)
{
    return (struct sum){be32(p), be32(p + 4)};
}

static bool same(struct sum x, struct sum y)
{
    return x.a == y.a && x.b == y.b;
}

struct log {
    const uint8_t *data;
    size_t size; /* of a frame */
    size_t n;    /* whole frames */
    uint8_t salts[8];
    bool big;
};

static const uint8_t *frame(const struct log *l, size_t i)
{
    return l->data + HEADER + i * l->size;
}

/* Whether frame i goes on from the sum before it. */
static bool follows(const struct log *l, size_t i, struct sum before)
{
    const uint8_t *f = frame(l, i);
    struct sum s = sum_on(sum_on(before, f, 8, l->big), f + FRAME, l->size - FRAME, l->big);
    return memcmp(f + 8, l->salts, 8) == 0 && same(s, stored(f + 16));
}

static bool is_commit(const struct log *l, size_t i)
{
    return be32(frame(l, i) + 4) != 0;
}

/* Looks behind the broken frame b, which should have gone on from the sum before it, for frames that fit each other; true: a commit
 * among them has a successor. */
static bool goes_on(const struct log *l, size_t b, struct sum before, uint64_t *n_lost)
{
    bool proven = false, committed = memcmp(frame(l, b) + 8, l->salts, 8) == 0 && is_commit(l, b);
    const struct sum own = sum_on(sum_on(before, frame(l, b), 8, l->big), frame(l, b) + FRAME, l->size - FRAME, l->big);
    *n_lost = committed;
    for (size_t i = b + 1; i < l->n; i++) {
        /* Perhaps the broken frame's stored sum is all that is broken. */
        if (follows(l, i, stored(frame(l, i - 1) + 16)) || (i == b + 1 && follows(l, i, own))) {
            proven = proven || committed;
            committed = is_commit(l, i);
            *n_lost += committed;
        } else {
            committed = false; /* more damage, or left from before the log was last taken up */
        }
    }
    return proven;
}

bool log_check(const uint8_t *data, size_t len, struct log_report *rep)
{
    if (len < HEADER || (be32(data) & ~1u) != MAGIC)
        return false;
    const size_t page = be32(data + 8);
    if (page < PAGE_MIN || page > PAGE_MAX || (page & (page - 1)))
        return false;
    struct log l = {.data = data, .size = page + FRAME, .n = (len - HEADER) / (page + FRAME), .big = be32(data) & 1};
    struct sum s = stored(data + 24);
    const bool sound = same(sum_on((struct sum){0, 0}, data, 24, l.big), s);
    if (!l.n)
        return false;
    memcpy(l.salts, sound ? data + 16 : frame(&l, 0) + 8, 8);
    size_t b = 0;
    while (sound && b < l.n && follows(&l, b, s))
        s = stored(frame(&l, b++) + 16);
    if (b == l.n || !goes_on(&l, b, s, &rep->n_lost))
        return false;
    rep->at = sound ? HEADER + (uint64_t)b * l.size : 0;
    return true;
}
