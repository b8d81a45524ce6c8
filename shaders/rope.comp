// In place on qkv[n, stride]: rotates the first n_heads heads of each row, pair (i, i + D/2), by its position's angle.
//
// With PARTS rows are not there yet, but as the parts [parts, part_rows, stride] of a product whose k was divided: each value is their sum in
// their order + bias, for the heads that are not rotated, too. pos [n]: position of a row within its text; table [positions, D/2]: (cos, sin),
// made on the host, where they are exact to f32. An invocation takes one pair, or with FOURS four beside each other.
// Groups: x covers the pairs of a row; y = row.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;
layout(constant_id = 1) const uint FOURS = 0; // D is a multiple of 8
layout(constant_id = 2) const uint PARTS = 0;

layout(set = 0, binding = 0, std430) buffer Qkv { float qkv[]; };
layout(set = 0, binding = 0, std430) buffer Qkv4 { vec4 qkv4[]; };
layout(set = 0, binding = 1, std430) readonly buffer Pos { uint pos[]; };
layout(set = 0, binding = 2, std430) readonly buffer Table { vec2 table[]; };
layout(set = 0, binding = 2, std430) readonly buffer Table4 { vec4 table4[]; };
layout(set = 0, binding = 3, std430) readonly buffer Parts { float parts[]; };
layout(set = 0, binding = 3, std430) readonly buffer Parts4 { vec4 parts4[]; };
layout(set = 0, binding = 4, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Bias4 { vec4 bias4[]; };
layout(push_constant) uniform Push { push_rope p; };

// Values from `at` on are four, or one in the first component.
vec4 load(uint at)
{
    if (PARTS != 0)
        return FOURS != 0 ? parts4[at / 4] : vec4(parts[at]);
    return FOURS != 0 ? qkv4[at / 4] : vec4(qkv[at]);
}

vec4 load_bias(uint c)
{
    return FOURS != 0 ? bias4[c / 4] : vec4(bias[c]);
}

// Both values of the pairs at column c of a row. Several parts are fetched before they are added, so that memory is waited for once.
void load_pair(uint row, uint c, out vec4 a, out vec4 b)
{
    const uint at_once = 4;
    uint at = row * p.stride + c, half_dim = p.head_dim / 2;
    if (PARTS == 0) {
        a = load(at);
        b = load(at + half_dim);
        return;
    }
    a = b = vec4(0.0);
    for (uint part = 0; part < p.parts; part += at_once) {
        vec4 more[2 * at_once];
        [[unroll]] for (uint i = 0; i < 2 * at_once; i++) {
            uint from = part + i / 2;
            more[i] = from < p.parts ? load(from * p.part_rows * p.stride + at + i % 2 * half_dim) : vec4(0.0);
        }
        [[unroll]] for (uint i = 0; i < at_once; i++) {
            a += more[2 * i];
            b += more[2 * i + 1];
        }
    }
    if ((p.flags & PARAMS_HAS_BIAS) != 0) {
        a += load_bias(c);
        b += load_bias(c + half_dim);
    }
}

void store(uint row, uint c, vec4 v)
{
    uint at = row * p.stride + c;
    if (FOURS != 0)
        qkv4[at / 4] = v;
    else
        qkv[at] = v.x;
}

void main()
{
    const uint at_once = FOURS != 0 ? 4 : 1;
    uint row = gl_WorkGroupID.y;
    uint half_dim = p.head_dim / 2;
    uint pair = gl_GlobalInvocationID.x * at_once;
    uint head = pair / half_dim, i = pair % half_dim;
    if (head >= (PARTS != 0 ? p.stride / p.head_dim : p.n_heads))
        return;
    uint c = head * p.head_dim + i;
    vec4 a, b;
    load_pair(row, c, a, b);
    if (head < p.n_heads) {
        vec4 cosine, sine, a0 = a;
        uint at = pos[row] * half_dim + i;
        if (FOURS != 0) {
            vec4 first = table4[at / 2], second = table4[at / 2 + 1];
            cosine = vec4(first.xz, second.xz);
            sine = vec4(first.yw, second.yw);
        } else {
            cosine = vec4(table[at].x);
            sine = vec4(table[at].y);
        }
        a = a * cosine - b * sine;
        b = b * cosine + a0 * sine;
    }
    store(row, c, a);
    store(row, c + half_dim, b);
}
