// y[n, H D] = softmax(scale q kᵀ) v within each text by cooperative matrices; qkv[n, (H + 2 Hkv) D] holds q heads, k heads, v heads,
// kv and scales what pack_kv.comp made of the latter two
//
// Texts are packed end to end. A work-group of SUBGROUPS subgroups takes BQ = SUBGROUPS TM query rows of one text and one head, TM to each
// subgroup, and walks over the text's keys BK at a time, from the text's first on, with the online softmax. q lies in registers as f16
// with a power of two for each row, the output in registers as f32; K and V tiles go through a place each in shared memory as eight f16 a
// vector, a vector of padding per row keeping eight rows' loads off the same banks. What comes next is fetched before products and put
// there after them: two barriers a tile, one behind which the keys may be read and the values' place written, one the other way round.
//
// A key's rounding moves one weight of a row, and such errors cancel each other; a query's moves all of them the same way. With SPLIT q is the
// sum of two f16, which leaves 22 bits of the row's largest, for half as many products again.
//
// Scores go through a patch of shared memory that only their subgroup touches, since which invocation holds what is the driver's
// business: PASS columns at a time, to be read by rows. Invocation i has row i % TM and every (LANES / TM)th eight of its columns, or the rows
// i, i + LANES … where a matrix has more rows than a subgroup invocations. Weights go back through the same patch as f16. Their sum
// is made by a product with ones, so it is the sum of what is multiplied, and lies beside the output's matrices as they do.
//
// A row's weights are 2^(score - top). top follows the row's maximum with slack: it moves when the maximum is 2^LAG beyond, and is
// 2^SHIFT below, so a weight is at most 2^(LAG + SHIFT), which f16 holds, and one of 2^-30 of the largest still counts. Only when
// a row's top moves are the subgroup's outputs rescaled, by a matrix whose columns are all the rows' factors. Values of a block have a scale of their
// own: the output is in units of the largest scale so far, and the weights are multiplied by what a block's is less, a rare case but
// for factors of two. A row that sees nothing of its first tiles gets finite nonsense, multiplied by 0 when its top moves.
//
// blocks [n_blocks]: (first row of the text, one past its last, first query row of the block, the text's first block).
// Groups: x = block, y = head. TN divides PASS and D padded to DP, TK divides BK and DP, PASS divides BK, BK divides BQ; 2 PASS >= BK;
// 8 max(LANES / TM, 1) divides PASS. The order of a row's sums depends on its place within its text only.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_cooperative_matrix : require
#include "params_attention.h"

layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint GROUP = 128;
layout(constant_id = 1) const uint SUBGROUPS = 4;
layout(constant_id = 2) const uint D = 64; // size of a head
layout(constant_id = 3) const uint D8 = 8; // its eights as packed
layout(constant_id = 4) const uint BK = 64;
layout(constant_id = 5) const uint PASS = 32;
layout(constant_id = 6) const uint TM = 16;
layout(constant_id = 7) const uint TN = 16;
layout(constant_id = 8) const uint TK = 16;
layout(constant_id = 9) const uint CAUSAL = 0;
layout(constant_id = 10) const uint SPLIT = 1; // q as a sum of two f16
layout(constant_id = 11) const uint CAP = 0; // a float's bits: scores s become CAP tanh(s / CAP), log2(e) being in both; 0: they stay

const uint LANES = GROUP / SUBGROUPS;
const uint LPR = LANES > TM ? LANES / TM : 1; // invocations to a row
const uint RPL = TM > LANES ? TM / LANES : 1; // rows of an invocation
const uint BQ = SUBGROUPS * TM;
const uint ROW = D8 + 1;
const uint LOADS = (BK * D8 + GROUP - 1) / GROUP;
const uint TILE = (2 * BK > BQ ? 2 * BK : BQ) * ROW; // keys and values, or q's rows before those
const uint PROW = PASS / 4 + 1;
const uint PATCH = TM * PROW;
const uint PASSES = BK / PASS;
const uint UNITS = PASS / 8 / LPR; // eights of columns of an invocation and a row in a pass
const uint PER_ROW = PASSES * UNITS;
const uint NQ = 8 * D8 / TK;
const uint Q_LOW = SPLIT != 0 ? NQ : 1;
const uint NO = 8 * D8 / TN;
const uint NS = PASS / TN;
const uint Q_UNITS = (D8 + LPR - 1) / LPR;
const float MASKED = -3e38;
const float LAG = 8.0, SHIFT = 6.0;

