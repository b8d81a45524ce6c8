/* See ops_cpu_float.h. ops_cpu_variant.c includes it once per instruction set. */

#define FLOAT_LINE 64

#if VW == 16
#define FLOAT_ROWS 6 /* at once: with FLOAT_VECTORS of columns, 24 sums, 4 of weights and one of x stay in registers */
#define FLOAT_VECTORS 4
#else
#define FLOAT_ROWS (KEYS_AT_ONCE + 2) /* 12 or 8 sums, two of weights, one of x */
#define FLOAT_VECTORS 2
#endif

typedef void float_pass(const struct float_block *b, const float *x, const float *w, size_t n_k, bool more, float *sums);

/* FLOAT_VECTORS of columns of n rows (a constant where this is inlined) */
static inline __attribute__((always_inline)) void pass(const size_t n, const struct float_block *b, const float *x, const float *w, size_t n_k,
                                                       bool more, float *sums)
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

#define FLOAT_PASS(n)                                                                                                                     \
    static __attribute__((noinline)) void float_pass_##n(const struct float_block *b, const float *x, const float *w, size_t n_k, bool more, \
                                                         float *sums)                                                                     \
    {                                                                                                                                     \
        pass(n, b, x, w, n_k, more, sums);                                                                                                \
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

/* n values (whole lines) of a type with two bytes, as f32 to y; ahead: as many that are asked for, or NULL */
static void unpack_half(enum tensor_type type, const uint16_t *w, size_t n, const uint16_t *ahead, float *y)
{
    for (size_t i = 0; i < n; i += FLOAT_LINE / 2) {
        if (ahead)
            __builtin_prefetch(ahead + i, 0, 2);
        for (size_t j = i; j < i + FLOAT_LINE / 2; j += VW)
            vf_store(y + j, type == TENSOR_F16 ? vf_load_f16(w + j) : vf_load_bf16(w + j));
    }
}

static void multiply_float(const struct float_block *b)
{
    _Alignas(64) float unpacked[FLOAT_CHUNK * VNNI_COLS];
    const size_t value = b->type == TENSOR_F32 ? sizeof(float) : sizeof(uint16_t), groups = (b->n_rows + FLOAT_ROWS - 1) / FLOAT_ROWS;
    for (size_t at = 0, n_k; at < b->k; at += n_k) {
        n_k = b->k - at < FLOAT_CHUNK ? b->k - at : FLOAT_CHUNK;
        const char *w = (const char *)b->w + at * VNNI_COLS * value;
        const void *ahead = at + n_k < b->k ? w + n_k * VNNI_COLS * value : b->next;
        const float *f = b->type == TENSOR_F32 ? (const float *)w : unpacked;
        if (f == unpacked)
            unpack_half(b->type, (const uint16_t *)w, n_k * VNNI_COLS, ahead, unpacked);
        for (size_t g = 0, row = 0, n; g < groups; g++, row += n) {
            n = (b->n_rows - row) / (groups - g);
            for (size_t col = 0; col < VNNI_COLS; col += FLOAT_VECTORS * VW)
                float_passes[n](b, b->x + row * b->k + at, f + col, n_k, at > 0, b->sums + row * VNNI_COLS + col);
        }
    }
}
