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

/* The scales and minima of the 16 values each of a run */
static void set_halves(struct split *s, int run, const float scale[2], const float min[2])
{
    memcpy(s->scale + 2 * run, scale, 2 * sizeof *scale);
    memcpy(s->min + 2 * run, min, 2 * sizeof *min);
}

/* q2_K, and with a third bit, without which 4 is taken off, q3_K; their order is block_q2_k's. */
static void split_pairs(struct split *s, const uint8_t *q, const uint8_t *third)
{
    for (int run = 0; run < RUNS; run++) {
        for (int i = 0; i < RUN; i++) {
            const int v = q[run / 4 * RUN + i] >> run % 4 * 2 & 3, more = third ? (third[i] >> run & 1) * 4 - 4 : 0;
            s->q[run * RUN + i] = (uint8_t)(ZERO + v + more);
        }
    }
}

static void split_q2_k(struct split *s, const uint8_t *p)
{
    const float d = load_f16(p + 80), dmin = load_f16(p + 82);
    split_pairs(s, p + 16, NULL);
    for (int run = 0; run < RUNS; run++) {
        const uint8_t a = p[2 * run], b = p[2 * run + 1];
        const float scale[2] = {d * (float)(a & 15), d * (float)(b & 15)}, min[2] = {-(dmin * (float)(a >> 4)), -(dmin * (float)(b >> 4))};
        set_halves(s, run, scale, min);
    }
}

static void split_q3_k(struct split *s, const uint8_t *p)
{
    const float d = load_f16(p + 108);
    split_pairs(s, p + 32, p);
    for (int run = 0; run < RUNS; run++) {
        const int a = block_q3_scale(p + 96, 2 * run), b = block_q3_scale(p + 96, 2 * run + 1);
        set_halves(s, run, (const float[]){d * (float)a, d * (float)b}, (const float[]){0, 0});
    }
}

/* 32 values of iq4_nl or iq4_xs */
static void split_iq4(struct split *s, int run, float d, const uint8_t *p)
{
    for (int i = 0; i < 16; i++) {
        s->q[run * RUN + i] = (uint8_t)(ZERO + block_iq4_values[p[i] & 15]);
        s->q[run * RUN + i + 16] = (uint8_t)(ZERO + block_iq4_values[p[i] >> 4]);
    }
    set_run(s, run, d, 0);
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
        const int8_t a = (int8_t)p[192 + 2 * run], b = (int8_t)p[193 + 2 * run];
        set_halves(s, run, (const float[]){d * (float)a, d * (float)b}, (const float[]){0, 0});
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
    case TENSOR_Q2_K:
        split_q2_k(s, p);
        return;
    case TENSOR_Q3_K:
        split_q3_k(s, p);
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
    case TENSOR_IQ4_NL:
        split_iq4(s, 0, load_f16(p), p + 2);
        return;
    case TENSOR_IQ4_XS:
        for (int run = 0; run < RUNS; run++)
            split_iq4(s, run, load_f16(p) * (float)block_iq4_scale(p, run), p + 8 + 16 * run);
        return;
    default: /* no blocks: tensor_split_unit said so */
        return;
    }
}

size_t tensor_split_unit(enum tensor_type type)
{
    return type == TENSOR_Q2_K || type == TENSOR_Q3_K || type == TENSOR_Q6_K ? 16 : tensor_block_len(type) > 1 ? 32 : 0;
}

bool tensor_split_has_min(enum tensor_type type)
{
    return type == TENSOR_Q4_1 || type == TENSOR_Q5_1 || type == TENSOR_Q2_K || type == TENSOR_Q4_K || type == TENSOR_Q5_K;
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
