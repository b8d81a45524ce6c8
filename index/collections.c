/* The catalogue: collections in memory, created, dropped, listed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "index/schema.h"
#include "index/store.h"

#define WIDE_FROM (GRAPH_SHORT_MAX / 4 * 3) /* chunks from which on a new graph gets wide links at once */

struct collection *collection_find(struct index *ix, const char *name)
{
    struct collection *c = NULL;
    pthread_mutex_lock(&ix->lock);
    for (size_t i = 0; name && i < ix->n_collections && !c; i++)
        if (strcmp(ix->collections[i]->name, name) == 0)
            c = ix->collections[i];
    if (c)
        atomic_fetch_add(&c->n_users, 1);
    pthread_mutex_unlock(&ix->lock);
    return c;
}

struct collection *collection_by_id(struct index *ix, int64_t id)
{
    for (size_t i = 0; i < ix->n_collections; i++)
        if (ix->collections[i]->id == id)
            return ix->collections[i];
    return NULL;
}

void collection_release(struct collection *c)
{
    if (c)
        atomic_fetch_sub(&c->n_users, 1);
}

bool collection_has_most(struct index *ix, const struct collection *c)
{
    long long all = 0;
    pthread_mutex_lock(&ix->lock);
    for (size_t i = 0; i < ix->n_collections; i++)
        all += atomic_load(&ix->collections[i]->documents);
    pthread_mutex_unlock(&ix->lock);
    return atomic_load(&c->documents) >= all / 2;
}

static void collection_destroy(struct collection *c)
{
    sqlite3_finalize(c->words_insert);
    sqlite3_finalize(c->words_delete);
    graph_destroy(&c->graph);
    allowed_cache_finish(&c->allowed);
    words_cache_finish(&c->words);
    words_lengths_finish(&c->lengths);
    postings_finish(&c->postings);
    free(c);
}

static struct collection *collection_new(struct index *ix, int64_t id)
{
    struct collection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->id = id;
    snprintf(c->graph_dir, sizeof c->graph_dir, "%s/graph/%lld", ix->dir, (long long)id);
    atomic_store(&c->n_users, 1);
    allowed_cache_init(&c->allowed);
    words_cache_init(&c->words);
    postings_init(&c->postings, &ix->postings, ix->next_chunk);
    return c;
}

/* (writer) */
static int catalogue_add(struct index *ix, struct collection *c)
{
    int r = 0;
    pthread_mutex_lock(&ix->lock);
    if (ix->n_collections == ix->cap_collections) {
        size_t cap = ix->cap_collections ? ix->cap_collections * 2 : 16;
        struct collection **p = realloc(ix->collections, cap * sizeof *p);
        if (p) {
            ix->collections = p;
            ix->cap_collections = cap;
        } else {
            r = LT_ENOMEM;
        }
    }
    if (r == 0)
        ix->collections[ix->n_collections++] = c;
    pthread_mutex_unlock(&ix->lock);
    return r;
}

/* With the lock. */
static void take_out(struct index *ix, struct collection *c)
{
    for (size_t i = 0; i < ix->n_collections; i++)
        if (ix->collections[i] == c)
            ix->collections[i--] = ix->collections[--ix->n_collections];
    atomic_store(&c->gone, true);
    c->next_retired = ix->retired;
    ix->retired = c;
}

/* (writer) Takes c out; it is destroyed by a later sweep, when nobody uses it. */
static void catalogue_retire(struct index *ix, struct collection *c)
{
    pthread_mutex_lock(&ix->lock);
    take_out(ix, c);
    pthread_mutex_unlock(&ix->lock);
}

bool collections_sweep(struct index *ix)
{
    struct collection **p = &ix->retired;
    while (*p) {
        struct collection *c = *p;
        if (atomic_load(&c->n_users) > 1) {
            p = &c->next_retired;
            continue;
        }
        *p = c->next_retired;
        collection_destroy(c);
    }
    return ix->retired != NULL;
}

void collections_free(struct index *ix)
{
    while (ix->n_collections)
        catalogue_retire(ix, ix->collections[0]);
    if (collections_sweep(ix))
        log_error("index", "a collection is still in use at the end");
    free(ix->collections);
    ix->collections = NULL;
}

