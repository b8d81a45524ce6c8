// Eight neighbouring weights of a row in two steps: what lies in memory, as few and as wide loads as the type allows, and from that
// the values. Between the two a kernel can wait for the loads. Types and planes as in lib/weights.glsl, always read as words, so that
// no storage feature is needed: WEIGHT_F32, F16W, BF16W, Q8W, Q4, Q5, Q4K, Q5K, Q6K.
layout(set = 0, binding = W_DATA, std430) readonly buffer WeightWords { uint w_data[]; };
layout(set = 0, binding = W_DATA, std430) readonly buffer WeightPairs { uvec2 w_pair[]; };
layout(set = 0, binding = W_DATA, std430) readonly buffer WeightQuads { uvec4 w_quad[]; };
layout(set = 0, binding = W_SCALE, std430) readonly buffer Scales { uint w_scale[]; };
layout(set = 0, binding = W_SCALE, std430) readonly buffer ScaleQuads { uvec4 w_scale4[]; };

// Upper bits of a value.
#if defined(WEIGHT_Q5) || defined(WEIGHT_Q5K)
#define WEIGHT_UPPER 1u
#elif defined(WEIGHT_Q6K)
#define WEIGHT_UPPER 3u
#endif

struct Weights8 {
    uvec4 a, b;
};

// Values 8 i8 … 8 i8 + 7 of the whole slice; i8 = (row kp + column) / 8.
Weights8 weights8_fetch(uint i8)
{
    Weights8 w;
#if defined(WEIGHT_F32)
    w.a = w_quad[2 * i8];
    w.b = w_quad[2 * i8 + 1];
#elif defined(WEIGHT_F16W) || defined(WEIGHT_BF16W)
    w.a = w_quad[i8];
#elif defined(WEIGHT_Q8W)
    w.a.xy = w_pair[i8];
    w.b.x = w_scale[i8 / 8] >> (16 * (i8 / 4 & 1));
#elif defined(WEIGHT_Q4)
    w.a.x = w_data[i8];
    w.b.x = w_scale[i8 / 4];
#elif defined(WEIGHT_Q5)
    w.a.x = w_data[i8];
    w.b.x = w_scale[i8 / 4 * 2];
    w.a.y = w_scale[i8 / 4 * 2 + 1] >> (i8 & 3);
#elif defined(WEIGHT_Q4K)
    w.a.x = w_data[i8];
    w.b = w_scale4[i8 / 32];
#elif defined(WEIGHT_Q5K)
    w.a.x = w_data[i8];
    w.a.y = w_scale[i8 / 32 * 12 + 4 + (i8 / 4 & 7)] >> (i8 & 3);
    w.b = w_scale4[i8 / 32 * 3];
#elif defined(WEIGHT_Q6K)
    uint at = i8 / 32 * 21, run = i8 / 2 & 15;
    w.a.x = w_data[i8];
    w.a.y = w_scale[at + 5 + run] >> (2 * (i8 & 1));
    w.b.x = w_scale[at];
    w.b.y = w_scale[at + 1 + run / 4] >> (8 * (run & 3));
#endif
    return w;
}

#if defined(WEIGHT_Q4) || defined(WEIGHT_Q5)
// (factor, what is added) of the block
vec2 weights8_scale(Weights8 w, uint i8)
{
    return unpackHalf2x16(w.b.x);
}
#elif defined(WEIGHT_Q4K) || defined(WEIGHT_Q5K)
// scale | min << 16 of the eight's part
uint weights8_part(Weights8 w, uint i8)
{
    uint part = i8 / 4 & 7;
    return ((part < 4 ? w.b.y : w.b.z) >> (4 * (part & 3)) & 0x000F000Fu) | (w.b.w >> (2 * part) & 0x00030003u) << 4;
}

vec2 weights8_scale(Weights8 w, uint i8)
{
    uint two = weights8_part(w, i8);
    return unpackHalf2x16(w.b.x) * vec2(two & 0xFFFFu, two >> 16) * vec2(1.0, -1.0);
}
#elif defined(WEIGHT_Q6K)
vec2 weights8_scale(Weights8 w, uint i8)
{
    float d = unpackHalf2x16(w.b.x).x * float(bitfieldExtract(int(w.b.y), 0, 8));
    return vec2(d, -32.0 * d);
}
#elif defined(WEIGHT_Q8W)
vec2 weights8_scale(Weights8 w, uint i8)
{
    return vec2(unpackHalf2x16(w.b.x).x, 0.0);
}
#endif

#if !defined(WEIGHT_F32) && !defined(WEIGHT_F16W) && !defined(WEIGHT_BF16W)
// The whole numbers of which the values are made; q6k's without the 32 that is taken off.
void weights8_whole(Weights8 w, out ivec4 low, out ivec4 high)
{
#if defined(WEIGHT_Q8W)
    low = (ivec4(w.a.x) << ivec4(24, 16, 8, 0)) >> 24;
    high = (ivec4(w.a.y) << ivec4(24, 16, 8, 0)) >> 24;
#else
    uvec4 l = uvec4(w.a.x) >> uvec4(0, 16, 4, 20) & 15, h = uvec4(w.a.x) >> uvec4(8, 24, 12, 28) & 15;
#if defined(WEIGHT_UPPER)
    l |= (uvec4(w.a.y) >> uvec4(0, 16, 4, 20) & WEIGHT_UPPER) << 4;
    h |= (uvec4(w.a.y) >> uvec4(8, 24, 12, 28) & WEIGHT_UPPER) << 4;
#endif
    low = ivec4(l);
    high = ivec4(h);
#endif
}
#endif

// One rounding a value, as on the host.
void weights8_f32(Weights8 w, uint i8, out vec4 low, out vec4 high)
{
#if defined(WEIGHT_F32)
    low = uintBitsToFloat(w.a);
    high = uintBitsToFloat(w.b);
#elif defined(WEIGHT_F16W)
    low = vec4(unpackHalf2x16(w.a.x), unpackHalf2x16(w.a.y));
    high = vec4(unpackHalf2x16(w.a.z), unpackHalf2x16(w.a.w));
#elif defined(WEIGHT_BF16W)
    low = uintBitsToFloat(uvec4(w.a.x << 16, w.a.x & 0xFFFF0000u, w.a.y << 16, w.a.y & 0xFFFF0000u));
    high = uintBitsToFloat(uvec4(w.a.z << 16, w.a.z & 0xFFFF0000u, w.a.w << 16, w.a.w & 0xFFFF0000u));
#else
    ivec4 l, h;
    vec2 s = weights8_scale(w, i8);
    weights8_whole(w, l, h);
    low = s.x * vec4(l) + s.y;
    high = s.x * vec4(h) + s.y;
#endif
}
