/* The decoder over struct ops: token ids to the final hidden states of the pooled rows.
 *
 * Exact savings: query, key and value projections are one matrix, gate and up another; in the last layer only pooled
 * rows go past the attention.
 * Thread-safety: unsafe, as its ops. */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H

#include "model/model.h"
#include "model/ops.h"

struct decoder;

/* Uploads the weights and makes the activation buffers.
 *
 * m, o       borrowed; outlive the decoder
 * progress   called with 0…1 after each layer; may be NULL
 *
 * Errors: LT_ENOMEM, LT_ELIMIT (max_tokens is too much for the device). */
int decoder_create(struct decoder **d, const struct model *m, struct ops *o, uint32_t max_tokens,
                   void (*progress)(void *arg, double fraction), void *arg, struct err_msg *em);
void decoder_destroy(struct decoder **d);

/* Widest row and total of the activation buffers' rows, in floats. */
void decoder_row_floats(const struct model_info *i, uint64_t *widest, uint64_t *total);

/* Within a batch: records everything up to *hidden [n_pooled, hidden]. */
int decoder_run(struct decoder *d, uint32_t n_tokens, uint32_t n_pooled, struct ops_buf **hidden);

#endif
