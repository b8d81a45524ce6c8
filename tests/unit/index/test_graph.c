/* The graph in memory: against exact search, through churn, and at the edges. */
#include "tests/unit.h"

#include <math.h>

#include "index/graph.h"

static float uniform(uint64_t *rng)
{
    return (float)((double)(unit_rand(rng) >> 11) * 0x1p-53 * 2 - 1);
}

/* Clustered, as embeddings are. */
static void make_vector(uint64_t seed, uint64_t label, uint32_t dim, float *v)
{
    uint64_t a = seed * 1000003 + label % 37, b = seed * 7919 + label + 1;
    for (uint32_t i = 0; i < dim; i++)
        v[i] = uniform(&a) + 0.7f * uniform(&b);
}

static struct graph *open_graph(uint32_t dim, enum metric metric, uint32_t m, enum graph_codes codes)
{
    struct graph_params p = {.dim = dim, .metric = metric, .m = m, .ef_construction = 80, .codes = codes};
    struct graph *g = NULL;
    uint64_t seq = 1;
    assert_int_equal(graph_open(&g, NULL, &p, &seq, NULL, NULL), 0);
    assert_int_equal(seq, 0);
    return g;
}

static void assert_sound(struct graph *g, uint64_t n_live)
{
    struct graph_report rep;
    int r = graph_check(g, &rep);
    if (r < 0)
        print_error("%u problems: %s\n", rep.n_problems, rep.text);
    assert_int_equal(r, 0);
    assert_int_equal(rep.n_live, n_live);
    assert_int_equal(rep.n_reached, n_live);
    assert_int_equal(graph_count(g), n_live);
}

static double recall(struct graph *g, struct graph_scratch *s, uint32_t dim, uint64_t seed,
                     uint32_t k, uint32_t ef)
{
    float *v = malloc(dim * sizeof *v);
    struct graph_hit near[64], exact[64];
    size_t n_near, n_exact, hit = 0, all = 0;
    for (uint64_t i = 0; i < 100; i++) {
        make_vector(seed, 1000000 + i, dim, v);
        struct graph_query q = {.v = v, .k = k, .ef = ef};
        assert_int_equal(graph_search(g, s, &q, near, &n_near, NULL), 0);
        q.exact = true;
        assert_int_equal(graph_search(g, s, &q, exact, &n_exact, NULL), 0);
        assert_int_equal(n_near, n_exact);
        for (size_t a = 0; a < n_exact; a++)
            for (size_t b = 0; b < n_near; b++)
                hit += near[b].label == exact[a].label;
        for (size_t b = 1; b < n_near; b++)
            assert_true(near[b - 1].score >= near[b].score);
        all += n_exact;
    }
    free(v);
    return all ? (double)hit / (double)all : 1;
}

static void recall_of(uint32_t dim, enum metric metric, enum graph_codes codes)
{
    struct graph *g = open_graph(dim, metric, 8, codes);
    struct graph_scratch *s = NULL;
    float *v = malloc(dim * sizeof *v);
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t i = 0; i < 3000; i++) {
        make_vector(1, i, dim, v);
        assert_int_equal(graph_add(g, i, v), 0);
    }
    assert_sound(g, 3000);
    double r = recall(g, s, dim, 1, 10, 80);
    print_message("dim %u metric %d codes %d: recall@10 %.3f\n", dim, (int)metric, (int)codes, r);
    assert_true(r >= 0.95);
    free(v);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
}

static void test_recall(void **state)
{
    for (int metric = METRIC_COSINE; metric <= METRIC_L2; metric++) {
        recall_of(48, (enum metric)metric, GRAPH_CODES_INT8);
        recall_of(48, (enum metric)metric, GRAPH_CODES_F32);
        recall_of(100, (enum metric)metric, GRAPH_CODES_AUTO);
        recall_of(100, (enum metric)metric, GRAPH_CODES_1BIT);
    }
    recall_of(1100, METRIC_COSINE, GRAPH_CODES_INT8); /* walked by sketches */
    recall_of(1100, METRIC_L2, GRAPH_CODES_INT8);
    recall_of(3, METRIC_L2, GRAPH_CODES_AUTO);
}

