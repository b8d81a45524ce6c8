// y[n, m] = the sum of parts [parts, part_rows, m] + bias + residual: the end of a product whose k was divided among work-groups
//
// Groups: x covers a row, an invocation per value; y = row. The parts are added in their order.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) readonly buffer Parts { float parts[]; };
layout(set = 0, binding = 1, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 2, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 3, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_sum p; };

void main()
{
    uint c = gl_GlobalInvocationID.x;
    if (c >= p.m)
        return;
    uint at = gl_WorkGroupID.y * p.m + c;
    float v = 0.0;
    for (uint i = 0; i < p.parts; i++)
        v += parts[i * p.part_rows * p.m + at];
    if ((p.flags & PARAMS_HAS_BIAS) != 0)
        v += bias[c];
    if ((p.flags & PARAMS_HAS_RESIDUAL) != 0)
        v += residual[at];
    y[at] = v;
}
