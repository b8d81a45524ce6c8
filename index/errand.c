#include "index/errand.h"

#include <errno.h>
#include <string.h>
#include <time.h>

void errand_init(struct errand *e)
{
    pthread_condattr_t attr;
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->ended, &attr);
    pthread_condattr_destroy(&attr);
}

void errand_finish(struct errand *e)
{
    (void)errand_running(e, UINT64_MAX);
    pthread_cond_destroy(&e->ended);
    pthread_mutex_destroy(&e->lock);
}

static void *errand_main(void *arg)
{
    struct errand *e = arg;
    int r = e->call(e->arg);
    pthread_mutex_lock(&e->lock);
    e->result = r;
    e->over = true;
    pthread_cond_signal(&e->ended);
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

void errand_begin(struct errand *e, int (*call)(void *arg), void *arg)
{
    e->call = call;
    e->arg = arg;
    e->over = false;
    e->running = pthread_create(&e->thread, NULL, errand_main, e) == 0;
    if (!e->running)
        e->result = call(arg);
}

bool errand_running(struct errand *e, uint64_t until_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u), .tv_nsec = (long)(until_ns % 1000000000u)};
    if (!e->running)
        return false;
    pthread_mutex_lock(&e->lock);
    while (!e->over && until_ns) {
        if (until_ns == UINT64_MAX)
            pthread_cond_wait(&e->ended, &e->lock);
        else if (pthread_cond_timedwait(&e->ended, &e->lock, &until) == ETIMEDOUT)
            break;
    }
    bool over = e->over;
    pthread_mutex_unlock(&e->lock);
    if (over) {
        pthread_join(e->thread, NULL);
        e->running = false;
    }
    return !over;
}
