#include "daemon/feed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "daemon/core.h"
#include "model/chunk.h"
#include "model/text.h"

/* Batches in work: one being embedded, one being tokenised or written, one waiting, so that the device never idles. */
#define BATCHES 3
#define BATCH_CHUNKS 256
#define BATCH_BYTES (128u << 10)
/* After a failure that may pass (disk full, device lost): when to look again. */
#define RETRY_NS 1000000000u

struct batch {
    struct work_item work;
    struct device_job job;
    struct writer_op op;
    struct feed *feed;
    struct index_chunk_list list;
    struct device_text texts[BATCH_CHUNKS];
    struct err_msg why[BATCH_CHUNKS];
    struct device_text packed[BATCH_CHUNKS]; /* those that go to the device */
    size_t from[BATCH_CHUNKS];               /* packed[i] is chunk from[i] */
    size_t n_packed;
    int32_t *ids; /* of all texts */
    size_t n_ids, cap_ids;
    size_t at[BATCH_CHUNKS]; /* where a text's ids begin */
    float *vectors; /* BATCH_CHUNKS × dim */
    size_t begin, end; /* chunks that the writer has just now: all, or one, where all of them failed for good */
    bool look_again;   /* that one failed alone, too: is it damaged itself, since it was read? */
    bool busy;
};

struct feed {
    struct core *core;
    uint32_t dim;
    uint64_t after;   /* chunks up to here have been taken */
    bool at_end;      /* nothing further was pending at the last look */
    bool want_retry;  /* something stayed pending */
    uint64_t retry_ns;
    struct feed_waiter *waiters;
    int unstored; /* why the last vectors could not be stored, though the store is not read-only; 0 from the next try on */
    struct err_msg unstored_why;
    atomic_bool stop;
    atomic_uint in_work;
    pthread_mutex_t lock; /* the following six */
    int failed; /* why the last batch could not be embedded, whatever its texts; 0: it could. One at a time is tried then */
    struct err_msg failed_why;
    uint64_t n_stuck; /* chunks whose vectors could not be stored and will not be tried again before the next start */
    struct err_msg stuck; /* why, the last of them */
    uint64_t current_job;
    char current[INDEX_ID_MAX + 1];
    struct batch batches[BATCHES];
};

int feed_create(struct feed **out, struct core *c, struct err_msg *em)
{
    struct feed *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(em, LT_ENOMEM, "out of memory");
    f->core = c;
    f->dim = model_info(c->model)->dim;
    pthread_mutex_init(&f->lock, NULL);
    *out = f;
    for (int i = 0; i < BATCHES; i++) {
        f->batches[i].feed = f;
        f->batches[i].vectors = malloc(BATCH_CHUNKS * (size_t)f->dim * sizeof(float));
        if (!f->batches[i].vectors)
            return err_set(em, LT_ENOMEM, "out of memory");
    }
    return 0;
}

void feed_destroy(struct feed **fp)
{
    struct feed *f = *fp;
    if (!f)
        return;
    for (int i = 0; i < BATCHES; i++) {
        free(f->batches[i].vectors);
        free(f->batches[i].ids);
    }
    pthread_mutex_destroy(&f->lock);
    free(f);
    *fp = NULL;
}

/* ---- a batch, stage by stage -------------------------------------------------- */

static void batch_free(struct batch *b)
{
    index_chunk_list_finish(&b->list);
    b->busy = false;
    atomic_fetch_sub(&b->feed->in_work, 1);
    core_wake(b->feed->core);
}

/* Errors that say nothing about the text: it waits for a better time. */
static bool passing(const struct device_text *t)
{
    return t->status < 0 && (t->device || t->status == LT_ESHUTDOWN || t->status == LT_ECANCELLED || err_retryable(t->status));
}

