#include "tests/unit.h"

#include "base/port.h"

static void test_ports(void **state)
{
    static const char *const good[] = {"0", "1", "80", "65535", "http", "x-11"};
    static const char *const bad[] = {"", "-1", "65536", "99999", "+70000", " 99999", "4294967297", "18446744073709551617"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(port_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(port_valid(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ports)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
