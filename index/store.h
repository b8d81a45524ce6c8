/* What the files of the store share; private to index/. The public face is index/index.h.
 *
 * `struct index` belongs to the writer thread, except the catalogue (list of collections, each counted)
 * and the figures in it, which any thread may read: the list under `lock`, the figures as atomics.
 */
#ifndef INDEX_STORE_H
#define INDEX_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sqlite3.h>
#include <sys/types.h>

#include "index/allowed.h"
#include "index/index.h"
#include "index/sample.h"
#include "index/sql.h"
#include "index/vectors.h"
#include "index/words_score.h"

/* Figures of a collection, as the last commit left them. */
struct figures {
    int64_t documents, chunks, pending, bytes;
    int64_t turnover; /* of a group only: chunks whose words came into the index or went out of it */
    int64_t erased;   /* of a group only: chunks that went, searchable or not */
};

/* Saving a collection's graph (compact.c). Times are of the wall clock, in milliseconds, 0: none. */
struct compaction {
    atomic_bool running;
    atomic_llong done_ms;   /* the last success since the start */
    atomic_llong due_ms;    /* since when it is wanted */
    atomic_llong failed_ms; /* since when it does not succeed */
    atomic_ullong bytes;    /* written since the start */
    atomic_ullong own_bytes; /* graph_own_bytes, at the last look */
    char error[160];        /* under the index's lock */
    /* (writer) */
    uint64_t retry_ns;   /* not before */
    uint64_t changed_ns; /* the last change */
    uint64_t whole_end_ns, whole_took_ns; /* the last one without free slots */
    bool whole;                           /* the one under way */
    uint64_t began_ns;
    unsigned n_given_up; /* those without free slots that a change ended, one after the other */
};

/* Whether FTS5 merges words in commits (tidy.c). */
enum words_merges { MERGES_UNKNOWN, MERGES_FREE, MERGES_HELD };

/* One collection in memory. A reader holds a count while it searches; the writer alone destroys. */
struct collection {
    int64_t id;
    char name[INDEX_NAME_MAX + 1]; /* index_replace writes it under the index's lock: other threads than the writer read it there only */
    uint32_t dim, m, ef_construction;
    enum metric metric;
    enum graph_codes codes; /* as asked for */
    bool vectors_only, temporary;
    bool wide; /* its graph outgrew short links */
    char fingerprint[INDEX_FINGERPRINT_SIZE];

    atomic_int n_users; /* the catalogue (or the list of the retired) counts as one */
    atomic_bool gone;   /* dropped: no new rows */
    struct graph *graph;
    char graph_dir[4096];

    /* Every live chunk with vseq <= graph_seq is in the graph; later ones are compared exactly. */
    atomic_uint_fast64_t graph_seq;
    atomic_uint_fast64_t n_removals; /* counts before a label leaves the graph, when what replaces it is there already */
    atomic_bool behind;     /* the graph is being refilled by index_maintain */
    atomic_uint_fast64_t refill_left;  /* chunks, estimate */
    atomic_uint_fast64_t refill_total; /* of them at the beginning; stays until no collection is behind */
    char why_behind[128];   /* written before the collection is shared */
    char damage[480];       /* what was wrong with the graph's files, where only looked at */
    atomic_uint_fast64_t left_out;   /* searchable chunks without a node, since their vectors cannot be used */

    atomic_uint_fast64_t accepted_seq, searchable_seq;
    atomic_llong documents, chunks, pending, bytes;
    atomic_llong turnover, erased; /* the sums of the groups' since it was opened */

    struct compaction compaction;
    struct recall recall;      /* under the index's lock */
    atomic_ullong n_walks; /* searches of the graph */

    struct allowed_cache allowed;
    struct words_cache words;
    struct words_lengths lengths;
    struct postings_cache postings;

    /* (writer) changes of the open group */
    struct figures delta;
    uint64_t group_seq; /* last put or delete in it; 0: none */
    bool touched, went_live;
    uint64_t words_removed; /* texts taken out of the words since those were merged (tidy.c) */
    uint64_t words_merging; /* of them, before the merge that is under way began */
    bool merging_words;
    enum words_merges merges;
    bool merges_new; /* in the open group */
    sqlite3_stmt *words_insert, *words_delete;

    struct collection *next_retired;
};

/* A label the open group takes out of a graph once it is durable. */
struct removal {
    struct collection *c;
    uint64_t chunk;
};

