/* The whole model in plain C and double: token ids to unit vectors, as the release computes them, nothing folded or
 * reordered. Golden vectors come from here. Slow; knows nothing of struct ops.
 * Thread-safety: safe. */
#ifndef MODEL_REF_REF_FORWARD_H
#define MODEL_REF_REF_FORWARD_H

#include <signal.h>

#include "model/engine.h"
#include "model/model.h"

/* Sees every stage of the computation: "embed", "layer0" …, "hidden" (after the final norm), "cross" (after the
 * cross attention), "ffn" (after the pooler's feed-forward): x[n_rows, cols], all tokens of all texts end to end. */
struct ref_probe {
    void (*fn)(void *arg, const char *stage, const double *x, size_t n_rows, size_t cols);
    void *arg;
    /* Called with 0…1 as it goes; may be NULL. */
    void (*progress)(void *arg, double fraction);
    const volatile sig_atomic_t *stop; /* may be NULL; once it is not 0, LT_ECANCELLED at the next layer */
};

/* seqs    valid: ids within the vocabulary, n_skip < n
 * probe   NULL: none
 * out     n_seqs × model_golden_dim doubles, unit length
 *
 * Errors: LT_ENOMEM; LT_ECANCELLED; LT_ENAN when a result is not finite or zero. */
int ref_forward(const struct model *m, const struct engine_seq *seqs, size_t n_seqs, const struct ref_probe *probe,
                double *out, struct err_msg *em);

#endif
