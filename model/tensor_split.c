#include "model/tensor_split.h"

#include <string.h>

#include "model/tensor_blocks.h"

enum { ZERO = 128, RUN = 32, RUNS = BLOCK_K_LEN / RUN };

/* A block's whole numbers with ZERO added, and scale and minimum of each 16 */
struct split {
    uint8_t q[BLOCK_K_LEN];
    float scale[BLOCK_K_LEN / 16], min[BLOCK_K_LEN / 16];
};

static float load_f16(const uint8_t *p)
{
    return f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static void set_run(struct split *s, int run, float scale, float min)
{
    for (int i = 2 * run; i < 2 * run + 2; i++) {
        s->scale[i] = scale;
        s->min[i] = min;
    }
}

/* 32 values whose four lower bits lie in 16 bytes, and their fifth in `high`, or 0; `zero` stands for 0. */
static void nibbles(struct split *s, const uint8_t *p, uint32_t high, int zero)
{
    for (int i = 0; i < 16; i++) {
        s->q[i] = (uint8_t)((p[i] & 15) + (high >> i & 1) * 16 + (uint32_t)(ZERO - zero));
        s->q[i + 16] = (uint8_t)((p[i] >> 4) + (high >> (i + 16) & 1) * 16 + (uint32_t)(ZERO - zero));
    }
}

static uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* q4_K, and with a fifth bit q5_K */
static void split_k(struct split *s, const uint8_t *p, const uint8_t *high, const uint8_t *q)
{
    const float d = load_f16(p), dmin = load_f16(p + 2);
    for (int run = 0; run < RUNS; run++) {
        uint8_t scale, min;
        block_k_scale(p + 4, run, &scale, &min);
        set_run(s, run, d * (float)scale, -(dmin * (float)min));
        for (int i = 0; i < RUN; i++) {
            const int fifth = high ? (high[i] >> run & 1) << 4 : 0;
            s->q[run * RUN + i] = (uint8_t)(ZERO + (q[run / 2 * RUN + i] >> (run & 1 ? 4 : 0) & 15) + fifth);
        }
    }
}

/* Its order is block_q6_k's. */
static void split_q6_k(struct split *s, const uint8_t *p)
{
    const float d = load_f16(p + 208);
    for (int run = 0; run < RUNS; run++) {
        const int half = run / 4, part = run % 4;
        const uint8_t *q = p + 64 * half + 32 * (part & 1), *high = p + 128 + 32 * half;
        for (int i = 0; i < RUN; i++) {
            const int v = (q[i] >> (part & 2 ? 4 : 0) & 15) | (high[i] >> 2 * part & 3) << 4;
            s->q[run * RUN + i] = (uint8_t)(ZERO + v - 32);
        }
        for (int i = 0; i < 2; i++) {
            s->scale[2 * run + i] = d * (float)(int8_t)p[192 + 2 * run + i];
            s->min[2 * run + i] = 0;
        }
    }
}

static void split_block(enum tensor_type type, const uint8_t *p, struct split *s)
{
    switch (type) {
    case TENSOR_Q4_0:
        nibbles(s, p + 2, 0, 8);
        set_run(s, 0, load_f16(p), 0);
        return;
    case TENSOR_Q4_1:
        nibbles(s, p + 4, 0, 0);
        set_run(s, 0, load_f16(p), load_f16(p + 2));
        return;
    case TENSOR_Q5_0:
        nibbles(s, p + 6, load_u32(p + 2), 16);
        set_run(s, 0, load_f16(p), 0);
        return;
    case TENSOR_Q5_1:
        nibbles(s, p + 8, load_u32(p + 4), 0);
        set_run(s, 0, load_f16(p), load_f16(p + 2));
        return;
    case TENSOR_Q8_0:
        for (int i = 0; i < BLOCK_LEN; i++)
            s->q[i] = p[2 + i] ^ ZERO;
        set_run(s, 0, load_f16(p), 0);
        return;
    case TENSOR_Q4_K:
        split_k(s, p, NULL, p + 16);
        return;
    case TENSOR_Q5_K:
        split_k(s, p, p + 16, p + 48);
        return;
    case TENSOR_Q6_K:
        split_q6_k(s, p);
        return;
    default: /* no blocks: tensor_split_unit said so */
        return;
    }
}

size_t tensor_split_unit(enum tensor_type type)
{
    return type == TENSOR_Q6_K ? 16 : tensor_block_len(type) > 1 ? 32 : 0;
}

bool tensor_split_has_min(enum tensor_type type)
{
    return type == TENSOR_Q4_1 || type == TENSOR_Q5_1 || type == TENSOR_Q4_K || type == TENSOR_Q5_K;
}

void tensor_split(enum tensor_type type, const void *data, uint64_t n, size_t unit, uint8_t *q, float *scale, float *min)
{
    const uint8_t *p = data;
    const size_t len = tensor_block_len(type), bytes = tensor_block_bytes(type);
    struct split s;
    for (uint64_t at = 0; at < n; at += len, p += bytes, q += len) {
        split_block(type, p, &s);
        memcpy(q, s.q, len);
        for (size_t i = 0; i < len; i += unit) {
            *scale++ = s.scale[i / 16];
            *min++ = s.min[i / 16];
        }
    }
}
