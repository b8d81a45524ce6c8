#include "index/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "index/reader.h"

#define WAITING_MAX 8u
#define HITS_MAX 100u
#define VECTORS_DEFAULT 131072u /* 200 MB at 384 dimensions: about 0.05 s of one core */

struct sample {
    struct sample *next;
    struct collection *c;
    struct allowed *allowed;
    uint64_t graph_seq;
    uint32_t n;
    struct graph_hit hits[HITS_MAX];
    float v[];
};

void samples_init(struct samples *s, const struct index_params *p)
{
    s->every = p->sample_every;
    s->vectors = p->sample_vectors ? p->sample_vectors : VECTORS_DEFAULT;
    pthread_mutex_init(&s->lock, NULL);
}

static void sample_free(struct sample *x)
{
    allowed_release(x->allowed);
    collection_release(x->c);
    free(x);
}

static struct sample *take(struct samples *s)
{
    pthread_mutex_lock(&s->lock);
    struct sample *x = s->first;
    if (x) {
        s->first = x->next;
        s->n--;
    }
    pthread_mutex_unlock(&s->lock);
    return x;
}

void samples_finish(struct samples *s)
{
    for (struct sample *x; (x = take(s));)
        sample_free(x);
    pthread_mutex_destroy(&s->lock);
}

bool samples_offer(struct samples *s, const struct sample_offer *o)
{
    if (!s->every || !o->n || atomic_fetch_add(&o->c->n_walks, 1) % s->every)
        return false;
    struct sample *x = malloc(sizeof *x + o->c->dim * sizeof *x->v);
    if (!x)
        return false;
    *x = (struct sample){.c = o->c, .allowed = o->allowed, .graph_seq = o->graph_seq,
                         .n = (uint32_t)(o->n < HITS_MAX ? o->n : HITS_MAX)};
    memcpy(x->hits, o->hits, x->n * sizeof *x->hits);
    memcpy(x->v, o->v, o->c->dim * sizeof *x->v);
    atomic_fetch_add(&x->c->n_users, 1);
    if (x->allowed)
        atomic_fetch_add(&x->allowed->n_users, 1);
    pthread_mutex_lock(&s->lock);
    bool room = s->n < WAITING_MAX;
    if (room) {
        struct sample **end = &s->first;
        while (*end)
            end = &(*end)->next;
        *end = x;
        s->n++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!room)
        sample_free(x);
    return room;
}

void recall_describe(const struct recall *r, struct index_collection *out)
{
    uint64_t found = 0, want = 0;
    out->recall_samples = r->n < SAMPLE_WINDOW ? r->n : SAMPLE_WINDOW;
    for (uint32_t i = 0; i < out->recall_samples; i++) {
        found += r->found[i];
        want += r->want[i];
    }
    out->recall = want ? (float)((double)found / (double)want) : 0;
}

/* ---- comparing ---- */

static bool is_hit(const struct sample *x, uint64_t label)
{
    for (uint32_t i = 0; i < x->n; i++)
        if (x->hits[i].label == label)
            return true;
    return false;
}

/* Leaves the hits whose rows count. */
static int keep_hits(struct index_reader *r, struct sample *x, struct err_msg *em)
{
    uint32_t n = 0;
    int ret = sql_prepare(r->db, &r->sampled, "SELECT coll, vseq FROM chunks WHERE chunk = ? AND vseq > 0", em);
    for (uint32_t i = 0; i < x->n && ret >= 0; i++) {
        sql_bind(r->sampled, "i", (int64_t)x->hits[i].label);
        if ((ret = sql_step(r->sampled, em)) > 0 && sqlite3_column_int64(r->sampled, 0) == x->c->id &&
            (uint64_t)sqlite3_column_int64(r->sampled, 1) <= x->graph_seq)
            x->hits[n++] = x->hits[i];
    }
    if (r->sampled)
        sqlite3_reset(r->sampled);
    x->n = n;
    return ret < 0 ? ret : 0;
}

