/* Jobs: durable rows that count what happens to an ingest.
 *
 * A cancelled job's documents that wait for their vectors go in bites, of which each is a group of its own: others write in between, and the
 * log of one fits into what a full disk has in reserve. Until they have gone they are passed over, since the job is cancelled with the first
 * bite (jobs_cancelled); what a kill leaves, index_maintain drops. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/utf8.h"
#include "index/reader.h"
#include "index/store.h"

/* Ends a group of its own: commit, or rollback after an error. */
static int end_group(struct index *ix, int r, struct err_msg *em)
{
    if (r >= 0)
        return index_commit(ix, NULL, em);
    group_rollback(ix);
    space_failed(ix, r, false, em->text);
    return r;
}

int index_job_open(struct index *ix, const char *collection, const char *label,
                   uint64_t total_documents, uint64_t total_bytes, uint64_t *job, struct err_msg *em)
{
    int r;
    struct err_msg local;
    em = em ? em : &local;
    label = label ? label : "";
    size_t len = strlen(label);
    if (len > INDEX_LABEL_MAX)
        return err_set(em, LT_ELIMIT, "job label: %zu bytes, at most %u", len, INDEX_LABEL_MAX);
    if (len && utf8_check(label, len) != UTF8_VALID)
        return err_set(em, LT_EUTF8, "job label: not valid UTF-8");
    struct collection *c = collection_find(ix, collection);
    collection_release(c);
    if (!c)
        return err_set(em, LT_ENOTFOUND, "no collection %s", collection ? collection : "");
    if ((r = group_begin_alone(ix, false, em)) < 0)
        return r;
    sqlite3_stmt *st = store_stmt(ix, ST_JOB_ADD, em);
    r = st ? 0 : LT_EIO;
    if (st) {
        sql_bind(st, "titiii", c->name, strlen(c->name), c->id, label, len,
                 (int64_t)(total_documents & INT64_MAX), (int64_t)(total_bytes & INT64_MAX), clock_wall_ms());
        r = sql_run(st, em);
        *job = (uint64_t)sqlite3_last_insert_rowid(ix->db);
    }
    if (r == 0 && (st = store_stmt(ix, ST_JOB_PRUNE, em)))
        r = sql_run(st, em);
    return end_group(ix, r, em);
}

int jobs_state(struct index *ix, uint64_t job, const char *collection, int64_t *state, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_JOB_STATE, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)job);
    int r = sql_step(st, em);
    if (r < 0)
        return r;
    if (r > 0) {
        const char *of = (const char *)sqlite3_column_text(st, 1);
        *state = sqlite3_column_int64(st, 0);
        r = !collection || (of && strcmp(of, collection) == 0);
        sqlite3_reset(st);
    }
    return r > 0 ? 0 : err_set(em, LT_ENOTFOUND, "no job %llu", (unsigned long long)job);
}

int index_job_takes(struct index *ix, const char *collection, uint64_t job, struct err_msg *em)
{
    int64_t state;
    struct err_msg local;
    em = em ? em : &local;
    int r = jobs_state(ix, job, collection, &state, em);
    if (r < 0)
        return r;
    if (state == INDEX_JOB_CANCELLED)
        return err_set(em, LT_ECANCELLED, "job %llu was cancelled", (unsigned long long)job);
    if (state != INDEX_JOB_OPEN && state != INDEX_JOB_ABANDONED)
        return err_set(em, LT_EINVAL, "job %llu is closed", (unsigned long long)job);
    return state == INDEX_JOB_ABANDONED;
}

int jobs_set_state(struct index *ix, uint64_t job, int64_t state, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_JOB_SET_STATE, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "ii", state, (int64_t)job);
    return sql_run(st, em);
}

int index_job_close(struct index *ix, uint64_t job, struct err_msg *em)
{
    int64_t state;
    struct err_msg local;
    em = em ? em : &local;
    int r = jobs_state(ix, job, NULL, &state, em);
    if (r < 0 || (state != INDEX_JOB_OPEN && state != INDEX_JOB_ABANDONED))
        return r;
    if ((r = group_begin_alone(ix, true, em)) < 0)
        return r;
    return end_group(ix, jobs_set_state(ix, job, INDEX_JOB_RUNNING, em), em);
}

/* A bite ends with the document that has the last of so many. */
#define DROP_DOCS 256
#define DROP_CHUNKS 256

/* The job's next documents that wait. */
struct waiting {
    uint64_t docs[DROP_DOCS];
    size_t n;
    int64_t source; /* what they count as received */
};

static int find_waiting(struct index *ix, uint64_t job, struct waiting *w, struct err_msg *em)
{
    int r = 0;
    int64_t n_chunks = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_STAGED_OF_JOB, em);
    *w = (struct waiting){.n = 0};
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)job);
    while (w->n < DROP_DOCS && n_chunks < DROP_CHUNKS && (r = sql_step(st, em)) > 0) {
        const int64_t n = sqlite3_column_int64(st, 1);
        w->docs[w->n++] = (uint64_t)sqlite3_column_int64(st, 0);
        n_chunks += n < 1 || n > INDEX_CHUNKS_MAX ? 1 : n; /* damaged */
        w->source += sqlite3_column_int64(st, 2);
    }
    sqlite3_reset(st);
    return w->n == DROP_DOCS || n_chunks >= DROP_CHUNKS ? 0 : r;
}

