/* The CPU device's ways: its own products against plain sums; a text's vector whatever the number of threads. */
#include "tests/unit.h"

#include <math.h>

#include "model/ops_cpu.h"
#include "model/ops_cpu_internal.h"
#include "model/ops_cpu_vnni.h"

/* ---- the int8 product ---- */

#ifndef MOST_ROWS /* a compiler's option where products are slow */
#define MOST_ROWS 64
#endif
#ifndef LEAST_ROWS /* where the CPU that is played has no other product for fewer */
#define LEAST_ROWS 1
#endif
enum { CANARY = 0x5A5A5A5A };

static void one_product(vnni_multiply *multiply, uint64_t *s, size_t n, size_t k, bool extreme)
{
    const size_t ld = VNNI_COLS + 16;
    uint8_t *x = malloc(n * k);
    int8_t *w = malloc(k * VNNI_COLS);
    int32_t *sums = malloc((n + 1) * ld * sizeof *sums), col_bias[VNNI_COLS] = {0};
    assert_true(x && w && sums);
    for (size_t i = 0; i < n * k; i++)
        x[i] = extreme ? 255 : (uint8_t)unit_rand(s);
    for (size_t i = 0; i < k * VNNI_COLS; i++)
        w[i] = extreme ? (i / VNNI_K % 2 ? -127 : 127) : (int8_t)((int)(unit_rand(s) % 255) - 127);
    for (size_t i = 0; i < (n + 1) * ld; i++)
        sums[i] = CANARY;
    for (size_t i = 0; i < k * VNNI_COLS; i++)
        col_bias[i / VNNI_K % VNNI_COLS] += 128 * w[i];
    multiply(&(struct vnni_block){
        .x = x, .n_rows = n, .k = k, .w = w, .next = n % 2 ? w : NULL, .col_bias = col_bias, .sums = sums, .ld = ld});
    for (size_t r = 0; r < n; r++) {
        for (size_t c = 0; c < ld; c++) {
            int32_t want = 0;
            for (size_t i = 0; c < VNNI_COLS && i < k; i++)
                want += x[r * k + i] * w[(i / VNNI_K * VNNI_COLS + c) * VNNI_K + i % VNNI_K];
            if (sums[r * ld + c] != (c < VNNI_COLS ? want : CANARY))
                fail_msg("%zu rows of %zu: row %zu column %zu is %d, not %d", n, k, r, c, sums[r * ld + c], want);
        }
    }
    for (size_t c = 0; c < ld; c++)
        assert_int_equal(sums[n * ld + c], CANARY);
    free(x);
    free(w);
    free(sums);
}

static void test_products(void **state)
{
    static const size_t ks[] = {4, 64, 256, 768, VNNI_CHUNK - 4, VNNI_CHUNK, VNNI_CHUNK + 4, 2 * VNNI_CHUNK + 32};
    vnni_pack *pack;
    vnni_multiply *multiply = vnni_choose(&pack);
    uint64_t s = unit_seed();
    if (!multiply)
        skip();
    for (size_t n = LEAST_ROWS; n <= MOST_ROWS; n++)
        for (size_t i = n % 3; i < sizeof ks / sizeof *ks; i += n < 26 ? 1 : 3)
            one_product(multiply, &s, n, ks[i], (n + i) % 5 == 0);
}

/* ---- activations of 16 bits ---- */

enum { FINE_K = VNNI_CHUNK + 96, FINE_PADDED = (FINE_K + 63) / 64 * 64 };

/* What a product works with, and its sums as f64 of the values before they were rounded */
struct fine_case {
    size_t n, k, unit;
    float x[MOST_ROWS * FINE_K], scale[FINE_K / FINE_SMALL_UNIT * VNNI_COLS], min[FINE_K / FINE_SMALL_UNIT * VNNI_COLS];
    uint8_t rows[VNNI_COLS * FINE_K], w[FINE_PADDED * VNNI_COLS]; /* w: packed */
    int8_t bytes[2 * MOST_ROWS * FINE_K];
    struct fine_part parts[MOST_ROWS * FINE_K / FINE_SMALL_UNIT];
    float sums[(MOST_ROWS + 1) * VNNI_COLS];
};

