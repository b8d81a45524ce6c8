/* The compute layer: enumeration, buffers, limits, submissions, and what the validation layers say. */
#include "tests/unit.h"

#include <link.h>

#include "gpu/gpu.h"
#include "gpu/tuning.h"
#include "gpu/vk.h"
#include "shaders/params.h"

static struct gpu *open_gpu(const struct gpu_params *p)
{
    struct gpu *g = NULL;
    struct err_msg em = {0};
    if (gpu_create(&g, p, &em) < 0)
        print_error("%s\n", em.text);
    assert_non_null(g);
    return g;
}

static void lists_the_driver_under_test(void **state)
{
    struct gpu_device_info list[8];
    size_t n = 0;
    const char *driver = getenv("LATENTD_TEST_DRIVER");
    assert_int_equal(gpu_list(list, 8, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_true(list[0].software);
    assert_true(gpu_matches(&list[0], driver));
    assert_true(gpu_matches(&list[0], list[0].uuid));
    assert_false(gpu_matches(&list[0], "no such device"));
    assert_int_equal(strlen(list[0].uuid), 36);
    assert_true(list[0].memory_bytes > 0);
    assert_int_equal(gpu_list(list, 0, &n, NULL), 0);
    assert_int_equal(n, 0);
}

static void unknown_name_is_not_found_and_names_the_others(void **state)
{
    struct gpu *g = NULL;
    struct err_msg em = {0};
    struct gpu_params p = {.device = "warp drive"};
    assert_int_equal(gpu_create(&g, &p, &em), LT_ENOTFOUND);
    assert_null(g);
    struct gpu_device_info list[8];
    size_t n = 0;
    assert_int_equal(gpu_list(list, 8, &n, NULL), 0);
    assert_non_null(strstr(em.text, list[0].name));
}

static void upload_and_download_agree(void **state)
{
    struct gpu *g = open_gpu(&(struct gpu_params){0});
    struct gpu_buf *b = NULL;
    uint32_t in[1000], out[1000];
    for (uint32_t i = 0; i < 1000; i++)
        in[i] = i * 2654435761u;
    assert_int_equal(gpu_buf_create(g, sizeof in, GPU_MEM_DEVICE, &b, NULL), 0);
    assert_int_equal(gpu_upload(g, b, 0, in, sizeof in, NULL), 0);
    assert_int_equal(gpu_download(g, b, 0, out, sizeof out, NULL), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(gpu_upload(g, b, gpu_buf_len(b), in, 4, NULL), LT_EINVAL);
    assert_int_equal(gpu_upload(g, b, 2, in, 4, NULL), LT_EINVAL);
    gpu_buf_destroy(g, &b);
    gpu_destroy(&g);
    assert_int_equal(gpu_validation_messages(), 0);
}

/* y = x[rows] through one kernel: enough to see barriers, counts and limits. */
static void gather(struct gpu *g, struct gpu_buf *x, struct gpu_buf *rows, struct gpu_buf *y, uint32_t groups_y,
                   int expect)
{
    struct push_rows push = {4};
    uint32_t group = tuning_element_group(g);
    struct gpu_arg args[] = {{x, 0, 0}, {rows, 0, 0}, {y, 0, 0}};
    struct gpu_dispatch d = {.kernel = GPU_KERNEL_GATHER_POOLED,
                             .spec = &group,
                             .push = &push,
                             .args = args,
                             .groups = {1, groups_y, 1}};
    struct err_msg em = {0};
    int r = gpu_dispatch(g, &d, &em);
    if (r != expect)
        print_error("%s\n", em.text);
    assert_int_equal(r, expect);
}

static void barriers_only_between_dependent_dispatches(void **state)
{
    struct gpu *g = open_gpu(&(struct gpu_params){0});
    struct gpu_buf *x = NULL, *y = NULL, *z = NULL, *rows = NULL;
    float in[8] = {0, 1, 2, 3, 4, 5, 6, 7}, out[8];
    uint32_t swap[2] = {1, 0};
    assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &x, NULL), 0);
    assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &y, NULL), 0);
    assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &z, NULL), 0);
    assert_int_equal(gpu_buf_create(g, 8, GPU_MEM_DEVICE, &rows, NULL), 0);
    assert_int_equal(gpu_upload(g, x, 0, in, 32, NULL), 0);
    assert_int_equal(gpu_upload(g, rows, 0, swap, 8, NULL), 0);
    struct gpu_counts before = *gpu_counts(g);
    assert_int_equal(gpu_begin(g, NULL), 0);
    gather(g, x, rows, y, 2, 0);
    gather(g, x, rows, z, 2, 0); /* independent of the first */
    assert_int_equal(gpu_counts(g)->barriers, before.barriers);
    gather(g, y, rows, x, 2, 0); /* reads what was written, writes what was read */
    assert_int_equal(gpu_counts(g)->barriers, before.barriers + 1);
    gather(g, z, rows, y, 2, 0); /* the barrier covered z; y was read since: one more */
    assert_int_equal(gpu_counts(g)->barriers, before.barriers + 2);
    assert_int_equal(gpu_submit(g, NULL), 0);
    assert_int_equal(gpu_counts(g)->submits, before.submits + 1);
    assert_int_equal(gpu_counts(g)->batches, before.batches + 1);
    assert_int_equal(gpu_download(g, x, 0, out, 32, NULL), 0);
    assert_memory_equal(out, in, 32); /* swapped twice */
    gpu_buf_destroy(g, &x);
    gpu_buf_destroy(g, &y);
    gpu_buf_destroy(g, &z);
    gpu_buf_destroy(g, &rows);
    gpu_destroy(&g);
    assert_int_equal(gpu_validation_messages(), 0);
}

