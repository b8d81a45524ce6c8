#include "model/verify.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "model/digest.h"

struct verify {
    const struct model *m;
    pthread_t thread;
    atomic_bool stop;
    atomic_int state;
    const char *damaged;
};

static void *work(void *arg)
{
    struct verify *v = arg;
    uint8_t digest[DIGEST_BYTES];
    const uint8_t *want;
    const struct tensor *t;
    struct sched_param idle = {0};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &idle); /* where it is not allowed, at normal priority */
    for (size_t i = 0; (t = model_tensor_at(v->m, i, &want)); i++) {
        if (!digest_tensor(t, &v->stop, digest))
            return NULL;
        model_release(v->m, t);
        if (memcmp(digest, want, sizeof digest)) {
            log_error("model", "tensor %s of the model file is damaged: its bytes are not those that were imported", t->name);
            v->damaged = t->name;
            atomic_store_explicit(&v->state, VERIFY_DAMAGED, memory_order_release);
            return NULL;
        }
    }
    atomic_store_explicit(&v->state, VERIFY_GOOD, memory_order_release);
    return NULL;
}

int verify_start(struct verify **out, const struct model *m, struct err_msg *em)
{
    *out = NULL;
    if (model_digests_fresh(m))
        return 0;
    struct verify *v = calloc(1, sizeof *v);
    if (!v)
        return err_set(em, LT_ENOMEM, "no memory");
    v->m = m;
    if (pthread_create(&v->thread, NULL, work, v)) {
        free(v);
        return err_set(em, LT_ENOMEM, "no thread to check the model file with");
    }
    *out = v;
    return 0;
}

void verify_destroy(struct verify **vp)
{
    struct verify *v = *vp;
    if (!v)
        return;
    atomic_store(&v->stop, true);
    pthread_join(v->thread, NULL);
    free(v);
    *vp = NULL;
}

enum verify_state verify_state(const struct verify *v, const char **tensor)
{
    if (!v)
        return VERIFY_GOOD;
    enum verify_state s = (enum verify_state)atomic_load_explicit(&v->state, memory_order_acquire);
    if (s == VERIFY_DAMAGED && tensor)
        *tensor = v->damaged;
    return s;
}
