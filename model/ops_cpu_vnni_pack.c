#include "model/ops_cpu_vnni.h"

#include <string.h>

void vnni_pack_plain(const int8_t *w, size_t k, int8_t *block)
{
    const size_t padded = (k + 63) / 64 * 64;
    for (size_t i = 0; i < k; i += VNNI_K, block += VNNI_COLS * VNNI_K)
        for (size_t col = 0; col < VNNI_COLS; col++)
            memcpy(block + col * VNNI_K, w + col * k + i, VNNI_K);
    memset(block, 0, (padded - k) * VNNI_COLS);
}
