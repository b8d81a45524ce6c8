// y[n, cols] = table[ids], for the ids that lie in this slice of the table.
//
// ids [n], table rows of kp stored values; y f32. Groups: x covers a row, four values per invocation; y = token.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/storage.glsl"
#include "params.h"
#define W_DATA 1
#define W_SCALE 2
#include "lib/weights.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) readonly buffer Ids { uint ids[]; };
layout(set = 0, binding = 3, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_embed p; };

void main()
{
    uint c = gl_GlobalInvocationID.x * 4;
    uint token = gl_WorkGroupID.y;
    uint row = ids[token] - p.row0; // wraps to a large number below row0
    if (c >= p.cols || row >= p.n_rows)
        return;
    vec4 v = weight4((row * p.kp + c) / 4);
    for (uint i = 0; i < 4 && c + i < p.cols; i++)
        y[token * p.cols + c + i] = v[i];
}
