/* Compiled with the flags for AVX-512; called only where the CPU has it. */
#include "model/ops_cpu_vnni.h"

#include <immintrin.h>

/* Rows of 16 values of 4 bytes, turned */
static inline void turn(__m512i v[16])
{
    __m512i a[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    /* v[i + j]: of each lane of four, value j of rows i … i + 3 */
    for (int i = 0; i < 16; i += 4) {
        v[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        const __m512i low0 = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x44), high0 = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xEE);
        const __m512i low1 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x44), high1 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xEE);
        a[j] = _mm512_shuffle_i32x4(low0, low1, 0x88);
        a[4 + j] = _mm512_shuffle_i32x4(low0, low1, 0xDD);
        a[8 + j] = _mm512_shuffle_i32x4(high0, high1, 0x88);
        a[12 + j] = _mm512_shuffle_i32x4(high0, high1, 0xDD);
    }
    for (int i = 0; i < 16; i++)
        v[i] = a[i];
}

void vnni_pack_avx512(const int8_t *w, size_t k, int8_t *block)
{
    for (size_t i = 0; i < k; i += 64, block += 64 * VNNI_COLS) {
        const __mmask64 mask = k - i < 64 ? ((__mmask64)1 << (k - i)) - 1 : ~(__mmask64)0;
        for (size_t col = 0; col < VNNI_COLS; col += 16) {
            __m512i v[16];
            for (size_t r = 0; r < 16; r++)
                v[r] = _mm512_maskz_loadu_epi8(mask, w + (col + r) * k + i);
            turn(v);
            for (size_t g = 0; g < 16; g++)
                _mm512_storeu_si512(block + (g * VNNI_COLS + col) * VNNI_K, v[g]);
        }
    }
}
