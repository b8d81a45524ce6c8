#include "model/quantise.h"

#include <math.h>
#include <string.h>

#include "model/quantise_k.h"
#include "model/tensor_blocks.h"

#define Q8_0_BLOCK BLOCK_LEN

static void store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* The scale is rounded to f16 first, so that the values are rounded against the scale that will be used. */
static bool q8_0_block(const float *v, uint8_t *out)
{
    float max = 0;
    for (int i = 0; i < Q8_0_BLOCK; i++)
        max = fmaxf(max, fabsf(v[i]));
    uint16_t h = f32_to_f16(max / 127);
    float scale = f16_to_f32(h);
    store_u16(out, h);
    for (int i = 0; i < Q8_0_BLOCK; i++) {
        float q = scale > 0 ? rintf(v[i] / scale) : 0;
        out[2 + i] = (uint8_t)(int8_t)fmaxf(-127, fminf(127, q));
    }
    return isfinite(scale);
}

/* Larger values would overflow the squares that the search for scales sums up, or their f16 scale. */
#define K_LARGEST 1e6f

static bool k_row(enum tensor_type type, const float *v, const float *importance, uint64_t cols, uint8_t *out)
{
    float alike[BLOCK_K_LEN];
    bool fits = true;
    for (uint64_t i = 0; i < cols; i++)
        if (fabsf(v[i]) > K_LARGEST)
            return false;
    for (int i = 0; i < BLOCK_K_LEN; i++)
        alike[i] = 1;
    for (uint64_t i = 0; i < cols; i += BLOCK_K_LEN, out += tensor_block_bytes(type)) {
        const float *w = importance ? importance + i : alike;
        fits &= type == TENSOR_Q4_K   ? quantise_q4_k(v + i, w, out)
                : type == TENSOR_Q5_K ? quantise_q5_k(v + i, w, out)
                                      : quantise_q6_k(v + i, w, out);
    }
    return fits;
}

int quantise_row(enum tensor_type type, const float *v, const float *importance, uint64_t cols, uint8_t *out)
{
    bool fits = true;
    for (uint64_t i = 0; i < cols; i++)
        if (!isfinite(v[i]))
            return LT_ENAN;
    switch (type) {
    case TENSOR_F32:
        memcpy(out, v, cols * 4);
        break;
    case TENSOR_F16:
        for (uint64_t i = 0; i < cols; i++) {
            uint16_t h = f32_to_f16(v[i]);
            fits &= (h & 0x7C00) != 0x7C00;
            store_u16(out + 2 * i, h);
        }
        break;
    case TENSOR_BF16:
        for (uint64_t i = 0; i < cols; i++) {
            uint16_t h = f32_to_bf16(v[i]);
            fits &= (h & 0x7F80) != 0x7F80;
            store_u16(out + 2 * i, h);
        }
        break;
    case TENSOR_Q8_0:
        for (uint64_t i = 0; i < cols; i += Q8_0_BLOCK, out += 2 + Q8_0_BLOCK)
            fits &= q8_0_block(v + i, out);
        break;
    case TENSOR_Q4_K:
    case TENSOR_Q5_K:
    case TENSOR_Q6_K:
        fits = k_row(type, v, importance, cols, out);
        break;
    default:
        return LT_EUNSUPPORTED;
    }
    return fits ? 0 : LT_ELIMIT;
}