static void fine_sums(struct fine_case *c, fine_multiply *multiply, bool has_min)
{
    multiply(&(struct fine_block){c->bytes, c->parts, c->n, c->k, c->unit, c->w, c->scale, has_min ? c->min : NULL, c->n % 2 ? c->w : NULL, c->sums});
}

/* One sum as every instruction set is to make it */
static float plain_fine(const struct fine_case *c, size_t r, size_t col, bool has_min)
{
    float sum = 0;
    for (size_t at = 0; at < c->k; at += c->unit) {
        const float *x = c->x + r * c->k + at;
        const size_t part = at / c->unit * VNNI_COLS + col;
        float largest = 0;
        int32_t t = 0, total = 0;
        for (size_t i = 0; i < c->unit; i++)
            largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        const float by = largest > 0 ? 32512 / largest : 0, scale = largest * (1.0f / 32512);
        for (size_t i = 0; i < c->unit; i++) {
            const float scaled = x[i] * by;
            const int32_t whole = (int32_t)lrintf(scaled);
            t += whole * (c->rows[col * c->k + at + i] - 128);
            total += whole;
        }
        const float product = (float)t * c->scale[part], times = scale * (float)total;
        sum = fmaf(product, scale, sum);
        sum = has_min ? fmaf(c->min[part], times, sum) : sum;
    }
    return sum;
}

static void check_fine(const struct fine_case *c, bool has_min)
{
    for (size_t r = 0; r < c->n; r++) {
        for (size_t col = 0; col < VNNI_COLS; col++) {
            double want = 0, may = 0;
            for (size_t i = 0; i < c->k; i++) {
                const size_t part = i / c->unit * VNNI_COLS + col;
                const double q = c->rows[col * c->k + i] - 128.0;
                const double w = c->scale[part] * q + (has_min ? c->min[part] : 0), step = c->parts[(r * c->k + i) / c->unit].scale;
                want += c->x[r * c->k + i] * w;
                /* half a step of x, and f32's sums of 32 products and of the parts */
                may += fabs(w) * step * 0.501 + 1e-6 * fabs(c->x[r * c->k + i]) * (fabs(c->scale[part] * q) + (has_min ? fabs(c->min[part]) : 0));
            }
            const double off = fabs(c->sums[r * VNNI_COLS + col] - want);
            assert_true(c->sums[r * VNNI_COLS + col] == plain_fine(c, r, col, has_min));
            if (!(off <= may))
                fail_msg("%zu rows of %zu in %zus: row %zu column %zu is %.9g, not %.9g: off by %g of %g", c->n, c->k, c->unit, r, col,
                         c->sums[r * VNNI_COLS + col], want, off, may);
        }
    }
}

static void fill_fine(struct fine_case *c, vnni_pack *pack, uint64_t *s, bool extreme)
{
    for (size_t i = 0; i < c->n * c->k; i++)
        c->x[i] = extreme ? (i / 7 % 2 ? -3.0f : 3.0f) : (float)((int)(unit_rand(s) % 2001) - 1000) * (i % 37 ? 0.001f : 1.0f);
    for (size_t i = 0; i < c->k * VNNI_COLS; i++)
        c->rows[i] = extreme ? (i % 3 ? 255 : 0) : (uint8_t)unit_rand(s);
    pack((const int8_t *)c->rows, c->k, (int8_t *)c->w);
    for (size_t i = 0; i < c->k / c->unit * VNNI_COLS; i++) {
        c->scale[i] = 0.001f * (float)(1 + unit_rand(s) % 100);
        c->min[i] = -0.01f * (float)(unit_rand(s) % 100);
    }
    memset(c->sums, 0x5A, sizeof c->sums);
}

