// to = the fragments (lib/fragment.glsl) of rows row0 … row0 + n_rows - 1 of a matrix, by blocks of rows and steps of k
//
// FRAGMENTS_X: of x packed as f16 (finish_rows.comp), the left matrix of a product, blocks of TM rows; their scales go to float `scales` and on.
// FRAGMENTS_SPREAD: the same as the right matrix of matmul_few.comp, blocks of TN, and with k in another order: of each 8 EIGHTS SHARING
// values the places that invocations of one class hold in the matrices, step after step, are taken by neighbours (lib/fragment.glsl).
// Otherwise of weights in their storage type (lib/weights8.glsl), the right one, blocks of TN.
// A work-group takes one block for each of its subgroups and BK8 eights of k: unpacked into shared memory, loaded as matrices, written as
// each invocation holds them. Rows behind the last and values behind kp are zeros. Groups: x = blocks, y = parts of k. TK divides 8 BK8.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#ifndef EMULATED
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#endif
#include "params_fragments.h"
#include "lib/fragment.glsl"
#ifdef FRAGMENTS_SPREAD
#define FRAGMENTS_X
#endif
#ifndef FRAGMENTS_X
#define W_DATA 0
#define W_SCALE 1
#include "lib/weights8.glsl"
#include "lib/weights8_half.glsl"
#endif

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 128;
layout(constant_id = 1) const uint SUBGROUPS = 4;
layout(constant_id = 2) const uint TM = 16;
layout(constant_id = 3) const uint TN = 16;
layout(constant_id = 4) const uint TK = 16;
layout(constant_id = 5) const uint BK8 = 16;
layout(constant_id = 6) const uint SHARING = 4;
#ifdef FRAGMENTS_SPREAD
layout(constant_id = 7) const uint EIGHTS = 2;
#endif

#if defined(FRAGMENTS_X) && !defined(FRAGMENTS_SPREAD)
#define LEFT
#endif
#ifdef LEFT
const uint BLOCK = TM;
#else
const uint BLOCK = TN;
#endif
#ifdef FRAGMENTS_X
layout(set = 0, binding = 0, std430) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XScale { float x_scale[]; };
layout(set = 0, binding = 1, std430) writeonly buffer To { uvec4 to[]; };
layout(set = 0, binding = 1, std430) writeonly buffer ToScale { float to_scale[]; };
#else
layout(set = 0, binding = 2, std430) writeonly buffer To { uvec4 to[]; };
#endif
layout(push_constant) uniform Push { push_fragments p; };

const uint LANES = GROUP / SUBGROUPS;
const uint EACH = BLOCK * TK / (8 * LANES);
const uint ROW = BK8 + 1;
const uint ROWS = SUBGROUPS * BLOCK;

shared uvec4 tile[ROWS * ROW];

#include "lib/matrices.glsl"

uvec4 eight(uint row, uint k8)
{
    if (row >= p.n_rows || k8 >= p.kp / 8)
        return uvec4(0);
#ifdef FRAGMENTS_X
    return x[(p.row0 + row) * (PARAMS_HALF_WORDS(p.kp) / 4) + k8];
#else
    uint i8 = (p.row0 + row) * (p.kp / 8) + k8;
    return weights8_f16(weights8_fetch(i8), i8);
#endif
}

void put(uint row, uint k8, uvec4 v)
{
#ifdef FRAGMENTS_SPREAD
    // A pair of neighbours is found again at its class's place of a step: fragment_pair.
    [[unroll]] for (uint c = 0; c < 4; c++) {
        uint at = fragment_pair(4 * k8 + c, 4 * EIGHTS, SHARING, TK);
        tile[row * ROW + at / 4][at % 4] = v[c];
    }
#else
    tile[row * ROW + k8] = v;
#endif
}

void main()
{
    uint first = gl_WorkGroupID.x * SUBGROUPS;
    uint begin8 = gl_WorkGroupID.y * BK8;
    [[unroll]] for (uint i = gl_LocalInvocationID.x; i < ROWS * BK8; i += GROUP)
        put(i / BK8, i % BK8, eight(first * BLOCK + i / BK8, begin8 + i % BK8));
#ifdef FRAGMENTS_X
    for (uint i = gl_LocalInvocationID.x; gl_WorkGroupID.y == 0 && i < ROWS && first * BLOCK + i < p.n_blocks * BLOCK; i += GROUP) {
        uint row = first * BLOCK + i;
        to_scale[p.scales + row] = row < p.n_rows ? x_scale[(p.row0 + row) * PARAMS_HALF_WORDS(p.kp) + p.kp / 2] : 0.0;
    }
#endif
    barrier();
    uint block = first + SUBGROUP;
    for (uint q = 0; q < BK8; q += TK / 8) {
        uint at = fragment_at(begin8 / (TK / 8) + q / (TK / 8), block, p.n_blocks, EACH, LANES) + LANE;
#ifdef LEFT
        MATRIX_A m;
        MATRIX_LOAD_A(m, tile, SUBGROUP * BLOCK * ROW + q, ROW)
#else
        MATRIX_B m;
        MATRIX_LOAD_B(m, tile, SUBGROUP * BLOCK * ROW + q, ROW)
#endif
        if (block < p.n_blocks && begin8 + q < p.kp / 8) {
            [[unroll]] for (uint e = 0; e < EACH; e++) {
                uvec4 v;
                FRAGMENT_GET(m, e, v)
#ifdef LEFT
                v = v.xzyw;
#endif
                to[at + e * LANES] = v;
            }
        }
    }
}
