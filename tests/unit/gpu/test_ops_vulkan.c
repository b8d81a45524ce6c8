/* The Vulkan ops as a whole: a small layer and pooler against the plain C ops, one submission and one readback per batch,
 * neighbours that change nothing, matrices split by a small storage range. Op by op they are checked in tests/kernels. */
#include "tests/unit.h"

#include <math.h>

#include "gpu/budget.h"
#include "gpu/gpu.h"
#include "model/ops_vulkan_impl.h"
#include "model/ref/ref_ops.h"

#define VOCAB 50
#define D 64
#define HEADS 4
#define KV_HEADS 2
#define HEAD_DIM 16
#define QKV ((HEADS + 2 * KV_HEADS) * HEAD_DIM)
#define F 80
#define MAX_TOKENS 300
#define ROOMY (1ull << 50) /* work of a submission that no batch here reaches */

static uint64_t seed;

static float random_float(void)
{
    return (float)((double)(unit_rand(&seed) >> 11) * 0x1p-53 * 2 - 1);
}

static float *random_floats(size_t n, float scale)
{
    float *v = malloc(n * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = random_float() * scale;
    return v;
}

/* f32 values that f16, bf16 and q8_0 hold exactly, stored as type. */
static struct tensor as_tensor(float *v, uint64_t rows, uint64_t cols, enum tensor_type type)
{
    size_t row_len = tensor_row_bytes(type, cols), n = rows * cols;
    uint8_t *data = calloc(rows, row_len);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        v[i] = roundf(v[i] * 127) / 128;
    for (size_t i = 0; i < n; i++) {
        uint8_t *block = data + i / 32 * 34;
        uint16_t h = type == TENSOR_BF16 ? f32_to_bf16(v[i]) : f32_to_f16(v[i]);
        if (type == TENSOR_F32) {
            memcpy(data + 4 * i, &v[i], 4);
        } else if (type == TENSOR_Q8_0) {
            h = f32_to_f16(1.0f / 128);
            memcpy(block, &h, 2);
            block[2 + i % 32] = (uint8_t)(int8_t)(v[i] * 128);
        } else {
            memcpy(data + 2 * i, &h, 2);
        }
    }
    return (struct tensor){"test", type, rows, cols, data, rows * row_len};
}

/* Weights of a layer, as floats and on the device. */
struct layer {
    struct ops *o;
    float *table, *gain, *wqkv, *wup, *wdown, *freq;
    struct tensor t_table, t_qkv, t_up, t_down;
    struct ops_mat *m_table, *m_qkv, *m_up, *m_down;
    struct ops_vec *v_gain, *v_freq;
    struct ops_buf *x, *y, *qkv, *att, *up, *gate, *pooled, *out;
};

static void layer_init(struct layer *l, const struct ops_vulkan_params *p, enum tensor_type type)
{
    struct err_msg em = {0};
    *l = (struct layer){0};
    if (ops_vulkan_create(&l->o, p, &em) < 0)
        print_error("%s\n", em.text);
    assert_non_null(l->o);
    const struct ops_vtbl *v = l->o->v;
    seed = 7;
    l->table = random_floats(VOCAB * D, 1);
    l->gain = random_floats(D, 1);
    l->wqkv = random_floats(QKV * D, 0.5f);
    l->wup = random_floats(2 * F * D, 0.5f);
    l->wdown = random_floats(D * 96, 0.5f);
    l->freq = malloc(HEAD_DIM / 2 * sizeof(float));
    for (int i = 0; i < HEAD_DIM / 2; i++)
        l->freq[i] = (float)pow(10000, -2.0 * i / HEAD_DIM);
    l->t_table = as_tensor(l->table, VOCAB, D, type);
    l->t_qkv = as_tensor(l->wqkv, QKV, D, type);
    l->t_up = as_tensor(l->wup, 2 * F, D, type);
    /* F is no multiple of 32, so this one is f16 where the others are blocks */
    l->t_down = as_tensor(l->wdown, D, F, type == TENSOR_Q8_0 ? TENSOR_F16 : type);
    const struct tensor *qkv = &l->t_qkv, *up = &l->t_up, *down = &l->t_down;
    assert_int_equal(v->table_create(l->o, &l->t_table, &l->m_table, &em), 0);
    assert_int_equal(v->mat_create(l->o, &qkv, 1, &l->m_qkv, &em), 0);
    assert_int_equal(v->mat_create(l->o, &up, 1, &l->m_up, &em), 0);
    assert_int_equal(v->mat_create(l->o, &down, 1, &l->m_down, &em), 0);
    assert_int_equal(v->vec_create(l->o, l->gain, D, &l->v_gain, &em), 0);
    assert_int_equal(v->vec_create(l->o, l->freq, HEAD_DIM / 2, &l->v_freq, &em), 0);
    struct ops_buf **bufs[] = {&l->x, &l->y, &l->qkv, &l->att, &l->up, &l->gate, &l->pooled, &l->out};
    const size_t cols[] = {D, D, QKV, HEADS * HEAD_DIM, 2 * F, F, D, D};
    for (int i = 0; i < 8; i++)
        assert_int_equal(v->buf_create(l->o, MAX_TOKENS, cols[i], bufs[i], &em), 0);
}

static void layer_finish(struct layer *l)
{
    const struct ops_vtbl *v = l->o->v;
    struct ops_buf **bufs[] = {&l->x, &l->y, &l->qkv, &l->att, &l->up, &l->gate, &l->pooled, &l->out};
    struct ops_mat **mats[] = {&l->m_table, &l->m_qkv, &l->m_up, &l->m_down};
    const struct tensor *tensors[] = {&l->t_table, &l->t_qkv, &l->t_up, &l->t_down};
    float *floats[] = {l->table, l->gain, l->wqkv, l->wup, l->wdown, l->freq};
    for (int i = 0; i < 8; i++)
        v->buf_destroy(l->o, bufs[i]);
    for (int i = 0; i < 4; i++) {
        v->mat_destroy(l->o, mats[i]);
        free((void *)tensors[i]->data);
    }
    for (int i = 0; i < 6; i++)
        free(floats[i]);
    v->vec_destroy(l->o, &l->v_gain);
    v->vec_destroy(l->o, &l->v_freq);
    ops_destroy(&l->o);
    assert_int_equal(gpu_validation_messages(), 0);
}

static const struct ops_attention att = {HEADS, KV_HEADS, HEAD_DIM, false, 0.25f};

static int layer_run(struct layer *l, const struct ops_batch *b, float *out)
{
    struct ops *o = l->o;
    const struct ops_vtbl *v = o->v;
    struct err_msg em = {0};
    int r = v->begin(o, b, &em);
    if (r < 0)
        return r;
    assert_int_equal(v->embed_rows(o, l->m_table, l->x), 0);
    assert_int_equal(v->rms_norm(o, l->x, l->v_gain, 1e-5f, b->n_tokens, l->y), 0);
    assert_int_equal(v->matmul(o, l->y, l->m_qkv, NULL, NULL, b->n_tokens, l->qkv), 0);
    assert_int_equal(v->rope(o, l->qkv, l->v_freq, &att), 0);
    assert_int_equal(v->attention(o, l->qkv, &att, l->att), 0);
    assert_int_equal(v->matmul(o, l->att, l->m_up, NULL, NULL, b->n_tokens, l->up), 0);
    assert_int_equal(v->swiglu(o, l->up, b->n_tokens, F, l->gate), 0);
    assert_int_equal(v->matmul(o, l->gate, l->m_down, NULL, l->x, b->n_tokens, l->x), 0);
    assert_int_equal(v->gather_pooled(o, l->x, l->pooled), 0);
    assert_int_equal(v->mean_pool(o, l->pooled, l->out), 0);
    assert_int_equal(v->l2_normalize(o, l->out, b->n_seqs), 0);
    r = v->end(o, l->out, b->n_seqs, out, &em);
    if (r < 0)
        print_error("%s\n", em.text);
    return r;
}

static void ref_run(const struct layer *l, const struct ops_batch *b, float *out)
{
    uint32_t n = b->n_tokens, n_pooled = n;
    for (uint32_t s = 0; s < b->n_seqs; s++)
        n_pooled -= b->pool_skip[s];
    float *x = calloc(n, D * 4), *y = calloc(n, D * 4), *qkv = calloc(n, QKV * 4);
    float *a = calloc(n, HEADS * HEAD_DIM * 4), *up = calloc(n, 2 * F * 4), *gate = calloc(n, F * 4);
    float *pooled = calloc(n_pooled, D * 4);
    ref_embed_rows(b->ids, n, l->table, D, x);
    ref_rms_norm(x, l->gain, 1e-5f, n, D, y);
    ref_matmul(y, l->wqkv, NULL, NULL, n, QKV, D, qkv);
    ref_rope(qkv, b->seq_offset, b->n_seqs, l->freq, &att);
    assert_true(ref_attention(qkv, b->seq_offset, b->n_seqs, &att, a));
    ref_matmul(a, l->wup, NULL, NULL, n, 2 * F, D, up);
    ref_swiglu(up, n, F, gate);
    ref_matmul(gate, l->wdown, NULL, x, n, D, F, x);
    ref_gather_pooled(x, b->seq_offset, b->pool_skip, b->n_seqs, D, pooled);
    ref_mean_pool(pooled, b->seq_offset, b->pool_skip, b->n_seqs, D, out);
    ref_l2_normalize(out, b->n_seqs, D);
    free(x), free(y), free(qkv), free(a), free(up), free(gate), free(pooled);
}

static float max_diff(const float *a, const float *b, size_t n)
{
    float worst = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(a[i]));
        worst = fmaxf(worst, fabsf(a[i] - b[i]));
    }
    return worst;
}

