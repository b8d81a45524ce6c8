/* Floats to small integers, and sums over floats, compiled once for each kind of vector unit. The integers are the same in all. */
#ifndef INDEX_QUANTISE_H
#define INDEX_QUANTISE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "index/distance.h"

#define QUANTISE_INLINE static inline __attribute__((always_inline))

typedef float quantise_f16 __attribute__((vector_size(64)));
typedef int32_t quantise_i16 __attribute__((vector_size(64)));
typedef int8_t quantise_b16 __attribute__((vector_size(16)));
typedef float quantise_f8 __attribute__((vector_size(32)));
typedef double quantise_d8 __attribute__((vector_size(64)));

/* Added to a float of less than 2^22 in size, leaves the nearest integer in its low bits. */
#define QUANTISE_ROUND 12582912.0f
#define QUANTISE_ROUND_BITS 0x4B400000

/* Vectors go by pointer: by value their passing would depend on the vector unit. */

/* Each of a, or of b where that is more. */
QUANTISE_INLINE void quantise_max(quantise_i16 *a, const quantise_i16 *b)
{
    quantise_i16 more = *a > *b;
    *a = (*a & more) | (*b & ~more);
}

/* The first 16 of n values, zeros where there are fewer. */
QUANTISE_INLINE void quantise_load(const float *v, size_t n, quantise_f16 *x)
{
    if (n >= 16) {
        memcpy(x, v, sizeof *x);
        return;
    }
    memset(x, 0, sizeof *x);
    memcpy(x, v, n * sizeof *v);
}

QUANTISE_INLINE float largest_body(const float *v, size_t n)
{
    quantise_i16 most = {0}; /* without their sign, floats are ordered as their bits are */
    int32_t max = 0;
    float out;
    for (size_t j = 0; j < n; j += 16) {
        quantise_f16 x;
        quantise_load(v + j, n - j, &x);
        quantise_i16 size = (quantise_i16)x & 0x7FFFFFFF;
        quantise_max(&most, &size);
    }
    for (int l = 0; l < 16; l++)
        max = most[l] > max ? most[l] : max;
    memcpy(&out, &max, sizeof out);
    return out;
}

QUANTISE_INLINE double sum2_body(const float *v, size_t n)
{
    quantise_d8 s0 = {0}, s1 = {0};
    double sum = 0;
    for (size_t j = 0; j < n; j += 16) {
        quantise_f16 x;
        quantise_f8 halves[2];
        quantise_load(v + j, n - j, &x);
        memcpy(halves, &x, sizeof halves);
        quantise_d8 a = __builtin_convertvector(halves[0], quantise_d8), b = __builtin_convertvector(halves[1], quantise_d8);
        s0 += a * a;
        s1 += b * b;
    }
    s0 += s1;
    for (int l = 0; l < 8; l++)
        sum += s0[l];
    return sum;
}

QUANTISE_INLINE void scale_body(const float *v, size_t n, double f, float *out)
{
    for (size_t j = 0; j < n; j++)
        out[j] = (float)(v[j] * f);
}

QUANTISE_INLINE void quantise_body(const float *v, size_t n, float inverse, int32_t limit, int8_t *q, struct quantised *out)
{
    quantise_i16 sum = {0}, sum2 = {0}; /* 65,536 / 16 * 127^2 < 2^31 */
    quantise_i16 least = sum - limit;
    *out = (struct quantised){0};
    for (size_t j = 0; j < n; j += 16) {
        quantise_f16 f;
        quantise_load(v + j, n - j, &f);
        quantise_i16 x = (quantise_i16)(f * inverse + QUANTISE_ROUND) - QUANTISE_ROUND_BITS;
        quantise_max(&x, &least);
        x = -x;
        quantise_max(&x, &least);
        x = -x;
        sum += x;
        sum2 += x * x;
        quantise_b16 b = __builtin_convertvector(x, quantise_b16);
        memcpy(q + j, &b, n - j < 16 ? n - j : sizeof b);
    }
    for (int l = 0; l < 16; l++) {
        out->sum += sum[l];
        out->sum2 += sum2[l];
    }
}

#endif
