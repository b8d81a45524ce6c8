/* Work that can wait, in small bites, on the writer thread between groups. */
#include <stdio.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "index/schema.h"
#include "index/store.h"

#define HOUSEKEEPING_EVERY_NS 1000000000ull
#define ERASE_DOCS 200          /* of a dropped collection per transaction, … */
#define ERASE_CHUNKS 256        /* … which ends with the one that has the last of these: its log has to fit into the reserve of a full disk */
#define SCRUB_NS 20000000ull    /* of housekeeping that looks for damage: of a few graphs each gets its bite, of a thousand some do */
#define WAL_PAGES_PASSIVE 2048  /* 8 MiB, what space.c leaves free: pages that change again meanwhile are copied back once */
#define WAL_PAGES_AMPLE 8192    /* 32 MiB, where there is room: a fifth less is copied back */
#define WAL_IDLE_NS 2000000000ull /* without a commit: then a smaller log is copied back too */
#define WAL_PAGES_RESTART 16384 /* 64 MiB: then wait a little for readers, to start the file over */
#define VACUUM_PAGES 512        /* at a time */
#define VACUUM_PAGES_SCARCE 128 /* where there is little room for the log */
#define VACUUM_MIN 64           /* fewer stay */

static int run_ids(struct index *ix, enum store_stmt id, int64_t a, int64_t b, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, id, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, sqlite3_bind_parameter_count(st) == 2 ? "ii" : "i", a, b);
    return sql_run(st, em);
}

/* Some rows of the dropped collection; *n of them. In the open group. */
static int erase_rows(struct index *ix, int64_t coll, size_t *n, struct err_msg *em)
{
    int r = 0;
    struct doc_row docs[ERASE_DOCS];
    uint64_t n_chunks = 0;
    *n = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_DROPPED_DOCS, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "ii", coll, (int64_t)ERASE_DOCS);
    while (*n < ERASE_DOCS && n_chunks < ERASE_CHUNKS && (r = sql_step(st, em)) > 0) {
        documents_read_row(st, false, &docs[*n]);
        n_chunks += docs[(*n)++].n_chunks;
    }
    sqlite3_reset(st);
    for (size_t i = 0; r >= 0 && i < *n; i++)
        r = documents_erase_rows(ix, &docs[i], em);
    return r < 0 ? r : 0;
}

/* One bite of erasing dropped collections; *more: there is more. */
static int erase_dropped(struct index *ix, bool *more, struct err_msg *em)
{
    int64_t coll = 0;
    size_t n = 0;
    char dir[4096];
    sqlite3_stmt *st = store_stmt(ix, ST_DROPPED, em);
    *more = false;
    if (!st)
        return LT_EIO;
    int r = sql_int(st, 0, &coll, em);
    if (r < 0 || !coll)
        return r;
    if ((r = group_begin(ix, true, em)) < 0)
        return r;
    if ((r = erase_rows(ix, coll, &n, em)) < 0)
        goto fail;
    if (n == 0) {
        for (const struct collection *c = ix->retired; c; c = c->next_retired)
            if (c->id == coll) /* still searched by somebody: its files stay a little */
                goto fail;
        snprintf(dir, sizeof dir, "%s/graph/%lld", ix->dir, (long long)coll);
        fault("maintain.erase");
        if ((r = graph_erase(dir, em)) < 0 || (r = schema_words_drop(ix->db, coll, em)) < 0 ||
            (r = run_ids(ix, ST_DROPPED_REMOVED, coll, 0, em)) < 0 ||
            (r = run_ids(ix, ST_DROPPED_END, coll, 0, em)) < 0)
            goto fail;
    }
    ix->freed_rows = true;
    *more = true;
    return index_commit(ix, NULL, em);
fail:
    group_rollback(ix);
    if (r < 0)
        space_failed(ix, r, false, em->text);
    return r;
}

/* Documents of cancelled jobs: a bite at least, since nothing behind them counts as searchable before they have gone. */
static int drop_cancelled(struct index *ix, uint64_t until, bool *more, struct err_msg *em)
{
    bool left;
    int r;
    do
        r = jobs_drop(ix, &left, em);
    while (r == 0 && left && clock_ns() < until);
    *more = *more || (r == 0 && left);
    return r == LT_ENOSPC ? 0 : r; /* deletions will make a little more room */
}

static bool log_is_due(const struct index *ix)
{
    if (!ix->wal_pages)
        return false;
    if (clock_ns() - ix->wal_ns >= WAL_IDLE_NS || fault("maintain.due"))
        return true;
    return ix->wal_pages >= WAL_PAGES_PASSIVE && (ix->wal_pages >= WAL_PAGES_AMPLE || !space_is_ample(ix));
}

