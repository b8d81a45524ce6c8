/* The data folder: collections, documents, chunks, words, jobs, and the graphs made from them.
 *
 * The store (SQLite, `store.db`) is the truth; each collection's graph is a cache of it, refilled when
 * it is missing, behind or damaged. Files: index/FORMAT.md.
 *
 * Two moments in a document's life. *Accepted*: its text is durable, after the index_commit that followed
 * its index_put. *Searchable*: all its chunks have vectors, durable and found by every search that starts
 * afterwards. Both are points in one sequence of operations (`seq`), so "everything up to N" makes sense.
 * An id that is put again replaces: search finds the old version until the new one is searchable, then
 * only the new one, with no moment in between where neither is found; index_get gives the newest accepted.
 * Where the searchable version has the same title, text and chunks, nothing is embedded again: with the same metadata it
 * stays as it is, with others the new version takes its vectors and is searchable with the commit.
 *
 * A document is stored whole or not at all: when one of its chunks cannot be embedded (index_fail_chunk),
 * the new version goes away, the old one, if any, stays.
 *
 * Threads. One *writer thread* calls everything marked (writer). Each *searcher* has its own index_reader
 * (own read-only connection, own scratch memory) and uses nothing else but the functions marked (any).
 * A reader never waits for the writer.
 *
 * Strings out of results are NUL-terminated and also carry their length where a NUL may occur inside.
 */
#ifndef INDEX_INDEX_H
#define INDEX_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "index/graph.h"

#define INDEX_NAME_MAX 64u                 /* bytes of a collection's name */
#define INDEX_ID_MAX 512u                  /* bytes of a document's id, 1 at least */
#define INDEX_TEXT_MAX (64u << 20)         /* bytes of a document's text */
#define INDEX_TITLE_MAX (64u << 10)        /* bytes of a title */
#define INDEX_METADATA_MAX (64u << 10)     /* bytes of a metadata object, nesting at most 32 */
#define INDEX_CHUNKS_MAX 65536u            /* chunks of a document */
#define INDEX_LABEL_MAX 512u               /* bytes of a job's label */
#define INDEX_JOB_ERROR_MAX 255
#define INDEX_COLLECTIONS_MAX 1024u
#define INDEX_K_MAX 10000u                 /* hits of one search */
#define INDEX_K_DEFAULT 10u
#define INDEX_DIM_MAX 16384u
#define INDEX_FINGERPRINT_SIZE 65u         /* 64 hex digits and NUL */

/* ---- opening ---------------------------------------------------------------- */

struct index;

struct index_params {
    const char *dir;         /* created with mode 0700 if missing */
    const char *fingerprint; /* of the model that embeds; NULL: not known yet, index_set_model later */
    uint32_t dim;            /* of that model */
    const char *vfs;         /* name of a registered SQLite VFS; NULL: the default (tests use their own) */
    uint32_t rest_ms;        /* a collection without a change for so long is at rest, and small savings of space pay; 0: 10,000 */
    uint32_t sample_every;   /* of each collection's searches of its graph, one in so many is set aside for index_sample; 0: none */
    uint64_t sample_vectors; /* that one of them is compared with, at most; 0: 131,072 */
    unsigned threads;        /* that may insert into a graph at once, the writer's among them; 0: 1 */
    uint32_t writer_kib, reader_kib; /* of the database that the writing connection and each reader keep in memory; 0: 65,536 and 32,768 */
    uint32_t postings_kib;           /* of words that searches have asked for, kept for the next; 0: 32,768 */
    int64_t alarm_ms;        /* compaction that is wanted for so long and not done counts as failing; 0: 600,000 */
    bool inspect;            /* for checks: the folder must be there, and nothing in it is changed by opening and closing, but that
                              * tables of an earlier version are brought up to this one's */
    bool locked;             /* the caller holds the folder's lock (index_lock), and keeps it until index_close has returned */
    bool recover;            /* the store alone: graphs are neither opened nor made anew, their files stay as they are; searches compare
                              * all vectors */
    /* Called while opening, at most some times a second; percent never goes back. May be NULL. */
    void (*progress)(void *arg, unsigned percent);
    void *progress_arg;
};

