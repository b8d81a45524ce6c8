/* A latentd for one data folder: joined where it runs, started where it does not.
 *
 * Nothing here decides who starts it. Whoever finds nobody listening starts a daemon; the daemon takes the folder's lock before it touches
 * the socket, so that of several one stays, and the others say LT_ELOCKED and end; everyone goes on looking until somebody listens. */
#include "clients/c/latent_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock_text.h"
#include "clients/c/last_words.h"
#include "clients/c/spawn.h"

/* How often is looked whether the daemon listens, or has loaded. */
#define LOOK_MS 10
#define TOLD_MS 50 /* and how often the caller is told */
/* After a daemon that has found the folder taken, the next one is started not at once. */
#define TAKEN_PAUSE_MS 100
/* A daemon that is stopping has the folder for 20 s at most; what has it for longer is no daemon. */
#define TAKEN_MAX_MS 30000
/* A daemon that does not answer for so long is looked for anew. One that was killed may listen for as long as the disk keeps one of its
 * threads, and answers nothing. */
#define ANSWER_MS 5000
#define ARGS_MAX 64

struct start {
    struct latent *c;
    const struct latent_private *p;
    char dir[PATHS_MAX];   /* real, absolute */
    char model[PATHS_MAX]; /* the same; empty: the daemon's own */
    struct stat dir_stat;
    uint64_t deadline_ns;
    uint64_t taken_ns;     /* since when the folder is taken and nobody answers; 0: it is not */
    struct err_msg taken_by; /* latentd's words for that */
    uint64_t told_ns;
    int words;             /* what the daemon that was started here says; -1: none runs */
    char said[2048];       /* the end of that, with a NUL */
    size_t n_said;
};

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* ---- before ---- */

static int prepare_folder(struct start *s)
{
    const char *dir = s->p->data;
    struct err_msg why;
    int r = file_make_dirs(dir, 0700, &why);
    char *real = r < 0 ? NULL : realpath(dir, NULL);
    if (r < 0)
        return conn_fail(s->c, r, "cannot create the data folder: %s", why.text);
    if (!real || stat(real, &s->dir_stat) < 0)
        r = conn_fail(s->c, err_from_errno(errno), "%s: %s", dir, strerror(errno));
    else if (!S_ISDIR(s->dir_stat.st_mode))
        r = conn_fail(s->c, LATENT_EINVAL, "%s: not a folder", dir);
    else if (strlen(real) + sizeof "/latentd.sock" > sizeof s->dir)
        r = conn_fail(s->c, LATENT_EINVAL, "the path of the data folder is too long: %s", dir);
    else if (s->dir_stat.st_mode & S_IWOTH)
        r = conn_fail(s->c, LATENT_EPERM, "%s: everybody may write there; chmod o-w makes it a folder for data", dir);
    else if (geteuid() != 0 && s->dir_stat.st_uid != geteuid())
        r = conn_fail(s->c, LATENT_EPERM, "%s: belongs to user %u, and a private latentd is its folder's user's own", dir,
                      (unsigned)s->dir_stat.st_uid);
    else
        strcpy(s->dir, real);
    free(real);
    return r;
}

static int prepare_model(struct start *s)
{
    int r = 0;
    if (!s->p->model)
        return 0;
    char *real = realpath(s->p->model, NULL);
    if (!real || access(real, R_OK) < 0)
        r = conn_fail(s->c, errno == EACCES ? LATENT_EPERM : LATENT_ENOTFOUND, "model %s: %s", s->p->model, strerror(errno));
    else if (strlen(real) >= sizeof s->model)
        r = conn_fail(s->c, LATENT_EINVAL, "model %s: the path is too long", s->p->model);
    else
        strcpy(s->model, real);
    free(real);
    return r;
}

/* ---- joining ---- */

/* One that somebody else has put there is not asked anything. Root's may be a manager's socket, which is the daemon's. */
static int check_peer(struct start *s)
{
    struct ucred peer = {0};
    socklen_t len = sizeof peer;
    if (getsockopt(latent_fd(s->c), SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == s->dir_stat.st_uid || peer.uid == 0))
        return 0;
    latent_close(s->c);
    return conn_fail(s->c, LATENT_EPERM, "%s: user %u's daemon serves a folder of user %u", s->dir, (unsigned)peer.uid,
                     (unsigned)s->dir_stat.st_uid);
}

