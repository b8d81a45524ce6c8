// What an invocation holds of cooperative matrices, which no query tells: found[0], found[1] = how many values of a left matrix, TM × TK,
// and of a right one, TK × TN; found[2 + invocation TM TK + i] = the place in the left one, row TK + column, of its value i; behind them, an
// invocation's TN TK words, the same of the right one, column TK + row.
// One group of one subgroup. Places are whole numbers that f16 holds exactly: at most 32 × 32.
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

layout(set = 0, binding = 0, std430) writeonly buffer Found { uint found[]; };
layout(push_constant) uniform Push { push_none p; };

const uint MOST = TM > TN ? TM : TN;

shared uvec4 places[MOST * TK / 8]; // pairs of neighbours of a row, or of a column of the right one

void main()
{
    uint t = gl_LocalInvocationID.x;
    for (uint i = t; i < MOST * TK / 8; i += GROUP)
        places[i] = uvec4(packHalf2x16(vec2(8 * i, 8 * i + 1)), packHalf2x16(vec2(8 * i + 2, 8 * i + 3)),
                          packHalf2x16(vec2(8 * i + 4, 8 * i + 5)), packHalf2x16(vec2(8 * i + 6, 8 * i + 7)));
    barrier();
    coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB> b;
    coopMatLoad(a, places, 0, TK / 8, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, places, 0, TK / 8, gl_CooperativeMatrixLayoutColumnMajor);
    if (t == 0) {
        found[0] = a.length();
        found[1] = b.length();
    }
    for (uint i = 0; i < a.length() && i < TM * TK; i++)
        found[2 + t * TM * TK + i] = uint(a[i]);
    for (uint i = 0; i < b.length() && i < TN * TK; i++)
        found[2 + GROUP * TM * TK + t * TN * TK + i] = uint(b[i]);
}
