/* Documents' rows: found, erased, and turned from staged into live. All on the writer thread, in a group. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "index/store.h"

void documents_read_row(sqlite3_stmt *st, bool live, struct doc_row *row)
{
    row->doc = (uint64_t)sqlite3_column_int64(st, 0);
    row->first_chunk = (uint64_t)sqlite3_column_int64(st, 1);
    const int64_t n = sqlite3_column_int64(st, 2);
    row->n_chunks = n < 1 || n > INDEX_CHUNKS_MAX ? 0 : (uint32_t)n; /* 0: damaged */
    const int64_t pending = sqlite3_column_int64(st, 3);
    row->n_pending = pending < 0 || pending > n ? UINT32_MAX : (uint32_t)pending;
    row->job = (uint64_t)sqlite3_column_int64(st, 4);
    row->seq = (uint64_t)sqlite3_column_int64(st, 5);
    const int64_t bytes = sqlite3_column_int64(st, 6); /* an estimate, which damage must not make absurd */
    row->bytes = bytes < 0 || bytes > INT64_C(1) << 40 ? 0 : bytes;
    row->live = live;
}

int documents_find(struct index *ix, const struct collection *c, const char *id, size_t id_len, bool live,
                   struct doc_row *row, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_FIND, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "iti", c->id, id, id_len, (int64_t)live);
    int r = sql_step(st, em);
    if (r > 0) {
        documents_read_row(st, live, row);
        sqlite3_reset(st);
    }
    return r;
}

int documents_row(struct index *ix, uint64_t doc, struct doc_row *row, int64_t *coll, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_BY_ID, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)doc);
    int r = sql_step(st, em);
    if (r > 0) {
        documents_read_row(st, sqlite3_column_int(st, 7), row);
        *coll = sqlite3_column_int64(st, 10);
        sqlite3_reset(st);
    }
    return r;
}

static int run_range(struct index *ix, enum store_stmt id, uint64_t first, uint32_t n, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, id, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "ii", (int64_t)first, (int64_t)(first + n - 1));
    return sql_run(st, em);
}

static int run_doc(struct index *ix, enum store_stmt id, uint64_t doc, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, id, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)doc);
    return sql_run(st, em);
}

/* The statement that adds to or takes from c's word index. */
static int words_stmt(struct index *ix, struct collection *c, bool insert, sqlite3_stmt **out, struct err_msg *em)
{
    char text[160];
    long long id = c->id;
    if (insert)
        snprintf(text, sizeof text, "INSERT INTO words_%lld(rowid, title, text) VALUES(?, ?, ?)", id);
    else
        snprintf(text, sizeof text,
                 "INSERT INTO words_%lld(words_%lld, rowid, title, text) VALUES('delete', ?, ?, ?)", id, id);
    sqlite3_stmt **st = insert ? &c->words_insert : &c->words_delete;
    int r = sql_prepare(ix->db, st, text, em);
    *out = *st;
    return r;
}

/* Each chunk's title and text into the word index, or the same words out of it again; *lost: not of all chunks, since the text is
 * damaged. */
static int index_words(struct index *ix, struct collection *c, const struct doc_row *row, bool insert, bool *lost,
                       struct err_msg *em)
{
    sqlite3_stmt *words;
    int r = words_stmt(ix, c, insert, &words, em);
    *lost = false;
    if (r < 0)
        return r;
    sqlite3_stmt *text = store_stmt(ix, ST_TEXT_GET, em);
    sqlite3_stmt *doc = store_stmt(ix, ST_DOC_BY_ID, em);
    sqlite3_stmt *spans = store_stmt(ix, ST_CHUNK_SPANS, em);
    if (!text || !doc || !spans)
        return LT_EIO;
    sql_bind(text, "i", (int64_t)row->doc);
    sql_bind(doc, "i", (int64_t)row->doc);
    if ((r = sql_step(text, em)) <= 0 || (r = sql_step(doc, em)) <= 0) {
        *lost = r == 0;
        goto out;
    }
    const char *t = sqlite3_column_blob(text, 0);
    int64_t len = sqlite3_column_bytes(text, 0);
    const char *title = (const char *)sqlite3_column_text(doc, 9);
    size_t title_len = (size_t)sqlite3_column_bytes(doc, 9);
    sql_bind(spans, "iii", (int64_t)row->first_chunk, (int64_t)(row->first_chunk + row->n_chunks - 1),
             (int64_t)row->doc);
    while ((r = sql_step(spans, em)) > 0) {
        int64_t start = sqlite3_column_int64(spans, 1), end = sqlite3_column_int64(spans, 2);
        if (start < 0 || start > end || end > len || (len && !t)) {
            *lost = true;
            continue;
        }
        sql_bind(words, "itt", sqlite3_column_int64(spans, 0), title ? title : "", title_len,
                 t ? t + start : "", (size_t)(end - start));
        if ((r = sql_run(words, em)) < 0)
            break;
    }
out:
    sqlite3_reset(spans);
    sqlite3_reset(text);
    sqlite3_reset(doc);
    return r;
}

