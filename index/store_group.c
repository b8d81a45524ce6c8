/* The open group: one SQLite transaction, and what has to happen in memory once it is durable.
 *
 * Order at the end of a group: COMMIT (with its sync); then the graphs take in the new vectors; then they let
 * go of the removed ones; then the figures move. A reader that looks in between compares the vectors after
 * graph_seq exactly, so at no moment is a durable vector out of reach, and a label that is gone fails the
 * check against its row. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "index/store.h"

int group_begin(struct index *ix, bool for_delete, struct err_msg *em)
{
    if (ix->in_group) {
        if (ix->group_error && em)
            *em = ix->group_em;
        return ix->group_error;
    }
    moved_check(ix);
    if (!space_check(ix) && for_delete && !ix->broken) {
        space_for_delete(ix);
    } else if (ix->read_only || ix->broken) {
        ix->group_bytes = 0;
        return ix->broken ? err_set(em, LT_EIO, "%s", ix->reason) : space_error(ix, em);
    }
    int r = sql_exec(ix->db, "BEGIN IMMEDIATE", em);
    if (r < 0)
        return r;
    ix->in_group = true;
    ix->group_error = 0;
    ix->group_bytes = ix->group_checked = 0;
    ix->group_refused = false;
    ix->saved_seq = ix->seq;
    ix->saved_next_doc = ix->next_doc;
    ix->saved_next_chunk = ix->next_chunk;
    return 0;
}

int group_begin_alone(struct index *ix, bool for_delete, struct err_msg *em)
{
    return ix->in_group ? err_set(em, LT_EBUSY, "a group of writes is open")
                        : group_begin(ix, for_delete, em);
}

int group_fail(struct index *ix, int code, struct err_msg *em)
{
    if (code == LT_ENOSPC && !ix->group_refused)
        space_error(ix, em);
    if (ix->in_group && !ix->group_error) {
        ix->group_error = code;
        if (em)
            ix->group_em = *em;
    }
    return code;
}

void group_touch(struct collection *c)
{
    c->touched = true;
}

int group_remove_label(struct index *ix, struct collection *c, uint64_t chunk)
{
    if (ix->n_removals == ix->cap_removals) {
        size_t cap = ix->cap_removals ? ix->cap_removals * 2 : 256;
        struct removal *p = realloc(ix->removals, cap * sizeof *p);
        if (!p)
            return LT_ENOMEM;
        ix->removals = p;
        ix->cap_removals = cap;
    }
    ix->removals[ix->n_removals++] = (struct removal){c, chunk};
    return 0;
}

static void forget_changes(struct index *ix)
{
    for (size_t i = 0; i < ix->n_collections; i++) {
        struct collection *c = ix->collections[i];
        memset(&c->delta, 0, sizeof c->delta);
        c->group_seq = 0;
        c->touched = c->went_live = c->merges_new = false;
    }
    ix->n_removals = 0;
    ix->in_group = false;
    ix->group_error = 0;
}

void group_rollback(struct index *ix)
{
    if (!ix->in_group)
        return;
    for (int i = 0; i < ST_N; i++)
        if (ix->stmt[i])
            sqlite3_reset(ix->stmt[i]);
    /* SQLite may have rolled back by itself (full disk): then there is nothing left to do. */
    if (!sqlite3_get_autocommit(ix->db))
        sqlite3_exec(ix->db, "ROLLBACK", NULL, NULL, NULL);
    ix->seq = ix->saved_seq;
    ix->next_doc = ix->saved_next_doc;
    ix->next_chunk = ix->saved_next_chunk;
    for (size_t i = 0; i < ix->n_collections; i++)
        if (ix->collections[i]->merges_new)
            ix->collections[i]->merges = MERGES_UNKNOWN;
    forget_changes(ix);
}

