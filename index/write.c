/* Puts, deletes, pending chunks and their vectors. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "index/kept.h"

#define METADATA_DEPTH_MAX 32

/* Nesting is counted before the parser recurses. */
static int check_metadata(const char *s, size_t len, struct err_msg *em)
{
    int depth = 0;
    bool quoted = false;
    if (len > INDEX_METADATA_MAX)
        return err_set(em, LT_ELIMIT, "metadata: %zu bytes, at most %u", len, INDEX_METADATA_MAX);
    for (size_t i = 0; i < len; i++) {
        char ch = s[i];
        if (quoted && ch == '\\')
            i++;
        else if (ch == '"')
            quoted = !quoted;
        else if (!quoted && (ch == '{' || ch == '[') && ++depth > METADATA_DEPTH_MAX)
            return err_set(em, LT_ELIMIT, "metadata: nested deeper than %d", METADATA_DEPTH_MAX);
        else if (!quoted && (ch == '}' || ch == ']'))
            depth--;
    }
    json_error_t je;
    json_t *j = json_loadb(s, len, JSON_REJECT_DUPLICATES, &je);
    if (!j)
        return err_set(em, LT_EFORMAT, "metadata: not JSON at byte %d: %.200s", je.position, je.text);
    int r = json_is_object(j) ? 0 : err_set(em, LT_EFORMAT, "metadata: not a JSON object");
    json_decref(j);
    return r;
}

static int check_utf8(const char *what, const char *s, size_t len, bool nul, struct err_msg *em)
{
    size_t at = len ? utf8_check(s, len) : UTF8_VALID;
    if (at != UTF8_VALID)
        return err_set(em, LT_EUTF8, "%s: not valid UTF-8 at byte %zu", what, at);
    if (!nul && len && memchr(s, 0, len))
        return err_set(em, LT_EINVAL, "%s: holds a NUL character", what);
    return 0;
}

static int check_doc(const struct collection *c, const struct index_doc *d, size_t n_spans, struct err_msg *em)
{
    int r;
    if (!d->id || !d->id_len)
        return err_set(em, LT_EEMPTY, "document without an id");
    if (d->id_len > INDEX_ID_MAX)
        return err_set(em, LT_ELIMIT, "id: %zu bytes, at most %u", d->id_len, INDEX_ID_MAX);
    if (d->text_len > INDEX_TEXT_MAX)
        return err_set(em, LT_ELIMIT, "text: %zu bytes, at most %u", d->text_len, INDEX_TEXT_MAX);
    if (d->title_len > INDEX_TITLE_MAX)
        return err_set(em, LT_ELIMIT, "title: %zu bytes, at most %u", d->title_len, INDEX_TITLE_MAX);
    if ((r = check_utf8("id", d->id, d->id_len, false, em)) < 0 ||
        (r = check_utf8("text", d->text, d->text_len, true, em)) < 0 ||
        (r = check_utf8("title", d->title, d->title_len, false, em)) < 0)
        return r;
    if (d->metadata_len && (r = check_metadata(d->metadata, d->metadata_len, em)) < 0)
        return r;
    if (n_spans < 1 || n_spans > INDEX_CHUNKS_MAX)
        return err_set(em, LT_ELIMIT, "%zu chunks: 1 to %u", n_spans, INDEX_CHUNKS_MAX);
    for (size_t i = 0; i < d->n_spans && d->spans; i++)
        if (d->spans[i].start > d->spans[i].end || d->spans[i].end > d->text_len)
            return err_set(em, LT_EINVAL, "chunk %zu lies outside the text", i);
    if (!d->vectors) {
        if (c->vectors_only)
            return err_set(em, LT_EUNSUPPORTED, "collection %s takes documents with vectors only", c->name);
        return d->text_len || d->title_len ? 0 : err_set(em, LT_EEMPTY, "no text");
    }
    if (d->dim != c->dim)
        return err_set(em, LT_EDIM, "vector of %u dimensions, collection %s has %u", d->dim, c->name, c->dim);
    for (size_t i = 0; i < n_spans; i++)
        if ((r = vectors_check(d->vectors + i * c->dim, c->dim, c->metric, em)) < 0)
            return r;
    return 0;
}

