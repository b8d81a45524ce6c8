/* The kernels for one instruction set: meson compiles this file once per set, with that set's flags. */
#include "model/ops_cpu_kernels.h"

#include "model/ops_cpu_simd.h"
#include "model/tensor_blocks.h"

#include "model/ops_cpu_rows_tmpl.h"
#include "model/ops_cpu_quant_tmpl.h"
#include "model/ops_cpu_attention_tmpl.h"
#include "model/ops_cpu_float_tmpl.h"

#define TABLE_NAME2(suffix) cpu_kernels_##suffix
#define TABLE_NAME(suffix) TABLE_NAME2(suffix)

const struct cpu_kernels TABLE_NAME(SIMD_SUFFIX) = {
    .name = SIMD_NAME,
    .row_q8_0 = row_q8_0,
    .row_q4_k = row_q4_k,
    .row_f16 = row_f16,
    .multiply_float = multiply_float,
    .rms_norm = rms_norm,
    .rms_norm_add = rms_norm_add,
    .scale = scale,
    .layer_norm = layer_norm,
    .quantise = quantise,
    .quantise_weights = quantise_weights,
    .finish_int8 = finish_int8,
    .finish_f32 = finish_f32,
    .finish_gate = finish_gate,
    .rope = rope,
    .attention = attention,
    .swiglu = swiglu,
    .geglu = geglu,
    .geglu_tanh = geglu_tanh,
    .softmax = softmax,
    .mean_rows = mean_rows,
    .l2_normalize = l2_normalize,
};