/* Makes the folder, if it is missing, and takes its lock: for a process that has more to guard by it than the index. It holds until the
 * descriptor is closed.
 * Errors: LT_ELOCKED (the message names the holder's pid), LT_EPERM, LT_EIO, LT_EINVAL. */
int index_lock(const char *dir, int *fd, struct err_msg *em);
/* Tells whoever finds the folder taken on which socket its holder is to be reached. */
void index_lock_tell(int fd, const char *socket);

/* Locks the folder, opens the store, drops temporary collections, opens the graphs.
 *
 * Operations that a graph lacks are not replayed here but by index_maintain; until then searches compare
 * those vectors exactly and say `degraded`. Damaged graph files never make this fail: they are named in
 * the log and the graph is refilled.
 *
 * Blocks: on disk. The calling thread becomes the writer thread (or hands over before the next call).
 * Errors: LT_ELOCKED (the message names the holder's pid), LT_ENOSPC, LT_EPERM, LT_EIO,
 * LT_EVERSION (a newer latentd wrote the store), LT_ECORRUPT (the store itself is damaged). */
int index_open(struct index **ix, const struct index_params *p, struct err_msg *em);

/* (writer) Commits nothing: an open group is rolled back. Checkpoints graphs and store, unlocks.
 * Every reader must be destroyed before. */
void index_close(struct index **ix);

/* (writer) The model that embeds from now on. Collections of another model are listed but refuse texts
 * and vectors with LT_EMODEL. */
int index_set_model(struct index *ix, const char *fingerprint, uint32_t dim, struct err_msg *em);

/* (writer) The same three as in index_params, from now on; a reader's when it is created. */
int index_set_caches(struct index *ix, uint32_t writer_kib, uint32_t reader_kib, uint32_t postings_kib, struct err_msg *em);

/* (writer) For times when memory is short; between groups. With lean, graphs that have much in memory of the process's own are saved, and go on
 * in the mapped file, whose pages the kernel may take; what the database connection need not keep and what filters keep is given back. As they change
 * they take memory again, so that it has to be called again, and more is written than else. Blocks: for the saves. Without: they save as
 * usual from now on. */
void index_set_lean(struct index *ix, bool lean);

/* What the daemon shows about the folder as a whole. */
struct index_status {
    bool read_only; /* disk full or failed commit; LT_ENOSPC clears by itself when there is space */
    int refused;    /* what additions are refused with then: LT_ENOSPC, or LT_EIO, which stays until the store is opened again */
    char reason[256];
    uint64_t pending_chunks;   /* of all collections */
    unsigned recovered_percent; /* never falls while graphs are refilled; 100: every graph covers its store */
    /* What needs a look though everything is answered; empty: nothing. A log that was damaged at the start, housekeeping that fails
     * (since when and why), a log that cannot be copied back, a graph that cannot be saved, vectors that cannot be read: the first of
     * these. */
    char warning[400];
    uint64_t seq;              /* last operation committed */
    uint64_t bytes_database;   /* of SQLite, in memory, of all of the process */
    uint64_t bytes_graphs;     /* of graphs, in memory of the process's own, estimate */
    uint64_t bytes_postings;   /* of what searches by words keep for the next ones */
    uint64_t bytes_filters;    /* of what filters keep between searches: which chunks they let through */
};
/* (any) */
void index_get_status(struct index *ix, struct index_status *out);

/* ---- collections ------------------------------------------------------------ */

