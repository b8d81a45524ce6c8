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

/* Small integers as bit planes, so that a sum over set bits is counting: of each 512 values, PLANES times 64 bytes, the p-th with
 * bit p of each value in two's complement; the last plane counts as -2^(PLANES - 1). Missing values are zero. */
#define PLANES 5
#define PLANES_LIMIT ((1 << (PLANES - 1)) - 1)
static inline size_t planes_bytes(size_t n)
{
    return (n + 511) / 512 * PLANES * 64;
}

/* Sums of integers that came of vectors. */
struct quantised {
    int32_t sum;
    int64_t sum2; /* of squares */
};

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
    /* out[i] = sum of the planes' values whose bit is set: bit j of byte j / 8. n values, a multiple of 64; whole registers of
     * DISTANCE_PAD bytes are read. */
    void (*dot_bits)(const uint8_t *const *bits, size_t n_bits, const uint8_t *planes, size_t n, int32_t *out);
    /* n values, a multiple of 64, of -PLANES_LIMIT … PLANES_LIMIT into planes. */
    void (*to_planes)(const int8_t *q, size_t n, uint8_t *planes);
    /* q[j] = v[j] * inverse to the nearest integer, within limit. v finite, any n. */
    void (*quantise)(const float *v, size_t n, float inverse, int32_t limit, int8_t *q, struct quantised *out);
    float (*largest)(const float *v, size_t n); /* |v[j]|; v finite */
    double (*sum2)(const float *v, size_t n);   /* of v[j]^2; not finite if one of them is not */
    void (*scale)(const float *v, size_t n, double f, float *out); /* out[j] = v[j] * f, rounded once */
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
 * kept in half the space: it is up to 0.8 % larger than it would have to be. Every k gives the same. */
void distance_encode(const struct distance *k, const float *v, size_t n, uint8_t *code, float *scale, float *norm2);

/* The versions by architecture; empty lists where the architecture is another. */
extern const struct distance distance_c;
#if defined(__x86_64__)
extern const struct distance distance_avx2, distance_avxvnni, distance_avx512, distance_avx512vnni, distance_avx512popcnt;
#elif defined(__aarch64__)
extern const struct distance distance_neon, distance_neon_dotprod;
#endif

#endif
