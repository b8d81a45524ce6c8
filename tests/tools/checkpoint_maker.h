/* Checkpoints in NV-Embed's layout with random weights, of any shape up to the real one. */
#ifndef TESTS_TOOLS_CHECKPOINT_MAKER_H
#define TESTS_TOOLS_CHECKPOINT_MAKER_H

#include <stdint.h>

#include "base/err.h"
#include "model/tensor.h"

/* 0: as released. */
struct checkpoint_shape {
    uint32_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, positions;
    uint32_t latents, latent_heads, latent_head_dim;
    enum tensor_type type; /* f32, f16 or bf16 */
    uint64_t shard_bytes;  /* of data in one shard at most, where a tensor is not larger; 0: 5 GB, as the release has it */
    uint64_t seed;
};

/* Writes config.json, the shards and their index into dir, which is made where it is missing. The same shape gives the same bytes.
 * Matrices are normal with a variance of 1 / columns, gains near 1, biases near 0. They are drawn from 65,536 quantiles.
 *
 * progress  may be NULL: called with 0 … 1 */
int checkpoint_make(const char *dir, const struct checkpoint_shape *shape, void (*progress)(double fraction), struct err_msg *em);

#endif
