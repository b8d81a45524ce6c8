#include "tests/unit.h"

#include "base/utf8.h"

static void test_check(void **state)
{
    assert_true(utf8_check("plain", 5) == UTF8_VALID);
    assert_true(utf8_check("", 0) == UTF8_VALID);
    assert_true(utf8_check("a\0b", 3) == UTF8_VALID);
    assert_int_equal(utf8_check("ab\xC0\x80", 4), 2);         /* overlong NUL */
    assert_int_equal(utf8_check("ab\xE0\x80\x80", 5), 2);     /* overlong */
    assert_int_equal(utf8_check("\xED\xA0\x80", 3), 0);       /* surrogate */
    assert_int_equal(utf8_check("x\xF4\x90\x80\x80", 5), 1);  /* above U+10FFFF */
    assert_int_equal(utf8_check("abc\xE4\xBD", 5), 3);        /* cut short */
    assert_int_equal(utf8_check("\x80", 1), 0);               /* lone continuation */
    assert_int_equal(utf8_check("\xF8\x88\x80\x80\x80", 5), 0);
}

/* Among ASCII, which is looked at eight bytes at a time. */
static void test_check_places(void **state)
{
    char s[40];
    for (size_t len = 1; len <= sizeof s; len++) {
        memset(s, 'a', sizeof s);
        assert_true(utf8_check(s, len) == UTF8_VALID);
        for (size_t at = 0; at < len; at++) {
            s[at] = '\xFF';
            assert_int_equal(utf8_check(s, len), at);
            s[at] = 'a';
        }
    }
}

/* Every code point encodes to valid UTF-8 that decodes to itself. */
static void test_all_code_points(void **state)
{
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        if (cp >= 0xD800 && cp < 0xE000)
            continue;
        char s[4];
        uint32_t back;
        size_t n = utf8_encode(cp, s);
        if (utf8_check(s, n) != UTF8_VALID || utf8_decode(s, n, &back) != n || back != cp)
            fail_msg("U+%04X", cp);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_check_places),
        cmocka_unit_test(test_all_code_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