/* Whether the one chunk has been damaged since it was read. */
static int look_again(struct batch *b, struct index *ix, struct err_msg *em)
{
    const uint64_t chunk = b->list.chunks[b->begin].chunk;
    struct index_chunk_list now;
    int r = index_pending(ix, chunk - 1, 1, 0, &now, em);
    if (r == 0 && now.n && now.chunks[0].chunk == chunk && now.chunks[0].damage)
        b->texts[b->begin].status = err_set(&b->why[b->begin], LT_ECORRUPT, "%s", now.chunks[0].damage);
    index_chunk_list_finish(&now);
    return r;
}

/* May be called again: the writer may have to try this without its neighbours. */
static int write_apply(struct writer_op *op, struct index *ix, struct err_msg *em)
{
    struct batch *b = (struct batch *)((char *)op - offsetof(struct batch, op));
    struct feed *f = b->feed;
    uint64_t chunks[BATCH_CHUNKS];
    float *vectors = b->vectors + b->begin * f->dim;
    size_t n = 0;
    int r = b->look_again ? look_again(b, ix, em) : 0;
    if (fault("feed.store"))
        r = err_set(em, LT_ENOMEM, "fault point: feed.store");
    for (size_t i = b->begin; i < b->end && r == 0; i++) {
        int status = b->texts[i].status;
        if (status == 0) {
            /* Vectors close up to the front, as index_set_vectors wants them. */
            float *at = vectors + n * f->dim;
            if (at != b->texts[i].out)
                memcpy(at, b->texts[i].out, f->dim * sizeof(float));
            b->texts[i].out = at;
            chunks[n++] = b->list.chunks[i].chunk;
        } else if (!passing(&b->texts[i])) {
            r = index_fail_chunk(ix, b->list.chunks[i].chunk, status, b->why[i].text, em);
        }
    }
    if (r == 0 && n)
        r = index_set_vectors(ix, chunks, vectors, n, f->dim, NULL, em);
    return r;
}

/* The one chunk that the writer had cannot be stored. */
static void set_aside(struct batch *b, int code, const struct err_msg *em)
{
    struct feed *f = b->feed;
    pthread_mutex_lock(&f->lock);
    if (!f->n_stuck++)
        log_error("feed", "'%s': %s: %s; it and others like it stay as they are, embedded at the earliest after the next start",
                  b->list.chunks[b->begin].doc_id, err_name(code), em->text);
    f->stuck = *em;
    pthread_mutex_unlock(&f->lock);
}

static void write_done(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em);

static void write_submit(struct batch *b, size_t begin, size_t end, bool again)
{
    b->look_again = again;
    b->begin = begin;
    b->end = end;
    b->op = (struct writer_op){.apply = write_apply, .done = write_done, .n_items = (uint32_t)(end - begin)};
    writer_submit(b->feed->core->writer, &b->op);
}

static void want_retry(struct feed *f)
{
    f->want_retry = true;
    f->retry_ns = clock_ns() + RETRY_NS;
}

/* A full disk is not noted: the store knows itself when there is room again. */
static void note_unstored(struct feed *f, int code, const struct err_msg *why)
{
    struct index_status st;
    index_get_status(f->core->ix, &st);
    f->unstored = st.read_only ? 0 : code;
    f->unstored_why = *why;
}

/* What the writer was given is durable. */
static void report(struct batch *b)
{
    struct feed *f = b->feed;
    for (size_t i = b->begin; i < b->end; i++) {
        int status = b->texts[i].status;
        if (passing(&b->texts[i]))
            want_retry(f);
        if (status == 0 || passing(&b->texts[i]))
            continue;
        log_warn("feed", "'%s': %s: %s", b->list.chunks[i].doc_id, err_name(status), b->why[i].text);
        for (struct feed_waiter *w = f->waiters; w; w = w->next)
            w->failed(w, b->list.chunks[i].version, status, b->why[i].text);
    }
}

