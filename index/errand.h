/* One call at a time on a thread of its own: what waits for the disk, so that the writer does not.
 * Thread-safety: unsafe, one owner; the call runs beside the owner, which leaves alone what the call uses. */
#ifndef INDEX_ERRAND_H
#define INDEX_ERRAND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct errand {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool running;  /* the owner's: begun, and its end not yet seen */
    bool over;     /* under the lock */
    int (*call)(void *arg);
    void *arg;
    int result;    /* of the last call that is over; LT_E… or 0 */
};

void errand_init(struct errand *e);
/* Waits for the call that runs, if one does. */
void errand_finish(struct errand *e);

/* Begins call(arg); none is running. Where no thread can be had, it is made here and now. */
void errand_begin(struct errand *e, int (*call)(void *arg), void *arg);

/* True while the call runs. Blocks: until it is over, and at most until clock_ns() is until_ns (0: not at all; UINT64_MAX: for
 * however long it takes). */
bool errand_running(struct errand *e, uint64_t until_ns);

#endif
