/* Compiled with the flags for AMX; called only where the CPU has it and the kernel keeps its tiles.
 *
 * Eight registers are tiles of up to 16 rows of 64 bytes. One instruction adds to a tile of sums [16, 16] the products of 16 rows of x with 16
 * columns of w, 64 of k: 16,384 in 16 cycles, where AVX-512's make 128 in one. A block's weights lie as a tile of w wants them, each fourth of
 * k a row. Up to 32 rows are two tiles by two of columns, so that a tile is fetched for two instructions; up to 16 are one by four.
 *
 * What the compiler knows of tiles is little: that these instructions stay in their order, and that stores of tiles change memory. */
#include "model/ops_cpu_vnni.h"

#include <immintrin.h>

#define TILE 16       /* rows of x, columns of w */
#define TILE_K 64     /* k */
#define TILE_BYTES 64 /* of a row of w or of sums */
#define W_STRIDE (VNNI_COLS * VNNI_K)
#define PART 512      /* of k at a time: a pass reads 16 KiB of x and of w, and shares one of them with the pass before, in the first-level cache */
#define LINE 64

/* As LDTILECFG reads it: tiles 0 to 3 are sums, 4 and 5 of x, 6 and 7 of w. */
struct tiles {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Tiles of `upper` rows and of `lower` ones, k_bytes of k at once */
static void set_up(size_t upper, size_t lower, size_t k_bytes)
{
    struct tiles t = {.palette = 1};
    const uint8_t rows[8] = {(uint8_t)upper, (uint8_t)upper, (uint8_t)lower, (uint8_t)lower,
                             (uint8_t)upper, (uint8_t)lower, (uint8_t)(k_bytes / VNNI_K), (uint8_t)(k_bytes / VNNI_K)};
    for (int i = 0; i < 8; i++) {
        t.rows[i] = rows[i];
        t.row_bytes[i] = i == 4 || i == 5 ? (uint16_t)k_bytes : TILE_BYTES;
    }
    __asm__ volatile("" : : "r"(&t) : "memory"); /* all of it is read, whatever the next line says */
    _tile_loadconfig(&t);
}

/* Lines asked for ahead: so many at each step, from p on; none at NULL */
struct ahead {
    const char *p;
    size_t lines;
};

/* A pass: some rows and columns, `steps` of k; sums are added to, or with `first` begun. */
struct pass {
    const uint8_t *x;
    size_t k, steps;
    const int8_t *w;
    int32_t *sums;
    size_t ld_bytes;
    bool first;
    struct ahead ahead;
};

static inline void ask(struct ahead *a)
{
    if (!a->p)
        return;
    for (size_t i = 0; i < a->lines; i++, a->p += LINE)
        _mm_prefetch(a->p, _MM_HINT_T1);
}

#define BEGIN(t, at)                    \
    if (p.first)                        \
        _tile_zero(t);                  \
    else                                \
        _tile_loadd(t, at, p.ld_bytes);

/* Two tiles of rows, two of columns */
static void square(struct pass p)
{
    int32_t *lower = (int32_t *)((char *)p.sums + TILE * p.ld_bytes);
    BEGIN(0, p.sums)
    BEGIN(1, p.sums + TILE)
    BEGIN(2, lower)
    BEGIN(3, lower + TILE)
    for (size_t i = 0; i < p.steps; i++, p.x += TILE_K, p.w += TILE_K * VNNI_COLS) {
        _tile_loadd(4, p.x, p.k);
        _tile_loadd(6, p.w, W_STRIDE);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, p.w + TILE_BYTES, W_STRIDE);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(5, p.x + TILE * p.k, p.k);
        ask(&p.ahead);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, p.sums, p.ld_bytes);
    _tile_stored(1, p.sums + TILE, p.ld_bytes);
    _tile_stored(2, lower, p.ld_bytes);
    _tile_stored(3, lower + TILE, p.ld_bytes);
}

