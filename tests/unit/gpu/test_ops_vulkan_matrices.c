/* Products on cooperative matrices where a device has none: the shaders in plain GLSL (shaders/lib/matrices.glsl), and otherwise all as on a GPU
 * whose subgroups of 32 hold what NVIDIA's hold. So matmul_few.comp, which no software driver's matrices suit, runs everywhere. What the
 * linker puts in the place of two functions of gpu/ makes the device seem so (meson.build). */
#include "tests/unit.h"

#include <math.h>

#include "gpu/tuning.h"
#include "gpu/vk.h"
#include "model/conformance/conform.h"
#include "model/ops_vulkan_impl.h"

#include "shaders/emulated_fragments_spread.spv.h"
#include "shaders/emulated_matmul_coop_bf16w.spv.h"
#include "shaders/emulated_matmul_coop_f16w.spv.h"
#include "shaders/emulated_matmul_coop_q4.spv.h"
#include "shaders/emulated_matmul_coop_q4k.spv.h"
#include "shaders/emulated_matmul_coop_q5.spv.h"
#include "shaders/emulated_matmul_coop_q5k.spv.h"
#include "shaders/emulated_matmul_coop_q6k.spv.h"
#include "shaders/emulated_matmul_coop_q8w.spv.h"
#include "shaders/emulated_matmul_few_bf16w.spv.h"
#include "shaders/emulated_matmul_few_f16w.spv.h"
#include "shaders/emulated_matmul_few_q4.spv.h"
#include "shaders/emulated_matmul_few_q4k.spv.h"
#include "shaders/emulated_matmul_few_q5.spv.h"
#include "shaders/emulated_matmul_few_q5k.spv.h"
#include "shaders/emulated_matmul_few_q6k.spv.h"
#include "shaders/emulated_matmul_few_q8w.spv.h"

#define SHARED_OF_EMULATION (4 * 2 * 4 * 16 * 16) /* bytes: two matrices of each of four subgroups, in f32 */

static const struct {
    enum gpu_kernel kernel;
    const uint32_t *spirv;
    size_t bytes;
} emulated[] = {
#define ROW(kernel, stem) {GPU_KERNEL_##kernel, emulated_##stem, sizeof emulated_##stem}
    ROW(FRAGMENTS_SPREAD, fragments_spread),
    ROW(MATMUL_COOP_F16W, matmul_coop_f16w),
    ROW(MATMUL_COOP_BF16W, matmul_coop_bf16w),
    ROW(MATMUL_COOP_Q8W, matmul_coop_q8w),
    ROW(MATMUL_COOP_Q4, matmul_coop_q4),
    ROW(MATMUL_COOP_Q5, matmul_coop_q5),
    ROW(MATMUL_COOP_Q4K, matmul_coop_q4k),
    ROW(MATMUL_COOP_Q5K, matmul_coop_q5k),
    ROW(MATMUL_COOP_Q6K, matmul_coop_q6k),
    ROW(MATMUL_FEW_F16W, matmul_few_f16w),
    ROW(MATMUL_FEW_BF16W, matmul_few_bf16w),
    ROW(MATMUL_FEW_Q8W, matmul_few_q8w),
    ROW(MATMUL_FEW_Q4, matmul_few_q4),
    ROW(MATMUL_FEW_Q5, matmul_few_q5),
    ROW(MATMUL_FEW_Q4K, matmul_few_q4k),
    ROW(MATMUL_FEW_Q5K, matmul_few_q5k),
    ROW(MATMUL_FEW_Q6K, matmul_few_q6k),
#undef ROW
};

const struct gpu_kernel_row *__real_gpu_kernel_row(enum gpu_kernel k);
const struct gpu_kernel_row *__wrap_gpu_kernel_row(enum gpu_kernel k);
int __wrap_probe_fragments(struct gpu *g, struct err_msg *em);

const struct gpu_kernel_row *__wrap_gpu_kernel_row(enum gpu_kernel k)
{
    static struct gpu_kernel_row rows[sizeof emulated / sizeof *emulated];
    const struct gpu_kernel_row *real = __real_gpu_kernel_row(k);
    for (size_t i = 0; i < sizeof emulated / sizeof *emulated; i++) {
        if (emulated[i].kernel != k)
            continue;
        rows[i] = *real;
        rows[i].spirv = emulated[i].spirv;
        rows[i].spirv_bytes = emulated[i].bytes;
        rows[i].full_subgroups = false;
        return &rows[i];
    }
    return real;
}

static bool placed; /* as if it were known what a right matrix's invocations hold */

int __wrap_probe_fragments(struct gpu *g, struct err_msg *em)
{
    (void)em;
    g->limits.coop = (struct gpu_coop){16, 16, 16, 32, false, 4, placed};
    g->limits.max_shared -= SHARED_OF_EMULATION;
    g->forced_path = TUNING_COOP; /* a software device would not take it */
    return 0;
}

