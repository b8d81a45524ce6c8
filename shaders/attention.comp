// y[n, H D] = softmax(scale q kᵀ) v within each text; qkv[n, (H + 2 Hkv) D] holds q heads, k heads, v heads
//
// Texts are packed end to end. A work-group takes BQ rows: the queries of BQ / SHARE tokens of one text in SHARE neighbouring heads, which
// have their keys and values in common. It walks over the text's keys BK at a time with the online softmax: running maximum and sum per
// row, the output rescaled when the maximum grows.
//
// TX × TY invocations; each has RQ rows, strided by TY, of which it makes the scores of RK neighbouring keys and NV vectors of the output,
// strided by TX: what it reads of shared memory serves RK or RQ times. Queries and keys go through shared memory C4 vectors of their depth at
// a time, values VK keys at a time, in the same place. A row of a tile has an odd number of vectors, so that neighbours' reads are of
// different banks; keys lie there so that the jth of all invocations are neighbours. Weights are exchanged through shared memory, four keys a
// vector.
//
// blocks [n_blocks]: (first row of the text, one past its last, first query row of the block, the text's first block), made on the host.
// Groups: x = block, y = head / SHARE. Scores and sums in f32. A row that sees nothing of its first tiles gets finite nonsense, which the
// tile with its own row multiplies by 0. The order of a row's sums depends on its place within its text only.
// TX divides GROUP, 4 divides TX, BK and VK, VK divides BK, SHARE divides H / Hkv and BQ.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "params.h"
#include "lib/math.glsl"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 64;
layout(constant_id = 1) const uint D = 64; // size of a head
layout(constant_id = 2) const uint TX = 8;
layout(constant_id = 3) const uint RQ = 4;
layout(constant_id = 4) const uint RK = 4;
layout(constant_id = 5) const uint C4 = 8;
layout(constant_id = 6) const uint VK = 16;
layout(constant_id = 7) const uint SHARE = 1;
layout(constant_id = 8) const uint CAUSAL = 0;
layout(constant_id = 9) const uint CAP = 0; // a float's bits: scores s become CAP tanh(s / CAP); 0: they stay as they are
layout(constant_id = 10) const uint RUN = 8; // of C4 vectors, whose products are one piece of code; a divisor

const uint TY = GROUP / TX;
const uint BQ = TY * RQ;
const uint BK = TX * RK;
const uint TOKENS = BQ / SHARE;
const uint D4 = (D + 3) / 4;
const uint NV = (D4 + TX - 1) / TX;
const uint ROW = C4 | 1;
const uint KEYS = BQ * ROW; // where keys are in the tile
const uint TILE = (BQ + BK) * ROW > VK * D4 ? (BQ + BK) * ROW : VK * D4;
const uint WROW = BK / 4 | 1;
const float MASKED = -1e30;

