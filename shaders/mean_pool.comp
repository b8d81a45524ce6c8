// y[n_seqs, d] = mean over each text's pooled rows of x[n_pooled, d]
//
// offset [n_seqs + 1]: where each text's pooled rows begin. One invocation per column: x covers the columns, y = text.
// Sums of 64 rows are added up, so that a long text's rounding grows with the number of those, not of rows.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) readonly buffer Offset { uint offset[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_rows p; };

void main()
{
    uint c = gl_GlobalInvocationID.x;
    uint text = gl_WorkGroupID.y;
    if (c >= p.d)
        return;
    uint start = offset[text];
    uint end = offset[text + 1];
    float total = 0.0;
    for (uint row = start; row < end; row += 64) {
        float sum = 0.0;
        for (uint i = row; i < min(row + 64, end); i++)
            sum += x[i * p.d + c];
        total += sum;
    }
    y[text * p.d + c] = total / float(end - start);
}
