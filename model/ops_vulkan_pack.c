/* Blocks of a model file as a device holds them: a plane of values and a plane of what a block's values share (shaders/lib/weights.glsl).
 * Bits are only moved, so that eight neighbouring values lie in one word, and q3_K, iq4_nl take the form of types with more bits; nothing is
 * rounded but q2_K's values and iq4_xs's factors, for which there is no form. */
#include <math.h>
#include <string.h>

#include "model/ops_vulkan_impl.h"
#include "model/tensor_blocks.h"

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void store_u16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}

/* Eight values, the lowest bits of a byte each. What lies above those bits is let go by whoever puts them next to each other. */
static uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* From every second byte. */
static uint32_t four_nibbles(uint64_t v)
{
    v &= 0x000F000F000F000F;
    v = (v | v >> 12) & 0x000000FF000000FF;
    return (uint32_t)(v | v >> 24) & 0xFFFF;
}

/* The low 4 bits of eight values, in the order in which a shift and a mask leave neighbours in a word's halves. */
static uint32_t nibbles(uint64_t v)
{
    return four_nibbles(v) | four_nibbles(v >> 8) << 16;
}

/* Of values i … i + 7. */
static void put_low(uint8_t *plane, unsigned i, uint64_t v)
{
    const uint32_t word = nibbles(v);
    memcpy(plane + i / 2, &word, 4);
}

/* Upper bits of values i … i + 7, `bits` of each, into the word that 32 / bits values share: each nibble of it has, of one eight after the other,
 * the bits of the value whose low ones have that place in the eight's own word. The plane is zero before. */
static void put_high(uint8_t *plane, unsigned i, unsigned bits, uint64_t v)
{
    const unsigned per_word = 32 / bits, eight = i % per_word / 8;
    uint32_t word;
    memcpy(&word, plane + i / per_word * 4, 4);
    word |= nibbles(v & 0x0101010101010101 * ((1u << bits) - 1)) << eight * bits;
    memcpy(plane + i / per_word * 4, &word, 4);
}

/* The fifth bits of 32 values, of which value i has bit i. */
static void put_fifth(uint8_t *plane, const uint8_t *p)
{
    for (unsigned i = 0; i < BLOCK_LEN; i++) {
        const uint64_t bit = p[i / 8] >> i % 8 & 1;
        put_high(plane, i / 8 * 8, 1, bit << 8 * (i % 8));
    }
}

static void pack_q8_0(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p, 2);
    memcpy(data, p + 2, BLOCK_LEN);
}

/* The 16 bytes in which blocks of 32 keep their low bits. */
static void pack_halves(const uint8_t *q, uint8_t *data)
{
    for (unsigned i = 0; i < 16; i += 8) {
        const uint64_t v = load_u64(q + i);
        put_low(data, i, v);
        put_low(data, i + 16, v >> 4);
    }
}

/* The minimum that makes d (q - zero) of d q + m: an exact product unless it is beyond what f16 holds. */
static void store_zero(uint8_t *p, uint16_t d, int zero)
{
    store_u16(p, f32_to_f16(-(float)zero * f16_to_f32(d)));
}

static void pack_q4_0(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p, 2);
    store_zero(shared + 2, load_u16(p), 8);
    pack_halves(p + 2, data);
}

static void pack_q4_1(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p, 4);
    pack_halves(p + 4, data);
}

static void pack_q5_0(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p, 2);
    store_zero(shared + 2, load_u16(p), 16);
    put_fifth(shared + 4, p + 2);
    pack_halves(p + 6, data);
}

static void pack_q5_1(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p, 4);
    put_fifth(shared + 4, p + 4);
    pack_halves(p + 8, data);
}

/* The low bits of the K types with eight parts: two parts to 32 bytes. */
static void pack_parts(const uint8_t *q, uint8_t *data)
{
    for (unsigned i = 0; i < BLOCK_K_LEN; i += 8)
        put_low(data, i, load_u64(q + i / 64 * 32 + i % 32) >> (i / 32 % 2 * 4));
}

/* The two factors and the 8 scales and minima of q4_K and q5_K, in 16 bytes. */
static void pack_scales(const uint8_t *p, uint8_t *shared)
{
    uint32_t words[3] = {0, 0, 0};
    memcpy(shared, p, 4);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t scale, min;
        block_k_scale(p + 4, (int)i, &scale, &min);
        words[i / 4] |= (uint32_t)(scale & 15) << 4 * (i % 4) | (uint32_t)(min & 15) << (16 + 4 * (i % 4));
        words[2] |= (uint32_t)(scale >> 4) << 2 * i | (uint32_t)(min >> 4) << (16 + 2 * i);
    }
    memcpy(shared + 4, words, 12);
}

static void pack_q4_k(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    pack_scales(p, shared);
    pack_parts(p + 16, data);
}

static void pack_q5_k(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    pack_scales(p, shared);
    pack_parts(p + 48, data);
    for (unsigned i = 0; i < BLOCK_K_LEN; i += 8)
        put_high(shared + 16, i, 1, load_u64(p + 16 + i % 32) >> (i / 32));
}