/* Products of rows that are quantised alone and among others, to half a step of 16 bits and to the bit the same */
static void test_fine(void **state)
{
    static const size_t ks[] = {32, 256, VNNI_CHUNK, FINE_K};
    static float all[MOST_ROWS * VNNI_COLS];
    fine_quantise *quantise;
    vnni_pack *pack;
    fine_multiply *multiply = fine_choose(&quantise, &pack);
    uint64_t s = unit_seed();
    if (!multiply)
        skip();
    struct fine_case *c = malloc(sizeof *c);
    assert_non_null(c);
    for (size_t n = 1; n <= MOST_ROWS; n += n < 15 ? 1 : 7) {
        const bool has_min = n % 2;
        c->n = n;
        c->k = ks[n % 4];
        c->unit = n % 3 ? FINE_UNIT : FINE_SMALL_UNIT;
        fill_fine(c, pack, &s, n % 5 == 0);
        quantise(c->x, n, c->k, c->unit, c->bytes, c->parts);
        fine_sums(c, multiply, has_min);
        check_fine(c, has_min);
        for (size_t i = n * VNNI_COLS; i < (n + 1) * VNNI_COLS; i++)
            assert_int_equal(((unsigned char *)c->sums)[i * sizeof(float)], 0x5A);
        memcpy(all, c->sums, sizeof all);
        c->n = 1;
        for (size_t r = 0; r < n; r++) {
            quantise(c->x + r * c->k, 1, c->k, c->unit, c->bytes, c->parts);
            fine_sums(c, multiply, has_min);
            assert_memory_equal(c->sums, all + r * VNNI_COLS, VNNI_COLS * sizeof(float));
        }
    }
    free(c);
}

/* A value that is none makes its whole row so and no other; a part of zeros or of next to nothing is 0. */
static void test_fine_bad(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    fine_quantise *quantise;
    vnni_pack *pack;
    fine_multiply *multiply = fine_choose(&quantise, &pack);
    uint64_t s = unit_seed();
    if (!multiply)
        skip();
    struct fine_case *c = malloc(sizeof *c);
    assert_non_null(c);
    *c = (struct fine_case){.n = 3, .k = 256, .unit = FINE_UNIT};
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        fill_fine(c, pack, &s, false);
        for (size_t i = 0; i < c->k; i++)
            c->x[i] = i % 2 ? 1e-38f : 0;
        c->x[c->k + 100 + b] = bad[b];
        quantise(c->x, c->n, c->k, c->unit, c->bytes, c->parts);
        fine_sums(c, multiply, b % 2);
        for (size_t i = 0; i < VNNI_COLS; i++) {
            assert_true(c->sums[i] == 0);
            assert_true(isnan(c->sums[VNNI_COLS + i]));
            assert_true(isfinite(c->sums[2 * VNNI_COLS + i]));
        }
    }
    free(c);
}

/* ---- weights of 16 bits ---- */

enum { FLOAT_K = 3 * FLOAT_CHUNK + 9 };

struct float_case {
    size_t n, k;
    enum tensor_type type;
    float x[MOST_ROWS * FLOAT_K];
    uint16_t rows[VNNI_COLS * FLOAT_K], w[FLOAT_K * VNNI_COLS]; /* w: packed */
    float sums[(MOST_ROWS + 1) * VNNI_COLS];
};

static float value_of(enum tensor_type type, uint16_t w)
{
    return type == TENSOR_F16 ? f16_to_f32(w) : bf16_to_f32(w);
}

static void float_sums(struct float_case *c, const float *x, size_t n)
{
    memset(c->sums, 0x5A, sizeof c->sums);
    cpu_kernels_choose()->multiply_float(&(struct float_block){x, n, c->k, c->w, c->type, c->n % 2 ? c->w : NULL, c->sums});
}