static int save_rows(struct index *ix, struct err_msg *em)
{
    int r = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_SAVE_COUNTERS, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "iii", (int64_t)ix->seq, (int64_t)ix->next_doc, (int64_t)ix->next_chunk);
    if ((r = sql_run(st, em)) < 0)
        return r;
    for (size_t i = 0; i < ix->n_collections; i++) {
        struct collection *c = ix->collections[i];
        if (!c->touched)
            continue;
        if (!(st = store_stmt(ix, ST_COLLECTION_FIGURES, em)))
            return LT_EIO;
        uint64_t accepted = c->group_seq ? c->group_seq : atomic_load(&c->accepted_seq);
        sql_bind(st, "iiiiii", (int64_t)atomic_load(&c->documents) + c->delta.documents,
                 (int64_t)atomic_load(&c->chunks) + c->delta.chunks,
                 (int64_t)atomic_load(&c->pending) + c->delta.pending,
                 (int64_t)atomic_load(&c->bytes) + c->delta.bytes, (int64_t)accepted, c->id);
        if ((r = sql_run(st, em)) < 0)
            return r;
    }
    return 0;
}

/* After COMMIT: memory follows. Failures here lose nothing; the graph is behind and is refilled later. */
static void publish(struct index *ix)
{
    for (size_t i = 0; i < ix->n_collections; i++) {
        struct collection *c = ix->collections[i];
        struct err_msg em;
        bool done = false;
        int r;
        if (!c->touched)
            continue;
        atomic_fetch_add(&c->documents, c->delta.documents);
        atomic_fetch_add(&c->chunks, c->delta.chunks);
        atomic_fetch_add(&c->pending, c->delta.pending);
        atomic_fetch_add(&c->bytes, c->delta.bytes);
        atomic_fetch_add(&c->turnover, c->delta.turnover);
        atomic_fetch_add(&c->erased, c->delta.erased);
        postings_committed(&c->postings);
        if (c->went_live && !atomic_load(&c->behind) &&
            (r = refill_step(ix, c, UINT64_MAX, &done, &em)) < 0) {
            log_error("index", "collection %s: index falls behind: %s", c->name, em.text);
            pthread_mutex_lock(&ix->lock);
            snprintf(c->why_behind, sizeof c->why_behind, "%.120s", em.text);
            atomic_store(&c->behind, true);
            pthread_mutex_unlock(&ix->lock);
        }
        if (c->group_seq)
            atomic_store(&c->accepted_seq, c->group_seq);
    }
    for (size_t i = 0; i < ix->n_removals; i++)
        atomic_fetch_add(&ix->removals[i].c->n_removals, 1);
    for (size_t i = 0; i < ix->n_removals; i++)
        graph_remove(ix->removals[i].c->graph, ix->removals[i].chunk);
    for (size_t i = 0; i < ix->n_collections; i++) {
        struct collection *c = ix->collections[i];
        if (c->touched) {
            ix->changed_ns = clock_ns();
            compact_note_change(c);
        }
        int64_t oldest = 0;
        struct err_msg em;
        sqlite3_stmt *st = c->touched ? store_stmt(ix, ST_DOC_OLDEST_STAGED, &em) : NULL;
        if (!st)
            continue;
        sql_bind(st, "i", c->id);
        if (sql_int(st, 0, &oldest, &em) < 0)
            log_error("index", "collection %s: %s", c->name, em.text);
        else
            atomic_store(&c->searchable_seq,
                         oldest ? (uint64_t)oldest - 1 : atomic_load(&c->accepted_seq));
    }
}

int index_commit(struct index *ix, uint64_t *seq, struct err_msg *em)
{
    int r = ix->group_error;
    struct err_msg local;
    em = em ? em : &local;
    if (!ix->in_group) {
        if (seq)
            *seq = atomic_load(&ix->committed_seq);
        return 0;
    }
    if (r < 0) {
        *em = ix->group_em;
        goto fail;
    }
    if ((r = save_rows(ix, em)) < 0)
        goto fail;
    if (fault("commit")) {
        r = err_set(em, LT_EIO, "fault point: commit");
        goto fail;
    }
    if ((r = sql_exec(ix->db, "COMMIT", em)) < 0)
        goto fail;
    fault("committed");
    atomic_store(&ix->committed_seq, ix->seq);
    publish(ix);
    forget_changes(ix);
    if (ix->read_only)
        space_empty_log(ix); /* a delete: the next one finds the log empty */
    if (seq)
        *seq = ix->seq;
    return 0;
fail:;
    int rc = sqlite3_extended_errcode(ix->db);
    struct err_msg full; /* as it is now: what follows may make room */
    if (r == LT_ENOSPC)
        space_error(ix, &full);
    group_rollback(ix);
    space_failed(ix, r, rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC, em->text);
    if (r == LT_ENOSPC && !ix->group_refused)
        *em = full;
    return r;
}
