/* The pipeline cache's file: every field forged, and a real one damaged, foreign or unwritable. */
#include "tests/unit.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "gpu/gpu.h"
#include "gpu/pipeline_cache.h"
#include "gpu/tuning.h"
#include "shaders/params.h"

static const uint8_t key[PIPELINE_CACHE_KEY] = "the key of some driver and build";
static const uint8_t other_key[PIPELINE_CACHE_KEY] = "the key of another driver, build";

static void forged_fields_are_refused(void **state)
{
    size_t len, data_len;
    const uint8_t *data;
    uint8_t *file = pipeline_cache_format("some data", 9, key, &len);
    assert_non_null(file);
    assert_int_equal(pipeline_cache_parse(file, len, key, &data, &data_len), 0);
    assert_int_equal(data_len, 9);
    assert_memory_equal(data, "some data", 9);
    assert_int_equal(pipeline_cache_parse(file, len, other_key, &data, &data_len), LT_EVERSION);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(pipeline_cache_parse(file, cut, key, &data, &data_len), LT_EFORMAT);
    for (size_t i = 0; i < len; i++) {
        file[i] ^= 0x40; /* magic, key, length, checksum, data in turn */
        assert_int_equal(pipeline_cache_parse(file, len, key, &data, &data_len),
                         i >= 8 && i < 40 ? LT_EVERSION : LT_EFORMAT);
        file[i] ^= 0x40;
    }
    free(file);
}

/* A gpu with a cache in dir that builds one pipeline; whether it found a good file. */
static bool use_cache(const char *dir)
{
    struct gpu *g = NULL;
    struct gpu_params p = {.cache_dir = dir};
    struct gpu_buf *b = NULL;
    struct push_rows push = {4};
    assert_int_equal(gpu_create(&g, &p, NULL), 0);
    bool loaded = gpu_counts(g)->cache_loaded;
    uint32_t group = tuning_row_group(g, 4);
    assert_int_equal(gpu_buf_create(g, 16, GPU_MEM_DEVICE, &b, NULL), 0);
    struct gpu_arg arg = {b, 0, 0};
    struct gpu_dispatch d = {
        .kernel = GPU_KERNEL_L2_NORMALIZE, .spec = &group, .push = &push, .args = &arg};
    assert_int_equal(gpu_begin(g, NULL), 0);
    assert_int_equal(gpu_dispatch(g, &d, NULL), 0);
    assert_int_equal(gpu_submit(g, NULL), 0);
    gpu_buf_destroy(g, &b);
    gpu_destroy(&g);
    return loaded;
}

static void find_file(const char *dir, char *path, size_t len)
{
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] != '.') {
            snprintf(path, len, "%s/%s", dir, e->d_name);
            n++;
        }
    }
    closedir(d);
    assert_int_equal(n, 1);
}

static void rewrite(const char *path, size_t at, bool cut)
{
    char *data;
    size_t len;
    assert_int_equal(file_read(path, PIPELINE_CACHE_MAX, &data, &len, NULL), 0);
    if (cut)
        len = at;
    else
        data[at] ^= 1;
    assert_int_equal(file_replace(path, data, len, 0600, NULL), 0);
    free(data);
}

static void bad_files_are_ignored_and_replaced(void **state)
{
    char dir[] = "/tmp/latentd-cache-XXXXXX", path[512];
    struct stat st;
    assert_non_null(mkdtemp(dir));
    assert_false(use_cache(dir));
    find_file(dir, path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(use_cache(dir));
    rewrite(path, 60, false); /* data */
    assert_false(use_cache(dir));
    assert_true(use_cache(dir));
    rewrite(path, 20, false); /* key: another driver's */
    assert_false(use_cache(dir));
    assert_true(use_cache(dir));
    rewrite(path, 57, true);
    assert_false(use_cache(dir));
    rewrite(path, 0, true);
    assert_false(use_cache(dir));
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0); /* neither readable nor replaceable */
    assert_false(use_cache(dir));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_false(use_cache("/dev/null/cache"));
    assert_int_equal(gpu_validation_messages(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forged_fields_are_refused),
        cmocka_unit_test(bad_files_are_ignored_and_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