/* Of its own collection only: rights for one must not reach into another. */
static int check_job(struct index *ix, const struct collection *c, uint64_t job, struct err_msg *em)
{
    const int abandoned = index_job_takes(ix, c->name, job, em);
    return abandoned > 0 ? jobs_set_state(ix, job, INDEX_JOB_OPEN, em) : abandoned; /* somebody goes on with it */
}

/* kept: their vectors are there already; else d's own are put there, if it has any. */
static int insert_chunks(struct index *ix, struct collection *c, const struct index_doc *d, uint64_t doc,
                         uint64_t first, size_t n, bool kept, struct err_msg *em)
{
    int r = 0;
    const struct index_span whole = {0, (uint32_t)d->text_len};
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNK_ADD, em);
    if (!st)
        return LT_EIO;
    for (size_t i = 0; i < n && r == 0; i++) {
        const struct index_span *s = d->spans ? &d->spans[i] : &whole;
        sql_bind(st, d->vectors || kept ? "iiiiiii" : "iiiiiin", (int64_t)(first + i), (int64_t)doc, c->id, (int64_t)i,
                 (int64_t)s->start, (int64_t)s->end, (int64_t)0);
        r = sql_run(st, em);
        if (r == 0 && d->vectors)
            r = vectors_add(ix, first + i, d->vectors + i * c->dim, c->dim, em);
    }
    return r;
}

/* What a document takes in the store: its text, the words' index of it, the rest. */
static uint64_t doc_bytes(const struct collection *c, const struct index_doc *d, size_t n_chunks)
{
    return d->text_len + d->text_len / 2 + d->title_len + d->metadata_len + d->id_len +
           n_chunks * (c->dim * sizeof(float) + 64);
}

/* A document counts once in its job, however often it comes: accepted and searchable say what it was not counted as yet. */
static int count_in_job(struct index *ix, const struct index_doc *d, bool accepted, bool searchable, struct err_msg *em)
{
    sqlite3_stmt *st = d->job ? store_stmt(ix, ST_JOB_COUNT, em) : NULL;
    if (!st)
        return d->job ? LT_EIO : 0;
    sql_bind(st, "iiiii", (int64_t)accepted, (int64_t)searchable, (int64_t)0, (int64_t)d->source_bytes, (int64_t)d->job);
    return sql_run(st, em);
}

/* The live version is what the job brought, too. */
static int set_job(struct index *ix, const struct index_doc *d, const struct doc_row *live, struct err_msg *em)
{
    sqlite3_stmt *st = d->job && d->job != live->job ? store_stmt(ix, ST_DOC_JOB, em) : NULL;
    if (!st)
        return d->job && d->job != live->job ? LT_EIO : 0;
    sql_bind(st, "ii", (int64_t)d->job, (int64_t)live->doc);
    return sql_run(st, em);
}

/* The new version's rows, under the next numbers. kept as for insert_chunks; again: its job has had the document before. */
static int insert_rows(struct index *ix, struct collection *c, const struct index_doc *d, size_t n, bool kept, bool again,
                       struct err_msg *em)
{
    int64_t bytes = (int64_t)doc_bytes(c, d, n);
    uint64_t doc = ix->next_doc++, first = ix->next_chunk;
    bool whole = kept || d->vectors;
    int r;
    if (d->version)
        *d->version = doc;
    ix->next_chunk += n;
    ix->seq++;
    c->group_seq = ix->seq;
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_ADD, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "iitiiiiiitti", (int64_t)doc, c->id, d->id, d->id_len, (int64_t)ix->seq, (int64_t)d->job,
             (int64_t)first, (int64_t)n, whole ? (int64_t)0 : (int64_t)n, bytes,
             d->metadata_len ? d->metadata : NULL, d->metadata_len, d->title_len ? d->title : "", d->title_len,
             (int64_t)d->source_bytes);
    if ((r = sql_run(st, em)) < 0)
        return r;
    if (!(st = store_stmt(ix, ST_TEXT_ADD, em)))
        return LT_EIO;
    sql_bind(st, "ib", (int64_t)doc, d->text_len ? d->text : "", d->text_len);
    if ((r = sql_run(st, em)) < 0 || (r = insert_chunks(ix, c, d, doc, first, n, kept, em)) < 0 ||
        (r = count_in_job(ix, d, !again, false, em)) < 0)
        return r;
    c->delta.bytes += bytes;
    group_touch(c);
    if (whole)
        return documents_go_live(ix, c, doc, em);
    c->delta.pending += (int64_t)n;
    return 0;
}

