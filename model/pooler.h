/* The pooler over struct ops: hidden states of the pooled rows to one unit vector a text.
 *
 * Latent attention uses two rewrites that keep the result: the latents' keys and values are constants, so per head
 * the query projection and the keys fold into one matrix, the values and the output projection into another, the norm's
 * affine part and the scale included; and the mean over tokens is taken before the last linear layer.
 * Thread-safety: unsafe, as its ops. */
#ifndef MODEL_POOLER_H
#define MODEL_POOLER_H

#include "model/model.h"
#include "model/ops.h"

struct pooler;

/* Folds and uploads the weights and makes the activation buffers.
 *
 * m, o       borrowed; outlive the pooler
 * max_tokens, max_seqs  most pooled rows and texts of a batch
 * n_threads  for folding; 0: as many as the process may use
 *
 * Errors: LT_ENOMEM, LT_ELIMIT. */
int pooler_create(struct pooler **p, const struct model *m, struct ops *o, uint32_t max_tokens, uint32_t max_seqs,
                  unsigned n_threads, struct err_msg *em);
void pooler_destroy(struct pooler **p);

/* Widest row and total of the activation buffers' rows, in floats. */
void pooler_row_floats(const struct model_info *i, uint64_t *widest, uint64_t *total);

/* True for a tensor that is folded into others, so that it takes no memory on the device. */
bool pooler_folds(const char *tensor);

/* What those others take there. */
uint64_t pooler_folded_bytes(const struct model_info *i, struct ops *o);

/* Makes the activation buffers anew for batches of max_tokens pooled rows. After an error there are none: resize again, or destroy. */
int pooler_resize(struct pooler *p, uint32_t max_tokens, struct err_msg *em);

/* Within a batch: records everything from hidden [n_pooled, d] to *out [n_seqs, full_dim], unit length. */
int pooler_run(struct pooler *p, const struct ops_buf *hidden, uint32_t n_pooled, uint32_t n_seqs,
               struct ops_buf **out);

#endif
