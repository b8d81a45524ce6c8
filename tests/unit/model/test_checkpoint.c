/* The shard index, field by field, and folders whose index and shards disagree. */
#include "tests/unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "model/checkpoint.h"
#include "model/checkpoint_index.h"

static int parse(const char *json, size_t len, struct checkpoint_index *x, struct err_msg *em)
{
    em->text[0] = 0;
    return checkpoint_index_parse(x, "index", json, len, em);
}

static void test_index_good(void **state)
{
    static const char json[] = "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\",\"c\":\"s1\"}}";
    struct checkpoint_index x;
    struct err_msg em;
    assert_int_equal(parse(json, sizeof json - 1, &x, &em), 0);
    assert_int_equal(x.n_shards, 2);
    assert_int_equal(x.n_places, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(x.shard[x.place[i].shard], x.place[i].tensor[0] == 'b' ? "s2" : "s1");
    checkpoint_index_finish(&x);
}

static void test_index_forged(void **state)
{
    static const struct {
        const char *json;
        int code;
    } bad[] = {
        {"", LT_EFORMAT},
        {"[]", LT_EFORMAT},
        {"{}", LT_EFORMAT},
        {"{\"weight_map\":[]}", LT_EFORMAT},
        {"{\"weight_map\":{}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":1}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":null}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"\"}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"../s\"}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"d/s\"}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\".s\"}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s\\n\"}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s\\u0000t\"}}", LT_EFORMAT},
        {"{\"weight_map\":{\"a\":\"s\",\"a\":\"t\"}}", LT_EFORMAT},
        {"{\"x\":[[[[[[[[[]]]]]]]]],\"weight_map\":{\"a\":\"s\"}}", LT_ELIMIT},
    };
    struct checkpoint_index x;
    struct err_msg em;
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        int r = parse(bad[k].json, strlen(bad[k].json), &x, &em);
        if (r != bad[k].code || !em.text[0])
            fail_msg("%s: %s (%s)", bad[k].json, err_name(r), em.text);
        checkpoint_index_finish(&x);
    }
}

/* n tensors, each in a shard of its own or all in one. */
static int parse_many(size_t n, size_t n_shards, struct err_msg *em)
{
    struct checkpoint_index x;
    char *json = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&json, &size);
    assert_non_null(f);
    fputs("{\"weight_map\":{", f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%s\"t%zu\":\"s%zu\"", i ? "," : "", i, i % n_shards);
    fputs("}}", f);
    assert_int_equal(fclose(f), 0);
    int r = parse(json, size, &x, em);
    checkpoint_index_finish(&x);
    free(json);
    return r;
}

static void test_index_limits(void **state)
{
    struct err_msg em;
    struct checkpoint_index x;
    char name[CHECKPOINT_MAX_NAME + 2], json[400];
    assert_int_equal(parse_many(CHECKPOINT_MAX_SHARDS, CHECKPOINT_MAX_SHARDS, &em), 0);
    assert_int_equal(parse_many(CHECKPOINT_MAX_SHARDS + 1, CHECKPOINT_MAX_SHARDS + 1, &em), LT_ELIMIT);
    assert_int_equal(parse_many(CHECKPOINT_MAX_TENSORS, 3, &em), 0);
    assert_int_equal(parse_many(CHECKPOINT_MAX_TENSORS + 1, 3, &em), LT_ELIMIT);
    for (int over = 0; over < 2; over++) {
        memset(name, 'n', sizeof name);
        name[CHECKPOINT_MAX_NAME + over] = 0;
        int n = snprintf(json, sizeof json, "{\"weight_map\":{\"a\":\"%s\"}}", name);
        assert_int_equal(parse(json, (size_t)n, &x, &em), over ? LT_EFORMAT : 0);
        checkpoint_index_finish(&x);
    }
    char *large = calloc(1, CHECKPOINT_INDEX_MAX + 2);
    assert_non_null(large);
    memset(large, ' ', CHECKPOINT_INDEX_MAX + 1);
    assert_int_equal(parse(large, CHECKPOINT_INDEX_MAX + 1, &x, &em), LT_ELIMIT);
    free(large);
}

static void put_file(const char *dir, const char *name, const void *data, size_t len)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

/* A shard with one F32 tensor of one value. */
static void put_shard(const char *dir, const char *name, const char *tensor)
{
    uint8_t b[256] = {0};
    int n = snprintf((char *)b + 8, sizeof b - 8, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", tensor);
    b[0] = (uint8_t)n;
    put_file(dir, name, b, 8 + (size_t)n + 4);
}

static void test_folder(void **state)
{
    static const struct {
        const char *index, *in_s1, *in_s2;
        int code;
        const char *says;
    } folder[] = {
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\"}}", "a", "b", 0, ""},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s3\"}}", "a", "b", LT_ENOTFOUND, "s3"},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s1\"}}", "a", "b", LT_EFORMAT, "lacks tensor b"},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\"}}", "a", "a", LT_EFORMAT, "lacks tensor b"},
        {"{\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\"", "a", "b", LT_EFORMAT, "index.json"},
    };
    char dir[] = "/tmp/test_checkpoint.XXXXXX", command[300];
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof folder / sizeof *folder; i++) {
        struct checkpoint *c = NULL;
        struct err_msg em = {{0}};
        put_shard(dir, "s1", folder[i].in_s1);
        put_shard(dir, "s2", folder[i].in_s2);
        put_file(dir, "model.safetensors.index.json", folder[i].index, strlen(folder[i].index));
        int r = checkpoint_open(&c, dir, &em);
        if (r != folder[i].code || !strstr(em.text, folder[i].says))
            fail_msg("%s: %s (%s)", folder[i].index, err_name(r), em.text);
        if (!r) {
            assert_non_null(checkpoint_find(c, "a"));
            assert_non_null(checkpoint_find(c, "b"));
            assert_null(checkpoint_at(c, 2));
        }
        checkpoint_destroy(&c);
    }
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_good),
        cmocka_unit_test(test_index_forged),
        cmocka_unit_test(test_index_limits),
        cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