/* Four texts of 1, 17, 150 and 40 tokens. */
static int32_t ids[208];
static const uint32_t offset[] = {0, 1, 18, 168, 208}, skip[] = {0, 3, 10, 39};
static const struct ops_batch batch = {ids, 208, offset, 4, skip};

static void check_type(enum tensor_type type, const struct ops_vulkan_params *p)
{
    struct layer l;
    float got[4 * D], want[4 * D], alone[D];
    layer_init(&l, p, type);
    for (size_t i = 0; i < 208; i++)
        ids[i] = (int32_t)(unit_rand(&seed) % VOCAB);
    ref_run(&l, &batch, want);
    uint64_t submits = l.o->info.n_submits, readbacks = l.o->info.n_readbacks;
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(layer_run(&l, &batch, got), 0);
        assert_int_equal(l.o->info.n_submits, submits + i);
        assert_int_equal(l.o->info.n_readbacks, readbacks + i);
    }
    float worst = max_diff(got, want, 4 * D);
    print_message("%s%s: %.2g from the reference\n", tensor_type_name(type),
                  p->words_only ? " as words" : "", (double)worst);
    assert_true(worst < 2e-6f);
    for (uint32_t s = 0; s < 4; s++) {
        uint32_t one[] = {0, offset[s + 1] - offset[s]};
        struct ops_batch b = {ids + offset[s], one[1], one, 1, &skip[s]};
        assert_int_equal(layer_run(&l, &b, alone), 0);
        assert_true(max_diff(alone, got + s * D, D) <= 1e-6f);
    }
    layer_finish(&l);
}

