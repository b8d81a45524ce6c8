#include "gpu/kernels.h"

#include <assert.h>

#include "shaders/params.h"
#include "shaders/params_fragments.h"

#include "shaders/attention.spv.h"
#include "shaders/embed_rows_bf16s.spv.h"
#include "shaders/embed_rows_bf16w.spv.h"
#include "shaders/embed_rows_f16s.spv.h"
#include "shaders/embed_rows_f16w.spv.h"
#include "shaders/embed_rows_f32.spv.h"
#include "shaders/embed_rows_q4.spv.h"
#include "shaders/embed_rows_q4k.spv.h"
#include "shaders/embed_rows_q5.spv.h"
#include "shaders/embed_rows_q5k.spv.h"
#include "shaders/embed_rows_q6k.spv.h"
#include "shaders/embed_rows_q8s.spv.h"
#include "shaders/embed_rows_q8w.spv.h"
#include "shaders/finish_rows.spv.h"
#include "shaders/gather_pooled.spv.h"
#include "shaders/geglu.spv.h"
#include "shaders/geglu_tanh.spv.h"
#include "shaders/l2_normalize.spv.h"
#include "shaders/layer_norm.spv.h"
#include "shaders/matmul_bf16s.spv.h"
#include "shaders/matmul_bf16w.spv.h"
#include "shaders/matmul_dot_q4.spv.h"
#include "shaders/matmul_dot_q4k.spv.h"
#include "shaders/matmul_dot_q5.spv.h"
#include "shaders/matmul_dot_q5k.spv.h"
#include "shaders/matmul_dot_q6k.spv.h"
#include "shaders/matmul_dot_q8w.spv.h"
#include "shaders/matmul_f16s.spv.h"
#include "shaders/matmul_f16w.spv.h"
#include "shaders/matmul_f32.spv.h"
#include "shaders/matmul_q4.spv.h"
#include "shaders/matmul_q4k.spv.h"
#include "shaders/matmul_q5.spv.h"
#include "shaders/matmul_q5k.spv.h"
#include "shaders/matmul_q6k.spv.h"
#include "shaders/matmul_q8s.spv.h"
#include "shaders/matmul_q8w.spv.h"
#include "shaders/matmul_sum.spv.h"
#include "shaders/matvec_bf16w.spv.h"
#include "shaders/matvec_f16w.spv.h"
#include "shaders/matvec_f32.spv.h"
#include "shaders/matvec_q4.spv.h"
#include "shaders/matvec_q4k.spv.h"
#include "shaders/matvec_q5.spv.h"
#include "shaders/matvec_q5k.spv.h"
#include "shaders/matvec_q6k.spv.h"
#include "shaders/matvec_q8w.spv.h"
#include "shaders/mean_pool.spv.h"
#include "shaders/pack_int8.spv.h"
#include "shaders/pack_kv.spv.h"
#include "shaders/pick_pooled.spv.h"
#include "shaders/qk_norm.spv.h"
#include "shaders/rms_norm.spv.h"
#include "shaders/rms_norm_add.spv.h"
#include "shaders/rope.spv.h"
#include "shaders/scale.spv.h"
#include "shaders/softmax_groups.spv.h"
#include "shaders/swiglu.spv.h"

#include "shaders/spirv/attention_coop.spv.h"
#include "shaders/spirv/fragment_size.spv.h"
#include "shaders/spirv/fragments_bf16w.spv.h"
#include "shaders/spirv/fragments_f16w.spv.h"
#include "shaders/spirv/fragments_q4.spv.h"
#include "shaders/spirv/fragments_q4k.spv.h"
#include "shaders/spirv/fragments_q5.spv.h"
#include "shaders/spirv/fragments_q5k.spv.h"
#include "shaders/spirv/fragments_q6k.spv.h"
#include "shaders/spirv/fragments_q8w.spv.h"
#include "shaders/spirv/fragments_x.spv.h"
#include "shaders/spirv/matmul_coop_bf16w.spv.h"
#include "shaders/spirv/matmul_coop_f16w.spv.h"
#include "shaders/spirv/matmul_coop_q4.spv.h"
#include "shaders/spirv/matmul_coop_q4k.spv.h"
#include "shaders/spirv/matmul_coop_q5.spv.h"
#include "shaders/spirv/matmul_coop_q5k.spv.h"
#include "shaders/spirv/matmul_coop_q6k.spv.h"
#include "shaders/spirv/matmul_coop_q8w.spv.h"
#include "shaders/spirv/matmul_fragments.spv.h"

static const struct gpu_kernel_row rows[GPU_KERNEL_COUNT] = {
#define X(name, stem, access, n_spec, push)                                                        \
    {#stem, spirv_##stem, sizeof spirv_##stem, access, n_spec, sizeof(struct push),                \
     GPU_KERNEL_##name == GPU_KERNEL_ATTENTION_COOP ||                                             \
         (GPU_KERNEL_##name >= GPU_KERNEL_MATMUL_COOP_F16W && GPU_KERNEL_##name <= GPU_KERNEL_MATMUL_FRAGMENTS)},
    GPU_KERNEL_LIST(X)
#undef X
};

const struct gpu_kernel_row *gpu_kernel_row(enum gpu_kernel k)
{
    assert(k < GPU_KERNEL_COUNT);
    return &rows[k];
}
