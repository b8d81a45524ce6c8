/* A searcher's connection: its transactions, its statements, and documents by id. */
#include "index/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index/schema.h"

int index_reader_create(struct index_reader **out, struct index *ix, struct err_msg *em)
{
    struct index_reader *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(em, LT_ENOMEM, "no memory for a searcher");
    r->ix = ix;
    int ret = schema_open_reader(&r->db, ix->db_path, ix->vfs[0] ? ix->vfs : NULL, ix->reader_kib, em);
    if (ret < 0)
        goto out;
    if ((ret = graph_scratch_create(&r->scratch)) < 0) {
        err_set(em, ret, "no memory for a searcher");
        goto out;
    }
    if ((ret = words_tokenizer_open(&r->tokenizer, r->db, em)) < 0 ||
        (ret = words_scorer_open(&r->scorer, r->db, em)) < 0 ||
        (ret = sql_prepare(r->db, &r->begin, "BEGIN", em)) < 0 ||
        (ret = sql_prepare(r->db, &r->end, "COMMIT", em)) < 0 ||
        (ret = sql_prepare(r->db, &r->pin, "SELECT seq FROM counters", em)) < 0)
        goto out;
    *out = r;
    r = NULL;
out:
    index_reader_destroy(&r);
    return ret;
}

void index_reader_destroy(struct index_reader **pr)
{
    struct index_reader *r = pr ? *pr : NULL;
    if (!r)
        return;
    sqlite3_stmt *all[] = {r->begin, r->end, r->pin, r->chunk, r->hit, r->hit_short, r->recent, r->allowed, r->allowed_most, r->allowed_chunks, r->get,
                           r->after, r->sampled, r->rows, r->waiting};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sqlite3_finalize(all[i]);
    for (size_t i = 0; i < READER_COLLECTIONS; i++) {
        sqlite3_finalize(r->words[i].match);
        sqlite3_finalize(r->words[i].count);
    }
    words_tokenizer_close(&r->tokenizer);
    words_scorer_finish(&r->scorer);
    graph_scratch_destroy(&r->scratch);
    sqlite3_close(r->db);
    free(r);
    *pr = NULL;
}

int reader_begin(struct index_reader *r, struct err_msg *em)
{
    int64_t seq;
    sqlite3_reset(r->begin);
    int ret = sql_run(r->begin, em);
    if (ret < 0)
        return ret;
    /* The view is fixed by the first read, not by BEGIN. */
    sqlite3_reset(r->pin);
    if ((ret = sql_int(r->pin, 0, &seq, em)) < 0)
        reader_end(r);
    else
        r->seq = (uint64_t)seq;
    return ret;
}

void reader_end(struct index_reader *r)
{
    if (!sqlite3_get_autocommit(r->db)) {
        sqlite3_reset(r->end);
        sql_run(r->end, NULL);
    }
}

struct reader_words *reader_words(struct index_reader *r, int64_t coll, struct err_msg *em)
{
    char text[200];
    struct reader_words *w = &r->words[0];
    for (size_t i = 0; i < READER_COLLECTIONS && w->coll != coll; i++)
        if (r->words[i].coll == coll || r->words[i].used < w->used)
            w = &r->words[i];
    if (w->coll != coll) {
        sqlite3_finalize(w->match);
        sqlite3_finalize(w->count);
        *w = (struct reader_words){0};
        snprintf(text, sizeof text, WORDS_MATCH_SQL, (long long)coll, (long long)coll, (long long)coll);
        if (sql_prepare(r->db, &w->match, text, em) < 0)
            return NULL;
        snprintf(text, sizeof text, "SELECT doc FROM vocab_%lld WHERE term = ?", (long long)coll);
        if (sql_prepare(r->db, &w->count, text, em) < 0)
            return NULL;
        w->coll = coll;
    }
    w->used = ++r->clock;
    return w;
}

void index_documents_finish(struct index_documents *d)
{
    arena_finish(&(struct arena){d->memory});
    free(d->docs);
    memset(d, 0, sizeof *d);
}

static int read_document(sqlite3_stmt *st, size_t i, struct arena *memory, struct index_found *f)
{
    f->index = i;
    f->id_len = (size_t)sqlite3_column_bytes(st, 0);
    f->title_len = (size_t)sqlite3_column_bytes(st, 1);
    f->metadata_len = (size_t)sqlite3_column_bytes(st, 2);
    f->text_len = (size_t)sqlite3_column_bytes(st, 3);
    f->searchable = sqlite3_column_int(st, 4);
    f->id = arena_copy(memory, sqlite3_column_blob(st, 0), f->id_len);
    f->title = arena_copy(memory, sqlite3_column_blob(st, 1), f->title_len);
    f->metadata = arena_copy(memory, sqlite3_column_blob(st, 2), f->metadata_len);
    f->text = arena_copy(memory, sqlite3_column_blob(st, 3), f->text_len);
    return f->id && f->title && f->metadata && f->text ? 0 : LT_ENOMEM;
}