static void every_type_agrees_in_one_submission(void **state)
{
    const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    for (int i = 0; i < 4; i++)
        check_type(types[i], &(struct ops_vulkan_params){.submit_work = ROOMY});
}

/* The same bits from one submission, and from as many as there are work-groups in the longer side of each dispatch. */
static void many_submissions_make_the_same(void **state)
{
    static const uint64_t works[] = {ROOMY, 1000000, 100000, 1};
    uint64_t submits[4];
    float want[4 * D], got[4 * D];
    for (size_t i = 0; i < 208; i++)
        ids[i] = (int32_t)(i * 7 % VOCAB);
    for (int i = 0; i < 4; i++) {
        struct layer l;
        layer_init(&l, &(struct ops_vulkan_params){.submit_work = works[i]}, TENSOR_F32);
        const uint64_t before = l.o->info.n_submits, readbacks = l.o->info.n_readbacks;
        assert_int_equal(layer_run(&l, &batch, i ? got : want), 0);
        submits[i] = l.o->info.n_submits - before;
        assert_int_equal(l.o->info.n_readbacks, readbacks + 1);
        assert_int_equal(layer_run(&l, &batch, got), 0);
        assert_memory_equal(got, want, sizeof want);
        /* dropped while some of it is under way; the next one is whole */
        struct err_msg em;
        assert_int_equal(l.o->v->begin(l.o, &batch, &em), 0);
        for (int j = 0; j < 4; j++)
            assert_int_equal(l.o->v->matmul(l.o, l.y, l.m_qkv, NULL, NULL, batch.n_tokens, l.qkv), 0);
        assert_int_equal(layer_run(&l, &batch, got), 0);
        assert_memory_equal(got, want, sizeof want);
        layer_finish(&l);
    }
    print_message("submissions: %d, %d, %d, %d\n", (int)submits[0], (int)submits[1], (int)submits[2], (int)submits[3]);
    assert_int_equal(submits[0], 1);
    assert_true(submits[1] > 1 && submits[2] > submits[1] && submits[3] > submits[2] && submits[3] > 200);
}