/* A socket that the lock's text names may be another daemon's by now: is it this folder that it has? */
static int check_folder(struct start *s)
{
    struct latent_status *st = NULL;
    struct stat there;
    int r = latent_status(s->c, &st);
    if (r == 0 && (stat(st->data_dir, &there) < 0 || there.st_dev != s->dir_stat.st_dev || there.st_ino != s->dir_stat.st_ino)) {
        latent_close(s->c);
        r = conn_fail(s->c, LATENT_ECONN, "%s: no daemon has it", s->dir);
    }
    latent_free(st);
    return r;
}

/* What is asked next is to be answered in this time. */
static void limit(struct start *s)
{
    const uint64_t now = clock_ns(), left_ms = s->deadline_ns > now ? (s->deadline_ns - now) / 1000000 : 0;
    s->c->timeout_ms = left_ms > ANSWER_MS ? ANSWER_MS : left_ms + 1;
}

/* LATENT_ECONN: nobody is there. LATENT_ETIMEOUT: nobody who answers. */
static int join(struct start *s)
{
    char path[PATHS_MAX + 16], *text = NULL;
    struct lock_text holder;
    size_t len = 0;
    snprintf(path, sizeof path, "%s/latentd.sock", s->dir);
    limit(s);
    int r = latent_connect_unix(s->c, path);
    if (r == 0)
        return check_peer(s);
    if (r != LATENT_ECONN)
        return r;
    snprintf(path, sizeof path, "%s/lock", s->dir);
    if (file_read(path, LOCK_TEXT_MAX, &text, &len, NULL) < 0)
        return r;
    if (lock_text_parse(&holder, text, len) == 0 && holder.socket[0]) {
        r = latent_connect_unix(s->c, holder.socket);
        r = r == 0 ? check_peer(s) : r;
        r = r == 0 ? check_folder(s) : r;
    }
    free(text);
    return r;
}

/* ---- starting ---- */

static int start_daemon(struct start *s)
{
    static char is_private[] = "--private", data[] = "--data", model[] = "--model", device[] = "--device", idle[] = "--idle-exit";
    char program[PATHS_MAX], seconds[16];
    char *args[ARGS_MAX + 12] = {program, is_private, data, s->dir};
    size_t n = 4;
    struct err_msg em = {{0}};
    int r = spawn_find(program, s->p->program, &em);
    if (r < 0)
        return conn_fail(s->c, r, "%s", em.text);
    if (s->model[0]) {
        args[n++] = model;
        args[n++] = s->model;
    }
    if (s->p->device) {
        args[n++] = device;
        args[n++] = (char *)s->p->device;
    }
    if (s->p->idle_s) {
        snprintf(seconds, sizeof seconds, "%u", s->p->idle_s);
        args[n++] = idle;
        args[n++] = seconds;
    }
    for (const char *const *o = s->p->options; o && *o; o++) {
        if (o - s->p->options == ARGS_MAX)
            return conn_fail(s->c, LATENT_EINVAL, "more than %d options", ARGS_MAX);
        args[n++] = (char *)*o;
    }
    if (geteuid() != s->dir_stat.st_uid)
        return conn_fail(s->c, LATENT_EPERM, "%s: belongs to user %u, who is to start its latentd", s->dir, (unsigned)s->dir_stat.st_uid);
    s->n_said = 0;
    s->said[0] = 0;
    r = spawn_daemon(program, args, &s->words, &em);
    return r < 0 ? conn_fail(s->c, r, "%s", em.text) : 0;
}

/* Takes what the daemon has said, for up to ms if that is nothing. At its end words is -1. */
static void listen_to_it(struct start *s, int ms)
{
    char buf[1024];
    ssize_t n = 0;
    struct pollfd p = {.fd = s->words, .events = POLLIN};
    poll(&p, 1, ms);
    while (s->words >= 0 && (n = read(s->words, buf, sizeof buf)) > 0) {
        const size_t room = sizeof s->said - 1, keep = s->n_said + (size_t)n > room ? room - (size_t)n : s->n_said;
        memmove(s->said, s->said + s->n_said - keep, keep);
        memcpy(s->said + keep, buf, (size_t)n);
        s->n_said = keep + (size_t)n;
        s->said[s->n_said] = 0;
    }
    if (s->words >= 0 && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
        close(s->words);
        s->words = -1;
    }
}

static int taken(struct start *s)
{
    return conn_fail(s->c, LATENT_ELOCKED, "%s, which does not answer", s->taken_by.text);
}