/* An empty one in memory, which stays behind the store. */
static int open_no_graph(struct collection *c, const struct graph_params *gp, struct err_msg *em)
{
    uint64_t covered;
    snprintf(c->why_behind, sizeof c->why_behind, "graphs are not opened in recovery mode");
    atomic_store(&c->behind, true);
    return graph_open(&c->graph, NULL, gp, &covered, NULL, em);
}

int collection_open_graph(struct index *ix, struct collection *c, struct err_msg *em)
{
    struct graph_params gp = {.dim = c->dim, .metric = c->metric, .m = c->m,
                              .ef_construction = c->ef_construction, .codes = c->codes, .inspect = ix->inspect,
                              .wide = c->wide || atomic_load(&c->chunks) > WIDE_FROM};
    struct graph_report rep = {0};
    uint64_t covered = 0, left = 0;
    if (ix->recover)
        return open_no_graph(c, &gp, em);
    int r = graph_open(&c->graph, c->graph_dir, &gp, &covered, &rep, em);
    if (r < 0)
        return r;
    if (ix->inspect && rep.damaged)
        snprintf(c->damage, sizeof c->damage, "%s", rep.text);
    else if (rep.text[0])
        log_warn("index", "collection %s: graph: %s; it is made anew from the store", c->name, rep.text);
    /* A graph from the store's future belongs to a store that was put back. */
    bool foreign = covered > ix->seq;
    if (!foreign) {
        sqlite3_stmt *st = store_stmt(ix, ST_REMOVED_AFTER, em);
        if (!st)
            return LT_EIO;
        sql_bind(st, "ii", c->id, (int64_t)covered);
        while ((r = sql_step(st, em)) > 0)
            graph_remove(c->graph, (uint64_t)sqlite3_column_int64(st, 0));
        atomic_store(&c->graph_seq, covered);
        if (r < 0 || (r = refill_count(ix, c, &left, em)) < 0)
            return r;
        foreign = graph_count(c->graph) + left != (uint64_t)atomic_load(&c->chunks);
        /* Or chunks whose vectors cannot be used have no nodes; making the graph anew would not give them any. */
        if (foreign && graph_count(c->graph) > 0) {
            if ((r = refill_left_out(ix, c, em)) < 0)
                return r;
            foreign = r == 0 || graph_count(c->graph) + left + atomic_load(&c->left_out) != (uint64_t)atomic_load(&c->chunks);
        }
        if (!foreign && (r = refill_is_ours(ix, c, em)) < 0)
            return r;
        foreign = foreign || r == 0;
    }
    if (foreign && graph_count(c->graph) > 0 && ix->inspect) {
        snprintf(c->damage, sizeof c->damage, "its files are not of this store: %llu vectors saved, %llu more to come, "
                 "%lld in the store", (unsigned long long)graph_count(c->graph), (unsigned long long)left,
                 (long long)atomic_load(&c->chunks));
    } else if (foreign && graph_count(c->graph) > 0) {
        log_warn("index", "collection %s: the graph's files are not of this store, made anew", c->name);
        graph_destroy(&c->graph);
        if ((r = graph_erase(c->graph_dir, em)) < 0 ||
            (r = graph_open(&c->graph, c->graph_dir, &gp, &covered, NULL, em)) < 0)
            return r;
        snprintf(rep.text, sizeof rep.text, "not of this store");
        rep.damaged = true;
        atomic_store(&c->graph_seq, 0);
        atomic_store(&c->left_out, 0);
        if ((r = refill_count(ix, c, &left, em)) < 0)
            return r;
    }
    if (left) {
        atomic_store(&c->refill_left, left);
        atomic_store(&c->refill_total, left);
        snprintf(c->why_behind, sizeof c->why_behind, "index is being %s: %.90s",
                 rep.damaged ? "rebuilt" : "brought up to date",
                 rep.damaged ? rep.text : "not saved before the last stop");
        atomic_store(&c->behind, true);
    } else {
        atomic_store(&c->graph_seq, ix->seq);
    }
    return 0;
}

static bool is_within(sqlite3_stmt *st, int column, int64_t least, int64_t most)
{
    const int64_t v = sqlite3_column_int64(st, column);
    return v >= least && v <= most;
}

