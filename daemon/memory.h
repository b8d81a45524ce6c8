/* How much memory the daemon may have, what its parts get of that, and how much it takes.
 *
 * One limit: the setting `memory`, or three quarters of what the control groups (memory.max and memory.high of cgroups, systemd's MemoryMax and
 * MemoryHigh) and the machine leave. It covers what the process has of its own, whoever allocated it: heap, graphs, packed weights,
 * activations, a database's pages, what a driver takes, an integrated GPU's for it too. Pages of mapped files are not in it; the kernel takes those
 * when it needs them, and the rest up to the control group's limit is theirs.
 *
 *     limit = program + model + reranker + store + requests + what remains for graphs and for what grows with data
 *
 * Each part but the last is bounded by construction: the model by its plan (engine_params.host_bytes), the store by its connections' caches,
 * requests by admission. What is left over is watched: where the process comes near the limit (memory_level), clients are read from one request at
 * a time, caches shrink and graphs move into their files (index_set_lean); at the limit additions are refused, to be tried again later.
 *
 * A limit that was set below what the parts need at least is refused at the start; where control groups leave less, the start says so and goes
 * on with as little as can be, since a daemon that does not come up helps nobody, and data it would lose by it there is none. */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes; 0: not known, or none. */
struct memory_system {
    uint64_t machine;   /* all of it */
    uint64_t group;     /* the smallest limit of the process's control groups */
    char group_file[96]; /* which one that is, "memory.high" say, and whose */
};

/* Reads /proc and /sys below root ("" but for tests). What cannot be read is not known. */
void memory_look(const char *root, struct memory_system *out);

/* What the parts take at least, and in the end at most. */
struct memory_parts {
    uint64_t program;  /* code's data, stacks, the allocator's waste, a Vulkan driver */
    uint64_t model;    /* weights, batches and tokenizer, in the machine's memory */
    uint64_t reranker; /* the same of its; 0: there is none */
    uint64_t store;    /* the database's connections, and postings */
    uint64_t requests; /* clients' requests and replies in work, and frames under way */
};

enum memory_level {
    MEMORY_FINE,
    MEMORY_NEAR, /* a fifth is left, or less */
    MEMORY_FULL, /* nothing is left */
};

/* Thread-safety: the figures are constant once requests are served; memory_level and memory_used are safe. */
struct memory {
    uint64_t limit, most;       /* most: what it could be raised to for what is needed at least */
    unsigned n_readers;
    bool set;                   /* by the user */
    char source[160];           /* where it comes from, for people */
    struct memory_parts least, parts;
    uint32_t writer_kib, reader_kib, postings_kib; /* the store's caches */
    uint64_t unseen;            /* of the model's and the reranker's, what the kernel does not count as this process's */
    uint64_t intake_bytes;      /* of frames that are being received, daemon/intake.h */
    uint64_t request_bytes;     /* in work before clients are read from one request at a time; at twice as many they are refused */
    atomic_uint_fast64_t used, looked_ns;
};

/* Before the model is known: what the other parts take until memory_divide is what they take at least.
 *
 * limit_mib   the setting; 0: found
 * n_readers   connections that read */
void memory_init(struct memory *m, const struct memory_system *sys, uint64_t limit_mib, unsigned n_readers);

/* Sums of bytes. */
uint64_t memory_sum(const struct memory_parts *p);

/* What model and reranker may have together, once memory.least has what they take beside the device; 0: there is no bound. */
uint64_t memory_for_models(const struct memory *m);

/* m->least is complete. Errors: LT_ENOMEM where the limit was set and is less; the message has it and the least that there must be, with its
 * parts. */
int memory_check(struct memory *m, struct err_msg *em);

/* m->parts has what program, model and reranker take: the rest is divided. */
void memory_divide(struct memory *m);

/* Of the process's own, and unseen ones, bytes: at most so old (MEMORY_LOOK_NS). Safe on any thread; does not block. */
#define MEMORY_LOOK_NS 20000000u
uint64_t memory_used(struct memory *m);
enum memory_level memory_level(struct memory *m);

#endif
