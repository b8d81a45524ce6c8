#include "tests/unit.h"

#include <math.h>
#include <unistd.h>

#include "clients/cli/metrics.h"

static char path[] = "metrics-XXXXXX";

static int setup(void **state)
{
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    return unlink(path);
}

static void put(const char *data, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static struct beir_qrels *qrels(const char *text)
{
    struct beir_qrels *q = NULL;
    struct err_msg em = {0};
    put(text, strlen(text));
    if (beir_qrels_load(&q, path, &em) < 0)
        fail_msg("%s", em.text);
    return q;
}

static void test_qrels(void **state)
{
    struct beir_qrels *q = qrels("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t3\r\n\nq1\td3\t0\nq2\td1\t0\nq3\td9\t2\nq1\td1\t1\n"
                                 "q1\td4\t-1");
    int ideal[2] = {0};
    assert_int_equal(beir_qrels_queries(q), 2);
    assert_int_equal(beir_qrels_relevant(q, "q1"), 2);
    assert_int_equal(beir_qrels_relevant(q, "q2"), 0);
    assert_int_equal(beir_qrels_relevant(q, "q"), 0);
    assert_int_equal(beir_qrels_grade(q, "q1", "d2"), 3);
    assert_int_equal(beir_qrels_grade(q, "q1", "d"), 0);
    assert_int_equal(beir_qrels_grade(q, "q1", "d4"), -1);
    assert_int_equal(beir_qrels_grade(q, "q4", "d2"), 0);
    assert_int_equal(beir_qrels_ideal(q, "q1", ideal, 2), 2);
    assert_int_equal(ideal[0], 3);
    assert_int_equal(ideal[1], 1);
    assert_int_equal(beir_qrels_ideal(q, "q1", ideal, 1), 2);
    assert_int_equal(ideal[0], 3);
    beir_qrels_destroy(&q);
    beir_qrels_destroy(&q);
    q = qrels("");
    assert_int_equal(beir_qrels_queries(q), 0);
    beir_qrels_destroy(&q);
}

static void test_bad_qrels(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *says;
    } cases[] = {
        {"q\td\tscore\nq1 d1 1\n", LT_EFORMAT, ":2:"},
        {"q\td\tscore\nq1\td1\n", LT_EFORMAT, ":2:"},
        {"q\td\tscore\nq1\td1\t1\t1\n", LT_EFORMAT, ":2:"},
        {"q\td\tscore\n\td1\t1\n", LT_EFORMAT, ":2:"},
        {"q\td\tscore\n\nq1\td1\tx\n", LT_EFORMAT, ":3:"},
        {"q\td\tscore\nq1\td1\t1.5\n", LT_EFORMAT, "whole number"},
        {"q\td\tscore\nq1\td1\t9999\n", LT_ELIMIT, ":2:"},
        {"q\td\tscore\nq1\td1\t1\nq1\td2\t1\nq1\td1\t2\n", LT_EFORMAT, ":4: another score"},
    };
    struct beir_qrels *q = NULL;
    struct err_msg em;
    char line[BEIR_QRELS_LINE_MAX + 10];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(cases[i].text, strlen(cases[i].text));
        assert_int_equal(beir_qrels_load(&q, path, &em), cases[i].code);
        if (!strstr(em.text, cases[i].says))
            fail_msg("%s", em.text);
    }
    memset(line, 'a', sizeof line);
    put(line, sizeof line);
    assert_int_equal(beir_qrels_load(&q, path, &em), LT_ELIMIT);
    line[BEIR_ID_MAX + 1] = '\t';
    line[BEIR_ID_MAX + 3] = '\t';
    put(line, BEIR_ID_MAX + 6);
    assert_int_equal(beir_qrels_load(&q, path, &em), LT_ELIMIT);
    put("q\0\td\t1\n", 7);
    assert_int_equal(beir_qrels_load(&q, path, &em), LT_EFORMAT);
    assert_int_equal(beir_qrels_load(&q, "no/such/file", &em), LT_ENOTFOUND);
    assert_null(q);
}

#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-12)

