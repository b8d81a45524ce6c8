// y[n_seqs, d] = the last (or first) of each text's pooled rows of x[n_pooled, d]
//
// offset [n_seqs + 1]: where each text's pooled rows begin. Groups: x covers a row; y = text.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) readonly buffer Offset { uint offset[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_pick p; };

void main()
{
    uint c = gl_GlobalInvocationID.x;
    uint text = gl_WorkGroupID.y;
    if (c >= p.d)
        return;
    uint row = p.last != 0 ? offset[text + 1] - 1 : offset[text];
    y[text * p.d + c] = x[row * p.d + c];
}
