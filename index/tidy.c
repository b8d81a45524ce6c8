/* What deleted documents leave behind in the store, given back when a folder has come to rest. All of it in bites: a write waits
 * for one at most.
 *
 * Where the disk has no room for the log of such bites, rows stay as they are, and words are merged in small pieces, with the log emptied
 * after each. On a disk that is nearly full words cannot wait for rest either: a deletion's notes take as much as its text gives back,
 * until they are merged. FTS5's own merges in commits are held off meanwhile: they would go on with ours as far as they like, since
 * they count what they write and not what they read, and on a full disk such a deletion would fail each time.
 *
 * Words: FTS5 takes a text's words out by a note in its newest segment; what they take stays until that note and the words meet in
 * a merge, for which it has no reason of its own. When an eighth of a collection's texts went, its segments are merged into one.
 *
 * Rows: a table's page that lost some of its rows stays as it is, since new rows have new, larger keys and go elsewhere. When a
 * quarter as many rows went as are left, those left are taken out and put back, in order, which packs them. */
#include <stdio.h>

#include "base/clock.h"
#include "index/store.h"

#define WORDS_SHARE 8u
#define WORDS_PAGES 256
#define WORDS_PAGES_SMALL 32 /* where there is little room; what the log of a piece takes besides depends on how much of its words has gone */
#define AUTOMERGE 4  /* FTS5's own: so many segments of a size are merged by commits, bit by bit */
#define RELEASED 16u /* collections at a time */
#define ROWS_SHARE 4u
#define ROWS 300             /* at a time, … */
#define ROWS_BYTES (1 << 20) /* … and bytes of them */
#define ROW_MAX 65536        /* a longer one has pages of its own */

static bool at_rest(const struct index *ix)
{
    return clock_ns() - ix->changed_ns >= ix->rest_ns;
}

/* Puts a piece of c's words together; c->merging_words: there is more of it. */
static int merge_words(struct index *ix, struct collection *c, int pages, struct err_msg *em)
{
    /* A negative number first puts all segments together, whatever their sizes; then they are merged as any. */
    bool first = !c->merging_words;
    if (first)
        c->words_merging = c->words_removed;
    int before = sqlite3_total_changes(ix->db);
    int r = sql_execf(ix->db, em, "INSERT INTO words_%lld(words_%lld, rank) VALUES('merge', %d)", (long long)c->id, (long long)c->id,
                      first ? -pages : pages);
    ix->freed_rows = true;
    c->merging_words = r == 0 && (first || sqlite3_total_changes(ix->db) - before >= 2);
    return r;
}

bool tidy_words_now(const struct index *ix)
{
    return at_rest(ix) || space_is_scarce(ix);
}

int tidy_words(struct index *ix, struct collection *c, uint64_t until_ns, bool *more, struct err_msg *em)
{
    *more = false;
    if (ix->broken || !c->words_removed || (!c->merging_words && c->words_removed * WORDS_SHARE <= (uint64_t)atomic_load(&c->chunks)))
        return 0;
    do {
        const bool small = !space_to_tidy(ix);
        if ((small && !space_to_merge(ix)) || (!space_is_scarce(ix) && !at_rest(ix)))
            return 0;
        int r = merge_words(ix, c, small ? WORDS_PAGES_SMALL : WORDS_PAGES, em);
        if (small)
            space_empty_log(ix);
        if (small && r == LT_ENOSPC)
            return 0; /* as it was; deletions will make a little more room */
        if (r < 0 || !c->merging_words) {
            c->words_removed -= r < 0 ? c->words_removed : c->words_merging; /* what went meanwhile may be worth another */
            return r;
        }
    } while (clock_ns() < until_ns);
    *more = true;
    return 0;
}

static int set_automerge(struct index *ix, struct collection *c, int n, struct err_msg *em)
{
    return sql_execf(ix->db, em, "INSERT INTO words_%lld(words_%lld, rank) VALUES('automerge', %d)", (long long)c->id, (long long)c->id, n);
}

int tidy_hold_merges(struct index *ix, struct collection *c, struct err_msg *em)
{
    if (c->merges == MERGES_HELD || !space_is_scarce(ix))
        return 0;
    int r = set_automerge(ix, c, 0, em);
    if (r == 0) {
        c->merges = MERGES_HELD;
        c->merges_new = true;
    }
    return r;
}

/* Did an earlier run leave it so? */
static void look_up_merges(struct index *ix, struct collection *c)
{
    int64_t n = AUTOMERGE;
    char sql[80];
    sqlite3_stmt *st = NULL;
    snprintf(sql, sizeof sql, "SELECT v FROM words_%lld_config WHERE k = 'automerge'", (long long)c->id);
    if (sql_prepare(ix->db, &st, sql, NULL) == 0)
        (void)sql_int(st, AUTOMERGE, &n, NULL); /* a damaged table is told of elsewhere */
    sqlite3_finalize(st);
    c->merges = n ? MERGES_FREE : MERGES_HELD;
}

