/* The address of a Unix socket by its path, of any length.
 *
 * The system takes 107 bytes. A longer path is reached through its folder, which is opened and named /proc/self/fd/N, so that only the
 * socket's own name has to be short.
 * Thread-safety: safe. */
#ifndef BASE_UNIX_ADDR_H
#define BASE_UNIX_ADDR_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

struct unix_addr {
    struct sockaddr_un addr;
    int folder; /* open while the address is used; -1: not needed */
};

/* Errors: LT_EINVAL: no path, or the socket's own name is too long; the errno's code: the folder cannot be opened. Nothing is to be
 * finished then. */
int unix_addr_init(struct unix_addr *a, const char *path, struct err_msg *em);
void unix_addr_finish(struct unix_addr *a);

#endif
