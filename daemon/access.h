/* Who may do what: the authorized-keys file, read again when it changes, and what its keys were granted.
 *
 * A grant lives as long as someone holds it, so that a request goes on under the rights it came with while the file
 * changes; a connection looks its key up again after a change.
 * Thread-safety: struct access unsafe (loop thread); a grant's entry may be read by any thread. */
#ifndef DAEMON_ACCESS_H
#define DAEMON_ACCESS_H

#include <stdatomic.h>

#include "base/err.h"
#include "proto/keys.h"

struct grant {
    atomic_uint refs;
    struct key_entry entry;
    struct key_rate rate; /* loop thread */
};
struct grant *grant_ref(struct grant *g);
void grant_unref(struct grant **g);

struct access;

/* Reads the file. A file that is missing grants nothing. */
int access_create(struct access **a, const char *path, struct err_msg *em);
void access_destroy(struct access **a);

/* Grows by one with every change of the file. A file that has become unreadable or
 * malformed grants nothing until it is right again, and the log says why. */
unsigned access_generation(struct access *a);

/* The grant of a key, referenced for the caller; NULL: it has none. */
struct grant *access_find(struct access *a, const uint8_t public[static KEY_BYTES]);
/* What a client is told whose key has none. What is wrong with the file is for the log alone. */
const char *access_why_none(const struct access *a);

/* May the user at the other end of a Unix socket come in? Ourselves, root, and those that are named. */
struct access_users {
    unsigned *uids;
    size_t n;
    unsigned group;
    bool has_group;
};
/* users, group: from the settings; NULL: none. Errors: LT_ENOTFOUND: no such user or group, named. */
int access_users_init(struct access_users *u, const char *users, const char *group, struct err_msg *em);
void access_users_finish(struct access_users *u);
enum access_peer {
    ACCESS_NO,
    ACCESS_YES,
    ACCESS_ASK, /* if the user's account belongs to the group: its process does not (daemon/members.h) */
};
/* fd: a connected Unix socket; *uid says who it is. Never asks for accounts. */
enum access_peer access_peer(const struct access_users *u, int fd, unsigned *uid);

#endif
