#include "index/sketch.h"

#include <math.h>
#include <string.h>

void sketch_rotate(const struct distance *k, const float *v, size_t dim, float *room)
{
    size_t dims = sketch_dims(dim);
    memcpy(room, v, dim * sizeof *v);
    memset(room + dim, 0, (dims - dim) * sizeof *room);
    k->rotate(room, dims);
}

void sketch_encode(const float *x, size_t dims, uint8_t *sketch)
{
    struct sketch_tail t = {0};
    double sum = 0, sum2 = 0;
    for (size_t j = 0; j < dims; j += 8) {
        unsigned byte = 0;
        for (size_t b = 0; b < 8; b++) {
            byte |= (unsigned)(x[j + b] >= 0) << b;
            sum += fabsf(x[j + b]);
            sum2 += (double)x[j + b] * x[j + b];
        }
        sketch[j / 8] = (uint8_t)byte;
    }
    if (sum > 0) {
        /* f = sum / sqrt(sum2 * D); |x| / (f sqrt(D)) = sum2 / sum */
        double inverse2 = sum2 * (double)dims / (sum * sum);
        t.factor = (float)(sum2 / sum);
        t.error = (float)sqrt(sum2 * fmax(inverse2 - 1, 0) / (double)(dims - 1));
        t.norm2 = (float)sum2;
    }
    memset(sketch + dims / 8, 0, sketch_bytes(dims) - dims / 8);
    memcpy(sketch + dims / 8, &t, sizeof t);
}

void sketch_prepare(const struct distance *k, const float *x, size_t dims, int8_t *q, uint8_t *planes,
                    struct sketch_query *out)
{
    struct quantised sums;
    float max = k->largest(x, dims), inverse = max > 0 ? PLANES_LIMIT / max : 0;
    if (!isfinite(inverse))
        inverse = max = 0;
    k->quantise(x, dims, inverse, PLANES_LIMIT, q, &sums);
    k->to_planes(q, dims, planes);
    *out = (struct sketch_query){planes, sums.sum, max / PLANES_LIMIT, (float)sqrt(k->sum2(x, dims))};
}