enum store_stmt {
#define S(name, text) ST_##name,
#include "index/store_sql.h"
#undef S
    ST_N
};

/* Vectors on their way into a graph. */
#define REFILL_MAX 256u
struct refill_batch {
    uint64_t labels[REFILL_MAX];
    int results[REFILL_MAX];
    float *v;   /* NULL: none yet */
    size_t cap; /* floats in v */
    uint32_t n, room;
};

struct index {
    char dir[3072];
    char db_path[3100];
    char vfs[64]; /* empty: the default */
    int lock_fd;
    sqlite3 *db;
    sqlite3_stmt *stmt[ST_N];

    pthread_mutex_t lock; /* the following down to broken */
    struct collection **collections;
    size_t n_collections, cap_collections;
    char reason[256];
    char log_damage[400]; /* what the log had lost at the start; empty: nothing */
    unsigned recovered;  /* the last percentage told; 0: nothing is being recovered */
    char trouble[200];   /* why housekeeping fails; empty: it does not */
    uint64_t trouble_ns; /* since when */
    bool read_only; /* full disk: clears by itself */
    bool broken;    /* a sync failed, or it has moved: until reopened */
    bool moved;     /* (writer) what lies at db_path is not what was opened */
    dev_t db_dev;   /* of what was opened */
    ino_t db_ino;

    struct collection *retired; /* (writer) out of the catalogue, perhaps still in use */

    char fingerprint[INDEX_FINGERPRINT_SIZE]; /* (writer) of the embedding model; empty: not known */
    uint32_t model_dim;

    atomic_uint_fast64_t committed_seq;
    /* (writer) the open group */
    bool in_group;
    int group_error; /* the group is lost */
    struct err_msg group_em;
    uint64_t seq, next_doc, next_chunk; /* advance with the group, fall back with it */
    uint64_t saved_seq, saved_next_doc, saved_next_chunk;
    struct removal *removals;
    size_t n_removals, cap_removals;

    uint64_t group_bytes, group_checked; /* the open group's size, estimated; at the last look for room */
    bool group_refused;                  /* there was no room for it, and nothing was tried */
    int wal_pages;                       /* in the log and not copied back yet, after the last commit */
    int wal_done;                        /* copied back by the last checkpoint */
    uint64_t wal_ns;                     /* when that commit was */
    uint64_t space_checked_ns;
    uint64_t rest_ns; /* index_params' rest_ms and alarm_ms */
    int64_t alarm_ms;
    struct samples samples;
    uint64_t changed_ns;   /* the last commit that changed a collection */
    uint64_t rows_removed; /* chunks whose rows went since the tables were packed */
    bool packing;
    unsigned pack_table;
    int64_t pack_at;
    uint64_t maintain_ns; /* last housekeeping */
    size_t scrub_next;    /* which collection's graph is looked at next, modulo their number */
    bool has_reserve;
    bool freed_rows; /* there may be free pages to give back */
    bool dropping;   /* there may be documents of cancelled jobs that wait */
    bool inspect;    /* opened for a check */
    bool recover;    /* without graphs */
    bool refilling;  /* graphs are being refilled, with a small cache */
    uint32_t writer_kib, reader_kib; /* as index_params has them, filled in */
    struct postings_budget postings;
    float vector[INDEX_DIM_MAX]; /* (writer) one read from the store */
    struct refill_batch batch;   /* (writer) */
    unsigned n_threads;          /* that insert into a graph */
};

/* sql for statement id, prepared on first use; NULL on failure (em is set). (writer) */
sqlite3_stmt *store_stmt(struct index *ix, enum store_stmt id, struct err_msg *em);

/* ---- groups (store_group.c) ---- */

/* Opens a group unless one is open. Errors: LT_ENOSPC, LT_EIO (read-only), the group's own error.
 * for_delete: on a full disk the reserve is given up for it. */
int group_begin(struct index *ix, bool for_delete, struct err_msg *em);
/* The same for changes that are a group of their own: LT_EBUSY when one is open. */
int group_begin_alone(struct index *ix, bool for_delete, struct err_msg *em);
/* Remembers that the group is lost and returns code. */
int group_fail(struct index *ix, int code, struct err_msg *em);
void group_rollback(struct index *ix);
/* Takes the figures of c along into the next commit. */
void group_touch(struct collection *c);
int group_remove_label(struct index *ix, struct collection *c, uint64_t chunk);

/* ---- collections (collections.c) ---- */