layout(set = 0, binding = 0, std430) readonly buffer Qkv { float qkv[]; };
layout(set = 0, binding = 0, std430) readonly buffer Qkv4 { vec4 qkv4[]; };
layout(set = 0, binding = 1, std430) readonly buffer Blocks { uvec4 blocks[]; };
layout(set = 0, binding = 2, std430) readonly buffer Kv { uvec4 kv[]; };
layout(set = 0, binding = 3, std430) readonly buffer Scales { float scales[]; };
layout(set = 0, binding = 4, std430) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { push_attention_coop p; };

#define A_F16 coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>
#define B_F16 coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>
#define SUM_F32 coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>

shared uvec4 tiles[TILE];
shared uvec4 patches[SUBGROUPS * PATCH];
shared float factors[BQ]; // of rows' sums

uvec4 next[LOADS];
vec4 s[RPL * PER_ROW * 2]; // scores of an invocation's rows, then their weights
float by[RPL];  // what makes scores of a row's products
float top[RPL];

// What this invocation works at, see take_place.
uvec4 block;
uint head, kv_head;
uint begin, end;   // keys that a row of the block may see
uint own0;         // this subgroup's first row
uint r0, part;     // this invocation's first row of the subgroup's, and its share of it
uint patch_at;

// What this subgroup wrote to shared memory is there for the subgroup. All subgroups come here as often, since a driver may wait for all.
void subgroup_shared()
{
    controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
}

void take_place()
{
    block = blocks[gl_WorkGroupID.x];
    head = gl_WorkGroupID.y;
    kv_head = head / (p.n_heads / p.n_kv_heads);
    own0 = block.z + gl_SubgroupID * TM;
    r0 = gl_SubgroupInvocationID % TM;
    part = gl_SubgroupInvocationID / TM;
    patch_at = gl_SubgroupID * PATCH;
    begin = block.x;
    end = CAUSAL != 0 ? min(block.y, block.z + BQ) : block.y;
    if (p.window != PARAMS_NO_WINDOW) { // whole tiles that no row of the block sees
        if (block.z - block.x >= p.window)
            begin += (block.z - block.x - p.window + 1) / BK * BK;
        end = block.z + BQ + p.window - 1 > block.z ? min(end, block.z + BQ + p.window - 1) : end;
    }
}

// The tile of keys (0) or values (1) of rows first … end - 1; rows beyond are zero.
void fetch(uint what, uint first)
{
    uint from = ((what * p.n_kv_heads + kv_head) * p.n_tokens + first) * D8;
    [[unroll]] for (uint l = 0; l < LOADS; l++) {
        uint i = gl_LocalInvocationID.x + l * GROUP;
        next[l] = uvec4(0);
        if (i < min(BK, end - first) * D8)
            next[l] = kv[from + i];
    }
}

void put(uint what)
{
    [[unroll]] for (uint l = 0; l < LOADS; l++) {
        uint i = gl_LocalInvocationID.x + l * GROUP;
        if (i < BK * D8)
            tiles[(what * BK + i / D8) * ROW + i % D8] = next[l];
    }
}