void tidy_release_merges(struct index *ix)
{
    unsigned n = 0;
    if (ix->broken || space_is_scarce(ix))
        return;
    for (size_t i = 0; i < ix->n_collections && n < RELEASED; i++) {
        struct collection *c = ix->collections[i];
        if (c->merges == MERGES_FREE)
            continue;
        n++;
        if (c->merges == MERGES_UNKNOWN)
            look_up_merges(ix, c);
        if (c->merges == MERGES_HELD && set_automerge(ix, c, AUTOMERGE, NULL) == 0) /* else the next time */
            c->merges = MERGES_FREE;
    }
}

/* The next rows of a table behind key *at, which moves on; past the last one it is INT64_MAX. */
static int pack_some(struct index *ix, const char *table, const char *key, const char *data, int64_t *at, struct err_msg *em)
{
    int64_t last = 0;
    sqlite3_stmt *st = NULL;
    char sql[400];
    snprintf(sql, sizeof sql,
             "SELECT max(k) FROM (SELECT k, sum(n) OVER (ORDER BY k) - n AS before FROM (SELECT %s AS k, length(%s) AS n FROM %s"
             " WHERE %s > ? ORDER BY %s LIMIT %d)) WHERE before < %d", key, data, table, key, key, ROWS, ROWS_BYTES);
    int r = sql_prepare(ix->db, &st, sql, em);
    if (r == 0) {
        sql_bind(st, "i", *at);
        r = sql_int(st, 0, &last, em);
    }
    sqlite3_finalize(st);
    if (r < 0 || !last) {
        *at = INT64_MAX;
        return r;
    }
    if ((r = sql_exec(ix->db, "CREATE TEMP TABLE IF NOT EXISTS packed(k INTEGER PRIMARY KEY, d BLOB)", em)) < 0 ||
        (r = sql_exec(ix->db, "BEGIN IMMEDIATE", em)) < 0)
        return r;
    long long from = *at, to = last;
    if ((r = sql_execf(ix->db, em, "DELETE FROM temp.packed;"
                       "INSERT INTO temp.packed SELECT %s, %s FROM %s WHERE %s > %lld AND %s <= %lld AND length(%s) <= %d;"
                       "DELETE FROM %s WHERE %s IN (SELECT k FROM temp.packed)",
                       key, data, table, key, from, key, to, data, ROW_MAX, table, key)) == 0 &&
        (r = sql_execf(ix->db, em, "INSERT INTO %s(%s, %s) SELECT k, d FROM temp.packed ORDER BY k; DELETE FROM temp.packed", table, key,
                       data)) == 0)
        r = sql_exec(ix->db, "COMMIT", em);
    if (r < 0 && !sqlite3_get_autocommit(ix->db))
        sqlite3_exec(ix->db, "ROLLBACK", NULL, NULL, NULL);
    *at = last;
    return r;
}

int tidy_rows(struct index *ix, uint64_t until_ns, bool *more, struct err_msg *em)
{
    static const char *const tables[][3] = {{"texts", "doc", "text"}, {"vectors", "chunk", "data"}, {"vector_tails", "chunk", "data"}};
    const unsigned n_tables = sizeof tables / sizeof *tables;
    uint64_t left = 0;
    *more = false;
    if (!ix->rows_removed || ix->read_only || ix->broken || !at_rest(ix) || !space_to_tidy(ix))
        return 0;
    for (size_t i = 0; i < ix->n_collections; i++)
        left += (uint64_t)atomic_load(&ix->collections[i]->chunks);
    if (!ix->packing && ix->rows_removed * ROWS_SHARE < left)
        return 0;
    if (!ix->packing) {
        ix->packing = true;
        ix->pack_table = 0;
        ix->pack_at = 0;
    }
    while (ix->pack_table < n_tables && clock_ns() < until_ns) {
        const char *const *t = tables[ix->pack_table];
        int r = pack_some(ix, t[0], t[1], t[2], &ix->pack_at, em);
        ix->freed_rows = true;
        if (r < 0) {
            ix->packing = false;
            ix->rows_removed = 0; /* it was only about space */
            return r;
        }
        if (ix->pack_at == INT64_MAX) {
            ix->pack_table++;
            ix->pack_at = 0;
        }
    }
    *more = ix->pack_table < n_tables;
    if (!*more) {
        ix->packing = false;
        ix->rows_removed = 0;
    }
    return 0;
}
