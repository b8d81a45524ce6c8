// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual by cooperative matrices, f16 products summed in f32
//
// x comes packed as f16 with a scale for each row (finish_rows.comp), w in its storage type. A work-group of SUBGROUPS subgroups makes a
// tile of y of BN rows and BM columns, SGM subgroups beside each other along the columns; each of them RN × RM matrices of TM × TN.
// Tiles of x and w, 8 BK8 deep, go through shared memory as eight f16 a vector; a vector of padding per row keeps eight rows' loads
// off the same banks. What the next tile needs is fetched before this one's products and unpacked after them, so that memory's latency
// lies behind the products. The results go through a patch of shared memory for each subgroup, since which invocation holds what
// is the driver's business; there they meet scale, bias and residual. A patch takes a row of matrices: with a loop for each of them NVIDIA's
// compiler keeps the sums in memory, and all is ten times as slow.
// Groups: x = tile of w's rows, y = tile of x's rows, z = part of k. TK divides 8 BK8; w's and x's padding is zero.
// A row of y is summed in the order of k in steps of TK, whatever its neighbours; the number of parts depends on n.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#ifndef EMULATED
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#endif
#include "params_matmul.h"
#define W_DATA 1
#define W_SCALE 2
#include "lib/weights8.glsl"
#include "lib/weights8_half.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 128;
layout(constant_id = 1) const uint SUBGROUPS = 4;
layout(constant_id = 2) const uint SGM = 2;
layout(constant_id = 3) const uint RM = 4;
layout(constant_id = 4) const uint RN = 4;
layout(constant_id = 5) const uint TM = 16; // rows of a matrix of y: rows of x
layout(constant_id = 6) const uint TN = 16; // its columns: rows of w
layout(constant_id = 7) const uint TK = 16;
layout(constant_id = 8) const uint BK8 = 4;

const uint BM = SGM * RM * TN;
const uint BN = SUBGROUPS / SGM * RN * TM;
const uint ROW = BK8 + 1;
const uint LOADS_X = (BN * BK8 + GROUP - 1) / GROUP;
const uint LOADS_W = (BM * BK8 + GROUP - 1) / GROUP;
const uint PATCH = TM * TN;

layout(set = 0, binding = 0, std430) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XScale { float x_scale[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_matmul p; };

shared uvec4 tile_x[BN * ROW];
shared uvec4 tile_w[BM * ROW];
shared float patches[SUBGROUPS * RM * PATCH];

#include "lib/matrices.glsl"

uvec4 next_x[LOADS_X];
Weights8 next_w[LOADS_W];

// The tile at k8, of which end8 and what lies behind it are not part.
void fetch(uint m0, uint n0, uint k8, uint end8)
{
    uint t = gl_LocalInvocationID.x;
    [[unroll]] for (uint l = 0; l < LOADS_X; l++) {
        uint i = t + l * GROUP, row = n0 + i / BK8, c = k8 + i % BK8;
        next_x[l] = uvec4(0);
        if (i < BN * BK8 && row < p.n && c < end8)
            next_x[l] = x[row * (PARAMS_HALF_WORDS(p.kp) / 4) + c];
    }
    [[unroll]] for (uint l = 0; l < LOADS_W; l++) {
        uint i = t + l * GROUP, row = m0 + i / BK8, c = k8 + i % BK8;
        if (i < BM * BK8 && row < p.n_rows && c < end8)
            next_w[l] = weights8_fetch(row * (p.kp / 8) + c);
    }
}

void unpack(uint m0, uint k8, uint end8)
{
    uint t = gl_LocalInvocationID.x;
    [[unroll]] for (uint l = 0; l < LOADS_X; l++) {
        uint i = t + l * GROUP;
        if (i < BN * BK8)
            tile_x[i / BK8 * ROW + i % BK8] = next_x[l];
    }
    [[unroll]] for (uint l = 0; l < LOADS_W; l++) {
        uint i = t + l * GROUP, row = m0 + i / BK8, c = k8 + i % BK8;
        if (i < BM * BK8)
            tile_w[i / BK8 * ROW + i % BK8] =
                row < p.n_rows && c < end8 ? weights8_f16(next_w[l], row * (p.kp / 8) + c) : uvec4(0);
    }
}

#define X_SCALE(row) x_scale[(row) * PARAMS_HALF_WORDS(p.kp) + p.kp / 2]
#include "lib/coop_store.glsl"

void main()
{
    uint m0 = gl_WorkGroupID.x * BM;
    uint n0 = gl_WorkGroupID.y * BN;
    uint own_m = SUBGROUP % SGM * RM * TN; // this subgroup's part of the tile
    uint own_n = SUBGROUP / SGM * RN * TM;
    uint begin8 = gl_WorkGroupID.z * p.part8;
    uint end8 = min(begin8 + p.part8, p.kp / 8);
    MATRIX_SUM sums[RN * RM];
    [[unroll]] for (uint i = 0; i < RN * RM; i++)
        sums[i] = MATRIX_ZERO;

    fetch(m0, n0, begin8, end8);
    for (uint k8 = begin8; k8 < end8; k8 += BK8) {
        barrier(); // the tiles before have been read by all
        unpack(m0, k8, end8);
        barrier();
        if (k8 + BK8 < end8)
            fetch(m0, n0, k8 + BK8, end8);
        [[unroll]] for (uint q = 0; q < BK8; q += TK / 8) {
            MATRIX_A a[RN];
            [[unroll]] for (uint i = 0; i < RN; i++)
                MATRIX_LOAD_A(a[i], tile_x, (own_n + i * TM) * ROW + q, ROW)
            [[unroll]] for (uint j = 0; j < RM; j++) {
                MATRIX_B b;
                MATRIX_LOAD_B(b, tile_w, (own_m + j * TN) * ROW + q, ROW)
                [[unroll]] for (uint i = 0; i < RN; i++)
                    sums[i * RM + j] = MATRIX_MUL_ADD(a[i], b, sums[i * RM + j]);
            }
        }
    }

    const uint lanes = GROUP / SUBGROUPS;
    uint patch_at = SUBGROUP * RM * PATCH;
    [[unroll]] for (uint i = 0; i < RN; i++) {
        barrier();
        [[unroll]] for (uint j = 0; j < RM; j++)
            MATRIX_STORE_ROWS(sums[i * RM + j], patches, patch_at + j * TN, RM * TN)
        barrier();
        for (uint e = LANE; e < RM * PATCH; e += lanes)
            store(n0 + own_n + i * TM + e / (RM * TN), m0 + own_m + e % (RM * TN), patches[patch_at + e]);
    }
}
