// In place on qkv[n, stride]: rotates the first n_heads heads of each row, pair (i, i + D/2), by its position's angle.
//
// pos [n]: position of a row within its text; table [positions, D/2]: (cos, sin), made on the host, where they are exact
// to f32. Groups: x covers the pairs of a row; y = row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(set = 0, binding = 0, std430) buffer Qkv { float qkv[]; };
layout(set = 0, binding = 1, std430) readonly buffer Pos { uint pos[]; };
layout(set = 0, binding = 2, std430) readonly buffer Table { vec2 table[]; };
layout(push_constant) uniform Push { push_rope p; };

void main()
{
    uint pair = gl_GlobalInvocationID.x;
    uint row = gl_WorkGroupID.y;
    uint half_dim = p.head_dim / 2;
    if (pair >= p.n_heads * half_dim)
        return;
    uint i = pair % half_dim;
    uint at = row * p.stride + pair / half_dim * p.head_dim + i;
    vec2 cs = table[pos[row] * half_dim + i];
    float a = qkv[at];
    float b = qkv[at + half_dim];
    qkv[at] = a * cs.x - b * cs.y;
    qkv[at + half_dim] = b * cs.x + a * cs.y;
}