/* Rows in the order of their operations, behind `from` and up to `to`, as long as there is room. */
static int add_rows(struct index_reader *r, const struct sample *x, uint64_t from, uint64_t to, uint64_t *labels, uint64_t *n,
                    uint64_t room, struct err_msg *em)
{
    int ret = sql_prepare(r->db, &r->rows, "SELECT chunk FROM chunks WHERE coll = ? AND vseq > 0 AND vseq > ? AND vseq <= ? ORDER BY vseq, chunk", em);
    if (ret < 0)
        return ret;
    sql_bind(r->rows, "iii", x->c->id, (int64_t)from, (int64_t)to);
    while (*n < room && (ret = sql_step(r->rows, em)) > 0) {
        uint64_t label = (uint64_t)sqlite3_column_int64(r->rows, 0);
        if (!x->allowed || allowed_has(x->allowed, label))
            labels[(*n)++] = label;
    }
    sqlite3_reset(r->rows);
    return ret < 0 ? ret : 0;
}

/* All rows, or where there are more than room, as many that follow each other, from anywhere. */
static int pick_rows(struct index_reader *r, const struct sample *x, uint64_t *labels, uint64_t *n, bool *all, struct err_msg *em)
{
    struct samples *s = &r->ix->samples;
    uint64_t start = 0, room = s->vectors;
    *n = 0;
    *all = (uint64_t)atomic_load(&x->c->chunks) <= room;
    if (!*all) {
        pthread_mutex_lock(&s->lock);
        s->rng = s->rng * 6364136223846793005u + 1442695040888963407u;
        start = (s->rng >> 11) % (x->graph_seq + 1);
        pthread_mutex_unlock(&s->lock);
    }
    int ret = add_rows(r, x, start, x->graph_seq, labels, n, room, em);
    if (ret == 0 && start)
        ret = add_rows(r, x, 0, start, labels, n, room, em);
    *all = *all && *n < room;
    return ret;
}

/* The hits against the nearest of the rows. A row that is no nearer than the last hit is not missed: as near as it are many. */
static int compare(struct index_reader *r, const struct sample *x, const uint64_t *labels, uint64_t n_labels, bool all,
                   uint16_t *found, uint16_t *want, struct err_msg *em)
{
    struct graph_hit exact[HITS_MAX];
    size_t n = 0, n_missed = 0, n_seen = 0;
    float last = x->hits[x->n - 1].score, near = fabsf(last) * 1e-6f;
    struct graph_query q = {.v = x->v, .k = x->n, .labels = labels, .n_labels = n_labels};
    int ret = graph_search(x->c->graph, r->scratch, &q, exact, &n, NULL);
    if (ret < 0)
        return err_set(em, ret, "a repeated search: %s", err_text(ret));
    for (size_t i = 0; i < n; i++)
        n_missed += exact[i].score > last + near && !is_hit(x, exact[i].label);
    for (uint64_t i = 0; i < n_labels && !all; i++)
        n_seen += is_hit(x, labels[i]);
    *want = (uint16_t)(all ? x->n : n_seen + n_missed);
    *found = (uint16_t)(all ? x->n - n_missed : n_seen);
    return 0;
}

static void note(struct index *ix, struct collection *c, uint16_t found, uint16_t want)
{
    pthread_mutex_lock(&ix->lock);
    struct recall *k = &c->recall;
    uint32_t at = k->n++ % SAMPLE_WINDOW;
    k->found[at] = found;
    k->want[at] = want;
    if (k->n == 2 * SAMPLE_WINDOW)
        k->n = SAMPLE_WINDOW; /* the number shown goes no further, the place moves on */
    pthread_mutex_unlock(&ix->lock);
}

int index_sample(struct index_reader *r, uint64_t *n_compared, struct err_msg *em)
{
    struct err_msg local;
    struct sample *x = take(&r->ix->samples);
    uint64_t *labels = NULL, n = 0;
    uint16_t found, want;
    bool all = false;
    int ret = 0;
    em = em ? em : &local;
    *n_compared = 0;
    if (!x)
        return LT_ENOTFOUND;
    if (atomic_load(&x->c->gone) || graph_lost(x->c->graph))
        goto out;
    if (!(labels = malloc(r->ix->samples.vectors * sizeof *labels))) {
        ret = err_set(em, LT_ENOMEM, "no memory to repeat a search");
        goto out;
    }
    if ((ret = reader_begin(r, em)) < 0)
        goto out;
    if ((ret = keep_hits(r, x, em)) == 0 && x->n)
        ret = pick_rows(r, x, labels, &n, &all, em);
    reader_end(r);
    if (ret < 0 || !x->n || !n)
        goto out;
    if ((ret = compare(r, x, labels, n, all, &found, &want, em)) < 0)
        goto out;
    *n_compared = n;
    if (want)
        note(r->ix, x->c, found, want);
out:
    free(labels);
    sample_free(x);
    return ret;
}
