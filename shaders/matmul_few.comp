// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual by cooperative matrices, for few rows of x
//
// Weights go from memory into the matrices that are multiplied, without shared memory between: an invocation fills its places of the left
// matrix, TM rows of w, by hand. Which those are gpu/probe.c has found out: SHARING invocations share a row, and hold of each step of TK
// values every SHARING-th pair. Since a sum does not mind the order of k, an invocation's places of a turn, 8 EIGHTS SHARING values, are those
// of EIGHTS whole eights that follow each other, a run; x comes as fragments in that order (fragments.comp, FRAGMENTS_SPREAD), its scales behind
// them from float `scales` on.
//
// SETS turns are a round, whose runs and, of the K types, heads of blocks are fetched a round ahead, into the places that the round before has
// left; the last round's are fetched once more, since compilers wait for loads that are made conditionally. Fragments of x are fetched an
// eight ahead, for which there is room behind the last; as constants beside an address they take no computation each.
//
// A work-group of SUBGROUPS subgroups makes SUBGROUPS RM TM columns of y for all of its rows, RN TN at most. Groups: x = rows of w, z = part of k,
// a multiple of SETS turns; EIGHTS is 2 or 4. With PARAMS_WHOLE y has room for RN TN rows (of each part), and w whole matrices: sums go
// to it as they are, scaled; else through a patch of shared memory for each subgroup.
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
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
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
#include "lib/weights_run.glsl"

const uint LANES = GROUP / SUBGROUPS;
const uint ROWS = TM * SHARING / LANES; // that an invocation holds of a left matrix
const uint HELD = RM * ROWS;            // and of all of its subgroup's
const uint PAIRS = TK / 2 / SHARING;    // of each, in a step
const uint STEPS = 4 / PAIRS;           // in which an eight of all that share a row is multiplied
const uint EACH_X = TN * TK / (8 * LANES);
const uint QUADS_X = STEPS * RN * EACH_X; // of x, for an eight
const uint UNITS = SETS * EIGHTS;         // eights of a round
const uint PATCH = TM * TN;
// Whether a round is a block of the K types, and a set half of it.
const bool BLOCKS = EIGHTS == 4 && SHARING == 4 && SETS == 2;
const uint HEADS = BLOCKS ? 1 : SETS; // of each row, in a round

