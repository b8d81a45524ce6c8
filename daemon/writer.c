#include "daemon/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/log.h"

/* One group at most: bounds the time until the first of it is acknowledged. */
#define GROUP_ITEMS 2048
/* Milliseconds of maintenance at a time: what a write may have to wait. */
#define MAINTAIN_MS 20
/* Seconds between looks for maintenance: while the disk is full or after recent writes, and otherwise. */
#define PAUSE_BUSY_S 1
#define PAUSE_IDLE_S 30

struct writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct writer_op *head, **tail;
    bool stop, kicked;
    bool due; /* maintenance is to be done soon */
    atomic_uint_fast64_t depth;
    struct index *ix;
    struct writer_hooks hooks;
};

/* Takes one op, or the longest run of ops that may share a group. Called with the lock. */
static struct writer_op *take_group(struct writer *w, size_t *n)
{
    struct writer_op *first = w->head, **end = &w->head;
    uint64_t items = 0;
    *n = 0;
    while (*end && items < GROUP_ITEMS) {
        if ((*end)->alone && *n)
            break;
        items += (*end)->n_items ? (*end)->n_items : 1;
        (*n)++;
        bool alone = (*end)->alone;
        end = &(*end)->next;
        if (alone)
            break;
    }
    w->head = *end;
    *end = NULL;
    if (!w->head)
        w->tail = &w->head;
    return first;
}

static void say_how_to_mend(int r, struct err_msg *em)
{
    static const char how[] = "latent check --repair";
    const size_t n = strlen(em->text);
    if (r == LT_ECORRUPT && !strstr(em->text, how))
        snprintf(em->text + n, sizeof em->text - n, "; when latentd has stopped, %s mends what can be mended", how);
}

static void run_group(struct writer *w, struct writer_op *group, size_t n)
{
    struct err_msg em = {""};
    uint64_t seq = 0;
    bool alone = group->alone;
    for (struct writer_op *op = group; op; op = op->next) {
        op->em.text[0] = '\0';
        op->result = op->apply(op, w->ix, &op->em);
        say_how_to_mend(op->result, &op->em);
    }
    int r = alone ? 0 : index_commit(w->ix, &seq, &em);
    if (r == LT_ECORRUPT && n > 1) {
        /* Damaged data fails its own op, for good, and no other. */
        for (struct writer_op *op = group, *next; op; op = next) {
            next = op->next;
            op->next = NULL;
            run_group(w, op, 1);
        }
        return;
    }
    say_how_to_mend(r, &em);
    if (r < 0)
        log_error("writer", "commit: %s: %s", err_name(r), em.text);
    atomic_fetch_sub(&w->depth, n);
    for (struct writer_op *op = group, *next; op; op = next) {
        next = op->next; /* done() may free op, with its message */
        if (op->result == 0 && r < 0) {
            op->done(op, r, 0, &em);
        } else {
            struct err_msg own = op->em;
            op->done(op, op->result, seq, &own);
        }
    }
}

/* Sleeps until there is work or it is time for maintenance; true: work, or the thread was woken. With the lock. */
static bool wait_for_work(struct writer *w, unsigned pause_s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += pause_s;
    while (!w->head && !w->stop && !w->kicked)
        if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT)
            return false;
    return true;
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    bool more = true;      /* maintenance left to do now */
    unsigned settling = 0; /* seconds of frequent looks left */
    pthread_mutex_lock(&w->lock);
    while (!w->kicked && !w->stop)
        pthread_cond_wait(&w->wake, &w->lock);
    while (w->head || !w->stop) {
        if (!w->head && !more && !w->kicked) {
            struct index_status st;
            index_get_status(w->ix, &st);
            bool busy = st.read_only || settling;
            settling -= settling > 0;
            if (!wait_for_work(w, busy ? PAUSE_BUSY_S : PAUSE_IDLE_S))
                more = true;
            if (!w->head && w->stop)
                break;
        }
        w->kicked = false;
        more = more || w->due;
        w->due = false;
        size_t n = 0;
        struct writer_op *group = w->head ? take_group(w, &n) : NULL;
        pthread_mutex_unlock(&w->lock);
        if (group) {
            run_group(w, group, n);
            more = true;
            settling = 10;
        }
        w->hooks.between(w->hooks.arg, w->ix, group != NULL);
        pthread_mutex_lock(&w->lock);
        if (more && !w->stop) {
            unsigned budget_ms = w->head ? 0 : MAINTAIN_MS;
            pthread_mutex_unlock(&w->lock);
            struct err_msg em;
            int r = index_maintain(w->ix, budget_ms, &more, &em);
            if (r < 0) {
                log_warn("writer", "maintenance: %s: %s", err_name(r), em.text);
                more = false;
            }
            pthread_mutex_lock(&w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    index_close(&w->ix);
    return NULL;
}

int writer_create(struct writer **out, struct index **ix, const struct writer_hooks *hooks, struct err_msg *em)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(em, LT_ENOMEM, "out of memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&w->lock, NULL);
    w->tail = &w->head;
    w->ix = *ix;
    w->hooks = *hooks;
    int e = fault("writer.thread") ? EAGAIN : pthread_create(&w->thread, NULL, writer_main, w);
    if (e) {
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return err_set(em, err_from_errno(e), "cannot start the writer thread");
    }
    pthread_setname_np(w->thread, "writer");
    *ix = NULL;
    *out = w;
    return 0;
}

void writer_submit(struct writer *w, struct writer_op *op)
{
    op->next = NULL;
    pthread_mutex_lock(&w->lock);
    *w->tail = op;
    w->tail = &op->next;
    atomic_fetch_add(&w->depth, 1);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void writer_wake(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->kicked = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void writer_maintain(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->due = true;
    pthread_mutex_unlock(&w->lock);
    writer_wake(w);
}

uint64_t writer_depth(struct writer *w)
{
    return atomic_load(&w->depth);
}

void writer_destroy(struct writer **wp)
{
    struct writer *w = *wp;
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
    *wp = NULL;
}
