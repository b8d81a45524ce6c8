/* The plain C kernels, which the others are tested against, and the choice. */
#include "index/distance.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
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

static void dot_bits_c(const uint8_t *const *bits, size_t n_bits, const int8_t *q, size_t n, int32_t *out)
{
    for (size_t i = 0; i < n_bits; i++) {
        int32_t sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += q[j] & -(bits[i][j / 8] >> (j & 7) & 1);
        out[i] = sum;
    }
}

static void rotate_c(float *x, size_t n)
{
    rotate_body(x, n);
}

const struct distance distance_c = {"c", dot_codes_c, code_to_query_c, dot_f32_c, l2_f32_c, dot_bits_c, rotate_c};

void distance_encode(const float *v, size_t n, uint8_t *code, float *scale, float *norm2)
{
    float max = 0;
    int64_t sum2 = 0;
    for (size_t j = 0; j < n; j++)
        max = fmaxf(max, fabsf(v[j]));
    uint32_t bits;
    *scale = max / 127;
    memcpy(&bits, scale, sizeof bits);
    bits = (bits + 0xFFFF) & 0xFFFF0000;
    memcpy(scale, &bits, sizeof bits);
    /* A denormal scale would have no finite inverse; such a vector is zero for every purpose here. */
    float inverse = *scale > 0 ? 1 / *scale : 0;
    if (!isfinite(inverse))
        inverse = *scale = 0;
    for (size_t j = 0; j < n; j++) {
        float f = v[j] * inverse + 12582912.0f;
        int32_t x;
        memcpy(&x, &f, 4);
        x -= 0x4B400000;
        x = x > 127 ? 127 : x < -127 ? -127 : x;
        sum2 += x * x;
        code[j] = (uint8_t)(x + 128);
    }
    memset(code + n, 128, distance_pad(n) - n);
    *norm2 = *scale * *scale * (float)sum2;
}

size_t distance_versions(unsigned f, const struct distance *out[DISTANCE_VERSIONS_MAX])
{
    size_t n = 0;
#if defined(__x86_64__)
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
