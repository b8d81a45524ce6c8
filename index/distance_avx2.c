/* AVX2 and AVX-VNNI kernels. Without VNNI, |q| * sign(code, q) keeps the 16-bit pair sums of maddubs below
 * saturation: both factors are at most 127, and 2 * 127 * 127 < 2^15. */
#include "index/distance.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "index/quantise.h"
#include "index/rotate.h"

#define AVX2 __attribute__((target("avx2,fma")))
#define AVXVNNI __attribute__((target("avx2,fma,avxvnni")))

AVX2 static inline int32_t sum_epi32(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return _mm_cvtsi128_si32(s);
}

AVX2 static inline float sum_ps(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_shuffle_ps(s, s, 1));
    return _mm_cvtss_f32(s);
}

AVX2 static inline __m256i mul_i8(__m256i code, __m256i q, __m256i abs_q)
{
    __m256i c = _mm256_xor_si256(code, _mm256_set1_epi8((char)0x80));
    __m256i pairs = _mm256_maddubs_epi16(abs_q, _mm256_sign_epi8(c, q));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

AVX2 static void dot_codes_avx2(const uint8_t *const *codes, size_t n_codes, const int8_t *q,
                                int32_t bias, size_t n, int32_t *out)
{
    (void)bias; /* signed times signed */
    size_t i = 0;
    for (; i + 4 <= n_codes; i += 4) {
        const uint8_t *a = codes[i], *b = codes[i + 1], *c = codes[i + 2], *d = codes[i + 3];
        __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t j = 0; j < n; j += 32) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(q + j));
            __m256i ax = _mm256_abs_epi8(x);
            s0 = _mm256_add_epi32(s0, mul_i8(_mm256_loadu_si256((const __m256i *)(a + j)), x, ax));
            s1 = _mm256_add_epi32(s1, mul_i8(_mm256_loadu_si256((const __m256i *)(b + j)), x, ax));
            s2 = _mm256_add_epi32(s2, mul_i8(_mm256_loadu_si256((const __m256i *)(c + j)), x, ax));
            s3 = _mm256_add_epi32(s3, mul_i8(_mm256_loadu_si256((const __m256i *)(d + j)), x, ax));
        }
        out[i] = sum_epi32(s0);
        out[i + 1] = sum_epi32(s1);
        out[i + 2] = sum_epi32(s2);
        out[i + 3] = sum_epi32(s3);
    }
    for (; i < n_codes; i++) {
        __m256i s0 = _mm256_setzero_si256(), s1 = s0;
        for (size_t j = 0; j < n; j += 64) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(q + j));
            __m256i y = _mm256_loadu_si256((const __m256i *)(q + j + 32));
            __m256i u = _mm256_loadu_si256((const __m256i *)(codes[i] + j));
            __m256i v = _mm256_loadu_si256((const __m256i *)(codes[i] + j + 32));
            s0 = _mm256_add_epi32(s0, mul_i8(u, x, _mm256_abs_epi8(x)));
            s1 = _mm256_add_epi32(s1, mul_i8(v, y, _mm256_abs_epi8(y)));
        }
        out[i] = sum_epi32(_mm256_add_epi32(s0, s1));
    }
}

AVXVNNI static void dot_codes_avxvnni(const uint8_t *const *codes, size_t n_codes, const int8_t *q,
                                      int32_t bias, size_t n, int32_t *out)
{
    size_t i = 0;
    for (; i + 4 <= n_codes; i += 4) {
        const uint8_t *a = codes[i], *b = codes[i + 1], *c = codes[i + 2], *d = codes[i + 3];
        __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t j = 0; j < n; j += 32) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(q + j));
            s0 = _mm256_dpbusd_avx_epi32(s0, _mm256_loadu_si256((const __m256i *)(a + j)), x);
            s1 = _mm256_dpbusd_avx_epi32(s1, _mm256_loadu_si256((const __m256i *)(b + j)), x);
            s2 = _mm256_dpbusd_avx_epi32(s2, _mm256_loadu_si256((const __m256i *)(c + j)), x);
            s3 = _mm256_dpbusd_avx_epi32(s3, _mm256_loadu_si256((const __m256i *)(d + j)), x);
        }
        out[i] = sum_epi32(s0) - bias;
        out[i + 1] = sum_epi32(s1) - bias;
        out[i + 2] = sum_epi32(s2) - bias;
        out[i + 3] = sum_epi32(s3) - bias;
    }
    for (; i < n_codes; i++) {
        __m256i s0 = _mm256_setzero_si256(), s1 = s0;
        for (size_t j = 0; j < n; j += 64) {
            const uint8_t *c = codes[i] + j;
            s0 = _mm256_dpbusd_avx_epi32(s0, _mm256_loadu_si256((const __m256i *)c),
                                         _mm256_loadu_si256((const __m256i *)(q + j)));
            s1 = _mm256_dpbusd_avx_epi32(s1, _mm256_loadu_si256((const __m256i *)(c + 32)),
                                         _mm256_loadu_si256((const __m256i *)(q + j + 32)));
        }
        out[i] = sum_epi32(_mm256_add_epi32(s0, s1)) - bias;
    }
}