struct index_collection {
    char name[INDEX_NAME_MAX + 1];
    uint32_t dim;
    enum metric metric;
    bool vectors_only;
    bool temporary;
    uint32_t m, ef_construction;
    char fingerprint[INDEX_FINGERPRINT_SIZE]; /* empty: vectors_only */
    uint64_t documents;      /* searchable, or accepted for the first time */
    uint64_t chunks;         /* of the searchable documents */
    uint64_t pending_chunks; /* durable, no vector yet */
    uint64_t bytes_store;    /* estimate: texts, metadata, vectors, words */
    uint64_t bytes_index;    /* the graph's files */
    uint64_t unsaved;        /* changes that they lack: the next start makes up for them */
    /* Saving the graph, and making it small again after deletions. Times are of the wall clock in milliseconds. */
    bool compacting;              /* just now */
    int64_t compacted_ms;         /* the last success; 0: none since the start */
    uint64_t compacted_bytes;     /* written since the start */
    int64_t compaction_failed_ms; /* since when it is wanted and does not succeed; 0: all is well */
    char compaction_error[160];   /* the last failure then */
    uint64_t accepted_seq, searchable_seq;
    float recall;            /* of the last searches that index_sample repeated, together; 0 without samples */
    uint32_t recall_samples; /* how many, 256 at most */
    bool degraded;
    char degraded_reason[160];
    char index_kind[16]; /* "hnsw-int8", "hnsw-1bit", "hnsw-f32", "exact" (while the graph is empty and behind) */
};

struct index_collection_params {
    const char *name;      /* 1 to 64 of [A-Za-z0-9._-], not starting with '.' */
    uint32_t dim;          /* 0: the model's; must be the model's unless vectors_only */
    enum metric metric;
    bool vectors_only;     /* clients bring vectors */
    uint32_t m, ef_construction; /* 0: 16, 200 */
    bool temporary;        /* dropped by the next index_open */
    enum graph_codes codes;
};

/* (writer) Durable when it returns: it ends an open group with a commit of its own, so call it between groups.
 * Errors: LT_EINVAL (name, dim, metric, m), LT_EEXIST, LT_ELIMIT, LT_ELOADING (no model yet), LT_ENOSPC … */
int index_create(struct index *ix, const struct index_collection_params *p, struct err_msg *em);
/* (writer) Durable, gone from every later search and list; space is given back by index_maintain.
 * Between groups. Errors: LT_ENOTFOUND. */
int index_drop(struct index *ix, const char *name, struct err_msg *em);
/* (writer) The collection `by` takes the name of `name`, which is dropped: both or neither, durable, and no search between finds neither. For
 * what was made anew from another: accepted_seq is the last operation of `name` that the caller has seen. Between groups.
 * Errors: LT_ENOTFOUND (which); LT_EINVAL (the same, or a temporary one for one that is not); LT_EBUSY: `name` has changed since, or not all of
 * `by` is searchable yet. */
int index_replace(struct index *ix, const char *name, const char *by, uint64_t accepted_seq, struct err_msg *em);
/* (any) Errors: LT_ENOTFOUND. */
int index_info(struct index *ix, const char *name, struct index_collection *out, struct err_msg *em);
/* (any) All, by name; *list is malloc'ed, the caller frees it. */
int index_list(struct index *ix, struct index_collection **list, size_t *n);
/* (any) The two numbers alone, cheap enough to ask for every waiting request. Errors: LT_ENOTFOUND. */
int index_seqs(struct index *ix, const char *name, uint64_t *accepted, uint64_t *searchable);

/* ---- writing ---------------------------------------------------------------- *
 * index_put … index_fail_chunk collect in one open group; index_commit makes the group durable with one
 * sync. Nothing of a group may be acknowledged before that. An item that is refused leaves no trace in it. */

struct index_span {
    uint32_t start, end; /* bytes of the text, start <= end, on code point borders */
};

struct index_doc {
    const char *collection;
    const char *id;
    size_t id_len;
    const char *text; /* NULL only with len 0 */
    size_t text_len;
    const char *title; /* NULL: none */
    size_t title_len;
    const char *metadata; /* a JSON object; NULL or len 0: none */
    size_t metadata_len;
    const struct index_span *spans; /* the chunks, in order; NULL: one chunk, the whole text */
    size_t n_spans;
    const float *vectors; /* n_spans (or 1) × dim: searchable with the commit; NULL: pending */
    uint32_t dim;         /* of vectors */
    uint64_t job;         /* 0: none */
    uint32_t source_bytes; /* what the job counts for it */
    uint64_t *version;    /* on success: the number of this version of the document, never used again; NULL: not wanted */
    bool *kept;           /* on success: the vectors of the searchable version serve, nothing is pending; NULL: not wanted */
};

