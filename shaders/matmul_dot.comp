// y[n, row0 + 0 … n_rows) = x[n, k] wᵀ + bias + residual by integer dot products, for weights in blocks
//
// x comes packed as PLANES of int8 with a scale for each 32 values (pack_int8.comp), w in its storage type, whose whole numbers fit int8. A
// work-group of TX × TY invocations makes a tile of y of BN = TY RN rows and BM = TX RM columns, each invocation RN × RM of it,
// strided by TY and TX. Tiles of x and w, BLOCKS blocks of 32 deep, go through shared memory as sixteen int8 a vector; a vector of padding
// per row keeps strided reads off the same banks.
// A block's sum of 32 products is exact in 32 bits; blocks are scaled and summed in f32 in the order of k whatever the
// tile, so a row of y does not depend on its neighbours but through the number of parts of k.
// Groups: x = tile of w's rows, y = tile of x's rows, z = part of k.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params.h"
#define W_DATA 1
#define W_SCALE 2
#include "lib/weights8.glsl"
#include "lib/weights8_int8.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;
layout(constant_id = 1) const uint TX = 8;
layout(constant_id = 2) const uint RM = 4;
layout(constant_id = 3) const uint RN = 4;
layout(constant_id = 4) const uint BLOCKS = 1;
layout(constant_id = 5) const uint PLANES = 1;

const uint TY = GROUP / TX;
const uint BM = TX * RM;
const uint BN = TY * RN;
const uint HALVES = 2 * BLOCKS; // vectors of sixteen values
const uint ROW = HALVES + 1;
const uint ROW_X = PLANES * HALVES + 1;

layout(set = 0, binding = 0, std430) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 0, std430) readonly buffer XScale { vec2 x_scale[]; };
layout(set = 0, binding = 3, std430) readonly buffer Bias { float bias[]; };
layout(set = 0, binding = 4, std430) readonly buffer Residual { float residual[]; };
layout(set = 0, binding = 5, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_matmul p; };

shared uvec4 tile_x[BN * ROW_X]; // a plane after the other
shared uvec4 tile_w[BM * ROW];
shared vec2 scale_x[BN * BLOCKS];
shared float scale_w[BM * HALVES]; // q6k: of each half; else a block's factor, and what is added

void load_x(uint n0, uint block, uint end)
{
    for (uint i = gl_LocalInvocationID.x; i < BN * HALVES; i += GROUP) {
        uint r = i / HALVES, h = i % HALVES, row = n0 + r, b = block + h / 2;
        bool inside = row < p.n && b < end;
        uint at = row * PARAMS_INT8_WORDS(p.kp, PLANES);
        [[unroll]] for (uint l = 0; l < PLANES; l++)
            tile_x[r * ROW_X + l * HALVES + h] = inside ? x[(at + l * (p.kp / 4)) / 4 + 2 * block + h] : uvec4(0);
        if ((h & 1) == 0)
            scale_x[r * BLOCKS + h / 2] = inside ? x_scale[(at + PLANES * (p.kp / 4)) / 2 + b] : vec2(0.0);
    }
}

void load_w(uint m0, uint block, uint end)
{
    for (uint i = gl_LocalInvocationID.x; i < BM * HALVES; i += GROUP) {
        uint r = i / HALVES, h = i % HALVES, row = m0 + r;
        uvec4 q = uvec4(0);
        float s = 0.0;
        if (row < p.n_rows && block + h / 2 < end) {
            uint i8 = row * (p.kp / 8) + 4 * block + 2 * h;
            Weights8 a = weights8_fetch(i8), b = weights8_fetch(i8 + 1);
            vec2 both = weights8_int8_scale(a, i8);
            q = uvec4(weights8_int8(a), weights8_int8(b));
#if defined(WEIGHT_Q6K)
            s = both.x;
#else
            s = (h & 1) == 0 ? both.x : both.y;
#endif
        }
        tile_w[r * ROW + h] = q;
        scale_w[i] = s;
    }
}

struct BlockX {
    uvec4 q[2 * PLANES];
    vec2 scale;
};

int half_product(BlockX a, uint h, uvec4 w)
{
    int sum = int8_dot16(a.q[h], w);
    return PLANES == 1 ? sum : 256 * sum + int8_dot16(a.q[2 * PLANES - 2 + h], w);
}

float block_product(BlockX a, uvec4 w0, uvec4 w1, vec2 sw)
{
#if defined(WEIGHT_Q6K)
    return a.scale.x * (sw.x * float(half_product(a, 0, w0)) + sw.y * float(half_product(a, 1, w1)));
#elif defined(WEIGHT_Q8W)
    return a.scale.x * sw.x * float(half_product(a, 0, w0) + half_product(a, 1, w1));
#else
    return a.scale.x * sw.x * float(half_product(a, 0, w0) + half_product(a, 1, w1)) + a.scale.y * sw.y;
#endif
}

void store(uint row, uint col, float v)
{
    if (row >= p.n || col >= p.n_rows)
        return;
    uint at = row * p.m + p.row0 + col;
    if ((p.flags & PARAMS_PARTIAL) != 0) {
        y[gl_WorkGroupID.z * p.n * p.m + at] = v;
        return;
    }
    if ((p.flags & PARAMS_HAS_BIAS) != 0)
        v += bias[p.row0 + col];
    if ((p.flags & PARAMS_HAS_RESIDUAL) != 0)
        v += residual[at];
    y[at] = v;
}

void main()
{
    uint t = gl_LocalInvocationID.x;
    uint tx = t % TX;
    uint ty = t / TX;
    uint m0 = gl_WorkGroupID.x * BM;
    uint n0 = gl_WorkGroupID.y * BN;
    uint begin = gl_WorkGroupID.z * (p.part8 / 4);
    uint end = min(begin + p.part8 / 4, p.kp / 32);
    float acc[RN * RM];
    [[unroll]] for (uint i = 0; i < RN * RM; i++)
        acc[i] = 0.0;

    for (uint block = begin; block < end; block += BLOCKS) {
        load_x(n0, block, end);
        load_w(m0, block, end);
        barrier();
        [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
            BlockX a[RN];
            [[unroll]] for (uint i = 0; i < RN; i++) {
                uint r = ty + i * TY;
                [[unroll]] for (uint l = 0; l < 2 * PLANES; l++)
                    a[i].q[l] = tile_x[r * ROW_X + l / 2 * HALVES + 2 * b + l % 2];
                a[i].scale = scale_x[r * BLOCKS + b];
            }
            [[unroll]] for (uint j = 0; j < RM; j++) {
                uint r = tx + j * TX;
                uvec4 w0 = tile_w[r * ROW + 2 * b], w1 = tile_w[r * ROW + 2 * b + 1];
                vec2 sw = vec2(scale_w[r * HALVES + 2 * b], scale_w[r * HALVES + 2 * b + 1]);
                [[unroll]] for (uint i = 0; i < RN; i++)
                    acc[i * RM + j] += block_product(a[i], w0, w1, sw);
            }
        }
        barrier();
    }

    [[unroll]] for (uint i = 0; i < RN; i++) {
        [[unroll]] for (uint j = 0; j < RM; j++)
            store(n0 + ty + i * TY, m0 + tx + j * TX, acc[i * RM + j]);
    }
}