/* The budget aims at its time from any start, whatever the device's speed. */
static void the_budget_follows_the_device(void **state)
{
    for (double rate = 1e-2; rate < 1e6; rate *= 10) { /* operations a nanosecond */
        struct budget b;
        budget_init(&b);
        for (int i = 0; i < 60; i++) {
            budget_learn(&b, b.work * 0.7, (uint64_t)(b.work * 0.7 / rate));
            assert_true(b.work >= BUDGET_LEAST);
        }
        const double ns = b.work / rate;
        assert_true(ns <= BUDGET_MAX_NS || b.work <= BUDGET_LEAST);
        assert_true(ns >= BUDGET_AIM_NS / 2);
        /* ten times slower all of a sudden: back within the limit at the next submissions */
        for (int i = 0; i < 3; i++)
            budget_learn(&b, b.work, (uint64_t)(b.work / rate * 10));
        assert_true(b.work / rate * 10 <= BUDGET_MAX_NS || b.work <= BUDGET_LEAST);
        /* short or empty ones say nothing */
        const double kept = b.work;
        budget_learn(&b, b.work / 100, 1000);
        budget_learn(&b, 0, 1000000000);
        assert_true(b.work == kept);
    }
}

static void words_agree_too(void **state)
{
    const enum tensor_type types[] = {TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    for (int i = 0; i < 3; i++)
        check_type(types[i], &(struct ops_vulkan_params){.words_only = true, .submit_work = ROOMY});
}

static void a_small_range_splits_matrices(void **state)
{
    /* the widest activation needs 300 x 160 x 4 = 192,000 bytes; a matrix of 33 rows does not */
    struct ops_vulkan_params p = {.fake_max_range = 200000};
    struct ops *o = NULL;
    struct err_msg em = {0};
    assert_int_equal(ops_vulkan_create(&o, &p, &em), 0);
    const struct ops_vtbl *v = o->v;
    const uint32_t m = 700, k = 128, n = 70; /* 358,400 bytes of f32 */
    float *w = random_floats((size_t)m * k, 1), *x = random_floats((size_t)n * k, 1);
    float *got = calloc(m * n, 4), *want = calloc(m * n, 4);
    struct tensor a = as_tensor(w, 500, k, TENSOR_F32), b = as_tensor(w + 500 * k, 200, k, TENSOR_F16);
    const struct tensor *parts[] = {&a, &b};
    struct ops_mat *mat = NULL;
    struct ops_buf *bx = NULL, *by = NULL, *too_big = NULL;
    assert_int_equal(v->mat_create(o, parts, 2, &mat, &em), 0);
    assert_int_equal(v->buf_create(o, n, k, &bx, &em), 0);
    assert_int_equal(v->buf_create(o, n, m, &by, &em), 0);
    assert_int_equal(v->buf_create(o, 50001, 1, &too_big, &em), LT_ELIMIT);
    assert_int_equal(v->buf_write(o, bx, x, (size_t)n * k), 0);
    static int32_t no_ids[70];
    uint32_t all[] = {0, n}, none = 0;
    struct ops_batch one = {no_ids, n, all, 1, &none};
    assert_int_equal(v->begin(o, &one, &em), 0);
    assert_int_equal(v->matmul(o, bx, mat, NULL, NULL, n, by), 0);
    assert_int_equal(v->end(o, by, n, got, &em), 0);
    ref_matmul(x, w, NULL, NULL, n, m, k, want);
    assert_true(max_diff(got, want, m * n) < 2e-5f);
    v->buf_destroy(o, &bx);
    v->buf_destroy(o, &by);
    v->mat_destroy(o, &mat);
    free((void *)a.data), free((void *)b.data), free(w), free(x), free(got), free(want);
    ops_destroy(&o);
    assert_int_equal(gpu_validation_messages(), 0);
}

static void bad_batches_are_refused_and_the_next_one_runs(void **state)
{
    struct layer l;
    struct err_msg em;
    float out[4 * D];
    layer_init(&l, &(struct ops_vulkan_params){.max_batch_tokens = 208}, TENSOR_F32);
    assert_int_equal(l.o->info.max_batch_tokens, 208);
    const uint32_t too_long[] = {0, 209}, unordered[] = {0, 5, 3, 9}, zero[3] = {0}, all[] = {9, 9, 9};
    struct ops_batch bad = {ids, 209, too_long, 1, zero};
    assert_int_equal(l.o->v->begin(l.o, &bad, &em), LT_ELIMIT);
    bad = (struct ops_batch){ids, 9, unordered, 3, zero};
    assert_int_equal(l.o->v->begin(l.o, &bad, &em), LT_EINVAL);
    bad = (struct ops_batch){ids, 9, (uint32_t[]){0, 9}, 1, all}; /* nothing left to pool */
    assert_int_equal(l.o->v->begin(l.o, &bad, &em), LT_EINVAL);
    assert_int_equal(l.o->v->end(l.o, l.out, 1, out, &em), LT_EINVAL);
    /* an op that does not fit fails the batch, also its end */
    assert_int_equal(l.o->v->begin(l.o, &batch, &em), 0);
    assert_int_equal(l.o->v->swiglu(l.o, l.up, 208, 10000, l.gate), LT_ELIMIT);
    assert_int_equal(l.o->v->end(l.o, l.out, 1, out, &em), LT_ELIMIT);
    assert_int_equal(layer_run(&l, &batch, out), 0);
    layer_finish(&l);
}

static void check_hang(uint64_t submit_work)
{
    struct ops *o = NULL;
    struct err_msg em = {0};
    struct ops_vulkan_params p = {.timeout_ms = 1, .submit_work = submit_work};
    assert_int_equal(ops_vulkan_create(&o, &p, &em), 0);
    const struct ops_vtbl *v = o->v;
    const uint32_t n = 512, m = 512;
    float *w = random_floats((size_t)m * m, 1);
    struct tensor t = as_tensor(w, m, m, TENSOR_F32);
    const struct tensor *parts = &t;
    struct ops_mat *mat = NULL;
    struct ops_buf *x = NULL, *y = NULL;
    assert_int_equal(v->mat_create(o, &parts, 1, &mat, &em), 0);
    assert_int_equal(v->buf_create(o, n, m, &x, &em), 0);
    assert_int_equal(v->buf_create(o, n, m, &y, &em), 0);
    assert_int_equal(v->buf_write(o, x, w, (size_t)n * m), 0);
    static int32_t no_ids[512];
    uint32_t all[] = {0, n}, none = 0;
    struct ops_batch one = {no_ids, n, all, 1, &none};
    assert_int_equal(v->begin(o, &one, &em), 0);
    int r = 0;
    for (int i = 0; i < 4 && r == 0; i++)
        r = v->matmul(o, x, mat, NULL, NULL, n, y);
    assert_int_equal(r, submit_work == ROOMY ? 0 : LT_EDEVICELOST);
    assert_int_equal(v->end(o, NULL, 0, NULL, &em), LT_EDEVICELOST);
    assert_int_equal(v->begin(o, &one, &em), LT_EDEVICELOST);
    v->buf_destroy(o, &x);
    v->buf_destroy(o, &y);
    v->mat_destroy(o, &mat);
    ops_destroy(&o);
    free((void *)t.data), free(w);
    assert_int_equal(gpu_validation_messages(), 0);
}

static void a_hung_device_counts_as_lost(void **state)
{
    check_hang(ROOMY);
    check_hang(100000000); /* noticed while the batch is being recorded */
}

/* On the device a matrix takes what it takes in the file, or 2 % more, and that is what the engine reckons with: NV-Embed's 7.85e9 weights fit
 * 9 GB at 8 bits and 5 GB at 4. Types that have another's form take what that takes. */
static void weights_keep_their_size(void **state)
{
    enum { ROWS = 256, COLS = 4096 };
    static const enum tensor_type types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0,
                                             TENSOR_Q5_1, TENSOR_Q8_0, TENSOR_Q2_K, TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K,
                                             TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS};
    struct ops *o = NULL;
    struct err_msg em = {0};
    uint8_t *zeros = calloc(ROWS * COLS, 4);
    assert_non_null(zeros);
    assert_int_equal(ops_vulkan_create(&o, &(struct ops_vulkan_params){0}, &em), 0);
    const struct gpu_counts *counts = gpu_counts(ops_vulkan(o)->g);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const size_t row = tensor_row_bytes(types[i], COLS);
        const struct tensor t = {"w", types[i], ROWS, COLS, zeros, ROWS * row}, *part = &t;
        const uint64_t bytes = o->v->mat_bytes(o, &t);
        const bool minimum = types[i] == TENSOR_Q4_0 || types[i] == TENSOR_Q5_0; /* each block gets one, as the kernels' other blocks have */
        struct ops_mat *w[2] = {0};
        const enum tensor_type form = types[i] == TENSOR_Q3_K                                                                    ? TENSOR_Q6_K
                                      : types[i] == TENSOR_Q2_K || types[i] == TENSOR_IQ4_NL || types[i] == TENSOR_IQ4_XS ? TENSOR_Q8_0
                                                                                                                                  : types[i];
        const uint64_t of_form = ROWS * tensor_row_bytes(form, COLS);
        assert_true(bytes >= of_form && bytes <= of_form + of_form / 50 + minimum * ROWS * COLS / 32 * 2);
        assert_int_equal(o->v->mat_create(o, &part, 1, &w[0], &em), 0); /* whatever an upload takes stays */
        const uint64_t before = counts->memory_bytes;
        assert_int_equal(o->v->mat_create(o, &part, 1, &w[1], &em), 0);
        assert_true(counts->memory_bytes - before >= bytes && counts->memory_bytes - before <= bytes + 8192);
        o->v->mat_destroy(o, &w[0]);
        o->v->mat_destroy(o, &w[1]);
    }
    ops_destroy(&o);
    free(zeros);
    assert_int_equal(gpu_validation_messages(), 0);
}

