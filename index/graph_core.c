/* The graph's memory: chunks, slots, exact vectors, label lookup, and what waits to be reused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/fault.h"
#include "base/guard.h"
#include "index/graph_save.h"
#include "index/pages.h"

#define CHUNK_BYTES (4u << 20) /* about; a power of two of nodes */
#define SLAB_BYTES (64u << 20) /* address space taken at once, in huge pages where the kernel has them */
#define HUGE_BYTES (2u << 20)
/* int8 nodes, by bench_peers.py: below the first, a code is read about as quickly as its sketch; from the second on, the same recall
 * is had sooner by sketches alone. */
#define SKETCH_FROM_DIM 256u
#define BY_SKETCH_FROM_DIM 1024u

#define DIRECTORY_BYTES (CHUNKS_MAX * sizeof(_Atomic(uint8_t *)))

/* Anonymous memory, returned to the system with the core. */
struct slab {
    struct slab *next;
    uint8_t *base;
    size_t len, used;
};

static uint8_t *map_anonymous(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The three directories: of their own pages those take memory that name a chunk, where malloc, which has them from another graph at times,
 * would clear them all. */
static int directories_create(struct core *c)
{
    _Atomic(uint8_t *) *all = (void *)map_anonymous(3 * DIRECTORY_BYTES);
    if (!all)
        return LT_ENOMEM;
    (void)madvise((void *)all, 3 * DIRECTORY_BYTES, MADV_NOHUGEPAGE);
    c->dir = all;
    c->upper_dir = all + CHUNKS_MAX;
    c->vec_dir = all + 2 * CHUNKS_MAX;
    return 0;
}

/* A zeroed chunk. The first of a kind gets just its bytes, since most collections are small. Each kind has slabs of its own: nodes lie
 * as close as can be, and keep their huge pages when a checkpoint puts its file in the place of the vectors. */
static uint8_t *chunk_create(struct core *c, enum chunk_kind kind, size_t len, bool first)
{
    struct slab *s = c->filling[kind];
    len = (len + 4095) & ~(size_t)4095;
    if (first || !s || s->len - s->used < len) {
        size_t room = first ? len : len > SLAB_BYTES ? len : SLAB_BYTES;
        s = calloc(1, sizeof *s);
        if (!s)
            return NULL;
        s->base = map_anonymous(room + (first ? 0 : HUGE_BYTES));
        s->len = room + (first ? 0 : HUGE_BYTES);
        if (!s->base) {
            free(s);
            return NULL;
        }
        if (!first) {
            s->used = (size_t)(-(uintptr_t)s->base & (HUGE_BYTES - 1));
            (void)madvise(s->base, s->len, MADV_HUGEPAGE); /* a hint: four times fewer TLB misses */
        }
        s->next = c->slabs;
        c->slabs = c->filling[kind] = s;
    }
    uint8_t *p = s->base + s->used;
    s->used += len;
    return p;
}

void core_set_links(struct core *c, bool wide)
{
    c->wide = wide;
    c->stride = (uint32_t)distance_pad(c->head_at + NODE_LIST_AT + list_bytes(c->m0, wide, true));
    c->upper_stride = (UPPER_LIST_AT + list_bytes(c->m, wide, false) + 3) / 4 * 4;
    c->shift = 6; /* 64 vectors fill whole pages at any dimension */
    while (c->shift < 12 && (size_t)c->stride << (c->shift + 1) <= CHUNK_BYTES)
        c->shift++;
    c->mask = (1u << c->shift) - 1;
}

struct core *core_create(const struct graph_params *p)
{
    struct core *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->dim = p->dim;
    c->m = p->m;
    c->m0 = 2 * p->m;
    c->metric = p->metric;
    c->codes = p->codes;
    c->kernel = distance_for(cpu_features());
    c->has_vectors = p->codes != GRAPH_CODES_F32;
    c->vec_stride = (uint32_t)distance_pad(p->dim * sizeof(float));
    c->code_bytes = p->codes == GRAPH_CODES_INT8 ? (uint32_t)distance_pad(p->dim) : c->has_vectors ? 0 : c->vec_stride;
    if (p->codes == GRAPH_CODES_1BIT || (p->codes == GRAPH_CODES_INT8 && p->dim >= SKETCH_FROM_DIM))
        c->sketch_bytes = (uint32_t)sketch_bytes(p->dim);
    c->by_sketch = c->sketch_bytes && (p->codes == GRAPH_CODES_1BIT || p->dim >= BY_SKETCH_FROM_DIM);
    c->head_at = c->sketch_bytes + c->code_bytes;
    core_set_links(c, p->wide);
    c->vec_fd = -1;
    atomic_init(&c->entry, ID_NONE);
    atomic_init(&c->root, ID_NONE);
    if (directories_create(c) < 0 || core_hash_reserve(c, 1) < 0)
        core_destroy(c), c = NULL;
    return c;
}

void hash_drop(void *ptr)
{
    struct hash *h = ptr;
    if (!h->mapped)
        free((void *)h->slots);
    free(h);
}

/* Chunks of vectors that a checkpoint put in the place of anonymous memory go with their slab. */
static bool in_slab(const struct core *c, const uint8_t *p)
{
    for (const struct slab *s = c->slabs; s; s = s->next)
        if (p >= s->base && p < s->base + s->len)
            return true;
    return false;
}

void core_destroy(struct core *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->n_retired; i++)
        if (c->retired[i].ptr)
            c->retired[i].drop(c->retired[i].ptr);
    free(c->retired);
    for (uint32_t l = 0; l <= LEVEL_MAX; l++)
        free(c->free_slots[l].ids);
    free(c->held.ids);
    free(c->dead.ids);
    struct hash *h = atomic_load(&c->hash);
    if (h)
        hash_drop(h);
    if (c->vec_fd >= 0) {
        for (uint32_t i = 0; c->vec_dir && i < c->n_vec_chunks; i++) {
            guard_remove(atomic_load(&c->vec_dir[i]));
            if (!in_slab(c, atomic_load(&c->vec_dir[i])))
                pages_unmap(atomic_load(&c->vec_dir[i]), (size_t)c->vec_stride << c->shift);
        }
        close(c->vec_fd);
    }
    segment_unmap(&c->seg);
    for (struct slab *s = c->slabs, *next; s; s = next) {
        next = s->next;
        munmap(s->base, s->len);
        free(s);
    }
    if (c->dir)
        munmap((void *)c->dir, 3 * DIRECTORY_BYTES);
    free(c);
}

