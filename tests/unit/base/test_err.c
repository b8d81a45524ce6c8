#include "tests/unit.h"

#include <errno.h>

#include "base/err.h"

static void test_names(void **state)
{
    assert_string_equal(err_name(LT_ENOTFOUND), "LT_ENOTFOUND");
    assert_string_equal(err_name(0), "LT_OK");
    assert_string_equal(err_name(-9999), "LT_E?");
    assert_string_equal(err_text(-9999), "unknown error");
    assert_true(err_retryable(LT_EBUSY));
    assert_false(err_retryable(LT_EFORMAT));
    assert_int_equal(err_from_errno(ENOSPC), LT_ENOSPC);
}

static void test_set(void **state)
{
    struct err_msg em = {{0}};
    assert_int_equal(err_set(&em, LT_EDIM, "got %d", 3), LT_EDIM);
    assert_string_equal(em.text, "got 3");
    assert_int_equal(err_set(NULL, LT_EDIM, "x"), LT_EDIM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_set)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
