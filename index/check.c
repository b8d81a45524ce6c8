/* Does the store agree with itself, and do the graphs agree with the store? Nothing here needs a graph that can
 * be loaded: graphs were opened, or made anew, by index_open. */
#include <stdio.h>
#include <string.h>

#include "index/store.h"

struct check {
    struct index *ix;
    void (*say)(void *arg, const char *line);
    void *arg;
    unsigned n_problems;
};

__attribute__((format(printf, 2, 3))) static void problem(struct check *c, const char *fmt, ...)
{
    char line[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    c->n_problems++;
    if (c->say)
        c->say(c->arg, line);
}

static int check_sqlite(struct check *c, struct err_msg *em)
{
    sqlite3_stmt *st = NULL;
    int r = sql_prepare(c->ix->db, &st, "PRAGMA integrity_check(20)", em);
    while (r >= 0 && (r = sql_step(st, em)) > 0) {
        const char *line = (const char *)sqlite3_column_text(st, 0);
        if (line && strcmp(line, "ok") != 0)
            problem(c, "%s: %.500s", c->ix->db_path, line);
    }
    sqlite3_finalize(st);
    return r;
}

/* Rows that must have a partner, and figures that must be the sum of rows. Each statement counts violations. */
static int check_rows(struct check *c, struct err_msg *em)
{
    static const struct {
        const char *what, *sql;
    } rules[] = {
        {"documents without text", "SELECT count(*) FROM documents d LEFT JOIN texts t ON t.doc = d.doc"
                                   " WHERE t.doc IS NULL"},
        {"chunks without document", "SELECT count(*) FROM chunks c LEFT JOIN documents d ON d.doc = c.doc"
                                    " WHERE d.doc IS NULL"},
        {"chunks that lack their vector", "SELECT count(*) FROM chunks c LEFT JOIN vectors v ON v.chunk = c.chunk"
                                          " WHERE c.vseq IS NOT NULL AND v.chunk IS NULL"},
        {"vectors without chunk", "SELECT count(*) FROM vectors v LEFT JOIN chunks c ON v.chunk = c.chunk"
                                  " WHERE c.vseq IS NULL"},
        {"documents that miss chunks", "SELECT count(*) FROM documents d WHERE n_chunks <>"
                                       " (SELECT count(*) FROM chunks c WHERE c.chunk >= d.first_chunk"
                                       " AND c.chunk < d.first_chunk + d.n_chunks AND c.doc = d.doc)"},
        {"searchable documents with pending chunks",
         "SELECT count(*) FROM documents d JOIN chunks c ON c.doc = d.doc AND c.chunk >= d.first_chunk"
         " AND c.chunk < d.first_chunk + d.n_chunks WHERE d.live = 1 AND coalesce(c.vseq, 0) = 0"},
        {"chunks from the future", "SELECT count(*) FROM chunks WHERE chunk >= (SELECT next_chunk FROM counters)"
                                   " OR vseq > (SELECT seq FROM counters)"},
        {"collections with wrong figures",
         "SELECT count(*) FROM collections k WHERE dropped = 0 AND (chunks <> (SELECT count(*) FROM chunks c"
         " WHERE c.coll = k.coll AND c.vseq > 0) OR pending <> (SELECT coalesce(sum(n_pending), 0)"
         " FROM documents d WHERE d.coll = k.coll) OR documents <> (SELECT count(DISTINCT id)"
         " FROM documents d WHERE d.coll = k.coll))"},
    };
    int r = 0;
    for (size_t i = 0; i < sizeof rules / sizeof *rules && r == 0; i++) {
        sqlite3_stmt *st = NULL;
        int64_t n = 0;
        if ((r = sql_prepare(c->ix->db, &st, rules[i].sql, em)) == 0)
            r = sql_int(st, 0, &n, em);
        sqlite3_finalize(st);
        if (n)
            problem(c, "%s: %lld %s", c->ix->db_path, (long long)n, rules[i].what);
    }
    return r;
}

static void check_words(struct check *c, const struct collection *k)
{
    struct err_msg em;
    /* FTS5 compares its index with the texts of the view. */
    int r = sql_execf(c->ix->db, &em, "INSERT INTO words_%lld(words_%lld, rank) VALUES('integrity-check', 1)",
                      (long long)k->id, (long long)k->id);
    if (r < 0)
        problem(c, "collection %s: words do not match the texts: %s", k->name, em.text);
}

static void check_graph(struct check *c, const struct collection *k)
{
    struct graph_report rep = {0};
    uint64_t left = 0, n = graph_count(k->graph);
    struct err_msg em;
    if (graph_check(k->graph, &rep) < 0)
        problem(c, "collection %s: graph: %s", k->name, rep.text);
    if (refill_count(c->ix, k, &left, &em) < 0)
        problem(c, "collection %s: %s", k->name, em.text);
    else if (n + left != (uint64_t)atomic_load(&k->chunks))
        problem(c, "collection %s: the graph holds %llu vectors and lacks %llu, the store has %lld", k->name,
                (unsigned long long)n, (unsigned long long)left, (long long)atomic_load(&k->chunks));
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
    return c.n_problems ? err_set(em, LT_ECORRUPT, "%u problems", c.n_problems) : 0;
}
