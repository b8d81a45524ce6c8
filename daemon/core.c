#include "daemon/core.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/paths.h"
#include "daemon/feed.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "daemon/systemd.h"

/* While stopping: how often to look whether all is done, how long clients may take to read their last replies, and how
 * long requests in flight may take in all. What is durable stays so when the last is passed. */
#define STOP_LOOK_MS 10
#define STOP_FLUSH_MS 2000
#define STOP_MAX_MS 20000
/* And how long a loader may go on, which a large model keeps busy for longer: it has nothing that a kill would harm. */
#define STOP_LOAD_MS 2000
/* Of frames under way before the memory limit is known: the longest one. */
#define INTAKE_LOADING_BYTES PROTO_FRAME_MAX
/* Descriptors for connections, store and segments. */
#define FILES_WANTED 65536
#define FILES_MIN 16
#define LARGE_BLOCK (1 << 20)

struct run {
    struct core core;
    uv_signal_t sigterm, sigint, sighup;
    uv_timer_t stop_timer;
    uint64_t stop_ns;
    bool has_loop, flushing, closed, told_feed;
};

void core_wake(struct core *c)
{
    uv_async_send(&c->wake);
}

/* Before that the loader may be changing the figures, and little is asked for. */
enum memory_level core_memory_level(struct core *c)
{
    return atomic_load(&c->ready) ? memory_level(&c->memory) : MEMORY_FINE;
}

bool core_is_full(const struct core *c)
{
    return atomic_load(&c->ready) && atomic_load(&c->flight_cost) > c->memory.request_bytes;
}

uint64_t core_intake_bytes(const struct core *c)
{
    return atomic_load(&c->ready) ? c->memory.intake_bytes : INTAKE_LOADING_BYTES;
}

static void *loader_main(void *arg)
{
    struct core *c = arg;
    struct err_msg em = {""};
    int r = core_load(c, &em);
    pthread_mutex_lock(&c->lock);
    c->load_done = true;
    c->load_result = r;
    c->load_message = em;
    pthread_mutex_unlock(&c->lock);
    core_wake(c);
    return NULL;
}

static void close_handle(void *handle)
{
    uv_handle_t *h = handle;
    if (h->loop) /* else the start did not come to it */
        uv_close(h, NULL);
}

static void close_all(struct run *run)
{
    if (run->closed)
        return;
    run->closed = true;
    if (run->core.server)
        server_close(run->core.server);
    close_handle(&run->sigterm);
    close_handle(&run->sigint);
    close_handle(&run->sighup);
    close_handle(&run->stop_timer);
    close_handle(&run->core.wake);
}

/* One step towards the end, whenever something has come back. */
static void stop_step(struct run *run)
{
    struct core *c = &run->core;
    uint64_t ms = (clock_ns() - run->stop_ns) / 1000000;
    if (run->closed)
        return;
    if (c->loader_running && ms > STOP_LOAD_MS) {
        log_info("daemon", "stopped while it was loading");
        listen_close(&c->server->sockets);
        _exit(0);
    }
    if (ms > STOP_MAX_MS) {
        log_error("daemon", "%zu requests did not end in time; leaving (nothing acknowledged is lost)", c->n_flight);
        _exit(1);
    }
    if (c->loader_running)
        return;
    if (!run->told_feed && c->feed && c->writer) { /* else the start did not come so far */
        device_stop_bulk(c->device);
        if (c->ranker)
            device_stop_bulk(c->ranker);
        feed_stop(c->feed);
        run->told_feed = true;
    }
    if (c->n_flight > c->server->n_ready || (c->feed && !feed_idle(c->feed)))
        return;
    if (!run->flushing) {
        run->flushing = true;
        run->stop_ns = clock_ns();
        for (struct conn *each = c->server->conns, *next; each; each = next) {
            next = each->next;
            conn_close_gently(each);
        }
        ms = 0;
    }
    if (!c->server->conns || ms > STOP_FLUSH_MS)
        close_all(run);
}

static void on_stop_timer(uv_timer_t *t)
{
    stop_step(t->data);
}

static void begin_stop(struct run *run)
{
    struct core *c = &run->core;
    if (atomic_exchange(&c->stopping, true))
        return;
    systemd_notify("STOPPING=1");
    run->stop_ns = clock_ns();
    server_stop(c->server);
    uv_timer_start(&run->stop_timer, on_stop_timer, 0, STOP_LOOK_MS);
}

void core_stop(struct core *c)
{
    begin_stop((struct run *)c); /* core is run's first field */
}

static void on_signal(uv_signal_t *h, int number)
{
    struct run *run = h->data;
    if (atomic_load(&run->core.stopping)) {
        if (number == SIGHUP) /* the terminal closes, after Ctrl-C perhaps */
            return;
        log_warn("daemon", "second signal; leaving at once (nothing acknowledged is lost)");
        _exit(1);
    }
    log_info("daemon", "signal %d: stopping", number);
    begin_stop(run);
}

static void loaded(struct run *run)
{
    struct core *c = &run->core;
    pthread_join(c->loader, NULL);
    c->loader_running = false;
    if (c->load_result < 0) {
        if (!atomic_load(&c->stopping)) {
            log_error("daemon", "%s: %s", err_name(c->load_result), c->load_message.text);
            c->exit_status = 1;
        }
        begin_stop(run);
        return;
    }
    atomic_store(&c->phase, LATENT__V1__PHASE__PHASE_READY); /* not before requests are answered: who has read it goes on at once */
    atomic_store(&c->ready, true);
    log_info("daemon", "ready after %.2f s", (double)(clock_ns() - c->started_ns) / 1e9);
    systemd_notify("READY=1");
    log_leave_stderr(); /* who started a private daemon has heard enough */
}

