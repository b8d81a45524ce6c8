#include "tests/unit.h"

#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clients/cli/docs.h"
#include "clients/cli/vector_arg.h"

static int parse(struct doc *d, const char *line, struct err_msg *em)
{
    return doc_parse(d, line, strlen(line), em);
}

static void test_full_line(void **state)
{
    struct doc d;
    struct err_msg em;
    assert_int_equal(parse(&d, "{\"id\":\"a\",\"text\":\"t\\u00e9\",\"title\":\"T\",\"metadata\":{\"n\":1},"
                               "\"vector\":[1,-0.5],\"other\":true}", &em), 0);
    assert_string_equal(d.id, "a");
    assert_string_equal(d.text, "t\xC3\xA9");
    assert_int_equal(d.text_len, 3);
    assert_string_equal(d.title, "T");
    assert_string_equal(d.metadata, "{\"n\":1}");
    assert_int_equal(d.dim, 2);
    assert_true(d.vector[1] == -0.5f);
    doc_finish(&d);
    assert_int_equal(parse(&d, "{\"id\":7,\"text\":\"\"}", &em), 0);
    assert_string_equal(d.id, "7");
    assert_string_equal(d.title, "");
    assert_null(d.vector);
    doc_finish(&d);
    assert_int_equal(parse(&d, "{\"id\":\"v\",\"vector\":[1]}", &em), 0);
    doc_finish(&d);
}

/* Metadata keep the numbers that they have, in the shortest form that does. */
static void test_metadata(void **state)
{
    static const char *const kept[] = {"{\"n\":0.1}", "{\"n\":3.141592653589793}", "{\"n\":-1234567.8912,\"e\":1e22,\"i\":9007199254740993}",
                                       "{\"n\":0.1,\"m\":{\"a\":[0.30000000000000004]}}", "{}"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        char line[200];
        struct doc d;
        struct err_msg em;
        snprintf(line, sizeof line, "{\"id\":\"a\",\"text\":\"t\",\"metadata\":%s}", kept[i]);
        assert_int_equal(parse(&d, line, &em), 0);
        json_t *was = json_loads(kept[i], 0, NULL), *is = json_loads(d.metadata, 0, NULL);
        assert_true(was && is && json_equal(was, is));
        if (i != 1 && i != 3)
            assert_string_equal(d.metadata, kept[i]);
        json_decref(was);
        json_decref(is);
        doc_finish(&d);
    }
}

static void test_refused_lines(void **state)
{
    static const struct {
        const char *line;
        int code;
        const char *says;
    } cases[] = {
        {"{\"id\":\"a\"", LT_EFORMAT, "not JSON"},
        {"[1]", LT_EFORMAT, "not a JSON object"},
        {"{\"text\":\"t\"}", LT_EFORMAT, "no \"id\""},
        {"{\"id\":\"\",\"text\":\"t\"}", LT_EFORMAT, "empty"},
        {"{\"id\":\"a\"}", LT_EFORMAT, "no \"text\""},
        {"{\"id\":\"a\",\"text\":5}", LT_EFORMAT, "\"text\" is not a string"},
        {"{\"id\":\"a\",\"text\":\"x\\u0000y\"}", LT_EFORMAT, "u0000"},
        {"{\"id\":\"a\",\"text\":\"t\",\"metadata\":[1]}", LT_EFORMAT, "\"metadata\""},
        {"{\"id\":\"a\",\"text\":\"t\",\"vector\":[]}", LT_EFORMAT, "\"vector\""},
        {"{\"id\":\"a\",\"text\":\"t\",\"vector\":[1,\"x\"]}", LT_EFORMAT, "\"vector\"[1]"},
        {"{\"id\":\"a\",\"text\":\"t\",\"vector\":[1e300]}", LT_ENAN, "\"vector\"[0]"},
        {"{\"id\":\"a\",\"id\":\"b\",\"text\":\"t\"}", LT_EFORMAT, "duplicate"},
        {"{\"id\":\"a\",\"text\":\"\xFF\"}", LT_EUTF8, "at byte 18"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct doc d;
        struct err_msg em = {{0}};
        assert_int_equal(parse(&d, cases[i].line, &em), cases[i].code);
        if (!strstr(em.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", em.text, cases[i].says);
        assert_null(d.text);
    }
}

static void test_file(void **state)
{
    char path[] = "/tmp/latent-docs-XXXXXX";
    int fd = mkstemp(path);
    struct doc d;
    struct err_msg em;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "\n## A heading\r\n\ntext\n", 20), 20);
    assert_int_equal(doc_from_file(&d, path, &em), 0);
    assert_string_equal(d.id, path);
    assert_string_equal(d.title, "A heading");
    doc_finish(&d);
    assert_int_equal(pwrite(fd, "\xC3(", 2, 0), 2);
    assert_int_equal(doc_from_file(&d, path, &em), LT_EUTF8);
    assert_int_equal(pwrite(fd, "\0(", 2, 0), 2);
    assert_int_equal(doc_from_file(&d, path, &em), LT_EFORMAT);
    assert_int_equal(pwrite(fd, "\xFF\xFE#\0", 4, 0), 4);
    assert_int_equal(doc_from_file(&d, path, &em), LT_EUTF8);
    assert_non_null(strstr(em.text, "UTF-16"));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, "\xEF\xBB\xBF# Marked\n", 12, 0), 12);
    assert_int_equal(doc_from_file(&d, path, &em), 0);
    assert_string_equal(d.title, "Marked");
    assert_string_equal(d.text, "# Marked\n");
    assert_int_equal(d.text_len, 9);
    doc_finish(&d);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, "text", 4, 0), 4);
    assert_int_equal(doc_from_file(&d, path, &em), 0);
    assert_string_equal(d.title, path + 5);
    doc_finish(&d);
    for (int i = 0; i < 2; i++) { /* nothing, and nothing to be seen: the file's name is no text */
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(i ? pwrite(fd, "\xEF\xBB\xBF \t\r\n\v\f", 9, 0) : 0, i ? 9 : 0);
        assert_int_equal(doc_from_file(&d, path, &em), LT_EEMPTY);
        assert_string_equal(em.text, "the text is empty");
        assert_null(d.title);
    }
    close(fd);
    unlink(path);
    assert_int_equal(doc_from_file(&d, path, &em), LT_ENOTFOUND);
    assert_null(strstr(em.text, path)); /* who prints it names the file */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(doc_from_file(&d, path, &em), LT_EINVAL); /* and nobody is waited for who may write to it */
    assert_string_equal(em.text, "not a regular file");
    unlink(path);
    assert_int_equal(doc_from_file(&d, "/tmp", &em), LT_EINVAL);
    assert_string_equal(em.text, "a folder: name the files in it");
}

