#include "daemon/socket_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/paths.h"

/* Each try loses against a process that gave the lock back in that very moment. */
#define TRIES 100

struct socket_lock {
    int fd;
    char path[PATHS_MAX + 8];
};

/* One try: 1: the file was removed between its opening and its locking, so that another may have the lock of a new one. */
static int take(struct socket_lock *l, const char *socket_path, struct err_msg *em)
{
    struct stat st, there;
    l->fd = open(l->path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (l->fd < 0 || fstat(l->fd, &st) < 0)
        return err_set(em, err_from_errno(errno), "%.300s: %s", l->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(em, LT_EEXIST, "%.300s is there and is not a file", l->path);
    if (flock(l->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return err_set(em, LT_ELOCKED, "%.300s: another process is about to serve there, or just ends, or serves there while its socket was removed", socket_path);
        return err_set(em, err_from_errno(errno), "%.300s: cannot lock: %s", l->path, strerror(errno));
    }
    return lstat(l->path, &there) < 0 || there.st_dev != st.st_dev || there.st_ino != st.st_ino;
}

int socket_lock_create(struct socket_lock **out, const char *path, struct err_msg *em)
{
    int r = 1;
    struct socket_lock *l = malloc(sizeof *l);
    if (!l)
        return err_set(em, LT_ENOMEM, "out of memory");
    if (snprintf(l->path, sizeof l->path, "%s.lock", path) >= (int)sizeof l->path) {
        free(l);
        return err_set(em, LT_ELIMIT, "%.200s: too long a path for a socket", path);
    }
    for (int i = 0; i < TRIES && r == 1; i++) {
        r = take(l, path, em);
        if (r != 0 && l->fd >= 0)
            close(l->fd);
    }
    if (r == 0) {
        *out = l;
        return 0;
    }
    free(l);
    return r < 0 ? r : err_set(em, LT_ELOCKED, "%.300s: other processes come and go there", path);
}

void socket_lock_destroy(struct socket_lock **lp)
{
    struct socket_lock *l = *lp;
    if (!l)
        return;
    unlink(l->path);
    close(l->fd);
    free(l);
    *lp = NULL;
}
