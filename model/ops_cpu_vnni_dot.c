/* Compiled with the flags for NEON's dot products; called only where the CPU has them. They take both sides with a sign: 128 is taken off x,
 * and the sums begin with what that takes off them. */
#include "model/ops_cpu_dot.h"

#define ROWS 4 /* at once: with four vectors of columns, 16 sums, 4 of weights and 4 of x stay in registers */
#define COLS 16
#define LINE 64

/* What a pass works at: some rows, COLS columns, a part of k. All point to the first of them. */
struct at {
    const uint8_t *x;
    const int8_t *w;
    const int32_t *start; /* NULL: sums are added to */
    int32_t *sums;
    size_t part;
    const char *ahead; /* lines to be asked for, one for each 4 of k; or NULL */
};

static inline void ask(struct at *a)
{
    __builtin_prefetch(a->ahead, 0, 2);
    a->ahead += LINE;
}

/* Of n rows (a constant where this is inlined) */
static inline __attribute__((always_inline)) void pass(const size_t n, const struct vnni_block *b, struct at a)
{
    const uint8x16_t off = vdupq_n_u8(128);
    const int8_t *at = a.w;
    int32x4_t t[ROWS][4];
#pragma GCC unroll 4
    for (size_t r = 0; r < n; r++)
#pragma GCC unroll 4
        for (size_t c = 0; c < 4; c++)
            t[r][c] = vld1q_s32((a.start ? a.start : a.sums + r * b->ld) + 4 * c);
    size_t i = 0;
    for (; i + 16 <= a.part; i += 16, at += 16 * VNNI_COLS) {
        int8x16_t x[ROWS];
        for (size_t l = 0; a.ahead && l < 16 / VNNI_K; l++)
            ask(&a);
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++)
            x[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a.x + r * b->k + i), off));
        DOT(0)
        DOT(1)
        DOT(2)
        DOT(3)
    }
    for (; i < a.part; i += VNNI_K, at += VNNI_K * VNNI_COLS) {
        int8x16_t x[ROWS];
        if (a.ahead)
            ask(&a);
#pragma GCC unroll 4
        for (size_t r = 0; r < n; r++) {
            uint32_t four;
            __builtin_memcpy(&four, a.x + r * b->k + i, sizeof four);
            x[r] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), off));
        }
        DOT(0)
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < n; r++)
#pragma GCC unroll 4
        for (size_t c = 0; c < 4; c++)
            vst1q_s32(a.sums + r * b->ld + 4 * c, t[r][c]);
}

typedef void pass_fn(const struct vnni_block *b, struct at a);

/* One function a number of rows, so that sums stay in registers */
#define PASS(n)                                                                               \
    static __attribute__((noinline)) void pass_##n(const struct vnni_block *b, struct at a) \
    {                                                                                         \
        pass(n, b, a);                                                                        \
    }
PASS(1)
PASS(2)
PASS(3)
PASS(4)
static pass_fn *const passes[ROWS + 1] = {NULL, pass_1, pass_2, pass_3, pass_4};

void vnni_multiply_dot(const struct vnni_block *b)
{
    const size_t groups = (b->n_rows + ROWS - 1) / ROWS, n_ahead = VNNI_COLS * VNNI_K / LINE;
    for (size_t at = 0, part; at < b->k; at += part) {
        part = b->k - at < VNNI_CHUNK ? b->k - at : VNNI_CHUNK;
        const int8_t *w = b->w + at * VNNI_COLS;
        /* As many bytes as this part has, behind it; the last part asks for the next block's first. */
        const char *next = at + part < b->k ? (const char *)(w + part * VNNI_COLS) : (const char *)b->next;
        for (size_t g = 0, row = 0, n, i = 0; g < groups; g++, row += n) {
            n = (b->n_rows - row) / (groups - g);
            for (size_t col = 0; col < VNNI_COLS; col += COLS, i++)
                passes[n](b, (struct at){
                    .x = b->x + row * b->k + at,
                    .w = w + VNNI_K * col,
                    .start = at ? NULL : b->col_bias + col,
                    .sums = b->sums + row * b->ld + col,
                    .part = part,
                    .ahead = next && i < n_ahead ? next + i * part / VNNI_K * LINE : NULL,
                });
        }
    }
}
