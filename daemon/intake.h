/* Room for frames that are being received, of all connections together: a client says how long its frame is before it sends it, so that room for
 * all of it is taken first, in the order in which it was asked for. What has no room waits, unread, in its client and the kernel. A frame longer
 * than all there is comes in when no other is under way.
 *
 * Small frames (INTAKE_FREE) need none: questions never wait behind documents.
 *
 * A client that has room and does not use it, while others wait for it, is late: see intake_late.
 * Thread-safety: unsafe; the loop thread's. */
#ifndef DAEMON_INTAKE_H
#define DAEMON_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTAKE_FREE (16u << 10)
/* While others wait: milliseconds for a frame, and the bytes of it that must have come in each further one. */
#define INTAKE_PATIENCE_MS 30000u
#define INTAKE_BYTES_PER_MS 16u

/* One connection's place. A zeroed one has no room and waits for none. */
struct intake_place {
    struct intake_place *next, **link; /* of those that have room, or wait for it */
    size_t bytes;      /* had or waited for; 0: neither */
    size_t got;        /* of them received: the owner's figure */
    bool waits;
    uint64_t since_ms; /* when room was given */
};

/* A zeroed one is empty. */
struct intake {
    size_t limit; /* bytes; may change at any time */
    size_t taken;
    struct intake_place *holders, *waiters;
};

/* True: there is room from now on until intake_leave. False: p waits, and intake_next will return it. p is empty before. */
bool intake_enter(struct intake *in, struct intake_place *p, size_t bytes, uint64_t now_ms);
/* Gives back the room, or stops waiting; nothing where p is empty. Whoever calls it looks whether intake_next has one now. */
void intake_leave(struct intake *in, struct intake_place *p);
/* The first that waited and has got room just now; NULL: there is none, or no room. */
struct intake_place *intake_next(struct intake *in, uint64_t now_ms);
/* One that has had room for longer than what came of its frame allows, while others wait; NULL: none. */
struct intake_place *intake_late(const struct intake *in, uint64_t now_ms);

#endif
