/* The latents' cross attention as two constant matrices. Thread-safety: safe. */
#ifndef MODEL_POOLER_FOLD_H
#define MODEL_POOLER_FOLD_H

#include "model/model.h"

/* For r latents, H heads of E, d = hidden:
 *
 *   logits[H r] = standardise(h) aᵀ + c        softmax over each run of r
 *   h + softmax(logits) bᵀ
 *
 * a   [H r, d]: rows h·r + l = scale · g ⊙ (K_h[l] Wq_h)
 * c   [H r]: scale · (norm's bias · K_h[l] Wq_h)
 * b   [d, H r]: columns h·r + l = Wo_h V_h[l]
 *
 * All malloc'ed, freed with pooler_fold_finish, which accepts a zeroed struct. */
struct pooler_fold {
    float *a, *b, *c;
    uint32_t n_logits; /* H r */
};

/* Sums in double. Errors: LT_ENOMEM. */
int pooler_fold(const struct model *m, unsigned n_threads, struct pooler_fold *f, struct err_msg *em);
void pooler_fold_finish(struct pooler_fold *f);

#endif