/* Buffers of a room take its memory once, and hold what was last written to one of them. */
static void a_room_is_shared(void **state)
{
    struct layer l;
    struct ops_room *room = NULL;
    struct ops_buf *b[2] = {0}, *too_big = NULL;
    struct err_msg em = {0};
    const uint32_t n = 33, rows[] = {0, n}, none = 0;
    int32_t zeros[33] = {0};
    float x[33 * D], got[33 * D];
    layer_init(&l, &(struct ops_vulkan_params){0}, TENSOR_F32);
    const struct ops_vtbl *v = l.o->v;
    const struct gpu_counts *counts = gpu_counts(ops_vulkan(l.o)->g);
    const uint64_t before = counts->memory_bytes;
    assert_true(l.o->info.rooms);
    assert_int_equal(v->room_create(l.o, n * QKV, &room, &em), 0);
    assert_int_equal(v->buf_create_in(l.o, room, n, QKV, &b[0], &em), 0);
    assert_int_equal(v->buf_create_in(l.o, room, n, D, &b[1], &em), 0);
    assert_int_equal(v->buf_create_in(l.o, room, n + 1, QKV, &too_big, &em), LT_ELIMIT);
    assert_true(counts->memory_bytes - before >= 4 * n * QKV && counts->memory_bytes - before < 4 * n * (QKV + D));
    for (uint32_t i = 0; i < n * D; i++)
        x[i] = random_float();
    assert_int_equal(v->buf_write(l.o, l.x, x, n * D), 0);
    const struct ops_batch one = {zeros, n, rows, 1, &none};
    assert_int_equal(v->begin(l.o, &one, &em), 0);
    assert_int_equal(v->scale(l.o, b[1], 2, n), LT_EINVAL); /* nothing was ever written */
    assert_int_equal(v->begin(l.o, &one, &em), 0);
    assert_int_equal(v->matmul(l.o, l.x, l.m_qkv, NULL, NULL, n, b[0]), 0);
    assert_int_equal(v->geglu(l.o, b[0], n, D, b[1]), LT_EINVAL); /* in one room */
    assert_int_equal(v->begin(l.o, &one, &em), 0);
    assert_int_equal(v->matmul(l.o, l.x, l.m_qkv, NULL, NULL, n, b[0]), 0);
    assert_int_equal(v->gather_pooled(l.o, l.x, b[1]), 0);
    assert_int_equal(v->end(l.o, b[1], n, got, &em), 0);
    assert_memory_equal(got, x, sizeof x);
    assert_int_equal(v->buf_read(l.o, b[0], got, 1), LT_EINVAL);
    assert_int_equal(v->begin(l.o, &one, &em), 0);
    assert_int_equal(v->scale(l.o, b[0], 2, n), LT_EINVAL);
    for (int i = 0; i < 2; i++)
        v->buf_destroy(l.o, &b[i]);
    v->room_destroy(l.o, &room);
    assert_true(counts->memory_bytes <= before + sizeof got); /* what was read back passed through a buffer of its own */
    layer_finish(&l);
    assert_int_equal(gpu_validation_messages(), 0);
}

