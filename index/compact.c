/* When a graph is saved, and when it is written anew without its free slots; what became of it is noted for whoever asks.
 *
 * Bounded in what it writes. Saving is wanted when as much has changed as was saved, so that all savings together write at most
 * twice the graph, and the last one, at the end, once more. A new graph without free slots also writes the exact vectors; it is
 * made when there are as many free slots as nodes (so many were deleted since the last time), or an eighth of them in a collection
 * that has come to rest, and in either case takes a twentieth of the time at most. Files go to the disk in windows
 * (segment_write.c), never in one burst.
 *
 * It runs on the writer thread, in bites between groups (graph.h, "saving"): searches and writes go on meanwhile. A graph without
 * free slots has to be of one piece with the one that it is made from, so a change ends its making, and it is tried again; a
 * collection that always changes would never get one, so after some tries it is made at once, and writes wait. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "index/store.h"

#define RETRY_NS 60000000000ull   /* after a failure */
#define REST_NS 10000000000ull    /* without a change: at rest */
#define REST_SHARE 8u             /* free slots per nodes that are worth it then */
#define WASTE_MIN (256u << 10)    /* bytes; fewer are not worth it */
#define TIME_SHARE 20u            /* of which a graph without free slots may take one */
#define FIRST_BYTES (4u << 20)    /* of exact vectors in memory, of a graph that is made anew: saved, they are mapped */
#define CLOSE_BYTES (256u << 20)  /* quickly written: also when closing */
#define ALARM_MS 600000           /* wanted for so long and not done */
#define LAST_AT_ONCE 16u          /* saves when closing: file systems sync for all who wait with one write of their journals */
#define LAST_WAIT_NS 1000000u     /* for the disk, until the others are looked at */
#define LAST_BYTES (64u << 20)    /* of all these graphs, or one */
#define LEAN_BYTES (8u << 20)     /* of a graph in memory that are worth a save where memory is short, … */
#define LEAN_SHARE 4u             /* … or this share of the graph, if that is more */
#define TRIES_MAX 3u              /* of a graph without free slots that changes end */

void compact_note_change(struct collection *c)
{
    c->compaction.changed_ns = clock_ns();
    if (!atomic_load(&c->compaction.due_ms) && graph_wants_checkpoint(c->graph, false))
        atomic_store(&c->compaction.due_ms, clock_wall_ms());
}

static void failed(struct index *ix, struct collection *c, int r, const struct err_msg *em)
{
    struct compaction *k = &c->compaction;
    if (!atomic_load(&k->failed_ms))
        log_warn("index", "collection %s: its graph is not saved: %s", c->name, em->text);
    /* The store goes on; without its file a graph is only slower to open, and without compaction larger. */
    pthread_mutex_lock(&ix->lock);
    snprintf(k->error, sizeof k->error, "%.150s", em->text[0] ? em->text : err_text(r));
    pthread_mutex_unlock(&ix->lock);
    if (!atomic_load(&k->failed_ms))
        atomic_store(&k->failed_ms, clock_wall_ms());
    k->retry_ns = clock_ns() + RETRY_NS;
}

static void began(struct collection *c, bool whole)
{
    c->compaction.whole = whole;
    c->compaction.began_ns = clock_ns();
    atomic_store(&c->compaction.running, true);
}

static int ended(struct index *ix, struct collection *c, int r, struct err_msg *em)
{
    struct compaction *k = &c->compaction;
    struct graph_info gi;
    const uint64_t now = clock_ns();
    atomic_store(&k->running, false);
    if (k->whole) { /* also when it failed: it has taken its time */
        k->whole_end_ns = now;
        k->whole_took_ns = now - k->began_ns;
        k->n_given_up = r == LT_EBUSY ? k->n_given_up + 1 : 0;
    }
    if (k->whole && r == LT_EBUSY)
        return 0;
    if (r < 0) {
        failed(ix, c, r, em);
        return r;
    }
    graph_info(c->graph, &gi);
    log_debug("index", "collection %s: graph saved%s up to operation %llu in %llu ms", c->name, k->whole ? " without free slots" : "",
              (unsigned long long)gi.covered_seq, (unsigned long long)(now - k->began_ns) / 1000000);
    atomic_fetch_add(&k->bytes, k->whole ? gi.bytes_codes + gi.bytes_vectors : gi.bytes_codes);
    atomic_store(&k->done_ms, clock_wall_ms());
    atomic_store(&k->due_ms, 0);
    atomic_store(&k->failed_ms, 0);
    return 0;
}

