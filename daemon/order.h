/* The order of changes: those of one connection reach the writer in the order in which they were sent, though some are
 * prepared by other threads for longer than others.
 *
 * Each change takes its place when it arrives. It goes to the writer when every place before it has gone or was given up.
 * Thread-safety: safe; order_enter on one thread at a time. */
#ifndef DAEMON_ORDER_H
#define DAEMON_ORDER_H

#include "daemon/writer.h"

struct order;

/* Embedded in a request, which must not be freed before its place has gone or was given up. */
struct order_place {
    struct order *order; /* NULL: none was taken, or it has gone */
    struct writer_op *op; /* ready to go; NULL: not yet */
    struct order_place *next;
};

/* NULL when memory is short. One reference is the caller's, each place holds another. */
struct order *order_create(void);
void order_unref(struct order **o);

/* Takes the next place. */
void order_enter(struct order *o, struct order_place *p);

/* Gives the op to the writer when its turn comes; at once for a place that was never taken. */
void order_submit(struct order_place *p, struct writer *w, struct writer_op *op);

/* No op will come. Fine for a place that was never taken or has gone. */
void order_leave(struct order_place *p);

#endif
