/* What the user may set, from latentd.conf and from the command line; one table serves both.
 * Thread-safety: unsafe while being filled, read-only and safe afterwards. */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct settings {
    char *data;            /* data folder */
    char *socket;          /* path of the Unix socket */
    char *listen;          /* HOST:PORT for Noise over TCP; NULL: none */
    char *model;           /* model file; NULL: the one that came with latentd */
    char *reranker;        /* reranker file; NULL: none */
    char *mask;            /* "causal" or "full"; NULL: as the model file says */
    char *pooling;         /* "mean", "last" or "cls"; NULL: as the model file says */
    uint64_t dim;          /* first so many values of a vector; 0: all */
    char *device;          /* "auto", "cpu", "vulkan", part of a name, UUID */
    char *log_level;       /* "error", "warn", "info", "debug" */
    char *authorized_keys; /* key file; NULL: authorized_keys in the data folder */
    char *allow_users;     /* names or numbers, comma-separated, that may use the Unix socket besides us and root */
    char *socket_keys;     /* "yes": the Unix socket's users need a key too; "no" */
    char *allow_group;     /* whose members may use the Unix socket; the socket is then 0660 */
    uint64_t threads;      /* CPU threads of the model; 0: as many as the process may use */
    uint64_t device_memory_mb; /* that model and reranker together may take on their device; layers that do not fit are streamed; 0: most of it,
                                * half on the CPU */
    uint64_t searchers;    /* threads that search; 0: chosen by processors */
    uint64_t index_threads; /* that insert vectors; 0: as many as processors */
    uint64_t memory_mb;    /* daemon/memory.h; 0: found */
    uint64_t connections;  /* at most */
    bool recover;          /* --recover: the store alone; not in the file */
    bool is_private;       /* --private: started by a client library, for its data folder; not in the file */
    uint64_t idle_exit;    /* seconds without a connection after which the daemon ends; 0: never */
    uint64_t sample_every; /* one in so many searches of a graph is repeated exactly; 0: none */
};

/* idle-exit of a private daemon for which none is set. */
#define SETTINGS_PRIVATE_IDLE_S 10

/* One settable thing. */
struct setting {
    const char *name; /* "log-level": --log-level VALUE, or log-level = VALUE in the file */
    size_t offset;    /* in struct settings */
    bool number;
    uint64_t min, max; /* of a number */
    const char *arg;  /* what stands for the value in --help */
    const char *help;
};
extern const struct setting settings_table[];
extern const unsigned settings_count;

/* The defaults that need no look at the machine's folders. */
void settings_init(struct settings *s);
void settings_finish(struct settings *s);

/* Sets one by name. LT_ENOTFOUND: no such name; LT_EINVAL: not a value for it; says which. */
int settings_set(struct settings *s, const char *name, const char *value, struct err_msg *em);

/* Fills what is still empty with the places of paths.h. */
int settings_complete(struct settings *s, struct err_msg *em);

#endif
