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

uint weights8_apply(uint bits, f16vec2 zero, f16vec2 factor, f16vec2 add)
{
    return packFloat2x16(fma(weights8_pair(bits) - zero, factor, add));
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

// By the scale of weights8_half_scale.
uvec4 weights8_scaled(Weights8 w, f16vec2 s)
{
#if defined(WEIGHT_F16W)
    return w.a;
#elif defined(WEIGHT_BF16W)
    vec4 low, high;
    weights8_f32(w, 0, low, high);
    return uvec4(packHalf2x16(low.xy), packHalf2x16(low.zw), packHalf2x16(high.xy), packHalf2x16(high.zw));
#else
#if defined(WEIGHT_Q8W)
    // q + 128 in its byte, so that it is no negative number
    uvec2 u = w.a.xy ^ 0x80808080u;
    uvec4 q = uvec4(u.x & 0xFFu | (u.x & 0xFF00u) << 8, u.x >> 16 & 0xFFu | (u.x >> 8 & 0xFF0000u),
                    u.y & 0xFFu | (u.y & 0xFF00u) << 8, u.y >> 16 & 0xFFu | (u.y >> 8 & 0xFF0000u));
    f16vec2 zero = f16vec2(1152.0), add = f16vec2(0.0);
#else
    uvec4 q = uvec4(w.a.x, w.a.x >> 4, w.a.x >> 8, w.a.x >> 12) & 0x000F000Fu;
    f16vec2 zero = f16vec2(1024.0), add = s.yy;
#if defined(WEIGHT_Q5) || defined(WEIGHT_Q5K)
    q |= uvec4(w.a.y << 4, w.a.y << 2, w.a.y, w.a.y >> 2) & 0x10u | uvec4(w.a.y << 19, w.a.y << 17, w.a.y << 15, w.a.y << 13) & 0x100000u;
#elif defined(WEIGHT_Q6K)
    q |= uvec4(w.a.y << 4, w.a.y, w.a.y >> 4, w.a.y >> 8) & 0x30u | uvec4(w.a.y << 18, w.a.y << 14, w.a.y << 10, w.a.y << 6) & 0x300000u;
    zero = f16vec2(1056.0); // 32 is taken off before the factor: nothing is added
    add = f16vec2(0.0);
#endif
#endif
    return uvec4(weights8_apply(q.x, zero, s.xx, add), weights8_apply(q.y, zero, s.xx, add),
                 weights8_apply(q.z, zero, s.xx, add), weights8_apply(q.w, zero, s.xx, add));
#endif
}

uvec4 weights8_f16(Weights8 w, uint i8)
{
    return weights8_scaled(w, weights8_half_scale(w, i8));
}
