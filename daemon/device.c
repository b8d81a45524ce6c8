#include "daemon/device.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#define BATCH_TEXTS 256
/* Milliseconds a bulk batch should take: what a question may wait for at worst, beside its own time. */
#define BULK_BATCH_MS 25
/* The smallest bulk batch; fewer rows waste the matrix units. */
#define BULK_TOKENS_MIN 256
/* Times that what status tells of the device may change: a device that is lost ever again and keeps coming back otherwise is told so often. */
#define INFOS_MAX 16
/* Batches of questions after which waiting bulk work gets one. */
#define QUERY_STREAK_MAX 16

/* One job of each owner, the oldest, in the order of their turns; behind each the owner's others. */
struct queue {
    struct device_job *head, **tail;
    atomic_uint_fast64_t depth; /* texts */
};

struct slot {
    struct device_job *job;
    size_t text;
};

struct device {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* work, or stop; at start: the engine is there or is not */
    struct queue query, bulk;
    bool stop, stop_bulk;
    bool started;
    int start_result;
    struct err_msg start_message;
    const struct model *model;
    struct engine_params params;
    struct engine *engine;
    /* What others may read of the engine: the first from the start on, the next once something has changed. */
    struct engine_info infos[INFOS_MAX];
    size_t n_infos;
    _Atomic(const struct engine_info *) info;
    uint32_t dim;
    bool failing;         /* the last batch failed as a whole, which has been said */
    double tokens_per_ms; /* smoothed, of bulk batches */
    unsigned streak;
    atomic_uint_fast64_t tokens_done, texts_done, batches_done;
    struct slot slots[BATCH_TEXTS];
    struct engine_seq seqs[BATCH_TEXTS];
    int status[BATCH_TEXTS];
    float *out;
};

/* At the end: nobody waits behind it. */
static void queue_append(struct queue *q, struct device_job *job)
{
    job->next = NULL;
    *q->tail = job;
    q->tail = &job->next;
}

static void queue_push(struct queue *q, struct device_job *job)
{
    job->behind = NULL;
    job->behind_tail = &job->behind;
    for (struct device_job *first = q->head; first; first = first->next) {
        if (first->owner == job->owner) {
            *first->behind_tail = job;
            first->behind_tail = &job->behind;
            return;
        }
    }
    queue_append(q, job);
}

/* Takes the head out; the next job of the same owner, if any, has its place and turn. */
static void queue_pop(struct queue *q)
{
    struct device_job *job = q->head, *behind = job->behind;
    if (!behind) {
        q->head = job->next;
        if (!q->head)
            q->tail = &q->head;
        return;
    }
    behind->behind_tail = behind->behind ? job->behind_tail : &behind->behind;
    behind->next = job->next;
    q->head = behind;
    if (!behind->next)
        q->tail = &behind->next;
}

/* The owner at the head has had its turn. */
static void queue_turn(struct queue *q)
{
    struct device_job *job = q->head;
    if (!job || !job->next)
        return;
    q->head = job->next;
    queue_append(q, job);
}

/* Why a job needs no work any more; 0: it does. */
static int job_over(const struct device *d, const struct device_job *job)
{
    if (d->stop || (job->bulk && d->stop_bulk))
        return LT_ESHUTDOWN;
    if (job->cancelled && atomic_load(job->cancelled))
        return LT_ECANCELLED;
    if (job->deadline_ns && clock_ns() > job->deadline_ns)
        return LT_ETIMEOUT;
    return 0;
}

/* Fills the batch from one queue. Called with the lock. A job leaves the queue with its last text; jobs that are over
 * go to *over, to be finished outside the lock. */
static size_t take(struct device *d, struct queue *q, uint64_t budget, struct device_job **over)
{
    size_t n = 0;
    uint64_t tokens = 0;
    while (q->head && n < BATCH_TEXTS) {
        struct device_job *job = q->head;
        int r = job_over(d, job);
        if (r < 0) {
            for (; job->n_taken < job->n_texts; job->n_taken++, job->n_done++) {
                job->texts[job->n_taken].status = r;
                atomic_fetch_sub(&q->depth, 1);
            }
            queue_pop(q);
            /* Its other texts may be in this very batch, which then finishes it. */
            if (job->n_done == job->n_texts) {
                job->next = *over;
                *over = job;
            }
            continue;
        }
        const struct device_text *t = &job->texts[job->n_taken];
        if (n && tokens + t->n > budget)
            break;
        tokens += t->n;
        d->slots[n] = (struct slot){job, job->n_taken};
        d->seqs[n++] = (struct engine_seq){t->ids, t->n, t->n_skip};
        if (++job->n_taken == job->n_texts)
            queue_pop(q);
    }
    if (n && q->head && q->head->owner == d->slots[n - 1].job->owner)
        queue_turn(q);
    return n;
}

static uint64_t bulk_budget(const struct device *d)
{
    double want = d->tokens_per_ms * BULK_BATCH_MS;
    uint64_t max = device_info(d)->batch_tokens;
    uint64_t budget = want < BULK_TOKENS_MIN ? BULK_TOKENS_MIN : (uint64_t)want;
    return budget > max ? max : budget;
}

static void finish_texts(struct device *d, size_t n, int r, const struct err_msg *em, struct queue *q)
{
    struct device_job *finished = NULL;
    for (size_t i = 0; i < n; i++) {
        struct device_job *job = d->slots[i].job;
        struct device_text *t = &job->texts[d->slots[i].text];
        t->status = r < 0 ? r : d->status[i];
        t->device = r < 0;
        if (r < 0)
            job->why = *em;
        if (t->status == 0)
            memcpy(t->out, d->out + i * d->dim, d->dim * sizeof(float));
        if (++job->n_done == job->n_texts) {
            job->next = finished;
            finished = job;
        }
    }
    atomic_fetch_sub(&q->depth, n);
    while (finished) {
        struct device_job *next = finished->next;
        finished->done(finished);
        finished = next;
    }
}

