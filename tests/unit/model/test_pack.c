/* Blocks as Vulkan devices hold them: every value's bits are where lib/weights.glsl looks for them. Values are taken one by one here, from the file's
 * block and from the two planes. */
#include "tests/unit.h"

#include "model/ops_vulkan_impl.h"
#include "model/tensor_blocks.h"

enum { ROUNDS = 200, BLOCK_MOST = 256 };

/* GGUF's number of value i before scale and minimum. */
static unsigned number(enum tensor_type type, const uint8_t *p, unsigned i)
{
    const unsigned half = i / 128, run = i / 32 % 4;
    switch (type) {
    case TENSOR_Q8_0:
        return p[2 + i];
    case TENSOR_IQ4_NL:
        return (uint8_t)block_iq4_values[i < 16 ? p[2 + i] & 15 : p[2 + i - 16] >> 4];
    case TENSOR_IQ4_XS:
        return (uint8_t)block_iq4_values[p[8 + i / 32 * 16 + i % 16] >> i / 16 % 2 * 4 & 15];
    case TENSOR_Q3_K: /* 32 - 4 above GGUF's, as q6_K has it */
        return 28 + ((p[32 + i / 128 * 32 + i % 32] >> run * 2 & 3) | (p[i % 32] >> i / 32 & 1) << 2);
    case TENSOR_Q4_0:
        return i < 16 ? p[2 + i] & 15 : p[2 + i - 16] >> 4;
    case TENSOR_Q4_1:
        return i < 16 ? p[4 + i] & 15 : p[4 + i - 16] >> 4;
    case TENSOR_Q5_0:
        return (i < 16 ? p[6 + i] & 15 : p[6 + i - 16] >> 4) | (p[2 + i / 8] >> i % 8 & 1) << 4;
    case TENSOR_Q5_1:
        return (i < 16 ? p[8 + i] & 15 : p[8 + i - 16] >> 4) | (p[4 + i / 8] >> i % 8 & 1) << 4;
    case TENSOR_Q4_K:
        return p[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    case TENSOR_Q5_K:
        return (p[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) | (p[16 + i % 32] >> (i / 32) & 1) << 4;
    default: /* q6_K */
        return (p[64 * half + 32 * (run & 1) + i % 32] >> (run & 2 ? 4 : 0) & 15) | (p[128 + 32 * half + i % 32] >> 2 * run & 3) << 4;
    }
}

/* What value i's place in the words of upper bits has, of which each value has `bits`. */
static unsigned upper(const uint8_t *plane, unsigned bits, unsigned i)
{
    const unsigned nibble = i % 8 / 2 + i % 2 * 4, per_word = 32 / bits, at = 4 * nibble + i % per_word / 8 * bits;
    return plane[i / per_word * 4 + at / 8] >> at % 8 & ((1u << bits) - 1);
}

/* The same from the planes. */
static unsigned held_number(enum tensor_type type, const uint8_t *data, const uint8_t *shared, unsigned i)
{
    const unsigned at = i / 8 * 8 + i % 8 / 2 + i % 2 * 4, low = data[at / 2] >> at % 2 * 4 & 15;
    switch (type) {
    case TENSOR_Q8_0:
    case TENSOR_IQ4_NL:
    case TENSOR_IQ4_XS:
        return data[i];
    case TENSOR_Q5_0:
    case TENSOR_Q5_1:
        return low | upper(shared + 4, 1, i) << 4;
    case TENSOR_Q5_K:
        return low | upper(shared + 16, 1, i) << 4;
    case TENSOR_Q3_K:
    case TENSOR_Q6_K:
        return low | upper(shared + 20, 2, i) << 4;
    default:
        return low;
    }
}

static void every_value_keeps_its_bits(void **state)
{
    static const enum tensor_type types[] = {TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,
                                              TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS};
    uint64_t seed = unit_seed();
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const struct held *h = held_as(types[t]);
        assert_int_equal(h->block, tensor_block_len(types[t]));
        for (int round = 0; round < ROUNDS; round++) {
            uint8_t block[BLOCK_MOST], data[BLOCK_MOST + 1] = {0}, shared[BLOCK_MOST + 1] = {0};
            for (uint32_t i = 0; i < tensor_block_bytes(types[t]); i++)
                block[i] = (uint8_t)(unit_rand(&seed) >> 32);
            data[h->data] = shared[h->shared] = 0xA5;
            h->pack(block, data, shared);
            assert_int_equal(data[h->data], 0xA5);
            assert_int_equal(shared[h->shared], 0xA5);
            for (unsigned i = 0; i < h->block; i++)
                assert_int_equal(held_number(types[t], data, shared, i), number(types[t], block, i));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_value_keeps_its_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
