#include "tests/golden/block_encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/tensor_blocks.h"

enum { PARTS = BLOCK_K_LEN / 16 };

static void put_codes(const uint8_t *code, bool five, struct bytes_out *out)
{
    uint32_t fifth = 0;
    for (int i = 0; five && i < BLOCK_LEN; i++)
        fifth |= (uint32_t)(code[i] >> 4) << i;
    if (five)
        bytes_put_u32(out, fifth);
    for (int i = 0; i < BLOCK_LEN / 2; i++)
        bytes_put_u8(out, (uint8_t)((code[i] & 15) | (code[i + BLOCK_LEN / 2] & 15) << 4));
}

/* Whole numbers 0 … most; without a minimum half of most + 1 stands for 0 and the largest value for 0 or its opposite. */
static void put_32(enum tensor_type type, const float *v, struct bytes_out *out)
{
    const bool five = type == TENSOR_Q5_0 || type == TENSOR_Q5_1, range = type == TENSOR_Q4_1 || type == TENSOR_Q5_1;
    const float most = five ? 31 : 15;
    float low = v[0], high = v[0];
    uint8_t code[BLOCK_LEN];
    for (int i = 1; i < BLOCK_LEN; i++) {
        low = fminf(low, v[i]);
        high = fmaxf(high, v[i]);
    }
    const float largest = -low > high ? low : high;
    const uint16_t d = f32_to_f16(range ? (high - low) / most : largest / (-(most + 1) / 2)), m = f32_to_f16(low);
    const float step = f16_to_f32(d), zero = range ? f16_to_f32(m) : -step * (most + 1) / 2;
    for (int i = 0; i < BLOCK_LEN; i++)
        code[i] = step != 0 ? (uint8_t)fmaxf(0, fminf(most, rintf((v[i] - zero) / step))) : 0;
    bytes_put_u16(out, d);
    if (range)
        bytes_put_u16(out, m);
    put_codes(code, five, out);
}

/* What is farthest from 0 of n values, with its sign. */
static float farthest(const float *v, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        most = fabsf(v[i]) > fabsf(most) ? v[i] : most;
    return most;
}

static uint32_t whole(float v, float step, float most)
{
    return step != 0 ? (uint32_t)fmaxf(0, fminf(most, rintf(v / step))) : 0;
}

/* A range from 0 or below for each 16. */
static void put_q2_k(const float *v, struct bytes_out *out)
{
    float step[PARTS], low[PARTS];
    uint8_t q[BLOCK_K_LEN / 4] = {0}, scale[PARTS];
    for (int p = 0; p < PARTS; p++) {
        float high = low[p] = 0;
        for (int i = 16 * p; i < 16 * p + 16; i++) {
            low[p] = fminf(low[p], v[i]);
            high = fmaxf(high, v[i]);
        }
        step[p] = (high - low[p]) / 3;
    }
    const uint16_t d = f32_to_f16(fabsf(farthest(step, PARTS)) / 15), m = f32_to_f16(fabsf(farthest(low, PARTS)) / 15);
    for (int p = 0; p < PARTS; p++)
        scale[p] = (uint8_t)(whole(step[p], f16_to_f32(d), 15) | whole(-low[p], f16_to_f32(m), 15) << 4);
    for (int i = 0; i < BLOCK_K_LEN; i++) {
        const int p = i / 16, run = i / 32;
        const float by = f16_to_f32(d) * (float)(scale[p] & 15), from = f16_to_f32(m) * (float)(scale[p] >> 4);
        q[run / 4 * 32 + i % 32] |= (uint8_t)(whole(v[i] + from, by, 3) << run % 4 * 2);
    }
    bytes_put(out, scale, sizeof scale);
    bytes_put(out, q, sizeof q);
    bytes_put_u16(out, d);
    bytes_put_u16(out, m);
}

