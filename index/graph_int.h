/* The graph's inside: how nodes lie in memory, shared by graph*.c and segment.c.
 *
 * A node is a fixed-size record: sketch, code, head, links of level 0 (not every kind of graph has both of the first). What is
 * read for a distance lies together, and all is as short as can be, since a walk is bound by the memory it reads. Records live
 * in chunks that never move; a directory of chunks finds them. A chunk is anonymous memory or a private (copy on write) mapping
 * of the segment file, which has the same layout, so that opening parses nothing and writing needs no second form. Links above
 * level 0 are blocks in a second set of chunks.
 *
 * Publication: the writer fills a record, then stores its id into neighbours' lists with release order; readers load ids
 * with acquire order, so whatever id they hold has a complete record. A list carries its length and a version in one word
 * (graph_list.h); the writer makes the version odd while it rearranges, and every intermediate state holds all links that are
 * in both the old and the new list, so that even a reader that gives up retrying misses nothing that stays.
 *
 * Reachability: besides HNSW's links, level 0 holds a tree: every live node but the root has one parent whose link to it is
 * marked and survives all shrinking. Removal hands the children on. Searches put the root among their candidates,
 * so no live node is ever out of reach, whatever the heuristic dropped.
 *
 * Removal: a node turns DEAD at once (not returned any more) but stays a stepping stone until a sweep over all lists has
 * replaced the links to it; then, when no search from before is left, its slot is free.
 */
#ifndef INDEX_GRAPH_INT_H
#define INDEX_GRAPH_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>

#include "index/distance.h"
#include "index/graph.h"
#include "index/graph_epoch.h"
#include "index/graph_list.h"
#include "index/sketch.h"

#define ID_NONE UINT32_MAX
#define LEVEL_MAX 31u
#define CHUNKS_MAX (1u << 19)
#define UPPER_SHIFT 10u /* blocks per chunk of upper lists */
#define ID_LIMIT 0x7FFFFFF0u /* of wide links; of short ones GRAPH_SHORT_MAX */
#define HASH_EMPTY 0u
#define HASH_GONE UINT32_MAX

enum node_state { NODE_FREE = 0, NODE_LIVE = 1, NODE_DEAD = 2, NODE_NEW = 3 };

/* After the code in each record. On disk as in memory. The list of level 0 begins with the last field, and its links where the
 * structure's padding is. */
struct node_head {
    _Atomic uint64_t label; /* a scan may look at a slot that is just being reused */
    float norm2;      /* squared length of what the code stands for */
    uint32_t vec_sum; /* low half of the XXH3 of the exact vector */
    uint32_t place;   /* on level 0 only: the parent in the tree, ID_NONE: the root, or not live, and writer only;
                       * else the first of `level` upper blocks, which has the parent */
    uint16_t scale;   /* of the code: the upper half of an f32, whose lower one is zero */
    _Atomic uint8_t state;
    uint8_t level;
    _Atomic uint32_t list; /* length and version */
};
#define NODE_LIST_AT 24u
_Static_assert(offsetof(struct node_head, list) == NODE_LIST_AT, "a record's head is part of the file format");
#define UPPER_LIST_AT 4u /* bytes of an upper block before its list: the parent, in the first of a node's */

/* label → id, open addressing: id + 1, HASH_EMPTY or HASH_GONE. The label itself is in the record. */
struct hash {
    _Atomic uint32_t *slots;
    uint32_t mask;   /* size - 1 */
    uint32_t n_used; /* not HASH_EMPTY. Writer only */
    bool mapped;     /* slots are part of the segment's mapping */
};

struct retired {
    uint64_t stamp;
    uint32_t id;        /* a node's slot, when ptr is NULL */
    void *ptr;          /* else memory */
    void (*drop)(void *ptr);
};

struct id_list {
    uint32_t *ids;
    uint32_t n, cap;
};

enum chunk_kind { CHUNK_NODES, CHUNK_UPPER, CHUNK_VECTORS, CHUNK_KINDS };

struct segment; /* segment.h */
struct save;    /* graph_save.h */

/* Everything a search looks at. A compaction builds another one and swaps it in. */
struct core {
    /* fixed at creation */
    uint32_t dim, m, m0, sketch_bytes, code_bytes, stride, shift, mask, upper_stride, vec_stride;
    uint32_t head_at; /* in a record */
    bool by_sketch;   /* walks look at sketches alone; else, where there are any, at the codes of nodes that sketches do not rule out */
    bool wide;        /* links have room for more than GRAPH_SHORT_MAX nodes */
    enum metric metric;
    enum graph_codes codes;
    const struct distance *kernel;
    bool has_vectors; /* not f32 codes: exact vectors lie in their own file or memory */

