/* A save in progress: the state of a graph at one moment goes to the disk in bites, while the graph goes on changing between them.
 *
 * The moment is that of save_snapshot: the segment's header is made then. Whoever changes a node's record or an upper block says so
 * first (core_touch), and the first time since the moment what it was then goes into the segment's file at its place, unless it is
 * there already; when the bite comes along that writes that place it takes it from there. So the file gets one moment's graph,
 * and memory holds besides: two bits a node and block, a label lookup of 12 to 24 bytes a live node, 4 bytes a free slot, and one run (segment_out.h).
 * Exact vectors never change while a save or a checkpoint names their slot.
 *
 * Waiting for the disk is an errand's (errand.h). Order on the disk: exact vectors, segment, manifest, each synced before the next.
 *
 * Private to graph_*.c and segment*.c. Thread-safety: the graph's writer; save_keep_… also those who insert for it. */
#ifndef INDEX_GRAPH_SAVE_H
#define INDEX_GRAPH_SAVE_H

#include "index/errand.h"
#include "index/graph_int.h"
#include "index/segment.h"
#include "index/segment_out.h"

#define SAVE_BITE (4u << 20) /* bytes: some milliseconds; half of what is sent to the disk at a time */

enum save_phase {
    SAVE_SWEEP,    /* links to dead nodes go */
    SAVE_NODES_TO, /* whole: nodes into a core without free slots, … */
    SAVE_LINKS_TO, /* … and their links */
    SAVE_SNAPSHOT, /* whole; else at the end of the first */
    SAVE_VECTORS,  /* from here on the moment is fixed */
    SAVE_NODES,
    SAVE_UPPER,
    SAVE_HASH,
    SAVE_FREE,
    SAVE_MANIFEST,
    SAVE_END,  /* the new files are current */
    SAVE_MOVE, /* the graph moves to them */
    SAVE_DONE,
};

/* What is on its way to the disk: windows up to `done`, and those an errand takes up to `to`. */
struct pacer {
    int fd;
    uint64_t done, to;
};

struct save {
    enum save_phase phase;
    bool whole;
    uint32_t bite; /* bytes */
    struct graph *g;
    struct core *from;  /* whole: what is copied */
    struct core *c;     /* what is written */
    uint64_t gen;       /* of its files; 0: none yet */
    uint64_t n_changes; /* of the graph, at the moment; whole: when it began */
    uint32_t at;        /* slot, block … the phase has come to; SAVE_SWEEP: nodes left */
    uint32_t *new_of;   /* whole: slots in c of the n_from in from */
    uint32_t n_from;

    struct segment_header h;
    struct segment_layout l;
    struct segment_manifest m;
    uint32_t n_held;     /* of c->held, then */
    uint32_t n_node, n_block; /* the first that is not written yet */
    _Atomic uint64_t *nodes, *blocks; /* bits: changed since */
    uint64_t *dead;      /* bits: dead, then; NULL: none was */
    uint8_t *record;     /* room for one */
    struct hash lookup;  /* of the file */
    struct id_list free;
    struct seg_out out;
    int vec_fd;          /* of the file that gets vectors so far in memory; -1: none */
    atomic_int kept;     /* 0, or what went wrong when something was kept */

    struct errand errand;
    struct pacer vec_pace, seg_pace;
    struct err_msg errand_em; /* the errand's until it is over, like the next two */
    bool swept;               /* files that are not current went */
    uint64_t gen_max, bytes;  /* of those that stay */

    struct segment *to; /* the mapping the graph moves to */
};

/* Of s->nodes or s->blocks */
static inline bool save_bit(const _Atomic uint64_t *bits, uint32_t i)
{
    return atomic_load_explicit(&bits[i >> 6], memory_order_relaxed) >> (i & 63) & 1;
}

/* The state at the moment of a record or block that is about to change goes into the file. */
void save_keep_node(struct save *s, uint32_t id);
void save_keep_block(struct save *s, uint32_t block);
/* Vectors in memory: those put meanwhile go into the new file as well. */
void save_keep_vector(struct save *s, uint32_t id, const float *v);

/* segment_write.c. Errors: as graph_checkpoint. */
/* Fixes the moment: header, memory, the segment's file and, where vectors are in memory, theirs. vectors_gen: of the file
 * that they are in already. */
int save_snapshot(struct save *s, uint64_t vectors_gen, uint64_t seq, struct err_msg *em);
/* One bite of the phase that s is in, SAVE_VECTORS to SAVE_FREE; moves on to the next phase. */
int save_write(struct save *s, struct err_msg *em);
/* Sends whole windows of a file, up to `to`, on their way to the disk; no errand runs. */
void save_paces(struct save *s, struct pacer *p, int fd, uint64_t to);
/* Puts the vectors' file in the place of memory. */
int save_adopt_vectors(struct save *s);

/* graph_compact.c: bites of those phases; they move on to the next one. Errors: LT_ECORRUPT, LT_ENOMEM, LT_ENOSPC, LT_EIO. */
int save_nodes_to(struct save *s, struct err_msg *em);
int save_links_to(struct save *s, struct err_msg *em);

/* graph_move.c */
/* Maps the file just written; false: the graph stays where it is. */
bool save_move_begin(struct save *s);
/* One bite; true: all of it has moved. */
bool save_move(struct save *s);

#endif
