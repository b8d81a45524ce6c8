/* Distance kernels: int8 codes against an int8 query, and f32 against f32, chosen once by CPU feature.
 *
 * A code is one unsigned byte per dimension, value + 128, with value in -127 … 127, padded with 128 (zero) to
 * DISTANCE_PAD bytes. A prepared query is the signed values, padded with zeros, and its `bias`, 128 times their
 * sum: VNNI multiplies unsigned by signed, and the bias takes the shift out again. Sums are exact in int32 up to
 * 65,536 dimensions (255 * 127 * 65536 < 2^31), so every version gives the same integer.
 * Thread-safety: safe. */
#ifndef INDEX_DISTANCE_H
#define INDEX_DISTANCE_H

#include <stddef.h>
#include <stdint.h>

#define DISTANCE_PAD 64 /* bytes: one AVX-512 register, one cache line */

struct distance {
    const char *name;
    /* out[i] = sum of (codes[i][j] - 128) * q[j] over n bytes, n a multiple of DISTANCE_PAD. */
    void (*dot_codes)(const uint8_t *const *codes, size_t n_codes, const int8_t *q, int32_t bias,
                      size_t n, int32_t *out);
    /* Turns a code into a prepared query; returns its bias. */
    int32_t (*code_to_query)(const uint8_t *code, size_t n, int8_t *q);
    /* Sum of a[j] * b[j], and of (a[j] - b[j])^2; any n, no alignment. The order of the sum is the kernel's own. */
    float (*dot_f32)(const float *a, const float *b, size_t n);
    float (*l2_f32)(const float *a, const float *b, size_t n);
    /* out[i] = sum of the q[j] whose bit is set: bit j of byte j / 8. n values, a multiple of 64; -127 <= q[j]. */
    void (*dot_bits)(const uint8_t *const *bits, size_t n_bits, const int8_t *q, size_t n, int32_t *out);
    /* The rotation of sketch.h, in place; n a multiple of 64. */
    void (*rotate)(float *x, size_t n);
};

/* The best one for the given features (base/cpu.h). Static storage. */
const struct distance *distance_for(unsigned cpu_features);

/* Every one that these features can run, best first, the plain C one last. */
#define DISTANCE_VERSIONS_MAX 8
size_t distance_versions(unsigned cpu_features, const struct distance *out[DISTANCE_VERSIONS_MAX]);

static inline size_t distance_pad(size_t n)
{
    return (n + DISTANCE_PAD - 1) / DISTANCE_PAD * DISTANCE_PAD;
}

/* Quantises v (n floats, finite) to a padded code, *scale and the squared length of what the code stands for.
 * v[j] is about (code[j] - 128) * *scale; a zero vector has scale 0. The lower 16 bits of the scale are zero, so that it can be
 * kept in half the space: it is up to 0.8 % larger than it would have to be. */
void distance_encode(const float *v, size_t n, uint8_t *code, float *scale, float *norm2);

/* The versions by architecture; empty lists where the architecture is another. */
extern const struct distance distance_c;
#if defined(__x86_64__)
extern const struct distance distance_avx2, distance_avxvnni, distance_avx512, distance_avx512vnni;
#elif defined(__aarch64__)
extern const struct distance distance_neon, distance_neon_dotprod;
#endif

#endif
