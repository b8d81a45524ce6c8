/* The socket under a session: connecting, sending, receiving, all with a deadline and never with a signal. */
#include "clients/c/latent_int.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/paths.h"
#include "base/port.h"
#include "base/unix_addr.h"

#define TIMEOUT_MS 300000
#define CONNECT_TIMEOUT_MS 15000
#define READ_BYTES 65536
/* A daemon whose machine has gone without a word is missed after so many seconds, and some looks: calls may wait without a deadline. */
#define KEEPALIVE_S 60
#define KEEPALIVE_LOOK_S 10
#define QUEUE_LOOK_MS 10 /* how often a full queue of connections is tried */

static int record(struct latent *c, int code, const char *fmt, va_list ap)
{
    c->code = code;
    c->retryable = err_retryable(code);
    return err_vset(&c->message, code, fmt, ap);
}

int conn_fail(struct latent *c, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    record(c, code, fmt, ap);
    va_end(ap);
    return code;
}

int conn_wrong_answer(struct latent *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    record(c, LATENT_EPROTO, fmt, ap);
    va_end(ap);
    latent_close(c);
    return LATENT_EPROTO;
}

struct latent *latent_new(void)
{
    struct latent *c = calloc(1, sizeof *c);
    if (c) {
        c->fd = -1;
        c->timeout_ms = TIMEOUT_MS;
    }
    return c;
}

void latent_close(struct latent *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    session_destroy(&c->session);
    key_pair_finish(&c->key);
    bytes_out_finish(&c->out);
    c->out_at = 0;
    exchange_drop_all(c);
}

void latent_destroy(struct latent **c)
{
    if (!c || !*c)
        return;
    latent_close(*c);
    free(*c);
    *c = NULL;
}

bool latent_is_connected(const struct latent *c)
{
    return c->fd >= 0;
}

int latent_fd(const struct latent *c)
{
    return c->fd;
}

void latent_set_timeout(struct latent *c, uint32_t timeout_ms)
{
    c->timeout_ms = timeout_ms;
}

void latent_set_waiting(struct latent *c, latent_waiting *waiting, void *arg)
{
    c->waiting = waiting;
    c->waiting_arg = arg;
}

uint64_t conn_deadline(const struct latent *c)
{
    return c->timeout_ms ? clock_ns() + c->timeout_ms * 1000000ull : UINT64_MAX;
}

/* Waits for the events; 0: they are there, else an error. */
static int wait_fd(struct latent *c, int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        int ms = -1;
        if (deadline_ns != UINT64_MAX) {
            uint64_t now = clock_ns();
            uint64_t left = deadline_ns > now ? (deadline_ns - now + 999999) / 1000000 : 0;
            ms = left > 3600000 ? 3600000 : (int)left;
        }
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, ms);
        if (n > 0)
            return 0;
        if (n == 0 && clock_ns() >= deadline_ns)
            return conn_fail(c, LATENT_ETIMEOUT, "no answer in time");
        if (n < 0 && errno != EINTR)
            return conn_fail(c, LATENT_ECONN, "poll: %s", strerror(errno));
    }
}

static int broken(struct latent *c, const char *what)
{
    const bool unproved = c->session && session_awaits_proof(c->session);
    int code = unproved ? conn_fail(c, LATENT_EAUTH, "the daemon closed the connection without proving that it has the key that was named for it")
                        : conn_fail(c, LATENT_ECONN, "%s", what);
    latent_close(c);
    return code;
}

/* Sends what the socket takes now. To a daemon that closed the connection nothing goes out any more, and that is no error yet:
 * its last words, which say why it closed, may still wait to be received. */
static int send_some(struct latent *c)
{
    while (c->out_at < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            break;
        if (n < 0)
            return broken(c, strerror(errno));
        c->out_at += (size_t)n;
    }
    c->out.len = c->out_at = 0;
    return 0;
}

/* Receives what is there now, at most one read, and acts on it. */
static int receive_some(struct latent *c)
{
    uint8_t buf[READ_BYTES];
    size_t want = session_want(c->session);
    ssize_t n = recv(c->fd, buf, want < sizeof buf ? want : sizeof buf, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n <= 0)
        return broken(c, n == 0 || errno == ECONNRESET ? "the daemon closed the connection" : strerror(errno)); /* reset: what we sent was unread */
    struct bytes_in in = bytes_in(buf, (size_t)n);
    struct session_frame frame;
    struct err_msg em = {{0}};
    int event;
    while ((event = session_feed(c->session, &in, &c->out, &frame, &em)) > 0) {
        int code = event == SESSION_FRAME ? exchange_receive(c, &frame) : 0;
        if (code < 0)
            return code;
    }
    if (event < 0) {
        /* A frame over the limit is as wrong as any other here: EPROTO says that the connection is closed. */
        conn_fail(c, event == LT_ELIMIT ? LATENT_EPROTO : event, "%s", em.text[0] ? em.text : err_text(event));
        latent_close(c);
        return c->code;
    }
    return 0;
}