    _Atomic(uint8_t *) *dir;       /* chunks of nodes */
    _Atomic(uint8_t *) *upper_dir; /* chunks of upper lists */
    _Atomic(uint8_t *) *vec_dir;   /* chunks of exact vectors */
    _Atomic uint32_t n_slots, n_upper;
    _Atomic uint32_t entry, root; /* ID_NONE: empty */
    _Atomic uint32_t n_live, n_dead;
    _Atomic(struct hash *) hash;
    _Atomic uint32_t n_replaced; /* counts up twice for each label that gets a new node */

    /* writer only */
    uint32_t level_count[LEVEL_MAX + 1]; /* live nodes by level */
    struct id_list free_slots[LEVEL_MAX + 1];
    struct id_list held;  /* free, but the last checkpoint, or a save under way, still names their exact vectors */
    struct id_list dead;  /* waiting for a sweep; the first n_sweep are in the one that runs */
    uint32_t n_sweep, sweep_at;
    struct retired *retired;
    uint32_t n_retired, cap_retired;
    struct segment *seg; /* the mapping some chunks lie in; NULL: all anonymous */
    uint32_t seg_slots;  /* slots that the checkpoint on disk names */
    uint32_t save_slots; /* slots that a save under way will name */
    struct save *save;   /* that wants to know what changes; NULL: none. Set while nobody inserts */
    struct slab *slabs;  /* anonymous memory */
    struct slab *filling[CHUNK_KINDS]; /* of them, where the next chunk of a kind goes; NULL: in a new one */
    atomic_bool full;    /* short links, and no number left for a node that was to come */
    atomic_bool lost;    /* a mapped file lacks bytes that were there: zeros are read instead (base/guard.h) */
    int vec_fd;          /* -1: exact vectors in anonymous memory */
    uint64_t vec_end;    /* bytes that its file has at least */
    uint32_t n_vec_chunks;
    struct core *next_old; /* once another one has taken its place */
    uint64_t old_stamp;
};

struct cand {
    float d;
    uint32_t id;
};

/* A query or a node, ready to be compared with others. */
struct probe {
    const float *v;             /* against exact vectors; NULL: against what is in the nodes */
    struct sketch_query sketch; /* against sketches; .planes NULL: they are not looked at */
    const int8_t *q;            /* against int8 codes; NULL: they are not looked at */
    int32_t bias;
    float scale, norm2;
};

/* While several threads insert, each holds the lock of the one node whose list it changes, or whose children it looks at. Nodes share
 * locks; nobody holds two. */
#define NODE_LOCKS 1024u
struct node_locks {
    pthread_mutex_t of[NODE_LOCKS];
};

/* A node about to be expanded: its neighbours that were not visited, and their records. Or, without id, nodes about to be compared. */
struct ahead {
    uint32_t id, n; /* id ID_NONE: nothing */
    uint32_t ids[2 * GRAPH_M_MAX + 8];
    const uint8_t *at[2 * GRAPH_M_MAX + 8];
};

#define TOUCHED_MAX 8192u

struct graph_scratch {
    struct epoch_reader reader;
    uint64_t *visited; /* one bit per slot */
    size_t visited_words;
    uint32_t n_touched; /* visited since the last reset; more than TOUCHED_MAX are not all noted */
    uint32_t touched[TOUCHED_MAX + 1];
    struct cand *pool, *heap; /* pool: sorted; heap: candidates of filtered searches */
    size_t pool_cap, heap_cap;
    int8_t *query, *pair; /* prepared queries: the search's, and a neighbour's */
    uint8_t *planes;      /* the search's against sketches */
    float *query_f32, *rotated;
    size_t query_cap; /* of those five */
    uint64_t n_distances;
    struct node_locks *locks; /* NULL: nobody else changes the graph */
    uint32_t links[2 * GRAPH_M_MAX + 8];
    uint32_t batch[2 * GRAPH_M_MAX + 8];
    const uint8_t *batch_at[2 * GRAPH_M_MAX + 8]; /* their records */
    float batch_d[2 * GRAPH_M_MAX + 8];
    struct ahead ahead, late;
};

