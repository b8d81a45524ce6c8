/* Golden sequences and their vectors: what an importer writes into a model file, and what stands in for them where a file has none.
 *
 * Thread-safety: unsafe. */
#ifndef MODEL_GOLDEN_H
#define MODEL_GOLDEN_H

#include "model/engine.h"
#include "model/model.h"

#define GOLDEN_MAX 4
#define GOLDEN_IDS_MAX 64 /* of all together */
#define GOLDEN_BIG_PARAMS 500000000u /* beyond this the reference takes minutes: one short sequence then */

struct golden_plan {
    struct engine_seq seq[GOLDEN_MAX];
    uint32_t n, n_ids;
    int32_t ids[GOLDEN_IDS_MAX];
};

/* How far from its golden vectors a model's device may be. */
struct golden_limit {
    double diff;   /* of a component at most; models without quantised matrices */
    double cosine; /* at least; all others, since the CPU quantises their activations too */
};
struct golden_limit golden_limit(const struct model_info *i);

/* Sequences for a model of n_params weights: lengths and masks of several kinds, ids all over the vocabulary, the same for
 * the same numbers. seq points into the plan. */
void golden_plan(struct golden_plan *p, const struct model_info *i, uint64_t n_params);

/* A model's golden vectors: its file's, else those that the plain C reference computes from the weights as stored, once: kept in
 * the cache folder under the model's fingerprint. */
struct golden_set {
    const struct model_golden *golden; /* n of them */
    size_t n;
    /* owned, where the file has none */
    struct golden_plan plan;
    struct model_golden own[GOLDEN_MAX];
    float *vectors;
};

/* cache_dir  NULL: computed each time
 * progress   called with 0…1 while they are computed; may be NULL
 *
 * Ownership: freed by golden_finish; m must outlive it.
 * Blocks: seconds to a minute for a file without vectors that is met for the first time.
 * Errors: LT_ENOMEM, LT_ENAN. A cache that cannot be read or written is done without. */
int golden_get(struct golden_set *s, const struct model *m, const char *cache_dir, void (*progress)(void *arg, double fraction),
               void *arg, struct err_msg *em);
void golden_finish(struct golden_set *s);

#endif
