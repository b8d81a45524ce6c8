#include "daemon/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/port.h"
#include "base/unix_addr.h"
#include "daemon/systemd.h"
#include "index/index.h"

static int add(struct listen_sockets *ls, int fd, bool tcp, const char *name)
{
    if (ls->n == LISTEN_MAX)
        return LT_ELIMIT;
    ls->list[ls->n].fd = fd;
    ls->list[ls->n].tcp = tcp;
    snprintf(ls->list[ls->n].name, sizeof ls->list[ls->n].name, "%s", name);
    ls->n++;
    return 0;
}

static void tcp_name(int fd, char *out, size_t size)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    char host[96] = "?", port[16] = "?";
    if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* Clients can come to it: not so a file, a datagrams' socket, or one that does not listen. */
static bool takes_clients(int fd, sa_family_t family)
{
    int type = 0, listens = 0;
    socklen_t a = sizeof type, b = sizeof listens;
    return (family == AF_INET || family == AF_INET6 || family == AF_UNIX) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &a) == 0 &&
           type == SOCK_STREAM && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &b) == 0 && listens;
}

static int take_passed(struct listen_sockets *ls, bool *have_unix, bool *have_tcp)
{
    int n = systemd_sockets();
    for (int i = 0; i < n; i++) {
        int fd = SYSTEMD_FIRST_FD + i;
        struct sockaddr_storage addr = {0};
        socklen_t len = sizeof addr;
        char name[160] = "a socket passed by systemd";
        if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 || !takes_clients(fd, addr.ss_family)) {
            log_warn("server", "descriptor %d, which was passed to serve on (LISTEN_FDS), is no stream socket that listens: it is left out", fd);
            continue;
        }
        const bool tcp = addr.ss_family != AF_UNIX;
        if (tcp)
            tcp_name(fd, name, sizeof name);
        else
            memcpy(ls->passed, ((struct sockaddr_un *)&addr)->sun_path, sizeof ls->passed - 1);
        if (add(ls, fd, tcp, name) < 0)
            return LT_ELIMIT;
        *(tcp ? have_tcp : have_unix) = true;
    }
    return 0;
}

/* LT_ELOCKED: someone serves at this address. 0: nobody. */
static int ask(const char *path, const struct sockaddr_un *addr, struct err_msg *em)
{
    struct ucred c = {0};
    socklen_t len = sizeof c;
    int r = 0, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(em, err_from_errno(errno), "socket: %s", strerror(errno));
    /* EAGAIN: its queue is full, so someone is there; who, is told to those that it takes. */
    if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0)
        r = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0 && c.pid > 0
                ? err_set(em, LT_ELOCKED, "another process (pid %d) serves on %.200s", (int)c.pid, path)
                : err_set(em, LT_ELOCKED, "another process serves on %.200s", path);
    else if (errno == EAGAIN || errno == EACCES)
        r = err_set(em, LT_ELOCKED, "another process serves on %.200s", path);
    close(fd);
    return r;
}

/* Removes a socket file that nobody answers on. Without the lock it could be another's that does not listen yet. */
static int clear_stale(const char *path, const struct sockaddr_un *addr, struct err_msg *em)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_set(em, err_from_errno(errno), "%.200s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(em, LT_EEXIST, "%.200s is there and is not a socket", path);
    int r = ask(path, addr, em);
    if (r < 0)
        return r;
    log_info("server", "%s: nobody serves there any more, it is made anew", path);
    while (fault("listen.stale"))
        usleep(10000);
    if (unlink(path) < 0 && errno != ENOENT)
        r = err_set(em, err_from_errno(errno), "%.200s: %s", path, strerror(errno));
    return r;
}

/* The folder of the socket: made if missing, and if it lies in /tmp nobody else's. */
static int prepare_folder(const char *path, struct err_msg *em)
{
    char dir[PATHS_MAX];
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir)
        return err_set(em, LT_ELIMIT, "%.200s: too long a path for a socket", path);
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return 0;
    *slash = '\0';
    struct err_msg why;
    int r = file_make_dirs(dir, 0700, &why);
    if (r < 0)
        return err_set(em, r, "cannot create the folder of the socket: %s", why.text);
    if ((r = paths_socket_ours(path)) < 0)
        return err_set(em, r, "%.200s must be a folder of yours that nobody else can write to", dir);
    return 0;
}

