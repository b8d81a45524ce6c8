/* Products of weights in blocks with activations of 16 bits, by VNNI (AVX-512's or AVX-VNNI), AVX2 or NEON: for models that 8 bits of activations are not exact enough
 * for, and for CPUs without int8 products; as exact as f32 (a value is off by 2^-16 of its part's largest) at a quarter of its memory.
 *
 * Weights stay the whole numbers that the file has, each part of `unit` values of a row with its scale and, where the type has one, its minimum:
 * w = scale q + min. An activation is a whole number of 16 bits by the scale of its part. A part's sum is made in integers without loss, and the
 * parts' sums are added in f32, always in the order of k: a row's result does not depend on the rows beside it, nor on the instructions.
 *
 * Weights lie as in ops_cpu_vnni.h, with 128 added; their scales and minima as [m / VNNI_COLS][k / unit][VNNI_COLS]. Rows of x: [n][2 k] bytes.
 * VNNI multiplies bytes: of each part the upper ones of all its values come first, then the lower ones, both signed, and the sum is
 * 2^8 Σ q upper + Σ q lower. AVX2 multiplies 16 bits, two neighbours at once: of each four values the order is 0, 2, 1, 3, as masks take weights apart.
 * NEON takes the 128 off as it packs; its dot products have rows as VNNI's, and without them 16 bits are multiplied one by one, rows in their
 * order, and of each four of k the weights of 16 columns lie as [4][16]. */
#ifndef MODEL_OPS_CPU_FINE_H
#define MODEL_OPS_CPU_FINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/ops_cpu_vnni.h"

#define FINE_UNIT 32       /* values of a part; k is a multiple of it */
#define FINE_SMALL_UNIT 16 /* of q6_K's */

/* Of a part of a row of x */
struct fine_part {
    float scale, total; /* total: of the part's values as rounded */
    int32_t offset;     /* -128 Σ x, what the weights' 128 adds; NEON: not used */
};

/* Some rows times VNNI_COLS columns */
struct fine_block {
    const int8_t *x;               /* [n_rows, 2 k] */
    const struct fine_part *parts; /* [n_rows, k / unit] */
    size_t n_rows, k, unit;
    const uint8_t *w;   /* k · VNNI_COLS */
    const float *scale; /* k / unit · VNNI_COLS */
    const float *min;   /* the same, or NULL: all are 0 */
    const void *next;   /* weights that are read next, asked for meanwhile; or NULL */
    float *sums;        /* [n_rows, VNNI_COLS] */
};

/* sums = x wᵀ. Thread-safety: safe. */
typedef void fine_multiply(const struct fine_block *b);

/* n rows x[n, k] → bytes and parts, as the product of the same instructions wants them. A part that holds NaN or Inf has the scale NaN. */
typedef void fine_quantise(const float *x, size_t n, size_t k, size_t unit, int8_t *bytes, struct fine_part *parts);

/* What this CPU can run, under LATENTD_CPU_MASK; NULL: none. pack: for its weights, as tensor_split.h has them. */
fine_multiply *fine_choose(fine_quantise **quantise, vnni_pack **pack);

#if defined(__x86_64__)
fine_multiply fine_multiply_avx512, fine_multiply_avxvnni, fine_multiply_narrow, fine_multiply_avx2;
fine_quantise fine_quantise_avx512, fine_quantise_avxvnni, fine_quantise_narrow, fine_quantise_avx2;
#elif defined(__aarch64__)
fine_multiply fine_multiply_dot, fine_multiply_neon;
fine_quantise fine_quantise_dot, fine_quantise_neon;
vnni_pack fine_pack_dot, fine_pack_neon;
#endif

#endif