static int checkpoint_wal(struct index *ix, struct err_msg *em)
{
    int n_log = 0, n_done = 0;
    if (!log_is_due(ix))
        return 0;
    fault("maintain.log");
    int rc = sqlite3_wal_checkpoint_v2(ix->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &n_log, &n_done);
    if (rc == SQLITE_OK && n_log > WAL_PAGES_RESTART) {
        sqlite3_busy_timeout(ix->db, 100);
        rc = sqlite3_wal_checkpoint_v2(ix->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        sqlite3_busy_timeout(ix->db, 5000);
    }
    if (rc == SQLITE_OK) { /* searches may hold up the rest, and the start of a new log */
        ix->wal_pages = n_log - n_done;
        ix->wal_done = n_done;
    }
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? 0 : sql_error(ix->db, rc, "checkpoint", em);
}

static int pragma(struct index *ix, const char *text, int64_t *n, struct err_msg *em)
{
    sqlite3_stmt *st = NULL;
    int r = sql_prepare(ix->db, &st, text, em);
    if (r == 0)
        r = sql_int(st, 0, n, em);
    sqlite3_finalize(st);
    return r;
}

/* Free pages go back to the file system; *more: there are many left. */
static int vacuum(struct index *ix, bool scarce, bool *more, struct err_msg *em)
{
    int64_t n = 0, total = 0;
    int r;
    *more = false;
    if ((r = pragma(ix, "PRAGMA freelist_count", &n, em)) < 0 || (r = pragma(ix, "PRAGMA page_count", &total, em)) < 0)
        return r;
    /* A tenth free is what the next documents use; where there is little room every page counts. */
    if (n == 0 || (!scarce && (n < VACUUM_MIN || n < total / 10))) {
        ix->freed_rows = false;
        return 0;
    }
    if ((r = sql_execf(ix->db, em, "PRAGMA incremental_vacuum(%d)", scarce ? VACUUM_PAGES_SCARCE : VACUUM_PAGES)) == 0)
        *more = true;
    return r;
}

/* A bite, or where there is little room one after the other while there is time; what does not fit into the log waits. */
static int give_back(struct index *ix, uint64_t until, bool *more, struct err_msg *em)
{
    const bool scarce = space_is_scarce(ix);
    int r = 0;
    *more = false;
    if (!ix->freed_rows)
        return 0;
    do {
        r = vacuum(ix, scarce, more, em);
        if (scarce)
            space_empty_log(ix);
    } while (r == 0 && scarce && *more && clock_ns() < until);
    return r == LT_ENOSPC ? 0 : r;
}

/* What index_get_status warns of: a housekeeping that silently never succeeds would make starts slower and slower. */
static void note_trouble(struct index *ix, int r, const struct err_msg *em)
{
    const bool large = ix->wal_pages > 4 * WAL_PAGES_RESTART;
    pthread_mutex_lock(&ix->lock);
    if (r == 0 && !large)
        ix->trouble[0] = 0;
    else if (!ix->trouble[0])
        ix->trouble_ns = clock_ns();
    if (r < 0)
        snprintf(ix->trouble, sizeof ix->trouble, "housekeeping fails: %.170s", em->text);
    else if (large)
        snprintf(ix->trouble, sizeof ix->trouble, "the log holds %d MiB that cannot be copied back", ix->wal_pages / 256);
    pthread_mutex_unlock(&ix->lock);
}

/* A bite of each graph, the next ones first, while there is time. */
static int scrub(struct index *ix, struct err_msg *em)
{
    const uint64_t until = clock_ns() + SCRUB_NS;
    for (size_t i = 0; i < ix->n_collections && (!i || clock_ns() < until); i++) {
        struct collection *c = ix->collections[ix->scrub_next++ % ix->n_collections];
        uint32_t n;
        struct graph_report rep;
        if (graph_scrub(c->graph, 16, &n, &rep) == LT_ECORRUPT)
            return collection_rebuild(ix, c, rep.text, em);
    }
    return 0;
}

static int housekeeping(struct index *ix, uint64_t until, bool *more, struct err_msg *em)
{
    int r;
    space_check(ix);
    space_make_reserve(ix);
    tidy_release_merges(ix);
    collections_sweep(ix);
    if ((r = give_back(ix, until, more, em)) < 0)
        return r;
    if (ix->read_only)
        space_empty_log(ix);
    if ((r = scrub(ix, em)) < 0)
        return r;
    for (size_t i = 0; i < ix->n_collections; i++) {
        struct collection *c = ix->collections[i];
        if (compact_step(ix, c, em) == LT_ECORRUPT)
            return collection_rebuild(ix, c, em->text, em);
    }
    return checkpoint_wal(ix, em);
}

/* Graphs whose files were found cut short, and those that have outgrown their links. */
static int rebuild_lost(struct index *ix, struct err_msg *em)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < ix->n_collections; i++) {
        struct collection *c = ix->collections[i];
        if (graph_lost(c->graph))
            r = collection_rebuild(ix, c, "its files were cut short while in use", em);
        else if (graph_full(c->graph))
            r = collection_rebuild(ix, c, "it needs longer links from here on", em);
    }
    return r;
}

