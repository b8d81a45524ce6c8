#include "daemon/sampler.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define REST 49u /* times what the last one took */
#define LOWEST_PRIORITY 19

struct sampler {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool waiting, stop;
    struct index_reader *reader;
};

/* With the lock. */
static void rest(struct sampler *s, uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    ns += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0)
        ;
}

static void *sampler_main(void *arg)
{
    struct sampler *s = arg;
    /* Linux has priorities per thread. Where it is refused, the rests still bound the work. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), LOWEST_PRIORITY);
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (!s->waiting) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        s->waiting = false;
        pthread_mutex_unlock(&s->lock);
        struct err_msg em;
        uint64_t n, start = clock_ns();
        int r = index_sample(s->reader, &n, &em);
        if (r < 0 && r != LT_ENOTFOUND)
            log_warn("sampler", "%s: %s", err_name(r), em.text);
        pthread_mutex_lock(&s->lock);
        if (r == 0) {
            s->waiting = true;
            rest(s, (clock_ns() - start) * REST);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int sampler_create(struct sampler **out, struct index *ix, struct err_msg *em)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(em, LT_ENOMEM, "out of memory");
    int r = index_reader_create(&s->reader, ix, em);
    if (r < 0) {
        free(s);
        return r;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&s->lock, NULL);
    int e = pthread_create(&s->thread, NULL, sampler_main, s);
    if (e) {
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        index_reader_destroy(&s->reader);
        free(s);
        return err_set(em, err_from_errno(e), "cannot start a thread");
    }
    pthread_setname_np(s->thread, "sampler");
    *out = s;
    return 0;
}

void sampler_wake(struct sampler *s)
{
    pthread_mutex_lock(&s->lock);
    s->waiting = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void sampler_destroy(struct sampler **sp)
{
    struct sampler *s = *sp;
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    index_reader_destroy(&s->reader);
    free(s);
    *sp = NULL;
}
