#include "model/conformance/conform.h"

#include <math.h>
#include <stdarg.h>
#include <time.h>

#define PATTERN 0x7FA5C3E1u /* a NaN no arithmetic makes */

const struct conform_check conform_checks[] = {
#define X(name) {#name, check_##name},
    CONFORM_CHECKS(X)
#undef X
    {0}};

void conform_init(struct conform *k, struct ops *o, uint64_t seed)
{
    *k = (struct conform){.o = o, .rng = seed};
    k->int8 = strcmp(o->info.kind, "cpu") == 0 && strstr(o->info.name, "int8");
}

uint64_t conform_rand(struct conform *k)
{
    uint64_t z = (k->rng += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Drawn from so many values of the distribution, made once: inputs take a good part of the checks' time. */
#define NORMALS (1u << 16)

static const float *normals(void)
{
    static float table[NORMALS];
    struct conform k = {.rng = 1};
    for (size_t i = 0; !table[0] && i < NORMALS / 2; i++) {
        const double u = ((double)(conform_rand(&k) >> 11) + 1) * 0x1p-53, v = (double)(conform_rand(&k) >> 11) * 0x1p-53;
        const double r = sqrt(-2 * log(u)), angle = 6.283185307179586 * v;
        table[NORMALS - 1 - i] = (float)(r * sin(angle));
        table[NORMALS / 2 - 1 - i] = (float)(r * cos(angle)); /* so that the first value of all is made last */
    }
    return table;
}

float conform_normal(struct conform *k)
{
    return normals()[conform_rand(k) % NORMALS];
}

bool conform_few_kernels(const struct conform *k)
{
    return k->brief && strcmp(k->o->info.kind, "cpu") != 0;
}

void conform_case(struct conform *k, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(k->what, sizeof k->what, fmt, ap);
    va_end(ap);
    k->n_cases++;
    k->failed = false;
}

void conform_fail(struct conform *k, const char *fmt, ...)
{
    va_list ap;
    if (!k->failed)
        k->n_failed++;
    else
        return; /* the first difference of a case is enough */
    k->failed = true;
    printf("FAILED %s: ", k->what);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

void conform_ok(struct conform *k, int r, const char *call)
{
    if (r)
        conform_fail(k, "%s: %s", call, err_name(r));
}

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "conformance: out of memory\n");
        exit(1);
    }
    return p;
}

float *conform_fill(struct conform *k, size_t n, enum fill fill)
{
    float *v = must(calloc(n ? n : 1, sizeof *v));
    if (fill == FILL_ONE_HOT)
        v[conform_rand(k) % n] = 1;
    for (size_t i = 0; i < n && (fill == FILL_NORMAL || fill == FILL_HUGE); i++)
        v[i] = conform_normal(k) * (fill == FILL_HUGE ? 1e6f : 1);
    return v;
}

static void encode_q8_0(const float *v, uint8_t *out)
{
    float largest = 0;
    for (int i = 0; i < 32; i++)
        largest = fmaxf(largest, fabsf(v[i]));
    const uint16_t scale = f32_to_f16(largest / 127);
    memcpy(out, &scale, sizeof scale);
    const float inv = largest > 0 ? 127 / largest : 0;
    for (int i = 0; i < 32; i++)
        out[2 + i] = (uint8_t)(int8_t)lrintf(v[i] * inv);
}