/* A batch of many dispatches has its beginning sent ahead, in few parts and in order; one of a given amount of work has not. */
static void many_dispatches_begin_early(void **state)
{
    static const int n[] = {20, 64, 66, 180, 200, 1000};
    static const uint64_t submits[] = {1, 1, 2, 2, 3, 3};
    for (int fixed = 0; fixed < 2; fixed++) {
        struct gpu *g = open_gpu(&(struct gpu_params){.submit_work = fixed ? 1ull << 50 : 0});
        struct gpu_buf *x = NULL, *y = NULL, *rows = NULL;
        float in[8] = {0, 1, 2, 3, 4, 5, 6, 7}, out[8];
        uint32_t swap[2] = {1, 0};
        assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &x, NULL), 0);
        assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &y, NULL), 0);
        assert_int_equal(gpu_buf_create(g, 8, GPU_MEM_DEVICE, &rows, NULL), 0);
        assert_int_equal(gpu_upload(g, x, 0, in, 32, NULL), 0);
        assert_int_equal(gpu_upload(g, rows, 0, swap, 8, NULL), 0);
        for (int i = 0; i < 6; i++) {
            const uint64_t before = gpu_counts(g)->submits;
            assert_int_equal(gpu_begin(g, NULL), 0);
            for (int k = 0; k < n[i]; k++)
                gather(g, k % 2 ? y : x, rows, k % 2 ? x : y, 2, 0);
            assert_int_equal(gpu_submit(g, NULL), 0);
            assert_int_equal(gpu_counts(g)->submits - before, fixed ? 1 : submits[i]);
            assert_int_equal(gpu_download(g, x, 0, out, 32, NULL), 0);
            assert_memory_equal(out, in, 32); /* swapped an even number of times */
        }
        gpu_buf_destroy(g, &x);
        gpu_buf_destroy(g, &y);
        gpu_buf_destroy(g, &rows);
        gpu_destroy(&g);
    }
    assert_int_equal(gpu_validation_messages(), 0);
}