/* Graphs that are being saved: a bite of each at least. */
static int saves(struct index *ix, uint64_t until, bool *more, struct err_msg *em)
{
    for (size_t i = 0; i < ix->n_collections; i++) {
        bool left;
        if (compact_go_on(ix, ix->collections[i], until, &left, em) == LT_ECORRUPT)
            return collection_rebuild(ix, ix->collections[i], em->text, em);
        *more = *more || left;
    }
    return 0;
}

static int refill_one(struct index *ix, struct collection *c, uint64_t until, struct err_msg *em)
{
    bool done;
    int r = refill_step(ix, c, until, &done, em);
    if (r < 0)
        return r;
    if (done) {
        atomic_store(&c->behind, false);
        log_info("index", "collection %s: index is complete, %llu vectors", c->name, (unsigned long long)graph_count(c->graph));
    } else if (compact_step(ix, c, em) == LT_ECORRUPT) { /* until it is saved, its exact vectors lie in memory */
        return collection_rebuild(ix, c, em->text, em);
    }
    return 0;
}

/* What graphs lack: a step at least, then until the time is over. */
static int refill(struct index *ix, uint64_t until, bool *more, struct err_msg *em)
{
    int r = refill_cache(ix, em);
    bool tried = false, behind = false;
    for (size_t i = 0; i < ix->n_collections && r == 0; i++) {
        struct collection *c = ix->collections[i];
        if (!atomic_load(&c->behind))
            continue;
        if (!graph_saving(c->graph) && (!tried || clock_ns() < until))
            r = refill_one(ix, c, until, em);
        tried = true;
        behind = behind || atomic_load(&c->behind);
    }
    for (size_t i = 0; i < ix->n_collections && tried && !behind && r == 0; i++)
        atomic_store(&ix->collections[i]->refill_total, 0);
    *more = *more || behind;
    return r < 0 ? r : refill_cache(ix, em);
}

static int maintain(struct index *ix, unsigned budget_ms, bool *more, struct err_msg *em)
{
    int r = 0;
    uint64_t start = clock_ns(), until = start + (uint64_t)budget_ms * 1000000;
    bool m = false, erased;
    *more = false;
    if (moved_check(ix))
        return 0;
    if ((r = rebuild_lost(ix, em)) < 0)
        return r;
    if (start - ix->maintain_ns >= HOUSEKEEPING_EVERY_NS || !ix->maintain_ns || fault("maintain.due")) {
        r = housekeeping(ix, until, &m, em);
        ix->maintain_ns = clock_ns();
    } else if (ix->freed_rows && budget_ms && space_is_scarce(ix)) {
        r = give_back(ix, until, &m, em);
    } else if (ix->wal_pages > WAL_PAGES_PASSIVE) {
        r = checkpoint_wal(ix, em);
    }
    if (r == 0)
        r = saves(ix, until, &m, em);
    if (r == 0)
        r = ix->recover ? refill_cache(ix, em) : refill(ix, until, &m, em);
    const size_t n_to_tidy = tidy_words_now(ix) ? ix->n_collections : 0;
    for (size_t i = 0; i < n_to_tidy && r == 0 && clock_ns() < until; i++) {
        bool left;
        r = tidy_words(ix, ix->collections[i], until, &left, em);
        m = m || left;
    }
    if (r == 0 && clock_ns() < until) {
        bool left;
        r = tidy_rows(ix, until, &left, em);
        m = m || left;
    }
    if (r == 0)
        r = drop_cancelled(ix, until, &m, em);
    while (r == 0 && clock_ns() < until) {
        if ((r = erase_dropped(ix, &erased, em)) < 0 || !erased)
            break;
        m = true;
    }
    *more = m && r == 0;
    return r;
}

int index_maintain(struct index *ix, unsigned budget_ms, bool *more, struct err_msg *em)
{
    struct err_msg local;
    bool m = false;
    em = em ? em : &local;
    if (ix->in_group)
        return err_set(em, LT_EBUSY, "a group of writes is open");
    int r = maintain(ix, budget_ms, &m, em);
    note_trouble(ix, r, em);
    if (more)
        *more = m;
    return r;
}
