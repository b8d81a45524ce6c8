/* Saving, bite by bite: the order of things, and what a save leaves when it ends, well or not. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index/graph_save.h"

#define SWEEP_SHARE 8u /* of a bite: a node's links lead all over memory */

/* What the former checkpoint held back when the new one's moment was is free now. */
static void release_held(struct core *c, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = c->held.ids[i], level = core_head(c, id)->level;
        (void)id_list_push(&c->free_slots[level <= LEVEL_MAX ? level : 0], id);
    }
    c->held.n -= n;
    if (c->held.n)
        memmove(c->held.ids, c->held.ids + n, c->held.n * sizeof *c->held.ids);
}

/* The manifest got its name, and then its folder could not be synced: a crash may leave either one. */
static bool is_named(const struct save *s)
{
    struct segment_manifest m;
    return s->phase == SAVE_END && segment_manifest_read(s->g->dir, &m, NULL) == 0 && m.gen == s->gen;
}

/* Ends a save; files that no manifest names go, with what a compaction made. */
static void save_destroy(struct graph *g, bool drop)
{
    struct save *s = g->save;
    char path[SEGMENT_PATH];
    errand_finish(&s->errand);
    if (s->c) {
        s->c->save = NULL;
        s->c->save_slots = 0;
    }
    if (s->out.fd >= 0)
        close(s->out.fd);
    if (s->vec_fd >= 0)
        close(s->vec_fd);
    if (drop && g->dir && s->gen && !g->forsaken && !is_named(s)) {
        segment_path(path, g->dir, s->gen);
        unlink(path);
        vectors_path(path, g->dir, s->gen); /* a number of its own: there only if it is this save's */
        unlink(path);
    }
    if (drop && s->whole)
        core_destroy(s->c);
    free((void *)s->nodes);
    free((void *)s->blocks);
    free(s->dead);
    free(s->record);
    free((void *)s->lookup.slots);
    free(s->free.ids);
    seg_out_finish(&s->out);
    free(s->new_of);
    free(s);
    g->save = NULL;
}

bool graph_saving(const struct graph *g)
{
    return g->save != NULL;
}

bool graph_save_waits(struct graph *g)
{
    return g->save && errand_running(&g->save->errand, 0);
}

void graph_save_abort(struct graph *g)
{
    if (!g->save)
        return;
    bool done = false;
    while (!done && g->save->phase >= SAVE_END) /* its files may be current by now, or the graph half-way to them */
        (void)graph_save_step(g, 0, UINT64_MAX, &done, NULL);
    if (!done)
        save_destroy(g, true);
}

static int forsaken(struct err_msg *em)
{
    return err_set(em, LT_EIO, "the graph's folder was moved or deleted");
}

int graph_save_begin(struct graph *g, bool whole, struct err_msg *em)
{
    struct save *s;
    if (!g->dir && !whole)
        return err_set(em, LT_EUNSUPPORTED, "the graph is in memory only");
    if (g->forsaken)
        return forsaken(em);
    if (g->save)
        return err_set(em, LT_EBUSY, "the graph is being saved");
    if (!(s = calloc(1, sizeof *s)))
        return err_set(em, LT_ENOMEM, "no memory to save the graph");
    s->g = g;
    s->bite = SAVE_BITE;
    s->from = s->c = graph_core(g);
    s->out.fd = s->vec_fd = -1;
    errand_init(&s->errand);
    g->save = s;
    graph_reclaim(g);
    remove_sweep_begin(s->c);
    if (whole) {
        struct graph_params p = g->p;
        p.wide = s->from->wide;
        s->c = core_create(&p);
        s->whole = true;
    }
    s->at = s->from->n_sweep ? core_n_slots(s->from) - s->from->sweep_at : 0; /* left to sweep */
    if (s->c)
        return 0;
    save_destroy(g, true);
    return err_set(em, LT_ENOMEM, "no memory for a graph");
}

static int sweep(struct save *s, uint64_t seq, struct err_msg *em)
{
    struct graph *g = s->g;
    uint32_t n = s->bite / SWEEP_SHARE / s->from->stride + 1;
    n = n < s->at ? n : s->at;
    remove_sweep_some(s->from, g->scratch, n);
    if ((s->at -= n) > 0)
        return 0;
    remove_sweep_some(s->from, g->scratch, s->bite / SWEEP_SHARE / s->from->stride + 1); /* those that came meanwhile, if they are few */
    core_reclaim(s->from);
    s->n_changes = atomic_load(&g->n_changes);
    if (g->dir)
        s->gen = ++g->gen; /* the name is spent, whatever comes */
    if (!s->whole)
        return save_snapshot(s, g->vectors_gen, seq, em);
    s->phase = SAVE_NODES_TO;
    return s->c->has_vectors && g->dir ? segment_vectors_create(g->dir, s->gen, s->c, em) : 0;
}