static void pack_q6_k(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p + 208, 2);
    memcpy(shared + 4, p + 192, 16);
    for (unsigned i = 0; i < BLOCK_K_LEN; i += 8) {
        const unsigned half = i / 128, run = i / 32 % 4;
        put_low(data, i, load_u64(p + 64 * half + 32 * (run & 1) + i % 32) >> (run & 2 ? 4 : 0));
        put_high(shared + 20, i, 2, load_u64(p + 128 + 32 * half + i % 32) >> 2 * run);
    }
}

/* As q6_K, which takes 32 off where q3_K takes 4. */
static void pack_q3_k(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p + 108, 2);
    for (int i = 0; i < 16; i++)
        shared[4 + i] = (uint8_t)block_q3_scale(p + 96, i);
    for (unsigned i = 0; i < BLOCK_K_LEN; i += 8) {
        const unsigned run = i / 32;
        uint8_t v[8];
        for (unsigned e = 0; e < 8; e++)
            v[e] = (uint8_t)(28 + ((p[32 + run / 4 * 32 + i % 32 + e] >> run % 4 * 2 & 3) | (p[i % 32 + e] >> run & 1) << 2));
        put_low(data, i, load_u64(v));
        put_high(shared + 20, i, 2, load_u64(v) >> 4);
    }
}

/* As q8_0, to half of a 127th of the largest of 32. */
static void pack_q2_k(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    float v[BLOCK_K_LEN];
    block_q2_k(p, v);
    for (int i = 0; i < BLOCK_K_LEN; i += BLOCK_LEN) {
        float largest = 0;
        for (int k = i; k < i + BLOCK_LEN; k++)
            largest = fmaxf(largest, fabsf(v[k]));
        const uint16_t d = f32_to_f16(largest / 127);
        const float by = f16_to_f32(d) > 0 ? 1 / f16_to_f32(d) : 0;
        store_u16(shared + i / BLOCK_LEN * 2, d);
        for (int k = i; k < i + BLOCK_LEN; k++)
            data[k] = (uint8_t)(int8_t)fmaxf(-127, fminf(127, rintf(v[k] * by)));
    }
}

/* As q8_0. */
static void pack_iq4(const uint8_t *q, uint8_t *data)
{
    for (int i = 0; i < 16; i++) {
        data[i] = (uint8_t)block_iq4_values[q[i] & 15];
        data[i + 16] = (uint8_t)block_iq4_values[q[i] >> 4];
    }
}

static void pack_iq4_nl(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    memcpy(shared, p, 2);
    pack_iq4(p + 2, data);
}

/* A part's factor, of 17 bits, is rounded to f16's 11. */
static void pack_iq4_xs(const uint8_t *p, uint8_t *data, uint8_t *shared)
{
    for (int part = 0; part < 8; part++) {
        store_u16(shared + 2 * part, f32_to_f16(f16_to_f32(load_u16(p)) * (float)block_iq4_scale(p, part)));
        pack_iq4(p + 8 + 16 * part, data + 32 * part);
    }
}

const struct held *held_as(enum tensor_type type)
{
    static const struct held held[TENSOR_N_TYPES] = {
        [TENSOR_F32] = {TENSOR_F32, 1, 4, 0, NULL, 0, 0},
        [TENSOR_F16] = {TENSOR_F16, 1, 2, 0, NULL, 0, 0},
        [TENSOR_BF16] = {TENSOR_BF16, 1, 2, 0, NULL, 0, 0},
        [TENSOR_Q8_0] = {TENSOR_Q8_0, BLOCK_LEN, 32, 2, pack_q8_0, 128, 0},
        [TENSOR_Q4_0] = {TENSOR_Q4_1, BLOCK_LEN, 16, 4, pack_q4_0, 15, 1},
        [TENSOR_Q4_1] = {TENSOR_Q4_1, BLOCK_LEN, 16, 4, pack_q4_1, 15, 1},
        [TENSOR_Q5_0] = {TENSOR_Q5_1, BLOCK_LEN, 16, 8, pack_q5_0, 31, 1},
        [TENSOR_Q5_1] = {TENSOR_Q5_1, BLOCK_LEN, 16, 8, pack_q5_1, 31, 1},
        [TENSOR_Q2_K] = {TENSOR_Q8_0, BLOCK_K_LEN, 256, 16, pack_q2_k, 128, 0},
        [TENSOR_Q3_K] = {TENSOR_Q6_K, BLOCK_K_LEN, 128, 84, pack_q3_k, 128 * 32, 0},
        [TENSOR_Q4_K] = {TENSOR_Q4_K, BLOCK_K_LEN, 128, 16, pack_q4_k, 63 * 15, 63},
        [TENSOR_Q5_K] = {TENSOR_Q5_K, BLOCK_K_LEN, 128, 48, pack_q5_k, 63 * 31, 63},
        [TENSOR_Q6_K] = {TENSOR_Q6_K, BLOCK_K_LEN, 128, 84, pack_q6_k, 128 * 32, 0},
        [TENSOR_IQ4_NL] = {TENSOR_Q8_0, BLOCK_LEN, 32, 2, pack_iq4_nl, 128, 0},
        [TENSOR_IQ4_XS] = {TENSOR_Q8_0, BLOCK_K_LEN, 256, 16, pack_iq4_xs, 128, 0},
    };
    return (unsigned)type < TENSOR_N_TYPES && held[type].block ? &held[type] : NULL;
}
