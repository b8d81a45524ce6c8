#include "tests/unit.h"

#include <errno.h>

#include "base/err.h"
#include "base/utf8.h"

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

/* What a message begins with, a path say, may be long; why is behind it. */
static void test_long_message(void **state)
{
    struct err_msg em = {{0}};
    char path[9000];
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = 0;
    memcpy(path, "/first", 6);
    for (int len = 440; len < 500; len++) {
        err_set(&em, LT_EIO, "%.*s: why it is", len, path);
        assert_memory_equal(em.text, "/first", 6);
        assert_string_equal(em.text + strlen(em.text) - 8, "hy it is");
        assert_true((strstr(em.text, "…") != NULL) == (len + strlen(": why it is") >= sizeof em.text));
    }
    /* No character is cut in two, wherever the cuts fall. */
    for (int shift = 0; shift < 8; shift++) {
        char text[2400] = "abcdefgh";
        size_t n = (size_t)shift;
        for (; n + 4 < sizeof text - 1; n += 4)
            memcpy(text + n, n % 8 < 4 ? "\xf0\x9f\x9a\x82" : "d\xc3\xa9t", 4);
        text[n] = 0;
        err_set(&em, LT_EIO, "%s: why", text);
        assert_true(utf8_check(em.text, strlen(em.text)) == UTF8_VALID);
        assert_string_equal(em.text + strlen(em.text) - 5, ": why");
    }
    /* Longer than anything that is kept: the beginning, and that it goes on. */
    err_set(&em, LT_EIO, "%s%s", path, path);
    assert_memory_equal(em.text, "/first", 6);
    assert_non_null(strstr(em.text, "…"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_set), cmocka_unit_test(test_long_message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
