/* The decoder over struct ops: token ids to the final hidden states of the pooled rows.
 *
 * Exact savings: query, key and value projections are one matrix, gate and up another; in the last layer only pooled
 * rows go past the attention.
 * Thread-safety: unsafe, as its ops. */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H

#include "model/activations.h"

struct decoder;

struct decoder_params {
    const struct activations *activations; /* borrowed, outlive the decoder; made for a batch's rows by the time one runs */
    uint64_t layer_bytes;  /* device memory for the layers; those that do not fit are streamed. 0: no bound */
    /* Called with 0…1 after each layer; may be NULL. */
    void (*progress)(void *arg, double fraction);
    void *progress_arg;
};

/* Uploads the weights.
 *
 * m, o       borrowed; outlive the decoder
 * p          for the call
 *
 * Errors: LT_ENOMEM, LT_ELIMIT. */
int decoder_create(struct decoder **d, const struct model *m, struct ops *o, const struct decoder_params *p,
                   struct err_msg *em);
void decoder_destroy(struct decoder **d);

/* Layers that are not on the device between batches: the last so many. */
uint32_t decoder_n_streamed(const struct decoder *d);

/* A batch runs in parts, each a submission of its own: everything up to the first streamed layer, then each of these. The
 * residual stream stays in its buffer between parts. */
uint32_t decoder_n_parts(const struct decoder *d);

/* Before begin: brings the part's weights to the device; after end: frees what decoder_fetch brought. */
int decoder_fetch(struct decoder *d, uint32_t part, struct err_msg *em);
void decoder_drop(struct decoder *d, uint32_t part);

/* For tests: the residual stream [n_tokens, hidden] as the last part left it; after the last layer only where all rows are pooled. */
const struct ops_buf *decoder_stream(const struct decoder *d);

/* Within a batch: records the part. The last one leaves everything in *hidden [n_pooled, hidden], which the caller may write over. */
int decoder_run(struct decoder *d, uint32_t part, uint32_t n_tokens, uint32_t n_pooled, struct ops_buf **hidden);

#endif
