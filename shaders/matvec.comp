// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual for few rows of x: w is read once, and its rows set the pace
//
// A work-group of GROUP invocations is SETS = GROUP / LANES sets; each set takes RM rows of w and NX rows of x, its lanes walk over
// k eight values at a time, neighbours beside each other. Groups: x = SETS RM rows of w, y = NX rows of x. NX is as many rows as there
// are, rounded up; those beyond n repeat the last and are not stored. Sums in f32: a lane's own in the order of k, then those of
// the lanes by halves through shared memory, so that a row of y depends on LANES only, neither on its neighbours nor on the
// subgroup's size. LANES is a power of two.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params.h"
#define W_DATA 1
#define W_SCALE 2
#include "lib/weights8.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;
layout(constant_id = 1) const uint LANES = 32;
layout(constant_id = 2) const uint RM = 2;
layout(constant_id = 3) const uint NX = 1;
layout(constant_id = 4) const uint X_VEC4 = 0; // k is a multiple of 4: x can be read as vectors

const uint SETS = GROUP / LANES;

layout(set = 0, binding = 0, std430) readonly buffer X { float x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XVec { vec4 x4[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_matmul p; };

shared float part[NX * RM * GROUP];

vec4 load_x(uint row, uint i4)
{
    uint c = i4 * 4;
    if (c >= p.k)
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

void store(uint row, uint col, float v)
{
    if (row >= p.n || col >= p.n_rows)
        return;
    uint at = row * p.m + p.row0 + col;
    if ((p.flags & PARAMS_HAS_BIAS) != 0)
        v += bias[p.row0 + col];
    if ((p.flags & PARAMS_HAS_RESIDUAL) != 0)
        v += residual[at];
    y[at] = v;
}

void main()
{
    uint t = gl_LocalInvocationID.x;
    uint lane = t % LANES;
    uint m0 = gl_WorkGroupID.x * SETS * RM;
    uint n0 = gl_WorkGroupID.y * NX;
    uint row_of[RM];
    float acc[NX * RM];
    [[unroll]] for (uint i = 0; i < NX * RM; i++)
        acc[i] = 0.0;
    [[unroll]] for (uint j = 0; j < RM; j++)
        row_of[j] = min(m0 + t / LANES * RM + j, p.n_rows - 1) * (p.kp / 8);

    for (uint i8 = lane; i8 < p.kp / 8; i8 += LANES) {
        Weights8 w[RM];
        vec4 low[NX], high[NX];
        [[unroll]] for (uint j = 0; j < RM; j++)
            w[j] = weights8_fetch(row_of[j] + i8);
        [[unroll]] for (uint i = 0; i < NX; i++) {
            uint row = min(n0 + i, p.n - 1);
            low[i] = load_x(row, 2 * i8);
            high[i] = load_x(row, 2 * i8 + 1);
        }
        [[unroll]] for (uint j = 0; j < RM; j++) {
            vec4 a, b;
            weights8_f32(w[j], row_of[j] + i8, a, b);
            [[unroll]] for (uint i = 0; i < NX; i++)
                acc[i * RM + j] += dot(low[i], a) + dot(high[i], b);
        }
    }

    [[unroll]] for (uint i = 0; i < NX * RM; i++)
        part[i * GROUP + t] = acc[i];
    barrier();
    for (uint s = LANES / 2; s > 0; s /= 2) {
        if (lane < s) {
            [[unroll]] for (uint i = 0; i < NX * RM; i++)
                part[i * GROUP + t] += part[i * GROUP + t + s];
        }
        barrier();
    }
    for (uint o = t; o < NX * SETS * RM; o += GROUP) {
        uint col = o % (SETS * RM), i = o / (SETS * RM);
        store(n0 + i, m0 + col, part[(i * RM + col % RM) * GROUP + col / RM * LANES]);
    }
}