/* What is dropped counts neither as received nor as done. */
static int let_go(struct index *ix, uint64_t job, int64_t source, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_JOB_LET_GO, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "ii", source, (int64_t)job);
    return sql_run(st, em);
}

/* A bite, in the open group; *more: there may be another. */
static int drop_some(struct index *ix, uint64_t job, bool *more, struct err_msg *em)
{
    struct waiting w;
    int r = find_waiting(ix, job, &w, em);
    *more = false;
    if (r < 0 || !w.n || (r = let_go(ix, job, w.source, em)) < 0)
        return r;
    for (size_t i = 0; i < w.n; i++) {
        struct doc_row row;
        int64_t coll;
        if ((r = documents_row(ix, w.docs[i], &row, &coll, em)) < 0)
            return r;
        struct collection *c = collection_by_id(ix, coll);
        if (r == 0 || !c) /* of a dropped collection: erased with it */
            return 0;
        if ((r = documents_drop_staged(ix, c, &row, em)) < 0)
            return r;
    }
    *more = true;
    return 0;
}

/* 1: documents of the job wait for their vectors; 0: none does. */
static int has_staged(struct index *ix, uint64_t job, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_STAGED_OF_JOB, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)job);
    int r = sql_step(st, em);
    sqlite3_reset(st);
    return r;
}

int index_job_cancel(struct index *ix, uint64_t job, struct err_msg *em)
{
    int64_t state;
    bool more = false;
    struct err_msg local;
    em = em ? em : &local;
    int r = jobs_state(ix, job, NULL, &state, em);
    if (r < 0)
        return r;
    if ((state == INDEX_JOB_RUNNING || state == INDEX_JOB_CANCELLED) && (r = has_staged(ix, job, em)) <= 0)
        return r; /* it is over: how it ended stays */
    if ((r = group_begin_alone(ix, true, em)) < 0)
        return r;
    ix->dropping = true;
    if (state != INDEX_JOB_CANCELLED)
        r = jobs_set_state(ix, job, INDEX_JOB_CANCELLED, em);
    if (r == 0)
        r = drop_some(ix, job, &more, em);
    r = end_group(ix, r, em);
    fault("job.bite");
    return r < 0 ? r : more;
}

bool jobs_cancelled(struct index *ix, uint64_t job)
{
    int64_t state = INDEX_JOB_OPEN;
    struct err_msg em;
    return ix->dropping && job && jobs_state(ix, job, NULL, &state, &em) == 0 && state == INDEX_JOB_CANCELLED;
}

int jobs_drop(struct index *ix, bool *more, struct err_msg *em)
{
    int64_t job = 0;
    *more = false;
    if (!ix->dropping || ix->broken)
        return 0;
    sqlite3_stmt *st = store_stmt(ix, ST_JOB_TO_DROP, em);
    int r = st ? sql_int(st, 0, &job, em) : LT_EIO;
    if (r < 0)
        return r;
    if (!job) {
        ix->dropping = false;
        return 0;
    }
    if ((r = group_begin_alone(ix, true, em)) < 0)
        return r;
    r = drop_some(ix, (uint64_t)job, more, em);
    return end_group(ix, r, em);
}

/* Without the bytes of characters that were cut, where an id had too little room say. Its length. */
static size_t only_utf8(const char *text, char out[static INDEX_JOB_ERROR_MAX + 1])
{
    size_t n = 0;
    for (size_t left = strnlen(text, INDEX_JOB_ERROR_MAX); left;) {
        const size_t bad = utf8_check(text, left), good = bad == UTF8_VALID ? left : bad;
        memcpy(out + n, text, good);
        n += good;
        const size_t done = good < left ? good + 1 : left;
        text += done;
        left -= done;
    }
    return n;
}

int jobs_count_failed(struct index *ix, uint64_t job, uint64_t n, uint64_t bytes, const char *reason, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_JOB_COUNT, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "iiiii", (int64_t)0, (int64_t)0, (int64_t)n, (int64_t)(bytes & INT64_MAX), (int64_t)job);
    int r = sql_run(st, em);
    if (r < 0 || !reason)
        return r;
    char good[INDEX_JOB_ERROR_MAX + 1];
    const size_t len = only_utf8(reason, good);
    if (!(st = store_stmt(ix, ST_JOB_ERROR, em)))
        return LT_EIO;
    sql_bind(st, "ti", good, len, (int64_t)job);
    return sql_run(st, em);
}

int index_job_count_failed(struct index *ix, const char *collection, uint64_t job, uint64_t n, uint64_t bytes, const char *reason, struct err_msg *em)
{
    int64_t state;
    struct err_msg local;
    em = em ? em : &local;
    int r = jobs_state(ix, job, collection, &state, em);
    if (r < 0 || (r = group_begin_alone(ix, false, em)) < 0)
        return r;
    return end_group(ix, jobs_count_failed(ix, job, n, bytes, reason, em), em);
}

