// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual by cooperative matrices from fragments (lib/fragment.glsl)
//
// For many rows of x. Both matrices come as fragments of f16, so an invocation fetches its values by whole eights, AHEAD steps of TK, 1 or 2,
// before their products and without shared memory or barriers; what a work-group's subgroups share, its cache gives them. The work-group makes a
// tile of BN rows and BM columns, SGM of its subgroups beside each other along the columns, each of them RN × RM matrices. On an H200
// its compiler gathers the loads of AHEAD + 1 steps, which are waited for together; larger tiles and ways through shared memory are slower.
// Groups: x = tiles, by panels of PANEL tiles of columns, within a panel one row of tiles after another, so that what runs at one time
// shares rows of both. AHEAD more steps than there are are fetched and not used.
// The scales of x's rows lie behind its fragments, from float 4 part8 on. Sums are scaled, and bias and residual added, as matrices whose
// columns or rows are all the same: a loop over an accumulator's places in memory would put all sums into memory, ten times as slow.
// n_rows, row0 and m are multiples of TN. y has room for whole matrices of rows: up to TM - 1 rows behind n are overwritten.
// A row of y is summed in the order of k in steps of TK, whatever its neighbours.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#include "params_fragments.h"
#include "lib/fragment.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 128;
layout(constant_id = 1) const uint SUBGROUPS = 4;
layout(constant_id = 2) const uint SGM = 2;
layout(constant_id = 3) const uint RM = 4;
layout(constant_id = 4) const uint RN = 4;
layout(constant_id = 5) const uint TM = 16;
layout(constant_id = 6) const uint TN = 16;
layout(constant_id = 7) const uint TK = 16;
layout(constant_id = 8) const uint PANEL = 16;
layout(constant_id = 9) const uint AHEAD = 1;

const uint LANES = GROUP / SUBGROUPS;
const uint BM = SGM * RM * TN;
const uint BN = SUBGROUPS / SGM * RN * TM;
const uint EACH_X = TM * TK / (8 * LANES);
const uint EACH_W = TN * TK / (8 * LANES);

layout(set = 0, binding = 0, std430) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XScale { float x_scale[]; };
layout(set = 0, binding = 1, std430) readonly buffer W { uvec4 w[]; };
layout(set = 0, binding = 2, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 3, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 4, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_matmul p; };

#define FETCH(d)                                                                                                       \
    {                                                                                                                  \
        [[unroll]] for (uint i = 0; i < RN * EACH_X; i++)                                                              \
            next_x[d][i] = x[at_x + i * LANES];                                                                        \
        [[unroll]] for (uint j = 0; j < RM * EACH_W; j++)                                                              \
            next_w[d][j] = w[at_w + j * LANES];                                                                        \
        at_x += step_x;                                                                                                \
        at_w += step_w;                                                                                                \
    }

#define PRODUCTS(d)                                                                                                    \
    {                                                                                                                  \
        coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA> a[RN];                                             \
        coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB> b[RM];                                             \
        [[unroll]] for (uint i = 0; i < RN; i++)                                                                       \
            [[unroll]] for (uint e = 0; e < EACH_X; e++)                                                               \
                FRAGMENT_SET(a[i], e, next_x[d][i * EACH_X + e].xzyw)                                                  \
        [[unroll]] for (uint j = 0; j < RM; j++)                                                                       \
            [[unroll]] for (uint e = 0; e < EACH_W; e++)                                                               \
                FRAGMENT_SET(b[j], e, next_w[d][j * EACH_W + e])                                                       \
        [[unroll]] for (uint j = 0; j < RM; j++)                                                                       \
            [[unroll]] for (uint i = 0; i < RN; i++)                                                                   \
                sums[i * RM + j] = coopMatMulAdd(a[i], b[j], sums[i * RM + j]);                                        \
    }

// The step whose values are in place d: what is fetched meanwhile goes where the step before has left room.
#define STEP(d)                                                                                                        \
    {                                                                                                                  \
        FETCH(((d) + AHEAD) % (AHEAD + 1))                                                                             \
        PRODUCTS(d)                                                                                                    \
        k += TK;                                                                                                       \
        if (k >= p.kp)                                                                                                 \
            break;                                                                                                     \
    }

void main()
{
    uint tiles_m = (p.n_rows + BM - 1) / BM, tiles_n = (p.n + BN - 1) / BN;
    uint panel = gl_WorkGroupID.x / (PANEL * tiles_n), in_panel = gl_WorkGroupID.x % (PANEL * tiles_n);
    uint width = min(PANEL, tiles_m - panel * PANEL);
    uint m0 = (panel * PANEL + in_panel % width) * BM, n0 = in_panel / width * BN;
    uint own_m = gl_SubgroupID % SGM * RM * TN; // this subgroup's part of the tile
    uint own_n = gl_SubgroupID / SGM * RN * TM;
    uint blocks_x = tiles_n * (BN / TM), blocks_w = tiles_m * (BM / TN);
    uint step_x = blocks_x * EACH_X * LANES, step_w = blocks_w * EACH_W * LANES;
    uint at_x = fragment_at(0, (n0 + own_n) / TM, blocks_x, EACH_X, LANES) + gl_SubgroupInvocationID;
    uint at_w = fragment_at(0, (m0 + own_m) / TN, blocks_w, EACH_W, LANES) + gl_SubgroupInvocationID;
    uvec4 next_x[AHEAD + 1][RN * EACH_X], next_w[AHEAD + 1][RM * EACH_W];
    coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator> sums[RN * RM];
    [[unroll]] for (uint i = 0; i < RN * RM; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>(0.0);

    [[unroll]] for (uint d = 0; d < AHEAD; d++)
        FETCH(d)
    uint k = 0;
    for (;;) {
        STEP(0)
        STEP(1)
        if (AHEAD > 1)
            STEP(2)
    }

    [[unroll]] for (uint i = 0; i < RN; i++) {
        uint row = n0 + own_n + i * TM;
        coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator> scales;
        coopMatLoad(scales, x_scale, p.part8 * 4 + row, 0, gl_CooperativeMatrixLayoutColumnMajor);
        [[unroll]] for (uint j = 0; j < RM; j++) {
            uint col = m0 + own_m + j * TN, at = row * p.m + p.row0 + col;
            if (row < p.n && col < p.n_rows) {
                coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator> v = sums[i * RM + j] * scales, more;
                if ((p.flags & PARAMS_HAS_BIAS) != 0) {
                    coopMatLoad(more, bias, p.row0 + col, 0, gl_CooperativeMatrixLayoutRowMajor);
                    v += more;
                }
                if ((p.flags & PARAMS_HAS_RESIDUAL) != 0) {
                    coopMatLoad(more, residual, at, p.m, gl_CooperativeMatrixLayoutRowMajor);
                    v += more;
                }
                coopMatStore(v, y, at, p.m, gl_CooperativeMatrixLayoutRowMajor);
            }
        }
    }
}
