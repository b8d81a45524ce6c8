// In place: softmax over each run of r values in x[n, groups r]
//
// One work-group per run: x = run, y = row. The run's maximum is subtracted first; f32 sums.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "lib/reduce.glsl"
#include "lib/math.glsl"

layout(set = 0, binding = 0, std430) buffer X { float x[]; };
layout(push_constant) uniform Push { push_softmax p; };

void main()
{
    uint base = (gl_WorkGroupID.y * p.groups + gl_WorkGroupID.x) * p.r;
    float top = -3.4e38;
    for (uint i = gl_LocalInvocationID.x; i < p.r; i += GROUP)
        top = max(top, x[base + i]);
    top = group_max(top);
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.r; i += GROUP) {
        float e = exp_f32(x[base + i] - top);
        x[base + i] = e;
        sum += e;
    }
    float by = 1.0 / group_sum(sum);
    for (uint i = gl_LocalInvocationID.x; i < p.r; i += GROUP)
        x[base + i] *= by;
}