/* Adds, replacements and removals at random; the graph agrees with a plain table all the time. */
static void churn(uint64_t seed, uint32_t dim, uint32_t m, uint32_t n_labels, uint32_t n_ops)
{
    struct graph *g = open_graph(dim, METRIC_COSINE, m, GRAPH_CODES_AUTO);
    struct graph_scratch *s = NULL;
    float *v = malloc(dim * sizeof *v);
    uint64_t *version = calloc(n_labels, sizeof *version), live = 0, rng = seed;
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint32_t op = 0; op < n_ops; op++) {
        uint64_t label = unit_rand(&rng) % n_labels;
        /* Waves of growth and of decay. */
        bool add = unit_rand(&rng) % 100 < (op / (n_ops / 6) % 2 ? 20 : 80);
        if (add) {
            live += !version[label];
            version[label] = op + 1;
            make_vector(seed, label + 100000 * (op + 1), dim, v);
            assert_int_equal(graph_add(g, label, v), 0);
            struct graph_query q = {.v = v, .k = 1};
            struct graph_hit hit;
            size_t n;
            assert_int_equal(graph_search(g, s, &q, &hit, &n, NULL), 0);
            assert_int_equal(n, 1);
            assert_int_equal(hit.label, label);
        } else {
            assert_int_equal(graph_remove(g, label), version[label] ? 0 : LT_ENOTFOUND);
            live -= version[label] != 0;
            version[label] = 0;
        }
        if (op % (n_ops / 12) == 0)
            assert_sound(g, live);
    }
    assert_sound(g, live);
    for (uint64_t label = 0; label < n_labels; label++)
        assert_int_equal(graph_has(g, label), version[label] != 0);
    struct graph_info info;
    graph_info(g, &info);
    print_message("churn: %u live, %u slots\n", (unsigned)info.n_live, (unsigned)info.n_slots);
    assert_true(recall(g, s, dim, seed, 10, 100) >= 0.93);
    for (uint64_t label = 0; label < n_labels; label++)
        if (version[label])
            assert_int_equal(graph_remove(g, label), 0);
    assert_sound(g, 0);
    free(v);
    free(version);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
}

static void test_churn(void **state)
{
    uint64_t seed = unit_seed();
    churn(seed, 32, 8, 2000, 12000);
    churn(seed + 1, 16, 4, 300, 6000);
    churn(seed + 2, 4, 4, 40, 3000);
    churn(seed + 3, 1100, 8, 400, 2400); /* with sketches */
}

static size_t find(struct graph *g, struct graph_scratch *s, const struct graph_query *q,
                   struct graph_hit *out, enum graph_short why)
{
    struct graph_stats st;
    size_t n = 99;
    assert_int_equal(graph_search(g, s, q, out, &n, &st), 0);
    assert_int_equal(st.why, why);
    return n;
}

static bool allow_one(void *arg, uint64_t label)
{
    return label == *(uint64_t *)arg;
}

static bool allow_some(void *arg, uint64_t label)
{
    return label % *(uint64_t *)arg == 0;
}

static void test_edges(void **state)
{
    struct graph *g = open_graph(40, METRIC_COSINE, 4, GRAPH_CODES_AUTO);
    struct graph_scratch *s = NULL;
    struct graph_hit hits[64];
    float v[40] = {1}, zero[40] = {0}, nan[40] = {NAN}, huge[40] = {1e30f};
    struct graph_query q = {.v = v, .k = 10};
    assert_int_equal(graph_scratch_create(&s), 0);
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_EXHAUSTED), 0);
    assert_int_equal(graph_remove(g, 1), LT_ENOTFOUND);
    assert_int_equal(graph_add(g, 1, zero), LT_ENAN);
    assert_int_equal(graph_add(g, 1, nan), LT_ENAN);
    assert_int_equal(graph_add(g, 1, huge), LT_ENAN);
    assert_int_equal(graph_add(g, UINT64_MAX, v), LT_EINVAL);
    assert_sound(g, 0);
    assert_int_equal(graph_add(g, 1, v), 0);
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_EXHAUSTED), 1);
    assert_float_equal(hits[0].score, 1, 1e-6);
    q.k = 0;
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_NONE), 0);
    q.k = 1;
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_NONE), 1);
    q.v = zero;
    size_t n;
    assert_int_equal(graph_search(g, s, &q, hits, &n, NULL), LT_ENAN);
    q.v = v;
    for (uint64_t i = 0; i < 40; i++) { /* replaced again and again, then gone */
        v[i] = 2;
        assert_int_equal(graph_add(g, 1, v), 0);
        assert_sound(g, 1);
    }
    assert_int_equal(graph_remove(g, 1), 0);
    assert_sound(g, 0);
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_EXHAUSTED), 0);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
}

