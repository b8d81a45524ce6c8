#include "index/graph_epoch.h"

#include <pthread.h>
#include <stddef.h>

static _Atomic uint64_t now = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list only; searches never take it */
static struct epoch_reader *readers;

void epoch_register(struct epoch_reader *r)
{
    atomic_store(&r->at, 0);
    pthread_mutex_lock(&lock);
    r->next = readers;
    readers = r;
    pthread_mutex_unlock(&lock);
}

void epoch_unregister(struct epoch_reader *r)
{
    pthread_mutex_lock(&lock);
    for (struct epoch_reader **p = &readers; *p; p = &(*p)->next) {
        if (*p == r) {
            *p = r->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

void epoch_enter(struct epoch_reader *r)
{
    atomic_exchange(&r->at, atomic_load(&now));
    /* The announcement must be visible before the first look at shared memory. TSan knows no fences; the read-modify-write
     * above is one for it and for x86. */
#if !defined(__SANITIZE_THREAD__)
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

void epoch_leave(struct epoch_reader *r)
{
    atomic_store_explicit(&r->at, 0, memory_order_release);
}

uint64_t epoch_retire(void)
{
    return atomic_fetch_add(&now, 1);
}

uint64_t epoch_quiet(void)
{
    uint64_t quiet = atomic_load(&now);
    pthread_mutex_lock(&lock);
    for (struct epoch_reader *r = readers; r; r = r->next) {
        uint64_t at = atomic_load(&r->at);
        if (at && at < quiet)
            quiet = at;
    }
    pthread_mutex_unlock(&lock);
    return quiet;
}
