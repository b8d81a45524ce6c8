// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual by cooperative matrices, for few rows of x
//
// Weights go from memory into the matrices that are multiplied, without shared memory between: an invocation fills its places of the left
// matrix, TM rows of w, by hand. Which those are gpu/probe.c has found out: SHARING invocations share a row, and hold of each step of TK
// values every SHARING-th pair. Since a sum does not mind the order of k, an invocation's places of a turn, 8 EIGHTS SHARING values, are those
// of EIGHTS whole eights that follow each other; x comes as fragments in that order (fragments.comp, FRAGMENTS_SPREAD), its scales behind
// them from float `scales` on. Weights are fetched a turn before their products, into the other of SETS places, or, with
// one, into theirs once they have become f16; the last turn's are fetched once more, since compilers wait for loads that are made conditionally.
// A work-group of SUBGROUPS subgroups makes SUBGROUPS RM TM columns of y for all of its rows, RN TN at most. The sums go through a patch of
// shared memory for each subgroup. Groups: x = rows of w, z = part of k, a multiple of SETS turns; EIGHTS is 2 or 4.
// A row of y is summed in the same order whatever its neighbours; the number of parts depends on n.
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
#define W_DATA 1
#define W_SCALE 2
#include "lib/weights8.glsl"
// 0x64006400, but not known to be that: with a constant in a register one instruction masks and adds it, with two in its code it takes two.
uint base;
#define WEIGHTS8_BASE base
#include "lib/weights8_half.glsl"
#include "lib/fragment.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 128;
layout(constant_id = 1) const uint SUBGROUPS = 4;
layout(constant_id = 2) const uint RM = 2;
layout(constant_id = 3) const uint RN = 2;
layout(constant_id = 4) const uint TM = 16;
layout(constant_id = 5) const uint TN = 16;
layout(constant_id = 6) const uint TK = 16;
layout(constant_id = 7) const uint SHARING = 4;
layout(constant_id = 8) const uint EIGHTS = 2;
layout(constant_id = 9) const uint SETS = 1;

const uint LANES = GROUP / SUBGROUPS;
const uint ROWS = TM * SHARING / LANES;     // that an invocation holds of a left matrix
const uint PAIRS = TK / 2 / SHARING;        // of each, in a step
const uint STEPS = 8 * EIGHTS * SHARING / TK;
const uint HELD = RM * ROWS * EIGHTS;       // eights of an invocation in a turn
const uint EACH_X = TN * TK / (8 * LANES);
const uint PATCH = TM * TN;

