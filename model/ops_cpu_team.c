#include "model/ops_cpu_team.h"

#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* 20 to 80 µs, by how long the CPU takes over a pause: about the time in which a sleeping thread comes back, or another's piece of work
 * is done. */
#define SPINS 2000

struct member {
    struct team *team;
    unsigned index;
    pthread_t thread;
    pthread_cond_t work; /* of its own: who is not needed is not woken */
};

struct team {
    unsigned n_started;
    struct member *members;
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    /* written under lock; atomic ones are read without it while spinning */
    atomic_ulong run; /* number of the current run */
    atomic_bool stop;
    bool closed; /* members that have not begun are left out of this run */
    unsigned n, n_begun;
    atomic_uint n_left;
    void (*fn)(void *arg, unsigned member);
    void *arg;
    /* the barrier: its generation is read without the lock while spinning */
    unsigned n_waiting;
    atomic_ulong generation;
    atomic_bool caller_sleeps; /* in team_wait */
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Until there is another run, for some microseconds: where runs queue up, waking a thread for each would take the caller longer. */
static void linger(struct team *t, unsigned long seen)
{
    for (int i = 0; i < SPINS && t->run == seen && !t->stop; i++)
        pause_cpu();
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct team *t = m->team;
    unsigned long seen = 0;
    omp_set_num_threads(1); /* oneDNN must not open teams of its own */
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!t->stop && (t->run == seen || m->index >= t->n)) {
            seen = t->run;
            pthread_cond_wait(&m->work, &t->lock);
        }
        if (t->stop)
            break;
        seen = t->run;
        if (t->closed)
            continue;
        t->n_begun++;
        pthread_mutex_unlock(&t->lock);
        t->fn(t->arg, m->index);
        pthread_mutex_lock(&t->lock);
        if (--t->n_left == 0)
            pthread_cond_broadcast(&t->arrived);
        pthread_mutex_unlock(&t->lock);
        linger(t, seen);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int team_create(struct team **out, unsigned n_threads, struct err_msg *em)
{
    sigset_t all, old;
    struct team *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(em, LT_ENOMEM, "no memory for threads");
    pthread_mutexattr_t spins; /* for a while: it is held for less time than it takes to sleep */
    pthread_mutexattr_init(&spins);
    pthread_mutexattr_settype(&spins, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&t->lock, &spins);
    pthread_mutexattr_destroy(&spins);
    pthread_cond_init(&t->arrived, NULL);
    t->members = calloc(n_threads, sizeof *t->members);
    bool good = t->members;
    /* Signals are for the thread that runs the event loop, but for one: a page of the weights that is no longer there (base/guard.h). Blocked,
     * it would end the process. */
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 1; good && i < n_threads; i++) {
        t->members[i] = (struct member){.team = t, .index = i};
        pthread_cond_init(&t->members[i].work, NULL);
        good = pthread_create(&t->members[i].thread, NULL, member_main, &t->members[i]) == 0;
        if (good)
            t->n_started++;
        else
            pthread_cond_destroy(&t->members[i].work);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!good) {
        team_destroy(&t);
        return err_set(em, LT_ENOMEM, "cannot start %u threads", n_threads);
    }
    *out = t;
    return 0;
}

void team_destroy(struct team **tp)
{
    struct team *t = *tp;
    *tp = NULL;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 1; i <= t->n_started; i++) {
        pthread_cond_signal(&t->members[i].work);
        pthread_join(t->members[i].thread, NULL);
        pthread_cond_destroy(&t->members[i].work);
    }
    pthread_cond_destroy(&t->arrived);
    pthread_mutex_destroy(&t->lock);
    free(t->members);
    free(t);
}

static void run(struct team *t, unsigned n, void (*fn)(void *arg, unsigned member), void *arg, bool all)
{
    pthread_mutex_lock(&t->lock);
    t->n = t->n_left = n;
    t->n_begun = 1;
    t->closed = false;
    t->fn = fn;
    t->arg = arg;
    t->run++;
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 1; i < n; i++) /* without the lock, which they take first */
        pthread_cond_signal(&t->members[i].work);
    fn(arg, 0);
    pthread_mutex_lock(&t->lock);
    if (!all) {
        t->closed = true;
        t->n_left -= t->n - t->n_begun;
    }
    t->n_left--;
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < SPINS; i++) {
        if (!t->n_left)
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&t->lock);
    while (t->n_left)
        pthread_cond_wait(&t->arrived, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

void team_run(struct team *t, unsigned n, void (*fn)(void *arg, unsigned member), void *arg)
{
    run(t, n, fn, arg, true);
}

void team_help(struct team *t, unsigned n, void (*fn)(void *arg, unsigned member), void *arg)
{
    run(t, n, fn, arg, false);
}

unsigned team_count(struct team *t, atomic_uint *count, unsigned n)
{
    const unsigned now = atomic_fetch_add(count, n) + n;
    if (atomic_load(&t->caller_sleeps)) {
        pthread_mutex_lock(&t->lock);
        pthread_cond_broadcast(&t->arrived);
        pthread_mutex_unlock(&t->lock);
    }
    return now;
}

bool team_wait(struct team *t, unsigned member, const atomic_uint *count, unsigned n)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(count) == n)
            return true;
        pause_cpu();
    }
    if (member)
        return false;
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->caller_sleeps, true);
    while (atomic_load(count) != n)
        pthread_cond_wait(&t->arrived, &t->lock);
    atomic_store(&t->caller_sleeps, false);
    pthread_mutex_unlock(&t->lock);
    return true;
}

void team_barrier(struct team *t)
{
    if (t->n == 1)
        return;
    const unsigned long generation = atomic_load(&t->generation);
    pthread_mutex_lock(&t->lock);
    if (++t->n_waiting == t->n) {
        t->n_waiting = 0;
        atomic_fetch_add(&t->generation, 1);
        pthread_cond_broadcast(&t->arrived);
        pthread_mutex_unlock(&t->lock);
        return;
    }
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&t->generation) != generation)
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&t->lock);
    while (atomic_load(&t->generation) == generation)
        pthread_cond_wait(&t->arrived, &t->lock);
    pthread_mutex_unlock(&t->lock);
}
