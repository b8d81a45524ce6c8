/* The lock beside a Unix socket's file: of several processes that want one path, whatever their data folders, one alone looks at the file,
 * removes it, binds to it. It is the kernel's (flock), so that it goes with the process. Thread-safety: unsafe. */
#ifndef DAEMON_SOCKET_LOCK_H
#define DAEMON_SOCKET_LOCK_H

#include "base/err.h"

struct socket_lock;

/* Takes the lock of the socket at path, a file PATH.lock, made where it is missing, which is never written to.
 *
 * Blocks: no.
 * Errors: LT_ELOCKED: another process has it; LT_EEXIST: there is something else than a file; LT_EPERM, LT_ELIMIT, LT_ENOMEM, LT_EIO. */
int socket_lock_create(struct socket_lock **l, const char *path, struct err_msg *em);

/* Removes the file and gives the lock back; so the socket goes before. */
void socket_lock_destroy(struct socket_lock **l);

#endif