layout(set = 0, binding = 0, std430) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XScale { float x_scale[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_few p; };

shared float patches[SUBGROUPS * RN * PATCH];

#include "lib/matrices.glsl"

#define X_SCALE(row) x_scale[p.scales + (row)]
#include "lib/coop_store.glsl"

// Of turn t, in runs of EIGHTS.
#define FETCH(d, t)                                                                                                    \
    {                                                                                                                  \
        [[unroll]] for (uint r = 0; r < RM * ROWS; r++) {                                                              \
            uint run = at_w[r] + (t);                                                                                  \
            [[unroll]] for (uint e = 0; e < EIGHTS; e++)                                                               \
                next[d][r * EIGHTS + e] = weights8_fetch(EIGHTS * run | e);                                            \
            WEIGHTS8_RUN(next[d], r * EIGHTS, run, EIGHTS)                                                             \
        }                                                                                                              \
    }

// The products of turn t, whose weights next[d] has. Its x is fetched first. Two neighbouring eights have a scale in common.
#define TURN(d, t)                                                                                                     \
    {                                                                                                                  \
        uvec4 words[HELD];                                                                                             \
        if (SETS > 1)                                                                                                  \
            FETCH(1 - (d), min((t) + SHARING, end - SHARING))                                                          \
        uvec4 own_x[STEPS * RN * EACH_X];                                                                              \
        [[unroll]] for (uint e = 0; e < STEPS * RN * EACH_X; e++)                                                      \
            own_x[e] = x[at_x + e * LANES];                                                                            \
        at_x += STEPS * RN * EACH_X * LANES;                                                                           \
        [[unroll]] for (uint r = 0; r < RM * ROWS; r++) {                                                              \
            f16vec2 scale;                                                                                             \
            [[unroll]] for (uint e = 0; e < EIGHTS; e++) {                                                             \
                if (e % 2 == 0)                                                                                        \
                    scale = weights8_half_scale(next[d][r * EIGHTS + e], EIGHTS * (at_w[r] + (t)) | e);                \
                words[r * EIGHTS + e] = weights8_scaled(next[d][r * EIGHTS + e], scale);                               \
            }                                                                                                          \
        }                                                                                                              \
        if (SETS == 1)                                                                                                 \
            FETCH(d, min((t) + SHARING, end - SHARING))                                                                \
        [[unroll]] for (uint s = 0; s < STEPS; s++) {                                                                  \
            MATRIX_B b[RN];                                                                                            \
            [[unroll]] for (uint j = 0; j < RN; j++) {                                                                 \
                [[unroll]] for (uint e = 0; e < EACH_X; e++) {                                                         \
                    uvec4 v = own_x[(s * RN + j) * EACH_X + e];                                                        \
                    FRAGMENT_SET(b[j], e, v)                                                                           \
                }                                                                                                      \
            }                                                                                                          \
            [[unroll]] for (uint i = 0; i < RM; i++) {                                                                 \
                MATRIX_A a;                                                                                            \
                [[unroll]] for (uint r = 0; r < ROWS; r++) {                                                           \
                    [[unroll]] for (uint q = 0; q < PAIRS; q++) {                                                      \
                        uint word = s * PAIRS + q; /* of the row's run */                                              \
                        f16vec2 two = unpackFloat2x16(words[(i * ROWS + r) * EIGHTS + word / 4][word % 4]);            \
                        a[(r * PAIRS + q) * 2] = two.x;                                                                \
                        a[(r * PAIRS + q) * 2 + 1] = two.y;                                                            \
                    }                                                                                                  \
                }                                                                                                      \
                [[unroll]] for (uint j = 0; j < RN; j++)                                                               \
                    sums[i * RN + j] = MATRIX_MUL_ADD(a, b[j], sums[i * RN + j]);                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

void main()
{
    uint lane = LANE;
    base = 0x64006400u | (p.kp & 1u); // kp is even
    uint m0 = (gl_WorkGroupID.x * SUBGROUPS + SUBGROUP) * RM * TM;
    uint begin8 = gl_WorkGroupID.z * p.part8;
    uint end8 = min(begin8 + p.part8, p.kp / 8);
    uint at_x = fragment_at(begin8 / (TK / 8), 0, RN, EACH_X, LANES) + lane;
    // in runs, so that its eights are seen to have scales in common; rows behind the last repeat it, and are not stored
    uint at_w[RM * ROWS];
    [[unroll]] for (uint r = 0; r < RM * ROWS; r++) {
        uint row = m0 + r / ROWS * TM + lane / SHARING + r % ROWS * (TM / ROWS);
        at_w[r] = min(row, p.n_rows - 1) * (p.kp / (8 * EIGHTS)) + lane % SHARING;
    }
    uint begin = begin8 / EIGHTS, end = end8 / EIGHTS;
    Weights8 next[2][HELD];
    MATRIX_SUM sums[RM * RN];
    [[unroll]] for (uint i = 0; i < RM * RN; i++)
        sums[i] = MATRIX_ZERO;

    FETCH(0, begin)
    for (uint t = begin; t < end; t += SETS * SHARING) {
        TURN(0, t)
        if (SETS > 1)
            TURN(1, t + SHARING)
    }

    uint patch_at = SUBGROUP * RN * PATCH;
    [[unroll]] for (uint i = 0; i < RM; i++) {
        barrier();
        [[unroll]] for (uint j = 0; j < RN; j++)
            MATRIX_STORE_COLUMNS(sums[i * RN + j], patches, patch_at + j * PATCH, TM)
        barrier();
        for (uint e = lane; e < RN * PATCH; e += LANES)
            store(e / TM, m0 + i * TM + e % TM, patches[patch_at + e]);
    }
}
