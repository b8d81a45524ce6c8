/* The kernels that gpu/ can run: one row each in gpu/kernels.c, generated from shaders/. */
#ifndef GPU_KERNELS_H
#define GPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Those on cooperative matrices (matmul_coop to matmul_fragments, attention_coop) are compiled beforehand: shaders/spirv.
 * X(enum, shader file stem, bindings' access: r read, w written, b both; n spec constants; push struct) */
#define GPU_KERNEL_LIST(X)                                                                         \
    X(EMBED_ROWS_F32, embed_rows_f32, "rrrw", 1, push_embed)                                       \
    X(EMBED_ROWS_F16W, embed_rows_f16w, "rrrw", 1, push_embed)                                     \
    X(EMBED_ROWS_F16S, embed_rows_f16s, "rrrw", 1, push_embed)                                     \
    X(EMBED_ROWS_BF16W, embed_rows_bf16w, "rrrw", 1, push_embed)                                   \
    X(EMBED_ROWS_BF16S, embed_rows_bf16s, "rrrw", 1, push_embed)                                   \
    X(EMBED_ROWS_Q8W, embed_rows_q8w, "rrrw", 1, push_embed)                                       \
    X(EMBED_ROWS_Q8S, embed_rows_q8s, "rrrw", 1, push_embed)                                       \
    X(EMBED_ROWS_Q4, embed_rows_q4, "rrrw", 1, push_embed)                                         \
    X(EMBED_ROWS_Q5, embed_rows_q5, "rrrw", 1, push_embed)                                         \
    X(EMBED_ROWS_Q4K, embed_rows_q4k, "rrrw", 1, push_embed)                                       \
    X(EMBED_ROWS_Q5K, embed_rows_q5k, "rrrw", 1, push_embed)                                       \
    X(EMBED_ROWS_Q6K, embed_rows_q6k, "rrrw", 1, push_embed)                                       \
    X(MATMUL_F32, matmul_f32, "rrrrrw", 6, push_matmul)                                            \
    X(MATMUL_F16W, matmul_f16w, "rrrrrw", 6, push_matmul)                                          \
    X(MATMUL_F16S, matmul_f16s, "rrrrrw", 6, push_matmul)                                          \
    X(MATMUL_BF16W, matmul_bf16w, "rrrrrw", 6, push_matmul)                                        \
    X(MATMUL_BF16S, matmul_bf16s, "rrrrrw", 6, push_matmul)                                        \
    X(MATMUL_Q8W, matmul_q8w, "rrrrrw", 6, push_matmul)                                            \
    X(MATMUL_Q8S, matmul_q8s, "rrrrrw", 6, push_matmul)                                            \
    X(MATMUL_Q4, matmul_q4, "rrrrrw", 6, push_matmul)                                              \
    X(MATMUL_Q5, matmul_q5, "rrrrrw", 6, push_matmul)                                              \
    X(MATMUL_Q4K, matmul_q4k, "rrrrrw", 6, push_matmul)                                            \
    X(MATMUL_Q5K, matmul_q5k, "rrrrrw", 6, push_matmul)                                            \
    X(MATMUL_Q6K, matmul_q6k, "rrrrrw", 6, push_matmul)                                            \
    X(MATVEC_F32, matvec_f32, "rrrrrw", 5, push_matmul)                                            \
    X(MATVEC_F16W, matvec_f16w, "rrrrrw", 5, push_matmul)                                          \
    X(MATVEC_BF16W, matvec_bf16w, "rrrrrw", 5, push_matmul)                                        \
    X(MATVEC_Q8W, matvec_q8w, "rrrrrw", 5, push_matmul)                                            \
    X(MATVEC_Q4, matvec_q4, "rrrrrw", 5, push_matmul)                                              \
    X(MATVEC_Q5, matvec_q5, "rrrrrw", 5, push_matmul)                                              \
    X(MATVEC_Q4K, matvec_q4k, "rrrrrw", 5, push_matmul)                                            \
    X(MATVEC_Q5K, matvec_q5k, "rrrrrw", 5, push_matmul)                                            \
    X(MATVEC_Q6K, matvec_q6k, "rrrrrw", 5, push_matmul)                                            \
    X(MATMUL_COOP_F16W, matmul_coop_f16w, "rrrrrw", 9, push_matmul)                                \
    X(MATMUL_COOP_BF16W, matmul_coop_bf16w, "rrrrrw", 9, push_matmul)                              \
    X(MATMUL_COOP_Q8W, matmul_coop_q8w, "rrrrrw", 9, push_matmul)                                  \
    X(MATMUL_COOP_Q4, matmul_coop_q4, "rrrrrw", 9, push_matmul)                                    \
    X(MATMUL_COOP_Q5, matmul_coop_q5, "rrrrrw", 9, push_matmul)                                    \
    X(MATMUL_COOP_Q4K, matmul_coop_q4k, "rrrrrw", 9, push_matmul)                                  \
    X(MATMUL_COOP_Q5K, matmul_coop_q5k, "rrrrrw", 9, push_matmul)                                  \
    X(MATMUL_COOP_Q6K, matmul_coop_q6k, "rrrrrw", 9, push_matmul)                                  \
    X(MATMUL_FEW_F16W, matmul_few_f16w, "rrrrrw", 10, push_few)                                    \
    X(MATMUL_FEW_BF16W, matmul_few_bf16w, "rrrrrw", 10, push_few)                                  \
    X(MATMUL_FEW_Q8W, matmul_few_q8w, "rrrrrw", 10, push_few)                                      \
    X(MATMUL_FEW_Q4, matmul_few_q4, "rrrrrw", 10, push_few)                                        \
    X(MATMUL_FEW_Q5, matmul_few_q5, "rrrrrw", 10, push_few)                                        \
    X(MATMUL_FEW_Q4K, matmul_few_q4k, "rrrrrw", 10, push_few)                                      \
    X(MATMUL_FEW_Q5K, matmul_few_q5k, "rrrrrw", 10, push_few)                                      \
    X(MATMUL_FEW_Q6K, matmul_few_q6k, "rrrrrw", 10, push_few)                                      \
    X(FRAGMENTS_X, fragments_x, "rw", 7, push_fragments)                                           \
    X(FRAGMENTS_F16W, fragments_f16w, "rrw", 7, push_fragments)                                    \
    X(FRAGMENTS_BF16W, fragments_bf16w, "rrw", 7, push_fragments)                                  \
    X(FRAGMENTS_Q8W, fragments_q8w, "rrw", 7, push_fragments)                                      \
    X(FRAGMENTS_Q4, fragments_q4, "rrw", 7, push_fragments)                                        \
    X(FRAGMENTS_Q5, fragments_q5, "rrw", 7, push_fragments)                                        \
    X(FRAGMENTS_Q4K, fragments_q4k, "rrw", 7, push_fragments)                                      \
    X(FRAGMENTS_Q5K, fragments_q5k, "rrw", 7, push_fragments)                                      \
    X(FRAGMENTS_Q6K, fragments_q6k, "rrw", 7, push_fragments)                                      \
    X(FRAGMENTS_SPREAD, fragments_spread, "rw", 8, push_fragments)                                 \
    X(FRAGMENT_PROBE, fragment_probe, "w", 4, push_none)                                           \
    X(MATMUL_FRAGMENTS, matmul_fragments, "rrrrw", 10, push_matmul)                                \
    X(MATMUL_DOT_Q8W, matmul_dot_q8w, "rrrrrw", 6, push_matmul)                                    \
    X(MATMUL_DOT_Q4, matmul_dot_q4, "rrrrrw", 6, push_matmul)                                      \
    X(MATMUL_DOT_Q5, matmul_dot_q5, "rrrrrw", 6, push_matmul)                                      \
    X(MATMUL_DOT_Q4K, matmul_dot_q4k, "rrrrrw", 6, push_matmul)                                    \
    X(MATMUL_DOT_Q5K, matmul_dot_q5k, "rrrrrw", 6, push_matmul)                                    \
    X(MATMUL_DOT_Q6K, matmul_dot_q6k, "rrrrrw", 6, push_matmul)                                    \
    X(MATMUL_SUM, matmul_sum, "rrrw", 1, push_sum)                                                 \
    X(FINISH_ROWS, finish_rows, "rrrrww", 8, push_finish)                                          \
    X(PACK_INT8, pack_int8, "rw", 4, push_pack)                                                    \
    X(RMS_NORM, rms_norm, "rrw", 1, push_norm)                                                     \
    X(RMS_NORM_ADD, rms_norm_add, "rrb", 1, push_norm)                                             \
    X(SCALE, scale, "b", 1, push_scale)                                                            \
    X(LAYER_NORM, layer_norm, "rrrw", 1, push_norm)                                                \
    X(QK_NORM, qk_norm, "brr", 1, push_qk_norm)                                                    \
    X(ROPE, rope, "brrrr", 3, push_rope)                                                           \
    X(ATTENTION, attention, "rrw", 11, push_attention)                                             \
    X(ATTENTION_COOP, attention_coop, "rrrrw", 12, push_attention_coop)                            \
    X(PACK_KV, pack_kv, "rrww", 4, push_pack_kv)                                                   \
    X(SWIGLU, swiglu, "rw", 1, push_glu)                                                           \
    X(GEGLU, geglu, "rw", 1, push_glu)                                                             \
    X(GEGLU_TANH, geglu_tanh, "rw", 1, push_glu)                                                   \
    X(SOFTMAX_GROUPS, softmax_groups, "b", 1, push_softmax)                                        \
    X(GATHER_POOLED, gather_pooled, "rrw", 1, push_rows)                                           \
    X(MEAN_POOL, mean_pool, "rrw", 1, push_rows)                                                   \
    X(PICK_POOLED, pick_pooled, "rrw", 1, push_pick)                                               \
    X(L2_NORMALIZE, l2_normalize, "b", 1, push_rows)

enum gpu_kernel {
#define X(name, stem, access, n_spec, push) GPU_KERNEL_##name,
    GPU_KERNEL_LIST(X)
#undef X
    GPU_KERNEL_COUNT
};

/* Thread-safety: safe, constant. */
struct gpu_kernel_row {
    const char *name;
    const uint32_t *spirv;
    size_t spirv_bytes;
    const char *access;  /* one letter per binding */
    uint32_t n_spec;     /* uint32 specialisation constants, ids 0 … n_spec - 1; the first is the group size */
    uint32_t push_bytes;
    bool full_subgroups; /* of the size that limits.coop says; its group is a multiple of that */
};

const struct gpu_kernel_row *gpu_kernel_row(enum gpu_kernel k);

#endif
