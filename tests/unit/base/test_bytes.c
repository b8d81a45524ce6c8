#include "tests/unit.h"

#include "base/bytes.h"

static void test_round_trip(void **state)
{
    struct bytes_out o = {0};
    bytes_put_u8(&o, 7);
    bytes_put_u16(&o, 0x1234);
    bytes_put_u32(&o, 0xDEADBEEF);
    bytes_put_u64(&o, 0x0123456789ABCDEFu);
    bytes_put_f32(&o, -1.5f);
    bytes_put_f64(&o, 2.25);
    bytes_printf(&o, "%s", "ok");
    assert_false(o.bad);
    assert_int_equal(o.len, 1 + 2 + 4 + 8 + 4 + 8 + 2);
    struct bytes_in b = bytes_in(o.data, o.len);
    assert_int_equal(bytes_u8(&b), 7);
    assert_int_equal(bytes_u16(&b), 0x1234);
    assert_int_equal(bytes_u32(&b), 0xDEADBEEF);
    assert_true(bytes_u64(&b) == 0x0123456789ABCDEFu);
    assert_true(bytes_f32(&b) == -1.5f);
    assert_true(bytes_f64(&b) == 2.25);
    assert_memory_equal(bytes_take(&b, 2), "ok", 2);
    assert_false(b.bad);
    bytes_out_finish(&o);
}

static void test_short_input_stays_bad(void **state)
{
    uint8_t raw[3] = {1, 2, 3};
    struct bytes_in b = bytes_in(raw, sizeof raw);
    assert_int_equal(bytes_u32(&b), 0);
    assert_true(b.bad);
    assert_int_equal(bytes_u8(&b), 0);
    assert_null(bytes_take(&b, 1));
    assert_int_equal(bytes_left(&b), 0);
    b = bytes_in(raw, sizeof raw);
    assert_null(bytes_take(&b, SIZE_MAX));
    b = bytes_in(raw, sizeof raw);
    bytes_u8(&b);
    bytes_align(&b, 2);
    assert_int_equal(bytes_pos(&b), 2);
    bytes_align(&b, 8);
    assert_true(b.bad);
}

static void test_limit(void **state)
{
    struct bytes_out o = {.max = 4};
    bytes_put_u32(&o, 1);
    assert_false(o.bad);
    bytes_put_u8(&o, 1);
    assert_true(o.bad);
    assert_int_equal(o.len, 4);
    bytes_out_finish(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_short_input_stays_bad),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
