/* Products on cooperative matrices where a device has none: the shaders in plain GLSL (shaders/lib/matrices.glsl), and otherwise all as on a GPU
 * whose subgroups of 32 hold what NVIDIA's hold. So matmul_few.comp, which no software driver's matrices suit, runs everywhere. What the
 * linker puts in the place of two functions of gpu/ makes the device seem so (meson.build). */
#include "tests/unit.h"

#include "gpu/tuning.h"
#include "gpu/vk.h"
#include "model/conformance/conform.h"
#include "model/ops_vulkan_impl.h"

#include "shaders/emulated_fragments_spread.spv.h"
#include "shaders/emulated_matmul_coop_bf16w.spv.h"
#include "shaders/emulated_matmul_coop_f16w.spv.h"
#include "shaders/emulated_matmul_coop_q4.spv.h"
#include "shaders/emulated_matmul_coop_q4k.spv.h"
#include "shaders/emulated_matmul_coop_q5.spv.h"
#include "shaders/emulated_matmul_coop_q5k.spv.h"
#include "shaders/emulated_matmul_coop_q6k.spv.h"
#include "shaders/emulated_matmul_coop_q8w.spv.h"
#include "shaders/emulated_matmul_few_bf16w.spv.h"
#include "shaders/emulated_matmul_few_f16w.spv.h"
#include "shaders/emulated_matmul_few_q4.spv.h"
#include "shaders/emulated_matmul_few_q4k.spv.h"
#include "shaders/emulated_matmul_few_q5.spv.h"
#include "shaders/emulated_matmul_few_q5k.spv.h"
#include "shaders/emulated_matmul_few_q6k.spv.h"
#include "shaders/emulated_matmul_few_q8w.spv.h"

#define SHARED_OF_EMULATION (4 * 2 * 4 * 16 * 16) /* bytes: two matrices of each of four subgroups, in f32 */

static const struct {
    enum gpu_kernel kernel;
    const uint32_t *spirv;
    size_t bytes;
} emulated[] = {
#define ROW(kernel, stem) {GPU_KERNEL_##kernel, emulated_##stem, sizeof emulated_##stem}
    ROW(FRAGMENTS_SPREAD, fragments_spread),
    ROW(MATMUL_COOP_F16W, matmul_coop_f16w),
    ROW(MATMUL_COOP_BF16W, matmul_coop_bf16w),
    ROW(MATMUL_COOP_Q8W, matmul_coop_q8w),
    ROW(MATMUL_COOP_Q4, matmul_coop_q4),
    ROW(MATMUL_COOP_Q5, matmul_coop_q5),
    ROW(MATMUL_COOP_Q4K, matmul_coop_q4k),
    ROW(MATMUL_COOP_Q5K, matmul_coop_q5k),
    ROW(MATMUL_COOP_Q6K, matmul_coop_q6k),
    ROW(MATMUL_FEW_F16W, matmul_few_f16w),
    ROW(MATMUL_FEW_BF16W, matmul_few_bf16w),
    ROW(MATMUL_FEW_Q8W, matmul_few_q8w),
    ROW(MATMUL_FEW_Q4, matmul_few_q4),
    ROW(MATMUL_FEW_Q5, matmul_few_q5),
    ROW(MATMUL_FEW_Q4K, matmul_few_q4k),
    ROW(MATMUL_FEW_Q5K, matmul_few_q5k),
    ROW(MATMUL_FEW_Q6K, matmul_few_q6k),
#undef ROW
};

const struct gpu_kernel_row *__real_gpu_kernel_row(enum gpu_kernel k);
const struct gpu_kernel_row *__wrap_gpu_kernel_row(enum gpu_kernel k);
int __wrap_probe_fragments(struct gpu *g, struct err_msg *em);

const struct gpu_kernel_row *__wrap_gpu_kernel_row(enum gpu_kernel k)
{
    static struct gpu_kernel_row rows[sizeof emulated / sizeof *emulated];
    const struct gpu_kernel_row *real = __real_gpu_kernel_row(k);
    for (size_t i = 0; i < sizeof emulated / sizeof *emulated; i++) {
        if (emulated[i].kernel != k)
            continue;
        rows[i] = *real;
        rows[i].spirv = emulated[i].spirv;
        rows[i].spirv_bytes = emulated[i].bytes;
        rows[i].full_subgroups = false;
        return &rows[i];
    }
    return real;
}

int __wrap_probe_fragments(struct gpu *g, struct err_msg *em)
{
    (void)em;
    g->limits.coop = (struct gpu_coop){16, 16, 16, 32, false, 4};
    g->limits.max_shared -= SHARED_OF_EMULATION;
    g->forced_path = TUNING_COOP; /* a software device would not take it */
    return 0;
}

/* All cases of products, with numbers for which a software device compiles the shaders in bearable time. */
static void check(const char *changes)
{
    struct err_msg em = {0};
    struct ops *o = NULL;
    struct conform k;
    setenv("LATENTD_VULKAN_TUNING", changes, 1);
    const int r = ops_vulkan_create(&o, &(struct ops_vulkan_params){.max_batch_tokens = CONFORM_BATCH}, &em);
    if (r < 0)
        fail_msg("%s", em.text);
    assert_int_equal(ops_vulkan(o)->g->limits.coop.sharing, 4);
    conform_init(&k, o, 3);
    k.brief = true;
    check_matmul(&k);
    print_message("%s: %u products, %u failed\n", changes, k.n_cases, k.n_failed);
    assert_true(k.n_cases > 300);
    assert_int_equal(k.n_failed, 0);
    ops_destroy(&o);
}

static void as_measured(void **state)
{
    check("coop_sums=32");
}

static void wide_turns_two_ahead(void **state)
{
    check("coop_sums=32,few_eights=4,few_ahead=2,groups_wanted=1,few_subgroups=1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_measured), cmocka_unit_test(wide_turns_two_ahead)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