/* Everything has been checked; what fails here is the store's. */
static int insert_doc(struct index *ix, struct collection *c, const struct index_doc *d, size_t n,
                      struct err_msg *em)
{
    struct doc_row staged, live;
    enum kept kept = KEPT_NOTHING;
    int was_staged = documents_find(ix, c, d->id, d->id_len, false, &staged, em), was_live, r = was_staged;
    if (r > 0) /* superseded before it was searchable */
        r = documents_erase(ix, c, &staged, em);
    if (r < 0 || (r = was_live = documents_find(ix, c, d->id, d->id_len, true, &live, em)) < 0 ||
        (was_live && (r = kept_compare(ix, c, &live, d, n, ix->next_chunk, &kept, em)) < 0))
        return r;
    if (d->kept)
        *d->kept = kept != KEPT_NOTHING;
    c->delta.documents += !was_staged && !was_live;
    const bool was_searchable = was_live && live.job == d->job, again = was_searchable || (was_staged && staged.job == d->job);
    if (kept != KEPT_ALL)
        return insert_rows(ix, c, d, n, kept == KEPT_VECTORS, again, em);
    if (d->version)
        *d->version = live.doc;
    if (was_staged) { /* which is gone: a change like a deletion */
        ix->seq++;
        c->group_seq = ix->seq;
    }
    r = set_job(ix, d, &live, em);
    return r < 0 ? r : count_in_job(ix, d, !again, !was_searchable, em);
}

/* (writer) Uncounted: the writer alone takes collections out. */
static int find(struct index *ix, const char *name, struct collection **c, struct err_msg *em)
{
    *c = collection_find(ix, name);
    collection_release(*c);
    return *c ? 0 : err_set(em, LT_ENOTFOUND, "no collection %s", name ? name : "");
}

int index_put(struct index *ix, const struct index_doc *doc, struct err_msg *em)
{
    int r;
    struct collection *c;
    struct err_msg local;
    em = em ? em : &local;
    size_t n = doc->spans ? doc->n_spans : 1;
    if ((r = find(ix, doc->collection, &c, em)) < 0 || (r = collection_check_model(ix, c, em)) < 0 ||
        (r = check_doc(c, doc, n, em)) < 0)
        return r;
    if ((r = group_begin(ix, false, em)) < 0)
        return r;
    if (doc->job && (r = check_job(ix, c, doc->job, em)) < 0)
        return r;
    if ((r = space_want(ix, doc_bytes(c, doc, n), em)) < 0 || (r = insert_doc(ix, c, doc, n, em)) < 0)
        return group_fail(ix, r, em);
    return 0;
}

int index_delete(struct index *ix, const char *collection, const char *id, size_t id_len,
                 struct err_msg *em)
{
    int r, found = 0;
    struct collection *c;
    struct err_msg local;
    em = em ? em : &local;
    if ((r = find(ix, collection, &c, em)) < 0)
        return r;
    if (!id || !id_len || id_len > INDEX_ID_MAX)
        return err_set(em, LT_ENOTFOUND, "no such document");
    if ((r = group_begin(ix, true, em)) < 0)
        return r;
    for (int live = 0; live <= 1; live++) {
        struct doc_row row;
        r = documents_find(ix, c, id, id_len, live, &row, em);
        if (r > 0) {
            if (!found++)
                ix->seq++;
            r = documents_erase(ix, c, &row, em);
        }
        if (r < 0)
            return group_fail(ix, r, em);
    }
    if (!found)
        return err_set(em, LT_ENOTFOUND, "no document %.*s", (int)(id_len > 200 ? 200 : id_len), id);
    c->delta.documents--;
    c->group_seq = ix->seq;
    group_touch(c);
    return 0;
}