/* After a lost device was opened again, or the CPU has taken over, which happens once at most and has the last place. */
static void publish_change(struct device *d)
{
    const struct engine_info *now = engine_info(d->engine), *told = device_info(d);
    const bool moved = strcmp(told->kind, now->kind) != 0;
    if ((!moved && now->n_streamed == told->n_streamed) || d->n_infos + !moved >= INFOS_MAX)
        return;
    d->infos[d->n_infos] = *now;
    atomic_store(&d->info, &d->infos[d->n_infos++]);
    d->tokens_per_ms = 0;
}

static void run_batch(struct device *d, size_t n, struct queue *q)
{
    struct err_msg em;
    if (q == &d->bulk && fault("device.slow"))
        usleep(50000);
    uint64_t tokens = 0, t0 = clock_ns();
    for (size_t i = 0; i < n; i++)
        tokens += d->seqs[i].n;
    int r = engine_embed(d->engine, d->seqs, n, d->out, d->status, &em);
    if (r < 0 && !d->failing)
        log_error("device", "%s: %s", err_name(r), em.text);
    else if (r == 0 && d->failing)
        log_info("device", "texts are embedded again");
    d->failing = r < 0;
    publish_change(d);
    double ms = (double)(clock_ns() - t0) / 1e6;
    if (q == &d->bulk && ms > 0.01 && tokens >= BULK_TOKENS_MIN / 2 && !fault("device.unmeasured")) {
        double rate = (double)tokens / ms;
        d->tokens_per_ms = d->tokens_per_ms > 0 ? 0.8 * d->tokens_per_ms + 0.2 * rate : rate;
    }
    atomic_fetch_add(&d->tokens_done, tokens);
    atomic_fetch_add(&d->texts_done, n);
    atomic_fetch_add(&d->batches_done, 1);
    finish_texts(d, n, r, &em, q);
}

static void serve(struct device *d)
{
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->query.head && !d->bulk.head && !d->stop)
            pthread_cond_wait(&d->wake, &d->lock);
        if (!d->query.head && !d->bulk.head)
            break;
        struct device_job *over = NULL;
        struct queue *q = &d->query;
        uint64_t budget = device_info(d)->batch_tokens;
        if (!d->query.head || (d->bulk.head && d->streak >= QUERY_STREAK_MAX)) {
            q = &d->bulk;
            budget = bulk_budget(d);
            d->streak = 0;
        } else {
            d->streak++;
        }
        size_t n = take(d, q, budget, &over);
        pthread_mutex_unlock(&d->lock);
        while (over) {
            struct device_job *next = over->next;
            over->done(over);
            over = next;
        }
        if (n)
            run_batch(d, n, q);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
}

static void *device_main(void *arg)
{
    struct device *d = arg;
    int r = engine_create(&d->engine, d->model, &d->params, &d->start_message);
    if (r == 0) {
        d->infos[0] = *engine_info(d->engine);
        d->n_infos = 1;
        atomic_store(&d->info, &d->infos[0]);
        d->out = malloc(BATCH_TEXTS * (size_t)d->dim * sizeof(float));
        if (!d->out)
            r = err_set(&d->start_message, LT_ENOMEM, "out of memory");
    }
    pthread_mutex_lock(&d->lock);
    d->started = true;
    d->start_result = r;
    pthread_cond_broadcast(&d->wake);
    pthread_mutex_unlock(&d->lock);
    if (r == 0)
        serve(d);
    engine_destroy(&d->engine);
    free(d->out);
    return NULL;
}

int device_create(struct device **out, const struct model *m, const struct engine_params *p, struct err_msg *em)
{
    struct device *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(em, LT_ENOMEM, "out of memory");
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->wake, NULL);
    d->query.tail = &d->query.head;
    d->bulk.tail = &d->bulk.head;
    d->model = m;
    d->params = *p;
    d->dim = model_info(m)->dim;
    int e = pthread_create(&d->thread, NULL, device_main, d);
    if (e) {
        free(d);
        return err_set(em, err_from_errno(e), "cannot start the device thread");
    }
    pthread_setname_np(d->thread, "device");
    pthread_mutex_lock(&d->lock);
    while (!d->started)
        pthread_cond_wait(&d->wake, &d->lock);
    int r = d->start_result;
    pthread_mutex_unlock(&d->lock);
    if (r < 0) {
        err_set(em, r, "%s", d->start_message.text);
        device_destroy(&d);
        return r;
    }
    *out = d;
    return 0;
}

const struct engine_info *device_info(const struct device *d)
{
    return atomic_load(&d->info);
}

void device_submit(struct device *d, struct device_job *job)
{
    struct queue *q = job->bulk ? &d->bulk : &d->query;
    job->n_taken = job->n_done = 0;
    pthread_mutex_lock(&d->lock);
    atomic_fetch_add(&q->depth, job->n_texts);
    queue_push(q, job);
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
}

void device_stop_bulk(struct device *d)
{
    pthread_mutex_lock(&d->lock);
    d->stop_bulk = true;
    pthread_mutex_unlock(&d->lock);
}

void device_get_stats(struct device *d, struct device_stats *out)
{
    out->query_depth = atomic_load(&d->query.depth);
    out->bulk_depth = atomic_load(&d->bulk.depth);
    out->tokens_done = atomic_load(&d->tokens_done);
    out->texts_done = atomic_load(&d->texts_done);
    out->batches_done = atomic_load(&d->batches_done);
}

void device_destroy(struct device **dp)
{
    struct device *d = *dp;
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_broadcast(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    free(d);
    *dp = NULL;
}
