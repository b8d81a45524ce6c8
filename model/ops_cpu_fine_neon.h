/* The passes of NEON but for their products, which the file defines that includes this: see ops_cpu_fine.h. */
#ifndef MODEL_OPS_CPU_FINE_NEON_H
#define MODEL_OPS_CPU_FINE_NEON_H

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "model/ops_cpu_fine_run.h"

#define ROWS 4 /* at once: with four vectors of columns, 16 sums of a part, 4 of weights at most and 4 of x stay in registers */
#define COLS 16

/* COLS columns of a row: what a part's sums t add to sums */
static inline __attribute__((always_inline)) void add_part(const int32x4_t t[4], const struct fine_part *part, const float *scale, const float *min,
                                                           float *sums)
{
#pragma GCC unroll 4
    for (size_t c = 0; c < COLS; c += 4) {
        float32x4_t s = vld1q_f32(sums + c);
        s = vfmaq_n_f32(s, vmulq_f32(vcvtq_f32_s32(t[c / 4]), vld1q_f32(scale + c)), part->scale);
        vst1q_f32(sums + c, min ? vfmaq_n_f32(s, vld1q_f32(min + c), part->total) : s);
    }
}

/* The sums of a part's products, to be added to t: COLS columns of n rows of x, ld_x bytes apart (n and unit are constants where this is inlined) */
static inline void products(const size_t n, const size_t unit, size_t ld_x, const struct fine_at *a, int32x4_t t[ROWS][4]);

static inline __attribute__((always_inline)) void pass(const size_t n, const size_t unit, const struct fine_block *b, struct fine_at a)
{
    const size_t ld_parts = b->k / unit;
    for (; a.n_parts; a.n_parts--, a.x += 2 * unit, a.parts++, a.w += unit * VNNI_COLS, a.scale += VNNI_COLS) {
        int32x4_t t[ROWS][4];
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++)
            t[r][0] = t[r][1] = t[r][2] = t[r][3] = vdupq_n_s32(0);
        fine_ask(&a, unit);
        products(n, unit, 2 * b->k, &a, t);
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

/* A part's values as whole numbers */
static inline struct fine_part round_part(const float *x, size_t unit, int16_t *whole)
{
    float32x4_t most = vdupq_n_f32(0), taint = most;
    for (size_t i = 0; i < unit; i += 4) {
        const float32x4_t v = vld1q_f32(x + i);
        most = vmaxq_f32(most, vabsq_f32(v));
        taint = vfmaq_n_f32(taint, v, 0); /* 0, or NaN of NaN and Inf */
    }
    const float largest = vmaxvq_f32(most);
    const bool good = vaddvq_f32(taint) == 0;
    if (!good || !(largest > 1e-30f)) { /* FINE_TOP / largest would not be finite */
        memset(whole, 0, unit * sizeof *whole);
        return (struct fine_part){good ? 0 : NAN, good ? 0 : NAN, 0};
    }
    const float by = FINE_TOP / largest, scale = largest * (1.0f / FINE_TOP);
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < unit; i += 4) {
        const int32x4_t v = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), by));
        sum = vaddq_s32(sum, v);
        vst1_s16(whole + i, vmovn_s32(v));
    }
    return (struct fine_part){scale, scale * (float)vaddvq_s32(sum), 0};
}

#endif