static int write_manifest(void *arg)
{
    struct save *s = arg;
    struct graph_report rep = {0};
    int r = segment_manifest_write(s->g->dir, &s->m, &s->errand_em);
    s->swept = r == 0 && segment_sweep_dir(s->g->dir, &s->m, &rep, &s->gen_max, &s->bytes, NULL) == 0;
    return r;
}

/* The manifest names the new files. */
static void take_over(struct save *s)
{
    struct graph *g = s->g;
    struct core *c = s->c;
    if (!g->dir) {
        graph_swap(g, c);
        return;
    }
    if (s->vec_fd >= 0)
        (void)save_adopt_vectors(s); /* or they stay in memory, and are written once more the next time */
    g->vectors_gen = s->m.vectors_gen;
    c->seg_slots = c->vec_fd >= 0 ? s->h.n_slots : 0;
    release_held(c, s->n_held);
    g->n_saved = s->h.n_live;
    g->scrub_at = 0;
    atomic_fetch_sub(&g->n_changes, s->n_changes);
    atomic_store(&g->covered_seq, s->m.seq);
    if (s->swept)
        atomic_store(&g->bytes_on_disk, s->bytes);
    if (s->whole)
        graph_swap(g, c);
}

static int name_files(struct save *s, struct err_msg *em)
{
    /* What was read from a file that lost bytes must not get a good checksum. */
    if (atomic_load(&s->from->lost) || atomic_load(&s->c->lost))
        return err_set(em, LT_ECORRUPT, "the graph's files have lost bytes");
    s->phase = SAVE_END;
    errand_begin(&s->errand, write_manifest, s);
    if (!s->whole || errand_running(&s->errand, UINT64_MAX)) /* once they are named the graph must be in them, and not change before */
        return 0;
    return s->errand.result < 0 ? err_set(em, s->errand.result, "%s", s->errand_em.text) : 0;
}

static int step(struct save *s, uint64_t seq, struct err_msg *em)
{
    switch (s->phase) {
    case SAVE_SWEEP:
        return sweep(s, seq, em);
    case SAVE_NODES_TO:
        return save_nodes_to(s, em);
    case SAVE_LINKS_TO:
        return save_links_to(s, em);
    case SAVE_SNAPSHOT:
        return save_snapshot(s, s->gen, seq, em);
    case SAVE_MANIFEST:
        return name_files(s, em);
    case SAVE_END:
        take_over(s);
        s->phase = !s->whole && (s->c->seg || s->g->lean) && save_move_begin(s) ? SAVE_MOVE : SAVE_DONE;
        return 0;
    case SAVE_MOVE:
        s->phase = save_move(s) ? SAVE_DONE : SAVE_MOVE;
        return 0;
    default:
        return save_write(s, em);
    }
}

int graph_save_step(struct graph *g, uint64_t seq, uint64_t until_ns, bool *done, struct err_msg *em)
{
    struct save *s = g->save;
    *done = s == NULL;
    if (!s || errand_running(&s->errand, until_ns))
        return 0;
    int r = s->errand.result;
    if (r < 0 && em)
        *em = s->errand_em;
    if (r == 0 && s->phase < SAVE_END && g->forsaken)
        r = forsaken(em);
    if (r == 0 && s->phase < SAVE_END && (r = atomic_load(&s->kept)) < 0)
        err_set(em, r, "the graph's segment: %s", err_text(r));
    if (r == 0 && s->whole && s->phase > SAVE_SWEEP && atomic_load(&g->n_changes) != s->n_changes)
        r = err_set(em, LT_EBUSY, "the graph has changed");
    do
        r = r < 0 ? r : step(s, seq, em);
    while (r == 0 && s->whole && s->phase == SAVE_END);
    if (r < 0)
        save_destroy(g, true);
    else if (s->phase == SAVE_DONE)
        save_destroy(g, false);
    *done = !g->save;
    return r;
}

static int save_all(struct graph *g, uint64_t seq, bool whole, struct err_msg *em)
{
    bool done = false;
    graph_save_abort(g);
    int r = graph_save_begin(g, whole, em);
    while (r == 0 && !done)
        r = graph_save_step(g, seq, UINT64_MAX, &done, em);
    return r;
}

int graph_checkpoint(struct graph *g, uint64_t seq, struct err_msg *em)
{
    return save_all(g, seq, false, em);
}

int graph_compact(struct graph *g, uint64_t seq, struct err_msg *em)
{
    return save_all(g, seq, true, em);
}
