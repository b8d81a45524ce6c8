/* Documents' rows: found, erased, and turned from staged into live. All on the writer thread, in a group. */
#include <stdio.h>
#include <string.h>

#include "index/store.h"

static void read_row(sqlite3_stmt *st, bool live, struct doc_row *row)
{
    row->doc = (uint64_t)sqlite3_column_int64(st, 0);
    row->first_chunk = (uint64_t)sqlite3_column_int64(st, 1);
    row->n_chunks = (uint32_t)sqlite3_column_int64(st, 2);
    row->n_pending = (uint32_t)sqlite3_column_int64(st, 3);
    row->job = (uint64_t)sqlite3_column_int64(st, 4);
    row->seq = (uint64_t)sqlite3_column_int64(st, 5);
    row->bytes = sqlite3_column_int64(st, 6);
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
        read_row(st, live, row);
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
        read_row(st, sqlite3_column_int(st, 7), row);
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
static sqlite3_stmt *words_stmt(struct index *ix, struct collection *c, bool insert, struct err_msg *em)
{
    char text[160];
    long long id = c->id;
    if (insert)
        snprintf(text, sizeof text, "INSERT INTO words_%lld(rowid, title, text) VALUES(?, ?, ?)", id);
    else
        snprintf(text, sizeof text,
                 "INSERT INTO words_%lld(words_%lld, rowid, title, text) VALUES('delete', ?, ?, ?)", id, id);
    sqlite3_stmt **st = insert ? &c->words_insert : &c->words_delete;
    return sql_prepare(ix->db, st, text, em) < 0 ? NULL : *st;
}

/* Each chunk's title and text into the word index, or the same words out of it again. */
static int index_words(struct index *ix, struct collection *c, const struct doc_row *row, bool insert,
                       struct err_msg *em)
{
    int r = LT_EIO;
    sqlite3_stmt *words = words_stmt(ix, c, insert, em);
    sqlite3_stmt *text = store_stmt(ix, ST_TEXT_GET, em);
    sqlite3_stmt *doc = store_stmt(ix, ST_DOC_BY_ID, em);
    sqlite3_stmt *spans = store_stmt(ix, ST_CHUNK_SPANS, em);
    if (!words || !text || !doc || !spans)
        return r;
    sql_bind(text, "i", (int64_t)row->doc);
    sql_bind(doc, "i", (int64_t)row->doc);
    if ((r = sql_step(text, em)) <= 0 || (r = sql_step(doc, em)) <= 0) {
        r = r < 0 ? r : err_set(em, LT_ECORRUPT, "document %llu has no text", (unsigned long long)row->doc);
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
        if (start < 0 || start > end || end > len) {
            r = err_set(em, LT_ECORRUPT, "chunk %lld lies outside its text",
                        (long long)sqlite3_column_int64(spans, 0));
            break;
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

int documents_erase(struct index *ix, struct collection *c, const struct doc_row *row, struct err_msg *em)
{
    int r = 0;
    if (row->live) {
        sqlite3_stmt *st = store_stmt(ix, ST_REMOVED_ADD, em);
        if (!st)
            return LT_EIO;
        for (uint32_t i = 0; i < row->n_chunks; i++) {
            sql_bind(st, "iii", c->id, (int64_t)ix->seq, (int64_t)(row->first_chunk + i));
            if ((r = sql_run(st, em)) < 0)
                return r;
            if ((r = group_remove_label(ix, c, row->first_chunk + i)) < 0)
                return err_set(em, r, "no memory for a deletion");
        }
        if ((r = index_words(ix, c, row, false, em)) < 0)
            return r;
        c->words_removed += row->n_chunks;
    }
    if ((r = vectors_delete(ix, row->first_chunk, row->first_chunk + row->n_chunks - 1, em)) < 0 ||
        (r = run_range(ix, ST_CHUNK_DELETE, row->first_chunk, row->n_chunks, em)) < 0 ||
        (r = run_doc(ix, ST_TEXT_DELETE, row->doc, em)) < 0 ||
        (r = run_doc(ix, ST_DOC_DELETE, row->doc, em)) < 0)
        return r;
    if (row->live)
        c->delta.chunks -= row->n_chunks;
    c->delta.pending -= row->n_pending;
    c->delta.bytes -= row->bytes;
    ix->freed_rows = true;
    ix->rows_removed += row->n_chunks;
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
    if (r < 0 || (r && (r = documents_erase(ix, c, &old, em)) < 0))
        return r;
    if ((r = run_doc(ix, ST_DOC_LIVE, doc, em)) < 0)
        return r;
    if (!(st = store_stmt(ix, ST_CHUNK_VSEQ, em)))
        return LT_EIO;
    sql_bind(st, "iii", (int64_t)ix->seq, (int64_t)row.first_chunk,
             (int64_t)(row.first_chunk + row.n_chunks - 1));
    if ((r = sql_run(st, em)) < 0 || (r = index_words(ix, c, &row, true, em)) < 0)
        return r;
    if (row.job) {
        if (!(st = store_stmt(ix, ST_JOB_COUNT, em)))
            return LT_EIO;
        sql_bind(st, "iiii", (int64_t)0, (int64_t)1, (int64_t)0, (int64_t)row.job);
        if ((r = sql_run(st, em)) < 0)
            return r;
    }
    c->delta.chunks += row.n_chunks;
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
