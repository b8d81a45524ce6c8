/* A vector of floats and the dozen operations the CPU kernels are written in: AVX-512, AVX2 with FMA,
 * or four lanes of plain C, by what the compiler may use in this file.
 *
 * vf_max(c, x) and vf_min(c, x) give x when x is NaN, so a clamp keeps NaN when the constant is first. */
#ifndef MODEL_OPS_CPU_SIMD_H
#define MODEL_OPS_CPU_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/tensor.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>

#define VW 16
#define SIMD_SUFFIX avx512
#define SIMD_NAME "avx512"
#define KEYS_AT_ONCE 8 /* attention keeps KEYS_AT_ONCE × 2 sums in registers */
typedef __m512 vf;

static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline vf vf_load_n(const float *p, size_t n) /* n < VW lanes, the others 0 */
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
static inline void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
static inline void vf_store_n(float *p, vf a, size_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
}
static inline vf vf_diff_i32(const int32_t *p, const int32_t *q) /* p - q, exact before it is rounded */
{
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(p), _mm512_loadu_si512(q)));
}
static inline vf vf_fma(vf a, vf b, vf c) /* a b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_divide(vf a, vf b) /* a / b within 2e-7 of it, relatively; 1 <= b < 2^127 */
{
    const vf r = _mm512_rcp14_ps(b); /* within 2^-14, which a step of Newton squares */
    return a * _mm512_fmadd_ps(_mm512_fnmadd_ps(b, r, _mm512_set1_ps(1)), r, r);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
static inline vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_times_pow2(vf a, vf n) /* a 2^n, n whole, result normal or 0 */
{
    return _mm512_scalef_ps(a, n);
}
static inline vf vf_zero_below(vf a, vf x, vf limit) /* 0 where x < limit, a elsewhere */
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), a);
}
static inline float vf_sum(vf a)
{
    return _mm512_reduce_add_ps(a);
}
static inline float vf_hmax(vf a)
{
    return _mm512_reduce_max_ps(a);
}
/* VW whole numbers of -127…127, stored as bytes with 128 added */
static inline void vf_store_u8(uint8_t *p, vf a)
{
    __m128i b = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a));
    _mm_storeu_si128((__m128i *)p, _mm_xor_si128(b, _mm_set1_epi8((char)0x80)));
}
/* The same of four in a row */
static inline void vf_store_4_u8(uint8_t *p, const vf a[4])
{
    const __m512i low = _mm512_packs_epi32(_mm512_cvtps_epi32(a[0]), _mm512_cvtps_epi32(a[1]));
    const __m512i high = _mm512_packs_epi32(_mm512_cvtps_epi32(a[2]), _mm512_cvtps_epi32(a[3]));
    /* packing goes lane by lane */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i b = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
    _mm512_storeu_si512(p, _mm512_xor_si512(b, _mm512_set1_epi8((char)0x80)));
}
static inline vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static inline void vf_transpose(vf r[VW])
{
    vf t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
        __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; i++) {
        vf a = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88), b = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xDD);
        vf c = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88), d = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xDD);
        t[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        t[i + 8] = _mm512_shuffle_f32x4(a, c, 0xDD);
        t[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
    memcpy(r, t, sizeof t);
}

#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#define VW 8
#define SIMD_SUFFIX avx2
#define SIMD_NAME "avx2"
#define KEYS_AT_ONCE 4
typedef __m256 vf;

static inline __m256i simd_first(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline vf vf_load_n(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, simd_first(n));
}
static inline void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}
static inline void vf_store_n(float *p, vf a, size_t n)
{
    _mm256_maskstore_ps(p, simd_first(n), a);
}
static inline vf vf_diff_i32(const int32_t *p, const int32_t *q)
{
    return _mm256_cvtepi32_ps(
        _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)q)));
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_divide(vf a, vf b)
{
    return a / b;
}
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf vf_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_times_pow2(vf a, vf n)
{
    __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), e));
}
static inline vf vf_zero_below(vf a, vf x, vf limit)
{
    return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), a);
}
static inline float vf_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline float vf_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline void vf_store_u8(uint8_t *p, vf a)
{
    __m256i w = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(128));
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(h, h));
}
static inline vf vf_load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static inline void vf_transpose(vf r[VW])
{
    vf t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    memcpy(r, t, sizeof t);
}