static struct ops *device(const char *changes, bool knows_places)
{
    struct err_msg em = {0};
    struct ops *o = NULL;
    setenv("LATENTD_VULKAN_TUNING", changes, 1);
    placed = knows_places;
    if (ops_vulkan_create(&o, &(struct ops_vulkan_params){.max_batch_tokens = CONFORM_BATCH}, &em) < 0)
        fail_msg("%s", em.text);
    assert_int_equal(ops_vulkan(o)->g->limits.coop.sharing, 4);
    return o;
}

/* All cases of products, with numbers for which a software device compiles the shaders in bearable time. */
static void check(const char *changes)
{
    struct ops *o = device(changes, true);
    struct conform k;
    conform_init(&k, o, 3);
    k.brief = true;
    check_matmul(&k);
    print_message("%s: %u products, %u failed\n", changes, k.n_cases, k.n_failed);
    assert_true(k.n_cases > 300);
    assert_int_equal(k.n_failed, 0);
    ops_destroy(&o);
}

/* Rows late and made, packed in one form and the other, in every order. */
static void extra_products_in_any_order(void **state)
{
    struct ops *o = device("coop_sums=32", true);
    struct conform k;
    conform_init(&k, o, 3);
    k.brief = true;
    check_sequence(&k);
    print_message("%u sequences, %u failed\n", k.n_cases, k.n_failed);
    assert_true(k.n_cases > 10);
    assert_int_equal(k.n_failed, 0);
    ops_destroy(&o);
}

static void as_measured(void **state)
{
    check("coop_sums=32");
}

static void extra_wide_turns_two_ahead(void **state)
{
    check("coop_sums=32,few_eights=4,few_sets=2,groups_wanted=1,few_subgroups=1");
}

/* A product's x as its rows come, and the parts of others: norm, product, gate, product, and more products of the gate's rows, of fewer and
 * of all. */
enum { CHAIN_ROWS = 64, CHAIN_COLS = 600 };

struct chain {
    uint32_t n, d, f;
    struct ops_mat *up, *down;
    struct ops_vec *gain;
    struct ops_buf *x, *norm, *gate, *act, *less;
};

static uint64_t seed;

static float some(void)
{
    return (float)((double)(unit_rand(&seed) >> 11) * 0x1p-53 * 2 - 1);
}

static struct ops_mat *matrix(struct ops *o, uint64_t m, uint64_t k)
{
    struct err_msg em = {0};
    struct ops_mat *mat = NULL;
    uint16_t *data = malloc(m * k * sizeof *data);
    assert_non_null(data);
    for (size_t i = 0; i < m * k; i++)
        data[i] = f32_to_f16(some() / 8);
    const struct tensor t = {"w", TENSOR_F16, m, k, data, m * k * sizeof *data}, *const part = &t;
    assert_int_equal(o->v->mat_create(o, &part, 1, &mat, &em), 0);
    free(data);
    return mat;
}

static void chain_init(struct chain *c, struct ops *o, uint32_t n, uint32_t d, uint32_t f)
{
    struct err_msg em = {0};
    float values[CHAIN_ROWS * CHAIN_COLS];
    seed = 5;
    *c = (struct chain){.n = n, .d = d, .f = f, .up = matrix(o, 2 * f, d), .down = matrix(o, d, f)};
    const struct {
        struct ops_buf **b;
        uint32_t cols;
    } bufs[] = {{&c->x, d}, {&c->norm, d}, {&c->gate, 2 * f}, {&c->act, f}, {&c->less, d}};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        assert_int_equal(o->v->buf_create(o, CHAIN_ROWS, bufs[i].cols, bufs[i].b, &em), 0);
    assert_true(n <= CHAIN_ROWS && d <= CHAIN_COLS);
    for (size_t i = 0; i < n * d; i++)
        values[i] = some();
    assert_int_equal(o->v->buf_write(o, c->x, values, n * d), 0);
    for (size_t i = 0; i < d; i++)
        values[i] = some();
    assert_int_equal(o->v->vec_create(o, values, d, &c->gain, &em), 0);
}

static void chain_finish(struct chain *c, struct ops *o)
{
    struct ops_buf **bufs[] = {&c->x, &c->norm, &c->gate, &c->act, &c->less};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        o->v->buf_destroy(o, bufs[i]);
    o->v->mat_destroy(o, &c->up), o->v->mat_destroy(o, &c->down);
    o->v->vec_destroy(o, &c->gain);
}

/* What a chain leaves: its last two products' rows, and x of the last as fragments. */
struct left {
    float *x, *less;
    unsigned char *fragments;
    size_t len;
    uint64_t dispatches;
};