static void test_metrics(void **state)
{
    struct beir_qrels *q = qrels("q1\td1\t1\nq1\td2\t3\nq1\td3\t2\nq2\td1\t1\nq3\td1\t1\nq4\td1\t0\n");
    struct metrics m = {0}, mean;
    const char *const first[] = {"d9", "d1", "d1", "d8", "d2"}; /* d1 twice: the second takes no place */
    metrics_add(&m, q, "q1", first, 5);
    NEAR(m.ndcg10, (1 / log2(3) + 3 / log2(5)) / (3 + 2 / log2(3) + 1 / 2.0));
    NEAR(m.recall100, 2 / 3.0);
    NEAR(m.mrr10, 0.5);
    metrics_add(&m, q, "q2", (const char *const[]){"d1"}, 1); /* perfect; q3 is left out and counts as nothing found */
    metrics_add(&m, q, "q4", (const char *const[]){"d1"}, 1); /* not judged relevant: ignored */
    metrics_add(&m, q, "unknown", (const char *const[]){"d1"}, 1);
    mean = metrics_mean(&m, q);
    assert_int_equal(mean.n_queries, 2);
    NEAR(mean.mrr10, 1.5 / 3);
    NEAR(mean.recall100, (2 / 3.0 + 1) / 3);
    beir_qrels_destroy(&q);
}

/* Places 10, 11, 100 and 101 are on the right side of each cut. */
static void test_cuts(void **state)
{
    struct beir_qrels *q = qrels("q\td\t1\n");
    char names[120][8];
    const char *ids[120];
    for (size_t i = 0; i < 120; i++) {
        snprintf(names[i], sizeof names[i], "x%zu", i);
        ids[i] = names[i];
    }
    static const size_t places[] = {9, 10, 99, 100};
    static const double want[][3] = {{1, 1, 1}, {0, 1, 0}, {0, 1, 0}, {0, 0, 0}};
    for (size_t i = 0; i < 4; i++) {
        struct metrics m = {0};
        ids[places[i]] = "d";
        metrics_add(&m, q, "q", ids, 120);
        ids[places[i]] = names[places[i]];
        NEAR(m.ndcg10, want[i][0] / log2(11));
        NEAR(m.recall100, want[i][1]);
        NEAR(m.mrr10, want[i][2] / 10);
    }
    beir_qrels_destroy(&q);
}

static void test_reader(void **state)
{
    struct beir_reader *r = NULL;
    struct beir_item it;
    struct err_msg em;
    static const char text[] = "\xEF\xBB\xBF{\"_id\":\"1\",\"title\":\"T\",\"text\":\"x y\",\"metadata\":{}}\r\n\n"
                               "{\"_id\":7,\"text\":\"\",\"title\":null}\n{\"_id\":\"\",\"text\":\"\"}\n"
                               "{\"_id\":\"2\"}\n{\"_id\":\"2\",\"text\":\"a\n[1]\n{\"_id\":\"2\",\"text\":\"\xFF\"}\n"
                               "{\"_id\":\"2\",\"text\":\"a\\u0000\"}\n{\"_id\":\"3\",\"text\":1}\n"
                               "{\"_id\":\"4\",\"text\":\"\xC3\xA4\"}";
    put(text, sizeof text - 1);
    assert_int_equal(beir_reader_open(&r, path, &em), 0);
    assert_int_equal(beir_reader_next(r, &it, &em), 1);
    assert_string_equal(it.id, "1");
    assert_string_equal(it.title, "T");
    assert_string_equal(it.text, "x y");
    assert_int_equal(it.line, 1);
    assert_int_equal(beir_reader_next(r, &it, &em), 1);
    assert_string_equal(it.id, "7");
    assert_int_equal(it.text_len + it.title_len, 0);
    assert_int_equal(it.line, 3);
    static const struct {
        int code;
        const char *says;
    } errors[] = {{LT_EFORMAT, ":4: \"_id\""},  {LT_EFORMAT, ":5: \"text\""}, {LT_EFORMAT, ":6: "},
                  {LT_EFORMAT, ":7: not a"},    {LT_EUTF8, ":8: not valid UTF-8 at byte 19"},
                  {LT_EFORMAT, ":9: "},         {LT_EFORMAT, ":10: \"text\""}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        assert_int_equal(beir_reader_next(r, &it, &em), errors[i].code);
        if (!strstr(em.text, errors[i].says))
            fail_msg("%s, not %s", em.text, errors[i].says);
    }
    assert_int_equal(beir_reader_next(r, &it, &em), 1); /* it goes on behind the bad lines */
    assert_string_equal(it.text, "\xC3\xA4");
    assert_int_equal(beir_reader_next(r, &it, &em), 0);
    assert_int_equal(beir_reader_next(r, &it, &em), 0);
    beir_reader_destroy(&r);
    assert_int_equal(beir_reader_open(&r, "no/such/file", &em), LT_ENOTFOUND);
}

