/* What drivers tell of kernels reaches the log, as far as it is asked for, and bounded. The driver is one that the layer VK_LAYER_LATENTD_lies
 * makes up (tests/tools/layer_lies.c), whose LIE_STATISTICS is set from the beginning on. */
#include "tests/unit.h"

#include <dirent.h>
#include <math.h>

#include "base/file.h"
#include "base/log.h"
#include "gpu/gpu.h"
#include "gpu/pipeline_statistics.h"
#include "gpu/tuning.h"
#include "shaders/params.h"

static char folder[64];
static char log_path[96];

/* What is written of the log since it had at bytes; the caller's. */
static char *logged(size_t at)
{
    char *text;
    size_t len;
    assert_int_equal(file_read(log_path, LOG_FILE_MAX, &text, &len, NULL), 0);
    assert_true(at <= len);
    char *rest = strdup(text + at);
    assert_non_null(rest);
    free(text);
    return rest;
}

static size_t log_length(void)
{
    char *text = logged(0);
    const size_t len = strlen(text);
    free(text);
    return len;
}

static struct gpu *open_gpu(const char *cache_dir)
{
    struct gpu *g = NULL;
    struct err_msg em = {0};
    if (gpu_create(&g, &(struct gpu_params){.cache_dir = cache_dir}, &em) < 0)
        print_error("%s\n", em.text);
    assert_non_null(g);
    assert_non_null(strstr(gpu_info(g)->name, "(lies)"));
    return g;
}

/* What the log says of one kernel that is built, behind "built in X ms", in a new string; the kernel works. */
static char *said_of_a_kernel(struct gpu *g)
{
    static const char before[] = "debug gpu: gather_pooled built in ";
    struct push_rows push = {4};
    const uint32_t group = tuning_element_group(g), rows[2] = {1, 0};
    const float in[8] = {0, 1, 2, 3, 4, 5, 6, 7}, swapped[8] = {4, 5, 6, 7, 0, 1, 2, 3};
    float out[8];
    const size_t at = log_length();
    struct gpu_buf *b[3] = {NULL};
    for (int i = 0; i < 3; i++)
        assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &b[i], NULL), 0);
    assert_int_equal(gpu_upload(g, b[0], 0, in, 32, NULL), 0);
    assert_int_equal(gpu_upload(g, b[1], 0, rows, 8, NULL), 0);
    const struct gpu_arg args[] = {{b[0], 0, 0}, {b[1], 0, 8}, {b[2], 0, 0}};
    const struct gpu_dispatch d = {.kernel = GPU_KERNEL_GATHER_POOLED, .spec = &group, .push = &push, .args = args, .groups = {1, 2, 1}};
    assert_int_equal(gpu_begin(g, NULL), 0);
    assert_int_equal(gpu_dispatch(g, &d, NULL), 0);
    assert_int_equal(gpu_submit(g, NULL), 0);
    assert_int_equal(gpu_download(g, b[2], 0, out, 32, NULL), 0);
    assert_memory_equal(out, swapped, 32);
    for (int i = 0; i < 3; i++)
        gpu_buf_destroy(g, &b[i]);
    assert_int_equal(gpu_validation_messages(), 0);

    char *text = logged(at);
    const char *line = strstr(text, before);
    assert_non_null(line);
    assert_null(strstr(line + 1, before));
    const char *ms = strstr(line, " ms"), *end = strchr(line, '\n');
    assert_true(ms && end && ms < end);
    char *said = strndup(ms + 3, (size_t)(end - ms - 3));
    assert_non_null(said);
    free(text);
    return said;
}

static char *said_of_a_new_gpu(const char *cache_dir)
{
    struct gpu *g = open_gpu(cache_dir);
    char *said = said_of_a_kernel(g);
    gpu_destroy(&g);
    return said;
}