bool id_list_push(struct id_list *l, uint32_t id)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? 2 * l->cap : 16;
        uint32_t *ids = realloc(l->ids, (size_t)cap * sizeof *ids);
        if (!ids)
            return false;
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return true;
}

/* ---- slots ---- */

int core_map_vectors(struct core *c, uint32_t chunk)
{
    uint8_t *p;
    size_t len = (size_t)c->vec_stride << c->shift;
    if (!c->has_vectors || chunk < c->n_vec_chunks)
        return 0;
    if (c->vec_fd < 0) {
        p = chunk_create(c, CHUNK_VECTORS, len, chunk == 0);
    } else {
        /* Beyond the end of the file for now: only vectors that have been written are ever read. */
        errno = ENOMEM;
        p = fault("vectors.map") ? NULL : pages_map(c->vec_fd, VECTORS_HEADER + (uint64_t)chunk * len, len);
        if (!p)
            return errno == ENOMEM || errno == EAGAIN ? LT_ENOMEM : LT_EIO;
        if (guard_add(p, len, &c->lost) < 0) {
            pages_unmap(p, len);
            return LT_ENOMEM;
        }
    }
    if (!p)
        return LT_ENOMEM;
    atomic_store_explicit(&c->vec_dir[chunk], p, memory_order_release);
    c->n_vec_chunks = chunk + 1;
    return 0;
}

/* Room for `level` consecutive upper blocks, all within one chunk; *first is their number. */
static int upper_alloc(struct core *c, uint32_t level, uint32_t *first)
{
    uint32_t per_chunk = 1u << UPPER_SHIFT, at = atomic_load(&c->n_upper);
    if (at % per_chunk + level > per_chunk)
        at += per_chunk - at % per_chunk;
    uint32_t chunk = at >> UPPER_SHIFT;
    if (chunk >= CHUNKS_MAX)
        return LT_ELIMIT;
    if (!atomic_load(&c->upper_dir[chunk])) {
        uint8_t *p = chunk_create(c, CHUNK_UPPER, (size_t)c->upper_stride << UPPER_SHIFT, chunk == 0);
        if (!p)
            return LT_ENOMEM;
        atomic_store_explicit(&c->upper_dir[chunk], p, memory_order_release);
    }
    *first = at;
    atomic_store_explicit(&c->n_upper, at + level, memory_order_release);
    return 0;
}

static int slot_create(struct core *c, uint32_t level, uint32_t *id)
{
    uint32_t n = core_n_slots(c), chunk = n >> c->shift, upper = 0;
    int r;
    if (!c->wide && (n >= GRAPH_SHORT_MAX || fault("graph.links.short"))) {
        atomic_store(&c->full, true);
        return LT_ELIMIT;
    }
    if (n >= ID_LIMIT || chunk >= CHUNKS_MAX)
        return LT_ELIMIT;
    if (!atomic_load(&c->dir[chunk])) {
        uint8_t *p = chunk_create(c, CHUNK_NODES, (size_t)c->stride << c->shift, chunk == 0);
        if (!p)
            return LT_ENOMEM;
        atomic_store_explicit(&c->dir[chunk], p, memory_order_release);
    }
    if ((r = core_map_vectors(c, chunk)) < 0 || (level && (r = upper_alloc(c, level, &upper)) < 0))
        return r;
    struct node_head *h = core_head(c, n);
    h->place = level ? upper : ID_NONE;
    h->level = (uint8_t)level;
    atomic_store_explicit(&c->n_slots, n + 1, memory_order_release);
    *id = n;
    return 0;
}

