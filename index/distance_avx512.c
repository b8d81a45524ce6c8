/* AVX-512 kernels, with and without VNNI, with and without counting of bits. Four codes at a time share each load of the query. */
#include "index/distance.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "index/quantise.h"
#include "index/rotate.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define POPCNT __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq")))

/* The four sums of 16 lanes each, as one register of four. */
AVX512 static inline __m128i sum4_epi32(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

VNNI static void dot_codes_vnni(const uint8_t *const *codes, size_t n_codes, const int8_t *q,
                                int32_t bias, size_t n, int32_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n_codes; i += 4) {
        const uint8_t *a = codes[i], *b = codes[i + 1], *c = codes[i + 2], *d = codes[i + 3];
        __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t j = 0; j < n; j += 64) {
            __m512i x = _mm512_loadu_si512(q + j);
            s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(a + j), x);
            s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(b + j), x);
            s2 = _mm512_dpbusd_epi32(s2, _mm512_loadu_si512(c + j), x);
            s3 = _mm512_dpbusd_epi32(s3, _mm512_loadu_si512(d + j), x);
        }
        __m128i sum = _mm_sub_epi32(sum4_epi32(s0, s1, s2, s3), _mm_set1_epi32(bias));
        _mm_storeu_si128((__m128i *)(out + i), sum);
    }
    for (; i < n_codes; i++) {
        __m512i s0 = _mm512_setzero_si512(), s1 = s0;
        size_t j = 0;
        for (; j + 128 <= n; j += 128) {
            s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(codes[i] + j),
                                     _mm512_loadu_si512(q + j));
            s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(codes[i] + j + 64),
                                     _mm512_loadu_si512(q + j + 64));
        }
        if (j < n)
            s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(codes[i] + j),
                                     _mm512_loadu_si512(q + j));
        out[i] = _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1)) - bias;
    }
}

/* 32 signed bytes times 32 as 16-bit products, summed in pairs. */
AVX512 static inline __m512i mul_i8(const uint8_t *code, const int8_t *q)
{
    __m256i c = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)code),
                                 _mm256_set1_epi8((char)0x80));
    return _mm512_madd_epi16(_mm512_cvtepi8_epi16(c),
                             _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)q)));
}

AVX512 static void dot_codes_avx512(const uint8_t *const *codes, size_t n_codes, const int8_t *q,
                                    int32_t bias, size_t n, int32_t *out)
{
    (void)bias; /* signed times signed */
    for (size_t i = 0; i < n_codes; i++) {
        __m512i s0 = _mm512_setzero_si512(), s1 = s0;
        for (size_t j = 0; j < n; j += 64) {
            s0 = _mm512_add_epi32(s0, mul_i8(codes[i] + j, q + j));
            s1 = _mm512_add_epi32(s1, mul_i8(codes[i] + j + 32, q + j + 32));
        }
        out[i] = _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1));
    }
}

AVX512 static int32_t code_to_query_avx512(const uint8_t *code, size_t n, int8_t *q)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    __m512i sum = _mm512_setzero_si512();
    for (size_t j = 0; j < n; j += 64) {
        __m512i c = _mm512_loadu_si512(code + j);
        sum = _mm512_add_epi64(sum, _mm512_sad_epu8(c, _mm512_setzero_si512()));
        _mm512_storeu_si512(q + j, _mm512_xor_si512(c, flip));
    }
    return 128 * ((int32_t)_mm512_reduce_add_epi64(sum) - 128 * (int32_t)n);
}

AVX512 static float dot_f32_avx512(const float *a, const float *b, size_t n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t j = 0;
    for (; j + 64 <= n; j += 64) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + j), _mm512_loadu_ps(b + j), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + j + 16), _mm512_loadu_ps(b + j + 16), s1);
        s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + j + 32), _mm512_loadu_ps(b + j + 32), s2);
        s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + j + 48), _mm512_loadu_ps(b + j + 48), s3);
    }
    for (; j < n; j += 16) {
        __mmask16 m = n - j >= 16 ? 0xFFFF : (__mmask16)((1u << (n - j)) - 1);
        s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + j), _mm512_maskz_loadu_ps(m, b + j), s0);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

AVX512 static float l2_f32_avx512(const float *a, const float *b, size_t n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0;
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        __m512 x = _mm512_sub_ps(_mm512_loadu_ps(a + j), _mm512_loadu_ps(b + j));
        __m512 y = _mm512_sub_ps(_mm512_loadu_ps(a + j + 16), _mm512_loadu_ps(b + j + 16));
        s0 = _mm512_fmadd_ps(x, x, s0);
        s1 = _mm512_fmadd_ps(y, y, s1);
    }
    for (; j < n; j += 16) {
        __mmask16 m = n - j >= 16 ? 0xFFFF : (__mmask16)((1u << (n - j)) - 1);
        __m512 x = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, a + j), _mm512_maskz_loadu_ps(m, b + j));
        s0 = _mm512_fmadd_ps(x, x, s0);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

/* Of each byte the number of bits, at most 8. */
AVX512 static inline __m512i count_bits(__m512i x)
{
    const __m512i counts = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i low = _mm512_set1_epi8(15);
    return _mm512_add_epi8(_mm512_shuffle_epi8(counts, _mm512_and_si512(x, low)),
                           _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(x, 4), low)));
}

