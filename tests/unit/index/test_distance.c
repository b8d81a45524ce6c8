/* Every version of the distance kernels against double sums in plain C. The integer ones must agree exactly. */
#include "tests/unit.h"

#include <math.h>

#include "base/cpu.h"
#include "index/distance.h"

#define DIM_MAX 700
#define N_CODES 11

static float uniform(uint64_t *rng)
{
    return (float)((double)(unit_rand(rng) >> 11) * 0x1p-53 * 2 - 1);
}

static void check_codes(const struct distance *k, uint64_t *rng, size_t n, int extreme)
{
    static _Alignas(64) uint8_t codes[N_CODES][DIM_MAX + 64];
    static _Alignas(64) int8_t q[DIM_MAX + 128];
    const uint8_t *ptr[N_CODES];
    size_t pad = distance_pad(n);
    int32_t out[N_CODES + 1], bias;
    uint8_t as_code[DIM_MAX + 64];
    for (size_t j = 0; j < pad; j++)
        as_code[j] = j >= n ? 128 : extreme ? 255 : (uint8_t)(1 + unit_rand(rng) % 255);
    for (size_t i = 0; i < N_CODES; i++) {
        ptr[i] = codes[i];
        for (size_t j = 0; j < pad; j++)
            codes[i][j] = j >= n ? 128 : extreme ? (i & 1 ? 1 : 255) : (uint8_t)(1 + unit_rand(rng) % 255);
    }
    q[pad] = 77;
    bias = k->code_to_query(as_code, pad, q);
    assert_int_equal(q[pad], 77);
    int64_t sum = 0;
    for (size_t j = 0; j < pad; j++) {
        assert_int_equal(q[j], (int)as_code[j] - 128);
        sum += q[j];
    }
    assert_int_equal(bias, 128 * sum);
    for (size_t count = 0; count <= N_CODES; count++) {
        out[count] = 123456;
        k->dot_codes(ptr, count, q, bias, pad, out);
        assert_int_equal(out[count], 123456);
        for (size_t i = 0; i < count; i++) {
            int64_t want = 0;
            for (size_t j = 0; j < pad; j++)
                want += ((int)codes[i][j] - 128) * q[j];
            assert_int_equal(out[i], want);
        }
    }
}

static void check_f32(const struct distance *k, uint64_t *rng, size_t n)
{
    float *a = malloc((n + 1) * sizeof *a), *b = malloc((n + 1) * sizeof *b); /* ASan sees a step too far */
    double dot = 0, l2 = 0, size = 0;
    for (size_t j = 0; j < n; j++) {
        a[j] = uniform(rng);
        b[j] = uniform(rng);
        dot += (double)a[j] * b[j];
        l2 += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
        size += fabs((double)a[j] * b[j]);
    }
    a[n] = b[n] = NAN;
    assert_true(fabs(k->dot_f32(a, b, n) - dot) <= 1e-6 * (1 + size));
    assert_true(fabs(k->l2_f32(a, b, n) - l2) <= 1e-6 * (1 + l2));
    free(a);
    free(b);
}

static void test_versions(void **state)
{
    uint64_t rng = unit_seed();
    const struct distance *v[DISTANCE_VERSIONS_MAX];
    size_t n = distance_versions(cpu_features(), v);
    for (size_t i = 0; i < n; i++) {
        print_message("%s\n", v[i]->name);
        for (size_t dim = 1; dim <= DIM_MAX; dim++) {
            check_f32(v[i], &rng, dim);
            if (dim % 64 < 2 || dim % 13 == 0)
                check_codes(v[i], &rng, dim, dim % 3 == 0);
        }
    }
}

/* The largest sums there can be: no overflow at the largest dimension. */
static void test_largest(void **state)
{
    const struct distance *v[DISTANCE_VERSIONS_MAX];
    size_t n = distance_versions(cpu_features(), v), dim = 65536;
    uint8_t *code = aligned_alloc(64, dim);
    int8_t *q = aligned_alloc(64, dim);
    for (int sign = 0; sign < 2; sign++) {
        for (size_t i = 0; i < n; i++) {
            const uint8_t *ptr = code;
            int32_t out;
            memset(code, 255, dim);
            int32_t bias = v[i]->code_to_query(code, dim, q);
            memset(code, sign ? 1 : 255, dim);
            v[i]->dot_codes(&ptr, 1, q, bias, dim, &out);
            assert_int_equal(out, (sign ? -1 : 1) * 127 * 127 * (int)dim);
        }
    }
    free(code);
    free(q);
}

static void test_encode(void **state)
{
    uint64_t rng = unit_seed();
    for (size_t n = 1; n < 300; n += 7) {
        float v[300], scale, norm2;
        uint8_t code[320];
        double want = 0;
        for (size_t j = 0; j < n; j++)
            v[j] = uniform(&rng) * 5;
        distance_encode(v, n, code, &scale, &norm2);
        for (size_t j = 0; j < distance_pad(n); j++) {
            double x = ((int)code[j] - 128) * (double)scale;
            assert_true(fabs(x - (j < n ? v[j] : 0)) <= 0.5001 * scale);
            assert_true(code[j] != 0);
            want += x * x;
        }
        assert_true(fabs(want - norm2) <= 1e-5 * (1 + want));
    }
    const float tiny[3] = {1e-44f, 0, -1e-44f};
    float scale, norm2;
    uint8_t code[64];
    distance_encode(tiny, 3, code, &scale, &norm2);
    assert_true(scale == 0 && norm2 == 0 && code[0] == 128 && code[63] == 128);
}

static void test_choice(void **state)
{
    assert_string_equal(distance_for(0)->name, "c");
#if defined(__x86_64__)
    assert_string_equal(distance_for(CPU_AVX2)->name, "avx2");
    assert_string_equal(distance_for(CPU_AVX2 | CPU_AVX512)->name, "avx512");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
