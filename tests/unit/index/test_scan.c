/* Scans find exactly the nearest, though most of what they compare is codes: of vectors whose codes are off by nearly half a step in all
 * dimensions, the nearest away from the question and the others towards it; that differ by less than a step; or whose largest value lies
 * far above the others. */
#include "tests/unit.h"

#include <math.h>

#include "index/graph.h"

#define N 5000u
#define DIM 40u
#define K 25u
#define QUERY N

enum kind { SMOOTH, ALIGNED, NEAR, OUTLIER, N_KINDS };
static const char *const kinds[] = {"smooth", "aligned", "near", "outlier"};

static float noise(uint64_t *rng)
{
    return (float)(unit_rand(rng) >> 40) / (1 << 23) - 1;
}

static void draw(enum kind kind, uint32_t i, uint64_t *rng, float *v)
{
    for (unsigned j = 0; j < DIM; j++)
        switch (kind) {
        case SMOOTH: v[j] = noise(rng); break;
        /* In steps: the question becomes 31, one of 100 becomes 30 though it is nearly the same, the others become 31 from afar. */
        case ALIGNED: v[j] = ((i == QUERY ? 30.51f : i % 100 == 0 ? 30.49f : 31.3f) + 0.004f * noise(rng)) / 127; break;
        case NEAR: v[j] = 0.5f + 0.3f * sinf((float)j) + 1e-3f * noise(rng); break;
        case OUTLIER: v[j] = 0.02f * noise(rng); break;
        default: break;
        }
    if (kind == ALIGNED || kind == OUTLIER)
        v[0] = 1;
}

static double distance(enum metric metric, const float *a, const float *b)
{
    double dot = 0, aa = 0, bb = 0, d = 0;
    for (unsigned j = 0; j < DIM; j++) {
        dot += (double)a[j] * b[j];
        aa += (double)a[j] * a[j];
        bb += (double)b[j] * b[j];
        d += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
    }
    return metric == METRIC_L2 ? d : metric == METRIC_IP ? -dot : -dot / sqrt(aa * bb);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The distances of all that the step lets through, in order. */
static uint32_t truth(enum metric metric, const float (*v)[DIM], const float *q, uint32_t step, double *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < N; i += step)
        out[n++] = distance(metric, q, v[i]);
    qsort(out, n, sizeof *out, by_size);
    return n;
}

static void compare(const struct graph *g, struct graph_scratch *s, enum metric metric, const float (*v)[DIM], const float *q, uint32_t step)
{
    static uint64_t labels[N];
    static double want[N];
    struct graph_hit hits[K];
    struct graph_stats st;
    uint32_t n = truth(metric, v, q, step, want);
    size_t found;
    for (uint32_t i = 0; i < n; i++)
        labels[i] = 1000 + i * step;
    struct graph_query query = {.v = q, .k = K, .labels = labels, .n_labels = n, .exact = step == 1};
    if (step == 1)
        query.labels = NULL;
    assert_int_equal(graph_search(g, s, &query, hits, &found, &st), 0);
    assert_int_equal(found, n < K ? n : K);
    for (size_t i = 0; i < found; i++) {
        double d = distance(metric, q, v[hits[i].label - 1000]);
        assert_true(fabs(-hits[i].score - d) <= 2e-6 * (1 + fabs(d)));
        assert_true(fabs(d - want[i]) <= 1e-6 * (1 + fabs(d))); /* the i-th nearest, or one that f32 cannot tell from it */
    }
}

static void one(enum kind kind, enum metric metric, enum graph_codes codes)
{
    static float v[N][DIM];
    struct graph *g = NULL;
    struct graph_scratch *s = NULL;
    uint64_t rng = 7 + kind;
    struct graph_params p = {.dim = DIM, .m = 4, .ef_construction = 8, .metric = metric, .codes = codes};
    uint64_t seq;
    print_message("%s, metric %d, codes %d\n", kinds[kind], (int)metric, (int)codes);
    assert_int_equal(graph_open(&g, NULL, &p, &seq, NULL, NULL), 0);
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint32_t i = 0; i < N; i++) {
        draw(kind, i, &rng, v[i]);
        assert_int_equal(graph_add(g, 1000 + i, v[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        float q[DIM];
        draw(kind, QUERY, &rng, q);
        compare(g, s, metric, v, q, 1);
        compare(g, s, metric, v, q, 3);
        compare(g, s, metric, v, q, 500);
    }
    graph_scratch_destroy(&s);
    graph_destroy(&g);
}

static void test_scans(void **state)
{
    for (int kind = 0; kind < N_KINDS; kind++)
        for (int metric = METRIC_COSINE; metric <= METRIC_L2; metric++) {
            one(kind, metric, GRAPH_CODES_INT8);
            one(kind, metric, GRAPH_CODES_1BIT);
        }
    one(SMOOTH, METRIC_COSINE, GRAPH_CODES_F32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
