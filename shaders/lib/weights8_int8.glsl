// Eight weights as the int8 of which they are made, from what lib/weights8.glsl has fetched, and the product of such words. A value is
// x * q + y of weights8_int8_scale, q from weights8_int8. Q8W's words hold v0 v1 v2 v3 and v4 v5 v6 v7 from the lowest byte on; those of
// the types with fewer bits v0 v4 v1 v5 and v2 v6 v3 v7, which is how a mask takes a word of lib/weights.glsl apart.

// The SPIR-V instruction by itself: GL_EXT_integer_dot_product is younger than the build's glslang. Format 0: four int8 in a word.
#extension GL_EXT_spirv_intrinsics : require
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int spirv_sdot(uint a, uint b, spirv_literal int format);

int int8_dot16(uvec4 a, uvec4 b)
{
    return spirv_sdot(a.x, b.x, 0) + spirv_sdot(a.y, b.y, 0) + spirv_sdot(a.z, b.z, 0) + spirv_sdot(a.w, b.w, 0);
}

uvec2 weights8_int8(Weights8 w)
{
#if defined(WEIGHT_Q8W)
    return w.a.xy;
#else
    uvec2 q = uvec2(w.a.x, w.a.x >> 4) & 0x0F0F0F0Fu;
#if defined(WEIGHT_UPPER)
    q |= uvec2(w.a.y << 4, w.a.y) & WEIGHT_UPPER * 0x10101010u;
#endif
#if defined(WEIGHT_Q6K)
    q = ((q | 0x80808080u) - 0x20202020u) ^ 0x80808080u; // 32 off each byte
#endif
    return q;
#endif
}

vec2 weights8_int8_scale(Weights8 w, uint i8)
{
    vec2 s = weights8_scale(w, i8);
#if defined(WEIGHT_Q6K)
    s.y = 0.0; // the 32 is off already
#endif
    return s;
}
