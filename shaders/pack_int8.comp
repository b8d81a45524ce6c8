// x[n, k] as int8 for integer products, with a scale for each block of 32 values: pack[n] = (PLANES of x / scale rounded, four values in
// a word, kp's padding zero; for each block its scale, and scale times the sum of what was rounded), PARAMS_INT8_WORDS(kp, PLANES) words
//
// An invocation takes a block; groups: x = GROUP blocks of a row, y = row. With one plane a block's largest value comes to lie at 127,
// so that a value is off by half a 127th of it at most, whatever other blocks and rows hold. With two it lies at 127 · 256, and a rounded
// value is 256 times its number in the first plane and that in the second. The sum is of the rounded values, for types whose
// weights have something added to a product: what both parts of a weight are multiplied with is then the same. A block with NaN or Inf
// has NaN or Inf for a scale; one whose values are below 1e-30 is zero.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;
layout(constant_id = 1) const uint X_VEC4 = 0; // k is a multiple of 4: x can be read as vectors
// 0: words hold v0 v1 v2 v3, v4 v5 v6 v7 from the lowest byte on; 1: v0 v4 v1 v5, v2 v6 v3 v7, as a word of eight 4-bit weights
// falls apart (lib/weights8_int8.glsl)
layout(constant_id = 2) const uint SPLIT = 0;
layout(constant_id = 3) const uint PLANES = 1;

layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XVec { vec4 x4[]; };
layout(set = 0, binding = 1, std430) writeonly buffer Pack { uint pack[]; };
layout(push_constant) uniform Push { push_pack p; };

vec4 load_x(uint row, uint c)
{
    if (c >= p.k)
        return vec4(0.0);
    if (X_VEC4 != 0)
        return x4[(row * p.k + c) / 4];
    vec4 v = vec4(0.0);
    for (uint i = 0; i < 4; i++) {
        if (c + i < p.k)
            v[i] = x[row * p.k + c + i];
    }
    return v;
}

// The low bytes of eight neighbouring values to the words from `at` on.
void store(uint at, ivec4 a, ivec4 b)
{
    uvec4 c = uvec4(a) & 255u, d = uvec4(b) & 255u;
    uvec4 first = SPLIT != 0 ? uvec4(c.x, d.x, c.y, d.y) : c, second = SPLIT != 0 ? uvec4(c.z, d.z, c.w, d.w) : d;
    pack[at] = first.x | first.y << 8 | first.z << 16 | first.w << 24;
    pack[at + 1] = second.x | second.y << 8 | second.z << 16 | second.w << 24;
}

void main()
{
    uint row = gl_WorkGroupID.y;
    uint block = gl_GlobalInvocationID.x;
    if (block >= p.kp / 32)
        return;
    vec4 v[8];
    uint largest = 0; // as bits, in which Inf and NaN are larger than numbers
    [[unroll]] for (uint i = 0; i < 8; i++) {
        v[i] = load_x(row, block * 32 + 4 * i);
        uvec4 size = floatBitsToUint(v[i]) & 0x7FFFFFFFu;
        largest = max(largest, max(max(size.x, size.y), max(size.z, size.w)));
    }
    float most = uintBitsToFloat(largest);
    bool number = largest < 0x7F800000u;
    const float top = PLANES == 1 ? 127.0 : 127.0 * 256.0;
    float by = number && most >= 1e-30 ? top / most : 0.0;
    float scale = number && most < 1e-30 ? 0.0 : most * (1.0 / top);
    int sum = 0;
    uint at = row * PARAMS_INT8_WORDS(p.kp, PLANES);
    [[unroll]] for (uint i = 0; i < 4; i++) {
        ivec4 a = ivec4(roundEven(v[2 * i] * by)), b = ivec4(roundEven(v[2 * i + 1] * by));
        if (!number)
            a = b = ivec4(1);
        ivec4 both = a + b;
        sum += both.x + both.y + both.z + both.w;
        if (PLANES == 1) {
            store(at + block * 8 + 2 * i, a, b);
        } else { // the second plane's numbers are -128 … 127
            store(at + block * 8 + 2 * i, (a + 128) >> 8, (b + 128) >> 8);
            store(at + p.kp / 4 + block * 8 + 2 * i, a, b);
        }
    }
    at += PLANES * (p.kp / 4) + 2 * block;
    pack[at] = floatBitsToUint(scale);
    pack[at + 1] = floatBitsToUint(scale * float(sum));
}
