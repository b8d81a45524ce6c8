/* What the daemon's parts share: one struct, filled while loading, unchanged while serving.
 *
 * Threads: loop (sockets, requests' life), device (engine; one more for a reranker), writer (every change on disk), searchers (each with its
 * own reader), tokenisers (texts into ids and chunks), and for the start a loader. A request belongs to exactly one of
 * them at a time and always comes back to the loop.
 * Thread-safety: what a field's comment says. */
#ifndef DAEMON_CORE_H
#define DAEMON_CORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "daemon/device.h"
#include "daemon/memory.h"
#include "daemon/settings.h"
#include "daemon/workers.h"
#include "daemon/writer.h"
#include "index/index.h"
#include "model/model.h"
#include "proto/latent.pb-c.h"

struct feed;
struct job_holds;
struct request;
struct sampler;
struct server;

#define CORE_SEARCHERS_MAX 256

struct core {
    const struct settings *settings;
    char model_path[4096]; /* set by the loader before phase leaves loading */
    uint64_t started_ns;

    /* Set by the loader before `ready`, constant afterwards. */
    struct memory memory;
    struct model *model;  /* NULL, like device, feed, holds and tokenisers, in recovery mode */
    struct index *own_ix; /* until the writer takes it over */
    struct index *ix;     /* the same, borrowed: only functions marked (any) */
    struct device *device;
    struct model *reranker; /* NULL, like ranker: there is none */
    struct device *ranker;  /* its device */
    struct writer *writer;
    struct feed *feed;
    struct job_holds *holds; /* the writer thread's */
    struct sampler *sampler; /* NULL: nothing is sampled */
    struct workers *searchers;  /* state: struct index_reader */
    struct workers *tokenisers; /* state: struct text_tokens */
    bool lean, lean_said; /* the writer thread's: memory is short, and the index knows; which the log has */
    uint64_t lean_ns;     /* since when, or when it was told last */
    struct index_reader *readers[CORE_SEARCHERS_MAX];
    struct text_tokens *scratch[CORE_SEARCHERS_MAX];
    unsigned n_readers, n_scratch;

    atomic_int phase; /* Latent__V1__Phase */
    atomic_uint percent;
    atomic_bool ready;    /* requests are served */
    atomic_bool stopping; /* asked to end */

    /* The loop thread's. */
    uv_loop_t loop;
    struct server *server;
    struct request *flight; /* all requests not yet finished */
    size_t n_flight;
    atomic_size_t flight_cost; /* bytes; any thread */
    atomic_size_t intake_cost; /* of frames under way, by what they announce; any thread reads */
    int exit_status;
    int lock_fd; /* of the data folder: taken before everything, given back last */

    /* To the loop. */
    uv_async_t wake;
    pthread_mutex_t lock;
    struct request *finished, **finished_tail; /* under the lock */
    bool load_done;       /* under the lock */
    int load_result;
    struct err_msg load_message;
    pthread_t loader;
    bool loader_running;
};

/* Serves until SIGTERM, SIGINT or, where that is not ignored, SIGHUP; returns the process's exit status. Logs what goes wrong. */
int core_run(const struct settings *s);

/* Loader thread (load.c): model, index, engine, threads. */
int core_load(struct core *c, struct err_msg *em);
/* Undoes core_load, whatever it got to. No request may be in flight. */
void core_unload(struct core *c);

/* Loop thread: a clean end, as on SIGTERM. */
void core_stop(struct core *c);

/* Loop thread: how short memory is. */
enum memory_level core_memory_level(struct core *c);
/* Loop thread: clients' requests take more than they should. */
bool core_is_full(const struct core *c);
/* Loop thread: what frames under way may take. */
uint64_t core_intake_bytes(const struct core *c);

/* Any thread: the loop looks at what has changed. */
void core_wake(struct core *c);

#endif
