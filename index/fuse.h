/* Ranked lists, and their fusion by reciprocal rank or by standard scores. No I/O. */
#ifndef INDEX_FUSE_H
#define INDEX_FUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "index/index.h"

/* One candidate of a list. */
struct ranked {
    uint64_t chunk;
    uint64_t key; /* what hits are grouped by: the document, or the chunk again */
    float score;
};

/* The best `cap` of what was pushed. Thread-safety: unsafe. */
struct topk {
    struct ranked *items; /* owned; a heap, worst first, until topk_sort */
    size_t n, cap;
};
int topk_init(struct topk *t, size_t cap);
void topk_finish(struct topk *t);
void topk_push(struct topk *t, uint64_t chunk, float score);
/* Best first; equal scores by chunk, so that results are repeatable. One chunk keeps its best score. */
void topk_sort(struct topk *t);

#define FUSE_K 60.0f /* Cormack, Clarke and Büttcher's constant */

/* By score: how many standard deviations a score lies above the mean of its list's first FUSE_DEPTH. One that is not in a list is taken to lie
 * FUSE_ABSENT below it, or at 0 where no score of that list is less and this is nearer; what lies there or below gains nothing. */
#define FUSE_DEPTH 100
#define FUSE_ABSENT 3.0

struct fusion {
    enum index_fusion by;
    float weights[2]; /* of each list; one list alone keeps its own scores */
    /* Where a list's scores are 0 or more, and those that it leaves out as long as it is not full have 0: how many there are with those (the mean and
     * the deviation are of the first FUSE_DEPTH of them). 0: such scores may be anything. */
    size_t n_all[2];
};

/* Groups by key and orders by score.
 *
 * lists    1 or 2 sorted lists; NULL where there is none
 * out      room for the sum of their lengths; the chunk of a group is the one that gained most
 * Returns how many there are, or LT_ENOMEM. */
int fuse(const struct topk *const lists[2], const struct fusion *f, struct ranked *out);

#endif