static void write_done(struct writer_op *op, int result, uint64_t seq, const struct err_msg *em)
{
    struct batch *b = (struct batch *)((char *)op - offsetof(struct batch, op));
    const size_t n = b->list.n;
    const bool all = b->begin == 0 && b->end == n;
    if (result == 0) {
        report(b);
    } else if (result != LT_ECORRUPT) {
        log_error("feed", "%s: %s; trying again", err_name(result), em->text);
        want_retry(b->feed);
        note_unstored(b->feed, result, em);
    } else if (b->end - b->begin > 1) {
        write_submit(b, 0, 1, false); /* one by one, to know which */
        return;
    } else if (!b->look_again) {
        write_submit(b, b->begin, b->end, true);
        return;
    } else {
        set_aside(b, result, em);
    }
    if (!all && b->end < n)
        write_submit(b, b->end, b->end + 1, false);
    else
        batch_free(b);
}

static int failure(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    int code = f->failed;
    pthread_mutex_unlock(&f->lock);
    return code;
}

static void set_failed(struct feed *f, int code, const struct err_msg *why)
{
    pthread_mutex_lock(&f->lock);
    f->failed = code;
    f->failed_why = *why;
    pthread_mutex_unlock(&f->lock);
}

static void embed_done(struct device_job *job)
{
    struct batch *b = (struct batch *)((char *)job - offsetof(struct batch, job));
    const struct err_msg none = {""};
    for (size_t i = 0; i < b->n_packed; i++) {
        struct device_text *t = &b->texts[b->from[i]];
        t->status = b->packed[i].status;
        t->device = b->packed[i].device;
        if (fault("embed.batch")) {
            t->status = LT_ECORRUPT;
            t->device = true;
            err_set(&job->why, t->status, "fault point: embed.batch");
        }
        if (t->device)
            set_failed(b->feed, t->status, &job->why);
        else if (t->status == 0)
            set_failed(b->feed, 0, &none);
        if (fault_item("embed", b->list.chunks[b->from[i]].doc_id))
            t->status = LT_ENAN;
        if (t->status < 0)
            err_set(&b->why[b->from[i]], t->status, "%s", err_text(t->status));
    }
    write_submit(b, 0, b->list.n, false);
}

/* The tokens of a chunk. A title that is too long to go before every chunk was cut when the chunk was made; a text that
 * was accepted to be cut is cut here in the same way. */
static int chunk_tokens(const struct model *m, const struct index_chunk *c, struct text_tokens *out, struct err_msg *em)
{
    struct text_input in = {.text = c->text, .len = c->text_len, .title = c->title_len ? c->title : NULL,
                            .title_len = c->title_len};
    int r = text_encode(m, &in, out, em);
    if (r != LT_ETOOLONG)
        return r;
    struct chunk_span *spans = NULL;
    size_t n = 0, title_used = 0;
    r = chunk_text(m, in.title, in.title_len, in.text, in.len, NULL, &spans, &n, &title_used, em);
    free(spans);
    if (r < 0)
        return r;
    if (n == 1)
        in.title_len = title_used;
    in.truncate = true;
    return text_encode(m, &in, out, em);
}

static int keep_ids(struct batch *b, size_t i, const struct text_tokens *t)
{
    if (b->n_ids + t->n > b->cap_ids) {
        size_t cap = (b->n_ids + t->n) * 2;
        int32_t *ids = realloc(b->ids, cap * sizeof *ids);
        if (!ids)
            return LT_ENOMEM;
        b->ids = ids;
        b->cap_ids = cap;
    }
    memcpy(b->ids + b->n_ids, t->ids, t->n * sizeof *t->ids);
    b->at[i] = b->n_ids;
    b->n_ids += t->n;
    b->texts[i].n = t->n;
    b->texts[i].n_skip = t->n_skip;
    return 0;
}

