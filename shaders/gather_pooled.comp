// y[n_pooled, d] = x[rows], the rows that take part in the pool, in order
//
// Groups: x covers a row; y = pooled row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) readonly buffer Rows { uint rows[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_rows p; };

void main()
{
    uint c = gl_GlobalInvocationID.x;
    uint row = gl_WorkGroupID.y;
    if (c < p.d)
        y[row * p.d + c] = x[rows[row] * p.d + c];
}
