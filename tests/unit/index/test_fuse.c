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
    const struct fusion weights = {.weights = {1, 1}};
    struct topk a = list(dense, 4), b = list(words, 3);
    struct ranked out[8];
    const struct topk *both[2] = {&a, &b}, *first[2] = {&a, NULL};
    assert_int_equal(fuse(both, &weights, out), 4);
    assert_int_equal(out[0].key, 20); /* second and first */
    assert_int_equal(out[0].chunk, 5);
    assert_true(fabsf(out[0].score - (1 / 62.f + 1 / 61.f)) < 1e-6f);
    assert_int_equal(out[1].key, 30); /* third document (document 10 counts once) and second */
    assert_true(fabsf(out[1].score - (1 / 63.f + 1 / 62.f)) < 1e-6f);
    assert_int_equal(out[2].key, 10);
    assert_int_equal(out[3].key, 40);
    assert_int_equal(fuse(first, &weights, out), 3);
    assert_int_equal(out[0].chunk, 1);
    assert_true(out[0].score == 4);
    topk_finish(&a);
    topk_finish(&b);
}

/* Chunks beginning with `first`, of as many documents, with these scores. */
static struct topk scored(uint64_t first, const float *scores, size_t n)
{
    struct topk t;
    assert_int_equal(topk_init(&t, n ? n : 1), 0);
    for (size_t i = 0; i < n; i++)
        t.items[t.n++] = (struct ranked){first + i, first + i, scores[i]};
    return t;
}

static float score_of(const struct ranked *list, int n, uint64_t key)
{
    for (int i = 0; i < n; i++)
        if (list[i].key == key)
            return list[i].score;
    fail_msg("%d is not there", (int)key);
    return 0;
}

/* Documents 1, 2, 3 by meaning, 2, 3, 4 by words. */
static void test_scores(void **state)
{
    const float near[] = {0.9f, 0.5f, 0.4f}, words[] = {8, 4, 3};
    struct topk a = scored(1, near, 3), b = scored(2, words, 3);
    const struct topk *both[2] = {&a, &b}, *second[2] = {NULL, &b};
    struct fusion f = {.by = INDEX_FUSION_SCORE, .weights = {1, 1}};
    struct ranked out[8];
    /* means 0.6 and 5, deviations sqrt(0.14 / 3) and sqrt(14 / 3): the same three standard scores in both */
    const double per = sqrt(14 / 3.0), first = 3 / per, middle = -1 / per, last = -2 / per;
    assert_int_equal(fuse(both, &f, out), 4);
    assert_int_equal(out[0].key, 2);
    assert_true(fabs((double)score_of(out, 4, 1) - (first + 3)) < 1e-5);
    assert_true(fabs((double)score_of(out, 4, 2) - (middle + 3 + first + 3)) < 1e-5);
    assert_true(fabs((double)score_of(out, 4, 3) - (last + 3 + middle + 3)) < 1e-5);
    assert_true(fabs((double)score_of(out, 4, 4) - (last + 3)) < 1e-5);
    f.weights[0] = 0.25f; /* what was first by meaning is last now */
    assert_int_equal(fuse(both, &f, out), 4);
    assert_true(fabs((double)score_of(out, 4, 1) - 0.25 * (first + 3)) < 1e-5);
    assert_int_equal(out[3].key, 1);
    f.weights[0] = 1;
    /* seven more without the words: mean 1.5, deviation sqrt(8.9 - 2.25), and these seven gain nothing by them */
    f.n_all[1] = 10;
    assert_int_equal(fuse(both, &f, out), 4);
    const double spread = sqrt(8.9 - 2.25);
    assert_true(fabs((double)score_of(out, 4, 4) - 3 / spread) < 1e-5);
    assert_true(fabs((double)score_of(out, 4, 2) - (middle + 3 + 8 / spread)) < 1e-5);
    f.n_all[1] = SIZE_MAX; /* more than are counted: 97 of them */
    assert_int_equal(fuse(both, &f, out), 4);
    assert_true(fabs((double)score_of(out, 4, 4) - 3 / sqrt(0.89 - 0.15 * 0.15)) < 1e-5);
    assert_int_equal(fuse(second, &f, out), 3); /* one list keeps its own */
    assert_true(out[0].score == 8);
    topk_finish(&a);
    topk_finish(&b);
}

/* Lists of one, of scores that are alike, of none, and of more than are counted. */
static void test_scores_alike(void **state)
{
    const float same[] = {7, 7, 7 * (1 - 1e-7f)}, one[] = {4};
    float many[250];
    for (size_t i = 0; i < 250; i++)
        many[i] = i < FUSE_DEPTH ? (float)(FUSE_DEPTH - i) : -1e30f;
    struct topk a = scored(1, same, 3), b = scored(9, one, 1), none = scored(0, NULL, 0), c = scored(100, many, 250);
    const struct topk *lists[2] = {&a, &b}, *empty[2] = {&none, &b}, *deep[2] = {&c, &b};
    struct fusion f = {.by = INDEX_FUSION_SCORE, .weights = {1, 1}};
    struct ranked out[251];
    assert_int_equal(fuse(lists, &f, out), 4);
    for (int i = 0; i < 4; i++)
        assert_true(out[i].score == 3);
    f.n_all[1] = 1;
    assert_int_equal(fuse(empty, &f, out), 1);
    assert_true(out[0].score == 3);
    f.n_all[1] = 0;
    assert_int_equal(fuse(deep, &f, out), 251); /* the first hundred's mean is 50.5, whatever lies behind */
    assert_int_equal(out[0].key, 100);
    assert_true(fabs((double)out[0].score - (49.5 / sqrt(9999 / 12.0) + 3)) < 1e-4);
    assert_true(score_of(out, 251, 349) == 0);
    topk_finish(&a);
    topk_finish(&b);
    topk_finish(&c);
    topk_finish(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topk),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_fuse),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_scores_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
