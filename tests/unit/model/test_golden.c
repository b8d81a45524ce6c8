/* Golden vectors for a model that has none: computed once, kept, and not believed when the cache is damaged. */
#include "tests/unit.h"

#include <dirent.h>
#include <unistd.h>

#include "base/file.h"
#include "model/golden.h"
#include "model/import.h"

static char dir[] = "/tmp/test_golden.XXXXXX";
static unsigned n_computed;

static void on_progress(void *arg, double fraction)
{
    n_computed += fraction > 0;
}

static void get(const struct model *m, const char *cache, struct golden_set *s, bool computes)
{
    struct err_msg em = {""};
    n_computed = 0;
    if (golden_get(s, m, cache, on_progress, NULL, &em) < 0)
        fail_msg("%s", em.text);
    assert_int_equal(n_computed > 0, computes);
}

/* Changes one byte of the only file in the folder, or cuts it. */
static void damage(const char *cache, bool cut)
{
    char path[600] = "";
    DIR *d = opendir(cache);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%s", cache, e->d_name);
    closedir(d);
    assert_true(path[0]);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    const long len = ftell(f);
    if (cut) {
        assert_int_equal(ftruncate(fileno(f), len - 1), 0);
    } else {
        fseek(f, len / 2, SEEK_SET);
        const int c = fgetc(f);
        fseek(f, len / 2, SEEK_SET);
        fputc(c ^ 1, f);
    }
    fclose(f);
}

static void test_computed_once(void **state)
{
    char folder[4096], path[300], cache[300], command[700];
    struct model *own = NULL, *causal = NULL;
    struct golden_set a, b;
    struct err_msg em = {""};
    const struct import_params p = {.type = TENSOR_F16};
    const struct model_params mask = {.mask = MODEL_MASK_CAUSAL};
    assert_non_null(mkdtemp(dir));
    snprintf(folder, sizeof folder, "%s/tests/golden/tiny-f16", getenv("LATENTD_SRC") ? getenv("LATENTD_SRC") : ".");
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    snprintf(cache, sizeof cache, "%s/cache", dir);
    snprintf(command, sizeof command, "mkdir %s", cache);
    assert_int_equal(system(command), 0);
    if (import_folder(folder, path, &p, NULL, &em) < 0 || model_open(&own, path, &em) < 0 ||
        model_open_as(&causal, path, &mask, &em) < 0)
        fail_msg("%s", em.text);
    get(own, cache, &a, false); /* the file's own */
    assert_int_equal(a.n, model_goldens(own, NULL));
    golden_finish(&a);
    assert_int_equal(model_goldens(causal, NULL), 0);
    get(causal, NULL, &a, true);
    assert_int_equal(a.n, GOLDEN_MAX);
    for (int i = 0; i < 4; i++) { /* computed, kept; damaged: computed; cut: computed */
        if (i > 1)
            damage(cache, i == 3);
        get(causal, cache, &b, i != 1);
        for (size_t g = 0; g < b.n; g++)
            assert_memory_equal(a.golden[g].vec, b.golden[g].vec, model_info(causal)->dim * sizeof(float));
        golden_finish(&b);
    }
    golden_finish(&a);
    model_destroy(&own);
    model_destroy(&causal);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* The same weights with a smaller limit, which cuts the sequences: the cache has the same name, and is of others. */
static void test_another_limit(void **state)
{
    static const char key[] = "llama.context_length\4\0\0";
    char path[4200], cut[300], command[300];
    char *data = NULL;
    size_t len = 0, at = 0;
    struct model *whole = NULL, *shorter = NULL;
    struct golden_set a, b, c;
    struct err_msg em = {""};
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tests/golden/decoders/mistral.gguf", getenv("LATENTD_SRC") ? getenv("LATENTD_SRC") : ".");
    snprintf(cut, sizeof cut, "%s/short.gguf", dir);
    assert_int_equal(file_read(path, 1 << 20, &data, &len, &em), 0);
    while (at + sizeof key < len && memcmp(data + at, key, sizeof key))
        at++;
    assert_true(at + sizeof key < len);
    memcpy(data + at + sizeof key, "\20\0\0\0", 4); /* 16 */
    assert_int_equal(file_replace(cut, data, len, 0600, &em), 0);
    free(data);
    if (model_open(&whole, path, &em) < 0 || model_open(&shorter, cut, &em) < 0)
        fail_msg("%s", em.text);
    assert_string_equal(model_info(whole)->fingerprint, model_info(shorter)->fingerprint);
    get(whole, dir, &a, true);
    get(shorter, dir, &b, true);
    get(shorter, NULL, &c, true);
    for (size_t g = 0; g < b.n; g++) {
        assert_true(b.golden[g].n <= 16);
        assert_memory_equal(b.golden[g].vec, c.golden[g].vec, model_info(shorter)->dim * sizeof(float));
    }
    golden_finish(&a);
    golden_finish(&b);
    golden_finish(&c);
    model_destroy(&whole);
    model_destroy(&shorter);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_computed_once), cmocka_unit_test(test_another_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