static void fill_float(struct float_case *c, uint64_t *s)
{
    for (size_t i = 0; i < c->n * c->k; i++)
        c->x[i] = (float)((int)(unit_rand(s) % 2001) - 1000) * 0.001f;
    for (size_t i = 0; i < VNNI_COLS * c->k; i++) {
        const float w = (float)((int)(unit_rand(s) % 2001) - 1000) * 1e-4f;
        c->rows[i] = c->type == TENSOR_F16 ? f32_to_f16(w) : f32_to_bf16(w);
    }
    float_pack(c->type, c->rows, c->k, c->w);
}

static void check_float(const struct float_case *c)
{
    for (size_t r = 0; r < c->n; r++) {
        for (size_t col = 0; col < VNNI_COLS; col++) {
            double want = 0, size = 0;
            for (size_t i = 0; i < c->k; i++) {
                const double p = (double)c->x[r * c->k + i] * value_of(c->type, c->rows[col * c->k + i]);
                want += p;
                size += fabs(p);
            }
            const double off = fabs(c->sums[r * VNNI_COLS + col] - want);
            if (!(off <= 1e-6 * size))
                fail_msg("%zu rows of %zu: row %zu column %zu is off by %g of %g", c->n, c->k, r, col, off, 1e-6 * size);
        }
    }
}

/* Products of rows among others as of rows alone, to the bit */
static void test_floats(void **state)
{
    static const size_t ks[] = {1, FLOAT_CHUNK - 1, FLOAT_CHUNK, FLOAT_CHUNK + 1, FLOAT_K};
    static float all[MOST_ROWS * VNNI_COLS];
    uint64_t s = unit_seed();
    struct float_case *c = malloc(sizeof *c);
    assert_non_null(c);
    for (size_t n = 1; n <= MOST_ROWS; n += n < 15 ? 1 : 7) {
        c->n = n;
        c->k = ks[n % 5];
        c->type = n % 3 ? TENSOR_F16 : TENSOR_BF16;
        fill_float(c, &s);
        float_sums(c, c->x, n);
        check_float(c);
        for (size_t i = n * VNNI_COLS; i < (n + 1) * VNNI_COLS; i++)
            assert_int_equal(((unsigned char *)c->sums)[i * sizeof(float)], 0x5A);
        memcpy(all, c->sums, sizeof all);
        for (size_t r = 0; r < n; r++) {
            float_sums(c, c->x + r * c->k, 1);
            assert_memory_equal(c->sums, all + r * VNNI_COLS, VNNI_COLS * sizeof(float));
        }
    }
    free(c);
}

/* Every value of 16 bits, subnormal, infinite and none, is what it is in f32. */
static void test_float_values(void **state)
{
    static const enum tensor_type types[] = {TENSOR_F16, TENSOR_BF16};
    struct float_case *c = malloc(sizeof *c);
    assert_non_null(c);
    *c = (struct float_case){.n = 1, .k = 1, .x = {1}};
    for (uint32_t i = 0; i < 2 << 16; i += VNNI_COLS) {
        c->type = types[i >> 16];
        for (uint32_t col = 0; col < VNNI_COLS; col++)
            c->rows[col] = (uint16_t)(i + col);
        float_pack(c->type, c->rows, c->k, c->w);
        float_sums(c, c->x, 1);
        for (uint32_t col = 0; col < VNNI_COLS; col++) {
            const float want = value_of(c->type, c->rows[col]);
            assert_true(isnan(want) ? isnan(c->sums[col]) : c->sums[col] == want);
        }
    }
    free(c);
}

/* ---- a layer with products large enough to be made by column ---- */

enum { D = 1024, FFN = 1024, HEADS = 8, ROWS = 96, VOCABULARY = 50 };

struct layer {
    struct ops *o;
    uint32_t n_kv_heads;
    struct ops_mat *table, *qkv, *out, *up, *down;
    struct ops_vec *g, *head, *freq;
    struct ops_buf *x, *norm, *wide, *att, *gate, *act, *pooled, *post, *mean;
};

