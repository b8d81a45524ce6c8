/* Compiled with the flags for AVX-512 VNNI; called only where the CPU has it. */
#include "model/ops_cpu_vnni.h"

#include <immintrin.h>

#define ROWS 12 /* at once: with two vectors of columns, 24 sums stay in registers */
#define LINE 64

/* Lines asked for ahead while one pass goes over a part of k: `lines` at each step of 4, from `p` on */
struct ahead {
    const char *p;
    size_t lines;
};

/* 32 columns of n rows (a constant where this is inlined), part of k; w, x and sums at this part's first. One pointer serves three rows:
 * a load's address may have once or twice k added, and there are too few registers for a pointer a row. */
static inline __attribute__((always_inline)) void pass(const size_t n, const uint8_t *x, size_t k, size_t part, const int8_t *w,
                                                       int32_t *sums, size_t ld, bool more, struct ahead a)
{
    const uint8_t *row[(ROWS + 2) / 3];
    for (size_t r = 0; r < n; r += 3)
        row[r / 3] = x + r * k;
    __m512i s[ROWS][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < n; r++) {
        s[r][0] = more ? _mm512_loadu_si512(sums + r * ld) : _mm512_setzero_si512();
        s[r][1] = more ? _mm512_loadu_si512(sums + r * ld + 16) : _mm512_setzero_si512();
    }
    for (size_t i = 0; i < part; i += VNNI_K, w += VNNI_K * VNNI_COLS) {
        const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
        for (size_t l = 0; l < a.lines; l++, a.p += LINE)
            _mm_prefetch(a.p, _MM_HINT_T1);
#pragma GCC unroll 12
        for (size_t r = 0; r < n; r++) {
            int32_t four;
            __builtin_memcpy(&four, row[r / 3] + r % 3 * k, sizeof four);
            const __m512i v = _mm512_set1_epi32(four);
            s[r][0] = _mm512_dpbusd_epi32(s[r][0], v, w0);
            s[r][1] = _mm512_dpbusd_epi32(s[r][1], v, w1);
        }
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r += 3)
            row[r / 3] += VNNI_K;
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < n; r++) {
        _mm512_storeu_si512(sums + r * ld, s[r][0]);
        _mm512_storeu_si512(sums + r * ld + 16, s[r][1]);
    }
}

typedef void pass_fn(const uint8_t *x, size_t k, size_t part, const int8_t *w, int32_t *sums, size_t ld, bool more, struct ahead a);

/* One function a number of rows, so that sums stay in registers */
#define PASS(n)                                                                                                              \
    static __attribute__((noinline)) void pass_##n(const uint8_t *x, size_t k, size_t part, const int8_t *w, int32_t *sums, \
                                                   size_t ld, bool more, struct ahead a)                                    \
    {                                                                                                                       \
        pass(n, x, k, part, w, sums, ld, more, a);                                                                          \
    }
PASS(1)
PASS(2)
PASS(3)
PASS(4)
PASS(5)
PASS(6)
PASS(7)
PASS(8)
PASS(9)
PASS(10)
PASS(11)
PASS(12)
static pass_fn *const passes[ROWS + 1] = {NULL,   pass_1, pass_2, pass_3, pass_4,  pass_5,  pass_6,
                                          pass_7, pass_8, pass_9, pass_10, pass_11, pass_12};

void vnni_multiply_avx512(const struct vnni_block *b)
{
    const size_t groups = (b->n_rows + ROWS - 1) / ROWS, n_passes = 2 * groups, lines = n_passes < 4 ? 2 : 1;
    for (size_t at = 0, part; at < b->k; at += part) {
        part = b->k - at < VNNI_CHUNK ? b->k - at : VNNI_CHUNK;
        const int8_t *w = b->w + at * VNNI_COLS;
        const uint8_t *x = b->x + at;
        /* As many bytes as this part has, behind it; the last part asks for the next block's first. */
        const char *next = at + part < b->k ? (const char *)(w + part * VNNI_COLS) : (const char *)b->next;
        for (size_t g = 0, row = 0, n, i = 0; g < groups; g++, row += n) {
            n = (b->n_rows - row) / (groups - g);
            for (size_t half = 0; half < 2; half++, i++) {
                const struct ahead a = {next + i * lines * part / 4 * LINE, next && i * lines < 4 ? lines : 0};
                passes[n](x + row * b->k, b->k, part, w + 128 * half, b->sums + row * b->ld + 32 * half, b->ld, at > 0, a);
            }
        }
    }
}

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
