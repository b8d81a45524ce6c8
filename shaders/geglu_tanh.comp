// y[n, f] = gelu(x[:, :f]) * x[:, f:] for x[n, 2f], the tanh form
//
// Groups: x covers a row; y = row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "lib/math.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_glu p; };

void main()
{
    uint c = gl_GlobalInvocationID.x;
    uint row = gl_WorkGroupID.y;
    if (c < p.f)
        y[row * p.f + c] = gelu_tanh_f32(x[row * 2 * p.f + c]) * x[(row * 2 + 1) * p.f + c];
}