static struct ops_mat *matrix(struct ops *o, const struct tensor *all, uint64_t m, uint64_t k, bool table)
{
    struct ops_mat *w = NULL;
    const struct tensor t = {"w", all->type, m, k, all->data, m * tensor_row_bytes(all->type, k)}, *const parts[1] = {&t};
    assert_true(t.len_bytes <= all->len_bytes);
    assert_int_equal(table ? o->v->table_create(o, &t, &w, NULL) : o->v->mat_create(o, parts, 1, &w, NULL), 0);
    return w;
}

static struct ops_buf *buffer(struct ops *o, size_t cols)
{
    struct ops_buf *b = NULL;
    assert_int_equal(o->v->buf_create(o, ROWS, cols, &b, NULL), 0);
    return b;
}

static void layer_open(struct layer *l, const struct tensor *all, unsigned n_threads, uint32_t n_kv_heads, bool exact)
{
    const size_t wide = (HEADS + 2 * n_kv_heads) * (D / HEADS);
    float ones[D], freq[D / HEADS / 2];
    for (int i = 0; i < D; i++)
        ones[i] = 1 + 0.001f * (float)i;
    for (int i = 0; i < D / HEADS / 2; i++)
        freq[i] = powf(10000, -(float)i / (D / HEADS / 2.0f));
    memset(l, 0, sizeof *l);
    l->n_kv_heads = n_kv_heads;
    assert_int_equal(ops_cpu_create(&l->o, &(struct ops_cpu_params){.n_threads = n_threads, .max_batch_tokens = ROWS, .exact = exact}, NULL), 0);
    struct ops *o = l->o;
    l->table = matrix(o, all, VOCABULARY, D, true);
    l->qkv = matrix(o, all, wide, D, false);
    l->out = matrix(o, all, D, D, false);
    l->up = matrix(o, all, 2 * FFN, D, false);
    l->down = matrix(o, all, D, FFN, false);
    assert_int_equal(o->v->vec_create(o, ones, D, &l->g, NULL), 0);
    assert_int_equal(o->v->vec_create(o, ones, D / HEADS, &l->head, NULL), 0);
    assert_int_equal(o->v->vec_create(o, freq, D / HEADS / 2, &l->freq, NULL), 0);
    struct ops_buf **const bufs[] = {&l->x, &l->norm, &l->att, &l->pooled, &l->post, &l->mean, &l->act};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        *bufs[i] = buffer(o, D);
    l->wide = buffer(o, wide);
    l->gate = buffer(o, 2 * FFN);
}

static void layer_close(struct layer *l)
{
    struct ops *o = l->o;
    struct ops_mat **const mats[] = {&l->table, &l->qkv, &l->out, &l->up, &l->down};
    struct ops_buf **const bufs[] = {&l->x, &l->norm, &l->wide, &l->att, &l->gate, &l->act, &l->pooled, &l->post, &l->mean};
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        o->v->mat_destroy(o, mats[i]);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        o->v->buf_destroy(o, bufs[i]);
    o->v->vec_destroy(o, &l->g);
    o->v->vec_destroy(o, &l->head);
    o->v->vec_destroy(o, &l->freq);
    ops_destroy(&l->o);
}

