#include "tests/unit.h"

#include "index/filter.h"

static const char meta[] = "{ \"lang\": \"de\", \"year\" : 2019, \"price\":-12.50e1, \"ok\":true, \"no\":false,"
                           "\"none\":null, \"tags\":[\"a\",\"b c\",7], \"deep\":{\"er\":{\"x\":5}},"
                           "\"list\":[{\"k\":1},{\"k\":2}], \"q\\\"uote\":\"it's \\u00e4\\ud83d\\ude00\\n\","
                           "\"big\":9007199254740993, \"a.b\":1, \"and\":3, \"empty\":[] }";

static bool match(const char *expr, const char *metadata)
{
    struct filter *f = NULL;
    struct err_msg em = {""};
    int r = filter_parse(&f, expr, strlen(expr), &em);
    if (r < 0)
        fail_msg("%s: %s", expr, em.text);
    bool b = filter_match(f, metadata, strlen(metadata));
    filter_destroy(&f);
    return b;
}

static void test_true(void **state)
{
    static const char *const exprs[] = {
        "lang = 'de'", "lang=\"de\"", "lang == 'de'", "LANG exists or lang exists", "year>=2019", "year < 2019.5",
        "price = -125", "price < -1e2", "ok", "ok = true", "not no", "!no", "no = false", "none = null",
        "exists none", "none exists", "tags = 'a'", "tags = 'b c'", "tags = 7", "tags in ('x', 7)",
        "tags not in ('x', 'y')", "not tags in ('x')", "deep.er.x = 5", "list.k = 2", "deep exists",
        "big = 9007199254740993", "big != 9007199254740992", "`a.b` = 1", "`and` = 3", "`q\"uote` = 'it''s ä😀\n'",
        "missing != 3", "not missing exists", "not missing", "lang <> 'fr'", "lang in ['fr', 'de']",
        "lang = 'de' and year = 2019 or missing", "missing or lang = 'de' and ok",
        "(lang = 'fr' or ok) and not (no or none = 1)", "lang > 'da' and lang < 'df'", "not not ok",
        "ok && !(no || missing)", "lang != 5", "exists empty",
        "lang startswith 'd'", "lang STARTSWITH 'de'", "lang startswith ''", "tags startswith 'b '", "tags not startswith 'x'",
        "`q\"uote` startswith 'it''s ä😀'", "not missing startswith ''",
    };
    for (size_t i = 0; i < sizeof exprs / sizeof *exprs; i++)
        if (!match(exprs[i], meta))
            fail_msg("should match: %s", exprs[i]);
}

/* A number that was written with other digits on its way here is the same one: 17 of them, as JSON libraries do, or the shortest. */
static void test_decimals(void **state)
{
    static const char *const written[] = {"19.99", "0.1", "4.35", "-2.675", "1e-3", "123456789.123456789", "5e-324", "0.30000000000000004"};
    static const char *const ops[] = {"=", ">=", "<=", "<", ">", "!="};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        char metadata[100], expr[100];
        snprintf(metadata, sizeof metadata, "{\"n\":%.17g}", strtod(written[i], NULL));
        for (int op = 0; op < 12; op++) {
            if (op == 6)
                snprintf(metadata, sizeof metadata, "{\"n\":%s}", written[i]);
            snprintf(expr, sizeof expr, "n %s %s", ops[op % 6], written[i]);
            if (match(expr, metadata) != (op % 6 < 3))
                fail_msg("%s of %s", expr, metadata);
        }
    }
    assert_true(match("n > 19.989999999999995", "{\"n\":19.99}")); /* the double before it */
    /* With all its digits, as some programs print it: the exponent counts, and so does every digit before the point. */
    assert_true(match("n = 1.25e-5", "{\"n\":1.2500000000000000000000000000000000000000000000000000000000000000000000e-5}"));
    assert_true(match("n > 1e69 and n < 1e71", "{\"n\":10000000000000000000000000000000000000000000000000000000000000000000000.0}"));
    assert_true(match("n < 10000000000000000000000000000000000000000000000000000000000000000000000 and n > -1", "{\"n\":1e65}"));
    assert_true(match("n = 20", "{\"n\":20.0}"));
    assert_true(match("n = 2e1", "{\"n\":20}"));
    assert_true(match("n < 9223372036854775807", "{\"n\":9223372036854775806}"));
}