/* Types that are only read: any bits, with scales that make values of the size of v's. */
static void encode_any(enum tensor_type type, const float *v, size_t n, uint8_t *out)
{
    static const struct {
        size_t scale, min; /* where they are; min: 0 for none */
        float values;
    } at[TENSOR_N_TYPES] = {
        [TENSOR_Q4_0] = {0, 0, 8},        [TENSOR_Q4_1] = {0, 2, 8},      [TENSOR_Q5_0] = {0, 0, 8},      [TENSOR_Q5_1] = {0, 2, 8},
        [TENSOR_Q2_K] = {80, 82, 16 * 2}, [TENSOR_Q3_K] = {108, 0, 32 * 4}, [TENSOR_Q4_K] = {0, 2, 64 * 16}, [TENSOR_Q5_K] = {0, 2, 64 * 16},
        [TENSOR_Q6_K] = {208, 0, 32 * 64}, [TENSOR_IQ4_NL] = {0, 0, 64},   [TENSOR_IQ4_XS] = {0, 0, 32 * 64},
    };
    const size_t bytes = tensor_block_bytes(type);
    uint64_t state = 0;
    for (size_t i = 0; i < n; i += tensor_block_len(type), out += bytes) {
        float largest = 0;
        for (size_t j = 0; j < tensor_block_len(type); j++)
            largest = fmaxf(largest, fabsf(v[i + j]));
        for (size_t j = 0; j < bytes; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            out[j] = (uint8_t)(state >> 56);
        }
        const uint16_t scale = f32_to_f16(largest / at[type].values), min = f32_to_f16(largest / 64);
        memcpy(out + at[type].scale, &scale, sizeof scale);
        if (at[type].min)
            memcpy(out + at[type].min, &min, sizeof min);
    }
}

void conform_encode(enum tensor_type type, const float *v, size_t n, void *out)
{
    if (type == TENSOR_F32)
        memcpy(out, v, n * sizeof *v);
    for (size_t i = 0; i < n && (type == TENSOR_F16 || type == TENSOR_BF16); i++)
        ((uint16_t *)out)[i] = type == TENSOR_F16 ? f32_to_f16(v[i]) : f32_to_bf16(v[i]);
    for (size_t i = 0; i < n && type == TENSOR_Q8_0; i += 32)
        encode_q8_0(v + i, (uint8_t *)out + i / 32 * 34);
    if (tensor_block_len(type) > 1 && type != TENSOR_Q8_0)
        encode_any(type, v, n, out);
}

void conform_held(const struct conform *k, enum tensor_type type, const float *v, size_t n, float *off)
{
    enum { LEN = 32 };
    for (size_t i = 0; i < n; i++)
        off[i] = 0;
    if (!strcmp(k->o->info.kind, "cpu"))
        return;
    for (size_t i = 0; i < n && type == TENSOR_IQ4_XS; i++)
        off[i] = fabsf(v[i]) * 0x1p-11f + 127 * 0x1p-25f;
    for (size_t i = 0; i < n && type == TENSOR_Q2_K; i += LEN) {
        float largest = 0;
        for (size_t j = i; j < i + LEN; j++)
            largest = fmaxf(largest, fabsf(v[j]));
        for (size_t j = i; j < i + LEN; j++)
            off[j] = largest * (0.501f / 127);
    }
}

struct ops_buf *conform_buf(struct conform *k, const float *v, size_t rows, size_t cols)
{
    struct ops_buf *b = NULL;
    struct err_msg em;
    const size_t all = (rows + SPARE_ROWS) * cols;
    uint32_t *fill = must(malloc(all * sizeof *fill));
    for (size_t i = 0; i < all; i++)
        fill[i] = PATTERN;
    if (v)
        memcpy(fill, v, rows * cols * sizeof *v);
    if (k->o->v->buf_create(k->o, rows + SPARE_ROWS, cols, &b, &em)) {
        fprintf(stderr, "conformance: %s\n", em.text);
        exit(1);
    }
    conform_ok(k, k->o->v->buf_write(k->o, b, (float *)fill, all), "buf_write");
    free(fill);
    return b;
}

void conform_drop(struct conform *k, struct ops_buf *b)
{
    k->o->v->buf_destroy(k->o, &b);
}

struct ops_vec *conform_vec(struct conform *k, const float *v, size_t n)
{
    struct ops_vec *p = NULL;
    struct err_msg em;
    if (k->o->v->vec_create(k->o, v, n, &p, &em)) {
        fprintf(stderr, "conformance: %s\n", em.text);
        exit(1);
    }
    return p;
}

void conform_drop_vec(struct conform *k, struct ops_vec *v)
{
    k->o->v->vec_destroy(k->o, &v);
}