#define OPEN_AT_ONCE 256

/* The next open jobs after one: their numbers, and whether each waits for documents. */
static int open_jobs(struct index *ix, int64_t after, int64_t jobs[static OPEN_AT_ONCE], bool *waits, struct err_msg *em)
{
    int r, n = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_JOBS_OPEN, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", after);
    while ((r = sql_step(st, em)) > 0 && n < OPEN_AT_ONCE) {
        jobs[n] = sqlite3_column_int64(st, 0);
        waits[n++] = sqlite3_column_int(st, 1);
    }
    sqlite3_reset(st);
    return r < 0 ? r : n;
}

int index_jobs_abandon(struct index *ix, bool (*held)(void *arg, uint64_t job), void *arg, size_t *n_left, struct err_msg *em)
{
    int64_t jobs[OPEN_AT_ONCE], after = INT64_MIN;
    bool waits[OPEN_AT_ONCE], begun = false;
    int n, r = 0;
    struct err_msg local;
    em = em ? em : &local;
    *n_left = 0;
    while (r == 0 && (n = r = open_jobs(ix, after, jobs, waits, em)) > 0) {
        r = 0;
        for (int i = 0; i < n && r == 0; i++) {
            const uint64_t job = (uint64_t)jobs[i];
            if (held(arg, job))
                continue;
            *n_left += waits[i];
            if (!waits[i] && (begun || (begun = (r = group_begin_alone(ix, false, em)) == 0)))
                r = jobs_set_state(ix, job, INDEX_JOB_ABANDONED, em);
        }
        after = jobs[n - 1];
    }
    return begun ? end_group(ix, r, em) : r;
}

static void read_job(sqlite3_stmt *st, struct index_job *j)
{
    int64_t staged = sqlite3_column_int64(st, 12), received = sqlite3_column_int64(st, 13), waits = sqlite3_column_int64(st, 14);
    memset(j, 0, sizeof *j);
    j->job = (uint64_t)sqlite3_column_int64(st, 0);
    snprintf(j->collection, sizeof j->collection, "%s", (const char *)sqlite3_column_text(st, 1));
    snprintf(j->label, sizeof j->label, "%s", (const char *)sqlite3_column_text(st, 2));
    j->state = (enum index_job_state)sqlite3_column_int(st, 3);
    j->accepted = (uint64_t)sqlite3_column_int64(st, 4);
    j->searchable = (uint64_t)sqlite3_column_int64(st, 5);
    j->failed = (uint64_t)sqlite3_column_int64(st, 6);
    j->total_documents = (uint64_t)sqlite3_column_int64(st, 7);
    j->total_bytes = (uint64_t)sqlite3_column_int64(st, 8);
    j->created_ms = sqlite3_column_int64(st, 9);
    snprintf(j->last_error, sizeof j->last_error, "%s", (const char *)sqlite3_column_text(st, 10));
    j->pending_chunks = (uint64_t)sqlite3_column_int64(st, 11);
    j->received_bytes = received < 0 ? 0 : (uint64_t)received;
    j->done_bytes = waits < received ? (uint64_t)(received - waits) : 0;
    if (j->state == INDEX_JOB_RUNNING && !staged)
        j->state = j->failed ? INDEX_JOB_FAILED : INDEX_JOB_DONE;
}

int index_job_list(struct index_reader *r, uint64_t job, struct index_job **list, size_t *n,
                   struct err_msg *em)
{
    int ret;
    size_t cap = 0;
    sqlite3_stmt *st = NULL;
    struct err_msg local;
    em = em ? em : &local;
    *list = NULL;
    *n = 0;
    if ((ret = sql_prepare(r->db, &st,
                           "SELECT j.job, j.collection, j.label, j.state, j.accepted, j.searchable, j.failed,"
                           " j.total_documents, j.total_bytes, j.created_ms, j.last_error,"
                           " coalesce(sum(d.n_pending), 0), count(d.doc), j.received_bytes,"
                           " coalesce(sum(min(max(d.source, 0), 4294967295)), 0) FROM jobs j LEFT JOIN documents d"
                           " ON d.live = 0 AND d.job = j.job WHERE ?1 = 0 OR j.job = ?1"
                           " GROUP BY j.job ORDER BY j.job DESC",
                           em)) < 0)
        return ret;
    sql_bind(st, "i", (int64_t)job);
    while ((ret = sql_step(st, em)) > 0) {
        if (*n == cap) {
            cap = cap ? cap * 2 : 16;
            struct index_job *p = realloc(*list, cap * sizeof *p);
            if (!p) {
                ret = err_set(em, LT_ENOMEM, "no memory for the list of jobs");
                break;
            }
            *list = p;
        }
        read_job(st, &(*list)[(*n)++]);
    }
    sqlite3_finalize(st);
    if (ret == 0 && job && !*n)
        ret = err_set(em, LT_ENOTFOUND, "no job %llu", (unsigned long long)job);
    if (ret < 0) {
        free(*list);
        *list = NULL;
        *n = 0;
    }
    return ret;
}