static void tokenise(struct work_item *w, void *scratch)
{
    struct batch *b = (struct batch *)((char *)w - offsetof(struct batch, work));
    struct core *c = b->feed->core;
    struct text_tokens *tokens = scratch;
    b->n_ids = b->n_packed = 0;
    for (size_t i = 0; i < b->list.n; i++) {
        struct device_text *t = &b->texts[i];
        *t = (struct device_text){.out = b->vectors + i * b->feed->dim};
        b->why[i].text[0] = '\0';
        const struct index_chunk *chunk = &b->list.chunks[i];
        t->status = chunk->damage ? err_set(&b->why[i], LT_ECORRUPT, "%s", chunk->damage) : chunk_tokens(c->model, chunk, tokens, &b->why[i]);
        t->device = t->status < 0 && model_lost(c->model); /* perhaps the tokenizer's bytes were not there */
        if (t->status == 0)
            t->status = keep_ids(b, i, tokens);
        if (t->status == 0)
            b->from[b->n_packed++] = i;
    }
    for (size_t k = 0; k < b->n_packed; k++) {
        b->packed[k] = b->texts[b->from[k]];
        b->packed[k].ids = b->ids + b->at[b->from[k]];
    }
    b->job = (struct device_job){.texts = b->packed, .n_texts = b->n_packed, .bulk = true, .done = embed_done};
    if (b->n_packed)
        device_submit(c->device, &b->job);
    else
        embed_done(&b->job);
}

/* ---- between groups ------------------------------------------------------------ */

static void forget_stuck(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    f->n_stuck = 0;
    pthread_mutex_unlock(&f->lock);
}

static void set_current(struct feed *f, const struct index_chunk *c)
{
    pthread_mutex_lock(&f->lock);
    f->current_job = c->job;
    snprintf(f->current, sizeof f->current, "%s", c->doc_id ? c->doc_id : "");
    pthread_mutex_unlock(&f->lock);
}

static void fill(struct feed *f, struct index *ix)
{
    struct index_status st;
    index_get_status(ix, &st);
    if (st.read_only)
        return; /* vectors could not be stored */
    const int n = failure(f) ? 1 : BATCHES;
    if (n == 1 && f->want_retry)
        return;
    for (int i = 0; i < n && !f->at_end && !atomic_load(&f->stop); i++) {
        struct batch *b = &f->batches[i];
        struct err_msg em;
        if (b->busy)
            continue;
        int r = index_pending(ix, f->after, BATCH_CHUNKS, BATCH_BYTES, &b->list, &em);
        if (r < 0) {
            log_error("feed", "%s: %s", err_name(r), em.text);
            f->at_end = f->want_retry = true;
            f->retry_ns = clock_ns() + RETRY_NS;
            return;
        }
        if (b->list.n == 0) {
            const uint64_t next = b->list.next;
            index_chunk_list_finish(&b->list);
            if (next != f->after) { /* cancelled ones so far */
                f->after = next;
                writer_wake(f->core->writer);
                return;
            }
            f->at_end = true;
            if (!st.pending_chunks)
                forget_stuck(f); /* deleted or replaced meanwhile */
            return;
        }
        f->after = b->list.next;
        b->busy = true;
        atomic_fetch_add(&f->in_work, 1);
        set_current(f, &b->list.chunks[0]);
        b->work.run = tokenise;
        workers_submit(f->core->tokenisers, &b->work);
    }
}

/* Starts again from the oldest once everything in work has come back: a chunk is never in two batches. */
static void retry(struct feed *f, struct index *ix)
{
    struct index_status st;
    if (!f->want_retry || atomic_load(&f->in_work) || clock_ns() < f->retry_ns)
        return;
    index_get_status(ix, &st);
    if (st.read_only)
        return;
    f->after = 0;
    f->at_end = f->want_retry = false;
    f->unstored = 0;
    forget_stuck(f); /* they are tried, too */
}

/* The code and words for those who wait, where nothing can be embedded until somebody mends it; 0: it can, or may again by itself. */
static int failed_for_good(struct feed *f, struct err_msg *why)
{
    pthread_mutex_lock(&f->lock);
    int code = f->failed && !err_retryable(f->failed) ? f->failed : 0;
    if (code)
        err_set(why, code, "accepted and durable, but it cannot be embedded now: %.300s", f->failed_why.text);
    pthread_mutex_unlock(&f->lock);
    return code;
}