/* Each dispatch is timed once, over several submissions where one has no room for them; the results stay what they are. */
static void a_profile_times_every_dispatch(void **state)
{
    enum { N = 5000 };
    struct gpu *g = open_gpu(&(struct gpu_params){.submit_work = 1ull << 50});
    struct gpu_buf *x = NULL, *y = NULL, *rows = NULL;
    struct err_msg em = {0};
    float in[8] = {0, 1, 2, 3, 4, 5, 6, 7}, out[8];
    uint32_t swap[2] = {1, 0};
    assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &x, NULL), 0);
    assert_int_equal(gpu_buf_create(g, 32, GPU_MEM_DEVICE, &y, NULL), 0);
    assert_int_equal(gpu_buf_create(g, 8, GPU_MEM_DEVICE, &rows, NULL), 0);
    assert_int_equal(gpu_upload(g, x, 0, in, 32, NULL), 0);
    assert_int_equal(gpu_upload(g, rows, 0, swap, 8, NULL), 0);
    assert_null(gpu_profile(g));
    for (int round = 0; round < 2; round++) { /* a second start begins at 0 */
        assert_int_equal(gpu_profile_start(g, &em), 0);
        const uint64_t submits = gpu_counts(g)->submits;
        assert_int_equal(gpu_begin(g, NULL), 0);
        for (int i = 0; i < N; i++)
            gather(g, i % 2 ? y : x, rows, i % 2 ? x : y, 2, 0);
        assert_int_equal(gpu_submit(g, NULL), 0);
        assert_int_equal(gpu_counts(g)->submits - submits, 3);
        double ns = 0, work = 0;
        uint64_t n = 0;
        for (int k = 0; k < GPU_KERNEL_COUNT; k++) {
            const struct gpu_profile_row *row = &gpu_profile(g)[k];
            assert_int_equal(row->n, k == GPU_KERNEL_GATHER_POOLED ? N : 0);
            assert_true(row->ns >= 0 && strlen(row->kernel) > 0);
            n += row->n, ns += row->ns, work += row->work;
        }
        assert_true(ns > 0 && work > 0 && n == N);
        assert_int_equal(gpu_download(g, x, 0, out, 32, NULL), 0);
        assert_memory_equal(out, in, 32); /* swapped an even number of times */
    }
    gpu_buf_destroy(g, &x);
    gpu_buf_destroy(g, &y);
    gpu_buf_destroy(g, &rows);
    gpu_destroy(&g);
    assert_int_equal(gpu_validation_messages(), 0);
}

static void limits_are_checked_when_binding(void **state)
{
    struct gpu *g = open_gpu(&(struct gpu_params){.fake_max_range = 256});
    const struct gpu_limits *l = gpu_limits(g);
    struct gpu_buf *x = NULL, *y = NULL, *rows = NULL, *huge = NULL;
    struct err_msg em = {0};
    assert_int_equal(l->max_range, 256);
    assert_int_equal(gpu_buf_create(g, 512, GPU_MEM_DEVICE, &x, NULL), 0);
    assert_int_equal(gpu_buf_create(g, 64, GPU_MEM_DEVICE, &y, NULL), 0);
    assert_int_equal(gpu_buf_create(g, 64, GPU_MEM_DEVICE, &rows, NULL), 0);
    assert_int_equal(gpu_begin(g, NULL), 0);
    gather(g, x, rows, y, 1, LT_ELIMIT); /* x is over the range */
    if (l->max_groups[1] < UINT32_MAX)
        gather(g, y, rows, x, l->max_groups[1] + 1, LT_ELIMIT);
    assert_int_equal(gpu_buf_create(g, l->max_buffer + 16, GPU_MEM_DEVICE, &huge, &em), LT_ELIMIT);
    assert_null(huge);
    assert_int_equal(gpu_buf_create(g, UINT64_MAX, GPU_MEM_DEVICE, &huge, &em), LT_ELIMIT);
    assert_int_equal(gpu_submit(g, NULL), 0); /* nothing was recorded */
    gpu_buf_destroy(g, &x);
    gpu_buf_destroy(g, &y);
    gpu_buf_destroy(g, &rows);
    gpu_destroy(&g);
    assert_int_equal(gpu_validation_messages(), 0);
}

static void memory_is_counted_and_runs_out_cleanly(void **state)
{
    struct gpu *g = open_gpu(&(struct gpu_params){0});
    struct gpu_buf *b[64] = {0};
    struct err_msg em = {0};
    uint64_t at_start = gpu_counts(g)->memory_bytes;
    int r = 0;
    size_t n = 0;
    /* Nothing touches the pages; the budget ends it, or the number of buffers. */
    while (r == 0 && n < 64)
        r = gpu_buf_create(g, 1u << 30, GPU_MEM_DEVICE, &b[n++], &em);
    if (r < 0) {
        assert_int_equal(r, LT_ENOMEM);
        assert_non_null(strstr(em.text, "free"));
    }
    for (size_t i = 0; i < n; i++)
        gpu_buf_destroy(g, &b[i]);
    assert_int_equal(gpu_counts(g)->memory_bytes, at_start);
    gpu_destroy(&g);
    assert_int_equal(gpu_validation_messages(), 0);
}