static int load_one(struct index *ix, sqlite3_stmt *st, struct err_msg *em)
{
    int r;
    int64_t oldest = 0;
    /* What memory is laid out by. */
    if (!is_within(st, 2, 1, INDEX_DIM_MAX) || !is_within(st, 3, 0, METRIC_L2) || !is_within(st, 6, GRAPH_M_MIN, GRAPH_M_MAX) ||
        !is_within(st, 7, 0, GRAPH_EF_CONSTRUCTION_MAX) || !is_within(st, 14, 0, GRAPH_CODES_1BIT))
        return err_set(em, LT_ECORRUPT, "%s: the row of collection %.64s is damaged", ix->db_path, (const char *)sqlite3_column_text(st, 1));
    struct collection *c = collection_new(ix, sqlite3_column_int64(st, 0));
    if (!c)
        return err_set(em, LT_ENOMEM, "no memory for a collection");
    snprintf(c->name, sizeof c->name, "%s", (const char *)sqlite3_column_text(st, 1));
    c->dim = (uint32_t)sqlite3_column_int64(st, 2);
    c->metric = (enum metric)sqlite3_column_int(st, 3);
    c->vectors_only = sqlite3_column_int(st, 4);
    c->temporary = sqlite3_column_int(st, 5);
    c->m = (uint32_t)sqlite3_column_int64(st, 6);
    c->ef_construction = (uint32_t)sqlite3_column_int64(st, 7);
    snprintf(c->fingerprint, sizeof c->fingerprint, "%s", (const char *)sqlite3_column_text(st, 8));
    atomic_store(&c->accepted_seq, (uint64_t)sqlite3_column_int64(st, 9));
    atomic_store(&c->documents, sqlite3_column_int64(st, 10));
    atomic_store(&c->chunks, sqlite3_column_int64(st, 11));
    atomic_store(&c->pending, sqlite3_column_int64(st, 12));
    atomic_store(&c->bytes, sqlite3_column_int64(st, 13));
    c->codes = (enum graph_codes)sqlite3_column_int(st, 14);
    sqlite3_stmt *old = store_stmt(ix, ST_DOC_OLDEST_STAGED, em);
    if (!old) {
        r = LT_EIO;
        goto out;
    }
    sql_bind(old, "i", c->id);
    if ((r = sql_int(old, 0, &oldest, em)) < 0)
        goto out;
    atomic_store(&c->searchable_seq, oldest ? (uint64_t)oldest - 1 : atomic_load(&c->accepted_seq));
    if ((r = collection_open_graph(ix, c, em)) < 0 || (r = catalogue_add(ix, c)) < 0)
        goto out;
    c = NULL;
out:
    if (c)
        collection_destroy(c);
    return r;
}

int collections_load(struct index *ix, const struct index_params *p, struct err_msg *em)
{
    sqlite3_stmt *st = NULL, *count = NULL;
    int64_t n = 0, i = 0;
    int r = ix->inspect ? 0 : sql_exec(ix->db, "UPDATE collections SET dropped = 1 WHERE temporary AND NOT dropped", em);
    if (r == LT_ENOSPC) { /* they stay for now; searches of them do no harm */
        space_failed(ix, r, false, em ? em->text : "");
        r = 0;
    }
    if (r < 0 || (r = sql_prepare(ix->db, &count, "SELECT count(*) FROM collections WHERE dropped = 0", em)) < 0 ||
        (r = sql_int(count, 0, &n, em)) < 0)
        goto out;
    if ((r = sql_prepare(ix->db, &st,
                         "SELECT coll, name, dim, metric, vectors_only, temporary, m, ef_construction,"
                         " fingerprint, accepted_seq, documents, chunks, pending, bytes, codes FROM collections"
                         " WHERE dropped = 0 ORDER BY name",
                         em)) < 0)
        goto out;
    while ((r = sql_step(st, em)) > 0) {
        if ((r = load_one(ix, st, em)) < 0)
            goto out;
        if (p->progress && n)
            p->progress(p->progress_arg, (unsigned)(++i * 99 / n));
    }
out:
    sqlite3_finalize(count);
    sqlite3_finalize(st);
    return r;
}

int collection_check_model(const struct index *ix, const struct collection *c, struct err_msg *em)
{
    if (c->vectors_only || strcmp(c->fingerprint, ix->fingerprint) == 0)
        return 0;
    if (!ix->fingerprint[0])
        return err_set(em, LT_ELOADING, "the model is not loaded yet");
    return err_set(em, LT_EMODEL, "collection %s was made with model %.16s…, the daemon runs %.16s…", c->name,
                   c->fingerprint, ix->fingerprint);
}

