/* Rows that are not made until somebody reads them (model/ops_vulkan_late.c), on a device with cooperative matrices: how many dispatches a
 * layer takes, that what comes out is the plain C ops', and that rows which are no more are an error. Orders of all kinds are drawn in
 * model/conformance/check_sequence.c. */
#include "tests/unit.h"

#include <math.h>

#include "gpu/gpu.h"
#include "gpu/tuning.h"
#include "model/ops_vulkan_impl.h"
#include "model/ref/ref_ops.h"

enum { MOST = 96 };

static uint64_t seed;
static struct ops *o;

struct layer {
    struct ops_attention a;
    uint32_t d, f, qkv_cols;
    float *w_qkv, *w_out, *w_up, *w_down, *gain, *bias, *freq;
    struct ops_mat *qkv, *out, *up, *down;
    struct ops_vec *v_gain, *v_bias, *v_freq;
    struct ops_buf *x, *norm, *wide, *mix, *gate, *act;
    struct ops_room *room[2]; /* of wide and gate, of mix and act; NULL: each has memory of its own */
};

static float *floats(size_t n, float scale)
{
    float *v = malloc(n * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((double)(unit_rand(&seed) >> 11) * 0x1p-53 * 2 - 1) * scale;
    return v;
}

/* A matrix of values that f16 holds. */
static struct ops_mat *matrix(float **w, uint64_t m, uint64_t k)
{
    struct err_msg em = {0};
    struct ops_mat *mat = NULL;
    uint16_t *data = malloc(m * k * sizeof *data);
    assert_non_null(data);
    *w = floats(m * k, 2 / sqrtf((float)k));
    for (size_t i = 0; i < m * k; i++) {
        data[i] = f32_to_f16((*w)[i]);
        (*w)[i] = f16_to_f32(data[i]);
    }
    const struct tensor t = {"w", TENSOR_F16, m, k, data, m * k * sizeof *data}, *const part = &t;
    assert_int_equal(o->v->mat_create(o, &part, 1, &mat, &em), 0);
    free(data);
    return mat;
}

static struct ops_buf *buffer(size_t cols)
{
    struct err_msg em = {0};
    struct ops_buf *b = NULL;
    assert_int_equal(o->v->buf_create(o, MOST, cols, &b, &em), 0);
    return b;
}

static struct ops_buf *buffer_in(struct ops_room *room, size_t cols)
{
    struct err_msg em = {0};
    struct ops_buf *b = NULL;
    assert_int_equal(o->v->buf_create_in(o, room, MOST, cols, &b, &em), 0);
    return b;
}

static struct ops_vec *vector(const float *v, size_t n)
{
    struct err_msg em = {0};
    struct ops_vec *vec = NULL;
    assert_int_equal(o->v->vec_create(o, v, n, &vec, &em), 0);
    return vec;
}

/* Its buffers as model/activations.c has them, or each by itself. */
static void layer_init(struct layer *l, uint32_t d, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, bool rooms)
{
    struct err_msg em = {0};
    seed = 11;
    *l = (struct layer){.a = {heads, kv_heads, head_dim, true, 0.2f, 0}, .d = d, .f = d + 128,
                        .qkv_cols = (heads + 2 * kv_heads) * head_dim};
    l->qkv = matrix(&l->w_qkv, l->qkv_cols, d);
    l->out = matrix(&l->w_out, d, (uint64_t)heads * head_dim);
    l->up = matrix(&l->w_up, 2 * (uint64_t)l->f, d);
    l->down = matrix(&l->w_down, d, l->f);
    l->v_gain = vector(l->gain = floats(d, 1), d);
    l->v_bias = vector(l->bias = floats(l->qkv_cols, 1), l->qkv_cols);
    l->freq = floats(head_dim / 2, 0);
    for (uint32_t i = 0; i < head_dim / 2; i++)
        l->freq[i] = powf(10000, -2.0f * (float)i / (float)head_dim);
    l->v_freq = vector(l->freq, head_dim / 2);
    const size_t mix = (size_t)heads * head_dim, wide = l->qkv_cols > 2 * l->f ? l->qkv_cols : 2 * l->f;
    l->x = buffer(d), l->norm = buffer(d);
    if (!rooms) {
        l->wide = buffer(l->qkv_cols), l->mix = buffer(mix), l->gate = buffer(2 * l->f), l->act = buffer(l->f);
        return;
    }
    assert_int_equal(o->v->room_create(o, MOST * wide, &l->room[0], &em), 0);
    assert_int_equal(o->v->room_create(o, MOST * (mix > l->f ? mix : l->f), &l->room[1], &em), 0);
    l->wide = buffer_in(l->room[0], l->qkv_cols), l->gate = buffer_in(l->room[0], 2 * l->f);
    l->mix = buffer_in(l->room[1], mix), l->act = buffer_in(l->room[1], l->f);
}

static void layer_finish(struct layer *l)
{
    struct ops_buf **bufs[] = {&l->x, &l->norm, &l->wide, &l->mix, &l->gate, &l->act};
    struct ops_mat **mats[] = {&l->qkv, &l->out, &l->up, &l->down};
    struct ops_vec **vecs[] = {&l->v_gain, &l->v_bias, &l->v_freq};
    float *all[] = {l->w_qkv, l->w_out, l->w_up, l->w_down, l->gain, l->bias, l->freq};
    for (int i = 0; i < 6; i++)
        o->v->buf_destroy(o, bufs[i]);
    for (int i = 0; i < 2; i++)
        o->v->room_destroy(o, &l->room[i]);
    for (int i = 0; i < 4; i++)
        o->v->mat_destroy(o, mats[i]);
    for (int i = 0; i < 3; i++)
        o->v->vec_destroy(o, vecs[i]);
    for (int i = 0; i < 7; i++)
        free(all[i]);
}

static void record(const struct layer *l, uint32_t n)
{
    const struct ops_vtbl *v = o->v;
    assert_int_equal(v->rms_norm(o, l->x, l->v_gain, 1e-5f, n, l->norm), 0);
    assert_int_equal(v->matmul(o, l->norm, l->qkv, l->v_bias, NULL, n, l->wide), 0);
    assert_int_equal(v->rope(o, l->wide, l->v_freq, &l->a), 0);
    assert_int_equal(v->attention(o, l->wide, &l->a, l->mix), 0);
    assert_int_equal(v->matmul(o, l->mix, l->out, NULL, l->x, n, l->x), 0);
    assert_int_equal(v->rms_norm(o, l->x, l->v_gain, 1e-5f, n, l->norm), 0);
    assert_int_equal(v->matmul(o, l->norm, l->up, NULL, NULL, n, l->gate), 0);
    assert_int_equal(v->swiglu(o, l->gate, n, l->f, l->act), 0);
    assert_int_equal(v->matmul(o, l->act, l->down, NULL, l->x, n, l->x), 0);
}

static void reference(const struct layer *l, uint32_t n, float *x)
{
    const uint32_t offset[] = {0, n};
    float *norm = calloc(n, l->d * 4), *wide = calloc(n, l->qkv_cols * 4), *mix = calloc((size_t)n * l->a.n_heads, l->a.head_dim * 4);
    float *gate = calloc(n, 2 * l->f * 4), *act = calloc(n, l->f * 4);
    ref_rms_norm(x, l->gain, 1e-5f, n, l->d, norm);
    ref_matmul(norm, l->w_qkv, l->bias, NULL, n, l->qkv_cols, l->d, wide);
    ref_rope(wide, offset, 1, l->freq, &l->a);
    assert_true(ref_attention(wide, offset, 1, &l->a, mix));
    ref_matmul(mix, l->w_out, NULL, x, n, l->d, (size_t)l->a.n_heads * l->a.head_dim, x);
    ref_rms_norm(x, l->gain, 1e-5f, n, l->d, norm);
    ref_matmul(norm, l->w_up, NULL, NULL, n, 2 * l->f, l->d, gate);
    ref_swiglu(gate, n, l->f, act);
    ref_matmul(act, l->w_down, NULL, x, n, l->d, l->f, x);
    free(norm), free(wide), free(mix), free(gate), free(act);
}

static int32_t ids[MOST];

static void begin(uint32_t n)
{
    static const uint32_t none;
    const uint32_t offset[] = {0, n};
    struct err_msg em = {0};
    const struct ops_batch b = {ids, n, offset, 1, &none};
    assert_int_equal(o->v->begin(o, &b, &em), 0);
}

static uint64_t dispatches(void)
{
    return gpu_counts(ops_vulkan(o)->g)->dispatches;
}

/* Dispatches that lay out what a product of n rows multiplies: of x for few rows unless they are packed so, of both for many, where the device
 * has such a way. */
static unsigned layouts(uint32_t n, const struct ops_mat *w)
{
    const struct gpu *g = ops_vulkan(o)->g;
    const struct tuning_few few = tuning_few(g, n, w->rows, w->kp);
    return few.rn ? !few.placed : tuning_fragments(g, n, w->rows, w->kp).bm ? 2 : 0;
}

/* Two layers, so that a layer's beginning and its predecessor's end are among what is counted. Returns the second one's barriers. */
static uint64_t check_layers(uint32_t n, uint32_t d, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, unsigned each, bool rooms)
{
    struct layer l;
    struct err_msg em = {0};
    layer_init(&l, d, heads, kv_heads, head_dim, rooms);
    float *x = floats((size_t)n * d, 1), *got = floats((size_t)n * d, 0);
    double worst = 0, largest = 0;
    assert_int_equal(o->v->buf_write(o, l.x, x, (size_t)n * d), 0);
    begin(n);
    const uint64_t before = dispatches();
    record(&l, n);
    const uint64_t first = dispatches(), waited = gpu_counts(ops_vulkan(o)->g)->barriers;
    record(&l, n);
    const uint64_t second = dispatches(), barriers = gpu_counts(ops_vulkan(o)->g)->barriers - waited;
    assert_int_equal(o->v->end(o, l.x, n, got, &em), 0);
    reference(&l, n, x);
    reference(&l, n, x);
    for (size_t i = 0; i < (size_t)n * d; i++) {
        worst = fmax(worst, fabs((double)got[i] - x[i]));
        largest = fmax(largest, fabs((double)x[i]));
    }
    print_message("%u rows of %u, %u heads of %u: %u and %u dispatches, off by %.2g of %.2g\n", n, d, heads, head_dim, (unsigned)(first - before),
                  (unsigned)(second - first), worst, largest);
    assert_true(worst <= 8 * 0x1p-11 * largest);
    each += layouts(n, l.qkv) + layouts(n, l.out) + layouts(n, l.up) + layouts(n, l.down);
    assert_int_equal(second - first, each);
    layer_finish(&l);
    free(x), free(got);
    return barriers;
}

/* The norm with its packing, four products, attention, rope, the gate, and a packing of attention's rows: 10. Few rows' products are in parts,
 * which takes no more. Nor does sharing memory, and no dispatch waits for another because of it. */
static void a_layer_takes_ten_dispatches(void **state)
{
    static const struct {
        uint32_t n, d, heads, kv_heads, head_dim;
    } shapes[] = {{96, 512, 8, 2, 64}, {96, 512, 8, 8, 12}, {32, 512, 8, 2, 64}, {9, 512, 8, 2, 64}, {9, 2560, 8, 4, 12}, {40, 2560, 8, 4, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        uint64_t barriers[2];
        for (int rooms = 0; rooms < 2; rooms++)
            barriers[rooms] = check_layers(shapes[i].n, shapes[i].d, shapes[i].heads, shapes[i].kv_heads, shapes[i].head_dim, 10, rooms);
        print_message("%u barriers, in rooms %u\n", (unsigned)barriers[0], (unsigned)barriers[1]);
        assert_true(barriers[1] <= barriers[0]);
    }
}

/* What one product had packed another need not pack again, unless it is another by then. */
static void rows_are_packed_once(void **state)
{
    struct layer l;
    struct err_msg em = {0};
    const uint32_t n = 80;
    layer_init(&l, 512, 8, 2, 64, false);
    begin(n);
    const uint64_t at = dispatches();
    const unsigned up = layouts(n, l.up), fewer = layouts(n - 7, l.up), qkv = layouts(n, l.qkv);
    assert_int_equal(o->v->matmul(o, l.norm, l.qkv, NULL, NULL, n, l.wide), 0);
    assert_int_equal(dispatches() - at, 2 + qkv);
    assert_int_equal(o->v->matmul(o, l.norm, l.up, NULL, NULL, n, l.gate), 0);
    assert_int_equal(dispatches() - at, 3 + qkv + up);
    assert_int_equal(o->v->matmul(o, l.norm, l.up, NULL, NULL, n - 7, l.gate), 0);
    assert_int_equal(dispatches() - at, 4 + qkv + up + fewer);
    assert_int_equal(o->v->scale(o, l.norm, 2, n), 0);
    assert_int_equal(o->v->matmul(o, l.norm, l.up, NULL, NULL, n, l.gate), 0);
    assert_int_equal(dispatches() - at, 7 + qkv + 2 * up + fewer);
    assert_int_equal(o->v->rms_norm(o, l.x, l.v_gain, 1e-5f, n, l.norm), 0);
    assert_int_equal(o->v->matmul(o, l.norm, l.up, NULL, NULL, n, l.gate), 0);
    assert_int_equal(o->v->matmul(o, l.norm, l.qkv, NULL, NULL, n, l.wide), 0);
    assert_int_equal(dispatches() - at, 10 + 2 * qkv + 3 * up + fewer);
    assert_int_equal(o->v->end(o, NULL, 0, NULL, &em), 0);
    layer_finish(&l);
}

static void rows_that_are_no_more_are_an_error(void **state)
{
    struct layer l;
    struct err_msg em = {0};
    float out[512];
    const uint32_t n = 20;
    layer_init(&l, 512, 8, 2, 64, false);
    const struct ops_vtbl *v = o->v;
    float *x = floats((size_t)n * l.d, 1);
    assert_int_equal(v->buf_write(o, l.x, x, (size_t)n * l.d), 0);
    /* a norm that a product took, read before and after what it comes from is written */
    for (int late = 0; late < 2; late++) {
        begin(n);
        assert_int_equal(v->rms_norm(o, l.x, l.v_gain, 1e-5f, n, l.norm), 0);
        assert_int_equal(v->matmul(o, l.norm, l.up, NULL, NULL, n, l.gate), 0);
        if (late)
            assert_int_equal(v->scale(o, l.x, 2, n), 0);
        assert_int_equal(v->scale(o, l.norm, 2, n), late ? LT_EINVAL : 0);
        assert_int_equal(v->end(o, l.norm, 1, out, &em), late ? LT_EINVAL : 0);
    }
    ref_rms_norm(x, l.gain, 1e-5f, 1, l.d, x);
    /* the second batch was dropped: its norm is nowhere, until it is written */
    begin(n);
    assert_int_equal(v->scale(o, l.norm, 2, n), LT_EINVAL);
    begin(n);
    assert_int_equal(v->rms_norm(o, l.x, l.v_gain, 1e-5f, n, l.norm), 0);
    assert_int_equal(v->end(o, l.norm, 1, out, &em), 0);
    for (int i = 0; i < 512; i++)
        assert_true(fabsf(out[i] - x[i]) <= 1e-5f);
    /* a gate's rows and those of the product before it, behind the next product in parts */
    begin(n);
    assert_int_equal(v->matmul(o, l.norm, l.up, NULL, NULL, n, l.gate), 0);
    assert_int_equal(v->swiglu(o, l.gate, n, l.f, l.act), 0);
    assert_int_equal(v->matmul(o, l.act, l.down, NULL, NULL, n, l.x), 0);
    assert_int_equal(v->matmul(o, l.act, l.down, NULL, NULL, n, l.mix), 0);
    assert_int_equal(v->scale(o, l.act, 2, n), LT_EINVAL);
    begin(n);
    assert_int_equal(v->matmul(o, l.norm, l.up, NULL, NULL, n, l.gate), 0);
    assert_int_equal(v->swiglu(o, l.gate, n, l.f, l.act), 0);
    assert_int_equal(v->matmul(o, l.act, l.down, NULL, NULL, n, l.x), 0);
    assert_int_equal(v->scale(o, l.gate, 2, n), LT_EINVAL);
    layer_finish(&l);
    free(x);
}

/* A buffer that another one of its room was written after: an error to read, and what was late in it is not made. */
static void a_room_holds_one_buffer(void **state)
{
    struct layer l;
    struct err_msg em = {0};
    const uint32_t n = 20;
    layer_init(&l, 512, 8, 2, 64, true);
    const struct ops_vtbl *v = o->v;
    float *x = floats((size_t)n * l.d, 1), *got = floats((size_t)n * l.d, 0), *gate = floats((size_t)n * 2 * l.f, 1), value;
    assert_int_equal(v->buf_write(o, l.x, x, (size_t)n * l.d), 0);
    assert_int_equal(v->buf_write(o, l.wide, gate, 1), 0);
    assert_int_equal(v->buf_write(o, l.gate, gate, (size_t)n * 2 * l.f), 0);
    assert_int_equal(v->buf_read(o, l.wide, &value, 1), LT_EINVAL);
    assert_int_equal(v->buf_read(o, l.gate, &value, 1), 0);
    /* the gate's rows are late when mix, in their room, is written; nobody has had them, and nobody can */
    for (int lost = 0; lost < 2; lost++) {
        begin(n);
        const uint64_t at = dispatches();
        assert_int_equal(v->swiglu(o, l.gate, n, l.f, l.act), 0);
        assert_int_equal(v->scale(o, l.x, 1, n), 0);
        assert_int_equal(v->gather_pooled(o, l.x, l.mix), 0);
        assert_int_equal(dispatches() - at, 2);
        if (lost)
            assert_int_equal(v->matmul(o, l.act, l.down, NULL, NULL, n, l.norm), LT_EINVAL);
        assert_int_equal(v->end(o, l.mix, n, got, &em), lost ? LT_EINVAL : 0);
    }
    assert_memory_equal(got, x, sizeof *x * n * l.d);
    /* but what came from them, and is late as well, is made first: a sum's residual here */
    begin(n);
    assert_int_equal(v->matmul(o, l.x, l.out, NULL, l.mix, n, l.norm), 0);
    assert_int_equal(v->swiglu(o, l.gate, n, l.f, l.act), 0);
    assert_int_equal(v->matmul(o, l.act, l.down, NULL, NULL, n, l.x), 0);
    assert_int_equal(v->end(o, l.norm, n, got, &em), 0);
    float *want = floats((size_t)n * l.d, 0);
    ref_matmul(x, l.w_out, NULL, x, n, l.d, l.d, want);
    for (size_t i = 0; i < (size_t)n * l.d; i++)
        assert_true(fabsf(got[i] - want[i]) <= 0x1p-6f);
    /* no op takes two of a room */
    begin(n);
    assert_int_equal(v->swiglu(o, l.gate, n, 64, l.wide), LT_EINVAL);
    layer_finish(&l);
    free(x), free(got), free(gate), free(want);
}

static int make_device(void **state)
{
    struct err_msg em = {0};
    return ops_vulkan_create(&o, &(struct ops_vulkan_params){.path = "coop", .submit_work = 1ull << 50}, &em);
}

static int drop_device(void **state)
{
    ops_destroy(&o);
    return gpu_validation_messages() != 0;
}

int main(void)
{
    struct err_msg em = {0};
    seed = unit_seed();
    const int r = ops_vulkan_create(&o, &(struct ops_vulkan_params){.path = "coop"}, &em);
    ops_destroy(&o);
    if (r < 0) {
        print_message("%s\n", em.text);
        return r == LT_ENOTFOUND ? 77 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_layer_takes_ten_dispatches, make_device, drop_device),
        cmocka_unit_test_setup_teardown(rows_are_packed_once, make_device, drop_device),
        cmocka_unit_test_setup_teardown(rows_that_are_no_more_are_an_error, make_device, drop_device),
        cmocka_unit_test_setup_teardown(a_room_holds_one_buffer, make_device, drop_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
