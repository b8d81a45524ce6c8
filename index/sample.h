/* Searches that are repeated exactly, to see how much the graphs find; private to index/. See index_sample in index/index.h.
 *
 * Only rows count that were in the graph when the search came and are there still, so writes in between do no harm. */
#ifndef INDEX_SAMPLE_H
#define INDEX_SAMPLE_H

#include <pthread.h>
#include <stdint.h>

#include "index/graph.h"

#define SAMPLE_WINDOW 256u /* samples that a collection's recall is made of: the last ones */

struct allowed;
struct collection;
struct index;
struct index_collection;
struct index_params;
struct sample;

/* Those that wait. Thread-safety: safe. */
struct samples {
    uint32_t every;   /* 0: none is taken */
    uint64_t vectors; /* to compare with, at most */
    pthread_mutex_t lock;
    struct sample *first;
    unsigned n;
    uint64_t rng;
};

/* A collection's last samples. Under the index's lock. */
struct recall {
    uint32_t n; /* ever */
    uint16_t found[SAMPLE_WINDOW], want[SAMPLE_WINDOW];
};

void samples_init(struct samples *s, const struct index_params *p);
/* Forgets those that wait. */
void samples_finish(struct samples *s);

/* A search's look at a graph. The vector, the hits and the filter are copied, or counted, where it is taken. */
struct sample_offer {
    struct collection *c;
    const float *v;
    struct allowed *allowed; /* NULL: none */
    const struct graph_hit *hits; /* n of them, best first */
    size_t n;
    uint64_t graph_seq; /* rows up to here were in the graph for sure */
};
/* Takes every so-manieth of a collection, while few wait; true: taken. Never blocks for long, never fails. */
bool samples_offer(struct samples *s, const struct sample_offer *o);

/* Under the index's lock. */
void recall_describe(const struct recall *r, struct index_collection *out);

#endif