/* Heaps that are smaller than they are: what is in use never exceeds them, and what was given back can be had again. */
static void heaps_are_obeyed(void **state)
{
    enum { HEAP = 8 << 20, N = 64 };
    struct gpu *g = open_gpu(&(struct gpu_params){.fake_heap = HEAP});
    struct gpu_buf *b[N] = {0};
    struct err_msg em = {0};
    uint64_t rng = unit_seed();
    int n_refused = 0;
    assert_true(gpu_info(g)->memory_bytes <= HEAP);
    unsigned needed = 0, left = 0;
    assert_int_equal(gpu_buf_create(g, HEAP + 16, GPU_MEM_DEVICE, &b[0], &em), LT_ENOMEM);
    assert_null(b[0]);
    /* in words that are true of 16 bytes too many */
    const char *words = strrchr(em.text, ':');
    assert_non_null(words);
    assert_int_equal(sscanf(words, ": %u KiB of device memory needed, %u KiB of 8192 KiB free", &needed, &left), 2);
    assert_int_equal(left, HEAP >> 10);
    assert_true(needed > left);
    for (int i = 0; i < 500; i++) {
        const uint32_t at = unit_rand(&rng) % N;
        if (b[at]) {
            gpu_buf_destroy(g, &b[at]);
            continue;
        }
        int r = gpu_buf_create(g, 1 + unit_rand(&rng) % (HEAP / 8), GPU_MEM_DEVICE, &b[at], &em);
        assert_true(r == 0 || r == LT_ENOMEM);
        assert_true(r == 0 || strstr(em.text, " KiB of 8192 KiB free"));
        n_refused += r < 0;
        assert_true(gpu_counts(g)->memory_bytes <= HEAP);
    }
    assert_true(n_refused > 20);
    for (int i = 0; i < N; i++)
        gpu_buf_destroy(g, &b[i]);
    assert_int_equal(gpu_counts(g)->memory_bytes, 0);
    assert_int_equal(gpu_buf_create(g, HEAP - 65536, GPU_MEM_DEVICE, &b[0], &em), 0);
    gpu_buf_destroy(g, &b[0]);
    gpu_destroy(&g);
    assert_int_equal(gpu_validation_messages(), 0);
}

static void tiles_fit_every_head_size(void **state)
{
    struct gpu *g = open_gpu(&(struct gpu_params){0});
    const struct gpu_limits *l = gpu_limits(g);
    for (uint32_t d = 1; d <= 256; d++) {
        struct tuning_attention t = tuning_attention(g, d, 1);
        assert_true(t.bq == t.group / t.tx * t.rq && t.bk == t.tx * t.rk && t.share == 1);
        assert_true(t.group <= l->max_invocations);
    }
    for (uint32_t n = 1; n < 600; n += 7) {
        struct tuning_tiles t = tuning_tiles(g, n, 333, 100);
        assert_true(t.group % t.tx == 0 && t.bm == t.tx * t.rm && t.bn == t.group / t.tx * t.rn);
        assert_true((t.bm + t.bn) * (t.bk4 + 1) * 16 <= l->max_shared && t.group <= l->max_invocations);
        assert_int_equal(PARAMS_K_PAD / 4 % t.bk4, 0);
    }
    const uint32_t lanes = tuning_rows(g, 1).lanes;
    for (uint32_t n = 1; n <= 8; n++) {
        struct tuning_rows t = tuning_rows(g, n);
        assert_true(t.lanes == lanes && (lanes & (lanes - 1)) == 0 && t.group % lanes == 0);
        assert_true(t.bm == t.group / lanes * t.rm && t.nx >= 1);
        assert_true(t.group * t.rm * t.nx * 4 <= l->max_shared && t.group <= l->max_invocations);
    }
    gpu_destroy(&g);
}

