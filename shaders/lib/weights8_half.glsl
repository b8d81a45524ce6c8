// Eight weights as f16, two neighbours in a word, from what lib/weights8.glsl has fetched; needs f16 arithmetic. Whole numbers become
// f16 by their bits: 1024 + q has q in its lowest bits, for q up to 1023. A value is off by 2^-11 of its parts at most: of the factor and
// of what is added, which are rounded to f16, of their product where fma is not fused, and of the sum: little beside a step of the
// whole numbers, and a value made in f32 would take twice the instructions. WEIGHT_F32 is not offered: its values may be beyond f16's.

#if !defined(WEIGHT_F16W) && !defined(WEIGHT_BF16W)
#ifndef WEIGHTS8_BASE
#define WEIGHTS8_BASE 0x64006400u
#endif

f16vec2 weights8_pair(uint bits)
{
    return unpackFloat2x16(bits | WEIGHTS8_BASE);
}
#endif

#if defined(WEIGHT_F16W) || defined(WEIGHT_BF16W)
#define weights8_half_scale(w, i8) f16vec2(0.0)
#else
// (factor, what is added) of an eight as f16, those of its neighbour from an even i8 on, too: the products rounded once
f16vec2 weights8_half_scale(Weights8 w, uint i8)
{
#if defined(WEIGHT_Q4K) || defined(WEIGHT_Q5K)
    return unpackFloat2x16(w.b.x ^ 0x80000000u) * (weights8_pair(weights8_part(w, i8)) - f16vec2(1024.0));
#elif defined(WEIGHT_Q6K)
    return f16vec2(unpackFloat2x16(w.b.x).x * (weights8_pair((w.b.y ^ 0x80u) & 0xFFu).x - float16_t(1152.0)), 0.0);
#elif defined(WEIGHT_Q8W)
    return f16vec2(unpackFloat2x16(w.b.x).x, 0.0);
#else
    return unpackFloat2x16(w.b.x);
#endif
}
#endif

// By the scale of weights8_half_scale; `upper` has upper bits where the pairs of each half of the eight have theirs.
uvec4 weights8_scaled_with(Weights8 w, uvec2 upper, f16vec2 s)
{
#if defined(WEIGHT_F16W)
    return w.a;
#elif defined(WEIGHT_BF16W)
    vec4 low, high;
    weights8_f32(w, 0, low, high);
    return uvec4(packHalf2x16(low.xy), packHalf2x16(low.zw), packHalf2x16(high.xy), packHalf2x16(high.zw));
#else
    f16vec2 v[4];
#if defined(WEIGHT_Q8W)
    // q + 128 in its byte, so that it is no negative number
    uvec2 u = w.a.xy;
    uvec4 q = uvec4(u.x & 0xFFu | (u.x & 0xFF00u) << 8, u.x >> 16 & 0xFFu | (u.x >> 8 & 0xFF0000u),
                    u.y & 0xFFu | (u.y & 0xFF00u) << 8, u.y >> 16 & 0xFFu | (u.y >> 8 & 0xFF0000u)) ^ (WEIGHTS8_BASE ^ 0x00800080u);
    f16vec2 add = f16vec2(0.0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        v[i] = unpackFloat2x16(q[i]) - f16vec2(1152.0);
#else
    // Every second pair stays 4 bits higher, as 16 q, which spares its shift: the 16 goes by an exact product.
    uvec2 u = uvec2(w.a.x, w.a.x >> 8);
    uvec4 q = u.xxyy & uvec4(0x000F000Fu, 0x00F000F0u, 0x000F000Fu, 0x00F000F0u) | WEIGHTS8_BASE;
#if defined(WEIGHT_UPPER)
    q |= upper.xxyy & WEIGHT_UPPER * uvec4(0x00100010u, 0x01000100u, 0x00100010u, 0x01000100u);
#endif
#if defined(WEIGHT_Q6K)
    const float zero = 32.0; // taken off before the factor: nothing is added
    f16vec2 add = f16vec2(0.0);
#else
    const float zero = 0.0;
    f16vec2 add = s.yy;
#endif
    [[unroll]] for (uint i = 0; i < 4; i += 2) {
        v[i] = unpackFloat2x16(q[i]) - f16vec2(1024.0 + zero);
        v[i + 1] = fma(unpackFloat2x16(q[i + 1]), f16vec2(0.0625), f16vec2(-64.0 - zero));
    }
#endif
    return uvec4(packFloat2x16(fma(v[0], s.xx, add)), packFloat2x16(fma(v[1], s.xx, add)), packFloat2x16(fma(v[2], s.xx, add)),
                 packFloat2x16(fma(v[3], s.xx, add)));
#endif
}

uvec4 weights8_f16(Weights8 w, uint i8)
{
    return weights8_scaled_with(w, uvec2(w.a.y << 4, w.a.y >> 4), weights8_half_scale(w, i8));
}