int documents_fit(struct index *ix, const struct doc_row *row, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNK_COUNT, em);
    if (!st)
        return LT_EIO;
    if (!row->n_chunks || row->first_chunk > (uint64_t)INT64_MAX - row->n_chunks)
        return 0;
    sql_bind(st, "iii", (int64_t)row->first_chunk, (int64_t)(row->first_chunk + row->n_chunks - 1), (int64_t)row->doc);
    int r = sql_step(st, em);
    if (r > 0)
        r = sqlite3_column_int64(st, 0) == row->n_chunks && sqlite3_column_int64(st, 1) == row->n_pending;
    sqlite3_reset(st);
    return r;
}

#define FOUND_MAX 256

/* The next chunks after one that name the version as theirs, by looking at all. */
static int find_chunks(struct index *ix, const struct doc_row *row, int64_t after, int64_t found[static FOUND_MAX], bool *pending,
                       struct err_msg *em)
{
    int r, n = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNKS_OF_DOC, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "ii", (int64_t)row->doc, after);
    while (n < FOUND_MAX && (r = sql_step(st, em)) > 0) {
        found[n] = sqlite3_column_int64(st, 0);
        pending[n++] = sqlite3_column_type(st, 1) == SQLITE_NULL;
    }
    sqlite3_reset(st);
    return n == FOUND_MAX || r >= 0 ? n : r;
}

static int erase_range(struct index *ix, uint64_t first, uint32_t n, struct err_msg *em)
{
    int r = vectors_delete(ix, first, first + n - 1, em);
    return r < 0 ? r : run_range(ix, ST_CHUNK_DELETE, first, n, em);
}

int documents_erase_rows(struct index *ix, const struct doc_row *row, struct err_msg *em)
{
    int64_t found[FOUND_MAX];
    bool pending[FOUND_MAX];
    int n = 0, r = documents_fit(ix, row, em);
    if (r > 0)
        r = erase_range(ix, row->first_chunk, row->n_chunks, em);
    else
        while (r == 0 && (n = r = find_chunks(ix, row, -1, found, pending, em)) > 0)
            for (int i = r = 0; i < n && r == 0; i++)
                r = erase_range(ix, (uint64_t)found[i], 1, em);
    if (r < 0 || (r = run_doc(ix, ST_TEXT_DELETE, row->doc, em)) < 0)
        return r;
    return run_doc(ix, ST_DOC_DELETE, row->doc, em);
}

static int remove_chunk(struct index *ix, struct collection *c, uint64_t chunk, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_REMOVED_ADD, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "iii", c->id, (int64_t)ix->seq, (int64_t)chunk);
    int r = sql_run(st, em);
    if (r == 0 && (r = group_remove_label(ix, c, chunk)) < 0)
        return err_set(em, r, "no memory for a deletion");
    return r;
}

/* What documents_erase does before the rows go, for a version whose rows are damaged: counts what is really there. */
static int let_go_damaged(struct index *ix, struct collection *c, struct doc_row *row, struct err_msg *em)
{
    int64_t found[FOUND_MAX], last = -1;
    bool pending[FOUND_MAX];
    int n, r = 0;
    row->n_chunks = row->n_pending = 0;
    while (r == 0 && (n = r = find_chunks(ix, row, last, found, pending, em)) > 0) {
        for (int i = r = 0; i < n && r == 0; i++) {
            row->n_chunks++;
            row->n_pending += pending[i];
            if (row->live)
                r = remove_chunk(ix, c, (uint64_t)found[i], em);
        }
        last = found[n - 1];
    }
    return r;
}

static void log_loss(struct index *ix, const struct collection *c, const struct doc_row *row, const char *what)
{
    struct err_msg em;
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_BY_ID, &em);
    if (!st)
        return;
    sql_bind(st, "i", (int64_t)row->doc);
    if (sql_step(st, &em) > 0)
        log_error("index", "collection %s: document '%.200s', whose %s damaged, is taken out; latent check --repair takes its words out, too",
                  c->name, (const char *)sqlite3_column_text(st, 8), what);
    sqlite3_reset(st);
}