/* One tile of rows, four of columns */
static void wide(struct pass p)
{
    BEGIN(0, p.sums)
    BEGIN(1, p.sums + TILE)
    BEGIN(2, p.sums + 2 * TILE)
    BEGIN(3, p.sums + 3 * TILE)
    for (size_t i = 0; i < p.steps; i++, p.x += TILE_K, p.w += TILE_K * VNNI_COLS) {
        _tile_loadd(4, p.x, p.k);
        _tile_loadd(6, p.w, W_STRIDE);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, p.w + TILE_BYTES, W_STRIDE);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(6, p.w + 2 * TILE_BYTES, W_STRIDE);
        ask(&p.ahead);
        _tile_dpbusd(2, 4, 6);
        _tile_loadd(7, p.w + 3 * TILE_BYTES, W_STRIDE);
        _tile_dpbusd(3, 4, 7);
    }
    _tile_stored(0, p.sums, p.ld_bytes);
    _tile_stored(1, p.sums + TILE, p.ld_bytes);
    _tile_stored(2, p.sums + 2 * TILE, p.ld_bytes);
    _tile_stored(3, p.sums + 3 * TILE, p.ld_bytes);
}

/* What the tiles were set up for; nothing yet: 0 */
struct state {
    size_t upper, lower, k_bytes;
};

static void shape(struct state *s, size_t upper, size_t lower, size_t k_bytes)
{
    if (s->upper == upper && s->lower == lower && s->k_bytes == k_bytes)
        return;
    *s = (struct state){upper, lower, k_bytes};
    set_up(upper, lower, k_bytes);
}

/* All rows and columns, k from `at` on: `part` of it, a multiple of TILE_K or what is left behind the last one */
static void multiply_part(const struct vnni_block *b, size_t at, size_t part, struct state *s)
{
    const size_t k_bytes = part < TILE_K ? part : TILE_K, steps = part / k_bytes;
    const size_t squares = (b->n_rows + TILE - 1) / (2 * TILE), n_passes = 2 * squares + (b->n_rows > squares * 2 * TILE);
    const int8_t *w = b->w + at * VNNI_COLS;
    /* As many bytes as this part has, behind it; the last part asks for the next block's first. */
    const char *next = at + part < b->k ? (const char *)(w + part * VNNI_COLS) : (const char *)b->next;
    struct pass p = {.k = b->k, .steps = steps, .ld_bytes = b->ld * sizeof *b->sums, .first = at == 0};
    p.ahead.lines = (k_bytes + n_passes - 1) / n_passes;
    for (size_t i = 0, row = 0; row < b->n_rows; row += 2 * TILE) {
        const size_t n = b->n_rows - row < 2 * TILE ? b->n_rows - row : 2 * TILE;
        p.x = b->x + row * b->k + at;
        shape(s, n < TILE ? n : TILE, n > TILE ? n - TILE : n, k_bytes);
        for (size_t j = 0; j < (n > TILE ? 2 : 1); j++, i++) {
            /* There and back, so that each pass shares its rows or its columns with the one before */
            const size_t col = (row / (2 * TILE) + j) % 2 * 2 * TILE;
            p.w = w + (n > TILE ? col * VNNI_K : 0);
            p.sums = b->sums + row * b->ld + (n > TILE ? col : 0);
            p.ahead.p = next ? next + i * steps * p.ahead.lines * LINE : NULL;
            (n > TILE ? square : wide)(p);
        }
    }
}

void vnni_multiply_amx(const struct vnni_block *b)
{
    struct state s = {0};
    if (b->n_rows < VNNI_AMX_ROWS) {
        vnni_multiply_avx512(b);
        return;
    }
    __asm__ volatile("" : : : "memory");
    const size_t whole = b->k / TILE_K * TILE_K;
    for (size_t at = 0; at < whole; at += PART)
        multiply_part(b, at, whole - at < PART ? whole - at : PART, &s);
    if (whole < b->k)
        multiply_part(b, whole, b->k - whole, &s);
    _tile_release();
}
