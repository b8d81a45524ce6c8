/* Sockets to listen on: the Unix socket's file, TCP, or what systemd passes in. Thread-safety: unsafe. */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "daemon/access.h"
#include "daemon/settings.h"
#include "daemon/socket_lock.h"

#define LISTEN_MAX 16

struct listen_sockets {
    struct {
        int fd; /* bound, not yet listening */
        bool tcp;
        char name[160]; /* for the log: path, or address and port */
    } list[LISTEN_MAX];
    unsigned n;
    struct socket_lock *lock; /* of the Unix socket made here, as long as there is its file; NULL: none */
    char *path; /* of the Unix socket made here, to be removed at the end; NULL: none */
    char passed[sizeof((struct sockaddr_un *)0)->sun_path + 1]; /* path of a Unix socket that systemd passed in; empty: none, or it has no path */
    dev_t dev;
    ino_t ino;
};

/* Opens what the settings ask for. A kind of socket that systemd passed in is not opened again.
 *
 * A socket file that nobody answers on is removed first; its folder is created with mode 0700.
 * Errors: LT_ELOCKED: someone serves there, the message has the pid; LT_EPERM, LT_EINVAL, LT_EIO, LT_ELIMIT. */
int listen_open(struct listen_sockets *ls, const struct settings *s, const struct access_users *users,
                struct err_msg *em);

/* Writes the Unix socket's path into the data folder's lock, for who finds it taken. */
void listen_tell(const struct listen_sockets *ls, int lock_fd);

/* Closes descriptors that are still in the list (fd >= 0) and removes the socket file, if it is still ours. */
void listen_close(struct listen_sockets *ls);

#endif
