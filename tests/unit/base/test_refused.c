#include "tests/unit.h"

#include "base/refused.h"

static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {"filter", required_argument, NULL, 'f'}, {0}};

/* What is refused of NULL-terminated arguments, with short options c, which takes a value, and d. */
static const char *refused(const char **args)
{
    char **argv = (char **)args; /* which are moved about, and not written to */
    int argc = 0, o;
    while (argv[argc])
        argc++;
    optind = 0;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:d", options, NULL)) != '?' && o != ':')
        assert_int_not_equal(o, -1);
    return refused_option(argv, options);
}

#define expect(name, ...) assert_string_equal(refused((const char *[]){"program", __VA_ARGS__, NULL}), name)

static void test_names(void **state)
{
    expect("--nonesuch", "--nonesuch");
    expect("--nonesuch", "operand", "--nonesuch", "operand");
    expect("--json=1", "--json=1", "-z");
    expect("--js=1", "--js=1");
    expect("--filter", "--json", "--filter");
    expect("-c", "--json", "-c");
    expect("-c", "-dc");
    expect("-z", "-z");
    expect("-z", "-zd");
    expect("-z", "-dzd", "operand");
    expect("-z", "--json", "-zd");
    expect("-j", "--json", "-jd");
    expect("-j", "--filter=json", "-jd");
    expect("-f", "--filter", "x", "-fd");
    expect("-f", "--filter=x", "-fd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
