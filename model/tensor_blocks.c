#include "model/tensor_blocks.h"

#include <string.h>

#include "model/tensor.h"

static float load_f16(const uint8_t *p)
{
    return f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The nibbles of 16 bytes: the low ones are values 0 … 15, the high ones 16 … 31. */

void block_q4_0(const uint8_t *p, float *out)
{
    const float d = load_f16(p);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((p[2 + i] & 15) - 8);
        out[i + 16] = d * (float)((p[2 + i] >> 4) - 8);
    }
}

void block_q4_1(const uint8_t *p, float *out)
{
    const float d = load_f16(p), m = load_f16(p + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(p[4 + i] & 15) + m;
        out[i + 16] = d * (float)(p[4 + i] >> 4) + m;
    }
}

/* The fifth bits lie together, bit i for value i. */

void block_q5_0(const uint8_t *p, float *out)
{
    const float d = load_f16(p);
    const uint32_t high = load_u32(p + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((int)((p[6 + i] & 15) | (high >> i & 1) << 4) - 16);
        out[i + 16] = d * (float)((int)((uint32_t)p[6 + i] >> 4 | (high >> (i + 16) & 1) << 4) - 16);
    }
}

void block_q5_1(const uint8_t *p, float *out)
{
    const float d = load_f16(p), m = load_f16(p + 2);
    const uint32_t high = load_u32(p + 4);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((p[8 + i] & 15) | (high >> i & 1) << 4) + m;
        out[i + 16] = d * (float)((uint32_t)p[8 + i] >> 4 | (high >> (i + 16) & 1) << 4) + m;
    }
}

void block_q8_0(const uint8_t *p, float *out)
{
    const float d = load_f16(p);
    for (int i = 0; i < BLOCK_LEN; i++)
        out[i] = d * (float)(int8_t)p[2 + i];
}

/* q2_K and q3_K: each half of 128 values has four runs of 32, whose pairs of bits lie above each other in 32 bytes. */

void block_q2_k(const uint8_t *p, float *out)
{
    const float d = load_f16(p + 80), dmin = load_f16(p + 82);
    for (int run = 0; run < 8; run++, out += 32) {
        const uint8_t *q = p + 16 + run / 4 * 32, *scale = p + 2 * run;
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)(scale[i / 16] & 15) * (float)(q[i] >> run % 4 * 2 & 3) - dmin * (float)(scale[i / 16] >> 4);
    }
}

/* Bit `run` of high[i] is not set where 4 is taken off value i of that run. */
void block_q3_k(const uint8_t *p, float *out)
{
    const float d = load_f16(p + 108);
    const uint8_t *high = p;
    for (int run = 0; run < 8; run++, out += 32) {
        const uint8_t *q = p + 32 + run / 4 * 32;
        for (int i = 0; i < 32; i++) {
            const int v = (q[i] >> run % 4 * 2 & 3) | (high[i] >> run & 1) << 2;
            out[i] = d * (float)block_q3_scale(p + 96, 2 * run + i / 16) * (float)(v - 4);
        }
    }
}

/* Each 32 bytes of nibbles hold two parts: the low ones, then the high ones. */

void block_q4_k(const uint8_t *p, float *out)
{
    const float d = load_f16(p), dmin = load_f16(p + 2);
    const uint8_t *q = p + 16;
    for (int part = 0; part < 8; part++, out += 32) {
        uint8_t scale, min;
        block_k_scale(p + 4, part, &scale, &min);
        const float s = d * (float)scale, m = dmin * (float)min;
        const int shift = part & 1 ? 4 : 0;
        for (int i = 0; i < 32; i++)
            out[i] = s * (float)(q[i] >> shift & 15) - m;
        q += part & 1 ? 32 : 0;
    }
}

/* Bit `part` of high[i] is the fifth bit of value i of that part. */
void block_q5_k(const uint8_t *p, float *out)
{
    const float d = load_f16(p), dmin = load_f16(p + 2);
    const uint8_t *high = p + 16, *q = p + 48;
    for (int part = 0; part < 8; part++, out += 32) {
        uint8_t scale, min;
        block_k_scale(p + 4, part, &scale, &min);
        const float s = d * (float)scale, m = dmin * (float)min;
        const int shift = part & 1 ? 4 : 0;
        for (int i = 0; i < 32; i++)
            out[i] = s * (float)((q[i] >> shift & 15) | (high[i] >> part & 1) << 4) - m;
        q += part & 1 ? 32 : 0;
    }
}

/* Each half of 128 values has four runs of 32: two in the low nibbles of 64 bytes, two in the high ones; the upper two
 * bits of the four runs share 32 bytes. */
void block_q6_k(const uint8_t *p, float *out)
{
    const float d = load_f16(p + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = p + 64 * half, *high = p + 128 + 32 * half, *scale = p + 192 + 8 * half;
        for (int run = 0; run < 4; run++, out += 32) {
            const uint8_t *q = low + 32 * (run & 1);
            for (int i = 0; i < 32; i++) {
                const int v = (q[i] >> (run & 2 ? 4 : 0) & 15) | (high[i] >> 2 * run & 3) << 4;
                out[i] = d * (float)(int8_t)scale[2 * run + i / 16] * (float)(v - 32);
            }
        }
    }
}

const int8_t block_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void iq4(float d, const uint8_t *q, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)block_iq4_values[q[i] & 15];
        out[i + 16] = d * (float)block_iq4_values[q[i] >> 4];
    }
}

void block_iq4_nl(const uint8_t *p, float *out)
{
    iq4(load_f16(p), p + 2, out);
}

void block_iq4_xs(const uint8_t *p, float *out)
{
    const float d = load_f16(p);
    for (int part = 0; part < 8; part++)
        iq4(d * (float)block_iq4_scale(p, part), p + 8 + 16 * part, out + 32 * part);
}
