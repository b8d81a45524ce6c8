/* Faults made on purpose (fault points gpu_alloc and gpu_submit): out of memory at each allocation leaves nothing behind,
 * a lost device says so until it is created again. */
#include "tests/unit.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "gpu/gpu.h"
#include "model/ops_vulkan.h"

#define N 5
#define M 40
#define K 64

static float weights[M * K], x[N * K], want[N * M];

struct rig {
    struct ops *o;
    struct ops_mat *w;
    struct ops_vec *bias, *freq;
    struct ops_buf *x, *y;
};

static void rig_finish(struct rig *g)
{
    if (!g->o)
        return;
    const struct ops_vtbl *v = g->o->v;
    v->buf_destroy(g->o, &g->x);
    v->buf_destroy(g->o, &g->y);
    v->mat_destroy(g->o, &g->w);
    v->vec_destroy(g->o, &g->bias);
    v->vec_destroy(g->o, &g->freq);
    ops_destroy(&g->o);
}

static int rig_init(struct rig *g, struct err_msg *em)
{
    struct tensor t = {"w", TENSOR_F32, M, K, weights, sizeof weights};
    const struct tensor *parts = &t;
    int r;
    *g = (struct rig){0};
    if ((r = ops_vulkan_create(&g->o, &(struct ops_vulkan_params){0}, em)) < 0)
        return r;
    const struct ops_vtbl *v = g->o->v;
    if ((r = v->mat_create(g->o, &parts, 1, &g->w, em)) < 0 ||
        (r = v->vec_create(g->o, x, M, &g->bias, em)) < 0 ||
        (r = v->vec_create(g->o, x, 4, &g->freq, em)) < 0 ||
        (r = v->buf_create(g->o, N, K, &g->x, em)) < 0 || (r = v->buf_create(g->o, N, M, &g->y, em)) < 0 ||
        (r = v->buf_write(g->o, g->x, x, N * K)) < 0)
        return r;
    return 0;
}

/* A batch with allocations of its own: a rotation table and a readback buffer. */
static int rig_run(struct rig *g, float *out, struct err_msg *em)
{
    static const int32_t ids[N];
    static const uint32_t offset[] = {0, N}, skip = 0;
    const struct ops_batch b = {ids, N, offset, 1, &skip};
    const struct ops_attention a = {3, 1, 8, false, 1};
    const struct ops_vtbl *v = g->o->v;
    int r;
    if ((r = v->begin(g->o, &b, em)) < 0 || (r = v->matmul(g->o, g->x, g->w, g->bias, NULL, N, g->y)) < 0 ||
        (r = v->rope(g->o, g->y, g->freq, &a)) < 0)
        return r;
    return v->end(g->o, g->y, N, out, em);
}

static void every_allocation_may_fail(void **state)
{
    struct rig g;
    float out[N * M];
    int n_failed = 0, r = LT_ENOMEM;
    while (!fault("gpu_alloc")) /* up to the first armed pass; the others are counted from there */
        ;
    while (r < 0 && n_failed < 16) {
        struct err_msg em = {0};
        r = rig_init(&g, &em);
        if (r == 0)
            r = rig_run(&g, out, &em);
        if (r < 0) {
            assert_int_equal(r, LT_ENOMEM);
            n_failed++;
            /* a batch that ran out of memory is dropped; the next one runs */
            if (g.o && g.y) {
                r = rig_run(&g, out, &em);
                assert_int_equal(r, 0);
                assert_memory_equal(out, want, sizeof out);
                r = LT_ENOMEM;
            }
        }
        rig_finish(&g);
    }
    print_message("%d allocations failed in turn\n", n_failed);
    assert_true(n_failed >= 8);
    assert_int_equal(gpu_validation_messages(), 0);
}

/* In a process of its own, since its faults differ: the layers' silence elsewhere means something, as synchronisation validation
 * does speak up where a barrier is missing. 0: it did. */
static int run_without_barriers(void)
{
    struct rig g;
    struct err_msg em = {0};
    float out[N * M];
    setenv("LATENTD_FAULT", "gpu_no_barrier=always", 1);
    int r = rig_init(&g, &em);
    if (r == 0)
        r = rig_run(&g, out, &em);
    return r == LT_EINTERNAL && gpu_validation_messages() > 0 ? 0 : 1;
}

static pid_t without_barriers;

static void a_missing_barrier_is_noticed(void **state)
{
    int status;
    assert_true(without_barriers > 0);
    assert_int_equal(waitpid(without_barriers, &status, 0), without_barriers);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_lost_device_says_so_until_created_again(void **state)
{
    struct rig g;
    struct err_msg em = {0};
    float out[N * M];
    assert_int_equal(rig_init(&g, &em), 0);
    int r = 0;
    for (int i = 0; i < 100 && r == 0; i++)
        r = rig_run(&g, out, &em);
    assert_int_equal(r, LT_EDEVICELOST);
    assert_non_null(strstr(em.text, "VK_ERROR_DEVICE_LOST"));
    assert_int_equal(rig_run(&g, out, &em), LT_EDEVICELOST);
    struct ops_buf *b = NULL;
    assert_int_equal(g.o->v->buf_create(g.o, 1, 1, &b, &em), LT_EDEVICELOST);
    rig_finish(&g);
    assert_int_equal(rig_init(&g, &em), 0);
    assert_int_equal(rig_run(&g, out, &em), 0);
    assert_memory_equal(out, want, sizeof out);
    rig_finish(&g);
    assert_int_equal(gpu_validation_messages(), 0);
}

int main(void)
{
    /* Far more passes than the tests before it need; then the i-th attempt fails at its i-th allocation. */
    char faults[512] = "gpu_submit:40=fail,gpu_alloc:300=fail";
    for (int i = 0, pass = 301; i < 13; i++, pass += i + 1)
        snprintf(faults + strlen(faults), sizeof faults - strlen(faults), ",gpu_alloc:%d=fail", pass);
    uint64_t seed = 1;
    struct rig g;
    struct err_msg em = {0};
    for (int i = 0; i < M * K; i++)
        weights[i] = (float)(unit_rand(&seed) % 200) / 100 - 1;
    for (int i = 0; i < N * K; i++)
        x[i] = (float)(unit_rand(&seed) % 200) / 100 - 1;
    if ((without_barriers = fork()) == 0)
        _exit(run_without_barriers());
    setenv("LATENTD_FAULT", faults, 1);
    if (rig_init(&g, &em) < 0 || rig_run(&g, want, &em) < 0) {
        print_error("%s\n", em.text);
        return 1;
    }
    rig_finish(&g);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_barrier_is_noticed),
        cmocka_unit_test(a_lost_device_says_so_until_created_again),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