AVX512 static void dot_bits_avx512(const uint8_t *const *bits, size_t n_bits, const uint8_t *planes, size_t n, int32_t *out)
{
    for (size_t i = 0; i < n_bits; i++) {
        const uint8_t *p = planes;
        __m512i plus = _mm512_setzero_si512(), minus = plus;
        for (size_t j = 0; j < n; j += 512, p += 64 * PLANES) {
            __m512i x = _mm512_loadu_si512(bits[i] + j / 8), sum = _mm512_setzero_si512(); /* at most 8 * 15 */
            for (int b = PLANES - 2; b >= 0; b--)
                sum = _mm512_add_epi8(_mm512_add_epi8(sum, sum), count_bits(_mm512_and_si512(x, _mm512_loadu_si512(p + 64 * b))));
            __m512i last = count_bits(_mm512_and_si512(x, _mm512_loadu_si512(p + 64 * (PLANES - 1))));
            plus = _mm512_add_epi64(plus, _mm512_sad_epu8(sum, _mm512_setzero_si512()));
            minus = _mm512_add_epi64(minus, _mm512_sad_epu8(last, _mm512_setzero_si512()));
        }
        out[i] = (int32_t)_mm512_reduce_add_epi64(_mm512_sub_epi64(plus, _mm512_slli_epi64(minus, PLANES - 1)));
    }
}

/* The weighted counts of one code's 512 bits, in eight sums. */
POPCNT static inline __attribute__((always_inline)) __m512i count_planes(const uint8_t *bits, const __m512i *planes)
{
    __m512i x = _mm512_loadu_si512(bits), s = _mm512_setzero_si512();
    s = _mm512_sub_epi64(s, _mm512_popcnt_epi64(_mm512_and_si512(x, planes[PLANES - 1])));
#pragma GCC unroll 8
    for (int b = PLANES - 2; b >= 0; b--)
        s = _mm512_add_epi64(_mm512_add_epi64(s, s), _mm512_popcnt_epi64(_mm512_and_si512(x, planes[b])));
    return s;
}

POPCNT static void dot_bits_popcnt(const uint8_t *const *bits, size_t n_bits, const uint8_t *planes, size_t n, int32_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n_bits; i += 4) {
        __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, p[PLANES];
        for (size_t j = 0; j < n; j += 512) {
#pragma GCC unroll 8
            for (int b = 0; b < PLANES; b++)
                p[b] = _mm512_loadu_si512(planes + j / 8 * PLANES + 64 * b);
            s0 = _mm512_add_epi64(s0, count_planes(bits[i] + j / 8, p));
            s1 = _mm512_add_epi64(s1, count_planes(bits[i + 1] + j / 8, p));
            s2 = _mm512_add_epi64(s2, count_planes(bits[i + 2] + j / 8, p));
            s3 = _mm512_add_epi64(s3, count_planes(bits[i + 3] + j / 8, p));
        }
        __m256i ab = _mm256_hadd_epi32(_mm512_cvtepi64_epi32(s0), _mm512_cvtepi64_epi32(s1));
        __m256i s = _mm256_hadd_epi32(ab, _mm256_hadd_epi32(_mm512_cvtepi64_epi32(s2), _mm512_cvtepi64_epi32(s3)));
        _mm_storeu_si128((__m128i *)(out + i), _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
    }
    for (; i < n_bits; i++) {
        __m512i s = _mm512_setzero_si512(), p[PLANES];
        for (size_t j = 0; j < n; j += 512) {
#pragma GCC unroll 8
            for (int b = 0; b < PLANES; b++)
                p[b] = _mm512_loadu_si512(planes + j / 8 * PLANES + 64 * b);
            s = _mm512_add_epi64(s, count_planes(bits[i] + j / 8, p));
        }
        out[i] = (int32_t)_mm512_reduce_add_epi64(s);
    }
}

AVX512 static void to_planes_avx512(const int8_t *q, size_t n, uint8_t *planes)
{
    memset(planes, 0, planes_bytes(n));
    for (size_t j = 0; j < n; j += 64) {
        __m512i x = _mm512_loadu_si512(q + j);
        uint8_t *to = planes + j / 512 * PLANES * 64 + j % 512 / 8;
        for (int b = 0; b < PLANES; b++) {
            uint64_t m = _mm512_test_epi8_mask(x, _mm512_set1_epi8((char)(1 << b)));
            memcpy(to + 64 * b, &m, sizeof m);
        }
    }
}

#define TARGET AVX512
#define NAME(x) x##_avx512
#include "index/distance_tmpl.h"

#define REST_AVX512 to_planes_avx512, quantise_avx512, largest_avx512, sum2_avx512, scale_avx512, rotate_avx512
const struct distance distance_avx512 = {"avx512", dot_codes_avx512, code_to_query_avx512, dot_f32_avx512,
                                         l2_f32_avx512, dot_bits_avx512, REST_AVX512};
const struct distance distance_avx512vnni = {"avx512vnni", dot_codes_vnni, code_to_query_avx512, dot_f32_avx512,
                                             l2_f32_avx512, dot_bits_avx512, REST_AVX512};
const struct distance distance_avx512popcnt = {"avx512popcnt", dot_codes_vnni, code_to_query_avx512, dot_f32_avx512,
                                               l2_f32_avx512, dot_bits_popcnt, REST_AVX512};
#endif
