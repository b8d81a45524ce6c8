/* The graph's files: writing a checkpoint, and mapping one. The format is index/FORMAT.md, "Graph files".
 * Thread-safety: unsafe; the graph's writer. */
#ifndef INDEX_SEGMENT_H
#define INDEX_SEGMENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "index/graph.h"

#define SEGMENT_HEADER 4096u  /* bytes before the first node */
#define SEGMENT_BLOCK 65536u  /* bytes per checksum */
#define VECTORS_HEADER 4096u  /* bytes before the first exact vector */
#define SEGMENT_LEVELS 32u
#define SEGMENT_PATH 4200u

struct graph;
struct core;
struct segment;

/* What a segment's first page says. Numbers are bytes or counts; offsets follow from them (segment_layout). */
struct segment_header {
    uint64_t gen, vectors_gen; /* vectors_gen 0: no file of exact vectors */
    uint64_t seq;
    uint32_t dim, metric, m, codes;
    uint32_t links; /* bytes of each: 3, or 4 where they are wide */
    uint32_t stride, shift, upper_stride, vec_stride;
    uint32_t n_slots, n_upper, n_live, n_free;
    uint32_t entry, root;
    uint32_t hash_mask, hash_used;
    uint32_t level_count[SEGMENT_LEVELS];
};

struct segment_layout {
    uint64_t nodes, upper, hash, free, sums, end; /* offsets in the file */
    uint64_t n_blocks; /* of SEGMENT_BLOCK bytes from nodes to sums, the last one shorter */
};

/* False when the counts do not fit together or are beyond what a graph can have. */
bool segment_layout(const struct segment_header *h, struct segment_layout *l);

/* Packs into, and unpacks and checks, a page of SEGMENT_HEADER bytes. LT_EFORMAT. */
void segment_header_pack(const struct segment_header *h, uint8_t *page);
int segment_header_unpack(struct segment_header *h, const uint8_t *page);
/* The same for the first page of a file of exact vectors. */
void vectors_header_pack(uint64_t gen, uint32_t dim, uint32_t stride, uint8_t *page);
int vectors_header_check(const uint8_t *page, uint64_t gen, uint32_t dim, uint32_t stride);

/* The manifest: which files are current. */
struct segment_manifest {
    uint64_t gen, vectors_gen, seq;
};
/* Errors: LT_ENOTFOUND, LT_EFORMAT (damaged), LT_EVERSION, what segment_open says. */
int segment_manifest_read(const char *dir, struct segment_manifest *m, struct err_msg *em);
int segment_manifest_write(const char *dir, const struct segment_manifest *m, struct err_msg *em);

/* "DIR/segment-….seg", "DIR/vectors-….vec"; out has SEGMENT_PATH bytes. */
void segment_path(char *out, const char *dir, uint64_t gen);
void vectors_path(char *out, const char *dir, uint64_t gen);

/* Opens a graph's file: its descriptor. Errors: LT_EPERM, LT_ELIMIT (too many open files, no memory for one): it is refused to this process,
 * whatever is in it, which is no damage (segment_refused); LT_ENOTFOUND, LT_EIO … */
int segment_open(const char *path, int flags, struct err_msg *em);
/* So is what there is no memory to map, LT_ENOMEM. */
bool segment_refused(int result);

/* Is a file in a graph's folder one of ours, by its name? */
bool segment_is_ours(const char *name);

/* Deletes our files in dir that the manifest does not name (NULL: all of ours, the manifest too); counts into rep; *gen_max is the
 * largest generation seen; *bytes what stays takes on disk. */
int segment_sweep_dir(const char *dir, const struct segment_manifest *keep, struct graph_report *rep,
                      uint64_t *gen_max, uint64_t *bytes, struct err_msg *em);

/* Maps what g->dir's manifest names into a new *c, or makes an empty one and says in rep why. Fills g->gen, g->covered_seq,
 * g->n_saved and g->bytes_on_disk. Only trouble with the folder itself is an error, and a file that is refused: nothing is deleted then. */
int segment_load(struct graph *g, struct core **c, struct graph_report *rep, struct err_msg *em);

/* Makes the file of exact vectors that c, still empty, puts its vectors into. Errors: LT_ENOSPC, LT_EIO; nothing stays. */
int segment_vectors_create(const char *dir, uint64_t gen, struct core *c, struct err_msg *em);

/* Verifies every checksum of the current files. */
int segment_check(const struct graph *g, struct graph_report *rep);

/* The verifier's look at each of the next nodes after *at, max of them or until then, wrapping around. LT_ECORRUPT and a report. */
int graph_check_some(const struct graph *g, uint32_t *at, uint32_t max, uint64_t until_ns, struct graph_report *rep);

/* Adds a problem to a report. */
void report_problem(struct graph_report *rep, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A segment's file mapped privately, so that changes stay in memory; NULL: no memory. lost as for guard_add. */
struct segment *segment_map_file(int fd, size_t len, atomic_bool *lost);
uint8_t *segment_base(const struct segment *s);
/* Where memory is short: no page of it is read but those that are asked for. NULL is accepted. */
void segment_sparing(struct segment *s);
/* True when p lies in it. */
bool segment_has(const struct segment *s, const uint8_t *p);
/* A former mapping that something may still lead to goes when s does. */
void segment_keep(struct segment *s, struct segment *former);
/* Accepts NULL and NULL within. */
void segment_unmap(struct segment **s);

#endif
