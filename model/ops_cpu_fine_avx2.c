/* Compiled with the flags for AVX2 and FMA; called only where the CPU has them. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "model/ops_cpu_fine_run.h"

#define ROWS 4 /* at once: with two vectors of columns, 8 sums of a part, 4 of weights and two of x stay in registers */
#define COLS 16

static inline __m256i pair(const int8_t *x)
{
    int32_t two;
    memcpy(&two, x, sizeof two);
    return _mm256_set1_epi32(two);
}

/* t + the products of 16 bits of w and x, neighbours added: now, as a compiler that puts additions off has to keep what is to be added. */
static inline __m256i dot(__m256i t, __m256i w, __m256i x)
{
    t = _mm256_add_epi32(t, _mm256_madd_epi16(w, x));
    __asm__ volatile("" : "+x"(t));
    return t;
}

/* COLS columns of n rows (a constant where this is inlined, as is unit) */
static inline __attribute__((always_inline)) void pass(const size_t n, const size_t unit, const struct fine_block *b, struct fine_at a)
{
    const size_t ld_x = 2 * b->k, ld_parts = b->k / unit;
    const __m256i even = _mm256_set1_epi16(0xFF);
    for (; a.n_parts; a.n_parts--, a.x += 2 * unit, a.parts++, a.w += unit * VNNI_COLS, a.scale += VNNI_COLS) {
        __m256i t[ROWS][2];
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++)
            t[r][0] = t[r][1] = _mm256_set1_epi32(a.parts[r * ld_parts].offset);
        fine_ask(&a, unit);
#pragma GCC unroll 8
        for (size_t i = 0; i < unit; i += VNNI_K) {
            const __m256i w0 = _mm256_loadu_si256((const __m256i *)(a.w + i * VNNI_COLS));
            const __m256i w1 = _mm256_loadu_si256((const __m256i *)(a.w + i * VNNI_COLS + 32));
            const __m256i even0 = _mm256_and_si256(w0, even), even1 = _mm256_and_si256(w1, even);
            const __m256i odd0 = _mm256_srli_epi16(w0, 8), odd1 = _mm256_srli_epi16(w1, 8);
#pragma GCC unroll 4
            for (size_t r = 0; r < n; r++) {
                const __m256i x02 = pair(a.x + r * ld_x + 2 * i), x13 = pair(a.x + r * ld_x + 2 * i + 4);
                t[r][0] = dot(dot(t[r][0], even0, x02), odd0, x13);
                t[r][1] = dot(dot(t[r][1], even1, x02), odd1, x13);
            }
        }
        const __m256 scale[2] = {_mm256_loadu_ps(a.scale), _mm256_loadu_ps(a.scale + 8)};
        __m256 s[ROWS][2];
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++) {
            const __m256 by = _mm256_set1_ps(a.parts[r * ld_parts].scale);
#pragma GCC unroll 2
            for (size_t c = 0; c < 2; c++)
                s[r][c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(t[r][c]) * scale[c], by, _mm256_loadu_ps(a.sums + r * VNNI_COLS + c * 8));
        }
        if (a.min) {
            const __m256 min[2] = {_mm256_loadu_ps(a.min), _mm256_loadu_ps(a.min + 8)};
            a.min += VNNI_COLS;
#pragma GCC unroll 4
            for (size_t r = 0; r < n; r++) {
                const __m256 total = _mm256_set1_ps(a.parts[r * ld_parts].total);
                s[r][0] = _mm256_fmadd_ps(min[0], total, s[r][0]);
                s[r][1] = _mm256_fmadd_ps(min[1], total, s[r][1]);
            }
        }
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++) {
            _mm256_storeu_ps(a.sums + r * VNNI_COLS, s[r][0]);
            _mm256_storeu_ps(a.sums + r * VNNI_COLS + 8, s[r][1]);
        }
    }
}

FINE_PASS(1)
FINE_PASS(2)
FINE_PASS(3)
FINE_PASS(4)
static fine_pass *const passes[ROWS + 1] = {NULL, pass_1, pass_2, pass_3, pass_4};

void fine_multiply_avx2(const struct fine_block *b)
{
    fine_run(b, passes, ROWS, COLS);
}

static inline float most_of(__m256 v)
{
    float all[8], most = 0;
    _mm256_storeu_ps(all, v);
    for (int i = 0; i < 8; i++)
        most = all[i] > most ? all[i] : most;
    return most;
}

static inline struct fine_part quantise_part(const float *x, size_t unit, int8_t *bytes)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 most = _mm256_setzero_ps(), taint = _mm256_setzero_ps();
    for (size_t i = 0; i < unit; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, v));
        taint = _mm256_fmadd_ps(v, _mm256_setzero_ps(), taint); /* 0, or NaN of NaN and Inf */
    }
    const bool good = _mm256_movemask_ps(_mm256_cmp_ps(taint, taint, _CMP_UNORD_Q)) == 0;
    const float largest = most_of(most);
    if (!good || !(largest > 1e-30f)) { /* FINE_TOP / largest would not be finite */
        memset(bytes, 0, 2 * unit);
        return (struct fine_part){good ? 0 : NAN, good ? 0 : NAN, 0};
    }
    const __m256 by = _mm256_set1_ps(FINE_TOP / largest);
    int32_t total = 0, whole[8];
    for (size_t i = 0; i < unit; i += 8) {
        static const uint8_t order[8] = {0, 2, 1, 3, 4, 6, 5, 7};
        int16_t row[8];
        _mm256_storeu_si256((__m256i *)whole, _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), by)));
        for (int j = 0; j < 8; j++) {
            row[j] = (int16_t)whole[order[j]];
            total += whole[j];
        }
        memcpy(bytes + 2 * i, row, sizeof row);
    }
    const float scale = largest * (1.0f / FINE_TOP);
    return (struct fine_part){scale, scale * (float)total, -128 * total};
}

void fine_quantise_avx2(const float *x, size_t n, size_t k, size_t unit, int8_t *bytes, struct fine_part *parts)
{
    for (size_t i = 0; i < n * k; i += unit)
        parts[i / unit] = quantise_part(x + i, unit, bytes + 2 * i);
}
