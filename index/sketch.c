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

void sketch_prepare(const float *x, size_t dims, int8_t *q, struct sketch_query *out)
{
    float max = 0, sum2 = 0;
    *out = (struct sketch_query){.q = q};
    for (size_t j = 0; j < dims; j++) {
        max = fmaxf(max, fabsf(x[j]));
        sum2 += x[j] * x[j];
    }
    float inverse = max > 0 ? 127 / max : 0;
    if (!isfinite(inverse))
        inverse = max = 0;
    for (size_t j = 0; j < dims; j++) {
        float f = x[j] * inverse + 12582912.0f;
        int32_t v;
        memcpy(&v, &f, 4);
        v -= 0x4B400000;
        q[j] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
        out->sum += q[j];
    }
    out->scale = max / 127;
    out->norm = sqrtf(sum2);
}
