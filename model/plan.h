/* How a device's memory is divided between weights and batches. It asks the device for nothing but sizes, so that a plan can be made for one
 * that is not there. Thread-safety: safe, as far as the ops it asks. */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include "model/model.h"
#include "model/ops.h"

/* Fewest tokens of a submission: chosen, where memory is not known; and where it is short, so that no layer need be streamed. */
#define PLAN_TOKENS 512
#define PLAN_TOKENS_LEAST 128
#define PLAN_TOKENS_MOST 8192

/* Bytes on the device. */
struct plan_weights {
    uint64_t layers; /* the layers' matrices */
    uint64_t others;
};

/* Counts a tensor of the model, whose data is not looked at. */
void plan_add(struct plan_weights *w, struct ops *o, const struct tensor *t);

struct plan {
    uint32_t tokens, texts; /* of a submission */
    uint64_t layer_bytes;   /* for the layers, decoder_params.layer_bytes; 0: no bound */
    bool streams;           /* which is less than they take */
    uint64_t bytes;         /* of all weights, streamed ones by what they pass through, and one submission's buffers */
};

/* Tokens of a submission before the device is open: what was asked for, or what its buffers may take. */
uint32_t plan_tokens(const struct model_info *info, bool rooms, uint64_t memory_bytes, uint32_t asked);

/* memory_bytes  to be used, for everything; 0, or more than the device has and others leave: nine tenths of that
 * asked         tokens of a submission, which are not changed then; 0: chosen, fewer where layers would be streamed otherwise
 * most          but no more than these */
void plan_make(const struct model_info *info, struct ops *o, const struct plan_weights *w, uint64_t memory_bytes, uint32_t asked, uint32_t most,
               struct plan *p);

/* The fewest bytes that any plan takes: all layers streamed, through room for one, and PLAN_TOKENS tokens. */
uint64_t plan_least(const struct model_info *info, struct ops *o, const struct plan_weights *w);

/* The longest text, of `most` tokens at most, that p's weights leave room for in so many bytes; never less than p->tokens. *bytes, if it is not
 * NULL, is what they take together then. */
uint32_t plan_longest(const struct model_info *info, struct ops *o, const struct plan *p, uint64_t room, uint32_t most, uint64_t *bytes);

/* What batches of so many tokens will be like, for the ops. */
struct ops_use plan_use(const struct model_info *info, uint32_t tokens, uint32_t texts);

#endif
