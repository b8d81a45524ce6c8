#include "model/tensor.h"

#include <string.h>

#define Q8_0_BLOCK 32
#define Q8_0_BYTES (2 + Q8_0_BLOCK)

const char *tensor_type_name(enum tensor_type type)
{
    switch (type) {
    case TENSOR_F32:
        return "f32";
    case TENSOR_F16:
        return "f16";
    case TENSOR_Q8_0:
        return "q8_0";
    case TENSOR_BF16:
        return "bf16";
    }
    return NULL;
}

size_t tensor_row_bytes(enum tensor_type type, uint64_t cols)
{
    if (cols == 0 || cols > SIZE_MAX / 4)
        return 0;
    switch (type) {
    case TENSOR_F32:
        return (size_t)cols * 4;
    case TENSOR_F16:
    case TENSOR_BF16:
        return (size_t)cols * 2;
    case TENSOR_Q8_0:
        return cols % Q8_0_BLOCK ? 0 : (size_t)(cols / Q8_0_BLOCK * Q8_0_BYTES);
    }
    return 0;
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

void tensor_row_f32(const struct tensor *t, uint64_t row, float *out)
{
    const uint8_t *p = (const uint8_t *)t->data + row * tensor_row_bytes(t->type, t->cols);
    switch (t->type) {
    case TENSOR_F32:
        memcpy(out, p, t->cols * 4);
        break;
    case TENSOR_F16:
        for (uint64_t i = 0; i < t->cols; i++)
            out[i] = f16_to_f32(load_u16(p + 2 * i));
        break;
    case TENSOR_BF16:
        for (uint64_t i = 0; i < t->cols; i++)
            out[i] = bf16_to_f32(load_u16(p + 2 * i));
        break;
    case TENSOR_Q8_0:
        for (uint64_t i = 0; i < t->cols; i += Q8_0_BLOCK, p += Q8_0_BYTES) {
            float d = f16_to_f32(load_u16(p));
            for (int j = 0; j < Q8_0_BLOCK; j++)
                out[i + (uint64_t)j] = d * (float)(int8_t)p[2 + j];
        }
        break;
    }
}
