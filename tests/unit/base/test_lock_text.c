/* The lock's text: made and read again, and forged in each field. */
#include "tests/unit.h"

#include "base/lock_text.h"

static void made_and_read(void **state)
{
    char text[LOCK_TEXT_MAX], path[PATHS_MAX + 8];
    struct lock_text t;
    (void)state;
    size_t n = lock_text_make(text, 4711, "/run/x y/latentd.sock");
    assert_int_equal(lock_text_parse(&t, text, n), 0);
    assert_int_equal(t.pid, 4711);
    assert_string_equal(t.socket, "/run/x y/latentd.sock");
    n = lock_text_make(text, 1, NULL);
    assert_int_equal(lock_text_parse(&t, text, n), 0);
    assert_string_equal(t.socket, "");
    /* A path that no line holds is left out, one that just fits is not. */
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[PATHS_MAX] = 0;
    n = lock_text_make(text, 2147483647, path);
    assert_int_equal(lock_text_parse(&t, text, n), 0);
    assert_string_equal(t.socket, "");
    path[PATHS_MAX - 1] = 0;
    n = lock_text_make(text, 2147483647, path);
    assert_true(n < LOCK_TEXT_MAX);
    assert_int_equal(lock_text_parse(&t, text, n), 0);
    assert_int_equal(t.pid, 2147483647);
    assert_string_equal(t.socket, path);
    n = lock_text_make(text, 1, "/two\nlines");
    assert_int_equal(n, 2);
    n = lock_text_make(text, 1, "relative");
    assert_int_equal(n, 2);
}

static void forged(void **state)
{
#define TEXT(s) {s, sizeof s - 1}
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {TEXT(""), TEXT("\n"), TEXT("1"), TEXT("0\n"), TEXT("00000000000\n"), TEXT("-1\n"), TEXT(" 1\n"), TEXT("1 \n"), TEXT("12345678901\n"),
               TEXT("1x\n"), TEXT("1\n/a"), TEXT("1\na\n"), TEXT("1\n\n"), TEXT("1\n/a\nb"), TEXT("1\n/a\n\n"), TEXT("1\n/a\0b\n"), TEXT("1\0\n")};
    struct lock_text t = {.pid = 5, .socket = "/kept"};
    char text[PATHS_MAX + 16];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (lock_text_parse(&t, bad[i].text, bad[i].len) != LT_EFORMAT)
            fail_msg("'%s' (%zu) is taken", bad[i].text, i);
    memset(text, 'a', sizeof text);
    memcpy(text, "1\n/", 3);
    text[2 + PATHS_MAX] = '\n';
    assert_int_equal(lock_text_parse(&t, text, 3 + PATHS_MAX), LT_EFORMAT); /* a byte too long */
    assert_int_equal(t.pid, 5);
    assert_string_equal(t.socket, "/kept");
    text[1 + PATHS_MAX] = '\n';
    assert_int_equal(lock_text_parse(&t, text, 2 + PATHS_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(made_and_read), cmocka_unit_test(forged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
