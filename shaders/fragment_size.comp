// sizes = how many values an invocation holds of a left matrix, TM × TK, and of a right one, TK × TN: fragments can be kept by
// lib/fragment.glsl where they are the matrix's values shared out, none held twice. One group of one subgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#include "params_fragments.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 32;
layout(constant_id = 1) const uint TM = 16;
layout(constant_id = 2) const uint TN = 16;
layout(constant_id = 3) const uint TK = 16;

layout(set = 0, binding = 0, std430) writeonly buffer Sizes { uint sizes[]; };
layout(push_constant) uniform Push { push_none p; };

void main()
{
    coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA> a = coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>(float16_t(0.0));
    coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB> b = coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>(float16_t(0.0));
    if (gl_LocalInvocationID.x == 0) {
        sizes[0] = a.length();
        sizes[1] = b.length();
    }
}
