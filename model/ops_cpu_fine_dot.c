/* Compiled with the flags for NEON's dot products; called only where the CPU has them. */
#include "model/ops_cpu_dot.h"
#include "model/ops_cpu_fine_neon.h"

/* COLS columns of n rows (a constant where this is inlined, as is unit) */
static inline __attribute__((always_inline)) void pass(const size_t n, const size_t unit, const struct fine_block *b, struct fine_at a)
{
    const size_t ld_x = 2 * b->k, ld_parts = b->k / unit;
    for (; a.n_parts; a.n_parts--, a.x += 2 * unit, a.parts++, a.w += unit * VNNI_COLS, a.scale += VNNI_COLS) {
        int32x4_t t[ROWS][4];
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++)
            t[r][0] = t[r][1] = t[r][2] = t[r][3] = vdupq_n_s32(0);
        fine_ask(&a, unit);
        for (size_t half = 0; half < 2; half++) {
            const int8_t *at = (const int8_t *)a.w, *bytes = a.x + half * unit;
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
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++)
            add_part(t[r], a.parts + r * ld_parts, a.scale, a.min, a.sums + r * VNNI_COLS);
        a.min = a.min ? a.min + VNNI_COLS : NULL;
    }
}

FINE_PASS(1)
FINE_PASS(2)
FINE_PASS(3)
FINE_PASS(4)
static fine_pass *const passes[ROWS + 1] = {NULL, pass_1, pass_2, pass_3, pass_4};

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
    const size_t padded = (k + 63) / 64 * 64;
    for (size_t i = 0; i < k; i += VNNI_K)
        for (size_t col = 0; col < VNNI_COLS; col++)
            for (size_t j = i; j < i + VNNI_K; j++)
                *block++ = (int8_t)(w[col * k + j] ^ -128);
    memset(block, 0, (padded - k) * VNNI_COLS);
}
