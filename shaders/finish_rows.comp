// What lies between two products, a row at a time: rows come in as they are or as the parts of a product whose k was divided, go through
// a norm or a gate, and go out in f32, packed as f16 for the next product, or both.
//
//   source[n, m]: x, or the sum of parts [parts, part_rows, m] + bias + residual
//   result[n, k]: the source (m = k); source / sqrt(mean(source²) + eps) * gain (m = k); silu(source[:, :k]) * source[:, k:]
//     (m = 2 k); gelu(source[:, :k]) * source[:, k:], the tanh form (m = 2 k)
//   rows: the source, the result, or not written
//   pack[n] = (result / scale as f16, two values in a word, kp's padding zero; scale), PARAMS_HALF_WORDS(kp) words, or not written
//   or pack = the same as fragments, to the byte what fragments.comp makes of such rows (FRAGMENTS_SPREAD): n_blocks blocks of rows, of which
//     those behind the last are zeros; the scales from float `scales` on. Only where gpu/probe.c has found that a right matrix is held as below
//
// The scale is a power of two, which rounds nothing; the row's largest value comes to lie in 0.5 … 1, so that rows of any size fit f16,
// values down to a 2^-14 of the largest keep f16's 11 bits, and a sum of products in f16 has room. NaN and Inf stay what they are.
//
// A work-group takes a row and holds it between reading and writing, an invocation VECTORS vectors of four, GROUP apart, so that neighbours
// read and write beside each other. Parts are added in their order, then bias, then residual. rows may be residual: an invocation reads and
// writes the same elements. f32 sums, whose order depends on GROUP and VECTORS only. Groups: x = row, up to whole
// blocks of fragments.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params.h"
#include "lib/fragment.glsl"
#include "lib/math.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64; // a power of two
layout(constant_id = 1) const uint VECTORS = 4; // 4 GROUP VECTORS is kp or more
layout(constant_id = 2) const uint FOURS = 0;   // k is a multiple of 4: rows are whole vectors
layout(constant_id = 3) const uint PARTS = 0;   // the source is parts
layout(constant_id = 4) const uint OP = PARAMS_FINISH_NOTHING;
layout(constant_id = 5) const uint ROWS = PARAMS_ROWS_NONE;
layout(constant_id = 6) const uint PACK = PARAMS_PACK_ROWS;
layout(constant_id = 7) const uint EIGHTS = 2; // of fragments, as matmul_few.comp's

const uint HALVES = OP >= PARAMS_FINISH_SWIGLU ? 2 : 1; // of a row of the source
// Parts that are fetched before they are added, so that their way from memory is waited for once
const uint AT_ONCE = VECTORS * HALVES >= 16 ? 1 : 16 / (VECTORS * HALVES);
const bool EARLY = HALVES == 1; // a gate's residual is wanted once its parts have left their registers
const uint RUN = GROUP < 16 ? GROUP : 16;

layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 0, std430) readonly buffer X4 { vec4 x4[]; };
layout(set = 0, binding = 1, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 1, std430) readonly buffer Bias4 { vec4 bias4[]; };
layout(set = 0, binding = 2, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 2, std430) readonly buffer Residual4 { vec4 residual4[]; };
layout(set = 0, binding = 3, std430) readonly buffer Gain { float gain[]; };
layout(set = 0, binding = 3, std430) readonly buffer Gain4 { vec4 gain4[]; };
layout(set = 0, binding = 4, std430) writeonly buffer Rows { float rows[]; };
layout(set = 0, binding = 4, std430) writeonly buffer Rows4 { vec4 rows4[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Pack { uint pack[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Pack2 { uvec2 pack2[]; };
layout(push_constant) uniform Push { push_finish p; };

shared float slots[GROUP];
shared float runs[GROUP / RUN];

// A right matrix of fragments: TK x TN of a subgroup of LANES, SHARING of them a column, as matmul_few.comp's left one.
const uint TN = 16, TK = 16, LANES = 32, SHARING = 4;

vec4 v[VECTORS * HALVES]; // the source, then in the first half the result

vec4 gains[VECTORS]; // fetched beside the parts

const uint IN_X = 0, IN_BIAS = 1, IN_RESIDUAL = 2, IN_GAIN = 3;

// Four values from `at` on, of which the first is value c of k in its half of a row.
vec4 load4(uint from, uint at, uint c)
{
    if (FOURS != 0) {
        if (from == IN_X)
            return x4[at / 4];
        if (from == IN_BIAS)
            return bias4[at / 4];
        if (from == IN_RESIDUAL)
            return residual4[at / 4];
        return gain4[at / 4];
    }
    vec4 four = vec4(0.0);
    for (uint i = 0; i < 4; i++) {
        if (c + i >= p.k)
            break;
        if (from == IN_X)
            four[i] = x[at + i];
        else if (from == IN_BIAS)
            four[i] = bias[at + i];
        else if (from == IN_RESIDUAL)
            four[i] = residual[at + i];
        else
            four[i] = gain[at + i];
    }
    return four;
}

void store4(uint at, uint c, vec4 four)
{
    if (FOURS != 0) {
        rows4[at / 4] = four;
        return;
    }
    for (uint i = 0; i < 4 && c + i < p.k; i++)
        rows[at + i] = four[i];
}

// The place in its half of a row of an invocation's vector i.
uint place(uint i)
{
    return 4 * (gl_LocalInvocationID.x + i % VECTORS * GROUP);
}

// The sum or the largest of all invocations' a, in two steps: whole runs by few invocations, then those by each.
float over_group(float a, bool largest)
{
    const uint n = GROUP / RUN;
    uint t = gl_LocalInvocationID.x;
    barrier(); // what was left here before has been read by all
    slots[t] = a;
    barrier();
    if (t < n) {
        float b = slots[t];
        for (uint i = 1; i < RUN; i++)
            b = largest ? max(b, slots[t + i * n]) : b + slots[t + i * n];
        runs[t] = b;
    }
    barrier();
    float all = runs[0];
    for (uint i = 1; i < n; i++)
        all = largest ? max(all, runs[i]) : all + runs[i];
    return all;
}

void load_source(uint row)
{
    const uint m = HALVES * p.k;
    [[unroll]] for (uint i = 0; i < VECTORS * HALVES; i++) {
        uint c = place(i);
        v[i] = vec4(0.0);
        if (PARTS == 0 && c < p.k)
            v[i] = load4(IN_X, row * m + i / VECTORS * p.k + c, c);
    }
    if (PARTS == 0)
        return;
    // what is wanted after the parts is on its way while they are
    vec4 residuals[VECTORS];
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        uint c = place(i);
        residuals[i] = vec4(0.0);
        if (EARLY && c < p.k && (p.flags & PARAMS_HAS_RESIDUAL) != 0)
            residuals[i] = load4(IN_RESIDUAL, row * m + c, c);
        if (OP == PARAMS_FINISH_NORM && c < p.k)
            gains[i] = load4(IN_GAIN, c, c);
    }
    for (uint part = 0; part < p.parts; part += AT_ONCE) {
        vec4 more[AT_ONCE * VECTORS * HALVES];
        [[unroll]] for (uint j = 0; j < AT_ONCE * VECTORS * HALVES; j++) {
            uint i = j % (VECTORS * HALVES), from = part + j / (VECTORS * HALVES), c = place(i);
            more[j] = vec4(0.0);
            if (c < p.k && from < p.parts)
                more[j] = load4(IN_X, (from * p.part_rows + row) * m + i / VECTORS * p.k + c, c);
        }
        [[unroll]] for (uint j = 0; j < AT_ONCE * VECTORS * HALVES; j++)
            v[j % (VECTORS * HALVES)] += more[j];
    }
    [[unroll]] for (uint i = 0; i < VECTORS * HALVES; i++) {
        uint c = place(i);
        if (c < p.k && (p.flags & PARAMS_HAS_BIAS) != 0)
            v[i] += load4(IN_BIAS, i / VECTORS * p.k + c, c);
        if (c < p.k && (p.flags & PARAMS_HAS_RESIDUAL) != 0)
            v[i] += EARLY ? residuals[i % VECTORS] : load4(IN_RESIDUAL, row * m + i / VECTORS * p.k + c, c);
    }
}

void norm()
{
    float sum = 0.0;
    [[unroll]] for (uint i = 0; i < VECTORS; i++)
        sum += dot(v[i], v[i]);
    float scale = rsqrt_f32(over_group(sum, false) / float(p.k) + p.eps);
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        uint c = place(i);
        if (c < p.k)
            v[i] = v[i] * scale * (PARTS != 0 ? gains[i] : load4(IN_GAIN, c, c));
    }
}

void gate()
{
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        [[unroll]] for (uint e = 0; e < 4; e++)
            v[i][e] = (OP == PARAMS_FINISH_SWIGLU ? silu_f32(v[i][e]) : gelu_tanh_f32(v[i][e])) * v[i + (HALVES - 1) * VECTORS][e];
    }
}

// Where a row's vector at c goes, in pairs of words. As fragments: an invocation holds of columns t / 4 and t / 4 + 8, beside each other in
// its words, pairs t % 4 and t % 4 + 4 of a step; fragment_pair brings a vector's two pairs to two such places.
uint pack_place(uint row, uint c)
{
    if (PACK == PARAMS_PACK_ROWS)
        return row * (PARAMS_HALF_WORDS(p.kp) / 2) + c / 4;
    uint pair = fragment_pair(c / 2, 4 * EIGHTS, SHARING, TK), column = row % TN;
    uint lane = column % 8 * SHARING + pair % (TK / 2);
    return 2 * (fragment_at(pair / (TK / 2), row / TN, p.n_blocks, 1, LANES) + lane) + column / 8;
}

void store_no_row(uint row)
{
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        uint c = place(i);
        if (c < p.kp)
            pack2[pack_place(row, c)] = uvec2(0);
    }
    if (gl_LocalInvocationID.x == 0)
        pack[p.scales + row] = 0;
}

