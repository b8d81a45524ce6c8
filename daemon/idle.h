/* The end of a daemon that nobody uses: `idle-exit` seconds after its last connection has gone, or after its start where none came.
 *
 * What was acknowledged is durable by then. While texts wait to be embedded, or graphs to be brought up to date, it stays for that as long
 * as nothing stands in its way. Loop thread only.
 * Thread-safety: unsafe. */
#ifndef DAEMON_IDLE_H
#define DAEMON_IDLE_H

#include <stdbool.h>

#include <uv.h>

struct core;

struct idle {
    struct core *core;
    uv_timer_t timer;
    bool looked; /* at the sockets, since the time is up */
    uint64_t work;       /* left at the last look */
    uint64_t changed_ns; /* and since when it is that */
};

/* Begins to watch. */
void idle_init(struct idle *d, struct core *c);
/* So many connections are open now. */
void idle_connections(struct idle *d, unsigned n);
/* Closes the handle; the loop must run once more before the memory goes. */
void idle_close(struct idle *d);

#endif