static int save_at_once(struct index *ix, struct collection *c, bool whole, struct err_msg *em)
{
    began(c, whole);
    return ended(ix, c, refill_checkpoint(ix, c, whole, em), em);
}

static bool is_sparse(const struct graph_info *gi, uint64_t share)
{
    uint64_t n_free = gi->n_slots - gi->n_live, per_slot = gi->n_slots ? (gi->bytes_codes + gi->bytes_vectors) / gi->n_slots : 0;
    return gi->covered_seq && n_free * share > gi->n_live && n_free * per_slot >= WASTE_MIN;
}

void compact_lean(struct index *ix, struct collection *c, bool lean)
{
    struct graph_info gi;
    struct err_msg em = {""};
    graph_info(c->graph, &gi);
    const uint64_t own = graph_own_bytes(c->graph), share = gi.bytes_codes / LEAN_SHARE;
    graph_set_lean(c->graph, lean);
    if (lean && gi.n_live && own >= (share > LEAN_BYTES ? share : LEAN_BYTES) && !ix->read_only && clock_ns() >= c->compaction.retry_ns) {
        (void)save_at_once(ix, c, false, &em); /* what goes wrong is noted; damage shows again at the next save */
        graph_set_lean(c->graph, true);
    }
    atomic_store(&c->compaction.own_bytes, graph_own_bytes(c->graph));
}

int compact_step(struct index *ix, struct collection *c, struct err_msg *em)
{
    const struct compaction *k = &c->compaction;
    struct graph_info gi;
    uint64_t now = clock_ns();
    if (ix->read_only || now < k->retry_ns || graph_saving(c->graph))
        return 0;
    graph_info(c->graph, &gi);
    atomic_store(&c->compaction.own_bytes, graph_own_bytes(c->graph));
    bool whole = !atomic_load(&c->behind) &&
                 is_sparse(&gi, now - k->changed_ns >= ix->rest_ns ? REST_SHARE : 1) &&
                 now - k->whole_end_ns >= TIME_SHARE * k->whole_took_ns;
    bool first = atomic_load(&c->behind) && !gi.covered_seq && gi.n_live && gi.bytes_vectors >= FIRST_BYTES;
    if (!whole && !first && !graph_wants_checkpoint(c->graph, false) && !fault("maintain.save"))
        return 0;
    int r;
    if (whole && k->n_given_up >= TRIES_MAX) {
        r = save_at_once(ix, c, whole, em);
    } else {
        began(c, whole);
        if ((r = graph_save_begin(c->graph, whole, em)) < 0)
            r = ended(ix, c, r, em);
    }
    return r == LT_ECORRUPT ? r : 0;
}

int compact_go_on(struct index *ix, struct collection *c, uint64_t until_ns, bool *more, struct err_msg *em)
{
    bool done = false;
    int r = 0;
    *more = graph_saving(c->graph);
    if (!*more || fault("save.hold"))
        return 0;
    if (ix->read_only) { /* what it has written goes: others need the room */
        compact_stop(c);
        *more = false;
        return 0;
    }
    do
        r = graph_save_step(c->graph, refill_seq(ix, c), until_ns, &done, em);
    while (r == 0 && !done && clock_ns() < until_ns);
    *more = !done;
    if (done)
        r = ended(ix, c, r < 0 ? r : refill_saved(ix, c, em), em);
    return r == LT_ECORRUPT ? r : 0;
}

void compact_stop(struct collection *c)
{
    graph_save_abort(c->graph);
    atomic_store(&c->compaction.running, false);
}