static void of_each_kind_and_nothing_nasty(void **state)
{
    char x[PIPELINE_STATISTICS_NAME + 1] = "", expect[256];
    memset(x, 'x', PIPELINE_STATISTICS_NAME);
    setenv("LIE_STATISTICS", "9", 1);
    char *said = said_of_a_new_gpu(NULL);
    snprintf(expect, sizeof expect, "%s %s=44 a_b_c__=45 Statistic_8=48",
             ": subgroup=32 Register_Count=40 Spills=-9223372036854775808 Fast=1 Occupancy=0.75", x);
    assert_string_equal(said, expect);
    free(said);
}

/* More than are looked at: the line has what fits, and whole pairs only. */
static void of_very_many_a_part(void **state)
{
    static const char *const many[] = {"64", "65", "100000"};
    for (int i = 0; i < 3; i++) {
        setenv("LIE_STATISTICS", many[i], 1);
        char *said = said_of_a_new_gpu(NULL);
        const size_t len = strlen(said);
        unsigned number, value;
        assert_true(len < PIPELINE_STATISTICS_TEXT && len >= PIPELINE_STATISTICS_TEXT - 17);
        assert_int_equal(sscanf(strrchr(said, ' '), " Statistic_%u=%u", &number, &value), 2);
        assert_int_equal(value, 40 + number);
        free(said);
    }
}

static void a_driver_that_says_nothing_or_nonsense_is_no_error(void **state)
{
    static const char *const mute[] = {"1", "2", "3", "0"}, *const expect[] = {"", ": subgroup=32", ": subgroup=0", ": subgroup=32"};
    for (int i = 0; i < 4; i++) {
        setenv("LIE_MUTE", mute[i], 1);
        setenv("LIE_STATISTICS", i < 3 ? "5" : "0", 1);
        char *said = said_of_a_new_gpu(NULL);
        assert_string_equal(said, expect[i]);
        free(said);
    }
}

/* The layer ends the process if a kernel is to tell of itself on a device that is not opened for it. */
static void only_while_debug_messages_are_logged(void **state)
{
    setenv("LIE_STATISTICS", "1", 1);
    log_set_level(LOG_INFO);
    struct gpu *g = open_gpu(NULL);
    log_set_level(LOG_DEBUG);
    char *said = said_of_a_kernel(g);
    assert_string_equal(said, "");
    free(said);
    gpu_destroy(&g);
    said = said_of_a_new_gpu(NULL);
    assert_string_equal(said, ": subgroup=32 Register_Count=40");
    free(said);
}

/* One file serves runs with and without debug messages, whoever wrote it. */
static void the_pipeline_cache_serves_both(void **state)
{
    static const enum log_level levels[] = {LOG_INFO, LOG_DEBUG, LOG_DEBUG, LOG_INFO, LOG_INFO};
    setenv("LIE_STATISTICS", "1", 1);
    for (int i = 0; i < 5; i++) {
        log_set_level(levels[i]);
        struct gpu *g = open_gpu(folder);
        assert_int_equal(gpu_counts(g)->cache_loaded, i > 0);
        log_set_level(LOG_DEBUG);
        char *said = said_of_a_kernel(g);
        assert_string_equal(said, levels[i] == LOG_DEBUG ? ": subgroup=32 Register_Count=40" : "");
        free(said);
        gpu_destroy(&g);
    }
}

static VkPipelineExecutableStatisticKHR row(const char *name, VkPipelineExecutableStatisticFormatKHR format, uint64_t bits)
{
    VkPipelineExecutableStatisticKHR s = {.format = format, .value.u64 = bits};
    memcpy(s.name, name, strlen(name) + 1);
    return s;
}

static void values_of_every_format(void **state)
{
    const uint64_t u = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR, most = UINT64_MAX;
    const double values[] = {NAN, INFINITY, -1e300, 1.0 / 3};
    VkPipelineExecutableStatisticKHR list[8] = {
        row("u", (VkPipelineExecutableStatisticFormatKHR)u, most), row("i", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR, most),
        row("b", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR, most), row("k", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_MAX_ENUM_KHR, most),
    };
    for (int i = 0; i < 4; i++) {
        list[4 + i] = row("f", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR, 0);
        list[4 + i].value.f64 = values[i];
    }
    char text[PIPELINE_STATISTICS_TEXT] = "text";
    size_t len = 4;
    pipeline_statistics_format(list, 0, text, &len);
    assert_string_equal(text, "text");
    pipeline_statistics_format(list, 8, text, &len);
    assert_string_equal(text, "text u=18446744073709551615 i=-1 b=1 f=nan f=inf f=-1e+300 f=0.333333");
    assert_int_equal(len, strlen(text));
}