layout(set = 0, binding = 0, std430) readonly buffer XScale { float x_scale[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_few p; };

// x's fragments from a place on
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Fragments { uvec4 quads[]; };

Fragments fragments_from(uvec2 address, uint i)
{
    return Fragments(uint64_t(Fragments(address)) + 16 * uint64_t(i));
}

shared float patches[SUBGROUPS * RN * PATCH];

#include "lib/matrices.glsl"

#define X_SCALE(row) x_scale[p.scales + (row)]
#include "lib/coop_store.glsl"

// The first eight of set d in its block, of the K types, where round t begins; and the block.
#define FIRST_EIGHT(r, d, t) (BLOCKS ? EIGHTS * (share + (d) * SHARING) : EIGHTS * (at_w[r] + (t) + (d) * SHARING) % 32)
#define BLOCK(r, d, t) (BLOCKS ? at_block[r] + (t) / (2 * SHARING) : EIGHTS * (at_w[r] + (t) + (d) * SHARING) / 32)

// What rows have in set d of the round that begins with run t, but for BLOCKS' heads.
#define FETCH_RUNS(d, t)                                                                                               \
    [[unroll]] for (uint r = 0; r < HELD; r++) {                                                                       \
        uint run = at_w[r] + (t) + (d) * SHARING, block = BLOCK(r, d, t);                                              \
        [[unroll]] for (uint i = 0; i < RUN_QUADS; i++)                                                                \
            low[((d) * HELD + r) * RUN_QUADS + i] = run_quad(run, i);                                                  \
        own[(d) * HELD + r] = run_own(run, block, FIRST_EIGHT(r, d, t));                                               \
        if (!BLOCKS)                                                                                                   \
            head[(d) * HELD + r] = run_head(block);                                                                    \
    }

#define FETCH_HEADS(t)                                                                                                 \
    [[unroll]] for (uint r = 0; BLOCKS && r < HELD; r++)                                                               \
        head[r] = run_head(BLOCK(r, 0, t));

#define FETCH_X(unit)                                                                                                  \
    [[unroll]] for (uint i = 0; i < QUADS_X; i++)                                                                      \
        own_x[(unit) % 2 * QUADS_X + i] = x.quads[((unit) * QUADS_X + i) * LANES];

// The products of eight e of set d's runs, whose words are there.
#define MULTIPLY(unit)                                                                                                 \
    [[unroll]] for (uint s = 0; s < STEPS; s++) {                                                                      \
        MATRIX_B b[RN];                                                                                                \
        [[unroll]] for (uint j = 0; j < RN; j++) {                                                                     \
            [[unroll]] for (uint e = 0; e < EACH_X; e++) {                                                             \
                uvec4 v = own_x[(unit) % 2 * QUADS_X + (s * RN + j) * EACH_X + e];                                     \
                FRAGMENT_SET(b[j], e, v)                                                                               \
            }                                                                                                          \
        }                                                                                                              \
        [[unroll]] for (uint i = 0; i < RM; i++) {                                                                     \
            MATRIX_A a;                                                                                                \
            [[unroll]] for (uint r = 0; r < ROWS; r++) {                                                               \
                [[unroll]] for (uint q = 0; q < PAIRS; q++) {                                                          \
                    f16vec2 two = unpackFloat2x16(words[i * ROWS + r][s * PAIRS + q]);                                 \
                    a[(r * PAIRS + q) * 2] = two.x;                                                                    \
                    a[(r * PAIRS + q) * 2 + 1] = two.y;                                                                \
                }                                                                                                      \
            }                                                                                                          \
            [[unroll]] for (uint j = 0; j < RN; j++)                                                                   \
                sums[i * RN + j] = MATRIX_MUL_ADD(a, b[j], sums[i * RN + j]);                                          \
        }                                                                                                              \
    }

void main()
{
    uint lane = LANE, share = lane % SHARING;
    base = 0x64006400u | (p.kp & 1u); // kp is even
    uint m0 = (gl_WorkGroupID.x * SUBGROUPS + SUBGROUP) * RM * TM;
    uint begin8 = gl_WorkGroupID.z * p.part8;
    uint end8 = min(begin8 + p.part8, p.kp / 8);
    Fragments x = fragments_from(uvec2(p.x_low, p.x_high), fragment_at(begin8 / (TK / 8), 0, RN, EACH_X, LANES) + lane);
    // in runs and in blocks; rows behind the last repeat it, and are not stored
    uint at_w[HELD], at_block[HELD];
    [[unroll]] for (uint r = 0; r < HELD; r++) {
        uint row = min(m0 + r / ROWS * TM + lane / SHARING + r % ROWS * (TM / ROWS), p.n_rows - 1);
        at_w[r] = row * (p.kp / (8 * EIGHTS)) + share;
        at_block[r] = row * (p.kp / 256);
    }
    uint begin = begin8 / EIGHTS, end = end8 / EIGHTS;
    uvec4 low[SETS * HELD * RUN_QUADS], own[SETS * HELD], head[HEADS * HELD], own_x[2 * QUADS_X];
    MATRIX_SUM sums[RM * RN];
    [[unroll]] for (uint i = 0; i < RM * RN; i++)
        sums[i] = MATRIX_ZERO;

    FETCH_HEADS(begin)
    [[unroll]] for (uint d = 0; d < SETS; d++)
        FETCH_RUNS(d, begin)
    FETCH_X(0)
    for (uint t = begin; t < end; t += SETS * SHARING) {
        uint next = min(t + SETS * SHARING, end - SETS * SHARING);
        f16vec2 scale[SETS * HELD];
        [[unroll]] for (uint i = 0; i < SETS * HELD; i++) {
            uint i8 = FIRST_EIGHT(i % HELD, i / HELD, t);
            scale[i] = run_scale(head[i % (HEADS * HELD)], own[i], BLOCKS ? i < HELD : i8 < 16, i8);
        }
        FETCH_HEADS(next)
        [[unroll]] for (uint unit = 0; unit < UNITS; unit++) {
            uint d = unit / EIGHTS, e = unit % EIGHTS;
            uvec4 words[HELD];
            FETCH_X(unit + 1)
            [[unroll]] for (uint r = 0; r < HELD; r++)
                words[r] = run_eight(low[(d * HELD + r) * RUN_QUADS + RUN_QUAD(e)], own[d * HELD + r], scale[d * HELD + r], e);
            if (e == EIGHTS - 1)
                FETCH_RUNS(d, next)
            MULTIPLY(unit)
        }
        x = Fragments(uint64_t(x) + 16 * UNITS * QUADS_X * LANES);
    }

    if ((p.flags & PARAMS_WHOLE) != 0) {
        uint at = gl_WorkGroupID.z * RN * TN * p.m + p.row0 + m0;
        [[unroll]] for (uint j = 0; j < RN; j++) {
            MATRIX_SUM by; // each column its row's scale
            MATRIX_LOAD_SUMS(by, x_scale, p.scales + j * TN, 0)
            [[unroll]] for (uint i = 0; i < RM; i++) {
                MATRIX_SCALE(sums[i * RN + j], by)
                if (m0 + i * TM < p.n_rows)
                    MATRIX_STORE_COLUMNS(sums[i * RN + j], y, at + i * TM + j * TN * p.m, p.m)
            }
        }
        return;
    }
    uint patch_at = SUBGROUP * RN * PATCH;
    [[unroll]] for (uint i = 0; i < RM; i++) {
        barrier();
        [[unroll]] for (uint j = 0; j < RN; j++)
            MATRIX_STORE_COLUMNS(sums[i * RN + j], patches, patch_at + j * PATCH, TM)
        barrier();
        [[dont_unroll]] for (uint e = lane; e < RN * PATCH; e += LANES)
            store(e / TM, m0 + i * TM + e % TM, patches[patch_at + e]);
    }
}