int documents_erase(struct index *ix, struct collection *c, const struct doc_row *row, struct err_msg *em)
{
    struct doc_row real = *row;
    bool lost = false;
    int r = documents_fit(ix, row, em);
    const bool fit = r > 0;
    if (r == 0) {
        lost = row->live;
        r = let_go_damaged(ix, c, &real, em);
    } else if (r > 0 && row->live) {
        for (uint32_t i = 0; i < row->n_chunks && r >= 0; i++)
            r = remove_chunk(ix, c, row->first_chunk + i, em);
        if (r >= 0 && (r = tidy_hold_merges(ix, c, em)) == 0)
            r = index_words(ix, c, row, false, &lost, em);
    }
    if (r >= 0 && lost)
        log_loss(ix, c, row, fit ? "text is" : "rows are");
    if (r < 0 || (r = documents_erase_rows(ix, row, em)) < 0)
        return r;
    if (row->live) {
        c->words_removed += real.n_chunks;
        postings_go(&c->postings, real.n_chunks);
        c->delta.chunks -= real.n_chunks;
        c->delta.turnover += real.n_chunks;
    }
    c->delta.erased += real.n_chunks;
    c->delta.pending -= real.n_pending;
    c->delta.bytes -= real.bytes;
    ix->freed_rows = true;
    ix->rows_removed += real.n_chunks;
    group_touch(c);
    return 0;
}

int documents_go_live(struct index *ix, struct collection *c, uint64_t doc, struct err_msg *em)
{
    struct doc_row row, old;
    int64_t coll;
    sqlite3_stmt *st;
    int r = documents_row(ix, doc, &row, &coll, em);
    if (r <= 0)
        return r < 0 ? r : err_set(em, LT_ECORRUPT, "document %llu has no row", (unsigned long long)doc);
    ix->seq++;
    if (!(st = store_stmt(ix, ST_DOC_BY_ID, em)))
        return LT_EIO;
    sql_bind(st, "i", (int64_t)doc);
    if ((r = sql_step(st, em)) <= 0)
        return r < 0 ? r : LT_EINTERNAL;
    r = documents_find(ix, c, (const char *)sqlite3_column_text(st, 8), (size_t)sqlite3_column_bytes(st, 8),
                       true, &old, em);
    sqlite3_reset(st);
    const bool counted = r > 0 && old.job == row.job; /* once a document */
    if (r < 0 || (r && (r = documents_erase(ix, c, &old, em)) < 0))
        return r;
    if ((r = run_doc(ix, ST_DOC_LIVE, doc, em)) < 0)
        return r;
    if (!(st = store_stmt(ix, ST_CHUNK_VSEQ, em)))
        return LT_EIO;
    sql_bind(st, "iii", (int64_t)ix->seq, (int64_t)row.first_chunk,
             (int64_t)(row.first_chunk + row.n_chunks - 1));
    bool lost;
    postings_come(&c->postings, row.first_chunk, row.n_chunks, ix->seq);
    if ((r = sql_run(st, em)) < 0 || (r = index_words(ix, c, &row, true, &lost, em)) < 0)
        return r;
    if (lost)
        return err_set(em, LT_ECORRUPT, "document %llu has lost its text", (unsigned long long)doc);
    if (row.job && !counted) {
        if (!(st = store_stmt(ix, ST_JOB_COUNT, em)))
            return LT_EIO;
        sql_bind(st, "iiiii", (int64_t)0, (int64_t)1, (int64_t)0, (int64_t)0, (int64_t)row.job);
        if ((r = sql_run(st, em)) < 0)
            return r;
    }
    c->delta.chunks += row.n_chunks;
    c->delta.turnover += row.n_chunks;
    c->went_live = true;
    group_touch(c);
    return 0;
}

int documents_drop_staged(struct index *ix, struct collection *c, const struct doc_row *row, struct err_msg *em)
{
    struct doc_row live;
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_BY_ID, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)row->doc);
    int r = sql_step(st, em);
    if (r <= 0)
        return r;
    r = documents_find(ix, c, (const char *)sqlite3_column_text(st, 8), (size_t)sqlite3_column_bytes(st, 8),
                       true, &live, em);
    sqlite3_reset(st);
    if (r < 0)
        return r;
    if (r == 0)
        c->delta.documents--;
    return documents_erase(ix, c, row, em);
}