/* Counted reference; NULL: not there. Any thread. */
struct collection *collection_find(struct index *ix, const char *name);
/* The same by id, uncounted, writer only. */
struct collection *collection_by_id(struct index *ix, int64_t id);
void collection_release(struct collection *c);
/* At least half of all documents are c's, about. Any thread. */
bool collection_has_most(struct index *ix, const struct collection *c);
/* Loads the catalogue, opens every graph. */
int collections_load(struct index *ix, const struct index_params *p, struct err_msg *em);
void collections_free(struct index *ix);
/* Opens c's graph from its folder and decides what has to be refilled. */
int collection_open_graph(struct index *ix, struct collection *c, struct err_msg *em);
/* Replaces c in the catalogue by a copy with an empty graph, to be refilled; why is shown meanwhile. */
int collection_rebuild(struct index *ix, struct collection *c, const char *why, struct err_msg *em);
/* Destroys retired collections that nobody uses any more; true: some are left. */
bool collections_sweep(struct index *ix);
/* LT_EMODEL unless vectors of the current model may go in. */
int collection_check_model(const struct index *ix, const struct collection *c, struct err_msg *em);

/* ---- documents (documents.c) ---- */

struct doc_row {
    uint64_t doc, first_chunk, job, seq;
    uint32_t n_chunks; /* 0: damaged */
    uint32_t n_pending; /* UINT32_MAX: damaged */
    int64_t bytes;
    bool live;
};
/* From the first columns of ST_DOC_FIND. */
void documents_read_row(sqlite3_stmt *st, bool live, struct doc_row *row);
/* 1: found, 0: not. */
int documents_find(struct index *ix, const struct collection *c, const char *id, size_t id_len, bool live,
                   struct doc_row *row, struct err_msg *em);
int documents_row(struct index *ix, uint64_t doc, struct doc_row *row, int64_t *coll, struct err_msg *em);
/* Do the chunks that a version says it has lie where it says, as many of them waiting? 1: yes; 0: its rows are damaged. */
int documents_fit(struct index *ix, const struct doc_row *row, struct err_msg *em);
/* Its rows alone: chunks, vectors, text, its own; found one by one where they are damaged. */
int documents_erase_rows(struct index *ix, const struct doc_row *row, struct err_msg *em);
/* Takes a version out: rows, words, what the graph has of it. Damaged ones as well, but for their words. */
int documents_erase(struct index *ix, struct collection *c, const struct doc_row *row, struct err_msg *em);
/* A staged version with nothing pending replaces the live one of its id. */
int documents_go_live(struct index *ix, struct collection *c, uint64_t doc, struct err_msg *em);
/* Drops a staged version whose embedding failed or was cancelled. */
int documents_drop_staged(struct index *ix, struct collection *c, const struct doc_row *row, struct err_msg *em);

/* ---- what deletions leave behind (tidy.c) ---- *
 * Between groups, when the folder is at rest and it is worth it; *more: not done yet. */

/* False: it would do nothing for any collection, which are not gone through then. */
bool tidy_words_now(const struct index *ix);
int tidy_words(struct index *ix, struct collection *c, uint64_t until_ns, bool *more, struct err_msg *em);
int tidy_rows(struct index *ix, uint64_t until_ns, bool *more, struct err_msg *em);
/* Where there is little room: from now on commits merge nothing of c's words. In the open group. */
int tidy_hold_merges(struct index *ix, struct collection *c, struct err_msg *em);
/* Commits merge again where there is room again: of some collections a call. Between groups. */
void tidy_release_merges(struct index *ix);

/* ---- jobs (jobs.c) ---- */

/* The state as stored (open, closed = INDEX_JOB_RUNNING, cancelled). LT_ENOTFOUND: there is none, or it is not of the collection of this name
 * (NULL: of any). */
int jobs_state(struct index *ix, uint64_t job, const char *collection, int64_t *state, struct err_msg *em);
/* In the open group. */
int jobs_count_failed(struct index *ix, uint64_t job, uint64_t n, uint64_t bytes, const char *reason, struct err_msg *em);
int jobs_set_state(struct index *ix, uint64_t job, int64_t state, struct err_msg *em);
/* Its documents that wait are on their way out: they get no vectors and do not become searchable. */
bool jobs_cancelled(struct index *ix, uint64_t job);
/* Between groups: drops some of the documents that cancelled jobs left; *more: there may be others. */
int jobs_drop(struct index *ix, bool *more, struct err_msg *em);

/* ---- graphs and the store (refill.c) ---- */

