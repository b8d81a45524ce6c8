/* For NEON without dot products: 16 bits times 16, weights widened as they are read. */
#include "model/ops_cpu_fine_neon.h"

/* Value `lane` of the 8 in each x */
#define MULTIPLY(lane)                                                                                        \
    {                                                                                                         \
        const int8x16_t w = vld1q_s8(at + (lane) / VNNI_K * VNNI_COLS * VNNI_K + (lane) % VNNI_K * COLS);       \
        const int16x8_t w0 = vmovl_s8(vget_low_s8(w)), w1 = vmovl_high_s8(w);                                 \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < n; r++)                                                \
        {                                                                                                     \
            t[r][0] = vmlal_laneq_s16(t[r][0], vget_low_s16(w0), x[r], lane);                                 \
            t[r][1] = vmlal_high_laneq_s16(t[r][1], w0, x[r], lane);                                          \
            t[r][2] = vmlal_laneq_s16(t[r][2], vget_low_s16(w1), x[r], lane);                                 \
            t[r][3] = vmlal_high_laneq_s16(t[r][3], w1, x[r], lane);                                          \
        }                                                                                                     \
    }

static inline __attribute__((always_inline)) void products(const size_t n, const size_t unit, size_t ld_x, const struct fine_at *a, int32x4_t t[ROWS][4])
{
    const int8_t *at = (const int8_t *)a->w, *bytes = a->x;
    for (const int8_t *end = bytes + 2 * unit; bytes < end; bytes += 16, at += 8 * VNNI_COLS) {
        int16x8_t x[ROWS];
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++)
            x[r] = vreinterpretq_s16_s8(vld1q_s8(bytes + r * ld_x));
        MULTIPLY(0)
        MULTIPLY(1)
        MULTIPLY(2)
        MULTIPLY(3)
        MULTIPLY(4)
        MULTIPLY(5)
        MULTIPLY(6)
        MULTIPLY(7)
    }
}

void fine_multiply_neon(const struct fine_block *b)
{
    fine_run(b, passes, ROWS, COLS);
}

void fine_quantise_neon(const float *x, size_t n, size_t k, size_t unit, int8_t *bytes, struct fine_part *parts)
{
    int16_t whole[FINE_UNIT];
    for (size_t at = 0; at < n * k; at += unit, bytes += 2 * unit) {
        parts[at / unit] = round_part(x + at, unit, whole);
        memcpy(bytes, whole, 2 * unit);
    }
}

void fine_pack_neon(const int8_t *w, size_t k, int8_t *block)
{
    const size_t padded = (k + 63) / 64 * 64;
    for (size_t i = 0; i < k; i += VNNI_K)
        for (size_t first = 0; first < VNNI_COLS; first += COLS)
            for (size_t j = i; j < i + VNNI_K; j++)
                for (size_t col = first; col < first + COLS; col++)
                    *block++ = (int8_t)(w[col * k + j] ^ -128);
    memset(block, 0, (padded - k) * VNNI_COLS);
}
