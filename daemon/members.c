#include "daemon/members.h"

#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"

#define HANG_S 3600

struct members {
    uv_async_t wake;
    pthread_t thread;
    bool has_thread, closed; /* the loop's */
    pthread_mutex_t lock;    /* the following */
    pthread_cond_t more;
    struct member_question *waiting, **end;
    struct member_question *asked;    /* the thread is at it */
    struct member_question *answered; /* not told yet */
    bool busy, stop;
};

/* Nobody else asks for accounts once the daemon serves. */
static bool belongs(unsigned uid, unsigned gid)
{
    if (fault("members.hang"))
        sleep(HANG_S);
    const struct passwd *pw = getpwuid(uid);
    const struct group *gr = getgrgid(gid);
    if (!pw || !gr)
        return false;
    if (pw->pw_gid == gid)
        return true;
    for (char **m = gr->gr_mem; m && *m; m++)
        if (strcmp(*m, pw->pw_name) == 0)
            return true;
    return false;
}

static struct member_question *take(struct member_question **list)
{
    struct member_question *q = *list;
    *list = q->next;
    return q;
}

static void put_answer(struct members *m, struct member_question *q, bool is_member)
{
    q->is_member = is_member;
    q->next = m->answered;
    m->answered = q;
    uv_async_send(&m->wake);
}

static void *members_main(void *arg)
{
    struct members *m = arg;
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        if (!m->waiting) {
            pthread_cond_wait(&m->more, &m->lock);
            continue;
        }
        m->asked = take(&m->waiting);
        if (!m->waiting)
            m->end = &m->waiting;
        const unsigned uid = m->asked->uid, gid = m->asked->gid;
        m->busy = true;
        pthread_mutex_unlock(&m->lock);
        const bool is_member = belongs(uid, gid);
        pthread_mutex_lock(&m->lock);
        m->busy = false;
        if (m->asked) /* not withdrawn meanwhile */
            put_answer(m, m->asked, is_member);
        m->asked = NULL;
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static void on_wake(uv_async_t *h)
{
    struct members *m = h->data;
    for (struct member_question *q;;) { /* what is done about one may withdraw others */
        pthread_mutex_lock(&m->lock);
        q = m->answered ? take(&m->answered) : NULL;
        pthread_mutex_unlock(&m->lock);
        if (!q)
            return;
        q->done(q);
    }
}

int members_create(struct members **out, uv_loop_t *loop, struct err_msg *em)
{
    struct members *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(em, LT_ENOMEM, "out of memory");
    int r = uv_async_init(loop, &m->wake, on_wake);
    if (r < 0) {
        free(m);
        return err_set(em, LT_EIO, "%s", uv_strerror(r));
    }
    m->wake.data = m;
    m->end = &m->waiting;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->more, NULL);
    *out = m;
    return 0;
}

void members_ask(struct members *m, struct member_question *q)
{
    q->next = NULL;
    if (!m->has_thread && !(m->has_thread = pthread_create(&m->thread, NULL, members_main, m) == 0))
        log_warn("access", "no thread to ask whether user %u belongs to the group", q->uid);
    pthread_mutex_lock(&m->lock);
    if (m->has_thread) {
        *m->end = q;
        m->end = &q->next;
        pthread_cond_signal(&m->more);
    } else {
        put_answer(m, q, false);
    }
    pthread_mutex_unlock(&m->lock);
}

static bool unlink_question(struct member_question **list, const struct member_question *q)
{
    while (*list && *list != q)
        list = &(*list)->next;
    if (!*list)
        return false;
    *list = q->next;
    return true;
}

void members_withdraw(struct members *m, struct member_question *q)
{
    pthread_mutex_lock(&m->lock);
    if (m->asked == q)
        m->asked = NULL;
    else if (!unlink_question(&m->answered, q))
        (void)unlink_question(&m->waiting, q);
    for (m->end = &m->waiting; *m->end;)
        m->end = &(*m->end)->next;
    pthread_mutex_unlock(&m->lock);
}

void members_close(struct members *m)
{
    if (!m || m->closed)
        return;
    m->closed = true;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
    uv_close((uv_handle_t *)&m->wake, NULL);
}

void members_destroy(struct members **mp)
{
    struct members *m = *mp;
    *mp = NULL;
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    const bool busy = m->busy;
    pthread_mutex_unlock(&m->lock);
    if (busy) { /* for who knows how long: what it holds goes with the process */
        pthread_detach(m->thread);
        return;
    }
    if (m->has_thread)
        pthread_join(m->thread, NULL);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->more);
    free(m);
}