layout(set = 0, binding = 0, std430) readonly buffer Qkv { float qkv[]; };
layout(set = 0, binding = 0, std430) readonly buffer Qkv4 { vec4 qkv4[]; };
layout(set = 0, binding = 1, std430) readonly buffer Blocks { uvec4 blocks[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Y { float y[]; };
layout(set = 0, binding = 2, std430) writeonly buffer Y4 { vec4 y4[]; };
layout(push_constant) uniform Push { push_attention p; };

shared vec4 tile[TILE];
shared vec4 weights[BQ * WROW];
shared vec4 partial[BQ * TX / 4]; // maxima, then sums, of a row's invocations

uvec4 block;
uint head0; // the first of the group's
uint first, end; // keys of the tile: first … min(first + BK, end) - 1

// Values 4 c4 … of a token's head; 0 beyond a head's.
vec4 load4(uint token, uint head, uint c4)
{
    uint at = (token * (p.n_heads + 2 * p.n_kv_heads) + head) * D;
    if (D % 4 == 0)
        return c4 < D4 ? qkv4[at / 4 + c4] : vec4(0.0);
    vec4 v = vec4(0.0);
    for (uint i = 0; i < 4; i++) {
        if (c4 * 4 + i < D)
            v[i] = qkv[at + c4 * 4 + i];
    }
    return v;
}

void load_queries(uint c4)
{
    for (uint i = gl_LocalInvocationID.x; i < BQ * C4; i += GROUP) {
        uint r = i / C4, c = i % C4;
        uint token = block.z + r / SHARE;
        tile[r * ROW + c] = token < block.y ? load4(token, head0 + r % SHARE, c4 + c) : vec4(0.0);
    }
}

void load_keys(uint head, uint c4)
{
    for (uint i = gl_LocalInvocationID.x; i < BK * C4; i += GROUP) {
        uint k = i / C4, c = i % C4;
        tile[KEYS + (k % RK * TX + k / RK) * ROW + c] = first + k < end ? load4(first + k, head, c4 + c) : vec4(0.0);
    }
}

void load_values(uint head, uint k0)
{
    for (uint i = gl_LocalInvocationID.x; i < VK * D4; i += GROUP) {
        uint k = first + k0 + i / D4;
        tile[i] = k < end ? load4(k, head, i % D4) : vec4(0.0);
    }
}

float capped(float score)
{
    return CAP == 0 ? score : uintBitsToFloat(CAP) * tanh_f32(score * (1.0 / uintBitsToFloat(CAP)));
}

void main()
{
    block = blocks[gl_WorkGroupID.x];
    head0 = gl_WorkGroupID.y * SHARE;
    uint kv_head = p.n_heads + head0 / (p.n_heads / p.n_kv_heads);
    uint tx = gl_LocalInvocationID.x % TX;
    uint ty = gl_LocalInvocationID.x / TX;
    uint begin = block.x;
    end = CAUSAL != 0 ? min(block.y, block.z + TOKENS) : block.y;
    if (p.window != PARAMS_NO_WINDOW) { // whole tiles that no row of the block sees
        if (block.z - block.x >= p.window)
            begin += (block.z - block.x - p.window + 1) / BK * BK;
        end = min(end, block.z + TOKENS + p.window - 1);
    }

    float top[RQ];
    float sum[RQ]; // of this invocation's keys
    vec4 acc[RQ * NV];
    [[unroll]] for (uint i = 0; i < RQ; i++) {
        top[i] = MASKED;
        sum[i] = 0.0;
        [[unroll]] for (uint j = 0; j < NV; j++)
            acc[i * NV + j] = vec4(0.0);
    }
    for (first = begin; first < end; first += BK) {
        float s[RQ * RK]; // scores, then weights
        [[unroll]] for (uint i = 0; i < RQ * RK; i++)
            s[i] = 0.0;
        for (uint c4 = 0; c4 < D4; c4 += C4) {
            load_queries(c4);
            load_keys(kv_head, c4);
            barrier();
            for (uint c0 = 0; c0 < C4; c0 += RUN) {
                [[unroll]] for (uint u = 0; u < RUN; u++) {
                    vec4 q[RQ];
                    [[unroll]] for (uint i = 0; i < RQ; i++)
                        q[i] = tile[(ty + i * TY) * ROW + c0 + u];
                    [[unroll]] for (uint j = 0; j < RK; j++) {
                        vec4 k = tile[KEYS + (tx + j * TX) * ROW + c0 + u];
                        [[unroll]] for (uint i = 0; i < RQ; i++) // not dot(): of that some compilers make products and sums apart
                            s[i * RK + j] = (((s[i * RK + j] + q[i].x * k.x) + q[i].y * k.y) + q[i].z * k.z) + q[i].w * k.w;
                    }
                }
            }
            barrier();
        }
        [[unroll]] for (uint i = 0; i < RQ; i++) {
            uint row = ty + i * TY;
            uint token = block.z + row / SHARE;
            float most = MASKED;
            [[unroll]] for (uint j = 0; j < RK; j++) {
                uint key = first + tx * RK + j;
                bool hidden = key >= end || (CAUSAL != 0 && key > token) || uint(abs(int(key) - int(token))) >= p.window;
                s[i * RK + j] = hidden ? MASKED : capped(s[i * RK + j] * p.scale);
                most = max(most, s[i * RK + j]);
            }
            partial[row * (TX / 4) + tx / 4][tx % 4] = most;
        }
        load_values(kv_head + p.n_kv_heads, 0);
        barrier();
        [[unroll]] for (uint i = 0; i < RQ; i++) {
            uint row = ty + i * TY;
            vec4 most = vec4(top[i]);
            [[unroll]] for (uint x = 0; x < TX / 4; x++)
                most = max(most, partial[row * (TX / 4) + x]);
            float new_top = max(max(most.x, most.y), max(most.z, most.w));
            float shrink = exp_f32(top[i] - new_top);
            top[i] = new_top;
            sum[i] *= shrink;
            [[unroll]] for (uint j = 0; j < NV; j++)
                acc[i * NV + j] *= shrink;
            [[unroll]] for (uint j = 0; j < RK; j++) {
                s[i * RK + j] = exp_f32(s[i * RK + j] - new_top);
                sum[i] += s[i * RK + j];
            }
            [[unroll]] for (uint j = 0; j < RK; j += RK % 4 == 0 ? 4 : 1) {
                uint at = tx * RK + j, k = i * RK + j;
                if (RK % 4 == 0)
                    weights[row * WROW + at / 4] = vec4(s[k], s[k + 1 % RK], s[k + 2 % RK], s[k + 3 % RK]);
                else
                    weights[row * WROW + at / 4][at % 4] = s[k];
            }
        }
        barrier();
        for (uint k0 = 0; k0 < BK && first + k0 < end; k0 += VK) {
            if (k0 > 0) {
                load_values(kv_head + p.n_kv_heads, k0);
                barrier();
            }
            for (uint k = 0; k < VK; k += 4) {
                vec4 w[RQ];
                [[unroll]] for (uint i = 0; i < RQ; i++)
                    w[i] = weights[(ty + i * TY) * WROW + (k0 + k) / 4];
                [[unroll]] for (uint j = 0; j < NV; j++) {
                    if (NV * TX == D4 || tx + j * TX < D4) {
                        uint at = k * D4 + tx + j * TX;
                        vec4 v0 = tile[at], v1 = tile[at + D4], v2 = tile[at + 2 * D4], v3 = tile[at + 3 * D4];
                        [[unroll]] for (uint i = 0; i < RQ; i++)
                            acc[i * NV + j] = (((acc[i * NV + j] + w[i].x * v0) + w[i].y * v1) + w[i].z * v2) + w[i].w * v3;
                    }
                }
            }
            barrier();
        }
    }

    [[unroll]] for (uint i = 0; i < RQ; i++)
        partial[(ty + i * TY) * (TX / 4) + tx / 4][tx % 4] = sum[i];
    barrier();
    [[unroll]] for (uint i = 0; i < RQ; i++) {
        uint row = ty + i * TY;
        uint token = block.z + row / SHARE;
        vec4 all = vec4(0.0);
        [[unroll]] for (uint x = 0; x < TX / 4; x++)
            all += partial[row * (TX / 4) + x];
        float by = 1.0 / ((all.x + all.y) + (all.z + all.w));
        uint at = (token * p.n_heads + head0 + row % SHARE) * D;
        [[unroll]] for (uint j = 0; j < NV; j++) {
            uint c = (tx + j * TX) * 4;
            if (D % 4 == 0) {
                if (c < D && token < block.y)
                    y4[(at + c) / 4] = acc[i * NV + j] * by;
                continue;
            }
            [[unroll]] for (uint e = 0; e < 4; e++) { // a loop's number for a component has NVIDIA's free compiler keep all sums in memory
                if (c + e < D && token < block.y)
                    y[at + c + e] = acc[i * NV + j][e] * by;
            }
        }
    }
}