/* A byte order mark is left out before the first line, and is text anywhere else. */
static void test_marks(void **state)
{
    static const char *const lines[] = {"\xEF\xBB\xBFone", "\xEF\xBB\xBF\xEF\xBB\xBF" "two", "\xEF\xBB", "\xEF\xBB\xBF"};
    static const size_t left_out[] = {3, 0, 0, 0};
    char *line = NULL;
    size_t cap = 0, len = 0;
    FILE *f = tmpfile();
    assert_non_null(f);
    for (int i = 0; i < 4; i++)
        fprintf(f, "%s\n", lines[i]);
    rewind(f);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(docs_line(f, &line, &cap, &len), 1);
        assert_string_equal(line, lines[i] + left_out[i]);
        assert_int_equal(len, strlen(line));
    }
    fclose(f);
    free(line);
}

/* Lines of every length around the limit, endings, and the rest of what is too long, which takes no memory. */
static void test_lines(void **state)
{
    static const size_t lens[] = {1, 4095, 8190, 8191, 8192, DOCS_LINE_MAX - 1, DOCS_LINE_MAX, DOCS_LINE_MAX + 1, 3 * (size_t)DOCS_LINE_MAX};
    const int n_lens = sizeof lens / sizeof *lens;
    char *line = NULL;
    size_t cap = 0, len = 0;
    FILE *f = tmpfile();
    assert_non_null(f);
    for (int i = 0; i < n_lens; i++) {
        for (size_t j = 0; j < lens[i]; j++)
            putc_unlocked('a' + i, f);
        fputs("\n", f);
    }
    fputs("\n\r\nx\r\nlast", f);
    rewind(f);
    for (int i = 0; i < n_lens; i++) {
        assert_int_equal(docs_line(f, &line, &cap, &len), lens[i] > DOCS_LINE_MAX ? LT_ELIMIT : 1);
        assert_int_equal(len, lens[i]);
        if (lens[i] <= DOCS_LINE_MAX)
            assert_true(strlen(line) == len && line[0] == 'a' + i && line[len - 1] == 'a' + i);
        assert_true(cap <= 4 * (size_t)DOCS_LINE_MAX);
    }
    static const char *const rest[] = {"", "", "x", "last"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(docs_line(f, &line, &cap, &len), 1);
        assert_string_equal(line, rest[i]);
        assert_int_equal(len, strlen(rest[i]));
    }
    assert_int_equal(docs_line(f, &line, &cap, &len), 0);
    assert_int_equal(docs_line(f, &line, &cap, &len), 0);
    fclose(f);
    free(line);
}

static void test_vector(void **state)
{
    float *v;
    uint32_t dim;
    struct err_msg em;
    assert_int_equal(vector_parse("[0.25, -3]", &v, &dim, &em), 0);
    assert_int_equal(dim, 2);
    assert_true(v[0] == 0.25f && v[1] == -3.0f);
    free(v);
    assert_int_equal(vector_parse("[0.25, null]", &v, &dim, &em), LT_EFORMAT);
    assert_null(v);
    assert_int_equal(vector_parse("{}", &v, &dim, &em), LT_EFORMAT);
    assert_int_equal(vector_parse("[NaN]", &v, &dim, &em), LT_EFORMAT);
    assert_int_equal(vector_parse("[1e39]", &v, &dim, &em), LT_ENAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_line),
        cmocka_unit_test(test_refused_lines),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