/* Inserts into c's graph what it lacks, until the budget's end; *done: it lacks nothing. */
int refill_step(struct index *ix, struct collection *c, uint64_t until_ns, bool *done, struct err_msg *em);
/* Before and after: while a collection is behind, the store's cache is kept small. */
int refill_cache(struct index *ix, struct err_msg *em);
/* Sets the cache to what it is to be now. */
int refill_set_cache(struct index *ix, struct err_msg *em);
/* Chunks with vseq beyond graph_seq. */
int refill_count(struct index *ix, const struct collection *c, uint64_t *n, struct err_msg *em);
/* Counts searchable chunks up to graph_seq that have no node into c->left_out. 1: their vectors cannot be used, all of them;
 * 0: one can. Reads all rows: only where the numbers do not fit. */
int refill_left_out(struct index *ix, struct collection *c, struct err_msg *em);
/* Are the graph's nodes, by the first of them, c's rows with their vectors? 1: yes, or it has none; 0: it is another collection's or
 * another store's, of whatever shape and size. */
int refill_is_ours(struct index *ix, struct collection *c, struct err_msg *em);
/* Up to which operation c's graph is complete now. */
uint64_t refill_seq(struct index *ix, struct collection *c);
/* c's graph was saved: what its file has need not be kept for it. */
int refill_saved(struct index *ix, struct collection *c, struct err_msg *em);
/* The same in the open group, or in a new one that the caller commits. */
int refill_prune(struct index *ix, struct collection *c, struct err_msg *em);
/* Saves c's graph, all of it now. whole: written anew without free slots. */
int refill_checkpoint(struct index *ix, struct collection *c, bool whole, struct err_msg *em);

/* ---- moved or deleted while open (moved.c) ---- */

/* Remembers which file was opened. */
void moved_note(struct index *ix);
/* True once the store is no longer at its path: nothing is written to it any more, since nobody would find it, nor to the folder, which is
 * another's. Writer thread only. */
bool moved_check(struct index *ix);

/* ---- saving graphs (compact.c) ---- */

void compact_init(struct index *ix, const struct index_params *p);
/* After a group that changed c. */
void compact_note_change(struct collection *c);
/* Begins to save c's graph if it is time to, and goes on with it until the time is over, a bite at least; *more: it is not done.
 * What fails is noted and tried again later; only damage is an error, LT_ECORRUPT: c's graph has to be made anew. */
int compact_step(struct index *ix, struct collection *c, struct err_msg *em);
/* index_set_lean, for one of them. */
void compact_lean(struct index *ix, struct collection *c, bool lean);
int compact_go_on(struct index *ix, struct collection *c, uint64_t until_ns, bool *more, struct err_msg *em);
/* c goes, or gets another graph: a save under way ends. */
void compact_stop(struct collection *c);
/* The last time before closing, all that changed. */
void compact_last(struct index *ix);
/* Under the index's lock. */
void compact_describe(const struct index *ix, const struct collection *c, struct index_collection *out);

/* ---- space (space.c) ---- */

/* Enters read-only mode after LT_ENOSPC, or broken mode after a failed sync. */
void space_failed(struct index *ix, int code, bool sync_failed, const char *text);
/* Leaves read-only mode when there is room again; true: writing is possible. */
bool space_check(struct index *ix);
/* Before the store is opened: does the reserve exist, and is it needed for that already? */
void space_open(struct index *ix);
/* Counts bytes that are about to be written to the open group. LT_ENOSPC: there is no room for the group. */
int space_want(struct index *ix, uint64_t bytes, struct err_msg *em);
/* LT_ENOSPC with path, bytes free and bytes needed. */
int space_error(const struct index *ix, struct err_msg *em);
/* Takes the log into the store and shortens it to nothing, if no reader is in the way; from the reserve if need be. */
void space_empty_log(struct index *ix);
/* There is room for the log of a tidying: SQLite may put all of a collection's words into one transaction when most of them went. */
bool space_to_tidy(const struct index *ix);
/* The disk is full or nearly so: what can be given back is given back at once. */
bool space_is_scarce(const struct index *ix);
/* There is so much room that the log may grow for longer before it is copied back. */
bool space_is_ample(const struct index *ix);
/* There is room for the log of a small piece of words. */
bool space_to_merge(const struct index *ix);
/* On a full disk: gives the reserve back to the file system, if a delete needs it. */
void space_for_delete(struct index *ix);
void space_make_reserve(struct index *ix);

#endif
