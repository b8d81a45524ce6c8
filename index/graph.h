/* One collection's neighbour graph: HNSW over labels, with int8 codes in the nodes and exact
 * rescoring, kept in memory or mapped from its last checkpoint.
 *
 * The graph is a cache of the store: whatever is on disk, graph_open gives a usable graph (an empty
 * one when the files are missing or damaged) and says up to which operation it is complete. The
 * caller replays the rest with graph_add and graph_remove, both of which may be repeated.
 *
 * Files in `dir` (index/FORMAT.md): MANIFEST, segment-*.seg, vectors-*.vec.
 *
 * Thread-safety: one writer, many readers. graph_open … graph_remove, graph_save_begin … graph_compact, graph_scrub,
 * graph_check and graph_destroy belong to one writer thread at a time, which may have others insert for it (graph_add_many);
 * graph_search, graph_count and the other figures may run on any thread meanwhile and never wait for the writer.
 */
#ifndef INDEX_GRAPH_H
#define INDEX_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum metric {
    METRIC_COSINE = 0, /* vectors are brought to unit length on entry; zero length is LT_ENAN */
    METRIC_IP = 1,
    METRIC_L2 = 2,
};

/* What a node carries for traversal. Hits are always scored with the exact vector. */
enum graph_codes {
    GRAPH_CODES_AUTO = 0, /* int8 from 32 dimensions on, f32 below */
    GRAPH_CODES_INT8 = 1, /* dim bytes and a scale, from 256 dimensions on dim bits too; exact f32 vectors in a mapped file of their own */
    GRAPH_CODES_F32 = 2,  /* the exact vector itself */
    GRAPH_CODES_1BIT = 3, /* dim bits (sketch.h); exact f32 vectors as with int8 */
};

#define GRAPH_DIM_MAX 65536u
#define GRAPH_M_MIN 4u
#define GRAPH_M_MAX 128u
#define GRAPH_EF_CONSTRUCTION_MAX 4096u
#define GRAPH_EF_MAX 65536u
#define GRAPH_SUM2_MAX 1e37 /* squared length of a vector or query: distances of longer ones may leave f32 */
#define GRAPH_SHORT_MAX 0xFF0000u /* nodes, replaced ones that wait for their sweep included, that 3 bytes a link can tell apart */

struct graph_params {
    uint32_t dim;             /* 1 … GRAPH_DIM_MAX */
    enum metric metric;
    uint32_t m;               /* links per node above level 0, twice that on level 0; 0: 16 */
    uint32_t ef_construction; /* candidates per insertion; 0: 200 */
    enum graph_codes codes;
    uint64_t seed;            /* of the level draw; 0: a fixed one */
    bool wide;                /* a new graph gets 4 bytes a link instead of 3; one that is loaded has what it has */
    bool inspect;             /* only to look: opening changes nothing in dir; no graph_add, no graph_checkpoint */
};

/* What was found on disk, in words for the log. */
struct graph_report {
    bool damaged;        /* something was there and could not be used, or a check failed */
    uint32_t n_problems; /* counted in full even where text holds only the first ones */
    uint32_t n_foreign;  /* files that are not ours: left alone */
    uint32_t n_removed;  /* our own left-over files, deleted */
    uint64_t n_live;     /* graph_check: live nodes */
    uint64_t n_reached;  /* graph_check: live nodes a walk over the links reaches */
    char text[480];      /* "segment-….seg: block 3: checksum differs"; empty when all is well */
};

struct graph;

/* Opens the graph in dir (created if missing), mapping its last checkpoint.
 *
 * dir            NULL: in memory only, graph_checkpoint is LT_EUNSUPPORTED
 * *covered_seq   the seq of the checkpoint that was loaded; 0: the graph is empty and must be refilled
 * rep            may be NULL
 *
 * Damage, another dimension, metric, m or code type in the files: not an error, an empty graph and a report.
 * Errors: LT_EINVAL (params out of range), LT_ENOMEM (to map files, too: nothing of them is changed), LT_EIO, LT_EPERM (dir cannot be made
 * or written).
 * Blocks: on disk, for the header only. */
int graph_open(struct graph **g, const char *dir, const struct graph_params *p,
               uint64_t *covered_seq, struct graph_report *rep, struct err_msg *em);

/* No reader may be inside graph_search. What was not checkpointed is forgotten (the store has it). */
void graph_destroy(struct graph **g);

/* Deletes every file of ours in dir, and dir itself if it is empty then. A missing dir is fine. */
int graph_erase(const char *dir, struct err_msg *em);

