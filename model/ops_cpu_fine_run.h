/* How a block's rows and columns are gone through, for every instruction set's pass: see ops_cpu_fine.h. */
#ifndef MODEL_OPS_CPU_FINE_RUN_H
#define MODEL_OPS_CPU_FINE_RUN_H

#include <string.h>

#include "model/ops_cpu_fine.h"

#define FINE_LINE 64
#define FINE_TOP 32512 /* 127 · 256: the largest whole number; its upper byte is 127, and none is beyond */

/* What a pass works at: some rows, some columns, some parts of k. All point to the first of them. */
struct fine_at {
    const int8_t *x;
    const struct fine_part *parts;
    const uint8_t *w;
    const float *scale, *min; /* min: or NULL */
    float *sums; /* to be added to */
    size_t n_parts;
    const char *ahead; /* lines to be asked for, one for each 4 of k; or NULL */
};

typedef void fine_pass(const struct fine_block *b, struct fine_at a);

/* pass_n of an instruction set: its `pass` for a constant number of rows, so that sums stay in registers, and of values of a part, so that their
 * loops are none: to leave one at the eighth step costs as much as two of them */
#define FINE_PASS(n)                                                                            \
    static __attribute__((noinline)) void pass_##n(const struct fine_block *b, struct fine_at a) \
    {                                                                                           \
        if (b->unit == FINE_UNIT)                                                               \
            pass(n, FINE_UNIT, b, a);                                                           \
        else                                                                                    \
            pass(n, FINE_SMALL_UNIT, b, a);                                                     \
    }

/* A part's share of the lines ahead */
static inline void fine_ask(struct fine_at *a, size_t unit)
{
    for (size_t i = 0; a->ahead && i < unit / VNNI_K; i++, a->ahead += FINE_LINE)
        __builtin_prefetch(a->ahead, 0, 2);
}

/* All of b in chunks of k: passes[n] makes n rows, up to `rows`, of `cols` columns. As many bytes as a chunk has are asked for by its first passes:
 * those of the chunk behind it, the last one's of what is read next. */
static inline void fine_run(const struct fine_block *b, fine_pass *const *passes, size_t rows, size_t cols)
{
    const size_t groups = (b->n_rows + rows - 1) / rows, ld_parts = b->k / b->unit, n_ahead = VNNI_COLS * VNNI_K / FINE_LINE;
    memset(b->sums, 0, b->n_rows * VNNI_COLS * sizeof *b->sums);
    for (size_t at = 0, chunk; at < b->k; at += chunk) {
        chunk = b->k - at < VNNI_CHUNK ? b->k - at : VNNI_CHUNK;
        const size_t part = at / b->unit;
        const uint8_t *w = b->w + at * VNNI_COLS;
        const char *next = at + chunk < b->k ? (const char *)(w + chunk * VNNI_COLS) : (const char *)b->next;
        for (size_t g = 0, row = 0, n, i = 0; g < groups; g++, row += n) {
            n = (b->n_rows - row) / (groups - g);
            for (size_t col = 0; col < VNNI_COLS; col += cols, i++) {
                const size_t of = part * VNNI_COLS + col;
                passes[n](b, (struct fine_at){
                    .x = b->x + row * 2 * b->k + 2 * at,
                    .parts = b->parts + row * ld_parts + part,
                    .w = w + col * VNNI_K,
                    .scale = b->scale + of,
                    .min = b->min ? b->min + of : NULL,
                    .sums = b->sums + row * VNNI_COLS + col,
                    .n_parts = chunk / b->unit,
                    .ahead = next && i < n_ahead ? next + i * chunk / VNNI_K * FINE_LINE : NULL,
                });
            }
        }
    }
}

#endif