uvec4 pack8(vec4 a, vec4 b)
{
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

vec4 load_q4(uint at, uint c)
{
    if (D % 4 == 0)
        return c < D ? qkv4[(at + c) / 4] : vec4(0.0);
    vec4 v = vec4(0.0);
    for (uint e = 0; e < 4; e++) {
        if (c + e < D)
            v[e] = qkv[at + c + e];
    }
    return v;
}

// Row own0 + r of q as f16 in shared memory, or, low, what that rounding took away; returns its scale. Values that are no numbers do not
// count.
float put_q(uint r, bool low)
{
    vec4 q[2 * Q_UNITS];
    float largest = 0.0;
    uint at = (own0 + r) * (p.n_heads + 2 * p.n_kv_heads) * D + head * D;
    [[unroll]] for (uint u = 0; u < Q_UNITS; u++) {
        [[unroll]] for (uint k = 0; k < 2; k++) {
            vec4 v = own0 + r < block.y ? load_q4(at, (part + LPR * u) * 8 + 4 * k) : vec4(0.0);
            q[2 * u + k] = v;
            [[unroll]] for (uint e = 0; e < 4; e++) {
                float a = abs(v[e]);
                largest = a > largest && a <= 3.4028235e38 ? a : largest;
            }
        }
    }
    for (uint x = TM; x < LANES; x *= 2)
        largest = max(largest, subgroupShuffleXor(largest, x));
    int e = clamp(int(floatBitsToUint(largest) >> 23) - 126, -120, 120); // as in pack_kv.comp
    float down = uintBitsToFloat(uint(127 - e) << 23);
    [[unroll]] for (uint u = 0; u < Q_UNITS; u++) {
        uint c8 = part + LPR * u;
        vec4 a = q[2 * u] * down, b = q[2 * u + 1] * down;
        uvec4 half8 = pack8(a, b);
        if (low)
            half8 = pack8(a - vec4(unpackHalf2x16(half8.x), unpackHalf2x16(half8.y)), b - vec4(unpackHalf2x16(half8.z), unpackHalf2x16(half8.w)));
        if (c8 < D8)
            tiles[(gl_SubgroupID * TM + r) * ROW + c8] = half8;
    }
    return uintBitsToFloat(uint(127 + e) << 23);
}

// This invocation's rows of q, the first time with what follows for their scores; then they are there for the subgroup.
void put_q_rows(bool low)
{
    if (low)
        subgroup_shared(); // what was there has been read
    [[unroll]] for (uint i = 0; i < RPL; i++) {
        float q_scale = put_q(r0 + i * LANES, low);
        if (!low) {
            by[i] = q_scale * p.scale * 1.44269504;
            top[i] = MASKED;
        }
    }
    subgroup_shared();
}

// What a product with eights of q adds to scores of TN keys, which lie in the tile from `at` on.
SUM_F32 add_keys(A_F16 q, A_F16 q_low, uint at, SUM_F32 products)
{
    B_F16 b;
    coopMatLoad(b, tiles, at, ROW, gl_CooperativeMatrixLayoutColumnMajor);
    products = coopMatMulAdd(q, b, products);
    if (SPLIT != 0)
        products = coopMatMulAdd(q_low, b, products);
    return products;
}

// What weights a add to TN columns of the output.
SUM_F32 add_values(A_F16 a, uint at, SUM_F32 sums)
{
    B_F16 b;
    coopMatLoad(b, tiles, at, ROW, gl_CooperativeMatrixLayoutRowMajor);
    return coopMatMulAdd(a, b, sums);
}

// This invocation's products of a pass out of the patch.
void take_products(uint pass)
{
    [[unroll]] for (uint i = 0; i < RPL * UNITS; i++) {
        uint at = patch_at + (r0 + i / UNITS * LANES) * PROW + (part + LPR * (i % UNITS)) * 2;
        uint to = 2 * (i / UNITS * PER_ROW + pass * UNITS + i % UNITS);
        s[to] = uintBitsToFloat(patches[at]);
        s[to + 1] = uintBitsToFloat(patches[at + 1]);
    }
}

// Beyond 10 some drivers' tanh is Inf / Inf; clamp may take a NaN for a bound.
vec4 capped(vec4 v)
{
    float cap = uintBitsToFloat(CAP);
    return mix(cap * tanh(clamp(v * (1.0 / cap), -10.0, 10.0)), v, isnan(v));
}

// A row's scores of this tile from its products; hides what the row does not see, where edge says that there may be such.
void finish_scores(uint i, uint row, float k_scale, bool edge, uint first)
{
    [[unroll]] for (uint u = 0; u < PER_ROW; u++) {
        [[unroll]] for (uint k = 0; k < 2; k++) {
            vec4 v = s[2 * (i * PER_ROW + u) + k] * by[i] * k_scale;
            if (CAP != 0)
                v = capped(v);
            if (edge) {
                uint key = first + u / UNITS * PASS + (part + LPR * (u % UNITS)) * 8 + 4 * k;
                [[unroll]] for (uint e = 0; e < 4; e++) {
                    if (key + e >= end || (CAUSAL != 0 && key + e > row) || uint(abs(int(key + e) - int(row))) >= p.window)
                        v[e] = MASKED;
                }
            }
            s[2 * (i * PER_ROW + u) + k] = v;
        }
    }
}

// Moves a row's top where its maximum is too far beyond; returns what its sums so far are to be multiplied by.
float move_top(uint i)
{
    float largest = MASKED;
    [[unroll]] for (uint u = 0; u < 2 * PER_ROW; u++) {
        vec4 v = s[2 * i * PER_ROW + u];
        largest = max(largest, max(max(v.x, v.y), max(v.z, v.w)));
    }
    for (uint x = TM; x < LANES; x *= 2)
        largest = max(largest, subgroupShuffleXor(largest, x));
    float before = top[i];
    if (!(largest - SHIFT > before + LAG))
        return 1.0;
    top[i] = largest - SHIFT;
    return exp2(before - top[i]);
}

void put_weights(uint i, uint r)
{
    [[unroll]] for (uint u = 0; u < PER_ROW; u++) {
        vec4 a = exp2(s[2 * (i * PER_ROW + u)] - top[i]), b = exp2(s[2 * (i * PER_ROW + u) + 1] - top[i]);
        patches[patch_at + r * PROW + u / UNITS * (PASS / 8) + part + LPR * (u % UNITS)] = pack8(a, b);
    }
}

// From products to weights, which take the scores' place in the patch; whether a row's top moved, which is then in factors.
bool weigh(float k_scale, uint first)
{
    uint last = first + BK - 1, own_last = own0 + TM - 1;
    bool edge = last >= end || (CAUSAL != 0 && last > own0) ||
        uint(max(int(own_last) - int(first), int(last) - int(own0))) >= p.window;
    bool moved = false;
    [[unroll]] for (uint i = 0; i < RPL; i++) {
        finish_scores(i, own0 + r0 + i * LANES, k_scale, edge, first);
        float shrink = move_top(i);
        if (part == 0)
            factors[gl_SubgroupID * TM + r0 + i * LANES] = shrink;
        moved = moved || shrink != 1.0;
    }
    moved = subgroupAny(moved) && first > begin;
    subgroup_shared(); // the scores have been read
    [[unroll]] for (uint i = 0; i < RPL; i++)
        put_weights(i, r0 + i * LANES);
    subgroup_shared();
    return moved;
}

// PASS columns of the output, of which the first is c0, from the patch.
void store(uint c0, float v_scale)
{
    for (uint i = gl_SubgroupInvocationID; i < TM * PASS; i += LANES) {
        uint row = i / PASS, c = i % PASS;
        if (own0 + row < block.y && c0 + c < D)
            y[((own0 + row) * p.n_heads + head) * D + c0 + c] = uintBitsToFloat(patches[patch_at + row * PROW + c / 4][c % 4]) * v_scale;
    }
}

// The matrices stay in here, and functions are given one at a time: arrays of them that are passed to functions may be copied through memory.
void main()
{
    take_place();
    bool busy = own0 < block.y; // the same for all of a subgroup; others spare themselves the products
    fetch(0, begin);
    put_q_rows(false);
    A_F16 q[NQ];
    [[unroll]] for (uint i = 0; i < NQ; i++)
        coopMatLoad(q[i], tiles, gl_SubgroupID * TM * ROW + i * TK / 8, ROW, gl_CooperativeMatrixLayoutRowMajor);
    A_F16 q_low[Q_LOW];
    if (SPLIT != 0) {
        put_q_rows(true);
        [[unroll]] for (uint i = 0; i < Q_LOW; i++)
            coopMatLoad(q_low[i], tiles, gl_SubgroupID * TM * ROW + i * TK / 8, ROW, gl_CooperativeMatrixLayoutRowMajor);
    }
    barrier(); // all have read their rows of q, keys may take the place
    SUM_F32 sums[NO], weights = SUM_F32(0.0);
    [[unroll]] for (uint j = 0; j < NO; j++)
        sums[j] = SUM_F32(0.0);
    const B_F16 ones = B_F16(float16_t(1.0));
    float v_scale = 0.0;

    for (uint first = begin; first < end; first += BK) {
        uint of = kv_head * p.n_blocks + block.w + (first - block.x) / BQ;
        float k_scale = scales[of], tile_scale = scales[p.n_kv_heads * p.n_blocks + of];
        put(0);
        barrier();
        fetch(1, first);
        [[unroll]] for (uint pass = 0; pass < PASSES; pass++) {
            SUM_F32 products[NS];
            [[unroll]] for (uint t = 0; t < NS; t++)
                products[t] = SUM_F32(0.0);
            if (busy)
                [[unroll]] for (uint i = 0; i < NQ; i++)
                    [[unroll]] for (uint t = 0; t < NS; t++)
                        products[t] = add_keys(q[i], q_low[i % Q_LOW], (pass * PASS + t * TN) * ROW + i * TK / 8, products[t]);
            if (pass > 0)
                subgroup_shared(); // the columns before have been read
            [[unroll]] for (uint t = 0; t < NS; t++)
                coopMatStore(products[t], patches, patch_at + t * TN / 4, PROW, gl_CooperativeMatrixLayoutRowMajor);
            subgroup_shared();
            take_products(pass);
        }
        if (weigh(k_scale, first)) {
            SUM_F32 f; // every column the rows' factors
            coopMatLoad(f, factors, gl_SubgroupID * TM, 0, gl_CooperativeMatrixLayoutColumnMajor);
            weights *= f;
            [[unroll]] for (uint j = 0; j < NO; j++)
                sums[j] *= f;
        }
        put(1);
        barrier();
        if (first + BK < end)
            fetch(0, first + BK);
        if (busy) {
            if (tile_scale > v_scale) {
                [[unroll]] for (uint j = 0; j < NO; j++)
                    sums[j] *= v_scale / tile_scale;
                v_scale = tile_scale;
            }
            [[unroll]] for (uint i = 0; i < BK / TK; i++) {
                A_F16 a;
                coopMatLoad(a, patches, patch_at + i * TK / 8, PROW, gl_CooperativeMatrixLayoutRowMajor);
                weights = coopMatMulAdd(a, ones, weights);
                if (tile_scale < v_scale)
                    a *= float16_t(tile_scale / v_scale);
                [[unroll]] for (uint j = 0; j < NO; j++)
                    sums[j] = add_values(a, (BK + i * TK) * ROW + j * TN / 8, sums[j]);
            }
        }
    }

    [[unroll]] for (uint j = 0; j < NO; j += NS) {
        subgroup_shared();
        [[unroll]] for (uint t = 0; t < NS; t++)
            if (j + t < NO)
                coopMatStore(sums[j + t] / weights, patches, patch_at + t * TN / 4, PROW, gl_CooperativeMatrixLayoutRowMajor);
        subgroup_shared();
        store(j * TN, v_scale);
    }
}