/* What is said to be needed beside buffers is no less than what a batch takes, and is given back when batches are to be smaller. */
static void scratch_is_what_was_said(void **state)
{
    struct layer l;
    struct err_msg em = {0};
    const struct ops_use large = {.rows = MAX_TOKENS, .texts = 1, .longest = MAX_TOKENS, .product_cols = D, .product_rows = QKV,
                                  .n_kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .n_freqs = 1, .out_cols = D};
    const uint32_t none = 0;
    int32_t zeros[MAX_TOKENS] = {0};
    float *got = calloc(MAX_TOKENS, D * sizeof *got);
    assert_non_null(got);
    layer_init(&l, &(struct ops_vulkan_params){0}, TENSOR_Q8_0);
    const struct ops_vtbl *v = l.o->v;
    const struct gpu_counts *counts = gpu_counts(ops_vulkan(l.o)->g);
    const struct ops_attention a = {HEADS, KV_HEADS, HEAD_DIM, true, 0.25f, 0, true};
    const uint64_t before = counts->memory_bytes;
    for (uint32_t n = MAX_TOKENS; n; n = n == 1 ? 0 : 1) {
        struct ops_use u = large;
        u.rows = u.longest = n;
        v->expect(l.o, &u);
        const struct ops_batch one = {zeros, n, (uint32_t[]){0, n}, 1, &none};
        assert_int_equal(v->begin(l.o, &one, &em), 0);
        assert_int_equal(v->embed_rows(l.o, l.m_table, l.x), 0);
        assert_int_equal(v->matmul(l.o, l.x, l.m_qkv, NULL, NULL, n, l.qkv), 0);
        assert_int_equal(v->rope(l.o, l.qkv, l.v_freq, &a), 0);
        assert_int_equal(v->attention(l.o, l.qkv, &a, l.att), 0);
        assert_int_equal(v->end(l.o, l.x, 1, got, &em), 0);
        const uint64_t taken = counts->memory_bytes - before;
        print_message("%u rows: %llu bytes, %llu at most\n", n, (unsigned long long)taken, (unsigned long long)v->scratch_bytes(l.o, &u));
        assert_true(taken <= v->scratch_bytes(l.o, &u));
    }
    free(got);
    layer_finish(&l);
}

int main(void)
{
    seed = unit_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_agrees_in_one_submission),
        cmocka_unit_test(words_agree_too),
        cmocka_unit_test(many_submissions_make_the_same),
        cmocka_unit_test(the_budget_follows_the_device),
        cmocka_unit_test(a_small_range_splits_matrices),
        cmocka_unit_test(a_room_is_shared),
        cmocka_unit_test(scratch_is_what_was_said),
        cmocka_unit_test(a_hung_device_counts_as_lost),
        cmocka_unit_test(weights_keep_their_size),
        cmocka_unit_test(bad_batches_are_refused_and_the_next_one_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