void conform_layout(struct conform *k, struct conform_batch *b, uint32_t n, uint32_t text, uint32_t skip)
{
    *b = (struct conform_batch){.n = n};
    b->ids = must(calloc(n, sizeof *b->ids));
    b->seq_offset = must(calloc(n + 1, sizeof *b->seq_offset));
    b->pool_skip = must(calloc(n, sizeof *b->pool_skip));
    for (uint32_t i = 0; i < n; i++)
        b->ids[i] = (int32_t)(conform_rand(k) % 50);
    for (uint32_t at = 0; at < n; b->n_seqs++) {
        uint32_t len = n - at < text ? n - at : text;
        b->pool_skip[b->n_seqs] = len > skip ? skip : 0;
        b->n_pooled += len - b->pool_skip[b->n_seqs];
        b->seq_offset[b->n_seqs + 1] = at += len;
    }
}

void conform_start(struct conform *k, const struct conform_batch *b)
{
    struct err_msg em = {""};
    const struct ops_batch batch = {b->ids, b->n, b->seq_offset, b->n_seqs, b->pool_skip};
    if (k->o->v->begin(k->o, &batch, &em))
        conform_fail(k, "begin: %s", em.text);
}

void conform_begin(struct conform *k, struct conform_batch *b, uint32_t n, uint32_t text, uint32_t skip)
{
    conform_layout(k, b, n, text, skip);
    conform_start(k, b);
}

void conform_end(struct conform *k, struct conform_batch *b)
{
    struct err_msg em = {""};
    if (k->o->v->end(k->o, NULL, 0, NULL, &em))
        conform_fail(k, "end: %s", em.text);
}

void conform_forget(struct conform_batch *b)
{
    free(b->ids);
    free(b->seq_offset);
    free(b->pool_skip);
}

/* Rows from rows to intact are not looked at, those behind must be. */
static void compare(struct conform *k, struct ops_buf *b, const float *want, size_t rows, size_t intact, size_t cols, double absolute,
                    double relative, const float *magnitude)
{
    const size_t n = rows * cols, all = n + SPARE_ROWS * cols;
    float *got = must(malloc(all * sizeof *got));
    conform_ok(k, k->o->v->buf_read(k->o, b, got, all), "buf_read");
    for (size_t i = 0; i < n; i++) {
        const double size = magnitude ? magnitude[i] : fabs(want[i]);
        const double d = fabs((double)got[i] - want[i]);
        if (!(d <= absolute + relative * size)) {
            conform_fail(k, "row %zu column %zu: %.9g, want %.9g, off by %.3g of %.3g", i / cols, i % cols, got[i],
                         want[i], d, absolute + relative * size);
            break;
        }
    }
    for (size_t i = intact * cols; i < all; i++) {
        uint32_t u;
        memcpy(&u, got + i, sizeof u);
        if (u != PATTERN) {
            conform_fail(k, "wrote column %zu of row %zu, past the end", i % cols, i / cols);
            break;
        }
    }
    free(got);
}

void conform_compare(struct conform *k, struct ops_buf *b, const float *want, size_t rows, size_t cols,
                     double absolute, double relative, const float *magnitude)
{
    compare(k, b, want, rows, rows, cols, absolute, relative, magnitude);
}

void conform_compare_product(struct conform *k, struct ops_buf *b, const float *want, size_t rows, size_t cols,
                             double absolute, double relative, const float *magnitude)
{
    const bool whole = strcmp(k->o->info.kind, "cpu") != 0;
    compare(k, b, want, rows, whole ? (rows + OPS_ROWS_STEP - 1) / OPS_ROWS_STEP * OPS_ROWS_STEP : rows, cols, absolute, relative, magnitude);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void conform_bench(struct conform *k, const char *name, uint32_t n, conform_call call, void *arg, double flops)
{
    enum { CALLS = 20, TRIES = 9 };
    double best = 1e30;
    if (!k->bench)
        return;
    for (int t = 0; t < TRIES; t++) {
        struct conform_batch b;
        conform_begin(k, &b, n, 128, 0);
        const double start = now();
        for (int i = 0; i < CALLS; i++)
            conform_ok(k, call(k->o, arg), name);
        conform_end(k, &b);
        conform_forget(&b);
        const double each = (now() - start) / CALLS;
        best = each < best ? each : best;
    }
    printf("bench %-28s %5u rows %9.2f us %8.1f ns/row", name, n, best * 1e6, best * 1e9 / n);
    if (flops > 0)
        printf(" %8.1f GOP/s", flops / best * 1e-9);
    printf("\n");
}