/* However many a driver says there are. */
static void no_more_than_there_is_room_for(void **state)
{
    VkPipelineExecutableStatisticKHR list[PIPELINE_STATISTICS_MAX + 1] = {{0}};
    char text[PIPELINE_STATISTICS_TEXT] = "";
    size_t len = 0;
    list[PIPELINE_STATISTICS_MAX - 1] = row("last", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR, 1);
    list[PIPELINE_STATISTICS_MAX] = row("beyond", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR, 2);
    pipeline_statistics_format(list, UINT32_MAX, text, &len);
    assert_string_equal(text, " last=1");
}

/* Of any bytes at all, wherever the text begins: one line of printable ASCII that ends with a whole value. */
static void any_bytes_are_bounded(void **state)
{
    uint64_t rng = unit_seed();
    VkPipelineExecutableStatisticKHR *list = malloc(PIPELINE_STATISTICS_MAX * sizeof *list);
    assert_non_null(list);
    for (int round = 0; round < 2000; round++) {
        const uint32_t n = unit_rand(&rng) % (PIPELINE_STATISTICS_MAX + 1);
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t ends = unit_rand(&rng) % 300;
            for (uint32_t k = 0; k < VK_MAX_DESCRIPTION_SIZE; k++)
                list[i].name[k] = (char)(k == ends ? 0 : unit_rand(&rng));
            list[i].format = (VkPipelineExecutableStatisticFormatKHR)(unit_rand(&rng) % 5);
            list[i].value.u64 = unit_rand(&rng);
        }
        struct {
            char text[PIPELINE_STATISTICS_TEXT], guard[8];
        } out;
        memset(&out, '#', sizeof out);
        size_t len = unit_rand(&rng) % PIPELINE_STATISTICS_TEXT;
        out.text[len] = 0;
        const size_t from = len;
        pipeline_statistics_format(list, n, out.text, &len);
        assert_memory_equal(out.guard, "########", 8);
        assert_true(len >= from && len < PIPELINE_STATISTICS_TEXT && strlen(out.text) == len);
        for (size_t at = from; at < len;) {
            assert_int_equal(out.text[at], ' ');
            const char *equals = strchr(out.text + at, '=');
            assert_non_null(equals);
            const size_t name = (size_t)(equals - out.text) - at - 1, value = strcspn(equals + 1, " ");
            assert_true(name > 0 && name <= PIPELINE_STATISTICS_NAME && value > 0);
            for (size_t k = at + 1; k < at + 2 + name + value; k++)
                assert_true(out.text[k] > ' ' && out.text[k] <= '~');
            at += 2 + name + value;
        }
    }
    free(list);
}

static void remove_folder(void)
{
    DIR *d = opendir(folder);
    char path[400];
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path); /* not "." and ".." */
    }
    if (d)
        closedir(d);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_format),
        cmocka_unit_test(no_more_than_there_is_room_for),
        cmocka_unit_test(any_bytes_are_bounded),
        cmocka_unit_test(of_each_kind_and_nothing_nasty),
        cmocka_unit_test(of_very_many_a_part),
        cmocka_unit_test(a_driver_that_says_nothing_or_nonsense_is_no_error),
        cmocka_unit_test(only_while_debug_messages_are_logged),
        cmocka_unit_test(the_pipeline_cache_serves_both),
    };
    if (!unit_folder(folder, "statistics"))
        return 1;
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    if (log_open_file(log_path) < 0)
        return 1;
    log_set_level(LOG_DEBUG);
    const int r = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder();
    return r;
}
