/* One bit per dimension: a vector is rotated at random and only the signs are kept, with two numbers from which the inner
 * product with any query can be estimated without bias, and the estimate's error is known (the idea is RaBitQ's,
 * arXiv 2405.12497; unlike it no centroid is taken off, so that nothing has to be trained and vectors may come one by one).
 *
 * Let x be the rotated vector of length |x|, s its signs, D their number and f = sum |x_j| / (|x| sqrt(D)), the cosine of x and
 * s, near 0.8 for any x. For a query y rotated the same way, |x| / (f sqrt(D)) * <s, y> estimates <x, y>; its error has mean 0
 * and about the standard deviation |x| |y| sqrt((1 / f^2 - 1) / (D - 1)), at 384 dimensions 0.04 of a cosine.
 *
 * A sketch is D / 8 bytes of signs (bit j of byte j / 8: x_j >= 0), a struct sketch_tail, and padding to DISTANCE_PAD.
 * Thread-safety: safe. */
#ifndef INDEX_SKETCH_H
#define INDEX_SKETCH_H

#include "index/distance.h"

struct sketch_tail {
    float factor; /* <s, y> times this estimates <x, y> */
    float error;  /* standard deviation of the estimate for |y| = 1 */
    float norm2;  /* |x|^2 */
};

/* A query rotated and brought to a few bits a dimension, which adds little to the sketches' own error. */
struct sketch_query {
    const uint8_t *planes; /* of sketch_dims values (distance.h) */
    int32_t sum;     /* of them */
    float scale, norm;
};

/* D: dim rounded up to a multiple of 64. */
static inline size_t sketch_dims(size_t dim)
{
    return (dim + 63) / 64 * 64;
}

static inline size_t sketch_bytes(size_t dim)
{
    return distance_pad(sketch_dims(dim) / 8 + sizeof(struct sketch_tail));
}

static inline const struct sketch_tail *sketch_tail(const uint8_t *sketch, size_t dims)
{
    return (const struct sketch_tail *)(const void *)(sketch + dims / 8);
}

/* v: dim floats. room: sketch_dims(dim) floats, overwritten with the rotated vector, which sketch_encode and
 * sketch_prepare take. */
void sketch_rotate(const struct distance *k, const float *v, size_t dim, float *room);
void sketch_encode(const float *rotated, size_t dims, uint8_t *sketch);
/* q: room for dims bytes. planes: planes_bytes(dims), aligned to DISTANCE_PAD, borrowed by the result. */
void sketch_prepare(const struct distance *k, const float *rotated, size_t dims, int8_t *q, uint8_t *planes,
                    struct sketch_query *out);

#endif
