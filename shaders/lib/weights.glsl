// Reads four neighbouring weights of a row. The storage type is the one macro axis of the shaders:
//   WEIGHT_F32
//   WEIGHT_F16W, WEIGHT_BF16W, WEIGHT_Q8W   8- and 16-bit values as 32-bit words, unpacked here
//   WEIGHT_F16S, WEIGHT_BF16S, WEIGHT_Q8S   the same bytes with the device's small-type storage
// Rows are kp values long, kp a multiple of PARAMS_K_PAD. q8: int8 values in binding W_DATA, one f16 scale per 32 values,
// two in a word, row after row, in binding W_SCALE (bound but unused by the other types).

#if defined(WEIGHT_F32)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { vec4 w_data[]; };
#elif defined(WEIGHT_F16W) || defined(WEIGHT_BF16W)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { uvec2 w_data[]; };
#elif defined(WEIGHT_F16S)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { f16vec4 w_data[]; };
#elif defined(WEIGHT_BF16S)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { u16vec4 w_data[]; };
#elif defined(WEIGHT_Q8W)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { uint w_data[]; };
#elif defined(WEIGHT_Q8S)
layout(set = 0, binding = W_DATA, std430) readonly buffer Weights { i8vec4 w_data[]; };
#endif
#if defined(WEIGHT_Q8W) || defined(WEIGHT_Q8S)
layout(set = 0, binding = W_SCALE, std430) readonly buffer Scales { uint w_scale[]; };

float weight_scale(uint i4)
{
    uint block = i4 / 8;
    vec2 two = unpackHalf2x16(w_scale[block / 2]);
    return (block & 1) == 0 ? two.x : two.y;
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
#endif
}
