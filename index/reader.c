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
    int ret = schema_open_reader(&r->db, ix->db_path, ix->vfs[0] ? ix->vfs : NULL, em);
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
    sqlite3_stmt *all[] = {r->begin, r->end, r->pin, r->chunk, r->hit, r->hit_short, r->recent, r->allowed, r->get, r->sampled, r->rows};
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

int index_get(struct index_reader *r, const char *collection, const struct index_id *ids, size_t n,
              size_t max_bytes, struct index_documents *out, struct err_msg *em)
{
    int ret;
    size_t bytes = 0;
    struct arena memory = {0};
    struct collection *c = collection_find(r->ix, collection);
    memset(out, 0, sizeof *out);
    if (!c)
        return err_set(em, LT_ENOTFOUND, "no collection %s", collection ? collection : "");
    if (!(out->docs = calloc(n ? n : 1, sizeof *out->docs))) {
        ret = err_set(em, LT_ENOMEM, "no memory for %zu documents", n);
        goto out;
    }
    if ((ret = reader_begin(r, em)) < 0 ||
        (ret = sql_prepare(r->db, &r->get,
                           "SELECT d.id, d.title, d.metadata, t.text, d.live FROM documents d"
                           " LEFT JOIN texts t ON t.doc = d.doc WHERE d.coll = ? AND d.id = ?"
                           " ORDER BY d.doc DESC LIMIT 1",
                           em)) < 0)
        goto out;
    for (size_t i = 0; i < n; i++) {
        out->n_read = i + 1;
        if (!ids[i].len || ids[i].len > INDEX_ID_MAX)
            continue;
        sql_bind(r->get, "it", c->id, ids[i].id, ids[i].len);
        if ((ret = sql_step(r->get, em)) < 0)
            break;
        if (ret == 0)
            continue;
        struct index_found *f = &out->docs[out->n];
        if ((ret = read_document(r->get, i, &memory, f)) < 0) {
            err_set(em, ret, "no memory for a document");
            break;
        }
        out->n++;
        bytes += f->id_len + f->title_len + f->text_len + f->metadata_len;
        sqlite3_reset(r->get);
        if (max_bytes && bytes >= max_bytes)
            break;
    }
    if (r->get)
        sqlite3_reset(r->get);
out:
    out->memory = memory.blocks;
    reader_end(r);
    collection_release(c);
    if (ret < 0)
        index_documents_finish(out);
    return ret < 0 ? ret : 0;
}