struct graph {
    _Atomic(struct core *) core;
    struct graph_params p; /* defaults filled in */
    char *dir;             /* NULL: in memory */
    double level_mult;
    uint64_t rng;
    struct graph_scratch *scratch; /* the writer's */
    struct graph_scratch *helpers[GRAPH_THREADS_MAX - 1]; /* its threads'; NULL: none yet */
    struct node_locks *locks;      /* NULL: not needed yet */
    _Atomic uint64_t n_changes, covered_seq, bytes_on_disk;
    uint64_t gen;      /* of the newest file name */
    uint64_t vectors_gen; /* of the exact vectors' file; 0: none yet */
    uint64_t n_saved;  /* live nodes at the last checkpoint */
    bool lean;         /* graph_set_lean */
    bool forsaken;     /* graph_forsake */
    uint32_t scrub_at; /* next block */
    uint32_t scrub_vector; /* slot whose exact vector graph_scrub compared last */
    uint32_t scrub_node;   /* slot whose links it looked at last */
    pthread_mutex_t *swap; /* held for the moment of replacing core, and by those who look at its figures outside of a search */
    struct core *old;      /* replaced, perhaps still searched */
    struct save *save;     /* under way; NULL: none */
};

/* Calls for what lies there. */
static inline void prefetch(const void *p, size_t len)
{
    for (size_t i = 0; i < len; i += 64)
        __builtin_prefetch((const char *)p + i);
}

static inline struct core *graph_core(const struct graph *g)
{
    return atomic_load_explicit(&((struct graph *)g)->core, memory_order_acquire);
}

/* ---- records ---- */

static inline uint8_t *core_record(const struct core *c, uint32_t id)
{
    uint8_t *chunk = atomic_load_explicit(&c->dir[id >> c->shift], memory_order_acquire);
    return chunk + (size_t)(id & c->mask) * c->stride;
}

static inline uint8_t *core_code(const struct core *c, uint32_t id)
{
    return core_record(c, id) + c->sketch_bytes;
}

static inline struct node_head *core_head(const struct core *c, uint32_t id)
{
    return (struct node_head *)(void *)(core_record(c, id) + c->head_at);
}

