/* From a message to its handler. Loop thread only. Thread-safety: unsafe. */
#ifndef DAEMON_DISPATCH_H
#define DAEMON_DISPATCH_H

#include <stddef.h>
#include <stdint.h>

struct conn;

/* Takes one message: unpacks it (a large one on another thread, while c->unpacking is set), checks rights, rate and limits,
 * and starts its handler or answers with an error. */
void dispatch_frame(struct conn *c, const uint8_t *data, size_t len);

/* Sends an error reply. text NULL: the code's own. */
void dispatch_send_error(struct conn *c, uint64_t id, int code, const char *text);

#endif
