/* The plain C kernels, which the others are tested against, and the choice. */
#include "index/distance.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "index/quantise.h"
#include "index/rotate.h"

static void dot_codes_c(const uint8_t *const *codes, size_t n_codes, const int8_t *q, int32_t bias,
                        size_t n, int32_t *out)
{
    for (size_t i = 0; i < n_codes; i++) {
        int32_t sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += (int32_t)codes[i][j] * q[j];
        out[i] = sum - bias;
    }
}

static int32_t code_to_query_c(const uint8_t *code, size_t n, int8_t *q)
{
    int32_t sum = 0;
    for (size_t j = 0; j < n; j++) {
        q[j] = (int8_t)(code[j] ^ 0x80);
        sum += q[j];
    }
    return 128 * sum;
}

/* Four sums, so that rounding errors stay as small as in the vector versions. */
static float dot_f32_c(const float *a, const float *b, size_t n)
{
    float s[4] = {0};
    size_t j = 0;
    for (; j + 4 <= n; j += 4)
        for (size_t l = 0; l < 4; l++)
            s[l] += a[j + l] * b[j + l];
    for (; j < n; j++)
        s[0] += a[j] * b[j];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static float l2_f32_c(const float *a, const float *b, size_t n)
{
    float s[4] = {0};
    size_t j = 0;
    for (; j + 4 <= n; j += 4)
        for (size_t l = 0; l < 4; l++)
            s[l] += (a[j + l] - b[j + l]) * (a[j + l] - b[j + l]);
    for (; j < n; j++)
        s[0] += (a[j] - b[j]) * (a[j] - b[j]);
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static void dot_bits_c(const uint8_t *const *bits, size_t n_bits, const uint8_t *planes, size_t n, int32_t *out)
{
    for (size_t i = 0; i < n_bits; i++) {
        int32_t sum[PLANES] = {0}, total = 0;
        for (size_t j = 0; j < n / 8; j++)
            for (size_t p = 0; p < PLANES; p++)
                sum[p] += __builtin_popcount(bits[i][j] & planes[(j / 64 * PLANES + p) * 64 + j % 64]);
        for (size_t p = 0; p < PLANES; p++)
            total += (p == PLANES - 1 ? -sum[p] : sum[p]) * (1 << p);
        out[i] = total;
    }
}

static void to_planes_c(const int8_t *q, size_t n, uint8_t *planes)
{
    memset(planes, 0, planes_bytes(n));
    for (size_t j = 0; j < n; j++)
        for (size_t p = 0; p < PLANES; p++)
            planes[(j / 512 * PLANES + p) * 64 + j % 512 / 8] |= (uint8_t)(((uint8_t)q[j] >> p & 1u) << (j & 7));
}

#define TARGET
#define NAME(x) x##_c
#include "index/distance_tmpl.h"

const struct distance distance_c = {"c",        dot_codes_c, code_to_query_c, dot_f32_c, l2_f32_c, dot_bits_c, to_planes_c,
                                    quantise_c, largest_c,   sum2_c,          scale_c,    rotate_c};

void distance_encode(const struct distance *k, const float *v, size_t n, uint8_t *code, float *scale, float *norm2)
{
    struct quantised sums;
    uint32_t bits;
    *scale = k->largest(v, n) / 127;
    memcpy(&bits, scale, sizeof bits);
    bits = (bits + 0xFFFF) & 0xFFFF0000;
    memcpy(scale, &bits, sizeof bits);
    /* A denormal scale would have no finite inverse; such a vector is zero for every purpose here. */
    float inverse = *scale > 0 ? 1 / *scale : 0;
    if (!isfinite(inverse))
        inverse = *scale = 0;
    k->quantise(v, n, inverse, 127, (int8_t *)code, &sums);
    for (size_t j = 0; j < n; j++)
        code[j] ^= 0x80;
    memset(code + n, 128, distance_pad(n) - n);
    *norm2 = *scale * *scale * (float)sums.sum2;
}

size_t distance_versions(unsigned f, const struct distance *out[DISTANCE_VERSIONS_MAX])
{
    size_t n = 0;
#if defined(__x86_64__)
    if (f & CPU_AVX512_POPCNT)
        out[n++] = &distance_avx512popcnt;
    if (f & CPU_AVX512_VNNI)
        out[n++] = &distance_avx512vnni;
    if (f & CPU_AVX512)
        out[n++] = &distance_avx512;
    if (f & CPU_AVX_VNNI)
        out[n++] = &distance_avxvnni;
    if (f & CPU_AVX2)
        out[n++] = &distance_avx2;
#elif defined(__aarch64__)
    if (f & CPU_NEON_DOTPROD)
        out[n++] = &distance_neon_dotprod;
    if (f & CPU_NEON)
        out[n++] = &distance_neon;
#endif
    out[n++] = &distance_c;
    return n;
}

const struct distance *distance_for(unsigned features)
{
    const struct distance *v[DISTANCE_VERSIONS_MAX];
    distance_versions(features, v);
    return v[0];
}