int conn_pump(struct latent *c, bool (*done)(const struct latent *c, const void *arg), const void *arg,
              uint64_t deadline_ns)
{
    for (;;) {
        int code = c->out_at < c->out.len ? send_some(c) : 0;
        if (code < 0)
            return code;
        if (done(c, arg))
            return 0;
        short events = POLLIN | (c->out_at < c->out.len ? POLLOUT : 0);
        if ((code = wait_fd(c, c->fd, events, deadline_ns)) < 0 || (code = receive_some(c)) < 0)
            return code;
    }
}

static bool opened(const struct latent *c, const void *arg)
{
    return session_is_open(c->session) && c->out_at == c->out.len;
}

/* From a connected socket to an open session. Takes the socket. */
static int open_session(struct latent *c, int fd, const uint8_t *server_public, uint64_t deadline_ns)
{
    struct session_client p = {.key = server_public ? &c->key : NULL, .server_public = server_public};
    c->fd = fd;
    int code = session_create_client(&c->session, &p, &c->out);
    if (code < 0)
        conn_fail(c, code, "%s", err_text(code));
    else
        code = conn_pump(c, opened, NULL, deadline_ns);
    if (code < 0)
        latent_close(c);
    return code;
}

static uint64_t connect_deadline(const struct latent *c)
{
    uint32_t ms = c->timeout_ms && c->timeout_ms < CONNECT_TIMEOUT_MS ? c->timeout_ms : CONNECT_TIMEOUT_MS;
    return clock_ns() + ms * 1000000ull;
}

/* connect's errno. A Unix socket whose daemon has not come to accept for a while is not waited for by the kernel, so its queue is tried
 * again until there is room; EAGAIN: there was none until the deadline. On TCP that is an error like others. */
static int try_connect(int fd, int family, const struct sockaddr *addr, socklen_t len, uint64_t deadline_ns)
{
    for (;;) {
        const int e = connect(fd, addr, len) < 0 ? errno : 0;
        if (e != EAGAIN || family != AF_UNIX || clock_ns() >= deadline_ns)
            return e;
        poll(NULL, 0, QUEUE_LOOK_MS);
    }
}

/* Connects a fresh socket within the deadline; the socket or an error. */
static int connect_socket(struct latent *c, int family, const struct sockaddr *addr, socklen_t len,
                          const char *name, uint64_t deadline_ns)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return conn_fail(c, LATENT_ECONN, "socket: %s", strerror(errno));
    int e = try_connect(fd, family, addr, len, deadline_ns);
    if (e == EINPROGRESS) {
        socklen_t size = sizeof e;
        int code = wait_fd(c, fd, POLLOUT, deadline_ns);
        if (code < 0) {
            close(fd);
            return code;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &size) < 0)
            e = errno;
    }
    if (e == 0)
        return fd;
    close(fd);
    if (e == EAGAIN && family == AF_UNIX)
        return conn_fail(c, LATENT_ETIMEOUT, "%s: the daemon did not come to take another connection in time", name);
    return conn_fail(c, e == EACCES || e == EPERM ? LATENT_EPERM : LATENT_ECONN, "%s: %s", name,
                     e == ENOENT || e == ECONNREFUSED ? "no daemon answers there" : strerror(e));
}

static int connect_path(struct latent *c, const char *path, uint64_t deadline_ns)
{
    struct unix_addr to;
    struct err_msg em = {{0}};
    int fd = unix_addr_init(&to, path, &em);
    if (fd < 0)
        return fd == LT_ENOTFOUND ? conn_fail(c, LATENT_ECONN, "%s: no daemon answers there", path) : conn_fail(c, fd, "%s", em.text);
    fd = connect_socket(c, AF_UNIX, (struct sockaddr *)&to.addr, sizeof to.addr, path, deadline_ns);
    unix_addr_finish(&to);
    return fd;
}