static inline float node_scale(const struct node_head *h)
{
    uint32_t bits = (uint32_t)h->scale << 16;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* level 0's list, always within the record. */
static inline struct list core_list(const struct core *c, uint32_t id)
{
    return (struct list){&core_head(c, id)->list, c->m0, c->wide, true};
}

/* The block of a level above 0; NULL when the record names one that does not exist (a damaged file). */
static inline uint8_t *core_block(const struct core *c, uint32_t id, uint32_t level)
{
    const struct node_head *h = core_head(c, id);
    if (!level || level > h->level)
        return NULL;
    uint32_t block = h->place + level - 1;
    if (h->place > ID_LIMIT || block >= atomic_load_explicit(&c->n_upper, memory_order_acquire))
        return NULL;
    uint8_t *chunk = atomic_load_explicit(&c->upper_dir[block >> UPPER_SHIFT], memory_order_acquire);
    return chunk + (size_t)(block & ((1u << UPPER_SHIFT) - 1)) * c->upper_stride;
}

/* The list of any level; its word is NULL where there is none. */
static inline struct list core_links(const struct core *c, uint32_t id, uint32_t level)
{
    if (!level)
        return core_list(c, id);
    uint8_t *block = core_block(c, id, level);
    return (struct list){block ? (_Atomic uint32_t *)(void *)(block + UPPER_LIST_AT) : NULL, c->m, c->wide, false};
}

/* Where a node's parent is noted; NULL in a damaged file. Writer only. */
static inline uint32_t *core_parent_at(const struct core *c, uint32_t id)
{
    struct node_head *h = core_head(c, id);
    return h->level ? (uint32_t *)(void *)core_block(c, id, 1) : &h->place;
}

static inline uint32_t core_parent(const struct core *c, uint32_t id)
{
    const uint32_t *at = core_parent_at(c, id);
    return at ? *at : ID_NONE;
}

/* Before a node's record changes, or its list of a level above 0: a save under way may want what it was. Under the node's lock, where
 * several insert. */
void save_keep_node(struct save *s, uint32_t id);
void save_keep_block(struct save *s, uint32_t block);
static inline void core_touch(const struct core *c, uint32_t id, uint32_t level)
{
    if (!c->save)
        return;
    const struct node_head *h = core_head(c, id);
    if (!level)
        save_keep_node(c->save, id);
    else if (level <= h->level && h->place <= ID_LIMIT)
        save_keep_block(c->save, h->place + level - 1);
}

static inline void core_set_parent(struct core *c, uint32_t id, uint32_t parent)
{
    uint32_t *at = core_parent_at(c, id);
    core_touch(c, id, core_head(c, id)->level ? 1 : 0);
    if (at)
        *at = parent;
}

static inline void node_lock(const struct graph_scratch *s, uint32_t id)
{
    if (s->locks)
        pthread_mutex_lock(&s->locks->of[id % NODE_LOCKS]);
}

static inline void node_unlock(const struct graph_scratch *s, uint32_t id)
{
    if (s->locks)
        pthread_mutex_unlock(&s->locks->of[id % NODE_LOCKS]);
}

static inline const float *core_vector(const struct core *c, uint32_t id)
{
    if (!c->has_vectors)
        return (const float *)(const void *)core_code(c, id);
    uint8_t *chunk = atomic_load_explicit(&c->vec_dir[id >> c->shift], memory_order_acquire);
    return (const float *)(const void *)(chunk + (size_t)(id & c->mask) * c->vec_stride);
}

static inline uint32_t core_n_slots(const struct core *c)
{
    return atomic_load_explicit(&c->n_slots, memory_order_acquire);
}

static inline enum node_state node_state(const struct node_head *h)
{
    return (enum node_state)atomic_load_explicit(&h->state, memory_order_acquire);
}

/* graph.c */
/* Puts c, which goes over, in the place of g's core. */
void graph_swap(struct graph *g, struct core *c);
/* Destroys replaced cores that no search is in any more. */
void graph_reclaim(struct graph *g);

/* graph_core.c: memory, slots, lookup. */
struct core *core_create(const struct graph_params *p);
/* Lays out records and blocks for short or wide links; only while there are none. */
void core_set_links(struct core *c, bool wide);
void core_destroy(struct core *c);
/* A slot for a node of this level: state NODE_NEW, empty lists. LT_ENOMEM, LT_ELIMIT, LT_EIO. */
int core_alloc(struct core *c, uint32_t level, uint32_t *id);
/* Gives back a slot that no list names and no reader can hold. */
void core_release(struct core *c, uint32_t id);
int core_retire(struct core *c, uint32_t id, void *ptr, void (*drop)(void *));
int core_retire_reserve(struct core *c, uint32_t n);
/* Gives back the memory of a slab's chunk that something else has taken the place of, once nobody can read it; its addresses stay the
 * slab's. */
void core_retire_chunk(struct core *c, uint8_t *chunk, size_t len);
/* Puts what has become quiet to use again. */
void core_reclaim(struct core *c);
/* Maps or makes the chunks of exact vectors up to `chunk`; chunks come in order. */
int core_map_vectors(struct core *c, uint32_t chunk);
int core_put_vector(struct core *c, uint32_t id, const float *v);
uint32_t core_find(const struct core *c, uint64_t label); /* ID_NONE */
/* For many labels in turn: calls for the place where label is looked up; and, once that is there, the node that is probably its, so
 * that it can be called for; ID_NONE: unknown. */
void core_find_ahead(const struct core *c, uint64_t label);
uint32_t core_find_first(const struct core *c, uint64_t label);
uint32_t core_find_live(const struct core *c, uint64_t label);
/* Room for n more labels. */
int core_hash_reserve(struct core *c, uint32_t n);
void core_hash_put(struct core *c, uint64_t label, uint32_t id);
void core_hash_drop(struct core *c, uint64_t label, uint32_t id);
/* Points label's existing entry at another id, in one store. */
void core_hash_move(struct core *c, uint64_t label, uint32_t from, uint32_t to);
bool id_list_push(struct id_list *l, uint32_t id);
/* Into a table with room for it. */
void hash_put(struct hash *h, uint64_t label, uint32_t id);
void hash_drop(void *hash);

/* graph_links.c: distances, and choosing neighbours. */
/* out[i] = distance of the probe to ids[i] (all valid); smaller is nearer. By exact vectors, codes or sketches, the first of
 * them that the probe has. */
void core_distances(const struct core *c, const struct probe *p, const uint32_t *ids, uint32_t n,
                    float *out);
/* The same by their records, for a probe without exact vector. */
void core_distances_at(const struct core *c, const struct probe *p, const uint8_t *const *at, uint32_t n, float *out);
/* Takes out of ids, and of their records, those that are likely to be farther than `limit` by their sketches. Returns how many are
 * left. */
uint32_t core_filter(const struct core *c, const struct probe *p, uint32_t *ids, const uint8_t **at, uint32_t n, float limit);
/* A node against others, as exactly as the graph allows without reading exact vectors of int8 nodes. */
void core_probe(const struct core *c, uint32_t id, int8_t *room, struct probe *p);
/* The prepared vector in s->query_f32 against nodes that are walked over: by the least that tells them apart. Uses s->query,
 * s->planes, s->rotated, s->pair. */
void core_probe_query(const struct core *c, struct graph_scratch *s, struct probe *p);
/* The same against their int8 codes. Uses s->query, s->pair. */
void core_probe_codes(const struct core *c, struct graph_scratch *s, struct probe *p);
/* HNSW's neighbour selection: from n candidates, nearest first, at most max that are nearer to the probe's node than to
 * each one already chosen. Candidates with LINK_CHILD are always kept. Reorders c in place; returns the number kept. */
uint32_t core_select(const struct core *c, struct graph_scratch *s, struct cand *cands, uint32_t n,
                     uint32_t max);
/* Adds to a node's n links, up to max of them, from candidates that are none of them yet, nearest first: those that are nearer to the node
 * than to every link, of the first few that are not so, then the nearest until three quarters are filled. Returns the number of links. */
uint32_t core_extend(const struct core *c, struct graph_scratch *s, uint32_t *links, uint32_t n, const struct cand *cands, uint32_t n_cands,
                     uint32_t max);
void cand_sort(struct cand *c, uint32_t n);

/* graph_walk.c: traversal. */
int scratch_reserve(struct graph_scratch *s, const struct core *c, uint32_t ef);
void walk_reset(struct graph_scratch *s, const struct core *c);
/* Marks id, which is below s->visited_words * 64, as visited; false when it was already. */
static inline bool walk_visit(struct graph_scratch *s, uint32_t id)
{
    uint64_t *word = &s->visited[id >> 6], old = *word;
    *word = old | 1ull << (id & 63);
    s->touched[s->n_touched < TOUCHED_MAX ? s->n_touched : TOUCHED_MAX] = id;
    s->n_touched++;
    return !(old >> (id & 63) & 1);
}
/* The links of a list that this walk has not seen, into s->batch and s->batch_at, marked as seen; returns their number. */
uint32_t walk_unvisited(const struct core *c, struct graph_scratch *s, struct list list, bool sketches);
/* Greedy from `at` on one level: the nearest node that steps over links lead to. */
uint32_t walk_greedy(const struct core *c, struct graph_scratch *s, const struct probe *p,
                     uint32_t at, uint32_t level);
/* The ef nearest to the probe on a level, dead and new ones included, sorted, in s->pool; returns their number. */
uint32_t walk_level(const struct core *c, struct graph_scratch *s, const struct probe *p,
                    const uint32_t *starts, uint32_t n_starts, uint32_t level, uint32_t ef);

/* graph_insert.c */
/* Fills the record of a new slot, except for its links. LT_EIO, LT_ENOSPC. */
int node_fill(struct core *c, struct graph_scratch *s, uint32_t id, uint64_t label, const float *v);
/* Checks v and brings it to unit length where the metric wants it. LT_ENAN. */
int vector_prepare(const struct core *c, const float *v, float *out);
/* The steps of an addition. Draws a level; makes a record, without links and state NODE_NEW, with v prepared in the writer's scratch;
 * links it, by s->query_f32, with any thread's scratch; makes it a result of searches; and puts it into lookup and counts. */
uint32_t node_level(struct graph *g);
int node_create(struct graph *g, struct core *c, uint64_t label, const float *v, uint32_t level, uint32_t *id);
void node_insert(struct core *c, struct graph_scratch *s, uint32_t id, uint32_t level, uint32_t ef);
void node_live(struct core *c, uint32_t id);
void node_found(struct graph *g, struct core *c, uint64_t label, uint32_t id);
/* All of it, for a level that was drawn; a label that is there is replaced. */
int node_add(struct graph *g, uint64_t label, const float *v, uint32_t level);

/* graph_tree.c */
/* parent's list holds id already and has room for a child. */
void tree_adopt(struct core *c, uint32_t id, uint32_t parent);
/* Gives id a parent: `under`, or where it has too many children, one below it. */
void tree_attach(struct core *c, struct graph_scratch *s, uint32_t id, uint32_t under);
/* Takes a dead node out of the tree. */
void tree_detach(struct core *c, struct graph_scratch *s, uint32_t id);

/* graph_remove.c */
int remove_reserve(struct core *c); /* so that remove_node cannot fail */
void remove_node(struct core *c, struct graph_scratch *s, uint32_t id);
/* Advances the sweep. */
void remove_sweep(struct core *c, struct graph_scratch *s);
/* A sweep over all lists takes every node that is dead now out of them; then that many nodes are swept at a time, however many others
 * have died since. */
void remove_sweep_begin(struct core *c);
void remove_sweep_some(struct core *c, struct graph_scratch *s, uint32_t n);

#endif