static void on_wake(uv_async_t *h)
{
    struct run *run = h->data;
    struct core *c = &run->core;
    pthread_mutex_lock(&c->lock);
    struct request *list = c->finished;
    bool load_done = c->load_done;
    c->finished = NULL;
    c->finished_tail = &c->finished;
    c->load_done = false;
    pthread_mutex_unlock(&c->lock);
    while (list) {
        struct request *next = list->next;
        server_finished(c->server, list);
        list = next;
    }
    if (load_done)
        loaded(run);
    server_intake_next(c->server);
    if (atomic_load(&c->stopping))
        stop_step(run);
}

/* The folder's lock comes before the socket, so that of two daemons that start at once one alone touches either; and it is given back
 * after the socket has gone. */
static int own_folder(struct core *c, struct err_msg *em)
{
    char path[PATHS_MAX];
    int r = index_lock(c->settings->data, &c->lock_fd, em);
    if (r < 0 || !c->settings->is_private)
        return r;
    snprintf(path, sizeof path, "%s/latentd.log", c->settings->data);
    if ((r = log_open_file(path)) < 0)
        log_warn("daemon", "%s: %s", path, err_text(r));
    return 0;
}

/* Are there descriptors for the loop and a first client? libuv aborts where it finds none for its signals. */
static int check_descriptors(int any_fd, struct err_msg *em)
{
    int fds[FILES_MIN], n = 0, r = 0;
    for (; n < FILES_MIN && r == 0; n += r == 0)
        if ((fds[n] = fcntl(any_fd, F_DUPFD_CLOEXEC, 0)) < 0)
            r = err_set(em, LT_ELIMIT, "only %d more files can be open at once (ulimit -n, LimitNOFILE): too few to start with", n);
    while (n-- > 0)
        close(fds[n]);
    return r;
}

static int start(struct run *run, struct err_msg *em)
{
    struct core *c = &run->core;
    uv_loop_t *loop = &c->loop;
    int r = check_descriptors(c->lock_fd, em);
    if (r < 0)
        return r;
    r = uv_loop_init(loop);
    run->has_loop = r == 0;
    if (r == 0)
        r = uv_async_init(loop, &c->wake, on_wake);
    if (r == 0)
        r = uv_signal_init(loop, &run->sigterm);
    if (r == 0)
        r = uv_signal_init(loop, &run->sigint);
    if (r == 0)
        r = uv_signal_init(loop, &run->sighup);
    if (r == 0)
        r = uv_timer_init(loop, &run->stop_timer);
    if (r < 0)
        return err_set(em, LT_EIO, "event loop: %s", uv_strerror(r));
    c->wake.data = run->sigterm.data = run->sigint.data = run->sighup.data = run->stop_timer.data = run;
    uv_signal_start(&run->sigterm, on_signal, SIGTERM);
    uv_signal_start(&run->sigint, on_signal, SIGINT);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* as nohup has it */
        uv_signal_start(&run->sighup, on_signal, SIGHUP);
    if ((r = server_create(&c->server, c, em)) < 0)
        return r;
    listen_tell(&c->server->sockets, c->lock_fd);
    int e = pthread_create(&c->loader, NULL, loader_main, c);
    if (e)
        return err_set(em, err_from_errno(e), "cannot start a thread");
    c->loader_running = true;
    return 0;
}

static void raise_file_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return;
    rlim_t want = l.rlim_max < FILES_WANTED ? l.rlim_max : FILES_WANTED;
    if (l.rlim_cur < want) {
        l.rlim_cur = want;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

/* Before there are threads: large blocks go back to the system as soon as they are freed. Left to itself glibc lets sizes that were freed once, up to
 * 32 MiB, and twice as much at each heap's end, stay with the thread that had them. */
static void return_large_blocks(void)
{
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    mallopt(M_TRIM_THRESHOLD, LARGE_BLOCK);
}

int core_run(const struct settings *s)
{
    struct err_msg em = {""};
    struct run *run = calloc(1, sizeof *run);
    if (!run) {
        log_error("daemon", "out of memory");
        return 1;
    }
    struct core *c = &run->core;
    c->settings = s;
    c->started_ns = clock_ns();
    c->finished_tail = &c->finished;
    pthread_mutex_init(&c->lock, NULL);
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    return_large_blocks();
    int r = own_folder(c, &em);
    const bool owned = r == 0;
    if (owned)
        r = start(run, &em);
    if (r < 0) {
        log_error("daemon", "%s: %s", err_name(r), em.text);
        c->exit_status = 1;
        close_all(run);
    }
    if (run->has_loop) {
        uv_run(&c->loop, UV_RUN_DEFAULT);
        core_unload(c);
        server_destroy(&c->server);
        uv_loop_close(&c->loop);
    }
    if (owned)
        close(c->lock_fd);
    pthread_mutex_destroy(&c->lock);
    int status = c->exit_status;
    free(run);
    if (status == 0)
        log_info("daemon", "stopped");
    return status;
}