static int check_params(const struct index *ix, const struct index_collection_params *p, struct err_msg *em)
{
    size_t len = p->name ? strlen(p->name) : 0;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (!len || len > INDEX_NAME_MAX || p->name[0] == '.' || strspn(p->name, letters) != len)
        return err_set(em, LT_EINVAL,
                       "collection name: 1 to %u of A-Z a-z 0-9 . _ -, not starting with a dot", INDEX_NAME_MAX);
    if (!p->vectors_only && !ix->fingerprint[0])
        return err_set(em, LT_ELOADING, "the model is not loaded yet");
    if (p->dim > INDEX_DIM_MAX || (!p->dim && !ix->model_dim))
        return err_set(em, LT_EDIM, "dimension %u: 1 to %u", p->dim, INDEX_DIM_MAX);
    if (!p->vectors_only && p->dim && p->dim != ix->model_dim)
        return err_set(em, LT_EDIM, "dimension %u: the model gives %u (vectors-only collections may differ)",
                       p->dim, ix->model_dim);
    if ((unsigned)p->metric > METRIC_L2)
        return err_set(em, LT_EINVAL, "unknown metric %d", (int)p->metric);
    if ((unsigned)p->codes > GRAPH_CODES_1BIT)
        return err_set(em, LT_EINVAL, "unknown kind of codes %d", (int)p->codes);
    if (p->m && (p->m < GRAPH_M_MIN || p->m > GRAPH_M_MAX))
        return err_set(em, LT_EINVAL, "M %u: %u to %u", p->m, GRAPH_M_MIN, GRAPH_M_MAX);
    if (p->ef_construction > GRAPH_EF_CONSTRUCTION_MAX)
        return err_set(em, LT_EINVAL, "efConstruction %u: at most %u", p->ef_construction,
                       GRAPH_EF_CONSTRUCTION_MAX);
    return 0;
}

static int insert_rows(struct index *ix, struct collection *c, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_COLLECTION_ADD, em);
    if (!st)
        return LT_EIO;
    ix->seq++;
    sql_bind(st, "tiiiiiitii", c->name, strlen(c->name), (int64_t)c->dim, (int64_t)c->metric,
             (int64_t)c->vectors_only, (int64_t)c->temporary, (int64_t)c->m, (int64_t)c->ef_construction,
             c->fingerprint, strlen(c->fingerprint), (int64_t)ix->seq, (int64_t)c->codes);
    int r = sql_run(st, em);
    if (r < 0)
        return r;
    c->id = sqlite3_last_insert_rowid(ix->db);
    return schema_words_create(ix->db, c->id, em);
}

int index_create(struct index *ix, const struct index_collection_params *p, struct err_msg *em)
{
    int r;
    struct err_msg local;
    em = em ? em : &local;
    if ((r = check_params(ix, p, em)) < 0)
        return r;
    struct collection *c = collection_find(ix, p->name);
    if (c) {
        collection_release(c);
        return err_set(em, LT_EEXIST, "collection %s exists", p->name);
    }
    if (ix->n_collections >= INDEX_COLLECTIONS_MAX)
        return err_set(em, LT_ELIMIT, "at most %u collections", INDEX_COLLECTIONS_MAX);
    if ((r = group_begin_alone(ix, false, em)) < 0)
        return r;
    if (!(c = collection_new(ix, 0))) {
        r = err_set(em, LT_ENOMEM, "no memory for a collection");
        goto out;
    }
    snprintf(c->name, sizeof c->name, "%s", p->name);
    c->dim = p->dim ? p->dim : ix->model_dim;
    c->metric = p->metric;
    c->codes = p->codes;
    c->vectors_only = p->vectors_only;
    c->temporary = p->temporary;
    c->m = p->m ? p->m : 16;
    c->ef_construction = p->ef_construction ? p->ef_construction : 200;
    if (!p->vectors_only)
        snprintf(c->fingerprint, sizeof c->fingerprint, "%s", ix->fingerprint);
    if ((r = insert_rows(ix, c, em)) < 0)
        goto out;
    snprintf(c->graph_dir, sizeof c->graph_dir, "%s/graph/%lld", ix->dir, (long long)c->id);
    if ((r = graph_erase(c->graph_dir, em)) < 0 || (r = collection_open_graph(ix, c, em)) < 0)
        goto out;
    atomic_store(&c->accepted_seq, ix->seq);
    atomic_store(&c->searchable_seq, ix->seq);
    if ((r = index_commit(ix, NULL, em)) < 0)
        goto out;
    if ((r = catalogue_add(ix, c)) == 0)
        c = NULL;
out:
    if (r < 0 && ix->in_group) {
        group_rollback(ix);
        space_failed(ix, r, false, em->text);
    }
    if (c)
        collection_destroy(c);
    return r;
}