/* A line over the limit is named, skipped, and the next one comes; lines longer than a block come whole. */
static void test_long_lines(void **state)
{
    struct beir_reader *r = NULL;
    struct beir_item it;
    struct err_msg em;
    size_t over = BEIR_LINE_MAX + 5, len = 200000;
    char *s = malloc(over + len + 100);
    assert_non_null(s);
    memset(s, 'a', over);
    size_t n = over + (size_t)sprintf(s + over, "\n{\"_id\":\"1\",\"text\":\"");
    memset(s + n, 'b', len);
    n += len;
    n += (size_t)sprintf(s + n, "\"}\n");
    put(s, n);
    assert_int_equal(beir_reader_open(&r, path, &em), 0);
    assert_int_equal(beir_reader_next(r, &it, &em), LT_ELIMIT);
    assert_non_null(strstr(em.text, ":1:"));
    assert_int_equal(beir_reader_next(r, &it, &em), 1);
    assert_int_equal(it.text_len, len);
    assert_int_equal(it.line, 2);
    assert_int_equal(beir_reader_next(r, &it, &em), 0);
    beir_reader_destroy(&r);
    free(s);
}

static void test_run(void **state)
{
    struct err_msg em;
    char got[200] = "";
    FILE *f = fopen(path, "w+");
    assert_non_null(f);
    assert_int_equal(metrics_write_run(f, "q1", "d/1", 1, 0.123456789, "latent", &em), 0);
    assert_int_equal(metrics_write_run(f, "q1", "d 2", 2, 0.1, "latent", &em), LT_EFORMAT);
    assert_non_null(strstr(em.text, "d 2"));
    assert_int_equal(metrics_write_run(f, "", "d", 2, 0.1, "latent", &em), LT_EFORMAT);
    rewind(f);
    assert_true(fread(got, 1, sizeof got - 1, f) > 0);
    assert_string_equal(got, "q1 Q0 d/1 1 0.123456789 latent\n");
    fclose(f);
}

/* The development sets, where they are there: as many queries as their README says. */
static void test_shared_sets(void **state)
{
    static const struct {
        const char *name;
        size_t docs, queries;
    } sets[] = {{"cranfield", 1400, 225}, {"cisi", 1460, 76}, {"wikiqa", 11392, 359}, {"xquad_en", 240, 1190}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct beir_qrels *q = NULL;
        struct beir_reader *r = NULL;
        struct beir_item it;
        struct err_msg em = {0};
        char file[4096];
        size_t n = 0;
        int e;
        snprintf(file, sizeof file, "%s/data/dev/%s/qrels/test.tsv", getenv("LATENTD_SHARED"), sets[i].name);
        if ((e = beir_qrels_load(&q, file, &em)) == LT_ENOTFOUND)
            skip();
        assert_int_equal(e, 0);
        assert_int_equal(beir_qrels_queries(q), sets[i].queries);
        snprintf(file, sizeof file, "%s/data/dev/%s/corpus.jsonl", getenv("LATENTD_SHARED"), sets[i].name);
        assert_int_equal(beir_reader_open(&r, file, &em), 0);
        while ((e = beir_reader_next(r, &it, &em)) > 0)
            n++;
        if (e < 0)
            fail_msg("%s", em.text);
        assert_int_equal(n, sets[i].docs);
        beir_reader_destroy(&r);
        beir_qrels_destroy(&q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qrels),      cmocka_unit_test(test_bad_qrels), cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_cuts),       cmocka_unit_test(test_reader),    cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_run),        cmocka_unit_test(test_shared_sets),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
