/* Compiled with the flags for NEON's dot products; called only where the CPU has them. */
#include "model/ops_cpu_dot.h"
#include "model/ops_cpu_fine_neon.h"

static inline __attribute__((always_inline)) void products(const size_t n, const size_t unit, size_t ld_x, const struct fine_at *a, int32x4_t t[ROWS][4])
{
    for (size_t half = 0; half < 2; half++) {
        const int8_t *at = (const int8_t *)a->w, *bytes = a->x + half * unit;
        for (const int8_t *end = bytes + unit; bytes < end; bytes += 16, at += 16 * VNNI_COLS) {
            int8x16_t x[ROWS];
#pragma GCC unroll 4
            for (size_t r = 0; r < n; r++)
                x[r] = vld1q_s8(bytes + r * ld_x);
            DOT(0)
            DOT(1)
            DOT(2)
            DOT(3)
        }
#pragma GCC unroll 4
        for (size_t r = 0; half == 0 && r < n; r++)
#pragma GCC unroll 4
            for (size_t c = 0; c < 4; c++)
                t[r][c] = vshlq_n_s32(t[r][c], 8);
    }
}

void fine_multiply_dot(const struct fine_block *b)
{
    fine_run(b, passes, ROWS, COLS);
}

void fine_quantise_dot(const float *x, size_t n, size_t k, size_t unit, int8_t *bytes, struct fine_part *parts)
{
    int16_t whole[FINE_UNIT];
    for (size_t at = 0; at < n * k; at += unit, bytes += 2 * unit) {
        parts[at / unit] = round_part(x + at, unit, whole);
        for (size_t i = 0; i < unit; i += 8) {
            const int16x8_t v = vld1q_s16(whole + i);
            const int8x8_t low = vmovn_s16(v);
            vst1_s8(bytes + i, vshrn_n_s16(vsubw_s8(v, low), 8));
            vst1_s8(bytes + unit + i, low);
        }
    }
}

void fine_pack_dot(const int8_t *w, size_t k, int8_t *block)
{
    vnni_pack_plain(w, k, block);
    for (size_t i = 0; i < k * VNNI_COLS; i++)
        block[i] = (int8_t)(block[i] ^ -128);
}