/* (writer) Errors about the item: LT_EINVAL, LT_EUTF8, LT_EEMPTY (no id), LT_ELIMIT, LT_EFORMAT (metadata), LT_EDIM,
 * LT_ENAN, LT_EMODEL, LT_ENOTFOUND (collection, job), LT_ECANCELLED (the job is), LT_EUNSUPPORTED (text without
 * a vector where vectors_only). About the store: LT_ENOSPC, LT_EIO: the whole group is lost then, and index_commit
 * says so again. */
int index_put(struct index *ix, const struct index_doc *doc, struct err_msg *em);

/* (writer) Takes the document and everything of it out, newer pending versions included.
 * Works on a full disk too, from a small reserve; and where the document's rows contradict each other or its text is lost: what
 * its words left in their index then stays there, and the log says so, until `latent check --repair`.
 * Errors: LT_ENOTFOUND, LT_EIO, LT_ENOSPC, LT_ECORRUPT (the word index or the database is damaged). */
int index_delete(struct index *ix, const char *collection, const char *id, size_t id_len,
                 struct err_msg *em);

/* (writer) Ends the group: 0 means all of it is durable and, where vectors came with it, searchable; *seq is
 * the last operation (NULL: not wanted). An empty group is fine and does not touch the disk.
 * Errors: LT_ENOSPC, LT_EIO, LT_ENOMEM: nothing of the group happened. */
int index_commit(struct index *ix, uint64_t *seq, struct err_msg *em);

/* A chunk to embed. Pointers live until the list is finished. */
struct index_chunk {
    uint64_t chunk; /* id for index_set_vectors */
    uint64_t version; /* of its document, as index_put told */
    uint64_t job;
    const char *title;
    size_t title_len;
    const char *text; /* the chunk's bytes */
    size_t text_len;
    const char *doc_id; /* to show as the item in work */
    const char *damage; /* NULL; or why there is nothing to embed, and index_fail_chunk with LT_ECORRUPT is all that is left */
    uint32_t number;
    bool last; /* last chunk of its document */
};
struct index_chunk_list {
    struct index_chunk *chunks;
    size_t n;
    uint64_t next; /* `after` of the next call */
    void *memory;
};
void index_chunk_list_finish(struct index_chunk_list *list);

/* (writer) The first chunks with id > after that lack a vector, oldest first, of collections of the current
 * model; at most limit, and at most max_bytes of text (one at least). list->n is 0 at the end, where `next` has not moved, and after many
 * chunks of cancelled jobs, which are passed over. A chunk whose row contradicts its document's text is listed with its `damage`, and
 * holds up none behind it.
 * Call between groups: rows of an open group are seen as well. */
int index_pending(struct index *ix, uint64_t after, size_t limit, size_t max_bytes,
                  struct index_chunk_list *list, struct err_msg *em);

/* (writer) Vectors for chunks of index_pending, n × dim, in any order. A document whose last chunk gets its
 * vector becomes searchable with the commit. Chunks that are gone (deleted, replaced, cancelled) or have one
 * already are passed over: *n_set counts the others (may be NULL). Errors: LT_EDIM; LT_ENAN names the chunk and sets nothing. */
int index_set_vectors(struct index *ix, const uint64_t *chunks, const float *vectors, size_t n,
                      uint32_t dim, size_t *n_set, struct err_msg *em);

/* (writer) This chunk cannot be embedded: its document's pending version goes, its job counts a failure.
 * A chunk that is gone is fine, and so are rows that contradict each other. */
int index_fail_chunk(struct index *ix, uint64_t chunk, int code, const char *reason, struct err_msg *em);

/* (writer) Work that can wait a little, in small bites: refilling graphs, erasing dropped collections, graph and store
 * checkpoints, giving space back, leaving read-only mode. Between groups: in idle moments, and after each group, with a
 * budget of 0 while others wait: the log must not outgrow its bounds.
 * Returns after about budget_ms (a bite of what is done takes some milliseconds); *more: there is more of it to do now. */
int index_maintain(struct index *ix, unsigned budget_ms, bool *more, struct err_msg *em);

/* ---- jobs ------------------------------------------------------------------- */