void store_pack(uint row)
{
    float largest = 0.0;
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        vec4 size = abs(v[i]);
        largest = max(largest, max(max(size.x, size.y), max(size.z, size.w)));
    }
    largest = over_group(largest, true);
    // 2^e with largest / 2^e in 0.5 … 1, from the bits of the exponent; f32's denormals and Inf at its ends
    int e = clamp(int(floatBitsToUint(largest) >> 23) - 126, -120, 120);
    float by = uintBitsToFloat(uint(127 - e) << 23);
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        uint c = place(i);
        if (c < p.kp)
            pack2[pack_place(row, c)] = uvec2(packHalf2x16(v[i].xy * by), packHalf2x16(v[i].zw * by));
    }
    if (gl_LocalInvocationID.x == 0)
        pack[PACK == PARAMS_PACK_ROWS ? row * PARAMS_HALF_WORDS(p.kp) + p.kp / 2 : p.scales + row] = uint(127 + e) << 23;
}

void store_rows(uint row, uint halves)
{
    [[unroll]] for (uint i = 0; i < VECTORS * halves; i++) {
        uint c = place(i);
        if (c < p.k)
            store4((row * halves + i / VECTORS) * p.k + c, c, v[i]);
    }
}

void main()
{
    uint row = gl_WorkGroupID.x;
    if (PACK == PARAMS_PACK_FRAGMENTS && row >= p.n) {
        store_no_row(row);
        return;
    }
    load_source(row);
    if (ROWS == PARAMS_ROWS_SOURCE)
        store_rows(row, HALVES);
    if (OP == PARAMS_FINISH_NORM)
        norm();
    if (OP >= PARAMS_FINISH_SWIGLU)
        gate();
    if (ROWS == PARAMS_ROWS_RESULT)
        store_rows(row, 1);
    if (PACK != PARAMS_PACK_NONE)
        store_pack(row);
}
