/* Every version of the distance kernels against double sums in plain C. The integer ones must agree exactly. */
#include "tests/unit.h"

#include <math.h>
#include <stdbool.h>

#include "base/cpu.h"
#include "index/distance.h"
#include "index/sketch.h"

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

static void check_bits(const struct distance *k, uint64_t *rng, size_t n, bool extreme)
{
    uint8_t *bits[N_CODES], *planes = malloc(planes_bytes(n)), *want_planes = malloc(planes_bytes(n));
    int8_t *q = malloc(n); /* just what is needed of each: ASan sees a step too far */
    int32_t out[N_CODES + 1];
    for (size_t j = 0; j < n; j++)
        q[j] = extreme ? -PLANES_LIMIT : (int8_t)((int)(unit_rand(rng) % (2 * PLANES_LIMIT + 1)) - PLANES_LIMIT);
    memset(planes, 0x55, planes_bytes(n));
    k->to_planes(q, n, planes);
    distance_c.to_planes(q, n, want_planes);
    assert_int_equal(memcmp(planes, want_planes, planes_bytes(n)), 0);
    for (size_t i = 0; i < N_CODES; i++) {
        bits[i] = malloc(distance_pad(n / 8));
        for (size_t j = 0; j < distance_pad(n / 8); j++) /* what lies behind the bits does not count */
            bits[i][j] = extreme ? 255 : (uint8_t)unit_rand(rng);
    }
    for (size_t count = 0; count <= N_CODES; count++) {
        out[count] = 123456;
        k->dot_bits((const uint8_t *const *)bits, count, planes, n, out);
        assert_int_equal(out[count], 123456);
        for (size_t i = 0; i < count; i++) {
            int32_t want = 0;
            for (size_t j = 0; j < n; j++)
                want += bits[i][j / 8] >> (j % 8) & 1 ? q[j] : 0;
            assert_int_equal(out[i], want);
        }
    }
    for (size_t i = 0; i < N_CODES; i++)
        free(bits[i]);
    free(q);
    free(planes);
    free(want_planes);
}

/* The integers are those of plain C, whatever the unit; sums are good to a few roundings. */
static void check_quantise(const struct distance *k, uint64_t *rng, size_t n)
{
    float *v = malloc(n * sizeof *v), *scaled = malloc((n + 1) * sizeof *scaled), largest = 0;
    int8_t *q = malloc(n + 1);
    struct quantised got;
    double sum2 = 0;
    for (size_t j = 0; j < n; j++) {
        v[j] = uniform(rng) * 3;
        largest = fmaxf(largest, fabsf(v[j]));
        sum2 += (double)v[j] * v[j];
    }
    assert_true(k->largest(v, n) == largest);
    assert_true(fabs(k->sum2(v, n) - sum2) <= 1e-12 * (1 + sum2));
    q[n] = 99;
    scaled[n] = 7;
    k->scale(v, n, 0.3, scaled);
    for (int32_t limit = 15; limit <= 127; limit += 112) {
        int64_t sum = 0, squares = 0;
        float inverse = 1.1f * (float)limit / 3; /* some lie beyond the limit */
        k->quantise(v, n, inverse, limit, q, &got);
        for (size_t j = 0; j < n; j++) {
            float x = rintf(v[j] * inverse);
            x = x > (float)limit ? (float)limit : x < -(float)limit ? -(float)limit : x;
            /* With a fused multiply-add, a value half way between two may go either way. */
            assert_true(fabsf(v[j] * inverse - (float)q[j]) <= 0.50001f || q[j] == (int8_t)x);
            assert_true(q[j] >= -limit && q[j] <= limit);
            assert_true(scaled[j] == (float)(v[j] * 0.3));
            sum += q[j];
            squares += q[j] * q[j];
        }
        assert_int_equal(got.sum, sum);
        assert_int_equal(got.sum2, squares);
    }
    assert_int_equal(q[n], 99);
    assert_true(scaled[n] == 7);
    v[n / 2] = NAN;
    assert_true(isnan(k->sum2(v, n)));
    v[n / 2] = -INFINITY;
    assert_true(isinf(k->sum2(v, n)));
    free(v);
    free(scaled);
    free(q);
}

