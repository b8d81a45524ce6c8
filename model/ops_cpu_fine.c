/* Compiled once per instruction set, with its flags: see ops_cpu_vnni_simd.h. */
#include "model/ops_cpu_fine_run.h"

#include <math.h>

#include "model/ops_cpu_vnni_simd.h"

#if VI_LANES == 16
#define ROWS 6 /* at once: with two vectors of columns, 24 sums of a part stay in registers: of upper and of lower bytes */
#else
#define ROWS 3 /* 12 of 16 registers */
#endif
#define COLS (2 * VI_LANES)
#define STEP (VNNI_K * VI_LANES) /* bytes of a vector */

static inline vi four(const int8_t *x)
{
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return vi_set(bytes);
}

/* COLS columns of n rows (a constant where this is inlined, as is unit) */
static inline __attribute__((always_inline)) void pass(const size_t n, const size_t unit, const struct fine_block *b, struct fine_at a)
{
    const size_t ld_x = 2 * b->k, ld_parts = b->k / unit;
    for (; a.n_parts; a.n_parts--, a.x += 2 * unit, a.parts++, a.w += unit * VNNI_COLS, a.scale += VNNI_COLS) {
        vi upper[ROWS][2], lower[ROWS][2];
#pragma GCC unroll 6
        for (size_t r = 0; r < n; r++) {
            upper[r][0] = upper[r][1] = vi_set(0);
            lower[r][0] = lower[r][1] = vi_set(a.parts[r * ld_parts].offset);
        }
        fine_ask(&a, unit);
#pragma GCC unroll 8
        for (size_t i = 0; i < unit; i += VNNI_K) {
            const vi w0 = vi_load(a.w + i * VNNI_COLS), w1 = vi_load(a.w + i * VNNI_COLS + STEP);
#pragma GCC unroll 6
            for (size_t r = 0; r < n; r++) {
                const vi u = four(a.x + r * ld_x + i), l = four(a.x + r * ld_x + unit + i);
                upper[r][0] = vi_dot(upper[r][0], w0, u);
                upper[r][1] = vi_dot(upper[r][1], w1, u);
                lower[r][0] = vi_dot(lower[r][0], w0, l);
                lower[r][1] = vi_dot(lower[r][1], w1, l);
            }
        }
        const vf scale[2] = {vf_load(a.scale), vf_load(a.scale + VI_LANES)};
        vf s[ROWS][2];
#pragma GCC unroll 6
        for (size_t r = 0; r < n; r++) {
            const struct fine_part *part = a.parts + r * ld_parts;
#pragma GCC unroll 2
            for (size_t c = 0; c < 2; c++) {
                const vi t = vi_add(vi_left(upper[r][c], 8), lower[r][c]);
                s[r][c] = vf_fma(vf_of(t) * scale[c], vf_set(part->scale), vf_load(a.sums + r * VNNI_COLS + c * VI_LANES));
            }
        }
        if (a.min) {
            const vf min[2] = {vf_load(a.min), vf_load(a.min + VI_LANES)};
            a.min += VNNI_COLS;
#pragma GCC unroll 6
            for (size_t r = 0; r < n; r++) {
                const vf total = vf_set(a.parts[r * ld_parts].total);
                s[r][0] = vf_fma(min[0], total, s[r][0]);
                s[r][1] = vf_fma(min[1], total, s[r][1]);
            }
        }
#pragma GCC unroll 6
        for (size_t r = 0; r < n; r++) {
            vf_store(a.sums + r * VNNI_COLS, s[r][0]);
            vf_store(a.sums + r * VNNI_COLS + VI_LANES, s[r][1]);
        }
    }
}

FINE_PASS(1)
FINE_PASS(2)
FINE_PASS(3)
#if ROWS > 3
FINE_PASS(4)
FINE_PASS(5)
FINE_PASS(6)
#endif
static fine_pass *const passes[ROWS + 1] = {
    NULL, pass_1, pass_2, pass_3,
#if ROWS > 3
    pass_4, pass_5, pass_6,
#endif
};

void VNNI_NAME(fine_multiply)(const struct fine_block *b)
{
    fine_run(b, passes, ROWS, COLS);
}

/* VI_LANES values as whole numbers: their upper and lower bytes */
static inline vi round_16(const float *x, vf by, int8_t *upper, int8_t *lower)
{
    const vi whole = vi_round(vf_load(x) * by);
    const vi low = vi_right(vi_left(whole, 24), 24);
    vi_store_bytes(upper, vi_right(vi_sub(whole, low), 8));
    vi_store_bytes(lower, low);
    return whole;
}

static inline struct fine_part quantise_part(const float *x, size_t unit, int8_t *bytes)
{
    vf most = vf_set(0), taint = vf_set(0);
    vi sum = vi_set(0);
    for (size_t i = 0; i < unit; i += VI_LANES) {
        const vf v = vf_load(x + i);
        most = vf_max(most, vf_abs(v));
        taint = vf_fma(v, vf_set(0), taint); /* 0, or NaN of NaN and Inf */
    }
    const float largest = vf_hmax(most), bad = vf_sum(taint);
    const bool good = bad == 0;
    if (!good || !(largest > 1e-30f)) { /* FINE_TOP / largest would not be finite */
        memset(bytes, 0, 2 * unit);
        return (struct fine_part){good ? 0 : NAN, good ? 0 : NAN, 0};
    }
    const vf by = vf_set(FINE_TOP / largest);
    for (size_t i = 0; i < unit; i += VI_LANES)
        sum = vi_add(sum, round_16(x + i, by, bytes + i, bytes + unit + i));
    const int32_t total = vi_sum(sum);
    const float scale = largest * (1.0f / FINE_TOP);
    return (struct fine_part){scale, scale * (float)total, -128 * total};
}

void VNNI_NAME(fine_quantise)(const float *x, size_t n, size_t k, size_t unit, int8_t *bytes, struct fine_part *parts)
{
    for (size_t i = 0; i < n * k; i += unit)
        parts[i / unit] = quantise_part(x + i, unit, bytes + 2 * i);
}
