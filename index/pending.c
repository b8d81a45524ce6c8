/* What waits for its vector. */
#include <stdlib.h>
#include <string.h>

#include "index/reader.h"

#define PASSED_MAX 4096 /* chunks of cancelled jobs in one call */

void index_chunk_list_finish(struct index_chunk_list *list)
{
    arena_finish(&(struct arena){list->memory});
    free(list->chunks);
    memset(list, 0, sizeof *list);
}

/* The document that is at hand, so that a long text is read once for all its chunks. */
struct current {
    int64_t doc;
    uint64_t job;
    bool cancelled; /* the job */
    sqlite3_stmt *text;
    struct err_msg damage; /* what is wrong with all of it; empty: nothing */
};

/* To the document of the chunk in st. LT_ECORRUPT: it is damaged. */
static int go_to(struct index *ix, sqlite3_stmt *st, struct current *cur, struct err_msg *damage)
{
    const int64_t doc = sqlite3_column_int64(st, 1);
    struct doc_row row;
    int64_t coll;
    cur->doc = doc;
    cur->damage.text[0] = 0;
    int r = documents_row(ix, (uint64_t)doc, &row, &coll, damage);
    if (r > 0 && (r = documents_fit(ix, &row, damage)) == 0)
        return err_set(&cur->damage, LT_ECORRUPT, "document %lld has other chunks than its row says", (long long)doc);
    if (r < 0)
        return r;
    sql_bind(cur->text, "i", doc);
    r = sql_step(cur->text, damage);
    return r ? r : err_set(&cur->damage, LT_ECORRUPT, "document %lld has no text", (long long)doc);
}

/* The bytes of the chunk in st; what is wrong with it goes to damage. */
static int read_text(struct index *ix, sqlite3_stmt *st, struct current *cur, const char **text, size_t *len, struct err_msg *damage)
{
    int64_t start = sqlite3_column_int64(st, 4), end = sqlite3_column_int64(st, 5);
    *text = NULL;
    *len = 0;
    if (cur->doc != sqlite3_column_int64(st, 1)) {
        int r = go_to(ix, st, cur, damage);
        if (r < 0 && !cur->damage.text[0]) {
            cur->doc = -1;
            return r;
        }
    }
    if (cur->damage.text[0])
        return err_set(damage, LT_ECORRUPT, "%s", cur->damage.text);
    const char *whole = sqlite3_column_blob(cur->text, 0);
    int64_t n = sqlite3_column_bytes(cur->text, 0);
    if (start < 0 || start > end || end > n || (n && !whole))
        return err_set(damage, LT_ECORRUPT, "chunk %lld lies outside its text", (long long)sqlite3_column_int64(st, 0));
    *text = whole ? whole + start : NULL;
    *len = (size_t)(end - start);
    return 0;
}

static int add(struct index *ix, struct index_chunk_list *list, sqlite3_stmt *st, struct current *cur, struct err_msg *em)
{
    struct arena memory = {list->memory};
    struct index_chunk *ch = &list->chunks[list->n];
    const char *text;
    struct err_msg damage;
    int r = read_text(ix, st, cur, &text, &ch->text_len, &damage);
    if (r < 0 && r != LT_ECORRUPT)
        return err_set(em, r, "%s", damage.text);
    ch->damage = r < 0 ? arena_copy(&memory, damage.text, strlen(damage.text)) : NULL;
    if (r < 0 && !ch->damage)
        return err_set(em, LT_ENOMEM, "no memory for pending texts");
    ch->chunk = (uint64_t)sqlite3_column_int64(st, 0);
    ch->version = (uint64_t)sqlite3_column_int64(st, 1);
    ch->job = (uint64_t)sqlite3_column_int64(st, 7);
    ch->number = (uint32_t)sqlite3_column_int64(st, 3);
    ch->last = ch->number + 1 == (uint32_t)sqlite3_column_int64(st, 6);
    ch->title_len = (size_t)sqlite3_column_bytes(st, 9);
    ch->text = arena_copy(&memory, text, ch->text_len);
    ch->title = arena_copy(&memory, sqlite3_column_blob(st, 9), ch->title_len);
    ch->doc_id = arena_copy(&memory, sqlite3_column_blob(st, 8), (size_t)sqlite3_column_bytes(st, 8));
    list->memory = memory.blocks;
    if (!ch->text || !ch->title || !ch->doc_id)
        return err_set(em, LT_ENOMEM, "no memory for pending texts");
    list->n++;
    return 0;
}

static bool is_cancelled(struct index *ix, sqlite3_stmt *st, struct current *cur)
{
    const uint64_t job = (uint64_t)sqlite3_column_int64(st, 7);
    if (job != cur->job) {
        cur->job = job;
        cur->cancelled = jobs_cancelled(ix, job);
    }
    return cur->cancelled;
}

int index_pending(struct index *ix, uint64_t after, size_t limit, size_t max_bytes,
                  struct index_chunk_list *list, struct err_msg *em)
{
    int r = 0;
    size_t bytes = 0, n_passed = 0;
    struct err_msg local;
    em = em ? em : &local;
    memset(list, 0, sizeof *list);
    list->next = after;
    sqlite3_stmt *st = store_stmt(ix, ST_PENDING, em);
    struct current cur = {.doc = -1, .text = store_stmt(ix, ST_TEXT_GET, em)};
    if (!st || !cur.text)
        return LT_EIO;
    list->chunks = calloc(limit ? limit : 1, sizeof *list->chunks);
    if (!list->chunks)
        return err_set(em, LT_ENOMEM, "no memory for pending texts");
    sql_bind(st, "i", (int64_t)after);
    while (list->n < limit && n_passed < PASSED_MAX && (r = sql_step(st, em)) > 0) {
        struct collection *c = collection_by_id(ix, sqlite3_column_int64(st, 2));
        int64_t start = sqlite3_column_int64(st, 4), end = sqlite3_column_int64(st, 5);
        if (list->n && start >= 0 && end >= start && bytes + (uint64_t)(end - start) > max_bytes)
            break;
        uint64_t chunk = (uint64_t)sqlite3_column_int64(st, 0);
        if (is_cancelled(ix, st, &cur)) {
            n_passed++;
        } else if (c && collection_check_model(ix, c, NULL) == 0) {
            if ((r = add(ix, list, st, &cur, em)) < 0)
                break;
            bytes += list->chunks[list->n - 1].text_len;
        }
        list->next = chunk;
    }
    sqlite3_reset(st);
    sqlite3_reset(cur.text);
    if (r < 0)
        index_chunk_list_finish(list);
    return r < 0 ? r : 0;
}
