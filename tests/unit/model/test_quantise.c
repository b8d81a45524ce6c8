/* Floats into blocks and back: error bounds, extremes, importance. */
#include "tests/unit.h"

#include <math.h>

#include "model/quantise.h"

enum { N = 256 * 64 };

static float normal(uint64_t *s)
{
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (float)(unit_rand(s) >> 40) * 0x1p-24f;
    return sum;
}

static void there_and_back(enum tensor_type type, const float *v, const float *importance, uint64_t n, float *back)
{
    uint8_t *packed = calloc(1, tensor_row_bytes(type, n));
    assert_non_null(packed);
    assert_int_equal(quantise_row(type, v, importance, n, packed), 0);
    tensor_unpack(type, packed, n, back);
    free(packed);
}

/* Squared error over squared values. */
static double relative(const float *v, const float *back, uint64_t n, uint64_t step)
{
    double error = 0, all = 0;
    for (uint64_t i = 0; i < n; i += step) {
        error += ((double)v[i] - back[i]) * ((double)v[i] - back[i]);
        all += (double)v[i] * v[i];
    }
    return sqrt(error / all);
}

static const struct {
    enum tensor_type type;
    double normal, tailed; /* relative error of normal values, and with one in 64 eight times as large: measured, and a little */
} types[] = {
    {TENSOR_Q8_0, 0.0065, 0.013},
    {TENSOR_Q6_K, 0.0180, 0.029},
    {TENSOR_Q5_K, 0.0350, 0.047},
    {TENSOR_Q4_K, 0.0710, 0.092},
};

static void test_error(void **state)
{
    uint64_t s = unit_seed();
    float *v = calloc(N, sizeof *v), *back = calloc(N, sizeof *back);
    assert_true(v && back);
    for (int tailed = 0; tailed < 2; tailed++) {
        for (int i = 0; i < N; i++)
            v[i] = 0.02f * normal(&s) * (tailed && unit_rand(&s) % 64 == 0 ? 8 : 1);
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            there_and_back(types[t].type, v, NULL, N, back);
            const double got = relative(v, back, N, 1), most = tailed ? types[t].tailed : types[t].normal;
            print_message("%s%s: %.5f\n", tensor_type_name(types[t].type), tailed ? ", tailed" : "", got);
            assert_true(got <= most);
        }
    }
    free(v);
    free(back);
}

/* Values that a block holds exactly, or nearly so. */
static void test_extremes(void **state)
{
    float v[256], back[256];
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const enum tensor_type type = types[t].type;
        memset(v, 0, sizeof v);
        there_and_back(type, v, NULL, 256, back);
        for (int i = 0; i < 256; i++)
            assert_true(back[i] == 0);
        v[77] = -3; /* one value alone */
        there_and_back(type, v, NULL, 256, back);
        for (int i = 0; i < 256; i++)
            assert_true(fabsf(back[i] - v[i]) <= 0.02f);
        for (float sign = -1; sign < 2; sign += 2) { /* all alike, of either sign */
            for (int i = 0; i < 256; i++)
                v[i] = sign * 0.5f;
            there_and_back(type, v, NULL, 256, back);
            for (int i = 0; i < 256; i++)
                assert_true(fabsf(back[i] - v[i]) <= 0.01f);
        }
        for (int i = 0; i < 256; i++)
            v[i] = (i & 1 ? 1 : -1) * 60000.0f;
        there_and_back(type, v, NULL, 256, back);
        for (int i = 0; i < 256; i++)
            assert_true(fabsf(back[i] - v[i]) <= 0.02f * 60000);
    }
}

static void test_refused(void **state)
{
    static const enum tensor_type all[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_K, TENSOR_Q5_K,
                                           TENSOR_Q6_K};
    float v[256] = {0};
    uint8_t out[1024];
    for (size_t t = 0; t < sizeof all / sizeof *all; t++) {
        v[200] = NAN;
        assert_int_equal(quantise_row(all[t], v, NULL, 256, out), LT_ENAN);
        v[200] = -INFINITY;
        assert_int_equal(quantise_row(all[t], v, NULL, 256, out), LT_ENAN);
        v[200] = 3e38f;
        assert_int_equal(quantise_row(all[t], v, NULL, 256, out), all[t] == TENSOR_F32 || all[t] == TENSOR_BF16 ? 0 : LT_ELIMIT);
        v[200] = 0;
    }
    assert_int_equal(quantise_row(TENSOR_Q4_0, v, NULL, 256, out), LT_EUNSUPPORTED);
}

/* Columns that count more come out closer. */
static void test_importance(void **state)
{
    uint64_t s = unit_seed();
    float *v = calloc(N, sizeof *v), *weight = calloc(N, sizeof *weight), *plain = calloc(N, sizeof *plain),
          *led = calloc(N, sizeof *led);
    assert_true(v && weight && plain && led);
    for (int i = 0; i < N; i++) {
        v[i] = normal(&s);
        weight[i] = i % 8 ? 0.05f : 8;
    }
    for (size_t t = 1; t < sizeof types / sizeof *types; t++) {
        there_and_back(types[t].type, v, NULL, N, plain);
        there_and_back(types[t].type, v, weight, N, led);
        assert_true(relative(v, led, N, 8) < 0.9 * relative(v, plain, N, 8));
    }
    free(v);
    free(weight);
    free(plain);
    free(led);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_importance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
