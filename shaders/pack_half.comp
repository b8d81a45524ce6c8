// x[n, k] as f16 for products in f16, with a power of two for each row: pack[n] = (x / scale, two values in a word, kp's
// padding zero; scale), PARAMS_HALF_WORDS(kp) words
//
// A work-group takes one row: its largest size, then the values. Powers of two round nothing; the row's largest value comes to lie in
// 0.5 … 1, so that rows of any size fit f16, values down to a 2^-14 of the largest keep f16's 11 bits, and a sum of products in f16
// has room. NaN and Inf stay what they are. Groups: x = row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "lib/reduce.glsl"

layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 1, std430) writeonly buffer Pack { uint pack[]; };
layout(push_constant) uniform Push { push_pack p; };

float value(uint row, uint c)
{
    return c < p.k ? x[row * p.k + c] : 0.0;
}

void main()
{
    uint row = gl_WorkGroupID.x;
    uint t = gl_LocalInvocationID.x;
    float largest = 0.0;
    for (uint c = t; c < p.k; c += GROUP)
        largest = max(largest, abs(x[row * p.k + c]));
    largest = group_max(largest);
    // 2^e with largest / 2^e in 0.5 … 1, from the bits of the exponent; f32's denormals and Inf at its ends
    int e = clamp(int(floatBitsToUint(largest) >> 23) - 126, -120, 120);
    float by = uintBitsToFloat(uint(127 - e) << 23);
    uint at = row * PARAMS_HALF_WORDS(p.kp);
    for (uint i = t; i < p.kp / 2; i += GROUP)
        pack[at + i] = packHalf2x16(vec2(value(row, 2 * i), value(row, 2 * i + 1)) * by);
    if (t == 0)
        pack[at + p.kp / 2] = uint(127 + e) << 23;
}