/* The same as in C, and orthogonal: lengths and inner products stay. */
static void check_rotate(const struct distance *k, uint64_t *rng, size_t n)
{
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *c = malloc(n * sizeof *c);
    double dot = 0, dot_after = 0, size = 0;
    for (size_t j = 0; j < n; j++) {
        a[j] = c[j] = uniform(rng);
        b[j] = uniform(rng);
        dot += (double)a[j] * b[j];
        size += (double)a[j] * a[j];
    }
    k->rotate(a, n);
    k->rotate(b, n);
    distance_c.rotate(c, n);
    for (size_t j = 0; j < n; j++) {
        dot_after += (double)a[j] * b[j];
        assert_true(fabs((double)a[j] - c[j]) <= 1e-5);
    }
    assert_true(fabs(dot - dot_after) <= 1e-5 * (1 + size));
    free(a);
    free(b);
    free(c);
}

/* The estimate of an inner product has no bias and the error that it says, for vectors with a few large components too. */
static void test_sketch(void **state)
{
    enum { DIM = 200, DIMS = 256, N = 4000 };
    uint64_t rng = unit_seed();
    const struct distance *k = distance_for(cpu_features());
    static float v[DIM], y[DIM], room[DIMS], y_room[DIMS];
    static _Alignas(64) uint8_t sketch[128];
    static int8_t q[DIMS];
    uint8_t *planes = aligned_alloc(DISTANCE_PAD, planes_bytes(DIMS));
    assert_int_equal(sketch_dims(DIM), DIMS);
    assert_true(sketch_bytes(DIM) <= sizeof sketch);
    for (int spiky = 0; spiky < 2; spiky++) {
        double sum = 0, sum2 = 0;
        for (int i = 0; i < N; i++) {
            double dot = 0;
            struct sketch_query sq;
            int32_t set;
            const uint8_t *bits = sketch;
            for (int j = 0; j < DIM; j++) {
                v[j] = spiky && j % 50 ? 0 : uniform(&rng);
                y[j] = uniform(&rng);
                dot += (double)v[j] * y[j];
            }
            sketch_rotate(k, v, DIM, room);
            sketch_encode(room, DIMS, sketch);
            sketch_rotate(k, y, DIM, y_room);
            sketch_prepare(k, y_room, DIMS, q, planes, &sq);
            k->dot_bits(&bits, 1, planes, DIMS, &set);
            const struct sketch_tail *t = sketch_tail(sketch, DIMS);
            double error = (t->factor * sq.scale * (double)(2 * set - sq.sum) - dot) / (t->error * sq.norm);
            sum += error;
            sum2 += error * error;
        }
        double mean = sum / N, deviation = sqrt(sum2 / N);
        print_message("mean error %.3f, deviation %.3f of the stated one\n", mean, deviation);
        assert_true(fabs(mean) < 0.08);
        assert_true(deviation > 0.85 && deviation < 1.1);
    }
    free(planes);
    memset(room, 0, sizeof room);
    sketch_encode(room, DIMS, sketch);
    assert_true(sketch_tail(sketch, DIMS)->factor == 0 && sketch_tail(sketch, DIMS)->error == 0);
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
            check_quantise(v[i], &rng, dim);
            if (dim % 64 < 2 || dim % 13 == 0)
                check_codes(v[i], &rng, dim, dim % 3 == 0);
        }
        for (size_t dims = 64; dims <= 1408; dims += 64) {
            check_bits(v[i], &rng, dims, false);
            check_rotate(v[i], &rng, dims);
        }
        check_bits(v[i], &rng, 65536, true);
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
        float v[300], scale, norm2, most = 0;
        uint8_t code[320];
        uint32_t bits;
        double want = 0;
        for (size_t j = 0; j < n; j++) {
            v[j] = uniform(&rng) * 5;
            most = fmaxf(most, fabsf(v[j]));
        }
        distance_encode(distance_for(cpu_features()), v, n, code, &scale, &norm2);
        memcpy(&bits, &scale, sizeof bits);
        assert_int_equal(bits & 0xFFFF, 0); /* a node keeps the upper half */
        assert_true(scale >= most / 127 && scale <= most / 127 * 1.0079f);
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
    distance_encode(&distance_c, tiny, 3, code, &scale, &norm2);
    assert_true(scale == 0 && norm2 == 0 && code[0] == 128 && code[63] == 128);
}

static void test_choice(void **state)
{
    assert_string_equal(distance_for(0)->name, "c");
#if defined(__x86_64__)
    assert_string_equal(distance_for(CPU_AVX2)->name, "avx2");
    assert_string_equal(distance_for(CPU_AVX2 | CPU_AVX512)->name, "avx512");
    assert_string_equal(distance_for(CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI | CPU_AVX512_POPCNT)->name, "avx512popcnt");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_sketch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