/* The first of the usual places where a daemon answers; LATENTD_SOCKET alone when it is set. */
static int connect_default(struct latent *c, uint64_t deadline_ns)
{
    char path[PATHS_MAX];
    const char *env = getenv("LATENTD_SOCKET");
    const char *places[2] = {env, NULL};
    if (!env) {
        if (paths_socket(path) < 0)
            return conn_fail(c, LATENT_EINVAL, "the default socket's path is too long");
        places[0] = path;
        places[1] = strcmp(path, "/run/latentd/latentd.sock") ? "/run/latentd/latentd.sock" : NULL;
    }
    if (!env && paths_socket_ours(path) == LT_EPERM)
        return conn_fail(c, LATENT_EPERM, "%s: its folder is not yours alone, so who answers there may be anybody", path);
    int fd = connect_path(c, places[0], deadline_ns);
    if (fd >= 0 || !places[1])
        return fd;
    const struct err_msg first = c->message; /* the place where it would be expected */
    const int other = connect_path(c, places[1], deadline_ns);
    if (other >= 0)
        return other;
    return other == LATENT_EPERM ? conn_fail(c, fd, "%s, and %s is not for this user", first.text, places[1])
                                 : conn_fail(c, fd, "%s", first.text);
}

static int connect_unix(struct latent *c, const char *path, uint64_t deadline_ns)
{
    return path ? connect_path(c, path, deadline_ns) : connect_default(c, deadline_ns);
}

int latent_connect_unix(struct latent *c, const char *path)
{
    uint64_t deadline = connect_deadline(c);
    latent_close(c);
    c->code = 0;
    int fd = connect_unix(c, path, deadline);
    return fd < 0 ? fd : open_session(c, fd, NULL, deadline);
}

int latent_connect_default(struct latent *c)
{
    return latent_connect_unix(c, NULL);
}

/* Both keys of an encrypted session. */
static int read_keys(struct latent *c, const char *server_key, const char *key_file,
                     uint8_t server_public[static KEY_BYTES])
{
    struct err_msg em = {{0}};
    if (!server_key || !key_file)
        return conn_fail(c, LATENT_EINVAL, "an encrypted session needs the server's key and a key file");
    if (key_parse_named("the server's key", server_key, strlen(server_key), server_public, &em) < 0)
        return conn_fail(c, LATENT_EINVAL, "%s", em.text);
    int code = key_file_read(key_file, &c->key, &em);
    return code < 0 ? conn_fail(c, code, "%s", em.text) : 0;
}

int latent_connect_unix_key(struct latent *c, const char *path, const char *server_key, const char *key_file)
{
    uint8_t server_public[KEY_BYTES];
    uint64_t deadline = connect_deadline(c);
    latent_close(c);
    c->code = 0;
    int code = read_keys(c, server_key, key_file, server_public);
    if (code < 0)
        return code;
    int fd = connect_unix(c, path, deadline);
    if (fd < 0) {
        key_pair_finish(&c->key);
        return fd;
    }
    return open_session(c, fd, server_public, deadline);
}

int latent_connect_tcp(struct latent *c, const char *host, const char *port, const char *server_key,
                       const char *key_file)
{
    uint8_t server_public[KEY_BYTES];
    uint64_t deadline = connect_deadline(c);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    latent_close(c);
    c->code = 0;
    int code = read_keys(c, server_key, key_file, server_public);
    if (code < 0)
        return code;
    if (!port_valid(port)) {
        key_pair_finish(&c->key);
        return conn_fail(c, LATENT_EINVAL, "'%s' is no port", port);
    }
    int gai = getaddrinfo(host, port, &hints, &list);
    int fd = gai ? conn_fail(c, LATENT_ECONN, "%s: %s", host, gai_strerror(gai)) : LATENT_ECONN;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = connect_socket(c, a->ai_family, a->ai_addr, a->ai_addrlen, host, deadline);
    if (list)
        freeaddrinfo(list);
    if (fd < 0) {
        key_pair_finish(&c->key);
        return fd;
    }
    const int on = 1, idle = KEEPALIVE_S, look = KEEPALIVE_LOOK_S;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &look, sizeof look);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return open_session(c, fd, server_public, deadline);
}

/* ---- errors ---- */

int latent_error_code(const struct latent *c)
{
    return c ? c->code : LATENT_ENOMEM;
}

const char *latent_error(const struct latent *c)
{
    return !c ? err_text(LT_ENOMEM) : c->code ? c->message.text : "no error";
}

bool latent_error_retryable(const struct latent *c)
{
    return c && c->code && c->retryable;
}

#define X(name, number, retryable, text)                                                           \
    _Static_assert((int)LATENT_##name == (int)LT_##name, "latent.h and err.h have one list of numbers");
LT_ERRORS(X)
#undef X

const char *latent_code_name(int code)
{
    switch (code) {
    case 0:
        return "LATENT_OK";
#define X(name, number, retryable, text)                                                           \
    case LATENT_##name:                                                                            \
        return "LATENT_" #name;
        LT_ERRORS(X)
#undef X
    }
    return "LATENT_E?";
}

const char *latent_code_text(int code)
{
    return err_text(code);
}