/* The newest version of a document, live or not. */
#define GET_SQL "SELECT d.id, d.title, d.metadata, t.text, d.live FROM documents d LEFT JOIN texts t ON t.doc = d.doc WHERE d.coll = ?"

/* Appends the row that st is on. Errors: LT_ENOMEM, LT_ECORRUPT: its text is lost. */
static int take_document(sqlite3_stmt *st, size_t i, struct arena *memory, struct index_documents *out, size_t *bytes, struct err_msg *em)
{
    struct index_found *f = &out->docs[out->n];
    if (sqlite3_column_type(st, 3) == SQLITE_NULL)
        return err_set(em, LT_ECORRUPT, "document '%.200s' has no text any more: delete it or run latent check --repair",
                       (const char *)sqlite3_column_text(st, 0));
    if (read_document(st, i, memory, f) < 0)
        return err_set(em, LT_ENOMEM, "no memory for a document");
    out->n++;
    *bytes += f->id_len + f->title_len + f->text_len + f->metadata_len;
    return 0;
}

static int get_by_id(struct index_reader *r, int64_t coll, const struct index_id *ids, size_t n, size_t max_bytes, struct arena *memory,
                     struct index_documents *out, struct err_msg *em)
{
    size_t bytes = 0;
    int ret = sql_prepare(r->db, &r->get, GET_SQL " AND d.id = ? ORDER BY d.doc DESC LIMIT 1", em);
    for (size_t i = 0; i < n && ret >= 0 && !(max_bytes && bytes >= max_bytes); i++) {
        out->n_read = i + 1;
        if (!ids[i].len || ids[i].len > INDEX_ID_MAX)
            continue;
        sql_bind(r->get, "it", coll, ids[i].id, ids[i].len);
        if ((ret = sql_step(r->get, em)) > 0)
            ret = take_document(r->get, i, memory, out, &bytes, em);
        sqlite3_reset(r->get);
    }
    return ret;
}

static int get_after(struct index_reader *r, int64_t coll, const struct index_id *after, size_t n, size_t max_bytes, struct arena *memory,
                     struct index_documents *out, struct err_msg *em)
{
    size_t bytes = 0;
    int ret = sql_prepare(r->db, &r->after, GET_SQL " AND d.id > ? AND d.doc = (SELECT max(e.doc) FROM documents e"
                          " WHERE e.coll = d.coll AND e.id = d.id) ORDER BY d.id", em);
    if (ret < 0)
        return ret;
    sql_bind(r->after, "it", coll, after->id, after->len);
    while (out->n < n && !(max_bytes && bytes >= max_bytes) && (ret = sql_step(r->after, em)) > 0)
        if ((ret = take_document(r->after, out->n, memory, out, &bytes, em)) < 0)
            break;
    sqlite3_reset(r->after);
    out->n_read = out->n;
    return ret;
}

/* ids, or those after one. */
static int get(struct index_reader *r, const char *collection, const struct index_id *ids, const struct index_id *after, size_t n,
               size_t max_bytes, struct index_documents *out, struct err_msg *em)
{
    int ret;
    struct arena memory = {0};
    struct collection *c = collection_find(r->ix, collection);
    memset(out, 0, sizeof *out);
    if (!c)
        return err_set(em, LT_ENOTFOUND, "no collection %s", collection ? collection : "");
    if (!(out->docs = calloc(n ? n : 1, sizeof *out->docs)))
        ret = err_set(em, LT_ENOMEM, "no memory for %zu documents", n);
    else if ((ret = reader_begin(r, em)) == 0)
        ret = after ? get_after(r, c->id, after, n, max_bytes, &memory, out, em) : get_by_id(r, c->id, ids, n, max_bytes, &memory, out, em);
    out->memory = memory.blocks;
    reader_end(r);
    collection_release(c);
    if (ret < 0)
        index_documents_finish(out);
    return ret < 0 ? ret : 0;
}

int index_get(struct index_reader *r, const char *collection, const struct index_id *ids, size_t n,
              size_t max_bytes, struct index_documents *out, struct err_msg *em)
{
    return get(r, collection, ids, NULL, n, max_bytes, out, em);
}

int index_get_after(struct index_reader *r, const char *collection, const struct index_id *after, size_t n,
                    size_t max_bytes, struct index_documents *out, struct err_msg *em)
{
    return get(r, collection, NULL, after, n, max_bytes, out, em);
}