static void test_false(void **state)
{
    static const char *const exprs[] = {
        "lang = 'fr'", "lang = 'd'", "lang = 'deu'", "year > 2019", "year = '2019'", "lang < 5", "lang > 5", "no",
        "none", "none = false", "tags = 'c'", "deep.er = 5", "deep.er.y = 5", "deep.x.y.z exists", "list.k = 3",
        "big = 9007199254740992", "missing = null", "missing", "missing in (null, 1)", "a.b = 1", "empty = 1",
        "ok and no", "not (ok or no)", "lang not in ('de')", "LANG = 'de'", "deep = 1", "tags.x = 1",
        "lang startswith 'deu'", "lang startswith 'e'", "lang not startswith 'd'", "year startswith '20'",
        "missing startswith ''", "ok startswith 't'", "deep startswith ''", "`q\"uote` startswith 'it''s ä😀\n '",
    };
    for (size_t i = 0; i < sizeof exprs / sizeof *exprs; i++)
        if (match(exprs[i], meta))
            fail_msg("should not match: %s", exprs[i]);
    assert_false(match("a = 1", ""));
    assert_true(match("a != 1", ""));
}

static void test_errors(void **state)
{
    static const struct {
        const char *expr;
        int code;
        const char *at;
    } cases[] = {
        {"", LT_EEMPTY, "empty"},
        {"   ", LT_EEMPTY, "empty"},
        {"a =", LT_EFORMAT, "byte 3"},
        {"= 3", LT_EFORMAT, "byte 0"},
        {"a = b", LT_EFORMAT, "byte 4"},
        {"a = 'x", LT_EFORMAT, "quote"},
        {"a in ()", LT_EFORMAT, "byte 6"},
        {"a in (1", LT_EFORMAT, "the end"},
        {"a in 1", LT_EFORMAT, "( after in"},
        {"(a = 1", LT_EFORMAT, "byte 6"},
        {"a = 1)", LT_EFORMAT, "byte 5"},
        {"a = 1 b = 2", LT_EFORMAT, "byte 6"},
        {"and", LT_EFORMAT, "name of a field"},
        {"a. = 1", LT_EFORMAT, "byte 2"},
        {"a = 12x", LT_EFORMAT, "space after"},
        {"a = \xff", LT_EUTF8, "byte 4"},
        {"not", LT_EFORMAT, "the end"},
        {"a not 3", LT_EFORMAT, "byte 2"},
        {"a startswith 3", LT_EFORMAT, "byte 13: expected a text"},
        {"a startswith", LT_EFORMAT, "the end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct filter *f = NULL;
        struct err_msg em = {""};
        int r = filter_parse(&f, cases[i].expr, strlen(cases[i].expr), &em);
        if (r != cases[i].code || !strstr(em.text, cases[i].at) || f)
            fail_msg("%s: %s, %s", cases[i].expr, err_name(r), em.text);
    }
}

static void test_limits(void **state)
{
    struct filter *f = NULL;
    char *s = malloc(2 * FILTER_LEN_MAX);
    memset(s, '(', 2 * FILTER_LEN_MAX);
    assert_int_equal(filter_parse(&f, s, FILTER_LEN_MAX, NULL), LT_ELIMIT);
    assert_int_equal(filter_parse(&f, s, FILTER_LEN_MAX + 1, NULL), LT_ELIMIT);
    memset(s, '!', 2 * FILTER_LEN_MAX);
    assert_int_equal(filter_parse(&f, s, FILTER_LEN_MAX, NULL), LT_ELIMIT);
    for (size_t depth = FILTER_DEPTH_MAX; depth <= FILTER_DEPTH_MAX + 1; depth++) {
        struct filter *deep = NULL;
        const size_t n_in = (size_t)sprintf(s, "%*s", (int)depth, "") + (size_t)sprintf(s + depth, "a=1%*s", (int)depth, "");
        memset(s, '(', depth);
        memset(s + n_in - depth, ')', depth);
        assert_int_equal(filter_parse(&deep, s, n_in, NULL), depth > FILTER_DEPTH_MAX ? LT_ELIMIT : 0);
        filter_destroy(&deep);
    }
    /* As many tests as fit: a long left chain runs. */
    size_t n = 0;
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(s + n, "%sa=%d", i ? " or " : "", i);
    struct err_msg em;
    int r = filter_parse(&f, s, n, &em);
    if (r < 0)
        fail_msg("%s", em.text);
    assert_true(filter_match(f, "{\"a\":999}", 9));
    assert_false(filter_match(f, "{\"a\":1000}", 10));
    filter_destroy(&f);
    n = 0;
    for (int i = 0; i < 4200; i++)
        n += (size_t)sprintf(s + n, "%s1", i ? "," : "a in (");
    n += (size_t)sprintf(s + n, ")");
    assert_int_equal(filter_parse(&f, s, n, &em), LT_ELIMIT);
    free(s);
}

/* Metadata that is cut or changed anywhere is read within its bounds (under the sanitizers). */
/* Sets of all types, against a chain of tests. */
static void test_sets(void **state)
{
    static const char *const literals[] = {"1", "-1", "1.5", "0", "9007199254740993", "9223372036854775807", "1e300", "'a'", "'ab'", "''", "'B'", "'a b'",
                                           "'\xc3\xa4'", "'\xf0\x9f\x98\x80'", "true", "false", "null", "'1'", "'true'"};
    static const char *const values[] = {"1", "-1", "1.50", "-0", "9007199254740993", "9007199254740992", "1e300", "1e301", "\"a\"", "\"ab\"", "\"\"", "\"B\"",
                                         "\"a\\u0020b\"", "\"\\u00e4\"", "\"\\ud83d\\ude00\"", "true", "false", "null", "\"1\"", "\"abc\"", "{}", "[]",
                                         "[\"x\",[1]]", "{\"x\":1}", "x", ""};
    const size_t n_literals = sizeof literals / sizeof *literals;
    uint64_t seed = unit_seed();
    (void)state;
    for (int round = 0; round < 2000; round++) {
        char set[600] = "a in (", chain[900] = "", metadata[64];
        for (size_t i = 0, n = 1 + unit_rand(&seed) % 20; i < n; i++) {
            const char *x = literals[unit_rand(&seed) % n_literals];
            snprintf(set + strlen(set), sizeof set - strlen(set), "%s%s", i ? "," : "", x);
            snprintf(chain + strlen(chain), sizeof chain - strlen(chain), "%sa = %s", i ? " or " : "", x);
        }
        strcat(set, ")");
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            snprintf(metadata, sizeof metadata, "{\"a\":%s}", values[i]);
            struct filter *f[2];
            struct err_msg em;
            assert_int_equal(filter_parse(&f[0], set, strlen(set), &em), 0);
            assert_int_equal(filter_parse(&f[1], chain, strlen(chain), &em), 0);
            if (filter_match(f[0], metadata, strlen(metadata)) != filter_match(f[1], metadata, strlen(metadata)))
                fail_msg("%s of %s", metadata, set);
            filter_destroy(&f[0]);
            filter_destroy(&f[1]);
        }
    }
}

static void test_hostile_metadata(void **state)
{
    static const char *const exprs[] = {"deep.er.x = 5", "tags = 'zz'", "`q\"uote` = 'zz'", "list.k = 9", "zz exists"};
    uint64_t seed = unit_seed();
    for (size_t e = 0; e < sizeof exprs / sizeof *exprs; e++) {
        struct filter *f;
        assert_int_equal(filter_parse(&f, exprs[e], strlen(exprs[e]), NULL), 0);
        for (size_t len = 0; len < sizeof meta; len++) {
            char *copy = malloc(len ? len : 1); /* no byte more, so that ASan sees */
            memcpy(copy, meta, len);
            filter_match(f, copy, len);
            for (int i = 0; i < 20 && len; i++) {
                copy[unit_rand(&seed) % len] = "{}[]\",:\\\0u9"[unit_rand(&seed) % 11];
                filter_match(f, copy, len);
            }
            free(copy);
        }
        filter_destroy(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_true),   cmocka_unit_test(test_false), cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_hostile_metadata), cmocka_unit_test(test_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
