#include "base/unix_addr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/paths.h"

int unix_addr_init(struct unix_addr *a, const char *path, struct err_msg *em)
{
    char folder[PATHS_MAX];
    const size_t len = strlen(path), room = sizeof a->addr.sun_path;
    const char *slash = strrchr(path, '/');
    if (!len || len >= sizeof folder)
        return err_set(em, LT_EINVAL, "'%.200s' is no path for a socket", path);
    *a = (struct unix_addr){.addr.sun_family = AF_UNIX, .folder = -1};
    if (len < room) {
        memcpy(a->addr.sun_path, path, len + 1);
        return 0;
    }
    const char *name = slash ? slash + 1 : path;
    if (strlen(name) + sizeof "/proc/self/fd/2147483647/" > room)
        return err_set(em, LT_EINVAL, "%.200s: too long a name for a socket", path);
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    a->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (a->folder < 0)
        return err_set(em, err_from_errno(errno), "%.300s: %s", folder, strerror(errno));
    snprintf(a->addr.sun_path, room, "/proc/self/fd/%d/%s", a->folder, name);
    return 0;
}

void unix_addr_finish(struct unix_addr *a)
{
    if (a->folder >= 0)
        close(a->folder);
    a->folder = -1;
}
