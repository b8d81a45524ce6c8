/* The pooler over struct ops: hidden states of the pooled rows to one unit vector a text.
 *
 * Latent attention uses two rewrites that keep the result: the latents' keys and values are constants, so per head
 * the query projection and the keys fold into one matrix, the values and the output projection into another, the norm's
 * affine part and the scale included; and the mean over tokens is taken before the last linear layer.
 * Thread-safety: unsafe, as its ops. */
#ifndef MODEL_POOLER_H
#define MODEL_POOLER_H

#include "model/activations.h"

struct pooler;

/* Folds and uploads the weights.
 *
 * m, o, a    borrowed; outlive the pooler; the buffers are made for a batch's rows by the time one runs
 * n_threads  for folding; 0: as many as the process may use
 *
 * Errors: LT_ENOMEM, LT_ELIMIT. */
int pooler_create(struct pooler **p, const struct model *m, struct ops *o, const struct activations *a, unsigned n_threads, struct err_msg *em);
void pooler_destroy(struct pooler **p);

/* True for a tensor that is folded into others, so that it takes no memory on the device. */
bool pooler_folds(const char *tensor);

/* What those others take there. */
uint64_t pooler_folded_bytes(const struct model_info *i, struct ops *o);

/* Within a batch: records everything from hidden [n_pooled, d], which it may write over, to *out [n_seqs, full_dim], unit length; for a
 * reranker's head as it is. */
int pooler_run(struct pooler *p, struct ops_buf *hidden, uint32_t n_pooled, uint32_t n_seqs, struct ops_buf **out);

#endif