static void test_duplicates(void **state)
{
    struct graph *g = open_graph(40, METRIC_L2, 4, GRAPH_CODES_AUTO);
    struct graph_scratch *s = NULL;
    static struct graph_hit hits[2000];
    float v[40], same[40] = {0};
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t i = 0; i < 1000; i++) {
        make_vector(3, i, 40, v);
        assert_int_equal(graph_add(g, 2 * i, v), 0);
        assert_int_equal(graph_add(g, 2 * i + 1, same), 0);
    }
    assert_sound(g, 2000);
    struct graph_query q = {.v = same, .k = 2000};
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_NONE), 2000);
    q = (struct graph_query){.v = v, .k = 1, .ef = 64};
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_NONE), 1);
    assert_int_equal(hits[0].label, 1998);
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(graph_remove(g, 2 * i + (i % 10 != 0)), 0);
    assert_sound(g, 1000);
    q = (struct graph_query){.v = same, .k = 1500};
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_EXHAUSTED), 1000);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
}

static void test_filter(void **state)
{
    struct graph *g = open_graph(32, METRIC_COSINE, 8, GRAPH_CODES_AUTO);
    struct graph_scratch *s = NULL;
    struct graph_hit hits[64], exact[64];
    float v[32];
    uint64_t arg = 7;
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t i = 0; i < 3000; i++) {
        make_vector(5, i, 32, v);
        assert_int_equal(graph_add(g, i, v), 0);
    }
    struct graph_query q = {.v = v, .k = 10, .allow = allow_one, .allow_arg = &arg};
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_FILTER), 1);
    assert_int_equal(hits[0].label, 7);
    arg = 5000;
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_FILTER), 0);
    q.allow = allow_some;
    for (arg = 1; arg < 300; arg *= 3) {
        q.exact = false;
        assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_NONE), 10);
        q.exact = true;
        assert_int_equal(find(g, s, &q, exact, GRAPH_SHORT_NONE), 10);
        int same = 0;
        for (int i = 0; i < 10; i++)
            for (int j = 0; j < 10; j++)
                same += hits[i].label == exact[j].label;
        print_message("filter 1 in %u: %d of 10\n", (unsigned)arg, same);
        assert_true(same >= 9);
        assert_int_equal(hits[0].label % arg, 0);
    }
    uint64_t labels[] = {5, 9, 5, 77777, 11};
    q = (struct graph_query){.v = v, .k = 10, .labels = labels, .n_labels = 5};
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_FILTER), 3);
    q.n_labels = 0;
    assert_int_equal(find(g, s, &q, hits, GRAPH_SHORT_FILTER), 0);
    graph_scratch_destroy(&s);
    graph_destroy(&g);
}

static void test_params(void **state)
{
    struct graph *g = NULL;
    uint64_t seq;
    const struct graph_params bad[] = {
        {.dim = 0}, {.dim = GRAPH_DIM_MAX + 1}, {.dim = 4, .m = 1}, {.dim = 4, .m = 1000},
        {.dim = 4, .ef_construction = 100000}, {.dim = 4, .metric = (enum metric)9},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(graph_open(&g, NULL, &bad[i], &seq, NULL, NULL), LT_EINVAL);
    assert_null(g);
    g = open_graph(GRAPH_DIM_MAX, METRIC_COSINE, 128, GRAPH_CODES_AUTO);
    float *v = malloc(GRAPH_DIM_MAX * sizeof *v);
    for (uint64_t i = 0; i < 8; i++) {
        make_vector(i, i, GRAPH_DIM_MAX, v);
        assert_int_equal(graph_add(g, i, v), 0);
    }
    assert_sound(g, 8);
    free(v);
    graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),  cmocka_unit_test(test_recall),
        cmocka_unit_test(test_churn),  cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_filter), cmocka_unit_test(test_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