/* One chunk's vector; *set tells whether it was wanted. */
static int set_vector(struct index *ix, uint64_t chunk, const float *v, bool *set, struct err_msg *em)
{
    int64_t left = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNK_GET, em);
    *set = false;
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)chunk);
    int r = sql_step(st, em);
    if (r <= 0)
        return r;
    int64_t doc = sqlite3_column_int64(st, 0);
    bool pending = sqlite3_column_type(st, 2) == SQLITE_NULL;
    struct collection *c = collection_by_id(ix, sqlite3_column_int64(st, 1));
    sqlite3_reset(st);
    if (!pending || !c)
        return 0;
    if (ix->dropping) {
        struct doc_row row;
        int64_t coll;
        if ((r = documents_row(ix, (uint64_t)doc, &row, &coll, em)) < 0)
            return r;
        if (r > 0 && jobs_cancelled(ix, row.job))
            return 0;
    }
    if ((r = vectors_add(ix, chunk, v, c->dim, em)) < 0)
        return r;
    if (!(st = store_stmt(ix, ST_CHUNK_VSEQ, em)))
        return LT_EIO;
    sql_bind(st, "iii", (int64_t)0, (int64_t)chunk, (int64_t)chunk);
    if ((r = sql_run(st, em)) < 0)
        return r;
    if (!(st = store_stmt(ix, ST_DOC_PENDING, em)))
        return LT_EIO;
    sql_bind(st, "i", doc);
    if ((r = sql_step(st, em)) <= 0)
        return r < 0 ? r : err_set(em, LT_ECORRUPT, "chunk %llu has no document", (unsigned long long)chunk);
    left = sqlite3_column_int64(st, 0);
    if ((r = sql_run(st, em)) < 0)
        return r;
    c->delta.pending--;
    group_touch(c);
    *set = true;
    return left == 0 ? documents_go_live(ix, c, (uint64_t)doc, em) : 0;
}

int index_set_vectors(struct index *ix, const uint64_t *chunks, const float *vectors, size_t n,
                      uint32_t dim, size_t *n_set, struct err_msg *em)
{
    int r;
    size_t done = 0;
    struct err_msg local;
    em = em ? em : &local;
    if (dim != ix->model_dim)
        return err_set(em, LT_EDIM, "vectors of %u dimensions, the model gives %u", dim, ix->model_dim);
    for (size_t i = 0; i < n; i++) {
        struct err_msg what;
        if ((r = vectors_check(vectors + i * dim, dim, METRIC_COSINE, &what)) < 0)
            return err_set(em, r, "chunk %llu: %s", (unsigned long long)chunks[i], what.text);
    }
    if ((r = group_begin(ix, false, em)) < 0)
        return r;
    if ((r = space_want(ix, n * (dim * sizeof(float) + 64), em)) < 0)
        return group_fail(ix, r, em);
    for (size_t i = 0; i < n; i++) {
        bool set;
        if ((r = set_vector(ix, chunks[i], vectors + i * dim, &set, em)) < 0)
            return group_fail(ix, r, em);
        done += set;
    }
    if (n_set)
        *n_set = done;
    return 0;
}

int index_fail_chunk(struct index *ix, uint64_t chunk, int code, const char *reason, struct err_msg *em)
{
    int r;
    int64_t doc, coll;
    struct doc_row row;
    struct err_msg local;
    em = em ? em : &local;
    if ((r = group_begin(ix, false, em)) < 0)
        return r;
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNK_GET, em);
    if (!st)
        return group_fail(ix, LT_EIO, em);
    sql_bind(st, "i", (int64_t)chunk);
    if ((r = sql_int(st, 0, &doc, em)) < 0)
        return group_fail(ix, r, em);
    if (!doc)
        return 0;
    if ((r = documents_row(ix, (uint64_t)doc, &row, &coll, em)) < 0)
        return group_fail(ix, r, em);
    struct collection *c = collection_by_id(ix, coll);
    if (r == 0 || row.live || !c || jobs_cancelled(ix, row.job))
        return 0;
    st = store_stmt(ix, ST_DOC_BY_ID, em);
    if (!st)
        return group_fail(ix, LT_EIO, em);
    char text[256];
    sql_bind(st, "i", doc);
    if ((r = sql_step(st, em)) > 0)
        snprintf(text, sizeof text, "%.120s: %.133s", (const char *)sqlite3_column_text(st, 8), reason ? reason : err_text(code));
    sqlite3_reset(st);
    if (r > 0)
        r = documents_drop_staged(ix, c, &row, em);
    if (r >= 0 && row.job)
        r = jobs_count_failed(ix, row.job, 1, 0, text, em);
    return r < 0 ? group_fail(ix, r, em) : 0;
}
