/* What attention shares with C; of its own, since the compiled cooperative kernel is in the tree (shaders/spirv). */
#ifndef SHADERS_PARAMS_ATTENTION_H
#define SHADERS_PARAMS_ATTENTION_H

#include "params_matmul.h"

struct push_attention {
    PARAMS_UINT n_heads, n_kv_heads;
    float scale;
    PARAMS_UINT window; /* keys so far away or farther are hidden; PARAMS_NO_WINDOW: none */
};
PARAMS_CHECK(push_attention, 4)
#define PARAMS_NO_WINDOW 0xFFFFFFFFu

/* Keys and values packed as f16 for attention by cooperative matrices, n_tokens rows in n_blocks blocks:
 * kv[2, n_kv_heads, n_tokens, DP], keys then values, DP the head's size padded with zeros; and scales[2, n_kv_heads, n_blocks],
 * by which a block's values are to be multiplied. */
struct push_pack_kv {
    PARAMS_UINT n_heads, n_kv_heads, n_tokens, n_blocks;
};
PARAMS_CHECK(push_pack_kv, 4)

struct push_attention_coop {
    PARAMS_UINT n_heads, n_kv_heads;
    float scale;
    PARAMS_UINT window; /* as above */
    PARAMS_UINT n_tokens, n_blocks;
};
PARAMS_CHECK(push_attention_coop, 6)

#endif