static void ways_and_numbers_are_named(void **state)
{
    struct gpu *g = NULL;
    struct err_msg em = {0};
    setenv("LATENTD_VULKAN_TUNING", "few_rows=3", 1);
    assert_int_equal(gpu_create(&g, &(struct gpu_params){0}, &em), LT_EINVAL);
    unsetenv("LATENTD_VULKAN_TUNING");
    assert_int_equal(gpu_create(&g, &(struct gpu_params){.path = "abacus"}, &em), LT_EINVAL);
    assert_null(g);
    assert_non_null(strstr(em.text, "abacus"));
    for (int i = 0; i < TUNING_PATHS; i++) {
        const int r = gpu_create(&g, &(struct gpu_params){.path = tuning_path_name((enum tuning_path)i)}, &em);
        if (r < 0)
            print_message("%s\n", em.text);
        assert_true(r == 0 || (r == LT_ENOTFOUND && i > TUNING_ROWS));
        if (r == 0) {
            /* rows of x beyond what a way is for go another */
            const unsigned both = TUNING_AS_HALF | TUNING_AS_INT8;
            assert_int_equal(tuning_path(g, 1, both), i);
            assert_int_equal(tuning_path(g, 1000, both), i == TUNING_ROWS ? TUNING_F32 : i);
            assert_int_equal(tuning_path(g, 1000, 0), TUNING_F32);
            assert_int_equal(tuning_rounds_to_int8(g), i == TUNING_DOT);
        }
        gpu_destroy(&g);
    }
}

static void without_a_driver_nothing_is_found(void **state)
{
    struct gpu_device_info list[8];
    struct gpu *g = NULL;
    struct err_msg em = {0};
    size_t n = 1;
    char *files = strdup(getenv("VK_DRIVER_FILES"));
    setenv("VK_DRIVER_FILES", "/dev/null", 1);
    setenv("VK_ICD_FILENAMES", "/dev/null", 1);
    assert_int_equal(gpu_list(list, 8, &n, &em), LT_ENOTFOUND);
    assert_int_equal(n, 0);
    assert_int_equal(gpu_create(&g, &(struct gpu_params){0}, &em), LT_ENOTFOUND);
    assert_null(g);
    assert_true(em.text[0]);
    setenv("VK_DRIVER_FILES", files, 1);
    setenv("VK_ICD_FILENAMES", files, 1);
    free(files);
}

struct library {
    const char *name;
    uintptr_t at;
};

static int find_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct library *l = arg;
    if (strstr(info->dlpi_name, l->name))
        l->at = info->dlpi_addr;
    return l->at != 0;
}

/* Where the driver's library lies in memory; 0: it is not loaded. */
static uintptr_t driver_at(void)
{
    struct library l = {strcmp(getenv("LATENTD_TEST_DRIVER"), "llvmpipe") == 0 ? "libvulkan_lvp" : "libvk_swiftshader", 0};
    dl_iterate_phdr(find_library, &l);
    return l.at;
}

/* Drivers do not bear to be unloaded and loaded again many times (gpu/instance.c). */
static void a_driver_is_loaded_once(void **state)
{
    struct gpu_device_info list[8];
    struct err_msg em = {0};
    size_t n = 0;
    uintptr_t first = 0;
    for (int i = 0; i < 3; i++) {
        struct gpu *g = NULL;
        assert_int_equal(gpu_list(list, 8, &n, &em), 0);
        assert_int_equal(gpu_create(&g, &(struct gpu_params){0}, &em), 0);
        gpu_destroy(&g);
        const uintptr_t at = driver_at();
        assert_true(at);
        assert_true(!first || first == at);
        first = at;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_driver_nothing_is_found), /* first: a driver that was found is kept */
        cmocka_unit_test(lists_the_driver_under_test),
        cmocka_unit_test(a_driver_is_loaded_once),
        cmocka_unit_test(unknown_name_is_not_found_and_names_the_others),
        cmocka_unit_test(upload_and_download_agree),
        cmocka_unit_test(barriers_only_between_dependent_dispatches),
        cmocka_unit_test(many_dispatches_begin_early),
        cmocka_unit_test(a_profile_times_every_dispatch),
        cmocka_unit_test(limits_are_checked_when_binding),
        cmocka_unit_test(memory_is_counted_and_runs_out_cleanly),
        cmocka_unit_test(heaps_are_obeyed),
        cmocka_unit_test(tiles_fit_every_head_size),
        cmocka_unit_test(ways_and_numbers_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
