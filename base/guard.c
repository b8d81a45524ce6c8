#include "base/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"

/* Entries are never freed, so that the handler can walk them at any moment; one whose base is 0 is free. */
struct guard {
    _Atomic uintptr_t base;
    _Atomic size_t len;
    _Atomic(atomic_bool *) lost;
    struct guard *next;
};

static _Atomic(struct guard *) first;
static pthread_mutex_t changes = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;
static uintptr_t page;

/* Zeros from the page of at to the mapping's end. Several threads may do it at once. */
static bool replace(struct guard *g, uintptr_t base, uintptr_t at)
{
    const uintptr_t from = at & ~(page - 1), end = base + atomic_load(&g->len);
    atomic_bool *lost = atomic_load(&g->lost);
    if (at >= end || !lost)
        return false;
    atomic_store(lost, true);
    return mmap((void *)from, end - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                0) != MAP_FAILED;
}

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    const int kept = errno;
    const uintptr_t at = (uintptr_t)info->si_addr;
    for (struct guard *g = atomic_load(&first); g; g = g->next) {
        const uintptr_t base = atomic_load(&g->base);
        if (base && at >= base && replace(g, base, at)) {
            errno = kept;
            return;
        }
    }
    /* Not ours: the instruction runs again and finds the former handler. */
    sigaction(SIGBUS, &before, NULL);
    errno = kept;
}

/* With `changes` held. */
static bool install(void)
{
    struct sigaction now, a = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&a.sa_mask);
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, NULL, &now) < 0)
        return false;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error)
        return true;
    before = now;
    return sigaction(SIGBUS, &a, NULL) == 0;
}

int guard_add(void *base, size_t len, atomic_bool *lost)
{
    pthread_mutex_lock(&changes);
    if (!install()) {
        pthread_mutex_unlock(&changes);
        return LT_EIO;
    }
    struct guard *g = atomic_load(&first);
    while (g && atomic_load(&g->base))
        g = g->next;
    if (!g && (g = calloc(1, sizeof *g))) {
        g->next = atomic_load(&first);
        atomic_store(&first, g);
    }
    if (g) {
        atomic_store(&g->len, len);
        atomic_store(&g->lost, lost);
        atomic_store(&g->base, (uintptr_t)base);
    }
    pthread_mutex_unlock(&changes);
    return g ? 0 : LT_ENOMEM;
}

void guard_remove(const void *base)
{
    pthread_mutex_lock(&changes);
    for (struct guard *g = atomic_load(&first); base && g; g = g->next)
        if (atomic_load(&g->base) == (uintptr_t)base) {
            atomic_store(&g->base, 0);
            break;
        }
    pthread_mutex_unlock(&changes);
}
