// In place on qkv[n, stride]: each q head x / sqrt(mean(x²) + eps) * gq, each k head with gk
//
// One work-group per head: x = head, the n_heads query heads first; y = row. f32 sums.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "lib/reduce.glsl"
#include "lib/math.glsl"

layout(set = 0, binding = 0, std430) buffer Qkv { float qkv[]; };
layout(set = 0, binding = 1, std430) readonly buffer Gq { float gq[]; };
layout(set = 0, binding = 2, std430) readonly buffer Gk { float gk[]; };
layout(push_constant) uniform Push { push_qk_norm p; };

void main()
{
    uint base = gl_WorkGroupID.y * p.stride + gl_WorkGroupID.x * p.head_dim;
    bool query = gl_WorkGroupID.x < p.n_heads;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.head_dim; i += GROUP)
        sum += qkv[base + i] * qkv[base + i];
    float scale = rsqrt_f32(group_sum(sum) / float(p.head_dim) + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < p.head_dim; i += GROUP)
        qkv[base + i] = qkv[base + i] * scale * (query ? gq[i] : gk[i]);
}
