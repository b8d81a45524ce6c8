#include "tests/unit.h"

#include <math.h>

#include "model/tensor.h"
#include "model/tensor_split.h"
#include "tests/unit/model/blocks.h"

/* Every finite f16 survives the way through f32 and back. */
static void test_f16_round_trip(void **state)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = f16_to_f32((uint16_t)h);
        if (isnan(f))
            assert_true((h & 0x7C00) == 0x7C00 && (h & 0x3FF));
        else if (f32_to_f16(f) != h)
            fail_msg("%04x -> %g -> %04x", h, (double)f, f32_to_f16(f));
    }
}

/* Against the compiler's own conversion, over values between, at and beyond the representable. */
static void test_f16_rounding(void **state)
{
#ifdef __FLT16_MAX__ /* it has one */
    uint64_t s = unit_seed();
    for (int i = 0; i < 2000000; i++) {
        uint32_t u = (uint32_t)unit_rand(&s);
        float f;
        memcpy(&f, &u, sizeof f);
        if (isnan(f))
            continue;
        _Float16 want = (_Float16)f;
        uint16_t w;
        memcpy(&w, &want, sizeof w);
        if (f32_to_f16(f) != w)
            fail_msg("%a -> %04x, want %04x", (double)f, f32_to_f16(f), w);
    }
#endif
    assert_int_equal(f32_to_f16(65519.99f), 0x7BFF);
    assert_int_equal(f32_to_f16(65520.0f), 0x7C00);
}

static void test_bf16(void **state)
{
    assert_int_equal(f32_to_bf16(1.0f), 0x3F80);
    assert_int_equal(f32_to_bf16(0x1.01p0f), 0x3F80);   /* tie to even */
    assert_int_equal(f32_to_bf16(0x1.03p0f), 0x3F82);   /* tie to even, up */
    assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))));
    assert_true(bf16_to_f32(0x3F80) == 1.0f);
}

static void test_rows(void **state)
{
    assert_int_equal(tensor_row_bytes(TENSOR_Q8_0, 64), 68);
    assert_int_equal(tensor_row_bytes(TENSOR_Q8_0, 33), 0);
    assert_int_equal(tensor_row_bytes(TENSOR_F32, UINT64_MAX / 2), 0);
    uint8_t q[34] = {0x00, 0x38}; /* 0.5 */
    for (int i = 0; i < 32; i++)
        q[2 + i] = (uint8_t)(int8_t)(i - 16);
    struct tensor t = {"t", TENSOR_Q8_0, 1, 32, q, sizeof q};
    float out[32];
    tensor_row_f32(&t, 0, out);
    for (int i = 0; i < 32; i++)
        assert_true(out[i] == 0.5f * (float)(i - 16));
}

/* Every block type against the values that the format's own package gives. */
static void test_blocks(void **state)
{
    static const struct {
        enum tensor_type type;
        const uint8_t *bytes;
        size_t n_bytes;
        const float *values;
        size_t n_values;
    } all[] = {
#define BLOCKS(type, name) {type, name##_bytes, sizeof name##_bytes, name##_values, sizeof name##_values / sizeof(float)}
        BLOCKS(TENSOR_Q4_0, q4_0), BLOCKS(TENSOR_Q4_1, q4_1), BLOCKS(TENSOR_Q5_0, q5_0), BLOCKS(TENSOR_Q5_1, q5_1),
        BLOCKS(TENSOR_Q8_0, q8_0), BLOCKS(TENSOR_Q2_K, q2_k), BLOCKS(TENSOR_Q3_K, q3_k), BLOCKS(TENSOR_Q4_K, q4_k),
        BLOCKS(TENSOR_Q5_K, q5_k), BLOCKS(TENSOR_Q6_K, q6_k), BLOCKS(TENSOR_IQ4_NL, iq4_nl), BLOCKS(TENSOR_IQ4_XS, iq4_xs),
#undef BLOCKS
    };
    for (size_t t = 0; t < sizeof all / sizeof *all; t++) {
        const uint32_t len = tensor_block_len(all[t].type);
        struct tensor x = {"x", all[t].type, 1, all[t].n_values, all[t].bytes, all[t].n_bytes};
        float *out = calloc(all[t].n_values, sizeof *out);
        assert_non_null(out);
        assert_int_equal(tensor_row_bytes(all[t].type, all[t].n_values), all[t].n_bytes);
        assert_int_equal(tensor_row_bytes(all[t].type, all[t].n_values - len / 2), 0);
        assert_int_equal(all[t].n_values / len * tensor_block_bytes(all[t].type), all[t].n_bytes);
        tensor_row_f32(&x, 0, out);
        for (size_t i = 0; i < all[t].n_values; i++)
            if (!(fabsf(out[i] - all[t].values[i]) <= 1e-6f * fabsf(all[t].values[i]) + 1e-8f))
                fail_msg("%s, value %zu: %.9g, want %.9g", tensor_type_name(all[t].type), i, (double)out[i],
                         (double)all[t].values[i]);
        x.rows = 2;
        x.cols /= 2;
        tensor_row_f32(&x, 1, out); /* the second block alone */
        for (size_t i = 0; i < x.cols; i++)
            assert_true(fabsf(out[i] - all[t].values[x.cols + i]) <= 1e-6f * fabsf(out[i]) + 1e-8f);
        free(out);
    }
    for (unsigned t = 0; t < 64; t++)
        assert_true(!tensor_type_name((enum tensor_type)t) == (t >= TENSOR_N_TYPES || !tensor_block_len((enum tensor_type)t)));
}

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* A block's parts are its values, to the bit. */
static void test_split(void **state)
{
    enum { N = 512 };
    uint64_t s = unit_seed();
    for (unsigned t = 0; t < TENSOR_N_TYPES; t++) {
        const enum tensor_type type = (enum tensor_type)t;
        if (!tensor_type_name(type) || !tensor_split_unit(type)) {
            assert_true(!tensor_type_name(type) || tensor_block_len(type) == 1);
            continue;
        }
        const uint32_t block = tensor_block_bytes(type);
        uint8_t data[N * 2], q[N];
        float want[N], scale[N / 16], min[N / 16];
        for (int round = 0; round < 20; round++) {
            for (size_t i = 0; i < sizeof data; i++)
                data[i] = (uint8_t)unit_rand(&s);
            for (size_t i = 0; i < tensor_row_bytes(type, N); i += block) { /* no scale is Inf or NaN, wherever it lies */
                static const size_t scales[] = {0, 2, 80, 82, 108, 208};
                for (size_t k = 0; k < sizeof scales / sizeof *scales; k++)
                    if (scales[k] + 1 < block)
                        data[i + scales[k] + 1] &= 0xBF;
            }
            tensor_unpack(type, data, N, want);
            for (size_t unit = 16; unit <= tensor_split_unit(type); unit += 16) {
                tensor_split(type, data, N, unit, q, scale, min);
                for (size_t i = 0; i < N; i++) {
                    const float product = scale[i / unit] * (float)(q[i] - 128), got = product + min[i / unit];
                    if (bits_of(got + 0.0f) != bits_of(want[i] + 0.0f))
                        fail_msg("%s in %zus, value %zu: %.9g, want %.9g", tensor_type_name(type), unit, i, got, want[i]);
                    assert_true(tensor_split_has_min(type) || min[i / unit] == 0);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_round_trip),
        cmocka_unit_test(test_f16_rounding),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