/* Vectors of the texts first … first + n - 1, each of which has length[] tokens, 1 of them not pooled where it has more than 2. */
static void embed(struct layer *l, const uint32_t *length, uint32_t first, uint32_t n, float *out)
{
    struct ops *o = l->o;
    const struct ops_vtbl *v = o->v;
    const struct ops_attention a = {HEADS, l->n_kv_heads, D / HEADS, l->n_kv_heads < HEADS, 0.1f, 0, true};
    int32_t ids[ROWS];
    uint32_t offset[ROWS + 1] = {0}, skips[ROWS], n_pooled = 0;
    for (uint32_t i = 0; i < n; i++) {
        offset[i + 1] = offset[i] + length[first + i];
        skips[i] = length[first + i] > 2;
        n_pooled += length[first + i] - skips[i];
        for (uint32_t t = 0; t < length[first + i]; t++)
            ids[offset[i] + t] = (int32_t)((first + i) * 13 + t * 7) % VOCABULARY;
    }
    const uint32_t rows = offset[n];
    int r = v->begin(o, &(struct ops_batch){ids, rows, offset, n, skips}, NULL);
    r |= v->embed_rows(o, l->table, l->x);
    r |= v->rms_norm(o, l->x, l->g, 1e-5f, rows, l->norm);
    r |= v->matmul(o, l->norm, l->qkv, NULL, NULL, rows, l->wide);
    if (l->n_kv_heads < HEADS)
        r |= v->qk_norm(o, l->wide, l->head, l->head, 1e-5f, &a);
    r |= v->rope(o, l->wide, l->freq, &a);
    r |= v->attention(o, l->wide, &a, l->att);
    r |= v->matmul(o, l->att, l->out, NULL, l->x, rows, l->x);
    r |= v->rms_norm(o, l->x, l->g, 1e-5f, rows, l->norm);
    r |= v->matmul(o, l->norm, l->up, NULL, NULL, rows, l->gate);
    r |= v->swiglu(o, l->gate, rows, FFN, l->act);
    r |= v->matmul(o, l->act, l->down, NULL, NULL, rows, l->norm);
    r |= v->rms_norm_add(o, l->norm, l->g, 1e-5f, rows, l->x);
    r |= v->gather_pooled(o, l->x, l->pooled);
    r |= v->layer_norm(o, l->pooled, l->g, l->g, 1e-5f, n_pooled, l->post);
    r |= v->matmul(o, l->post, l->out, l->g, l->pooled, n_pooled, l->pooled);
    r |= v->mean_pool(o, l->pooled, l->mean);
    r |= v->l2_normalize(o, l->mean, n);
    assert_int_equal(r, 0);
    assert_int_equal(v->end(o, l->mean, n, out, NULL), 0);
}

/* Random weights as large as the largest matrix; every matrix is the start of them. */
static void make_weights(struct tensor *t, enum tensor_type type, uint64_t *s)
{
    const size_t n = (size_t)3 * D * D, len = 3 * D * tensor_row_bytes(type, D);
    uint8_t *data = malloc(len);
    assert_non_null(data);
    const float scale = 1.0f / 70 / sqrtf(D);
    const uint16_t few[2] = {f32_to_f16(scale / 4), f32_to_f16(scale / 4 * 7.5f)}; /* q4_K: of its scales and its minima */
    for (uint8_t *p = data; type == TENSOR_Q4_K && p < data + len; p += tensor_block_bytes(type)) {
        for (uint32_t i = 0; i < tensor_block_bytes(type); i++)
            p[i] = (uint8_t)unit_rand(s);
        memcpy(p, few, sizeof few);
    }
    for (size_t i = 0; type == TENSOR_F32 && i < n; i++)
        ((float *)data)[i] = scale * (float)((int)(unit_rand(s) % 255) - 127);
    for (size_t i = 0; (type == TENSOR_F16 || type == TENSOR_BF16) && i < n; i++) {
        const float w = scale * (float)((int)(unit_rand(s) % 255) - 127);
        ((uint16_t *)data)[i] = type == TENSOR_F16 ? f32_to_f16(w) : f32_to_bf16(w);
    }
    for (uint8_t *p = data; type == TENSOR_Q8_0 && p < data + len; p += 34) {
        const uint16_t h = f32_to_f16(scale);
        memcpy(p, &h, sizeof h);
        for (int i = 0; i < 32; i++)
            p[2 + i] = (uint8_t)unit_rand(s);
    }
    *t = (struct tensor){"w", type, 3 * D, D, data, len};
}

/* Few rows go by column with two threads and more, by heads with two unless there is but one of keys; many go by text or by row: always the same
 * vector, in int8 to the bit. */