/* The farthest of each 16 becomes -4. */
static void put_q3_k(const float *v, struct bytes_out *out)
{
    float step[PARTS];
    uint8_t high[BLOCK_K_LEN / 8] = {0}, q[BLOCK_K_LEN / 4] = {0}, scale[12] = {0};
    for (int p = 0; p < PARTS; p++)
        step[p] = farthest(v + 16 * p, 16) / -4;
    const uint16_t d = f32_to_f16(fabsf(farthest(step, PARTS)) / 31);
    for (int p = 0; p < PARTS; p++) {
        const uint32_t s = whole(step[p] + 32 * f16_to_f32(d), f16_to_f32(d), 63);
        scale[p % 8] |= (uint8_t)((s & 15) << p / 8 * 4);
        scale[8 + p % 4] |= (uint8_t)(s >> 4 << p / 4 * 2);
    }
    for (int i = 0; i < BLOCK_K_LEN; i++) {
        const int run = i / 32;
        const float by = f16_to_f32(d) * (float)block_q3_scale(scale, i / 16);
        const uint32_t code = by != 0 ? whole(v[i] / by + 4, 1, 7) : 4;
        q[run / 4 * 32 + i % 32] |= (uint8_t)((code & 3) << run % 4 * 2);
        high[i % 32] |= (uint8_t)(code >> 2 << run);
    }
    bytes_put(out, high, sizeof high);
    bytes_put(out, q, sizeof q);
    bytes_put(out, scale, sizeof scale);
    bytes_put_u16(out, d);
}

static uint8_t nearest(float v)
{
    uint8_t best = 0;
    for (uint8_t i = 1; i < 16; i++)
        best = fabsf(v - (float)block_iq4_values[i]) < fabsf(v - (float)block_iq4_values[best]) ? i : best;
    return best;
}

/* 32 values in steps of `by`. */
static void put_iq4(const float *v, float by, struct bytes_out *out)
{
    const float inv = by != 0 ? 1 / by : 0;
    for (int i = 0; i < BLOCK_LEN / 2; i++)
        bytes_put_u8(out, (uint8_t)(nearest(v[i] * inv) | nearest(v[i + BLOCK_LEN / 2] * inv) << 4));
}

/* The farthest of each 32 becomes -127. */
static void put_iq4_xs(const float *v, struct bytes_out *out)
{
    float step[PARTS / 2];
    uint8_t low[4] = {0};
    uint16_t high = 0;
    for (int p = 0; p < PARTS / 2; p++)
        step[p] = farthest(v + BLOCK_LEN * p, BLOCK_LEN) / -127;
    const uint16_t d = f32_to_f16(fabsf(farthest(step, PARTS / 2)) / 31);
    for (int p = 0; p < PARTS / 2; p++) {
        const uint32_t s = whole(step[p] + 32 * f16_to_f32(d), f16_to_f32(d), 63);
        low[p / 2] |= (uint8_t)((s & 15) << p % 2 * 4);
        high |= (uint16_t)(s >> 4 << 2 * p);
        step[p] = f16_to_f32(d) * ((float)s - 32);
    }
    bytes_put_u16(out, d);
    bytes_put_u16(out, high);
    bytes_put(out, low, sizeof low);
    for (int p = 0; p < PARTS / 2; p++)
        put_iq4(v + BLOCK_LEN * p, step[p], out);
}

bool golden_only_read(enum tensor_type type)
{
    return (type >= TENSOR_Q4_0 && type <= TENSOR_Q5_1) || type == TENSOR_Q2_K || type == TENSOR_Q3_K || type == TENSOR_IQ4_NL ||
           type == TENSOR_IQ4_XS;
}

void golden_block(enum tensor_type type, const float *v, struct bytes_out *out)
{
    if (type == TENSOR_Q2_K) {
        put_q2_k(v, out);
    } else if (type == TENSOR_Q3_K) {
        put_q3_k(v, out);
    } else if (type == TENSOR_IQ4_XS) {
        put_iq4_xs(v, out);
    } else if (type == TENSOR_IQ4_NL) {
        const uint16_t d = f32_to_f16(farthest(v, BLOCK_LEN) / -127);
        bytes_put_u16(out, d);
        put_iq4(v, f16_to_f32(d), out);
    } else {
        put_32(type, v, out);
    }
}
