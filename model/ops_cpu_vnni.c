/* Compiled once per instruction set, with its flags: see ops_cpu_vnni_simd.h. */
#include "model/ops_cpu_vnni.h"

#include "model/ops_cpu_vnni_simd.h"

#if VI_LANES == 16
#define ROWS 12 /* at once: with two vectors of columns, 24 sums stay in registers */
#else
#define ROWS 6 /* 12 of 16 registers */
#endif
#define COLS (2 * VI_LANES)
#define STEP (VNNI_K * VI_LANES) /* bytes of a vector */
#define LINE 64

/* Lines asked for ahead while one pass goes over a part of k: `lines` at each step of 4, from `p` on */
struct ahead {
    const char *p;
    size_t lines;
};

/* COLS columns of n rows (a constant where this is inlined), part of k; w, x and sums at this part's first. One pointer serves three rows:
 * a load's address may have once or twice k added, and there are too few registers for a pointer a row. */
static inline __attribute__((always_inline)) void pass(const size_t n, const uint8_t *x, size_t k, size_t part, const int8_t *w,
                                                       int32_t *sums, size_t ld, bool more, struct ahead a)
{
    const uint8_t *row[(ROWS + 2) / 3];
    for (size_t r = 0; r < n; r += 3)
        row[r / 3] = x + r * k;
    vi s[ROWS][2];
#pragma GCC unroll 12
    for (size_t r = 0; r < n; r++) {
        s[r][0] = more ? vi_load(sums + r * ld) : vi_set(0);
        s[r][1] = more ? vi_load(sums + r * ld + VI_LANES) : vi_set(0);
    }
    for (size_t i = 0; i < part; i += VNNI_K, w += VNNI_K * VNNI_COLS) {
        const vi w0 = vi_load(w), w1 = vi_load(w + STEP);
        for (size_t l = 0; l < a.lines; l++, a.p += LINE)
            _mm_prefetch(a.p, _MM_HINT_T1);
#pragma GCC unroll 12
        for (size_t r = 0; r < n; r++) {
            int32_t four;
            __builtin_memcpy(&four, row[r / 3] + r % 3 * k, sizeof four);
            const vi v = vi_set(four);
            s[r][0] = vi_dot(s[r][0], v, w0);
            s[r][1] = vi_dot(s[r][1], v, w1);
        }
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r += 3)
            row[r / 3] += VNNI_K;
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < n; r++) {
        vi_store(sums + r * ld, s[r][0]);
        vi_store(sums + r * ld + VI_LANES, s[r][1]);
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
#if ROWS > 6
PASS(7)
PASS(8)
PASS(9)
PASS(10)
PASS(11)
PASS(12)
#endif
static pass_fn *const passes[ROWS + 1] = {
    NULL, pass_1, pass_2, pass_3, pass_4, pass_5, pass_6,
#if ROWS > 6
    pass_7, pass_8, pass_9, pass_10, pass_11, pass_12,
#endif
};

void VNNI_NAME(vnni_multiply)(const struct vnni_block *b)
{
    const size_t groups = (b->n_rows + ROWS - 1) / ROWS, n_passes = VNNI_COLS / COLS * groups, lines = n_passes < 4 ? 2 : 1;
    for (size_t at = 0, part; at < b->k; at += part) {
        part = b->k - at < VNNI_CHUNK ? b->k - at : VNNI_CHUNK;
        const int8_t *w = b->w + at * VNNI_COLS;
        const uint8_t *x = b->x + at;
        /* As many bytes as this part has, behind it; the last part asks for the next block's first. */
        const char *next = at + part < b->k ? (const char *)(w + part * VNNI_COLS) : (const char *)b->next;
        for (size_t g = 0, row = 0, n, i = 0; g < groups; g++, row += n) {
            n = (b->n_rows - row) / (groups - g);
            for (size_t col = 0; col < VNNI_COLS; col += COLS, i++) {
                const struct ahead a = {next + i * lines * part / 4 * LINE, next && i * lines < 4 ? lines : 0};
                passes[n](x + row * b->k, b->k, part, w + VNNI_K * col, b->sums + row * b->ld + col, b->ld, at > 0, a);
            }
        }
    }
}
