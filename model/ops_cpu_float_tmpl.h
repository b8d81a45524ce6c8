/* See ops_cpu_float.h. ops_cpu_variant.c includes it once per instruction set. */

#define FLOAT_LINE 64

#if KEYS_AT_ONCE == 8 /* there are 32 registers */
#define FLOAT_ROWS 6  /* at once: with FLOAT_VECTORS of columns, 24 sums, 4 of weights and one of x stay in registers */
#define FLOAT_VECTORS 4
#else
#define FLOAT_ROWS (KEYS_AT_ONCE + 2) /* 12 or 8 sums, two of weights, one of x */
#define FLOAT_VECTORS 2
#endif
#define FLOAT_COLS (FLOAT_VECTORS * VW)

/* Lines asked for while one pass goes over a chunk: `lines` at each step of k, from `p` on */
struct float_ahead {
    const char *p;
    size_t lines;
};

typedef void float_pass(const struct float_block *b, const float *x, const float *w, size_t n_k, bool more, struct float_ahead ahead, float *sums);

/* FLOAT_COLS columns of n rows (a constant where this is inlined), a chunk of k; x, w and sums at its first */
static inline __attribute__((always_inline)) void pass(const size_t n, const struct float_block *b, const float *x, const float *w, size_t n_k,
                                                       bool more, struct float_ahead ahead, float *sums)
{
    vf s[FLOAT_ROWS][FLOAT_VECTORS];
#pragma GCC unroll 6
    for (size_t r = 0; r < n; r++)
#pragma GCC unroll 4
        for (size_t c = 0; c < FLOAT_VECTORS; c++)
            s[r][c] = vf_set(0);
    for (const float *end = x + n_k; x < end; x++, w += VNNI_COLS) {
        vf v[FLOAT_VECTORS];
#pragma GCC unroll 4
        for (size_t c = 0; c < FLOAT_VECTORS; c++)
            v[c] = vf_load(w + c * VW);
        for (size_t i = 0; i < ahead.lines; i++, ahead.p += FLOAT_LINE)
            __builtin_prefetch(ahead.p, 0, 2);
#pragma GCC unroll 6
        for (size_t r = 0; r < n; r++) {
            const vf one = vf_set(x[r * b->k]);
#pragma GCC unroll 4
            for (size_t c = 0; c < FLOAT_VECTORS; c++)
                s[r][c] = vf_fma(v[c], one, s[r][c]);
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < n; r++) {
#pragma GCC unroll 4
        for (size_t c = 0; c < FLOAT_VECTORS; c++) {
            float *at = sums + r * VNNI_COLS + c * VW;
            vf_store(at, more ? (vf)(vf_load(at) + s[r][c]) : s[r][c]);
        }
    }
}

#define FLOAT_PASS(n)                                                                                                                        \
    static __attribute__((noinline)) void float_pass_##n(const struct float_block *b, const float *x, const float *w, size_t n_k, bool more, \
                                                         struct float_ahead ahead, float *sums)                                              \
    {                                                                                                                                        \
        pass(n, b, x, w, n_k, more, ahead, sums);                                                                                            \
    }

FLOAT_PASS(1)
FLOAT_PASS(2)
FLOAT_PASS(3)
FLOAT_PASS(4)
#if FLOAT_ROWS > 4
FLOAT_PASS(5)
FLOAT_PASS(6)
#endif

static float_pass *const float_passes[FLOAT_ROWS + 1] = {
    NULL, float_pass_1, float_pass_2, float_pass_3, float_pass_4,
#if FLOAT_ROWS > 4
    float_pass_5, float_pass_6,
#endif
};

/* n values of a type with two bytes, VW at a time, as f32 to y */
static void unpack_half(enum tensor_type type, const uint16_t *w, size_t n, float *y)
{
    for (size_t i = 0; i < n; i += VW)
        vf_store(y + i, type == TENSOR_F16 ? vf_load_f16(w + i) : vf_load_bf16(w + i));
}

/* As many bytes as a chunk has are asked for by its first passes: those of the chunk behind it, the last one's of what is read next. */
static void multiply_float(const struct float_block *b)
{
    _Alignas(64) float unpacked[FLOAT_CHUNK * VNNI_COLS];
    const size_t value = b->type == TENSOR_F32 ? sizeof(float) : sizeof(uint16_t), groups = (b->n_rows + FLOAT_ROWS - 1) / FLOAT_ROWS;
    const size_t n_passes = VNNI_COLS / FLOAT_COLS, lines = value > n_passes ? value / n_passes : 1; /* a step of k has `value` lines */
    for (size_t at = 0, n_k; at < b->k; at += n_k) {
        n_k = b->k - at < FLOAT_CHUNK ? b->k - at : FLOAT_CHUNK;
        const char *w = (const char *)b->w + at * VNNI_COLS * value, *next = at + n_k < b->k ? w + n_k * VNNI_COLS * value : b->next;
        const float *f = b->type == TENSOR_F32 ? (const float *)w : unpacked;
        if (f == unpacked)
            unpack_half(b->type, (const uint16_t *)w, n_k * VNNI_COLS, unpacked);
        for (size_t g = 0, row = 0, n, i = 0; g < groups; g++, row += n) {
            n = (b->n_rows - row) / (groups - g);
            for (size_t col = 0; col < VNNI_COLS; col += FLOAT_COLS, i++) {
                const struct float_ahead ahead = {next + i * lines * n_k * FLOAT_LINE, next && i * lines < value ? lines : 0};
                float_passes[n](b, b->x + row * b->k + at, f + col, n_k, at > 0, ahead, b->sums + row * VNNI_COLS + col);
            }
        }
    }
}
