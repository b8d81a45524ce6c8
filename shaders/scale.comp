// In place on x[n, cols]: x * s
//
// Groups: x covers a row; y = row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) buffer X { float x[]; };
layout(push_constant) uniform Push { push_scale p; };

void main()
{
    uint c = gl_GlobalInvocationID.x;
    if (c < p.cols)
        x[gl_WorkGroupID.y * p.cols + c] *= p.s;
}
