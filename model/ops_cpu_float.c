#include "model/ops_cpu_float.h"

#include <string.h>

#define STEP 32 /* of k: what a column has of them is a line or two */

bool float_type(enum tensor_type type)
{
    return type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16;
}

static void pack_16(const uint16_t *w, size_t k, uint16_t *block)
{
    for (size_t at = 0, n; at < k; at += n) {
        n = k - at < STEP ? k - at : STEP;
        for (size_t col = 0; col < VNNI_COLS; col++)
            for (size_t i = at; i < at + n; i++)
                block[i * VNNI_COLS + col] = w[col * k + i];
    }
}

static void pack_32(const float *w, size_t k, float *block)
{
    for (size_t at = 0, n; at < k; at += n) {
        n = k - at < STEP ? k - at : STEP;
        for (size_t col = 0; col < VNNI_COLS; col++)
            for (size_t i = at; i < at + n; i++)
                block[i * VNNI_COLS + col] = w[col * k + i];
    }
}

void float_pack(enum tensor_type type, const void *w, size_t k, void *block)
{
    if (type == TENSOR_F32)
        pack_32(w, k, block);
    else
        pack_16(w, k, block);
}