/* The same, where nothing can be stored. It may pass by itself, but who adds now is refused in the same words. */
static int not_storing(const struct feed *f, struct index *ix, struct err_msg *why)
{
    struct index_status st;
    index_get_status(ix, &st);
    const int code = st.read_only ? st.refused : f->unstored;
    if (code)
        err_set(why, code, "accepted and durable, but its vectors cannot be stored now: %s", st.read_only ? st.reason : f->unstored_why.text);
    return code;
}

static void answer_waiters(struct feed *f, struct index *ix)
{
    bool stop = atomic_load(&f->stop);
    /* All has been tried, and nothing more will be. */
    const bool stuck = f->n_stuck && f->at_end && !f->want_retry && !atomic_load(&f->in_work);
    struct err_msg failed_why;
    int failed = f->waiters ? failed_for_good(f, &failed_why) : 0;
    if (f->waiters && !failed)
        failed = not_storing(f, ix, &failed_why);
    for (struct feed_waiter **link = &f->waiters, *w; (w = *link);) {
        uint64_t accepted, searchable = 0;
        int r = index_seqs(ix, w->collection, &accepted, &searchable);
        const char *why = NULL;
        if (r < 0) {
            why = "the collection was dropped";
        } else if (searchable < w->seq && stop) {
            r = LT_ESHUTDOWN;
            why = "accepted and durable; latentd is stopping and will embed it after its next start";
        } else if (searchable < w->seq && w->over(w)) {
            r = LT_ECANCELLED;
        } else if (searchable < w->seq && stuck) {
            r = LT_ECORRUPT;
            why = f->stuck.text;
        } else if (searchable < w->seq && failed) {
            r = failed;
            why = failed_why.text;
        } else if (searchable < w->seq) {
            link = &w->next;
            continue;
        }
        *link = w->next;
        w->done(w, r, searchable, why);
    }
}

void feed_between(struct feed *f, struct index *ix, bool committed)
{
    if (committed)
        f->at_end = false;
    retry(f, ix);
    answer_waiters(f, ix);
    fill(f, ix);
    if (f->n_stuck)
        answer_waiters(f, ix); /* that was the last look */
}

void feed_wait(struct feed *f, struct feed_waiter *w)
{
    /* At the end: the order of answers is the order of arrival. */
    struct feed_waiter **link = &f->waiters;
    while (*link)
        link = &(*link)->next;
    w->next = NULL;
    *link = w;
}

void feed_cancel_job(struct feed *f, uint64_t job)
{
    for (struct feed_waiter **link = &f->waiters, *w; (w = *link);) {
        if (w->job != job) {
            link = &w->next;
            continue;
        }
        *link = w->next;
        w->done(w, LT_ECANCELLED, 0, "the job was cancelled");
    }
}

void feed_stop(struct feed *f)
{
    atomic_store(&f->stop, true);
    writer_wake(f->core->writer);
}

bool feed_idle(struct feed *f)
{
    return atomic_load(&f->in_work) == 0;
}

void feed_trouble(struct feed *f, char *out, size_t size)
{
    pthread_mutex_lock(&f->lock);
    if (f->failed)
        snprintf(out, size, "texts cannot be embedded, which is tried again every second: %.250s", f->failed_why.text);
    else if (f->n_stuck)
        snprintf(out, size, "%llu chunks cannot be embedded: %.250s", (unsigned long long)f->n_stuck, f->stuck.text);
    else
        snprintf(out, size, "%s", "");
    pthread_mutex_unlock(&f->lock);
}

void feed_current(struct feed *f, uint64_t job, char *out, size_t size)
{
    pthread_mutex_lock(&f->lock);
    snprintf(out, size, "%s", f->current_job == job && atomic_load(&f->in_work) ? f->current : "");
    pthread_mutex_unlock(&f->lock);
}
