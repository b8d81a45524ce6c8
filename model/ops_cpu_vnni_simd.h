/* Vectors of whole numbers and the few operations that VNNI's products are written in: 16 lanes by AVX-512, 8 by AVX-VNNI, by what the compiler
 * may use in this file. With VNNI_NARROW, 8 lanes by AVX-512's instructions, which do the same: how CPUs that have no AVX-VNNI test it. */
#ifndef MODEL_OPS_CPU_VNNI_SIMD_H
#define MODEL_OPS_CPU_VNNI_SIMD_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512VNNI__) && !defined(VNNI_NARROW)

#define VNNI_NAME(x) x##_avx512
#define VI_LANES 16
typedef __m512i vi;
typedef __m512 vf;

static inline vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
static inline void vi_store(void *p, vi a)
{
    _mm512_storeu_si512(p, a);
}
static inline vi vi_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}
static inline vi vi_dot(vi sum, vi u, vi s) /* sum + four products each of u's bytes without sign and s's with one */
{
    return _mm512_dpbusd_epi32(sum, u, s);
}
static inline vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
static inline vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
#define vi_left(a, n) _mm512_slli_epi32(a, n)
#define vi_right(a, n) _mm512_srai_epi32(a, n)
static inline void vi_store_bytes(int8_t *p, vi a) /* the lowest byte of each lane */
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}
static inline int32_t vi_sum(vi a)
{
    return _mm512_reduce_add_epi32(a);
}
static inline vi vi_round(vf a)
{
    return _mm512_cvtps_epi32(a);
}
static inline vf vf_of(vi a)
{
    return _mm512_cvtepi32_ps(a);
}
static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
static inline float vf_sum(vf a)
{
    return _mm512_reduce_add_ps(a);
}
static inline float vf_hmax(vf a)
{
    return _mm512_reduce_max_ps(a);
}

#else

#if defined(__AVXVNNI__)
#define VNNI_NAME(x) x##_avxvnni
#define vnni_dot256 _mm256_dpbusd_avx_epi32
#else
#define VNNI_NAME(x) x##_narrow
#define vnni_dot256 _mm256_dpbusd_epi32
#endif
#define VI_LANES 8
typedef __m256i vi;
typedef __m256 vf;

static inline vi vi_load(const void *p)
{
    return _mm256_loadu_si256(p);
}
static inline void vi_store(void *p, vi a)
{
    _mm256_storeu_si256(p, a);
}
static inline vi vi_set(int32_t x)
{
    return _mm256_set1_epi32(x);
}
static inline vi vi_dot(vi sum, vi u, vi s)
{
    return vnni_dot256(sum, u, s);
}
static inline vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}
static inline vi vi_sub(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}
#define vi_left(a, n) _mm256_slli_epi32(a, n)
#define vi_right(a, n) _mm256_srai_epi32(a, n)
static inline void vi_store_bytes(int8_t *p, vi a)
{
    const __m256i low = _mm256_and_si256(a, _mm256_set1_epi32(0xFF)), words = _mm256_packus_epi32(low, low);
    const __m256i bytes = _mm256_packus_epi16(words, words); /* packing goes lane by lane */
    _mm_storel_epi64((__m128i *)p, _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
}
static inline int32_t vi_sum(vi a)
{
    int32_t v[8], sum = 0;
    vi_store(v, a);
    for (int i = 0; i < 8; i++)
        sum += v[i];
    return sum;
}
static inline vi vi_round(vf a)
{
    return _mm256_cvtps_epi32(a);
}
static inline vf vf_of(vi a)
{
    return _mm256_cvtepi32_ps(a);
}
static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}
static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline float vf_sum(vf a)
{
    float v[8], sum = 0;
    vf_store(v, a);
    for (int i = 0; i < 8; i++)
        sum += v[i];
    return sum;
}
static inline float vf_hmax(vf a)
{
    float v[8], most = 0;
    vf_store(v, a);
    for (int i = 0; i < 8; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

#endif
#endif