/* Adds v (dim floats) under label, replacing the label's earlier vector. Found by every search that
 * starts after the return. Labels are any value but UINT64_MAX.
 * Errors: LT_ENAN (NaN, Inf, too long, or zero length with METRIC_COSINE), LT_EINVAL, LT_ENOMEM, LT_ELIMIT (full: with short links a
 * new graph with `wide` is the way out, with wide ones there is none), LT_ENOSPC or LT_EIO (the exact vectors' file); the
 * graph is then as before. */
int graph_add(struct graph *g, uint64_t label, const float *v);

#define GRAPH_THREADS_MAX 64u

/* Adds n vectors under labels as graph_add does one after the other, with up to n_threads threads (0 and 1: the caller alone), the
 * caller's among them. Labels that are there already, or come twice, are replaced in their order, by the caller's thread. Which links
 * come about depends on the threads' pace; with one it does not.
 *
 * v         n rows of dim floats
 * results   n places: what graph_add returns for each. After an error other than LT_ENAN and LT_EINVAL the rest is not tried and
 *           gets the same
 *
 * Each is found by every search that starts after the return. Blocks: until all are in. */
void graph_add_many(struct graph *g, const uint64_t *labels, const float *v, size_t n, unsigned n_threads, int *results);

/* Takes label out and links its neighbours to each other. No search that starts afterwards returns it.
 * Errors: LT_ENOTFOUND (harmless in a replay), LT_ENOMEM. */
int graph_remove(struct graph *g, uint64_t label);

/* True when label is in the graph. Writer thread only. */
bool graph_has(const struct graph *g, uint64_t label);

/* Calls fn for every label (in no order) until it returns false. Writer thread only. */
void graph_labels(const struct graph *g, bool (*fn)(void *arg, uint64_t label), void *arg);

struct graph_query {
    const float *v; /* dim floats; need not be unit length */
    uint32_t k;     /* 0: no hits, not an error */
    uint32_t ef;    /* candidates kept; 0: max(64, 2k), with 1-bit codes twice that; raised to k */
    /* NULL: every label. Called on the searching thread, for labels about to become a hit only. */
    bool (*allow)(void *arg, uint64_t label);
    void *allow_arg;
    bool exact; /* compare with every vector */
    /* Not NULL: exact scan of just these labels (unknown ones are skipped; `allow` applies too). */
    const uint64_t *labels;
    size_t n_labels;
};

struct graph_hit {
    uint64_t label;
    float score; /* cosine, inner product, or -(squared distance); from the exact vector */
};

/* Why fewer than k came back. */
enum graph_short {
    GRAPH_SHORT_NONE = 0,  /* k hits */
    GRAPH_SHORT_EXHAUSTED, /* the collection has no more */
    GRAPH_SHORT_FILTER,    /* no more pass `allow` or are named in `labels` */
    GRAPH_SHORT_BUDGET,    /* the walk ended first; a larger ef may find more */
};

struct graph_stats {
    uint64_t n_distances; /* codes compared */
    uint64_t n_rescored;  /* exact vectors read */
    uint32_t ef;          /* as used */
    bool exact;           /* every allowed vector was compared, asked for or as the fall-back of a narrow filter */
    enum graph_short why;
};

/* Memory of one searching thread, usable with any graph.
 * Thread-safety: unsafe, one per thread. */
struct graph_scratch;
int graph_scratch_create(struct graph_scratch **s);
void graph_scratch_destroy(struct graph_scratch **s);

/* The k nearest to q->v.
 *
 * out   room for k hits, best first (ties: in no order); *n of them are valid
 * st    may be NULL
 *
 * Fewer than k is not an error; st->why says why. A filter that lets little through makes the search
 * compare all allowed vectors instead.
 * Blocks: no. Errors: LT_ENAN, LT_EINVAL (ef or k above GRAPH_EF_MAX while not exact), LT_ENOMEM. */
int graph_search(const struct graph *g, struct graph_scratch *s, const struct graph_query *q,
                 struct graph_hit *out, size_t *n, struct graph_stats *st);

/* ---- saving ---- *
 * A save writes a new segment and makes it the current one by a rename. It does so in bites of a few megabytes, between which the
 * writer adds and removes as it likes: what is written is the graph of one moment. On failure the former segment stays current and
 * the graph goes on working. Besides the graph itself, memory has at most 24 bytes a vector more for that long, and after a save
 * with changes meanwhile the label lookup, as much again. */

