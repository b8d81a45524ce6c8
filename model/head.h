/* A reranker's head: the pooled state of a prompt to a score, in f64 on the host, since it is a row or two, or with them a layer that each text
 * meets once.
 *
 * Where the model has it, the state first goes through that linear layer, GELU and LayerNorm.
 * One label: the row's product with the state, plus the bias: a logit, as the model's makers give it. "yes" and "no": the share of "yes" in
 * the softmax of both, 0 to 1.
 * Thread-safety: safe. */
#ifndef MODEL_HEAD_H
#define MODEL_HEAD_H

#include "model/model.h"

struct head;

/* m   borrowed for the call; a model whose info says that it ranks
 *
 * Ownership: *h is the caller's, freed by head_destroy; untouched on error. Errors: LT_ENOMEM. */
int head_create(struct head **h, const struct model *m, struct err_msg *em);
void head_destroy(struct head **h);

/* state   full_dim floats, as the last norm gave them: not at unit length
 *
 * Not finite where the state is not, or where it is beyond a double. */
double head_score(const struct head *h, const float *state);

#endif
