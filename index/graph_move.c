/* After a save: a graph that is mapped from its former file moves to the new one. The former has no name any more, but the disk keeps its
 * bytes while it is mapped, and what changed since it was mapped takes memory besides. One that lies in memory does so where memory is
 * short (graph_set_lean).
 *
 * Chunk by chunk: what changed after the save's moment is copied into the new mapping, which then takes the chunk's place by one
 * store. Searches that hold a place in the old chunk read what it was until they end; the old mapping goes when none is left. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guard.h"
#include "index/graph_save.h"

static void drop_segment(void *ptr)
{
    struct segment *seg = ptr;
    segment_unmap(&seg);
}

bool save_move_begin(struct save *s)
{
    struct core *c = s->c;
    s->to = segment_map_file(s->out.fd, s->l.end, &c->lost);
    s->at = 0;
    if (s->g->lean)
        segment_sparing(s->to);
    return s->to != NULL;
}

/* `to`, which is what the chunk was at the moment and is as it is now, takes its place. */
static void replace_chunk(struct core *c, _Atomic(uint8_t *) *place, uint8_t *to, size_t len)
{
    uint8_t *old = atomic_load(place);
    atomic_store_explicit(place, to, memory_order_release);
    if (!c->seg || !segment_has(c->seg, old))
        core_retire_chunk(c, old, len);
}

static void move_nodes(struct save *s, uint32_t chunk, uint8_t *to)
{
    struct core *c = s->c;
    const size_t len = (size_t)c->stride << c->shift;
    uint32_t first = chunk << c->shift, end = first + c->mask + 1, n = core_n_slots(c);
    for (uint32_t id = first; id < end && id < n; id++) /* the file has a dead one's slot as free */
        if (id >= s->h.n_slots || save_bit(s->nodes, id) || node_state(core_head(c, id)) == NODE_DEAD)
            memcpy(to + (size_t)(id - first) * c->stride, core_record(c, id), c->stride);
    replace_chunk(c, &c->dir[chunk], to, len);
}

static void move_blocks(struct save *s, uint32_t chunk, uint8_t *to)
{
    struct core *c = s->c;
    const size_t len = (size_t)c->upper_stride << UPPER_SHIFT;
    uint32_t first = chunk << UPPER_SHIFT, end = first + (1u << UPPER_SHIFT), n = atomic_load(&c->n_upper);
    const uint8_t *from = atomic_load(&c->upper_dir[chunk]);
    for (uint32_t i = first; i < end && i < n; i++)
        if (i >= s->h.n_upper || save_bit(s->blocks, i))
            memcpy(to + (size_t)(i - first) * c->upper_stride, from + (size_t)(i - first) * c->upper_stride, c->upper_stride);
    replace_chunk(c, &c->upper_dir[chunk], to, len);
}

static bool move_hash(struct save *s)
{
    struct core *c = s->c;
    struct hash *old = atomic_load(&c->hash), *new;
    if (!old->mapped)
        return true;
    if (core_retire_reserve(c, 1) < 0 || !(new = malloc(sizeof *new)))
        return false;
    *new = *old;
    new->mapped = atomic_load(&s->g->n_changes) == 0; /* since the moment */
    if (new->mapped) {
        new->slots = (_Atomic uint32_t *)(void *)(segment_base(s->to) + s->l.hash);
        new->mask = s->h.hash_mask;
        new->n_used = s->h.hash_used;
    } else {
        size_t len = ((size_t)old->mask + 1) * sizeof *new->slots;
        if (!(new->slots = malloc(len))) {
            free(new);
            return false;
        }
        memcpy((void *)new->slots, (const void *)old->slots, len);
    }
    atomic_store_explicit(&c->hash, new, memory_order_release);
    (void)core_retire(c, ID_NONE, old, hash_drop);
    return true;
}

/* The mapping that nothing leads to any more. Where it cannot be let go yet, it stays beside the new one until the graph goes. */
static void change_mapping(struct save *s, bool let_go)
{
    struct core *c = s->c;
    struct segment *old = c->seg;
    c->seg = s->to;
    s->to = NULL;
    if (!old)
        return;
    if (!let_go || core_retire(c, ID_NONE, old, drop_segment) < 0)
        segment_keep(c->seg, old);
}

bool save_move(struct save *s)
{
    struct core *c = s->c;
    const size_t node_len = (size_t)c->stride << c->shift, block_len = (size_t)c->upper_stride << UPPER_SHIFT;
    const uint32_t n_nodes = (uint32_t)((s->l.upper - s->l.nodes) / node_len), n_blocks = (uint32_t)((s->l.hash - s->l.upper) / block_len);
    uint8_t *base = segment_base(s->to);
    uint32_t i = s->at++;
    if (i < n_nodes)
        move_nodes(s, i, base + s->l.nodes + i * node_len);
    else if ((i -= n_nodes) < n_blocks)
        move_blocks(s, i, base + s->l.upper + i * block_len);
    else
        change_mapping(s, move_hash(s));
    return !s->to;
}
