/* What waits for its vector. */
#include <stdlib.h>
#include <string.h>

#include "index/reader.h"

void index_chunk_list_finish(struct index_chunk_list *list)
{
    arena_finish(&(struct arena){list->memory});
    free(list->chunks);
    memset(list, 0, sizeof *list);
}

/* The document whose text is at hand, so that a long text is read once for all its chunks. */
struct current {
    int64_t doc;
    sqlite3_stmt *text;
};

static int add(struct index_chunk_list *list, sqlite3_stmt *st, struct current *cur, struct err_msg *em)
{
    struct arena memory = {list->memory};
    struct index_chunk *ch = &list->chunks[list->n];
    int64_t doc = sqlite3_column_int64(st, 1);
    int64_t start = sqlite3_column_int64(st, 4), end = sqlite3_column_int64(st, 5);
    if (cur->doc != doc) {
        sql_bind(cur->text, "i", doc);
        int r = sql_step(cur->text, em);
        if (r <= 0)
            return r < 0 ? r : err_set(em, LT_ECORRUPT, "document %lld has no text", (long long)doc);
        cur->doc = doc;
    }
    const char *text = sqlite3_column_blob(cur->text, 0);
    if (start < 0 || start > end || end > sqlite3_column_bytes(cur->text, 0))
        return err_set(em, LT_ECORRUPT, "chunk %lld lies outside its text",
                       (long long)sqlite3_column_int64(st, 0));
    ch->chunk = (uint64_t)sqlite3_column_int64(st, 0);
    ch->version = (uint64_t)doc;
    ch->job = (uint64_t)sqlite3_column_int64(st, 7);
    ch->number = (uint32_t)sqlite3_column_int64(st, 3);
    ch->last = ch->number + 1 == (uint32_t)sqlite3_column_int64(st, 6);
    ch->text_len = (size_t)(end - start);
    ch->title_len = (size_t)sqlite3_column_bytes(st, 9);
    ch->text = arena_copy(&memory, text ? text + start : NULL, ch->text_len);
    ch->title = arena_copy(&memory, sqlite3_column_blob(st, 9), ch->title_len);
    ch->doc_id = arena_copy(&memory, sqlite3_column_blob(st, 8), (size_t)sqlite3_column_bytes(st, 8));
    list->memory = memory.blocks;
    if (!ch->text || !ch->title || !ch->doc_id)
        return err_set(em, LT_ENOMEM, "no memory for pending texts");
    list->n++;
    return 0;
}

int index_pending(struct index *ix, uint64_t after, size_t limit, size_t max_bytes,
                  struct index_chunk_list *list, struct err_msg *em)
{
    int r = 0;
    size_t bytes = 0;
    struct err_msg local;
    em = em ? em : &local;
    memset(list, 0, sizeof *list);
    list->next = after;
    sqlite3_stmt *st = store_stmt(ix, ST_PENDING, em);
    struct current cur = {-1, store_stmt(ix, ST_TEXT_GET, em)};
    if (!st || !cur.text)
        return LT_EIO;
    list->chunks = calloc(limit ? limit : 1, sizeof *list->chunks);
    if (!list->chunks)
        return err_set(em, LT_ENOMEM, "no memory for pending texts");
    sql_bind(st, "i", (int64_t)after);
    while (list->n < limit && (r = sql_step(st, em)) > 0) {
        struct collection *c = collection_by_id(ix, sqlite3_column_int64(st, 2));
        size_t len = (size_t)(sqlite3_column_int64(st, 5) - sqlite3_column_int64(st, 4));
        if (list->n && bytes + len > max_bytes)
            break;
        uint64_t chunk = (uint64_t)sqlite3_column_int64(st, 0);
        if (c && collection_check_model(ix, c, NULL) == 0) {
            if ((r = add(list, st, &cur, em)) < 0)
                break;
            bytes += len;
        }
        list->next = chunk;
    }
    sqlite3_reset(st);
    sqlite3_reset(cur.text);
    if (r < 0)
        index_chunk_list_finish(list);
    return r < 0 ? r : 0;
}
