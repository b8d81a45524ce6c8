/* Recall of filtered searches against brute force: filters that let 50, 10, 1, 0.1 and 0.01 % through, chosen at random,
 * from where the question points, and from the far side of it. */
#include "store_kit.h"

#define N 50000 /* so that 0.01 % are some */
#define DIM 32u
#define N_QUERIES 25

static char dir[128];
static struct index *ix;
static struct index_reader *rd;
static float (*vectors)[DIM];
static float centres[50][DIM];
static int *rank_of; /* place of a document along the first axis, 0 the most negative */

static float noise(uint64_t *seed)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(unit_rand(seed) >> 40) / (1 << 24) - 0.5f;
    return sum;
}

static int by_first(const void *a, const void *b)
{
    float x = vectors[*(const int *)a][0], y = vectors[*(const int *)b][0];
    return (x > y) - (x < y);
}

static int setup(void **state)
{
    uint64_t seed = 11;
    struct err_msg em;
    int *order = malloc(N * sizeof *order);
    vectors = malloc(N * sizeof *vectors);
    rank_of = malloc(N * sizeof *rank_of);
    for (int i = 0; i < 50; i++)
        for (unsigned j = 0; j < DIM; j++)
            centres[i][j] = noise(&seed);
    for (int i = 0; i < N; i++) {
        for (unsigned j = 0; j < DIM; j++)
            vectors[i][j] = centres[i % 50][j] + noise(&seed);
        order[i] = i;
    }
    qsort(order, N, sizeof *order, by_first);
    for (int i = 0; i < N; i++)
        rank_of[order[i]] = i;
    free(order);
    ix = kit_open(kit_dir(dir));
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "c", .dim = DIM, .vectors_only = true}, &em), &em);
    for (int i = 0; i < N; i++) {
        char id[16], meta[64];
        snprintf(id, sizeof id, "%d", i);
        snprintf(meta, sizeof meta, "{\"rank\":%d,\"any\":%d}", rank_of[i], (int)(i * 7919ll % N));
        struct index_doc d = {.collection = "c", .id = id, .id_len = strlen(id), .metadata = meta,
                              .metadata_len = strlen(meta), .vectors = vectors[i], .dim = DIM};
        kit_ok(index_put(ix, &d, &em), &em);
    }
    kit_commit(ix);
    assert_int_equal(index_reader_create(&rd, ix, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    index_reader_destroy(&rd);
    index_close(&ix);
    kit_remove(dir);
    free(vectors);
    free(rank_of);
    return 0;
}

static double cosine(const float *a, const float *b)
{
    double d = 0, x = 0, y = 0;
    for (unsigned j = 0; j < DIM; j++) {
        d += (double)a[j] * b[j];
        x += (double)a[j] * a[j];
        y += (double)b[j] * b[j];
    }
    return d / sqrt(x * y);
}

enum choice { RANDOM, NEAR, FAR };

/* Hits that are among the true first ten, of all that should have come. */
static void ask(enum choice choice, int n_allowed, uint64_t *seed, int *found, int *want)
{
    float q[DIM];
    char filter[64];
    double best[10];
    struct err_msg em;
    struct index_result res;
    int n = 0, expect = n_allowed < 10 ? n_allowed : 10;
    const float *centre = centres[unit_rand(seed) % 50];
    for (unsigned j = 0; j < DIM; j++)
        q[j] = centre[j] + noise(seed);
    q[0] = 1.5; /* towards the high ranks */
    if (choice == NEAR)
        snprintf(filter, sizeof filter, "rank >= %d", N - n_allowed);
    else
        snprintf(filter, sizeof filter, "%s < %d", choice == FAR ? "rank" : "any", n_allowed);
    struct index_query query = {.collection = "c", .vector = q, .dim = DIM, .k = 10, .mode = INDEX_DENSE, .filter = filter};
    kit_ok(index_search(rd, &query, &res, &em), &em);
    assert_int_equal(res.n, expect);
    assert_int_equal(res.why, expect < 10 ? INDEX_SHORT_FILTER : INDEX_SHORT_NONE);
    for (int i = 0; i < N; i++) {
        if (choice == RANDOM ? i * 7919ll % N >= n_allowed
                             : choice == NEAR ? rank_of[i] < N - n_allowed : rank_of[i] >= n_allowed)
            continue;
        double s = cosine(q, vectors[i]);
        int at = n < 10 ? n++ : s > best[9] ? 9 : 10;
        for (; at < 10 && at > 0 && best[at - 1] < s; at--)
            best[at] = best[at - 1];
        if (at < 10)
            best[at] = s;
    }
    assert_int_equal(n, expect);
    for (size_t h = 0; h < res.n; h++) {
        double s = cosine(q, vectors[atoi(res.hits[h].id)]);
        assert_true(fabs(s - res.hits[h].score) < 1e-4);
        *found += s >= best[n - 1] - 1e-6;
    }
    *want += expect;
    index_result_finish(&res);
}

static void test_recall(void **state)
{
    static const int per_10000[] = {10000, 9000, 5000, 1000, 100, 10, 1};
    static const char *const names[] = {"random", "near", "far"};
    uint64_t seed = unit_seed();
    for (enum choice c = RANDOM; c <= FAR; c++)
        for (size_t p = 0; p < sizeof per_10000 / sizeof *per_10000; p++) {
            int found = 0, want = 0;
            for (int i = 0; i < N_QUERIES; i++)
                ask(c, N / 10000 * per_10000[p], &seed, &found, &want);
            print_message("%-6s %5.2f %%: recall %.3f\n", names[c], per_10000[p] / 100.0, (double)found / want);
            if (found * 100 < want * 95)
                fail_msg("%s, %g %%: %d of %d", names[c], per_10000[p] / 100.0, found, want);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recall)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