/* A daemon that was started here has ended: why? 0: not for a reason that should keep anybody from trying again. */
static int ended(struct start *s)
{
    struct err_msg why = {{0}};
    int r = last_words(s->said, &why);
    if (r != LT_ELOCKED)
        return r < 0 ? conn_fail(s->c, r, "latentd did not start: %s", why.text) : 0;
    /* Another one was faster, or is still at its end. */
    const uint64_t now = clock_ns();
    s->taken_ns = s->taken_ns ? s->taken_ns : now;
    s->taken_by = why;
    if (now - s->taken_ns > TAKEN_MAX_MS * 1000000ull)
        return taken(s);
    pause_ms(TAKEN_PAUSE_MS);
    return 0;
}

/* ---- all of it ---- */

static int tell(struct start *s, enum latent_phase phase, uint32_t percent)
{
    uint64_t now = clock_ns();
    if (s->p->waiting && now - s->told_ns >= TOLD_MS * 1000000ull) {
        s->told_ns = now;
        if (!s->p->waiting(s->p->waiting_arg, phase, percent))
            return conn_fail(s->c, LATENT_ECANCELLED, "%s: waiting for its latentd was given up", s->dir);
    }
    if (now >= s->deadline_ns && s->taken_ns)
        return taken(s);
    return now < s->deadline_ns ? 0 : conn_fail(s->c, LATENT_ETIMEOUT, "%s: its latentd is not ready in time", s->dir);
}

/* A daemon that is ready answers for the folder; is it the model that was asked for? */
static int check_model(struct start *s, const struct latent_status *st)
{
    struct stat asked, there;
    if (!s->model[0] || stat(s->model, &asked) < 0 || stat(st->model_path, &there) < 0 ||
        (asked.st_dev == there.st_dev && asked.st_ino == there.st_ino))
        return 0;
    return conn_fail(s->c, LATENT_EMODEL, "%s: the latentd there serves %s", s->dir, st->model_path);
}

/* Connected: until it is ready. LATENT_ECONN, LATENT_ESHUTDOWN, LATENT_ETIMEOUT: it has gone, is going, or answers nothing. */
static int wait_ready(struct start *s)
{
    for (;;) {
        struct latent_status *st = NULL;
        limit(s);
        int r = latent_status(s->c, &st);
        if (r < 0)
            return r;
        const enum latent_phase phase = st->phase;
        const bool ready = phase == LATENT_PHASE_READY || phase == LATENT_PHASE_RECOVERING;
        if (ready)
            r = check_model(s, st);
        else if (phase == LATENT_PHASE_STOPPING)
            r = conn_fail(s->c, LATENT_ESHUTDOWN, "%s: its latentd is stopping", s->dir);
        else
            r = tell(s, phase, st->percent);
        latent_free(st);
        if (r < 0 || ready)
            return r;
        if (s->words >= 0)
            listen_to_it(s, 0);
        pause_ms(LOOK_MS);
    }
}

static int find_or_start(struct start *s)
{
    int r = prepare_folder(s);
    bool started = false;
    if (r == 0)
        r = prepare_model(s);
    while (r == 0) {
        const bool over = started && s->words < 0; /* what has ended before nobody answered has served nobody */
        r = join(s);
        s->taken_ns = r == 0 ? 0 : s->taken_ns;
        if (r == 0 && (r = wait_ready(s)) == 0)
            return 0;
        if (r != LATENT_ECONN && r != LATENT_ESHUTDOWN && r != LATENT_ETIMEOUT)
            return r;
        latent_close(s->c);
        r = 0;
        if (over) {
            started = false;
            r = ended(s);
        } else if (!started) {
            r = start_daemon(s);
            started = r == 0;
        }
        if (r == 0 && s->words >= 0)
            listen_to_it(s, LOOK_MS);
        if (r == 0)
            r = tell(s, LATENT_PHASE_STARTING, 0);
    }
    return r;
}

int latent_connect_private(struct latent *c, const struct latent_private *p)
{
    latent_close(c);
    c->code = 0;
    if (!p || !p->data || !p->data[0])
        return conn_fail(c, LATENT_EINVAL, "a private latentd needs a data folder");
    if (p->data[0] == '~')
        return conn_fail(c, LATENT_EINVAL, "%s: ~ is not expanded here; give the whole path (./~ for a folder of that name)", p->data);
    struct start *s = calloc(1, sizeof *s);
    if (!s)
        return conn_fail(c, LATENT_ENOMEM, "%s", err_text(LT_ENOMEM));
    s->c = c;
    s->p = p;
    s->words = -1;
    s->deadline_ns = conn_deadline(c);
    const uint32_t timeout_ms = c->timeout_ms;
    int r = find_or_start(s);
    c->timeout_ms = timeout_ms;
    if (r < 0)
        latent_close(c);
    if (s->words >= 0)
        close(s->words);
    free(s);
    return r;
}
