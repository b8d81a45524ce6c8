// In place on x[n, d]: x / max(|x|, 1e-12)
//
// One work-group per row. The row is scaled by its largest magnitude first, so that squares neither overflow nor vanish.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "lib/reduce.glsl"

layout(set = 0, binding = 0, std430) buffer X { float x[]; };
layout(push_constant) uniform Push { push_rows p; };

void main()
{
    uint base = gl_WorkGroupID.x * p.d;
    float top = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP)
        top = max(top, abs(x[base + i]));
    top = max(group_max(top), 1e-30);
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP) {
        float v = x[base + i] / top;
        sum += v * v;
    }
    float len = sqrt(group_sum(sum));
    // a short row is divided by the floor instead of its length
    float by = top * len >= 1e-12 ? len : 1e-12 / top;
    for (uint i = gl_LocalInvocationID.x; i < p.d; i += GROUP)
        x[base + i] = x[base + i] / top / by;
}
