// y[n, H D] = softmax(scale q kᵀ) v within each text; qkv[n, (H + 2 Hkv) D] holds q heads, k heads, v heads
//
// Texts are packed end to end. A work-group takes BQ query rows of one text and one head, and walks over the text's
// keys BK at a time with the online softmax: running maximum and sum per row, the output rescaled when the maximum grows.
// blocks [n_blocks]: (first row of the text, one past its last, first query row of the block, the text's first block), made on the host.
// Groups: x = block, y = head. Each query row belongs to GROUP / BQ invocations. Scores and sums in f32; K and V tiles
// share the same shared memory. A row that sees nothing of its first tiles gets finite nonsense, which the tile with its own
// row multiplies by 0. The order of a row's sums depends on its place within its text only.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params.h"
#include "lib/math.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;
layout(constant_id = 1) const uint D = 64;   // size of a head
layout(constant_id = 2) const uint BQ = 16;  // divides GROUP
layout(constant_id = 3) const uint BK = 32;
layout(constant_id = 4) const uint CAUSAL = 0;

const uint D4 = (D + 3) / 4;
const uint ROW = D4 + 1; // a vector of padding against bank conflicts
const uint T = GROUP / BQ;
const uint NV = (D4 + T - 1) / T; // output vectors per invocation
const float MASKED = -1e30;

layout(set = 0, binding = 0, std430) readonly buffer Qkv { float qkv[]; };
layout(set = 0, binding = 1, std430) readonly buffer Blocks { uvec4 blocks[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_attention p; };

shared vec4 tile_q[BQ * ROW];
shared vec4 tile_kv[BK * ROW];
shared float scores[BQ * BK];

vec4 load4(uint row, uint head, uint i4)
{
    uint stride = (p.n_heads + 2 * p.n_kv_heads) * D;
    uint at = row * stride + head * D + i4 * 4;
    vec4 v = vec4(0.0);
    for (uint i = 0; i < 4; i++) {
        if (D % 4 == 0 || i4 * 4 + i < D)
            v[i] = qkv[at + i];
    }
    return v;
}

void load_kv(uint first, uint end, uint head)
{
    for (uint i = gl_LocalInvocationID.x; i < BK * D4; i += GROUP) {
        uint row = first + i / D4;
        tile_kv[i / D4 * ROW + i % D4] = row < end ? load4(row, head, i % D4) : vec4(0.0);
    }
}

void main()
{
    uvec4 block = blocks[gl_WorkGroupID.x];
    uint head = gl_WorkGroupID.y;
    uint kv_head = p.n_heads + head / (p.n_heads / p.n_kv_heads);
    uint t = gl_LocalInvocationID.x;
    uint q0 = block.z;
    uint end = CAUSAL != 0 ? min(block.y, q0 + BQ) : block.y;

    for (uint i = t; i < BQ * D4; i += GROUP) {
        uint row = q0 + i / D4;
        tile_q[i / D4 * ROW + i % D4] = row < block.y ? load4(row, head, i % D4) * p.scale : vec4(0.0);
    }
    uint r = t / T;    // this invocation's query row in the block
    uint slot = t % T; // and its share of the row
    float top = MASKED;
    float sum = 0.0;
    vec4 acc[NV];
    [[unroll]] for (uint i = 0; i < NV; i++)
        acc[i] = vec4(0.0);

    uint begin = block.x;
    if (p.window != PARAMS_NO_WINDOW) { // whole tiles that no row of the block sees
        if (q0 - block.x >= p.window)
            begin += (q0 - block.x - p.window + 1) / BK * BK;
        end = min(end, q0 + BQ + p.window - 1);
    }
    for (uint first = begin; first < end; first += BK) {
        load_kv(first, end, kv_head);
        barrier();
        for (uint i = t; i < BQ * BK; i += GROUP) {
            uint qi = i / BK;
            uint ki = i % BK;
            float s = 0.0;
            for (uint c = 0; c < D4; c++)
                s += dot(tile_q[qi * ROW + c], tile_kv[ki * ROW + c]);
            bool hidden = first + ki >= end || (CAUSAL != 0 && first + ki > q0 + qi) ||
                uint(abs(int(first + ki) - int(q0 + qi))) >= p.window;
            scores[i] = hidden ? MASKED : s;
        }
        barrier();
        float new_top = top;
        for (uint j = 0; j < BK; j++)
            new_top = max(new_top, scores[r * BK + j]);
        load_kv(first, end, kv_head + p.n_kv_heads);
        barrier();
        for (uint j = slot; j < BK; j += T)
            scores[r * BK + j] = exp_f32(scores[r * BK + j] - new_top);
        barrier();
        float shrink = exp_f32(top - new_top);
        float tile_sum = 0.0;
        [[unroll]] for (uint i = 0; i < NV; i++)
            acc[i] *= shrink;
        for (uint j = 0; j < BK; j++) {
            float w = scores[r * BK + j];
            tile_sum += w;
            [[unroll]] for (uint i = 0; i < NV; i++) {
                if (NV * T == D4 || slot + i * T < D4)
                    acc[i] += w * tile_kv[j * ROW + slot + i * T];
            }
        }
        sum = sum * shrink + tile_sum;
        top = new_top;
        barrier();
    }

    uint row = q0 + r;
    if (row >= block.y)
        return;
    float by = 1.0 / sum;
    [[unroll]] for (uint i = 0; i < NV; i++) {
        uint c = (slot + i * T) * 4;
        for (uint e = 0; e < 4 && c + e < D; e++)
            y[(row * p.n_heads + head) * D + c + e] = acc[i][e] * by;
    }
}