enum index_job_state { /* the numbers are the protocol's */
    INDEX_JOB_OPEN = 0,
    INDEX_JOB_RUNNING = 1,   /* closed, documents pending */
    INDEX_JOB_DONE = 2,
    INDEX_JOB_CANCELLED = 3,
    INDEX_JOB_FAILED = 4,    /* done, with failed > 0 */
    INDEX_JOB_ABANDONED = 5, /* nobody closed it, nothing is pending; index_put opens it again */
};
struct index_job {
    uint64_t job;
    char collection[INDEX_NAME_MAX + 1];
    char label[INDEX_LABEL_MAX + 1];
    enum index_job_state state;
    uint64_t accepted, searchable, failed; /* documents */
    uint64_t pending_chunks;
    uint64_t total_documents, total_bytes; /* as announced */
    uint64_t received_bytes; /* of the documents that came, as they say, but for those that a cancelled job dropped */
    uint64_t done_bytes;     /* of those that are searchable, failed or were replaced meanwhile */
    int64_t created_ms;
    char last_error[INDEX_JOB_ERROR_MAX + 1]; /* of the last failed document, with its id; empty: none */
};

/* (writer) Durable when they return; between groups. Of finished and abandoned jobs the last 1,000 are kept.
 * Cancel drops the documents that are not searchable yet; a closed job of which none is left stays as it ended. Those are dropped some at a time,
 * each time durably: 1 says that there are more, and the next call goes on. The job is cancelled, and none of them becomes searchable any more,
 * from the first call on; index_maintain drops what nobody calls for. Errors: LT_ENOTFOUND, LT_EINVAL. */
int index_job_open(struct index *ix, const char *collection, const char *label,
                   uint64_t total_documents, uint64_t total_bytes, uint64_t *job, struct err_msg *em);
int index_job_close(struct index *ix, uint64_t job, struct err_msg *em);
int index_job_cancel(struct index *ix, uint64_t job, struct err_msg *em);
/* (writer) Does it take documents of this collection now? 1: yes, but it is abandoned; 0: yes.
 * Errors: LT_ENOTFOUND (no job, or another collection's), LT_ECANCELLED, LT_EINVAL (closed). */
int index_job_takes(struct index *ix, const char *collection, uint64_t job, struct err_msg *em);
/* (writer) Counts documents for the collection that were refused before they reached index_put (too long, bad text), of so many bytes. For a job
 * that took documents when they came: those that come for another one are nothing of it. */
int index_job_count_failed(struct index *ix, const char *collection, uint64_t job, uint64_t n, uint64_t bytes, const char *reason,
                           struct err_msg *em);
/* (writer) Abandons the open jobs that nobody holds and that wait for no document: held says of a job's number whether
 * somebody may still add to it. *n_left: those that nobody holds and that wait for documents yet. */
int index_jobs_abandon(struct index *ix, bool (*held)(void *arg, uint64_t job), void *arg, size_t *n_left, struct err_msg *em);

/* ---- reading ---------------------------------------------------------------- */

/* One searcher's connection and scratch. Thread-safety: unsafe, one thread at a time. */
struct index_reader;
int index_reader_create(struct index_reader **r, struct index *ix, struct err_msg *em);
void index_reader_destroy(struct index_reader **r);

/* Newest first; *list is malloc'ed, the caller frees it. job 0: all of them. */
int index_job_list(struct index_reader *r, uint64_t job, struct index_job **list, size_t *n,
                   struct err_msg *em);

enum index_mode { INDEX_HYBRID = 0, INDEX_DENSE = 1, INDEX_TEXT = 2 }; /* the protocol's numbers */
enum index_short { /* the protocol's numbers */
    INDEX_SHORT_NONE = 0,
    INDEX_SHORT_EXHAUSTED = 1,
    INDEX_SHORT_FILTER = 2,
    INDEX_SHORT_BUDGET = 3,
    INDEX_SHORT_PENDING = 4, /* what waits for its vector may be found yet */
};

/* How the two lists of a hybrid search become one (index/fuse.h). */
enum index_fusion {
    INDEX_FUSION_RANK = 0,  /* reciprocal ranks */
    INDEX_FUSION_SCORE = 1, /* standard scores */
};