int core_alloc(struct core *c, uint32_t level, uint32_t *id)
{
    struct id_list *l = &c->free_slots[level];
    int r;
    core_reclaim(c);
    if (l->n)
        *id = l->ids[--l->n];
    else if ((r = slot_create(c, level, id)) < 0)
        return r;
    struct node_head *h = core_head(c, *id);
    core_touch(c, *id, 0);
    h->level = (uint8_t)level; /* as it was, unless the file lied */
    core_set_parent(c, *id, ID_NONE);
    atomic_store_explicit(&h->state, NODE_NEW, memory_order_release);
    for (uint32_t i = 0; i <= level; i++) {
        struct list list = core_links(c, *id, i);
        core_touch(c, *id, i);
        if (list.word)
            list_write(list, NULL, 0);
    }
    return 0;
}

void core_release(struct core *c, uint32_t id)
{
    struct node_head *h = core_head(c, id);
    core_touch(c, id, 0);
    atomic_store_explicit(&h->state, NODE_FREE, memory_order_release);
    /* The checkpoint on disk still means the old vector by this slot, or one that is being written does; it can be reused after the
     * next one. */
    bool hold = c->has_vectors && ((c->vec_fd >= 0 && id < c->seg_slots) || id < c->save_slots);
    /* Without memory for the note the slot stays unused until the next compaction. */
    (void)id_list_push(hold ? &c->held : &c->free_slots[h->level <= LEVEL_MAX ? h->level : 0], id);
}

int core_retire_reserve(struct core *c, uint32_t n)
{
    if (c->cap_retired - c->n_retired >= n)
        return 0;
    uint32_t cap = 2 * c->cap_retired + n + 16;
    struct retired *r = realloc(c->retired, (size_t)cap * sizeof *r);
    if (!r)
        return LT_ENOMEM;
    c->retired = r;
    c->cap_retired = cap;
    return 0;
}

int core_retire(struct core *c, uint32_t id, void *ptr, void (*drop)(void *))
{
    int r = core_retire_reserve(c, 1);
    if (r == 0)
        c->retired[c->n_retired++] = (struct retired){epoch_retire(), id, ptr, drop};
    return r;
}

struct old_chunk {
    uint8_t *base;
    size_t len;
};

static void drop_chunk(void *ptr)
{
    struct old_chunk *k = ptr;
    pages_drop(k->base, k->len);
    free(k);
}

void core_retire_chunk(struct core *c, uint8_t *chunk, size_t len)
{
    struct old_chunk *k = malloc(sizeof *k);
    if (k)
        *k = (struct old_chunk){chunk, len};
    if (k && core_retire(c, ID_NONE, k, drop_chunk) < 0)
        free(k); /* its memory stays until the graph goes */
}

void core_reclaim(struct core *c)
{
    if (!c->n_retired)
        return;
    uint64_t quiet = epoch_quiet();
    uint32_t n = 0;
    while (n < c->n_retired && c->retired[n].stamp < quiet) {
        struct retired *r = &c->retired[n++];
        if (r->ptr)
            r->drop(r->ptr);
        else
            core_release(c, r->id);
    }
    memmove(c->retired, c->retired + n, (c->n_retired - n) * sizeof *c->retired);
    c->n_retired -= n;
}

