/* The graph's files: writing a checkpoint, and mapping one. The format is index/FORMAT.md, "Graph files".
 * Thread-safety: unsafe; the graph's writer. */
#ifndef INDEX_SEGMENT_H
#define INDEX_SEGMENT_H

#include <stdint.h>

#include "index/graph.h"

#define VECTORS_HEADER 4096u /* bytes before the first exact vector */

struct graph;
struct core;
struct segment;

/* Maps what g->dir's manifest names into a new *c, or makes an empty one and says in rep why. Fills g->gen, g->covered_seq,
 * g->n_saved and g->bytes_on_disk. Only trouble with the folder itself is an error. */
int segment_load(struct graph *g, struct core **c, struct graph_report *rep, struct err_msg *em);

/* Verifies every checksum of the current files. */
int segment_check(const struct graph *g, struct graph_report *rep);

/* Adds a problem to a report. */
void report_problem(struct graph_report *rep, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Accepts NULL and NULL within. */
void segment_unmap(struct segment **s);

#endif
