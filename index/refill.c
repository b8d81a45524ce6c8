/* Graphs follow the store: vectors that a graph lacks are inserted in the order of their operations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "index/schema.h"
#include "index/store.h"

int refill_count(struct index *ix, const struct collection *c, uint64_t *n, struct err_msg *em)
{
    int64_t v = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_REFILL_COUNT, em);
    if (!st)
        return LT_EIO;
    sql_bind(st, "ii", c->id, (int64_t)atomic_load(&c->graph_seq));
    int r = sql_int(st, 0, &v, em);
    *n = (uint64_t)v;
    return r;
}

int refill_cache(struct index *ix, struct err_msg *em)
{
    bool behind = false;
    for (size_t i = 0; i < ix->n_collections; i++)
        behind = behind || atomic_load(&ix->collections[i]->behind);
    if (behind == ix->refilling)
        return 0;
    ix->refilling = behind;
    return refill_set_cache(ix, em);
}

int refill_set_cache(struct index *ix, struct err_msg *em)
{
    const uint32_t kib = ix->refilling && ix->writer_kib > SCHEMA_REFILL_KIB ? SCHEMA_REFILL_KIB : ix->writer_kib;
    return schema_cache(ix->db, kib, em);
}

#define BATCH_FLOATS (1u << 20)
#define BATCH_EACH 32u /* vectors for each thread, so that a step keeps near its time */

static int batch_begin(struct index *ix, uint32_t dim, struct err_msg *em)
{
    struct refill_batch *b = &ix->batch;
    uint32_t room = ix->n_threads > 1 ? BATCH_EACH * ix->n_threads : 1, most = BATCH_FLOATS / dim ? BATCH_FLOATS / dim : 1;
    b->n = 0;
    b->room = room < REFILL_MAX ? room : REFILL_MAX;
    b->room = b->room < most ? b->room : most;
    if (b->cap >= (size_t)b->room * dim)
        return 0;
    free(b->v);
    b->cap = (size_t)b->room * dim;
    b->v = malloc(b->cap * sizeof *b->v);
    if (b->v)
        return 0;
    b->cap = 0;
    return err_set(em, LT_ENOMEM, "no memory for vectors on their way into a graph");
}

static void leave_out(struct collection *c, uint64_t chunk)
{
    log_error("index", "collection %s: vector of chunk %llu is damaged and left out", c->name, (unsigned long long)chunk);
    atomic_fetch_add(&c->left_out, 1);
}

/* All of the batch into the graph. */
static int batch_insert(struct index *ix, struct collection *c, struct err_msg *em)
{
    struct refill_batch *b = &ix->batch;
    int r = 0;
    graph_add_many(c->graph, b->labels, b->v, b->n, ix->n_threads, b->results);
    for (uint32_t i = 0; i < b->n && r == 0; i++) {
        if (b->results[i] == LT_ENAN)
            leave_out(c, b->labels[i]);
        else if (b->results[i] < 0)
            r = err_set(em, b->results[i], "graph: %s", err_text(b->results[i]));
        if (r == 0 && atomic_load(&c->refill_left))
            atomic_fetch_sub(&c->refill_left, 1);
    }
    b->n = 0;
    return r;
}

static int batch_put(struct index *ix, struct collection *c, sqlite3_stmt *st, struct err_msg *em)
{
    struct refill_batch *b = &ix->batch;
    uint64_t chunk = (uint64_t)sqlite3_column_int64(st, 1);
    int r = b->n == b->room ? batch_insert(ix, c, em) : 0;
    if (r < 0)
        return r;
    if (fault("refill.slow"))
        usleep(10000);
    if (vectors_read(st, 2, c->dim, b->v + (size_t)b->n * c->dim)) {
        b->labels[b->n++] = chunk;
        return 0;
    }
    leave_out(c, chunk);
    if (atomic_load(&c->refill_left))
        atomic_fetch_sub(&c->refill_left, 1);
    return 0;
}

/* A step ends between operations only, so that graph_seq says all about what is in the graph. */
int refill_step(struct index *ix, struct collection *c, uint64_t until_ns, bool *done, struct err_msg *em)
{
    uint64_t current = atomic_load(&c->graph_seq);
    int r = batch_begin(ix, c->dim, em);
    sqlite3_stmt *st = r == 0 ? store_stmt(ix, ST_REFILL, em) : NULL;
    bool late = false;
    *done = false;
    if (!st)
        return r < 0 ? r : LT_EIO;
    sql_bind(st, "ii", c->id, (int64_t)current);
    while (!late && (r = sql_step(st, em)) > 0) {
        uint64_t vseq = (uint64_t)sqlite3_column_int64(st, 0);
        if (vseq != current && ix->batch.n == ix->batch.room) {
            int e = batch_insert(ix, c, em);
            if (e < 0) {
                r = e;
                break;
            }
            late = clock_ns() >= until_ns;
        }
        if (vseq != current && !ix->batch.n)
            atomic_store(&c->graph_seq, current);
        current = vseq;
        if (!late && (r = batch_put(ix, c, st, em)) < 0)
            break;
    }
    sqlite3_reset(st);
    if (r == 0 && (r = batch_insert(ix, c, em)) == 0) {
        atomic_store(&c->graph_seq, atomic_load(&ix->committed_seq));
        atomic_store(&c->refill_left, 0);
        *done = true;
    }
    return r < 0 ? r : 0;
}