static void test_threads(void **state)
{
    static const uint32_t length[] = {1, 2, 3, 7, 8, 16, 18, 31};
    static const unsigned threads[] = {1, 2, 3, 5, 11};
    static const struct {
        enum tensor_type type;
        uint32_t n_kv_heads;
        bool exact;
    } cases[] = {{TENSOR_Q8_0, HEADS, false}, {TENSOR_Q8_0, 2, false},  {TENSOR_Q8_0, 1, false},   {TENSOR_Q4_K, HEADS, false},
                 {TENSOR_F32, HEADS, false},  {TENSOR_Q8_0, HEADS, true}, {TENSOR_Q8_0, 2, true}, {TENSOR_Q4_K, HEADS, true},
                 {TENSOR_F16, HEADS, false},  {TENSOR_BF16, 2, false}};
    enum { N = sizeof length / sizeof *length };
    uint64_t s = unit_seed();
    static float want[N * D], all[N * D], got[D];
    for (size_t t = 0; t < sizeof cases / sizeof *cases; t++) {
        struct tensor weights;
        make_weights(&weights, cases[t].type, &s);
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            struct layer l;
            layer_open(&l, &weights, threads[i], cases[t].n_kv_heads, cases[t].exact);
            const bool by_onednn = cpu_kernels_choose() == &cpu_kernels_c && cases[t].type != TENSOR_F16 && cases[t].type != TENSOR_BF16;
            const double may = by_onednn ? 1e-6 : 0;
            embed(&l, length, 0, N, i ? all : want);
            for (uint32_t k = 0; i && k < N * D; k++)
                if (!(fabs((double)all[k] - want[k]) <= may))
                    fail_msg("%s, %u heads of keys, %u threads: text %u component %u: %.9g, one thread %.9g", tensor_type_name(cases[t].type),
                             cases[t].n_kv_heads, threads[i], k / D, k % D, all[k], want[k]);
            for (uint32_t text = 0; text < N; text++) {
                embed(&l, length, text, 1, got);
                for (uint32_t k = 0; k < D; k++)
                    if (!(fabs((double)got[k] - want[text * D + k]) <= may))
                        fail_msg("%s, %u heads of keys, %u threads: text %u alone, component %u: %.9g, among others %.9g",
                                 tensor_type_name(cases[t].type), cases[t].n_kv_heads, threads[i], text, k, got[k], want[text * D + k]);
            }
            layer_close(&l);
        }
        free((void *)(uintptr_t)weights.data);
    }
}

/* What a plan is told of a matrix is what it then takes, whichever way it is stored: short rows stay in f32. */
static void test_bytes(void **state)
{
    static const enum tensor_type types[] = {TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_0, TENSOR_F16, TENSOR_BF16, TENSOR_F32};
    static const uint64_t cols[] = {32, 224, 256, 512};
    enum { M = 128 };
    static uint8_t zeros[M * 512 * sizeof(float)];
    struct ops *o = NULL;
    assert_int_equal(ops_cpu_create(&o, &(struct ops_cpu_params){.n_threads = 1, .max_batch_tokens = ROWS}, NULL), 0);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
            if (!tensor_row_bytes(types[i], cols[c]))
                continue;
            const struct tensor t = {"w", types[i], M, cols[c], zeros, M * tensor_row_bytes(types[i], cols[c])};
            struct ops_mat *w = matrix(o, &t, M, cols[c], false);
            assert_int_equal(o->v->mat_bytes(o, &t), w->weight_bytes + M * (sizeof *w->col_scale + sizeof *w->col_bias));
            o->v->mat_destroy(o, &w);
        }
    }
    ops_destroy(&o);
}

/* test_ops_cpu [PATTERN]: those whose names it fits */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_fine), cmocka_unit_test(test_fine_bad),
                                       cmocka_unit_test(test_floats), cmocka_unit_test(test_float_values), cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_bytes)};
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