int index_drop(struct index *ix, const char *name, struct err_msg *em)
{
    int r;
    struct err_msg local;
    em = em ? em : &local;
    struct collection *c = collection_find(ix, name);
    collection_release(c);
    if (!c)
        return err_set(em, LT_ENOTFOUND, "no collection %s", name ? name : "");
    if ((r = group_begin_alone(ix, true, em)) < 0)
        return r;
    sqlite3_stmt *st = store_stmt(ix, ST_COLLECTION_DROP, em);
    if (!st) {
        group_rollback(ix);
        return LT_EIO;
    }
    ix->seq++;
    sql_bind(st, "i", c->id);
    if ((r = sql_run(st, em)) < 0 || (r = index_commit(ix, NULL, em)) < 0) {
        group_rollback(ix);
        space_failed(ix, r, false, em->text);
        return r;
    }
    compact_stop(c);
    catalogue_retire(ix, c);
    return 0;
}

static int replace_rows(struct index *ix, const struct collection *old, const struct collection *c, struct err_msg *em)
{
    sqlite3_stmt *drop = store_stmt(ix, ST_COLLECTION_DROP, em), *name = drop ? store_stmt(ix, ST_COLLECTION_RENAME, em) : NULL,
                 *move = name ? store_stmt(ix, ST_JOB_MOVE, em) : NULL, *jobs = move ? store_stmt(ix, ST_JOB_RENAME, em) : NULL;
    int r;
    if (!jobs)
        return LT_EIO;
    ix->seq++;
    sql_bind(drop, "i", old->id);
    sql_bind(name, "ti", old->name, strlen(old->name), c->id);
    sql_bind(move, "ii", c->id, old->id);
    sql_bind(jobs, "ti", old->name, strlen(old->name), c->id);
    if ((r = sql_run(drop, em)) < 0 || (r = sql_run(name, em)) < 0 || (r = sql_run(move, em)) < 0)
        return r;
    return sql_run(jobs, em);
}

int index_replace(struct index *ix, const char *name, const char *by, uint64_t accepted_seq, struct err_msg *em)
{
    int r;
    struct err_msg local;
    em = em ? em : &local;
    struct collection *old = collection_find(ix, name), *c = collection_find(ix, by);
    collection_release(old);
    collection_release(c);
    if (!old || !c)
        return err_set(em, LT_ENOTFOUND, "no collection %s", old ? by : name);
    if (old == c)
        return err_set(em, LT_EINVAL, "collection %s cannot replace itself", name);
    if (c->temporary && !old->temporary)
        return err_set(em, LT_EINVAL, "collection %s is temporary and cannot replace %s", by, name);
    if (atomic_load(&c->pending))
        return err_set(em, LT_EBUSY, "collection %s has %lld chunks that are not searchable yet", by, (long long)atomic_load(&c->pending));
    if (atomic_load(&old->accepted_seq) != accepted_seq)
        return err_set(em, LT_EBUSY, "collection %s has changed meanwhile", name);
    if ((r = group_begin_alone(ix, true, em)) < 0)
        return r;
    if ((r = replace_rows(ix, old, c, em)) < 0 || (r = index_commit(ix, NULL, em)) < 0) {
        group_rollback(ix);
        space_failed(ix, r, false, em->text);
        return r;
    }
    compact_stop(old);
    pthread_mutex_lock(&ix->lock);
    memcpy(c->name, old->name, sizeof c->name);
    take_out(ix, old);
    pthread_mutex_unlock(&ix->lock);
    return 0;
}

