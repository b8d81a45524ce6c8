// y[n, d] += x / sqrt(mean(x²) + eps) * g
//
// One work-group per row. f32 sums.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "lib/reduce.glsl"
#include "lib/math.glsl"

layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) readonly buffer G { float g[]; };
layout(set = 0, binding = 2, std430) buffer Y { float y[]; };
layout(push_constant) uniform Push { push_norm p; };

void main()
{
    uint base = gl_WorkGroupID.x * p.d;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP)
        sum += x[base + i] * x[base + i];
    float scale = rsqrt_f32(group_sum(sum) / float(p.d) + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP)
        y[base + i] += x[base + i] * scale * g[i];
}
