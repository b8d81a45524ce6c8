// Reads four neighbouring weights of a row. The storage type is the one macro axis of the shaders:
//   WEIGHT_F32
//   WEIGHT_F16W, WEIGHT_BF16W, WEIGHT_Q8W   8- and 16-bit values as 32-bit words, unpacked here
//   WEIGHT_F16S, WEIGHT_BF16S, WEIGHT_Q8S   the same bytes with the device's small-type storage
//   WEIGHT_Q4, WEIGHT_Q5                    4 and 5 bits in blocks of 32
//   WEIGHT_Q4K, WEIGHT_Q5K, WEIGHT_Q6K      GGUF's types in blocks of 256
// Rows are kp values long, kp a multiple of PARAMS_K_PAD. q8: int8 values in binding W_DATA, one f16 scale per 32 values,
// two in a word, row after row, in binding W_SCALE (bound but unused by the types without blocks).
// The others: the low 4 bits of each value in binding W_DATA, eight values in a word: from the lowest bits on v0, v2, v4, v6,
// v1, v3, v5, v7, so that a shift and a mask leave two neighbours in its halves. And per block in binding W_SCALE
//   q4    1 word: f16 d, f16 m                                          value = d q + m
//   q5    2 words: d and m as above; the fifth bits of 32 values
//   q4k   4 words: f16 d, f16 dmin; 8 scales and 8 minima of 6 bits,    value = d scale q - dmin min
//         in the second word the low 4 bits of those of parts 0 … 3, scales in its low half, minima in the upper one, in the third word of
//         parts 4 … 7, in the fourth the upper 2 bits of all, so that part p's are found by shifts of 4 p and 2 p without a branch
//   q5k  12 words: as q4k; the fifth bits of 32 values each
//   q6k  21 words: f16 d; 16 int8 scales; the upper 2 bits of 16        value = d scale (q - 32)
//         values each
// A word of upper bits has in each nibble, from the lowest bits on, those of the values that have that place in the words of low bits of its
// eights, one eight after the other: shifted by an eight's, and by 4 more, they stand above the low bits that the same masks leave.
// Products of f16 and a few bits are exact in f32, so a value has one rounding at most, as on the host.

#if defined(WEIGHT_F32)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { vec4 w_data[]; };
#elif defined(WEIGHT_F16W) || defined(WEIGHT_BF16W)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { uvec2 w_data[]; };
#elif defined(WEIGHT_F16S)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { f16vec4 w_data[]; };
#elif defined(WEIGHT_BF16S)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { u16vec4 w_data[]; };
#elif defined(WEIGHT_Q8S)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { i8vec4 w_data[]; };
#else
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { uint w_data[]; };
#endif
layout(set = 0, binding = W_SCALE, std430) readonly buffer Scales { uint w_scale[]; };

#if defined(WEIGHT_Q8W) || defined(WEIGHT_Q8S)

float weight_scale(uint i4)
{
    uint block = i4 / 8;
    vec2 two = unpackHalf2x16(w_scale[block / 2]);
    return (block & 1) == 0 ? two.x : two.y;
}
#elif defined(WEIGHT_Q4) || defined(WEIGHT_Q5) || defined(WEIGHT_Q4K) || defined(WEIGHT_Q5K) || defined(WEIGHT_Q6K)
// What four neighbours, the first or last of an eight, have of its word of nibbles, or of one of upper bits.
vec4 weight_bits(uint u, uint i4, uint mask)
{
    return vec4(uvec4(u >> (8 * (i4 & 1))) >> uvec4(0, 16, 4, 20) & mask);
}

vec4 weight_low(uint i4)
{
    return weight_bits(w_data[i4 / 2], i4, 15);
}
#endif
#if defined(WEIGHT_Q4K) || defined(WEIGHT_Q5K)
// (scale, min) of part 0 … 7 of the block whose words begin at `at`.
vec2 weight_part(uint at, uint part)
{
    uint two = (w_scale[at + 1 + part / 4] >> (4 * (part & 3)) & 0x000F000Fu) | (w_scale[at + 3] >> (2 * part) & 0x00030003u) << 4;
    return unpackHalf2x16(w_scale[at]) * vec2(two & 0xFFFFu, two >> 16);
}
#endif

// Values 4 i4 … 4 i4 + 3 of the whole slice; i4 = (row kp + column) / 4.
vec4 weight4(uint i4)
{
#if defined(WEIGHT_F32) || defined(WEIGHT_F16S)
    return vec4(w_data[i4]);
#elif defined(WEIGHT_F16W)
    uvec2 u = w_data[i4];
    return vec4(unpackHalf2x16(u.x), unpackHalf2x16(u.y));
#elif defined(WEIGHT_BF16W)
    uvec2 u = w_data[i4];
    return uintBitsToFloat(uvec4(u.x << 16, u.x & 0xFFFF0000u, u.y << 16, u.y & 0xFFFF0000u));
#elif defined(WEIGHT_BF16S)
    return uintBitsToFloat(uvec4(w_data[i4]) << 16);
#elif defined(WEIGHT_Q8W)
    int u = int(w_data[i4]);
    return weight_scale(i4) * vec4((ivec4(u) << ivec4(24, 16, 8, 0)) >> 24);
#elif defined(WEIGHT_Q8S)
    return weight_scale(i4) * vec4(ivec4(w_data[i4]));
#elif defined(WEIGHT_Q4)
    vec2 s = unpackHalf2x16(w_scale[i4 / 8]);
    return s.x * weight_low(i4) + s.y;
#elif defined(WEIGHT_Q5)
    uint at = i4 / 8 * 2;
    vec2 s = unpackHalf2x16(w_scale[at]);
    return s.x * (weight_low(i4) + 16.0 * weight_bits(w_scale[at + 1] >> (i4 / 2 & 3), i4, 1)) + s.y;
#elif defined(WEIGHT_Q4K)
    vec2 s = weight_part(i4 / 64 * 4, i4 / 8 & 7);
    return s.x * weight_low(i4) - s.y;
#elif defined(WEIGHT_Q5K)
    uint at = i4 / 64 * 12, part = i4 / 8 & 7;
    vec2 s = weight_part(at, part);
    return s.x * (weight_low(i4) + 16.0 * weight_bits(w_scale[at + 4 + part] >> (i4 / 2 & 3), i4, 1)) - s.y;
#elif defined(WEIGHT_Q6K)
    uint at = i4 / 64 * 21, run = i4 / 4 & 15;
    int scale = bitfieldExtract(int(w_scale[at + 1 + run / 4]), int(8 * (run & 3)), 8);
    vec4 high = weight_bits(w_scale[at + 5 + run] >> (i4 & 2), i4, 3);
    return unpackHalf2x16(w_scale[at]).x * float(scale) * (weight_low(i4) + 16.0 * high - 32.0);
#endif
}
