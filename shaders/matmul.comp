// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual, for one slice of the rows of w[m, k]
//
// A work-group of TX × TY invocations makes a tile of y of BN = TY RN rows and BM = TX RM columns, each invocation RN × RM of it,
// strided by TY and TX so that neighbours store neighbours. Tiles of x and w, BK deep, go through shared memory as vectors
// of four along k; one vector of padding per row keeps strided reads off the same bank. Sums in f32, in the order of k
// whatever the tile, so a row of y does not depend on its neighbours.
// Groups: x = tile of w's rows, y = tile of x's rows. BK divides PARAMS_K_PAD; w's padding is zero.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/storage.glsl"
#include "params.h"
#define W_DATA 1
#define W_SCALE 2
#include "lib/weights.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;
layout(constant_id = 1) const uint TX = 8;
layout(constant_id = 2) const uint RM = 4;
layout(constant_id = 3) const uint RN = 4;
layout(constant_id = 4) const uint BK4 = 4;     // vectors of four in BK
layout(constant_id = 5) const uint X_VEC4 = 0;  // k is a multiple of 4: x can be read as vectors

const uint TY = GROUP / TX;
const uint BM = TX * RM;
const uint BN = TY * RN;
const uint ROW = BK4 + 1;

layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XVec { vec4 x4[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_matmul p; };

shared vec4 tile_x[BN * ROW];
shared vec4 tile_w[BM * ROW];

vec4 load_x(uint row, uint i4)
{
    uint c = i4 * 4;
    if (row >= p.n || c >= p.k)
        return vec4(0.0);
    if (X_VEC4 != 0)
        return x4[row * (p.k / 4) + i4];
    vec4 v = vec4(0.0);
    for (uint i = 0; i < 4; i++) {
        if (c + i < p.k)
            v[i] = x[row * p.k + c + i];
    }
    return v;
}

void main()
{
    uint t = gl_LocalInvocationID.x;
    uint tx = t % TX;
    uint ty = t / TX;
    uint m0 = gl_WorkGroupID.x * BM;
    uint n0 = gl_WorkGroupID.y * BN;
    float acc[RN * RM];
    [[unroll]] for (uint i = 0; i < RN * RM; i++)
        acc[i] = 0.0;

    for (uint k4 = 0; k4 < p.kp / 4; k4 += BK4) {
        for (uint i = t; i < BN * BK4; i += GROUP)
            tile_x[i / BK4 * ROW + i % BK4] = load_x(n0 + i / BK4, k4 + i % BK4);
        for (uint i = t; i < BM * BK4; i += GROUP) {
            uint row = m0 + i / BK4;
            tile_w[i / BK4 * ROW + i % BK4] =
                row < p.n_rows ? weight4(row * (p.kp / 4) + k4 + i % BK4) : vec4(0.0);
        }
        barrier();
        [[unroll]] for (uint q = 0; q < BK4; q++) {
            vec4 xv[RN];
            [[unroll]] for (uint i = 0; i < RN; i++)
                xv[i] = tile_x[(ty + i * TY) * ROW + q];
            [[unroll]] for (uint j = 0; j < RM; j++) {
                vec4 wv = tile_w[(tx + j * TX) * ROW + q];
                [[unroll]] for (uint i = 0; i < RN; i++)
                    acc[i * RM + j] += dot(xv[i], wv);
            }
        }
        barrier();
    }

    [[unroll]] for (uint i = 0; i < RN; i++) {
        uint row = n0 + ty + i * TY;
        [[unroll]] for (uint j = 0; j < RM; j++) {
            uint col = m0 + tx + j * TX;
            if (row >= p.n || col >= p.n_rows)
                continue;
            uint at = row * p.m + p.row0 + col;
            float v = acc[i * RM + j];
            if ((p.flags & PARAMS_HAS_BIAS) != 0)
                v += bias[p.row0 + col];
            if ((p.flags & PARAMS_HAS_RESIDUAL) != 0)
                v += residual[at];
            y[at] = v;
        }
    }
}
