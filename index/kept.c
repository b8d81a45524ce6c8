#include "index/kept.h"

#include <string.h>

static bool column_is(sqlite3_stmt *st, int at, const char *s, size_t len)
{
    const void *have = sqlite3_column_blob(st, at);
    return (size_t)sqlite3_column_bytes(st, at) == len && (!len || memcmp(have, s, len) == 0);
}

/* KEPT_VECTORS or KEPT_ALL where title and text are the same. */
static int compare_words(struct index *ix, const struct doc_row *old, const struct index_doc *d, enum kept *out, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_DOC_WORDS, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)old->doc);
    int r = sql_step(st, em);
    *out = KEPT_NOTHING;
    if (r > 0 && column_is(st, 0, d->title, d->title_len) && column_is(st, 2, d->text, d->text_len))
        *out = column_is(st, 1, d->metadata, d->metadata_len) ? KEPT_ALL : KEPT_VECTORS;
    sqlite3_reset(st);
    return r < 0 ? r : 0;
}

static int compare_spans(struct index *ix, const struct doc_row *old, const struct index_doc *d, size_t n, bool *same, struct err_msg *em)
{
    const struct index_span whole = {0, (uint32_t)d->text_len};
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNK_SPANS, em);
    size_t i = 0;
    int r;
    if (!st)
        return LT_EIO;
    *same = true;
    sql_bind(st, "iii", (int64_t)old->first_chunk, (int64_t)(old->first_chunk + n - 1), (int64_t)old->doc);
    for (; (r = sql_step(st, em)) > 0 && *same; i++) {
        const struct index_span *s = d->spans ? &d->spans[i] : &whole;
        *same = sqlite3_column_int64(st, 1) == s->start && sqlite3_column_int64(st, 2) == s->end;
    }
    sqlite3_reset(st);
    *same &= i == n;
    return r < 0 ? r : 0;
}

/* The i-th chunk's vector of old, checked, in ix->vector. */
static int read_vector(struct index *ix, const struct collection *c, const struct doc_row *old, size_t i, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNK_VECTOR, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "i", (int64_t)(old->first_chunk + i));
    int r = sql_step(st, em);
    if (r == 0)
        r = err_set(em, LT_ECORRUPT, "chunk %llu is gone", (unsigned long long)(old->first_chunk + i));
    if (r > 0)
        r = vectors_read(st, 1, c->dim, ix->vector) ? vectors_check(ix->vector, c->dim, c->metric, em)
                                                    : err_set(em, LT_ECORRUPT, "a vector of another length");
    sqlite3_reset(st);
    return r;
}

/* Reads and checks old's n vectors, and with copy puts each under the numbers from first on; *whole: all can be used, else no copy stays. */
static int take_vectors(struct index *ix, const struct collection *c, const struct doc_row *old, size_t n, bool copy, uint64_t first,
                        bool *whole, struct err_msg *em)
{
    int r = 0;
    *whole = true;
    for (size_t i = 0; r == 0 && i < n; i++) {
        if ((r = read_vector(ix, c, old, i, em)) == LT_ECORRUPT || r == LT_ENAN) {
            *whole = false; /* what is lost is made anew */
            return copy && i ? vectors_delete(ix, first, first + i - 1, em) : 0;
        }
        if (r == 0 && copy)
            r = vectors_add(ix, first + i, ix->vector, c->dim, em);
    }
    return r;
}

int kept_compare(struct index *ix, const struct collection *c, const struct doc_row *old, const struct index_doc *d, size_t n,
                 uint64_t first, enum kept *out, struct err_msg *em)
{
    enum kept found = KEPT_NOTHING;
    bool same = true;
    int r = 0;
    *out = KEPT_NOTHING;
    if (d->vectors || old->n_chunks != n || old->n_pending || (r = documents_fit(ix, old, em)) == 0)
        return 0;
    if (r >= 0)
        r = compare_words(ix, old, d, &found, em);
    if (r == 0 && found != KEPT_NOTHING)
        r = compare_spans(ix, old, d, n, &same, em);
    if (r < 0)
        return r == LT_ECORRUPT ? 0 : r; /* a damaged one is replaced */
    if (found != KEPT_NOTHING && same)
        r = take_vectors(ix, c, old, n, found == KEPT_VECTORS, first, &same, em);
    if (r == 0 && same)
        *out = found;
    return r;
}