/* The last saves that are under way. */
struct last {
    struct collection *c[LAST_AT_ONCE];
    uint64_t bytes[LAST_AT_ONCE]; /* of its files, about */
    size_t n, next;               /* next: of the collections, to be looked at */
};

static void last_ended(struct index *ix, struct collection *c, int r, struct err_msg *em)
{
    if (ended(ix, c, r, em) < 0)
        log_warn("index", "collection %s: checkpoint failed: %s", c->name, em->text);
}

static void last_begin(struct index *ix, struct last *l, struct collection *c, const struct graph_info *gi)
{
    struct err_msg em = {""};
    const uint64_t bytes = gi->bytes_codes + gi->bytes_vectors;
    compact_stop(c);
    began(c, bytes < CLOSE_BYTES && !atomic_load(&c->behind) && is_sparse(gi, REST_SHARE));
    const int r = graph_save_begin(c->graph, c->compaction.whole, &em);
    if (r < 0) {
        last_ended(ix, c, r, &em);
        return;
    }
    l->bytes[l->n] = bytes;
    l->c[l->n++] = c;
}

/* As many as may be under way. */
static void last_fill(struct index *ix, struct last *l)
{
    struct graph_info gi;
    uint64_t bytes = 0;
    for (size_t i = 0; i < l->n; i++)
        bytes += l->bytes[i];
    for (; l->next < ix->n_collections && l->n < LAST_AT_ONCE; l->next++) {
        struct collection *c = ix->collections[l->next];
        if (!c->graph || !graph_wants_checkpoint(c->graph, true))
            continue;
        graph_info(c->graph, &gi);
        bytes += gi.bytes_codes + gi.bytes_vectors;
        if (l->n && bytes > LAST_BYTES)
            return;
        last_begin(ix, l, c, &gi);
    }
}

/* As far as it can go without the disk. False: it has more to do. */
static bool last_step(struct index *ix, struct collection *c, uint64_t until_ns)
{
    struct err_msg em = {""};
    bool done = false;
    int r;
    do
        r = graph_save_step(c->graph, refill_seq(ix, c), until_ns, &done, &em);
    while (!done && !graph_save_waits(c->graph));
    if (done)
        last_ended(ix, c, r < 0 ? r : refill_prune(ix, c, &em), &em);
    return done;
}

void compact_last(struct index *ix)
{
    struct last l = {0};
    for (last_fill(ix, &l); l.n; last_fill(ix, &l)) {
        for (size_t i = 0; i < l.n;) {
            if (!last_step(ix, l.c[i], i ? 0 : clock_ns() + LAST_WAIT_NS)) {
                i++;
                continue;
            }
            l.c[i] = l.c[--l.n];
            l.bytes[i] = l.bytes[l.n];
        }
        struct err_msg em;
        if (index_commit(ix, NULL, &em) < 0) /* of those that have come to their end, if any has */
            log_warn("index", "what saved graphs have need not be kept for them, and is: %s", em.text);
    }
}

void compact_describe(const struct index *ix, const struct collection *c, struct index_collection *out)
{
    const struct compaction *k = &c->compaction;
    int64_t due = atomic_load(&k->due_ms), late = clock_wall_ms() - due;
    out->compacting = atomic_load(&k->running);
    out->compacted_ms = atomic_load(&k->done_ms);
    out->compacted_bytes = atomic_load(&k->bytes);
    out->compaction_failed_ms = atomic_load(&k->failed_ms);
    if (out->compaction_failed_ms) {
        snprintf(out->compaction_error, sizeof out->compaction_error, "%s", k->error);
    } else if (due && late > ix->alarm_ms) {
        out->compaction_failed_ms = due;
        snprintf(out->compaction_error, sizeof out->compaction_error, "wanted for %lld s and not done", (long long)(late / 1000));
    }
}

void compact_init(struct index *ix, const struct index_params *p)
{
    ix->rest_ns = p->rest_ms ? p->rest_ms * 1000000ull : REST_NS;
    ix->alarm_ms = p->alarm_ms ? p->alarm_ms : ALARM_MS;
}