struct index_query {
    const char *collection;
    const char *text; /* for the words; not used in INDEX_DENSE */
    size_t text_len;
    const float *vector; /* not used in INDEX_TEXT */
    uint32_t dim;
    const char *fingerprint; /* of the model that made the vector; NULL: the client brought it */
    uint32_t k;              /* hits; 0: INDEX_K_DEFAULT; INDEX_K_MAX at most */
    enum index_mode mode;
    const char *filter; /* index/filter.h; NULL or empty: none */
    uint32_t ef;        /* 0: chosen; more finds more and takes longer */
    bool chunks;        /* hits per chunk; false: the best chunk of each document */
    bool no_text;       /* leave title, text and metadata out */
    bool exact;         /* compare with every vector */
    float dense_weight; /* of the two lists in a hybrid search's fusion, 0 to 1e6; both 0: 1 and 1 */
    float text_weight;
    enum index_fusion fusion;
    uint64_t deadline_ns; /* clock_ns time; 0: none. Reached: LT_ETIMEOUT */
};

struct index_hit {
    const char *id;
    size_t id_len;
    uint32_t chunk, start, end;
    float score;
    const char *title; /* these three: "" when there is none, or with no_text */
    size_t title_len;
    const char *text;
    size_t text_len;
    const char *metadata;
    size_t metadata_len;
};
struct index_result {
    struct index_hit *hits; /* best first */
    size_t n;
    enum index_mode mode; /* as used: hybrid without words in the question is dense, without a vector text */
    float dense_weight, text_weight; /* as used; both 0: nothing was fused */
    enum index_fusion fusion;        /* as used; 0 where nothing was fused */
    uint32_t k, ef;       /* as used; ef 0: every allowed vector was compared, or none */
    enum index_short why; /* fewer than k hits: why */
    bool degraded;
    char degraded_reason[160];
    bool damaged; /* the graph's files were found cut short: call index_maintain soon, which rebuilds it */
    uint64_t seq; /* every operation of the collection up to here was visible */
    bool sampled; /* set aside for index_sample */
    void *memory;
};
void index_result_finish(struct index_result *res);

/* Searches one collection. Hits are checked against their rows, replaced or deleted ones are refilled.
 * Errors: LT_ENOTFOUND, LT_EDIM, LT_ENAN, LT_EMODEL, LT_EFORMAT (filter; the message has the position), LT_EUTF8,
 * LT_ELIMIT (k, ef), LT_EINVAL (mode, weights, fusion), LT_EEMPTY (no vector where one is needed), LT_ETIMEOUT, LT_EIO. On an error res is empty. */
int index_search(struct index_reader *r, const struct index_query *q, struct index_result *res,
                 struct err_msg *em);

/* Repeats the oldest of the searches that were set aside, exactly, and notes how many of its hits (100 at most) that finds: a
 * collection's `recall`. Work is bounded: few wait, others are not taken meanwhile; and a collection of more than sample_vectors
 * is compared with so many of its vectors that follow each other, from a place chosen at random, where recall is the share of
 * what is at least as near as the last hit. How often to call it is the caller's: it is work that nobody waits for.
 *
 * *n_compared   vectors; 0: nothing that counts was left of the search
 *
 * Errors: LT_ENOTFOUND: none waits. LT_ENOMEM, LT_EIO. */
int index_sample(struct index_reader *r, uint64_t *n_compared, struct err_msg *em);

/* A stored document; hits' fields of the same names. */
struct index_found {
    size_t index; /* position in ids */
    const char *id, *title, *text, *metadata;
    size_t id_len, title_len, text_len, metadata_len;
    bool searchable; /* false: accepted, not found by search yet */
};
struct index_documents {
    struct index_found *docs; /* those that exist, in the order of ids */
    size_t n;
    size_t n_read; /* ids looked at; fewer than asked when max_bytes was reached */
    void *memory;
};
void index_documents_finish(struct index_documents *d);

