#include "model/tensor.h"

#include <string.h>

#include "model/tensor_blocks.h"

static const struct type {
    const char *name;
    uint32_t len, bytes; /* of a block */
    void (*unpack)(const uint8_t *block, float *out); /* NULL: the types without blocks */
} types[TENSOR_N_TYPES] = {
    [TENSOR_F32] = {"f32", 1, 4, NULL},
    [TENSOR_F16] = {"f16", 1, 2, NULL},
    [TENSOR_BF16] = {"bf16", 1, 2, NULL},
    [TENSOR_Q4_0] = {"q4_0", BLOCK_LEN, BLOCK_Q4_0_BYTES, block_q4_0},
    [TENSOR_Q4_1] = {"q4_1", BLOCK_LEN, BLOCK_Q4_1_BYTES, block_q4_1},
    [TENSOR_Q5_0] = {"q5_0", BLOCK_LEN, BLOCK_Q5_0_BYTES, block_q5_0},
    [TENSOR_Q5_1] = {"q5_1", BLOCK_LEN, BLOCK_Q5_1_BYTES, block_q5_1},
    [TENSOR_Q8_0] = {"q8_0", BLOCK_LEN, BLOCK_Q8_0_BYTES, block_q8_0},
    [TENSOR_Q2_K] = {"q2_K", BLOCK_K_LEN, BLOCK_Q2_K_BYTES, block_q2_k},
    [TENSOR_Q3_K] = {"q3_K", BLOCK_K_LEN, BLOCK_Q3_K_BYTES, block_q3_k},
    [TENSOR_Q4_K] = {"q4_K", BLOCK_K_LEN, BLOCK_Q4_K_BYTES, block_q4_k},
    [TENSOR_Q5_K] = {"q5_K", BLOCK_K_LEN, BLOCK_Q5_K_BYTES, block_q5_k},
    [TENSOR_Q6_K] = {"q6_K", BLOCK_K_LEN, BLOCK_Q6_K_BYTES, block_q6_k},
    [TENSOR_IQ4_NL] = {"iq4_nl", BLOCK_LEN, BLOCK_IQ4_NL_BYTES, block_iq4_nl},
    [TENSOR_IQ4_XS] = {"iq4_xs", BLOCK_K_LEN, BLOCK_IQ4_XS_BYTES, block_iq4_xs},
};

const char *tensor_type_name(enum tensor_type type)
{
    return (unsigned)type < TENSOR_N_TYPES ? types[type].name : NULL;
}

uint32_t tensor_block_len(enum tensor_type type)
{
    return types[type].len;
}

uint32_t tensor_block_bytes(enum tensor_type type)
{
    return types[type].bytes;
}

size_t tensor_row_bytes(enum tensor_type type, uint64_t cols)
{
    const struct type *t = &types[type];
    if (cols == 0 || cols > SIZE_MAX / 4 || cols % t->len)
        return 0;
    return (size_t)(cols / t->len * t->bytes); /* at most 4 bytes a value */
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exp = h >> 10 & 0x1F, man = h & 0x3FF, u;
    float f;
    if (exp == 0x1F) {
        u = sign | 0x7F800000 | man << 13;
    } else if (exp) {
        u = sign | (exp + 112) << 23 | man << 13;
    } else {
        /* subnormal: man * 2^-24, exact in f32 */
        f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    uint32_t a = u & 0x7FFFFFFF;
    if (a > 0x7F800000)
        return sign | 0x7E00;
    if (a >= 0x477FF000) /* rounds to 65520 or more */
        return sign | 0x7C00;
    if (a < 0x38800000) { /* below 2^-14: let f32 addition round to a multiple of 2^-24 */
        float m;
        memcpy(&m, &a, sizeof m);
        m += 0.5f; /* ulp of [0.5, 1) is 2^-24 */
        uint32_t r;
        memcpy(&r, &m, sizeof r);
        return sign | (uint16_t)(r - 0x3F000000);
    }
    a += 0xC8000FFF + (a >> 13 & 1); /* rebias by -112 << 23 and round to nearest even */
    return sign | (uint16_t)(a >> 13);
}

float bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

void tensor_unpack(enum tensor_type type, const void *data, uint64_t n, float *out)
{
    const uint8_t *p = data;
    const struct type *t = &types[type];
    if (t->unpack) {
        for (uint64_t i = 0; i < n; i += t->len, p += t->bytes)
            t->unpack(p, out + i);
    } else if (type == TENSOR_F32) {
        memcpy(out, p, n * 4);
    } else if (type == TENSOR_F16) {
        for (uint64_t i = 0; i < n; i++)
            out[i] = f16_to_f32(load_u16(p + 2 * i));
    } else {
        for (uint64_t i = 0; i < n; i++)
            out[i] = bf16_to_f32(load_u16(p + 2 * i));
    }
}

void tensor_row_f32(const struct tensor *t, uint64_t row, float *out)
{
    tensor_unpack(t->type, (const uint8_t *)t->data + row * tensor_row_bytes(t->type, t->cols), t->cols, out);
}