int refill_left_out(struct index *ix, struct collection *c, struct err_msg *em)
{
    int r;
    bool usable = false;
    sqlite3_stmt *st = store_stmt(ix, ST_COVERED, em);
    if (!st)
        return LT_EIO;
    atomic_store(&c->left_out, 0);
    sql_bind(st, "ii", c->id, (int64_t)atomic_load(&c->graph_seq));
    while (!usable && (r = sql_step(st, em)) > 0) {
        if (graph_has(c->graph, (uint64_t)sqlite3_column_int64(st, 0)))
            continue;
        const float *v = vectors_read(st, 1, c->dim, ix->vector);
        usable = v && vectors_check(v, c->dim, c->metric, NULL) == 0;
        atomic_fetch_add(&c->left_out, 1);
    }
    sqlite3_reset(st);
    return usable ? 0 : r < 0 ? r : 1;
}

#define LOOKED_AT 16

struct first_labels {
    uint64_t labels[LOOKED_AT];
    unsigned n;
};

static bool take_label(void *arg, uint64_t label)
{
    struct first_labels *f = arg;
    f->labels[f->n++] = label;
    return f->n < LOOKED_AT;
}

/* Most have to fit: single ones may be damaged, which is another matter. */
int refill_is_ours(struct index *ix, struct collection *c, struct err_msg *em)
{
    struct first_labels f = {.n = 0};
    struct graph_scratch *scratch = NULL;
    unsigned n_fit = 0, n = 0;
    sqlite3_stmt *st = store_stmt(ix, ST_CHUNK_VECTOR, em);
    int r = st ? graph_scratch_create(&scratch) : LT_EIO;
    if (r < 0)
        return r == LT_EIO ? r : err_set(em, r, "no memory");
    graph_labels(c->graph, take_label, &f);
    for (unsigned i = 0; i < f.n && r >= 0; i++) {
        sql_bind(st, "i", (int64_t)f.labels[i]);
        if ((r = sql_step(st, em)) < 0)
            break;
        bool ours = r > 0 && sqlite3_column_int64(st, 0) == c->id;
        const float *v = ours ? vectors_read(st, 1, c->dim, ix->vector) : NULL;
        struct graph_hit hit;
        size_t found = 0;
        struct graph_query q = {.v = v, .k = 1, .labels = &f.labels[i], .n_labels = 1};
        if (ours && (!v || graph_search(c->graph, scratch, &q, &hit, &found, NULL) < 0))
            continue; /* the row's own trouble */
        n++;
        n_fit += found && vectors_is_own_score(c->metric, v, c->dim, hit.score);
    }
    sqlite3_reset(st);
    graph_scratch_destroy(&scratch);
    return r < 0 ? r : n_fit * 2 >= n;
}

uint64_t refill_seq(struct index *ix, struct collection *c)
{
    if (atomic_load(&c->behind) == false) /* nothing of this collection happened since, whatever others did */
        atomic_store(&c->graph_seq, atomic_load(&ix->committed_seq));
    return atomic_load(&c->graph_seq);
}

int refill_checkpoint(struct index *ix, struct collection *c, bool whole, struct err_msg *em)
{
    uint64_t seq = refill_seq(ix, c);
    int r = whole ? graph_compact(c->graph, seq, em) : graph_checkpoint(c->graph, seq, em);
    return r < 0 ? r : refill_saved(ix, c, em);
}

int refill_prune(struct index *ix, struct collection *c, struct err_msg *em)
{
    struct graph_info gi;
    graph_info(c->graph, &gi);
    int r = group_begin(ix, true, em);
    if (r < 0)
        return r;
    sqlite3_stmt *st = store_stmt(ix, ST_REMOVED_PRUNE, em);
    if (!st)
        r = LT_EIO;
    else {
        sql_bind(st, "ii", c->id, (int64_t)gi.covered_seq);
        r = sql_run(st, em);
    }
    if (r < 0)
        group_rollback(ix);
    return r;
}

int refill_saved(struct index *ix, struct collection *c, struct err_msg *em)
{
    int r = refill_prune(ix, c, em);
    return r < 0 ? r : index_commit(ix, NULL, em);
}
