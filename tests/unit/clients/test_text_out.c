/* What others wrote, on a terminal: nothing in it may act on the terminal or end the line. */
#include "tests/unit.h"

#include "clients/cli/text_out.h"

/* A literal, NULs in it and all. */
#define CHECK(literal, also, want) check(literal, sizeof literal - 1, also, want)

static void check(const char *s, size_t len, const char *also, const char *want)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    text_out(f, s, len, also);
    fclose(f);
    assert_string_equal(text, want);
    free(text);
}

static void test_text(void **state)
{
    CHECK("", "", "");
    CHECK("plain / gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80 \\ \"", "", "plain / gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80 \\ \"");
    CHECK("a\nb\tc\rd", "", "a\\nb\\tc\\x0dd");
    CHECK("\x1B[31m\x07\x7F", "", "\\x1b[31m\\x07\\x7f");
    CHECK("\xC2\x9B" "31m \xC2\xA0.", "", "\\xc2\\x9b31m \xC2\xA0."); /* C1's CSI, then a space that is harmless */
    CHECK("a\0b", "\"", "a\\x00b");
    CHECK("\xFFz\xC3", "", "\\xffz\\xc3");
    CHECK("\xC2", "", "\\xc2");
    CHECK("say \"a\\b\"", "\"\\", "say \\\"a\\\\b\\\"");
}

/* Whatever the bytes are, what comes out has none that a terminal acts on. */
static void test_every_pair(void **state)
{
    for (unsigned i = 0; i < 65536; i++) {
        char s[2] = {(char)(i >> 8), (char)i}, text[64] = "";
        FILE *f = fmemopen(text, sizeof text, "w");
        assert_non_null(f);
        text_out(f, s, 2, "");
        fclose(f);
        for (const unsigned char *p = (unsigned char *)text; *p; p++)
            assert_true(*p >= ' ' && *p != 0x7F && !(*p == 0xC2 && p[1] < 0xA0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_every_pair)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
