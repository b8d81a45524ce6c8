// Keys and values of qkv[n, (H + 2 Hkv) D] as f16 for attention_coop.comp, with a power of two for each block of rows
//
// kv[2, Hkv, n, DP], two values in a word, the padding of D to DP = 8 D8 zero; scales[2, Hkv, n_blocks], by which a block's values are to
// be multiplied. Powers of two round nothing; the block's largest value comes to lie in 0.5 … 1, so that values of any size fit f16, and
// one that is smaller is off by 2^-25 of the largest at most, or by f16's own rounding. NaN and Inf stay what they are and do not count as
// largest, so that they change no other row. Blocks as in attention.comp, BQ rows each.
// Groups: x = block, y = head of keys, z = 0 keys, 1 values.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params_attention.h"
#include "lib/reduce.glsl"

layout(constant_id = 1) const uint D = 64; // size of a head
layout(constant_id = 2) const uint D8 = 8; // its eights as packed
layout(constant_id = 3) const uint BQ = 64;

layout(set = 0, binding = 0, std430) readonly buffer Qkv { float qkv[]; };
layout(set = 0, binding = 0, std430) readonly buffer Qkv4 { vec4 qkv4[]; };
layout(set = 0, binding = 1, std430) readonly buffer Blocks { uvec4 blocks[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Kv { uvec4 kv[]; };
layout(set = 0, binding = 3, std430) writeonly buffer Scales { float scales[]; };
layout(push_constant) uniform Push { push_pack_kv p; };

vec4 load4(uint at, uint c)
{
    if (D % 4 == 0)
        return c < D ? qkv4[(at + c) / 4] : vec4(0.0);
    vec4 v = vec4(0.0);
    for (uint e = 0; e < 4; e++) {
        if (c + e < D)
            v[e] = qkv[at + c + e];
    }
    return v;
}

// Whether v may be the largest: the largest of two that is a number.
float larger(float largest, float v)
{
    float a = abs(v);
    return a > largest && a <= 3.4028235e38 ? a : largest;
}

void main()
{
    uvec4 block = blocks[gl_WorkGroupID.x];
    uint head = gl_WorkGroupID.z * p.n_kv_heads + gl_WorkGroupID.y;
    uint stride = (p.n_heads + 2 * p.n_kv_heads) * D;
    uint from = block.z * stride + (p.n_heads + head) * D;
    uint n8 = min(BQ, block.y - block.z) * D8;
    float largest = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < n8; i += GROUP) {
        uint at = from + i / D8 * stride, c = i % D8 * 8;
        vec4 a = load4(at, c), b = load4(at, c + 4);
        for (uint e = 0; e < 4; e++)
            largest = larger(larger(largest, a[e]), b[e]);
    }
    largest = group_max(largest);
    // 2^e with largest / 2^e in 0.5 … 1, from the bits of the exponent; f32's denormals at its end
    int e = clamp(int(floatBitsToUint(largest) >> 23) - 126, -120, 120);
    float by = uintBitsToFloat(uint(127 - e) << 23);
    uint to = (head * p.n_tokens + block.z) * D8;
    for (uint i = gl_LocalInvocationID.x; i < n8; i += GROUP) {
        uint at = from + i / D8 * stride, c = i % D8 * 8;
        vec4 a = load4(at, c) * by, b = load4(at, c + 4) * by;
        kv[to + i] = uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
    }
    if (gl_LocalInvocationID.x == 0)
        scales[head * p.n_blocks + gl_WorkGroupID.x] = uintBitsToFloat(uint(127 + e) << 23);
}
