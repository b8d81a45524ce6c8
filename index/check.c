/* Does the store agree with itself, and do the graphs agree with the store? Nothing here needs a graph that can
 * be loaded: graphs were opened, or made anew, by index_open. */
#include "index/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/plural.h"
#include "index/schema.h"

void check_problem(struct check *c, const char *fmt, ...)
{
    char line[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    c->n_problems++;
    if (c->say)
        c->say(c->arg, line);
}

int check_sqlite(struct check *c, struct err_msg *em)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    if (c->ix->inspect && c->ix->log_damage[0])
        check_problem(c, "%s", c->ix->log_damage);
    int r = schema_open_reader(&db, c->ix->db_path, NULL, 0, em);
    if (r < 0)
        return r;
    /* From 3.44 on virtual tables are asked too, and one that does not open ends the check of all others. Where there is no module for them
     * they are passed over: words are checked below, with the collection's name. */
    sqlite3_drop_modules(db, NULL);
    r = sql_prepare(db, &st, "PRAGMA integrity_check(20)", em);
    while (r >= 0 && (r = sql_step(st, em)) > 0) {
        const char *line = (const char *)sqlite3_column_text(st, 0);
        if (line && strcmp(line, "ok") != 0)
            check_problem(c, "%s: %.500s", c->ix->db_path, line);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return r;
}

#define CHUNKS_OF "c.chunk >= d.first_chunk AND c.chunk < d.first_chunk + d.n_chunks AND c.doc = d.doc AND c.coll = d.coll"
#define BAD_VECTOR                                                                                                   \
    "SELECT c.doc FROM chunks c JOIN collections k ON k.coll = c.coll LEFT JOIN vectors v ON v.chunk = c.chunk"      \
    " LEFT JOIN vector_tails t ON t.chunk = c.chunk WHERE c.vseq IS NOT NULL AND (v.chunk IS NULL"                   \
    " OR length(v.data) + coalesce(length(t.data), 0) <> 4 * k.dim)"
/* As long as it has to be, and yet not to be compared: not a number, say, or of no length. SQLite does not see such damage. */
#define BAD_NUMBERS                                                                                                  \
    "SELECT c.doc FROM chunks c JOIN collections k ON k.coll = c.coll JOIN vectors v ON v.chunk = c.chunk"           \
    " LEFT JOIN vector_tails t ON t.chunk = c.chunk WHERE c.vseq IS NOT NULL"                                        \
    " AND length(v.data) + coalesce(length(t.data), 0) = 4 * k.dim AND NOT comparable(v.data, t.data, k.dim, k.metric)"
#define NOT_WHOLE                                                                                                    \
    "SELECT d.doc FROM documents d WHERE d.n_chunks < 1 OR d.n_chunks <> (SELECT count(*) FROM chunks c WHERE " CHUNKS_OF ")"
#define NO_TEXT "SELECT d.doc FROM documents d LEFT JOIN texts t ON t.doc = d.doc WHERE t.doc IS NULL"
#define OUTSIDE                                                                                                      \
    "SELECT c.doc FROM chunks c JOIN texts t ON t.doc = c.doc WHERE c.start < 0 OR c.start > c.end"                  \
    " OR c.end > length(t.text)"
/* Two versions are both live, or both waiting. */
#define OLDER                                                                                                        \
    "SELECT d.doc FROM documents d JOIN documents n ON n.coll = d.coll AND n.id = d.id AND n.live = d.live"          \
    " AND n.doc > d.doc"
/* Nothing pending and yet not searchable, or the other way round. */
#define HALF_LIVE                                                                                                    \
    "SELECT d.doc FROM documents d WHERE CASE WHEN d.live THEN EXISTS(SELECT 1 FROM chunks c WHERE " CHUNKS_OF       \
    " AND coalesce(c.vseq, 0) = 0) ELSE NOT EXISTS(SELECT 1 FROM chunks c WHERE " CHUNKS_OF " AND c.vseq IS NULL) END"

const struct check_rule check_rules[] = {
    {"documents of no collection", "SELECT count(*) FROM documents WHERE coll NOT IN (SELECT coll FROM collections)",
     NULL, "DELETE FROM documents WHERE coll NOT IN (SELECT coll FROM collections)", false},
    {"older versions beside a newer one", "SELECT count(*) FROM (" OLDER ")", OLDER, NULL, false},
    {"documents without text", "SELECT count(*) FROM (" NO_TEXT ")", NO_TEXT, NULL, false},
    {"documents that miss chunks", "SELECT count(*) FROM (" NOT_WHOLE ")", NOT_WHOLE, NULL, false},
    {"chunks that lie outside their text", "SELECT count(*) FROM (" OUTSIDE ")", OUTSIDE, NULL, false},
    {"texts without document", "SELECT count(*) FROM texts WHERE doc NOT IN (SELECT doc FROM documents)", NULL,
     "DELETE FROM texts WHERE doc NOT IN (SELECT doc FROM documents)", false},
    {"chunks without document", "SELECT count(*) FROM chunks c LEFT JOIN documents d ON " CHUNKS_OF " WHERE d.doc IS NULL",
     NULL, "DELETE FROM chunks AS c WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE d.doc = c.doc AND " CHUNKS_OF ")", false},
    {"chunks whose vector is missing or has the wrong length", "SELECT count(*) FROM (" BAD_VECTOR ")", BAD_VECTOR, NULL, true},
    {"chunks whose vector cannot be compared", "SELECT count(*) FROM (" BAD_NUMBERS ")", BAD_NUMBERS, NULL, true},
    {"documents neither searchable nor pending", "SELECT count(*) FROM (" HALF_LIVE ")", HALF_LIVE, NULL, true},
    {"vectors without chunk",
     "SELECT count(*) FROM (SELECT chunk FROM vectors UNION SELECT chunk FROM vector_tails) v LEFT JOIN chunks c"
     " ON v.chunk = c.chunk WHERE c.vseq IS NULL",
     NULL,
     "DELETE FROM vectors WHERE chunk NOT IN (SELECT chunk FROM chunks WHERE vseq IS NOT NULL);"
     "DELETE FROM vector_tails WHERE chunk NOT IN (SELECT chunk FROM chunks WHERE vseq IS NOT NULL)",
     false},
    {"documents that miscount what is pending",
     "SELECT count(*) FROM documents d WHERE n_pending <> (SELECT count(*) FROM chunks c WHERE " CHUNKS_OF
     " AND c.vseq IS NULL)",
     NULL,
     "UPDATE documents AS d SET n_pending = (SELECT count(*) FROM chunks c WHERE " CHUNKS_OF " AND c.vseq IS NULL)"
     " WHERE n_pending <> (SELECT count(*) FROM chunks c WHERE " CHUNKS_OF " AND c.vseq IS NULL)", false},
    {"rows from the future",
     "SELECT (SELECT count(*) FROM chunks WHERE chunk >= (SELECT next_chunk FROM counters) OR vseq > (SELECT seq FROM"
     " counters)) + (SELECT count(*) FROM documents WHERE doc >= (SELECT next_doc FROM counters))",
     NULL,
     "UPDATE counters SET next_chunk = max(next_chunk, 1 + (SELECT coalesce(max(chunk), 0) FROM chunks)),"
     " next_doc = max(next_doc, 1 + (SELECT coalesce(max(doc), 0) FROM documents)),"
     " seq = max(seq, (SELECT coalesce(max(vseq), 0) FROM chunks))", false},
    {"jobs in no known state", "SELECT count(*) FROM jobs WHERE state NOT IN (0, 1, 2, 3, 4, 5)", NULL,
     "UPDATE jobs SET state = 4 WHERE state NOT IN (0, 1, 2, 3, 4, 5)", false},
    {"waiting documents of no job",
     "SELECT count(*) FROM documents WHERE live = 0 AND job <> 0 AND job NOT IN (SELECT job FROM jobs)", NULL,
     "UPDATE documents SET job = 0 WHERE live = 0 AND job <> 0 AND job NOT IN (SELECT job FROM jobs)", false},
    {"collections with wrong figures",
     "SELECT count(*) FROM collections k WHERE dropped = 0 AND (chunks <> (SELECT count(*) FROM chunks c"
     " WHERE c.coll = k.coll AND c.vseq > 0) OR pending <> (SELECT coalesce(sum(n_pending), 0)"
     " FROM documents d WHERE d.coll = k.coll) OR documents <> (SELECT count(DISTINCT id)"
     " FROM documents d WHERE d.coll = k.coll))",
     NULL,
     "UPDATE collections AS k SET chunks = (SELECT count(*) FROM chunks c WHERE c.coll = k.coll AND c.vseq > 0),"
     " pending = (SELECT coalesce(sum(n_pending), 0) FROM documents d WHERE d.coll = k.coll),"
     " documents = (SELECT count(DISTINCT id) FROM documents d WHERE d.coll = k.coll) WHERE dropped = 0", false},
};
const size_t check_n_rules = sizeof check_rules / sizeof *check_rules;

/* comparable(head, tail, dim, metric), for the rules. */
static void comparable(sqlite3_context *ctx, int n_args, sqlite3_value **args)
{
    struct index *ix = sqlite3_user_data(ctx);
    const size_t n = (size_t)sqlite3_value_bytes(args[0]), m = (size_t)sqlite3_value_bytes(args[1]);
    const int64_t dim = sqlite3_value_int64(args[2]);
    (void)n_args;
    if (dim < 1 || dim > INDEX_DIM_MAX || n + m != (size_t)dim * sizeof *ix->vector) {
        sqlite3_result_int(ctx, 0);
        return;
    }
    if (n)
        memcpy(ix->vector, sqlite3_value_blob(args[0]), n);
    if (m)
        memcpy((char *)ix->vector + n, sqlite3_value_blob(args[1]), m);
    sqlite3_result_int(ctx, vectors_check(ix->vector, (uint32_t)dim, (enum metric)sqlite3_value_int(args[3]), NULL) == 0);
}

int check_rows(struct check *c, struct err_msg *em)
{
    int rc = sqlite3_create_function_v2(c->ix->db, "comparable", 4, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, c->ix, comparable,
                                        NULL, NULL, NULL);
    int r = rc == SQLITE_OK ? 0 : sql_error(c->ix->db, rc, "check", em);
    for (size_t i = 0; i < check_n_rules && r == 0; i++) {
        sqlite3_stmt *st = NULL;
        int64_t n = 0;
        if ((r = sql_prepare(c->ix->db, &st, check_rules[i].count, em)) == 0)
            r = sql_int(st, 0, &n, em);
        sqlite3_finalize(st);
        if (n)
            check_problem(c, "%s: %s: %lld", c->ix->db_path, check_rules[i].what, (long long)n);
    }
    return r;
}

bool check_words(struct check *c, const struct collection *k)
{
    struct err_msg em;
    /* FTS5 compares its index with the texts of the view. */
    int r = sql_execf(c->ix->db, &em, "INSERT INTO words_%lld(words_%lld, rank) VALUES('integrity-check', 1)",
                      (long long)k->id, (long long)k->id);
    if (r < 0)
        check_problem(c, "collection %s: words do not match the texts: %s", k->name, em.text);
    return r == 0;
}

/* Each row that the graph should cover has a node, and the node has the row's vector. */
static int check_nodes(struct check *c, const struct collection *k, struct err_msg *em)
{
    int r;
    uint64_t n_rows = 0, n_known = 0, n_missing = 0, n_other = 0, n = graph_count(k->graph);
    struct graph_scratch *scratch = NULL;
    sqlite3_stmt *st = NULL;
    if ((r = graph_scratch_create(&scratch)) < 0) {
        err_set(em, r, "no memory");
        goto out;
    }
    if ((r = sql_prepare(c->ix->db, &st,
                         "SELECT c.chunk, v.data, t.data, c.vseq <= ? FROM chunks c LEFT JOIN vectors v ON v.chunk = c.chunk"
                         " LEFT JOIN vector_tails t ON t.chunk = c.chunk"
                         " WHERE c.coll = ? AND c.vseq > 0",
                         em)) < 0)
        goto out;
    sql_bind(st, "ii", (int64_t)atomic_load(&k->graph_seq), k->id);
    while ((r = sql_step(st, em)) > 0) {
        uint64_t label = (uint64_t)sqlite3_column_int64(st, 0);
        const float *v = vectors_read(st, 1, k->dim, c->ix->vector);
        struct graph_hit hit;
        size_t found = 0;
        bool expected = sqlite3_column_int(st, 3);
        n_rows += expected;
        if (!graph_has(k->graph, label)) {
            n_missing += expected;
            continue;
        }
        n_known++;
        if (!v)
            continue; /* the rows' own problem */
        struct graph_query q = {.v = v, .k = 1, .labels = &label, .n_labels = 1};
        int e = graph_search(k->graph, scratch, &q, &hit, &found, NULL);
        n_other += e < 0 || found != 1 || !vectors_is_own_score(k->metric, v, k->dim, hit.score);
    }
    if (n_missing)
        check_problem(c, "collection %s: vectors that the graph lacks: %llu of %llu", k->name, (unsigned long long)n_missing,
                      (unsigned long long)n_rows);
    if (n > n_known)
        check_problem(c, "collection %s: vectors in the graph that the store does not know: %llu", k->name,
                      (unsigned long long)(n - n_known));
    if (n_other)
        check_problem(c, "collection %s: vectors of the graph that are not the store's: %llu", k->name,
                      (unsigned long long)n_other);
out:
    sqlite3_finalize(st);
    graph_scratch_destroy(&scratch);
    return r < 0 ? r : 0;
}

bool check_graph(struct check *c, const struct collection *k)
{
    struct graph_report rep = {0};
    unsigned before = c->n_problems;
    struct err_msg em;
    if (k->damage[0])
        check_problem(c, "collection %s: graph: %s", k->name, k->damage);
    if (graph_check(k->graph, &rep) < 0)
        check_problem(c, "collection %s: graph: %s", k->name, rep.text);
    else if (check_nodes(c, k, &em) < 0)
        check_problem(c, "collection %s: %s", k->name, em.text);
    return c->n_problems == before;
}

int index_check(struct index *ix, void (*say)(void *arg, const char *line), void *arg, struct err_msg *em)
{
    int r;
    struct check c = {.ix = ix, .say = say, .arg = arg};
    struct err_msg local;
    em = em ? em : &local;
    if (ix->in_group)
        return err_set(em, LT_EBUSY, "a group of writes is open");
    if ((r = check_sqlite(&c, em)) < 0 || (r = check_rows(&c, em)) < 0)
        return r;
    for (size_t i = 0; i < ix->n_collections; i++) {
        check_words(&c, ix->collections[i]);
        check_graph(&c, ix->collections[i]);
    }
    return c.n_problems ? err_set(em, LT_ECORRUPT, "%u problem%s", c.n_problems, plural(c.n_problems)) : 0;
}