int core_put_vector(struct core *c, uint32_t id, const float *v)
{
    size_t len = c->dim * sizeof(float), done = 0;
    if (!c->has_vectors)
        return 0;
    if (c->vec_fd < 0) {
        memcpy((void *)(uintptr_t)core_vector(c, id), v, len);
        if (c->save)
            save_keep_vector(c->save, id, v);
        return 0;
    }
    /* By write and not through the mapping: a full disk is an error here and a signal there. */
    off_t at = (off_t)(VECTORS_HEADER + (uint64_t)id * c->vec_stride);
    if (fault("graph.vectors.write"))
        return LT_ENOSPC;
    while (done < len) {
        ssize_t n = pwrite(c->vec_fd, (const char *)v + done, len - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_from_errno(n < 0 ? errno : EIO);
        done += (size_t)n;
    }
    if (c->vec_end < (uint64_t)at + len)
        c->vec_end = (uint64_t)at + len;
    return 0;
}

/* ---- label lookup ---- */

static inline uint32_t hash_of(uint64_t label)
{
    label = (label ^ label >> 32) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(label >> 32);
}

uint32_t core_find(const struct core *c, uint64_t label)
{
    struct hash *h = atomic_load_explicit(&((struct core *)c)->hash, memory_order_acquire);
    uint32_t at = hash_of(label), n_slots = core_n_slots(c);
    for (uint32_t i = 0; i <= h->mask; i++) {
        uint32_t v = atomic_load_explicit(&h->slots[(at + i) & h->mask], memory_order_acquire);
        if (v == HASH_EMPTY)
            break;
        if (v != HASH_GONE && v - 1 < n_slots && core_head(c, v - 1)->label == label)
            return v - 1;
    }
    return ID_NONE;
}

void core_find_ahead(const struct core *c, uint64_t label)
{
    const struct hash *h = atomic_load_explicit(&((struct core *)c)->hash, memory_order_acquire);
    __builtin_prefetch((const void *)&h->slots[hash_of(label) & h->mask]);
}

uint32_t core_find_first(const struct core *c, uint64_t label)
{
    const struct hash *h = atomic_load_explicit(&((struct core *)c)->hash, memory_order_acquire);
    uint32_t v = atomic_load_explicit(&h->slots[hash_of(label) & h->mask], memory_order_acquire);
    return v != HASH_EMPTY && v != HASH_GONE && v - 1 < core_n_slots(c) ? v - 1 : ID_NONE;
}

uint32_t core_find_live(const struct core *c, uint64_t label)
{
    uint32_t id = core_find(c, label);
    return id != ID_NONE && node_state(core_head(c, id)) == NODE_LIVE ? id : ID_NONE;
}

void hash_put(struct hash *h, uint64_t label, uint32_t id)
{
    const uint32_t at = hash_of(label);
    for (uint32_t i = 0; i <= h->mask; i++) { /* to the end only in a damaged table: the node is not found by its label then */
        _Atomic uint32_t *slot = &h->slots[(at + i) & h->mask];
        uint32_t v = atomic_load_explicit(slot, memory_order_relaxed);
        if (v != HASH_EMPTY && v != HASH_GONE)
            continue;
        h->n_used += v == HASH_EMPTY;
        atomic_store_explicit(slot, id + 1, memory_order_release);
        return;
    }
}

int core_hash_reserve(struct core *c, uint32_t n)
{
    struct hash *old = atomic_load(&c->hash);
    if (old && ((uint64_t)old->n_used + n - 1) * 8 < (uint64_t)old->mask * 5)
        return 0;
    uint64_t size = 64, live = (uint64_t)atomic_load(&c->n_live) + n;
    while (size < 3 * live)
        size *= 2;
    struct hash *h = calloc(1, sizeof *h);
    if (h)
        h->slots = calloc(size, sizeof *h->slots);
    if (!h || !h->slots) {
        free(h);
        return LT_ENOMEM;
    }
    h->mask = (uint32_t)(size - 1);
    for (uint32_t i = 0; old && i <= old->mask; i++) {
        uint32_t v = atomic_load_explicit(&old->slots[i], memory_order_relaxed);
        /* More entries than live nodes only in a damaged table; never overfill. */
        if (v != HASH_EMPTY && v != HASH_GONE && v - 1 < core_n_slots(c) && h->n_used < h->mask / 2)
            hash_put(h, core_head(c, v - 1)->label, v - 1);
    }
    if (old && core_retire_reserve(c, 1) < 0) {
        free((void *)h->slots);
        free(h);
        return LT_ENOMEM;
    }
    atomic_store_explicit(&c->hash, h, memory_order_release);
    if (old)
        (void)core_retire(c, ID_NONE, old, hash_drop);
    return 0;
}

void core_hash_put(struct core *c, uint64_t label, uint32_t id)
{
    hash_put(atomic_load(&c->hash), label, id);
}

static void entry_change(struct core *c, uint64_t label, uint32_t id, uint32_t value)
{
    struct hash *h = atomic_load(&c->hash);
    uint32_t at = hash_of(label);
    for (uint32_t i = 0; i <= h->mask; i++) {
        _Atomic uint32_t *slot = &h->slots[(at + i) & h->mask];
        uint32_t v = atomic_load_explicit(slot, memory_order_relaxed);
        if (v == HASH_EMPTY)
            return;
        if (v == id + 1) {
            atomic_store_explicit(slot, value, memory_order_release);
            return;
        }
    }
}

void core_hash_drop(struct core *c, uint64_t label, uint32_t id)
{
    entry_change(c, label, id, HASH_GONE);
}

void core_hash_move(struct core *c, uint64_t label, uint32_t from, uint32_t to)
{
    entry_change(c, label, from, to + 1);
}
