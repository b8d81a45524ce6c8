// y[n, d] = (x - mean) / sqrt(var + eps) * g + b, with g and b optional
//
// One work-group per row (y may be x). Mean first, then the squares of the differences, so nothing cancels.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "lib/reduce.glsl"
#include "lib/math.glsl"

layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) readonly buffer G { float g[]; };
layout(set = 0, binding = 2, std430) readonly buffer B { float b[]; };
layout(set = 0, binding = 3, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_norm p; };

void main()
{
    uint base = gl_WorkGroupID.x * p.d;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP)
        sum += x[base + i];
    float mean = group_sum(sum) / float(p.d);
    sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP) {
        float c = x[base + i] - mean;
        sum += c * c;
    }
    float scale = rsqrt_f32(group_sum(sum) / float(p.d) + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP) {
        float v = (x[base + i] - mean) * scale;
        if ((p.flags & PARAMS_HAS_GAIN) != 0)
            v *= g[i];
        if ((p.flags & PARAMS_HAS_BIAS) != 0)
            v += b[i];
        y[base + i] = v;
    }
}
