#include "daemon/workers.h"

#include <pthread.h>
#include <stdlib.h>

struct worker {
    struct workers *workers;
    void *state;
    pthread_t thread;
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct work_item *head, **tail;
    bool stop;
    void (*after)(void *thread_state);
    unsigned n;
    struct worker list[];
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct workers *p = w->workers;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->head && !p->stop)
            pthread_cond_wait(&p->wake, &p->lock);
        struct work_item *t = p->head;
        if (!t)
            break;
        p->head = t->next;
        if (!p->head)
            p->tail = &p->head;
        pthread_mutex_unlock(&p->lock);
        t->run(t, w->state);
        if (p->after)
            p->after(w->state);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int workers_create(struct workers **out, const struct workers_params *params, struct err_msg *em)
{
    struct workers *p = calloc(1, sizeof *p + params->n_threads * sizeof p->list[0]);
    if (!p)
        return err_set(em, LT_ENOMEM, "out of memory");
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->tail = &p->head;
    p->after = params->after;
    for (unsigned i = 0; i < params->n_threads; i++) {
        p->list[i] = (struct worker){.workers = p, .state = params->states ? params->states[i] : NULL};
        int e = pthread_create(&p->list[i].thread, NULL, worker_main, &p->list[i]);
        if (e) {
            workers_destroy(&p);
            return err_set(em, err_from_errno(e), "cannot start a thread");
        }
        p->n++;
        pthread_setname_np(p->list[i].thread, params->name);
    }
    *out = p;
    return 0;
}

void workers_submit(struct workers *p, struct work_item *t)
{
    t->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->tail = t;
    p->tail = &t->next;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

void workers_destroy(struct workers **pp)
{
    struct workers *p = *pp;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n; i++)
        pthread_join(p->list[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *pp = NULL;
}
