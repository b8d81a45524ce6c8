#include "model/ops_cpu_float.h"

#include <stdint.h>
#include <string.h>

#define STEP 32 /* of k: what a column has of them is a line or two */

bool float_type(enum tensor_type type)
{
    return type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16;
}

/* bytes: of a value, a constant where this is inlined */
static inline __attribute__((always_inline)) void pack(const char *w, size_t k, const size_t bytes, char *block)
{
    for (size_t at = 0, n; at < k; at += n) {
        n = k - at < STEP ? k - at : STEP;
        for (size_t col = 0; col < VNNI_COLS; col++)
            for (size_t i = at; i < at + n; i++)
                memcpy(block + (i * VNNI_COLS + col) * bytes, w + (col * k + i) * bytes, bytes);
    }
}

void float_pack(enum tensor_type type, const void *w, size_t k, void *block)
{
    if (type == TENSOR_F32)
        pack(w, k, sizeof(float), block);
    else
        pack(w, k, sizeof(uint16_t), block);
}
