#include "daemon/idle.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/core.h"
#include "daemon/feed.h"

/* Work that is left without a change for so long is not waited for. Batches of large models take minutes on a slow machine. */
#define STALLED_MS 600000

/* What is left to do without clients: 0, or a number that changes as long as it gets on. */
static uint64_t work_left(const struct core *c)
{
    struct index_status s;
    char trouble[300] = "";
    if (!atomic_load(&c->ready))
        return 0;
    index_get_status(c->ix, &s);
    if (c->feed)
        feed_trouble(c->feed, trouble, sizeof trouble);
    if (!s.read_only && !trouble[0])
        return s.pending_chunks * 128 + (100 - s.recovered_percent);
    if (s.pending_chunks)
        log_warn("daemon", "%llu chunks are left for the next start: %s", (unsigned long long)s.pending_chunks, s.read_only ? s.reason : trouble);
    return 0;
}

static void on_timer(uv_timer_t *t)
{
    struct idle *d = t->data;
    if (!d->looked) { /* the loop runs timers before it looks at sockets: who is there already comes first */
        d->looked = true;
        uv_timer_start(t, on_timer, 1, 0);
        return;
    }
    const uint64_t left = work_left(d->core), now = clock_ns();
    if (left != d->work)
        d->changed_ns = now;
    d->work = left;
    if (left && now - d->changed_ns < STALLED_MS * 1000000ull) {
        idle_connections(d, 0);
        return;
    }
    log_info("daemon", "no clients any more");
    core_stop(d->core);
}

void idle_init(struct idle *d, struct core *c)
{
    d->core = c;
    uv_timer_init(&c->loop, &d->timer);
    d->timer.data = d;
    idle_connections(d, 0);
}

void idle_connections(struct idle *d, unsigned n)
{
    const uint64_t seconds = d->core->settings->idle_exit;
    d->looked = false;
    if (n || !seconds) {
        uv_timer_stop(&d->timer);
        d->work = 0;
    } else if (!uv_is_closing((uv_handle_t *)&d->timer)) {
        uv_update_time(&d->core->loop);
        uv_timer_start(&d->timer, on_timer, seconds * 1000, 0);
    }
}

void idle_close(struct idle *d)
{
    if (!uv_is_closing((uv_handle_t *)&d->timer))
        uv_close((uv_handle_t *)&d->timer, NULL);
}
