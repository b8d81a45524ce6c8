/* Fills an empty graph with another program's. */
#ifndef INDEX_GRAPH_IMPORT_H
#define INDEX_GRAPH_IMPORT_H

#include "index/graph.h"
#include "index/hnswlib.h"

/* Elements, levels and links as they are in f, whose M and dimension the graph must have; with f32 codes a search at the same
 * ef then compares what hnswlib's compares. Elements marked as deleted are removed and their neighbours relinked.
 *
 * labels   one for each element (deleted ones too), all different
 *
 * The writer's, before any search. Errors: LT_EINVAL (not empty, or not of f's shape), LT_ENAN (a vector), LT_ENOMEM …; the
 * graph is then of no use and has to be erased. */
int graph_import(struct graph *g, const struct hnswlib_file *f, const uint64_t *labels);

#endif