int collection_rebuild(struct index *ix, struct collection *c, const char *why, struct err_msg *em)
{
    int r;
    struct collection *n = collection_new(ix, c->id);
    if (!n)
        return err_set(em, LT_ENOMEM, "no memory for a collection");
    memcpy(n->name, c->name, sizeof n->name);
    memcpy(n->fingerprint, c->fingerprint, sizeof n->fingerprint);
    n->dim = c->dim;
    n->m = c->m;
    n->ef_construction = c->ef_construction;
    n->metric = c->metric;
    n->codes = c->codes;
    n->vectors_only = c->vectors_only;
    n->temporary = c->temporary;
    n->wide = c->wide || graph_full(c->graph);
    atomic_store(&n->accepted_seq, atomic_load(&c->accepted_seq));
    atomic_store(&n->searchable_seq, atomic_load(&c->searchable_seq));
    atomic_store(&n->documents, atomic_load(&c->documents));
    atomic_store(&n->chunks, atomic_load(&c->chunks));
    atomic_store(&n->pending, atomic_load(&c->pending));
    atomic_store(&n->bytes, atomic_load(&c->bytes));
    log_warn("index", "collection %s: graph is rebuilt: %s", c->name, why);
    compact_stop(c);
    if ((r = graph_erase(c->graph_dir, em)) < 0 || (r = collection_open_graph(ix, n, em)) < 0 ||
        (r = catalogue_add(ix, n)) < 0) {
        collection_destroy(n);
        return r;
    }
    pthread_mutex_lock(&ix->lock);
    snprintf(n->why_behind, sizeof n->why_behind, "index is being rebuilt: %.90s", why);
    pthread_mutex_unlock(&ix->lock);
    catalogue_retire(ix, c);
    return 0;
}

/* Under the lock. */
static void describe(const struct index *ix, const struct collection *c, struct index_collection *out)
{
    struct graph_info gi;
    memset(out, 0, sizeof *out);
    graph_info(c->graph, &gi);
    snprintf(out->name, sizeof out->name, "%s", c->name);
    out->dim = c->dim;
    out->metric = c->metric;
    out->vectors_only = c->vectors_only;
    out->temporary = c->temporary;
    out->m = c->m;
    out->ef_construction = c->ef_construction;
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s", c->fingerprint);
    out->documents = (uint64_t)atomic_load(&c->documents);
    out->chunks = (uint64_t)atomic_load(&c->chunks);
    out->pending_chunks = (uint64_t)atomic_load(&c->pending);
    out->bytes_store = (uint64_t)atomic_load(&c->bytes);
    out->bytes_index = gi.bytes_on_disk;
    out->unsaved = gi.n_changes;
    compact_describe(ix, c, out);
    recall_describe(&c->recall, out);
    out->accepted_seq = atomic_load(&c->accepted_seq);
    out->searchable_seq = atomic_load(&c->searchable_seq);
    out->degraded = atomic_load(&c->behind);
    if (out->degraded)
        snprintf(out->degraded_reason, sizeof out->degraded_reason, "%s", c->why_behind);
    snprintf(out->index_kind, sizeof out->index_kind, "%s",
             out->degraded && !gi.n_live            ? "exact"
             : gi.codes == GRAPH_CODES_INT8         ? "hnsw-int8"
             : gi.codes == GRAPH_CODES_1BIT         ? "hnsw-1bit"
                                                    : "hnsw-f32");
}

int index_info(struct index *ix, const char *name, struct index_collection *out, struct err_msg *em)
{
    int r = LT_ENOTFOUND;
    pthread_mutex_lock(&ix->lock);
    for (size_t i = 0; name && i < ix->n_collections && r < 0; i++)
        if (strcmp(ix->collections[i]->name, name) == 0) {
            describe(ix, ix->collections[i], out);
            r = 0;
        }
    pthread_mutex_unlock(&ix->lock);
    return r < 0 ? err_set(em, r, "no collection %s", name ? name : "") : 0;
}

int index_seqs(struct index *ix, const char *name, uint64_t *accepted, uint64_t *searchable)
{
    struct collection *c = collection_find(ix, name);
    if (!c)
        return LT_ENOTFOUND;
    *accepted = atomic_load(&c->accepted_seq);
    *searchable = atomic_load(&c->searchable_seq);
    collection_release(c);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct index_collection *)a)->name, ((const struct index_collection *)b)->name);
}

int index_list(struct index *ix, struct index_collection **list, size_t *n)
{
    int r = 0;
    pthread_mutex_lock(&ix->lock);
    *n = ix->n_collections;
    *list = calloc(*n + 1, sizeof **list);
    for (size_t i = 0; *list && i < *n; i++)
        describe(ix, ix->collections[i], &(*list)[i]);
    pthread_mutex_unlock(&ix->lock);
    if (*list)
        qsort(*list, *n, sizeof **list, by_name);
    else
        r = LT_ENOMEM;
    return r;
}
