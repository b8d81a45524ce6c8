// Weights by runs: EIGHTS eights (2 or 4) of a row that follow each other, whose low bits, or all, lie side by side and come in loads as wide
// as can be. Beside those a run has words of its own, and of the K types' blocks of 256 a head. Fetched first, made into f16 later, an eight at a
// time, as lib/weights8_half.glsl does. Needs the constant EIGHTS, lib/weights8.glsl, whose planes it reads, and lib/weights8_half.glsl.
layout(set = 0, binding = W_SCALE, std430) readonly buffer ScalePairs { uvec2 w_scale2[]; };

#if defined(WEIGHT_Q4K) || defined(WEIGHT_Q5K) || defined(WEIGHT_Q6K)
#define WEIGHT_K
#endif

// Quads of a run's low bits, and which of them has eight e's.
#if defined(WEIGHT_F16W) || defined(WEIGHT_BF16W)
#define RUN_QUADS EIGHTS
#define RUN_QUAD(e) (e)
#elif defined(WEIGHT_Q8W)
#define RUN_QUADS (EIGHTS / 2)
#define RUN_QUAD(e) ((e) / 2)
#else
#define RUN_QUADS 1
#define RUN_QUAD(e) 0
#endif

// Quad i of run `run` of the whole slice.
uvec4 run_quad(uint run, uint i)
{
#if defined(WEIGHT_F16W) || defined(WEIGHT_BF16W) || defined(WEIGHT_Q8W)
    return w_quad[run * RUN_QUADS + i];
#else
    return EIGHTS == 4 ? w_quad[run] : uvec4(w_pair[run], 0, 0);
#endif
}

// What all runs of block `block` of a K type have in common.
uvec4 run_head(uint block)
{
#if defined(WEIGHT_Q4K)
    return w_scale4[block];
#elif defined(WEIGHT_Q5K)
    return w_scale4[block * 3];
#elif defined(WEIGHT_Q6K)
    return uvec4(w_scale[block * 21], 0, 0, 0);
#else
    return uvec4(0);
#endif
}

// What run `run` has besides; its first eight is eight i8 of block `block` where the type is a K type.
uvec4 run_own(uint run, uint block, uint i8)
{
#if defined(WEIGHT_Q8W)
    uint at = EIGHTS * run;
    return uvec4(w_scale[at / 8] >> (16 * (at / 4 & 1)), 0, 0, 0);
#elif defined(WEIGHT_Q4)
    return uvec4(w_scale[EIGHTS * run / 4], 0, 0, 0);
#elif defined(WEIGHT_Q5)
    uvec2 own = w_scale2[EIGHTS * run / 4];
    return uvec4(own.x, EIGHTS == 4 ? own.y : own.y >> (EIGHTS * run & 3), 0, 0);
#elif defined(WEIGHT_Q5K)
    uint own = w_scale[block * 12 + 4 + i8 / 4];
    return uvec4(0, EIGHTS == 4 ? own : own >> (i8 & 3), 0, 0);
#elif defined(WEIGHT_Q6K)
    uint at = block * 21 + 1;
    return uvec4(w_scale[at + i8 / 8] >> (8 * (i8 / 2 & 3)), w_scale[at + 4 + i8 / 2], EIGHTS == 4 ? w_scale[at + 5 + i8 / 2] : 0, 0);
#else
    return uvec4(0);
#endif
}

// (factor, what is added) of a run; of q6k the factors of its sixteens. low_part: whether the run is in the first half of its block.
f16vec2 run_scale(uvec4 head, uvec4 own, bool low_part, uint i8)
{
#if defined(WEIGHT_Q4K) || defined(WEIGHT_Q5K)
    uint part = i8 / 4;
    uint two = (low_part ? head.y : head.z) >> (4 * (part & 3)) & 0x000F000Fu | (head.w >> (2 * part) & 0x00030003u) << 4;
    return unpackFloat2x16(head.x ^ 0x80000000u) * (weights8_pair(two) - f16vec2(1024.0));
#elif defined(WEIGHT_Q6K)
    uint two = (own.x & 0xFFu | (own.x & 0xFF00u) << 8) ^ 0x00800080u;
    return unpackFloat2x16(head.x).xx * (weights8_pair(two) - f16vec2(1152.0));
#elif defined(WEIGHT_Q8W)
    return f16vec2(unpackFloat2x16(own.x).x, 0.0);
#elif defined(WEIGHT_F16W) || defined(WEIGHT_BF16W)
    return f16vec2(0.0);
#else
    return unpackFloat2x16(own.x);
#endif
}

// Eight e of a run as f16, two neighbours in a word, from the quad that has it.
uvec4 run_eight(uvec4 quad, uvec4 own, f16vec2 scale, uint e)
{
    Weights8 w;
#if defined(WEIGHT_F16W) || defined(WEIGHT_BF16W)
    w.a = quad;
#elif defined(WEIGHT_Q8W)
    w.a.xy = e % 2 == 0 ? quad.xy : quad.zw;
#else
    w.a.x = quad[e];
#endif
#if defined(WEIGHT_Q6K)
    uint bits = e < 2 ? own.y : own.z;
    uvec2 upper = uvec2(bits << (4 - 2 * (e & 1)), bits >> (4 + 2 * (e & 1)));
    scale = f16vec2(e < 2 ? scale.x : scale.y, 0.0);
#else
    uvec2 upper = uvec2(own.y << (4 - e), own.y >> (4 + e));
#endif
    return weights8_scaled_with(w, upper, scale);
}