#else /* four lanes: SSE2 and NEON through the compiler, but for what it does not find by itself in NEON */

#define VW 4
#define SIMD_SUFFIX c
#if defined(__aarch64__)
#include <arm_neon.h>
#define SIMD_NAME "neon"
#define KEYS_AT_ONCE 8 /* of 32 registers */
#else
#define SIMD_NAME "c"
#define KEYS_AT_ONCE 2
#endif
typedef float vf __attribute__((vector_size(16)));
typedef int32_t simd_vi __attribute__((vector_size(16)));

static inline vf vf_set(float x)
{
    return (vf){x, x, x, x};
}
static inline vf vf_load(const float *p)
{
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline vf vf_load_n(const float *p, size_t n)
{
    vf a = {0};
    memcpy(&a, p, n * sizeof *p);
    return a;
}
static inline void vf_store(float *p, vf a)
{
    memcpy(p, &a, sizeof a);
}
static inline void vf_store_n(float *p, vf a, size_t n)
{
    memcpy(p, &a, n * sizeof *p);
}
static inline vf vf_diff_i32(const int32_t *p, const int32_t *q)
{
    return (vf){(float)(p[0] - q[0]), (float)(p[1] - q[1]), (float)(p[2] - q[2]), (float)(p[3] - q[3])};
}
static inline vf vf_fma(vf a, vf b, vf c)
{
#if defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}
static inline vf vf_divide(vf a, vf b)
{
    return a / b;
}
static inline vf simd_choose(simd_vi m, vf a, vf b)
{
    return (vf)((m & (simd_vi)a) | (~m & (simd_vi)b));
}
static inline vf vf_max(vf a, vf b)
{
    return simd_choose(a > b, a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return simd_choose(a < b, a, b);
}
static inline vf vf_abs(vf a)
{
    return (vf)((simd_vi)a & 0x7FFFFFFF);
}
static inline vf vf_round(vf a) /* |a| < 2^22 */
{
    const vf magic = vf_set(12582912.0f); /* 1.5 · 2^23 */
    return (a + magic) - magic;
}
static inline vf vf_times_pow2(vf a, vf n)
{
    uint32_t bits[4];
    memcpy(bits, &a, sizeof a);
    for (int i = 0; i < 4; i++)
        bits[i] += n[i] == n[i] ? (uint32_t)(int32_t)n[i] << 23 : 0;
    memcpy(&a, bits, sizeof a);
    return a;
}
static inline vf vf_zero_below(vf a, vf x, vf limit)
{
    return (vf)(~(x < limit) & (simd_vi)a);
}
static inline float vf_sum(vf a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}
static inline float vf_hmax(vf a)
{
    float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
    return x > y ? x : y;
}
static inline void vf_store_u8(uint8_t *p, vf a)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)((int)vf_round(a)[i] + 128);
}
static inline vf vf_load_i8(const int8_t *p)
{
    return (vf){p[0], p[1], p[2], p[3]};
}
static inline simd_vi simd_load_u16(const uint16_t *p)
{
#if defined(__aarch64__)
    return (simd_vi)vmovl_u16(vld1_u16(p));
#else
    uint16_t h[4];
    memcpy(h, p, sizeof h);
    return (simd_vi){h[0], h[1], h[2], h[3]};
#endif
}
static inline vf vf_load_f16(const uint16_t *p)
{
#if defined(__aarch64__)
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    const simd_vi h = simd_load_u16(p), size = h & 0x7FFF;
    const vf a = (vf)(size << 13) * vf_set(0x1p112f); /* the exponent's bias is 112 higher; a subnormal becomes what it is, too */
    return (vf)((simd_vi)a | ((size >= 0x7C00) & 0x7F800000) | (h & 0x8000) << 16);
#endif
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    return (vf)(simd_load_u16(p) << 16);
}
static inline void vf_transpose(vf r[VW])
{
    vf t[4];
    for (int i = 0; i < 4; i++)
        t[i] = (vf){r[0][i], r[1][i], r[2][i], r[3][i]};
    memcpy(r, t, sizeof t);
}
#endif

#if VW < 16
static inline void vf_store_4_u8(uint8_t *p, const vf a[4])
{
    for (int i = 0; i < 4; i++)
        vf_store_u8(p + i * VW, a[i]);
}
#endif

/* The next vector of a row of which `left` > 0 values are left, and where it goes */
static inline vf vf_get(const float *p, size_t left)
{
    return left >= VW ? vf_load(p) : vf_load_n(p, left);
}
static inline void vf_put(float *p, vf a, size_t left)
{
    if (left >= VW)
        vf_store(p, a);
    else
        vf_store_n(p, a, left);
}

/* y - n ln 2, ln 2 in two parts, the first with 9 zero bits at its end */
static inline vf vf_exp_part(vf n, vf y)
{
    return vf_fma(n, vf_set(-1.42860677e-6f), vf_fma(n, vf_set(-0.693145752f), y));
}

/* e^r - 1 on |r| <= ln(2)/2: minimax, first two coefficients 1 */
static inline vf vf_exp_less_1(vf r)
{
    vf p = vf_set(1.381460003e-3f);
    p = vf_fma(p, r, vf_set(8.368715409e-3f));
    p = vf_fma(p, r, vf_set(4.166838793e-2f));
    p = vf_fma(p, r, vf_set(1.666652064e-1f));
    p = vf_fma(p, r, vf_set(4.999999345e-1f));
    return vf_fma(p * r, r, r);
}

/* e^x within 1e-7 of it, relatively; exactly 1 at 0, exactly 0 below -87. x is at most 88, or the result is e^88. */
static inline vf vf_exp(vf x)
{
    vf y = vf_max(vf_set(-87.0f), vf_min(vf_set(88.0f), x));
    vf n = vf_round(y * vf_set(1.44269504f));
    vf p = vf_exp_less_1(vf_exp_part(n, y)) + vf_set(1.0f);
    return vf_zero_below(vf_times_pow2(p, n), x, vf_set(-87.0f));
}

/* tanh(x) within 3e-7 of it, relatively, as e / (e + 2) with e = exp(2x) - 1, put together so that small x keep their bits. */
static inline vf vf_tanh(vf x)
{
    vf y = vf_max(vf_set(-20.0f), vf_min(vf_set(20.0f), x + x)); /* 1 from 9.1 on */
    vf n = vf_round(y * vf_set(1.44269504f));
    vf r = vf_exp_part(n, y), scale = vf_times_pow2(vf_set(1.0f), n);
    vf e = vf_fma(vf_exp_less_1(r), scale, scale - vf_set(1.0f));
    return vf_divide(e, e + vf_set(2.0f));
}

/* Of n vectors that are `apart` values from each other each x becomes tanh(x by) times. Returns the largest of them and of `most`. */
static inline vf vf_cap(float *x, size_t n, size_t apart, vf by, vf times, vf most)
{
    for (size_t i = 0; i < n; i++) {
        const vf capped = vf_tanh(vf_load(x + i * apart) * by) * times;
        vf_store(x + i * apart, capped);
        most = vf_max(most, capped);
    }
    return most;
}

/* erf(x) as x P(x²)/Q(x²), fitted on |x| <= 3.92, where it reaches 1 - 3e-8; 2e-8 before rounding */
static inline vf vf_erf(vf x)
{
    vf y = vf_max(vf_set(-3.92f), vf_min(vf_set(3.92f), x)), t = y * y;
    vf p = vf_set(2.050137741e-6f), q = vf_set(3.809216300e-5f);
    p = vf_fma(p, t, vf_set(2.848811603e-4f));
    q = vf_fma(q, t, vf_set(1.162502542e-3f));
    p = vf_fma(p, t, vf_set(3.765465835e-3f));
    q = vf_fma(q, t, vf_set(1.496890886e-2f));
    p = vf_fma(p, t, vf_set(5.274825304e-2f));
    q = vf_fma(q, t, vf_set(1.141075755e-1f));
    p = vf_fma(p, t, vf_set(1.904026818e-1f));
    q = vf_fma(q, t, vf_set(5.020727247e-1f));
    p = vf_fma(p, t, vf_set(1.128379146f));
    q = vf_fma(q, t, vf_set(1.0f));
    return vf_divide(y * p, q);
}

#endif