struct index_id {
    const char *id;
    size_t len;
};
/* The newest accepted version of each id. max_bytes: stop after that much text (one document at least);
 * 0: no limit. Errors: LT_ENOTFOUND (the collection), LT_ECORRUPT (one has lost its text; the message has its id), LT_EIO. */
int index_get(struct index_reader *r, const char *collection, const struct index_id *ids, size_t n,
              size_t max_bytes, struct index_documents *out, struct err_msg *em);

/* The next n documents after the one with this id (len 0: from the first), in the order of their ids' bytes; otherwise as index_get.
 * out->n 0: there are no more. */
int index_get_after(struct index_reader *r, const char *collection, const struct index_id *after, size_t n,
                    size_t max_bytes, struct index_documents *out, struct err_msg *em);

/* ---- checking --------------------------------------------------------------- */

/* (writer, or no other process on the folder) Checks the store (SQLite's own check, words against texts, counts)
 * and every graph; found problems go to say(), one line each. 0: none; LT_ECORRUPT: some. */
int index_check(struct index *ix, void (*say)(void *arg, const char *line), void *arg,
                struct err_msg *em);

struct index_check_params {
    const char *dir;
    const char *vfs; /* as index_params */
    bool repair;
    void (*say)(void *arg, const char *line); /* a problem, or what was done about it */
    void *arg;
};
struct index_check_report {
    unsigned n_problems; /* found */
    unsigned n_left;     /* of them, or of their consequences, after repairing; n_problems without */
    uint64_t n_collections, n_documents, n_chunks;
};
/* Checks a folder that no daemon has open, whatever state it is in; with repair, mends it: words and graphs are made
 * anew from the store, rows that contradict each other are set right, a document whose vectors are lost waits to be
 * embedded again, and one that cannot be kept (its text is lost, or its vector where the client brought it) is named and
 * taken out. Blocks: for minutes where there are millions of vectors.
 * Errors: LT_ECORRUPT (problems are left), LT_ENOTFOUND (no store there), LT_ELOCKED, LT_EVERSION, LT_EIO … */
int index_check_folder(const struct index_check_params *p, struct index_check_report *out, struct err_msg *em);

/* ---- backup ------------------------------------------------------------------- */

struct index_backup {
    const char *dir; /* the data folder, which a daemon may be writing to */
    const char *to;  /* a folder that is not there yet; its parent is */
    void (*progress)(void *arg, double done); /* 0 to 1, at most some times a second; NULL: none */
    void *arg;
};
struct index_backup_report {
    uint64_t n_collections, n_documents, n_pending; /* chunks that wait for their vectors */
    uint64_t bytes;                                 /* of the store */
};
/* Copies the store as it is at one moment, with all that was acknowledged before the call, and the keys beside it, into a folder that a
 * daemon can serve and index_check_folder can check; SQLite's own check has been passed then. Graphs are left out: the first start with
 * the copy makes them anew. Nothing is left of a copy that fails or is ended early but TO.part, which the next one takes away.
 * Blocks: as long as reading and writing the store takes, twice. Any thread, any process that may read the folder.
 * Errors: LT_EEXIST (to is there), LT_ENOTFOUND, LT_EFORMAT (not a store), LT_ENOSPC (the message has the bytes), LT_ECORRUPT, LT_EPERM, LT_EIO. */
int index_backup(const struct index_backup *p, struct index_backup_report *out, struct err_msg *em);

/* ---- other programs' files ---------------------------------------------------- */

struct index_import {
    const char *path, *name; /* hnswlib's file; the collection to make */
    uint32_t dim;            /* neither is in the file */
    enum metric metric;
    enum graph_codes codes; /* F32: searches compare exactly what hnswlib compares at the same ef */
};

/* (writer) A new vectors-only collection of an index file that hnswlib saved: labels become ids, the graph is taken over as it
 * is. *n documents. Nothing stays of one that fails half-way. Between groups; takes as long as storing the vectors does.
 * Errors: LT_EFORMAT, LT_EUNSUPPORTED (its M), LT_EEXIST, LT_ENAN, what index_create and index_put say. */
int index_import_hnswlib(struct index *ix, const struct index_import *p, uint64_t *n, struct err_msg *em);

#endif