AVX2 static int32_t code_to_query_avx2(const uint8_t *code, size_t n, int8_t *q)
{
    const __m256i flip = _mm256_set1_epi8((char)0x80);
    __m256i sum = _mm256_setzero_si256(); /* of the unsigned bytes, in four 64-bit lanes */
    for (size_t j = 0; j < n; j += 32) {
        __m256i c = _mm256_loadu_si256((const __m256i *)(code + j));
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(c, _mm256_setzero_si256()));
        _mm256_storeu_si256((__m256i *)(q + j), _mm256_xor_si256(c, flip));
    }
    return 128 * (sum_epi32(sum) - 128 * (int32_t)n);
}

AVX2 static float dot_f32_avx2(const float *a, const float *b, size_t n)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + j), _mm256_loadu_ps(b + j), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + j + 8), _mm256_loadu_ps(b + j + 8), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + j + 16), _mm256_loadu_ps(b + j + 16), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + j + 24), _mm256_loadu_ps(b + j + 24), s3);
    }
    for (; j + 8 <= n; j += 8)
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + j), _mm256_loadu_ps(b + j), s0);
    float sum = sum_ps(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    for (; j < n; j++)
        sum += a[j] * b[j];
    return sum;
}

AVX2 static float l2_f32_avx2(const float *a, const float *b, size_t n)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        __m256 x = _mm256_sub_ps(_mm256_loadu_ps(a + j), _mm256_loadu_ps(b + j));
        __m256 y = _mm256_sub_ps(_mm256_loadu_ps(a + j + 8), _mm256_loadu_ps(b + j + 8));
        s0 = _mm256_fmadd_ps(x, x, s0);
        s1 = _mm256_fmadd_ps(y, y, s1);
    }
    float sum = sum_ps(_mm256_add_ps(s0, s1));
    for (; j < n; j++)
        sum += (a[j] - b[j]) * (a[j] - b[j]);
    return sum;
}

/* Of each byte the number of bits, at most 8. */
AVX2 static inline __m256i count_bits(__m256i x)
{
    const __m256i counts = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m256i low = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(counts, _mm256_and_si256(x, low)),
                           _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
}

AVX2 static void dot_bits_avx2(const uint8_t *const *bits, size_t n_bits, const uint8_t *planes, size_t n, int32_t *out)
{
    const __m256i zero = _mm256_setzero_si256();
    for (size_t i = 0; i < n_bits; i++) {
        __m256i plus = zero, minus = zero;
        for (size_t j = 0; j < n; j += 256) {
            const uint8_t *p = planes + j / 512 * PLANES * 64 + j % 512 / 8;
            __m256i x = _mm256_loadu_si256((const __m256i *)(bits[i] + j / 8)), sum = zero; /* at most 8 * 15 */
            for (int b = PLANES - 2; b >= 0; b--)
                sum = _mm256_add_epi8(_mm256_add_epi8(sum, sum),
                                      count_bits(_mm256_and_si256(x, _mm256_loadu_si256((const __m256i *)(p + 64 * b)))));
            __m256i last = count_bits(_mm256_and_si256(x, _mm256_loadu_si256((const __m256i *)(p + 64 * (PLANES - 1)))));
            plus = _mm256_add_epi64(plus, _mm256_sad_epu8(sum, zero));
            minus = _mm256_add_epi64(minus, _mm256_sad_epu8(last, zero));
        }
        __m256i s = _mm256_sub_epi64(plus, _mm256_slli_epi64(minus, PLANES - 1));
        __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        out[i] = (int32_t)(_mm_cvtsi128_si64(pair) + _mm_extract_epi64(pair, 1));
    }
}

AVX2 static void to_planes_avx2(const int8_t *q, size_t n, uint8_t *planes)
{
    memset(planes, 0, planes_bytes(n));
    for (size_t j = 0; j < n; j += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(q + j));
        uint8_t *to = planes + j / 512 * PLANES * 64 + j % 512 / 8;
        for (int b = 0; b < PLANES; b++) {
            int32_t m = _mm256_movemask_epi8(_mm256_sll_epi16(x, _mm_cvtsi32_si128(7 - b)));
            memcpy(to + 64 * b, &m, sizeof m);
        }
    }
}

#define TARGET AVX2
#define NAME(x) x##_avx2
#include "index/distance_tmpl.h"

#define REST_AVX2 dot_bits_avx2, to_planes_avx2, quantise_avx2, largest_avx2, sum2_avx2, scale_avx2, rotate_avx2
const struct distance distance_avx2 = {"avx2", dot_codes_avx2, code_to_query_avx2, dot_f32_avx2, l2_f32_avx2, REST_AVX2};
const struct distance distance_avxvnni = {"avxvnni", dot_codes_avxvnni, code_to_query_avx2, dot_f32_avx2, l2_f32_avx2, REST_AVX2};
#endif
