/* Ranked lists, and their fusion by reciprocal rank. No I/O. */
#ifndef INDEX_FUSE_H
#define INDEX_FUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Groups by key and orders by score.
 *
 * lists    1 or 2 sorted lists; NULL where there is none
 * weights  of each list in the fusion; one list alone keeps its own scores
 * out      room for the sum of their lengths; the chunk of a group is the one that ranked best
 * Returns how many there are, or LT_ENOMEM. */
int fuse(const struct topk *const lists[2], const float weights[2], struct ranked *out);

#endif
