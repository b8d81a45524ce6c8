/* The random rotation of sketch.h, compiled once for each kind of vector unit: random signs, a fast Hadamard transform of the
 * largest power of two of the dimensions, alternately the first and the last ones, and a butterfly between the two halves;
 * four times over. Orthogonal, and no matrix to keep. The signs are part of the file format. */
#ifndef INDEX_ROTATE_H
#define INDEX_ROTATE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ROTATE_ROUNDS 4
#define ROTATE_INLINE static inline __attribute__((always_inline))

typedef float rotate_v16 __attribute__((vector_size(64)));

ROTATE_INLINE void rotate_signs(float *x, size_t n, uint32_t round)
{
    for (size_t j = 0; j < n; j++) {
        uint32_t h = ((uint32_t)j + round * 0x9E3779B9u) * 0x85EBCA6Bu, bits;
        h = (h ^ h >> 15) * 0xC2B2AE35u;
        memcpy(&bits, &x[j], 4);
        bits ^= (h ^ h << 13) & 0x80000000u;
        memcpy(&x[j], &bits, 4);
    }
}

/* Stages 1, 2, 4 and 8 of the transform: y_j = x_(j ^ h) + (j & h ? -x_j : x_j). */
#define ROTATE_STAGE(v, sign, ...) ((v) * (sign) + __builtin_shufflevector(v, v, __VA_ARGS__))

ROTATE_INLINE void rotate_lanes(float *x, size_t n, float scale)
{
    const rotate_v16 s1 = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    const rotate_v16 s2 = {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1};
    const rotate_v16 s4 = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
    const rotate_v16 s8 = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
    for (size_t j = 0; j < n; j += 16) {
        rotate_v16 v;
        memcpy(&v, x + j, sizeof v);
        v = ROTATE_STAGE(v, s1, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
        v = ROTATE_STAGE(v, s2, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        v = ROTATE_STAGE(v, s4, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
        v = ROTATE_STAGE(v, s8, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
        v *= scale;
        memcpy(x + j, &v, sizeof v);
    }
}

ROTATE_INLINE void rotate_butterfly(float *a, float *b, size_t n, float scale)
{
    for (size_t j = 0; j < n; j += 16) {
        rotate_v16 x, y, sum, difference;
        memcpy(&x, a + j, sizeof x);
        memcpy(&y, b + j, sizeof y);
        sum = (x + y) * scale;
        difference = (x - y) * scale;
        memcpy(a + j, &sum, sizeof sum);
        memcpy(b + j, &difference, sizeof difference);
    }
}

/* Stages h and h / 2 of the transform in one pass over memory. */
ROTATE_INLINE void rotate_two_stages(float *x, size_t n, size_t h)
{
    for (size_t i = 0; i < n; i += 2 * h) {
        for (size_t j = i; j < i + h / 2; j += 16) {
            rotate_v16 a, b, c, d;
            memcpy(&a, x + j, sizeof a);
            memcpy(&b, x + j + h / 2, sizeof b);
            memcpy(&c, x + j + h, sizeof c);
            memcpy(&d, x + j + h + h / 2, sizeof d);
            rotate_v16 ac = a + c, bd = b + d, a_c = a - c, b_d = b - d;
            a = ac + bd, b = ac - bd, c = a_c + b_d, d = a_c - b_d;
            memcpy(x + j, &a, sizeof a);
            memcpy(x + j + h / 2, &b, sizeof b);
            memcpy(x + j + h, &c, sizeof c);
            memcpy(x + j + h + h / 2, &d, sizeof d);
        }
    }
}

/* n: a multiple of 64 */
ROTATE_INLINE void rotate_body(float *x, size_t n)
{
    size_t p = 64;
    while (2 * p <= n)
        p *= 2;
    for (uint32_t round = 0; round < ROTATE_ROUNDS; round++) {
        float *part = round & 1 ? x + (n - p) : x;
        rotate_signs(x, n, round);
        size_t h = p / 2;
        for (; h >= 32; h /= 4)
            rotate_two_stages(part, p, h);
        if (h == 16)
            for (size_t i = 0; i < p; i += 32)
                rotate_butterfly(part + i, part + i + 16, 16, 1);
        rotate_lanes(part, p, 1 / sqrtf((float)p));
        rotate_butterfly(x, x + n / 2, n / 2, 0.70710678f);
    }
}

#endif
