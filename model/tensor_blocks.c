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
