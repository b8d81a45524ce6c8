/* Mending a folder. The order: rows until they agree with each other; then, from a store opened anew so that nothing
 * stale is in memory, the words and the graphs that do not fit them; then everything is checked once more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/plural.h"
#include "index/check.h"
#include "index/schema.h"

#define PASSES_MAX 4 /* a document taken out leaves rows behind that the next pass takes */

struct repair {
    const struct index_check_params *p;
    struct index_check_report *report;
    struct index *ix;
};

__attribute__((format(printf, 2, 3))) static void say(struct repair *r, const char *fmt, ...)
{
    char line[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (r->p->say)
        r->p->say(r->p->arg, line);
}

static int open_store(struct repair *r, struct err_msg *em)
{
    struct index_params ip = {.dir = r->p->dir, .vfs = r->p->vfs, .inspect = true, .threads = cpu_count()};
    return index_open(&r->ix, &ip, em);
}

/* ---- rows ---- */

/* The documents of a rule: embedded anew where that helps, else named and taken out. */
static int mend_documents(struct repair *r, const struct check_rule *rule, struct err_msg *em)
{
    int e;
    sqlite3_stmt *st = NULL;
    sqlite3 *db = r->ix->db;
    if ((e = sql_exec(db, "DROP TABLE IF EXISTS temp.bad;"
                          "CREATE TEMP TABLE bad(doc INTEGER PRIMARY KEY, again INTEGER NOT NULL DEFAULT 0)", em)) < 0 ||
        (e = sql_execf(db, em, "INSERT OR IGNORE INTO bad(doc) %s", rule->bad)) < 0)
        return e;
    /* Vectors that clients brought cannot be made again; and where a newer version waits already, the old one goes. */
    if (rule->again &&
        (e = sql_exec(db,
                      "UPDATE bad SET again = 1 WHERE EXISTS (SELECT 1 FROM documents d JOIN collections k"
                      " ON k.coll = d.coll WHERE d.doc = bad.doc AND NOT k.vectors_only AND NOT (d.live AND EXISTS"
                      " (SELECT 1 FROM documents n WHERE n.coll = d.coll AND n.id = d.id AND n.live = 0)))",
                      em)) < 0)
        return e;
    if ((e = sql_prepare(db, &st,
                         "SELECT b.again, k.name, d.id, EXISTS (SELECT 1 FROM documents n WHERE n.coll = d.coll AND"
                         " n.id = d.id AND n.doc <> d.doc) FROM bad b JOIN documents d ON d.doc = b.doc"
                         " JOIN collections k ON k.coll = d.coll WHERE NOT k.dropped",
                         em)) < 0)
        return e;
    while ((e = sql_step(st, em)) > 0)
        say(r, "repair: collection %s, document %.300s: %s", (const char *)sqlite3_column_text(st, 1),
            (const char *)sqlite3_column_text(st, 2),
            sqlite3_column_int(st, 0)   ? "will be embedded again"
            : sqlite3_column_int(st, 3) ? "this version is taken out, another one stays"
                                        : "is taken out; add it again");
    sqlite3_finalize(st);
    if (e < 0)
        return e;
    return sql_exec(db,
                    "DELETE FROM documents WHERE doc IN (SELECT doc FROM bad WHERE NOT again);"
                    "DELETE FROM vectors WHERE chunk IN (SELECT c.chunk FROM chunks c JOIN bad b ON b.doc = c.doc"
                    " WHERE b.again);"
                    "DELETE FROM vector_tails WHERE chunk IN (SELECT c.chunk FROM chunks c JOIN bad b ON b.doc = c.doc"
                    " WHERE b.again);"
                    "UPDATE chunks SET vseq = NULL WHERE doc IN (SELECT doc FROM bad WHERE again);"
                    "UPDATE documents SET job = 0 WHERE live AND doc IN (SELECT doc FROM bad WHERE again);" /* which has counted it */
                    "UPDATE documents SET live = 0, n_pending = n_chunks WHERE doc IN (SELECT doc FROM bad WHERE again);"
                    "DROP TABLE temp.bad",
                    em);
}

static int mend_rows(struct repair *r, struct err_msg *em)
{
    int e = sql_exec(r->ix->db, "BEGIN IMMEDIATE", em);
    for (int pass = 0; pass < PASSES_MAX && e == 0; pass++)
        for (size_t i = 0; i < check_n_rules && e == 0; i++) {
            const struct check_rule *rule = &check_rules[i];
            if (rule->bad)
                e = mend_documents(r, rule, em);
            if (rule->fix && e == 0)
                e = sql_exec(r->ix->db, rule->fix, em);
        }
    if (e == 0)
        e = sql_exec(r->ix->db, "COMMIT", em);
    if (e < 0 && !sqlite3_get_autocommit(r->ix->db))
        sqlite3_exec(r->ix->db, "ROLLBACK", NULL, NULL, NULL);
    return e;
}

/* ---- what is made from the rows ---- */

static int rebuild_words(struct repair *r, int64_t coll, struct err_msg *em)
{
    long long id = coll;
    return sql_execf(r->ix->db, em, "INSERT INTO words_%lld(words_%lld) VALUES('rebuild')", id, id);
}

static int mend_words(struct repair *r, const struct collection *k, struct err_msg *em)
{
    /* Its tables may be beyond a rebuild: first the gentle way. */
    int e = rebuild_words(r, k->id, em);
    if (e < 0 && (e = sql_exec(r->ix->db, "BEGIN IMMEDIATE", em)) == 0) {
        if ((e = schema_words_drop(r->ix->db, k->id, em)) == 0 && (e = schema_words_create(r->ix->db, k->id, em)) == 0 &&
            (e = rebuild_words(r, k->id, em)) == 0)
            e = sql_exec(r->ix->db, "COMMIT", em);
        if (!sqlite3_get_autocommit(r->ix->db))
            sqlite3_exec(r->ix->db, "ROLLBACK", NULL, NULL, NULL);
    }
    if (e == 0)
        say(r, "repair: collection %s: words indexed anew", k->name);
    return e;
}

static int mend_graph(struct repair *r, struct collection *k, struct err_msg *em)
{
    bool done = false;
    char name[INDEX_NAME_MAX + 1];
    memcpy(name, k->name, sizeof name);
    r->ix->inspect = false; /* the new graph is written */
    int e = collection_rebuild(r->ix, k, "by check", em);
    r->ix->inspect = true;
    if (e < 0)
        return e;
    struct collection *n = collection_find(r->ix, name);
    if (!n)
        return err_set(em, LT_EINTERNAL, "collection %s vanished", name);
    while (e == 0 && !done)
        e = refill_step(r->ix, n, UINT64_MAX, &done, em);
    if (e == 0) {
        atomic_store(&n->behind, false);
        if ((e = refill_checkpoint(r->ix, n, false, em)) == 0)
            say(r, "repair: collection %s: graph made anew, %llu vector%s", name,
                (unsigned long long)graph_count(n->graph), plural(graph_count(n->graph)));
    }
    collection_release(n);
    return e;
}

/* Words and graphs of every collection; with repair those with a problem are mended. */
static int look_at_collections(struct repair *r, struct check *c, bool mend, struct err_msg *em)
{
    int e = 0;
    char(*names)[INDEX_NAME_MAX + 1] = calloc(r->ix->n_collections + 1, sizeof *names);
    size_t n = r->ix->n_collections;
    if (!names)
        return err_set(em, LT_ENOMEM, "no memory");
    for (size_t i = 0; i < n; i++) /* mending a graph moves its collection in the list */
        memcpy(names[i], r->ix->collections[i]->name, sizeof *names);
    for (size_t i = 0; i < n && e == 0; i++) {
        struct collection *k = collection_find(r->ix, names[i]);
        collection_release(k);
        if (!k)
            continue;
        if (!check_words(c, k) && mend)
            e = mend_words(r, k, em);
        if (e == 0 && !check_graph(c, k) && mend)
            e = mend_graph(r, k, em);
    }
    free(names);
    return e;
}

static void count(const struct repair *r)
{
    r->report->n_collections = r->report->n_documents = r->report->n_chunks = 0;
    for (size_t i = 0; i < r->ix->n_collections; i++) {
        const struct collection *k = r->ix->collections[i];
        r->report->n_collections++;
        r->report->n_documents += (uint64_t)atomic_load(&k->documents);
        r->report->n_chunks += (uint64_t)atomic_load(&k->chunks);
        if (atomic_load(&k->behind) && !k->damage[0] && r->p->say && !r->report->n_problems)
            say((struct repair *)r, "note: collection %s: vectors that the next start adds to the saved graph: %llu",
                k->name, (unsigned long long)atomic_load(&k->refill_left));
    }
}

static int mend(struct repair *r, bool rows, struct err_msg *em)
{
    int e;
    struct check quiet = {.ix = r->ix}, final = {.say = r->p->say, .arg = r->p->arg};
    if (rows) {
        if ((e = mend_rows(r, em)) < 0)
            return e;
        index_close(&r->ix);
        if ((e = open_store(r, em)) < 0)
            return e;
        quiet.ix = r->ix;
    }
    if ((e = look_at_collections(r, &quiet, true, em)) < 0)
        return e;
    index_close(&r->ix);
    if ((e = open_store(r, em)) < 0)
        return e;
    final.ix = r->ix;
    if ((e = check_sqlite(&final, em)) < 0 || (e = check_rows(&final, em)) < 0 ||
        (e = look_at_collections(r, &final, false, em)) < 0)
        return e;
    r->report->n_left = final.n_problems;
    return 0;
}

int index_check_folder(const struct index_check_params *p, struct index_check_report *out, struct err_msg *em)
{
    struct err_msg local;
    struct repair r = {.p = p, .report = out};
    em = em ? em : &local;
    memset(out, 0, sizeof *out);
    int e = open_store(&r, em);
    if (e < 0) {
        if (e == LT_ECORRUPT || e == LT_EFORMAT)
            out->n_problems = out->n_left = 1;
        return e;
    }
    struct check c = {.ix = r.ix, .say = p->say, .arg = p->arg};
    if ((e = check_sqlite(&c, em)) < 0)
        goto out;
    /* Indexes of the tables can be made again; a damaged table cannot, and the last look says so. */
    if (c.n_problems && p->repair && sql_exec(r.ix->db, "REINDEX", em) == 0)
        say(&r, "repair: %s: the tables' indexes made anew", r.ix->db_path);
    unsigned before = c.n_problems;
    if ((e = check_rows(&c, em)) < 0)
        goto out;
    bool rows = c.n_problems > before;
    if ((e = look_at_collections(&r, &c, false, em)) < 0)
        goto out;
    out->n_problems = out->n_left = c.n_problems;
    if (c.n_problems && p->repair && (e = mend(&r, rows, em)) < 0)
        goto out;
    count(&r);
    if (out->n_left)
        e = err_set(em, LT_ECORRUPT, "%u problem%s", out->n_left, plural(out->n_left));
out:
    index_close(&r.ix);
    return e;
}
