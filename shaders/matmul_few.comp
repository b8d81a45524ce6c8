// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual by cooperative matrices, for few rows of x
//
// Weights go from memory into the matrices that are multiplied, without shared memory between: an invocation fills its places of the left
// matrix, TM rows of w, by hand. Which those are gpu/probe.c has found out: SHARING invocations share a row, and hold of each step of TK
// values every SHARING-th pair. Since a sum does not mind the order of k, an invocation's places of 16 SHARING values are those of 16
// neighbours, two whole eights; x comes as fragments in that order (fragments.comp, FRAGMENTS_SPREAD), its scales behind them from float
// `scales` on. What the next 16 SHARING values need is fetched before this one's products.
// A work-group of SUBGROUPS subgroups makes SUBGROUPS RM TM columns of y for all of its rows, RN TN at most. The sums go through a patch of
// shared memory for each subgroup. Groups: x = rows of w, z = part of k, a multiple of 16 SHARING.
// A row of y is summed in the same order whatever its neighbours; the number of parts depends on n.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#include "params_fragments.h"
#define W_DATA 1
#define W_SCALE 2
#include "lib/weights8.glsl"
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

const uint LANES = GROUP / SUBGROUPS;
const uint ROWS = TM * SHARING / LANES;     // that an invocation holds of a left matrix
const uint PAIRS = TK / 2 / SHARING;        // of each, in a step
const uint STEPS = 16 * SHARING / TK;
const uint EACH_X = TN * TK / (8 * LANES);
const uint PATCH = TM * TN;

layout(set = 0, binding = 0, std430) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XScale { float x_scale[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_few p; };

shared float patches[SUBGROUPS * RN * PATCH];

#define X_SCALE(row) x_scale[p.scales + (row)]
#include "lib/coop_store.glsl"

#define FETCH(k16)                                                                                                     \
    {                                                                                                                  \
        [[unroll]] for (uint r = 0; r < RM * ROWS; r++) {                                                              \
            next[2 * r] = weights8_fetch(2 * (at_w[r] + (k16)));                                                       \
            next[2 * r + 1] = weights8_fetch(2 * (at_w[r] + (k16)) | 1);                                               \
        }                                                                                                              \
    }

void main()
{
    uint lane = gl_SubgroupInvocationID;
    uint m0 = (gl_WorkGroupID.x * SUBGROUPS + gl_SubgroupID) * RM * TM;
    uint begin8 = gl_WorkGroupID.z * p.part8;
    uint end8 = min(begin8 + p.part8, p.kp / 8);
    uint step_x = RN * EACH_X * LANES;
    uint at_x = fragment_at(begin8 / (TK / 8), 0, RN, EACH_X, LANES) + lane;
    // in sixteens, so that two eights are seen to have scales in common; rows behind the last repeat it, and are not stored
    uint at_w[RM * ROWS];
    [[unroll]] for (uint r = 0; r < RM * ROWS; r++) {
        uint row = m0 + r / ROWS * TM + lane / SHARING + r % ROWS * (TM / ROWS);
        at_w[r] = min(row, p.n_rows - 1) * (p.kp / 16) + lane % SHARING;
    }
    Weights8 next[2 * RM * ROWS];
    coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator> sums[RM * RN];
    [[unroll]] for (uint i = 0; i < RM * RN; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>(0.0);

    FETCH(begin8 / 2)
    for (uint k16 = begin8 / 2; k16 < end8 / 2; k16 += SHARING) {
        uvec4 words[2 * RM * ROWS];
        [[unroll]] for (uint r = 0; r < RM * ROWS; r++) {
            words[2 * r] = weights8_f16(next[2 * r], 2 * (at_w[r] + k16));
            words[2 * r + 1] = weights8_f16(next[2 * r + 1], 2 * (at_w[r] + k16) | 1);
        }
        if (k16 + SHARING < end8 / 2)
            FETCH(k16 + SHARING)
        [[unroll]] for (uint s = 0; s < STEPS; s++) {
            coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB> b[RN];
            [[unroll]] for (uint j = 0; j < RN; j++) {
                [[unroll]] for (uint e = 0; e < EACH_X; e++) {
                    uvec4 v = x[at_x + (j * EACH_X + e) * LANES];
                    FRAGMENT_SET(b[j], e, v)
                }
            }
            at_x += step_x;
            [[unroll]] for (uint i = 0; i < RM; i++) {
                coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA> a;
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    [[unroll]] for (uint q = 0; q < PAIRS; q++) {
                        uint word = s * PAIRS + q; // of the row's eight
                        f16vec2 two = unpackFloat2x16(words[2 * (i * ROWS + r) + word / 4][word % 4]);
                        a[(r * PAIRS + q) * 2] = two.x;
                        a[(r * PAIRS + q) * 2 + 1] = two.y;
                    }
                }
                [[unroll]] for (uint j = 0; j < RN; j++)
                    sums[i * RN + j] = coopMatMulAdd(a, b[j], sums[i * RN + j]);
            }
        }
    }

    uint patch_at = gl_SubgroupID * RN * PATCH;
    [[unroll]] for (uint i = 0; i < RM; i++) {
        barrier();
        [[unroll]] for (uint j = 0; j < RN; j++)
            coopMatStore(sums[i * RN + j], patches, patch_at + j * PATCH, TM, gl_CooperativeMatrixLayoutColumnMajor);
        barrier();
        for (uint e = lane; e < RN * PATCH; e += LANES)
            store(e / TM, m0 + i * TM + e % TM, patches[patch_at + e]);
    }
}