/* Binds a socket that is never open wider than it will be, not even for a moment. The descriptor, or an error. */
static int bind_unix(const char *path, const struct unix_addr *to, const struct access_users *users, struct stat *st, struct err_msg *em)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(em, err_from_errno(errno), "socket: %s", strerror(errno));
    mode_t old = umask(0177), mode = users->n ? 0666 : users->has_group ? 0660 : 0600;
    int bound = bind(fd, (const struct sockaddr *)&to->addr, sizeof to->addr);
    umask(old);
    if (bound == 0 && stat(path, st) == 0 && (!users->has_group || chown(path, (uid_t)-1, users->group) == 0) && chmod(path, mode) == 0)
        return fd;
    int r = err_set(em, err_from_errno(errno), "%.200s: %s", path, strerror(errno));
    close(fd);
    return r;
}

static int open_unix(struct listen_sockets *ls, const char *path, const struct access_users *users, struct err_msg *em)
{
    struct unix_addr to;
    struct stat st;
    int fd = -1, r = prepare_folder(path, em);
    if (r < 0 || (r = unix_addr_init(&to, path, em)) < 0)
        return r;
    if ((r = socket_lock_create(&ls->lock, path, em)) == LT_ELOCKED)
        ask(path, &to.addr, em); /* whoever answers has a name */
    if (r == 0 && (r = clear_stale(path, &to.addr, em)) == 0)
        r = fd = bind_unix(path, &to, users, &st, em);
    unix_addr_finish(&to);
    if (r < 0)
        return r;
    ls->dev = st.st_dev;
    ls->ino = st.st_ino;
    ls->path = strdup(path);
    return add(ls, fd, false, path);
}

static int open_tcp(struct listen_sockets *ls, const char *where, struct err_msg *em)
{
    char host[256];
    const char *colon = strrchr(where, ':');
    if (!colon || (size_t)(colon - where) >= sizeof host || !port_valid(colon + 1))
        return err_set(em, LT_EINVAL, "listen must be HOST:PORT, with a port up to 65535, not '%.100s'", where);
    snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
    char *name = host;
    size_t len = strlen(host);
    if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        name++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    int e = getaddrinfo(*name ? name : NULL, colon + 1, &hints, &list);
    if (e)
        return err_set(em, LT_EINVAL, "listen %.100s: %s", where, gai_strerror(e));
    int r = err_set(em, LT_EINVAL, "listen %.100s: no address", where);
    for (struct addrinfo *a = list; a && r < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) < 0) {
            r = err_set(em, errno == EADDRINUSE ? LT_ELOCKED : err_from_errno(errno), "listen %.100s: %s", where,
                        strerror(errno));
            if (fd >= 0)
                close(fd);
            continue;
        }
        char text[160];
        tcp_name(fd, text, sizeof text);
        r = add(ls, fd, true, text);
    }
    freeaddrinfo(list);
    return r;
}

int listen_open(struct listen_sockets *ls, const struct settings *s, const struct access_users *users,
                struct err_msg *em)
{
    bool have_unix = false, have_tcp = false;
    *ls = (struct listen_sockets){0};
    int r = take_passed(ls, &have_unix, &have_tcp);
    if (r < 0)
        return err_set(em, r, "more than %d sockets were passed in (LISTEN_FDS)", LISTEN_MAX);
    if (!have_unix)
        r = open_unix(ls, s->socket, users, em);
    if (r == 0 && s->listen && !have_tcp)
        r = open_tcp(ls, s->listen, em);
    if (r < 0)
        listen_close(ls);
    return r;
}

void listen_tell(const struct listen_sockets *ls, int lock_fd)
{
    char path[2 * PATHS_MAX], folder[PATHS_MAX];
    const char *own = ls->path ? ls->path : ls->passed;
    const bool relative = own[0] != '/' && getcwd(folder, sizeof folder);
    snprintf(path, sizeof path, "%s%s%s", relative ? folder : "", relative ? "/" : "", own);
    index_lock_tell(lock_fd, own[0] ? path : NULL);
}

void listen_close(struct listen_sockets *ls)
{
    struct stat st;
    for (unsigned i = 0; i < ls->n; i++)
        if (ls->list[i].fd >= 0)
            close(ls->list[i].fd);
    if (ls->path && lstat(ls->path, &st) == 0 && st.st_dev == ls->dev && st.st_ino == ls->ino)
        unlink(ls->path);
    socket_lock_destroy(&ls->lock);
    free(ls->path);
    *ls = (struct listen_sockets){0};
}