/* Begins one. With `whole` the graph is written without its free slots, which deletions left and which take memory and disk until
 * then: all of it anew, exact vectors too, beside the old files; it works in memory as well. A change of the graph ends such a save
 * with LT_EBUSY.
 * Errors: LT_EUNSUPPORTED (no dir), LT_EBUSY (one is under way), LT_ENOMEM. */
int graph_save_begin(struct graph *g, bool whole, struct err_msg *em);

/* The next bite of it.
 *
 * seq      of the last operation that is in the graph now; where a save ends well, covered_seq is what was given for its moment
 * until_ns (clock_ns) where the disk has not done with the bite before, it is waited for until then at most; UINT64_MAX: always
 * *done    it has ended, well or with the error returned, or there was none
 *
 * Errors: LT_ENOSPC, LT_EIO, LT_ENOMEM, LT_EBUSY (whole: the graph has changed), LT_ECORRUPT: the caller drops the files and refills. */
int graph_save_step(struct graph *g, uint64_t seq, uint64_t until_ns, bool *done, struct err_msg *em);

/* While lean, a graph moves into the file of each save that is not `whole`, also from memory of the process's own, which goes back to the
 * system; else only from a former file. Nodes that change then take a page of memory each again. Writer thread only. */
void graph_set_lean(struct graph *g, bool lean);

/* Its folder is another's now, or gone: from here on no file there is written or removed, and saving fails with LT_EIO. Searches and changes
 * go on in memory. Writer thread only. */
void graph_forsake(struct graph *g);

/* Memory of the process's own that nodes, links and exact vectors take, about. Writer thread only. */
uint64_t graph_own_bytes(const struct graph *g);

/* True between a begin and the end. Writer thread only. */
bool graph_saving(const struct graph *g);

/* True while a save can only wait for the disk. Writer thread only. */
bool graph_save_waits(struct graph *g);

/* Ends a save without its having come about, or if it is too late for that, well. Blocks: for what is on its way to the disk. */
void graph_save_abort(struct graph *g);

/* A whole save at once, in the place of one that is under way. Blocks: on disk, for the whole graph. */
int graph_checkpoint(struct graph *g, uint64_t seq, struct err_msg *em);

/* The same with `whole`. Blocks: on disk, for the whole graph and its vectors. */
int graph_compact(struct graph *g, uint64_t seq, struct err_msg *em);

/* True when enough changed since the last checkpoint to be worth one: as much as it holds, so that all
 * checkpoints together write at most twice the graph, and the last one it once more. closing: true also for less, since what is not
 * in the checkpoint has to be replayed. */
bool graph_wants_checkpoint(const struct graph *g, bool closing);

/* True once a mapped file turned out to lack bytes that were there: what searches found since may be wrong. The caller drops
 * the files and refills, as after damage. Thread-safety: safe. */
bool graph_lost(const struct graph *g);

/* True once an addition was refused for want of numbers that a graph with `wide` would have. Thread-safety: safe. */
bool graph_full(const struct graph *g);

/* Verifies up to max_blocks further checksums of the mapped files, wrapping around; *n_checked of them. Also looks, for some
 * milliseconds, at the links, levels and parents of further nodes, so that what is wrong under right checksums is found as well
 * (UINT32_MAX blocks: of all nodes). While a save runs no checksums are looked at: its files come and go.
 * Damage: LT_ECORRUPT and a report (*rep is set in any case); the caller then drops the files (graph_erase) and refills. */
int graph_scrub(struct graph *g, uint32_t max_blocks, uint32_t *n_checked, struct graph_report *rep);

/* Checks everything: checksums, links, levels, counts, label lookup, and that a walk over the links reaches
 * every live node. LT_ECORRUPT and a report when something is wrong. Blocks: for the whole graph. */
int graph_check(const struct graph *g, struct graph_report *rep);

struct graph_info {
    uint64_t n_live;          /* vectors that can be found */
    uint64_t n_slots;         /* nodes in memory, free and dying ones included */
    uint64_t n_changes;       /* adds and removes since the last checkpoint */
    uint64_t covered_seq;     /* of the last checkpoint; 0: none */
    uint64_t bytes_on_disk;   /* all files of ours */
    uint64_t bytes_codes;     /* nodes with codes and links, in memory or mapped */
    uint64_t bytes_vectors;   /* the exact vectors' file (page cache) */
    uint32_t dim, m, ef_construction;
    enum metric metric;
    enum graph_codes codes;   /* as chosen */
    const char *kernel;       /* "avx512vnni", "avx2", "neon", "c", … */
};

/* Any thread. */
void graph_info(const struct graph *g, struct graph_info *out);
uint64_t graph_count(const struct graph *g);

#endif