static void run_chain(struct left *left, const char *changes, bool knows_places, uint32_t n, uint32_t d, uint32_t f)
{
    static const uint32_t none;
    static const int32_t ids[CHAIN_ROWS];
    struct err_msg em = {0};
    struct ops *o = device(changes, knows_places);
    struct ops_vulkan *v = ops_vulkan(o);
    const uint32_t offset[] = {0, n};
    const struct ops_batch batch = {ids, n, offset, 1, &none};
    struct chain c;
    chain_init(&c, o, n, d, f);
    assert_int_equal(o->v->begin(o, &batch, &em), 0);
    const uint64_t at = gpu_counts(v->g)->dispatches;
    assert_int_equal(o->v->matmul(o, c.x, c.up, NULL, NULL, n, c.gate), 0); /* of rows that are there */
    assert_int_equal(o->v->rms_norm(o, c.x, c.gain, 1e-5f, n, c.norm), 0);
    assert_int_equal(o->v->matmul(o, c.norm, c.up, NULL, NULL, n, c.gate), 0);
    assert_int_equal(o->v->swiglu(o, c.gate, n, f, c.act), 0);
    assert_int_equal(o->v->matmul(o, c.act, c.down, NULL, c.x, n, c.x), 0);
    const struct tuning_few t = tuning_few(v->g, n, d, c.down->kp);
    assert_true(t.rn && t.placed == knows_places);
    left->len = 4 * (ops_vulkan_few_scales_at(&t, c.down->kp) + (size_t)t.rn * t.tn); /* what is behind is anything */
    assert_int_equal(o->v->matmul(o, c.act, c.down, NULL, NULL, (n + 1) / 2, c.less), 0); /* the gate's parts are gone */
    assert_int_equal(o->v->matmul(o, c.act, c.down, NULL, NULL, n, c.norm), 0);
    left->dispatches = gpu_counts(v->g)->dispatches - at;
    left->x = calloc(n, d * sizeof *left->x), left->less = calloc(n, d * sizeof *left->less), left->fragments = malloc(left->len);
    assert_true(left->x && left->less && left->fragments);
    assert_int_equal(o->v->end(o, c.x, n, left->x, &em), 0);
    assert_int_equal(gpu_download(v->g, v->fragments_x, 0, left->fragments, left->len, &em), 0);
    assert_int_equal(o->v->buf_read(o, c.less, left->less, (n + 1) / 2 * d), 0);
    chain_finish(&c, o);
    ops_destroy(&o);
    assert_int_equal(gpu_validation_messages(), 0);
}

/* finish_rows.comp's fragments are fragments.comp's, to the byte, and so is what comes of them. */
static void rows_are_laid_out_as_they_are_finished(void **state)
{
    static const struct {
        const char *changes;
        uint32_t n, d, f;
    } cases[] = {{"coop_sums=32", 1, 50, 120},   {"coop_sums=32", 16, 128, 190}, {"coop_sums=32,groups_wanted=64", 17, 508, 575},
                 {"coop_sums=32", 24, 127, 61}, {"coop_sums=64", 33, 128, 125}, {"coop_sums=32,few_eights=4,few_sets=2", 20, 256, 512},
                 {"coop_sums=32,finish_group=16", 3, 320, 700}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct left by[2];
        for (int known = 0; known < 2; known++)
            run_chain(&by[known], cases[i].changes, known, cases[i].n, cases[i].d, cases[i].f);
        assert_int_equal(by[0].len, by[1].len);
        assert_memory_equal(by[0].fragments, by[1].fragments, by[0].len);
        assert_memory_equal(by[0].x, by[1].x, cases[i].n * cases[i].d * sizeof *by[0].x);
        for (size_t j = 0; j < (cases[i].n + 1) / 2 * cases[i].d; j++)
            assert_true(fabsf(by[0].less[j] - by[1].less[j]) <= 0x1p-16f);
        print_message("%u rows, %u and %u wide: %u dispatches, %u\n", cases[i].n, cases[i].d, cases[i].f, (unsigned)by[0].dispatches,
                      (unsigned)by[1].dispatches);
        assert_int_equal(by[1].dispatches + 5, by[0].dispatches);
        for (int known = 0; known < 2; known++)
            free(by[known].x), free(by[known].less), free(by[known].fragments);
    }
}

/* With a test's name that one alone; without, all but the extra ones: sequences, and the division of the work that no device's column has today. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_are_laid_out_as_they_are_finished), cmocka_unit_test(extra_products_in_any_order),
                                       cmocka_unit_test(as_measured), cmocka_unit_test(extra_wide_turns_two_ahead)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    else
        cmocka_set_skip_filter("extra_*");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
