/* The decoders of other programs' files: which of model_info's numbers follow from the keys that llama.cpp's converter
 * writes, family by family. model/FORMAT.md says the same in words. Thread-safety: safe. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include "model/gguf.h"
#include "model/model.h"

/* Fills *i from a file whose general.architecture is not ours: the decoder's numbers, special tokens, mask, pooling,
 * dense layers and a reranker's labels. Texts (name, prefix, template) are the caller's.
 *
 * Errors: LT_EUNSUPPORTED (a family, a scaling or a kind of layer that we do not run, named); LT_EFORMAT, LT_ENOTFOUND
 *         (the key in the message). */
int arch_read(const struct gguf *g, struct model_info *i, struct err_msg *em);

/* Another mask than the file's. Gemma's window goes with it, as its configuration in transformers takes it: so many back, or half as many
 * to both sides. */
void arch_set_mask(struct model_info *i, bool causal);

/* True for a tensor that such files carry and that an embedding does not need. */
bool arch_ignores(const struct model_info *i, const char *tensor);

/* Where row `row` of a query or key projection lies in the file, [heads·size] rows: undoes the converter's reordering. */
uint64_t arch_rope_row(const struct model_info *i, uint64_t row);

/* Inverse frequency k < head_dim / 2 of a layer, scaled as the file wants it. */
double arch_rope_freq(const struct model_info *i, bool local, uint32_t k);
/* What multiplies q·k in a layer. */
double arch_attention_scale(const struct model_info *i, bool local);

/* All of them as f32: theta^(-2i/D), divided by the file's factors. factors are those of
 * rope_freqs.weight, or NULL. */
void arch_rope_freqs(const struct model_info *i, bool local, const float *factors, float *out);

/* Layer's rows see only those nearby. */
bool arch_layer_is_local(const struct model_info *i, uint32_t layer);

#endif
