#include "tests/unit.h"

#include <math.h>

#include "index/fuse.h"

static struct topk list(const uint64_t (*items)[2], size_t n)
{
    struct topk t;
    assert_int_equal(topk_init(&t, n ? n : 1), 0);
    for (size_t i = 0; i < n; i++) {
        t.items[i] = (struct ranked){items[i][0], items[i][1], (float)(n - i)};
        t.n++;
    }
    return t;
}

static void test_topk(void **state)
{
    uint64_t seed = unit_seed();
    for (size_t cap = 0; cap < 40; cap += 3) {
        struct topk t;
        float all[200];
        assert_int_equal(topk_init(&t, cap), 0);
        for (uint64_t i = 0; i < 200; i++) {
            all[i] = (float)(unit_rand(&seed) % 1000);
            topk_push(&t, i, all[i]);
        }
        topk_sort(&t);
        assert_int_equal(t.n, cap);
        for (size_t i = 0; i < t.n; i++) {
            size_t better = 0;
            for (uint64_t j = 0; j < 200; j++)
                better += all[j] > t.items[i].score || (all[j] == t.items[i].score && j < t.items[i].chunk);
            assert_int_equal(better, i);
        }
        topk_finish(&t);
    }
}

static void test_duplicates(void **state)
{
    struct topk t;
    assert_int_equal(topk_init(&t, 8), 0);
    topk_push(&t, 5, 1);
    topk_push(&t, 5, 3);
    topk_push(&t, 6, 2);
    topk_sort(&t);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.items[0].chunk, 5);
    assert_true(t.items[0].score == 3);
    topk_finish(&t);
}

static void test_fuse(void **state)
{
    /* chunk, document */
    const uint64_t dense[][2] = {{1, 10}, {2, 20}, {3, 10}, {4, 30}};
    const uint64_t words[][2] = {{5, 20}, {4, 30}, {6, 40}};
    const float weights[2] = {1, 1};
    struct topk a = list(dense, 4), b = list(words, 3);
    struct ranked out[8];
    const struct topk *both[2] = {&a, &b}, *first[2] = {&a, NULL};
    assert_int_equal(fuse(both, weights, out), 4);
    assert_int_equal(out[0].key, 20); /* second and first */
    assert_int_equal(out[0].chunk, 5);
    assert_true(fabsf(out[0].score - (1 / 62.f + 1 / 61.f)) < 1e-6f);
    assert_int_equal(out[1].key, 30); /* third document (document 10 counts once) and second */
    assert_true(fabsf(out[1].score - (1 / 63.f + 1 / 62.f)) < 1e-6f);
    assert_int_equal(out[2].key, 10);
    assert_int_equal(out[3].key, 40);
    assert_int_equal(fuse(first, weights, out), 3);
    assert_int_equal(out[0].chunk, 1);
    assert_true(out[0].score == 4);
    topk_finish(&a);
    topk_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topk),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_fuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
