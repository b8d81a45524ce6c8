/* What a latentd says as it ends, whole, cut and forged. */
#include "tests/unit.h"

#include "clients/c/last_words.h"

#define AT "2026-01-31T12:00:00.123Z "

static void expect(const char *said, int code, const char *why)
{
    char text[1024];
    struct err_msg em = {""};
    strcpy(text, said);
    assert_int_equal(last_words(text, &em), code);
    assert_string_equal(em.text, why);
}

static void words(void **state)
{
    (void)state;
    expect("", LT_ECONN, "it ended without a word");
    expect("\n\n", LT_ECONN, "it ended without a word");
    expect(AT "info  daemon: latentd 0.1.0, data in /d\n" AT "error daemon: LT_EFORMAT: /m.gguf: not a GGUF file\n", LT_EFORMAT,
           "/m.gguf: not a GGUF file");
    expect(AT "error index: LT_EIO: first\n" AT "error daemon: LT_ELOCKED: /d: in use by process 5\nnoise\n", LT_ELOCKED,
           "/d: in use by process 5");
    expect("latentd: unknown option --x\nTry latentd --help.\n", LT_EINVAL, "unknown option --x");
    expect("latentd: error while loading shared libraries: libx.so", LT_EINVAL, "error while loading shared libraries: libx.so");
    expect(AT "info  daemon: half a lin", LT_ECONN, AT "info  daemon: half a lin");
    expect(AT "info  daemon: ready after 0.3 s\n" AT "info  daemon: stopped\n", 0, "");
    expect(AT "info  daemon: ready after 0.3 s\n" AT "error daemon: LT_ENOMEM: out of memory\n", LT_ENOMEM, "out of memory");
}

static void forged(void **state)
{
    (void)state;
    expect("Z error ", LT_ECONN, "Z error ");
    expect("Z error :", LT_ECONN, "Z error :");
    expect("Z error : ", LT_ECONN, "");
    expect("Z error daemon: LT_EFORMAT", LT_ECONN, "LT_EFORMAT");
    expect("Z error daemon: LT_EFORMAT: ", LT_EFORMAT, "");
    expect("Z error daemon: LT_EFORMATS: x", LT_ECONN, "LT_EFORMATS: x");
    expect("Z error daemon: LT_OK: x", LT_ECONN, "LT_OK: x");
    char text[2048];
    struct err_msg em;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(last_words(text, &em), LT_ECONN);
    assert_int_equal(strlen(em.text), sizeof em.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(words), cmocka_unit_test(forged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
