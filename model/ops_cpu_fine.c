/* Compiled with the flags for AVX-512 VNNI; called only where the CPU has it. */
#include "model/ops_cpu_fine_run.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define ROWS 6 /* at once: with two vectors of columns, 12 sums and 12 of a part stay in registers */

/* 32 columns of n rows (a constant where this is inlined) */
static inline __attribute__((always_inline)) void pass(const size_t n, const struct fine_block *b, struct fine_at a)
{
    const size_t unit = b->unit, ld_x = 2 * b->k, ld_parts = b->k / unit;
    __m512 s[ROWS][2];
#pragma GCC unroll 6
    for (size_t r = 0; r < n; r++) {
        s[r][0] = a.more ? _mm512_loadu_ps(a.sums + r * VNNI_COLS) : _mm512_setzero_ps();
        s[r][1] = a.more ? _mm512_loadu_ps(a.sums + r * VNNI_COLS + 16) : _mm512_setzero_ps();
    }
    for (; a.n_parts; a.n_parts--, a.x += 2 * unit, a.parts++, a.w += unit * VNNI_COLS, a.scale += VNNI_COLS) {
        __m512i t[ROWS][2];
#pragma GCC unroll 6
        for (size_t r = 0; r < n; r++)
            t[r][0] = t[r][1] = _mm512_setzero_si512();
        for (size_t half = 0; half < 2; half++) {
            const int8_t *bytes = a.x + half * unit;
            for (size_t i = 0; i < unit; i += VNNI_K) {
                const __m512i w0 = _mm512_loadu_si512(a.w + i * VNNI_COLS), w1 = _mm512_loadu_si512(a.w + i * VNNI_COLS + 64);
                if (half == 0 && a.ahead) {
                    _mm_prefetch(a.ahead, _MM_HINT_T1);
                    a.ahead += FINE_LINE;
                }
#pragma GCC unroll 6
                for (size_t r = 0; r < n; r++) {
                    int32_t four;
                    memcpy(&four, bytes + r * ld_x + i, sizeof four);
                    const __m512i v = _mm512_set1_epi32(four);
                    t[r][0] = _mm512_dpbusd_epi32(t[r][0], w0, v);
                    t[r][1] = _mm512_dpbusd_epi32(t[r][1], w1, v);
                }
            }
#pragma GCC unroll 6
            for (size_t r = 0; half == 0 && r < n; r++) {
                const __m512i offset = _mm512_set1_epi32(a.parts[r * ld_parts].offset);
                t[r][0] = _mm512_add_epi32(_mm512_slli_epi32(t[r][0], 8), offset);
                t[r][1] = _mm512_add_epi32(_mm512_slli_epi32(t[r][1], 8), offset);
            }
        }
        const __m512 scale0 = _mm512_loadu_ps(a.scale), scale1 = _mm512_loadu_ps(a.scale + 16);
#pragma GCC unroll 6
        for (size_t r = 0; r < n; r++) {
            const __m512 by = _mm512_set1_ps(a.parts[r * ld_parts].scale);
            s[r][0] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(t[r][0]), scale0), by, s[r][0]);
            s[r][1] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(t[r][1]), scale1), by, s[r][1]);
        }
        if (!a.min)
            continue;
        const __m512 min0 = _mm512_loadu_ps(a.min), min1 = _mm512_loadu_ps(a.min + 16);
        a.min += VNNI_COLS;
#pragma GCC unroll 6
        for (size_t r = 0; r < n; r++) {
            const __m512 total = _mm512_set1_ps(a.parts[r * ld_parts].total);
            s[r][0] = _mm512_fmadd_ps(min0, total, s[r][0]);
            s[r][1] = _mm512_fmadd_ps(min1, total, s[r][1]);
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < n; r++) {
        _mm512_storeu_ps(a.sums + r * VNNI_COLS, s[r][0]);
        _mm512_storeu_ps(a.sums + r * VNNI_COLS + 16, s[r][1]);
    }
}

FINE_PASS(1)
FINE_PASS(2)
FINE_PASS(3)
FINE_PASS(4)
FINE_PASS(5)
FINE_PASS(6)
static fine_pass *const passes[ROWS + 1] = {NULL, pass_1, pass_2, pass_3, pass_4, pass_5, pass_6};

void fine_multiply_avx512(const struct fine_block *b)
{
    fine_run(b, passes, ROWS, 32);
}

/* 16 values as whole numbers: their upper and lower bytes */
static inline __m512i round_16(const float *x, __m512 by, int8_t *upper, int8_t *lower)
{
    const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), by));
    const __m512i low = _mm512_srai_epi32(_mm512_slli_epi32(whole, 24), 24);
    _mm_storeu_si128((__m128i *)upper, _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_sub_epi32(whole, low), 8)));
    _mm_storeu_si128((__m128i *)lower, _mm512_cvtepi32_epi8(low));
    return whole;
}

static inline struct fine_part quantise_part(const float *x, size_t unit, int8_t *bytes)
{
    __m512 most = _mm512_setzero_ps(), taint = _mm512_setzero_ps();
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < unit; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        most = _mm512_max_ps(most, _mm512_abs_ps(v));
        taint = _mm512_fmadd_ps(v, _mm512_setzero_ps(), taint); /* 0, or NaN of NaN and Inf */
    }
    const float largest = _mm512_reduce_max_ps(most), bad = _mm512_reduce_add_ps(taint);
    const bool good = bad == 0;
    if (!good || !(largest > 1e-30f)) { /* FINE_TOP / largest would not be finite */
        memset(bytes, 0, 2 * unit);
        return (struct fine_part){good ? 0 : NAN, good ? 0 : NAN, 0};
    }
    const __m512 by = _mm512_set1_ps(FINE_TOP / largest);
    for (size_t i = 0; i < unit; i += 16)
        sum = _mm512_add_epi32(sum, round_16(x + i, by, bytes + i, bytes + unit + i));
    const int32_t total = _mm512_reduce_add_epi32(sum);
    const float scale = largest * (1.0f / FINE_TOP);
    return (struct fine_part){scale, scale * (float)total, -128 * total};
}

void fine_quantise_avx512(const float *x, size_t n, size_t k, size_t unit, int8_t *bytes, struct fine_part *parts)
{
    for (size_t i = 0; i < n * k; i += unit)
        parts[i / unit] = quantise_part(x + i, unit, bytes + 2 * i);
}
